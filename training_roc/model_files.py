# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What makes a folder with model and processor a complete repository: handler, requirements, and the card."""

from pathlib import Path

from huggingface_hub import ModelCard
from transformers import TrainerCallback

from evaluation_roc.report import replacing

SERVING = Path(__file__).parent / "serving"
SERVING_FILES = ("handler.py", "requirements.txt")
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_REQUIREMENT = "peft>=0.21,<1"


def write_serving_files(folder: str | Path, is_adapter: bool = False) -> None:
    """Puts `handler.py` and `requirements.txt` into `folder`, each whole or not at all."""
    for name in SERVING_FILES:
        content = (SERVING / name).read_text(encoding="utf-8")
        if is_adapter and name == "requirements.txt":
            content += f"{ADAPTER_REQUIREMENT}\n"
        with replacing(Path(folder) / name) as temporary:
            temporary.write_text(content, encoding="utf-8")


def write_card(card: ModelCard, folder: str | Path) -> None:
    """Writes `card` as the `README.md` of `folder`, whole or not at all."""
    with replacing(Path(folder) / "README.md") as temporary:
        card.save(temporary)


class ServingFilesCallback(TrainerCallback):
    """A run's folder and its checkpoints can be served as they are, and so can what is pushed during training."""

    def on_train_begin(self, args, state, control, model, **kwargs):
        if state.is_world_process_zero:
            Path(args.output_dir).mkdir(parents=True, exist_ok=True)
            write_serving_files(args.output_dir, hasattr(model, "peft_config"))

    def on_save(self, args, state, control, model, **kwargs):
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            write_serving_files(folder, hasattr(model, "peft_config"))

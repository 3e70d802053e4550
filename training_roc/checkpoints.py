# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""A run's folder and the checkpoints in it: which one to go on with, and the files by which each can be served."""

import logging
from pathlib import Path

from transformers import TrainerCallback

from training_roc.push import write_serving_files
from training_roc.trainer import RocTrainingArguments, get_last_complete_checkpoint

logger = logging.getLogger(__name__)


def choose_checkpoint(args: RocTrainingArguments) -> str | None:
    """
    The checkpoint that `args.resume_from_checkpoint` asks to go on with (a folder, or "true" for the last complete
    one); None to start anew.

    Raises:
        ValueError: if a new run would overwrite an earlier one.
    """
    last, wanted = get_last_complete_checkpoint(args.output_dir), args.resume_from_checkpoint
    if wanted is None:
        earlier = last or next(Path(args.output_dir).glob("*model*.safetensors"), None)
        if args.do_train and earlier is not None:
            raise ValueError(
                f"{args.output_dir} holds an earlier run ({earlier}): go on with its last checkpoint by "
                "--resume_from_checkpoint true, or name another --output_dir"
            )
        return None
    if wanted.lower() not in ("true", "false"):
        return wanted
    if wanted.lower() == "true" and last is not None:
        return last
    logger.warning("%s holds no complete checkpoint to go on with: training starts anew", args.output_dir)
    return None


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

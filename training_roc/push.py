# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Pushes a trained model to the Hub.

`train.py --push_to_hub` does it at the end of a run. `python -m training_roc.push --folder OUT --hub_model_id NAME`
pushes the folder that a run left, or finishes a push that broke off; files that arrived whole are not sent twice.
"""

import argparse
import json
import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi

from data_scripts.converters.push import add_push_arguments, take_push_arguments
from data_scripts.hub_errors import HubError, explain_hub_errors, prepare_repository
from data_scripts.writing import write_text

# As the Trainer's, and its pickled arguments, which no one needs to open.
IGNORED = ["_*", ".*", "checkpoint-*", "training_args.bin"]
SERVING = Path(__file__).parent / "serving"
SERVING_FILES = ("handler.py", "requirements.txt")
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_REQUIREMENT = "peft>=0.21,<1"


def prepare_push(settings) -> None:
    """
    Sees to it, before the work, that a run's result can go where it is to go, and be used there; `hub_model_id`
    becomes the full name of the repository.

    Args:
        settings (`Settings`): of a run with `push_to_hub`.

    Raises:
        ValueError: if the run trains nothing, or an adapter to a model that is a folder here.
        HubError: if the repository may not be written to.
    """
    args = settings.training
    if not args.do_train:
        raise ValueError(
            "--push_to_hub pushes what a run has trained; a folder that is there already goes up by "
            "`python -m training_roc.push --folder FOLDER --hub_model_id NAME`"
        )
    if settings.model.use_lora:
        check_base(settings.model.model_name_or_path)
    if args.hub_token is not None:
        # The environment is where the Hub's client looks. The arguments are saved with the model, and a token is not.
        os.environ["HF_TOKEN"], args.hub_token = args.hub_token, None
    if args.process_index == 0:
        name = args.hub_model_id or Path(args.output_dir).absolute().name
        args.hub_model_id = prepare_repository(name, "model", bool(args.hub_private_repo), args.hub_revision)


def push_run(trainer) -> None:
    """
    Pushes the folder of a finished run.

    Raises:
        HubError: if the push fails, saying why and how to finish it.
    """
    args = trainer.args
    with keeping_folder(args.output_dir, args.hub_model_id, bool(args.hub_private_repo), args.hub_revision):
        trainer.push_to_hub()


def push_model(folder: Path, repo_id: str, private: bool = False, revision: str | None = None) -> str:
    """
    Pushes a folder that a run left. The snippets of its card are made to name the repository.

    Args:
        folder: with the model's configuration, weights and processor.
        repo_id, private, revision: as for `prepare_repository`.

    Returns:
        The commit's address.

    Raises:
        ValueError: if the folder holds no trained model, or an adapter to a model that is a folder here.
        HubError: if the push fails, saying why and how to finish it.
    """
    if not any(folder.glob("*.safetensors")) or not (folder / "processor_config.json").is_file():
        raise ValueError(f"{folder} holds no trained model: its weights and its processor's configuration are missing")
    adapter_config = folder / ADAPTER_CONFIG
    if adapter_config.is_file():
        check_base(json.loads(adapter_config.read_text(encoding="utf-8"))["base_model_name_or_path"])
    with keeping_folder(folder, repo_id, private, revision):
        repo_id = prepare_repository(repo_id, "model", private, revision)
        write_serving_files(folder, adapter_config.is_file())
        readdress(folder, repo_id)
        commit = HfApi().upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            revision=revision,
            ignore_patterns=IGNORED,
            commit_message="Upload the trained model",
        )
    return commit.commit_url


def write_serving_files(folder: str | Path, is_adapter: bool = False) -> None:
    """Puts `handler.py` and `requirements.txt` into `folder`, each whole or not at all."""
    for name in SERVING_FILES:
        content = (SERVING / name).read_text(encoding="utf-8")
        if is_adapter and name == "requirements.txt":
            content += f"{ADAPTER_REQUIREMENT}\n"
        write_text(Path(folder) / name, content)


def readdress(folder: Path, repo_id: str) -> None:
    """Makes the snippets of the card in `folder`, if there is one, open `repo_id`."""
    card = folder / "README.md"
    if card.is_file():
        content = card.read_text(encoding="utf-8")
        line = f'model_id = "{repo_id}"'
        write_text(card, re.sub(r'^model_id = ".*"$', lambda match: line, content, flags=re.MULTILINE))


def check_base(name: str) -> None:
    """
    Raises:
        ValueError: if the model that an adapter belongs to is a folder here, which others could not load.
    """
    if Path(name).is_dir():
        raise ValueError(
            f"the adapter belongs to the model in {name}, which nobody else has. Push that first "
            f"(python -m training_roc.push --folder {name} --hub_model_id NAME), and train the "
            "adapter with --model_name_or_path NAME"
        )


@contextmanager
def keeping_folder(folder: str | Path, repo_id: str, private: bool, revision: str | None) -> Iterator[None]:
    """Explains what goes wrong with a push, and how to finish it."""
    try:
        with explain_hub_errors(repo_id, "model", revision):
            yield
    except HubError as error:
        command = ["python", "-m", "training_roc.push", "--folder", str(folder), "--hub_model_id", repo_id]
        command += ["--hub_private_repo"] * private + (["--hub_revision", revision] if revision else [])
        raise HubError(f"{error}\nThe model is whole in {folder}. To push it: {shlex.join(command)}") from error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="a run's output_dir")
    add_push_arguments(
        parser, required=True, what="model", example="org/roc-mnre", names=("--hub_model_id", "--push_to_hub")
    )
    options = vars(parser.parse_args())
    try:
        print(push_model(options["folder"], *take_push_arguments(options)))
    except (ValueError, HubError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Pushes a converted data set to the Hub.

`python -m data_scripts.push --folder OUT --push_to_hub org/name` pushes a folder that a converter wrote, or finishes a
push that broke off; the converters themselves take `--push_to_hub` too.
"""

import argparse
import os
import shlex
import sys
from pathlib import Path

from huggingface_hub import HfApi

from data_scripts.command import ending_in_one_line
from data_scripts.descriptions.files import DESCRIPTIONS_FILE
from data_scripts.hub_errors import HubError, explain_hub_errors, prepare_repository
from data_scripts.reading import DataError

PARTS = ("README.md", DESCRIPTIONS_FILE, "report.json", "data/*.parquet")
"""What a converter writes."""


def add_push_arguments(
    parser: argparse.ArgumentParser,
    required: bool = False,
    what: str = "data set",
    example: str = "org/mnre",
    names: tuple[str, ...] = ("--push_to_hub",),
) -> None:
    """Adds `--push_to_hub`, `--private`, `--revision` and `--token`, the last three also under Trainer's names.

    Args:
        required: whether `--push_to_hub` is.
        what, example: what is pushed, and the name of one, for `--help`.
        names: of the first.
    """
    repository = f"{what} on the Hub, e.g. {example}"
    parser.add_argument(*names, dest="push_to_hub", metavar="NAME", required=required, help=repository)
    privacy = f"make the {what} private; otherwise a new one is as visible as its namespace's are by default"
    parser.add_argument("--private", "--hub_private_repo", action="store_true", help=privacy)
    branch = "branch to push to, made if there is none; default: main"
    parser.add_argument("--revision", "--hub_revision", help=branch)
    token = "token with write access; default: HF_TOKEN, or that of `hf auth login`"
    parser.add_argument("--token", "--hub_token", help=token)


def take_push_arguments(options: dict) -> tuple[str | None, bool, str | None]:
    """Takes what `add_push_arguments` added out of parsed options: repository, privacy, branch. A token is used from
    here on."""
    token = options.pop("token")
    if token is not None:
        os.environ["HF_TOKEN"] = token
    return options.pop("push_to_hub"), options.pop("private"), options.pop("revision")


def push_dataset(folder: Path, repo_id: str, private: bool = False, revision: str | None = None) -> str:
    """Pushes a data set that a converter wrote: Parquet files, card, relation descriptions and report, nothing else of
    the folder. Says on stderr who can read it.

    Data files of an earlier push that the folder no longer has are deleted by the same commit.

    Args:
        folder: what the converter wrote; it stays as it is.
        repo_id, private, revision: as for `prepare_repository`.

    Returns:
        The commit's address.

    Raises:
        DataError: if the folder is not one that a converter wrote.
        HubError: if the push fails, saying why and how to finish it.
    """
    for part in ("README.md", DESCRIPTIONS_FILE, "data"):
        if not (folder / part).exists():
            raise DataError(f"{folder} is no data set that a converter wrote: it has no {part}")
    try:
        repo_id = prepare_repository(repo_id, "dataset", private, revision)
        with explain_hub_errors(repo_id, "dataset", revision):
            api = HfApi()
            readers = (
                "private" if api.repo_info(repo_id, repo_type="dataset").private else "public: anyone can read it"
            )
            print(f"The data set {repo_id} on the Hub is {readers}.", file=sys.stderr)
            commit = api.upload_folder(
                repo_id=repo_id,
                repo_type="dataset",
                folder_path=folder,
                revision=revision,
                allow_patterns=list(PARTS),
                delete_patterns="data/*",
                commit_message="Upload the converted data set",
            )
    except HubError as error:
        raise HubError(f"{error}\n{explain_rest(folder, repo_id, private, revision)}") from error
    return commit.commit_url


def explain_rest(folder: Path, repo_id: str, private: bool, revision: str | None) -> str:
    """How to finish a push that broke off."""
    command = ["python", "-m", "data_scripts.push", "--folder", str(folder), "--push_to_hub", repo_id]
    command += ["--private"] * private + (["--revision", revision] if revision else [])
    whole = f"The data set is whole in {folder}, and files that the Hub has are not sent again."
    return f"{whole} To push it: {shlex.join(command)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="folder that a converter wrote")
    add_push_arguments(parser, required=True)
    options = vars(parser.parse_args())
    push = (options["folder"], *take_push_arguments(options))
    with ending_in_one_line(lambda: explain_rest(*push)):
        print(push_dataset(*push))

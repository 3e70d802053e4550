# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Pushes a converted data set to the Hub.

`python -m data_scripts.push --folder OUT --push_to_hub org/name` pushes a folder that a converter wrote, or finishes a
push that broke off; the converters themselves take `--push_to_hub` too.
"""

import argparse
import shlex
from pathlib import Path

from huggingface_hub import HfApi

from data_scripts.command import ending_in_one_line
from data_scripts.hub_errors import HubError, explain_hub_errors, prepare_repository
from data_scripts.reading import DataError


def add_push_arguments(parser: argparse.ArgumentParser, required: bool = False) -> None:
    """Adds `--push_to_hub`, `--private` and `--revision`."""
    parser.add_argument("--push_to_hub", metavar="NAME", required=required, help="data set on the Hub, e.g. org/mnre")
    parser.add_argument("--private", action="store_true", help="make the data set on the Hub private")
    parser.add_argument("--revision", help="branch to push to, made if there is none; default: main")


def push_dataset(folder: Path, repo_id: str, private: bool = False, revision: str | None = None) -> str:
    """Pushes a data set that a converter wrote: Parquet files, card, relation descriptions and report.

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
    for part in ("README.md", "relation_descriptions.json", "data"):
        if not (folder / part).exists():
            raise DataError(f"{folder} is no data set that a converter wrote: it has no {part}")
    try:
        repo_id = prepare_repository(repo_id, "dataset", private, revision)
        with explain_hub_errors(repo_id, "dataset", revision):
            commit = HfApi().upload_folder(
                repo_id=repo_id,
                repo_type="dataset",
                folder_path=folder,
                revision=revision,
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
    options = parser.parse_args()
    push = (options.folder, options.push_to_hub, options.private, options.revision)
    with ending_in_one_line(lambda: explain_rest(*push)):
        print(push_dataset(*push))

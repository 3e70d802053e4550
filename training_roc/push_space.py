# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Creates or updates the demo's Space.

`python -m training_roc.push_space --push_to_hub org/roc-demo --model org/roc-mnre`

What is pushed is the folder `space/`; the model comes from the Hub, by its name.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from huggingface_hub import HfApi, SpaceCard

from data_scripts.converters.push import add_push_arguments, take_push_arguments
from data_scripts.hub_errors import HubError, explain_hub_errors, prepare_repository

FOLDER = Path(__file__).parents[1] / "space"
NOT_PUSHED = ("__pycache__", ".*", "screenshots")


def push_space(repo_id: str, model: str, private: bool = False, revision: str | None = None) -> str:
    """
    Pushes `space/`, and has it answer with `model`.

    Args:
        repo_id: the Space, `name` or `namespace/name`.
        model: a ROC model on the Hub. The Space of a private one needs a secret `HF_TOKEN`, to be set on its page.
        private: make the Space private.
        revision: branch to push to, made if there is none; the Hub runs the main one.

    Returns:
        The Space's address.

    Raises:
        HubError: without a valid token that may write there, without such a model, or if the push fails; it says why.
        FileNotFoundError: where there is no `space/`: an installed package has none.
    """
    if not FOLDER.is_dir():
        raise FileNotFoundError(f"there is no {FOLDER}: the Space is pushed from a checkout of the repository")
    with explain_hub_errors(model, "model"):
        HfApi().model_info(model)
    repo_id = prepare_repository(repo_id, "space", private, revision)
    api = HfApi()
    with explain_hub_errors(repo_id, "space", revision), tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "space"
        shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns(*NOT_PUSHED))
        card = SpaceCard.load(folder / "README.md")
        card.text = card.text.replace("org/roc-demo", repo_id)
        card.data["models"] = [model]
        card.save(folder / "README.md")
        # The variable comes first: the Space starts anew with the commit, and then finds it.
        api.add_space_variable(repo_id, "ROC_MODEL", model, description="The model that this Space shows")
        api.upload_folder(
            repo_id=repo_id,
            repo_type="space",
            folder_path=folder,
            revision=revision,
            delete_patterns="*",  # files of an older version
            commit_message="Update the demo",
        )
    return f"{api.endpoint}/spaces/{repo_id}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_push_arguments(parser, required=True, what="Space", example="org/roc-demo")
    parser.add_argument("--model", required=True, help="a ROC model on the Hub, e.g. org/roc-mnre")
    options = vars(parser.parse_args())
    repo_id, private, revision = take_push_arguments(options)
    try:
        print(push_space(repo_id, options["model"], private, revision))
    except (FileNotFoundError, HubError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Opens what the converters write, from a folder or from the Hub: the rows and the relation descriptions."""

from pathlib import Path

from datasets import ClassLabel, DatasetDict, load_dataset
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import RemoteEntryNotFoundError

from data_scripts.demo.dataset import load_demo, load_demo_descriptions
from data_scripts.descriptions.files import DescriptionError, load_descriptions, select_relations
from data_scripts.hub_errors import HubError, explain_hub_errors

DESCRIPTIONS_FILE = "relation_descriptions.json"
DEMO = "demo"


def load_relation_dataset(
    name: str, config_name: str | None = None, revision: str | None = None, relations_file: str | None = None
) -> tuple[DatasetDict, dict]:
    """
    Opens a data set in the project's row schema together with its relation descriptions.

    Args:
        name: `"demo"` (the embedded demo set), a folder that a converter wrote, or a data set on the Hub.
        config_name, revision: as for `datasets.load_dataset`.
        relations_file: descriptions to use in place of the data set's own.

    Returns:
        The splits, and the content of the descriptions file with exactly the data set's relations, in their order.

    Raises:
        ValueError: if the data set has no ClassLabel column `relation`.
        DescriptionError: if a relation of the data set has no description.
        HubError: if the data set or its revision is not on the Hub, or may not be read.
    """
    if name == DEMO:
        splits, descriptions = load_demo(), load_demo_descriptions()
    else:
        with explain_hub_errors(name, "dataset", revision):
            splits = load_dataset(name, config_name, revision=revision)
        descriptions = None
    relation = next(iter(splits.values())).features.get("relation")
    if not isinstance(relation, ClassLabel):
        raise ValueError(f"data set {name!r} has no ClassLabel column `relation`; convert it with data_scripts first")
    if relations_file is not None:
        path = relations_file
    elif Path(name).is_dir():
        path = Path(name) / DESCRIPTIONS_FILE
    elif descriptions is None:
        path = download_descriptions(name, revision)
    if relations_file is not None or descriptions is None:
        descriptions = load_descriptions(path)
    try:
        return splits, select_relations(descriptions, relation.names)
    except DescriptionError as error:
        raise DescriptionError(f"data set {name!r}: {error}") from error


def has_objects(splits: DatasetDict) -> bool:
    """Whether any row has an object of the picture, as head, tail or candidate."""
    for split in splits.values():
        for batch in split.select_columns(["head", "tail", "objects"]).with_format("arrow").iter(batch_size=10_000):
            kinds = [batch[role].combine_chunks().field("kind") for role in ("head", "tail")]
            if batch["objects"].combine_chunks().flatten() or any(
                "object" in kind.unique().to_pylist() for kind in kinds
            ):
                return True
    return False


def download_descriptions(repo_id: str, revision: str | None) -> str:
    """Path of the descriptions file that a data set on the Hub brings.

    Raises:
        HubError: if it brings none, or it cannot be had.
    """
    with explain_hub_errors(repo_id, "dataset", revision):
        try:
            return hf_hub_download(repo_id, DESCRIPTIONS_FILE, repo_type="dataset", revision=revision)
        except RemoteEntryNotFoundError as error:
            raise HubError(
                f"The dataset {repo_id} on the Hub has no {DESCRIPTIONS_FILE}: name a file of descriptions"
                " (relations_file)."
            ) from error


def relation_texts(descriptions: dict, kind: str) -> dict[str, list[str]]:
    """
    What stands in the relation memory: label → texts.

    Args:
        descriptions: content of a descriptions file.
        kind: `"descriptions"`, or `"labels"` for the label's own words (the ablation "labels instead of
            descriptions"): `/per/org/member_of` becomes "per org member of".
    """
    if kind == "labels":
        return {label: [label.replace("/", " ").replace("_", " ").strip()] for label in descriptions["relations"]}
    return {label: list(relation["descriptions"]) for label, relation in descriptions["relations"].items()}

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Reads the relation labels that are to be described, from any file that lists them."""

import json
from pathlib import Path

from data_scripts.descriptions.files import load_plain_descriptions
from data_scripts.reading import DataError, Place, read_relation_ids


def read_labels(path: Path) -> tuple[list[str], str | None]:
    """
    The relation labels in a file, and the negative one where the file tells it.

    Args:
        path: a text file with one label a line (empty lines are passed over), or a JSON file: relation ids
            `{label: id}` as data sets publish them, or relation descriptions, in the plain form too.

    Returns:
        The labels in the file's order, by id where there are ids; the negative relation or None.

    Raises:
        DataError: naming file and line, if there is no label, one stands twice, or the file is not UTF-8.
        DescriptionError: if it is a relation description file that is not as it should be.
    """
    path = Path(path)
    if path.suffix == ".json":
        if _holds_descriptions(path):
            content = load_plain_descriptions(path)
            return list(content["relations"]), content["negative_relation"]
        return read_relation_ids(path), None
    first_line: dict[str, int] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error})") from error
    for number, line in enumerate(lines, start=1):
        label = line.strip()
        if label in first_line:
            raise Place(path, number).error(None, f"label {label!r} stands in line {first_line[label]} already")
        if label:
            first_line[label] = number
    if not first_line:
        raise DataError(f"{path}: no label in it")
    return list(first_line), None


def _holds_descriptions(path: Path) -> bool:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False  # some published files of ids go on after their first line; what is wrong is said elsewhere
    return isinstance(content, dict) and any(isinstance(value, str | list | dict) for value in content.values())

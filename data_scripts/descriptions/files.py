# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Relation descriptions: the texts that a pair of entities is matched against, kept with where they come from.

The file: `{"relations": {label: {"descriptions": [str, ...], "source": str, "reviewed": bool}}, "negative_relation":
label or null}`. `source` says how the texts came about, `reviewed` whether a person has read them. Texts that a
language model wrote carry three more fields: `model`, its name; `prompt_version`, the prompt's file and a hash of its
content; `date`, the day as YYYY-MM-DD.
"""

import datetime
import json
import os
from pathlib import Path

from data_scripts.reading import refuse_double_keys

BUILTIN_DIR = Path(__file__).parent / "relations"
FIELDS = {"descriptions", "source", "reviewed"}
GENERATION_FIELDS = {"model", "prompt_version", "date"}


class DescriptionError(ValueError):
    """A relation description file is not as it should be; the message names the relation and the field."""


def load_descriptions(path: Path) -> dict:
    """Reads and checks a relation description file.

    Raises:
        DescriptionError: naming the file and what is wrong in it.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=refuse_double_keys)
        if isinstance(content, dict) and content and all(isinstance(value, str | list) for value in content.values()):
            raise DescriptionError(
                "{label: description} does not tell which relation is the negative one; write {"
                '"relations": {label: {"descriptions": [text, ...], "source": text, "reviewed": false}, ...}, '
                '"negative_relation": label or null}'
            )
        check_descriptions(content)
    except ValueError as error:
        raise DescriptionError(f"{path}: {error}") from error
    return content


def load_plain_descriptions(path: Path, negative_relation: str | None = None) -> dict:
    """Reads a relation description file in this project's form or in the plain one of people's own data.

    Args:
        path: the file; in the plain form `{label: "description"}` or `{label: ["description", ...]}`.
        negative_relation: the label that says "none of the relations", where the file does not tell.

    Returns:
        Content in this project's form, not reviewed where the file does not say so.

    Raises:
        DescriptionError: if there is no such file, something in it is wrong, or it names another negative relation.
    """
    if not path.is_file():
        raise DescriptionError(f'{path} is missing: it holds the relations, {{"label": "description", ...}}')
    try:
        content = json.loads(path.read_bytes().decode("utf-8-sig"), object_pairs_hook=refuse_double_keys)
        if not isinstance(content, dict):
            raise DescriptionError(f"an object of relations is expected, not {type(content).__name__}")
        if set(content) != {"relations", "negative_relation"}:
            content = _fill_in(content, source=f"given with the data, in {path.name}")
        if negative_relation is not None:
            if content["negative_relation"] not in (None, negative_relation):
                raise DescriptionError(f"the negative relation is {content['negative_relation']!r} here")
            content["negative_relation"] = negative_relation
        check_descriptions(content)
    except ValueError as error:
        raise DescriptionError(f"{path}: {error}") from error
    return content


def _fill_in(texts: dict, source: str) -> dict:
    for name, value in texts.items():
        if not isinstance(value, str | list):
            raise DescriptionError(f"relation {name!r}: a description or a list of them is expected, not {value!r}")
    entries = {
        name: {"descriptions": [value] if isinstance(value, str) else value, "source": source, "reviewed": False}
        for name, value in texts.items()
    }
    return {"relations": entries, "negative_relation": None}


def load_builtin_descriptions(dataset: str) -> dict:
    """The descriptions that come with this project for `dataset`, e.g. "mnre"."""
    return load_descriptions(BUILTIN_DIR / f"{dataset}.json")


def select_relations(content: dict, relation_names: list[str]) -> dict:
    """The same content with exactly `relation_names`, in their order.

    Raises:
        DescriptionError: if one of them has no description.
    """
    missing = [name for name in relation_names if name not in content["relations"]]
    if missing:
        raise DescriptionError(f"no description for the relations {missing}")
    negative = content["negative_relation"]
    return {
        "relations": {name: content["relations"][name] for name in relation_names},
        "negative_relation": negative if negative in relation_names else None,
    }


def count_unreviewed(content: dict) -> int:
    """How many relations have descriptions that no person has reviewed."""
    return sum(not entry["reviewed"] for entry in content["relations"].values())


def write_descriptions(content: dict, path: Path) -> None:
    """Checks and writes a relation description file; a file already there is replaced only once the new one is whole.

    Raises:
        DescriptionError: if the content is not as it should be; nothing is written then.
    """
    check_descriptions(content)
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def check_descriptions(content: dict) -> None:
    """Checks the content of a relation description file.

    Raises:
        DescriptionError: if a field is missing, unknown or of the wrong type, a relation has no description, a text is
            blank or stands twice (two relations with the same text could not be told apart), or the negative relation
            is not among the relations.
    """
    check_keys("the file", content, {"relations", "negative_relation"})
    relations, negative = content["relations"], content["negative_relation"]
    if not isinstance(relations, dict) or not relations:
        raise DescriptionError("'relations' must be an object with at least one relation")
    if negative is not None and negative not in relations:
        raise DescriptionError(f"'negative_relation' {negative!r} is not among the relations")
    owner: dict[str, str] = {}
    for name, entry in relations.items():
        if not isinstance(name, str) or not name.strip():
            raise DescriptionError(f"a relation's name must be a non-blank string, not {name!r}")
        generated = isinstance(entry, dict) and not GENERATION_FIELDS.isdisjoint(entry)
        check_keys(f"relation {name!r}", entry, FIELDS | GENERATION_FIELDS if generated else FIELDS)
        if not isinstance(entry["source"], str) or not entry["source"].strip():
            raise DescriptionError(f"relation {name!r}: 'source' must say where the descriptions come from")
        if not isinstance(entry["reviewed"], bool):
            raise DescriptionError(f"relation {name!r}: 'reviewed' must be true or false")
        if generated:
            check_generation(name, entry)
        if not isinstance(entry["descriptions"], list) or not entry["descriptions"]:
            raise DescriptionError(f"relation {name!r}: 'descriptions' must be a list of at least one text")
        for text in entry["descriptions"]:
            if not isinstance(text, str) or not text.strip():
                raise DescriptionError(f"relation {name!r}: a description must be a non-blank string, not {text!r}")
            if text in owner:
                raise DescriptionError(f"relation {name!r}: this description stands at {owner[text]!r} too: {text!r}")
            owner[text] = name


def check_generation(name: str, entry: dict) -> None:
    """Checks the fields that say which language model wrote a relation's descriptions."""
    for field in ("model", "prompt_version"):
        if not isinstance(entry[field], str) or not entry[field].strip():
            raise DescriptionError(f"relation {name!r}: {field!r} must be a non-blank string, not {entry[field]!r}")
    try:
        valid = datetime.date.fromisoformat(entry["date"]).isoformat() == entry["date"]
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise DescriptionError(f"relation {name!r}: 'date' must be a day as YYYY-MM-DD, not {entry['date']!r}")


def check_keys(where: str, value: object, keys: set[str]) -> None:
    """Refuses anything but an object with exactly `keys`."""
    if not isinstance(value, dict):
        raise DescriptionError(f"{where} must be an object, not {type(value).__name__}")
    if set(value) != keys:
        raise DescriptionError(f"{where} must have the fields {sorted(keys)}, not {sorted(map(str, value))}")

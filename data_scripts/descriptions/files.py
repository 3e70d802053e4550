# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Relation descriptions: the texts that a pair of entities is matched against, kept with where they come from.

The file: `{"relations": {label: {"descriptions": [str, ...], "source": str, "reviewed": bool}}, "negative_relation":
label or null}`. `source` says how the texts came about, `reviewed` whether a person has read them. Texts that a
language model wrote carry three more fields: `model`, its name; `prompt_version`, the prompt's file and a hash of its
content; `date`, the day as YYYY-MM-DD.

Wherever such a file is read, the plain form of people's own data will do: `{label: "description"}` or
`{label: ["description", ...]}`. It does not tell which label means that none of the relations holds.
"""

import datetime
import logging
import re
from collections.abc import Iterable
from pathlib import Path

from filelock import FileLock

from data_scripts.reading import DataError, is_text, parse_json, quote, read_lines, read_relation_ids, read_text
from data_scripts.writing import write_json

logger = logging.getLogger(__name__)
DESCRIPTIONS_FILE = "relation_descriptions.json"
NEGATIVE_NAMES = {"none", "no", "na", "null", "nil", "norelation", "negative", "other", "others", "unrelated"}
"""How labels are often called that mean "none of the relations": in lower case, letters only."""
TRAINING_ROWS = re.compile(r"\btrain(ing)?\b.{0,20}\b(split|set|data|rows?|examples?)\b", re.IGNORECASE)
FIELDS = {"descriptions", "source", "reviewed"}
GENERATION_FIELDS = {"model", "prompt_version", "date"}


class DescriptionError(DataError):
    """A relation description file is not as it should be; the message names the relation and the field."""


def load_descriptions(path: str | Path, negative_relation: str | None = None) -> dict:
    """Reads and checks a relation description file, in the full form or in the plain one.

    Args:
        path: the file.
        negative_relation: the label that says "none of the relations", where the file does not tell.

    Returns:
        Content in the full form; what a person gives in a plain file counts as reviewed.

    Raises:
        DescriptionError: if there is no such file, something in it is wrong, or it names another negative relation.
    """
    path = Path(path)
    if not path.exists():
        raise DescriptionError(f'{path} is missing: it holds the relations, {{"label": "description", ...}}')
    text = read_text(path)
    try:
        content = parse_json(text)
        if not isinstance(content, dict):
            raise DescriptionError(f"an object of relations is expected, not {type(content).__name__}")
        if not isinstance(content.get("relations"), dict):
            content = _fill_in(content, source=f"given with the data, in {path.name}")
        if negative_relation is not None:
            told = content.get("negative_relation")
            if told not in (None, negative_relation):
                raise DescriptionError(f"the negative relation is {told!r} here, not {negative_relation!r}")
            content["negative_relation"] = negative_relation
        check_descriptions(content)
    except (ValueError, RecursionError) as error:
        raise DescriptionError(f"{path}: {error}") from error
    return content


def reading_key(text: str) -> str:
    """What an uncased encoder sees of a text: descriptions with one key are one to it."""
    return " ".join(text.casefold().split())


def warn_of_doubts(content: dict, where: str | Path) -> None:
    """Warns of what may be right but seldom is: a label that is called like "no relation" and counts as any other, and
    descriptions of two relations that differ in case or blanks only."""
    first: dict[str, str] = {}
    for name, entry in content["relations"].items():
        letters = "".join(filter(str.isalpha, name.lower()))
        if content["negative_relation"] is None and letters in NEGATIVE_NAMES:
            logger.warning(
                "%s: relation %r COUNTS AS ANY OTHER, in F1 too, for no negative relation is named. If it says that "
                "none of the relations holds, name it: by --negative_relation of the converter, or in the file of "
                "descriptions",
                where,
                name,
            )
        for text in entry["descriptions"]:
            other = first.setdefault(reading_key(text), name)
            if other != name:
                logger.warning(
                    "%s: relation %r has a description of %r, but for case or blanks: an encoder that does not see "
                    "these cannot tell the two apart, and training refuses them: %r",
                    where,
                    name,
                    other,
                    text,
                )


def _fill_in(texts: dict, source: str) -> dict:
    """The full form of the plain `texts`."""
    for name, value in texts.items():
        if not isinstance(value, str | list):
            raise DescriptionError(f"relation {name!r}: a description or a list of them is expected, not {value!r}")
    entries = {
        name: {"descriptions": [value] if isinstance(value, str) else value, "source": source, "reviewed": True}
        for name, value in texts.items()
    }
    return {"relations": entries, "negative_relation": None}


def load_builtin_descriptions(dataset: str) -> dict:
    """The descriptions that come with this project for `dataset`, e.g. "mnre"."""
    return load_descriptions(Path(__file__).parent / "relations" / f"{dataset}.json")


def read_labels(path: Path) -> tuple[list[str], str | None]:
    """
    The relation labels in any file that lists them, and the negative one where the file tells it.

    Args:
        path: a text file with one label a line (empty lines are passed over), or a JSON object: relation ids
            `{label: id}` as data sets publish them, or relation descriptions.

    Returns:
        The labels in the file's order, by id where there are ids; the negative relation or None.

    Raises:
        DataError: naming file and line, if there is no label, one stands twice, or the file is not UTF-8.
        DescriptionError: if it is a relation description file that is not as it should be.
    """
    text = read_text(path)
    if path.suffix.lower() == ".json" or text.lstrip().startswith("{"):
        try:
            content = parse_json(text, only_first=True)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: not a JSON object of labels ({error})") from error
        if isinstance(content, dict) and any(isinstance(value, str | list | dict) for value in content.values()):
            content = load_descriptions(path)
            return list(content["relations"]), content["negative_relation"]
        return read_relation_ids(path), None
    first_line: dict[str, int] = {}
    for place, line in read_lines(path):
        label = line.strip()
        if label in first_line:
            raise place.error(None, f"label {label!r} stands in line {first_line[label]} already")
        if label:
            first_line[label] = place.line
    if not first_line:
        raise DataError(f"{path}: no label in it")
    return list(first_line), None


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


def seen_in_training(content: dict, relation_names: Iterable[str]) -> list[str]:
    """Those of `relation_names` whose descriptions are from training rows, as their `source` says: for a relation that
    is to be unseen, they tell what only its rows could."""
    return [name for name in relation_names if TRAINING_ROWS.search(content["relations"][name]["source"])]


def count_unreviewed(content: dict) -> int:
    """How many relations have descriptions that no person has reviewed."""
    return sum(not entry["reviewed"] for entry in content["relations"].values())


def write_descriptions(content: dict, path: Path) -> None:
    """Checks and writes a relation description file; a file already there is replaced only once the new one is whole.

    Raises:
        DescriptionError: if the content is not as it should be; nothing is written then.
    """
    check_descriptions(content)
    write_json(path, content)


class DescriptionWriter:
    """
    A relation description file that is written one relation after the other, also by several processes at once: each
    adds what it made to what stands there.

    Args:
        path: the file; if it exists, its content is gone on with.
        order: labels in the order in which relations are written; those of no place in it come last.
        negative: the negative relation, written once it is among them.

    Attributes:
        entries: what stood in the file when it was last read or written here.

    Raises:
        DescriptionError: if the file exists and is not as it should be, or names another negative relation.
    """

    def __init__(self, path: Path, order: Iterable[str], negative: str | None):
        self.path, self.order, self.negative = path, list(order), negative
        self.entries = self._read()

    def add(self, entries: dict[str, dict]) -> None:
        """Writes further `entries`.

        Raises:
            DescriptionError: if that makes no valid file, or another process wrote one of these relations since it
                was last read here; nothing is written then.
        """
        with FileLock(self.path.with_name(f".{self.path.name}.lock")):
            found = self._read()
            for name in entries:
                if found.get(name) != self.entries.get(name) and found.get(name) != entries[name]:
                    raise DescriptionError(
                        f"{self.path}: relation {name!r} was changed by another process in the meantime, and is left "
                        "as it is there; start again to go on from it"
                    )
            found |= entries
            names = dict.fromkeys([*(name for name in self.order if name in found), *found])
            content = {name: found[name] for name in names}
            negative = self.negative if self.negative in found else None
            write_descriptions({"relations": content, "negative_relation": negative}, self.path)
        self.entries = content

    def _read(self) -> dict[str, dict]:
        if not self.path.exists():
            return {}
        content = load_descriptions(self.path)
        if content["negative_relation"] not in (None, self.negative):
            told = content["negative_relation"]
            raise DescriptionError(f"{self.path}: its negative relation is {told!r}, not {self.negative!r}")
        return content["relations"]


def check_descriptions(content: dict) -> None:
    """Checks the full form of a relation description file's content.

    Raises:
        DescriptionError: if a field is missing, unknown or of the wrong type, a relation has no description, a text is
            blank or stands twice (two relations with the same text could not be told apart), or the negative relation
            is not among the relations.
    """
    _check_keys("the file", content, {"relations", "negative_relation"})
    relations, negative = content["relations"], content["negative_relation"]
    if not isinstance(relations, dict) or not relations:
        raise DescriptionError("'relations' must be an object with at least one relation")
    if negative not in [None, *relations]:
        raise DescriptionError(f"'negative_relation' {negative!r} is not among the relations")
    owner: dict[str, str] = {}
    for name, entry in relations.items():
        if not _says_something(name):
            raise DescriptionError(f"a relation's name must be a non-blank string, not {quote(name)}")
        _check_entry(f"relation {name!r}", entry)
        for text in entry["descriptions"]:
            if text in owner:
                raise DescriptionError(f"relation {name!r}: this description stands at {owner[text]!r} too: {text!r}")
            owner[text] = name


def _check_entry(where: str, entry: object) -> None:
    """Checks one relation's fields, each by itself."""
    generated = isinstance(entry, dict) and not GENERATION_FIELDS.isdisjoint(entry)
    _check_keys(where, entry, FIELDS | GENERATION_FIELDS if generated else FIELDS)
    if not _says_something(entry["source"]):
        raise DescriptionError(f"{where}: 'source' must say where the descriptions come from")
    if not isinstance(entry["reviewed"], bool):
        raise DescriptionError(f"{where}: 'reviewed' must be true or false")
    if not isinstance(entry["descriptions"], list) or not entry["descriptions"]:
        raise DescriptionError(f"{where}: 'descriptions' must be a list of at least one text")
    for text in entry["descriptions"]:
        if not _says_something(text):
            raise DescriptionError(f"{where}: a description must be a non-blank string, not {quote(text)}")
    if generated:
        for field in ("model", "prompt_version"):
            if not _says_something(entry[field]):
                raise DescriptionError(f"{where}: {field!r} must be a non-blank string, not {entry[field]!r}")
        if not _is_day(entry["date"]):
            raise DescriptionError(f"{where}: 'date' must be a day as YYYY-MM-DD, not {entry['date']!r}")


def _says_something(value: object) -> bool:
    """Whether `value` is a string that is not blank and can be written as UTF-8."""
    return is_text(value) and bool(value.strip())


def _is_day(value: object) -> bool:
    """Whether `value` is a date as YYYY-MM-DD; ISO 8601 has other ways to write one."""
    try:
        return datetime.date.fromisoformat(value).isoformat() == value
    except (TypeError, ValueError):
        return False


def _check_keys(where: str, value: object, keys: set[str]) -> None:
    """Refuses anything but an object with exactly `keys`."""
    if not isinstance(value, dict):
        raise DescriptionError(f"{where} must be an object, not {type(value).__name__}")
    if set(value) != keys:
        raise DescriptionError(f"{where} must have the fields {sorted(keys)}, not {sorted(map(str, value))}")

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Reading raw files: one Python dict literal a line, with every fault named by file, line and field."""

import ast
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

from data_scripts.schema import text_entity


class DataError(ValueError):
    """The input is broken; the message says where (file, line, field) and how."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a value was read: a file and a line, counted from 1."""

    path: Path
    line: int

    def error(self, field: str | None, message: str) -> DataError:
        """The error to raise for `field` here (None: the line as a whole)."""
        return DataError(f"{self.path}, line {self.line}{f', field {field!r}' if field else ''}: {message}")


def find_one(folders: list[Path], names: list[str], what: str) -> Path:
    """The only file with one of `names` in one of `folders`.

    Raises:
        DataError: if there is none, or more than one.
    """
    found = [folder / name for folder in folders for name in names if (folder / name).is_file()]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f"more than one {what}: {', '.join(map(str, found))}; keep one of them")
    raise DataError(f"no {what}: none of {names} is in {', '.join(map(str, folders))}")


def read_literal_lines(path: Path, keys: tuple[str, ...]) -> Iterator[tuple[Place, dict]]:
    """Yields each line's dict with its place; empty lines are passed over, keys besides `keys` are kept.

    Raises:
        DataError: if a line is no Python dict literal, or lacks one of `keys`.
    """
    # newline="\n": a text may hold other characters that Python takes for line ends.
    with open(path, encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            place = Place(path, number)
            try:
                record = ast.literal_eval(line.strip())
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
                raise place.error(None, f"not a Python dict literal ({error})") from error
            if not isinstance(record, dict):
                raise place.error(None, f"a dict is expected, not {type(record).__name__}")
            for key in keys:
                if key not in record:
                    raise place.error(key, "missing")
            yield place, record


def read_string(place: Place, record: dict, field: str) -> str:
    """The value of `field`, which must be a non-empty string."""
    value = record[field]
    if not isinstance(value, str) or not value:
        raise place.error(field, f"a non-empty string is expected, not {value!r}")
    return value


def read_tokens(place: Place, record: dict, field: str = "token") -> list[str]:
    """The value of `field`, which must be a non-empty list of non-empty strings."""
    tokens = record[field]
    if not isinstance(tokens, list) or not tokens:
        raise place.error(field, f"a non-empty list of tokens is expected, not {tokens!r}")
    for position, token in enumerate(tokens):
        if not isinstance(token, str) or not token:
            raise place.error(field, f"token {position} must be a non-empty string, not {token!r}")
    return tokens


def read_text_entity(place: Place, record: dict, field: str, tokens: list[str]) -> dict:
    """The mention in `field`, `{"name": str, "pos": [start, end)}` in tokens, as a head or tail of the schema.

    Raises:
        DataError: if the span is empty, inverted or outside the text, or the name is not its tokens joined by a blank.
    """
    value = record[field]
    if not isinstance(value, dict) or "name" not in value or "pos" not in value:
        raise place.error(field, f"a dict with 'name' and 'pos' is expected, not {value!r}")
    span = value["pos"]
    if not isinstance(span, list | tuple) or len(span) != 2 or any(type(position) is not int for position in span):
        raise place.error(f"{field}.pos", f"[start, end] in tokens is expected, not {span!r}")
    start, end = span
    if start >= end:
        raise place.error(f"{field}.pos", f"the span {list(span)} is {'empty' if start == end else 'inverted'}")
    if start < 0 or end > len(tokens):
        raise place.error(f"{field}.pos", f"the span {list(span)} is outside the text's {len(tokens)} tokens")
    mention = " ".join(tokens[start:end])
    if value["name"] != mention:
        raise place.error(f"{field}.name", f"{value['name']!r} is not the tokens of its span, {mention!r}")
    return text_entity(mention, start, end)


def read_relation_ids(path: Path) -> list[str]:
    """Relation names in the order of their ids, from a JSON object {name: id} on the file's first line.

    Raises:
        DataError: if it is no such object, or the ids are not 0 … n − 1, each once.
    """
    place = Place(path, 1)
    lines = path.read_text(encoding="utf-8").strip().split("\n", maxsplit=1)
    try:
        ids = json.loads(lines[0])
    except json.JSONDecodeError as error:
        raise place.error(None, f"not a JSON object on one line ({error})") from error
    if not isinstance(ids, dict) or any(type(value) is not int for value in ids.values()):
        raise place.error(None, "a JSON object {relation name: id} is expected")
    if not ids or sorted(ids.values()) != list(range(len(ids))):
        raise place.error(None, f"the ids must be 0 to {len(ids) - 1}, each once; they are {sorted(ids.values())}")
    return sorted(ids, key=ids.__getitem__)


def read_relation(place: Place, record: dict, relation_names: list[str]) -> str:
    """The value of `relation`, which must be one of `relation_names`."""
    relation = read_string(place, record, "relation")
    if relation not in relation_names:
        raise place.error("relation", f"unknown relation {relation!r}; known are {', '.join(relation_names)}")
    return relation

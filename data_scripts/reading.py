# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Reading raw files: every fault is named by file, line and field."""

import ast
import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


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


def find_file(folders: list[Path], names: list[str], what: str, required: bool = True) -> Path | None:
    """The only file with one of `names` in one of `folders`; None if there is none and none is required.

    Raises:
        DataError: if there is more than one, or none though one is required.
    """
    found = [folder / name for folder in folders for name in names if (folder / name).is_file()]
    if len(found) > 1:
        raise DataError(f"more than one {what}: {', '.join(map(str, found))}; keep one of them")
    if required and not found:
        raise DataError(f"no {what}: none of {names} is in {', '.join(map(str, folders))}")
    return found[0] if found else None


def read_literal_lines(path: Path) -> Iterator[tuple[Place, dict]]:
    """Yields each line's dict, written as Python writes it, with its place; empty lines are passed over.

    Raises:
        DataError: if a line is not UTF-8 or no Python dict literal.
    """
    return _read_lines(path, ast.literal_eval, "a Python dict literal")


def read_json_lines(path: Path) -> Iterator[tuple[Place, dict]]:
    """Yields each line's JSON object with its place; empty lines are passed over.

    Raises:
        DataError: if a line is not UTF-8 or no JSON object, or a key stands twice in one object.
    """
    return _read_lines(path, _parse_json, "a JSON object")


def _read_lines(path: Path, parse: Callable[[str], Any], what: str) -> Iterator[tuple[Place, dict]]:
    # Lines of bytes end at "\n" only: a text may hold other characters that Python takes for line ends.
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            place = Place(path, number)
            try:
                # Some editors begin a file with a byte order mark.
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                raise place.error(None, f"not UTF-8 ({error})") from error
            if not text:
                continue
            try:
                record = parse(text)
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
                raise place.error(None, f"not {what} ({error})") from error
            if not isinstance(record, dict):
                raise place.error(None, f"not {what} but a {type(record).__name__}")
            yield place, record


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        DataError: if it is not JSON in UTF-8, or a key stands twice in one object.
    """
    try:
        return _parse_json(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({error})") from error


def _parse_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=refuse_double_keys)


def refuse_double_keys(pairs: list[tuple[str, Any]]) -> dict:
    """Builds an object from its pairs; JSON itself would let the last of two equal keys win without a word.

    Raises:
        ValueError: naming the keys that stand twice.
    """
    double = sorted(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
    if double:
        raise ValueError(f"the keys {double} stand twice in one object")
    return dict(pairs)


def require(place: Place, record: dict, fields: tuple[str, ...]) -> None:
    """Refuses a record that lacks one of `fields`."""
    for field in fields:
        if field not in record:
            raise place.error(field, "missing")


def is_text(value: Any) -> bool:
    """Whether `value` is a non-empty string that can be written as UTF-8 (half a surrogate pair cannot)."""
    if not isinstance(value, str) or not value:
        return False
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def read_string(place: Place, record: dict, field: str, within: str | None = None) -> str:
    """The value of `field`, which must be a non-blank string; `within` names the field that the record itself is."""
    value = record[field]
    if not is_text(value) or value.isspace():
        raise place.error(f"{within}.{field}" if within else field, f"a non-blank string is expected, not {value!r}")
    return value


def read_tokens(place: Place, record: dict, field: str) -> list[str]:
    """The value of `field`, which must be a non-empty list of non-empty strings."""
    tokens = record[field]
    if not isinstance(tokens, list) or not tokens:
        raise place.error(field, f"a non-empty list of tokens is expected, not {tokens!r}")
    for position, token in enumerate(tokens):
        if not is_text(token):
            raise place.error(field, f"token {position} must be a non-empty string, not {token!r}")
    return tokens


def read_relation(place: Place, record: dict, relation_names: list[str]) -> str:
    """The value of `relation`, which must be one of `relation_names`."""
    relation = read_string(place, record, "relation")
    if relation not in relation_names:
        raise place.error("relation", f"unknown relation {relation!r}; known are {', '.join(relation_names)}")
    return relation


def check_span(place: Place, field: str, start: int, end: int, length: int, unit: str) -> None:
    """Refuses a span [start, end) that is empty, inverted or outside a text of `length` tokens or characters."""
    if start >= end:
        raise place.error(field, f"the span {[start, end]} is {'empty' if start == end else 'inverted'}")
    if start < 0 or end > length:
        raise place.error(field, f"the span {[start, end]} is outside the text's {length} {unit}")


def read_relation_ids(path: Path) -> list[str]:
    """Relation names in the order of their ids, from a JSON object {name: id} on the file's first line.

    Raises:
        DataError: if it is no such object, or the ids are not 0 … n − 1, each once.
    """
    place = Place(path, 1)
    try:
        ids = _parse_json(path.read_bytes().decode("utf-8-sig").strip().split("\n", maxsplit=1)[0])
    except (ValueError, RecursionError) as error:
        raise place.error(None, f"not a JSON object on one line ({error})") from error
    if not isinstance(ids, dict) or any(type(value) is not int for value in ids.values()):
        raise place.error(None, "a JSON object {relation name: id} is expected")
    if not ids or sorted(ids.values()) != list(range(len(ids))):
        raise place.error(None, f"the ids must be 0 to {len(ids) - 1}, each once; they are {sorted(ids.values())}")
    return sorted(ids, key=ids.__getitem__)

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Reading raw files: every fault is named by file, line and field."""

import ast
import codecs
import dataclasses
import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


class DataError(ValueError):
    """The input is broken; the message says where (file, line, field) and how."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a value was read: a file and a line, counted from 1, or in words what of the file it is."""

    path: Path | str
    line: int | str

    def error(self, field: str | None, message: str) -> DataError:
        """The error to raise for `field` here (None: the line as a whole)."""
        where = f"line {self.line}" if isinstance(self.line, int) else self.line
        return DataError(f"{self.path}, {where}{f', field {field!r}' if field else ''}: {message}")


INVISIBLE = ("Cc", "Cf", "Zs", "Zl", "Zp")
"""Unicode's categories of control and format characters and of blanks."""

SPLIT_NAMES = {"train": ("train",), "validation": ("val", "valid", "dev", "validation"), "test": ("test",)}
"""What people call a split's files and folders."""


def find_file(folders: list[Path], names: list[str], what: str, required: bool = True) -> Path | None:
    """The only file with one of `names` in one of `folders`; None if there is none and none is required.

    Raises:
        DataError: if there is more than one, or none though one is required.
    """
    found = [folder / name for folder in folders for name in names if (folder / name).exists()]
    if len(found) > 1:
        raise DataError(f"more than one {what}: {', '.join(map(str, found))}; keep one of them")
    if required and not found:
        raise DataError(f"no {what}: none of {names} is in {', '.join(map(str, folders))}")
    return found[0] if found else None


def read_lines(path: Path) -> Iterator[tuple[Place, str]]:
    """Yields each line of a text file with its place; "\\r\\n" becomes "\\n", and a byte order mark is passed over.

    Raises:
        DataError: if there is no such file, it cannot be read, or a line is not UTF-8.
    """
    try:
        # Lines of bytes end at "\n" only: a text may hold other characters that Python takes for line ends.
        with open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise DataError(f"{path}: not UTF-8 but UTF-16 or UTF-32: save it as UTF-8")
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise Place(path, number).error(None, f"not UTF-8 ({error}): save the file as UTF-8") from error
                yield Place(path, number), text.replace("\r\n", "\n")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error


def read_text(path: Path) -> str:
    """The content of a text file, as `read_lines` reads it."""
    return "".join(text for _, text in read_lines(path))


def read_literal_lines(path: Path) -> Iterator[tuple[Place, dict]]:
    """Yields each line's dict, written as Python or as JSON writes it, with its place; empty lines are passed over.

    Raises:
        DataError: if a line is neither, or a key stands twice in one dict; and as `read_lines` does.
    """
    return _read_records(path, _parse_literal, "a Python dict literal")


def read_json_lines(path: Path) -> Iterator[tuple[Place, dict]]:
    """Yields each line's JSON object with its place; empty lines are passed over.

    Raises:
        DataError: if a line is no JSON object, or a key stands twice in one; and as `read_lines` does.
    """
    return _read_records(path, parse_json, "a JSON object")


def _read_records(path: Path, parse: Callable[[str], Any], what: str) -> Iterator[tuple[Place, dict]]:
    for place, line in read_lines(path):
        text = line.strip()
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
        DataError: if it is not JSON, or a key stands twice in one object; and as `read_lines` does.
    """
    text = read_text(path)
    try:
        return parse_json(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({error})") from error


def parse_json(text: str, only_first: bool = False) -> Any:
    """The value that is written in `text`; with `only_first`, more may follow from the next line on.

    Raises:
        ValueError: where it is no JSON, or a key stands twice in one object.
        RecursionError: where it is nested too deeply.
    """
    decoder = json.JSONDecoder(object_pairs_hook=refuse_double_keys)
    try:
        if not only_first:
            return decoder.decode(text)
        value, end = decoder.raw_decode(text, len(text) - len(text.lstrip()))
    except DoubleKeyError as error:
        written = [json.dumps(key, ensure_ascii=False) for key in error.args[0]]
        lines = [number for number, line in enumerate(text.split("\n"), 1) if any(key in line for key in written)]
        raise ValueError(f"{error}; see lines {lines}" if "\n" in text.strip() else str(error)) from error
    if rest := text[end:].split("\n")[0].strip():
        raise ValueError(f"more after it: {rest[:40]!r}")
    return value


def _parse_literal(text: str) -> Any:
    try:
        return parse_json(text)
    except json.JSONDecodeError:
        tree = ast.parse(text, mode="eval")
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            refuse_double_keys([(ast.literal_eval(key), None) for key in node.keys if key is not None])
    return ast.literal_eval(tree)


class DoubleKeyError(ValueError):
    """Keys stand twice in one object."""

    def __str__(self) -> str:
        return f"the keys {self.args[0]} stand twice in one object"


def refuse_double_keys(pairs: list[tuple[Any, Any]]) -> dict:
    """Builds an object from its pairs; JSON itself would let the last of two equal keys win without a word."""
    content = dict(pairs)
    if len(content) < len(pairs):
        raise DoubleKeyError([key for key, count in Counter(key for key, _ in pairs).items() if count > 1])
    return content


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


def quote(value: Any) -> str:
    """A refused value as a message shows it; a text is not seen to hold half a surrogate pair, so that is said."""
    is_broken = isinstance(value, str) and value and not is_text(value)
    return f"{value!r} (with half a surrogate pair, which is no text)" if is_broken else repr(value)


def read_string(place: Place, record: dict, field: str, within: str | None = None) -> str:
    """The value of `field`, which must be a non-blank string; `within` names the field that the record itself is."""
    value = record[field]
    if not is_text(value) or value.isspace():
        raise place.error(
            f"{within}.{field}" if within else field, f"a non-blank string is expected, not {quote(value)}"
        )
    return value


def read_tokens(place: Place, record: dict, field: str) -> list[str]:
    """The value of `field`, which must be a non-empty list of non-empty strings."""
    tokens = record[field]
    if not isinstance(tokens, list) or not tokens:
        raise place.error(field, f"a non-empty list of tokens is expected, not {tokens!r}")
    for position, token in enumerate(tokens):
        if not is_text(token):
            raise place.error(field, f"token {position} must be a non-empty string, not {quote(token)}")
    return tokens


def read_relation(place: Place, record: dict, relation_names: list[str], known_by: str) -> str:
    """The value of `relation`, which must be one of `relation_names`; `known_by` says where these are from."""
    relation = read_string(place, record, "relation")
    if relation not in relation_names:
        known = ", ".join(relation_names)
        raise place.error("relation", f"unknown relation {relation!r}; known are {known} ({known_by})")
    return relation


def check_span(place: Place, field: str, start: int, end: int, length: int, unit: str) -> None:
    """Refuses a span [start, end) that is empty, inverted or outside a text of `length` tokens or characters."""
    if start >= end:
        raise place.error(field, f"the span {[start, end]} is {'empty' if start == end else 'inverted'}")
    if start < 0 or end > length:
        raise place.error(field, f"the span {[start, end]} is outside the text's {length} {unit}")


def check_mention(place: Place, field: str, mention: str) -> None:
    """Refuses a mention of blanks and control and format characters alone, which tokenizers make nothing of."""
    if all(unicodedata.category(character) in INVISIBLE for character in mention):
        raise place.error(field, f"the mention {ascii(mention)} has no visible character")


def read_relation_ids(path: Path) -> list[str]:
    """Relation names in the order of their ids, from a JSON object {name: id}.

    Some published files go on after the object, from a line of its own on: that is passed over.

    Raises:
        DataError: if it is no such object, or the ids are not 0 … n − 1, each once; and as `read_lines` does.
    """
    text = read_text(path)
    try:
        ids = parse_json(text, only_first=True)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a JSON object of relation ids ({error})") from error
    if not isinstance(ids, dict) or any(type(value) is not int for value in ids.values()):
        raise DataError(f"{path}: a JSON object {{relation name: id}} is expected")
    if not ids or sorted(ids.values()) != list(range(len(ids))):
        raise DataError(f"{path}: the ids must be 0 to {len(ids) - 1}, each once; they are {sorted(ids.values())}")
    if wrong := [name for name in ids if not is_text(name) or name.isspace()]:
        raise DataError(f"{path}: a relation's name must be a non-blank string, not {quote(wrong[0])}")
    return sorted(ids, key=ids.__getitem__)

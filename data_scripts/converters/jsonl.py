# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Your own data: JSON lines, one pair of entities a line, with any set of relations, with or without pictures.

`python -m data_scripts.jsonl --raw_dir RAW --output_dir OUT` reads `train.jsonl`, `validation.jsonl` (or `valid`,
`val`, `dev`) and `test.jsonl`, those that are there, at least one, and `relation_descriptions.json`, and writes a data
set that `load_dataset(OUT)` opens. A line:

    {"text": "Ana Roy joins Arsenal", "head": {"start": 0, "end": 7}, "tail": {"start": 14, "end": 21},
     "relation": "/per/org/member_of"}

text | tokens   a string (spans count characters) or a list of tokens (spans count tokens). A string is split into
                tokens at white space, and where a span begins or ends inside a word, there too.
head, tail      `start` and `end`, [start, end), of a mention; or an object of the picture: its `name` and its box, or
                only the name if the box is in `objects`. Optional: `name` of a mention (checked against the span),
                `kind` ("text" or "object", checked too), `type` (its words are kept; a tagger types only the others).
relation        optional: a label among the described ones; none or null in unlabelled lines.
id              optional, unique in all files; by default split and line, "train-1".
image           optional: path of the picture, from --image_dir on.
image_id        optional: what names the picture; by default its path.
objects         optional: all objects of the picture, a list of `name`, box and, optionally, `caption`.
score,          optional, not kept: what a model said with the relation, as in the file that the demo gives of all
description     pairs.
a box           one of: `box` (x0, y0, x1, y1 in 0-1), `box_pixels` (the same in pixels), `box_center` (center x and y,
                width, height in 0-1), `box_center_pixels`; of the upright picture, its EXIF orientation applied.

`relation_descriptions.json` is `{label: "description"}` or `{label: ["description", ...]}`, or has this project's own
form (see data_scripts/descriptions/files.py); its order is the order of the labels' ids.
"""

import bisect
import contextlib
import re
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from data_scripts.converters.convert import KeepRows, RawDataset, run_converter
from data_scripts.converters.object_boxes import BOX_FORMS, find_form, read_box, same_box
from data_scripts.converters.pictures import find_picture, read_upright_size
from data_scripts.descriptions.files import DESCRIPTIONS_FILE, load_descriptions, warn_of_doubts
from data_scripts.reading import (
    SPLIT_NAMES,
    DataError,
    Place,
    check_mention,
    check_span,
    find_file,
    read_json_lines,
    read_relation,
    read_string,
    read_tokens,
    require,
)
from data_scripts.schema import SPLITS, object_entity, text_entity

ANSWER_FIELDS = {"score", "description"}  # what a model says of its relation; no row keeps it
ROW_FIELDS = {"id", "text", "tokens", "head", "tail", "relation", "image", "image_id", "objects", *ANSWER_FIELDS}
ENTITY_FIELDS = {"start", "end", "name", "kind", "type", *BOX_FORMS}
OBJECT_FIELDS = {"name", "caption", *BOX_FORMS}
FLAGS = {
    "image_dir": {"type": Path, "help": "folder from which pictures' paths lead on; by default the raw folder"},
    "negative_relation": {"help": "label that says none of the relations, if the descriptions do not tell"},
}


def read_jsonl(
    raw_dir: Path, image_dir: Path | None = None, negative_relation: str | None = None, keep: KeepRows = list
) -> RawDataset:
    """Reads JSON lines.

    Args:
        raw_dir: folder with the lines and the descriptions.
        image_dir: folder from which the pictures' paths lead on; by default the raw one.
        negative_relation: the label that says "none of the relations", if the descriptions do not tell.
        keep: what keeps a split's rows.

    Raises:
        DataError: naming file, line and field, if anything is missing or broken.
        DescriptionError: naming file and relation, if the descriptions are not as they should be.
    """
    image_dir = raw_dir if image_dir is None else image_dir
    if not image_dir.is_dir():
        raise DataError(f"{image_dir} is no folder")
    names = {split: [f"{name}.jsonl" for name in SPLIT_NAMES[split]] for split in SPLITS}
    files = {split: find_file([raw_dir], names[split], f"file of the {split} split", False) for split in SPLITS}
    files = {split: path for split, path in files.items() if path is not None}
    if not files:
        raise DataError(f"no data: none of {sum(names.values(), [])} is in {raw_dir}")
    others = sorted(path.name for path in raw_dir.glob("*.[jJ][sS][oO][nN]*") if path not in files.values())
    remarks = [f"Not read: {name}." for name in others if name != DESCRIPTIONS_FILE]
    descriptions = load_descriptions(raw_dir / DESCRIPTIONS_FILE, negative_relation)
    warn_of_doubts(descriptions, raw_dir / DESCRIPTIONS_FILE)
    relation_names = list(descriptions["relations"])
    splits, counts, images = {}, {}, {}
    # Where each id was read; SQLite keeps a database without a name in a file, which goes with it.
    places = sqlite3.connect("")
    places.execute("CREATE TABLE places (id TEXT PRIMARY KEY, file TEXT, line INTEGER) WITHOUT ROWID")

    def read_rows(split: str, path: Path) -> Iterator[dict]:
        for place, record in tqdm(read_json_lines(path), desc=f"Reading {path.name}", unit=" rows"):
            row = JsonRow(place, record, image_dir, counts[split]).read(f"{split}-{place.line}", relation_names)
            try:
                places.execute("INSERT INTO places VALUES (?, ?, ?)", (row["id"], path.name, place.line))
            except sqlite3.IntegrityError as error:
                [(file, line)] = places.execute("SELECT file, line FROM places WHERE id = ?", (row["id"],))
                raise place.error("id", f"{row['id']!r} is the id of {file}, line {line}, already") from error
            if row["image"] is not None:
                image = images.setdefault(row["image_id"], row["image"])
                if image != row["image"]:  # training would show the first of them for both
                    message = f"{row['image_id']!r} names two pictures, {image} and {row['image']}"
                    raise place.error("image_id", message)
            yield row

    with contextlib.closing(places):
        for split, path in files.items():
            counts[split] = {"texts_with_words_split": 0, "boxes_clipped": 0}
            splits[split] = keep(read_rows(split, path))
            if not splits[split]:
                raise DataError(f"{path} has no line")
    return RawDataset(raw_dir.resolve().name, splits, descriptions, DESCRIPTIONS_FILE, counts, remarks)


class JsonRow:
    """A line on its way to a row; what is broken is refused by file, line and field.

    Args:
        place: where the line is.
        record: its object. A field that is null counts as absent.
        image_dir: folder from which the picture's path leads on.
        counts: `texts_with_words_split` and `boxes_clipped` of its file, counted on in place.

    Raises:
        DataError: if a field is unknown.
    """

    def __init__(self, place: Place, record: dict, image_dir: Path, counts: dict[str, int]):
        self.place = place
        self.record = self._fields(None, record, ROW_FIELDS)
        self.counts = counts
        name, self.image = self._string(self.record, "image"), None
        if name is not None:
            try:
                name, self.image = find_picture(image_dir, name)
            except ValueError as error:
                raise place.error("image", str(error)) from error
        self.image_id = self._string(self.record, "image_id") or name

    def read(self, default_id: str, relation_names: list[str]) -> dict:
        """The row; raises DataError if a field is missing or broken."""
        require(self.place, self.record, ("head", "tail"))
        given = {role: self._fields(role, self.record[role], ENTITY_FIELDS) for role in ("head", "tail")}
        spans = {role: self._span(role, fields) for role, fields in given.items()}
        tokens, spans = self._tokens({role: span for role, span in spans.items() if span is not None})
        objects = self._objects()
        entities = {}
        for role, fields in given.items():
            if role in spans:
                entities[role] = self._mention(role, fields, tokens, spans[role])
            else:
                entities[role] = self._object(role, fields, objects)
            entities[role]["type"] = self._string(fields, "type", role)
        head, tail = ([entity[key] for key in ("kind", "name", "start", "end")] for entity in entities.values())
        if head == tail:
            raise self.place.error("tail", f"this is the head too: {entities['tail']['name']!r}")
        relation = None
        if "relation" in self.record:
            relation = read_relation(self.place, self.record, relation_names, DESCRIPTIONS_FILE)
        return {
            "id": self._string(self.record, "id") or default_id,
            "image": self.image,
            "image_id": self.image_id,
            "tokens": tokens,
            **entities,
            "objects": objects,
            "relation": relation,
        }

    def _fields(self, field: str | None, value: Any, known: set[str]) -> dict:
        """What is given of an object's fields."""
        if not isinstance(value, dict):
            raise self.place.error(field, f"an object is expected, not {value!r}")
        for name in value:
            if name not in known:
                where = f"{field}.{name}" if field else name
                raise self.place.error(where, f"unknown field; known are {', '.join(sorted(known))}")
        return {name: content for name, content in value.items() if content is not None}

    def _string(self, fields: dict, name: str, within: str | None = None) -> str | None:
        return read_string(self.place, fields, name, within) if name in fields else None

    def _span(self, role: str, fields: dict) -> tuple[int, int] | None:
        """The span of a mention as it is given; None: the entity is an object."""
        has_span, has_box = "start" in fields or "end" in fields, any(form in fields for form in BOX_FORMS)
        if has_span and has_box:
            raise self.place.error(role, "a mention has no box, an object no 'start' and 'end'")
        if not has_span and not has_box and "name" not in fields:
            raise self.place.error(role, "a mention's 'start' and 'end', or an object's 'name' and box, are missing")
        kind = "text" if has_span else "object"
        if fields.get("kind", kind) != kind:
            raise self.place.error(f"{role}.kind", f"{fields['kind']!r}, but the other fields are those of {kind!r}")
        if not has_span:
            return None
        for name in ("start", "end"):
            if type(fields.get(name)) is not int:
                raise self.place.error(f"{role}.{name}", f"an integer is expected, not {fields.get(name)!r}")
        return fields["start"], fields["end"]

    def _tokens(self, spans: dict[str, tuple[int, int]]) -> tuple[list[str], dict[str, tuple[int, int]]]:
        """The tokens, and the mentions' spans in tokens."""
        if ("text" in self.record) == ("tokens" in self.record):
            raise self.place.error("text", "give either 'text', spans in characters, or 'tokens', spans in tokens")
        if "tokens" in self.record:
            tokens = read_tokens(self.place, self.record, "tokens")
            for position, token in enumerate(tokens):
                if token.isspace():
                    raise self.place.error("tokens", f"token {position} is blank: {token!r}")
            for role, span in spans.items():
                check_span(self.place, role, *span, len(tokens), "tokens")
            return tokens, spans
        text = self._string(self.record, "text")
        for role, span in spans.items():
            check_span(self.place, role, *span, len(text), "characters")
            if text[slice(*span)].isspace():
                raise self.place.error(role, f"the span {list(span)} covers only white space")
        tokens, places, is_split = split_text(text, list(spans.values()))
        self.counts["texts_with_words_split"] += is_split
        return tokens, dict(zip(spans, places, strict=True))

    def _mention(self, role: str, fields: dict, tokens: list[str], span: tuple[int, int]) -> dict:
        mention = tokens[slice(*span)]
        check_mention(self.place, role, " ".join(mention))
        name = self._string(fields, "name", role)
        # A span's edge may have put blanks into it.
        if name is not None and "".join(name.split()) != "".join("".join(mention).split()):
            raise self.place.error(f"{role}.name", f"{name!r} is not what the span covers, {' '.join(mention)!r}")
        return text_entity(" ".join(mention), *span)

    def _objects(self) -> list[dict]:
        objects: list[dict] = []
        given = self.record.get("objects", [])
        if not isinstance(given, list):
            raise self.place.error("objects", f"a list is expected, not {given!r}")
        for number, value in enumerate(given):
            field = f"objects[{number}]"
            fields = self._fields(field, value, OBJECT_FIELDS)
            name = self._string(fields, "name", field)
            if name is None:
                raise self.place.error(f"{field}.name", "missing")
            if any(entry["name"] == name for entry in objects):
                raise self.place.error(f"{field}.name", f"{name!r} is the name of two objects")
            if not any(form in fields for form in BOX_FORMS):
                raise self.place.error(field, f"object {name!r} has no box (one of {', '.join(BOX_FORMS)})")
            caption = self._string(fields, "caption", field)
            objects.append({"name": name, "box": self._box(field, name, fields), "caption": caption})
        return objects

    def _object(self, role: str, fields: dict, objects: list[dict]) -> dict:
        """The head or tail that is an object; `objects` gets it too if they lack it."""
        name = self._string(fields, "name", role)
        if name is None:
            raise self.place.error(f"{role}.name", "an object needs a name")
        entry = next((entry for entry in objects if entry["name"] == name), None)
        if any(form in fields for form in BOX_FORMS):
            box = self._box(role, name, fields)
            if entry is None:
                entry = {"name": name, "box": box, "caption": None}
                objects.append(entry)
            elif box and entry["box"] and not same_box(box, entry["box"]):
                message = f"object {name!r} is at {box} here and at {entry['box']} in 'objects' (corners, in 0-1)"
                raise self.place.error(role, message)
        elif entry is None:
            message = f"{name!r} has no 'start' and 'end', and is no object: it has no box, here or in 'objects'"
            raise self.place.error(role, message)
        return object_entity(name, entry["box"])

    def _box(self, field: str, name: str, fields: dict) -> list[float] | None:
        """An object's box as the schema keeps it; None if it is in pixels of a picture that is not there."""
        if self.image_id is None:
            raise self.place.error(field, f"object {name!r} needs a picture, and the line has no 'image'")
        try:
            form = find_form(fields)
            size = read_upright_size(self.image) if form.endswith("pixels") and self.image else None
            if form.endswith("pixels") and size is None:
                return None
            box, clipped = read_box(fields[form], form, size)
        except ValueError as error:
            raise self.place.error(field, f"object {name!r}: {error}") from error
        self.counts["boxes_clipped"] += clipped
        return box


def split_text(text: str, spans: Sequence[tuple[int, int]]) -> tuple[list[str], list[tuple[int, int]], bool]:
    """Splits a text at white space, and where a span begins or ends inside a word, there too.

    No character but white space is lost: tokens joined by nothing are the text without its white space, and the
    tokens of a span are the span without its white space. Joined by a blank, as the model reads them, a word that was
    split has a blank inside: "Rovers'" with a span over "Rovers" is read as "Rovers '".

    Args:
        text: any text.
        spans: [start, end) in characters (Python's, that is Unicode code points), within the text, each over more than
            white space.

    Returns:
        The tokens, the spans as [start, end) in tokens, and whether a word was split.
    """
    edges = sorted({edge for span in spans for edge in span})
    starts, ends, tokens = [], [], []
    for word in re.finditer(r"\S+", text):
        first, last = word.span()
        cuts = [first, *(edge for edge in edges if first < edge < last), last]
        starts += cuts[:-1]
        ends += cuts[1:]
        tokens += [text[start:end] for start, end in zip(cuts, cuts[1:], strict=False)]
    places = [(bisect.bisect_left(starts, start), bisect.bisect_right(ends, end)) for start, end in spans]
    return tokens, places, len(tokens) > len(text.split())


def main() -> None:
    run_converter(read_jsonl, description=__doc__, reader_flags=FLAGS)

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""One line of people's own data (see data_scripts/converters/jsonl.py) to a row of the schema."""

import os
from pathlib import Path
from typing import Any

from data_scripts.converters.boxes import BOX_FORMS, find_form, read_box, same_box
from data_scripts.converters.pictures import read_upright_size
from data_scripts.converters.words import split_text
from data_scripts.reading import DataError, Place, check_span, is_text, read_relation, read_tokens, require
from data_scripts.schema import object_entity, text_entity

ANSWER_FIELDS = {"score", "description"}  # what a model says of its relation; no row keeps it
ROW_FIELDS = {"id", "text", "tokens", "head", "tail", "relation", "image", "image_id", "objects", *ANSWER_FIELDS}
ENTITY_FIELDS = {"start", "end", "name", "kind", "type", *BOX_FORMS}
OBJECT_FIELDS = {"name", "caption", *BOX_FORMS}


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
        name = self._string(None, self.record, "image")
        self.image_id = self._string(None, self.record, "image_id") or name
        # Two ways to write one path are one picture.
        self.image = os.path.normpath(image_dir / name) if name and (image_dir / name).is_file() else None

    def read(self, default_id: str, relation_names: list[str]) -> dict:
        """The row.

        Raises:
            DataError: if a field is missing or broken.
        """
        require(self.place, self.record, ("head", "tail"))
        given = {role: self._fields(role, self.record[role], ENTITY_FIELDS) for role in ("head", "tail")}
        mentions = [role for role in given if self._is_mention(role, given[role])]
        tokens, spans = self._tokens({role: self._span(role, given[role]) for role in mentions})
        objects = self._objects()
        entities = {
            role: self._mention(role, given[role], tokens, spans[role])
            if role in spans
            else self._object(role, given[role], objects)
            for role in given
        }
        places = [[entity[key] for key in ("kind", "name", "start", "end")] for entity in entities.values()]
        if places[0] == places[1]:
            raise self.place.error("tail", f"this is the head too: {entities['tail']['name']!r}")
        labelled = "relation" in self.record
        return {
            "id": self._string(None, self.record, "id") or default_id,
            "image": self.image,
            "image_id": self.image_id,
            "tokens": tokens,
            **entities,
            "objects": objects,
            "relation": read_relation(self.place, self.record, relation_names) if labelled else None,
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

    def _string(self, field: str | None, fields: dict, name: str) -> str | None:
        if name not in fields:
            return None
        if not is_text(fields[name]) or fields[name].isspace():
            where = f"{field}.{name}" if field else name
            raise self.place.error(where, f"a non-blank string is expected, not {fields[name]!r}")
        return fields[name]

    def _is_mention(self, role: str, fields: dict) -> bool:
        """Whether an entity is a mention, and not an object."""
        has_span, has_box = "start" in fields or "end" in fields, any(form in fields for form in BOX_FORMS)
        if has_span and has_box:
            raise self.place.error(role, "a mention has no box, an object no 'start' and 'end'")
        if not has_span and not has_box and "name" not in fields:
            raise self.place.error(role, "a mention's 'start' and 'end', or an object's 'name' and box, are missing")
        kind = "text" if has_span else "object"
        if fields.get("kind", kind) != kind:
            raise self.place.error(f"{role}.kind", f"{fields['kind']!r}, but the other fields are those of {kind!r}")
        return has_span

    def _span(self, role: str, fields: dict) -> tuple[int, int]:
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
        text = self._string(None, self.record, "text")
        for role, span in spans.items():
            check_span(self.place, role, *span, len(text), "characters")
            if text[slice(*span)].isspace():
                raise self.place.error(role, f"the span {list(span)} covers only white space")
        tokens, places, is_split = split_text(text, list(spans.values()))
        self.counts["texts_with_words_split"] += is_split
        return tokens, dict(zip(spans, places, strict=True))

    def _mention(self, role: str, fields: dict, tokens: list[str], span: tuple[int, int]) -> dict:
        mention = tokens[slice(*span)]
        name = self._string(role, fields, "name")
        # A span's edge may have put blanks into it.
        if name is not None and "".join(name.split()) != "".join("".join(mention).split()):
            raise self.place.error(f"{role}.name", f"{name!r} is not what the span covers, {' '.join(mention)!r}")
        return text_entity(" ".join(mention), *span) | {"type": self._string(role, fields, "type")}

    def _objects(self) -> list[dict]:
        """The row's `objects`."""
        objects: list[dict] = []
        given = self.record.get("objects", [])
        if not isinstance(given, list):
            raise self.place.error("objects", f"a list is expected, not {given!r}")
        for number, value in enumerate(given):
            field = f"objects[{number}]"
            fields = self._fields(field, value, OBJECT_FIELDS)
            name, caption = self._string(field, fields, "name"), self._string(field, fields, "caption")
            if name is None:
                raise self.place.error(f"{field}.name", "missing")
            if any(entry["name"] == name for entry in objects):
                raise self.place.error(f"{field}.name", f"{name!r} is the name of two objects")
            if not any(form in fields for form in BOX_FORMS):
                raise self.place.error(field, f"object {name!r} has no box (one of {', '.join(BOX_FORMS)})")
            objects.append({"name": name, "box": self._box(field, name, fields), "caption": caption})
        return objects

    def _object(self, role: str, fields: dict, objects: list[dict]) -> dict:
        """The head or tail that is an object; `objects` gets it too if they lack it."""
        name = self._string(role, fields, "name")
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
        return object_entity(name, entry["box"]) | {"type": self._string(role, fields, "type")}

    def _box(self, field: str, name: str, fields: dict) -> list[float] | None:
        """An object's box as the schema keeps it; None if it is in pixels of a picture that is not there: a row never
        keeps its objects without their picture."""
        if self.image_id is None:
            raise self.place.error(field, f"object {name!r} needs a picture, and the line has no 'image'")
        try:
            form = find_form(fields)
            size = read_upright_size(self.image) if form.endswith("pixels") and self.image else None
            if form.endswith("pixels") and size is None:
                return None
            box, clipped = read_box(fields[form], form, size)
        except DataError as error:
            raise self.place.error("image", str(error)) from error
        except ValueError as error:
            raise self.place.error(field, f"object {name!r}: {error}") from error
        self.counts["boxes_clipped"] += clipped
        return box

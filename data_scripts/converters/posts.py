# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What MNRE, MORE and UMRE share: posts with a picture, one pair of entities of a post a line, relation ids in a file.

Each line is a Python dict literal with `token` (list of str), `h` and `t` (the pair), `img_id` (name of the picture's
file) and `relation`; other keys are passed over. An entity is a mention, `{"name": str, "pos": [start, end)}` in
tokens, or an object of the picture, `{"name": its key in the object dictionary, "pos": its box}`.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from tqdm.auto import tqdm

from data_scripts.converters.convert import RawDataset
from data_scripts.converters.object_boxes import (
    ObjectDictionary,
    read_box,
    read_captions,
    same_box,
)
from data_scripts.converters.pictures import index_pictures, locate_picture, name_apart
from data_scripts.descriptions.files import load_builtin_descriptions, select_relations
from data_scripts.reading import (
    Place,
    check_span,
    find_file,
    read_literal_lines,
    read_relation,
    read_relation_ids,
    read_string,
    read_tokens,
    require,
)
from data_scripts.schema import object_entity, text_entity

CAPTION_FILE = "caption_dict.json"


@dataclasses.dataclass(frozen=True)
class PostFormat:
    """How one of these data sets is published.

    Attributes:
        name: what people call it.
        raw_splits: {split: the names that it has in files and folders}.
        text_folders: folders below the raw one in which files may lie.
        text_files: names of a split's text file; `{}` stands for the split's name.
        relation_files: names of the file of relation ids.
        descriptions: name of the descriptions that come with this project; it knows all labels.
        order_is_published: whether these descriptions are in the published order of the ids, so that a copy without a
            file of relation ids can be read.
        head_kind, tail_kind: what they are: "text", "object", or "either".
        object_files: names of a split's object dictionary; one without `{}` is all splits' dictionary.
        boxes_are_repeated: whether an object's `pos` is its box, which the object dictionary has too.
    """

    name: str
    raw_splits: dict[str, tuple[str, ...]]
    text_folders: tuple[str, ...]
    text_files: tuple[str, ...]
    relation_files: tuple[str, ...]
    descriptions: str
    order_is_published: bool
    head_kind: Literal["text", "object", "either"]
    tail_kind: Literal["text", "object", "either"]
    object_files: tuple[str, ...] = ()
    boxes_are_repeated: bool = False


def read_posts(raw_dir: Path, layout: PostFormat) -> RawDataset:
    """Reads a data set of posts.

    Raises:
        DataError: naming file, line (of a dictionary: image and object) and field, if anything is missing or broken.
        DescriptionError: if the file of relation ids has a label that the project's descriptions lack.
    """
    folders = [raw_dir / folder for folder in layout.text_folders]
    descriptions, order = _read_relations(folders, layout)
    with_objects = bool(layout.object_files)
    caption_file = find_file(folders, [CAPTION_FILE], "file of captions", required=False) if with_objects else None
    captions = read_captions(caption_file) if caption_file else {}
    splits, counts, remarks = {}, {}, []
    for split, names in layout.raw_splits.items():
        path = find_file(folders, _expand(layout.text_files, names), f"text file of the {split} split")
        dictionary = ObjectDictionary()
        if with_objects:
            object_files = _expand(layout.object_files, names)
            found = find_file(folders, object_files, f"object dictionary of the {split} split", required=False)
            if found:
                dictionary = ObjectDictionary(found, captions)
            shown = found.name if found else f"no dictionary (none of {', '.join(object_files)} is there)"
            remarks.append(f"Objects of {split}: {shown}.")
        rows = _read_rows(path, split, list(descriptions["relations"]), dictionary, layout)
        splits[split] = list(tqdm(rows, desc=f"Reading {path.name}", unit=" rows"))
        if with_objects:
            counts[split] = {"boxes_clipped": dictionary.num_clipped}
    if with_objects:
        remarks.append(f"Captions of objects: {caption_file.name if caption_file else f'none (no {CAPTION_FILE})'}.")
    pictures = index_pictures(raw_dir, {row["image_id"] for rows in splits.values() for row in rows})
    for split, rows in splits.items():
        names = {row["image_id"] for row in rows}
        paths = {name: locate_picture(pictures, name, layout.raw_splits[split]) for name in names}
        for row in rows:
            row["image"] = paths[row["image_id"]]
    name_apart([row for rows in splits.values() for row in rows], raw_dir)
    return RawDataset(layout.name, splits, descriptions, order, counts, remarks)


def _expand(patterns: tuple[str, ...], names: tuple[str, ...]) -> list[str]:
    return list(dict.fromkeys(pattern.format(name) for pattern in patterns for name in names))


def _read_relations(folders: list[Path], layout: PostFormat) -> tuple[dict, str]:
    """Descriptions of exactly the data set's labels in the order of their ids, and where that order is from."""
    descriptions = load_builtin_descriptions(layout.descriptions)
    required = not layout.order_is_published
    path = find_file(folders, list(layout.relation_files), "file of relation ids", required)
    if path is None:
        return descriptions, f"published order (no {layout.relation_files[0]} among the raw files)"
    return select_relations(descriptions, read_relation_ids(path)), path.name


def _read_rows(
    path: Path, split: str, relation_names: list[str], dictionary: ObjectDictionary, layout: PostFormat
) -> Iterator[dict]:
    """Yields a row of the schema for each line of a text file, with `image` not located yet."""
    for place, record in read_literal_lines(path):
        require(place, record, ("token", "h", "t", "img_id", "relation"))
        tokens = read_tokens(place, record, "token")
        image_id = read_string(place, record, "img_id")
        entities = {}
        for role, field, kind in (("head", "h", layout.head_kind), ("tail", "t", layout.tail_kind)):
            if kind == "object" or (kind == "either" and _is_object(record[field])):
                entities[role] = _read_object(place, record, field, dictionary, layout)
            else:
                entities[role] = _read_mention(place, record, field)
        yield {
            "id": f"{layout.name.lower()}-{split}-{place.line}",
            "image": None,
            "image_id": image_id,
            "tokens": tokens,
            **entities,
            "objects": dictionary[image_id],
            "relation": read_relation(place, record, relation_names),
        }


def _is_object(value: object) -> bool:
    """Whether an entity that may be either is an object: four numbers are a box, and a mention has a span."""
    if not isinstance(value, dict):
        return False
    span = value.get("pos")
    return span is None or (isinstance(span, list | tuple) and len(span) == 4)


def _read_mention(place: Place, record: dict, field: str) -> dict:
    """The mention in `field` as a head or tail of the schema; its name must be its tokens joined by a blank."""
    value, tokens = record[field], record["token"]
    if not isinstance(value, dict) or "name" not in value or "pos" not in value:
        raise place.error(field, f"a dict with 'name' and 'pos' is expected, not {value!r}")
    span = value["pos"]
    if not isinstance(span, list | tuple) or len(span) != 2 or any(type(position) is not int for position in span):
        raise place.error(f"{field}.pos", f"[start, end] in tokens is expected, not {span!r}")
    check_span(place, f"{field}.pos", *span, len(tokens), "tokens")
    mention = " ".join(tokens[slice(*span)])
    if value["name"] != mention:
        raise place.error(f"{field}.name", f"{value['name']!r} is not the tokens of its span, {mention!r}")
    return text_entity(mention, *span)


def _read_object(place: Place, record: dict, field: str, dictionary: ObjectDictionary, layout: PostFormat) -> dict:
    """The object in `field` as a head or tail of the schema, in the box that the dictionary has for it."""
    value, image_id = record[field], record["img_id"]
    if not isinstance(value, dict) or "name" not in value:
        raise place.error(field, f"a dict with an object's key as 'name' is expected, not {value!r}")
    name = read_string(place, value, "name", within=field)
    boxes = {entry["name"]: entry["box"] for entry in dictionary[image_id]}
    if name not in boxes:
        source = dictionary.path or "no object dictionary of this split was found"
        raise place.error(f"{field}.name", f"image {image_id!r} has no object {name!r} ({source})")
    if layout.boxes_are_repeated and value.get("pos") is not None:
        try:
            box, _ = read_box(value["pos"], "box_center")
        except ValueError as error:
            raise place.error(f"{field}.pos", f"object {name!r} of image {image_id!r}: {error}") from error
        if not same_box(box, boxes[name]):
            message = f"object {name!r} of image {image_id!r} is at {box} here and at {boxes[name]}"
            raise place.error(f"{field}.pos", f"{message} in {dictionary.path} (corners, as fractions)")
    return object_entity(name, boxes[name])

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What MNRE, MORE and UMRE share: posts with a picture, one pair of entities of a post a line, relation ids in a file.

Each line is a Python dict literal with `token` (list of str), `h` and `t` (the pair), `img_id` (name of the picture's
file) and `relation`; other keys are passed over. An entity is a mention, `{"name": str, "pos": [start, end)}` in
tokens, or an object of the picture, `{"name": its key in the object dictionary, "pos": its box}`.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from tqdm.auto import tqdm

from data_scripts.converters.boxes import read_box, same_box
from data_scripts.converters.convert import RawDataset
from data_scripts.converters.objects import ObjectDictionary, read_captions, read_object_dictionary
from data_scripts.converters.pictures import index_pictures, locate_picture
from data_scripts.descriptions.files import load_builtin_descriptions, select_relations
from data_scripts.reading import (
    Place,
    find_if_any,
    find_one,
    is_text,
    read_literal_lines,
    read_relation,
    read_relation_ids,
    read_string,
    read_text_entity,
    read_tokens,
    require,
)
from data_scripts.schema import object_entity

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
        negative_relation: the label that says "none of the relations".
        descriptions: name of the descriptions that come with this project; it knows all labels.
        order_is_published: whether these descriptions are in the published order of the ids, so that a copy without a
            file of relation ids can be read.
        head_kinds, tail_kinds: "text", "object", or both.
        object_files: names of a split's object dictionary; one without `{}` is all splits' dictionary.
        boxes_are_repeated: whether an object's `pos` is its box, which the object dictionary has too.
    """

    name: str
    raw_splits: dict[str, tuple[str, ...]]
    text_folders: tuple[str, ...]
    text_files: tuple[str, ...]
    relation_files: tuple[str, ...]
    negative_relation: str
    descriptions: str
    order_is_published: bool
    head_kinds: tuple[str, ...]
    tail_kinds: tuple[str, ...]
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
    relation_names = list(descriptions["relations"])
    caption_file = find_if_any(folders, [CAPTION_FILE], "file of captions") if layout.object_files else None
    captions = read_captions(caption_file) if caption_file else {}
    splits, counts, remarks = {}, {}, []
    for split, names in layout.raw_splits.items():
        path = find_one(folders, _expand(layout.text_files, names), f"text file of the {split} split")
        object_files = _expand(layout.object_files, names)
        object_file = find_if_any(folders, object_files, f"object dictionary of the {split} split")
        dictionary = read_object_dictionary(object_file, captions) if object_file else ObjectDictionary()
        rows = _read_rows(path, split, relation_names, dictionary, layout)
        splits[split] = list(tqdm(rows, desc=f"Reading {path.name}", unit=" rows"))
        if layout.object_files:
            counts[split] = {"boxes_clipped": dictionary.num_clipped}
            found = object_file.name if object_file else f"no dictionary (none of {', '.join(object_files)} is there)"
            remarks.append(f"Objects of {split}: {found}.")
    if layout.object_files:
        remarks.append(f"Captions of objects: {caption_file.name if caption_file else f'none (no {CAPTION_FILE})'}.")
    pictures = index_pictures(raw_dir, {row["image_id"] for rows in splits.values() for row in rows})
    for split, rows in splits.items():
        for row in rows:
            row["image"] = locate_picture(pictures, row["image_id"], layout.raw_splits[split])
    return RawDataset(
        name=layout.name,
        splits=splits,
        relation_names=relation_names,
        relation_order=order,
        negative_relation=layout.negative_relation,
        descriptions=descriptions,
        counts=counts,
        remarks=remarks,
    )


def _expand(patterns: tuple[str, ...], names: tuple[str, ...]) -> list[str]:
    return list(dict.fromkeys(pattern.format(name) for pattern in patterns for name in names))


def _read_relations(folders: list[Path], layout: PostFormat) -> tuple[dict, str]:
    """Descriptions of exactly the data set's labels in the order of their ids, and where that order is from."""
    descriptions = load_builtin_descriptions(layout.descriptions)
    find = find_if_any if layout.order_is_published else find_one
    path = find(folders, list(layout.relation_files), "file of relation ids")
    if path is None:
        return descriptions, f"published order (no {layout.relation_files[0]} among the raw files)"
    return select_relations(descriptions, read_relation_ids(path)), path.name


def _read_rows(
    path: Path, split: str, relation_names: list[str], dictionary: ObjectDictionary, layout: PostFormat
) -> Iterator[dict]:
    """Yields a row of the schema for each line of a text file, with `image` not located yet."""
    for place, record in read_literal_lines(path):
        require(place, record, ("token", "h", "t", "img_id", "relation"))
        tokens = read_tokens(place, record)
        image_id = read_string(place, record, "img_id")
        entities = {}
        for role, field, kinds in (("head", "h", layout.head_kinds), ("tail", "t", layout.tail_kinds)):
            if "text" not in kinds or ("object" in kinds and _is_object(record[field])):
                entities[role] = _read_object(place, record, field, image_id, dictionary, layout)
            else:
                entities[role] = read_text_entity(place, record, field, tokens)
        yield {
            "id": f"{layout.name.lower()}-{split}-{place.line}",
            "image": None,
            "image_id": image_id,
            "tokens": tokens,
            **entities,
            "objects": dictionary.objects.get(image_id, []),
            "relation": read_relation(place, record, relation_names),
        }


def _is_object(value: object) -> bool:
    """Whether an entity that may be both is an object: four numbers are a box, and a mention cannot lack its span."""
    if not isinstance(value, dict):
        return False
    span = value.get("pos")
    return span is None or (isinstance(span, list | tuple) and len(span) == 4)


def _read_object(
    place: Place, record: dict, field: str, image_id: str, dictionary: ObjectDictionary, layout: PostFormat
) -> dict:
    """The object in `field`, as a head or tail of the schema.

    Raises:
        DataError: if the dictionary has no such object of the picture, or the box here is not the dictionary's.
    """
    value = record[field]
    if not isinstance(value, dict) or "name" not in value:
        raise place.error(field, f"a dict with an object's key as 'name' is expected, not {value!r}")
    name = value["name"]
    if not is_text(name):
        raise place.error(f"{field}.name", f"a non-empty string is expected, not {name!r}")
    known = dictionary.find(image_id, name)
    if known is None:
        source = dictionary.path or "no object dictionary of this split was found"
        raise place.error(f"{field}.name", f"image {image_id!r} has no object {name!r} ({source})")
    if layout.boxes_are_repeated and value.get("pos") is not None:
        try:
            box, _ = read_box(value["pos"], "box_center")
        except ValueError as error:
            raise place.error(f"{field}.pos", f"object {name!r} of image {image_id!r}: {error}") from error
        if not same_box(box, known["box"]):
            message = f"object {name!r} of image {image_id!r} is at {box} here and at {known['box']}"
            raise place.error(f"{field}.pos", f"{message} in {dictionary.path} (corners, as fractions)")
    return object_entity(name, known["box"])

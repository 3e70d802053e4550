# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What MNRE, MORE and UMRE share: posts with a picture, one pair of entities of a post a line, relation ids in a file.

Each line is a Python dict literal with `token` (list of str), `h` and `t` (the pair), `img_id` (name of the picture's
file) and `relation`; other keys are passed over. An entity is a mention, `{"name": str, "pos": [start, end)}` in
tokens, or an object of the picture, `{"name": its key in the object dictionary, "pos": its box}`. A name may also be
a list of words.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from tqdm.auto import tqdm

from data_scripts.converters.convert import KeepRows, RawDataset
from data_scripts.converters.object_boxes import (
    ObjectDictionary,
    read_box,
    read_captions,
    same_box,
)
from data_scripts.converters.pictures import find_unlike, index_pictures, locate_picture
from data_scripts.descriptions.files import (
    DescriptionError,
    load_builtin_descriptions,
    load_descriptions,
    select_relations,
    warn_of_doubts,
)
from data_scripts.reading import (
    SPLIT_NAMES,
    DataError,
    Place,
    check_mention,
    check_span,
    find_file,
    read_literal_lines,
    read_relation,
    read_relation_ids,
    read_string,
    read_tokens,
    require,
)
from data_scripts.schema import SPLITS, object_entity, text_entity

FLAGS = {
    "relations_file": {
        "type": Path,
        "help": "relation descriptions in place of the built-in ones, for copies with other labels",
    }
}
BOX_FORM_FLAG = {
    "choices": ["box", "box_center"],
    "help": "what boxes are: corners x0, y0, x1, y1 (box) or center x and y, width, height (box_center), in 0-1; by "
    "default the data tell",
}


@dataclasses.dataclass(frozen=True)
class PostFormat:
    """How one of these data sets is published.

    Attributes:
        name: what people call it.
        text_folders: folders below the raw one in which files may lie.
        text_files: names of a split's text file; `{}` stands for the split's name.
        relation_files: names of the file of relation ids.
        descriptions: name of the descriptions that come with this project; it knows all labels.
        order_is_published: whether these descriptions are in the published order of the ids, so that a copy without a
            file of relation ids can be read.
        head_kind, tail_kind: what they are: "text", "object", or "either".
        object_files: names of a split's object dictionary; one without `{}` is all splits' dictionary.
        caption_files: names of the file of objects' captions.
        boxes_are_repeated: whether an object's `pos` is its box, which the object dictionary has too.
        box_form: what a box is, "box" or "box_center"; None: not published, so that the data must tell.
    """

    name: str
    text_folders: tuple[str, ...]
    text_files: tuple[str, ...]
    relation_files: tuple[str, ...]
    descriptions: str
    order_is_published: bool
    head_kind: Literal["text", "object", "either"]
    tail_kind: Literal["text", "object", "either"]
    object_files: tuple[str, ...] = ()
    caption_files: tuple[str, ...] = ()
    boxes_are_repeated: bool = False
    box_form: Literal["box", "box_center"] | None = "box_center"


def read_posts(
    raw_dir: Path,
    layout: PostFormat,
    relations_file: Path | None = None,
    box_form: str | None = None,
    keep: KeepRows = list,
) -> RawDataset:
    """Reads a data set of posts.

    Args:
        raw_dir: folder with the raw files.
        layout: how they are called and arranged.
        relations_file: relation descriptions to use in place of the built-in ones.
        box_form: "box" or "box_center", where neither the layout nor the boxes themselves tell.
        keep: what keeps a split's rows.

    Raises:
        DataError: naming file, line (of a dictionary: image and object) and field, if anything is missing or broken.
        DescriptionError: if the file of relation ids has a label that the descriptions lack.
    """
    folders = [raw_dir / folder for folder in layout.text_folders]
    descriptions, order = _read_relations(folders, layout, relations_file)
    known_by = order if relations_file else f"{order}; --relations_file names others"
    caption_file = find_file(folders, list(layout.caption_files), "file of captions", required=False)
    captions = read_captions(caption_file) if caption_file else {}
    text_files, object_files = {}, {}
    for split in SPLITS:
        text_files[split] = find_file(folders, _expand(layout.text_files, split), f"text file of the {split} split")
        what = f"object dictionary of the {split} split"
        object_files[split] = find_file(folders, _expand(layout.object_files, split), what, required=False)
    found = list(dict.fromkeys(filter(None, object_files.values())))
    box_form = box_form or layout.box_form or (_tell_box_form(list(text_files.values()), found) if found else None)
    splits, counts, remarks = {}, {}, []
    for split, path in text_files.items():
        dictionary = ObjectDictionary(object_files[split], captions, box_form)
        if layout.object_files:
            absent = f"no dictionary (none of {', '.join(_expand(layout.object_files, split))} is there)"
            remarks.append(f"Objects of {split}: {object_files[split].name if object_files[split] else absent}.")
        rows = _read_rows(path, split, list(descriptions["relations"]), known_by, dictionary, layout)
        splits[split] = keep(tqdm(rows, desc=f"Reading {path.name}", unit=" rows"))
        if layout.object_files:
            counts[split] = {"boxes_clipped": dictionary.num_clipped}
    if found and layout.box_form is None:
        remarks.append(f"Boxes are read as {'corners' if box_form == 'box' else 'center, width and height'}.")
    if layout.caption_files:
        absent = f"none (no {' or '.join(layout.caption_files)})"
        remarks.append(f"Captions of objects: {caption_file.name if caption_file else absent}.")
    names = {split: {row["image_id"] for row in rows} for split, rows in splits.items()}
    pictures = index_pictures(raw_dir, set().union(*names.values()))
    paths = {
        split: {name: locate_picture(pictures, name, SPLIT_NAMES[split]) for name in names[split]} for split in names
    }
    unlike = find_unlike(paths.values())
    one_for_all = found[0] if len(set(object_files.values())) == 1 and found else None
    for file, names in ((one_for_all, dictionary), (caption_file, captions)):
        for name in sorted(unlike):
            if file and name in names:
                raise DataError(
                    f"{file} tells of one picture {name!r}, but the splits' folders have several: rename them"
                )
    splits = {split: keep(_locate(rows, paths[split], unlike, raw_dir)) for split, rows in splits.items()}
    return RawDataset(layout.name, splits, descriptions, order, counts, remarks)


def _expand(patterns: tuple[str, ...], split: str) -> list[str]:
    return list(dict.fromkeys(pattern.format(name) for pattern in patterns for name in SPLIT_NAMES[split]))


def _tell_box_form(text_files: list[Path], object_files: list[Path]) -> str:
    """The one form in which all boxes lie in their pictures, those of pictures that the texts name."""
    records = [record for path in text_files for _, record in read_literal_lines(path)]
    images = dict.fromkeys(record["img_id"] for record in records if isinstance(record.get("img_id"), str))
    faults = {}
    for form in ("box", "box_center"):
        try:
            for dictionary in [ObjectDictionary(path, form=form) for path in object_files]:
                for image_id in images:
                    dictionary[image_id]
        except DataError as error:
            faults[form] = error
    if len(faults) == 1:
        return "box" if "box_center" in faults else "box_center"
    if not faults:
        raise DataError(
            f"{', '.join(map(str, object_files))}: the boxes may be corners, or center and size: say which by "
            "--box_form box or --box_form box_center"
        )
    if str(faults["box"]) == str(faults["box_center"]):
        raise faults["box"]
    raise DataError(f"read as center and size: {faults['box_center']}; read as corners: {faults['box']}")


def _read_relations(folders: list[Path], layout: PostFormat, relations_file: Path | None) -> tuple[dict, str]:
    """Descriptions of exactly the data set's labels in the order of their ids, and where that order is from."""
    descriptions = builtin = load_builtin_descriptions(layout.descriptions)
    if relations_file is not None:
        descriptions = load_descriptions(relations_file)
        if descriptions["negative_relation"] is None and builtin["negative_relation"] in descriptions["relations"]:
            descriptions["negative_relation"] = builtin["negative_relation"]
        warn_of_doubts(descriptions, relations_file)
    required = not layout.order_is_published and relations_file is None
    path = find_file(folders, list(layout.relation_files), "file of relation ids", required)
    if path is None:
        order = "published order" if relations_file is None else f"that of {relations_file.name}"
        return descriptions, f"{order} (no {layout.relation_files[0]} among the raw files)"
    try:
        return select_relations(descriptions, read_relation_ids(path)), path.name
    except DescriptionError as error:
        if relations_file is not None:
            raise DescriptionError(f"{relations_file}: {error}, which {path} has") from error
        raise DescriptionError(
            f"{path}: {error} among the built-in ones. Where a version of {layout.name} has labels of its own, give "
            'the descriptions of all of its labels, {"label": "description", ...}, by --relations_file'
        ) from error


def _read_rows(
    path: Path,
    split: str,
    relation_names: list[str],
    known_by: str,
    dictionary: ObjectDictionary,
    layout: PostFormat,
) -> Iterator[dict]:
    """Yields a row of the schema for each line of a text file, with `image` not located yet."""
    for place, record in read_literal_lines(path):
        require(place, record, ("token", "h", "t", "img_id", "relation"))
        tokens = read_tokens(place, record, "token")
        image_id = read_string(place, record, "img_id")
        entities = {}
        for role, field, kind in (("head", "h", layout.head_kind), ("tail", "t", layout.tail_kind)):
            if isinstance(record[field], dict) and isinstance(record[field].get("name"), list):
                record[field]["name"] = " ".join(map(str, record[field]["name"]))
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
            "relation": read_relation(place, record, relation_names, known_by),
        }


def _locate(rows: Iterable[dict], paths: dict[str, str | None], unlike: set[str], raw_dir: Path) -> Iterator[dict]:
    """Yields the rows with their pictures' `paths`; those below `raw_dir` tell unlike ones of a name apart."""
    for row in rows:
        row["image"] = paths[row["image_id"]]
        if row["image_id"] in unlike:
            row["image_id"] = Path(row["image"]).relative_to(raw_dir).as_posix()
        yield row


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
    check_mention(place, f"{field}.pos", mention)
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
            box, _ = read_box(value["pos"], dictionary.form)
        except ValueError as error:
            raise place.error(f"{field}.pos", f"object {name!r} of image {image_id!r}: {error}") from error
        if not same_box(box, boxes[name]):
            message = f"object {name!r} of image {image_id!r} is at {box} here and at {boxes[name]}"
            raise place.error(f"{field}.pos", f"{message} in {dictionary.path} (corners, as fractions)")
    return object_entity(name, boxes[name])

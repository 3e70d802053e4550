# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Your own data: JSON lines, one pair of entities a line, with any set of relations, with or without pictures.

`python -m data_scripts.jsonl --raw_dir RAW --output_dir OUT` reads `train.jsonl`, `validation.jsonl` and `test.jsonl`
(those that are there, at least one) and `relation_descriptions.json`, and writes a data set that `load_dataset(OUT)`
opens. A line:

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
score,          optional: what a model said with the relation, as in the file that the demo gives of all pairs. Not
description     kept.
a box           one of: `box` (x0, y0, x1, y1 in 0-1), `box_pixels` (the same in pixels), `box_center` (center x and y,
                width, height in 0-1), `box_center_pixels`; of the upright picture, its EXIF orientation applied.

`relation_descriptions.json` is `{label: "description"}` or `{label: ["description", ...]}`, or has this project's own
form (see data_scripts/descriptions/files.py); its order is the order of the labels' ids.
"""

from pathlib import Path

from tqdm.auto import tqdm

from data_scripts.converters.convert import RawDataset, run_converter
from data_scripts.converters.json_rows import JsonRow
from data_scripts.descriptions.files import load_descriptions
from data_scripts.reading import DataError, Place, read_json_lines
from data_scripts.schema import SPLITS

DESCRIPTIONS_FILE = "relation_descriptions.json"


def read_jsonl(raw_dir: Path, image_dir: Path | None = None, negative_relation: str | None = None) -> RawDataset:
    """Reads JSON lines.

    Args:
        raw_dir: folder with `train.jsonl`, `validation.jsonl`, `test.jsonl` and `relation_descriptions.json`.
        image_dir: folder from which pictures' paths lead on; None: `raw_dir`.
        negative_relation: label that says "none of the relations", if the descriptions do not tell.

    Raises:
        DataError: naming file, line and field, if anything is missing or broken.
        DescriptionError: naming file and relation, if the descriptions are not as they should be.
    """
    image_dir = raw_dir if image_dir is None else image_dir
    if not image_dir.is_dir():
        raise DataError(f"{image_dir} is no folder")
    files = {split: raw_dir / f"{split}.jsonl" for split in SPLITS if (raw_dir / f"{split}.jsonl").is_file()}
    if not files:
        raise DataError(f"no data: none of {[f'{split}.jsonl' for split in SPLITS]} is in {raw_dir}")
    descriptions = load_descriptions(raw_dir / DESCRIPTIONS_FILE, negative_relation)
    relation_names = list(descriptions["relations"])
    splits, counts, places = {}, {}, {}
    for split, path in files.items():
        splits[split], counts[split] = [], {"texts_with_words_split": 0, "boxes_clipped": 0}
        for place, record in tqdm(read_json_lines(path), desc=f"Reading {path.name}", unit=" rows"):
            row = JsonRow(place, record, image_dir, counts[split]).read(f"{split}-{place.line}", relation_names)
            if row["id"] in places:
                first = places[row["id"]]
                raise place.error("id", f"{row['id']!r} is the id of {first.path.name}, line {first.line}, already")
            places[row["id"]] = place
            splits[split].append(row)
        if not splits[split]:
            raise DataError(f"{path} has no line")
    _check_image_ids([row for rows in splits.values() for row in rows], places)
    return RawDataset(
        name=raw_dir.resolve().name,
        splits=splits,
        relation_names=relation_names,
        relation_order=DESCRIPTIONS_FILE,
        negative_relation=descriptions["negative_relation"],
        descriptions=descriptions,
        counts=counts,
    )


def _check_image_ids(rows: list[dict], places: dict[str, Place]) -> None:
    """Refuses two pictures under one name: training would show the first of them for both."""
    paths: dict[str, str | None] = {}
    for row in rows:
        if row["image"] is not None and paths.setdefault(row["image_id"], row["image"]) != row["image"]:
            message = f"{row['image_id']!r} names two pictures, {paths[row['image_id']]} and {row['image']}"
            raise places[row["id"]].error("image_id", message)


FLAGS = {
    "image_dir": {"type": Path, "help": "folder from which pictures' paths lead on; by default the raw folder"},
    "negative_relation": {"help": "label that says none of the relations, if the descriptions do not tell"},
}


def main() -> None:
    run_converter(read_jsonl, description=__doc__, reader_flags=FLAGS)

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""UMRE: MNRE and MORE united; head and tail may each be a mention in the text or an object in the picture.

`python -m data_scripts.umre --raw_dir RAW --output_dir OUT` reads the files of the REMOTE authors and writes a data
set that `load_dataset(OUT)` opens.

An entity with a `pos` of two numbers is a mention; with one of four numbers (its box), or without, it is an object,
and its `name` is the object's key. How the files are called is not documented, so they are looked for under MORE's
names and their nearest variants: the validation split may be called `valid`, `val` or `dev`, a text file may begin
with `umre_`, and the object dictionary may be one a split or one for all (`ent_dict.json`), JSON or `.pth`.

Source: the REMOTE authors' data set, ACM MM 2025.
"""

import dataclasses
from pathlib import Path

from data_scripts.converters.convert import RawDataset, run_converter
from data_scripts.converters.more import MORE
from data_scripts.converters.posts import read_posts
from data_scripts.schema import SPLITS

UMRE = dataclasses.replace(
    MORE,
    name="UMRE",
    raw_splits=dict(zip(SPLITS, (("train",), ("valid", "val", "dev"), ("test",)), strict=True)),
    text_files=("{}.txt", "umre_{}.txt"),
    order_is_published=True,
    head_kinds=("text", "object"),
    tail_kinds=("text", "object"),
    object_files=("ent_{}_dict.json", "ent_{}_dict.pth", "ent_dict.json", "ent_dict.pth"),
    boxes_are_repeated=True,
)


def read_umre(raw_dir: Path) -> RawDataset:
    """Reads UMRE's raw files.

    Args:
        raw_dir: folder with the text files, the object dictionaries, `rel2id.json` if there is one (else the published
            order of the relations holds), the pictures below `img_org` and, if it is there, `caption_dict.json`. All
            files may lie in the folder itself or in `txt`.

    Raises:
        DataError: naming file, line (of a dictionary: image and object) and field, if anything is missing or broken;
            so does an object's `pos` that is not the box which the dictionary has.
    """
    return read_posts(raw_dir, UMRE)


def main() -> None:
    run_converter(read_umre, description=__doc__)

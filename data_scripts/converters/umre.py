# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""UMRE: MNRE and MORE united; head and tail may each be a mention in the text or an object in the picture.

`python -m data_scripts.umre --raw_dir RAW --output_dir OUT` reads the files of the REMOTE authors and writes a data
set that `load_dataset(OUT)` opens.

The raw folder holds the text files, the object dictionaries, `rel2id.json` if there is one (else the published order
of the relations holds), the pictures below `img_org` and, if it is there, `caption_dict.json`. All files may lie in
the folder itself or in `txt`. How they are called is not documented, so they are looked for under MORE's names and
their nearest variants: the validation split may be called `valid`, `val` or `dev`, a text file may begin with `umre_`,
and the object dictionary may be one a split or one for all (`ent_dict.json`), JSON or `.pth`.

An entity with a `pos` of two numbers is a mention; with one of four numbers (its box, which must be the dictionary's
too), or without, it is an object, and its `name` is the object's key.

Source: the REMOTE authors' data set, ACM MM 2025.
"""

import dataclasses
from pathlib import Path

from data_scripts.converters.convert import RawDataset, run_converter
from data_scripts.converters.more import MORE
from data_scripts.converters.posts import read_posts

UMRE = dataclasses.replace(
    MORE,
    name="UMRE",
    raw_splits={"train": ("train",), "validation": ("valid", "val", "dev"), "test": ("test",)},
    text_files=("{}.txt", "umre_{}.txt"),
    order_is_published=True,
    head_kind="either",
    tail_kind="either",
    object_files=("ent_{}_dict.json", "ent_{}_dict.pth", "ent_dict.json", "ent_dict.pth"),
    boxes_are_repeated=True,
)


def read_umre(raw_dir: Path) -> RawDataset:
    """Reads UMRE's raw files; raises what `read_posts` raises."""
    return read_posts(raw_dir, UMRE)


def main() -> None:
    run_converter(read_umre, description=__doc__)

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""UMRE: MNRE and MORE united; head and tail may each be a mention in the text or an object in the picture.

`python -m data_scripts.umre --raw_dir RAW --output_dir OUT` reads the files of the REMOTE authors and writes a data
set that `load_dataset(OUT)` opens.

The raw folder holds the files as their authors' code opens them, in the folder `umke_partner`: `train_set.json`,
`val_set.json` and `test_set.json` (a post a line, as Python or as JSON writes it), `pos_umke.json`, the object
dictionary, and if they are there `rel2id_umke_partner.json` (else the published order of the relations holds) and
`cap_qwenvl_simply.json`; the pictures are in `UMKE_IMG`. MORE's names of files and folders will do too, and their
nearest variants: all files may lie in the raw folder itself or in `txt`, a text file may begin with `umre_`, and the
object dictionary may be one a split or one for all (`ent_dict.json`), JSON or `.pth`.

An entity with a `pos` of two numbers is a mention; with one of four numbers (its box, which must be the dictionary's
too), or without, it is an object, and its `name` is the object's key. Boxes are corners, or center and size, as
fractions of the picture: if only one of the two keeps all boxes of the dictionaries within their pictures, it is that
one; else --box_form says which.

Labels such as `/per/org/member_of` do not always name head and tail in this order; with --entity_tagger, the report
counts the pairs whose types are those of their label the other way round.

Source: the REMOTE authors' data set, ACM MM 2025.
"""

import dataclasses
from pathlib import Path

from data_scripts.converters.convert import RawDataset, run_converter
from data_scripts.converters.more import MORE
from data_scripts.converters.posts import BOX_FORM_FLAG, FLAGS, read_posts

UMRE = dataclasses.replace(
    MORE,
    name="UMRE",
    text_folders=("", "txt", "umke_partner"),
    text_files=("{}.txt", "umre_{}.txt", "{}_set.json"),
    relation_files=("rel2id.json", "rel2id_umke_partner.json"),
    order_is_published=True,
    head_kind="either",
    tail_kind="either",
    object_files=("ent_{}_dict.json", "ent_{}_dict.pth", "ent_dict.json", "ent_dict.pth", "pos_umke.json"),
    caption_files=("caption_dict.json", "cap_qwenvl_simply.json"),
    boxes_are_repeated=True,
    box_form=None,
)


def read_umre(raw_dir: Path, **options) -> RawDataset:
    """Reads UMRE's raw files; options and errors are those of `read_posts`."""
    # Where only the folder of their texts is named, the pictures are beside it.
    raw_dir = raw_dir.parent if raw_dir.name == "umke_partner" else raw_dir
    return read_posts(raw_dir, UMRE, **options)


def main() -> None:
    run_converter(read_umre, description=__doc__, reader_flags=FLAGS | {"box_form": BOX_FORM_FLAG})

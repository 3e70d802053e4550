# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""MNRE (version 2): relations between two mentions in a social-media text that comes with a picture.

`python -m data_scripts.mnre --raw_dir RAW --output_dir OUT` reads the text files and pictures as the MNRE authors
publish them, or as other projects' copies arrange them, and writes a data set that `load_dataset(OUT)` opens.

The raw folder holds the text files (here or in `txt` or `mnre_txt`; `mnre_*.txt` or `ours_*.txt`; the published
validation file has a blank before its dot), `rel2id.json` if there is one, and the pictures.

Source: Zheng et al., "Multimodal Relation Extraction with Efficient Graph Alignment", ACM MM 2021, and "MNRE: A
Challenge Multimodal Dataset for Neural Relation Extraction with Visual Evidence in Social Media Posts", ICME 2021.
"""

from pathlib import Path

from data_scripts.converters.convert import RawDataset, run_converter
from data_scripts.converters.posts import FLAGS, PostFormat, read_posts

MNRE = PostFormat(
    name="MNRE",
    text_folders=("", "txt", "mnre_txt"),
    text_files=("mnre_{}.txt", "mnre_{} .txt", "ours_{}.txt", "ours_{} .txt"),
    relation_files=("rel2id.json", "ours_rel2id.json"),
    descriptions="mnre",
    order_is_published=True,
    head_kind="text",
    tail_kind="text",
)


def read_mnre(raw_dir: Path, **options) -> RawDataset:
    """Reads MNRE's raw files; options and errors are those of `read_posts`."""
    return read_posts(raw_dir, MNRE, **options)


def main() -> None:
    run_converter(read_mnre, description=__doc__, reader_flags=FLAGS)

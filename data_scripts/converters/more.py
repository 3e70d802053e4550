# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""MORE: relations between a mention in a social-media text (head) and an object in its picture (tail).

`python -m data_scripts.more --raw_dir RAW --output_dir OUT` reads the files of the MORE authors and writes a data set
that `load_dataset(OUT)` opens.

The raw folder holds `txt/{train,valid,test}.txt`, `ent_{train,valid,test}_dict.pth` (or `.json`), `rel2id.json`, the
pictures below `img_org` and, if it is there, `caption_dict.json`. All files may lie in the folder itself or in `txt`.
Depth maps (`img_dep`) are not read.

Source: He et al., "MORE: A Multimodal Object-Entity Relation Extraction Dataset with a Benchmark Evaluation", ACM MM
2023, revised version.
"""

from pathlib import Path

from data_scripts.converters.convert import RawDataset, run_converter
from data_scripts.converters.posts import FLAGS, PostFormat, read_posts

MORE = PostFormat(
    name="MORE",
    text_folders=("", "txt"),
    text_files=("{}.txt",),
    relation_files=("rel2id.json",),
    descriptions="umre",  # MORE's labels are among UMRE's
    order_is_published=False,
    head_kind="text",
    tail_kind="object",
    object_files=("ent_{}_dict.pth", "ent_{}_dict.json"),
    caption_files=("caption_dict.json",),
)


def read_more(raw_dir: Path, **options) -> RawDataset:
    """Reads MORE's raw files; options and errors are those of `read_posts`."""
    return read_posts(raw_dir, MORE, **options)


def main() -> None:
    run_converter(read_more, description=__doc__, reader_flags=FLAGS)

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""MNRE (version 2): relations between two mentions in a social-media text that comes with a picture.

`python -m data_scripts.mnre --raw_dir RAW --output_dir OUT` reads the text files and pictures as the MNRE authors
publish them, or as other projects' copies arrange them, and writes a data set that `load_dataset(OUT)` opens.

Source: Zheng et al., "Multimodal Relation Extraction with Efficient Graph Alignment", ACM MM 2021, and "MNRE: A
Challenge Multimodal Dataset for Neural Relation Extraction with Visual Evidence in Social Media Posts", ICME 2021.
"""

from pathlib import Path

from tqdm.auto import tqdm

from data_scripts.convert import RawDataset, run_converter
from data_scripts.descriptions import load_builtin_descriptions, select_relations
from data_scripts.pictures import index_pictures, locate_picture
from data_scripts.reading import (
    find_one,
    read_literal_lines,
    read_relation,
    read_relation_ids,
    read_string,
    read_text_entity,
    read_tokens,
)
from data_scripts.schema import SPLITS

NEGATIVE_RELATION = "None"
RAW_SPLITS = dict(zip(SPLITS, ("train", "val", "test"), strict=True))
TEXT_FOLDERS = ("", "txt", "mnre_txt")
RELATION_FILES = ("rel2id.json", "ours_rel2id.json")


def read_mnre(raw_dir: Path) -> RawDataset:
    """Reads MNRE's raw files.

    Args:
        raw_dir: folder with the text files (here or in `txt` or `mnre_txt`; `mnre_*.txt` or `ours_*.txt`; the
            published validation file has a blank before its dot), `rel2id.json` if there is one, and the pictures.

    Raises:
        DataError: naming file, line and field, if anything is missing or broken.
    """
    folders = [raw_dir / folder for folder in TEXT_FOLDERS]
    descriptions = load_builtin_descriptions("mnre")
    if any((folder / name).is_file() for folder in folders for name in RELATION_FILES):
        path = find_one(folders, list(RELATION_FILES), "file of relation ids")
        relation_names, order = read_relation_ids(path), path.name
    else:
        relation_names, order = list(descriptions["relations"]), "published order (no rel2id.json among the raw files)"
    descriptions = select_relations(descriptions, relation_names)
    splits = {}
    for split, raw_split in RAW_SPLITS.items():
        names = [f"{prefix}_{raw_split}{blank}.txt" for prefix in ("mnre", "ours") for blank in ("", " ")]
        path = find_one(folders, names, f"text file of the {split} split")
        splits[split] = list(tqdm(read_rows(path, split, relation_names), desc=f"Reading {path.name}", unit=" rows"))
    pictures = index_pictures(raw_dir, {row["image_id"] for rows in splits.values() for row in rows})
    for split, rows in splits.items():
        for row in rows:
            row["image"] = locate_picture(pictures, row["image_id"], RAW_SPLITS[split])
    return RawDataset(
        name="MNRE",
        splits=splits,
        relation_names=relation_names,
        relation_order=order,
        negative_relation=NEGATIVE_RELATION,
        descriptions=descriptions,
    )


def read_rows(path: Path, split: str, relation_names: list[str]):
    """Yields a row of the schema for each line of a text file, with `image` not located yet."""
    for place, record in read_literal_lines(path, ("token", "h", "t", "img_id", "relation")):
        tokens = read_tokens(place, record)
        yield {
            "id": f"mnre-{split}-{place.line}",
            "image": None,
            "image_id": read_string(place, record, "img_id"),
            "tokens": tokens,
            "head": read_text_entity(place, record, "h", tokens),
            "tail": read_text_entity(place, record, "t", tokens),
            "objects": [],
            "relation": read_relation(place, record, relation_names),
        }


if __name__ == "__main__":
    run_converter(read_mnre, description=__doc__)

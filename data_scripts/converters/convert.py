# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Common to all converters: command line, pictures, entity types, and writing the data set whole or not at all."""

import argparse
import dataclasses
import functools
import json
import math
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from datasets import Dataset, DatasetInfo, SplitDict, SplitInfo
from datasets.info import DatasetInfosDict
from datasets.table import embed_table_storage
from huggingface_hub import DatasetCard, DatasetCardData

from data_scripts.converters.entity_typing import EntityTagger, TaggerError, load_tagger, type_span
from data_scripts.converters.pictures import check_pictures
from data_scripts.converters.push import add_push_arguments, push_dataset
from data_scripts.converters.report import (
    describe_agreement,
    describe_objects,
    describe_rows,
    describe_sharing,
    describe_types,
    render_report,
)
from data_scripts.descriptions.files import DescriptionError, write_descriptions
from data_scripts.hub_errors import HubError, explain_full_disk, is_disk_full, prepare_repository
from data_scripts.reading import DataError
from data_scripts.schema import TRAIN, dataset_features

CARD_TEMPLATE = Path(__file__).with_name("dataset_card.md")
SHARD_BYTES = 500_000_000
MISSING_IMAGES = {
    "text_only": "kept, with image null, without objects, and with image_id telling which picture is missing",
    "error": "refused",
    "drop": "dropped",
}


@dataclasses.dataclass
class RawDataset:
    """A raw data set as its reader hands it over.

    Attributes:
        name: what people call it, e.g. "MNRE".
        splits: rows of the schema by split, with `image` a path or None and `relation` a name.
        relation_names: labels in the order of their ids.
        relation_order: where that order is from, in words.
        negative_relation: the label that says "none of the relations", or None.
        descriptions: content of `relation_descriptions.json` for exactly these labels.
        counts: what only the reader can count, {split: {name: number}}, for the report.
        remarks: what else the report says of the raw files, one sentence each.
    """

    name: str
    splits: dict[str, list[dict]]
    relation_names: list[str]
    relation_order: str
    negative_relation: str | None
    descriptions: dict
    counts: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    remarks: list[str] = dataclasses.field(default_factory=list)


def run_converter(
    read: Callable[..., RawDataset],
    description: str | None = None,
    arguments: list[str] | None = None,
    reader_flags: dict[str, dict] | None = None,
) -> None:
    """Command line of a converter; broken input ends it with a message and exit status 1.

    Args:
        read: reader of the raw data set, from its folder and the values of `reader_flags`.
        description: what `--help` says.
        arguments: the command line; by default the program's own.
        reader_flags: further flags, {name: arguments of `add_argument`}.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw_dir", type=Path, required=True, help="folder with the raw files")
    parser.add_argument("--output_dir", type=Path, required=True, help="folder to write; must not exist yet")
    parser.add_argument(
        "--missing_images",
        choices=MISSING_IMAGES,
        default="text_only",
        help="rows whose picture is not there: keep them without, refuse them, or drop them",
    )
    parser.add_argument(
        "--entity_tagger",
        default="none",
        help="who types head and tail: none, spacy:<pipeline>, or hf:<token-classification model>",
    )
    parser.add_argument("--num_proc", type=int, default=None, help="processes that tag and check pictures")
    for name, settings in (reader_flags or {}).items():
        parser.add_argument(f"--{name}", **settings)
    add_push_arguments(parser)
    options = vars(parser.parse_args(arguments))
    repo_id, private, revision = (options.pop(name) for name in ("push_to_hub", "private", "revision"))
    read = functools.partial(read, **{name: options.pop(name) for name in reader_flags or {}})
    if repo_id is None and (private or revision is not None):
        parser.error("--private and --revision say how to push: name a data set by --push_to_hub")
    folder = options["output_dir"]
    try:
        if repo_id is not None:
            if folder.exists():
                raise DataError(f"{folder} exists already; push it by data_scripts.push, or name another folder")
            repo_id = prepare_repository(repo_id, "dataset", private, revision)
        report = convert(read, **options)
        print(render_report(report))
        if repo_id is not None:
            print(f"\nPushed: {push_dataset(folder, repo_id, private, revision)}")
    except (DataError, DescriptionError, TaggerError, HubError) as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if not is_disk_full(error):
            raise
        sys.exit(f"error: {explain_full_disk(error)}")


def convert(
    read: Callable[[Path], RawDataset],
    raw_dir: Path,
    output_dir: Path,
    missing_images: str = "text_only",
    entity_tagger: str = "none",
    num_proc: int | None = None,
) -> dict:
    """Reads, checks, types and writes a data set; returns the report.

    Args:
        read: reader of the raw data set, from its folder.
        raw_dir: folder with the raw files.
        output_dir: folder to write, which must not exist; it appears only when it is complete.
        missing_images: "text_only", "error" or "drop": what happens to rows whose picture is not there.
        entity_tagger: "none", "spacy:<pipeline>" or "hf:<model>".
        num_proc: processes for tagging and for checking the pictures.

    Raises:
        DataError: if the raw files are broken, a folder is not as it should be, no row is left, or pictures are
            missing and `missing_images` is "error", or "text_only" though head or tail is an object.
        TaggerError: if the tagger cannot be used.
    """
    if not raw_dir.is_dir():
        raise DataError(f"{raw_dir} is no folder")
    if output_dir.exists():
        raise DataError(f"{output_dir} exists already; name another folder or remove it first")
    tagger = load_tagger(entity_tagger)
    raw = read(raw_dir)
    check_pictures(sorted({row["image"] for rows in raw.splits.values() for row in rows if row["image"]}), num_proc)
    report = {
        "dataset": raw.name,
        "relations": len(raw.relation_names),
        "relation_order": raw.relation_order,
        "negative_relation": raw.negative_relation,
        "missing_images": MISSING_IMAGES[missing_images],
        "entity_tagger": entity_tagger,
        "splits": {split: describe_rows(rows, raw.negative_relation) for split, rows in raw.splits.items()},
        "shared": describe_sharing(raw.splits),
        "remarks": raw.remarks,
    }
    with_objects = any(row["objects"] for rows in raw.splits.values() for row in rows)
    for split, rows in raw.splits.items():
        counts = report["splits"][split]
        counts |= describe_objects(rows) if with_objects else {}
        counts |= raw.counts.get(split, {})
        raw.splits[split] = treat_missing_images(rows, missing_images)
        counts["rows_written"] = len(raw.splits[split])
    if not any(raw.splits.values()):
        raise DataError("no row is left to write")
    if tagger is not None:
        for split, rows in raw.splits.items():
            type_rows(rows, tagger, split, num_proc)
        report["entity_types"] = {split: describe_types(rows) for split, rows in raw.splits.items()}
        report["type_agreement_in_train"] = describe_agreement(raw.splits.get(TRAIN, []), raw.negative_relation)
    write_dataset(raw, report, output_dir)
    return report


def treat_missing_images(rows: list[dict], missing_images: str) -> list[dict]:
    """The rows to write, given what is to happen to rows whose picture is not there.

    A row that is kept without its picture is kept without the picture's objects.

    Raises:
        DataError: if `missing_images` is "error" and a picture is missing, or it is "text_only" and a head or tail is
            an object of a missing picture.
    """
    missing = [row for row in rows if row["image_id"] is not None and row["image"] is None]
    unseen = [row for row in missing if "object" in (row["head"]["kind"], row["tail"]["kind"])]
    if missing and missing_images == "error":
        raise DataError(f"{len(missing)} rows have no picture: {name_rows(missing)}")
    if unseen and missing_images == "text_only":
        raise DataError(
            f"{len(unseen)} rows have an object as head or tail but no picture to see it in: {name_rows(unseen)}. "
            "They cannot be kept as text only: add the pictures, or leave out all rows without a picture by "
            "--missing_images drop; --missing_images error makes sure that none is missing"
        )
    dropped = {row["id"] for row in missing} if missing_images == "drop" else set()
    for row in missing:
        row["objects"] = []
    return [row for row in rows if row["id"] not in dropped]


def name_rows(rows: list[dict]) -> str:
    """The first of some rows with their pictures, for messages."""
    named = ", ".join(f"{row['image_id']} (row {row['id']})" for row in rows[:5])
    return f"{named}, …" if len(rows) > 5 else named


def type_rows(rows: list[dict], tagger: EntityTagger, split: str, num_proc: int | None) -> None:
    """Sets the type of every head and tail in the text that has none yet, tagging each distinct text once."""
    texts = list({tuple(row["tokens"]): None for row in rows})
    if not texts:
        return
    tagged = Dataset.from_dict({"tokens": [list(tokens) for tokens in texts]}).map(
        lambda batch: {"entities": [json.dumps(entities) for entities in tagger.tag(batch["tokens"])]},
        batched=True,
        batch_size=64,
        num_proc=num_proc,
        keep_in_memory=True,
        desc=f"Tagging {split}",
    )
    entities = {tokens: json.loads(found) for tokens, found in zip(texts, tagged["entities"], strict=True)}
    for row in rows:
        for entity in (row["head"], row["tail"]):
            if entity["kind"] == "text" and entity["type"] is None:
                entity["type"] = type_span((entity["start"], entity["end"]), entities[tuple(row["tokens"])])


def write_dataset(raw: RawDataset, report: dict, output_dir: Path) -> None:
    """Writes Parquet files, card, report and relation descriptions, and only then lets `output_dir` appear."""
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output_dir.parent, prefix=f".{output_dir.name}-") as workspace:
        target = Path(workspace, "dataset")
        (target / "data").mkdir(parents=True)
        splits = {split: rows for split, rows in raw.splits.items() if rows}
        sizes = SplitDict()
        for split, rows in splits.items():
            num_bytes = write_split(rows, raw.relation_names, target / "data", split, Path(workspace))
            sizes[split] = SplitInfo(split, num_bytes=num_bytes, num_examples=len(rows))
        write_descriptions(raw.descriptions, target / "relation_descriptions.json")
        (target / "report.json").write_text(json.dumps(report, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        data_files = [{"split": split, "path": f"data/{split}-*"} for split in splits]
        card_data = DatasetCardData(
            pretty_name=raw.name,
            tags=["relation-extraction", "multimodal"],
            configs=[{"config_name": "default", "data_files": data_files}],
        )
        info = DatasetInfo(
            features=dataset_features(raw.relation_names),
            splits=sizes,
            download_size=sum(path.stat().st_size for path in (target / "data").iterdir()),
            dataset_size=sum(split.num_bytes for split in sizes.values()),
        )
        DatasetInfosDict(default=info).to_dataset_card_data(card_data)
        DatasetCard.from_template(
            card_data, template_path=str(CARD_TEMPLATE), name=raw.name, report=render_report(report)
        ).save(target / "README.md")
        os.rename(target, output_dir)


def write_split(rows: list[dict], relation_names: list[str], folder: Path, split: str, workspace: Path) -> int:
    """Writes a split as Parquet files of about SHARD_BYTES, with the pictures' own bytes inside.

    Args:
        rows: at least one row.
        relation_names: labels in the order of their ids.
        folder: where the files go.
        split: name of the split, and so of its files.
        workspace: folder for intermediate files, on a disk with as much room again.

    Returns:
        The split's size as Arrow data, in bytes.
    """
    features = dataset_features(relation_names)
    columns = {name: [row[name] for row in rows] for name in features}
    num_shards = max(1, math.ceil(sum(os.path.getsize(path) for path in columns["image"] if path) / SHARD_BYTES))
    dataset = Dataset.from_dict(columns, features=features)
    num_bytes = 0
    for index in range(num_shards):
        shard = dataset.shard(num_shards, index, contiguous=True).with_format("arrow")
        cache = workspace / f"{split}-{index}.arrow"
        shard = shard.map(
            embed_table_storage,
            batched=True,
            batch_size=100,
            cache_file_name=str(cache),
            desc=f"Reading pictures of {split}",
        )
        shard.to_parquet(folder / f"{split}-{index:05d}-of-{num_shards:05d}.parquet")
        num_bytes += shard.data.nbytes
        cache.unlink()
    return num_bytes

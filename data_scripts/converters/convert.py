# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Common to all converters: command line, missing pictures, and writing the data set whole or not at all."""

import argparse
import dataclasses
import functools
import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import DatasetInfo, Features, SplitDict, SplitInfo
from datasets.info import DatasetInfosDict
from datasets.table import cast_table_to_features
from huggingface_hub import DatasetCard, DatasetCardData
from tqdm.auto import tqdm

from data_scripts.command import ending_in_one_line
from data_scripts.converters.entity_typing import load_tagger, type_rows
from data_scripts.converters.pictures import check_pictures
from data_scripts.converters.push import add_push_arguments, explain_rest, push_dataset, take_push_arguments
from data_scripts.converters.report import (
    describe_objects,
    describe_rows,
    describe_sharing,
    describe_types,
    render_report,
    survey_rows,
)
from data_scripts.converters.rows import StoredRows
from data_scripts.descriptions.files import DESCRIPTIONS_FILE, write_descriptions
from data_scripts.hub_errors import prepare_repository
from data_scripts.reading import DataError
from data_scripts.schema import dataset_features
from data_scripts.writing import write_json

CARD_TEMPLATE = Path(__file__).with_name("dataset_card.md")
FILE_BYTES = 100_000_000
"""Of distinct pictures in a Parquet file: who wants its first row reads no more."""
READ_BYTES = 500_000_000
"""Of the pictures of a Parquet file's rows, each with its own: readers hold them in memory at once."""
FILE_ROWS = 50_000
"""Of a Parquet file: a conversion holds them in memory at once."""
WITHOUT_IMAGE = {
    "text_only": "kept, with image null, without objects, and with image_id telling which picture it is",
    "error": "refused",
    "drop": "dropped",
}
"""What becomes of rows whose picture is missing or unreadable."""

KeepRows = Callable[[Iterable[dict]], Collection[dict]]
"""What keeps the rows that a reader makes one after the other: a list, or `StoredRows` in a conversion."""


@dataclasses.dataclass
class RawDataset:
    """A raw data set as its reader hands it over.

    Attributes:
        name: what people call it, e.g. "MNRE".
        splits: rows of the schema by split, with `image` a path or None and `relation` a name.
        descriptions: content of `relation_descriptions.json` for exactly the data set's labels, in the order of their
            ids.
        relation_order: where that order is from, in words.
        counts: what only the reader can count, {split: {name: number}}, for the report.
        remarks: what else the report says of the raw files, one sentence each.
    """

    name: str
    splits: dict[str, Collection[dict]]
    descriptions: dict
    relation_order: str
    counts: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    remarks: list[str] = dataclasses.field(default_factory=list)

    @property
    def relation_names(self) -> list[str]:
        """Labels in the order of their ids."""
        return list(self.descriptions["relations"])


def run_converter(
    read: Callable[..., RawDataset],
    description: str | None = None,
    arguments: list[str] | None = None,
    reader_flags: dict[str, dict] | None = None,
) -> None:
    """Command line of a converter; broken input ends it with a message and exit status 1.

    Args:
        read: reader of the raw data set, from its folder, the values of `reader_flags`, and what keeps the rows.
        description: what `--help` says.
        arguments: the command line; by default the program's own.
        reader_flags: further flags, {name: arguments of `add_argument`}.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw_dir", type=Path, required=True, help="folder with the raw files")
    parser.add_argument("--output_dir", type=Path, required=True, help="folder to write; must not exist yet")
    parser.add_argument(
        "--missing_images",
        choices=WITHOUT_IMAGE,
        help="rows whose picture is not there: keep them without, refuse them, or drop them; by default they are kept "
        "if any picture is found",
    )
    parser.add_argument(
        "--unreadable_images",
        choices=WITHOUT_IMAGE,
        default="error",
        help="rows whose picture cannot be opened: the same choice; default: %(default)s",
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
    # pyarrow reads ~ as a shell does; so then must all else.
    options |= {name: value.expanduser() for name, value in options.items() if isinstance(value, Path)}
    folder = options["output_dir"]
    repo_id, private, revision = take_push_arguments(options)
    if repo_id is None and (private or revision is not None):
        parser.error("--private and --revision say how to push: name a data set by --push_to_hub")
    if options["num_proc"] is not None and options["num_proc"] < 1:
        parser.error("--num_proc must be at least 1")

    def what_stands() -> str:
        if not folder.exists():
            return "nothing was written"
        return f"{folder} is whole" if repo_id is None else explain_rest(folder, repo_id, private, revision)

    with ending_in_one_line(what_stands):
        if repo_id is not None:
            if folder.exists():
                raise DataError(f"{folder} exists already; push it by data_scripts.push, or name another folder")
            repo_id = prepare_repository(repo_id, "dataset", private, revision)
        print(render_report(convert(read, **options)))
        if repo_id is not None:
            print(f"\nPushed: {push_dataset(folder, repo_id, private, revision)}")


def convert(
    read: Callable[..., RawDataset],
    raw_dir: Path,
    output_dir: Path,
    missing_images: str | None = None,
    unreadable_images: str = "error",
    entity_tagger: str = "none",
    num_proc: int | None = None,
    **reader_options,
) -> dict:
    """Reads, checks, types and writes a data set; returns the report.

    Args:
        read: reader of the raw data set, from its folder and `keep`, what keeps the rows.
        raw_dir: folder with the raw files.
        output_dir: folder to write, which must not exist; it appears only when it is complete.
        missing_images: "text_only", "error" or "drop": what happens to rows whose picture is not there. None:
            "text_only", if any picture is there at all.
        unreadable_images: the same of rows whose picture cannot be opened.
        entity_tagger: "none", "spacy:<pipeline>" or "hf:<model>".
        num_proc: processes for tagging and for checking the pictures.
        reader_options: what else `read` is given.

    Raises:
        DataError: if the raw files are broken, a folder is not as it should be, no row is left, the tagger cannot be
            used, or pictures are missing or unreadable and that is to be an error, or "text_only" though head or tail
            is an object. A file beside `output_dir` then names all of these pictures.
        DescriptionError: if the relations' descriptions are broken.
    """
    if not raw_dir.is_dir():
        raise DataError(f"{raw_dir} is no folder")
    if output_dir.exists():
        raise DataError(f"{output_dir} exists already; name another folder or remove it first")
    parent = next(folder for folder in output_dir.absolute().parents if folder.exists())
    # Made at once: that it can be is not to be told after hours of tagging.
    with tempfile.TemporaryDirectory(dir=parent, prefix=f".{output_dir.name}-") as workspace:
        keep = functools.partial(StoredRows, folder=Path(workspace))
        tag = load_tagger(entity_tagger)
        raw = read(raw_dir, keep=keep, **reader_options)
        surveys = {split: survey_rows(rows) for split, rows in raw.splits.items()}
        every = pa.concat_tables(surveys.values()).unify_dictionaries()
        missing = every.filter(pc.and_(pc.is_null(every["image"]), pc.is_valid(every["image_id"])))
        pictures = set(every["image"].unique().to_pylist()) - {None}
        if len(missing) and not pictures and missing_images is None:
            folder = reader_options.get("image_dir") or raw_dir
            raise DataError(
                f"no picture is there: none of those that {len(missing)} rows name is in {folder} "
                f"({_name_rows(missing)}). To keep the texts alone, say --missing_images text_only"
            )
        missing_images = missing_images or "text_only"
        faults = check_pictures(sorted(pictures), num_proc)
        is_unreadable = pc.is_in(pc.field("image"), pa.array(faults, pa.string()))
        unreadable = every.filter(is_unreadable)
        check_without_image(missing, missing_images, "missing", missing["image_id"].unique().to_pylist(), output_dir)
        named = dict(zip(*(unreadable[name].to_pylist() for name in ("image_id", "image")), strict=True))
        lines = [f"{path}: {faults[path]}" for path in named.values()]
        check_without_image(unreadable, unreadable_images, "unreadable", lines, output_dir)
        negative_relation = raw.descriptions["negative_relation"]
        report = {
            "dataset": raw.name,
            "relations": len(raw.relation_names),
            "relation_order": raw.relation_order,
            "negative_relation": negative_relation,
            "missing_images": WITHOUT_IMAGE[missing_images],
            "unreadable_images": WITHOUT_IMAGE[unreadable_images],
            "entity_tagger": entity_tagger,
            "splits": {},
            "shared": describe_sharing(surveys),
            "remarks": raw.remarks,
        }
        with_objects = pc.max(every["num_objects"]).as_py()
        for split, rows in raw.splits.items():
            counts = report["splits"][split] = describe_rows(surveys[split], negative_relation)
            counts |= describe_objects(rows) if with_objects else {}
            counts |= raw.counts.get(split, {})
            own_faults = {
                row["image_id"]: faults[row["image"]] for row in surveys[split].filter(is_unreadable).to_pylist()
            }
            counts |= {"pictures_unreadable": len(own_faults), "unreadable_pictures": own_faults}
            if len(missing) or faults:
                raw.splits[split] = keep(treat_without_image(rows, faults, missing_images, unreadable_images))
            counts["rows_written"] = len(raw.splits[split])
        del every, surveys  # the rest does without
        if not any(map(len, raw.splits.values())):
            raise DataError("no row is left to write")
        if tag is not None:
            raw.splits = {split: keep(type_rows(rows, tag, split, num_proc)) for split, rows in raw.splits.items()}
            report |= describe_types(raw.splits, negative_relation)
        write_dataset(raw, report, Path(workspace, "dataset"))
        output_dir.parent.mkdir(parents=True, exist_ok=True)
        os.rename(Path(workspace, "dataset"), output_dir)
    return report


def check_without_image(rows: pa.Table, how: str, fault: str, names: list[str], output: Path) -> None:
    """Refuses rows (of a survey) whose picture is missing or unreadable (`fault`) where `convert` says so; all `names`
    of these pictures are then in a file beside `output`."""
    list_file = output.with_name(f"{output.name}-{fault}_images.txt")
    list_file.unlink(missing_ok=True)  # of an earlier try
    unseen = rows.filter(rows["has_object"])
    if how == "error" and fault == "missing" and len(rows):
        message = f"{len(rows)} rows have no picture: {_name_rows(rows)}."
    elif how == "error" and len(rows):
        message = f"{len(names)} unreadable pictures:\n" + "\n".join(names[:10]) + "\n"
    elif how == "text_only" and len(unseen):
        message = (
            f"{len(unseen)} rows have an object as head or tail but no picture to see it in: {_name_rows(unseen)}. "
            f"They cannot be kept as text only: add the pictures, or leave out all rows with a {fault} one by "
            f"--{fault}_images drop; --{fault}_images error makes sure that there is none."
        )
    else:
        return
    list_file.parent.mkdir(parents=True, exist_ok=True)
    list_file.write_text("\n".join(names) + "\n", encoding="utf-8", errors="backslashreplace")
    raise DataError(f"{message} All {len(names)} pictures are named in {list_file}")


def treat_without_image(
    rows: Iterable[dict], faults: dict[str, str], missing_images: str, unreadable_images: str
) -> Iterator[dict]:
    """Yields the rows to write; one that is kept without its picture loses its objects."""
    for row in rows:
        if row["image"] in faults or (row["image"] is None and row["image_id"] is not None):
            if (unreadable_images if row["image"] in faults else missing_images) == "drop":
                continue
            row |= {"image": None, "objects": []}
        yield row


def _name_rows(rows: pa.Table) -> str:
    """The first of some rows with their pictures, for messages."""
    named = ", ".join(f"{row['image_id']} (row {row['id']})" for row in rows[:5].to_pylist())
    return f"{named}, …" if len(rows) > 5 else named


def write_dataset(raw: RawDataset, report: dict, target: Path) -> None:
    """Writes Parquet files, card, report and relation descriptions."""
    (target / "data").mkdir(parents=True)
    splits = {split: rows for split, rows in raw.splits.items() if len(rows)}
    sizes = SplitDict()
    for split, rows in splits.items():
        num_bytes = write_split(rows, raw.relation_names, target / "data", split)
        sizes[split] = SplitInfo(split, num_bytes=num_bytes, num_examples=len(rows))
    write_descriptions(raw.descriptions, target / DESCRIPTIONS_FILE)
    write_json(target / "report.json", report)
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


def write_split(rows: StoredRows, relation_names: list[str], folder: Path, split: str) -> int:
    """Writes a split of at least one row as Parquet files, each of one row group, with each picture's own bytes once.

    Parquet keeps them as a dictionary, so that many rows with one picture cost little; whoever reads the file has the
    picture in each of them.

    Returns:
        The split's size as Arrow data, in bytes: there each row has its picture.
    """
    features, num_bytes, files = dataset_features(relation_names), 0, []
    others = Features({name: feature for name, feature in features.items() if name != "image"})
    images = features.arrow_schema.get_field_index("image")
    with tqdm(total=len(rows), desc=f"Writing {split}", unit=" rows") as progress:
        for part in cut_by_size(rows):
            paths = part["image"].to_pylist()
            table = cast_table_to_features(part.drop_columns("image").combine_chunks(), others)
            num_bytes += table.nbytes + sum(os.path.getsize(path) for path in paths if path)
            table = table.add_column(images, "image", embed_once(paths))
            files.append(folder / f"{split}-{len(files):05d}.parquet")
            with pq.ParquetWriter(
                files[-1],
                table.schema,
                # Readers are to have plain bytes, not a dictionary of Arrow's.
                store_schema=False,
                dictionary_pagesize_limit=2**31 - 1,
                use_dictionary=True,
            ) as writer:
                writer.write_table(table)
                writer.add_key_value_metadata(features.arrow_schema.metadata)
            progress.update(len(part))
    for file in files:
        file.rename(file.with_stem(f"{file.stem}-of-{len(files):05d}"))
    return num_bytes


def cut_by_size(rows: StoredRows) -> Iterator[pa.Table]:
    """Yields rows in their order, in parts of at most FILE_BYTES of distinct pictures, READ_BYTES of all rows', and
    FILE_ROWS."""
    part, count, seen, distinct, read = [], 0, set(), 0, 0
    for batch in rows.batches():
        start = 0
        for place, path in enumerate(batch["image"].to_pylist()):
            size = os.path.getsize(path) if path else 0
            new = size if path not in seen else 0
            if count and (distinct + new > FILE_BYTES or read + size > READ_BYTES or count == FILE_ROWS):
                yield pa.Table.from_batches([*part, batch[start:place]])
                start, part, count, seen, distinct, read, new = place, [], 0, set(), 0, 0, size
            count += 1
            seen.add(path)
            distinct += new
            read += size
        part.append(batch[start:])
    yield pa.Table.from_batches(part)


def embed_once(paths: list[str | None]) -> pa.StructArray:
    """The pictures at `paths` as a column of `datasets.Image`, their bytes in a dictionary."""
    places, index = {}, {None: None}
    for path in dict.fromkeys(paths):
        if path is not None:
            index[path] = places.setdefault(Path(path).read_bytes(), len(places))
    content = pa.DictionaryArray.from_arrays(
        pa.array([index[path] for path in paths], pa.int32()), pa.array(list(places), pa.binary())
    )
    names = pa.array([path and os.path.basename(path) for path in paths], pa.string())
    return pa.StructArray.from_arrays([content, names], ["bytes", "path"], mask=names.is_null())

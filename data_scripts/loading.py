# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Opens what the converters write, from a folder or from the Hub: the rows and the relation descriptions."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, load_dataset_builder
from datasets.builder import Key
from datasets.data_files import EmptyDatasetError
from datasets.packaged_modules.parquet.parquet import Parquet
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import RemoteEntryNotFoundError

from data_scripts.descriptions.files import (
    DESCRIPTIONS_FILE,
    DescriptionError,
    load_descriptions,
    select_relations,
    warn_of_doubts,
)
from data_scripts.hub_errors import HubError, check_repository, explain_hub_errors
from data_scripts.reading import DataError
from data_scripts.writing import replacing

logger = logging.getLogger(__name__)
DEMO = "demo"


def load_relation_dataset(
    name: str,
    config_name: str | None = None,
    revision: str | None = None,
    relations_file: str | None = None,
    negative_relation: str | None = None,
) -> tuple[DatasetDict, dict]:
    """
    Opens a data set in the project's row schema together with its relation descriptions.

    Args:
        name: `"demo"` (the embedded demo set), a folder that a converter wrote, or a data set on the Hub.
        config_name, revision: as for `datasets.load_dataset`.
        relations_file: descriptions to use in place of the data set's own.
        negative_relation: label that says "none of the relations", where the descriptions do not tell. Those of
            `relations_file` need it only if the data set's own do not tell either.

    Returns:
        The splits, and the content of the descriptions file with exactly the data set's relations, in their order.

    Raises:
        DataError: if the data set has no ClassLabel column `relation`.
        DescriptionError: if there are no descriptions, or a relation of the data set has none.
        HubError: if the data set or its revision is not on the Hub, or may not be read.
    """
    splits = open_rows(name, config_name, revision)
    relation_names = next(iter(splits.values())).features["relation"].names
    if relations_file is None:
        descriptions = _load_own_descriptions(name, revision, negative_relation)
    else:
        descriptions = load_descriptions(relations_file, negative_relation)
        if descriptions["negative_relation"] is None:
            try:
                own = _load_own_descriptions(name, revision)
                descriptions["negative_relation"] = own["negative_relation"]
            except DescriptionError as error:
                logger.warning("no relation is the negative one, as none is named (%s)", error)
    try:
        descriptions = select_relations(descriptions, relation_names)
    except DescriptionError as error:
        raise DescriptionError(f"data set {name!r}: {error}") from error
    warn_of_doubts(descriptions, f"data set {name!r}")
    return splits, descriptions


def open_rows(
    name: str, config_name: str | None = None, revision: str | None = None, split: str | None = None
) -> DatasetDict | Dataset:
    """
    Opens the rows of a data set: all splits, or the one that is named. Arguments are those of `load_relation_dataset`.

    Pictures are not decoded, but `{"bytes", "path"}`: `RocProcessor.open_picture` opens them as it does all others.

    Raises:
        DataError: if there is no such split, no Image column `image`, no ClassLabel column `relation`, or not the same
            in all files.
        HubError: if the data set or its revision is not on the Hub, or may not be read.
    """
    if name == DEMO:
        from data_scripts.demo.dataset import load_demo  # its tokenizer brings transformers, which take seconds

        rows = load_demo()
        return (rows if split is None else rows[split]).cast_column("image", Image(decode=False))
    check_repository(name, "dataset", revision)
    try:
        with explain_hub_errors(name, "dataset", revision):
            builder = load_dataset_builder(name, config_name, revision=revision, cache_dir=_cache_of(name))
            if isinstance(builder, Parquet):
                builder._generate_tables = _reading_pictures_once(builder)
            builder.download_and_prepare()
            rows = builder.as_dataset(split)
    except ValueError as error:
        raise DataError(f"data set {name!r}: {error}") from error
    except EmptyDatasetError as error:
        raise DataError(f"data set {name!r} is a folder without rows; convert one with data_scripts first") from error
    features = rows.features if split is not None else next(iter(rows.values())).features
    for column, kind in (("relation", ClassLabel), ("image", Image)):
        if not isinstance(features.get(column), kind):
            raise DataError(
                f"data set {name!r} has no {kind.__name__} column `{column}`; convert it with data_scripts first"
            )
    for path in sorted(Path(name).glob("**/*.parquet")) if Path(name).is_dir() else ():
        # datasets reads the numbers of every file as the labels of the first.
        names, own = features["relation"].names, Features.from_arrow_schema(pq.read_schema(path)).get("relation")
        if isinstance(own, ClassLabel) and own.names != names:
            raise DataError(f"{path} numbers its relations {', '.join(own.names)}, other files {', '.join(names)}")
    return rows.cast_column("image", Image(decode=False))


def _cache_of(name: str) -> str | None:
    """Where the rows of a folder are kept: by its files as they are now. datasets goes by its name and its README, and
    would give the rows of an earlier conversion, or of another folder that is called the same."""
    folder = Path(name).resolve()
    if not folder.is_dir():
        return None
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    stamps = [(str(path), (stat := path.stat()).st_size, stat.st_mtime_ns) for path in files]
    key = hashlib.sha256(json.dumps(stamps).encode()).hexdigest()[:16]
    return str(Path(datasets.config.HF_DATASETS_CACHE) / "folders" / key)


def _reading_pictures_once(builder: Parquet) -> Callable[[list[str], list], Iterator[tuple[Key, pa.Table]]]:
    """What fills a builder's cache, but with pictures as paths of files that are named by their content: its own would
    hold a picture as often as there are rows with it."""
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "pictures"

    def generate_tables(files: list[str], row_groups_list: list) -> Iterator[tuple[Key, pa.Table]]:
        folder.mkdir(parents=True, exist_ok=True)
        images = [name for name, feature in builder.info.features.items() if isinstance(feature, Image)]
        for file_number, file in enumerate(files):
            for number, batch in enumerate(pq.ParquetFile(file).iter_batches(batch_size=1000)):
                table = builder._cast_table(pa.Table.from_batches([batch]))
                for name in images:
                    index = table.schema.get_field_index(name)
                    column = _keep_once(table.column(index).combine_chunks(), folder)
                    table = table.set_column(index, table.schema.field(index), column)
                yield Key(file_number, number), table

    return generate_tables


def _keep_once(images: pa.StructArray, folder: Path) -> pa.StructArray:
    """A column of `datasets.Image` with paths below `folder` in place of bytes."""
    content = images.field("bytes").dictionary_encode()
    paths = []
    for picture in content.dictionary.to_pylist():
        path = folder / hashlib.sha256(picture).hexdigest()
        if not path.exists():
            with replacing(path) as temporary:
                temporary.write_bytes(picture)
        paths.append(str(path))
    kept = pa.array(paths, pa.string()).take(content.indices)
    return pa.StructArray.from_arrays(
        [pa.nulls(len(images), pa.binary()), pc.coalesce(kept, images.field("path"))],
        ["bytes", "path"],
        mask=images.is_null(),
    )


def _load_own_descriptions(name: str, revision: str | None, negative_relation: str | None = None) -> dict:
    """The descriptions that a data set brings."""
    if name == DEMO:
        from data_scripts.demo.dataset import load_demo_descriptions

        return load_demo_descriptions()
    if Path(name).is_dir():
        return load_descriptions(Path(name) / DESCRIPTIONS_FILE, negative_relation)
    try:
        with explain_hub_errors(name, "dataset", revision):
            path = hf_hub_download(name, DESCRIPTIONS_FILE, repo_type="dataset", revision=revision)
    except HubError as error:
        if not isinstance(error.__cause__, RemoteEntryNotFoundError):
            raise
        raise DescriptionError(
            f"The dataset {name} on the Hub has no {DESCRIPTIONS_FILE}: name a file of descriptions (relations_file)."
        ) from error
    return load_descriptions(path, negative_relation)


def most_objects(splits: DatasetDict) -> int:
    """The most objects of the picture that any row has, as head, tail or candidate; 0: no row has any."""
    most = 0
    for split in splits.values():
        for batch in split.select_columns(["head", "tail", "objects"]).with_format("arrow").iter(batch_size=10_000):
            # Head and tail are among the candidates, where a converter wrote them.
            counts = pc.list_value_length(batch["objects"])
            for role in ("head", "tail"):
                is_object = pc.equal(batch[role].combine_chunks().field("kind"), "object")
                counts = pc.max_element_wise(counts, is_object.cast(pa.int32()))
            most = max(most, pc.max(counts).as_py() or 0)
    return most


def relation_texts(descriptions: dict, kind: str) -> dict[str, list[str]]:
    """
    What stands in the relation memory: label → texts.

    Args:
        descriptions: content of a descriptions file.
        kind: `"descriptions"`, or `"labels"` for the label's own words (the ablation "labels instead of
            descriptions"): `/per/org/member_of` becomes "per org member of".
    """
    if kind == "labels":
        # An entry of several data sets' relations tells its label without the data set's name.
        labels = {label: entry.get("label", label) for label, entry in descriptions["relations"].items()}
        return {label: [own.replace("/", " ").replace("_", " ").strip()] for label, own in labels.items()}
    return {label: list(relation["descriptions"]) for label, relation in descriptions["relations"].items()}

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Posts from wherever they are, one after the other and from any place on: never all of them are held at once."""

import csv
import hashlib
import io
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import OpenFile, open_files
from fsspec.implementations.local import LocalFileSystem

from data_scripts.converters.pictures import find_picture
from data_scripts.hub_errors import explain_hub_errors
from data_scripts.reading import DataError, Place, is_text, parse_json, quote

SUFFIXES = {
    ".jsonl": "JSON lines",
    ".ndjson": "JSON lines",
    ".json": "JSON lines",
    ".csv": "CSV",
    ".parquet": "Parquet",
}
LONGEST_CELL = 2**31 - 1
NUM_SHOWN = 100
"""How many posts are looked at before any work, to see that the fields are what they are said to be."""
MARK = 1000
"""Of lines of JSON, every how many posts it is kept where in the file they are."""

Record = dict[str, Any] | DataError
"""What stands at a place of the input: a post's fields, or why they cannot be read."""


@dataclass(frozen=True)
class Columns:
    """What a post's fields are called. Only the text's must be there: posts without an id are numbered."""

    id: str = "id"
    text: str = "text"
    image: str = "image"
    entities: str = "entities"

    def names(self) -> list[str]:
        return [self.id, self.text, self.image, self.entities]


@dataclass(frozen=True)
class Posts:
    """An input.

    Attributes:
        name: of its file, folder or data set.
        identity: what changes when the input does.
        num_posts: how many there are; None where the Hub does not tell.
        columns: the fields of all posts; None where each has its own (JSON lines).
        read: yields what stands in the input from a place on, counted from 0.
        seeks: whether `read` finds a place without reading what stands before it.
    """

    name: str
    identity: str
    num_posts: int | None
    columns: list[str] | None
    read: Callable[[int], Iterator[Record]]
    seeks: bool = False


def open_posts(
    name: str, columns: Columns, config_name: str | None = None, split: str = "train", revision: str | None = None
) -> Posts:
    """Opens an input; of what is not Parquet it reads once how many posts there are.

    Args:
        name: a file (.jsonl, .csv, .parquet), or several by a `*`, as a path or any URL of fsspec's; or a folder or a
            data set on the Hub as `datasets.load_dataset` opens it, which is streamed.
        columns: what the posts' fields are called; others are not read.
        config_name, split, revision: of a data set.

    Raises:
        DataError: there is nothing of this name, or it is not what its ending says.
        HubError: the data set is not on the Hub, or may not be read.
    """
    try:
        files = open_files(name, expand=not Path(name).expanduser().is_file())
        found = [file for file in files if file.fs.isfile(file.path)]
    except (ValueError, ImportError, OSError) as error:
        raise DataError(f"{name}: {error}") from error
    kinds = {SUFFIXES.get(Path(file.path).suffix.lower()) for file in files}
    if not found and kinds == {None} and "://" not in name:
        return _open_dataset(name, columns, config_name, split, revision)
    if not found:
        raise DataError(f"{name} is no file")
    if len(kinds) > 1 or None in kinds:
        raise DataError(
            f"{name}: posts are in files of one kind that end in {', '.join(SUFFIXES)}, or in a data set of the Hub"
        )
    opened = [_open_file(file, *kinds, columns) for file in found]
    return opened[0] if len(opened) == 1 else _join(name, opened)


def _open_file(file: OpenFile, kind: str, columns: Columns) -> Posts:
    path, identity = file.path, _identify(file)
    if kind == "JSON lines":
        number, marks = _mark_lines(file)
        return Posts(path, identity, number, None, lambda start: _read_json_lines(file, marks, start), seeks=True)
    if kind == "CSV":
        header = _csv_header(file)
        number = sum(1 for _ in _read_csv(file, header, 0))
        return Posts(path, identity, number, header, lambda start: _read_csv(file, header, start))
    try:
        with pq.ParquetFile(path, filesystem=file.fs) as opened:
            known, number = opened.schema_arrow.names, opened.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not Parquet ({error})") from error
    wanted = [name for name in columns.names() if name in known]
    return Posts(path, identity, number, known, lambda start: _read_parquet(file, wanted, start), seeks=True)


def _join(name: str, files: list[Posts]) -> Posts:
    """Several files as one input, one behind the other."""
    ends = [*accumulate(posts.num_posts for posts in files)]

    def read(start: int) -> Iterator[Record]:
        for posts, end in zip(files, ends, strict=True):
            if start < end:
                yield from posts.read(max(start - end + posts.num_posts, 0))

    identity = hashlib.sha256(repr([posts.identity for posts in files]).encode()).hexdigest()
    known = None
    if files[0].columns is not None:
        known = [*dict.fromkeys(column for posts in files for column in posts.columns)]
    return Posts(name, f"{len(files)} files, sha256 {identity[:16]}", ends[-1], known, read, files[0].seeks)


def _identify(file: OpenFile) -> str:
    """What tells a file from its other versions: its content's checksum, or what its store has in place of one."""
    if isinstance(file.fs, LocalFileSystem):
        return _digest(Path(file.path))
    return f"checksum {file.fs.checksum(file.path)}"


def _digest(path: Path) -> str:
    """A file's size, and a checksum of its content."""
    with open(path, "rb") as file:
        return f"{path.stat().st_size:,} bytes, sha256 {hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"


def _lines(file: OpenFile, offset: int = 0) -> Iterator[bytes]:
    with file.fs.open(file.path, "rb") as opened:
        opened.seek(offset)
        yield from io.BufferedReader(opened, 2**20)  # the lines of fsspec's own files are slow


def _mark_lines(file: OpenFile) -> tuple[int, array]:
    """How many posts a file has, and of every MARK-th the place: its first byte, the number of its line."""
    number, offset, marks = 0, 0, array("q")
    for line_number, line in enumerate(_lines(file), start=1):
        if line.strip():
            if number % MARK == 0:
                marks.extend((offset, line_number))
            number += 1
        offset += len(line)
    return number, marks


def _read_json_lines(file: OpenFile, marks: array, start: int) -> Iterator[Record]:
    mark = start // MARK
    if 2 * mark >= len(marks):
        return
    offset, first = marks[2 * mark : 2 * mark + 2]
    posts = ((number, line) for number, line in enumerate(_lines(file, offset), start=first) if line.strip())
    for number, line in islice(posts, start - mark * MARK, None):
        try:
            record = parse_json(line.decode("utf-8-sig"))
            if not isinstance(record, dict):
                raise ValueError(f"it is a {type(record).__name__}")
            yield record
        except (ValueError, RecursionError) as error:
            yield Place(file.path, number).error(None, f"no JSON object ({error})")


def _csv_cells(file: OpenFile) -> Iterator[tuple[Place, list[str] | csv.Error]]:
    csv.field_size_limit(LONGEST_CELL)  # a picture may stand in a cell
    # What is not UTF-8 is then refused as half a surrogate pair, in the one post that has it.
    with file.fs.open(file.path, "r", encoding="utf-8-sig", errors="surrogateescape", newline="") as opened:
        reader = csv.reader(opened, strict=True)
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                cells = error
            if cells:
                yield Place(file.path, reader.line_num), cells


def _csv_header(file: OpenFile) -> list[str]:
    _, header = next(_csv_cells(file), (None, None))
    if not isinstance(header, list) or len(set(header)) < len(header):
        raise DataError(f"{file.path}, line 1: names of columns are expected, each once, not {header!r:.200}")
    return header


def _read_csv(file: OpenFile, header: list[str], start: int) -> Iterator[Record]:
    for number, (place, cells) in enumerate(_csv_cells(file), start=-1):
        if number < max(start, 0):
            continue
        if isinstance(cells, csv.Error):
            yield place.error(None, f"no line of CSV ({cells})")
        elif len(cells) != len(header):
            yield place.error(None, f"{len(cells)} cells, where the first line names {len(header)} columns")
        else:
            yield {name: cell or None for name, cell in zip(header, cells, strict=True)}


def _read_parquet(file: OpenFile, columns: list[str], start: int) -> Iterator[Record]:
    try:
        with pq.ParquetFile(file.path, filesystem=file.fs) as opened:
            first = 0
            for group in range(opened.num_row_groups):
                end = first + opened.metadata.row_group(group).num_rows
                if end > start:
                    for batch in opened.iter_batches(64, row_groups=[group], columns=columns):
                        yield from _rows(batch.slice(max(start - first, 0)), file.path)
                        first += len(batch)
                first = end
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file.path}: {error}") from error


def _rows(batch: pa.RecordBatch, path: str) -> Iterator[Record]:
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for row in range(len(batch)):
            try:
                yield from batch.slice(row, 1).to_pylist()
            except UnicodeDecodeError as error:
                yield DataError(f"{path}: not UTF-8 ({error})")


def _open_dataset(name: str, columns: Columns, config_name: str | None, split: str, revision: str | None) -> Posts:
    from datasets import Image, load_dataset
    from huggingface_hub import HfApi

    try:
        with explain_hub_errors(name, "dataset", revision):
            if Path(name).is_dir():
                files = sorted(path for path in Path(name).rglob("*") if path.is_file())
                identity = hashlib.sha256(repr([(str(file), _digest(file)) for file in files]).encode()).hexdigest()
            else:
                identity = revision = HfApi().dataset_info(name, revision=revision).sha
            data = load_dataset(name, config_name, split=split, revision=revision, streaming=True)
            if data.features is None:
                data = data._resolve_features()
            for column, feature in data.features.items():
                if isinstance(feature, Image):
                    data = data.cast_column(column, Image(decode=False))
            data = data.select_columns([column for column in columns.names() if column in data.features])
    except ValueError as error:
        raise DataError(f"data set {name!r}: {error}") from error
    info = (data.info.splits or {}).get(split)

    def read(start: int) -> Iterator[Record]:
        with explain_hub_errors(name, "dataset", revision):
            yield from data.skip(start)

    number = info.num_examples if info is not None else None
    return Posts(name, f"{identity}, {config_name}, {split}", number or None, list(data.features), read)


def check_posts(posts: Posts, columns: Columns, image_dir: Path | None, has_tagger: bool) -> None:
    """
    Raises:
        DataError: if a field that was named is not there, or the first posts show that none can be read as it is said.
    """
    if image_dir is not None and not image_dir.is_dir():
        raise DataError(f"--image_dir {image_dir} is no folder")
    shown = [*islice(posts.read(0), NUM_SHOWN)]
    found = [record for record in shown if isinstance(record, dict)]
    if not shown:
        raise DataError(f"{posts.name} has no posts")
    if not found:
        raise DataError(f"none of the first {len(shown)} posts can be read: {shown[0]}")
    wanted = {columns.text} | ({*columns.names()} - {*Columns().names()})
    wanted |= {columns.image} if image_dir is not None else set()
    wanted |= set() if has_tagger else {columns.entities}
    for name in sorted(wanted - {""}):
        if not _has_field(posts, name):
            known = posts.columns or dict.fromkeys(name for record in found for name in record)
            hint = "" if name != columns.entities else "; name an --entity_tagger to find them"
            raise DataError(f"{posts.name} has no field {name!r}, only {', '.join(known)}{hint}")
    problems = []
    for place, record in enumerate(found):
        try:
            read_id(record, columns, place)
            if "entities" not in read_post(record, columns, image_dir) and not has_tagger:
                raise DataError("it has no entities; name an --entity_tagger or --object_detector to find them")
        except ValueError as error:
            problems.append(error)
    if len(problems) == len(found):
        raise DataError(f"{posts.name}: none of the first {len(found)} posts can be used: {problems[0]}")


def _has_field(posts: Posts, name: str) -> bool:
    """Whether any post has a field; of lines of JSON each has its own, and few may have a picture."""
    if posts.columns is not None:
        return name in posts.columns
    return any(name in record for record in posts.read(0) if isinstance(record, dict))


def read_id(record: Mapping, columns: Columns, position: int) -> str:
    """A post's id, or its place in the input where it has none.

    Raises:
        DataError: it is neither text nor a whole number.
    """
    value = record.get(columns.id)
    if value is None:
        return str(position)
    if is_text(value) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value)
    raise DataError(f"field {columns.id!r}: text or a whole number is expected, not {quote(value):.200}")


def read_post(record: Mapping, columns: Columns, image_dir: Path | None) -> dict[str, Any]:
    """A post as the pipeline takes it: `text` (or a list of tokens; empty only where there is a picture), and where
    there are any `image` and `entities`.

    Args:
        record: the post's fields.
        columns: what they are called.
        image_dir: the folder of the pictures that are named by a path.

    Raises:
        DataError: a field is not what it should be, or a picture is not there.
    """
    text = record.get(columns.text)
    is_tokens = isinstance(text, list) and text and all(map(is_text, text))
    image = read_image(record.get(columns.image), columns.image, image_dir)
    if image is not None and (text is None or isinstance(text, str) and not text.strip()):
        text = ""
    elif not is_text(" ".join(text) if is_tokens else text) or "".join(text).isspace():
        raise DataError(f"field {columns.text!r}: a text is expected, not {quote(text):.200}")
    post = {"text": text} if image is None else {"text": text, "image": image}
    entities = record.get(columns.entities)
    if entities is not None:
        post["entities"] = _read_entities(entities, columns.entities)
    return post


def read_image(image: Any, column: str, image_dir: Path | None) -> Any:
    """A post's picture as the pipeline takes it, or None; a path is looked up in `image_dir`, and nowhere else.

    Raises:
        DataError: there is no such picture, or a path but no folder.
    """
    if isinstance(image, Mapping):  # as the datasets library stores it
        image = image.get("bytes") or image.get("path")
    if image is None or image == "":
        return None
    if isinstance(image, bytes):
        return {"bytes": image, "path": None}
    if not is_text(image):
        raise DataError(f"field {column!r}: a path, a URL, base64 or bytes are expected, not {quote(image):.200}")
    if image[:8].lower().startswith(("http://", "https://", "data:")):
        return image
    if image_dir is None:
        raise DataError(f"field {column!r}: {image[:100]!r} is no URL; if it is a path, say from where: --image_dir")
    try:
        _, path = find_picture(image_dir, image)
    except ValueError as error:
        raise DataError(f"field {column!r}: {error}") from error
    if path is None:
        raise DataError(f"field {column!r}: there is no picture {image!r} in {image_dir}")
    return path


def _read_entities(entities: Any, column: str) -> list[dict[str, Any]]:
    try:
        entities = parse_json(entities) if isinstance(entities, str) else entities
    except (ValueError, RecursionError) as error:
        raise DataError(f"field {column!r}: not JSON ({error}): {entities!r:.200}") from error
    if not isinstance(entities, list):
        raise DataError(f"field {column!r}: a list is expected, not {entities!r:.200}")
    read = []
    for entity in entities:
        # A column of Parquet gives every entity every key.
        entity = (
            {key: value for key, value in entity.items() if value is not None} if isinstance(entity, Mapping) else {}
        )
        if not ({"start", "end"} <= entity.keys() or isinstance(entity.get("box"), list)):
            raise DataError(
                f"field {column!r}: each entity must have start and end, or a box as a list of fractions: "
                f"{entities!r:.200}"
            )
        read.append(entity)
    return read

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""A run's folder: finished parts that a killed run goes on behind, and what must not change in between."""

import io
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from data_scripts.reading import DataError, read_json
from data_scripts.writing import replacing, write_json, write_text

RUN_FILE, TRIPLES, ERRORS_FILE = "run.json", "triples", "errors.jsonl"
PART_KEY = b"roc_part"
"""In a part's metadata: `positions`, those of the input that it covers, [start, end), and its `errors`."""

BOX = pa.list_(pa.float32())
ROLES = ("head", "tail")
SCHEMA = pa.schema(
    [
        ("post", pa.string()),
        ("position", pa.int64()),
        ("text", pa.string()),
        ("image", pa.string()),
        *(
            (f"{role}{name}", kind)
            for role in ROLES
            for name, kind in (
                ("", pa.string()),
                ("_type", pa.string()),
                ("_start", pa.int32()),
                ("_end", pa.int32()),
                ("_box", BOX),
            )
        ),
        ("relation", pa.string()),
        ("score", pa.float64()),
        ("description", pa.string()),
        ("model", pa.string()),
        ("revision", pa.string()),
    ]
)
"""A triple: where it was read, what it says, and by whom.

`position` counts the input's posts from 0. `head` and `tail` are the entities' words, or an object's name; `_start`
and `_end` count characters of `text` as [start, end), null for an object; `_box` has x0, y0, x1, y1 as fractions of
the picture's width and height, null for a mention. `score` is the relation's probability, 0 to 1.
"""


@contextmanager
def open_run(folder: Path, settings: dict[str, str]) -> Iterator["Run"]:
    """Begins a run in `folder`, or goes on with the one that is there; no other process can meanwhile.

    Args:
        folder: made if it is not there.
        settings: what the rows depend on, by names that a message can tell.

    Raises:
        DataError: the folder holds something else, a run with other settings, or one that is being written.
    """
    if folder.exists() and not _holds_run(folder) and any(path.name[0] != "." for path in folder.iterdir()):
        raise DataError(f"{folder} holds something else than an extraction: name another --output_dir")
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")  # the system frees it, however a process ends
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise DataError(f"another process is writing into {folder}") from None
    try:
        yield Run(folder, settings)
    finally:
        lock.release()


def _holds_run(folder: Path) -> bool:
    """Whether its run.json is an extraction's; train.py writes one too."""
    path = folder / RUN_FILE
    content = read_json(path) if path.exists() else None
    return isinstance(content, dict) and content.keys() == {"settings", "num_posts"}


class Run:
    """The finished parts of a run; `open_run` makes it.

    Attributes:
        folder, settings: as given.
        num_posts: how many the input has; None until all have been read.
        num_done: how many of them were done when it was opened or finished.
        num_errors: how many of those done so far failed.
        is_finished: whether there was nothing left to do when the run was opened.
    """

    def __init__(self, folder: Path, settings: dict[str, str]):
        self.folder, self.settings = folder, settings
        self.num_posts = None
        if self.paths():
            before = read_json(folder / RUN_FILE)
            self.num_posts = before["num_posts"]
            check_settings(before["settings"], settings, folder)
        else:
            self._write()
            (folder / TRIPLES).mkdir(exist_ok=True)  # last: a folder without run.json is taken for another's
        for left in (folder / TRIPLES).glob(".*"):  # by a run that was killed
            left.unlink()
        self._read_parts()  # a killed run may not have told of its last errors, or by half
        self.is_finished = self.num_posts == self.num_done

    def finish(self) -> None:
        """Keeps that there are no more posts than those of the finished parts."""
        self._read_parts()
        self.num_posts = self.num_done
        self._write()

    def _read_parts(self) -> None:
        """Counts what the finished parts cover, and tells of their errors in their order."""
        parts = [read_part(path) for path in self.paths()]
        errors = [error for part in parts for error in part["errors"]]
        write_text(self.folder / ERRORS_FILE, "".join(map(_as_line, errors)))
        self.num_errors = len(errors)
        self.num_done = sum(part["positions"][1] - part["positions"][0] for part in parts)

    def _write(self) -> None:
        write_json(self.folder / RUN_FILE, {"settings": self.settings, "num_posts": self.num_posts})

    def paths(self) -> list[Path]:
        """The finished parts in their order."""
        return sorted((self.folder / TRIPLES).glob("part-*.parquet"), key=lambda path: int(path.stem[5:]))

    def has(self, number: int) -> bool:
        return self.path_of(number).exists()

    def path_of(self, number: int) -> Path:
        return self.folder / TRIPLES / f"part-{number:05d}.parquet"

    def write(self, number: int, content: bytes) -> None:
        """Adds a part: from here on its posts are done.

        Args:
            number: the part's, counted from 0.
            content: what `encode_part` made of its posts.
        """
        with replacing(self.path_of(number)) as temporary:
            temporary.write_bytes(content)
        errors = read_part(io.BytesIO(content))["errors"]
        if errors:
            with open(self.folder / ERRORS_FILE, "ab", buffering=0) as file:
                file.write("".join(map(_as_line, errors)).encode())
        self.num_errors += len(errors)


def encode_part(start: int, end: int, rows: Iterable[dict[str, Any]]) -> bytes:
    """A part's file.

    Args:
        start, end: the positions that it covers, [start, end).
        rows: triples with the fields of SCHEMA; a post that failed is a row with `error`.
    """
    rows = list(rows)
    failed = [row for row in rows if "error" in row]
    errors = [{name: row[name] for name in ("post", "position", "error")} for row in failed]
    table = pa.Table.from_pylist([row for row in rows if "error" not in row], schema=SCHEMA)
    # Errors are kept in the part itself, so that there are both or neither.
    told = {"positions": [start, end], "errors": errors}
    content = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({PART_KEY: json.dumps(told)}), content, compression="zstd")
    return content.getvalue()


def check_settings(before: dict[str, str], now: dict[str, str], folder: Path) -> None:
    """
    Raises:
        DataError: if a run would go on with other settings than it began with; the message names them.
    """
    changed = [
        f"{name} was {before.get(name)!r}, now it is {now.get(name)!r}"
        for name in dict.fromkeys([*before, *now])
        if before.get(name) != now.get(name)
    ]
    if changed:
        raise DataError(
            f"{folder} holds a run with other settings: {'; '.join(changed)}. Go on with those it began with, or name "
            "another --output_dir"
        )


def read_part(path: Path | IO[bytes]) -> dict[str, Any]:
    """What a part's metadata tell of it: see PART_KEY.

    Raises:
        DataError: it is not whole, as after a disk's failure.
    """
    try:
        return json.loads(pq.read_schema(path).metadata[PART_KEY])
    except (pa.ArrowException, TypeError, KeyError) as error:
        raise DataError(f"{path} is broken ({error}): delete it, and its posts are done again") from error


def _as_line(error: dict) -> str:
    return json.dumps(error, ensure_ascii=False) + "\n"

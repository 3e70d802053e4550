# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Files that are there whole or not at all, whatever ends the program."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`, of the same ending, that takes its place if no error occurs."""
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_in(folder: str | Path) -> Iterator[Path]:
    """Gives a temporary folder within `folder`, whose files take their places in it if no error occurs."""
    with tempfile.TemporaryDirectory(prefix=".", dir=folder) as temporary:
        yield Path(temporary)
        for path in Path(temporary).iterdir():
            os.replace(path, Path(folder) / path.name)


def write_text(path: str | Path, content: str) -> None:
    """Writes a text file in UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(content, encoding="utf-8")


def write_json(path: str | Path, content) -> None:
    """Writes `content` as JSON that a person can read."""
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False, indent=2)
        file.write("\n")

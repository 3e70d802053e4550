# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Pictures of a raw data set: found wherever a copy keeps them, and opened once to see that they can be."""

import functools
import os
from collections.abc import Sequence
from pathlib import Path

from datasets import Dataset
from PIL import ExifTags, Image

from data_scripts.reading import DataError

UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What Pillow raises when it cannot read a picture."""


def index_pictures(raw_dir: Path, names: set[str]) -> dict[str, list[Path]]:
    """Where the pictures called `names` are.

    If any folder below `raw_dir` is called `img_org` (the published layout), only those are searched, since copies
    keep crops and drawings of the same names beside it; else all of `raw_dir` is.

    Returns:
        {file name: its paths, sorted}, without the names that are nowhere.
    """
    folders = [Path(folder) for folder, _, _ in os.walk(raw_dir) if Path(folder).name == "img_org"] or [raw_dir]
    found: dict[str, list[Path]] = {}
    for top in folders:
        for folder, _, files in os.walk(top):
            for name in names.intersection(files):
                found.setdefault(name, []).append(Path(folder, name))
    return {name: sorted(paths) for name, paths in found.items()}


def locate_picture(pictures: dict[str, list[Path]], name: str, own_folders: Sequence[str]) -> str | None:
    """Path of the picture `name`, best from a folder of its text's own split; None where there is none."""
    paths = pictures.get(name, [])
    return str(min(paths, key=lambda path: (path.parent.name not in own_folders, path))) if paths else None


@functools.cache
def read_upright_size(path: str) -> tuple[int, int]:
    """Width and height of a picture in pixels, as it is seen: turned the way its EXIF orientation says.

    Raises:
        DataError: if the file cannot be read as a picture.
    """
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
            return image.size[::-1] if turned else image.size
    except UNREADABLE as error:
        raise DataError(f"{path}: unreadable picture ({type(error).__name__}: {error})") from error


def check_pictures(paths: list[str], num_proc: int | None) -> None:
    """Decodes every picture once.

    Raises:
        DataError: naming all pictures that cannot be decoded (the first ten of them).
    """
    checked = Dataset.from_dict({"path": paths}).map(
        lambda row: {"fault": _find_fault(row["path"])},
        num_proc=num_proc,
        keep_in_memory=True,
        desc="Checking pictures",
    )
    faults = [f"{row['path']}: {row['fault']}" for row in checked if row["fault"]]
    if faults:
        raise DataError(f"{len(faults)} unreadable pictures:\n" + "\n".join(faults[:10]))


def _find_fault(path: str) -> str:
    """Why the picture cannot be decoded, or an empty string."""
    try:
        with Image.open(path) as image:
            # A JPEG is decoded at an eighth of its size: as complete a check, several times faster.
            image.draft("RGB", (1, 1))
            image.load()
    except UNREADABLE as error:
        return f"{type(error).__name__}: {error}"
    return ""

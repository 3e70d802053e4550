# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Pictures of a raw data set: found wherever a copy keeps them, and opened once to see that they can be."""

import functools
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from datasets import Dataset
from PIL import ExifTags, Image, UnidentifiedImageError

from data_scripts.reading import DataError

SIXTEEN_BIT = 65535
GREYS = {"I": SIXTEEN_BIT, "F": 1}
"""Modes whose values a file may hold beyond what they mean at most."""


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


# Up to `upright` as in processing_roc/processing_roc.py, word for word: a converter opens pictures as the processor
# does, and neither may import the other. tests/test_pictures.py compares them.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What an EXIF orientation asks for."""


def read_picture(content: bytes) -> Image.Image:
    """Decodes the first frame of a picture file, and turns it upright.

    Raises:
        Exception: of nearly any type, if that cannot be.
    """
    try:
        image = Image.open(io.BytesIO(content))
        image.load()
    except UnidentifiedImageError as error:
        problem = f"no format that Pillow knows begins with {content[:20]!r}" if content else "it is empty"
        raise ValueError(problem) from error
    except ValueError:  # of a PNG, texts or a profile that are longer than Pillow reads
        image = Image.open(io.BytesIO(without_texts(content)))
        image.load()
    return upright(image)


def without_texts(content: bytes) -> bytes:
    """A picture file; if it is a PNG, without its texts and colour profile."""
    kept, place = [content[:8]], 8
    while content.startswith(b"\x89PNG\r\n\x1a\n") and place < len(content):
        end = place + 12 + int.from_bytes(content[place : place + 4], "big")
        if content[place + 4 : place + 8] not in (b"tEXt", b"zTXt", b"iTXt", b"iCCP"):
            kept.append(content[place:end])
        place = end
    return b"".join([*kept, content[place:]])


def upright(image: Image.Image) -> Image.Image:
    """A loaded picture, turned the way its EXIF orientation says.

    Raises:
        ValueError: it has no pixels, or grey values of more than 8 bits out of their range.
    """
    if 0 in image.size:
        raise ValueError(f"it has no pixels ({image.width} × {image.height})")
    if image.mode in GREYS:
        values, highest = np.asarray(image), GREYS[image.mode]
        if not (np.isfinite(values).all() and 0 <= values.min() and values.max() <= highest):
            raise ValueError(f"mode {image.mode} holds values outside 0–{highest}; convert it to 8 bits first")
    try:
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # as many types as there are ways to break it
        turn = None
    return image if turn is None else image.transpose(turn)


@functools.cache
def read_upright_size(path: str) -> tuple[int, int]:
    """Width and height of a picture in pixels, as it is seen: turned the way its EXIF orientation says.

    Raises:
        DataError: if the file cannot be read as a picture.
    """
    try:
        return read_picture(Path(path).read_bytes()).size
    except Exception as error:  # decoders raise nearly every type there is
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
        read_picture(Path(path).read_bytes())
    except Exception as error:  # decoders raise nearly every type there is
        return f"{type(error).__name__}: {error}"
    return ""

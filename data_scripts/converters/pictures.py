# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Pictures of a raw data set: found wherever a copy keeps them, and opened once to see that they can be."""

import filecmp
import functools
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PureWindowsPath

import numpy as np
from datasets import Dataset
from PIL import ExifTags, Image, UnidentifiedImageError

from data_scripts.reading import DataError

SIXTEEN_BIT = 65535
GREYS = {"I": SIXTEEN_BIT, "F": 1}
"""Modes whose values a file may hold beyond what they mean at most."""

PICTURE_FOLDERS = {"img_org", "UMKE_IMG"}
"""Names of the folders of pictures in the published layouts."""

LONGEST_PATH = 1000
"""In characters; what is longer is no path but, say, a picture's own bytes as text."""


def index_pictures(raw_dir: Path, names: set[str]) -> dict[str, list[Path]]:
    """Where the pictures called `names` are; links to folders are followed.

    If any folder below `raw_dir` is one of PICTURE_FOLDERS, only those are searched, since copies keep crops and
    drawings of the same names beside it; else all of `raw_dir` is.

    Returns:
        {file name: its paths, sorted}, without the names that are nowhere.
    """
    folders = list(_folders_below(raw_dir))
    published = [folder for folder in folders if PICTURE_FOLDERS & {*folder.relative_to(raw_dir).parts}]
    found: dict[str, list[Path]] = {}
    for folder in published or folders:
        for name in names.intersection(os.listdir(folder)):
            if (folder / name).is_file():
                found.setdefault(name, []).append(folder / name)
    return {name: sorted(paths) for name, paths in found.items()}


def _folders_below(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """The folder and all below it that may be read; a link that leads back to one `above` is not followed."""
    real = folder.resolve()
    if real not in above and os.access(folder, os.R_OK | os.X_OK):
        yield folder
        for entry in os.scandir(folder):
            if entry.is_dir():
                yield from _folders_below(folder / entry.name, above | {real})


def locate_picture(pictures: dict[str, list[Path]], name: str, own_folders: Sequence[str]) -> str | None:
    """Path of the picture `name`, best from a folder of its text's own split; None where there is none.

    Raises:
        DataError: if several folders may be meant, and the pictures in them differ.
    """
    paths = pictures.get(name, [])
    paths = [path for path in paths if path.parent.name in own_folders] or paths
    if not _are_same(paths):
        raise DataError(
            f"the picture {name!r} is there more than once, and not the same: {', '.join(map(str, paths))}; keep one, "
            f"or put it into a folder called {own_folders[0]!r}"
        )
    return str(paths[0]) if paths else None


def find_unlike(located: Iterable[dict[str, str | None]]) -> set[str]:
    """The names under which splits have different pictures, of {name: path, None where there is none} of each."""
    paths: dict[str, set[str]] = {}
    for of_split in located:
        for name, path in of_split.items():
            if path is not None:
                paths.setdefault(name, set()).add(path)
    return {name for name, found in paths.items() if not _are_same(sorted(found))}


def _are_same(paths: Sequence[str | Path]) -> bool:
    return all(filecmp.cmp(paths[0], path, shallow=False) for path in paths[1:])


def find_picture(folder: Path, name: str) -> tuple[str, str | None]:
    """The picture that a line calls `name`, a path from `folder` on, with slashes or as Windows writes it.

    Returns:
        The path from `folder` on in one spelling of many, and the file's, None if there is none.

    Raises:
        ValueError: if `name` leads out of `folder`, or can be no path.
    """
    if len(name) > LONGEST_PATH:
        raise ValueError(f"the path of a picture is expected, not {len(name):,} characters: {name[:60]!r}…")
    for written in dict.fromkeys((name, name.replace("\\", "/"))):
        path = os.path.normpath(written)
        if os.path.isabs(path) or path.split("/")[0] == ".." or PureWindowsPath(name).is_absolute():
            raise ValueError(f"{name!r} leads out of the folder of pictures, {folder}; give the path from there on")
        if os.path.isfile(folder / path):
            return path, os.path.normpath(folder / path)
    return path, None


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
def read_upright_size(path: str) -> tuple[int, int] | None:
    """Width and height of a picture in pixels, as it is seen: turned the way its EXIF orientation says; None if the
    file cannot be read as a picture."""
    try:
        return read_picture(Path(path).read_bytes()).size
    except Exception:  # decoders raise nearly every type there is
        return None


def check_pictures(paths: list[str], num_proc: int | None) -> dict[str, str]:
    """Decodes every picture once.

    Returns:
        {path: why it cannot be decoded} of those that cannot.
    """
    checked = Dataset.from_dict({"path": paths}).map(
        lambda row: {"fault": _find_fault(row["path"])},
        num_proc=num_proc,
        keep_in_memory=True,
        desc="Checking pictures",
    )
    return {row["path"]: row["fault"] for row in checked if row["fault"]}


def _find_fault(path: str) -> str:
    """Why the picture cannot be decoded, or an empty string."""
    try:
        read_picture(Path(path).read_bytes())
    except Exception as error:  # decoders raise nearly every type there is
        return f"{type(error).__name__}: {error}"
    return ""

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Objects of pictures: the four ways to write a box, and the dictionaries (`.pth`, JSON) of boxes and captions."""

import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from data_scripts.reading import DataError, is_text, read_json

BOX_FORMS = ("box", "box_pixels", "box_center", "box_center_pixels")
"""Names of the forms: corners x0, y0, x1, y1, or center x, center y, width, height; as fractions of the upright
picture's width and height, or in its pixels."""

ROUNDING = 0.005
"""How far rounding is taken to move a coordinate, as a fraction of the picture's side: a whole pixel in a picture of
200 pixels, the third decimal of a center and a width. A box that overshoots the picture by no more is clipped."""

NOISE = 1e-6
"""What floating-point sums are off by at most; clipping that much is not worth a word in a report."""

MIN_SIDE = 1e-5
"""A box that is thinner, as a fraction of the picture's side, is empty; a data set's 32-bit floats keep this apart."""


def read_box(values: Sequence[float], form: str, size: tuple[int, int] | None = None) -> tuple[list[float], bool]:
    """Corners of a box, checked and clipped to the picture.

    Args:
        values: four numbers.
        form: what they mean, one of BOX_FORMS.
        size: width and height of the upright picture in pixels, needed for a form in pixels.

    Returns:
        [x0, y0, x1, y1] in 0-1, at least MIN_SIDE wide and high, and whether the box overshot the picture and was
        clipped.

    Raises:
        ValueError: if it is not four finite numbers, if it is empty or inverted, or if it reaches more than ROUNDING
            outside the picture.
    """
    if not isinstance(values, list | tuple) or len(values) != 4 or not all(map(_is_finite, values)):
        raise ValueError(f"a box of four finite numbers is expected, not {values!r}")
    corners = list(map(float, values))
    if form in ("box_center", "box_center_pixels"):
        x, y, width, height = corners
        corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    if corners[2] < corners[0] or corners[3] < corners[1]:
        raise ValueError(f"the box {list(values)} is inverted")
    if form in ("box_pixels", "box_center_pixels"):
        corners = [corner / side for corner, side in zip(corners, (*size, *size), strict=True)]
    if min(corners) < -ROUNDING or max(corners) > 1 + ROUNDING:
        shown = [round(corner, 4) for corner in corners]
        raise ValueError(f"the box {list(values)} reaches outside the picture: as fractions its corners are {shown}")
    inside = [min(max(corner, 0.0), 1.0) for corner in corners]
    if min(inside[2] - inside[0], inside[3] - inside[1]) < MIN_SIDE:
        raise ValueError(f"the box {list(values)} is empty")
    return inside, max(-min(corners), max(corners) - 1) > NOISE


def _is_finite(value: object) -> bool:
    # The bound is for integers beyond all floats, too.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def find_form(fields: Mapping) -> str | None:
    """The form in which `fields` hold a box; None if they hold none.

    Raises:
        ValueError: if they hold more than one.
    """
    given = [form for form in BOX_FORMS if fields.get(form) is not None]
    if len(given) > 1:
        raise ValueError(f"the box is given more than once, as {' and as '.join(given)}")
    return given[0] if given else None


def same_box(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two boxes, as corners in 0-1, differ by no more than rounding."""
    return all(abs(a - b) <= ROUNDING for a, b in zip(one, other, strict=True))


class ObjectDictionary:
    """The objects of a split's pictures: `{image id: {object: box}}`, the box in fractions of the picture. A box is
    looked at when its picture is asked for: nobody minds those of other pictures.

    Args:
        path: a `.json` file, or a `.pth` file (of which only plain data are read, never code); None: there is none.
        captions: {image id: {object: caption}}.
        form: what a box is, "box" or "box_center".

    Attributes:
        num_clipped: boxes that overshot their picture by rounding and were clipped.

    Raises:
        DataError: naming the file, if it cannot be read so.
    """

    def __init__(
        self,
        path: Path | None = None,
        captions: Mapping[str, dict[str, str]] = MappingProxyType({}),
        form: str | None = None,
    ):
        self.path, self.form = path, form
        self.num_clipped = 0
        self._boxes = _load_nested(path) if path else {}
        self._captions = captions
        self._objects: dict[str, list[dict]] = {}

    def __contains__(self, image_id: str) -> bool:
        """Whether the file has a picture of this name."""
        return image_id in self._boxes

    def __getitem__(self, image_id: str) -> list[dict]:
        """`objects` of the schema, in the file's order.

        Raises:
            DataError: naming file, image and object, if a box is not as `read_box` wants it.
        """
        if image_id not in self._objects:
            captions = self._captions.get(image_id, {})
            self._objects[image_id] = [
                {"name": name, "box": self._read(image_id, name, box), "caption": captions.get(name)}
                for name, box in self._boxes.get(image_id, {}).items()
            ]
        return self._objects[image_id]

    def _read(self, image_id: str, name: str, box: Any) -> list[float]:
        if hasattr(box, "tolist"):
            box = box.tolist()
        elif isinstance(box, list | tuple):
            box = [number.item() if hasattr(number, "item") else number for number in box]
        try:
            corners, clipped = read_box(box, self.form)
        except ValueError as error:
            raise DataError(f"{self.path}, image {image_id!r}, object {name!r}: {error}") from error
        self.num_clipped += clipped
        return corners


def read_captions(path: Path) -> dict[str, dict[str, str]]:
    """Reads `{image id: {object: caption}}` from a JSON file; blank captions are left out.

    Raises:
        DataError: naming file, image and object, if a caption is not a string.
    """
    captions = _load_nested(path)
    for image_id, texts in captions.items():
        for name, text in texts.items():
            if not isinstance(text, str) or (text and not is_text(text)):
                raise DataError(f"{path}, image {image_id!r}, object {name!r}: a caption is expected, not {text!r}")
        captions[image_id] = {name: text.strip() for name, text in texts.items() if text.strip()}
    return captions


def _load_nested(path: Path) -> dict[str, dict[str, Any]]:
    content = read_json(path) if path.suffix == ".json" else _load_safely(path)
    if not isinstance(content, dict):
        raise DataError(f"{path}: a dictionary of pictures is expected, not {type(content).__name__}")
    for image_id, objects in content.items():
        if not is_text(image_id):
            raise DataError(f"{path}: an image id must be a non-empty string, not {image_id!r}")
        place = f"{path}, image {image_id!r}"
        if not isinstance(objects, dict):
            raise DataError(f"{place}: a dictionary of objects is expected, not {type(objects).__name__}")
        for name in objects:
            if not is_text(name):
                raise DataError(f"{place}: an object's key must be a string, not {name!r}")
    return content


def _load_safely(path: Path) -> Any:
    import torch

    try:
        # The warnings are of pickle protocols, which are torch's affair.
        with warnings.catch_warnings(), torch.serialization.safe_globals(_numpy_parts()):
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken file raises nearly every type there is
        # torch's own message advises to load the file with the code in it: it is not passed on.
        raise DataError(
            f"{path}: refused, and no code of it was run: it is broken, or holds more than dictionaries, tuples, "
            "strings, numbers, tensors and arrays; a JSON file of the same name and content does as well"
        ) from error


def _numpy_parts() -> list:
    """What numbers and arrays of numpy are made of in a pickle, under the names of version 1 and 2."""
    makers = [value.__reduce__()[0] for value in (np.float64(), np.zeros(1))]
    names = [(maker, f"numpy.{core}.multiarray.{maker.__name__}") for core in ("core", "_core") for maker in makers]
    return [np.ndarray, np.dtype, *{type(np.dtype(letter)) for letter in "efdbhilqBHILQ"}, *names]

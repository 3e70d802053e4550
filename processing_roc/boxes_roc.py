# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Object boxes: the forms in which they are given, their checks, and how they follow a picture's resize and crop."""

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from transformers.image_processing_backends import PilBackend, TorchvisionBackend
from transformers.image_transforms import get_resize_output_image_size, get_size_with_aspect_ratio

BOX_KEYS = ("box", "box_pixels", "box_center", "box_center_pixels")
"""Corners x0, y0, x1, y1 or centre and size cx, cy, w, h; as fractions (0 to 1) of the picture's width and height, or
in its pixels. The picture is the upright one, as its EXIF orientation shows it."""

TOLERANCE = 1e-4
"""What a box may overshoot the picture by, as a fraction of it, for rounding's sake; it is cut off."""

MIN_SIDE = 1e-6
"""What is thinner than this fraction of the picture is empty: single precision could not tell its sides apart."""

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1."""

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


def box_form(entity: Mapping, where: str) -> str | None:
    """The key of `BOX_KEYS` in which `entity` gives its box, None where it gives none.

    Raises:
        ValueError: it gives more than one.
    """
    given = [key for key in BOX_KEYS if entity.get(key) is not None]
    if len(given) > 1:
        raise ValueError(f"{where} gives its box more than once: {', '.join(given)}")
    return given[0] if given else None


def read_box(value: Any, form: str, size: tuple[int, int] | None, where: str) -> Box:
    """Checks a box and returns its corners as fractions of the picture.

    Args:
        value: four numbers in the form that `form`, one of `BOX_KEYS`, names.
        size: (width, height) of the upright picture in pixels; needed for the pixel forms only.
        where: what the box belongs to, for error messages.

    Raises:
        ValueError: not four finite numbers, empty, inverted, or out of the picture by more than `TOLERANCE`; pixels
            without a picture.
    """
    numbers = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(numbers, Sequence) or isinstance(numbers, str) or len(numbers) != 4:
        raise ValueError(f"{where}: {form} must be four numbers, got {value!r}")
    if not all(isinstance(n, Real) and not isinstance(n, bool) and math.isfinite(n) for n in numbers):
        raise ValueError(f"{where}: {form} must be four finite numbers, got {value!r}")
    x0, y0, x1, y1 = map(float, numbers)
    if form.startswith("box_center"):
        x0, y0, x1, y1 = x0 - x1 / 2, y0 - y1 / 2, x0 + x1 / 2, y0 + y1 / 2
    if form.endswith("pixels"):
        if size is None:
            raise ValueError(f"{where}: {form} counts pixels, but there is no picture to count them in")
        x0, y0, x1, y1 = x0 / size[0], y0 / size[1], x1 / size[0], y1 / size[1]
    if min(x1 - x0, y1 - y0) < MIN_SIDE:
        raise ValueError(f"{where}: {form} {list(numbers)} is {'inverted' if x0 > x1 or y0 > y1 else 'empty'}")
    if min(x0, y0) < -TOLERANCE or max(x1, y1) > 1 + TOLERANCE:
        picture = "" if size is None else f" of {size[0]} × {size[1]} pixels"
        raise ValueError(f"{where}: {form} {list(numbers)} reaches out of the picture{picture}")
    return max(x0, 0.0), max(y0, 0.0), min(x1, 1.0), min(y1, 1.0)


def shown_part(image_processor: Any, size: tuple[int, int] | None) -> Box:
    """Which part of a picture `image_processor` leaves in `pixel_values`, as corners in fractions of the picture.

    Outside of 0 to 1 where a centre crop is larger than the resized picture and adds a border.

    Args:
        image_processor: a transformers image processor that resizes, crops to the centre, or both.
        size: (width, height) of the upright picture in pixels; needed where the picture is cropped.

    Raises:
        ValueError: the image processor does something else to a picture's geometry, or `size` is missing.
    """
    kind = type(image_processor)
    for step in ("resize", "center_crop"):
        if getattr(kind, step, None) not in (getattr(PilBackend, step), getattr(TorchvisionBackend, step)):
            raise ValueError(f"boxes cannot follow {kind.__name__}: it has its own way to {step.replace('_', ' ')}")
    if getattr(image_processor, "do_pad", None):
        raise ValueError(f"boxes cannot follow {kind.__name__} with do_pad=True")
    if not getattr(image_processor, "do_center_crop", None):
        return WHOLE
    if size is None:
        raise ValueError(f"{kind.__name__} crops pictures: boxes can follow only where the picture's size is known")
    width, height = _resized(image_processor, size)
    crop = image_processor.crop_size
    left, top = (width - crop["width"]) // 2, (height - crop["height"]) // 2
    return left / width, top / height, (left + crop["width"]) / width, (top + crop["height"]) / height


def _resized(image_processor: Any, size: tuple[int, int]) -> tuple[int, int]:
    width, height = size
    if not image_processor.do_resize:
        return width, height
    target = image_processor.size
    if target["height"] and target["width"]:
        return target["width"], target["height"]
    if target["shortest_edge"] and target["longest_edge"]:
        height, width = get_size_with_aspect_ratio((height, width), target["shortest_edge"], target["longest_edge"])
        return width, height
    if target["shortest_edge"]:
        picture = np.broadcast_to(np.uint8(0), (height, width, 3))  # a view: takes no memory
        height, width = get_resize_output_image_size(picture, target["shortest_edge"], default_to_square=False)
        return width, height
    raise ValueError(f"boxes cannot follow {type(image_processor).__name__} with size={target}")


def follow(box: Box, shown: Box) -> Box | None:
    """A box of the picture, in fractions of what is shown of it (`shown_part`); None where nothing of it is shown."""
    left, top, right, bottom = shown
    x0, x1 = ((x - left) / (right - left) for x in (box[0], box[2]))
    y0, y1 = ((y - top) / (bottom - top) for y in (box[1], box[3]))
    x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, 1.0), min(y1, 1.0)
    return None if min(x1 - x0, y1 - y0) < MIN_SIDE else (x0, y0, x1, y1)


def uncrop(box: Box, shown: Box) -> Box:
    """The reverse of `follow`: a box of what is shown of a picture, in fractions of the whole picture."""
    left, top, right, bottom = shown
    x0, y0, x1, y1 = box
    width, height = right - left, bottom - top
    return left + x0 * width, top + y0 * height, left + x1 * width, top + y1 * height

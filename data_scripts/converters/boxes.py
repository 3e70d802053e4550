# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Boxes of objects: four ways to write one, and the one way in which a data set keeps it."""

import math
from collections.abc import Mapping, Sequence

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
    first, second, third, fourth = map(float, values)
    if form in ("box_center", "box_center_pixels"):
        corners = [first - third / 2, second - fourth / 2, first + third / 2, second + fourth / 2]
    else:
        corners = [first, second, third, fourth]
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


def _is_finite(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Boxes in raw data: four forms of one box read alike; nothing but a box inside the picture is ever let through."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_scripts.converters.object_boxes import BOX_FORMS, ROUNDING, find_form, read_box, same_box

# On this grid no box lies within floating-point noise of being refused.
coordinates = st.integers(-30, 1030).map(lambda number: number / 1000 + 0.0003)
sides = st.integers(1, 5000)


@settings(deadline=None)
@given(st.tuples(*[coordinates] * 4), st.sampled_from(BOX_FORMS), st.tuples(sides, sides))
def test_a_box_is_read_alike_in_every_form_or_refused_in_every_form(corners, form, size):
    x0, y0, x1, y1 = values = corners
    if "center" in form:
        values = ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0)
    if "pixels" in form:
        values = [value * side for value, side in zip(values, (*size, *size), strict=True)]
    inside = [min(max(corner, 0), 1) for corner in corners]
    overshoot = max(-min(corners), max(corners) - 1)
    if overshoot <= ROUNDING and inside[0] < inside[2] and inside[1] < inside[3]:
        box, clipped = read_box(values, form, size)
        assert box == pytest.approx(inside, abs=1e-9) and clipped == (overshoot > 0)
    else:
        with pytest.raises(ValueError, match="the box .* (is inverted|is empty|reaches outside the picture)"):
            read_box(values, form, size)


anything = st.floats() | st.integers() | st.none() | st.booleans() | st.text(max_size=3)


@settings(deadline=None)
@given(st.lists(anything, max_size=6) | anything, st.sampled_from(BOX_FORMS))
def test_whatever_is_given_comes_back_as_a_box_inside_the_picture_or_is_a_value_error(values, form):
    try:
        box, _ = read_box(values, form, (640, 480))
    except ValueError:
        return
    x0, y0, x1, y1 = np.float32(box)  # as a data set stores it
    assert 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1


def test_a_sum_that_is_off_by_floating_point_noise_is_not_called_clipped():
    assert read_box([0.9, 0.5, 0.2 + 1e-9, 1.0], "box_center") == ([pytest.approx(0.8), 0.0, 1.0, 1.0], False)
    assert read_box([0.9, 0.5, 0.2004, 1.0], "box_center")[1]


def test_two_boxes_are_the_same_up_to_rounding():
    assert same_box([0.1, 0.1, 0.5, 0.5], [0.102, 0.1, 0.5, 0.497])
    assert not same_box([0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.5, 0.51])


def test_a_box_given_twice_is_refused():
    assert find_form({"box": None, "box_pixels": [1, 2, 3, 4]}) == "box_pixels" and find_form({}) is None
    with pytest.raises(ValueError, match="more than once, as box and as box_center"):
        find_form({"box": [0, 0, 1, 1], "box_center": [0.5, 0.5, 1, 1]})

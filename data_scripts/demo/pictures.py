# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The demo set's pictures: a few things, drawn at random places over a random background."""

import random

from PIL import Image, ImageDraw

# Each thing is a list of (shape, colour, corner points in a unit square): calls to Pillow's ImageDraw.
THINGS = {
    "heart": [
        ("ellipse", "#d62839", (0.00, 0.05), (0.54, 0.58)),
        ("ellipse", "#d62839", (0.46, 0.05), (1.00, 0.58)),
        ("polygon", "#d62839", (0.05, 0.45), (0.50, 0.38), (0.95, 0.45), (0.50, 1.00)),
    ],
    "ball": [
        ("ellipse", "#f08a24", (0.02, 0.02), (0.98, 0.98)),
        ("rectangle", "#5a2d0c", (0.48, 0.02), (0.52, 0.98)),
        ("rectangle", "#5a2d0c", (0.02, 0.48), (0.98, 0.52)),
    ],
    "shirt": [
        ("polygon", "#2563c9", (0.30, 0.05), (0.70, 0.05), (1.00, 0.30), (0.86, 0.50), (0.76, 0.42), (0.76, 0.98),
         (0.24, 0.98), (0.24, 0.42), (0.14, 0.50), (0.00, 0.30)),
        ("ellipse", "#173f86", (0.38, -0.02), (0.62, 0.16)),
        ("rectangle", "#ffffff", (0.45, 0.35), (0.55, 0.78)),
    ],
    "tie": [
        ("rectangle", "#22252e", (0.00, 0.00), (1.00, 1.00)),
        ("polygon", "#f4f4f4", (0.18, 0.00), (0.82, 0.00), (0.50, 0.98)),
        ("polygon", "#8e2fb8", (0.38, 0.02), (0.62, 0.02), (0.56, 0.18), (0.66, 0.66), (0.50, 0.88), (0.34, 0.66),
         (0.44, 0.18)),
    ],
    "house": [
        ("rectangle", "#f3dfb5", (0.12, 0.42), (0.88, 1.00)),
        ("polygon", "#a8442f", (0.50, 0.00), (1.00, 0.46), (0.00, 0.46)),
        ("rectangle", "#6b4226", (0.54, 0.62), (0.74, 1.00)),
        ("rectangle", "#7ec8e3", (0.22, 0.58), (0.42, 0.78)),
    ],
    "pram": [
        ("polygon", "#333333", (0.86, 0.46), (0.98, 0.12), (1.00, 0.22), (0.92, 0.48)),
        ("polygon", "#f28cb1", (0.04, 0.44), (0.94, 0.44), (0.80, 0.80), (0.20, 0.80)),
        ("polygon", "#d9659a", (0.04, 0.44), (0.12, 0.18), (0.32, 0.04), (0.50, 0.02), (0.50, 0.44)),
        ("ellipse", "#333333", (0.14, 0.72), (0.40, 0.98)),
        ("ellipse", "#333333", (0.60, 0.72), (0.86, 0.98)),
    ],
    "stage": [
        ("rectangle", "#2b1b3d", (0.00, 0.00), (1.00, 0.84)),
        ("polygon", "#fff3a3", (0.44, 0.00), (0.56, 0.00), (0.74, 0.84), (0.26, 0.84)),
        ("polygon", "#a4161a", (0.00, 0.00), (0.32, 0.00), (0.14, 0.84), (0.00, 0.84)),
        ("polygon", "#a4161a", (0.68, 0.00), (1.00, 0.00), (1.00, 0.84), (0.86, 0.84)),
        ("rectangle", "#c58b4e", (0.00, 0.84), (1.00, 1.00)),
        ("ellipse", "#333333", (0.43, 0.38), (0.57, 0.52)),
        ("polygon", "#333333", (0.42, 0.54), (0.58, 0.54), (0.60, 0.90), (0.40, 0.90)),
    ],
    "trophy": [
        ("ellipse", "#c99700", (0.02, 0.08), (0.40, 0.46)),
        ("ellipse", "#c99700", (0.60, 0.08), (0.98, 0.46)),
        ("polygon", "#f5c518", (0.18, 0.02), (0.82, 0.02), (0.74, 0.46), (0.56, 0.62), (0.44, 0.62), (0.26, 0.46)),
        ("rectangle", "#c99700", (0.45, 0.60), (0.55, 0.82)),
        ("rectangle", "#6b4a00", (0.26, 0.82), (0.74, 0.98)),
    ],
    "tree": [
        ("rectangle", "#6b4226", (0.43, 0.55), (0.57, 1.00)),
        ("ellipse", "#2f7d32", (0.10, 0.00), (0.90, 0.72)),
    ],
    "cup": [
        ("ellipse", "#e8e8e8", (0.52, 0.36), (0.98, 0.76)),
        ("ellipse", "#9aa0a6", (0.62, 0.46), (0.88, 0.66)),
        ("rectangle", "#e8e8e8", (0.10, 0.25), (0.72, 0.92)),
        ("rectangle", "#1b998b", (0.10, 0.48), (0.72, 0.62)),
    ],
    "cloud": [
        ("ellipse", "#ffffff", (0.00, 0.40), (0.45, 0.80)),
        ("ellipse", "#ffffff", (0.20, 0.15), (0.75, 0.75)),
        ("ellipse", "#ffffff", (0.50, 0.38), (1.00, 0.80)),
    ],
    "figure": [
        ("ellipse", "#3d2b1f", (0.32, 0.00), (0.68, 0.36)),
        ("rectangle", "#7d8471", (0.30, 0.36), (0.70, 0.72)),
        ("rectangle", "#7d8471", (0.08, 0.38), (0.92, 0.48)),
        ("rectangle", "#3d2b1f", (0.32, 0.72), (0.46, 1.00)),
        ("rectangle", "#3d2b1f", (0.54, 0.72), (0.68, 1.00)),
    ],
}  # fmt: skip
PERSON = "figure"
NEUTRAL_THINGS = ("tree", "cup", "cloud")
BACKGROUNDS = (("#bcd9ea", "#a9c29b"), ("#e6d8c3", "#b59f83"), ("#c9c6d9", "#8f8ba3"), ("#d8e2dc", "#9db4ab"))
PICTURE_SIZE = 128  # pixels a side


def draw_picture(
    things: list[str], rng: random.Random, side: int = PICTURE_SIZE
) -> tuple[Image.Image, list[list[float]]]:
    """Draws up to four things, each at a random place and size, over a random background.

    Args:
        things (list of str, at most 4): keys of `THINGS`.
        rng (random.Random): decides all that is random.
        side (int): pixels a side; the same `rng` draws the same things at every size.

    Returns:
        The picture, RGB, `side` pixels a side, and the box of each thing: x0, y0, x1, y1, 0 to 1.
    """
    half = side  # drawn at twice the size and shrunk, for smooth edges; so a quarter is this wide
    sky, ground = rng.choice(BACKGROUNDS)
    picture = Image.new("RGB", (2 * half, 2 * half), sky)
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, rng.uniform(0.6, 1.6) * half, 2 * half, 2 * half), ground)
    corners = rng.sample([(0, 0), (half, 0), (0, half), (half, half)], len(things))
    boxes = []
    for corner, thing in zip(corners, things, strict=True):
        size = rng.uniform(0.75, 0.95) * half
        left, top = (edge + rng.uniform(0, half - size) for edge in corner)
        for shape, colour, *points in THINGS[thing]:
            getattr(pen, shape)([(left + x * size, top + y * size) for x, y in points], fill=colour)
        boxes.append([edge / (2 * half) for edge in (left, top, left + size, top + size)])
    return picture.resize((side, side), Image.Resampling.BOX), boxes

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""
Ways in which an example goes bad: pure functions from a row of the schema to a disturbed one.

All are called as `disturb(row, rate, rng, pool)`: `rate`, 0 to 1, is how much is disturbed (0 changes nothing), `rng`
a `random.Random` that decides all that is random, `pool` what the split holds (`Pool`). The row that is given stays as
it is. Head and tail stay what they are: mentions are not touched, and their positions follow the words around them.
"""

import random
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from PIL import Image

from data_scripts.converters.entity_typing import UNKNOWN

ROLES = ("head", "tail")
NEIGHBOURS = {
    key: set(near)
    for row in ("qwertyuiop", "asdfghjkl", "zxcvbnm")
    for key, near in zip(row, (row[max(i - 1, 0) : i] + row[i + 1 : i + 2] for i in range(len(row))), strict=True)
}
"""Keys beside a key on its row of a keyboard."""


class Pool(NamedTuple):
    """What a split holds: its pictures, as a function from image_id to PIL picture, their ids, its entity types, and
    how it says that a type is not known: "unknown", or `None` where it never says so."""

    picture: Callable[[str], Image.Image]
    image_ids: list[str]
    types: list[str]
    unknown: str | None = None


def typos(row: Mapping, rate: float, rng: random.Random, pool: Pool) -> dict:
    """Each word outside of the mentions gets one slip of the finger with probability `rate`."""
    inside = _mention_places(row)
    tokens = [
        _misspell(token, rng) if i not in inside and rng.random() < rate else token
        for i, token in enumerate(row["tokens"])
    ]
    return {**row, "tokens": tokens}


def _misspell(word: str, rng: random.Random) -> str:
    """Two letters swapped, one left out, doubled, or hit beside; a word of one letter stays."""
    if len(word) < 2:
        return word
    i = rng.randrange(len(word) - 1)
    beside = sorted(NEIGHBOURS.get(word[i].lower(), {word[i]}))
    changed = [
        word[:i] + word[i + 1] + word[i] + word[i + 2 :],
        word[:i] + word[i + 1 :],
        word[: i + 1] + word[i:],
        word[:i] + rng.choice(beside) + word[i + 1 :],
    ]
    return rng.choice(changed)


def dropped_words(row: Mapping, rate: float, rng: random.Random, pool: Pool) -> dict:
    """Each word outside of the mentions is left out with probability `rate`."""
    inside = _mention_places(row)
    kept = [i for i in range(len(row["tokens"])) if i in inside or rng.random() >= rate]
    place = {old: new for new, old in enumerate(kept)}
    changed = {**row, "tokens": [row["tokens"][i] for i in kept]}
    for role in ROLES:
        if row[role]["start"] is not None:
            span = {"start": place[row[role]["start"]], "end": place[row[role]["end"] - 1] + 1}
            changed[role] = {**row[role], **span}
    return changed


def _mention_places(row: Mapping) -> set[int]:
    spans = [(row[role]["start"], row[role]["end"]) for role in ROLES if row[role]["start"] is not None]
    return {place for start, end in spans for place in range(start, end)}


def missing_picture(row: Mapping, rate: float, rng: random.Random, pool: Pool) -> dict:
    """With probability `rate` there is no picture; one that head or tail lies in stays."""
    if rng.random() >= rate or any(row[role]["kind"] == "object" for role in ROLES):
        return {**row}
    return {**row, "image": None, "image_id": None, "objects": []}


def blank_picture(row: Mapping, rate: float, rng: random.Random, pool: Pool) -> dict:
    """With probability `rate` the picture is of one colour, its own mean."""
    if rng.random() >= rate or row["image"] is None:
        return {**row}
    picture = row["image"].convert("RGB")
    mean = tuple(int(value) for value in np.asarray(picture).mean(axis=(0, 1)).round())
    return {**row, "image": Image.new("RGB", picture.size, mean)}


def noisy_picture(row: Mapping, rate: float, rng: random.Random, pool: Pool) -> dict:
    """The picture is mixed with noise: a share of `rate` of each pixel is uniformly random."""
    if row["image"] is None or rate == 0:
        return {**row}
    pixels = np.asarray(row["image"].convert("RGB"), dtype=np.float32)
    noise = np.random.default_rng(rng.getrandbits(64)).integers(0, 256, size=pixels.shape)
    return {**row, "image": Image.fromarray(np.rint((1 - rate) * pixels + rate * noise).astype(np.uint8))}


def other_picture(row: Mapping, rate: float, rng: random.Random, pool: Pool) -> dict:
    """With probability `rate` the picture is that of another post; boxes stay where they were."""
    if rng.random() >= rate or row["image"] is None or len(pool.image_ids) < 2:
        return {**row}
    other = rng.choice(pool.image_ids)
    while other == row["image_id"]:
        other = rng.choice(pool.image_ids)
    return {**row, "image": pool.picture(other), "image_id": other}


def wrong_types(row: Mapping, rate: float, rng: random.Random, pool: Pool) -> dict:
    """The type of head and of tail, where it is known, is another one of the split's, each with probability `rate`."""
    changed = {**row}
    for role in ROLES:
        others = [name for name in pool.types if name != row[role]["type"]]
        if row[role]["type"] not in (None, UNKNOWN) and rng.random() < rate and others:
            changed[role] = {**row[role], "type": rng.choice(others)}
    return changed


def unknown_types(row: Mapping, rate: float, rng: random.Random, pool: Pool) -> dict:
    """The type of head and of tail, where it is known, is no longer, each with probability `rate`."""
    changed = {**row}
    for role in ROLES:
        if row[role]["type"] not in (None, UNKNOWN) and rng.random() < rate:
            changed[role] = {**row[role], "type": pool.unknown}
    return changed


def shifted_boxes(row: Mapping, rate: float, rng: random.Random, pool: Pool) -> dict:
    """Every box moves, in a random direction, by `rate` of its own width and height, but not out of the picture."""
    moved: dict[tuple, list[float]] = {}

    def shift(entity: Mapping) -> dict:
        if entity["box"] is None:
            return {**entity}
        # An object that is head or tail stands among the candidates too, and moves with them.
        key = (entity["name"], *entity["box"])
        if key not in moved:
            moved[key] = _shift(entity["box"], rate, rng)
        return {**entity, "box": moved[key]}

    return {**row, **{role: shift(row[role]) for role in ROLES}, "objects": [shift(one) for one in row["objects"]]}


def _shift(box, rate: float, rng: random.Random) -> list[float]:
    x0, y0, x1, y1 = box
    corner = []
    for low, high in ((x0, x1), (y0, y1)):
        step = rng.choice((-1, 1)) * rate * (high - low)
        corner.append(min(max(low + step, 0.0), 1 - (high - low)))
    return [corner[0], corner[1], corner[0] + (x1 - x0), corner[1] + (y1 - y0)]


DISTURBANCES = {
    function.__name__: function
    for function in (
        typos, dropped_words, missing_picture, blank_picture, noisy_picture, other_picture, wrong_types, unknown_types,
        shifted_boxes,
    )
}  # fmt: skip

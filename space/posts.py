# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""A visitor's post: read, held to the Space's limits, and turned into inputs of the pipeline.

A post is a dict with `text`, `entities`, `head` and `tail`. An entity is `{"kind": "text", "start", "end", "type"}`,
[start, end) in characters of the text, or `{"kind": "object", "box": [x0, y0, x1, y1], "type"}`, corners as fractions
of the upright picture; `type` may be None. `head` and `tail` are places in `entities`, or None.
"""

import base64
import io
from typing import Any

from PIL import Image, ImageOps

MAX_CHARACTERS = 1000
MAX_ENTITIES = 12
MAX_BYTES = 10 * 2**20
MAX_PIXELS = 20_000_000
PREVIEW_SIDE = 1024  # pixels
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")


class Refusal(ValueError):
    """Something that a visitor gave cannot be used; the message is a sentence that says why."""


def check_text(text: str) -> str:
    """The text without blanks around it, and with single ones for line breaks.

    Raises:
        Refusal: it is too long.
    """
    text = " ".join(text.split())
    if len(text) > MAX_CHARACTERS:
        raise Refusal(
            f"The text has {len(text):,} characters. This demo reads up to {MAX_CHARACTERS:,}: please shorten it."
        )
    return text


def read_picture(content: bytes) -> Image.Image:
    """Opens a picture file, as it is; its header is checked before the rest is read.

    Raises:
        Refusal: it is no picture, a broken one, or too large.
    """
    if len(content) > MAX_BYTES:
        size = f"{len(content) / 2**20:.0f} MB"
        raise Refusal(f"The picture's file has {size}. This demo takes up to {MAX_BYTES >> 20} MB: try a smaller one.")
    try:
        picture = Image.open(io.BytesIO(content), formats=FORMATS)
        width, height = picture.size
        if width * height > MAX_PIXELS:
            raise Refusal(
                f"The picture has {width:,} × {height:,} pixels, {width * height / 1e6:.0f} megapixels. This demo "
                f"takes up to {MAX_PIXELS / 1e6:.0f}: please make it smaller."
            )
        picture.load()
    except Refusal:
        raise
    except Exception as error:  # decoders raise nearly every type there is
        raise Refusal(
            "This file cannot be read as a picture: it is broken, or none of PNG, JPEG, WebP, GIF and BMP."
        ) from error
    return picture


def make_preview(picture: Image.Image) -> str:
    """The picture, upright, as a data URL, `PREVIEW_SIDE` pixels a side at most, for the page to show."""
    upright = ImageOps.exif_transpose(picture).convert("RGBA")
    upright.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    buffer = io.BytesIO()
    shown = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright).convert("RGB")
    shown.save(buffer, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def read_post(value: Any) -> dict[str, Any]:
    """Checks what the page, or whoever speaks in its place, sent as a post.

    Raises:
        Refusal: it is none, or breaks a limit.
    """
    try:
        post = {
            "text": value["text"],
            "entities": [_read_entity(entity, len(value["text"])) for entity in value["entities"]],
        }
        for role in ("head", "tail"):
            post[role] = None if value[role] is None else range(len(post["entities"])).index(value[role])
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise Refusal("The page sent a post that cannot be read. Reload it, and try again.") from error
    check_text(post["text"])
    if len(post["entities"]) > MAX_ENTITIES:
        raise Refusal(f"This demo takes up to {MAX_ENTITIES} entities at a time: please remove some.")
    return post


def _read_entity(entity: dict, length: int) -> dict[str, Any]:
    kind = entity["type"]
    read = {"kind": entity["kind"], "type": None if kind is None else kind.strip()[:50] or None}
    if entity["kind"] == "text":
        start, end = entity["start"], entity["end"]
        if not 0 <= start < end <= length:
            raise ValueError
        return {**read, "start": start, "end": end}
    x0, y0, x1, y1 = (min(max(float(x), 0.0), 1.0) for x in entity["box"])
    if x0 >= x1 or y0 >= y1:
        raise ValueError
    return {**read, "box": [x0, y0, x1, y1]}


def names_of(post: dict[str, Any]) -> list[str]:
    """What to call each entity: its words, or the number of its box, as on the page."""
    names, number = [], 0
    for entity in post["entities"]:
        if entity["kind"] == "text":
            names.append(post["text"][entity["start"] : entity["end"]])
        else:
            number += 1
            names.append(f"box {number}")
    return names


def pipeline_input(post: dict[str, Any], picture: Image.Image | None, head: int, tail: int) -> dict[str, Any]:
    """The post with one pair of its entities, as the pipeline takes it. All boxes are there as context."""
    chosen = {role: dict(post["entities"][index]) for role, index in (("head", head), ("tail", tail))}
    boxes = [{"box": entity["box"]} for entity in post["entities"] if entity["kind"] == "object"]
    return {"text": post["text"], **chosen, "image": picture, "objects": boxes or None}


def check_pair(post: dict[str, Any], picture: Image.Image | None, takes_boxes: bool) -> None:
    """Sees to it that there is a pair to ask about.

    Raises:
        Refusal: saying what is missing, in the order in which a visitor would give it.
    """
    if not post["text"].strip() and picture is None:
        raise Refusal("There is no post yet: write a text or add a picture.")
    for role, other in (("head", "tail"), ("tail", "head")):
        if post[role] is None:
            where = " or a box of the picture" if picture is not None and takes_boxes else ""
            raise Refusal(f"Mark the {role}: choose “{role.title()}”, then a word of the text{where}.")
        if post[role] == post[other]:
            raise Refusal("Head and tail are the same entity. A relation needs two: mark another one as head or tail.")
        if post["entities"][post[role]]["kind"] == "object" and picture is None:
            raise Refusal(f"The {role} is a box, but there is no picture to find it in.")

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""A visitor's post: read, held to the Space's limits, and turned into inputs of the pipeline.

A post is a dict with `text`, `entities`, `head` and `tail`. An entity is `{"kind": "text", "start", "end", "type"}`,
[start, end) in characters of the text, or `{"kind": "object", "box": [x0, y0, x1, y1], "type"}`, corners as fractions
of the upright picture; `type` may be None. `head` and `tail` are places in `entities`, or None.

What cannot be used raises `Refusal`.
"""

import base64
import contextlib
import functools
import io
import re
import struct
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

MAX_CHARACTERS = 1000
MAX_ENTITIES = 12
MAX_BYTES = 10 * 2**20
MAX_PIXELS = 20_000_000
PREVIEW_SIDE = 1024  # pixels
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
NO_NAMES = frozenset(
    "a about after all also am an and any are as at be been before but by can could did do does for from had has have "
    "how if in into is just may more no nor not of off on or out over so some such than that the their then there "
    "these this those to under until up very was were what when where which while who why will with would yet".split()
)
"""English words that name nothing by themselves."""


class Refusal(ValueError):
    """Something that a visitor gave cannot be used; the message is a sentence that says why."""


def shows_refusals(function):
    """An event's `function`, with a refusal shown as a notice; the page stays as it was."""

    @functools.wraps(function)
    def handle(*values):
        try:
            return function(*values)
        except Refusal as refusal:
            gr.Warning(escape(str(refusal)), title="That did not work", duration=6)
            return gr.skip()

    return handle


def check_text(text: str) -> str:
    """The text without blanks around it, and with single ones for line breaks, if it is not too long."""
    text = " ".join(text.split())
    if len(text) > MAX_CHARACTERS:
        raise Refusal(
            f"The text has {len(text):,} characters. This demo reads up to {MAX_CHARACTERS:,}: please shorten it."
        )
    return text


def take_upload(file: str) -> bytes:
    """Reads an uploaded file, and deletes it."""
    path = Path(file)
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:  # another's upload of the very same file, kept in the same place, was first
        raise Refusal("The file did not arrive. Please choose it once more.") from error
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.parent.rmdir()
    return content


def read_picture(content: bytes, open_picture: Callable[[bytes], Image.Image]) -> Image.Image:
    """Opens a picture file as the model sees it; its header is checked before the rest is read.

    Args:
        content: the file's.
        open_picture: the model's processor's, which reads whatever it was trained on in the same way.
    """
    if len(content) > MAX_BYTES:
        size = f"{len(content) / 2**20:.0f} MB"
        raise Refusal(f"The picture's file has {size}. This demo takes up to {MAX_BYTES >> 20} MB: try a smaller one.")
    try:
        try:
            width, height = Image.open(io.BytesIO(content), formats=FORMATS).size
        except ValueError:  # a PNG with longer texts than Pillow reads; the model's processor leaves them out
            width, height = struct.unpack(">II", content[16:24])
        picture = open_picture(content) if width * height <= MAX_PIXELS else None
    except Image.DecompressionBombError as error:
        raise Refusal(
            f"The picture is far too large: this demo takes up to {MAX_PIXELS / 1e6:.0f} megapixels."
        ) from error
    except Exception as error:  # decoders raise nearly every type there is
        raise Refusal(
            "This file cannot be read as a picture: it is broken, or none of PNG, JPEG, WebP, GIF and BMP."
        ) from error
    if picture is None:
        raise Refusal(
            f"The picture has {width:,} × {height:,} pixels, {width * height / 1e6:.0f} megapixels. This demo "
            f"takes up to {MAX_PIXELS / 1e6:.0f}: please make it smaller."
        )
    return picture


def make_preview(picture: Image.Image) -> str:
    """A picture as the model sees it as a data URL, `PREVIEW_SIDE` pixels a side at most, for the page to show."""
    preview = picture.copy()
    preview.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    return data_url(preview, "JPEG")


def data_url(picture: Image.Image, kind: str) -> str:
    """The picture as a file of this kind, "JPEG" or "PNG", inside a URL."""
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, quality=88)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def read_post(value: Any) -> dict[str, Any]:
    """What the page, or whoever speaks in its place, sent as a post, checked."""
    try:
        length = len(value["text"])
        post = {"text": value["text"], "entities": [_read_entity(entity, length) for entity in value["entities"]]}
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


def keep_entities(post: dict[str, Any], kind: str) -> dict[str, Any]:
    """The post with its entities of one kind, "text" or "object"; a head or tail of the other kind is None then."""
    places = [place for place, entity in enumerate(post["entities"]) if entity["kind"] == kind]
    roles = {role: places.index(post[role]) if post[role] in places else None for role in ("head", "tail")}
    return {**post, "entities": [post["entities"][place] for place in places], **roles}


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


def mark_without_name(post: dict[str, Any]) -> str | None:
    """The words of the head or the tail that name nothing: without a letter or digit, or but for prepositions and the
    like; None if both may name something."""
    for role in ("head", "tail"):
        if post["entities"][post[role]]["kind"] == "text":
            words = names_of(post)[post[role]]
            if NO_NAMES.issuperset(re.findall(r"\w+", words.lower())):
                return words
    return None


def pipeline_input(post: dict[str, Any], picture: Image.Image | None, head: int, tail: int) -> dict[str, Any]:
    """The post with one pair of its entities, as the pipeline takes it. All boxes are there as context."""
    boxes = [{"box": entity["box"]} for entity in post["entities"] if entity["kind"] == "object"]
    pair = {"head": post["entities"][head], "tail": post["entities"][tail]}
    return {"text": post["text"], **pair, "image": picture, "objects": boxes or None}


def check_pair(post: dict[str, Any], picture: Image.Image | None, takes_boxes: bool) -> None:
    """Says what is missing of a pair to ask about, in the order in which a visitor would give it."""
    if not post["text"].strip() and picture is None:
        raise Refusal("There is no post yet: write a text or add a picture.")
    for role in ("head", "tail"):
        if post[role] is None:
            where = " or a box of the picture" if picture is not None and takes_boxes else ""
            raise Refusal(f"Mark the {role}: choose “{role.title()}”, then a word of the text{where}.")
        if post["head"] == post["tail"]:
            raise Refusal("Head and tail are the same entity. A relation needs two: mark another one as head or tail.")
        if post["entities"][post[role]]["kind"] == "object" and picture is None:
            raise Refusal(f"The {role} is a box, but there is no picture to find it in.")

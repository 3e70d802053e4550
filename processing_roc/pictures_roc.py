# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Opening pictures of any mode and from anywhere as RGB, and the image processor in two halves: resize, normalize."""

import base64
import binascii
import io
import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from huggingface_hub import get_session
from PIL import Image, ImageOps

SIXTEEN_BIT = 65535


def open_picture(picture: Image.Image | str | os.PathLike | bytes, where: str = "picture") -> Image.Image:
    """Opens a picture as RGB, upright, its first frame.

    Transparency is laid over white. 16-bit grey (modes I;16 and I) is scaled from 0–65535, floating-point grey (F)
    from 0–1: a file does not say its range, so values outside are an error and not a guess.

    Args:
        picture: a PIL picture (left as it is), a path, or the bytes of a picture file.
        where: what the picture is, for error messages, such as "example 3".

    Returns:
        A new RGB picture.

    Raises:
        TypeError: `picture` is something else.
        ValueError: the file is missing, broken, or larger than `PIL.Image.MAX_IMAGE_PIXELS`.
    """
    if isinstance(picture, Image.Image):
        name, source = getattr(picture, "filename", "") or repr(picture), None
    elif isinstance(picture, (str, os.PathLike)):
        name, source = os.fspath(picture), picture
    elif isinstance(picture, bytes):
        name, source = f"{len(picture)} bytes", io.BytesIO(picture)
    else:
        raise TypeError(f"{where} must be a PIL picture, a path or bytes, got {type(picture).__name__}")
    try:
        if source is None:
            return _to_rgb(picture)
        with Image.open(source) as opened:
            return _to_rgb(opened)
    except Exception as error:  # decoders raise nearly every type there is; what they lack is the picture's name
        raise ValueError(f"{where}: cannot read picture {name}: {error}") from error


def load_picture(image: Any, where: str = "image", timeout: float | None = None) -> Image.Image:
    """
    Opens a picture as [`open_picture`] does, RGB and upright, from wherever it is.

    Args:
        image: a PIL picture, a path, an http(s) URL, base64 (bare or as a data URL) or the bytes of a picture file.
        where: what the picture is, for error messages.
        timeout: seconds to wait for a server; `None`: for ever.

    Raises:
        ValueError: it is none of these, cannot be fetched, or is no picture.
    """
    if isinstance(image, str):
        if image.startswith(("http://", "https://")):
            try:
                response = get_session().get(image, timeout=timeout, follow_redirects=True)
                response.raise_for_status()
            except Exception as error:  # the client raises many types; what they lack is whose picture it was
                raise ValueError(f"{where}: cannot fetch {image}: {error}") from error
            return open_picture(response.content, f"{where} {image}")
        if not os.path.isfile(image):
            image = _decode_base64(image, where)
    try:
        return open_picture(image, where)
    except TypeError as error:
        raise ValueError(f"{error}, a URL or base64") from error


def _decode_base64(image: str, where: str) -> bytes:
    # Clients break base64 into lines, and a data URL may come with or without its parameters.
    content = re.sub(r"\s+", "", image.partition(",")[2] if image.startswith("data:") else image)
    try:
        if not content:
            raise ValueError("it is empty")
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError) as error:
        shown = repr(image if len(image) <= 100 else image[:100] + "…")
        raise ValueError(f"{where}: {shown} is no file that exists, no http(s) URL and no base64: {error}") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise ValueError(f"{image.width} × {image.height} pixels are more than PIL's limit of {limit}")
    frame = image.tell() if getattr(image, "is_animated", False) else 0
    if frame:
        image.seek(0)
    upright = ImageOps.exif_transpose(image)  # always a copy
    if frame:
        image.seek(frame)
    if upright.mode.startswith("I"):
        return _grey(upright, SIXTEEN_BIT)
    if upright.mode == "F":
        return _grey(upright, 1)
    if upright.has_transparency_data:
        straight = upright.convert("LA") if upright.mode == "La" else upright
        straight = straight.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", straight.size, "white"), straight).convert("RGB")
    return upright.convert("RGB")


def _grey(image: Image.Image, highest: int) -> Image.Image:
    values = np.asarray(image, dtype=np.float64)
    if not (np.isfinite(values).all() and 0 <= values.min() and values.max() <= highest):
        raise ValueError(f"mode {image.mode} holds values outside 0–{highest}; convert it to 8 bits first")
    return Image.fromarray(np.rint(values * (255 / highest)).astype(np.uint8)).convert("RGB")


def distinct_pictures(pictures: Sequence[Any]) -> tuple[list[Any], list[int]]:
    """Finds the distinct pictures: the same object, or the same path, counts once; None is no picture.

    Returns:
        The distinct pictures in order of appearance, and for each of `pictures` its index among them or -1.
    """
    found: dict[Any, int] = {}
    kept: list[Any] = []
    index = []
    for picture in pictures:
        if picture is None:
            index.append(-1)
            continue
        key = os.fspath(picture) if isinstance(picture, (str, os.PathLike)) else id(picture)
        if key not in found:
            found[key] = len(kept)
            kept.append(picture)
        index.append(found[key])
    return kept, index


def resize_pictures(pictures: Sequence[Image.Image], image_processor: Any) -> np.ndarray:
    """Resizes and crops RGB pictures as `image_processor` does: (N, 3, height, width), uint8.

    Raises:
        ValueError: the image processor gives pictures of unlike sizes, or no pictures are given.
    """
    if not pictures:
        raise ValueError("no pictures given")
    pixels = image_processor(list(pictures), do_rescale=False, do_normalize=False)["pixel_values"]
    arrays = [np.asarray(array) for array in pixels]
    if len(shapes := {array.shape for array in arrays}) > 1:
        raise ValueError(f"the image processor must give pictures of one size, got {sorted(shapes)}")
    stacked = np.stack(arrays)
    return stacked if stacked.dtype == np.uint8 else np.rint(stacked).clip(0, 255).astype(np.uint8)


def rescale_and_normalize(pixels: np.ndarray, image_processor: Any) -> np.ndarray:
    """Rescales and normalizes resized pictures as `image_processor` does: (N, 3, height, width), uint8 to float32.

    Both steps together are linear in each channel, so what the image processor makes of black and of white tells
    them, and a batch costs a fraction of its own call.
    """
    probe = [np.full((3, 1, 1), value, dtype=np.uint8) for value in (0, 255)]
    kwargs = {"do_resize": False, "do_center_crop": False, "input_data_format": "channels_first"}
    black, white = (np.asarray(array, dtype=np.float32) for array in image_processor(probe, **kwargs)["pixel_values"])
    values = pixels.astype(np.float32)
    values *= (white - black) / 255
    values += black
    return values

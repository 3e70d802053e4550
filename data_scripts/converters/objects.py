# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Object dictionaries of raw data sets: which objects a picture has, and where; captions of these objects."""

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import torch

from data_scripts.converters.boxes import read_box
from data_scripts.reading import DataError, is_text, read_json


@dataclasses.dataclass
class ObjectDictionary:
    """The objects of a split's pictures.

    Attributes:
        path: the file; None: there is none.
        objects: `objects` of the schema by image id, in the file's order.
        num_clipped: boxes that overshot their picture by rounding and were clipped.
    """

    path: Path | None = None
    objects: dict[str, list[dict]] = dataclasses.field(default_factory=dict)
    num_clipped: int = 0

    def find(self, image_id: str, name: str) -> dict | None:
        """The object `name` of a picture; None if there is none."""
        return next((entry for entry in self.objects.get(image_id, ()) if entry["name"] == name), None)


def read_object_dictionary(path: Path, captions: dict[str, dict[str, str]]) -> ObjectDictionary:
    """Reads `{image id: {object: (center x, center y, width, height)}}` in fractions of the picture.

    Args:
        path: a `.json` file, or a `.pth` file (of which only plain data are read, never code).
        captions: {image id: {object: caption}}.

    Raises:
        DataError: naming file, image and object, if the file cannot be read so or a box is not as `read_box` wants it.
    """
    dictionary = ObjectDictionary(path)
    for image_id, boxes in _load_nested(path).items():
        objects = dictionary.objects[image_id] = []
        for name, box in boxes.items():
            try:
                corners, clipped = read_box(box.tolist() if isinstance(box, torch.Tensor) else box, "box_center")
            except ValueError as error:
                raise DataError(f"{path}, image {image_id!r}, object {name!r}: {error}") from error
            caption = captions.get(image_id, {}).get(name)
            objects.append({"name": name, "box": corners, "caption": caption})
            dictionary.num_clipped += clipped
    return dictionary


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
        if not isinstance(objects, dict):
            raise DataError(
                f"{path}, image {image_id!r}: a dictionary of objects is expected, not {type(objects).__name__}"
            )
        for name in objects:
            if not is_text(name):
                raise DataError(f"{path}, image {image_id!r}: an object's key must be a string, not {name!r}")
    return content


def _load_safely(path: Path) -> Any:
    try:
        with warnings.catch_warnings():  # of pickle protocols, which are torch's affair
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken file raises nearly every type there is
        # torch's own message advises to load the file with the code in it: it is not passed on.
        raise DataError(
            f"{path}: refused, and no code of it was run: it is broken, or holds more than dictionaries, tuples, "
            "strings, numbers and tensors; a JSON file of the same name and content does as well"
        ) from error

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""From a caller's input to a batch for the model."""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch.utils.data import Dataset

from .boxes_roc import shown_part
from .entities_roc import read_example
from .pictures_roc import load_picture

FIELDS = ("text", "head", "tail", "entities", "objects", "image")


def read_input(
    inputs: Mapping,
    where: str = "",
    filter_by_type: bool = False,
    explain: bool = False,
    timeout: float | None = None,
) -> dict[str, Any]:
    """Checks an input's fields and opens its picture; what the fields hold is the processor's to check.

    Args:
        inputs: an input of [`RelationExtractionPipeline`], as its `__call__` documents it.
        where: how an error's message begins.
        filter_by_type, explain, timeout: the pipeline's parameters, already checked.

    Returns:
        What `collate_inputs` takes: the input's `text`, `objects`, `entities` and opened `image`; `pairs` of places in
        `entities`, those to be scored, and `is_one_pair`, whether they were given as head and tail; the arguments
        `where`, `filter_by_type` and `explain`.

    Raises:
        ValueError: the input is no dict, or one of its fields is missing, unknown or not what it should be.
    """
    if not isinstance(inputs, Mapping):
        raise ValueError(
            f"{where}an input must be a dict with {', '.join(FIELDS)}, got {type(inputs).__name__}; rows of a "
            "data set go in as a generator of such dicts or as a KeyDataset"
        )
    if unknown := inputs.keys() - set(FIELDS):
        raise ValueError(f"{where}unknown fields {sorted(map(str, unknown))}; known are {', '.join(FIELDS)}")
    text, head, tail, entities, objects, image = (inputs.get(field) for field in FIELDS)
    if text is None:
        raise ValueError(f"{where}text is missing")
    if entities is None:
        for name, entity in (("head", head), ("tail", tail)):
            if entity is None:
                raise ValueError(f"{where}{name} is missing: give head and tail, or entities")
            if not isinstance(entity, Mapping):
                raise ValueError(f"{where}{name} must be a dict, got {type(entity).__name__}")
        chosen, pairs = [head, tail], [(0, 1)]
    else:
        if head is not None or tail is not None:
            raise ValueError(f"{where}give either entities or head and tail, not both")
        if not isinstance(entities, (list, tuple)) or len(entities) < 2:
            raise ValueError(f"{where}entities must be a list of at least two, got {entities!r:.200}")
        for i, entity in enumerate(entities):
            if not isinstance(entity, Mapping):
                raise ValueError(f"{where}entities[{i}] must be a dict, got {type(entity).__name__}")
        chosen, pairs = list(entities), list(itertools.permutations(range(len(entities)), 2))
    return {
        "where": where,
        "text": text,
        "entities": chosen,
        "pairs": pairs,
        "is_one_pair": entities is None,
        "objects": objects,
        "image": None if image is None else load_picture(image, f"{where}image", timeout),
        "filter_by_type": filter_by_type,
        "explain": explain,
    }


class Numbered(Dataset):
    """The items of a list or data set with their numbers, for error messages."""

    def __init__(self, inputs: Iterable):
        self.inputs = inputs

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, number: int) -> tuple[int, Any]:
        return number, self.inputs[number]


def read_numbered(numbered: tuple[int, Mapping], **parameters) -> dict[str, Any]:
    """One of several inputs, with its number as `Numbered` gives it: see `read_input`."""
    number, inputs = numbered
    return read_input(inputs, f"input {number}: ", **parameters)


def collate_inputs(examples: Sequence[dict[str, Any]], processor, dtype: torch.dtype) -> dict[str, Any]:
    """Inputs as `read_input` returns them → one batch for the model, a row for each pair and every picture once.

    Args:
        examples: of one call, so that all have the same `filter_by_type` and `explain`.
        processor ([`RocProcessor`]): the model's.
        dtype: of the model, for the pictures.

    Returns:
        `tensors`, the model's arguments; with `filter_by_type` `types`, the (head type, tail type) of each pair, else
        None; with `explain` `words`, the processor's `offset_mapping` and `word_ids`, else None, and `shown`, for each
        pair the part of its picture that the model sees, or None; `examples`, as given, without their pictures.

    Raises:
        ValueError: what the processor says of a field, with the input and the pair in place of the row's number.
    """
    pairs = [(example, i, j) for example in examples for i, j in example["pairs"]]
    pictures: dict[Any, Image.Image] = {}
    for example in examples:
        if (image := example["image"]) is not None:
            # The processor knows equal pictures by identity; a data set gives a new object for every row.
            example["image"] = pictures.setdefault((image.size, image.tobytes()), image)
    given = {
        "text": [example["text"] for example, _, _ in pairs],
        "head": [example["entities"][i] for example, i, _ in pairs],
        "tail": [example["entities"][j] for example, _, j in pairs],
        "images": [example["image"] for example, _, _ in pairs],
    }
    if any(example["objects"] is not None for example in examples):
        given["objects"] = [example["objects"] for example, _, _ in pairs]
    try:
        explain = examples[0]["explain"]
        tensors = dict(processor(**given, return_tensors="pt", return_offsets_mapping=explain))
    except ValueError as error:
        numbered = re.match(r"example (\d+): ", str(error))
        if numbered is None:
            raise
        example, i, j = pairs[int(numbered[1])]
        pair = "" if example["is_one_pair"] else f"entities[{i}] as head with entities[{j}] as tail: "
        raise ValueError(f"{example['where']}{pair}{str(error)[numbered.end() :]}") from error
    if "pixel_values" in tensors:
        tensors["pixel_values"] = tensors["pixel_values"].to(dtype)
    batch = {"tensors": tensors, "types": None, "words": None, "shown": []}
    if examples[0]["filter_by_type"]:
        batch["types"] = [_types(example, i, j) for example, i, j in pairs]
    if explain:
        batch["words"] = {name: tensors.pop(name) for name in ("offset_mapping", "word_ids")}
        images = [example["image"] for example, _, _ in pairs]
        batch["shown"] = [
            None if image is None else shown_part(processor.image_processor, image.size) for image in images
        ]
    return {**batch, "examples": [{**example, "image": None} for example in examples]}


def _types(example: Mapping, head: int, tail: int) -> tuple[str | None, str | None]:
    """The types of two of an input's entities; an object's may stand among the picture's objects."""
    image, entities = example["image"], example["entities"]
    size = None if image is None else image.size
    read = read_example(example["text"], entities[head], entities[tail], example["objects"], size, example["where"])
    return read.pair["head"].type, read.pair["tail"].type

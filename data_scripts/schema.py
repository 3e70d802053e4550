# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The row: one schema for every data set, text–text, text–object and object–object."""

from datasets import ClassLabel, Features, Image, List, Value

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")
"""Names of the splits, in the order in which they are read, reported and written."""

PAIR_KINDS = ("text_text", "text_object", "object_object")


def dataset_features(relation_names: list[str]) -> Features:
    """Features of a converted data set.

    Args:
        relation_names: relation labels in the order of their ids, the negative one among them.

    Returns:
        Features with `image` nullable (null: no picture), `start`/`end` in tokens as [start, end) (null for objects),
        `box` as x0, y0, x1, y1 in 0–1 (null for text), `type` null where no tagger was used and "unknown" where the
        tagger missed the mention, `relation` nullable (null: unlabelled).
    """
    entity = {
        "name": Value("string"),
        "kind": Value("string"),
        "start": Value("int32"),
        "end": Value("int32"),
        "box": List(Value("float32")),
        "type": Value("string"),
    }
    return Features(
        {
            "id": Value("string"),
            "image": Image(),
            "image_id": Value("string"),
            "tokens": List(Value("string")),
            "head": dict(entity),
            "tail": dict(entity),
            "objects": List({"name": Value("string"), "box": List(Value("float32")), "caption": Value("string")}),
            "relation": ClassLabel(names=list(relation_names)),
        }
    )


def pair_kind(row: dict) -> str:
    """Of what kinds a row's two entities are, whichever is the head: one of PAIR_KINDS."""
    return PAIR_KINDS[[row[role]["kind"] for role in ("head", "tail")].count("object")]


def text_entity(name: str, start: int, end: int) -> dict:
    """A head or tail that is a mention in the text, at the tokens [start, end), not typed yet."""
    return {"name": name, "kind": "text", "start": start, "end": end, "box": None, "type": None}


def object_entity(name: str, box: list[float] | None) -> dict:
    """A head or tail that is the object `name` of the picture, in the box x0, y0, x1, y1 (0-1), not typed yet."""
    return {"name": name, "kind": "object", "start": None, "end": None, "box": box, "type": None}

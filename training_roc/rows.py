# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Rows of a data set to what the collator takes.

Never part of remote code: it serves training and evaluation, and needs `datasets`.
"""

from datasets import DatasetDict, Features, List, Value

from processing_roc import PAIR_PLACES, ExampleError, RocProcessor
from training_roc.collator import PictureTable

PLACES = {name: Value("int32") if name.endswith("index") else List(Value("int32")) for name in PAIR_PLACES}
FEATURES = Features(
    {
        "image_id": Value("string"),
        "input_ids": List(Value("int32")),
        **PLACES,
        "object_boxes": List(List(Value("float32"))),
        "labels": Value("int64"),
    }
)


def prepare_splits(
    splits: DatasetDict, processor: RocProcessor, pictures: PictureTable | None, num_proc: int | None
) -> DatasetDict:
    """Encodes every row with `processor`, without padding and without its picture.

    Args:
        splits: rows of the project's schema.
        processor: encodes texts, entities and boxes.
        pictures: tells the pictures' sizes; None where no picture is used.
        num_proc: number of processes.

    Returns:
        The splits with the columns of `FEATURES`: `labels` is -100 where a row has no label.

    Raises:
        ValueError: a row cannot be encoded; the message names its id.
    """
    sizes = {} if pictures is None else pictures.sizes

    def encode(rows):
        image_sizes = [sizes.get(image_id) for image_id in rows["image_id"]]
        arguments = {"text": rows["tokens"], **{name: rows[name] for name in ("head", "tail", "objects")}}
        try:
            encoded = processor(**arguments, image_sizes=image_sizes)
        except ExampleError as error:
            raise ValueError(f"row {rows['id'][error.index]!r}: {error.problem}") from error
        return {
            **{name: encoded[name] for name in ("input_ids", *PAIR_PLACES)},
            "object_boxes": encoded.get("object_boxes", [[]] * len(image_sizes)),
            # Published test splits without labels hold -1.
            "labels": [-100 if relation in (None, -1) else relation for relation in rows["relation"]],
        }

    columns = next(iter(splits.values())).column_names
    return splits.select_columns([name for name in columns if name != "image"]).map(
        encode,
        batched=True,
        remove_columns=[name for name in columns if name not in ("image", "image_id")],
        features=FEATURES,
        num_proc=num_proc,
        desc="Tokenizing",
    )

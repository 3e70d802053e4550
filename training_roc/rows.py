# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The rows of a run: which of its data sets', and encoded as the collator takes them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import torch
from datasets import Dataset, DatasetDict, Features, Image, List, Value, concatenate_datasets

from data_scripts.loading import load_relation_dataset
from processing_roc import PAIR_PLACES, ExampleError, RocProcessor
from training_roc.arguments import DataArguments, Settings
from training_roc.collator import PictureTable
from training_roc.hold_out import (
    check_hold_out,
    choose_unseen,
    hold_out,
    untrained_relations,
    warn_of_leaks,
    warn_of_source,
)
from training_roc.mixture import join_relations

logger = logging.getLogger(__name__)

PLACES = {name: Value("int32") if name.endswith("index") else List(Value("int32")) for name in PAIR_PLACES}
FEATURES = Features(
    {
        "image_id": Value("string"),
        "input_ids": List(Value("int32")),
        **PLACES,
        "object_boxes": List(List(Value("float32"))),
        "num_truncated_tokens": Value("int32"),
        "dataset_index": Value("int32"),
        "labels": Value("int64"),
    }
)


@dataclass(eq=False)
class RunData:
    """
    One of the data sets that a run works with.

    Attributes:
        splits: rows of the project's schema.
        descriptions: content of the relation descriptions file, with exactly the data set's relations.
        unseen: labels of the relations that are held out of training, the last of `descriptions`.
        title: what it is called in labels, scores and files, where there are several.
        places: of each of its relations among those of all data sets.
    """

    splits: DatasetDict
    descriptions: dict
    unseen: list[str] = field(default_factory=list)
    title: str = ""
    places: list[int] | None = None

    def __post_init__(self):
        if self.places is None:
            self.places = list(range(len(self.descriptions["relations"])))

    @property
    def labels(self) -> list[str]:
        """Of its relations, in the order of their ids."""
        return list(self.descriptions["relations"])

    @property
    def negative_label(self) -> str | None:
        """That of its negative relation."""
        return self.descriptions["negative_relation"]


def load_data(settings: Settings) -> tuple[list[RunData], dict]:
    """
    Loads the data sets, and takes out of them what the settings keep from training.

    Returns:
        The data sets, and the content of a descriptions file with the relations of all.

    Raises:
        ValueError: if a data set is not as it must be, has no rows for what is asked for, or its relations cannot
            be held out.
        HubError: if it cannot be had from the Hub.
    """
    data_args, args = settings.data, settings.training
    data = [_open(*source, several=len(data_args.dataset_name) > 1) for source in data_args.sources()]
    if data_args.hold_out_relations is not None:
        data = [_hold_out(one, settings) for one in data]
    wanted = {"train": args.do_train, "validation": args.do_eval, "test": args.do_predict}
    for split in [split for split, is_wanted in wanted.items() if is_wanted]:
        lacking = [one for one in data if split not in one.splits]
        if lacking and (split == "train" or len(lacking) == len(data)):
            raise ValueError(
                f"data set {lacking[0].title!r} has no {split} split, only {', '.join(lacking[0].splits)}: turn off "
                "--do_train, --do_eval (with --eval_strategy no) or --do_predict"
            )
        for one in lacking:
            logger.info("data set %r has no %s split: no score of it", one.title, split)
    for one in data:
        _check_and_draw(one, settings)
    for one, weight in zip(data, args.dataset_weights or [], strict=False):
        if args.do_train and round(weight * len(one.splits["train"])) == 0:
            raise ValueError(f"--dataset_weights {weight:g} of data set {one.title!r}: none of its rows would be seen")
    relations, places = join_data(data, settings)
    for one, own in zip(data, places, strict=True):
        one.places = own
    return data, relations


def join_data(data: Sequence[RunData], settings: Settings) -> tuple[dict, list[list[int]]]:
    """The content of a descriptions file with the relations of all data sets, and the places of each one's in it."""
    relation_text = settings.data.relation_text if settings.model.objective == "retrieval" else None
    return join_relations([(one.title, one.descriptions) for one in data], relation_text)


def kept_relations(data: Sequence[RunData], settings: Settings) -> tuple[dict, list[int]]:
    """The relations of a saved model as the content of a descriptions file, and their places among those of all."""
    kept = [one for one in data if settings.data.keeps(one.title)]
    relations, places = join_data(kept, settings)
    rows = {}
    for one, own in zip(kept, places, strict=True):
        rows |= dict(zip(own, one.places, strict=True))
    return relations, [rows[place] for place in range(len(rows))]


def _open(
    title: str,
    name: str,
    config_name: str | None,
    revision: str | None,
    relations_file: str | None,
    several: bool,
) -> RunData:
    """A data set as it is; where there are several, with picture ids that no other has."""
    # Anything else may be a repository, which the Hub is asked for.
    if (name.count("/") > 1 or name.startswith((".", "/", "~"))) and not Path(name).is_dir():
        raise ValueError(f"there is no folder {name} with a data set")
    splits, descriptions = load_relation_dataset(name, config_name, revision, relations_file)
    try:
        check_labels(splits, list(descriptions["relations"]))
    except ValueError as error:
        raise ValueError(f"data set {name!r}: {error}") from error
    for split, rows in splits.items() if several else ():
        ids = [None if image_id is None else f"{title}/{image_id}" for image_id in rows["image_id"]]
        splits[split] = rows.remove_columns("image_id").add_column("image_id", ids, feature=Value("string"))
    return RunData(splits, descriptions, title=title)


def _hold_out(data: RunData, settings: Settings) -> RunData:
    """A data set without training rows of the relations that are to be held out."""
    data_args, splits, descriptions = settings.data, data.splits, data.descriptions
    check_hold_out(settings.model.objective, splits)
    relations, negative = list(descriptions["relations"]), descriptions["negative_relation"]
    untrained, num_left = untrained_relations(splits), 2 if settings.training.do_train else 0
    seed = settings.seeds["hold_out_seed"]
    unseen = choose_unseen(data_args.hold_out_relations, relations, negative, seed, untrained, num_left)
    logger.info("held out of training: %s", ", ".join(unseen))
    warn_of_source(descriptions, unseen)
    num_examples = max(data_args.few_shot_examples or [0])
    splits, descriptions = hold_out(splits, descriptions, unseen, num_examples, seed)
    warn_of_leaks(splits, unseen)
    return RunData(splits, descriptions, unseen, data.title)


def _check_and_draw(data: RunData, settings: Settings) -> None:
    """Leaves of the training split the share that is asked for, and sees to it that it can be trained on."""
    fraction, args, splits = settings.data.train_fraction, settings.training, data.splits
    try:
        if fraction < 1 and "train" in splits:
            splits["train"] = draw_share(splits["train"], fraction, settings.seeds["train_fraction_seed"])
        if args.do_train:
            evaluates = args.eval_strategy != "no" and "validation" in splits
            check_training_labels(splits, evaluates, len(data.labels) - len(data.unseen))
    except ValueError as error:
        raise ValueError(f"data set {data.title!r}: {error}") from error


def draw_share(rows: Dataset, fraction: float, seed: int) -> Dataset:
    """
    A random share of the rows, stratified by relation: round(fraction * N) of N rows. Of each relation it has the same
    share, rounded down or up by the largest remainders, and at least one row. The rows keep their order.

    Args:
        rows: of the project's schema; those without a label are a group like a relation's.
        fraction: above 0, below 1.
        seed: of the draw. A row that is drawn before another of its relation is so for every fraction.

    Raises:
        ValueError: if these are fewer rows than relations.
    """
    labels = np.array([-1 if label is None else label for label in rows["relation"]])
    found, counts = np.unique(labels, return_counts=True)
    total = round(fraction * len(rows))
    if total < len(found):
        raise ValueError(
            f"--train_fraction {fraction} of {len(rows)} rows are {total}: too few for a row of each of "
            f"{len(found)} relations"
        )
    exact = counts * total / len(rows)
    sizes = np.maximum(np.floor(exact).astype(int), 1)
    while missing := total - sizes.sum():
        if missing > 0:
            sizes[np.argmax(exact - sizes)] += 1
        else:  # taken by relations of less than one row
            sizes[np.argmin(np.where(sizes > 1, exact - sizes, np.inf))] -= 1
    order = np.random.default_rng(seed).permutation(len(rows))
    kept = [order[labels[order] == label][:size] for label, size in zip(found, sizes, strict=True)]
    return rows.select(np.sort(np.concatenate(kept)))


def check_labels(splits: DatasetDict, relations: Sequence[str]) -> None:
    """
    Raises:
        ValueError: if there are no two relations, or a row has a number for a label that is none of theirs.
    """
    if len(relations) < 2:
        raise ValueError(f"the data set has no relation but {', '.join(relations)}: nothing to tell apart")
    for split, rows in splits.items():
        for row, label in enumerate(rows["relation"]):
            if label is not None and not -1 <= label < len(relations):
                raise ValueError(f"row {rows['id'][row]!r} of {split}: {label} is none of {len(relations)} relations")


def check_training_labels(splits: DatasetDict, evaluates: bool, num_seen: int) -> None:
    """
    Args:
        splits: the rows that a training is to see.
        evaluates: whether it looks at validation.
        num_seen: how many relations, the first ones, it knows.

    Raises:
        ValueError: if it could learn nothing from them, or not be judged by them.
    """
    for split in ("train", "validation") if evaluates else ("train",):
        rows = splits[split]
        found = {label for label in rows["relation"] if label is not None and 0 <= label < num_seen}
        if not found:
            way_out = ": leave it out, by --eval_strategy no" if split == "validation" else ""
            what = "labelled" if num_seen == rows.features["relation"].num_classes else "of a relation to train on"
            raise ValueError(f"none of the {len(rows)} rows of {split} is {what}{way_out}")
        if split == "train" and len(found) == 1:
            name = rows.features["relation"].int2str(found.pop())
            raise ValueError(f"all labelled rows of train are {name}: nothing to tell apart")


def check_pictures(data: Sequence[RunData], processor: RocProcessor, vision_name: str | None, do_train: bool) -> None:
    """
    Tells how many rows have their picture, and loudly so where nothing reads them.

    Args:
        data: the data sets.
        processor: of the model.
        vision_name: the vision encoder that a new model is built on, if one was named.
        do_train: whether the model is trained.

    Raises:
        ValueError: if a vision encoder was asked for, and there is no picture to train it on.
    """
    found_in_train = 0
    for one in data:
        for split, rows in one.splits.items():
            batches = rows.select_columns("image").with_format("arrow").iter(batch_size=1000)
            found = sum(pc.sum(batch["image"].is_valid()).as_py() for batch in batches)
            level = logging.INFO if found or len(data) > 1 else logging.WARNING
            where = split if len(data) == 1 else f"{one.title}, {split}"
            if processor.image_processor is not None:
                logger.log(level, "%s: %d of %d rows have a picture", where, found, len(rows))
            elif found:
                logger.warning(
                    "%s: THE PICTURES OF %d OF %d ROWS ARE NOT READ, as the model has no vision encoder: name one by "
                    "--vision_model_name_or_path, or say --use_images false",
                    *(where, found, len(rows)),
                )
            found_in_train += found if split == "train" else 0
    if do_train and vision_name is not None and not found_in_train:
        raise ValueError(
            f"no row of train has a picture, but --vision_model_name_or_path {vision_name} asks for some: see "
            "what the converter said of them, or train on texts alone by --use_images false"
        )


def candidates(data: Sequence[RunData]) -> torch.Tensor | None:
    """Which relations the rows of each data set compete among: (num_datasets, num_relations) of bool; None for one
    data set, whose are all."""
    if len(data) == 1:
        return None
    mask = torch.zeros(len(data), 1 + max(max(one.places) for one in data), dtype=torch.bool)
    for number, one in enumerate(data):
        mask[number, one.places] = True
    return mask


def encode_splits(
    data: Sequence[RunData], processor: RocProcessor, data_args: DataArguments
) -> tuple[DatasetDict, PictureTable | None]:
    """
    Encodes every row, without padding, and every picture once.

    Args:
        data: the data sets.
        processor: encodes texts, entities, boxes and pictures.
        data_args: whether pictures are used, and by how many processes they are prepared.

    Returns:
        The splits with the columns of `FEATURES`: rows of the first data set, then of the next; `dataset_index` tells
        which, `labels` is the place among all relations, -100 where a row has no label. And the pictures, if they
        are used.

    Raises:
        ValueError: a row or a picture cannot be encoded; the message names its id.

    A warning tells how many texts of a split were too long, and by how much.
    """
    pictures = None
    if data_args.use_images and processor.image_processor is not None:
        every = [rows for one in data for rows in one.splits.values()]
        pictures = PictureTable(processor, every, num_proc=data_args.preprocessing_num_workers)
    encoded: dict[str, list[Dataset]] = {}
    for number, one in enumerate(data):
        for split, rows in _encode(one, number, processor, pictures, data_args.preprocessing_num_workers).items():
            encoded.setdefault(split, []).append(rows)
    encoded = DatasetDict({split: concatenate_datasets(parts) for split, parts in encoded.items()})
    for split, rows in encoded.items():
        if cut := [number for number in rows["num_truncated_tokens"] if number]:
            logger.warning(
                "%s: %d of %d texts are longer than max_length=%d and lose %.0f tokens on average, %d at most, those "
                "farthest from head and tail",
                *(split, len(cut), len(rows), processor.max_length, sum(cut) / len(cut), max(cut)),
            )
    return encoded, pictures


def _encode(
    data: RunData, index: int, processor: RocProcessor, pictures: PictureTable | None, num_proc: int | None
) -> DatasetDict:
    """`encode_splits`'s rows of the data set with this `dataset_index`."""
    splits, places = data.splits, data.places
    sizes = {} if pictures is None else pictures.sizes

    def encode(rows):
        # A row without its picture has none, though another row may have one under the same name.
        images = rows["image"] if "image" in rows else rows["image_id"]
        image_ids = [image_id if image else None for image_id, image in zip(rows["image_id"], images, strict=True)]
        image_sizes = [sizes.get(image_id) for image_id in image_ids]
        # An object that is not head or tail goes with its picture.
        is_seen = [processor.image_processor is None or size is not None for size in image_sizes]
        try:
            encoded = processor(
                text=rows["tokens"],
                head=rows["head"],
                tail=rows["tail"],
                objects=[objects if seen else None for objects, seen in zip(rows["objects"], is_seen, strict=True)],
                image_sizes=image_sizes,
                return_num_truncated_tokens=True,
            )
        except ExampleError as error:
            raise ValueError(f"row {rows['id'][error.index]!r}: {error.problem}") from error
        return {
            "image_id": image_ids,
            **{name: encoded[name] for name in ("input_ids", *PAIR_PLACES)},
            "object_boxes": encoded.get("object_boxes", [[]] * len(image_sizes)),
            "num_truncated_tokens": encoded["num_truncated_tokens"],
            "dataset_index": [index] * len(image_sizes),
            # Published test splits without labels hold -1.
            "labels": [-100 if relation in (None, -1) else places[relation] for relation in rows["relation"]],
        }

    if pictures is None:
        splits = splits.select_columns([name for name in next(iter(splits.values())).column_names if name != "image"])
    else:
        splits = splits.cast_column("image", Image(decode=False))
    return splits.map(
        encode,
        batched=True,
        batch_size=100,  # a batch may hold its pictures' bytes
        remove_columns=next(iter(splits.values())).column_names,
        features=FEATURES,
        num_proc=num_proc,
        desc="Tokenizing",
    )

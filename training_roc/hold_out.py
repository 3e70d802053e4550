# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Relations that are kept out of training, to be retrieved by their descriptions alone, or by a few examples."""

import json
import logging
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from datasets import ClassLabel, Dataset, DatasetDict

from data_scripts.converters.report import text_key
from data_scripts.descriptions.files import seen_in_training, select_relations
from data_scripts.schema import TEST, VALIDATION
from modeling_roc.configuration_roc import MAX_EXAMPLES

logger = logging.getLogger(__name__)

FEW_SHOT = "few_shot"
"""The split with examples of relations that were held out."""


def check_hold_out(objective: str, splits: DatasetDict):
    """
    Raises:
        ValueError: if a run of `train.py` cannot hold relations out and retrieve them, saying why.
    """
    if objective != "retrieval":
        raise ValueError(
            f"--hold_out_relations with --objective {objective}: a classifier has a fixed set of relations and cannot "
            "answer with one that it was not trained on; that takes --objective retrieval"
        )
    if "train" not in splits:
        raise ValueError("--hold_out_relations needs a train split, which tells what relations there are to train on")


def check_few_shot(numbers: Sequence[int], hold_out_relations: str | None):
    """
    Raises:
        ValueError: if relations cannot be evaluated by these numbers of examples, saying why.
    """
    if numbers and hold_out_relations is None:
        raise ValueError("--few_shot_examples belongs to --hold_out_relations, which says whose examples they are")
    if wrong := [number for number in numbers if not 1 <= number <= MAX_EXAMPLES]:
        raise ValueError(f"--few_shot_examples {wrong[0]}: it must be 1 to {MAX_EXAMPLES}")
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"--few_shot_examples: a number stands twice in {', '.join(map(str, numbers))}")


def choose_unseen(
    wanted: str,
    relations: Sequence[str],
    negative: str | None,
    seed: int,
    untrained: Sequence[str] = (),
    num_left: int = 2,
) -> list[str]:
    """
    Which relations training is not to see.

    Args:
        wanted: labels with commas between them; or a JSON list of labels, which can name any; or a number: so many
            are drawn by `seed`, and those of a smaller number are among those of a larger one.
        relations: all relations of the data set.
        negative: the one that means "no relation", which is never chosen.
        seed: of the draw.
        untrained: those without a training row. They are unseen whatever is wanted, and none of them is drawn; so
            where there are any, the number may be 0.
        num_left: how many of the others must be left: 0 where nothing is trained.

    Returns:
        The labels, in the order of `relations`.

    Raises:
        ValueError: if a label is no relation of the data set, is the negative one or stands twice, or if not at least
            one relation is unseen and `num_left` besides the negative one are left.
    """
    untrained = [label for label in untrained if label != negative]
    candidates = [label for label in relations if label != negative and label not in untrained]
    if re.fullmatch(r"-?\d+", wanted.strip()):
        if wanted.strip() in relations:
            raise ValueError(
                f"{wanted!r} is a relation, too: write '{wanted},' to hold it out, or name several by labels"
            )
        number = int(wanted)
        random.Random(seed).shuffle(candidates)
        chosen = candidates[: max(number, 0)]
    else:
        chosen = [label.strip() for label in wanted.split(",")]
        if wanted.lstrip().startswith("["):
            try:
                chosen = json.loads(wanted)
            except ValueError as error:
                raise ValueError(f"{wanted!r} is no JSON list of labels ({error})") from error
        number = len(chosen)
        for label in chosen:
            if label == negative:
                raise ValueError(f"{label!r} is the negative relation, which cannot be held out")
            if label not in relations:
                raise ValueError(
                    f"no relation {label!r} to hold out; there are {', '.join(candidates)} (a JSON list of labels can "
                    "name those with commas, too)"
                )
        if len(set(chosen)) < number:
            raise ValueError(f"a relation to hold out stands twice in {wanted!r}")
        number -= len(set(chosen).intersection(untrained))
    lowest, highest = 0 if untrained else 1, len(candidates) - num_left
    if not lowest <= number <= highest:
        raise ValueError(
            f"{number} relations are to be held out: it must be {lowest} to {highest}, as {num_left} of the "
            f"{len(candidates)} must be left to train on"
        )
    return [label for label in relations if label in chosen or label in untrained]


def untrained_relations(splits: DatasetDict) -> list[str]:
    """The relations that no row of `train` is labelled with."""
    found = set(splits["train"]["relation"])
    return [label for place, label in enumerate(splits["train"].features["relation"].names) if place not in found]


def warn_of_source(descriptions: dict, unseen: Sequence[str]) -> None:
    """Warns of unseen relations whose descriptions are from training rows."""
    if seen := seen_in_training(descriptions, unseen):
        logger.warning(
            "NOT ZERO-SHOT: the descriptions of %s were written from training rows, as their source says; describe "
            "held-out relations from their label alone (--relations_file)",
            ", ".join(seen),
        )


def warn_of_leaks(splits: DatasetDict, unseen: Sequence[str]) -> None:
    """Warns of rows of unseen relations that stand in `train` too, with the label of another one."""
    columns = ["tokens", "head", "tail", "image_id", "relation"]
    names = splits["train"].features["relation"].names

    def keys(split: str) -> Iterator[tuple[tuple, str]]:
        for row in splits[split].select_columns(columns):
            if row["relation"] not in (None, -1):
                tokens = [token.casefold() for token in row["tokens"]]  # FewRel has one text in two cases
                yield text_key(row | {"tokens": tokens}), names[row["relation"]]

    trained = dict(keys("train"))
    for split in [split for split in (VALIDATION, TEST) if split in splits]:
        unseen_rows = [(label, trained.get(key)) for key, label in keys(split) if label in unseen]
        leaks = Counter(pair for pair in unseen_rows if pair[1] is not None)
        if leaks:
            most = ", ".join(f"{label!r} as {other!r} ({number})" for (label, other), number in leaks.most_common(3))
            logger.warning(
                "%s: %d of %d rows of unseen relations stand in train too, text and spans, with another label: %s",
                *(split, leaks.total(), len(unseen_rows), most),
            )


def hold_out(
    splits: DatasetDict, descriptions: dict, unseen: Sequence[str], num_examples: int = 0, seed: int = 0
) -> tuple[DatasetDict, dict]:
    """
    Takes the rows of unseen relations out of the training split.

    Args:
        splits: rows of the project's schema.
        descriptions: content of a descriptions file with exactly the data set's relations, in their order.
        unseen: some of them.
        num_examples: how many of each unseen relation's training rows to give as examples, or all where there are
            fewer.
        seed: of their draw: the first of them are those of a smaller number.

    Returns:
        The splits and the descriptions with the unseen relations last, so that the others have the same ids with and
        without them. Other splits than `train` keep all their rows; where there is no validation split, the rows taken
        out of `train` are it. With `num_examples` there is one split more, `FEW_SHOT`.

    Raises:
        ValueError: if no training row is left, or none to draw examples from.

    It warns where no validation row of another relation is labelled, on which unseen ones could be calibrated.
    """
    names = list(descriptions["relations"])
    order = [name for name in names if name not in unseen] + [name for name in names if name in unseen]
    place = {names.index(name): index for index, name in enumerate(order)} | {None: None, -1: -1}
    num_seen, result, are_calibrated = len(order) - len(unseen), {}, False
    for split, rows in splits.items():
        labels = [place[relation] for relation in rows["relation"]]
        # Before any row is selected: of a selection, a new column makes a copy, its pictures and all.
        rows = rows.remove_columns("relation").add_column("relation", labels, feature=ClassLabel(names=order))
        if split == "train":
            examples = _draw_examples(rows, unseen, num_examples, seed) if num_examples else None
            kept = [index for index, label in enumerate(labels) if label is None or label < num_seen]
            if not kept:
                raise ValueError("all training rows are of relations that are to be held out")
            taken = [index for index, label in enumerate(labels) if label is not None and label >= num_seen]
            if "validation" not in splits and taken:
                result["validation"] = rows.select(taken)
            rows = rows.select(kept)
        if split == "validation":
            are_calibrated = any(label is not None and 0 <= label < num_seen for label in labels)
        result[split] = rows
    if not are_calibrated:
        logger.warning("no validation row of a relation that is trained on: unseen ones compete without an offset")
    if num_examples:
        result[FEW_SHOT] = examples
    return DatasetDict(result), select_relations(descriptions, order)


def _draw_examples(rows: Dataset, unseen: Sequence[str], number: int, seed: int) -> Dataset:
    """Rows of the unseen relations, in the order in which they are drawn; so many of each, as far as there are."""
    labels = rows["relation"][:]
    drawn = []
    for label in unseen:
        place = rows.features["relation"].str2int(label)
        candidates = [index for index, relation in enumerate(labels) if relation == place]
        # What else is held out makes no difference.
        random.Random(f"{seed} {label}").shuffle(candidates)
        drawn += candidates[:number]
    if not drawn:
        raise ValueError(f"--few_shot_examples: the training split has no row of {', '.join(unseen)}")
    return rows.select(drawn)


def seen_descriptions(descriptions: dict, unseen: Sequence[str]) -> dict:
    """The content of a descriptions file without the relations `unseen`."""
    return select_relations(descriptions, [label for label in descriptions["relations"] if label not in unseen])


def seen_rows(rows: Dataset | None, num_seen: int) -> Dataset | None:
    """Encoded rows (column `labels`) whose relation is one of the first `num_seen`, or unknown: what a checkpoint may
    be chosen on. Where there is no other row, or no split, what was given."""
    if rows is None or max(rows["labels"], default=-1) < num_seen:
        return rows
    return rows.select([index for index, label in enumerate(rows["labels"]) if label < num_seen])

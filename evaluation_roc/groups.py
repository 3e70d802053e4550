# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Scores by kind of pair, and by how many entities and objects a post has: where a model is good, and where not."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from data_scripts.schema import PAIR_KINDS, pair_kind
from evaluation_roc.relation_f1.relation_f1 import compute_relation_f1

GROUP_COLUMNS = ("tokens", "image_id", "head", "tail", "objects")
"""The columns of a row that decide its groups."""

POST_SIZES = (
    "one_entity_one_object",
    "one_entity_several_objects",
    "several_entities_one_object",
    "several_entities_several_objects",
)


def group_by_kind(rows: Iterable[Mapping]) -> list[str]:
    """Each row's kind of pair, one of PAIR_KINDS, whichever of the two entities is the head."""
    return [pair_kind(row) for row in rows]


def group_by_post(rows: Iterable[Mapping]) -> list[str | None]:
    """MORE's break-down of text-object pairs: each row's group, one of POST_SIZES, by the size of its post.

    A post is a text with its picture. Its entities are the distinct mentions in the text that stand in any of the rows
    as head or tail, its objects are all objects of its picture.

    Args:
        rows: all rows of a split, of the schema (only GROUP_COLUMNS are used).

    Returns:
        The groups, None for a row that is not a text-object pair.
    """
    rows = list(rows)
    posts = [(tuple(row["tokens"]), row["image_id"]) for row in rows]
    mentions: dict[tuple, set] = {}
    objects: dict[tuple, set] = {}
    for row, post in zip(rows, posts, strict=True):
        entities = (row["head"], row["tail"])
        spans = {(entity["start"], entity["end"]) for entity in entities if entity["kind"] == "text"}
        names = {entity["name"] for entity in (*entities, *row["objects"]) if entity.get("kind") != "text"}
        mentions.setdefault(post, set()).update(spans)
        objects.setdefault(post, set()).update(names)
    return [
        POST_SIZES[2 * (len(mentions[post]) > 1) + (len(objects[post]) > 1)]
        if pair_kind(row) == "text_object"
        else None
        for row, post in zip(rows, posts, strict=True)
    ]


def score_groups(
    rows: Iterable[Mapping],
    predictions: Sequence[int],
    references: Sequence[int],
    label_names: Sequence[str],
    negative_label: str | None,
) -> dict[str, dict]:
    """Scores each group of a split by itself, by kind of pair and by size of post.

    Args:
        rows: all rows of the split, of the schema (only GROUP_COLUMNS are used).
        predictions (sequence of int, length num_rows): predicted class, an index into `label_names`.
        references (sequence of int, length num_rows): gold class; -100: unlabelled, not scored.
        label_names (sequence of str): the relations in the order of their ids.
        negative_label (str, optional): the one that means "no relation".

    Returns:
        `{"pairs": {kind: scores}, "posts": {size: scores}}`, the scores as of `compute_relation_f1`, and `examples`,
        how many there are. Either is left out where less than two of its groups have a labelled row: then it would say
        nothing that the whole split's scores do not say.

    Raises:
        ValueError: as `compute_relation_f1` does, or if the lengths differ.
    """
    rows = list(rows)
    predictions, references = np.asarray(predictions), np.asarray(references)
    if not len(rows) == len(predictions) == len(references):
        raise ValueError(f"{len(rows)} rows, {len(predictions)} predictions and {len(references)} references.")
    negative = None if negative_label is None else list(label_names).index(negative_label)
    scores = {}
    for name, groups, order in (
        ("pairs", group_by_kind(rows), PAIR_KINDS),
        ("posts", group_by_post(rows), POST_SIZES),
    ):
        members = {group: (np.array(groups, dtype=object) == group) & (references != -100) for group in order}
        members = {group: chosen for group, chosen in members.items() if chosen.any()}
        if len(members) > 1:
            scores[name] = {
                group: {
                    "examples": int(chosen.sum()),
                    **compute_relation_f1(
                        predictions[chosen], references[chosen], num_labels=len(label_names), negative_label=negative
                    ),
                }
                for group, chosen in members.items()
            }
    return scores


def group_metrics(scores: dict[str, dict], prefix: str) -> dict[str, float]:
    """Each group's micro F1 as a metric of its own: `<prefix>_text_object_micro_f1` and so on."""
    return {
        f"{prefix}_{group}_micro_f1": values["micro_f1"]
        for groups in scores.values()
        for group, values in groups.items()
    }


def format_groups(scores: dict[str, dict]) -> str:
    """Writes `score_groups`'s result as Markdown tables, one for each way to group."""
    tables = []
    for name, groups in scores.items():
        width = max(map(len, [*groups, name]))
        lines = [
            f"| {name:<{width}} | accuracy | precision | recall | micro F1 | macro F1 | examples |",
            f"|:{'-' * width}-|---------:|----------:|-------:|---------:|---------:|---------:|",
        ]
        for group, of in groups.items():
            lines.append(
                f"| {group.replace('_', ' '):<{width}} | {of['accuracy']:8.3f} | {of['micro_precision']:9.3f} | "
                f"{of['micro_recall']:6.3f} | {of['micro_f1']:8.3f} | {of['macro_f1']:8.3f} | {of['examples']:8d} |"
            )
        tables.append("\n".join(lines) + "\n")
    return "\n".join(tables)

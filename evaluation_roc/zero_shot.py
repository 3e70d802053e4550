# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Scores of relations that were never trained on, beside those that were: generalised zero-shot evaluation."""

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import precision_recall_fscore_support

from evaluation_roc.relation_f1.relation_f1 import check_labels, compute_relation_f1


def harmonic_mean(first: float, second: float) -> float:
    """2ab / (a + b); 0 where both are 0. High only if both are."""
    return 2 * first * second / (first + second) if first + second else 0.0


def score_zero_shot(
    logits: np.ndarray, references: Sequence[int], unseen: Sequence[int], negative_label: int | None
) -> dict:
    """
    Scores a model that answers with all relations, those it was trained on and those it never saw.

    F1 is the official one, restricted to a group of relations: over all rows, precision = correct / predicted and
    recall = correct / gold, where only predictions and gold labels of the group count. So a row of "no relation", or
    of the other group, that gets a relation of the group counts against it. The negative relation is in neither group.
    `accuracy` is the share of the group's own rows that get their relation.

    Args:
        logits (num_examples, num_relations): higher is likelier.
        references (sequence of int, length num_examples): gold relations, without unlabelled rows.
        unseen (sequence of int): the relations that training never saw; all others but the negative one are seen.
        negative_label (int, optional): the relation that means "no relation".

    Returns:
        dict with

        - `seen`, `unseen`: dicts of `micro_precision`, `micro_recall`, `micro_f1`, `macro_f1` (over relations with a
          gold row), `accuracy` and `examples` (rows of the group);
        - `harmonic_mean`: of the two micro F1;
        - `accuracy_harmonic_mean`: of the two accuracies;
        - `unseen_only`: zero-shot in the narrow sense: on the rows of unseen relations, with these alone to choose
          from, `accuracy`, `macro_accuracy` (mean over relations) and `examples`.

        What is undefined for want of rows is 0.

    Raises:
        ValueError: as `check_labels` does, or if `unseen` is empty, holds the negative relation or leaves none seen.
    """
    logits = np.asarray(logits, dtype=float)
    num_relations, unseen = logits.shape[1], sorted(set(unseen))
    predictions, references = check_labels(logits.argmax(axis=1), references, num_relations)
    seen = [label for label in range(num_relations) if label not in unseen and label != negative_label]
    if not unseen or not seen or negative_label in unseen:
        raise ValueError(
            f"unseen relations {unseen} of {num_relations}, negative {negative_label}: nothing to compare"
        )
    scores = {}
    for name, labels in (("seen", seen), ("unseen", unseen)):
        precision, recall, f1, _ = precision_recall_fscore_support(
            references, predictions, labels=labels, average="micro", zero_division=0.0
        )
        _, _, each, support = precision_recall_fscore_support(
            references, predictions, labels=labels, average=None, zero_division=0.0
        )
        scores[name] = {
            "micro_precision": float(precision),
            "micro_recall": float(recall),
            "micro_f1": float(f1),
            "macro_f1": float(each[support > 0].mean()) if support.any() else 0.0,
            # Every row has one gold relation, so this is the recall, under the name that the field uses.
            "accuracy": float(recall),
            "examples": int(support.sum()),
        }
    scores["harmonic_mean"] = harmonic_mean(scores["seen"]["micro_f1"], scores["unseen"]["micro_f1"])
    scores["accuracy_harmonic_mean"] = harmonic_mean(scores["seen"]["accuracy"], scores["unseen"]["accuracy"])
    own = np.isin(references, unseen)
    right = np.array(unseen)[logits[own][:, unseen].argmax(axis=1)] == references[own]
    by_relation = [right[references[own] == label].mean() for label in unseen if (references == label).any()]
    scores["unseen_only"] = {
        "accuracy": float(right.mean()) if own.any() else 0.0,
        "macro_accuracy": float(np.mean(by_relation)) if own.any() else 0.0,
        "examples": int(own.sum()),
    }
    return scores


def unseen_offsets(logits: np.ndarray, unseen: Sequence[int], rate: float) -> np.ndarray:
    """
    What to add to the logits of unseen relations, so that they stand on one scale with those that were trained.

    Training lifts the relations it sees (and the bar of the negative one), so that unseen ones hardly ever win
    (calibrated stacking, Chao et al., ECCV 2016, takes one constant off all seen classes). Here each unseen relation
    gets its own constant: with it, it would win `rate` of rows none of which are its own.

    Args:
        logits (num_examples, num_relations): of rows that belong to no unseen relation.
        unseen (sequence of int): relations.
        rate: share of those rows that each unseen relation may take, above 0 and below 1.

    Returns:
        (num_unseen,) of float, in the order of `unseen`.

    Raises:
        ValueError: for a rate out of its range, or if there is no row.
    """
    if not 0 < rate < 1:
        raise ValueError(f"rate must be above 0 and below 1, got {rate}")
    logits = np.asarray(logits, dtype=float)
    if not len(logits):
        raise ValueError("there are no rows to calibrate unseen relations on")
    best_seen = np.delete(logits, list(unseen), axis=1).max(axis=1)
    return np.quantile(best_seen[:, None] - logits[:, list(unseen)], rate, axis=0)


def negative_offset(logits: np.ndarray, references: Sequence[int], negative_label: int) -> float:
    """
    What to add to the negative relation's logit for the best micro F1, of 101 quantiles of the margins.

    Args:
        logits (num_examples, num_relations), references: rows to choose on.
        negative_label: the relation.
    """
    logits, references = np.asarray(logits, dtype=float), np.asarray(references)
    margins = np.delete(logits, negative_label, axis=1).max(axis=1) - logits[:, negative_label]
    best, chosen = -1.0, 0.0
    for offset in np.quantile(margins, np.linspace(0, 1, 101)):
        moved = logits.copy()
        moved[:, negative_label] += offset
        scores = compute_relation_f1(
            moved.argmax(axis=1), references, num_labels=logits.shape[1], negative_label=negative_label
        )
        if scores["micro_f1"] > best:
            best, chosen = scores["micro_f1"], float(offset)
    return chosen


def format_zero_shot(systems: dict[str, dict]) -> str:
    """Writes results of `score_zero_shot`, by the name of what was scored, as a Markdown table."""
    width = max(map(len, systems))
    lines = [
        f"| {'':<{width}} | seen F1 | unseen F1 | harmonic mean | unseen precision | unseen recall | "
        "among the unseen only |",
        f"|:{'-' * width}-|--------:|----------:|--------------:|-----------------:|--------------:|"
        "----------------------:|",
    ]
    for name, scores in systems.items():
        of = scores["unseen"]
        lines.append(
            f"| {name:<{width}} | {scores['seen']['micro_f1']:7.3f} | {of['micro_f1']:9.3f} | "
            f"{scores['harmonic_mean']:13.3f} | {of['micro_precision']:16.3f} | {of['micro_recall']:13.3f} | "
            f"{scores['unseen_only']['accuracy']:22.3f} |"
        )
    return "\n".join(lines) + "\n"

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The project's metric as the Trainer takes it."""

from collections.abc import Callable, Sequence
from statistics import fmean

import numpy as np
from transformers import EvalPrediction
from transformers.trainer_utils import PredictionOutput

from evaluation_roc.relation_f1.relation_f1 import compute_relation_f1
from training_roc.rows import RunData


def make_compute_metrics(data: Sequence[RunData]) -> Callable[..., dict[str, float]]:
    """
    `compute_metrics` of [`RocTrainer`]: `compute_relation_f1` on the rows that have a label.

    Of several data sets, each is scored by itself, as `<title>_micro_f1` and so on, and `micro_f1` and the others are
    the means over those that have a labelled row: each counts as much as any other, whatever its size.
    """

    def compute_metrics(prediction: EvalPrediction, dataset_index: np.ndarray | None = None) -> dict[str, float]:
        scores = {}
        for number, one in enumerate(data):
            own = own_answers(one, rows_of(prediction, None if len(data) == 1 else dataset_index == number))
            labelled = own.label_ids != -100
            if labelled.any():
                answers, labels = own.predictions[labelled].argmax(axis=-1), own.label_ids[labelled]
                negative = None if one.negative_label is None else one.labels.index(one.negative_label)
                scores[one.title] = compute_relation_f1(
                    answers, labels, num_labels=own.predictions.shape[1], negative_label=negative
                )
        metrics = {name: fmean(of[name] for of in scores.values()) for of in scores.values() for name in of}
        if len(data) > 1:
            metrics |= {f"{title}_{name}": value for title, of in scores.items() for name, value in of.items()}
        return metrics

    return compute_metrics


def rows_of(output: PredictionOutput, rows: np.ndarray | None) -> PredictionOutput:
    """Those of transformers' `output` that `rows` (num_rows,) of bool has; all, if it is None."""
    return output if rows is None else PredictionOutput(output.predictions[rows], output.label_ids[rows], None)


def own_answers(one: RunData, output: PredictionOutput) -> PredictionOutput:
    """Answers to rows of one data set, logits and label_ids, in the numbers of its own relations."""
    places = np.array(one.places)[: output.predictions.shape[1]]
    if np.array_equal(places, np.arange(output.predictions.shape[1])):
        return output
    number = np.full(output.predictions.shape[1] + 1, -100)  # the last for rows without a label
    number[places] = np.arange(len(places))
    labels = np.where(output.label_ids == -100, -1, output.label_ids)
    return PredictionOutput(output.predictions[:, places], number[labels], None)

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The project's metric as the Trainer takes it."""

from collections.abc import Callable

from transformers import EvalPrediction

from evaluation_roc.relation_f1.relation_f1 import compute_relation_f1
from modeling_roc import RocConfig


def make_compute_metrics(config: RocConfig) -> Callable[[EvalPrediction], dict[str, float]]:
    """`compute_metrics` for a model with this config: `compute_relation_f1` on the rows that have a label."""
    negative = None if config.negative_relation is None else config.label2id[config.negative_relation]

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        labelled = prediction.label_ids != -100
        if not labelled.any():
            return {}
        answers, labels = prediction.predictions[labelled].argmax(axis=-1), prediction.label_ids[labelled]
        return compute_relation_f1(answers, labels, num_labels=config.num_labels, negative_label=negative)

    return compute_metrics

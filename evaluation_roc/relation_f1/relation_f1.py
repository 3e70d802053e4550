# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Relation extraction's F1 with a negative class: a plain function, and the same as a metric for `evaluate.load`."""

import datasets
import evaluate
import numpy as np
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

_DESCRIPTION = """
Accuracy, micro precision, recall and F1, and macro F1 of relation extraction, over all relations and over those that
occur. The negative class ("None", "no relation") never counts as correct, as predicted or as gold, except in the
accuracy.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (list of int): predicted class of each example, from 0 to num_labels - 1.
    references (list of int): gold class of each example, in the same order and range.
    num_labels (int): number of classes, the negative one included.
    negative_label (int, optional): the class that means "no relation"; without it every class counts.
Returns:
    dict of float, all fractions from 0 to 1: accuracy, micro_precision, micro_recall, micro_f1, macro_f1,
    macro_f1_present.
Example:
    >>> metric = evaluate.load("evaluation_roc/relation_f1")
    >>> metric.compute(predictions=[1, 2, 0, 1], references=[1, 2, 1, 0], num_labels=3, negative_label=0)["micro_f1"]
    0.6666666666666666
"""

_CITATION = """
@inproceedings{zheng2021mnre,
  title = {{MNRE}: A Challenge Multimodal Dataset for Neural Relation Extraction with Visual Evidence in Social
    Media Posts},
  author = {Zheng, Changmeng and Wu, Zhiwei and Feng, Junhao and Fu, Ze and Cai, Yi},
  booktitle = {IEEE International Conference on Multimedia and Expo (ICME)},
  year = {2021},
}
"""


def check_labels(predictions, references, num_labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns predictions and references as integer arrays (num_examples,).

    Raises:
        ValueError: if one is empty, not one-dimensional, not of integers, or holds a label outside 0 to
            `num_labels` - 1, or if the two differ in length.
    """
    fields = {"predictions": np.asarray(predictions), "references": np.asarray(references)}
    for field, labels in fields.items():
        if labels.ndim != 1:
            raise ValueError(f"{field} must be one label per example, got an array of shape {labels.shape}.")
        if labels.size == 0:
            raise ValueError(f"{field} is empty.")
        if labels.dtype.kind not in "iu":
            raise ValueError(f"{field} must hold integers, got {labels.dtype}.")
        outside = np.flatnonzero((labels < 0) | (labels >= num_labels))
        if outside.size:
            raise ValueError(f"{field}[{outside[0]}] is {labels[outside[0]]}, outside 0 to {num_labels - 1}.")
    if len(fields["predictions"]) != len(fields["references"]):
        raise ValueError(f"{len(predictions)} predictions stand against {len(references)} references.")
    return fields["predictions"], fields["references"]


def compute_relation_f1(predictions, references, *, num_labels: int, negative_label: int | None = None) -> dict:
    """Scores predicted relations the way MNRE's official evaluation does.

    With the negative class left out: micro precision = correct / predicted, micro recall = correct / gold, micro F1
    their harmonic mean, where correct = predicted == gold != negative. Macro F1 is the plain mean of the F1 of all
    other classes, as scikit-learn's "macro avg" over these labels, by which results are published: a class without a
    gold example counts 0. `macro_f1_present` is the mean over the classes that occur in `references`. The accuracy
    counts all classes. What is undefined (nothing predicted, no gold relation) is 0.0.

    Args:
        predictions (sequence of int, length num_examples): predicted class, 0 to `num_labels` - 1.
        references (sequence of int, length num_examples): gold class, in the same order and range.
        num_labels (int): number of classes, the negative one included.
        negative_label (int, optional): the class that means "no relation"; None: every class counts.

    Returns:
        dict of float in 0-1: `accuracy`, `micro_precision`, `micro_recall`, `micro_f1`, `macro_f1`,
        `macro_f1_present`.

    Raises:
        ValueError: as `check_labels` does, if `negative_label` lies outside the same range, or if no class besides
            the negative one is left.
    """
    predictions, references = check_labels(predictions, references, num_labels)
    if negative_label is not None and not 0 <= negative_label < num_labels:
        raise ValueError(f"negative_label is {negative_label}, outside 0 to {num_labels - 1}.")
    relations = [label for label in range(num_labels) if label != negative_label]
    if not relations:
        raise ValueError("There is no class besides the negative one.")

    precision, recall, f1, _ = precision_recall_fscore_support(
        references, predictions, labels=relations, average="micro", zero_division=0.0
    )
    _, _, f1_per_relation, support = precision_recall_fscore_support(
        references, predictions, labels=relations, average=None, zero_division=0.0
    )
    return {
        "accuracy": float(accuracy_score(references, predictions)),
        "micro_precision": float(precision),
        "micro_recall": float(recall),
        "micro_f1": float(f1),
        "macro_f1": float(f1_per_relation.mean()),
        "macro_f1_present": float(f1_per_relation[support > 0].mean()) if support.any() else 0.0,
    }


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class RelationF1(evaluate.Metric):
    """`compute_relation_f1` for `evaluate.load`."""

    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}
            ),
        )

    def _compute(self, predictions, references, num_labels, negative_label=None):
        return compute_relation_f1(predictions, references, num_labels=num_labels, negative_label=negative_label)

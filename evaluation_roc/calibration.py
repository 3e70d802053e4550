# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""
Scores that mean what they say: temperature scaling, the expected calibration error, and when to rather not answer.

Temperature scaling and the error's definition: Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural
Networks, ICML 2017.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.calibration import CalibrationDisplay

from evaluation_roc.relation_f1.relation_f1 import check_labels
from evaluation_roc.report import replacing

NUM_BINS = 15


def fit_temperature(logits: np.ndarray, references: Sequence[int]) -> float:
    """The temperature T above 0 for which softmax(logits / T) gives the references the highest likelihood.

    Args:
        logits (num_examples, num_labels): of examples that the model was not trained on.
        references (sequence of int, length num_examples): gold class of each.

    Returns:
        float, 0.01 to 100; above 1 for a model that is too sure of itself.

    Raises:
        ValueError: as `check_labels` does, or if the shapes do not fit.
    """
    logits, references = _checked(logits, references)

    def loss(log_temperature: float) -> float:
        log_probabilities = log_softmax(logits / math.exp(log_temperature), axis=1)
        return -log_probabilities[np.arange(len(references)), references].mean()

    # The loss has one minimum, as it is convex in 1 / T, but none within bounds where all labels are right.
    found = minimize_scalar(loss, bounds=np.log((0.01, 100)), method="bounded", options={"xatol": 1e-6})
    return float(math.exp(found.x))


def expected_calibration_error(
    probabilities: np.ndarray, references: Sequence[int], num_bins: int = NUM_BINS
) -> float:
    """How far confidence and accuracy lie apart: 0 to 1, 0 is best.

    The predictions are sorted into `num_bins` bins of equal width by their confidence, the highest probability, each
    bin without its lower edge; the error is the mean of |accuracy - mean confidence| of the bins, weighted with how
    many predictions they hold.

    Args:
        probabilities (num_examples, num_labels): 0 to 1.
        references (sequence of int, length num_examples): gold class of each.
        num_bins (int): how many bins, 1 or more.

    Raises:
        ValueError: as `check_labels` does, or if the shapes do not fit.
    """
    probabilities, references = _checked(probabilities, references)
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == references
    bins = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    gaps = np.bincount(bins, weights=correct - confidence, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(references))


def choose_threshold(
    probabilities: np.ndarray, references: Sequence[int], negative_label: int | None = None
) -> tuple[float | None, float]:
    """The threshold that the likeliest relation must reach to be answered; else "no relation known" is the answer.

    A relation that reaches it is answered even where the negative class is likelier: whether to answer is a question
    of its probability alone. With calibrated probabilities the best threshold is half of the F1 that it reaches
    (Lipton, Elkan and Narayanaswamy, Optimal Thresholding of Classifiers to Maximize F1 Measure, ECML 2014).

    Args:
        probabilities, references: as for `expected_calibration_error`; calibrated.
        negative_label (int, optional): the class that means "no relation". Without one, what is not answered is
            missed, and costs recall only.

    Returns:
        (threshold, micro F1): the threshold with the highest micro F1, halfway between two examples' probabilities;
        the lowest if there are several, 0 if it is best always to answer, `None` if no threshold gives a right one.

    Raises:
        ValueError: as `check_labels` does, or if the shapes do not fit.
    """
    confidence, correct, num_gold = _best_relations(probabilities, references, negative_label)
    order = np.argsort(-confidence, kind="stable")
    confidence, correct = confidence[order], correct[order]
    # F1 after answering the first 1, 2, ... of them; equal probabilities are answered or left out together.
    scores = 2 * np.cumsum(correct) / (np.arange(1, len(order) + 1) + num_gold)
    last_of_equal = np.append(confidence[:-1] != confidence[1:], True)
    if not correct.any():
        return None, 0.0
    best = int(np.flatnonzero(last_of_equal & (scores == scores[last_of_equal].max()))[-1])
    if best + 1 == len(order):
        return 0.0, float(scores[best])
    lower = confidence[best + 1]
    threshold = max((confidence[best] + lower) / 2, np.nextafter(lower, 1))
    return float(threshold), float(scores[best])


def threshold_f1(
    probabilities: np.ndarray, references: Sequence[int], threshold: float, negative_label: int | None = None
) -> float:
    """Micro F1, 0 to 1, of answers with a `threshold`. Args, Raises: as for `choose_threshold`."""
    confidence, correct, num_gold = _best_relations(probabilities, references, negative_label)
    answered = confidence >= threshold
    return float(2 * (answered & correct).sum() / max(answered.sum() + num_gold, 1))


def _best_relations(probabilities, references, negative_label) -> tuple[np.ndarray, np.ndarray, int]:
    """Of each example its likeliest relation's probability and whether it is right; how many have a relation."""
    probabilities, references = _checked(probabilities, references)
    if negative_label is not None:
        probabilities = probabilities.copy()
        probabilities[:, negative_label] = -1
    has_relation = references != (-1 if negative_label is None else negative_label)
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == references, int(has_relation.sum())


def save_reliability_diagram(
    path: str | Path, probabilities: dict[str, np.ndarray], references: Sequence[int]
) -> None:
    """Draws accuracy over confidence, in bins: on the diagonal, scores are what they say.

    Args:
        path: the picture to write; its ending (.png, .svg, .pdf) decides the format.
        probabilities (dict of str to (num_examples, num_labels)): a curve's name to its probabilities.
        references (sequence of int, length num_examples): gold class of each.

    Raises:
        ValueError: as `check_labels` does, or if the shapes do not fit.
    """
    figure = Figure(figsize=(5.5, 5.5), layout="constrained")
    axis = figure.subplots()
    for name, values in probabilities.items():
        values, gold = _checked(values, references)
        label = f"{name}, ECE {expected_calibration_error(values, gold):.3f}"
        correct, confidence = values.argmax(axis=1) == gold, np.clip(values.max(axis=1), 0, 1)
        CalibrationDisplay.from_predictions(correct, confidence, n_bins=NUM_BINS, pos_label=True, name=label, ax=axis)
    axis.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    with replacing(Path(path)) as temporary:
        figure.savefig(temporary, dpi=120)


def report_calibration(name: str, output, config, output_dir: Path | None) -> dict[str, float]:
    """Fits `config` on the validation split, and measures any split.

    Args:
        name: of the split; of "eval", the validation split, `config.calibration_temperature` and
            `config.abstention_threshold` are made first.
        output: transformers' `PredictionOutput`, with logits (num_examples, num_labels) and label_ids (-100: unknown).
        config ([`RocConfig`]): of the model.
        output_dir: where to draw `<name>_reliability.png`; None draws nothing.

    Returns:
        `<name>_ece`, `<name>_ece_uncalibrated`, and `<name>_micro_f1_with_threshold`, that of `choose_threshold`'s
        answers, if the model has a threshold; of "eval" also `eval_calibration_temperature` and
        `eval_abstention_threshold`, if there is one. Nothing where nothing is labelled.
    """
    labelled = output.label_ids != -100
    if not labelled.any():
        return {}
    logits, references = output.predictions[labelled].astype(float), output.label_ids[labelled]
    negative = None if config.negative_relation is None else config.label2id[config.negative_relation]
    metrics = {}
    if name == "eval":
        config.calibration_temperature = metrics["eval_calibration_temperature"] = fit_temperature(logits, references)
    before, after = softmax(logits, axis=1), softmax(logits / config.calibration_temperature, axis=1)
    metrics[f"{name}_ece"] = expected_calibration_error(after, references)
    metrics[f"{name}_ece_uncalibrated"] = expected_calibration_error(before, references)
    if name == "eval":
        config.abstention_threshold, _ = choose_threshold(after, references, negative)
    threshold = config.abstention_threshold
    if threshold is not None:
        metrics[f"{name}_micro_f1_with_threshold"] = threshold_f1(after, references, threshold, negative)
        if name == "eval":
            metrics["eval_abstention_threshold"] = threshold
    if output_dir is not None:
        curves = {"uncalibrated": before, "calibrated": after}
        save_reliability_diagram(output_dir / f"{name}_reliability.png", curves, references)
    return metrics


def _checked(scores: np.ndarray, references: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    scores = np.asarray(scores, dtype=float)
    if scores.ndim != 2 or len(scores) != len(references):
        raise ValueError(f"{len(references)} references stand against scores of shape {scores.shape}.")
    if not np.isfinite(scores).all():
        raise ValueError("A score is not finite.")
    return scores, check_labels(references, references, scores.shape[1])[1]

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""
Scores that mean what they say: temperature scaling, the expected calibration error, and when to rather not answer.

Temperature scaling and the error's definition: Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural
Networks, ICML 2017.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.calibration import CalibrationDisplay

from data_scripts.writing import replacing
from evaluation_roc.relation_f1.relation_f1 import check_labels

logger = logging.getLogger(__name__)
NUM_BINS = 15
TEMPERATURES = (0.1, 10)
"""The lowest and the highest that are fitted."""
MIN_ROWS = 50
"""
Labelled rows below which no temperature is fitted. Of 60 draws of validation rows from MNRE's, for each of two trained
models with their logits as they are, three times and a third as large, up to 73% of draws of 2 rows, 27% of 10 and 3%
of 30 made the test rows less likely than no temperature does, and none of 50 (by the likelihood alone).
"""
MIN_RELATION_ROWS = 75
"""
Rows with a relation below which no threshold is chosen. Of the same draws, those of 50 rows (19 with a relation) cost
1 to 2 points of micro F1 on test, those of 100 (38) half a point, and those of 200 (77) none.
"""
CELLS = 2**22
"""Logits that are looked at in one piece: 32 MiB, however many rows and relations there are."""


def fit_temperature(logits: np.ndarray, references: Sequence[int]) -> float:
    """The temperature T for which softmax(logits / T) is the likeliest, by the references and a prior.

    The prior takes log T as normally distributed around 0 with a deviation of 1/2. Hundreds of rows leave nothing of
    it; where every row is answered right, when the likelihood alone would make T as small as it may be, it keeps the
    model from being surer than so many rows can tell.

    Args:
        logits (num_examples, num_labels): of examples that the model was not trained on.
        references (sequence of int, length num_examples): gold class of each.

    Returns:
        float, within `TEMPERATURES`; above 1 for a model that is too sure of itself.

    Raises:
        ValueError: as `check_labels` does, or if the shapes do not fit.
    """
    logits, references = _checked(logits, references)

    def loss(log_temperature: float) -> float:
        loss, temperature = 2 * log_temperature**2, math.exp(log_temperature)
        for rows in _blocks(logits):
            log_probabilities = log_softmax(logits[rows].astype(float) / temperature, axis=1)
            loss -= np.take_along_axis(log_probabilities, references[rows, None], axis=1).sum()
        return loss

    found = minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-6})
    return float(math.exp(found.x))


def calibrated_probabilities(logits: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(logits / temperature), of the logits' shape and type."""
    probabilities = np.empty_like(logits)
    for rows in _blocks(logits):
        probabilities[rows] = softmax(logits[rows].astype(float) / temperature, axis=1)
    return probabilities


def _blocks(array: np.ndarray) -> Iterator[slice]:
    """Slices of the rows of an array (num_rows, num_columns), of at most `CELLS` each, or one row."""
    size = max(CELLS // array.shape[1], 1)
    return (slice(start, start + size) for start in range(0, len(array), size))


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
    best, confidence = [], []
    for rows in _blocks(probabilities):
        block = probabilities[rows].copy()
        if negative_label is not None:
            block[:, negative_label] = -1
        best.append(block.argmax(axis=1))
        confidence.append(block.max(axis=1))
    return np.concatenate(confidence), np.concatenate(best) == references, _num_gold(references, negative_label)


def _num_gold(references: np.ndarray, negative_label: int | None) -> int:
    """How many examples have a relation."""
    return len(references) if negative_label is None else int((references != negative_label).sum())


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


def calibrate(output, config) -> dict[str, float]:
    """Fits `config.calibration_temperature` and `config.abstention_threshold` on the validation split.

    On fewer than `MIN_ROWS` labelled rows, or `MIN_RELATION_ROWS` with a relation, it says so and leaves the config's
    own as they are.

    Args:
        output: transformers' `PredictionOutput`, with logits (num_examples, num_labels) and label_ids (-100: unknown).
        config ([`RocConfig`]): of the model.

    Returns:
        `eval_calibration_temperature` and `eval_abstention_threshold` (None: there is none), and by how many rows each
        was chosen, `eval_calibration_samples` and `eval_threshold_samples`: 0 where it was left as it is.
    """
    logits, references = _labelled(output)
    negative, num_rows = _negative(config), len(references)
    num_gold = _num_gold(references, negative)
    if num_rows < MIN_ROWS:
        words = "%d labelled validation rows are too few to calibrate scores by, %d are needed: temperature stays %s"
        logger.warning(words, num_rows, MIN_ROWS, config.calibration_temperature)
        num_rows = 0
    else:
        config.calibration_temperature = fit_temperature(logits, references)
    if num_gold < MIN_RELATION_ROWS:
        words = "%d validation rows with a relation are too few for a threshold, %d are needed: it stays %s"
        logger.warning(words, num_gold, MIN_RELATION_ROWS, config.abstention_threshold)
        num_gold = 0
    else:
        probabilities = calibrated_probabilities(logits, config.calibration_temperature)
        config.abstention_threshold, _ = choose_threshold(probabilities, references, negative)
    return {
        "eval_calibration_temperature": config.calibration_temperature,
        "eval_calibration_samples": num_rows,
        "eval_abstention_threshold": config.abstention_threshold,
        "eval_threshold_samples": num_gold,
    }


def measure_calibration(name: str, output, config) -> dict[str, float]:
    """How well a split's scores are calibrated.

    Args:
        name: of the split, in the metrics' names.
        output, config: as for `calibrate`.

    Returns:
        `<name>_ece`, `<name>_ece_uncalibrated`, and `<name>_micro_f1_with_threshold`, that of `choose_threshold`'s
        answers, if the model has a threshold. Nothing where nothing is labelled.
    """
    logits, references = _labelled(output)
    if not len(references):
        return {}
    metrics = {}
    for key, temperature in (("ece_uncalibrated", 1.0), ("ece", config.calibration_temperature)):
        probabilities = calibrated_probabilities(logits, temperature)
        metrics[f"{name}_{key}"] = expected_calibration_error(probabilities, references)
    if (threshold := config.abstention_threshold) is not None:
        score = threshold_f1(probabilities, references, threshold, _negative(config))
        metrics[f"{name}_micro_f1_with_threshold"] = score
    return metrics


def draw_calibration(path: str | Path, output, config) -> None:
    """The diagram of a split's scores, uncalibrated and calibrated. Args: as for `calibrate`."""
    logits, references = _labelled(output)
    temperatures = {"uncalibrated": 1.0, "calibrated": config.calibration_temperature}
    curves = {name: calibrated_probabilities(logits, temperature) for name, temperature in temperatures.items()}
    save_reliability_diagram(path, curves, references)


def _labelled(output) -> tuple[np.ndarray, np.ndarray]:
    """Logits and gold classes of the rows that have one."""
    labelled = output.label_ids != -100
    if labelled.all():
        return output.predictions, output.label_ids
    return output.predictions[labelled], output.label_ids[labelled]


def _negative(config) -> int | None:
    return None if config.negative_relation is None else config.label2id[config.negative_relation]


def _checked(scores: np.ndarray, references: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    scores = np.asarray(scores)
    if scores.ndim != 2 or len(scores) != len(references):
        raise ValueError(f"{len(references)} references stand against scores of shape {scores.shape}.")
    if not all(np.isfinite(scores[rows]).all() for rows in _blocks(scores)):
        raise ValueError("A score is not finite.")
    return scores, check_labels(references, references, scores.shape[1])[1]

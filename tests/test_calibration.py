# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Calibration against numbers worked by hand, and the threshold for "no relation known" as the pipeline applies it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.special import softmax
from test_pipeline import OWN_RELATIONS, make_input, scores
from transformers import pipeline
from transformers.trainer_utils import PredictionOutput

from evaluation_roc import calibration
from evaluation_roc.calibration import (
    calibrate,
    choose_threshold,
    draw_calibration,
    expected_calibration_error,
    fit_temperature,
    measure_calibration,
    save_reliability_diagram,
    threshold_f1,
)
from evaluation_roc.relation_f1.relation_f1 import compute_relation_f1
from modeling_roc import RocConfig, RocModel


def binary(*confidences: float) -> np.ndarray:
    """Probabilities of two classes; the first is predicted with these."""
    return np.array([[confidence, 1 - confidence] for confidence in confidences])


# The expected calibration error


def test_error_worked_by_hand():
    probabilities = binary(0.95, 0.85, 0.82, 0.65)
    # Ten bins. (0.9, 1]: right, 0.95: gap 0.05. (0.8, 0.9]: one right of two, mean 0.835: gap 0.335. (0.6, 0.7]:
    # wrong, 0.65: gap 0.65.
    expected = (1 * 0.05 + 2 * 0.335 + 1 * 0.65) / 4
    assert expected_calibration_error(probabilities, [0, 0, 1, 1], num_bins=10) == pytest.approx(expected)
    # One bin: two right of four, mean confidence 0.8175.
    assert expected_calibration_error(probabilities, [0, 0, 1, 1], num_bins=1) == pytest.approx(0.3175)


def test_a_bin_holds_its_upper_edge():
    # 0.8 and 0.6 in one bin of (0.6, 0.8] and another of (0.4, 0.6]: gaps 0.2 and 0.6; together they would be 0.2.
    assert expected_calibration_error(binary(0.8, 0.6), [0, 1], num_bins=5) == pytest.approx((0.2 + 0.6) / 2)


def test_error_of_the_sure():
    assert expected_calibration_error(binary(1, 1), [0, 0]) == 0
    assert expected_calibration_error(binary(1, 1), [1, 1]) == 1


# The temperature


def test_temperature_worked_by_hand():
    # Of examples with logits (2, 0) three quarters are right: the likelihood is highest where the probability is 3/4,
    # that is where 2 / T = log 3. So many of them leave nothing of the prior.
    logits, references = np.tile([2.0, 0.0], (40_000, 1)), [0, 0, 0, 1] * 10_000
    assert fit_temperature(logits, references) == pytest.approx(2 / math.log(3), rel=1e-3)
    assert fit_temperature(logits / 5, references) == pytest.approx(0.4 / math.log(3), rel=1e-3)


def test_the_prior_worked_by_hand():
    # With logits (z, 0), n times right, the slope in t = log T is 4 t + n (z / T) p, with p for the wrong class, and 0
    # at the fitted T.
    for number, logit in ((60, 4.0), (500, 1.0)):
        temperature = fit_temperature(np.tile([logit, 0.0], (number, 1)), [0] * number)
        wrong = 1 / (1 + math.exp(logit / temperature))
        assert 4 * math.log(temperature) + number * logit / temperature * wrong == pytest.approx(0, abs=1e-3)
        # About as sure as so many rows can tell.
        assert 0.2 / number < wrong < 3 / number


def test_a_temperature_of_many_rows_does_not_depend_on_the_pieces_they_are_looked_at_in(monkeypatch):
    rng = np.random.default_rng(3)
    logits, references = rng.normal(size=(100, 7)).astype(np.float32), rng.integers(0, 7, 100)
    whole = fit_temperature(logits, references)
    monkeypatch.setattr(calibration, "CELLS", 50)
    assert fit_temperature(logits, references) == pytest.approx(whole, rel=1e-6)
    expected = softmax(logits / 2, axis=1)
    assert np.allclose(calibration.calibrated_probabilities(logits, 2.0), expected, atol=1e-6)
    assert choose_threshold(expected, references, 0) == choose_threshold(expected.astype(float), references, 0)


def test_temperature_finds_what_logits_were_multiplied_with():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 6)) * 2
    references = [rng.choice(6, p=row) for row in softmax(logits, axis=1)]
    assert fit_temperature(logits, references) == pytest.approx(1, abs=0.06)
    sure = 3 * logits
    fitted = fit_temperature(sure, references)
    assert fitted == pytest.approx(3, abs=0.2)
    assert expected_calibration_error(softmax(sure, axis=1), references) > 0.1
    assert expected_calibration_error(softmax(sure / fitted, axis=1), references) < 0.03


def test_temperature_stays_within_bounds():
    logits = np.tile([1.0, 0.0], (50_000, 1))
    always_right, always_wrong = (fit_temperature(logits, np.full(50_000, label)) for label in (0, 1))
    assert 0.1 <= always_right < 0.12
    assert 9.9 < always_wrong <= 10


@pytest.mark.parametrize(
    ("logits", "references", "message"),
    [
        ([[0.0, 1.0]], [0, 1], "2 references stand against scores of shape"),
        ([[0.0, 1.0]], [2], "outside 0 to 1"),
        ([[0.0, math.nan]], [0], "not finite"),
        ([0.0, 1.0], [0, 1], "scores of shape"),
    ],
)
def test_wrong_input_is_refused(logits, references, message):
    for function in (fit_temperature, expected_calibration_error, choose_threshold):
        with pytest.raises(ValueError, match=message):
            function(np.array(logits), references)


# The threshold


def test_threshold_worked_by_hand():
    # The class 0 is "no relation". Of the others, the likeliest has 0.8 (right), 0.4 (right, though 0 is likelier),
    # 0.3 (wrong) and 0.2 (nothing there); three have a relation. Answering the first two: 2 * 2 / (2 + 3) = 0.8.
    probabilities = np.array([[0.1, 0.8, 0.1], [0.5, 0.1, 0.4], [0.5, 0.3, 0.2], [0.7, 0.1, 0.2]])
    references = [1, 2, 2, 0]
    threshold, score = choose_threshold(probabilities, references, negative_label=0)
    assert (threshold, score) == (pytest.approx(0.35), pytest.approx(0.8))
    assert threshold_f1(probabilities, references, 0.35, negative_label=0) == pytest.approx(0.8)
    # Without a negative class 0.8 and 0.7 are right, 0.5 and 0.5 are wrong: 2 * 2 / (2 + 4).
    threshold, score = choose_threshold(probabilities, references)
    assert (threshold, score) == (pytest.approx(0.6), pytest.approx(2 / 3))


def test_always_answering_is_best_where_all_is_right():
    assert choose_threshold(binary(0.9, 0.6), [0, 0]) == (0, 1)


def test_where_nothing_is_right_no_threshold_is_chosen():
    assert choose_threshold(binary(0.9, 0.6), [1, 1]) == (None, 0)
    assert choose_threshold(binary(0.9, 0.6), [1, 1], negative_label=1) == (None, 0)


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(2, 5), st.booleans())
@settings(deadline=None)
def test_no_other_threshold_is_better(seed, number, num_labels, has_negative):
    rng = np.random.default_rng(seed)
    # Coarse numbers, so that some are equal.
    probabilities = softmax(rng.integers(0, 4, size=(number, num_labels)), axis=1)
    references = rng.integers(0, num_labels, size=number)
    negative = 0 if has_negative else None
    threshold, score = choose_threshold(probabilities, references, negative)
    if threshold is None:
        assert score == 0 and all(threshold_f1(probabilities, references, p, negative) == 0 for p in (0, 0.5, 1))
        return
    assert threshold_f1(probabilities, references, threshold, negative) == pytest.approx(score)
    for other in (0, *np.unique(probabilities) + 1e-9):
        assert threshold_f1(probabilities, references, other, negative) <= score + 1e-12
    if has_negative:
        best = np.where(np.arange(num_labels) == 0, -1, probabilities)
        answers = np.where(best.max(axis=1) >= threshold, best.argmax(axis=1), 0)
        metric = compute_relation_f1(answers, references, num_labels=num_labels, negative_label=0)
        assert metric["micro_f1"] == pytest.approx(score)


# What a run does


def predicted(logits, references) -> PredictionOutput:
    return PredictionOutput(np.array(logits, dtype=np.float32), np.array(references), {})


def retrieval_config(**settings) -> RocConfig:
    return RocConfig(id2label={0: "none", 1: "a"}, label2id={"none": 0, "a": 1}, negative_relation="none", **settings)


def test_validation_fits_the_config_and_test_is_measured_by_it(tmp_path):
    config = retrieval_config()
    output = predicted([[0.0, 2.0]] * 4000 + [[9.0, 9.0]], [1, 1, 1, 0] * 1000 + [-100])
    chosen, found = calibrate(output, config), measure_calibration("eval", output, config)
    assert config.calibration_temperature == pytest.approx(2 / math.log(3), rel=5e-3)
    assert config.abstention_threshold == 0
    assert chosen == {
        "eval_calibration_temperature": config.calibration_temperature,
        "eval_calibration_samples": 4000,
        "eval_abstention_threshold": 0,
        "eval_threshold_samples": 3000,
    }
    before = 1 / (1 + math.exp(-2))
    assert found["eval_ece_uncalibrated"] == pytest.approx(before - 0.75, abs=1e-4)
    assert found["eval_ece"] == pytest.approx(0, abs=1e-3)
    assert found["eval_micro_f1_with_threshold"] == pytest.approx(6 / 7)
    tested = measure_calibration("test", predicted([[0.0, 2.0]], [0]), config)
    assert tested == {
        "test_ece": pytest.approx(0.75, abs=1e-3),
        "test_ece_uncalibrated": pytest.approx(before, abs=1e-4),
        "test_micro_f1_with_threshold": 0,
    }
    draw_calibration(tmp_path / "eval.png", output, config)
    assert [path.name for path in tmp_path.iterdir()] == ["eval.png"]
    assert measure_calibration("test", predicted([[0.0, 2.0]], [-100]), config) == {}


@pytest.mark.parametrize("number", [0, 2, 49, 50])
def test_a_handful_of_rows_chooses_nothing(number, caplog):
    """All are answered right: the likelihood alone would divide the logits by next to nothing."""
    output = predicted([[0.0, 1.0]] * number + [[0.0, 0.0]], [1] * number + [-100])
    config = retrieval_config(calibration_temperature=1.5, abstention_threshold=0.25)
    chosen = calibrate(output, config)
    assert config.abstention_threshold == chosen["eval_abstention_threshold"] == 0.25
    assert config.calibration_temperature == chosen["eval_calibration_temperature"]
    assert f"{number} validation rows with a relation are too few for a threshold, 75 are" in caplog.text
    if number < 50:
        assert config.calibration_temperature == 1.5 and chosen["eval_calibration_samples"] == 0
        assert f"{number} labelled validation rows are too few to calibrate scores by, 50 are needed" in caplog.text
    else:
        assert chosen["eval_calibration_samples"] == 50 and 0.25 < config.calibration_temperature < 0.5


def test_a_threshold_needs_rows_with_a_relation_not_others():
    logits, labels = [[0.0, 2.0]] * 75 + [[2.0, 0.0]] * 200, [1] * 75 + [0] * 200
    for number, has_threshold in ((74, False), (75, True)):
        config = retrieval_config()
        chosen = calibrate(predicted(logits[75 - number :], labels[75 - number :]), config)
        assert (config.abstention_threshold is not None) == has_threshold
        assert chosen["eval_threshold_samples"] == number * has_threshold


def test_the_diagram_is_drawn(tmp_path):
    curves = {"uncalibrated": binary(0.95, 0.95, 0.6), "calibrated": binary(1, 0.7, 0.6)}
    save_reliability_diagram(tmp_path / "reliability.png", curves, [0, 1, 0])
    with Image.open(tmp_path / "reliability.png") as picture:
        assert picture.width > 300


# What the pipeline does with it


@pytest.fixture
def make_pipe(make_model, processor):
    return lambda **kwargs: pipeline("relation-extraction", model=make_model(**kwargs), processor=processor)


def test_scores_are_calibrated_and_logits_are_not(make_pipe, processor):
    given, pipe = make_input(), make_pipe()
    plain, sharp = scores(pipe(given)), make_pipe(calibration_temperature=0.25)
    expected = {label: score**4 for label, score in plain.items()}
    total = sum(expected.values())
    assert scores(sharp(given)) == pytest.approx({label: score / total for label, score in expected.items()}, abs=1e-5)
    inputs = processor(text=given["text"], head=given["head"], tail=given["tail"], return_tensors="pt")
    with torch.no_grad():
        assert torch.equal(sharp.model(**inputs).logits, pipe.model(**inputs).logits)


@pytest.mark.parametrize("objective", ["retrieval", "classification"])
def test_the_models_own_threshold(make_pipe, objective):
    given = make_input()
    plain = make_pipe(objective=objective)(given)
    known = [relation for relation in plain if relation["label"] != "none"]
    (negative,) = [relation for relation in plain if relation["label"] == "none"]
    between = (known[0]["score"] + known[1]["score"]) / 2
    for threshold, expected in ((0.0, [*known, negative]), (between, [known[0], negative]), (1.0, [negative])):
        pipe = make_pipe(objective=objective)
        pipe.model.config.abstention_threshold = threshold
        assert pipe(given, threshold="auto") == expected
        assert pipe(given, threshold="auto", top_k=1) == expected[:1]
        explained = pipe(given, threshold="auto", explain=True)
        assert [{**one, "explanation": 0} for one in explained] == [{**one, "explanation": 0} for one in expected]
        assert explained[0]["explanation"]["words"] is not None
    pipe.model.config.negative_relation = None
    assert pipe(given, threshold="auto", explain=True) == []
    entities = {"text": given["text"], "entities": [given["head"], given["tail"]]}
    assert [pair["relations"] for pair in pipe(entities, threshold="auto")] == [[], []]


def test_a_threshold_is_for_the_relations_that_it_was_chosen_for(make_pipe, processor):
    pipe = make_pipe(calibration_temperature=2.0)
    model = pipe.model
    model.config.abstention_threshold = 0.4
    model.set_relations(dict(model.config.relation_descriptions), processor)
    assert model.config.abstention_threshold == 0.4
    with pytest.raises(ValueError, match='threshold="auto": no threshold has been chosen'):
        pipe(make_input(), threshold="auto", relations=OWN_RELATIONS)
    assert model.config.abstention_threshold == 0.4
    model.add_relation("fan", "The head admires the tail.", processor)
    assert model.config.abstention_threshold is None and model.config.calibration_temperature == 2.0
    with pytest.raises(ValueError, match='threshold="auto": no threshold has been chosen'):
        pipe(make_input(), threshold="auto")
    with pytest.raises(ValueError, match="threshold must be a probability, 0 to 1, or \"auto\", got 'low'"):
        pipe(make_input(), threshold="low")


def test_both_are_saved_with_the_model(make_model, tmp_path):
    model = make_model(calibration_temperature=2.0)
    model.config.abstention_threshold = 0.4
    model.save_pretrained(tmp_path)
    config = RocModel.from_pretrained(tmp_path).config
    assert (config.abstention_threshold, config.calibration_temperature) == (0.4, 2.0)
    for field, value in (("calibration_temperature", 0.0), ("abstention_threshold", 1.5)):
        with pytest.raises(Exception, match=field):
            RocConfig(**{field: value})

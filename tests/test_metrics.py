# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The metric against numbers worked out by hand and against a naive count; the files that a run leaves."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import classification_report

from evaluation_roc.relation_f1.relation_f1 import compute_relation_f1
from evaluation_roc.report import format_table, per_relation_table, save_confusion_matrix, write_predictions

METRIC_FOLDER = Path(__file__).parents[1] / "evaluation_roc" / "relation_f1"

# Class 0 is negative. Right: two of class 1, one of class 2, one negative. Relations predicted: 6, gold: 5.
REFERENCES = [1, 1, 1, 2, 2, 0, 0, 0]
PREDICTIONS = [1, 1, 2, 2, 0, 0, 1, 3]


def test_against_numbers_worked_out_by_hand():
    scores = compute_relation_f1(PREDICTIONS, REFERENCES, num_labels=4, negative_label=0)
    assert scores == pytest.approx(
        {
            "accuracy": 4 / 8,
            "micro_precision": 3 / 6,
            "micro_recall": 3 / 5,
            "micro_f1": 6 / 11,
            # class 1: precision 2/3, recall 2/3; class 2: 1/2, 1/2; class 3 has no gold example
            "macro_f1": (2 / 3 + 1 / 2 + 0) / 3,
            "macro_f1_present": (2 / 3 + 1 / 2) / 2,
        }
    )


def test_without_a_negative_class_micro_f1_is_the_accuracy():
    scores = compute_relation_f1(PREDICTIONS, REFERENCES, num_labels=4)
    assert scores["micro_f1"] == scores["micro_precision"] == scores["micro_recall"] == scores["accuracy"] == 0.5
    # class 0: precision 1/2, recall 1/3, F1 2/5
    assert scores["macro_f1"] == pytest.approx((2 / 5 + 2 / 3 + 1 / 2) / 4)
    assert scores["macro_f1_present"] == pytest.approx((2 / 5 + 2 / 3 + 1 / 2) / 3)


def test_macro_f1_is_the_one_that_published_code_prints():
    labels, names = [1, 2, 3], ["a", "b", "c"]
    report = classification_report(
        REFERENCES, PREDICTIONS, labels=labels, target_names=names, output_dict=True, zero_division=0
    )
    scores = compute_relation_f1(PREDICTIONS, REFERENCES, num_labels=4, negative_label=0)
    assert scores["macro_f1"] == pytest.approx(report["macro avg"]["f1-score"])
    assert scores["micro_f1"] == pytest.approx(report["micro avg"]["f1-score"])


@pytest.mark.parametrize(("predictions", "references"), [([0, 0], [0, 0]), ([0, 0], [1, 2]), ([1, 2], [0, 0])])
def test_undefined_is_zero(predictions, references):
    scores = compute_relation_f1(predictions, references, num_labels=3, negative_label=0)
    assert [scores.pop("accuracy"), *scores.values()] == [float(predictions == references), *[0.0] * 5]


@given(
    st.integers(2, 6).flatmap(
        lambda n: st.tuples(
            st.just(n),
            st.integers(0, n - 1),
            st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), min_size=1, max_size=40),
        )
    )
)
def test_against_a_naive_count(case):
    num_labels, negative, pairs = case
    predictions, references = zip(*pairs, strict=True)
    scores = compute_relation_f1(predictions, references, num_labels=num_labels, negative_label=negative)

    def f1(correct, predicted, gold):
        return 2 * correct / (predicted + gold) if predicted + gold else 0.0

    correct = sum(p == g != negative for p, g in pairs)
    predicted = sum(p != negative for p in predictions)
    gold = sum(g != negative for g in references)
    assert scores["micro_f1"] == pytest.approx(f1(correct, predicted, gold))
    assert scores["micro_precision"] == pytest.approx(correct / predicted if predicted else 0.0)
    assert scores["micro_recall"] == pytest.approx(correct / gold if gold else 0.0)
    present = set(references) - {negative}
    total = sum(f1(pairs.count((one, one)), predictions.count(one), references.count(one)) for one in present)
    assert scores["macro_f1"] == pytest.approx(total / (num_labels - 1))
    assert scores["macro_f1_present"] == pytest.approx(total / max(len(present), 1))
    assert scores["accuracy"] == pytest.approx(sum(p == g for p, g in pairs) / len(pairs))


@pytest.mark.parametrize(
    ("predictions", "references", "negative", "message"),
    [
        ([], [], 0, "predictions is empty"),
        ([1], [1, 2], 0, "1 predictions stand against 2 references"),
        ([1, 3], [1, 2], 0, r"predictions\[1\] is 3, outside 0 to 2"),
        ([1, 2], [1, -100], 0, r"references\[1\] is -100"),
        ([1.0, 2.0], [1, 2], 0, "predictions must hold integers"),
        ([True, False], [1, 2], 0, "predictions must hold integers"),
        ([[1], [2]], [1, 2], 0, r"shape \(2, 1\)"),
        ([1, 2], [1, 2], 3, "negative_label is 3"),
    ],
)
def test_bad_input_is_an_error(predictions, references, negative, message):
    with pytest.raises(ValueError, match=message):
        compute_relation_f1(predictions, references, num_labels=3, negative_label=negative)


def test_a_set_of_nothing_but_the_negative_class_is_an_error():
    with pytest.raises(ValueError, match="no class besides"):
        compute_relation_f1([0], [0], num_labels=1, negative_label=0)


def test_evaluate_loads_it_offline(tmp_path):
    code = (
        "import evaluate, json, sys\n"
        "metric = evaluate.load(sys.argv[1])\n"
        "predictions, references = json.loads(sys.argv[2])\n"
        "metric.add_batch(predictions=predictions[:5], references=references[:5])\n"
        "metric.add_batch(predictions=predictions[5:], references=references[5:])\n"
        "print(json.dumps(metric.compute(num_labels=4, negative_label=0)))\n"
    )
    environment = os.environ | {
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_EVALUATE_OFFLINE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code, str(METRIC_FOLDER), json.dumps([PREDICTIONS, REFERENCES])],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = compute_relation_f1(PREDICTIONS, REFERENCES, num_labels=4, negative_label=0)
    assert json.loads(done.stdout) == expected


NAMES = ["None", "/per/org/member_of", "/per/per/peer", "/loc/loc/contain"]


def test_per_relation_table():
    table = per_relation_table(PREDICTIONS, REFERENCES, NAMES)
    assert [row["relation"] for row in table] == NAMES
    assert table[0] == pytest.approx(
        {"relation": "None", "precision": 1 / 2, "recall": 1 / 3, "f1": 2 / 5, "support": 3}
    )
    assert table[3] == {"relation": "/loc/loc/contain", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    lines = format_table(table, negative_label="None").splitlines()
    assert len({len(line) for line in lines}) == 1 and len(lines) == 2 + 4
    assert lines[2].split() == "| /per/org/member_of | 0.667 | 0.667 | 0.667 | 3 |".split()
    assert lines[-1].startswith("| None (negative) ")
    with pytest.raises(ValueError, match=r"predictions\[7\] is 3, outside 0 to 2"):
        per_relation_table(PREDICTIONS, REFERENCES, NAMES[:3])


def test_confusion_matrix_is_a_picture(tmp_path):
    save_confusion_matrix(tmp_path / "confusion.png", PREDICTIONS, REFERENCES, NAMES)
    assert [file.name for file in tmp_path.iterdir()] == ["confusion.png"]
    with Image.open(tmp_path / "confusion.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 400


def test_write_predictions(tmp_path):
    path = tmp_path / "predictions.jsonl"
    scores = np.array([[0.1, 0.6, 1 / 3, -12.3456789], [3.0, 1.0, 2.0, -1.0]], dtype=np.float32)
    write_predictions(path, ["a", "ü"], scores, [1, 2], [1, -100], NAMES)
    first, second = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert first == {
        "id": "a",
        "gold": "/per/org/member_of",
        "predicted": "/per/org/member_of",
        "score": 0.421504,  # e^0.6 / (e^0.1 + e^0.6 + e^(1/3) + e^-12.3)
        "logits": [0.1, 0.6, 0.33333, -12.34568],
    }
    assert second["id"] == "ü" and second["gold"] is None
    # the prediction need not be the highest score: a threshold may have decided
    assert second["predicted"] == "/per/per/peer"
    assert second["score"] == pytest.approx(np.exp(-1) / (1 + np.exp(-1) + np.exp(-2) + np.exp(-4)), abs=1e-6)
    assert second["logits"] == [3.0, 1.0, 2.0, -1.0]


@pytest.mark.parametrize(
    ("scores", "predictions", "references", "message"),
    [
        ([[0.0] * 4, [np.nan] * 4], [0, 0], [0, 0], "'b' has a score that is not finite"),
        ([[0.0] * 4, [0.0] * 4], [0], [0, 0], "shorter"),
    ],
)
def test_a_failed_write_leaves_the_old_file(tmp_path, scores, predictions, references, message):
    path = tmp_path / "predictions.jsonl"
    path.write_text("old")
    with pytest.raises(ValueError, match=message):
        write_predictions(path, ["a", "b"], scores, predictions, references, NAMES)
    assert [file.name for file in tmp_path.iterdir()] == ["predictions.jsonl"] and path.read_text() == "old"

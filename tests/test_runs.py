# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Comparison of runs: means, deviations and intervals worked out apart, real runs' folders, what is refused."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import bootstrap

from evaluation_roc import runs
from evaluation_roc.relation_f1.relation_f1 import compute_relation_f1
from evaluation_roc.runs import bootstrap_difference, read_run

SUPPORTS = {"none": 4, "/per/per/peer": 3}
GOLD = ["none", "none", "none", "none", "/per/per/peer", "/per/per/peer", "/per/per/peer"]


def write_run(
    folder, seed=0, train_samples=100, micro=0.5, macro=0.25, supports=SUPPORTS, f1=0.5, processes=1, answers=GOLD,
    seeds=(), encoder_weights=None, scored=("test", "eval"), gold=GOLD, negative="none", **settings,
):  # fmt: skip
    """The files of a run that the command reads."""
    folder.mkdir(parents=True)
    record = {
        "objective": settings.pop("objective", "retrieval"),
        "train_samples": train_samples,
        "processes": processes,
        "seeds": {"seed": seed, "data_seed": seed, **dict(seeds)},
        "commit": "0123456789abcdef",
        "local_changes": False,
        "encoder_weights": encoder_weights,
        "arguments": {"dataset_name": "demo", "train_fraction": 1.0, **settings},
        "negative_relation": negative,
    }
    table = [
        {"relation": name, "precision": 0.5, "recall": 0.5, "f1": f1, "support": n} for name, n in supports.items()
    ]
    lines = [json.dumps({"id": f"t{i}", "gold": gold[i], "predicted": one}) for i, one in enumerate(answers)]
    results = {}
    for prefix in scored:
        shift = 0.125 if prefix == "eval" else 0
        scores = {"micro_f1": micro + shift, "macro_f1": macro, "macro_f1_present": macro + shift}
        results |= {f"{prefix}_{name}": value for name, value in scores.items()}
        (folder / f"{prefix}_per_relation.json").write_text(json.dumps(table))
        (folder / f"{prefix}_predictions.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "all_results.json").write_text(json.dumps(results))
    return folder


def compare(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["runs", *map(str, arguments)])
    runs.main()


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]


@pytest.fixture
def folders(tmp_path):
    """Two sizes of retrieval, of one run and three, and classification with two runs."""
    small, other = {"train_fraction": 0.1}, {"train_fraction": 0.1, "objective": "classification"}
    scores = [
        (0, 1000, 0.8, 0.4, {}),
        (0, 100, 0.4, 0.1, small),
        (1, 100, 0.5, 0.1, small),
        (2, 100, 0.6, 0.4, small),
        (0, 100, 0.3, 0.2, other),
        (1, 100, 0.5, 0.2, other),
    ]
    return [write_run(tmp_path / f"run{i}", *one[:4], **one[4]) for i, one in enumerate(scores)]


def test_means_and_deviations(folders, tmp_path, monkeypatch, capsys):
    compare(monkeypatch, *folders, "--output_dir", tmp_path / "out")
    report = json.loads((tmp_path / "out" / "runs.json").read_text())
    assert [one["run"] for one in report["runs"]] == list(map(str, folders))
    large, small, other = report["lines"]
    assert small["name"] == "objective retrieval, train_fraction 0.1" and small["runs"] == list(map(str, folders[1:4]))
    test, validation = small["scores"]["test"], small["scores"]["validation"]
    assert test["micro_f1"] == pytest.approx({"mean": 0.5, "std": 0.1})
    assert validation["micro_f1"] == pytest.approx({"mean": 0.625, "std": 0.1})
    # 0.1, 0.1, 0.4: mean 0.2, squares 0.01 + 0.01 + 0.04 over 2.
    assert test["macro_f1"] == pytest.approx({"mean": 0.2, "std": math.sqrt(0.03)})
    assert validation["macro_f1_present"] == pytest.approx({"mean": 0.325, "std": math.sqrt(0.03)})
    assert large["train_samples"] == 1000 and large["scores"]["test"]["micro_f1"] == {"mean": 0.8, "std": None}
    assert other["name"] == "objective classification, train_fraction 0.1"
    assert other["scores"]["test"]["micro_f1"]["std"] == pytest.approx(math.sqrt(0.02))
    header, _, *lines = cells(capsys.readouterr().out)
    assert header[1:6] == ["training pairs", "seeds", "commit", "validation micro F1", "validation macro F1"]
    assert header[7:] == ["test micro F1", "test macro F1", "test macro F1, present relations"]
    assert lines[0][1:4] == ["1,000", "0", "0123456"] and lines[0][7:] == ["0.800", "0.400", "0.400"]
    assert lines[1][1:3] == ["100", "0, 1, 2"] and lines[1][4] == "0.625 ± 0.100"
    assert lines[1][7:] == ["0.500 ± 0.100", "0.200 ± 0.173", "0.200 ± 0.173"]
    assert lines[2][1:3] == ["100", "0, 1"] and lines[2][8] == "0.200 ± 0.000"


@pytest.mark.parametrize("changed", [{"learning_rate": 1e-5}, {"num_train_epochs": 3.0}, {"train_samples": 99},
                                     {"text_model_name_or_path": "roberta-base"}, {"use_images": False},
                                     {"processes": 2}, {"use_lora": True}, {"encoder_weights": "ab"}])  # fmt: skip
def test_runs_that_differ_in_more_than_the_seed_are_not_averaged(tmp_path, monkeypatch, capsys, changed):
    folders = [
        write_run(tmp_path / "a"),
        write_run(tmp_path / "b", seed=1),
        write_run(tmp_path / "c", seed=2, **changed),
    ]
    compare(monkeypatch, *folders)
    output = capsys.readouterr().out
    assert [row[2] for row in cells(output)[2:]] == ["0, 1", "2"]
    assert all(name in output for name in changed if name != "train_samples")


def test_runs_that_differ_in_any_seed_are_averaged(tmp_path, monkeypatch, capsys):
    """Relations that are held out leave a training split of another size with each draw."""
    held_out = [{"hold_out_seed": seed} for seed in (0, 1)]
    folders = [
        write_run(tmp_path / f"{i}", hold_out_relations="2", seeds=one, train_samples=100 + i, scored=["test"])
        for i, one in enumerate(held_out)
    ]
    compare(monkeypatch, *folders)
    _, _, row = cells(capsys.readouterr().out)
    assert row[1:3] == ["100", "0, 0; hold_out_seed 0, 1"] and len(row) == 7


def test_scores_of_several_data_sets_stand_side_by_side(tmp_path, monkeypatch, capsys):
    """Their mean has no table of its own, and is no part of a comparison."""
    parts = ("eval", "test", "test_mnre", "test_posts")
    peer, negative = "/per/per/peer", {"mnre": "none", "posts": None}
    folders = [
        write_run(tmp_path / name, seed=seed, scored=parts, negative=negative, answers=[*first, *GOLD[2:]])
        for seed, (name, first) in enumerate({"a": ["none", "none"], "b": [peer, peer]}.items())
    ]
    for folder in folders:
        for name in ("test_per_relation.json", "test_predictions.jsonl"):
            (folder / name).unlink()
    compare(monkeypatch, *folders, "--compare", "--split", "test_mnre")
    rows = cells(capsys.readouterr().out)
    header, difference = rows[0], rows[-3]
    # In b 3 are right of 5 predicted and 3 gold: the data set's own negative relation does not count.
    assert difference[:3] == ["micro F1", "1.000", "0.750"]
    compare(monkeypatch, *folders, "--compare", "--split", "test_posts")
    assert cells(capsys.readouterr().out)[-3][:3] == ["micro F1", "1.000", f"{5 / 7:.3f}"]
    assert [title for title in header if title.endswith("micro F1")] == [
        f"{split} micro F1" for split in ("validation", "test", "test_mnre", "test_posts")
    ]
    with pytest.raises(SystemExit, match="a did not score the test split, but validation, test_mnre, test_posts"):
        compare(monkeypatch, *folders, "--compare")


def test_the_change_by_relation(tmp_path, monkeypatch, capsys):
    folders = [write_run(tmp_path / "a", f1=0.8), write_run(tmp_path / "b", f1=0.5, bf16=True)]
    table = json.loads((folders[1] / "test_per_relation.json").read_text())
    table[1]["f1"] = 1.0
    (folders[1] / "test_per_relation.json").write_text(json.dumps(table))
    compare(monkeypatch, *folders, "--by_relation")
    assert cells(capsys.readouterr().out)[-2:] == [
        ["none", "4", "0.800", "0.500", "-0.300"],
        ["/per/per/peer", "3", "0.800", "1.000", "+0.200"],
    ]
    for flag in ("--by_relation", "--compare"):
        with pytest.raises(SystemExit):
            compare(monkeypatch, folders[0], flag)
        assert f"{flag} takes two runs, got 1" in capsys.readouterr().err


def draw_answers(seed: int, rows: int = 300):
    """Gold and two systems' answers over five classes, of which 4 has no gold row; the second is the better one."""
    rng = np.random.default_rng(seed)
    gold = rng.choice(4, size=rows, p=[0.5, 0.3, 0.17, 0.03])
    return gold, *(np.where(rng.random(rows) < kept, gold, rng.integers(0, 5, rows)) for kept in (0.5, 0.65))


def test_the_bootstrap_is_scipys():
    gold, first, second = draw_answers(3)
    found = bootstrap_difference(gold, first, second, relations=[1, 2, 3, 4], seed=0)
    scores = [compute_relation_f1(one, gold, num_labels=5, negative_label=0) for one in (first, second)]
    for metric, values in found.items():
        assert [values["first"], values["second"]] == pytest.approx([one[metric] for one in scores])
        assert values["difference"] == pytest.approx(scores[1][metric] - scores[0][metric])

    def micro_difference(gold, first, second, axis):
        def f1(answers):
            right = ((gold == answers) & (gold > 0)).sum(axis=axis)
            return 2 * right / ((gold > 0).sum(axis=axis) + (answers > 0).sum(axis=axis))

        return f1(second) - f1(first)

    wanted = bootstrap(
        (gold, first, second), micro_difference, paired=True, vectorized=True, method="percentile", n_resamples=2999,
        rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    assert (found["micro_f1"]["low"], found["micro_f1"]["high"]) == pytest.approx(tuple(wanted), abs=0.01)
    # The macro scores against draws of rows, scored by the metric itself.
    rng, drawn = np.random.default_rng(2), {"macro_f1": [], "macro_f1_present": []}
    for _ in range(200):
        rows = rng.integers(0, len(gold), len(gold))
        one, other = (
            compute_relation_f1(answers[rows], gold[rows], num_labels=5, negative_label=0)
            for answers in (first, second)
        )
        for metric, differences in drawn.items():
            differences.append(other[metric] - one[metric])
    for metric, differences in drawn.items():
        wanted = np.quantile(differences, [0.025, 0.975])
        assert (found[metric]["low"], found[metric]["high"]) == pytest.approx(tuple(wanted), abs=0.03)
    assert found == bootstrap_difference(gold, first, second, relations=[1, 2, 3, 4], seed=0)
    assert found != bootstrap_difference(gold, first, second, relations=[1, 2, 3, 4], seed=1)
    same = bootstrap_difference(gold, first, first, relations=[1, 2, 3, 4])
    assert {values[name] for values in same.values() for name in ("difference", "low", "high")} == {0}


def test_two_runs_are_compared_row_by_row(tmp_path, monkeypatch, capsys):
    peer = "/per/per/peer"
    first = write_run(tmp_path / "a", answers=[peer, *GOLD[1:]])  # 3 right of 4 predicted and 3 gold
    second = write_run(tmp_path / "b", seed=1)
    compare(monkeypatch, first, second, "--compare", "--output_dir", tmp_path / "out")
    row = cells(capsys.readouterr().out)[-3]
    assert row[:4] == ["micro F1", f"{6 / 7:.3f}", "1.000", f"{1 / 7:+.3f}"] and row[4].startswith("+0.000 to +0.")
    comparison = json.loads((tmp_path / "out" / "runs.json").read_text())["comparison"]
    assert comparison["macro_f1"]["second"] == 1 and 0 == comparison["micro_f1"]["low"] < 1 / 7
    # The row that differs is drawn not at all in (6/7)^7 = 34% of all cases, twice and more in 26%.
    assert comparison["micro_f1"]["high"] > 2 / 7


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"gold": ["none", *GOLD[1:4], "none", *GOLD[5:]]}, "did not answer the same test rows: 't4', gold '/per/per"),
        ({"answers": GOLD[:6]}, "answered 7 labelled rows of test, .*b 6"),
        ({"answers": [*GOLD[:6], "/per/org/x"]}, "b/test_predictions.jsonl, line 7: no prediction .*'/per/org/x'"),
        ({"scored": ["eval"]}, "b did not score the test split"),
    ],
)
def test_runs_of_other_rows_are_not_compared(tmp_path, monkeypatch, changed, message):
    folders = [write_run(tmp_path / "a"), write_run(tmp_path / "b", seed=1, **changed)]
    with pytest.raises(SystemExit, match=f"error: .*{message}"):
        compare(monkeypatch, *folders, "--compare", "--output_dir", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_runs_of_the_command(run, place, tmp_path, monkeypatch, capsys):
    arguments = ("--max_steps", "2")
    run(*arguments, "--output_dir", "all")
    run(*arguments, "--output_dir", "half", "--train_fraction", "0.5", "--objective", "classification", "--seed", "7")
    record = json.loads(Path("half/run.json").read_text())
    assert (record["objective"], record["train_samples"], record["processes"]) == ("classification", 24, 1)
    assert record["seeds"] == {"seed": 7, "data_seed": 7, "train_fraction_seed": 7}
    # Encoders are told by name and content, and no path is.
    assert record["arguments"]["text_model_name_or_path"] == "text" and len(record["encoder_weights"]) > 8
    assert record["arguments"]["learning_rate"] == 1e-3 and record["arguments"]["precision"] == "no"
    assert str(place) not in json.dumps(record) and record["versions"].keys() >= {"torch", "transformers"}
    table = json.loads(Path("half/test_per_relation.json").read_text())
    assert record["relations"] == [row["relation"] for row in table] and record["negative_relation"] == "none"
    capsys.readouterr()
    compare(monkeypatch, "half", "all", "--compare", "--output_dir", "both")
    report = json.loads((tmp_path / "both" / "runs.json").read_text())
    half, whole = report["lines"]
    assert (half["name"], whole["name"]) == (
        "objective classification, train_fraction 0.5",
        "objective retrieval, train_fraction 1.0",
    )
    assert [line["train_samples"] for line in report["lines"]] == [24, 48]
    for line, folder in ((half, "half"), (whole, "all")):
        results = json.loads((tmp_path / folder / "all_results.json").read_text())
        for split, prefix in (("test", "test"), ("validation", "eval")):
            for metric, value in line["scores"][split].items():
                assert value == {"mean": results[f"{prefix}_{metric}"], "std": None}
            assert line["scores"][split].keys() == {"micro_f1", "macro_f1", "macro_f1_present"}
    first, second = (
        json.loads((tmp_path / name / "all_results.json").read_text())["test_micro_f1"] for name in ("half", "all")
    )
    assert report["comparison"]["micro_f1"]["difference"] == pytest.approx(second - first)
    # A model that is evaluated again in its own folder keeps the record of its training.
    run("--model_name_or_path", "all", "--do_train", "false", "--do_predict", "false", "--output_dir", "all")
    assert read_run("all")["train_samples"] == 48


def test_what_cannot_be_compared_is_refused(folders, tmp_path, monkeypatch):
    others = {
        "relations": write_run(tmp_path / "relations", supports={"none": 4, "/per/org/fan_of": 3}),
        "data": write_run(tmp_path / "data", supports={"none": 4, "/per/per/peer": 2}),
        "twice": folders[0] / ".." / folders[0].name,
    }
    for name, message in (
        ("relations", "relations has other relations than .*run0: /per/org/fan_of, /per/per/peer stand in one"),
        ("data", "data was scored on other validation rows than .*run0"),
        ("twice", "run0 has the settings and the seeds of .*run0: is one run given twice"),
    ):
        with pytest.raises(SystemExit, match=f"error: .*{message}"):
            compare(monkeypatch, *folders, others[name], "--output_dir", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="error: .*File exists"):
        compare(monkeypatch, *folders, "--output_dir", tmp_path / "file")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("all_results.json", None, "run has no all_results.json: .*finished run of train.py"),
        ("run.json", None, "run has no run.json: .*finished run of train.py"),
        ("run.json", '{"objective": "retrieval"}', "run: run.json is none of train.py .KeyError: 'arguments'"),
        ("test_per_relation.json", None, "run has no test_per_relation.json"),
        ("all_results.json", "{", "run: all_results.json is no JSON"),
        ("all_results.json", "[1]", "run: all_results.json holds no object"),
        ("all_results.json", "{}", "run: all_results.json has no test_micro_f1 and no eval_micro_f1"),
        ("all_results.json", '{"test_micro_f1": 51}', "run: .*test_micro_f1 must lie in 0-1, got 51"),
        ("all_results.json", '{"test_micro_f1": NaN}', "run: .*test_micro_f1 must lie in 0-1"),
        ("all_results.json", '{"test_micro_f1": 0.5}', "run: .*test_macro_f1 must lie in 0-1, got None"),
        ("test_per_relation.json", "[]", "run: test_per_relation.json holds no relation"),
        ("test_per_relation.json", '[{"relation": "a"}]', "run: test_per_relation.json is no table of scores"),
    ],
)
def test_a_folder_that_lacks_something_is_named(tmp_path, monkeypatch, file, content, message):
    folder = write_run(tmp_path / "run")
    (folder / file).unlink() if content is None else (folder / file).write_text(content)
    with pytest.raises(SystemExit, match=f"error: .*{message}"):
        compare(monkeypatch, folder, "--output_dir", tmp_path / "out")
    assert not (tmp_path / "out").exists()

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Comparison of runs: means and deviations worked out by hand, real runs' folders, and what cannot be compared."""

import json
import math
import sys

import pytest
import yaml

from evaluation_roc import runs

SUPPORTS = {"none": 4, "/per/per/peer": 3}


def write_run(
    folder, seed=0, train_samples=100, micro=0.5, macro=0.25, supports=SUPPORTS, f1=0.5, num_processes=1, **settings
):
    """The files of a run that the command reads."""
    folder.mkdir(parents=True)
    results = {
        "train_samples": train_samples,
        "train_processes": num_processes,
        "test_micro_f1": micro,
        "test_macro_f1": macro,
    }
    table = [
        {"relation": name, "precision": 0.5, "recall": 0.5, "f1": f1, "support": n} for name, n in supports.items()
    ]
    (folder / "all_results.json").write_text(json.dumps(results))
    (folder / "test_per_relation.json").write_text(json.dumps(table))
    content = yaml.safe_dump({"dataset_name": "demo", **settings, "seed": seed})
    (folder / "README.md").write_text(f"---\ntags: []\n---\n\nThe settings:\n\n```yaml\n{content}```\n\nMore.\n")
    return folder


def compare(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["runs", *map(str, arguments)])
    runs.main()


@pytest.fixture
def folders(tmp_path):
    """Two sizes of retrieval, of three runs and one, and classification with two runs."""
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
    assert report["split"] == "test" and [one["run"] for one in report["runs"]] == list(map(str, folders))
    large, small, other = report["lines"]
    assert small["name"] == "objective default, train_fraction 0.1" and small["runs"] == list(map(str, folders[1:4]))
    assert small["micro_f1"] == pytest.approx(0.5) and small["micro_f1_std"] == pytest.approx(0.1)
    # 0.1, 0.1, 0.4: mean 0.2, squares 0.01 + 0.01 + 0.04 over 2.
    assert small["macro_f1"] == pytest.approx(0.2) and small["macro_f1_std"] == pytest.approx(math.sqrt(0.03))
    assert (large["train_samples"], large["micro_f1"], large["micro_f1_std"]) == (1000, 0.8, None)
    assert other["name"] == "objective classification, train_fraction 0.1"
    assert other["micro_f1_std"] == pytest.approx(math.sqrt(0.02)) and other["macro_f1_std"] == 0
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert lines[2][1:] == ["1,000", "1", "0.800", "0.400"]
    assert lines[3][1:] == ["100", "3", "0.500 ± 0.100", "0.200 ± 0.173"]
    assert lines[4][1:] == ["100", "2", "0.400 ± 0.141", "0.200 ± 0.000"]


@pytest.mark.parametrize("changed", [{"learning_rate": 1e-5}, {"num_train_epochs": 3.0}, {"train_samples": 99},
                                     {"text_model_name_or_path": "roberta-base"}, {"use_images": False},
                                     {"num_processes": 2}])  # fmt: skip
def test_runs_that_differ_in_more_than_the_seed_are_not_averaged(tmp_path, monkeypatch, capsys, changed):
    folders = [
        write_run(tmp_path / "a"),
        write_run(tmp_path / "b", seed=1),
        write_run(tmp_path / "c", seed=2, **changed),
    ]
    compare(monkeypatch, *folders)
    output = capsys.readouterr().out
    counts = [line.split("|")[3].strip() for line in output.splitlines()[2:]]
    assert counts == ["2", "1"] and all(name in output for name in changed if name != "train_samples")


def test_the_change_by_relation(tmp_path, monkeypatch, capsys):
    folders = [write_run(tmp_path / "a", f1=0.8), write_run(tmp_path / "b", f1=0.5, bf16=True)]
    table = json.loads((folders[1] / "test_per_relation.json").read_text())
    table[1]["f1"] = 1.0
    (folders[1] / "test_per_relation.json").write_text(json.dumps(table))
    compare(monkeypatch, *folders, "--by_relation")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert lines[-2:] == [
        ["none", "4", "0.800", "0.500", "-0.300"],
        ["/per/per/peer", "3", "0.800", "1.000", "+0.200"],
    ]
    with pytest.raises(SystemExit):
        compare(monkeypatch, folders[0], "--by_relation")
    assert "--by_relation compares two runs, got 1" in capsys.readouterr().err


def test_runs_of_the_command(run, tmp_path, monkeypatch, capsys):
    arguments = ("--max_steps", "2")
    run(*arguments, "--output_dir", "all")
    run(*arguments, "--output_dir", "half", "--train_fraction", "0.5", "--objective", "classification")
    capsys.readouterr()
    for split, prefix in (("test", "test"), ("validation", "eval")):
        compare(monkeypatch, "half", "all", "--split", split, "--output_dir", split)
        lines = json.loads((tmp_path / split / "runs.json").read_text())["lines"]
        assert [line["train_samples"] for line in lines] == [24, 48]
        assert "objective classification" in lines[0]["name"] and "train_fraction 0.5" in lines[0]["name"]
        for line, folder in zip(lines, ("half", "all"), strict=True):
            results = json.loads((tmp_path / folder / "all_results.json").read_text())
            for metric in ("micro_f1", "macro_f1"):
                assert line[metric] == results[f"{prefix}_{metric}"] and line[f"{metric}_std"] is None


def test_what_cannot_be_compared_is_refused(folders, tmp_path, monkeypatch):
    others = {
        "relations": write_run(tmp_path / "relations", supports={"none": 4, "/per/org/fan_of": 3}),
        "data": write_run(tmp_path / "data", supports={"none": 4, "/per/per/peer": 2}),
        "twice": folders[0] / ".." / folders[0].name,
    }
    for name, message in (
        ("relations", "relations has other relations than .*run0: /per/org/fan_of, /per/per/peer stand in one"),
        ("data", "data was scored on other examples than .*run0"),
        ("twice", "run0 has the settings and the seed of .*run0: is one run given twice"),
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
        ("README.md", None, "run has no README.md with the settings"),
        ("README.md", "# A card\n", "run has no README.md with the settings"),
        ("test_per_relation.json", None, "run has no test_per_relation.json"),
        ("all_results.json", "{", "run: all_results.json is no JSON"),
        ("all_results.json", "[1]", "run: all_results.json holds no object"),
        ("all_results.json", '{"test_micro_f1": 0.5}', "run: all_results.json .* train_samples, and has none"),
        ("all_results.json", '{"train_samples": true}', "run: all_results.json .*train_samples, and has True"),
        ("all_results.json", '{"train_samples": 9}', "run: all_results.json has no test_micro_f1: .*the test split"),
        (
            "all_results.json",
            '{"train_samples": 9, "test_micro_f1": 51}',
            "run: .*test_micro_f1 must lie in 0-1, got 51",
        ),
        ("all_results.json", '{"train_samples": 9, "test_micro_f1": NaN}', "run: .*test_micro_f1 must lie in 0-1"),
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


def test_a_split_that_was_not_scored_is_named(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="run: all_results.json has no eval_micro_f1: .*the validation split"):
        compare(monkeypatch, write_run(tmp_path / "run"), "--split", "validation", "--output_dir", tmp_path / "out")

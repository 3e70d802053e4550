# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Learning curves: means and deviations worked out by hand, real runs' folders, and what cannot be compared."""

import json
import math
import sys

import pytest
from PIL import Image
from test_train_script import place, run  # noqa: F401

from evaluation_roc import learning_curve

SUPPORTS = {"none": 4, "/per/per/peer": 3}


def write_run(
    folder,
    objective="retrieval",
    train_samples=100,
    micro=0.5,
    macro=0.25,
    supports=SUPPORTS,
    prefix="test",
    use_entity_types=True,
    **settings,
):
    """The files of a run that the command reads."""
    folder.mkdir(parents=True)
    results = {"train_samples": train_samples, f"{prefix}_micro_f1": micro, f"{prefix}_macro_f1": macro}
    table = [
        {"relation": name, "precision": 0.5, "recall": 0.5, "f1": 0.5, "support": n} for name, n in supports.items()
    ]
    for name, content in (
        ("all_results.json", results),
        ("config.json", {"objective": objective, **settings}),
        ("processor_config.json", {"use_entity_types": use_entity_types}),
        (f"{prefix}_per_relation.json", table),
    ):
        (folder / name).write_text(json.dumps(content))
    return folder


def draw(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["learning_curve", *map(str, arguments)])
    learning_curve.main()


@pytest.fixture
def folders(tmp_path):
    """Two sizes of retrieval, of three runs and one, and classification with two runs, the larger size first."""
    scores = [
        ("retrieval", 1000, 0.8, 0.4),
        ("retrieval", 100, 0.4, 0.1),
        ("retrieval", 100, 0.5, 0.1),
        ("retrieval", 100, 0.6, 0.4),
        ("classification", 100, 0.3, 0.2),
        ("classification", 100, 0.5, 0.2),
    ]
    return [write_run(tmp_path / f"run{i}", *one) for i, one in enumerate(scores)]


def test_means_and_deviations(folders, tmp_path, monkeypatch, capsys):
    draw(monkeypatch, *folders, "--output_dir", tmp_path / "out")
    report = json.loads((tmp_path / "out" / "learning_curve.json").read_text())
    assert (report["split"], report["num_examples"]) == ("test", 7)
    assert [one["run"] for one in report["runs"]] == [str(folder) for folder in folders]
    small, large, other = report["points"]
    assert (small["curve"], small["train_samples"], small["num_runs"]) == ("retrieval", 100, 3)
    assert small["micro_f1"] == pytest.approx(0.5) and small["micro_f1_std"] == pytest.approx(0.1)
    # 0.1, 0.1, 0.4: mean 0.2, squares 0.01 + 0.01 + 0.04 over 2.
    assert small["macro_f1"] == pytest.approx(0.2) and small["macro_f1_std"] == pytest.approx(math.sqrt(0.03))
    assert (large["train_samples"], large["num_runs"], large["micro_f1"]) == (1000, 1, 0.8)
    assert large["micro_f1_std"] is None
    assert other["curve"] == "classification" and other["micro_f1"] == pytest.approx(0.4)
    assert other["micro_f1_std"] == pytest.approx(math.sqrt(0.02)) and other["macro_f1_std"] == 0
    assert capsys.readouterr().out == (
        "| curve | training pairs | runs | micro F1 | macro F1 |\n"
        "|:--|--:|--:|--:|--:|\n"
        "| retrieval | 100 | 3 | 0.500 ± 0.100 | 0.200 ± 0.173 |\n"
        "| retrieval | 1,000 | 1 | 0.800 | 0.400 |\n"
        "| classification | 100 | 2 | 0.400 ± 0.141 | 0.200 ± 0.000 |\n"
    )
    with Image.open(tmp_path / "out" / "learning_curve.png") as picture:
        assert picture.width > 800
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["learning_curve.json", "learning_curve.png"]


def test_settings_in_which_runs_differ_set_curves_apart(tmp_path, monkeypatch):
    same = {"pair_dropout": 0.2}
    folders = [
        write_run(tmp_path / "a", micro=0.4, text_similarity=0.0, **same),
        write_run(tmp_path / "b", micro=0.6, text_similarity=0.0, **same),
        write_run(tmp_path / "c", micro=0.7, text_similarity=0.5, **same),
        write_run(tmp_path / "d", micro=0.2, objective="classification", **same),
    ]
    draw(monkeypatch, *folders, "--output_dir", tmp_path / "out")
    points = json.loads((tmp_path / "out" / "learning_curve.json").read_text())["points"]
    assert [(point["curve"], point["num_runs"], point["micro_f1"]) for point in points] == [
        ("retrieval, text_similarity 0.0", 2, pytest.approx(0.5)),
        ("retrieval, text_similarity 0.5", 1, 0.7),
        ("classification", 1, 0.2),
    ]


def test_ablations_are_curves_of_their_own(tmp_path, monkeypatch):
    described = {"none": ["Nothing."], "/per/per/peer": ["Two friends."]}
    same = {"vision_config": {"model_type": "vit"}, "relation_descriptions": described}
    labels = {"none": ["none"], "/per/per/peer": ["per per peer"]}
    folders = [
        write_run(tmp_path / "a", **same),
        write_run(tmp_path / "b", **same),
        write_run(tmp_path / "c", use_entity_types=False, **same),
        write_run(tmp_path / "d", **same | {"vision_config": None}),
        write_run(tmp_path / "e", **same | {"relation_descriptions": labels}),
        write_run(tmp_path / "f", **same | {"relation_descriptions": described | {"none": ["Nothing at all."]}}),
    ]
    draw(monkeypatch, *folders, "--output_dir", tmp_path / "out")
    points = json.loads((tmp_path / "out" / "learning_curve.json").read_text())["points"]
    assert [point["num_runs"] for point in points] == [2, 1, 1, 1, 1]
    own, *ablations = [dict(part.split(" ") for part in point["curve"].split(", ")[1:]) for point in points]
    assert own["use_entity_types"] == own["use_images"] == "True"
    assert [{name for name in own if own[name] != one[name]} for one in ablations] == [
        {"use_entity_types"}, {"use_images"}, {"relation_text"}, {"relation_text"}
    ]  # fmt: skip
    assert ablations[2]["relation_text"] == "labels"


def test_the_picture_shows_the_scores(folders, tmp_path, monkeypatch):
    draw(monkeypatch, *folders, "--output_dir", tmp_path / "out")
    draw(monkeypatch, *folders[:-1], "--output_dir", tmp_path / "fewer")
    one, other = (tmp_path / name / "learning_curve.png" for name in ("out", "fewer"))
    assert one.read_bytes() != other.read_bytes()


def test_runs_of_the_command(run, tmp_path, monkeypatch, capsys):  # noqa: F811
    arguments = ("--max_steps", "2")
    run(*arguments, "--output_dir", "all")
    run(*arguments, "--output_dir", "half", "--train_fraction", "0.5", "--objective", "classification")
    capsys.readouterr()
    for split, prefix in (("test", "test"), ("validation", "eval")):
        draw(monkeypatch, "half", "all", "--split", split, "--output_dir", split)
        points = json.loads((tmp_path / split / "learning_curve.json").read_text())["points"]
        assert [(point["curve"], point["train_samples"]) for point in points] == [
            ("classification", 24),
            ("retrieval", 48),
        ]
        for point, folder in zip(points, ("half", "all"), strict=True):
            results = json.loads((tmp_path / folder / "all_results.json").read_text())
            for metric in ("micro_f1", "macro_f1"):
                assert point[metric] == results[f"{prefix}_{metric}"] and point[f"{metric}_std"] is None
    assert "| retrieval | 48 | 1 | " in capsys.readouterr().out


def test_what_cannot_be_compared_is_refused(folders, tmp_path, monkeypatch):
    others = {
        "relations": write_run(tmp_path / "relations", supports={"none": 4, "/per/org/fan_of": 3}),
        "data": write_run(tmp_path / "data", supports={"none": 4, "/per/per/peer": 2}),
        "twice": folders[0] / ".." / folders[0].name,
    }
    for name, message in (
        ("relations", "relations has other relations than .*run0: /per/org/fan_of, /per/per/peer stand in one"),
        ("data", "data was scored on other examples than .*run0"),
        ("twice", "run0 is given twice"),
    ):
        with pytest.raises(SystemExit, match=f"error: .*{message}"):
            draw(monkeypatch, *folders, others[name], "--output_dir", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="error: .*File exists"):
        draw(monkeypatch, *folders, "--output_dir", tmp_path / "file")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("all_results.json", None, "run has no all_results.json: .*finished run of train.py"),
        ("config.json", None, "run has no config.json"),
        ("processor_config.json", None, "run has no processor_config.json"),
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
        ("config.json", '{"model_type": "bert"}', "run: config.json has no objective"),
        ("test_per_relation.json", "[]", "run/test_per_relation.json: it holds no relation"),
        ("test_per_relation.json", '[{"relation": "a"}]', "run/test_per_relation.json is no table of scores"),
    ],
)
def test_a_folder_that_lacks_something_is_named(tmp_path, monkeypatch, file, content, message):
    folder = write_run(tmp_path / "run")
    (folder / file).unlink() if content is None else (folder / file).write_text(content)
    with pytest.raises(SystemExit, match=f"error: .*{message}"):
        draw(monkeypatch, folder, "--output_dir", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_split_that_was_not_scored_is_named(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="run: all_results.json has no eval_micro_f1: .*the validation split"):
        draw(monkeypatch, write_run(tmp_path / "run"), "--split", "validation", "--output_dir", tmp_path / "out")

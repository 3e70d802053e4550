# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Many runs by one file: what it is read as, what is refused before the first run, and a real grid that is killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml
from small_runs import ROOT

from training_roc import grid
from training_roc.grid import read_grid, tabulate
from training_roc.run_record import describe_arguments

AXES = [
    {"retrieval": {}, "classification": {"objective": "classification"}},
    {"1%": {"train_fraction": 0.01, "num_train_epochs": 3}, "100%": {}},
]


def write_grid(folder: Path, **changes) -> Path:
    content = {"config": str(ROOT / "configs" / "mnre_text.yaml"), "seeds": [0, 1], "axes": AXES, **changes}
    path = folder / "grid.yaml"
    path.write_text(
        yaml.safe_dump({name: value for name, value in content.items() if value is not None}, sort_keys=False)
    )
    return path


def leave_run(run, micro: float):
    """What a finished run leaves in its folder, of what is read here."""
    run.folder.mkdir(parents=True)
    record = {"arguments": describe_arguments(run.settings), "seeds": run.settings.seeds, "train_samples": 9}
    record |= {"objective": run.settings.model.objective, "processes": 1, "encoder_weights": None}
    record |= {"commit": "0123456789", "local_changes": False, "negative_relation": None}
    results = {"train_samples": 9}
    for prefix in ("eval", "test"):
        results |= {f"{prefix}_samples": 4}
        results |= {f"{prefix}_{name}": micro for name in ("micro_f1", "macro_f1", "macro_f1_present")}
        table = [{"relation": "a", "f1": micro, "support": 4}]
        (run.folder / f"{prefix}_per_relation.json").write_text(json.dumps(table))
    (run.folder / "run.json").write_text(json.dumps(record))
    (run.folder / "all_results.json").write_text(json.dumps(results))


def test_a_grid_is_every_combination(tmp_path):
    runs = read_grid(write_grid(tmp_path, settings={"per_device_train_batch_size": 4}), tmp_path / "out")
    assert [run.folder.name for run in runs] == [
        f"{objective}-{size}-{seed}"
        for objective in ("retrieval", "classification")
        for size in ("1%", "100%")
        for seed in (0, 1)
    ]
    model, data, training = runs[5].settings
    assert (model.objective, data.train_fraction, training.num_train_epochs) == ("classification", 0.01, 3)
    assert (training.seed, training.per_device_train_batch_size, training.do_train) == (1, 4, True)
    assert Path(training.output_dir) == runs[5].folder == tmp_path / "out" / "classification-1%-1"
    assert runs[0].settings.model.learn_negative_threshold and not model.learn_negative_threshold


def test_finished_runs_make_the_table_and_others_do_not_take_their_place(tmp_path):
    path = write_grid(tmp_path, axes=AXES[:1])
    runs = read_grid(path, tmp_path / "out")
    assert not any(run.is_finished() for run in runs)
    for run, micro in zip(runs, (0.25, 0.75, 0.5, 0.5), strict=True):
        leave_run(run, micro)
    assert all(run.is_finished() for run in runs)
    table = tabulate(runs, tmp_path / "out")
    assert (tmp_path / "out" / "runs.md").read_text() == table
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    assert [row[:5] for row in rows] == [
        ["retrieval", "9", "0, 1", "0123456", "0.500 ± 0.354"],
        ["classification", "9", "0, 1", "0123456", "0.500 ± 0.000"],
    ]
    # A run that scored one of two splits has not finished.
    results = json.loads((runs[0].folder / "all_results.json").read_text())
    del results["test_samples"]
    (runs[0].folder / "all_results.json").write_text(json.dumps(results))
    assert [run.is_finished() for run in runs] == [False, True, True, True]
    (other, *_) = read_grid(write_grid(tmp_path, axes=AXES[:1], settings={"warmup_steps": 7}), tmp_path / "out")
    with pytest.raises(ValueError, match=r"retrieval-0 holds a run with other settings .warmup_steps 0.1, not 7"):
        other.is_finished()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"axes": None}, "grid.yaml must hold seeds and axes"),
        ({"sead": 1}, "grid.yaml: unknown are sead"),
        ({"seeds": []}, "seeds must be a list of integers, not"),
        ({"seeds": ["1"]}, "seeds must be a list of integers, not"),
        ({"axes": {"a": {}}}, "axes must be a list of `name: settings`, not"),
        ({"axes": [{"a": 3}]}, "the settings of a must be `name: value`, not 3"),
        ({"axes": [{"a/b": {}}]}, "'a/b' cannot name a folder"),
        ({"axes": [{"a": {"seed": 1}}]}, "a sets seed, which is the grid's"),
        ({"axes": [{"a-b": {}, "a": {}}, {"c": {}, "b-c": {}}]}, "two runs would have the folder .*a-b-c-0"),
        ({"settings": {"learning_rat": 1}}, "retrieval-1%-0: there is no setting '--learning_rat"),
        ({"axes": [{"a": {}, "b": {"train_fraction": 2}}]}, "b-0: train_fraction must be above 0"),
        ({"settings": {"do_eval": False}}, "retrieval-1%-0: --do_eval false contradicts"),
    ],
)
def test_what_cannot_be_run_is_said_before_the_first_run(tmp_path, monkeypatch, changes, message):
    path = write_grid(tmp_path, **changes)
    monkeypatch.setattr(sys, "argv", ["grid", str(path), "--output_dir", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match=f"error: .*{message}"):
        grid.main()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "grids").glob("*.yaml")), ids=lambda path: path.name)
def test_every_grid_is_one(path, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert len(read_grid(path, tmp_path)) > 1


@pytest.mark.slow
def test_a_grid_that_was_killed_goes_on_and_names_what_fails(place, tmp_path):
    axes = [{"good": {}, "bad": {"text_model_name_or_path": str(tmp_path / "absent")}}]
    path = write_grid(tmp_path, config=str(place / "config.yaml"), axes=axes, settings={"num_train_epochs": 4})
    command = [sys.executable, "-m", "training_roc.grid", str(path), "--output_dir", str(tmp_path / "out")]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(place / "hf_home"), "OMP_NUM_THREADS": "1"}
    options = {"cwd": ROOT, "env": environment, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    first = subprocess.Popen(command, **options)
    folder = tmp_path / "out" / "good-0"
    while not list(folder.glob("checkpoint-*/trainer_state.json")):
        assert first.poll() is None, first.communicate()
        time.sleep(0.05)
    (child,) = psutil.Process(first.pid).children()
    first.send_signal(signal.SIGTERM)
    _, said = first.communicate()
    assert "error: terminated; the same command goes on" in said and not child.is_running()
    assert not (folder / "all_results.json").exists()
    second = subprocess.run(command, **options)
    assert second.returncode == 1 and "error: 2 of 4 runs failed: bad-0 (exit status 1, see " in second.stderr
    assert "absent" in second.stderr and "Traceback" not in second.stderr
    logs = [(tmp_path / "out" / f"good-{seed}" / "train.log").read_text() for seed in (0, 1)]
    assert logs[0].count("One answered example") == logs[1].count("One answered example") == 1
    assert json.loads((folder / "trainer_state.json").read_text())["global_step"] == 24
    rows = (tmp_path / "out" / "runs.md").read_text().splitlines()
    assert len(rows) == 3 and rows[2].startswith("| good") and " 0, 1 |" in rows[2]
    shutil.copytree(place / "text", tmp_path / "absent")
    third = subprocess.run(command, **options)
    assert third.returncode == 0 and third.stdout.splitlines()[-1].startswith("| bad")
    assert [line.split(":")[0] for line in third.stdout.splitlines() if " of 4: " in line] == ["3 of 4", "4 of 4"]
    assert [(tmp_path / "out" / f"good-{seed}" / "train.log").read_text() for seed in (0, 1)] == logs

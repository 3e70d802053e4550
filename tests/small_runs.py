# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Runs of train.py that take a second: a small data set, tiny encoders, and a run with them that many tests read.

The fixtures stand in conftest.py; what they leave is made once for all of pytest-xdist's workers.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import datasets
import psutil
import pytest
import torch
import yaml
from filelock import FileLock
from PIL import Image
from safetensors.torch import load_file
from transformers import BertConfig, BertModel, ViTConfig, ViTModel

import train
from data_scripts.converters.convert import write_split
from data_scripts.converters.rows import StoredRows
from data_scripts.demo.dataset import build_demo_tokenizer, demo_image_processor, load_demo, load_demo_descriptions
from data_scripts.descriptions.files import write_descriptions
from processing_roc import RocProcessor

ROOT = Path(__file__).parents[1]
SHAPE = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
LONG = ("--num_train_epochs", "4", "--save_strategy", "steps", "--save_steps", "10", "--eval_strategy", "no")
LONG += ("--load_best_model_at_end", "false", "--do_eval", "false", "--relation_update_steps", "3")
EXAMPLE = {
    "text": "Maya met Noah and the Rovers",
    "head": {"start": 0, "end": 4, "type": "person"},
    "tail": {"start": 18, "end": 28, "type": "organization"},
}


def made_once(tmp_path_factory, name: str, make: Callable[[Path], None]) -> Path:
    """The folder that `make` fills, by the first worker that asks for it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{folder}.lock"):
        if not (done := folder.with_suffix(".done")).exists():
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


def write_rows(rows, names, folder, split):
    """Writes rows, whose relations are numbers (-1: none), as the converters write a split."""
    with tempfile.TemporaryDirectory() as place:
        named = [row | {"relation": names[row["relation"]] if row["relation"] >= 0 else None} for row in rows]
        write_split(StoredRows(named, place), names, folder, split)


def write_demo_folder(folder, **sizes):
    """A small part of the demo set, as the converters write a data set."""
    (folder / "data").mkdir(parents=True)
    for split, rows in load_demo(**sizes).items():
        names, rows = rows.features["relation"].names, rows.to_list()
        for row in rows:
            path = folder.parent / f"{row['image_id']}.png"
            path.write_bytes(row["image"]["bytes"])
            row["image"] = str(path)
        write_rows(rows, names, folder / "data", split)
    write_descriptions(load_demo_descriptions(), folder / "relation_descriptions.json")
    return folder


def write_place(place: Path) -> None:
    write_demo_folder(place / "dataset", num_train=48, num_validation=126, num_test=18)
    tokenizer = build_demo_tokenizer()
    for name, dropout in (("text", 0.0), ("text_with_dropout", 0.1)):
        torch.manual_seed(0)
        dropouts = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
        BertModel(BertConfig(vocab_size=len(tokenizer), **SHAPE, **dropouts)).save_pretrained(place / name)
        tokenizer.save_pretrained(place / name)
    ViTModel(ViTConfig(image_size=64, patch_size=32, **SHAPE)).save_pretrained(place / "vision")
    demo_image_processor().save_pretrained(place / "vision")
    settings = {
        "dataset_name": str(place / "dataset"),
        "text_model_name_or_path": str(place / "text"),
        "vision_model_name_or_path": str(place / "vision"),
        "output_dir": "out",
        "do_train": True,
        "do_eval": True,
        "do_predict": True,
        "num_train_epochs": 1,
        "per_device_train_batch_size": 8,
        "learning_rate": "1e-3",
        "projection_dim": 16,
        "pair_dropout": 0,
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "load_best_model_at_end": True,
        "logging_steps": 1,
        "report_to": ["none"],
        "disable_tqdm": True,
    }
    (place / "config.yaml").write_text(yaml.safe_dump(settings))


def write_renamed_folder(place: Path) -> None:
    """A small part of the demo set with fewer relations, of other names and in other words."""
    folder = place / "dataset"
    (folder / "data").mkdir(parents=True)
    described = load_demo_descriptions()
    for split, rows in load_demo(num_train=32, num_validation=126, num_test=12).items():
        names = rows.features["relation"].names[:5]
        rows = [row for row in rows.to_list() if row["relation"] < 5]
        for row in rows:
            path = folder.parent / f"renamed-{row['image_id']}.png"
            path.write_bytes(row["image"]["bytes"])
            row["image"] = str(path)
        write_rows(rows, [f"new {name}" for name in names], folder / "data", split)
    relations = {
        f"new {name}": {**described["relations"][name], "descriptions": [f"Said anew : {number} times ."]}
        for number, name in enumerate(names)
    }
    negative = f"new {described['negative_relation']}"
    described |= {"relations": relations, "negative_relation": negative if negative in relations else None}
    write_descriptions(described, folder / "relation_descriptions.json")


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A folder with a small data set, tiny encoders with random weights and a configuration of one epoch."""
    return made_once(tmp_path_factory, "place", write_place)


@pytest.fixture(scope="session")
def trained(place, tmp_path_factory):
    """(folder, output) of one run with everything on its defaults, but another learning rate than the file's."""

    def make(folder):
        output = finish(launch(place, folder, "--learning_rate", "2e-3", "--num_train_epochs", "2"))
        (folder / "output.txt").write_text(output)

    folder = made_once(tmp_path_factory, "trained", make)
    return folder / "out", (folder / "output.txt").read_text()


@pytest.fixture(scope="session")
def renamed(tmp_path_factory):
    return made_once(tmp_path_factory, "renamed", write_renamed_folder) / "dataset"


@pytest.fixture
def run(place, tmp_path, monkeypatch):
    """Runs train.py within this process, in a temporary folder, on one thread as `launch` does. To draw its pictures
    takes as long as all the rest: without `pictures=True`, they are blank."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", place / "cache")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def run(*arguments, config=place / "config.yaml", pictures=False):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["train.py", str(config), *map(str, arguments)])
            for name in ("save_confusion_matrix", "save_example_page", "draw_calibration") if not pictures else ():
                patch.setattr(train, name, lambda path, *_: Image.new("L", (1, 1)).save(path))
            train.main()
        return tmp_path

    yield run
    torch.set_num_threads(threads)


def launch(place, cwd, *arguments, num_processes=1):
    """
    Starts `accelerate launch train.py` in `cwd`.

    Several processes are started by torchrun: on a CPU, accelerate's launcher wants MPI for that and otherwise
    starts one process, whatever `--num_processes` says.
    """
    environment = {
        **os.environ,
        "HF_HOME": str(place / "hf_home"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if num_processes == 1:
        launcher = ["accelerate.commands.launch", "--cpu", "--num_processes", "1", "--num_machines", "1"]
        launcher += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    else:
        launcher = ["torch.distributed.run", "--standalone", "--nproc_per_node", str(num_processes)]
        arguments = ("--use_cpu", "true", *arguments)
    return subprocess.Popen(
        [sys.executable, "-m", *launcher, *map(str, [ROOT / "train.py", place / "config.yaml", *arguments])],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process) -> str:
    output, _ = process.communicate()
    assert process.returncode == 0, output[-5000:]
    return output


def kill_after(checkpoint: Path, process):
    """Kills a run, launcher and all, as soon as a checkpoint is complete."""
    while not (checkpoint / "trainer_state.json").exists():
        assert process.poll() is None, process.communicate()[0][-5000:]
        time.sleep(0.005)
    started = psutil.Process(process.pid)
    for member in [started, *started.children(recursive=True)]:
        member.kill()
    process.communicate()
    assert not (checkpoint.parent / "all_results.json").exists()


def read_json(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def read_predictions(out, split="test") -> list[dict]:
    return [json.loads(line) for line in (out / f"{split}_predictions.jsonl").read_text().splitlines()]


def losses(folder) -> list[tuple[float, float]]:
    history = read_json(folder / "trainer_state.json")["log_history"]
    return [(entry["loss"], entry["grad_norm"]) for entry in history if "loss" in entry]


def assert_same_weights(file, other):
    weights, others = load_file(file), load_file(other)
    assert weights.keys() == others.keys()
    different = [name for name, value in weights.items() if not torch.equal(value, others[name])]
    assert different == []


def local_logits(model, folder) -> torch.Tensor:
    """What a model in this process says of the example, with the processor in `folder`."""
    with torch.no_grad():
        return model.eval()(**RocProcessor.from_pretrained(folder)(**EXAMPLE, return_tensors="pt")).logits

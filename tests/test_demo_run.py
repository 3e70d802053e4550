# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What `make demo` promises, run as it stands; then the README's own snippets on the checkpoint it leaves."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from data_scripts.demo import load_demo
from data_scripts.schema import pair_kind
from metrics.relation_f1.relation_f1 import compute_relation_f1
from modeling_roc import RocModel
from processing_roc import RocProcessor

ROOT = Path(__file__).parent.parent
# The project is installed in .venv for development; a user of a checkpoint has only packages.
WITHOUT_PROJECT = """
import importlib.util, sys
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in str(finder).lower()]
sys.path = [path for path in sys.path if path not in ("", sys.argv[1])]
assert importlib.util.find_spec("modeling_roc") is None
"""

pytestmark = pytest.mark.slow


def train(folder: Path, *arguments: str, cwd: Path | None = None) -> dict:
    cwd = cwd or folder.parent
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "1", str(ROOT / "train.py")]
    subprocess.run([*command, "--output_dir", str(folder), *arguments], check=True, cwd=cwd)
    return json.loads((cwd / folder / "all_results.json").read_text())


@pytest.fixture(scope="module")
def demo_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "outputs" / "demo"
    folder.parent.mkdir()
    return folder, train(folder)


KINDS = ("text_text", "text_object", "object_object")


def test_the_demo_is_learnt(demo_run):
    folder, results = demo_run
    assert results["test_micro_f1"] >= 0.95
    for kind in KINDS:
        assert results[f"test_{kind}_micro_f1"] >= 0.95, kind
    assert Image.open(folder / "test_examples.png").width > 1000


def test_the_text_alone_does_not_decide(tmp_path):
    results = train(tmp_path / "text", "--use_images", "false")
    assert results["test_micro_f1"] <= 0.60
    assert results["test_text_object_micro_f1"] < 0.5


def text_object_f1(folder: Path, rows, shift: int) -> float:
    """Micro-F1 of pairs of a mention and an object, each tail exchanged with the `shift`-th next object."""
    model, processor = RocModel.from_pretrained(folder).eval(), RocProcessor.from_pretrained(folder)
    rows = rows.filter(lambda row: pair_kind(row) == "text_object")
    predictions = []
    for batch in rows.iter(batch_size=64):
        for tail, objects in zip(batch["tail"], batch["objects"], strict=True):
            place = [one["name"] for one in objects].index(tail["name"])
            tail.update({name: objects[(place + shift) % len(objects)][name] for name in ("name", "box")})
        inputs = processor(
            text=batch["tokens"],
            head=batch["head"],
            tail=batch["tail"],
            objects=batch["objects"],
            images=batch["image"],
            return_tensors="pt",
        )
        with torch.no_grad():
            predictions += model(**inputs).logits.argmax(dim=-1).tolist()
    scores = compute_relation_f1(predictions, rows["relation"][:], num_labels=9, negative_label=0)
    return scores["micro_f1"]


def test_the_box_decides(demo_run):
    folder, results = demo_run
    rows = load_demo(num_train=1, num_validation=1)["test"]
    assert text_object_f1(folder, rows, shift=0) == pytest.approx(results["test_text_object_micro_f1"])
    for shift in (1, 2, 3):
        assert text_object_f1(folder, rows, shift) < 0.5


def test_the_readmes_snippets_run(demo_run):
    folder, _ = demo_run
    settings = ("--use_lora", "--model_name_or_path", "outputs/demo", "--num_train_epochs", "2")
    train(Path("outputs/demo-adapter"), *settings, cwd=folder.parent.parent)
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    code = "\n".join([WITHOUT_PROJECT, *snippets])
    command = [sys.executable, "-c", code, str(ROOT)]
    result = subprocess.run(command, cwd=folder.parent.parent, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "/per/org/fan_of" in result.stdout
    assert "'label': '/per/per/couple'" in result.stdout  # the pipeline, of the heart
    assert result.stdout.count("} [{'label'") == 6  # every ordered pair of three entities
    assert "'label': 'friends'" in result.stdout


def test_the_cards_snippets_run(demo_run):
    folder, _ = demo_run
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert 'model_id = "outputs/demo"' in card or f'model_id = "{folder}"' in card
    snippets = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    command = [sys.executable, "-c", "\n".join([WITHOUT_PROJECT, *snippets]), str(ROOT)]
    result = subprocess.run(command, cwd=folder.parent.parent, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "friends" in result.stdout
    assert (folder.parent / "demo-with-fans" / "config.json").exists()

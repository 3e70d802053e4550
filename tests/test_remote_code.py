# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""A saved folder is all that a user needs: the Auto classes open it where the project is not installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from processing_roc import RocProcessor

MODEL_FILES = {
    f"{name}_roc.py" for name in ("configuration", "modeling", "relation_memory", "search", "explanation", "peft")
}
PROCESSOR_FILES = {f"{name}_roc.py" for name in ("processing", "pipeline", "spans_and_boxes")}
EXAMPLE = {
    "text": "Maya met Noah and the Rovers",
    "head": {"start": 0, "end": 4, "type": "person"},
    "tail": {"start": 18, "end": 28, "type": "organization"},
}
NEW_RELATION = "/per/misc/awarded"

# The reader's side. The editable install of this project is taken away first.
WITHOUT_PROJECT = """
import importlib.util, json, sys

PACKAGES = ("modeling_roc", "processing_roc", "training_roc", "evaluation_roc", "data_scripts", "train")
sys.meta_path[:] = [finder for finder in sys.meta_path if not str(finder).startswith("<class '__editable__")]
sys.path_hooks[:] = [hook for hook in sys.path_hooks if "__editable__" not in repr(hook)]
sys.path[:] = [entry for entry in sys.path if "__editable__" not in entry]
sys.path_importer_cache.clear()
assert all(importlib.util.find_spec(name) is None for name in PACKAGES)
"""
READER = """
import torch
from transformers import AutoConfig, AutoModel, AutoProcessor, pipeline

for folder in sys.argv[1:]:
    again = folder + "/again"
    example = json.load(open(folder + "/example.json"))
    config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
    model, info = AutoModel.from_pretrained(folder, trust_remote_code=True, output_loading_info=True)
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    assert type(processor).__name__ == "RocProcessor" and config.model_type == "roc"
    model.eval()

    def answer():
        with torch.no_grad():
            return model(**processor(**example, return_tensors="pt")).logits

    given = {{"images": "image"}.get(name, name): value for name, value in example.items()}
    extractor = pipeline("relation-extraction", model=folder, trust_remote_code=True)
    loaded = pipeline("relation-extraction", model=model, processor=processor)
    extractor.save_pretrained(folder + "/pipeline")
    saved = pipeline(model=folder + "/pipeline", trust_remote_code=True)
    assert extractor(given) == loaded(given) == saved(given)
    report = {"pipeline": extractor(given, top_k=None)}
    report |= {"info": {name: sorted(map(str, keys)) for name, keys in info.items()}, "logits": answer().tolist()}
    if config.objective == "retrieval":
        model.add_relation("/per/misc/awarded", "The head won the tail.", processor)
        report["new_logits"] = answer().tolist()
        model.save_pretrained(again)
        processor.save_pretrained(again)
        model, info = AutoModel.from_pretrained(again, trust_remote_code=True, output_loading_info=True)
        processor = AutoProcessor.from_pretrained(again, trust_remote_code=True)
        model.eval()
        report["info_again"] = {name: sorted(map(str, keys)) for name, keys in info.items()}
        report["logits_again"] = answer().tolist()
        report["labels_again"] = list(model.config.id2label.values())
    json.dump(report, open(folder + "/report.json", "w"))
assert not any(name in sys.modules for name in PACKAGES)
"""


def read_elsewhere(tmp_path, *folders) -> list[dict]:
    """What a fresh Python, outside the repository and with an empty cache, makes of each folder, and leaves in its
    `again`."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "HF_HOME": str(elsewhere / "hf_home"),
        "HF_MODULES_CACHE": str(elsewhere / "modules"),
        "HF_HUB_OFFLINE": "1",
    }
    process = subprocess.run(
        [sys.executable, "-c", WITHOUT_PROJECT + READER, *map(str, folders)],
        cwd=elsewhere,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-5000:]
    return [json.loads((folder / "report.json").read_text()) for folder in folders]


@pytest.mark.parametrize(
    "cases",
    [
        [({"own_relation_encoder": True, "learn_negative_threshold": True}, True), ({}, False)],
        pytest.param([({}, True), ({"objective": "classification"}, True)], marks=pytest.mark.slow),
    ],
)
def test_a_saved_folder_works_without_the_project(make_model, processor, tmp_path, cases):
    Image.effect_mandelbrot((90, 60), (-2, -1, 1, 1), 50).convert("RGB").save(tmp_path / "picture.png")
    saved = []
    for settings, with_vision in cases:
        folder = tmp_path / f"saved{len(saved)}"
        model = make_model(with_vision=with_vision, **settings)
        own = processor if with_vision else RocProcessor(None, processor.tokenizer, max_length=64)
        model.save_pretrained(folder)
        own.save_pretrained(folder)
        assert {path.name for path in folder.glob("*.py")} == MODEL_FILES | PROCESSOR_FILES
        example = {**EXAMPLE, "images": str(tmp_path / "picture.png")} if with_vision else EXAMPLE
        (folder / "example.json").write_text(json.dumps(example))
        saved.append((folder, model, own, example))
    reports = read_elsewhere(tmp_path, *(folder for folder, *_ in saved))
    for report, case in zip(reports, saved, strict=True):
        assert_read_as_saved(report, *case)


def assert_read_as_saved(report, folder, model, processor, example):
    def answer():
        with torch.no_grad():
            return model(**processor(**example, return_tensors="pt")).logits

    assert not any(report["info"].values()), report["info"]
    assert torch.allclose(torch.tensor(report["logits"]), answer(), atol=1e-6)
    probabilities = dict(zip(model.config.id2label.values(), answer().softmax(dim=-1)[0].tolist(), strict=True))
    assert {found["label"]: found["score"] for found in report["pipeline"]} == pytest.approx(probabilities, abs=1e-6)
    assert {path.name for path in (folder / "pipeline").glob("*.py")} == MODEL_FILES | PROCESSOR_FILES
    if model.config.objective == "retrieval":
        model.add_relation(NEW_RELATION, "The head won the tail.", processor)
        assert report["labels_again"] == list(model.config.id2label.values())
        assert report["labels_again"][-1] == NEW_RELATION
        assert not any(report["info_again"].values()), report["info_again"]
        # Weights that are mapped from a file lie elsewhere in memory, which moves the last bit of a product.
        assert torch.allclose(torch.tensor(report["logits_again"]), torch.tensor(report["new_logits"]), atol=1e-6)
        assert torch.allclose(torch.tensor(report["logits_again"]), answer(), atol=1e-6)
        assert {path.name for path in (folder / "again").glob("*.py")} == MODEL_FILES | PROCESSOR_FILES


def test_what_is_copied_is_what_stands_in_the_project(make_model, processor, tmp_path):
    make_model().save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    root = Path(__file__).parents[1]
    for folder, names in (("modeling_roc", MODEL_FILES), ("processing_roc", PROCESSOR_FILES)):
        for name in names:
            assert (tmp_path / name).read_bytes() == (root / folder / name).read_bytes(), name
    for name in ("config.json", "processor_config.json"):
        assert "auto_map" in json.loads((tmp_path / name).read_text()), name

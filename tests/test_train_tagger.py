# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The entity tagger that is trained from CoNLL files: what is read, how it is scored, and what a converter has."""

import json
import subprocess
import sys

import pytest
from transformers import BertConfig, BertModel, BertTokenizer

from data_scripts.converters.entity_typing import load_tagger, type_rows
from data_scripts.converters.rows import StoredRows
from data_scripts.reading import DataError
from data_scripts.schema import text_entity
from data_scripts.train_tagger import read_conll, score_entities

MENTIONS = ["ana/B-PER roy/I-PER", "ana/B-PER", "oslo/B-LOC", "acme/B-ORG", "owls/B-OTHER"]
LONG = "in/O in/O in/O in/O in/O in/O in/O ana/B-PER roy/I-PER"
"""More than the tiny encoder reads at once, which is six word pieces."""
TEXTS = [f"{one} in/O {other}" for one in MENTIONS for other in MENTIONS] + [LONG]


def write_conll(path, texts):
    path.write_text("\n".join(text.replace("/", "\t").replace(" ", "\n") + "\n" for text in texts), encoding="utf-8")
    return path


def run(*arguments, **files):
    flags = [part for name, path in files.items() for part in (f"--{name}_file", str(path))]
    command = [sys.executable, "-m", "data_scripts.train_tagger", *map(str, arguments), *flags]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def encoder(tmp_path):
    words = "[PAD] [UNK] [CLS] [SEP] [MASK] ana roy in oslo acme owls".split()
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=8,
    )
    BertModel(config).save_pretrained(tmp_path / "encoder")
    vocab = {word: number for number, word in enumerate(words)}
    BertTokenizer(vocab=vocab, model_max_length=8).save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


def test_files_in_the_forms_that_are_about_are_read_alike(tmp_path):
    expected = [
        {"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"]},
        {"tokens": ["New York", "#ok"], "tags": ["B-LOC", "O"]},
    ]
    forms = {
        "tweets": "\ufeffIMGID:7\nEU\tB-ORG\nrejects\tO\n\nIMGID:8\nNew York\tB-LOC\n#ok\tO",
        "news": "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects  VBZ B-VP O\n\n\n",
        "windows": "EU B-ORG\r\nrejects O\r\n\r\nNew York\tB-LOC\r\n#ok\tO\r\n",
    }
    for form, content in forms.items():
        path = tmp_path / form
        path.write_bytes(content.encode("utf-8"))
        assert read_conll(path) == (expected[:1] if form == "news" else expected), form


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("EU B-ORG\nrejects\n", r"line 2: a token and its tag are expected, .*, not 'rejects\\n'"),
        ("EU B-ORG\n\tO\n", r"line 2: a token and its tag are expected, .*, not '\\tO\\n'"),
        ("EU B-ORG\n\nrejects B-VERB\n", "line 3: tag 'B-VERB': .*label 'VERB' has no type word; known are PER, "),
        ("EU B-\n", "line 1: tag 'B-': "),
        ("EU\t\n", "line 1: tag '': "),
        ("IMGID:7\n\n", ": there is no text in it"),
        (b"EU O\n\xff O\n", r"line 2: not UTF-8"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path, content, message):
    path = tmp_path / "train.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    with pytest.raises(DataError, match=rf"train\.txt,? ?{message}"):
        read_conll(path)


def test_entities_count_where_both_their_tokens_and_their_type_are_right():
    gold = [[(0, 2, "person"), (3, 4, "location")], [(0, 1, "location")], []]
    found = [[(0, 2, "person"), (3, 5, "location")], [(0, 1, "organization")], [(0, 2, "person")]]
    # Right is one of four found and of three to be found; of persons, one of two and the only one.
    assert score_entities(gold, found) == {
        "precision": 1 / 4,
        "recall": 1 / 3,
        "f1": 2 / 7,
        "f1_location": 0,
        "f1_organization": 0,
        "f1_person": 2 / 3,
    }
    assert score_entities([[]], [[]]) == {"precision": 0, "recall": 0, "f1": 0}


def test_a_trained_tagger_types_a_converters_rows(tmp_path, encoder):
    train = write_conll(tmp_path / "train.txt", TEXTS)
    # Found will be what train teaches: of four entities, the one that is tagged otherwise here is wrong.
    test = write_conll(tmp_path / "test.txt", ["ana/B-PER in/O oslo/B-ORG", LONG, "acme/B-ORG"])
    result = run(
        "--model_name_or_path", encoder, "--output_dir", tmp_path / "tagger", "--num_train_epochs", 15,
        "--learning_rate", 0.01, "--use_cpu", "true", "--seed", 0,
        train=train, validation=train, test=test,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    scores = json.loads((tmp_path / "tagger" / "test_results.json").read_text())
    assert scores["f1"] == scores["precision"] == scores["recall"] == 3 / 4 and scores["f1_person"] == 1
    assert json.loads((tmp_path / "tagger" / "validation_results.json").read_text())["f1"] == 1
    rows = [
        {"tokens": text.split(), "head": text_entity(head, start, start + 1), "tail": text_entity("oslo", 0, 1)}
        for text, head, start in [("oslo in @owls", "@owls", 2), ("oslo in in in in in in in in ana", "ana", 9)]
    ]
    tag = load_tagger(f"hf:{tmp_path / 'tagger'}")
    rows = [*type_rows(StoredRows(rows, tmp_path), tag, "train", num_proc=None)]
    assert [row["head"]["type"] for row in rows] == ["miscellaneous", "person"]
    assert {row["tail"]["type"] for row in rows} == {"location"}


def test_what_is_wrong_is_told_before_training_in_one_line(tmp_path, encoder):
    good, broken = write_conll(tmp_path / "good.txt", TEXTS), write_conll(tmp_path / "broken.txt", ["ana/B-PET"])
    common = ("--model_name_or_path", encoder, "--output_dir", tmp_path / "tagger")
    result = run(*common, train=good, validation=good, test=broken)
    assert result.returncode == 1 and result.stderr.startswith(f"error: {broken}, line 1: tag 'B-PET': ")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "tagger").exists()


@pytest.mark.slow
def test_a_setting_that_does_not_exist_is_told_before_training(tmp_path, encoder):
    train = write_conll(tmp_path / "train.txt", TEXTS)
    common = ("--model_name_or_path", encoder, "--output_dir", tmp_path / "tagger")
    result = run(*common, "--learning_rat", 1, train=train, validation=train)
    assert (
        result.returncode == 1 and result.stderr.startswith("error: ") and "['--learning_rat', '1']" in result.stderr
    )
    result = run("--model_name_or_path", tmp_path / "no", *common[2:], train=train, validation=train)
    assert result.returncode == 1 and result.stderr.splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "tagger").exists()

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Quality numbers of a description set: by hand, against the definition, and through both commands."""

import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from transformers import BertConfig, BertModel

from data_scripts.demo.dataset import build_demo_tokenizer, load_demo_descriptions
from data_scripts.descriptions import quality as relation_quality
from data_scripts.descriptions.files import write_descriptions
from evaluation_roc.separability import (
    confusable_pairs,
    format_separability,
    relation_similarities,
    separability_table,
)

NAMES = ["a", "b", "c"]
# a: two descriptions at 60 degrees; b: one at 30 degrees, between them; c: one at 90 degrees to a's first.
EMBEDS = np.array([[2.0, 0.0], [0.5, 0.75**0.5], [0.75**0.5, 0.5], [0.0, 3.0]])
OWNERS = [0, 0, 1, 2]


def test_three_relations_worked_out_by_hand():
    similarities = relation_similarities(EMBEDS, OWNERS, 3)
    cos30, cos60 = 0.75**0.5, 0.5
    expected = [[cos60, cos30, cos30 / 2], [cos30, 1, cos60], [cos30 / 2, cos60, 1]]
    np.testing.assert_allclose(similarities, expected, atol=1e-12)
    table = separability_table(similarities, NAMES)
    assert [(row["relation"], row["nearest"]) for row in table] == [("a", "b"), ("b", "a"), ("c", "b")]
    np.testing.assert_allclose([row["margin"] for row in table], [cos60 - cos30, 1 - cos30, 1 - cos60])
    pairs = confusable_pairs(similarities, NAMES, num_pairs=2)
    assert [pair["relations"] for pair in pairs] == [["a", "b"], ["a", "c"]]
    np.testing.assert_allclose([pair["margin"] for pair in pairs], [cos60 - cos30, cos60 - cos30 / 2])
    text = format_separability(table, pairs)
    assert "| a | 0.500 | b | 0.866 | -0.366 |" in text
    assert "below 0: 1 of 3" in text and "| a | c | 0.433 | 0.067 |" in text


@given(st.data(), st.lists(st.integers(1, 4), min_size=2, max_size=4))
def test_similarities_are_the_mean_over_all_pairs(data, counts):
    numbers = st.floats(-1, 1).filter(lambda number: abs(number) > 1e-3)
    embeds = data.draw(arrays(float, (sum(counts), 3), elements=numbers))
    owners = [index for index, count in enumerate(counts) for _ in range(count)]
    similarities = relation_similarities(embeds, owners, len(counts))
    unit = embeds / np.linalg.norm(embeds, axis=1, keepdims=True)
    of = [unit[[owner == index for owner in owners]] for index in range(len(counts))]
    for (i, one), (j, other) in itertools.product(enumerate(of), repeat=2):
        pairs = itertools.combinations(one, 2) if i == j else itertools.product(one, other)
        cosines = [x @ y for x, y in pairs] or [1.0]
        assert similarities[i, j] == pytest.approx(np.mean(cosines), abs=1e-9)


@pytest.mark.parametrize(
    ("embeds", "owners", "message"),
    [
        (EMBEDS, OWNERS[:3], "have the shape"),
        (EMBEDS, [0, 0, 1, 1], "must have a description"),
        (EMBEDS, [0, 1, 2, 3], "must have a description"),
        (EMBEDS * [[1.0], [1.0], [1.0], [0.0]], OWNERS, "zero or not finite"),
    ],
)
def test_what_has_no_similarities_is_refused(embeds, owners, message):
    with pytest.raises(ValueError, match=message):
        relation_similarities(embeds, owners, 3)


def run(module, monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["command", *map(str, arguments)])
    module.main()


def test_a_roc_checkpoint_gives_the_space_of_its_memory(tmp_path, make_model, processor, monkeypatch, capsys):
    content = load_demo_descriptions()
    relations = {label: entry["descriptions"] for label, entry in content["relations"].items()}
    model = make_model(relations)
    model.save_pretrained(tmp_path / "roc")
    processor.save_pretrained(tmp_path / "roc")
    write_descriptions(content, tmp_path / "relations.json")
    command = ["--relations", tmp_path / "relations.json", "--model_name_or_path", tmp_path / "roc"]
    run(relation_quality, monkeypatch, *command, "--output_dir", tmp_path / "out", "--num_pairs", 3)
    written = json.loads((tmp_path / "out" / "relation_quality.json").read_text())
    owners = [index for index, texts in enumerate(relations.values()) for _ in texts]
    expected = relation_similarities(model.memory.embeds.numpy(), owners, len(relations))
    assert [row["relation"] for row in written["relations"]] == list(relations)
    np.testing.assert_allclose([row["own"] for row in written["relations"]], expected.diagonal(), atol=1e-5)
    assert len(written["confusable_pairs"]) == 3
    assert f"| {written['confusable_pairs'][0]['relations'][0]} |" in capsys.readouterr().out
    with Image.open(tmp_path / "out" / "relation_quality.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 400


def test_a_text_encoder_gives_mean_token_vectors(tmp_path):
    tokenizer = build_demo_tokenizer()
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    encoder = BertModel(BertConfig(vocab_size=len(tokenizer), **shape)).eval()
    encoder.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    texts = ["The head leads the tail.", "head", "The tail is a group and the head is in it."]
    embeds = relation_quality.encode_descriptions(str(tmp_path), texts, batch_size=2)
    with torch.no_grad():
        alone = [encoder(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(dim=0) for text in texts]
    np.testing.assert_allclose(embeds, torch.stack(alone).numpy(), atol=1e-5)


def test_broken_input_ends_with_a_message(tmp_path, make_model, processor, monkeypatch, capsys):
    make_model(objective="classification").save_pretrained(tmp_path)
    write_descriptions(load_demo_descriptions(), tmp_path / "relations.json")
    command = ["--relations", tmp_path / "relations.json", "--model_name_or_path", tmp_path]
    with pytest.raises(SystemExit, match="it encodes no descriptions"):
        run(relation_quality, monkeypatch, *command)
    with pytest.raises(SystemExit, match="error: .*File exists"):
        run(relation_quality, monkeypatch, *command, "--output_dir", tmp_path / "relations.json")
    with pytest.raises(SystemExit):
        run(relation_quality, monkeypatch, *command, "--num_pairs", -1)
    assert "--num_pairs cannot be negative" in capsys.readouterr().err
    (tmp_path / "relations.json").write_text("{}")
    with pytest.raises(SystemExit, match="relations.json: 'relations' must be an object with at least one relation"):
        run(relation_quality, monkeypatch, *command)
    (tmp_path / "relations.json").write_text('{"a": "One text.", "b": 2}')
    with pytest.raises(SystemExit, match="relations.json: relation 'b': a description or a list of them is expected"):
        run(relation_quality, monkeypatch, *command)

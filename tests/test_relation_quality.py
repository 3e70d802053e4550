# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Quality numbers of a description set: by hand, against the definition, and through the command."""

import itertools
import json
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from transformers import BertConfig, BertModel

from data_scripts.demo.dataset import build_demo_tokenizer, load_demo_descriptions
from data_scripts.descriptions import quality as relation_quality
from data_scripts.descriptions.files import write_descriptions
from data_scripts.reading import DataError

NAMES = ["a", "b", "c"]
# a: two descriptions at 60 degrees; b: one at 30 degrees, between them; c: one at 90 degrees to a's first.
EMBEDS = np.array([[1.0, 0.0], [0.5, 0.75**0.5], [0.75**0.5, 0.5], [0.0, 1.0]])
OWNERS = np.array([0, 0, 1, 2])


def test_three_relations_worked_out_by_hand():
    similarities = relation_quality.relation_similarities(EMBEDS, OWNERS)
    cos30, cos60 = 0.75**0.5, 0.5
    expected = [[cos60, cos30, cos30 / 2], [cos30, 1, cos60], [cos30 / 2, cos60, 1]]
    np.testing.assert_allclose(similarities, expected, atol=1e-12)
    table = relation_quality.compare_relations(similarities, NAMES)
    assert [(row["relation"], row["nearest"]) for row in table] == [("a", "b"), ("b", "a"), ("c", "b")]
    np.testing.assert_allclose([row["margin"] for row in table], [cos60 - cos30, 1 - cos30, 1 - cos60])
    closest = relation_quality.closest_descriptions(EMBEDS, OWNERS, 4)
    assert [pair[1:] for pair in closest] == [(0, 2), (1, 2), (1, 3), (2, 3)]
    np.testing.assert_allclose([pair[0] for pair in closest], [cos30, cos30, cos30, cos60])
    text = relation_quality.format_table(table)
    assert "| a | 0.500 | b | 0.866 | -0.366 |" in text and "below 0: 1 of 3" in text
    with pytest.raises(DataError, match="two relations at least"):
        relation_quality.compare_relations(similarities[:1, :1], NAMES[:1])


@given(st.data(), st.lists(st.integers(1, 4), min_size=2, max_size=4))
def test_similarities_are_the_mean_over_all_pairs(data, counts):
    numbers = st.floats(-1, 1).filter(lambda number: abs(number) > 1e-3)
    embeds = data.draw(arrays(float, (sum(counts), 3), elements=numbers))
    owners = np.repeat(range(len(counts)), counts)
    unit = embeds / np.linalg.norm(embeds, axis=1, keepdims=True)
    similarities = relation_quality.relation_similarities(unit, owners)
    of = [unit[owners == index] for index in range(len(counts))]
    for (i, one), (j, other) in itertools.product(enumerate(of), repeat=2):
        pairs = itertools.combinations(one, 2) if i == j else itertools.product(one, other)
        cosines = [x @ y for x, y in pairs] or [1.0]
        assert similarities[i, j] == pytest.approx(np.mean(cosines), abs=1e-9)


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
    scores = [{"relation": label, "f1": 0.5 + number / 100} for number, label in enumerate(list(relations)[1:])]
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    command += ["--output_dir", tmp_path / "out", "--num_pairs", 3, "--per_relation", tmp_path / "scores.json"]
    run(relation_quality, monkeypatch, *command)
    written = json.loads((tmp_path / "out" / "relation_quality.json").read_text())
    owners = np.repeat(range(len(relations)), [len(texts) for texts in relations.values()])
    expected = relation_quality.relation_similarities(model.memory.embeds.numpy(), owners).diagonal()
    expected = dict(zip(relations, expected, strict=True))
    assert {row["relation"]: row["own"] for row in written["relations"]} == pytest.approx(expected, abs=1e-5)
    margins, f1 = zip(*((row["margin"], row["f1"]) for row in written["relations"] if "f1" in row), strict=True)
    assert list(margins) == sorted(margins) and len(f1) == len(relations) - 1
    printed = capsys.readouterr().out
    correlation = np.corrcoef(range(len(f1)), np.argsort(np.argsort(f1)))[0, 1]
    assert f"Rank correlation of margin and F1: {correlation:.2f}, over {len(f1)} relations." in printed
    assert len(written["closest_descriptions"]) == 3
    for pair in written["closest_descriptions"]:
        assert all(text in relations[name] for name, text in zip(pair["relations"], pair["descriptions"], strict=True))
        assert f"{pair['relations'][0]}: {pair['descriptions'][0]}" in printed


def test_a_text_encoder_gives_mean_token_vectors(tmp_path, caplog):
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
    expected = torch.nn.functional.normalize(torch.stack(alone))
    np.testing.assert_allclose(embeds, expected.numpy(), atol=1e-5)
    assert not caplog.text
    relation_quality.encode_descriptions(str(tmp_path), [*texts, "head " * 520])
    assert re.search(
        r"1 descriptions are longer than the 128 tokens that .* are cut, the longest by \d+: 'head", caplog.text
    )
    with torch.no_grad():
        encoder.encoder.layer[-1].output.LayerNorm.weight.fill_(float("nan"))
    encoder.save_pretrained(tmp_path)
    with pytest.raises(DataError, match="zero or not finite"):
        relation_quality.encode_descriptions(str(tmp_path), texts)


def test_broken_input_ends_with_a_message(tmp_path, make_model, processor, monkeypatch, capsys):
    make_model(objective="classification").save_pretrained(tmp_path)
    write_descriptions(load_demo_descriptions(), tmp_path / "relations.json")
    command = ["--relations", tmp_path / "relations.json", "--model_name_or_path", tmp_path]
    with pytest.raises(SystemExit, match="it encodes no descriptions"):
        run(relation_quality, monkeypatch, *command)
    with pytest.raises(SystemExit, match="error: .*File exists"):
        run(relation_quality, monkeypatch, *command, "--output_dir", tmp_path / "relations.json")
    (tmp_path / "scores.json").write_text('{"relation": 1}')
    with pytest.raises(SystemExit, match="scores.json is no table of scores by relation"):
        run(relation_quality, monkeypatch, *command, "--per_relation", tmp_path / "scores.json")
    with pytest.raises(SystemExit, match="'/none/there' cannot be the name of a repository"):
        run(relation_quality, monkeypatch, *command[:3], "/none/there")
    with pytest.raises(SystemExit, match="^error: .*none.json is missing"):
        run(relation_quality, monkeypatch, "--relations", tmp_path / "none.json", *command[2:])
    with pytest.raises(SystemExit):
        run(relation_quality, monkeypatch, *command, "--num_pairs", -1)
    assert "--num_pairs cannot be negative" in capsys.readouterr().err
    (tmp_path / "relations.json").write_text("{}")
    with pytest.raises(SystemExit, match="relations.json: 'relations' must be an object with at least one relation"):
        run(relation_quality, monkeypatch, *command)
    (tmp_path / "relations.json").write_text('{"a": "One text.", "b": 2}')
    with pytest.raises(SystemExit, match="relations.json: relation 'b': a description or a list of them is expected"):
        run(relation_quality, monkeypatch, *command)

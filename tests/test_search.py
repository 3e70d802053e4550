# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Searching a large memory: the same answers as scoring everything, by types, by an index; and at size."""

import builtins
import copy
import json
import pickle
import re

import pytest
import torch

from modeling_roc import RocConfig, RocModel, search_roc
from modeling_roc.search_roc import types_from_labels

PICTURES = ("pixel_values", "image_index")
TYPES = [("person", "organization"), ("Person", "person"), (None, "location"), ("unknown", "unknown")]


def many_relations(count, descriptions_each=1):
    return {
        f"relation {i}": [f"Head and tail share thing {i} of kind {j}." for j in range(1 + i % descriptions_each)]
        for i in range(count)
    }


def brute_force(model, batch, mask=None):
    """(scores, order, probabilities) of all relations, best first."""
    with torch.no_grad():
        logits = model(**{**batch, "labels": None}).logits
    if mask is not None:
        logits = logits.masked_fill(~mask, float("-inf"))
    scores, order = logits.sort(dim=-1, descending=True, stable=True)
    return scores, order, scores.softmax(dim=-1)


def assert_found(hits, expected, k):
    scores, order, probabilities = (values[:, :k] for values in expected)
    assert hits.scores.shape == hits.indices.shape == scores.shape
    assert torch.allclose(hits.scores, scores, atol=1e-4)
    assert torch.equal(hits.indices, order.masked_fill(scores == float("-inf"), -1))
    if hits.probabilities is not None:
        assert torch.allclose(hits.probabilities, probabilities, atol=1e-5)


@pytest.mark.parametrize("aggregation", ["max", "mean"])
@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("block", [2**24, 400])
def test_search_is_what_scoring_everything_gives(
    make_model, batch, processor, monkeypatch, aggregation, learned, block
):
    monkeypatch.setattr(search_roc, "BLOCK_SIZE", block)
    model = make_model(relation_aggregation=aggregation, learn_negative_threshold=learned)
    relations = {**many_relations(70, descriptions_each=3), "none": "Nothing.", **{"last": "The very last one."}}
    model.set_relations(relations, processor, "none")
    model.set_relation_offsets({"relation 5": 3.0, "last": -1.0})
    expected = brute_force(model, batch)
    for k in (1, 10, 72, 100):
        assert_found(model.search(k=k, **batch), expected, k)
    assert torch.allclose(model.search(k=72, **batch).probabilities.sum(dim=-1), torch.ones(4), atol=1e-5)
    model.config.calibration_temperature = 2.5
    scores, order, _ = expected
    assert_found(model.search(k=10, **batch), (scores, order, (scores / 2.5).softmax(dim=-1)), 10)


@pytest.mark.parametrize("index", [None, "faiss"])
@pytest.mark.parametrize("learned", [False, True])
def test_only_relations_of_fitting_types_are_searched(make_model, batch, processor, index, learned):
    if index:
        pytest.importorskip("faiss")
    model = make_model(learn_negative_threshold=learned)
    labels = [f"/{head}/{tail}/r{i}" for head in ("per", "org") for tail in ("per", "org", "loc") for i in range(5)]
    relations = {label: f"This is about {label.replace('/', ' ')}." for label in labels}
    model.set_relations({"none": "Nothing.", **relations, "any": "Whatever."}, processor, "none")
    model.set_relation_types(types_from_labels(model.config.label2id))
    mask = model.type_mask(TYPES)
    names = list(model.config.label2id)
    allowed = [{name for name, fits in zip(names, row, strict=True) if fits} for row in mask.tolist()]
    assert allowed[0] == {"none", "any", *(f"/per/org/r{i}" for i in range(5))}
    assert allowed[1] == {"none", "any", *(f"/per/per/r{i}" for i in range(5))}
    assert allowed[2] == {"none", "any", *(f"/{head}/loc/r{i}" for head in ("per", "org") for i in range(5))}
    assert allowed[3] == set(names)
    expected = brute_force(model, batch, mask)
    for k in (1, 4, 12, 32):
        assert_found(model.search(k=k, types=TYPES, index=index, **batch), expected, k)


def test_types_that_fit_no_relation(make_model, batch, processor):
    model = make_model()
    model.set_relations({"a": "Head likes tail.", "b": "Head is tail."}, processor)
    model.set_relation_types({"a": ["person", ["location", "organization"]], "b": ["animal", None]})
    hits = model.search(k=2, types=[("person", "dog"), ("person", "location"), ("animal", "x"), (None, None)], **batch)
    assert hits.indices[0].tolist() == [-1, -1] and hits.probabilities[0].tolist() == [0, 0]
    assert hits.indices[1].tolist() == [0, -1] and hits.probabilities[1].tolist() == [1, 0]
    assert hits.indices[2].tolist() == [1, -1] and -1 not in hits.indices[3]


def test_types_are_kept_and_wrong_ones_refused(make_model, tmp_path):
    model = make_model()
    model.set_relation_types({"/per/per/peer": ["Person", "person"]})
    model.save_pretrained(tmp_path)
    assert RocModel.from_pretrained(tmp_path).config.relation_types == {"/per/per/peer": [["person"], ["person"]]}
    model.set_relation_types(None)
    assert model.type_mask([("dog", "dog")]).all()
    for types, message in [
        ({"x": ["person", "person"]}, "'x', which is not among"),
        ({"none": ["person"]}, "'none' needs"),
        ({"none": ["person", []]}, "'none': a type"),
        ({"none": ["person", 3]}, "'none': a type"),
        ({"none": "person"}, "'none' needs .* got 'person'"),
        ({"none": [[["person"], ["dog"]], [["dog"]]]}, r"'none' needs .*, got \[\['dog'\]\]"),
        (["none"], "types must be"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.set_relation_types(types)
    assert types_from_labels(["None", "/a/b/c"], {"a": "ape", "b": "bee"}) == {"/a/b/c": ["ape", "bee"]}
    with pytest.raises(ValueError, match="'/per/event/x': no word is given for the type 'event'"):
        types_from_labels(["/per/event/x"])


@pytest.mark.parametrize("index", [None, "faiss"])
def test_labels_that_name_their_types_in_no_order(make_model, batch, processor, tmp_path, index):
    """As in UMRE: the pair the other way round is answered too, and no pair of other types."""
    if index:
        pytest.importorskip("faiss")
    model = make_model()
    labels = ["none", "/per/org/member_of", "/loc/per/born_in"]
    model.set_relations({label: f"This is about {label}." for label in labels}, processor, "none")
    model.set_relation_types(types_from_labels(labels, either_order=True))
    model.save_pretrained(tmp_path)
    loaded = RocModel.from_pretrained(tmp_path)
    types = [("person", "organization"), ("organization", "person"), ("person", "person"), ("person", None)]
    expected = [[True, True, False], [True, True, False], [True, False, False], [True, True, True]]
    for one in (model, loaded):
        assert one.type_mask(types).tolist() == expected
        assert_found(
            one.search(k=3, types=types, index=index, **batch), brute_force(one, batch, one.type_mask(types)), 3
        )
    model.set_relation_types(types_from_labels(labels))
    assert model.type_mask(types).tolist()[1] == [True, False, False]
    model.set_relation_types({"none": [[None, ["dog"]], [["cat"], None]]})
    assert model.type_mask([("cat", "fish"), ("fish", "dog"), ("dog", "cat")])[:, 0].tolist() == [True, True, False]


@pytest.mark.parametrize("aggregation", ["max", "mean"])
@pytest.mark.parametrize("index", ["faiss", "faiss:HNSW32"])
def test_an_index_finds_the_same(make_model, batch, processor, aggregation, index):
    pytest.importorskip("faiss")
    model = make_model(relation_aggregation=aggregation)
    model.set_relations(many_relations(60, descriptions_each=3), processor)
    assert_found(model.search(k=10, index=index, **batch), brute_force(model, batch), 10)
    model.set_relation_offsets({"relation 5": 8.0})
    assert_found(model.search(k=10, index=index, **batch), brute_force(model, batch), 10)
    with torch.no_grad():
        model.relation_encoder.projection.weight.mul_(torch.rand_like(model.relation_encoder.projection.weight))
    model.eval()
    assert_found(model.search(k=10, index=index, **batch), brute_force(model, batch), 10)
    memory = model.make_relation_memory({"a": "Head likes tail.", "b": "Head is tail."}, processor)
    found = model.search(k=1, index=index, relation_memory=memory, **batch)
    assert torch.equal(found.indices, model.search(k=1, relation_memory=memory, **batch).indices)
    assert found.probabilities is None


class Foreign(torch.nn.Parameter):
    """A weight whose content cannot be read, as a quantized one's."""


def test_an_index_follows_weights_that_cannot_be_read_and_settings(make_model, batch):
    pytest.importorskip("faiss")
    model = make_model()
    model.relation_encoder.projection.bias = Foreign(model.relation_encoder.projection.bias.detach())
    for change in (
        lambda: None,
        lambda: model.relation_encoder.projection.weight.data.mul_(torch.randn(16, 32)),
        lambda: setattr(model.config, "relation_aggregation", "max"),
        lambda: model.set_relation_offsets({"none": 2.0}),
    ):
        change()
        assert_found(model.search(k=3, index="faiss", **batch), brute_force(model, batch), 3)


def test_what_cannot_be_searched(make_model, batch, processor, monkeypatch):
    model = make_model()
    with pytest.raises(ValueError, match="k must be 1 or more"):
        model.search(k=0, **batch)
    with pytest.raises(ValueError, match="types must be one .* a pair: 1 for 4"):
        model.search(types=[("person", "person")], **batch)
    pair = ("person", None)
    for wrong in ("person", "ab", ("person",), ("a", "b", "c"), (1, "person"), None):
        message = re.escape(f"types[2] must be (head type, tail type), each a word or None, got {wrong!r}")
        with pytest.raises(ValueError, match=message):
            model.search(types=[pair, pair, wrong, pair], **batch)
        with pytest.raises(ValueError, match=message):
            model.type_mask([pair, pair, wrong])
    with pytest.raises(ValueError, match="index must be None"):
        model.search(index="annoy", **batch)
    with pytest.raises(ValueError, match="no memory to search"):
        make_model(objective="classification").search(**batch)
    real_import = builtins.__import__

    def without_faiss(name, *args, **kwargs):
        if name == "faiss":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    empty = RocModel(RocConfig(text_config=model.config.text_config, projection_dim=16)).eval()
    with pytest.raises(ValueError, match="the model has no relations yet"):
        empty.search(**{name: values for name, values in batch.items() if name not in PICTURES})
    if pytest.importorskip("faiss"):
        for factory in ("Nonsense", "IVF100,Flat"):
            with pytest.raises(ValueError, match=f"no index '{factory}' of 3 vectors"):
                make_model().search(index=f"faiss:{factory}", **batch)
    monkeypatch.setattr(builtins, "__import__", without_faiss)
    with pytest.raises(ImportError, match="pip install faiss-cpu"):
        model.search(index="faiss", **batch)


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_a_large_memory_is_encoded_saved_loaded_and_searched(make_model, batch, processor, tmp_path, capfd, count):
    model = make_model()
    model.set_relations(many_relations(count), processor)
    assert "Encoding descriptions" in capfd.readouterr().err
    assert model.memory.embeds.shape == (count, 16)
    expected = brute_force(model, batch)
    assert_top(model.search(k=10, **batch), expected)
    model.save_pretrained(tmp_path)
    loaded = RocModel.from_pretrained(tmp_path)
    capfd.readouterr()
    assert_top(loaded.search(k=10, **batch), expected)
    assert "Encoding descriptions" not in capfd.readouterr().err
    loaded.add_relation("new", "Something else altogether.", processor)
    assert "Encoding descriptions" not in capfd.readouterr().err


def assert_top(hits, expected):
    """Scores of near ties are the same in another order of relations."""
    assert torch.allclose(hits.scores, expected[0][:, :10], atol=1e-4)
    assert torch.allclose(hits.probabilities, expected[2][:, :10], atol=1e-5)


def test_the_order_of_relations_is_that_of_their_numbers(make_model, batch, processor, tmp_path):
    """Not of the names, nor of the numbers as text, by which tools sort a config file's keys."""
    model = make_model()
    labels = ["zebra", *(f"/per/org/r{i}" for i in range(10)), "apple"]
    model.set_relations({label: f"This is about {label}." for label in labels}, processor)
    model.set_relation_types({"zebra": ["person", "person"], "apple": ["location", "location"]})
    expected = model.type_mask([("person", "person"), ("location", "location")])
    assert expected[:, 0].tolist() == [True, False] and expected[:, -1].tolist() == [False, True]
    model.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config, sort_keys=True))
    assert list(json.loads(path.read_text())["id2label"])[:3] == ["0", "1", "10"]
    loaded = RocModel.from_pretrained(tmp_path)
    assert list(loaded.config.id2label.values()) == list(loaded.config.label2id) == labels
    assert torch.equal(loaded.type_mask([("person", "person"), ("location", "location")]), expected)
    assert_found(loaded.search(k=12, **batch), brute_force(model, batch), 12)


def test_a_model_can_be_copied_and_pickled_after_a_search_by_index(make_model, batch):
    pytest.importorskip("faiss")
    model = make_model()
    expected = model.search(k=2, index="faiss", **batch)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other.search(k=2, index="faiss", **batch).indices, expected.indices)

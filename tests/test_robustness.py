# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Disturbances leave head and tail what they are, and the curves come from one command on saved models."""

import copy
import json
import random
import re
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_scripts import loading
from data_scripts.demo.dataset import load_demo, load_demo_descriptions
from data_scripts.loading import relation_texts
from evaluation_roc import robustness
from evaluation_roc.robustness import DISTURBANCES, Pool, disturbed, is_read, make_pool
from modeling_roc import RocConfig
from processing_roc import RocProcessor

ROWS = load_demo(num_train=1, num_validation=1, num_test=60)["test"]
POOL = make_pool(ROWS)
EXAMPLES = list(ROWS)


def disturb(name: str, row: dict, rate: float, seed: int | str = 0, pool: Pool = POOL) -> dict:
    return DISTURBANCES[name](row, rate, random.Random(seed), pool)


def surface(row: dict, role: str) -> list[str] | None:
    entity = row[role]
    return None if entity["start"] is None else row["tokens"][entity["start"] : entity["end"]]


@pytest.mark.parametrize("name", DISTURBANCES)
@given(index=st.integers(0, len(EXAMPLES) - 1), rate=st.floats(0, 1), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_head_and_tail_stay_what_they_are(name, index, rate, seed):
    row = EXAMPLES[index]
    before = copy.deepcopy({key: value for key, value in row.items() if key != "image"})
    pixels = np.asarray(row["image"]).copy()
    changed = disturb(name, row, rate, seed)
    again = disturb(name, row, rate, seed)
    assert {**changed, "image": None} == {**again, "image": None}
    assert {key: value for key, value in row.items() if key != "image"} == before
    assert (np.asarray(row["image"]) == pixels).all()
    assert changed.keys() == row.keys() and changed["relation"] == row["relation"]
    for role in ("head", "tail"):
        assert surface(changed, role) == surface(row, role)
        assert changed[role]["name"] == row[role]["name"] and changed[role]["kind"] == row[role]["kind"]
        if (box := changed[role]["box"]) is not None:
            x0, y0, x1, y1 = box
            assert -1e-6 <= x0 < x1 <= 1 + 1e-6 and -1e-6 <= y0 < y1 <= 1 + 1e-6
            (same,) = [one for one in changed["objects"] if one["name"] == changed[role]["name"]]
            assert same["box"] == box


@pytest.mark.parametrize("name", DISTURBANCES)
def test_a_rate_of_nothing_changes_nothing(name):
    for row in EXAMPLES[:20]:
        changed = disturb(name, row, 0.0)
        assert (np.asarray(changed["image"]) == np.asarray(row["image"])).all()
        for key in row.keys() - {"image", "head", "tail", "objects"}:
            assert changed[key] == row[key]
        for role in ("head", "tail"):
            assert {**changed[role], "box": None} == {**row[role], "box": None}
            assert changed[role]["box"] is None or changed[role]["box"] == pytest.approx(row[role]["box"])


def test_what_a_full_rate_does():
    row = next(row for row in EXAMPLES if row["head"]["kind"] == row["tail"]["kind"] == "text")
    assert disturb("dropped_words", row, 1)["tokens"] == sorted(
        surface(row, "head") + surface(row, "tail"), key=row["tokens"].index
    )
    places = {i for role in ("head", "tail") for i in range(row[role]["start"], row[role]["end"])}
    misspelt = disturb("typos", row, 1)["tokens"]
    assert {i for i, pair in enumerate(zip(misspelt, row["tokens"], strict=True)) if pair[0] == pair[1]} == places
    missing = disturb("missing_picture", row, 1)
    assert missing["image"] is missing["image_id"] is None and missing["objects"] == []
    assert len(disturb("blank_picture", row, 1)["image"].getcolors()) == 1
    noise = np.asarray(disturb("noisy_picture", row, 1)["image"])
    assert noise.min() < 5 and noise.max() > 250 and abs(noise.mean() - 127.5) < 3
    half = np.asarray(disturb("noisy_picture", row, 0.5)["image"])
    assert 0.45 < (half == np.asarray(row["image"])).all(axis=-1).mean() < 0.55
    other = disturb("other_picture", row, 1)
    assert other["image_id"] != row["image_id"] and other["image_id"] in POOL.image_ids
    wrong = disturb("wrong_types", row, 1)
    for role in ("head", "tail"):
        assert wrong[role]["type"] in set(POOL.types) - {row[role]["type"]}
        assert disturb("unknown_types", row, 1)[role]["type"] is None
    untyped = {**row, "head": {**row["head"], "type": "unknown"}, "tail": {**row["tail"], "type": None}}
    for name in ("wrong_types", "unknown_types"):
        assert disturb(name, untyped, 1) == untyped
    meant = next(row for row in EXAMPLES if row["tail"]["kind"] == "object")
    assert disturb("missing_picture", meant, 1) == meant
    for box in ([0.5, 0.25, 0.75, 1.0], [0.0, 0.0, 1.0, 1.0], [0.9, 0.0, 1.0, 0.25]):
        tail = {**meant["tail"], "box": box}
        new = disturb("shifted_boxes", {**meant, "tail": tail, "objects": [tail]}, 1)
        (x0, y0, x1, y1), moved = box, new["tail"]["box"]
        ways = [(r * (x1 - x0) / 2, d * (y1 - y0) / 2) for r in (-1, 1) for d in (-1, 1)]
        clipped = [[min(max(v, 0), 1) for v in (x0 + r, y0 + d, x1 + r, y1 + d)] for r, d in ways]
        assert any(moved == pytest.approx(one) for one in clipped) and new["objects"][0]["box"] == moved != box


def test_types_become_unknown_as_the_split_says_it():
    rows = ROWS.map(lambda row: {"head": {**row["head"], "type": "unknown"}} if row["id"] == EXAMPLES[0]["id"] else {})
    pool = make_pool(rows)
    assert (pool.types, pool.unknown) == (POOL.types, "unknown") and POOL.unknown is None
    for role in ("head", "tail"):
        assert disturb("unknown_types", EXAMPLES[1], 1, pool=pool)[role]["type"] == "unknown"


def touched(name: str, row: dict, rate: float) -> dict:
    """Place → what stands there now, of places that are disturbed."""
    row = {**row, "tokens": [f"{token}{i}" for i, token in enumerate(row["tokens"])]}  # none stands twice
    changed = disturb(name, row, rate, seed=row["id"])
    if name == "dropped_words":
        return dict.fromkeys(set(row["tokens"]) - set(changed["tokens"]))
    if name == "noisy_picture":
        old, new = np.asarray(row["image"]), np.asarray(changed["image"])
        return {place: tuple(new[place]) for place in zip(*np.nonzero((old != new).any(axis=-1)), strict=True)}
    places = {("token", i): token for i, token in enumerate(row["tokens"])}
    new = {("token", i): token for i, token in enumerate(changed["tokens"])}
    for one, found in ((row, places), (changed, new)):
        found["image"] = one["image"] and (one["image"].tobytes(), one["image_id"])
        for role in ("head", "tail"):
            found[role, "type"], found[role, "box"] = one[role]["type"], one[role]["box"]
        found |= {("object", entity["name"]): entity["box"] for entity in one["objects"]}
    return {place: value for place, value in new.items() if value != places[place]}


@pytest.mark.parametrize("name", DISTURBANCES)
def test_a_higher_rate_disturbs_what_a_lower_one_does_and_more(name):
    rows = EXAMPLES[:3] if name == "noisy_picture" else EXAMPLES  # a picture has many places
    found = {rate: [touched(name, row, rate) for row in rows] for rate in (0.1, 0.3, 0.6, 1.0)}
    number = {rate: sum(map(len, rows)) for rate, rows in found.items()}
    for low, high in ((0.1, 0.3), (0.3, 0.6), (0.6, 1.0)):
        assert number[low] < number[high]
        for few, many in zip(found[low], found[high], strict=True):
            assert few.items() <= many.items()
    # One scale: the share of what a rate of 1 disturbs.
    for rate in (0.1, 0.3, 0.6):
        tolerance = 4 * (rate * (1 - rate) / len(EXAMPLES)) ** 0.5
        assert number[rate] / number[1.0] == pytest.approx(rate, abs=tolerance), rate


# The command


@pytest.fixture
def saved(make_model, processor, tmp_path, monkeypatch):
    """Folders of a retrieval and a classification model of the demo's relations, and the small data set."""
    relations = relation_texts(load_demo_descriptions(), "descriptions")
    model = make_model(object_features="roi")
    model.set_relations(relations, processor, negative_relation="none")
    model.save_pretrained(tmp_path / "retrieval")
    config = model.config.to_dict() | {"objective": "classification"}
    type(model)(RocConfig(**config)).save_pretrained(tmp_path / "classification")
    for name in ("retrieval", "classification"):
        processor.save_pretrained(tmp_path / name)
    splits = load_demo(num_train=1, num_validation=1, num_test=24)
    monkeypatch.setattr(loading, "load_relation_dataset", lambda *_: (splits, load_demo_descriptions()))
    return tmp_path


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["robustness", *map(str, arguments)])
    robustness.main()


def test_one_command_draws_the_curves_of_two_models(saved, monkeypatch, capsys):
    models = [saved / "retrieval", saved / "classification"]
    arguments = ("--model_name_or_path", *models, "--max_examples", 12, "--rates", 1.0, 0.5)
    run(monkeypatch, *arguments, "--output_dir", saved / "out")
    report = json.loads((saved / "out" / "robustness.json").read_text())
    assert report["num_examples"] == 12 and report["split"] == "test" and report["seed"] == 0
    found = {(p["model"], p["objective"], p["disturbance"], p["rate"]) for p in report["points"]}
    assert found == {
        (str(model), model.name, name, rate) for model in models for name in DISTURBANCES for rate in (0, 0.5, 1)
    }
    for model in models:
        clean = {p["micro_f1"] for p in report["points"] if p["model"] == str(model) and p["rate"] == 0}
        assert len(clean) == 1 and all(0 <= p["micro_f1"] <= 1 for p in report["points"])
    with Image.open(saved / "out" / "robustness.png") as picture:
        assert picture.width > 1000
    printed = capsys.readouterr().out
    assert re.search(rf"\| {re.escape(str(models[0]))} +\| typos +\| ", printed)
    rows = loading.load_relation_dataset()[0]["test"].shuffle(seed=0).select(range(12))
    exempt = sum("object" in (row["head"]["kind"], row["tail"]["kind"]) for row in rows)
    assert 0 < exempt < 12 and f"missing picture: {exempt} of 12 pairs keep theirs" in printed
    subset = ("--disturbances", "noisy_picture", "shifted_boxes")
    run(monkeypatch, *arguments[:2], *arguments[3:], *subset, "--output_dir", saved / "again")
    again = json.loads((saved / "again" / "robustness.json").read_text())["points"]
    assert again == [p for p in report["points"] if p["model"] == str(models[0]) and p["disturbance"] in subset]


def test_what_a_model_does_not_read_cannot_change_its_answers(make_model, processor):
    rows = ROWS.filter(lambda head, tail: head["kind"] == tail["kind"] == "text", input_columns=["head", "tail"])
    model = make_model(with_vision=False).eval()
    relations = relation_texts(load_demo_descriptions(), "descriptions")
    reader = RocProcessor(None, processor.tokenizer, max_length=64, use_entity_types=False)
    model.set_relations(relations, reader, negative_relation="none")
    unread = [name for name in DISTURBANCES if not is_read(name, model, reader)]
    assert set(DISTURBANCES) - set(unread) == {"typos", "dropped_words"}

    def answers(rows):
        text, head, tail = ([row[name] for row in rows] for name in ("tokens", "head", "tail"))
        inputs = reader(text=text, head=head, tail=tail, return_tensors="pt")
        with torch.no_grad():
            return model(**inputs).logits

    clean = answers(rows)
    for name in DISTURBANCES:
        same = torch.equal(answers(list(disturbed(rows, name, 1.0, 0, POOL))), clean)
        assert same == (name in unread), name


def test_rows_without_a_relation_are_left_out(saved, monkeypatch):
    rows = load_demo(num_train=1, num_validation=1, num_test=24)["test"]
    labels = [None if i in (3, 5) else label for i, label in enumerate(rows["relation"])]
    rows = rows.remove_columns("relation").add_column("relation", labels, feature=rows.features["relation"])
    monkeypatch.setattr(loading, "load_relation_dataset", lambda *_: ({"test": rows}, load_demo_descriptions()))
    arguments = ("--model_name_or_path", saved / "retrieval", "--disturbances", "other_picture", "--rates", 1.0)
    run(monkeypatch, *arguments, "--output_dir", saved / "out")
    assert json.loads((saved / "out" / "robustness.json").read_text())["num_examples"] == 22


def test_what_cannot_be_measured_is_said(saved, make_model, processor, monkeypatch, capsys):
    make_model().save_pretrained(saved / "other")
    processor.save_pretrained(saved / "other")
    output = ("--output_dir", saved / "out")
    for arguments, message in (
        (("--model_name_or_path", saved / "other"), "knows other relations than the data set"),
        (("--model_name_or_path", saved / "retrieval", saved / "other"), "knows other relations than the data set"),
        (("--model_name_or_path", saved / "retrieval", "--split", "dev"), "has no dev split"),
    ):
        with pytest.raises(SystemExit, match=message):
            run(monkeypatch, *arguments, *output)
        assert "micro F1" not in capsys.readouterr().out  # said before anything is measured
    (saved / "file").touch()
    with pytest.raises(SystemExit, match="File exists"):
        run(monkeypatch, "--model_name_or_path", saved / "retrieval", "--output_dir", saved / "file")
    assert "micro F1" not in capsys.readouterr().out
    for setting in ("--max_examples", "--batch_size"):
        with pytest.raises(SystemExit):
            run(monkeypatch, "--model_name_or_path", saved / "retrieval", setting, 0, *output)
        assert f"{setting} must be at least 1" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(monkeypatch, "--model_name_or_path", saved / "retrieval", "--rates", 1.5, *output)
    assert "--rates must be above 0" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit, match="2 processes were started"):
        run(monkeypatch, "--model_name_or_path", saved / "retrieval", *output)
    assert not (saved / "out").exists()

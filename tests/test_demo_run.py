# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What `make demo` promises, run as it stands; then the snippets of the card that it writes."""

import itertools
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from demo_runs import WITHOUT_PROJECT, train
from PIL import Image
from transformers import pipeline

from data_scripts.demo.dataset import RELATIONS, load_demo
from data_scripts.demo.pictures import NEUTRAL_THINGS, draw_picture
from data_scripts.schema import pair_kind
from evaluation_roc.relation_f1.relation_f1 import compute_relation_f1
from modeling_roc import RocModel
from processing_roc import RocProcessor

pytestmark = pytest.mark.slow


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


def explain(folder: Path, inputs: list[dict]) -> list[dict]:
    """The best relation of each input, with its explanation."""
    model, processor = RocModel.from_pretrained(folder), RocProcessor.from_pretrained(folder)
    extractor = pipeline("relation-extraction", model=model, processor=processor)
    return [answer[0] for answer in extractor(inputs, top_k=1, explain=True, batch_size=8)]


def posts_with_a_cue(number: int) -> Iterator[tuple[dict, str, list[float]]]:
    """Inputs of two mentions whose relation one of two drawn things shows, that relation, and the thing's box."""
    rng = random.Random(0)
    places = {"person": "Ines", "organization": "Rovers", "location": "Oslo", "miscellaneous": "City Cup"}
    for relation, (_, kind, cue) in itertools.islice(itertools.cycle(RELATIONS.items()), number):
        text = f"so much to say about Ken , {places[kind]} and Kyoto !"
        things = [cue, rng.choice(NEUTRAL_THINGS)]
        rng.shuffle(things)
        picture, boxes = draw_picture(things, rng)
        start = text.index(places[kind])
        given = {
            "text": text,
            "head": {"start": 21, "end": 24, "type": "person"},
            "tail": {"start": start, "end": start + len(places[kind]), "type": kind},
            "image": picture,
        }
        yield given, relation, boxes[things.index(cue)]


def test_saliency_falls_on_the_thing_that_decides(demo_run):
    folder, _ = demo_run
    posts = list(posts_with_a_cue(48))
    shares, areas = [], []
    for (_, relation, box), answer in zip(posts, explain(folder, [given for given, *_ in posts]), strict=True):
        heat = np.array(answer["explanation"]["patches"]["scores"]).clip(min=0)
        edges = np.arange(len(heat))
        inside = [
            np.clip(np.minimum(high * len(heat), edges + 1) - np.maximum(low * len(heat), edges), 0, None)
            for low, high in ((box[1], box[3]), (box[0], box[2]))
        ]
        if answer["label"] == relation:
            shares.append((heat * np.outer(*inside)).sum() / heat.sum())
            areas.append((box[2] - box[0]) * (box[3] - box[1]))
    assert len(shares) > 40
    # The box takes 15 to 22% of the picture: so much would fall into it by chance.
    assert np.mean(shares) > 0.55 > 2.5 * np.mean(areas)
    assert np.mean(np.array(shares) > areas) > 0.95


def test_the_most_salient_patches_are_those_that_the_answer_needs(demo_run):
    folder, _ = demo_run
    rng = np.random.default_rng(0)
    posts = list(posts_with_a_cue(48))
    model, processor = RocModel.from_pretrained(folder).eval(), RocProcessor.from_pretrained(folder)
    extractor = pipeline("relation-extraction", model=model, processor=processor)
    losses = {"salient": [], "random": []}
    for (given, *_), answer in zip(posts, explain(folder, [given for given, *_ in posts]), strict=True):
        heat = np.array(answer["explanation"]["patches"]["scores"]).flatten()
        for name, chosen in (("salient", heat.argsort()[-3:]), ("random", rng.permutation(len(heat))[:3])):
            picture = np.array(given["image"])
            side = len(picture) // 4
            for place in chosen:
                row, column = divmod(int(place), 4)
                block = (slice(row * side, (row + 1) * side), slice(column * side, (column + 1) * side))
                picture[block] = picture.mean(axis=(0, 1))
            left = extractor({**given, "image": Image.fromarray(picture)}, top_k=None)
            losses[name].append(answer["score"] - {one["label"]: one["score"] for one in left}[answer["label"]])
    assert np.mean(losses["salient"]) > 2 * np.mean(losses["random"])
    assert np.mean(losses["salient"]) > 0.4


def test_the_object_that_is_meant_decides(demo_run):
    folder, _ = demo_run
    rows = load_demo(num_train=1, num_validation=1)["test"]
    rows = rows.filter(lambda row: pair_kind(row) == "text_object" and row["relation"] != 0).select(range(48))
    inputs = [
        {"text": row["tokens"], "image": row["image"], **{name: row[name] for name in ("head", "tail", "objects")}}
        for row in rows
    ]
    hits = 0
    for row, answer in zip(rows, explain(folder, inputs), strict=True):
        objects = answer["explanation"]["objects"]
        best = max(objects, key=lambda one: one["score"])
        (tail,) = (one for one in objects if one["role"] == "tail")
        assert len(objects) == 4 and tail["box"] == pytest.approx(row["tail"]["box"], abs=1e-6)
        hits += best["role"] == "tail"
    assert hits > 43  # by chance, 12


def test_the_cards_snippets_run(demo_run):
    folder, _ = demo_run
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert f'model_id = "{folder.name}"' in card  # and no path on this machine
    snippets = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    command = [sys.executable, "-c", "\n".join([WITHOUT_PROJECT, *snippets])]
    result = subprocess.run(command, cwd=folder.parent, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "friends" in result.stdout

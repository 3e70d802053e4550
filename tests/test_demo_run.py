# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What `make demo` promises, run as it stands; then the snippets of the card that it writes."""

import itertools
import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from demo_runs import ROOT, WITHOUT_PROJECT, train
from PIL import Image
from transformers import BertModel, pipeline

from data_scripts.demo.dataset import (
    RELATIONS,
    build_demo_tokenizer,
    demo_backbone_configs,
    load_demo,
    load_demo_descriptions,
)
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


def overlaps(box: list[float], rows: int) -> np.ndarray:
    """(rows, rows): the share of each cell of the picture's grid that lies in a box."""
    edges = np.arange(rows)
    sides = [
        np.clip(np.minimum(high * rows, edges + 1) - np.maximum(low * rows, edges), 0, None)
        for low, high in ((box[1], box[3]), (box[0], box[2]))
    ]
    return np.outer(*sides)


def falls_on(heat: np.ndarray, box: list[float]) -> tuple[float, float, bool, float]:
    """Of what speaks for the answer the share in the box; the same of heat spread evenly over the box, since cells at
    its edge lie in it by a part; whether the strongest cell's centre is in it (pointing game); and the box's area."""
    heat, inside, rows = heat.clip(min=0), overlaps(box, len(heat)), len(heat)
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    hit = box[0] < (column + 0.5) / rows < box[2] and box[1] < (row + 0.5) / rows < box[3]
    return (heat * inside).sum() / max(heat.sum(), 1e-9), (inside**2).sum() / inside.sum(), hit, inside.mean()


def occlusion(extractor, given: dict, answer: dict) -> np.ndarray:
    """What the answer's lead over the others loses where a cell of the picture has the picture's mean colour."""
    rows, whole = answer["explanation"]["patches"]["rows"], np.array(given["image"])
    pictures, side = [given["image"]], len(whole) // rows
    for row, column in np.ndindex(rows, rows):
        picture = whole.copy()
        picture[row * side : (row + 1) * side, column * side : (column + 1) * side] = whole.mean(axis=(0, 1))
        pictures.append(Image.fromarray(picture))
    asked = {name: [given[name]] * len(pictures) for name in ("text", "head", "tail")}
    with torch.no_grad():
        logits = extractor.model(**extractor.processor(**asked, images=pictures, return_tensors="pt")).logits
    target = extractor.model.config.label2id[answer["label"]]
    others = [index for index in range(logits.shape[1]) if index != target]
    margins = logits[:, target] - logits[:, others].mean(dim=1)
    return (margins[0] - margins[1:]).reshape(rows, rows).numpy()


def one_step(extractor, given: dict, answer: dict) -> np.ndarray:
    """The gradients of the pair and of its blank alone, times what lies between them."""
    processor = extractor.processor
    asked = {name: given[name] for name in ("text", "head", "tail")}
    encoded = processor(**asked, images=given["image"], return_tensors="pt", return_offsets_mapping=True)
    words = encoded.pop("word_ids")
    encoded.pop("offset_mapping")
    blank = encoded["input_ids"].masked_fill(words >= 0, processor.tokenizer.mask_token_id)
    target = torch.tensor([extractor.model.config.label2id[answer["label"]]])
    return (
        extractor.model.get_saliency(**encoded, blank_input_ids=blank, targets=target, num_steps=1).patches[0].numpy()
    )


def test_saliency_falls_on_the_thing_that_decides(demo_run):
    """And more so than by cheaper methods."""
    folder, _ = demo_run
    posts = list(posts_with_a_cue(48))
    model, processor = RocModel.from_pretrained(folder).eval(), RocProcessor.from_pretrained(folder)
    extractor = pipeline("relation-extraction", model=model, processor=processor)
    found = {"integrated gradients": [], "one step": [], "occlusion": []}
    for (given, relation, box), answer in zip(posts, explain(folder, [given for given, *_ in posts]), strict=True):
        if answer["label"] == relation:
            heat = np.array(answer["explanation"]["patches"]["scores"])
            found["integrated gradients"].append(falls_on(heat, box))
            found["one step"].append(falls_on(one_step(extractor, given, answer), box))
            found["occlusion"].append(falls_on(occlusion(extractor, given, answer), box))
    means = {name: np.mean(rows, axis=0) for name, rows in found.items()}
    for name, (share, even, hits, area) in means.items():
        print(f"{name}: {share:.3f} in the box (even heat {even:.3f}, chance {area:.3f}), strongest in it {hits:.3f}")
    share, even, hits, area = means["integrated gradients"]
    assert len(found["one step"]) > 35  # right answers: rounding decides on a few of 48
    assert share > 0.75 * even > 2.5 * area and hits > 0.85
    assert share > max(means["one step"][0], means["occlusion"][0])
    assert np.mean([share > area for share, _, _, area in found["integrated gradients"]]) > 0.9


def say_the_thing(row: dict, relation: str, rng: random.Random) -> dict:
    """A row of two mentions whose text names what its picture would show, before or behind another word."""
    others = ["photo", "day", "morning", "tonight", "hello", "today"]
    words = [RELATIONS[relation][2] if relation in RELATIONS else rng.choice(others), rng.choice(others)]
    rng.shuffle(words)
    row = {name: row[name] for name in ("id", "tokens", "head", "tail")}
    return {**row, "tokens": [*row["tokens"], ",", words[0], "and", words[1], "."], "relation": relation}


def test_saliency_falls_on_the_word_that_decides(tmp_path):
    raw, rng = tmp_path / "raw", random.Random(0)
    raw.mkdir()
    for split, rows in load_demo().items():
        names = rows.features["relation"].names
        rows = [row for row in rows.remove_columns("image") if pair_kind(row) == "text_text"]
        rows = [say_the_thing(row, names[row["relation"]], rng) for row in rows]
        (raw / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    texts = {label: one["descriptions"] for label, one in load_demo_descriptions()["relations"].items()}
    (raw / "relation_descriptions.json").write_text(json.dumps(texts), encoding="utf-8")
    command = [sys.executable, "-m", "data_scripts.jsonl", "--raw_dir", str(raw), "--negative_relation", "none"]
    subprocess.run([*command, "--output_dir", str(tmp_path / "data")], check=True, cwd=ROOT)
    torch.manual_seed(0)
    BertModel(demo_backbone_configs()[0]).save_pretrained(tmp_path / "encoder")
    build_demo_tokenizer().save_pretrained(tmp_path / "encoder")
    command = [sys.executable, str(ROOT / "train.py"), str(ROOT / "configs" / "demo.yaml")]
    command += ["--dataset_name", str(tmp_path / "data"), "--text_model_name_or_path", str(tmp_path / "encoder")]
    subprocess.run([*command, "--output_dir", str(tmp_path / "model")], check=True, cwd=tmp_path)
    assert json.loads((tmp_path / "model" / "all_results.json").read_text())["test_micro_f1"] > 0.95
    shares, hits = [], []
    rows = [row for row in rows if row["relation"] != "none"][:96]
    inputs = [{"text": row["tokens"], "head": row["head"], "tail": row["tail"]} for row in rows]
    for row, answer in zip(rows, explain(tmp_path / "model", inputs), strict=True):
        text, words = " ".join(row["tokens"]), answer["explanation"]["words"]
        scores = {text[word["start"] : word["end"]]: max(word["score"], 0) for word in words}
        cue = RELATIONS[row["relation"]][2]
        if answer["label"] == row["relation"]:
            shares.append([scores[cue] / sum(scores.values()), (scores[","] + scores["."]) / sum(scores.values())])
            hits.append([max(scores, key=scores.get) == word for word in (cue, ",")])
    (share, marks), (hit, comma) = np.mean(shares, axis=0), np.mean(hits, axis=0)
    print(f"{share:.3f} on the word that decides, {marks:.3f} on marks; the strongest is that word {hit:.3f}")
    assert len(shares) > 80
    assert share > 0.4 and hit > 0.6 and marks < 0.1 and comma < 0.05


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

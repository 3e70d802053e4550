# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""extract.py on the demo set's test posts, from texts and pictures alone: what it finds, part by part, against gold.

The detector is a small YOLOS that is trained here, from scratch. The tagger is a spaCy pipeline that knows the demo's
names by heart: they are made up, and no trained one can know their types.
"""

import json
import random
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest
import torch
from datasets import Image
from transformers import (
    Trainer,
    TrainingArguments,
    YolosConfig,
    YolosForObjectDetection,
    YolosImageProcessorPil,
    pipeline,
)

import extract
from data_scripts.demo.dataset import NAMES, NEGATIVE_RELATION, load_demo
from data_scripts.demo.pictures import THINGS, draw_picture
from modeling_roc import RocModel, types_from_labels
from processing_roc import RocProcessor
from processing_roc.spans_and_boxes_roc import overlap

pytestmark = pytest.mark.slow

SIZE = {"height": 64, "width": 64}


class Post(NamedTuple):
    """A test post and its gold: `mentions` {span in characters: type}, `boxes` {name: box}, and of each pair that a
    row labels the relation, by spans and names."""

    text: str
    image: bytes
    mentions: dict[tuple[int, int], str]
    boxes: dict[str, list[float]]
    relations: dict[tuple, str]


@pytest.fixture(scope="module")
def posts() -> dict[str, Post]:
    """A name of the demo is a mention wherever it stands: so its posts are written."""
    rows = load_demo(num_train=1, num_validation=1)["test"].cast_column("image", Image(decode=False))
    relation_of, found = rows.features["relation"].int2str, {}
    for row in rows:
        text = " ".join(row["tokens"])
        if row["image_id"] not in found:
            mentions = {
                (text.index(name), text.index(name) + len(name)): kind
                for kind, names in NAMES.items()
                for name in names
                if f" {name} " in f" {text} "
            }
            boxes = {one["name"]: one["box"] for one in row["objects"]}
            found[row["image_id"]] = Post(text, row["image"]["bytes"], mentions, boxes, {})
        ends = []
        for entity in (row["head"], row["tail"]):
            start = text.index(entity["name"]) if entity["box"] is None else None
            ends.append(entity["name"] if start is None else (start, start + len(entity["name"])))
        found[row["image_id"]].relations[tuple(ends)] = relation_of(row["relation"])
    return found


@pytest.fixture(scope="module")
def tagger(tmp_path_factory) -> str:
    spacy = pytest.importorskip("spacy", reason="pip install -e .[ner]")
    folder, nlp = tmp_path_factory.mktemp("tagger"), spacy.blank("en")
    patterns = [{"label": kind, "pattern": name} for kind, names in NAMES.items() for name in names]
    nlp.add_pipe("entity_ruler").add_patterns(patterns)
    nlp.to_disk(folder)
    return f"spacy:{folder}"


def draw(number: int, image_processor) -> list[dict]:
    """Pictures drawn as the demo's are, of other things at other places, as a detector learns them."""
    rng, labels, drawn = random.Random("a detector's"), list(THINGS), []
    for _ in range(number):
        things = rng.sample(labels, rng.choice((2, 3, 4)))
        picture, boxes = draw_picture(things, rng)
        (pixels,) = image_processor(picture, return_tensors="pt")["pixel_values"]
        x0, y0, x1, y1 = torch.tensor(boxes).T
        boxes = torch.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], dim=1)
        classes = torch.tensor([labels.index(thing) for thing in things])
        drawn.append({"pixel_values": pixels, "labels": {"class_labels": classes, "boxes": boxes}})
    return drawn


def collate(drawn: list[dict]) -> dict:
    pixels = torch.stack([one["pixel_values"] for one in drawn])
    return {"pixel_values": pixels, "labels": [one["labels"] for one in drawn]}


@pytest.fixture(scope="module")
def detector(tmp_path_factory) -> str:
    """A minute and a half of one processor core."""
    folder, labels = tmp_path_factory.mktemp("detector"), dict(enumerate(THINGS))
    image_processor = YolosImageProcessorPil(size=SIZE)
    torch.manual_seed(0)
    config = YolosConfig(
        hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=128, image_size=[64, 64],
        patch_size=16, num_detection_tokens=6, use_mid_position_embeddings=False, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0, eos_coefficient=0.5, id2label=labels,
        label2id={name: i for i, name in labels.items()},
    )  # fmt: skip
    arguments = TrainingArguments(
        folder / "run", max_steps=3000, per_device_train_batch_size=32, learning_rate=2e-3, warmup_steps=200,
        lr_scheduler_type="cosine", use_cpu=True, remove_unused_columns=False, report_to=[], save_strategy="no",
        logging_steps=500, disable_tqdm=True, seed=0,
    )  # fmt: skip
    trainer = Trainer(
        YolosForObjectDetection(config), arguments, data_collator=collate, train_dataset=draw(4000, image_processor)
    )
    trainer.train()
    trainer.save_model(folder)
    image_processor.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def checkpoint(demo_run, tmp_path_factory) -> Path:
    """The demo's model, told which types its relations ask for."""
    folder = tmp_path_factory.mktemp("typed") / "demo"
    shutil.copytree(demo_run[0], folder)
    model = RocModel.from_pretrained(folder)
    model.set_relation_types(types_from_labels(model.config.id2label.values()))
    model.save_pretrained(folder)
    return folder


def gold_object(box: list[float], post: Post, least: float = 0.5) -> str | None:
    """The name of the object that a box is of: the one that it covers best, by an IoU of `least` or more."""
    best = max(post.boxes, key=lambda name: overlap(box, post.boxes[name]))
    return best if overlap(box, post.boxes[best]) >= least else None


def run_extract(monkeypatch, checkpoint: Path, folder: Path, posts: dict[str, Post], *arguments, given=False) -> list:
    """The triples that extract.py writes; with all entities given, or none."""
    (folder / "pictures").mkdir(parents=True)
    lines = []
    for name, post in posts.items():
        (folder / "pictures" / f"{name}.png").write_bytes(post.image)
        line = {"id": name, "text": post.text, "image": f"{name}.png"}
        if given:
            mentions = [{"start": i, "end": j, "type": kind} for (i, j), kind in post.mentions.items()]
            line["entities"] = [*mentions, *({"name": one, "box": box} for one, box in post.boxes.items())]
        lines.append(json.dumps(line) + "\n")
    (folder / "posts.jsonl").write_text("".join(lines))
    named = ["--model_name_or_path", checkpoint, "--input", folder / "posts.jsonl", "--output_dir", folder / "graph"]
    command = ["extract.py", *named, "--image_dir", folder / "pictures", "--device", "cpu", *arguments]
    monkeypatch.setattr(sys, "argv", [str(one) for one in command])
    extract.main()
    assert (folder / "graph" / "errors.jsonl").read_text() == ""
    return [row for path in (folder / "graph" / "triples").iterdir() for row in pq.read_table(path).to_pylist()]


def judge(triples: list[dict], posts: dict[str, Post]) -> tuple[int, int, int]:
    """How many triples are right, how many wrong, and how many there are of whose pair of entities no row says
    anything, related or not. A triple with an end that is no entity of the post is wrong."""
    right, num_wrong, num_open = set(), 0, 0
    for row in triples:
        post, ends = posts[row["post"]], []
        for role in ("head", "tail"):
            span, box = (row[f"{role}_start"], row[f"{role}_end"]), row[f"{role}_box"]
            ends.append(span if box is None else gold_object(box, post))
        pair = tuple(ends)
        if post.relations.get(pair) == row["relation"] and (row["post"], pair) not in right:
            right.add((row["post"], pair))
        elif pair in post.relations or not {*ends} <= {*post.mentions, *post.boxes}:
            num_wrong += 1
        else:
            num_open += 1
    return len(right), num_wrong, num_open


def test_the_graph_of_posts_as_they_are(demo_run, checkpoint, posts, tagger, detector, tmp_path, monkeypatch, capsys):
    finder = pipeline(
        "relation-extraction",
        model=RocModel.from_pretrained(checkpoint),
        processor=RocProcessor.from_pretrained(checkpoint),
        entity_tagger=tagger,
        object_detector=detector,
    )
    found = finder.find_entities([{"text": post.text, "image": post.image} for post in posts.values()])
    spans, boxes, pairs = [], {0.5: [], 0.75: []}, []
    for post, entities in zip(posts.values(), found, strict=True):
        own = {(one["start"], one["end"]): one["type"] for one in entities if one["kind"] == "text"}
        spans.append((len(own.items() & post.mentions.items()), len(own), len(post.mentions)))
        objects = [one["box"] for one in entities if one["kind"] == "object"]
        for least, counts in boxes.items():
            covered = {gold_object(box, post, least) for box in objects} - {None}
            counts.append((len(covered), len(objects), len(post.boxes)))
        known = {*own, *(gold_object(box, post) for box in objects)}
        pairs += [{*ends} <= known for ends in post.relations]
    f1 = {}

    def tell(what: str, num_right: int, num_found: int, num_gold: int) -> None:
        f1[what] = 2 * num_right / (num_found + num_gold)
        with capsys.disabled():
            print(f"{what}: P {num_right / num_found:.3f}, R {num_right / num_gold:.3f}, F1 {f1[what]:.3f}")

    with capsys.disabled():
        print(
            f"\n{len(posts)} posts, {len(pairs)} labelled pairs; both ends are found of {sum(pairs) / len(pairs):.1%}"
        )
        print(f"relations of given pairs: micro-F1 {demo_run[1]['test_micro_f1']:.3f}")
    tell("mentions", *map(sum, zip(*spans, strict=True)))
    for least, counts in boxes.items():
        tell(f"objects by an IoU of {least}", *map(sum, zip(*counts, strict=True)))
    num_gold = sum(relation != NEGATIVE_RELATION for post in posts.values() for relation in post.relations.values())
    for what, given, *finders in (
        ("triples, entities given", True),
        ("triples, entities found", False, "--entity_tagger", tagger, "--object_detector", detector),
    ):
        triples = run_extract(monkeypatch, checkpoint, tmp_path / what, posts, *finders, given=given)
        num_right, num_wrong, num_open = judge(triples, posts)
        tell(what, num_right, num_right + num_wrong, num_gold)
        tell(f"{what}, wrong where no row says anything", num_right, num_right + num_wrong + num_open, num_gold)
    assert f1["mentions"] == 1
    assert sum(pairs) > 0.97 * len(pairs)
    assert f1["objects by an IoU of 0.5"] > 0.97 and f1["objects by an IoU of 0.75"] > 0.9
    assert f1["triples, entities given"] > 0.97 and f1["triples, entities found"] > 0.95

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""
`make bench`: what ROC costs, as ratios; `make bench-quick`: the first part of it, with small encoders, in minutes.

Most ratios are to `bare`: a BERT and a ViT of the same sizes called on the batch's own texts and a picture for each,
a linear layer behind them; forward and backward in training. Random weights; base size is BERT-base and ViT-B/32, 16
pairs of at most 43 tokens, 3 fusion layers, a relation encoder of its own that is frozen. What is compared runs in
turn, and the median of the rounds' ratios counts: of wall time, and of the process' CPU time, which says more on a
machine that is busy with other things. No absolute time is printed but where the line says so.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from importlib.util import find_spec
from itertools import count, permutations
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, Features, Image, Value
from PIL import Image as PillowImage
from torch.nn import functional as F
from transformers import (
    BertConfig,
    BertModel,
    VisionTextDualEncoderModel,
    ViTConfig,
    ViTImageProcessorPil,
    ViTModel,
)
from transformers.utils import logging

from data_scripts.demo.dataset import build_demo_tokenizer
from data_scripts.writing import write_json
from extraction_roc.extractor import ExtractorSettings, PostExtractor
from modeling_roc import RocConfig, RocModel
from modeling_roc.relation_memory_roc import RelationMemory, _relation_weights, relation_logits
from processing_roc import RocProcessor
from processing_roc.processing_roc import open_picture
from training_roc import RelationFeatures
from training_roc.collator import PictureTable, RocDataCollator, resize_pictures
from training_roc.frozen_layers import freeze_first_layers
from training_roc.sampler import PictureGroupedSampler

BATCH, LENGTH = 16, 43
SMALL = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
TINY = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 512}
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
random = np.random.default_rng(0)
rounds, table = 5, []


def compare(**calls) -> dict[str, tuple[float, float]]:
    """Wall and CPU time of each call over the first one's: medians over rounds, in which they run in turn."""
    seconds = {name: [] for name in calls}
    for _ in range(rounds + 1):  # the first is to warm up
        for name, call in calls.items():
            start = time.perf_counter(), time.process_time()
            call()
            seconds[name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    first = np.array(seconds[next(iter(calls))][1:])
    return {name: tuple(np.median(np.array(values[1:]) / first, axis=0)) for name, values in seconds.items()}


def tell(what: str, ratio: tuple[float, float] | float, aim: str = ""):
    """A line of the table: a ratio of wall and CPU time, or one number."""
    wall, cpu = ratio if isinstance(ratio, tuple) else (ratio, None)
    table.append({"what": what, "ratio": float(wall), "cpu_ratio": None if cpu is None else float(cpu), "aim": aim})
    print(f"| {what} | {wall:.3f} | {'' if cpu is None else f'{cpu:.3f}'} | {aim} |", flush=True)


def text_lengths(count: int) -> np.ndarray:
    """Like MNRE with markers and type words: 35 on average, 59 at most."""
    return random.normal(35, 9, count).round().clip(15, 59).astype(int)


def token_ids(lengths: np.ndarray, pad: int) -> torch.Tensor:
    ids = torch.full((len(lengths), int(max(lengths))), pad)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.from_numpy(random.integers(5, 30000, length))
    return ids


def make_model(
    num_relations: int,
    descriptions_each: int = 3,
    object_features: str | None = None,
    shape: dict = SMALL,
    own_relation_encoder: bool = False,
    **settings,
) -> RocModel:
    relations = {f"relation {i}": ["text"] * descriptions_each for i in range(num_relations)}
    model = RocModel(
        RocConfig(
            text_config=BertConfig(**shape),
            vision_config=ViTConfig(**shape, patch_size=32),
            relation_config=BertConfig(**shape).to_dict() if own_relation_encoder else None,
            relation_descriptions=relations,
            object_features=object_features,
            **settings,
        )
    )
    # Descriptions of relations are somewhat shorter than posts with markers: 27 tokens on average.
    lengths = random.normal(27, 7, num_relations * descriptions_each).round().clip(10, 48).astype(int)
    ids = token_ids(lengths, pad=-1)
    model.memory = RelationMemory(model.config, ids)
    model.memory.embeds.copy_(F.normalize(torch.randn(len(ids), model.config.projection_dim), dim=-1))
    model.memory.trust(_relation_weights(model))  # no answer encodes the descriptions first
    return model


def make_batch(num_images: int = BATCH, pad_to: int | None = None, lengths=None) -> dict[str, torch.Tensor]:
    """Sixteen pairs, at most two more of one picture than of another. Default: texts as the sampler groups them."""
    if lengths is None:
        lengths = np.r_[LENGTH, LENGTH - random.integers(0, 6, BATCH - 1)]
    ids = token_ids(lengths, pad=0)
    if pad_to is not None:
        ids = F.pad(ids, (0, pad_to - ids.shape[1]))
    return {
        "input_ids": ids,
        "attention_mask": (ids > 0).long(),
        "head_index": torch.full((BATCH,), 1),
        "tail_index": torch.full((BATCH,), 8),
        "head_span": torch.tensor([[4, 6]] * BATCH),
        "tail_span": torch.tensor([[11, 13]] * BATCH),
        "pixel_values": torch.randn(num_images, 3, 224, 224),
        "image_index": torch.arange(BATCH) * num_images // BATCH,
        "labels": torch.from_numpy(random.integers(0, 23, BATCH)),
    }


class Bare(torch.nn.Module):
    """The two encoders and a linear layer, which is what any model of texts and pictures has at least."""

    def __init__(self, shape: dict):
        super().__init__()
        self.text = BertModel(BertConfig(**shape), add_pooling_layer=False)
        self.vision = ViTModel(ViTConfig(**shape, patch_size=32), add_pooling_layer=False)
        self.head = torch.nn.Linear(2 * shape["hidden_size"], 23)

    def forward(self, input_ids, attention_mask, pixel_values, **_):
        text = self.text(input_ids, attention_mask).last_hidden_state[:, 0]
        return self.head(torch.cat([text, self.vision(pixel_values).last_hidden_state[:, 0]], dim=1))


def training_step(model, batch, labels, **inputs):
    output = model(**batch, **inputs)
    F.cross_entropy(getattr(output, "logits", output), labels).backward()
    for parameter in model.parameters():
        parameter.grad = None


def main_parts(shape: dict) -> tuple[Bare, RocModel, dict, torch.Tensor]:
    """`Bare`, a ROC model with its relation encoder frozen, batches by their number of pictures, and their labels."""
    bare = Bare(shape)
    model = make_model(23, 1, None, shape, True, fusion_encoder_config={"num_hidden_layers": 3})
    model.relation_encoder.text_encoder.requires_grad_(False)
    batches = {number: make_batch(number) for number in (16, 10)}
    labels = [batch.pop("labels") for batch in batches.values()][0]
    return bare, model, batches, labels


def bench_steps(shape: dict):
    """Training and inference over `bare`."""
    bare, model, batches, labels = main_parts(shape)
    bare.train(), model.train()
    frozen = RelationFeatures(model, with_gradient=False)
    roc = partial(training_step, model, labels=labels, relation_features=frozen)
    ratios = compare(
        bare=partial(training_step, bare, batches[16], labels),
        all=partial(roc, batches[16]),
        shared=partial(roc, batches[10]),
    )
    tell("training, 16 pictures / bare", ratios["all"], "≤ 1.15")
    tell("training, 10 pictures / bare", ratios["shared"], "≤ 0.93")
    model.relation_encoder.text_encoder.requires_grad_(True)
    encoding = partial(training_step, model, batches[16], labels)
    with_descriptions = compare(bare=partial(training_step, bare, batches[16], labels), encoding=encoding)["encoding"]
    added = tuple(np.subtract(with_descriptions, ratios["all"]))
    tell("23 descriptions with gradient add, in units of bare", added, "≤ 0.20")
    model.relation_encoder.text_encoder.requires_grad_(False)
    bare.eval(), model.eval()
    with torch.inference_mode():
        model(**batches[16])
        ratios = compare(
            bare=partial(bare, **batches[16]),
            all=partial(model, **batches[16]),
            shared=partial(model, **batches[10]),
        )
    tell("inference, 16 pictures / bare", ratios["all"], "≤ 1.15")
    tell("inference, 10 pictures / bare", ratios["shared"], "≤ 0.93")


def bench_frozen(shape: dict):
    """`--freeze_vision_encoder` and `--freeze_vision_layers` of half of them: what these give is known."""
    bare, model, batches, labels = main_parts(shape)
    bare.train(), model.train()
    encoder, half = model.pair_encoder.vision_encoder, shape["num_hidden_layers"] // 2
    with torch.no_grad():
        known = encoder(pixel_values=batches[16]["pixel_values"], output_hidden_states=True)
    roc = partial(training_step, model, labels=labels, relation_features=RelationFeatures(model, with_gradient=False))
    bare_step = partial(training_step, bare, batches[16], labels)
    encoder.requires_grad_(False)
    ratio = compare(bare=bare_step, known=partial(roc, {**batches[16], "image_embeds": known.last_hidden_state}))
    tell("training, 16 pictures, frozen vision encoder / bare", ratio["known"], "≤ 0.60")
    encoder.requires_grad_(True)
    freeze_first_layers(model.pair_encoder, half)
    ratio = compare(bare=bare_step, known=partial(roc, {**batches[16], "image_embeds": known.hidden_states[half]}))
    tell("training, 16 pictures, half of the vision encoder frozen / bare", ratio["known"])


def bench_uneven():
    """One relation of 20,000 with 16 descriptions."""
    number = 20_000
    pairs, rows = torch.randn(BATCH, 256), torch.randn(number + 15, 256)
    owner = torch.cat([torch.zeros(15, dtype=torch.long), torch.arange(number)])
    calls = {}
    for how in ("mean", "max"):
        calls["even"] = lambda: relation_logits(pairs @ rows[15:].T, owner[15:], None, "mean", one_each=True)
        calls[how] = partial(lambda how: relation_logits(pairs @ rows.T, owner, owner.bincount(), how), how)
    ratios = compare(**calls)
    for how in ("mean", "max"):
        tell(f"20,000 relations, one of 16 descriptions ({how}) / of one each", ratios[how], "1")


def measure_child(what: str, *arguments: str) -> dict[str, float]:
    """What a fresh process measures: its peaks are its own."""
    command = [sys.executable, __file__, "--child", what, *arguments]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def memory_in_mib(field: str) -> float:
    """`VmRSS`, what this process holds, or `VmHWM`, the most that it has held."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(field + ":")[1].split()[0]) / 1024


def child_step(name: str, size: str):
    """What a training step holds at most beside the weights: gradients, and what autograd keeps."""
    bare, model, batches, labels = main_parts(SHAPES[size])
    kind = bare if name == "bare" else model
    kind.train()
    inputs = {} if name == "bare" else {"relation_features": RelationFeatures(model, with_gradient=False)}
    if inputs:
        inputs["relation_features"].features = torch.randn(23, model.config.text_config.hidden_size)
    before = memory_in_mib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    training_step(kind, batches[16], labels, **inputs)
    return {"mib": memory_in_mib("VmHWM") - before}


def child_start(name: str, folder: str):
    """From the imports to the first answer."""
    kind = VisionTextDualEncoderModel if name == "theirs" else RocModel
    batch = {name: value[:1] for name, value in make_batch().items() if name != "labels"}
    if name == "theirs":
        batch = {name: batch[name] for name in ("input_ids", "attention_mask", "pixel_values")}
    start = time.perf_counter(), time.process_time()
    model = kind.from_pretrained(folder)
    with torch.inference_mode():
        model(**batch)
    return {
        "wall": time.perf_counter() - start[0],
        "cpu": time.process_time() - start[1],
        "mib": memory_in_mib("VmHWM"),
    }


def child_join(name: str, folder: str):
    """Two encoders joined to one model."""
    text, vision = Path(folder, "text"), Path(folder, "vision")
    start = time.perf_counter(), time.process_time()
    if name == "theirs":
        VisionTextDualEncoderModel.from_vision_text_pretrained(vision, text)
    else:
        RocModel.from_encoders_pretrained(text, vision)
    return {"wall": time.perf_counter() - start[0], "cpu": time.process_time() - start[1]}


def compare_children(what: str, theirs: list[str], ours: list[str]) -> dict[str, float]:
    """Medians of what children measure of ours over theirs, in turn."""
    found = []
    for _ in range(min(rounds, 3)):
        their, our = measure_child(what, *theirs), measure_child(what, *ours)
        found.append({name: our[name] / their[name] for name in our})
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


def bench_memory(size: str):
    """Peak memory of a training step."""
    found = compare_children("step", ["bare", size], ["roc", size])
    tell("peak memory of a training step beside the weights / bare", found["mib"], "≤ 1.15")


def bench_start(shape: dict):
    """Cold start against transformers' model of two encoders."""
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = str(Path(folder, "ours")), str(Path(folder, "theirs"))
        make_model(23, 1, None, shape).save_pretrained(ours)
        bare = Bare(shape)
        bare.text.save_pretrained(Path(folder, "text"))
        bare.vision.save_pretrained(Path(folder, "vision"))
        VisionTextDualEncoderModel(vision_model=bare.vision, text_model=bare.text).save_pretrained(theirs)
        del bare
        found = compare_children("start", ["theirs", theirs], ["roc", ours])
        tell("from_pretrained and first answer / VisionTextDualEncoder", (found["wall"], found["cpu"]), "≤ 1.1")
        tell("its peak memory / VisionTextDualEncoder's", found["mib"], "≤ 1.1")
        found = compare_children("join", ["theirs", folder], ["roc", folder])
        tell("from_encoders_pretrained / theirs", (found["wall"], found["cpu"]))


def bench_hard_negatives():
    """2,000 relations of one description, encoders of 2 layers and width 128."""
    model = make_model(2_000, 1, shape=TINY).train()
    batch, steps = make_batch(), count()
    labels = batch.pop("labels")
    hard_negatives = RelationFeatures(model, hard_negatives=64, max_age=100)

    def hard():
        hard_negatives.step = next(steps)
        hard_negatives.labels = labels
        training_step(model, batch, labels, relation_features=hard_negatives)

    ratios = compare(
        frozen=partial(
            training_step, model, batch, labels, relation_features=RelationFeatures(model, with_gradient=False)
        ),
        everything=partial(training_step, model, batch, labels),
        hard=hard,
    )
    tell("2,000 relations, all encoded with gradient / frozen", ratios["everything"])
    tell("2,000 relations, --relation_hard_negatives 64 / frozen", ratios["hard"])


@torch.inference_mode()
def bench_search():
    """The 10 best of 100,000 relations, over the same step up to the pairs' vectors."""
    model = make_model(100_000, 1, None, BASE).eval()
    labels = list(model.config.id2label.values())
    model.set_relation_types({label: ["person", f"kind {i % 10}"] for i, label in enumerate(labels)})
    batch = {name: value for name, value in make_batch().items() if name != "labels"}
    types = [("person", f"kind {i % 2}") for i in range(BATCH)]
    vectors, forward = model.pair_encoder(**batch), model.pair_encoder.forward

    def search(**how):
        model.pair_encoder.forward = lambda **inputs: vectors  # what is left is all but the pairs' encoding
        model.search(**how, **batch)
        model.pair_encoder.forward = forward

    calls = {
        "matrix product": {},
        "a tenth fits the types": {"types": types},
        "flat index of faiss": {"index": "faiss"},
    }
    if find_spec("faiss") is None:
        del calls["flat index of faiss"]
    ratios = compare(
        step=lambda: model.encode_pairs(**batch), **{name: partial(search, **how) for name, how in calls.items()}
    )
    for name in calls:
        tell(f"10 best of 100,000 relations, {name}, / step", ratios[name])


@torch.inference_mode()
def bench_objects():
    """Objects, over the same pairs and pictures without."""
    roi, crop = (make_model(23, object_features=features).eval() for features in ("roi", "crop"))
    plain = {**make_batch(), "labels": None}
    batches = {}
    for n in (1, 4, 12):
        corners = torch.rand(BATCH, n, 2, 2).sort(dim=2).values
        boxes = torch.cat([corners[:, :, 0] * 0.9, corners[:, :, 1] * 0.9 + 0.1], dim=-1)
        batches[n] = {**plain, "object_boxes": boxes, "tail_index": torch.full((BATCH,), plain["input_ids"].shape[1])}
    # Two comparisons: what crops leave of the caches and of the heap must not count against the rest.
    for name, model in (("patches in the box", roi), ("crops", crop)):
        ratios = compare(
            plain=lambda: roi(**plain), **{str(n): partial(model, **batch) for n, batch in batches.items()}
        )
        for n in batches:
            tell(f"inference, {n} objects a picture, {name} / without", ratios[str(n)])


@torch.inference_mode()
def bench_padding():
    """Text only: padding to the longest of the batch, over padding to a fixed length."""
    model = make_model(23).eval()
    lengths = text_lengths(BATCH * 50)
    sampler = PictureGroupedSampler(lengths.tolist(), [None] * len(lengths), BATCH)
    like_length = lengths[list(sampler)[:BATCH]]
    random_lengths = lengths[:BATCH]
    pictures = ("pixel_values", "image_index")
    batches = {
        "fixed 128": make_batch(pad_to=128, lengths=random_lengths),
        "longest of a random batch": make_batch(lengths=random_lengths),
        "a batch of the sampler": make_batch(lengths=like_length),
    }
    batches = {name: {k: v for k, v in b.items() if k not in pictures} for name, b in batches.items()}
    ratios = compare(**{name: partial(model, **batch) for name, batch in batches.items()})
    for name in list(batches)[1:]:
        tell(f"text only, padded to {name} / to 128", ratios[name])


def bench_loading():
    """800 × 600 JPEGs, 16 pairs of 10 pictures a batch."""
    model, batch = make_model(23, 1).train(), make_batch()
    labels = batch.pop("labels")
    processor = RocProcessor(ViTImageProcessorPil(), build_demo_tokenizer())
    buffer = io.BytesIO()
    noise = random.integers(0, 255, (60, 80, 3), dtype=np.uint8)
    PillowImage.fromarray(noise).resize((800, 600)).save(buffer, format="JPEG", quality=90)
    jpeg = {"bytes": buffer.getvalue(), "path": None}
    features = Features({"image": Image(), "image_id": Value("string")})
    rows = Dataset.from_dict({"image": [jpeg] * 10, "image_id": [str(i) for i in range(10)]}, features=features)
    places = {"head_index": 1, "tail_index": 8, "head_span": [4, 6], "tail_span": [11, 13]}
    examples = [
        {"input_ids": [5] * int(n), "labels": 0, "image_id": str(i % 10), **places}
        for i, n in enumerate(text_lengths(BATCH))
    ]
    with tempfile.TemporaryDirectory() as cache:
        rows.save_to_disk(cache)
        collate = RocDataCollator(processor, PictureTable(processor, [Dataset.load_from_disk(cache)]))

        def decode():
            opened = [open_picture(buffer.getvalue()) for _ in range(BATCH)]
            return resize_pictures(opened, processor.image_processor)

        step = partial(
            training_step, model, batch, labels, relation_features=RelationFeatures(model, with_gradient=False)
        )
        ratios = compare(step=step, collate=lambda: collate(examples), decode=decode)
    tell("collating a batch / training step of small encoders", ratios["collate"])
    tell("decoding for every pair in every epoch / the same step", ratios["decode"])


def bench_extraction(shape: dict):
    """extract.py's unit of work on posts of 6 entities, 32 tokens with markers, over a loop that asks pair by pair."""
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(23, shape=shape)
        processor = RocProcessor(ViTImageProcessorPil(), build_demo_tokenizer())
        model.set_relations({f"relation {i}": [f"The head is the {i} of the tail."] for i in range(23)}, processor)
        for part in (model, processor):
            part.save_pretrained(folder)
        extractor, half = (
            PostExtractor(ExtractorSettings(folder, threshold=0.0, image_dir=Path(folder), device="cpu", dtype=dtype))
            for dtype in ("float32", "bfloat16")
        )
        noise = PillowImage.fromarray(random.integers(0, 255, (60, 80, 3), dtype=np.uint8)).resize((800, 600))
        names = ["Maya", "Leo Brandt", "Rovers", "Oslo", "Falcon Labs", "Ines"]
        text = f"good morning {' , '.join(names)} in one picture # thinking of a photo tonight !"
        entities = [{"start": text.index(name), "end": text.index(name) + len(name)} for name in names]
        # Of what cannot be saved: each pair has its markers, so that the encoder reads a text for each.
        encoder = extractor.pipe.model.pair_encoder.text_encoder
        tensors = extractor.pipe.preprocess({"text": text, "entities": entities})["tensors"]
        texts = {name: tensors[name] for name in ("input_ids", "attention_mask")}
        weights = [weight for name, weight in encoder.encoder.named_parameters() if name.endswith("weight")]
        weights = [weight for weight in weights if weight.ndim == 2]

        @torch.inference_mode()
        def encode():
            for _ in range(2):
                encoder(**texts)

        @torch.inference_mode()
        def multiply():
            for _ in range(2):
                for weight in weights:
                    F.linear(torch.ones(texts["input_ids"].numel(), weight.shape[1]), weight)

        for number in range(2):
            noise.save(Path(folder, f"{number}.jpg"), quality=90)
        for kind, image in (("text only", False), ("a picture of 800 × 600 each", True)):
            posts = [{"text": text, **({"image": f"{number}.jpg"} if image else {})} for number in range(2)]
            pairs = [
                {
                    "text": text,
                    "head": head,
                    "tail": tail,
                    **({"image": str(Path(folder, post["image"]))} if image else {}),
                }
                for post in posts
                for head, tail in permutations(entities, 2)
            ]
            records = [*enumerate({**post, "entities": entities} for post in posts)]
            ratios = compare(
                loop=lambda pairs=pairs: [extractor.pipe(pair, top_k=1) for pair in pairs],
                extract=lambda records=records: extractor(records),
                half=lambda records=records: half(records),
                **({} if image else {"encode": encode, "multiply": multiply}),
            )
            tell(f"extract.py, {kind} / pair by pair", ratios["extract"])
            tell(f"extract.py in bfloat16, {kind} / pair by pair", ratios["half"])
            if not image:
                tell("the text encoder alone / pair by pair", ratios["encode"])
                tell("its matrix products alone / pair by pair", ratios["multiply"])


SHAPES = {"base": BASE, "small": SMALL}
CHILDREN = {"step": child_step, "start": child_start, "join": child_join}


def main():
    global rounds
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="Small encoders, fewer rounds, and the first part only.")
    parser.add_argument("--size", choices=SHAPES, help="Of the encoders in the first part. Default: base.")
    parser.add_argument("--rounds", type=int, help="Default: 5, with --quick 3.")
    parser.add_argument("--only", nargs="+", help="Parts by name: steps, frozen, uneven, memory, start, search ...")
    parser.add_argument("--output", help="A JSON file for the table, with the machine and the commit.")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.manual_seed(0)
    if args.child:
        logging.set_verbosity_error()
        print(json.dumps(CHILDREN[args.child[0]](*args.child[1:])))
        return
    rounds = args.rounds or (3 if args.quick else 5)
    size = args.size or ("small" if args.quick else "base")
    parts = {
        "steps": partial(bench_steps, SHAPES[size]),
        "frozen": partial(bench_frozen, SHAPES[size]),
        "uneven": bench_uneven,
        "memory": partial(bench_memory, size),
        "start": partial(bench_start, SHAPES[size]),
        "hard_negatives": bench_hard_negatives,
        "search": bench_search,
        "objects": bench_objects,
        "padding": bench_padding,
        "loading": bench_loading,
        "extraction": partial(bench_extraction, SHAPES[size]),
    }
    if unknown := set(args.only or ()) - parts.keys():
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    setting = {
        "commit": commit,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "encoders": size,
        "rounds": rounds,
    }
    print(", ".join(f"{name} {value}" for name, value in setting.items()))
    print("\n| | wall time | CPU time | aim |\n|:--|--:|--:|:--|")
    for name in args.only or (list(parts)[:5] if args.quick else parts):
        parts[name]()
    if args.output:
        write_json(Path(args.output), setting | {"table": table})


if __name__ == "__main__":
    sys.exit(main())

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""
`make bench`: what ROC costs over its floor, as ratios. No absolute time is printed: machines differ and are noisy.

The floor is the model's own text encoder, vision encoder and fusion layers called bare on the same batch, with a
linear layer on top. Encoders: 6 layers of width 384 each, random weights; text lengths like MNRE's. What is compared
runs in turn, and the median over rounds counts.
"""

import io
import resource
import statistics
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
from transformers import BertConfig, ViTConfig, ViTImageProcessorPil
from transformers.masking_utils import create_bidirectional_mask

from data_scripts.demo.dataset import build_demo_tokenizer
from extraction_roc.extractor import ExtractorSettings, PostExtractor
from modeling_roc import RocConfig, RocModel
from modeling_roc.relation_memory_roc import RelationMemory, _relation_weights
from processing_roc import RocProcessor
from processing_roc.processing_roc import open_picture
from training_roc import RelationFeatures
from training_roc.collator import PictureTable, RocDataCollator, resize_pictures
from training_roc.sampler import PictureGroupedSampler

BATCH, ROUNDS = 16, 7
SMALL = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
TINY = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 512}
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
random = np.random.default_rng(0)


def compare(**calls) -> dict[str, float]:
    """Median seconds of each call; they run in turn, after one round to warm up."""
    seconds = {name: [] for name in calls}
    for _ in range(ROUNDS + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def text_lengths(count: int) -> np.ndarray:
    """Like MNRE with markers and type words: 35 on average, 59 at most."""
    return random.normal(35, 9, count).round().clip(15, 59).astype(int)


def token_ids(lengths: np.ndarray, pad: int) -> torch.Tensor:
    ids = torch.full((len(lengths), int(max(lengths))), pad)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.from_numpy(random.integers(5, 30000, length))
    return ids


def make_model(
    num_relations: int, descriptions_each: int = 3, object_features: str | None = None, shape: dict = SMALL
) -> RocModel:
    relations = {f"relation {i}": ["text"] * descriptions_each for i in range(num_relations)}
    model = RocModel(
        RocConfig(
            text_config=BertConfig(**shape),
            vision_config=ViTConfig(**shape, patch_size=32),
            relation_descriptions=relations,
            object_features=object_features,
        )
    )
    ids = token_ids(text_lengths(num_relations * descriptions_each), pad=-1)
    model.memory = RelationMemory(model.config, ids)
    model.memory.embeds.copy_(F.normalize(torch.randn(len(ids), model.config.projection_dim), dim=-1))
    model.memory.trust(_relation_weights(model))  # no answer encodes the descriptions first
    return model


def make_batch(pairs_per_picture: int = 1, pad_to: int | None = None, lengths=None) -> dict[str, torch.Tensor]:
    ids = token_ids(text_lengths(BATCH) if lengths is None else lengths, pad=0)
    if pad_to is not None:
        ids = F.pad(ids, (0, pad_to - ids.shape[1]))
    num_images = -(-BATCH // pairs_per_picture)
    return {
        "input_ids": ids,
        "attention_mask": (ids > 0).long(),
        "head_index": torch.full((BATCH,), 1),
        "tail_index": torch.full((BATCH,), 8),
        "head_span": torch.tensor([[4, 6]] * BATCH),
        "tail_span": torch.tensor([[11, 13]] * BATCH),
        "pixel_values": torch.randn(num_images, 3, 224, 224),
        "image_index": torch.arange(BATCH) // pairs_per_picture,
        "labels": torch.from_numpy(random.integers(0, 23, BATCH)),
    }


def floor_logits(model: RocModel, head: torch.nn.Linear, batch: dict) -> torch.Tensor:
    sequence = model.pair_encoder.text_encoder(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])[0]
    patches = model.pair_encoder.vision_encoder(pixel_values=batch["pixel_values"])[0][batch["image_index"]]
    sequence = torch.cat([sequence, patches], dim=1)
    mask = F.pad(batch["attention_mask"], (0, patches.shape[1]), value=1)
    mask = create_bidirectional_mask(model.config.fusion_encoder_config, sequence, mask)
    return head(model.pair_encoder.fusion(sequence, attention_mask=mask)[0][:, 0])


def training_step(logits, batch, parameters):
    F.cross_entropy(logits, batch["labels"]).backward()
    for parameter in parameters:
        parameter.grad = None


def bench_training():
    print("Training step (forward and backward, 23 relations × 3 descriptions), over the floor")
    model = make_model(23).train()
    head, batch = torch.nn.Linear(384, 23), make_batch()
    parameters = [*model.parameters(), *head.parameters()]

    def roc(relation_features):
        logits = model(**{**batch, "labels": None}, relation_features=relation_features).logits
        training_step(logits, batch, parameters)

    frozen = RelationFeatures(model, with_gradient=False)
    seconds = compare(
        floor=lambda: training_step(floor_logits(model, head, batch), batch, parameters),
        encoding=lambda: roc(None),
        between=lambda: roc(frozen),
    )
    print(f"  descriptions frozen: {seconds['between'] / seconds['floor']:.2f}")
    for every in (1, 4, 8, 16):
        mean = (seconds["encoding"] + (every - 1) * seconds["between"]) / every
        print(f"  descriptions encoded with gradient every {every:2d} steps: {mean / seconds['floor']:.2f}")
    return seconds["between"]


def bench_hard_negatives():
    print(
        "Training step, 2,000 relations × 1 description, 2 layers of width 128, over the same with descriptions frozen"
    )
    model = make_model(2_000, 1, shape=TINY).train()
    batch, steps = make_batch(), count()
    hard_negatives = RelationFeatures(model, hard_negatives=64, max_age=100)

    def roc(relation_features):
        training_step(model(**batch, relation_features=relation_features).logits, batch, model.parameters())

    def hard():
        hard_negatives.step = next(steps)
        roc(hard_negatives)

    frozen = RelationFeatures(model, with_gradient=False)
    seconds = compare(everything=lambda: roc(None), hard=hard, frozen=lambda: roc(frozen))
    print(f"  all encoded with gradient: {seconds['everything'] / seconds['frozen']:.2f}")
    print(f"  the batch's and 64 hard negatives with gradient: {seconds['hard'] / seconds['frozen']:.2f}")
    print(f"  the one over the other: {seconds['everything'] / seconds['hard']:.1f}")


def bench_inference():
    print("Inference step, over the floor; share of the memory (scores and aggregation) in it")
    bench_memory(23, 3)
    bench_memory(1_000, 1)
    bench_memory(10_000, 1)


@torch.inference_mode()
def bench_memory(num_relations: int, descriptions_each: int):
    model = make_model(num_relations, descriptions_each).eval()
    head, batch = torch.nn.Linear(384, num_relations), {**make_batch(), "labels": None}
    pair_embeds = model.encode_pairs(**batch)
    seconds = compare(
        floor=lambda: floor_logits(model, head, batch),
        roc=lambda: model(**batch),
        memory=lambda: model.memory(pair_embeds),
    )
    ratio, share = seconds["roc"] / seconds["floor"], seconds["memory"] / seconds["roc"]
    print(f"  {num_relations:6,} relations: {ratio:.2f}, memory {share:.1%}")


@torch.inference_mode()
def bench_search():
    print("The 10 best of 100,000 relations, base-size encoders, over the same step up to the pairs' vectors")
    before = peak_memory()
    model = make_model(100_000, descriptions_each=1, shape=BASE).eval()
    labels = list(model.config.id2label.values())
    model.set_relation_types({label: ["person", f"kind {i % 10}"] for i, label in enumerate(labels)})
    batch = {name: value for name, value in make_batch().items() if name != "labels"}
    types = [("person", f"kind {i % 2}") for i in range(BATCH)]
    vectors = model.pair_encoder(**batch)
    built = peak_memory()
    step = compare(step=lambda: model.encode_pairs(**batch))["step"]
    model.pair_encoder.forward = lambda **inputs: vectors  # what is left of a search is all but the pairs' encoding
    seconds = compare(
        everything=lambda: model.search(**batch),
        types=lambda: model.search(types=types, **batch),
        **({} if find_spec("faiss") is None else {"faiss": lambda: model.search(index="faiss", **batch)}),
    )
    for name, what in (("everything", "matrix product"), ("types", "a tenth fits"), ("faiss", "flat index of faiss")):
        if name in seconds:
            print(f"  {what}: adds {seconds[name] / step:.1%}")
    print(f"  peak memory in MiB: before {before}, with model and memory {built}, after the searches {peak_memory()}")


def peak_memory() -> int:
    """Most MiB that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


@torch.inference_mode()
def bench_pictures():
    print(f"Inference of {BATCH} pairs that share pictures, over one picture a pair")
    model = make_model(23).eval()
    batches = {str(n): {**make_batch(pairs_per_picture=n), "labels": None} for n in (1, 4, 12)}
    seconds = compare(**{name: lambda batch=batch: model(**batch) for name, batch in batches.items()})
    for name in batches:
        print(f"  {name:>2} pairs a picture: {seconds[name] / seconds['1']:.2f}")


@torch.inference_mode()
def bench_objects():
    print("Inference with objects, over the same pairs and pictures without")
    roi, crop = (make_model(23, object_features=features).eval() for features in ("roi", "crop"))
    plain = {**make_batch(), "labels": None}
    batches = {}
    for n in (1, 4, 12):
        corners = torch.rand(BATCH, n, 2, 2).sort(dim=2).values
        boxes = torch.cat([corners[:, :, 0] * 0.9, corners[:, :, 1] * 0.9 + 0.1], dim=-1)
        batches[n] = {**plain, "object_boxes": boxes, "tail_index": torch.full((BATCH,), plain["input_ids"].shape[1])}
    # Two comparisons: what crops leave of the caches and of the heap must not count against the rest.
    patches, crops = (
        compare(plain=lambda: roi(**plain), **{str(n): partial(model, **batch) for n, batch in batches.items()})
        for model in (roi, crop)
    )
    for n in batches:
        ratios = [seconds[str(n)] / seconds["plain"] for seconds in (patches, crops)]
        print(f"  {n:>2} objects a picture: patches in the box {ratios[0]:.2f}, crops {ratios[1]:.2f}")


@torch.inference_mode()
def bench_padding():
    print("Text only: padding to the longest of the batch, over padding to a fixed length")
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
    seconds = compare(**{name: lambda batch=batch: model(**batch) for name, batch in batches.items()})
    for name in list(batches)[1:]:
        print(f"  {name}: {seconds[name] / seconds['fixed 128']:.2f}")


def bench_loading(step_seconds: float):
    print("Data loading: 800 × 600 JPEGs, 16 pairs of 10 pictures a batch")
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

        seconds = compare(collate=lambda: collate(examples), decode=decode)
    print(f"  collating a batch, over a training step: {seconds['collate'] / step_seconds:.1%}")
    print(f"  decoding for every pair in every epoch would add: {seconds['decode'] / step_seconds:.1%}")


def bench_extraction():
    print(
        "extract.py's unit of work on posts of 6 entities, posts a second over those of a loop that asks pair by pair"
    )
    with tempfile.TemporaryDirectory() as folder:
        model, processor = make_model(23), RocProcessor(ViTImageProcessorPil(), build_demo_tokenizer())
        model.set_relations({f"relation {i}": [f"The head is the {i} of the tail."] for i in range(23)}, processor)
        for part in (model, processor):
            part.save_pretrained(folder)
        extractor, half = (
            PostExtractor(ExtractorSettings(folder, threshold=0.0, image_dir=Path(folder), device="cpu", dtype=dtype))
            for dtype in ("float32", "bfloat16")
        )
        noise = PillowImage.fromarray(random.integers(0, 255, (60, 80, 3), dtype=np.uint8)).resize((800, 600))
        names = ["Maya", "Ken Ito", "the Rovers", "Oslo", "Falcon Labs", "Ines"]
        text = f"RT @someone : {' and '.join(names)} in one post , who would have thought so ?"
        entities = [{"start": text.index(name), "end": text.index(name) + len(name)} for name in names]
        for number in range(2):
            noise.save(Path(folder, f"{number}.jpg"), quality=90)
        for kind, image in (("text only", False), ("with a picture of 800 × 600 each", True)):
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
            seconds = compare(
                extract=lambda records=records: extractor(records),
                half=lambda records=records: half(records),
                loop=lambda pairs=pairs: [extractor.pipe(pair, top_k=1) for pair in pairs],
            )
            ratios = [seconds["loop"] / seconds[name] for name in ("extract", "half")]
            print(f"  {kind}: {ratios[0]:.1f}, in bfloat16 {ratios[1]:.1f}")


def main():
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, batch {BATCH}, median of {ROUNDS}\n")
    step_seconds = bench_training()
    bench_hard_negatives()
    bench_inference()
    bench_search()
    bench_pictures()
    bench_objects()
    bench_padding()
    bench_loading(step_seconds)
    bench_extraction()


if __name__ == "__main__":
    sys.exit(main())

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""
How fast trained models lose when their input goes bad: micro F1 over rising rates of each disturbance.

    python -m evaluation_roc.robustness --model_name_or_path outputs/retrieval outputs/classification \
        --dataset_name data/mnre --output_dir robustness

A rate, 0 to 1, is the share of places that are disturbed: of words outside of head and tail, pictures, pixels, known
types, boxes. What is disturbed at a lower rate is disturbed in the same way at a higher one.

A disturbance is a pure function from a row of the schema to a disturbed one, called as `disturb(row, rate, rng,
pool)`: `rng` is a `random.Random` that decides all that is random, `pool` what the split holds (`Pool`). Head and tail
stay what they are: mentions are not touched, and their positions follow the words around them.
"""

import argparse
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from data_scripts.converters.entity_typing import UNKNOWN
from data_scripts.writing import write_json
from evaluation_roc.drawing import drawing
from evaluation_roc.report import format_columns

# torch, transformers, datasets and matplotlib are imported where they are used: --help answers at once.

RATES = (0.1, 0.25, 0.5, 0.75, 1.0)
ROLES = ("head", "tail")
NEIGHBOURS = {
    key: set(near)
    for row in ("qwertyuiop", "asdfghjkl", "zxcvbnm")
    for key, near in zip(row, (row[max(i - 1, 0) : i] + row[i + 1 : i + 2] for i in range(len(row))), strict=True)
}
"""Keys beside a key on its row of a keyboard."""


class Pool(NamedTuple):
    """What a split holds: its pictures, as a function from image_id to PIL picture, their ids, its entity types, and
    how it says that a type is not known: "unknown", or `None` where it never says so."""

    picture: Callable[[str], Image.Image]
    image_ids: list[str]
    types: list[str]
    unknown: str | None = None


def _chosen(places: Iterable, rate: float, rng: random.Random) -> dict:
    """The places that are disturbed, each with random numbers of its own: one draw a place, compared with the rate."""
    numbers = {place: random.Random(rng.getrandbits(64)) for place in places}
    return {place: own for place, own in numbers.items() if own.random() < rate}


def typos(row: Mapping, rate: float, rng: random.Random, pool: Pool) -> dict:
    """A slip of the finger in words outside of the mentions."""
    tokens = list(row["tokens"])
    for place, own in _chosen(_places_outside(row), rate, rng).items():
        tokens[place] = _misspell(tokens[place], own)
    return {**row, "tokens": tokens}


def _misspell(word: str, rng: random.Random) -> str:
    """Two letters swapped, one left out, doubled, or hit beside; never the same word."""
    i = rng.randrange(len(word))
    beside = sorted(NEIGHBOURS.get(word[i].lower(), {word[i]}))
    changed = [word[: i + 1] + word[i:], word[:i] + rng.choice(beside) + word[i + 1 :]]
    if len(word) > 1:
        changed.append(word[:i] + word[i + 1 :])
        changed.append(word[:i] + word[i : i + 2][::-1] + word[i + 2 :])
    return rng.choice([one for one in changed if one != word])


def dropped_words(row: Mapping, rate: float, rng: random.Random, pool: Pool) -> dict:
    """Words outside of the mentions are left out."""
    dropped = _chosen(_places_outside(row), rate, rng)
    kept = [i for i in range(len(row["tokens"])) if i not in dropped]
    place = {old: new for new, old in enumerate(kept)}
    changed = {**row, "tokens": [row["tokens"][i] for i in kept]}
    for role in ROLES:
        if row[role]["start"] is not None:
            span = {"start": place[row[role]["start"]], "end": place[row[role]["end"] - 1] + 1}
            changed[role] = {**row[role], **span}
    return changed


def _places_outside(row: Mapping) -> list[int]:
    spans = [range(row[role]["start"], row[role]["end"]) for role in ROLES if row[role]["start"] is not None]
    return [i for i in range(len(row["tokens"])) if not any(i in span for span in spans)]


def missing_picture(row: Mapping, rate: float, rng: random.Random, pool: Pool) -> dict:
    """There is no picture; one that head or tail lies in stays."""
    if not _chosen(["image"], rate, rng) or any(row[role]["kind"] == "object" for role in ROLES):
        return {**row}
    return {**row, "image": None, "image_id": None, "objects": []}


def _open(row: Mapping) -> Image.Image:
    from processing_roc.processing_roc import open_picture

    return open_picture(row["image"], f"image_id {row['image_id']!r}: ")


def blank_picture(row: Mapping, rate: float, rng: random.Random, pool: Pool) -> dict:
    """The picture is of one colour, its own mean."""
    if not _chosen(["image"], rate, rng) or row["image"] is None:
        return {**row}
    picture = _open(row)
    mean = tuple(int(value) for value in np.asarray(picture).mean(axis=(0, 1)).round())
    return {**row, "image": Image.new("RGB", picture.size, mean)}


def noisy_picture(row: Mapping, rate: float, rng: random.Random, pool: Pool) -> dict:
    """Pixels of any colour stand among the picture's."""
    if row["image"] is None or rate == 0:
        return {**row}
    pixels = np.asarray(_open(row))
    numbers = np.random.default_rng(rng.getrandbits(64))
    is_noise = numbers.random(pixels.shape[:2]) < rate
    noise = numbers.integers(0, 256, size=pixels.shape, dtype=np.uint8)
    return {**row, "image": Image.fromarray(np.where(is_noise[..., None], noise, pixels))}


def other_picture(row: Mapping, rate: float, rng: random.Random, pool: Pool) -> dict:
    """The picture is that of another post; boxes stay where they were."""
    chosen = _chosen(["image"], rate, rng)
    if not chosen or row["image"] is None or len(pool.image_ids) < 2:
        return {**row}
    other = chosen["image"].choice([image_id for image_id in pool.image_ids if image_id != row["image_id"]])
    return {**row, "image": pool.picture(other), "image_id": other}


def _with_types(row: Mapping, types: Mapping[str, str | None]) -> dict:
    return {**row, **{role: {**row[role], "type": name} for role, name in types.items()}}


def _typed(row: Mapping) -> list[str]:
    return [role for role in ROLES if row[role]["type"] not in (None, UNKNOWN)]


def wrong_types(row: Mapping, rate: float, rng: random.Random, pool: Pool) -> dict:
    """The type of head or tail, where it is known, is another one of the split's."""
    types = {}
    for role, own in _chosen(_typed(row), rate, rng).items():
        if others := [name for name in pool.types if name != row[role]["type"]]:
            types[role] = own.choice(others)
    return _with_types(row, types)


def unknown_types(row: Mapping, rate: float, rng: random.Random, pool: Pool) -> dict:
    """The type of head or tail, where it is known, is no longer."""
    return _with_types(row, dict.fromkeys(_chosen(_typed(row), rate, rng), pool.unknown))


def shifted_boxes(row: Mapping, rate: float, rng: random.Random, pool: Pool) -> dict:
    """A box moves by half of its own width and height, in a random direction; what leaves the picture is cut off."""

    def key(entity: Mapping) -> tuple:  # an object that is head or tail stands among the candidates too
        return entity["name"], *entity["box"]

    boxes = [entity for entity in (*(row[role] for role in ROLES), *row["objects"]) if entity["box"] is not None]
    chosen, moved = _chosen(dict.fromkeys(map(key, boxes)), rate, rng), {}
    for (name, *box), own in chosen.items():
        x0, y0, x1, y1 = box
        right, down = own.choice((-1, 1)) * (x1 - x0) / 2, own.choice((-1, 1)) * (y1 - y0) / 2
        shifted = (x0 + right, y0 + down, x1 + right, y1 + down)
        moved[name, *box] = [min(max(value, 0.0), 1.0) for value in shifted]

    def shift(entity: Mapping) -> dict:
        is_moved = entity["box"] is not None and key(entity) in moved
        return {**entity, "box": moved[key(entity)]} if is_moved else {**entity}

    return {**row, **{role: shift(row[role]) for role in ROLES}, "objects": [shift(one) for one in row["objects"]]}


DISTURBANCES = {
    function.__name__: function
    for function in (
        typos, dropped_words, missing_picture, blank_picture, noisy_picture, other_picture, wrong_types, unknown_types,
        shifted_boxes,
    )
}  # fmt: skip


def make_pool(rows) -> Pool:
    """What disturbances may draw from the split `rows`; pictures are decoded when they are asked for."""
    from datasets import Image

    undecoded = rows.select_columns(["image_id", "image"]).cast_column("image", Image(decode=False))
    place = {row["image_id"]: i for i, row in enumerate(undecoded) if row["image"] is not None}
    types = {entity["type"] for role in ROLES for entity in rows[role]}
    unknown = UNKNOWN if UNKNOWN in types else None
    return Pool(
        lambda image_id: rows[place[image_id]]["image"], sorted(place), sorted(types - {None, UNKNOWN}), unknown
    )


def disturbed(rows, name: str, rate: float, seed: int, pool: Pool) -> Iterator[dict]:
    """The rows, each disturbed by its own random numbers: they depend on seed, disturbance and id, not on the rate."""
    for row in rows:
        yield DISTURBANCES[name](row, rate, random.Random(f"{seed} {name} {row['id']}"), pool)


def has_effect(name: str, rows, pool: Pool) -> bool:
    """Whether the split has what the disturbance `name` disturbs."""
    if name.endswith("picture"):
        return bool(pool.image_ids)
    if name.endswith("types"):
        return bool(pool.types)
    return name != "shifted_boxes" or any(rows["objects"])


def is_read(name: str, model, processor) -> bool:
    """Whether the model reads what the disturbance `name` disturbs; if not, its curve is flat without being run."""
    if name.endswith("picture"):
        return processor.image_processor is not None
    if name.endswith("types"):
        return processor.use_entity_types
    return name != "shifted_boxes" or model.config.object_features is not None


def micro_f1(model, processor, rows: Iterable[dict], label_names: Sequence[str], batch_size: int) -> float:
    """Micro F1, 0 to 1, of the model's answers to rows of the schema.

    Args:
        model ([`RocModel`]): in evaluation mode, with just the relations `label_names`, in any order.
        processor ([`RocProcessor`]): the model's.
        rows: all of them labelled.
        label_names: the relations in the order of the rows' ids.
    """
    import torch

    from evaluation_roc.relation_f1.relation_f1 import compute_relation_f1

    fields = {"text": "tokens", "head": "head", "tail": "tail"}
    if model.config.object_features is not None:
        fields["objects"] = "objects"
    if processor.image_processor is not None:
        fields["images"] = "image"
    to_row = [label_names.index(label) for label in model.config.id2label.values()]
    predictions, references = [], []
    rows = iter(rows)
    while batch := list(islice(rows, batch_size)):
        given = {name: [row[column] for row in batch] for name, column in fields.items()}
        inputs = processor(**given, return_tensors="pt").to(model.device)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
        with torch.no_grad():
            answers = model(**inputs).logits.argmax(dim=-1).tolist()
        predictions += [to_row[answer] for answer in answers]
        references += [row["relation"] for row in batch]
    negative = model.config.negative_relation
    negative = None if negative is None else label_names.index(negative)
    scores = compute_relation_f1(predictions, references, num_labels=len(label_names), negative_label=negative)
    return float(scores["micro_f1"])


def save_curves(path: str | Path, points: Sequence[dict]) -> None:
    """Draws micro F1 over the rate, a panel for each disturbance and a curve for each model.

    Args:
        path: the picture to write; its ending (.png, .svg, .pdf) decides the format.
        points: `{"model", "objective", "disturbance", "rate", "micro_f1"}` each.
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(point["disturbance"] for point in points))
    models = list(dict.fromkeys((point["model"], point["objective"]) for point in points))
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    with drawing(path, [model for model, _ in models]) as (temporary, drawable):
        figure = Figure(figsize=(4 * columns, 3.2 * rows + 0.5), layout="constrained")
        panels = figure.subplots(rows, columns, sharey=True, squeeze=False).flat
        for panel, name in zip(panels, names, strict=False):
            for model, objective in models:
                own = [point for point in points if (point["disturbance"], point["model"]) == (name, model)]
                chosen = sorted((point["rate"], point["micro_f1"]) for point in own)
                panel.plot(
                    *zip(*chosen, strict=True), marker="o", markersize=4, label=drawable(f"{objective}: {model}")
                )
            panel.set(title=name.replace("_", " "), xlabel="rate", ylabel="micro F1", xlim=(0, 1), ylim=(0, 1))
            panel.grid(alpha=0.3)
        for panel in figure.axes[len(names) :]:
            panel.axis("off")
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center")
        figure.savefig(temporary, dpi=120)


def format_points(points: Sequence[dict]) -> str:
    """`points`, as for `save_curves`, as a Markdown table, a line for each model and disturbance."""
    scores = {(point["model"], point["disturbance"], point["rate"]): point["micro_f1"] for point in points}
    rates = sorted({rate for _, _, rate in scores})
    rows = [
        [model, name.replace("_", " "), *(f"{scores[model, name, rate]:.3f}" for rate in rates)]
        for model, name in dict.fromkeys((model, name) for model, name, _ in scores)
    ]
    return format_columns(["model", "disturbance", *(f"{rate:g}" for rate in rates)], rows, num_names=2)


def load_models(paths: Sequence[str], rows) -> dict[str, tuple]:
    """Path → model, in evaluation mode, and processor: all are there and fit the rows before any is measured.

    Raises:
        OSError: if there is no such model.
        ValueError: if a model has other relations than `rows`, or takes no objects, but the rows have some.
    """
    from modeling_roc import RocModel
    from processing_roc import RocProcessor

    label_names, loaded = rows.features["relation"].names, {}
    with_objects = any(entity["kind"] == "object" for role in ROLES for entity in rows[role])
    for path in paths:
        model = RocModel.from_pretrained(path).eval()
        if set(model.config.label2id) != set(label_names):
            raise ValueError(f"{path} knows other relations than the data set: {sorted(model.config.label2id)}")
        if model.config.object_features is None and with_objects:
            raise ValueError(f"{path} takes no objects of pictures, but heads or tails of the data set are some")
        loaded[path] = model, RocProcessor.from_pretrained(path)
    return loaded


def measure(models: dict, rows, disturbances, rates, seed: int, batch_size: int) -> list[dict]:
    """The points of all curves, as for `save_curves`; a rate of 0, which needs no disturbance, is among them.

    Args: `models` from `load_models`, the others as the command's options say.
    """
    import torch

    label_names, pool = rows.features["relation"].names, make_pool(rows)
    chosen = [name for name in disturbances if has_effect(name, rows, pool)]
    if left_out := [name for name in disturbances if name not in chosen]:
        print(f"left out, as the split has nothing of the kind: {', '.join(left_out)}")
    points = []
    for path, (model, processor) in models.items():
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        clean = micro_f1(model, processor, rows, label_names, batch_size)
        for name in chosen:
            for rate in (0.0, *rates):
                score = clean
                if rate > 0 and is_read(name, model, processor):
                    changed = disturbed(rows, name, rate, seed, pool)
                    score = micro_f1(model, processor, changed, label_names, batch_size)
                point = {"model": path, "objective": model.config.objective, "disturbance": name}
                points.append({**point, "rate": rate, "micro_f1": score})
                print(f"{path} {name} {rate:g}: micro F1 {score:.3f}", flush=True)
        model.to("cpu")
    return points


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--model_name_or_path", nargs="+", required=True, help="trained ROC models to compare")
    parser.add_argument("--dataset_name", default="demo", help="demo, a converted folder, or a data set on the Hub")
    parser.add_argument("--dataset_config_name")
    parser.add_argument("--dataset_revision")
    parser.add_argument("--split", default="test")
    parser.add_argument("--max_examples", type=int, help="a random part of the split, by --seed")
    parser.add_argument("--disturbances", nargs="+", choices=DISTURBANCES, default=list(DISTURBANCES))
    parser.add_argument("--rates", nargs="+", type=float, default=RATES, help="above 0, at most 1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--output_dir", type=Path, required=True, help="folder for robustness.json and robustness.png")
    options = parser.parse_args()
    if not all(0 < rate <= 1 for rate in options.rates):
        parser.error(f"--rates must be above 0 and at most 1, got {options.rates}")
    for name in ("max_examples", "batch_size"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1")

    from accelerate.utils import get_cpu_distributed_information

    from data_scripts.hub_errors import HubError
    from data_scripts.loading import load_relation_dataset

    try:
        if (started := get_cpu_distributed_information().world_size) != 1:
            raise ValueError(f"{started} processes were started, each of which would do the same work: start one")
        splits, _ = load_relation_dataset(options.dataset_name, options.dataset_config_name, options.dataset_revision)
        if options.split not in splits:
            raise ValueError(
                f"data set {options.dataset_name!r} has no {options.split} split, only {', '.join(splits)}"
            )
        rows = splits[options.split].filter(lambda label: label not in (None, -1), input_columns="relation")
        if options.max_examples is not None and options.max_examples < len(rows):
            rows = rows.shuffle(seed=options.seed).select(range(options.max_examples))
        if not len(rows):
            raise ValueError(f"nothing is labelled in the {options.split} split")
        models = load_models(options.model_name_or_path, rows)
        options.output_dir.mkdir(parents=True, exist_ok=True)  # before hours of measuring
        rates = sorted(set(options.rates))
        points = measure(models, rows, options.disturbances, rates, options.seed, options.batch_size)
    except (HubError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    names = ("dataset_name", "dataset_config_name", "dataset_revision", "split", "seed")
    report = {**{name: getattr(options, name) for name in names}, "num_examples": len(rows), "points": points}
    write_json(options.output_dir / "robustness.json", report)
    if points:
        save_curves(options.output_dir / "robustness.png", points)
        print(format_points(points), end="")
        pairs = zip(rows["head"], rows["tail"], strict=True)
        exempt = sum("object" in (head["kind"], tail["kind"]) for head, tail in pairs)
        if exempt and any(point["disturbance"] == "missing_picture" for point in points):
            print(f"missing picture: {exempt} of {len(rows)} pairs keep theirs, as head or tail lies in it")


if __name__ == "__main__":
    main()

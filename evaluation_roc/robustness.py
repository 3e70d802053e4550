# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""
How fast trained models lose when their input goes bad: micro F1 over rising rates of each disturbance.

    python -m evaluation_roc.robustness --model_name_or_path outputs/retrieval outputs/classification \
        --dataset_name data/mnre --output_dir robustness
"""

import argparse
import json
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from datasets import Dataset
from matplotlib.figure import Figure

from data_scripts.converters.entity_typing import UNKNOWN
from data_scripts.hub_errors import HubError
from data_scripts.loading import DEMO, load_relation_dataset
from evaluation_roc.disturbances import DISTURBANCES, Pool
from evaluation_roc.relation_f1.relation_f1 import compute_relation_f1
from evaluation_roc.report import replacing
from modeling_roc import RocModel
from processing_roc import RocProcessor

RATES = (0.1, 0.25, 0.5, 0.75, 1.0)
FIELDS = ("head", "tail", "objects")


def make_pool(rows: Dataset) -> Pool:
    """What disturbances may draw from the split `rows`; pictures are decoded when they are asked for."""
    first: dict[str, int] = {}
    for i, (image_id, has_picture) in enumerate(
        zip(rows["image_id"], rows.data.column("image").is_valid().to_pylist(), strict=True)
    ):
        if has_picture:
            first.setdefault(image_id, i)
    entities = [entity for role in ("head", "tail") for entity in rows[role]]
    types = {entity["type"] for entity in entities}
    unknown = UNKNOWN if UNKNOWN in types else None
    return Pool(
        lambda image_id: rows[first[image_id]]["image"], sorted(first), sorted(types - {None, UNKNOWN}), unknown
    )


def disturbed(rows: Dataset, name: str, rate: float, seed: int, pool: Pool) -> Iterator[dict]:
    """The rows, each disturbed by its own random numbers: they depend on seed, disturbance and id, not on the rate."""
    for row in rows:
        yield DISTURBANCES[name](row, rate, random.Random(f"{seed} {name} {row['id']}"), pool)


def has_effect(name: str, rows: Dataset, pool: Pool) -> bool:
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


@torch.no_grad()
def micro_f1(model, processor, rows: Iterator[dict], label_names: Sequence[str], batch_size: int) -> float:
    """Micro F1, 0 to 1, of the model's answers to rows of the schema.

    Args:
        model ([`RocModel`]): in evaluation mode, with just the relations `label_names`, in any order.
        processor ([`RocProcessor`]): the model's.
        rows: labelled rows.
        label_names: the relations in the order of the rows' ids.
        batch_size: rows in one pass.
    """
    to_row = torch.tensor([label_names.index(label) for label in model.config.id2label.values()])
    predictions, references, batch = [], [], []

    def answer():
        given = {name: [row[name] for row in batch] for name in FIELDS}
        if model.config.object_features is None:
            del given["objects"]
        if processor.image_processor is not None:
            given["images"] = [row["image"] for row in batch]
        inputs = processor(text=[row["tokens"] for row in batch], **given, return_tensors="pt").to(model.device)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
        predictions.extend(to_row[model(**inputs).logits.argmax(dim=-1).cpu()].tolist())
        references.extend(row["relation"] for row in batch)
        batch.clear()

    for row in rows:
        batch.append(row)
        if len(batch) == batch_size:
            answer()
    if batch:
        answer()
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
    names = list(dict.fromkeys(point["disturbance"] for point in points))
    models = list(dict.fromkeys((point["model"], point["objective"]) for point in points))
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(4 * columns, 3.2 * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).flat
    for panel, name in zip(panels, names, strict=False):
        for model, objective in models:
            chosen = sorted(
                (point["rate"], point["micro_f1"])
                for point in points
                if (point["disturbance"], point["model"]) == (name, model)
            )
            panel.plot(*zip(*chosen, strict=True), marker="o", markersize=4, label=f"{objective}: {model}")
        panel.set(title=name.replace("_", " "), xlabel="rate", ylabel="micro F1", xlim=(0, 1), ylim=(0, 1))
        panel.grid(alpha=0.3)
    for panel in list(figure.axes)[len(names) :]:
        panel.axis("off")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center")
    with replacing(Path(path)) as temporary:
        figure.savefig(temporary, dpi=120)


def format_points(points: Sequence[dict]) -> str:
    """`points`, as for `save_curves`, as a Markdown table, a line for each model and disturbance."""
    rates = sorted({point["rate"] for point in points})
    lines = ["| model | disturbance | " + " | ".join(f"{rate:g}" for rate in rates) + " |"]
    lines.append("|:--|:--|" + "--:|" * len(rates))
    for model, name in dict.fromkeys((point["model"], point["disturbance"]) for point in points):
        of = {
            point["rate"]: point["micro_f1"]
            for point in points
            if (point["model"], point["disturbance"]) == (model, name)
        }
        lines.append(
            f"| {model} | {name.replace('_', ' ')} | " + " | ".join(f"{of[rate]:.3f}" for rate in rates) + " |"
        )
    return "\n".join(lines) + "\n"


def load_models(paths: Sequence[str], rows: Dataset) -> dict[str, tuple[RocModel, RocProcessor]]:
    """Path → model, in evaluation mode, and processor: all are there and fit the rows before any is measured.

    Raises:
        OSError: if there is no such model.
        ValueError: if a model has other relations than `rows`, or takes no objects, but the rows have some.
    """
    label_names, loaded = rows.features["relation"].names, {}
    with_objects = any(entity["kind"] == "object" for role in ("head", "tail") for entity in rows[role])
    for path in map(str, paths):
        model = RocModel.from_pretrained(path).eval()
        if set(model.config.label2id) != set(label_names):
            raise ValueError(f"{path} knows other relations than the data set: {sorted(model.config.label2id)}")
        if model.config.object_features is None and with_objects:
            raise ValueError(f"{path} takes no objects of pictures, but heads or tails of the data set are some")
        loaded[path] = model, RocProcessor.from_pretrained(path)
    return loaded


def measure(models: dict, rows: Dataset, disturbances, rates, seed: int, batch_size: int) -> list[dict]:
    """The points of all curves, as for `save_curves`; a rate of 0, which needs no disturbance, is among them.

    Args:
        models: from `load_models`.
        rows, disturbances, rates, seed, batch_size: as the command's options say.
    """
    label_names, pool = rows.features["relation"].names, make_pool(rows)
    chosen = [name for name in disturbances if has_effect(name, rows, pool)]
    if left_out := [name for name in disturbances if name not in chosen]:
        print(f"left out, as the split has nothing of the kind: {', '.join(left_out)}")
    points = []
    for path, (model, processor) in models.items():
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        arguments = (label_names, batch_size)
        clean = micro_f1(model, processor, iter(rows), *arguments)
        for name in chosen:
            read = is_read(name, model, processor)
            for rate in (0.0, *rates):
                score = clean
                if rate > 0 and read:
                    score = micro_f1(model, processor, disturbed(rows, name, rate, seed, pool), *arguments)
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
    parser.add_argument("--dataset_name", default=DEMO, help="demo, a converted folder, or a data set on the Hub")
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
    try:
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
        if len(rows) < len(splits[options.split]):
            rows = rows.flatten_indices()  # `make_pool` looks into the table itself
        models = load_models(options.model_name_or_path, rows)
        options.output_dir.mkdir(parents=True, exist_ok=True)  # before hours of measuring
        rates = sorted(set(options.rates))
        points = measure(models, rows, options.disturbances, rates, options.seed, options.batch_size)
    except (HubError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    names = ("dataset_name", "dataset_config_name", "dataset_revision", "split", "seed")
    report = {**{name: getattr(options, name) for name in names}, "num_examples": len(rows), "points": points}
    with replacing(options.output_dir / "robustness.json") as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if points:
        save_curves(options.output_dir / "robustness.png", points)
        print(format_points(points), end="")


if __name__ == "__main__":
    main()

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""
How scores grow with the training data: F1 of finished runs of train.py over their numbers of training pairs.

    python -m evaluation_roc.learning_curve outputs/retrieval-* outputs/classification-* --output_dir low_resource

Runs with the same objective and settings and as many training pairs are one point, the mean of what their seeds gave.
"""

import argparse
import hashlib
import json
import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from data_scripts.loading import relation_texts
from evaluation_roc.f1_change import read_per_relation
from evaluation_roc.report import replacing

PREFIXES = {"test": "test", "validation": "eval"}
"""Of each split, what the names of its metrics and files begin with."""
METRICS = ("micro_f1", "macro_f1")
SETTINGS = (
    "relation_aggregation", "text_similarity", "temperature", "learn_temperature", "learn_negative_threshold",
    "pool_mentions", "pair_dropout", "projection_dim", "object_features",
)  # fmt: skip
"""Fields of [`RocConfig`] that set curves of one objective apart; `read_settings` adds what stands elsewhere."""


def read_run(folder: str | Path, split: str) -> dict:
    """What a finished run of train.py says of itself.

    Args:
        folder: its output folder.
        split: "test" or "validation".

    Returns:
        `run` (the folder), `objective`, `train_samples`, `micro_f1` and `macro_f1` (0-1), `settings` (from
        `read_settings`), and `supports`, the relations with their gold examples in the split, `{relation: int}`.

    Raises:
        ValueError: naming the folder and what is missing in it or is not as train.py writes it.
    """
    folder, prefix = Path(folder), PREFIXES[split]
    results, config, processor = (
        _read_object(folder / name) for name in ("all_results.json", "config.json", "processor_config.json")
    )
    objective, train_samples = config.get("objective"), results.get("train_samples")
    if not isinstance(objective, str):
        raise ValueError(f"{folder}: config.json has no objective: it is no ROC model's")
    if not isinstance(train_samples, int) or isinstance(train_samples, bool) or train_samples < 1:
        given = "has none" if train_samples is None else f"has {train_samples!r}"
        raise ValueError(
            f"{folder}: all_results.json must have the number of training pairs, train_samples, and {given}; "
            "train.py writes it where it trains"
        )
    scores = {}
    for metric in METRICS:
        name = f"{prefix}_{metric}"
        scores[metric] = value = results.get(name)
        if value is None:
            raise ValueError(f"{folder}: all_results.json has no {name}: the run did not score the {split} split")
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
            raise ValueError(f"{folder}: all_results.json: {name} must lie in 0-1, got {value!r}")
    path = folder / f"{prefix}_per_relation.json"
    if not path.is_file():
        raise ValueError(f"{folder} has no {path.name}")
    supports = {row["relation"]: row["support"] for row in read_per_relation(path)}
    run = {"run": str(folder), "objective": objective, "train_samples": train_samples}
    return {**run, **scores, "settings": read_settings(config, processor), "supports": supports}


def read_settings(config: dict, processor: dict) -> dict:
    """What sets curves of one objective apart, the ablations too.

    Args:
        config, processor: content of a run's config.json and processor_config.json.

    Returns:
        Those of `SETTINGS` that the config has; `use_entity_types`; `use_images`; and, where relations are described,
        `relation_text`: "labels" for the labels' own words, else the beginning of the descriptions' SHA-256.
    """
    settings = {name: config[name] for name in SETTINGS if name in config}
    settings["use_entity_types"] = processor.get("use_entity_types")
    settings["use_images"] = config.get("vision_config") is not None
    if relations := config.get("relation_descriptions"):
        digest = hashlib.sha256(json.dumps(relations, sort_keys=True).encode()).hexdigest()
        is_labels = relations == relation_texts({"relations": relations}, "labels")
        settings["relation_text"] = "labels" if is_labels else digest[:8]
    return settings


def _read_object(path: Path) -> dict:
    if not path.is_file():
        raise ValueError(f"{path.parent} has no {path.name}: it is no output folder of a finished run of train.py")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.parent}: {path.name} is no JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path.parent}: {path.name} holds no object")
    return content


def check_comparable(runs: Sequence[dict]) -> None:
    """Refuses runs that no curve may join.

    Args:
        runs: from `read_run`, all of the same split.

    Raises:
        ValueError: naming two folders, if one run is given twice, or if their relations differ, or the gold examples
            of these: they were scored on other data.
    """
    first, seen = runs[0], set()
    for run in runs:
        if (place := Path(run["run"]).resolve()) in seen:
            raise ValueError(f"{run['run']} is given twice")
        seen.add(place)
        if differing := sorted(run["supports"].keys() ^ first["supports"].keys()):
            raise ValueError(
                f"{run['run']} has other relations than {first['run']}: {', '.join(differing)} stand in one of them "
                "only"
            )
        if run["supports"] != first["supports"]:
            raise ValueError(
                f"{run['run']} was scored on other examples than {first['run']}: is it of another data set?"
            )


def name_curves(runs: Sequence[dict]) -> list[str]:
    """Of each run, the curve it belongs to: its objective, with the settings in which runs of that objective differ.

    Args:
        runs: from `read_run`.
    """
    curves = []
    for run in runs:
        others = [other["settings"] for other in runs if other["objective"] == run["objective"]]
        own = run["settings"]
        differing = [name for name in own if any(other.get(name) != own[name] for other in others)]
        curves.append(", ".join([run["objective"], *(f"{name} {own[name]}" for name in differing)]))
    return curves


def average_runs(runs: Sequence[dict]) -> list[dict]:
    """The points of the curves.

    Args:
        runs: from `read_run`, each with its `curve`, from `name_curves`.

    Returns:
        list of dict: `curve`, `train_samples`, `num_runs`, and of each metric its mean by its name and the sample
        standard deviation (over n - 1) as `<metric>_std`, None for a single run. Sorted by curve, the first run's
        first, and number of training pairs.
    """
    groups: dict[tuple[str, int], list[dict]] = {}
    curves = list(dict.fromkeys(run["curve"] for run in runs))
    for run in runs:
        groups.setdefault((run["curve"], run["train_samples"]), []).append(run)
    points = []
    for curve, train_samples in sorted(groups, key=lambda key: (curves.index(key[0]), key[1])):
        group = groups[curve, train_samples]
        point = {"curve": curve, "train_samples": train_samples, "num_runs": len(group)}
        for metric in METRICS:
            values = [run[metric] for run in group]
            point[metric] = statistics.fmean(values)
            point[f"{metric}_std"] = statistics.stdev(values) if len(values) > 1 else None
        points.append(point)
    return points


def format_points(points: Sequence[dict]) -> str:
    """`average_runs`'s points as a Markdown table: mean ± standard deviation, and of how many runs."""
    lines = ["| curve | training pairs | runs | micro F1 | macro F1 |", "|:--|--:|--:|--:|--:|"]
    for point in points:
        cells = []
        for metric in METRICS:
            std = point[f"{metric}_std"]
            cells.append(f"{point[metric]:.3f}" + ("" if std is None else f" ± {std:.3f}"))
        lines.append(f"| {point['curve']} | {point['train_samples']:,} | {point['num_runs']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def save_curves(path: str | Path, points: Sequence[dict], runs: Sequence[dict]) -> None:
    """Draws F1 over the number of training pairs, a panel for each metric.

    A curve joins means; the band is one standard deviation to either side, where there are several runs; every run is
    a dot.

    Args:
        path: the picture to write; its ending (.png, .svg, .pdf) decides the format.
        points: from `average_runs`.
        runs: from `read_run`, those of the points, each with its `curve`.
    """
    sizes = sorted({point["train_samples"] for point in points})
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    for panel, metric in zip(figure.subplots(1, 2, sharey=True), METRICS, strict=True):
        for name in dict.fromkeys(point["curve"] for point in points):
            curve = [point for point in points if point["curve"] == name]
            dots = [(run["train_samples"], run[metric]) for run in runs if run["curve"] == name]
            pairs, means = ([point[key] for point in curve] for key in ("train_samples", metric))
            spread = [math.nan if point[f"{metric}_std"] is None else point[f"{metric}_std"] for point in curve]
            (line,) = panel.plot(pairs, means, linewidth=1.5, label=name)
            lower, upper = ([mean + sign * std for mean, std in zip(means, spread, strict=True)] for sign in (-1, 1))
            panel.fill_between(pairs, lower, upper, color=line.get_color(), alpha=0.2, linewidth=0)
            panel.scatter(*zip(*dots, strict=True), color=line.get_color(), s=14, zorder=3)
        panel.set(title=metric.replace("_f1", " F1"), xlabel="training pairs", xscale="log", ylim=(0, None))
        panel.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=45)
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    figure.axes[0].set_ylabel("F1")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    with replacing(Path(path)) as temporary:
        figure.savefig(temporary, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="output folders of finished runs of train.py")
    parser.add_argument("--split", choices=PREFIXES, default="test")
    parser.add_argument(
        "--output_dir", type=Path, required=True, help="folder for learning_curve.json and learning_curve.png"
    )
    options = parser.parse_args()
    try:
        runs = [read_run(folder, options.split) for folder in options.runs]
        check_comparable(runs)
        options.output_dir.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    supports = runs[0]["supports"]
    for run, curve in zip(runs, name_curves(runs), strict=True):
        run["curve"] = curve
        del run["supports"], run["settings"]
    points = average_runs(runs)
    report = {"split": options.split, "num_examples": sum(supports.values()), "points": points, "runs": runs}
    with replacing(options.output_dir / "learning_curve.json") as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    save_curves(options.output_dir / "learning_curve.png", points, runs)
    print(format_points(points), end="")


if __name__ == "__main__":
    main()

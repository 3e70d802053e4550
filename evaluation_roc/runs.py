# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""
What finished runs of train.py have in common: mean and standard deviation of their F1 over seeds.

    python -m evaluation_roc.runs outputs/* --output_dir comparison
    python -m evaluation_roc.runs outputs/before outputs/after --by_relation

Runs are averaged that differ in nothing but the seed, by the settings that their cards (README.md) hold: all that
decides a result and is not left at its default. Other runs get a line of their own, named by what sets them apart.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from data_scripts.writing import write_json
from evaluation_roc.report import format_columns

PREFIXES = {"test": "test", "validation": "eval"}
"""Of each split, what the names of its metrics and files begin with."""
METRICS = ("micro_f1", "macro_f1")


def read_run(folder: str | Path, split: str) -> dict:
    """What a finished run of train.py says of itself.

    Args:
        folder: its output folder.
        split: "test" or "validation".

    Returns:
        `run` (the folder), `train_samples`, `micro_f1` and `macro_f1` (0-1), `seed`, `settings` (all others that the
        card holds, and `num_processes` where it is not 1), and `by_relation`, the scores of each relation,
        `{relation: {"f1", "support", ...}}`.

    Raises:
        ValueError: naming the folder and what is missing in it or is not as train.py writes it.
    """
    folder, prefix = Path(folder), PREFIXES[split]
    results = _read_json(folder / "all_results.json")
    if not isinstance(results, dict):
        raise ValueError(f"{folder}: all_results.json holds no object")
    train_samples = results.get("train_samples")
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
    name = f"{prefix}_per_relation.json"
    table = _read_json(folder / name)
    try:
        by_relation = {row["relation"]: row for row in table}
        if not all(0 <= row["f1"] <= 1 and row["support"] >= 0 for row in table):
            raise ValueError("f1 must lie in 0-1, support cannot be negative")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder}: {name} is no table of scores ({type(error).__name__}: {error})") from error
    if not table or len(by_relation) != len(table):
        raise ValueError(f"{folder}: {name} holds no relation, or one twice")
    settings = read_settings(folder)
    if (processes := results.get("train_processes", 1)) != 1:
        settings["num_processes"] = processes  # of `accelerate launch`; the batch grows with it
    run = {"run": str(folder), "train_samples": train_samples, **scores, "seed": settings.pop("seed")}
    return {**run, "settings": settings, "by_relation": by_relation}


def read_settings(folder: Path) -> dict:
    """The settings of a run, as its card holds them for train.py to take.

    Raises:
        ValueError: naming the folder, if it has no card of a training run.
    """
    import yaml

    path = folder / "README.md"
    _, fence, rest = (path.read_text(encoding="utf-8") if path.is_file() else "").partition("\n```yaml\n")
    settings = yaml.safe_load(rest.partition("\n```")[0]) if fence else None
    if not isinstance(settings, dict) or "seed" not in settings:
        raise ValueError(f"{folder} has no README.md with the settings of a run: train.py writes it where it trains")
    return settings


def _read_json(path: Path):
    if not path.is_file():
        raise ValueError(f"{path.parent} has no {path.name}: it is no output folder of a finished run of train.py")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.parent}: {path.name} is no JSON ({error})") from error


def check_comparable(runs: Sequence[dict]) -> None:
    """Refuses runs, from `read_run` and all of the same split, that no table may hold together.

    Raises:
        ValueError: naming two folders, if one run is given twice, or again with the same seed, or if their relations
            differ, or the gold examples of these: they were scored on other data.
    """
    first, seen = runs[0], {}
    supports = {name: row["support"] for name, row in first["by_relation"].items()}
    for run in runs:
        own = {name: row["support"] for name, row in run["by_relation"].items()}
        if differing := sorted(own.keys() ^ supports.keys()):
            raise ValueError(
                f"{run['run']} has other relations than {first['run']}: {', '.join(differing)} stand in one only"
            )
        if own != supports:
            raise ValueError(
                f"{run['run']} was scored on other examples than {first['run']}: is it of another data set?"
            )
        same = json.dumps([run["settings"], run["train_samples"], run["seed"]], sort_keys=True)
        if same in seen:
            raise ValueError(f"{run['run']} has the settings and the seed of {seen[same]}: is one run given twice?")
        seen[same] = run["run"]


def average_runs(runs: Sequence[dict]) -> list[dict]:
    """One line for all runs, from `read_run`, that differ in nothing but the seed.

    Returns:
        list of dict: `name` (the settings in which the lines differ), `train_samples`, `runs` (the folders), and of
        each metric its mean by its name and the sample standard deviation (over n - 1) as `<metric>_std`, None for a
        single run. In the order in which they were given.
    """
    names = sorted({name for run in runs for name in run["settings"]})
    differing = [
        name for name in names if any(run["settings"].get(name) != runs[0]["settings"].get(name) for run in runs)
    ]
    groups: dict[tuple[str, int], list[dict]] = {}
    for run in runs:
        values = {name: run["settings"].get(name, "default") for name in differing}
        name = ", ".join(f"{key} {value}" for key, value in values.items()) or "all settings equal"
        groups.setdefault((name, run["train_samples"]), []).append(run)
    lines = []
    for (name, train_samples), group in groups.items():
        line = {"name": name, "train_samples": train_samples, "runs": [run["run"] for run in group]}
        for metric in METRICS:
            values = [run[metric] for run in group]
            line[metric] = statistics.fmean(values)
            line[f"{metric}_std"] = statistics.stdev(values) if len(values) > 1 else None
        lines.append(line)
    return lines


def format_runs(lines: Sequence[dict]) -> str:
    """`average_runs`'s lines as a Markdown table: mean ± standard deviation, and of how many runs."""
    rows = []
    for line in lines:
        row = [line["name"], f"{line['train_samples']:,}", str(len(line["runs"]))]
        for metric in METRICS:
            std = line[f"{metric}_std"]
            row.append(f"{line[metric]:.3f}" + ("" if std is None else f" ± {std:.3f}"))
        rows.append(row)
    return format_columns(["runs that differ in", "training pairs", "runs", "micro F1", "macro F1"], rows)


def format_change(before: dict, after: dict) -> str:
    """The change of F1 by relation between two of `read_run`'s as a Markdown table, the greatest loss first."""
    old, new = ({name: row["f1"] for name, row in run["by_relation"].items()} for run in (before, after))
    rows = []
    for name in sorted(old, key=lambda name: new[name] - old[name]):
        support = before["by_relation"][name]["support"]
        rows.append([name, str(support), f"{old[name]:.3f}", f"{new[name]:.3f}", f"{new[name] - old[name]:+.3f}"])
    return format_columns(["relation", "support", "F1 before", "F1 after", "change"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="output folders of finished runs of train.py")
    parser.add_argument("--split", choices=PREFIXES, default="test")
    parser.add_argument("--by_relation", action="store_true", help="the change of F1 by relation, of two runs")
    parser.add_argument("--output_dir", type=Path, help="folder to write runs.json to")
    options = parser.parse_args()
    if options.by_relation and len(options.runs) != 2:
        parser.error(f"--by_relation compares two runs, got {len(options.runs)}")
    try:
        runs = [read_run(folder, options.split) for folder in options.runs]
        check_comparable(runs)
        lines = average_runs(runs)
        if options.output_dir is not None:
            options.output_dir.mkdir(parents=True, exist_ok=True)
            write_json(options.output_dir / "runs.json", {"split": options.split, "lines": lines, "runs": runs})
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(format_runs(lines), end="")
    if options.by_relation:
        print(f"\n{format_change(*runs)}", end="")


if __name__ == "__main__":
    main()

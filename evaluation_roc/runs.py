# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""
What finished runs of train.py have in common: mean and standard deviation of their F1 over seeds.

    python -m evaluation_roc.runs outputs/* --output_dir comparison
    python -m evaluation_roc.runs outputs/before outputs/after --by_relation
    python -m evaluation_roc.runs outputs/one outputs/other --compare

Runs are averaged that differ in nothing but their seeds, by the settings that their run.json holds: all that decides a
result. Other runs get a line of their own, named by what sets them apart. `--compare` tells how sure the difference of
two runs is: a paired bootstrap over the rows that both answered.
"""

import argparse
import json
import re
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from data_scripts.writing import write_json
from evaluation_roc.report import format_columns

RUN_FILE = "run.json"
"""In a run's folder: what the run was, written by train.py (`training_roc.run_record`)."""
TABLE = "_per_relation.json"
"""How the files of scores by relation end; they begin as the metrics do, with "eval" or "test"."""
METRICS = {"micro_f1": "micro F1", "macro_f1": "macro F1", "macro_f1_present": "macro F1, present relations"}
HELD_OUT_METRICS = {
    "seen_micro_f1": "seen F1",
    "unseen_micro_f1": "unseen F1",
    "harmonic_mean": "harmonic mean",
    "unseen_only_macro_f1": "macro F1 among the unseen only",
}
"""Of runs that held relations out."""
NUM_RESAMPLES = 10_000


def read_run(folder: str | Path) -> dict:
    """What a finished run of train.py says of itself.

    Args:
        folder: its output folder.

    Returns:
        `run` (the folder), `train_samples` (0: it trained nothing), `seeds` and `settings` (dicts by name), `commit`,
        `negative_relation` (of several data sets, one by the name of each), and of each split that it scored
        ("validation", "test", or with the name of a data set behind it, "test_mnre") `scores`, `{split: {metric:
        0-1}}`, and `by_relation`, `{split: {relation: {"f1", "support", ...}}}`.

    Raises:
        ValueError: naming the folder and what is missing in it or is not as train.py writes it.
    """
    folder = Path(folder)
    record, results = _read_object(folder / RUN_FILE), _read_object(folder / "all_results.json")
    try:
        settings = {**record["arguments"], "objective": record["objective"], "processes": record["processes"]}
        settings["encoder_weights"] = record["encoder_weights"]
        commit = record["commit"] and record["commit"][:7] + " with local changes" * record["local_changes"]
        run = {"run": str(folder), "train_samples": record["train_samples"], "seeds": record["seeds"]}
        run |= {"settings": settings, "commit": commit, "negative_relation": record["negative_relation"]}
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder}: {RUN_FILE} is none of train.py ({type(error).__name__}: {error})") from error
    run |= {"scores": {}, "by_relation": {}}
    tables = {path.name.removesuffix(TABLE) for path in folder.glob(f"*{TABLE}")}
    for prefix in sorted({"eval", "test", *tables}):
        if f"{prefix}_micro_f1" in results:
            split = re.sub("^eval", "validation", prefix)
            run["scores"][split] = _read_scores(folder, results, prefix)
            if not any(name.startswith(f"{prefix}_") for name in tables):  # not the mean over several data sets
                run["by_relation"][split] = _read_table(folder, prefix)
    if not run["scores"]:
        raise ValueError(f"{folder}: all_results.json has no test_micro_f1 and no eval_micro_f1: nothing was scored")
    return run


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


def _read_scores(folder: Path, results: dict, prefix: str) -> dict[str, float]:
    names = [*METRICS, *(name for name in HELD_OUT_METRICS if f"{prefix}_{name}" in results)]
    scores = {name: results.get(f"{prefix}_{name}") for name in names}
    for name, value in scores.items():
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
            raise ValueError(f"{folder}: all_results.json: {prefix}_{name} must lie in 0-1, got {value!r}")
    return scores


def _read_table(folder: Path, prefix: str) -> dict[str, dict]:
    path = folder / f"{prefix}{TABLE}"
    if not path.is_file():
        raise ValueError(f"{folder} has no {path.name}")
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        by_relation = {row["relation"]: row for row in table}
        if not all(0 <= row["f1"] <= 1 and row["support"] >= 0 for row in table):
            raise ValueError("f1 must lie in 0-1, support cannot be negative")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder}: {path.name} is no table of scores ({type(error).__name__}: {error})") from error
    if not table or len(by_relation) != len(table):
        raise ValueError(f"{folder}: {path.name} holds no relation, or one twice")
    return by_relation


def check_comparable(runs: Sequence[dict]) -> None:
    """Refuses runs, from `read_run`, that no table may hold together.

    Raises:
        ValueError: naming two folders, if one run is given twice, or again with the same seeds, or if their relations
            differ, or the gold examples of these: they were scored on other data.
    """
    first, seen = {}, {}
    for run in runs:
        for split, table in run["by_relation"].items():
            other = first.setdefault(split, run)
            supports, own = (
                {name: row["support"] for name, row in one.items()} for one in (other["by_relation"][split], table)
            )
            if differing := sorted(own.keys() ^ supports.keys()):
                raise ValueError(
                    f"{run['run']} has other relations than {other['run']}: {', '.join(differing)} stand in one only"
                )
            if own != supports:
                raise ValueError(
                    f"{run['run']} was scored on other {split} rows than {other['run']}: is it of another data set?"
                )
        same = json.dumps([run["settings"], run["train_samples"], run["seeds"]], sort_keys=True)
        if same in seen:
            raise ValueError(f"{run['run']} has the settings and the seeds of {seen[same]}: is one run given twice?")
        seen[same] = run["run"]


def average_runs(runs: Sequence[dict]) -> list[dict]:
    """One line for all runs, from `read_run`, that differ in nothing but their seeds.

    Returns:
        list of dict: `name` (the settings in which the lines differ), `train_samples` (where relations are held out,
        whose rows depend on the draw, the mean), `runs` (the folders), `seeds` (of each run) and `commits`; and
        `scores`, `{split: {metric: {"mean", "std"}}}`, the sample standard deviation over n - 1, None for a single
        run. In the order in which they were given.
    """
    names = sorted({name for run in runs for name in run["settings"]})
    differing = [
        name for name in names if any(run["settings"].get(name) != runs[0]["settings"].get(name) for run in runs)
    ]
    groups: dict[tuple, list[dict]] = {}
    for run in runs:
        values = {name: run["settings"].get(name) for name in differing}
        name = ", ".join(f"{key} {value}" for key, value in values.items()) or "all settings equal"
        size = None if "hold_out_seed" in run["seeds"] else run["train_samples"]
        groups.setdefault((name, size), []).append(run)
    lines = []
    for (name, _), group in groups.items():
        line = {"name": name, "train_samples": round(statistics.fmean(run["train_samples"] for run in group))}
        line |= {"runs": [run["run"] for run in group], "seeds": [run["seeds"] for run in group]}
        line |= {"commits": list(dict.fromkeys(run["commit"] or "unknown" for run in group)), "scores": {}}
        for split in group[0]["scores"]:
            found = [run["scores"].get(split, {}) for run in group]
            metrics = [metric for metric in found[0] if all(metric in one for one in found)]
            line["scores"][split] = {metric: _average([one[metric] for one in found]) for metric in metrics}
        lines.append(line)
    return lines


def _average(values: list[float]) -> dict:
    return {"mean": statistics.fmean(values), "std": statistics.stdev(values) if len(values) > 1 else None}


def format_runs(lines: Sequence[dict]) -> str:
    """`average_runs`'s lines as a Markdown table: mean ± standard deviation, of which seeds and commits."""
    columns = [
        (split, metric, f"{split} {title}")
        for split in sorted(
            {split for line in lines for split in line["scores"]}, key=lambda split: (split.startswith("test"), split)
        )
        for metric, title in (METRICS | HELD_OUT_METRICS).items()
        if any(metric in line["scores"].get(split, ()) for line in lines)
    ]
    rows = []
    for line in lines:
        row = [line["name"], f"{line['train_samples']:,}", _format_seeds(line["seeds"]), ", ".join(line["commits"])]
        for split, metric, _ in columns:
            value = line["scores"].get(split, {}).get(metric)
            row.append("–" if value is None else _format_average(**value))
        rows.append(row)
    header = ["runs that differ in", "training pairs", "seeds", "commit", *(title for *_, title in columns)]
    return format_columns(header, rows)


def _format_seeds(seeds: Sequence[dict[str, int]]) -> str:
    """The runs' seeds, and those of other names where they are others."""
    own = [one["seed"] for one in seeds]
    told = [", ".join(map(str, own))]
    for name in seeds[0]:
        if (values := [one[name] for one in seeds]) != own:
            told.append(f"{name} {', '.join(map(str, dict.fromkeys(values)))}")
    return "; ".join(told)


def _format_average(mean: float, std: float | None) -> str:
    return f"{mean:.3f}" + ("" if std is None else f" ± {std:.3f}")


def format_change(before: dict, after: dict, split: str) -> str:
    """The change of F1 by relation between two of `read_run`'s as a Markdown table, the greatest loss first."""
    old, new = (run["by_relation"][split] for run in (before, after))
    rows = []
    for name in sorted(old, key=lambda name: new[name]["f1"] - old[name]["f1"]):
        then, now = old[name]["f1"], new[name]["f1"]
        rows.append([name, str(old[name]["support"]), f"{then:.3f}", f"{now:.3f}", f"{now - then:+.3f}"])
    return format_columns(["relation", "support", "F1 before", "F1 after", "change"], rows)


def read_predictions(folder: str | Path, split: str, relations: Sequence[str]) -> tuple[list, np.ndarray]:
    """The labelled rows of a run's predictions.

    Args:
        folder: its output folder.
        split: as in `read_run`.
        relations: their labels; a relation's number is its place among them.

    Returns:
        Ids, and an array (num_rows, 2) of gold and predicted relations.

    Raises:
        ValueError: naming the file and the line, if it is missing or not as train.py writes it.
    """
    path = Path(folder) / f"{re.sub('^validation', 'eval', split)}_predictions.jsonl"
    place = {name: i for i, name in enumerate(relations)}
    if not path.is_file():
        raise ValueError(f"{folder} has no {path.name}")
    ids, answers = [], []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                if row["gold"] is not None:
                    answers.append((place[row["gold"]], place[row["predicted"]]))
                    ids.append(row["id"])
            except (KeyError, TypeError, ValueError) as error:
                words = f"{type(error).__name__}: {error}"
                raise ValueError(f"{path}, line {number}: no prediction of train.py ({words})") from error
    return ids, np.array(answers)


def compare_runs(first: dict, second: dict, split: str, seed: int = 0) -> dict:
    """`bootstrap_difference` of two runs, from `read_run`, by the split's predictions.

    Raises:
        ValueError: if predictions are missing or broken, or not of the same rows with the same gold relations.
    """
    relations = list(first["by_relation"][split])
    (ids, answers), (others, other) = (read_predictions(run["run"], split, relations) for run in (first, second))
    if len(ids) != len(others):
        raise ValueError(f"{first['run']} answered {len(ids)} labelled rows of {split}, {second['run']} {len(others)}")
    for one, two, gold, other_gold in zip(ids, others, answers[:, 0], other[:, 0], strict=True):
        if (one, gold) != (two, other_gold):
            raise ValueError(
                f"{first['run']} and {second['run']} did not answer the same {split} rows: {one!r}, gold "
                f"{relations[gold]!r}, stands where {two!r}, gold {relations[other_gold]!r}, does"
            )
    negative = [run["negative_relation"] for run in (first, second)]
    # Of several data sets each has its own, and a split is called after its data set.
    negative = [one[split.partition("_")[2]] if isinstance(one, dict) else one for one in negative]
    if negative[0] != negative[1]:
        named = [f"{run['run']}: {label}" for run, label in zip((first, second), negative, strict=True)]
        raise ValueError(f"the runs have other negative relations ({', '.join(named)})")
    counted = [i for i, name in enumerate(relations) if name != negative[0]]
    return bootstrap_difference(answers[:, 0], answers[:, 1], other[:, 1], counted, seed)


def bootstrap_difference(
    references: np.ndarray, first: np.ndarray, second: np.ndarray, relations: Sequence[int], seed: int = 0
) -> dict[str, dict[str, float]]:
    """
    How sure the difference of two systems' F1 is, by a paired bootstrap: rows are drawn with replacement,
    `NUM_RESAMPLES` times, and both systems are scored on the same ones (Berg-Kirkpatrick et al., EMNLP 2012).

    Args:
        references (num_rows,): gold relation of each row.
        first, second (num_rows,): the relation that each system predicts.
        relations: those that count, without the negative one.
        seed: of the draws.

    Returns:
        Of each of `METRICS`, `first`, `second`, `difference` (second - first) and its 95% interval by percentiles,
        `low` and `high`.
    """
    # What a row adds to the counts depends on its gold and its two predicted relations alone. How often each such case
    # is drawn is multinomial, so cases are drawn in the place of rows.
    cases, counts = np.unique(np.stack([references, first, second], axis=1), axis=0, return_counts=True)
    scores = np.concatenate(
        [
            np.stack([_score_draws(draws, cases[:, 0], cases[:, column], np.array(relations)) for column in (1, 2)])
            for draws in _draw_cases(counts, seed)
        ],
        axis=-1,
    )  # (2, num_metrics, 1 + NUM_RESAMPLES)
    report = {}
    for metric, (one, other) in zip(METRICS, scores.swapaxes(0, 1), strict=True):
        change = other - one
        low, high = np.quantile(change[1:], [0.025, 0.975])
        values = {"first": one[0], "second": other[0], "difference": change[0], "low": low, "high": high}
        report[metric] = {name: float(value) for name, value in values.items()}
    return report


def _draw_cases(counts: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """How often each case is there, (num_draws, num_cases): as it is, then in portions of what is drawn."""
    rng, total = np.random.default_rng(seed), counts.sum()
    yield counts[None].astype(float)
    for _ in range(NUM_RESAMPLES // 1000):
        yield rng.multinomial(total, counts / total, size=1000).astype(float)


def _score_draws(draws: np.ndarray, gold: np.ndarray, predicted: np.ndarray, relations: np.ndarray) -> np.ndarray:
    """`METRICS` (num_metrics, num_draws), as of `compute_relation_f1`, of cases that are there so often."""
    is_gold, is_predicted = gold[:, None] == relations, predicted[:, None] == relations
    num_gold, num_predicted = draws @ is_gold, draws @ is_predicted  # (num_draws, num_relations)
    right = draws @ (is_gold & is_predicted)

    def f1(right, total):
        return 2 * right / np.maximum(total, 1)

    each, present = f1(right, num_gold + num_predicted), num_gold > 0
    micro = f1(right.sum(axis=1), (num_gold + num_predicted).sum(axis=1))
    return np.stack([micro, each.mean(axis=1), (each * present).sum(axis=1) / np.maximum(present.sum(axis=1), 1)])


def format_comparison(report: dict[str, dict[str, float]]) -> str:
    """`bootstrap_difference`'s result as a Markdown table."""
    rows = []
    for metric, values in report.items():
        interval = f"{values['low']:+.3f} to {values['high']:+.3f}"
        scores = [f"{values[name]:.3f}" for name in ("first", "second")]
        rows.append([METRICS[metric], *scores, f"{values['difference']:+.3f}", interval])
    return format_columns(["", "first", "second", "difference", "95% interval"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="output folders of finished runs of train.py")
    parser.add_argument("--by_relation", action="store_true", help="the change of F1 by relation, of two runs")
    parser.add_argument("--compare", action="store_true", help="a paired bootstrap over the rows of two runs")
    parser.add_argument("--split", default="test", help="of --by_relation and --compare; or validation, test_mnre ...")
    parser.add_argument("--seed", type=int, default=0, help="of --compare's draws")
    parser.add_argument("--output_dir", type=Path, help="folder to write runs.json to")
    options = parser.parse_args()
    for name in ("by_relation", "compare"):
        if getattr(options, name) and len(options.runs) != 2:
            parser.error(f"--{name} takes two runs, got {len(options.runs)}")
    tables = []
    try:
        runs = [read_run(folder) for folder in options.runs]
        check_comparable(runs)
        report = {"lines": average_runs(runs), "runs": runs}
        tables.append(format_runs(report["lines"]))
        if options.by_relation or options.compare:
            for run in runs:
                if options.split not in run["by_relation"]:
                    there = ", ".join(run["by_relation"])
                    raise ValueError(f"{run['run']} did not score the {options.split} split, but {there}")
        if options.by_relation:
            tables.append(format_change(*runs, options.split))
        if options.compare:
            report["comparison"] = compare_runs(*runs, options.split, options.seed)
            tables.append(format_comparison(report["comparison"]))
        if options.output_dir is not None:
            options.output_dir.mkdir(parents=True, exist_ok=True)
            write_json(options.output_dir / "runs.json", report)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print("\n".join(tables), end="")


if __name__ == "__main__":
    main()

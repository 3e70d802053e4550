# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""
How F1 changes by relation from one run to another, with other descriptions, say.

    python -m evaluation_roc.f1_change --before out/a/test_per_relation.json --after out/b/test_per_relation.json

Prints a Markdown table; with `--output_dir`, writes `f1_change.json` and `f1_change.png` there.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from evaluation_roc.report import replacing


def read_per_relation(path: str | Path) -> list[dict]:
    """The rows of a `<split>_per_relation.json`, as a run of train.py leaves it.

    Raises:
        ValueError: naming the file, if it is no such table or a relation stands in it twice.
    """
    try:
        table = json.loads(Path(path).read_text(encoding="utf-8"))
        names = [row["relation"] for row in table]
        if not all(0 <= row["f1"] <= 1 and row["support"] >= 0 for row in table):
            raise ValueError("f1 must lie in 0-1, support cannot be negative")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no table of scores by relation ({type(error).__name__}: {error})") from error
    if not names or len(set(names)) != len(names):
        raise ValueError(f"{path}: it holds no relation, or one twice")
    return table


def compare_f1(before: Sequence[dict], after: Sequence[dict]) -> list[dict]:
    """The change of F1, relation by relation.

    Args:
        before, after: rows of `evaluation_roc.report.per_relation_table`, of two runs on the same examples.

    Returns:
        list of dict: `relation`, `support`, `before`, `after` (F1, 0-1) and `change` (after - before), the greatest
        loss first.

    Raises:
        ValueError: if the two do not hold the same relations with the same support: the runs were not scored on the
            same examples, and there is nothing to compare.
    """
    one, other = ({row["relation"]: row for row in table} for table in (before, after))
    if one.keys() != other.keys():
        raise ValueError(f"The relations differ: {sorted(one.keys() ^ other.keys())} stand in one table only.")
    differing = [name for name in one if one[name]["support"] != other[name]["support"]]
    if differing:
        raise ValueError(f"The runs were not scored on the same examples: the support differs for {differing}.")
    rows = [
        {
            "relation": name,
            "support": row["support"],
            "before": row["f1"],
            "after": other[name]["f1"],
            "change": other[name]["f1"] - row["f1"],
        }
        for name, row in one.items()
    ]
    return sorted(rows, key=lambda row: row["change"])


def format_change(rows: Sequence[dict]) -> str:
    """`compare_f1`'s rows as a Markdown table."""
    lines = ["| relation | support | F1 before | F1 after | change |", "|:--|--:|--:|--:|--:|"]
    for row in rows:
        cells = f"{row['before']:.3f} | {row['after']:.3f} | {row['change']:+.3f}"
        lines.append(f"| {row['relation']} | {row['support']} | {cells} |")
    return "\n".join(lines) + "\n"


def save_change(path: str | Path, rows: Sequence[dict]) -> None:
    """Draws `compare_f1`'s rows as a heat map: before, after and change side by side, one line a relation.

    Args:
        path: the picture to write; its ending (.png, .svg, .pdf) decides the format.
        rows: from `compare_f1`.
    """
    figure = Figure(figsize=(7, 2 + 0.3 * len(rows)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2, 1))
    columns = ((left, ("before", "after"), "Blues", 0, 1), (right, ("change",), "RdBu", -1, 1))
    for axes, names, colors, low, high in columns:
        values = [[row[name] for name in names] for row in rows]
        axes.imshow(values, cmap=colors, vmin=low, vmax=high, aspect="auto")
        axes.set_xticks(range(len(names)), names)
        for i, line in enumerate(values):
            for j, value in enumerate(line):
                text = f"{value:+.2f}" if axes is right else f"{value:.2f}"
                axes.text(
                    j, i, text, ha="center", va="center", fontsize=8, color="white" if abs(value) > 0.6 else "black"
                )
    left.set_yticks(range(len(rows)), [f"{row['relation']} ({row['support']})" for row in rows])
    figure.suptitle("F1 by relation (examples)")
    with replacing(Path(path)) as temporary:
        figure.savefig(temporary, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--before", type=Path, required=True, help="test_per_relation.json of the first run")
    parser.add_argument("--after", type=Path, required=True, help="test_per_relation.json of the second run")
    parser.add_argument("--output_dir", type=Path, help="folder to write table and picture to")
    options = parser.parse_args()
    try:
        rows = compare_f1(read_per_relation(options.before), read_per_relation(options.after))
        if options.output_dir is not None:
            options.output_dir.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(format_change(rows), end="")
    if options.output_dir is not None:
        with replacing(options.output_dir / "f1_change.json") as temporary:
            temporary.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
        save_change(options.output_dir / "f1_change.png", rows)


if __name__ == "__main__":
    main()

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""A page of answered examples to look at: pictures with the boxes of head and tail, predicted against gold."""

import itertools
import textwrap
from collections.abc import Sequence
from pathlib import Path

from datasets import Dataset
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from data_scripts.schema import PAIR_KINDS, pair_kind
from evaluation_roc.report import replacing

COLOURS = {"head": "#0072b2", "tail": "#d55e00", "context": "#b0b0b0"}
ROWS, COLUMNS = 3, 4


def choose_examples(rows: Dataset, count: int) -> list[int]:
    """The first `count` rows with a picture of their own, of every kind of pair in turn."""
    of_kind: dict[str, list[int]] = {kind: [] for kind in PAIR_KINDS}
    seen = set()
    columns = rows.select_columns(["head", "tail", "image_id"])
    has_picture = rows.data.column("image").is_valid().to_pylist()
    if rows._indices is not None:
        has_picture = [has_picture[i] for i in rows._indices.column(0).to_pylist()]
    for index, row in enumerate(columns):
        if has_picture[index] and row["image_id"] not in seen:
            seen.add(row["image_id"])
            of_kind[pair_kind(row)].append(index)
    turns = itertools.zip_longest(*of_kind.values())
    return [index for turn in turns for index in turn if index is not None][:count]


def save_example_page(path: str | Path, rows: Dataset, predictions: Sequence[int], label_names: Sequence[str]) -> bool:
    """Draws up to twelve examples with pictures; head and tail stand out in colour, in the picture or by name.

    Args:
        path: the picture to write; its ending decides the format.
        rows: of the project's schema.
        predictions (sequence of int, length num_rows): predicted class, an index into `label_names`.
        label_names: the relations in the order of their ids.

    Returns:
        Whether there was anything to draw: False, and nothing is written, where no row has a picture.
    """
    chosen = choose_examples(rows, ROWS * COLUMNS)
    if not chosen:
        return False
    figure = Figure(figsize=(4 * COLUMNS, 4.6 * ROWS), layout="constrained")
    axes = figure.subplots(ROWS, COLUMNS).flat
    for axis, index in itertools.zip_longest(axes, chosen):
        axis.axis("off")
        if index is not None:
            _draw(axis, rows[index], label_names[predictions[index]], label_names)
    figure.suptitle("head: blue, tail: orange, other objects: grey")
    with replacing(Path(path)) as temporary:
        figure.savefig(temporary, dpi=80)
    return True


def _draw(axis, row: dict, predicted: str, label_names: Sequence[str]):
    width, height = row["image"].size
    axis.imshow(row["image"].convert("RGB"))
    boxes = [(COLOURS["context"], 1, one["box"]) for one in row["objects"]]
    boxes += [(COLOURS[role], 3, row[role]["box"]) for role in ("head", "tail") if row[role]["kind"] == "object"]
    for colour, line, (x0, y0, x1, y1) in boxes:
        corner, size = (x0 * width, y0 * height), ((x1 - x0) * width, (y1 - y0) * height)
        axis.add_patch(Rectangle(corner, *size, fill=False, edgecolor=colour, linewidth=line))
    gold = None if row["relation"] in (None, -1) else label_names[row["relation"]]
    lines = [*textwrap.wrap(" ".join(row["tokens"]), 44)[:3], f"{row['head']['name']} → {row['tail']['name']}"]
    lines += [f"predicted {predicted}", f"gold {'unknown' if gold is None else gold}"]
    # A dollar sign would begin a formula.
    title = "\n".join(lines).replace("$", r"\$")
    axis.set_title(title, fontsize=9, loc="left", color="black" if gold in (None, predicted) else "#b00020")

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Pictures to look at: a page of answered examples, and an explained answer."""

import itertools
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from datasets import Dataset, Image
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from data_scripts.schema import PAIR_KINDS, pair_kind
from evaluation_roc.report import replacing
from processing_roc.pipeline_roc import load_picture
from processing_roc.processing_roc import open_picture

COLOURS = {"head": "#0072b2", "tail": "#d55e00", "context": "#b0b0b0"}
FOR_AND_AGAINST = colormaps["RdBu_r"]
LINE, MARGIN = 0.062, 0.03
"""Of the page beside an explained picture: a line's height and the edge, as shares of the page."""
ROWS, COLUMNS = 3, 4
"""Of the page of answered examples."""


def choose_examples(rows: Dataset, count: int) -> list[int]:
    """The first `count` rows with a picture of their own, of every kind of pair in turn."""
    of_kind: dict[str, list[int]] = {kind: [] for kind in PAIR_KINDS}
    seen = set()
    columns = rows.select_columns(["head", "tail", "image_id", "image"]).cast_column("image", Image(decode=False))
    for index, row in enumerate(columns):
        if row["image"] is not None and row["image_id"] not in seen:
            seen.add(row["image_id"])
            of_kind[pair_kind(row)].append(index)
    turns = itertools.zip_longest(*of_kind.values())
    return [index for turn in turns for index in turn if index is not None][:count]


def save_example_page(path: str | Path, rows: Dataset, predictions: Sequence[int], label_names: Sequence[str]) -> None:
    """Draws up to twelve examples with pictures; head and tail stand out in colour, in the picture or by name.

    Where no row has a picture, nothing is written.

    Args:
        path: the picture to write; its ending decides the format.
        rows: of the project's schema.
        predictions (sequence of int, length num_rows): predicted class, an index into `label_names`.
        label_names: the relations in the order of their ids.
    """
    chosen = choose_examples(rows, ROWS * COLUMNS)
    if not chosen:
        return
    figure = Figure(figsize=(4 * COLUMNS, 4.6 * ROWS), layout="constrained")
    axes = figure.subplots(ROWS, COLUMNS).flat
    for axis, index in itertools.zip_longest(axes, chosen):
        axis.axis("off")
        if index is not None:
            _draw(axis, rows[index], label_names[predictions[index]], label_names)
    figure.suptitle("head: blue, tail: orange, other objects: grey")
    with replacing(Path(path)) as temporary:
        figure.savefig(temporary, dpi=80)


def _draw(axis, row: dict, predicted: str, label_names: Sequence[str]):
    picture = open_picture(row["image"], f"image_id {row['image_id']!r}: ")
    width, height = picture.size
    axis.imshow(picture)
    for one in row["objects"]:
        _draw_box(axis, one["box"], width, height, COLOURS["context"], 1)
    for role in ("head", "tail"):
        if row[role]["kind"] == "object":
            _draw_box(axis, row[role]["box"], width, height, COLOURS[role], 3)
    gold = None if row["relation"] in (None, -1) else label_names[row["relation"]]
    lines = [*textwrap.wrap(" ".join(row["tokens"]), 44)[:3], f"{row['head']['name']} → {row['tail']['name']}"]
    lines += [f"predicted {predicted}", f"gold {'unknown' if gold is None else gold}"]
    # A dollar sign would begin a formula.
    title = "\n".join(lines).replace("$", r"\$")
    axis.set_title(title, fontsize=9, loc="left", color="black" if gold in (None, predicted) else "#b00020")


def _draw_box(axis, box: Sequence[float], width: int, height: int, colour: str, line: float) -> tuple[float, float]:
    """Draws a box that is given in shares of the picture; returns its upper left corner in pixels."""
    x0, y0, x1, y1 = box
    corner = (x0 * width, y0 * height)
    size = ((x1 - x0) * width, (y1 - y0) * height)
    axis.add_patch(Rectangle(corner, *size, fill=False, edgecolor=colour, linewidth=line))
    return corner


def save_explanation_picture(path: str | Path, given: Mapping, answer: Sequence[Mapping]) -> None:
    """Draws what speaks for the best relation (red) and against it (blue), words and patches on one scale.

    Args:
        path: the picture to write; its ending (.png, .svg, .pdf) decides the format.
        given: an input of `RelationExtractionPipeline` with `text`, `head` and `tail`, and `image` if it had one.
        answer: the pipeline's answer to it with `explain=True`: the relations to show, best first.

    Raises:
        ValueError: if the best relation has no explanation, as where `answer` is empty or was asked for without it.
    """
    explanation = answer[0].get("explanation") if answer else None
    if explanation is None or explanation["words"] is None:
        raise ValueError("The answer's first relation has no explanation: ask the pipeline with explain=True.")
    has_picture = explanation["patches"] is not None
    scores = [word["score"] for word in explanation["words"]]
    if has_picture:
        scores += [score for row in explanation["patches"]["scores"] for score in row]
    largest = max(map(abs, scores), default=0) or 1.0
    scale = Normalize(-1.3 * largest, 1.3 * largest)  # the ends of the colour map are too dark to read on
    figure = Figure(figsize=(12 if has_picture else 7.5, 5))
    FigureCanvasAgg(figure)
    if has_picture:
        _draw_picture(figure.add_axes((0.01, 0.04, 0.37, 0.9)), given["image"], explanation, scale)
    left = 0.4 if has_picture else MARGIN
    page = figure.add_axes((left, 0, 1 - left, 1))
    page.axis("off")
    height = _write_words(page, given, explanation["words"], scale)
    for line, style in _lines(answer):
        page.text(MARGIN, height, line, va="top", parse_math=False, **style)
        height -= 0.8 * LINE
    note = "red speaks for the first relation, blue against it; head: blue line, tail: orange line"
    page.text(MARGIN, min(0.03, height - LINE), note, fontsize=8, color="#707070")
    with replacing(Path(path)) as temporary:
        # The page grows with what is written below its lower edge.
        figure.savefig(temporary, dpi=120, bbox_inches="tight")


def _draw_picture(axis, image, explanation: dict, scale: Normalize) -> None:
    picture = load_picture(image, open_picture)
    width, height = picture.size
    axis.imshow(picture, extent=(0, width, height, 0))
    patches = explanation["patches"]
    if patches["box"] is not None:
        x0, y0, x1, y1 = patches["box"]
        extent = (x0 * width, x1 * width, y1 * height, y0 * height)
        # What says nothing stays clear.
        alpha = [[0.9 * abs(score) / scale.vmax for score in row] for row in patches["scores"]]
        axis.imshow(patches["scores"], cmap=FOR_AND_AGAINST, norm=scale, alpha=alpha, extent=extent)
    axis.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    for one in explanation["objects"] or []:
        colour = COLOURS[one["role"] or "context"]
        corner = _draw_box(axis, one["box"], width, height, colour, 3 if one["role"] else 1.5)
        score = "cropped away" if one["score"] is None else f"{one['score']:+.2f}"
        label = f"{one['role'] or ''} {score}".strip()
        axis.text(*corner, label, fontsize=8, va="top", color="white", backgroundcolor=colour)


def _runs(given: Mapping, words: Sequence[Mapping]) -> Iterator[tuple[str, float | None, str | None]]:
    """The text in runs: a word or what stands between two, its score, and the role of the mention it lies in."""
    text, bounds, done = given["text"], None, 0
    if not isinstance(text, str):
        ends = [sum(len(token) + 1 for token in text[: i + 1]) - 1 for i in range(len(text))]
        bounds = [(end - len(token), end) for end, token in zip(ends, text, strict=True)]
        text = " ".join(text)
    mentions = {}
    for role in ("head", "tail"):
        start, end = given[role].get("start"), given[role].get("end")
        if start is not None:
            mentions[role] = (start, end) if bounds is None else (bounds[start][0], bounds[end - 1][1])
    rest = {"start": len(text), "end": len(text), "score": None}
    for word in [*sorted(words, key=lambda word: word["start"]), rest]:
        for start, end, score in ((done, word["start"], None), (word["start"], word["end"], word["score"])):
            inside = [role for role, (first, last) in mentions.items() if first <= start and end <= last]
            if end > start:
                yield text[start:end], score, inside[0] if inside else None
        done = word["end"]


def _write_words(page, given: Mapping, words: Sequence[Mapping], scale: Normalize) -> float:
    """Writes the text with its words shaded and its mentions underlined; returns the height below it."""
    renderer = page.figure.canvas.get_renderer()
    to_axes = page.transAxes.inverted()
    x, y = MARGIN, 0.93
    for run, score, role in _runs(given, words):
        for piece in run.split() if score is None else [run]:
            shade = "white" if score is None else FOR_AND_AGAINST(scale(score))
            dark = score is not None and abs(score) > 0.6 * scale.vmax
            text = page.text(
                x, y, piece, fontsize=13, va="baseline", parse_math=False, color="white" if dark else "black",
                bbox={"facecolor": shade, "edgecolor": "none", "pad": 1.5},
            )  # fmt: skip
            box = text.get_window_extent(renderer).transformed(to_axes)
            if box.x1 > 1 - MARGIN and x > MARGIN:
                x, y = MARGIN, y - LINE
                text.set_position((x, y))
                box = text.get_window_extent(renderer).transformed(to_axes)
            if role is not None:
                page.plot((box.x0, box.x1), (box.y0 - 0.008,) * 2, color=COLOURS[role], linewidth=2.5)
            x = box.x1 + 0.004
        if run[-1].isspace():
            x += 0.012
    page.set(xlim=(0, 1), ylim=(0, 1))
    return y - LINE


def _lines(answer: Sequence[Mapping]) -> Iterator[tuple[str, dict]]:
    """The relations and their descriptions, line by line, each with its style."""
    for rank, relation in enumerate(answer):
        yield f"{relation['score']:.3f}  {relation['label']}", {"fontsize": 11, "weight": "bold"}
        descriptions = relation["explanation"]["descriptions"]
        for one in descriptions if rank == 0 else descriptions[:1]:
            cosine = "" if one["score"] is None else f"{one['score']:+.2f}  "
            words = one["description"] or f"{one['examples']} example(s)"
            for i, line in enumerate(textwrap.wrap(words, 84)):
                yield f"      {cosine if i == 0 else '         '}{line}", {"fontsize": 9, "color": "#404040"}

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The answer as a person reads it: a sentence, bars with scores and descriptions, and what each was read from."""

import base64
import io
from html import escape
from typing import Any

import numpy as np
from PIL import Image
from relation_set import short_name

HEAT = (219, 39, 119)  # RGB
STRONGEST = 0.72  # opacity of the patch with the highest score


def message_html(words: str) -> str:
    """A sentence to the visitor, read out at once by a screen reader."""
    return f'<p class="roc-message" role="alert">{escape(words)}</p>'


def sentence_html(head: str, label: str, tail: str) -> str:
    """ "head — relation → tail", in the colours of head and tail."""
    return (
        f'<p class="roc-sentence"><mark class="head">{escape(head)}</mark> '
        f'<span class="link" title="{escape(label)}">— {escape(short_name(label))} →</span> '
        f'<mark class="tail">{escape(tail)}</mark></p>'
    )


def headline_html(
    post: dict[str, Any], names: list[str], relations: list[dict[str, Any]], negative: str | None
) -> str:
    """The best relation in a sentence, with its score and the description that fits best.

    Args:
        post: see `posts`.
        names: of its entities.
        relations: what the pipeline answered, best first.
        negative: the relation that says "none of the others", if there is one.
    """
    best = relations[0]
    told = f'<span class="score">{100 * best["score"]:.0f}%</span>'
    if best["description"]:
        told += f" <q>{escape(best['description'])}</q>"
    if best["label"] == negative:
        told += " None of the other relations fits these two better."
    sentence = sentence_html(names[post["head"]], best["label"], names[post["tail"]])
    return f'<section class="roc-headline" aria-live="polite">{sentence}<p class="told">{told}</p></section>'


def answer_html(post: dict[str, Any], names: list[str], relations: list[dict[str, Any]], preview: str) -> str:
    """The ranked relations as bars; each opens on what it was read from.

    Args:
        post, names: as for `headline_html`.
        relations: what the pipeline answered, best first, with `explanation`.
        preview: the picture's data URL; "" without a picture.
    """
    rows = "".join(
        _relation_html(post, names, relation, bool(preview), is_open=number == 0)
        for number, relation in enumerate(relations)
    )
    style = f' style="--picture: url({preview})"' if preview else ""
    return f'<ol class="roc-relations" aria-label="Relations, best first"{style}>{rows}</ol>'


def _relation_html(post, names, relation, has_picture: bool, is_open: bool) -> str:
    label, score, words = relation["label"], relation["score"], relation["description"]
    described = f'<span class="description">{escape(words)}</span>' if words else ""
    opened = " open" if is_open else ""
    return (
        f'<li data-label="{escape(label)}"><details{opened}><summary>'
        f'<span class="name" title="{escape(label)}">{escape(short_name(label))}</span>'
        f'<span class="track" aria-hidden="true"><span style="width: {100 * score:.2f}%"></span></span>'
        f'<span class="score" data-score="{score!r}">{100 * score:.1f}%</span>{described}</summary>'
        f"{_explanation_html(post, names, relation['explanation'], has_picture)}</details></li>"
    )


def _explanation_html(post: dict[str, Any], names: list[str], explanation: dict[str, Any], has_picture: bool) -> str:
    parts = []
    if explanation["words"]:
        parts.append(f'<p class="roc-words" aria-label="{_name_words(post, explanation["words"])}">')
        parts.append(_words_html(post["text"], explanation["words"]) + "</p>")
    if has_picture and explanation["patches"]:
        parts.append(_picture_html(post, names, explanation))
    if len(explanation["descriptions"] or ()) > 1:
        lines = "".join(
            f"<li><span>{100 * one['score']:.0f}%</span> {escape(one['description'])}</li>"
            for one in explanation["descriptions"]
        )
        parts.append(f'<ul class="roc-descriptions" aria-label="How well each description fits">{lines}</ul>')
    return f'<div class="roc-why"><p class="title">What this was read from</p>{"".join(parts)}</div>'


def _strengths(scores: list[float]) -> list[float]:
    """Scores as shares of the highest, 0 to 1; what speaks against the relation counts as nothing."""
    highest = max([*scores, 0.0]) or 1.0
    return [max(score, 0.0) / highest for score in scores]


def _words_html(text: str, words: list[dict[str, Any]]) -> str:
    pieces, end = [], 0
    strengths = _strengths([word["score"] for word in words])
    for word, strength in sorted(zip(words, strengths, strict=True), key=lambda pair: pair[0]["start"]):
        pieces.append(escape(text[end : word["start"]]))
        shade = f"--strength: {strength:.3f}"
        pieces.append(f'<span style="{shade}">{escape(text[word["start"] : word["end"]])}</span>')
        end = word["end"]
    return "".join(pieces) + escape(text[end:])


def _name_words(post: dict[str, Any], words: list[dict[str, Any]]) -> str:
    strongest = sorted(words, key=lambda word: -word["score"])[:3]
    told = ", ".join(post["text"][word["start"] : word["end"]] for word in strongest)
    return escape(f"Words that count most: {told}")


def _picture_html(post: dict[str, Any], names: list[str], explanation: dict[str, Any]) -> str:
    patches = explanation["patches"]
    grid = np.asarray(patches["scores"], dtype=np.float64).reshape(patches["rows"], patches["columns"])
    strengths = np.asarray(_strengths(grid.ravel().tolist())).reshape(grid.shape)
    row, column = np.unravel_index(strengths.argmax(), strengths.shape)
    across = ("left", "centre", "right")[int(3 * column / grid.shape[1])]
    down = ("upper", "middle", "lower")[int(3 * row / grid.shape[0])]
    marked = []
    for role in ("head", "tail"):
        entity = post["entities"][post[role]]
        if entity["kind"] == "object":
            x0, y0, x1, y1 = entity["box"]
            place = f"left: {100 * x0:.2f}%; top: {100 * y0:.2f}%; width: {100 * (x1 - x0):.2f}%"
            place += f"; height: {100 * (y1 - y0):.2f}%"
            marked.append(f'<span class="box {role}" style="{place}"></span>')
    told = f"Heat map over the picture: what counts most lies in the {down} part, {across}."
    return (
        f'<div class="roc-heat" role="img" aria-label="{told}"><span class="shown"></span>'
        f'<img alt="" src="{_heat_png(strengths)}">{"".join(marked)}</div>'
    )


def _heat_png(strengths: np.ndarray) -> str:
    """A pixel a patch, as a data URL; the browser smooths it when it stretches it over the picture."""
    pixels = np.empty((*strengths.shape, 4), dtype=np.uint8)
    pixels[..., :3] = HEAT
    pixels[..., 3] = np.rint(255 * STRONGEST * strengths)
    buffer = io.BytesIO()
    Image.fromarray(pixels, mode="RGBA").save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()

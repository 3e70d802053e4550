# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The answer as a person reads it: a sentence, bars with scores and descriptions, and what the best was read from."""

from html import escape
from typing import Any

import numpy as np
from PIL import Image
from post import data_url, names_of
from relations import short_name

HEAT = (219, 39, 119)  # RGB
STRONGEST = 0.72  # opacity of the patch with the highest score


def headline_html(post: dict[str, Any], relations: list[dict[str, Any]], negative: str | None) -> str:
    """The best relation in a sentence, with its score and the description that fits best.

    Args:
        post: see `post`.
        relations: what the pipeline answered, best first.
        negative: the relation that says "none of the others", if there is one.
    """
    best, names = relations[0], names_of(post)
    told = f'<span class="score">{100 * best["score"]:.0f}%</span>'
    if best["description"]:
        told += f" <q>{escape(best['description'])}</q>"
    elif "examples" in best:
        told += f" Nearest: {_examples(best)}."
    if best["label"] == negative:
        told += " None of the other relations fits these two better."
    return (
        '<section class="roc-headline" aria-live="polite">'
        f'<p class="roc-sentence"><mark class="head">{escape(names[post["head"]])}</mark> '
        f'<span class="link" title="{escape(best["label"])}">— {escape(short_name(best["label"]))} →</span> '
        f'<mark class="tail">{escape(names[post["tail"]])}</mark></p><p class="told">{told}</p></section>'
    )


def bars_html(relations: list[dict[str, Any]]) -> str:
    """The ranked relations as bars, with scores and descriptions."""
    rows = []
    for relation in relations:
        label, score, words = relation["label"], relation["score"], relation["description"]
        words = words or ("examples" in relation and _examples(relation))
        described = f'<span class="description">{escape(words)}</span>' if words else ""
        rows.append(
            f'<li data-label="{escape(label)}"><span class="name" title="{escape(label)}">'
            f'{escape(short_name(label))}</span><span class="track" aria-hidden="true">'
            f'<span style="width: {100 * score:.2f}%"></span></span>'
            f'<span class="score" data-score="{score!r}">{100 * score:.1f}%</span>{described}</li>'
        )
    return f'<ol class="roc-relations" aria-label="Relations, best first">{"".join(rows)}</ol>'


def explanation_html(post: dict[str, Any], relation: dict[str, Any], preview: str) -> str:
    """What the best relation was read from: shades over the words, heat over the picture, each of its descriptions.

    Args:
        post: see `post`.
        relation: the first that the pipeline answered, with `explanation`.
        preview: the picture's data URL; "" without a picture.
    """
    explanation = relation["explanation"]
    title = f"What speaks for “{escape(short_name(relation['label']))}”"
    parts = [f'<p class="title">{title}</p>']
    if explanation["words"]:
        parts.append(_words_html(post["text"], explanation["words"]))
    if preview and explanation["patches"] and explanation["patches"]["box"]:
        parts.append(_picture_html(post, explanation["patches"], preview))
    if scored := [one for one in explanation["descriptions"] if one["score"] is not None]:
        lines = []
        for one in scored:
            words = _examples(one) if one["description"] is None else one["description"]
            lines.append(f"<li><span>{one['score']:.2f}</span> {escape(words)}</li>")
        parts.append('<p class="title">How near its descriptions are to the pair (cosine)</p>')
        parts.append(f'<ul class="roc-descriptions">{"".join(lines)}</ul>')
    return f'<section class="roc-why" aria-label="{title}">{"".join(parts)}</section>'


def _examples(one: dict[str, Any]) -> str:
    return "the one example it was given by" if one["examples"] == 1 else f"the {one['examples']} examples of it"


def _strengths(scores: list) -> np.ndarray:
    """Scores as shares of the highest, 0 to 1; what speaks against the relation counts as nothing."""
    positive = np.maximum(np.asarray(scores, dtype=np.float64), 0)
    return positive / (positive.max() or 1)


def _words_html(text: str, words: list[dict[str, Any]]) -> str:
    words = sorted(words, key=lambda word: word["start"])
    pieces, end = [], 0
    for word, strength in zip(words, _strengths([word["score"] for word in words]), strict=True):
        shown = escape(text[word["start"] : word["end"]])
        pieces.append(f'{escape(text[end : word["start"]])}<span style="--strength: {strength:.3f}">{shown}</span>')
        end = word["end"]
    strongest = sorted(words, key=lambda word: -word["score"])[:3]
    told = escape("Words that count most: " + ", ".join(text[word["start"] : word["end"]] for word in strongest))
    shades = "".join(pieces) + escape(text[end:])
    return f'<p class="sr-only">{told}</p><p class="roc-words" aria-hidden="true">{shades}</p>'


def _picture_html(post: dict[str, Any], patches: dict[str, Any], preview: str) -> str:
    strengths = _strengths(patches["scores"])
    row, column = np.unravel_index(strengths.argmax(), strengths.shape)
    down = ("upper", "middle", "lower")[3 * row // strengths.shape[0]]
    across = ("left", "centre", "right")[3 * column // strengths.shape[1]]
    told = f"Heat map over the picture: what counts most lies in the {down} part, {across}."
    # A pixel a patch; the browser smooths it when it stretches it over the picture.
    pixels = np.empty((*strengths.shape, 4), dtype=np.uint8)
    pixels[..., :3] = HEAT
    pixels[..., 3] = np.rint(255 * STRONGEST * strengths)
    heat = data_url(Image.fromarray(pixels, mode="RGBA"), "PNG")
    marked = "".join(
        f'<span class="box {role}" style="{_style(post["entities"][post[role]]["box"])}"></span>'
        for role in ("head", "tail")
        if post["entities"][post[role]]["kind"] == "object"
    )
    return (
        f'<div class="roc-heat" role="img" aria-label="{told}"><img alt="" src="{preview}">'
        f'<img class="heat" alt="" src="{heat}" style="{_style(patches["box"])}">{marked}</div>'
    )


def _style(box: list[float]) -> str:
    x0, y0, x1, y1 = (100 * x for x in box)
    return f"left: {x0:.2f}%; top: {y0:.2f}%; width: {x1 - x0:.2f}%; height: {y1 - y0:.2f}%"

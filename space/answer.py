# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The answer as a person reads it: a sentence, bars with scores and descriptions, a relation of the visitor's own, and
what the best was read from."""

from html import escape
from typing import Any

import numpy as np
from PIL import Image
from post import data_url, names_of
from relations import short_name

HEAT = (219, 39, 119)  # RGB
STRONGEST = 0.72  # opacity of the patch with the highest score


def percent(score: float) -> str:
    """A probability in %, which rounding makes neither certain nor impossible."""
    return "> 99.9%" if score > 0.999 else "< 0.1%" if score < 0.001 else f"{100 * score:.1f}%"


def is_known(relation: dict[str, Any], negative: str | None, threshold: float | None) -> bool:
    """Whether a pair's best relation is none but the negative one, and has the probability that the model asks for."""
    return relation["label"] != negative and relation["score"] >= (threshold or 0)


def headline_html(
    post: dict[str, Any], relations: list[dict[str, Any]], negative: str | None, threshold: float | None = None
) -> str:
    """The best relation in a sentence, with its score and the description that fits best.

    Args:
        post: see `post`.
        relations: what the pipeline answered, best first.
        negative: the relation that says "none of the others", if there is one.
        threshold: what a relation must reach to be known, if the model asks for that.
    """
    best = relations[0]
    told = f'<span class="score">{percent(best["score"])}</span>'
    if best["description"]:
        told += f' <q dir="auto">{escape(best["description"])}</q>'
    elif "examples" in best:
        told += f" Nearest: {_examples(best)}."
    if is_known(best, negative, threshold):
        return _sentence(post, f'title="{escape(best["label"])}">— {escape(short_name(best["label"]))} →', told)
    if best["label"] != negative:
        told = f"Likeliest is “{escape(short_name(best['label']))}”, {told} The model asks for {percent(threshold)}."
    return _sentence(post, ">— no relation known —", told)


def unnamed_html(post: dict[str, Any], words: str) -> str:
    """The answer where one of the marks names nothing."""
    return _sentence(post, ">— no relation known —", f"“{escape(words)}” names no person, group, place or thing.")


def _sentence(post: dict[str, Any], link: str, told: str) -> str:
    head, tail = (
        f'<mark class="{role}" dir="auto">{escape(names_of(post)[post[role]])}</mark>' for role in ("head", "tail")
    )
    return (
        f'<section class="roc-headline" aria-live="polite"><p class="roc-sentence">{head} <span class="link" {link}'
        f'</span> {tail}</p><p class="told">{told}</p></section>'
    )


def own_html(name: str, place: int, number: int, relation: dict[str, Any]) -> str:
    """Where a relation of the visitor's own stands among all.

    Args:
        name: its label.
        place: from 1 on, of the `number` of relations.
        relation: what the pipeline answered; with an explanation, its cosine is told.
    """
    cosine = "…"
    if "explanation" in relation:
        cosine = f"{relation['explanation']['descriptions'][0]['score']:.2f}"
    return (
        f'<p class="roc-own-place" data-label="{escape(name)}" aria-live="polite"><strong dir="auto">'
        f"{escape(short_name(name))}</strong> is in place {place} of {number}: {percent(relation['score'])}, cosine "
        f"{cosine}</p>"
    )


def bars_html(relations: list[dict[str, Any]]) -> str:
    """The ranked relations as bars, with scores and descriptions."""
    rows = []
    for relation in relations:
        label, score, words = relation["label"], relation["score"], relation["description"]
        words = words or ("examples" in relation and _examples(relation))
        described = f'<span class="description" dir="auto">{escape(words)}</span>' if words else ""
        rows.append(
            f'<li data-label="{escape(label)}"><span class="name" dir="auto" title="{escape(label)}">'
            f'{escape(short_name(label))}</span><span class="track" aria-hidden="true">'
            f'<span style="width: {100 * score:.2f}%"></span></span>'
            f'<span class="score" data-score="{score!r}">{percent(score)}</span>{described}</li>'
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
    words, patches = explanation["words"], explanation["patches"]
    # One scale for both: where the picture decides, words stay pale.
    scores = [[word["score"] for word in words], *(patches["scores"] if patches else [])]
    most = max([0.0, *(score for row in scores for score in row)]) or 1.0
    if words:
        parts.append(_words_html(post["text"], words, most))
    if preview and patches and patches["box"]:
        parts.append(_picture_html(post, patches, preview, most))
    if words or patches:
        parts.append(
            '<p class="roc-note"><span class="roc-scale" aria-hidden="true"></span> from nothing to the most that a '
            "word or a part of the picture adds. It is what the model went by, which need not be what a person "
            "would.</p>"
        )
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


def _strengths(scores: list, most: float) -> np.ndarray:
    """Scores as shares of the highest of all, 0 to 1; what speaks against the relation counts as nothing."""
    return np.maximum(np.asarray(scores, dtype=np.float64), 0) / most


def _words_html(text: str, words: list[dict[str, Any]], most: float) -> str:
    words = sorted(words, key=lambda word: word["start"])
    pieces, end = [], 0
    for word, strength in zip(words, _strengths([word["score"] for word in words], most), strict=True):
        shown = escape(text[word["start"] : word["end"]])
        pieces.append(f'{escape(text[end : word["start"]])}<span style="--strength: {strength:.3f}">{shown}</span>')
        end = word["end"]
    strongest = sorted(words, key=lambda word: -word["score"])[:3]
    told = escape("Words that count most: " + ", ".join(text[word["start"] : word["end"]] for word in strongest))
    shades = "".join(pieces) + escape(text[end:])
    return f'<p class="sr-only">{told}</p><p class="roc-words" dir="auto" aria-hidden="true">{shades}</p>'


def _picture_html(post: dict[str, Any], patches: dict[str, Any], preview: str, most: float) -> str:
    strengths = _strengths(patches["scores"], most)
    row, column = np.unravel_index(strengths.argmax(), strengths.shape)
    down = ("upper", "middle", "lower")[3 * row // strengths.shape[0]]
    across = ("left", "centre", "right")[3 * column // strengths.shape[1]]
    told = f"Heat map over the picture: what counts most lies in the {down} part, {across}."
    # A pixel a patch; smoothed, the strongest would seem to lie between two things.
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

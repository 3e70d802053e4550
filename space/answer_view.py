# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The answer as a person reads it: a sentence, bars with scores and descriptions, and what the best was read from."""

import base64
import io
from html import escape
from typing import Any

import numpy as np
from PIL import Image
from relation_set import short_name

HEAT = (219, 39, 119)  # RGB
STRONGEST = 0.72  # opacity of the patch with the highest score


def message_html(words: str, is_refusal: bool = True) -> str:
    """A sentence to the visitor, read out by a screen reader: at once if it is a refusal."""
    kind = 'class="roc-message" role="alert"' if is_refusal else 'class="roc-message fine" role="status"'
    return f"<p {kind}>{escape(words)}</p>"


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
    elif "examples" in best:
        told += f" Nearest: {_examples(best)}."
    if best["label"] == negative:
        told += " None of the other relations fits these two better."
    sentence = sentence_html(names[post["head"]], best["label"], names[post["tail"]])
    return f'<section class="roc-headline" aria-live="polite">{sentence}<p class="told">{told}</p></section>'


def answer_html(relations: list[dict[str, Any]]) -> str:
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
        post: see `posts`.
        relation: the first that the pipeline answered, with `explanation`.
        preview: the picture's data URL; "" without a picture.
    """
    explanation = relation["explanation"]
    parts = []
    if explanation["words"]:
        told = _strongest_words(post["text"], explanation["words"])
        parts.append(f'<p class="sr-only">{told}</p>')
        parts.append(f'<p class="roc-words" aria-hidden="true">{_words_html(post["text"], explanation["words"])}</p>')
    if preview and explanation["patches"]:
        parts.append(_picture_html(post, explanation["patches"], preview))
    scored = [one for one in explanation["descriptions"] if one["score"] is not None]
    if scored:
        words = [_examples(one) if one["description"] is None else one["description"] for one in scored]
        lines = "".join(
            f"<li><span>{one['score']:.2f}</span> {escape(text)}</li>" for one, text in zip(scored, words, strict=True)
        )
        parts.append('<p class="title">How near its descriptions are to the pair (cosine)</p>')
        parts.append(f'<ul class="roc-descriptions">{lines}</ul>')
    told = f"What speaks for “{escape(short_name(relation['label']))}”"
    return f'<section class="roc-why" aria-label="{told}"><p class="title">{told}</p>{"".join(parts)}</section>'


def _examples(one: dict[str, Any]) -> str:
    return "the one example it was given by" if one["examples"] == 1 else f"the {one['examples']} examples of it"


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


def _strongest_words(text: str, words: list[dict[str, Any]]) -> str:
    strongest = sorted(words, key=lambda word: -word["score"])[:3]
    return escape("Words that count most: " + ", ".join(text[word["start"] : word["end"]] for word in strongest))


def _picture_html(post: dict[str, Any], patches: dict[str, Any], preview: str) -> str:
    grid = np.asarray(patches["scores"], dtype=np.float64)
    strengths = np.asarray(_strengths(grid.ravel().tolist())).reshape(grid.shape)
    row, column = np.unravel_index(strengths.argmax(), strengths.shape)
    down = ("upper", "middle", "lower")[3 * row // grid.shape[0]]
    across = ("left", "centre", "right")[3 * column // grid.shape[1]]
    told = f"Heat map over the picture: what counts most lies in the {down} part, {across}."
    marked = "".join(
        f'<span class="box {role}" style="{_style(post["entities"][post[role]]["box"])}"></span>'
        for role in ("head", "tail")
        if post["entities"][post[role]]["kind"] == "object"
    )
    heat = f'<img class="heat" alt="" src="{_heat_png(strengths)}" style="{_style(patches["box"])}">'
    return f'<div class="roc-heat" role="img" aria-label="{told}"><img alt="" src="{preview}">{heat}{marked}</div>'


def _style(box: list[float]) -> str:
    x0, y0, x1, y1 = (100 * x for x in box)
    return f"left: {x0:.2f}%; top: {y0:.2f}%; width: {x1 - x0:.2f}%; height: {y1 - y0:.2f}%"


def _heat_png(strengths: np.ndarray) -> str:
    """A pixel a patch, as a data URL; the browser smooths it when it stretches it over the picture."""
    pixels = np.empty((*strengths.shape, 4), dtype=np.uint8)
    pixels[..., :3] = HEAT
    pixels[..., 3] = np.rint(255 * STRONGEST * strengths)
    buffer = io.BytesIO()
    Image.fromarray(pixels, mode="RGBA").save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""All pairs of a post as a small graph (SVG) and as a table with files to download."""

import math
from html import escape
from typing import Any

from pair_exports import Pairs, download_link, to_csv, to_json_lines, to_turtle
from relation_set import short_name

WIDTH, HEIGHT = 400, 310  # a phone's width shows it at nearly full size
BEND = 12  # how far an edge curves aside, so that both directions of a pair can be told apart
LONGEST = 16  # characters of a node's name
KINDS = 8  # colours and dashes of relations


def pairs_html(
    post: dict[str, Any], names: list[str], pairs: Pairs, negative: str | None, image: str | None = None
) -> str:
    """The graph of the pairs that are related, the table of all, and three files; `image` names the picture's own."""
    related = [pair for pair in pairs if pair["relations"][0]["label"] != negative]
    others = [pair for pair in pairs if pair["relations"][0]["label"] == negative]
    links = (
        download_link(to_csv(post, names, pairs), "pairs.csv", "text/csv", "CSV"),
        download_link(to_json_lines(post, names, pairs, image), "pairs.jsonl", "application/jsonl", "JSON lines"),
        download_link(to_turtle(post, names, pairs, negative), "pairs.ttl", "text/turtle", "RDF (Turtle)"),
    )
    parts = [graph_svg(post, names, related), _table(names, related) if related else ""]
    if not related:
        parts.append(f'<p class="roc-note">None of the {len(pairs)} pairs is related.</p>')
    if others:
        told = f"{len(others)} pair{'s' if len(others) > 1 else ''} without a relation"
        parts.append(f'<details class="roc-others"><summary>{told}</summary>{_table(names, others)}</details>')
    parts.append(f'<p class="roc-downloads">All {len(pairs)} pairs as {" ".join(links)}</p>')
    return f'<section class="roc-pairs" aria-live="polite">{"".join(parts)}</section>'


def _table(names: list[str], pairs: Pairs) -> str:
    rows = []
    for pair in sorted(pairs, key=lambda pair: -pair["relations"][0]["score"]):
        best = pair["relations"][0]
        cells = (names[pair["head"]], short_name(best["label"]), names[pair["tail"]], f"{100 * best['score']:.1f}%")
        rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    titles = "".join(f'<th scope="col">{title}</th>' for title in ("Head", "Relation", "Tail", "Score"))
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def graph_svg(post: dict[str, Any], names: list[str], pairs: Pairs) -> str:
    """Entities on an ellipse, an arrow in its relation's colour from head to tail for every pair, and a legend."""
    places = _places(len(names))
    labels = list(dict.fromkeys(pair["relations"][0]["label"] for pair in pairs))
    edges = [
        f'<path class="edge {_kind(labels, pair)}" d="{_edge(places[pair["head"]], places[pair["tail"]])}" '
        f'marker-end="url(#roc-arrow)"><title>{escape(_sentence(names, pair))}</title></path>'
        for pair in pairs
    ]
    nodes = []
    for index, ((x, y), name) in enumerate(zip(places, names, strict=True)):
        role = next((role for role in ("head", "tail") if post[role] == index), "other")
        shown = name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
        half = 3.8 * len(shown) + 10
        nodes.append(
            f'<g class="node {role}"><rect x="{x - half:.1f}" y="{y - 14:.1f}" width="{2 * half:.1f}" height="28" '
            f'rx="14"/><text x="{x:.1f}" y="{y:.1f}">{escape(shown)}</text></g>'
        )
    told = escape("Graph of relations: " + ("; ".join(_sentence(names, pair) for pair in pairs) or "none"))
    arrow = (
        '<defs><marker id="roc-arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" '
        'orient="auto-start-reverse"><path d="M0 0 8 4 0 8z" fill="context-stroke"/></marker></defs>'
    )
    legend = "".join(
        f'<li><svg viewBox="0 0 28 8" aria-hidden="true"><path class="edge kind-{number % KINDS}" d="M1 4H27"/></svg>'
        f"{escape(short_name(label))}</li>"
        for number, label in enumerate(labels)
    )
    return (
        f'<svg class="roc-graph" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{told}">{arrow}'
        f'{"".join(edges)}{"".join(nodes)}</svg><ul class="roc-legend" aria-hidden="true">{legend}</ul>'
    )


def _kind(labels: list[str], pair: dict[str, Any]) -> str:
    return f"kind-{labels.index(pair['relations'][0]['label']) % KINDS}"


def _sentence(names: list[str], pair: dict[str, Any]) -> str:
    return f"{names[pair['head']]} — {short_name(pair['relations'][0]['label'])} → {names[pair['tail']]}"


def _places(number: int) -> list[tuple[float, float]]:
    angles = [2 * math.pi * index / number - math.pi / 2 for index in range(number)]
    return [(WIDTH / 2 + 130 * math.cos(angle), HEIGHT / 2 + 128 * math.sin(angle)) for angle in angles]


def _edge(start: tuple[float, float], end: tuple[float, float]) -> str:
    """A curve that stops short of both nodes."""
    (x0, y0), (x1, y1) = start, end
    length = math.hypot(x1 - x0, y1 - y0)
    along = ((x1 - x0) / length, (y1 - y0) / length)
    # How far a node's pill reaches into this direction.
    gap = min(46 / max(abs(along[0]), 1e-9), 18 / max(abs(along[1]), 1e-9), length / 3)
    x0, y0, x1, y1 = x0 + gap * along[0], y0 + gap * along[1], x1 - gap * along[0], y1 - gap * along[1]
    bend_x, bend_y = (x0 + x1) / 2 + 2 * BEND * along[1], (y0 + y1) / 2 - 2 * BEND * along[0]
    return f"M{x0:.1f} {y0:.1f}Q{bend_x:.1f} {bend_y:.1f} {x1:.1f} {y1:.1f}"

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""All pairs of a post: a small graph (SVG), a table, and files (CSV, JSON lines, triples as RDF in Turtle).

A pair is `{"head": place, "tail": place, "relations": [{"label", "score", "description"}, ...]}`, best first.
"""

import csv
import io
import json
import math
from html import escape
from typing import Any
from urllib.parse import quote

from answer import is_known, percent
from post import names_of
from rdflib import RDF, RDFS, BNode, Graph, Literal, Namespace, URIRef
from rdflib.namespace import XSD
from relations import download_link, short_name

WIDTH, HEIGHT = 400, 310  # of the graph: a phone's width shows it at nearly full size
BEND = 12  # how far an edge curves aside, so that both directions of a pair can be told apart
LONGEST = 16  # characters of a node's name
KINDS = 8  # colours and dashes of relations
ROC = Namespace("urn:roc:")
COLUMNS = ("head", "head_type", "head_place", "relation", "tail", "tail_type", "tail_place", "score", "description")

Pairs = list[dict[str, Any]]


def pairs_html(
    post: dict[str, Any], pairs: Pairs, negative: str | None, threshold: float | None = None, image: str | None = None
) -> str:
    """The graph of the pairs that are related, the table of all, and three files.

    Args:
        post, pairs: see `post` and above.
        negative, threshold: as for `answer.headline_html`.
        image: the picture's file name.
    """
    names = names_of(post)
    known = {True: [], False: []}
    for pair in pairs:
        known[is_known(pair["relations"][0], negative, threshold)].append(pair)
    related, others = known[True], known[False]
    parts = [graph_svg(post, related)]
    if related:
        parts.append(_table(names, related))
    else:
        parts.append(f'<p class="roc-note">None of the {len(pairs)} pairs is related.</p>')
    if others:
        told = f"{len(others)} pair{'s' if len(others) > 1 else ''} without a relation"
        parts.append(f'<details class="roc-others"><summary>{told}</summary>{_table(names, others)}</details>')
    links = (
        download_link(to_csv(post, pairs), "pairs.csv", "text/csv", "CSV"),
        download_link(to_json_lines(post, pairs, image), "pairs.jsonl", "application/jsonl", "JSON lines"),
        download_link(to_turtle(post, related, negative), "pairs.ttl", "text/turtle", "RDF (Turtle)"),
    )
    parts.append(f'<p class="roc-downloads">All {len(pairs)} pairs as {" ".join(links)}</p>')
    return f'<section class="roc-pairs" aria-live="polite">{"".join(parts)}</section>'


def _table(names: list[str], pairs: Pairs) -> str:
    rows = []
    for pair in sorted(pairs, key=lambda pair: -pair["relations"][0]["score"]):
        best = pair["relations"][0]
        cells = (names[pair["head"]], short_name(best["label"]), names[pair["tail"]], percent(best["score"]))
        rows.append("<tr>" + "".join(f'<td dir="auto">{escape(cell)}</td>' for cell in cells) + "</tr>")
    titles = "".join(f'<th scope="col">{title}</th>' for title in ("Head", "Relation", "Tail", "Score"))
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def graph_svg(post: dict[str, Any], pairs: Pairs) -> str:
    """Entities on an ellipse, an arrow in its relation's colour from head to tail for every pair, and a legend."""
    names = names_of(post)
    angles = [2 * math.pi * index / len(names) - math.pi / 2 for index in range(len(names))]
    places = [(WIDTH / 2 + 130 * math.cos(angle), HEIGHT / 2 + 128 * math.sin(angle)) for angle in angles]
    kinds = {}  # of the relations, by label
    edges, sentences = [], []
    for pair in pairs:
        label = pair["relations"][0]["label"]
        kind = kinds.setdefault(label, f"kind-{len(kinds) % KINDS}")
        sentences.append(f"{names[pair['head']]} — {short_name(label)} → {names[pair['tail']]}")
        edges.append(
            f'<path class="edge {kind}" d="{_edge(places[pair["head"]], places[pair["tail"]])}" '
            f'marker-end="url(#roc-arrow)"><title>{escape(sentences[-1])}</title></path>'
        )
    nodes = []
    for index, ((x, y), name) in enumerate(zip(places, names, strict=True)):
        role = next((role for role in ("head", "tail") if post[role] == index), "other")
        shown = name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
        half = 3.8 * len(shown) + 10
        nodes.append(
            f'<g class="node {role}"><rect x="{x - half:.1f}" y="{y - 14:.1f}" width="{2 * half:.1f}" height="28" '
            f'rx="14"/><text x="{x:.1f}" y="{y:.1f}">{escape(shown)}</text></g>'
        )
    arrow = (
        '<defs><marker id="roc-arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" '
        'orient="auto-start-reverse"><path d="M0 0 8 4 0 8z" fill="context-stroke"/></marker></defs>'
    )
    legend = "".join(
        f'<li><svg viewBox="0 0 28 8" aria-hidden="true"><path class="edge {kind}" d="M1 4H27"/></svg>'
        f"{escape(short_name(label))}</li>"
        for label, kind in kinds.items()
    )
    told = escape("Graph of relations: " + ("; ".join(sentences) or "none"))
    return (
        f'<svg class="roc-graph" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{told}">{arrow}'
        f'{"".join(edges)}{"".join(nodes)}</svg><ul class="roc-legend" aria-hidden="true">{legend}</ul>'
    )


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


def _place(entity: dict[str, Any]) -> str:
    """`start:end` in characters, or the box's corners."""
    return f"{entity['start']}:{entity['end']}" if "start" in entity else " ".join(f"{x:g}" for x in entity["box"])


def to_csv(post: dict[str, Any], pairs: Pairs) -> str:
    """One line a pair, with `COLUMNS`."""
    names = names_of(post)
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    for pair in pairs:
        head, tail = (
            (names[place], post["entities"][place]["type"] or "", _place(post["entities"][place]))
            for place in (pair["head"], pair["tail"])
        )
        best = pair["relations"][0]
        cells = (*head, best["label"], *tail, repr(best["score"]), best["description"] or "")
        writer.writerow([_no_formula(cell) for cell in cells])
    return buffer.getvalue()


def _no_formula(cell: str) -> str:
    """A cell that a spreadsheet takes as text: an apostrophe stands before what it would run."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def to_json_lines(post: dict[str, Any], pairs: Pairs, image: str | None = None) -> str:
    """One object a line: text, head and tail as the pipeline takes them, the picture's file name `image`, if there is
    one, and the best relation with score and words. The project's `data_scripts.jsonl` reads such lines."""
    names = names_of(post)
    picture = {} if image is None else {"image": image}
    lines = []
    for pair in pairs:
        best = pair["relations"][0]
        ends = {role: {"name": names[pair[role]], **post["entities"][pair[role]]} for role in ("head", "tail")}
        found = {"relation": best["label"], "score": best["score"], "description": best["description"]}
        lines.append(json.dumps({"text": post["text"], **ends, **picture, **found}, ensure_ascii=False) + "\n")
    return "".join(lines)


def to_turtle(post: dict[str, Any], pairs: Pairs, negative: str | None) -> str:
    """Triples of all pairs whose best relation is not the negative one, each with a statement of its score."""
    graph = Graph()
    graph.bind("roc", ROC)
    graph.bind("relation", Namespace(ROC["relation:"]))
    graph.bind("entity", Namespace(ROC["entity:"]))
    nodes = [URIRef(ROC[f"entity:{index}"]) for index in range(len(post["entities"]))]
    for node, name, entity in zip(nodes, names_of(post), post["entities"], strict=True):
        graph.add((node, RDFS.label, Literal(name)))
        if entity["type"]:
            graph.add((node, RDF.type, URIRef(ROC["type:" + quote(entity["type"], safe="")])))
        for key in entity.keys() & {"start", "end"}:
            graph.add((node, ROC[key], Literal(entity[key])))
        if "box" in entity:
            graph.add((node, ROC.box, Literal(_place(entity))))
    for pair in pairs:
        best = pair["relations"][0]
        if best["label"] == negative:
            continue
        relation = URIRef(ROC["relation:" + quote(best["label"].strip("/"), safe="")])
        head, tail, statement = nodes[pair["head"]], nodes[pair["tail"]], BNode()
        graph.add((head, relation, tail))
        graph.add((relation, RDFS.label, Literal(best["label"])))
        graph.add((statement, RDF.type, RDF.Statement))
        graph.add((statement, RDF.subject, head))
        graph.add((statement, RDF.predicate, relation))
        graph.add((statement, RDF.object, tail))
        graph.add((statement, ROC.score, Literal(best["score"], datatype=XSD.double)))
    return graph.serialize(format="turtle")

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""All pairs of a post as files: CSV, JSON lines, and triples as RDF in Turtle."""

import base64
import csv
import io
import json
from typing import Any
from urllib.parse import quote

from rdflib import RDF, RDFS, BNode, Graph, Literal, Namespace, URIRef
from rdflib.namespace import XSD

ROC = Namespace("urn:roc:")

# A pair: {"head": index, "tail": index, "relations": [{"label", "score", "description"}, ...]}, best first.
Pairs = list[dict[str, Any]]
COLUMNS = ("head", "head_type", "head_place", "relation", "tail", "tail_type", "tail_place", "score", "description")


def to_csv(post: dict[str, Any], names: list[str], pairs: Pairs) -> str:
    """One line a pair, with `COLUMNS`. A place is `start:end` in characters or the box's four corners."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    for pair in pairs:
        best = pair["relations"][0]
        ends = {}
        for role in ("head", "tail"):
            entity = post["entities"][pair[role]]
            is_text = entity["kind"] == "text"
            place = f"{entity['start']}:{entity['end']}" if is_text else " ".join(f"{x:g}" for x in entity["box"])
            ends[role] = [_no_formula(names[pair[role]]), _no_formula(entity["type"] or ""), place]
        label, words = (_no_formula(best[key] or "") for key in ("label", "description"))
        writer.writerow([*ends["head"], label, *ends["tail"], repr(best["score"]), words])
    return buffer.getvalue()


def _no_formula(cell: str) -> str:
    """A cell that a spreadsheet takes as text: an apostrophe stands before what it would run."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def to_json_lines(post: dict[str, Any], names: list[str], pairs: Pairs, image: str | None = None) -> str:
    """One object a line: text, head and tail as the pipeline takes them, the picture's file name `image`, if there is
    one, and the best relation with score and words. The project's `data_scripts.jsonl` reads such lines."""
    picture = {} if image is None else {"image": image}
    lines = []
    for pair in pairs:
        best = pair["relations"][0]
        ends = {role: {"name": names[pair[role]], **post["entities"][pair[role]]} for role in ("head", "tail")}
        found = {"relation": best["label"], "score": best["score"], "description": best["description"]}
        lines.append(json.dumps({"text": post["text"], **ends, **picture, **found}, ensure_ascii=False) + "\n")
    return "".join(lines)


def to_turtle(post: dict[str, Any], names: list[str], pairs: Pairs, negative: str | None) -> str:
    """Triples of all pairs whose best relation is not the negative one, each with a statement of its score."""
    graph = Graph()
    graph.bind("roc", ROC)
    graph.bind("relation", Namespace(ROC["relation:"]))
    graph.bind("entity", Namespace(ROC["entity:"]))
    entities = [URIRef(ROC[f"entity:{index}"]) for index in range(len(names))]
    for node, name, entity in zip(entities, names, post["entities"], strict=True):
        graph.add((node, RDFS.label, Literal(name)))
        if entity["type"]:
            graph.add((node, RDF.type, URIRef(ROC["type:" + quote(entity["type"], safe="")])))
        for key in ("start", "end"):
            if key in entity:
                graph.add((node, ROC[key], Literal(entity[key])))
        if "box" in entity:
            graph.add((node, ROC.box, Literal(" ".join(f"{x:g}" for x in entity["box"]))))
    for pair in pairs:
        best = pair["relations"][0]
        if best["label"] == negative:
            continue
        relation = URIRef(ROC["relation:" + quote(best["label"].strip("/"), safe="")])
        triple = (entities[pair["head"]], relation, entities[pair["tail"]])
        graph.add(triple)
        graph.add((relation, RDFS.label, Literal(best["label"])))
        statement = BNode()
        parts = (RDF.subject, RDF.predicate, RDF.object)
        for part, node in zip((RDF.type, *parts), (RDF.Statement, *triple), strict=True):
            graph.add((statement, part, node))
        graph.add((statement, ROC.score, Literal(best["score"], datatype=XSD.double)))
    return graph.serialize(format="turtle")


def download_link(content: str, filename: str, mime: str, words: str) -> str:
    """A link that holds the file itself, so that nothing of it is written on the server."""
    data = base64.b64encode(content.encode()).decode()
    return f'<a class="download" download="{filename}" href="data:{mime};charset=utf-8;base64,{data}">{words}</a>'

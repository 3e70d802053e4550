# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The graph that extract.py makes of triples, in every format, against one counted by hand; and the page about it."""

import csv
import json
import random
import re
import shutil
from dataclasses import dataclass
from urllib.parse import unquote

import pyarrow.parquet as pq
import pytest
from PIL import Image

from extraction_roc import graph as graph_module
from extraction_roc.formats import write_jsonld, write_neo4j, write_turtle
from extraction_roc.graph import node_id, normalise, write_graph
from extraction_roc.parts import encode_part, open_run
from extraction_roc.posts import Columns, open_posts
from extraction_roc.report import mark, write_report

EVIL = 'Rock "n" <b>Roll</b> \\ {x|y} ^`\u00a0é 日本 & ; , % # \x07'
"""Characters that mean something in Turtle, IRIs, JSON, CSV or HTML."""


def triple(position, head, relation, tail, score, **more):
    """A row; head and tail are (name, type), and stand in the text one behind the other."""
    (head, head_type), (tail, tail_type) = head, tail
    text = f"{head} and\n{tail}"
    return {
        "post": f"post {position}", "position": position, "text": text, "image": None,
        "head": head, "head_type": head_type, "head_start": 0, "head_end": len(head), "head_box": None,
        "tail": tail, "tail_type": tail_type, "tail_start": len(text) - len(tail), "tail_end": len(text),
        "tail_box": None, "relation": relation, "score": score, "description": None, "model": "m", "revision": "r",
    } | more  # fmt: skip


PER, ORG = "person", "organization"
BOX = {"tail_start": None, "tail_end": None, "tail_box": [0.125, 0.25, 0.5, 0.75]}
TRIPLES = [
    triple(0, ("Maya", PER), "knows", ("Noah", PER), 0.5),
    triple(1, ("@maya", PER), "knows", ("NOAH", PER), 0.75),
    triple(1, ("Maya", PER), "knows", ("Noah", PER), 0.25),  # said twice in one post
    triple(2, ("Maya", PER), "knows", ("Noah", ORG), 0.5),  # another Noah
    triple(3, ("Maya", PER), "/per/loc/lives in", ("house", None), 0.5, **BOX),
    triple(4, ("Maya", PER), "/per/loc/lives in", ("house", None), 0.875, **BOX),  # another picture's house
    triple(5, (EVIL, EVIL), EVIL, ("line\nbreak", "a;b"), 0.5, description=EVIL),
    triple(6, ("Maya", PER), "knows", ("Maya", PER), 0.5),
]


@pytest.fixture
def folder(tmp_path):
    """Of a run with these triples in three parts, one of them without any, and one post that failed."""
    with open_run(tmp_path / "graph", {}) as run:
        run.write(0, encode_part(0, 2, TRIPLES[:3]))
        run.write(1, encode_part(2, 3, [{"post": None, "position": 2, "error": "broken"}]))
        run.write(2, encode_part(3, 8, TRIPLES[3:]))
        write_graph(run.paths(), run.folder)
    return tmp_path / "graph"


def test_names_are_compared_without_what_people_write_differently():
    for one, other in (
        ("Taylor  Swift", "taylor swift"), ("@DenisLaw", "denislaw"), ("U.S.", "u.s"), ("“Rovers”", "Rovers"),
        ("ﬁnance", "FINANCE"), ("Straße", "STRASSE"), ("Rovers'", "ROVERS"), ("é", "É"),
    ):  # fmt: skip
        assert normalise(one) == normalise(other)
    assert normalise("U.S.") != normalise("US") and normalise("#") == "#" and normalise("  !? ") == "!?"
    assert node_id("Maya", None, "1", 0, None) == node_id("maya", "Unknown", "2", 1, None)
    assert node_id("DC", "b/AC", "1", 0, None) != node_id("AC/DC", "b", "1", 0, None)
    nodes = {node_id("house", None, *post, BOX["tail_box"]) for post in (("1", 0), ("2", 1), ("2", 2))}
    assert len(nodes) == 3  # also of two posts with the same id


def test_nodes_and_edges_are_those_counted_by_hand(folder):
    nodes = {
        row["id"]: (row["name"], row["type"], row["num_posts"])
        for row in pq.read_table(folder / "nodes.parquet").to_pylist()
    }
    evil, house = node_id(EVIL, EVIL, "", 0, None), "unknown/house#post {0}:{0}:0.1250,0.2500,0.5000,0.7500"
    assert nodes == {
        "person/maya": ("Maya", PER, 6),
        "person/noah": ("Noah", PER, 2),
        "organization/noah": ("Noah", ORG, 1),
        house.format(3): ("house", None, 1),
        house.format(4): ("house", None, 1),
        evil: (EVIL, EVIL, 1),
        "a;b/line break": ("line\nbreak", "a;b", 1),
    }
    edges = pq.read_table(folder / "edges.parquet").to_pylist()
    told = [
        (row["head_id"], row["relation"], row["tail_id"], row["num_posts"], row["score"], row["post"]) for row in edges
    ]
    assert told[0] == ("person/maya", "knows", "person/noah", 2, 0.75, "post 1")
    assert edges[0]["head"] == "@maya" and edges[0]["text"] == "@maya and\nNOAH"
    assert sorted(told[1:]) == sorted(
        [
            ("person/maya", "knows", "organization/noah", 1, 0.5, "post 2"),
            ("person/maya", "/per/loc/lives in", house.format(3), 1, 0.5, "post 3"),
            ("person/maya", "/per/loc/lives in", house.format(4), 1, 0.875, "post 4"),
            (evil, EVIL, "a;b/line break", 1, 0.5, "post 5"),
            ("person/maya", "knows", "person/maya", 1, 0.5, "post 6"),
        ]
    )  # fmt: skip


def test_a_graph_of_no_triples_is_empty(tmp_path):
    with open_run(tmp_path / "graph", {}) as run:
        run.write(0, encode_part(0, 1, []))
        assert write_graph(run.paths(), run.folder) == (0, 0)
    for write in (write_turtle, write_jsonld, write_neo4j):
        write(tmp_path / "graph")
    assert json.loads((tmp_path / "graph" / "graph.jsonld").read_text()) == []
    assert len((tmp_path / "graph" / "neo4j" / "nodes.csv").read_text().splitlines()) == 1


def test_merging_by_pieces_is_merging_at_once(tmp_path, monkeypatch):
    rng, names = random.Random(0), ["Ann", "ann", "Bob", "BOB", "Cy"]
    rows = [
        triple(place, (rng.choice(names), PER), rng.choice("rs"), (rng.choice(names), PER), rng.randrange(1, 9) / 8)
        for place in range(400)
    ]
    for name, size, least in (("once", 400, 10**6), ("pieces", 7, 20)):
        monkeypatch.setattr(graph_module, "MIN_PENDING", least)
        with open_run(tmp_path / name, {}) as run:
            for number, start in enumerate(range(0, 400, size)):
                run.write(number, encode_part(start, start + size, rows[start : start + size]))
            write_graph(run.paths(), run.folder)
    for file in ("nodes.parquet", "edges.parquet"):
        once, pieces = (pq.read_table(tmp_path / name / file) for name in ("once", "pieces"))
        assert once.equals(pieces) and len(once) > 2
    assert sum(pq.read_table(tmp_path / "once" / "edges.parquet")["num_posts"].to_pylist()) == 400


def test_turtle_and_json_ld_say_the_same_as_the_edges(folder):
    rdflib = pytest.importorskip("rdflib", reason="rdflib is not installed: pip install -e .[graph]")
    from rdflib.compare import isomorphic

    write_turtle(folder)
    write_jsonld(folder)
    graph, same = (rdflib.Graph().parse(folder / name) for name in ("graph.ttl", "graph.jsonld"))
    assert isomorphic(graph, same)
    told = graph.query("""
        PREFIX roc: <urn:roc:>
        SELECT ?head ?relation ?tail ?posts ?score ?post ?text WHERE {
            ?s a rdf:Statement; rdf:subject ?h; rdf:predicate ?r; rdf:object ?t;
               roc:posts ?posts; roc:score ?score; roc:post ?post; roc:text ?text.
            ?h ?r ?t; rdfs:label ?head. ?r rdfs:label ?relation. ?t rdfs:label ?tail.
        }""")
    nodes = {row["id"]: row for row in pq.read_table(folder / "nodes.parquet").to_pylist()}
    wanted = [
        (nodes[row["head_id"]]["name"], row["relation"], nodes[row["tail_id"]]["name"])
        + tuple(row[name] for name in ("num_posts", "score", "post", "text"))
        for row in pq.read_table(folder / "edges.parquet").to_pylist()
    ]
    assert sorted(tuple(cell.toPython() for cell in row) for row in told) == sorted(wanted) and len(wanted) == 6
    types = {
        str(graph.value(node, rdflib.RDFS.label)): str(kind) for node, kind in graph.subject_objects(rdflib.RDF.type)
    }
    assert types["Maya"] == "urn:roc:type:person" and unquote(types[EVIL]) == f"urn:roc:type:{EVIL}"


@dataclass
class Neo4j:
    """What `neo4j-admin database import` would make of two files, by its documented rules (header format; defaults of
    5.x: "," between fields, '"' around them and doubled within, ";" between the elements of an array, a line a
    record)."""

    nodes: dict[str, dict]
    relationships: list[dict]


def import_neo4j(folder) -> Neo4j:
    def read(path):
        text = path.read_bytes().decode("utf-8")
        assert "\r" not in text
        for line in text.split("\n")[:-1]:  # without --multiline-fields, a line is a record
            (record,) = csv.reader([line], strict=True)
            yield record

    def convert(header, record):
        assert len(header) == len(record)
        node = {}
        for field, cell in zip(header, record, strict=True):
            name, _, kind = field.partition(":")
            if kind == "LABEL":
                node["labels"] = [label for label in cell.split(";") if label]
            elif kind in ("ID", "START_ID", "END_ID", "TYPE"):
                assert cell
                node[kind] = cell
                node |= {name: cell} if name else {}
            elif cell != "":  # what is empty is no property
                node[name] = {"": str, "string": str, "long": int, "double": float}[kind](cell)
        return node

    (header, *rows), nodes = read(folder / "nodes.csv"), {}
    for row in rows:
        node = convert(header, row)
        assert nodes.setdefault(node["ID"], node) is node, "ids must be unique"
    header, *rows = read(folder / "relationships.csv")
    relationships = [convert(header, row) for row in rows]
    assert all(one["START_ID"] in nodes and one["END_ID"] in nodes for one in relationships)
    return Neo4j(nodes, relationships)


def test_neo4j_imports_the_same_nodes_and_edges(folder):
    write_neo4j(folder)
    imported = import_neo4j(folder / "neo4j")
    nodes = pq.read_table(folder / "nodes.parquet").to_pylist()
    edges = pq.read_table(folder / "edges.parquet").to_pylist()
    assert list(imported.nodes) == [row["id"] for row in nodes]
    for node, row in zip(imported.nodes.values(), nodes, strict=True):
        assert node["name"] == row["name"].replace("\n", " ") and node["posts"] == row["num_posts"]
        assert node["labels"] == ([row["type"].replace(";", ",")] if row["type"] else [])
    assert len(imported.relationships) == len(edges) == 6
    for one, row in zip(imported.relationships, edges, strict=True):
        assert (one["START_ID"], one["TYPE"], one["END_ID"]) == (row["head_id"], row["relation"], row["tail_id"])
        assert (one["posts"], one["score"], one["post"]) == (row["num_posts"], row["score"], row["post"])
        assert one["text"] == row["text"].replace("\n", " ") and one.get("description") == row["description"]


def test_marks_of_mentions_that_overlap():
    row = {"text": "New York Rovers won", "head_start": 0, "head_end": 15, "tail_start": 4, "tail_end": 8}
    assert mark(row) == [("New ", "head"), ("York", "head tail"), (" Rovers", "head"), (" won", "")]
    assert mark({**row, "tail_start": None, "tail_end": None}) == [("New York Rovers", "head"), (" won", "")]


@pytest.fixture
def page(folder, tmp_path):
    """The report of these triples; two of the posts have pictures."""
    pytest.importorskip("bokeh", reason="bokeh is not installed: pip install -e .[graph]")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.new("RGB", (800, 400), "red").save(pictures / "red.png")
    posts = [{"text": "-", "image": "red.png"} if place in (1, 3) else {"text": "-"} for place in range(8)]
    (tmp_path / "posts.jsonl").write_text("".join(json.dumps(post) + "\n" for post in posts))
    write_report(folder, open_posts(str(tmp_path / "posts.jsonl"), Columns()), Columns(), pictures)
    return folder / "report.html"


def test_the_report_holds_all_it_needs_and_escapes_what_people_wrote(page):
    text = page.read_text(encoding="utf-8")
    assert "<b>Roll</b>" not in text and "&lt;b&gt;Roll&lt;/b&gt;" in text
    assert not re.search(r"""<(script|link|img|iframe)[^>]*\s(src|href)=["'](?!data:)""", text)
    assert text.count("data:image/jpeg;base64,") == 2 and text.count("<article") == 6
    assert '<mark class="head">@maya</mark> and\n<mark class="tail">NOAH</mark>' in text
    assert len(text) < 3_000_000


@pytest.mark.slow
def test_the_report_in_a_browser_without_a_network(page, tmp_path):
    """A click on an entity leads to its post; nothing is asked of any machine, and no script fails."""
    playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: .[dev]")
    chromium = shutil.which("chromium") or pytest.skip("there is no Chromium here: apt-get install chromium")
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(offline=True, viewport={"width": 1200, "height": 1400})
        tab, asked, troubles = context.new_page(), [], []
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("pageerror", lambda error: troubles.append(str(error)))
        tab.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
        tab.goto(page.as_uri())
        tab.wait_for_function("window.Bokeh && Bokeh.documents.length && Bokeh.documents[0].is_idle")
        assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()] and not troubles
        rows = [row.inner_text().split("\t") for row in tab.locator("#relations tbody tr").all()]
        assert rows[0] == ["knows", "4", "3"] and sorted(row[1:] for row in rows[1:]) == [["1", "1"], ["2", "2"]]
        boxes = tab.locator(".box.tail")
        (shown,) = [boxes.nth(place).bounding_box() for place in range(boxes.count()) if boxes.nth(place).is_visible()]
        picture = tab.locator(".picture", has=tab.locator(".box")).bounding_box()
        assert shown["width"] == pytest.approx(picture["width"] * 0.375, abs=1)
        assert shown["y"] - picture["y"] == pytest.approx(picture["height"] * 0.25, abs=1)
        place = tab.evaluate(
            """name => {
                const view = Bokeh.index.get_by_id(Bokeh.documents[0].roots()[0].id)
                const dots = view.model.renderers[1].data_source.data
                const number = [...dots.name].indexOf(name), canvas = view.canvas_view.el.getBoundingClientRect()
                const frame = view.frame
                return {
                    x: canvas.left + frame.x_scale.compute(dots.x[number]),
                    y: canvas.top + frame.y_scale.compute(dots.y[number]), card: dots.card[number],
                }
            }""",
            "Maya",
        )
        tab.mouse.click(place["x"], place["y"])
        tab.wait_for_function("location.hash === '#edge-0'")
        assert place["card"] == 0 and "@maya" in tab.locator("article:target").inner_text()
        browser.close()

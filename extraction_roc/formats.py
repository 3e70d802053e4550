# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The graph for other programs: RDF as Turtle and as JSON-LD, and CSV as Neo4j's importer reads it.

RDF has each edge twice: as a triple, on which queries are simple, and as an `rdf:Statement` about it with its score,
the number of posts that say it, and the best of them. All of them read the graph's files piece by piece.
"""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow.parquet as pq

from data_scripts.reading import DataError
from data_scripts.writing import replacing
from extraction_roc.graph import EDGES_FILE, NODES_FILE

ROC = "urn:roc:"
PIECE = 1000
"""Rows that are held at once."""

Row = dict[str, Any]


def read_rows(path: Path) -> Iterator[list[Row]]:
    """The rows of one of the graph's files, a piece at a time."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(PIECE):
            yield batch.to_pylist()


def iri(kind: str, name: str) -> str:
    """`urn:roc:kind:name`, with all in `name` escaped that an IRI may not hold or that has a meaning in it."""
    return f"{ROC}{kind}:{quote(name, safe='')}"


def _graphs(folder: Path) -> Iterator:
    """The whole graph as a row of small ones in RDF."""
    from rdflib import RDF, RDFS, XSD, BNode, Graph, Literal, Namespace, URIRef

    roc = Namespace(ROC)

    def new() -> Graph:
        graph = Graph(bind_namespaces="core")
        graph.bind("roc", roc)
        graph.bind("relation", Namespace(f"{ROC}relation:"))
        return graph

    for rows in read_rows(folder / NODES_FILE):
        graph = new()
        for row in rows:
            node = URIRef(iri("entity", row["id"]))
            graph.add((node, RDFS.label, Literal(row["name"])))
            graph.add((node, roc.posts, Literal(row["num_posts"])))
            if row["type"] is not None:
                graph.add((node, RDF.type, URIRef(iri("type", row["type"]))))
        yield graph
    number = 0
    for rows in read_rows(folder / EDGES_FILE):
        graph = new()
        for row in rows:
            head, relation, tail = (
                URIRef(iri(kind, name))
                for kind, name in (
                    ("entity", row["head_id"]),
                    ("relation", row["relation"].strip("/")),
                    ("entity", row["tail_id"]),
                )
            )
            statement = BNode(f"edge{number}")
            graph.add((head, relation, tail))
            graph.add((relation, RDFS.label, Literal(row["relation"])))
            for name, value in ((RDF.subject, head), (RDF.predicate, relation), (RDF.object, tail)):
                graph.add((statement, name, value))
            graph.add((statement, RDF.type, RDF.Statement))
            graph.add((statement, roc.score, Literal(row["score"], datatype=XSD.double)))
            graph.add((statement, roc.posts, Literal(row["num_posts"])))
            graph.add((statement, roc.post, Literal(row["post"])))
            graph.add((statement, roc.text, Literal(row["text"])))
            number += 1
        yield graph


def write_turtle(folder: Path) -> None:
    """graph.ttl."""
    with replacing(folder / "graph.ttl") as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        for graph in _graphs(folder):
            file.write(graph.serialize(format="turtle"))


def write_jsonld(folder: Path) -> None:
    """graph.jsonld, in expanded form."""
    with replacing(folder / "graph.jsonld") as temporary, open(temporary, "w", encoding="utf-8") as file:
        separator = "[\n"
        for graph in _graphs(folder):
            for item in json.loads(graph.serialize(format="json-ld", auto_compact=False)):
                file.write(separator + json.dumps(item, ensure_ascii=False))
                separator = ",\n"
        file.write("\n]\n" if separator == ",\n" else "[]\n")


def write_neo4j(folder: Path) -> None:
    """neo4j/nodes.csv and neo4j/relationships.csv, with the headers that `neo4j-admin database import` asks for."""
    target = folder / "neo4j"
    target.mkdir(exist_ok=True)
    node_header = ["id:ID", "name", ":LABEL", "posts:long"]
    _write_csv(
        target / "nodes.csv",
        node_header,
        folder / NODES_FILE,
        # A semicolon would make two labels of one.
        lambda row: [row["id"], row["name"], (row["type"] or "").replace(";", ","), row["num_posts"]],
    )
    _write_csv(
        target / "relationships.csv",
        [":START_ID", ":TYPE", ":END_ID", "posts:long", "score:double", "post", "text", "description"],
        folder / EDGES_FILE,
        lambda row: [
            row[name]
            for name in ("head_id", "relation", "tail_id", "num_posts", "score", "post", "text", "description")
        ],
    )


def _write_csv(path: Path, header: list[str], source: Path, cells_of: Callable[[Row], list]) -> None:
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for rows in read_rows(source):
            # The importer takes a line for a record, unless it is told otherwise.
            writer.writerows([_one_line(cell) for cell in cells_of(row)] for row in rows)


def _one_line(cell: Any) -> Any:
    return " ".join(cell.splitlines()) if isinstance(cell, str) else cell


FORMATS: dict[str, Callable[[Path], None]] = {"turtle": write_turtle, "jsonld": write_jsonld, "neo4j": write_neo4j}


def check_formats(formats: list[str]) -> None:
    """
    Raises:
        DataError: a format needs a package that is not installed.
    """
    if {"turtle", "jsonld"}.intersection(formats):
        try:
            import rdflib  # noqa: F401
        except ModuleNotFoundError as error:
            raise DataError(f"--formats turtle and jsonld need rdflib ({error}): pip install -e .[graph]") from error

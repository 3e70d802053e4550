# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Triples of many posts as one graph: entities merged by name and type, edges counted, each with its best evidence."""

import unicodedata
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_scripts.writing import replacing
from extraction_roc.parts import ROLES, SCHEMA

NODES_FILE, EDGES_FILE = "nodes.parquet", "edges.parquet"
NODE_SCHEMA = pa.schema([("id", pa.string()), ("name", pa.string()), ("type", pa.string()), ("num_posts", pa.int64())])
EDGE_SCHEMA = pa.schema([("head_id", pa.string()), ("tail_id", pa.string()), ("num_posts", pa.int64()), *SCHEMA])
"""An edge: its two nodes, how many posts say it, and the triple with the highest score among theirs."""
EDGE = ["head_id", "relation", "tail_id"]
BEST_FIRST = [
    ("score", "descending"),
    ("position", "ascending"),
    ("head_start", "ascending"),
    ("tail_start", "ascending"),
]
MOST_FIRST = ("num_posts", "descending")
MIN_PENDING = 10_000
"""Rows that are gathered before they are merged with those before."""


def normalise(name: str) -> str:
    """A name as it is compared: in Unicode's NFKC, without case, with single blanks and no punctuation around it.

    "@TaylorSwift13" and "taylorswift13" are the same, so are "U.S." and "u.s"; "U.S." and "US" are not. What is
    nothing but punctuation stays.
    """
    folded = " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).split())
    start, end = 0, len(folded)
    while start < end and unicodedata.category(folded[start])[0] in "PZ":
        start += 1
    while end > start and unicodedata.category(folded[end - 1])[0] in "PZ":
        end -= 1
    return folded[start:end] or folded


def node_id(name: str, kind: str | None, post: str, box: list[float] | None) -> str:
    """An entity's node: mentions of one type and normalised name share one, an object of a picture has its own."""
    shared = f"{normalise(kind or 'unknown')}/{normalise(name)}"
    return shared if box is None else f"{shared}#{post}:{','.join(f'{corner:.4f}' for corner in box)}"


def write_graph(parts: Iterable[Path], folder: Path) -> tuple[int, int]:
    """Merges the triples of `parts` into nodes.parquet and edges.parquet in `folder`. Memory grows with the distinct
    nodes and edges, not with the posts.

    Returns:
        How many nodes and edges there are.
    """
    edges = Merged(EDGE_SCHEMA, EDGE, BEST_FIRST)
    names, nodes = Merged(NODE_SCHEMA, ["id", "name", "type"]), Merged(NODE_SCHEMA, ["id"])
    for part in parts:
        table = pq.read_table(part, schema=SCHEMA)
        for role in ROLES:
            columns = [table[name].to_pylist() for name in (role, f"{role}_type", "post", f"{role}_box")]
            ids = [node_id(*entity) for entity in zip(*columns, strict=True)]
            table = table.append_column(f"{role}_id", pa.array(ids, pa.string()))
        table = table.append_column("num_posts", pa.array(np.ones(len(table), np.int64)))
        mentions = pa.concat_tables(
            table.select([f"{role}_id", role, f"{role}_type", "num_posts", "position"]).rename_columns(
                ["id", "name", "type", "num_posts", "position"]
            )
            for role in ROLES
        )
        # A post counts once, however often it says the same.
        edges.add(_first(table.sort_by(BEST_FIRST), [*EDGE, "position"]))
        names.add(_first(mentions, ["id", "name", "type", "position"]))
        nodes.add(_first(mentions, ["id", "position"]))
    # What most posts call it.
    named = _first(names.table().sort_by([MOST_FIRST, ("name", "ascending"), ("type", "ascending")]), ["id"])
    counts = nodes.table().sort_by("id")["num_posts"]
    nodes = named.sort_by("id").set_column(named.schema.get_field_index("num_posts"), "num_posts", counts)
    nodes = nodes.sort_by([MOST_FIRST, ("id", "ascending")])
    edges = edges.table().sort_by([MOST_FIRST, *((name, "ascending") for name in EDGE)])
    for name, table in ((NODES_FILE, nodes), (EDGES_FILE, edges)):
        with replacing(folder / name) as temporary:
            pq.write_table(table, temporary, compression="zstd")
    return len(nodes), len(edges)


class Merged:
    """Rows with a count (`num_posts`), of which those that are alike in `keys` become one, the first by `order`."""

    def __init__(self, schema: pa.Schema, keys: list[str], order: list[tuple[str, str]] | None = None):
        self.schema, self.keys, self.order = schema, keys, order
        self.tables = [schema.empty_table()]

    def add(self, table: pa.Table) -> None:
        self.tables.append(table.select(self.schema.names))
        if sum(map(len, self.tables[1:])) > max(len(self.tables[0]), MIN_PENDING):
            self.tables = [self.table()]

    def table(self) -> pa.Table:
        """What has been added so far."""
        table = pa.concat_tables(self.tables)
        if self.order is not None:
            table = table.sort_by(self.order)
        rows = table.append_column("row", pa.array(np.arange(len(table))))
        groups = rows.group_by(self.keys).aggregate([("row", "min"), ("num_posts", "sum")])
        place = self.schema.get_field_index("num_posts")
        return table.take(groups["row_min"]).set_column(place, "num_posts", groups["num_posts_sum"])


def _first(table: pa.Table, keys: list[str]) -> pa.Table:
    """The first row of those that are alike in `keys`."""
    rows = table.append_column("row", pa.array(np.arange(len(table))))
    return table.take(rows.group_by(keys).aggregate([("row", "min")])["row_min"])

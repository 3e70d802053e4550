# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The graph as one page that needs nothing else, no network either: a drawing, the relations, the best posts."""

import base64
import io
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from data_scripts.reading import DataError
from data_scripts.writing import write_text
from extraction_roc.formats import read_rows
from extraction_roc.graph import EDGES_FILE, NODES_FILE
from extraction_roc.parts import ROLES
from extraction_roc.posts import Columns, Posts, read_image

MAX_EDGES = 150
"""Of the edges that most posts say, so many are shown."""
PICTURE_SIDE = 320  # pixels
LONGEST_NAME = 24  # characters, of a node's in the drawing
OTHER_COLOR = "#8a8a8a"


def check_report() -> None:
    """
    Raises:
        DataError: if a package is missing that the report is drawn by.
    """
    try:
        import bokeh  # noqa: F401
        import networkx  # noqa: F401
    except ModuleNotFoundError as error:
        raise DataError(f"--report needs bokeh ({error}): pip install -e .[graph]") from error


def write_report(folder: Path, posts: Posts, columns: Columns, image_dir: Path | None) -> None:
    """Writes report.html.

    Args:
        folder: the run's, with its graph.
        posts, columns, image_dir: where the pictures are.
    """
    from bokeh.embed import file_html
    from bokeh.resources import INLINE
    from jinja2 import Environment, PackageLoader

    edges = next(read_rows(folder / EDGES_FILE), [])[:MAX_EDGES]
    table = pq.read_table(folder / EDGES_FILE, columns=["relation", "num_posts"])
    relations = table.group_by("relation").aggregate([("num_posts", "count"), ("num_posts", "sum")])
    relations = relations.sort_by([("num_posts_sum", "descending"), ("relation", "ascending")]).to_pylist()
    colors = color_relations(row["relation"] for row in relations)
    shown = {edge[f"{role}_id"] for edge in edges for role in ROLES}
    nodes = (row for rows in read_rows(folder / NODES_FILE) for row in rows)
    names = {row["id"]: row for row in nodes if row["id"] in shown}
    pictures = read_pictures({edge["position"] for edge in edges}, posts, columns, image_dir)
    for edge in edges:
        edge["pieces"] = mark(edge)
        edge["picture"] = pictures.get(edge["position"])
        edge["boxes"] = [(role, edge[f"{role}_box"]) for role in ROLES if edge[f"{role}_box"] is not None]
    template = Environment(loader=PackageLoader("extraction_roc", "."), autoescape=True).get_template("report.html")
    page = file_html(
        draw_graph(edges, names, colors),
        INLINE,
        title=f"What {Path(posts.name).name} says",
        template=template,
        template_variables={
            "num_nodes": pq.read_metadata(folder / NODES_FILE).num_rows,
            "num_edges": len(table), "relations": relations,
            "edges": edges, "names": names, "colors": colors, "roles": ROLES,
        },
    )  # fmt: skip
    write_text(folder / "report.html", page)


def color_relations(relations: Iterable[str]) -> dict[str, str]:
    """A colour for each relation, most frequent first; those that come last share a grey."""
    from bokeh.palettes import Category10_10, Dark2_8

    palette = [color for color in (*Category10_10, *Dark2_8) if color not in ("#7f7f7f", "#666666")]
    return {name: palette[place] if place < len(palette) else OTHER_COLOR for place, name in enumerate(relations)}


def mark(edge: dict[str, Any]) -> list[tuple[str, str]]:
    """An edge's text in pieces, each with the roles of the mentions that it belongs to, as classes of a page."""
    text, spans = edge["text"], {role: (edge[f"{role}_start"], edge[f"{role}_end"]) for role in ROLES}
    spans = {role: span for role, span in spans.items() if span[0] is not None}
    bounds = sorted({0, len(text), *(place for span in spans.values() for place in span)})
    return [
        (text[start:end], " ".join(role for role, span in spans.items() if span[0] <= start and end <= span[1]))
        for start, end in pairwise(bounds)
    ]


def read_pictures(positions: set[int], posts: Posts, columns: Columns, image_dir: Path | None) -> dict[int, str]:
    """Small pictures of the posts at some places of the input, as data URLs; a post without one has none."""
    from processing_roc.pipeline_roc import load_picture
    from processing_roc.processing_roc import open_picture

    found: dict[int, str] = {}
    for position, record in zip(range(max(positions, default=-1) + 1), posts.read(0), strict=False):
        if position not in positions or not isinstance(record, dict):
            continue
        try:
            image = read_image(record.get(columns.image), columns.image, image_dir)
            picture = None if image is None else load_picture(image, open_picture)
        except ValueError:  # it was there when the post was read, and the words still are
            continue
        if picture is not None:
            picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
            buffer = io.BytesIO()
            picture.save(buffer, format="JPEG", quality=85)
            found[position] = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return found


def draw_graph(edges: list[dict], nodes: dict[str, dict], colors: dict[str, str]):
    """A figure of the edges as arrows in their relations' colours; a click leads to the edge's post."""
    import networkx as nx
    from bokeh.models import Arrow, ColumnDataSource, CustomJS, HoverTool, LabelSet, NormalHead, TapTool, WheelZoomTool
    from bokeh.plotting import figure

    graph = nx.Graph((edge["head_id"], edge["tail_id"]) for edge in edges)
    # Strong gravity keeps what hangs together with nothing else from flying apart.
    places = nx.forceatlas2_layout(graph, max_iter=400, strong_gravity=True, seed=0)
    lines = [
        curve(places[edge["head_id"]], places[edge["tail_id"]], bend)
        for edge, bend in zip(edges, bends(edges), strict=True)
    ]
    edge_source = ColumnDataSource(
        {
            "xs": [line[:, 0] for line in lines],
            "ys": [line[:, 1] for line in lines],
            "head": [nodes[edge["head_id"]]["name"] for edge in edges],
            "tail": [nodes[edge["tail_id"]]["name"] for edge in edges],
            "relation": [edge["relation"] for edge in edges],
            "posts": [edge["num_posts"] for edge in edges],
            "color": [colors[edge["relation"]] for edge in edges],
            "width": [1.5 + np.log2(edge["num_posts"]) for edge in edges],
            "card": list(range(len(edges))),
            **{name: [line[place, axis] for line in lines] for name, place, axis in ARROW},
        }
    )
    first = {
        node: place for place, edge in reversed([*enumerate(edges)]) for node in (edge["head_id"], edge["tail_id"])
    }
    node_source = ColumnDataSource(
        {
            "x": [places[node][0] for node in nodes],
            "y": [places[node][1] for node in nodes],
            "name": [row["name"] for row in nodes.values()],
            "label": [shorten(row["name"]) for row in nodes.values()],
            "type": [row["type"] or "" for row in nodes.values()],
            "posts": [row["num_posts"] for row in nodes.values()],
            "size": [8 + 3 * np.sqrt(graph.degree(node)) for node in nodes],
            "card": [first[node] for node in nodes],
        }
    )
    plot = figure(sizing_mode="stretch_width", height=620, tools="pan,box_zoom,reset,save")
    plot.axis.visible = plot.grid.visible = False
    plot.outline_line_color = plot.toolbar.logo = None
    lines_drawn = plot.multi_line(
        "xs", "ys", line_color="color", line_width="width", line_alpha=0.7, source=edge_source
    )
    head = NormalHead(size=9, fill_color="color", line_color="color")
    plot.add_layout(
        Arrow(x_start="x0", y_start="y0", x_end="x1", y_end="y1", end=head, line_alpha=0, source=edge_source)
    )
    dots = plot.scatter("x", "y", size="size", fill_color="#27313f", line_color="white", source=node_source)
    plot.add_layout(
        LabelSet(
            x="x", y="y", text="label", y_offset=8, text_align="center", text_font_size="11px", source=node_source
        )
    )
    zoom = WheelZoomTool(modifiers="ctrl")  # the wheel alone is the page's
    plot.add_tools(
        zoom,
        HoverTool(
            renderers=[lines_drawn], tooltips="@head → @tail<br>@relation<br>@posts posts", line_policy="nearest"
        ),
        HoverTool(renderers=[dots], tooltips="@name (@type)<br>@posts posts"),
        TapTool(
            renderers=[lines_drawn, dots],
            callback=CustomJS(
                code="const card = cb_data.source.data.card[cb_data.source.selected.indices[0]]\n"
                "if (card !== undefined) location.hash = `edge-${card}`"
            ),
        ),
    )
    plot.toolbar.active_scroll = zoom
    return plot


ARROW = [("x0", -2, 0), ("y0", -2, 1), ("x1", -1, 0), ("y1", -1, 1)]
"""An arrow's head is drawn along the last bit of its edge: name, point, axis."""


def bends(edges: list[dict]) -> Iterator[float]:
    """How far each edge curves aside, so that several between two nodes can be told apart."""
    seen: dict[tuple[str, str], int] = {}
    for edge in edges:
        pair = edge["head_id"], edge["tail_id"]
        seen[pair] = seen.get(pair, 0) + 1
        yield 0.12 * seen[pair]


def curve(start: np.ndarray, end: np.ndarray, bend: float) -> np.ndarray:
    """(points, 2) of a curve from one node to another; to itself, a loop beside it."""
    along = end - start
    if not along.any():
        turn = np.linspace(0, 2 * np.pi, 24)[:, None]
        return start + 0.2 * bend * np.hstack([np.sin(turn), 1 - np.cos(turn)])
    middle = (start + end) / 2 + bend * np.array([-along[1], along[0]])
    t = np.linspace(0.02, 0.94, 24)[:, None]
    return (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end


def shorten(name: str) -> str:
    """A name as the drawing has it."""
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"

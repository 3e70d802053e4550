# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""How well relation descriptions can be told apart in an encoder's space, before anything is trained on them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from evaluation_roc.report import replacing


def relation_similarities(embeds: np.ndarray, owners: Sequence[int], num_relations: int) -> np.ndarray:
    """Mean cosine between the descriptions of each two relations.

    Args:
        embeds (num_descriptions, dim): the descriptions' vectors, of any length but zero.
        owners (sequence of int, length num_descriptions): each description's relation, an index below
            `num_relations`. Every relation has at least one.
        num_relations (int): how many relations there are.

    Returns:
        (num_relations, num_relations), -1 to 1, symmetric. On the diagonal stands the mean over each two different
        descriptions of the relation; 1 where it has only one.

    Raises:
        ValueError: if lengths differ, a relation has no description, or a vector is zero or not finite.
    """
    embeds, owners = np.asarray(embeds, dtype=float), np.asarray(owners)
    if embeds.ndim != 2 or owners.shape != embeds.shape[:1]:
        raise ValueError(f"embeds have the shape {embeds.shape}, owners {owners.shape}.")
    counts = np.bincount(owners, minlength=num_relations)
    if len(counts) != num_relations or not counts.all():
        raise ValueError(f"Every one of the {num_relations} relations must have a description; they have {counts}.")
    norms = np.linalg.norm(embeds, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or not norms.all():
        raise ValueError("A description's vector is zero or not finite.")
    sums = np.zeros((num_relations, embeds.shape[1]))
    np.add.at(sums, owners, embeds / norms)
    # The mean over all pairs is the product of the sums; a description's cosine with itself, which is 1, is left out.
    totals = sums @ sums.T
    pairs = np.outer(counts, counts).astype(float)
    np.fill_diagonal(totals, np.where(counts > 1, totals.diagonal() - counts, 1.0))
    np.fill_diagonal(pairs, np.maximum(counts * (counts - 1), 1))
    return totals / pairs


def separability_table(similarities: np.ndarray, label_names: Sequence[str]) -> list[dict]:
    """What each relation has to fear.

    Args:
        similarities (num_relations, num_relations): from `relation_similarities`, of at least two relations.
        label_names (sequence of str, length num_relations): the relations in the same order.

    Returns:
        list of dict: `relation`; `own`, the mean cosine among its own descriptions; `nearest`, the relation whose
        descriptions are nearest to them; `nearest_cosine`; `margin` = own - nearest_cosine, below 0 where another
        relation's descriptions are nearer than its own.

    Raises:
        ValueError: if there are fewer than two relations.
    """
    if len(label_names) < 2:
        raise ValueError("Two relations at least are needed to tell one from another.")
    others = similarities - np.diag(np.full(len(similarities), np.inf))
    table = []
    for index, name in enumerate(label_names):
        nearest = int(others[index].argmax())
        own, cosine = float(similarities[index, index]), float(others[index, nearest])
        row = {"relation": name, "own": own, "nearest": label_names[nearest], "nearest_cosine": cosine}
        table.append(row | {"margin": own - cosine})
    return table


def confusable_pairs(similarities: np.ndarray, label_names: Sequence[str], num_pairs: int = 10) -> list[dict]:
    """The pairs of relations that are hardest to tell apart, hardest first.

    Args:
        similarities, label_names: as for `separability_table`.
        num_pairs (int): how many pairs to list at most.

    Returns:
        list of dict: `relations` (two names), `cosine`, the mean between their descriptions, and `margin`: how much
        nearer the looser one's own descriptions are to each other.
    """
    own = similarities.diagonal()
    margins = np.minimum.outer(own, own) - similarities
    first, second = np.triu_indices(len(label_names), k=1)
    hardest = np.argsort(margins[first, second], kind="stable")[:num_pairs]
    return [
        {
            "relations": [label_names[i], label_names[j]],
            "cosine": float(similarities[i, j]),
            "margin": float(margins[i, j]),
        }
        for i, j in zip(first[hardest], second[hardest], strict=True)
    ]


def format_separability(table: list[dict], pairs: list[dict]) -> str:
    """`separability_table`'s rows and `confusable_pairs` as two Markdown tables, smallest margin first."""
    lines = ["| relation | own | nearest other | cosine | margin |", "|:--|--:|:--|--:|--:|"]
    for row in sorted(table, key=lambda row: row["margin"]):
        cells = f"{row['own']:.3f} | {row['nearest']} | {row['nearest_cosine']:.3f} | {row['margin']:.3f}"
        lines.append(f"| {row['relation']} | {cells} |")
    mean = sum(row["margin"] for row in table) / len(table)
    lines += ["", f"Mean margin {mean:.3f}; below 0: {sum(row['margin'] < 0 for row in table)} of {len(table)}.", ""]
    lines += ["| hardest to tell apart | | cosine | margin |", "|:--|:--|--:|--:|"]
    for pair in pairs:
        one, other = pair["relations"]
        lines.append(f"| {one} | {other} | {pair['cosine']:.3f} | {pair['margin']:.3f} |")
    return "\n".join(lines) + "\n"


def save_heat_map(path: str | Path, similarities: np.ndarray, label_names: Sequence[str]) -> None:
    """Draws the similarities of all relations, with the numbers where there is room for them.

    Args:
        path: the picture to write; its ending (.png, .svg, .pdf) decides the format.
        similarities, label_names: as for `separability_table`.
    """
    side = min(4 + 0.45 * len(label_names), 40)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(similarities, cmap="viridis")
    axes.set_xticks(range(len(label_names)), label_names, rotation="vertical")
    axes.set_yticks(range(len(label_names)), label_names)
    axes.set_title("mean cosine between descriptions")
    figure.colorbar(image, ax=axes, shrink=0.6)
    if len(label_names) <= 80:
        middle = (similarities.min() + similarities.max()) / 2
        for (i, j), value in np.ndenumerate(similarities):
            color = "black" if value > middle else "white"
            axes.text(j, i, f"{value:.2f}".replace("0.", ".", 1), ha="center", va="center", fontsize=6, color=color)
    with replacing(Path(path)) as temporary:
        figure.savefig(temporary, dpi=120)

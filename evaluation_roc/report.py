# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What a run leaves for its reader: scores by relation and by kind of pair, confusion matrix, predictions."""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from data_scripts.markdown import markdown_text
from data_scripts.writing import replacing, write_json
from evaluation_roc.drawing import drawing, shorten

# datasets, scikit-learn, matplotlib and the metric are imported where they are used: --help answers at once.

logger = logging.getLogger(__name__)
MAX_LISTED = 200
"""Relations that a table, a card or a confusion matrix shows at most."""
FEW_ROWS = 50
"""Labelled rows below which scores say little: the 95% interval of an accuracy of 0.8 is then more than ± 0.11."""
MAX_NUMBERED = 60
"""Relations up to which a confusion matrix grows with them and holds numbers."""
GROUP_COLUMNS = ("tokens", "image_id", "head", "tail", "objects")
"""The columns of a row that decide its groups."""
POST_SIZES = (
    "one_entity_one_object",
    "one_entity_several_objects",
    "several_entities_one_object",
    "several_entities_several_objects",
)


def per_relation_table(
    predictions: Sequence[int], references: Sequence[int], label_names: Sequence[str]
) -> list[dict]:
    """Scores every relation by itself, the negative one too.

    Args:
        predictions (sequence of int, length num_examples): predicted class, an index into `label_names`.
        references (sequence of int, length num_examples): gold class, in the same order.
        label_names (sequence of str): the relations in the order of their ids.

    Returns:
        list of dict: `relation`, `precision`, `recall`, `f1` (0-1, undefined = 0.0) and `support` (gold examples),
        one a relation, in the order of `label_names`.

    Raises:
        ValueError: as `check_labels` does.
    """
    from sklearn.metrics import precision_recall_fscore_support

    from evaluation_roc.relation_f1.relation_f1 import check_labels

    predictions, references = check_labels(predictions, references, len(label_names))
    columns = precision_recall_fscore_support(
        references, predictions, labels=range(len(label_names)), average=None, zero_division=0.0
    )
    return [
        {"relation": name, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
        for name, p, r, f, s in zip(label_names, *columns, strict=True)
    ]


def format_table(table: list[dict], negative_label: str | None = None) -> str:
    """Writes `per_relation_table`'s rows as a Markdown table, most frequent relation first.

    The relation named `negative_label` comes last and is marked: it has no part in the F1 that papers compare. Of more
    than `MAX_LISTED` relations the least frequent ones are left out, and their number is told below the table.
    """
    scores, rows = ("precision", "recall", "f1"), []
    ranked = sorted(table, key=lambda row: (row["relation"] != negative_label, -row["support"], row["relation"]))
    shown = ranked[:MAX_LISTED]
    for row in sorted(shown, key=lambda row: row["relation"] == negative_label):
        name = row["relation"] + " (negative)" * (row["relation"] == negative_label)
        rows.append([name, *(f"{row[score]:.3f}" for score in scores), str(row["support"])])
    left_out = f"\n{len(table) - len(shown):,} rarer relations are not shown.\n" if len(table) > len(shown) else ""
    return format_columns(["relation", *scores, "support"], rows) + left_out


def format_columns(header: Sequence[str], rows: Sequence[Sequence[str]], num_names: int = 1) -> str:
    """A Markdown table that can be read as it stands: `num_names` columns to the left, those of numbers to the right.

    `rows` have as many cells each as `header`; a cell is any text, written by `markdown_text`.
    """
    header, *rows = [[markdown_text(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        names = [cell.ljust(width) for cell, width in zip(cells[:num_names], widths, strict=False)]
        numbers = [cell.rjust(width) for cell, width in zip(cells[num_names:], widths[num_names:], strict=True)]
        return f"| {' | '.join(names + numbers)} |"

    rule = [f":{'-' * width}-" if i < num_names else f"-{'-' * width}:" for i, width in enumerate(widths)]
    return "\n".join([line(header), f"|{'|'.join(rule)}|", *map(line, rows)]) + "\n"


def group_by_post(rows: Sequence[Mapping]) -> list[str | None]:
    """MORE's break-down of text-object pairs: each row's group, one of POST_SIZES, by the size of its post.

    A post is a text with its picture. Its entities are the distinct mentions in the text that stand in any of the rows
    as head or tail, its objects are all objects of its picture.

    Args:
        rows: all rows of a split, of the schema (only GROUP_COLUMNS are used).

    Returns:
        The groups, None for a row that is not a text-object pair.
    """
    from data_scripts.schema import pair_kind

    posts = [(tuple(row["tokens"]), row["image_id"]) for row in rows]
    mentions: dict[tuple, set] = {}
    objects: dict[tuple, set] = {}
    for row, post in zip(rows, posts, strict=True):
        entities = (row["head"], row["tail"])
        spans = {(entity["start"], entity["end"]) for entity in entities if entity["kind"] == "text"}
        names = {entity["name"] for entity in (*entities, *row["objects"]) if entity.get("kind") != "text"}
        mentions.setdefault(post, set()).update(spans)
        objects.setdefault(post, set()).update(names)
    return [
        POST_SIZES[2 * (len(mentions[post]) > 1) + (len(objects[post]) > 1)]
        if pair_kind(row) == "text_object"
        else None
        for row, post in zip(rows, posts, strict=True)
    ]


def score_groups(
    rows: Iterable[Mapping],
    predictions: Sequence[int],
    references: Sequence[int],
    label_names: Sequence[str],
    negative_label: str | None,
) -> dict[str, dict]:
    """Scores each group of a split by itself, by kind of pair and by size of post.

    Args:
        rows: all rows of the split, of the schema (only GROUP_COLUMNS are used), as a `Dataset` or a list.
        predictions, references, label_names: as for `per_relation_table`; a reference of -100: unlabelled, not scored.
        negative_label (str, optional): the relation that means "no relation".

    Returns:
        `{"pairs": {kind: scores}, "posts": {size: scores}}`, the scores as of `compute_relation_f1`, and `examples`,
        how many there are. Either is left out where less than two of its groups have a labelled row: then it would say
        nothing that the whole split's scores do not say.

    Raises:
        ValueError: as `compute_relation_f1` does.
    """
    from data_scripts.schema import PAIR_KINDS
    from evaluation_roc.relation_f1.relation_f1 import compute_relation_f1

    predictions, references = np.asarray(predictions), np.asarray(references)
    negative = None if negative_label is None else list(label_names).index(negative_label)
    kinds = _pair_kinds(rows)
    ways = [("pairs", kinds, PAIR_KINDS)]
    if "text_object" in kinds:
        columns = rows.select_columns(list(GROUP_COLUMNS)) if hasattr(rows, "select_columns") else rows
        ways.append(("posts", group_by_post(list(columns)), POST_SIZES))
    scores = {}
    for name, groups, order in ways:
        found = {}
        for group in order:
            chosen = (np.array(groups, dtype=object) == group) & (references != -100)
            if chosen.any():
                own = compute_relation_f1(
                    predictions[chosen], references[chosen], num_labels=len(label_names), negative_label=negative
                )
                found[group] = {"examples": int(chosen.sum()), **own}
        if len(found) > 1:
            scores[name] = found
    return scores


def _pair_kinds(rows: Iterable[Mapping]) -> list[str]:
    """The kind of each row. Of a `Dataset` two columns tell it, which is much faster than its rows."""
    import pyarrow.compute as pc

    from data_scripts.schema import pair_kind

    if hasattr(rows, "select_columns"):
        batches = rows.select_columns(["head", "tail"]).with_format("arrow").iter(batch_size=1000)
        kinds = ([pc.struct_field(batch[role], "kind").to_pylist() for role in ("head", "tail")] for batch in batches)
        pairs = (pair for both in kinds for pair in zip(*both, strict=True))
        rows = ({"head": {"kind": head}, "tail": {"kind": tail}} for head, tail in pairs)
    return [pair_kind(row) for row in rows]


def group_metrics(scores: dict[str, dict], prefix: str) -> dict[str, float]:
    """Each group's micro F1 as a metric of its own: `<prefix>_text_object_micro_f1` and so on."""
    return {
        f"{prefix}_{group}_micro_f1": values["micro_f1"]
        for groups in scores.values()
        for group, values in groups.items()
    }


def format_groups(scores: dict[str, dict]) -> str:
    """Writes `score_groups`'s result as Markdown tables, one for each way to group."""
    columns = ("accuracy", "micro_precision", "micro_recall", "micro_f1", "macro_f1", "macro_f1_present")
    tables = []
    for name, groups in scores.items():
        header = [name, "accuracy", "precision", "recall", "micro F1", "macro F1", "present", "examples"]
        rows = [
            [group.replace("_", " "), *(f"{of[column]:.3f}" for column in columns), str(of["examples"])]
            for group, of in groups.items()
        ]
        tables.append(format_columns(header, rows))
    return "\n".join(tables)


def save_confusion_matrix(
    path: str | Path, predictions: Sequence[int], references: Sequence[int], label_names: Sequence[str]
) -> None:
    """Draws gold against predicted relations: the numbers are counts, the colour is the share of the gold relation.

    Of more than `MAX_NUMBERED` relations it is drawn no larger and without numbers, and of more than `MAX_LISTED` not
    at all, which is logged.

    Args:
        path: the picture to write; its ending (.png, .svg, .pdf) decides the format.
        predictions, references, label_names: as for `per_relation_table`.
    """
    from matplotlib.figure import Figure
    from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

    number = len(label_names)
    if number > MAX_LISTED:
        logger.warning("%s is not drawn: %d relations are more than %d", path, number, MAX_LISTED)
        return
    counts = confusion_matrix(references, predictions, labels=range(number))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side, is_numbered = 4 + 0.45 * min(number, MAX_NUMBERED), number <= MAX_NUMBERED
    with drawing(path, label_names) as (temporary, drawable):
        figure = Figure(figsize=(side, side), layout="constrained")
        display = ConfusionMatrixDisplay(shares, display_labels=[shorten(drawable(name)) for name in label_names])
        axis = figure.subplots()
        display.plot(ax=axis, cmap="Blues", xticks_rotation="vertical", colorbar=False, include_values=is_numbered)
        if is_numbered:
            for text, count in zip(display.text_.flat, counts.flat, strict=True):
                text.set(text=str(count) if count else "", fontsize=8)
        else:
            axis.tick_params(labelsize=8)
        axis.set(xlabel="predicted", ylabel="gold")
        figure.savefig(temporary, dpi=120)


def write_predictions(
    path: str | Path,
    ids: Sequence[str],
    scores: np.ndarray,
    predictions: Sequence[int],
    references: Sequence[int],
    label_names: Sequence[str],
    temperature: float = 1.0,
) -> None:
    """Writes one JSON object a line and example: `id`, `gold`, `predicted`, `score`, `logits`.

    Args:
        path: the file to write.
        ids (sequence of str, length num_examples): the examples' ids.
        scores (num_examples, num_labels): logits, higher is likelier; written in the order of `label_names`, to five
            decimals: about what single precision holds.
        predictions, references, label_names: as for `per_relation_table`; `score` is the prediction's probability,
            and `gold` null where the reference is -100: unlabelled.
        temperature: that logits are divided by, `config.calibration_temperature`.

    Raises:
        ValueError: if lengths differ, or an example (which is named) has a score that is not finite.
    """
    from evaluation_roc.calibration import calibrated_probabilities

    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for example, row, predicted, gold in zip(ids, scores, predictions, references, strict=True):
            row = np.asarray(row, dtype=float).round(5)
            if not np.isfinite(row).all():
                raise ValueError(f"Example {example!r} has a score that is not finite: {row}.")
            line = {
                "id": example,
                "gold": None if gold == -100 else label_names[gold],
                "predicted": label_names[predicted],
                "score": round(float(calibrated_probabilities(row[None], temperature)[0, predicted]), 6),
                "logits": row.tolist(),
            }
            file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")


def write_split(
    name: str,
    ids: Sequence[str],
    output,
    groups: dict[str, dict],
    label_names: Sequence[str],
    output_dir: Path,
    temperature: float = 1.0,
) -> list[dict] | None:
    """Writes a split's `<name>_predictions.jsonl` and, of what is labelled, `<name>_per_relation.json`, and
    `<name>_by_kind.json` if there is more than one group.

    Args:
        name: of the split, in file names.
        ids (sequence of str, length num_examples): the examples' ids.
        output: transformers' `PredictionOutput`, with logits (num_examples, num_labels) and label_ids (-100: unknown).
        groups: scores by kind of pair and by size of post, as of `score_groups`.
        label_names: as for `per_relation_table`.
        output_dir: an existing folder.
        temperature: as for `write_predictions`.

    Returns:
        The scores by relation, as `per_relation_table` has them; None if nothing is labelled.
    """
    predictions, references = output.predictions.argmax(axis=-1), output.label_ids
    path = output_dir / f"{name}_predictions.jsonl"
    write_predictions(path, ids, output.predictions, predictions, references, label_names, temperature)
    labelled = references != -100
    if not labelled.any():
        return None
    table = per_relation_table(predictions[labelled], references[labelled], label_names)
    write_json(output_dir / f"{name}_per_relation.json", table)
    if groups:
        write_json(output_dir / f"{name}_by_kind.json", groups)
    return table


def format_split(name: str, table: list[dict] | None, groups: dict[str, dict], negative_label: str | None) -> str:
    """`write_split`'s scores, by relation and by kind, for a person to read. Args: as there and for `format_table`."""
    if table is None:
        return f"\n{name}: nothing is labelled, so there are predictions and no scores"
    by_kind = f"\n{name}, by kind\n{format_groups(groups)}" if groups else ""
    number = sum(row["support"] for row in table)
    few = f"\n{name}: {number} labelled rows are few; scores of less than {FEW_ROWS} say little\n"
    return f"\n{name}, by relation\n{format_table(table, negative_label)}{by_kind}{few if number < FEW_ROWS else ''}"


@contextmanager
def decorating(what: str, failures: list[str]) -> Iterator[str]:
    """Gives back `what`. An error in making it is logged and added to `failures`, and ends nothing."""
    try:
        yield what
    except Exception as error:
        failures.append(" ".join(f"{what} ({type(error).__name__}: {error})".split()))
        logger.error("not made: %s", failures[-1])
        logger.debug("where the error comes from:", exc_info=True)


def format_example(row: dict, scores: np.ndarray, label_names: Sequence[str], descriptions: dict) -> str:
    """One answered example as a reader would want it, with its three best relations.

    Args:
        row: of a data set in the project's schema.
        scores (num_labels,): probabilities.
        label_names (sequence of str, length num_labels): the relations in the order of their ids.
        descriptions: content of a relation descriptions file.
    """
    lines = ["One answered example", f"  text: {' '.join(row['tokens'])}"]
    for role in ("head", "tail"):
        lines.append(f"  {role}: {row[role]['name']} ({row[role]['type'] or 'no type'})")
    lines.append(f"  picture: {'none' if row['image'] is None else row['image_id']}")
    for index in np.argsort(-scores)[:3]:
        label = label_names[index]
        lines.append(f"  {scores[index]:.3f}  {label}  {descriptions['relations'][label]['descriptions'][0]}")
    gold = row["relation"]
    lines.append(f"  gold: {'unknown' if gold in (None, -1) else label_names[gold]}")
    return "\n".join(lines)

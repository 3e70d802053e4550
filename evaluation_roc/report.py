# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What a run leaves for its reader: scores a relation, the confusion matrix, the predictions themselves."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix, precision_recall_fscore_support

from evaluation_roc.groups import format_groups
from evaluation_roc.relation_f1.relation_f1 import check_labels


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

    The relation named `negative_label` comes last and is marked: it has no part in the F1 that papers compare.
    """
    rows = sorted(table, key=lambda row: (row["relation"] == negative_label, -row["support"], row["relation"]))
    names = [row["relation"] + " (negative)" * (row["relation"] == negative_label) for row in rows]
    width = max(map(len, [*names, "relation"]))
    lines = [
        f"| {'relation':<{width}} | precision | recall |    f1 | support |",
        f"|:{'-' * width}-|----------:|-------:|------:|--------:|",
    ]
    for name, row in zip(names, rows, strict=True):
        lines.append(
            f"| {name:<{width}} | {row['precision']:9.3f} | {row['recall']:6.3f} | {row['f1']:5.3f} | "
            f"{row['support']:7d} |"
        )
    return "\n".join(lines) + "\n"


def save_confusion_matrix(
    path: str | Path, predictions: Sequence[int], references: Sequence[int], label_names: Sequence[str]
) -> None:
    """Draws gold against predicted relations: the numbers are counts, the colour is the share of the gold relation.

    Args:
        path: the picture to write; its ending (.png, .svg, .pdf) decides the format.
        predictions, references, label_names: as for `per_relation_table`.

    Raises:
        ValueError: as `check_labels` does.
    """
    predictions, references = check_labels(predictions, references, len(label_names))
    counts = confusion_matrix(references, predictions, labels=range(len(label_names)))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 4 + 0.45 * len(label_names)
    figure = Figure(figsize=(side, side), layout="constrained")
    display = ConfusionMatrixDisplay(shares, display_labels=label_names)
    display.plot(ax=figure.subplots(), cmap="Blues", xticks_rotation="vertical", colorbar=False)
    for text, count in zip(display.text_.flat, counts.flat, strict=True):
        text.set(text=str(count) if count else "", fontsize=8)
    display.ax_.set(xlabel="predicted", ylabel="gold")
    with replacing(Path(path)) as temporary:
        figure.savefig(temporary, dpi=120)


def write_predictions(
    path: str | Path,
    ids: Sequence[str],
    scores: np.ndarray,
    predictions: Sequence[int],
    references: Sequence[int] | None,
    label_names: Sequence[str],
    top_k: int = 5,
) -> None:
    """Writes one JSON object a line and example: `id`, `gold`, `predicted`, `score`, `top_k`.

    Args:
        path: the file to write.
        ids (sequence of str, length num_examples): the examples' ids.
        scores (num_examples, num_labels): logits, similarities or probabilities, higher is likelier.
        predictions (sequence of int, length num_examples): predicted class; `score` is its score.
        references (sequence of int, length num_examples, or None): gold class; None or -100: unlabelled, `gold` is
            null.
        label_names (sequence of str, length num_labels): the relations in the order of their ids.
        top_k (int): how many relations to list, best first, each as `{"relation": ..., "score": ...}`.

    Raises:
        ValueError: if lengths differ, or an example (which is named) has a class outside `label_names` or a score
            that is not finite.
    """
    scores = np.asarray(scores, dtype=float)
    references = [-100] * len(ids) if references is None else references
    known = range(len(label_names))
    if scores.shape != (len(ids), len(label_names)):
        raise ValueError(f"scores have the shape {scores.shape}, not {(len(ids), len(label_names))}.")
    with replacing(Path(path)) as temporary, temporary.open("w", encoding="utf-8") as file:
        for example, row, predicted, gold in zip(ids, scores, predictions, references, strict=True):
            if not np.isfinite(row).all():
                raise ValueError(f"Example {example!r} has a score that is not finite: {row}.")
            if predicted not in known or (gold != -100 and gold not in known):
                raise ValueError(f"Example {example!r} has a class outside {known}: {predicted}, gold {gold}.")
            best = np.argsort(-row, kind="stable")[:top_k]
            line = {
                "id": example,
                "gold": None if gold == -100 else label_names[gold],
                "predicted": label_names[predicted],
                "score": float(row[predicted]),
                "top_k": [{"relation": label_names[label], "score": float(row[label])} for label in best],
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def report_split(
    name: str,
    ids: Sequence[str],
    output,
    groups: dict[str, dict],
    label_names: Sequence[str],
    negative_label: str | None,
    output_dir: Path,
) -> list[dict] | None:
    """Writes and prints what a run leaves of one split.

    `<name>_predictions.jsonl`; of what is labelled, `<name>_per_relation.json`, `<name>_confusion_matrix.png`, and
    `<name>_by_kind.json` if there is more than one group; the scores by relation and by group are printed too.

    Args:
        name: of the split, in file names.
        ids (sequence of str, length num_examples): the examples' ids.
        output: transformers' `PredictionOutput`, with logits (num_examples, num_labels) and label_ids (-100: unknown).
        groups: scores by kind of pair and by size of post, as of `score_groups`.
        label_names, negative_label: as for `per_relation_table` and `format_table`.
        output_dir: an existing folder.

    Returns:
        The scores by relation, as `per_relation_table` has them; None if nothing is labelled.
    """
    predictions, references = output.predictions.argmax(axis=-1), output.label_ids
    path = output_dir / f"{name}_predictions.jsonl"
    write_predictions(path, ids, output.predictions, predictions, references, label_names)
    labelled = references != -100
    if not labelled.any():
        print(f"\n{name}: nothing is labelled, so there are predictions and no scores")
        return None
    predictions, references = predictions[labelled], references[labelled]
    table = per_relation_table(predictions, references, label_names)
    with replacing(output_dir / f"{name}_per_relation.json") as temporary:
        temporary.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    save_confusion_matrix(output_dir / f"{name}_confusion_matrix.png", predictions, references, label_names)
    print(f"\n{name}, by relation\n{format_table(table, negative_label)}")
    if groups:
        with replacing(output_dir / f"{name}_by_kind.json") as temporary:
            temporary.write_text(json.dumps(groups, indent=2) + "\n", encoding="utf-8")
        print(f"{name}, by kind\n{format_groups(groups)}")
    return table


def format_example(
    row: dict, scores: np.ndarray, label_names: Sequence[str], descriptions: dict, top_k: int = 3
) -> str:
    """One answered example as a reader would want it.

    Args:
        row: of a data set in the project's schema.
        scores (num_labels,): higher is likelier.
        label_names (sequence of str, length num_labels): the relations in the order of their ids.
        descriptions: content of a relation descriptions file.
        top_k: how many relations to show.
    """
    lines = ["One answered example", f"  text: {' '.join(row['tokens'])}"]
    for role in ("head", "tail"):
        lines.append(f"  {role}: {row[role]['name']} ({row[role]['type'] or 'no type'})")
    lines.append(f"  picture: {'none' if row['image'] is None else row['image_id']}")
    for index in np.argsort(-scores)[:top_k]:
        label = label_names[index]
        lines.append(f"  {scores[index]:8.3f}  {label}  {descriptions['relations'][label]['descriptions'][0]}")
    gold = row["relation"]
    lines.append(f"  gold: {'unknown' if gold in (None, -1) else label_names[gold]}")
    return "\n".join(lines)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`, of the same ending, that takes its place if no error occurs."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)

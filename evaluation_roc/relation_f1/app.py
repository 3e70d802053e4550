# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The Space of the metric: a form to try it in, above its README."""

from pathlib import Path

import gradio as gr
from relation_f1 import compute_relation_f1

EXAMPLE = [[1, 1], [2, 2], [0, 1], [1, 0]]


def score(labels, num_labels: int, negative_label: int | None) -> dict:
    """The metric of a table with the columns `predictions` and `references`.

    Raises:
        gr.Error: with the metric's own words, if a label is missing or wrong.
    """
    try:
        predictions, references = ([int(row[column]) for row in labels] for column in (0, 1))
        return compute_relation_f1(predictions, references, num_labels=num_labels, negative_label=negative_label)
    except (TypeError, ValueError) as error:
        words = f"Every label must be an integer from 0 to {num_labels - 1}: {error}"
        raise gr.Error(words, print_exception=False) from error


demo = gr.Interface(
    score,
    [
        gr.Dataframe(EXAMPLE, headers=["predictions", "references"], datatype="number", type="array", label="labels"),
        gr.Number(3, precision=0, minimum=1, label="num_labels", info="classes, the negative one included"),
        gr.Number(0, precision=0, label="negative_label", info="the class that means no relation; empty: none"),
    ],
    gr.JSON(label="scores"),
    title="Relation F1",
    article=Path(__file__).with_name("README.md").read_text(encoding="utf-8").split("---\n", maxsplit=2)[2],
    flagging_mode="never",
)

if __name__ == "__main__":
    demo.launch()

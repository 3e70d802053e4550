# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""A step of the model can be read in few files: what a training and an inference step run through."""

import sys
from pathlib import Path

import torch

from training_roc import RelationFeatures

ROOT = Path(__file__).parents[1]
ROOMS = ("modeling_roc", "processing_roc", "training_roc", "evaluation_roc")


def files_of(step) -> list[str]:
    """Our files that `step` runs through, one entry each time that it goes from one to another."""
    visited = []

    def follow(frame, event, _):
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.parent.name in ROOMS and path.is_relative_to(ROOT):
            if not visited or visited[-1] != path.name:
                visited.append(path.name)

    sys.setprofile(follow)
    try:
        step()
    finally:
        sys.setprofile(None)
    return visited


def test_a_training_step_runs_through_few_files(make_model, batch):
    model = make_model().train()
    features = RelationFeatures(model)
    optimizer = torch.optim.AdamW(model.parameters())

    def step():
        model(**batch, relation_features=features).loss.backward()
        optimizer.step()

    visited = files_of(step)
    print("training:", len({*visited}), "files,", len(visited) - 1, "changes:", " → ".join(visited))
    assert "modeling_roc.py" in visited and len({*visited}) <= 5


def test_an_inference_step_runs_through_few_files(make_model, batch):
    model = make_model().eval()

    def step():
        with torch.no_grad():
            model(**batch)

    visited = files_of(step)
    print("inference:", len({*visited}), "files,", len(visited) - 1, "changes:", " → ".join(visited))
    assert "relation_memory_roc.py" in visited and len({*visited}) <= 5

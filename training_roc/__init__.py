# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What trains a ROC model and brings it to the Hub; nothing of it travels with a checkpoint."""

from importlib import import_module

FILES = {
    "RelationFeatures": "hard_negatives",
    "RocTrainer": "trainer",
    "RocTrainingArguments": "trainer",
    "get_last_complete_checkpoint": "checkpoints",
}
__all__ = ["RelationFeatures", "RocTrainer", "RocTrainingArguments", "get_last_complete_checkpoint"]


def __getattr__(name: str):
    # Only when it is asked for: the commands of this package need no torch to show their help.
    if name not in FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{FILES[name]}"), name)

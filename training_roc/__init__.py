# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What trains a ROC model and brings it to the Hub; nothing of it travels with a checkpoint."""

from .hard_negatives import RelationFeatures
from .trainer import RocTrainer, RocTrainingArguments, get_last_complete_checkpoint

__all__ = ["RelationFeatures", "RocTrainer", "RocTrainingArguments", "get_last_complete_checkpoint"]

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""From a user's input to the model's tensors."""

from .pipeline_roc import RelationExtractionPipeline
from .processing_roc import PAIR_PLACES, RocProcessor

__all__ = ["PAIR_PLACES", "RelationExtractionPipeline", "RocProcessor"]

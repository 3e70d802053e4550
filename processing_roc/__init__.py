# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""From a user's input to the model's tensors."""

from .pipeline_roc import RelationExtractionPipeline
from .processing_roc import PAIR_PLACES, RocProcessor
from .spans_and_boxes_roc import ExampleError

__all__ = ["PAIR_PLACES", "ExampleError", "RelationExtractionPipeline", "RocProcessor"]

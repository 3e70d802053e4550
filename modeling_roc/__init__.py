# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
from .configuration_roc import RocConfig
from .modeling_roc import RocModel, RocOutput, RocPreTrainedModel
from .trainer_roc import RocTrainer, RocTrainingArguments, get_last_complete_checkpoint

__all__ = [
    "RocConfig",
    "RocModel",
    "RocOutput",
    "RocPreTrainedModel",
    "RocTrainer",
    "RocTrainingArguments",
    "get_last_complete_checkpoint",
]

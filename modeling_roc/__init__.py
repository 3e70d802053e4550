# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
from transformers import AutoConfig, AutoModel

from .configuration_roc import RocConfig
from .modeling_roc import RocModel, RocOutput, RocPreTrainedModel
from .search_roc import RelationHits, types_from_labels

# Where the project is installed, its own code opens its checkpoints, and nobody is asked to trust the copy in them.
AutoConfig.register("roc", RocConfig)
AutoModel.register(RocConfig, RocModel)

__all__ = ["RelationHits", "RocConfig", "RocModel", "RocOutput", "RocPreTrainedModel", "types_from_labels"]

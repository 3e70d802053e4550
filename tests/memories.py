# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What tests ask of a relation memory."""

import torch


def encoded_anew(model, memory=None) -> torch.Tensor:
    """(num_descriptions, projection_dim): the vectors of a memory's descriptions, as the weights are now."""
    ids = (model.memory if memory is None else memory).input_ids
    training = model.training
    with torch.no_grad():
        embeds = model.eval().get_relation_features(ids.clamp(min=0), ids >= 0)
    model.train(training)
    return embeds


def count_encodings(model) -> list[int]:
    """Descriptions encoded at each pass through the description encoder, from now on."""
    counts, encode = [], model.description_features
    model.description_features = lambda ids: counts.append(len(ids)) or encode(ids)
    return counts

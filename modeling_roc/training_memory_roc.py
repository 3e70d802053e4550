# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The relation memory in training: which descriptions a step encodes, and how old the others may be."""

from dataclasses import dataclass

import torch

from .adapted_roc import copy_in_force
from .memory_roc import RelationMemory
from .relation_encoder_roc import full_precision
from .relation_rows_roc import described_places

# Descriptions without gradient are encoded so many at once: few enough that no step shows a progress bar of its own.
PART = 512


@dataclass(frozen=True)
class RelationUpdate:
    """
    What a training step with a large relation set encodes of it, for `update_relations` of [`RocModel.forward`]. The
    other descriptions' features come from the memory, and go through the (always trained) projection.

    Args:
        step: the optimizer step, 0 or more, by which ages are counted; the same for all its micro-batches. A step
            below that of the call before begins anew: all descriptions are encoded, without gradient.
        hard_negatives: with gradient are encoded the descriptions of the batch's gold relations and of so many
            others, those with the highest logit of any labelled pair (of any pair, where none is labelled). 0 or more.
        max_age: optimizer steps after which a description that was not encoded is encoded again, without gradient
            and dropout. 1 or more; with R descriptions, R / max_age of them are encoded in every step, oldest first.
        with_gradient: false for a step that only keeps the ages.

    Raises:
        ValueError: for a number that is out of range.
    """

    step: int
    hard_negatives: int
    max_age: int = 100
    with_gradient: bool = True

    def __post_init__(self):
        for name, least in (("step", 0), ("hard_negatives", 0), ("max_age", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, got {getattr(self, name)}")


class TrainingMemoryMixin:
    """For [`RocModel`], which has the encoders, the projection and the memory that these methods use."""

    def _training_matrix(
        self, update_relations: bool | RelationUpdate, pair_embeds: torch.Tensor, labels: torch.Tensor | None
    ) -> torch.Tensor:
        """(num_descriptions, embedding_dim) of float32: unit vectors, the projection's gradient in all of them."""
        memory = copy_in_force(self.memory)
        # Not asked for by its class: code that came with a checkpoint has a class of its own.
        if not isinstance(update_relations, bool):
            return self._project_relations(self._encode_some(memory, update_relations, pair_embeds, labels))
        if not update_relations and memory.features is not None:
            return self._project_relations(memory.features)
        memory.check_texts()
        if update_relations:
            features = self.get_relation_features(memory.input_ids)
        else:
            features = self._encode_in_batches(memory.input_ids)
        memory.features, memory.encoded_at = features.detach(), None
        return self._project_relations(features)

    @torch.compiler.disable  # looks at what is in tensors
    def _encode_some(
        self, memory: RelationMemory, update: RelationUpdate, pair_embeds: torch.Tensor, labels: torch.Tensor | None
    ) -> torch.Tensor:
        """(num_descriptions, hidden_size): features, those of the chosen descriptions with gradient."""
        if memory.features is None or memory.encoded_at is None or memory.encoded_at.max() > update.step:
            memory.check_texts()
            memory.features = self._encode_in_batches(memory.input_ids)
            memory.encoded_at = torch.full((len(memory.input_ids),), update.step, device=memory.features.device)
        is_first_of_step = memory.encoded_at.max() < update.step
        chosen = torch.zeros_like(memory.encoded_at, dtype=torch.bool)
        if update.with_gradient:
            relations = self._choose_relations(memory, update.hard_negatives, pair_embeds, labels)
            rows = memory.entries[relations]
            chosen[rows[rows >= 0]] = True
        if is_first_of_step:
            self._encode_oldest(memory, update, ~chosen)
        features, rows = memory.features, chosen.nonzero()[:, 0]
        if len(rows):
            encoded = self.get_relation_features(memory.input_ids[rows])
            features = features.index_copy(0, rows, encoded.to(features.dtype))
            memory.features = features.detach()
            memory.encoded_at[rows] = update.step
        return features

    def _encode_oldest(self, memory: RelationMemory, update: RelationUpdate, others: torch.Tensor):
        """Encodes a step's share of the descriptions in `others` (num_descriptions,), without gradient."""
        # Whatever else is encoded, the share alone gets round to every description in time: what stands before it in
        # the order of ages becomes less by the share in every step. The rest is for steps that were left out.
        share = -(-len(others) // update.max_age)
        overdue = int(((update.step - memory.encoded_at >= update.max_age) & others).sum())
        order = memory.encoded_at.argsort(stable=True)
        renewed = order[others[order]][: max(share, overdue)]
        for start in range(0, len(renewed), PART):
            rows = renewed[start : start + PART]
            memory.features = memory.features.index_copy(0, rows, self._encode_in_batches(memory.input_ids[rows]))
            memory.encoded_at[rows] = update.step

    @torch.no_grad()
    def _choose_relations(
        self, memory: RelationMemory, num_negatives: int, pair_embeds: torch.Tensor, labels: torch.Tensor | None
    ) -> torch.Tensor:
        """(num_described,) of bool: gold relations and hard negatives, by the features that the memory holds."""
        places = described_places(memory.config, pair_embeds.device)
        gold = torch.zeros_like(places, dtype=torch.bool)
        if labels is not None:
            gold = torch.isin(places, labels)
            if (labels >= 0).any():
                pair_embeds = pair_embeds[labels >= 0]
        with full_precision(pair_embeds):
            logits = self.described_logits(pair_embeds, self._project_relations(memory.features), memory)
        return gold | highest(logits.amax(dim=0).masked_fill(gold, float("-inf")), num_negatives)


def highest(scores: torch.Tensor, count: int) -> torch.Tensor:
    """(num,) of bool: whether one of `scores` (num,) is among the `count` highest."""
    chosen = torch.zeros_like(scores, dtype=torch.bool)
    chosen[scores.topk(min(count, len(scores))).indices] = True
    return chosen

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Which relation descriptions a training step encodes with gradient: all, none, or gold ones and hard negatives."""

from dataclasses import dataclass

import torch

from modeling_roc.peft_roc import copy_in_force
from modeling_roc.relation_memory_roc import RelationMemory, encode_descriptions, full_precision

# Descriptions without gradient are encoded so many at once: few enough that no step shows a progress bar of its own.
PART = 512


@dataclass
class RelationFeatures:
    """
    Gives a [`RocModel`]'s `forward` the descriptions' features in training (`relation_features`). Those that are not
    encoded with gradient come from the last step that encoded them, and go through the (always trained) projection.

    Before each optimizer step set `step`, the same for all its micro-batches, and `with_gradient`. A step below that
    of the call before begins anew.

    Args:
        model: the [`RocModel`], or the one in an adapter (`PeftModel.get_base_model()`).
        hard_negatives: with gradient are encoded the descriptions of the batch's gold relations and of so many others,
            those with the highest logit of any labelled pair (of any pair, where none is labelled). 0 or more; `None`:
            the descriptions of all relations.
        max_age: with `hard_negatives`, optimizer steps after which a description that was not encoded is encoded
            again, without gradient and dropout. 1 or more; with R descriptions, R / max_age of them are encoded in
            every step, oldest first.
        step: the optimizer step, 0 or more, by which ages are counted.
        with_gradient: whether this step encodes any description with gradient.
        labels (batch,): the pairs', where the loss is not the model's own and `forward` goes without them.
        relation_mask (batch, num_relations) of bool: as `forward` takes it. What is no candidate of a pair is no
            hard negative of it.

    Raises:
        ValueError: for a number that is out of range.
    """

    model: torch.nn.Module
    hard_negatives: int | None = None
    max_age: int = 100
    step: int = 0
    with_gradient: bool = True
    labels: torch.Tensor | None = None
    relation_mask: torch.Tensor | None = None

    def __post_init__(self):
        for name, least in (("hard_negatives", 0), ("max_age", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be {least} or more, got {value}")
        self.forget()

    def forget(self):
        """The next step encodes the descriptions, whatever is known of them."""
        # (num_descriptions, hidden_size), the optimizer step that encoded each, and what memory they belong to.
        self.features = self.encoded_at = self.generation = None

    def __call__(self, pair_embeds: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """
        Args:
            pair_embeds (batch, projection_dim): of the pairs in this step.
            labels (batch,): theirs; -100 where unknown. They only decide what is encoded.

        Returns:
            (num_descriptions, hidden_size).

        Raises:
            RuntimeError: as `RelationMemory.check_texts` does.
        """
        memory, labels = copy_in_force(self.model.memory), self.labels if labels is None else labels
        if self.generation is not memory.generation:
            memory.check_texts()
            self.forget()
            self.generation = memory.generation
        if self.hard_negatives is not None:
            return self._encode_some(memory, pair_embeds, labels)
        if self.with_gradient:
            features = self.model.description_features(memory.input_ids)
        elif self.features is None:
            features = encode_descriptions(self.model, memory.input_ids)
        else:
            return self.features
        self.features = features.detach()
        return features

    @torch.compiler.disable  # looks at what is in tensors
    def _encode_some(self, memory: RelationMemory, pair_embeds: torch.Tensor, labels: torch.Tensor | None):
        if self.features is None or self.encoded_at.max() > self.step:
            self.features = encode_descriptions(self.model, memory.input_ids)
            self.encoded_at = torch.full((len(memory.input_ids),), self.step, device=self.features.device)
        is_first_of_step = self.encoded_at.max() < self.step
        chosen = torch.zeros_like(self.encoded_at, dtype=torch.bool)
        if self.with_gradient:
            relations = self._choose_relations(memory, pair_embeds, labels)
            chosen = relations[memory.owner[: len(chosen)]]
        if is_first_of_step:
            self._encode_oldest(memory, ~chosen)
        features, rows = self.features, chosen.nonzero()[:, 0]
        if len(rows):
            encoded = self.model.description_features(memory.input_ids[rows])
            features = features.index_copy(0, rows, encoded.to(features.dtype))
            self.features = features.detach()
            self.encoded_at[rows] = self.step
        return features

    def _encode_oldest(self, memory: RelationMemory, others: torch.Tensor):
        """Encodes a step's share of the descriptions in `others` (num_descriptions,), without gradient."""
        # Whatever else is encoded, the share alone gets round to every description in time: what stands before it in
        # the order of ages becomes less by the share in every step. The rest is for steps that were left out.
        share = -(-len(others) // self.max_age)
        overdue = int(((self.step - self.encoded_at >= self.max_age) & others).sum())
        order = self.encoded_at.argsort(stable=True)
        for rows in order[others[order]][: max(share, overdue)].split(PART):
            self.features = self.features.index_copy(0, rows, encode_descriptions(self.model, memory.input_ids[rows]))
            self.encoded_at[rows] = self.step

    @torch.no_grad()
    def _choose_relations(self, memory: RelationMemory, pair_embeds: torch.Tensor, labels: torch.Tensor | None):
        """(num_relations,) of bool: gold relations and hard negatives, by the features that are known."""
        gold, mask = torch.zeros_like(memory.counts, dtype=torch.bool), self.relation_mask
        if labels is not None:
            gold[labels[labels >= 0]] = True
            if (labels >= 0).any():
                pair_embeds, mask = pair_embeds[labels >= 0], None if mask is None else mask[labels >= 0]
        with full_precision(pair_embeds):
            embeds = self.model.relation_encoder.project(self.features)
            logits = memory(pair_embeds, embeds)
        if mask is not None:
            logits = logits.masked_fill(~mask, float("-inf"))
        scores = logits.amax(dim=0).masked_fill(gold | (memory.counts == 0), float("-inf"))
        hardest = torch.zeros_like(gold)
        found = scores.topk(min(self.hard_negatives, len(scores)))
        hardest[found.indices] = found.values > float("-inf")
        return gold | hardest

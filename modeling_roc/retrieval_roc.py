# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Retrieval: keeping the relation memory true, and comparing pairs with it."""

import math

import torch
from torch.nn import functional as F

from .losses_roc import relation_logits
from .memory_roc import RelationMemory
from .relation_encoder_roc import evaluating, full_precision
from .relation_rows_roc import described_relations, relation_offsets


class RetrievalMixin:
    """For [`RocModel`], which has the encoders, the projections and the memory that these methods use."""

    def encode_pairs(self, **inputs) -> torch.Tensor:
        """
        Unit vectors of pairs, without gradient, dropout and autocast.

        Args:
            inputs: what the processor returns.

        Returns:
            (batch, embedding_dim) of float32.
        """
        inputs = {name: value.to(self.device) for name, value in inputs.items()}
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(self.dtype)
        with torch.inference_mode(False), torch.no_grad(), evaluating(self), full_precision(self.relation_center):
            return self.project_pairs(self.get_pair_features(**inputs), self.memory)[0]

    @torch.compiler.disable  # looks at where tensors lie and at what is in them
    def refresh_memory(self, memory: RelationMemory | None = None):
        """
        Encodes the descriptions anew if, and only if, the memory is not what the weights give. Every answer and every
        saved checkpoint goes through here. What it cannot see is a write through `.data` between two answers in eval
        mode; `model.eval()` makes it look again.

        Args:
            memory: one from `make_relation_memory`. Default: the model's own.

        Raises:
            RuntimeError: if the descriptions in the config are not those that the memory's token ids were made from,
                or as `check_examples` does: examples cannot be encoded anew.
        """
        self.follow_adapter()
        memory = self.memory if memory is None else memory
        self._refresh_descriptions(memory)
        self.check_examples(memory)

    def _refresh_descriptions(self, memory: RelationMemory):
        if memory.embeds.device != self.device:
            memory.to(self.device)
        weights = self._relation_weights()
        if self.training or not memory.is_current(weights):
            memory.check_texts()
            if not memory.matches(weights):
                memory.store(self.encode_relations(memory.input_ids), weights)
            memory.trust(weights)

    def train(self, mode: bool = True):
        if self.config.objective == "retrieval":
            for module in self.memory.modules():
                if isinstance(module, RelationMemory):
                    module.distrust()
        return super().train(mode)

    def retrieve(
        self,
        pair_features: torch.Tensor,
        update_relations=True,
        relation_memory: RelationMemory | None = None,
        labels: torch.Tensor | None = None,
    ):
        """
        Compares pairs with the relation memory.

        Args:
            pair_features: (batch, features), from [`RocModel.get_pair_features`].
            update_relations, relation_memory, labels: as for [`RocModel.forward`]. Labels only decide which
                descriptions a `RelationUpdate` encodes.

        Returns:
            logits (batch, num_relations): cosine / temperature; with `config.learn_negative_threshold`, the negative
            relation's is the pair's own threshold. pair_embeds (batch, embedding_dim): unit vectors. Both float32,
            under autocast too.
        """
        memory = self.memory if relation_memory is None else relation_memory
        trains = memory is self.memory and self.training and torch.is_grad_enabled()
        if not trains:
            self.refresh_memory(memory)  # before all else: torch.compile leaves it out, and breaks its graph once
        pair_embeds, threshold = self.project_pairs(pair_features, memory)
        matrix = self._training_matrix(update_relations, pair_embeds, labels) if trains else memory.embeds
        with full_precision(pair_features):
            logits = self.described_logits(pair_embeds, matrix, memory)
            if threshold is not None:
                logits = _insert_negative(logits, threshold, memory.config)
        return logits, pair_embeds

    def described_logits(self, pair_embeds: torch.Tensor, matrix: torch.Tensor, memory: RelationMemory):
        """
        Logits of the relations that the memory has rows of: all but a negative one with a learned threshold.

        Args:
            pair_embeds: (batch, embedding_dim), from [`RocOutput`].
            matrix: (num_rows, embedding_dim), the vectors of the memory's rows.
            memory: whose rows they are.

        Returns:
            (batch, num_described): cosine / temperature, aggregated, with the relations' offsets.
        """
        scores = pair_embeds @ matrix.T / self.memory.log_temperature.exp()
        logits = relation_logits(scores, memory.entries, self.config.relation_aggregation)
        offsets = relation_offsets(self.config.relation_offsets, memory.config, logits.device)
        return logits if offsets is None else logits + offsets

    def project_pairs(self, pair_features: torch.Tensor, memory: RelationMemory):
        """
        Args:
            pair_features: (batch, features), from [`RocModel.get_pair_features`].
            memory: what the pairs are to be compared with.

        Returns:
            pair_embeds (batch, embedding_dim): unit vectors, less the texts' part in training mode. The negative
            relation's logit (batch, 1) where it is the pair's own threshold, else `None`. Both float32.
        """
        threshold = None
        with full_precision(pair_features):
            pair_features, texts = pair_features.split(
                [self.config.text_config.hidden_size, self.config.embedding_dim - self.config.projection_dim], dim=-1
            )
            pair_features = pair_features.to(self.pair_projection.weight.dtype)
            pair_embeds = F.normalize(self.pair_projection(pair_features).float(), dim=-1)
            if self.config.text_similarity:
                if not self.training:
                    texts = F.normalize(texts.float() - self.text_center, dim=-1)
                pair_embeds = self._join(pair_embeds, texts)
            if self.config.learn_negative_threshold and memory.config.negative_relation is not None:
                threshold = self.negative_threshold(pair_features).float()
        return pair_embeds, threshold

    def set_relation_offsets(self, offsets: dict[str, float] | None):
        """
        Adds something to relations' logits from now on: relations that were never trained on score on another scale
        than those that were. Kept in the config.

        Args:
            offsets: label → what is added, in units of the logits; 0 where left out. `None` takes all away.

        Raises:
            ValueError: naming a label that is not among the relations, or is the negative one with a learned
                threshold, or has a value that is not a finite number; or for a classification model.
        """
        if self.config.objective != "retrieval":
            raise ValueError('a model with objective="classification" has a fixed set of relations')
        for label, value in (offsets or {}).items():
            if label not in described_relations(self.config):
                raise ValueError(f"no relation {label!r} that is retrieved by its descriptions")
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ValueError(f"relation {label!r}: an offset must be a finite number, got {value!r}")
        self.config.relation_offsets = dict(offsets) if offsets else None

    def nearest_descriptions(
        self, pair_embeds: torch.Tensor, relation_memory: RelationMemory | None = None
    ) -> torch.Tensor:
        """
        Which of each relation's descriptions fits a pair best, or whether its examples do, to show with the answer.

        Args:
            pair_embeds: (batch, embedding_dim), from [`RocOutput`].
            relation_memory: as for [`RocModel.forward`].

        Returns:
            (batch, num_relations) of int64: index into the relation's list of descriptions, or, where its examples
            fit better, the length of that list; 0 for a negative relation that is scored by a learned threshold.
        """
        cosines = self.description_cosines(pair_embeds, relation_memory)
        return cosines.nan_to_num(float("-inf")).argmax(dim=-1)

    def description_cosines(
        self, pair_embeds: torch.Tensor, relation_memory: RelationMemory | None = None
    ) -> torch.Tensor:
        """
        How well each description of each relation, and the mean of its examples, fits a pair.

        Args: as for `nearest_descriptions`.

        Returns:
            (batch, num_relations, max_entries) of float32: cosines in the order of the relation's list of
            descriptions, then, if it has examples, with their mean; nan behind these, and for a negative relation that
            is scored by a learned threshold.
        """
        memory = self.memory if relation_memory is None else relation_memory
        with full_precision(pair_embeds):
            cosines = (pair_embeds @ memory.embeds.T)[:, memory.entries.clamp(min=0)]
        cosines = cosines.masked_fill(memory.entries < 0, float("nan"))
        if self.config.learn_negative_threshold and memory.config.negative_relation is not None:
            unscored = torch.full_like(cosines[:, :1], float("nan"))
            cosines = _insert_negative(cosines, unscored, memory.config)
        return cosines

    def save_pretrained(self, save_directory, *args, state_dict=None, **kwargs):
        """
        As in transformers; the memory that is saved is the one that the saved weights give, or is marked as not.

        Raises:
            RuntimeError: as `check_examples` does.
        """
        if self.config.objective == "retrieval" and self.memory.has_texts():
            self.refresh_memory()
            if state_dict is not None:
                live, memory = self.state_dict(), self.memory.state_dict(prefix="memory.")
                own = {name: tensor for name, tensor in state_dict.items() if name not in memory}
                if any(tensor.data_ptr() != live[name].data_ptr() for name, tensor in own.items() if name in live):
                    # Weights of elsewhere, an average say: whoever loads them encodes the descriptions anew.
                    memory["memory.made_from"] = memory["memory.made_from"].clone()
                    memory["memory.made_from"][1] = 0
                    if (proofs := memory.get("memory.examples_made_from")) is not None:
                        memory["memory.examples_made_from"] = torch.zeros_like(proofs)
                state_dict = {**own, **memory}
        return super().save_pretrained(save_directory, *args, state_dict=state_dict, **kwargs)


def _insert_negative(columns: torch.Tensor, column: torch.Tensor, config) -> torch.Tensor:
    """Puts the negative relation's `column` (batch, 1) between those of the described relations, (batch, any)."""
    place = config.label2id[config.negative_relation]
    return torch.cat([columns[:, :place], column, columns[:, place:]], dim=1)

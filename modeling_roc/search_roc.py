# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The few best relations of a large memory, without a score for each of the others, among those whose types fit."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers.utils import ModelOutput

from .adapted_roc import copy_in_force
from .faiss_roc import FaissSearch
from .losses_roc import relation_logits
from .memory_roc import RelationMemory
from .relation_rows_roc import described_places, relation_offsets
from .types_roc import check_pair_types

# Scores that are held at once: 64 MiB of float32.
BLOCK_SCORES = 2**24


@dataclass
class RelationHits(ModelOutput):
    """
    Args:
        scores (batch, k): logits of the best relations, best first, float32; -inf where fewer are compatible.
        indices (batch, k): their places in `id2label`; -1 where fewer are compatible.
        probabilities (batch, k): softmax over **all** compatible relations, 0 to 1, calibrated as the pipeline's
            scores are (`config.calibration_temperature`). `None` from an index, which does not see the others.
    """

    scores: torch.Tensor | None = None
    indices: torch.Tensor | None = None
    probabilities: torch.Tensor | None = None


class SearchMixin:
    """For [`RocModel`]."""

    @torch.no_grad()
    def search(
        self,
        k: int = 10,
        types: Sequence[tuple[str | None, str | None]] | None = None,
        index: str | None = None,
        relation_memory: RelationMemory | None = None,
        **inputs,
    ) -> RelationHits:
        """
        The k best relations of each pair: what [`RocModel.forward`] and `topk` give, without logits for all relations.

        Args:
            k: how many, 1 or more; no more than there are relations.
            types: the (head type, tail type) of each pair, to search only the relations that take them; see
                `set_relation_types` and `type_mask`. Default: all relations are searched.
            index: `None` for an exact matrix product on the model's device. `"faiss"` for a flat index of faiss,
                which is exact too, and `"faiss:HNSW32"` or any other of its factory strings; it is built at the first
                search, and again when the memory has changed.
            relation_memory: other relations to search, from [`RocModel.make_relation_memory`].
            inputs: what the processor returns.

        Returns:
            [`RelationHits`].

        Raises:
            ValueError: for a classification model or one without relations, a k below 1, types that are not one
                (head type, tail type) a pair, an index that is unknown or that faiss cannot make of this memory, or
                one that cannot give the answer (`relation_aggregation="logsumexp"` with several descriptions,
                examples counting as one more).
            RuntimeError: as for `refresh_memory`.
            ImportError: with the line that installs faiss.
        """
        if self.config.objective != "retrieval":
            raise ValueError('a model with objective="classification" has no memory to search')
        inputs = {name: value for name, value in inputs.items() if name != "labels"}
        if inputs.get("attention_mask") is None:
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        return self.retrieve_best(self.get_pair_features(**inputs), k, types, index, relation_memory)

    @torch.no_grad()
    def retrieve_best(
        self,
        pair_features: torch.Tensor,
        k: int = 10,
        types: Sequence[tuple[str | None, str | None]] | None = None,
        index: str | None = None,
        relation_memory: RelationMemory | None = None,
    ) -> RelationHits:
        """
        `search` from the pairs' vectors on.

        Args:
            pair_features: (batch, features), from [`RocModel.get_pair_features`].
            k, types, index, relation_memory: as for `search`.

        Returns, Raises: as for `search`.
        """
        if k < 1:
            raise ValueError(f"k must be 1 or more, got {k}")
        self._refuse_empty_set()
        memory = copy_in_force(self.memory) if relation_memory is None else relation_memory
        self.refresh_memory(memory)
        pair_embeds, threshold = self.project_pairs(pair_features, memory)
        types = None if types is None else check_pair_types(types)
        if types is not None and len(types) != len(pair_embeds):
            raise ValueError(f"types must be one (head type, tail type) a pair: {len(types)} for {len(pair_embeds)}")
        search = self._searcher(memory, index)
        labels, described = memory.config.label2id, described_places(memory.config, self.device)
        scores = pair_embeds.new_full((len(pair_embeds), min(k, len(labels))), float("-inf"))
        indices = torch.full(scores.shape, -1, device=self.device)
        totals = pair_embeds.new_full((len(pair_embeds),), float("-inf"))
        for rows, fitting in self._groups(types, len(pair_embeds), described, memory):
            found, places, total = search(pair_embeds[rows], k, fitting)
            scores[rows, : found.shape[1]] = found
            indices[rows, : found.shape[1]] = torch.where(places < 0, places, described[places])
            totals[rows] = total
        if threshold is not None:
            negative = labels[memory.config.negative_relation]
            if types is not None:
                fits = torch.stack([self._fitting(pair, memory)[negative] for pair in types])[:, None]
                threshold = threshold.masked_fill(~fits, float("-inf"))
            scores, order = torch.cat([scores, threshold], dim=1).topk(scores.shape[1])
            indices = torch.cat([indices, torch.full_like(indices[:, :1], negative)], dim=1).gather(1, order)
            indices = indices.masked_fill(scores == float("-inf"), -1)
            totals = torch.logaddexp(totals, threshold[:, 0] / self.config.calibration_temperature)
        probabilities = None
        if index is None:
            # A pair that no relation fits has no probabilities: 0, and not 0 / 0.
            calibrated = scores / self.config.calibration_temperature
            probabilities = (calibrated - totals[:, None]).exp().masked_fill(indices < 0, 0)
        return RelationHits(scores=scores, indices=indices, probabilities=probabilities)

    def _groups(self, types, batch_size: int, described: torch.Tensor, memory: RelationMemory):
        """Pairs of the same types together: (rows of the batch, the described relations to search or `None`)."""
        if types is None:
            yield torch.arange(batch_size, device=self.device), None
            return
        groups: dict[tuple, list[int]] = {}
        for row, pair in enumerate(types):
            groups.setdefault(pair, []).append(row)
        for pair, rows in groups.items():
            fitting = self._fitting(pair, memory)[described]
            if fitting.any():
                rows = torch.tensor(rows, device=self.device)
                yield rows, None if fitting.all() else fitting.nonzero()[:, 0]

    def _searcher(self, memory: RelationMemory, index: str | None):
        """(pair_embeds, k, described relations) → scores, places among the described ones, and log-sum-exp of all."""
        temperature, aggregation = self.memory.log_temperature.exp(), self.config.relation_aggregation
        offsets = relation_offsets(self.config.relation_offsets, memory.config, self.device)
        if index is None:
            calibration = self.config.calibration_temperature
            return lambda embeds, k, fitting: search_exactly(
                embeds, memory, k, fitting, temperature, aggregation, offsets, calibration
            )
        kind, _, factory = index.partition(":")
        if kind != "faiss":
            raise ValueError(f'index must be None, "faiss" or "faiss:<factory string>", got {index!r}')
        if memory.index is None or not memory.index.serves(memory, factory or "Flat", temperature, offsets):
            memory.index = FaissSearch(memory, factory or "Flat", temperature, aggregation, offsets)
        return memory.index


def search_exactly(
    pair_embeds: torch.Tensor,
    memory: RelationMemory,
    k: int,
    fitting: torch.Tensor | None,
    temperature: torch.Tensor,
    aggregation: str,
    offsets: torch.Tensor | None,
    calibration: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    The best relations by matrix product, in as few blocks as `BLOCK_SCORES` allows.

    Args:
        pair_embeds (batch, embedding_dim): unit vectors.
        k: how many relations at most.
        fitting (num_fitting,): the described relations to search, ascending. Default: all.
        temperature, aggregation: of the model.
        offsets (num_described,): added to the relations' scores.
        calibration: `config.calibration_temperature`.

    Returns:
        scores (batch, n) and places among the described relations (batch, n), n = min(k, number searched), and the
        logarithm of the sum of exponentials of all searched scores / calibration (batch,).
    """
    relations = torch.arange(len(memory.entries), device=pair_embeds.device) if fitting is None else fitting
    best = pair_embeds.new_zeros(len(pair_embeds), 0)
    places = torch.zeros(best.shape, dtype=torch.long, device=best.device)
    total = pair_embeds.new_full((len(pair_embeds),), float("-inf"))
    for part in relations.split(max(1, BLOCK_SCORES // (len(pair_embeds) * memory.entries.shape[1]))):
        entries = memory.entries[part]
        rows = entries[entries >= 0]
        # Neighbouring relations' rows are a slice, which costs no copy.
        first, last = (int(end) for end in rows.aminmax())
        local = torch.full_like(entries, -1)
        if last - first == len(rows) - 1:
            matrix, local[entries >= 0] = memory.embeds[first : last + 1], rows - first
        else:
            matrix, local[entries >= 0] = memory.embeds[rows], torch.arange(len(rows), device=rows.device)
        with torch.autocast(pair_embeds.device.type, enabled=False):
            logits = relation_logits(pair_embeds @ matrix.T / temperature, local, aggregation)
        if offsets is not None:
            logits = logits + offsets[part]
        total = torch.logaddexp(total, (logits / calibration).logsumexp(dim=-1))
        top, order = logits.topk(min(k, len(part)))
        best, places = torch.cat([best, top], dim=1), torch.cat([places, part[order]], dim=1)
        best, order = best.topk(min(k, best.shape[1]))
        places = places.gather(1, order)
    return best, places, total

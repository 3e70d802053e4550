# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The few best relations of a memory, among those whose entity types fit, exactly or by an index of faiss."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers.utils import ModelOutput

from .configuration_roc import type_pairs
from .peft_roc import copy_in_force, follow_adapter
from .relation_memory_roc import RelationMemory, content_proof

# Logits that are held at once: 64 MiB of float32.
BLOCK_SIZE = 2**24

TYPE_WORDS = {"per": "person", "org": "organization", "loc": "location", "misc": "miscellaneous"}
"""What MNRE's labels call an entity's types, and what a tagger calls them."""


# ---- the entity types that relations ask for


def types_from_labels(
    labels: Iterable[str], words: Mapping[str, str] = TYPE_WORDS, either_order: bool = False
) -> dict[str, list]:
    """
    The types that labels such as `/per/org/member_of` ask of head and tail, for [`RocModel.set_relation_types`].

    These are the relation's own; what a pair is typed as must come from a tagger or a person.

    Args:
        labels: relation labels. Those of another form than `/type/type/name` are left out: they ask for no type.
        words: the labels' abbreviations → the words that pairs are typed with.
        either_order: whether a label names its two types in no order, as in UMRE, where `/per/org/...` is also given
            to pairs whose head is the organization. `False`: the head's stands first, as in MNRE; a pair of the other
            order could then never get the relation.

    Returns:
        Label → [head type, tail type], or with `either_order` a list of both orders.

    Raises:
        ValueError: naming the label, if it has an abbreviation that `words` does not know.
    """
    types = {}
    for label in labels:
        parts = label.split("/")
        if len(parts) == 4 and parts[0] == "":
            if unknown := [part for part in parts[1:3] if part not in words]:
                raise ValueError(f"relation {label!r}: no word is given for the type {unknown[0]!r}")
            pair = [words[part] for part in parts[1:3]]
            types[label] = [[[one] for one in order] for order in (pair, pair[::-1])] if either_order else pair
    return types


class RelationTypes:
    """
    Which relations can hold between entities of given types.

    Args:
        types: `config.relation_types`: label → [head types, tail types], or a list of such pairs; a relation that is
            left out takes every pair.
        labels: the relations, in their order.
    """

    def __init__(self, types: Mapping[str, Sequence] | None, labels: Iterable[str]):
        self.made_of = types
        # Many relations ask for the same few types: these are looked at, and not each relation.
        kinds: dict[tuple, int] = {}
        asked = [type_pairs((types or {}).get(label, [None, None])) for label in labels]
        asked = [tuple(tuple(side and tuple(side) for side in pair) for pair in pairs) for pairs in asked]
        self.place = torch.tensor([kinds.setdefault(kind, len(kinds)) for kind in asked], dtype=torch.long)
        self.kinds = list(kinds)

    def fitting(self, pair: tuple[str | None, str | None]) -> torch.Tensor:
        """(num_relations,) of bool, for the types of one pair; `None` and `"unknown"` fit every relation."""
        known = [None if word is None or word.lower() == "unknown" else word.lower() for word in pair]
        fits = [
            any(
                all(word is None or side is None or word in side for word, side in zip(known, pair, strict=True))
                for pair in pairs
            )
            for pairs in self.kinds
        ]
        return torch.tensor(fits, dtype=torch.bool)[self.place]


def type_mask(
    model, types: Sequence[tuple[str | None, str | None]], relation_memory: RelationMemory | None = None
) -> torch.Tensor:
    """See [`RocModel.type_mask`]."""
    for i, pair in enumerate(types):
        is_pair = isinstance(pair, (list, tuple)) and len(pair) == 2
        if not is_pair or not all(word is None or isinstance(word, str) for word in pair):
            raise ValueError(f"types[{i}] must be (head type, tail type), each a word or None, got {pair!r}")
    config, keeper = model.config, relation_memory
    if relation_memory is not None:
        config = relation_memory.config
    elif config.objective == "retrieval":
        follow_adapter(model)
        keeper = copy_in_force(model.memory)
    relation_types = None if keeper is None else keeper.types
    if relation_types is None or relation_types.made_of is not model.config.relation_types:
        relation_types = RelationTypes(model.config.relation_types, config.id2label.values())
    if keeper is not None:
        keeper.types = relation_types
    fitting = {pair: relation_types.fitting(pair) for pair in {tuple(pair) for pair in types}}
    return torch.stack([fitting[tuple(pair)] for pair in types]).to(model.device)


# ---- searching


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


@torch.no_grad()
def search(
    model,
    k: int = 10,
    types: Sequence[tuple[str | None, str | None]] | None = None,
    index: str | None = None,
    relation_memory: RelationMemory | None = None,
    **inputs,
) -> RelationHits:
    """See [`RocModel.search`]."""
    if model.config.objective != "retrieval":
        raise ValueError('a model with objective="classification" has no memory to search')
    if k < 1:
        raise ValueError(f"k must be 1 or more, got {k}")
    if not model.config.has_relations:
        raise ValueError("the model has no relations yet: call model.set_relations({label: description}, processor)")
    kind, _, factory = (index or "").partition(":")
    if kind not in ("", "faiss"):
        raise ValueError(f'index must be None, "faiss" or "faiss:<factory string>", got {index!r}')
    memory = copy_in_force(model.memory) if relation_memory is None else relation_memory
    inputs = {name: value for name, value in inputs.items() if name != "labels"}
    if inputs.get("attention_mask") is None:
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    model.refresh_memory(memory)
    vectors = model.pair_encoder(**inputs)
    pair_embeds, threshold = model.embed_pairs(vectors), model.learned_threshold(vectors, memory)
    fitting = None
    if types is not None:
        if len(types) != len(pair_embeds):
            raise ValueError(f"types must be one (head type, tail type) a pair: {len(types)} for {len(pair_embeds)}")
        fitting = type_mask(model, types, relation_memory)
    offsets, k = model.config.relation_offsets, min(k, len(memory.config.id2label))
    if index is not None:
        if memory.index is None or not memory.index.serves(memory, factory or "Flat", offsets):
            memory.index = FaissIndex(memory, factory or "Flat", offsets)
        return memory.index.search(pair_embeds, k, fitting, threshold)
    parts = []
    for rows in torch.arange(len(pair_embeds), device=pair_embeds.device).split(
        max(1, BLOCK_SIZE // len(memory.owner))
    ):
        with torch.autocast(pair_embeds.device.type, enabled=False):
            logits = memory(
                pair_embeds[rows], threshold=None if threshold is None else threshold[rows], offsets=offsets
            )
        if fitting is not None:
            logits = logits.masked_fill(~fitting[rows].to(logits.device), float("-inf"))
        scores, indices = logits.topk(k)
        calibrated = logits / model.config.calibration_temperature
        # A pair that no relation fits has no probabilities: 0, and not 0 / 0.
        is_candidate = scores > float("-inf")
        probabilities = calibrated.softmax(dim=-1).gather(1, indices).masked_fill(~is_candidate, 0)
        parts.append((scores, indices.masked_fill(~is_candidate, -1), probabilities))
    return RelationHits(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


class FaissIndex:
    """
    A memory's vectors in an index of faiss, as `datasets` uses it: an optional dependency.

    With several rows a relation, `"max"` is searched over the rows and `"mean"` over each relation's mean vector,
    which gives the same scores.

    Args:
        memory: what is searched, as it is now.
        factory: faiss' description of the index; `"Flat"` is exact.
        offsets: label → what is added to the relation's score, or None.

    Raises:
        ImportError: if faiss is not installed.
        ValueError: for a factory that faiss does not know or cannot train on so few vectors.
    """

    def __init__(self, memory: RelationMemory, factory: str, offsets: Mapping[str, float] | None):
        try:
            import faiss
        except ImportError as error:
            raise ImportError("searching by index needs faiss: pip install faiss-cpu") from error
        self.faiss, self.made_of = faiss, self._key(memory, factory, offsets)
        self.temperature = memory.log_temperature.exp().item()
        self.negative = memory.config.label2id.get(memory.config.negative_relation)
        vectors, owners = memory.embeds, memory.owner
        if memory.config.relation_aggregation == "mean" and not memory.one_each:
            sums = vectors.new_zeros(len(memory.counts), vectors.shape[1]).index_add(0, owners, vectors)
            owners = memory.counts.nonzero()[:, 0]
            vectors = sums[owners] / memory.counts[owners, None]
        # The offset as one more dimension, in which every query has a 1.
        shift = vectors.new_zeros(len(memory.counts))
        for label, value in (offsets or {}).items():
            if label in memory.config.label2id:
                shift[memory.config.label2id[label]] = value * self.temperature
        vectors = torch.cat([vectors, shift[owners, None]], dim=1).float().cpu().numpy()
        self.owners = owners.cpu()
        # The k best relations are among the k * depth best rows, if none has more than `depth`.
        self.depth = int(self.owners.bincount().max())
        try:
            self.index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
            self.index.train(vectors)
            self.index.add(vectors)
        except RuntimeError as error:
            raise ValueError(f"no index {factory!r} of {len(vectors)} vectors: {error}") from error

    @staticmethod
    def _key(memory: RelationMemory, factory: str, offsets) -> tuple:
        proofs = [memory.texts_proof.cpu(), memory.proof.cpu(), memory.examples_proof.flatten().cpu()]
        if not proofs[1].any():  # weights that cannot be read, quantized ones say, prove nothing: the rows do
            proofs.append(content_proof([memory.embeds]))
        proofs = torch.cat(proofs)
        settings = (memory.config.relation_aggregation, memory.log_temperature.item())
        return (factory, bytes(proofs.tolist()), *settings, tuple(sorted((offsets or {}).items())))

    def serves(self, memory: RelationMemory, factory: str, offsets: Mapping[str, float] | None) -> bool:
        """Whether this index is the one that was asked for, of what the memory holds now."""
        return self.made_of == self._key(memory, factory, offsets)

    def search(self, pair_embeds: torch.Tensor, k: int, fitting: torch.Tensor | None, threshold: torch.Tensor | None):
        """[`RelationHits`] without probabilities; `fitting` (batch, num_relations) of bool, `threshold` (batch, 1)."""
        queries = torch.cat([pair_embeds.float().cpu(), torch.ones(len(pair_embeds), 1)], dim=1).numpy()
        number = min(k * self.depth, len(self.owners))
        if fitting is None:
            found, rows = self.index.search(queries, number)
        else:
            answers = [self._search_among(vector, number, fits) for vector, fits in zip(queries, fitting, strict=True)]
            found, rows = (np.concatenate(column) for column in zip(*answers, strict=True))
        scores = torch.full((len(queries), k + 1), float("-inf"))
        indices = torch.full(scores.shape, -1)
        for query, owners in enumerate(self.owners[rows].tolist()):
            best: dict[int, float] = {}
            for owner, row, score in zip(owners, rows[query], found[query], strict=True):
                if row >= 0:  # places that the index leaves empty are -1
                    best.setdefault(owner, float(score) / self.temperature)
            for place, (owner, score) in enumerate(list(best.items())[:k]):
                scores[query, place], indices[query, place] = score, owner
        if threshold is not None:
            fits = True if fitting is None else fitting[:, self.negative].cpu()
            scores[:, k] = threshold[:, 0].cpu().float().masked_fill(~torch.as_tensor(fits), float("-inf"))
            indices[:, k] = self.negative
        scores, order = scores.topk(k)
        indices = indices.gather(1, order).masked_fill(scores == float("-inf"), -1)
        return RelationHits(scores=scores.to(pair_embeds.device), indices=indices.to(pair_embeds.device))

    def _search_among(self, vector: np.ndarray, number: int, fitting: torch.Tensor):
        """The best rows of the relations in `fitting` (num_relations,)."""
        selector = self.faiss.IDSelectorBatch(fitting.cpu()[self.owners].nonzero()[:, 0].numpy())
        return self.index.search(vector[None], number, params=self._parameters(selector))

    def _parameters(self, selector):
        name = type(self.index).__name__
        for kind, parameters in (("HNSW", "SearchParametersHNSW"), ("IVF", "SearchParametersIVF")):
            if kind in name:
                return getattr(self.faiss, parameters)(sel=selector)
        return self.faiss.SearchParameters(sel=selector)

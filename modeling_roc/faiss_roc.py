# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The relation memory in an index of faiss, as `datasets` uses it: an optional dependency."""

import torch

from .memory_roc import RelationMemory


class FaissSearch:
    """
    An index over a memory's vectors. With several descriptions a relation, `"max"` is searched over descriptions and
    `"mean"` over each relation's mean vector, which gives the same scores. A relation's examples count as one
    description more.

    Args:
        memory: what is searched, as it is now.
        factory: faiss' description of the index; `"Flat"` is exact.
        temperature, aggregation: of the model.
        offsets (num_described,): added to the relations' scores, or None.

    Raises:
        ImportError: if faiss is not installed.
        ValueError: for `"logsumexp"` over several descriptions, which no index of vectors can rank, or a factory that
            faiss does not know or cannot train on so few vectors.
    """

    def __init__(self, memory: RelationMemory, factory: str, temperature, aggregation: str, offsets):
        try:
            import faiss
        except ImportError as error:
            raise ImportError("searching by index needs faiss: pip install faiss-cpu") from error
        self.faiss, self.temperature = faiss, temperature.item()
        entries, embeds = memory.entries, memory.embeds
        if entries.shape[1] > 1 and aggregation == "logsumexp":
            raise ValueError(
                'an index cannot rank relation_aggregation="logsumexp" over several descriptions; search without one'
            )
        if entries.shape[1] > 1 and aggregation == "mean":
            filled = embeds[entries.clamp(min=0)] * (entries >= 0)[..., None]
            vectors = filled.sum(dim=1) / (entries >= 0).sum(dim=1, keepdim=True)
            owners = torch.arange(len(entries), device=entries.device)
        else:
            vectors = embeds
            owners = torch.zeros(len(embeds), dtype=torch.long, device=entries.device)
            owners[entries[entries >= 0]] = (entries >= 0).nonzero()[:, 0]
        self.has_offsets = offsets is not None
        if self.has_offsets:
            # As one more dimension, in which every query has a 1.
            vectors = torch.cat([vectors, offsets[owners, None] * self.temperature], dim=1)
        self.owners = owners.cpu()
        self.depth = int(self.owners.bincount().max())
        vectors = vectors.float().cpu().numpy()
        try:
            self.index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
            self.index.train(vectors)
            self.index.add(vectors)
        except RuntimeError as error:
            raise ValueError(f"no index {factory!r} of {len(vectors)} vectors: {error}") from error
        self.made_of = self._key(memory, factory, temperature, offsets)

    @staticmethod
    def _key(memory, factory, temperature, offsets):
        offsets = None if offsets is None else tuple(offsets.tolist())
        proofs = torch.cat([memory.made_from, memory.examples_made_from])
        return (factory, bytes(proofs.flatten().tolist()), temperature.item(), offsets)

    def serves(self, memory: RelationMemory, factory: str, temperature, offsets) -> bool:
        """Whether this index is the one that was asked for, of what the memory holds now."""
        return self.made_of == self._key(memory, factory, temperature, offsets)

    def __call__(self, pair_embeds: torch.Tensor, k: int, fitting: torch.Tensor | None):
        """As `search_exactly`; places that the index leaves empty are -1, and the sum of exponentials is nan."""
        queries, limits = pair_embeds.float().cpu(), {}
        num_relations = int(self.owners.max()) + 1 if fitting is None else len(fitting)
        if self.has_offsets:
            queries = torch.cat([queries, torch.ones(len(queries), 1)], dim=1)
        if fitting is not None:
            allowed = torch.isin(self.owners, fitting.cpu()).nonzero()[:, 0]
            selector = self.faiss.IDSelectorBatch(allowed.numpy())
            limits["params"] = self._parameters(selector)
        k = min(k, num_relations)
        # The k best relations are among the k * depth best descriptions, if none has more than `depth`.
        scores, rows = self.index.search(queries.numpy(), min(k * self.depth, len(self.owners)), **limits)
        scores, rows = torch.from_numpy(scores) / self.temperature, torch.from_numpy(rows)
        owners = torch.where(rows < 0, rows, self.owners[rows])
        found = torch.full((len(queries), k), float("-inf"))
        places = torch.full((len(queries), k), -1)
        for query, names in enumerate(owners.tolist()):
            first = {}
            for place, name in enumerate(names):
                if name >= 0:
                    first.setdefault(name, place)
            chosen = list(first.items())[:k]
            places[query, : len(chosen)] = torch.tensor([name for name, _ in chosen], dtype=torch.long)
            found[query, : len(chosen)] = scores[query, [place for _, place in chosen]]
        device = pair_embeds.device
        return found.to(device), places.to(device), pair_embeds.new_full((len(queries),), float("nan"))

    def _parameters(self, selector):
        name = type(self.index).__name__
        for kind, parameters in (("HNSW", "SearchParametersHNSW"), ("IVF", "SearchParametersIVF")):
            if kind in name:
                return getattr(self.faiss, parameters)(sel=selector)
        return self.faiss.SearchParameters(sel=selector)

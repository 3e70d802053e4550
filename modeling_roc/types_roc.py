# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The entity types that relations ask for: which relations can hold between a head and a tail of given types."""

from collections.abc import Iterable, Mapping, Sequence

import torch

from .adapted_roc import copy_in_force
from .memory_roc import RelationMemory

TYPE_WORDS = {"per": "person", "org": "organization", "loc": "location", "misc": "miscellaneous"}
"""What MNRE's labels call an entity's types, and what a tagger calls them."""


def types_from_labels(labels: Iterable[str], words: Mapping[str, str] = TYPE_WORDS) -> dict[str, list[str]]:
    """
    The types that labels such as `/per/org/member_of` ask of head and tail, for [`RocModel.set_relation_types`].

    These are the relation's own; what a pair is typed as must come from a tagger or a person.

    Args:
        labels: relation labels. Those of another form than `/head/tail/name` are left out: they ask for no type.
        words: the labels' abbreviations → the words that pairs are typed with.

    Returns:
        Label → [head type, tail type].

    Raises:
        ValueError: naming the label, if it has an abbreviation that `words` does not know.
    """
    types = {}
    for label in labels:
        parts = label.split("/")
        if len(parts) == 4 and parts[0] == "":
            if unknown := [part for part in parts[1:3] if part not in words]:
                raise ValueError(f"relation {label!r}: no word is given for the type {unknown[0]!r}")
            types[label] = [words[part] for part in parts[1:3]]
    return types


def check_relation_types(types, labels: Iterable[str]) -> dict[str, list]:
    """
    Label → [head types, tail types], each a list of words in lower case, or `None` for any type.

    Raises:
        ValueError: naming the label, if there is no such relation or its types are not a pair of types.
    """
    if not isinstance(types, Mapping):
        raise ValueError(f"types must be {{label: [head type, tail type]}}, got {types!r:.200}")
    labels, checked = set(labels), {}
    for label, pair in types.items():
        if label not in labels:
            raise ValueError(f"types are given for {label!r}, which is not among the relations")
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise ValueError(f"relation {label!r} needs [head type, tail type], got {pair!r}")
        sides = [[side] if isinstance(side, str) else side for side in pair]
        for side in sides:
            if side is not None and not (
                isinstance(side, (list, tuple)) and side and all(isinstance(word, str) and word for word in side)
            ):
                raise ValueError(f"relation {label!r}: a type is a word, a list of words or None, got {side!r}")
        checked[label] = [None if side is None else [word.lower() for word in side] for side in sides]
    return checked


def check_pair_types(types) -> list[tuple[str | None, str | None]]:
    """
    The (head type, tail type) of each pair.

    Raises:
        ValueError: naming the pair by its number from 0, if what is given for it is not two words or `None`.
    """
    for i, pair in enumerate(types):
        is_pair = isinstance(pair, (list, tuple)) and len(pair) == 2
        if not is_pair or not all(word is None or isinstance(word, str) for word in pair):
            raise ValueError(f"types[{i}] must be (head type, tail type), each a word or None, got {pair!r}")
    return [tuple(pair) for pair in types]


class RelationTypesMixin:
    """For [`RocModel`]."""

    # As of a memory, which a classification model has not; see `_fitting`.
    kinds = None

    def set_relation_types(self, types: Mapping[str, Sequence] | None):
        """
        Says which types of head and tail the relations ask for; kept in the config.

        Args:
            types: label → [head type, tail type], each a word, a list of words, or `None` for any type;
                [`types_from_labels`] reads them off labels such as MNRE's. A relation that is left out takes every
                pair. `None` takes all types away.

        Raises:
            ValueError: as for `check_relation_types`.
        """
        self.config.relation_types = None if types is None else check_relation_types(types, self.config.label2id)

    def type_mask(
        self, types: Sequence[tuple[str | None, str | None]], relation_memory: RelationMemory | None = None
    ) -> torch.Tensor:
        """
        Which relations can hold between entities of the given types: put -inf at the others' logits, and they get no
        probability.

        Args:
            types: the (head type, tail type) of each pair, as a tagger or a person gave them. `None` and `"unknown"`
                fit every relation; case does not matter.
            relation_memory: as for [`RocModel.forward`].

        Returns:
            (batch, num_relations) of bool. The negative relation fits every pair unless types are set for it.

        Raises:
            ValueError: as `check_pair_types` does.
        """
        memory = relation_memory
        if memory is None:
            memory = copy_in_force(self.memory) if self.config.objective == "retrieval" else self
        pairs = check_pair_types(types)
        fitting = {pair: self._fitting(pair, memory) for pair in set(pairs)}
        return torch.stack([fitting[pair] for pair in pairs])

    def _fitting(self, pair: tuple[str | None, str | None], memory) -> torch.Tensor:
        """(num_relations,) of bool for one pair of types; `memory`, or a classification model, has the relations."""
        if memory.kinds is None or memory.kinds[0] is not self.config.relation_types:
            # Many relations ask for the same few types: these are looked at, and not each relation.
            kinds, wanted = {}, self.config.relation_types or {}
            sides = [wanted.get(label, (None, None)) for label in memory.config.label2id]
            sides = [tuple(None if side is None else tuple(side) for side in pair) for pair in sides]
            place = torch.tensor([kinds.setdefault(kind, len(kinds)) for kind in sides], device=self.device)
            memory.kinds = (self.config.relation_types, list(kinds), place)
        known = [None if word is None or word.lower() == "unknown" else word.lower() for word in pair]
        fits = [
            all(word is None or side is None or word in side for word, side in zip(known, kind, strict=True))
            for kind in memory.kinds[1]
        ]
        return torch.tensor(fits, device=self.device)[memory.kinds[2].to(self.device)]

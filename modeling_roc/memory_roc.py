# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The relation memory: descriptions and examples as unit vectors, with the proof of what they were made from."""

import hashlib
import json
import math

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers import initialization as init

from .relation_rows_roc import described_relations, example_labels, pack_relations, relation_entries, unpack_relations

_optimizer_steps = 0


def _count_optimizer_step(*_):
    # Fused optimizers change weights without raising a tensor's version, so their steps are counted here.
    global _optimizer_steps
    _optimizer_steps += 1


register_optimizer_step_post_hook(_count_optimizer_step)


def fingerprint(*parts: torch.Tensor | str) -> torch.Tensor:
    """SHA-256 of tensors (type, shape and bytes) and strings, as (32,) of uint8."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            digest.update(part.encode())
        else:
            digest.update(f"{part.dtype}{tuple(part.shape)}".encode())
            digest.update(part.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8).clone()


def _state(weight: torch.Tensor | str) -> tuple:
    if isinstance(weight, str):
        return (weight,)
    # Tensors made in inference mode have no version.
    return weight.data_ptr(), None if weight.is_inference() else weight._version


class RelationMemory(nn.Module):
    """
    What the model retrieves from. With R descriptions of at most L tokens, and examples of E relations, it holds the
    buffers

    - `input_ids` (R, L) of int32, padded with -1: the model can encode its descriptions without a tokenizer;
    - `embeds` (R + E, embedding_dim) of float32: their unit vectors, then the normalized mean pair vector of each
      relation's examples, which cannot be made anew: texts and pictures are not kept;
    - `made_from` (2, 32) of uint8: fingerprints of the texts, and of the weights with the `embeds` they gave;
    - `examples_made_from` (E, 32) of uint8: fingerprints of the pair encoder's weights with the label and the row
      that they gave (saved where there are examples);
    - `relations` (length,) of uint8: the relation set itself, packed. A checkpoint has it in its config and is saved
      without; an adapter of peft has no such config, and brings its relations along in this;
    - `entries` (num_described, max_entries): which rows belong to which relation (not saved, follows the config);

    and `log_temperature`, a parameter if `config.learn_temperature` is set. Both floats stay in float32, whatever the
    model's type.

    Staleness is decided by content: `embeds` count only while the fingerprint of the weights is the one they were
    made with. Hashing runs when weights may have moved: after an optimizer step, an in-place write, a load, a change
    of mode, type or device.

    Args:
        config ([`RocConfig`]): names relations and descriptions.
        input_ids (R, L): token ids of the descriptions; `None` leaves an empty memory for weights to be loaded into.
    """

    def __init__(self, config, input_ids: torch.Tensor | None = None):
        super().__init__()
        self.config = config
        num_descriptions = sum(map(len, described_relations(config).values()))
        num_rows = num_descriptions + len(example_labels(config))
        empty = torch.full((num_descriptions, config.relation_length), -1, dtype=torch.int32)
        self.register_buffer("input_ids", empty if input_ids is None else input_ids.to(torch.int32))
        self.register_buffer("embeds", torch.zeros(num_rows, config.embedding_dim))
        self.register_buffer("made_from", torch.zeros(2, 32, dtype=torch.uint8))
        self._register_proofs(num_rows - num_descriptions)
        self.register_buffer("relations", pack_relations(config))
        self.register_buffer("entries", relation_entries(config), persistent=False)
        # Here and not in the model, where as its first parameter it would be taken for the model's type.
        if config.learn_temperature:
            self.log_temperature = nn.Parameter(torch.tensor(0.0))
        else:
            self.register_buffer("log_temperature", torch.tensor(0.0))
        # (R, hidden_size): the descriptions before the projection, from the last training step that encoded them.
        self.features = None
        # (R,) of int64: the optimizer step of each, where training encodes some of them only.
        self.encoded_at = None
        # An index to search in, made when it is first asked for; see `search_roc`.
        self.index = None
        # The types that the relations ask for, and which relation asks for which.
        self.kinds = None
        self._seen = self._seen_examples = None
        if input_ids is not None:
            self.made_from[0].copy_(self.text_fingerprint())

    def _register_proofs(self, number: int, device=None):
        empty = torch.zeros(number, 32, dtype=torch.uint8, device=device)
        self.register_buffer("examples_made_from", empty, persistent=number > 0)

    @torch.no_grad()
    def init_values(self):
        """Sets every buffer, as `_init_weights` must: what is not in a checkpoint comes back unset otherwise."""
        init.constant_(self.input_ids, -1)
        init.zeros_(self.embeds)
        init.zeros_(self.made_from)
        init.zeros_(self.examples_made_from)
        init.copy_(self.relations, pack_relations(self.config))
        init.copy_(self.entries, relation_entries(self.config))
        init.constant_(self.log_temperature, math.log(self.config.temperature))

    def pack(self):
        """Brings `relations` up to the config: an adapter is saved with what was measured after its training."""
        self.relations = pack_relations(self.config).to(self.relations.device)

    def text_fingerprint(self) -> torch.Tensor:
        """Of the descriptions' texts and of the token ids that stand for them."""
        return fingerprint(json.dumps(described_relations(self.config), ensure_ascii=False), self.input_ids)

    def has_texts(self) -> bool:
        """Whether the token ids were made from the descriptions that stand in the config."""
        return torch.equal(self.text_fingerprint(), self.made_from[0].cpu())

    def check_texts(self):
        """
        Raises:
            RuntimeError: if the descriptions in the config are not those that the token ids were made from: the
                config was edited by hand, or holds descriptions that were never prepared.
        """
        if not self.has_texts():
            raise RuntimeError(
                "The relation descriptions in the config are not those that this memory was made from. "
                "Call model.set_relations({label: description}, processor) to make it anew."
            )

    def _look_at(self, weights: list[torch.Tensor | str]) -> tuple:
        # Weights that no optimizer may touch are not hashed again for another model's steps.
        steps = _optimizer_steps if any(getattr(weight, "requires_grad", False) for weight in weights) else 0
        return (steps, *map(_state, [*weights, self.embeds]))

    def is_current(self, weights: list[torch.Tensor | str]) -> bool:
        """Whether nothing has touched `weights` or `embeds` since `trust`; costs no hashing."""
        return self._look_at(weights) == self._seen

    def trust(self, weights: list[torch.Tensor | str]):
        """Takes note that `embeds` match `weights` as both are now."""
        self._seen = self._look_at(weights)

    def distrust(self):
        """Makes the next look at the memory a thorough one."""
        self._seen = self._seen_examples = None

    def matches(self, weights: list[torch.Tensor | str]) -> bool:
        """Whether the descriptions' `embeds` are what `weights` (the relation encoder's parameters and buffers) gave,
        by content."""
        return torch.equal(fingerprint(*weights, self.embeds[: len(self.input_ids)]), self.made_from[1].cpu())

    @torch.no_grad()
    def store(self, embeds: torch.Tensor, weights: list[torch.Tensor | str]):
        """Keeps `embeds` (R, embedding_dim) as what `weights` give for the descriptions."""
        self.embeds[: len(embeds)] = embeds
        self.made_from[1].copy_(fingerprint(*weights, self.embeds[: len(embeds)]))

    def prove_examples(self, weights: list[torch.Tensor | str]) -> torch.Tensor:
        """(E, 32) of uint8: what `examples_made_from` must be if `weights` gave the examples' rows."""
        proofs, made_with = torch.zeros(self.examples_made_from.shape, dtype=torch.uint8), fingerprint(*weights)
        rows = self.embeds[len(self.input_ids) :]
        for place, (label, row) in enumerate(zip(example_labels(self.config), rows, strict=True)):
            given = json.dumps([label, self.config.relation_examples[label]], ensure_ascii=False)
            proofs[place] = fingerprint(made_with, given, row)
        return proofs

    def stale_examples(self, weights: list[torch.Tensor | str], thorough: bool = False) -> list[str]:
        """The relations whose examples' rows are not what `weights` give; hashes as little as `is_current` asks for,
        or, if `thorough`, in any case."""
        if not thorough and self._look_at(weights) == self._seen_examples:
            return []
        fits = (self.prove_examples(weights) == self.examples_made_from.cpu()).all(dim=1)
        stale = [label for label, fit in zip(example_labels(self.config), fits.tolist(), strict=True) if not fit]
        self._seen_examples = None if stale else self._look_at(weights)
        return stale

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        if prefix + "relations" in state_dict:
            self._make_room(state_dict[prefix + "relations"], state_dict[prefix + "input_ids"])
        else:
            state_dict[prefix + "relations"] = self.relations
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self._seen = self._seen_examples = self.features = None

    def _make_room(self, relations: torch.Tensor, input_ids: torch.Tensor):
        """Takes over a relation set from elsewhere, with buffers of its size for what belongs to it."""
        unpack_relations(relations, self.config)
        num_examples = len(example_labels(self.config))
        num_rows, self.config.relation_length = len(input_ids) + num_examples, input_ids.shape[1]
        self.entries = relation_entries(self.config).to(self.entries.device)
        if relations.shape != self.relations.shape:
            self.relations = self.relations.new_zeros(relations.shape)
        if input_ids.shape != self.input_ids.shape:
            self.input_ids = self.input_ids.new_zeros(input_ids.shape)
        if num_rows != len(self.embeds):
            self.embeds = self.embeds.new_zeros(num_rows, self.config.embedding_dim)
        if num_examples != len(self.examples_made_from):
            self._register_proofs(num_examples, self.examples_made_from.device)

    def _apply(self, fn, recurse=True):
        # Moves with the model, but is not rounded with it.
        embeds, log_temperature = self.embeds, self.log_temperature.data
        super()._apply(fn, recurse)
        if not embeds.is_meta:
            self.embeds = embeds.to(self.input_ids.device)
            self.log_temperature.data = log_temperature.to(self.input_ids.device)
        self._seen = self._seen_examples = self.features = None
        return self

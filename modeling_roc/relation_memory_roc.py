# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""
The relation memory: descriptions and examples as unit vectors, when they are stale, and how the set is changed.

The relations' order is that of `config.id2label` by number, everywhere.
"""

import copy
import hashlib
import json
import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.utils import logging

from .configuration_roc import MAX_EXAMPLES, MEASURED, read_descriptions
from .peft_roc import copy_in_force, follow_adapter, weights_in_force

EXAMPLE_FIELDS = ("text", "head", "tail", "image", "objects")
# From so many descriptions on, encoding them shows its progress.
LARGE_MEMORY = 1000
# Odd, so that multiplying by it loses nothing: the golden ratio in 64 bits.
SPREAD = -7046029254386353131


# ---- the relations as the config holds them


def described_relations(config) -> dict[str, list[str]]:
    """The relations that the memory has rows of: all but a negative one with a learned threshold."""
    learned = config.negative_relation if config.learn_negative_threshold else None
    labels = (config.id2label[index] for index in sorted(config.id2label))
    texts = config.relation_descriptions
    return {label: texts[label] for label in labels if label in texts and label != learned}


def example_labels(config) -> list[str]:
    """The relations that have examples, in the order of their rows."""
    # Every answer asks: only those that have examples are looked at, not each of many relations.
    return sorted(config.relation_examples, key=config.label2id.__getitem__)


def row_owners(config) -> list[int]:
    """Which relation each row of the memory belongs to; rows of examples come last."""
    described = described_relations(config)
    owners = [config.label2id[label] for label, texts in described.items() for _ in texts]
    return owners + [config.label2id[label] for label in example_labels(config)]


def row_counts(config) -> list[int]:
    """How many rows each relation has."""
    counts = Counter(row_owners(config))
    return [counts[index] for index in range(len(config.id2label))]


def check_relations(relations, with_examples: Collection[str] = ()) -> dict[str, list[str]]:
    """
    Label → list of descriptions, of what a user gave. Labels in `with_examples` may have none.

    Raises:
        ValueError: naming the label, if a label or a description is empty or no string, or if a text stands twice.
    """
    if not isinstance(relations, dict) or not relations:
        raise ValueError(f"relations must be {{label: description}} with at least one relation, got {relations!r}")
    checked, seen = {}, {}
    for label, texts in relations.items():
        if not isinstance(label, str) or not label.strip():
            raise ValueError(f"a relation's label must be a string that is not empty, got {label!r}")
        texts = read_descriptions({label: texts})[label]
        if not (texts or label in with_examples):
            raise ValueError(f"relation {label!r} needs at least one description, got {texts!r}")
        for text in texts:
            if text in seen:
                raise ValueError(f"relations {seen[text]!r} and {label!r} have the same description: {text!r}")
            seen[text] = label
        checked[label] = texts
    return checked


def _config_of(config, relations: dict[str, list[str]], negative_relation: str | None, examples: dict[str, int]):
    """A copy of `config` for another, checked relation set; what was measured of relations that are gone is gone."""
    if negative_relation not in (None, *relations):
        raise ValueError(f"negative_relation {negative_relation!r} is not among the relations")
    other = copy.copy(config)
    other.negative_relation = negative_relation or config.negative_relation
    if other.negative_relation not in relations:
        other.negative_relation = None
    if (relations, examples) != (config.relation_descriptions, config.relation_examples):
        other.abstention_threshold = None  # chosen for other competitors
    for name in ("relation_offsets", "relation_types"):
        # What was said of a relation that is gone would be said of another one by its name.
        kept = {label: value for label, value in (getattr(config, name) or {}).items() if label in relations}
        setattr(other, name, kept or None)
    _name_relations(other, relations, examples)
    if not described_relations(other):
        raise ValueError("a relation set needs at least one relation besides the negative one")
    return other


def _name_relations(config, relations: dict[str, list[str]], examples: dict[str, int]):
    config.relation_descriptions, config.relation_examples = relations, examples
    config.id2label = dict(enumerate(relations))
    config.label2id = {label: index for index, label in config.id2label.items()}


def _pack(config) -> torch.Tensor:
    """The relation set, and what was measured with it, as bytes: (length,) of uint8."""
    content = {"relations": config.relation_descriptions, **{name: getattr(config, name) for name in MEASURED}}
    return torch.tensor(np.frombuffer(json.dumps(content, ensure_ascii=False).encode(), dtype=np.uint8))


def _unpack(packed: torch.Tensor, config):
    """Sets the relations of `config` to those of `_pack`."""
    content = json.loads(packed.cpu().numpy().tobytes())
    for name in MEASURED:
        setattr(config, name, content[name])
    _name_relations(config, content["relations"], content["relation_examples"])


# ---- whether tensors are what they were


def content_proof(tensors: Sequence[torch.Tensor | str]) -> torch.Tensor | None:
    """
    A checksum of tensors (type, shape and bytes, the places of the bytes too) and strings, as (32,) of uint8, taken
    where they lie. `None` where a tensor cannot be read: offloaded, sharded or quantized ones.
    """
    sums, described = [], []
    for tensor in tensors:
        if isinstance(tensor, str):
            described.append(tensor)
            continue
        if type(tensor) not in (torch.Tensor, nn.Parameter) or tensor.is_meta or is_sharded(tensor):
            return None
        described.append(f"{tensor.dtype}{tuple(tensor.shape)}")
        sums.append(_checksum(tensor.detach()))
    one_device = len({value.device for value in sums}) == 1
    values = torch.stack(sums).tolist() if one_device else [value.item() for value in sums]
    digest = hashlib.sha256(json.dumps([described, values]).encode())
    return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8).clone()


def _checksum(tensor: torch.Tensor, width: int = 1024) -> torch.Tensor:
    """A number for a tensor's bytes: as a table of 64-bit words, its sums by row and by column, weighted by place."""
    data = tensor.contiguous().view(-1).view(torch.uint8)
    if data.storage_offset() % 8:
        data = data.clone()
    table = F.pad(data, (0, -len(data) % (8 * width))) if len(data) < 8 * width else data
    rest = len(table) % (8 * width)
    words = table[: len(table) - rest].view(torch.int64).view(-1, width)
    # Of CPU tensors numpy adds up columns several times as fast.
    columns = torch.from_numpy(words.numpy().sum(axis=0)) if on_cpu(words) else words.sum(dim=0)
    total = sum(
        (part * ((torch.arange(len(part), device=part.device) * 2 + 1) * SPREAD)).sum()
        for part in (columns, words.sum(dim=1))
    )
    return total + _checksum(table[len(table) - rest :], width) if rest else total


def glance(tensors: Sequence[torch.Tensor | str]) -> tuple:
    """What shows cheaply that tensors were written to: where they lie, their versions, and on the CPU an element."""
    if any(map(is_sharded, tensors)):
        return ()  # all processes encode anew, or none does: what only one of them sees must not decide it
    return tuple(tensor if isinstance(tensor, str) else _glance(tensor) for tensor in tensors)


def on_cpu(tensor: torch.Tensor) -> bool:
    """Whether its content can be looked at without waiting for an accelerator."""
    return tensor.device.type == "cpu"


def is_sharded(tensor) -> bool:
    """Whether a process holds but a part of it, by FSDP2 (a DTensor) or DeepSpeed's ZeRO."""
    return hasattr(tensor, "device_mesh") or hasattr(tensor, "ds_id")


def _glance(tensor: torch.Tensor) -> tuple:
    if type(tensor) not in (torch.Tensor, nn.Parameter):
        return (id(tensor),)
    # Tensors made in inference mode have no version; fused optimizers and writes through `.data` do not raise it.
    version = None if tensor.is_inference() else tensor._version
    is_read = on_cpu(tensor) and tensor.numel() and tensor.is_contiguous()
    element = tensor.detach().view(-1)[tensor.numel() // 2].item() if is_read else None
    # nan is never equal to itself.
    return tensor.data_ptr(), version, str(element)


# ---- the memory


def relation_logits(
    scores: torch.Tensor, owner: torch.Tensor, counts: torch.Tensor, aggregation: str, one_each: bool = False
) -> torch.Tensor:
    """
    One logit a relation from the scores of its rows.

    Args:
        scores (batch, num_rows): cosine / temperature of each pair with each row of the memory.
        owner (num_rows,): which relation each row belongs to.
        counts (num_relations,): how many rows each relation has.
        aggregation: `"max"` or `"mean"`.
        one_each: whether row i is relation i's only one.

    Returns:
        (batch, num_relations); for a relation without a row 0 (mean) or -inf (max).
    """
    if one_each:
        return scores
    if aggregation == "max":
        empty = scores.new_full((scores.shape[0], counts.shape[0]), float("-inf"))
        return empty.scatter_reduce(1, owner.expand(scores.shape[0], -1), scores, "amax")
    return scores.new_zeros(scores.shape[0], counts.shape[0]).index_add(1, owner, scores) / counts.clamp(min=1)


class RelationMemory(nn.Module):
    """
    What the model retrieves from. With R descriptions of at most L tokens, and examples of E relations, it holds the
    buffers

    - `input_ids` (R, L) of int32, padded with -1: the model can encode its descriptions without a tokenizer;
    - `embeds` (R + E, embedding_dim) of float32: their unit vectors, then the normalized mean pair vector of each
      relation's examples, which cannot be made anew: texts and pictures are not kept;
    - `owner` (R + E,) of int64: which relation each row belongs to (not saved, follows the config);
    - `texts_proof` (32,) of uint8: of the texts and the token ids that stand for them;
    - `proof` (32,) of uint8: of the weights with the descriptions' rows that they gave;
    - `examples_proof` (E, 32) of uint8: of the pair encoder's weights with the label and the row that they gave (saved
      where there are examples);
    - `relations` (length,) of uint8: the relation set itself, packed. A checkpoint has it in its config and is saved
      without; an adapter of peft has no such config, and brings its relations along in this;

    and `log_temperature`, a parameter if `config.learn_temperature` is set. Both floats stay in float32, whatever the
    model's type.

    Args:
        config ([`RocConfig`]): names relations and descriptions.
        input_ids (R, L): token ids of the descriptions; `None` leaves an empty memory for weights to be loaded into.
    """

    def __init__(self, config, input_ids: torch.Tensor | None = None):
        super().__init__()
        self.config = config
        num_descriptions, num_examples = self._sizes()
        empty = torch.full((num_descriptions, config.relation_length), -1)
        self.register_buffer("input_ids", (empty if input_ids is None else input_ids).to(torch.int32))
        self.register_buffer("embeds", torch.zeros(num_descriptions + num_examples, config.embedding_dim))
        self.register_buffer("texts_proof", torch.zeros(32, dtype=torch.uint8))
        self.register_buffer("proof", torch.zeros(32, dtype=torch.uint8))
        self.register_buffer("relations", _pack(config))
        self._register_owners()
        # Here and not in the model, where as its first parameter it would be taken for the model's type.
        if config.learn_temperature:
            self.log_temperature = nn.Parameter(torch.tensor(math.log(config.temperature)))
        else:
            self.register_buffer("log_temperature", torch.tensor(math.log(config.temperature)))
        if input_ids is not None:
            config.relation_length = input_ids.shape[1]
            self.texts_proof.copy_(self._prove_texts())
        # The descriptions' mean token vectors (R, hidden_size), for as long as the center is still that of all.
        self.features = None
        self._forget()

    def _sizes(self) -> tuple[int, int]:
        return sum(map(len, described_relations(self.config).values())), len(self.config.relation_examples)

    def _register_owners(self, device=None):
        owner, counts = row_owners(self.config), row_counts(self.config)
        self.one_each = owner == list(range(len(counts)))
        self.owners = owner  # where they are read without waiting for a device
        self.register_buffer("owner", torch.tensor(owner, dtype=torch.long, device=device), persistent=False)
        self.register_buffer("counts", torch.tensor(counts, dtype=torch.long, device=device), persistent=False)
        number = len(self.config.relation_examples)
        proofs = torch.zeros(number, 32, dtype=torch.uint8, device=device)
        self.register_buffer("examples_proof", proofs, persistent=number > 0)

    def _forget(self):
        # What the weights and the rows looked like when they were last known to belong together.
        self.seen = self.seen_examples = None
        self.texts_are_checked = False
        # Another object where what was known of the rows no longer holds.
        self.generation = object()
        # Made when they are first asked for: how long the descriptions are, and, see `search_roc`, an index, and what
        # types the relations ask for.
        self._lengths = self.index = self.types = None

    def lengths(self) -> list[int]:
        """Tokens of each description; a device is waited for the first time alone."""
        if self._lengths is None:
            self._lengths = (self.input_ids >= 0).sum(dim=1).tolist()
        return self._lengths

    @torch.no_grad()
    def init_values(self):
        """Sets every buffer, as `_init_weights` must: what is not in a checkpoint comes back unset otherwise."""
        init.constant_(self.input_ids, -1)
        for buffer in (self.embeds, self.texts_proof, self.proof, self.examples_proof):
            init.zeros_(buffer)
        init.copy_(self.owner, torch.tensor(row_owners(self.config), dtype=torch.long))
        init.copy_(self.counts, torch.tensor(row_counts(self.config), dtype=torch.long))
        init.copy_(self.relations, _pack(self.config))
        init.constant_(self.log_temperature, math.log(self.config.temperature))

    def forward(
        self,
        pair_embeds: torch.Tensor,
        embeds: torch.Tensor | None = None,
        threshold: torch.Tensor | None = None,
        offsets: Mapping[str, float] | None = None,
    ) -> torch.Tensor:
        """
        Compares pairs with the relations.

        Args:
            pair_embeds (batch, embedding_dim): unit vectors.
            embeds (num_rows, embedding_dim): the rows, in training. Default: `self.embeds`.
            threshold (batch, 1): the negative relation's logits, where they are learned.
            offsets: label → what is added to the relation's logit; labels that are not here are passed over.

        Returns:
            (batch, num_relations) of float32: cosine / temperature, aggregated, with the offsets.
        """
        embeds = self.embeds if embeds is None else embeds.to(self.embeds.device)
        scores = pair_embeds.to(embeds.device) @ embeds.T / self.log_temperature.exp()
        logits = relation_logits(scores, self.owner, self.counts, self.config.relation_aggregation, self.one_each)
        known = self.config.label2id
        added = {known[label]: value for label, value in (offsets or {}).items() if label in known}
        if added:
            shift = torch.zeros(logits.shape[1])
            shift[list(added)] = torch.tensor(list(added.values()))
            logits = logits + shift.to(logits.device)
        if threshold is not None:
            place = known[self.config.negative_relation]
            threshold = threshold.to(logits.device)
            logits = torch.cat([logits[:, :place], threshold, logits[:, place + 1 :]], dim=1)
        return logits

    def rows_of(self, relation: int) -> list[int]:
        """A relation's rows: its descriptions' in order, then that of its examples; none if its score is learned."""
        rows = []
        for part in ((0, len(self.input_ids)), (len(self.input_ids), len(self.owners))):
            rows += range(bisect_left(self.owners, relation, *part), bisect_right(self.owners, relation, *part))
        return rows

    # ---- what the rows were made from

    def _prove_texts(self) -> torch.Tensor:
        texts = json.dumps(list(described_relations(self.config).items()), ensure_ascii=False)
        return content_proof([texts, self.input_ids])

    def has_texts(self) -> bool:
        """Whether the token ids were made from the descriptions that stand in the config."""
        return torch.equal(self._prove_texts(), self.texts_proof.cpu())

    def check_texts(self):
        """
        Raises:
            RuntimeError: if the descriptions in the config are not those that the token ids were made from: the
                config was edited by hand, or holds descriptions that were never prepared.
        """
        if not self.texts_are_checked and not self.has_texts():
            raise RuntimeError(
                "The relation descriptions in the config are not those that this memory was made from. "
                "Call model.set_relations({label: description}, processor) to make it anew."
            )
        self.texts_are_checked = True

    def _prove(self, weights: Sequence[torch.Tensor | str]) -> torch.Tensor | None:
        return content_proof([*weights, self.embeds[: len(self.input_ids)]])

    def matches(self, weights: Sequence[torch.Tensor | str]) -> bool:
        """Whether the descriptions' rows are what `weights` (the relation encoder's) gave, by content."""
        proof = self._prove(weights)
        return proof is not None and torch.equal(proof, self.proof.cpu())

    @torch.no_grad()
    def trust(self, weights: Sequence[torch.Tensor | str]):
        """Takes note that `weights` gave the descriptions' rows as they are."""
        proof = self._prove(weights)
        self.proof.copy_(torch.zeros_like(self.proof) if proof is None else proof)

    def prove_examples(self, weights: Sequence[torch.Tensor | str]) -> torch.Tensor:
        """(E, 32) of uint8: what `examples_proof` is if `weights` (the pair encoder's) gave the examples' rows."""
        proofs = torch.zeros(self.examples_proof.shape, dtype=torch.uint8)
        made_with = content_proof(weights)
        if made_with is None:
            return proofs
        for place, label in enumerate(example_labels(self.config)):
            given = json.dumps([label, self.config.relation_examples[label]], ensure_ascii=False)
            row = self.embeds[len(self.input_ids) + place]
            proofs[place] = content_proof([str(made_with.tolist()), given, row])
        return proofs

    def stale_examples(self, weights: Sequence[torch.Tensor | str]) -> list[str]:
        """The relations whose examples' rows are not what `weights` give."""
        proofs = self.prove_examples(weights)
        fits = (proofs == self.examples_proof.cpu()).all(dim=1) & proofs.any(dim=1)
        return [label for label, fit in zip(example_labels(self.config), fits.tolist(), strict=True) if not fit]

    # ---- loading and moving

    def _save_to_state_dict(self, *args, **kwargs):
        # What was measured or said of the relations since they were set goes along.
        self.relations = _pack(self.config).to(self.relations.device)
        super()._save_to_state_dict(*args, **kwargs)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        if prefix + "relations" in state_dict:
            self._make_room(state_dict[prefix + "relations"], state_dict[prefix + "input_ids"])
        else:
            state_dict[prefix + "relations"] = self.relations
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self.features = None
        self._forget()

    def _make_room(self, relations: torch.Tensor, input_ids: torch.Tensor):
        """Takes over a relation set from elsewhere, with buffers of its size for what belongs to it."""
        device = self.owner.device
        _unpack(relations, self.config)
        self.config.relation_length = input_ids.shape[1]
        self._register_owners(device)
        self.relations = self.relations.new_zeros(relations.shape)
        self.input_ids = self.input_ids.new_zeros(input_ids.shape)
        self.embeds = self.embeds.new_zeros(sum(self._sizes()), self.config.embedding_dim)

    def _apply(self, fn, recurse=True):
        # Moves with the model, but is not rounded with it.
        embeds, log_temperature = self.embeds, self.log_temperature.data
        super()._apply(fn, recurse)
        if not embeds.is_meta:
            self.embeds = embeds.to(self.input_ids.device)
            self.log_temperature.data = log_temperature.to(self.input_ids.device)
        self._forget()
        return self

    def __getstate__(self):
        # An index of faiss is neither copied nor pickled; it is made again when it is asked for.
        return {**self.__dict__, "index": None, "seen": None, "seen_examples": None}


# ---- over a model: keeping its memory true, and making others


@torch.compiler.disable  # looks at where tensors lie and at what is in them
def refresh_memory(model, memory: RelationMemory | None = None):
    """See [`RocModel.refresh_memory`]."""
    follow_adapter(model)
    own = copy_in_force(model.memory)
    memory = own if memory is None else memory
    if model.device.type != "meta" and (memory.embeds.is_meta or model.relation_encoder.center.is_meta):
        raise RuntimeError(
            "The relation memory is offloaded, and cannot be kept true: open the model without offload_buffers=True"
        )
    _hold_temperature(memory)
    if memory is not own and memory.embeds.device != model.device:
        memory.to(model.device)
    _refresh_descriptions(model, memory)
    copy_in_force(model.memory).features = None  # an answer has been given with the center as it is
    if not memory.config.relation_examples:
        return
    weights = _pair_weights(model)
    seen = (model.weights_stamp, glance([*weights, memory.embeds]))
    if memory.seen_examples == seen:
        return
    if stale := memory.stale_examples(weights):
        raise RuntimeError(
            f"the examples of {', '.join(map(repr, stale))} were encoded with other weights than the model has "
            "now (training, another dtype or another adapter changes them), and are not kept: remove these "
            "relations by model.remove_relation(label, processor) and add them again with their examples, or go "
            "back to the weights that they were added with"
        )
    memory.seen_examples = seen


def _hold_temperature(memory: RelationMemory):
    """Takes a learned temperature out of offloading: it is read outside the memory's forward, and handed on."""
    if memory.log_temperature.is_meta and hasattr(memory, "_hf_hook"):
        from accelerate.hooks import remove_hook_from_module
        from accelerate.utils import align_module_device

        with align_module_device(memory):
            value = memory.log_temperature.detach().clone()
        remove_hook_from_module(memory)
        memory.log_temperature = nn.Parameter(value)


def _refresh_descriptions(model, memory: RelationMemory):
    weights = _relation_weights(model)
    if model.weights_stamp is None:
        model.weights_stamp = object()
    if memory.seen == (model.weights_stamp, glance([*weights, memory.embeds])):
        return
    memory.check_texts()
    if not memory.matches(weights):
        memory.features = None
        features = encode_descriptions(model, memory.input_ids)
        with torch.inference_mode(False), torch.no_grad():
            memory.embeds[: len(features)] = model.relation_encoder.project(features)
            memory.trust(weights)
    memory.seen = (model.weights_stamp, glance([*weights, memory.embeds]))


def _relation_weights(model) -> list[torch.Tensor | str]:
    """Everything that a description's vector depends on, besides its text."""
    modules = [model.relation_encoder]
    if model.relation_encoder.text_encoder is None:
        modules.append(model.pair_encoder.text_encoder)
    return [weight for module in modules for weight in weights_in_force(module)]


def _pair_weights(model) -> list[torch.Tensor | str]:
    """Everything that a pair's vector depends on, besides the pair."""
    modules = [model.pair_encoder, model.pair_projection]
    weights = [f"pool_mentions {model.config.pool_mentions}, text_similarity {model.config.text_similarity}"]
    if model.config.text_similarity:
        encoder = copy_in_force(model.relation_encoder)
        weights.append(encoder.text_center)
        modules += [] if encoder.text_encoder is None else [encoder.text_encoder]
    return [*(weight for module in modules for weight in weights_in_force(module)), *weights]


def encode_descriptions(model, input_ids: torch.Tensor, batch_size: int = 64) -> torch.Tensor:
    """
    Mean token vectors of descriptions, without gradient, dropout or autocast, those of like length together.

    Args:
        model: the [`RocModel`].
        input_ids (num, length): rows of [`RelationMemory`]'s.

    Returns:
        (num, hidden_size).
    """
    center, features = model.relation_encoder.center, []
    if not len(input_ids):
        return center.new_zeros(0, len(center))
    order = (input_ids >= 0).sum(dim=1).argsort()
    if hasattr(model, "unshard"):
        model.unshard()  # FSDP2 gathers what is in no layer within a model's own forward alone
    # Not in inference mode either: what is made there cannot be written to later.
    with torch.inference_mode(False), torch.no_grad(), evaluating(model), full_precision(center):
        quiet = len(order) < LARGE_MEMORY
        for rows in logging.tqdm(order.split(batch_size), desc="Encoding descriptions", disable=quiet):
            features.append(model.description_features(input_ids[rows].to(model.device)))
        return torch.cat(features)[order.argsort().to(model.device)]


def make_memory(
    model,
    relations: dict[str, str | list[str]],
    processor,
    negative_relation: str | None = None,
    examples: Mapping[str, torch.Tensor | None] | None = None,
    decide_center: bool = False,
) -> RelationMemory:
    """
    A memory of another relation set, with a config of its own; `model` stays as it is but for `decide_center`.

    Args:
        model: the [`RocModel`]. Descriptions that its memory holds already are not encoded again.
        relations, processor, negative_relation: as for [`RocModel.set_relations`].
        examples: label → pair vectors (num_examples, embedding_dim) of examples, made with the weights as they are;
            `None` for a relation that keeps its examples' row as it is in the model's memory.
        decide_center: whether the first descriptions of a model, two or more, decide its center.

    Raises:
        ValueError: as for [`RocModel.set_relations`].
    """
    own, examples = copy_in_force(model.memory), examples or {}
    numbers = {
        label: model.config.relation_examples[label] if embeds is None else len(embeds)
        for label, embeds in examples.items()
    }
    config = _config_of(model.config, check_relations(relations, numbers), negative_relation, numbers)
    ids = torch.zeros(0, 1, dtype=torch.long)
    described = [(label, text) for label, texts in described_relations(config).items() for text in texts]
    if described:
        encoded = processor(relations=[text for _, text in described], return_tensors="pt")
        ids = encoded["relation_input_ids"].masked_fill(encoded["relation_attention_mask"] == 0, -1)
    seen = {}
    for row, (label, text) in zip(_token_rows(ids), described, strict=True):
        other, same = seen.setdefault(row, (label, text))
        if same is not text:
            raise ValueError(
                f"relations {other!r} and {label!r} have descriptions that are one to the tokenizer: {same!r} "
                f"and {text!r}"
            )
    with torch.inference_mode(False), torch.no_grad():
        memory = RelationMemory(config, ids).to(model.device)
        _hold_temperature(own)
        memory.log_temperature = own.log_temperature
        _fill_descriptions(model, own, memory, decide_center)
        _fill_examples(model, own, memory, examples)
    return memory


def _fill_descriptions(model, own: RelationMemory, memory: RelationMemory, decide_center: bool):
    rows, known = _token_rows(memory.input_ids), {}
    if len(own.input_ids) and own.has_texts():
        _refresh_descriptions(model, own)
        known = {row: index for index, row in enumerate(_token_rows(own.input_ids))}
    encoder = copy_in_force(model.relation_encoder)
    follows = decide_center and model.config.center_descriptions
    follows &= own.features is not None or not encoder.center.any()
    if not decide_center:
        own.features = None  # the other memory's answers depend on the center as it is
    if follows and own.features is None:
        known = {}
    new = [index for index, row in enumerate(rows) if row not in known]
    kept = [index for index, row in enumerate(rows) if row in known]
    places = [known[rows[index]] for index in kept]
    features = encode_descriptions(model, memory.input_ids[new])
    if follows:
        memory.features = features.new_zeros(len(rows), features.shape[1])
        memory.features[new] = features
        if kept:
            memory.features[kept] = own.features[places].to(features)
        _center(encoder, memory.features)
        memory.embeds[: len(rows)] = encoder.project(memory.features)
    else:
        memory.embeds[new] = encoder.project(features)
        memory.embeds[kept] = own.embeds[places].to(memory.embeds.device)
    memory.trust(_relation_weights(model))


def _center(encoder, features: torch.Tensor):
    """Takes the mean of all descriptions for the center; that of a single one would leave nothing of it."""
    mean = features.float().mean(dim=0)
    encoder.center = mean if len(features) > 1 else torch.zeros_like(mean)


def _token_rows(input_ids: torch.Tensor) -> list[tuple[int, ...]]:
    """Token ids of each description without padding: what a description is to the encoder."""
    return [tuple(token for token in row if token >= 0) for row in input_ids.tolist()]


def _fill_examples(model, own: RelationMemory, memory: RelationMemory, examples: Mapping[str, torch.Tensor | None]):
    places = {label: place for place, label in enumerate(example_labels(memory.config))}
    rows, kept = memory.embeds[len(memory.input_ids) :], example_labels(own.config)
    for label, embeds in examples.items():
        if embeds is not None:
            rows[places[label]] = F.normalize(embeds.float().mean(dim=0), dim=0)
    if any(embeds is not None for embeds in examples.values()):
        memory.examples_proof.copy_(memory.prove_examples(_pair_weights(model)))
    for label, embeds in examples.items():
        if embeds is None:
            rows[places[label]] = own.embeds[len(own.input_ids) + kept.index(label)]
            memory.examples_proof[places[label]] = own.examples_proof[kept.index(label)]


def read_examples(label: str, examples: Sequence[Mapping]) -> dict[str, list]:
    """
    A relation's examples as columns for the processor.

    Raises:
        ValueError: naming the relation, and the example by its number from 0, if there are none or too many, or one
            is no dict with text, head and tail, or has other fields than these, image and objects.
    """
    where = f"relation {label!r}"
    if not isinstance(examples, (list, tuple)):
        raise ValueError(f"{where}: examples must be a list of dicts, got {type(examples).__name__}")
    if not 1 <= len(examples) <= MAX_EXAMPLES:
        raise ValueError(f"{where}: give 1 to {MAX_EXAMPLES} examples, got {len(examples)}")
    for i, example in enumerate(examples):
        if not isinstance(example, Mapping):
            raise ValueError(f"{where}: example {i} must be a dict, got {type(example).__name__}")
        if unknown := example.keys() - set(EXAMPLE_FIELDS):
            known = ", ".join(EXAMPLE_FIELDS)
            raise ValueError(f"{where}: example {i} has unknown fields {sorted(map(str, unknown))}; known are {known}")
        if missing := [name for name in ("text", "head", "tail") if example.get(name) is None]:
            raise ValueError(f"{where}: example {i}: {missing[0]} is missing")
        for name in ("head", "tail"):
            if not isinstance(example[name], (Mapping, str, list, tuple)):
                raise ValueError(f"{where}: example {i}: {name} must be a dict, got {type(example[name]).__name__}")
    columns = {name: [example.get(name) for example in examples] for name in EXAMPLE_FIELDS}
    return {"images" if name == "image" else name: values for name, values in columns.items()}


def full_precision(tensor: torch.Tensor):
    """No autocast: at a temperature of 0.05, bfloat16 would round logits to a tenth."""
    return torch.autocast(tensor.device.type, enabled=False)


@contextmanager
def evaluating(module: nn.Module):
    """Without dropout; afterwards every part is in the mode it was in."""
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True

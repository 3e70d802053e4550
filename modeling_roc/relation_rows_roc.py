# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The relations as the config holds them: which rows of the memory are theirs, and how they travel as a tensor."""

import json

import numpy as np
import torch
from torch import nn


def described_relations(config) -> dict[str, list[str]]:
    """The relations that the memory has rows of: all but a negative one with a learned threshold."""
    learned = config.negative_relation if config.learn_negative_threshold else None
    return {label: texts for label, texts in config.relation_descriptions.items() if label != learned}


def example_labels(config) -> list[str]:
    """The relations that have examples, in the order of their rows."""
    # Every answer asks: only those that have examples are looked at, not each of many relations.
    return sorted(config.relation_examples, key=config.label2id.__getitem__)


def described_places(config, device=None) -> torch.Tensor:
    """(num_described,) of int64: the described relations' places among all, which are those of the logits."""
    places = torch.arange(len(config.relation_descriptions), device=device)
    if config.learn_negative_threshold and config.negative_relation is not None:
        places = places[places != config.label2id[config.negative_relation]]
    return places


def relation_offsets(offsets: dict | None, config, device=None) -> torch.Tensor | None:
    """(num_described,) of float32: what `offsets`, by label, add to each described relation's logit, if anything."""
    given = {label: value for label, value in (offsets or {}).items() if label in config.label2id}
    if not given:
        return None
    added = torch.zeros(len(config.relation_descriptions))
    for label, value in given.items():
        added[config.label2id[label]] = value
    return added.to(device)[described_places(config, device)]


def relation_entries(config) -> torch.Tensor:
    """(num_described, max_entries) of int64: the memory's rows of each described relation, padded with -1. Those of
    its descriptions come first, then that of its examples."""
    described = described_relations(config)
    table, next_row, next_example = [], 0, sum(map(len, described.values()))
    for label, texts in described.items():
        rows = torch.arange(next_row, next_row + len(texts))
        next_row += len(texts)
        if label in config.relation_examples:
            rows = torch.cat([rows, torch.tensor([next_example])])
            next_example += 1
        table.append(rows)
    if not table:
        return torch.zeros(0, 1, dtype=torch.long)
    return nn.utils.rnn.pad_sequence(table, batch_first=True, padding_value=-1)


PACKED = (
    "negative_relation", "calibration_temperature", "abstention_threshold", "relation_offsets", "relation_types",
    "relation_examples",
)  # fmt: skip


def pack_relations(config) -> torch.Tensor:
    """The relations with their descriptions, in the logits' order, and what was measured with them, as bytes:
    (length,) of uint8."""
    content = {"relations": config.relation_descriptions, **{name: getattr(config, name) for name in PACKED}}
    return torch.tensor(np.frombuffer(json.dumps(content, ensure_ascii=False).encode(), dtype=np.uint8))


def unpack_relations(packed: torch.Tensor, config):
    """Sets the relations of `config` to those of `pack_relations`."""
    content = json.loads(packed.cpu().numpy().tobytes())
    config.relation_descriptions = content["relations"]
    config.id2label = dict(enumerate(content["relations"]))
    config.label2id = {label: index for index, label in config.id2label.items()}
    content.setdefault("relation_examples", {})  # adapters of before there were any
    for name in PACKED:
        setattr(config, name, content[name])

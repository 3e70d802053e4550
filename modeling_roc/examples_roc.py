# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""
Relations that are known by a few examples: the normalized mean of their pair vectors is a row of the memory.

The mean of a class's few embedded examples as its prototype: Snell, Swersky and Zemel, Prototypical Networks for
Few-shot Learning, NeurIPS 2017.
"""

from collections.abc import Mapping, Sequence

import torch
from torch.nn import functional as F

from .adapted_roc import weights_in_force
from .configuration_roc import MAX_EXAMPLES
from .memory_roc import RelationMemory
from .relation_rows_roc import example_labels

FIELDS = ("text", "head", "tail", "image", "objects")
PAIR_ENCODER = (
    "text_encoder", "vision_encoder", "vision_projection", "object_embedding", "fusion", "pair_fusion",
    "pair_projection",
)  # fmt: skip


class ExamplesMixin:
    """For [`RocModel`]. Unlike descriptions, examples are not kept: their row is right for the weights that it was
    made with, and is never used with others."""

    def _pair_weights(self) -> list[torch.Tensor | str]:
        """Everything that a pair's vector depends on, besides the pair."""
        modules = [getattr(self, name, None) for name in PAIR_ENCODER]
        settings = f"pool_mentions {self.config.pool_mentions}, text_similarity {self.config.text_similarity}"
        centers = []
        if self.compares_texts:
            modules.append(self.relation_encoder)
            centers.append(self.text_center)
        weights = [weight for module in modules if module is not None for weight in weights_in_force(module)]
        return [*weights, *centers, settings]

    def check_examples(self, memory: RelationMemory):
        """
        Raises:
            RuntimeError: naming the relations whose examples were encoded with other weights than the model has now:
                it was trained since, or loaded in another `dtype`, or an adapter was switched.
        """
        if not example_labels(memory.config):
            return
        if stale := memory.stale_examples(self._pair_weights(), thorough=self.training):
            raise RuntimeError(
                f"the examples of {', '.join(map(repr, stale))} were encoded with other weights than the model has "
                "now (training, another dtype or another adapter changes them), and are not kept: remove these "
                "relations by model.remove_relation(label, processor) and add them again with their examples, or go "
                "back to the weights that they were added with"
            )

    def check_trainable(self):
        """
        Raises:
            ValueError: in training mode with gradient, if relations have examples: after a step they would be stale.
                Without gradient too where the mean of the texts moves (`config.text_similarity`).
        """
        if not self.training or self.config.objective != "retrieval":
            return
        if (torch.is_grad_enabled() or self.compares_texts) and (labels := example_labels(self.memory.config)):
            raise ValueError(
                f"training changes the weights that the examples of {', '.join(map(repr, labels))} were encoded with: "
                "take these relations out first by model.remove_relation(label, processor), and add them after it"
            )

    def _encode_examples(self, label: str, examples: Sequence[Mapping], processor) -> torch.Tensor:
        """(num_examples, embedding_dim): unit vectors of a relation's examples, as a user gave them."""
        columns = read_examples(label, examples)
        try:
            return self.encode_pairs(**processor(**columns, return_tensors="pt"))
        except (TypeError, ValueError) as error:
            raise ValueError(f"relation {label!r}: {error}") from error

    @torch.no_grad()
    def _fill_examples(self, memory: RelationMemory, example_embeds: Mapping[str, torch.Tensor]):
        """
        Puts the examples' rows into a new `memory`.

        Args:
            memory: whose descriptions are in place.
            example_embeds: label → pair vectors (num_examples, embedding_dim), made with the weights as they are. The
                other relations' rows are those of the model's own memory, with what they were made from.
        """
        labels, kept = example_labels(memory.config), example_labels(self.memory.config)
        if not labels:
            return
        rows, own = memory.embeds[len(memory.input_ids) :], self.memory.embeds[len(self.memory.input_ids) :]
        for place, label in enumerate(labels):
            if label in example_embeds:
                rows[place] = F.normalize(example_embeds[label].float().mean(dim=0), dim=0)
            else:
                rows[place] = own[kept.index(label)]
                memory.examples_made_from[place] = self.memory.examples_made_from[kept.index(label)]
        if example_embeds:
            proofs = memory.prove_examples(self._pair_weights()).to(rows.device)
            new = [place for place, label in enumerate(labels) if label in example_embeds]
            memory.examples_made_from[new] = proofs[new]


def read_examples(label: str, examples: Sequence[Mapping]) -> dict[str, list]:
    """
    Examples as columns for the processor.

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
        if unknown := example.keys() - set(FIELDS):
            raise ValueError(
                f"{where}: example {i} has unknown fields {sorted(map(str, unknown))}; known are {', '.join(FIELDS)}"
            )
        if missing := [name for name in ("text", "head", "tail") if example.get(name) is None]:
            raise ValueError(f"{where}: example {i}: {missing[0]} is missing")
        for name in ("head", "tail"):
            if not isinstance(example[name], Mapping):
                raise ValueError(f"{where}: example {i}: {name} must be a dict, got {type(example[name]).__name__}")
    columns = {name: [example.get(name) for example in examples] for name in FIELDS}
    return {"images" if name == "image" else name: values for name, values in columns.items()}

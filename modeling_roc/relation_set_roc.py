# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Changing the set of relations: another one, one more, one less; nothing is trained for it."""

import copy

import torch

from .adapted_roc import RELATION_FIELDS, replace_copy_in_force
from .memory_roc import RelationMemory
from .relation_rows_roc import described_relations


def check_relations(relations, with_examples=()) -> dict[str, list[str]]:
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
        texts = [texts] if isinstance(texts, str) else texts
        if (
            not isinstance(texts, (list, tuple))
            or not (texts or label in with_examples)
            or not all(isinstance(t, str) and t.strip() for t in texts)
        ):
            raise ValueError(f"relation {label!r} needs at least one description that is not empty, got {texts!r}")
        for text in texts:
            if text in seen:
                raise ValueError(f"relations {seen[text]!r} and {label!r} have the same description: {text!r}")
            seen[text] = label
        checked[label] = list(texts)
    return checked


def token_rows(input_ids: torch.Tensor) -> list[tuple[int, ...]]:
    """Token ids of each description without padding: what a description is to the encoder."""
    return [tuple(token for token in row if token >= 0) for row in input_ids.tolist()]


class RelationSetMixin:
    """For [`RocModel`], which encodes descriptions and examples and has the memory that these methods replace."""

    def make_relation_memory(
        self, relations: dict[str, str | list[str]], processor, negative_relation: str | None = None
    ) -> RelationMemory:
        """
        A memory of another relation set, to be given to [`RocModel.forward`]: its answers are those that the model
        would give after [`RocModel.set_relations`], and the model stays as it is. Descriptions that are in the model's
        own memory already are not encoded again.

        Args, Raises: as for `set_relations`; ValueError also for a model that has no relations of its own yet.
        """
        if self.config.objective == "retrieval" and not self.config.id2label:
            raise ValueError("the model has no relations of its own yet: call model.set_relations first")
        memory = self._tokenize_relations(relations, processor, negative_relation)
        self._fill_memory(memory)
        return memory

    def set_relations(self, relations: dict[str, str | list[str]], processor, negative_relation: str | None = None):
        """
        Replaces the relation set: `id2label`, `label2id`, config and memory follow, nothing is trained. Descriptions
        that are in the memory already are not encoded again; examples go with the set that they belong to. The first
        two or more descriptions that a model has also decide `relation_center`, the mean that is taken off every
        description's vector from then on. `config.abstention_threshold` was chosen for the relations that
        were there, and is forgotten with them; so are offsets and types of those that are there no longer.

        Args:
            relations: label → its description or descriptions.
            processor: the model's [`RocProcessor`], which tokenises the descriptions.
            negative_relation: the label that means "no relation". Default: `config.negative_relation` if it is among
                the relations.

        Raises:
            ValueError: for an empty set, an empty label or description, one text for two relations (nothing could
                tell them apart), a `negative_relation` that is not in the set, or a model with
                `objective="classification"`.
        """
        self._replace_relations(relations, processor, negative_relation, {})

    def _replace_relations(self, relations, processor, negative_relation, example_embeds, kept_examples=()):
        """
        `set_relations`, with examples.

        Args:
            relations: as for `set_relations`; descriptions may be missing where there are examples.
            example_embeds: label → pair vectors (num_examples, embedding_dim) of new examples, 1 to 16.
            kept_examples: labels that keep their examples' row as it is.
        """
        examples = {label: self.config.relation_examples[label] for label in kept_examples}
        examples |= {label: len(embeds) for label, embeds in example_embeds.items()}
        memory = self._tokenize_relations(relations, processor, negative_relation, examples)
        self._fill_memory(memory, decide_center=True)
        self._fill_examples(memory, example_embeds)
        # Nothing has been replaced so far: what was refused above leaves the model as it was.
        for name in RELATION_FIELDS:
            setattr(self.config, name, getattr(memory.config, name))
        memory.config = self.config
        memory.log_temperature = self.memory.log_temperature
        replace_copy_in_force(self, "memory", memory)

    def _tokenize_relations(
        self, relations, processor, negative_relation: str | None, examples: dict[str, int] | None = None
    ) -> RelationMemory:
        """A memory with the texts of a checked relation set, and without their vectors."""
        self._refuse_fixed_set()
        self.follow_adapter()
        examples = examples or {}
        relations = check_relations(relations, examples)
        if negative_relation not in (None, *relations):
            raise ValueError(f"negative_relation {negative_relation!r} is not among the relations")
        config = copy.copy(self.config)
        config.negative_relation = negative_relation or self.config.negative_relation
        if config.negative_relation not in relations:
            config.negative_relation = None
        if (relations, examples) != (self.config.relation_descriptions, self.config.relation_examples):
            config.abstention_threshold = None  # chosen for other competitors
        config.relation_descriptions, config.relation_examples = relations, examples
        for name in ("relation_offsets", "relation_types"):
            # What was said of a relation that is gone would be said of another one by its name.
            kept = {label: value for label, value in (getattr(config, name) or {}).items() if label in relations}
            setattr(config, name, kept or None)
        config.id2label = dict(enumerate(relations))
        config.label2id = {label: index for index, label in enumerate(relations)}
        described = described_relations(config)
        if not described:
            raise ValueError("a relation set needs at least one relation besides the negative one")
        ids = torch.zeros(0, 1, dtype=torch.long)
        if texts := [text for texts in described.values() for text in texts]:
            encoded = processor(relations=texts, return_tensors="pt")
            ids = encoded["relation_input_ids"].masked_fill(encoded["relation_attention_mask"] == 0, -1)
        config.relation_length = ids.shape[1]
        with torch.inference_mode(False), torch.no_grad():
            return RelationMemory(config, ids).to(self.device)

    def _fill_memory(self, memory: RelationMemory, decide_center: bool = False):
        """Puts the descriptions' vectors into `memory`; encodes those that the model's own memory does not hold."""
        known = {}
        if len(self.memory.input_ids) and self.memory.has_texts():
            self._refresh_descriptions(self.memory)
            known = {row: index for index, row in enumerate(token_rows(self.memory.input_ids))}
        rows = token_rows(memory.input_ids)
        decide_center = decide_center and len(rows) > 1 and not self.relation_center.any()
        if decide_center:
            known = {}  # of all descriptions, those too that were added one at a time
        new = [index for index, row in enumerate(rows) if row not in known]
        with torch.inference_mode(False), torch.no_grad():
            embeds = torch.zeros(len(rows), self.config.embedding_dim, device=self.device)
            if new:
                features = self._encode_in_batches(memory.input_ids[new])
                if decide_center:
                    self.relation_center = features.mean(dim=0).to(self.relation_center)
                embeds[new] = self._project_relations(features)
            if kept := [index for index, row in enumerate(rows) if row in known]:
                embeds[kept] = self.memory.embeds[[known[rows[index]] for index in kept]]
            memory.store(embeds, self._relation_weights())

    def add_relation(
        self,
        label: str,
        descriptions: str | list[str] | None = None,
        processor=None,
        negative: bool = False,
        examples: list[dict] | None = None,
    ):
        """
        Adds one relation, described or shown by examples or both, to be retrieved at once; the others stay as they
        are. See [`RocModel.set_relations`].

        Args:
            label: the relation's label. One that is there already takes examples alone, beside its descriptions.
            descriptions: its description or descriptions; may be left out where there are examples.
            processor: the model's [`RocProcessor`], which prepares both.
            negative: whether the label means "no relation".
            examples: 1 to 16 pairs that have the relation, each a dict with `text`, `head` and `tail`, and optionally
                `image` (a PIL picture, a path or the bytes of a picture file) and `objects`, as the processor takes
                them. The normalized mean of their pair vectors stands beside the descriptions' vectors, as if it were
                one more. It is right for the weights as they are now, and for no others: add examples after training.

        Raises:
            ValueError: if the label is there already, and has examples or is given descriptions; if neither
                descriptions nor examples are given, or no processor; for examples that are not as above, naming the
                relation and the example's number from 0; for examples of a negative relation that is scored by a
                learned threshold.
        """
        self._refuse_fixed_set()
        self.follow_adapter()
        relations = self.config.relation_descriptions
        if label in relations and (descriptions is not None or label in self.config.relation_examples):
            raise ValueError(f"relation {label!r} is there already; remove it first")
        if descriptions is None and examples is None:
            raise ValueError(f"relation {label!r} needs descriptions, or examples, or both")
        if processor is None:
            raise ValueError(f"relation {label!r}: give the model's processor, which prepares what describes it")
        example_embeds = {}
        if examples is not None:
            negative = negative or label == self.config.negative_relation
            if negative and self.config.learn_negative_threshold:
                raise ValueError(f"relation {label!r} is scored by a learned threshold, and not by examples")
            example_embeds[label] = self._encode_examples(label, examples, processor)
        self._replace_relations(
            {**relations, label: relations.get(label, []) if descriptions is None else descriptions},
            processor,
            label if negative else None,
            example_embeds,
            kept_examples=self.config.relation_examples,
        )

    def remove_relation(self, label: str, processor):
        """
        Takes one relation out; the others stay as they are. See [`RocModel.set_relations`].

        Raises:
            ValueError: if there is no such relation, or for a model with `objective="classification"`.
        """
        self._refuse_fixed_set()
        self.follow_adapter()
        if label not in self.config.relation_descriptions:
            raise ValueError(f"no relation {label!r}; there are {', '.join(self.config.relation_descriptions)}")
        rest = {name: texts for name, texts in self.config.relation_descriptions.items() if name != label}
        kept = [name for name in self.config.relation_examples if name != label]
        self._replace_relations(rest, processor, None, {}, kept_examples=kept)

    def _refuse_fixed_set(self):
        if self.config.objective != "retrieval":
            raise ValueError('a model with objective="classification" has a fixed set of relations')

    def _refuse_empty_set(self):
        if not self.config.id2label:
            raise ValueError(
                "the model has no relations yet: call model.set_relations({label: description}, processor)"
            )

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""RocProcessor: a user's text, entity pair and picture, or relation descriptions, to the model's tensors."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from transformers import BatchFeature, ProcessorMixin

from .pictures_roc import distinct_pictures, open_picture, rescale_and_normalize, resize_pictures

# Not used here: what this file imports is saved with the processor, and a checkpoint is to bring its pipeline along.
from .pipeline_roc import RelationExtractionPipeline  # noqa: F401
from .spans_roc import MARKERS, assemble, check_string, excerpt, lay_out, read_example

PAIR_PLACES = ("head_index", "tail_index", "head_span", "tail_span")


class _SubProcessors:
    """`get_attributes` of the class, and of an instance: one without an image processor has only its tokenizer."""

    def __get__(self, processor, owner):
        text_only = processor is not None and processor.image_processor is None
        return lambda: ["tokenizer"] if text_only else ["image_processor", "tokenizer"]


class RocProcessor(ProcessorMixin):
    """Turns texts with an entity pair, pictures and relation descriptions into the inputs of `RocModel`.

    The pair is marked in the text, with the entities' types as prompts (ROC paper, section 3.1):
    `[CLS] [HEAD] person : Tom Hanks [/HEAD] lives in [TAIL] location : Los Angeles [/TAIL] [SEP]`.

    Args:
        image_processor: a transformers image processor, or None for text only.
        tokenizer: a fast transformers tokenizer. The four markers `[HEAD] [/HEAD] [TAIL] [/TAIL]` are added to it as
            special tokens if it lacks them: call `model.resize_token_embeddings(len(processor.tokenizer))` then.
        max_length: most tokens of a text or a relation description, special tokens included; capped by the tokenizer's
            `model_max_length`. A longer text keeps both mentions and what is nearest to them.
        use_entity_types: whether types are written into the text.

    Raises:
        ValueError: the tokenizer is missing or not a fast one, or `max_length` is not a positive integer.

    Example:
        >>> inputs = processor(
        ...     text="Tom Hanks lives in Los Angeles",
        ...     head={"start": 0, "end": 9, "type": "person"},
        ...     tail={"start": 19, "end": 30, "type": "location"},
        ...     images="tom.jpg",
        ...     return_tensors="pt",
        ... )
    """

    get_attributes = _SubProcessors()

    def __init__(self, image_processor=None, tokenizer=None, max_length=128, use_entity_types=True):
        if not getattr(tokenizer, "is_fast", False):
            raise ValueError(f"RocProcessor needs a fast tokenizer, got {type(tokenizer).__name__}")
        if not isinstance(use_entity_types, bool):
            raise ValueError(f"use_entity_types must be True or False, got {use_entity_types!r}")
        self.image_processor = image_processor
        given = {"image_processor": image_processor, "tokenizer": tokenizer}
        super().__init__(**{name: given[name] for name in self.get_attributes()})
        self.max_length = _check_length(max_length)
        self.use_entity_types = use_entity_types
        markers = [marker for pair in MARKERS.values() for marker in pair]
        if missing := [marker for marker in markers if marker not in tokenizer.all_special_tokens]:
            tokenizer.add_special_tokens({"extra_special_tokens": missing}, replace_extra_special_tokens=False)
        self._marker_ids = {role: tuple(tokenizer.convert_tokens_to_ids(list(pair))) for role, pair in MARKERS.items()}
        # A marker alone is one token in every tokenizer: what stands around it are the tokenizer's own special tokens.
        wrapped = tokenizer(markers[0], split_special_tokens=False)["input_ids"]
        place = wrapped.index(self._marker_ids["head"][0])
        self._prefix, self._suffix = wrapped[:place], wrapped[place + 1 :]

    @property
    def model_input_names(self) -> list[str]:
        """Names of the model's inputs that this processor makes for examples."""
        return ["input_ids", "attention_mask", *PAIR_PLACES, "pixel_values", "image_index"]

    def __call__(
        self,
        text: str | Sequence[str] | Sequence[Sequence[str]] | None = None,
        head: Mapping | Sequence[Mapping] | None = None,
        tail: Mapping | Sequence[Mapping] | None = None,
        images: Any = None,
        relations: Sequence[str] | None = None,
        return_tensors: str | None = None,
        padding: bool | str | None = None,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
    ) -> BatchFeature:
        """Prepares one example (`head` is a dict) or a batch (`head` is a list), or relation descriptions, or both.

        Args:
            text: a string (positions in characters) or a list of tokens (positions in tokens; joined by one blank);
                for a batch a list of these.
            head, tail: dict with `start` and `end`, `[start, end)`, and optionally `type` (None: no prompt), `name`
                (checked against the span), `kind` and `box`; a row's struct is accepted as it is. For a batch lists.
            images: a PIL picture, a path or None; for a batch a list aligned with `text`. The same object or path
                given more than once is encoded once.
            relations: descriptions of relations.
            return_tensors: "pt" or "np"; None returns lists.
            padding: as in a tokenizer; by default True if `return_tensors` is given, else False.
            max_length: instead of the processor's own, for this call.
            pad_to_multiple_of: pads lengths to a multiple of this.

        Returns:
            With the batch as first axis, also for one example:
            `input_ids`, `attention_mask` (batch, text_length);
            `head_index`, `tail_index` (batch,): place of the mention's start marker in `input_ids`;
            `head_span`, `tail_span` (batch, 2): the mention's own tokens in `input_ids`, [start, end);
            if any picture is given, `pixel_values` (num_images, 3, height, width), each distinct picture once, and
            `image_index` (batch,), -1 where there is no picture;
            for relations, `relation_input_ids`, `relation_attention_mask` (num_descriptions, length).

        Raises:
            ValueError: an example is wrong (see `read_example`, `open_picture`; the message names its position in the
                batch), both mentions do not fit into `max_length`, or a description is blank or too long.
        """
        if text is None and relations is None:
            raise ValueError("give text with head and tail, or relations, or both")
        length = _check_length(self.max_length if max_length is None else max_length)
        length = min(length, self.tokenizer.model_max_length)
        pad = {
            "padding": return_tensors is not None if padding is None else padding,
            "max_length": length,
            "pad_to_multiple_of": pad_to_multiple_of,
        }
        data: dict[str, Any] = {}
        if text is not None:
            texts, heads, tails, pictures = _as_batch(text, head, tail, images)
            ids, places = self._encode_pairs(texts, heads, tails, length)
            data = {**self.pad_texts(ids, **pad), **places, **self._encode_pictures(pictures)}
        elif not (head is None and tail is None and images is None):
            raise ValueError("head, tail and images need text")
        if relations is not None:
            padded = self.pad_texts(self._encode_relations(relations, length), **pad)
            data.update({f"relation_{name}": value for name, value in padded.items()})
        return BatchFeature(data, tensor_type=return_tensors)

    def prepare_pictures(self, images: Sequence[Any]) -> np.ndarray:
        """Decodes, resizes and crops pictures (PIL, path or bytes): (N, 3, height, width), uint8."""
        return resize_pictures([open_picture(image, f"picture {i}") for i, image in enumerate(images)], self._images())

    def normalize_pictures(self, pixels: np.ndarray) -> np.ndarray:
        """Rescales and normalizes what `prepare_pictures` returns: (N, 3, height, width), uint8 to float32."""
        return rescale_and_normalize(pixels, self._images())

    def _images(self):
        if self.image_processor is None:
            raise ValueError("pictures are given, but this processor has no image processor (text only)")
        return self.image_processor

    def _encode_pairs(self, texts, heads, tails, length) -> tuple[list[list[int]], dict[str, list]]:
        given = enumerate(zip(texts, heads, tails, strict=True))
        examples = [read_example(*example, where=f"example {i}") for i, example in given]
        if not self.use_entity_types:
            examples = [(text, *(mention._replace(type=None) for mention in pair)) for text, *pair in examples]
        layouts = [lay_out(*example) for example in examples]
        strings = [piece.content for pieces in layouts for piece in pieces if piece.kind in ("text", "type")]
        segments = iter(self._tokenize(strings))
        budget = length - len(self._prefix) - len(self._suffix)
        rows, data = [], {name: [] for name in PAIR_PLACES}
        for i, ((text, *pair), pieces) in enumerate(zip(examples, layouts, strict=True)):
            try:
                ids, places = assemble(pieces, segments, self._marker_ids, budget)
            except ValueError as error:
                spans = ", ".join(
                    f"{role} [{mention.start}, {mention.end}) {excerpt(text[mention.start : mention.end])}"
                    for role, mention in zip(MARKERS, pair, strict=True)
                )
                raise ValueError(f"example {i}: {error} ({spans} in characters of text {excerpt(text)})") from error
            rows.append(self._prefix + ids + self._suffix)
            for role in MARKERS:
                marker, start, end = (len(self._prefix) + place for place in places[role])
                data[f"{role}_index"].append(marker)
                data[f"{role}_span"].append([start, end])
        return rows, data

    def _encode_pictures(self, images: Sequence[Any]) -> dict[str, Any]:
        pictures, index = distinct_pictures(images)
        if not pictures:
            return {}
        opened = [open_picture(picture, f"example {index.index(i)}") for i, picture in enumerate(pictures)]
        return {"pixel_values": self._images()(opened)["pixel_values"], "image_index": index}

    def _encode_relations(self, relations: Sequence[str], length: int) -> list[list[int]]:
        if isinstance(relations, str) or not isinstance(relations, Sequence) or not relations:
            raise ValueError(f"relations must be a list of at least one description, got {relations!r}")
        for i, description in enumerate(relations):
            check_string(description, f"relation description {i}")
        rows = [self._prefix + ids + self._suffix for ids in self._tokenize(list(relations))]
        for i, (ids, description) in enumerate(zip(rows, relations, strict=True)):
            if len(ids) > length:
                raise ValueError(
                    f"relation description {i} takes {len(ids)} tokens, more than max_length={length}: "
                    f"{excerpt(description)}"
                )
        return rows

    def _tokenize(self, strings: list[str]) -> list[list[int]]:
        """Token ids without special tokens; what looks like one is plain text."""
        rows = self.tokenizer(
            strings,
            add_special_tokens=False,
            split_special_tokens=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        # A SentencePiece vocabulary holds "</s>" as a piece of its own and finds it even in split text.
        unknown = self.tokenizer.unk_token_id
        special = set(self.tokenizer.all_special_ids) - {unknown}
        return [ids if special.isdisjoint(ids) else [unknown if i in special else i for i in ids] for ids in rows]

    def pad_texts(self, ids: list[list[int]], **kwargs) -> dict[str, list[list[int]]]:
        """Pads token ids on the right as `tokenizer.pad` does: `input_ids` and `attention_mask` (batch, length)."""
        # Never on the left: head_index and tail_index count from the left.
        padded = self.tokenizer.pad(
            {"input_ids": ids}, padding_side="right", return_attention_mask=True, verbose=False, **kwargs
        )
        return {name: padded[name] for name in ("input_ids", "attention_mask")}

    @classmethod
    def _get_arguments_from_pretrained(cls, pretrained_model_name_or_path, processor_dict=None, **kwargs):
        if processor_dict and processor_dict.get("image_processor", ...) is None:
            return [None, cls._load_tokenizer_from_pretrained("tokenizer", pretrained_model_name_or_path, **kwargs)]
        return super()._get_arguments_from_pretrained(pretrained_model_name_or_path, processor_dict, **kwargs)


def _check_length(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"max_length must be a positive integer, got {value!r}")
    return value


def _as_batch(text, head, tail, images) -> tuple[Sequence, Sequence, Sequence, Sequence]:
    if head is None or tail is None:
        raise ValueError("text needs a head and a tail")
    if isinstance(head, Mapping):
        return [text], [head], [tail], [images]
    images = [None] * len(head) if images is None else images
    for name, value in (("text", text), ("head", head), ("tail", tail), ("images", images)):
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{name} must be a list, as head is one (a batch), got {type(value).__name__}")
        if len(value) != len(head):
            raise ValueError(f"a batch of {len(head)} heads, but {len(value)} in {name}")
    if not head:
        raise ValueError("the batch is empty")
    return text, head, tail, images


RocProcessor.register_for_auto_class()

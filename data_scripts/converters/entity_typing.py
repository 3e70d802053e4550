# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Entity types from a tagger: person, organization, location, miscellaneous, or "unknown" where it found nothing.

A type is the tagger's or a person's word, never the relation label's: labels such as `/per/org/member_of` name the
types, and a model that is shown them would be handed the answer. (The ROC paper's encoder uses Stanford NER.)
"""

import dataclasses
import functools
from typing import Protocol

UNKNOWN = "unknown"
TYPE_WORDS = ("person", "organization", "location", "miscellaneous")

# Labels of CoNLL 2003, OntoNotes and WNUT 17.
LABELS_OF_TYPE = {
    "person": "PER PERSON",
    "organization": "ORG ORGANIZATION ORGANISATION CORPORATION GROUP",
    "location": "LOC LOCATION GPE FAC",
    "miscellaneous": "MISC MISCELLANEOUS NORP EVENT WORK_OF_ART CREATIVE-WORK PRODUCT LAW LANGUAGE",
    # Numbers and times are no entities here.
    None: "DATE TIME PERCENT MONEY QUANTITY ORDINAL CARDINAL",
}
TYPE_OF_LABEL = {label: word for word, labels in LABELS_OF_TYPE.items() for label in labels.split()}

Entity = tuple[int, int, str]
"""A tagged mention: tokens [start, end) and its type, one of TYPE_WORDS."""


class TaggerError(ValueError):
    """An entity tagger cannot be used; the message says why."""


class EntityTagger(Protocol):
    """Finds typed mentions in texts that are already cut into tokens."""

    def tag(self, texts: list[list[str]]) -> list[list[Entity]]:
        """The mentions in each text, in order and without overlap."""


def load_tagger(flag: str) -> EntityTagger | None:
    """The tagger that a command line names: "none" (None), "spacy:<pipeline>" or "hf:<model>".

    Raises:
        TaggerError: if the name has another form, there is no such pipeline or model, or it has a label that has no
            type word.
    """
    if flag == "none":
        return None
    library, _, name = flag.partition(":")
    if library not in ("spacy", "hf") or not name:
        raise TaggerError(f"the entity tagger must be none, spacy:<pipeline> or hf:<model>, not {flag!r}")
    try:
        return SpacyTagger(name) if library == "spacy" else TokenClassificationTagger(name)
    except (OSError, ValueError) as error:
        raise TaggerError(f"entity tagger {flag!r}: {error}") from error


def type_span(span: tuple[int, int], entities: list[Entity]) -> str:
    """The type of the mention at tokens [start, end): that of the entity with the same tokens, else of the entity that
    shares most tokens with it (the first of equals), else "unknown"."""
    start, end = span
    best, best_overlap = UNKNOWN, 0
    for entity_start, entity_end, word in entities:
        if (entity_start, entity_end) == (start, end):
            return word
        overlap = min(end, entity_end) - max(start, entity_start)
        if overlap > best_overlap:
            best, best_overlap = word, overlap
    return best


def type_word(label: str) -> str | None:
    """The type word of a tagger's label without its BIO prefix; None for numbers and times.

    Raises:
        ValueError: if the label is of no scheme known here.
    """
    if label.upper() not in TYPE_OF_LABEL:
        raise ValueError(f"the tagger's label {label!r} has no type word; known are {', '.join(TYPE_OF_LABEL)}")
    return TYPE_OF_LABEL[label.upper()]


def split_tag(tag: str) -> tuple[str, str]:
    """A tag's position and label: "B-PER" → ("B", "PER"), "O" → ("O", ""), "PER" without a prefix → ("I", "PER")."""
    if tag == "O":
        return "O", ""
    prefix, dash, label = tag.partition("-")
    return (prefix, label) if dash and prefix in ("B", "I", "E", "L", "S", "U") else ("I", tag)


def decode_tags(tags: list[str]) -> list[Entity]:
    """Entities of a text from one tag a token, in any scheme of B, I, E/L, S/U and O, or without prefixes.

    An entity begins at B, S or U, and wherever the label changes; it ends after E, L, S or U.
    """
    entities: list[Entity] = []
    start, open_label = 0, ""
    for position, tag in enumerate([*tags, "O"]):
        prefix, label = split_tag(tag)
        if open_label and (prefix in ("B", "S", "U") or label != open_label):
            word = type_word(open_label)
            if word is not None:
                entities.append((start, position, word))
            open_label = ""
        if label and not open_label:
            start, open_label = position, label
        if open_label and prefix in ("E", "L", "S", "U"):
            word = type_word(open_label)
            if word is not None:
                entities.append((start, position + 1, word))
            open_label = ""
    return entities


@dataclasses.dataclass(frozen=True)
class SpacyTagger:
    """The entity tagger of an installed spaCy pipeline, run on the data set's own tokens.

    Holds only the name: what is sent to worker processes stays small, each loads the pipeline once.
    """

    pipeline: str

    def __post_init__(self):
        for label in load_spacy(self.pipeline).get_pipe("ner").labels:
            type_word(label)

    def tag(self, texts: list[list[str]]) -> list[list[Entity]]:
        """See EntityTagger."""
        from spacy.tokens import Doc

        pipeline = load_spacy(self.pipeline)
        docs = pipeline.pipe(Doc(pipeline.vocab, words=tokens) for tokens in texts)
        return [
            [(entity.start, entity.end, word) for entity in doc.ents if (word := type_word(entity.label_)) is not None]
            for doc in docs
        ]


@functools.cache
def load_spacy(pipeline: str):
    """A spaCy pipeline without the components that the entity tagger does not use."""
    import spacy

    unused = ["tagger", "morphologizer", "parser", "senter", "attribute_ruler", "lemmatizer"]
    return spacy.load(pipeline, exclude=unused)


@dataclasses.dataclass(frozen=True)
class TokenClassificationTagger:
    """Any token-classification model of the Hub or a folder, run on the data set's own tokens.

    A token's tag is that of its first word piece. Holds only the name, like SpacyTagger.
    """

    model: str

    def __post_init__(self):
        from transformers import AutoConfig

        for tag in AutoConfig.from_pretrained(self.model).id2label.values():
            if tag != "O":
                type_word(split_tag(tag)[1])

    def tag(self, texts: list[list[str]]) -> list[list[Entity]]:
        """See EntityTagger.

        Raises:
            ValueError: if a text is longer than the model can read.
        """
        import multiprocess
        import torch

        if multiprocess.parent_process() is not None:
            # In a worker of Dataset.map: the workers are the parallelism, and torch's threads can hang after a fork.
            torch.set_num_threads(1)
        tokenizer, model = load_token_classifier(self.model)
        batch = tokenizer(texts, is_split_into_words=True, padding=True, return_tensors="pt")
        length = batch["input_ids"].shape[1]
        limit = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", length))
        if length > limit:
            raise ValueError(f"a text of {length} word pieces is longer than the {limit} that {self.model} can read")
        with torch.inference_mode():
            best = model(**batch).logits.argmax(-1)
        result = []
        for row, tokens in enumerate(texts):
            first_piece: dict[int, int] = {}
            for position, token in enumerate(batch.word_ids(row)):
                if token is not None:
                    first_piece.setdefault(token, position)
            # A token without word pieces (a control character, say) is outside every entity.
            tags = [
                model.config.id2label[best[row, first_piece[token]].item()] if token in first_piece else "O"
                for token in range(len(tokens))
            ]
            result.append(decode_tags(tags))
        return result


@functools.cache
def load_token_classifier(name: str):
    """A token-classification model in evaluation mode, and its tokenizer."""
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    # add_prefix_space: byte-level tokenizers (RoBERTa's) need it for texts cut into words.
    tokenizer = AutoTokenizer.from_pretrained(name, add_prefix_space=True)
    if not tokenizer.is_fast:
        raise ValueError(f"{name} has no fast tokenizer, which is needed to tag a text that is cut into tokens")
    return tokenizer, AutoModelForTokenClassification.from_pretrained(name).eval()

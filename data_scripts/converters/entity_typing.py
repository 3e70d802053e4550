# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Entity types from a tagger: person, organization, location, miscellaneous, or "unknown" where it found nothing.

A type is the tagger's or a person's word, never the relation label's: labels such as `/per/org/member_of` name the
types, and a model that is shown them would be handed the answer. (The ROC paper's encoder uses Stanford NER.)
"""

import functools
import json
from collections.abc import Callable, Iterator

from datasets import Dataset

from data_scripts.converters.rows import StoredRows
from data_scripts.reading import DataError

UNKNOWN = "unknown"
TYPE_WORDS = ("person", "organization", "location", "miscellaneous")

# Labels of CoNLL 2003, OntoNotes, WNUT 17 and Twitter 2015.
LABELS_OF_TYPE = {
    "person": "PER PERSON",
    "organization": "ORG ORGANIZATION ORGANISATION CORPORATION GROUP",
    "location": "LOC LOCATION GPE FAC",
    "miscellaneous": "MISC MISCELLANEOUS OTHER NORP EVENT WORK_OF_ART CREATIVE-WORK PRODUCT LAW LANGUAGE",
    # Numbers and times are no entities here.
    None: "DATE TIME PERCENT MONEY QUANTITY ORDINAL CARDINAL",
}
TYPE_OF_LABEL = {label: word for word, labels in LABELS_OF_TYPE.items() for label in labels.split()}

Entity = tuple[int, int, str]
"""A tagged mention: tokens [start, end) and its type, one of TYPE_WORDS."""

EntityTagger = Callable[[list[list[str]]], list[list[Entity]]]
"""Finds the typed mentions in texts that are already cut into tokens: those of each text in order, without overlap.

What is sent to worker processes is its function and its model's name: each process loads the model once.
"""


def load_tagger(flag: str) -> EntityTagger | None:
    """The tagger that a command line names: "none" (None), "spacy:<pipeline>" or "hf:<model>".

    Raises:
        DataError: if the name has another form, there is no such pipeline or model, it is none that tags entities, or
            it has a label that has no type word.
    """
    if flag == "none":
        return None
    library, _, name = flag.partition(":")
    if library not in ("spacy", "hf") or not name:
        raise DataError(f"the entity tagger must be none, spacy:<pipeline> or hf:<model>, not {flag!r}")
    try:
        if library == "spacy":
            labels = load_spacy(name).get_pipe("ner").labels
        else:
            from transformers import AutoConfig

            labels = [split_tag(tag)[1] for tag in AutoConfig.from_pretrained(name).id2label.values() if tag != "O"]
        for label in labels:
            type_word(label)
        if library == "hf":
            load_token_classifier(name)  # what is wrong with it is told before any work
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise DataError(f"entity tagger {flag!r}: {error}") from error
    return functools.partial(tag_by_spacy if library == "spacy" else tag_by_transformer, name)


def type_rows(rows: StoredRows, tag: EntityTagger, split: str, num_proc: int | None) -> Iterator[dict]:
    """Yields rows with a type of every head and tail in the text that had none, tagging each distinct text once."""
    if not len(rows):
        return
    firsts: dict[int, int] = {}  # a text's hash → the first row that has it
    for number, row in enumerate(rows):
        firsts.setdefault(hash(tuple(row["tokens"])), number)
    texts = Dataset.from_file(str(rows.path)).select_columns("tokens").select(firsts.values())
    tagged = texts.map(
        lambda batch: {"entities": [json.dumps(entities) for entities in tag(batch["tokens"])]},
        batched=True,
        batch_size=64,
        num_proc=num_proc,
        keep_in_memory=True,
        remove_columns="tokens",
        desc=f"Tagging {split}",
    )
    found = dict(zip(firsts, tagged["entities"], strict=True))
    for row in rows:
        entities = json.loads(found[hash(tuple(row["tokens"]))])
        for entity in (row["head"], row["tail"]):
            if entity["kind"] == "text" and entity["type"] is None:
                entity["type"] = type_span((entity["start"], entity["end"]), entities)
        yield row


def type_span(span: tuple[int, int], entities: list[Entity]) -> str:
    """The type of the entity that shares most tokens with the mention at [start, end), the first of equals; "unknown"
    if none shares any. `entities` do not overlap, so that one with the very same tokens has no rival."""
    start, end = span
    best, best_overlap = UNKNOWN, 0
    for entity_start, entity_end, word in entities:
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
    entities = []
    start, open_label = 0, ""
    for position, tag in enumerate([*tags, "O"]):
        prefix, label = split_tag(tag)
        if open_label and (prefix in ("B", "S", "U") or label != open_label):
            entities.append((start, position, type_word(open_label)))
            open_label = ""
        if label and not open_label:
            start, open_label = position, label
        if open_label and prefix in ("E", "L", "S", "U"):
            entities.append((start, position + 1, type_word(open_label)))
            open_label = ""
    return [entity for entity in entities if entity[2] is not None]


def tag_by_spacy(name: str, texts: list[list[str]]) -> list[list[Entity]]:
    """The mentions that an installed spaCy pipeline's entity tagger finds; see EntityTagger."""
    from spacy.tokens import Doc

    pipeline = load_spacy(name)
    docs = pipeline.pipe(Doc(pipeline.vocab, words=tokens) for tokens in texts)
    return [
        [(entity.start, entity.end, word) for entity in doc.ents if (word := type_word(entity.label_)) is not None]
        for doc in docs
    ]


@functools.cache
def load_spacy(name: str):
    """A spaCy pipeline without the components that the entity tagger does not use."""
    try:
        import spacy
    except ModuleNotFoundError as error:
        raise DataError(f"spaCy is not installed ({error}): pip install spacy, and the pipeline {name}") from error

    unused = ["tagger", "morphologizer", "parser", "senter", "attribute_ruler", "lemmatizer"]
    pipeline = spacy.load(name, exclude=unused)
    if "ner" not in pipeline.pipe_names:
        raise DataError(f"the pipeline has no entity tagger ('ner'), only {pipeline.pipe_names}")
    return pipeline


def tag_by_transformer(name: str, texts: list[list[str]]) -> list[list[Entity]]:
    """The mentions that a token-classification model of the Hub or a folder finds; see EntityTagger.

    Where a token's tag stands, `find_tagged_pieces` tells. A text that is longer than the model can read is read in
    windows that overlap by half; a token's tag is then from the window whose edges are farthest from it.
    """
    import multiprocess
    import torch

    if multiprocess.parent_process() is not None:
        # In a worker of Dataset.map: the workers are the parallelism, and torch's threads can hang after a fork.
        torch.set_num_threads(1)
    tokenizer, model = load_token_classifier(name)
    limit = min(tokenizer.model_max_length, count_positions(model))
    windows = tokenizer(
        texts,
        is_split_into_words=True,
        truncation=True,
        max_length=limit,
        stride=(limit - tokenizer.num_special_tokens_to_add()) // 2,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    offsets = windows.pop("offset_mapping")
    owners = windows.pop("overflow_to_sample_mapping")
    nearest: list[dict[int, tuple[int, str]]] = [{} for _ in texts]
    for start in range(0, len(owners), len(texts)):  # as many at once as there are texts
        of_batch = owners[start : start + len(texts)]
        batch = {name: values[start : start + len(texts)] for name, values in windows.items()}
        with torch.inference_mode():
            best = model(**tokenizer.pad(batch, return_tensors="pt")).logits.argmax(-1).tolist()
        for row, owner in enumerate(of_batch, start=start):
            words = windows.word_ids(row)
            for word, position in find_tagged_pieces(words, offsets[row], texts[owner]).items():
                # How far the window's edge is, if the text goes on there.
                left = position if row > 0 and owners[row - 1] == owner else limit
                right = len(words) - position if owners[row + 1 : row + 2] == [owner] else limit
                tag = model.config.id2label[best[row - start][position]]
                nearest[owner][word] = max((min(left, right), tag), nearest[owner].get(word, (0, "")))
    # A token without word pieces (a control character, say) is outside every entity.
    return [
        decode_tags([tags.get(token, (0, "O"))[1] for token in range(len(tokens))])
        for tokens, tags in zip(texts, nearest, strict=True)
    ]


def find_tagged_pieces(words: list[int | None], offsets: list[tuple[int, int]], tokens: list[str]) -> dict[int, int]:
    """Where the tag of each token stands: at its first word piece with a letter or digit, so that "@name" is read as
    "@ name" is; at its first piece where none has any.

    Args:
        words: each word piece's token, None for special pieces.
        offsets: each word piece's characters [start, end) in its token.
        tokens: of the text.

    Returns:
        token → word piece.
    """
    pieces = [
        (word, position, tokens[word][start:end])
        for position, (word, (start, end)) in enumerate(zip(words, offsets, strict=True))
        if word is not None
    ]
    pieces.reverse()  # of a token's pieces, the first is written last
    firsts = {word: position for word, position, _ in pieces}
    return firsts | {word: position for word, position, piece in pieces if any(map(str.isalnum, piece))}


def count_positions(model) -> int:
    """How many word pieces a model can read at once, by its table of positions."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and hasattr(module, "num_embeddings"):
            # RoBERTa's positions begin after that of the padding.
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return getattr(model.config, "max_position_embeddings", None) or 512


@functools.cache
def load_token_classifier(name: str):
    """A token-classification model in evaluation mode, and its tokenizer."""
    from transformers import AutoModelForTokenClassification

    tokenizer = load_fast_tokenizer(name)
    model, loaded = AutoModelForTokenClassification.from_pretrained(name, output_loading_info=True)
    if loaded["missing_keys"]:
        missing = ", ".join(sorted(loaded["missing_keys"]))
        raise DataError(f"{name} is not trained to classify tokens: it has no weights for {missing}")
    return tokenizer, model.eval()


def load_fast_tokenizer(name: str):
    """A tokenizer that knows which token of a text each of its pieces is from."""
    from transformers import AutoTokenizer

    # add_prefix_space: byte-level tokenizers (RoBERTa's) need it for texts cut into words.
    tokenizer = AutoTokenizer.from_pretrained(name, add_prefix_space=True)
    if not tokenizer.is_fast:
        raise DataError(f"{name} has no fast tokenizer, which is needed to tag a text that is cut into tokens")
    return tokenizer

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Re-DocRED: Wikipedia documents with typed entities and 96 relations, as pairs of entities that share a sentence.

`python -m data_scripts.redocred --raw_dir RAW --output_dir OUT` reads `train_revised.json`, `dev_revised.json` and
`test_revised.json`, those that are there, at least one, as the Re-DocRED authors publish them, here or in `data`, and
writes a data set that `load_dataset(OUT)` opens. DocRED's own files have the same form.

A row is a sentence with two entities that both have a mention in it, the first such sentence of the document, and a
relation (a Wikidata property) that the document is labelled with; a pair with several relations gives several rows.
Relations between entities that share no sentence are left out, and counted. Rows of `none` are pairs, in this order,
that share a sentence and have no relation: in each document up to two for each row with a relation, drawn with seed 0.
Entities have the types that the data give them, not a tagger's.

Source: Tan et al., "Revisiting DocRED: Addressing the False Negative Problem in Relation Extraction", EMNLP 2022; Yao
et al., "DocRED: A Large-Scale Document-Level Relation Extraction Dataset", ACL 2019.
"""

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

from tqdm.auto import tqdm

from data_scripts.converters.convert import KeepRows, RawDataset, run_converter
from data_scripts.converters.posts import FLAGS
from data_scripts.descriptions.files import load_builtin_descriptions, load_descriptions
from data_scripts.reading import (
    DataError,
    Place,
    check_mention,
    check_span,
    find_file,
    read_json,
    read_tokens,
    require,
)
from data_scripts.schema import TEST, TRAIN, VALIDATION, text_entity

FILES = {TRAIN: "train", VALIDATION: "dev", TEST: "test"}
NEGATIVES = 2
"""Most rows without relation for each with one, in a document."""
TYPES = {
    "PER": "person",
    "ORG": "organization",
    "LOC": "location",
    "MISC": "miscellaneous",
    "TIME": "time",
    "NUM": "number",
}


def read_redocred(raw_dir: Path, relations_file: Path | None = None, keep: KeepRows = list) -> RawDataset:
    """Reads Re-DocRED's raw files.

    Args:
        raw_dir: folder with the raw files.
        relations_file: relation descriptions to use in place of the built-in ones.
        keep: what keeps a split's rows.

    Raises:
        DataError: naming file, document (from 1 on) and field, if anything is missing or broken, or a relation has no
            description or the descriptions no negative relation.
        DescriptionError: if the descriptions are broken.
    """
    descriptions = load_descriptions(relations_file) if relations_file else load_builtin_descriptions("redocred")
    if descriptions["negative_relation"] is None:
        raise DataError(f"{relations_file} names no negative relation, which pairs without a relation are to have")
    folders, splits, counts = [raw_dir, raw_dir / "data"], {}, {}

    def read_rows(split: str, path: Path) -> Iterator[dict]:
        documents = read_json(path)
        if not isinstance(documents, list):
            raise DataError(f"{path}: a list of documents is expected, not {type(documents).__name__}")
        counts[split] = {"documents": len(documents), "relations_across_sentences": 0}
        for number, document in enumerate(tqdm(documents, desc=f"Reading {path.name}", unit=" documents"), 1):
            place = Place(path, f"document {number}")
            rows, across = read_document(place, document, descriptions, f"{split}-{number}")
            yield from rows
            counts[split]["relations_across_sentences"] += across

    for split, name in FILES.items():
        names = [f"{name}_revised.json", f"{name}.json"]
        path = find_file(folders, names, f"file of the {split} split", required=False)
        if path is not None:
            splits[split] = keep(read_rows(split, path))
    if not splits:
        raise DataError(f"no data: none of {[f'{name}_revised.json' for name in FILES.values()]} is in {raw_dir}")
    return RawDataset("Re-DocRED", splits, descriptions, "that of the descriptions", counts)


def read_document(place: Place, document: dict, descriptions: dict, name: str) -> tuple[list[dict], int]:
    """The rows of a document, whose ids begin with `name`, and how many of its relations cross sentences."""
    if not isinstance(document, dict):
        raise place.error(None, f"an object is expected, not {document!r}")
    require(place, document, ("sents", "vertexSet", "labels"))
    if not isinstance(document["sents"], list):
        raise place.error("sents", f"a list of sentences is expected, not {document['sents']!r}")
    sentences = dict(enumerate(document["sents"]))
    for number in sentences:
        read_tokens(place, sentences, number)
    mentions = [
        _read_mentions(place, number, entity, sentences) for number, entity in enumerate(document["vertexSet"])
    ]
    shared = {}
    for (head, of_head), (tail, of_tail) in itertools.permutations(enumerate(mentions), 2):
        together = sorted(one for one in of_head.keys() & of_tail.keys() if _span(of_head[one]) != _span(of_tail[one]))
        if together:
            shared[head, tail] = together[0]
    found, labelled = [], set()
    for number, label in enumerate(document["labels"]):
        try:
            pair, relation = (int(label["h"]), int(label["t"])), label["r"]
            mentions[pair[0]], mentions[pair[1]]
        except (KeyError, TypeError, ValueError, IndexError) as error:
            message = f"'h' and 't' among {len(mentions)} entities and 'r' are expected, not {label!r}"
            raise place.error(f"labels[{number}]", message) from error
        if relation not in descriptions["relations"]:
            raise place.error(f"labels[{number}]", f"no description of relation {relation!r} (--relations_file)")
        labelled.add(pair)
        if (pair, relation) not in found:
            found.append((pair, relation))
    kept = [(pair, relation) for pair, relation in found if pair in shared]
    others = [pair for pair in shared if pair not in labelled]
    drawn = random.Random(f"0 {name}").sample(others, min(NEGATIVES * len(kept), len(others)))
    rows = []
    for (head, tail), relation in kept + [(pair, descriptions["negative_relation"]) for pair in sorted(drawn)]:
        sentence = shared[head, tail]
        rows.append(
            {
                "id": f"{name}-{len(rows) + 1}",
                "image": None,
                "image_id": None,
                "tokens": sentences[sentence],
                "head": dict(mentions[head][sentence]),
                "tail": dict(mentions[tail][sentence]),
                "objects": [],
                "relation": relation,
            }
        )
    return rows, len(found) - len(kept)


def _read_mentions(place: Place, number: int, entity: list, sentences: dict[int, list[str]]) -> dict[int, dict]:
    """Sentence → the entity's first mention in it."""
    mentions = {}
    for index, mention in enumerate(entity):
        field = f"vertexSet[{number}][{index}]"
        try:
            sentence, (start, end), kind = mention["sent_id"], mention["pos"], TYPES[mention["type"]]
            tokens = sentences[sentence]
        except (KeyError, TypeError, ValueError) as error:
            message = f"'sent_id', 'pos' and 'type' (one of {', '.join(TYPES)}) are expected, not {mention!r}"
            raise place.error(field, message) from error
        check_span(place, field, start, end, len(tokens), "tokens")
        text = " ".join(tokens[start:end])
        check_mention(place, field, text)
        mentions.setdefault(sentence, text_entity(text, start, end) | {"type": kind})
    return mentions


def _span(mention: dict) -> tuple[int, int]:
    return mention["start"], mention["end"]


def main() -> None:
    run_converter(read_redocred, description=__doc__, reader_flags={"relations_file": FLAGS["relations_file"]})

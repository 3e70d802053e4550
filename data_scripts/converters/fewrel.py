# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""FewRel (1.0): Wikipedia sentences with two mentions, 700 for each relation; the test relations are not in training.

`python -m data_scripts.fewrel --raw_dir RAW --output_dir OUT` reads `train_wiki.json` (64 relations), `val_wiki.json`
(16 others, which become the `test` split, as the published test relations are not public) and `pid2name.json`, as the
FewRel authors publish them, here or in `data`, and writes a data set that `load_dataset(OUT)` opens. A relation is
called by the name that `pid2name.json` gives to its Wikidata property. There is no negative relation, no validation
split and no type of an entity; a tagger may give types.

Source: Han et al., "FewRel: A Large-Scale Supervised Few-Shot Relation Classification Dataset with State-of-the-Art
Evaluation", EMNLP 2018.
"""

from collections.abc import Iterator
from pathlib import Path

from tqdm.auto import tqdm

from data_scripts.converters.convert import KeepRows, RawDataset, run_converter
from data_scripts.converters.posts import FLAGS
from data_scripts.descriptions.files import load_builtin_descriptions, load_descriptions, select_relations
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
from data_scripts.schema import TEST, TRAIN, text_entity

FILES = {TRAIN: ["train_wiki.json", "train.json"], TEST: ["val_wiki.json", "val.json"]}


def read_fewrel(raw_dir: Path, relations_file: Path | None = None, keep: KeepRows = list) -> RawDataset:
    """Reads FewRel's raw files.

    Args:
        raw_dir: folder with the raw files.
        relations_file: relation descriptions to use in place of the built-in ones.
        keep: what keeps a split's rows.

    Raises:
        DataError: naming file, relation, example (from 1 on) and field, if anything is missing or broken.
        DescriptionError: if a relation has no description.
    """
    folders = [raw_dir, raw_dir / "data"]
    names_file = find_file(folders, ["pid2name.json"], "file of the relations' names")
    names = read_json(names_file)
    splits, labels = {}, {}

    def read_rows(split: str, path: Path) -> Iterator[dict]:
        content = read_json(path)
        if not isinstance(content, dict) or not all(isinstance(examples, list) for examples in content.values()):
            raise DataError(f"{path}: an object {{relation: [example, ...]}} is expected")
        for relation, examples in tqdm(content.items(), desc=f"Reading {path.name}", unit=" relations"):
            own = names.get(relation) if isinstance(names, dict) else None
            if not isinstance(own, list) or not own or not isinstance(own[0], str) or not own[0].strip():
                raise DataError(f"{path}: relation {relation!r} has no name in {names_file} ([name, ...] is expected)")
            label = own[0]
            if labels.setdefault(label, split) != split:
                raise DataError(f"{path}: relation {relation!r}, {label!r}, stands in the train split, too")
            for number, example in enumerate(examples, 1):
                place = Place(path, f"relation {relation!r}, example {number}")
                yield _read_example(place, example, f"{split}-{relation}-{number}", label)

    for split, files in FILES.items():
        splits[split] = keep(read_rows(split, find_file(folders, files, f"file of the {split} split")))
    descriptions = load_descriptions(relations_file) if relations_file else load_builtin_descriptions("fewrel")
    return RawDataset("FewRel", splits, select_relations(descriptions, list(labels)), "that of the files")


def _read_example(place: Place, example: dict, name: str, label: str) -> dict:
    """A row; of an entity with several mentions the first one counts."""
    if not isinstance(example, dict):
        raise place.error(None, f"an object is expected, not {example!r}")
    require(place, example, ("tokens", "h", "t"))
    tokens, entities = read_tokens(place, example, "tokens"), {}
    for role, field in (("head", "h"), ("tail", "t")):
        try:
            _, _, (positions, *_) = example[field]
            start, end = positions[0], positions[-1] + 1
            if not all(type(position) is int for position in positions):
                raise TypeError
        except (IndexError, KeyError, TypeError, ValueError) as error:
            message = f"[name, id, [[token positions of a mention], ...]] is expected, not {example[field]!r}"
            raise place.error(field, message) from error
        check_span(place, field, start, end, len(tokens), "tokens")
        mention = " ".join(tokens[start:end])
        check_mention(place, field, mention)
        entities[role] = text_entity(mention, start, end)
    empty = {"image": None, "image_id": None, "objects": []}
    return {"id": name, "tokens": tokens, **entities, "relation": label, **empty}


def main() -> None:
    run_converter(read_fewrel, description=__doc__, reader_flags={"relations_file": FLAGS["relations_file"]})

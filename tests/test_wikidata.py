# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The converters of FewRel and Re-DocRED: what becomes of their files, and what is refused."""

import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from datasets import load_dataset

from data_scripts.converters.convert import convert
from data_scripts.converters.fewrel import main, read_fewrel
from data_scripts.converters.redocred import TYPES, read_redocred
from data_scripts.descriptions.files import DescriptionError, load_descriptions
from data_scripts.reading import DataError

SHARED = Path(__file__).parents[2] / "shared" / "relation_data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is not there")
FATHER = {
    "tokens": "Ann , daughter of Bo Lund".split(),
    "h": ["ann", "Q1", [[0]]],
    "t": ["bo lund", "Q2", [[4, 5], [0]]],
}
CROSSES = {
    "tokens": "The Oak Bridge spans the Elm".split(),
    "h": ["oak bridge", "Q3", [[1, 2]]],
    "t": ["elm", "Q4", [[5]]],
}
NAMES = {"P22": ["father", "a man"], "P177": ["crosses", "an obstacle"], "P9": ["unused", ""]}
SENTS = [
    "Ann Lund was born in Oslo in 1980 .".split(),
    "Lund lives in Oslo with Bo .".split(),
    "Rome is far .".split(),
]


def mention(sentence, start, end, kind):
    return {"name": "any", "sent_id": sentence, "pos": [start, end], "type": kind, "index": "0_0"}


DOCUMENT = {
    "title": "Ann",
    "sents": SENTS,
    "vertexSet": [
        [mention(1, 0, 1, "PER"), mention(0, 0, 2, "PER")],
        [mention(0, 5, 6, "LOC"), mention(1, 3, 4, "LOC")],
        [mention(0, 7, 8, "TIME")],
        [mention(1, 5, 6, "PER")],
        [mention(2, 0, 1, "LOC")],
    ],
    "labels": [
        {"h": 0, "t": 1, "r": "P19", "evidence": [0]},
        {"h": 0, "t": 1, "r": "P551", "evidence": [1]},
        {"h": 0, "t": 2, "r": "P569", "evidence": [0]},
        {"h": 0, "t": 4, "r": "P937", "evidence": []},
    ],
}


def write_fewrel(root, train=None, test=None, names=NAMES):
    (root / "data").mkdir(parents=True)
    contents = {"train_wiki": train or {"P22": [FATHER]}, "val_wiki": test or {"P177": [CROSSES]}, "pid2name": names}
    for name, content in contents.items():
        (root / "data" / f"{name}.json").write_text(json.dumps(content))
    return root


def write_redocred(root, document=DOCUMENT, name="dev_revised.json"):
    root.mkdir(exist_ok=True)
    (root / name).write_text(json.dumps([document]))
    return root


def spans(row):
    return [(row[role]["name"], row[role]["start"], row[role]["end"], row[role]["type"]) for role in ("head", "tail")]


def test_fewrel_becomes_train_and_test_with_named_relations(tmp_path, capsys):
    raw = write_fewrel(tmp_path / "raw")
    main_arguments = ["fewrel", "--raw_dir", str(raw), "--output_dir", str(tmp_path / "out")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", main_arguments)
        main()
    assert "FewRel" in capsys.readouterr().out
    splits = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert list(splits) == ["train", "test"] and splits["train"].features["relation"].names == ["father", "crosses"]
    (row,), (other,) = splits["train"], splits["test"]
    assert (row["id"], row["tokens"], row["relation"]) == ("train-P22-1", FATHER["tokens"], 0)
    assert spans(row) == [("Ann", 0, 1, None), ("Bo Lund", 4, 6, None)]
    assert spans(other) == [("Oak Bridge", 1, 3, None), ("Elm", 5, 6, None)] and other["relation"] == 1
    descriptions = load_descriptions(tmp_path / "out" / "relation_descriptions.json")
    assert list(descriptions["relations"]) == ["father", "crosses"] and descriptions["negative_relation"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test": {"P177": [CROSSES | {"h": ["oak", "Q3", [[4, 6]]]}]}}, "val_wiki.json, relation 'P177', example 1"),
        ({"train": {"P22": [FATHER, FATHER | {"t": ["bo", "Q2", []]}]}}, "example 2, field 't': .*not .'bo', 'Q2'"),
        ({"train": {"P22": [FATHER | {"t": ["bo", "Q2", [[True]]]}]}}, "example 1, field .t.: .*True"),
        ({"train": {"P22": [FATHER | {"t": ["bo", "Q2", [[0.7]]]}]}}, "example 1, field .t.: .*0.7"),
        ({"train": {"P22": [{"tokens": ["a"]}]}}, "relation 'P22', example 1, field 'h': missing"),
        ({"train": {"P22": [FATHER | {"tokens": []}]}}, "example 1, field 'tokens'"),
        ({"train": {"P22": ["x"]}}, "example 1: an object is expected, not 'x'"),
        ({"train": {"P5": [FATHER]}}, "relation 'P5' has no name in"),
        ({"names": ["P22", "P177"]}, "relation 'P22' has no name in"),
        ({"names": {"P22": [], "P177": ["crosses"]}}, "relation 'P22' has no name in"),
        ({"train": {"P22": FATHER}}, "train_wiki.json: an object"),
        ({"test": {"P22": [FATHER]}}, "relation 'P22', 'father', stands in the train split, too"),
    ],
)  # fmt: skip
def test_what_fewrel_must_not_be(tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        read_fewrel(write_fewrel(tmp_path / "raw", **change))


def test_fewrel_with_descriptions_of_ones_own(tmp_path):
    raw = write_fewrel(tmp_path / "raw", train={"P9": [FATHER]})
    with pytest.raises(DescriptionError, match=r"no description for the relations \['unused'\]"):
        read_fewrel(raw)
    (tmp_path / "own.json").write_text('{"crosses": "a", "unused": "b"}')
    assert read_fewrel(raw, tmp_path / "own.json").relation_names == ["unused", "crosses"]


def test_redocred_becomes_pairs_that_share_a_sentence(tmp_path):
    report = convert(read_redocred, write_redocred(tmp_path / "raw"), tmp_path / "out")
    counts = report["splits"]["validation"]
    assert (counts["documents"], counts["relations_across_sentences"], counts["rows"]) == (1, 1, 3 + 6)
    rows = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))["validation"]
    label = rows.features["relation"].int2str
    found = [(label(row["relation"]), row["tokens"], *spans(row)) for row in rows]
    ann, oslo = ("Ann Lund", 0, 2, "person"), ("Oslo", 5, 6, "location")
    assert found[:3] == [
        ("P19", SENTS[0], ann, oslo),
        ("P551", SENTS[0], ann, oslo),
        ("P569", SENTS[0], ann, ("1980", 7, 8, "time")),
    ]
    # Ordered pairs that share a sentence and have no relation: (1, 0), (1, 2), (2, 0), (2, 1) in the first, (0, 3),
    # (3, 0), (1, 3), (3, 1) in the second; of these eight, two for each of the three rows above.
    negatives = found[3:]
    assert all(one[0] == "none" for one in negatives) and len({str(one) for one in negatives}) == 6
    assert not any(one[2] == ann and one[3][0] in ("Oslo", "1980") for one in negatives)
    assert {len(one[1]) for one in negatives} == {len(SENTS[0]), len(SENTS[1])}
    again = read_redocred(tmp_path / "raw")
    assert [row["id"] for row in again.splits["validation"]] == rows["id"][:]
    assert len(again.relation_names) == 97 and again.descriptions["negative_relation"] == "none"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [{"h": 0, "t": 9, "r": "P19"}]}, r"dev_revised.json, document 1, field 'labels\[0\]'"),
        ({"labels": [{"h": 0, "t": 1, "r": "P0"}]}, "no description of relation 'P0'"),
        ({"vertexSet": [[mention(0, 5, 5, "PER")]]}, r"field 'vertexSet\[0\]\[0\]': the span \[5, 5\] is empty"),
        ({"vertexSet": [[mention(7, 0, 1, "PER")]]}, r"field 'vertexSet\[0\]\[0\]': 'sent_id'"),
        ({"vertexSet": [[mention(0, 0, 1, "CAT")]]}, "one of PER, ORG, LOC, MISC, TIME, NUM"),
        ({"sents": "text"}, "field 'sents'"),
        ({"sents": [["a", ""]]}, "token 1 must be a non-empty string"),
    ],
)  # fmt: skip
def test_what_redocred_must_not_be(tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        read_redocred(write_redocred(tmp_path / "raw", DOCUMENT | change))


def test_redocred_needs_a_file_and_a_negative_relation(tmp_path):
    with pytest.raises(DataError, match="no data: none of"):
        read_redocred(tmp_path)
    (tmp_path / "own.json").write_text('{"P19": "born in"}')
    with pytest.raises(DataError, match="own.json names no negative relation"):
        read_redocred(write_redocred(tmp_path / "raw"), tmp_path / "own.json")


def read_shared(name, split):
    return [json.loads(line) for line in (SHARED / name / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
@needs_shared
def test_fewrels_real_rows_in_its_own_form(tmp_path):
    rows = {split: read_shared("fewrel", split) for split in ("train", "test")}
    raw = {split: defaultdict(list) for split in rows}
    for split, examples in rows.items():
        for row in examples:
            h, t = (["", "", [list(range(row[role]["start"], row[role]["end"]))]] for role in ("head", "tail"))
            raw[split][row["relation"]].append({"tokens": row["tokens"], "h": h, "t": t})
    names = {name: [name, ""] for split in raw.values() for name in split}
    read = read_fewrel(write_fewrel(tmp_path / "raw", raw["train"], raw["test"], names))
    assert {split: len(found) for split, found in read.splits.items()} == {"train": 11_692, "test": 11_200}
    assert len(read.relation_names) == 81
    for split, found in read.splits.items():
        assert Counter(row["relation"] for row in found) == Counter(row["relation"] for row in rows[split])


@pytest.mark.slow
@needs_shared
def test_redocreds_real_rows_in_its_own_form(tmp_path):
    rows, kinds = read_shared("redocred", "validation"), {word: kind for kind, word in TYPES.items()}
    documents = defaultdict(lambda: {"sents": [], "vertexSet": [], "labels": []})
    wanted = set()
    for row in rows:
        document = documents[" ".join(row["tokens"])]
        document["sents"] = [row["tokens"]]
        places = []
        for role in ("head", "tail"):
            entity = [mention(0, row[role]["start"], row[role]["end"], kinds[row[role]["type"]])]
            if entity not in document["vertexSet"]:
                document["vertexSet"].append(entity)
            places.append(document["vertexSet"].index(entity))
        if row["relation"] != "none":
            document["labels"].append({"h": places[0], "t": places[1], "r": row["relation"]})
            wanted.add((" ".join(row["tokens"]), *places, row["relation"]))
    (tmp_path / "test_revised.json").write_text(json.dumps(list(documents.values())))
    read = read_redocred(tmp_path)
    found = Counter(row["relation"] for row in read.splits["test"])
    assert found.total() - found["none"] == len(wanted) > 6_800
    assert found["none"] <= 2 * len(wanted) and {name for *_, name in wanted} == set(found) - {"none"}

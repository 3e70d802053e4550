# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What a run draws: shares of the training split, relations held out and their examples, each by a seed of its own."""

from collections import Counter

import pytest
from datasets import ClassLabel, Dataset, Features, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from data_scripts.demo.dataset import load_demo, load_demo_descriptions
from training_roc.arguments import parse_arguments
from training_roc.rows import draw_share, load_data

NAMES = ["none", "peer", "member", "capital"]


def make_rows(labels) -> Dataset:
    features = Features({"id": Value("int64"), "relation": ClassLabel(names=NAMES)})
    return Dataset.from_dict({"id": list(range(len(labels))), "relation": labels}, features=features)


def test_a_share_is_of_each_relation_the_same():
    labels = [0] * 60 + [1] * 27 + [2] * 12 + [3]
    rows = make_rows(labels[::3] + labels[1::3] + labels[2::3])
    # Of 10: 6, 2.7, 1.2 and 0.1. The last one gets its row; of 0.7 and 0.2 the first is rounded up.
    for seed in range(5):
        share = draw_share(rows, 0.1, seed)
        assert Counter(share["relation"]) == {0: 6, 1: 2, 2: 1, 3: 1}
        assert share["id"] == sorted(share["id"])
    assert draw_share(rows, 0.1, 4)["id"] == share["id"] != draw_share(rows, 0.1, 5)["id"]
    # Of 4 there is one each, though 2.4 of them would be of the first relation.
    assert Counter(draw_share(rows, 0.04, 0)["relation"]) == {0: 1, 1: 1, 2: 1, 3: 1}
    with pytest.raises(ValueError, match="--train_fraction 0.03 of 100 rows are 3: too few .* 4 relations"):
        draw_share(rows, 0.03, 0)


@given(
    labels=st.lists(st.sampled_from([None, -1, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2, 3]), min_size=5, max_size=200),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 9),
)
@settings(max_examples=60, deadline=None)
def test_a_share_has_its_size_and_every_relation(labels, fraction, seed):
    rows, counts = make_rows(labels), Counter(-1 if label is None else label for label in labels)
    if (total := round(fraction * len(labels))) < len(counts):
        with pytest.raises(ValueError, match="too few for a row of each"):
            draw_share(rows, fraction, seed)
        return
    share = draw_share(rows, fraction, seed)
    assert len(share) == total == len(set(share["id"]))
    found = Counter(-1 if label is None else label for label in share["relation"])
    assert found.keys() == counts.keys() and all(found[label] <= counts[label] for label in counts)
    exact = {label: number * total / len(labels) for label, number in counts.items()}
    if min(exact.values()) >= 1:
        assert all(abs(found[label] - exact[label]) < 1 for label in counts)


@pytest.fixture
def load(monkeypatch, tmp_path):
    """The data of a run on a small demo set, by more arguments."""
    splits = load_demo(num_train=300, num_validation=30, num_test=30)
    monkeypatch.setattr(
        "training_roc.rows.load_relation_dataset", lambda *_: (type(splits)(splits), load_demo_descriptions())
    )
    return lambda *arguments: load_data(parse_arguments(["--output_dir", str(tmp_path), *arguments]))


def test_each_draw_has_its_own_seed(load):
    share, held_out = ("--train_fraction", "0.3"), ("--hold_out_relations", "3", "--few_shot_examples", "4")

    def drawn(*seeds):
        (data,), _ = load(*share, *held_out, *seeds)
        return data.unseen, data.splits["few_shot"]["id"][:], data.splits["train"]["id"][:]

    relations, examples, rows = drawn("--seed", "1")
    # Not given, they are all the one seed.
    assert drawn("--seed", "1", "--hold_out_seed", "1", "--train_fraction_seed", "1") == (relations, examples, rows)
    # Another training of the same rows.
    fixed = ("--hold_out_seed", "1", "--train_fraction_seed", "1")
    assert drawn("--seed", "2", *fixed) == (relations, examples, rows)
    # Other rows with the same relations held out.
    others = drawn("--seed", "1", "--train_fraction_seed", "2")
    assert others[:2] == (relations, examples) and others[2] != rows
    others = drawn("--seed", "1", "--hold_out_seed", "2")
    assert others[0] != relations and others[1] != examples


def test_a_seed_without_a_draw_is_refused():
    with pytest.raises(ValueError, match="train_fraction_seed has no effect without train_fraction"):
        parse_arguments(["--train_fraction_seed", "1"])
    with pytest.raises(ValueError, match="hold_out_seed has no effect without hold_out_relations"):
        parse_arguments(["--hold_out_seed", "1"])

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Scores by kind of pair and by size of post, against counts by hand."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_scripts.schema import PAIR_KINDS, object_entity, pair_kind, text_entity
from evaluation_roc.relation_f1.relation_f1 import compute_relation_f1
from evaluation_roc.report import POST_SIZES, format_groups, group_by_post, group_metrics, score_groups

LABELS = ["none", "/per/per/self", "/loc/loc/self"]
ANA, LISBON = text_entity("Ana", 0, 1), text_entity("Lisbon", 2, 3)
DOG, CAT = (object_entity(name, [0.0, 0.0, 1.0, 1.0]) for name in ("[OBJ0]", "[OBJ1]"))


def row(post, head, tail, *objects):
    """A row of post number `post`, whose picture has these objects."""
    listed = [{"name": entry["name"], "box": entry["box"], "caption": None} for entry in objects]
    return {
        "tokens": ["Ana", "in", "Lisbon"],
        "image_id": f"{post}.jpg",
        "head": head,
        "tail": tail,
        "objects": listed,
    }


ROWS = [
    row(0, ANA, DOG, DOG),  # one entity, one object
    row(1, ANA, DOG, DOG, CAT),  # one entity, two objects, one of which stands in no pair
    row(2, DOG, ANA, DOG),  # two entities: the next row has the other one
    row(2, ANA, LISBON, DOG),
    row(3, ANA, DOG, DOG, CAT),
    row(3, LISBON, CAT, DOG, CAT),
    row(3, DOG, CAT, DOG, CAT),
]


def test_groups():
    text_text, text_object, object_object = PAIR_KINDS
    kinds = [text_object] * 3 + [text_text] + [text_object] * 2 + [object_object]
    assert [pair_kind(row) for row in ROWS] == kinds
    one_one, one_several, several_one, several_several = POST_SIZES
    assert group_by_post(ROWS) == [one_one, one_several, several_one, None, several_several, several_several, None]


def test_scores_against_numbers_worked_out_by_hand():
    predictions = [1, 0, 2, 1, 1, 2, 0]
    references = [1, 1, 1, 1, -100, 2, 0]
    scores = score_groups(ROWS, predictions, references, LABELS, "none")
    pairs, posts = scores["pairs"], scores["posts"]
    assert {kind: of["examples"] for kind, of in pairs.items()} == dict(zip(PAIR_KINDS, (1, 4, 1), strict=True))
    # Of four text-object rows with a relation, three are predicted to have one, two rightly.
    assert pairs["text_object"]["micro_f1"] == pytest.approx(4 / 7)
    assert pairs["text_object"]["accuracy"] == 0.5
    assert (pairs["text_text"]["micro_f1"], pairs["object_object"]["micro_f1"]) == (1.0, 0.0)
    assert [posts[size]["micro_f1"] for size in POST_SIZES] == [1.0, 0.0, 0.0, 1.0]
    metrics = group_metrics(scores, "test")
    assert metrics["test_text_object_micro_f1"] == pytest.approx(4 / 7)
    assert metrics["test_several_entities_several_objects_micro_f1"] == 1.0 and len(metrics) == 7
    lines = format_groups(scores).splitlines()
    assert lines[3].split() == "| text object | 0.500 | 0.667 | 0.500 | 0.571 | 0.583 | 0.583 | 4 |".split()
    # One of the two relations has no row, and counts 0 in the published macro-F1.
    assert lines[2].split() == "| text text | 1.000 | 1.000 | 1.000 | 1.000 | 0.500 | 1.000 | 1 |".split()
    assert len({len(line) for line in lines[:5]}) == 1


def test_what_has_one_group_is_left_out():
    ones = [1] * len(ROWS)
    assert score_groups(ROWS, ones, [1, 1, 1, -100, 1, 1, -100], LABELS, "none").keys() == {"posts"}
    assert score_groups([ROWS[3]] * 2, [1, 1], [1, 0], LABELS, None) == {}
    assert score_groups(ROWS, ones, [-100] * len(ROWS), LABELS, "none") == {}
    assert format_groups({}) == "" and group_metrics({}, "test") == {}


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(ROWS), st.integers(0, 2), st.integers(0, 2)), min_size=2, max_size=30))
def test_each_groups_scores_are_those_of_its_rows_alone(examples):
    rows, predictions, references = zip(*examples, strict=True)
    scores = score_groups(rows, predictions, references, LABELS, "none")
    groups = {"pairs": [pair_kind(row) for row in rows], "posts": group_by_post(rows)}
    for name, of in groups.items():
        distinct = set(of) - {None}
        assert set(scores.get(name, ())) == (distinct if len(distinct) > 1 else set())
        for group, values in scores.get(name, {}).items():
            chosen = [i for i, other in enumerate(of) if other == group]
            alone = [[labels[i] for i in chosen] for labels in (predictions, references)]
            expected = compute_relation_f1(*alone, num_labels=3, negative_label=0)
            assert values == {"examples": len(chosen), **expected}


def test_the_order_of_rows_does_not_matter():
    shuffled = list(enumerate(ROWS))
    random.Random(0).shuffle(shuffled)
    groups = group_by_post([row for _, row in shuffled])
    assert [group for _, group in sorted(zip([i for i, _ in shuffled], groups, strict=True))] == group_by_post(ROWS)

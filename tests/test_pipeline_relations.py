# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The pipeline among some relations only: those of fitting types, and those that a call brings along."""

import copy
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_pipeline import (
    MAYA,
    NOAH,
    OWN_RELATIONS,
    ROVERS,
    TEXT,
    assert_same,
    make_input,
    make_picture,
    scores,
)
from transformers import pipeline

from processing_roc.pipeline_roc import kept_relations

# Relations of fitting types only

PEER, MEMBER = "/per/per/peer", "/per/org/member_of"
RELATION_TYPES = {PEER: ["person", "person"], MEMBER: ["person", ["organization", "band"]]}


@pytest.fixture
def typed_pipe(pipe):
    pipe.model.set_relation_types(RELATION_TYPES)
    return pipe


def among(answer: list[dict], labels: set[str]) -> dict[str, float]:
    """The scores of those relations, as if there were no others."""
    kept = {label: score for label, score in scores(answer).items() if label in labels}
    return {label: score / sum(kept.values()) for label, score in kept.items()}


@pytest.mark.parametrize(
    ("tail", "labels"),
    [
        (ROVERS, {"none", MEMBER}),
        ({**ROVERS, "type": "Band"}, {"none", MEMBER}),
        (NOAH, {"none", PEER}),
        ({**NOAH, "type": "dog"}, {"none"}),
        ({**NOAH, "type": "unknown"}, {"none", PEER, MEMBER}),
        ({"start": 9, "end": 13}, {"none", PEER, MEMBER}),
    ],
)
def test_only_relations_of_fitting_types_are_candidates(typed_pipe, tail, labels):
    given_input = make_input(tail=tail)
    everything, answer = typed_pipe(given_input), typed_pipe(given_input, filter_by_type=True)
    assert len(everything) == 3 and scores(answer).keys() == labels
    assert scores(answer) == pytest.approx(among(everything, labels), abs=1e-5)
    assert [one["score"] for one in answer] == sorted(scores(answer).values(), reverse=True)
    assert typed_pipe(given_input, filter_by_type=False) == everything
    assert typed_pipe(given_input, filter_by_type=True, top_k=1) == answer[:1]
    assert typed_pipe(given_input, filter_by_type=True, threshold=0) == answer
    best = answer[0]["score"]
    kept = typed_pipe(given_input, filter_by_type=True, threshold=best)
    assert kept == [one for one in answer if one["score"] >= best]
    explained = typed_pipe(given_input, filter_by_type=True, explain=True)
    assert [{**one, "explanation": 0} for one in explained] == [{**one, "explanation": 0} for one in answer]
    assert explained[0]["explanation"]["words"] and explained[0]["explanation"]["descriptions"]


def test_the_filter_in_all_pairs_and_batches(typed_pipe):
    inputs = [{"text": TEXT, "entities": [MAYA, NOAH, ROVERS], "image": make_picture()}, make_input(tail=NOAH)]
    batch = typed_pipe(inputs, filter_by_type=True, batch_size=2)
    labels = [set(scores(record["relations"])) for record in batch[0]]
    assert labels == [{"none", PEER}, {"none", MEMBER}, {"none", PEER}, {"none", MEMBER}, {"none"}, {"none"}]
    for record in batch[0]:
        pair = make_input(head=record["head"], tail=record["tail"])
        assert_same(record["relations"], typed_pipe(pair, filter_by_type=True))
    assert_same(batch[1], typed_pipe(inputs[1], filter_by_type=True))


def test_the_filter_among_relations_of_the_call(typed_pipe):
    relations = {PEER: "They are friends.", MEMBER: "The tail has the head.", "fan": "The head admires the tail."}
    everything = typed_pipe(make_input(), relations=relations)
    answer = typed_pipe(make_input(), relations=relations, filter_by_type=True)
    assert scores(answer) == pytest.approx(among(everything, {MEMBER, "fan"}), abs=1e-5)
    del relations["fan"]
    dog = make_input(tail={**NOAH, "type": "dog"})
    for more in ({}, {"threshold": 0}, {"explain": True}):
        assert typed_pipe(dog, relations=relations, filter_by_type=True, **more) == []
    with pytest.raises(ValueError, match="^filter_by_type: none of these relations has types"):
        typed_pipe(make_input(), relations=OWN_RELATIONS, filter_by_type=True)


def test_the_filter_with_the_models_own_threshold(typed_pipe):
    model, typed = typed_pipe.model, {"filter_by_type": True, "threshold": "auto"}
    (negative,) = typed_pipe(make_input(tail={**NOAH, "type": "dog"}), filter_by_type=True)
    assert negative["label"] == "none" and negative["score"] == pytest.approx(1)
    for threshold, labels in ((0.0, [MEMBER, "none"]), (1.0, ["none"])):
        model.config.abstention_threshold = threshold
        assert [one["label"] for one in typed_pipe(make_input(), **typed)] == labels
        dog = make_input(tail={**NOAH, "type": "dog"})
        assert [one["label"] for one in typed_pipe(dog, explain=True, **typed)] == ["none"]
    # "No relation" holds between whatever there is.
    model.set_relation_types({**RELATION_TYPES, "none": ["dog", "dog"]})
    assert scores(typed_pipe(make_input(), filter_by_type=True)).keys() == {"none", MEMBER}
    model.config.negative_relation = None
    assert typed_pipe(dog, **typed) == typed_pipe(dog, filter_by_type=True) == []


def test_the_filter_in_other_models(make_model, processor):
    for kwargs in ({"objective": "classification"}, {"learn_negative_threshold": True}, {"object_features": "roi"}):
        pipe = pipeline("relation-extraction", model=make_model(**kwargs), processor=processor, filter_by_type=True)
        with pytest.raises(ValueError, match="^filter_by_type: none of these relations has types"):
            pipe(make_input())
        pipe.model.set_relation_types(RELATION_TYPES)
        expected = among(pipe(make_input(), filter_by_type=False), {"none", MEMBER})
        assert scores(pipe(make_input())) == pytest.approx(expected, abs=1e-5)
    # An object's type may stand among the picture's objects.
    dog = {"box": [0.0, 0.0, 0.5, 1.0], "name": "dog"}
    labels = [scores(pipe(make_input(tail=dog, objects=[{**dog, **more}]))).keys() for more in ({}, {"type": "dog"})]
    assert labels == [{"none", PEER, MEMBER}, {"none"}]


# The best relations of many


@settings(max_examples=100, deadline=None)
@given(
    scores=st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]), min_size=1, max_size=12),
    threshold=st.sampled_from([None, "auto", 0.0, 0.1, 0.3, 1.0]),
    top_k=st.sampled_from([None, 1, 3]),
    data=st.data(),
)
def test_kept_relations_are_the_best_that_pass(scores, threshold, top_k, data):
    negative = data.draw(st.none() | st.integers(0, len(scores) - 1))
    is_candidate = data.draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores)))
    config = SimpleNamespace(
        abstention_threshold=0.25, negative_relation=negative, label2id={i: i for i in range(len(scores))}
    )
    limit = {None: 0.0, "auto": 0.25}.get(threshold, threshold)
    behind = [] if threshold != "auto" or negative is None else [negative]
    expected = sorted(
        (i for i, score in enumerate(scores) if is_candidate[i] and score >= limit),
        key=lambda i: -scores[i],
    )
    expected = [i for i in expected if i not in behind] + behind
    candidates = torch.tensor(is_candidate)
    found = kept_relations(torch.tensor(scores, dtype=torch.float64), config, candidates, threshold, top_k)
    assert found == expected[:top_k]
    assert candidates.tolist() == is_candidate


def test_a_hundred_thousand_relations_take_no_time():
    config = SimpleNamespace(abstention_threshold=0.5, negative_relation="none", label2id={"none": 0})
    scores, candidates = torch.rand(100_000), torch.ones(100_000, dtype=torch.bool)
    for threshold in (None, 0.0, "auto"):
        start = time.process_time()
        assert len(kept_relations(scores, config, candidates, threshold, 5)) == 5
        assert time.process_time() - start < 0.3


# Relations of the caller's own


def state_of(model) -> tuple:
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    return copy.deepcopy(model.config.to_dict()), tensors


def assert_untouched(model, before):
    config, tensors = before
    assert model.config.to_dict() == config
    assert model.state_dict().keys() == tensors.keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, tensors[name]), name


@pytest.mark.parametrize("own_relation_encoder", [False, True])
def test_relations_of_one_call_are_answered_as_if_they_had_been_set(make_model, processor, own_relation_encoder):
    model = make_model(own_relation_encoder=own_relation_encoder)
    pipe = pipeline("relation-extraction", model=model, processor=processor)
    before, own = state_of(model), pipe(make_input())
    mine = pipe(make_input(), relations=OWN_RELATIONS)
    assert_untouched(model, before)
    assert pipe(make_input()) == own
    assert scores(mine).keys() == OWN_RELATIONS.keys()
    model.set_relations(OWN_RELATIONS, processor)
    assert_same(mine, pipe(make_input()))


def test_relations_of_one_call_with_entities_and_batches(pipe):
    given_input = {"text": TEXT, "entities": [MAYA, NOAH], "image": make_picture()}
    alone = pipe(given_input, relations=OWN_RELATIONS)
    batch = pipe([given_input, make_input()], relations=OWN_RELATIONS, batch_size=2)
    for record, expected in zip(batch[0], alone, strict=True):
        assert_same(record["relations"], expected["relations"])
    assert scores(batch[1]).keys() == OWN_RELATIONS.keys()


@pytest.mark.parametrize(
    ("relations", "message"),
    [
        ({}, "relations: .*at least one relation"),
        (["a"], "relations: .*at least one relation"),
        ({"a": ""}, "relations: relation 'a' needs at least one description"),
        ({"a": 3}, "relations: relation 'a' needs at least one description"),
        ({"a": {"not", "json"}}, "relations: relation 'a' needs at least one description"),
        ({1: "text"}, "relations: a relation's label must be a string"),
        ({"a": "text", "b": "text"}, "relations: relations 'a' and 'b' have the same description"),
        ({"a": "text " * 100}, "relations: relation description 0 takes .* tokens, more than"),
    ],
)
def test_relations_that_are_wrong_leave_the_model_as_it_is(pipe, relations, message):
    before = state_of(pipe.model)
    with pytest.raises(ValueError, match=message):
        pipe(make_input(), relations=relations)
    assert_untouched(pipe.model, before)


def test_an_error_amid_a_call_leaves_the_model_as_it_is(pipe):
    before, own = state_of(pipe.model), pipe(make_input())
    with pytest.raises(ValueError, match="input 1: head"):
        pipe([make_input(), make_input(head={"start": 3, "end": 99})], relations=OWN_RELATIONS)
    assert_untouched(pipe.model, before)
    assert pipe(make_input()) == own


def test_threads_with_relations_of_their_own(pipe):
    sets = [None, OWN_RELATIONS, *({f"r{i}": f"The head is {i} times the tail.", "s": "Same."} for i in range(4))]
    expected = [pipe(make_input(), relations=relations) for relations in sets]
    before = state_of(pipe.model)
    pipe._relation_memories = {}
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda i: pipe(make_input(), relations=sets[i % 6]), range(36)))
    assert_untouched(pipe.model, before)
    for i, answer in enumerate(answers):
        assert_same(answer, expected[i % 6])


def test_equal_relation_sets_are_encoded_once(pipe):
    calls = []
    pipe.model.pair_encoder.text_encoder.register_forward_hook(lambda *args: calls.append(1))
    pipe(make_input())
    assert len(calls) == 1
    pipe(make_input(), relations=OWN_RELATIONS)
    assert len(calls) == 3
    pipe(make_input(), relations=dict(OWN_RELATIONS))
    assert len(calls) == 4
    for i in range(20):
        pipe(make_input(), relations={"a": f"text {i}"})
    assert len(pipe._relation_memories) <= 8
    calls.clear()
    pipe(make_input(), relations={"a": "text 19"})
    assert len(calls) == 1
    pipe(make_input(), relations=OWN_RELATIONS)
    assert len(calls) == 3


def test_kept_relation_sets_follow_what_the_model_says_of_relations(pipe, processor):
    """Whatever was asked before, the answer is that of a pipeline that was made just now."""
    model, own = pipe.model, dict(pipe.model.config.relation_descriptions)
    typed, fans = {PEER: ["person", "dog"]}, {**OWN_RELATIONS, PEER: "They are peers."}

    def change_negative():
        model.config.negative_relation = None

    def change_threshold():
        model.config.abstention_threshold = 0.0

    def back_to_own_with_a_threshold():
        model.set_relations(OWN_RELATIONS, processor)
        model.set_relations(own, processor)
        model.config.abstention_threshold = 1.0

    calls = [(own, {"threshold": "auto"}), (fans, {}), (fans, {"filter_by_type": True})]
    changes = [
        lambda: model.set_relation_types(typed),
        lambda: model.set_relation_offsets({PEER: 3.0}),
        change_threshold,
        back_to_own_with_a_threshold,
        change_negative,
    ]
    for change in changes:
        change()
        fresh = pipeline("relation-extraction", model=model, processor=processor)
        for relations, more in calls:
            answers = []
            for one in (pipe, fresh):
                try:
                    answers.append(one(make_input(), relations=relations, **more))
                except ValueError as error:
                    answers.append(str(error))
            assert answers[0] == answers[1]


def test_a_label_that_is_no_string_is_refused_whatever_is_kept(pipe):
    pipe(make_input(), relations={"1": "text"})
    with pytest.raises(ValueError, match="relations: a relation's label must be a string"):
        pipe(make_input(), relations={1: "text"})


def test_kept_relation_sets_follow_the_weights(pipe, processor):
    before = pipe(make_input(), relations=OWN_RELATIONS)
    with torch.no_grad():
        pipe.model.relation_encoder.projection.weight.mul_(-1)
    after = pipe(make_input(), relations=OWN_RELATIONS)
    assert scores(after) != pytest.approx(scores(before), abs=1e-3)
    fresh = pipeline("relation-extraction", model=pipe.model, processor=processor)
    assert_same(after, fresh(make_input(), relations=OWN_RELATIONS))

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The pipeline answers as model and processor do, takes pictures from anywhere, and leaves the model as it is."""

import base64
import copy
import functools
import http.server
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from datasets import Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import pipeline
from transformers.pipelines.pt_utils import KeyDataset

from processing_roc import RelationExtractionPipeline, RocProcessor

TEXT = "Maya met Noah and the Rovers"
MAYA, NOAH, ROVERS = (
    {"start": 0, "end": 4, "type": "person"},
    {"start": 9, "end": 13, "type": "person"},
    {"start": 18, "end": 28, "type": "organization"},
)
OWN_RELATIONS = {
    "none": "Nothing ties head and tail.",
    "fan": ["The head admires the tail.", "The head likes what the tail does."],
    "rival": "Head and tail compete.",
}


def make_picture(seed: int = 0) -> Image.Image:
    return Image.effect_mandelbrot((90, 60), (-2, -1, 1, 1 + seed), 50).convert("RGB")


def make_input(**changes) -> dict:
    return {"text": TEXT, "head": MAYA, "tail": ROVERS, "image": make_picture(), **changes}


@pytest.fixture
def pipe(make_model, processor):
    return pipeline("relation-extraction", model=make_model(), processor=processor)


@pytest.fixture
def vision_rows(pipe):
    """Pictures in each call of the vision encoder."""
    rows = []
    pipe.model.vision_encoder.register_forward_hook(
        lambda module, args, kwargs, output: rows.append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    return rows


def scores(answer: list[dict]) -> dict[str, float]:
    return {relation["label"]: relation["score"] for relation in answer}


def assert_same(answer, expected):
    assert scores(answer) == pytest.approx(scores(expected), abs=1e-5)
    assert {r["label"]: r["description"] for r in answer} == {r["label"]: r["description"] for r in expected}


def direct_scores(model, processor, given: dict) -> dict[str, float]:
    inputs = processor(
        text=given["text"], head=given["head"], tail=given["tail"], images=given.get("image"), return_tensors="pt"
    )
    with torch.no_grad():
        probabilities = model(**inputs).logits.softmax(dim=-1)[0]
    return dict(zip(model.config.id2label.values(), probabilities.tolist(), strict=True))


# Answers


def test_it_is_registered_and_answers_as_the_model_does(pipe, processor):
    assert type(pipe) is RelationExtractionPipeline
    answer = pipe(make_input())
    assert scores(answer) == pytest.approx(direct_scores(pipe.model, processor, make_input()), abs=1e-6)
    assert sum(relation["score"] for relation in answer) == pytest.approx(1, abs=1e-5)
    assert [relation["score"] for relation in answer] == sorted(scores(answer).values(), reverse=True)
    json.dumps(answer)


@pytest.mark.parametrize("aggregation", ["max", "mean"])
def test_the_description_is_the_one_that_fits_best(make_model, processor, aggregation):
    model = make_model(relation_aggregation=aggregation)
    pipe = pipeline("relation-extraction", model=model, processor=processor)
    descriptions = model.config.relation_descriptions["/per/org/member_of"]
    with torch.no_grad():
        inputs = processor(text=TEXT, head=MAYA, tail=ROVERS, return_tensors="pt")
        pair = model(**inputs).pair_embeds[0]
    cosines = {text: float(pair @ row) for text, row in zip(descriptions, model.memory.embeds[1:3], strict=True)}
    found = {relation["label"]: relation["description"] for relation in pipe(make_input(image=None))}
    assert found["/per/org/member_of"] == max(cosines, key=cosines.get)


def test_top_k_and_threshold(pipe):
    everything = pipe(make_input(), top_k=None)
    assert len(everything) == 3
    assert pipe(make_input(), top_k=2) == everything[:2]
    between = (everything[0]["score"] + everything[1]["score"]) / 2
    assert pipe(make_input(), threshold=between) == everything[:1]
    assert pipe(make_input(), threshold=1) == []
    assert pipe(make_input(), threshold=0, top_k=1) == everything[:1]


def test_settings_of_the_pipeline_are_those_of_its_calls(make_model, processor):
    pipe = pipeline(
        "relation-extraction", model=make_model(), processor=processor, top_k=1, relations=OWN_RELATIONS, batch_size=2
    )
    assert len(pipe(make_input())) == 1
    assert scores(pipe(make_input(), top_k=None)).keys() == OWN_RELATIONS.keys()
    assert pipe(make_input(), relations=None)[0]["label"] in pipe.model.config.label2id


def test_a_text_of_tokens_and_no_picture(pipe):
    words = make_input(text=TEXT.split(), head={"start": 0, "end": 1}, tail={"start": 4, "end": 6}, image=None)
    letters = make_input(head={"start": 0, "end": 4}, tail={"start": 18, "end": 28})
    del letters["image"]
    assert_same(pipe(words), pipe(letters))


def test_a_negative_relation_with_a_learned_threshold(make_model, processor):
    model = make_model(learn_negative_threshold=True)
    pipe = pipeline("relation-extraction", model=model, processor=processor)
    answer = pipe(make_input())
    assert scores(answer) == pytest.approx(direct_scores(model, processor, make_input()), abs=1e-6)
    described = {relation["label"]: relation["description"] for relation in answer}
    assert described["none"] == model.config.relation_descriptions["none"][0]
    mine = pipe(make_input(), relations=OWN_RELATIONS)
    model.set_relations(OWN_RELATIONS, processor)
    assert_same(mine, pipe(make_input()))


def test_a_classification_model(make_model, processor):
    model = make_model(objective="classification")
    pipe = pipeline("relation-extraction", model=model, processor=processor)
    answer = pipe(make_input())
    assert scores(answer) == pytest.approx(direct_scores(model, processor, make_input()), abs=1e-6)
    assert {relation["description"] for relation in answer} == {None}
    with pytest.raises(ValueError, match="relations: .*classification.* fixed set"):
        pipe(make_input(), relations=OWN_RELATIONS)


@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        ({"dtype": torch.float32}, 1e-5),
        ({"dtype": "bfloat16"}, 0.05),
        ({"device": "cpu"}, 1e-5),
        ({"device_map": "cpu"}, 1e-5),
        ({"model_kwargs": {"attn_implementation": "eager"}}, 1e-5),
        ({"model_kwargs": {"attn_implementation": "sdpa"}, "local_files_only": True}, 1e-5),
    ],
)
def test_it_is_loaded_as_every_pipeline_is(pipe, processor, tmp_path, settings, tolerance):
    pipe.model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded = pipeline("relation-extraction", model=str(tmp_path), trust_remote_code=True, **settings)
    if "dtype" in settings:
        assert str(loaded.dtype) == f"torch.{str(settings['dtype']).removeprefix('torch.')}"
    if "model_kwargs" in settings:
        assert loaded.model.config._attn_implementation == settings["model_kwargs"]["attn_implementation"]
    answers = loaded([make_input(), make_input(image=None)], batch_size=2)
    for answer, given_input in zip(answers, [make_input(), make_input(image=None)], strict=True):
        assert scores(answer) == pytest.approx(scores(pipe(given_input)), abs=tolerance)
    own = loaded(make_input(), relations=OWN_RELATIONS)
    assert scores(own) == pytest.approx(scores(pipe(make_input(), relations=OWN_RELATIONS)), abs=tolerance)


def test_a_model_fresh_from_training_answers_without_dropout(make_model, processor):
    pipe = pipeline("relation-extraction", model=make_model(pair_dropout=0.5).train(), processor=processor)
    assert pipe(make_input()) == pipe(make_input())


# Entities


def test_every_ordered_pair_with_one_pass_of_the_picture(pipe, vision_rows):
    entities = [MAYA, NOAH, ROVERS]
    records = pipe({"text": TEXT, "entities": entities, "image": make_picture()})
    assert vision_rows == [1]
    pairs = [(record["head"], record["tail"]) for record in records]
    assert pairs == [(head, tail) for head in entities for tail in entities if head is not tail]
    for record in records:
        assert_same(record["relations"], pipe(make_input(head=record["head"], tail=record["tail"])))
    json.dumps(records)


def test_entities_and_pairs_in_one_batch_share_a_picture(pipe, vision_rows):
    inputs = [
        {"text": TEXT, "entities": [MAYA, NOAH, ROVERS], "image": make_picture()},
        make_input(),
        make_input(image=make_picture(1)),
        make_input(image=None),
    ]
    together = pipe(inputs, batch_size=4)
    assert vision_rows == [2]
    for given_input, answer in zip(inputs, together, strict=True):
        alone = pipe(given_input)
        if "entities" in given_input:
            assert len(answer) == 6
            for record, expected in zip(answer, alone, strict=True):
                assert_same(record["relations"], expected["relations"])
        else:
            assert_same(answer, alone)


@pytest.mark.parametrize("object_features", ["roi", "crop"])
def test_mentions_and_objects_together(make_model, processor, object_features):
    pipe = pipeline("relation-extraction", model=make_model(object_features=object_features), processor=processor)
    left, right = {"box": [0.0, 0.0, 0.5, 1.0], "name": "left"}, {"box_pixels": [45, 0, 90, 60], "type": "person"}
    calls = []
    pipe.model.vision_encoder.register_forward_hook(lambda *args: calls.append(1))
    given_input = {
        "text": TEXT,
        "entities": [MAYA, left, right],
        "image": make_picture(),
        "objects": [{**left, "caption": "a woman"}],
    }
    records = pipe(given_input)
    assert len(calls) == (1 if object_features == "roi" else 2)  # crops are pictures of their own
    assert [(record["head"], record["tail"]) for record in records[:3]] == [(MAYA, left), (MAYA, right), (left, MAYA)]
    batch = pipe([make_input(), given_input], batch_size=2)
    assert_same(batch[0], pipe(make_input()))
    for record, again in zip(records, batch[1], strict=True):
        pair = make_input(head=record["head"], tail=record["tail"], objects=given_input["objects"])
        assert_same(record["relations"], pipe(pair))
        assert_same(record["relations"], again["relations"])
    with pytest.raises(ValueError, match=r"^input 1: entities\[0\] as head with entities\[1\] as tail: .*picture"):
        pipe([make_input(), {"text": TEXT, "entities": [MAYA, left]}], batch_size=2)
    with pytest.raises(ValueError, match="^input 0: object 0: box "):
        pipe([make_input(objects=[{"box": [0, 0, 2, 1]}])])


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


# Batches, generators, data sets


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5])
def test_batches_answer_as_single_inputs_do(pipe, batch_size):
    inputs = [make_input(image=make_picture(i % 2), tail=NOAH if i % 3 else ROVERS) for i in range(5)]
    answers = pipe(inputs, batch_size=batch_size)
    assert len(answers) == 5
    for given_input, answer in zip(inputs, answers, strict=True):
        assert_same(answer, pipe(given_input))


def test_generators_and_data_sets_stream(pipe, vision_rows):
    picture = make_picture()
    expected = pipe(make_input())
    seen = []

    def rows():
        for number in range(4):
            seen.append(number)
            yield make_input(image=picture)

    streamed = pipe(rows(), batch_size=2)
    assert_same(next(iter(streamed)), expected)
    assert len(seen) == 2
    vision_rows.clear()
    dataset = Dataset.from_list([{"pair": make_input(image=None)} for _ in range(3)])
    answers = list(pipe(KeyDataset(dataset, "pair"), batch_size=2))
    assert len(answers) == 3 and vision_rows == []
    assert_same(answers[2], pipe(make_input(image=None)))
    assert pipe([]) == []


def test_workers_prepare_the_batches(pipe, vision_rows):
    inputs = [make_input() for _ in range(4)]
    answers = pipe(inputs, batch_size=2, num_workers=2)
    assert vision_rows == [1, 1]
    assert_same(answers[3], pipe(make_input()))


# Pictures


@pytest.fixture
def web(tmp_path):
    """A web server on loopback over tmp_path."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    handler.func.log_message = lambda *args: None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_picture_is_the_same_wherever_it_is(pipe, tmp_path, web, mode):
    picture = make_picture()
    if mode == "RGBA":
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    path = tmp_path / "picture.png"
    picture.save(path)
    content = path.read_bytes()
    encoded = base64.b64encode(content).decode()
    forms = {
        "PIL": picture,
        "path": path,
        "name": str(path),
        "URL": f"{web}/picture.png",
        "bytes": content,
        "base64": encoded,
        "base64 in lines": base64.encodebytes(content).decode(),
        "data URL": f"data:image/png;base64,{encoded}",
    }
    expected = pipe(make_input(image=picture))
    assert scores(expected) != pytest.approx(scores(pipe(make_input(image=None))), abs=1e-5)
    for form, image in forms.items():
        assert pipe(make_input(image=image)) == expected, form


def test_pictures_that_cannot_be_had(pipe, tmp_path, web):
    (tmp_path / "note.txt").write_text("no picture")
    for image, message in [
        (f"{web}/missing.png", "^image: cannot fetch .*missing.png: .*404"),
        ("http://127.0.0.1:9/picture.png", "^image: cannot fetch http://127.0.0.1:9/picture.png"),
        (f"{web}/note.txt", "^image http.*note.txt: cannot read picture"),
        (str(tmp_path / "missing.jpg"), "^image: .*missing.jpg' is no file that exists"),
        (str(tmp_path / "note.txt"), "^image: cannot read picture .*note.txt"),
        ("aGVsbG8=", "^image: cannot read picture 5 bytes"),
        ("data:image/png;base64,", "^image: .* no base64: it is empty"),
        (b"", "^image: cannot read picture"),
        (7, "^image must be a PIL picture, a path or bytes, got int, a URL or base64"),
    ]:
        with pytest.raises(ValueError, match=message):
            pipe(make_input(image=image))


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
    pipe.model.text_encoder.register_forward_hook(lambda *args: calls.append(1))
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


def test_kept_relation_sets_follow_the_weights(pipe, processor):
    before = pipe(make_input(), relations=OWN_RELATIONS)
    with torch.no_grad():
        pipe.model.relation_projection.weight.mul_(-1)
    after = pipe(make_input(), relations=OWN_RELATIONS)
    assert scores(after) != pytest.approx(scores(before), abs=1e-3)
    fresh = pipeline("relation-extraction", model=pipe.model, processor=processor)
    assert_same(after, fresh(make_input(), relations=OWN_RELATIONS))


# Errors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": None}, "^text is missing"),
        ({"text": 5}, "^text must be a string or a list"),
        ({"text": " "}, "^text"),
        ({"head": None}, "^head is missing"),
        ({"head": [0, 4]}, "^head must be a dict"),
        ({"tail": {"start": 4, "end": 4}}, "^tail span .* is empty"),
        ({"tail": {"start": 4}}, "^tail: end must be an integer"),
        ({"tail": MAYA}, "^head and tail are the same span"),
        ({"head": {**MAYA, "name": "Noah"}}, "^head span .* reads 'Maya', but its name is 'Noah'"),
        ({"entities": [MAYA, NOAH]}, "^give either entities or head and tail"),
        ({"head": None, "tail": None, "entities": [MAYA]}, "^entities must be a list of at least two"),
        ({"head": None, "tail": None, "entities": MAYA}, "^entities must be a list of at least two"),
        ({"head": None, "tail": None, "entities": [MAYA, 3]}, r"^entities\[1\] must be a dict"),
        (
            {"head": None, "tail": None, "entities": [MAYA, NOAH, {"start": 20, "end": 19}]},
            r"^entities\[0\] as head with entities\[2\] as tail: tail span .* is inverted",
        ),
        ({"images": "picture.png"}, r"^unknown fields \['images'\]"),
    ],
)
def test_errors_name_the_field_and_the_input(pipe, changes, message):
    with pytest.raises(ValueError, match=message):
        pipe(make_input(**changes))
    with pytest.raises(ValueError, match="^input 1: " + message.removeprefix("^")):
        pipe([make_input(), make_input(**changes)], batch_size=2)


def test_an_input_that_is_no_dict(pipe):
    with pytest.raises(ValueError, match="must be a dict with text, head, .* got str"):
        pipe(TEXT)
    with pytest.raises(ValueError, match="input 0: an input must be a dict"):
        pipe([TEXT])


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"top_k": 0}, ValueError, "top_k must be a positive integer"),
        ({"top_k": "3"}, ValueError, "top_k must be"),
        ({"threshold": 1.5}, ValueError, "threshold must be a probability"),
        ({"threshold": float("nan")}, ValueError, "threshold must be a probability"),
        ({"filter_by_type": 1}, ValueError, "filter_by_type must be True or False"),
        ({"topk": 3}, TypeError, "takes no topk"),
    ],
)
def test_parameters_out_of_range(pipe, parameters, error, message):
    with pytest.raises(error, match=message):
        pipe(make_input(), **parameters)


def test_a_picture_for_a_text_only_model(make_model, processor):
    text_only = RocProcessor(None, processor.tokenizer, max_length=64)
    pipe = pipeline("relation-extraction", model=make_model(with_vision=False), processor=text_only)
    assert len(pipe(make_input(image=None))) == 3
    with pytest.raises(ValueError, match="no image processor"):
        pipe(make_input())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.dictionaries(st.sampled_from(["text", "head", "tail", "entities", "image", "other"]), JSON, max_size=3)
)
def test_whatever_comes_there_is_an_answer_or_a_clear_error(pipe, changes):
    try:
        answer = pipe(make_input(**changes))
    except ValueError as error:
        assert str(error)
    else:
        assert sum(scores(answer).values()) == pytest.approx(1, abs=1e-5)

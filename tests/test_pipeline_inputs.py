# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What the pipeline takes: pictures from anywhere; all else is answered, or an error names it."""

import base64
import functools
import http.server
import json
import threading

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_pipeline import MAYA, NOAH, ROVERS, TEXT, assert_same, make_input, make_picture, scores
from tokenizers import Tokenizer
from transformers import BertweetTokenizer, PreTrainedTokenizerFast, pipeline
from transformers.pipelines.pt_utils import KeyDataset

from data_scripts.demo.dataset import build_demo_tokenizer, demo_image_processor
from data_scripts.schema import dataset_features
from processing_roc import RocProcessor

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
        (7, "^image must be a PIL picture, a path, a URL, base64 or bytes, got int"),
    ]:
        with pytest.raises(ValueError, match=message):
            pipe(make_input(image=image))


# Errors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": None}, "^text is missing"),
        ({"text": 5}, "^text must be a string or a list"),
        ({"text": " "}, "^text"),
        ({"head": None}, "^head is missing"),
        ({"head": [0, 4, 5]}, r"^head must be a dict, \[start, end\).*, got \[0, 4, 5\]"),
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
            r"^entities\[2\] span .* is inverted",
        ),
        ({"images": "picture.png"}, r"^unknown fields \['images'\]"),
    ],
)
def test_errors_name_the_field_and_the_input(pipe, changes, message):
    with pytest.raises(ValueError, match=message):
        pipe(make_input(**changes))
    with pytest.raises(ValueError, match="^input 1: " + message.removeprefix("^")):
        pipe([make_input(), make_input(**changes)], batch_size=2)


def test_an_error_of_the_processor_names_the_input(pipe):
    boxes = [{"box": [0.05 * i, 0.0, 0.05 * i + 0.1, 1.0]} for i in range(13)]
    cropped = {"box": [0.0, 0.0, 0.5, 1.0]}
    entities = {"text": TEXT, "entities": [MAYA, NOAH], "image": make_picture(), "objects": boxes}
    for wrong, message in [
        (make_input(objects=boxes), "^input 2: 13 objects are more than max_objects=12"),
        (make_input(tail=cropped, image=None), "^input 2: an object was given as head or tail, but no picture"),
        (entities, r"^input 2: entities\[0\] as head with entities\[1\] as tail: 13 objects"),
    ]:
        for given_inputs in ([make_input()] * 2 + [wrong], (one for one in [make_input()] * 2 + [wrong])):
            with pytest.raises(ValueError, match=message):
                list(pipe(given_inputs, batch_size=3))


def test_an_input_that_is_no_dict(pipe):
    with pytest.raises(ValueError, match="must be a dict with text, tokens, head, .* got str"):
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


# One reader of inputs


def test_rows_of_a_data_set_go_in_as_they_are(pipe):
    entity = {"name": "Maya", "kind": "text", "start": 0, "end": 1, "box": None, "type": "person"}
    row = {
        "id": "test-1",
        "image": make_picture(),
        "image_id": "pier.jpg",
        "tokens": TEXT.split(),
        "head": entity,
        "tail": {**entity, "name": "the Rovers", "start": 4, "end": 6, "type": "organization"},
        "objects": [],
        "relation": 1,
    }
    expected = pipe(make_input())
    assert pipe(row) == expected
    dataset = Dataset.from_list([row, {**row, "image": None}], dataset_features(["a", "b"]))
    for found in (list(pipe(dataset)), list(pipe(dataset, batch_size=2)), list(pipe(dataset.to_iterable_dataset()))):
        for one, other in zip(found, [expected, pipe(make_input(image=None))], strict=True):
            assert_same(one, other)
    pairs = Dataset.from_list([{"pair": {**make_input(image=None)}}] * 2)
    for column in (pairs["pair"], pairs.to_pandas()["pair"], np.array([make_input(image=None)] * 2)):
        assert len(pipe(column)) == 2
    with pytest.raises(ValueError, match="^give either text or tokens, not both"):
        pipe({**row, "text": TEXT})


def test_entities_of_other_pipelines_go_in_as_they_come(make_model, processor):
    pipe = pipeline("relation-extraction", model=make_model(object_features="roi"), processor=processor)
    tagged = [
        {"entity_group": "PER", "score": np.float32(0.99), "word": "maya", "start": 0, "end": 4},
        {"entity_group": "ORG", "score": np.float32(0.9), "word": "the rovers", "start": 18, "end": 28},
    ]
    detected = [{"score": 0.9, "label": "dog", "box": {"xmin": 9, "ymin": 6, "xmax": 45, "ymax": 30}}]
    image, dog = make_picture(), {"box": [0.1, 0.1, 0.5, 0.5], "type": "dog"}
    mine = pipe({"text": TEXT, "entities": [MAYA, ROVERS, dog], "image": image, "objects": detected})
    for entities in (tagged + detected, tuple(tagged + detected)):
        found = pipe({"text": TEXT, "entities": entities, "image": image, "objects": detected})
        assert [one["relations"] for one in found] == [one["relations"] for one in mine]
        assert found[0]["head"] == tagged[0] and found[5]["head"] == detected[0]
    plain = pipe({"text": TEXT, "entities": ["Maya", (18, 28)], "image": image})
    assert_same(plain[0]["relations"], pipe(make_input(head={"start": 0, "end": 4}, tail="the Rovers")))
    with pytest.raises(ValueError, match=r"^input 1: entities\[1\] 'Ken' is not in the text"):
        list(pipe([make_input(), {"text": TEXT, "entities": ["Maya", "Ken"]}]))


def test_an_entity_that_is_there_twice_is_scored_once(pipe):
    again = {"entity_group": "ORG", "start": 0, "end": 5}
    found = pipe({"text": TEXT, "entities": [MAYA, "Maya", NOAH, again, NOAH]})
    assert [(one["head"], one["tail"]) for one in found] == [(MAYA, NOAH), (NOAH, MAYA)]
    with pytest.raises(ValueError, match="^entities must be at least two that are not the same, got"):
        pipe({"text": TEXT, "entities": [MAYA, again]})


def test_an_error_names_the_input_whatever_way_it_came(pipe):
    wrong = make_input(tail={"start": 4})
    inputs = [make_input(image=None)] * 3 + [wrong]
    rows = Dataset.from_list([{"pair": {**one, "image": None}} for one in inputs])
    for way in (inputs, (one for one in inputs), KeyDataset(rows, "pair"), rows["pair"]):
        for batch_size in (1, 3):
            way = list(way) if not isinstance(way, (list, KeyDataset)) else way
            with pytest.raises(ValueError, match="^input 3: tail: end must be an integer"):
                list(pipe(way, batch_size=batch_size))
    for way in (inputs, (one for one in inputs)):
        with pytest.raises(ValueError, match="input 3: tail: end must be an integer"):
            list(pipe(way, batch_size=2, num_workers=1))


# The tokenizer


def test_a_tokenizer_that_is_not_the_models_is_refused(pipe, make_model):
    vocabulary = build_demo_tokenizer().get_vocab()
    backend = json.loads(build_demo_tokenizer().backend_tokenizer.to_str())
    words = sorted((word for word in vocabulary if word.isalpha()), key=vocabulary.get)
    for word, other in zip(words, words[1:] + words[:1], strict=True):
        backend["model"]["vocab"][word] = vocabulary[other]
    swapped = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(backend)), **build_demo_tokenizer().special_tokens_map
    )
    swapped = RocProcessor(pipe.processor.image_processor, swapped, max_length=64)
    with pytest.raises(ValueError, match="tokenizer, .* is not the model's: the description 'Nothing ties head and"):
        pipeline("relation-extraction", model=pipe.model, processor=swapped)
    larger = build_demo_tokenizer()
    larger.add_tokens(["a new word"])
    larger = RocProcessor(pipe.processor.image_processor, larger, max_length=64)
    with pytest.raises(ValueError, match="is not the model's: it has [0-9]+ tokens, the model [0-9]+"):
        pipeline("relation-extraction", model=make_model(objective="classification"), processor=larger)


def test_a_slow_tokenizer_is_for_answers_and_not_for_explanations(make_model, tmp_path):
    (tmp_path / "vocab.txt").write_text("Maya 10\nmet 9\nNoah 8\nand 5\nthe 5\nRovers 5\n")
    (tmp_path / "bpe.codes").write_text("a n 3\nan d</w> 3\nt h 2\nth e</w> 2\n")
    tokenizer = BertweetTokenizer(f"{tmp_path}/vocab.txt", f"{tmp_path}/bpe.codes")
    slow = RocProcessor(demo_image_processor(), tokenizer, max_length=64)
    model = make_model()
    relations = {"a": "and the", "b": "the and and"}
    model.set_relations(relations, slow)
    pipe = pipeline("relation-extraction", model=model, processor=slow)
    assert scores(pipe(make_input())).keys() == relations.keys()
    with pytest.raises(ValueError, match="^offsets, which explain=True needs, need a fast tokenizer"):
        pipe(make_input(), explain=True)


# Texts that are cut


def test_an_answer_tells_how_much_of_its_text_was_not_read(pipe):
    long = make_input(text=TEXT + " and met Noah" * 60)
    answer = pipe(long)
    given = {
        "text": long["text"],
        "head": MAYA,
        "tail": ROVERS,
        "max_length": 128,
        "return_num_truncated_tokens": True,
    }
    expected = pipe.processor(**given)["num_truncated_tokens"][0] + 64
    assert {one["num_truncated_tokens"] for one in answer} == {expected}
    both = pipe([make_input(), long], batch_size=2)
    assert ["num_truncated_tokens" in answer[0] for answer in both] == [False, True]
    entities = pipe({"text": long["text"], "entities": [MAYA, ROVERS]})
    assert [one["relations"][0]["num_truncated_tokens"] for one in entities] == [expected] * 2

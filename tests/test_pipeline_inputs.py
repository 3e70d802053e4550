# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What the pipeline takes: pictures from anywhere; all else is answered, or an error names it."""

import base64
import functools
import http.server
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_pipeline import MAYA, NOAH, TEXT, make_input, make_picture, scores
from transformers import pipeline

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

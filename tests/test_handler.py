# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The endpoint's handler: JSON in and out, the pipeline's answers, and clear words for a wrong request."""

import base64
import importlib.util
import io
import json
import re
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_remote_code import MODEL_FILES, PROCESSOR_FILES
from transformers import pipeline

from training_roc.push import write_serving_files

ROOT = Path(__file__).parents[1]
TEXT = "Maya met Noah and the Rovers"
MAYA, NOAH, ROVERS = ({"start": 0, "end": 4}, {"start": 9, "end": 13}, {"start": 18, "end": 28})
OWN_RELATIONS = {"none": "Nothing ties head and tail.", "fan": ["The head admires the tail.", "The head likes it."]}


def png() -> bytes:
    buffer = io.BytesIO()
    Image.effect_mandelbrot((90, 60), (-2, -1, 1, 1), 50).convert("RGB").save(buffer, format="PNG")
    return buffer.getvalue()


def make_input(**changes) -> dict:
    return {"text": TEXT, "head": MAYA, "tail": ROVERS, "image": base64.b64encode(png()).decode(), **changes}


@pytest.fixture
def repository(make_model, processor, tmp_path):
    make_model().save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    write_serving_files(tmp_path)
    return tmp_path


@pytest.fixture
def handler(repository):
    """The handler as an endpoint loads it: from the repository's own file."""
    spec = importlib.util.spec_from_file_location("handler", repository / "handler.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.EndpointHandler(str(repository))


def ask(handler, request):
    """Through JSON both ways, as over the network."""
    return json.loads(json.dumps(handler(json.loads(json.dumps(request)))))


def test_the_answers_are_the_pipelines(handler, repository):
    pipe = pipeline("relation-extraction", model=str(repository), trust_remote_code=True)
    picture = png()
    assert ask(handler, {"inputs": make_input()}) == pipe(make_input(image=picture))
    parameters = {"top_k": 1, "threshold": 0.01, "relations": OWN_RELATIONS}
    assert ask(handler, {"inputs": make_input(), "parameters": parameters}) == pipe(
        make_input(image=picture), **parameters
    )
    for model in (handler.pipeline.model, pipe.model):
        model.set_relation_types({"/per/per/peer": ["person", "person"]})
    typed = {"tail": {**ROVERS, "type": "organization"}}
    answer = ask(handler, {"inputs": make_input(**typed), "parameters": {"filter_by_type": True}})
    assert answer == pipe(make_input(**typed, image=picture), filter_by_type=True) and len(answer) == 2
    assert ask(handler, {"inputs": make_input(), "parameters": None}) == pipe(make_input(image=picture))
    sent = {"inputs": make_input(), "parameters": {"timeout": 5}, "options": {"wait_for_model": True}}
    assert ask(handler, sent) == pipe(make_input(image=picture))
    entities = {
        "text": TEXT,
        "entities": [MAYA, NOAH, ROVERS],
        "image": f"data:image/png;base64,{make_input()['image']}",
    }
    assert ask(handler, {"inputs": entities}) == pipe({**entities, "image": picture})
    several = [make_input(), entities, make_input(image=None)]
    assert ask(handler, {"inputs": several}) == pipe(several, batch_size=8)
    assert ask(handler, {"inputs": []}) == []


def test_posts_without_entities_are_answered_by_the_tagger_of_environment_or_folder(
    repository, handler, tiny_tagger, monkeypatch
):
    post, pair = {"text": "anabel roy in oslo"}, {"inputs": make_input()}
    with pytest.raises(ValueError, match="^head is missing: .*an entity_tagger"):
        handler({"inputs": post})
    expected = handler.pipeline(post, entity_tagger=tiny_tagger)
    assert [one["name"] for one in expected["entities"]] == ["anabel roy", "oslo"]
    monkeypatch.setenv("ROC_ENTITY_TAGGER", tiny_tagger)
    by_environment = type(handler)(str(repository))
    assert ask(by_environment, {"inputs": post}) == expected
    assert ask(by_environment, pair) == ask(handler, pair)
    answer = ask(by_environment, {"inputs": [post] * 2, "parameters": {"max_entities": 1}})
    assert [len(one["entities"]) for one in answer] == [1, 1] and answer[0]["num_entities_left_out"] == 1
    with pytest.raises(ValueError, match="^the request has 1056 pairs .*counts max_entities=12"):
        by_environment({"inputs": [post] * 8})
    monkeypatch.setenv("ROC_ENTITY_TAGGER", "")
    shutil.copytree(tiny_tagger, repository / "entity_tagger")
    assert ask(type(handler)(str(repository)), {"inputs": post}) == expected
    monkeypatch.setenv("ROC_ENTITY_TAGGER", "spacy:absent")
    with pytest.raises(ValueError, match="^entity_tagger 'spacy:absent': "):
        type(handler)(str(repository))


def test_the_folder_of_the_file_is_the_default(repository):
    spec = importlib.util.spec_from_file_location("handler_here", repository / "handler.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert len(module.EndpointHandler()({"inputs": make_input()})) == 3


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, r"^the request must be a JSON object \{\"inputs\""),
        ([], "^the request must be a JSON object"),
        ({"inputs": make_input(), "model": "roc"}, r"^the request has unknown fields \['model'\]"),
        ({"inputs": make_input(), "options": True}, "^options must be an object, got bool"),
        ({"inputs": make_input(), "parameters": {"timeout": 3600}}, "^timeout must be .* at most 30, got 3600"),
        ({"inputs": make_input(), "parameters": {"timeout": None}}, "^timeout must be .* at most 30, got None"),
        ({"inputs": [make_input()] * 65}, "^a request may have 64 inputs, got 65: send several requests"),
        ({"inputs": make_input(objects=[{"box": [0, 0, 1, 1]}] * 101)}, "^an input may have 100 objects, got 101"),
        (
            {"inputs": make_input(image="http://127.0.0.1:9/x.png")},
            "^image: cannot fetch .* is at 127.0.0.1, which is no public address",
        ),
        (
            {"inputs": make_input(image="http://169.254.169.254/latest/meta-data")},
            "^image: cannot fetch .* is at 169.254.169.254, which is no public address",
        ),
        ({"inputs": make_input(), "parameters": [1]}, "^parameters must be an object, got list"),
        (
            {"inputs": make_input(), "parameters": {"topk": 1}},
            r"^parameters has unknown fields \['topk'\]; known are top_k",
        ),
        ({"inputs": make_input(), "parameters": {"top_k": 0}}, "^top_k must be a positive integer"),
        ({"inputs": make_input(), "parameters": {"threshold": "0.5"}}, "^threshold must be a probability"),
        ({"inputs": make_input(), "parameters": {"relations": {"a": ""}}}, "^relations: relation 'a' needs"),
        ({"inputs": TEXT}, "^an input must be a dict"),
        ({"inputs": make_input(text=None)}, "^text is missing"),
        (
            {"inputs": [{"text": "a " * 60, "entities": [[2 * i, 2 * i + 1] for i in range(33)]}, make_input()]},
            r"^the request has 1057 pairs \(n entities are n × \(n - 1\); .*\), more than the 1000 allowed",
        ),
        ({"inputs": [make_input(), make_input(head={"start": 1})]}, "^input 1: head: end must be an integer"),
        (
            {"inputs": make_input(image="/etc/hostname")},
            "^image: '/etc/hostname' is no base64",
        ),
        ({"inputs": make_input(image="pictures/cat")}, "^image"),
        ({"inputs": make_input(image=[1])}, r"^image must be an http.s. URL or base64, got list"),
        ({"inputs": [make_input(image="no base64!")]}, "^input 0: image: 'no base64!' is no base64"),
        ({"inputs": make_input(image="aGVsbG8=")}, "^image: cannot read picture"),
    ],
)
def test_wrong_requests_are_told_what_is_wrong(handler, request_, message):
    with pytest.raises(ValueError, match=message):
        ask(handler, request_)


def test_no_file_of_the_server_is_read(handler, tmp_path, monkeypatch):
    (tmp_path / "abcd").write_bytes(png())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="image: cannot read picture 3 bytes"):  # base64 of something, not a name
        ask(handler, {"inputs": make_input(image="abcd")})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values, max_size=3),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(request_=st.dictionaries(st.sampled_from(["inputs", "parameters", "other"]), JSON, max_size=3))
def test_whatever_is_asked_there_is_an_answer_or_a_clear_error(handler, request_):
    try:
        assert ask(handler, request_) == []
    except ValueError as error:
        assert str(error)


def test_the_requirements_are_the_projects():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    wanted = (ROOT / "training_roc" / "serving" / "requirements.txt").read_text().split()
    assert set(wanted) <= set(project)
    folders = [(ROOT / "modeling_roc", MODEL_FILES), (ROOT / "processing_roc", PROCESSOR_FILES)]
    served = [(folder / name).read_text() for folder, names in folders for name in names]
    imported = set(re.findall(r"^(?:from|import) (\w+)", "\n".join(served), flags=re.MULTILINE))
    needed = {{"PIL": "pillow"}.get(name, name) for name in imported - sys.stdlib_module_names}
    assert needed <= {re.split("[<>=]", line)[0] for line in wanted}

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What the pipeline takes: pictures from anywhere; all else is answered, or an error names it."""

import base64
import contextlib
import functools
import http.server
import io
import json
import socket
import sys
import threading
import time

import httpx2
import numpy as np
import pytest
import torch
from datasets import Dataset
from huggingface_hub import constants, get_session, set_client_factory
from huggingface_hub.utils._http import default_client_factory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_pipeline import MAYA, NOAH, ROVERS, TEXT, assert_same, direct_scores, make_input, make_picture, scores
from tokenizers import Tokenizer
from transformers import BertweetTokenizer, PreTrainedTokenizerFast, pipeline
from transformers.pipelines.pt_utils import KeyDataset

from data_scripts.demo.dataset import build_demo_tokenizer, demo_image_processor
from data_scripts.schema import dataset_features
from processing_roc import RocProcessor
from processing_roc.pipeline_roc import is_public

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
        "array": np.asarray(picture),
        "tensor": torch.from_numpy(np.array(picture)).permute(2, 0, 1),
        "data set": {"bytes": content, "path": None},
    }
    expected = pipe(make_input(image=picture))
    in_processor = direct_scores(pipe.model, pipe.processor, make_input(image=picture))
    assert scores(expected) != pytest.approx(scores(pipe(make_input(image=None))), abs=1e-5)
    for form, image in forms.items():
        assert pipe(make_input(image=image)) == expected, form
        if form != "URL":
            assert direct_scores(pipe.model, pipe.processor, make_input(image=image)) == in_processor, form


def test_pictures_that_cannot_be_had(pipe, tmp_path, web):
    (tmp_path / "note.txt").write_text("no picture")
    for image, message in [
        (f"{web}/missing.png", "^image: cannot fetch .*missing.png: .*404"),
        ("http://127.0.0.1:9/picture.png", "^image: cannot fetch http://127.0.0.1:9/picture.png"),
        ("http://", "^image: cannot fetch http://: "),
        (f"{web}/note.txt", "^image http.*note.txt: cannot read picture 10 bytes: .* begins with b'no picture'"),
        (str(tmp_path / "missing.jpg"), "^image: cannot read picture .*missing.jpg: there is no such file$"),
        (str(tmp_path / "note.txt"), "^image: cannot read picture .*note.txt: no format that Pillow knows begins"),
        ("data:image/png;base64,aGVsbG8=", "^image: cannot read picture .*: no format .* begins with b'hello'"),
        ("data:image/png;base64,", "^image: .* no base64: it is empty"),
        (b"", "^image: cannot read picture 0 bytes: it is empty"),
        (7, "^image: a picture must be a PIL picture, an array, .* got int"),
    ]:
        with pytest.raises(ValueError, match=message):
            pipe(make_input(image=image))


class Web(http.server.BaseHTTPRequestHandler):
    """Serves pictures as no one should."""

    protocol_version = "HTTP/1.0"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.server.seen.append((self.client_address[0], self.path, dict(self.headers)))
        kind, _, rest = self.path[1:].partition("/")
        with contextlib.suppress(ConnectionError, BrokenPipeError):
            getattr(self, kind)(rest)

    def answer(self, content: bytes = b"", status: int = 200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def picture(self, rest):
        self.answer(self.server.picture)

    def page(self, rest):
        self.answer(b"<!DOCTYPE html><title>Sign in</title>", **{"Content-Type": "text/html"})

    def redirect(self, target):
        self.answer(bytes(100), 302, Location=target or "/redirect/")

    def trickle(self, rest):
        self.answer()
        for _ in range(100):
            self.wfile.write(b"\x89")
            time.sleep(0.1)

    def trickling_headers(self, rest):
        for byte in b"HTTP/1.0 200 OK\r\nX-Name: " + b"x" * 100:
            self.wfile.write(bytes([byte]))
            time.sleep(0.1)

    def huge(self, rest):
        self.answer()
        for _ in range(1000):
            self.wfile.write(bytes(2**20))
            self.server.sent += 2**20


@pytest.fixture
def hosts():
    """Two hosts, 127.0.0.1 and 127.0.0.2, with one port: their server remembers requests as `seen`."""
    buffer = io.BytesIO()
    make_picture().save(buffer, format="PNG")
    server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), Web)
    server.seen, server.sent, server.picture = [], 0, buffer.getvalue()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_the_whole_transfer_has_a_deadline_and_a_size(pipe, hosts):
    web = f"http://127.0.0.1:{hosts.server_port}"
    for kind in ("trickle", "trickling_headers"):
        start = time.monotonic()
        with pytest.raises(ValueError, match=f"^image: cannot fetch {web}/{kind}/: it takes longer than 0.5 seconds"):
            pipe(make_input(image=f"{web}/{kind}/"), timeout=0.5)
        assert time.monotonic() - start < 5
    with pytest.raises(ValueError, match=r"^input 1: image: cannot fetch .*/huge/: it has more than 64 MiB"):
        pipe([make_input(), make_input(image=f"{web}/huge/")])
    assert hosts.sent < 200 * 2**20


def test_redirects_and_pages_that_are_no_pictures(pipe, hosts):
    web = f"http://127.0.0.1:{hosts.server_port}"
    expected = pipe(make_input())
    assert pipe(make_input(image=f"{web}/redirect/{web}/redirect//picture/")) == expected
    with pytest.raises(ValueError, match="^image: cannot fetch .*: it is redirected more than 5 times"):
        pipe(make_input(image=f"{web}/redirect/"))
    with pytest.raises(ValueError, match="^image http.*/page/: cannot read picture .* begins with b'<!DOCTYPE html>"):
        pipe(make_input(image=f"{web}/page/"))
    with pytest.raises(ValueError, match="^image: cannot fetch .*unsupported protocol"):
        pipe(make_input(image=f"{web}/redirect/file:///etc/hostname"))


def test_what_is_for_the_hub_alone_does_not_go_to_a_pictures_host(pipe, hosts, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    set_client_factory(lambda: httpx2.Client(headers={"Authorization": "Bearer mirror"}))
    try:
        assert get_session().headers["authorization"] == "Bearer mirror"
        pipe(make_input(image=f"http://127.0.0.1:{hosts.server_port}/picture/"))
    finally:
        set_client_factory(default_client_factory)
    ((_, _, headers),) = hosts.seen
    assert not {name.lower() for name in headers} & {"authorization", "cookie"} and "mirror" not in str(headers)


def test_which_addresses_are_public():
    for address in (
        "127.0.0.1 0.0.0.0 10.1.2.3 172.16.0.9 192.168.1.1 169.254.169.254 100.64.1.1 224.0.0.1 255.255.255.255 ::1 "
        ":: fe80::1 fe80::1%eth0 fd00::1 ::ffff:127.0.0.1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 2002:7f00:1:: ff02::1"
    ).split():
        assert not is_public(address), address
    for address in ("93.184.216.34", "2606:4700::6810:84e5", "64:ff9b::5db8:d822", "::ffff:8.8.8.8"):
        assert is_public(address), address


def test_only_public_addresses_are_asked_for_a_stranger(pipe, hosts, monkeypatch):
    port, where = hosts.server_port, sys.modules[type(pipe).__module__]
    for host in ("127.0.0.1", "localhost", "0x7f.1", "2130706433", "[::1]", "[::ffff:127.0.0.1]"):
        with pytest.raises(ValueError, match="^image: cannot fetch http://.*, which is no public address"):
            pipe(make_input(image=f"http://{host}:{port}/picture/"), from_network=True)
    assert not hosts.seen
    # From here on one of the two addresses is a public one.
    monkeypatch.setattr(where, "is_public", lambda address: address == "127.0.0.2")
    good, bad = f"http://127.0.0.2:{port}", f"http://127.0.0.1:{port}"
    assert pipe(make_input(image=f"{good}/redirect//picture/"), from_network=True) == pipe(make_input())
    seen = len(hosts.seen)
    with pytest.raises(ValueError, match="^image: cannot fetch .*unsupported protocol"):
        pipe(make_input(image=f"{good}/redirect/file:///etc/hostname"), from_network=True)
    seen += 1
    with pytest.raises(ValueError, match="127.0.0.1, which is no public address"):
        pipe(make_input(image=f"{good}/redirect/{bad}/picture/"), from_network=True)
    assert len(hosts.seen) == seen + 1


def test_the_address_that_was_checked_is_the_one_that_is_asked(pipe, hosts, monkeypatch):
    lookups = []

    def rebind(host, port, *arguments, **kwargs):
        if host != "pictures.test":
            return resolve(host, port, *arguments, **kwargs)
        lookups.append(host)
        return resolve("127.0.0.2" if len(lookups) == 1 else "127.0.0.1", port, *arguments, **kwargs)

    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", rebind)
    monkeypatch.setattr(sys.modules[type(pipe).__module__], "is_public", lambda address: address == "127.0.0.2")
    url = f"http://pictures.test:{hosts.server_port}/picture/"
    assert pipe(make_input(image=url), from_network=True) == pipe(make_input())
    ((_, _, headers),) = hosts.seen
    assert headers["Host"] == f"pictures.test:{hosts.server_port}" and lookups == ["pictures.test"]


@pytest.mark.parametrize("image", [make_picture(), b"bytes", {"bytes": b"", "path": "x.png"}, ["x.png"]])
def test_a_stranger_gives_addresses_or_base64_only(pipe, image):
    with pytest.raises(ValueError, match=r"^image must be an http\(s\) URL or base64, got"):
        pipe(make_input(image=image), from_network=True)


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
        ({"timeout": 0}, ValueError, "timeout must be a number of seconds above 0, or None .* got 0"),
        ({"timeout": "1"}, ValueError, "timeout must be a number of seconds"),
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

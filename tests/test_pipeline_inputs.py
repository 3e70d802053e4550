# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What the pipeline takes: pictures from anywhere; all else is answered, or an error names it."""

import base64
import contextlib
import functools
import http.server
import io
import socket
import sys
import threading
import time

import httpx2
import numpy as np
import pytest
import torch
from huggingface_hub import constants, get_session, set_client_factory
from huggingface_hub.utils._http import default_client_factory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_pipeline import MAYA, NOAH, TEXT, direct_scores, make_input, make_picture, scores
from transformers import pipeline

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

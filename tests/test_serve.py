# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The server, as a process of its own, asked over HTTP."""

import base64
import io
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median, quantiles

import httpx2
import psutil
import pytest
from hub_store import Blob
from PIL import Image
from space_app import SPACE

for package in ("fastapi", "uvicorn", "prometheus_client"):
    pytest.importorskip(package, reason=f"{package} is not installed: pip install -e .[serve]")

ROOT = Path(__file__).parents[1]
PICTURE = (SPACE / "examples" / "1.png").read_bytes()
PAIR = {
    "text": "Maya and Ken on the pier",
    "head": {"start": 0, "end": 4, "type": "person"},
    "tail": {"start": 9, "end": 12, "type": "person"},
}
OWN_RELATIONS = {"friends": "The head and the tail are friends.", "none": ["Nothing.", "They have no relation."]}
LIMITS = ("--payload_limit", "2000000", "--max_pixels", "1000000", "--max_concurrent_requests", "40")


def in_base64(picture: bytes) -> str:
    return base64.b64encode(picture).decode()


def post_of(number: int) -> dict:
    """A post of `number` entities, all pairs of which are asked."""
    return {"text": "Maya " * number, "entities": [{"start": 5 * i, "end": 5 * i + 4} for i in range(number)]}


class Serving:
    """A server in a process of its own; `url` is where it is."""

    def __init__(self, folder: Path, model, *arguments: str, **environment: str):
        self.log = folder / "log.txt"
        command = [sys.executable, "-m", "training_roc.serve", "--model", str(model), "--port", "0", *arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **environment}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        for _ in range(480):
            if found := re.search(r": (http://127.0.0.1:\d+)/docs$", self.log.read_text(), flags=re.MULTILINE):
                self.url = found[1]
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.25)
        self.process.kill()
        raise AssertionError(self.log.read_text())

    def ask(self, request, **given) -> httpx2.Response:
        return httpx2.post(self.url, json=request, timeout=120, **given)

    def metric(self, name: str) -> float:
        lines = httpx2.get(f"{self.url}/metrics").text.splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} ")), 0)

    def wait_for(self, name: str, value: float) -> None:
        for _ in range(600):
            if self.metric(name) == value:
                return
            time.sleep(0.02)
        raise AssertionError(f"{name} is {self.metric(name)}, not {value}")

    def send(self, head: str, body: bytes = b"") -> socket.socket:
        """Sends what need not be a whole request."""
        client = socket.create_connection(("127.0.0.1", int(self.url.rpartition(":")[2])))
        client.sendall(f"POST / HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode() + body)
        return client

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, self.log.read_text()
        assert "Traceback" not in self.log.read_text()


@pytest.fixture(scope="module")
def serving(space_extractor, tmp_path_factory):
    serving = Serving(tmp_path_factory.mktemp("serve"), space_extractor.folder, *LIMITS)
    yield serving
    serving.stop()


def assert_same(answer, expected) -> None:
    """Equal, but for what batching does to the last digits."""
    assert type(answer) is type(expected)
    if isinstance(expected, dict):
        assert answer.keys() == expected.keys()
        for key, value in expected.items():
            assert_same(answer[key], value)
    elif isinstance(expected, list):
        assert len(answer) == len(expected)
        for one, other in zip(answer, expected, strict=True):
            assert_same(one, other)
    else:
        assert answer == (pytest.approx(expected, abs=1e-5) if isinstance(expected, float) else expected)


def expected_of(extractor, request: dict):
    """What the pipeline answers, through JSON as over the network."""
    answer = extractor(request["inputs"], from_network=True, **(request.get("parameters") or {}))
    return json.loads(json.dumps(answer))


def test_the_example_of_the_openapi_page_is_answered(serving, space_extractor):
    assert "swagger" in httpx2.get(f"{serving.url}/docs").text
    body = httpx2.get(f"{serving.url}/openapi.json").json()["paths"]["/"]["post"]["requestBody"]
    example = body["content"]["application/json"]["example"]
    answer = serving.ask(example)
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
    assert_same(answer.json(), expected_of(space_extractor, example))
    assert len(answer.json()) == 3
    assert httpx2.get(f"{serving.url}/health").json() == {"status": "ok"}


REQUESTS = [
    {"inputs": PAIR},
    {"inputs": {**PAIR, "image": in_base64(PICTURE)}, "parameters": {"timeout": 5}},
    {"inputs": {**PAIR, "image": f"data:image/png;base64,{in_base64(PICTURE)}"}, "parameters": None},
    {"inputs": PAIR, "parameters": {"top_k": None, "threshold": 0.05}},
    {"inputs": PAIR, "parameters": {"relations": OWN_RELATIONS}},
    {"inputs": post_of(3), "parameters": {"top_k": 1}},
    {"inputs": [PAIR, {**post_of(3), "image": in_base64(PICTURE)}, PAIR]},
    {"inputs": [PAIR]},
    {"inputs": []},
    {"inputs": {**PAIR, "image": in_base64(PICTURE)}, "parameters": {"explain": True, "top_k": 2}},
]


@pytest.mark.parametrize("request_", REQUESTS, ids=range(len(REQUESTS)))
def test_the_answers_are_the_pipelines(serving, space_extractor, request_):
    answer = serving.ask({**request_, "options": {"wait_for_model": True}})
    assert answer.status_code == 200, answer.text
    assert_same(answer.json(), expected_of(space_extractor, request_))


def large_picture() -> str:
    buffer = io.BytesIO()
    Image.new("1", (2000, 1000)).save(buffer, format="PNG")
    return in_base64(buffer.getvalue())


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"", 400, "the request is no JSON: Expecting value"),
        (b'{"inputs": ', 400, "the request is no JSON: Expecting value"),
        (b'{"inputs": "\xff"}', 400, "the request is no JSON: 'utf-8' codec can't decode"),
        (b'{"inputs": {"text": NaN}}', 400, "the request is no JSON: NaN"),
        (b"[" * 100_000, 400, "the request is no JSON: maximum recursion depth"),
        (b'{"inputs": "%s"}' % (b"a" * 2_000_000), 413, "the request has more than the 2,000,000 bytes allowed"),
        (
            {"inputs": {**PAIR, "text": "a " * 2**19}},
            413,
            "the request has more than the 1,048,576 bytes beside",
        ),
        ({"inputs": {**PAIR, "image": large_picture()}}, 413, "the request has more than the 1,000,000 pixels"),
        ([], 422, "the request must be a JSON object"),
        ({"inputs": PAIR, "parameters": {"topk": 1}}, 422, "parameters has unknown fields ['topk']"),
        ({"inputs": PAIR, "parameters": {"from_network": False}}, 422, "parameters has unknown fields"),
        ({"inputs": post_of(40)}, 422, "the request has 1560 pairs"),
        ({"inputs": "words"}, 422, "an input must be a dict"),
        ({"inputs": {"text": "Maya"}}, 422, "head is missing"),
        ({"inputs": {**PAIR, "head": "\ud800"}}, 422, "head is not valid Unicode: "),
        ({"inputs": [PAIR, {**PAIR, "head": {"start": 9}}]}, 422, "input 1: head: end must be an integer"),
        ({"inputs": PAIR, "parameters": {"top_k": 0}}, 422, "top_k must be a positive integer"),
        ({"inputs": {**PAIR, "image": "/etc/hostname"}}, 422, "image: '/etc/hostname' is no base64"),
        ({"inputs": {**PAIR, "image": in_base64(PICTURE[:300])}}, 422, "image: cannot read picture"),
        ({"inputs": {**PAIR, "image": {"path": "/etc/hostname"}}}, 422, "image must be an http(s) URL or base64"),
        (
            {"inputs": {**PAIR, "image": "http://127.0.0.1:9/x.png"}},
            422,
            "image: cannot fetch http://127.0.0.1:9/x.png: 127.0.0.1 is at 127.0.0.1, which is no public address",
        ),
    ],
)
def test_wrong_requests_are_told_what_is_wrong(serving, content, status, message):
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    answer = httpx2.post(serving.url, content=content, timeout=60)
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert answer.json()["error"].startswith(message)


def test_requests_that_wait_are_answered_together_and_each_by_its_own(serving, space_extractor):
    texts = [f"Maya and Ken on {'the ' * number}pier" for number in range(6)]
    several = [{"inputs": {**PAIR, "text": text}} for text in texts]
    several.insert(2, {"inputs": {**PAIR, "head": {"start": 90, "end": 99}}})
    several.insert(5, {"inputs": [{**PAIR, "text": texts[0]}, PAIR]})
    others = [{**one, "parameters": {"relations": OWN_RELATIONS}} for one in several[:2]]
    batches, requests = (serving.metric(f"roc_batch_requests_{name}") for name in ("count", "sum"))
    with ThreadPoolExecutor(20) as clients:
        # This one takes the model's time while the others come.
        first = clients.submit(serving.ask, {"inputs": post_of(3), "parameters": {"explain": True}})
        serving.wait_for("roc_requests_open", 1)
        answers = list(clients.map(serving.ask, [*several, *others]))
    assert first.result().status_code == 200
    for request, answer in zip([*several, *others], answers, strict=True):
        if answer is answers[2]:
            assert answer.status_code == 422 and answer.json()["error"].startswith("head span [90, 99)")
        else:
            assert_same(answer.json(), expected_of(space_extractor, request))
    assert serving.metric("roc_batch_requests_sum") - requests == 11
    assert serving.metric("roc_batch_requests_count") - batches <= 6


def test_those_who_come_when_it_is_full_are_sent_away_and_those_who_break_off_cost_nothing(serving):
    gone = 'roc_requests_total{status="499"}'
    before = serving.metric(gone)
    clients = [serving.send("Content-Length: 1000", b'{"inputs": ') for _ in range(40)]
    serving.wait_for("roc_requests_open", 40)
    answer = serving.ask({"inputs": PAIR})
    assert answer.status_code == 429 and answer.headers["retry-after"] == "1"
    assert answer.json() == {"error": "40 requests are open: come back in a second"}
    assert httpx2.get(f"{serving.url}/health").status_code == 200
    for client in clients:
        client.close()
    serving.wait_for("roc_requests_open", 0)
    assert serving.metric(gone) - before == 40
    # One that is whole, and whose client does not wait for the answer.
    body = json.dumps({"inputs": post_of(30), "parameters": {"explain": True}}).encode()
    client = serving.send(f"Content-Length: {len(body)}", body)
    serving.wait_for("roc_requests_open", 1)
    client.close()
    assert serving.ask({"inputs": PAIR}).status_code == 200
    assert serving.metric(gone) - before == 41


def test_what_keeps_it_from_starting_is_told_in_a_sentence(tmp_path):
    def start(*arguments: str) -> str:
        command = [sys.executable, "-m", "training_roc.serve", "--model", *arguments]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
        ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert ended.returncode == 1 and "Traceback" not in ended.stderr
        return ended.stderr.splitlines()[-1]

    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert start("x", "--port", str(port)).startswith(f"error: cannot listen at port {port} of 127.0.0.1: ")
    assert start("org/none", "--port", "0") == (
        "error: HF_HUB_OFFLINE is set, and the model org/none is not wholly in the cache: unset it."
    )


@pytest.mark.slow
def test_thirty_clients_at_once_get_right_answers_or_named_errors(space_extractor, tmp_path, capsys):
    """Each client asks in an order of its own, over one connection as long as nothing breaks it."""
    right = [*REQUESTS, *({"inputs": {**PAIR, "text": f"Maya and Ken on the pier {i}"}} for i in range(10))]
    right += [
        {"inputs": PAIR, "parameters": {"relations": {**OWN_RELATIONS, "other": f"Number {i}."}}} for i in range(3)
    ]
    expected = [expected_of(space_extractor, request) for request in right]
    broken = [
        (b'{"inputs": {', 400),
        (json.dumps({"inputs": {**PAIR, "head": {"start": 7, "end": 99}}}).encode(), 422),
        (json.dumps({"inputs": PAIR, "parameters": {"top_k": -1}}).encode(), 422),
        (b" " * 2_000_001, 413),
        (json.dumps({"inputs": {**PAIR, "image": large_picture()}}).encode(), 413),
    ]
    serving = Serving(tmp_path, space_extractor.folder, *LIMITS, "--timeout", "300")
    memory = psutil.Process(serving.process.pid).memory_info
    lasted = []

    def ask_ten(seed: int) -> int:
        """How many requests were answered, rightly or by the right error; the others are cut off."""
        chance, answered = random.Random(seed), 0
        with httpx2.Client(timeout=300) as client:
            for _ in range(10):
                kind = chance.random()
                if kind < 0.1:
                    serving.send("Content-Length: 5000", b'{"inputs"').close()
                elif kind < 0.3:
                    content, status = chance.choice(broken)
                    answer = client.post(serving.url, content=content)
                    assert answer.status_code == status and answer.json()["error"], answer.text
                    answered += 1
                else:
                    place = chance.randrange(len(right))
                    began = time.monotonic()
                    answer = client.post(serving.url, json=right[place])
                    lasted.append(time.monotonic() - began)
                    assert answer.status_code == 200, answer.text
                    assert_same(answer.json(), expected[place])
                    answered += 1
        return answered

    def ask_three_hundred(first_seed: int) -> int:
        with ThreadPoolExecutor(30) as clients:
            return sum(clients.map(ask_ten, range(first_seed, first_seed + 30)))

    ask_three_hundred(0)
    lasted.clear()
    before = memory().rss
    statuses = {status: serving.metric(f'roc_requests_total{{status="{status}"}}') for status in (200, 400, 413, 422)}
    batches, requests = (serving.metric(f"roc_batch_requests_{name}") for name in ("count", "sum"))
    began = time.monotonic()
    answered = ask_three_hundred(30)
    took = time.monotonic() - began
    after = memory().rss
    told = sum(serving.metric(f'roc_requests_total{{status="{name}"}}') - number for name, number in statuses.items())
    batches, requests = (
        serving.metric(f"roc_batch_requests_{name}") - number
        for name, number in (("count", batches), ("sum", requests))
    )
    under_load = quantiles(lasted, n=100)
    alone = []
    for _ in range(20):
        start = time.monotonic()
        serving.ask(REQUESTS[1])
        alone.append(time.monotonic() - start)
    serving.stop()
    assert answered == told and 200 < answered < 300
    assert batches < requests
    assert after < 1.15 * before
    with capsys.disabled():
        ratios = ", ".join(f"{name} {under_load[int(name) - 1] / median(alone):.1f}" for name in ("50", "95", "99"))
        print(f"\n{answered} answers in {took:.1f} s; {requests:.0f} requests in {batches:.0f} batches;", end=" ")
        print(f"latency over one request's alone, percentiles: {ratios};", end=" ")
        print(f"memory {before / 2**20:.0f} MiB before, {after / 2**20:.0f} MiB after")


@pytest.mark.slow
def test_what_is_in_flight_at_sigterm_is_answered(space_extractor, tmp_path):
    serving = Serving(tmp_path, space_extractor.folder)
    request = {"inputs": post_of(3), "parameters": {"explain": True}}
    expected = expected_of(space_extractor, request)
    with ThreadPoolExecutor(6) as clients:
        answers = [clients.submit(serving.ask, request) for _ in range(6)]
        serving.wait_for("roc_requests_open", 6)
        serving.stop()
        for answer in answers:
            assert_same(answer.result().json(), expected)
    with pytest.raises(httpx2.ConnectError):
        serving.ask(request)


@pytest.mark.slow
def test_what_takes_too_long_is_told_and_the_model_taken_off_it(space_extractor, tmp_path):
    """The limit follows the machine: an eighth of the time that a text takes whose reading nothing can end."""
    endless = {**PAIR, "text": "a " * 500_000}
    began = time.monotonic()
    space_extractor(endless)
    limit = round((time.monotonic() - began) / 8, 1)
    serving = Serving(tmp_path, space_extractor.folder, "--timeout", str(limit))

    def wait_for(what, wanted: int, tries: int) -> None:
        for _ in range(tries):
            if (status := what().status_code) == wanted:
                return
            assert status in (200, 503, 504)
            time.sleep(0.1)
        raise AssertionError(f"the status is never {wanted}")

    def ask():
        return serving.ask({"inputs": PAIR})

    def ask_health():
        return httpx2.get(f"{serving.url}/health")

    client = serving.send("Content-Length: 5000", b'{"inputs"')
    assert client.recv(12) == b"HTTP/1.1 504"
    minutes = {"inputs": post_of(30), "parameters": {"explain": True}}
    answer = serving.ask(minutes)
    assert answer.status_code == 504 and answer.json() == {"error": f"there was no answer within {limit:g} seconds"}
    wait_for(ask, 200, tries=20)  # together a small part of what that request would have taken
    # The reading of a long text is not within the model, and cannot be ended.
    assert serving.ask({"inputs": endless}).status_code == 504
    wait_for(ask_health, 503, tries=1200)
    wait_for(ask_health, 200, tries=1200)
    wait_for(ask, 200, tries=20)
    serving.stop()


@pytest.mark.slow
def test_posts_as_they_are_by_a_model_of_the_hub(space_extractor, tiny_tagger, hub, tmp_path):
    files = (path for path in space_extractor.folder.iterdir() if path.is_file())
    blobs = {path.name: Blob(path.read_bytes(), path.suffix == ".safetensors") for path in files}
    hub.create("model", "org/roc").commit("main", "Model", blobs)
    environment = {**hub.environment(tmp_path / "home"), "HF_HUB_OFFLINE": "0", "ROC_ENTITY_TAGGER": tiny_tagger}
    serving = Serving(tmp_path, "org/roc", **environment)
    posts = [{"text": "anabel roy in oslo"}, {"text": "oslo , roy"}]
    answer = serving.ask({"inputs": posts})
    assert_same(answer.json(), [space_extractor(post, entity_tagger=tiny_tagger) for post in posts])
    assert [one["name"] for one in answer.json()[0]["entities"]] == ["anabel roy", "oslo"]
    serving.stop()

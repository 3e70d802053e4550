# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Many visitors of the Space at once: each gets the answers of a pipeline of his own, and no one another's."""

import json
import re
import statistics
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from space_app import EXAMPLES, SpaceApp, mention

from modeling_roc import types_from_labels

pytest.importorskip("gradio", reason="gradio is not installed: pip install -e .[demo]")
pytestmark = pytest.mark.slow

BARS = re.compile(r'<li data-label="([^"]+)".*?data-score="([^"]+)"')


class Visitor:
    """Asks as the page does: a session of its own, and each event by the queue's two requests."""

    def __init__(self, app: SpaceApp, number: int):
        self.base, self.session, self.number = f"{app.url}/gradio_api/queue", uuid.uuid4().hex, number
        with urlopen(f"{app.url}/config") as response:
            self.events = {one["api_name"]: one["id"] for one in json.load(response)["dependencies"]}
        name = "".join("abcdefghij"[int(digit)] for digit in f"{number:03d}")
        self.text, self.words = f"Maya {name} and Ken on the pier", f"The head sends the tail {name} letters."
        entities = [mention(self.text, f"Maya {name}", "person"), mention(self.text, "Ken", "person")]
        objects = [entity for entity in EXAMPLES[0]["entities"] if entity["kind"] == "object"]
        self.post = {"text": self.text, "entities": [*entities, *objects], "head": 0, "tail": 1}

    def event(self, name: str, *data):
        """What an event gives, or the error that the page would show."""
        content = {"data": data, "fn_index": self.events[name], "session_hash": self.session}
        headers = {"Content-Type": "application/json"}
        request = Request(f"{self.base}/join", json.dumps(content).encode(), headers)
        try:
            with urlopen(request, timeout=300) as response:
                number = json.load(response)["event_id"]
        except OSError as error:
            raise RuntimeError(json.load(error)["detail"]) from error
        with urlopen(f"{self.base}/data?session_hash={self.session}", timeout=300) as stream:
            for line in stream:
                message = json.loads(line.partition(b":")[2]) if line.startswith(b"data:") else {}
                if message.get("event_id") == number and message["msg"] == "process_completed":
                    assert message["success"], message
                    return message["output"]["data"]

    def visit(self) -> tuple[str, dict[str, float]] | str:
        """Describes a relation and asks about a post: headline and bars; then an explanation. Or why not."""
        self.seconds = time.perf_counter()
        try:
            self.event("handle_1", None, self.words)
            headline, _, bars, *_ = self.event("answer", self.post, None)
            self.seconds = time.perf_counter() - self.seconds
            assert f">{self.text.partition(' and')[0]}</mark>" in headline
            why, _ = self.event("explain", self.post, None)
            assert all(f">{word}</span>" in why for word in self.text.split())
        except RuntimeError as error:
            return str(error)
        return {label: float(score) for label, score in BARS.findall(bars)}


def at_once(app: SpaceApp, numbers: range) -> list[Visitor]:
    """All of them start together; each has its `found`."""
    visitors = [Visitor(app, number) for number in numbers]
    gate = threading.Barrier(len(visitors))

    def go(visitor):
        gate.wait()
        visitor.found = visitor.visit()

    with ThreadPoolExecutor(len(visitors)) as threads:
        list(threads.map(go, visitors))
    return visitors


def megabytes(app: SpaceApp) -> float:
    status = Path(f"/proc/{app.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def test_twenty_and_sixty_visitors_at_once(space_extractor, tmp_path):
    model = space_extractor.model
    model.set_relation_types(types_from_labels(model.config.id2label.values()))
    picture = str(tmp_path / "space" / "examples" / EXAMPLES[0]["picture"])
    app = SpaceApp(tmp_path, space_extractor.folder)
    try:
        app.wait()
        one = statistics.median(at_once(app, range(1))[0].seconds for _ in range(5))
        waves, memory = [], []
        for number in (20, 60, 60, 60, 60, 60, 60):  # more than the sessions that are kept
            waves.append(at_once(app, range(number)))
            memory.append(megabytes(app))
        crowd = at_once(app, range(200))  # more than may wait
        after = at_once(app, range(1))
    finally:
        app.stop()
    for visitors in waves:
        seconds = sorted(visitor.seconds for visitor in visitors)
        print(
            f"{len(visitors)} at once: the median waits {statistics.median(seconds) / one:.1f} times as long as one "
            f"alone, the last {seconds[-1] / one:.1f} times ({seconds[-1]:.1f} s)"
        )
    answered = [visitor for visitor in crowd if isinstance(visitor.found, dict)]
    refused = {visitor.found for visitor in crowd if visitor not in answered}
    print(f"{len(crowd)} at once: {len(answered)} answered; the others are told {refused}")
    assert len(answered) >= 60 and all("Queue is full" in words for words in refused)
    for visitor in [*waves[0], *waves[-1], *answered, *after]:
        own = {**model.config.relation_descriptions, "your relation": [visitor.words]}
        head, tail, *boxes = visitor.post["entities"]
        objects = [{"box": one["box"]} for one in boxes]
        given = {"text": visitor.text, "head": head, "tail": tail, "image": picture, "objects": objects}
        expected = space_extractor(given, relations=own, filter_by_type=True)
        assert visitor.found == pytest.approx({one["label"]: one["score"] for one in expected}, abs=1e-6)
    print(f"memory after each in MB: {memory}")
    assert memory[-1] < 1.1 * memory[-3]
    assert "Traceback" not in app.log.read_text()

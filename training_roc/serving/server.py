# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""A web application that answers as the handler does."""

import asyncio
import contextlib
import io
import json
import logging
import operator
import time
from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from fastapi import FastAPI, Request, Response
from PIL import Image
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest
from starlette.requests import ClientDisconnect
from torch.nn.modules.module import register_module_forward_pre_hook

from processing_roc.pipeline_roc import load_picture
from training_roc.serving.handler import MAX_PAIRS, MAX_TIMEOUT, check_request

EXAMPLE = {
    "inputs": {
        "text": "Maya and Ken on the pier",
        "head": {"start": 0, "end": 4, "type": "person"},
        "tail": {"start": 9, "end": 12, "type": "person"},
    },
    "parameters": {"top_k": 3},
}
SCHEMA = {"type": "object", "required": ["inputs"], "properties": {"inputs": {}, "parameters": {"type": "object"}}}
MAX_WORDS = 2**20
"""Most bytes of a request beside its pictures: the reading of a text can take seconds, and nothing ends it."""
CLIENT_HAS_GONE = 499  # as nginx counts them
ANSWERS = Counter("roc_requests", "Requests by the status of their answer", ["status"])
SECONDS = Histogram("roc_request_seconds", "Seconds from a request's first byte to its answer")
BATCHES = Histogram(
    "roc_batch_requests", "Requests that went through the model together", buckets=(1, 2, 4, 8, 16, 32)
)
OPEN = Gauge("roc_requests_open", "Requests that are read, wait, or are answered")
logger = logging.getLogger("uvicorn.error")


class Refusal(Exception):
    """A status other than 200, and the sentence that goes with it."""

    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status = status


@dataclass(eq=False)
class Job:
    """A request that has been read; it has at most `num_pairs`. Those with equal `key` may be answered together."""

    inputs: Any
    parameters: dict[str, Any]
    num_pairs: int
    num_pixels: int = 0
    key: str = ""
    answer: asyncio.Future = field(init=False)

    @property
    def posts(self) -> list:
        return self.inputs if isinstance(self.inputs, list) else [self.inputs]


class Server:
    """
    Reads each request in a thread of its own, and asks the model in another, the only one.

    Args:
        pipe ([`RelationExtractionPipeline`]): is asked.
        limits: `batch_size`, `max_concurrent_requests`, `payload_limit`, `max_pixels` and `timeout`, as the command
            has them.
    """

    def __init__(self, pipe, limits: Namespace):
        self.pipe, self.limits = pipe, limits
        self.waiting, self.running, self.running_since = [], [], 0.0
        self.arrived, self.places = asyncio.Event(), asyncio.Semaphore(limits.max_concurrent_requests)
        self.readers = ThreadPoolExecutor(limits.max_concurrent_requests, "reader")
        # Asked in every module of model, tagger and detector: nothing else ends the work on a request of hours.
        register_module_forward_pre_hook(self._stop_if_nobody_waits)

    async def respond(self, request: Request) -> Response:
        """The answer to a request, or what is wrong with it."""
        try:
            if self.places.locked():
                raise Refusal(429, f"{self.limits.max_concurrent_requests} requests are open: come back in a second")
            with SECONDS.time(), OPEN.track_inprogress():
                async with self.places, asyncio.timeout(self.limits.timeout):
                    status, content = await self._answer(request)
        except TimeoutError:
            status, content = 504, {"error": f"there was no answer within {self.limits.timeout:g} seconds"}
        except Exception as error:
            status, content = _explain(error)
        ANSWERS.labels(status).inc()
        # In ASCII: half a surrogate pair, which a request may hold and a message quote, is no UTF-8.
        headers = {"Retry-After": "1"} if status == 429 else None
        return Response(json.dumps(content), status, headers, "application/json")

    async def _answer(self, request: Request) -> tuple[int, Any]:
        loop, body = asyncio.get_running_loop(), bytearray()
        deadline, announced = loop.time() + self.limits.timeout, int(request.headers.get("content-length", 0))
        async for part in request.stream():
            body += part
            _check_size(max(announced, len(body)), self.limits.payload_limit, "bytes")
        job = await loop.run_in_executor(self.readers, self._read, bytes(body), deadline)
        job.answer, gone = loop.create_future(), asyncio.ensure_future(request.receive())
        del body  # what is needed of it is in the job
        self.waiting.append(job)
        self.arrived.set()
        try:
            await asyncio.wait([job.answer, gone], return_when=asyncio.FIRST_COMPLETED)
            if not job.answer.done():
                raise ClientDisconnect
            return job.answer.result()
        finally:
            gone.cancel()
            job.answer.cancel()

    def _read(self, body: bytes, deadline: float) -> Job:
        """All that can be done before the model is asked: pictures are fetched, and stay files until their turn."""
        try:
            data = json.loads(body, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise Refusal(400, f"the request is no JSON: {error}") from error
        job, size = Job(*check_request(data)), 0
        job.key = json.dumps(job.parameters)
        images = [post.get("image") for post in job.posts if isinstance(post, dict)]
        words = len(body) - sum(len(image) for image in images if isinstance(image, str))
        _check_size(words, MAX_WORDS, "bytes beside pictures")
        for number, post in enumerate(job.posts):
            if isinstance(post, dict) and post.get("image") is not None:
                where = f"input {number}: " if isinstance(job.inputs, list) else ""
                seconds = min(job.parameters.get("timeout", MAX_TIMEOUT), max(deadline - time.monotonic(), 0))
                file = load_picture(post["image"], lambda file, where: file, where, seconds, from_network=True)
                post["image"], size, job.num_pixels = file, size + len(file), job.num_pixels + _num_pixels(file)
                _check_size(size, self.limits.payload_limit, "bytes of pictures")
                _check_size(job.num_pixels, self.limits.max_pixels, "pixels")
        return job

    async def work(self) -> None:
        """Answers what arrives, a batch at a time."""
        with ThreadPoolExecutor(1, "model") as thread:
            while await self.arrived.wait():
                self.arrived.clear()
                while batch := self._take_batch():
                    self.running, self.running_since = batch, time.monotonic()
                    answers = await asyncio.get_running_loop().run_in_executor(thread, self._ask, batch)
                    self.running = []
                    BATCHES.observe(len(batch))
                    for job, answer in zip(batch, answers, strict=True):
                        if not job.answer.done():
                            job.answer.set_result(answer)

    def _take_batch(self) -> list[Job]:
        """The oldest request that somebody waits for, and those like it, together no more than one may be."""
        waiting = [job for job in self.waiting if not job.answer.done()]
        batch, self.waiting, sizes = [], [], (0, 0, 0)
        limits = (self.limits.batch_size, MAX_PAIRS, self.limits.max_pixels)
        for job in waiting:
            one = (len(job.posts), job.num_pairs, job.num_pixels)
            together = tuple(map(sum, zip(sizes, one, strict=True)))
            fits = job.key == waiting[0].key and all(map(operator.le, together, limits))
            if not batch or (fits and not job.parameters.get("explain")):  # which takes as long as seventy others
                batch.append(job)
                sizes = together
            else:
                self.waiting.append(job)
        return batch

    def _ask(self, jobs: list[Job]) -> list[tuple[int, Any]]:
        """Status and answer of each."""
        # Pictures are files by now: nothing is fetched, and no string is a path.
        asked = {"batch_size": self.limits.batch_size, "from_network": False, **jobs[0].parameters}
        try:
            if len(jobs) == 1:  # whose errors number its own inputs
                return [(200, self.pipe(jobs[0].inputs, **asked))]
            answers = iter(self.pipe([post for job in jobs for post in job.posts], **asked))
            return [
                (200, list(islice(answers, len(job.inputs))) if isinstance(job.inputs, list) else next(answers))
                for job in jobs
            ]
        except Exception as error:
            if len(jobs) == 1 or isinstance(error, TimeoutError):
                return [_explain(error)] * len(jobs)
        # One of them is broken: the others are asked again without it.
        middle = len(jobs) // 2
        return self._ask(jobs[:middle]) + self._ask(jobs[middle:])

    def _stop_if_nobody_waits(self, module, inputs):
        if self.running and all(job.answer.done() for job in self.running):
            raise TimeoutError

    async def health(self, response: Response) -> dict[str, str]:
        """Status 503 where the model has been at a batch for so long that no time limit has ended it."""
        seconds = time.monotonic() - self.running_since if self.running else 0
        if seconds <= 2 * self.limits.timeout:
            return {"status": "ok"}
        response.status_code = 503
        return {"error": f"the model has been at one batch for {seconds:.0f} seconds"}


def _check_size(size: int, most: int, what: str) -> None:
    if size > most:
        raise Refusal(413, f"the request has more than the {most:,} {what} allowed")


def _refuse_constant(name: str):
    raise ValueError(f"{name} stands in it")


def _num_pixels(file: bytes) -> int:
    """Of a picture; 0 of what cannot be opened, which the pipeline will not open either, and says why."""
    try:
        with Image.open(io.BytesIO(file)) as picture:
            return picture.width * picture.height
    except Exception:  # decoders raise nearly every type there is
        return 0


def _explain(error: Exception) -> tuple[int, Any]:
    """Status and content of the answer to a request that failed."""
    if isinstance(error, Refusal):
        return error.status, {"error": str(error)}
    if isinstance(error, ValueError):
        return 422, {"error": str(error)}
    if isinstance(error, ClientDisconnect | TimeoutError):  # nobody is there to read it
        return CLIENT_HAS_GONE, None
    logger.error("A request failed:", exc_info=error)
    return 500, {"error": "the server failed at this request; its log says how"}


def make_app(server: Server) -> FastAPI:
    """The web application: `/`, `/health`, `/metrics`, and FastAPI's `/docs`."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI):
        work = asyncio.create_task(server.work())
        yield
        work.cancel()

    app = FastAPI(title="Multimodal relation extraction with ROC", lifespan=lifespan)
    content = {"application/json": {"schema": SCHEMA, "example": EXAMPLE}}

    @app.post("/", response_model=None, openapi_extra={"requestBody": {"required": True, "content": content}})
    async def answer(request: Request) -> Response:
        """
        `inputs` is an object with `text`, `head` and `tail` (or `entities`), `image` (base64, or a URL) and `objects`,
        or a list of these; `parameters` may hold `top_k`, `threshold`, `relations`, `filter_by_type`, `explain`,
        `timeout` and `max_entities`. The answer is the pipeline's. Where there is none, it is `{"error": a sentence}`:
        400 for what is no JSON, 413 too large, 422 not as it should be, 429 too many at a time, 504 too slow.
        """
        return await server.respond(request)

    app.get("/health")(server.health)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return app

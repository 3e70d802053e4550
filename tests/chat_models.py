# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""For tests of what talks to a language model: a tiny real one, and a server that fails as servers do."""

import json
import threading
import time
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def save_model_that_says(answer: str, folder) -> None:
    """
    Saves a chat model whose only answer is `answer`, whatever it is asked.

    The answer is one token of the vocabulary. No layer adds anything to a token's embedding, and the output layer
    leads from "<assistant>", which ends every prompt, to the answer, and from there to the end.
    """
    vocabulary = ["<unk>", "<assistant>", answer, "<eos>"]
    tokenizer = Tokenizer(
        models.WordLevel({token: index for index, token in enumerate(vocabulary)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        eos_token="<eos>",
        pad_token="<eos>",
        extra_special_tokens=["<assistant>"],
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)
    size = len(vocabulary)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=size,
            n_positions=4096,
            n_embd=size,
            n_layer=1,
            n_head=1,
            tie_word_embeddings=False,
            bos_token_id=3,
            eos_token_id=3,
        )
    )
    with torch.no_grad():
        for parameter in model.transformer.h.parameters():
            parameter.zero_()
        model.transformer.wpe.weight.zero_()
        model.transformer.wte.weight.copy_(torch.eye(size))
        model.lm_head.weight.zero_()
        model.lm_head.weight[2, 1] = model.lm_head.weight[3, 2] = 10.0
    model.save_pretrained(folder)


class ChatServer(ThreadingHTTPServer):
    """
    Speaks the chat-completions protocol on a free port of this machine.

    Args:
        script: what to do with each request in turn: `("answer", text)`, `("status", code, body)`, `("body", bytes)`,
            `("cut",)` (the connection breaks in the middle of the answer), `("busy", seconds)` (429 with Retry-After,
            to everyone who comes before these seconds have passed), or `("forward",)`.
        then: the same, for all requests after the script.
        upstream: base URL of the server to forward to.

    Attributes:
        requests: the body of every request so far; `headers`: its headers.
    """

    def __init__(self, script=(), then=("forward",), upstream=None):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script, self.then, self.upstream = list(script), then, upstream
        self.requests, self.headers, self.busy_until = [], [], 0.0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def prompts(self) -> list[str]:
        """The first message of every request."""
        return [request["messages"][0]["content"] for request in self.requests]


@contextmanager
def running(server: ChatServer):
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        server = self.server
        body = self.rfile.read(int(self.headers["content-length"]))
        server.requests.append(json.loads(body))
        server.headers.append(dict(self.headers))
        assert self.path == "/v1/chat/completions", self.path
        if time.monotonic() < server.busy_until:
            return self._send(429, b"too soon", {"retry-after": "9"})
        action, *details = server.script.pop(0) if server.script else server.then
        if action == "busy":
            server.busy_until = time.monotonic() + details[0]
            self._send(429, b"slow down", {"retry-after": str(details[0])})
        elif action == "cut":
            self.send_response(200)
            self.send_header("content-length", "1000")
            self.end_headers()
            self.wfile.write(b'{"choices": [')
            self.close_connection = True
        elif action == "status":
            self._send(details[0], details[1].encode())
        elif action == "body":
            self._send(200, details[0])
        elif action == "answer":
            self._send(200, json.dumps(completion(details[0])).encode())
        else:
            request = urllib.request.Request(
                f"{server.upstream}/chat/completions", body, {"content-type": "application/json"}
            )
            with urllib.request.urlopen(request) as response:
                self._send(response.status, response.read())

    def _send(self, status: int, body: bytes, headers=None):
        self.send_response(status)
        for name, value in {**(headers or {}), "content-length": len(body)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def completion(text: str, finish_reason: str = "stop") -> dict:
    """A chat completion; it claims 100 tokens for the prompt and 10 for the answer."""
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "scripted",
        "choices": [{"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }

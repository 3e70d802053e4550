# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Language models that answer a chat: on the Hub, on any OpenAI-compatible server, or on this machine."""

import dataclasses
import datetime
import email.utils
import logging
import os
import textwrap
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import InferenceClient, get_token
from huggingface_hub.errors import HfHubHTTPError, InferenceTimeoutError

logger = logging.getLogger(__name__)
HF_HOSTS = ("huggingface.co", "huggingface.cloud", "hf.space")


class LanguageModelError(RuntimeError):
    """The language model cannot be used like this; the message says why."""


class BusyError(LanguageModelError):
    """
    No answer this time: too many requests, a fault of the server's, or a cut connection. Another try may succeed.

    Attributes:
        retry_after: seconds that the server asks to wait, or None.
    """

    def __init__(self, message: str, retry_after: float | None = None):
        super().__init__(message)
        self.retry_after = retry_after


@dataclasses.dataclass
class Answer:
    """What a model wrote: its text (None: nothing), and whether the limit on tokens cut it off. `prompt_tokens` and
    `completion_tokens` are None where the server does not count them."""

    text: str | None
    is_cut_off: bool
    prompt_tokens: int | None
    completion_tokens: int | None


@dataclasses.dataclass
class Usage:
    """How often a model was asked, and the tokens that its answers report."""

    times: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0

    def add(self, answer: Answer) -> None:
        if answer.prompt_tokens is None or answer.completion_tokens is None:
            self.uncounted += 1
        else:
            self.prompt_tokens += answer.prompt_tokens
            self.completion_tokens += answer.completion_tokens

    def __str__(self) -> str:
        text = f"tokens: {self.prompt_tokens:,} in prompts, {self.completion_tokens:,} in answers"
        text += f", asked {self.times:,} times"
        return text + (f" ({self.uncounted:,} answers came without a count)" if self.uncounted else "")


class ServedModel:
    """
    A model behind the chat-completions protocol.

    The key is never an argument: Hugging Face's own hosts get the Hub token (`HF_TOKEN` or `hf auth login`), any other
    server gets `OPENAI_API_KEY` if that is set.

    Args:
        name: the model's name on the Hub or on the server.
        base_url: of an OpenAI-compatible server, e.g. "http://localhost:8000/v1"; None: the Hub's inference providers.
        provider: one of those, e.g. "together"; None: the Hub chooses.
        timeout: seconds to wait for an answer.
        sampling: `max_tokens` of an answer, `temperature` (None: the server's default) and `seed`.

    Raises:
        LanguageModelError: if `base_url` is none, or the Hub is to be asked without a token.
    """

    def __init__(self, name: str, base_url: str | None, provider: str | None, timeout: float, **sampling):
        self.name, self.sampling, self.takes_schema = name, sampling, True
        if base_url is None:
            if get_token() is None:
                raise LanguageModelError("the Hub's models need a token: set HF_TOKEN or run `hf auth login`")
            self.client = InferenceClient(provider=provider, timeout=timeout)
            return
        url = urlsplit(base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise LanguageModelError(f"the base URL must begin with http:// or https:// and a host, not {base_url!r}")
        is_hub = any(url.hostname == host or url.hostname.endswith(f".{host}") for host in HF_HOSTS)
        key = get_token() if is_hub else os.environ.get("OPENAI_API_KEY")
        # Set here, because left alone the client would send the Hub's token to whatever server this is.
        authorization = None if key is None else f"Bearer {key}"
        self.client = InferenceClient(base_url=base_url, headers={"authorization": authorization}, timeout=timeout)

    def answer(self, messages: list[dict], schema: dict) -> Answer:
        """
        The model's next message, by the JSON schema `schema` where the server can hold it to one.

        Raises:
            BusyError: if another try may succeed.
            LanguageModelError: if the server refuses the request. Both hold the server's own words.
        """
        # To the server of a base URL the client sends it as {"type": "json_object", "value": schema}.
        json_schema = {"name": "answer", "schema": schema, "strict": True}
        response_format = {"type": "json_schema", "json_schema": json_schema} if self.takes_schema else None
        output = None
        try:
            output = self.client.chat_completion(
                messages, model=self.name, response_format=response_format, **self.sampling
            )
            choice = output.choices[0]
            text = choice.message.content
            if not isinstance(text, str | None):
                raise TypeError(f"the content is a {type(text).__name__}")
            counts = [getattr(output.usage, name, None) for name in ("prompt_tokens", "completion_tokens")]
            counts = [count if isinstance(count, int) else None for count in counts]
            return Answer(text, choice.finish_reason == "length", *counts)
        except HfHubHTTPError as error:
            status = error.response.status_code
            words = textwrap.shorten(error.response.text, width=500) or "without a word"
            if status == 429 or status >= 500:
                retry_after = _read_retry_after(error.response.headers.get("retry-after"))
                raise BusyError(f"the server answered {status}: {words}", retry_after) from error
            if self.takes_schema and status in (400, 422) and "response_format" in error.response.text:
                logger.warning("the server takes no JSON schema, answers are checked here alone: %s", words)
                self.takes_schema = False
                return self.answer(messages, schema)
            raise LanguageModelError(f"the server refused the request with {status}: {words}") from error
        except (InferenceTimeoutError, httpx2.TransportError) as error:
            raise BusyError(f"no answer ({type(error).__name__}: {error})") from error
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            # The client's own parsing fails on a body that is no chat completion, or takes what is none. Of all other
            # faults that are none of the server's it tells by a plain ValueError, as it does of a list or a number.
            if type(error) is ValueError and not str(error).startswith("Invalid "):
                raise LanguageModelError(str(error)) from error
            words = textwrap.shorten(str(output or getattr(error, "doc", "")), width=500)
            told = f"{type(error).__name__}: {error}" + (f"; it sent {words}" if words else "")
            raise BusyError(f"the server sent no chat completion ({told})") from error


def _read_retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which holds seconds or a date (RFC 9110); None for anything else."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        date = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=datetime.UTC)
    return max(0.0, (date - datetime.datetime.now(datetime.UTC)).total_seconds())


class LocalModel:
    """
    A model on this machine, by transformers' text-generation pipeline.

    Args:
        name: a folder, or a model on the Hub, with a chat template.
        max_tokens, temperature, seed: limit on an answer, and its sampling; without a temperature, the model's own
            generation config decides.

    Raises:
        LanguageModelError: if there is no such model, or it has no chat template.
    """

    def __init__(self, name: str, max_tokens: int, temperature: float | None, seed: int):
        from transformers import pipeline, set_seed  # takes seconds, which a served model and --help need not wait

        self.name = name
        try:
            self.pipeline = pipeline("text-generation", model=name)
        except (OSError, ValueError) as error:
            raise LanguageModelError(f"local model {name!r}: {error}") from error
        if self.pipeline.tokenizer.chat_template is None:
            raise LanguageModelError(f"local model {name!r} has no chat template: name one that was tuned for chats")
        self.max_tokens = max_tokens
        self.settings = {} if temperature is None else {"do_sample": temperature > 0}
        if temperature:
            self.settings["temperature"] = temperature
        set_seed(seed)

    def answer(self, messages: list[dict], schema: dict) -> Answer:
        """The model's next message; nothing holds it to `schema`."""
        tokenizer = self.pipeline.tokenizer
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
        output = self.pipeline(messages, return_tensors=True, max_new_tokens=self.max_tokens, **self.settings)
        tokens = output[0]["generated_token_ids"][len(prompt) :]
        return Answer(
            text=tokenizer.decode(tokens, skip_special_tokens=True),
            is_cut_off=len(tokens) == self.max_tokens and tokens[-1] != tokenizer.eos_token_id,
            prompt_tokens=len(prompt),
            completion_tokens=len(tokens),
        )

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Asks a language model for a relation's descriptions until its answer is right, and counts what that costs."""

import dataclasses
import logging
import time

from data_scripts.descriptions.language_model import Answer, BusyError
from data_scripts.descriptions.prompt import AnswerError, answer_schema, parse_answer
from data_scripts.reading import is_text

logger = logging.getLogger(__name__)
MAX_WAIT = 60.0
"""Seconds: the longest wait that doubling leads to. A server's own Retry-After is kept to, however long."""


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
        text = (
            f"tokens: {self.prompt_tokens:,} in prompts, {self.completion_tokens:,} in answers, "
            f"asked {self.times:,} times"
        )
        return text + (f" ({self.uncounted:,} answers came without a count)" if self.uncounted else "")


def ask(model, prompt: str, num_descriptions: int, taken: dict[str, str], max_attempts: int, backoff: float, usage):
    """
    Asks until the answer is right. A refused answer is shown to the model together with what is wrong with it.

    Args:
        model: [`ServedModel`] or [`LocalModel`].
        prompt: as [`PromptTemplate`] renders it.
        num_descriptions, taken: as for `parse_answer`.
        max_attempts: how often to ask at most.
        backoff: seconds to wait before the second attempt; doubled before each further one.
        usage: [`Usage`] to count in.

    Returns:
        list of str: the descriptions.

    Raises:
        AnswerError: if the last attempt's answer was not right.
        BusyError: if the last attempt brought no answer.
        LanguageModelError: if the model cannot be used at all.
    """
    schema = answer_schema(num_descriptions)
    messages = [{"role": "user", "content": prompt}]
    for attempt in range(1, max_attempts + 1):
        wait = min(backoff * 2 ** (attempt - 1), MAX_WAIT)
        try:
            usage.times += 1
            answer = model.answer(messages, schema)
            usage.add(answer)
            if answer.is_cut_off:
                raise AnswerError("it was cut off at --max_new_tokens")
            return parse_answer(answer.text or "", num_descriptions, taken)
        except AnswerError as error:
            if attempt == max_attempts:
                raise
            logger.warning("answer %d of at most %d is refused: %s", attempt, max_attempts, error)
            messages = messages[:1]
            if is_text(answer.text) and not answer.is_cut_off:
                messages.append({"role": "assistant", "content": answer.text})
                messages.append({"role": "user", "content": f"This cannot be used: {error}. Answer again, in full."})
        except BusyError as error:
            if attempt == max_attempts:
                raise
            wait = max(wait, error.retry_after or 0.0)
            logger.warning("attempt %d of at most %d: %s; trying again in %g s", attempt, max_attempts, error, wait)
        time.sleep(wait)

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The prompt that asks a language model for a relation's descriptions: its template, its context and its answer."""

import hashlib
import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from string import Template

from datasets import ClassLabel, Dataset, load_dataset

from data_scripts.demo.dataset import load_demo
from data_scripts.loading import DEMO
from data_scripts.reading import is_text
from data_scripts.schema import TRAIN

PROMPT_FILE = Path(__file__).parent / "prompts" / "relation_v1.md"
REQUIRED_FIELDS = {"label", "num_descriptions"}
FIELDS = REQUIRED_FIELDS | {"label_words", "other_labels", "examples"}


class PromptError(ValueError):
    """A prompt template or its context cannot be used; the message says why."""


class AnswerError(ValueError):
    """A language model's answer is not what it was asked for; the message says why, in words that it can be told."""


class PromptTemplate:
    """
    A prompt in a file of its own: text with `$label`, `$label_words`, `$other_labels`, `$examples` and
    `$num_descriptions` (`$$` stands for a dollar sign).

    Attributes:
        version: the file's name and the beginning of its content's SHA-256, as in "relation_v1@0123456789ab": no
            change of the wording keeps its version.

    Raises:
        PromptError: if the template is not UTF-8, has an unknown field, or lacks `$label` or `$num_descriptions`.
    """

    def __init__(self, path: Path = PROMPT_FILE):
        try:
            text = Path(path).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise PromptError(f"{path}: not UTF-8 ({error})") from error
        self.template = Template(text)
        self.version = f"{Path(path).stem}@{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        if not self.template.is_valid():
            raise PromptError(f"{path}: a '$' begins no field; write '$$' for a dollar sign")
        found = set(self.template.get_identifiers())
        if not REQUIRED_FIELDS <= found <= FIELDS:
            raise PromptError(
                f"{path} must have the fields {sorted(REQUIRED_FIELDS)}, may have "
                f"{sorted(FIELDS - REQUIRED_FIELDS)}, and has {sorted(found)}"
            )

    def render(
        self, label: str, other_labels: Sequence[str], examples: Sequence[str], num_descriptions: int, negative: bool
    ) -> str:
        """
        The prompt for one relation.

        Args:
            label: the relation to describe.
            other_labels: those that it has to be told apart from.
            examples: texts of the training split, as `read_examples` gives them.
            num_descriptions: how many to ask for.
            negative: whether the label means that none of the other relations holds.
        """
        words = re.sub(r"[/_]+", " ", label).strip()
        return self.template.substitute(
            label=label,
            label_words=words + (" (none of the other relations holds between head and tail)" if negative else ""),
            other_labels="\n".join(f"- {other}" for other in other_labels) or "(there are none)",
            examples="\n".join(f"- {example}" for example in examples) or "(none are at hand)",
            num_descriptions=num_descriptions,
        )


def closest_labels(label: str, labels: Sequence[str], limit: int) -> list[str]:
    """At most `limit` of the other labels: those that share most words with `label`, in the order of `labels`."""
    words = set(re.split(r"\W|_", label.lower()))
    others = [other for other in labels if other != label]
    closest = sorted(others, key=lambda other: -len(words & set(re.split(r"\W|_", other.lower()))))[:limit]
    return [other for other in others if other in set(closest)]


def read_examples(
    name: str,
    config_name: str | None = None,
    revision: str | None = None,
    num_examples: int = 5,
    seed: int = 0,
) -> dict[str, list[str]]:
    """
    Texts in which each relation holds, of the training split alone: no other split is opened.

    Args:
        name: `"demo"`, a folder that a converter wrote, or a data set on the Hub.
        config_name, revision: as for `datasets.load_dataset`.
        num_examples: how many distinct texts a relation, chosen at random by `seed`.

    Returns:
        label → texts, each with its head and tail; relations without a row have none.

    Raises:
        PromptError: if the data set has no training split, or no ClassLabel column `relation`.
    """
    try:
        rows = load_demo()[TRAIN] if name == DEMO else load_dataset(name, config_name, revision=revision, split=TRAIN)
    except ValueError as error:
        raise PromptError(f"data set {name!r}: {error}") from error
    relation = rows.features.get("relation")
    if not isinstance(relation, ClassLabel):
        raise PromptError(f"data set {name!r} has no ClassLabel column `relation`; convert it with data_scripts first")
    rows = rows.select_columns(["tokens", "head", "tail", "relation"])
    return choose_examples(rows, relation.names, num_examples, seed)


def choose_examples(rows: Dataset, relation_names: list[str], num_examples: int, seed: int) -> dict[str, list[str]]:
    """`num_examples` distinct texts of each relation, or all where there are fewer."""
    of_relation: dict[int, list[int]] = {}
    for index, relation in enumerate(rows["relation"]):
        of_relation.setdefault(relation, []).append(index)
    examples: dict[str, list[str]] = {}
    for number, name in enumerate(relation_names):
        indices = of_relation.get(number, [])
        random.Random(f"{seed} {name}").shuffle(indices)
        texts: dict[str, None] = {}
        for index in indices:
            if len(texts) == num_examples:
                break
            texts.setdefault(format_example(rows[index]))
        examples[name] = list(texts)
    return examples


def format_example(row: dict) -> str:
    """A row as one line: its text, its head and its tail, with the types that a tagger found."""
    parts = [json.dumps(" ".join(row["tokens"]), ensure_ascii=False)]
    for role in ("head", "tail"):
        entity = row[role]
        notes = ["an object in the picture"] if entity["kind"] == "object" else []
        notes += [entity["type"]] if entity["type"] not in (None, "unknown") else []
        note = f" ({', '.join(notes)})" if notes else ""
        parts.append(f"{role}: {json.dumps(entity['name'], ensure_ascii=False)}{note}")
    return "; ".join(parts)


def answer_schema(num_descriptions: int) -> dict:
    """The JSON schema of an answer."""
    texts = {
        "type": "array",
        "items": {"type": "string"},
        "minItems": num_descriptions,
        "maxItems": num_descriptions,
    }
    return {
        "type": "object",
        "properties": {"descriptions": texts},
        "required": ["descriptions"],
        "additionalProperties": False,
    }


def parse_answer(answer: str, num_descriptions: int, taken: dict[str, str]) -> list[str]:
    """
    The descriptions in a language model's answer: a JSON object by `answer_schema`, alone, in a code fence, or after a
    reasoning model's thoughts.

    Args:
        answer: what the model wrote.
        num_descriptions: how many it was asked for.
        taken: descriptions of other relations → the relation. None of them may come again.

    Raises:
        AnswerError: if it is no such object, or a description is blank, no Unicode text or stands twice.
    """
    answer = answer.rpartition("</think>")[2].strip()
    fenced = re.fullmatch(r"```(?:json)?\s*(.*?)\s*```", answer, flags=re.DOTALL)
    try:
        content = json.loads(fenced[1] if fenced else answer)
    except (ValueError, RecursionError) as error:
        raise AnswerError(f"it is not one JSON object ({error})") from error
    if not isinstance(content, dict) or set(content) != {"descriptions"}:
        raise AnswerError('it must be a JSON object with the one key "descriptions"')
    texts = content["descriptions"]
    if not isinstance(texts, list) or not all(is_text(text) and text.strip() for text in texts):
        raise AnswerError('"descriptions" must be a list of strings that are not blank, and Unicode text')
    texts = [" ".join(text.split()) for text in texts]
    if len(texts) != num_descriptions or len(set(texts)) != num_descriptions:
        raise AnswerError(f"{num_descriptions} different descriptions are wanted, not {len(set(texts))}")
    for text in texts:
        if text in taken:
            raise AnswerError(f"relation {taken[text]!r} has this description already: {text!r}")
    return texts

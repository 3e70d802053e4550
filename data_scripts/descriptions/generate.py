# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""
Expands relation labels into descriptions with a language model.

    python -m data_scripts.describe_relations --labels labels.txt --output relations.json --model Qwen/Qwen3-32B
    python -m data_scripts.describe_relations ... --base_url http://localhost:8000/v1 --model NAME
    python -m data_scripts.describe_relations ... --local_model Qwen/Qwen3-4B --dataset_name data/mnre

The output is written after every relation. A relation that stands in it already is not asked for again, so a run that
was stopped goes on where it was. Every answer of a server costs tokens, the refused ones too: their sum is printed.
Keys come from the environment: HF_TOKEN (or `hf auth login`) for the Hub, OPENAI_API_KEY for any other server.
"""

import argparse
import datetime
import hashlib
import json
import logging
import random
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from string import Template

from data_scripts.command import in_words
from data_scripts.descriptions.files import DescriptionWriter, read_labels, reading_key
from data_scripts.descriptions.language_model import BusyError, LanguageModelError, LocalModel, ServedModel, Usage
from data_scripts.hub_errors import HubError
from data_scripts.reading import DataError, is_text, parse_json, read_text

logger = logging.getLogger(__name__)
PROMPT_FILE = Path(__file__).parent / "prompts" / "relation_v1.md"
REQUIRED_FIELDS = {"label", "num_descriptions"}
FIELDS = REQUIRED_FIELDS | {"label_words", "other_labels", "examples"}
MAX_WAIT = 60.0
"""Seconds: the longest wait that doubling leads to. A server's own Retry-After is kept to, however long."""


class AnswerError(ValueError):
    """A language model's answer is not what it was asked for; the message says why, in words that it can be told."""


def describe(options: argparse.Namespace, usage: Usage) -> list[str]:
    """Describes those relations of `options` (see `main`) that the output lacks; returns those that failed.

    Raises:
        DataError: if an input file is not as it should be.
        HubError: if the data set of the examples cannot be had.
        LanguageModelError: if the model is not to be reached or refuses; what was made before is written.
    """
    labels, negative = read_labels(options.labels)
    negative = options.negative_relation or negative
    if negative not in (None, *labels):
        raise DataError(f"{options.labels}: the negative relation {negative!r} is not among the labels")
    template, version = read_prompt(options.prompt_file)
    output = DescriptionWriter(options.output, labels, negative)
    missing = [label for label in labels if label not in output.entries]
    print(
        f"{len(labels)} relations, the negative one is {negative or 'none of them (--negative_relation)'}; "
        f"{len(labels) - len(missing)} are described in {options.output} already"
    )
    counts = {label: len(output.entries[label]["descriptions"]) for label in labels if label in output.entries}
    if fewer := [label for label, count in counts.items() if count < options.num_descriptions]:
        logger.warning("fewer than %d descriptions, left as they are: %s", options.num_descriptions, ", ".join(fewer))
    if not missing:
        return []
    options.output.parent.mkdir(parents=True, exist_ok=True)  # before an answer has cost anything
    source, examples = "written by a language model from the labels", {}
    if options.dataset_name is not None:
        examples = read_examples(options)
        source += f" and the training split of {options.dataset_name}"
        if without := [label for label in missing if not examples.get(label)]:
            logger.warning("no example in the training split: %s", ", ".join(without))
    sampling = {"max_tokens": options.max_new_tokens, "temperature": options.temperature, "seed": options.seed}
    if options.local_model is not None:
        model = LocalModel(options.local_model, **sampling)
    else:
        model = ServedModel(options.model, options.base_url, options.provider, options.timeout, **sampling)
    failed = []
    for number, label in enumerate(missing, start=1):
        others = closest_labels(label, labels, options.num_other_labels)
        prompt = fill_prompt(template, label, others, examples.get(label, []), options.num_descriptions, negative)
        taken = {reading_key(text): name for name, entry in output.entries.items() for text in entry["descriptions"]}
        try:
            texts = ask(model, prompt, taken, options, usage)
        except AnswerError as error:
            logger.error("%s: given up after %d attempts: %s", label, options.max_attempts, error)
            failed.append(label)
            continue
        entry = {
            "descriptions": texts,
            "source": source,
            "model": model.name,
            "prompt_version": version,
            "date": datetime.date.today().isoformat(),
            "reviewed": False,
        }
        output.add({label: entry})
        print(f"{number}/{len(missing)} {label}: {texts[0]}", flush=True)
    return failed


def read_prompt(path: Path) -> tuple[Template, str]:
    """
    Reads a prompt: text with `$label`, `$label_words`, `$other_labels`, `$examples` and `$num_descriptions` (`$$` is a
    dollar sign).

    Returns:
        The template; and its version, the file's name and the beginning of its content's SHA-256, as in
        "relation_v1@0123456789ab": no change of the wording keeps its version.

    Raises:
        DataError: if the file is not UTF-8, has an unknown field, or lacks `$label` or `$num_descriptions`.
    """
    text = read_text(path)
    template = Template(text)
    if not template.is_valid():
        raise DataError(f"{path}: a '$' begins no field; write '$$' for a dollar sign")
    found = set(template.get_identifiers())
    if not REQUIRED_FIELDS <= found <= FIELDS:
        raise DataError(
            f"{path} must have the fields {sorted(REQUIRED_FIELDS)}, may have {sorted(FIELDS - REQUIRED_FIELDS)}, and "
            f"has {sorted(found)}"
        )
    return template, f"{path.stem}@{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def fill_prompt(
    template: Template,
    label: str,
    other_labels: Sequence[str],
    examples: Sequence[str],
    num_descriptions: int,
    negative: str | None,
) -> str:
    """The prompt that asks for `num_descriptions` of `label`, which is to be told apart from `other_labels`."""
    note = " (none of the other relations holds between head and tail)" if label == negative else ""
    return template.substitute(
        label=label,
        label_words=re.sub(r"[/_]+", " ", label).strip() + note,
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


def read_examples(options: argparse.Namespace) -> dict[str, list[str]]:
    """Label → at most `num_examples` distinct texts in which it holds, chosen at random by `seed`.

    They come from the training split alone: no other split of the data set is opened.
    """
    from data_scripts.loading import open_rows  # its packages take seconds
    from data_scripts.schema import TRAIN

    rows = open_rows(options.dataset_name, options.dataset_config_name, options.dataset_revision, split=TRAIN)
    names = rows.features["relation"].names
    rows = rows.select_columns(["tokens", "head", "tail", "relation"])
    indices: dict[str, list[int]] = {name: [] for name in names}
    for index, relation in enumerate(rows["relation"]):
        if relation in (None, -1):  # unlabelled
            continue
        if not 0 <= relation < len(names):
            message = f"data set {options.dataset_name!r}: row {index} of {TRAIN} (from 0): {relation} is none of"
            raise DataError(f"{message} {len(names)} relations")
        indices[names[relation]].append(index)
    examples = {}
    for name, of_relation in indices.items():
        random.Random(f"{options.seed} {name}").shuffle(of_relation)
        texts: dict[str, None] = {}
        for index in of_relation:
            if len(texts) == options.num_examples:
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


def ask(
    model: LocalModel | ServedModel, prompt: str, taken: dict[str, str], options: argparse.Namespace, usage: Usage
) -> list[str]:
    """
    Asks until the answer is right. A refused answer is shown to the model together with what is wrong with it.

    Raises:
        AnswerError: if the last attempt's answer was not right.
        BusyError: if the last attempt brought no answer.
        LanguageModelError: if the model cannot be used at all.
    """
    texts = {"type": "array", "items": {"type": "string"}}
    texts |= {"minItems": options.num_descriptions, "maxItems": options.num_descriptions}
    schema = {"type": "object", "properties": {"descriptions": texts}, "required": ["descriptions"]}
    schema["additionalProperties"] = False
    messages = [{"role": "user", "content": prompt}]
    for attempt in range(1, options.max_attempts + 1):
        wait = min(options.backoff * 2 ** (attempt - 1), MAX_WAIT)
        try:
            usage.times += 1
            answer = model.answer(messages, schema)
            usage.add(answer)
            if answer.is_cut_off:
                raise AnswerError("it was cut off at --max_new_tokens")
            return parse_answer(answer.text or "", options.num_descriptions, taken)
        except AnswerError as error:
            if attempt == options.max_attempts:
                raise
            logger.warning("answer %d of at most %d is refused: %s", attempt, options.max_attempts, error)
            messages = messages[:1]
            if is_text(answer.text) and not answer.is_cut_off:
                messages.append({"role": "assistant", "content": answer.text})
                messages.append({"role": "user", "content": f"This cannot be used: {error}. Answer again, in full."})
        except BusyError as error:
            if attempt == options.max_attempts:
                raise
            wait = max(wait, error.retry_after or 0.0)
            logger.warning("attempt %d of at most %d: %s; again in %g s", attempt, options.max_attempts, error, wait)
        time.sleep(wait)


def parse_answer(answer: str, num_descriptions: int, taken: dict[str, str]) -> list[str]:
    """The descriptions in an answer: a JSON object, alone, in a code fence, or after a reasoning model's thoughts.

    Raises:
        AnswerError: if it is no such object, or a description is blank, no Unicode text, stands twice, or is `taken`
            (`reading_key` of a description → relation) already, but for its case.
    """
    answer = answer.rpartition("</think>")[2].strip()
    fenced = re.fullmatch(r"```(?:json)?\s*(.*?)\s*```", answer, flags=re.DOTALL)
    try:
        content = parse_json(fenced[1] if fenced else answer)
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
        if other := taken.get(reading_key(text)):
            raise AnswerError(f"relation {other!r} has this description already: {text!r}")
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add(
        "--labels",
        type=Path,
        required=True,
        help="a text file with one label a line, a rel2id.json, or a relation description file",
    )
    add("--output", type=Path, required=True, help="relation description file to write or go on with")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", help="model on the Hub, or the name that the server of --base_url knows")
    which.add_argument("--local_model", help="folder or Hub model to run here, by transformers")
    add("--base_url", help="of an OpenAI-compatible server, e.g. http://localhost:8000/v1")
    add("--provider", help="inference provider on the Hub; default: the Hub chooses")
    add("--num_descriptions", type=int, default=3, help="descriptions a relation (default: 3)")
    add("--negative_relation", help="label that means none of the other relations")
    add("--dataset_name", help="take examples from its training split: demo, a folder, or on the Hub")
    add("--dataset_config_name")
    add("--dataset_revision")
    add("--num_examples", type=int, default=5, help="examples a relation (default: 5)")
    add("--num_other_labels", type=int, default=100, help="other labels shown, the most alike (default: 100)")
    add("--prompt_file", type=Path, default=PROMPT_FILE, help="another prompt template")
    add("--max_new_tokens", type=int, default=1024, help="limit on an answer (default: 1024)")
    add("--temperature", type=float, help="of sampling; default: the server's or model's own")
    add("--seed", type=int, default=0, help="chooses examples and seeds sampling (default: 0)")
    add("--max_attempts", type=int, default=6, help="attempts a relation (default: 6)")
    add("--backoff", type=float, default=1.0, help="seconds before the second attempt, then doubled (default: 1)")
    add("--timeout", type=float, default=120.0, help="seconds to wait for an answer (default: 120)")
    options = parser.parse_args()
    if options.local_model is not None and (options.base_url or options.provider):
        parser.error("--base_url and --provider are for --model")
    if options.base_url and options.provider:
        parser.error("name --base_url or --provider")
    for name in ("num_descriptions", "num_other_labels", "num_examples", "max_new_tokens", "max_attempts"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1")
    if options.backoff < 0:
        parser.error("--backoff cannot be negative")
    if options.temperature is not None and not options.temperature >= 0:
        parser.error("--temperature cannot be negative")
    if not options.timeout > 0:
        parser.error("--timeout must be above 0")
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    usage = Usage()
    try:
        failed = describe(options, usage)
    except (OSError, DataError, HubError, LanguageModelError) as error:
        sys.exit(f"error: {in_words(error)}")
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on")
    finally:
        if usage.times:
            print(usage, flush=True)
    if failed:
        sys.exit(f"error: no usable answer for {', '.join(failed)}; the same command tries them again")

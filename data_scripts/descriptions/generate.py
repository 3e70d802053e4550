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
import logging
import sys
from pathlib import Path

from data_scripts.descriptions.asking import Usage, ask
from data_scripts.descriptions.files import DescriptionError, load_descriptions, write_descriptions
from data_scripts.descriptions.labels import read_labels
from data_scripts.descriptions.language_model import BusyError, LanguageModelError, LocalModel, ServedModel
from data_scripts.descriptions.prompt import (
    PROMPT_FILE,
    AnswerError,
    PromptError,
    PromptTemplate,
    closest_labels,
    read_examples,
)
from data_scripts.reading import DataError

logger = logging.getLogger(__name__)


def describe(options: argparse.Namespace, usage: Usage) -> list[str]:
    """Describes those relations of `options` (see `build_parser`) that the output lacks; returns those that failed.

    Raises:
        DataError, DescriptionError, PromptError: if an input file is not as it should be.
        BusyError, LanguageModelError: if the model is not to be reached or refuses; what was made before is written.
    """
    labels, negative = read_labels(options.labels)
    negative = options.negative_relation or negative
    if negative not in (None, *labels):
        raise DataError(f"{options.labels}: the negative relation {negative!r} is not among the labels")
    template = PromptTemplate(options.prompt_file)
    relations = read_made(options.output, negative)
    missing = [label for label in labels if label not in relations]
    print(
        f"{len(labels)} relations, the negative one is {negative or 'none of them (--negative_relation)'}; "
        f"{len(labels) - len(missing)} are described in {options.output} already"
    )
    fewer = [
        label
        for label in labels
        if label not in missing and len(relations[label]["descriptions"]) < options.num_descriptions
    ]
    if fewer:
        logger.warning("fewer than %d descriptions, left as they are: %s", options.num_descriptions, ", ".join(fewer))
    if not missing:
        return []
    options.output.parent.mkdir(parents=True, exist_ok=True)  # before an answer has cost anything
    source, examples = "written by a language model from the labels", {}
    if options.dataset_name is not None:
        examples = read_examples(
            options.dataset_name,
            options.dataset_config_name,
            options.dataset_revision,
            options.num_examples,
            options.seed,
        )
        source += f" and the training split of {options.dataset_name}"
        without = [label for label in missing if not examples.get(label)]
        if without:
            logger.warning("no example in the training split: %s", ", ".join(without))
    model = make_model(options)
    failed = []
    for number, label in enumerate(missing, start=1):
        others = closest_labels(label, labels, options.num_other_labels)
        prompt = template.render(
            label, others, examples.get(label, []), options.num_descriptions, negative=label == negative
        )
        taken = {text: name for name, entry in relations.items() for text in entry["descriptions"]}
        try:
            texts = ask(model, prompt, options.num_descriptions, taken, options.max_attempts, options.backoff, usage)
        except AnswerError as error:
            logger.error("%s: given up after %d attempts: %s", label, options.max_attempts, error)
            failed.append(label)
            continue
        relations[label] = {
            "descriptions": texts,
            "source": source,
            "model": model.name,
            "prompt_version": template.version,
            "date": datetime.date.today().isoformat(),
            "reviewed": False,
        }
        write_made(options.output, relations, labels, negative)
        print(f"{number}/{len(missing)} {label}: {texts[0]}", flush=True)
    return failed


def read_made(path: Path, negative: str | None) -> dict[str, dict]:
    """The relations that `path` describes already; none if it does not exist.

    Raises:
        DescriptionError: if its negative relation is another one.
    """
    if not path.exists():
        return {}
    content = load_descriptions(path)
    if content["negative_relation"] not in (None, negative):
        raise DescriptionError(f"{path}: its negative relation is {content['negative_relation']!r}, not {negative!r}")
    return content["relations"]


def write_made(path: Path, relations: dict[str, dict], labels: list[str], negative: str | None) -> None:
    """Writes what is made so far: `labels` in their order, then what else the file held."""
    order = dict.fromkeys([*(label for label in labels if label in relations), *relations])
    write_descriptions(
        {
            "relations": {label: relations[label] for label in order},
            "negative_relation": negative if negative in relations else None,
        },
        path,
    )


def make_model(options: argparse.Namespace):
    """The language model that the command line names."""
    settings = {name: getattr(options, name) for name in ("max_new_tokens", "temperature", "seed")}
    if options.local_model is not None:
        return LocalModel(options.local_model, **settings)
    return ServedModel(options.model, options.base_url, options.provider, timeout=options.timeout, **settings)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--labels",
        type=Path,
        required=True,
        help="a text file with one label a line, a rel2id.json, or a relation description file",
    )
    parser.add_argument("--output", type=Path, required=True, help="relation description file to write or go on with")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", help="model on the Hub, or the name that the server of --base_url knows")
    which.add_argument("--local_model", help="folder or Hub model to run here, by transformers")
    parser.add_argument("--base_url", help="of an OpenAI-compatible server, e.g. http://localhost:8000/v1")
    parser.add_argument("--provider", help="inference provider on the Hub; default: the Hub chooses")
    parser.add_argument("--num_descriptions", type=int, default=3, help="descriptions a relation (default: 3)")
    parser.add_argument("--negative_relation", help="label that means none of the other relations")
    parser.add_argument("--dataset_name", help="take examples from its training split: demo, a folder, or on the Hub")
    parser.add_argument("--dataset_config_name")
    parser.add_argument("--dataset_revision")
    parser.add_argument("--num_examples", type=int, default=5, help="examples a relation (default: 5)")
    parser.add_argument(
        "--num_other_labels", type=int, default=100, help="other labels shown, the most alike (default: 100)"
    )
    parser.add_argument("--prompt_file", type=Path, default=PROMPT_FILE, help="another prompt template")
    parser.add_argument("--max_new_tokens", type=int, default=1024, help="limit on an answer (default: 1024)")
    parser.add_argument("--temperature", type=float, help="of sampling; default: the server's or model's own")
    parser.add_argument("--seed", type=int, default=0, help="chooses examples and seeds sampling (default: 0)")
    parser.add_argument("--max_attempts", type=int, default=6, help="attempts a relation (default: 6)")
    parser.add_argument(
        "--backoff", type=float, default=1.0, help="seconds before the second attempt, doubled each time (default: 1)"
    )
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds to wait for an answer (default: 120)")
    return parser


def main() -> None:
    parser = build_parser()
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
    except (OSError, DataError, DescriptionError, PromptError, BusyError, LanguageModelError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on")
    finally:
        print(usage, flush=True)
    if failed:
        sys.exit(f"error: no usable answer for {', '.join(failed)}; the same command tries them again")

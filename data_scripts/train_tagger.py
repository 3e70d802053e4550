# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""
Fine-tunes an encoder to tag entities, by transformers' Trainer, for the type prompts of texts like those it is given.

    python -m data_scripts.train_tagger --model_name_or_path google-bert/bert-base-cased --output_dir outputs/tagger \\
        --train_file train.txt --validation_file dev.txt --test_file test.txt
    python -m data_scripts.mnre --raw_dir RAW --output_dir data/mnre --entity_tagger hf:outputs/tagger

The files are CoNLL's: a token a line, its tag in the last column, an empty line after each text. Lines that begin with
-DOCSTART- or IMGID: end a text too. What is printed last are the scores of the saved folder, used as a converter does.
"""

import argparse
import re
import sys
from collections import Counter
from pathlib import Path

from data_scripts.command import in_words
from data_scripts.converters.entity_typing import (
    Entity,
    count_positions,
    decode_tags,
    find_tagged_pieces,
    load_fast_tokenizer,
    split_tag,
    tag_by_transformer,
    type_word,
)
from data_scripts.hub_errors import HubError, check_repository, explain_hub_errors
from data_scripts.reading import DataError, read_lines
from data_scripts.writing import replacing_in

BEST_EPOCH = {"eval_strategy": "epoch", "save_strategy": "epoch", "save_total_limit": 1, "save_only_model": True}
BEST_EPOCH |= {"load_best_model_at_end": True, "metric_for_best_model": "f1"}


def read_conll(path: Path) -> list[dict]:
    """The texts of a CoNLL file, as `tokens` and `tags` of equal length.

    Raises:
        DataError: if a line has no token or no tag, a tag is of an unknown type, or there is no text at all; and as
            `read_lines` does.
    """
    texts = [[]]
    for place, line in read_lines(path):
        if not line.strip() or line.startswith(("-DOCSTART-", "IMGID:")):
            texts.append([])
            continue
        token, *others = re.split("\t" if "\t" in line else " +", line.strip(" \n"))
        if not token or not others:
            raise place.error(None, f"a token and its tag are expected, with a tab or blank between, not {line!r}")
        try:
            if others[-1] != "O":
                type_word(split_tag(others[-1])[1])
        except ValueError as error:
            raise place.error(None, f"tag {others[-1]!r}: {error}") from error
        texts[-1].append((token, others[-1]))
    if not any(texts):
        raise DataError(f"{path}: there is no text in it")
    return [{"tokens": [token for token, _ in text], "tags": [tag for _, tag in text]} for text in texts if text]


def score_entities(gold: list[list[Entity]], found: list[list[Entity]]) -> dict[str, float]:
    """Micro `precision`, `recall` and `f1` (0 to 1) of the entities of several texts, each right if its tokens and its
    type are, and `f1_<type>` of each type that occurs; 0 where nothing is found, or there is nothing to find."""
    gold, found = ({(text, entity) for text, own in enumerate(side) for entity in own} for side in (gold, found))
    right, wanted, given = (Counter(word for _, (_, _, word) in side) for side in (gold & found, gold, found))
    scores = {
        "precision": right.total() / max(given.total(), 1),
        "recall": right.total() / max(wanted.total(), 1),
        "f1": 2 * right.total() / max(wanted.total() + given.total(), 1),
    }
    return scores | {f"f1_{word}": 2 * right[word] / (wanted[word] + given[word]) for word in sorted(wanted | given)}


def train_tagger(model_name_or_path: str, texts: dict[str, list[dict]], args) -> None:
    """Saves to `args.output_dir` what an encoder has learnt from `texts["train"]`, and scores it on the other splits.

    Args:
        model_name_or_path: the encoder, with a fast tokenizer. It learns from a text as far as it can read it at once.
        texts: those of `read_conll`, by split, validation among them.
        args: the `TrainingArguments`.
    """
    from datasets import Dataset
    from transformers import AutoModelForTokenClassification, DataCollatorForTokenClassification, Trainer, set_seed

    set_seed(args.seed)
    tags = sorted({tag for split in texts.values() for text in split for tag in text["tags"]})
    ids = {tag: number for number, tag in enumerate(tags)}
    tokenizer = load_fast_tokenizer(model_name_or_path)
    model = AutoModelForTokenClassification.from_pretrained(
        model_name_or_path, id2label=dict(enumerate(tags)), label2id=ids, ignore_mismatched_sizes=True
    )
    limit = min(tokenizer.model_max_length, count_positions(model))

    def encode(text: dict) -> dict:
        encoded = tokenizer(
            text["tokens"], is_split_into_words=True, truncation=True, max_length=limit, return_offsets_mapping=True
        )
        encoded["labels"] = [-100] * len(encoded["input_ids"])
        pieces = find_tagged_pieces(encoded.word_ids(), encoded.pop("offset_mapping"), text["tokens"])
        for token, position in pieces.items():
            encoded["labels"][position] = ids[text["tags"][token]]
        return encoded

    def compute_metrics(prediction) -> dict[str, float]:
        kept = prediction.label_ids != -100
        gold, found = (
            [decode_tags([tags[tag] for tag in row[own]]) for row, own in zip(rows, kept, strict=True)]
            for rows in (prediction.label_ids, prediction.predictions.argmax(-1))
        )
        return score_entities(gold, found)

    rows = {split: Dataset.from_list(texts[split]).map(encode) for split in ("train", "validation")}
    trainer = Trainer(
        model,
        args,
        train_dataset=rows["train"],
        eval_dataset=rows["validation"],
        processing_class=tokenizer,
        data_collator=DataCollatorForTokenClassification(tokenizer),
        compute_metrics=compute_metrics,
    )
    trainer.train()
    with replacing_in(args.output_dir) as folder:
        trainer.save_model(folder)
    for split in [name for name in texts if name != "train"]:
        tokens = [text["tokens"] for text in texts[split]]
        batches = [tokens[start : start + 64] for start in range(0, len(tokens), 64)]
        found = [entities for batch in batches for entities in tag_by_transformer(args.output_dir, batch)]
        scores = score_entities([decode_tags(text["tags"]) for text in texts[split]], found)
        trainer.log_metrics(split, scores)
        trainer.save_metrics(split, scores)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="The settings of transformers' TrainingArguments are settings too: --num_train_epochs, --learning_rate,"
        " --per_device_train_batch_size, --train_sampling_strategy, --warmup_steps, --seed, --bf16, --use_cpu ...",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--model_name_or_path", required=True, help="encoder with a fast tokenizer, to be fine-tuned")
    parser.add_argument("--output_dir", required=True, help="folder for the tagger")
    parser.add_argument("--train_file", type=Path, required=True)
    parser.add_argument("--validation_file", type=Path, required=True, help="chooses the epoch that is kept")
    parser.add_argument("--test_file", type=Path)
    options, others = parser.parse_known_args()
    try:
        files = {"train": options.train_file, "validation": options.validation_file, "test": options.test_file}
        texts = {split: read_conll(path) for split, path in files.items() if path is not None}

        from transformers import HfArgumentParser, TrainingArguments

        settings = HfArgumentParser(TrainingArguments, usage=argparse.SUPPRESS, allow_abbrev=False)
        settings.set_defaults(**BEST_EPOCH, report_to="none")
        arguments = ["--output_dir", options.output_dir, *others]
        [args] = settings.parse_args_into_dataclasses(arguments, look_for_args_file=False)
        check_repository(options.model_name_or_path, "model")
        with explain_hub_errors(options.model_name_or_path, "model"):
            train_tagger(options.model_name_or_path, texts, args)
    except (OSError, ValueError, HubError) as error:
        sys.exit(f"error: {in_words(error)}")


if __name__ == "__main__":
    main()

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""
Trains and evaluates ROC.

    python train.py                                       # the embedded demo set, configs/demo.yaml
    python train.py configs/mnre.yaml --output_dir out    # a configuration, single settings overridden
    accelerate launch --quiet train.py configs/mnre.yaml  # a process for each GPU
"""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path

from datasets import DatasetDict
from transformers import EarlyStoppingCallback, set_seed
from transformers.utils import logging as transformers_logging

from data_scripts.hub_errors import HubError
from data_scripts.loading import has_objects
from evaluation_roc.calibration import report_calibration
from evaluation_roc.pictures import save_example_page
from evaluation_roc.report import GROUP_COLUMNS, format_example, group_metrics, report_split, score_groups
from evaluation_roc.zero_shot import ZeroShotEvaluation
from training_roc import RocTrainer, RocTrainingArguments
from training_roc.arguments import Settings, UserError, check_settings, parse_arguments, user_errors
from training_roc.checkpoints import ServingFilesCallback, choose_checkpoint
from training_roc.collator import RocDataCollator
from training_roc.hold_out import FEW_SHOT, seen_descriptions, seen_rows
from training_roc.metrics import make_compute_metrics
from training_roc.model_card import SPLITS, TrainingRun, build_model_card, write_card
from training_roc.models import make_model
from training_roc.push import prepare_push, push_run
from training_roc.rows import encode_splits, load_data


@dataclass(kw_only=True)
class Run(TrainingRun):
    """What the parts of a run hand on to one another: what its card tells, and what it is done with."""

    trainer: RocTrainer
    encoded: DatasetDict
    zero_shot: ZeroShotEvaluation | None


def main():
    with user_errors():
        settings = parse_arguments(sys.argv[1:], description=__doc__.strip())
        args = settings.training
        set_up(args)
        check_settings(settings)
        checkpoint = choose_checkpoint(args)
        if args.push_to_hub:
            prepare_push(settings)
        run = load(settings)
    if args.do_train:
        train(run, checkpoint)
    if args.do_eval:
        evaluate(run, "validation")
    if args.do_predict:
        evaluate(run, "test")
    if args.do_train:
        publish(run)


def set_up(args: RocTrainingArguments):
    """What holds for the whole process: who says what, and the seed."""
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", level=logging.INFO if args.should_log else "WARN")
    transformers_logging.set_verbosity(args.get_process_log_level())
    set_seed(args.seed)


def load(settings: Settings) -> Run:
    """Data set, model and trainer, as the settings ask for them."""
    model_args, data_args, args = settings
    with args.main_process_first(desc="loading the data set"):
        data = load_data(settings)
    seen = seen_descriptions(data.descriptions, data.unseen)
    model, processor = make_model(settings, seen, has_objects(data.splits))
    with args.main_process_first(desc="preparing texts and pictures"):
        encoded, pictures = encode_splits(data.splits, processor, data_args)
    data.splits.pop(FEW_SHOT, None)
    examples = encoded.pop(FEW_SHOT, None)  # evaluated with, but no split of the data set
    callbacks = [ServingFilesCallback]
    if data_args.early_stopping_patience is not None:
        callbacks.append(EarlyStoppingCallback(data_args.early_stopping_patience))
    trainer = RocTrainer(
        model=model,
        args=args,
        data_collator=RocDataCollator(processor, pictures),
        train_dataset=encoded["train"] if args.do_train else None,
        eval_dataset=seen_rows(encoded.get("validation"), model.config.num_labels),
        processing_class=processor,
        compute_metrics=make_compute_metrics(model.config),
        callbacks=callbacks,
    )
    zero_shot = None
    if data.unseen:
        zero_shot = ZeroShotEvaluation(
            data.unseen,
            data.descriptions,
            data_args.relation_text,
            data_args.unseen_rate,
            trainer,
            encoded,
            examples,
            data_args.few_shot_examples or [],
        )
    return Run(
        model_id=args.hub_model_id if args.push_to_hub else args.output_dir,
        model=model,
        model_args=model_args,
        data_args=data_args,
        args=args,
        splits=data.splits,
        descriptions=data.descriptions,
        unseen=data.unseen,
        trainer=trainer,
        encoded=encoded,
        zero_shot=zero_shot,
    )


def train(run: Run, checkpoint: str | None):
    """Trains the model, from `checkpoint` on if there is one, and saves it."""
    trainer, config = run.trainer, run.model.config
    # What was chosen for other weights.
    config.calibration_temperature, config.abstention_threshold, config.relation_offsets = 1.0, None, None
    result = trainer.train(resume_from_checkpoint=checkpoint)
    if run.zero_shot is not None:
        wanted = {"validation": run.args.do_eval, "test": run.args.do_predict}
        run.zero_shot.open_relations([split for split, is_wanted in wanted.items() if is_wanted])
    trainer.save_model()
    trainer.save_state()
    save_metrics(run, "train", result.metrics | {"train_samples": len(run.encoded["train"])})


def evaluate(run: Run, split: str):
    """Scores a split; on validation, calibrates the model, too."""
    trainer, config, rows, name = run.trainer, run.model.config, run.splits[split], SPLITS[split]
    labels, negative = list(config.id2label.values()), config.negative_relation
    folder, is_writer = Path(run.args.output_dir), run.args.should_save
    output = trainer.predict(run.encoded[split], metric_key_prefix=name)
    answers, chosen_on = output.predictions.argmax(axis=-1), output
    groups = score_groups(rows.select_columns(list(GROUP_COLUMNS)), answers, output.label_ids, labels, negative)
    metrics = output.metrics | {f"{name}_samples": len(rows)} | group_metrics(groups, name)
    if run.zero_shot is not None:
        metrics |= run.zero_shot.score(split, output.predictions, name)
        chosen_on = run.zero_shot.for_choosing(split, output)
    metrics |= report_calibration(name, chosen_on, config, folder if is_writer else None)
    save_metrics(run, name, metrics)
    if is_writer:
        run.tables[split] = report_split(name, rows["id"], output, groups, labels, negative, folder)
        if split == "test":
            save_example_page(folder / "test_examples.png", rows, answers, labels)
            print(format_example(rows[0], output.predictions[0], labels, run.descriptions))


def save_metrics(run: Run, name: str, metrics: dict):
    """Logs metrics, writes them, and keeps them for the card."""
    run.trainer.log_metrics(name, metrics)
    run.trainer.save_metrics(name, metrics)
    run.metrics[name] = metrics


def publish(run: Run):
    """Writes what the evaluation added to the model, and its card; pushes all of it if that was asked for."""
    if run.args.should_save:
        if run.zero_shot is not None:
            run.zero_shot.write(run.args.output_dir)
        if run.model_args.use_lora:
            run.trainer.save_model()  # an adapter has no config but in its weights
        else:
            run.model.config.save_pretrained(run.args.output_dir)
        write_card(build_model_card(run), run.args.output_dir)
    if run.args.push_to_hub:
        push_run(run.trainer)


if __name__ == "__main__":
    try:
        main()
    except (HubError, UserError) as error:
        sys.exit(f"error: {error}")

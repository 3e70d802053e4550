# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""
Trains and evaluates ROC.

    python train.py                                       # the embedded demo set, configs/demo.yaml
    python train.py configs/mnre.yaml --output_dir out    # a configuration, single settings overridden
    accelerate launch --quiet train.py configs/mnre.yaml  # a process for each GPU
"""

import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path

from transformers import EarlyStoppingCallback, set_seed
from transformers.utils import logging as transformers_logging

from data_scripts.hub_errors import HubError
from data_scripts.loading import has_objects
from evaluation_roc.calibration import report_calibration
from evaluation_roc.example_page import save_example_page
from evaluation_roc.groups import GROUP_COLUMNS, group_metrics, score_groups
from evaluation_roc.relation_f1.relation_f1 import compute_relation_f1
from evaluation_roc.report import format_example, report_split
from evaluation_roc.zero_shot_run import ZeroShotEvaluation
from modeling_roc import RocConfig
from training_roc import RocTrainer
from training_roc.arguments import Settings, UserError, check_settings, parse_arguments, user_errors
from training_roc.checkpoints import ServingFilesCallback, choose_checkpoint
from training_roc.collator import PictureTable, RocDataCollator
from training_roc.hold_out import FEW_SHOT, seen_rows
from training_roc.model_card import SPLITS, TrainingRun, build_model_card, write_card
from training_roc.models import make_model
from training_roc.push import check_base, prepare_push, push_run
from training_roc.rows import RunData, load_data, prepare_splits


@dataclass
class Run:
    """What the parts of a run hand on: `encoded` are the splits' rows as the collator takes them, `metrics` is by
    "train", "eval" and "test", and `tables`, scores by relation, by split."""

    settings: Settings
    data: RunData
    encoded: dict
    trainer: RocTrainer
    zero_shot: ZeroShotEvaluation | None
    metrics: dict[str, dict] = field(default_factory=dict)
    tables: dict[str, list[dict] | None] = field(default_factory=dict)


def main():
    with user_errors():
        settings = parse_arguments(sys.argv[1:], description=__doc__.strip())
        args = settings.training
        start(settings)
        checkpoint = choose_checkpoint(args)
        if args.push_to_hub:
            prepare_publishing(settings)
        run = load(settings)
    if args.do_train:
        train(run, checkpoint)
    if args.do_eval:
        evaluate(run, "validation")
    if args.do_predict:
        evaluate(run, "test")
    if run.zero_shot is not None and args.should_save:
        run.zero_shot.write(args.output_dir)
    if args.do_train:
        publish(run)


def start(settings: Settings):
    """Checks the settings, and sets what holds for the whole process: logging and the seed."""
    check_settings(settings)
    args = settings.training
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", level=logging.INFO if args.should_log else "WARN")
    transformers_logging.set_verbosity(args.get_process_log_level())
    set_seed(args.seed)


def prepare_publishing(settings: Settings):
    """Sees to it, before the work, that its result can be pushed and used."""
    if settings.model.use_lora:
        check_base(settings.model.model_name_or_path)
    prepare_push(settings.training)


def load(settings: Settings) -> Run:
    """Data set, model and trainer, as the settings ask for them."""
    _, data_args, args = settings
    with args.main_process_first(desc="loading the data set"):
        data = load_data(settings)
    model, processor = make_model(settings, data.seen_descriptions, has_objects(data.splits))
    pictures, num_proc = None, data_args.preprocessing_num_workers
    with args.main_process_first(desc="preparing texts and pictures"):
        if data_args.use_images and processor.image_processor is not None:
            pictures = PictureTable(processor, list(data.splits.values()), num_proc=num_proc)
        encoded = prepare_splits(data.splits, processor, pictures, num_proc)
    data.splits.pop(FEW_SHOT, None)  # evaluated with, but no split of the data set
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
            data_args.few_shot_examples or [],
        )
    return Run(settings, data, encoded, trainer, zero_shot)


def make_compute_metrics(config: RocConfig):
    """The Trainer's `compute_metrics`: the metric of the whole project on the rows that have a label."""
    negative = None if config.negative_relation is None else config.label2id[config.negative_relation]

    def compute_metrics(prediction):
        labelled = prediction.label_ids != -100
        if not labelled.any():
            return {}
        return compute_relation_f1(
            prediction.predictions[labelled].argmax(axis=-1),
            prediction.label_ids[labelled],
            num_labels=config.num_labels,
            negative_label=negative,
        )

    return compute_metrics


def train(run: Run, checkpoint: str | None):
    """Trains the model, from `checkpoint` on if there is one, and saves it."""
    trainer, config = run.trainer, run.trainer.model.config
    # What was chosen for other weights; offsets would even take part in the training.
    config.calibration_temperature, config.abstention_threshold, config.relation_offsets = 1.0, None, None
    result = trainer.train(resume_from_checkpoint=checkpoint)
    if run.zero_shot is not None:
        wanted = {"validation": trainer.args.do_eval, "test": trainer.args.do_predict}
        run.zero_shot.open_relations([split for split, is_wanted in wanted.items() if is_wanted])
    trainer.save_model()
    trainer.save_state()
    save_metrics(run, "train", result.metrics | {"train_samples": len(run.encoded["train"])})


def evaluate(run: Run, split: str):
    """Scores a split; on validation, calibrates the model, too."""
    trainer, rows, name = run.trainer, run.data.splits[split], SPLITS[split]
    config, folder = trainer.model.config, Path(trainer.args.output_dir)
    labels, negative = list(config.id2label.values()), config.negative_relation
    output = trainer.predict(run.encoded[split], metric_key_prefix=name)
    answers, chosen_on = output.predictions.argmax(axis=-1), output
    groups = score_groups(rows.select_columns(list(GROUP_COLUMNS)), answers, output.label_ids, labels, negative)
    metrics = output.metrics | {f"{name}_samples": len(rows)} | group_metrics(groups, name)
    if run.zero_shot is not None:
        metrics |= run.zero_shot.score(split, output.predictions, name)
        chosen_on = run.zero_shot.for_choosing(split, output)
    metrics |= report_calibration(name, chosen_on, config, folder if trainer.args.should_save else None)
    save_metrics(run, name, metrics)
    if trainer.args.should_save:
        run.tables[split] = report_split(name, rows["id"], output, groups, labels, negative, folder)
        if split == "test":
            save_example_page(folder / "test_examples.png", rows, answers, labels)
            print(format_example(rows[0], output.predictions[0], labels, run.data.descriptions))


def save_metrics(run: Run, name: str, metrics: dict):
    """Logs metrics, writes them, and keeps them for the card."""
    run.trainer.log_metrics(name, metrics)
    run.trainer.save_metrics(name, metrics)
    run.metrics[name] = metrics


def publish(run: Run):
    """Writes what the evaluation added to the model, and its card; pushes all of it if that was asked for."""
    (model_args, data_args, args), data, trainer = run.settings, run.data, run.trainer
    if args.should_save:
        if model_args.use_lora:
            trainer.save_model()  # an adapter has no config but in its weights
        else:
            trainer.model.config.save_pretrained(args.output_dir)
        account = TrainingRun(
            model_id=args.hub_model_id if args.push_to_hub else args.output_dir,
            model=trainer.model,
            model_args=model_args,
            data_args=data_args,
            args=args,
            splits=data.splits,
            descriptions=data.descriptions,
            metrics=run.metrics,
            tables=run.tables,
            unseen=data.unseen,
        )
        write_card(build_model_card(account), args.output_dir)
    if args.push_to_hub:
        push_run(trainer)


if __name__ == "__main__":
    try:
        main()
    except (HubError, UserError) as error:
        sys.exit(f"error: {error}")

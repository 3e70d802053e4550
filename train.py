# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""
Trains and evaluates ROC.

    python train.py                                       # the embedded demo set, configs/demo.yaml
    python train.py configs/mnre.yaml --output_dir out    # a configuration, single settings overridden
    accelerate launch --quiet train.py configs/mnre.yaml  # a process for each GPU
"""

import json
import logging
import sys
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from datasets import DatasetDict
from transformers import EarlyStoppingCallback, set_seed
from transformers.utils import logging as transformers_logging

from data_scripts.hub_errors import HubError
from data_scripts.loading import most_objects, relation_texts
from data_scripts.writing import replacing_in, write_json
from evaluation_roc.calibration import calibrate, calibrated_probabilities, draw_calibration, measure_calibration
from evaluation_roc.pictures import save_example_page
from evaluation_roc.report import (
    decorating,
    format_example,
    format_split,
    group_metrics,
    save_confusion_matrix,
    score_groups,
    write_split,
)
from evaluation_roc.runs import RUN_FILE
from evaluation_roc.zero_shot import ZeroShotEvaluation
from training_roc import RocTrainer, RocTrainingArguments
from training_roc.arguments import Settings, UserError, check_settings, parse_arguments, user_errors
from training_roc.checkpoints import (
    CheckpointError,
    ServingFilesCallback,
    check_folder,
    choose_checkpoint,
    drop_optimizers,
)
from training_roc.collator import RocDataCollator
from training_roc.hold_out import FEW_SHOT, seen_descriptions, seen_rows
from training_roc.metrics import make_compute_metrics, own_answers, rows_of
from training_roc.model_card import SPLITS, TrainingRun, build_model_card, write_card
from training_roc.models import describe_encoders, give_texts, make_model, relations_replaced
from training_roc.push import prepare_push, push_run
from training_roc.rows import RunData, candidates, check_pictures, encode_splits, kept_relations, load_data
from training_roc.run_record import describe_run


@dataclass(kw_only=True)
class Run(TrainingRun):
    """What the parts of a run hand on to one another: what its card tells, and what it is done with."""

    trainer: RocTrainer
    encoded: DatasetDict
    zero_shot: ZeroShotEvaluation | None
    kept: list[int]
    found: dict[str, list[tuple]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def rows(self, split: str, data: list[RunData]) -> np.ndarray | None:
        """Which rows of a split are of these data sets, (num_rows,) of bool; None where there is but one."""
        if len(self.data) == 1:
            return None
        return np.isin(self.encoded[split]["dataset_index"], [self.data.index(one) for one in data])

    def as_saved(self):
        """Within it, the model has the relations that it is saved with."""
        if list(self.descriptions["relations"]) == list(self.model.config.id2label.values()):
            return nullcontext()
        text, processor = self.data_args.relation_text, self.trainer.processing_class
        return relations_replaced(self.model, processor, self.descriptions, text, self.kept)


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
    if args.should_save:
        record(run)
    if args.do_train:
        train(run, checkpoint)
    if args.do_eval:
        evaluate(run, "validation")
    if args.do_predict:
        evaluate(run, "test")
    if args.should_save:
        report(run)
    if args.push_to_hub:
        with run.as_saved():
            push_run(run.trainer)
    if run.failures:
        sys.exit(f"error: model and scores are whole in {args.output_dir}, but not made: {'; '.join(run.failures)}")
    if args.do_train and args.should_save:
        drop_optimizers(args.output_dir)


def set_up(args: RocTrainingArguments):
    """What holds for the whole process: who says what, and the seed."""
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", level=logging.INFO if args.should_log else "WARN")
    transformers_logging.set_verbosity(args.get_process_log_level())
    set_seed(args.seed)


def load(settings: Settings) -> Run:
    """Data set, model and trainer, as the settings ask for them."""
    model_args, data_args, args = settings
    with args.main_process_first(desc="loading the data sets"):
        data, relations = load_data(settings)
    unseen = [label for one in data for label in one.unseen]
    # A model that is not trained is asked all relations at once.
    known = seen_descriptions(relations, unseen) if args.do_train else relations
    model, processor = make_model(settings, known, max(most_objects(one.splits) for one in data), unseen)
    if len(data) == 1:  # one that names no negative relation has the trained model's
        data[0].descriptions["negative_relation"] = model.config.negative_relation
    descriptions, kept = kept_relations(data, settings)
    check_folder(args, model)
    if data_args.use_images:
        check_pictures(data, processor, model_args.vision_model_name_or_path, args.do_train)
    with args.main_process_first(desc="preparing texts and pictures"):
        encoded, pictures = encode_splits(data, processor, data_args)
    for one in data:
        one.splits.pop(FEW_SHOT, None)
    examples = encoded.pop(FEW_SHOT, None)  # evaluated with, but no split of the data set
    callbacks = [ServingFilesCallback]
    if data_args.early_stopping_patience is not None:
        callbacks.append(EarlyStoppingCallback(data_args.early_stopping_patience))
    trainer = RocTrainer(
        model=model,
        args=args,
        data_collator=RocDataCollator(processor, pictures, relation_masks=candidates(data)),
        train_dataset=encoded["train"] if args.do_train else None,
        eval_dataset=seen_rows(encoded.get("validation"), model.config.num_labels),
        processing_class=processor,
        compute_metrics=make_compute_metrics(data),
        callbacks=callbacks,
    )
    if pictures is not None and (args.freeze_vision_encoder or args.freeze_vision_layers is not None):
        with args.main_process_first(desc="encoding the pictures"):
            accelerator, layers = trainer.accelerator, args.freeze_vision_layers
            pictures.encode(
                model.pair_encoder.vision_encoder, accelerator.autocast, accelerator.mixed_precision, layers
            )
    if args.do_train:
        trainer.inputs["hashes"]["pretrained encoders' weights"] = describe_encoders(model)
    zero_shot = None
    if unseen:
        zero_shot = ZeroShotEvaluation(
            unseen,
            relations,
            data_args.relation_text,
            data_args.unseen_rate,
            trainer,
            {split: rows for split, rows in encoded.items() if split != "test" or args.do_predict},
            examples,
            data_args.few_shot_examples or [],
            is_new=args.do_train and model_args.model_name_or_path is None,
        )
    return Run(
        model_id=args.hub_model_id if args.push_to_hub else Path(args.output_dir).absolute().name,
        model=model,
        model_args=model_args,
        data_args=data_args,
        args=args,
        data=data,
        descriptions=descriptions,
        kept=kept,
        trainer=trainer,
        encoded=encoded,
        zero_shot=zero_shot,
    )


def record(run: Run):
    """Writes what the run is to `run.json`; a trained model's own stays where it is only evaluated again."""
    path = Path(run.args.output_dir) / RUN_FILE
    if path.exists() and not run.args.do_train:
        return
    model_args, config = run.model_args, run.model.config
    has_named_encoders = (model_args.model_name_or_path or model_args.text_model_name_or_path) is not None
    weights = run.trainer.inputs["hashes"].get("pretrained encoders' weights")
    negative = {one.title: one.negative_label for one in run.data}
    content = {
        "objective": config.objective,
        "train_samples": len(run.encoded["train"]) if run.args.do_train else 0,
        "encoder_weights": weights if has_named_encoders else None,  # from scratch they are the seed's
        **describe_run(Settings(model_args, run.data_args, run.args)),
        "negative_relation": negative[run.data[0].title] if len(negative) == 1 else negative,
        "relations": list(run.descriptions["relations"]),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)


def train(run: Run, checkpoint: str | None):
    """Trains the model, from `checkpoint` on if there is one, and saves it."""
    trainer, config = run.trainer, run.model.config
    config.relation_offsets = None  # what was chosen for other weights
    if not run.model_args.use_lora:  # an adapter's base is near enough for its calibration to begin with
        config.calibration_temperature, config.abstention_threshold = 1.0, None
    result = trainer.train(resume_from_checkpoint=checkpoint)
    if run.zero_shot is not None:
        wanted = {"validation": run.args.do_eval, "test": run.args.do_predict}
        run.zero_shot.open_relations([split for split, is_wanted in wanted.items() if is_wanted])
    if run.data_args.keep_relations_of is not None and config.objective == "retrieval":
        texts = relation_texts(run.descriptions, run.data_args.relation_text)
        give_texts(run.model, trainer.processing_class, list(texts.values()), run.kept)
    with run.as_saved():
        trainer.save_model()
    trainer.save_state()
    save_metrics(run, "train", result.metrics | {"train_samples": len(run.encoded["train"])})


def evaluate(run: Run, split: str):
    """Scores a split, and writes what it found; on validation, calibrates the model, too."""
    config, rows, name = run.model.config, run.encoded[split], SPLITS[split]
    output = run.trainer.predict(rows, metric_key_prefix=name)
    metrics = output.metrics | {f"{name}_samples": len(rows)}
    if run.zero_shot is not None:
        metrics |= run.zero_shot.score(split, output.predictions, name)
        run.draws |= run.zero_shot.draws
    if split == "validation":
        # Chosen without rows of unseen relations, but measured on all, as on test.
        chosen_on = rows_of(output, run.rows(split, [one for one in run.data if run.data_args.keeps(one.title)]))
        metrics |= calibrate(chosen_on if run.zero_shot is None else run.zero_shot.for_choosing(chosen_on), config)
        save_calibration(run)
    found = []
    for part in run.parts(split):
        one, own = part.data, rows_of(output, run.rows(split, [part.data]))
        answered = own_answers(one, own)
        answers = answered.predictions.argmax(axis=-1)
        groups = score_groups(one.splits[split], answers, answered.label_ids, one.labels, one.negative_label)
        metrics |= group_metrics(groups, part.prefix) | measure_calibration(part.prefix, own, config)
        found.append((part, own, answered, groups))
    save_metrics(run, name, metrics)
    if run.args.should_save:
        for part, _, answered, groups in found:
            one, folder = part.data, Path(run.args.output_dir)
            where = (one.labels, folder, config.calibration_temperature)
            run.tables[part.title] = write_split(part.prefix, one.splits[split]["id"], answered, groups, *where)
        run.found[split] = found
        if run.zero_shot is not None:
            run.zero_shot.write(run.args.output_dir)


def save_calibration(run: Run):
    """Writes what the calibration added to a model that this run has trained."""
    if run.args.do_train and run.args.should_save:
        with run.as_saved(), replacing_in(run.args.output_dir) as folder:
            if run.model_args.use_lora:
                run.trainer.save_model(folder)  # an adapter has no config but in its weights
            else:
                run.model.config.save_pretrained(folder)


def save_metrics(run: Run, name: str, metrics: dict):
    """Writes metrics, keeps them for the card, and logs them."""
    run.metrics[name] = metrics
    if run.args.should_save:
        folder = Path(run.args.output_dir)
        path = folder / "all_results.json"
        earlier = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        write_json(folder / f"{name}_results.json", dict(sorted(metrics.items())))
        write_json(path, dict(sorted((earlier | metrics).items())))
    run.trainer.log_metrics(name, {key: value for key, value in metrics.items() if value is not None})


def report(run: Run):
    """Pictures, tables and the card. What of it fails is told, and takes nothing else with it."""
    folder, config = Path(run.args.output_dir), run.model.config
    found = [(split, *one) for split, parts in run.found.items() for one in parts]
    for split, part, own, output, groups in found:
        name, rows, labels = part.prefix, part.data.splits[split], part.data.labels
        answers, labelled = output.predictions.argmax(axis=-1), output.label_ids != -100
        with decorating(f"the tables of {part.title}", run.failures):
            print(format_split(name, run.tables[part.title], groups, part.data.negative_label))
        if labelled.any():
            with decorating(f"{name}_confusion_matrix.png", run.failures) as file:
                save_confusion_matrix(folder / file, answers[labelled], output.label_ids[labelled], labels)
            with decorating(f"{name}_reliability.png", run.failures) as file:
                draw_calibration(folder / file, own, config)
        if split == "test":
            with decorating(f"{name}_examples.png", run.failures) as file:
                save_example_page(folder / file, rows, answers, labels)
            with decorating("the example", run.failures):
                (scores,) = calibrated_probabilities(output.predictions[:1], config.calibration_temperature)
                print(format_example(rows[0], scores, labels, part.data.descriptions))
    if run.zero_shot is not None:
        with decorating("the tables of relations held out", run.failures):
            print(run.zero_shot.format())
    if run.args.do_train:
        with decorating("README.md", run.failures), run.as_saved():
            write_card(build_model_card(run), folder)


if __name__ == "__main__":
    try:
        main()
    except (HubError, UserError, CheckpointError) as error:
        sys.exit(f"error: {error}")

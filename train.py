# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""
Trains and evaluates ROC.

    accelerate launch train.py                                     # the embedded demo set, configs/demo.yaml
    accelerate launch train.py configs/mnre.yaml --output_dir out  # a configuration, single settings overridden
    accelerate launch train.py --help
"""

import argparse
import json
import logging
import sys
from pathlib import Path

import yaml
from transformers import EarlyStoppingCallback, HfArgumentParser, set_seed
from transformers.utils import logging as transformers_logging

from data_scripts.descriptions.files import count_unreviewed
from data_scripts.hub_errors import HubError
from data_scripts.loading import DEMO, has_objects, load_relation_dataset
from evaluation_roc.calibration import report_calibration
from evaluation_roc.pictures import save_example_page
from evaluation_roc.relation_f1.relation_f1 import compute_relation_f1
from evaluation_roc.report import GROUP_COLUMNS, format_example, group_metrics, report_split, score_groups
from evaluation_roc.zero_shot import ZeroShotEvaluation
from modeling_roc import RocConfig
from training_roc import RocTrainer, RocTrainingArguments, get_last_complete_checkpoint
from training_roc.arguments import DataArguments, ModelArguments
from training_roc.collator import PictureTable, RocDataCollator
from training_roc.hold_out import FEW_SHOT, check_hold_out, choose_unseen, hold_out, seen_descriptions, seen_rows
from training_roc.lora import add_lora, check_lora, refuse_adapter
from training_roc.model_card import TrainingRun, build_model_card
from training_roc.model_files import ServingFilesCallback, write_card
from training_roc.models import build_model, load_model
from training_roc.push import check_base, prepare_push, push_run
from training_roc.rows import prepare_splits

logger = logging.getLogger("train")
DEMO_CONFIG = Path(__file__).parent / "configs" / "demo.yaml"


def parse_arguments(argv: list[str]) -> tuple[ModelArguments, DataArguments, RocTrainingArguments]:
    """
    Arguments from a YAML file (first argument, optional) and from the command line, which wins.

    The demo set brings its own file, so that no argument at all trains the demo.

    Raises:
        ValueError: for a file that is not a mapping, or a setting without a value; unknown settings are refused by
            the parser.
    """
    if argv and argv[0].endswith((".yaml", ".yml")):
        path, argv = Path(argv[0]), argv[1:]
    else:
        chooser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        chooser.add_argument("--dataset_name", default=DEMO)
        path = DEMO_CONFIG if chooser.parse_known_args(argv)[0].dataset_name == DEMO else None
    # An abbreviation would turn a misspelt setting into another one.
    parser = HfArgumentParser(
        (ModelArguments, DataArguments, RocTrainingArguments), description=__doc__, allow_abbrev=False
    )
    settings = []
    if path is not None:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"{path} must hold settings as `name: value`")
        for name, value in content.items():
            if value is None:
                raise ValueError(f"{path}: {name} has no value; leave the line out to get the default")
            if isinstance(value, list):
                settings += [f"--{name}", *map(str, value)]
            else:
                settings.append(f"--{name}={json.dumps(value) if isinstance(value, dict) else value}")
    return parser.parse_args_into_dataclasses(args=settings + argv)


def make_compute_metrics(config: RocConfig):
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


def main():
    model_args, data_args, args = parse_arguments(sys.argv[1:])
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", level=logging.INFO if args.should_log else "WARN")
    transformers_logging.set_verbosity(args.get_process_log_level())
    set_seed(args.seed)
    wanted = {"train": args.do_train, "validation": args.do_eval, "test": args.do_predict}
    if not any(wanted.values()):
        raise ValueError("nothing to do: ask for --do_train true, --do_eval true or --do_predict true")
    check_lora(model_args, model_args.model_name_or_path, args.do_train)
    last_checkpoint = get_last_complete_checkpoint(args.output_dir)
    resume = args.resume_from_checkpoint
    earlier = last_checkpoint or next(Path(args.output_dir).glob("*model*.safetensors"), None)
    if args.do_train and earlier is not None and resume is None:
        raise ValueError(
            f"{args.output_dir} holds an earlier run ({earlier}): go on with its last checkpoint by "
            "--resume_from_checkpoint true, or name another --output_dir"
        )
    if resume is not None and resume.lower() in ("true", "false"):
        resume = last_checkpoint if resume.lower() == "true" else None
        if resume is None:
            logger.warning("%s holds no complete checkpoint to go on with: training starts anew", args.output_dir)

    if args.push_to_hub:
        if model_args.use_lora:
            check_base(model_args.model_name_or_path)
        prepare_push(args)
    with args.main_process_first(desc="loading the data set"):
        splits, descriptions = load_relation_dataset(
            data_args.dataset_name, data_args.dataset_config_name, data_args.dataset_revision, data_args.relations_file
        )
    for split, is_wanted in wanted.items():
        if is_wanted and split not in splits:
            raise ValueError(
                f"data set {data_args.dataset_name!r} has no {split} split, only {', '.join(splits)}: turn off "
                "--do_train, --do_eval (with --eval_strategy no) or --do_predict"
            )
    unseen, seen = [], descriptions
    if data_args.hold_out_relations is not None:
        check_hold_out(model_args.objective, args.do_train and model_args.model_name_or_path is None, splits)
        relations, negative = list(descriptions["relations"]), descriptions["negative_relation"]
        unseen = choose_unseen(data_args.hold_out_relations, relations, negative, args.seed)
        logger.info("held out of training: %s", ", ".join(unseen))
        num_examples = max(data_args.few_shot_examples or [0])
        splits, descriptions = hold_out(splits, descriptions, unseen, num_examples, args.seed)
        seen = seen_descriptions(descriptions, unseen)
    if data_args.train_fraction < 1 and "train" in splits:
        kept = round(data_args.train_fraction * len(splits["train"]))
        splits["train"] = splits["train"].shuffle(seed=args.seed).select(range(max(kept, 1)))
    make = build_model if model_args.model_name_or_path is None else load_model
    model, processor = make(model_args, data_args, seen, has_objects(splits))
    if model_args.use_lora:
        model = add_lora(model, processor, model_args, with_relation_encoder=args.relation_update_steps > 0)
    elif args.do_train:
        refuse_adapter(model)
    if model.config.objective == "retrieval" and data_args.relation_text == "descriptions":
        unreviewed, total = count_unreviewed(descriptions), len(descriptions["relations"])
        logger.info("%d of %d relations have descriptions that no person has reviewed", unreviewed, total)
    pictures, num_proc = None, data_args.preprocessing_num_workers
    with args.main_process_first(desc="preparing texts and pictures"):
        if data_args.use_images and processor.image_processor is not None:
            pictures = PictureTable(processor, list(splits.values()), num_proc=num_proc)
        prepared = prepare_splits(splits, processor, pictures, num_proc)
    splits.pop(FEW_SHOT, None)
    examples = prepared.pop(FEW_SHOT, None)  # evaluated with, but no split of the data set

    callbacks = [ServingFilesCallback]
    if data_args.early_stopping_patience is not None:
        callbacks.append(EarlyStoppingCallback(data_args.early_stopping_patience))
    trainer = RocTrainer(
        model=model,
        args=args,
        data_collator=RocDataCollator(processor, pictures),
        train_dataset=prepared["train"] if args.do_train else None,
        eval_dataset=seen_rows(prepared.get("validation"), model.config.num_labels),
        processing_class=processor,
        compute_metrics=make_compute_metrics(model.config),
        callbacks=callbacks,
    )
    zero_shot = None
    if unseen:
        arguments = (unseen, descriptions, data_args.relation_text, data_args.unseen_rate, trainer, prepared)
        zero_shot = ZeroShotEvaluation(*arguments, examples, data_args.few_shot_examples or [])
    metrics, tables = {}, {}
    if args.do_train:
        # What was chosen for other weights; offsets would even take part in the training.
        model.config.calibration_temperature, model.config.abstention_threshold = 1.0, None
        model.config.relation_offsets = None
        result = trainer.train(resume_from_checkpoint=resume)
        if zero_shot is not None:
            zero_shot.open_relations([split for split in ("validation", "test") if wanted[split]])
        trainer.save_model()
        trainer.save_state()
        result.metrics["train_samples"] = len(prepared["train"])
        trainer.log_metrics("train", result.metrics)
        trainer.save_metrics("train", result.metrics)
        metrics["train"] = result.metrics
    for name, split in (("eval", "validation"), ("test", "test")):
        if wanted[split]:
            output = trainer.predict(prepared[split], metric_key_prefix=name)
            output.metrics[f"{name}_samples"] = len(prepared[split])
            labels, negative = list(model.config.id2label.values()), model.config.negative_relation
            rows = splits[split].select_columns(list(GROUP_COLUMNS))
            groups = score_groups(rows, output.predictions.argmax(axis=-1), output.label_ids, labels, negative)
            output.metrics.update(group_metrics(groups, name))
            if zero_shot is not None:
                output.metrics.update(zero_shot.score(split, output.predictions, name))
            folder = Path(args.output_dir) if trainer.is_world_process_zero() else None
            chosen_on = output if zero_shot is None else zero_shot.for_choosing(split, output)
            output.metrics.update(report_calibration(name, chosen_on, model.config, folder))
            trainer.log_metrics(name, output.metrics)
            trainer.save_metrics(name, output.metrics)
            metrics[name] = output.metrics
            if trainer.is_world_process_zero():
                arguments = (output, groups, labels, negative, Path(args.output_dir))
                tables[split] = report_split(name, splits[split]["id"], *arguments)
                if name == "test":
                    path, answers = Path(args.output_dir) / "test_examples.png", output.predictions.argmax(axis=-1)
                    save_example_page(path, splits[split], answers, labels)
                    print(format_example(splits[split][0], output.predictions[0], labels, descriptions))
    if zero_shot is not None and trainer.is_world_process_zero():
        zero_shot.write(args.output_dir)
    if args.do_train and trainer.is_world_process_zero():
        # Calibrated since the model was saved; an adapter has no config but in its weights.
        trainer.save_model() if model_args.use_lora else model.config.save_pretrained(args.output_dir)
        model_id = args.hub_model_id if args.push_to_hub else args.output_dir
        run = TrainingRun(model_id, model, model_args, data_args, args, splits, descriptions, metrics, tables, unseen)
        write_card(build_model_card(run), args.output_dir)
    if args.push_to_hub:
        push_run(trainer)


if __name__ == "__main__":
    try:
        main()
    except HubError as error:
        sys.exit(f"error: {error}")

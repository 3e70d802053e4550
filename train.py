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
from dataclasses import dataclass, field, fields
from pathlib import Path

import yaml
from transformers import (
    AutoImageProcessor,
    AutoTokenizer,
    EarlyStoppingCallback,
    HfArgumentParser,
    set_seed,
)
from transformers.utils import logging as transformers_logging

from data_scripts.demo import build_demo_tokenizer, demo_backbone_configs, demo_image_processor
from data_scripts.descriptions import count_unreviewed
from data_scripts.hold_out import (
    FEW_SHOT,
    check_few_shot,
    check_hold_out,
    choose_unseen,
    hold_out,
    seen_descriptions,
    seen_rows,
)
from data_scripts.loading import DEMO, has_objects, load_relation_dataset, relation_texts
from hub.errors import HubError
from hub.model_card import TrainingRun, build_model_card
from hub.model_files import ServingFilesCallback, write_card
from hub.push import check_base, prepare_push, push_run
from metrics.calibration import report_calibration
from metrics.example_page import save_example_page
from metrics.groups import GROUP_COLUMNS, group_metrics, score_groups
from metrics.relation_f1.relation_f1 import compute_relation_f1
from metrics.report import format_example, report_split
from metrics.zero_shot_run import ZeroShotEvaluation
from modeling_roc import RocConfig, RocModel, RocTrainer, RocTrainingArguments, get_last_complete_checkpoint
from modeling_roc.lora_roc import LoraArguments, add_lora, check_lora, refuse_adapter
from processing_roc import RocProcessor
from processing_roc.collator_roc import PictureTable, RocDataCollator
from processing_roc.rows_roc import prepare_splits

logger = logging.getLogger("train")
DEMO_CONFIG = Path(__file__).parent / "configs" / "demo.yaml"


@dataclass
class ModelArguments(LoraArguments):
    """Which encoders, the settings of [`RocConfig`], and whether to train an adapter only."""

    model_name_or_path: str | None = field(
        default=None,
        metadata={"help": "A trained ROC model to go on with or evaluate, as it is."},
    )
    text_model_name_or_path: str | None = field(
        default=None, metadata={"help": "Pretrained text encoder. Default, on the demo set: a tiny one from scratch."}
    )
    vision_model_name_or_path: str | None = field(
        default=None, metadata={"help": "Pretrained ViT-like vision encoder, or a CLIP model. Default: text only."}
    )
    share_relation_encoder: bool = field(
        default=True,
        metadata={"help": "Encode descriptions with the pair's text encoder, not one of their own."},
    )
    num_fusion_layers: int = field(default=2, metadata={"help": "The paper's N."})
    pool_mentions: bool = field(
        default=True, metadata={"help": "Add the mean of an entity's mention to the vector at its index."}
    )
    object_features: str = field(
        default="roi",
        metadata={
            "choices": ["roi", "crop"],
            "help": "What an object of the picture is seen by, where the data set has any: its patches, or a crop.",
        },
    )
    projection_dim: int = field(default=256, metadata={"help": "Dimension of the retrieval space."})
    pair_dropout: float = field(default=0.1, metadata={"help": "Dropout on entity and pair vectors."})
    temperature: float = field(default=0.05, metadata={"help": "InfoNCE temperature."})
    learn_temperature: bool = field(default=False, metadata={"help": "Train the temperature too."})
    objective: str = field(default="retrieval", metadata={"choices": ["retrieval", "classification"]})
    relation_aggregation: str = field(default="max", metadata={"choices": ["max", "mean", "logsumexp"]})
    text_similarity: float = field(
        default=0.0, metadata={"help": "Share of the relation encoder's own text similarity in a score, 0 to below 1."}
    )
    learn_negative_threshold: bool = field(
        default=False, metadata={"help": "Score the negative relation by the pair alone, not by its descriptions."}
    )
    attn_implementation: str | None = field(default=None, metadata={"help": "sdpa, eager, flash_attention_2 ..."})


@dataclass
class DataArguments:
    """Which data, and how they reach the model."""

    dataset_name: str = field(default=DEMO, metadata={"help": "demo, a converted folder, or a data set on the Hub."})
    dataset_config_name: str | None = field(default=None)
    dataset_revision: str | None = field(default=None)
    relations_file: str | None = field(
        default=None, metadata={"help": "Relation descriptions to use in place of the data set's own."}
    )
    relation_text: str = field(
        default="descriptions",
        metadata={"choices": ["descriptions", "labels"], "help": "labels: the ablation without descriptions."},
    )
    use_entity_types: bool = field(default=True, metadata={"help": "false: the ablation without type prompts."})
    use_images: bool = field(default=True, metadata={"help": "false: the ablation without pictures."})
    max_length: int = field(default=128, metadata={"help": "Longest text in tokens; padding follows the batch."})
    max_objects: int = field(default=12, metadata={"help": "Most objects of a picture."})
    train_fraction: float = field(default=1.0, metadata={"help": "Random share of the training split, by --seed."})
    hold_out_relations: str | None = field(
        default=None,
        metadata={"help": "Relations never to train on, but to evaluate: labels with commas, or a number, by --seed."},
    )
    unseen_rate: float = field(
        default=0.02, metadata={"help": "Share of other rows that a held-out relation may take on validation."}
    )
    few_shot_examples: list[int] | None = field(
        default=None,
        metadata={"help": "Evaluate held-out relations by so many examples each, too: numbers of 1 to 16."},
    )
    preprocessing_num_workers: int | None = field(default=None)
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Stop after so many evaluations without a better validation score."}
    )

    def __post_init__(self):
        if not 0 < self.train_fraction <= 1:
            raise ValueError(f"train_fraction must be above 0 and at most 1, got {self.train_fraction}")
        if not 0 < self.unseen_rate < 1:
            raise ValueError(f"unseen_rate must be above 0 and below 1, got {self.unseen_rate}")
        check_few_shot(self.few_shot_examples or [], self.hold_out_relations)


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


def refuse_without_effect(settings, own, what: str):
    """
    Raises:
        ValueError: if one of `settings` was given and is not what the trained model was made with.
    """
    for setting in fields(settings):
        value, theirs = getattr(settings, setting.name), getattr(own, setting.name, None)
        if theirs is not None and value not in (setting.default, theirs):
            raise ValueError(f"--{setting.name} {value} has no effect on a trained {what}: it has {theirs}")


def load_model(model_args: ModelArguments, data_args: DataArguments, descriptions: dict, with_objects: bool):
    """(model, processor) as they were trained; the data set's relations are set if they are not the model's."""
    path = model_args.model_name_or_path
    model = RocModel.from_pretrained(path, attn_implementation=model_args.attn_implementation)
    processor = RocProcessor.from_pretrained(path)
    refuse_without_effect(model_args, model.config, "model")
    refuse_without_effect(data_args, processor, "processor")
    if with_objects and model.config.object_features is None:
        raise ValueError(f"{path} takes no objects of pictures, but the data set has some")
    if not data_args.use_images:
        processor = RocProcessor(
            None, processor.tokenizer, processor.max_length, processor.use_entity_types, processor.max_objects
        )
    if model.config.objective == "classification":
        if list(model.config.id2label.values()) != list(descriptions["relations"]):
            raise ValueError(
                f"{path} classifies into {list(model.config.id2label.values())}, the data set into others"
            )
        return model, processor
    relations = relation_texts(descriptions, data_args.relation_text)
    if list(model.config.relation_descriptions.items()) != list(relations.items()):
        model.set_relations(relations, processor, descriptions["negative_relation"])
    return model, processor


def load_image_processor(name: str, with_objects: bool):
    """The image processor of a vision encoder; where an object may lie at a picture's edge, one that crops none."""
    image_processor = AutoImageProcessor.from_pretrained(name)
    if with_objects and getattr(image_processor, "do_center_crop", None):
        logger.info(
            "pictures are resized to %s and not cropped, which could cut objects away", image_processor.crop_size
        )
        image_processor = AutoImageProcessor.from_pretrained(
            name, do_center_crop=False, size=dict(image_processor.crop_size)
        )
    return image_processor


def build_model(model_args: ModelArguments, data_args: DataArguments, descriptions: dict, with_objects: bool):
    """(model, processor): new layers on pretrained encoders, or on the demo's tiny ones from scratch."""
    relations = relation_texts(descriptions, data_args.relation_text)
    settings = {
        "fusion_encoder_config": {"num_hidden_layers": model_args.num_fusion_layers},
        "id2label": dict(enumerate(relations)),
        "label2id": {label: index for index, label in enumerate(relations)},
        "negative_relation": descriptions["negative_relation"],
        "attn_implementation": model_args.attn_implementation,
    }
    own = {setting.name for setting in fields(RocConfig)}
    settings |= {name: value for name, value in vars(model_args).items() if name in own}
    if not with_objects:
        settings["object_features"] = None
    vision_name = model_args.vision_model_name_or_path if data_args.use_images else None
    if model_args.text_model_name_or_path is not None:
        tokenizer = AutoTokenizer.from_pretrained(model_args.text_model_name_or_path)
        image_processor = None if vision_name is None else load_image_processor(vision_name, with_objects)
        model = RocModel.from_encoders_pretrained(
            model_args.text_model_name_or_path, vision_name, model_args.share_relation_encoder, **settings
        )
    elif data_args.dataset_name == DEMO and vision_name is None:
        text_config, vision_config = demo_backbone_configs()
        tokenizer = build_demo_tokenizer()
        image_processor = demo_image_processor() if data_args.use_images else None
        model = RocModel(
            RocConfig(
                text_config=text_config,
                vision_config=vision_config if data_args.use_images else None,
                relation_config=None if model_args.share_relation_encoder else text_config.to_dict(),
                **settings,
            )
        )
    else:
        raise ValueError("name a text encoder (--text_model_name_or_path) or a trained model (--model_name_or_path)")
    own = ("max_length", "use_entity_types", "max_objects")
    processor = RocProcessor(image_processor, tokenizer, **{name: getattr(data_args, name) for name in own})
    model.resize_token_embeddings(len(tokenizer))
    if model_args.objective == "retrieval":
        model.set_relations(relations, processor)
    return model, processor


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
    splits.pop(FEW_SHOT, None)  # evaluated with, but no split of the data set

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
        zero_shot = ZeroShotEvaluation(*arguments, data_args.few_shot_examples or [])
    metrics, tables = {}, {}
    if args.do_train:
        model.config.calibration_temperature, model.config.abstention_threshold = 1.0, None  # of other weights
        result = trainer.train(resume_from_checkpoint=resume)
        if zero_shot is not None:
            zero_shot.open_relations([split for split in ("validation", "test") if wanted[split]])
        trainer.save_model()
        trainer.save_state()
        trainer.log_metrics("train", result.metrics)
        trainer.save_metrics("train", result.metrics)
        metrics["train"] = result.metrics
    for name, split in (("eval", "validation"), ("test", "test")):
        if wanted[split]:
            output = trainer.predict(prepared[split], metric_key_prefix=name)
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
        run = TrainingRun(model_id, model, model_args, data_args, args, splits, descriptions, metrics, tables)
        write_card(build_model_card(run), args.output_dir)
    if args.push_to_hub:
        push_run(trainer)


if __name__ == "__main__":
    try:
        main()
    except HubError as error:
        sys.exit(f"error: {error}")

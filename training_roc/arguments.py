# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What `train.py` can be told, by a YAML file and by the command line, and how it says what is wrong with it."""

import argparse
import difflib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import yaml
from datasets.exceptions import DatasetsError
from huggingface_hub.errors import StrictDataclassError
from transformers import HfArgumentParser
from transformers.integrations import get_available_reporting_integrations

from data_scripts.command import in_words
from data_scripts.loading import DEMO
from data_scripts.reading import read_text, refuse_double_keys
from evaluation_roc.relation_f1.relation_f1 import compute_relation_f1
from training_roc.hold_out import check_few_shot
from training_roc.lora import LoraArguments, check_lora
from training_roc.mixture import dataset_titles
from training_roc.trainer import RocTrainingArguments

logger = logging.getLogger(__name__)

RETRIEVAL_SETTINGS = ("text_similarity", "learn_negative_threshold")
"""What [`RocConfig`] refuses where a model classifies."""
DEMO_CONFIG = Path(__file__).parents[1] / "configs" / "demo.yaml"
TRANSFORMERS_PAGE = "https://huggingface.co/docs/transformers/main_classes/trainer#transformers.TrainingArguments"


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
    projection_dim: int | None = field(
        default=None,
        metadata={"help": "Dimension of the retrieval space. Default: 256, with text_residual the encoder's width."},
    )
    text_residual: bool = field(
        default=False,
        metadata={"help": "Let a pair's vector begin as the mean of its text's token vectors: for sentence encoders."},
    )
    pair_dropout: float = field(default=0.1, metadata={"help": "Dropout on entity and pair vectors."})
    temperature: float = field(default=0.05, metadata={"help": "InfoNCE temperature."})
    learn_temperature: bool = field(default=False, metadata={"help": "Train the temperature too."})
    objective: str = field(
        default="retrieval",
        metadata={
            "choices": ["retrieval", "classification"],
            "help": "classification: the ablation without descriptions, a layer over a fixed set of relations.",
        },
    )
    relation_aggregation: str = field(
        default="mean",
        metadata={
            "choices": ["max", "mean"],
            "help": "How the scores of a relation's descriptions become the relation's.",
        },
    )
    text_similarity: float = field(
        default=0.0, metadata={"help": "Share of the relation encoder's own text similarity in a score, 0 to below 1."}
    )
    learn_negative_threshold: bool = field(
        default=False, metadata={"help": "Score the negative relation by the pair alone, not by its descriptions."}
    )
    center_descriptions: bool = field(
        default=True, metadata={"help": "Compare descriptions less their mean. false: plain cosines, as the paper."}
    )
    attn_implementation: str | None = field(
        default=None, metadata={"help": "sdpa, eager, flash_attention_2 ... Default: transformers' choice."}
    )


@dataclass
class DataArguments:
    """Which data, and how they reach the model."""

    dataset_name: list[str] = field(
        default_factory=lambda: [DEMO],
        metadata={"help": "demo, a converted folder, or a data set on the Hub; or several to train on together."},
    )
    dataset_config_name: list[str] | None = field(
        default=None, metadata={"help": "Configuration of the data set; of several, one for each, or ''."}
    )
    dataset_revision: list[str] | None = field(
        default=None, metadata={"help": "Branch, tag or commit of a data set on the Hub; of several, one for each."}
    )
    relations_file: list[str] | None = field(
        default=None,
        metadata={"help": "Relation descriptions in place of the data set's own; of several, one for each, or ''."},
    )
    keep_relations_of: list[str] | None = field(
        default=None,
        metadata={"help": "Of several data sets, those whose relations the saved model is to have. Default: all."},
    )
    relation_text: str = field(
        default="descriptions",
        metadata={"choices": ["descriptions", "labels"], "help": "labels: the ablation without descriptions."},
    )
    use_entity_types: bool = field(default=True, metadata={"help": "false: the ablation without type prompts."})
    use_images: bool = field(default=True, metadata={"help": "false: the ablation without pictures."})
    max_length: int = field(default=128, metadata={"help": "Longest text in tokens; padding follows the batch."})
    max_objects: int | None = field(
        default=None,
        metadata={"help": "Most objects of a picture; by default as many as the data set's have, but at least 12."},
    )
    train_fraction: float = field(
        default=1.0,
        metadata={"help": "Random share of the training split, of each relation the same share, and at least a row."},
    )
    train_fraction_seed: int | None = field(
        default=None, metadata={"help": "Draws the share. Default: --seed, which draws what is new in the model, too."}
    )
    hold_out_relations: str | None = field(
        default=None,
        metadata={
            "help": "Relations never to train on, but to evaluate: labels with commas or as a JSON list, or a number, "
            "drawn by --hold_out_seed."
        },
    )
    hold_out_seed: int | None = field(
        default=None, metadata={"help": "Draws held-out relations and their examples. Default: --seed."}
    )
    unseen_rate: float = field(
        default=0.005, metadata={"help": "Share of other rows that a held-out relation may take on validation."}
    )
    few_shot_examples: list[int] | None = field(
        default=None,
        metadata={"help": "Evaluate held-out relations by so many examples each, too: numbers of 1 to 16."},
    )
    preprocessing_num_workers: int | None = field(
        default=None, metadata={"help": "Processes that prepare texts and pictures. Default: one."}
    )
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Stop after so many evaluations without a better validation score."}
    )

    def __post_init__(self):
        for name in ("dataset_name", "dataset_config_name", "dataset_revision", "relations_file", "keep_relations_of"):
            if isinstance(getattr(self, name), str):
                setattr(self, name, [getattr(self, name)])
        for name in ("dataset_config_name", "dataset_revision", "relations_file"):
            values, number = getattr(self, name), len(self.dataset_name)
            if values is not None and len(values) != number:
                raise ValueError(
                    f"{name} must have one value for each of {number} data sets, in their order ('' where there is "
                    f"none), got {len(values)}"
                )
            for dataset, value in zip(self.dataset_name, values or [], strict=False):
                if dataset == DEMO and value and name != "relations_file":
                    raise ValueError(f"{name} has no effect on the embedded demo set")
        titles = dataset_titles(self.dataset_name, self._of_each("dataset_config_name"))
        kept = self.keep_relations_of or titles
        if wrong := [title for title in kept if title not in titles or kept.count(title) > 1]:
            raise ValueError(f"--keep_relations_of {wrong[0]}: give some of {', '.join(titles)}, each once")
        if len(titles) > 1 and self.hold_out_relations is not None:
            raise ValueError("--hold_out_relations holds relations of one data set out, and there are several")
        if not 0 < self.train_fraction <= 1:
            raise ValueError(f"train_fraction must be above 0 and at most 1, got {self.train_fraction}")
        if not 0 < self.unseen_rate < 1:
            raise ValueError(f"unseen_rate must be above 0 and below 1, got {self.unseen_rate}")
        if self.hold_out_relations is None and self.unseen_rate != type(self).unseen_rate:
            raise ValueError("unseen_rate has no effect without hold_out_relations")
        if self.hold_out_relations is None and self.hold_out_seed is not None:
            raise ValueError("hold_out_seed has no effect without hold_out_relations")
        if self.train_fraction == 1 and self.train_fraction_seed is not None:
            raise ValueError("train_fraction_seed has no effect without train_fraction")
        check_few_shot(self.few_shot_examples or [], self.hold_out_relations)

    def _of_each(self, name: str) -> list[str | None]:
        """A setting with a value for each data set; None where there is none."""
        return [value or None for value in getattr(self, name) or [None] * len(self.dataset_name)]

    def keeps(self, title: str) -> bool:
        """Whether the saved model is to have a data set's relations."""
        return self.keep_relations_of is None or title in self.keep_relations_of

    def sources(self) -> Iterator[tuple[str, str, str | None, str | None, str | None]]:
        """Title, name, configuration, revision and relations file of each data set."""
        configurations = self._of_each("dataset_config_name")
        return zip(
            dataset_titles(self.dataset_name, configurations),
            self.dataset_name,
            configurations,
            self._of_each("dataset_revision"),
            self._of_each("relations_file"),
            strict=True,
        )


class Settings(NamedTuple):
    """All settings of a run."""

    model: ModelArguments
    data: DataArguments
    training: RocTrainingArguments

    @property
    def seeds(self) -> dict[str, int]:
        """The seeds in force, by the names of their settings; where one is not given it is `seed`."""
        seeds = {"seed": self.training.seed, "data_seed": self.training.data_seed}
        if self.data.train_fraction < 1:
            seeds["train_fraction_seed"] = self.data.train_fraction_seed
        if self.data.hold_out_relations is not None:
            seeds["hold_out_seed"] = self.data.hold_out_seed
        return {name: self.training.seed if seed is None else seed for name, seed in seeds.items()}


class UserError(ValueError):
    """A setting of a run or its data are not as they must be; the message says which, and what to do."""


@contextmanager
def user_errors() -> Iterator[None]:
    """
    To be put around what reads settings and data: their errors become a `UserError`, all others pass as they are.
    `--log_level debug` shows where they come from.
    """
    try:
        yield
    except (ValueError, OSError, ImportError, DatasetsError, StrictDataclassError) as error:
        logger.debug("where the error comes from:", exc_info=True)
        message, cause = in_words(error), error.__cause__
        if isinstance(error, StrictDataclassError) and cause is not None:
            message = str(cause)  # the rest names the validator
        elif isinstance(error, DatasetsError) and cause is not None:
            message = f"{error}: {cause}"
        raise UserError(message) from error


class HelpFormatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """The description as it is written, and each setting's default."""


class SettingsParser(HfArgumentParser):
    """
    Parser of all settings, whose help shows those that transformers' `TrainingArguments` lack.

    Args:
        description: of the program.
    """

    def __init__(self, description: str | None = None):
        super().__init__(
            tuple(Settings.__annotations__.values()),
            description=description,
            usage=argparse.SUPPRESS,  # the description shows it
            epilog="`--no_name` is `--name false`. The settings of transformers' TrainingArguments are settings too "
            "(--output_dir, --do_train, --num_train_epochs, --learning_rate, --seed, --push_to_hub ...): "
            f"{TRANSFORMERS_PAGE}\n`--help_all` shows them with these.",
            formatter_class=HelpFormatter,
            allow_abbrev=False,  # an abbreviation would turn a misspelt setting into another one
        )
        self.add_argument("--help_all", action="help", help=argparse.SUPPRESS)

    def parse_known_args(self, args=None, namespace=None):
        if "--help_all" not in args:
            own = {*RocTrainingArguments.__annotations__, "help"}
            own |= {*ModelArguments.__dataclass_fields__, *DataArguments.__dataclass_fields__}
            for action in self._actions:
                if action.dest not in own or action.option_strings[0].startswith("--no_"):
                    action.help = argparse.SUPPRESS
                action.option_strings[1:] = [one for one in action.option_strings[1:] if "-" not in one[2:]]
        return super().parse_known_args(args, namespace)

    def error(self, message: str):
        """Says what is wrong, without the usage, which is longer than a screen."""
        raise ValueError(message)


def parse_arguments(argv: list[str], description: str | None = None) -> Settings:
    """
    Settings from a YAML file (first argument, optional) and from the command line, which wins.

    The demo set brings its own file, so that no argument at all trains the demo.

    Args:
        argv: the command line's arguments.
        description: of the program, for `--help`.

    Raises:
        ValueError: for a file that cannot be read or is not a mapping, a setting that does not exist, stands twice in
            the file, has no value, a wrong one or no effect, or if there is nothing to do.
    """
    if argv and argv[0].endswith((".yaml", ".yml")):
        path, argv = Path(argv[0]), argv[1:]
    else:
        chooser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        chooser.add_argument("--dataset_name", nargs="+", default=[DEMO])
        path = DEMO_CONFIG if chooser.parse_known_args(argv)[0].dataset_name == [DEMO] else None
    parser = SettingsParser(description)
    arguments = argv if path is None else read_settings(path, is_overridden_by=argv) + argv
    *groups, unknown = parser.parse_args_into_dataclasses(
        arguments, return_remaining_strings=True, look_for_args_file=False
    )
    if unknown:
        name = unknown[0].split("=")[0]
        if name.endswith((".yaml", ".yml")):
            raise ValueError(f"a configuration comes before all settings: train.py {name} ...")
        near = difflib.get_close_matches(name, parser._option_string_actions, n=1)
        raise ValueError(f"there is no setting {unknown[0]!r}" + (f"; did you mean {near[0]}?" if near else ""))
    names = {one.split("=")[0] for one in arguments}
    for group in groups:  # a default that was given is more than a default
        group.given = {action.dest for action in parser._actions if names.intersection(action.option_strings)}
    return Settings(*groups)


class SettingsLoader(yaml.SafeLoader):
    """Of two equal keys YAML itself would let the last one win without a word."""

    def construct_mapping(self, node, deep=False):
        refuse_double_keys([(key.value, None) for key, _ in node.value if isinstance(key, yaml.ScalarNode)])
        return super().construct_mapping(node, deep)


# YAML 1.1 reads 010 as 8, and 1:30 as 90.
SettingsLoader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value))


def read_yaml(path: Path) -> dict:
    """
    Raises:
        ValueError: if a file is no YAML, or no mapping in which each key stands once.
    """
    text = read_text(path)
    try:
        content = yaml.load(text, SettingsLoader)
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold settings as `name: value`")
    return content


def read_settings(path: Path, is_overridden_by: list[str]) -> list[str]:
    """A file's settings as arguments of a command line, but for what has no effect with that command line's objective:
    one file serves for both objectives."""
    content = read_yaml(path)
    chooser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    chooser.add_argument("--objective", default=content.get("objective"))
    if chooser.parse_known_args(is_overridden_by)[0].objective == "classification" != content.get("objective"):
        for name in [name for name in RETRIEVAL_SETTINGS if content.pop(name, None) is not None]:
            logger.warning("%s: %s has no effect with --objective classification", path, name)
    return as_arguments(content, path)


def as_arguments(content: dict, path: Path) -> list[str]:
    """Settings of the file `path` as arguments of a command line."""
    arguments = []
    for name, value in content.items():
        if value is None:
            raise ValueError(f"{path}: {name} has no value; leave the line out to get the default")
        if name == "hold_out_relations" and isinstance(value, list):
            value = json.dumps(value)  # which is one argument
        if isinstance(value, list):
            arguments += [f"--{name}", *("" if one is None else str(one) for one in value)]
        else:
            arguments.append(f"--{name}={json.dumps(value) if isinstance(value, dict) else value}")
    return arguments


def check_settings(settings: Settings) -> None:
    """
    Raises:
        ValueError: if a run with these settings would do nothing, or one of them has no effect beside the others.
        ImportError: if a package that they need is not installed.
    """
    model_args, data_args, args = settings
    if not (args.do_train or args.do_eval or args.do_predict):
        raise ValueError("nothing to do: ask for --do_train true, --do_eval true or --do_predict true")
    if args.do_train and not args.do_eval and args.eval_strategy != "no":
        raise ValueError(
            f"--do_eval false contradicts --eval_strategy {args.eval_strategy.value}, which evaluates in training: "
            "add --eval_strategy no (and --load_best_model_at_end false)"
        )
    if data_args.early_stopping_patience is not None and args.do_train and not args.load_best_model_at_end:
        raise ValueError("--early_stopping_patience needs --load_best_model_at_end true and --eval_strategy")
    if data_args.few_shot_examples and not args.do_train:
        raise ValueError("--few_shot_examples belongs to --do_train true: a trained model is evaluated as it is")
    if data_args.unseen_rate != type(data_args).unseen_rate and not args.do_train:
        raise ValueError("--unseen_rate belongs to --do_train true: a trained model has its offsets")
    check_lora(model_args, model_args.model_name_or_path, args.do_train)
    titles = [title for title, *_ in data_args.sources()]
    if args.dataset_weights is not None and len(args.dataset_weights) != len(titles):
        raise ValueError(
            f"--dataset_weights must have one number for each of {len(titles)} data sets, got "
            f"{len(args.dataset_weights)}"
        )
    if data_args.keep_relations_of is not None and not args.do_train:
        raise ValueError("--keep_relations_of belongs to a training: without one, no model is saved")
    if data_args.keep_relations_of is not None and model_args.objective == "classification":
        if model_args.use_lora or args.fsdp:
            how = "--use_lora" if model_args.use_lora else "--fsdp"
            raise ValueError(f"--keep_relations_of takes rows out of a classifier's head, which {how} does not allow")
    metric = args.metric_for_best_model.removeprefix("eval_")
    scores = compute_relation_f1([0], [0], num_labels=1)
    prefixes = ["", *(f"{title}_" for title in titles if len(titles) > 1)]
    if args.eval_strategy != "no" and metric not in (
        metrics := ["loss", *(prefix + name for prefix in prefixes for name in scores)]
    ):
        raise ValueError(f"--metric_for_best_model {metric}: there are {', '.join(metrics)}")
    for name in args.report_to:
        if name not in get_available_reporting_integrations():
            raise ImportError(f"--report_to {name}: its package is not installed, or there is none of this name")

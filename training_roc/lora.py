# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Training of adapters, with peft, in place of the whole model. No part of a checkpoint's code."""

from dataclasses import dataclass, field, fields

from torch import nn
from transformers import AutoModel
from transformers.utils import is_peft_available

from modeling_roc.configuration_roc import RocConfig
from training_roc.trainer import ENCODERS


@dataclass
class LoraArguments:
    """Which adapters are trained, on the model that `--model_name_or_path` names."""

    use_lora: bool = field(
        default=False, metadata={"help": "Train adapters on a saved ROC model, and save only them."}
    )
    lora_rank: int = field(default=16, metadata={"help": "Rank of an adapter's matrices."})
    lora_alpha: int = field(default=32, metadata={"help": "What adapters add is scaled by lora_alpha / lora_rank."})
    lora_dropout: float = field(default=0.05, metadata={"help": "Dropout on what goes into an adapter."})
    lora_target_modules: list[str] | None = field(
        default=None,
        metadata={"help": "Layers with adapters, by the ends of names. Default: the encoders' linear ones."},
    )
    lora_modules_to_save: list[str] | None = field(
        default=None,
        metadata={
            "help": "Parts that are trained whole. Default: all but the encoders. The relation memory always is."
        },
    )


def check_lora(lora_args: LoraArguments, model_name_or_path: str | None, do_train: bool):
    """
    Raises:
        ValueError: if there is no saved model that the adapter can belong to, if nothing is trained, or if settings
            of adapters are given without `use_lora`.
        ImportError: if peft is not installed.
    """
    if not lora_args.use_lora:
        given = [one.name for one in fields(LoraArguments) if getattr(lora_args, one.name) != one.default]
        if given:
            raise ValueError(f"--{given[0]} has no effect without --use_lora true")
        return
    if not do_train:
        raise ValueError("--use_lora trains; to evaluate an adapter, name it by --model_name_or_path alone")
    if model_name_or_path is None:
        raise ValueError(
            "--use_lora trains an adapter to a saved ROC model: name it by --model_name_or_path. To make an untrained "
            "one of plain encoders, run this command without --use_lora, with --num_train_epochs 0 and an "
            "--output_dir of its own"
        )
    if not is_peft_available():
        raise ImportError("--use_lora needs peft: pip install 'roc-relation-extraction[lora]'")


def add_lora(model, processor, lora_args: LoraArguments, with_relation_encoder: bool = True):
    """
    Puts a new adapter into a [`RocModel`].

    Args:
        model: with the relations that the adapter is trained for; its memory becomes the adapter's.
        processor: the model's. Its markers' embeddings are trained with the adapter.
        lora_args: the settings.
        with_relation_encoder: whether adapters go into a relation encoder of its own, too.

    Returns:
        `peft.PeftModel`, in which only the adapter is trained.

    Raises:
        ValueError: if a part or layer that was named is none of the model's, if the model is an adapter already, or
            if its checkpoint has no relations.
    """
    from peft import LoraConfig, get_peft_model

    refuse_adapter(model)
    if model.config.objective == "retrieval":
        if not RocConfig.from_pretrained(model.name_or_path).relation_descriptions:
            # Its first relations decide `relation_center`, which an adapter does not hold.
            raise ValueError(f"{model.name_or_path} has no relations yet: call its set_relations, and save it")
    parts = [name for name in _parts(model) if name not in ENCODERS]
    chosen = parts if lora_args.lora_modules_to_save is None else lora_args.lora_modules_to_save
    if unknown := set(chosen) - set(parts):
        raise ValueError(f"--lora_modules_to_save: no {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    names = [name for name, _ in model.named_modules()]
    for end in lora_args.lora_target_modules or []:
        if not any(name == end or name.endswith(f".{end}") for name in names):
            raise ValueError(f"--lora_target_modules: no layer's name ends with {end!r}")
    encoders = tuple(name for name in ENCODERS if with_relation_encoder or not name.startswith("relation_encoder"))
    layers = [name for name, part in model.named_modules() if isinstance(part, nn.Linear)]
    targets = [name for name in layers if name.startswith(encoders)]
    words = next(name for name, part in model.named_modules() if part is model.get_input_embeddings())
    adapted = get_peft_model(
        model,
        LoraConfig(
            r=lora_args.lora_rank,
            lora_alpha=lora_args.lora_alpha,
            lora_dropout=lora_args.lora_dropout,
            target_modules=lora_args.lora_target_modules or targets,
            modules_to_save=sorted({*chosen, "memory"} & set(parts)),
            trainable_token_indices={words: processor.marker_ids},
        ),
    )
    adapted.create_or_update_model_card = _keep_card
    adapted._get_base_model_class = _base_model_class
    return adapted


def _keep_card(output_dir):
    """Nothing, in place of peft's card: the project's says more, and would be overwritten."""


def _base_model_class(is_prompt_tuning=False):
    """What `peft.AutoPeftModel` opens the base with: its code comes with its checkpoint, not with a package."""
    return AutoModel


def _parts(model) -> list[str]:
    """Names of a [`RocModel`]'s parts, and of those of its two encoders."""
    inner = {name: part for name, part in model.named_children() if name in ("pair_encoder", "relation_encoder")}
    names = [name for name, _ in model.named_children() if name not in inner]
    return names + [f"{outer}.{name}" for outer, part in inner.items() for name, _ in part.named_children()]


def refuse_adapter(model):
    """
    Raises:
        ValueError: if `model` was opened by an adapter's name: what were trained in it would not be saved.
    """
    if getattr(model, "peft_config", None):
        raise ValueError(
            "what --model_name_or_path names is an adapter, which can be evaluated; to train on, merge it into its "
            "model: PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(folder)"
        )

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The model and the processor for a data set: new ones on pretrained encoders, or trained ones as they are."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields

import torch
from torch import nn
from transformers import AutoImageProcessor, AutoTokenizer
from transformers.utils import logging as transformers_logging

from data_scripts.demo.dataset import build_demo_tokenizer, demo_backbone_configs, demo_image_processor
from data_scripts.descriptions.files import count_unreviewed
from data_scripts.hub_errors import check_repository, explain_hub_errors
from data_scripts.loading import DEMO, relation_texts
from modeling_roc import RocConfig, RocModel
from modeling_roc.configuration_roc import RELATION_FIELDS
from modeling_roc.peft_roc import copy_in_force, replace_copy_in_force
from modeling_roc.relation_memory_roc import content_proof
from processing_roc import RocProcessor
from training_roc.arguments import DataArguments, ModelArguments, Settings
from training_roc.lora import add_lora, refuse_adapter
from training_roc.trainer import ENCODERS

logger = logging.getLogger(__name__)


def make_model(settings: Settings, descriptions: dict, num_objects: int, unseen: Sequence[str] = ()):
    """
    The model and the processor of a run.

    Args:
        settings: of the run.
        descriptions: content of a descriptions file with the relations that the model is to know first.
        num_objects: the most objects of the picture that any row of the data set has.
        unseen: relations that are held out: a warning tells which of them a trained model knows that is trained on.

    Returns:
        ([`RocModel`] or `peft.PeftModel`, [`RocProcessor`])

    Raises:
        ValueError: if the settings contradict one another, the data set, or a trained model.
        HubError: if what they name cannot be had from the Hub.
    """
    model_args, data_args, args = settings
    if model_args.model_name_or_path is None:
        model, processor = build_model(model_args, data_args, descriptions, num_objects > 0)
    else:
        check_repository(model_args.model_name_or_path, "model")
        with explain_hub_errors(model_args.model_name_or_path, "model"):
            model, processor = load_model(settings, descriptions, num_objects > 0, unseen)
    if data_args.max_objects is None:
        processor.max_objects = max(processor.max_objects, num_objects)
    if model_args.use_lora:
        model = add_lora(model, processor, model_args, with_relation_encoder=args.relation_update_steps > 0)
    elif args.do_train:
        refuse_adapter(model)
    if model.config.objective == "retrieval" and data_args.relation_text == "descriptions":
        if unreviewed := count_unreviewed(descriptions):
            total = len(descriptions["relations"])
            logger.info("%d of %d relations have descriptions that no person has reviewed", unreviewed, total)
    return model, processor


def describe_encoders(model) -> str | None:
    """A checksum of the pretrained encoders' layers, without embeddings, in which markers have rows; None where they
    cannot be read."""
    layers = [
        value
        for name, value in model.named_parameters()
        if name.removeprefix("base_model.model.").startswith(ENCODERS) and "embed" not in name and "lora_" not in name
    ]
    proof = content_proof(layers)
    return None if proof is None else bytes(proof.tolist()).hex()


def load_model(settings: Settings, descriptions: dict, with_objects: bool, unseen: Sequence[str] = ()):
    """(model, processor) as they were trained; the data set's relations are set if they are not the model's. Where it
    classifies, that is a new head, which only a training may have."""
    model_args, data_args, args = settings
    path = model_args.model_name_or_path
    model = RocModel.from_pretrained(path, attn_implementation=model_args.attn_implementation)
    if known := [
        label for label in unseen if label in model.config.label2id and label not in descriptions["relations"]
    ]:
        logger.warning("NOT ZERO-SHOT, if %s was trained on what it knows: %s", path, ", ".join(known))
    processor = RocProcessor.from_pretrained(path)
    made_with = {"num_fusion_layers": model.config.fusion_encoder_config.num_hidden_layers}
    if model.config.objective == "retrieval":
        made_with["share_relation_encoder"] = model.config.relation_config is None
    refuse_without_effect(model_args, vars(model.config) | made_with, "model")
    refuse_without_effect(data_args, vars(processor), "processor")
    if with_objects and model.config.object_features is None:
        raise ValueError(f"{path} takes no objects of pictures, but the data set has some")
    if not data_args.use_images:
        processor = RocProcessor(
            None, processor.tokenizer, processor.max_length, processor.use_entity_types, processor.max_objects
        )
    config = model.config
    labels, negative = list(descriptions["relations"]), descriptions["negative_relation"]
    if negative is None and config.negative_relation in labels:
        negative = config.negative_relation  # where the data set names none
    if config.objective == "classification":
        own = (list(config.id2label.values()), config.negative_relation)
        if own == (labels, negative):
            return model, processor
        if not args.do_train or model_args.use_lora:
            raise ValueError(
                f"{path} classifies into {own[0]}, negative: {own[1]}; the data set has {labels}, negative: "
                f"{negative}: that takes a new head, which only training (--do_train true, not --use_lora) can make"
            )
        logger.warning(
            "%s classifies into %d relations, which are not the data set's: its encoders are kept, with a new head "
            "for %d relations",
            *(path, len(own[0]), len(labels)),
        )
        set_head(model, labels, negative)
        return model, processor
    relations = relation_texts(descriptions, data_args.relation_text)
    if (list(config.relation_descriptions.items()), config.negative_relation) != (list(relations.items()), negative):
        own = config.relation_descriptions
        if others := [label for label in relations if label in own and own[label] != relations[label]]:
            logger.warning(
                "%s knows %d relations by other texts than those given now, which are taken: %s (--relations_file and "
                "--relation_text say which)",
                *(path, len(others), ", ".join(others)),
            )
        model.set_relations(relations, processor, negative)
    return model, processor


def set_head(model, labels: Sequence[str], negative: str | None, rows: Sequence[int] | None = None):
    """
    Gives a [`RocModel`] that classifies other relations.

    Args:
        labels: theirs, in the order of their ids.
        negative: the one that means "no relation", if any.
        rows: of the old head, that become the new one's. Default: a head with new weights.
    """
    old, config = model.classifier, model.config
    head = nn.Linear(old.in_features, len(labels), device=old.weight.device, dtype=old.weight.dtype)
    model._init_weights(head)
    if rows is not None:
        with torch.no_grad():
            head.weight.copy_(old.weight[rows])
            head.bias.copy_(old.bias[rows])
    model.classifier = head
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in config.id2label.items()}
    config.negative_relation, config.abstention_threshold = negative, None


def give_texts(model, processor, texts: Sequence[list[str]], places: Sequence[int]):
    """
    Gives some relations of a trained model other texts: those that several data sets had in common get the ones that
    they are saved with, so that what is measured and chosen from here on is of the saved model's scores.

    Args:
        model, processor: as for `relations_replaced`.
        texts: of each of these relations.
        places: theirs among the model's.
    """
    base = model.get_base_model() if hasattr(model, "peft_config") else model
    relations = dict(base.config.relation_descriptions)
    labels = list(relations)
    relations |= {labels[place]: own for place, own in zip(places, texts, strict=True)}
    base.set_relations(relations, processor, base.config.negative_relation)


@contextmanager
def relations_replaced(
    model, processor, descriptions: dict, relation_text: str, rows: Sequence[int]
) -> Iterator[None]:
    """
    Within it, a trained model has only some of its relations, perhaps by other labels, as it is to be saved; what was
    measured of its scores stays.

    Args:
        model: [`RocModel`] or `peft.PeftModel`.
        processor: its [`RocProcessor`].
        descriptions: content of a descriptions file with these relations.
        relation_text: as for `relation_texts`.
        rows: their places among the model's.
    """
    base = model.get_base_model() if hasattr(model, "peft_config") else model
    config, part = base.config, "memory" if base.config.objective == "retrieval" else "classifier"
    before, old = {name: getattr(config, name) for name in RELATION_FIELDS}, copy_in_force(getattr(base, part))
    if part == "memory":
        texts = relation_texts(descriptions, relation_text)
        base.set_relations(texts, processor, descriptions["negative_relation"])
    else:
        set_head(base, list(descriptions["relations"]), descriptions["negative_relation"], rows)
    config.abstention_threshold = before["abstention_threshold"]
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(config, name, value)
        replace_copy_in_force(base, part, old)


def refuse_without_effect(settings, own: dict, what: str):
    """
    Raises:
        ValueError: if one of `settings` was given and is not what the trained model was made with.
    """
    for setting in fields(settings):
        value, theirs = getattr(settings, setting.name), own.get(setting.name)
        is_given = value != setting.default or setting.name in getattr(settings, "given", ())
        if is_given and theirs is not None and value != theirs:
            raise ValueError(f"--{setting.name} {value} has no effect on a trained {what}: it has {theirs}")


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
        check_repository(model_args.text_model_name_or_path, "model")
        with explain_hub_errors(model_args.text_model_name_or_path, "model"):
            tokenizer = AutoTokenizer.from_pretrained(model_args.text_model_name_or_path)
        image_processor = None
        if vision_name is not None:
            check_repository(vision_name, "model")
            with explain_hub_errors(vision_name, "model"):
                image_processor = load_image_processor(vision_name, with_objects)
        model = RocModel.from_encoders_pretrained(
            model_args.text_model_name_or_path, vision_name, model_args.share_relation_encoder, **settings
        )
    elif data_args.dataset_name == [DEMO] and vision_name is None:
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
    own = {name: getattr(data_args, name) for name in ("max_length", "use_entity_types", "max_objects")}
    processor = RocProcessor(
        image_processor, tokenizer, **{name: value for name, value in own.items() if value is not None}
    )
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # it tells how new rows are made: as the markers' should be
    model.resize_token_embeddings(len(tokenizer))
    transformers_logging.set_verbosity(verbosity)
    model.check_processor(processor)
    if model_args.objective == "retrieval":
        model.set_relations(relations, processor)
    return model, processor

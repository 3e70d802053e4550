# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""
transformers' own test suites over this model, config and processor; `test_transformers_suites` runs this file where
transformers' source distribution is.
"""

import functools
import inspect
import sys
import types
import unittest

import torch
import transformers.utils
from transformers import (
    BertConfig,
    CLIPVisionConfig,
    Dinov2Config,
    ModernBertConfig,
    RobertaConfig,
    ViTConfig,
)

from data_scripts.demo.dataset import build_demo_tokenizer, demo_image_processor
from modeling_roc import RocConfig, RocModel
from modeling_roc.relation_memory_roc import _pair_weights
from processing_roc import RocProcessor

# What the source distribution leaves out of its tests, by what its common suites import of it.
LEFT_OUT = {
    "tests.exporters.test_export": {"ExportTesterMixin": type("ExportTesterMixin", (), {})},
    "tests.generation.test_utils": {"GenerationTesterMixin": type("GenerationTesterMixin", (), {})},
    "tests.utils.test_configuration_utils": {"config_common_kwargs": {}},
    "fetch_hub_objects_for_ci": {"url_to_local_path": lambda url: url},
}
for name, contents in LEFT_OUT.items():
    module = types.ModuleType(name)
    vars(module).update(contents)
    sys.modules.update({name: module, name.rpartition(".")[0] or name: module})
# It looks for a library beside its tests.
transformers.utils.direct_transformers_import = lambda path: transformers

from tests.test_configuration_common import ConfigTester  # noqa: E402
from tests.test_modeling_common import ModelTesterMixin  # noqa: E402
from tests.test_processing_common import ProcessorTesterMixin  # noqa: E402

BATCH_SIZE, TEXT_LENGTH, NUM_OBJECTS, HIDDEN_SIZE, VOCAB_SIZE = 7, 9, 3, 32, 60
RELATIONS = {"none": ["Nothing."], "friend_of": ["They like each other.", "Friends."], "member_of": ["Belongs to."]}
SHAPE = {"hidden_size": HIDDEN_SIZE, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 37}
PICTURE = {**SHAPE, "image_size": 30, "patch_size": 15}
BERT = BertConfig(**SHAPE, vocab_size=VOCAB_SIZE)
VIT = ViTConfig(**PICTURE)
SETUPS = {
    "TextAndViT": {"text_config": BERT, "vision_config": VIT},
    "TextOnly": {"text_config": BERT},
    "Objects": {"text_config": BERT, "vision_config": VIT, "object_features": "roi"},
    "Classification": {"text_config": BERT, "vision_config": VIT, "objective": "classification"},
    "AllOptions": {
        "text_config": BERT,
        "vision_config": VIT,
        "relation_config": BERT,
        "object_features": "crop",
        "relation_examples": {"friend_of": 2, "member_of": 1},
        "relation_aggregation": "max",
        "text_residual": True,
        "learn_temperature": True,
        "learn_negative_threshold": True,
        "relation_offsets": {"friend_of": 0.5},
    },
    "RobertaAndClip": {
        "text_config": RobertaConfig(**SHAPE, vocab_size=VOCAB_SIZE),
        "vision_config": CLIPVisionConfig(**PICTURE),
    },
    "ModernBertAndDinov2": {
        "text_config": ModernBertConfig(
            **SHAPE,
            vocab_size=VOCAB_SIZE,
            pad_token_id=0,
            cls_token_id=1,
            sep_token_id=2,
            bos_token_id=1,
            eos_token_id=2,
        ),
        "vision_config": Dinov2Config(**PICTURE),
    },
}


class PreparedRocModel(RocModel):
    """With relations from its first use on: the suites build models from a config, and have no processor."""

    @functools.wraps(RocModel.forward)
    def forward(self, *args, **kwargs):
        if self.config.objective == "retrieval" and not self.memory.has_texts():
            self.prepare()
        return super().forward(*args, **kwargs)

    @torch.no_grad()
    def prepare(self):
        memory = self.memory
        ids = torch.arange(memory.input_ids.numel()).view(memory.input_ids.shape) % 50 + 5
        memory.input_ids.copy_(ids)
        memory.texts_proof.copy_(memory._prove_texts())
        if memory.config.relation_examples:
            rows = memory.embeds[len(ids) :]
            rows.copy_(torch.nn.functional.normalize(torch.ones_like(rows), dim=-1))
            memory.examples_proof.copy_(memory.prove_examples(_pair_weights(self)))


class RocModelTester:
    """What the suites ask of a set-up: a config, inputs and sizes."""

    batch_size, seq_length, is_training = BATCH_SIZE, TEXT_LENGTH, True
    hidden_size, num_hidden_layers, num_attention_heads = HIDDEN_SIZE, 2, 4

    def __init__(self, parent, settings):
        self.parent, self.settings = parent, settings
        self.encoder_seq_length = TEXT_LENGTH
        if "vision_config" in settings:
            self.encoder_seq_length += (30 // 15) ** 2 + 1
        if "object_features" in settings:
            self.encoder_seq_length += NUM_OBJECTS

    def get_config(self) -> RocConfig:
        settings = {
            name: type(value)(**value.to_dict()) if hasattr(value, "to_dict") else value
            for name, value in self.settings.items()
        }
        if any(word in self.parent._testMethodName for word in TRAINING):
            settings.pop("relation_examples", None)  # a model is not trained with them
        config = RocConfig(
            **settings,
            relation_descriptions=RELATIONS,
            negative_relation="none",
            projection_dim=None if settings.get("text_residual") else 16,
            pair_dropout=0.0,
        )
        config.relation_length = 6
        return config

    def prepare_config_and_inputs_for_common(self):
        torch.manual_seed(0)
        inputs = {
            "input_ids": torch.randint(5, VOCAB_SIZE, (BATCH_SIZE, TEXT_LENGTH)),
            "attention_mask": torch.ones(BATCH_SIZE, TEXT_LENGTH, dtype=torch.long),
            "head_index": torch.arange(BATCH_SIZE) % 2 + 2,  # not where the suites put padding
            "tail_index": torch.arange(BATCH_SIZE) % 3 + 4,
            "head_span": torch.tensor([[2, 4]] * BATCH_SIZE),
            "tail_span": torch.tensor([[4, 6]] * BATCH_SIZE),
        }
        if "vision_config" in self.settings:
            inputs["pixel_values"] = torch.rand(BATCH_SIZE, 3, 30, 30)
            inputs["image_index"] = torch.arange(BATCH_SIZE)
        if "object_features" in self.settings:
            corners = torch.rand(BATCH_SIZE, NUM_OBJECTS, 2) / 2
            inputs["object_boxes"] = torch.cat([corners, corners + 0.3], dim=-1)
            inputs["object_mask"] = torch.ones(BATCH_SIZE, NUM_OBJECTS, dtype=torch.long)
        return self.get_config(), inputs


TRAINING = ("training", "gradient", "grad", "resize")


class SetUp(ModelTesterMixin):
    all_model_classes = (PreparedRocModel,)
    test_resize_embeddings = True
    _is_composite = True
    additional_model_inputs = [
        *("head_index", "tail_index", "head_span", "tail_span"),
        *("pixel_values", "image_index", "object_boxes", "object_mask"),
    ]

    def setUp(self):
        self.model_tester = RocModelTester(self, SETUPS[type(self).__name__])
        # Whether something is tied or rounded shows only where weights are not those of another model.
        torch.manual_seed(0)

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = super()._prepare_for_class(inputs_dict, model_class)
        if return_labels:
            inputs["labels"] = torch.arange(BATCH_SIZE) % len(RELATIONS)
        return inputs


for name in SETUPS:
    globals()[name] = type(name, (SetUp, unittest.TestCase), {"__module__": __name__})
del SetUp


class Config(unittest.TestCase):
    def setUp(self):
        self.model_tester = RocModelTester(self, SETUPS["TextAndViT"])
        self.tester = ConfigTester(self, config_class=RocConfig, has_text_modality=False, common_properties=[])


def _config_test(name):
    return lambda self: getattr(self.tester, name)()


for name, _ in inspect.getmembers(ConfigTester, inspect.isfunction):
    if name.startswith(("create_and_test_", "check_")):
        setattr(Config, "test_" + name.removeprefix("create_and_test_"), _config_test(name))


class PreparedRocProcessor(RocProcessor):
    """With a head and a tail for each text: the suites know of none."""

    @functools.wraps(RocProcessor.__call__)
    def __call__(self, text=None, **kwargs):
        if text is not None:
            places = [{"start": 0, "end": 5}, {"start": 6, "end": 11}]
            kwargs["head"], kwargs["tail"] = (
                places if isinstance(text, str) else ([place] * len(text) for place in places)
            )
        return super().__call__(text, **kwargs)


class Processor(ProcessorTesterMixin, unittest.TestCase):
    processor_class = PreparedRocProcessor

    @classmethod
    def _setup_tokenizer(cls):
        return build_demo_tokenizer()

    @classmethod
    def _setup_image_processor(cls):
        return demo_image_processor()

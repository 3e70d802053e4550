# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What `train.py` can be told of model and data, besides transformers' own training arguments."""

from dataclasses import dataclass, field

from data_scripts.loading import DEMO
from training_roc.hold_out import check_few_shot
from training_roc.lora import LoraArguments


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
    relation_aggregation: str = field(default="mean", metadata={"choices": ["max", "mean", "logsumexp"]})
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
        if self.hold_out_relations is None and self.unseen_rate != type(self).unseen_rate:
            raise ValueError("unseen_rate has no effect without hold_out_relations")
        check_few_shot(self.few_shot_examples or [], self.hold_out_relations)

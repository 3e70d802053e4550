# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Configuration of the ROC model."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, BertConfig
from transformers.configuration_utils import PreTrainedConfig, SubConfigSpec

OBJECTIVES = ("retrieval", "classification")
AGGREGATIONS = ("max", "mean")
OBJECT_FEATURES = (None, "roi", "crop")
MAX_EXAMPLES = 16
"""Most examples that stand for one relation."""
MEASURED = (
    "negative_relation", "calibration_temperature", "abstention_threshold", "relation_offsets", "relation_types",
    "relation_examples",
)  # fmt: skip
RELATION_FIELDS = ("relation_descriptions", "id2label", "label2id", "relation_length", *MEASURED)
"""What belongs to a relation set, and changes with it."""
# Arguments that are no fields, and that transformers itself takes or adds.
PASSED_ON = ("attn_implementation", "experts_implementation", "per_layer_config", "custom_pipelines", "auto_map")


# ---- fields as they may be given


def read_descriptions(relations: Mapping) -> dict:
    """Label → list of descriptions, of which one may stand alone."""
    read = {}
    for label, texts in relations.items():
        texts = [texts] if isinstance(texts, str) else texts
        if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) and text.strip() for text in texts):
            raise ValueError(f"relation {label!r} needs at least one description that is not empty, got {texts!r}")
        read[label] = list(texts)
    return read


def read_offsets(offsets: Mapping) -> dict[str, float]:
    """
    Raises:
        ValueError: naming the label, for an offset that is not a finite number.
    """
    for label, value in offsets.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(f"relation {label!r}: an offset must be a finite number, got {value!r}")
    return dict(offsets)


def read_types(types: Mapping) -> dict[str, list]:
    """
    Label → [head types, tail types], or a list of such pairs, each side a list of words in lower case, or `None` for
    any type.

    Raises:
        ValueError: naming the label, if its types are neither a pair of types nor a list of pairs.
    """
    if not isinstance(types, Mapping):
        raise ValueError(f"types must be {{label: [head type, tail type]}}, got {types!r:.200}")
    read = {}
    for label, value in types.items():
        is_several = isinstance(value, (list, tuple)) and len(value) and all(map(_holds_lists, value))
        pairs = [_read_pair(label, pair) for pair in (value if is_several else [value])]
        read[label] = pairs if is_several else pairs[0]
    return read


def type_pairs(value: list) -> list[list]:
    """The [head types, tail types] of one relation in `relation_types`, any of which may fit."""
    return value if all(map(_holds_lists, value)) else [value]


def _holds_lists(pair) -> bool:
    """Whether this is a pair of sides, of which at least one is a list: words and `None` alone are one side."""
    return isinstance(pair, (list, tuple)) and any(isinstance(side, (list, tuple)) for side in pair)


def _read_pair(label, pair) -> list:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise ValueError(f"relation {label!r} needs [head type, tail type], got {pair!r}")
    sides = [[side] if isinstance(side, str) else side for side in pair]
    for side in sides:
        is_words = isinstance(side, (list, tuple)) and side and all(isinstance(word, str) and word for word in side)
        if side is not None and not is_words:
            raise ValueError(f"relation {label!r}: a type is a word, a list of words or None, got {side!r}")
    return [None if side is None else [word.lower() for word in side] for side in sides]


READERS = {
    "relation_descriptions": read_descriptions,
    "relation_offsets": read_offsets,
    "relation_types": read_types,
}


def check_known(name: str, given: Iterable, labels: Iterable[str]):
    """
    Raises:
        ValueError: naming the first of `given` that is not among `labels`.
    """
    labels = set(labels)
    for label in given:
        if label not in labels:
            raise ValueError(f"{name} names {label!r}, which is not among the relations")


# ---- the configuration


@strict
class RocConfig(PreTrainedConfig):
    r"""
    Configuration of a [`RocModel`]: Retrieval over Classification (EMNLP 2025, arXiv 2509.21151).

    Args:
        text_config (`PreTrainedConfig` or `dict`):
            Text encoder of the entity pair; any bidirectional encoder of transformers. Default: BERT base.
        vision_config (`PreTrainedConfig` or `dict`, *optional*):
            Vision encoder whose `last_hidden_state` is (num_images, num_patches, hidden_size), such as ViT or CLIP's
            vision tower. `None` makes a text-only model.
        relation_config (`PreTrainedConfig` or `dict`, *optional*):
            Text encoder of the relation descriptions. `None`: the descriptions go through the pair's text encoder.
        fusion_encoder_config (`BertConfig` or `dict`, *optional*):
            The fusion layers over X = [X_T; X_I] (paper, section on the pair encoder). `num_hidden_layers` is the
            paper's N, 2 by default; width, heads, activation and dropout follow `text_config` unless given.
        pool_mentions (`bool`, defaults to `True`):
            Represent an entity by its vector at its index in X (the paper's way) and the mean over its mention's
            tokens; `False`: by the former alone.
        object_features (`str`, *optional*):
            How objects of the picture become tokens of X: `"roi"` pools the patches that lie in an object's box,
            `"crop"` sends the enlarged box through the vision encoder (as older systems do: a picture's price for
            each object). `None`: the model takes no objects.
        projection_dim (`int`, *optional*):
            Dimension of the space in which pairs and descriptions are compared. Default: 256, with `text_residual` the
            text encoder's `hidden_size`.
        text_residual (`bool`, defaults to `False`):
            Begin the pair vector with the mean of the text's token vectors, to which head and tail add a correction
            that starts at zero; the projections then start as the identity. On a sentence encoder such a model
            tells relations apart by their descriptions before it is trained.
        pair_dropout (`float`, defaults to 0.1):
            Dropout on the entity vectors and on the fused pair vector, 0 to 1.
        temperature (`float`, defaults to 0.05):
            InfoNCE temperature, usually 0.01 to 0.2: logits = cosine / temperature.
        learn_temperature (`bool`, defaults to `False`):
            Train the temperature together with the weights.
        objective (`str`, defaults to `"retrieval"`):
            `"retrieval"` compares a pair with the relation memory; `"classification"` puts a linear layer in its
            place (the ablation of the paper's title) and ignores the descriptions.
        relation_descriptions (`dict[str, list[str]]`, *optional*):
            Label → its descriptions, of which one may be given alone; without an `id2label` or a `label2id`, their
            order is the order of the logits. Use [`RocModel.set_relations`] to change it: it keeps the memory in step.
        relation_examples (`dict[str, int]`, *optional*):
            Label → how many examples, 1 to 16, its example row in the memory is the mean of; labels without examples
            are left out. Such a label may have an empty list of descriptions. [`RocModel.add_relation`] makes it.
        relation_aggregation (`str`, defaults to `"mean"`):
            How the scores of one relation's descriptions (and of its examples' mean) become its logit: `"max"` or
            `"mean"`.
        center_descriptions (`bool`, defaults to `True`):
            Whether the mean vector of all descriptions, which says nothing of any of them, is taken off each before
            it is projected. `False`: plain cosine, as in the paper.
        negative_relation (`str`, *optional*):
            The label that stands for "no relation" (MNRE: `None`, MORE: `none`).
        learn_negative_threshold (`bool`, defaults to `False`):
            Score `negative_relation` by a linear function of the pair's vector, not by its descriptions: the bar
            that a relation must clear. "No relation" is whatever is left over; a sentence can hardly say what
            that is.
        relation_offsets (`dict[str, float]`, *optional*):
            Label → what is added to its logit, in units of the logits; for relations that were never trained on, see
            [`RocModel.set_relation_offsets`].
        relation_types (`dict[str, list]`, *optional*):
            Label → [head types, tail types] that it asks for, to search among relations of fitting types only, as
            [`RocModel.set_relation_types`] takes them and [`types_from_labels`] gives them.
        calibration_temperature (`float`, defaults to 1.0):
            What logits are divided by before a softmax makes probabilities of them, so that these say how often an
            answer is right; fitted on validation by `train.py`. The model's own logits and loss go without it. It
            belongs to the scale of the cosines, so it is kept for other relations, where it has not been measured.
        abstention_threshold (`float`, *optional*):
            The calibrated probability, 0 to 1, that the best relation, `negative_relation` left aside, must reach;
            else no relation is known. Chosen on validation by `train.py`. It depends on how many relations compete:
            [`RocModel.set_relations`] forgets it.

    Raises:
        TypeError: for an argument that neither this nor any other configuration has. A configuration's file may have
            fields of elsewhere.
        ValueError: naming the relation, for an empty description, an offset that is not a finite number or types that
            are not as above; naming the encoder, for one that has a decoder or no one `hidden_size` ([`RocModel`]
            tries the encoders themselves); for a `label2id` that contradicts `id2label`, or, in a new configuration,
            `learn_negative_threshold` without a `negative_relation`.
        StrictDataclassError: (huggingface_hub) for a field of the wrong type, an unknown `objective` or
            `relation_aggregation`, a temperature that is not positive and finite, a threshold outside 0 to 1, a
            relation with neither a description nor examples, a number of examples outside 1 to 16, a
            `negative_relation`, an offset or types of no relation of the labels, an `id2label` that is not 0, 1, 2 ...
            or contradicts `relation_descriptions`, fusion layers of another width than the text
            encoder, or a setting that has no effect on a model that classifies.

    Example:

    ```python
    >>> from transformers import BertConfig, ViTConfig
    >>> config = RocConfig(text_config=BertConfig(), vision_config=ViTConfig())
    >>> config.fusion_encoder_config.hidden_size
    768
    ```
    """

    model_type = "roc"
    sub_configs_defaults = {
        "text_config": SubConfigSpec(AutoConfig, model_type="bert"),
        "vision_config": SubConfigSpec(AutoConfig, model_type="vit", optional=True),
        "relation_config": SubConfigSpec(AutoConfig, model_type="bert", optional=True),
        "fusion_encoder_config": SubConfigSpec(BertConfig),
    }
    # Pair vectors need not be gathered over an evaluation.
    keys_to_ignore_at_inference = ["pair_embeds", "hidden_states", "attentions"]

    text_config: dict | PreTrainedConfig | None = None
    vision_config: dict | PreTrainedConfig | None = None
    relation_config: dict | PreTrainedConfig | None = None
    fusion_encoder_config: dict | PreTrainedConfig | None = None
    pool_mentions: bool = True
    object_features: str | None = None
    projection_dim: int | None = None
    text_residual: bool = False
    pair_dropout: int | float = 0.1
    temperature: int | float = 0.05
    learn_temperature: bool = False
    objective: str = "retrieval"
    relation_descriptions: dict | None = None
    relation_examples: dict | None = None
    relation_aggregation: str = "mean"
    center_descriptions: bool = True
    negative_relation: str | None = None
    learn_negative_threshold: bool = False
    relation_offsets: dict | None = None
    relation_types: dict | None = None
    calibration_temperature: int | float = 1.0
    abstention_threshold: int | float | None = None
    # Tokens of the longest description: the memory keeps it here, so that a checkpoint's tensors find their place.
    relation_length = 0

    def __setattr__(self, name, value):
        # Whether it comes from an argument, a file or a line of code, a value is read in one way.
        super().__setattr__(name, READERS[name](value) if value and name in READERS else value)

    def __post_init__(self, **kwargs):
        # What transformers wrote has its version, and may have fields of other versions and other tools.
        own = (name for name in kwargs if hasattr(type(self), name) or name in PASSED_ON)
        if self.transformers_version is None and (unknown := kwargs.keys() - own):
            raise TypeError(f"RocConfig takes no {', '.join(sorted(unknown))}")
        self.relation_descriptions = self.relation_descriptions or {}
        self.relation_examples = self.relation_examples or {}
        # `pipeline` looks here for the class that serves the task; the processor's folder holds its file.
        kwargs.setdefault(
            "custom_pipelines",
            {
                "relation-extraction": {
                    "impl": "pipeline_roc.RelationExtractionPipeline",
                    "pt": ["AutoModel"],
                    "type": "multimodal",
                }
            },
        )
        self.text_config, kwargs = self.sub_configs_defaults["text_config"].create_subconfig(
            "text_config", self.text_config, **kwargs
        )
        _check_encoder("text_config", self.text_config, ("vocab_size", "hidden_size", "num_attention_heads"))
        if self.projection_dim is None:
            self.projection_dim = self.text_config.hidden_size if self.text_residual else 256
        if not isinstance(self.fusion_encoder_config, PreTrainedConfig):
            self.fusion_encoder_config = {**self._fusion_defaults(), **(self.fusion_encoder_config or {})}
        given = {label: int(index) for label, index in (self.label2id or {}).items()}
        if self.id2label is None:
            self.id2label = {index: label for label, index in given.items()}
            self.id2label = self.id2label or dict(enumerate(self.relation_descriptions))
            number = kwargs.get("num_labels")
            if not self.id2label and number is not None:
                self.id2label = None  # transformers names them
            elif number is not None and number != len(self.id2label):
                raise ValueError(f"num_labels is {number}, but there are {len(self.id2label)} relations")
        super().__post_init__(**kwargs)
        _check_encoder("vision_config", self.vision_config, ("hidden_size",))
        _check_encoder("relation_config", self.relation_config, ("vocab_size", "hidden_size"))
        # A config file has its keys sorted, as text even where they are numbers: the relations' order is that of
        # id2label by number.
        self.id2label = {index: self.id2label[index] for index in sorted(self.id2label)}
        self.label2id = {label: index for index, label in self.id2label.items()}
        if self.transformers_version is None and self.id2label and self.negative_relation is None:
            # A saved model may have lost its negative relation; nothing could be learnt of one.
            if self.learn_negative_threshold:
                raise ValueError("learn_negative_threshold needs a negative_relation, whose score the threshold is")
        if given and given != self.label2id:
            raise ValueError(f"label2id {given} contradicts id2label {self.id2label}")
        order = self.id2label.values()
        if set(order) == set(self.relation_descriptions):
            self.relation_descriptions = {label: self.relation_descriptions[label] for label in order}

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        # Fields that are given beside a file pass the checks together with it; transformers would set them afterwards.
        names = {setting.name for setting in fields(cls)} - cls.sub_configs_defaults.keys() - {"dtype"}
        given = {name: kwargs.pop(name) for name in names & kwargs.keys()}
        return super().from_dict({**config_dict, **given}, **kwargs)

    def _fusion_defaults(self) -> dict:
        """The text encoder's own shape, with no word or position tables to speak of: only the layers are used."""
        text = self.text_config
        return {
            "hidden_size": text.hidden_size,
            "num_attention_heads": text.num_attention_heads,
            "intermediate_size": getattr(text, "intermediate_size", 4 * text.hidden_size),
            "hidden_act": getattr(text, "hidden_act", "gelu"),
            "hidden_dropout_prob": getattr(text, "hidden_dropout_prob", 0.1),
            "attention_probs_dropout_prob": getattr(text, "attention_probs_dropout_prob", 0.1),
            "num_hidden_layers": 2,
            "vocab_size": 1,
            "pad_token_id": 0,
            "use_cache": False,
        }

    @property
    def has_relations(self) -> bool:
        """Whether there is something to answer with: labels alone are nothing that could be retrieved."""
        return bool(self.id2label and (self.relation_descriptions or self.objective == "classification"))

    def validate_architecture(self):
        if self.objective not in OBJECTIVES:
            raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}, got {self.objective!r}")
        if self.relation_aggregation not in AGGREGATIONS:
            raise ValueError(
                f"relation_aggregation must be one of {', '.join(AGGREGATIONS)}, got {self.relation_aggregation!r}"
            )
        if self.object_features not in OBJECT_FEATURES:
            raise ValueError(f"object_features must be one of {OBJECT_FEATURES}, got {self.object_features!r}")
        for name in ("temperature", "calibration_temperature"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be above 0 and finite, got {getattr(self, name)}")
        if self.abstention_threshold is not None and not 0 <= self.abstention_threshold <= 1:
            raise ValueError(f"abstention_threshold must lie within 0 and 1, got {self.abstention_threshold}")
        if self.fusion_encoder_config.hidden_size != self.text_config.hidden_size:
            raise ValueError(
                f"fusion_encoder_config.hidden_size ({self.fusion_encoder_config.hidden_size}) must equal "
                f"text_config.hidden_size ({self.text_config.hidden_size})"
            )
        widths = {(self.relation_config or self.text_config).hidden_size, self.text_config.hidden_size}
        if self.text_residual and self.objective == "retrieval" and widths != {self.projection_dim}:
            raise ValueError(
                f"text_residual needs a projection_dim ({self.projection_dim}) that is the encoders' hidden_size "
                f"({', '.join(map(str, sorted(widths)))})"
            )
        if self.objective == "classification" and self.learn_negative_threshold:
            raise ValueError('learn_negative_threshold has no effect on a model with objective="classification"')
        for label, descriptions in self.relation_descriptions.items():
            if not (descriptions or label in self.relation_examples):
                raise ValueError(f"relation {label!r} needs a list of at least one description, got {descriptions!r}")
        check_known("relation_examples", self.relation_examples, self.relation_descriptions)
        for label, number in self.relation_examples.items():
            if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= MAX_EXAMPLES:
                raise ValueError(f"relation {label!r} must have 1 to {MAX_EXAMPLES} examples, got {number!r}")
            if self.learn_negative_threshold and label == self.negative_relation:
                raise ValueError(f"relation {label!r} is scored by a learned threshold, and not by examples")
        if list(self.id2label) != list(range(len(self.label2id))):
            raise ValueError(f"id2label must number relations from 0, each once, got {self.id2label}")
        for name in ("relation_offsets", "relation_types"):
            if self.id2label:  # else the relations are still to come
                check_known(name, getattr(self, name) or {}, self.label2id)
        different = set(self.id2label.values()) ^ set(self.relation_descriptions)
        if self.relation_descriptions and different:
            raise ValueError(f"id2label and relation_descriptions differ in {', '.join(sorted(different))}")
        if self.negative_relation is not None and self.id2label and self.negative_relation not in self.label2id:
            raise ValueError(f"negative_relation {self.negative_relation!r} is not among the relations")


def _check_encoder(name: str, config: PreTrainedConfig | None, needed: Iterable[str]):
    """What the encoder's configuration tells; [`RocModel`] tries the encoder itself."""
    if config is None:
        return
    if config.is_encoder_decoder:
        raise ValueError(f"{name}: {config.model_type} has a decoder, which a text or a picture does not go through")
    for field in needed:
        if not isinstance(getattr(config, field, None), int):
            raise ValueError(f"{name}: {config.model_type} has no {field}, as encoders of a sequence of tokens have")


RocConfig.register_for_auto_class()

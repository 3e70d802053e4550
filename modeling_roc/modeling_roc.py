# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The ROC model: an entity pair of a text and a picture retrieves the relation whose description fits best."""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers import initialization as init
from transformers.models.bert.modeling_bert import BertEncoder, BertLayer, BertSelfAttention
from transformers.utils import ModelOutput
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from .adapted_roc import AdaptedRelationsMixin
from .configuration_roc import RocConfig
from .examples_roc import ExamplesMixin
from .losses_roc import info_nce
from .memory_roc import RelationMemory
from .pairs_roc import PairEncoderMixin
from .regions_roc import ObjectEmbedding
from .relation_encoder_roc import RelationEncoderMixin, full_precision
from .relation_set_roc import RelationSetMixin
from .retrieval_roc import RetrievalMixin
from .saliency_roc import SaliencyMixin
from .search_roc import SearchMixin
from .training_memory_roc import RelationUpdate, TrainingMemoryMixin
from .types_roc import RelationTypesMixin


@dataclass
class RocOutput(ModelOutput):
    """
    Args:
        loss (scalar): InfoNCE (or cross-entropy for `objective="classification"`), where labels are given.
        logits (batch, num_relations): cosine / temperature over the relation memory, float32.
        pair_embeds (batch, embedding_dim): unit vectors of the pairs, float32; `None` in classification.
        hidden_states: on request, the joint sequence before and after each fusion layer,
            (batch, text_length + num_objects + num_patches, hidden_size) each.
        attentions: on request (eager attention), (batch, num_heads, length, length) for each fusion layer.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    pair_embeds: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class RocPreTrainedModel(PreTrainedModel):
    """Weights' initialisation, and loading and saving, of ROC models."""

    config: RocConfig
    config_class = RocConfig
    base_model_prefix = "roc"
    main_input_name = "input_ids"
    input_modalities = ("text", "image")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _keep_in_fp32_modules_strict = ["memory.embeds", "memory.log_temperature"]
    # The config has them.
    _keys_to_ignore_on_save = ["memory.relations"]
    _keys_to_ignore_on_load_missing = ["memory.relations"]
    _can_record_outputs = {
        "hidden_states": OutputRecorder(BertLayer, layer_name="fusion"),
        "attentions": OutputRecorder(BertSelfAttention, index=1, layer_name="fusion"),
    }

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, RelationMemory):
            module.init_values()
        elif isinstance(module, RocModel) and module.config.objective == "retrieval":
            init.zeros_(module.relation_center)
            if module.config.text_similarity:
                init.zeros_(module.text_center)


class RocModel(
    PairEncoderMixin,
    RelationEncoderMixin,
    RetrievalMixin,
    RelationSetMixin,
    TrainingMemoryMixin,
    ExamplesMixin,
    AdaptedRelationsMixin,
    RelationTypesMixin,
    SearchMixin,
    SaliencyMixin,
    RocPreTrainedModel,
):
    """
    Retrieval over Classification (EMNLP 2025, arXiv 2509.21151).

    - Pair encoder: X = [X_T; X_I] of a text and a vision encoder, N fusion layers over it, the vectors of head and
      tail taken by their index in X, a non-linear layer that fuses the two, a projection, L2 norm. X_I begins with
      the picture's objects, if there are any, each a token of its own, and goes on with the patches.
    - Relation encoder: the mean of a description's token vectors less the mean of all, a projection, L2 norm. It
      shares the text encoder unless `config.relation_config` gives it its own.
    - Relation memory: the descriptions' vectors. In training they are encoded with gradient; otherwise they are
      encoded once and used until the weights change. A relation may also be known by a few examples, as their mean
      pair vector; it holds for the weights that it was made with, and only for them.
    """

    def __init__(self, config: RocConfig):
        super().__init__(config)
        hidden_size = config.text_config.hidden_size
        self.text_encoder = _without_pooler(AutoModel.from_config(config.text_config))
        self.vision_encoder = None
        if config.vision_config is not None:
            self.vision_encoder = _without_pooler(AutoModel.from_config(config.vision_config))
            self.vision_projection = nn.Sequential(
                nn.Linear(config.vision_config.hidden_size, hidden_size), nn.LayerNorm(hidden_size)
            )
        if config.object_features is not None:
            self.object_embedding = ObjectEmbedding(hidden_size)
        if config.fusion_encoder_config._attn_implementation is None:
            config.fusion_encoder_config._attn_implementation = config._attn_implementation
        self.fusion = BertEncoder(config.fusion_encoder_config)
        self.pair_fusion = nn.Sequential(
            nn.Dropout(config.pair_dropout),
            nn.Linear((4 if config.pool_mentions else 2) * hidden_size, hidden_size),
            nn.GELU(),
            nn.Dropout(config.pair_dropout),
        )
        if config.objective == "classification":
            self.classifier = nn.Linear(hidden_size, config.num_labels)
        else:
            self.relation_encoder = None
            if config.relation_config is not None:
                self.relation_encoder = _without_pooler(AutoModel.from_config(config.relation_config))
            self.pair_projection = nn.Linear(hidden_size, config.projection_dim)
            relation_hidden_size = (config.relation_config or config.text_config).hidden_size
            self.relation_projection = nn.Linear(relation_hidden_size, config.projection_dim)
            # What all descriptions have in common says nothing of one: their mean is taken off (see `set_relations`).
            self.register_buffer("relation_center", torch.zeros(relation_hidden_size))
            if config.text_similarity:
                # The same of the texts, a running mean over those that the model is trained on.
                self.register_buffer("text_center", torch.zeros(relation_hidden_size))
            if config.learn_negative_threshold:
                self.negative_threshold = nn.Linear(hidden_size, 1)
            self.memory = RelationMemory(config)
            self.register_load_state_dict_post_hook(_follow_adapter)
        self.post_init()

    @classmethod
    def from_encoders_pretrained(
        cls,
        text_model_name_or_path: str,
        vision_model_name_or_path: str | None = None,
        share_relation_encoder: bool = True,
        dtype: torch.dtype = torch.float32,
        **config_kwargs,
    ) -> "RocModel":
        """
        A ROC model on pretrained encoders; fusion, pair and projection layers are new.

        Args:
            text_model_name_or_path: text encoder, such as `bert-base-uncased`.
            vision_model_name_or_path: vision encoder, such as `google/vit-base-patch16-224-in21k`, or a CLIP model,
                of which the vision tower is taken. `None`: text-only.
            share_relation_encoder: whether descriptions go through the pair's text encoder; otherwise they get an
                encoder of their own, which starts from the same checkpoint.
            dtype: of the weights, the encoders' and the new ones.
            config_kwargs: further fields of [`RocConfig`].
        """
        text = AutoModel.from_pretrained(text_model_name_or_path, dtype=dtype)
        vision = None
        if vision_model_name_or_path is not None:
            vision_config = AutoConfig.from_pretrained(vision_model_name_or_path)
            vision_config = getattr(vision_config, "vision_config", vision_config)
            vision_class = type(AutoModel.from_config(vision_config))
            vision = vision_class.from_pretrained(vision_model_name_or_path, config=vision_config, dtype=dtype)
        config = RocConfig(
            text_config=text.config,
            vision_config=None if vision is None else vision.config,
            relation_config=None if share_relation_encoder else text.config.to_dict(),
            **config_kwargs,
        )
        model = cls(config).to(dtype)
        model.text_encoder = _without_pooler(text)
        if vision is not None:
            model.vision_encoder = _without_pooler(vision)
        if config.objective == "retrieval" and not share_relation_encoder:
            model.relation_encoder.load_state_dict(text.state_dict())
        return model

    def get_input_embeddings(self):
        return self.text_encoder.get_input_embeddings()

    def set_input_embeddings(self, value):
        self.text_encoder.set_input_embeddings(value)

    @capture_outputs
    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        head_index: torch.Tensor | None = None,
        tail_index: torch.Tensor | None = None,
        head_span: torch.Tensor | None = None,
        tail_span: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        image_index: torch.Tensor | None = None,
        object_boxes: torch.Tensor | None = None,
        object_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        update_relations: bool | RelationUpdate = True,
        relation_memory: RelationMemory | None = None,
        **kwargs,
    ) -> RocOutput:
        r"""
        Args:
            input_ids (batch, text_length): text with markers and type prompts.
            attention_mask (batch, text_length): 1 for a token, 0 for padding. Default: all 1.
            head_index, tail_index (batch,): place of the entity in the joint sequence [text; objects; patches]; below
                text_length it is the mention's start marker, from there on an object.
            head_span, tail_span (batch, 2): [start, end) of the mention's own tokens, or the object's, in the joint
                sequence.
            pixel_values (num_images, 3, height, width): **each distinct picture once**.
            image_index (batch,): row of pixel_values, -1 where a pair has no picture.
            object_boxes (batch, num_objects, 4): corners x0, y0, x1, y1 of the picture's objects, as fractions of what
                pixel_values show, 0 to 1.
            object_mask (batch, num_objects): 1 for an object, 0 for padding. Default: all 1.
            labels (batch,): index into the relations, -100 where unknown.
            num_items_in_batch: labelled pairs of the whole optimizer step; see [`info_nce`].
            update_relations: in training, whether to encode the descriptions with gradient now, or to use what the
                last such step gave (their projection is trained in every step). A [`RelationUpdate`] encodes those
                of the labels' relations and of hard negatives with gradient, and keeps the others from growing old.
            relation_memory: other relations to compare with in this call, from [`RocModel.make_relation_memory`].

        Returns:
            [`RocOutput`].

        Raises:
            ValueError: for a model that has no relations yet, inputs that are missing, pictures or objects that do not
                fit the model, attentions asked for where the attention implementation gives none, or training with
                relations that are known by examples.
            RuntimeError: if relations' examples were encoded with other weights; see `refresh_memory`.
            TypeError: for an unknown argument.
        """
        if unknown := kwargs.keys() - {"output_attentions", "output_hidden_states"}:
            raise TypeError(f"RocModel takes no {', '.join(sorted(unknown))}")
        if head_index is None or tail_index is None:
            raise ValueError("give head_index and tail_index: where head and tail stand in the joint sequence")
        if kwargs.get("output_attentions") and self.config.fusion_encoder_config._attn_implementation != "eager":
            raise ValueError('output_attentions needs attn_implementation="eager"')
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        self._refuse_empty_set()
        features = self.get_pair_features(
            input_ids,
            attention_mask,
            head_index,
            tail_index,
            head_span,
            tail_span,
            pixel_values,
            image_index,
            object_boxes,
            object_mask,
        )
        logits, pair_embeds = self._answer(features, update_relations, relation_memory, labels)
        loss = None if labels is None else info_nce(logits, labels, num_items_in_batch)
        return RocOutput(loss=loss, logits=logits, pair_embeds=pair_embeds)

    def _answer(self, features: torch.Tensor, update_relations, relation_memory: RelationMemory | None, labels=None):
        """Pair features → logits (batch, num_relations) and, in retrieval, pair_embeds (batch, embedding_dim)."""
        if self.config.objective == "retrieval":
            return self.retrieve(features, update_relations, relation_memory, labels)
        if relation_memory is not None:
            raise ValueError('a model with objective="classification" takes no relation_memory')
        with full_precision(features):
            return self.classifier(features.to(self.classifier.weight.dtype)).float(), None


def _follow_adapter(model: RocModel, _):
    model.follow_adapter()


def _without_pooler(encoder: nn.Module) -> nn.Module:
    # Only token vectors are used; an idle pooler would be saved, and would have no gradient.
    if isinstance(getattr(encoder, "pooler", None), nn.Module):
        encoder.pooler = None
    return encoder


RocModel.register_for_auto_class("AutoModel")

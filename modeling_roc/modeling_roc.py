# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The ROC model: an entity pair of a text and a picture retrieves the relation whose description fits best."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers import initialization as init
from transformers.masking_utils import create_bidirectional_mask
from transformers.models.bert.modeling_bert import (
    BertAttention,
    BertCrossAttention,
    BertEncoder,
    BertLayer,
    BertSelfAttention,
)
from transformers.utils import ModelOutput
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from .configuration_roc import RELATION_FIELDS, RocConfig, check_known, read_types
from .explanation_roc import Saliency, integrated_gradients
from .peft_roc import DOWNLOAD_SETTINGS, copy_in_force, follow_adapter, load_adapter, replace_copy_in_force
from .relation_memory_roc import (
    RelationMemory,
    described_relations,
    evaluating,
    example_labels,
    full_precision,
    is_sharded,
    make_memory,
    on_cpu,
    read_examples,
    refresh_memory,
)
from .search_roc import RelationHits, search, type_mask

ROLES = ("context", "head", "tail")
"""What an object of the picture is to a pair."""

# What of the fusion layers can be asked for.
RECORDED = {"output_attentions", "output_hidden_states"}
# Where an encoder comes from, as `from_pretrained` takes it.
SOURCE_ARGUMENTS = {*DOWNLOAD_SETTINGS, "code_revision", "trust_remote_code", "use_safetensors", "variant"}
# Descriptions of like length that go through an encoder together on a CPU.
DESCRIPTIONS_PASS = 12


class ObjectEmbedding(nn.Module):
    """
    A token for each object of the picture: LayerNorm(what lies in its box + its position and area + its role).

    Args:
        hidden_size: of the joint sequence.
    """

    def __init__(self, hidden_size: int):
        super().__init__()
        self.position = nn.Sequential(nn.Linear(7, hidden_size), nn.LayerNorm(hidden_size))
        self.role = nn.Embedding(len(ROLES), hidden_size)
        self.norm = nn.LayerNorm(hidden_size)

    def forward(self, boxes: torch.Tensor, roles: torch.Tensor, regions: torch.Tensor | None) -> torch.Tensor:
        """
        Args:
            boxes (batch, num_objects, 4): corners x0, y0, x1, y1, 0 to 1.
            roles (batch, num_objects): places in `ROLES`.
            regions (batch, num_objects, hidden_size): what lies in the boxes; `None` without a picture.

        Returns:
            (batch, num_objects, hidden_size).
        """
        size = boxes[..., 2:] - boxes[..., :2]
        # Corners, width, height and area, each from -1 to 1.
        geometry = 2 * torch.cat([boxes, size, size.prod(dim=-1, keepdim=True)], dim=-1) - 1
        tokens = self.position(geometry.to(self.role.weight.dtype)) + self.role(roles)
        return self.norm(tokens if regions is None else tokens + regions.to(tokens.dtype))


class ReadingLayer(BertLayer):
    """The last fusion layer, which makes the vectors that are read alone, from all of X. As cross-attention it has any
    layer's weights by their names."""

    def __init__(self, config, layer_idx: int):
        super().__init__(config, layer_idx)
        self.attention = BertAttention(config, layer_idx=layer_idx, is_cross_attention=True)

    def forward(self, hidden_states, attention_mask=None, places: torch.Tensor | int | None = None, **_):
        """As a `BertLayer`, with the vectors at `places` (batch, num_places) alone, or the first so many of them;
        `None`: all."""
        if isinstance(places, torch.Tensor):
            read = hidden_states.gather(1, places[..., None].expand(-1, -1, hidden_states.shape[-1]))
        else:
            read = hidden_states[:, :places]
        if attention_mask is not None and places is not None:  # a table, all of whose rows are alike
            attention_mask = attention_mask[:, :, : read.shape[1]]
        read, _ = self.attention(read, encoder_hidden_states=hidden_states, encoder_attention_mask=attention_mask)
        return self.feed_forward_chunk(read)


class PairEncoder(nn.Module):
    """
    A pair of entities in a text and a picture to one vector (paper, section on the pair encoder).

    X = [X_T; X_I] of a text and a vision encoder, N fusion layers over it, the vectors of head and tail taken by their
    index in X, a non-linear layer that fuses the two. X_I begins with the picture's objects, if there are any, each a
    token of its own, and goes on with the patches.

    Args:
        config ([`RocConfig`]).
        text_encoder, vision_encoder: loaded ones, to be used as they are. Default: new ones as the config describes.
    """

    def __init__(
        self, config: RocConfig, text_encoder: nn.Module | None = None, vision_encoder: nn.Module | None = None
    ):
        super().__init__()
        self.config = config
        hidden_size = config.text_config.hidden_size
        self.text_encoder = make_encoder(config.text_config, text_encoder)
        self.num_positions = num_positions(self.text_encoder)
        self.vision_encoder = None
        if config.vision_config is not None:
            grid = "with a grid" if config.object_features else "of any kind"
            self.vision_encoder = make_encoder(config.vision_config, vision_encoder, patches=grid)
            self.vision_projection = nn.Sequential(
                nn.Linear(config.vision_config.hidden_size, hidden_size), nn.LayerNorm(hidden_size)
            )
        if config.object_features is not None:
            self.object_embedding = ObjectEmbedding(hidden_size)
        self.joint_sequence = nn.Identity()  # where X can be recorded before all fusion layers
        self.fusion = BertEncoder(config.fusion_encoder_config)
        if number := len(self.fusion.layer):
            with torch.random.fork_rng(devices=[]):  # a seed makes the weights that it makes without
                self.fusion.layer[-1] = ReadingLayer(config.fusion_encoder_config, number - 1)
        self.pair_fusion = nn.Sequential(
            nn.Dropout(config.pair_dropout),
            nn.Linear((4 if config.pool_mentions else 2) * hidden_size, hidden_size),
            nn.GELU(),
            nn.Dropout(config.pair_dropout),
        )
        if config.text_residual:
            self.correction = nn.Linear(hidden_size, hidden_size)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        head_index: torch.Tensor,
        tail_index: torch.Tensor,
        head_span: torch.Tensor | None = None,
        tail_span: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        image_index: torch.Tensor | None = None,
        object_boxes: torch.Tensor | None = None,
        object_mask: torch.Tensor | None = None,
        image_embeds: torch.Tensor | None = None,
        read_all: bool = False,
    ) -> torch.Tensor:
        """
        Args: as for [`RocModel.forward`], and

            read_all: whether the last fusion layer makes all of X, and not only what is read of it.

        Returns:
            (batch, hidden_size).

        Raises:
            ValueError: as for `joint_inputs`; if `config.pool_mentions` is set and the spans are missing; naming the
                row, for an index or a span outside the row's tokens and objects, or a span that is empty. In training
                on an accelerator, which would have to be waited for, places are not looked at.
        """
        sequence, mask = self.joint_inputs(
            input_ids,
            attention_mask,
            head_index,
            tail_index,
            pixel_values=pixel_values,
            image_index=image_index,
            object_boxes=object_boxes,
            object_mask=object_mask,
            image_embeds=image_embeds,
        )
        length = attention_mask.shape[1] + (0 if object_boxes is None else object_boxes.shape[1])
        vectors = self.pair_vectors(sequence, mask, head_index, tail_index, head_span, tail_span, length, read_all)
        return self.add_text(vectors, sequence, attention_mask)

    def add_text(self, vectors: torch.Tensor, sequence: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """With `config.text_residual`, `vectors` from `pair_vectors` as corrections of the text's mean token vector.

        Args: `sequence`, what `joint_inputs` returns; `attention_mask` (batch, text_length).
        """
        if not self.config.text_residual:
            return vectors
        texts = mean_token_vectors(sequence[:, : attention_mask.shape[1]], attention_mask)
        return texts + self.correction(vectors).to(texts.device)

    def joint_inputs(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor,
        head_index: torch.Tensor,
        tail_index: torch.Tensor,
        pixel_values: torch.Tensor | None = None,
        image_index: torch.Tensor | None = None,
        object_boxes: torch.Tensor | None = None,
        object_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        image_embeds: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        X before the fusion layers, (batch, text_length + num_objects + num_patches, hidden_size), and its mask.

        Args: as for [`RocModel.forward`], and

            inputs_embeds (batch, text_length, embedding_size): word embeddings to use in place of those of input_ids.

        Raises:
            ValueError: if pixel_values come without image_index or image_index without them, or to a model without a
                vision encoder; if objects come to a model that takes none; for a text that is longer than the text
                encoder's positions.
        """
        if self.num_positions is not None and attention_mask.shape[1] > self.num_positions:
            raise ValueError(
                f"a text has {attention_mask.shape[1]} tokens, but the text encoder has positions for "
                f"{self.num_positions}: give the processor max_length={self.num_positions}"
            )
        text = {"input_ids": input_ids} if inputs_embeds is None else {"inputs_embeds": inputs_embeds}
        # Parts may lie on several devices: what each gives comes back to where the pair's mask is.
        sequence = self.text_encoder(**text, attention_mask=attention_mask).last_hidden_state.to(attention_mask.device)
        parts, masks = [sequence], [attention_mask]
        patches = has_image = None
        if pixel_values is None and image_index is not None:
            raise ValueError("image_index was given without pixel_values")
        if pixel_values is not None:
            if self.vision_encoder is None:
                raise ValueError("pixel_values were given to a text-only model (config.vision_config is None)")
            if image_index is None:
                raise ValueError("pixel_values need image_index (batch,): which picture is whose, -1 for none")
            patches = self.encode_pictures(pixel_values, image_embeds)
            patches = patches.to(sequence).index_select(0, image_index.clamp(min=0))
            has_image = (image_index >= 0).to(attention_mask.dtype)
        if object_boxes is not None:
            if self.config.object_features is None:
                raise ValueError("objects were given to a model that takes none (config.object_features is None)")
            if object_mask is None:
                object_mask = attention_mask.new_ones(object_boxes.shape[:2])
            regions = None
            if patches is not None:
                regions = self._region_features(patches, pixel_values, image_index, object_boxes, object_mask)
                regions = regions * has_image[:, None, None]
            roles = object_roles(head_index, tail_index, sequence.shape[1], object_boxes.shape[1])
            parts.append(self.object_embedding(object_boxes, roles, regions).to(sequence))
            masks.append(object_mask.to(attention_mask.dtype))
        if patches is not None:
            parts.append(patches)
            masks.append(has_image[:, None].expand(-1, patches.shape[1]))
        return torch.cat(parts, dim=1), torch.cat(masks, dim=1)

    def fuse(self, sequence: torch.Tensor, attention_mask: torch.Tensor, places: torch.Tensor | int | None = None):
        """X after the fusion layers; the last one's only at `places` (batch, num_places), or the first so many.

        Args: what `joint_inputs` returns."""
        sequence = self.joint_sequence(sequence).to(attention_mask.device)
        mask = create_bidirectional_mask(
            self.config.fusion_encoder_config, sequence, attention_mask, allow_is_bidirectional_skip=on_cpu(sequence)
        )
        # The third argument of every layer, which none but the last looks at.
        fused = self.fusion(sequence, attention_mask=mask, encoder_hidden_states=places)
        return fused.last_hidden_state.to(sequence.device)

    def pair_vectors(
        self,
        sequence,
        mask,
        head_index,
        tail_index,
        head_span=None,
        tail_span=None,
        length: int | None = None,
        read_all: bool = False,
    ) -> torch.Tensor:
        """X from `joint_inputs` through the fusion layers, head and tail taken from its first `length` vectors (text
        and objects; `None`: all) by their places, and fused: (batch, hidden_size)."""
        if self.config.pool_mentions and (head_span is None or tail_span is None):
            raise ValueError("the model pools mentions (config.pool_mentions): give head_span and tail_span")
        places = {"head_index": head_index, "tail_index": tail_index}
        if self.config.pool_mentions:
            places |= {"head_span": head_span, "tail_span": tail_span}
        length = sequence.shape[1] if length is None else length
        numbers = torch.arange(sequence.shape[1], device=sequence.device)
        edges = [[edge[:, None] for edge in _edges(place)] for place in places.values()]
        inside = torch.stack([(numbers >= start) & (numbers < end) for start, end in edges], dim=1)
        read = None if read_all else self._places_read(inside, length)
        states = self.fuse(sequence, mask, read)
        if isinstance(read, torch.Tensor):
            inside = inside.gather(2, read[:, None].expand(-1, inside.shape[1], -1))
        inside = inside[..., : states.shape[1]].to(states.dtype)
        entities = inside @ states / inside.sum(dim=-1, keepdim=True)
        vectors = self.pair_fusion(entities.flatten(1)).to(mask.device)
        # Behind all the work, so that an accelerator has something to do while this waits for it.
        if on_cpu(mask) or not (self.training or mask.is_meta):
            check_places(mask[:, :length], places)
        return vectors

    def _places_read(self, inside: torch.Tensor, length: int) -> torch.Tensor | int | None:
        """Where `inside` (batch, num_kinds, length of X) has anything: (batch, num_places), and others to fill up;
        `length` where it would have to be waited for; `None`, all, where masks are no tables."""
        config = self.config.fusion_encoder_config
        if config.num_hidden_layers == 0 or config._attn_implementation not in ("sdpa", "eager"):
            return None
        if not on_cpu(inside) or torch.compiler.is_compiling():
            return length
        needed = inside.any(dim=1)
        return needed.int().argsort(dim=1, descending=True, stable=True)[:, : int(needed.sum(dim=1).max())]

    def encode_pictures(self, pixel_values: torch.Tensor, image_embeds: torch.Tensor | None = None) -> torch.Tensor:
        """(num_images, 3, height, width), or what the vision encoder made of them, to X_I:
        (num_images, num_patches, hidden_size), the encoder's own tokens first."""
        if image_embeds is None:
            image_embeds = self.vision_encoder(pixel_values=pixel_values).last_hidden_state
        return self.vision_projection(as_input_of(copy_in_force(self.vision_projection)[0], image_embeds))

    def _region_features(self, patches, pixel_values, image_index, object_boxes, object_mask) -> torch.Tensor:
        """What lies in the boxes: (batch, num_objects, hidden_size); of any value where a pair has no picture."""
        rows, columns = patch_grid(self.config.vision_config, pixel_values, patches.shape[1])
        if self.config.object_features == "roi":
            return pool_regions(patches[:, -rows * columns :], object_boxes, (rows, columns))
        # Pairs of one picture share its objects: each distinct crop is encoded once.
        shown = (object_mask > 0) & (image_index >= 0)[:, None]
        pictures = image_index[:, None].expand_as(shown)[shown]
        # Not in the boxes' own type: bfloat16 counts to 256 only.
        keys = torch.cat([pictures[:, None].float(), object_boxes[shown].float()], dim=1)
        distinct, place = keys.unique(dim=0, return_inverse=True)
        regions = patches.new_zeros(*object_mask.shape, patches.shape[-1])
        if len(distinct) == 0:
            return regions
        crops = crop_regions(pixel_values, distinct[:, 0].long(), distinct[:, 1:])
        crops = self.encode_pictures(crops)[:, -rows * columns :].mean(dim=1)
        return regions.masked_scatter(shown[..., None], crops.to(regions)[place])


class RelationEncoder(nn.Module):
    """
    Relation descriptions to vectors: the mean of a description's token vectors, less the mean of all (unless
    `config.center_descriptions` is off), a projection, L2 norm.

    Args:
        config ([`RocConfig`]). Without its `relation_config` descriptions go through the pair's text encoder, which is
            then given to every call.
        text_encoder: a loaded one, to be used as it is.
    """

    def __init__(self, config: RocConfig, text_encoder: nn.Module | None = None):
        super().__init__()
        self.config = config
        self.text_encoder = self.num_positions = None
        if config.relation_config is not None:
            self.text_encoder = make_encoder(config.relation_config, text_encoder)
            self.num_positions = num_positions(self.text_encoder)
        hidden_size = (config.relation_config or config.text_config).hidden_size
        self.projection = nn.Linear(hidden_size, config.projection_dim)
        self.register_buffer("center", torch.zeros(hidden_size))

    def forward(self, input_ids, attention_mask, text_encoder: nn.Module | None = None) -> torch.Tensor:
        """
        Args:
            input_ids, attention_mask (num, length): of the descriptions.
            text_encoder: the pair's, where the two share one.

        Returns:
            (num, projection_dim) of float32: unit vectors.
        """
        return self.project(self.mean_token_vectors(input_ids, attention_mask, text_encoder))

    def mean_token_vectors(self, input_ids, attention_mask, text_encoder: nn.Module | None = None) -> torch.Tensor:
        """Of each description, (num, hidden_size). Args: as for `forward`."""
        encoder = text_encoder if self.text_encoder is None else self.text_encoder
        mask = attention_mask.to(torch.long)
        states = encoder(input_ids=input_ids, attention_mask=mask).last_hidden_state
        return mean_token_vectors(states.to(mask.device), mask)

    def project(self, features: torch.Tensor) -> torch.Tensor:
        """Mean token vectors (num, hidden_size) to unit vectors (num, projection_dim) of float32."""
        with full_precision(features):
            texts = F.normalize(features - self.center.to(features.device), dim=-1)
            # The scale of a layer norm, so that the projection meets what a linear layer expects.
            centered = as_input_of(self.projection, texts * features.shape[-1] ** 0.5)
            return F.normalize(self.projection(centered).to(features.device).float(), dim=-1)

    def _apply(self, fn, recurse=True):
        # The mean goes where the model goes, and is not rounded with it.
        center = self.center
        super()._apply(fn, recurse)
        if not center.is_meta:
            self.center = center.to(self.center.device)
        return self


@dataclass
class RocOutput(ModelOutput):
    """
    Args:
        loss (scalar): InfoNCE (or cross-entropy for `objective="classification"`), where labels are given.
        logits (batch, num_relations): cosine / temperature over the relation memory, float32.
        pair_embeds (batch, projection_dim): unit vectors of the pairs, float32; `None` in classification.
        hidden_states: on request, the joint sequence before and after each fusion layer,
            (batch, text_length + num_objects + num_patches, hidden_size) each.
        attentions: on request, (batch, num_heads, length, length) for each fusion layer; empty, with a warning, where
            the attention implementation gives none (all but eager).
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
    _supports_flex_attn = True
    _can_record_outputs = {
        "hidden_states": [
            OutputRecorder(None, class_name="joint_sequence", capture_initial_hidden_state=False),
            OutputRecorder(BertLayer, layer_name="fusion", capture_initial_hidden_state=False),
        ],
        "attentions": [
            OutputRecorder(attention, index=1, layer_name="fusion")
            for attention in (BertSelfAttention, BertCrossAttention)
        ],
    }

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, RelationMemory):
            module.init_values()
        elif isinstance(module, RelationEncoder):
            init.zeros_(module.center)
        elif self.config.text_residual and isinstance(module, nn.Linear):
            if module is self.pair_encoder.correction:
                init.zeros_(module.weight)
            elif self.config.objective == "retrieval" and module in (
                self.pair_projection,
                self.relation_encoder.projection,
            ):
                init.eye_(module.weight)


class RocModel(RocPreTrainedModel):
    """
    Retrieval over Classification (EMNLP 2025, arXiv 2509.21151): a [`PairEncoder`], a [`RelationEncoder`], and the
    [`RelationMemory`] that holds the descriptions' vectors. The model encodes pairs, compares them with the memory,
    and takes the loss.

    In training the descriptions are encoded with gradient; otherwise they are encoded once, and again when the weights
    have moved. A relation may also be known by a few examples, as their mean pair vector; it holds for the weights
    that it was made with, and only for them.

    Args:
        config ([`RocConfig`]).
        text_encoder, vision_encoder, relation_text_encoder: loaded encoders; see `from_encoders_pretrained`.
    """

    def __init__(
        self,
        config: RocConfig,
        text_encoder: nn.Module | None = None,
        vision_encoder: nn.Module | None = None,
        relation_text_encoder: nn.Module | None = None,
    ):
        super().__init__(config)
        if config.fusion_encoder_config._attn_implementation is None:
            config.fusion_encoder_config._attn_implementation = config._attn_implementation
        hidden_size = config.text_config.hidden_size
        self.pair_encoder = PairEncoder(config, text_encoder, vision_encoder)
        if config.objective == "classification":
            self.classifier = nn.Linear(hidden_size, config.num_labels)
            self._keep_in_fp32_modules = ["classifier"]  # nor is it quantized
        else:
            self.pair_projection = nn.Linear(hidden_size, config.projection_dim)
            if config.learn_negative_threshold:
                self.negative_threshold = nn.Linear(hidden_size, 1)
                self._keep_in_fp32_modules = ["negative_threshold"]
            self.relation_encoder = RelationEncoder(config, relation_text_encoder)
            self.memory = RelationMemory(config)
            self._keep_in_fp32_modules_strict = ["memory.embeds", "memory.log_temperature", "relation_encoder.center"]
            # The config has them.
            self._keys_to_ignore_on_save = self._keys_to_ignore_on_load_missing = ["memory.relations"]
            self.register_load_state_dict_post_hook(_weights_were_loaded)
        # An object for as long as nothing is known to have moved the weights: see `refresh_memory`.
        self.weights_stamp = None
        self.post_init()

    @classmethod
    def from_encoders_pretrained(
        cls,
        text_model_name_or_path: str,
        vision_model_name_or_path: str | None = None,
        share_relation_encoder: bool = True,
        dtype: str | torch.dtype = torch.float32,
        **kwargs,
    ) -> "RocModel":
        """
        A ROC model on pretrained encoders; fusion, pair and projection layers are new.

        Args:
            text_model_name_or_path: text encoder, such as `bert-base-uncased`.
            vision_model_name_or_path: vision encoder, such as `google/vit-base-patch16-224-in21k`, or a CLIP model,
                of which the vision tower is taken. `None`: text-only.
            share_relation_encoder: whether descriptions go through the pair's text encoder; otherwise they get an
                encoder of their own, which starts from the same checkpoint.
            dtype: of the weights, the encoders' and the new ones; `"auto"`: that of the text encoder's checkpoint.
                `torch_dtype` means the same.
            kwargs: fields of [`RocConfig`] and `attn_implementation`; where the encoders come from, as for
                `from_pretrained` (`revision`, `token`, `cache_dir`, `local_files_only`, `trust_remote_code` ...); and
                with the prefix `text_` or `vision_` either of these for one encoder alone (`text_revision`), or a
                field of that encoder's configuration (`text_hidden_dropout_prob`).

        Raises:
            TypeError: naming an argument that is none of these.
            ValueError: naming the encoder, if it cannot serve, or its checkpoint lacks some of its weights; for an
                unknown `dtype`.
        """
        dtype = kwargs.pop("torch_dtype", dtype)
        if isinstance(dtype, str) and dtype != "auto":
            if not isinstance(getattr(torch, dtype, None), torch.dtype):
                raise ValueError(f"dtype {dtype!r} is none of torch's, nor 'auto'")
            dtype = getattr(torch, dtype)
        names = {field.name for field in fields(RocConfig)} - RocConfig.sub_configs_defaults.keys()
        names |= {"fusion_encoder_config", "attn_implementation"}
        settings = {name: kwargs.pop(name) for name in names & kwargs.keys()}
        source = {name: kwargs.pop(name) for name in SOURCE_ARGUMENTS & kwargs.keys()}
        parts = {}
        for prefix in ("text_", "vision_"):
            given = [name for name in kwargs if name.startswith(prefix) and name != prefix + "config"]
            parts[prefix] = {**source, **{name.removeprefix(prefix): kwargs.pop(name) for name in given}}
        if kwargs:
            raise TypeError(f"from_encoders_pretrained takes no {', '.join(sorted(kwargs))}")
        if vision_model_name_or_path is None and parts["vision_"] != source:
            raise TypeError("arguments with the prefix vision_ need vision_model_name_or_path")
        attention = settings.get("attn_implementation")
        text, lacking = load_encoder(text_model_name_or_path, None, parts["text_"], dtype, attention)
        dtype = text.dtype if dtype == "auto" else dtype
        loaded = [(text_model_name_or_path, text, lacking, text.config._attn_implementation)]
        vision = own = None
        if vision_model_name_or_path is not None:
            vision, lacking = load_encoder(
                vision_model_name_or_path, "vision_config", parts["vision_"], dtype, attention
            )
            loaded.append((vision_model_name_or_path, vision, lacking, vision.config._attn_implementation))
        if settings.get("objective", "retrieval") == "retrieval" and not share_relation_encoder:
            own = copy.deepcopy(text)
        config = RocConfig(
            text_config=text.config,
            vision_config=None if vision is None else vision.config,
            relation_config=None if share_relation_encoder else text.config.to_dict(),
            **settings,
        )
        model = cls(config, text, vision, own).to(dtype)
        for name, encoder, lacking, implementation in loaded:
            # Those of a head that is not used may be missing.
            if lacking := sorted(lacking & encoder.state_dict().keys()):
                raise ValueError(
                    f"{name} has no weights for {len(lacking)} parts of {type(encoder).__name__}, such as {lacking[0]}"
                )
            # A config forgets that of its parts, which a new encoder would choose when it is built.
            encoder.config._attn_implementation = implementation
        return model

    @property
    def device(self) -> torch.device:
        """Where inputs go. Offloaded parameters lie nowhere until they are used: there it is where they are used."""
        device, hook = super().device, getattr(self, "_hf_hook", None)
        return device if device.type != "meta" or hook is None else torch.device(hook.execution_device)

    def set_attn_implementation(self, attn_implementation, *args, **kwargs):
        """As in transformers; the fusion layers, which are no model of their own there, follow without a warning."""
        fusion = self.config.fusion_encoder_config
        before = fusion._attn_implementation
        is_of_parts = isinstance(attn_implementation, dict)
        wanted = attn_implementation.get("fusion_encoder_config", before) if is_of_parts else attn_implementation
        fusion._attn_implementation = wanted
        try:
            super().set_attn_implementation(attn_implementation, *args, **kwargs)
        except (ImportError, ValueError):
            fusion._attn_implementation = before
            raise

    def get_input_embeddings(self):
        return self.pair_encoder.text_encoder.get_input_embeddings()

    def set_input_embeddings(self, value):
        self.pair_encoder.text_encoder.set_input_embeddings(value)

    @capture_outputs
    def forward(
        self,
        input_ids: torch.Tensor,
        head_index: torch.Tensor,
        tail_index: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        head_span: torch.Tensor | None = None,
        tail_span: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        image_index: torch.Tensor | None = None,
        object_boxes: torch.Tensor | None = None,
        object_mask: torch.Tensor | None = None,
        image_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        relation_features: Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor] | None = None,
        relation_memory: RelationMemory | None = None,
        relation_mask: torch.Tensor | None = None,
        **kwargs,
    ) -> RocOutput:
        r"""
        Args:
            input_ids (batch, text_length): text with markers and type prompts.
            head_index, tail_index (batch,): place of the entity in the joint sequence [text; objects; patches]; below
                text_length it is the mention's start marker, from there on an object.
            attention_mask (batch, text_length): 1 for a token, 0 for padding. Default: all 1.
            head_span, tail_span (batch, 2): [start, end) of the mention's own tokens, or the object's, in the joint
                sequence.
            pixel_values (num_images, 3, height, width): **each distinct picture once**.
            image_index (batch,): row of pixel_values, -1 where a pair has no picture.
            object_boxes (batch, num_objects, 4): corners x0, y0, x1, y1 of the picture's objects, as fractions of what
                pixel_values show, 0 to 1.
            object_mask (batch, num_objects): 1 for an object, 0 for padding. Default: all 1.
            image_embeds (num_images, num_patches, vision_hidden_size): what `pair_encoder.vision_encoder` made of
                pixel_values, where it is known already: they are then not encoded again.
            labels (batch,): index into the relations, -100 where unknown.
            num_items_in_batch: labelled pairs of the whole optimizer step; see [`info_nce`].
            relation_features: in training, what gives the mean token vectors (num_descriptions, hidden_size) of the
                memory's descriptions for pair_embeds (batch, projection_dim) and labels. Default: all descriptions are
                encoded, with gradient. Training is a call in training mode with gradients enabled;
                `config.relation_offsets` take no part in it.
            relation_memory: other relations to compare with in this call, from [`RocModel.make_relation_memory`].
            relation_mask (batch, num_relations) of bool: which relations a pair's are chosen among, in loss and
                logits; the others' logits are the lowest number of their type. Default: all.

        Returns:
            [`RocOutput`].

        Raises:
            ValueError: for a model that has no relations yet, inputs that are missing or as [`PairEncoder`] refuses
                them, pictures or objects that do not fit the model, training with relations that are known by
                examples, or of a learned threshold where no relation is the negative one.
            RuntimeError: if relations' examples were encoded with other weights; see `refresh_memory`.
            TypeError: for an unknown argument.
        """
        if unknown := kwargs.keys() - RECORDED:
            raise TypeError(f"RocModel takes no {', '.join(sorted(unknown))}")
        if not self.config.has_relations:
            raise ValueError(
                "the model has no relations yet: call model.set_relations({label: description}, processor)"
            )
        self._check_trainable()
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        vectors = self.pair_encoder(
            input_ids,
            attention_mask,
            head_index,
            tail_index,
            head_span=head_span,
            tail_span=tail_span,
            pixel_values=pixel_values,
            image_index=image_index,
            object_boxes=object_boxes,
            object_mask=object_mask,
            image_embeds=image_embeds,
            read_all=any(kwargs.get(name, getattr(self.config, name, False)) for name in RECORDED),
        )
        pair_embeds = None
        if self.config.objective == "classification":
            if relation_memory is not None:
                raise ValueError('a model with objective="classification" takes no relation_memory')
            logits = self.classify(vectors)
        else:
            logits, pair_embeds = self.compare(vectors, relation_memory, relation_features, labels)
        if relation_mask is not None:
            logits = logits.masked_fill(~relation_mask.to(logits.device), torch.finfo(logits.dtype).min)
        loss = None if labels is None else info_nce(logits, labels, num_items_in_batch)
        return RocOutput(loss=loss, logits=logits, pair_embeds=pair_embeds)

    # ---- comparing pairs with the memory

    def classify(self, vectors: torch.Tensor) -> torch.Tensor:
        """Pair vectors (batch, hidden_size) to logits (batch, num_relations), for `objective="classification"`."""
        with full_precision(vectors):
            return self.classifier(as_input_of(self.classifier, vectors)).to(vectors.device).float()

    def compare(
        self,
        vectors: torch.Tensor,
        relation_memory: RelationMemory | None = None,
        relation_features: Callable | None = None,
        labels: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Compares pairs with the relation memory.

        Args:
            vectors (batch, hidden_size): of the pairs, from the [`PairEncoder`].
            relation_memory, relation_features, labels: as for [`RocModel.forward`].

        Returns:
            logits (batch, num_relations): cosine / temperature; with `config.learn_negative_threshold`, the negative
            relation's is the pair's own threshold. pair_embeds (batch, projection_dim): unit vectors. Both float32,
            under autocast too.
        """
        memory = copy_in_force(self.memory) if relation_memory is None else relation_memory
        learns = self._learns()
        encodes = learns and relation_memory is None
        if not encodes:
            self.refresh_memory(memory)  # before all else: torch.compile leaves it out, and breaks its graph once
        pair_embeds = self.embed_pairs(vectors)
        embeds = memory.embeds
        if learns:
            self.weights_stamp = None  # an optimizer's step is about to follow
            copy_in_force(self.memory).features = None  # the projection learns with the center as it is
        if encodes:
            memory.check_texts()
            if relation_features is None:
                features = self.description_features(memory.input_ids)
            else:
                features = relation_features(pair_embeds, labels)
            embeds = self.relation_encoder.project(features)
        with full_precision(vectors):
            threshold = self.learned_threshold(vectors, memory)
            offsets = None if learns else self.config.relation_offsets
            logits = memory(pair_embeds, embeds, threshold, offsets).to(vectors.device)
        return logits, pair_embeds

    def _learns(self) -> bool:
        """Whether a call is a training step's; one in training mode without gradient is an answer with dropout."""
        return self.training and torch.is_grad_enabled()

    def learned_threshold(self, vectors: torch.Tensor, relation_memory: RelationMemory) -> torch.Tensor | None:
        """The negative relation's logits (batch, 1) of float32, where `config.learn_negative_threshold` is set."""
        if not self.config.learn_negative_threshold or relation_memory.config.negative_relation is None:
            return None
        with full_precision(vectors):
            threshold = self.negative_threshold(as_input_of(self.negative_threshold, vectors))
            return threshold.to(vectors.device).float()

    def embed_pairs(self, vectors: torch.Tensor) -> torch.Tensor:
        """Pair vectors (batch, hidden_size) to unit vectors (batch, projection_dim) of float32."""
        with full_precision(vectors):
            projected = self.pair_projection(as_input_of(self.pair_projection, vectors))
            return F.normalize(projected.to(vectors.device).float(), dim=-1)

    def encode_pairs(self, **inputs) -> torch.Tensor:
        """
        Unit vectors of pairs, without gradient, dropout and autocast.

        Args:
            inputs: what the processor returns.

        Returns:
            (batch, projection_dim) of float32.
        """
        inputs = {name: value.to(self.device) for name, value in inputs.items() if name != "labels"}
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(self.dtype)
        if inputs.get("attention_mask") is None:
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        self._check_trainable()
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            evaluating(self),
            full_precision(inputs["input_ids"]),
        ):
            return self.embed_pairs(self.pair_encoder(**inputs))

    def get_relation_features(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """
        Unit vectors of relation descriptions, to compare with [`RocModel.encode_pairs`].

        Args:
            input_ids, attention_mask (num, length): `relation_input_ids` and `relation_attention_mask` as the
                processor returns them.

        Returns:
            (num, projection_dim) of float32.
        """
        copy_in_force(self.memory).features = None  # they are compared with others of this center
        return self.relation_encoder(input_ids, attention_mask, self.pair_encoder.text_encoder)

    def description_cosines(
        self, pair_embeds: torch.Tensor, relation_memory: RelationMemory | None = None
    ) -> torch.Tensor:
        """
        How well each description in the memory, and the mean of each relation's examples, fits a pair.

        Args:
            pair_embeds (batch, projection_dim): from [`RocOutput`].
            relation_memory: as for [`RocModel.forward`].

        Returns:
            (batch, num_rows) of float32; [`RelationMemory.rows_of`] tells which are a relation's.
        """
        memory = copy_in_force(self.memory) if relation_memory is None else relation_memory
        self.refresh_memory(memory)
        with full_precision(pair_embeds):
            return pair_embeds @ memory.embeds.T.to(pair_embeds.device)

    # ---- keeping the memory true

    def refresh_memory(self, relation_memory: RelationMemory | None = None):
        """
        Encodes the descriptions anew if the memory is not what the weights give. Every public way to an answer, and
        every saved checkpoint, goes through here.

        A glance at the weights (where they lie, their versions, an element of each) tells whether they may have moved;
        if so, or after a training step, a load, or a change of type or device, a checksum of their content decides. On
        an accelerator the elements are not looked at, as it would have to be waited for: who writes there past a
        tensor's version (through `.data`) between two answers calls `model.eval()`.

        Args:
            relation_memory: one from `make_relation_memory`. Default: the model's own.

        Raises:
            RuntimeError: if the descriptions in the config are not those that the memory's token ids were made from;
                or naming the relations whose examples were encoded with other weights than the model has now: it was
                trained since, or loaded in another `dtype`, or an adapter was switched. Examples are not kept, and
                cannot be encoded anew; within `torch.export`, if the memory was not refreshed since the last event;
                for a model opened with `offload_buffers=True`.
        """
        if not torch.compiler.is_exporting():
            return refresh_memory(self, relation_memory)
        seen = (copy_in_force(self.memory) if relation_memory is None else relation_memory).seen
        if seen is None or seen[0] is not self.weights_stamp:
            raise RuntimeError("an exported model cannot encode descriptions anew: call model.refresh_memory() first")

    def description_features(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Mean token vectors (num, hidden_size) of rows (num, length) of `memory.input_ids`, as the mode has them."""
        memory = copy_in_force(self.memory)
        is_all = input_ids is memory.input_ids  # for which a device is waited for once
        lengths = memory.lengths() if is_all else (input_ids >= 0).sum(dim=1).tolist()
        order, size = list(range(len(lengths))), len(lengths)
        if on_cpu(input_ids):  # elsewhere one more pass costs more than padding
            order, size = sorted(order, key=lengths.__getitem__), DESCRIPTIONS_PASS
        features = []
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            ids = input_ids[rows, : max(lengths[row] for row in rows)]
            features.append(
                self.relation_encoder.mean_token_vectors(
                    ids.clamp(min=0).long(), ids >= 0, self.pair_encoder.text_encoder
                )
            )
        places = sorted(range(len(order)), key=order.__getitem__)
        return torch.cat(features)[places]

    def train(self, mode: bool = True):
        self.weights_stamp = None
        return super().train(mode)

    def _apply(self, fn, recurse=True):
        self.weights_stamp = None
        return super()._apply(fn, recurse)

    def _check_trainable(self):
        """Refuses to train where relations' examples would be stale after a step, or a threshold learn nothing."""
        if not self._learns() or self.config.objective != "retrieval":
            return
        config = copy_in_force(self.memory).config
        if labels := example_labels(config):
            raise ValueError(
                f"training changes the weights that the examples of {', '.join(map(repr, labels))} were encoded "
                "with: take these relations out first by model.remove_relation(label, processor), and add them "
                "after it"
            )
        if config.learn_negative_threshold and config.negative_relation is None:
            raise ValueError(
                "learn_negative_threshold is set, but no relation is the negative one, whose score the threshold is: "
                "name it by negative_relation"
            )

    def save_pretrained(self, save_directory, *args, state_dict=None, **kwargs):
        """
        As in transformers; the memory that is saved is the one that the saved weights give, or is marked as not.

        Raises:
            RuntimeError: as `refresh_memory` does.
        """
        retrieves = self.config.objective == "retrieval" and copy_in_force(self.memory).has_texts()
        # One process saves; sharded weights would need all. A sharded memory is marked already.
        if retrieves and not any(map(is_sharded, self.parameters())):
            self.refresh_memory()
            if state_dict is not None:
                live, memory = self.state_dict(), self.memory.state_dict(prefix="memory.")
                own = {name: tensor for name, tensor in state_dict.items() if name not in memory}
                if any(tensor.data_ptr() != live[name].data_ptr() for name, tensor in own.items() if name in live):
                    # Weights of elsewhere, an average say: whoever loads them encodes the descriptions anew.
                    for name in ("memory.proof", "memory.examples_proof"):
                        if name in memory:
                            memory[name] = torch.zeros_like(memory[name])
                state_dict = {**own, **memory}
        sharding = type(self)
        # FSDP2 makes a class of its own, whose code and name would be saved in place of this one's.
        self.__class__ = next(kind for kind in sharding.__mro__ if not hasattr(kind, "unshard"))
        try:
            return super().save_pretrained(save_directory, *args, state_dict=state_dict, **kwargs)
        finally:
            self.__class__ = sharding

    def load_adapter(self, peft_model_id=None, adapter_name=None, **kwargs):
        """As in transformers, for `AutoModel.from_pretrained` with an adapter's name; its relations may be others."""
        return load_adapter(self, super().load_adapter, peft_model_id, adapter_name, **kwargs)

    # ---- the relation set

    def set_relations(self, relations: dict[str, str | list[str]], processor, negative_relation: str | None = None):
        """
        Replaces the relation set: `id2label`, `label2id`, config and memory follow, nothing is trained. Descriptions
        that are in the memory already are not encoded again; examples go with the set that they belong to. The mean
        that is taken off every description's vector (`config.center_descriptions`) is that of all descriptions that
        a model has, in whatever order they came, when it is first asked, trained or saved, and stays from then on.
        `config.abstention_threshold` was chosen for the relations that
        were there, and is forgotten with them; so are offsets and types of those that are there no longer.

        Args:
            relations: label → its description or descriptions.
            processor: the model's [`RocProcessor`], which tokenises the descriptions.
            negative_relation: the label that means "no relation". Default: `config.negative_relation` if it is among
                the relations.

        Raises:
            ValueError: for an empty set, an empty label or description, one text for two relations, or two that the
                tokenizer reads as one (nothing could tell them apart), a `negative_relation` that is not in the set, a
                model with `objective="classification"`, or a processor whose `max_length` is beyond an encoder's
                positions.
        """
        self._replace_relations(relations, processor, negative_relation)

    def add_relation(
        self,
        label: str,
        descriptions: str | list[str] | None = None,
        processor=None,
        negative: bool = False,
        examples: list[dict] | None = None,
    ):
        """
        Adds one relation, described or shown by examples or both, to be retrieved at once; the others stay as they
        are. See [`RocModel.set_relations`].

        Args:
            label: the relation's label. One that is there already takes examples alone, beside its descriptions.
            descriptions: its description or descriptions; may be left out where there are examples.
            processor: the model's [`RocProcessor`], which prepares both.
            negative: whether the label means "no relation".
            examples: 1 to 16 pairs that have the relation, each a dict with `text`, `head` and `tail`, and optionally
                `image` (a PIL picture, a path or the bytes of a picture file) and `objects`, as the processor takes
                them. The normalized mean of their pair vectors stands beside the descriptions' vectors, as if it were
                one more (Snell et al., Prototypical Networks for Few-shot Learning, NeurIPS 2017). It is right for the
                weights as they are now, and for no others: add examples after training.

        Raises:
            ValueError: if the label is there already, and has examples or is given descriptions; if neither
                descriptions nor examples are given, or no processor; for examples that are not as above, naming the
                relation and the example's number from 0; for examples of a negative relation that is scored by a
                learned threshold.
        """
        self._refuse_fixed_set()
        relations, kept = self.config.relation_descriptions, self.config.relation_examples
        if label in relations and (descriptions is not None or label in kept):
            raise ValueError(f"relation {label!r} is there already; remove it first")
        if descriptions is None and examples is None:
            raise ValueError(f"relation {label!r} needs descriptions, or examples, or both")
        if processor is None:
            raise ValueError(f"relation {label!r}: give the model's processor, which prepares what describes it")
        all_examples = dict.fromkeys(kept)
        if examples is not None:
            negative = negative or label == self.config.negative_relation
            if negative and self.config.learn_negative_threshold:
                raise ValueError(f"relation {label!r} is scored by a learned threshold, and not by examples")
            columns = read_examples(label, examples)
            try:
                all_examples[label] = self.encode_pairs(**processor(**columns, return_tensors="pt"))
            except (TypeError, ValueError) as error:
                raise ValueError(f"relation {label!r}: {error}") from error
        texts = relations.get(label, []) if descriptions is None else descriptions
        self._replace_relations({**relations, label: texts}, processor, label if negative else None, all_examples)

    def remove_relation(self, label: str, processor):
        """
        Takes one relation out; the others stay as they are. See [`RocModel.set_relations`].

        Raises:
            ValueError: if there is no such relation, or for a model with `objective="classification"`.
        """
        self._refuse_fixed_set()
        if label not in self.config.relation_descriptions:
            raise ValueError(f"no relation {label!r}; there are {', '.join(self.config.relation_descriptions)}")
        rest = {name: texts for name, texts in self.config.relation_descriptions.items() if name != label}
        kept = dict.fromkeys(name for name in self.config.relation_examples if name != label)
        self._replace_relations(rest, processor, examples=kept)

    def make_relation_memory(
        self, relations: dict[str, str | list[str]], processor, negative_relation: str | None = None
    ) -> RelationMemory:
        """
        A memory of another relation set, to be given to [`RocModel.forward`]: its answers are those that the model
        would give after [`RocModel.set_relations`], and the model stays as it is. Descriptions that are in the model's
        own memory already are not encoded again.

        Args, Raises: as for `set_relations`; ValueError also for a model that has no relations of its own yet.
        """
        self._refuse_fixed_set()
        if not self.config.has_relations:
            raise ValueError("the model has no relations of its own yet: call model.set_relations first")
        self.check_processor(processor)
        return make_memory(self, relations, processor, negative_relation)

    def check_processor(self, processor):
        """
        Args:
            processor: the [`RocProcessor`] that is to prepare texts for this model.

        Raises:
            ValueError: if it lets through texts that are longer than an encoder's positions.
        """
        encoders = {"text": self.pair_encoder.num_positions}
        if self.config.objective == "retrieval":
            encoders["relation"] = self.relation_encoder.num_positions
        for name, number in encoders.items():
            if number is not None and (getattr(processor, "max_length", None) or 0) > number:
                raise ValueError(
                    f"the processor cuts texts at max_length={processor.max_length} tokens, but the {name} encoder "
                    f"has positions for {number}: give it max_length={number}"
                )

    def _refuse_fixed_set(self):
        if self.config.objective != "retrieval":
            raise ValueError('a model with objective="classification" has a fixed set of relations')
        follow_adapter(self)

    def _replace_relations(self, relations, processor, negative_relation=None, examples=None):
        """`set_relations`, with examples as `make_memory` takes them."""
        self._refuse_fixed_set()
        self.check_processor(processor)
        memory = make_memory(self, relations, processor, negative_relation, examples, decide_center=True)
        # Nothing has been replaced so far: what was refused above leaves the model as it was.
        for name in RELATION_FIELDS:
            setattr(self.config, name, getattr(memory.config, name))
        memory.config = self.config
        replace_copy_in_force(self, "memory", memory)

    def set_relation_offsets(self, offsets: dict[str, float] | None):
        """
        Adds something to relations' logits from now on: relations that were never trained on score on another scale
        than those that were. Kept in the config.

        Args:
            offsets: label → what is added, in units of the logits; 0 where left out. `None` takes all away.

        Raises:
            ValueError: naming a label that is not among the relations, or is the negative one with a learned
                threshold, or has a value that is not a finite number; or for a classification model.
        """
        self._refuse_fixed_set()
        described = described_relations(self.config)
        for label in offsets or {}:
            if label not in described:
                raise ValueError(f"no relation {label!r} that is retrieved by its descriptions")
        self.config.relation_offsets = offsets or None

    def set_relation_types(self, types: Mapping[str, Sequence] | None):
        """
        Says which types of head and tail the relations ask for; kept in the config.

        Args:
            types: label → [head type, tail type], each a word, a list of words, or `None` for any type; or a list of
                such pairs, any of which may fit, with lists in them: `[[["person"], ["team"]], [["team"],
                ["person"]]]`. [`types_from_labels`] reads them off labels such as MNRE's. A relation that is left out
                takes every pair. `None` takes all types away.

        Raises:
            ValueError: naming the label, if there is no such relation or its types are not as above.
        """
        if self.config.objective == "retrieval":
            follow_adapter(self)
        types = None if types is None else read_types(types)
        check_known("relation_types", types or {}, self.config.label2id)
        self.config.relation_types = types

    def type_mask(
        self, types: Sequence[tuple[str | None, str | None]], relation_memory: RelationMemory | None = None
    ) -> torch.Tensor:
        """
        Which relations can hold between entities of the given types: put -inf at the others' logits, and they get no
        probability.

        Args:
            types: the (head type, tail type) of each pair, as a tagger or a person gave them. `None` and `"unknown"`
                fit every relation; case does not matter.
            relation_memory: as for [`RocModel.forward`].

        Returns:
            (batch, num_relations) of bool. The negative relation fits every pair unless types are set for it.

        Raises:
            ValueError: naming the pair by its number from 0, if what is given for it is not two words or `None`.
        """
        return type_mask(self, types, relation_memory)

    # ---- searching and explaining

    def search(
        self,
        k: int = 10,
        types: Sequence[tuple[str | None, str | None]] | None = None,
        index: str | None = None,
        relation_memory: RelationMemory | None = None,
        **inputs,
    ) -> RelationHits:
        """
        The k best relations of each pair: what [`RocModel.forward`] and `topk` give, without logits for all relations.

        Args:
            k: how many, 1 or more; no more than there are relations.
            types: the (head type, tail type) of each pair, to search only the relations that take them; see
                `set_relation_types` and `type_mask`. Default: all relations are searched.
            index: `None` for an exact matrix product on the model's device. `"faiss"` for a flat index of faiss,
                which is exact too, and `"faiss:HNSW32"` or any other of its factory strings; it is built at the first
                search, and again when the memory has changed.
            relation_memory: other relations to search, from [`RocModel.make_relation_memory`].
            inputs: what the processor returns.

        Returns:
            [`RelationHits`].

        Raises:
            ValueError: for a classification model or one without relations, a k below 1, types that are not one
                (head type, tail type) a pair, or an index that is unknown or that faiss cannot make of this memory.
            RuntimeError: as for `refresh_memory`.
            ImportError: with the line that installs faiss.
        """
        return search(self, k, types, index, relation_memory, **inputs)

    def get_saliency(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        blank_input_ids: torch.Tensor,
        targets: torch.Tensor,
        num_steps: int = 32,
        batch_size: int = 8,
        relation_memory: RelationMemory | None = None,
        **pair,
    ) -> Saliency:
        """What in each pair speaks for a relation: see [`integrated_gradients`]."""
        return integrated_gradients(
            self, input_ids, attention_mask, blank_input_ids, targets, num_steps, batch_size, relation_memory, **pair
        )


def info_nce(
    logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
) -> torch.Tensor:
    """
    InfoNCE with the relation memory as candidates: -log exp(s_y / t) / sum_r exp(s_r / t) (paper, contrastive
    objective). All relations are candidates for every pair, so negatives need not be gathered across processes.

    Args:
        logits: (batch, num_relations) of float32, already divided by the temperature.
        labels: (batch,) of int64; -100 is left out.
        num_items_in_batch: labelled pairs in the whole optimizer step. The sum of losses is divided by it, which
            makes accumulated micro-batches of unequal size exact. Default: the mean over this batch.

    Returns:
        A scalar; 0 where no pair is labelled.
    """
    total = F.cross_entropy(logits, labels, ignore_index=-100, reduction="sum")
    if num_items_in_batch is None:
        num_items_in_batch = (labels != -100).sum()
    return total / torch.as_tensor(num_items_in_batch, device=total.device).clamp(min=1)


def object_roles(
    head_index: torch.Tensor, tail_index: torch.Tensor, text_length: int, num_objects: int
) -> torch.Tensor:
    """Places in `ROLES` of the objects behind a text of `text_length`: (batch,), (batch,) → (batch, num_objects)."""
    places = torch.arange(text_length, text_length + num_objects, device=head_index.device)
    is_head, is_tail = (places == index[:, None] for index in (head_index, tail_index))
    return is_head * ROLES.index("head") + is_tail * ROLES.index("tail")


def patch_grid(vision_config, pixel_values: torch.Tensor, num_patches: int) -> tuple[int, int]:
    """Rows and columns of the patches, which stand at the end of the vision encoder's sequence."""
    size = getattr(vision_config, "patch_size", None) or 1
    size = (size, size) if isinstance(size, int) else size
    rows, columns = pixel_values.shape[-2] // size[0], pixel_values.shape[-1] // size[1]
    if rows * columns > num_patches:
        raise ValueError(
            f"objects need a vision encoder with a vector for each patch: there are {rows} × {columns} patches, "
            f"but {num_patches} vectors"
        )
    return rows, columns


def pool_regions(patches: torch.Tensor, boxes: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """
    RoI pooling with sub-patch accuracy: the mean of the patches that a box covers, each weighted with the area of it
    that the box covers. A box on exactly one patch gives that patch.

    Args:
        patches (batch, rows * columns, dim): features of the patch grid, row by row.
        boxes (batch, num_objects, 4): corners x0, y0, x1, y1 as fractions of the picture, 0 to 1, not empty.
        grid: (rows, columns) of patches.

    Returns:
        (batch, num_objects, dim), of the patches' type.
    """
    rows = _overlap(boxes[..., 1], boxes[..., 3], grid[0])
    columns = _overlap(boxes[..., 0], boxes[..., 2], grid[1])
    weights = (rows[..., :, None] * columns[..., None, :]).flatten(-2)
    return weights.to(patches.dtype) @ patches


def _overlap(low: torch.Tensor, high: torch.Tensor, count: int) -> torch.Tensor:
    """Shares of the interval [low, high] that lie in each of `count` equal parts of [0, 1]: (...) → (..., count)."""
    edges = torch.arange(count, device=low.device)
    low, high = low[..., None] * count, high[..., None] * count
    covered = (torch.minimum(high, edges + 1) - torch.maximum(low, edges)).clamp(min=0)
    return covered / covered.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(covered.dtype).tiny)


def crop_regions(pixel_values: torch.Tensor, image_index: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """
    Boxes cut out of pictures and enlarged to their size, bilinearly.

    Args:
        pixel_values (num_images, 3, height, width).
        image_index (num_boxes,): row of pixel_values.
        boxes (num_boxes, 4): corners as fractions.

    Returns:
        (num_boxes, 3, height, width).
    """
    scale, center = boxes[:, 2:] - boxes[:, :2], boxes[:, :2] + boxes[:, 2:] - 1
    zeros = torch.zeros_like(scale[:, 0])
    theta = torch.stack(
        [
            torch.stack([scale[:, 0], zeros, center[:, 0]], dim=-1),
            torch.stack([zeros, scale[:, 1], center[:, 1]], dim=-1),
        ],
        dim=1,
    ).to(pixel_values.dtype)
    grid = F.affine_grid(theta, [len(boxes), *pixel_values.shape[1:]], align_corners=False)
    return F.grid_sample(pixel_values[image_index], grid, padding_mode="border", align_corners=False)


def mean_token_vectors(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(batch, hidden_size), of states (batch, length, hidden_size) where the mask (batch, length) has 1."""
    mask = mask.to(torch.long)
    return (states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)


def _edges(place: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Starts and ends (batch,) of places (batch,), or of spans (batch, 2)."""
    return place.unbind(dim=1) if place.dim() == 2 else (place, place + 1)


def check_places(mask: torch.Tensor, places: dict[str, torch.Tensor]):
    """
    Args:
        mask (batch, length): of the joint sequence, or what of it places may lie in.
        places: name → places in it (batch,), or spans [start, end) of it (batch, 2).

    Raises:
        ValueError: naming the first row whose place lies outside its own tokens and objects, or whose span is empty.
    """
    if torch.compiler.is_compiling():
        return
    before = F.pad((mask > 0).long().cumsum(dim=1), (1, 0))
    fits = []
    for place in places.values():
        start, end = _edges(place)
        kept = [before.gather(1, edge.clamp(0, mask.shape[1])[:, None])[:, 0] for edge in (start, end)]
        # What lies outside, or on padding, has fewer tokens than places.
        fits.append((start < end) & (kept[1] - kept[0] == end - start))
    if not (fits := torch.stack(fits)).all():
        number, row = (~fits).nonzero()[0].tolist()
        name = list(places)[number]
        raise ValueError(
            f"{name}[{row}] is {places[name][row].tolist()}, which is not within the row's {int(mask[row].sum())} "
            "tokens and objects"
        )


def num_positions(encoder: nn.Module) -> int | None:
    """How many tokens a text may have for an encoder whose positions are a table; else None."""
    for name, module in encoder.named_modules():
        if isinstance(module, nn.Embedding) and "position_embedding" in name.rpartition(".")[2]:
            # Tables of RoBERTa's kind begin behind the padding token's number.
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return None


def make_encoder(config, loaded: nn.Module | None = None, patches: str | None = None) -> nn.Module:
    """
    An encoder as `config` describes it, or the loaded one, without heads that its token vectors do not come from: they
    would be saved and run, and have no gradient. `config.idle_modules` keeps their names.

    Raises:
        ValueError: naming the encoder, if it is tried and cannot serve: see `try_encoder`.
    """
    encoder = AutoModel.from_config(config) if loaded is None else loaded
    idle = getattr(config, "idle_modules", ["pooler"])
    # Weights that are still to come (from a checkpoint, another process) were tried when it was made.
    weights = encoder.parameters()
    if all(type(one) is nn.Parameter and one.numel() and not (one.is_meta or one.is_inference()) for one in weights):
        idle = try_encoder(encoder, patches)
    _replace(encoder, {name: nn.Identity() for name in idle})
    config.idle_modules = idle
    return encoder


def _replace(encoder: nn.Module, parts: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """Puts other parts into an encoder, of those that it has; returns the old ones."""
    old = {name: getattr(encoder, name, None) for name in parts}
    old = {name: part for name, part in old.items() if isinstance(part, nn.Module)}
    for name in old:
        setattr(encoder, name, parts[name])
    return old


def load_encoder(
    name: str, tower: str | None, settings: dict, dtype: str | torch.dtype, attention: str | None
) -> tuple[nn.Module, set[str]]:
    """
    A pretrained encoder.

    Args:
        tower: the field of a configuration of several parts that describes the encoder.
        settings: `SOURCE_ARGUMENTS`, and fields of its configuration.

    Returns:
        The encoder; the names of its weights that the checkpoint lacks.
    """
    source = {field: settings[field] for field in SOURCE_ARGUMENTS & settings.keys()}
    config = AutoConfig.from_pretrained(name, **source)
    config = getattr(config, tower or "", None) or config
    for field, value in settings.items():
        if field in source:
            continue
        if field == "dtype" or not hasattr(config, field):
            raise TypeError(f"the encoder {name} ({config.model_type}) takes no {field}")
        setattr(config, field, value)
    encoder, info = AutoModel.from_pretrained(
        name, config=config, dtype=dtype, attn_implementation=attention, output_loading_info=True, **source
    )
    return encoder, set(info["missing_keys"])


def try_encoder(encoder: nn.Module, patches: str | None = None) -> list[str]:
    """
    Tries an encoder on a tiny input.

    Args:
        patches: what a vision encoder must give vectors of: patches `"of any kind"`, or `"with a grid"`, one for each
            `patch_size` pixels. `None`: it is a text encoder.

    Returns:
        The names of its parts that its token vectors do not depend on.

    Raises:
        ValueError: naming the encoder, if it does not give (batch, length, hidden_size) for a text of that length or
            for a picture, gives other vectors when asked again, has no vector for each patch where objects are to be
            pooled from them, or reads a text from one end only.
    """
    config = encoder.config

    def refuse(reason):
        kind = "vision" if patches else "text"
        return ValueError(f"{type(encoder).__name__} ({config.model_type}) cannot be the {kind} encoder: {reason}")

    if patches:
        size = getattr(config, "image_size", None) or 224
        rows, columns = (size, size) if isinstance(size, int) else size
        pictures = torch.linspace(-1, 1, 6 * rows * columns).view(2, 3, rows, columns)
        inputs = {"pixel_values": pictures.to(encoder.dtype)}
    else:
        # Two texts that have their first token in common, and nothing else.
        length = min(8, num_positions(encoder) or 8)
        ids = torch.arange(2 * length) % config.vocab_size
        ids[length] = ids[0]
        inputs = {"input_ids": ids.view(2, length), "attention_mask": torch.ones(2, length, dtype=torch.long)}
    inputs = {name: value.to(encoder.device) for name, value in inputs.items()}
    frozen = [one for one in encoder.parameters() if one.is_floating_point() and not one.requires_grad]
    attention = config._attn_implementation
    try:
        if attention not in ("eager", "sdpa"):
            config._attn_implementation = "eager"  # others may ask for a device where the weights are not yet
        with torch.inference_mode(False), evaluating(encoder):
            with torch.enable_grad():
                for parameter in frozen:
                    parameter.requires_grad_(True)
                states = encoder(**inputs).last_hidden_state

            def answers_as_before() -> bool:
                try:
                    again = encoder(**{name: value[:1] for name, value in inputs.items()}).last_hidden_state
                    return torch.allclose(states[:1], again, atol=1e-2 * states.abs().max().item())
                except Exception:  # as a part that is needed may answer to its own arguments only
                    return False

            used = _parameters_behind(states)
            parts = ((name, list(part.parameters())) for name, part in encoder.named_children())
            idle = [name for name, own in parts if own and used.isdisjoint(map(id, own))]
            with torch.no_grad():
                parts = _replace(encoder, {name: nn.Identity() for name in idle})
                same = answers_as_before()
                _replace(encoder, parts)
                if not same and idle:  # gradients may be kept from a part that is used
                    idle, same = [], answers_as_before()
    except Exception as error:
        raise refuse(f"{type(error).__name__}: {error}") from error
    finally:
        config._attn_implementation = attention
        for parameter in frozen:
            parameter.requires_grad_(False)
    shape = tuple(states.shape)
    if shape != (2, shape[1] if patches else length, config.hidden_size):
        what = "num_patches" if patches else "text_length"
        raise refuse(f"its last_hidden_state is {shape}, and not (batch, {what}, {config.hidden_size})")
    if not same:
        raise refuse("it gives other vectors for the same input when it is asked again")
    if patches == "with a grid":
        try:
            patch_grid(config, inputs["pixel_values"], shape[1])
        except ValueError as error:
            raise refuse(str(error)) from error
    if not patches and length > 1 and torch.equal(states[0, 0], states[1, 0]):
        raise refuse(
            "a token's vector knows nothing of the tokens after it; an encoder that reads both ways is needed"
        )
    return idle


def _parameters_behind(tensor: torch.Tensor) -> set[int]:
    """The ids of the parameters that a tensor was computed from."""
    nodes, seen, found = [tensor.grad_fn], set(), set()
    while nodes:
        node = nodes.pop()
        if node is not None and node not in seen:
            seen.add(node)
            found.add(id(getattr(node, "variable", None)))
            nodes += [other for other, _ in node.next_functions]
    return found


def as_input_of(layer: nn.Module, tensor: torch.Tensor) -> torch.Tensor:
    """`tensor` in the type that `layer` computes in; a quantized layer, whose weights are no floats, finds its own."""
    dtype = getattr(layer.weight, "dtype", None)
    return tensor.to(dtype) if dtype is not None and dtype.is_floating_point else tensor


def _weights_were_loaded(model: RocModel, _):
    model.weights_stamp = None
    follow_adapter(model)


RocModel.register_for_auto_class("AutoModel")

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The pair side of the model: the joint sequence of text, objects and patches, and the pair's vector taken from it."""

import torch
from transformers.masking_utils import create_bidirectional_mask

from .regions_roc import crop_regions, object_roles, pool_regions

# How far the mean of the texts moves towards that of each training batch.
TEXT_CENTER_MOMENTUM = 0.02


class PairEncoderMixin:
    """For [`RocModel`], which has the encoders and layers that these methods use."""

    def get_joint_inputs(
        self,
        input_ids,
        attention_mask,
        pixel_values=None,
        image_index=None,
        object_boxes=None,
        object_mask=None,
        object_roles=None,
        inputs_embeds=None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        X = [X_T; X_I] before the fusion layers, X_I the objects and then the patches of the picture: (batch,
        text_length + num_objects + num_patches, hidden_size), and its attention mask, (batch, the same length).

        Args: as for [`RocModel.forward`], and

            object_roles (batch, num_objects): places in `ROLES` of regions_roc. Default: all objects are context.
            inputs_embeds (batch, text_length, embedding_size): word embeddings to use in place of those of input_ids.

        Raises:
            ValueError: if pixel_values come without image_index or image_index without them, or to a model without a
                vision encoder; if objects come to a model that takes none.
        """
        text = {"input_ids": input_ids} if inputs_embeds is None else {"inputs_embeds": inputs_embeds}
        sequence = self.text_encoder(**text, attention_mask=attention_mask).last_hidden_state
        parts, masks = [sequence], [attention_mask]
        patches = has_image = None
        if pixel_values is None and image_index is not None:
            raise ValueError("image_index was given without pixel_values")
        if pixel_values is not None:
            if self.vision_encoder is None:
                raise ValueError("pixel_values were given to a text-only model (config.vision_config is None)")
            if image_index is None:
                raise ValueError("pixel_values need image_index (batch,): which picture is whose, -1 for none")
            patches = self._encode_pictures(pixel_values).to(sequence.dtype).index_select(0, image_index.clamp(min=0))
            has_image = (image_index >= 0).to(attention_mask.dtype)
        if object_boxes is not None:
            if self.config.object_features is None:
                raise ValueError("objects were given to a model that takes none (config.object_features is None)")
            if object_mask is None:
                object_mask = attention_mask.new_ones(object_boxes.shape[:2])
            if object_roles is None:
                object_roles = torch.zeros_like(object_mask)
            regions = None
            if patches is not None:
                regions = self._region_features(patches, pixel_values, image_index, object_boxes, object_mask)
                regions = regions * has_image[:, None, None]
            parts.append(self.object_embedding(object_boxes, object_roles, regions).to(sequence.dtype))
            masks.append(object_mask.to(attention_mask.dtype))
        if patches is not None:
            parts.append(patches)
            masks.append(has_image[:, None].expand(-1, patches.shape[1]))
        return torch.cat(parts, dim=1), torch.cat(masks, dim=1)

    def get_joint_sequence(self, *args, **kwargs) -> torch.Tensor:
        """X after the fusion layers. Args, Raises: as for `get_joint_inputs`."""
        return self._fuse(*self.get_joint_inputs(*args, **kwargs))

    def _fuse(self, sequence: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        mask = create_bidirectional_mask(self.config.fusion_encoder_config, sequence, attention_mask)
        return self.fusion(sequence, attention_mask=mask).last_hidden_state

    def _encode_pictures(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(num_images, 3, height, width) → (num_images, num_patches, hidden_size), the encoder's own tokens first."""
        return self.vision_projection(self.vision_encoder(pixel_values=pixel_values).last_hidden_state)

    def _grid(self, pixel_values: torch.Tensor, num_patches: int) -> tuple[int, int]:
        """Rows and columns of the patches, which stand at the end of the vision encoder's sequence."""
        size = self.config.vision_config.patch_size
        size = (size, size) if isinstance(size, int) else size
        rows, columns = pixel_values.shape[-2] // size[0], pixel_values.shape[-1] // size[1]
        if rows * columns > num_patches:
            raise ValueError(
                f"objects need a vision encoder with a vector for each patch: there are {rows} × {columns} patches, "
                f"but {num_patches} vectors"
            )
        return rows, columns

    def _region_features(self, patches, pixel_values, image_index, object_boxes, object_mask) -> torch.Tensor:
        """What lies in the boxes: (batch, num_objects, hidden_size); of any value where a pair has no picture."""
        rows, columns = self._grid(pixel_values, patches.shape[1])
        if self.config.object_features == "roi":
            return pool_regions(patches[:, -rows * columns :], object_boxes, (rows, columns))
        # Pairs of one picture share its objects: each distinct crop is encoded once.
        shown = (object_mask > 0) & (image_index >= 0)[:, None]
        pictures = image_index[:, None].expand_as(shown)[shown]
        keys = torch.cat([pictures[:, None].to(object_boxes.dtype), object_boxes[shown]], dim=1)
        distinct, place = keys.unique(dim=0, return_inverse=True)
        regions = patches.new_zeros(*object_mask.shape, patches.shape[-1])
        if len(distinct) == 0:
            return regions
        crops = crop_regions(pixel_values, distinct[:, 0].long(), distinct[:, 1:])
        crops = self._encode_pictures(crops)[:, -rows * columns :].mean(dim=1)
        return regions.masked_scatter(shown[..., None], crops.to(regions.dtype)[place])

    def get_pair_features(
        self,
        input_ids,
        attention_mask,
        head_index,
        tail_index,
        head_span=None,
        tail_span=None,
        pixel_values=None,
        image_index=None,
        object_boxes=None,
        object_mask=None,
    ) -> torch.Tensor:
        """
        The pair's vector, (batch, hidden_size): head and tail taken from X by their places, and fused. With
        `config.text_similarity`, the text's own vector follows, (batch, hidden_size + hidden_size of the relation
        encoder); zeros in training mode, which only moves the texts' mean.

        Args: as for [`RocModel.forward`].

        Raises:
            ValueError: as for `get_joint_sequence` and `check_trainable`, or if `config.pool_mentions` is set and the
                spans are missing.
        """
        self.check_trainable()
        roles = None
        if object_boxes is not None:
            roles = object_roles(head_index, tail_index, input_ids.shape[1], object_boxes.shape[1])
        sequence = self.get_joint_sequence(
            input_ids, attention_mask, pixel_values, image_index, object_boxes, object_mask, roles
        )
        features = self._pair_vector(sequence, head_index, tail_index, head_span, tail_span)
        if not self.compares_texts:
            return features
        if self.training:
            self._move_text_center(input_ids, attention_mask)
            # A projection that may lean on the texts in training knows less by itself, of unseen relations most.
            texts = features.new_zeros(features.shape[0], *self.text_center.shape)
        else:
            texts = self.get_text_features(input_ids, attention_mask)
        return torch.cat([features, texts], dim=-1)

    @property
    def compares_texts(self) -> bool:
        """Whether the texts' own vectors are a part of the score, see `config.text_similarity`."""
        return self.config.objective == "retrieval" and self.config.text_similarity > 0

    def _pair_vector(self, sequence, head_index, tail_index, head_span, tail_span) -> torch.Tensor:
        rows = torch.arange(sequence.shape[0], device=sequence.device)
        entities = [sequence[rows, head_index], sequence[rows, tail_index]]
        if self.config.pool_mentions:
            if head_span is None or tail_span is None:
                raise ValueError("the model pools mentions (config.pool_mentions): give head_span and tail_span")
            entities += [_mean_over(sequence, span) for span in (head_span, tail_span)]
        return self.pair_fusion(torch.cat(entities, dim=-1))

    @torch.no_grad()
    def _move_text_center(self, input_ids: torch.Tensor, attention_mask: torch.Tensor):
        # A quarter of the texts tells their mean well enough, at a quarter of the cost.
        texts = self.get_text_features(input_ids[::4], attention_mask[::4])
        mean = texts.float().mean(dim=0).to(self.text_center.dtype)
        # The first batch decides, as there is nothing yet to be moved.
        self.text_center.lerp_(mean, TEXT_CENTER_MOMENTUM if self.text_center.any() else 1.0)


def _mean_over(sequence: torch.Tensor, span: torch.Tensor) -> torch.Tensor:
    """Mean of (batch, length, hidden_size) over each row's [start, end): (batch, hidden_size)."""
    places = torch.arange(sequence.shape[1], device=sequence.device)
    inside = ((places >= span[:, :1]) & (places < span[:, 1:])).to(sequence.dtype)
    return torch.einsum("bl,blh->bh", inside, sequence) / inside.sum(dim=1, keepdim=True)

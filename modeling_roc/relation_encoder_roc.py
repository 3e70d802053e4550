# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The relation encoder: descriptions to vectors, and texts to vectors of the same space."""

from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional as F
from transformers.utils import logging

from .adapted_roc import weights_in_force

# From so many descriptions on, encoding them shows its progress.
LARGE_MEMORY = 1000


class RelationEncoderMixin:
    """For [`RocModel`], which has the encoders and the projection that these methods use."""

    @property
    def _description_encoder(self):
        return self.text_encoder if self.relation_encoder is None else self.relation_encoder

    def _relation_weights(self) -> list[torch.Tensor | str]:
        """Everything that a description's vector depends on, besides its text."""
        modules = (self._description_encoder, self.relation_projection)
        return [*(weight for module in modules for weight in weights_in_force(module)), self.relation_center]

    def get_relation_features(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Mean token vector of each description: (num, length), padded with -1 → (num, hidden_size)."""
        mask = input_ids >= 0
        length = int(mask.sum(dim=1).max())
        input_ids, mask = input_ids[:, :length].clamp(min=0).long(), mask[:, :length]
        return self._mean_token_vector(mask, input_ids=input_ids)

    def _mean_token_vector(self, mask: torch.Tensor, **inputs) -> torch.Tensor:
        states = self._description_encoder(**inputs, attention_mask=mask.long()).last_hidden_state
        return (states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)

    def _project_relations(self, features: torch.Tensor) -> torch.Tensor:
        with full_precision(features):
            # The scale of a layer norm, so that the projection meets what a linear layer expects.
            texts = F.normalize(features - self.relation_center, dim=-1)
            centered = (texts * features.shape[-1] ** 0.5).to(self.relation_projection.weight.dtype)
            return self._join(F.normalize(self.relation_projection(centered).float(), dim=-1), texts)

    def _join(self, projected: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """Two unit vectors to one, whose inner products are the weighted means of theirs: `config.text_similarity`."""
        share = self.config.text_similarity
        if not share:
            return projected
        return torch.cat([(1 - share) ** 0.5 * projected, share**0.5 * texts.float()], dim=-1)

    def get_text_features(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, inputs_embeds: torch.Tensor | None = None
    ) -> torch.Tensor:
        """
        Mean token vector of each text, as the relation encoder gives it: what `config.text_similarity` compares.

        Args:
            input_ids, attention_mask (batch, text_length): as for [`RocModel.forward`].
            inputs_embeds (batch, text_length, embedding_size): word embeddings of the relation encoder to use in place
                of those of input_ids.

        Returns:
            (batch, hidden_size) of the relation encoder, without dropout where that is one of its own.
        """
        mask = attention_mask > 0
        if self.relation_encoder is not None:
            mask = mask & self._known_words(input_ids)
        inputs = {"inputs_embeds": inputs_embeds}
        if inputs_embeds is None:
            inputs = {"input_ids": input_ids.masked_fill(~mask, 0)}
        if self.relation_encoder is None or not self.relation_encoder.training:
            return self._mean_token_vector(mask, **inputs)
        with evaluating(self.relation_encoder):
            return self._mean_token_vector(mask, **inputs)

    def _known_words(self, input_ids: torch.Tensor) -> torch.Tensor:
        # The vocabulary of a relation encoder of its own is the published one, in which there are no markers.
        return input_ids < self._description_encoder.get_input_embeddings().num_embeddings

    def _encode_in_batches(self, input_ids: torch.Tensor, batch_size: int = 64) -> torch.Tensor:
        """`get_relation_features` without gradient, dropout or autocast, descriptions of like length together."""
        if not len(input_ids):
            return self.relation_center.new_zeros(0, len(self.relation_center))
        features = []
        order = (input_ids >= 0).sum(dim=1).argsort()
        # Not in inference mode either: what is made there cannot be written to later.
        with torch.inference_mode(False), torch.no_grad(), evaluating(self._description_encoder):
            with full_precision(self.relation_center):
                batches = order.split(batch_size)
                quiet = len(order) < LARGE_MEMORY
                for rows in logging.tqdm(batches, desc="Encoding descriptions", disable=quiet):
                    features.append(self.get_relation_features(input_ids[rows].to(self.device)))
            return torch.cat(features)[order.argsort().to(self.device)]

    def encode_relations(self, input_ids: torch.Tensor) -> torch.Tensor:
        """
        Unit vectors of descriptions, without gradient and without dropout.

        Args:
            input_ids: (num, length) token ids, padded with -1.

        Returns:
            (num, embedding_dim) of float32.
        """
        features = self._encode_in_batches(input_ids)
        with torch.inference_mode(False), torch.no_grad():
            return self._project_relations(features)


def full_precision(tensor: torch.Tensor):
    """No autocast: at a temperature of 0.05, bfloat16 would round logits to a tenth."""
    return torch.autocast(tensor.device.type, enabled=False)


@contextmanager
def evaluating(module: nn.Module):
    """Without dropout; afterwards every part is in the mode it was in."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode

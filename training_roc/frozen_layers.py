# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""A vision encoder whose first layers are frozen: what they give can be kept, and the others go on from it."""

import torch
from torch import nn

from modeling_roc.modeling_roc import PairEncoder


def freeze_first_layers(pair_encoder: PairEncoder, number: int):
    """
    Freezes the vision encoder's first `number` layers, and all that it makes their input of. From now on,
    `image_embeds` stands for what these layers give, (num_images, num_tokens, width), and the others go on from there.

    Raises:
        ValueError: if the encoder is no stack of layers of one width, or has no more than `number`.
    """
    encoder = pair_encoder.vision_encoder
    name, layers = find_layers(encoder)
    if not 0 < number < len(layers):
        raise ValueError(
            f"freeze_vision_layers {number} of the vision encoder's {len(layers)}: one or more must be frozen and one "
            "or more left; freeze_vision_encoder freezes all"
        )
    trained = next(layers[number].parameters())
    for parameter in encoder.parameters():  # in the order in which they are used
        if parameter is trained:
            break
        parameter.requires_grad_(False)

    def go_on(module, args, kwargs):
        if kwargs.get("image_embeds") is not None:
            kwargs["image_embeds"] = run_from(encoder, number, kwargs["image_embeds"], kwargs["pixel_values"])
        return args, kwargs

    pair_encoder.register_forward_pre_hook(go_on, with_kwargs=True)


def find_layers(encoder: nn.Module) -> tuple[str, nn.ModuleList]:
    """An encoder's layers, and their name in it.

    Raises:
        ValueError: if it is no stack of layers of one width.
    """
    number = getattr(encoder.config, "num_hidden_layers", None)
    for name, module in encoder.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == number and not hasattr(encoder.config, "depths"):
            return name, module
    raise ValueError(
        f"a {type(encoder).__name__} is no stack of layers of one width: freeze_vision_encoder freezes all of it"
    )


def run_from(encoder: nn.Module, number: int, states: torch.Tensor, pixel_values: torch.Tensor) -> torch.Tensor:
    """The encoder's last hidden states, from what its first `number` layers gave of the pictures."""
    name, layers = find_layers(encoder)
    parent = encoder.get_submodule(name.rpartition(".")[0])
    left = nn.ModuleList([GivenStates(layers[number], states), *layers[number + 1 :]])
    setattr(parent, name.rpartition(".")[2], left)
    try:
        return encoder(pixel_values=pixel_values).last_hidden_state
    finally:
        setattr(parent, name.rpartition(".")[2], layers)


class GivenStates(nn.Module):
    """A layer that is given `states`, whatever it is called with."""

    def __init__(self, layer: nn.Module, states: torch.Tensor):
        super().__init__()
        self.layer = layer
        self.states = states

    def forward(self, hidden_states: torch.Tensor, *args, **kwargs):
        dtype = next(self.layer.parameters()).dtype  # under autocast hidden_states may be of a lower one
        return self.layer(self.states.to(hidden_states.device, dtype), *args, **kwargs)

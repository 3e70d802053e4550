# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""A vision encoder whose first layers are frozen: what they give can be kept, and the others go on from it."""

import torch
from torch import nn

from modeling_roc.modeling_roc import PairEncoder
from modeling_roc.relation_memory_roc import evaluating


def freeze_first_layers(pair_encoder: PairEncoder, number: int):
    """
    Freezes the vision encoder's first `number` layers, and all that it makes their input of. From now on,
    `image_embeds` stands for what these layers give, (num_images, num_tokens, width), and the others go on from there.

    Raises:
        ValueError: if the encoder is no stack of layers of one width, or has no more than `number`.
    """
    encoder = pair_encoder.vision_encoder
    name = find_layers(encoder)
    if name is None:
        kind = type(encoder).__name__
        raise ValueError(f"a {kind} is no stack of layers of one width: freeze_vision_encoder freezes all of it")
    layers = encoder.get_submodule(name)
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
            kwargs["image_embeds"] = run_from(encoder, name, number, kwargs["image_embeds"], kwargs["pixel_values"])
        return args, kwargs

    pair_encoder.register_forward_pre_hook(go_on, with_kwargs=True)


def find_layers(encoder: nn.Module) -> str | None:
    """The name of an encoder's layers, if it is a stack of layers of one width: tried on a blank picture."""
    for name, module in encoder.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == getattr(encoder.config, "num_hidden_layers", None):
            size = getattr(encoder.config, "image_size", None) or 224
            size = (size, size) if isinstance(size, int) else size
            blank = torch.zeros(1, 3, *size, dtype=encoder.dtype, device=encoder.device)
            with torch.no_grad(), evaluating(encoder):
                output = encoder(pixel_values=blank, output_hidden_states=True)
                if {states.shape for states in output.hidden_states} != {output.last_hidden_state.shape}:
                    return None
                again = run_from(encoder, name, len(module) - 1, output.hidden_states[-2], blank)
            return name if torch.allclose(again, output.last_hidden_state, atol=1e-2) else None
    return None


def run_from(
    encoder: nn.Module, name: str, number: int, states: torch.Tensor, pixel_values: torch.Tensor
) -> torch.Tensor:
    """The encoder's last hidden states, from what the first `number` of its layers, which are `name`, gave of the
    pictures."""
    layers = encoder.get_submodule(name)
    encoder.set_submodule(name, nn.ModuleList([GivenStates(layers[number], states), *layers[number + 1 :]]))
    try:
        return encoder(pixel_values=pixel_values).last_hidden_state
    finally:
        encoder.set_submodule(name, layers)


class GivenStates(nn.Module):
    """A layer that is given `states`, whatever it is called with."""

    def __init__(self, layer: nn.Module, states: torch.Tensor):
        super().__init__()
        self.layer = layer
        self.states = states

    def forward(self, hidden_states: torch.Tensor, *args, **kwargs):
        dtype = next(self.layer.parameters()).dtype  # under autocast hidden_states may be of a lower one
        return self.layer(self.states.to(hidden_states.device, dtype), *args, **kwargs)

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""
What in a pair's text and picture speaks for a relation: integrated gradients over word embeddings and pixels.

Integrated gradients: Sundararajan, Taly and Yan, Axiomatic Attribution for Deep Networks, ICML 2017. Conductance,
which tells how much of it passes through an object's token: Dhamdhere, Sundararajan and Yan, How Important Is a
Neuron, ICLR 2019.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional as F
from transformers.utils import ModelOutput


@dataclass
class Saliency(ModelOutput):
    """
    Signed: above 0 speaks for the target relation, below 0 for the others. In the unit of logits, float32.

    Args:
        tokens (batch, text_length): 0 where the blank text has the same token. Tokens and patches together sum to
            `margin - blank_margin`, up to the error of the numerical integral.
        patches (batch, rows, columns): over what pixel_values show, row by row; 0 without a picture. `None` where no
            pair of the batch has one.
        objects (batch, num_objects): the share of `patches` that passes through an object's token; 0 for padding.
            `None` where there are no objects.
        margin (batch,): logit of the target relation less the mean logit of the others.
        blank_margin (batch,): the same of the blank pair.
    """

    tokens: torch.Tensor | None = None
    patches: torch.Tensor | None = None
    objects: torch.Tensor | None = None
    margin: torch.Tensor | None = None
    blank_margin: torch.Tensor | None = None


def integrated_gradients(
    model,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    blank_input_ids: torch.Tensor,
    targets: torch.Tensor,
    num_steps: int = 32,
    batch_size: int = 8,
    relation_memory=None,
    **pair,
) -> Saliency:
    """
    Integrated gradients of the margin by which a relation leads: its logit less the mean logit of the others.

    The way goes in a straight line from a blank pair to the pair, and the integral over it is taken by the trapezoidal
    rule. The blank pair has the same markers, types and boxes, but no words (`blank_input_ids`) and a picture of one
    colour, its own mean. Every pair takes `num_steps` + 1 passes forward and backward with a picture of its own. The
    model answers as in evaluation and is left as it is; no parameter gets a gradient.

    Args:
        model: the [`RocModel`].
        input_ids, attention_mask (batch, text_length): as for [`RocModel.forward`].
        blank_input_ids (batch, text_length): `input_ids` with every word's tokens replaced, by a mask token say.
        targets (batch,): index of the relation to explain, among those of `relation_memory` if that is given.
        num_steps: intervals of the integral, 1 or more.
        batch_size: pairs in one pass.
        relation_memory: as for [`RocModel.forward`].
        pair: the other tensors of the pair, as for [`RocModel.forward`].

    Returns:
        [`Saliency`].

    Raises:
        ValueError: for `num_steps` or `batch_size` below 1, a model in training mode, or as [`RocModel.forward`] does.
    """
    if num_steps < 1 or batch_size < 1:
        raise ValueError(f"num_steps and batch_size must be 1 or more, got {num_steps} and {batch_size}")
    if model.training:
        raise ValueError("a model in training mode answers with dropout: call model.eval() first")
    rows = {"input_ids": input_ids, "attention_mask": attention_mask, "targets": targets, **pair}
    rows = {name: value for name, value in rows.items() if value is not None}
    pixel_values = rows.pop("pixel_values", None)
    if (pixel_values is None) != ("image_index" not in rows):
        raise ValueError("pixel_values and image_index go together")
    parts = []
    # Gradients are taken wherever the call comes from, under no_grad and in inference mode too.
    with torch.inference_mode(False), torch.enable_grad():
        for chunk in torch.arange(len(input_ids), device=input_ids.device).split(batch_size):
            part = {name: value[chunk].clone() for name, value in rows.items()}
            ends, starts = _ways(model, part, blank_input_ids[chunk].clone(), pixel_values)
            parts.append(_integrate(model, part, starts, ends, num_steps, relation_memory))
    grids = [part.patches.shape[1:] for part in parts if part.patches is not None]
    for part in parts:
        if grids and part.patches is None:
            part.patches = part.tokens.new_zeros(len(part.tokens), *grids[0])
    return Saliency(**{name: torch.cat([part[name] for part in parts]) for name in parts[0]})


def _ways(model, pair: dict, blank_input_ids, pixel_values):
    """Where the ways of words and pictures end and where they start; every pair gets a picture of its own."""
    embeddings = model.get_input_embeddings()
    ends = {"words": embeddings(pair["input_ids"]).detach()}
    starts = {"words": embeddings(blank_input_ids).detach()}
    if pixel_values is not None:
        owners = (pair["image_index"] >= 0).nonzero().flatten()
        pictures = pixel_values[pair["image_index"][owners]].clone()
        pair["image_index"][owners] = torch.arange(len(owners), device=owners.device)
        if len(owners):
            ends["pictures"] = pictures
            mean = pictures.float().mean(dim=(-2, -1), keepdim=True)
            starts["pictures"] = mean.to(pictures.dtype).expand_as(pictures)
    return ends, starts


def _integrate(model, pair: dict, starts: dict, ends: dict, num_steps: int, relation_memory) -> Saliency:
    sums = {name: torch.zeros_like(end, dtype=torch.float32) for name, end in ends.items()}
    length = pair["input_ids"].shape[1]
    objects = slice(length, length + (0 if pair.get("object_boxes") is None else pair["object_boxes"].shape[1]))
    passed, before, margins = 0, None, []
    for step in range(num_steps + 1):
        inputs = {
            name: torch.lerp(starts[name].float(), end.float(), step / num_steps).to(end.dtype).requires_grad_()
            for name, end in ends.items()
        }
        margin, sequence = _margin(model, pair, inputs, relation_memory)
        *gradients, at_sequence = torch.autograd.grad(margin.sum(), [*inputs.values(), sequence])
        for name, gradient in zip(inputs, gradients, strict=True):
            sums[name] += gradient.float() * ((0.5 if step in (0, num_steps) else 1) / num_steps)
        now = sequence[:, objects].detach().float(), at_sequence[:, objects].float()
        if before is not None:
            passed = passed + ((now[0] - before[0]) * (now[1] + before[1]) / 2).sum(dim=-1)
        before = now
        margins.append(margin.detach())
    found = {name: total * (ends[name].float() - starts[name].float()) for name, total in sums.items()}
    patches = None
    if "pictures" in found:
        # A sum over each patch: what its embedding, which is linear in its pixels, would be given.
        size = getattr(model.config.vision_config, "patch_size", 16)
        by_patch = F.avg_pool2d(found["pictures"].sum(dim=1), size, ceil_mode=True, divisor_override=1)
        patches = by_patch.new_zeros(len(margins[0]), *by_patch.shape[1:])
        patches[pair["image_index"] >= 0] = by_patch
    return Saliency(
        tokens=found["words"].sum(dim=-1),
        patches=patches,
        objects=None if pair.get("object_boxes") is None else passed,
        margin=margins[-1],
        blank_margin=margins[0],
    )


def _margin(model, pair: dict, inputs: dict, relation_memory) -> tuple[torch.Tensor, torch.Tensor]:
    """(batch,) of margins, and the joint sequence that the fusion layers got, (batch, length, hidden_size)."""
    encoder, pictures = model.pair_encoder, inputs.get("pictures")
    sequence, mask = encoder.joint_inputs(
        None,
        pair["attention_mask"],
        pair["head_index"],
        pair["tail_index"],
        pixel_values=pictures,
        image_index=None if pictures is None else pair["image_index"],
        object_boxes=pair.get("object_boxes"),
        object_mask=pair.get("object_mask"),
        inputs_embeds=inputs["words"],
    )
    places = [pair.get(name) for name in ("head_index", "tail_index", "head_span", "tail_span")]
    vectors = encoder.pair_vectors(sequence, mask, *places)
    vectors = encoder.add_text(vectors, sequence, pair["attention_mask"])
    if model.config.objective == "classification":
        logits = model.classify(vectors)
    else:
        logits = model.compare(vectors, relation_memory)[0]
    targets = pair["targets"][:, None]
    others = logits.scatter(1, targets, 0).sum(dim=1) / max(logits.shape[1] - 1, 1)
    return logits.gather(1, targets)[:, 0] - others, sequence

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The training loss and the step from description scores to relation logits: pure functions of tensors."""

import torch
from torch.nn import functional as F


def relation_logits(scores: torch.Tensor, entries: torch.Tensor, aggregation: str) -> torch.Tensor:
    """
    One logit a relation from the scores of its memory entries.

    Args:
        scores: (batch, num_entries), cosine / temperature of each pair with each entry of the memory.
        entries: (num_relations, max_entries) of int64, the rows of the memory that belong to a relation, padded
            with -1.
        aggregation: `"max"`, `"mean"` or `"logsumexp"`. The last is the logarithm of the mean of exponentials: it
            lies between mean and max, and a relation gains nothing by having many descriptions.

    Returns:
        (batch, num_relations).
    """
    if entries.shape[1] == 1:
        return scores[:, entries[:, 0]]
    grouped = scores[:, entries.clamp(min=0)]
    padding = entries < 0
    if aggregation == "max":
        return grouped.masked_fill(padding, float("-inf")).amax(dim=-1)
    counts = (~padding).sum(dim=-1)
    if aggregation == "mean":
        return grouped.masked_fill(padding, 0.0).sum(dim=-1) / counts
    return grouped.masked_fill(padding, float("-inf")).logsumexp(dim=-1) - counts.to(scores.dtype).log()


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

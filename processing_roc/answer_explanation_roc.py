# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What explains an answer, as plain data: saliency by word, patch and object, and the descriptions by cosine."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .boxes_roc import WHOLE, Box, uncrop
from .words_roc import word_spans


def blank_words(input_ids, word_ids, tokenizer):
    """`input_ids` (batch, length) with every token of a word replaced by the mask token, or by what comes next to it.

    Args:
        input_ids, word_ids (batch, length): tensors, as [`RocProcessor`] returns them.
        tokenizer: that made them. One without a mask token has an unknown or a padding token.
    """
    ids = (tokenizer.mask_token_id, tokenizer.unk_token_id, tokenizer.pad_token_id)
    return input_ids.masked_fill(word_ids >= 0, next(i for i in ids if i is not None))


def saliency_of_pair(saliency: Mapping, row: int, batch: Mapping, shown: Box | None) -> dict[str, Any]:
    """One pair's saliency as numbers, lists and None.

    Args:
        saliency: of a batch of pairs, as the model's `get_saliency` returns it.
        row: the pair's place in the batch.
        batch: what [`RocProcessor`] made of the pairs, `offset_mapping` and `word_ids` too.
        shown: what pixel_values show of the picture, as `shown_part` returns it; None where there is no picture.

    Returns:
        `words`, `patches`, `objects`, `margin` and `blank_margin`, as [`RelationExtractionPipeline`] documents them.
    """
    offsets, numbers, tokens = (
        values[row].tolist() for values in (batch["offset_mapping"], batch["word_ids"], saliency["tokens"])
    )
    scores = dict.fromkeys(numbers, 0.0)
    for number, score in zip(numbers, tokens, strict=True):
        scores[number] += score
    words = [
        {"start": start, "end": end, "score": scores[number]}
        for number, (start, end) in word_spans(offsets, numbers).items()
    ]
    patches = objects = None
    if shown is not None:
        heat = saliency["patches"][row].tolist()
        patches = {"rows": len(heat), "columns": len(heat[0]), "box": list(shown), "scores": heat}
    if "object_boxes" in batch and batch["object_mask"][row].any():
        roles = {int(batch[f"{role}_index"][row]) - len(tokens): role for role in ("head", "tail")}
        number = int(batch["object_mask"][row].sum())
        boxes = batch["object_boxes"][row, :number].tolist()
        objects = [
            {"box": list(uncrop(box, shown or WHOLE)), "role": roles.get(i), "score": score}
            for i, (box, score) in enumerate(zip(boxes, saliency["objects"][row, :number].tolist(), strict=True))
        ]
    margins = {name: float(saliency[name][row]) for name in ("margin", "blank_margin")}
    return {"words": words, "patches": patches, "objects": objects, **margins}


def rank_descriptions(
    descriptions: Sequence[str], cosines: Sequence[float], num_examples: int | None = None
) -> list[dict[str, Any]]:
    """`[{"description": ..., "score": cosine}, ...]`, best first; examples are `{"description": None, "examples":
    how many, "score": cosine with their mean}`.

    Args:
        descriptions: of one relation.
        cosines: of its descriptions, in their order, then of its examples, if it has some; what comes behind them is
            ignored. nan is no score: None.
        num_examples: of the relation.
    """
    entries = [{"description": text} for text in descriptions]
    if num_examples is not None:
        entries.append({"description": None, "examples": num_examples})
    scored = [
        {**entry, "score": None if math.isnan(cosine) else cosine}
        for entry, cosine in zip(entries, cosines, strict=False)
    ]
    return sorted(scored, key=lambda one: -math.inf if one["score"] is None else one["score"], reverse=True)

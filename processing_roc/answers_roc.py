# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""From the scores of one pair to the relations that a user gets to see."""

from typing import Any

from .explanation_roc import rank_descriptions


def kept_relations(scores, config, threshold: float | str | None = None) -> list[int]:
    """The relations that a threshold leaves, as places in `scores`, best first.

    Args:
        scores (num_relations,): probabilities.
        config: of the model, or of the relation memory that was scored.
        threshold: lower scores are left out. "auto" is `config.abstention_threshold`, which decides between relations
            and "no relation": the negative relation, if there is one, comes behind all that reach it.

    Raises:
        ValueError: "auto", but no threshold has been chosen for these relations.
    """
    order = scores.argsort(descending=True, stable=True).tolist()
    if threshold is None:
        return order
    if threshold != "auto":
        return [index for index in order if float(scores[index]) >= threshold]
    if config.abstention_threshold is None:
        raise ValueError(
            'threshold="auto": no threshold has been chosen for these relations; train.py chooses one on validation '
            "for the relations that a model is trained on"
        )
    negative = [] if config.negative_relation is None else [config.label2id[config.negative_relation]]
    kept = [index for index in order if float(scores[index]) >= config.abstention_threshold]
    return [index for index in kept if index not in negative] + negative


def write_answer(answer: dict[str, Any], row: int, config, top_k: int | None, threshold) -> list[dict[str, Any]]:
    """The relations of one pair, best first, as [`RelationExtractionPipeline`] documents them.

    Args:
        answer: `scores` (num_pairs, num_relations); of a retrieval model `nearest`, of the same shape, the place of
            each relation's best description, or, where its examples fit better, the number of its descriptions; with
            an explanation `saliency`, a dict for each pair's first relation, and of a retrieval model `cosines`
            (num_pairs, num_relations, max_entries), with the descriptions and then the examples.
        row: the pair's place in it.
        config, threshold: as for `kept_relations`.
        top_k: most relations to return.
    """
    scores, relations = answer["scores"][row], []
    for rank, index in enumerate(kept_relations(scores, config, threshold)[:top_k]):
        label, description, texts, cosines = config.id2label[index], None, [], []
        num_examples = None
        if answer["nearest"] is not None:
            texts, num_examples = config.relation_descriptions[label], config.relation_examples.get(label)
            nearest = int(answer["nearest"][row, index])
            description = texts[nearest] if nearest < len(texts) else None
        relations.append({"label": label, "score": float(scores[index]), "description": description})
        if description is None and num_examples is not None:
            relations[-1]["examples"] = num_examples
        if answer["saliency"] is not None:
            if answer["cosines"] is not None:
                cosines = answer["cosines"][row, index].tolist()
            saliency = answer["saliency"][row]
            relations[-1]["explanation"] = {
                "descriptions": rank_descriptions(texts, cosines, num_examples),
                **(saliency if rank == 0 else dict.fromkeys(saliency)),
            }
    return relations

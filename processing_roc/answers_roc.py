# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""From the scores of one pair to the relations that a user gets to see."""

from collections.abc import Sequence
from typing import Any

from .answer_explanation_roc import rank_descriptions


def candidates_by_type(model, types: Sequence[tuple[str | None, str | None]], relation_memory=None):
    """The relations that a filter by type leaves: those whose types fit the pair's, and "no relation".

    Args:
        model ([`RocModel`]): with types set for some of the relations.
        types: the (head type, tail type) of each pair, None where it is not known.
        relation_memory: other relations to choose among, from `RocModel.make_relation_memory`.

    Returns:
        (num_pairs, num_relations) of bool.

    Raises:
        ValueError: none of the relations has types, so there is nothing to filter by.
    """
    config = model.config if relation_memory is None else relation_memory.config
    if not config.label2id.keys() & (model.config.relation_types or {}).keys():
        raise ValueError(
            "filter_by_type: none of these relations has types; say which they ask for with "
            "model.set_relation_types({label: [head type, tail type]})"
        )
    candidates = model.type_mask(types, relation_memory)
    if config.negative_relation is not None:
        candidates[:, config.label2id[config.negative_relation]] = True
    return candidates


def kept_relations(scores, config, threshold: float | str | None = None, candidates=None) -> list[int]:
    """The relations that a threshold and a filter leave, as places in `scores`, best first.

    Args:
        scores (num_relations,): probabilities.
        config: of the model, or of the relation memory that was scored.
        threshold: lower scores are left out. "auto" is `config.abstention_threshold`, which decides between relations
            and "no relation": the negative relation, if there is one, comes behind all that reach it.
        candidates (num_relations,): of bool, the relations to choose among. Default: all.

    Raises:
        ValueError: "auto", but no threshold has been chosen for these relations.
    """
    order = scores.argsort(descending=True, stable=True).tolist()
    if candidates is not None:
        is_candidate = candidates.tolist()
        order = [index for index in order if is_candidate[index]]
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
        answer: `scores` (num_pairs, num_relations); `candidates`, of the same shape, the relations to choose among, or
            None; of a retrieval model `nearest`, of the same shape, the place of each relation's best description, or,
            where its examples fit better, the number of its descriptions; with an explanation `saliency`, a dict for
            each pair's first relation, and of a retrieval model `cosines` (num_pairs, num_relations, max_entries),
            with the descriptions and then the examples.
        row: the pair's place in it.
        config, threshold: as for `kept_relations`.
        top_k: most relations to return.
    """
    scores, relations = answer["scores"][row], []
    candidates = None if answer["candidates"] is None else answer["candidates"][row]
    for rank, index in enumerate(kept_relations(scores, config, threshold, candidates)[:top_k]):
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

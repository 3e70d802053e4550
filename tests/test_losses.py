# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Loss and aggregation against numbers worked out by hand."""

import math

import pytest
import torch

from modeling_roc.modeling_roc import info_nce
from modeling_roc.relation_memory_roc import relation_logits


def test_info_nce_by_hand():
    # softmax of (ln 3, 0) is (3/4, 1/4); of (0, ln 3) it is (1/4, 3/4)
    logits = torch.tensor([[math.log(3), 0.0], [0.0, math.log(3)]])
    assert info_nce(logits, torch.tensor([0, 0])).item() == pytest.approx((-math.log(3 / 4) - math.log(1 / 4)) / 2)
    assert info_nce(logits, torch.tensor([0, -100])).item() == pytest.approx(-math.log(3 / 4))
    assert info_nce(logits, torch.tensor([0, 0]), 8).item() == pytest.approx(-math.log(3 / 16) / 8)


def test_info_nce_of_unlabelled_pairs_is_zero_and_has_a_gradient():
    logits = torch.zeros(2, 3, requires_grad=True)
    loss = info_nce(logits, torch.tensor([-100, -100]))
    loss.backward()
    assert loss.item() == 0 and logits.grad.abs().sum() == 0
    assert info_nce(logits, torch.tensor([-100, -100]), 0).item() == 0


def test_micro_batches_of_unequal_size_add_up_to_the_whole():
    logits, labels = torch.randn(7, 5), torch.tensor([0, 1, 2, 3, 4, -100, 1])
    parts = info_nce(logits[:2], labels[:2], 6) + info_nce(logits[2:], labels[2:], 6)
    assert parts.item() == pytest.approx(info_nce(logits, labels).item(), rel=1e-6)


@pytest.mark.parametrize(("aggregation", "expected"), [("max", [4.0, 3.0]), ("mean", [3.0, 3.0])])
def test_aggregation_by_hand(aggregation, expected):
    scores = torch.tensor([[2.0, 3.0, 4.0]], requires_grad=True)
    owner = torch.tensor([0, 1, 0])  # the first relation has two descriptions, the second one
    logits = relation_logits(scores, owner, owner.bincount(), aggregation)
    assert logits[0].tolist() == pytest.approx(expected)
    logits[0, 0].backward()
    assert scores.grad[0].tolist() == ([0.0, 0.0, 1.0] if aggregation == "max" else [0.5, 0.0, 0.5])


@pytest.mark.parametrize(("aggregation", "of_none"), [("max", -math.inf), ("mean", 0.0)])
def test_a_relation_without_rows(aggregation, of_none):
    """As a negative one with a learned threshold has none: its logit is put in its place afterwards."""
    scores, owner = torch.tensor([[2.0, 3.0]]), torch.tensor([2, 0])
    counts = owner.bincount(minlength=3)
    assert relation_logits(scores, owner, counts, aggregation).tolist() == [[3.0, of_none, 2.0]]


def test_one_description_a_relation_needs_no_aggregation():
    scores, owner = torch.tensor([[2.0, 3.0]]), torch.arange(2)
    assert relation_logits(scores, owner, owner.bincount(), "max", one_each=True) is scores


def test_offsets_are_for_answers_and_not_for_training(make_model, batch):
    """A training loop of one's own gets the loss that it would get without them, and the same gradient."""
    losses, gradients = [], []
    for offsets in (None, {"none": 6.0, "/per/per/peer": -3.0}):
        model = make_model(pair_dropout=0.0).train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model.set_relation_offsets(offsets)
        output = model(**batch)
        output.loss.backward()
        losses.append(output.loss.item())
        gradients.append(model.pair_projection.weight.grad)
        with torch.no_grad():
            answer = model(**batch).logits
        shift = torch.tensor([6.0, 0.0, -3.0]) if offsets else torch.zeros(3)
        assert torch.allclose(answer, output.logits + shift, atol=1e-4)
    assert losses[0] == pytest.approx(losses[1], abs=1e-6) and torch.allclose(*gradients, atol=1e-6)


def test_a_threshold_that_would_learn_nothing_is_refused_in_training(make_model, batch, processor, tmp_path):
    model = make_model(learn_negative_threshold=True)
    model.set_relations({"a": "Head likes tail.", "b": "Head has tail.", "c": "Head fights tail."}, processor)
    assert model(**batch).logits.shape == (4, 3)  # all of them are answers
    model.save_pretrained(tmp_path)
    assert torch.equal(type(model).from_pretrained(tmp_path)(**batch).logits, model(**batch).logits)
    with pytest.raises(ValueError, match="no relation is the negative one, .* name it by negative_relation"):
        model.train()(**batch)


def test_an_answer_with_dropout_is_an_answer(make_model, batch):
    """In training mode without gradient the model answers as it does in inference, but for dropout."""
    model = make_model(own_relation_encoder=True).train()
    with torch.no_grad():
        first, second = (model(**batch) for _ in range(2))
    assert not torch.equal(first.logits, second.logits)
    assert torch.allclose(first.pair_embeds.norm(dim=-1), torch.ones(4), atol=1e-5)

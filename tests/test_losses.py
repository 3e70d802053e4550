# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Loss and aggregation against numbers worked out by hand."""

import math

import pytest
import torch

from modeling_roc.losses_roc import info_nce, relation_logits


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


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [("max", [4.0, 3.0]), ("mean", [3.0, 3.0]), ("logsumexp", [math.log((math.e**2 + math.e**4) / 2), 3.0])],
)
def test_aggregation_by_hand(aggregation, expected):
    scores = torch.tensor([[2.0, 3.0, 4.0]])
    entries = torch.tensor([[0, 2], [1, -1]])  # the first relation has two descriptions, the second one
    assert relation_logits(scores, entries, aggregation)[0].tolist() == pytest.approx(expected)


def test_one_description_a_relation_needs_no_aggregation():
    scores = torch.tensor([[2.0, 3.0, 4.0]])
    assert relation_logits(scores, torch.tensor([[2], [0]]), "max").tolist() == [[4.0, 2.0]]

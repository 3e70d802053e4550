# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Regions of the patch grid, worked out by hand."""

import pytest
import torch

from modeling_roc.modeling_roc import ObjectEmbedding, crop_regions, object_roles, pool_regions

# 2 rows x 3 columns of patches, each with its own number.
PATCHES = torch.tensor([[[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]]])


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 1 / 3, 1 / 2), 1.0),  # exactly one patch
        ((1 / 3, 1 / 2, 2 / 3, 1), 5.0),
        ((0, 0, 2 / 3, 1 / 2), 1.5),  # half and half
        ((1 / 6, 0, 1 / 2, 1 / 2), 1.5),  # half of one and half of the next
        ((0.25, 0, 1 / 3 + 0.25, 1 / 2), 1.75),  # a quarter of one, three quarters of the next
        ((0, 0.25, 1 / 3, 0.75), 2.5),  # half of the upper, half of the lower
        ((0, 0, 1, 1), 3.5),
        ((0.8, 0.9, 0.81, 0.91), 6.0),  # within a patch
        ((0.999999, 0.999999, 1, 1), 6.0),
    ],
)
def test_pooling_by_hand(box, expected):
    pooled = pool_regions(PATCHES, torch.tensor([[box]], dtype=torch.float32), (2, 3))
    assert pooled.shape == (1, 1, 1) and pooled.item() == pytest.approx(expected, abs=1e-4)


def test_gradients_reach_exactly_the_patches_of_the_box():
    patches = PATCHES.clone().requires_grad_()
    boxes = torch.tensor([[[0, 0, 2 / 3, 1 / 2], [1 / 3, 0, 1, 1]]], requires_grad=True)
    pool_regions(patches, boxes, (2, 3))[0, 0].sum().backward()
    assert patches.grad.flatten().tolist() == pytest.approx([0.5, 0.5, 0, 0, 0, 0])
    assert boxes.grad is not None


def test_pooling_agrees_with_a_fine_grid():
    torch.manual_seed(0)
    patches = torch.randn(2, 12, 5)
    boxes = torch.tensor([[[10, 20, 70, 50], [0, 0, 3, 120]], [[60, 60, 120, 90], [31, 7, 33, 8]]]) / 120
    pooled = pool_regions(patches, boxes, (3, 4))
    fine = patches.view(2, 3, 4, 5).repeat_interleave(40, dim=1).repeat_interleave(30, dim=2)
    for row in range(2):
        for place, (x0, y0, x1, y1) in enumerate((boxes[row] * 120).round().int().tolist()):
            assert torch.allclose(pooled[row, place], fine[row, y0:y1, x0:x1].mean(dim=(0, 1)), atol=1e-5)


def test_crops_by_hand():
    pictures = torch.zeros(2, 1, 4, 4)
    pictures[1, 0, :2, 2:] = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    whole, corner = torch.tensor([[0.0, 0, 1, 1], [0.5, 0, 1, 0.5]])
    crops = crop_regions(pictures, torch.tensor([1, 1]), torch.stack([whole, corner]))
    assert torch.allclose(crops[0], pictures[1], atol=1e-6)
    # The corner of 2 x 2 enlarged to 4 x 4. Its second row lies a quarter of the way from the first row of pixels to
    # the second, and is seen at columns 1.75 (a quarter of the neighbour outside), 2.25, 2.75 and 3.25 (the edge).
    assert crops[1, 0, 1].tolist() == pytest.approx([0.75 * 1.5, 1.75, 2.25, 2.5])


def test_roles():
    roles = object_roles(torch.tensor([7, 3]), torch.tensor([5, 6]), text_length=5, num_objects=3)
    assert roles.tolist() == [[2, 0, 1], [0, 2, 0]]


def test_two_objects_at_one_place_differ_by_their_role():
    torch.manual_seed(0)
    embedding = ObjectEmbedding(8)
    boxes = torch.tensor([[[0.1, 0.1, 0.5, 0.5]] * 3])
    tokens = embedding(boxes, torch.tensor([[0, 1, 2]]), torch.randn(1, 1, 8).expand(1, 3, 8))
    assert not torch.allclose(tokens[0, 1], tokens[0, 2]) and not torch.allclose(tokens[0, 0], tokens[0, 1])
    assert tokens.shape == (1, 3, 8)

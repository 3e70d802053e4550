# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Objects of the picture as tokens of the joint sequence: what lies in their box, where it is, and their role."""

import torch
from torch import nn
from torch.nn import functional as F

ROLES = ("context", "head", "tail")


class ObjectEmbedding(nn.Module):
    """
    A token for each object: LayerNorm(what lies in its box + its position and area + its role).

    Args:
        hidden_size: of the joint sequence.
    """

    def __init__(self, hidden_size: int):
        super().__init__()
        self.position = nn.Sequential(nn.Linear(7, hidden_size), nn.LayerNorm(hidden_size))
        self.role = nn.Embedding(len(ROLES), hidden_size)
        self.norm = nn.LayerNorm(hidden_size)

    def forward(self, boxes: torch.Tensor, roles: torch.Tensor, regions: torch.Tensor | None) -> torch.Tensor:
        """
        Args:
            boxes (batch, num_objects, 4): corners x0, y0, x1, y1, 0 to 1.
            roles (batch, num_objects): places in `ROLES`.
            regions (batch, num_objects, hidden_size): what lies in the boxes; `None` without a picture.

        Returns:
            (batch, num_objects, hidden_size).
        """
        tokens = self.position(_geometry(boxes).to(self.role.weight.dtype)) + self.role(roles)
        return self.norm(tokens if regions is None else tokens + regions.to(tokens.dtype))


def _geometry(boxes: torch.Tensor) -> torch.Tensor:
    """Corners, width, height and area: (..., 4) → (..., 7), each from -1 to 1."""
    size = boxes[..., 2:] - boxes[..., :2]
    return 2 * torch.cat([boxes, size, size.prod(dim=-1, keepdim=True)], dim=-1) - 1


def object_roles(
    head_index: torch.Tensor, tail_index: torch.Tensor, text_length: int, num_objects: int
) -> torch.Tensor:
    """Places in `ROLES` of the objects behind a text of `text_length`: (batch,), (batch,) → (batch, num_objects)."""
    places = torch.arange(text_length, text_length + num_objects, device=head_index.device)
    is_head, is_tail = (places == index[:, None] for index in (head_index, tail_index))
    return is_head * ROLES.index("head") + is_tail * ROLES.index("tail")


def pool_regions(patches: torch.Tensor, boxes: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """
    RoI pooling with sub-patch accuracy: the mean of the patches that a box covers, each weighted with the area of it
    that the box covers. A box on exactly one patch gives that patch.

    Args:
        patches (batch, rows * columns, dim): features of the patch grid, row by row.
        boxes (batch, num_objects, 4): corners x0, y0, x1, y1 as fractions of the picture, 0 to 1, not empty.
        grid: (rows, columns) of patches.

    Returns:
        (batch, num_objects, dim), of the patches' type.
    """
    rows = _overlap(boxes[..., 1], boxes[..., 3], grid[0])
    columns = _overlap(boxes[..., 0], boxes[..., 2], grid[1])
    weights = (rows[..., :, None] * columns[..., None, :]).flatten(-2)
    return weights.to(patches.dtype) @ patches


def _overlap(low: torch.Tensor, high: torch.Tensor, count: int) -> torch.Tensor:
    """Shares of the interval [low, high] that lie in each of `count` equal parts of [0, 1]: (...) → (..., count)."""
    edges = torch.arange(count, device=low.device)
    low, high = low[..., None] * count, high[..., None] * count
    covered = (torch.minimum(high, edges + 1) - torch.maximum(low, edges)).clamp(min=0)
    return covered / covered.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(covered.dtype).tiny)


def crop_regions(pixel_values: torch.Tensor, image_index: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """
    Boxes cut out of pictures and enlarged to their size, bilinearly.

    Args:
        pixel_values (num_images, 3, height, width).
        image_index (num_boxes,): row of pixel_values.
        boxes (num_boxes, 4): corners as fractions.

    Returns:
        (num_boxes, 3, height, width).
    """
    scale, center = boxes[:, 2:] - boxes[:, :2], boxes[:, :2] + boxes[:, 2:] - 1
    theta = torch.stack(
        [
            torch.stack([scale[:, 0], torch.zeros_like(scale[:, 0]), center[:, 0]], dim=-1),
            torch.stack([torch.zeros_like(scale[:, 1]), scale[:, 1], center[:, 1]], dim=-1),
        ],
        dim=1,
    ).to(pixel_values.dtype)
    grid = F.affine_grid(theta, [len(boxes), *pixel_values.shape[1:]], align_corners=False)
    return F.grid_sample(pixel_values[image_index], grid, padding_mode="border", align_corners=False)

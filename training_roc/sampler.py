# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The order in which training pairs are seen: pairs of one picture together, texts of like length together."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler


class PictureGroupedSampler(Sampler[int]):
    """
    A random order in which a batch pays for few pictures and little padding.

    Pairs that share a picture form a group; groups are shuffled, and within every `batch_size * window` pairs they
    are sorted by their longest text and cut into batches, whose order is shuffled again. The order depends on seed,
    epoch and **global** batch size only, so that one process and several see the same batches. The last batch is
    filled up from the start of the order: every pair is seen at least once an epoch, and every step has
    `batch_size` pairs.

    Args:
        lengths: tokens of each pair's text.
        image_ids: picture of each pair; `None` where it has none.
        batch_size: pairs an optimizer step: per device × processes × accumulation steps.
        seed: of the shuffling; the epoch is added to it.
        window: batches that are sorted by length together.
    """

    def __init__(
        self, lengths: Sequence[int], image_ids: Sequence[str | None], batch_size: int, seed: int = 0, window: int = 50
    ):
        groups = defaultdict(list)
        for index, image_id in enumerate(image_ids):
            groups[index if image_id is None else image_id].append(index)
        self.groups = list(groups.values())
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.window = window
        self.epoch = 0

    def set_epoch(self, epoch: int):
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch_size) * self.batch_size

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = [self.groups[i] for i in torch.randperm(len(self.groups), generator=generator).tolist()]
        indices = []
        for part in self._windows(order):
            part.sort(key=lambda group: max(self.lengths[index] for index in group))
            indices += [index for group in part for index in group]
        while len(indices) < len(self):
            indices += indices[: len(self) - len(indices)]
        batches = torch.tensor(indices).view(-1, self.batch_size)
        yield from batches[torch.randperm(len(batches), generator=generator)].flatten().tolist()

    def _windows(self, order: list[list[int]]) -> Iterator[list[list[int]]]:
        part, size = [], 0
        for group in order:
            part.append(group)
            size += len(group)
            if size >= self.batch_size * self.window:
                yield part
                part, size = [], 0
        if part:
            yield part

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
    filled up from the start of the order: every step has `batch_size` pairs, and without `dataset_weights` every pair
    is seen at least once an epoch.

    Args:
        lengths: tokens of each pair's text.
        image_ids: picture of each pair; `None` where it has none.
        batch_size: pairs an optimizer step: per device × processes × accumulation steps.
        seed: of the shuffling; the epoch is added to it.
        window: batches that are sorted by length together.
        dataset_index: which data set each pair is of. Default: all of one.
        dataset_weights: how often an epoch sees the pairs of each data set, above 0: with 2.5 each twice, and half of
            them, drawn anew in each epoch, once more. Default: each once.

    Raises:
        ValueError: if an epoch would see no pair.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        image_ids: Sequence[str | None],
        batch_size: int,
        seed: int = 0,
        window: int = 50,
        dataset_index: Sequence[int] | None = None,
        dataset_weights: Sequence[float] | None = None,
    ):
        self.image_ids = image_ids
        datasets = defaultdict(list)
        for index, dataset in enumerate(dataset_index or [0] * len(lengths)):
            datasets[dataset].append(index)
        # Of each data set: its pairs, how often each is seen, and how many of them once more.
        self.datasets: list[tuple[list[int], int, int]] = []
        for dataset, indices in datasets.items():
            weight = 1 if dataset_weights is None else dataset_weights[dataset]
            self.datasets.append((indices, int(weight), round((weight - int(weight)) * len(indices))))
        self.size = sum(times * len(indices) + rest for indices, times, rest in self.datasets)
        if not self.size:
            raise ValueError(f"dataset_weights {dataset_weights}: an epoch would see no pair")
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.window = window
        self.epoch = 0

    def set_epoch(self, epoch: int):
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.size // self.batch_size) * self.batch_size

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        groups = self._groups(generator)
        order = [groups[i] for i in torch.randperm(len(groups), generator=generator).tolist()]
        indices = []
        for part in self._windows(order):
            part.sort(key=lambda group: max(self.lengths[index] for index in group))
            indices += [index for group in part for index in group]
        while len(indices) < len(self):
            indices += indices[: len(self) - len(indices)]
        batches = torch.tensor(indices).view(-1, self.batch_size)
        yield from batches[torch.randperm(len(batches), generator=generator)].flatten().tolist()

    def _groups(self, generator: torch.Generator) -> list[list[int]]:
        """An epoch's pairs, those of one picture together, but for their repetitions."""
        groups = defaultdict(list)
        for indices, times, rest in self.datasets:
            drawn = []
            if rest:
                drawn = [indices[i] for i in torch.randperm(len(indices), generator=generator)[:rest].tolist()]
            for time, part in enumerate([*[indices] * times, drawn]):
                for index in part:
                    image_id = self.image_ids[index]
                    groups[time, index if image_id is None else image_id].append(index)
        return list(groups.values())

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

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The order of training pairs: complete, reproducible, few pictures, little padding, the same for all processes."""

import random

import pytest
from accelerate.data_loader import BatchSamplerShard
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import BatchSampler

from training_roc.sampler import PictureGroupedSampler

PAIRS = st.lists(
    st.tuples(st.integers(4, 60), st.one_of(st.none(), st.sampled_from("abcdef"))), min_size=1, max_size=60
)


def batches_of(indices, size: int) -> list[list[int]]:
    return [indices[start : start + size] for start in range(0, len(indices), size)]


@given(pairs=PAIRS, batch_size=st.integers(1, 20), window=st.integers(1, 4), epoch=st.integers(0, 3))
def test_every_pair_is_seen_in_whole_batches_that_share_few_pictures(pairs, batch_size, window, epoch):
    lengths, image_ids = zip(*pairs, strict=True)
    sampler = PictureGroupedSampler(lengths, image_ids, batch_size, seed=3, window=window)
    sampler.set_epoch(epoch)
    order = list(sampler)
    assert len(order) == len(sampler)
    assert len(order) % batch_size == 0 and 0 <= len(order) - len(pairs) < batch_size
    assert set(order) == set(range(len(pairs)))
    assert list(sampler) == order
    # A picture stands in one batch only, unless a batch's border cuts it or it fills up the last batch.
    pictures = [image_id if image_id is not None else index for index, image_id in enumerate(image_ids)]
    batches = batches_of(order, batch_size)
    encoded = sum(len({pictures[index] for index in batch}) for batch in batches)
    assert encoded <= len(set(pictures)) + len(batches) - 1 + len(order) - len(pairs)


def test_seed_and_epoch_decide_the_order():
    lengths, image_ids = [10] * 40, [None] * 40

    def order(seed, epoch):
        sampler = PictureGroupedSampler(lengths, image_ids, 8, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(0, 1) == order(0, 1)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)


def test_padding_is_far_below_random_order():
    """Lengths as in MNRE: 31 tokens on average, at most 59. Padding is what a batch holds besides its own tokens."""
    rng = random.Random(0)
    lengths = [min(max(round(rng.gauss(31, 10)), 8), 59) for _ in range(2000)]
    image_ids = [f"picture {rng.randrange(1200)}" for _ in lengths]

    def padding(order):
        batches = [[lengths[index] for index in batch] for batch in batches_of(order, 16)]
        padded = sum(len(batch) * max(batch) for batch in batches)
        return 1 - sum(map(sum, batches)) / padded

    shuffled = list(range(2000))
    rng.shuffle(shuffled)
    assert padding(shuffled) > 0.25
    assert padding(list(PictureGroupedSampler(lengths, image_ids, 16))) < 0.6 * padding(shuffled)


def test_batches_come_in_random_order_of_length():
    """Training must not go from short texts to long ones."""
    lengths = list(range(1, 401))
    order = list(PictureGroupedSampler(lengths, [None] * 400, 8))
    longest = [max(lengths[index] for index in batch) for batch in batches_of(order, 8)]
    assert longest != sorted(longest)
    assert sorted(longest) == list(range(8, 401, 8))


@pytest.mark.parametrize("accumulation", [1, 3])
def test_several_processes_share_the_batches_of_one(accumulation):
    """Accelerate deals out batches of a device; what the processes hold in one optimizer step is the global batch."""
    rng = random.Random(1)
    lengths = [rng.randrange(5, 60) for _ in range(101)]
    image_ids = [f"picture {rng.randrange(50)}" for _ in lengths]
    steps = {}
    for num_processes in (1, 2, 4):
        per_device = 8 // num_processes
        sampler = PictureGroupedSampler(lengths, image_ids, 8 * accumulation)
        shards = [
            [index for batch in BatchSamplerShard(batches, num_processes, rank) for index in batch]
            for rank in range(num_processes)
            for batches in [BatchSampler(sampler, per_device, drop_last=False)]
        ]
        assert {len(shard) for shard in shards} == {len(sampler) // num_processes}
        cut = [batches_of(shard, per_device * accumulation) for shard in shards]
        steps[num_processes] = [sorted(sum(parts, [])) for parts in zip(*cut, strict=True)]
    assert steps[1] == steps[2] == steps[4]

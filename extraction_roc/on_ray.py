# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""A run on the machines of a Ray cluster: actors hold the model, read parts and make their files, this process keeps
them."""

import contextlib
import logging
import os
import signal
import socket
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from importlib.util import find_spec
from itertools import islice
from typing import Any

import pyarrow as pa

from data_scripts.command import in_words
from data_scripts.hub_errors import HubError
from data_scripts.reading import DataError
from extraction_roc.extractor import ExtractorSettings
from extraction_roc.parts import Run
from extraction_roc.posts import Posts
from extraction_roc.run import PartExtractor

MOST_RETRIES = 10
"""How often a part is done again whose actor died: a post that kills each of them must not go round for ever."""


class Actor:
    """What Ray makes once in each of its processes: it answers numbers of parts by their files."""

    def __init__(self, settings: ExtractorSettings, posts: Posts, part_size: int, folder: str):
        self.settings, self.posts, self.part_size = settings, posts, part_size
        pa.set_memory_pool(pa.system_memory_pool())
        with contextlib.suppress(OSError):  # relative paths are those of the command
            os.chdir(folder)

    @cached_property
    def extract(self) -> PartExtractor:
        images, extract = self.settings.image_dir, PartExtractor(self.settings, self.posts)
        if extract.extractor.revision != self.settings.revision:
            raise DataError(f"{self.settings.model_name_or_path} is another model than where the command runs")
        if images is not None and not images.is_dir():
            raise DataError(f"--image_dir {images} is no folder")
        return extract

    def __call__(self, batch: dict[str, Any]) -> dict[str, list]:
        """A batch is one part; what is wrong with the node is told in words, as Ray's errors lose their type."""
        start, content, problem = int(batch["number"][0]) * self.part_size, b"", ""
        size = min(self.part_size, self.posts.num_posts - start)
        try:
            records = [*islice(self.posts.read(start), size)]
            if len(records) < size:
                raise DataError(f"{self.posts.name} has fewer posts than where the command runs")
            content = self.extract(start, records)
        except (DataError, HubError, OSError) as error:
            problem = f"on the node {socket.gethostname()}: {in_words(error)}"
        return {"number": batch["number"], "size": [size], "content": [content], "problem": [problem]}


def check_ray() -> None:
    """
    Raises:
        DataError: Ray Data is not installed.
    """
    if find_spec("ray") is None:
        raise DataError("--engine ray needs Ray: pip install -e .[ray]")


def on_ray(run: Run, posts: Posts, options: Namespace, on_done: Callable[[int], Any]) -> Iterator[tuple[int, bytes]]:
    """The parts that are to do, in the order in which the actors have done them. Ray starts an actor again that died,
    and gives it the parts that it had.

    The cluster is RAY_ADDRESS's, or that of this machine, or one of this machine's own that ends with the command.

    Raises:
        DataError: the input cannot be read from any place on, the cluster has no room for the actors, something is not
            there or another on one of its nodes, or a part's actors died more than MOST_RETRIES times.
    """
    if not posts.seeks:
        raise DataError(f"--engine ray reads JSON lines and Parquet, and {posts.name} is neither")
    import ray
    import ray.data
    from ray.exceptions import RayError

    num_gpus, device = options.num_gpus or 0, options.device or ("cuda" if options.num_gpus else "cpu")
    settings = replace(options.extractor, revision=run.settings["model"], device=device)
    todo = [number for number in range(-(-posts.num_posts // options.part_size)) if not run.has(number)]
    if not todo:
        return
    handler = signal.getsignal(signal.SIGTERM)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        with ray.init(log_to_driver=False, logging_level=logging.ERROR):
            signal.signal(signal.SIGTERM, handler)  # Ray puts its own in its place where it starts a cluster
            room = count_room([node["Resources"] for node in ray.nodes() if node["Alive"]], num_gpus)
            if room < (options.concurrency or 1):
                raise DataError(
                    f"the Ray cluster has room for {room} actors of 1 CPU and {num_gpus:g} GPUs, not for "
                    f"{options.concurrency or 1}: see --num_gpus and --concurrency"
                )
            ray.data.DataContext.get_current().enable_progress_bars = False
            parts = ray.data.from_items([{"number": number} for number in todo], override_num_blocks=len(todo))
            done = parts.map_batches(
                Actor,
                fn_constructor_args=(settings, posts, options.part_size, os.getcwd()),
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=min(options.concurrency or room, len(todo))),
                num_cpus=1,
                num_gpus=num_gpus,
                max_task_retries=MOST_RETRIES,
            )
            for part in done.iter_rows():
                if part["problem"]:
                    raise DataError(part["problem"])
                yield part["number"], part["content"]
                on_done(part["size"])
    except (RayError, ConnectionError) as error:
        raise DataError(f"Ray: {error}") from error


def count_room(nodes: list[dict[str, float]], num_gpus: float) -> int:
    """How many actors of one CPU and so many GPUs nodes of these resources hold."""
    return sum(
        int(min(node.get("CPU", 0), node.get("GPU", 0) / num_gpus + 1e-6 if num_gpus else float("inf")))
        for node in nodes
    )

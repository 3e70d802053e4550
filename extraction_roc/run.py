# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""A run: what it depends on, and posts that go through the extractor part by part."""

import hashlib
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from data_scripts.descriptions.files import load_descriptions
from data_scripts.reading import DataError
from extraction_roc.extractor import ExtractorSettings, PostExtractor, find_revision
from extraction_roc.parts import Run, encode_part
from extraction_roc.posts import NUM_SHOWN, Posts, Record


def describe_run(options: Namespace, posts: Posts) -> dict[str, str]:
    """What a run's rows depend on; it can only be gone on with while this is the same."""
    extractor = options.extractor
    relations = None
    if extractor.relations_file is not None:
        content = repr(load_descriptions(extractor.relations_file)).encode()
        relations = f"sha256:{hashlib.sha256(content).hexdigest()[:16]}"
    # A tagger's or detector's folder may hold another one by now.
    finders = [str(one).removeprefix("hf:") for one in (extractor.entity_tagger, extractor.object_detector)]
    return {
        "input": posts.identity,
        "model": find_revision(extractor.model_name_or_path, extractor.revision),
        **{
            f"--{name}": getattr(extractor, name)
            for name in ("entity_tagger", "object_detector", "candidate_labels", "max_entities", "threshold", "dtype")
        },
        "tagger and detector": [find_revision(name) for name in finders if Path(name).is_dir()],
        "relations_file": relations,
        "--image_dir": None if extractor.image_dir is None else str(extractor.image_dir.resolve()),
        **{f"--{name}_column": column for name, column in vars(extractor.columns).items()},
        "--part_size": options.part_size,
    }


class PartExtractor:
    """Makes parts of posts in one process: this one, or one of many.

    Raises:
        DataError, HubError: as [`PostExtractor`]; or the posts have pictures, which the model cannot read.
    """

    def __init__(self, settings: ExtractorSettings, posts: Posts):
        self.extractor = PostExtractor(settings)
        shown = islice(posts.read(0), NUM_SHOWN)
        image = settings.columns.image
        if not self.extractor.reads_pictures and any(isinstance(one, dict) and one.get(image) for one in shown):
            raise DataError(
                f"{posts.name} has pictures, and {settings.model_name_or_path} reads texts only: to leave the "
                "pictures out, say --image_column ''"
            )

    def __call__(self, start: int, records: Sequence[Record], on_done: Callable[[int], Any] | None = None) -> bytes:
        """The file of the part from position `start` on; `on_done` is told how many more of its posts are done."""
        rows = self.extractor([*enumerate(records, start)], on_done)
        return encode_part(start, start + len(records), rows)


def extract_parts(run: Run, posts: Posts, options: Namespace, engine: Callable[..., Iterator]) -> None:
    """Reads all posts whose parts are not finished, and finishes them one by one.

    Args:
        engine: called as `in_this_process` is, it yields each part that the run has not yet with its number.
    """
    with tqdm(total=posts.num_posts, initial=run.num_done, unit=" posts", desc="Extracting", smoothing=0.1) as bar:
        with closing(engine(run, posts, options, bar.update)) as parts:
            for number, content in parts:
                run.write(number, content)
                bar.set_postfix(failed=run.num_errors)
    run.finish()


def in_this_process(
    run: Run, posts: Posts, options: Namespace, on_done: Callable[[int], Any]
) -> Iterator[tuple[int, bytes]]:
    """The parts that are to do, made one after the other; `on_done` is told how many more posts are done."""
    extract = PartExtractor(options.extractor, posts)
    number = 0
    while run.has(number):
        number += 1
    start = number * options.part_size
    stream = posts.read(start)
    while records := [*islice(stream, options.part_size)]:
        if not run.has(number):
            yield number, extract(start, records, on_done)
        number, start = number + 1, start + len(records)

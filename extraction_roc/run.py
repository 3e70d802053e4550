# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""A run on one machine: posts go through the extractor part by part."""

import hashlib
from argparse import Namespace
from itertools import islice
from pathlib import Path

from tqdm.auto import tqdm

from data_scripts.descriptions.files import load_descriptions
from data_scripts.reading import DataError
from extraction_roc.extractor import PostExtractor, find_revision
from extraction_roc.parts import Run, read_part
from extraction_roc.posts import NUM_SHOWN, Posts


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


def extract_parts(run: Run, posts: Posts, extractor: PostExtractor, part_size: int) -> None:
    """Reads all posts whose parts are not finished, and finishes them one by one.

    Raises:
        DataError: the posts have pictures, which the model cannot read.
    """
    image = extractor.settings.columns.image
    shown = islice(posts.read(0), NUM_SHOWN)
    if not extractor.reads_pictures and any(isinstance(record, dict) and record.get(image) for record in shown):
        raise DataError(
            f"{posts.name} has pictures, and {extractor.settings.model_name_or_path} reads texts only: to leave the "
            "pictures out, say --image_column ''"
        )
    number = 0
    while run.has(number):
        number += 1
    start = read_part(run.path_of(number - 1))["positions"][1] if number else 0
    stream = posts.read(start)
    with tqdm(total=posts.num_posts, initial=start, unit=" posts", desc="Extracting", smoothing=0.1) as bar:
        while records := [*enumerate(islice(stream, part_size), start=start)]:
            end = start + len(records)
            if not run.has(number):
                run.write(number, start, end, extractor(records, on_done=bar.update))
            bar.set_postfix(failed=run.num_errors)
            number, start = number + 1, end
    run.finish(start)

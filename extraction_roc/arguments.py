# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The command line of extract.py."""

import argparse
from pathlib import Path

from extraction_roc.extractor import ExtractorSettings
from extraction_roc.formats import FORMATS
from extraction_roc.posts import Columns


def parse_arguments(arguments: list[str], description: str) -> argparse.Namespace:
    """What the command line asks for; `extractor` in it is an [`ExtractorSettings`]."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model_name_or_path", required=True, help="a trained model: on the Hub, or a folder")
    add("--model_revision", help="its branch, tag or commit on the Hub")
    add(
        "--input",
        required=True,
        help="posts: .jsonl, .csv or .parquet, a file or several by a *, also by a URL; a data set's name or folder",
    )
    add("--output_dir", type=Path, required=True, help="folder to write, or of a run to go on with")
    add("--image_dir", type=Path, help="folder of the pictures, where posts name them by paths")
    add("--entity_tagger", help="who finds entities in the texts: spacy:<pipeline> or hf:<token-classification model>")
    add("--object_detector", help="who finds objects in the pictures: an object-detection model")
    add("--candidate_labels", nargs="+", help="what a zero-shot object detector looks for")
    add("--max_entities", type=int, default=32, help="most entities of a post, the best found; default: %(default)s")
    add(
        "--threshold",
        default="auto",
        help="probability that a triple must reach; auto is the model's own, the default",
    )
    add("--relations_file", type=Path, help="relations to look for in place of the model's own")
    for name, what in (("id", "id"), ("text", "text"), ("image", "picture"), ("entities", "own entities")):
        add(f"--{name}_column", default=name, help=f"the field of a post's {what}, '' for none; default: %(default)s")
    add("--dataset_config_name", help="configuration of a data set")
    add("--dataset_split", default="train", help="split of a data set; default: %(default)s")
    add("--dataset_revision", help="branch, tag or commit of a data set on the Hub")
    add(
        "--batch_size",
        type=int,
        default=32,
        help="posts that are read, and pairs that are asked, at once; default: %(default)s",
    )
    add("--device", help="cpu, cuda, cuda:1, …; by default a GPU if there is one")
    add("--dtype", choices=["float32", "bfloat16", "float16"], help="of the model; by default the checkpoint's own")
    add(
        "--part_size",
        type=int,
        default=1000,
        help="posts of a part, which a killed run does again; default: %(default)s",
    )
    add("--engine", choices=["local", "ray"], default="local", help="this process, or a Ray cluster's; default: local")
    add("--num_gpus", type=float, help="of Ray: GPUs of each actor, 0.5 for two that share one; default: 0")
    add("--concurrency", type=int, help="of Ray: how many actors hold the model; by default as many as have room")
    add("--formats", nargs="+", choices=FORMATS, default=[], help="the graph in further formats")
    add("--report", action="store_true", help="write report.html: the graph, and its edges with their posts")
    options = parser.parse_args(arguments)
    for name in ("batch_size", "part_size"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1, not {getattr(options, name)}")
    for name in ("num_gpus", "concurrency"):
        value = getattr(options, name)
        if value is not None and options.engine != "ray":
            parser.error(f"--{name} is for --engine ray")
        if value is not None and value < (name == "concurrency"):
            parser.error(f"--{name} must be at least {int(name == 'concurrency')}, not {value:g}")
    if options.max_entities < 2:
        parser.error(f"--max_entities must be at least 2, not {options.max_entities}")
    if options.threshold != "auto":
        try:
            options.threshold = float(options.threshold)
            if not 0 <= options.threshold <= 1:
                raise ValueError
        except ValueError:
            parser.error(f"--threshold must be auto or a probability, 0 to 1, not {options.threshold!r}")
    options.image_dir = options.image_dir and options.image_dir.expanduser()
    options.output_dir = options.output_dir.expanduser()
    options.columns = Columns(*(getattr(options, f"{name}_column") for name in ("id", "text", "image", "entities")))
    options.extractor = ExtractorSettings(
        model_name_or_path=options.model_name_or_path,
        revision=options.model_revision,
        **{
            name: getattr(options, name)
            for name in (
                "entity_tagger", "object_detector", "candidate_labels", "max_entities", "threshold", "relations_file",
                "columns", "image_dir", "batch_size", "device", "dtype",
            )
        },
    )  # fmt: skip
    return options

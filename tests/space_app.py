# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The Space's app on loopback, started as a Space is: one flat folder, without this project's packages."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import torch
from test_remote_code import WITHOUT_PROJECT

from data_scripts.demo.dataset import (
    NEGATIVE_RELATION,
    build_demo_tokenizer,
    demo_backbone_configs,
    demo_image_processor,
    load_demo_descriptions,
)
from modeling_roc import RocConfig, RocModel
from processing_roc import RelationExtractionPipeline, RocProcessor

SPACE = Path(__file__).parents[1] / "space"
EXAMPLES = json.loads((SPACE / "examples" / "examples.json").read_text(encoding="utf-8"))
START = f"{WITHOUT_PROJECT}\nimport runpy\nrunpy.run_path('app.py', run_name='__main__')\n"


def make_checkpoint(folder: Path) -> RelationExtractionPipeline:
    """Saves an untrained model of the demo's size with the demo's relations, and returns its pipeline."""
    torch.manual_seed(0)
    text_config, vision_config = demo_backbone_configs()
    processor = RocProcessor(demo_image_processor(), build_demo_tokenizer())
    text_config.vocab_size = len(processor.tokenizer)
    relations = {label: one["descriptions"] for label, one in load_demo_descriptions()["relations"].items()}
    config = RocConfig(
        text_config=text_config,
        vision_config=vision_config,
        projection_dim=32,
        object_features="roi",
        negative_relation=NEGATIVE_RELATION,
        id2label=dict(enumerate(relations)),
        label2id={label: index for index, label in enumerate(relations)},
    )
    model = RocModel(config)
    model.set_relations(relations, processor)
    extractor = RelationExtractionPipeline(model=model.eval(), processor=processor)
    extractor.save_pretrained(folder)
    return extractor


class SpaceApp:
    """The app in a process of its own. `url` is its address, `uploads` the folder that gradio puts uploads into."""

    def __init__(self, folder: Path, model: Path | str, **environment: str):
        shutil.copytree(SPACE, folder / "space", ignore=shutil.ignore_patterns("__pycache__"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url, self.uploads, self.log = f"http://127.0.0.1:{self.port}", folder / "uploads", folder / "log.txt"
        environment = {
            **os.environ,
            "ROC_MODEL": str(model),
            "GRADIO_SERVER_PORT": str(self.port),
            "GRADIO_TEMP_DIR": str(self.uploads),
            "HF_HOME": str(folder / "home"),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            **environment,
        }
        environment.pop("PYTHONPATH", None)
        with self.log.open("w") as log:
            command = [sys.executable, "-c", START]
            self.process = subprocess.Popen(command, cwd=folder / "space", env=environment, stdout=log, stderr=log)

    def wait(self) -> "SpaceApp":
        for _ in range(1200):  # five minutes at most
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.25)
        raise AssertionError(self.log.read_text())

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def example_input(number: int, head: dict | None = None, tail: dict | None = None) -> dict:
    """What the app should ask the pipeline for an example, or for other entities of its post."""
    post = EXAMPLES[number]
    head, tail = head or post["entities"][post["head"]], tail or post["entities"][post["tail"]]
    boxes = [entity for entity in [*post["entities"], head, tail] if entity["kind"] == "object"]
    objects = [{"box": box} for box in dict.fromkeys(tuple(entity["box"]) for entity in boxes)]
    image = str(SPACE / "examples" / post["picture"])
    return {"text": post["text"], "head": head, "tail": tail, "image": image, "objects": objects}


def mention(text: str, words: str, kind: str | None = None) -> dict:
    """The entity that `words` are in `text`."""
    return {"kind": "text", "start": text.index(words), "end": text.index(words) + len(words), "type": kind}

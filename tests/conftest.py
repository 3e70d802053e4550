# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Tiny parts that many tests share."""

import pytest
import torch
from demo_runs import train
from hub_server import HubServer
from small_runs import place, renamed, run, trained  # noqa: F401
from transformers import BertConfig, ViTConfig, pipeline

from data_scripts.demo.dataset import build_demo_tokenizer, demo_image_processor
from modeling_roc import RocConfig, RocModel
from processing_roc import RocProcessor

RELATIONS = {
    "none": ["Nothing ties head and tail."],
    "/per/org/member_of": ["The head belongs to the tail.", "The tail is a group and the head is in it."],
    "/per/per/peer": ["Head and tail are friends."],
}


@pytest.fixture
def processor():
    return RocProcessor(demo_image_processor(), build_demo_tokenizer(), max_length=64)


@pytest.fixture
def make_model(processor):
    """Builds a tiny model with the relations above; keyword arguments go to its config."""

    def make(relations=RELATIONS, own_relation_encoder=False, with_vision=True, **kwargs):
        torch.manual_seed(0)
        text_config = BertConfig(
            vocab_size=len(processor.tokenizer),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
        )
        vision_config = ViTConfig(
            image_size=64,
            patch_size=32,
            hidden_size=24,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=48,
        )
        model = RocModel(
            RocConfig(
                text_config=text_config,
                vision_config=vision_config if with_vision else None,
                relation_config=text_config.to_dict() if own_relation_encoder else None,
                projection_dim=16,
                negative_relation="none",
                id2label=dict(enumerate(RELATIONS)),
                label2id={label: index for index, label in enumerate(RELATIONS)},
                **kwargs,
            )
        )
        if model.config.objective == "retrieval":
            model.set_relations(relations, processor)
        return model.eval()

    return make


@pytest.fixture
def pipe(make_model, processor):
    return pipeline("relation-extraction", model=make_model(), processor=processor)


@pytest.fixture
def batch(processor):
    """Four pairs: two of one picture, one of another, one without; the last is unlabelled."""
    from PIL import Image

    pictures = [Image.new("RGB", (80, 60), color) for color in ("red", "blue")]
    text = "Maya met Noah and the Rovers"
    spans = [((0, 4), (9, 13)), ((9, 13), (0, 4)), ((0, 4), (18, 28)), ((9, 13), (18, 28))]
    inputs = processor(
        text=[text] * 4,
        head=[{"start": head[0], "end": head[1], "type": "person"} for head, _ in spans],
        tail=[{"start": tail[0], "end": tail[1]} for _, tail in spans],
        images=[pictures[0], pictures[0], pictures[1], None],
        return_tensors="pt",
    )
    return {**inputs, "labels": torch.tensor([0, 1, 2, -100])}


@pytest.fixture(scope="session")
def space_extractor(tmp_path_factory):
    """The pipeline of an untrained model with boxes; its `folder` holds the checkpoint."""
    from space_app import make_checkpoint

    folder = tmp_path_factory.mktemp("space_model")
    extractor = make_checkpoint(folder)
    extractor.folder = folder
    return extractor


@pytest.fixture(scope="session")
def space_app(space_extractor, tmp_path_factory):
    """The demo's app with that model, running; it must not have met an error that it did not expect."""
    pytest.importorskip("gradio", reason="gradio is not installed: pip install -e .[demo]")
    from space_app import SpaceApp

    app = SpaceApp(tmp_path_factory.mktemp("space_app"), space_extractor.folder)
    try:
        yield app.wait()
    finally:
        app.stop()
    assert "Traceback" not in app.log.read_text()


@pytest.fixture
def hub():
    """A Hub of the test's own, on loopback; subprocesses get it by `env=hub.environment(home)`."""
    server = HubServer()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory):
    """What `make demo` makes: (its folder, its scores). Takes minutes, so only slow tests may ask for it."""
    folder = tmp_path_factory.mktemp("demo") / "outputs" / "demo"
    folder.parent.mkdir()
    return folder, train(folder)

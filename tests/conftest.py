# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Tiny parts that many tests share."""

import pytest
import torch
from demo_runs import train
from hub_server import HubServer
from small_runs import place, renamed, run, trained  # noqa: F401
from transformers import (
    BertConfig,
    BertForTokenClassification,
    BertTokenizer,
    ViTConfig,
    YolosConfig,
    YolosForObjectDetection,
    YolosImageProcessorPil,
    pipeline,
)

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
                **{"vision_config": vision_config if with_vision else None, **kwargs},
                relation_config=text_config.to_dict() if own_relation_encoder else None,
                projection_dim=None if kwargs.get("text_residual") else 16,
                negative_relation="none",
                id2label=dict(enumerate(RELATIONS)),
                label2id={label: index for index, label in enumerate(RELATIONS)},
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
def checkpoint(make_model, processor, tmp_path):
    """A tiny model with its processor, as a folder."""
    folder = tmp_path / "model"
    make_model(object_features="roi").save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def pictures(tmp_path):
    """A folder of two pictures, red.png and blue.png."""
    from PIL import Image

    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, color in (("red", "red"), ("blue", "blue")):
        Image.new("RGB", (80, 60), color).save(folder / f"{name}.png")
    return folder


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
def tiny_tagger(tmp_path_factory):
    """A token-classification model without layers: each word piece has a tag of its own, worked out by hand."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ana", "##bel", "roy", "in", "oslo"]
    tags = {"ana": "B-PER", "##bel": "B-LOC", "roy": "I-PER", "oslo": "B-LOC"}
    labels = ["O", "B-PER", "I-PER", "B-LOC"]
    size = len(vocabulary)
    config = BertConfig(
        vocab_size=size,
        hidden_size=size,
        num_hidden_layers=0,
        num_attention_heads=1,
        intermediate_size=1,
        max_position_embeddings=8,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
    )
    model = BertForTokenClassification(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.bert.embeddings.word_embeddings.weight.copy_(torch.eye(size))
        model.bert.embeddings.LayerNorm.weight.fill_(1)
        for index, piece in enumerate(vocabulary):
            model.classifier.weight[labels.index(tags.get(piece, "O")), index] = 1
    folder = tmp_path_factory.mktemp("tagger")
    model.save_pretrained(folder)
    BertTokenizer(vocab={piece: i for i, piece in enumerate(vocabulary)}, model_max_length=8).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def tiny_detector(tmp_path_factory):
    """A detector whose boxes and labels are set by hand: centre and size of each, in its last layer's biases."""
    folder = tmp_path_factory.mktemp("detector")
    labels = {0: "Dog", 1: "person"}
    config = YolosConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, image_size=[64, 64],
        patch_size=32, num_detection_tokens=4, id2label=labels, label2id={word: i for i, word in labels.items()},
    )  # fmt: skip
    model = YolosForObjectDetection(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        # Each detection token is a unit vector, the norm keeps it apart from the others, and the heads read it out.
        model.vit.embeddings.detection_tokens[0] = 3 * torch.eye(4, 8)
        model.vit.layernorm.weight.fill_(1)
        for layer in model.bbox_predictor.layers[:2]:
            layer.weight.copy_(torch.eye(8))
        for layer in model.class_labels_classifier.layers[:2]:
            layer.weight.copy_(torch.eye(8))
        boxes = torch.tensor(
            [[0.25, 0.5, 0.4, 0.8], [0.26, 0.5, 0.4, 0.8], [0.75, 0.5, 0.3, 0.4], [0.5, 0.5, 0.9, 0.9]]
        )
        model.bbox_predictor.layers[2].weight[:, :4] = boxes.logit().T / 2.6
        # Scores: dog 0.97, person 0.9 at nearly the same place, person 0.8, and nothing.
        logits = torch.tensor([[4.0, 0, 0], [0, 3.0, 0], [0, 2.2, 0], [0, 0, 5.0]])
        model.class_labels_classifier.layers[2].weight[:, :4] = logits.T / 2.6
    model.save_pretrained(folder)
    YolosImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def space_extractor(tmp_path_factory):
    """The pipeline of an untrained model with boxes; its `folder` holds the checkpoint."""
    from space_app import make_checkpoint

    folder = tmp_path_factory.mktemp("space_model")
    extractor = make_checkpoint(folder)
    extractor.folder = folder
    return extractor


@pytest.fixture(scope="session")
def space_app(space_extractor, tiny_tagger, tmp_path_factory):
    """The demo's app with that model and tagger, running; it must not have met an error that it did not expect."""
    pytest.importorskip("gradio", reason="gradio is not installed: pip install -e .[demo]")
    from space_app import SpaceApp

    app = SpaceApp(tmp_path_factory.mktemp("space_app"), space_extractor.folder, ROC_ENTITY_TAGGER=tiny_tagger)
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

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The same answers in every type and attention, compiled, and exported."""

import pytest
import torch
from PIL import Image, ImageDraw
from torch import nn
from torch.export import Dim
from torch.nn import functional as F
from transformers import AutoModel, pipeline

from modeling_roc import RocModel
from processing_roc import RocProcessor

TEXT = "Maya met Noah and the Rovers"
MAYA, ROVERS = {"start": 0, "end": 4, "type": "person"}, {"start": 18, "end": 28}
PLAYER, BALL = {"box": [0.0, 0.0, 0.5, 1.0], "type": "person"}, {"box": [0.4, 0.5, 0.9, 1.0]}
KINDS = ("text", "picture", "object")


def picture(color):
    image = Image.new("RGB", (80, 60), color)
    ImageDraw.Draw(image).rectangle((10, 20, 50, 40), fill="white")
    return image


def examples(kind: str, count: int = 4) -> dict:
    """Arguments for the processor: pairs in a text, with pictures that some of them share, or objects of these."""
    pairs = [(MAYA, ROVERS), (ROVERS, MAYA), (MAYA, ROVERS), (ROVERS, MAYA)]
    if kind == "object":
        pairs = [(PLAYER, BALL), (MAYA, BALL), (PLAYER, ROVERS), (BALL, PLAYER)]
    given = {"text": [TEXT] * count, "head": [head for head, _ in pairs], "tail": [tail for _, tail in pairs]}
    if kind != "text":
        first, second = picture("red"), picture("blue")
        given["images"] = [first, first, second, second if kind == "object" else None]
    return {name: values[:count] for name, values in given.items()}


@pytest.fixture
def folder(make_model, processor, tmp_path):
    model = make_model(object_features="roi")
    model.save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def reference(folder, kind):
    model = RocModel.from_pretrained(folder).eval()
    with torch.no_grad():
        return model(**RocProcessor.from_pretrained(folder)(**examples(kind), return_tensors="pt"))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_types_and_attentions_agree(folder, kind, dtype, attention):
    model = AutoModel.from_pretrained(folder, dtype=dtype, device_map="cpu", attn_implementation=attention).eval()
    assert model.dtype == dtype and {parameter.device.type for parameter in model.parameters()} == {"cpu"}
    for part in (model, model.pair_encoder.text_encoder, model.pair_encoder.vision_encoder, model.pair_encoder.fusion):
        assert part.config._attn_implementation == attention
    inputs = RocProcessor.from_pretrained(folder)(**examples(kind), return_tensors="pt").to("cpu", dtype)
    with torch.no_grad():
        output = model(**inputs)
    expected = reference(folder, kind)
    assert output.logits.dtype == output.pair_embeds.dtype == torch.float32
    if dtype == torch.float32:
        assert torch.allclose(output.logits, expected.logits, atol=1e-4)
    else:
        # Sixteen bits round a unit vector by 1% at most; a logit is a cosine over a temperature of 0.05.
        assert F.cosine_similarity(output.pair_embeds, expected.pair_embeds).min() > 0.999
        assert (output.logits - expected.logits).abs().max() < 0.01 / model.config.temperature * 2


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_pipeline_agrees(folder, dtype, attention):
    extractor = pipeline(
        "relation-extraction",
        model=str(folder),
        trust_remote_code=True,
        dtype=dtype,
        device_map="cpu",
        model_kwargs={"attn_implementation": attention},
    )
    assert extractor.model.dtype == dtype and extractor.model.config._attn_implementation == attention
    for kind in KINDS:
        given = examples(kind)
        columns = [given[name] for name in ("text", "head", "tail")]
        images = given.get("images", [None] * 4)
        answers = extractor(
            [
                {"text": text, "head": head, "tail": tail, **({} if image is None else {"image": image})}
                for text, head, tail, image in zip(*columns, images, strict=True)
            ],
            top_k=None,
        )
        labels = extractor.model.config.id2label.values()
        found = torch.tensor(
            [[{one["label"]: one["score"] for one in row}[name] for name in labels] for row in answers]
        )
        expected = reference(folder, kind).logits.softmax(dim=-1)
        assert torch.allclose(found, expected, atol=1e-5 if dtype == torch.float32 else 0.05), kind


def test_the_center_is_not_rounded(make_model, batch, tmp_path):
    model = make_model(own_relation_encoder=True)
    center = model.relation_encoder.center.clone()
    assert not torch.equal(center, center.bfloat16().float())
    model.to(torch.bfloat16).save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path, dtype=torch.bfloat16)
    for one in (model, loaded):
        assert torch.equal(one.relation_encoder.center, center)


@pytest.mark.parametrize(
    "kind", [pytest.param("text", marks=pytest.mark.slow), "picture", pytest.param("object", marks=pytest.mark.slow)]
)
def test_the_pair_encoder_compiles_into_one_graph(make_model, processor, kind):
    model = make_model(object_features="roi")
    torch._dynamo.reset()
    compiled = torch.compile(model.pair_encoder, backend="eager", fullgraph=True, dynamic=True)
    for count in (4, 3):
        inputs = processor(**examples(kind, count), return_tensors="pt")
        with torch.no_grad():
            assert torch.allclose(compiled(**inputs), model.pair_encoder(**inputs), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "features", "backend"),
    [
        ("text", "roi", "inductor"),
        ("picture", "roi", "eager"),
        ("object", "roi", "inductor"),
        ("object", "crop", "eager"),
    ],
)
def test_the_compiled_model_gives_the_same_logits(make_model, processor, kind, features, backend):
    model = make_model(object_features=features)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend=backend)
    for count in (4, 3):
        inputs = processor(**examples(kind, count), return_tensors="pt")
        with torch.no_grad():
            assert torch.allclose(compiled(**inputs).logits, model(**inputs).logits, atol=1e-4)
    # The memory is looked after in a compiled model, too.
    before = model.memory.embeds.clone()
    with torch.no_grad():
        model.relation_encoder.projection.weight.mul_(-1)
        assert torch.allclose(compiled(**inputs).logits, model(**inputs).logits, atol=1e-4)
    assert not torch.allclose(model.memory.embeds, before, atol=1e-2)


def test_only_the_memory_is_left_out_of_the_graph(make_model, processor):
    model = make_model()
    torch._dynamo.reset()
    inputs = processor(**examples("text"), return_tensors="pt")
    with torch.no_grad():
        explained = torch._dynamo.explain(model)(**inputs)
    assert explained.graph_break_count == 1 and "refresh_memory" in explained.break_reasons[0].reason


class PairEncoder(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, inputs):
        return self.model.pair_encoder(**inputs)


@pytest.mark.parametrize("kind", [*(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[:2]), "object"])
def test_the_pair_encoder_is_exported_for_any_batch_and_length(make_model, processor, tmp_path, kind):
    model = make_model(object_features="roi")
    inputs = dict(processor(**examples(kind), return_tensors="pt"))
    batch, length = Dim("batch", min=1, max=256), Dim("text_length", min=4, max=64)
    shapes = {name: {0: batch} for name in inputs}
    for name in ("input_ids", "attention_mask"):
        shapes[name] = {0: batch, 1: length}
    for name in shapes.keys() & {"object_boxes", "object_mask"}:
        shapes[name] = {0: batch, 1: Dim("num_objects", min=1, max=16)}
    if "pixel_values" in shapes:
        shapes["pixel_values"] = {0: Dim("num_images", min=1, max=256)}
    torch.export.save(
        torch.export.export(PairEncoder(model), (inputs,), dynamic_shapes=(shapes,)), tmp_path / "pair.pt2"
    )
    exported = torch.export.load(tmp_path / "pair.pt2").module()
    longer = dict(processor(**examples(kind, 3), return_tensors="pt", padding="max_length", max_length=40))
    assert longer["input_ids"].shape == (3, 40)
    for given in (inputs, longer):
        with torch.no_grad():
            assert torch.allclose(exported(given), model.pair_encoder(**given), atol=1e-5)

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What the platform does with a model: offloading, several devices, quantized layers, attentions, whole exports."""

import copy
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from test_memory import answers
from torch import nn
from torch.export import Dim
from torch.nn import functional as F
from transformers import BertConfig, BitsAndBytesConfig, TorchAoConfig

from modeling_roc import RocConfig, RocModel

KINDS = {
    "plain": {},
    "all options": {
        "own_relation_encoder": True,
        "text_residual": True,
        "learn_negative_threshold": True,
        "learn_temperature": True,
        "relation_aggregation": "max",
        "object_features": "roi",
    },
    "classification": {"objective": "classification"},
}
OTHERS = {"owns": ["The head has bought the tail."], "near": ["Both are in one place.", "They are neighbours."]}


@pytest.fixture(params=KINDS)
def settings(request):
    return KINDS[request.param]


# ---- offloading and several devices


@pytest.mark.parametrize(
    "place",
    [
        {"": "disk"},
        {"pair_encoder.text_encoder": "disk", "pair_encoder.fusion": "disk"},
        {"relation_encoder": "disk", "pair_projection": "disk"},
    ],
)
def test_an_offloaded_model_answers_as_a_whole_one(make_model, processor, batch, tmp_path, settings, place):
    whole = make_model(**settings)
    batch = {name: value for name, value in batch.items() if name != "labels"}
    whole.save_pretrained(tmp_path / "saved")
    parts = [name for name, _ in whole.named_children() if name != "pair_encoder"]
    parts += [f"pair_encoder.{name}" for name, _ in whole.pair_encoder.named_children()]
    places = place if "" in place else {part: place.get(part, "cpu") for part in parts}
    model = RocModel.from_pretrained(tmp_path / "saved", device_map=places, offload_folder=tmp_path / "offload").eval()
    offloaded = "" in place or not place.keys().isdisjoint(parts)
    assert any(parameter.is_meta for parameter in model.parameters()) == offloaded and model.device.type == "cpu"
    assert torch.allclose(answers(model, batch), answers(whole, batch), atol=1e-6)
    if "objective" in settings:
        return
    assert torch.allclose(model.encode_pairs(**batch), whole.encode_pairs(**batch), atol=1e-6)
    for one in (model, whole):
        one.set_relations(OTHERS, processor)
    assert torch.allclose(answers(model, batch), answers(whole, batch), atol=1e-6)
    for index in (None, "faiss"):
        found = [one.search(k=1, index=index, **batch).scores for one in (model, whole)]
        assert torch.allclose(*found, atol=1e-6)
    model.save_pretrained(tmp_path / "again")
    assert torch.allclose(answers(RocModel.from_pretrained(tmp_path / "again").eval(), batch), answers(whole, batch))


def test_an_offloaded_memory_is_refused(make_model, batch, tmp_path):
    make_model().save_pretrained(tmp_path / "saved")
    model = RocModel.from_pretrained(
        tmp_path / "saved", device_map={"": "disk"}, offload_folder=tmp_path / "offload", offload_buffers=True
    )
    with pytest.raises(RuntimeError, match="without offload_buffers=True"):
        answers(model.eval(), batch)


# There is one device here: two are made up, on which tensors have sizes and no values. What meets on two is an error.
TWO_DEVICES = """
import sys, torch
from accelerate.big_modeling import attach_align_device_hook_on_blocks
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import backend_registration
from modeling_roc import RocModel, modeling_roc

class Devices(backend_registration._DummyBackendModule):
    def get_amp_supported_dtype(self):
        return [torch.bfloat16]

backend_registration._setup_privateuseone_for_python_backend("pair", backend_module=Devices())
modeling_roc.refresh_memory = modeling_roc.check_places = lambda *_: None  # they read values
mode, batch = FakeTensorMode(), torch.load("batch.pt")
inputs = {name: mode.from_tensor(tensor) for name, tensor in batch.items()}
for split in range(8):
    model = RocModel.from_pretrained("saved").eval().requires_grad_(False)
    parts = [name for name, _ in model.named_children() if name != "pair_encoder"]
    parts += ["pair_encoder." + name for name, _ in model.pair_encoder.named_children()]
    places = {part: f"pair:{(number >> split % 4) & 1 ^ split // 4}" for number, part in enumerate(parts)}
    for part, place in places.items():
        for module in model.get_submodule(part).modules():
            for tensors in (module._parameters, module._buffers):
                for name, tensor in tensors.items():
                    if tensor is not None:
                        fake = mode.from_tensor(tensor.detach())
                        with mode:
                            fake = fake.to(place)
                        is_parameter = tensors is module._parameters
                        tensors[name] = torch.nn.Parameter(fake, requires_grad=False) if is_parameter else fake
    with mode, torch.no_grad():
        offload = dict.fromkeys(places, False)
        attach_align_device_hook_on_blocks(model, execution_device={**places, "": "pair:0"}, offload=offload)
        output = model(**inputs)
    assert output.logits.shape == (len(batch["labels"]), model.config.num_labels)
print("done")
"""


@pytest.mark.slow
def test_parts_may_lie_on_several_devices(make_model, batch, tmp_path, settings):
    make_model(**settings).save_pretrained(tmp_path / "saved")
    torch.save(batch, tmp_path / "batch.pt")
    root = str(Path(__file__).parents[1])
    program = f"import sys; sys.path.insert(0, {root!r})\n{TWO_DEVICES}"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.endswith("done\n"), done.stderr


# ---- quantized layers


def agrees(model, whole, batch, least):
    with torch.no_grad():
        output, expected = model(**batch), whole(**batch)
    name = "logits" if whole.config.objective == "classification" else "pair_embeds"
    assert F.cosine_similarity(output[name], expected[name]).min() > least
    assert not torch.equal(output[name], expected[name]), "nothing was quantized"


def test_dynamically_quantized_layers_answer(make_model, batch, settings):
    whole = make_model(**settings)
    model = torch.ao.quantization.quantize_dynamic(copy.deepcopy(whole), {nn.Linear}, dtype=torch.qint8)
    agrees(model, whole, batch, 0.99)


def test_the_memory_follows_other_quantized_weights(make_model, batch):
    """Which lie in no tensor of the module."""
    first, second = make_model(), make_model()
    with torch.no_grad():
        second.relation_encoder.projection.weight.mul_(-1)
    first, second = (
        torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8) for model in (first, second)
    )
    expected = answers(second, batch)
    answers(first, batch)
    first.relation_encoder.projection = second.relation_encoder.projection
    assert torch.allclose(answers(first.eval(), batch), expected, atol=1e-5)


def open_quantized(model, folder, config):
    model.save_pretrained(folder)
    return RocModel.from_pretrained(folder, quantization_config=config, device_map="cpu").eval()


@pytest.mark.slow
@pytest.mark.parametrize("package", ["torchao", "bitsandbytes"])
def test_weights_of_eight_bits_answer(make_model, batch, tmp_path, settings, package):
    library = pytest.importorskip(package)
    if package == "torchao":
        config = TorchAoConfig(library.quantization.Int8WeightOnlyConfig())
    else:
        config = BitsAndBytesConfig(load_in_8bit=True)
    whole = make_model(**settings)
    agrees(open_quantized(whole, tmp_path, config), whole, batch, 0.99)


@pytest.mark.slow
def test_weights_of_four_bits_answer(processor, batch, tmp_path):
    pytest.importorskip("bitsandbytes")
    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    text_config = BertConfig(vocab_size=len(processor.tokenizer), **shape)
    whole = RocModel(RocConfig(text_config=text_config, projection_dim=64, learn_negative_threshold=True)).eval()
    whole.set_relations({"none": "Nothing ties them.", **OTHERS, "far": "They are far apart."}, processor, "none")
    batch = {name: value for name, value in batch.items() if name not in ("pixel_values", "image_index")}
    agrees(open_quantized(whole, tmp_path, BitsAndBytesConfig(load_in_4bit=True)), whole, batch, 0.95)


# ---- attentions and labels


@pytest.mark.parametrize("attention", ["eager", "sdpa", pytest.param("flex_attention", marks=pytest.mark.slow)])
def test_all_parts_change_their_attention_without_a_warning(make_model, batch, attention, recorded_warnings):
    model = make_model(attn_implementation="sdpa" if attention == "eager" else "eager")
    expected = answers(model, batch)
    model.set_attn_implementation(attention)
    for part in (model, model.pair_encoder.text_encoder, model.pair_encoder.vision_encoder, model.pair_encoder.fusion):
        assert part.config._attn_implementation == attention
    assert torch.allclose(answers(model, batch), expected, atol=1e-4)
    assert recorded_warnings == []
    with pytest.raises(ValueError):
        model.set_attn_implementation("no such attention")
    assert model.pair_encoder.fusion.config._attn_implementation == attention


@pytest.fixture
def recorded_warnings(monkeypatch):
    """What transformers warns of."""
    from transformers import modeling_utils

    messages = []
    monkeypatch.setattr(modeling_utils.logger, "warning", lambda message, *_: messages.append(message))
    return messages


def test_num_labels_is_taken_or_refused_without_a_warning(batch):
    text_config = BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert RocConfig(text_config=text_config, num_labels=3, objective="classification").num_labels == 3
        relations = {"owns": ["One has the other."], "near": ["Both are in one place."]}
        assert RocConfig(text_config=text_config, num_labels=2, relation_descriptions=relations).num_labels == 2
        with pytest.raises(ValueError, match="num_labels is 5, but there are 2 relations"):
            RocConfig(text_config=text_config, num_labels=5, relation_descriptions=relations)
        # Labels alone are nothing that could be retrieved.
        model = RocModel(RocConfig(text_config=text_config, num_labels=3)).eval()
        with pytest.raises(ValueError, match="no relations yet"):
            model(batch["input_ids"], batch["head_index"], batch["tail_index"])


# ---- export


@pytest.mark.parametrize(
    ("kind", "strict"),
    [
        ("all options", False),
        *(pytest.param(kind, strict, marks=pytest.mark.slow) for kind in KINDS for strict in (False, True)),
    ],
)
def test_the_whole_model_is_exported(make_model, batch, kind, strict):
    settings = KINDS[kind]
    model = make_model(**settings)
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    if "objective" not in settings:
        with pytest.raises(RuntimeError, match="refresh_memory"):
            torch.export.export(model, (), inputs)
        model.refresh_memory()
    size, length = Dim("batch", min=1, max=64), Dim("text_length", min=4, max=64)
    shapes = {name: {0: size} for name in inputs} | {"pixel_values": {0: Dim("num_images", min=1, max=64)}}
    shapes |= dict.fromkeys(("input_ids", "attention_mask"), {0: size, 1: length})
    exported = torch.export.export(model, (), inputs, dynamic_shapes=shapes, strict=strict).module()
    fewer = {name: value if name == "pixel_values" else value[:3] for name, value in inputs.items()}
    for given in (inputs, fewer):
        with torch.no_grad():
            assert torch.allclose(exported(**given).logits, model(**given).logits, atol=1e-5)

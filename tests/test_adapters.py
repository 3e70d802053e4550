# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Adapters of peft in a model: whose memory answers, and what comes back with an adapter."""

import copy
import itertools
import os
import pickle
import subprocess
import sys

import pytest
import torch
from demo_runs import WITHOUT_PROJECT
from memories import count_encodings, encoded_anew
from peft import LoraConfig, PeftModel, get_peft_model
from test_memory import answers
from torch.nn import functional as F
from transformers import AutoModel, pipeline

from modeling_roc import RocModel
from training_roc.lora import LoraArguments, add_lora

OTHERS = {
    "nothing": "Head and tail have nothing to do with each other.",
    "friend_of": ["The head likes the tail."],
    "born_in": ["The head is from the tail.", "The tail is where the head was born, long ago."],
    "owns": ["The head has bought the tail."],
}


def shake(model, seed=0):
    """Changes all that would be trained."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)


@pytest.fixture
def make_adapted(make_model, processor, tmp_path):
    """Saves a base and opens it with a new adapter, whose weights are changed; keyword arguments go to the model."""

    def make(relations=None, lora_args=None, **kwargs):
        base = make_model(**kwargs)
        base.save_pretrained(tmp_path / "base")
        processor.save_pretrained(tmp_path / "base")
        base = RocModel.from_pretrained(tmp_path / "base")
        if relations is not None:
            base.set_relations(relations, processor, negative_relation=next(iter(relations)))
        model = add_lora(base, processor, lora_args or LoraArguments(use_lora=True, lora_rank=4))
        shake(model)
        return model.eval()

    return make


def open_base(tmp_path) -> RocModel:
    return RocModel.from_pretrained(tmp_path / "base").eval()


def labels(model) -> list[str]:
    return list(model.config.id2label.values())


def assert_fresh(model):
    """The memory in force is what the weights in force give."""
    memory = model.memory
    assert torch.allclose(memory.embeds, encoded_anew(model, memory), atol=1e-6)


RETRIEVERS = (
    {},
    {"own_relation_encoder": True, "learn_negative_threshold": True},
    {"learn_temperature": True, "relation_aggregation": "mean", "with_vision": False},
)


@pytest.mark.parametrize(
    ("settings", "relations"),
    [
        *itertools.product(RETRIEVERS, [None, OTHERS]),
        ({"objective": "classification"}, None),  # whose relations are fixed
    ],
)
def test_an_adapter_comes_back_on_its_base(make_adapted, batch, tmp_path, settings, relations):
    if not settings.get("with_vision", True):
        batch = {name: value for name, value in batch.items() if name not in ("pixel_values", "image_index")}
    model = make_adapted(relations, **settings)
    expected = answers(model, batch)
    model.save_pretrained(tmp_path / "adapter")
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    base = open_base(tmp_path)
    before, own_labels = answers(base, batch), labels(base)
    loaded = PeftModel.from_pretrained(base, tmp_path / "adapter")
    assert labels(base) == labels(model) == (list(relations) if relations else own_labels)
    assert base.config.negative_relation == ("nothing" if relations else "none")
    assert base.config.relation_descriptions == model.config.relation_descriptions
    counts = count_encodings(base) if "objective" not in settings else []
    assert torch.equal(answers(loaded, batch), expected)
    with loaded.disable_adapter():
        assert torch.equal(answers(loaded, batch), before)
        assert labels(base) == own_labels
    assert torch.equal(answers(loaded, batch), expected)
    assert counts == [], "both memories were saved with the weights that they belong to"
    by_name, info = AutoModel.from_pretrained(tmp_path / "adapter", output_loading_info=True)
    assert not any(info.values()) and labels(by_name) == labels(model)
    assert torch.allclose(answers(by_name, batch), expected, atol=1e-5)
    merged = loaded.merge_and_unload()
    assert type(merged) is RocModel and labels(merged) == labels(model)
    assert torch.allclose(answers(merged, batch), expected, atol=1e-4)
    merged.save_pretrained(tmp_path / "merged")
    whole, info = RocModel.from_pretrained(tmp_path / "merged", output_loading_info=True)
    assert not any(info.values()) and labels(whole) == labels(model)
    assert torch.equal(answers(whole, batch), answers(merged, batch))


def test_types_fit_the_relations_of_the_adapter_in_force(make_adapted):
    """Those that are set for an adapter are its own, and whatever was asked before the switch is no matter."""
    model = make_adapted(OTHERS)
    types = [("person", "person")]
    model.base_model.model.set_relation_types({"owns": ["person", "organization"]})
    assert model.type_mask(types).tolist() == [[True, True, True, False]]
    with model.disable_adapter():
        assert model.type_mask(types).tolist() == [[True, True, True, True]]
    assert model.type_mask(types).tolist() == [[True, True, True, False]]


def test_an_adapter_names_a_class_of_transformers_for_its_base(make_adapted, batch, processor, tmp_path):
    """So that it opens in one line where only packages are installed, with the code of its base."""
    model = make_adapted(OTHERS)
    model.save_pretrained(tmp_path / "adapter")
    processor.save_pretrained(tmp_path / "adapter")
    torch.save((batch, answers(model, batch)), tmp_path / "answers.pt")
    program = f"""{WITHOUT_PROJECT}
import torch
from peft import AutoPeftModel
model = AutoPeftModel.from_pretrained({str(tmp_path / "adapter")!r}, trust_remote_code=True).eval()
batch, expected = torch.load({str(tmp_path / "answers.pt")!r})
with torch.no_grad():
    assert torch.allclose(model(**batch).logits, expected, atol=1e-5)
assert list(model.config.id2label.values()) == {list(OTHERS)!r}
"""
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf_home"), "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True)


def test_a_model_with_an_adapter_is_copied_and_pickled(make_adapted, batch):
    model = make_adapted()
    expected = answers(model, batch)
    assert torch.equal(answers(copy.deepcopy(model), batch), expected)
    assert torch.equal(answers(pickle.loads(pickle.dumps(model)), batch), expected)


def test_each_adapter_has_its_own_relations_and_memory(make_adapted, batch, processor, tmp_path):
    model = make_adapted(OTHERS)
    expected = {"others": answers(model, batch)}
    model.save_pretrained(tmp_path / "others")
    second = add_lora(open_base(tmp_path), processor, LoraArguments(use_lora=True, lora_rank=2))
    shake(second, seed=1)
    expected["same"] = answers(second, batch)
    second.save_pretrained(tmp_path / "same")
    base = open_base(tmp_path)
    expected["base"] = answers(base, batch)
    loaded = PeftModel.from_pretrained(base, tmp_path / "others", adapter_name="others")
    loaded.load_adapter(tmp_path / "same", adapter_name="same")
    counts = count_encodings(base)
    for name in ("same", "others", "same", "others"):
        loaded.set_adapter(name)
        assert torch.equal(answers(loaded, batch), expected[name]), name
        assert labels(base) == (list(OTHERS) if name == "others" else labels(second))
    with loaded.disable_adapter():
        assert torch.equal(answers(loaded, batch), expected["base"])
    assert counts == [], "switching encodes nothing anew"


@pytest.mark.parametrize("modules_to_save", [None, ["relation_encoder.projection"]])
def test_with_any_adapter_the_memory_follows_the_weights_in_force(make_model, batch, modules_to_save):
    """One whose config is the user's own, and leaves the memory to the base."""
    model = make_model()
    config = {"target_modules": ["query", "value"], "r": 4, "modules_to_save": modules_to_save}
    before = answers(model, batch)
    adapted = get_peft_model(model, LoraConfig(**config))
    adapted.add_adapter("second", LoraConfig(**config))
    for name in ("default", "second"):
        adapted.set_adapter(name)
        shake(adapted)
        answers(adapted, batch)
        assert_fresh(model)
    seen, counts = [], count_encodings(model)
    for name in ("default", "second", "default"):
        adapted.set_adapter(name)
        seen.append(answers(adapted, batch))
        assert len(counts) == len(seen), "a switch encodes the descriptions once"
        answers(adapted, batch)
        assert len(counts) == len(seen), "and an answer without a switch does not"
        assert_fresh(model)
    assert torch.equal(seen[0], seen[2]) and not torch.allclose(seen[0], seen[1], atol=1e-3)
    with adapted.disable_adapter():
        assert torch.allclose(answers(adapted, batch), before, atol=1e-6)
        assert_fresh(model)
    assert torch.equal(answers(adapted, batch), seen[0])
    adapted.merge_adapter()
    assert torch.allclose(answers(adapted, batch), seen[0], atol=1e-4)
    assert_fresh(model)
    with adapted.disable_adapter():  # takes the merged weights out again, past their version
        assert torch.allclose(answers(adapted, batch), before, atol=1e-4)
        assert_fresh(model)
    adapted.unmerge_adapter()
    adapted.set_adapter("second")
    adapted.merge_adapter()
    assert torch.allclose(answers(adapted, batch), seen[1], atol=1e-4)
    assert_fresh(model)


def test_a_changed_scale_is_noticed(make_adapted, batch):
    model = make_adapted()
    before = answers(model, batch)
    for layer in model.modules():
        if hasattr(layer, "set_scale"):
            layer.set_scale("default", 0.0)
    assert not torch.allclose(answers(model, batch), before, atol=1e-3)
    assert_fresh(model)


def test_training_an_adapter_makes_its_memory_stale_and_not_the_bases(make_adapted, batch, tmp_path):
    model = make_adapted()
    base = open_base(tmp_path)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    model.train()
    before = {name: value.clone() for name, value in model.named_parameters()}
    model(**batch).loss.backward()
    idle = [name for name, value in model.named_parameters() if value.requires_grad and value.grad is None]
    assert idle == []
    optimizer.step()
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert moved and all(".default" in name for name in moved)
    answers(model, batch)
    assert_fresh(model)
    with model.disable_adapter():
        assert torch.equal(answers(model, batch), answers(base, batch))


def test_relations_are_changed_in_the_adapter_alone(make_adapted, batch, processor, tmp_path):
    model = make_adapted()
    base = model.get_base_model()
    with model.disable_adapter():
        before = answers(model, batch)
    model.add_relation("born_in", "The head is from the tail.", processor)
    expected = answers(model, batch)
    assert labels(model)[-1] == "born_in" and expected.shape[1] == before.shape[1] + 1
    assert_fresh(base)
    with model.disable_adapter():
        assert torch.equal(answers(model, batch), before)
        assert "born_in" not in labels(model)
    model.save_pretrained(tmp_path / "adapter")
    loaded = PeftModel.from_pretrained(open_base(tmp_path), tmp_path / "adapter")
    assert torch.equal(answers(loaded, batch), expected)
    memory = loaded.make_relation_memory(OTHERS, processor)
    with torch.no_grad():
        output = loaded(**batch, relation_memory=memory)
    by_hand = F.normalize(output.pair_embeds, dim=-1) @ encoded_anew(loaded, memory).T
    assert torch.allclose(output.logits[:, 1] * loaded.config.temperature, by_hand[:, 1], atol=1e-5)


def test_what_is_trained_whole_can_be_chosen(make_adapted, processor, tmp_path):
    arguments = LoraArguments(
        use_lora=True, lora_target_modules=["query"], lora_modules_to_save=["pair_projection"], lora_rank=2
    )
    model = make_adapted(lora_args=arguments)
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    places = {"lora_A", "lora_B", "trainable_tokens_delta", "pair_projection.modules_to_save"}
    assert all(any(place in name for place in places) for name in trained)
    assert {place for place in places if any(place in name for name in trained)} == places
    assert any("fusion.layer.0" in name and "lora_A" in name for name in trained), "ends of names count everywhere"
    with pytest.raises(ValueError, match="lora_modules_to_save: no text_encoder; there are .*pair_projection"):
        add_lora(open_base(tmp_path), processor, LoraArguments(use_lora=True, lora_modules_to_save=["text_encoder"]))
    with pytest.raises(ValueError, match="no_such_layer"):
        add_lora(open_base(tmp_path), processor, LoraArguments(use_lora=True, lora_target_modules=["no_such_layer"]))


def test_a_base_without_relations_is_refused(make_model, processor, tmp_path):
    base = make_model()
    base.config.relation_descriptions, base.config.id2label, base.config.label2id = {}, {}, {}
    base.config.negative_relation = None
    type(base)(base.config).save_pretrained(tmp_path / "base")
    opened = open_base(tmp_path)
    opened.set_relations(OTHERS, processor)
    with pytest.raises(ValueError, match="has no relations yet"):
        add_lora(opened, processor, LoraArguments(use_lora=True))


def test_in_sixteen_bits_and_in_a_pipeline(make_adapted, batch, processor, tmp_path):
    model = make_adapted(OTHERS)
    expected = answers(model, batch)
    model.save_pretrained(tmp_path / "adapter")
    half = {**batch, "pixel_values": batch["pixel_values"].bfloat16()}
    for loaded in (
        AutoModel.from_pretrained(tmp_path / "adapter", dtype=torch.bfloat16),
        PeftModel.from_pretrained(open_base(tmp_path).to(torch.bfloat16), tmp_path / "adapter"),
    ):
        assert loaded.dtype == torch.bfloat16
        assert loaded.memory.embeds.dtype == loaded.memory.log_temperature.dtype == torch.float32
        assert (answers(loaded, half) - expected).abs().max() < 0.5
    extractor = pipeline("relation-extraction", model=model, processor=processor)
    pair = {"text": "Maya met Noah", "head": {"start": 0, "end": 4}, "tail": {"start": 9, "end": 13}}
    assert {one["label"] for one in extractor(pair, top_k=None)} == OTHERS.keys()
    own = {"likes": "The head likes the tail.", "other": "Nothing."}
    assert {one["label"] for one in extractor(pair, relations=own)} <= own.keys()


@pytest.mark.slow
def test_compiled(make_adapted, batch):
    model = make_adapted(OTHERS)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager")
    assert torch.allclose(answers(compiled, batch), answers(model, batch), atol=1e-5)
    with model.disable_adapter():
        assert torch.allclose(answers(compiled, batch), answers(model, batch), atol=1e-5)

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The model's forward pass: shapes, what decides an answer, and what must not."""

import pytest
import torch
from conftest import RELATIONS
from huggingface_hub.errors import StrictDataclassError
from torch.nn import functional as F
from transformers import BertConfig

from modeling_roc import RocConfig, RocModel
from training_roc import RelationFeatures

SETTINGS = [
    {},
    {"own_relation_encoder": True},
    {"learn_negative_threshold": True},
    {"relation_aggregation": "max", "learn_temperature": True},
    {"objective": "classification"},
    {"pool_mentions": False},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_forward_and_backward(make_model, batch, settings):
    model = make_model(**settings).train()
    output = model(**batch)
    assert output.logits.shape == (4, 3) and output.logits.dtype == torch.float32
    output.loss.backward()
    idle = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert idle == []


def test_logits_are_cosine_over_temperature(make_model, batch):
    model = make_model(temperature=0.1, relation_aggregation="mean")
    with torch.no_grad():
        output = model(**batch)
    assert output.pair_embeds.norm(dim=-1).tolist() == pytest.approx([1] * 4, abs=1e-5)
    entries = model.memory.embeds
    assert entries.norm(dim=-1).tolist() == pytest.approx([1] * 4, abs=1e-5)
    cosine = F.cosine_similarity(output.pair_embeds[:, None], entries[None], dim=-1)
    by_hand = torch.stack([cosine[:, 0], (cosine[:, 1] + cosine[:, 2]) / 2, cosine[:, 3]], dim=1) / 0.1
    assert torch.allclose(output.logits, by_hand, atol=1e-4)


def test_a_shared_picture_answers_as_a_copy_for_each_pair(make_model, batch):
    model = make_model()
    repeated = {**batch, "pixel_values": batch["pixel_values"][[0, 0, 1]], "image_index": torch.tensor([0, 1, 2, -1])}
    with torch.no_grad():
        assert torch.allclose(model(**batch).logits, model(**repeated).logits, atol=1e-5)


def test_the_picture_matters_only_to_its_pairs(make_model, batch):
    model = make_model()
    other = {**batch, "pixel_values": batch["pixel_values"].flip(0)}
    text_only = {name: value for name, value in batch.items() if name not in ("pixel_values", "image_index")}
    with torch.no_grad():
        logits, swapped, without = (model(**inputs).logits for inputs in (batch, other, text_only))
    assert (logits[:3] - swapped[:3]).abs().max() > 1e-4
    assert torch.allclose(logits[3], swapped[3], atol=1e-5)
    assert torch.allclose(logits[3], without[3], atol=1e-5)


@pytest.mark.parametrize("own_relation_encoder", [False, True])
def test_with_text_residual_an_untrained_model_compares_mean_token_vectors(
    make_model, batch, processor, tmp_path, own_relation_encoder
):
    relations = {label: texts[0] for label, texts in RELATIONS.items()}
    settings = {"text_residual": True, "center_descriptions": False, "own_relation_encoder": own_relation_encoder}
    model = make_model(relations, **settings)
    encoder, mask = model.pair_encoder.text_encoder, batch["attention_mask"][..., None]
    with torch.no_grad():
        output = model(**batch)
        states = encoder(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])[0]
        texts = F.normalize((states * mask).sum(dim=1) / mask.sum(dim=1), dim=-1)
        described = processor(relations=list(relations.values()), return_tensors="pt")
        ids, shown = described["relation_input_ids"], described["relation_attention_mask"]
        states = (model.relation_encoder.text_encoder or encoder)(input_ids=ids, attention_mask=shown)[0]
        means = F.normalize((states * shown[..., None]).sum(dim=1) / shown.sum(dim=1, keepdim=True), dim=-1)
    assert torch.allclose(output.pair_embeds, texts, atol=1e-6)
    assert torch.allclose(output.logits, texts @ means.T / model.config.temperature, atol=1e-4)
    # Head, tail and picture come in as they are learnt.
    model.train()
    model(**batch).loss.backward()
    assert model.pair_encoder.correction.weight.grad.abs().max() > 0
    model.eval()
    with torch.no_grad():
        model.pair_encoder.correction.weight.normal_()
        changed = model(**batch).logits
        assert not torch.allclose(changed, output.logits, atol=0.1)
        model.save_pretrained(tmp_path)
        again = RocModel.from_pretrained(tmp_path).eval()
        assert torch.allclose(again(**batch).logits, changed, atol=1e-5)


def test_text_residual_needs_one_width(make_model):
    text_config = make_model().config.text_config
    assert RocConfig(text_config=text_config, text_residual=True).projection_dim == 32
    assert RocConfig(text_config=text_config).projection_dim == 256
    wrong = {"projection_dim": 16}, {"relation_config": BertConfig(hidden_size=48, num_attention_heads=2)}
    for settings in wrong:
        with pytest.raises(StrictDataclassError, match="text_residual needs a projection_dim"):
            RocConfig(text_config=text_config, text_residual=True, **settings)
    # A classifier has no projections.
    classifier = make_model(text_residual=True, objective="classification")
    assert not classifier.pair_encoder.correction.weight.any()


def test_padding_changes_nothing(make_model, processor, batch):
    model = make_model()
    padded = dict(batch)
    for name, value in (("input_ids", processor.tokenizer.pad_token_id), ("attention_mask", 0)):
        padded[name] = F.pad(batch[name], (0, 9), value=value)
    with torch.no_grad():
        assert torch.allclose(model(**batch).logits, model(**padded).logits, atol=1e-5)


def test_head_and_tail_are_taken_by_index(make_model, batch):
    model = make_model()
    swapped = {**batch}
    for name in ("index", "span"):
        swapped[f"head_{name}"], swapped[f"tail_{name}"] = batch[f"tail_{name}"], batch[f"head_{name}"]
    states = []
    model.pair_encoder.pair_fusion.register_forward_pre_hook(lambda module, inputs: states.append(inputs[0]))
    with torch.no_grad():
        logits = model(**batch).logits
        assert not torch.allclose(logits, model(**swapped).logits, atol=1e-4)
        names = ("input_ids", "attention_mask", "head_index", "tail_index", "pixel_values", "image_index")
        sequence = model.pair_encoder.fuse(*model.pair_encoder.joint_inputs(**{name: batch[name] for name in names}))
    rows = torch.arange(4)
    by_hand = [sequence[rows, batch["head_index"]], sequence[rows, batch["tail_index"]]]
    for span in (batch["head_span"], batch["tail_span"]):
        by_hand.append(torch.stack([sequence[row, start:end].mean(0) for row, (start, end) in enumerate(span)]))
    by_hand = torch.cat(by_hand, dim=-1)
    assert torch.allclose(states[0], by_hand, atol=1e-6)


def test_hidden_states_and_attentions_of_the_fusion_layers(make_model, batch):
    model = make_model(attn_implementation="eager")
    with torch.no_grad():
        output = model(**batch, output_hidden_states=True, output_attentions=True)
    length = batch["input_ids"].shape[1] + 5  # four patches and the vision encoder's own class token
    assert [tuple(states.shape) for states in output.hidden_states] == [(4, length, 32)] * 3
    assert [tuple(weights.shape) for weights in output.attentions] == [(4, 2, length, length)] * 2
    without_picture = output.attentions[0][3, :, :, batch["input_ids"].shape[1] :]
    assert without_picture.abs().max() == 0


def test_without_fusion_layers_the_joint_sequence_is_the_only_hidden_state(make_model, batch):
    model = make_model(fusion_encoder_config={"num_hidden_layers": 0})
    names = ("input_ids", "attention_mask", "head_index", "tail_index", "pixel_values", "image_index")
    with torch.no_grad():
        (states,) = model(**batch, output_hidden_states=True).hidden_states
        sequence, _ = model.pair_encoder.joint_inputs(**{name: batch[name] for name in names})
    assert torch.equal(states, sequence)


def test_attentions_that_are_not_computed_are_empty_as_in_every_model(make_model, batch):
    model = make_model(attn_implementation="sdpa")
    with torch.no_grad():
        output = model(**batch, output_attentions=True, output_hidden_states=True)
        theirs = model.pair_encoder.text_encoder(batch["input_ids"], output_attentions=True)
        assert torch.equal(output.logits, model(**batch).logits)
    assert output.attentions == theirs.attentions == () and len(output.hidden_states) == 3


@pytest.mark.parametrize(
    ("name", "row", "value", "shown"),
    [
        ("head_index", 2, -1, "-1"),
        ("tail_index", 1, 10_000, "10000"),
        ("head_span", 0, [3, 3], r"\[3, 3\]"),
        ("tail_span", 3, [5, 4], r"\[5, 4\]"),
        ("head_span", 1, [-2, 1], r"\[-2, 1\]"),
        ("tail_span", 2, [5, 10_000], r"\[5, 10000\]"),
    ],
)
def test_a_place_that_is_none_of_the_pairs_own_is_named(make_model, batch, name, row, value, shown):
    model, wrong = make_model(), {**batch, name: batch[name].clone()}
    wrong[name][row] = torch.tensor(value)
    pair = {name: value for name, value in wrong.items() if name != "labels"}
    for ask in (model.train(), model.eval(), model.search, model.encode_pairs):
        with pytest.raises(ValueError, match=rf"{name}\[{row}\] is {shown}, which is not within the row's"):
            ask(**pair)


def test_a_place_on_padding_is_named(make_model, batch):
    padded = {**batch, "input_ids": F.pad(batch["input_ids"], (0, 9)), "labels": None}
    padded["attention_mask"] = F.pad(batch["attention_mask"], (0, 9))
    length = batch["input_ids"].shape[1]
    for name, value in (("head_index", length), ("head_span", [length - 1, length + 1])):
        wrong = {**padded, name: batch[name].clone()}
        wrong[name][0] = torch.tensor(value)
        with pytest.raises(ValueError, match=rf"{name}\[0\]"):
            make_model()(**wrong)
    # The spans of a model that does not look at them are not looked at.
    assert make_model(pool_mentions=False)(**{**batch, "head_span": None}).logits.isfinite().all()


def test_sdpa_and_eager_agree(make_model, batch):
    models = [make_model(attn_implementation=name) for name in ("sdpa", "eager")]
    with torch.no_grad():
        first, second = (model(**batch).logits for model in models)
    assert torch.allclose(first, second, atol=1e-4)


def test_gradient_checkpointing_gives_the_same_gradient(make_model, batch):
    gradients = []
    for checkpointing in (False, True):
        model = make_model()  # in eval mode, where no dropout makes a difference ...
        model.train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0  # ... but gradients are checkpointed in training only
        if checkpointing:
            model.activation_checkpointing_enable()
        for encoder in (model.pair_encoder.text_encoder, model.pair_encoder.fusion):
            encoder.config.attention_probs_dropout_prob = 0.0
            for module in encoder.modules():
                if hasattr(module, "dropout_prob"):
                    module.dropout_prob = 0.0
        model(**batch).loss.backward()
        gradients.append(model.pair_projection.weight.grad.clone())
    assert torch.allclose(*gradients, atol=1e-6)


def test_without_update_the_last_descriptions_are_used_but_their_projection_learns(make_model, batch):
    model = make_model(own_relation_encoder=True).train()
    features = RelationFeatures(model)
    model(**batch, relation_features=features).loss.backward()
    assert model.relation_encoder.text_encoder.embeddings.word_embeddings.weight.grad is not None
    model.zero_grad()
    features.with_gradient = False
    model(**batch, relation_features=features).loss.backward()
    assert model.relation_encoder.text_encoder.embeddings.word_embeddings.weight.grad is None
    assert model.relation_encoder.projection.weight.grad is not None


def test_bfloat16_runs_and_keeps_the_temperature(make_model, batch):
    model = make_model(temperature=0.07).to(torch.bfloat16)
    with torch.no_grad():
        output = model(**{**batch, "pixel_values": batch["pixel_values"].bfloat16()})
    assert output.logits.dtype == torch.float32 and output.logits.isfinite().all()


def test_logits_are_float32_under_autocast(make_model, batch):
    model = make_model(learn_negative_threshold=True)
    with torch.no_grad():
        expected = model(**batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = model(**batch)
    assert output.logits.dtype == output.pair_embeds.dtype == torch.float32
    # Only the encoders are rounded: what is computed from their vectors is exact.
    by_hand = output.pair_embeds @ model.memory.embeds.T / model.config.temperature
    assert torch.allclose(output.logits[:, 2], by_hand[:, 2], atol=1e-5)
    assert (output.logits - expected.logits).abs().max() < 0.5


def test_bfloat16_weights_keep_memory_and_temperature_in_float32(make_model, batch, tmp_path):
    model = make_model(temperature=0.07).to(torch.bfloat16)
    assert model.dtype == torch.bfloat16
    assert model.memory.embeds.dtype == model.memory.log_temperature.dtype == torch.float32
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert loaded.dtype == torch.bfloat16 and loaded.memory.embeds.dtype == torch.float32
    batch = {**batch, "pixel_values": batch["pixel_values"].bfloat16()}
    with torch.no_grad():
        assert torch.equal(loaded.eval()(**batch).logits, model(**batch).logits)


def test_errors_say_what_to_do(make_model, batch):
    text_only = make_model(with_vision=False)
    with pytest.raises(ValueError, match="text-only model"):
        text_only(**batch)
    with pytest.raises(ValueError, match="image_index"):
        make_model()(**{**batch, "image_index": None})
    with pytest.raises(ValueError, match="without pixel_values"):
        make_model()(**{**batch, "pixel_values": None})
    with pytest.raises(TypeError, match="pixel_value"):
        make_model()(**batch, pixel_value=None)
    with pytest.raises(ValueError, match="head_span"):
        make_model()(**{**batch, "head_span": None})
    empty = make_model()
    empty.config.id2label = {}
    with pytest.raises(ValueError, match="set_relations"):
        empty(**batch)

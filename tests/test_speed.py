# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What is left out to be fast changes no result, and nothing waits for an accelerator."""

import copy
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import SHAPE
from small_runs import losses as losses_of_run
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    CLIPVisionConfig,
    Dinov2Config,
    ResNetConfig,
    ResNetModel,
    SiglipVisionConfig,
    SwinConfig,
    SwinModel,
    ViTConfig,
    ViTModel,
)
from transformers.models.vit.modeling_vit import ViTLayer

from data_scripts.demo.dataset import demo_image_processor
from modeling_roc import modeling_roc
from training_roc import RelationFeatures
from training_roc.arguments import UserError
from training_roc.collator import PictureTable
from training_roc.frozen_layers import freeze_first_layers

WITHOUT_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def without_dropout(model):
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model.train()


def losses(model, batch, steps=50, **inputs) -> torch.Tensor:
    optimizer, found = torch.optim.AdamW(model.parameters(), lr=3e-4), []
    for _ in range(steps):
        loss = model(**batch, **inputs).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.detach())
    return torch.stack(found)


@pytest.mark.parametrize("on_cpu", [True, False])
@pytest.mark.parametrize("settings", [{}, {"pool_mentions": False, "attn_implementation": "eager"}])
def test_what_nothing_reads_of_the_last_layer_makes_no_difference(make_model, batch, settings, on_cpu, monkeypatch):
    monkeypatch.setattr(modeling_roc, "on_cpu", lambda tensor: on_cpu)
    model, made = make_model(**settings).eval(), []
    model.pair_encoder.fusion.layer[-1].output.register_forward_hook(lambda *a: made.append(a[2].shape[1]))
    with torch.no_grad():
        answers = model(**batch).logits
        assert torch.allclose(answers, model(**batch, output_hidden_states=True).logits, atol=1e-5)
    spans = torch.stack([batch["head_span"], batch["tail_span"]])
    longest = int((spans[..., 1] - spans[..., 0]).sum(dim=0).max()) if model.config.pool_mentions else 0
    length = batch["attention_mask"].shape[1]
    # On a CPU head, tail and their mentions alone go through the last layer, elsewhere all of the text.
    assert made[0] == (2 + longest if on_cpu else length) < made[1]


@pytest.mark.parametrize("on_cpu", [True, False])
def test_training_without_what_nothing_reads_is_the_same(make_model, batch, on_cpu, monkeypatch):
    monkeypatch.setattr(modeling_roc, "on_cpu", lambda tensor: on_cpu)
    model = without_dropout(make_model())
    whole, made = copy.deepcopy(model), []
    model.pair_encoder.fusion.layer[-1].output.register_forward_hook(lambda *a: made.append(a[2].shape[1]))
    assert torch.allclose(losses(model, batch), losses(whole, batch, output_hidden_states=True), atol=1e-5)
    assert max(made) <= batch["attention_mask"].shape[1]


def test_nothing_is_read_of_patches(make_model, batch):
    """Head and tail are mentions or objects."""
    patch = batch["head_index"].clone()
    patch[1] = batch["attention_mask"].shape[1]
    with pytest.raises(ValueError, match=r"head_index\[1\] is .* not within the row's \d+ tokens and objects"):
        make_model()(**{**batch, "head_index": patch})


def test_without_fusion_layers_head_and_tail_are_read_as_they_are(make_model, batch):
    model = make_model(fusion_encoder_config={"num_hidden_layers": 0})
    with torch.no_grad():
        assert torch.equal(model(**batch).logits, model(**batch, output_hidden_states=True).logits)


def test_descriptions_of_like_length_go_together_and_give_the_same(make_model, batch, monkeypatch):
    relations = {"none": "Nothing.", "/per/per/peer": ["Head and tail are friends.", "Friends " * 7]}
    relations["/per/org/member_of"] = [f"The head belongs to the tail{', or' * n}." for n in (0, 9, 3, 5)]
    model = without_dropout(make_model(relations, own_relation_encoder=True))
    together = copy.deepcopy(model)
    tokens = []
    model.relation_encoder.text_encoder.register_forward_pre_hook(
        lambda _, args, kwargs: tokens.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    monkeypatch.setattr(modeling_roc, "DESCRIPTIONS_PASS", 2)
    apart = losses(model, batch)
    assert sum(tokens) < 50 * model.memory.input_ids.numel() * 0.7
    monkeypatch.setattr(modeling_roc, "DESCRIPTIONS_PASS", 100)
    assert torch.allclose(apart, losses(together, batch), atol=1e-5)


class Waits(TorchDispatchMode):
    """Where code of ours looks into a tensor, for which an accelerator would have to be waited for."""

    NAMES = ("_local_scalar_dense", "nonzero", "equal", "masked_select", "unique_dim", "_unique2")

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "index_put_") and any(
            place is not None and place.dtype == torch.bool for place in args[1]
        )
        if name in self.NAMES or by_mask:
            for frame in reversed(traceback.extract_stack()):
                if "/transformers/models/" in frame.filename or "/torch/optim/" in frame.filename:
                    break  # the encoders' own, or a number that is kept on the CPU
                if Path(frame.filename).parent.name in ("modeling_roc", "training_roc"):
                    self.found.append(frame.name)
                    break
        return func(*args, **(kwargs or {}))


def test_no_step_waits_for_an_accelerator(make_model, batch, monkeypatch):
    for module in ("modeling_roc", "relation_memory_roc"):
        monkeypatch.setattr(f"modeling_roc.{module}.on_cpu", lambda tensor: False)
    model = make_model(own_relation_encoder=True).train()
    features = RelationFeatures(model)
    optimizer = torch.optim.AdamW(model.parameters())

    def step():
        model(**batch, relation_features=features).loss.backward()
        optimizer.step()

    step()  # what is looked at once
    with Waits() as training:
        step()
        features.with_gradient = False
        step()
    assert training.found == []
    model.eval()
    with torch.no_grad():
        model(**batch)
        with Waits() as answering:
            model(**batch)
    assert answering.found == ["check_places"], "which is done when all layers are under way"


def test_a_frozen_encoder_sees_each_picture_once_for_all_runs(run, monkeypatch):
    pictures, forward = [], ViTModel.forward

    def count(self, pixel_values, **kwargs):
        pictures.extend(picture.numpy().tobytes() for picture in pixel_values)
        return forward(self, pixel_values, **kwargs)

    frozen = ("--freeze_vision_encoder", "true", "--eval_strategy", "no", "--load_best_model_at_end", "false")
    frozen += ("--do_eval", "false", "--do_predict", "false", "--num_train_epochs", "2")
    monkeypatch.setattr(ViTModel, "forward", count)
    kept = losses_of_run(run(*frozen, "--output_dir", "first") / "first")
    tried = 8  # a new model is tried on two pictures, more than once
    assert 20 < len(set(pictures)) <= len(pictures) <= len(set(pictures)) + tried
    pictures.clear()
    assert losses_of_run(run(*frozen, "--output_dir", "second") / "second") == kept
    assert len(pictures) <= tried
    monkeypatch.setattr(PictureTable, "encode", lambda *args: None)
    encoding = losses_of_run(run(*frozen, "--output_dir", "third") / "third")
    assert len(pictures) >= 36, "each batch's, in each of two epochs"
    np.testing.assert_allclose(kept, encoding, atol=1e-6, rtol=1e-6)


def test_frozen_first_layers_see_each_picture_once_and_the_others_learn(run, tmp_path, monkeypatch):
    torch.manual_seed(0)
    before = ViTModel(ViTConfig(image_size=64, patch_size=32, **(SHAPE | {"num_hidden_layers": 3})))
    before.save_pretrained(tmp_path / "vision")
    demo_image_processor().save_pretrained(tmp_path / "vision")
    frozen = ("--freeze_vision_layers", "2", "--vision_model_name_or_path", str(tmp_path / "vision"))
    frozen += ("--do_eval", "false", "--eval_strategy", "no", "--load_best_model_at_end", "false")
    rows, forward = [], ViTLayer.forward

    def count(self, hidden_states, *args, **kwargs):
        rows.append(len(hidden_states))
        return forward(self, hidden_states, *args, **kwargs)

    monkeypatch.setattr(ViTLayer, "forward", count)
    kept = losses_of_run(run(*frozen, "--output_dir", "first") / "first")
    with_kept, rows[:] = sum(rows), []
    assert losses_of_run(run(*frozen, "--output_dir", "again") / "again") == kept
    monkeypatch.setattr(PictureTable, "encode", lambda *args: None)
    again, rows[:] = sum(rows), []
    encoding = losses_of_run(run(*frozen, "--output_dir", "third") / "third")
    assert again < with_kept and sum(rows) > 2 * again, "one layer for each picture of a batch, and not three"
    np.testing.assert_allclose(kept, encoding, atol=1e-6, rtol=1e-6)
    after = modeling_roc.RocModel.from_pretrained(tmp_path / "first").pair_encoder.vision_encoder.state_dict()
    for name in after:
        same = torch.equal(before.get_parameter(name), after[name])
        assert same == name.startswith(("embeddings.", "layers.0.", "layers.1.")), name


@pytest.mark.parametrize("kind", [CLIPVisionConfig, Dinov2Config, SiglipVisionConfig])
def test_first_layers_of_other_encoders_are_frozen_too(make_model, batch, kind):
    sizes = {"image_size": 64, "patch_size": 32, **SHAPE, "num_hidden_layers": 3}
    model = without_dropout(make_model(vision_config=kind(**sizes)))
    freeze_first_layers(model.pair_encoder, 2)
    with torch.no_grad():
        pixels = batch["pixel_values"]
        states = model.pair_encoder.vision_encoder(pixel_values=pixels, output_hidden_states=True).hidden_states[2]
    found = []
    for inputs in ({}, {"image_embeds": states}):
        model(**batch, **inputs).loss.backward()
        found.append({name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None})
        model.zero_grad()
    assert any("vision_encoder" in name for name in found[0])
    torch.testing.assert_close(found[1], found[0], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("encoder", "true", "--use_images", "false"), "freeze_vision_encoder has no effect on a model without a"),
        (("layers", "1", "--use_images", "false"), "freeze_vision_layers has no effect on a model without a vision"),
        (("layers", "1"), "1 of the vision encoder's 1: one or more"),
        (("layers", "1", "--freeze_vision_encoder", "true"), "freeze_vision_layers has no effect beside"),
    ],
)
def test_an_encoder_that_cannot_be_frozen_is_told(run, flags, message):
    with pytest.raises(UserError, match=message):
        run(f"--freeze_vision_{flags[0]}", *flags[1:])


@pytest.mark.parametrize(
    "encoder",
    [
        SwinModel(SwinConfig(image_size=56, embed_dim=16, depths=[1, 1], num_heads=[2, 2])),
        ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])),
    ],
)
def test_an_encoder_without_layers_of_one_width_is_frozen_as_a_whole(make_model, encoder):
    pair_encoder = make_model().pair_encoder
    pair_encoder.vision_encoder = encoder
    with pytest.raises(ValueError, match=f"a {type(encoder).__name__} is no stack of layers of one width"):
        freeze_first_layers(pair_encoder, 1)


@pytest.mark.slow
def test_a_compiled_step_is_one_graph(make_model, batch):
    """But for the first one, which checks once that the memory is that of the texts."""
    model = make_model(own_relation_encoder=True).train()
    features = RelationFeatures(model)
    model(**batch, relation_features=features)
    for features.with_gradient in (True, False):
        found = torch._dynamo.explain(model)(**batch, relation_features=features)
        assert (found.graph_count, found.break_reasons) == (1, [])
        torch._dynamo.reset()

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What is left out to be fast changes no result, and nothing waits for an accelerator."""

import copy
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import losses as losses_of_run
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import ViTModel

from modeling_roc import modeling_roc
from training_roc import RelationFeatures
from training_roc.arguments import UserError
from training_roc.collator import PictureTable

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


def test_an_encoder_that_cannot_be_frozen_is_told(run):
    with pytest.raises(UserError, match="freeze_vision_encoder has no effect on a model without a vision encoder"):
        run("--freeze_vision_encoder", "true", "--use_images", "false")


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

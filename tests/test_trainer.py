# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The Trainer: exact accumulation, learning rates by group, the memory's upkeep, the best checkpoint."""

import json
import math
import random

import pytest
import torch
from conftest import RELATIONS
from datasets import Dataset
from memories import encoded_anew
from PIL import Image
from torch import nn
from transformers import EarlyStoppingCallback, TrainerCallback

from data_scripts.schema import dataset_features
from modeling_roc import RocModel
from modeling_roc.modeling_roc import info_nce
from processing_roc import PAIR_PLACES
from training_roc import RocTrainer, RocTrainingArguments, get_last_complete_checkpoint
from training_roc.checkpoints import CheckpointError, ServingFilesCallback, drop_optimizers, is_complete
from training_roc.collator import PictureTable, RocDataCollator
from training_roc.metrics import make_compute_metrics
from training_roc.rows import RunData

PLAIN = {
    "use_cpu": True,
    "report_to": "none",
    "disable_tqdm": True,
    "save_strategy": "no",
    "optim": "sgd",
    "learning_rate": 0.1,
    "lr_scheduler_type": "constant",
    "per_device_train_batch_size": 8,
    "max_steps": 3,
    "logging_steps": 1,
}


@pytest.fixture(scope="module")
def rows():
    """24 rows: posts of 3 to 20 words, six pictures and rows without, every fifth row unlabelled."""
    rng = random.Random(0)
    names, labels = ["Maya", "Noah", "Lisbon"], ["none", "/per/org/member_of", "/per/per/peer"]
    pictures = [Image.new("RGB", (32, 32), (40 * i, 255 - 40 * i, 128)) for i in range(6)]
    data = []
    for number in range(24):
        tokens = [*rng.sample(names, 2), *rng.choices(["good", "day", "photo"], k=rng.randint(1, 18))]
        picture = rng.choice([None, *range(6)])
        mentions = [
            {"name": tokens[i], "kind": "text", "start": i, "end": i + 1, "box": None, "type": "person"}
            for i in (0, 1)
        ]
        data.append({
            "id": str(number),
            "image": None if picture is None else pictures[picture],
            "image_id": None if picture is None else f"{picture}.jpg",
            "tokens": tokens,
            "head": mentions[0],
            "tail": mentions[1],
            "objects": [],
            "relation": None if number % 5 == 4 else rng.choice(labels),
        })  # fmt: skip
    return Dataset.from_list(data, features=dataset_features(labels))


@pytest.fixture
def make_trainer(make_model, processor, rows, tmp_path):
    """Builds a trainer of a tiny model without dropout; keyword arguments go to its training arguments."""
    encoded = processor(text=rows["tokens"][:], head=rows["head"][:], tail=rows["tail"][:])
    columns = {name: encoded[name] for name in ("input_ids", *PAIR_PLACES)}
    prepared = Dataset.from_dict({**columns, "labels": rows["relation"][:], "image_id": rows["image_id"][:]})
    collator = RocDataCollator(processor, PictureTable(processor, [rows]))

    def make(model=None, callbacks=None, compute_metrics=None, compute_loss_func=None, **settings):
        model = make_model(pair_dropout=0.0) if model is None else model
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        return RocTrainer(
            model=model,
            args=RocTrainingArguments(**{"output_dir": str(tmp_path / "out"), **PLAIN, **settings}),
            data_collator=collator,
            train_dataset=prepared,
            eval_dataset=prepared,
            processing_class=processor,
            compute_metrics=compute_metrics,
            callbacks=callbacks,
            compute_loss_func=compute_loss_func,
        )

    return make


def record_encodings(trainer) -> list[tuple[int, bool]]:
    """(optimizer step, with gradient?) of each time that training encodes the descriptions, from now on."""
    seen, model = [], trainer.model
    encode = model.description_features

    def recorded(input_ids):
        seen.append((trainer.state.global_step, torch.is_grad_enabled()))
        return encode(input_ids)

    model.description_features = recorded
    return seen


@pytest.mark.parametrize("relation_update_steps", [1, 2])
def test_accumulation_is_exact(make_trainer, relation_update_steps):
    """One batch of 8 and micro-batches of 2, where labelled pairs are spread unevenly, train the same weights."""
    trained, losses = [], []
    for batch_size, accumulation in ((8, 1), (2, 4)):
        trainer = make_trainer(
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=accumulation,
            relation_update_steps=relation_update_steps,
        )
        untrained = {name: value.clone() for name, value in trainer.model.named_parameters()}
        trainer.train()
        trained.append(dict(trainer.model.named_parameters()))
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    for name, value in trained[0].items():
        assert torch.allclose(value, trained[1][name], atol=1e-6), name
    assert not torch.allclose(trained[0]["pair_projection.weight"], untrained["pair_projection.weight"], atol=1e-4)


def test_an_optimizer_step_without_any_label_changes_nothing(make_trainer):
    trainer = make_trainer(max_steps=1)
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    trainer.train_dataset = trainer.train_dataset.map(lambda row: {"labels": None})
    trainer.train()
    for name, value in trainer.model.named_parameters():
        assert torch.equal(value, before[name]), name


def test_learning_rates_and_decay_are_what_was_asked_for(make_trainer, make_model):
    model = make_model(own_relation_encoder=True, learn_negative_threshold=True, learn_temperature=True)
    trainer = make_trainer(model, learning_rate=1e-5, head_learning_rate=1e-3, weight_decay=0.01, optim="adamw_torch")
    groups = {id(p): group for group in trainer.create_optimizer().param_groups for p in group["params"]}
    names = {name: groups.pop(id(parameter)) for name, parameter in model.named_parameters()}
    assert not groups
    for name, group in names.items():
        encoder = name.startswith(
            ("pair_encoder.text_encoder.", "pair_encoder.vision_encoder.", "relation_encoder.text_encoder.")
        )
        assert group["lr"] == (1e-5 if encoder else 1e-3), name
        layer_norm = "norm" in name.lower() or name.startswith("pair_encoder.vision_projection.1.")
        plain = name.endswith("bias") or layer_norm or name in ("memory.log_temperature",)
        assert group["weight_decay"] == (0.0 if plain else 0.01), name


@pytest.mark.parametrize(("head_learning_rate", "expected"), [(None, 0.1), (0.0, 0.0)])
def test_the_heads_learning_rate_follows_the_encoders_only_where_none_is_given(
    make_trainer, head_learning_rate, expected
):
    trainer = make_trainer(head_learning_rate=head_learning_rate)
    assert {group["lr"] for group in trainer.create_optimizer().param_groups} == {0.1, expected}


@pytest.mark.parametrize(
    ("name", "value", "bounds"),
    [
        ("learning_rate", -1, "0 or more"),
        ("head_learning_rate", float("nan"), "0 or more"),
        ("per_device_eval_batch_size", 0, "1 or more"),
        ("gradient_accumulation_steps", 0, "1 or more"),
        ("adam_beta2", 1.0, "0 to below 1"),
        ("seed", -3, "0 or more"),
    ],
)
def test_a_number_out_of_range_is_refused_at_once(tmp_path, name, value, bounds):
    with pytest.raises(ValueError, match=f"^{name} must be {bounds}, got {value}$"):
        RocTrainingArguments(tmp_path, use_cpu=True, **{name: value})


def test_descriptions_are_encoded_with_gradient_in_every_third_step_only(make_trainer):
    trainer = make_trainer(
        relation_update_steps=3, max_steps=7, per_device_train_batch_size=4, gradient_accumulation_steps=2
    )
    seen = record_encodings(trainer)
    trainer.train()
    assert seen == [(step, True) for step in (0, 0, 3, 3, 6, 6)]


def test_a_checkpoint_starts_the_count_anew(make_trainer):
    trainer = make_trainer(relation_update_steps=3, max_steps=6, save_strategy="steps", save_steps=2)
    seen = record_encodings(trainer)
    trainer.train()
    assert [step for step, with_gradient in seen if with_gradient] == [0, 2, 4]


def test_a_frozen_relation_encoder_keeps_its_weights(make_trainer, make_model):
    trainer = make_trainer(make_model(own_relation_encoder=True, pair_dropout=0.0), relation_update_steps=0)
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    seen = record_encodings(trainer)
    trainer.train()
    assert seen == [(0, False)]
    unchanged = {name for name, value in trainer.model.named_parameters() if torch.equal(value, before[name])}
    assert unchanged - {"memory.log_temperature"} == {n for n in before if "relation_encoder.text_encoder." in n}


def test_a_shared_relation_encoder_cannot_be_frozen(make_trainer):
    with pytest.raises(ValueError, match="shared one cannot be frozen"):
        make_trainer(relation_update_steps=0)
    with pytest.raises(ValueError, match="relation_update_steps must be 0 or more, got -1"):
        make_trainer(relation_update_steps=-1)


def test_the_evaluation_after_training_uses_a_fresh_memory(make_trainer, tmp_path):
    trainer = make_trainer()
    before = trainer.predict(trainer.eval_dataset).predictions
    trainer.train()
    after = trainer.predict(trainer.eval_dataset).predictions
    memory = trainer.model.memory
    assert torch.allclose(memory.embeds, encoded_anew(trainer.model, memory), atol=1e-6)
    assert abs(before - after).max() > 1e-3
    trainer.save_model()
    loaded = make_trainer(RocModel.from_pretrained(tmp_path / "out"))
    assert abs(loaded.predict(loaded.eval_dataset).predictions - after).max() < 1e-5


def scripted(scores):
    """Validation scores as given, whatever the model answers."""
    remaining = iter(scores)
    return lambda prediction: {"micro_f1": next(remaining)}


EVERY_STEP = {
    "max_steps": 4,
    "eval_strategy": "steps",
    "save_strategy": "steps",
    "eval_steps": 1,
    "save_steps": 1,
    "load_best_model_at_end": True,
}


def test_the_best_checkpoint_on_validation_is_loaded_at_the_end(make_trainer, tmp_path):
    trainer = make_trainer(
        compute_metrics=scripted([0.2, 0.9, 0.5, 0.6]),
        **EVERY_STEP,
    )
    trainer.train()
    assert trainer.state.best_metric == 0.9
    best, last = (RocModel.from_pretrained(tmp_path / "out" / f"checkpoint-{step}") for step in (2, 4))
    for name, value in best.named_parameters():
        assert torch.equal(value, trainer.model.get_parameter(name)), name
        if name.endswith("fc1.weight"):  # training went on in the vision encoder too
            assert not torch.equal(value, last.get_parameter(name)), name


def test_early_stopping(make_trainer):
    trainer = make_trainer(
        compute_metrics=scripted([0.5, 0.4, 0.3, 0.2]),
        callbacks=[EarlyStoppingCallback(2)],
        **EVERY_STEP,
    )
    trainer.train()
    assert trainer.state.global_step == 3


def test_a_resumed_run_goes_on_counting_to_its_early_stop(make_trainer):
    settings = {**EVERY_STEP, "max_steps": 2}
    make_trainer(compute_metrics=scripted([0.5, 0.4]), callbacks=[EarlyStoppingCallback(2)], **settings).train()
    settings["max_steps"] = 6
    with pytest.raises(CheckpointError, match=r"callbacks was .*'early_stopping_patience': 2.* and is \[\]"):
        make_trainer(compute_metrics=scripted([0.3]), **settings).train(resume_from_checkpoint=True)
    trainer = make_trainer(compute_metrics=scripted([0.3, 0.2, 0.1]), callbacks=[EarlyStoppingCallback(2)], **settings)
    trainer.train(resume_from_checkpoint=True)
    assert trainer.state.global_step == 3 and trainer.state.best_metric == 0.5


def test_the_lowest_loss_is_the_best():
    for metric, is_higher_better in (("micro_f1", True), ("eval_loss", False), ("loss", False)):
        assert RocTrainingArguments("out", metric_for_best_model=metric).greater_is_better is is_higher_better


def test_every_epoch_has_an_order_of_its_own(make_trainer):
    """Also one that is resumed in its middle."""
    trainer, orders = make_trainer(num_train_epochs=2, max_steps=-1, save_strategy="steps", save_steps=4), {}
    sampler = trainer._get_train_sampler()
    trainer._get_train_sampler = lambda dataset=None: sampler
    collate = trainer.data_collator

    def record(features):
        batch = orders.setdefault(run, [])
        batch.append(sorted(tuple(feature["input_ids"]) for feature in features))
        return collate(features)

    trainer.data_collator, run = record, "unbroken"
    trainer.train()
    assert len(orders["unbroken"]) == 6
    assert orders["unbroken"][:3] != orders["unbroken"][3:]
    run = "resumed"
    trainer.train(resume_from_checkpoint=f"{trainer.args.output_dir}/checkpoint-4")
    assert orders["resumed"] == orders["unbroken"][4:]


def test_a_half_written_checkpoint_is_passed_over(tmp_path):
    assert get_last_complete_checkpoint(str(tmp_path / "nothing")) is None
    for step in (5, 10, 20, 30):
        (tmp_path / f"checkpoint-{step}").mkdir()
    assert get_last_complete_checkpoint(str(tmp_path)) is None
    for step in (5, 10):
        (tmp_path / f"checkpoint-{step}" / "rng_state.pth").touch()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    (tmp_path / "checkpoint-20" / "model.safetensors").write_bytes(b"")
    (tmp_path / "checkpoint-30" / "trainer_state.json").write_text('{"global_step": 3')
    (tmp_path / "checkpoint-best").mkdir()
    assert get_last_complete_checkpoint(str(tmp_path)) == str(tmp_path / "checkpoint-10")


def test_a_checkpoint_that_is_written_anew_is_none_meanwhile(make_trainer, tmp_path):
    """Killed over it, the new one's beginning and the old one's end would pass for a whole."""
    out = str(tmp_path / "out")
    make_trainer(save_strategy="steps", save_steps=1, max_steps=2).train()
    assert get_last_complete_checkpoint(out).endswith("checkpoint-2")
    trainer, found = make_trainer(save_strategy="steps", save_steps=1, max_steps=2), []
    save_states = trainer._save_optimizer_and_scheduler

    def look(folder):
        found.append(get_last_complete_checkpoint(out))
        save_states(folder)

    trainer._save_optimizer_and_scheduler = look
    trainer.train(resume_from_checkpoint=f"{out}/checkpoint-1")
    assert found == [f"{out}/checkpoint-1"] and get_last_complete_checkpoint(out) == f"{out}/checkpoint-2"


def test_what_a_kill_left_half_written_costs_no_whole_checkpoint(make_trainer, tmp_path):
    settings = {"save_strategy": "steps", "save_steps": 1, "save_total_limit": 1}
    make_trainer(**settings, max_steps=1).train()
    (tmp_path / "out" / "checkpoint-9").mkdir()
    make_trainer(**settings, max_steps=2).train(resume_from_checkpoint=True)
    assert [path.name for path in (tmp_path / "out").glob("checkpoint-*")] == ["checkpoint-2"]


def test_a_run_cannot_go_on_without_the_states_of_its_optimizer(make_trainer):
    make_trainer(save_strategy="steps", save_steps=1, save_only_model=True).train()
    with pytest.raises(CheckpointError, match="holds no complete checkpoint"):
        make_trainer().train(resume_from_checkpoint=True)


def test_what_has_ended_keeps_no_optimizer_and_is_not_gone_on_with(make_trainer, tmp_path):
    settings = {"save_strategy": "steps", "save_steps": 1, "max_steps": 2}
    make_trainer(**settings).train()
    drop_optimizers(tmp_path / "out")
    assert not list((tmp_path / "out").glob("checkpoint-*/optimizer*"))
    for checkpoint in (True, str(tmp_path / "out" / "checkpoint-1")):
        with pytest.raises(CheckpointError, match="its optimizer's state is gone: train on from the model"):
            make_trainer(**settings).train(resume_from_checkpoint=checkpoint)


def test_two_trainings_into_one_folder(make_trainer):
    """Found out by the second, while the first is at it."""

    class Second(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            with pytest.raises(CheckpointError, match="another process is training into .*out: name another"):
                make_trainer().train()

    make_trainer(callbacks=[Second], max_steps=1).train()
    make_trainer(max_steps=1).train()


def test_relations_of_a_checkpoint_do_not_take_the_place_of_the_models(make_trainer, make_model, processor):
    make_trainer(save_strategy="steps", save_steps=1, max_steps=1).train()
    model = make_model(pair_dropout=0.0)
    texts = dict(model.config.relation_descriptions)
    model.set_relations({name: texts[name] for name in reversed(texts)}, processor)
    with pytest.raises(CheckpointError, match="in another order: /per/per/peer, /per/org/member_of, none. Give them"):
        make_trainer(model).train(resume_from_checkpoint=True)
    model = make_model(pair_dropout=0.0)
    model.set_relations({"none": texts["none"], "x": "Head and tail.", "/per/per/peer": "Equals."}, processor)
    with pytest.raises(CheckpointError) as caught:
        make_trainer(model).train(resume_from_checkpoint=True)
    for part in ("gone: /per/org/member_of;", "new: x;", "described otherwise: /per/per/peer."):
        assert f"relations {part}" in str(caught.value)
    model = make_model(pair_dropout=0.0)
    model.set_relations(texts, processor, negative_relation="/per/per/peer")
    with pytest.raises(CheckpointError, match="negative_relation was 'none' and is '/per/per/peer'"):
        make_trainer(model).train(resume_from_checkpoint=True)


def test_validation_without_a_label_is_told_before_training(make_trainer):
    trainer = make_trainer(eval_strategy="steps", eval_steps=1)
    trainer.eval_dataset = trainer.eval_dataset.map(lambda row: {"labels": None})
    with pytest.raises(ValueError, match="eval_dataset has no labelled row: leave it out, with eval_strategy no"):
        trainer.train()
    assert trainer.state.global_step == 0


def test_gold_relations_are_encoded_under_a_loss_of_ones_own(make_trainer):
    """The Trainer takes the labels away from the model then."""
    runs = []
    for own in (
        None,
        lambda outputs, labels, num_items_in_batch: info_nce(outputs.logits, labels, num_items_in_batch),
    ):
        trainer = make_trainer(compute_loss_func=own, relation_hard_negatives=0)
        encoded, encode = [], trainer.model.description_features
        trainer.model.description_features = lambda ids, of=encode, to=encoded: to.append(len(ids)) or of(ids)  # noqa: B023
        trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        runs.append((encoded, losses))
    assert runs[0][0] == runs[1][0] and max(runs[0][0]) > 1
    assert runs[0][1] == pytest.approx(runs[1][1], abs=1e-5)


@pytest.mark.slow
def test_a_batch_that_is_too_large_is_halved(make_trainer):
    """Out of memory in the second step: training begins anew with batches of 4, the descriptions' too."""
    trainer = make_trainer(auto_find_batch_size=True, relation_update_steps=2)
    seen, collate, sizes = record_encodings(trainer), trainer.data_collator, []

    def collate_some(features):
        sizes.append(len(features))
        if len(features) > 4 and trainer.state.global_step:
            raise RuntimeError("CUDA out of memory.")
        return collate(features)

    trainer.data_collator = collate_some
    trainer.train()
    assert sizes[-3:] == [4, 4, 4] and max(sizes) == 8 and trainer.state.global_step == 3
    assert seen[-2:] == [(0, True), (2, True)]


@pytest.mark.slow
def test_compiled_training_learns_as_plain_training(make_trainer):
    losses = []
    for settings in ({}, {"torch_compile": True, "torch_compile_backend": "eager"}):
        trainer = make_trainer(**settings)
        trainer.train()
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_bfloat16_on_the_cpu_stays_finite(make_trainer, make_model):
    content = {"relations": dict.fromkeys(RELATIONS), "negative_relation": "none"}
    metrics = make_compute_metrics([RunData({}, content)])
    trainer = make_trainer(compute_metrics=metrics, bf16=True, **{**EVERY_STEP, "save_total_limit": 1})
    trainer.train()
    values = [value for entry in trainer.state.log_history for name, value in entry.items()]
    assert all(math.isfinite(value) for value in values) and "eval_micro_f1" in trainer.evaluate()


def test_the_best_checkpoint_is_what_is_kept_with_what_serves_it(make_trainer, tmp_path):
    metrics = scripted([0.2, 0.9, 0.5, 0.6])
    callbacks = [ServingFilesCallback, EarlyStoppingCallback(2)]
    trainer = make_trainer(compute_metrics=metrics, callbacks=callbacks, **{**EVERY_STEP, "save_total_limit": 1})
    trainer.train()
    (best,) = (tmp_path / "out").glob("checkpoint-*")
    assert best.name == "checkpoint-2" and is_complete(best) and (best / "handler.py").is_file()
    for name, value in RocModel.from_pretrained(best).named_parameters():
        assert torch.equal(value, trainer.model.get_parameter(name)), name


def test_it_is_a_trainer_like_any_other(make_model, processor, rows, tmp_path):
    """Without `compute_metrics`, on text-only rows without `image_id`: the best model is that of the lowest loss."""
    encoded = processor(text=rows["tokens"][:], head=rows["head"][:], tail=rows["tail"][:])
    columns = {name: encoded[name] for name in ("input_ids", *PAIR_PLACES)}
    prepared = Dataset.from_dict({**columns, "labels": rows["relation"][:]})
    settings = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    trainer = RocTrainer(
        model=make_model(with_vision=False),
        args=RocTrainingArguments(str(tmp_path), **{**PLAIN, **settings}, load_best_model_at_end=True),
        data_collator=RocDataCollator(processor),
        train_dataset=prepared,
        eval_dataset=prepared,
    )
    trainer.train()
    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert len(losses) == 3 and trainer.state.best_metric == min(losses)

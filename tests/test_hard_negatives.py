# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Training that encodes only the batch's relations and hard negatives with gradient, and the rest now and then."""

import itertools

import pytest
import torch
from datasets import Dataset
from torch import nn

from modeling_roc import RocModel
from modeling_roc.relation_memory_roc import encode_descriptions
from processing_roc import PAIR_PLACES
from training_roc import RelationFeatures, RocTrainer, RocTrainingArguments
from training_roc.collator import RocDataCollator
from training_roc.lora import LoraArguments, add_lora

WORDS = (
    "ball", "choir", "city", "cup", "festival", "gala", "heart", "home", "house", "labs", "lantern", "lark", "prize",
    "photo", "picture", "radio", "reel", "shirt", "stage", "team", "tie", "trophy", "valley", "world",
)  # fmt: skip
LABELS = ("none", *WORDS[1:])
# Every third relation has a second description.
RELATIONS = {
    label: [f"The head and the tail share the {word}.", f"The {word} is so much of the tail."][: 2 - (i % 3 > 0)]
    for i, (label, word) in enumerate(zip(LABELS, WORDS, strict=True))
}
NAMES = ("Maya", "Ines", "Omar Diaz", "Priya", "Ken", "Yuki")


@pytest.fixture
def make_large(make_model):
    """Builds a tiny text model of the relations above, in training mode; keyword arguments go to its config."""

    def make(dropout=0.0, **settings):
        model = make_model(RELATIONS, with_vision=False, **settings).train()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = dropout
        return model

    return make


@pytest.fixture
def pairs(batch):
    """Three labelled pairs and one without a label."""
    batch = {name: value for name, value in batch.items() if name not in ("pixel_values", "image_index")}
    return {**batch, "labels": torch.tensor([4, 0, 9, -100])}


def token_rows(input_ids) -> list[tuple[int, ...]]:
    return [tuple(token for token in row if token >= 0) for row in input_ids.tolist()]


def take_step(features, pairs, step, with_gradient=True, **changes):
    """A forward pass of optimizer step `step`."""
    features.step, features.with_gradient = step, with_gradient
    return features.model(**{**pairs, **changes}, relation_features=features)


def record_encodings(model) -> list[tuple[list[int], bool]]:
    """(rows of the memory, with gradient?) of each time that descriptions are encoded, from now on."""
    seen, encode = [], model.description_features
    rows = {row: index for index, row in enumerate(token_rows(model.memory.input_ids))}

    def recorded(input_ids):
        seen.append((sorted(rows[row] for row in token_rows(input_ids)), torch.is_grad_enabled()))
        return encode(input_ids)

    model.description_features = recorded
    return seen


def shake(module, seed: int):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)


def rows_of(model, labels) -> list[int]:
    return sorted(row for label in labels for row in model.memory.rows_of(model.config.label2id[label]))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"own_relation_encoder": True, "learn_negative_threshold": True, "relation_aggregation": "mean"},
        {"own_relation_encoder": True, "relation_aggregation": "max"},
        {"learn_temperature": True},
    ],
)
def test_with_enough_negatives_it_is_full_encoding(make_large, pairs, settings):
    """In the first step, and in one after it."""
    outputs, models = [], []
    for negatives in (None, len(RELATIONS)):
        model = make_large(**settings)
        features = RelationFeatures(model, negatives)
        take_step(features, pairs, 0)
        shake(model, 0)
        outputs.append(take_step(features, pairs, 1))
        outputs[-1].loss.backward()
        models.append(model)
    assert torch.allclose(outputs[0].logits, outputs[1].logits, atol=1e-6)
    assert torch.allclose(outputs[0].loss, outputs[1].loss, atol=1e-6)
    others = dict(models[1].named_parameters())
    for name, parameter in models[0].named_parameters():
        if parameter.grad is None:
            assert others[name].grad is None, name
        else:
            assert torch.allclose(parameter.grad, others[name].grad, atol=1e-6), name


@pytest.mark.parametrize("aggregation", ["max", "mean"])
@pytest.mark.parametrize("learn_negative_threshold", [False, True])
def test_gold_relations_and_the_hardest_others_are_chosen(make_large, pairs, aggregation, learn_negative_threshold):
    """By the old features; only what was chosen gives the encoder a gradient; the oldest of the rest is renewed."""
    model = make_large(
        own_relation_encoder=True,
        relation_aggregation=aggregation,
        learn_negative_threshold=learn_negative_threshold,
    )
    model.set_relation_offsets({"reel": 100.0})  # which answers get, and no training
    seen = record_encodings(model)
    features = RelationFeatures(model, 0, max_age=1000)
    take_step(features, pairs, 0)
    old = features.features.clone()
    shake(model.relation_encoder.text_encoder, 1)
    seen.clear()
    features.hard_negatives = 3
    output = take_step(features, pairs, 1)
    output.loss.backward()

    gold = [LABELS[4], LABELS[9]] + ([] if learn_negative_threshold else ["none"])
    cosines = (output.pair_embeds @ model.relation_encoder.project(old).T).tolist()
    best = {}
    for label in LABELS[learn_negative_threshold:]:
        if label not in gold:
            rows = model.memory.rows_of(LABELS.index(label))
            aggregate = max if aggregation == "max" else lambda scores: sum(scores) / len(scores)
            by_pair = [aggregate([cosines[pair][row] for row in rows]) for pair in range(3)]
            best[label] = max(by_pair)
    hardest = sorted(best, key=best.get)[-3:]
    chosen = rows_of(model, gold + hardest)
    oldest = next(row for row in range(len(old)) if row not in chosen)
    assert sorted(seen) == sorted([([oldest], False), (chosen, True)])

    renewed = {*chosen, oldest}
    for row, feature in enumerate(features.features):
        assert torch.equal(feature, old[row]) == (row not in renewed)
    words = model.relation_encoder.text_encoder.get_input_embeddings().weight.grad.abs().sum(dim=1) > 0
    with_gradient = {token for row in chosen for token in token_rows(model.memory.input_ids)[row]}
    # With "max", a description gets none where another of its relation fits every pair better.
    assert {*words.nonzero()[:, 0].tolist()} <= with_gradient
    if aggregation == "mean":
        assert {*words.nonzero()[:, 0].tolist()} == with_gradient


def test_micro_batches_choose_their_own_and_share_the_upkeep(make_large, pairs):
    model = make_large(own_relation_encoder=True)
    seen = record_encodings(model)
    everything = list(range(len(model.memory.input_ids)))
    features = RelationFeatures(model, 0, max_age=8)
    for labels in ([1, 1, 1, 1], [5, 6, -100, -100]):
        take_step(features, pairs, 0, labels=torch.tensor(labels))
    assert seen == [
        (everything, False),
        (rows_of(model, [LABELS[1]]), True),
        (rows_of(model, [LABELS[5], LABELS[6]]), True),
    ]
    seen.clear()
    for labels in ([1, 1, 1, 1], [5, 6, -100, -100], [-100] * 4):
        take_step(features, pairs, 1, labels=torch.tensor(labels))
    counts = [(len(rows), with_gradient) for rows, with_gradient in seen]
    assert counts == [(4, False), (1, True), (3, True)]  # 32 descriptions in 8 steps
    assert not {*seen[0][0]} & {*seen[1][0]}


def test_without_labels_the_best_of_all_are_chosen(make_large, pairs):
    model = make_large(own_relation_encoder=True)
    features = RelationFeatures(model, 0)
    take_step(features, pairs, 0)
    old, seen = features.features, record_encodings(model)
    features.hard_negatives = 1
    output = take_step(features, pairs, 0, labels=None)
    cosines = output.pair_embeds @ model.relation_encoder.project(old).T
    label = max(LABELS, key=lambda label: cosines[:, rows_of(model, [label])].mean(dim=1).max())
    assert seen == [(rows_of(model, [label]), True)]


@pytest.mark.parametrize(("negatives", "max_age", "every"), [(0, 1, 1), (1, 7, 1), (2, 10, 3), (5, 30, 2)])
def test_no_description_grows_older_than_it_may(make_large, pairs, negatives, max_age, every):
    """By content: the encoder changes in every step, and each feature is what a recent step's encoder gave."""
    model, history, oldest = make_large(own_relation_encoder=True), [], 0
    features = RelationFeatures(model, negatives, max_age)
    seen, total = record_encodings(model), len(model.memory.input_ids)
    for step in range(40):
        shake(model.relation_encoder.text_encoder, step)
        history.append(encode_descriptions(model, model.memory.input_ids))
        seen.clear()
        labels = torch.tensor([step % 24, 3, 3, -100])
        take_step(features, pairs, step, with_gradient=step % every == 0, labels=labels).loss.backward()
        for row, feature in enumerate(features.features):
            age = next(age for age in range(step + 1) if torch.allclose(feature, history[step - age][row], atol=1e-5))
            oldest = max(oldest, age)
        renewed = sum(len(rows) for rows, with_gradient in seen if not with_gradient)
        if step > 0:
            assert renewed <= -(-total // max_age), step
            assert any(with_gradient for _, with_gradient in seen) == (step % every == 0)
    assert oldest < max_age
    assert oldest >= max_age // 3  # they are not all encoded anew all the time


def test_steps_that_were_left_out_and_another_run(make_large, pairs):
    model = make_large(own_relation_encoder=True)
    features = RelationFeatures(model, 0, max_age=16)
    seen, total = record_encodings(model), len(model.memory.input_ids)

    def renewed(step):
        seen.clear()
        take_step(features, pairs, step, with_gradient=False)
        return sum(len(rows) for rows, _ in seen)

    assert [renewed(step) for step in (10, 10, 11, 12, 30, 31)] == [total, 0, 2, 2, total, 2]
    assert renewed(3) == total
    model.to("cpu")
    assert renewed(4) == total
    model.load_state_dict(model.state_dict())
    assert renewed(5) == total


def test_features_belong_to_the_adapter_in_force(make_large, processor, pairs, tmp_path):
    make_large().save_pretrained(tmp_path)
    model = RocModel.from_pretrained(tmp_path)
    adapted = add_lora(model, processor, LoraArguments(use_lora=True, lora_rank=4)).train()
    seen, features = record_encodings(model), RelationFeatures(model, 1)
    for features.step in range(2):
        adapted(**pairs, relation_features=features).loss.backward()
    assert [with_gradient for _, with_gradient in seen] == [False, True, False, True]
    assert features.generation is model.memory.modules_to_save["default"].generation


@pytest.fixture
def make_trainer(make_large, processor, tmp_path):
    """A trainer of pairs whose tail is the word that their relation is about; keyword arguments are its arguments."""
    heads, tails = zip(*itertools.product(NAMES, WORDS), strict=True)
    encoded = processor(
        text=[f"{head} and the {tail}" for head, tail in zip(heads, tails, strict=True)],
        head=[{"start": 0, "end": len(head)} for head in heads],
        tail=[
            {"start": len(head) + 9, "end": len(head) + 9 + len(tail)} for head, tail in zip(heads, tails, strict=True)
        ],
    )
    columns = {name: encoded[name] for name in ("input_ids", *PAIR_PLACES)}
    labels = [WORDS.index(tail) for tail in tails]
    rows = Dataset.from_dict({**columns, "labels": labels, "image_id": [None] * len(labels)})

    def make(folder="out", dropout=0.0, model_settings=None, **settings):
        settings = {
            "use_cpu": True,
            "report_to": "none",
            "disable_tqdm": True,
            "save_strategy": "no",
            "learning_rate": 3e-3,
            "per_device_train_batch_size": 16,
            **settings,
        }
        return RocTrainer(
            model=make_large(dropout, **(model_settings or {})),
            args=RocTrainingArguments(output_dir=str(tmp_path / folder), **settings),
            data_collator=RocDataCollator(processor, None),
            train_dataset=rows.select(range(len(WORDS), len(rows))),
            eval_dataset=rows.select(range(len(WORDS))),  # a head that is not trained on
            processing_class=processor,
        )

    return make


def test_a_small_set_is_learnt_as_well_with_few_negatives(make_trainer):
    """Accuracy within 5% and loss within 0.1 of what full encoding gives, on heads that were not trained on."""
    results = []
    for settings in ({}, {"relation_hard_negatives": 4, "relation_max_age": 20}):
        trainer = make_trainer(num_train_epochs=12, learning_rate=1e-3, warmup_steps=0.1, **settings)
        seen = record_encodings(trainer.model)
        trainer.train()
        sizes = [len(rows) for rows, with_gradient in seen if with_gradient]
        prediction = trainer.predict(trainer.eval_dataset)
        accuracy = (prediction.predictions.argmax(axis=-1) == prediction.label_ids).mean()
        results.append((accuracy, prediction.metrics["test_loss"], sum(sizes) / len(sizes)))
    (full, full_loss, all_of_them), (few, few_loss, some) = results
    assert some < 0.75 * all_of_them
    assert full > 0.9 and few > full - 0.05, results
    assert few_loss < full_loss + 0.1, results


def test_the_trainer_counts_optimizer_steps(make_trainer):
    trainer = make_trainer(
        relation_hard_negatives=2,
        relation_max_age=4,
        relation_update_steps=2,
        gradient_accumulation_steps=2,
        per_device_train_batch_size=4,
        max_steps=3,
    )
    seen = record_encodings(trainer.model)
    total = len(trainer.model.memory.input_ids)
    for _ in range(2):  # another run on the same model begins anew
        seen.clear()
        trainer.train()
        assert [with_gradient for _, with_gradient in seen] == [False, True, True, False, False, True, True]
        assert [len(rows) for rows, with_gradient in seen if not with_gradient] == [total, total // 4, total // 4]


@pytest.mark.parametrize(
    "settings", [{}, {"model_settings": {"own_relation_encoder": True}, "relation_update_steps": 2}]
)
def test_a_resumed_run_ends_with_the_same_weights(make_trainer, settings):
    """With dropout; features of different ages are not saved, so an unbroken run begins anew at a checkpoint too."""
    settings = {
        **settings,
        "dropout": 0.1,
        "relation_hard_negatives": 2,
        "relation_max_age": 5,
        "max_steps": 8,
        "save_strategy": "steps",
        "save_steps": 5,
    }
    whole = make_trainer("whole", **settings)
    whole.train()
    resumed = make_trainer("resumed", **settings)
    resumed.train(resume_from_checkpoint=f"{whole.args.output_dir}/checkpoint-5")
    assert resumed.state.global_step == 8
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"relation_hard_negatives": -1}, "relation_hard_negatives must be 0 or more, got -1"),
        ({"relation_hard_negatives": 4, "relation_max_age": 0}, "relation_max_age must be 1 or more, got 0"),
        ({"relation_hard_negatives": 4, "relation_update_steps": 0}, "no effect with relation_update_steps=0"),
        ({"relation_max_age": 7}, "relation_max_age has no effect without relation_hard_negatives"),
    ],
)
def test_wrong_settings_are_refused(settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        RocTrainingArguments(output_dir=str(tmp_path), **settings)


def test_a_classification_model_has_no_negatives(make_model, tmp_path):
    args = RocTrainingArguments(output_dir=str(tmp_path), use_cpu=True, relation_hard_negatives=4)
    with pytest.raises(ValueError, match='no effect on a model with objective="classification"'):
        RocTrainer(model=make_model(objective="classification"), args=args)


@pytest.mark.parametrize(
    ("arguments", "message"), [((-1,), "hard_negatives must be 0 or more"), ((4, 0), "max_age must be 1 or more")]
)
def test_wrong_numbers_are_refused(make_model, arguments, message):
    with pytest.raises(ValueError, match=message):
        RelationFeatures(make_model(), *arguments)

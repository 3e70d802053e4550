# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Relations held out of training: which, what is left of the data, how they are scored and calibrated."""

import numpy as np
import pytest
import torch
from datasets import load_dataset

from data_scripts.demo.dataset import load_demo, load_demo_descriptions
from evaluation_roc.zero_shot import format_zero_shot, negative_offset, score_zero_shot, unseen_offsets
from training_roc.hold_out import check_hold_out, choose_unseen, hold_out, seen_descriptions, seen_rows

RELATIONS = ["none", "a", "b", "c", "d"]


def one_hot(predictions, num_relations=5):
    return np.eye(num_relations)[predictions]


def test_scores_worked_by_hand():
    """Relations 1 and 2 are seen, 3 and 4 unseen, 0 is negative."""
    gold = [0, 0, 0, 1, 1, 2, 3, 3, 4, 4]
    said = [0, 3, 1, 1, 3, 2, 3, 1, 4, 0]
    scores = score_zero_shot(one_hot(said), gold, unseen=[3, 4], negative_label=0)
    # Seen: said 1, 1, 1, 2 = 4 times, 2 of them right, 3 gold rows. P 2/4, R 2/3, F1 4/7.
    assert scores["seen"]["micro_precision"] == pytest.approx(2 / 4)
    assert scores["seen"]["micro_recall"] == scores["seen"]["accuracy"] == pytest.approx(2 / 3)
    assert scores["seen"]["micro_f1"] == pytest.approx(4 / 7)
    # Unseen: said 3, 3, 3, 4 = 4 times, 2 of them right, 4 gold rows. P 2/4, R 2/4, F1 1/2.
    assert scores["unseen"]["micro_f1"] == pytest.approx(1 / 2)
    assert scores["unseen"]["macro_f1"] == pytest.approx((2 / 5 + 2 / 3) / 2)
    assert scores["harmonic_mean"] == pytest.approx(2 * (4 / 7) * (1 / 2) / (4 / 7 + 1 / 2))
    assert scores["accuracy_harmonic_mean"] == pytest.approx(2 * (2 / 3) * (1 / 2) / (2 / 3 + 1 / 2))
    assert (scores["seen"]["examples"], scores["unseen"]["examples"]) == (3, 4)
    # Among the unseen alone, rows 3, 3, 4, 4: the second has no score for either, and the first of them wins.
    assert scores["unseen_only"] == {"accuracy": pytest.approx(3 / 4), "macro_accuracy": pytest.approx(3 / 4),
                                     "examples": 4}  # fmt: skip
    table = format_zero_shot({"retrieval": scores})
    assert "| retrieval |   0.571 |     0.500 |" in table


def test_scores_without_a_negative_relation_or_without_rows():
    scores = score_zero_shot(one_hot([0, 1, 1]), [0, 1, 0], unseen=[1], negative_label=None)
    assert scores["seen"]["micro_f1"] == pytest.approx(2 / 3) and scores["unseen"]["micro_f1"] == pytest.approx(2 / 3)
    scores = score_zero_shot(one_hot([0, 1, 1]), [0, 1, 0], unseen=[3], negative_label=0)
    assert scores["unseen"]["micro_f1"] == scores["harmonic_mean"] == scores["unseen_only"]["accuracy"] == 0
    for unseen in ([], [0], [1, 2, 3, 4]):
        with pytest.raises(ValueError, match="nothing to compare"):
            score_zero_shot(one_hot([0]), [0], unseen, negative_label=0)


def test_offsets_let_unseen_relations_take_a_share_of_other_rows():
    random = np.random.default_rng(0)
    logits = random.normal(size=(1000, 5)) + [3, 2, 1, -4, 9]
    offsets = unseen_offsets(logits, [3, 4], rate=0.05)
    for relation, offset in zip([3, 4], offsets, strict=True):
        moved = np.delete(logits, 7 - relation, axis=1)
        moved[:, 3] += offset
        assert (moved.argmax(axis=1) == 3).sum() == 50


def test_the_negative_offset_is_the_best_one():
    logits = np.array([[0, 1.0, 0], [0, 2.0, 0], [0, 0, 3.0], [0, 4.0, 0]])
    offset = negative_offset(logits, [0, 0, 2, 1], negative_label=0)
    assert 2 < offset <= 3


def test_which_relations_are_held_out():
    assert choose_unseen("c, a", RELATIONS, "none", seed=0) == ["a", "c"]
    drawn = [choose_unseen(str(number), RELATIONS, "none", seed=1) for number in (1, 2)]
    assert len(drawn[0]) == 1 and len(drawn[1]) == 2 and set(drawn[0]) < set(drawn[1]) and "none" not in drawn[1]
    assert choose_unseen("2", RELATIONS, "none", seed=1) == drawn[1]
    assert len({tuple(choose_unseen("2", RELATIONS, "none", seed)) for seed in range(20)}) > 2
    odd = ["none", "lives in, since", "2", "[x]", "a", "b"]
    assert choose_unseen('["[x]", "2", "lives in, since"]', odd, "none", seed=0) == odd[1:4]
    for wanted, message in [
        ("x", "no relation 'x'.*a, b, c, d"),
        ("a,none", "'none' is the negative relation"),
        ("a,a", "twice"),
        ("0", "0 relations.*1 to 2"),
        ("-1", "-1 relations"),
        ("--1", "no relation '--1'"),
        ("²", "no relation '²'"),
        ("3", "3 relations"),
        ("", "no relation ''"),
        ("[a, b]", r"'\[a, b\]' is no JSON list of labels"),
        ('["a", 1]', "no relation 1 to hold out"),
        ('["a", "a"]', "twice"),
        ("[]", "0 relations"),
    ]:
        with pytest.raises(ValueError, match=message):
            choose_unseen(wanted, RELATIONS, "none", seed=0)


def test_their_rows_leave_training_and_the_choice_of_a_checkpoint():
    splits, descriptions = load_demo(num_train=54, num_validation=27, num_test=27), load_demo_descriptions()
    unseen = ["/per/per/peer", "/per/org/member_of"]
    held, reordered = hold_out(splits, descriptions, unseen)
    names = held["train"].features["relation"].names
    assert sorted(names[-2:]) == sorted(unseen) and list(reordered["relations"]) == names
    assert list(seen_descriptions(reordered, unseen)["relations"]) == names[:-2]
    unlabelled = (
        splits["validation"]
        .remove_columns("relation")
        .add_column("relation", [None] * len(splits["validation"]), feature=splits["validation"].features["relation"])
    )
    with pytest.raises(ValueError, match="no validation row is labelled"):
        hold_out({**splits, "validation": unlabelled}, descriptions, unseen)
    for split in splits:
        before = splits[split].features["relation"].int2str(splits[split]["relation"])
        labels = dict(zip(splits[split]["id"], before, strict=True))
        kept = {
            id: held[split].features["relation"].int2str(label)
            for id, label in zip(held[split]["id"], held[split]["relation"], strict=True)
        }
        if split == "train":
            labels = {id: label for id, label in labels.items() if label not in unseen}
        assert kept == labels
    rows = held["validation"].rename_column("relation", "labels")
    assert set(seen_rows(rows, 7)["labels"]) == set(range(7)) & set(rows["labels"])
    with pytest.raises(ValueError, match="all training rows"):
        hold_out(splits, descriptions, list(descriptions["relations"]))


def test_holding_out_copies_no_picture(tmp_path):
    """A draw takes rows by their index, so that ten draws of a large data set do not fill a disk."""
    for split, rows in load_demo(num_train=54, num_validation=27, num_test=27).items():
        rows.to_parquet(tmp_path / "data" / f"{split}.parquet")
    splits = load_dataset(str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"))
    before = sorted((tmp_path / "cache").rglob("*"))
    held, _ = hold_out(splits, load_demo_descriptions(), ["/per/per/peer"], num_examples=2)
    assert sorted((tmp_path / "cache").rglob("*")) == before
    assert held["train"].data.nbytes < splits["train"].data.nbytes + 10_000 and held["few_shot"][0]["image"]


def test_examples_of_held_out_relations_are_drawn_from_training_rows():
    splits, descriptions = load_demo(num_train=90, num_validation=27, num_test=27), load_demo_descriptions()
    unseen = ["/per/per/peer", "/per/org/member_of"]

    def draw(number, seed=0, unseen=unseen):
        rows = hold_out(splits, descriptions, unseen, number, seed)[0]["few_shot"]
        names = rows.features["relation"].int2str(rows["relation"])
        return {label: [i for i, name in zip(rows["id"], names, strict=True) if name == label] for label in unseen}

    four = draw(4)
    assert all(len(set(ids)) == 4 for ids in four.values())
    assert draw(1) == {label: ids[:1] for label, ids in four.items()} and draw(4, seed=1) != four
    assert draw(4, unseen=unseen[:1]) == {unseen[0]: four[unseen[0]]}
    own = splits["train"].features["relation"].int2str(splits["train"]["relation"])
    rows = {
        label: {i for i, name in zip(splits["train"]["id"], own, strict=True) if name == label} for label in unseen
    }
    assert all(set(four[label]) < rows[label] for label in unseen)
    assert {label: set(ids) for label, ids in draw(16).items()} == rows  # there are fewer
    kept = hold_out(splits, descriptions, unseen, 4)[0]["train"]["id"]
    assert not {i for ids in rows.values() for i in ids} & set(kept)
    assert "few_shot" not in hold_out(splits, descriptions, unseen)[0]
    splits["train"] = splits["train"].filter(lambda row: row["id"] in kept)
    with pytest.raises(ValueError, match="no row of /per/per/peer, /per/org/member_of"):
        draw(1)


def test_what_cannot_hold_relations_out():
    splits = {"train": None, "validation": None}
    check_hold_out("retrieval", True, splits)
    with pytest.raises(ValueError, match="classifier has a fixed set of relations"):
        check_hold_out("classification", True, splits)
    with pytest.raises(ValueError, match="may have been trained on these"):
        check_hold_out("retrieval", False, splits)
    with pytest.raises(ValueError, match="validation split"):
        check_hold_out("retrieval", True, {"train": None})


def logits_of(model, batch):
    with torch.no_grad():
        return model.eval()(**{**batch, "labels": None}).logits


@pytest.mark.parametrize("learned", [False, True])
def test_offsets_of_relations(make_model, batch, processor, tmp_path, learned):
    model = make_model(learn_negative_threshold=learned)
    before = logits_of(model, batch)
    model.set_relation_offsets({"/per/per/peer": 2.5})
    assert torch.allclose(logits_of(model, batch) - before, torch.tensor([0, 0, 2.5]), atol=1e-5)
    model.save_pretrained(tmp_path)
    assert torch.equal(logits_of(type(model).from_pretrained(tmp_path), batch), logits_of(model, batch))
    memory = model.make_relation_memory({"/per/per/peer": "Head and tail are friends.", "x": "Other."}, processor)
    with torch.no_grad():
        moved = model(**{**batch, "labels": None}, relation_memory=memory).logits
        model.set_relation_offsets(None)
        plain = model(**{**batch, "labels": None}, relation_memory=memory).logits
    assert torch.allclose(moved - plain, torch.tensor([2.5, 0]), atol=1e-5)
    for offsets, message in [({"x": 1.0}, "'x'"), ({"/per/per/peer": float("nan")}, "finite"), ({"none": 1}, "none")]:
        if "none" in offsets and not learned:
            continue
        with pytest.raises(ValueError, match=message):
            model.set_relation_offsets(offsets)


@pytest.mark.parametrize("learned", [False, True])
def test_pairs_are_scored_anew_without_being_encoded_anew(make_model, batch, learned):
    model = make_model(learn_negative_threshold=learned, text_similarity=0.3).eval()
    model.set_relation_offsets({"/per/per/peer": 0.5})
    with torch.no_grad():
        output = model(**batch)
        threshold = output.logits[:, [model.config.label2id["none"]]] if learned else None
        scored = model.memory(output.pair_embeds, threshold=threshold, offsets=model.config.relation_offsets)
    assert torch.allclose(scored, output.logits, atol=1e-5)


@pytest.mark.parametrize("own_relation_encoder", [False, True])
def test_the_similarity_of_texts_is_part_of_the_score(make_model, batch, tmp_path, own_relation_encoder):
    model = make_model(own_relation_encoder=own_relation_encoder, text_similarity=0.4, relation_aggregation="mean")
    trained = model.train()(**batch)
    assert model.relation_encoder.text_center.any()
    # Of four texts one moves the mean; in the next batch it is another.
    model(**{name: value if name == "pixel_values" else value.roll(1, dims=0) for name, value in batch.items()})
    # The loss sees the projections' part alone.
    assert torch.allclose(trained.pair_embeds.norm(dim=-1), torch.full((4,), 0.6**0.5), atol=1e-5)
    assert not trained.pair_embeds[:, model.config.projection_dim :].any()
    with torch.no_grad():
        output = model.eval()(**batch)
        texts = model.read_texts(batch["input_ids"], batch["attention_mask"]) - model.relation_encoder.text_center
        descriptions = model.description_features(model.memory.input_ids) - model.relation_encoder.center
        cosines = torch.nn.functional.cosine_similarity(texts[:, None], descriptions[None], dim=-1)
    size = model.config.projection_dim
    projected = output.pair_embeds[:, :size] @ model.memory.embeds[:, :size].T
    scores = (projected + 0.4 * cosines) / model.config.temperature
    grouped = torch.stack([scores[:, 0], scores[:, 1:3].mean(dim=1), scores[:, 3]], dim=1)
    assert torch.allclose(output.logits, grouped, atol=1e-4)
    assert torch.allclose(output.pair_embeds.norm(dim=-1), torch.ones(4), atol=1e-5)
    model.save_pretrained(tmp_path)
    loaded, info = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()) and torch.equal(logits_of(loaded, batch), output.logits)

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Relations held out of training: which, what is left of the data, how they are scored and calibrated."""

import numpy as np
import pytest
import torch
from datasets import concatenate_datasets, load_dataset

from data_scripts.demo.dataset import load_demo, load_demo_descriptions
from evaluation_roc.zero_shot import (
    format_draws,
    format_zero_shot,
    negative_offset,
    score_unseen_only,
    score_zero_shot,
    unseen_offsets,
)
from training_roc.hold_out import (
    check_hold_out,
    choose_unseen,
    hold_out,
    seen_descriptions,
    seen_rows,
    untrained_relations,
    warn_of_leaks,
    warn_of_source,
)

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
    assert scores["unseen"]["macro_f1_present"] == pytest.approx((2 / 5 + 2 / 3) / 2)
    assert scores["harmonic_mean"] == pytest.approx(2 * (4 / 7) * (1 / 2) / (4 / 7 + 1 / 2))
    assert scores["accuracy_harmonic_mean"] == pytest.approx(2 * (2 / 3) * (1 / 2) / (2 / 3 + 1 / 2))
    assert (scores["seen"]["examples"], scores["unseen"]["examples"]) == (3, 4)
    # Among the unseen alone, rows 3, 3, 4, 4: the second and the last have no score for either, and 3 wins.
    alone = {"accuracy": 3 / 4, "macro_precision": (2 / 3 + 1) / 2, "macro_recall": 3 / 4, "macro_f1": 0.789474}
    assert scores["unseen_only"].pop("draws") == {}
    assert scores["unseen_only"] == pytest.approx(alone | {"examples": 4})
    table = format_zero_shot({"retrieval": scores})
    assert "| retrieval |   0.571 |     0.500 |" in table


def test_scores_without_a_negative_relation_or_without_rows():
    scores = score_zero_shot(one_hot([0, 1, 1]), [0, 1, 0], unseen=[1], negative_label=None)
    assert scores["seen"]["micro_f1"] == pytest.approx(2 / 3) and scores["unseen"]["micro_f1"] == pytest.approx(2 / 3)
    scores = score_zero_shot(one_hot([0, 1, 1]), [0, 1, 0], unseen=[3], negative_label=0)
    assert scores["unseen"]["micro_f1"] == scores["harmonic_mean"] == scores["unseen_only"]["accuracy"] == 0
    scores = score_zero_shot(one_hot([0, 1, 2]), [0, 1, 1], unseen=[1, 2, 3, 4], negative_label=0)
    assert scores["seen"]["micro_f1"] == scores["seen"]["examples"] == 0 and scores["unseen"]["micro_f1"] == 1 / 2
    for unseen in ([], [0]):
        with pytest.raises(ValueError, match="nothing to score"):
            score_zero_shot(one_hot([0]), [0], unseen, negative_label=0)


def test_macro_scores_are_those_of_the_published_code():
    """Precision over the relations that are said, recall over those with a row, F1 of the two means."""
    gold, said = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 1]
    scores = score_unseen_only(one_hot(said, 4), gold, candidates=[0, 1, 2])
    precision, recall = (2 / 3 + 1 / 3) / 2, (2 / 3 + 1 / 2 + 0) / 3
    assert scores["macro_precision"] == pytest.approx(precision) and scores["macro_recall"] == pytest.approx(recall)
    assert scores["macro_f1"] == pytest.approx(2 * precision * recall / (precision + recall))
    assert scores["accuracy"] == 3 / 6 and scores["examples"] == 6


def test_draws_of_unseen_relations():
    """A model that is right but where relation 0 competes: it takes everything."""
    gold = np.repeat(np.arange(12), 3)
    logits = one_hot(gold, 12)
    logits[:, 0] = 2
    scores = score_zero_shot(
        np.hstack([np.zeros((36, 1)), logits]), gold + 1, unseen=range(1, 13), negative_label=None
    )
    draws = scores["unseen_only"]["draws"]
    assert list(draws) == ["5", "10"] and scores["unseen_only"]["macro_recall"] == pytest.approx(1 / 12)
    for m, draw in draws.items():
        # Of five draws some have relation 0: they score 1 / m, the others 1.
        hits = (1 - draw["macro_recall"]) / (1 - 1 / int(m)) * 5
        assert hits == pytest.approx(round(hits)) and 0 <= round(hits) <= 5
        values = [1 / int(m)] * round(hits) + [1.0] * (5 - round(hits))
        assert draw["macro_recall_std"] == pytest.approx(np.std(values, ddof=1))
    assert draws["10"]["macro_recall"] < draws["5"]["macro_recall"]  # nested draws: 0 is in more of them
    assert f"| 10 | {100 * draws['10']['macro_precision']:.2f} ± " in " ".join(
        format_draws(scores["unseen_only"]).split()
    )


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


def test_their_rows_leave_training_and_the_choice_of_a_checkpoint(caplog):
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
    hold_out(splits, descriptions, unseen)
    assert not caplog.records
    hold_out({**splits, "validation": unlabelled}, descriptions, unseen)
    assert "unseen ones compete without an offset" in caplog.text
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


def test_relations_without_a_training_row_are_unseen_whatever_else_is():
    untrained = ["b", "none"]
    assert choose_unseen("0", RELATIONS, "none", 0, untrained) == ["b"]
    assert choose_unseen("d", RELATIONS, "none", 0, untrained) == choose_unseen("b,d", RELATIONS, "none", 0, untrained)
    assert {"b"} < set(choose_unseen("1", RELATIONS, "none", 0, untrained)) < set(RELATIONS)
    with pytest.raises(ValueError, match="2 relations are to be held out: it must be 0 to 1"):
        choose_unseen("2", RELATIONS, "none", 0, untrained)
    assert choose_unseen("4", RELATIONS, "none", 0, num_left=0) == RELATIONS[1:]  # nothing is to be trained


def test_without_a_validation_split_the_rows_held_out_are_it():
    splits, descriptions = load_demo(num_train=54, num_validation=27, num_test=27), load_demo_descriptions()
    peer, member = "/per/per/peer", "/per/org/member_of"
    label = splits["train"].features["relation"].str2int
    del splits["validation"]
    own = {
        name: splits["train"].filter(lambda row, name=name: row["relation"] == label(name)) for name in (peer, member)
    }
    splits["train"] = splits["train"].filter(lambda row: row["relation"] != label(peer))
    unseen = choose_unseen(member, list(descriptions["relations"]), "none", 0, untrained_relations(splits))
    assert sorted(unseen) == sorted([peer, member])
    held, _ = hold_out(splits, descriptions, unseen)
    assert held["validation"]["id"][:] == own[member]["id"][:]
    assert len(held["train"]) == 54 - len(own[member]) - len(own[peer])
    assert set(held["validation"].features["relation"].int2str(held["validation"]["relation"])) == {member}
    assert "validation" not in hold_out(splits, descriptions, [peer])[0]


def test_warnings_of_relations_that_are_less_unseen_than_they_seem(caplog):
    splits, descriptions = load_demo(num_train=54, num_validation=27, num_test=27), load_demo_descriptions()
    unseen = ["/per/per/peer", "/per/org/member_of"]
    warn_of_source(descriptions, unseen)
    warn_of_leaks(hold_out(splits, descriptions, unseen)[0], unseen)
    assert not caplog.records
    descriptions["relations"]["/per/per/peer"]["source"] = "a model, from 4 examples of the training split of data/own"
    descriptions["relations"]["none"]["source"] = "rows of the training split"  # not unseen
    warn_of_source(descriptions, unseen)
    assert "the descriptions of /per/per/peer were written from training rows" in caplog.text
    member = splits["train"].features["relation"].str2int("/per/org/member_of")
    copied = (
        splits["train"]
        .select([0, 1])
        .map(lambda row: {"relation": member, "tokens": [*map(str.upper, row["tokens"])]})
    )
    splits["test"] = concatenate_datasets([splits["test"], copied])
    number = splits["test"]["relation"][:].count(member)
    warn_of_leaks(hold_out(splits, descriptions, ["/per/org/member_of"])[0], ["/per/org/member_of"])
    assert f"test: 2 of {number} rows of unseen relations stand in train too" in caplog.text


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
    check_hold_out("retrieval", splits)
    with pytest.raises(ValueError, match="classifier has a fixed set of relations"):
        check_hold_out("classification", splits)
    with pytest.raises(ValueError, match="needs a train split"):
        check_hold_out("retrieval", {"validation": None})


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
    model = make_model(learn_negative_threshold=learned).eval()
    model.set_relation_offsets({"/per/per/peer": 0.5})
    with torch.no_grad():
        output = model(**batch)
        threshold = output.logits[:, [model.config.label2id["none"]]] if learned else None
        scored = model.memory(output.pair_embeds, threshold=threshold, offsets=model.config.relation_offsets)
    assert torch.allclose(scored, output.logits, atol=1e-5)

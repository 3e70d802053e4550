# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Training on several data sets at once: who competes with whom, what is scored, and what the saved model keeps."""

import io
import json
import logging
import math
import shutil
from collections import Counter
from statistics import fmean

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict
from PIL import Image
from safetensors.torch import load_file
from small_runs import assert_same_weights, read_json, write_rows
from transformers import AutoModel
from transformers.trainer_utils import PredictionOutput

from data_scripts.demo.dataset import load_demo, load_demo_descriptions
from data_scripts.descriptions.files import load_descriptions, write_descriptions
from data_scripts.schema import dataset_features
from evaluation_roc.relation_f1.relation_f1 import compute_relation_f1
from training_roc import RelationFeatures
from training_roc.arguments import DataArguments, UserError, parse_arguments
from training_roc.checkpoints import CheckpointError
from training_roc.collator import RocDataCollator
from training_roc.metrics import make_compute_metrics
from training_roc.mixture import join_relations
from training_roc.rows import RunData, candidates, encode_splits
from training_roc.sampler import PictureGroupedSampler

COUPLE = "/per/per/couple"


def described(relations: dict[str, list[str]], negative: str | None = None) -> dict:
    entries = {
        label: {"descriptions": texts, "source": f"of {label}", "reviewed": True} for label, texts in relations.items()
    }
    return {"relations": entries, "negative_relation": negative}


FIRST = described({"NA": ["Nothing."], "spouse": ["They are married."], "born in": ["A place of birth."]}, "NA")
SECOND = described(
    {"P26": ["they  are MARRIED."], "spouse": ["Husband, wife."], "None": ["Unrelated.", "nothing."]}, "None"
)


# ---- the relations of all


def test_one_data_set_stays_as_it_is():
    assert join_relations([("first", FIRST)], "descriptions") == (FIRST, [[0, 1, 2]])
    assert join_relations([("second", SECOND)], None) == (SECOND, [[0, 1, 2]])


def test_labels_stay_apart_and_equal_texts_and_negative_relations_are_one():
    relations, places = join_relations([("first", FIRST), ("second", SECOND)], "descriptions")
    assert relations["negative_relation"] == "NA"
    assert list(relations["relations"]) == ["NA", "first/spouse", "first/born in", "second/spouse"]
    assert places == [[0, 1, 2], [1, 3, 0]]
    assert relations["relations"]["NA"]["descriptions"] == ["Nothing.", "Unrelated."]
    assert relations["relations"]["NA"]["source"] == "of NA; of None"
    # Which texts are compared is a question of what the model reads.
    relations, places = join_relations([("first", FIRST), ("second", SECOND)], "labels")
    assert list(relations["relations"]) == ["NA", "first/spouse", "first/born in", "second/P26"]
    assert places == [[0, 1, 2], [3, 1, 0]]
    relations, places = join_relations([("first", FIRST), ("second", SECOND)], None)
    assert list(relations["relations"])[3:] == ["second/P26", "second/spouse"] and places == [[0, 1, 2], [3, 4, 0]]


def test_two_relations_of_one_data_set_are_never_made_one():
    twins = described({"a": ["The same."], "b": ["the same."]})
    relations, places = join_relations([("first", FIRST), ("twins", twins)], "descriptions")
    assert list(relations["relations"])[3:] == ["twins/a", "twins/b"] and places[1] == [3, 4]


# ---- who competes with whom


@pytest.mark.parametrize("objective", ["retrieval", "classification"])
def test_the_loss_is_that_of_the_relations_that_compete(make_model, batch, objective):
    model = make_model(objective=objective)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    mask = torch.tensor([[True, True, False], [True, True, True], [False, True, True], [True, False, True]])
    plain = model.train()(**batch).logits.detach().double()
    output = model(**batch, relation_mask=mask)
    assert (output.logits[~mask] == torch.finfo(torch.float32).min).all()
    assert torch.allclose(output.logits[mask].double(), plain[mask], atol=1e-6)
    golds = [(0, [0, 1]), (1, [0, 1, 2]), (2, [1, 2])]  # the fourth pair has no label
    losses = [
        math.log(sum(math.exp(plain[row, other]) for other in others)) - plain[row, gold].item()
        for row, (gold, others) in enumerate(golds)
    ]
    assert output.loss.item() == pytest.approx(fmean(losses), abs=1e-5)
    output.logits.retain_grad()
    output.loss.backward()
    assert output.logits.grad[~mask].abs().sum() == 0 and all(
        value.grad is None or value.grad.isfinite().all() for value in model.parameters()
    )


def test_hard_negatives_are_candidates_of_the_pair(make_model, batch):
    model = make_model(with_vision=False).train()
    batch = {name: value for name, value in batch.items() if name not in ("pixel_values", "image_index")}
    batch["labels"] = torch.tensor([1, 1, 1, 2])
    seen, encode = [], model.description_features
    model.description_features = lambda ids: seen.append((len(ids), torch.is_grad_enabled())) or encode(ids)

    def num_encoded(mask) -> int:
        seen.clear()
        features.relation_mask = mask
        model(**batch, relation_mask=mask, relation_features=features)
        return sum(number for number, with_gradient in seen if with_gradient)

    features = RelationFeatures(model, hard_negatives=1, max_age=1000)
    everything, own = torch.ones(4, 3, dtype=torch.bool), torch.zeros(4, 3, dtype=torch.bool)
    own[:, 1:] = True
    # Gold are two relations of three descriptions together; the third one's is a negative of those that have it.
    assert num_encoded(everything) == 4 and num_encoded(own) == 3


def test_rows_carry_their_data_set_and_pictures_of_one_name_stay_two(processor):
    def data(title, color, label):
        with io.BytesIO() as file:
            Image.new("RGB", (64, 64), color).save(file, "PNG")
            picture = {"bytes": file.getvalue(), "path": None}
        entity = {"kind": "text", "name": None, "box": None, "type": None}
        row = {"id": title, "image": picture, "image_id": f"{title}/1.png", "tokens": ["Maya", "met", "Tom"]}
        row |= {"head": {**entity, "start": 0, "end": 1}, "tail": {**entity, "start": 2, "end": 3}}
        row |= {"objects": [], "relation": label}
        rows = Dataset.from_list([row], features=dataset_features(list(FIRST["relations"])))
        return RunData(DatasetDict(train=rows), FIRST, title=title)

    first, second = data("first", "red", 2), data("second", "blue", None)
    second.places = [0, 3, 1]
    encoded, pictures = encode_splits([first, second], processor, DataArguments())
    assert encoded["train"]["dataset_index"][:] == [0, 1] and encoded["train"]["labels"][:] == [2, -100]
    masks = candidates([first, second])
    assert masks.tolist() == [[True, True, True, False], [True, True, False, True]] and candidates([first]) is None
    collate = RocDataCollator(processor, pictures, relation_masks=masks)
    rows = encoded["train"]
    made = collate([rows[1], rows[0], rows[1]])
    assert torch.equal(made["relation_mask"], masks[[1, 0, 1]]) and made["image_index"].tolist() == [0, 1, 0]
    assert not torch.equal(made["pixel_values"][0], made["pixel_values"][1])


# ---- what is scored, and how often what is seen


def test_each_data_set_is_scored_by_itself_and_counts_as_much_as_the_others():
    first, second = RunData({}, FIRST, title="first"), RunData({}, SECOND, title="second", places=[1, 3, 0])
    low = np.finfo(np.float32).min
    logits = np.array(
        # first: NA, spouse, born in; second: spouse's texts, its own spouse, NA
        [[0, 2, 1, low], [0, 2, 1, low], [9, 1, 0, low], [0, 1, low, 2], [3, 1, low, 2], [1, 2, low, 0]],
        np.float32,
    )
    labels, index = np.array([1, 2, 0, 3, 3, -100]), np.array([0, 0, 0, 1, 1, 1])
    metrics = make_compute_metrics([first, second])(PredictionOutput(logits, labels, None), index)
    # Of the first: 2 predicted, 1 right, 2 gold; of the second 1 predicted and right, 2 gold.
    assert metrics["first_micro_f1"] == pytest.approx(1 / 2) and metrics["second_micro_f1"] == pytest.approx(2 / 3)
    assert metrics["micro_f1"] == pytest.approx(7 / 12) and metrics["second_micro_precision"] == 1
    assert metrics["accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    # What has no label has no score, and no part in the mean.
    metrics = make_compute_metrics([first, second])(
        PredictionOutput(logits[2:], labels[2:] * 0 - 100, None), index[2:]
    )
    assert metrics == {}
    metrics = make_compute_metrics([first, second])(PredictionOutput(logits[3:], labels[3:], None), index[3:])
    assert metrics["micro_f1"] == metrics["second_micro_f1"] and "first_micro_f1" not in metrics


def test_weights_say_how_often_a_row_is_seen():
    index = [0] * 10 + [1] * 7 + [2] * 4
    image_ids = [None] * 17 + ["one picture"] * 4
    sampler = PictureGroupedSampler(
        [5] * 21, image_ids, 4, seed=1, dataset_index=index, dataset_weights=[0.5, 1, 2.25]
    )
    epochs = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        order = list(sampler)
        assert order == list(sampler) and len(order) == len(sampler) == 24  # 5 + 7 + 9, filled up to whole batches
        counts = Counter(order)
        drawn = {row for row in range(10) if counts[row]}
        # The three that fill up the last batch may be any.
        assert 5 <= len(drawn) <= 8 and all(counts[row] >= 1 for row in range(10, 17))
        assert all(counts[row] >= 2 for row in range(17, 21)) and sum(counts[row] for row in range(17, 21)) >= 9
        epochs.append(drawn)
    assert epochs[0] != epochs[1]
    with pytest.raises(ValueError, match="an epoch would see no pair"):
        PictureGroupedSampler([5] * 3, [None] * 3, 2, dataset_index=[0] * 3, dataset_weights=[0.1])


# ---- runs


@pytest.fixture(scope="module")
def two(place, tmp_path_factory):
    """Folders of two data sets: the demo's, and one of two other relations with neither pictures, types nor a
    negative relation; one of the two has the very descriptions of one of the demo's."""
    folder, content = tmp_path_factory.mktemp("mixture") / "wiki", load_demo_descriptions()
    texts = {"P26": content["relations"][COUPLE]["descriptions"], "P166": ["award: a prize that the head has got"]}
    (folder / "data").mkdir(parents=True)
    for split, rows in load_demo(num_train=90, num_validation=126, num_test=36).items():
        own, names = [], rows.features["relation"].names
        for row in rows.to_list():
            label, kinds = names[row["relation"]], {row["head"]["kind"], row["tail"]["kind"]}
            if kinds == {"text"}:
                entities = {role: {**row[role], "type": None} for role in ("head", "tail")}
                own.append({**row, **entities, "image": None, "objects": [], "relation": label != COUPLE})
        write_rows(own, list(texts), folder / "data", split)
    write_descriptions(described(texts), folder / "relation_descriptions.json")
    return place / "dataset", folder


def read_lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def assert_scored_among_own(out, results, split, title, content):
    labels = list(content["relations"])
    lines = read_lines(out / f"{split}_{title}_predictions.jsonl")
    gold, said = ([labels.index(line[of]) for line in lines] for of in ("gold", "predicted"))
    negative = content["negative_relation"] and labels.index(content["negative_relation"])
    scores = compute_relation_f1(said, gold, num_labels=len(labels), negative_label=negative)
    assert all(results[f"{split}_{title}_{name}"] == pytest.approx(value) for name, value in scores.items())
    table = read_json(out / f"{split}_{title}_per_relation.json")
    assert [row["relation"] for row in table] == labels and sum(row["support"] for row in table) == len(lines)
    return scores


def test_a_model_of_two_data_sets_keeps_the_relations_of_one(run, two, caplog):
    demo, wiki = (load_descriptions(folder / "relation_descriptions.json") for folder in two)
    out = run("--dataset_name", *two, "--keep_relations_of", "wiki", "--dataset_weights", "1", "2",
              "--metric_for_best_model", "wiki_micro_f1") / "out"  # fmt: skip
    results = read_json(out / "all_results.json")
    for split in ("eval", "test"):
        scores = [
            assert_scored_among_own(out, results, split, title, content)
            for title, content in (("dataset", demo), ("wiki", wiki))
        ]
        for name in scores[0]:
            assert results[f"{split}_{name}"] == pytest.approx(fmean(one[name] for one in scores))
        assert (out / f"{split}_wiki_confusion_matrix.png").exists()
    # In training there were the relations of both, of which one is the same in both; saved are the one's.
    (checkpoint,) = out.glob("checkpoint-*")
    labels = read_json(checkpoint / "config.json")["label2id"]
    assert len(labels) == 10 and "none" in labels and {f"dataset/{COUPLE}", "wiki/P166"} < labels.keys()
    inputs = read_json(checkpoint / "run_inputs.json")
    assert inputs["relations"].keys() == labels.keys() and inputs["training"]["dataset_weights"] == [1, 2]
    model = AutoModel.from_pretrained(out)
    assert model.config.label2id == {"P26": 0, "P166": 1} and model.config.negative_relation is None
    assert model.config.calibration_temperature == results["eval_calibration_temperature"]
    assert list(model.config.relation_descriptions) == ["P26", "P166"]
    card = (out / "README.md").read_text()
    assert "with 2 relations, trained on dataset and wiki." in card and "keep_relations_of: wiki" in card
    for title, prefix in (("wiki, test", "test_wiki"), ("mean over the data sets, validation", "eval")):
        assert f"| {title} | {round(results[f'{prefix}_micro_f1'], 4)} |" in card
    assert f"| wiki, validation | {round(results['eval_wiki_ece_uncalibrated'], 4)} |" in card
    # It answers as it did among the relations of both.
    alone = ("--dataset_name", two[1], "--model_name_or_path", out, "--do_train", "false", "--do_eval", "false",
             "--eval_strategy", "no", "--load_best_model_at_end", "false")  # fmt: skip
    again = run(*alone, "--output_dir", "again") / "again"
    for line, other in zip(*(read_lines(of) for of in (out / "test_wiki_predictions.jsonl",
                                                       again / "test_predictions.jsonl")), strict=True):  # fmt: skip
        assert line["predicted"] == other["predicted"] and line["score"] == pytest.approx(other["score"], abs=1e-4)
    # A data set of the two or both can be asked for; it says which has no such split.
    shutil.copytree(two[1], again / "short")
    (again / "short" / "data" / "test-00000-of-00001.parquet").unlink()
    caplog.set_level(logging.INFO)
    both = run(*alone[2:], "--dataset_name", two[0], again / "short", "--output_dir", "both") / "both"
    results = read_json(both / "test_results.json")
    assert "data set 'short' has no test split: no score of it" in caplog.text
    assert results["test_micro_f1"] == results["test_dataset_micro_f1"] and "test_short_micro_f1" not in results


def test_what_is_chosen_and_scored_is_of_the_negative_relation_as_it_is_saved(run, two, renamed, tmp_path):
    (tmp_path / "renamed").symlink_to(renamed)
    settings = ("--use_images", "false", "--do_predict", "false", "--learning_rate", "3e-3")
    out = run(*settings, "--dataset_name", tmp_path / "renamed", two[0], "--keep_relations_of", "dataset") / "out"
    (checkpoint,) = out.glob("checkpoint-*")
    texts = [read_json(folder / "config.json")["relation_descriptions"] for folder in (checkpoint, out)]
    # In training it has the descriptions of both.
    own = load_demo_descriptions()["relations"]["none"]["descriptions"]
    assert texts[0]["new none"][1:] == own == texts[1]["none"] and len(texts[0]["new none"]) == 1 + len(own)
    again = run("--dataset_name", two[0], "--model_name_or_path", out, "--do_train", "false", "--eval_strategy", "no",
                *settings[:4], "--load_best_model_at_end", "false", "--output_dir", "again") / "again"  # fmt: skip
    files = out / "eval_dataset_predictions.jsonl", again / "eval_predictions.jsonl"
    logits = [np.array([line["logits"] for line in read_lines(file)]) for file in files]
    assert np.abs(logits[0] - logits[1]).max() < 1e-3
    results, others = (read_json(folder / "all_results.json") for folder in (out, again))
    for name in ("calibration_temperature", "abstention_threshold"):
        assert results[f"eval_{name}"] == pytest.approx(others[f"eval_{name}"], abs=1e-4), name


def test_a_classifier_keeps_rows_of_its_head_or_its_encoder_alone(run, two, caplog):
    settings = ("--objective", "classification", "--use_images", "false", "--do_predict", "false")
    out = run(*settings, "--dataset_name", *two, "--keep_relations_of", "dataset") / "out"
    (checkpoint,) = out.glob("checkpoint-*")
    config, before = (read_json(folder / "config.json")["id2label"] for folder in (out, checkpoint))
    assert list(config.values()) == list(load_demo_descriptions()["relations"])
    assert (
        list(before.values())[9:] == ["wiki/P26", "wiki/P166"] and len(before) == 11
    )  # no text is read, none is shared
    weights, both = load_file(out / "model.safetensors"), load_file(checkpoint / "model.safetensors")
    assert both["classifier.weight"].shape[0] == 11 and torch.equal(
        weights["classifier.weight"], both["classifier.weight"][:9]
    )
    # On other relations, its encoder is gone on with.
    more = (*settings, "--dataset_name", two[1], "--model_name_or_path", out)
    fine = run(*more, "--learning_rate", "0", "--head_learning_rate", "1e-3", "--output_dir", "fine") / "fine"
    assert "its encoders are kept, with a new head for 2 relations" in caplog.text
    tuned = load_file(fine / "model.safetensors")
    encoders = [name for name in tuned if name.startswith("pair_encoder.text_encoder")]
    assert encoders and all(torch.equal(tuned[name], weights[name]) for name in encoders)
    assert tuned["classifier.weight"].shape[0] == 2 and read_json(fine / "config.json")["negative_relation"] is None
    assert AutoModel.from_pretrained(fine).config.label2id == {"P26": 0, "P166": 1}
    with pytest.raises(UserError, match="takes a new head, which only training"):
        run(*more, "--do_train", "false", "--output_dir", "no")


@pytest.mark.slow
def test_a_run_on_two_data_sets_is_resumed_bit_for_bit(run, two, tmp_path, monkeypatch):
    monkeypatch.setattr("train.drop_optimizers", lambda folder: None)  # as before its end
    settings = ("--dataset_name", *two, "--dataset_weights", "0.5", "1.5", "--num_train_epochs", "2",
                "--keep_relations_of", "wiki")  # fmt: skip
    whole = run(*settings, "--output_dir", "whole") / "whole"
    first, last = sorted(whole.glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))
    shutil.copytree(first, tmp_path / "part" / first.name)
    resume = ("--output_dir", "part", "--resume_from_checkpoint", "true")
    with pytest.raises(CheckpointError, match="dataset_weights was .* and is"):
        run(*settings, "--dataset_weights", "1", "1", *resume)
    run(*settings, *resume)
    for file in ("model.safetensors", f"{last.name}/model.safetensors"):
        assert_same_weights(whole / file, tmp_path / "part" / file)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--dataset_name", "a", "b", "a"), "'a' is named twice"),
        (("--dataset_name", "x/a", "y/a"), "'y/a' and 'x/a' would both be called 'a'"),
        (("--dataset_name", "a", "b", "--keep_relations_of", "c"), "--keep_relations_of c: give some of a, b"),
        (
            ("--dataset_name", "a", "b", "--relations_file", "x.json"),
            "relations_file must have one value for each of 2",
        ),
        (("--dataset_name", "a", "b", "--hold_out_relations", "2"), "holds relations of one data set out"),
        (("--dataset_name", "demo", "b", "--dataset_revision", "x", ""), "no effect on the embedded demo set"),
        (("--dataset_name", "a", "b", "--dataset_weights", "1", "0"), "dataset_weights must be above 0, got 0"),
    ],
)
def test_what_cannot_be_is_told_at_once(arguments, message):
    with pytest.raises(ValueError, match=message):
        parse_arguments([*arguments, "--output_dir", "out"])


def test_settings_of_several_data_sets_are_checked_against_their_number(run, two):
    for arguments, message in (
        (("--dataset_weights", "1"), "one number for each of 2 data sets, got 1"),
        (("--metric_for_best_model", "c_micro_f1"), "wiki_micro_f1"),
        (("--dataset_weights", "1", "0.01"), "dataset_weights 0.01 of data set 'wiki': none of its rows would"),
        (("--keep_relations_of", "wiki", "--do_train", "false"), "belongs to a training"),
        (
            ("--keep_relations_of", "wiki", "--objective", "classification", "--use_lora", "true")
            + ("--model_name_or_path", "trained"),
            "takes rows out of a classifier's head, which --use_lora does not allow",
        ),
    ):
        with pytest.raises(UserError, match=message):
            run("--dataset_name", *two, *arguments)


def test_one_setting_may_be_for_one_of_the_data_sets_only(tmp_path):
    (tmp_path / "run.yaml").write_text("dataset_name: [a, b]\nrelations_file: [null, other.json]\noutput_dir: out\n")
    _, data_args, _ = parse_arguments([str(tmp_path / "run.yaml")])
    assert [source[-1] for source in data_args.sources()] == [None, "other.json"]

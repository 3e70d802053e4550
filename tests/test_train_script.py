# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""`train.py` as people run it: what it leaves, what it refuses, several processes, and a run that was killed."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from datasets import load_dataset
from huggingface_hub import ModelCard, constants
from safetensors.torch import load_file
from small_runs import (
    LONG,
    ROOT,
    SHAPE,
    assert_same_weights,
    finish,
    kill_after,
    launch,
    losses,
    read_json,
    read_predictions,
    write_demo_folder,
)
from transformers import BertConfig, BertModel

from data_scripts.demo.dataset import build_demo_tokenizer, load_demo, load_demo_descriptions
from data_scripts.descriptions.files import select_relations, write_descriptions
from data_scripts.hub_errors import HubError
from modeling_roc import RocConfig, RocModel
from processing_roc import RocProcessor
from training_roc import RocTrainer
from training_roc.arguments import (
    DataArguments,
    ModelArguments,
    UserError,
    check_settings,
    parse_arguments,
    user_errors,
)
from training_roc.checkpoints import CheckpointError
from training_roc.hold_out import seen_descriptions
from training_roc.models import load_model
from training_roc.rows import RunData, check_pictures


def test_a_run_leaves_metrics_predictions_and_tables(place, trained):
    out, output = trained
    assert "9 of 9 relations have descriptions that no person has reviewed" in output
    assert "test: 18 labelled rows are few; scores of less than 50 say little" in output
    assert "eval: 126" not in output
    everything = read_json(out / "all_results.json")
    for split in ("eval", "test"):
        results = read_json(out / f"{split}_results.json")
        for name in ("accuracy", "micro_precision", "micro_recall", "micro_f1", "macro_f1", "macro_f1_present"):
            assert 0 <= results[f"{split}_{name}"] <= 1
            assert everything[f"{split}_{name}"] == results[f"{split}_{name}"]
        rows = load_dataset(str(place / "dataset"), cache_dir=str(place / "cache"))[
            {"eval": "validation", "test": "test"}[split]
        ]
        lines = read_predictions(out, split)
        assert [line["id"] for line in lines] == list(rows["id"])
        names = rows.features["relation"].names
        assert [line["gold"] for line in lines] == [names[label] for label in rows["relation"]]
        relations = read_json(out / "run.json")["relations"]
        for line in lines:
            best = max(line["logits"])
            probabilities = torch.tensor(line["logits"]) / everything["eval_calibration_temperature"]
            assert line["score"] == pytest.approx(probabilities.softmax(0).max().item(), abs=1e-4)
            assert line["predicted"] == relations[line["logits"].index(best)]
        right = sum(line["gold"] == line["predicted"] for line in lines)
        assert results[f"{split}_accuracy"] == pytest.approx(right / len(lines))
        table = read_json(out / f"{split}_per_relation.json")
        assert [row["relation"] for row in table] == names and sum(row["support"] for row in table) == len(lines)
        assert (out / f"{split}_confusion_matrix.png").read_bytes().startswith(b"\x89PNG")
        assert f"{split}, by relation\n| relation" in output
    assert read_json(out / "train_results.json")["train_loss"] > 0
    assert [everything[f"{name}_samples"] for name in ("train", "eval", "test")] == [48, 126, 18]
    answer = output[output.index("One answered example") :]
    assert all(line in answer for line in ("  text: ", "  head: ", "  tail: ", "  picture: test-", "  gold: "))


def test_the_command_line_wins_over_the_file(trained):
    history = read_json(trained[0] / "trainer_state.json")["log_history"]
    assert history[0]["learning_rate"] == 2e-3
    assert [entry["epoch"] for entry in history if "eval_micro_f1" in entry] == [1, 2]


def test_a_trained_model_is_evaluated_with_the_same_metrics(run, trained):
    arguments = ("--model_name_or_path", trained[0], "--do_train", "false", "--do_eval", "false")
    out = run(*arguments, "--eval_strategy", "no", "--load_best_model_at_end", "false") / "out"
    before, after = (read_json(folder / "test_results.json") for folder in (trained[0], out))
    for name in ("accuracy", "micro_precision", "micro_recall", "micro_f1", "macro_f1"):
        assert after[f"test_{name}"] == before[f"test_{name}"]
    assert after["test_loss"] == pytest.approx(before["test_loss"], abs=1e-5)
    assert not (out / "eval_results.json").exists()
    records = [read_json(folder / "run.json") for folder in (trained[0], out)]
    assert [record["train_samples"] for record in records] == [48, 0]
    assert records[0]["arguments"]["learning_rate"] == 2e-3
    assert records[1]["arguments"]["model_name_or_path"] == "out"
    lines, others = read_predictions(trained[0]), read_predictions(out)
    assert [line["predicted"] for line in lines] == [line["predicted"] for line in others]


def test_a_run_calibrates_its_model_on_validation(run, trained, tmp_path):
    config, everything = (read_json(trained[0] / name) for name in ("config.json", "all_results.json"))
    for field in ("calibration_temperature", "abstention_threshold"):
        assert config[field] == everything[f"eval_{field}"]
    assert config["calibration_temperature"] != 1.0
    assert config["auto_map"]["AutoModel"] == "modeling_roc.RocModel" and config["architectures"] == ["RocModel"]
    for split in ("eval", "test"):
        assert 0 <= everything[f"{split}_ece"] <= 1 and 0 <= everything[f"{split}_micro_f1_with_threshold"] <= 1
        assert everything[f"{split}_ece"] != everything[f"{split}_ece_uncalibrated"]
        assert (trained[0] / f"{split}_reliability.png").read_bytes().startswith(b"\x89PNG")
    # Without a look at validation, a model is measured as it is.
    arguments = ("--model_name_or_path", trained[0], "--do_train", "false", "--do_eval", "false")
    out = run(*arguments, "--eval_strategy", "no", "--load_best_model_at_end", "false") / "out"
    again = read_json(out / "test_results.json")
    for name in ("test_ece", "test_ece_uncalibrated", "test_micro_f1_with_threshold"):
        assert again[name] == pytest.approx(everything[name], abs=1e-5)
    # What is trained further is no longer calibrated.
    start = shutil.copytree(trained[0], tmp_path / "start")
    (start / "config.json").write_text(json.dumps({**config, "relation_offsets": {config["id2label"]["1"]: 2.0}}))
    more = ("--model_name_or_path", start, "--do_eval", "false", "--max_steps", "1", "--output_dir", "more")
    out = run(*more, "--eval_strategy", "no", "--load_best_model_at_end", "false") / "more"
    config = read_json(out / "config.json")
    assert (config["calibration_temperature"], config["abstention_threshold"]) == (1.0, None)
    assert config["relation_offsets"] is None


@pytest.mark.parametrize(
    ("setting", "value", "own"),
    [
        ("max_length", "64", "128"),
        ("num_fusion_layers", "1", "2"),
        ("share_relation_encoder", "false", "True"),
        ("pair_dropout", "0.1", "0"),  # the setting's default, but given
        ("objective", "classification", "retrieval"),
    ],
)
def test_a_trained_model_keeps_its_settings_and_says_so(run, trained, never_trains, setting, value, own):
    message = f"--{setting} {value} has no effect on a trained (model|processor): it has {own}"
    with pytest.raises(ValueError, match=re.compile(message, re.IGNORECASE)):
        run("--model_name_or_path", trained[0], f"--{setting}={value}")


def test_another_negative_relation_reaches_a_trained_model(run, trained, tmp_path):
    content = load_demo_descriptions()
    content["negative_relation"] = "/per/per/peer"
    write_descriptions(content, tmp_path / "own.json")
    more = ("--relations_file", tmp_path / "own.json", "--do_train", "false", "--output_dir")
    run("--model_name_or_path", trained[0], *more, "again")
    before, after = (read_json(folder / "test_results.json") for folder in (trained[0], tmp_path / "again"))
    assert before["test_accuracy"] == after["test_accuracy"] and before["test_micro_f1"] != after["test_micro_f1"]


def test_other_descriptions_reach_a_trained_model(run, trained, tmp_path):
    content = load_demo_descriptions()
    for label, relation in content["relations"].items():
        relation["descriptions"] = [f"Head and tail : {label.strip('/').replace('/', ' ')} ."]
    write_descriptions(content, tmp_path / "own.json")
    arguments = ("--model_name_or_path", trained[0], "--do_train", "false", "--relations_file", tmp_path / "own.json")
    out = run(*arguments) / "out"
    before, after = (read_json(folder / "test_results.json") for folder in (trained[0], out))
    assert before["test_loss"] != pytest.approx(after["test_loss"], abs=1e-4)


def test_a_used_output_folder_is_refused(run, trained):
    with pytest.raises(ValueError, match="holds an earlier run.*--resume_from_checkpoint true.*another --output_dir"):
        run("--output_dir", trained[0])


def test_a_used_output_folder_without_checkpoints_is_refused_too(run):
    once = ("--max_steps", "1", "--eval_strategy", "no", "--load_best_model_at_end", "false", "--save_strategy", "no")
    run(*once, "--do_eval", "false", "--do_predict", "false")
    with pytest.raises(ValueError, match=r"holds an earlier run \(out/model.safetensors\)"):
        run(*once)


@pytest.mark.parametrize(
    ("arguments", "files"),
    [
        (("--objective", "classification"), ["classifier"]),
        (("--use_images", "false", "--relation_text", "labels"), ["relation_encoder.projection"]),
        (
            ("--use_entity_types", "false", "--share_relation_encoder", "false"),
            ["relation_encoder.text_encoder", "pair_encoder.vision_encoder"],
        ),
        (("--relation_update_steps", "0", "--share_relation_encoder", "false"), ["relation_encoder.text_encoder"]),
        (("--learn_negative_threshold", "true", "--learn_temperature", "true"), ["negative_threshold"]),
        (
            ("--bf16", "true", "--use_cpu", "true", "--activation_checkpointing", "true", "--train_fraction", "0.5"),
            ["pair_encoder.vision_encoder"],
        ),
    ],
)
def test_variants_train_and_their_models_can_be_evaluated(run, arguments, files):
    out = run("--max_steps", "2", *arguments) / "out"
    weights = load_file(out / "model.safetensors")
    for name in files:
        assert any(key.startswith(name) for key in weights)
    assert any(key.startswith("pair_encoder.vision_encoder") for key in weights) == ("--use_images" not in arguments)
    assert read_json(out / "train_results.json")["train_samples"] == (24 if "--train_fraction" in arguments else 48)
    before = read_json(out / "test_results.json")
    again = ("--model_name_or_path", out, "--output_dir", "again", "--do_train", "false", *arguments)
    after = read_json(run(*again).joinpath("again", "test_results.json"))
    assert after["test_micro_f1"] == before["test_micro_f1"]
    assert after["test_loss"] == pytest.approx(before["test_loss"], rel=1e-2 if "--bf16" in arguments else 1e-5)


def test_what_cannot_be_done_is_said_before_anything_is_done(run, place, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="nothing to do"):
        config = tmp_path / "config.yaml"
        config.write_text(f"dataset_name: {place / 'dataset'}\n")
        run(config=config)
    for name in ("no/such/dataset", "./dataset"):
        with pytest.raises(ValueError, match=f"there is no folder {name}"):
            run("--dataset_name", name)
    with pytest.raises(HubError, match="the model org/none is not wholly in the cache"):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        run("--text_model_name_or_path", "org/none")
    with pytest.raises(ValueError, match="early_stopping_patience needs --load_best_model_at_end"):
        run("--early_stopping_patience", "1", "--load_best_model_at_end", "false")
    with pytest.raises(ValueError, match="train_fraction"):
        run("--train_fraction", "1.5")
    with pytest.raises(ValueError, match="learn_negative_threshold has no effect on a model"):
        run("--learn_negative_threshold", "true", "--objective", "classification")
    with pytest.raises(ValueError, match="name a text encoder"):
        config.write_text(f"dataset_name: {place / 'dataset'}\ndo_predict: true\nreport_to: none\n")
        run(config=config)
    content = load_demo_descriptions()
    del content["relations"]["/per/per/peer"]
    write_descriptions(content, tmp_path / "fewer.json")
    with pytest.raises(ValueError, match=r"no description for the relations \['/per/per/peer'\]"):
        run("--relations_file", tmp_path / "fewer.json")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def never_trains(monkeypatch):
    """What is known before training is said before its first step."""
    monkeypatch.setattr(RocTrainer, "training_step", lambda *args, **kwargs: pytest.fail("a step was trained"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--do_eval", "false"), "--do_eval false contradicts --eval_strategy epoch"),
        (("--metric_for_best_model", "f1"), "--metric_for_best_model f1: there are loss, accuracy, .*micro_f1"),
        (("--report_to", "wandb"), "--report_to wandb: its package is not installed"),
        (("--label_smoothing_factor", "0.1"), "label_smoothing_factor 0.1: the Trainer would put another loss"),
        (("--train_sampling_strategy", "sequential"), "train_sampling_strategy 'sequential' has no effect"),
        (("--output_dir", __file__ + "/out"), "Not a directory"),
        (("--resume_from_checkpoint", "nowhere"), "--resume_from_checkpoint nowhere: there is no checkpoint"),
        (("--resume_from_checkpoint", "true", "--do_train", "false"), "name it by --model_name_or_path"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_training(run, never_trains, arguments, message):
    with pytest.raises(ValueError, match=message):
        run(*arguments)


def test_a_disk_without_room_for_a_checkpoint_is_told_before_training(run, never_trains, monkeypatch):
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100_000))
    with pytest.raises(ValueError, match="--output_dir out: what is saved takes 3 MiB, and the disk has 0 left"):
        run()


def rewrite(folder, split, change):
    """Puts rows of the schema through `change`; None leaves a row out."""
    path = folder / "data" / f"{split}-00000-of-00001.parquet"
    rows = datasets.Dataset.from_parquet(str(path), keep_in_memory=True)
    changed = [row for row in map(change, rows.cast_column("image", datasets.Image(decode=False)).to_list()) if row]
    datasets.Dataset.from_list(changed, features=rows.features).to_parquet(path)


def without_label(row):
    return row | {"relation": None}


def of_one_relation(row):
    return row if row["relation"] == 0 else None


def without_picture(row):
    return row | {"image": None}


def with_invisible_head(row):
    start, end = row["head"]["start"], row["head"]["end"]
    if start is None:
        return row
    hidden = ["\u200b"] * (end - start)
    tokens = row["tokens"][:start] + hidden + row["tokens"][end:]
    return row | {"tokens": tokens, "head": row["head"] | {"name": " ".join(hidden)}}


def with_long_head(row):
    head, tail = row["head"], row["tail"]
    if None in (head["start"], tail["start"]):
        return row
    words = 300 * ["word"]
    tokens = row["tokens"][: head["end"]] + words + row["tokens"][head["end"] :]
    if tail["start"] > head["start"]:
        tail = tail | {"start": tail["start"] + len(words), "end": tail["end"] + len(words)}
    end = head["end"] + len(words)
    return row | {
        "tokens": tokens,
        "head": head | {"end": end, "name": " ".join(tokens[head["start"] : end])},
        "tail": tail,
    }


@pytest.mark.parametrize(
    ("split", "change", "message"),
    [
        ("validation", without_label, "none of the 8 rows of validation is labelled: .* --eval_strategy no"),
        ("train", without_label, "none of the 16 rows of train is labelled"),
        ("train", of_one_relation, "all labelled rows of train are none: nothing to tell apart"),
        ("train", without_picture, "no row of train has a picture, but --vision_model_name_or_path .*vision asks"),
        ("test", with_invisible_head, "row 'test-0-.*'.*head"),
        ("validation", with_long_head, "row 'validation-.*: head and tail .* take .* tokens, but only 126 fit"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_rows_that_cannot_be_are_refused_before_training(run, never_trains, tmp_path, split, change, message):
    folder = write_demo_folder(tmp_path / "own" / "dataset", num_train=16, num_validation=8, num_test=8)
    rewrite(folder, split, change)
    with pytest.raises(ValueError, match=message):
        run("--dataset_name", folder)


def test_files_that_number_their_relations_otherwise_are_refused(run, tmp_path):
    """datasets would read the one file's numbers as the other's labels."""
    folder = write_demo_folder(tmp_path / "own" / "dataset", num_train=16, num_validation=8, num_test=8)
    path = folder / "data" / "test-00000-of-00001.parquet"
    rows = datasets.Dataset.from_parquet(str(path), keep_in_memory=True)
    backwards = datasets.ClassLabel(names=rows.features["relation"].names[::-1])
    labels = [len(backwards.names) - 1 - label for label in rows["relation"]]
    rows.remove_columns("relation").add_column("relation", labels, feature=backwards).to_parquet(path)
    with pytest.raises(
        ValueError, match=r"test-00000.*parquet numbers its relations /per/misc/awarded, .*other files none"
    ):
        run("--dataset_name", folder)
    table = pq.read_table(path)
    place = table.column_names.index("relation")
    table = table.set_column(place, table.field(place), pa.array([99] * len(table)))
    pq.write_table(
        table.replace_schema_metadata(pq.read_metadata(folder / "data" / "train-00000-of-00001.parquet").metadata),
        path,
    )
    with pytest.raises(ValueError, match="row 'test-0-.*' of test: 99 is none of 9 relations"):
        run("--dataset_name", folder)


def test_a_missing_split_is_named(run, place, tmp_path):
    folder = write_demo_folder(tmp_path / "part" / "dataset", num_train=8, num_validation=4, num_test=4)
    (folder / "data" / "validation-00000-of-00001.parquet").unlink()
    with pytest.raises(ValueError, match="has no validation split, only train, test: turn off.*--do_eval"):
        run("--dataset_name", folder)
    arguments = ("--do_eval", "false", "--eval_strategy", "no", "--load_best_model_at_end", "false")
    out = run("--dataset_name", folder, *arguments, "--save_strategy", "no") / "out"
    assert (out / "test_results.json").exists() and not (out / "eval_results.json").exists()


def test_unlabelled_rows_are_predicted(run, trained, place, tmp_path):
    rows = load_dataset(str(place / "dataset"), cache_dir=str(place / "cache"))["test"]
    folder = tmp_path / "unlabelled"
    (folder / "data").mkdir(parents=True)
    rows.map(lambda row: {"relation": None}, features=rows.features).to_parquet(folder / "data" / "test-0.parquet")
    write_descriptions(load_demo_descriptions(), folder / "relation_descriptions.json")
    arguments = ("--model_name_or_path", trained[0], "--do_train", "false", "--do_eval", "false")
    out = run("--dataset_name", folder, *arguments, "--eval_strategy", "no", "--load_best_model_at_end", "false")
    lines, before = read_predictions(out / "out"), read_predictions(trained[0])
    assert [line["predicted"] for line in lines] == [line["predicted"] for line in before]
    assert {line["gold"] for line in lines} == {None}
    assert "test_micro_f1" not in read_json(out / "out" / "test_results.json")


def test_relations_held_out_compete_in_the_evaluation(run, place):
    unseen = ["/per/per/peer", "/per/org/member_of", "/per/misc/awarded"]  # the last has no training row
    arguments = ("--hold_out_relations", ",".join(unseen[:2]), "--unseen_rate", "0.1")
    out = run(*arguments, "--few_shot_examples", "1", "4") / "out"
    report, everything = read_json(out / "zero_shot.json"), read_json(out / "all_results.json")
    assert report["unseen"] == unseen and set(report["offsets"]) == set(unseen)
    assert report["few_shot_rows"] == {unseen[0]: 3, unseen[1]: 4, unseen[2]: 0}  # all that there are
    for split, prefix in (("validation", "eval"), ("test", "test")):
        systems = report[split]
        shots = ["1 example", "descriptions and 1 example", "4 examples", "descriptions and 4 examples"]
        assert list(systems) == ["retrieval", "not calibrated", *shots, "label names", "untrained encoders"]
        results = [json.dumps(systems[name]) for name in ("retrieval", *shots)]
        assert len(set(results)) > 2 and {one["unseen"]["examples"] for one in systems.values()} == {
            systems["retrieval"]["unseen"]["examples"]
        }
        own = systems["retrieval"]
        assert everything[f"{prefix}_unseen_micro_f1"] == own["unseen"]["micro_f1"]
        assert everything[f"{prefix}_seen_micro_f1"] == own["seen"]["micro_f1"]
        assert everything[f"{prefix}_harmonic_mean"] == own["harmonic_mean"]
        lines = read_predictions(out, prefix)
        rows = [line for line in lines if line["gold"] in unseen]
        assert len(rows) == own["unseen"]["examples"] > 0
        right = sum(line["predicted"] == line["gold"] for line in rows)
        assert own["unseen"]["accuracy"] == pytest.approx(right / len(rows))
    # What was saved answers as what was scored, and the choice of a checkpoint saw no row of an unseen relation.
    again = ("--model_name_or_path", out, "--output_dir", "again", "--do_train", "false", *arguments[:2])
    model = RocModel.from_pretrained(out)
    assert model.config.relation_examples == {} and not re.search(
        r"few_shot(?!_examples)", (out / "README.md").read_text()
    )
    assert_card_tells_of_unseen_relations(out, unseen, report, everything)
    assert list(model.config.id2label.values())[-3:] == unseen and model.config.relation_offsets == report["offsets"]
    after = read_json(run(*again).joinpath("again", "test_results.json"))
    names = [name for name in after if re.search("f1|accuracy|ece|harmonic|macro", name)]
    assert {name: after[name] for name in names} == pytest.approx({name: everything[name] for name in names}, abs=1e-6)
    reread = read_json(out.with_name("again") / "zero_shot.json")
    assert list(reread["test"]) == ["retrieval"] and reread["offsets"] == report["offsets"]
    (during,) = [line for line in read_json(out / "trainer_state.json")["log_history"] if "eval_loss" in line]
    assert during["eval_samples_per_second"] * during["eval_runtime"] == pytest.approx(
        len([line for line in read_predictions(out, "eval") if line["gold"] not in unseen]), rel=0.02
    )


def assert_card_tells_of_unseen_relations(out, unseen, report, everything):
    body = ModelCard.load(out / "README.md").text
    assert "with 9 relations, 3 of them held out of training, trained on" in body
    assert re.findall(r"^- `(.*)` \(.*\): \*\*held out of training\*\*$", body, flags=re.MULTILINE) == unseen
    for title, name in (("validation", "eval"), ("test", "test")):
        keys = ("seen_micro_f1", "unseen_micro_f1", "harmonic_mean")
        scores = [f"{round(everything[f'{name}_{key}'], 4)}" for key in keys]
        rows = report[title]["retrieval"]["unseen"]["examples"]
        assert f"\n| {title} | {' | '.join(scores)} | {rows} |\n" in body
        alone = report[title]["retrieval"]["unseen_only"]
        percent = [f"{100 * alone[f'macro_{score}']:.2f}" for score in ("precision", "recall", "f1")]
        assert ["all", *percent] in [re.findall(r"[\w.]+", line) for line in body.splitlines()]
    settings = yaml.safe_load(re.search(r"```yaml\n(.*?)```", body, flags=re.DOTALL)[1])
    assert settings["hold_out_relations"] == ",".join(unseen[:2]) and settings["few_shot_examples"] == [1, 4]


def test_a_data_set_whose_test_relations_are_in_no_other_split(run, place, tmp_path):
    """As FewRel: without validation, where the rows held out are it."""
    rows = load_dataset(str(place / "dataset"), cache_dir=str(place / "cache"))
    names = rows["train"].features["relation"].names
    unseen = ["/per/org/member_of", "/per/per/peer", "/per/misc/awarded"]
    (tmp_path / "zero" / "data").mkdir(parents=True)
    for split, source, wanted in (("train", "train", False), ("test", "validation", True)):
        kept = rows[source].filter(lambda row, wanted=wanted: (names[row["relation"]] in unseen) == wanted)
        kept.to_parquet(tmp_path / "zero" / "data" / f"{split}-0.parquet")
    write_descriptions(load_demo_descriptions(), tmp_path / "zero" / "relation_descriptions.json")
    told = ("--dataset_name", tmp_path / "zero", "--use_images", "false", "--save_strategy", "no")
    told += ("--load_best_model_at_end", "false", "--hold_out_relations", "1")
    with pytest.raises(ValueError, match="rows of validation is of a relation to train on.*--eval_strategy no"):
        run(*told)
    out = run(*told, "--eval_strategy", "no") / "out"
    report, everything = read_json(out / "zero_shot.json"), read_json(out / "all_results.json")
    (drawn,) = set(report["unseen"]) - set(unseen)
    assert len(report["unseen"]) == 4 and report["offsets"] is None
    assert {line["gold"] for line in read_predictions(out, "eval")} == {drawn}
    assert {line["gold"] for line in read_predictions(out)} == set(unseen)
    assert list(report["test"]) == ["retrieval", "label names", "untrained encoders"]
    alone = report["test"]["retrieval"]["unseen_only"]
    assert alone["examples"] == everything["test_samples"] and alone["draws"] == {}
    assert everything["test_unseen_only_macro_f1"] == alone["macro_f1"] and "test_harmonic_mean" not in everything
    assert report["validation"]["retrieval"]["unseen_only"]["macro_f1"] == 1  # one relation to choose from
    body = (out / "README.md").read_text(encoding="utf-8")
    assert "Generalised zero-shot scores" not in body and f"{100 * alone['macro_f1']:.2f} |" in body


def test_a_trained_model_that_knows_what_is_to_be_unseen_says_so(trained, caplog):
    unseen, descriptions = ["/per/per/peer", "unheard_of"], load_demo_descriptions()
    settings = parse_arguments(["--dataset_name", "own", "--model_name_or_path", str(trained[0])])
    load_model(settings, descriptions, False, unseen)  # to be evaluated with all relations
    assert "NOT ZERO-SHOT" not in caplog.text
    load_model(settings, seen_descriptions(descriptions, unseen), False, unseen)
    assert "out was trained on what it knows: /per/per/peer\n" in caplog.text
    assert "by other texts" not in caplog.text
    other = {
        **descriptions["relations"],
        "/per/per/peer": {"descriptions": ["Friends."], "source": "", "reviewed": True},
    }
    model, _ = load_model(settings, {**descriptions, "relations": other}, False)
    assert model.config.relation_descriptions["/per/per/peer"] == ["Friends."]
    assert "knows 1 relations by other texts than those given now, which are taken: /per/per/peer" in caplog.text
    without_negative = select_relations(descriptions, unseen[:1] + ["/per/org/member_of"])
    assert load_model(settings, without_negative, False)[0].config.negative_relation is None


def test_relations_cannot_be_held_out_of_everything(run):
    with pytest.raises(ValueError, match="classifier has a fixed set"):
        run("--hold_out_relations", "2", "--objective", "classification")
    with pytest.raises(ValueError, match="no relation 'x'"):
        run("--hold_out_relations", "x")
    with pytest.raises(ValueError, match="unseen_rate"):
        run("--hold_out_relations", "2", "--unseen_rate", "0")
    with pytest.raises(ValueError, match="unseen_rate has no effect without hold_out_relations"):
        run("--unseen_rate", "0.1")
    with pytest.raises(ValueError, match="unseen_rate belongs to --do_train true"):
        run("--hold_out_relations", "2", "--unseen_rate", "0.1", "--do_train", "false")
    with pytest.raises(ValueError, match="belongs to --hold_out_relations"):
        run("--few_shot_examples", "4")
    with pytest.raises(ValueError, match="few_shot_examples belongs to --do_train true"):
        run("--hold_out_relations", "2", "--few_shot_examples", "4", "--do_train", "false")
    with pytest.raises(ValueError, match="few_shot_examples 17: it must be 1 to 16"):
        run("--hold_out_relations", "2", "--few_shot_examples", "4", "17")
    with pytest.raises(ValueError, match="twice in 4, 4"):
        run("--hold_out_relations", "2", "--few_shot_examples", "4", "4")


def parse(tmp_path, content, *arguments):
    path = tmp_path / "config.yaml"
    path.write_text(content)
    return parse_arguments([str(path), *arguments])


def test_values_in_the_file_mean_what_they_say(tmp_path):
    content = (
        "output_dir: out\ndo_train: yes\nuse_images: false\nlearn_temperature: 'true'\nlearning_rate: 1e-5\n"
        "label_names: [labels]\nreport_to: none\nadam_beta1: .8\nmax_steps: -1\n"
        "lr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs: {min_lr: 0.1, num_cycles: 2}\nseed: 010\n"
        "hold_out_relations: [/per/per/peer, 'in, or at']\n"
    )
    model_args, data_args, args = parse(tmp_path, content, "--adam_beta1", "0.7", "--no_share_relation_encoder")
    assert (args.do_train, data_args.use_images, model_args.learn_temperature) == (True, False, True)
    assert (args.learning_rate, args.adam_beta1, args.max_steps) == (1e-5, 0.7, -1)
    assert args.label_names == ["labels"] and args.lr_scheduler_kwargs == {"min_lr": 0.1, "num_cycles": 2}
    assert args.seed == 10 and json.loads(data_args.hold_out_relations) == ["/per/per/peer", "in, or at"]
    assert not model_args.share_relation_encoder


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("learning_rat: 1.0e-3\n", "there is no setting '--learning_rat=0.001'; did you mean --learning_rate?"),
        ("objective: ranking\n", "invalid choice: 'ranking'"),
        ("seed: some\n", "invalid int value: 'some'"),
        ("vision_model_name_or_path:\n", "vision_model_name_or_path has no value"),
        ("- learning_rate\n", "must hold settings"),
        ("seed: 3\ndo_eval: true\nseed: 4\n", "config.yaml: the keys ['seed'] stand twice"),
        ("lr_scheduler_kwargs: {min_lr: 0.1, min_lr: 0.2}\n", "config.yaml: the keys ['min_lr'] stand twice"),
        ("optim: [\n", "config.yaml: while parsing"),
        ("seed: 0x1F\n", "config.yaml: invalid literal for int() with base 10: '0x1F'"),
        ("seed: 1:30\n", "config.yaml: invalid literal for int() with base 10: '1:30'"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse(tmp_path, content)


@pytest.mark.parametrize("path", sorted(ROOT.glob("configs/*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_is_one(path):
    model_args, data_args, _ = settings = parse_arguments([str(path)])
    check_settings(settings)
    known = {one.name for one in fields(RocConfig)}
    config = RocConfig(
        text_config=BertConfig(**SHAPE), **{name: value for name, value in vars(model_args).items() if name in known}
    )
    assert config.relation_aggregation == model_args.relation_aggregation
    paper = path.stem == "mnre_paper"
    assert model_args.pool_mentions == config.center_descriptions == (not paper)


# The program as `python train.py` runs it, again and again: a start of Python would take most of the time.
MISTAKEN = """
import json, runpy, sys
for case in map(json.loads, sys.argv[2:]):
    sys.argv[1:] = case
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as error:
        print(error.code, file=sys.stderr)
"""


def test_a_mistake_is_answered_in_one_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    mistakes = [
        (["nowhere.yaml"], "error: nowhere.yaml: No such file or directory"),
        (["--seeds", "1"], "there is no setting '--seeds'; did you mean --seed?"),
        (["--seed", "1", "a.yaml"], "a configuration comes before all settings: train.py a.yaml ..."),
        (["--dataset_name", "./nowhere", "--do_predict"], "there is no folder ./nowhere with a data set"),
        (["--dataset_name", "empty", "--do_predict"], "data set 'empty' is a folder without rows; convert one"),
        (["--dataset_revision", "v1"], "dataset_revision has no effect on the embedded demo set"),
    ]
    process = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv[0] = sys.argv[1]\n" + MISTAKEN, ROOT / "train.py"]
        + [json.dumps(arguments) for arguments, _ in mistakes],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    errors = [line for line in process.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == len(mistakes) and "Traceback" not in process.stderr, process.stderr
    for error, (_, message) in zip(errors, mistakes, strict=True):
        assert message in error


def test_a_fault_of_the_program_shows_where_it_is():
    with pytest.raises(KeyError), user_errors():
        raise KeyError("relation")
    with pytest.raises(UserError, match="no temperature"), user_errors():
        raise ValueError("no temperature")


def test_help_tells_what_is_this_projects_own(capsys):
    with pytest.raises(SystemExit):
        parse_arguments(["--help"], description="Trains.")
    shown = capsys.readouterr().out
    assert shown.startswith("Trains.") and len(shown.splitlines()) < 200
    for group in (ModelArguments, DataArguments):
        for one in fields(group):
            assert f"  --{one.name} " in shown and one.metadata["help"], one.name
    assert "--relation_hard_negatives" in shown and "--adam_beta1" not in shown
    with pytest.raises(SystemExit):
        parse_arguments(["--help_all"])
    assert "--adam_beta1" in capsys.readouterr().out


def test_the_demo_brings_its_settings_to_the_demo_only():
    assert parse_arguments([])[2].do_train
    assert parse_arguments(["--dataset_name=demo"])[1].dataset_name == ["demo"]
    for arguments in (["--dataset_name", "other"], ["--dataset_name=other"]):
        _, data_args, args = parse_arguments(arguments)
        assert data_args.dataset_name == ["other"] and args.num_train_epochs == 3 and not args.do_train


@pytest.mark.parametrize(
    "arguments",
    [
        ("--share_relation_encoder", "false", "--relation_update_steps", "2"),
        pytest.param((), marks=pytest.mark.slow),
        pytest.param(("--gradient_accumulation_steps", "2"), marks=pytest.mark.slow),
    ],
)
def test_two_processes_learn_as_one(run, place, tmp_path, arguments):
    arguments = (*arguments, "--num_train_epochs", "2")
    both = launch(
        place, tmp_path, "--output_dir", "two", "--per_device_train_batch_size", "4", *arguments, num_processes=2
    )
    one = losses(run("--output_dir", "one", *arguments) / "one")
    finish(both)
    assert len(one) >= 6
    for step, (loss, other) in enumerate(zip(one, losses(tmp_path / "two"), strict=True)):
        assert other == pytest.approx(loss, rel=1e-4), step
    answers = [read_predictions(tmp_path / name) for name in ("one", "two")]
    for answer, other in zip(*answers, strict=True):
        assert answer["id"] == other["id"] and answer["score"] == pytest.approx(other["score"], abs=1e-2)


# Trains, and tells which of the model's tensors the processes do not have in common then.
COMPARE_RANKS = """
import hashlib, sys
from accelerate.utils import gather_object
import train
from training_roc.arguments import parse_arguments

settings = parse_arguments(sys.argv[1:])
train.set_up(settings.training)
run = train.load(settings)
train.train(run, None)
model = run.trainer.model.eval()
model.refresh_memory()  # as the next answer does
tensors = dict(model.named_buffers()) | dict(model.named_parameters())
own = {name: hashlib.sha256(value.detach().numpy().tobytes()).hexdigest() for name, value in tensors.items()}
ranks = gather_object([own])
differ = [name for name in own if len({rank[name] for rank in ranks}) > 1]
sys.stdout.write(f"differ: {differ} of {len(ranks)}\\n")  # in one piece, as the other process writes there, too
sys.stdout.flush()
"""


@pytest.mark.slow
def test_processes_end_with_the_same_weights_and_buffers(run, place, tmp_path):
    """And those of one process."""
    (tmp_path / "compare.py").write_text(COMPARE_RANKS)
    arguments = ["--num_train_epochs", "2", "--share_relation_encoder", "false"]
    arguments += ["--eval_strategy", "no", "--do_eval", "false", "--load_best_model_at_end", "false"]
    run(*arguments, "--output_dir", "one")
    two = ["--use_cpu", "true", "--per_device_train_batch_size", "4", "--output_dir", "two"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "compare.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HOME": str(place / "hf_home")}
    done = subprocess.run(
        [*command, place / "config.yaml", *arguments, *two],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    assert re.findall("differ:.*", done.stdout) == ["differ: [] of 2"] * 2
    weights, others = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert weights["relation_encoder.center"].any()
    for name, value in weights.items():
        if value.is_floating_point():
            assert torch.allclose(value, others[name], atol=2e-2), name


# accelerate shards on accelerators only: here two processes on a CPU are taken for two of them.
SHARDED = """
import runpy, sys, torch
from accelerate.state import PartialState
from accelerate.utils import DistributedType
torch.distributed.init_process_group("gloo")
PartialState._prepare_backend = lambda *_: ("gloo", DistributedType.MULTI_GPU)
sys.argv = sys.argv[1:]
sys.path.insert(0, "ROOT")
import training_roc.checkpoints
training_roc.checkpoints.drop_optimizers = lambda folder: None  # as before the run's end
runpy.run_path(sys.argv[0], run_name="__main__")
""".replace("ROOT", str(ROOT))
FSDP2 = {
    "distributed_type": "FSDP",
    "num_machines": 1,
    "num_processes": 2,
    "mixed_precision": "no",
    "fsdp_config": {
        "fsdp_version": 2,
        "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "fsdp_transformer_layer_cls_to_wrap": "BertLayer,ViTLayer",
        "fsdp_state_dict_type": "SHARDED_STATE_DICT",
        "fsdp_cpu_ram_efficient_loading": False,
    },
}


@pytest.mark.slow
def test_two_processes_that_share_the_weights_learn_save_and_resume_as_one(run, place, tmp_path):
    (tmp_path / "sharded.py").write_text(SHARDED)
    (tmp_path / "fsdp.yaml").write_text(yaml.safe_dump(FSDP2))
    arguments = ("--num_train_epochs", "2")

    def launch_sharded(*more):
        command = ["accelerate.commands.launch", "--config_file", "fsdp.yaml", "sharded.py", ROOT / "train.py"]
        command += [
            place / "config.yaml",
            "--use_cpu",
            "true",
            "--per_device_train_batch_size",
            "4",
            *arguments,
            *more,
        ]
        environment = {**os.environ, "ACCELERATE_TORCH_DEVICE": "cpu", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-m", *map(str, command)], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    launch_sharded("--output_dir", "two")
    one = run("--output_dir", "one", *arguments) / "one"
    learnt = losses(tmp_path / "two")
    assert [step for pair in learnt for step in pair] == pytest.approx(
        [step for pair in losses(one) for step in pair], rel=1e-4
    )
    scores = [read_json(folder / "all_results.json") for folder in (one, tmp_path / "two")]
    for name in ("eval_micro_f1", "test_micro_f1", "test_accuracy", "eval_ece"):
        assert scores[1][name] == pytest.approx(scores[0][name], abs=1e-4)
    # What was saved is opened with the code that lies beside it, and answers as it did when it was whole.
    assert read_json(tmp_path / "two" / "config.json")["auto_map"]["AutoModel"] == "modeling_roc.RocModel"
    run("--output_dir", "again", "--model_name_or_path", str(tmp_path / "two"), "--do_train", "false")
    for answer, other in zip(*(read_predictions(tmp_path / name) for name in ("two", "again")), strict=True):
        assert answer["id"] == other["id"] and answer["score"] == pytest.approx(other["score"], abs=1e-4)
    weights = load_file(tmp_path / "two" / "model.safetensors")
    (tmp_path / "two" / "model.safetensors").unlink()
    shutil.rmtree(tmp_path / "two" / "checkpoint-12")
    launch_sharded("--output_dir", "two", "--resume_from_checkpoint", "true")
    assert losses(tmp_path / "two") == learnt
    for name, tensor in load_file(tmp_path / "two" / "model.safetensors").items():
        assert torch.equal(tensor, weights[name]), name


def test_a_killed_run_that_is_resumed_ends_with_the_same_weights(run, place, tmp_path):
    """With dropout, in the middle of an epoch, and while description vectors are kept for three steps."""
    arguments = (*LONG, "--text_model_name_or_path", place / "text_with_dropout", "--pair_dropout", "0.1")
    broken = launch(place, tmp_path, "--output_dir", "broken", *arguments)
    run("--output_dir", "whole", *arguments)
    kill_after(tmp_path / "broken" / "checkpoint-10", broken)
    (tmp_path / "broken" / "checkpoint-999").mkdir()  # what a kill in the middle of saving leaves
    run("--output_dir", "broken", *arguments, "--resume_from_checkpoint", "true")
    assert_same_weights(tmp_path / "whole" / "model.safetensors", tmp_path / "broken" / "model.safetensors")
    assert losses(tmp_path / "whole") == losses(tmp_path / "broken")


def test_a_run_goes_on_with_the_checkpoint_of_the_same_inputs_only(run, place, trained, tmp_path, never_trains):
    """Whatever the checkpoint would take the place of, or leave half in force, is named."""
    begun = ("--learning_rate", "2e-3", "--num_train_epochs", "2", "--resume_from_checkpoint", "true")

    def resume(name, *arguments):
        shutil.copytree(trained[0] / "checkpoint-6", tmp_path / name / "checkpoint-6")
        with pytest.raises(CheckpointError, match="checkpoint-6 was left by a run with other inputs") as caught:
            run("--output_dir", name, *begun, *arguments)
        return str(caught.value)

    torch.manual_seed(1)
    other = shutil.copytree(place / "text", tmp_path / "text")
    BertModel(BertModel.from_pretrained(other).config).save_pretrained(other)
    content = load_demo_descriptions()
    content["relations"]["/per/per/peer"]["descriptions"] = ["The two are equals of one another ."]
    write_descriptions(content, tmp_path / "own.json")
    many = [
        "--text_model_name_or_path",
        other,
        "--relations_file",
        tmp_path / "own.json",
        "--max_length",
        "64",
        "--seed",
    ]
    many += ["7", "--per_device_train_batch_size", "4", "--num_fusion_layers", "1", "--train_fraction", "0.5"]
    message = resume("settings", *many, "--learning_rate", "1e-3")
    for difference in (
        "relations described otherwise: /per/per/peer;",
        "the pretrained encoders' weights are others",
        "the train rows are others",
        "processor max_length was 128 and is 64",
        "training seed was 42 and is 7",
        "training learning_rate was 0.002 and is 0.001",
        "batch size of a step was 8 and is 4",
        "model fusion_encoder_config num_hidden_layers was 2 and is 1",
    ):
        assert difference in message
    assert "validation" not in message
    message = resume("ablation", "--objective", "classification", "--use_images", "false")
    assert "model objective was 'retrieval' and is 'classification'" in message and "model vision_config" in message
    folder = write_demo_folder(tmp_path / "own" / "dataset", num_train=48, num_validation=18, num_test=18)
    for split in ("train", "validation", "test"):
        path = folder / "data" / f"{split}-00000-of-00001.parquet"
        rows = datasets.Dataset.from_parquet(str(path), keep_in_memory=True)
        names = sorted(rows.features["relation"].names)
        labels = [names.index(rows.features["relation"].int2str(label)) for label in rows["relation"]]
        order = datasets.ClassLabel(names=names)
        rows.remove_columns("relation").add_column("relation", labels, feature=order).to_parquet(path)
    message = resume("order", "--dataset_name", folder)
    assert f"relations in another order: {', '.join(names)}; the train rows are others" in message


def test_a_run_goes_on_where_only_its_place_is_another(run, place, trained, tmp_path, monkeypatch):
    assert not list(trained[0].glob("checkpoint-*/optimizer*"))  # of a run that has ended
    with monkeypatch.context() as patch:
        patch.setattr("train.drop_optimizers", lambda folder: None)  # as before its end
        run("--learning_rate", "2e-3", "--num_train_epochs", "2", "--output_dir", "begun")
    shutil.copytree(tmp_path / "begun" / "checkpoint-6", tmp_path / "moved" / "checkpoint-6")
    shutil.copytree(place / "dataset", tmp_path / "dataset")
    shutil.copytree(place / "text", tmp_path / "text")
    moved = (
        "--dataset_name",
        tmp_path / "dataset",
        "--text_model_name_or_path",
        tmp_path / "text",
        "--logging_steps",
        "3",
    )
    begun = ("--learning_rate", "2e-3", "--num_train_epochs", "2", "--resume_from_checkpoint", "true")
    run("--output_dir", "moved", *moved, *begun)
    assert_same_weights(trained[0] / "model.safetensors", tmp_path / "moved" / "model.safetensors")


def test_one_of_several_processes_that_sees_none_of_the_others(run, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="^2 processes were started, but this one sees 1: .*--use_cpu true$"):
        run("--use_cpu", "false")


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    [
        ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"],
        ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"],
    ],
)
@pytest.mark.skipif(torch.accelerator.is_available(), reason="with GPUs, the processes see one another")
def test_processes_that_do_not_see_one_another_are_refused(place, tmp_path, launcher):
    command = [sys.executable, "-m", *launcher, ROOT / "train.py", place / "config.yaml"]
    process = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert process.returncode != 0 and not (tmp_path / "out").exists()
    assert (
        "error: 2 processes were started, but this one sees 1" in process.stderr and "--use_cpu true" in process.stderr
    )


@pytest.mark.slow
def test_two_processes_resume_within_an_epoch(place, tmp_path):
    arguments = (*LONG, "--per_device_train_batch_size", "4")
    finish(launch(place, tmp_path, "--output_dir", "whole", *arguments, num_processes=2))
    kill_after(
        tmp_path / "broken" / "checkpoint-10",
        launch(place, tmp_path, "--output_dir", "broken", *arguments, num_processes=2),
    )
    resumed = (*arguments, "--resume_from_checkpoint", "true")
    finish(launch(place, tmp_path, "--output_dir", "broken", *resumed, num_processes=2))
    for (loss, _), (other, _) in zip(losses(tmp_path / "whole"), losses(tmp_path / "broken"), strict=True):
        assert loss == pytest.approx(other, rel=1e-4)


def test_one_file_serves_for_both_objectives(caplog):
    """What a classifier has no use for is left out of the file's settings, and said; given by hand, it is refused."""
    path = ROOT / "configs" / "mnre_text.yaml"
    assert parse_arguments([str(path)])[0].learn_negative_threshold
    assert not parse_arguments([str(path), "--objective", "classification"])[0].learn_negative_threshold
    assert "learn_negative_threshold has no effect with --objective classification" in caplog.text
    by_hand = [str(path), "--objective=classification", "--learn_negative_threshold", "true"]
    assert parse_arguments(by_hand)[0].learn_negative_threshold  # which RocConfig refuses


def test_pictures_that_nothing_reads_are_told(caplog):
    data = RunData(load_demo(num_train=4, num_validation=2, num_test=2), load_demo_descriptions())
    check_pictures([data], RocProcessor(tokenizer=build_demo_tokenizer()), None, do_train=True)
    assert "train: THE PICTURES OF 4 OF 4 ROWS ARE NOT READ" in caplog.text

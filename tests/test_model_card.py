# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""A run's card tells what the run was and printed; the Hub's library reads its metadata back; its snippets run."""

import copy
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from datasets import Dataset, DatasetDict
from huggingface_hub import ModelCard, constants, metadata_eval_result
from markdown_it import MarkdownIt
from test_remote_code import WITHOUT_PROJECT
from transformers import TrainingArguments

from data_scripts.demo.dataset import load_demo_descriptions
from evaluation_roc.report import per_relation_table
from training_roc import RocTrainer, RocTrainingArguments
from training_roc.arguments import DataArguments, ModelArguments, Settings, parse_arguments
from training_roc.model_card import TrainingRun, build_model_card, write_card
from training_roc.push import prepare_push, readdress
from training_roc.rows import RunData

ROOT = Path(__file__).parents[1]
DESCRIPTIONS = load_demo_descriptions()


@pytest.fixture
def make_run(make_model, tmp_path, monkeypatch):
    """Builds the account of a run that never was, of a tiny model; keyword arguments change it. No Hub is asked."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def make(model=None, model_args=(), data_args=(), args=(), unseen=(), **changes):
        rows = {"train": 3, "validation": 2, "test": 3}
        splits = DatasetDict({name: Dataset.from_dict({"id": ["a"] * number}) for name, number in rows.items()})
        account = TrainingRun(
            model_id="org/roc-tiny",
            model=model or make_model(),
            model_args=ModelArguments(**dict(model_args)),
            data_args=DataArguments(**dict(data_args)),
            args=RocTrainingArguments(output_dir=str(tmp_path / "out"), do_train=True, **dict(args)),
            data=[RunData(splits, DESCRIPTIONS, list(unseen))],
            descriptions=DESCRIPTIONS,
            metrics={"train": {"train_loss": 1.23456789, "train_runtime": 12.5, "epoch": 2.0}},
        )
        return replace(account, **changes)

    return make


TEST_METRICS = {
    "test": {
        "test_micro_f1": 0.51239,
        "test_macro_f1": 0.4,
        "test_macro_f1_present": 0.45,
        "test_micro_precision": 0.5,
        "test_micro_recall": 0.6,
        "test_accuracy": 0.7,
        "test_loss": 1.0,
        "test_runtime": 3.0,
    }
}
TABLES = {"test": per_relation_table([0] * 50, [0] * 50, ["none"])}
"""Of a test split that is just large enough."""


def snippets(card: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)


def test_the_card_of_a_run(run, place):
    settings = yaml.safe_load((place / "config.yaml").read_text())
    folder = run("--max_steps", "2", "--eval_strategy", "steps", "--eval_steps", "1", "--save_strategy", "steps",
                 "--save_steps", "1", "--seed", "7", "--train_fraction", "0.5", pictures=True) / "out"  # fmt: skip
    card = ModelCard.load(folder / "README.md")
    results = json.loads((folder / "all_results.json").read_text())
    assert card.data.eval_results is None  # of 18 rows they would say little
    assert "The test split has 18 labelled rows. Scores of less than 50 say little" in card.text
    assert card.data.library_name == "transformers" and card.data.license == "apache-2.0"
    assert card.data.base_model is None and card.data.datasets is None  # folders, and no repositories
    assert "relation-extraction" in card.data.tags and card.data.widget[0]["text"]
    assert card.data.pipeline_tag == "relation-extraction"
    # No figure that the run did not print: every fraction in the body is in its result files or its settings.
    body = card.text
    known = {f"{round(value, places)}" for value in results.values() for places in (3, 4)}
    for name in ("eval", "test"):
        for row in json.loads((folder / f"{name}_per_relation.json").read_text()):
            known |= {f"{row[key]:.3f}" for key in ("precision", "recall", "f1")}
    section = body[body.index("## Results") : body.index("## Relations")]
    assert set(re.findall(r"\b\d+\.\d+\b", section)) <= known
    assert f"took {round(results['train_runtime'], 4)} seconds" in body and "Seed 7, 1 process on cpu" in body
    assert "24 train, 126 validation, 18 test" in body
    assert "![Gold against predicted relations on the test split](test_confusion_matrix.png)" in body
    assert (folder / "test_confusion_matrix.png").exists()
    for split, name in (("validation", "eval"), ("test", "test")):
        before, after = (round(results[f"{name}_{key}"], 4) for key in ("ece_uncalibrated", "ece"))
        assert f"\n| {split} | {before} | {after} |\n" in section
    temperature = round(results["eval_calibration_temperature"], 4)
    assert f"temperature of {temperature}, which was fitted on 126 rows" in section
    assert "on the test split, uncalibrated and calibrated](test_reliability.png)\n" in section
    assert (folder / "test_reliability.png").read_bytes().startswith(b"\x89PNG") and "not calibrated" not in body
    descriptions = json.loads((place / "dataset" / "relation_descriptions.json").read_text())
    for label, relation in descriptions["relations"].items():
        assert f"- `{label}` ({relation['source']}; not reviewed)" in body
        assert all(f"  - {text}\n" in body for text in relation["descriptions"])
    # The settings are a file that repeats the run.
    again = yaml.safe_load(re.search(r"```yaml\n(.*?)```", body, flags=re.DOTALL)[1])
    assert (again["seed"], again["train_fraction"], again["max_steps"]) == (7, 0.5, 2)
    assert again["text_model_name_or_path"] == "text"  # of a path on someone's disk, the last part
    (folder / "run.yaml").write_text(yaml.safe_dump(again | {"output_dir": "x"}))
    assert parse_arguments([str(folder / "run.yaml")])[2].learning_rate == float(settings["learning_rate"])
    # The snippets run where nothing of this project is installed.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(folder / "modules"), "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        [sys.executable, "-c", "\n".join([WITHOUT_PROJECT, *snippets(body)])],
        cwd=folder.parent,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert "friends" in process.stdout


def test_metadata_comes_back_as_it_was(make_run, tmp_path):
    made = make_run(
        model_args={"text_model_name_or_path": "org/text", "vision_model_name_or_path": "org/vision"},
        data_args={"dataset_name": "org/mnre", "dataset_revision": "v2"},
        metrics=TEST_METRICS,
        tables=TABLES,
    )
    card = build_model_card(made)
    found = {(one.metric_type, one.metric_name): one.metric_value for one in card.data.eval_results}
    assert found == {
        ("f1", "Micro-F1"): 0.5124,
        ("f1", "Macro-F1"): 0.4,
        ("f1", "Macro-F1 of relations with a gold row"): 0.45,
        ("precision", "Micro-precision"): 0.5,
        ("recall", "Micro-recall"): 0.6,
        ("accuracy", "Accuracy"): 0.7,
    }
    assert "labelled rows. Scores" not in card.text
    write_card(card, tmp_path)
    again = ModelCard.load(tmp_path / "README.md")
    assert again.data.to_dict() == card.data.to_dict()
    assert str(again) == str(card)
    assert again.data.base_model == ["org/text", "org/vision"] and again.data.datasets == ["org/mnre"]
    index = again.data.to_dict()["model-index"]
    assert [result["dataset"] for result in index[0]["results"]] == [
        {"type": "org/mnre", "name": "mnre", "revision": "v2", "split": "test"}
    ]
    one = again.data.eval_results[0]
    assert (one.task_type, one.dataset_type, one.dataset_split) == ("relation-extraction", "org/mnre", "test")
    expected = metadata_eval_result(
        model_pretty_name="roc-tiny",
        task_pretty_name=one.task_name,
        task_id=one.task_type,
        metrics_pretty_name="Micro-F1",
        metrics_id="f1",
        metrics_value=0.5124,
        dataset_pretty_name="mnre",
        dataset_id="org/mnre",
        dataset_split="test",
        dataset_revision="v2",
    )["model-index"][0]
    assert index[0]["name"] == expected["name"]
    assert index[0]["results"][0]["metrics"][0] | {"verified": False} == expected["results"][0]["metrics"][0]


def test_the_data_sets_own_card_names_it_and_its_language(make_run, tmp_path):
    (tmp_path / "README.md").write_text("---\nlanguage: [en, de]\npretty_name: Posts and pictures\n---\n\n# Posts\n")
    card = build_model_card(make_run(data_args={"dataset_name": str(tmp_path)}, metrics=TEST_METRICS, tables=TABLES))
    assert card.data.language == ["en", "de"] and card.data.datasets is None
    assert card.data.eval_results[0].dataset_name == "Posts and pictures" and "Posts and pictures" in card.text


def test_a_run_that_evaluated_nothing(make_run):
    card = build_model_card(make_run())
    assert card.data.eval_results is None and "model-index" not in card.data.to_dict()
    assert "This run evaluated nothing." in card.text and "confusion" not in card.text
    assert "took 12.5 seconds, with a mean loss of 1.2346" in card.text
    assert "the demo set" in card.text and card.data.language == "en"


@pytest.mark.parametrize(
    ("settings", "with_vision", "there", "absent"),
    [
        ({}, True, ["PIL", "own_relations", "Read `none` as"], ["It takes no pictures", "fixed set"]),
        ({}, False, ["It takes no pictures"], ["PIL", "image"]),
        ({"objective": "classification"}, True, ["fixed set of relations"], ["own_relations", "retrieves"]),
        ({"learn_negative_threshold": True}, True, ["scored by a learned threshold"], []),
        ({"object_features": "roi"}, True, ["objects of the picture"], []),
    ],
)
def test_the_card_says_what_the_model_is(make_run, make_model, settings, with_vision, there, absent):
    card = build_model_card(make_run(model=make_model(with_vision=with_vision, **settings), metrics=TEST_METRICS))
    for words in there:
        assert words in " ".join(card.text.split()), words
    for words in absent:
        assert words not in card.text, words
    assert "{{" not in card.text and "{%" not in card.text
    assert not re.search(r"\n{4,}", card.text)
    for code in snippets(card.text):
        compile(code, "snippet", "exec")


CALIBRATED = {
    "eval_ece_uncalibrated": 0.12345,
    "eval_ece": 0.05,
    "eval_calibration_temperature": 1.38888,
    "eval_calibration_samples": 61,
}


def test_calibration_is_told_where_there_was_one(make_run):
    made = make_run(metrics={"eval": CALIBRATED})
    text = build_model_card(made).text
    assert "| validation | 0.1235 | 0.05 |\n\n## Relations" in text and "reliability" not in text  # nothing drawn
    Path(made.args.output_dir).mkdir()
    (Path(made.args.output_dir) / "eval_reliability.png").touch()
    text = build_model_card(made).text
    assert (
        "temperature of 1.3889, which was fitted on 61 rows\nof the validation split." in text
        and "| validation | 0.1235 | 0.05 |\n\n![Accuracy" in text
    )
    assert "(eval_reliability.png)" in text and "calibrated on this data set only; one of them" in text
    # The test split alone tells how well an uncalibrated model knows what it knows: there is no before and after.
    test = {**TEST_METRICS["test"], "test_ece_uncalibrated": 0.2, "test_ece": 0.2}
    text = build_model_card(make_run(metrics={"test": test})).text
    assert "reliability" not in text
    assert "not calibrated (that takes 50 labelled rows of validation); one of them always comes first" in text


ZERO_SHOT = {"test_seen_micro_f1": 0.51239, "test_unseen_micro_f1": 0.2, "test_harmonic_mean": 0.28771}


def test_relations_held_out_are_told_apart(make_run):
    table = [
        {"relation": label, "precision": 0.5, "recall": 0.5, "f1": 0.5, "support": number}
        for label, number in (("none", 5), ("/per/org/member_of", 4), ("/per/per/peer", 3))
    ]
    changes = {"metrics": {"eval": CALIBRATED, "test": TEST_METRICS["test"] | ZERO_SHOT}, "tables": {"test": table}}
    made = make_run(unseen=["/per/per/peer"], draws={"test": "| m | macro F1 |"}, **changes)
    text = build_model_card(made).text
    assert "\n\n| m | macro F1 |\n" in text and "Not zero-shot" not in text
    made.descriptions = copy.deepcopy(made.descriptions)
    made.descriptions["relations"]["/per/per/peer"]["source"] = "from the training split"
    assert "**Not zero-shot**: the descriptions of `/per/per/peer` were" in build_model_card(made).text
    assert "with 3 relations, 1 of them held out of training, trained on the demo set." in text
    assert "| test | 0.5124 | 0.2 | 0.2877 | 3 |\n\n" in text and "`none` is in neither group" in text
    assert "taken out of the training split." in text and "offset to the score of each" in text
    assert re.findall(r"^- `(\S+)`.*held out of training", text, flags=re.MULTILINE) == ["/per/per/peer"]
    assert "without its rows of unseen relations. The expected" in text
    assert "{{" not in text and "{%" not in text and not re.search(r"\n{4,}", text)


@pytest.mark.parametrize("metrics", [{}, TEST_METRICS])
def test_relations_held_out_without_zero_shot_scores(make_run, metrics):
    text = build_model_card(make_run(unseen=["/per/per/peer"], metrics=metrics)).text
    assert "1 of them held out" in text and "`/per/per/peer`" in text and "zero-shot" not in text.lower()


def test_a_relation_held_out_is_shown_by_its_examples_if_it_has_no_description(make_run, make_model, processor):
    model = make_model()
    model.remove_relation("/per/per/peer", processor)
    pair = {"text": "Maya met Noah", "head": {"start": 0, "end": 4}, "tail": {"start": 9, "end": 13}}
    model.add_relation("/per/per/peer", processor=processor, examples=[pair, pair])
    text = build_model_card(make_run(model=model, unseen=["/per/per/peer"])).text
    assert "- `/per/per/peer`: **held out of training**\n  - (no description; the mean of 2 examples)\n" in text


def test_labels_held_out_are_no_paths(make_run):
    made = make_run(data_args={"hold_out_relations": "/per/per/peer,/per/org/member_of"})
    assert "\nhold_out_relations: /per/per/peer,/per/org/member_of\n" in build_model_card(made).text


def test_other_cards_say_nothing_of_unseen_relations(make_run):
    text = build_model_card(make_run(metrics=TEST_METRICS)).text
    assert not re.search(r"held out|unseen|zero-shot", text, flags=re.IGNORECASE)


def test_secrets_and_paths_stay_at_home(make_run, tmp_path):
    (tmp_path / "encoder").mkdir()
    made = make_run(
        model_args={"text_model_name_or_path": str(tmp_path / "encoder")},
        data_args={"dataset_name": str(tmp_path / "mine")},
        args={"hub_token": "hf_secret", "push_to_hub": True, "hub_model_id": "org/x"},
    )
    card = str(build_model_card(made))
    assert "hf_secret" not in card and str(tmp_path) not in card


def test_a_card_tells_no_path_on_this_machine(make_run, tmp_path, monkeypatch):
    """Relative ones neither, wherever they lead; a setting that only looks like one is told."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for folder in ("runs/base", "runs/vision", "../elsewhere/private", "notes"):
        Path(folder).mkdir(parents=True)
    Path("notes/relations.json").write_text("{}")
    made = make_run(
        model_args={"text_model_name_or_path": "runs/base", "vision_model_name_or_path": "./runs/vision/"},
        data_args={"dataset_name": "../elsewhere/private", "relations_file": "notes/relations.json"},
        metrics=TEST_METRICS,
    )
    card = str(build_model_card(made))
    assert not any(words in card for words in ("runs", "elsewhere", "notes", str(tmp_path)))
    settings = yaml.safe_load(re.search(r"```yaml\n(.*?)```", card, flags=re.DOTALL)[1])
    told = [settings[name] for name in ("dataset_name", "text_model_name_or_path", "relations_file")]
    assert told == ["private", "base", "relations.json"]
    made = make_run(data_args={"dataset_name": "org/mnre", "dataset_revision": "refs/pr/1"})
    assert "dataset_revision: refs/pr/1" in str(build_model_card(made))


@pytest.mark.parametrize(
    ("launched", "given", "expected"),
    [("bf16", {}, ["bf16"]), ("no", {"bf16": True}, ["bf16"]), ("no", {"fp16": True}, []), ("no", {}, [])],
)
def test_the_precision_told_is_that_in_force(make_run, monkeypatch, launched, given, expected):
    """On a CPU, where fp16 has no effect; `accelerate launch` tells its own by the environment."""
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launched)
    text = build_model_card(make_run(args={"use_cpu": True, **given})).text
    settings = yaml.safe_load(re.search(r"```yaml\n(.*?)```", text, flags=re.DOTALL)[1])
    assert [name for name in ("bf16", "fp16") if name in settings] == expected
    assert ("in mixed precision (bf16)" in text) == bool(expected)


def test_every_setting_that_decides_a_result_is_told(make_run):
    decides = {"max_grad_norm": 0.5, "neftune_noise_alpha": 5.0, "optim": "adafactor", "eval_delay": 1.0,
               "lr_scheduler_kwargs": {"num_cycles": 2}, "full_determinism": False, "dataloader_drop_last": True,
               "gradient_accumulation_steps": 4}  # fmt: skip
    idle = {"run_name": "x", "logging_steps": 3, "report_to": ["none"], "dataloader_num_workers": 2, "use_cpu": True}
    text = build_model_card(make_run(args=decides | idle)).text
    settings = yaml.safe_load(re.search(r"```yaml\n(.*?)```", text, flags=re.DOTALL)[1])
    expected = {name: value for name, value in decides.items() if value}
    assert settings == {"dataset_name": "demo", "seed": 42, "do_train": True, **expected}
    assert "`accelerate launch --num_processes 1 train.py FILE" in text


HARMLESS = ["fine_with|pipes", "tick`s", "# heading", "two\nlines", "<script>x</script>"]


def test_labels_and_descriptions_of_any_text_make_no_other_card(make_run, make_model, processor):
    model = make_model()
    descriptions = {label: f"{label} is one.\n# Two\n- three | four" for label in HARMLESS}
    model.set_relations(descriptions, processor, negative_relation=HARMLESS[0])
    tables = {
        "test": [{"relation": label, "precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 3} for label in HARMLESS]
    }
    text = build_model_card(make_run(model=model, tables=tables, metrics=TEST_METRICS)).text
    kinds, blocks = zip(*read_blocks(text), strict=True)
    assert "html_block" not in kinds
    assert not [child for block in blocks for child in block.children or () if child.type == "html_inline"]
    assert read_headings(text) == read_headings(build_model_card(make_run(metrics=TEST_METRICS)).text)
    texts = [
        (kind, "".join(child.content for child in block.children or ()).removesuffix(" (negative)"))
        for kind, block in zip(kinds, blocks, strict=True)
    ]
    for label in HARMLESS:
        label = " ".join(label.split())
        for expected in (label, f"{label} is one. # Two - three | four"):
            assert ("paragraph_open", expected) in texts
        assert ("td_open", label) in texts


def read_blocks(text: str) -> list[tuple]:
    """What stands on a page: of each block the kind of what it is in, and itself."""
    blocks = MarkdownIt("commonmark").enable("table").parse(text)
    return [(before.type, block) for before, block in zip(blocks, blocks[1:], strict=False)]


def read_headings(text: str) -> list[str]:
    return [block.content for kind, block in read_blocks(text) if kind == "heading_open"]


def test_a_card_of_many_relations_stays_short(make_run, make_model, processor):
    model = make_model()
    model.set_relations({f"relation_{i}": f"It is number {i}." for i in range(300)}, processor)
    text = build_model_card(make_run(model=model)).text
    assert "with 300 relations" in text and "It is number 199." in text and "It is number 200." not in text
    assert "\n\n100 more and their descriptions stand in `config.json`.\n\n## Limits" in text


def test_the_trainers_card_does_not_overwrite_it(make_model, tmp_path):
    trainer = RocTrainer(model=make_model(), args=RocTrainingArguments(output_dir=str(tmp_path), report_to="none"))
    (tmp_path / "README.md").write_text("the project's")
    trainer.create_model_card(model_name="x", tags=["y"])
    assert (tmp_path / "README.md").read_text() == "the project's"


def test_a_card_is_readdressed(make_run, tmp_path):
    write_card(build_model_card(make_run(model_id="outputs/run")), tmp_path)
    card = (tmp_path / "README.md").read_text()
    readdress(tmp_path, "org/new")
    again = (tmp_path / "README.md").read_text()
    assert snippets(again)[0].count('model_id = "org/new"') == 1 and "outputs/run" not in again
    assert len(again.splitlines()) == len(card.splitlines())


def test_a_push_needs_a_run_that_trains(tmp_path):
    args = RocTrainingArguments(output_dir=str(tmp_path), push_to_hub=True, hub_model_id="org/x")
    assert isinstance(args, TrainingArguments)
    with pytest.raises(ValueError, match="python -m training_roc.push --folder FOLDER"):
        prepare_push(Settings(ModelArguments(), DataArguments(), args))

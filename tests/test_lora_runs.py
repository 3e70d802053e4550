# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""`train.py --use_lora` as people run it, and what others get of an adapter that was pushed."""

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from peft import PeftModel
from safetensors.torch import load_file
from small_runs import (
    LONG,
    assert_same_weights,
    finish,
    kill_after,
    launch,
    local_logits,
    losses,
    read_json,
    read_predictions,
)
from test_remote_code import PROCESSOR_FILES

from evaluation_roc.runs import read_run
from modeling_roc import RocModel


def test_a_run_leaves_an_adapter_and_nothing_of_its_base(run, trained, renamed):
    before = load_file(trained[0] / "model.safetensors")
    lora = ("--use_lora", "true", "--model_name_or_path", trained[0], "--dataset_name", renamed, "--lora_rank", "2")
    out = run(*lora, "--num_train_epochs", "3", "--save_total_limit", "3") / "out"
    names = {path.name for path in out.iterdir()}
    adapter = {"adapter_model.safetensors", "adapter_config.json", "processor_config.json", "tokenizer.json"}
    adapter |= {"handler.py", "requirements.txt"}
    assert adapter | PROCESSOR_FILES | {"README.md", "test_confusion_matrix.png"} <= names
    assert not {"config.json", "model.safetensors"} & names
    assert adapter | PROCESSOR_FILES <= {path.name for path in (out / "checkpoint-4").iterdir()}
    assert (out / "requirements.txt").read_text().splitlines()[-1] == "peft>=0.21,<1"
    encoder = "base_model.model.pair_encoder.text_encoder"
    names = [name for name in load_file(out / "adapter_model.safetensors") if name.startswith(encoder)]
    assert all("lora" in name or "tokens" in name for name in names)
    after = load_file(trained[0] / "model.safetensors")
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    # The best checkpoint by validation score is what was loaded at the end, saved and evaluated.
    state = read_json(out / "trainer_state.json")
    best = out / f"checkpoint-{state['best_global_step']}"
    saved, chosen = (load_file(folder / "adapter_model.safetensors") for folder in (out, best))
    assert saved.keys() == chosen.keys()
    different = [name for name in saved if not torch.equal(saved[name], chosen[name])]
    assert [name.rpartition(".")[2] for name in different] == ["relations"], "it was calibrated since"
    loaded = PeftModel.from_pretrained(RocModel.from_pretrained(trained[0]), out)
    written = read_json(renamed / "relation_descriptions.json")
    assert list(loaded.config.id2label.values()) == list(written["relations"])
    assert loaded.config.negative_relation == written["negative_relation"]
    settings = read_run(out)["settings"]
    assert settings["use_lora"] and settings["lora_rank"] == 2 and settings["num_train_epochs"] == 3
    results = read_json(out / "all_results.json")
    for name in ("calibration_temperature", "abstention_threshold"):
        assert getattr(loaded.config, name) == results[f"eval_{name}"]
    again = run("--model_name_or_path", out, "--output_dir", "again", "--dataset_name", renamed, "--do_train", "false")
    for one, other in zip(read_predictions(out), read_predictions(again / "again"), strict=True):
        assert one["predicted"] == other["predicted"] and one["score"] == pytest.approx(other["score"], abs=1e-4)
    with pytest.raises(ValueError, match=r"holds an earlier run.*--resume_from_checkpoint true"):
        run(*lora)


def test_the_card_of_an_adapter(run, trained):
    once = ("--use_lora", "true", "--max_steps", "1", "--eval_strategy", "no", "--load_best_model_at_end", "false")
    out = run(*once, "--model_name_or_path", trained[0], "--do_eval", "false") / "out"
    card = ModelCard.load(out / "README.md")
    assert card.data.library_name == "peft" and "lora" in card.data.tags
    assert "An adapter to `out` was trained, which itself stayed as it is." in card.content
    assert "model = PeftModel.from_pretrained(base, model_id).eval()" in card.content
    base = sum(value.numel() for value in RocModel.from_pretrained(trained[0]).parameters())
    assert f"| parameters | {base:,} |" in card.content and "| adapter | LoRA of rank 16, " in card.content
    settings = yaml.safe_load(card.content.split("```yaml\n")[1].split("```")[0])
    assert settings["use_lora"] is True
    # Without validation, it keeps its base's calibration.
    kept = PeftModel.from_pretrained(RocModel.from_pretrained(trained[0]), out).config
    base = RocModel.from_pretrained(trained[0]).config
    assert kept.calibration_temperature == base.calibration_temperature != 1
    assert kept.abstention_threshold == base.abstention_threshold is not None
    assert "calibrated as the model's that was trained on" in card.content


@pytest.mark.parametrize(
    "arguments",
    [
        ("--objective", "classification"),
        ("--share_relation_encoder", "false", "--relation_update_steps", "0", "--learn_negative_threshold", "true"),
        pytest.param(
            ("--bf16", "true", "--use_cpu", "true", "--activation_checkpointing", "true"), marks=pytest.mark.slow
        ),
    ],
)
def test_from_plain_encoders_by_way_of_an_untrained_base(run, arguments):
    base = run("--num_train_epochs", "0", "--output_dir", "base", *arguments) / "base"
    assert (base / "model.safetensors").exists()
    out = run("--use_lora", "true", "--model_name_or_path", base, "--max_steps", "4", *arguments) / "out"
    names = load_file(out / "adapter_model.safetensors")
    assert not any("relation_encoder.text_encoder" in name for name in names)
    untrained, adapted = RocModel.from_pretrained(base), RocModel.from_pretrained(base)
    adapted = PeftModel.from_pretrained(adapted, out)
    different = local_logits(adapted, out) - local_logits(untrained, out)
    assert different.abs().max() > 1e-3
    answers = read_predictions(out)
    again = run("--model_name_or_path", out, "--output_dir", "again", "--do_train", "false", *arguments) / "again"
    assert [one["predicted"] for one in answers] == [one["predicted"] for one in read_predictions(again)]


@pytest.mark.slow
def test_a_killed_run_that_is_resumed_ends_with_the_same_adapter(run, trained, place, tmp_path):
    arguments = (*LONG, "--use_lora", "true", "--model_name_or_path", trained[0], "--save_total_limit", "2")
    broken = launch(place, tmp_path, "--output_dir", "broken", *arguments)
    run("--output_dir", "whole", *arguments)
    kill_after(tmp_path / "broken" / "checkpoint-10", broken)
    run("--output_dir", "broken", *arguments, "--resume_from_checkpoint", "true")
    adapters = [tmp_path / name / "adapter_model.safetensors" for name in ("whole", "broken")]
    assert_same_weights(*adapters)
    assert losses(tmp_path / "whole") == losses(tmp_path / "broken")


@pytest.mark.slow
def test_two_processes_train_the_adapter_that_one_trains(run, trained, renamed, place, tmp_path):
    arguments = ("--use_lora", "true", "--model_name_or_path", trained[0], "--dataset_name", renamed)
    arguments += ("--lora_dropout", "0", "--num_train_epochs", "2")
    both = launch(
        place, tmp_path, "--output_dir", "two", "--per_device_train_batch_size", "4", *arguments, num_processes=2
    )
    one = losses(run("--output_dir", "one", *arguments) / "one")
    finish(both)
    for (loss, norm), (other, other_norm) in zip(one, losses(tmp_path / "two"), strict=True):
        assert other == pytest.approx(loss, rel=1e-4) and other_norm == pytest.approx(norm, rel=1e-3)
    folders = [tmp_path / name for name in ("one", "two")]
    logits = [local_logits(PeftModel.from_pretrained(RocModel.from_pretrained(trained[0]), f), f) for f in folders]
    assert torch.allclose(*logits, atol=1e-2)


def test_what_cannot_be_done_is_said_before_anything_is_done(run, trained, tmp_path):
    with pytest.raises(ValueError, match="--lora_rank has no effect without --use_lora true"):
        run("--lora_rank", "4")
    with pytest.raises(ValueError, match="name it by --model_name_or_path.*--num_train_epochs 0"):
        run("--use_lora", "true")
    base = ("--use_lora", "true", "--model_name_or_path", trained[0])
    with pytest.raises(ValueError, match="--use_lora trains"):
        run(*base, "--do_train", "false")
    with pytest.raises(ValueError, match="which nobody else has. Push that first"):
        run(*base, "--push_to_hub")
    with pytest.raises(ValueError, match="no layer's name ends with 'querry'"):
        run(*base, "--lora_target_modules", "querry", "value")
    assert not (tmp_path / "out" / "adapter_model.safetensors").exists()
    once = ("--max_steps", "1", "--eval_strategy", "no", "--load_best_model_at_end", "false", "--do_eval", "false")
    adapter = run(*base, *once, "--do_predict", "false") / "out"
    with pytest.raises(ValueError, match="is an adapter.*merge it"):
        run(*base[:2], "--model_name_or_path", adapter, "--output_dir", "more")
    with pytest.raises(ValueError, match="is an adapter.*merge it"):
        run("--model_name_or_path", adapter, "--output_dir", "more")

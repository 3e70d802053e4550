# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What repeats a training run: its settings, the commit of the code and the libraries' versions."""

import logging
import subprocess
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

logger = logging.getLogger(__name__)

LIBRARIES = ("torch", "transformers", "datasets", "accelerate", "huggingface_hub")
# What of TrainingArguments decides a run's result.
TRAINING_SETTINGS = (
    "num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate",
    "head_learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "weight_decay", "optim",
    "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm", "relation_update_steps", "relation_hard_negatives",
    "relation_max_age", "bf16", "fp16",
    "eval_strategy", "eval_steps", "save_strategy", "save_steps", "load_best_model_at_end", "metric_for_best_model",
    "seed", "data_seed",
)  # fmt: skip


def run_settings(run) -> dict:
    """What a file of settings must hold to repeat a run: all that differs from the defaults, and what was done."""
    settings = {"dataset_name": run.data_args.dataset_name}
    for group in (run.model_args, run.data_args):
        settings |= {one.name: getattr(group, one.name) for one in fields(group) if not is_default(group, one)}
    for one in fields(run.args):
        if one.name in TRAINING_SETTINGS and not is_default(run.args, one):
            settings[one.name] = getattr(run.args, one.name)
    settings |= {"seed": run.args.seed, "do_train": True}
    settings |= {name: True for name in ("do_eval", "do_predict") if getattr(run.args, name)}
    values = {name: getattr(value, "value", value) for name, value in settings.items() if value is not None}
    # Labels may begin with a slash and are no paths.
    paths = {name for name, value in values.items() if isinstance(value, str)} - {"hold_out_relations"}
    return {name: public_name(value) if name in paths else value for name, value in values.items()}


def is_default(group, one) -> bool:
    """Whether a dataclass's field `one` has its default value in `group`."""
    return getattr(group, one.name) == one.default


def public_name(value: str) -> str:
    """`value`, but of an absolute path only its last part: a card does not tell where someone keeps files."""
    return Path(value).name if Path(value).is_absolute() else value


def with_version(library: str) -> str:
    return f"{library} {version(library)}"


def git_commit(folder: Path) -> str | None:
    """Commit of a git checkout, with a note if files differ from it; None elsewhere."""
    if not (folder / ".git").exists():
        return None

    def git(*arguments):
        return subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = " with local changes" if git("status", "--porcelain", "--untracked-files=no") else ""
        return git("rev-parse", "--short", "HEAD") + changed
    except (OSError, subprocess.CalledProcessError) as error:
        logger.warning("the commit is not known: %s", error)
        return None

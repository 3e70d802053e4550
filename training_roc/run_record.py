# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What a run was, in `run.json`: all settings that decide its result, its seeds, the project's commit, the libraries.

It tells no path of this machine, of which a card and a repository on the Hub would show more than they should.
"""

import logging
import platform
import subprocess
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

from training_roc.arguments import Settings

logger = logging.getLogger(__name__)

ROOT = Path(__file__).parents[1]
LIBRARIES = ("torch", "transformers", "datasets", "accelerate", "huggingface_hub")
# What of TrainingArguments decides no result, by the beginnings of the names. The precision told is that in force.
NOT_SETTINGS = (
    "output_dir", "run_name", "do_", "resume", "log", "report_to", "disable_tqdm", "debug", "hub_", "push_to_hub",
    "project", "trackio", "local_rank", "ddp_timeout", "save_total_limit", "save_only_model", "save_on_each_node",
    "skip_memory_metrics", "dataloader_num", "dataloader_p", "per_device_eval", "eval_accumulation", "bf16", "fp16",
    "deepspeed", "fsdp", "remove_unused", "label_names", "use_cpu", "enable_jit",
)  # fmt: skip


def describe_run(settings: Settings) -> dict:
    """What `run.json` holds but of data and model."""
    commit, has_changes = git_commit()
    return {
        "processes": settings.training.world_size,
        "device": settings.training.device.type,
        "seeds": settings.seeds,
        "commit": commit,
        "local_changes": has_changes,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
        "arguments": describe_arguments(settings),
    }


def describe_arguments(settings: Settings) -> dict:
    """Every setting that decides a result, but the seeds, for JSON: name → value, and the `precision` in force."""
    values = {one.name: getattr(group, one.name) for group in settings[:2] for one in fields(group)}
    values |= _training_arguments(settings.training)
    values["precision"] = precision_in_force(settings.training)
    idle = {*settings.seeds, "train_fraction_seed", "hold_out_seed", "preprocessing_num_workers"}
    return _published({name: value for name, value in values.items() if name not in idle})


def settings_to_repeat(settings: Settings) -> dict:
    """What a file of settings must hold to repeat a run: all that differs from the defaults, and what was done."""
    values = {"dataset_name": settings.data.dataset_name}
    for group in settings[:2]:
        own = {one.name: getattr(group, one.name) for one in fields(group)}
        values |= {one.name: own[one.name] for one in fields(group) if own[one.name] != one.default}
    args = settings.training
    usual = type(args)(output_dir=args.output_dir, use_cpu=args.use_cpu).to_dict()
    values |= {name: value for name, value in _training_arguments(args).items() if value != usual[name]}
    if (precision := precision_in_force(args)) in ("bf16", "fp16"):
        values[precision] = True
    values |= {"seed": args.seed, "do_train": True}
    values |= {name: True for name in ("do_eval", "do_predict") if getattr(args, name)}
    values = {name: getattr(value, "value", value) for name, value in values.items() if value is not None}
    one_each = {name: value[0] for name, value in values.items() if isinstance(value, list) and len(value) == 1}
    return _published(values | one_each)


def _training_arguments(args) -> dict:
    return {name: value for name, value in args.to_dict().items() if not name.startswith(NOT_SETTINGS)}


def precision_in_force(args) -> str:
    """ "no", "bf16", "fp16" or "fp8": of `args` or else of `accelerate launch`; fp16 has no effect on a CPU."""
    return "no" if args.mixed_precision == "fp16" and args.device.type == "cpu" else args.mixed_precision


def _published(values: dict) -> dict:
    """The same values without paths."""

    def publish(value):
        if isinstance(value, list):
            return [publish(one) for one in value]
        return public_name(value) if isinstance(value, str) else value

    # Labels may begin with a slash and are no paths.
    return {name: value if name == "hold_out_relations" else publish(value) for name, value in values.items()}


def public_name(value: str) -> str:
    """`value`, but of a path here only its last part: a card does not tell where someone keeps files."""
    path = Path(value)
    is_here = path.is_absolute() or value.startswith((".", "~")) or path.exists()
    return path.absolute().name if is_here else value


def git_commit(folder: Path = ROOT) -> tuple[str | None, bool | None]:
    """Commit of a git checkout, and whether tracked files differ from it; (None, None) elsewhere."""
    if not (folder / ".git").exists():
        return None, None

    def git(*arguments):
        return subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError) as error:
        logger.warning("the commit is not known: %s", error)
        return None, None

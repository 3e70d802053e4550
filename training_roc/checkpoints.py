# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""A run's folder and the checkpoints in it: which one to go on with, whether it is this run's, and the files by which
each can be served."""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datasets import Dataset
from filelock import FileLock, Timeout
from transformers import TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import ExportableState
from transformers.utils import logging

from modeling_roc.configuration_roc import RELATION_FIELDS
from training_roc.push import write_serving_files

logger = logging.get_logger(__name__)

OPTIMIZERS = ("optimizer.*", "optimizer_*", "global_step*")
"""What an optimizer's state is kept in: by Trainer, as FSDP's shards, by DeepSpeed."""
INPUTS_FILE = "run_inputs.json"
"""In each checkpoint: what `describe_inputs` gave."""
DECISIVE = (
    "learning_rate", "head_learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "optim",
    "optim_args", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm", "seed", "data_seed",
    "bf16", "fp16", "neftune_noise_alpha", "relation_update_steps", "relation_hard_negatives", "relation_max_age",
    "freeze_vision_encoder", "freeze_vision_layers", "metric_for_best_model", "greater_is_better", "dataset_weights",
)  # fmt: skip
"""Training arguments that make another training. Some would be taken from the checkpoint, others from now on."""
NO_INPUT = {"dtype", "transformers_version", "architectures", "auto_map", "custom_pipelines", "processor_class"}


class CheckpointError(ValueError):
    """This run cannot go on with a checkpoint, or write beside those of a folder; the message says why."""


def choose_checkpoint(args) -> str | None:
    """
    The checkpoint that `args.resume_from_checkpoint` ([`RocTrainingArguments`]) asks to go on with (a folder, or
    "true" for the last complete one); None to start anew.

    Raises:
        ValueError: if a new run would overwrite an earlier one, if the folder is no complete checkpoint, or if nothing
            is trained.
    """
    last, wanted = get_last_complete_checkpoint(args.output_dir), args.resume_from_checkpoint
    if wanted is None or wanted.lower() == "false":
        earlier = last or next(Path(args.output_dir).glob("*model*.safetensors"), None)
        if args.do_train and earlier is not None:
            raise ValueError(
                f"{args.output_dir} holds an earlier run ({earlier}): go on with its last checkpoint by "
                "--resume_from_checkpoint true, or name another --output_dir"
            )
        return None
    if not args.do_train:
        raise ValueError(
            "--resume_from_checkpoint goes on with a training: to evaluate a checkpoint, name it by "
            "--model_name_or_path"
        )
    if wanted.lower() != "true":
        if not is_complete(Path(wanted)):
            raise ValueError(
                f"--resume_from_checkpoint {wanted}: there is no checkpoint, or it was not written to its end, or "
                "without its optimizer (--save_only_model)"
            )
        return wanted
    if last is None:
        logger.warning(f"{args.output_dir} holds no complete checkpoint to go on with: training starts anew")
    return last


def check_folder(args, model) -> None:
    """
    Raises:
        OSError: if `args.output_dir` cannot be written to, or its disk has no room for what a run saves at least.
    """
    folder = Path(args.output_dir).absolute()
    while not folder.exists():
        folder = folder.parent
    with tempfile.TemporaryFile(dir=folder):
        pass
    if not args.do_train:
        return
    weights = sum(value.nbytes for value in model.parameters())
    if args.save_strategy != "no":  # a checkpoint beside the model; its optimizer keeps two numbers for each weight
        weights += weights + 2 * sum(
            p.nbytes for p in model.parameters() if p.requires_grad and not args.save_only_model
        )
    free = shutil.disk_usage(folder).free
    if free < weights:
        raise OSError(
            f"--output_dir {args.output_dir}: what is saved takes {weights / 2**20:,.0f} MiB, and the disk has "
            f"{free / 2**20:,.0f} left"
        )


def get_last_complete_checkpoint(output_dir: str) -> str | None:
    """The newest `checkpoint-N` of `output_dir` that a run can go on with (see `is_complete`), or `None`."""
    steps = {step: folder for step, folder in _checkpoints(output_dir).items() if is_complete(folder)}
    return str(steps[max(steps)]) if steps else None


def is_complete(folder: Path) -> bool:
    """Whether a checkpoint was written to its end, with the states that resuming takes."""
    return is_whole(folder) and any(folder.glob("rng_state*.pth"))


def is_whole(folder: Path) -> bool:
    """Whether a checkpoint was written to its end. A killed run may leave one half-written; the Trainer writes
    `trainer_state.json` last, and [`RocTrainer`] takes away an old one first."""
    try:
        return isinstance(json.loads((folder / TRAINER_STATE_NAME).read_text(encoding="utf-8")), dict)
    except (OSError, ValueError):
        return False


def drop_optimizers(output_dir: str) -> None:
    """Removes the optimizers' states, twice as large as the weights, from the checkpoints of a run that has ended."""
    for folder in _checkpoints(output_dir).values():
        for state in _optimizers(folder):
            shutil.rmtree(state) if state.is_dir() else state.unlink()


def _optimizers(checkpoint: Path) -> list[Path]:
    return [path for pattern in OPTIMIZERS for path in checkpoint.glob(pattern)]


@contextmanager
def training_alone(output_dir: str) -> Iterator[None]:
    """
    Raises:
        CheckpointError: if another process, which this one need not know of, is training into the same folder.
    """
    Path(output_dir).mkdir(parents=True, exist_ok=True)
    lock = FileLock(Path(output_dir) / ".training")  # the system frees it, however a process ends
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise CheckpointError(f"another process is training into {output_dir}: name another --output_dir") from None
    except NotImplementedError:
        logger.warning(f"the file system of {output_dir} has no locks: see to it that nothing else trains into it")
    try:
        yield
    finally:
        lock.release()


def remove_half_written(output_dir: str) -> None:
    """Removes what a killed run left half-written: the Trainer would keep it as the newest, and drop a whole one."""
    for folder in _checkpoints(output_dir).values():
        if not is_whole(folder):
            logger.warning(f"{folder} was not written to its end, and is removed")
            shutil.rmtree(folder)


def _checkpoints(output_dir: str) -> dict[int, Path]:
    """Step to folder."""
    folders = [folder for folder in Path(output_dir).glob("checkpoint-*") if folder.is_dir()]
    return {int(step[1]): folder for folder in folders if (step := re.fullmatch(r"checkpoint-(\d+)", folder.name))}


# ---- whether a checkpoint is this run's


def describe_inputs(trainer, hashes: dict[str, str]) -> dict:
    """
    What decides the course of a training, for JSON: relations, model, processor, arguments, rows and pictures.

    Args:
        trainer ([`RocTrainer`]): before its first step.
        hashes: of what the trainer does not see, by its name.
    """
    config, args = trainer.model.config, trainer.args
    labels = [config.id2label[index] for index in range(config.num_labels)]
    inputs = {
        "relations": {label: (config.relation_descriptions or {}).get(label) for label in labels},
        "negative_relation": config.negative_relation,
        "model": {name: value for name, value in config.to_dict().items() if name not in RELATION_FIELDS},
        "processor": trainer.processing_class.to_dict() if hasattr(trainer.processing_class, "to_dict") else {},
        "training": {name: getattr(args, name) for name in DECISIVE},
        "batch size of a step": args.train_batch_size * args.world_size * args.gradient_accumulation_steps,
        "callbacks": [
            [type(one).__name__, one.state()["args"]]
            for one in trainer.callback_handler.callbacks
            if isinstance(one, ExportableState)
        ],
        "length": [args.num_train_epochs, args.max_steps],
        "hashes": dict(hashes),
    }
    pictures = getattr(trainer.data_collator, "pictures", None)
    for name, rows in (("train", trainer.train_dataset), ("validation", trainer.eval_dataset)):
        if isinstance(rows, Dataset) and (name == "train" or args.eval_strategy != "no"):
            inputs["hashes"][f"{name} rows"] = _hash_rows(rows)
            if pictures is not None:
                inputs["hashes"][f"{name} pictures"] = _hash_pictures(rows["image_id"], pictures)
    return json.loads(json.dumps(inputs, default=str))


def check_inputs(checkpoint: str, inputs: dict) -> None:
    """
    Raises:
        CheckpointError: if the run that left `checkpoint` had other `inputs` (of `describe_inputs`) than this one: the
            checkpoint's would take the place of some of them without a word. All that differs is named.
    """
    path = Path(checkpoint) / INPUTS_FILE
    if not path.is_file():
        raise CheckpointError(f"{checkpoint} cannot be gone on with: its run's inputs ({INPUTS_FILE}) are missing")
    then = json.loads(path.read_text(encoding="utf-8"))
    found = list(_relation_differences(then.pop("relations"), inputs["relations"]))
    hashes, length = then.pop("hashes"), then.pop("length")
    found += [f"the {name} are others" for name, value in inputs["hashes"].items() if hashes.get(name, value) != value]
    found += _differences(then, inputs)
    if found:
        raise CheckpointError(
            f"{checkpoint} was left by a run with other inputs, and cannot be gone on with: {'; '.join(found)}. Give "
            "them as they were, or train anew with another --output_dir"
        )
    if not _optimizers(Path(checkpoint)):
        raise CheckpointError(
            f"{checkpoint} is of a run that has ended, and its optimizer's state is gone: train on from the model, by "
            "--model_name_or_path and another --output_dir"
        )
    if length != inputs["length"]:
        logger.warning(
            f"num_train_epochs and max_steps were {length} and are {inputs['length']}: the learning rate follows the "
            "new length from here on"
        )


def _relation_differences(then: dict, now: dict) -> Iterator[str]:
    gone, new = [one for one in then if one not in now], [one for one in now if one not in then]
    other = [label for label in now if label in then and now[label] != then[label]]
    order = [] if gone or new or list(then) == list(now) else now
    for what, labels in (("gone", gone), ("new", new), ("described otherwise", other), ("in another order", order)):
        if labels:
            yield f"relations {what}: {', '.join(labels)}"


def _differences(then, now, where: str = "") -> Iterator[str]:
    """Where both have something, and not the same."""
    if isinstance(then, dict) and isinstance(now, dict):
        for name in then.keys() & now.keys() - NO_INPUT:
            if not name.startswith("_"):
                yield from _differences(then[name], now[name], f"{where} {name}".strip())
    elif then != now:
        yield f"{where} was {then!r} and is {now!r}"


def _hash_rows(rows: Dataset) -> str:
    digest = hashlib.sha256()
    for batch in rows.with_format("arrow").iter(batch_size=1000):
        digest.update(json.dumps(batch.to_pydict()).encode())
    return digest.hexdigest()


def _hash_pictures(image_ids, pictures) -> str:
    digest = hashlib.sha256()
    for image_id in dict.fromkeys(image_ids):
        pixels = None if image_id is None else pictures[image_id]
        digest.update(b"none" if pixels is None else pixels.tobytes())
    return digest.hexdigest()


# ---- what can be served


class ServingFilesCallback(TrainerCallback):
    """A run's folder and its checkpoints can be served as they are, and so can what is pushed during training."""

    def on_train_begin(self, args, state, control, model, **kwargs):
        if state.is_world_process_zero:
            Path(args.output_dir).mkdir(parents=True, exist_ok=True)
            write_serving_files(args.output_dir, hasattr(model, "peft_config"))

    def on_save(self, args, state, control, model, **kwargs):
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            write_serving_files(folder, hasattr(model, "peft_config"))

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The Trainer with what ROC adds to it: learning rates by group, the batches' order, and the memory's upkeep."""

import json
import math
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from accelerate.utils.environment import get_cpu_distributed_information
from datasets import Dataset
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME

from modeling_roc.relation_memory_roc import is_sharded
from training_roc.checkpoints import (
    INPUTS_FILE,
    CheckpointError,
    check_inputs,
    describe_inputs,
    get_last_complete_checkpoint,
    remove_half_written,
    training_alone,
)
from training_roc.frozen_layers import freeze_first_layers
from training_roc.hard_negatives import RelationFeatures
from training_roc.sampler import PictureGroupedSampler

ENCODERS = ("pair_encoder.text_encoder", "pair_encoder.vision_encoder", "relation_encoder.text_encoder")
"""The pretrained parts of a [`RocModel`]."""

_FROM_0 = ("learning_rate", "head_learning_rate", "weight_decay", "adam_epsilon", "max_grad_norm", "num_train_epochs")
_FROM_0 += ("seed", "data_seed", "dataloader_num_workers")
_FROM_1 = ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps")
RANGES = {
    **dict.fromkeys(_FROM_0, (0, math.inf)),
    **dict.fromkeys(_FROM_1, (1, math.inf)),
    **dict.fromkeys(("adam_beta1", "adam_beta2"), (0, 1)),
}
"""Least value and upper bound of the Trainer's settings that would be found out of range after the data are read."""


@dataclass
class RocTrainingArguments(TrainingArguments):
    """
    transformers' TrainingArguments; `learning_rate` is that of the pretrained encoders.

    Some of transformers' own are refused, since they would have no effect, or another than they say.

    Args:
        do_eval: default: whether there is an `eval_strategy`.
        head_learning_rate: learning rate of everything that is not a pretrained encoder: fusion layers, the layers
            behind them, the temperature. Default: `learning_rate`.
        relation_update_steps: encode the relation descriptions with gradient in every k-th optimizer step; in
            between, what the last such step gave goes through the (always trained) projection. 0 freezes the
            relation encoder, which must then be one of its own.
        relation_hard_negatives: for large relation sets. In the steps that encode with gradient, encode the
            descriptions of the batch's gold relations and of so many others, those that score highest for it; each
            micro-batch of each process chooses its own. Default: the descriptions of all relations.
        relation_max_age: with `relation_hard_negatives`, encode a description that was not chosen again after so
            many optimizer steps, without gradient: R descriptions make R / relation_max_age a step.
        freeze_vision_encoder: do not train the vision encoder. `train.py` then runs each distinct picture through it
            once, and keeps what it gives in the data sets' cache.
        freeze_vision_layers: the same of the vision encoder's first so many layers; the others are trained.
        dataset_weights: of several data sets, how often an epoch sees the rows of each: with 0.5 half of them, drawn
            anew in each epoch, with 2 each twice. Default: each row once.

    Raises:
        ValueError: for a number that is out of range, a setting that has no effect beside the others, or if this is
            one of several processes that do not see one another.
    """

    do_eval: bool | None = field(default=None, metadata={"help": "Evaluate on validation after training."})
    head_learning_rate: float | None = field(
        default=None, metadata={"help": "Learning rate of fusion layers and projections."}
    )
    relation_update_steps: int = field(
        default=1, metadata={"help": "Encode descriptions with gradient every k-th optimizer step; 0: frozen."}
    )
    relation_hard_negatives: int | None = field(
        default=None,
        metadata={
            "help": "Encode only the batch's gold relations and so many hard negatives with gradient. Default: all."
        },
    )
    relation_max_age: int = field(
        default=100,
        metadata={"help": "With relation_hard_negatives: optimizer steps until others are encoded again."},
    )
    freeze_vision_encoder: bool = field(
        default=False, metadata={"help": "Keep the vision encoder as it is, and encode each picture once."}
    )
    freeze_vision_layers: int | None = field(
        default=None, metadata={"help": "The same of the vision encoder's first so many layers. Default: none."}
    )
    dataset_weights: list[float] | None = field(
        default=None,
        metadata={
            "help": "How often an epoch sees each row of each data set, in their order: 0.5, 1, 2. Default: once."
        },
    )
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "Must stay false: the collator needs the picture's id."}
    )
    label_names: list[str] | None = field(default_factory=lambda: ["labels"])
    metric_for_best_model: str | None = field(default="micro_f1", metadata={"help": "Chosen on validation."})
    restore_callback_states_from_checkpoint: bool = field(
        default=True, metadata={"help": "A resumed run goes on with early stopping's count, too."}
    )

    def __post_init__(self):
        if self.ddp_find_unused_parameters is None:
            # A batch without pictures leaves the vision encoder idle, a step without descriptions theirs.
            self.ddp_find_unused_parameters = True
        evaluates = self.do_eval
        super().__post_init__()
        self.do_eval = self.eval_strategy != "no" if evaluates is None else evaluates
        for name, (least, below) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value < below:
                bounds = f"{least} or more" if below == math.inf else f"{least} to below {below}"
                raise ValueError(f"{name} must be {bounds}, got {value}")
        started = get_cpu_distributed_information().world_size
        if started != self.world_size:
            raise ValueError(
                f"{started} processes were started, but this one sees {self.world_size}: each would train alone, into "
                f"the same folder. torch sees {torch.accelerator.device_count()} GPUs; for processes on the CPU, add "
                "--use_cpu true"
            )
        # Pinned memory is for an accelerator; torch warns of it where there is none.
        self.dataloader_pin_memory &= torch.accelerator.is_available()
        if self.remove_unused_columns:
            raise ValueError("remove_unused_columns must stay false: the collator needs the picture's id")
        if self.label_smoothing_factor:
            raise ValueError(
                f"label_smoothing_factor {self.label_smoothing_factor}: the Trainer would put another loss in the "
                "place of the model's"
            )
        if self.train_sampling_strategy != "random":
            raise ValueError(
                f"train_sampling_strategy {self.train_sampling_strategy!r} has no effect: batches group pairs of one "
                "picture and texts of like length as it is"
            )
        if wrong := [weight for weight in self.dataset_weights or [] if not 0 < weight < math.inf]:
            raise ValueError(f"dataset_weights must be above 0, got {wrong[0]}")
        if self.freeze_vision_encoder and self.freeze_vision_layers is not None:
            raise ValueError("freeze_vision_layers has no effect beside freeze_vision_encoder, which freezes all")
        if self.relation_update_steps < 0:
            raise ValueError(f"relation_update_steps must be 0 or more, got {self.relation_update_steps}")
        if self.relation_max_age < 1:
            raise ValueError(f"relation_max_age must be 1 or more, got {self.relation_max_age}")
        if self.relation_hard_negatives is None:
            if self.relation_max_age != type(self).relation_max_age:
                raise ValueError("relation_max_age has no effect without relation_hard_negatives")
        elif self.relation_hard_negatives < 0:
            raise ValueError(f"relation_hard_negatives must be 0 or more, got {self.relation_hard_negatives}")
        elif self.relation_update_steps == 0:
            raise ValueError("relation_hard_negatives has no effect with relation_update_steps=0: none are encoded")


class SamplerEpochCallback(TrainerCallback):
    """Tells the sampler its epoch, which accelerate fails to do where several processes resume within an epoch."""

    def on_epoch_begin(self, args, state, control, train_dataloader, **kwargs):
        train_dataloader.set_epoch(int(state.epoch))


class RocTrainer(Trainer):
    """
    Trainer of a [`RocModel`], or of an adapter in one (`peft.PeftModel`). `train_dataset` holds `input_ids` and, if
    there are pictures, `image_id` columns; with `dataset_weights` `dataset_index`, too. Where rows to evaluate have
    that, `compute_metrics` is called with it, an array (num_rows,). Without `compute_metrics` the best model is that
    of the lowest loss.

    A checkpoint tells the inputs of its run, and is gone on with by a run with the same inputs only
    (`training_roc.checkpoints`).

    Raises:
        ValueError: if `relation_update_steps` is 0 and the relation encoder is shared with the pair's, if there
            are `relation_hard_negatives` and the model classifies, if `freeze_vision_encoder` or
            `freeze_vision_layers` is set for a model without a vision encoder, or for an adapter, or the encoder has
            no such layers.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.args.n_gpu > 1:
            raise ValueError("several GPUs need a process each: start with `accelerate launch`")
        if self.is_fsdp_enabled:
            if self.model.config.learn_temperature:
                raise ValueError("FSDP shards no single numbers: learn_temperature must be false")
            # Checkpoints are whole models, which can be served.
            plugin = self.accelerator.state.fsdp_plugin
            plugin.state_dict_config = plugin.optim_state_dict_config = None  # those of another type would stay
            plugin.set_state_dict_type("FULL_STATE_DICT")
        if self.compute_metrics is None and self.args.metric_for_best_model == "micro_f1":
            self.args.metric_for_best_model, self.args.greater_is_better = "loss", False
        self.add_callback(SamplerEpochCallback)
        self.inputs = {"hashes": {}}
        self._relations_updated_at = None
        self._relation_features = None
        if self.args.relation_hard_negatives is not None and self.model.config.objective != "retrieval":
            raise ValueError('relation_hard_negatives has no effect on a model with objective="classification"')
        if self.args.relation_update_steps == 0 and self.model.config.objective == "retrieval":
            if self.model.relation_encoder.text_encoder is None:
                raise ValueError("relation_update_steps=0 freezes the relation encoder; a shared one cannot be frozen")
            self.model.relation_encoder.text_encoder.requires_grad_(False)
        number = self.args.freeze_vision_layers
        if self.args.freeze_vision_encoder or number is not None:
            if self.model.config.vision_config is None or self._trains_adapter:
                what = "a model without a vision encoder" if not self._trains_adapter else "an adapter"
                flag = "freeze_vision_encoder" if number is None else "freeze_vision_layers"
                raise ValueError(f"{flag} has no effect on {what}")
            if number is None:
                self.model.pair_encoder.vision_encoder.requires_grad_(False)
            else:
                freeze_first_layers(self.model.pair_encoder, number)

    @property
    def _trains_adapter(self) -> bool:
        return hasattr(self.model, "peft_config")

    def _get_train_sampler(self, train_dataset=None):
        dataset = self.train_dataset if train_dataset is None else train_dataset
        lengths = [len(ids) for ids in dataset["input_ids"]]
        batch_size = self._train_batch_size * self.args.world_size * self.args.gradient_accumulation_steps
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        has_ids = "image_id" in dataset.column_names
        image_ids = list(dataset["image_id"]) if has_ids else [None] * len(lengths)
        index = list(dataset["dataset_index"]) if self.args.dataset_weights else None
        return PictureGroupedSampler(
            lengths,
            image_ids,
            batch_size,
            seed=seed,
            dataset_index=index,
            dataset_weights=self.args.dataset_weights,
        )

    def create_optimizer(self, model=None):
        if self.optimizer is None:
            model = self.model if model is None else model
            decayed = set(self.get_decay_parameter_names(model))
            head_learning_rate = self.args.head_learning_rate
            if head_learning_rate is None:
                head_learning_rate = self.args.learning_rate
            groups = {}
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    encoder = name.removeprefix("base_model.model.").startswith(ENCODERS)  # peft's prefix
                    key = (encoder, name in decayed and not name.endswith("log_temperature"))
                    groups.setdefault(key, []).append(parameter)
            optimizer_class, kwargs = self.get_optimizer_cls_and_kwargs(self.args, model)
            self.optimizer = optimizer_class(
                [
                    {
                        "params": parameters,
                        "lr": self.args.learning_rate if encoder else head_learning_rate,
                        "weight_decay": self.args.weight_decay if decay else 0.0,
                    }
                    for (encoder, decay), parameters in groups.items()
                ],
                **kwargs,
            )
        return self.optimizer

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs):
        """
        As transformers'; `True` stands for the last complete checkpoint.

        Raises:
            CheckpointError: if there is no such checkpoint, it is of a run with other inputs, or another process is
                training into the same folder.
            ValueError: if a data set to evaluate during training has no labelled row.
        """
        if resume_from_checkpoint is True:
            resume_from_checkpoint = get_last_complete_checkpoint(self.args.output_dir)
            if resume_from_checkpoint is None:
                raise CheckpointError(f"{self.args.output_dir} holds no complete checkpoint to go on with")
        evaluated = self.eval_dataset if isinstance(self.eval_dataset, dict) else {"eval_dataset": self.eval_dataset}
        for name, rows in evaluated.items() if self.args.eval_strategy != "no" else ():
            if isinstance(rows, Dataset) and all(label in (None, -100) for label in rows["labels"]):
                raise ValueError(f"{name} has no labelled row: leave it out, with eval_strategy no")
        self.inputs = describe_inputs(self, self.inputs["hashes"])
        if resume_from_checkpoint:
            check_inputs(resume_from_checkpoint, self.inputs)
        self._start_relations_anew()
        with training_alone(self.args.output_dir) if self.args.should_save else nullcontext():
            if resume_from_checkpoint and self.args.should_save:
                remove_half_written(self.args.output_dir)
            return super().train(resume_from_checkpoint, **kwargs)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if model.training and self._relation_features is not None:
            self._relation_features.step = self.state.global_step
            self._relation_features.with_gradient = self._updates_relations()
            self._relation_features.labels = inputs.get("labels")
            self._relation_features.relation_mask = inputs.get("relation_mask")
            inputs = {**inputs, "relation_features": self._relation_features}
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def evaluation_loop(self, dataloader, *args, **kwargs):
        compute_metrics, rows = self.compute_metrics, dataloader.dataset
        if compute_metrics is not None and "dataset_index" in getattr(rows, "column_names", ()):
            self.compute_metrics = partial(compute_metrics, dataset_index=np.array(rows["dataset_index"]))
        try:
            return super().evaluation_loop(dataloader, *args, **kwargs)
        finally:
            self.compute_metrics = compute_metrics

    def _start_relations_anew(self):
        """The next training step encodes the descriptions, whatever is known of them."""
        self._relations_updated_at = None
        if self.model.config.objective == "retrieval":
            model = self.model.get_base_model() if self._trains_adapter else self.model
            self._relation_features = RelationFeatures(
                model, self.args.relation_hard_negatives, self.args.relation_max_age
            )

    def _updates_relations(self) -> bool:
        """The same answer for all micro-batches of an optimizer step, so that accumulation stays exact."""
        every, step, last = self.args.relation_update_steps, self.state.global_step, self._relations_updated_at
        if every == 0:
            return False
        if last is None or not 0 <= step - last < every:  # auto_find_batch_size goes back to the first step
            self._relations_updated_at = step
        return self._relations_updated_at == step

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        self._load_weights(resume_from_checkpoint)

    def _load_best_model(self):
        self._load_weights(self.state.best_model_checkpoint)

    def _load_weights(self, checkpoint: str):
        if self._trains_adapter:
            from peft import load_peft_weights, set_peft_model_state_dict

            set_peft_model_state_dict(self.model, load_peft_weights(checkpoint, device="cpu"))
            return
        # Weights are saved under the names that encoders were published with. The Trainer's own loading does not
        # translate them back and passes over all that it does not know (huggingface/transformers#48805).
        saved = type(self.model).from_pretrained(checkpoint, dtype=self.model.dtype)
        if any(map(is_sharded, self.model.parameters())):
            set_model_state_dict(self.model, saved.state_dict(), options=StateDictOptions(full_state_dict=True))
        else:
            self.model.load_state_dict(saved.state_dict())

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False):
        """Saves and does not push: `push_to_hub` is for the end, when there are scores, and may fail without harm."""
        super().save_model(output_dir, _internal_call=True)

    def _save(self, output_dir: str | None = None, state_dict=None):
        if self._trains_adapter and self.model.config.objective == "retrieval":
            if not any(map(is_sharded, self.model.parameters())):
                self.model.refresh_memory()  # as `RocModel.save_pretrained` does
        super()._save(output_dir, state_dict)

    def create_model_card(self, *args, **kwargs):
        """Nothing: the Trainer's card would overwrite the project's, which `training_roc.model_card` makes."""

    def _save_checkpoint(self, model, trial):
        if self.args.should_save:
            folder = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / TRAINER_STATE_NAME).unlink(missing_ok=True)  # written last, it says that the rest is there
            (folder / INPUTS_FILE).write_text(json.dumps(self.inputs, indent=2), encoding="utf-8")
        super()._save_checkpoint(model, trial)
        # A resumed run starts by encoding the descriptions; so does an unbroken one after each checkpoint.
        self._start_relations_anew()

    def _save_rng_state(self, output_dir):
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()  # each process writes its own, before the first says that all is there

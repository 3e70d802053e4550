# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The model card of a training run: `model_card.md` filled with what the run was and what it printed."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import yaml
from huggingface_hub import DatasetCard, DatasetCardData, EvalResult, ModelCard, ModelCardData, hf_hub_download
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from data_scripts.descriptions.files import seen_in_training
from data_scripts.loading import DEMO
from data_scripts.markdown import markdown_code, markdown_text
from data_scripts.writing import replacing
from evaluation_roc.calibration import MIN_ROWS
from evaluation_roc.report import FEW_ROWS, MAX_LISTED, format_table
from training_roc.arguments import Settings
from training_roc.rows import RunData
from training_roc.run_record import describe_run, public_name, settings_to_repeat

logger = logging.getLogger(__name__)

TEMPLATE = Path(__file__).parents[1] / "model_card.md"
# The splits that a run evaluates, and what their metrics' and files' names begin with.
SPLITS = {"validation": "eval", "test": "test"}
SCORES = {
    "micro_f1": ("f1", "Micro-F1"),
    "macro_f1": ("f1", "Macro-F1"),
    "macro_f1_present": ("f1", "Macro-F1 of relations with a gold row"),
    "micro_precision": ("precision", "Micro-precision"),
    "micro_recall": ("recall", "Micro-recall"),
    "accuracy": ("accuracy", "Accuracy"),
}
TRAINING_FIGURES = ("epoch", "loss", "runtime")
CALIBRATION_ERRORS = ("ece_uncalibrated", "ece")
ZERO_SHOT_SCORES = ("seen_micro_f1", "unseen_micro_f1", "harmonic_mean")
WIDGET = [
    {"text": "Maya and Ken on the pier", "example_title": "Two persons"},
    {"text": "Ines on stage with the Blue Comets", "example_title": "A person and an organization"},
]


class Part(NamedTuple):
    """A split of a data set: what it is called in tables, what its scores and files begin with, and the data set."""

    title: str
    prefix: str
    data: RunData


@dataclass
class TrainingRun:
    """What a card tells of.

    Attributes:
        model_id: the repository on the Hub, or the name of the run's folder.
        model: the trained [`RocModel`].
        model_args, data_args, args: the run's settings, as `train.py` reads them.
        data: the data sets, with the rows that were used.
        descriptions: content of a relation descriptions file with the model's relations.
        metrics: "train", "eval" and "test" → the Trainer's metrics of it; those not run are missing.
        tables: a part's title → scores by relation, from `per_relation_table`; None if it has no labels.
        draws: "validation" and "test" → table of the unseen relations' scores among themselves, from `format_draws`.
    """

    model_id: str
    model: object
    model_args: object
    data_args: object
    args: object
    data: list[RunData]
    descriptions: dict
    metrics: dict[str, dict] = field(default_factory=dict)
    tables: dict[str, list[dict] | None] = field(default_factory=dict)
    draws: dict[str, str] = field(default_factory=dict)

    @property
    def unseen(self) -> list[str]:
        """Labels of the relations that were held out of training."""
        return [label for one in self.data for label in one.unseen]

    def parts(self, split: str | None = None) -> list[Part]:
        """What is scored by itself: each data set that has the split; by default, of all splits."""
        if split is None:
            return [part for split in SPLITS for part in self.parts(split)]
        several = len(self.data) > 1
        return [
            Part(
                f"{one.title}, {split}" if several else split,
                f"{SPLITS[split]}_{one.title}" if several else SPLITS[split],
                one,
            )
            for one in self.data
            if split in one.splits
        ]


def build_model_card(run: TrainingRun) -> ModelCard:
    """
    Fills the template. Every figure in it is one that the run printed.

    Raises:
        FileNotFoundError: outside of a checkout, which alone has the template.
    """
    if not TEMPLATE.is_file():
        raise FileNotFoundError("a model card is written from a checkout of the repository, which has its template")
    config = run.model.config
    settings = Settings(run.model_args, run.data_args, run.args)
    record = describe_run(settings)
    datasets = [describe_dataset(name, revision) for _, name, _, revision, _ in run.data_args.sources()]
    retrieval = config.objective == "retrieval"
    model_name = Path(run.model_id).name
    num_adapter_parameters = run.model.num_parameters(only_trainable=True) if run.model_args.use_lora else 0
    relations = [describe_relation(label, run) for label in config.id2label.values()]
    drawn = {path.name for path in Path(run.args.output_dir).glob("*.png")}
    parts = [(part.title, part.prefix) for part in run.parts()]
    if len(run.data) > 1:
        parts += [(f"mean over the data sets, {split}", prefix) for split, prefix in SPLITS.items()]
    return ModelCard.from_template(
        card_metadata(run, model_name, datasets),
        template_path=str(TEMPLATE),
        model_name=model_name,
        model_id=run.model_id,
        datasets=datasets,
        retrieval=retrieval,
        with_images=config.vision_config is not None,
        with_objects=config.object_features is not None,
        negative=config.negative_relation,
        learned_threshold=retrieval and config.learn_negative_threshold and config.negative_relation is not None,
        code=markdown_code,
        plain=markdown_text,
        relations=relations[:MAX_LISTED],
        num_relations=len(relations),
        unseen=run.unseen,
        unreviewed=sum(relation["reviewed"] is False for relation in relations) if retrieval else 0,
        encoders=describe_encoders(run),
        num_fusion_layers=config.fusion_encoder_config.num_hidden_layers,
        num_parameters=run.model.num_parameters() - num_adapter_parameters,
        adapter=f"LoRA of rank {run.model_args.lora_rank}" if run.model_args.use_lora else None,
        num_adapter_parameters=num_adapter_parameters,
        num_rows={
            f"{one.title}, {split}" if len(run.data) > 1 else split: len(rows)
            for one in run.data
            for split, rows in one.splits.items()
        },
        train_fraction=run.data_args.train_fraction,
        use_entity_types=run.data_args.use_entity_types,
        starting_point=run.model_args.model_name_or_path and public_name(run.model_args.model_name_or_path),
        # Of infinite width: each setting is one line, which no fence of backticks within it can end.
        settings=yaml.safe_dump(
            settings_to_repeat(settings), sort_keys=False, allow_unicode=True, width=float("inf")
        ).strip(),
        training=figures(run, "train", TRAINING_FIGURES),
        scores={title: figures(run, prefix, SCORES) for title, prefix in parts},
        few_rows=few_rows(run),
        min_rows=FEW_ROWS,
        zero_shot=describe_zero_shot(run),
        draws=run.draws,
        from_training=seen_in_training(run.descriptions, run.unseen),
        selected=run.args.metric_for_best_model if run.args.load_best_model_at_end else None,
        columns=list(SCORES),
        tables={
            part.title: format_table(run.tables[part.title], part.data.negative_label)
            for part in run.parts()
            if run.tables.get(part.title)
        },
        confusion_matrices={
            part.title: file for part in run.parts("test") if (file := f"{part.prefix}_confusion_matrix.png") in drawn
        },
        calibration=describe_calibration(run, drawn),
        has_temperature=config.calibration_temperature != 1,
        min_calibration_rows=MIN_ROWS,
        seeds=record["seeds"],
        num_processes=record["processes"],
        distributed=run.args.distributed_state.distributed_type.value,
        precision=record["arguments"]["precision"],
        device=record["device"],
        commit=record["commit"] and record["commit"][:7] + " with local changes" * record["local_changes"],
        versions=", ".join(f"{name} {number}" for name, number in record["versions"].items()),
    )


def card_metadata(run: TrainingRun, model_name: str, datasets: list[dict]) -> ModelCardData:
    """The metadata. `pipeline_tag` is no task of the Hub's, but where `pipeline(model=...)` finds ours."""
    results, few = [], few_rows(run)
    tested = {
        part.data.title: figures(run, part.prefix, SCORES) for part in run.parts("test") if part.title not in few
    }
    for dataset, (title, _, configuration, revision, _) in zip(datasets, run.data_args.sources(), strict=True):
        scores = tested.get(title if len(datasets) > 1 else run.data[0].title, {})
        results += [
            EvalResult(
                task_type="relation-extraction",
                task_name="Multimodal relation extraction",
                dataset_type=dataset["type"],
                dataset_name=dataset["name"],
                dataset_config=configuration,
                dataset_split="test",
                dataset_revision=revision,
                metric_type=kind,
                metric_name=name,
                metric_value=scores[key],
            )
            for key, (kind, name) in SCORES.items()
            if key in scores
        ]
    names = [run.model_args.model_name_or_path]
    if names[0] is None:
        names = [run.model_args.text_model_name_or_path, run.model_args.vision_model_name_or_path]
    found = [dataset["language"] for dataset in datasets if dataset["language"]]
    languages = list(dict.fromkeys(code for one in found for code in ([one] if isinstance(one, str) else one)))
    base_models = [name for name in dict.fromkeys(names) if is_on_hub(name)]
    return ModelCardData(
        model_name=model_name if results else None,
        pipeline_tag="relation-extraction",
        library_name="peft" if run.model_args.use_lora else "transformers",
        license="apache-2.0",
        language=languages[0] if len(languages) == 1 else languages or None,
        base_model=base_models or None,
        base_model_relation="adapter" if run.model_args.use_lora and base_models else None,
        datasets=[dataset["id"] for dataset in datasets if dataset["id"]] or None,
        metrics=["f1"] if results else None,
        tags=[
            "relation-extraction",
            "multimodal",
            "roc",
            run.model.config.objective,
            *["lora"] * run.model_args.use_lora,
        ],
        widget=WIDGET,
        eval_results=results or None,
    )


def describe_dataset(name: str, revision: str | None) -> dict:
    """`id` on the Hub (None elsewhere), `type` and `name` for results, `language`, and a `sentence` for the reader."""
    if name == DEMO:
        return {
            "id": None,
            "is_demo": True,
            "type": "roc-demo",
            "name": "the demo set",
            "language": "en",
            "sentence": "The demo set that comes with the project: short posts and drawn pictures, made by code.",
        }
    on_hub = is_on_hub(name)
    card = read_dataset_card(name, revision) if on_hub or Path(name).is_dir() else {}
    title = card.get("pretty_name") or Path(name).absolute().name
    link = f"https://huggingface.co/datasets/{name}"
    at = f" at revision `{revision}`" if revision else ""
    return {
        "id": name if on_hub else None,
        "is_demo": False,
        "type": name if on_hub else Path(name).absolute().name,
        "name": title,
        "language": card.get("language"),
        "sentence": f"[{name}]({link}){at}." if on_hub else f"{markdown_text(title)}.",
    }


def read_dataset_card(name: str, revision: str | None) -> DatasetCardData:
    """What the data set's own card tells; nothing where it has none or it cannot be had now."""
    try:
        path = Path(name, "README.md")
        if not path.parent.is_dir():
            path = hf_hub_download(name, "README.md", repo_type="dataset", revision=revision)
        return DatasetCard.load(path, ignore_metadata_errors=True).data
    except (OSError, ValueError) as error:
        logger.warning("the card of data set %s cannot be read, so the model's says less of it: %s", name, error)
        return DatasetCardData()


def describe_relation(label: str, run: TrainingRun) -> dict:
    """Label, the descriptions that the model has, where they are from and whether a person reviewed them."""
    texts, provenance, reviewed = run.model.config.relation_descriptions.get(label, []), None, None
    source = run.descriptions["relations"].get(label)
    if not texts and (number := run.model.config.relation_examples.get(label)):
        texts = [f"(no description; the mean of {number} examples)"]
    elif texts and source is not None and texts != source["descriptions"]:
        provenance = "the label's own words"
    elif texts and source is not None:
        reviewed = source["reviewed"]
        provenance = f"{source['source']}; {'reviewed' if reviewed else 'not reviewed'}"
    return {"label": label, "descriptions": texts, "provenance": provenance, "reviewed": reviewed}


def describe_encoders(run: TrainingRun) -> dict[str, str]:
    """What each encoder is: its name, or its kind and size where it started from scratch or from a trained model."""
    config = run.model.config

    def describe(part, name):
        if part is None:
            return "none"
        if name is not None and run.model_args.model_name_or_path is None:
            return f"`{public_name(name)}`"
        return f"{part.model_type}, {part.num_hidden_layers} layers, width {part.hidden_size}"

    text = describe(config.text_config, run.model_args.text_model_name_or_path)
    own = describe(config.relation_config, run.model_args.text_model_name_or_path)
    return {
        "text": text,
        "vision": describe(config.vision_config, run.model_args.vision_model_name_or_path),
        "relation": "the text encoder" if config.relation_config is None else f"one of its own, from {own}",
    }


def few_rows(run: TrainingRun) -> dict[str, int]:
    """The parts with less than `FEW_ROWS` labelled rows, and how many they have."""
    numbers = {title: sum(row["support"] for row in table or ()) for title, table in run.tables.items()}
    return {title: number for title, number in numbers.items() if number < FEW_ROWS}


def describe_zero_shot(run: TrainingRun) -> dict[str, dict]:
    """Split → `ZERO_SHOT_SCORES`, and `rows` of the unseen relations; empty where none was held out or evaluated, or
    where no row is of another relation."""
    described = {}
    for part in run.parts():
        if len(scores := figures(run, part.prefix, ZERO_SHOT_SCORES)) == len(ZERO_SHOT_SCORES):
            rows = sum(row["support"] for row in run.tables[part.title] if row["relation"] in run.unseen)
            described[part.title] = scores | {"rows": rows}
    return described


def describe_calibration(run: TrainingRun, drawn: set[str]) -> dict | None:
    """`temperature`, number of `rows` that it was fitted on, `errors` by split, before and after, and the last split's
    `diagram` if it is among the `drawn` files; None without calibration."""
    fitted = figures(run, "eval", ["calibration_temperature", "calibration_samples"])
    if not fitted.get("calibration_samples"):
        return None
    errors = {part: figures(run, part.prefix, CALIBRATION_ERRORS) for part in run.parts()}
    errors = {part: values for part, values in errors.items() if values}
    last = list(errors)[-1]
    file = f"{last.prefix}_reliability.png"
    return {
        "temperature": fitted["calibration_temperature"],
        "rows": fitted["calibration_samples"],
        "errors": {part.title: values for part, values in errors.items()},
        "diagram": {"split": last.title, "file": file} if file in drawn else None,
    }


def is_on_hub(name: str | None) -> bool:
    """Whether `name` is a repository's and not a folder's."""
    if name is None or Path(name).exists():
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def figures(run: TrainingRun, prefix: str, names) -> dict:
    """Those of `names` that the run has with this prefix, to as many places as it prints."""
    metrics = {name: value for found in run.metrics.values() for name, value in found.items()}
    return {name: round(metrics[f"{prefix}_{name}"], 4) for name in names if f"{prefix}_{name}" in metrics}


def write_card(card: ModelCard, folder: str | Path) -> None:
    """Writes `card` as the `README.md` of `folder`, whole or not at all."""
    with replacing(Path(folder) / "README.md") as temporary:
        card.save(temporary)

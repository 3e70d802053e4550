# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Relations that were never trained on, beside those that were: generalised zero-shot evaluation."""

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import harmonic_mean, mean, stdev

import numpy as np
import torch
from datasets import Dataset
from sklearn.metrics import precision_recall_fscore_support
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader
from transformers import Trainer

from data_scripts.descriptions.files import seen_in_training
from data_scripts.loading import relation_texts
from data_scripts.writing import write_json
from evaluation_roc.calibration import MIN_ROWS
from evaluation_roc.relation_f1.relation_f1 import check_labels, compute_relation_f1
from evaluation_roc.report import format_columns
from modeling_roc.modeling_roc import mean_token_vectors

logger = logging.getLogger(__name__)
SYSTEM = "retrieval"
"""The model as it is saved."""
DRAW_SIZES = (5, 10, 15)
"""How many unseen relations compete, as the literature has it."""
DRAW_SEEDS = range(5)
MACRO_SCORES = ("macro_precision", "macro_recall", "macro_f1")


def score_unseen_only(logits: np.ndarray, references: Sequence[int], candidates: Sequence[int]) -> dict:
    """
    Zero-shot in the narrow sense: the rows of the candidates, with these alone to choose from.

    Macro scores are those of ZS-BERT (Chen and Li, NAACL 2021), which later work on FewRel and Wiki-ZSL took over:
    precision is averaged over the relations that are predicted, recall over those that have a row, and F1 is the
    harmonic mean of the two averages.

    Args:
        logits (num_examples, num_relations): higher is likelier.
        references (sequence of int, length num_examples): gold relations; rows of others than the candidates are left
            out.
        candidates (sequence of int): relations.

    Returns:
        dict of `accuracy`, `macro_precision`, `macro_recall`, `macro_f1` (0 to 1, without rows 0) and `examples`.
    """
    references = np.asarray(references)
    own = np.isin(references, candidates)
    if not own.any():
        return {"accuracy": 0.0, **dict.fromkeys(MACRO_SCORES, 0.0), "examples": 0}
    gold, answers = references[own], np.asarray(candidates)[logits[own][:, list(candidates)].argmax(axis=1)]
    right = answers == gold
    precision = mean(float(right[answers == label].mean()) for label in np.unique(answers))
    recall = mean(float(right[gold == label].mean()) for label in np.unique(gold))
    return {
        "accuracy": float(right.mean()),
        **dict(zip(MACRO_SCORES, (precision, recall, harmonic_mean([precision, recall])), strict=True)),
        "examples": int(own.sum()),
    }


def score_draws(logits: np.ndarray, references: Sequence[int], candidates: Sequence[int]) -> dict[str, dict]:
    """
    `score_unseen_only` with m of the candidates to choose from, m of `DRAW_SIZES`, each drawn by five seeds. A smaller
    draw is part of a larger one.

    Args: as for `score_unseen_only`.

    Returns:
        m (a string, as in JSON) → `MACRO_SCORES`, their means, and `<score>_std`, the sample standard deviations. No m
        that is not below the number of candidates.
    """
    orders = [random.Random(seed).sample(list(candidates), len(candidates)) for seed in DRAW_SEEDS]
    scores = {}
    for size in DRAW_SIZES:
        if size >= len(candidates):
            break
        results = [score_unseen_only(logits, references, order[:size]) for order in orders]
        values = {name: [result[name] for result in results] for name in MACRO_SCORES}
        scores[str(size)] = {name: mean(values[name]) for name in values}
        scores[str(size)] |= {f"{name}_std": stdev(values[name]) for name in values}
    return scores


def score_zero_shot(
    logits: np.ndarray, references: Sequence[int], unseen: Sequence[int], negative_label: int | None
) -> dict:
    """
    Scores a model that answers with all relations, those it was trained on and those it never saw.

    F1 is the official one, restricted to a group of relations: over all rows, precision = correct / predicted and
    recall = correct / gold, where only predictions and gold labels of the group count. So a row of "no relation", or
    of the other group, that gets a relation of the group counts against it. The negative relation is in neither group.
    `accuracy` is the share of the group's own rows that get their relation.

    Args:
        logits (num_examples, num_relations): higher is likelier.
        references (sequence of int, length num_examples): gold relations, without unlabelled rows.
        unseen (sequence of int): the relations that training never saw; all others but the negative one are seen.
        negative_label (int, optional): the relation that means "no relation".

    Returns:
        dict with

        - `seen`, `unseen`: dicts of `micro_precision`, `micro_recall`, `micro_f1`, `macro_f1_present` (over
          relations with a gold row), `accuracy` and `examples` (rows of the group);
        - `harmonic_mean`: of the two micro F1;
        - `accuracy_harmonic_mean`: of the two accuracies;
        - `unseen_only`: what `score_unseen_only` says of all unseen relations that have a row, and `draws`, what
          `score_draws` does.

        What is undefined for want of rows is 0.

    Raises:
        ValueError: as `check_labels` does, or if `unseen` is empty or holds the negative relation.
    """
    logits = np.asarray(logits, dtype=float)
    num_relations, unseen = logits.shape[1], sorted(set(unseen))
    predictions, references = check_labels(logits.argmax(axis=1), references, num_relations)
    seen = [label for label in range(num_relations) if label not in unseen and label != negative_label]
    if not unseen or negative_label in unseen:
        raise ValueError(f"unseen relations {unseen} of {num_relations}, negative {negative_label}: nothing to score")
    scores = {}
    for name, labels in (("seen", seen), ("unseen", unseen)):
        labels = labels or [num_relations]  # no relation at all: sklearn would take all of them
        options = {"labels": labels, "zero_division": 0.0}
        precision, recall, f1, _ = precision_recall_fscore_support(references, predictions, average="micro", **options)
        _, _, each, support = precision_recall_fscore_support(references, predictions, average=None, **options)
        scores[name] = {
            "micro_precision": float(precision),
            "micro_recall": float(recall),
            "micro_f1": float(f1),
            "macro_f1_present": float(each[support > 0].mean()) if support.any() else 0.0,
            # Every row has one gold relation, so this is the recall, under the name that the field uses.
            "accuracy": float(recall),
            "examples": int(support.sum()),
        }
    scores["harmonic_mean"] = harmonic_mean([scores[name]["micro_f1"] for name in ("seen", "unseen")])
    scores["accuracy_harmonic_mean"] = harmonic_mean([scores[name]["accuracy"] for name in ("seen", "unseen")])
    present = [label for label in unseen if (references == label).any()]
    scores["unseen_only"] = score_unseen_only(logits, references, present)
    scores["unseen_only"]["draws"] = score_draws(logits, references, present)
    return scores


def unseen_offsets(logits: np.ndarray, unseen: Sequence[int], rate: float) -> np.ndarray:
    """
    What to add to the logits of unseen relations, so that they stand on one scale with those that were trained.

    Training lifts the relations it sees (and the bar of the negative one), so that unseen ones hardly ever win
    (calibrated stacking, Chao et al., ECCV 2016, takes one constant off all seen classes). Here each unseen relation
    gets its own constant: with it, it would win `rate` of rows none of which are its own.

    Args:
        logits (num_examples, num_relations): of rows that belong to no unseen relation, one or more.
        unseen (sequence of int): relations.
        rate: share of those rows that each unseen relation may take, above 0 and below 1.

    Returns:
        (num_unseen,) of float, in the order of `unseen`.
    """
    logits = np.asarray(logits, dtype=float)
    best_seen = np.delete(logits, list(unseen), axis=1).max(axis=1)
    return np.quantile(best_seen[:, None] - logits[:, list(unseen)], rate, axis=0)


def _moved(logits: np.ndarray, places: int | list[int], offsets: float | np.ndarray) -> np.ndarray:
    """A copy of the logits, with `offsets` added to those of the relations at `places`."""
    moved = logits.copy()
    moved[:, places] += offsets
    return moved


def negative_offset(logits: np.ndarray, references: Sequence[int], negative_label: int) -> float:
    """
    What to add to the negative relation's logit for the best micro F1, of 101 quantiles of the margins.

    Args:
        logits (num_examples, num_relations), references (num_examples): rows to choose on.
    """
    logits, references = np.asarray(logits, dtype=float), np.asarray(references)
    margins = np.delete(logits, negative_label, axis=1).max(axis=1) - logits[:, negative_label]

    def micro_f1(offset: float) -> float:
        answers = _moved(logits, negative_label, offset).argmax(axis=1)
        scores = compute_relation_f1(answers, references, num_labels=logits.shape[1], negative_label=negative_label)
        return scores["micro_f1"]

    return float(max(np.quantile(margins, np.linspace(0, 1, 101)), key=micro_f1))


def format_draws(scores: dict) -> str:
    """Writes the `unseen_only` of `score_zero_shot` as a Markdown table: m, and the macro scores, in percent."""
    rows = [
        [m, *(f"{100 * draw[name]:.2f} ± {100 * draw[f'{name}_std']:.2f}" for name in MACRO_SCORES)]
        for m, draw in scores["draws"].items()
    ]
    rows.append(["all", *(f"{100 * scores[name]:.2f}" for name in MACRO_SCORES)])
    return format_columns(["m", "macro precision", "macro recall", "macro F1"], rows)


def format_zero_shot(systems: dict[str, dict]) -> str:
    """Writes results of `score_zero_shot`, by the name of what was scored, as a Markdown table."""
    header = ["", "seen F1", "unseen F1", "harmonic mean", "unseen precision", "unseen recall"]
    rows = []
    for name, scores in systems.items():
        unseen, alone = scores["unseen"], scores["unseen_only"]
        values = [scores["seen"]["micro_f1"], unseen["micro_f1"], scores["harmonic_mean"]]
        values += [unseen["micro_precision"], unseen["micro_recall"], alone["accuracy"]]
        rows.append([name, *(f"{value:.3f}" for value in values)])
    return format_columns([*header, "among the unseen only"], rows)


@dataclass
class ZeroShotEvaluation:
    """
    Relations that were kept out of training compete in the evaluation. To be made before training; after it,
    `open_relations`, `score` for each split, `write` and `format`. A model that is not trained here has its relations
    already, and is scored as it is.

    Besides a model that is trained, these are scored:

    - "not calibrated": without the offsets of the unseen relations;
    - "label names": the unseen relations by the words of their labels in place of their descriptions;
    - "4 examples", "descriptions and 4 examples", for each number in `few_shot_examples`: the unseen relations by so
      many of their training rows in place of their descriptions, and by both. A relation that has fewer rows gets all
      of them, and one that has none its descriptions;
    - "untrained encoders", of a new model: before training, the mean token vector of the text with its markers and
      types against the descriptions, both less their means. The negative relation's score gets the offset that is best
      on validation.

    All but the first are calibrated in the same way, on validation's rows of other relations; where it has none, none
    is. Nothing is chosen on a row of an unseen relation.

    Args:
        unseen: their labels, the last of `descriptions`.
        descriptions: of all relations, in the order of the data set's ids.
        relation_text: kind of text, as for `relation_texts`.
        rate: for `unseen_offsets`.
        trainer: with a retrieval model that has the seen relations (all of them, if it is not trained), and its
            processor.
        prepared: the encoded splits; `train` is needed.
        examples: encoded training rows of the unseen relations, needed for `few_shot_examples`.
        few_shot_examples: numbers of examples, 1 to 16.
        is_new: whether the model was built on pretrained encoders, and not trained before.
    """

    unseen: list[str]
    descriptions: dict
    relation_text: str
    rate: float
    trainer: Trainer
    prepared: dict[str, Dataset]
    examples: Dataset | None
    few_shot_examples: Sequence[int]
    is_new: bool

    def __post_init__(self):
        relations, self.negative = list(self.descriptions["relations"]), self.descriptions["negative_relation"]
        self.places = [relations.index(label) for label in self.unseen]
        self.negative_place = None if self.negative is None else relations.index(self.negative)
        self.labels = {name: np.array(rows["labels"]) for name, rows in self.prepared.items() if name != "train"}
        self.untrained = self._score_untrained() if self.is_new else None
        # Name of what is compared with the model → split → logits (num_rows, num_relations).
        self.compared: dict[str, dict[str, np.ndarray]] = {}
        self.results: dict[str, dict] = {}

    @property
    def model(self):
        return self.trainer.accelerator.unwrap_model(self.trainer.model)

    @torch.no_grad()
    def _score_untrained(self) -> dict[str, np.ndarray]:
        """Split → cosines (num_rows, num_relations) of texts and descriptions before anything is trained."""
        model, processor = self.model.eval(), self.trainer.processing_class
        described = []
        for descriptions in relation_texts(self.descriptions, "descriptions").values():
            encoded = processor(relations=descriptions, return_tensors="pt").to(model.device)
            vectors = model.relation_encoder.mean_token_vectors(
                encoded["relation_input_ids"], encoded["relation_attention_mask"], model.pair_encoder.text_encoder
            )
            described.append(F.normalize(vectors.float() - model.relation_encoder.center, dim=-1))
        center = self._mean_vectors(self.prepared["train"]["input_ids"][:1000]).mean(dim=0)
        scores = {}
        for split in self.labels:
            texts = F.normalize(self._mean_vectors(self.prepared[split]["input_ids"][:]) - center, dim=-1)
            scores[split] = (
                torch.stack([(texts @ vectors.T).mean(dim=1) for vectors in described], dim=1).cpu().numpy()
            )
        return scores

    def _mean_vectors(self, texts: Sequence[Sequence[int]]) -> torch.Tensor:
        """Token ids of texts to the pair's text encoder's mean token vectors (num_texts, hidden_size)."""
        order = np.argsort([len(ids) for ids in texts])  # a batch is padded to its longest text
        vectors = []
        for rows in DataLoader(order, batch_size=64, collate_fn=list):
            ids = pad_sequence([torch.tensor(texts[row]) for row in rows], batch_first=True, padding_value=-1)
            mask = (ids >= 0).long().to(self.model.device)
            with self.trainer.compute_loss_context_manager():
                states = self.model.pair_encoder.text_encoder(
                    input_ids=ids.clamp(min=0).to(mask.device), attention_mask=mask
                )[0]
            vectors.append(mean_token_vectors(states.float(), mask))
        return torch.cat(vectors)[np.argsort(order)]

    def _relations(self, kind: str) -> dict[str, list[str]]:
        """Label → texts; the unseen relations' of `kind`, the others' as they were trained."""
        texts, trained = relation_texts(self.descriptions, kind), relation_texts(self.descriptions, self.relation_text)
        return {label: texts[label] if label in self.unseen else trained[label] for label in texts}

    def _encode_examples(self) -> dict[str, torch.Tensor]:
        """Unseen label → pair vectors (num_rows, projection_dim) of its examples, in the order of their draw."""
        loader = DataLoader(self.examples, batch_size=64, collate_fn=self.trainer.data_collator)
        embeds = torch.cat([self.model.encode_pairs(**batch) for batch in loader])
        labels = np.array(self.examples["labels"])
        found = {label: embeds[labels == place] for label, place in zip(self.unseen, self.places, strict=True)}
        for label, vectors in found.items():
            if not len(vectors):
                logger.warning("no training row of %s: it is evaluated by its descriptions, not by examples", label)
        return {label: vectors for label, vectors in found.items() if len(vectors)}

    def _known(self, split: str) -> np.ndarray:
        """Which rows of a split are labelled with a relation that was trained on, or with the negative one."""
        return (self.labels[split] != -100) & ~np.isin(self.labels[split], self.places)

    @property
    def can_calibrate(self) -> bool:
        """Whether validation has a row of a relation that is trained on."""
        return "validation" in self.labels and bool(self._known("validation").any())

    def _offsets(self, logits: dict[str, np.ndarray]) -> np.ndarray:
        """(num_unseen,): what validation's rows of other relations ask for."""
        return unseen_offsets(logits["validation"][self._known("validation")], self.places, self.rate)

    def _calibrate(self, logits: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Split → logits with the offsets of the unseen relations."""
        if not self.can_calibrate:
            return logits
        offsets = self._offsets(logits)
        return {split: _moved(values, self.places, offsets) for split, values in logits.items()}

    @torch.no_grad()
    def _score_anew(self, outputs: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
        """Calibrated logits by the relations that the model has now, on which the pair vectors do not depend."""
        model, scored = self.model, {}
        model.refresh_memory()
        for split, (logits, pair_embeds) in outputs.items():
            threshold = None  # nor does the learned one
            if model.config.learn_negative_threshold and self.negative_place is not None:
                threshold = torch.from_numpy(logits[:, [self.negative_place]]).to(model.device)
            pairs = torch.from_numpy(pair_embeds).to(model.device)
            scored[split] = model.memory(pairs, threshold=threshold).cpu().numpy()
        return self._calibrate(scored)

    def open_relations(self, splits: list[str]):
        """Gives the trained model all relations, the unseen ones by their texts, and calibrates it; `splits` can then
        be scored."""
        trainer, model, processor = self.trainer, self.model, self.trainer.processing_class
        described = self._relations(self.relation_text)
        model.set_relations(described, processor, self.negative)
        if self.can_calibrate and (number := int(self._known("validation").sum())) < MIN_ROWS:
            logger.warning("%d validation rows are too few to choose the offsets of held-out relations by", number)
        compute_metrics, trainer.compute_metrics = trainer.compute_metrics, None
        outputs = {
            split: trainer.predict(self.prepared[split], ignore_keys=[]).predictions
            for split in self.labels
            if split == "validation" or split in splits
        }
        trainer.compute_metrics = compute_metrics
        plain = {split: logits for split, (logits, _) in outputs.items()}
        if self.can_calibrate:
            self.compared["not calibrated"] = plain
        # After the prediction, which may change the weights' type.
        examples = self._encode_examples() if self.few_shot_examples else {}
        for number in self.few_shot_examples:
            embeds = {label: vectors[:number] for label, vectors in examples.items()}
            shots = f"{number} example{'s' if number > 1 else ''}"
            shown = {label: [] if label in embeds else texts for label, texts in described.items()}
            for name, relations in ((shots, shown), (f"descriptions and {shots}", described)):
                model._replace_relations(relations, processor, self.negative, embeds)
                self.compared[name] = self._score_anew(outputs)
        if self.relation_text != "labels":
            model.set_relations(self._relations("labels"), processor, self.negative)
            self.compared["label names"] = self._score_anew(outputs)
        if self.untrained is not None:
            self.compared["untrained encoders"] = self._calibrate(self._with_negative_offset(self.untrained))
        model.set_relations(described, processor, self.negative)
        if self.can_calibrate:
            model.set_relation_offsets(dict(zip(self.unseen, map(float, self._offsets(plain)), strict=True)))

    def _with_negative_offset(self, logits: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Split → logits, the negative relation's moved to where they are best for validation's known rows."""
        if self.negative is None or not self.can_calibrate:
            return logits
        known = self._known("validation")
        choice = np.delete(logits["validation"][known], self.places, axis=1)
        offset = negative_offset(choice, self.labels["validation"][known], self.negative_place)
        return {split: _moved(values, self.negative_place, offset) for split, values in logits.items()}

    def score(self, split: str, logits: np.ndarray, prefix: str) -> dict[str, float]:
        """Scores a split by all systems.

        Args:
            logits (num_rows, num_relations): of the trained and calibrated model.

        Returns:
            `<prefix>_seen_micro_f1`, `<prefix>_unseen_micro_f1`, `<prefix>_harmonic_mean`,
            `<prefix>_unseen_only_accuracy` and `<prefix>_unseen_only_macro_f1` (and the other `MACRO_SCORES`); of the
            draws of m, `<prefix>_unseen_only_m5_macro_f1`, `..._macro_f1_std` and so on. Nothing where no row is
            labelled; of seen relations nothing where none has a row.
        """
        labelled = self.labels[split] != -100
        if not labelled.any():
            return {}
        systems = {SYSTEM: logits, **{name: values[split] for name, values in self.compared.items()}}
        self.results[split] = scores = {
            name: score_zero_shot(values[labelled], self.labels[split][labelled], self.places, self.negative_place)
            for name, values in systems.items()
        }
        own = scores[SYSTEM]
        if not own["unseen"]["examples"]:
            logger.warning("%s has no row of the relations held out: their scores are 0 for want of rows", split)
        metrics = {"unseen_micro_f1": own["unseen"]["micro_f1"]}
        if own["seen"]["examples"]:
            metrics |= {"seen_micro_f1": own["seen"]["micro_f1"], "harmonic_mean": own["harmonic_mean"]}
        alone = own["unseen_only"]
        metrics |= {f"unseen_only_{name}": alone[name] for name in ("accuracy", *MACRO_SCORES)}
        for m, draw in alone["draws"].items():
            metrics |= {f"unseen_only_m{m}_{name}": value for name, value in draw.items()}
        return {f"{prefix}_{name}": value for name, value in metrics.items()}

    @property
    def draws(self) -> dict[str, str]:
        """Split → the table of its unseen relations, as far as they have rows."""
        alone = {split: systems[SYSTEM]["unseen_only"] for split, systems in self.results.items()}
        return {split: format_draws(scores) for split, scores in alone.items() if scores["examples"]}

    def for_choosing(self, output):
        """The `PredictionOutput` of validation without the rows of unseen relations."""
        known = ~np.isin(output.label_ids, self.places)
        return output._replace(predictions=output.predictions[known], label_ids=output.label_ids[known])

    def write(self, output_dir: str | Path):
        """Writes `zero_shot.json`."""
        rate = self.rate if self.trainer.args.do_train else None  # a trained model has its offsets
        content = {"unseen": self.unseen, "unseen_rate": rate, "offsets": self.model.config.relation_offsets}
        content["described_from_training_rows"] = seen_in_training(self.descriptions, self.unseen)
        if self.few_shot_examples:
            # Rows that examples were taken from: no more than the highest number asked for.
            labels = self.examples["labels"][:]
            content["few_shot_rows"] = {
                label: labels.count(place) for label, place in zip(self.unseen, self.places, strict=True)
            }
        write_json(Path(output_dir) / "zero_shot.json", content | self.results)

    def format(self) -> str:
        """The tables of all splits that were scored."""
        seen = seen_in_training(self.descriptions, self.unseen)
        about = f"relations never trained on: {', '.join(self.unseen)}"
        about += f"\nNot zero-shot: described from training rows are {', '.join(seen)}" if seen else ""
        tables = []
        for split, systems in self.results.items():
            alone = systems[SYSTEM]["unseen_only"]
            tables.append(
                f"\n{split}, {about}\n{format_zero_shot(systems)}\n\nThe {alone['examples']} rows of the "
                f"unseen relations, with m of these alone to choose from, in %:\n{format_draws(alone)}"
            )
        return "\n".join(tables)

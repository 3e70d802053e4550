# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What `train.py --hold_out_relations` does around training: baselines before, unseen relations and a report after."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from torch.nn import functional as F

from data_scripts.loading import relation_texts
from evaluation_roc.report import replacing
from evaluation_roc.zero_shot import format_zero_shot, negative_offset, score_zero_shot, unseen_offsets
from training_roc.hold_out import FEW_SHOT

logger = logging.getLogger(__name__)
SYSTEM = "retrieval"
"""The model as it is saved."""


class ZeroShotEvaluation:
    """
    Relations that were kept out of training compete in the evaluation. To be made before training; after it,
    `open_relations`, `score` for each split, and `write`.

    Besides the trained model, these are scored:

    - "not calibrated": without the offsets of the unseen relations;
    - "label names": the unseen relations by the words of their labels in place of their descriptions;
    - "4 examples", "descriptions and 4 examples", for each number in `few_shot_examples`: the unseen relations by so
      many of their training rows in place of their descriptions, and by both. A relation that has fewer rows gets all
      of them, and one that has none its descriptions;
    - "untrained encoders": before training, the mean token vector of the text with its markers and types against the
      descriptions, both less their means. The negative relation's score gets the offset that is best on validation.

    All but the first are calibrated in the same way. Nothing is chosen on a row of an unseen relation.

    Args:
        unseen: their labels, the last of `descriptions`.
        descriptions: of all relations, in the order of the data set's ids.
        relation_text: kind of text, as for `relation_texts`.
        rate: for `unseen_offsets`.
        trainer: a RocTrainer with a model that has the seen relations.
        prepared: the encoded splits; `validation` is needed, and `FEW_SHOT` of hold_out for examples.
        few_shot_examples: numbers of examples, 1 to 16.
    """

    def __init__(
        self,
        unseen: list[str],
        descriptions: dict,
        relation_text: str,
        rate: float,
        trainer,
        prepared,
        few_shot_examples: Sequence[int] = (),
    ):
        self.unseen, self.descriptions, self.relation_text, self.rate = unseen, descriptions, relation_text, rate
        self.trainer, self.prepared = trainer, prepared
        labels, self.negative = list(descriptions["relations"]), descriptions["negative_relation"]
        self.places = [labels.index(label) for label in unseen]
        self.negative_place = None if self.negative is None else labels.index(self.negative)
        self.results = {}
        self.untrained = {name: self._untrained(name) for name in prepared if name not in ("train", FEW_SHOT)}
        self.label_names, self.few_shot, self.few_shot_examples = {}, {}, few_shot_examples

    @property
    def model(self):
        return self.trainer.accelerator.unwrap_model(self.trainer.model)

    def _relations(self, kind: str) -> dict[str, list[str]]:
        """Label → texts; the unseen relations' of `kind`, the others' as they were trained."""
        texts, trained = relation_texts(self.descriptions, kind), relation_texts(self.descriptions, self.relation_text)
        return {label: texts[label] if label in self.unseen else trained[label] for label in texts}

    @torch.no_grad()
    def _untrained(self, split: str) -> np.ndarray:
        """(num_rows, num_relations): cosines of texts and descriptions before anything is trained."""
        model, processor = self.model.eval(), self.trainer.processing_class
        texts = self._mean_vectors(self.prepared[split])
        texts = F.normalize(texts - self._mean_vectors(self.prepared["train"], limit=1000).mean(dim=0), dim=-1)
        scores = []
        for descriptions in relation_texts(self.descriptions, "descriptions").values():
            encoded = processor(relations=descriptions, return_tensors="pt").to(model.device)
            vectors = model.relation_encoder.mean_token_vectors(
                encoded["relation_input_ids"], encoded["relation_attention_mask"], model.pair_encoder.text_encoder
            )
            embeds = F.normalize(vectors.float() - model.relation_encoder.center, dim=-1)
            scores.append((texts @ embeds.T).mean(dim=1))
        return torch.stack(scores, dim=1).cpu().numpy()

    def _mean_vectors(self, rows: Dataset, limit: int | None = None) -> torch.Tensor:
        ids = [torch.tensor(row) for row in rows["input_ids"][:limit]]
        vectors = []
        for batch in torch.utils.data.DataLoader(ids, batch_size=64, collate_fn=list):
            batch = torch.nn.utils.rnn.pad_sequence(batch, batch_first=True, padding_value=-1).to(self.model.device)
            states = self.model.pair_encoder.text_encoder(
                input_ids=batch.clamp(min=0), attention_mask=(batch >= 0).long()
            )[0]
            weights = (batch >= 0)[..., None].float()
            vectors.append((states.float() * weights).sum(dim=1) / weights.sum(dim=1))
        return torch.cat(vectors)

    def _encode_examples(self) -> dict[str, torch.Tensor]:
        """Unseen label → pair vectors (num_rows, embedding_dim) of its examples, in the order of their draw."""
        rows, collate = self.prepared[FEW_SHOT], self.trainer.data_collator
        loader = torch.utils.data.DataLoader(rows, batch_size=64, collate_fn=collate)
        embeds = []
        for batch in loader:
            del batch["labels"]
            embeds.append(self.model.encode_pairs(**batch))
        embeds, labels = torch.cat(embeds), np.array(rows["labels"])
        found = {label: embeds[labels == place] for label, place in zip(self.unseen, self.places, strict=True)}
        for label in (label for label, vectors in found.items() if not len(vectors)):
            logger.warning("no training row of %s: it is evaluated by its descriptions, not by examples", label)
        return {label: vectors for label, vectors in found.items() if len(vectors)}

    def _count_examples(self) -> dict[str, int]:
        """Unseen label → rows that its examples were taken from: no more than the highest number asked for."""
        labels = self.prepared[FEW_SHOT]["labels"][:]
        return {label: labels.count(place) for label, place in zip(self.unseen, self.places, strict=True)}

    def _known(self, split: str) -> np.ndarray:
        """Which rows of a split are labelled with a relation that was trained on, or with the negative one."""
        labels = np.array(self.prepared[split]["labels"])
        return (labels != -100) & ~np.isin(labels, self.places)

    def _calibrate(self, logits: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Adds to the unseen relations' columns in every split what validation's rows of others ask for."""
        moved = {name: values.copy() for name, values in logits.items()}
        offsets = unseen_offsets(logits["validation"][self._known("validation")], self.places, self.rate)
        for values in moved.values():
            values[:, self.places] += offsets
        return moved

    @torch.no_grad()
    def _score(self, logits: np.ndarray, pair_embeds: np.ndarray) -> np.ndarray:
        """Logits (num_rows, num_relations) of the relations that the model has now. Args: of `RocOutput`; the negative
        relation's logits are kept where they are the pairs' own thresholds."""
        model = self.model
        model.refresh_memory()
        pairs = torch.from_numpy(pair_embeds).to(model.device)
        threshold = None
        if model.config.learn_negative_threshold and self.negative_place is not None:
            threshold = torch.from_numpy(logits[:, [self.negative_place]]).to(model.device)
        return model.memory(pairs, threshold=threshold, offsets=model.config.relation_offsets).cpu().numpy()

    def open_relations(self, splits: list[str]):
        """Gives the trained model all relations, the unseen ones by their texts, and calibrates it.

        Args:
            splits: those that will be scored.
        """
        splits = sorted({"validation", *splits})
        trainer, model, processor = self.trainer, self.model, self.trainer.processing_class
        compute_metrics, trainer.compute_metrics = trainer.compute_metrics, None
        described = self._relations(self.relation_text)
        model.set_relations(described, processor, self.negative)
        # What the relations are changes nothing of the pairs' vectors: they are computed once.
        outputs = {name: trainer.predict(self.prepared[name], ignore_keys=[]).predictions for name in splits}
        self.plain = {name: logits for name, (logits, _) in outputs.items()}

        def score_anew():
            return self._calibrate({name: self._score(*output) for name, output in outputs.items()})

        if self.relation_text != "labels":
            model.set_relations(self._relations("labels"), processor, self.negative)
            self.label_names = score_anew()
        # After the prediction, which may change the weights' type.
        examples = self._encode_examples() if self.few_shot_examples else {}
        for number in self.few_shot_examples:
            embeds = {label: vectors[:number] for label, vectors in examples.items()}
            shots = f"{number} example{'s' if number > 1 else ''}"
            shown = {label: [] if label in embeds else texts for label, texts in described.items()}
            for name, relations in ((shots, shown), (f"descriptions and {shots}", described)):
                model._replace_relations(relations, processor, self.negative, embeds)
                self.few_shot[name] = score_anew()
        model.set_relations(described, processor, self.negative)
        moved = self._calibrate(self.plain)
        offsets = (moved["validation"] - self.plain["validation"])[0, self.places]
        model.set_relation_offsets(dict(zip(self.unseen, map(float, offsets), strict=True)))
        trainer.compute_metrics = compute_metrics
        untrained = self.untrained
        if self.negative is not None:
            known = self._known("validation")
            choice = np.delete(untrained["validation"][known], self.places, axis=1)
            labels = np.array(self.prepared["validation"]["labels"])[known]
            offset = negative_offset(choice, labels, self.negative_place)
            for values in untrained.values():
                values[:, self.negative_place] += offset
        self.untrained = self._calibrate(untrained)

    def score(self, split: str, logits: np.ndarray, prefix: str) -> dict[str, float]:
        """Scores a split by all systems.

        Args:
            split: its name.
            logits (num_rows, num_relations): of the trained and calibrated model.
            prefix: of the metrics' names.

        Returns:
            `<prefix>_seen_micro_f1`, `<prefix>_unseen_micro_f1`, `<prefix>_harmonic_mean` and
            `<prefix>_unseen_only_accuracy`; nothing where no row is labelled.
        """
        labels = np.array(self.prepared[split]["labels"])
        labelled = labels != -100
        if not labelled.any():
            return {}
        systems = {SYSTEM: logits, "not calibrated": self.plain[split]}
        systems |= {name: values[split] for name, values in self.few_shot.items()}
        if self.label_names:
            systems["label names"] = self.label_names[split]
        systems["untrained encoders"] = self.untrained[split]
        scores = {
            name: score_zero_shot(values[labelled], labels[labelled], self.places, self.negative_place)
            for name, values in systems.items()
        }
        if not scores[SYSTEM]["unseen"]["examples"]:
            logger.warning("%s has no row of the relations held out: their scores are 0 for want of rows", split)
        self.results[split] = scores
        own = scores[SYSTEM]
        return {
            f"{prefix}_seen_micro_f1": own["seen"]["micro_f1"],
            f"{prefix}_unseen_micro_f1": own["unseen"]["micro_f1"],
            f"{prefix}_harmonic_mean": own["harmonic_mean"],
            f"{prefix}_unseen_only_accuracy": own["unseen_only"]["accuracy"],
        }

    def for_choosing(self, split: str, output):
        """A validation split's `PredictionOutput` without the rows of unseen relations; another split's as it is."""
        if split != "validation":
            return output
        known = ~np.isin(output.label_ids, self.places)
        return output._replace(predictions=output.predictions[known], label_ids=output.label_ids[known])

    def write(self, output_dir: str | Path):
        """Prints the tables, and writes `zero_shot.json`."""
        content = {
            "unseen": self.unseen,
            "unseen_rate": self.rate,
            "offsets": self.model.config.relation_offsets,
            **({"few_shot_rows": self._count_examples()} if self.few_shot_examples else {}),
            **self.results,
        }
        with replacing(Path(output_dir) / "zero_shot.json") as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        for split, systems in self.results.items():
            print(f"\n{split}, relations never trained on: {', '.join(self.unseen)}\n{format_zero_shot(systems)}")

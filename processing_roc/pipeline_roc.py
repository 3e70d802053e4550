# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""RelationExtractionPipeline: from a text, a picture and two or more entities to ranked relations, in one call."""

import json
import os
from collections.abc import Mapping, Sequence, Sized
from numbers import Integral, Real
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import AutoModel, Pipeline
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.pipelines.pt_utils import PipelineDataset, PipelineIterator

from .answer_explanation_roc import blank_words, saliency_of_pair
from .answers_roc import candidates_by_type, kept_relations, write_answer
from .inputs_roc import Numbered, collate_inputs, read_input, read_numbered

TASK = "relation-extraction"
PARAMETERS = ("top_k", "threshold", "relations", "filter_by_type", "explain", "timeout")
NUM_KEPT_RELATION_SETS = 8


class RelationExtractionPipeline(Pipeline):
    """
    Retrieves the relation between two entities of a text and its picture. Works with any model of the ROC family:

    ```python
    >>> from transformers import pipeline

    >>> extractor = pipeline("relation-extraction", model="org/roc-mnre", trust_remote_code=True)
    >>> extractor(
    ...     {
    ...         "text": "Maya and Ken on the pier",
    ...         "head": {"start": 0, "end": 4, "type": "person"},
    ...         "tail": {"start": 9, "end": 12, "type": "person"},
    ...         "image": "https://example.org/pier.jpg",
    ...     },
    ...     top_k=1,
    ... )
    [{'label': '/per/per/couple', 'score': 0.93, 'description': 'The head and the tail are two persons in love.'}]
    ```

    The model's answers are over its own relations, or over any others that are described in the call
    (`relations={label: description}`).

    Args:
        top_k (`int`, *optional*, defaults to 5): how many relations to return, best first; `None` returns all.
        threshold (`float` or `"auto"`, *optional*): relations with a lower score, 0 to 1, are left out. `"auto"` is
            the model's own threshold (`config.abstention_threshold`, chosen on validation), and decides whether a
            relation is known at all: those that reach it are returned, whatever the score of the relation that means
            "no relation". That one comes behind them, so that it stands first, and alone, where none does. A model
            that has no such relation then returns an empty list.
        relations (`dict`, *optional*): label → description or list of descriptions, to be scored in place of the
            model's own relations, their examples too. The model keeps its own. The label that means "no relation" to
            the model keeps that meaning if it is among them.
        filter_by_type (`bool`, *optional*, defaults to `False`): whether only those relations are candidates whose
            types (`RocModel.set_relation_types`) fit the `type` of head and tail; the others get no probability and
            are not returned. An entity without a type, or of type `"unknown"`, fits all; a relation for which no
            types are set fits every pair, also among the call's own `relations`. The relation that means "no
            relation" is always a candidate: where nothing else fits, it is the answer, and a model that has no such
            relation returns an empty list. A `threshold`, `"auto"` too, is compared with the probabilities among the
            candidates.
        explain (`bool`, *optional*, defaults to `False`): whether to add an `explanation` to every relation that is
            returned. It takes some seventy times as long as the answer.
        timeout (`float`, *optional*): seconds to wait for a picture from the web; `None` waits for ever.

    They may be given to `pipeline(...)`, for all calls, and to a call.
    """

    _load_processor = True
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def __init__(self, *args, **kwargs):
        self._relation_memories = {}
        super().__init__(*args, **kwargs)
        # A model that comes from training would answer with dropout.
        self.model.eval()

    def __call__(self, inputs: Any, **kwargs) -> Any:
        """
        Args:
            inputs (`dict`, or a list, generator or dataset of `dict`): with

                - `text`: a string (entities' positions count characters) or a list of tokens (they count tokens);
                - `head` and `tail`: the two entities, as [`RocProcessor`] takes them: a mention in the text as
                  `start` and `end`, or an object of the picture by its box; optionally with `type`;
                - or instead `entities`: a list of two or more such entities. Every ordered pair of them is scored,
                  and the picture is encoded once for all;
                - `image` (*optional*): a PIL picture, a path, an http(s) URL, base64 (bare or as a data URL) or the
                  bytes of a picture file;
                - `objects` (*optional*): the picture's objects, as [`RocProcessor`] takes them.
            kwargs: `top_k`, `threshold`, `relations`, `filter_by_type`, `explain` and `timeout` (see the class), and
                `batch_size` and `num_workers`. Within a batch, equal pictures are encoded once.

        Returns:
            For an input with head and tail a list of relations, best first, each a `dict` with

            - `label` (`str`);
            - `score` (`float`): its probability over all the candidates, 0 to 1, calibrated on validation if the
              model was (`config.calibration_temperature`);
            - `description` (`str`, `None` in a classification model): the one that fits the pair best. `None` too
              where the relation's examples fit better, or it has nothing else (`RocModel.add_relation`); then there is
            - `examples` (`int`): how many examples they are;
            - `explanation` (with `explain=True`): what speaks for the relation, a `dict` for JSON with
                - `descriptions`: all of the relation, best first, each with its cosine to the pair as `score` (`None`
                  for a negative relation that the model scores by a learned threshold; an empty list in a
                  classification model). The mean of a relation's examples stands among them, with `description`
                  `None` and `examples`, how many they are;
                - `words`: the text's words with `start` and `end` (in characters; of tokens joined by one blank) and
                  `score`. Markers and types belong to no word, and what was cut off a text that is too long has none;
                - `patches`: `rows` and `columns` of a grid over the picture, `scores` (a list for each row) and `box`,
                  the part of the picture that the grid covers, as corners in fractions of it. `None` without a
                  picture;
                - `objects`: the objects, those of head and tail first, with `box` (corners as fractions of the
                  picture), `role` (`"head"`, `"tail"` or `None`) and `score`. `None` without objects;
                - `margin` and `blank_margin`: the relation's logit less the mean logit of all others, for the pair and
                  for the same pair with masked words and a picture of one colour.

              The last five are given for the best relation and `None` for the others. Scores are signed integrated
              gradients (Sundararajan et al., 2017): those of words and patches add up to `margin - blank_margin`, up
              to the error of numerical integration. An object's score is the share of the patches' that passes
              through its token in the model. See `RocModel.get_saliency`.

            For an input with `entities` a list with a `dict` for each ordered pair: `head`, `tail` (the entities as
            they were given) and `relations`, a list as above. For several inputs a list of these; an iterator for a
            generator or a dataset.

        Raises:
            ValueError: for an input that is not as above. The message names the field, and among several inputs the
                number of the input, from 0. Also for a parameter out of its range, for `threshold="auto"` where no
                threshold has been chosen for the relations (as for those of the call), for `filter_by_type` where
                none of the relations has types, and for `relations` given to a model with
                `objective="classification"`.
            TypeError: for an unknown parameter.
        """
        if isinstance(inputs, (list, tuple)) and not inputs:
            return []
        return super().__call__(list(inputs) if isinstance(inputs, tuple) else inputs, **kwargs)

    def _sanitize_parameters(self, **parameters):
        parameters.pop("local_files_only", None)  # `pipeline` hands on what was meant for loading
        if unknown := parameters.keys() - set(PARAMETERS):
            raise TypeError(f"{type(self).__name__} takes no {', '.join(sorted(unknown))}")
        preprocess = {
            name: parameters[name] for name in ("filter_by_type", "explain", "timeout") if name in parameters
        }
        for name in ("explain", "filter_by_type"):
            if not isinstance(preprocess.get(name, False), bool):
                raise ValueError(f"{name} must be True or False, got {preprocess[name]!r}")
        postprocess = {name: parameters[name] for name in ("top_k", "threshold") if name in parameters}
        top_k, threshold = (postprocess.get(name) for name in ("top_k", "threshold"))
        if top_k is not None and (not isinstance(top_k, Integral) or isinstance(top_k, bool) or top_k < 1):
            raise ValueError(f"top_k must be a positive integer, or None for all relations, got {top_k!r}")
        if threshold not in (None, "auto") and (
            not isinstance(threshold, Real) or isinstance(threshold, bool) or not 0 <= threshold <= 1
        ):
            raise ValueError(f'threshold must be a probability, 0 to 1, or "auto", got {threshold!r}')
        forward = {name: parameters[name] for name in ("threshold",) if name in parameters}
        if "relations" in parameters:
            relations = parameters["relations"]
            forward["relation_memory"] = None if relations is None else self._relation_memory(relations)
        return preprocess, forward, {**postprocess, **forward}

    def _relation_memory(self, relations):
        """The caller's descriptions, encoded; the sets that were used last are kept."""
        try:
            key = json.dumps(relations)
        except (TypeError, ValueError):
            key = None  # nothing that could be encoded: the model says what is wrong
        memory = self._relation_memories.get(key)
        if memory is None:
            try:
                memory = self.model.make_relation_memory(relations, self.processor)
            except ValueError as error:
                raise ValueError(f"relations: {error}") from error
        # A new dictionary, not a change to the one that another thread may be reading.
        kept = [item for item in self._relation_memories.items() if item[0] != key]
        self._relation_memories = dict([*kept[1 - NUM_KEPT_RELATION_SETS :], (key, memory)])
        return memory

    def preprocess(self, inputs: Mapping, **parameters) -> dict[str, Any]:
        return self._collate([read_input(inputs, **parameters)])

    def _collate(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return collate_inputs(examples, self.processor, self.dtype)

    def _forward(self, model_inputs: dict[str, Any], threshold=None, relation_memory=None) -> dict[str, list]:
        outputs = self.model(**model_inputs["tensors"], relation_memory=relation_memory)
        logits, candidates = outputs.logits / self.model.config.calibration_temperature, None
        if model_inputs["types"] is not None:
            candidates = candidates_by_type(self.model, model_inputs["types"], relation_memory)
            logits = logits.masked_fill(~candidates, float("-inf"))
        scores = logits.softmax(dim=-1)
        if candidates is not None:
            scores = scores.masked_fill(~candidates, 0)  # nan, where there is no candidate at all
        nearest = cosines = saliency = None
        if outputs.pair_embeds is not None:
            nearest = self._description_cosines(outputs.pair_embeds, relation_memory)
            nearest = nearest.nan_to_num(float("-inf")).argmax(dim=-1)
        if model_inputs["words"] is not None:
            config = self.model.config if relation_memory is None else relation_memory.config
            # What a threshold leaves nothing of is not shown; its best relation takes the place.
            masks = [None] * len(scores) if candidates is None else candidates
            kept = [kept_relations(row, config, threshold, mask) for row, mask in zip(scores, masks, strict=True)]
            first = [(places or [row.argmax()])[0] for places, row in zip(kept, scores, strict=True)]
            saliency = self._saliency(model_inputs, scores.new_tensor(first, dtype=torch.long), relation_memory)
            if outputs.pair_embeds is not None:
                cosines = self._description_cosines(outputs.pair_embeds, relation_memory)
        answers, start = [], 0
        for example in model_inputs["examples"]:
            rows = slice(start, start := start + len(example["pairs"]))
            answer = {"scores": scores, "candidates": candidates, "nearest": nearest, "cosines": cosines}
            answer["saliency"] = saliency
            answer = {name: None if values is None else values[rows] for name, values in answer.items()}
            answers.append({"example": example, **answer})
        return {"answers": answers}

    def _description_cosines(self, pair_embeds, relation_memory):
        cosines = self.model.description_cosines(pair_embeds, relation_memory)
        memory = self.model.memory if relation_memory is None else relation_memory
        rows = [memory.rows_of(index) for index in memory.config.id2label]
        table = cosines.new_full((len(cosines), len(rows), max(map(len, rows))), float("nan"))
        for index, places in enumerate(rows):
            table[:, index, : len(places)] = cosines[:, places]
        return table

    def _saliency(self, model_inputs: dict[str, Any], targets, relation_memory) -> list[dict[str, Any]]:
        """What in each pair speaks for its relation in `targets` (num_pairs,)."""
        tensors, words = model_inputs["tensors"], model_inputs["words"]
        blank = blank_words(tensors["input_ids"], words["word_ids"], self.processor.tokenizer)
        found = self.model.get_saliency(
            **tensors, blank_input_ids=blank, targets=targets, relation_memory=relation_memory
        )
        return [
            saliency_of_pair(found, row, {**words, **tensors}, shown)
            for row, shown in enumerate(model_inputs["shown"])
        ]

    def postprocess(
        self,
        model_outputs: dict[str, Any],
        top_k: int | None = 5,
        threshold: float | str | None = None,
        relation_memory=None,
    ) -> list[dict[str, Any]]:
        answer = model_outputs["answers"]
        if isinstance(answer, list):  # a batch of one comes whole, of a larger one its single answers
            (answer,) = answer
        config = self.model.config if relation_memory is None else relation_memory.config
        pairs = range(len(answer["scores"]))
        ranked = [write_answer(answer, row, config, top_k, threshold) for row in pairs]
        example = answer["example"]
        if example["is_one_pair"]:
            return ranked[0]
        entities = example["entities"]
        return [
            {"head": entities[i], "tail": entities[j], "relations": relations}
            for (i, j), relations in zip(example["pairs"], ranked, strict=True)
        ]

    def get_iterator(self, inputs, num_workers, batch_size, preprocess_params, forward_params, postprocess_params):
        # The base class collates by padding tensors; here the processor makes the batch, as it does for training.
        if isinstance(inputs, Sized):
            dataset = PipelineDataset(Numbered(inputs), read_numbered, preprocess_params)
        else:
            num_workers = min(num_workers, 1)  # several workers would each go through the whole generator
            dataset = PipelineIterator(enumerate(inputs), read_numbered, preprocess_params)
        if num_workers > 0:
            os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        loader = DataLoader(dataset, num_workers=num_workers, batch_size=batch_size, collate_fn=self._collate)
        answers = PipelineIterator(loader, self.forward, forward_params, loader_batch_size=batch_size)
        return PipelineIterator(answers, self.postprocess, postprocess_params)

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any):
        """Saves the model and its processor, and with them the code, this file too."""
        self.model.save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory, **kwargs)


# `pipeline` finds the task by name where it is given a model and a processor that are loaded already. Code of another
# checkpoint that was here first stays: a checkpoint's own file is found through its config.
if TASK not in PIPELINE_REGISTRY.get_supported_tasks():
    PIPELINE_REGISTRY.register_pipeline(
        TASK, pipeline_class=RelationExtractionPipeline, pt_model=AutoModel, type="multimodal"
    )

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""RelationExtractionPipeline: from a text, a picture and two or more entities to ranked relations, in one call; and
without the entities, which it finds, to triples.

Behind the class: an input read and its picture fetched, entities found by a tagger and a detector, what becomes of
scores in an answer, and an explanation as plain data.
"""

import asyncio
import base64
import ipaddress
import itertools
import math
import operator
import os
import re
import socket
from bisect import bisect
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from numbers import Integral, Real
from typing import Any

import httpx2
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, StackDataset, Subset
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForObjectDetection,
    AutoModelForTokenClassification,
    AutoModelForZeroShotObjectDetection,
    AutoTokenizer,
    ObjectDetectionPipeline,
    Pipeline,
    TokenClassificationPipeline,
    ZeroShotObjectDetectionPipeline,
    pipeline,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_ZERO_SHOT_OBJECT_DETECTION_MAPPING_NAMES
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.pipelines.pt_utils import PipelineDataset, PipelineIterator

from .spans_and_boxes_roc import (
    ENTITY_KEYS,
    MIN_SHOWN,
    WHOLE,
    Box,
    Example,
    Found,
    Mention,
    Region,
    by_score,
    check_string,
    find_mentions,
    find_objects,
    follow,
    in_one_word,
    join_tokens,
    plain,
    present,
    read_entities,
    read_example,
    read_objects,
    same_entity,
    share_shown,
    shown_part,
    type_of_label,
    without_score,
    words_of,
)

TASK = "relation-extraction"
FIELDS = ("text", "tokens", "head", "tail", "entities", "objects", "image")
ROW_FIELDS = ("id", "image_id", "relation")
"""What else a row of a data set has: nothing of it is read."""
FINDING = ("entity_tagger", "object_detector", "candidate_labels", "entity_types", "nms_threshold", "max_entities")
"""The parameters that say how the entities of a post are found."""
NUM_PAIRS = 32
"""How many pairs go through the model at once, unless a `batch_size` is given."""
NUM_CHECKED_DESCRIPTIONS = 64
"""How many of a model's descriptions show whether a tokenizer is the model's own."""
DEADLINE = 30.0
MAX_PICTURE_BYTES = 64 * 2**20
MAX_REDIRECTS = 5
NAT64 = ipaddress.ip_network("64:ff9b::/96")
NUM_KEPT_RELATION_SETS = 8
RELATION_SETTINGS = ("negative_relation", "abstention_threshold", "relation_descriptions", "relation_examples")
"""What of the model's config a memory of a call's own relations depends on."""


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
        timeout (`float`, *optional*, defaults to 30): seconds until a picture from the web must be there as a whole;
            `None` waits for ever. It may have 64 MiB and come by five redirects.
        from_network (`bool`, *optional*, defaults to `False`): whether inputs come from strangers. An `image` is then
            base64 or the URL of a public address (not a private, loopback or link-local one, also after a redirect,
            and without a proxy); paths, bytes, arrays and PIL pictures are refused.

        entity_tagger (*optional*): finds the mentions of a text for which no entities are given. `"spacy:NAME"`, an
            installed spaCy pipeline; a token-classification model, by its folder or its name on the Hub; a pipeline of
            either library; or a function: text → list of mentions, in any form that an entity may have, optionally
            with `score`. Of mentions that overlap the longest stays, the first of equals. Mentions of the same words,
            whatever their case, and of the same type are one entity.
        object_detector (*optional*): finds the objects of a picture in the same way. An object-detection or
            zero-shot-object-detection model, by its folder or its name on the Hub; a pipeline of it; or a function:
            PIL picture → list of objects, in any form that `objects` may have, optionally with `score`. No more than
            the processor's `max_objects`, the best, are kept, and of none that the image processor crops away.
        candidate_labels (`list[str]`, *optional*): what a zero-shot detector looks for.
        entity_types (`dict`, *optional*): label of tagger or detector → the type that the model knows such an entity
            by, or `None` for what is no entity. A label that is not among them, and is none of the words in
            `config.relation_types`, becomes person, organization, location or miscellaneous where a mention has one
            of the usual labels for these, and `"unknown"` where it has another; numbers and times are no entities. An
            object then has no type.
        nms_threshold (`float`, *optional*, defaults to 0.5): an object that is found is left out if its intersection
            over union with a better one is larger, whatever their labels.
        max_entities (`int`, *optional*, defaults to 32): most entities of a post. Those with the best scores stay;
            one without a score counts as if it were sure. The answer says how many are left out.

    They may be given to `pipeline(...)`, for all calls, and to a call. A tagger or detector that is named is loaded
    once, onto the model's device. Neither runs in worker processes: with one, `num_workers` changes nothing.
    """

    _load_processor = True
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def __init__(self, *args, **kwargs):
        self._relation_memories, self._finders = {}, {}
        super().__init__(*args, **kwargs)
        check_tokenizer(self.model, self.processor)
        # A model that comes from training would answer with dropout.
        self.model.eval()

    def __call__(self, inputs: Any, **kwargs) -> Any:
        """
        Args:
            inputs (`dict`, or a list, column, generator or dataset of `dict`): a row of a data set, or

                - `text`: a string (entities' positions count characters) or a list of tokens (they count tokens); the
                  latter may also be called `tokens`;
                - `head` and `tail`: the two entities, in any of the forms that [`RocProcessor`] takes: a mention in
                  the text as `start` and `end`, or an object of the picture by its box, optionally with `type`; what
                  a token-classification or object-detection pipeline gives; `(start, end)`; words of the text;
                - or instead `entities`: a list of two or more such entities. Every ordered pair of them is scored,
                  and the picture is encoded once for all; each pair has the boxes of the others as `objects`, too.
                  One that is there again (at the same place, whatever its type) is passed over;
                - or none of these, with an `entity_tagger` or `object_detector`: a bare post, whose entities are
                  found. Its text may be blank, or missing if there is an image. Its `objects`, if any are given, are
                  its objects, and the detector is not asked;
                - `image` (*optional*): an http(s) URL, a PIL picture, an array or tensor, a path, base64 (bare or in a
                  data URL), the bytes of a picture file, or a data set's `{"bytes", "path"}`;
                - `objects` (*optional*): the picture's objects, as [`RocProcessor`] takes them.
            kwargs: those of the class, and `batch_size` and `num_workers`. `batch_size` inputs are prepared together,
                equal pictures among them encoded once, and no more than `batch_size` pairs go through the model at
                once (32 by default, with one input at a time).

        Returns:
            For an input with head and tail a list of relations, best first, each a `dict` with

            - `label` (`str`);
            - `score` (`float`): its probability over all the candidates, 0 to 1, calibrated on validation if the
              model was (`config.calibration_temperature`);
            - `description` (`str`, `None` in a classification model): the one that fits the pair best. `None` too
              where the relation's examples fit better, or it has nothing else (`RocModel.add_relation`); then there is
            - `examples` (`int`): how many examples they are;
            - `num_truncated_tokens` (`int`), where the text was too long for the processor's `max_length`: so many of
              its tokens, those farthest from head and tail, were not read;
            - `explanation` (with `explain=True`): what speaks for the relation, a `dict` for JSON with
                - `descriptions`: all of the relation, best first, each with its cosine to the pair as `score` (`None`
                  for a negative relation that the model scores by a learned threshold; an empty list in a
                  classification model). The mean of a relation's examples stands among them, with `description`
                  `None` and `examples`, how many they are;
                - `words`: the text's words with `start` and `end` (in characters; of tokens joined by one blank) and
                  `score`. Markers and types belong to no word, and what was cut off a text that is too long has none;
                - `patches`: `rows` and `columns` of a grid over the picture, `scores` (a list for each row) and `box`,
                  the part of the picture that the grid covers, as corners in fractions of it, or `None` where the
                  image processor does not tell. `None` without a picture;
                - `objects`: those of the input in their order, behind a head or tail that is not among them, with
                  `index` (their place in `objects`, behind which are the boxes of `entities`; or `None`), `name`,
                  `box` (as given, as corners in fractions of the picture), `role` (`"head"`, `"tail"` or `None`) and
                  `score` (`None` for one that the image processor crops away). `None` without objects;
                - `margin` and `blank_margin`: the relation's logit less the mean logit of all others, for the pair and
                  for the same pair with masked words and a picture of one colour.

              The last five are given for the best relation and `None` for the others. Scores are signed integrated
              gradients (Sundararajan et al., 2017): those of words and patches add up to `margin - blank_margin`, up
              to the error of numerical integration. An object's score is the share of the patches' that passes
              through its token in the model. See `RocModel.get_saliency`.

            For an input with `entities` a list with a `dict` for each ordered pair: `head`, `tail` (the entities as
            they were given) and `relations`, a list as above.

            For a bare post a `dict` with

            - `entities`, mentions in the order of the text, then objects, best first. Each has `index` (its place
              here), `kind` (`"text"` or `"object"`), `name` (a mention's words; what the detector calls an object,
              numbered from the second on), `type`, `score` (of tagger or detector; `None` if it tells none); `start`
              and `end`, its first mention in characters of the text (of tokens joined by one blank), and `mentions`,
              all of them as `[start, end]`; or `box`, corners as fractions of the upright picture. What it has not is
              `None`, `mentions` an empty list;
            - `triples`: `head` and `tail` (places in `entities`), `relation` (its label), `score`, `description`,
              `threshold` (what the score had to reach, or `None`), `head_span` and `tail_span` (the mentions that the
              pair was read at, of several those that begin nearest to each other; `None` of an object),
              `num_truncated_tokens`, and `examples` and `explanation` as above. The relation that means "no relation"
              and what is less probable are none. By default a pair has one triple (`top_k`), the threshold is the
              model's own if it has one (`"auto"`), and if any relation has types, pairs that fit none are not scored
              (`filter_by_type`);
            - `num_entities_left_out`: how many entities were found and are not there, as they are too many or cropped
              away.

            For several inputs a list of these; an iterator for a generator or a dataset.

        Raises:
            ValueError: for an input that is not as above. The message names the field, and among several inputs the
                number of the input, from 0. Also for a parameter out of its range, for `threshold="auto"` where no
                threshold has been chosen for the relations (as for those of the call), for `filter_by_type` where
                none of the relations has types, for `explain` with a slow tokenizer, for `relations` given to a
                model with `objective="classification"`, and for a tagger or detector that is not there, is none, or
                gives what is no mention or object.
            TypeError: for an unknown parameter.
        """
        given = self._batch_size if kwargs.get("batch_size") is None else kwargs["batch_size"]
        batch_size = NUM_PAIRS if given is None else given
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
            raise ValueError(f"batch_size must be a positive integer, got {batch_size!r}")
        inputs = inputs.to_dict("records") if hasattr(inputs, "iterrows") else plain(inputs)
        if isinstance(inputs, Sequence) and not isinstance(inputs, (str, bytes, Dataset)):
            inputs = list(inputs)
        elif not isinstance(inputs, (Mapping, str, bytes, Dataset)) and isinstance(inputs, Iterable):
            # A data set of the datasets library is none of torch's.
            is_indexed = isinstance(inputs, Sized) and hasattr(inputs, "__getitem__")
            inputs = Subset(inputs, range(len(inputs))) if is_indexed else (one for one in inputs)
        if isinstance(inputs, list) and not inputs:
            return []
        return super().__call__(inputs, num_pairs=batch_size, **kwargs)

    def _sanitize_parameters(self, **parameters):
        parameters.pop("local_files_only", None)  # `pipeline` hands on what was meant for loading
        preprocess, forward = (
            {name: parameters.pop(name) for name in names if name in parameters}
            for names in (
                ("filter_by_type", "explain", "timeout", "from_network", *FINDING),
                ("top_k", "threshold", "relations", "num_pairs"),
            )
        )
        if parameters:
            raise TypeError(f"{type(self).__name__} takes no {', '.join(sorted(parameters))}")
        for name in ("explain", "filter_by_type", "from_network"):
            if not isinstance(preprocess.get(name, False), bool):
                raise ValueError(f"{name} must be True or False, got {preprocess[name]!r}")
        timeout = preprocess.get("timeout")
        if timeout is not None and (
            not isinstance(timeout, Real) or isinstance(timeout, bool) or not 0 < timeout < math.inf
        ):
            raise ValueError(f"timeout must be a number of seconds above 0, or None to wait for ever, got {timeout!r}")
        top_k, threshold = forward.get("top_k"), forward.get("threshold")
        if top_k is not None and (not isinstance(top_k, Integral) or isinstance(top_k, bool) or top_k < 1):
            raise ValueError(f"top_k must be a positive integer, or None for all relations, got {top_k!r}")
        if threshold not in (None, "auto") and (
            not isinstance(threshold, Real) or isinstance(threshold, bool) or not 0 <= threshold <= 1
        ):
            raise ValueError(f'threshold must be a probability, 0 to 1, or "auto", got {threshold!r}')
        check_finding(**{name: preprocess[name] for name in FINDING[2:] if name in preprocess})
        for name, load in (("entity_tagger", load_tagger), ("object_detector", load_detector)):
            if preprocess.get(name) is not None:
                preprocess[name] = self._finder(name, load, preprocess[name])
        if "relations" in forward:
            relations = forward.pop("relations")
            memory = None if relations is None else self._relation_memory(relations)
            forward["relation_memory"] = preprocess["relation_memory"] = memory
        return preprocess, forward, {}

    def _finder(self, name: str, load: Callable, given: Any) -> Callable:
        """A tagger or detector, ready to be asked; one that is named is loaded once."""
        if name == "object_detector" and self.model.config.object_features is None:
            raise ValueError("object_detector: this model takes no objects (config.object_features is None)")
        if not isinstance(given, str):
            return load(given, self.device)
        if (name, given) not in self._finders:
            try:
                self._finders[name, given] = load(given, self.device)
            except (OSError, ValueError, ImportError) as error:
                raise ValueError(f"{name} {given!r}: {error}") from error
        return self._finders[name, given]

    def _relation_memory(self, relations):
        """The caller's descriptions, encoded; the sets that were used last are kept."""
        # `repr` tells the label 1 from "1", and writes whatever it is given; the model says what is wrong with it.
        key = repr([relations, *(getattr(self.model.config, name) for name in RELATION_SETTINGS)])
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

    def find_entities(self, inputs: Mapping | Sequence[Mapping], **kwargs) -> list:
        """
        The entities that the pipeline's tagger and detector find in a post; the model is not asked.

        Args:
            inputs: a post, or a list of posts, as a call takes them.
            kwargs: those of the class.

        Returns:
            `entities` of a call's answer; for a list of posts a list of these.

        Raises:
            ValueError: as a call does; also if there is neither tagger nor detector, or the entities are given.
        """
        parameters = {**self._preprocess_params, **self._sanitize_parameters(**kwargs)[0]}
        is_one = isinstance(inputs, Mapping)
        posts = [
            self._read_numbered(post, **parameters) for post in ([(None, inputs)] if is_one else enumerate(inputs))
        ]
        for post in posts:
            if not post["is_post"]:
                raise ValueError(f"{post['where']}the entities are given: there is nothing to find")
        self._find(posts, parameters)
        found = [post["found"]["entities"] for post in posts]
        return found[0] if is_one else found

    def preprocess(self, inputs: Mapping, **parameters) -> dict[str, Any]:
        return self._collate([self._read_numbered((None, inputs), **parameters)], **parameters)

    def _read_numbered(self, numbered: tuple[int | None, Mapping], **parameters) -> dict[str, Any]:
        number, inputs = numbered
        where = "" if number is None else f"input {number}: "
        reading = {name: parameters[name] for name in ("timeout", "from_network") if name in parameters}
        return read_input(inputs, self.processor, where, has_finder(parameters), **reading)

    def _find(self, posts: Sequence[dict[str, Any]], parameters: Mapping):
        finding = {name: parameters[name] for name in FINDING if name in parameters}
        find_entities(posts, self.processor, self.model.config.relation_types or {}, **finding)

    def _fitting_pairs(self, post: Mapping, relation_memory) -> list[tuple[int, int]]:
        """A post's pairs without those that no relation's types allow."""
        if not post["pairs"]:
            return []
        config = self.model.config if relation_memory is None else relation_memory.config
        types = [(post["types"][i], post["types"][j]) for i, j in post["pairs"]]
        fitting = candidates_by_type(self.model, types, relation_memory)
        if config.negative_relation is not None:
            fitting[:, config.label2id[config.negative_relation]] = False
        return list(itertools.compress(post["pairs"], fitting.any(dim=1).tolist()))

    def _collate(
        self, examples: Sequence[dict[str, Any]], explain: bool = False, relation_memory=None, **parameters
    ) -> dict[str, Any]:
        """What `read_input` returns of some inputs → one batch, a row for each pair and every picture once."""
        pictures: dict[Any, Image.Image] = {}
        for example in examples:
            if (image := example["image"]) is not None:
                # The processor knows equal pictures by identity; a data set gives a new object for every row.
                example["image"] = pictures.setdefault((image.size, image.tobytes()), image)
        if posts := [example for example in examples if example["is_post"]]:
            self._find(posts, parameters)
        of_posts = parameters.get("filter_by_type", has_types(self.model, relation_memory))
        by_type = {True: of_posts, False: parameters.get("filter_by_type", False)}
        for post in posts if of_posts else []:
            post["pairs"] = self._fitting_pairs(post, relation_memory)
        pairs = [(example, i, j) for example in examples for i, j in example["pairs"]]
        without_pictures = [{**example, "image": None} for example in examples]
        if not pairs:
            return {"tensors": {}, "is_post": [], "examples": without_pictures}
        images = [example["image"] for example, _, _ in pairs]
        try:
            tensors = self.processor(
                text=[example["text"] for example, _, _ in pairs],
                head=[example["entities"][i] for example, i, _ in pairs],
                tail=[example["entities"][j] for example, _, j in pairs],
                images=images,
                objects=[example["objects"] for example, _, _ in pairs],
                return_tensors="pt",
                return_offsets_mapping=explain,
                return_num_truncated_tokens=True,
            )
        except ValueError as error:
            # Not by the class of `ExampleError`: a processor from the Hub has one of its own.
            if getattr(error, "index", None) is None:
                raise
            example, i, j = pairs[error.index]
            if example["is_post"]:
                i, j = example["owners"][i], example["owners"][j]
            pair = "" if example["is_one_pair"] else f"entities[{i}] as head with entities[{j}] as tail: "
            raise ValueError(f"{example['where']}{pair}{error.problem}") from error
        num_truncated = tensors.pop("num_truncated_tokens").tolist()
        batch = {"tensors": dict(tensors), "types": None, "words": None, "num_truncated": num_truncated}
        batch["is_post"] = [example["is_post"] for example, _, _ in pairs]
        if "pixel_values" in tensors:
            batch["tensors"]["pixel_values"] = tensors["pixel_values"].to(self.dtype)
        if any(by_type[is_post] for is_post in batch["is_post"]):
            batch["types"] = [
                (example["types"][i], example["types"][j]) if by_type[example["is_post"]] else (None, None)
                for example, i, j in pairs
            ]
        if explain:
            batch["words"] = {name: batch["tensors"].pop(name) for name in ("offset_mapping", "word_ids")}
            batch["shown"] = [None if image is None else self._shown_part(image.size) for image in images]
            batch["objects"] = [
                list_objects(_read(example, i, j), shown)
                for (example, i, j), shown in zip(pairs, batch["shown"], strict=True)
            ]
        return {**batch, "examples": without_pictures}

    def _shown_part(self, size: tuple[int, int]) -> Box | None:
        """As the function of this name; None where it knows no answer."""
        try:
            return shown_part(self.processor.image_processor, size)
        except ValueError:
            return None

    def _forward(
        self, model_inputs: dict[str, Any], relation_memory=None, num_pairs: int = NUM_PAIRS, **limits
    ) -> dict[str, list]:
        config = self.model.config if relation_memory is None else relation_memory.config
        tensors, ranked = model_inputs["tensors"], []
        pictures = {name: tensors.pop(name) for name in ("pixel_values",) if name in tensors}
        number = len(model_inputs["is_post"])
        if pictures and number > num_pairs:
            encoder = self.model.pair_encoder.vision_encoder
            pictures["image_embeds"] = encoder(pixel_values=pictures["pixel_values"]).last_hidden_state
        for first in range(0, number, num_pairs):
            portion = {name: _rows(value, slice(first, first + num_pairs)) for name, value in model_inputs.items()}
            portion["tensors"].update(pictures)
            ranked += self._rank(portion, limits, relation_memory)
        answers = []
        for example in model_inputs["examples"]:
            number = len(example["pairs"])
            threshold = limits_of(example["is_post"], config, limits)["threshold"]
            threshold = config.abstention_threshold if threshold == "auto" else threshold
            answers.append({**example, "ranked": ranked[:number], "threshold": threshold})
            ranked = ranked[number:]
        return {"answers": answers}

    def _rank(self, model_inputs: dict[str, Any], limits, relation_memory) -> list[list[dict[str, Any]]]:
        """The relations of each pair that goes through the model at once."""
        config = self.model.config if relation_memory is None else relation_memory.config
        outputs = self.model(**model_inputs["tensors"], relation_memory=relation_memory)
        logits = outputs.logits / self.model.config.calibration_temperature
        candidates = torch.ones_like(logits, dtype=torch.bool)
        if model_inputs["types"] is not None:
            candidates = candidates_by_type(self.model, model_inputs["types"], relation_memory)
            logits = logits.masked_fill(~candidates, float("-inf"))
        scores = logits.softmax(dim=-1).masked_fill(~candidates, 0)  # nan, where there is no candidate at all
        scores, candidates = scores.cpu(), candidates.cpu()
        kept, negative = [], config.label2id.get(config.negative_relation)
        for row, mask, is_post in zip(scores, candidates, model_inputs["is_post"], strict=True):
            places = kept_relations(row, config, mask, **limits_of(is_post, config, limits))
            if is_post:  # what is less probable than no relation is none
                places = list(itertools.takewhile(partial(operator.ne, negative), places))
            kept.append(places)
        cosines = memory = saliency = None
        if outputs.pair_embeds is not None:
            memory = self.model.memory if relation_memory is None else relation_memory
            cosines = self.model.description_cosines(outputs.pair_embeds, relation_memory).cpu()
        if model_inputs["words"] is not None:
            # What a threshold leaves nothing of is not shown; its best relation takes the place.
            first = [places[0] if places else int(row.argmax()) for places, row in zip(kept, scores, strict=True)]
            saliency = self._saliency(model_inputs, first, relation_memory)
        ranked = []
        for row, (places, num_truncated) in enumerate(zip(kept, model_inputs["num_truncated"], strict=True)):
            relations = []
            for index in places:
                label, descriptions = config.id2label[index], []
                relation = {"label": label, "score": float(scores[row, index]), "description": None}
                if cosines is not None:
                    descriptions = rank_descriptions(label, config, cosines[row, memory.rows_of(index)].tolist())
                    best = descriptions[0]
                    relation |= {name: best[name] for name in ("description", "examples") if name in best}
                if saliency is not None:
                    own = saliency[row] if index == places[0] else dict.fromkeys(saliency[row])
                    relation["explanation"] = {"descriptions": descriptions, **own}
                if num_truncated:
                    relation["num_truncated_tokens"] = num_truncated
                relations.append(relation)
            ranked.append(relations)
        return ranked

    def _saliency(self, model_inputs: dict[str, Any], targets: list[int], relation_memory) -> list[dict[str, Any]]:
        """What in each pair speaks for its relation in `targets`."""
        tensors, words = model_inputs["tensors"], model_inputs["words"]
        ids, tokenizer = tensors["input_ids"], self.processor.tokenizer
        # A blank pair's words are the mask token, or what comes next to it.
        blanks = (tokenizer.mask_token_id, tokenizer.unk_token_id, tokenizer.pad_token_id)
        found = self.model.get_saliency(
            **{name: value for name, value in tensors.items() if name != "image_embeds"},
            blank_input_ids=ids.masked_fill(words["word_ids"] >= 0, next(i for i in blanks if i is not None)),
            targets=ids.new_tensor(targets),
            relation_memory=relation_memory,
        )
        places = zip(model_inputs["shown"], model_inputs["objects"], strict=True)
        return [saliency_of_pair(found, row, {**words, **tensors}, *place) for row, place in enumerate(places)]

    def postprocess(self, model_outputs: dict[str, Any]) -> list[dict[str, Any]]:
        answer = model_outputs["answers"]
        if isinstance(answer, list):  # a batch of one comes whole, of a larger one its single answers
            (answer,) = answer
        if answer["is_one_pair"]:
            return answer["ranked"][0]
        if answer["is_post"]:
            found = answer["found"]
            return {"entities": found["entities"], "triples": list_triples(answer), **found}
        entities = answer["entities"]
        return [
            {"head": entities[i], "tail": entities[j], "relations": relations}
            for (i, j), relations in zip(answer["pairs"], answer["ranked"], strict=True)
        ]

    def get_iterator(self, inputs, num_workers, batch_size, preprocess_params, forward_params, postprocess_params):
        # The base class collates by padding tensors; here the processor makes the batch, as it does for training.
        if has_finder(preprocess_params):
            num_workers = 0  # taggers and detectors may be on a GPU, or have threads: neither outlives a fork
        if isinstance(inputs, Sized):
            dataset = PipelineDataset(StackDataset(range(len(inputs)), inputs), self._read_numbered, preprocess_params)
        else:
            num_workers = min(num_workers, 1)  # several workers would each go through the whole generator
            dataset = PipelineIterator(enumerate(inputs), self._read_numbered, preprocess_params)
        if num_workers > 0:
            os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        collate = partial(self._collate, **preprocess_params)
        loader = DataLoader(dataset, num_workers=num_workers, batch_size=batch_size, collate_fn=collate)
        answers = PipelineIterator(loader, self.forward, forward_params, loader_batch_size=batch_size)
        return PipelineIterator(answers, self.postprocess, postprocess_params)

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any):
        """Saves the model and its processor, and with them the code, this file too."""
        self.model.save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory, **kwargs)


def has_finder(parameters: Mapping) -> bool:
    """Whether there is a tagger or a detector."""
    return any(parameters.get(name) is not None for name in ("entity_tagger", "object_detector"))


def limits_of(is_post: bool, config, limits: Mapping) -> dict[str, Any]:
    """`top_k` and `threshold` of a pair: those of the call, or the defaults of its kind of input."""
    is_known = is_post and config.abstention_threshold is not None
    return {"top_k": 1 if is_post else 5, "threshold": "auto" if is_known else None, **limits}


def _rows(value: Any, rows: slice) -> Any:
    """Some pairs' part of what a batch holds for each pair."""
    if isinstance(value, Mapping):
        return {name: one[rows] for name, one in value.items()}
    return None if value is None else value[rows]


def check_tokenizer(model, processor):
    """Refuses a processor that does not read the model's descriptions as the tokens that the model has of them.

    Raises:
        ValueError: as above, or if the tokenizer has tokens that the model has no embeddings for.
    """
    tokenizer, number = processor.tokenizer, len(model.get_input_embeddings().weight)
    problem = f"the processor's tokenizer, {type(tokenizer).__name__}, is not the model's: "
    if len(tokenizer) > number:
        raise ValueError(f"{problem}it has {len(tokenizer)} tokens, the model {number}")
    if model.config.objective != "retrieval" or model.memory.input_ids.is_meta or not model.memory.has_texts():
        return
    rows = model.memory.input_ids[:NUM_CHECKED_DESCRIPTIONS].tolist()
    learned = model.config.negative_relation if model.config.learn_negative_threshold else None
    relations = model.config.relation_descriptions.items()
    texts = [text for label, texts in relations if label != learned for text in texts]
    for text, row in zip(texts, rows, strict=False):
        (ids,) = processor(relations=[text], max_length=tokenizer.model_max_length)["relation_input_ids"]
        if ids != (own := [token for token in row if token >= 0]):
            raise ValueError(f"{problem}the description {text!r:.200} is {ids[:20]} to it and {own[:20]} to the model")


# Inputs


def read_input(
    inputs: Mapping,
    processor,
    where: str = "",
    finds_entities: bool = False,
    timeout: float | None = DEADLINE,
    from_network: bool = False,
) -> dict[str, Any]:
    """Checks an input's fields and opens its picture; what the fields hold is the processor's to check.

    Args:
        inputs: an input of [`RelationExtractionPipeline`], as its `__call__` documents it.
        processor ([`RocProcessor`]): opens the picture.
        where: how an error's message begins.
        finds_entities: whether an input may have none: `is_post` is True then, and what is said of entities below is
            left to [`find_entities`]. Its text may be blank or missing.
        timeout, from_network: the pipeline's parameters, already checked.

    Returns:
        `text`, `objects`, `entities` and the opened `image`; `pairs` of places in `entities`, those to be scored, and
        `is_one_pair`, whether they were given as head and tail; the entities' `types`; `is_post`; `where` as given.

    Raises:
        ValueError: the input is no dict, or one of its fields is missing, unknown or not what it should be.
    """
    if not isinstance(inputs, Mapping):
        raise ValueError(
            f"{where}an input must be a dict with {', '.join(FIELDS)}, got {type(inputs).__name__}; several go in as "
            "a list, a generator or a data set of such dicts"
        )
    if unknown := inputs.keys() - set(FIELDS) - set(ROW_FIELDS):
        raise ValueError(f"{where}unknown fields {sorted(map(str, unknown))}; known are {', '.join(FIELDS)}")
    text, tokens, head, tail, entities, objects, image = (present(inputs.get(field)) for field in FIELDS)
    if text is not None and tokens is not None:
        raise ValueError(f"{where}give either text or tokens, not both")
    text = tokens if text is None else text
    is_post = finds_entities and head is tail is entities is None
    if text is None and not (is_post and image is not None):
        raise ValueError(f"{where}text is missing")
    if is_post:
        named = {}
    elif entities is None:
        named = {"head": head, "tail": tail}
        for name, entity in named.items():
            if entity is None:
                raise ValueError(
                    f"{where}{name} is missing: give head and tail, or entities; or the pipeline an entity_tagger or "
                    "object_detector that finds them"
                )
    else:
        if head is not None or tail is not None:
            raise ValueError(f"{where}give either entities or head and tail, not both")
        entities = plain(entities)
        if not isinstance(entities, Sequence) or isinstance(entities, (str, bytes)) or len(entities) < 2:
            raise ValueError(f"{where}entities must be a list of at least two, got {entities!r:.200}")
        named = {f"entities[{i}]": entity for i, entity in enumerate(entities)}
    image = None if image is None else load_picture(image, processor.open_picture, where, timeout, from_network)
    example = {"where": where, "objects": objects, "image": image, "is_post": is_post, "is_one_pair": False}
    try:
        if is_post:
            text = "" if text is None else text if isinstance(text, str) else join_tokens(text)[0]
            if text.strip():
                check_string(text, "text")
            return {**example, "text": text, "objects": plain(objects)}
        _, read, _ = read_entities(text, named, objects, None if image is None else image.size)
    except ValueError as error:
        raise ValueError(f"{where}{error}") from error
    read, distinct = list(read.values()), []
    for i, entity in enumerate(read):
        if entities is None or not any(same_entity(entity, read[other]) for other in distinct):
            distinct.append(i)
    if len(distinct) < 2:
        raise ValueError(f"{where}entities must be at least two that are not the same, got {entities!r:.200}")
    if entities is not None:  # a pair has the boxes of all as context
        boxes = [read[i] for i in distinct if "box" in read[i]._fields and read[i].place is None]
        room = processor.max_objects - len(objects or [])
        boxes = boxes if len(boxes) <= room else boxes[: max(room - 2, 0)]  # without the pair's own
        example["objects"] = [*(objects or []), *({"name": one.name, "box": one.box} for one in boxes)] or None
    return {
        **example,
        "text": text,
        "entities": list(named.values()),
        "types": [entity.type for entity in read],
        "pairs": [(0, 1)] if entities is None else list(itertools.permutations(distinct, 2)),
        "is_one_pair": entities is None,
    }


def load_picture(
    image: Any,
    open_picture: Callable[[Any, str], Image.Image],
    where: str = "",
    timeout: float | None = DEADLINE,
    from_network: bool = False,
) -> Image.Image:
    """Opens a picture from wherever it is, RGB and upright.

    Args:
        image: an http(s) URL, or whatever `open_picture` takes.
        open_picture: `RocProcessor.open_picture`, for what is no URL.
        where: how an error's message begins.
        timeout, from_network: as in [`RelationExtractionPipeline`].

    Raises:
        ValueError: it is none of these, cannot be fetched, or is no picture.
    """
    if isinstance(image, str) and image[:8].lower().startswith(("http://", "https://")):
        try:
            # In a thread with an event loop of its own: the caller may be inside one.
            with ThreadPoolExecutor(1) as thread:
                content = thread.submit(_run, _download, image, timeout, from_network).result()
        except Exception as error:  # the client raises many types; what they lack is whose picture it was
            problem = f"it takes longer than {timeout} seconds" if isinstance(error, TimeoutError) else error
            raise ValueError(f"{where}image: cannot fetch {image}: {problem}") from error
        return open_picture(content, f"{where}image {image}: ")
    if from_network:
        if not isinstance(image, str):
            raise ValueError(f"{where}image must be an http(s) URL or base64, got {type(image).__name__}")
        image = decode_base64(image, f"{where}image: ")  # never a path
    return open_picture(image, f"{where}image: ")


def decode_base64(text: str, where: str = "") -> bytes:
    """The bytes of base64, bare or in a data URL, in lines or not.

    Raises:
        ValueError: it is none.
    """
    content = re.sub(r"\s+", "", text.partition(",")[2] if text.startswith("data:") else text)
    try:
        if not content:
            raise ValueError("it is empty")
        return base64.b64decode(content, validate=True)
    except ValueError as error:
        shown = repr(text if len(text) <= 100 else text[:100] + "…")
        raise ValueError(f"{where}{shown} is no base64: {error}") from error


def _run(function: Callable, *arguments: Any) -> Any:
    """Runs a coroutine; unlike `asyncio.run`, does not wait for the resolver of names once the time is up."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(function(*arguments))
    finally:
        loop.close()


async def _download(url: str, timeout: float | None, from_network: bool) -> bytes:
    # A client of its own: the Hub's sends headers that are for the Hub alone, and may be told to stay offline.
    client = httpx2.AsyncClient(
        transport=PublicAddresses() if from_network else None,
        trust_env=not from_network,  # a proxy would look for addresses itself
        headers={"Accept-Encoding": "identity", "User-Agent": "roc-relation-extraction"},
        timeout=None,
    )
    async with asyncio.timeout(timeout), client:
        request = client.build_request("GET", url)
        for _ in range(1 + MAX_REDIRECTS):
            response = await client.send(request, stream=True)
            request = response.next_request
            if request is None:
                response.raise_for_status()
                content = bytearray()
                async for part in response.aiter_raw():
                    content += part
                    if len(content) > MAX_PICTURE_BYTES:
                        raise ValueError(f"it has more than {MAX_PICTURE_BYTES >> 20} MiB")
                return bytes(content)
            await response.aclose()
    raise ValueError(f"it is redirected more than {MAX_REDIRECTS} times")


class PublicAddresses(httpx2.AsyncHTTPTransport):
    """Connects to public addresses only, and to the very one that was checked, after a redirect too."""

    async def handle_async_request(self, request):
        url, host = request.url, request.url.raw_host.decode("ascii")
        if url.scheme not in ("http", "https"):
            raise httpx2.UnsupportedProtocol(f"unsupported protocol {url.scheme}://")
        found = await asyncio.get_running_loop().getaddrinfo(host, url.port, type=socket.SOCK_STREAM)
        address = found[0][4][0]
        if not is_public(address):
            raise ValueError(f"{host} is at {address}, which is no public address")
        extensions = {**request.extensions, "sni_hostname": host}
        checked = httpx2.Request("GET", url.copy_with(host=address), headers=request.headers, extensions=extensions)
        return await super().handle_async_request(checked)


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet's, also by the IPv4 address that it stands for."""
    ip = ipaddress.ip_address(address)
    if ip.version == 6:
        inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in NAT64 else ip.ipv4_mapped or ip.sixtofour
        ip = inner or ip
    return ip.is_global and not ip.is_multicast


def _read(example: Mapping, head: int, tail: int) -> Example:
    """Two of an input's entities and its objects, as the processor reads them."""
    image, entities = example["image"], example["entities"]
    size = None if image is None else image.size
    return read_example(example["text"], entities[head], entities[tail], example["objects"], size)


# Entities that are found


def check_finding(
    candidate_labels: Any = None, entity_types: Any = None, nms_threshold: Any = 0.5, max_entities: Any = 32
):
    """
    Raises:
        ValueError: one of these parameters of the pipeline is not what it should be.
    """
    if candidate_labels is not None:
        is_list = isinstance(candidate_labels, Sequence) and not isinstance(candidate_labels, str)
        if not is_list or not candidate_labels or not all(isinstance(one, str) and one for one in candidate_labels):
            raise ValueError(f"candidate_labels must be a list of words, got {candidate_labels!r:.200}")
    if entity_types is not None and not (
        isinstance(entity_types, Mapping)
        and all(isinstance(word, str) or word is None for word in [*entity_types, *entity_types.values()])
    ):
        raise ValueError(f"entity_types must be {{label: type or None}}, got {entity_types!r:.200}")
    if not isinstance(nms_threshold, Real) or isinstance(nms_threshold, bool) or not 0 <= nms_threshold <= 1:
        raise ValueError(f"nms_threshold must be an intersection over union, 0 to 1, got {nms_threshold!r}")
    if not isinstance(max_entities, Integral) or isinstance(max_entities, bool) or max_entities < 1:
        raise ValueError(f"max_entities must be a positive integer, got {max_entities!r}")


def load_tagger(given: Any, device: torch.device) -> Callable[[list[str]], list]:
    """The `entity_tagger` of [`RelationExtractionPipeline`] as a function of several texts.

    Raises:
        OSError, ValueError, ImportError: there is no such tagger, or it is none.
    """
    if isinstance(given, str):
        library, _, name = given.partition(":")
        if library == "spacy":
            given = load_spacy(name)
        else:
            given = load_token_classifier(name if library == "hf" else given, device)
    if isinstance(given, TokenClassificationPipeline):
        if not given.tokenizer.is_fast:
            raise ValueError(f"entity_tagger needs a fast tokenizer; {type(given.tokenizer).__name__} is slow")
        return partial(tag_by_transformer, given)
    if hasattr(given, "pipe_names"):
        if not {"ner", "entity_ruler"} & set(given.pipe_names):
            raise ValueError(f"the spaCy pipeline has no entity tagger ('ner'), only {given.pipe_names}")
        return partial(tag_by_spacy, given)
    if not callable(given) or isinstance(given, Pipeline):
        raise ValueError(
            "entity_tagger must be spacy:NAME, a token-classification model or pipeline, or a function of a text, got "
            f"{type(given).__name__}"
        )
    return lambda texts: [given(text) for text in texts]


def load_spacy(name: str):
    """An installed spaCy pipeline, without what does not find entities."""
    try:
        import spacy
    except ModuleNotFoundError as error:
        raise ValueError(f"spaCy is not installed ({error}): pip install spacy, and the pipeline {name}") from error
    return spacy.load(name, exclude=["tagger", "morphologizer", "parser", "senter", "attribute_ruler", "lemmatizer"])


def load_token_classifier(name: str, device: torch.device) -> TokenClassificationPipeline:
    model = load_trained(AutoModelForTokenClassification, name)
    if "O" not in model.config.label2id:
        raise ValueError(f"it tags no entities: none of its labels is 'O', only {list(model.config.label2id)}")
    tokenizer = AutoTokenizer.from_pretrained(name)
    # Two less than there are positions: RoBERTa's begin behind that of the padding.
    positions = (getattr(model.config, "max_position_embeddings", None) or 514) - 2
    tokenizer.model_max_length = min(tokenizer.model_max_length, positions)
    return pipeline("token-classification", model=model, tokenizer=tokenizer, device=device)


def load_trained(auto_model: Any, name: str):
    """A model of an auto class.

    Raises:
        ValueError: it has no weights for what the class is for.
    """
    model, loaded = auto_model.from_pretrained(name, output_loading_info=True)
    if missing := sorted(key for key in loaded["missing_keys"] if not key.startswith(f"{model.base_model_prefix}.")):
        task = auto_model.__name__.removeprefix("AutoModelFor")
        raise ValueError(f"it is not trained for {task}: it has no weights for {', '.join(missing)}")
    return model


def tag_by_spacy(nlp: Any, texts: list[str]) -> list[list[dict[str, Any]]]:
    return [
        [{"entity_group": one.label_, "start": one.start_char, "end": one.end_char} for one in doc.ents]
        for doc in nlp.pipe(texts)
    ]


def tag_by_transformer(tagger: TokenClassificationPipeline, texts: list[str]) -> list[list[dict[str, Any]]]:
    """A text that is longer than the model can read is read in windows that overlap by half; mentions are whole
    words."""
    tokenizer = tagger.tokenizer
    # Where a tokenizer knows words (WordPiece's), the tag of the first piece is the word's.
    words = getattr(tokenizer.backend_tokenizer.model, "continuing_subword_prefix", None)
    found = tagger(
        texts,
        aggregation_strategy="first" if words else "simple",
        stride=min(tokenizer.model_max_length, 512) // 2,
        batch_size=NUM_PAIRS if tokenizer.pad_token_id is not None else 1,
    )
    for text, entities in zip(texts, found, strict=True):
        for one in entities:
            while one["start"] and in_one_word(text[one["start"] - 1 : one["start"] + 1]):
                one["start"] -= 1
            while in_one_word(text[one["end"] - 1 : one["end"] + 1]):
                one["end"] += 1
    return found


def load_detector(given: Any, device: torch.device) -> Callable[[list[Image.Image], list[str] | None], list]:
    """The `object_detector` of [`RelationExtractionPipeline`] as a function of several pictures and the labels.

    Raises:
        OSError, ValueError, ImportError: there is no such detector, or it is none.
    """
    if isinstance(given, str):
        task, auto_model, parts = "object-detection", AutoModelForObjectDetection, {}
        if AutoConfig.from_pretrained(given).model_type in MODEL_FOR_ZERO_SHOT_OBJECT_DETECTION_MAPPING_NAMES:
            task, auto_model, parts = f"zero-shot-{task}", AutoModelForZeroShotObjectDetection, {"tokenizer": given}
        given = pipeline(task, model=load_trained(auto_model, given), image_processor=given, device=device, **parts)
    if isinstance(given, (ObjectDetectionPipeline, ZeroShotObjectDetectionPipeline)):
        return partial(detect_by_transformer, given)
    if not callable(given) or isinstance(given, Pipeline):
        raise ValueError(
            "object_detector must be an object-detection model or pipeline, or a function of a picture, got "
            f"{type(given).__name__}"
        )
    return lambda pictures, labels: [given(picture) for picture in pictures]


def detect_by_transformer(
    detector: Pipeline, pictures: list[Image.Image], labels: Sequence[str] | None
) -> list[list[dict[str, Any]]]:
    """Boxes that are nothing, or lie outside of the picture once they are rounded to pixels, are left out."""
    name = type(detector.model).__name__
    if not isinstance(detector, ZeroShotObjectDetectionPipeline):
        if labels is not None:
            raise ValueError(f"candidate_labels are for a zero-shot object_detector; a {name} has labels of its own")
        found = detector(pictures)
    elif labels is None:
        raise ValueError(f"object_detector: a {name} finds what candidate_labels name, and there are none")
    else:
        found = detector(pictures, candidate_labels=list(labels))

    def is_inside(box: Mapping, width: int, height: int) -> bool:
        return max(box["xmin"], 0) < min(box["xmax"], width) and max(box["ymin"], 0) < min(box["ymax"], height)

    return [
        [one for one in objects if is_inside(one["box"], *picture.size)]
        for objects, picture in zip(found, pictures, strict=True)
    ]


def find_entities(
    posts: Sequence[dict[str, Any]],
    processor,
    relation_types: Mapping[str, list],
    entity_tagger: Callable | None = None,
    object_detector: Callable | None = None,
    candidate_labels: Sequence[str] | None = None,
    entity_types: Mapping[str, str | None] | None = None,
    nms_threshold: float = 0.5,
    max_entities: int = 32,
):
    """Finds the entities of posts, every distinct text and picture looked at once.

    Args:
        posts: as `read_input` returns them. Added to each are `found`, what the answer says of its entities;
            `entities`, one for each mention and object, as the processor takes them, and their `types`; `owners`,
            which entity of `found` each of them is; and the `pairs` of them to be scored.
        processor ([`RocProcessor`]): knows what of a picture the model is shown.
        relation_types: of the model's config; their words are the types that it knows.
        entity_tagger, object_detector: as `load_tagger` and `load_detector` return them.
        candidate_labels, entity_types, nms_threshold, max_entities: the pipeline's parameters, already checked.

    Raises:
        ValueError: what a function of the caller's returns, or an object that a post brings, is not as it should be.
    """
    read_type = partial(type_of_label, entity_types or {}, set(words_of(list(relation_types.values()))))
    texts = list(dict.fromkeys(post["text"] for post in posts if post["text"].strip()))
    tagged = dict(zip(texts, entity_tagger(texts), strict=True)) if entity_tagger and texts else {}
    pictures = {id(post["image"]): post["image"] for post in posts if post["image"] and not post["objects"]}
    detected = {}
    if object_detector and pictures:
        detected = dict(zip(pictures, object_detector(list(pictures.values()), candidate_labels), strict=True))
    for post in posts:
        try:
            mentions = find_mentions(post["text"], tagged.get(post["text"], []), read_type)
            size = None if post["image"] is None else post["image"].size
            if not post["objects"]:
                objects = find_objects(detected.get(id(post["image"]), []), size, read_type, nms_threshold)
            elif size is None:
                raise ValueError("objects are given, but no picture")
            else:
                objects = read_objects(post["objects"], size)
                post["objects"] = [without_score(one) for one in post["objects"]]
        except ValueError as error:
            raise ValueError(f"{post['where']}{error}") from error
        visible = objects
        if objects and processor.image_processor is not None:
            shown = shown_part(processor.image_processor, size)
            visible = [one for one in objects if share_shown(one.places[0].box, shown) >= MIN_SHOWN]
        found = [*mentions, *visible[: processor.max_objects]]
        best = sorted(range(len(found)), key=lambda i: by_score(found[i]))[:max_entities]
        _take(post, [found[i] for i in sorted(best)])
        post["found"]["num_entities_left_out"] = len(mentions) + len(objects) - len(best)


def _take(post: dict[str, Any], kept: Sequence[Found]):
    """Adds to a post what `find_entities` does: `found`, `entities`, `types`, `owners` and `pairs`."""
    entities: list[dict[str, Any]] = []
    places, owners = [], []
    for index, (same, score) in enumerate(kept):
        first = same[0]
        if isinstance(first, Mention):
            name, start, end = " ".join(post["text"][first.start : first.end].split()), first.start, first.end
            told = {"mentions": [[one.start, one.end] for one in same], "box": None}
        else:
            name, start, end = first.name or first.caption or first.type or "object", None, None
            told = {"mentions": [], "box": list(first.box)}
        kind = "text" if isinstance(first, Mention) else "object"
        entity = {"index": index, "kind": kind, "name": name, "type": first.type, "start": start, "end": end}
        entities.append({**entity, **told, "score": score})
        owners += [index] * len(same)
        places += same
    post["found"] = {"entities": entities}
    post["owners"], post["types"] = owners, [place.type for place in places]
    post["entities"] = [
        {key: value for key, value in place._asdict().items() if key in ENTITY_KEYS and value is not None}
        for place in places
    ]
    if not post["objects"]:
        post["objects"] = [one for one in post["entities"] if "box" in one] or None

    def nearest(head: list[int], tail: list[int]) -> tuple[int, int]:
        """Of two entities the mentions that are nearest to each other; mentions are in order, and an object is one."""
        if isinstance(places[head[0]], Region) or isinstance(places[tail[0]], Region):
            return head[0], tail[0]
        starts = [places[j].start for j in tail]
        around = ((i, bisect(starts, places[i].start)) for i in head)
        pairs = ((i, j) for i, place in around for j in tail[max(place - 1, 0) : place + 1])
        return min(pairs, key=lambda pair: abs(places[pair[0]].start - places[pair[1]].start))

    numbers = [[i for i, _ in same] for _, same in itertools.groupby(enumerate(owners), key=lambda one: one[1])]
    post["pairs"] = [nearest(head, tail) for head, tail in itertools.permutations(numbers, 2)]


# Answers


def has_types(model, relation_memory=None) -> bool:
    """Whether any of the model's relations, or of those in `relation_memory`, says which types it asks for."""
    config = model.config if relation_memory is None else relation_memory.config
    return bool(config.label2id.keys() & (model.config.relation_types or {}).keys())


def candidates_by_type(model, types: Sequence[tuple[str | None, str | None]], relation_memory=None) -> torch.Tensor:
    """The relations that a filter by type leaves: those whose types fit the pair's, and "no relation".

    Args:
        model ([`RocModel`]): with types set for some of the relations, or of those in `relation_memory`.
        types: the (head type, tail type) of each pair, None where it is not known.

    Returns:
        (num_pairs, num_relations) of bool.

    Raises:
        ValueError: none of the relations has types, so there is nothing to filter by.
    """
    config = model.config if relation_memory is None else relation_memory.config
    if not has_types(model, relation_memory):
        raise ValueError(
            "filter_by_type: none of these relations has types; say which they ask for with "
            "model.set_relation_types({label: [head type, tail type]})"
        )
    candidates = model.type_mask(types, relation_memory)
    if config.negative_relation is not None:
        candidates[:, config.label2id[config.negative_relation]] = True
    return candidates


def kept_relations(
    scores: torch.Tensor, config, candidates: torch.Tensor, threshold: float | str | None, top_k: int | None
) -> list[int]:
    """The relations that a threshold and a filter leave, as places in `scores`, best first.

    Args:
        scores, candidates (num_relations,): probabilities, and which relations to choose among, of bool.
        config: of the model, or of the relation memory that was scored.
        threshold: lower scores are left out. "auto" is `config.abstention_threshold`, which decides between relations
            and "no relation": the negative relation, if there is one, comes behind all that reach it.
        top_k: most relations to return; None for all.

    Raises:
        ValueError: "auto", but no threshold has been chosen for these relations.
    """
    kept, last = candidates.clone(), []
    if threshold == "auto":
        if config.abstention_threshold is None:
            raise ValueError(
                'threshold="auto": no threshold has been chosen for these relations; train.py chooses one on '
                "validation for the relations that a model is trained on"
            )
        threshold = config.abstention_threshold
        if config.negative_relation is not None:
            last = [config.label2id[config.negative_relation]]
            kept[last] = False
    if threshold is not None:
        kept &= scores.double() >= threshold
    places = kept.nonzero().flatten()
    if top_k is not None and len(places) > top_k:
        places = places[scores[places] >= scores[places].topk(top_k).values[-1]]
    order = scores[places].argsort(descending=True, stable=True)
    return [*places[order].tolist(), *last][:top_k]


def list_triples(answer: Mapping) -> list[dict[str, Any]]:
    """The triples of a post: what is left of the relations of its pairs."""

    def span(place: int) -> list[int] | None:
        entity = answer["entities"][place]
        return [entity["start"], entity["end"]] if "start" in entity else None

    return [
        {
            "head": answer["owners"][i],
            "tail": answer["owners"][j],
            "relation": relation["label"],
            **{key: value for key, value in relation.items() if key != "label"},
            "threshold": answer["threshold"],
            "head_span": span(i),
            "tail_span": span(j),
            "num_truncated_tokens": relation.get("num_truncated_tokens", 0),
        }
        for (i, j), relations in zip(answer["pairs"], answer["ranked"], strict=True)
        for relation in relations
    ]


def rank_descriptions(label: str, config, cosines: Sequence[float]) -> list[dict[str, Any]]:
    """`[{"description": ..., "score": cosine}, ...]` of one relation, best first; its examples, if it has any, are
    `{"description": None, "examples": how many, "score": cosine with their mean}`.

    Args:
        label: the relation's; `config` names its descriptions and examples.
        cosines: of its descriptions, in their order, then of its examples. Empty for a negative relation that is
            scored by a learned threshold: its scores are None.
    """
    entries = [{"description": text} for text in config.relation_descriptions[label]]
    if label in config.relation_examples:
        entries.append({"description": None, "examples": config.relation_examples[label]})
    if not cosines:
        return [{**entry, "score": None} for entry in entries]
    scored = [{**entry, "score": cosine} for entry, cosine in zip(entries, cosines, strict=True)]
    return sorted(scored, key=lambda entry: entry["score"], reverse=True)


def list_objects(read: Example, shown: Box | None) -> list[dict[str, Any]]:
    """A pair's objects in the model's order: what an explanation says of each, and whether it `is_shown`."""
    roles = iter([role for role, entity in read.pair.items() if isinstance(entity, Region)])
    return [
        {
            "index": region.place,
            "name": region.name,
            "box": list(region.box),
            "role": next(roles, None),
            "is_shown": follow(region.box, shown or WHOLE) is not None,
        }
        for region in read.objects
    ]


def saliency_of_pair(
    saliency: Mapping, row: int, batch: Mapping, shown: Box | None, objects: Sequence[dict]
) -> dict[str, Any]:
    """One pair's `words`, `patches`, `objects`, `margin` and `blank_margin` in numbers, lists and None.

    Args:
        saliency: of a batch of pairs, as the model's `get_saliency` returns it; `row` is the pair's place in it.
        batch: what [`RocProcessor`] made of the pairs, `offset_mapping` and `word_ids` too.
        shown: what pixel_values show of the picture, as `shown_part` returns it; None where that is not known.
        objects: the pair's, as `list_objects` returns them.
    """
    tokens = saliency["tokens"][row].tolist()
    offsets, numbers = (batch[name][row].tolist() for name in ("offset_mapping", "word_ids"))
    words: dict[int, dict[str, Any]] = {}
    for (start, end), number, score in zip(offsets, numbers, tokens, strict=True):
        if number >= 0:  # a word's, not a marker's, a type's or padding
            word = words.setdefault(number, {"start": start, "end": end, "score": 0.0})
            word["start"], word["end"] = min(word["start"], start), max(word["end"], end)
            word["score"] += score
    patches = None
    if "image_index" in batch and batch["image_index"][row] >= 0:
        heat = saliency["patches"][row].tolist()
        box = None if shown is None else list(shown)
        patches = {"rows": len(heat), "columns": len(heat[0]), "box": box, "scores": heat}
    found, place = [], 0
    for one in objects:
        told = {name: one[name] for name in ("index", "name", "box", "role")}
        found.append({**told, "score": float(saliency["objects"][row, place]) if one["is_shown"] else None})
        place += one["is_shown"]
    found.sort(key=lambda one: -1 if one["index"] is None else one["index"])
    margins = {name: float(saliency[name][row]) for name in ("margin", "blank_margin")}
    return {"words": list(words.values()), "patches": patches, "objects": found or None, **margins}


# `pipeline` finds the task by name where it is given a model and a processor that are loaded already. Code of another
# checkpoint that was here first stays: a checkpoint's own file is found through its config.
if TASK not in PIPELINE_REGISTRY.get_supported_tasks():
    PIPELINE_REGISTRY.register_pipeline(
        TASK, pipeline_class=RelationExtractionPipeline, pt_model=AutoModel, type="multimodal"
    )

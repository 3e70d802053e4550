# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The model behind the Space: loaded by its name, and asked about one pair, about all pairs, and over the API."""

import base64
import contextlib
import functools
import os
from collections.abc import Iterable
from typing import Any

from PIL import Image
from post import MAX_ENTITIES, Refusal, check_text, read_picture
from transformers import pipeline

LABEL_TYPES = {"per": "person", "org": "organization", "loc": "location", "misc": "miscellaneous"}
MAX_PAIRS = MAX_ENTITIES * (MAX_ENTITIES - 1)  # of one API request
FINDERS = ("entity_tagger", "object_detector")
PARAMETERS = {"top_k", "threshold", "relations", "filter_by_type", "explain"}


def load_extractor():
    """The pipeline of `ROC_MODEL`, the name of a repository on the Hub or a folder, with what `ROC_ENTITY_TAGGER` and
    `ROC_OBJECT_DETECTOR` name, if they are set; and why these cannot be loaded, or ""."""
    name = os.environ.get("ROC_MODEL")
    finders = {finder: os.environ.get(f"ROC_{finder.upper()}") for finder in FINDERS}
    finders = {finder: given for finder, given in finders.items() if given}
    if not name:
        raise SystemExit(
            "Set ROC_MODEL to a trained ROC model: its name on the Hub, such as org/roc-mnre, or a folder."
        )
    load = functools.partial(pipeline, "relation-extraction", model=name, trust_remote_code=True)
    problem = ""
    try:
        try:
            extractor = load(**finders, max_entities=MAX_ENTITIES) if finders else load()
        except ValueError as error:
            if not finders:
                raise
            extractor, problem = load(), str(error)
    except (OSError, KeyError, ValueError) as error:
        raise SystemExit(f"ROC_MODEL={name} cannot be loaded as a ROC model: {error}") from error
    types = types_in_labels(extractor.model.config.id2label.values())
    if types and not extractor.model.config.relation_types:
        extractor.model.set_relation_types(types)
    return extractor, problem


def types_in_labels(labels: Iterable[str]) -> dict[str, list[str]]:
    """The types of head and tail that labels such as `/per/org/member_of` name; others name none."""
    parts = {label: label.split("/")[1:-1] for label in labels}
    return {
        label: [LABEL_TYPES[part] for part in both]
        for label, both in parts.items()
        if len(both) == 2 and LABEL_TYPES.keys() >= {*both}
    }


def ask(extractor, inputs: dict[str, Any], relations: dict | None, **parameters: Any) -> list[dict[str, Any]]:
    """What the pipeline answers. Relations whose types do not fit a pair's are left out, where any has types."""
    config = extractor.model.config
    offered = config.label2id if relations is None else relations
    has_types = bool(offered.keys() & (config.relation_types or {}).keys())
    with _in_the_models_words():
        return extractor(inputs, relations=relations, filter_by_type=has_types, **parameters)


def find_entities(extractor, post: dict[str, Any], picture: Image.Image | None) -> dict[str, Any]:
    """The post with the entities that the pipeline finds in it, the first two as head and tail."""
    with _in_the_models_words():
        found = extractor.find_entities({"text": post["text"], "image": picture})
    if not found:
        raise Refusal("No entities were found. Mark them yourself: select words of the text.")
    keys = {"text": ("kind", "start", "end", "type"), "object": ("kind", "box", "type")}
    entities = [{key: one[key] for key in keys[one["kind"]]} for one in found]
    return {**post, "entities": entities, "head": 0, "tail": 1 if len(entities) > 1 else None}


def ask_all(
    extractor, post: dict[str, Any], picture: Image.Image | None, relations: dict | None
) -> list[dict[str, Any]]:
    """Every ordered pair of a post's entities with its best relation."""
    entities = post["entities"]
    found = ask(extractor, {"text": post["text"], "entities": entities, "image": picture}, relations, top_k=1)
    return [
        {"head": entities.index(one["head"]), "tail": entities.index(one["tail"]), "relations": one["relations"]}
        for one in found
    ]


@contextlib.contextmanager
def _in_the_models_words():
    """What the model's processor does not take becomes a refusal that says so as a sentence."""
    try:
        yield
    except ValueError as error:
        words = str(error)
        raise Refusal(words[:1].upper() + words[1:] + ("" if words.endswith(".") else ".")) from error


def answer_request(extractor, inputs: Any, parameters: Any) -> list:
    """Answers a request over the network as an Inference Endpoint of the model does; see `extract` in app.py.

    Raises:
        Refusal: for what breaks a limit of this Space, has not this form, or is refused by the pipeline.
    """
    if not isinstance(inputs, dict):
        raise Refusal("inputs must be an object with text, head and tail, or entities.")
    parameters = {} if parameters is None else parameters
    if not isinstance(parameters, dict) or parameters.keys() - PARAMETERS:
        raise Refusal(f"parameters must be an object with some of {', '.join(sorted(PARAMETERS))}.")
    text, entities = inputs.get("text"), inputs.get("entities")
    if isinstance(text, str | list):
        check_text(text if isinstance(text, str) else " ".join(map(str, text)))
    if isinstance(entities, list) and len(entities) * (len(entities) - 1) > MAX_PAIRS:
        raise Refusal(f"entities makes more than {MAX_PAIRS} pairs, the most that this Space answers at a time.")
    if inputs.get("image") is not None:
        # A string from the network is never a path or an address for this machine to open.
        inputs = {**inputs, "image": read_picture(_decode(inputs["image"]), extractor.processor.open_picture)}
    with _in_the_models_words():
        return extractor(inputs, **parameters)


def _decode(image: Any) -> bytes:
    try:
        content = image.partition(",")[2] if image.startswith("data:") else image
        return base64.b64decode("".join(content.split()), validate=True)
    except (AttributeError, ValueError) as error:
        raise Refusal("image must be the base64 of a picture file.") from error

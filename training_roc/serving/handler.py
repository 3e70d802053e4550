# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Serves a ROC model on Inference Endpoints: JSON in, JSON out, the pipeline's answers.

A copy of this file lies in every model repository as `handler.py`, where the endpoint looks for it.
"""

import os
from pathlib import Path
from typing import Any

from transformers import pipeline

PARAMETERS = ("top_k", "threshold", "relations", "filter_by_type", "explain", "timeout", "max_entities")
FINDERS = ("entity_tagger", "object_detector")
BATCH_SIZE = 8
MAX_INPUTS = 64
MAX_PAIRS = 1000
"""Most pairs of a request: n entities are n × (n - 1)."""
MAX_OBJECTS = 100
"""Most objects of an input, which are read anew for every pair."""
MAX_ENTITIES = 12
"""Most entities of a post whose entities are found, unless the request says otherwise."""
MAX_TIMEOUT = 30


class EndpointHandler:
    """
    Posts without entities are answered if there is a tagger or detector to find them: what the environment's
    `ROC_ENTITY_TAGGER` and `ROC_OBJECT_DETECTOR` name, or else a model in the repository's folder `entity_tagger` or
    `object_detector`.

    Args:
        path: the model repository's folder. Default: the folder of this file.

    Raises:
        ValueError: there is no such tagger or detector; the message says what to install.
    """

    def __init__(self, path: str = ""):
        folder = Path(path or Path(__file__).parent)
        self.pipeline = pipeline(
            "relation-extraction",
            model=str(folder),
            trust_remote_code=True,
            from_network=True,
            **name_finders(folder),
        )

    def __call__(self, data: dict[str, Any]) -> list:
        """
        Args:
            data: `{"inputs": ..., "parameters": {...}}`. `inputs` is an object with text, head and tail (or entities,
                or none of these), image and objects, or a list of up to 64 of these; `parameters`, which may be left
                out, holds top_k, threshold, relations, filter_by_type, explain, timeout and max_entities (12 by
                default, of a post whose entities are found). All are as in `RelationExtractionPipeline`
                with `from_network=True`: an image is base64, or an http(s) URL of a public address; over the network a
                string is never a path on this machine. `timeout`, the seconds until a picture from the web must be
                there, is 30 at most. `options`, which clients of the Hub send along (`{"wait_for_model": true}`),
                change nothing.

        Returns:
            As `RelationExtractionPipeline` does: lists, objects, strings and numbers only.

        Raises:
            ValueError: for a request that is not as above or has more than `MAX_PAIRS` pairs or `MAX_OBJECTS` objects;
                the endpoint answers with status 400 and the message.
        """
        inputs, parameters, _ = check_request(data)
        return self.pipeline(inputs, batch_size=BATCH_SIZE, **parameters)


def name_finders(folder: Path) -> dict[str, str]:
    """The tagger and detector of the environment, or else of a model repository's folder."""
    found = {}
    for name in FINDERS:
        if given := os.environ.get(f"ROC_{name.upper()}"):
            found[name] = given
        elif (folder / name).is_dir():
            found[name] = str(folder / name)
    return found


def check_request(data: Any) -> tuple[Any, dict[str, Any], int]:
    """
    What may be said of a request before the pipeline reads its inputs.

    Args:
        data: as a call of [`EndpointHandler`] takes it.

    Returns:
        Its inputs, the pipeline's parameters, and the most pairs that it can have.

    Raises:
        ValueError: as a call does.
    """
    if not isinstance(data, dict) or "inputs" not in data:
        raise ValueError('the request must be a JSON object {"inputs": ..., "parameters": {...}}')
    if unknown := data.keys() - {"inputs", "parameters", "options"}:
        raise ValueError(f"the request has unknown fields {sorted(map(str, unknown))}")
    parameters, options = ({} if data.get(name) is None else data[name] for name in ("parameters", "options"))
    for name, value in (("parameters", parameters), ("options", options)):
        if not isinstance(value, dict):
            raise ValueError(f"{name} must be an object, got {type(value).__name__}")
    if unknown := parameters.keys() - set(PARAMETERS):
        raise ValueError(
            f"parameters has unknown fields {sorted(map(str, unknown))}; known are {', '.join(PARAMETERS)}"
        )
    timeout = parameters.get("timeout", MAX_TIMEOUT)
    if not isinstance(timeout, (int, float)) or not 0 < timeout <= MAX_TIMEOUT:
        raise ValueError(f"timeout must be a number of seconds above 0 and at most {MAX_TIMEOUT}, got {timeout!r}")
    inputs = data["inputs"]
    if isinstance(inputs, list) and len(inputs) > MAX_INPUTS:
        raise ValueError(f"a request may have {MAX_INPUTS} inputs, got {len(inputs)}: send several requests")
    posts = [one for one in (inputs if isinstance(inputs, list) else [inputs]) if isinstance(one, dict)]
    for one in posts:
        if isinstance(one.get("objects"), list) and len(one["objects"]) > MAX_OBJECTS:
            raise ValueError(f"an input may have {MAX_OBJECTS} objects, got {len(one['objects'])}")
    parameters = {"max_entities": MAX_ENTITIES, **parameters}
    found = parameters["max_entities"] if isinstance(parameters["max_entities"], int) else MAX_ENTITIES
    sizes = [len(one["entities"]) for one in posts if isinstance(one.get("entities"), list)]
    sizes += [found for one in posts if not any(one.get(name) for name in ("entities", "head", "tail"))]
    if (number := len(posts) - len(sizes) + sum(size * (size - 1) for size in sizes)) > MAX_PAIRS:
        raise ValueError(
            f"the request has {number} pairs (n entities are n × (n - 1); a post without any counts "
            f"max_entities={found}), more than the {MAX_PAIRS} allowed"
        )
    return inputs, parameters, number

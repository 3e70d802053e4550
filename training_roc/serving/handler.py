# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Serves a ROC model on Inference Endpoints: JSON in, JSON out, the pipeline's answers.

A copy of this file lies in every model repository as `handler.py`, where the endpoint looks for it.
"""

import base64
from pathlib import Path
from typing import Any

from transformers import pipeline

PARAMETERS = ("top_k", "threshold", "relations", "filter_by_type", "explain")
BATCH_SIZE = 8
MAX_PAIRS = 1000
"""Most pairs of a request: n entities are n × (n - 1)."""


class EndpointHandler:
    """
    Args:
        path: the model repository's folder. Default: the folder of this file.
    """

    def __init__(self, path: str = ""):
        folder = path or str(Path(__file__).parent)
        self.pipeline = pipeline("relation-extraction", model=folder, trust_remote_code=True)

    def __call__(self, data: dict[str, Any]) -> list:
        """
        Args:
            data: `{"inputs": ..., "parameters": {...}}`. `inputs` is an object with text, head and tail (or entities),
                image (an http(s) URL or base64) and objects, or a list of these; `parameters`, which may be left out,
                holds top_k, threshold, relations, filter_by_type and explain. All are as in
                `RelationExtractionPipeline`.

        Returns:
            As `RelationExtractionPipeline` does: lists, objects, strings and numbers only.

        Raises:
            ValueError: for a request that is not as above or has more than `MAX_PAIRS` pairs; the endpoint answers
                with status 400 and the message.
        """
        if not isinstance(data, dict) or "inputs" not in data:
            raise ValueError('the request must be a JSON object {"inputs": ..., "parameters": {...}}')
        if unknown := data.keys() - {"inputs", "parameters"}:
            raise ValueError(f"the request has unknown fields {sorted(map(str, unknown))}")
        parameters = {} if data.get("parameters") is None else data["parameters"]
        if not isinstance(parameters, dict):
            raise ValueError(f"parameters must be an object, got {type(parameters).__name__}")
        if unknown := parameters.keys() - set(PARAMETERS):
            raise ValueError(
                f"parameters has unknown fields {sorted(map(str, unknown))}; known are {', '.join(PARAMETERS)}"
            )
        inputs = data["inputs"]
        if isinstance(inputs, list):
            inputs = [receive(item, f"input {number}: ") for number, item in enumerate(inputs)]
        else:
            inputs = receive(inputs)
        posts = [one for one in (inputs if isinstance(inputs, list) else [inputs]) if isinstance(one, dict)]
        sizes = [len(one["entities"]) for one in posts if isinstance(one.get("entities"), list)]
        if (number := len(posts) - len(sizes) + sum(size * (size - 1) for size in sizes)) > MAX_PAIRS:
            raise ValueError(
                f"the request has {number} pairs (n entities are n × (n - 1)), more than the {MAX_PAIRS} allowed"
            )
        return self.pipeline(inputs, batch_size=BATCH_SIZE, **parameters)


def receive(inputs: Any, where: str = "") -> Any:
    """An input with its bare base64 decoded: over the network a string is never a path on this machine."""
    image = inputs.get("image") if isinstance(inputs, dict) else None
    if image is None or (isinstance(image, str) and image.startswith(("http://", "https://", "data:"))):
        return inputs
    try:
        return {**inputs, "image": base64.b64decode("".join(image.split()), validate=True)}
    except (AttributeError, ValueError) as error:
        raise ValueError(f"{where}image must be an http(s) URL or base64, got {str(image)[:100]!r}") from error

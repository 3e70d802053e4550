# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The unit of work: made once where the model is to be, and called with posts as often as there are any."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_scripts.descriptions.files import load_descriptions
from data_scripts.hub_errors import explain_hub_errors
from data_scripts.reading import DataError
from extraction_roc.parts import ROLES
from extraction_roc.posts import Columns, Record, read_id, read_post

MODEL_FILES = ("config.json", "*.safetensors", "processor_config.json", "tokenizer*", "vocab*", "*.model")
"""What in a checkpoint's folder answers depend on."""
SAMPLE = {"text": "Ann met Bob", "entities": [{"start": 0, "end": 3}, {"start": 8, "end": 11}]}


@dataclass(frozen=True)
class ExtractorSettings:
    """What a [`PostExtractor`] is made of.

    Args:
        model_name_or_path: a ROC checkpoint: its name on the Hub, or its folder.
        revision: its branch, tag or commit on the Hub.
        entity_tagger, object_detector, candidate_labels, max_entities: as [`RelationExtractionPipeline`] takes them.
        threshold: "auto", or the probability, 0 to 1, that a relation must reach.
        relations_file: relations to look for in place of the model's own, as `train.py` reads them.
        columns: what the posts' fields are called.
        image_dir: the folder of the posts' pictures, where they are named by paths.
        batch_size: posts that are prepared together, and pairs that go through the model at once.
        device: "cpu", "cuda", "cuda:1" and so on; by default the pipeline chooses.
        dtype: "bfloat16" or "float16", in which the model answers faster and scores change a little; by default the
            checkpoint's own.
    """

    model_name_or_path: str
    revision: str | None = None
    entity_tagger: str | None = None
    object_detector: str | None = None
    candidate_labels: list[str] | None = None
    max_entities: int = 32
    threshold: float | str = "auto"
    relations_file: Path | None = None
    columns: Columns = field(default_factory=Columns)
    image_dir: Path | None = None
    batch_size: int = 32
    device: str | None = None
    dtype: str | None = None


class PostExtractor:
    """A model with its tagger and detector, that makes rows of posts.

    Attributes:
        settings: as given.
        revision: what tells the model from its other versions.
        reads_pictures: whether it can; a post with a picture fails where it cannot.

    Raises:
        DataError: the model, the tagger, the detector or the relations cannot be loaded, or the threshold cannot be
            used with them.
        HubError: one of them is not on the Hub, or may not be read.
    """

    def __init__(self, settings: ExtractorSettings):
        from transformers import pipeline  # this takes seconds, which --help need not wait

        from modeling_roc import RocModel
        from processing_roc import RocProcessor

        self.settings = settings
        name = settings.model_name_or_path
        self.revision = find_revision(name, settings.revision)
        self.asked, self.negative = {"threshold": settings.threshold, "top_k": 1}, set()
        if settings.relations_file is not None:
            content = load_descriptions(settings.relations_file)
            self.negative.add(content["negative_relation"])
            relations = content["relations"].items()
            self.asked["relations"] = {label: entry["descriptions"] for label, entry in relations}
        try:
            with explain_hub_errors(name, "model", settings.revision):
                where = {} if Path(name).is_dir() else {"revision": self.revision}
                model = RocModel.from_pretrained(name, dtype=settings.dtype or "auto", **where)
                processor = RocProcessor.from_pretrained(name, **where)
                self.pipe = pipeline(
                    "relation-extraction",
                    model=model,
                    processor=processor,
                    device=settings.device,
                    entity_tagger=settings.entity_tagger,
                    object_detector=settings.object_detector,
                    candidate_labels=settings.candidate_labels,
                    max_entities=settings.max_entities,
                )
                self.reads_pictures = processor.image_processor is not None
                labels = self.asked.get("relations") or model.config.label2id
                self.asked["filter_by_type"] = not set(labels).isdisjoint(model.config.relation_types or {})
                self.negative.add(model.config.negative_relation)
                self.pipe(SAMPLE, **self.asked)
        except (ValueError, OSError, ImportError) as error:
            raise DataError(f"model {name!r}: {error}") from error

    def __call__(
        self, records: Sequence[tuple[int, Record]], on_done: Callable[[int], Any] | None = None
    ) -> list[dict[str, Any]]:
        """
        Args:
            records: posts with their places in the input.
            on_done: is told, now and then, how many more of them are done.

        Returns:
            A row with the fields of `parts.SCHEMA` for every triple, and one with `post`, `position` and `error` for
            every post that failed; in the order of the places.
        """
        rows, posts = [], []
        for position, record in records:
            name = None
            try:
                if isinstance(record, DataError):
                    raise record
                name = read_id(record, self.settings.columns, position)
                post = read_post(record, self.settings.columns, self.settings.image_dir)
                if len(post.get("entities", ROLES)) > 1:  # one alone has no relation
                    posts.append((position, name, post))
            except ValueError as error:
                rows.append(_failure(position, name, error))
        if on_done is not None:
            on_done(len(records) - len(posts))
        # Of like length together: less padding.
        posts.sort(key=lambda post: ("entities" in post[2], len(post[2]["text"])))
        for start in range(0, len(posts), self.settings.batch_size):
            batch = posts[start : start + self.settings.batch_size]
            rows += self._answer(batch)
            if on_done is not None:
                on_done(len(batch))
        return sorted(rows, key=lambda row: row["position"])

    def _answer(self, batch: Sequence[tuple[int, str, dict]]) -> list[dict[str, Any]]:
        import torch

        inputs = [post for _, _, post in batch]
        try:
            if len(batch) == 1:  # whose errors do not number the input
                answers = [self.pipe(inputs[0], **self.asked)]
            else:
                answers = self.pipe(inputs, batch_size=self.settings.batch_size, **self.asked)
            return [row for one, answer in zip(batch, answers, strict=True) for row in self._rows(*one, answer)]
        except (MemoryError, torch.OutOfMemoryError, torch.AcceleratorError):
            raise
        except Exception as error:
            if len(batch) == 1:
                ((position, name, _),) = batch
                return [_failure(position, name, error)]
        # One of them is broken: the others are asked again without it.
        middle = len(batch) // 2
        return self._answer(batch[:middle]) + self._answer(batch[middle:])

    def _rows(self, position: int, name: str, post: dict[str, Any], answer: Any) -> list[dict[str, Any]]:
        image = post.get("image")
        common = {
            "post": name,
            "position": position,
            "text": post["text"],
            "image": image if isinstance(image, str) and not image.startswith("data:") else None,
            "model": self.settings.model_name_or_path,
            "revision": self.revision,
        }
        if isinstance(answer, dict):
            found = answer["entities"]
            triples = [
                (_entity(found[one["head"]], one["head_span"]), _entity(found[one["tail"]], one["tail_span"]), one)
                for one in answer["triples"]
            ]
        else:
            triples = [
                (*(_given(pair[role], post["text"]) for role in ROLES), {**one, "relation": one["label"]})
                for pair in answer
                for one in pair["relations"]
            ]
        return [
            {
                **common,
                **{
                    f"{role}{part}": value
                    for role, entity in zip(ROLES, pair, strict=True)
                    for part, value in entity.items()
                },
                **{field: one[field] for field in ("relation", "score", "description")},
            }
            for *pair, one in triples
            if one["relation"] not in self.negative
        ]


def _entity(entity: dict, span: list[int] | None) -> dict[str, Any]:
    """An entity of an answer as a row's fields have it; `span` is the mention that was read."""
    start, end = span or (None, None)
    return {"": entity["name"], "_type": entity["type"], "_start": start, "_end": end, "_box": entity["box"]}


def _given(entity: dict, text: str) -> dict[str, Any]:
    """An entity that came with its post, likewise."""
    start, end, box = (entity.get(field) for field in ("start", "end", "box"))
    name = text[start:end].strip() if box is None else entity.get("name") or entity.get("type") or "object"
    return {"": name, "_type": entity.get("type"), "_start": start, "_end": end, "_box": box}


def _failure(position: int, name: str | None, error: Exception) -> dict[str, Any]:
    reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    # A message may quote half a surrogate pair, which no file can hold.
    return {"post": name, "position": position, "error": reason.encode("utf-8", "backslashreplace").decode()}


def find_revision(name: str, revision: str | None = None) -> str:
    """What tells a model from its other versions: its commit on the Hub, or a checksum of its folder's files.

    Raises:
        DataError: the folder holds no model.
        HubError: there is none of this name on the Hub, or it may not be read.
    """
    folder = Path(name)
    if not folder.is_dir():
        from huggingface_hub import hf_hub_download

        with explain_hub_errors(name, "model", revision):
            # From the cache, where there is no network: a file lies in its commit's folder.
            return Path(hf_hub_download(name, MODEL_FILES[0], revision=revision)).parent.name
    files = sorted({path for pattern in MODEL_FILES for path in folder.glob(pattern)})
    if not files:
        raise DataError(f"{name} holds no model: there is no {MODEL_FILES[0]} in it")
    checksum = hashlib.sha256()
    for path in files:
        with open(path, "rb") as file:
            checksum.update(f"{path.name}:{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return f"sha256:{checksum.hexdigest()[:16]}"

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Rows to batches: dynamic padding, each distinct picture decoded once a data set and encoded once a batch."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from datasets.fingerprint import Hasher
from PIL import Image

from modeling_roc.relation_memory_roc import content_proof, evaluating
from processing_roc.processing_roc import PAIR_PLACES, RocProcessor, check_resized, one_size, open_picture


class PictureTable:
    """The distinct pictures of one or more data sets, decoded, resized and cropped once: image_id to uint8 pixels.

    `sizes` tells (width, height) of each upright picture before that, in its pixels, None where it is missing.

    Built by `datasets.map`: kept in its cache and memory-mapped, so that a second run (and every worker of a data
    loader) finds them ready. An `image_id` names one picture in all of `data`, though not every row with it has one.

    Args:
        processor: its image processor resizes and crops.
        data: data sets with the columns `image` (`datasets.Image`, nullable) and `image_id` (string, nullable), for
            instance `[dataset["train"], dataset["validation"]]`.
        num_proc: number of processes that decode.

    Raises:
        ValueError: a picture has no `image_id` or that of another picture, cannot be read, or the processor has no
            image processor.
    """

    def __init__(self, processor: RocProcessor, data: Sequence[datasets.Dataset], num_proc: int | None = None):
        undecoded = datasets.Image(decode=False)
        columns = [part.select_columns(["image", "image_id"]).cast_column("image", undecoded) for part in data]
        rows = datasets.concatenate_datasets(columns)
        self._image_processor, self._states = processor.image_processor, None
        first: dict[str, int] = {}
        self._places: dict[str, int | None] = {}
        images: dict[str, bytes | str] = {}
        for i, (image_id, image) in enumerate(_scan(rows)):
            if image is None:
                self._places.setdefault(image_id, None)
                continue
            if image_id is None:
                raise ValueError(f"{_name_row(data, i)} has a picture but no image_id")
            if image_id not in first:
                self._places[image_id] = len(first)
                first[image_id], images[image_id] = i, image
            elif image != images[image_id] and _digest(image) != _digest(images[image_id]):
                places = " and ".join(_name_row(data, place) for place in (first[image_id], i))
                raise ValueError(f"the image_id {image_id!r} names two pictures, those of {places}; rename one")
        self._places.pop(None, None)
        # A blank picture tells the shape that the image processor makes of every picture.
        self.shape: tuple[int, int, int] = resize_pictures(
            [Image.new("RGB", (64, 64))], processor.image_processor
        ).shape[1:]
        self._pixels = rows.select(list(first.values())).map(
            _prepare,
            batched=True,
            batch_size=64,
            writer_batch_size=64,
            fn_kwargs={"image_processor": processor.image_processor, "shape": self.shape},
            remove_columns=["image"],
            features=datasets.Features(
                {
                    "image_id": datasets.Value("string"),
                    "pixels": datasets.Value("binary"),
                    "size": datasets.List(datasets.Value("int32")),
                }
            ),
            num_proc=num_proc,
            desc="Preparing pictures",
        )
        # Mapping no rows at all gives no columns.
        sizes = dict(zip(first, self._pixels.data.column("size").to_pylist(), strict=True)) if first else {}
        self.sizes = {image_id: tuple(sizes[image_id]) if image_id in sizes else None for image_id in self._places}

    def __len__(self) -> int:
        return len(self._pixels)

    def __contains__(self, image_id: str) -> bool:
        """Whether the data sets name this id; its picture may still be missing."""
        return image_id in self._places

    def __getitem__(self, image_id: str) -> np.ndarray | None:
        """A read-only view of the picture's pixels, (3, height, width), uint8; None where its picture is missing.

        Raises:
            KeyError: the id occurs in none of the data sets.
        """
        place = self._places[image_id]
        if place is None:
            return None
        buffer = self._pixels.data.column("pixels")[place].as_buffer()
        return np.frombuffer(memoryview(buffer).toreadonly(), dtype=np.uint8).reshape(self.shape)

    def encode(
        self,
        encoder: torch.nn.Module,
        autocast: Callable = nullcontext,
        precision: str = "no",
        num_layers: int | None = None,
    ):
        """
        Runs each distinct picture through a frozen vision encoder, for `embeds` to give. As the pixels, what it gives
        is kept in the data sets' cache, by the pictures, the encoder's weights and `precision`, and memory-mapped.

        Args:
            encoder: a `PairEncoder`'s, where it is to run. Its dropout is left out.
            autocast, precision: an Accelerator's `autocast` and `mixed_precision`.
            num_layers: keep what its first so many layers give. Default: its last hidden states.

        Raises:
            ValueError: if the encoder's weights cannot be read: offloaded, sharded or quantized ones.
        """
        proof = content_proof([encoder.config.to_json_string(), *encoder.state_dict().values()])
        if proof is None:
            raise ValueError("the vision encoder's weights cannot be read, so what it gives cannot be kept")

        asked = {} if num_layers is None else {"output_hidden_states": True}

        def encode(batch):
            pixels = np.stack([np.frombuffer(one, dtype=np.uint8).reshape(self.shape) for one in batch["pixels"]])
            values = torch.from_numpy(rescale_and_normalize(pixels, self._image_processor))
            with torch.no_grad(), evaluating(encoder), autocast():
                output = encoder(pixel_values=values.to(encoder.device, encoder.dtype), **asked)
            states = output.last_hidden_state if num_layers is None else output.hidden_states[num_layers]
            return {"states": [one.tobytes() for one in states.float().cpu().numpy()]}

        if len(self):
            self._width = encoder.config.hidden_size
            self._states = self._pixels.map(
                encode,
                batched=True,
                batch_size=32,
                writer_batch_size=32,
                remove_columns=self._pixels.column_names,
                features=datasets.Features({"states": datasets.Value("binary")}),
                new_fingerprint=Hasher.hash([self._pixels._fingerprint, proof.tolist(), precision, num_layers]),
                desc="Encoding pictures",
            )

    def embeds(self, image_ids: Sequence[str]) -> np.ndarray | None:
        """What `encode` made of pictures, (num_images, num_patches, width of the encoder), float32; None before it."""
        if self._states is None:
            return None
        column = self._states.data.column("states")
        buffers = [column[self._places[image_id]].as_buffer() for image_id in image_ids]
        return np.stack([np.frombuffer(buffer, dtype=np.float32).reshape(-1, self._width) for buffer in buffers])


def _scan(rows: datasets.Dataset) -> Iterator[tuple[str | None, bytes | str | None]]:
    """Each row's image_id, and its picture's digest or path."""
    for batch in rows.with_format("arrow").iter(batch_size=100):
        contents, paths = batch["image"].combine_chunks().flatten()
        contents = contents.dictionary_encode()
        digests = [hashlib.sha256(content.as_buffer()).digest() for content in contents.dictionary]
        images = [
            path if place is None else digests[place]
            for place, path in zip(contents.indices.to_pylist(), paths.to_pylist(), strict=True)
        ]
        yield from zip(batch["image_id"].to_pylist(), images, strict=True)


def _digest(image: bytes | str) -> bytes:
    return image if isinstance(image, bytes) else hashlib.sha256(Path(image).read_bytes()).digest()


def _name_row(data: Sequence[datasets.Dataset], index: int) -> str:
    """The row at `index` of all data sets together, by its own id if it has one."""
    for number, rows in enumerate(data):
        if index < len(rows):
            return f"row {rows['id'][index]!r}" if "id" in rows.column_names else f"row {index} of data set {number}"
        index -= len(rows)
    raise IndexError


def _prepare(batch: Mapping[str, list], image_processor: Any, shape: tuple[int, int, int]) -> dict[str, list]:
    names = [f"image_id {image_id!r}: " for image_id in batch["image_id"]]
    opened = [
        check_resized(open_picture(image, name), image_processor, name)
        for image, name in zip(batch["image"], names, strict=True)
    ]
    pixels = resize_pictures(opened, image_processor)
    if pixels.shape[1:] != tuple(shape):
        raise ValueError(f"the image processor must give pictures of one size, got {pixels.shape[1:]} and {shape}")
    return {
        "image_id": batch["image_id"],
        "pixels": [array.tobytes() for array in pixels],
        "size": [list(picture.size) for picture in opened],
    }


def resize_pictures(pictures: Sequence[Image.Image], image_processor: Any) -> np.ndarray:
    """Resizes and crops RGB pictures as `image_processor` does: (N, 3, height, width), uint8.

    Raises:
        ValueError: no pictures are given, the image processor is None, or it gives pictures of unlike sizes.
    """
    if not pictures:
        raise ValueError("no pictures given")
    if image_processor is None:
        raise ValueError("pictures are given, but this processor has no image processor (text only)")
    pixels = image_processor(list(pictures), do_rescale=False, do_normalize=False)["pixel_values"]
    stacked = np.stack(one_size([np.asarray(array) for array in pixels], image_processor))
    return stacked if stacked.dtype == np.uint8 else np.rint(stacked).clip(0, 255).astype(np.uint8)


def rescale_and_normalize(pixels: np.ndarray, image_processor: Any) -> np.ndarray:
    """Rescales and normalizes resized pictures as `image_processor` does: (N, 3, height, width), uint8 to float32.

    Both steps together are linear in each channel, so what the image processor makes of black and of white tells
    them, and a batch costs a fraction of its own call.
    """
    probe = [np.full((3, 1, 1), value, dtype=np.uint8) for value in (0, 255)]
    kwargs = {"do_resize": False, "do_center_crop": False, "input_data_format": "channels_first"}
    black, white = (np.asarray(array, dtype=np.float32) for array in image_processor(probe, **kwargs)["pixel_values"])
    values = pixels.astype(np.float32)
    values *= (white - black) / 255
    values += black
    return values


class RocDataCollator:
    """Makes a batch of rows that `RocProcessor` prepared (unpadded); other columns are ignored.

    Args:
        processor: pads texts and normalizes pictures.
        pictures: where to look up `image_id`; None leaves all pictures away (text only).
        pad_to_multiple_of: pads the text's length to a multiple of this.
        relation_masks (num_datasets, num_relations) of bool: which relations the rows of each data set compete among;
            None: all rows among all.

    Call it with features that hold `input_ids` and `PAIR_PLACES`, with `pictures` also `image_id`, with
    `relation_masks` also `dataset_index`, and optionally `object_boxes` and `labels` (None becomes -100). It returns
    `input_ids` and `attention_mask` (batch, text_length), `head_index`, `tail_index`, `labels` (batch,), `head_span`,
    `tail_span` (batch, 2), all long; if any row has
    objects `object_boxes` (batch, num_objects, 4), float32, and `object_mask` (batch, num_objects); if any has a
    picture `pixel_values` (num_images, 3, height, width), float32, each distinct picture of the batch once, and
    `image_index` (batch,), -1 without a picture, and after `pictures.encode` `image_embeds`; with `relation_masks`
    `relation_mask` (batch, num_relations).
    """

    def __init__(
        self,
        processor: RocProcessor,
        pictures: PictureTable | None = None,
        pad_to_multiple_of: int | None = None,
        relation_masks: torch.Tensor | None = None,
    ):
        self.processor = processor
        self.pictures = pictures
        self.pad_to_multiple_of = pad_to_multiple_of
        self.relation_masks = relation_masks

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        pairs = {name: [feature[name] for feature in features] for name in ("input_ids", *PAIR_PLACES)}
        pairs["object_boxes"] = [feature.get("object_boxes", []) for feature in features]
        batch = self.processor.pad_pairs(pairs, pad_to_multiple_of=self.pad_to_multiple_of)
        if any("labels" in feature for feature in features):
            batch["labels"] = [-100 if feature["labels"] is None else feature["labels"] for feature in features]
        tensors = {name: torch.tensor(values) for name, values in batch.items()}
        if self.relation_masks is not None:
            tensors["relation_mask"] = self.relation_masks[[feature["dataset_index"] for feature in features]]
        if self.pictures is not None:
            tensors.update(self._collate_pictures([feature["image_id"] for feature in features]))
        return tensors

    def _collate_pictures(self, image_ids: Sequence[str | None]) -> dict[str, torch.Tensor]:
        views = {i: self.pictures[i] for i in dict.fromkeys(image_ids) if i is not None}
        views = {i: view for i, view in views.items() if view is not None}
        if not views:
            return {}
        places = {image_id: place for place, image_id in enumerate(views)}
        index = torch.tensor([places.get(image_id, -1) for image_id in image_ids], dtype=torch.long)
        pixels = rescale_and_normalize(np.stack(list(views.values())), self.processor.image_processor)
        tensors = {"pixel_values": torch.from_numpy(pixels), "image_index": index}
        if (embeds := self.pictures.embeds(list(views))) is not None:
            tensors["image_embeds"] = torch.from_numpy(embeds)
        return tensors

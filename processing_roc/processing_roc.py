# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""RocProcessor: a user's text, entity pair and picture, or relation descriptions, to the model's tensors.

Pictures of any mode become RGB and upright (EXIF); the image processor then runs as a whole, or in two halves: resize,
whose result can be kept, and normalize.
"""

import io
import math
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from transformers import BatchFeature, PreTrainedTokenizerBase, ProcessorMixin
from transformers.utils import logging

# Not used here: what this file imports is saved with the processor, and a checkpoint is to bring its pipeline along.
from .pipeline_roc import RelationExtractionPipeline, decode_base64  # noqa: F401
from .spans_and_boxes_roc import (
    MARKERS,
    MIN_SHOWN,
    WHOLE,
    Box,
    Example,
    ExampleError,
    Mention,
    Region,
    Token,
    assemble,
    check_string,
    excerpt,
    follow,
    join_tokens,
    join_words,
    lay_out,
    leave_out,
    move,
    place_tokens,
    plain,
    present,
    read_example,
    share_shown,
    shown_part,
)

logger = logging.get_logger(__name__)
READ = ("text", "type")
"""The pieces of a laid-out text that go through the tokenizer."""
PAIR_PLACES = ("head_index", "tail_index", "head_span", "tail_span")
BYTES = (bytes, bytearray, memoryview)
BASE64 = re.compile(r"[A-Za-z0-9+/\s]{40,}={0,2}\s*")
"""What is taken for base64 where no file is called so; what is shorter is no picture, but may be a file's name."""
SIXTEEN_BIT = 65535
GREYS = {"I": SIXTEEN_BIT, "F": 1}
"""Modes whose values a file may hold beyond what they mean at most."""

SPARE_TOKENS = 100
"""Of a text that is too long so many tokens more are read than can be kept: the last ones suffer from the cut."""

_told_to_be_cut: set[int] = set()
"""The lengths of which a warning has said that a text is longer."""


# Pictures


def open_picture(picture: Any, where: str = "") -> Image.Image:
    """Opens a picture from wherever it is on this machine: RGB, upright, its first frame.

    A picture is what Pillow decodes, up to its limit of size (an error from twice `PIL.Image.MAX_IMAGE_PIXELS` on).
    What stands beside the pixels makes none unreadable: broken EXIF says nothing, and texts or a colour profile longer
    than Pillow reads are left out. Transparency is laid over white. 16-bit grey (modes I;16 and I) is scaled from
    0–65535, floating-point grey (F) from 0–1: a file does not say its range, so values outside are an error and not a
    guess.

    Args:
        picture: a PIL picture (left as it is); an array or tensor of bool, uint8, uint16 (0–65535) or floating point
            (0–1), (height, width) or with 1, 3 or 4 channels as its first or last axis; a path; the bytes of a picture
            file, also as base64, bare or in a data URL; or `{"bytes": ..., "path": ...}`, what a data set holds of a
            picture that is not decoded. Nothing is fetched from the web: [`RelationExtractionPipeline`] does that.
        where: how an error's message begins, such as "image_id 'a.jpg': ".

    Returns:
        A new RGB picture.

    Raises:
        ValueError: `picture` is something else, has no pixels, or values out of range; the file is missing, broken or
            too large.
    """
    if not (isinstance(picture, (Image.Image, str, os.PathLike, *BYTES, Mapping)) or hasattr(picture, "__array__")):
        raise ValueError(
            f"{where}a picture must be a PIL picture, an array, a path, bytes, base64 or a dict of bytes and path, "
            f"got {type(picture).__name__}"
        )
    try:
        return _to_rgb(_load(picture))
    except Exception as error:  # decoders raise nearly every type there is; what they lack is the picture's name
        raise ValueError(f"{where}cannot read picture {_name_picture(picture)}: {error}") from error


def _load(picture: Any) -> Image.Image:
    """What `open_picture` takes, decoded and upright."""
    if isinstance(picture, Image.Image):
        return _first_frame(picture)
    if hasattr(picture, "__array__"):
        return _from_array(picture)
    if isinstance(picture, Mapping):
        if not {"bytes", "path"} >= picture.keys() or not any(value is not None for value in picture.values()):
            raise ValueError("a dict must have 'bytes' or 'path'")
        return _load(picture["path"] if picture.get("bytes") is None else picture["bytes"])
    if isinstance(picture, str):
        if picture[:8].lower().startswith(("http://", "https://")):
            raise ValueError("nothing is fetched from the web here; the pipeline does that")
        is_file = not picture.startswith("data:") and os.path.isfile(picture)
        if not is_file and (picture.startswith("data:") or len(picture) > 255 or BASE64.fullmatch(picture)):
            return read_picture(decode_base64(picture))
    if isinstance(picture, (str, os.PathLike)):
        if not os.path.isfile(picture):
            raise ValueError("there is no such file")
        return read_picture(Path(picture).read_bytes())
    return read_picture(bytes(picture))


def _name_picture(picture: Any) -> str:
    if isinstance(picture, Mapping):
        named = (picture.get("path"), picture.get("bytes"))
        picture = next((one for one in named if isinstance(one, (str, *BYTES))), "of a dict")
    if isinstance(picture, BYTES):
        return f"{len(picture)} bytes"
    if hasattr(picture, "__array__"):
        return f"of shape {tuple(getattr(picture, 'shape', ()))}"
    name = getattr(picture, "filename", "") or picture
    name = str(os.fspath(name) if isinstance(name, os.PathLike) else name)
    return name if len(name) <= 100 else name[:100] + "…"


def _first_frame(image: Image.Image) -> Image.Image:
    frame = image.tell() if getattr(image, "is_animated", False) else 0
    if frame:
        image.seek(0)
    image.load()
    found = upright(image.copy() if frame else image)
    if frame:
        image.seek(frame)
    return found


# What follows, up to `upright`, stands in data_scripts/converters/pictures.py too, word for word: a converter opens
# pictures as the processor does, and neither may import the other. tests/test_pictures.py compares them.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What an EXIF orientation asks for."""


def read_picture(content: bytes) -> Image.Image:
    """Decodes the first frame of a picture file, and turns it upright.

    Raises:
        Exception: of nearly any type, if that cannot be.
    """
    try:
        image = Image.open(io.BytesIO(content))
        image.load()
    except UnidentifiedImageError as error:
        problem = f"no format that Pillow knows begins with {content[:20]!r}" if content else "it is empty"
        raise ValueError(problem) from error
    except ValueError:  # of a PNG, texts or a profile that are longer than Pillow reads
        image = Image.open(io.BytesIO(without_texts(content)))
        image.load()
    return upright(image)


def without_texts(content: bytes) -> bytes:
    """A picture file; if it is a PNG, without its texts and colour profile."""
    kept, place = [content[:8]], 8
    while content.startswith(b"\x89PNG\r\n\x1a\n") and place < len(content):
        end = place + 12 + int.from_bytes(content[place : place + 4], "big")
        if content[place + 4 : place + 8] not in (b"tEXt", b"zTXt", b"iTXt", b"iCCP"):
            kept.append(content[place:end])
        place = end
    return b"".join([*kept, content[place:]])


def upright(image: Image.Image) -> Image.Image:
    """A loaded picture, turned the way its EXIF orientation says.

    Raises:
        ValueError: it has no pixels, or grey values of more than 8 bits out of their range.
    """
    if 0 in image.size:
        raise ValueError(f"it has no pixels ({image.width} × {image.height})")
    if image.mode in GREYS:
        values, highest = np.asarray(image), GREYS[image.mode]
        if not (np.isfinite(values).all() and 0 <= values.min() and values.max() <= highest):
            raise ValueError(f"mode {image.mode} holds values outside 0–{highest}; convert it to 8 bits first")
    try:
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # as many types as there are ways to break it
        turn = None
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        image = Image.fromarray(_eight_bits(np.asarray(image), GREYS.get(image.mode, SIXTEEN_BIT)))
    if image.has_transparency_data:
        straight = image.convert("LA") if image.mode == "La" else image
        straight = straight.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", straight.size, "white"), straight)
    rgb = image.convert("RGB")  # always a copy
    rgb.info = {}  # its orientation is done with
    return rgb


def _eight_bits(values: np.ndarray, highest: float) -> np.ndarray:
    return np.rint(values.astype(np.float64) * (255 / highest)).astype(np.uint8)


def _from_array(values: Any) -> Image.Image:
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values
    array = np.asarray(values)
    first, last = (array.ndim == 3 and array.shape[axis] in (1, 3, 4) for axis in (0, -1))
    if array.ndim != 2 and first == last:
        raise ValueError(
            "it must be (height, width), or have 1, 3 or 4 channels as its first or its last axis, not both"
        )
    if 0 in array.shape:
        raise ValueError("it has no pixels")
    array = np.moveaxis(array, 0, 2) if first else array
    array = array[:, :, 0] if array.shape[2:] == (1,) else array
    if np.issubdtype(array.dtype, np.floating):
        if not 0 <= array.min() <= array.max() <= 1:
            raise ValueError(f"floating-point values must lie in 0–1, got {array.min():g} to {array.max():g}")
        array = _eight_bits(array, 1)
    elif array.dtype in (np.bool_, np.uint16):
        array = _eight_bits(array, 1 if array.dtype == np.bool_ else SIXTEEN_BIT)
    elif array.dtype != np.uint8:
        raise ValueError(f"its values must be uint8, uint16, bool or floating point, got {array.dtype}")
    return Image.fromarray(np.ascontiguousarray(array))


def check_resized(picture: Image.Image, image_processor: Any, where: str = "") -> Image.Image:
    """The picture; `where` is how an error's message begins.

    Raises:
        ValueError: it is so narrow that resizing its shorter side, as the image processor does, would take gigabytes.
    """
    size, most = getattr(image_processor, "size", None), 2 * (Image.MAX_IMAGE_PIXELS or math.inf)
    edge, longest = (getattr(size, f"{name}_edge", None) for name in ("shortest", "longest"))
    if getattr(image_processor, "do_resize", False) and edge and not longest:
        if (pixels := round(edge**2 * max(picture.size) / min(picture.size))) > most:
            width, height = picture.size
            raise ValueError(
                f"{where}{type(image_processor).__name__} would make {pixels:,} pixels of a picture of {width} × "
                f"{height}, as it is so narrow; cut it"
            )
    return picture


def one_size(pixels: Sequence[Any], image_processor: Any) -> Sequence[Any]:
    """What an image processor made of some pictures.

    Raises:
        ValueError: the pictures are of unlike sizes, so that they make no batch.
    """
    if len(sizes := {tuple(np.shape(picture)) for picture in pixels}) > 1:
        raise ValueError(
            f"{type(image_processor).__name__} must give pictures of one size, got {sorted(sizes)} (channels, height, "
            "width): give it do_resize=True and a size of height and width, or a crop"
        )
    return pixels


def distinct_pictures(pictures: Sequence[Any]) -> tuple[list[Any], list[int]]:
    """The distinct pictures in order of appearance, and for each of `pictures` its index among them, or -1 for None.

    The same object, or the same path, counts once.
    """
    found: dict[Any, tuple[int, Any]] = {}
    index = []
    for picture in pictures:
        if picture is None:
            index.append(-1)
        else:
            key = os.fspath(picture) if isinstance(picture, (str, os.PathLike)) else id(picture)
            index.append(found.setdefault(key, (len(found), picture))[0])
    return [picture for _, picture in found.values()], index


# The processor


class _SubProcessors:
    """`get_attributes` of the class, and of an instance: one without an image processor has only its tokenizer."""

    def __get__(self, processor, owner):
        text_only = processor is not None and processor.image_processor is None
        return lambda: ["tokenizer"] if text_only else ["image_processor", "tokenizer"]


class RocProcessor(ProcessorMixin):
    """Turns texts with an entity pair, pictures and relation descriptions into the inputs of `RocModel`.

    The pair is marked in the text, with the entities' types as prompts (ROC paper, section 3.1):
    `[CLS] [HEAD] person : Tom Hanks [/HEAD] lives in [TAIL] location : Los Angeles [/TAIL] [SEP]`.
    An entity may also be an object of the picture, given by its box. Places of entities are places in the joint
    sequence X = [text; objects; patches]: behind the text, the objects of head and tail come first.

    Args:
        image_processor: a transformers image processor, or None for text only.
        tokenizer: a transformers tokenizer; `explain` and offsets need a fast one. The four markers
            `[HEAD] [/HEAD] [TAIL] [/TAIL]` are added to it as special tokens if it lacks them: call
            `model.resize_token_embeddings(len(processor.tokenizer))` then.
        max_length: most tokens of a text or a relation description, special tokens included; capped by the tokenizer's
            `model_max_length`. A longer text keeps both mentions and what is nearest to them; a warning tells it once.
        use_entity_types: whether types are written into the text.
        max_objects: most objects of an example, those of head and tail among them.

    Raises:
        ValueError: the tokenizer is missing, or `max_length` or `max_objects` is not a positive
            integer.

    Example:
        >>> inputs = processor(
        ...     text="Tom Hanks lives in Los Angeles",
        ...     head={"start": 0, "end": 9, "type": "person"},
        ...     tail={"start": 19, "end": 30, "type": "location"},
        ...     images="tom.jpg",
        ...     return_tensors="pt",
        ... )
    """

    get_attributes = _SubProcessors()
    open_picture = staticmethod(open_picture)

    def __init__(self, image_processor=None, tokenizer=None, max_length=128, use_entity_types=True, max_objects=12):
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            raise ValueError(f"RocProcessor needs a tokenizer, got {type(tokenizer).__name__}")
        if not isinstance(use_entity_types, bool):
            raise ValueError(f"use_entity_types must be True or False, got {use_entity_types!r}")
        self.image_processor = image_processor
        given = {"image_processor": image_processor, "tokenizer": tokenizer}
        super().__init__(**{name: given[name] for name in self.get_attributes()})
        self.max_length = _check_positive("max_length", max_length)
        self.max_objects = _check_positive("max_objects", max_objects)
        self.use_entity_types = use_entity_types
        markers = [marker for pair in MARKERS.values() for marker in pair]
        if missing := [marker for marker in markers if marker not in tokenizer.all_special_tokens]:
            tokenizer.add_special_tokens({"extra_special_tokens": missing}, replace_extra_special_tokens=False)
        self._marker_ids = {role: tuple(tokenizer.convert_tokens_to_ids(list(pair))) for role, pair in MARKERS.items()}
        # A marker alone is one token in every tokenizer: what stands around it are the tokenizer's own special tokens.
        wrapped = tokenizer(markers[0], split_special_tokens=False)["input_ids"]
        place = wrapped.index(self._marker_ids["head"][0])
        self._prefix, self._suffix = wrapped[:place], wrapped[place + 1 :]

    @property
    def marker_ids(self) -> list[int]:
        """Token ids of the four markers."""
        return [token for pair in self._marker_ids.values() for token in pair]

    @property
    def model_input_names(self) -> list[str]:
        """Names of the model's inputs that this processor makes for examples."""
        names = ["input_ids", "attention_mask", *PAIR_PLACES, "object_boxes", "object_mask"]
        return [*names, "pixel_values", "image_index"]

    def __call__(
        self,
        text: str | Sequence[str] | Sequence[Sequence[str]] | None = None,
        head: Mapping | Sequence[Mapping] | None = None,
        tail: Mapping | Sequence[Mapping] | None = None,
        images: Any = None,
        objects: Sequence | None = None,
        image_sizes: Any = None,
        relations: Sequence[str] | None = None,
        return_tensors: str | None = None,
        padding: bool | str | None = None,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        return_offsets_mapping: bool = False,
        return_num_truncated_tokens: bool = False,
    ) -> BatchFeature:
        """Prepares one example (`head` is an entity) or a batch (`head` is a list), or relation descriptions, or both.

        Lists may be tuples, arrays, tensors, or columns of a data set or data frame, numbers numpy's or torch's.

        Args:
            text: a string (positions in characters) or a list of tokens (positions in tokens; joined by one blank);
                for a batch a list of these. A string is read as the tokens that a data set stores of it.
            head, tail: a mention in the text: dict with `start` and `end`, `[start, end)`; or an object of the
                picture: dict with one of `box` (corners x0, y0, x1, y1, as fractions of width and height),
                `box_pixels` (corners in pixels of the upright picture), `box_center` (cx, cy, width, height, as
                fractions) and `box_center_pixels`. Optionally `type` (None: no prompt), `name` (a mention's is checked
                against the span, an object's finds it among `objects`), `kind` and, for an object, `caption`. A row's
                struct is accepted as it is. Also `(start, end)`; a string, for words that stand in the text once; and
                what pipelines of transformers give: of a token-classification pipeline (`entity_group` or `entity`,
                `start`, `end`; its tag becomes the type, "PER" a "person"), of an object-detection pipeline (`label`,
                which becomes the type, and `box` with `xmin`, `ymin`, `xmax`, `ymax` in pixels, cut off at the
                picture's edges). For a batch lists.
            images: a picture in any of the forms that `open_picture` takes (not a URL), or None; for a batch a list
                aligned with `text`. The same object or path given more than once is encoded once.
            objects: further objects of the picture, as context: a list of dicts with a box in one of these forms
                and optionally `name`, `caption` and `type`; for a batch a list of such lists. Words are taken from
                head and tail only.
            image_sizes: (width, height) of the upright picture, where a picture will be added later; for a batch a
                list, None where there is no picture.
            relations: descriptions of relations.
            return_tensors: "pt" or "np"; None returns lists.
            padding: as in a tokenizer; by default True if `return_tensors` is given, else False.
            max_length: instead of the processor's own, for this call.
            pad_to_multiple_of: pads lengths to a multiple of this.
            return_offsets_mapping: whether to tell which characters and which word each token of a text stands for.
            return_num_truncated_tokens: whether to tell how much of each text was cut off.

        Returns:
            With the batch as first axis, also for one example:
            `input_ids`, `attention_mask` (batch, text_length);
            `head_index`, `tail_index` (batch,): place of the mention's start marker in `input_ids`, or of the object
            behind them;
            `head_span`, `tail_span` (batch, 2): the mention's own tokens in `input_ids`, [start, end), or the object;
            if there is any object, `object_boxes` (batch, num_objects, 4): corners, as fractions of what pixel_values
            show of the picture, and `object_mask` (batch, num_objects), 1 for an object; as lists, only the boxes, as
            many as each example has;
            if any picture is given, `pixel_values` (num_images, 3, height, width), each distinct picture once, and
            `image_index` (batch,), -1 where there is no picture;
            on request `offset_mapping` (batch, text_length, 2): `[start, end)` in characters of the text (of tokens:
            joined by one blank), and `word_ids` (batch, text_length): the number of the word that a token is a piece
            of; (0, 0) and -1 for markers, type prompts, special tokens and padding;
            on request `num_truncated_tokens` (batch,): how many tokens of the text are left out;
            for relations, `relation_input_ids`, `relation_attention_mask` (num_descriptions, length).

        Raises:
            ExampleError: an example is wrong (see `read_example`, `open_picture`), both mentions do not fit into
                `max_length`, there are objects but no picture, the crop leaves less than `MIN_SHOWN` of a head or tail
                that is one, or objects are too many. A ValueError with the example's `index` in the batch and the
                `problem`.
            ValueError: a description is blank or too long, the image processor leaves pictures of unlike sizes, the
                arguments do not go together, or a slow tokenizer is asked for offsets.
        """
        if return_offsets_mapping and not self.tokenizer.is_fast:
            raise ValueError(
                f"offsets, which explain=True needs, need a fast tokenizer; {type(self.tokenizer).__name__} is slow"
            )
        if text is None and relations is None:
            raise ValueError("give text with head and tail, or relations, or both")
        length = _check_positive("max_length", self.max_length if max_length is None else max_length)
        length = min(length, self.tokenizer.model_max_length)
        pad = {
            "padding": return_tensors is not None if padding is None else padding,
            "max_length": length,
            "pad_to_multiple_of": pad_to_multiple_of,
        }
        data: dict[str, Any] = {}
        if text is not None:
            columns = _as_batch(text, head, tail, images, objects, image_sizes)
            for i, size in enumerate(columns["image_sizes"]):
                _check_size(size, i)
            pixels, sizes = self._encode_pictures(columns["images"], columns["image_sizes"])
            given = (columns[name] for name in ("text", "head", "tail", "objects"))
            pairs = self._encode_pairs(*given, sizes, length, return_offsets_mapping)
            data = {**self.pad_pairs(pairs, **pad), **pixels}
            if return_offsets_mapping:
                padded = zip(pairs["tokens"], data["input_ids"], strict=True)
                rows = [tokens + [Token(0)] * (len(ids) - len(tokens)) for tokens, ids in padded]
                data["offset_mapping"] = [[(token.start, token.end) for token in row] for row in rows]
                data["word_ids"] = [[token.word for token in row] for row in rows]
            if return_num_truncated_tokens:
                data["num_truncated_tokens"] = pairs["num_truncated_tokens"]
        elif any(value is not None for value in (head, tail, images, objects, image_sizes)):
            raise ValueError("head, tail, images and objects need text")
        if relations is not None:
            padded = self.pad_texts(self._encode_relations(relations, length), **pad)
            data.update({f"relation_{name}": value for name, value in padded.items()})
        return BatchFeature(data, tensor_type=return_tensors)

    def _encode_pictures(self, images: Sequence[Any], image_sizes: Sequence) -> tuple[dict[str, Any], list]:
        """The pictures' part of the inputs, and (width, height) of each example's upright picture, or None."""
        pictures, index = distinct_pictures(images)
        if not pictures:
            return {}, list(image_sizes)
        if (image_processor := self.image_processor) is None:
            raise ValueError("pictures are given, but this processor has no image processor (text only)")
        opened = []
        for i, picture in enumerate(pictures):
            with _of_example(index.index(i)):
                opened.append(check_resized(open_picture(picture), image_processor))
        sizes = [size if i < 0 else opened[i].size for i, size in zip(index, image_sizes, strict=True)]
        pixels = one_size(image_processor(opened)["pixel_values"], image_processor)
        return {"pixel_values": pixels, "image_index": index}, sizes

    def _encode_pairs(self, texts, heads, tails, objects, sizes, length, with_offsets=False) -> dict[str, list]:
        """What `pad_pairs` takes of the examples, their `num_truncated_tokens`, and their `tokens` with offsets."""
        examples = []
        for i, given in enumerate(zip(texts, heads, tails, objects, sizes, strict=True)):
            with _of_example(i):
                examples.append(read_example(*given))
        budget, known = length - len(self._prefix) - len(self._suffix), {}
        layouts = [lay_out(example.text, self._prompts(example)) for example in examples]

        def reach(content: str, from_end: bool) -> int:
            size = 8 * (budget + SPARE_TOKENS)
            while size < len(content):
                part = content[-size:] if from_end else content[:size]
                if len(self._tokenize([part], known, with_offsets)[part][0]) > budget + SPARE_TOKENS:
                    return size
                size *= 2
            return len(content)

        kept = [leave_out(pieces, reach) for pieces in layouts]
        strings = [one.content for pieces in kept for one in pieces if one.kind in READ]
        strings += [
            one.text for one, pieces, laid_out in zip(examples, kept, layouts, strict=True) if pieces != laid_out
        ]
        self._tokenize(strings, known, with_offsets)
        token = Token if with_offsets else int
        prefix, suffix = [token(i) for i in self._prefix], [token(i) for i in self._suffix]
        markers = {role: [token(i) for i in pair] for role, pair in self._marker_ids.items()}
        data = {name: [] for name in ("input_ids", "num_truncated_tokens", *PAIR_PLACES, "object_boxes", "tokens")}
        for i, (example, pieces) in enumerate(zip(examples, kept, strict=True)):
            segments = [known[piece.content] for piece in pieces if piece.kind in READ]
            placed = place_tokens(pieces, iter(segments)) if with_offsets else [ids for ids, _, _ in segments]
            try:
                tokens, places, num_truncated = assemble(pieces, iter(placed), markers, budget)
            except ValueError as error:
                raise ExampleError(f"{error} ({_described(example)})", i) from error
            if pieces != layouts[i]:
                (whole, *_), text = known[example.text], [one.content for one in pieces if one.kind == "text"]
                num_truncated += len(whole) - sum(len(known[content][0]) for content in text)
            with _of_example(i):
                data["object_boxes"].append(self._place_objects(example, sizes[i]))
            if with_offsets:
                tokens = _placed_in(texts[i], tokens)
            tokens = [*prefix, *tokens, *suffix]
            data["tokens"].append(tokens)
            data["input_ids"].append([one.id for one in tokens] if with_offsets else tokens)
            data["num_truncated_tokens"].append(num_truncated)
            behind_text = len(tokens)
            for role in MARKERS:
                if isinstance(example.pair[role], Region):
                    index, start, end = behind_text, behind_text, behind_text + 1
                    behind_text += 1
                else:
                    index, start, end = (len(prefix) + place for place in places[role])
                data[f"{role}_index"].append(index)
                data[f"{role}_span"].append([start, end])
        _tell_of_cuts(data["num_truncated_tokens"], list(map(len, data["input_ids"])), length)
        return data

    def _prompts(self, example: Example) -> dict:
        """Role to its mention in the text, or to the words of its object; without types if they are not used."""
        prompts = {}
        for role, entity in example.pair.items():
            entity = entity if self.use_entity_types else entity._replace(type=None)
            if isinstance(entity, Region):
                entity = " : ".join(words for words in (entity.type, entity.caption) if words is not None)
            prompts[role] = entity
        return prompts

    def _place_objects(self, example: Example, size: tuple[int, int] | None) -> list[Box]:
        """Boxes of an example's objects, as fractions of what `pixel_values` show of its picture."""
        if len(example.objects) > self.max_objects:
            raise ValueError(f"{len(example.objects)} objects are more than max_objects={self.max_objects}")
        if self.image_processor is None or not example.objects:
            return [region.box for region in example.objects]
        entities = [entity for entity in example.pair.values() if isinstance(entity, Region)]
        if size is None:
            given = "an object was given as head or tail" if entities else "objects are given"
            raise ValueError(f"{given}, but no picture")
        shown = shown_part(self.image_processor, size)
        for region in entities:
            if (share := share_shown(region.box, shown)) < MIN_SHOWN:
                raise ValueError(
                    f"the image processor crops the object with box {region.box} away, {1 - share:.1%} of it; give "
                    "it do_center_crop=False and a size of height and width"
                )
        boxes = [follow(region.box, shown) for region in example.objects]
        if None in boxes:
            logger.warning_once(
                "The image processor crops some objects away, and they are left out; do_center_crop=False and a size "
                "of height and width keep them."
            )
        return [box for box in boxes if box is not None]

    def _encode_relations(self, relations: Sequence[str], length: int) -> list[list[int]]:
        relations = plain(relations)
        if isinstance(relations, (str, bytes)) or not isinstance(relations, Sequence) or not relations:
            raise ValueError(f"relations must be a list of at least one description, got {relations!r}")
        for i, description in enumerate(relations):
            check_string(description, f"relation description {i}")
        known = self._tokenize(relations, {})
        rows = [self._prefix + known[description][0] + self._suffix for description in relations]
        for i, (ids, description) in enumerate(zip(rows, relations, strict=True)):
            if len(ids) > length:
                raise ValueError(
                    f"relation description {i} takes {len(ids)} tokens, more than max_length={length}: "
                    f"{excerpt(description)}"
                )
        return rows

    def _tokenize(
        self, strings: Sequence[str], known: dict[str, tuple], with_offsets: bool = False
    ) -> dict[str, tuple]:
        """`known`, with each string's token ids, none of them special, and on request their offsets and words."""
        if not (new := list(dict.fromkeys(string for string in strings if string not in known))):
            return known
        encoded = self.tokenizer(
            new,
            add_special_tokens=False,
            split_special_tokens=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            return_offsets_mapping=with_offsets,
            verbose=False,
        )
        # A SentencePiece vocabulary holds "</s>" as a piece of its own and finds it even in split text.
        unknown = self.tokenizer.unk_token_id
        special = set(self.tokenizer.all_special_ids) - {unknown}
        for i, (string, ids) in enumerate(zip(new, encoded["input_ids"], strict=True)):
            ids = [unknown if token in special else token for token in ids]
            offsets = (encoded["offset_mapping"][i], encoded.word_ids(i)) if with_offsets else (None, None)
            known[string] = ids, *offsets
        return known

    def pad_pairs(self, pairs: Mapping[str, list], padding: bool | str = True, **kwargs) -> dict[str, list]:
        """Pads prepared examples to one length of text and one number of objects.

        Args:
            pairs: `input_ids`, `PAIR_PLACES` and `object_boxes` of the examples, as this processor returns them in
                lists.
            padding: False leaves them as they are, with an attention mask.
            kwargs: as for `tokenizer.pad`.

        Returns:
            As a call does: `PAIR_PLACES` follow the objects behind the padding.
        """
        ids, boxes = pairs["input_ids"], pairs["object_boxes"]
        padded = self.pad_texts(ids, padding=padding, **kwargs)
        for name in PAIR_PLACES:
            padded[name] = [
                _behind_padding(place, len(row), len(longer))
                for place, row, longer in zip(pairs[name], ids, padded["input_ids"], strict=True)
            ]
        most = max(map(len, boxes))
        if most and padding is False:
            padded["object_boxes"] = boxes
        elif most:
            padded["object_mask"] = [[1] * len(row) + [0] * (most - len(row)) for row in boxes]
            # Any box will do that has an area.
            padded["object_boxes"] = [[*row, *[WHOLE] * (most - len(row))] for row in boxes]
        return padded

    def pad_texts(self, ids: list[list[int]], **kwargs) -> dict[str, list[list[int]]]:
        """Pads token ids on the right as `tokenizer.pad` does: `input_ids` and `attention_mask` (batch, length)."""
        # Never on the left: head_index and tail_index count from the left.
        padded = self.tokenizer.pad(
            {"input_ids": ids}, padding_side="right", return_attention_mask=True, verbose=False, **kwargs
        )
        return {name: padded[name] for name in ("input_ids", "attention_mask")}

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> list[str]:
        """As in transformers. A slow tokenizer's files are kept as it read them: BERTweet's writes some that it cannot
        read."""
        names = {} if self.tokenizer.is_fast else self.tokenizer.vocab_files_names
        sources = {file: getattr(self.tokenizer, name, None) for name, file in names.items()}
        read = {
            file: Path(source).read_bytes() for file, source in sources.items() if source and Path(source).is_file()
        }
        files = super().save_pretrained(save_directory, **kwargs)
        for file, content in read.items():
            Path(save_directory, file).write_bytes(content)
        return files

    @classmethod
    def _get_arguments_from_pretrained(cls, pretrained_model_name_or_path, processor_dict=None, **kwargs):
        if processor_dict and processor_dict.get("image_processor", ...) is None:
            return [None, cls._load_tokenizer_from_pretrained("tokenizer", pretrained_model_name_or_path, **kwargs)]
        return super()._get_arguments_from_pretrained(pretrained_model_name_or_path, processor_dict, **kwargs)


def _placed_in(text: str | Sequence[str], tokens: Sequence[Token]) -> list[Token]:
    """Tokens of `join_words` of a text, placed in the text as it was given."""
    _, words, origins = join_words(text if isinstance(text, str) else join_tokens(text)[0])
    if words == origins:
        return list(tokens)
    return [
        token
        if token.word < 0
        else token._replace(start=move(token.start, words, origins), end=move(token.end - 1, words, origins) + 1)
        for token in tokens
    ]


def _tell_of_cuts(num_truncated: Sequence[int], lengths: Sequence[int], length: int):
    """Warns of the first text that is longer than `length`."""
    if any(num_truncated) and length not in _told_to_be_cut:
        _told_to_be_cut.add(length)
        first = next(i for i, number in enumerate(num_truncated) if number)
        logger.warning(
            f"A text is too long for max_length={length}: {num_truncated[first]} of its tokens, those farthest from "
            f"head and tail, are not read, and {lengths[first]} are. return_num_truncated_tokens=True tells it of "
            "every text, and the pipeline's answers tell it as num_truncated_tokens. This is said once."
        )


@contextmanager
def _of_example(index: int):
    """Gives what is wrong inside the number of the example that it is about."""
    try:
        yield
    except ValueError as error:
        raise ExampleError(str(error), index) from error


def _check_positive(name: str, value: Any) -> int:
    value = plain(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}")
    return value


def _check_size(size: Any, index: int) -> None:
    given = [] if isinstance(size, str) or not isinstance(size, Sequence) else size
    if size is not None and not (len(given) == 2 and all(isinstance(n, Integral) and n > 0 for n in given)):
        raise ExampleError(f"image_sizes: a size must be (width, height) in pixels, or None, got {size!r}", index)


def _behind_padding(place: int | list[int], length: int, padded_length: int) -> int | list[int]:
    """A place in the joint sequence, or a span, once the text of `length` tokens is padded."""
    if isinstance(place, list):
        # The end of a mention can be the end of the text; its start tells.
        return [p + padded_length - length for p in place] if place[0] >= length else place
    return place + padded_length - length if place >= length else place


def _described(example: Example) -> str:
    """Head and tail of an example, for an error message."""
    spans = [
        f"{role} {excerpt(example.text[mention.start : mention.end])}"
        for role, mention in example.pair.items()
        if isinstance(mention, Mention)
    ]
    return ", ".join([*spans, f"text {excerpt(example.text)}"])


def _as_batch(text, head, tail, images, objects, image_sizes) -> dict[str, Sequence]:
    if missing := [name for name, entity in (("head", head), ("tail", tail)) if entity is None]:
        raise ValueError(f"{missing[0]} is missing: text needs a head and a tail")
    columns = {"text": text, "head": head, "tail": tail, "images": images, "objects": objects}
    columns["image_sizes"] = image_sizes
    if _is_one_entity(head):
        return {name: [value] for name, value in columns.items()}
    for name, value in columns.items():
        optional = name in ("images", "objects", "image_sizes")
        value = [None] * len(head) if optional and value is None else value
        if isinstance(value, (str, bytes)) or not (isinstance(value, Sequence) or getattr(value, "ndim", 0)):
            raise ValueError(f"{name} must be a list, as head is one (a batch), got {type(value).__name__}")
        if len(value) != len(head):
            raise ValueError(f"a batch of {len(head)} heads, but {len(value)} in {name}")
        columns[name] = [present(one) for one in value]
    if not columns["head"]:
        raise ValueError("the batch is empty")
    return columns


def _is_one_entity(head: Any) -> bool:
    """Whether `head` is an entity, in some form, and not a batch of them."""
    head = plain(head)
    if isinstance(head, (str, bytes)) or not isinstance(head, Sequence):
        return True
    return len(head) == 2 and all(isinstance(plain(place), Integral) for place in head)


RocProcessor.register_for_auto_class()

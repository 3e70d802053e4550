# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Whatever goes into processor, pipeline or handler, the right answer comes out, or an error that names the field.

What is right says a reference that is plain and slow: characters and boxes one by one, a pair at a time.
"""

import base64
import importlib.util
import io
import itertools
import json
import math
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_processor import roberta_tokenizer
from torch.nn import functional as F
from transformers import BertConfig, CLIPImageProcessorPil, ViTConfig, pipeline

from data_scripts.demo.dataset import build_demo_tokenizer, demo_image_processor
from modeling_roc import RocConfig, RocModel
from processing_roc import RocProcessor

HANDLER = Path(__file__).parents[1] / "training_roc" / "serving" / "handler.py"
RELATIONS = {"none": ["Nothing ties head and tail."], "in": ["The head is in the tail.", "It has it."], "of": ["Of."]}
LENGTH, WIDTH, MIN_SHOWN = 48, 64, 0.25
FIELD = r"\b(text|tokens|head|tail|entities|objects?|image|picture|relations?|top_k|threshold|input)\b"


class Door:
    """A tiny model with random weights, to be asked by processor, pipeline and handler."""

    def __init__(self, tokenizer, image_processor, folder, **config):
        self.processor = RocProcessor(image_processor, tokenizer, max_length=LENGTH)
        sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        text = BertConfig(vocab_size=len(tokenizer), hidden_size=16, max_position_embeddings=LENGTH, **sizes)
        vision = ViTConfig(image_size=WIDTH, patch_size=16, hidden_size=16, **sizes)
        torch.manual_seed(1)
        self.model = RocModel(
            RocConfig(text_config=text, vision_config=vision, projection_dim=8, object_features="roi", **config)
        ).eval()
        for parameter in self.model.parameters():
            parameter.data.normal_(0, 0.3)
        self.model.set_relations(RELATIONS, self.processor, "none")
        self.pipeline = pipeline("relation-extraction", model=self.model, processor=self.processor)
        for part in (self.model, self.processor):
            part.save_pretrained(folder)
        spec = importlib.util.spec_from_file_location("fuzzed_handler", HANDLER)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.handler = module.EndpointHandler(str(folder))


@pytest.fixture(scope="module")
def doors(tmp_path_factory):
    crop = CLIPImageProcessorPil(size={"shortest_edge": WIDTH}, crop_size={"height": WIDTH, "width": WIDTH})
    return [
        Door(build_demo_tokenizer(), demo_image_processor(), tmp_path_factory.mktemp("whole")),
        Door(roberta_tokenizer(), crop, tmp_path_factory.mktemp("crop"), relation_aggregation="max", temperature=0.2),
    ]


# The reference


class Refused(Exception):
    """What the reference has no answer to."""


REFUSALS = "no picture|are the same|leaves nothing|markers and types take|crops the object"
"""What is said of such inputs; it may be more than one of these."""


def strip_span(text, start, end):
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end


def reference_text(processor, text, mentions, types):
    """Token ids of a marked text, the places (index, start, end) of each mention, and how many tokens are cut off."""
    parts, spans = [], {}
    for role, mention in mentions.items():
        if mention is None:
            parts += [("start", role), *([("type", f" {types[role]}")] if types[role] else []), ("end", role)]
        else:
            spans[role] = strip_span(text, *mention)
    written, pending = False, ""
    for place in range(len(text) + 1):
        closing = sorted((role for role in spans if spans[role][1] == place), key=lambda role: -spans[role][0])
        opening = sorted((role for role in spans if spans[role][0] == place), key=lambda role: -spans[role][1])
        if closing or opening:
            parts.append(("text", pending))
            parts += [("end", role) for role in closing]
            for role in opening:
                parts += [("start", role), *([("type", f" {types[role]} :")] if types[role] else [])]
            pending = " " if written else ""
        if place < len(text) and not text[place].isspace():
            pending, written = pending + text[place], True
        elif written and not pending.endswith(" "):
            pending += " "
    parts.append(("text", pending))
    ids, places, inner = [], {role: {} for role in mentions}, Counter()
    for kind, content in parts:
        if kind in ("start", "end"):
            places[content][kind] = len(ids)
            ids.append(processor.tokenizer.convert_tokens_to_ids(f"[{'/' * (kind == 'end')}{content.upper()}]"))
        elif content.strip():
            new = processor.tokenizer(content.rstrip(" "), add_special_tokens=False, split_special_tokens=True)[
                "input_ids"
            ]
            for role, place in places.items():
                if kind == "text" and "start" in place and "end" not in place:
                    place.setdefault("first", len(ids))
                    inner[role] += len(new)
            ids += new
    for role in spans:
        if not inner[role]:
            raise Refused(f"{role}: the tokenizer leaves nothing")
    front, back = processor._prefix, processor._suffix
    budget = LENGTH - len(front) - len(back)
    near = [min(max(one["start"] - i, i - one["end"], 0) for one in places.values()) for i in range(len(ids))]
    if near.count(0) > budget:
        raise Refused("head and tail with their markers and types take")
    kept = sorted(sorted(range(len(ids)), key=near.__getitem__)[:budget])
    found = {
        role: [len(front) + sum(i < places[role][kind] for i in kept) for kind in ("start", "first", "end")]
        for role in spans
    }
    return [*front, *(ids[i] for i in kept), *back], found, len(ids) - len(kept)


def reference_box(form, values, size):
    """Corners in fractions of the picture."""
    width, height = size
    x0, y0, x1, y1 = values
    if form == "detector":
        return max(x0 / width, 0), max(y0 / height, 0), min(x1 / width, 1), min(y1 / height, 1)
    if "center" in form:
        x0, y0, x1, y1 = x0 - x1 / 2, y0 - y1 / 2, x0 + x1 / 2, y0 + y1 / 2
    return (x0 / width, y0 / height, x1 / width, y1 / height) if "pixels" in form else (x0, y0, x1, y1)


def reference_crop(processor, box, size):
    """A box in fractions of what the processor's crop leaves, and the share of it that is left."""
    if not getattr(processor.image_processor, "do_center_crop", False):
        return box, 1.0
    short, resized = min(size), []
    for side in size:
        resized.append(WIDTH if side == short else int(WIDTH * side / short))
    left = []
    for low, high, side in ((box[0], box[2], resized[0]), (box[1], box[3], resized[1])):
        offset = (side - WIDTH) // 2
        left.append([min(max((edge * side - offset) / WIDTH, 0), 1) for edge in (low, high)])
    (x0, x1), (y0, y1) = left
    area = (x1 - x0) * (y1 - y0) * WIDTH * WIDTH
    return (x0, y0, x1, y1), area / ((box[2] - box[0]) * resized[0] * (box[3] - box[1]) * resized[1])


@torch.no_grad()
def reference_scores(model, relations, ids, places, pixels, boxes, roles):
    """Probability of each relation: one pair through the parts of the model, descriptions one by one."""
    encoder, own = model.pair_encoder, model.relation_encoder
    sequence = list(encoder.text_encoder(torch.tensor([ids])).last_hidden_state[0])
    patches = []
    if pixels is not None:
        states = encoder.vision_encoder(pixel_values=pixels[None]).last_hidden_state[0]
        patches = [encoder.vision_projection(state) for state in states]
    side = WIDTH // model.config.vision_config.patch_size
    for box, role in zip(boxes, roles, strict=True):
        x0, y0, x1, y1 = box
        region, total = 0, 0
        for row in range(side):
            for column in range(side):
                wide = max(min(x1 * side, column + 1) - max(x0 * side, column), 0)
                high = max(min(y1 * side, row + 1) - max(y0 * side, row), 0)
                region, total = region + wide * high * patches[1 + row * side + column], total + wide * high
        geometry = torch.tensor([x0, y0, x1, y1, x1 - x0, y1 - y0, (x1 - x0) * (y1 - y0)]) * 2 - 1
        part = encoder.object_embedding
        number = {None: 0, "head": 1, "tail": 2}[role]
        sequence.append(part.norm(part.position(geometry) + part.role.weight[number] + region / total))
    joint = torch.stack([*sequence, *patches])[None]
    fused = encoder.fusion(joint).last_hidden_state[0]
    means = [fused[start:end].mean(dim=0) for _, start, end in places]
    pair = encoder.pair_fusion(torch.cat([*(fused[index] for index, _, _ in places), *means]))
    pair = F.normalize(model.pair_projection(pair), dim=0)
    logits = []
    for texts in relations:
        cosines = []
        for row in texts:
            states = encoder.text_encoder(torch.tensor([row])).last_hidden_state[0]
            text = F.normalize(states.mean(dim=0) - own.center, dim=0) * len(own.center) ** 0.5
            cosines.append(float(pair @ F.normalize(own.projection(text), dim=0)))
        best = max(cosines) if model.config.relation_aggregation == "max" else sum(cosines) / len(cosines)
        logits.append(best / model.config.temperature)
    highest = max(logits)
    total = sum(math.exp(logit - highest) for logit in logits)
    return [math.exp(logit - highest) / total for logit in logits]


def reference(door, case):
    """What the model is given, and the score of each relation."""
    processor, size = door.processor, case["size"]
    boxes, roles, mentions, types = [], [], {}, {}
    for role in ("head", "tail"):
        entity = case[role]
        types[role] = entity["type"]
        mentions[role] = entity.get("span")
        if "form" in entity:
            if size is None:
                raise Refused("no picture")
            boxes.append(reference_box(entity["form"], entity["values"], size))
            roles.append(role)
    if case["objects"] and size is None:
        raise Refused("no picture")
    entities = dict(zip(roles, boxes, strict=True))
    for one in case["objects"]:
        box = reference_box(one["form"], one["values"], size)
        same = [role for role, other in entities.items() if np.allclose(box, other, rtol=0, atol=1e-6)]
        for role in same:
            types[role] = one["type"] if types[role] is None else types[role]
        if not same:
            boxes.append(box)
            roles.append(None)
    spans = [None if span is None else strip_span(case["string"], *span) for span in mentions.values()]
    if spans[0] is not None and spans[0] == spans[1]:
        raise Refused("head and tail are the same span")
    if len(entities) == 2 and np.allclose(*entities.values(), rtol=0, atol=1e-6):
        raise Refused("head and tail are the same object")
    ids, places, cut = reference_text(processor, case["string"], mentions, types)
    cropped = [reference_crop(processor, box, size) for box in boxes]
    for (_, share), role in zip(cropped, roles, strict=True):
        if role and share < MIN_SHOWN:
            raise Refused("crops the object with box")
    kept = [i for i, (box, _) in enumerate(cropped) if box[2] - box[0] > 1e-6 and box[3] - box[1] > 1e-6]
    boxes, roles = [cropped[i][0] for i in kept], [roles[i] for i in kept]
    for role in set(roles) - {None}:
        place = len(ids) + roles.index(role)
        places[role] = [place, place, place + 1]
    pixels = None
    if case["pixels"] is not None:
        opened = Image.fromarray(case["pixels"].astype(np.uint8))
        pixels = torch.as_tensor(np.asarray(processor.image_processor(opened)["pixel_values"][0]))
    own = [[processor(relations=[text])["relation_input_ids"][0] for text in texts] for texts in case["relations"]]
    places = [places[role] for role in ("head", "tail")]
    return {
        "ids": ids,
        "places": places,
        "cut": cut,
        "boxes": boxes,
        "pixels": pixels,
        "scores": reference_scores(door.model, own, ids, places, pixels, boxes, roles),
    }


# Inputs

WORDS = [
    "Tom",
    "Maya's",
    "met",
    "#Rovers",
    "in",
    "马云在杭州",
    "שלום",
    "👩‍👩‍👧",
    "e\u0301te\u0301",
    "[HEAD]",
    "</s>",
    "Ω,",
    "\u200b",
]
BLANKS = [" ", "  ", "\n", "\u3000", ""]
TYPES = [None, "person", "location", "新 [TAIL]"]


@st.composite
def texts(draw):
    words = draw(st.lists(st.sampled_from(WORDS) | st.text(max_size=4), min_size=2, max_size=10))
    if draw(st.integers(0, 6)) == 0:
        words *= draw(st.integers(4, 40))
    return "".join(word + draw(st.sampled_from(BLANKS)) for word in words[:12]) + " ".join(words[12:])


def mention(draw, text):
    solid = [i for i, letter in enumerate(text) if not letter.isspace()]
    start = draw(st.sampled_from(solid))
    end = min(start + draw(st.integers(1, 8)), len(text))
    if draw(st.booleans()):
        while start and text[start - 1].isspace():
            start -= 1
    span, kind = (start, end), draw(st.sampled_from(["dict", "named", "pair", "numpy", "tensor", "words", "tagged"]))
    word = draw(st.sampled_from(TYPES))
    given = {"start": start, "end": end, "type": word}
    if kind == "named":
        given["name"] = text[slice(*strip_span(text, *span))]
    elif kind == "pair":
        given, word = draw(st.sampled_from([tuple, list]))(span), None
    elif kind == "numpy":
        given |= {"start": np.int64(start), "end": np.array(end)}
    elif kind == "tensor":
        given, word = torch.tensor(span), None
    elif kind == "words":
        words = text[slice(*strip_span(text, *span))]
        # A look ahead, since places may overlap: "0 0" is twice in "0 0 0".
        once = len(re.findall(f"(?={re.escape(words)})", text)) == 1
        if once and not re.search(r"\w" + re.escape(words) + "|" + re.escape(words) + r"\w", text):
            given, word = words, None
    elif kind == "tagged":
        tag, word = draw(st.sampled_from([("PER", "person"), ("B-LOC", "location"), ("thing", "thing")]))
        given = {"entity_group": tag, "score": np.float32(0.5), "word": "?", "start": start, "end": end}
    return given, {"span": span, "type": word}


def region(draw, size):
    width, height = size or (10, 10)
    x0, y0 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    corners = x0, y0, draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height))
    form = draw(st.sampled_from(["box", "box_pixels", "box_center", "box_center_pixels", "detector"]))
    if form == "detector":
        corners = corners[0] - (x0 == 0), *corners[1:]
        box = dict(zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True))
        return {"score": 0.5, "label": "dog", "box": box}, {"form": form, "values": corners, "type": "dog"}
    values = corners
    if "center" in form:
        x0, y0, x1, y1 = corners
        values = (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0
    if "pixels" not in form:
        values = tuple(value / (width, height)[i % 2] for i, value in enumerate(values))
    given = draw(st.sampled_from([list, tuple, np.array]))(values)
    word = draw(st.sampled_from(TYPES))
    return {form: given, "type": word}, {"form": form, "values": values, "type": word}


def over_white(colors, alpha):
    return np.rint(colors * (alpha / 255) + 255 - alpha)


def picture(draw):
    """(a picture as given, JSON can hold it, its RGB values upright, their tolerance)"""
    width, height = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    rgb, alpha = random.integers(0, 256, (height, width, 3)), random.integers(0, 256, (height, width, 1))
    grey, deep = rgb[..., 0].astype(np.uint8), random.integers(0, 65536, (height, width))
    mode = draw(st.sampled_from(["RGB", "RGBA", "L", "LA", "1", "P", "I;16", "I", "F", "CMYK", "HSV"]))
    made, tolerance = rgb, 0
    if mode in ("RGB", "CMYK", "HSV"):
        image = Image.fromarray(rgb.astype(np.uint8)).convert(mode)
        made, tolerance = np.asarray(image.convert("RGB")), 0
    elif mode == "RGBA":
        image = Image.fromarray(np.concatenate([rgb, alpha], axis=2).astype(np.uint8))
        made, tolerance = over_white(rgb, alpha), 1
    elif mode == "LA":
        image = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha[..., 0].astype(np.uint8))])
        made, tolerance = over_white(grey[..., None].repeat(3, axis=2), alpha), 1
    elif mode == "L":
        image, made = Image.fromarray(grey), grey[..., None].repeat(3, axis=2)
    elif mode == "1":
        image = Image.fromarray(grey > 99)
        made = np.where(grey > 99, 255, 0)[..., None].repeat(3, axis=2)
    elif mode == "P":
        palette = random.integers(0, 256, (256, 3))
        image = Image.fromarray(grey).copy()
        image.putpalette(palette.astype(np.uint8).flatten().tolist())
        made = palette[grey]
    else:
        values = deep / 65535 if mode == "F" else deep
        image = Image.fromarray(values.astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]))
        made = np.rint(deep * (255 / 65535))[..., None].repeat(3, axis=2)
        tolerance = 1
    assert image.mode == mode
    kind = draw(st.sampled_from(["pil", "bytes", "base64", "data URL", "turned"]))
    if kind == "pil" or mode == "HSV":
        return image, False, made, tolerance
    buffer, exif = io.BytesIO(), None
    if kind == "turned" and mode in ("RGB", "L"):
        orientation = draw(st.integers(1, 8))
        exif = Image.Exif()
        exif[0x0112] = orientation
        turns = [lambda x: x, lambda x: x[:, ::-1], lambda x: x[::-1, ::-1], lambda x: x[::-1]]
        turns += [lambda x: x.swapaxes(0, 1), lambda x: x[::-1].swapaxes(0, 1)]
        turns += [lambda x: x[::-1, ::-1].swapaxes(0, 1), lambda x: x[:, ::-1].swapaxes(0, 1)]
        made = turns[orientation - 1](made)
    image.save(buffer, "TIFF" if mode in ("CMYK", "F", "I") else "PNG", **({} if exif is None else {"exif": exif}))
    encoded = base64.b64encode(buffer.getvalue()).decode()
    given = {"base64": encoded, "data URL": f"data:image/png;base64,{encoded}"}.get(kind, buffer.getvalue())
    return given, kind in ("base64", "data URL"), made, tolerance


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 99) | st.floats() | st.text(max_size=8) | st.binary(max_size=8),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values, max_size=3),
    max_leaves=5,
)
BROKEN = {
    "head": [3, True, b"Tom", [], [0], [0, 1, 2], (0.0, 4.0), {}, "\ud800", " ", "is not there", {"start": 0}]
    + [
        {"start": a, "end": b}
        for a, b in [(-1, 2), (True, 4), (0.0, 2), (0, 10**9), (2, 2), (3, 1), (float("nan"), 2)]
    ]
    + [{"start": 0, "end": 1, key: value} for key, value in [("name", "?!"), ("type", 3), ("type", ""), ("kind", "x")]]
    + [{"start": 0, "end": 1, key: value} for key, value in [("caption", "a"), ("box", [0, 0, 1, 1]), ("label", "in")]]
    + [{"box": value} for value in [[0, 0, 1], [0, 0, 1, float("nan")], [0.5, 0, 0.2, 1], [0, 0, 2, 1], "0011", 3]]
    + [{"box": value} for value in [{"xmin": 0}, [0, 0, None, 1], [0, 0, True, 1], b"0011", [0, 0, 1e-9, 1]]],
    "text": [None, 5, b"Tom", [], "", " \n", ["Tom", 3], {"a": 1}, "\ud800 and Tom", float("nan")],
    "image": [b"", b"no picture", 3, [1], "no such file.png", "aGVsbG8=", np.zeros((0, 3, 3), np.uint8)]
    + [np.zeros((5, 5, 2), np.uint8), np.full((4, 4), 7.0), {"bytes": None, "path": None}, Image.new("F", (2, 2), 9)],
    "objects": [3, "cup", {"a": 1}, [3], [{}], [{"box": [0, 0, 2, 1]}], [{"box": [0, 0, 1, 1], "label": "x"}], [None]],
    "entities": [3, "ab", [], [[0, 1]], {"a": 1}, b"ab", [[0, 1], None], [[0, 1], 3]],
    "field": [1],
    "relations": [
        {},
        [],
        3,
        "in",
        {"in": ""},
        {"in": 3},
        {"": "text"},
        {1: "text"},
        {"a": "same", "b": "same"},
        {"a": []},
    ],
    "top_k": [0, -1, True, 2.0, "3", float("nan")],
    "threshold": [-0.1, 1.1, float("nan"), "high", True, [0.5], "auto"],
}
NAMED = {
    "objects": "object", "image": "image|picture", "field": "unknown fields", "entities": "entities",
    "relations": "relation", "text": "text",
}  # fmt: skip


@st.composite
def cases(draw):
    text = draw(texts().filter(lambda text: len(text.split()) > 1))
    case, given = (
        {"string": text, "size": None, "pixels": None, "tolerance": 0, "objects": [], "may_be_whole": False},
        {"text": text},
    )
    is_json = True
    if draw(st.booleans()):
        given["image"], is_json, case["pixels"], case["tolerance"] = picture(draw)
        case["size"] = case["pixels"].shape[1::-1]
    for role in ("head", "tail"):
        is_region = draw(st.integers(0, 3 if case["size"] else 20)) == 0
        given[role], case[role] = region(draw, case["size"]) if is_region else mention(draw, text)
    if case["size"] or draw(st.integers(0, 20)) == 0:
        for _ in range(draw(st.integers(0, 2))):
            one, plain = region(draw, case["size"])
            given.setdefault("objects", []).append(one)
            case["objects"].append(plain)
    parameters, case["labels"], case["relations"] = {}, list(RELATIONS), list(RELATIONS.values())
    if draw(st.integers(0, 4)) == 0:
        words = st.lists(st.sampled_from(["met", "London", "Tom", "and", "live", "in"]), min_size=1, max_size=4)
        unique = draw(st.lists(words.map(" ".join), min_size=2, max_size=5, unique=True))
        case["labels"] = [f"{i}新" for i in range(len(unique))]
        case["relations"] = [[text] for text in unique]
        parameters["relations"] = dict(zip(case["labels"], unique, strict=True))
    parameters["top_k"] = draw(st.sampled_from([None, 1, 2, 5]))
    if draw(st.booleans()):
        parameters["threshold"] = draw(st.sampled_from([0, 0.2, 0.5, 1]))
    what = draw(st.sampled_from(["right"] * 3 + ["broken"] * 2 + ["junk", "cut file"]))
    if what == "cut file" and not (is_json and "image" in given):
        what = "right"
    case["expected"] = None
    if what == "cut file":
        content = base64.b64decode(given["image"].rpartition(",")[2])
        given["image"] = base64.b64encode(content[: draw(st.integers(0, len(content) - 1))]).decode()
        case["may_be_whole"] = True
    elif what == "junk":
        field = draw(st.sampled_from(["text", "head", "tail", "entities", "objects", "image"]))
        # No other text, mention or list of objects, which might do.
        others = {"image": (), "objects": (list, tuple)}.get(field, (str, list, tuple))
        given[field] = draw(JUNK.filter(lambda value: value is not None and not isinstance(value, others)))
        case["expected"] = FIELD
    elif what == "broken":
        field = draw(st.sampled_from(sorted(BROKEN)))
        value = draw(st.sampled_from(BROKEN[field]))
        if field in ("top_k", "threshold", "relations"):
            parameters[field] = value
        elif field == "entities":
            given = {**{name: one for name, one in given.items() if name not in ("head", "tail")}, "entities": value}
        elif field == "head":
            role = draw(st.sampled_from(["head", "tail"]))
            given[role] = value
            field = role
        else:
            given[field] = value
        case["expected"] = NAMED.get(field, field)
        if field == "text" and value in ([], "", " \n") and "form" in case["head"] and "form" in case["tail"]:
            case |= {"string": "", "expected": None}  # two objects need no text
    return {**case, "given": given, "parameters": parameters}


# Asking


def as_json(value):
    """What a client would send: numpy's and torch's numbers and lists as JSON's; ValueError for what JSON lacks."""
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError
        return {key: as_json(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(one) for one in value]
    if isinstance(value, (bytes, Image.Image)) or (isinstance(value, np.ndarray) and value.ndim > 1):
        raise ValueError
    return value.tolist() if hasattr(value, "tolist") else value


def check_cut(number, case, expected):
    # Of a text of which only windows are tokenized, what mentions within words add to its tokens is not counted.
    assert abs(number - expected["cut"]) <= 12 * (len(case["string"]) > 1000)


def check_tensors(door, case, expected):
    given = {"images" if name == "image" else name: value for name, value in case["given"].items()}
    made = door.processor(**given, return_num_truncated_tokens=True)
    assert made["input_ids"] == [expected["ids"]]
    check_cut(made["num_truncated_tokens"][0], case, expected)
    for role, (index, start, end) in zip(("head", "tail"), expected["places"], strict=True):
        assert (made[f"{role}_index"], made[f"{role}_span"]) == ([index], [[start, end]])
    boxes = made.get("object_boxes", [[]])[0]
    assert np.allclose(np.array(boxes).reshape(-1, 4), np.array(expected["boxes"]).reshape(-1, 4), atol=1e-6)
    if expected["pixels"] is not None:
        worst = np.abs(np.asarray(made["pixel_values"][0]) - expected["pixels"].numpy()).max()
        assert worst <= 1e-5 + 0.03 * case["tolerance"]


def check_answer(answer, case, expected):
    scores = dict(zip(case["labels"], expected["scores"], strict=True))
    limit, tolerance = case["parameters"].get("threshold", 0), 1e-4 + 0.02 * case["tolerance"]
    sure = [label for label, score in scores.items() if score >= limit + tolerance]
    possible = [label for label, score in scores.items() if score >= limit - tolerance]
    most = case["parameters"]["top_k"] or len(scores)
    labels = [one["label"] for one in answer]
    assert min(len(sure), most) <= len(labels) <= min(len(possible), most) and set(labels) <= set(possible)
    for one, following in itertools.zip_longest(answer, answer[1:]):
        assert one["score"] == pytest.approx(scores[one["label"]], abs=tolerance)
        assert following is None or following["score"] <= one["score"]
        check_cut(one.get("num_truncated_tokens", 0), case, expected)
        assert one["description"] in case["relations"][case["labels"].index(one["label"])]
    if labels and len(labels) == most:
        assert min(one["score"] for one in answer) >= sorted(scores.values())[-most] - tolerance


def ask(door, case, counts):
    request = None
    try:
        request = json.loads(json.dumps({"inputs": as_json(case["given"]), "parameters": as_json(case["parameters"])}))
    except (ValueError, UnicodeEncodeError):
        pass
    ways = [("pipeline", lambda: door.pipeline(case["given"], **case["parameters"]))]
    if request is not None:
        ways.append(("handler", lambda: door.handler(request)))
    expected = case["expected"]
    if expected is None:
        try:
            expected = reference(door, case)
        except Refused:
            expected = REFUSALS
        ways.append(("processor", lambda: check_tensors(door, case, expected)))
    for name, way in ways:
        try:
            answer = way()
        except (ValueError, TypeError) as error:
            patterns = [expected] * isinstance(expected, str) + ["image|picture"] * case["may_be_whole"]
            assert patterns, f"{name}: {error}"
            assert re.search("|".join([*patterns, REFUSALS]), str(error)), f"{name}: {error}"
            counts[f"{name}: named error"] += 1
            continue
        assert isinstance(expected, dict), f"{name} gives an answer, not an error on {expected}"
        if name != "processor":
            check_answer(answer, case, expected)
        counts[f"{name}: right answer"] += 1


def fuzz(doors, number):
    counts = Counter()

    @settings(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, len(doors) - 1), cases())
    def run(number, case):
        counts["inputs"] += 1
        ask(doors[number], case, counts)

    run()
    return counts


def test_some_inputs(doors):
    counts = fuzz(doors, 250)
    assert min(counts[f"{name}: {how}"] for name in ("pipeline", "handler") for how in ("right answer", "named error"))


@pytest.mark.slow
def test_two_thousand_inputs(doors, capsys):
    counts = fuzz(doors, 2000)
    with capsys.disabled():
        print("", *(f"{number:5}  {what}" for what, number in sorted(counts.items())), sep="\n")
    assert counts["inputs"] >= 2000

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What a user says of an example, read and checked: its text, head and tail, and the objects of its picture."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .boxes_roc import BOX_KEYS, Box, box_form, read_box
from .spans_roc import MARKERS, Mention, check_string, excerpt, join_tokens, read_mention

ENTITY_KEYS = {"start", "end", "type", "name", "kind", "caption", *BOX_KEYS}
OBJECT_KEYS = {"name", "caption", "type", "kind", *BOX_KEYS}


class Region(NamedTuple):
    """A checked object: its box as fractions of the picture, and what is known of it."""

    box: Box
    name: str | None
    type: str | None
    caption: str | None


class Example(NamedTuple):
    """A checked example: `objects` are those of head and tail, in this order, and then the other candidates."""

    text: str
    pair: dict[str, Mention | Region]
    objects: list[Region]


def read_example(
    text: str | Sequence[str],
    head: Mapping,
    tail: Mapping,
    objects: Sequence[Mapping] | None,
    size: tuple[int, int] | None,
    where: str,
) -> Example:
    """Checks one example.

    Args:
        text: the text, or its tokens; tokens are joined by one blank. May be blank if head and tail are objects.
        head, tail: a mention in the text, by `start` and `end` (`[start, end)` in characters of a str, in tokens of a
            list), or an object of the picture, by one of `BOX_KEYS`; optionally `type`, `name` (of a mention: its own
            text; of an object: its name among `objects`), `kind` ("text" or "object") and, of an object, `caption`.
            Keys may be None.
        objects: candidate objects of the picture: one of `BOX_KEYS` each, optionally `name`, `type` and `caption`.
        size: (width, height) of the upright picture in pixels, if there is one.
        where: the example's name in error messages, such as "example 3".

    Raises:
        ValueError: head or tail is neither a mention nor an object, or both; head and tail are the same; a mention or
            a box is wrong (see `read_mention`, `read_box`); a key is unknown; an object's name stands for two boxes.
    """
    bounds = None
    if not isinstance(text, str):
        text, bounds = join_tokens(text, where)
    given = {"head": head, "tail": tail}
    kinds = {role: _kind(entity, f"{where}: {role}") for role, entity in given.items()}
    if text.strip() or "text" in kinds.values():
        check_string(text, f"{where}: text")
    candidates = _read_objects(objects, size, where)
    pair: dict[str, Mention | Region] = {}
    for role, entity in given.items():
        if kinds[role] == "text":
            pair[role] = read_mention(text, bounds, entity, f"{where}: {role}")
        else:
            pair[role] = _find(_read_region(entity, size, f"{where}: {role}"), candidates, f"{where}: {role}")
        if pair[role].type is not None:
            check_string(pair[role].type, f"{where}: {role}: type")
    if kinds["head"] == kinds["tail"] == "text" and pair["head"][:2] == pair["tail"][:2]:
        surface = text[pair["head"].start : pair["head"].end]
        raise ValueError(f"{where}: head and tail are the same span, {excerpt(surface)}, of text {excerpt(text)}")
    regions = [pair[role] for role in MARKERS if kinds[role] == "object"]
    if len(regions) == 2 and _same(*regions):
        raise ValueError(f"{where}: head and tail are the same object, {_called(regions[0])}")
    others = [candidate for candidate in candidates if not any(_same(candidate, region) for region in regions)]
    return Example(text, pair, regions + others)


def _kind(entity: Any, where: str) -> str:
    if not isinstance(entity, Mapping):
        raise ValueError(f"{where} must be a dict with 'start' and 'end', or with a box, got {type(entity).__name__}")
    if unknown := set(entity) - ENTITY_KEYS:
        raise ValueError(f"{where} has unknown keys {sorted(map(str, unknown))}; known are {sorted(ENTITY_KEYS)}")
    kind, form = entity.get("kind"), box_form(entity, where)
    if kind not in (None, "text", "object"):
        raise ValueError(f"{where}: kind must be 'text', 'object' or None, got {kind!r}")
    is_mention = any(entity.get(key) is not None for key in ("start", "end"))
    if is_mention and form is not None:
        raise ValueError(f"{where} gives both a span and a box: is it a mention in the text or an object?")
    if form is None and (kind == "object" or not is_mention):
        raise ValueError(f"{where} needs start and end of a mention, or an object's box ({', '.join(BOX_KEYS)})")
    if kind == "text" and form is not None:
        raise ValueError(f"{where} is a mention in the text and has no box, got {entity[form]!r}")
    if is_mention and (kind == "object" or entity.get("caption") is not None):
        raise ValueError(f"{where} is an object or has a caption, but gives a span of the text")
    return "text" if form is None else "object"


def _read_objects(objects: Any, size: tuple[int, int] | None, where: str) -> list[Region]:
    if objects is None:
        return []
    if not isinstance(objects, Sequence) or isinstance(objects, str):
        raise ValueError(f"{where}: objects must be a list of dicts, got {type(objects).__name__}")
    candidates: list[Region] = []
    for i, candidate in enumerate(objects):
        name = f"{where}: object {i}"
        if not isinstance(candidate, Mapping):
            raise ValueError(f"{name} must be a dict with a box, got {type(candidate).__name__}")
        if unknown := set(candidate) - OBJECT_KEYS:
            raise ValueError(f"{name} has unknown keys {sorted(map(str, unknown))}; known are {sorted(OBJECT_KEYS)}")
        region = _read_region(candidate, size, name)
        if region.name is not None and region.name in {other.name for other in candidates}:
            raise ValueError(f"{name}: another object is called {region.name!r} too")
        candidates.append(region)
    return candidates


def _read_region(entity: Mapping, size: tuple[int, int] | None, where: str) -> Region:
    name, words, caption = (entity.get(key) for key in ("name", "type", "caption"))
    if name is not None:
        where = f"{where} {name!r}"
    form = box_form(entity, where)
    if form is None:
        raise ValueError(f"{where} needs a box ({', '.join(BOX_KEYS)})")
    if caption is not None:
        check_string(caption, f"{where}: caption")
    return Region(read_box(entity[form], form, size, where), name, words, caption)


def _find(region: Region, candidates: list[Region], where: str) -> Region:
    """The region, with the caption and type of the candidate that it is."""
    for candidate in candidates:
        if region.name is not None and candidate.name == region.name and not _near(candidate.box, region.box):
            raise ValueError(f"{where} is called {region.name!r}, as is another box among the objects")
        if _same(candidate, region):
            return region._replace(
                name=region.name or candidate.name,
                type=candidate.type if region.type is None else region.type,
                caption=candidate.caption if region.caption is None else region.caption,
            )
    return region


def _same(one: Region, other: Region) -> bool:
    """Names decide where both have one: two objects may share a box. Else boxes do."""
    if one.name is not None and other.name is not None:
        return one.name == other.name
    return _near(one.box, other.box)


def _near(one: Box, other: Box) -> bool:
    return all(abs(a - b) < 1e-6 for a, b in zip(one, other, strict=True))


def _called(region: Region) -> str:
    return repr(region.name) if region.name is not None else f"box {[round(x, 4) for x in region.box]}"

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What a user says of an example, read and checked: mentions in its text and objects of its picture, given by boxes;
and what a tagger and a detector say, put in order.

Then what becomes of both. Mentions: the ROC paper (section 3.1) takes the head's and the tail's vectors at their place
in the text and writes their types into it. Here `Tom Hanks` becomes `[HEAD] person : Tom Hanks [/HEAD]`, and an object
is announced by `[HEAD] person : a man in red [/HEAD]` in front of the text, as far as its type and a caption are
known. Markers never pass through the tokenizer: the text is cut at the mentions into pieces, and the markers are put
between the tokenized pieces, so a text that itself contains the characters "[HEAD]" stays plain text. A string is read
as the tokens that a data set stores of it, joined by one blank: one stands for any white space, and where a mention
begins or ends within a word. A long text is cut to a window, and tokens lead back to characters and words. Boxes: they
follow a picture's resize and crop.
"""

import math
import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from transformers.image_processing_backends import PilBackend, TorchvisionBackend
from transformers.image_transforms import get_resize_output_image_size, get_size_with_aspect_ratio

MARKERS = {"head": ("[HEAD]", "[/HEAD]"), "tail": ("[TAIL]", "[/TAIL]")}

BOX_KEYS = ("box", "box_pixels", "box_center", "box_center_pixels")
"""Corners x0, y0, x1, y1 or centre and size cx, cy, w, h; as fractions (0 to 1) of the upright picture's width and
height, or in its pixels."""

CORNERS = ("xmin", "ymin", "xmax", "ymax")
"""Keys of a `box` as an object-detection pipeline of transformers gives it, in pixels."""

OBJECT_KEYS = {"name", "caption", "type", "kind", *BOX_KEYS}
ENTITY_KEYS = {"start", "end", *OBJECT_KEYS}

TAGS = {
    "person": "PER PERSON",
    "organization": "ORG ORGANIZATION ORGANISATION CORPORATION GROUP",
    "location": "LOC LOCATION GPE FAC",
    "miscellaneous": "MISC MISCELLANEOUS OTHER NORP EVENT WORK_OF_ART CREATIVE-WORK PRODUCT LAW LANGUAGE",
}
"""Type words, and the labels of taggers that data sets have them for."""

NUMBERS = "DATE TIME PERCENT MONEY QUANTITY ORDINAL CARDINAL".split()
"""Labels of taggers that stand for no entity."""

TOLERANCE = 1e-4
"""What a box may overshoot the picture by, as a fraction of it, for rounding's sake; it is cut off."""

MIN_SHOWN = 0.25
"""What an image processor's crop must leave of the box of head or tail, as a share of its area."""

MIN_SIDE = 1e-6
"""What is thinner than this fraction of the picture is empty: single precision could not tell its sides apart."""

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1."""

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


class ExampleError(ValueError):
    """Something is wrong with one example of a batch.

    Args:
        problem: what.
        index: the example's place in the batch, from 0; None where it is not known.
    """

    def __init__(self, problem: str, index: int | None = None):
        super().__init__(problem, index)
        self.problem, self.index = problem, index

    def __str__(self):
        return self.problem if self.index is None else f"example {self.index}: {self.problem}"


class Mention(NamedTuple):
    """A checked text mention: characters `[start, end)` without white space at either edge, and its type's words."""

    start: int
    end: int
    type: str | None


class Region(NamedTuple):
    """A checked object: its box as fractions of the picture, what is known of it, and its place among those given."""

    box: Box
    name: str | None
    type: str | None
    caption: str | None
    place: int | None = None


class Example(NamedTuple):
    """A checked example: `objects` are those of head and tail, in this order, and then the other candidates."""

    text: str
    pair: dict[str, Mention | Region]
    objects: list[Region]


# Reading an example


def read_example(
    text: str | Sequence[str],
    head: Any,
    tail: Any,
    objects: Sequence[Mapping] | None,
    size: tuple[int, int] | None,
) -> Example:
    """Checks one example, given as [`RocProcessor`] takes it.

    Args:
        text, objects, size: as for `read_entities`.
        head, tail: as `entities` there.

    Returns:
        The example. Its text is what the tokenizer is given, words joined by one blank, and its mentions count
        characters of that.

    Raises:
        ValueError: as `read_entities` does; head and tail are the same.
    """
    given, pair, candidates = read_entities(text, {"head": head, "tail": tail}, objects, size)
    regions = [entity for entity in pair.values() if isinstance(entity, Region)]
    if same_entity(pair["head"], pair["tail"]):
        if regions:
            box, name = regions[0][:2]
            called = f"object, box {[round(x, 4) for x in box]}" if name is None else f"object, {name!r}"
        else:
            called = f"span, {excerpt(given[pair['head'].start : pair['head'].end])}, of text {excerpt(given)}"
        raise ValueError(f"head and tail are the same {called}")
    joined, starts, origins = join_words(given)
    for role, entity in pair.items():
        if isinstance(entity, Mention):
            start, end = (move(place, origins, starts) for place in (entity.start, entity.end - 1))
            pair[role] = entity._replace(start=start, end=end + 1)
    others = [one for one in candidates if not any(same_entity(one, region) for region in regions)]
    return Example(joined, pair, regions + others)


def read_entities(
    text: str | Sequence[str],
    entities: Mapping[str, Any],
    objects: Sequence[Mapping] | None,
    size: tuple[int, int] | None,
) -> tuple[str, dict[str, Mention | Region], list[Region]]:
    """Checks the entities of a text and its picture, in any of the forms that [`RocProcessor`] takes.

    Args:
        text: a string, or tokens, which are joined by one blank. May be blank if all entities are objects.
        entities: of each what it is called in an error's message, "head" say, and what is given. Keys may be None; one
            that is an object is found among `objects` by name or box.
        size: (width, height) of the upright picture in pixels, if there is one.

    Returns:
        The text; the entities, mentions by characters of it; the objects.

    Raises:
        ValueError: an entity is neither a mention nor an object, or both; a mention or a box is wrong (see
            `find_words`, `read_mention`, `read_box`); a key is unknown; an object's name stands for two boxes.
    """
    bounds = None
    if not isinstance(text, str):
        text, bounds = join_tokens(text)
    forms = {name: _as_entity(entity, text, bounds, name) for name, entity in entities.items()}
    is_object = {name: _is_object(entity, name) for name, (entity, _) in forms.items()}
    if text.strip() or not all(is_object.values()):
        check_string(text, "text")
    candidates = _read_objects(objects, size)
    read: dict[str, Mention | Region] = {}
    for name, (entity, in_tokens) in forms.items():
        if is_object[name]:
            read[name] = _find(_read_region(entity, size, name), candidates, name)
        else:
            read[name] = read_mention(text, in_tokens, entity, name)
    return text, read, candidates


def plain(value: Any) -> Any:
    """What numpy, torch or pandas hold, as Python's own numbers, strings and lists; all else as it is."""
    return value.tolist() if hasattr(value, "tolist") else value


def present(value: Any) -> Any:
    """A value, or None for the nan by which a data frame says that there is none."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _as_entity(given: Any, text: str, bounds: list | None, where: str) -> tuple[Mapping, list | None]:
    """An entity in any form as a dict of `ENTITY_KEYS`, and the tokens' places if its positions count tokens."""
    given = plain(given)
    if isinstance(given, str):
        start, end = find_words(text, given, where)
        return {"start": start, "end": end}, None
    if isinstance(given, (list, tuple)) and len(given) == 2:
        if all(isinstance(plain(place), Integral) for place in given):
            return dict(zip(("start", "end"), given, strict=True)), bounds
    if not isinstance(given, Mapping):
        wanted = "a dict, [start, end) as two integers, or words of the text"
        raise ValueError(f"{where} must be {wanted}, got {given!r:.200}")
    entity = {key: plain(value) for key, value in given.items()}
    tag = entity.pop("entity_group", None) or entity.pop("entity", None)
    if tag is not None:  # of a token-classification pipeline
        if not isinstance(tag, str):
            raise ValueError(f"{where}: the tag must be a string, got {tag!r:.200}")
        if bounds is not None:
            raise ValueError(f"{where} counts characters, as a tagger does: give the text as a string, not as tokens")
        word = [entity.pop(key, None) for key in ("score", "index", "word")][-1]
        if entity.get("start") is None and word is not None:  # a slow tokenizer tells no positions
            entity["start"], entity["end"] = find_words(text, word, where)
        tag = re.sub("^[BIELSU]-", "", tag)
        entity["type"] = next((word for word, labels in TAGS.items() if tag.upper() in labels.split()), tag)
    return _of_detector(entity), bounds


def _of_detector(entity: Mapping) -> Mapping:
    """An object-detection pipeline's label is the object's type; without such a box, "label" is an unknown key."""
    if not isinstance(entity.get("box"), Mapping) or "label" not in entity:
        return entity
    rest = {key: value for key, value in entity.items() if key not in ("label", "score")}
    return {**rest, "type": entity["label"] if rest.get("type") is None else rest["type"]}


def find_words(text: str, words: str, where: str) -> tuple[int, int]:
    """The one place `[start, end)` of `words` in a text.

    A place that begins or ends amid a word of digits and letters that have capitals ("Tom" in "Tomorrow") is none;
    scripts without capitals may write words without blanks.

    Raises:
        ValueError: there is no place, or more than one; the message has all of them.
    """
    check_string(words, where)
    words = words.strip()
    starts = [found.start() for found in re.finditer(f"(?={re.escape(words)})", text)]
    places = [
        (start, start + len(words))
        for start in starts
        if not any(in_one_word(text[edge - 1 : edge + 1]) for edge in (start, start + len(words)) if edge)
    ]
    if len(places) != 1:
        listed = [f"[{start}, {end})" for start, end in places[:10]] + ["…"] * (len(places) > 10)
        found = f"in the text at {', '.join(listed)}"
        if not places:
            found = "in the text only within longer words" if starts else "not in the text"
        raise ValueError(f"{where} {words!r:.200} is {found}; give its start and end. Text: {excerpt(text)}")
    return places[0]


def in_one_word(letters: str) -> bool:
    """Whether two characters that stand side by side belong to one word for certain."""
    return len(letters) == 2 and all(one.isdecimal() or one.lower() != one.upper() for one in letters)


def same_entity(one: Mention | Region, other: Mention | Region) -> bool:
    """Whether two entities are one: of mentions their places decide. Of objects names do where both have one, as two
    objects may share a box; else boxes do."""
    if isinstance(one, Mention) or isinstance(other, Mention):
        return type(one) is type(other) and one[:2] == other[:2]
    if one.name is not None and other.name is not None:
        return one.name == other.name
    return _near(one.box, other.box)


@lru_cache(maxsize=16)
def join_words(text: str) -> tuple[str, list[int], list[int]]:
    """A text's words joined by one blank, as a data set's tokens are, and where each begins there and in `text`."""
    words = list(re.finditer(r"\S+", text))
    joined = " ".join(word.group() for word in words)
    return joined, [word.start() for word in re.finditer(r"\S+", joined)], [word.start() for word in words]


def move(place: int, words: Sequence[int], moved: Sequence[int]) -> int:
    """A character's place in one text to its place in another, in which the words begin elsewhere."""
    word = max(bisect_right(words, place) - 1, 0)
    return moved[word] + place - words[word]


def excerpt(text: str, length: int = 60) -> str:
    """The beginning of a text, quoted, for error messages."""
    return repr(text if len(text) <= length else text[:length] + "…")


def check_string(value: Any, what: str) -> None:
    """Raises a ValueError, which begins with `what`, unless `value` is a string of valid Unicode that is not blank."""
    if not isinstance(value, str):
        raise ValueError(f"{what} must be a string, got {type(value).__name__}")
    if not value or value.isspace():
        raise ValueError(f"{what} is blank: {value!r}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} is not valid Unicode: {error}") from error


def join_tokens(tokens: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """Joins tokens by one blank; returns the text and each token's `(start, end)` in its characters."""
    tokens = plain(tokens)
    if not isinstance(tokens, Sequence) or isinstance(tokens, bytes) or not all(isinstance(t, str) for t in tokens):
        raise ValueError(f"text must be a string or a list of strings, got {excerpt(repr(tokens))}")
    bounds, start = [], 0
    for token in tokens:
        bounds.append((start, start + len(token)))
        start += len(token) + 1
    return " ".join(tokens), bounds


def read_mention(text: str, bounds: list[tuple[int, int]] | None, mention: Mapping, where: str) -> Mention:
    """Checks one mention of `text`; `bounds` are the tokens' places in it if positions count tokens.

    Raises:
        ValueError: the span is empty, inverted, out of range, white space only, not of integers, or not what its
            `name` says. The message begins with `where`, the mention's name.
    """
    start, end, name, words = (plain(mention.get(key)) for key in ("start", "end", "name", "type"))
    for key, value in (("start", start), ("end", end)):
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise ValueError(f"{where}: {key} must be an integer, got {value!r}, in text {excerpt(text)}")
    unit, length = ("characters", len(text)) if bounds is None else ("tokens", len(bounds))
    span = f"{where} span [{start}, {end}) in {unit}"
    if not 0 <= start < end <= length:
        problem = "is empty" if start == end else "is inverted" if start > end else "is out of range"
        raise ValueError(f"{span} {problem}; the text has {length} {unit}: {excerpt(text)}")
    if bounds is not None:
        start, end = bounds[start][0], bounds[end - 1][1]
    surface = text[start:end]
    if name is not None and (not isinstance(name, str) or name.split() != surface.split()):
        raise ValueError(f"{span} reads {excerpt(surface)}, but its name is {name!r}; text: {excerpt(text)}")
    if not surface.strip():
        raise ValueError(f"{span} covers only white space, {surface!r}, of text {excerpt(text)}")
    if words is not None:
        check_string(words, f"{where}: type")
    start += len(surface) - len(surface.lstrip())
    return Mention(int(start), int(start) + len(surface.strip()), words)


def read_box(entity: Mapping, form: str, size: tuple[int, int] | None, where: str) -> Box:
    """The corners of the box that `entity` gives under the key `form`, one of `BOX_KEYS`, as fractions of a picture.

    Args:
        size: (width, height) of the upright picture in pixels; needed for the pixel forms only.
        where: what the box belongs to, for error messages.

    Raises:
        ValueError: not four finite numbers, empty, inverted, or out of the picture by more than `TOLERANCE`; pixels
            without a picture.
    """
    value = plain(entity[form])
    of_detector = isinstance(value, Mapping)
    if of_detector:
        if form != "box" or value.keys() != set(CORNERS):
            raise ValueError(f"{where}: {form} must be four numbers, or {', '.join(CORNERS)} in pixels, got {value!r}")
        form, value = "box_pixels", [value[corner] for corner in CORNERS]
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)) or len(value) != 4:
        raise ValueError(f"{where}: {form} must be four numbers, got {value!r}")
    numbers = [plain(number) for number in value]
    if not all(isinstance(n, Real) and not isinstance(n, bool) and math.isfinite(n) for n in numbers):
        raise ValueError(f"{where}: {form} must be four finite numbers, got {value!r}")
    x0, y0, x1, y1 = map(float, numbers)
    if form.startswith("box_center"):
        x0, y0, x1, y1 = x0 - x1 / 2, y0 - y1 / 2, x0 + x1 / 2, y0 + y1 / 2
    if form.endswith("pixels"):
        if size is None:
            raise ValueError(f"{where}: {form} counts pixels, but there is no picture to count them in")
        x0, y0, x1, y1 = x0 / size[0], y0 / size[1], x1 / size[0], y1 / size[1]
    if min(x1 - x0, y1 - y0) < MIN_SIDE:
        raise ValueError(f"{where}: {form} {list(numbers)} is {'inverted' if x0 > x1 or y0 > y1 else 'empty'}")
    inside = max(x0, 0.0), max(y0, 0.0), min(x1, 1.0), min(y1, 1.0)
    if of_detector:  # which rounds past the edges
        is_out = min(inside[2] - inside[0], inside[3] - inside[1]) < MIN_SIDE
    else:
        is_out = min(x0, y0) < -TOLERANCE or max(x1, y1) > 1 + TOLERANCE
    if is_out:
        picture = "" if size is None else f" of {size[0]} × {size[1]} pixels"
        raise ValueError(f"{where}: {form} {list(numbers)} reaches out of the picture{picture}")
    return inside


def _is_object(entity: Any, where: str) -> bool:
    """Whether head or tail is an object of the picture, and not a mention in the text."""
    _check_keys(entity, ENTITY_KEYS, where)
    kind, form = entity.get("kind"), _box_form(entity, where)
    if kind not in (None, "text", "object"):
        raise ValueError(f"{where}: kind must be 'text', 'object' or None, got {kind!r}")
    is_mention = any(entity.get(key) is not None for key in ("start", "end"))
    if is_mention and form is not None:
        raise ValueError(f"{where} gives both a span and a box: is it a mention in the text or an object?")
    if form is None and (kind == "object" or not is_mention):
        raise ValueError(f"{where} needs start and end of a mention, or an object's box ({', '.join(BOX_KEYS)})")
    if kind == "text" and form is not None:
        raise ValueError(f"{where} is a mention in the text and has no box, got {entity[form]!r}")
    if is_mention and entity.get("caption") is not None:
        raise ValueError(f"{where} has a caption, but gives a span of the text")
    return form is not None


def _check_keys(entity: Mapping, keys: set[str], where: str) -> None:
    if unknown := set(entity) - keys:
        raise ValueError(f"{where} has unknown keys {sorted(map(str, unknown))}; known are {sorted(keys)}")


def _box_form(entity: Mapping, where: str) -> str | None:
    """The key of `BOX_KEYS` in which `entity` gives its box, None where it gives none."""
    given = [key for key in BOX_KEYS if entity.get(key) is not None]
    if len(given) > 1:
        raise ValueError(f"{where} gives its box more than once: {', '.join(given)}")
    return given[0] if given else None


def _read_region(entity: Mapping, size: tuple[int, int] | None, where: str) -> Region:
    name, words, caption = (entity.get(key) for key in ("name", "type", "caption"))
    if name is not None:
        where = f"{where} {name!r:.200}"
    form = _box_form(entity, where)
    if form is None:
        raise ValueError(f"{where} needs a box ({', '.join(BOX_KEYS)})")
    for key, value in (("name", name), ("type", words), ("caption", caption)):
        if value is not None:
            check_string(value, f"{where}: {key}")
    return Region(read_box(entity, form, size, where), name, words, caption)


def _read_objects(objects: Any, size: tuple[int, int] | None) -> list[Region]:
    if objects is None:
        return []
    objects = plain(objects)
    if not isinstance(objects, Sequence) or isinstance(objects, (str, bytes)):
        raise ValueError(f"objects must be a list of dicts, got {type(objects).__name__}")
    candidates: list[Region] = []
    for i, candidate in enumerate(objects):
        if not isinstance(candidate, Mapping):
            raise ValueError(f"object {i} must be a dict with a box, got {type(candidate).__name__}")
        candidate = _of_detector(candidate)
        _check_keys(candidate, OBJECT_KEYS, f"object {i}")
        region = _read_region(candidate, size, f"object {i}")
        if region.name is not None and any(region.name == other.name for other in candidates):
            raise ValueError(f"object {i}: another object is called {region.name!r} too")
        candidates.append(region._replace(place=i))
    return candidates


def _find(region: Region, candidates: list[Region], where: str) -> Region:
    """The region, with the caption, type and place of the candidate that it is."""
    for candidate in candidates:
        if region.name is not None and candidate.name == region.name and not _near(candidate.box, region.box):
            raise ValueError(f"{where} is called {region.name!r}, as is another box among the objects")
        if same_entity(candidate, region):
            return region._replace(
                name=region.name or candidate.name,
                type=candidate.type if region.type is None else region.type,
                caption=candidate.caption if region.caption is None else region.caption,
                place=candidate.place,
            )
    return region


def _near(one: Box, other: Box) -> bool:
    return all(abs(a - b) < 1e-6 for a, b in zip(one, other, strict=True))


# Entities that are found


class Found(NamedTuple):
    """An entity that was found: the mentions of one name, in order, or one object; and its score, if it has one."""

    places: list[Mention | Region]
    score: float | None


def by_score(found: Found) -> float:
    """A key that sorts the best first; one without a score counts as if it were sure."""
    return -1.0 if found.score is None else -found.score


def words_of(types: Any) -> Iterable[str]:
    """All words in nested lists of types."""
    if isinstance(types, str):
        yield types
    for one in types if isinstance(types, list) else []:
        yield from words_of(one)


def type_of_label(entity_types: Mapping, words: set[str], label: str, is_mention: bool) -> list[str | None]:
    """The type, in the model's words, of what a tagger or detector labels so; an empty list if it is no entity.

    Args:
        entity_types: label → type that the caller wants, None for what is no entity.
        words: types that the model's relations ask for, in lower case.
        label: without a prefix such as "B-".
        is_mention: whether it is a tagger's.
    """
    if label in entity_types:
        return [] if entity_types[label] is None else [entity_types[label]]
    if label.lower() in words:
        return [label.lower()]
    if not is_mention:
        return [None]
    if label.upper() in NUMBERS:
        return []
    return [next((word for word, labels in TAGS.items() if label.upper() in labels.split()), "unknown")]


def without_score(given: Any) -> Any:
    return {key: value for key, value in given.items() if key != "score"} if isinstance(given, Mapping) else given


def _read_score(given: Mapping, where: str) -> float | None:
    score = plain(given.get("score"))
    if score is not None and (not isinstance(score, Real) or not 0 <= score <= 1):
        raise ValueError(f"{where}: score must be a number, 0 to 1, got {score!r:.200}")
    return None if score is None else float(score)


def find_mentions(text: str, tagged: Any, read_type: Callable) -> list[Found]:
    """A text's entities, in its order, from what a tagger gives: of mentions that overlap the longest, and those of
    the same words and type as one.

    Args:
        tagged: mentions in any form of `read_entities`, optionally with `score`.
        read_type: `type_of_label` of a label, and whether it is a mention's.

    Raises:
        ValueError: `tagged` is no list, one of it is no mention in the text, or a score is not within 0 to 1.
    """
    if not isinstance(tagged, Sequence) or isinstance(tagged, (str, bytes)):
        raise ValueError(f"entity_tagger must return a list of a text's entities, got {tagged!r:.200}")
    named = {f"entity_tagger's entity {i}": given for i, given in enumerate(tagged)}
    bare = {name: without_score(given) for name, given in named.items()}
    mentions: list[tuple[Mention, float | None]] = []
    for name, mention in read_entities(text, bare, None, None)[1].items():
        given, label, score = named[name], None, None
        if not isinstance(mention, Mention):
            raise ValueError(f"{name} must be a mention in the text, got {given!r:.200}")
        if isinstance(given, Mapping):
            label, score = given.get("entity_group") or given.get("entity"), _read_score(given, name)
        types = [mention.type] if label is None else read_type(re.sub("^[BIELSU]-", "", label), True)
        mentions += [(mention._replace(type=word), score) for word in types]
    longest: list[tuple[Mention, float | None]] = []
    taken: set[int] = set()
    for mention, score in sorted(mentions, key=lambda one: (one[0].start - one[0].end, one[0].start)):
        if taken.isdisjoint(range(mention.start, mention.end)):
            taken.update(range(mention.start, mention.end))
            longest.append((mention, score))
    names: dict[tuple, list[tuple[Mention, float | None]]] = {}
    for mention, score in sorted(longest, key=lambda one: one[0].start):
        words = text[mention.start : mention.end].casefold().split()
        names.setdefault((*words, mention.type), []).append((mention, score))
    return [
        Found([mention for mention, _ in same], max((score for _, score in same if score is not None), default=None))
        for same in names.values()
    ]


def read_objects(objects: Any, size: tuple[int, int] | None) -> list[Found]:
    """A picture's objects, in any form of `read_entities`, optionally with `score`.

    Raises:
        ValueError: `objects` is no list of dicts, a box or a key is wrong, or a score is not within 0 to 1.
    """
    if not isinstance(objects, Sequence) or not all(isinstance(one, Mapping) for one in objects):
        raise ValueError(f"a picture's objects must be a list of dicts, got {objects!r:.200}")
    _, _, regions = read_entities("", {}, list(map(without_score, objects)), size)
    return [Found([region], _read_score(objects[region.place], f"object {region.place}")) for region in regions]


def find_objects(
    detected: Any, size: tuple[int, int] | None, read_type: Callable, nms_threshold: float
) -> list[Found]:
    """A picture's entities, best first, from what a detector gives. Each gets a name: its label, with a number from
    the second on.

    Args:
        detected, size: as for `read_objects`, which says what is wrong with them.
        read_type: as for `find_mentions`.
        nms_threshold: what overlaps more with a better one, as intersection over union, is left out.
    """
    apart, names = [], Counter()
    for one in sorted(read_objects(detected, size), key=by_score):
        (region,), label = one.places, detected[one.places[0].place].get("label")
        types = [region.type] if label is None else read_type(label, False)
        if types and all(overlap(region.box, other.places[0].box) <= nms_threshold for other in apart):
            name = region.name or region.type or "object"
            names[name] += 1
            name = name if names[name] == 1 else f"{name} {names[name]}"
            apart.append(Found([region._replace(name=name, type=types[0])], one.score))
    return apart


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes, 0 to 1."""
    width, height = (max(min(one[i + 2], other[i + 2]) - max(one[i], other[i]), 0.0) for i in (0, 1))
    areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (one, other)]
    return width * height / (sum(areas) - width * height)


# Mentions to tokens, and back


class Piece(NamedTuple):
    """A part of a laid-out text: kind "text" or "type" with the string to tokenize, "start" or "end" with the role."""

    kind: str
    content: str
    start: int = 0
    """Where a text's content begins in the whole text."""


class Token(NamedTuple):
    """A token id, the characters `[start, end)` of the text that it stands for, and the number of its word.

    Markers, type prompts, special tokens and white space stand for no characters: (0, 0), word -1.
    """

    id: int
    start: int = 0
    end: int = 0
    word: int = -1


def lay_out(text: str, pair: Mapping[str, Mention | str]) -> list[Piece]:
    """Cuts a text at its mentions and puts markers and type prompts between the pieces.

    `pair` gives for each role its mention, or the words (possibly none, "") of an object, which has no place in the
    text: they stand between its markers in front of it.

    White space goes with the piece behind it, markers in front of it, so that a byte-level tokenizer sees " Tom".
    Where a mention begins or ends within a word, the piece behind gets a blank, as that word has in a stored row.
    At one place ends stand before starts; of two starts the longer mention opens first, of two ends the shorter closes
    first. Nested and crossing mentions are fine.
    """

    def add_text(end: int):
        content = text[done:end]
        blank = " " if done and not content[0].isspace() else ""
        pieces.append(Piece("text", blank + content, done - len(blank)))

    pieces, events = [], []
    for role, entity in pair.items():
        if isinstance(entity, str):
            words = [Piece("type", f" {entity}")] if entity else []
            pieces += [Piece("start", role), *words, Piece("end", role)]
        else:
            length = entity.end - entity.start
            events.append((len(text[: entity.start].rstrip()), 1, -length, "start", role, entity.type))
            events.append((entity.end, 0, length, "end", role, None))
    done = 0
    for place, _, _, kind, role, words in sorted(events, key=lambda event: event[:3]):
        if place > done:
            add_text(place)
            done = place
        pieces.append(Piece(kind, role))
        if words is not None:
            pieces.append(Piece("type", f" {words} :"))
    if done < len(text):
        add_text(len(text))
    return pieces


def leave_out(pieces: Sequence[Piece], reach: Callable[[str, bool], int]) -> list[Piece]:
    """Takes out of a laid-out text's pieces what is too far from any marker to be kept.

    Args:
        reach: how many characters of a piece are near enough to the marker in front of it, or behind it (True).
    """
    kept, opened = [], set()
    marks = [i for i, piece in enumerate(pieces) if piece.kind in ("start", "end")]
    for i, piece in enumerate(pieces):
        if piece.kind == "start":
            opened.add(piece.content)
        elif piece.kind == "end":
            opened.discard(piece.content)
        first = last = len(piece.content)
        if piece.kind == "text" and not opened:
            first = reach(piece.content, False) if i > marks[0] else 0
            last = reach(piece.content, True) if i < marks[-1] else 0
        if first + last >= len(piece.content):
            kept.append(piece)
            continue
        place = len(piece.content) - last
        ends = [piece._replace(content=piece.content[:first])]
        ends.append(Piece(piece.kind, piece.content[place:], piece.start + place))
        kept += [end for end in ends if end.content]
    return kept


def assemble(
    pieces: Sequence[Piece], segments: Iterator[Sequence], markers: Mapping[str, tuple], budget: int
) -> tuple[list, dict[str, tuple[int, int, int]], int]:
    """Puts the tokens of a laid-out text together, at most `budget` of them.

    Args:
        segments: the tokens of the "text" and "type" pieces, in order; only these are taken from the iterator.
        markers: role to (start marker, end marker).

    Returns:
        The tokens; for each role three places among them: its start marker, its mention's first token (behind the
        type prompt), and the end of its mention (its end marker; of an object both are); how many tokens are left out.

    Raises:
        ValueError: the tokenizer leaves nothing of a mention, or both mentions do not fit into `budget`. The message
            begins with the role or "head and tail".
    """
    tokens, starts, firsts, ends, sizes = [], {}, {}, {}, {}
    for kind, content, _ in pieces:
        if kind == "start":
            starts[content] = len(tokens)
            tokens.append(markers[content][0])
        elif kind == "end":
            ends[content] = len(tokens)
            tokens.append(markers[content][1])
        else:
            segment = next(segments)
            if kind == "text":
                for role in starts.keys() - ends.keys():
                    firsts.setdefault(role, len(tokens))
                    sizes[role] = sizes.get(role, 0) + len(segment)
            tokens.extend(segment)
    for role, size in sizes.items():
        if size == 0:
            raise ValueError(f"{role}: the tokenizer leaves nothing of the mention")
    places = {role: (starts[role], firsts.get(role, ends[role]), ends[role]) for role in MARKERS}
    if len(tokens) <= budget:
        return tokens, places, 0
    kept = keep_nearest(len(tokens), [(start, end) for start, _, end in places.values()], budget)
    places = {role: tuple(bisect_left(kept, place) for place in triple) for role, triple in places.items()}
    return [tokens[i] for i in kept], places, len(tokens) - len(kept)


def keep_nearest(length: int, blocks: Sequence[tuple[int, int]], budget: int) -> list[int]:
    """Which of `length` positions stay within `budget`: the blocks, (first, last), then what is nearest to one.

    Returns the kept positions, ascending; of two equally near the left one is kept.

    Raises:
        ValueError: the blocks alone do not fit.
    """
    places = np.arange(length)
    distances = np.min([np.maximum(np.maximum(first - places, places - last), 0) for first, last in blocks], axis=0)
    needed = np.count_nonzero(distances == 0)
    if needed > budget:
        raise ValueError(f"head and tail with their markers and types take {needed} tokens, but only {budget} fit")
    return sorted(distances.argsort(kind="stable")[:budget].tolist())


def place_tokens(pieces: Sequence[Piece], segments: Iterator[tuple]) -> list[list[Token]]:
    """The tokens of each "text" and "type" piece of a laid-out text, placed in the text's characters.

    A word is what the tokenizer takes for one (`BatchEncoding.word_ids`), cut at white space and at the edges of
    mentions. Accents that stand as characters of their own belong to the token before them.

    Args:
        segments: of the "text" and "type" pieces, in order: token ids, their character offsets in the piece, their
            word numbers in the piece; only these are taken from the iterator.
    """
    placed, word = [], -1
    for kind, content, place in pieces:
        if kind not in ("text", "type"):
            continue
        ids, offsets, numbers = next(segments)
        if kind == "type":
            placed.append([Token(i) for i in ids])
            continue
        tokens, last = [], None
        for i, (start, end), number in zip(ids, offsets, numbers, strict=True):
            # Byte-level and SentencePiece tokenizers count the blank before a word to it.
            surface = content[start:end]
            start += len(surface) - len(surface.lstrip())
            end = start + len(surface.strip())
            if start == end:
                tokens.append(Token(i))
                continue
            while end < len(content) and unicodedata.category(content[end]).startswith("M"):
                end += 1  # a tokenizer that takes accents off leaves them to no token
            # An accent that a token has for itself lies in the word before it.
            is_new = last is None or number != last[0] or any(map(str.isspace, content[last[1] : start]))
            word += is_new and (last is None or start >= last[1])
            last = number, end
            tokens.append(Token(i, place + start, place + end, word))
        placed.append(tokens)
    return placed


# Boxes through resize and crop


def shown_part(image_processor: Any, size: tuple[int, int] | None) -> Box:
    """Which part of a picture `image_processor` leaves in `pixel_values`, as corners in fractions of the picture.

    Outside of 0 to 1 where a centre crop is larger than the resized picture and adds a border.

    Args:
        image_processor: a transformers image processor that resizes, crops to the centre, or both.
        size: (width, height) of the upright picture in pixels; needed where the picture is cropped.

    Raises:
        ValueError: the image processor does something else to a picture's geometry, or `size` is missing.
    """
    kind = type(image_processor)
    for step in ("resize", "center_crop"):
        if getattr(kind, step, None) not in (getattr(PilBackend, step), getattr(TorchvisionBackend, step)):
            raise ValueError(f"boxes cannot follow {kind.__name__}: it has its own way to {step.replace('_', ' ')}")
    if getattr(image_processor, "do_pad", None):
        raise ValueError(f"boxes cannot follow {kind.__name__} with do_pad=True")
    if not getattr(image_processor, "do_center_crop", None):
        return WHOLE
    if size is None:
        raise ValueError(f"{kind.__name__} crops pictures: boxes can follow only where the picture's size is known")
    width, height = _resized(image_processor, size)
    crop = image_processor.crop_size
    left, top = (width - crop["width"]) // 2, (height - crop["height"]) // 2
    return left / width, top / height, (left + crop["width"]) / width, (top + crop["height"]) / height


def _resized(image_processor: Any, size: tuple[int, int]) -> tuple[int, int]:
    width, height = size
    if not image_processor.do_resize:
        return width, height
    target = image_processor.size
    if target["height"] and target["width"]:
        return target["width"], target["height"]
    if not target["shortest_edge"]:
        raise ValueError(f"boxes cannot follow {type(image_processor).__name__} with size={target}")
    if target["longest_edge"]:
        height, width = get_size_with_aspect_ratio((height, width), target["shortest_edge"], target["longest_edge"])
    else:
        picture = np.broadcast_to(np.uint8(0), (height, width, 3))  # a view: takes no memory
        height, width = get_resize_output_image_size(
            picture, target["shortest_edge"], default_to_square=False, input_data_format="channels_last"
        )
    return width, height


def follow(box: Box, shown: Box) -> Box | None:
    """A box of the picture, in fractions of what is shown of it (`shown_part`); None where nothing of it is shown."""
    left, top, right, bottom = shown
    x0, x1 = ((x - left) / (right - left) for x in (box[0], box[2]))
    y0, y1 = ((y - top) / (bottom - top) for y in (box[1], box[3]))
    x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, 1.0), min(y1, 1.0)
    return None if min(x1 - x0, y1 - y0) < MIN_SIDE else (x0, y0, x1, y1)


def share_shown(box: Box, shown: Box) -> float:
    """How much of a box's area is shown (`shown_part`), 0 to 1."""
    width, height = (max(min(box[i + 2], shown[i + 2]) - max(box[i], shown[i]), 0.0) for i in (0, 1))
    return width * height / ((box[2] - box[0]) * (box[3] - box[1]))

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Mention spans: checks, segments, markers, type prompts and the window of a long text. Pure functions of text.

The ROC paper (section 3.1) takes the head's and the tail's vectors at their place in the text and writes their types
into the text. Here `Tom Hanks` becomes `[HEAD] person : Tom Hanks [/HEAD]`, and an object of the picture is announced
by `[HEAD] person : a man in red [/HEAD]` in front of the text, as far as its type and a caption are known. The markers
never pass through the tokenizer: the text is cut at the spans into segments and the markers are put between the
tokenized segments, so a text that itself contains the characters "[HEAD]" stays plain text.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any, NamedTuple

MARKERS = {"head": ("[HEAD]", "[/HEAD]"), "tail": ("[TAIL]", "[/TAIL]")}


class Mention(NamedTuple):
    """A checked text mention: characters `[start, end)` without white space at either edge, and its type's words."""

    start: int
    end: int
    type: str | None


class Piece(NamedTuple):
    """A part of a laid-out text: kind "text" or "type" with the string to tokenize, "start" or "end" with the role."""

    kind: str
    content: str


def excerpt(text: str, length: int = 60) -> str:
    """The beginning of a text, quoted, for error messages."""
    return repr(text if len(text) <= length else text[:length] + "…")


def check_string(value: Any, what: str) -> str:
    """Returns `value` if it is a string that can be written as UTF-8 and is not blank.

    Raises:
        ValueError: otherwise; the message begins with `what`.
    """
    if not isinstance(value, str):
        raise ValueError(f"{what} must be a string, got {type(value).__name__}")
    if not value or value.isspace():
        raise ValueError(f"{what} is blank: {value!r}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} is not valid Unicode: {error}") from error
    return value


def join_tokens(tokens: Sequence[str], where: str) -> tuple[str, list[tuple[int, int]]]:
    """Joins tokens by one blank; returns the text and each token's `(start, end)` in its characters."""
    if not isinstance(tokens, (list, tuple)) or not all(isinstance(token, str) for token in tokens):
        raise ValueError(f"{where}: text must be a string or a list of strings, got {excerpt(repr(tokens))}")
    bounds, start = [], 0
    for token in tokens:
        bounds.append((start, start + len(token)))
        start += len(token) + 1
    return " ".join(tokens), bounds


def read_mention(text: str, bounds: list[tuple[int, int]] | None, mention: Mapping, where: str) -> Mention:
    """Checks one mention of `text`.

    Args:
        text: the text.
        bounds: the tokens' places in it if positions count tokens.
        mention: `start` and `end`, optionally `name` and `type`.
        where: the mention's name in error messages.

    Raises:
        ValueError: the span is empty, inverted, out of range, white space only, not of integers, or not what its
            `name` says.
    """
    start, end, name, words = (mention.get(key) for key in ("start", "end", "name", "type"))
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
    if name is not None and name != surface:
        raise ValueError(f"{span} reads {excerpt(surface)}, but its name is {name!r}; text: {excerpt(text)}")
    if not surface.strip():
        raise ValueError(f"{span} covers only white space, {surface!r}, of text {excerpt(text)}")
    start += len(surface) - len(surface.lstrip())
    return Mention(int(start), int(start) + len(surface.strip()), words)


def lay_out(text: str, pair: Mapping[str, Mention | str]) -> list[Piece]:
    """Cuts a text at its mentions and puts markers and type prompts between the segments.

    White space goes with the segment behind it, markers in front of it, so that a byte-level tokenizer sees " Tom".
    At one place ends stand before starts; of two starts the longer mention opens first, of two ends the shorter closes
    first. Nested and crossing mentions are fine. An object of the picture has no place in the text: its words stand
    between its markers in front of it.

    Args:
        text: the text.
        pair: role to its mention, or to the words (possibly none, "") of an object.
    """
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
            pieces.append(Piece("text", text[done:place]))
            done = place
        pieces.append(Piece(kind, role))
        if words is not None:
            pieces.append(Piece("type", f" {words} :"))
    if done < len(text):
        pieces.append(Piece("text", text[done:]))
    return pieces


def assemble(
    pieces: Sequence[Piece], segments: Iterator[list[int]], marker_ids: Mapping[str, tuple[int, int]], budget: int
) -> tuple[list[int], dict[str, tuple[int, int, int]]]:
    """Puts token ids together, at most `budget` of them.

    Args:
        pieces: a text as `lay_out` returns it.
        segments: the token ids of its "text" and "type" pieces, in order; only these are taken from the iterator.
        marker_ids: role to (start marker, end marker).
        budget: most ids to return.

    Returns:
        The ids, and for each role three places among them: its start marker, its mention's first token (behind the
        type prompt), and the end of its mention (its end marker; of an object both are).

    Raises:
        ValueError: the tokenizer leaves nothing of a mention, or both mentions do not fit into `budget`. The message
            begins with the role or "head and tail".
    """
    ids: list[int] = []
    starts: dict[str, int] = {}
    mentions: dict[str, int] = {}
    ends: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for kind, content in pieces:
        if kind == "start":
            starts[content] = len(ids)
            ids.append(marker_ids[content][0])
        elif kind == "end":
            ends[content] = len(ids)
            ids.append(marker_ids[content][1])
        else:
            segment = next(segments)
            ids.extend(segment)
            if kind == "text":
                for role in starts.keys() - ends.keys():
                    mentions.setdefault(role, len(ids) - len(segment))
                    sizes[role] = sizes.get(role, 0) + len(segment)
    for role, size in sizes.items():
        if size == 0:
            raise ValueError(f"{role}: the tokenizer leaves nothing of the mention")
    places = {role: (starts[role], mentions.get(role, ends[role]), ends[role]) for role in MARKERS}
    if len(ids) <= budget:
        return ids, places
    kept = keep_nearest(len(ids), [(start, end) for start, _, end in places.values()], budget)
    places = {role: tuple(bisect_left(kept, place) for place in triple) for role, triple in places.items()}
    return [ids[i] for i in kept], places


def keep_nearest(length: int, blocks: Sequence[tuple[int, int]], budget: int) -> list[int]:
    """Which of `length` positions stay within `budget`: the blocks, then what is nearest to one, ties: left first.

    Args:
        length: number of positions.
        blocks: (first, last) positions, both inclusive, that must stay.
        budget: number of positions to keep.

    Returns:
        The kept positions, ascending.

    Raises:
        ValueError: the blocks alone do not fit.
    """

    def distance(position: int) -> int:
        return min(max(first - position, position - last, 0) for first, last in blocks)

    needed = sum(distance(position) == 0 for position in range(length))
    if needed > budget:
        raise ValueError(f"head and tail with their markers and types take {needed} tokens, but only {budget} fit")
    return sorted(sorted(range(length), key=lambda position: (distance(position), position))[:budget])

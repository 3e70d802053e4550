# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""From a text with spans in characters to tokens with spans in tokens."""

import bisect
import re
from collections.abc import Sequence


def split_text(text: str, spans: Sequence[tuple[int, int]]) -> tuple[list[str], list[tuple[int, int]], bool]:
    """Splits a text at white space, and where a span begins or ends inside a word, there too.

    No character but white space is lost: tokens joined by nothing are the text without its white space, and the
    tokens of a span are the span without its white space. Joined by a blank, as the model reads them, a word that was
    split has a blank inside: "Rovers'" with a span over "Rovers" is read as "Rovers '".

    Args:
        text: any text.
        spans: [start, end) in characters (Python's, that is Unicode code points), within the text.

    Returns:
        The tokens, the spans as [start, end) in tokens, and whether a word was split.

    Raises:
        ValueError: if a span covers white space only.
    """
    edges = sorted({edge for span in spans for edge in span})
    starts, ends, tokens = [], [], []
    for word in re.finditer(r"\S+", text):
        first, last = word.span()
        cuts = [first, *(edge for edge in edges if first < edge < last), last]
        starts += cuts[:-1]
        ends += cuts[1:]
        tokens += [text[start:end] for start, end in zip(cuts, cuts[1:], strict=False)]
    places = [(bisect.bisect_left(starts, start), bisect.bisect_right(ends, end)) for start, end in spans]
    for (start, end), (first, last) in zip(spans, places, strict=True):
        if first >= last:
            raise ValueError(f"the span {[start, end]} covers only white space, {text[start:end]!r}")
    return tokens, places, len(tokens) > len(text.split())

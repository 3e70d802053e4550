# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""From tokens back to the text: which characters, and which word, a token of a laid-out text stands for."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from .spans_roc import Piece


class Token(NamedTuple):
    """A token id, the characters `[start, end)` of the text that it stands for, and the number of its word.

    Markers, type prompts, special tokens and white space stand for no characters: (0, 0), word -1.
    """

    id: int
    start: int = 0
    end: int = 0
    word: int = -1


def without_place(ids: Iterable[int]) -> tuple[Token, ...]:
    """Tokens that stand for no characters."""
    return tuple(Token(i) for i in ids)


def place_tokens(text: str, pieces: Sequence[Piece], segments: Iterator[tuple]) -> list[list[Token]]:
    """Places the tokens of a laid-out text in its characters.

    A word is what the tokenizer takes for one (`BatchEncoding.word_ids`), cut at white space and at the edges of
    mentions.

    Args:
        text: the text.
        pieces: as `lay_out` returns them.
        segments: of the "text" and "type" pieces, in order: token ids, their character offsets in the piece, their
            word numbers in the piece; only these are taken from the iterator.

    Returns:
        The tokens of each "text" and "type" piece.
    """
    placed, place, word = [], 0, -1
    for kind, content in pieces:
        if kind not in ("text", "type"):
            continue
        ids, offsets, numbers = next(segments)
        if kind == "type":
            placed.append([*without_place(ids)])
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
            if last is None or number != last[0] or any(map(str.isspace, content[last[1] : start])):
                word += 1
            last = number, end
            tokens.append(Token(i, place + start, place + end, word))
        placed.append(tokens)
        place += len(content)
    return placed


def pad_places(rows: Sequence[Sequence[Token]], padded_ids: Sequence[Sequence[int]]) -> dict[str, list]:
    """`offset_mapping` (batch, length, 2) and `word_ids` (batch, length) of the rows, as long as `padded_ids`."""
    longer = [
        [*row, *without_place(ids[len(row) :])] for row, ids in zip(rows, padded_ids, strict=True)
    ]  # padding is on the right
    return {
        "offset_mapping": [[(token.start, token.end) for token in row] for row in longer],
        "word_ids": [[token.word for token in row] for row in longer],
    }


def word_spans(offsets: Sequence[tuple[int, int]], words: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Word number to its characters `[start, end)`, of the tokens' offsets and word numbers; -1 is no word.

    Of a word of which tokens were cut away, as of a text that is too long, it is the part that is left.
    """
    spans: dict[int, tuple[int, int]] = {}
    for (start, end), word in zip(offsets, words, strict=True):
        if word >= 0:
            first, last = spans.get(word, (start, end))
            spans[word] = min(first, start), max(last, end)
    return spans

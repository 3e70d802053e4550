# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_scripts.converters.jsonl import split_text
from processing_roc.spans_and_boxes_roc import (
    MARKERS,
    Mention,
    assemble,
    join_tokens,
    keep_nearest,
    lay_out,
    read_entities,
    read_example,
)


def show(text, head, tail, head_type=None, tail_type=None):
    """A laid-out text as one string: what stands between the bars goes through the tokenizer on its own."""
    pieces = lay_out(text, {"head": Mention(*head, head_type), "tail": Mention(*tail, tail_type)})
    signs = {"start": "<{}>", "end": "</{}>", "text": "|{}|", "type": "({})"}
    return "".join(signs[kind].format(content) for kind, content, _ in pieces)


def test_tokens_are_joined_by_one_blank():
    assert join_tokens(["a", "", "bc"]) == ("a  bc", [(0, 1), (2, 2), (3, 5)])


@pytest.mark.parametrize(
    ("head", "tail", "expected"),
    [
        ((0, 3), (9, 12), "<head>|New|</head>| York|<tail>| Cit|</tail>| y|"),
        ((9, 12), (0, 3), "<tail>|New|</tail>| York|<head>| Cit|</head>| y|"),
        ((0, 8), (4, 8), "<head>|New|<tail>| York|</tail></head>| City|"),  # two ends: the shorter closes first
        ((0, 3), (0, 8), "<tail><head>|New|</head>| York|</tail>| City|"),  # two starts: the longer opens first
        ((0, 3), (4, 8), "<head>|New|</head><tail>| York|</tail>| City|"),  # touching but for white space
        ((0, 3), (3, 5), "<head>|New|</head><tail>| Y|</tail>| ork City|"),
        ((0, 8), (4, 13), "<head>|New|<tail>| York|</head>| City|</tail>"),  # crossing
        ((4, 8), (0, 13), "<tail>|New|<head>| York|</head>| City|</tail>"),
    ],
)
def test_layout(head, tail, expected):
    assert show("New York City", head, tail) == expected


def test_type_prompts_stand_behind_their_start_marker():
    assert (
        show("New York", (0, 8), (4, 8), "place", "word")
        == "<head>( place :)|New|<tail>( word :)| York|</tail></head>"
    )


def test_leading_white_space_goes_with_the_first_mention():
    assert show("  a b", (2, 3), (4, 5)) == "<head>|  a|</head><tail>| b|</tail>"


def test_assemble_by_hand():
    pieces = lay_out("New York City", {"head": Mention(0, 8, "place"), "tail": Mention(4, 8, None)})
    segments = iter([[5, 6], [7], [8], [9, 10], [99]])
    ids, places, left_out = assemble(pieces, segments, {"head": (1, 2), "tail": (3, 4)}, 10)
    assert ids == [1, 5, 6, 7, 3, 8, 4, 2, 9, 10] and left_out == 0
    assert places == {"head": (0, 3, 7), "tail": (4, 5, 6)}  # the head's mention begins behind its type prompt
    assert next(segments) == [99], "the next example's segments are left alone"


def test_assemble_windows():
    pieces = lay_out("a b c d e f g", {"head": Mention(4, 5, None), "tail": Mention(8, 9, None)})  # c and e
    segments = [[10, 11], [12], [13], [14], [15, 16]]
    full = [10, 11, 1, 12, 2, 13, 3, 14, 4, 15, 16]
    ids = {"head": (1, 2), "tail": (3, 4)}
    for budget, expected, head, tail in [
        (11, full, 2, 6),
        (10, full[:10], 2, 6),
        (9, full[1:10], 1, 5),
        (8, [11, 1, 12, 2, 13, 3, 14, 4], 1, 5),
        (6, [1, 12, 2, 3, 14, 4], 0, 3),
    ]:
        places = {"head": (head, head + 1, head + 2), "tail": (tail, tail + 1, tail + 2)}
        assert assemble(pieces, iter(segments), ids, budget) == (expected, places, 11 - budget)
    with pytest.raises(ValueError, match="take 6 tokens, but only 5 fit"):
        assemble(pieces, iter(segments), ids, 5)


@pytest.mark.parametrize("vanished", ["head", "tail"])
def test_a_mention_that_vanishes_is_refused(vanished):
    pieces = lay_out("a b", {"head": Mention(0, 1, "x"), "tail": Mention(2, 3, "x")})
    segments = [[5], [] if vanished == "head" else [6], [5], [] if vanished == "tail" else [6]]
    with pytest.raises(ValueError, match=f"^{vanished}: the tokenizer leaves nothing"):
        assemble(pieces, iter(segments), {"head": (1, 2), "tail": (3, 4)}, 100)


def test_keep_nearest_by_hand():
    # Distances: 2 1 0 0 1 1 0 2 and so on; at distance 1 the left one goes first.
    assert keep_nearest(9, [(2, 3), (6, 6)], 3) == [2, 3, 6]
    assert keep_nearest(9, [(2, 3), (6, 6)], 4) == [1, 2, 3, 6]
    assert keep_nearest(9, [(2, 3), (6, 6)], 5) == [1, 2, 3, 4, 6]
    assert keep_nearest(9, [(2, 3), (6, 6)], 7) == [1, 2, 3, 4, 5, 6, 7]
    assert keep_nearest(9, [(2, 5), (4, 6)], 5) == [2, 3, 4, 5, 6]
    with pytest.raises(ValueError, match="take 5 tokens, but only 4 fit"):
        keep_nearest(9, [(2, 5), (4, 6)], 4)


def test_a_long_text_is_windowed_quickly():
    kept = keep_nearest(100_000, [(10, 12), (90_000, 90_003)], 126)
    assert len(kept) == 126 and kept[0] == 0 and {10, 11, 12, 90_000, 90_003} <= set(kept)


texts = st.lists(st.sampled_from([" ", "  ", "\n", "\u3000"]) | st.text(max_size=6), min_size=1, max_size=8).map(
    "".join
)


@st.composite
def examples(draw):
    """A text and two different spans, each with something to read in it."""
    text = draw(texts.filter(lambda text: len(text.split()) and any(not c.isspace() for c in text)))
    places = [i for i, c in enumerate(text) if not c.isspace()]
    spans = []
    for _ in range(2):
        inside = draw(st.sampled_from(places))
        spans.append((draw(st.integers(0, inside)), draw(st.integers(inside + 1, len(text)))))
    return text, *spans


@given(examples())
def test_layout_keeps_the_text_and_marks_the_mentions(example):
    text, *spans = example
    head, tail = ({"start": start, "end": end} for start, end in spans)
    if len({(text[a:b].strip(), a + len(text[a:b]) - len(text[a:b].lstrip())) for a, b in spans}) == 1:
        with pytest.raises(ValueError, match="same span"):
            read_example(text, head, tail, None, None)
        return
    given, (text, pair, _) = text, read_example(text, head, tail, None, None)
    mentions = pair.values()
    pieces = lay_out(text, pair)
    solid = [
        (mention.start, mention.end) for mention in read_entities(given, {0: head, 1: tail}, None, None)[1].values()
    ]
    assert "".join(one.content for one in pieces if one.kind == "text") == " ".join(split_text(given, solid)[0])
    for one in pieces:
        first = len(one.content) - len(one.content.lstrip())
        assert one.kind != "text" or text.startswith(one.content[first:], one.start + first)
    for role, mention, (start, end) in zip(MARKERS, mentions, spans, strict=True):
        opened, closed = pieces.index(("start", role, 0)), pieces.index(("end", role, 0))
        marked = "".join(one.content for one in pieces[opened:closed] if one.kind == "text")
        assert text[mention.start : mention.end] == " ".join(given[start:end].split())
        assert marked.replace(" ", "") == text[mention.start : mention.end].replace(" ", "")
        assert marked == marked.rstrip()
    order = [one.kind for one in pieces if one.kind != "text"]
    assert order in (["start", "end", "start", "end"], ["start", "start", "end", "end"])


@given(st.integers(2, 60), st.data())
def test_keep_nearest_keeps_blocks_and_what_is_nearest(length, data):
    spans = st.tuples(st.integers(0, length - 1), st.integers(0, length - 1)).map(sorted)
    blocks = data.draw(st.tuples(spans, spans))
    inside = {i for first, last in blocks for i in range(first, last + 1)}
    budget = data.draw(st.integers(len(inside), length))
    kept = keep_nearest(length, blocks, budget)
    assert len(kept) == budget and kept == sorted(set(kept)) and inside <= set(kept)
    distances = [min(abs(i - j) for j in inside) for i in range(length)]
    dropped = set(range(length)) - set(kept)
    assert not dropped or max(distances[i] for i in kept) <= min(distances[i] for i in dropped)

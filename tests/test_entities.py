# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_scripts.converters.entity_typing import LABELS_OF_TYPE
from processing_roc.spans_and_boxes_roc import TAGS, Mention, Region, find_words, read_example

TEXT = "Tom Hanks lives in Los Angeles"
HEAD = {"start": 0, "end": 9}
TAIL = {"start": 19, "end": 30}
LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)


def read(head, tail, objects=None, text=TEXT, size=(200, 100)):
    return read_example(text, head, tail, objects, size)


def test_positions_count_characters_of_a_string_and_tokens_of_a_list():
    expected = (TEXT, {"head": Mention(0, 9, "person"), "tail": Mention(19, 30, None)}, [])
    assert read(HEAD | {"type": "person"}, TAIL) == expected
    tokens = {"start": np.int32(0), "end": 2, "type": "person"}, {"start": 4, "end": 6}
    assert read(*tokens, text=TEXT.split()) == expected


def test_a_row_of_the_data_set_is_accepted_as_it_is():
    row = {"name": "Los Angeles", "kind": "text", "start": 4, "end": 6, "box": None, "type": "unknown"}
    assert read({"start": 0, "end": 1}, row, text=TEXT.split()).pair["tail"] == Mention(19, 30, "unknown")


def test_white_space_at_a_spans_edges_is_not_part_of_the_mention():
    assert read({"start": 3, "end": 10}, TAIL).pair["head"] == Mention(4, 9, None)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ({"start": 4, "end": 4}, r"^head span \[4, 4\) in characters is empty; the text has 30 characters"),
        ({"start": 9, "end": 4}, r"head span \[9, 4\) in characters is inverted"),
        ({"start": 0, "end": 31}, r"head span \[0, 31\) in characters is out of range.*Tom Hanks"),
        ({"start": -3, "end": 2}, "out of range"),
        ({"start": 3, "end": 4}, "covers only white space"),
        ({"start": True, "end": 4}, "head: start must be an integer, got True"),
        ({"start": 0, "end": 4.0}, "head: end must be an integer, got 4.0"),
        ({"start": 0}, "head: end must be an integer, got None"),
        (
            {"start": 0, "end": 9, "name": "Tom"},
            r"head span \[0, 9\) in characters reads 'Tom Hanks', but its name is 'Tom'",
        ),
        ({"start": 0, "end": 9, "type": " "}, "head: type is blank"),
        ({"start": 0, "end": 9, "type": 3}, "head: type must be a string, got int"),
        ({"start": 0, "end": 9, "pos": [0, 2]}, r"head has unknown keys \['pos'\]"),
        ({"start": 0, "end": 9, "kind": "entity"}, "kind must be 'text', 'object' or None"),
        ({"start": 0, "end": 9, "box": [0, 0, 1, 1]}, "head gives both a span and a box"),
        ({"start": 0, "end": 9, "caption": "a man"}, "has a caption, but gives a span"),
        ({"start": 0, "end": 9, "kind": "object"}, "head needs start and end of a mention, or an object's box"),
        ({}, "head needs start and end of a mention, or an object's box"),
        ({"kind": "text", "box": [0, 0, 1, 1]}, "head is a mention in the text and has no box"),
        ([0, 9, 3], "head must be a dict"),
        (TAIL, "^head and tail are the same span, 'Los Angeles'"),
        ({"start": 18, "end": 30}, "same span"),
    ],
)
def test_wrong_mentions_are_refused(head, message):
    with pytest.raises(ValueError, match=message):
        read(head, TAIL)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "text is blank"),
        (" \n", "text is blank"),
        ([], "text is blank"),
        (["Tom", 3], "must be a string or a list of strings"),
        (None, "must be a string or a list of strings"),
        ("Tom \ud800 lives in Los Angeles!", "^text is not valid Unicode"),
        (["Tom", ""], r"head span \[0, 9\) in tokens is out of range; the text has 2 tokens"),
    ],
)
def test_wrong_texts_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        read(HEAD, TAIL, text=text)


def test_an_object_in_each_form():
    for form, value in [
        ("box", [0.25, 0.5, 0.75, 1.0]),
        ("box_pixels", [50, 50, 150, 100]),
        ("box_center", np.array([0.5, 0.75, 0.5, 0.5], dtype=np.float32)),
        ("box_center_pixels", (100, 75, 100, 50)),
    ]:
        region = Region((0.25, 0.5, 0.75, 1.0), None, None, None)
        assert read(HEAD, {form: value}) == (TEXT, {"head": Mention(0, 9, None), "tail": region}, [region])


def test_entities_come_before_other_objects_and_are_found_by_name_or_box():
    objects = [
        {"name": "a", "box": LEFT, "caption": "a man in red"},
        {"name": "b", "box": LEFT, "caption": "his shirt"},
        {"box": RIGHT, "type": "person"},
    ]
    example = read({"name": "b", "kind": "object", "start": None, "end": None, "box": LEFT}, {"box": RIGHT}, objects)
    head, tail = Region(LEFT, "b", None, "his shirt", 1), Region(RIGHT, None, "person", None, 2)
    assert example.pair == {"head": head, "tail": tail}
    assert example.objects == [head, tail, Region(LEFT, "a", None, "a man in red", 0)]
    assert read({"box": LEFT, "type": "thing", "caption": "red"}, TAIL, objects).pair["head"][2:4] == ("thing", "red")
    # One place, two objects.
    assert len(read({"box": LEFT, "name": "a"}, {"box": LEFT, "name": "b"}, objects).objects) == 3


def test_a_pair_of_objects_needs_no_text():
    assert read({"box": LEFT}, {"box": RIGHT}, text="").text == ""
    assert read({"box": LEFT}, {"box": RIGHT}, text=[]).text == ""
    with pytest.raises(ValueError, match="text is blank"):
        read({"box": LEFT}, HEAD, text="")


@pytest.mark.parametrize(
    ("head", "objects", "message"),
    [
        ({"box": [0, 0, 1]}, None, "^head: box must be four numbers"),
        ({"box": "0011"}, None, "box must be four numbers"),
        ({"box": 3}, None, "box must be four numbers"),
        ({"box": [0, 0, 1, float("nan")]}, None, "head: box must be four finite numbers"),
        ({"box": [0, 0, True, 1]}, None, "four finite numbers"),
        ({"name": "cup", "box": [0.5, 0, 0.2, 1]}, None, r"head 'cup': box \[0.5, 0, 0.2, 1\] is inverted"),
        ({"box": [0.5, 0, 0.5, 1]}, None, "is empty"),
        ({"box_center": [0.5, 0.5, 0.0, 0.5]}, None, "box_center .* is empty"),
        ({"box_center": [0.5, 0.5, -0.1, 0.5]}, None, "box_center .* is inverted"),
        ({"box": [0, 0, 1.01, 1]}, None, "reaches out of the picture of 200 × 100 pixels"),
        ({"box": [0, 0, 50, 50]}, None, "reaches out of the picture"),
        ({"box_pixels": [0, 0, 201, 50]}, None, "reaches out of the picture"),
        ({"box": LEFT, "box_pixels": [0, 0, 2, 2]}, None, "gives its box more than once: box, box_pixels"),
        ({"box": LEFT, "type": ""}, None, "head: type is blank"),
        ({"box": LEFT, "caption": " "}, None, "head: caption is blank"),
        ({"box": LEFT, "name": "a"}, [{"box": RIGHT, "name": "a"}], "is called 'a', as is another box"),
        ({"box": LEFT}, [{"box": RIGHT, "name": "a"}, {"box": LEFT, "name": "a"}], "object 1: another object is call"),
        ({"box": LEFT}, [{"name": "a"}], "object 0 'a' needs a box"),
        ({"box": LEFT}, [LEFT], "object 0 must be a dict with a box"),
        ({"box": LEFT}, [{"box": LEFT, "label": "x"}], r"object 0 has unknown keys \['label'\]"),
        ({"box": LEFT}, "cup", "objects must be a list of dicts"),
        ({"box": LEFT}, [{"box": [0, 0, 2, 1]}], "^object 0: box .* reaches out"),
    ],
)
def test_wrong_objects_are_refused(head, objects, message):
    with pytest.raises(ValueError, match=message):
        read(head, TAIL, objects)


def test_the_same_object_twice_is_refused():
    with pytest.raises(ValueError, match="head and tail are the same object, box"):
        read({"box": LEFT}, {"box_pixels": [0, 0, 100, 100]})
    with pytest.raises(ValueError, match="the same object, 'cup'"):
        read({"box": LEFT, "name": "cup"}, {"box": LEFT, "name": "cup"})


def test_pixels_need_a_picture():
    with pytest.raises(ValueError, match="tail: box_pixels counts pixels, but there is no picture"):
        read(HEAD, {"box_pixels": [0, 0, 2, 2]}, size=None)


def test_rounding_over_the_edge_is_cut_off():
    box = read(HEAD, {"box_center": [0.75, 0.5, 0.50001, 1.00002]}).pair["tail"].box
    assert box == (pytest.approx(0.5, abs=1e-5), 0.0, 1.0, 1.0)


@given(
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.lists(st.floats(0, 1), min_size=2, max_size=2, unique=True),
    st.lists(st.floats(0, 1), min_size=2, max_size=2, unique=True),
)
def test_all_forms_say_the_same(width, height, across, down):
    (x0, x1), (y0, y1) = sorted(across), sorted(down)
    if min(x1 - x0, y1 - y0) < 1e-5:
        return
    forms = {
        "box": (x0, y0, x1, y1),
        "box_pixels": (x0 * width, y0 * height, x1 * width, y1 * height),
        "box_center": ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0),
    }
    cx, cy, w, h = forms["box_center"]
    forms["box_center_pixels"] = (cx * width, cy * height, w * width, h * height)
    for form, value in forms.items():
        box = read(HEAD, {form: value}, size=(width, height)).pair["tail"].box
        assert box == pytest.approx((x0, y0, x1, y1), abs=1e-9)


# Other forms of an entity


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ((0, 9), (0, 9, None)),
        (np.array([0, 9]), (0, 9, None)),
        ([torch.tensor(0), np.int64(9)], (0, 9, None)),
        ({"start": torch.tensor(0), "end": np.array(9), "type": np.str_("person")}, (0, 9, "person")),
        ("Tom Hanks", (0, 9, None)),
        ("Tom", (0, 3, None)),
        ({"start": 0, "end": 10, "name": "Tom Hanks"}, (0, 9, None)),
        (
            {"entity_group": "PER", "score": np.float32(0.9), "word": "tom hanks", "start": 0, "end": 9},
            (0, 9, "person"),
        ),
        ({"entity": "B-LOC", "score": 0.9, "index": 1, "word": "Tom", "start": 0, "end": 3}, (0, 3, "location")),
        (
            {"entity": "I-Gadget", "score": 0.9, "index": 1, "word": "Tom", "start": None, "end": None},
            (0, 3, "Gadget"),
        ),
    ],
)
def test_a_mention_in_every_form(head, expected):
    assert read(head, TAIL).pair["head"] == Mention(*expected)


def test_an_object_as_a_detector_gives_it():
    box = {"xmin": -3, "ymin": 50, "xmax": 50, "ymax": np.int64(101)}
    found = read(
        HEAD, {"score": np.float32(0.7), "label": "dog", "box": box}, [{"box": box, "label": "dog", "score": 1}]
    )
    assert found.pair["tail"] == found.objects[0] and len(found.objects) == 1
    assert found.pair["tail"][:3] == ((0.0, 0.5, 0.25, 1.0), None, "dog")


def test_words_are_found_where_they_stand_alone():
    text = "Tomorrow Tom's 马云在杭州 sees Tom2 and #Noah"
    for words in ("Tom", "马云", "Noah"):
        (start, end), place = find_words(text, words, "head"), text.index(words)
        assert text[start:end] == words and (start == place or words == "Tom")
    assert find_words(text, "Tom", "head") == (9, 12)
    assert read("Noah", "Tom", text=text.split()).pair["head"] == Mention(len(text) - 4, len(text), None)
    for words, message in [
        ("morrow", "^head 'morrow' is in the text only within longer words; give its start and end"),
        ("Maya", "^head 'Maya' is not in the text"),
        (" ", "^head is blank"),
    ]:
        with pytest.raises(ValueError, match=message):
            find_words(text, words, "head")
    with pytest.raises(ValueError, match=r"^tail 'Tom' is in the text at \[0, 3\), \[8, 11\)"):
        read(HEAD | {"end": 7}, "Tom", text="Tom and Tom")


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (3, r"^head must be a dict, \[start, end\) as two integers, or words of the text, got 3"),
        ((0.0, 9.0), r"^head must be a dict.*got \(0.0, 9.0\)"),
        ((True, 9), "^head: start must be an integer, got True"),
        (b"Tom", "^head must be a dict"),
        (
            {"label": "/per/per/peer", "score": 0.9, "start": 0, "end": 9},
            r"^head has unknown keys \['label', 'score'\]",
        ),
        ({"start": 0, "end": 9, "relation": "peer"}, r"^head has unknown keys \['relation'\]"),
        ({"entity": 3, "start": 0, "end": 9}, "^head: the tag must be a string, got 3"),
        ({"start": 0, "end": 9, "name": 3}, "^head span .* reads 'Tom Hanks', but its name is 3"),
        ({"box": {"xmin": 0, "ymin": 0, "xmax": 9}}, "^head: box must be four numbers, or xmin, ymin, xmax, ymax"),
        ({"box_pixels": {"xmin": 0, "ymin": 0, "xmax": 9, "ymax": 9}}, "^head: box_pixels must be four numbers"),
        (
            {"box": {"xmin": 300, "ymin": 0, "xmax": 400, "ymax": 9}},
            "^head: box_pixels .* reaches out of the picture of 200 × 100",
        ),
        ({"box": LEFT, "name": 3}, "^head 3: name must be a string, got int"),
    ],
)
def test_wrong_forms_are_named(head, message):
    with pytest.raises(ValueError, match=message):
        read(head, TAIL)


def test_a_taggers_positions_do_not_fit_tokens():
    with pytest.raises(ValueError, match="^head counts characters, as a tagger does: give the text as a string"):
        read({"entity_group": "PER", "start": 0, "end": 3}, TAIL, text=TEXT.split())


def test_taggers_labels_are_those_that_data_sets_are_typed_by():
    assert TAGS == {word: labels for word, labels in LABELS_OF_TYPE.items() if word is not None}

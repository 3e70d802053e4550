# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The demo set: its rows hold together, the text alone decides nothing, and the picture decides everything."""

from collections import Counter, defaultdict

import pytest
import torch
from PIL import ImageColor
from transformers import AutoModel, AutoTokenizer

from data_scripts.demo.dataset import (
    NEGATIVE_RELATION,
    OBJECT_RELATIONS,
    RELATIONS,
    build_demo_tokenizer,
    demo_backbone_configs,
    demo_image_processor,
    load_demo,
    load_demo_descriptions,
)
from data_scripts.demo.pictures import PICTURE_SIZE, THINGS
from data_scripts.schema import dataset_features
from evaluation_roc.relation_f1.relation_f1 import compute_relation_f1

# A colour that only this thing has.
CUE_COLOURS = {
    "heart": "#d62839", "ball": "#f08a24", "shirt": "#2563c9", "tie": "#8e2fb8", "house": "#a8442f",
    "pram": "#f28cb1", "stage": "#a4161a", "trophy": "#f5c518",
}  # fmt: skip
FIGURE_COLOUR = ImageColor.getrgb("#7d8471")


@pytest.fixture(scope="module")
def demo():
    return load_demo(num_train=540, num_validation=270, num_test=540)


def as_rows(split):
    """The split's rows with the relation's name, without decoding a picture."""
    names = split.features["relation"].names
    rows = split.remove_columns("image").to_list()
    return [row | {"relation": names[row["relation"]]} for row in rows]


def kinds_of(row):
    return row["head"]["kind"], row["tail"]["kind"]


def read_of_text(row):
    """All that a reader of the text alone knows of a row."""
    return str((row["tokens"], *(row[role] if row[role]["kind"] == "text" else "object" for role in ("head", "tail"))))


def test_rows_follow_the_schema(demo):
    names = [NEGATIVE_RELATION, *RELATIONS]
    assert {split: len(rows) for split, rows in demo.items()} == {"train": 540, "validation": 270, "test": 540}
    for split in demo.values():
        assert split.features == dataset_features(names)
        for row in as_rows(split):
            objects = {one["name"]: one["box"] for one in row["objects"]}
            assert len(objects) == len(row["objects"]) == (2 if kinds_of(row) == ("text", "text") else 4)
            for entity in (row["head"], row["tail"]):
                if entity["kind"] == "text":
                    assert entity["box"] is None
                    assert " ".join(row["tokens"][entity["start"] : entity["end"]]) == entity["name"]
                else:
                    assert entity["box"] == objects[entity["name"]] and entity["type"] is None
                    assert entity["start"] is entity["end"] is None
            assert row["head"] != row["tail"]
        kinds = Counter(map(kinds_of, as_rows(split)))
        half, quarter = len(split) // 2, len(split) // 4
        assert abs(kinds["text", "object"] - quarter) < 3 and abs(kinds["object", "object"] - quarter) < 3
        assert kinds["text", "text"] == half
    rows = [row for split in demo.values() for row in as_rows(split)]
    assert len({row["id"] for row in rows}) == len(rows)
    assert any(row["head"]["kind"] == "text" and (row["head"]["start"] > (row["tail"]["start"] or 99)) for row in rows)


def test_rows_share_pictures_and_splits_share_nothing(demo):
    seen_ids, seen_posts = set(), set()
    for split in demo.values():
        table = split.data.table
        contents = defaultdict(set)
        for image_id, image in zip(table["image_id"].to_pylist(), table["image"].to_pylist(), strict=True):
            contents[image_id].add(image["bytes"])
        assert all(len(same) == 1 for same in contents.values())
        assert len(set.union(*contents.values())) == len(contents)
        assert set(Counter(table["image_id"].to_pylist()).values()) == {2, 3, 6}
        posts = {tuple(tokens) for tokens in table["tokens"].to_pylist()}
        assert not seen_ids & contents.keys() and not seen_posts & posts
        seen_ids |= contents.keys()
        seen_posts |= posts
    picture = demo["train"][0]["image"]
    assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (PICTURE_SIZE, PICTURE_SIZE))


def test_text_and_types_leave_every_relation_equally_likely(demo):
    for name in ("train", "test"):
        groups = defaultdict(Counter)
        for row in as_rows(demo[name]):
            groups[read_of_text(row)][row["relation"]] += 1
        for counts in groups.values():
            assert len(counts) == 3 and NEGATIVE_RELATION in counts and len(set(counts.values())) == 1
        objects = [row["relation"] for row in as_rows(demo[name]) if "object" in kinds_of(row)]
        assert set(Counter(objects).values()) == {len(objects) // 3, len(objects) // 9}


def test_the_best_reader_of_the_text_alone_reaches_04(demo):
    """Even one who has seen the test set's labels: in each group, whichever answer he gives, a third is right."""
    names = demo["test"].features["relation"].names
    for kinds in (("text", "text"), ("text", "object"), ("object", "object")):
        rows = [row for row in as_rows(demo["test"]) if kinds_of(row) == kinds]
        answer = {}
        for row in rows:
            if row["relation"] != NEGATIVE_RELATION:
                answer[read_of_text(row)] = names.index(row["relation"])
        predictions = [answer[read_of_text(row)] for row in rows]
        references = [names.index(row["relation"]) for row in rows]
        scores = compute_relation_f1(predictions, references, num_labels=len(names), negative_label=0)
        assert scores["micro_f1"] == pytest.approx(0.4)


def colours_in(image, box=(0, 0, 1, 1)):
    part = image.crop([round(edge * PICTURE_SIZE) for edge in box])
    return {colour for count, colour in part.getcolors(PICTURE_SIZE**2) if count >= 5}


def test_types_and_the_things_in_the_picture_or_the_boxes_decide(demo):
    shown = {thing: ImageColor.getrgb(colour) for thing, colour in CUE_COLOURS.items()}
    assert set(shown) == {thing for *_, thing in RELATIONS.values()}
    differently = set()
    of_picture = {}
    for row, image in zip(as_rows(demo["test"]), demo["test"]["image"], strict=True):
        head, tail = row["head"], row["tail"]
        if tail["kind"] == "text":
            colours = colours_in(image)
            possible = [name for name, (*of, _) in RELATIONS.items() if tuple(of) == (head["type"], tail["type"])]
        else:
            colours = colours_in(image, tail["box"])
            is_person = head["kind"] == "text" or FIGURE_COLOUR in colours_in(image, head["box"])
            possible = OBJECT_RELATIONS if is_person else []
        fitting = [relation for relation in possible if shown[RELATIONS[relation][2]] in colours]
        assert (fitting or [NEGATIVE_RELATION]) == [row["relation"]]
        if of_picture.setdefault(row["image_id"], row["relation"]) != row["relation"]:
            differently.add(row["image_id"])
    assert len(differently) > len(of_picture) / 2


def test_cue_colours_belong_to_one_thing_each():
    for thing, colour in CUE_COLOURS.items():
        assert [other for other, shapes in THINGS.items() if any(shape[1] == colour for shape in shapes)] == [thing]


def test_same_arguments_same_rows(demo):
    again = load_demo(num_train=1, num_validation=7, num_test=540)
    assert again["test"].data.table.equals(demo["test"].data.table)
    assert (len(again["train"]), len(again["validation"])) == (1, 7)
    other = load_demo(seed=1, num_train=1, num_validation=1, num_test=540)
    assert other["test"]["tokens"] != again["test"]["tokens"]


@pytest.mark.parametrize("num_rows", [0, -1, 100_001])
def test_a_number_of_rows_out_of_range_is_an_error(num_rows):
    with pytest.raises(ValueError, match="validation split can have 1 to 100,000 rows, not"):
        load_demo(num_train=1, num_validation=num_rows, num_test=1)


def test_descriptions_fit_the_relations():
    content = load_demo_descriptions()
    assert list(content["relations"]) == [NEGATIVE_RELATION, *RELATIONS]
    assert content["negative_relation"] == NEGATIVE_RELATION
    for relation, (*_, thing) in RELATIONS.items():
        first, second = content["relations"][relation]["descriptions"]
        assert thing in first and "head" in second


def test_tokenizer_knows_the_demo_and_spells_the_rest(demo, tmp_path):
    tokenizer = build_demo_tokenizer()
    texts = [" ".join(row["tokens"]) for split in demo.values() for row in as_rows(split)]
    texts += [text for entry in load_demo_descriptions()["relations"].values() for text in entry["descriptions"]]
    texts += ["person : organization : location : miscellaneous : unknown :"]
    for tokens in map(tokenizer.tokenize, texts):
        assert tokenizer.unk_token not in tokens and not any(token.startswith("##") for token in tokens)
    assert tokenizer.tokenize("Zoë, 7!") == ["z", "##o", "##e", ",", "7", "!"]
    ids = tokenizer("Maya tonight").input_ids
    assert tokenizer.convert_ids_to_tokens(ids) == ["[CLS]", "maya", "tonight", "[SEP]"]
    assert tokenizer.pad_token_id == 0 and tokenizer.mask_token == "[MASK]"
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again(texts).input_ids == tokenizer(texts).input_ids and again.get_vocab() == tokenizer.get_vocab()


def test_backbones_take_what_tokenizer_and_image_processor_give(demo):
    text_config, vision_config = demo_backbone_configs()
    batch = build_demo_tokenizer()(["Maya and Ken tonight"], return_tensors="pt")
    pixels = demo_image_processor()(demo["test"][0]["image"], return_tensors="pt").pixel_values
    assert pixels.shape == (1, 3, 64, 64)
    with torch.inference_mode():
        text = AutoModel.from_config(text_config)(**batch).last_hidden_state
        patches = AutoModel.from_config(vision_config)(pixel_values=pixels).last_hidden_state
    assert text.shape == (1, 6, 64) and patches.shape == (1, 1 + 16, 64)

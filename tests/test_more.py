# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The MORE and UMRE converters: raw trees as they are published, object dictionaries, boxes, broken input."""

import collections
import json
import math
import os

import numpy as np
import pytest
import torch
from datasets import load_dataset
from PIL import Image as PilImage
from raw_trees import (
    ANA,
    BOXES,
    LISBON,
    MORE_LABELS,
    MORE_LINES,
    UMRE_LABELS,
    UMRE_LINES,
    post,
    seen,
    write_more,
    write_umre,
)

from data_scripts.converters.convert import convert, run_converter
from data_scripts.converters.more import read_more
from data_scripts.converters.umre import read_umre
from data_scripts.reading import DataError


@pytest.fixture
def load(tmp_path):
    """Opens a converted data set with a cache of its own."""
    return lambda folder: load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))


def with_train(lines, *changed):
    return {**lines, "train": [lines["train"][0], *changed]}


def test_more_is_what_load_dataset_opens(tmp_path, load):
    report = convert(read_more, write_more(tmp_path / "raw"), tmp_path / "out")
    dataset = load(tmp_path / "out")
    assert {split: len(rows) for split, rows in dataset.items()} == {"train": 14, "validation": 2, "test": 2}
    assert dataset["train"].features["relation"].names == MORE_LABELS
    row = dataset["train"][0]
    assert (row["id"], row["image_id"], row["image"].size) == ("more-train-1", "1.jpg", (80, 60))
    assert row["head"] == {"name": "Ana Roy", "kind": "text", "start": 0, "end": 2, "box": None, "type": None}
    box = [0.0, 0.0, 0.5, 1.0]
    assert row["tail"] == {"name": "[OBJ0]", "kind": "object", "start": None, "end": None, "box": box, "type": None}
    assert row["objects"] == [
        {"name": "[OBJ0]", "box": box, "caption": "a woman in a red shirt"},
        {"name": "[OBJ1]", "box": [0.5, 0.25, 1.0, 0.75], "caption": None},
    ]
    assert MORE_LABELS[row["relation"]] == "/per/per/self"
    row = dataset["train"][3]  # its box overshoots, its picture lies in another split's folder
    assert row["tail"]["box"][2] == 1.0 and row["image"] is not None
    assert len(dataset["train"][4]["objects"]) == 10
    descriptions = json.loads((tmp_path / "out/relation_descriptions.json").read_text())
    assert list(descriptions["relations"]) == MORE_LABELS and descriptions["negative_relation"] == "none"
    assert json.loads((tmp_path / "out/report.json").read_text()) == report


def test_the_report_counts_objects(tmp_path):
    report = convert(read_more, write_more(tmp_path / "raw"), tmp_path / "out")
    expected = {
        "rows": 14,
        "distinct_pictures": 3,
        "pictures_missing": 0,
        "negative_rows": 10,
        "text_text_pairs": 0,
        "text_object_pairs": 14,
        "object_object_pairs": 0,
        "identical_objects": 0,
        "pictures_with_objects": 3,
        "objects": 13,
        "objects_a_picture": 4.33,
        "most_objects_a_picture": 10,
        "objects_with_caption": 2,
        "boxes_clipped": 1,
        "repeated_text_and_spans": 0,
        "rows_written": 14,
    }
    assert {name: report["splits"]["train"][name] for name in expected} == expected
    assert report["remarks"][0] == "Objects of train: ent_train_dict.pth."
    card = (tmp_path / "out/README.md").read_text()
    assert "| objects a picture | 4.33 | 1.0 | 2.0 |" in card and "Captions of objects: caption_dict.json." in card
    assert str(tmp_path) not in card


def test_umre_is_what_load_dataset_opens(tmp_path, load):
    report = convert(read_umre, write_umre(tmp_path / "raw"), tmp_path / "out")
    dataset = load(tmp_path / "out")
    assert dataset["train"].features["relation"].names == UMRE_LABELS
    kinds = [(row["head"]["kind"], row["tail"]["kind"]) for row in dataset["train"].remove_columns("image")]
    text, thing = "text", "object"
    assert kinds[:6] == [(text, text), (text, text), (text, thing), (thing, text), (thing, thing), (thing, thing)]
    row = dataset["train"][5]
    assert (row["head"]["name"], row["tail"]["name"]) == ("[OBJ4]", "[OBJ5]")
    assert row["head"]["box"] == pytest.approx([0.4, 0.4, 0.5, 0.6])
    counts = report["splits"]["train"]
    assert [counts[f"{kind}_pairs"] for kind in ("text_text", "text_object", "object_object")] == [2, 3, 2]
    assert "Captions of objects: none (no caption_dict.json or cap_qwenvl_simply.json)." in report["remarks"]


@pytest.mark.parametrize("read, write", [(read_more, write_more), (read_umre, write_umre)])
@pytest.mark.parametrize("suffix", ["json", "pth"])
def test_both_sets_take_both_kinds_of_dictionary(tmp_path, read, write, suffix):
    write(tmp_path)
    expected = read(tmp_path).splits
    for path in tmp_path.glob("ent_*_dict.*"):
        path.unlink()
    for split, raw_split in (("train", "train"), ("validation", "valid"), ("test", "test")):
        boxes = {name: BOXES[name] for name in {row["image_id"] for row in expected[split]}}
        if suffix == "json":
            (tmp_path / f"ent_{raw_split}_dict.json").write_text(json.dumps(boxes))
        else:
            tensors = {name: {key: torch.tensor(box) for key, box in of.items()} for name, of in boxes.items()}
            torch.save(collections.OrderedDict(tensors), tmp_path / f"ent_{raw_split}_dict.pth")
    for split, rows in read(tmp_path).splits.items():
        for row, other in zip(rows, expected[split], strict=True):
            assert [entry["name"] for entry in row["objects"]] == [entry["name"] for entry in other["objects"]]
            boxes = [[entry["box"] for entry in of["objects"]] for of in (row, other)]
            assert np.allclose(*boxes, atol=1e-6)


def test_boxes_of_numpy_are_read_and_those_of_no_rows_picture_are_not(tmp_path):
    """As a program that computes boxes saves them; a box of a picture that no row has may be anything."""
    write_more(tmp_path / "plain")
    expected = read_more(tmp_path / "plain").splits["train"]
    for folder, make in (
        ("arrays", np.float32),
        ("doubles", np.array),
        ("numbers", lambda box: [np.float32(box[0]), *map(np.float64, box[1:])]),
    ):
        raw = write_more(tmp_path / folder)
        boxes = {name: {key: make(box) for key, box in BOXES[name].items()} for name in ("1.jpg", "2.jpg", "3.jpg")}
        torch.save({**boxes, "of no row.jpg": {"[OBJ0]": make((0.5, 0.5, 1.02, 1))}}, raw / "ent_train_dict.pth")
        for row, other in zip(read_more(raw).splits["train"], expected, strict=True):
            assert np.allclose(*([entry["box"] for entry in of["objects"]] for of in (row, other)), atol=1e-6)


def test_what_is_told_of_one_picture_is_not_believed_of_another_of_its_name(tmp_path):
    """Each split's own dictionary is of its own picture; captions, or a dictionary of all splits, cannot be."""
    raw = write_more(tmp_path, lines={**MORE_LINES, "test": [post(ANA, seen("[OBJ0]"), "1.jpg", "none")]})
    torch.save({"1.jpg": {"[OBJ0]": (0.5, 0.5, 0.5, 0.5)}}, raw / "ent_test_dict.pth")
    PilImage.new("RGB", (80, 60), "white").save(raw / "img_org/test/1.jpg")
    with pytest.raises(DataError, match=r"caption_dict\.json tells of one picture '1\.jpg', but .* have several"):
        read_more(raw)
    (raw / "caption_dict.json").unlink()
    splits = read_more(raw).splits
    train, test = splits["train"][0], splits["test"][0]
    assert (train["image_id"], test["image_id"]) == ("img_org/train/1.jpg", "img_org/test/1.jpg")
    assert (train["tail"]["box"], test["tail"]["box"]) == ([0.0, 0.0, 0.5, 1.0], [0.25, 0.25, 0.75, 0.75])
    umre = write_umre(tmp_path / "umre", lines={**UMRE_LINES, "test": [post(ANA, LISBON, "1.jpg", "none")]})
    PilImage.new("RGB", (80, 60), "white").save(umre / "img_org/test/1.jpg")
    for path in umre.glob("ent_*_dict.json"):
        path.unlink()
    (umre / "txt/ent_dict.json").write_text(json.dumps(BOXES))
    with pytest.raises(DataError, match=r"ent_dict\.json tells of one picture '1\.jpg'"):
        read_umre(umre)


def test_umre_takes_other_names_of_files(tmp_path):
    write_umre(tmp_path)
    (tmp_path / "txt/valid.txt").rename(tmp_path / "umre_dev.txt")
    (tmp_path / "txt/train.txt").rename(tmp_path / "umre_train.txt")
    for path in tmp_path.glob("ent_*_dict.json"):
        path.unlink()
    (tmp_path / "txt/ent_dict.json").write_text(json.dumps(BOXES))
    (tmp_path / "rel2id.json").unlink()
    raw = read_umre(tmp_path)
    assert [len(rows) for rows in raw.splits.values()] == [7, 2, 3]
    assert raw.relation_names == UMRE_LABELS and "published order" in raw.relation_order


def write_as_its_authors(root, boxes):
    """UMRE's files under the names that its authors' code opens, a mention's name as a list of words."""
    (root / "umke_partner").mkdir(parents=True)
    (root / "UMKE_IMG").mkdir()
    PilImage.new("RGB", (80, 60), "red").save(root / "UMKE_IMG/1.jpg")
    line = {"token": ["Ana", "Roy", "sings"], "h": {"name": ["Ana", "Roy"], "pos": [0, 2]}, "img_id": "1.jpg"}
    line |= {"t": {"name": "[OBJ0]", "pos": boxes["[OBJ0]"]}, "relation": "/per/per/self"}
    for split in ("train", "val", "test"):
        (root / f"umke_partner/{split}_set.json").write_text(f"{line}\n")
    (root / "umke_partner/pos_umke.json").write_text(
        json.dumps({"1.jpg": boxes, "of no row.jpg": {"[OBJ0]": [9, 9, 9, 9]}})
    )
    (root / "umke_partner/cap_qwenvl_simply.json").write_text(
        json.dumps({"1.jpg": {"[OBJ0]": "a singer", "Ana": "-"}})
    )
    ids = {label: number for number, label in enumerate(reversed(UMRE_LABELS))}
    (root / "umke_partner/rel2id_umke_partner.json").write_text(json.dumps(ids, indent=1))
    return root


@pytest.mark.parametrize(
    ("boxes", "expected", "remark"),
    [
        ({"[OBJ0]": [0.5, 0.5, 0.2, 0.2]}, [0.4, 0.4, 0.6, 0.6], "Boxes are read as center, width and height."),
        ({"[OBJ0]": [0.1, 0.1, 0.4, 0.9]}, [0.1, 0.1, 0.4, 0.9], "Boxes are read as corners."),
        # One that can be both is read as the other one of its data set.
        (
            {"[OBJ0]": [0.4, 0.4, 0.6, 0.6], "[OBJ1]": [0.7, 0.7, 0.9, 0.9]},
            [0.4, 0.4, 0.6, 0.6],
            "Boxes are read as corners.",
        ),
    ],
)
def test_umre_is_read_as_its_authors_code_reads_it(tmp_path, boxes, expected, remark):
    root = write_as_its_authors(tmp_path / "raw", boxes)
    for raw in (root, root / "umke_partner"):
        read = read_umre(raw)
        [row] = read.splits["train"]
        assert row["tail"]["box"] == pytest.approx(expected) and row["objects"][0]["caption"] == "a singer"
        assert row["head"]["name"] == "Ana Roy" and row["image"] is not None
        assert remark in read.remarks and read.relation_names == UMRE_LABELS[::-1]


def test_boxes_that_may_be_corners_or_centers_are_asked_for(tmp_path):
    raw = write_as_its_authors(tmp_path, {"[OBJ0]": [0.4, 0.4, 0.6, 0.6]})
    with pytest.raises(
        DataError, match="pos_umke.json: the boxes may be corners, or center and size: .*--box_form box "
    ):
        read_umre(raw)
    boxes = {form: read_umre(raw, box_form=form).splits["test"][0]["tail"]["box"] for form in ("box", "box_center")}
    assert boxes["box"] == pytest.approx([0.4, 0.4, 0.6, 0.6])
    assert boxes["box_center"] == pytest.approx([0.1, 0.1, 0.7, 0.7])
    raw = write_as_its_authors(tmp_path / "none", {"[OBJ0]": [0.4, 0.4, 0.6, 0.6], "[OBJ1]": [0.9, 0.1, 0.2, 0.6]})
    with pytest.raises(
        DataError, match=r"as center and size: .*\[OBJ1\].*outside.*; read as corners: .*\[OBJ1\].*inverted"
    ):
        read_umre(raw)


def test_pairs_whose_types_are_those_of_their_label_the_other_way_round_are_counted(tmp_path, monkeypatch):
    types = {"Ana": "person", "Lisbon": "location"}

    def tag(texts):
        return [[(i, i + 1, types[token]) for i, token in enumerate(text) if token in types] for text in texts]

    monkeypatch.setattr("data_scripts.converters.convert.load_tagger", lambda flag: tag)
    lines = [
        post(ANA, LISBON, "1.jpg", "/per/loc/place_of_residence"),
        post(LISBON, ANA, "1.jpg", "/per/loc/place_of_residence"),
        post(LISBON, ANA, "1.jpg", "/per/loc/place_of_birth"),
        post(LISBON, ANA, "1.jpg", "none"),
        post(LISBON, ANA, "1.jpg", "/per/per/partner"),
    ]
    write_umre(tmp_path / "raw", {**UMRE_LINES, "train": lines})
    report = convert(read_umre, tmp_path / "raw", tmp_path / "out", entity_tagger="by hand")
    assert report["reversed_types"] == {"train": 2, "validation": 0, "test": 0}
    card = (tmp_path / "out/README.md").read_text()
    assert "the types of their relation's name in reverse: train 2, validation 0, test 0" in card


def test_more_needs_its_relation_ids(tmp_path):
    write_more(tmp_path)
    (tmp_path / "rel2id.json").unlink()
    with pytest.raises(DataError, match="no file of relation ids: none of .*rel2id.json"):
        read_more(tmp_path)


class WritesAFile:
    """Unpickling this would create the file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_dictionary_with_code_in_it_is_refused_and_the_code_is_not_run(tmp_path, capsys):
    raw = write_more(tmp_path / "raw")
    evidence = tmp_path / "evidence"
    torch.save({**{"1.jpg": BOXES["1.jpg"]}, "2.jpg": WritesAFile(evidence)}, raw / "ent_train_dict.pth")
    with pytest.raises(DataError, match=r"ent_train_dict\.pth: refused, and no code of it was run") as caught:
        convert(read_more, raw, tmp_path / "out")
    assert not evidence.exists() and "weights_only" not in str(caught.value)
    torch.load(raw / "ent_train_dict.pth", weights_only=False)["2.jpg"].close()
    assert evidence.exists()  # the test would have noticed
    assert sorted(os.listdir(tmp_path)) == ["evidence", "raw"]


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04"])
def test_a_broken_dictionary_is_refused_by_name(tmp_path, content):
    write_more(tmp_path)
    (tmp_path / "ent_test_dict.pth").write_bytes(content)
    with pytest.raises(DataError, match=r"ent_test_dict\.pth: refused"):
        read_more(tmp_path)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([0.5, 0.5, 0.5], r"four finite numbers is expected, not \[0.5, 0.5, 0.5\]"),
        ([0.5, 0.5, 0.5, None], "four finite numbers is expected"),
        ([0.5, 0.5, 0.5, True], "four finite numbers is expected"),
        (0.5, "four finite numbers is expected, not 0.5"),
        ([0.5, math.nan, 0.5, 0.5], "four finite numbers is expected"),
        ([0.5, math.inf, 0.5, 0.5], "four finite numbers is expected"),
        ([0.5, 0.5, 0.0, 0.5], r"the box \[0.5, 0.5, 0.0, 0.5\] is empty"),
        ([0.5, 0.5, 0.5, -0.5], "is inverted"),
        (
            [0.5, 0.5, 1.02, 0.5],
            r"reaches outside the picture: as fractions its corners are \[-0.01, 0.25, 1.01, 0.75",
        ),
        ([1.002, 0.5, 0.003, 0.5], "is empty"),  # all of it lies in the tolerance
        ([320, 240, 80, 60], "reaches outside the picture"),
    ],
)
@pytest.mark.parametrize("suffix", ["json", "pth"])
def test_a_broken_box_is_refused_with_file_image_and_object(tmp_path, suffix, box, message):
    write_more(tmp_path)
    boxes = {
        **{name: BOXES[name] for name in "1.jpg 3.jpg".split()},
        "2.jpg": {"[OBJ0]": (0.5, 0.5, 1, 1), "[OBJ7]": box},
    }
    (tmp_path / "ent_train_dict.pth").unlink()
    if suffix == "json":
        (tmp_path / "ent_train_dict.json").write_text(json.dumps(boxes))
    else:
        torch.save(boxes, tmp_path / "ent_train_dict.pth")
    where = rf"ent_train_dict\.{suffix}, image '2\.jpg', object '\[OBJ7\]': .*"
    with pytest.raises(DataError, match=where + message):
        read_more(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"ent_train_dict\.json: not JSON"),
        ("[]", r"ent_train_dict\.json: a dictionary of pictures is expected, not list"),
        ('{"1.jpg": [0.5, 0.5, 1, 1]}', r"image '1\.jpg': a dictionary of objects is expected, not list"),
        ('{"": {}}', "an image id must be a non-empty string"),
        ('{"1.jpg": {"": [0.5, 0.5, 1, 1]}}', "an object's key must be a string"),
        ('{"1.jpg": {}, "1.jpg": {}}', r"the keys \['1.jpg'\] stand twice"),
    ],
)
def test_a_dictionary_of_another_shape_is_refused(tmp_path, content, message):
    write_umre(tmp_path)
    (tmp_path / "ent_train_dict.json").write_text(content)
    with pytest.raises(DataError, match=message):
        read_umre(tmp_path)


def test_two_dictionaries_of_a_split_are_refused(tmp_path):
    write_umre(tmp_path)
    torch.save(BOXES, tmp_path / "ent_train_dict.pth")
    with pytest.raises(DataError, match="more than one object dictionary of the train split"):
        read_umre(tmp_path)


def test_a_caption_that_is_no_text_is_refused(tmp_path):
    write_more(tmp_path)
    (tmp_path / "caption_dict.json").write_text('{"1.jpg": {"[OBJ0]": 7}}')
    with pytest.raises(
        DataError, match=r"caption_dict\.json, image '1\.jpg', object '\[OBJ0\]': a caption is expected"
    ):
        read_more(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (post(ANA, {"name": "[OBJ2]"}, "1.jpg", "none"), r"field 't\.name': image '1\.jpg' has no object '\[OBJ2\]'"),
        (post(ANA, seen("[OBJ0]"), "gone.jpg", "none"), r"field 't\.name': image 'gone\.jpg' has no object"),
        (post(ANA, {"pos": [0, 1]}, "1.jpg", "none"), "field 't': a dict with an object's key"),
        (post(ANA, {"name": 3}, "1.jpg", "none"), r"field 't\.name': a non-blank string"),
        (post(ANA, "[OBJ0]", "1.jpg", "none"), "field 't': a dict with an object's key"),
        (post(seen("[OBJ0]"), seen("[OBJ1]"), "1.jpg", "none"), "field 'h': a dict with 'name' and 'pos'"),
        (post(ANA, seen("[OBJ0]"), "1.jpg", "None"), "field 'relation': unknown relation 'None'"),
    ],
)
def test_broken_lines_of_more_are_refused(tmp_path, text, message):
    raw = write_more(tmp_path / "raw", with_train(MORE_LINES, text))
    with pytest.raises(DataError, match=r"txt/train\.txt, line 2.*" + message):
        convert(read_more, raw, tmp_path / "out")
    assert os.listdir(tmp_path) == ["raw"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            post(ANA, {"name": "[OBJ0]", "pos": [0.25, 0.5, 0.48, 1.0]}, "1.jpg", "none"),
            r"field 't\.pos': object '\[OBJ0\]' of image '1\.jpg' is at .* here and at \[0\.0, 0\.0, 0\.5, 1\.0\] in",
        ),
        (
            post({"name": "[OBJ0]", "pos": [0.25, 0.5, math.nan, 1.0]}, LISBON, "1.jpg", "none").replace(
                "nan", "1e999"
            ),
            r"field 'h\.pos': object '\[OBJ0\]' of image '1\.jpg': a box of four finite numbers",
        ),
        (
            post({"name": "[OBJ9]"}, LISBON, "1.jpg", "none"),
            r"field 'h\.name': image '1\.jpg' has no object '\[OBJ9\]'",
        ),
        (post(ANA, {"name": "Lisbon", "pos": [4]}, "1.jpg", "none"), r"field 't\.pos': \[start, end\] in tokens"),
        (post(ANA, {"name": "Lisbon", "pos": [4, 4]}, "1.jpg", "none"), r"field 't\.pos': the span \[4, 4\] is empty"),
    ],
)
def test_broken_lines_of_umre_are_refused(tmp_path, text, message):
    write_umre(tmp_path, with_train(UMRE_LINES, text))
    with pytest.raises(DataError, match=r"txt/train\.txt, line 2.*" + message):
        read_umre(tmp_path)


def test_a_repeated_box_may_be_rounded_and_may_be_left_out(tmp_path):
    rounded = post(ANA, {"name": "[OBJ0]", "pos": [0.251, 0.5, 0.502, 0.998]}, "1.jpg", "none")
    write_umre(tmp_path, with_train(UMRE_LINES, rounded, post(ANA, {"name": "[OBJ0]"}, "1.jpg", "none")))
    assert [row["tail"]["box"] for row in read_umre(tmp_path).splits["train"][1:]] == [[0.0, 0.0, 0.5, 1.0]] * 2


def test_a_split_without_a_dictionary_can_have_text_pairs_only(tmp_path):
    write_umre(tmp_path / "raw", {**UMRE_LINES, "valid": UMRE_LINES["valid"][:1]})
    (tmp_path / "raw/ent_valid_dict.json").unlink()
    report = convert(read_umre, tmp_path / "raw", tmp_path / "out")
    assert report["remarks"][1].startswith("Objects of validation: no dictionary (none of ent_val_dict.json, ")
    (tmp_path / "raw/ent_train_dict.json").unlink()
    with pytest.raises(DataError, match=r"train\.txt, line 3, field 't\.name': .*no object dictionary of this split"):
        read_umre(tmp_path / "raw")


def test_rows_whose_object_cannot_be_seen_are_refused_or_dropped(tmp_path, load):
    raw = write_umre(tmp_path / "raw")
    (raw / "img_org/test/5.jpg").unlink()
    message = r"2 rows have an object as head or tail but no picture to see it in: 5\.jpg \(row umre-test-2\), .*drop"
    with pytest.raises(DataError, match=message):
        convert(read_umre, raw, tmp_path / "out")
    assert (tmp_path / "out-missing_images.txt").read_text() == "5.jpg\n" and not (tmp_path / "out").exists()
    convert(read_umre, raw, tmp_path / "out", missing_images="drop")
    assert list(load(tmp_path / "out")) == ["train", "validation"]
    for path in raw.rglob("*.jpg"):
        path.unlink()
    with pytest.raises(DataError, match="no row is left to write"):
        convert(read_umre, raw, tmp_path / "nothing", missing_images="drop")


def test_a_text_row_without_its_picture_is_kept_without_objects(tmp_path, load):
    raw = write_umre(tmp_path / "raw", {**UMRE_LINES, "test": UMRE_LINES["test"][:1]})
    (raw / "img_org/test/5.jpg").unlink()
    report = convert(read_umre, raw, tmp_path / "out")
    row = load(tmp_path / "out")["test"][0]
    assert row["image"] is None and row["image_id"] == "5.jpg" and row["objects"] == []
    assert report["splits"]["test"]["objects"] == 2


def test_a_tagger_types_mentions_and_no_objects(tmp_path, load, monkeypatch):
    def tag(texts):
        return [[(0, 2, "person")] for _ in texts]

    monkeypatch.setattr("data_scripts.converters.convert.load_tagger", lambda flag: tag)
    convert(read_umre, write_umre(tmp_path / "raw"), tmp_path / "out", entity_tagger="a person's")
    rows = load(tmp_path / "out")["train"].remove_columns("image").to_list()
    types = {(row[role]["name"], row[role]["type"]) for row in rows for role in ("head", "tail")}
    objects = {(f"[OBJ{i}]", None) for i in (0, 1, 4, 5)}
    assert types == {("Ana Roy", "person"), ("Lisbon", "unknown")} | objects


def test_the_command_lines(tmp_path, capsys):
    for read, write in ((read_more, write_more), (read_umre, write_umre)):
        raw, out = write(tmp_path / read.__name__), tmp_path / f"{read.__name__}_out"
        run_converter(read, arguments=["--raw_dir", str(raw), "--output_dir", str(out)])
        assert "| object object pairs | " in capsys.readouterr().out

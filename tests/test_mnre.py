# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The MNRE converter: layouts, broken input, whole data sets or none, and the published counts on the real files."""

import ast
import json
import os
import shutil
from pathlib import Path

import pytest
from datasets import Image, load_dataset
from PIL import Image as PilImage

from data_scripts.converters.convert import convert, run_converter
from data_scripts.converters.mnre import read_mnre
from data_scripts.descriptions.files import DescriptionError, load_builtin_descriptions
from data_scripts.loading import open_rows
from data_scripts.reading import DataError

NAMES = ["None", "/per/org/member_of", "/loc/loc/contain"]
RAW_MNRE = Path(os.environ.get("ROC_MNRE_RAW", Path(__file__).parents[1] / ".." / "shared" / "mnre"))


def line(tokens, head, tail, picture, relation, **more):
    """A line of a raw text file, as the published files write it."""
    mention = {role: {"name": " ".join(tokens[s:e]), "pos": [s, e]} for role, (s, e) in (("h", head), ("t", tail))}
    return repr({"token": tokens, **mention, "img_id": picture, "relation": relation, **more})


TRAIN = [
    line(["RT", "Ana", "Roy", "joins", "Arsenal"], (1, 3), (4, 5), "a.jpg", "/per/org/member_of"),
    line(["RT", "Ana", "Roy", "joins", "Arsenal"], (1, 3), (4, 5), "b.jpg", "None"),
    line(["Bangkok", ",", "Thailand"], (2, 3), (0, 1), "a.jpg", "/loc/loc/contain", caption=["x"], entity=["y"]),
]
VALIDATION = [line(["Ana", "Roy", "at", "Arsenal"], (0, 2), (0, 1), "c.jpg", "None")]
TEST = [line(["RT", "Ana", "Roy", "joins", "Arsenal"], (1, 3), (4, 5), "gone.jpg", "None")]


def write_raw(root, text_folder="txt", names="mnre_{}.txt", picture_folders=("img_org/train",) * 3, **lines):
    """Writes a small raw data set; the picture a.jpg lies in the first folder, b.jpg and c.jpg in the others."""
    text = root / text_folder
    text.mkdir(parents=True, exist_ok=True)
    for split, default in (("train", TRAIN), ("val", VALIDATION), ("test", TEST)):
        (text / names.format(split)).write_text("\n".join(lines.get(split, default)) + "\n\n", encoding="utf-8")
    (root / "rel2id.json").write_text(json.dumps({name: i for i, name in enumerate(NAMES)}))
    for name, folder in zip("abc", picture_folders, strict=True):
        (root / folder).mkdir(parents=True, exist_ok=True)
        PilImage.new("RGB", (8, 6), "red").save(root / folder / f"{name}.jpg")
    return root


@pytest.fixture
def load(tmp_path):
    """Opens a converted data set with a cache of its own."""
    return lambda folder: load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))


def test_a_converted_set_is_what_load_dataset_opens(tmp_path, load):
    raw = write_raw(tmp_path / "raw")
    report = convert(read_mnre, raw, tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == ["out", "raw"]  # nothing temporary is left
    assert sorted(os.listdir(tmp_path / "out")) == ["README.md", "data", "relation_descriptions.json", "report.json"]
    dataset = load(tmp_path / "out")
    assert {split: len(rows) for split, rows in dataset.items()} == {"train": 3, "validation": 1, "test": 1}
    assert dataset["train"].features["relation"].names == NAMES
    assert dataset["train"][0]["image"].size == (8, 6)
    stored = dataset["train"].cast_column("image", Image(decode=False))[0]["image"]
    assert stored == {"bytes": (raw / "img_org/train/a.jpg").read_bytes(), "path": "a.jpg"}
    row = dataset["train"][2]
    assert (row["id"], row["image_id"], row["relation"]) == ("mnre-train-3", "a.jpg", 2)
    assert row["tail"] == {"name": "Bangkok", "kind": "text", "start": 0, "end": 1, "box": None, "type": None}
    assert dataset["test"][0]["image"] is None and dataset["test"][0]["image_id"] == "gone.jpg"
    descriptions = json.loads((tmp_path / "out/relation_descriptions.json").read_text())
    assert list(descriptions["relations"]) == NAMES and descriptions["negative_relation"] == "None"
    assert json.loads((tmp_path / "out/report.json").read_text()) == report
    assert "order of their ids: rel2id.json" in (tmp_path / "out/README.md").read_text()


def test_the_report_counts_what_is_odd(tmp_path):
    report = convert(read_mnre, write_raw(tmp_path / "raw"), tmp_path / "out")
    train = report["splits"]["train"]
    assert train["missing_pictures"] == [] and report["splits"]["test"]["missing_pictures"] == ["gone.jpg"]
    assert {name: value for name, value in train.items() if isinstance(value, int)} == {
        "rows": 3,
        "distinct_texts": 2,
        "longest_text_in_tokens": 5,
        "distinct_pictures": 2,
        "pictures_found": 2,
        "pictures_missing": 0,
        "pictures_unreadable": 0,
        "rows_with_picture": 3,
        "negative_rows": 1,
        "unlabelled_rows": 0,
        "head_after_tail": 1,
        "overlapping_spans": 0,
        "identical_spans": 0,
        "repeated_text_and_spans": 1,
        "repeated_with_their_picture": 0,
        "rows_written": 3,
    }
    assert train["same_text_and_spans_other_relation"] == [["mnre-train-1", "mnre-train-2"]]
    assert report["splits"]["validation"]["overlapping_spans"] == 1
    assert report["splits"]["test"]["pictures_missing"] == 1
    assert report["shared"]["train and test"] == {"texts_with_spans": 1, "pictures": 0}


@pytest.mark.parametrize("text_folder", [".", "txt", "mnre_txt"])
@pytest.mark.parametrize("names", ["mnre_{}.txt", "ours_{}.txt"])
def test_text_files_are_found_in_every_published_place(tmp_path, text_folder, names):
    raw = read_mnre(write_raw(tmp_path, text_folder, names))
    assert [len(rows) for rows in raw.splits.values()] == [3, 1, 1]


def test_the_validation_file_may_have_a_blank_before_its_dot(tmp_path):
    write_raw(tmp_path)
    (tmp_path / "txt/mnre_val.txt").rename(tmp_path / "txt/mnre_val .txt")
    assert len(read_mnre(tmp_path).splits["validation"]) == 1


@pytest.mark.parametrize(
    "folders",
    [
        ("img_org/train", "img_org/train", "img_org/val"),
        ("img_org/test", "img_org/val", "img_org/train"),  # other splits' folders
        ("mnre_image/img_org/train", "mnre_image/img_org/train", "mnre_image/img_org/val"),
        ("img_org", "img_org", "img_org"),
        ("pictures", "pictures", "pictures"),
        (".", ".", "."),
    ],
)
def test_pictures_are_found_in_every_published_place(tmp_path, folders):
    raw = read_mnre(write_raw(tmp_path, picture_folders=folders))
    found = [row["image"] for rows in raw.splits.values() for row in rows]
    expected = [tmp_path / folders[0] / "a.jpg", tmp_path / folders[1] / "b.jpg", tmp_path / folders[2] / "c.jpg"]
    assert found == [*(str(expected[i]) for i in (0, 1, 0, 2)), None]


def test_the_own_splits_picture_is_taken_and_crops_beside_the_pictures_are_not(tmp_path):
    write_raw(tmp_path, picture_folders=("img_org/train", "img_org/test", "img_org/val"))
    for folder in ("img_org/test", "img_crops/train"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        PilImage.new("RGB", (2, 2)).save(tmp_path / folder / "a.jpg")
    PilImage.new("RGB", (2, 2)).save(tmp_path / "img_crops/train/gone.jpg")
    raw = read_mnre(tmp_path)
    assert raw.splits["train"][0]["image"] == str(tmp_path / "img_org/train/a.jpg")
    assert raw.splits["test"][0]["image"] is None


def test_pictures_of_one_name_are_told_apart(tmp_path, load):
    """Each split has its own, under names of their own; the same picture in two folders is one."""
    raw = write_raw(tmp_path / "raw", test=TRAIN[:2])
    (raw / "img_org/test").mkdir()
    PilImage.new("RGB", (8, 6), "blue").save(raw / "img_org/test/a.jpg")
    shutil.copy(raw / "img_org/train/b.jpg", raw / "img_org/test/b.jpg")
    report = convert(read_mnre, raw, tmp_path / "out")
    dataset = load(tmp_path / "out")
    assert dataset["train"]["image_id"][:] == ["img_org/train/a.jpg", "b.jpg", "img_org/train/a.jpg"]
    assert dataset["test"]["image_id"][:] == ["img_org/test/a.jpg", "b.jpg"]
    assert (
        dataset["train"][0]["image"].getpixel((3, 3))[2] < 50 < 200 < dataset["test"][0]["image"].getpixel((3, 3))[2]
    )
    assert report["shared"]["train and test"]["pictures"] == 1
    # Nobody can tell which of them validation's text means.
    write_raw(raw, val=[TRAIN[0]])
    with pytest.raises(DataError, match=r"'a\.jpg' is there more than once.*test/a\.jpg, .*train/a\.jpg; .*'val'"):
        read_mnre(raw)


def test_links_to_folders_of_pictures_are_followed(tmp_path):
    write_raw(tmp_path / "raw")
    (tmp_path / "raw/img_org").rename(tmp_path / "elsewhere")
    (tmp_path / "raw/img_org").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/train/again").symlink_to(tmp_path / "raw")  # a circle
    assert read_mnre(tmp_path / "raw").splits["train"][0]["image"] == str(tmp_path / "raw/img_org/train/a.jpg")


def test_a_folder_without_any_picture_of_the_data_is_no_text_only_set_unless_that_is_asked_for(tmp_path):
    raw = write_raw(tmp_path / "raw")
    shutil.rmtree(raw / "img_org")
    with pytest.raises(DataError, match=r"no picture is there: none of those that 5 rows name is in .*raw \(a\.jpg"):
        convert(read_mnre, raw, tmp_path / "out")
    report = convert(read_mnre, raw, tmp_path / "out", missing_images="text_only")
    assert report["splits"]["train"]["missing_pictures"] == ["a.jpg", "b.jpg"]


def test_without_rel2id_the_published_order_holds_and_the_report_says_so(tmp_path):
    write_raw(tmp_path / "raw")
    (tmp_path / "raw/rel2id.json").unlink()
    report = convert(read_mnre, tmp_path / "raw", tmp_path / "out")
    assert report["relations"] == 23 and "published order" in report["relation_order"]


def fault(**changes):
    """The first line of train with some fields changed; None removes a field."""
    record = {
        "token": ["Ana", "Roy", "joins", "Arsenal"],
        "h": {"name": "Ana Roy", "pos": [0, 2]},
        "t": {"name": "Arsenal", "pos": [3, 4]},
        "img_id": "a.jpg",
        "relation": "None",
    }
    return repr({key: value for key, value in {**record, **changes}.items() if value is not None})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{'token': [", "not a Python dict literal"),
        ("__import__('os').getcwd()", "not a Python dict literal"),
        ("['token']", "not a Python dict literal but a list"),
        ("{'token': ['a'], 'h': {'name': 'a', 'name': 'b'}}", r"the keys \['name'\] stand twice"),
        ('{"token": ["a"], "token": ["b"]}', r"the keys \['token'\] stand twice"),
        (fault(img_id=None), "field 'img_id': missing"),
        (fault(img_id=7), "field 'img_id': a non-blank string is expected, not 7"),
        (fault(token=[]), "field 'token': a non-empty list of tokens"),
        (fault(token=["Ana", "", "x"]), "field 'token': token 1 must be a non-empty string"),
        (fault(h={"name": "Ana Roy"}), "field 'h': a dict with 'name' and 'pos' is expected"),
        (fault(h={"name": "Ana Roy", "pos": [0, 2.0]}), r"field 'h.pos': \[start, end\] in tokens is expected"),
        (fault(h={"name": "", "pos": [2, 2]}), r"field 'h.pos': the span \[2, 2\] is empty"),
        (fault(h={"name": "Ana", "pos": [2, 1]}), r"field 'h.pos': the span \[2, 1\] is inverted"),
        (fault(t={"name": "Arsenal", "pos": [3, 5]}), r"field 't.pos': the span \[3, 5\] is outside the text's 4"),
        (fault(t={"name": "Arsenal", "pos": [-1, 4]}), r"field 't.pos': the span \[-1, 4\] is outside"),
        (fault(t={"name": "arsenal", "pos": [3, 4]}), "field 't.name': 'arsenal' is not the tokens of its span"),
        (fault(relation="/per/org/boss"), "field 'relation': unknown relation '/per/org/boss'"),
    ],
)
def test_broken_lines_are_refused_with_file_line_and_field(tmp_path, text, message):
    write_raw(tmp_path / "raw", train=[TRAIN[0], text])
    with pytest.raises(DataError, match=r"txt/mnre_train\.txt, line 2.*" + message):
        convert(read_mnre, tmp_path / "raw", tmp_path / "out")
    assert os.listdir(tmp_path) == ["raw"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a JSON object"),
        ("[]", r"a JSON object \{relation name: id\} is expected"),
        ('{"None": 0, "/per/per/peer": 2}', "the ids must be 0 to 1, each once"),
        ('{"None": 0, "/per/per/unheard_of": 1}', "unheard_of'.* among the built-in ones.*--relations_file"),
        ('{"None": 0,\n"/per/per/peer": 1,\n"None": 2}', r"the keys \['None'\] stand twice .*lines \[1, 3\]"),
        ('{"None": 0} {"None": 1}', "more after it"),
        ('{"None": "0"}', "relation name: id"),
        ('{"None": 0, "half \\ud83d": 1}', "half a surrogate pair"),
    ],
)
def test_broken_relation_ids_are_refused(tmp_path, content, message):
    write_raw(tmp_path)
    (tmp_path / "rel2id.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_mnre(tmp_path)


def test_pretty_printed_relation_ids_are_read(tmp_path):
    write_raw(tmp_path)
    ids = {name: number for number, name in enumerate(reversed(list(load_builtin_descriptions("mnre")["relations"])))}
    for text in (json.dumps(ids, indent=2), "\ufeff\n" + json.dumps(ids) + "\nand something after it"):
        (tmp_path / "rel2id.json").write_text(text, encoding="utf-8")
        assert read_mnre(tmp_path).relation_names == list(ids)


def test_a_version_with_other_labels_takes_its_own_descriptions(tmp_path):
    own = {"/per/per/colleague": "They work together.", "None": "Nothing ties them.", "unused": "It is not used."}
    (tmp_path / "own.json").write_text(json.dumps(own))
    lines = [line(["Ana", "meets", "Leo"], (0, 1), (2, 3), "a.jpg", label) for label in list(own)[:2]]
    write_raw(tmp_path / "raw", train=lines, val=lines, test=lines)
    (tmp_path / "raw/rel2id.json").unlink()
    with pytest.raises(DataError, match="unknown relation '/per/per/colleague'.*--relations_file"):
        read_mnre(tmp_path / "raw")
    read = read_mnre(tmp_path / "raw", relations_file=tmp_path / "own.json")
    assert read.relation_names == list(own) and read.descriptions["negative_relation"] == "None"
    (tmp_path / "raw/rel2id.json").write_text('{"None": 0, "/per/per/colleague": 1}')
    read = read_mnre(tmp_path / "raw", relations_file=tmp_path / "own.json")
    assert read.relation_names == ["None", "/per/per/colleague"]
    assert read.descriptions["relations"]["None"]["descriptions"] == ["Nothing ties them."]
    (tmp_path / "raw/rel2id.json").write_text('{"None": 0, "/per/per/boss": 1}')
    with pytest.raises(
        DescriptionError, match=r"own\.json: no description for the relations \['/per/per/boss'\], which"
    ):
        read_mnre(tmp_path / "raw", relations_file=tmp_path / "own.json")


def test_lines_may_be_json_and_names_may_be_lists_of_words(tmp_path):
    as_list = json.dumps(ast.literal_eval(TRAIN[0]) | {"h": {"name": ["Ana", "Roy"], "pos": [1, 3]}})
    write_raw(tmp_path, train=[TRAIN[0], as_list])
    first, second = read_mnre(tmp_path).splits["train"]
    assert first | {"id": "mnre-train-2"} == second


def test_a_missing_or_ambiguous_text_file_is_refused(tmp_path):
    write_raw(tmp_path)
    (tmp_path / "ours_val.txt").write_text("")
    with pytest.raises(DataError, match="more than one text file of the validation split"):
        read_mnre(tmp_path)
    (tmp_path / "ours_val.txt").unlink()
    (tmp_path / "txt/mnre_test.txt").unlink()
    with pytest.raises(DataError, match="no text file of the test split: none of .*mnre_test.txt"):
        read_mnre(tmp_path)


def test_unreadable_pictures_are_refused_by_name_kept_out_or_dropped(tmp_path, load):
    """All of them have their names in a file, or in the report."""
    names = [f"{number:02d}.jpg" for number in range(12)]
    post = ["Ana", "at", "Arsenal"]
    raw = write_raw(tmp_path / "raw", train=[TRAIN[0], *(line(post, (0, 1), (2, 3), name, "None") for name in names)])
    whole = (raw / "img_org/train/b.jpg").read_bytes()
    for name in names:
        (raw / "img_org/train" / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        DataError, match=r"12 unreadable pictures:\n(.*\d\d\.jpg: .*\n){10} All 12 .* are named in "
    ) as error:
        convert(read_mnre, raw, tmp_path / "out", num_proc=2)
    named = Path(str(error.value).split(" named in ")[1])
    assert sorted(os.listdir(tmp_path)) == [named.name, "raw"]
    paths, faults = zip(*(text.split(": ", 1) for text in named.read_text().splitlines()), strict=True)
    assert list(paths) == [str(raw / "img_org/train" / name) for name in names] and all(
        "rror" in fault for fault in faults
    )

    report = convert(read_mnre, raw, tmp_path / "out", unreadable_images="text_only")
    assert not named.exists()  # it told of the folder that is written now
    rows = load(tmp_path / "out")["train"]
    assert len(rows) == 13 and [image is None for image in rows["image"]] == [False, *[True] * 12]
    assert rows["image_id"][:] == ["a.jpg", *names]
    assert list(report["splits"]["train"]["unreadable_pictures"]) == names
    assert "Rows with an unreadable picture: kept" in (tmp_path / "out/README.md").read_text()
    report = convert(read_mnre, raw, tmp_path / "dropped", unreadable_images="drop", missing_images="text_only")
    assert [split["rows_written"] for split in report["splits"].values()] == [1, 1, 1]


def test_rows_without_a_picture_can_be_refused_or_dropped(tmp_path, load):
    raw = write_raw(tmp_path / "raw")
    with pytest.raises(DataError, match=r"1 rows have no picture: gone\.jpg \(row mnre-test-1\)"):
        convert(read_mnre, raw, tmp_path / "out", missing_images="error")
    assert (tmp_path / "out-missing_images.txt").read_text() == "gone.jpg\n"
    report = convert(read_mnre, raw, tmp_path / "out", missing_images="drop")
    assert [split["rows_written"] for split in report["splits"].values()] == [3, 1, 0]
    assert list(load(tmp_path / "out")) == ["train", "validation"]


@pytest.mark.parametrize(
    ("limit", "number", "files"), [("FILE_BYTES", 1, 3), ("READ_BYTES", 2, 2), ("FILE_ROWS", 3, 2)]
)
def test_a_large_split_is_written_as_several_files_in_order(tmp_path, load, monkeypatch, limit, number, files):
    """All limits: of distinct pictures, of the pictures of all rows, and of rows."""
    raw = write_raw(tmp_path / "raw", train=[TRAIN[0], TRAIN[2], TRAIN[1], TRAIN[2]])  # on a.jpg, a.jpg, b.jpg, a.jpg
    size = (raw / "img_org/train/a.jpg").stat().st_size
    monkeypatch.setattr(f"data_scripts.converters.convert.{limit}", number * (size if "BYTES" in limit else 1))
    convert(read_mnre, raw, tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out/data").glob("train-*"))
    assert names == [f"train-{i:05d}-of-{files:05d}.parquet" for i in range(files)]
    assert load(tmp_path / "out")["train"]["id"][:] == [f"mnre-train-{i}" for i in range(1, 5)]


def test_a_picture_is_stored_once_for_all_its_rows(tmp_path, load, monkeypatch):
    """In the Parquet file, which anyone can read, and in the cache of this project's commands."""
    raw = write_raw(tmp_path / "raw", train=TRAIN * 300)
    PilImage.effect_noise((200, 200), 80).save(raw / "img_org/train/a.jpg", quality=95)
    a, b = ((raw / f"img_org/train/{name}.jpg").read_bytes() for name in "ab")
    (raw / "img_org/train/b.jpg").write_bytes(a)  # one picture under two names, too
    convert(read_mnre, raw, tmp_path / "out")
    (file,) = (tmp_path / "out/data").glob("train-*")
    assert len(a) < file.stat().st_size < 3 * len(a)
    plain = load_dataset("parquet", data_files=str(file), cache_dir=str(tmp_path / "cache"), split="train")
    stored = plain.cast_column("image", Image(decode=False))["image"][:]
    assert [image["bytes"] == a for image in stored] == [True] * 900
    assert [image["path"] for image in stored] == ["a.jpg", "b.jpg", "a.jpg"] * 300
    assert plain[899]["image"].tobytes() == PilImage.open(raw / "img_org/train/a.jpg").tobytes()

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "ours")
    rows = open_rows(str(tmp_path / "out"))["train"].cast_column("image", Image())
    assert rows.features == plain.features
    assert [image.tobytes() for image in rows["image"][:3]] == [image.tobytes() for image in plain["image"][:3]]
    assert rows.remove_columns("image")[:] == plain.remove_columns("image")[:]
    size = sum(path.stat().st_size for path in (tmp_path / "ours").rglob("*") if path.is_file())
    assert size < 20 * len(a) < 900 * len(a)


def test_an_interrupted_conversion_leaves_nothing(tmp_path, monkeypatch):
    raw = write_raw(tmp_path / "raw")

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", interrupt)
    with pytest.raises(KeyboardInterrupt):
        convert(read_mnre, raw, tmp_path / "out")
    assert os.listdir(tmp_path) == ["raw"]


def test_the_command_line_prints_the_report_and_refuses_a_folder_that_exists(tmp_path, capsys):
    arguments = ["--raw_dir", str(write_raw(tmp_path / "raw")), "--output_dir", str(tmp_path / "out")]
    run_converter(read_mnre, arguments=arguments)
    assert "| rows | 3 | 1 | 1 |" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="error: .*out exists already"):
        run_converter(read_mnre, arguments=arguments)
    with pytest.raises(SystemExit, match="the entity tagger must be"):
        run_converter(read_mnre, arguments=[*arguments[:3], str(tmp_path / "new"), "--entity_tagger", "stanford"])


@pytest.mark.skipif(not RAW_MNRE.is_dir(), reason="needs MNRE's raw files: set ROC_MNRE_RAW to their folder")
def test_the_real_files_give_the_published_counts(tmp_path, load):
    report = convert(read_mnre, RAW_MNRE, tmp_path / "out")
    splits = report["splits"]
    counts = {name: [split[name] for split in splits.values()] for name in splits["train"]}
    assert counts["rows"] == counts["rows_written"] == [12_247, 1_624, 1_614]
    assert counts["distinct_pictures"] == [7_356, 931, 914]
    assert counts["negative_rows"] == [7_744, 1_000, 974]
    assert sum(counts["head_after_tail"]) == 1_808
    assert counts["overlapping_spans"] == [59, 3, 5]
    assert counts["identical_spans"] == [0, 0, 0]
    assert counts["repeated_text_and_spans"] == [27, 0, 0]
    # Those 27 differ from their doubles in the picture and in the relation.
    assert counts["repeated_with_their_picture"] == [0, 0, 0]
    assert len(splits["train"]["same_text_and_spans_other_relation"]) == 27
    assert max(counts["longest_text_in_tokens"]) == 35
    assert report["shared"] == {
        "train and validation": {"texts_with_spans": 6, "pictures": 0},
        "train and test": {"texts_with_spans": 1, "pictures": 0},
        "validation and test": {"texts_with_spans": 0, "pictures": 0},
    }
    dataset = load(tmp_path / "out")
    assert {split: len(rows) for split, rows in dataset.items()} == dict(
        zip(("train", "validation", "test"), (12_247, 1_624, 1_614), strict=True)
    )
    names = json.loads((RAW_MNRE / "rel2id.json").read_text().splitlines()[0])
    assert dataset["train"].features["relation"].names == list(names) and len(names) == 23
    with_picture = [len(rows) - rows.data.column("image").null_count for rows in dataset.values()]
    assert with_picture == counts["rows_with_picture"]

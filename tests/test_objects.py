# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Objects of the picture through processor, collator and model."""

import pytest
import torch
from datasets import Dataset, DatasetDict
from PIL import Image, ImageDraw
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from data_scripts.demo.dataset import build_demo_tokenizer, load_demo, load_demo_descriptions
from data_scripts.loading import most_objects
from data_scripts.schema import object_entity
from processing_roc import RocProcessor, processing_roc
from training_roc.arguments import parse_arguments
from training_roc.collator import RocDataCollator
from training_roc.models import make_model as make_model_of_run

TEXT = "Maya met the Rovers in Lisbon"
MAYA, ROVERS = {"start": 0, "end": 4, "type": "person"}, {"start": 13, "end": 19}
LEFT, RIGHT = [0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]


@pytest.fixture
def picture():
    """Red on the left, blue on the right."""
    picture = Image.new("RGB", (80, 60), "red")
    ImageDraw.Draw(picture).rectangle((40, 0, 80, 60), fill="blue")
    return picture


def words(processor, outputs, example=0):
    ids = outputs["input_ids"][example]
    return " ".join(processor.tokenizer.convert_ids_to_tokens(ids))


def test_an_object_stands_behind_the_text_and_its_words_in_front(processor, picture):
    outputs = processor(
        text="Maya and Rovers in one",
        head=MAYA,
        tail={"box": RIGHT, "type": "organization", "name": "b"},
        objects=[{"box": LEFT, "name": "a", "caption": "house"}, {"box": RIGHT, "name": "b", "caption": "red ball"}],
        images=picture,
    )
    expected = "[CLS] [TAIL] organization : red ball [/TAIL] [HEAD] person : maya [/HEAD] and rovers in one [SEP]"
    assert words(processor, outputs) == expected
    length = len(outputs["input_ids"][0])
    assert outputs["tail_index"] == [length] and outputs["tail_span"] == [[length, length + 1]]
    assert outputs["object_boxes"] == [[tuple(RIGHT), tuple(LEFT)]], "the entity's object comes first"
    assert "object_mask" not in outputs


def test_padding_moves_objects_and_not_mentions(processor, picture):
    pairs = [(MAYA, {"box": LEFT}), ({"box": RIGHT}, {"box": LEFT}), (MAYA, ROVERS)]
    texts = [TEXT, "", TEXT + " tonight with Ken and Priya and Yuki"]
    batch = {
        "text": texts,
        "head": [head for head, _ in pairs],
        "tail": [tail for _, tail in pairs],
        "images": [picture] * 3,
    }
    lists, outputs = processor(**batch), processor(**batch, return_tensors="pt")
    lengths, longest = [len(ids) for ids in lists["input_ids"]], outputs["input_ids"].shape[1]
    assert lengths[2] == longest > max(lengths[:2])
    assert lists["tail_index"][:2] == [lengths[0], lengths[1] + 1] and lists["head_index"][1] == lengths[1]
    assert outputs["tail_index"].tolist()[:2] == [longest, longest + 1]
    assert outputs["head_index"].tolist() == [lists["head_index"][0], longest, lists["head_index"][2]]
    assert outputs["head_span"].tolist()[1] == [longest, longest + 1]
    assert outputs["tail_span"].tolist()[2] == lists["tail_span"][2]
    assert outputs["object_boxes"].shape == (3, 2, 4)
    assert outputs["object_mask"].tolist() == [[1, 0], [1, 1], [0, 0]]
    rows = [{name: lists[name][i] for name in lists if not name.startswith(("pixel", "image"))} for i in range(3)]
    collated = RocDataCollator(processor)(rows)
    for name, value in collated.items():
        assert torch.equal(value, outputs[name]), name


def test_a_mention_that_ends_with_the_text_stays_there():
    """A tokenizer without a special token at the end: the mention's end is where objects would begin."""
    processor = RocProcessor(tokenizer=build_demo_tokenizer())
    processor._suffix = []
    outputs = processor(
        text=["Maya , Ken", "Maya , Ken , Priya"],
        head=[{"start": 0, "end": 4}] * 2,
        tail=[{"start": 7, "end": 10}] * 2,
        return_tensors="pt",
    )
    assert outputs["tail_span"][0].tolist() == outputs["tail_span"][1].tolist()


def test_without_types_the_caption_stays(processor, picture):
    plain = RocProcessor(processor.image_processor, processor.tokenizer, use_entity_types=False)
    tail = {"box": LEFT, "type": "organization", "caption": "trophy"}
    outputs = plain(text=TEXT, head=MAYA, tail=tail, images=picture)
    assert "[TAIL] trophy [/TAIL]" in words(plain, outputs) and "person" not in words(plain, outputs)
    outputs = plain(text=TEXT, head=MAYA, tail={"box": LEFT}, images=picture)
    assert "[TAIL] [/TAIL]" in words(plain, outputs)


def test_boxes_are_in_the_frame_of_pixel_values(picture, monkeypatch):
    image_processor = CLIPImageProcessorPil(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})
    processor = RocProcessor(image_processor, build_demo_tokenizer())
    # 80 x 60 becomes 85 x 64, of which the columns 10 to 74 are shown.
    example = {"text": TEXT, "head": MAYA, "tail": {"box_pixels": [20, 15, 60, 45]}}
    expected = pytest.approx(((20 / 80 * 85 - 10) / 64, 0.25, (60 / 80 * 85 - 10) / 64, 0.75))
    assert processor(**example, images=picture)["object_boxes"][0][0] == expected
    assert processor(**example, image_sizes=(80, 60))["object_boxes"][0][0] == expected
    # Of what is only context, the cropped part is left out, and it is said once.
    objects = [{"box": [0.0, 0.0, 0.1, 1.0]}, {"box": [0.0, 0.0, 0.5, 1.0]}]
    said = []
    monkeypatch.setattr(processing_roc.logger, "warning_once", said.append)
    assert len(processor(**example, objects=objects, images=picture)["object_boxes"][0]) == 2
    assert len(said) == 1 and "crops some objects away" in said[0]
    with pytest.raises(ValueError, match="example 0: the image processor crops the object with box .* away, 100.0%"):
        processor(text=TEXT, head={"box": [0.0, 0.0, 0.1, 1.0]}, tail=MAYA, images=picture)
    # A sliver of an object that is head or tail is no object any more.
    for edge, problem in ((0.1195, "98.4%"), (0.15, "78.4%")):
        with pytest.raises(ValueError, match=f"crops the object with box .* away, {problem} of it"):
            processor(text=TEXT, head=MAYA, tail={"box": [0.0, 0.2, edge, 0.9]}, images=picture)
    kept = processor(text=TEXT, head=MAYA, tail={"box": [0.0, 0.2, 0.16, 0.9]}, images=picture)["object_boxes"][0][0]
    assert kept == pytest.approx((0.0, 0.2, 0.05625, 0.9))


def test_pixels_count_in_the_upright_picture(processor, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter: 80 x 60 is shown as 60 x 80
    Image.new("RGB", (80, 60)).save(tmp_path / "turned.jpg", exif=exif)
    tail = {"box_pixels": [0, 0, 30, 80]}
    outputs = processor(text=TEXT, head=MAYA, tail=tail, images=tmp_path / "turned.jpg")
    assert outputs["object_boxes"] == [[(0.0, 0.0, 0.5, 1.0)]]


def test_what_cannot_be_answered_is_refused(processor, picture):
    with pytest.raises(ValueError, match="example 0: an object was given as head or tail, but no picture"):
        processor(text=TEXT, head=MAYA, tail={"box": LEFT})
    with pytest.raises(ValueError, match="example 0: objects are given, but no picture"):
        processor(text=TEXT, head=MAYA, tail=ROVERS, objects=[{"box": LEFT}])
    many = [{"box": [i / 20, 0.0, (i + 1) / 20, 1.0]} for i in range(12)]
    assert len(processor(text=TEXT, head=MAYA, tail=ROVERS, objects=many, images=picture)["object_boxes"][0]) == 12
    with pytest.raises(ValueError, match="example 0: 13 objects are more than max_objects=12"):
        processor(text=TEXT, head=MAYA, tail={"box": LEFT}, objects=many, images=picture)
    with pytest.raises(ValueError, match="max_objects must be a positive integer"):
        RocProcessor(tokenizer=build_demo_tokenizer(), max_objects=0)
    with pytest.raises(ValueError, match="a batch of 1 heads, but 2 in objects"):
        processor(text=[TEXT], head=[MAYA], tail=[ROVERS], objects=[[], []])
    with pytest.raises(ValueError, match="take .* tokens, but only"):
        processor(text=TEXT, head={"box": LEFT, "caption": "house " * 80}, tail=MAYA, images=picture)


@pytest.mark.parametrize("size", [[100], (80, 60, 3), (80.5, 60), (0, 60), "80", 80, {"width": 80, "height": 60}])
def test_a_pictures_size_is_width_and_height(processor, size):
    with pytest.raises(ValueError, match=r"example 0: image_sizes: a size must be \(width, height\) in pixels.* got"):
        processor(text=TEXT, head=MAYA, tail={"box": LEFT}, image_sizes=size)


def test_training_takes_as_many_objects_as_the_data_set_has(tmp_path):
    rows = load_demo(num_train=9, num_validation=1, num_test=1)
    assert most_objects(rows) == max(len(row["objects"]) for row in rows["train"])
    name, box = "dog", [0.0, 0.0, 1.0, 1.0]
    entry, dog = {"name": name, "box": box, "caption": None}, object_entity(name, box)
    changed = [{**row, "objects": [entry] * i} for i, row in enumerate(rows["train"].to_list() * 3)]
    train = Dataset.from_list(changed, features=rows["train"].features)
    bare = Dataset.from_list(
        [{**rows["test"].to_list()[0], "tail": dog, "objects": []}], features=rows["test"].features
    )
    assert most_objects(DatasetDict(train=train, test=bare)) == 26 and most_objects(DatasetDict(test=bare)) == 1
    for flags, num_objects, expected in (([], 26, 26), ([], 3, 12), (["--max_objects", "15"], 26, 15)):
        settings = parse_arguments(["--output_dir", str(tmp_path), *flags])
        assert make_model_of_run(settings, load_demo_descriptions(), num_objects)[1].max_objects == expected


def test_text_only_takes_boxes_as_they_are():
    processor = RocProcessor(tokenizer=build_demo_tokenizer())
    assert processor(text=TEXT, head=MAYA, tail={"box": LEFT})["object_boxes"] == [[tuple(LEFT)]]


@pytest.fixture
def objects_batch(processor, picture):
    """A mention with each half of the picture, the halves with each other, and two mentions with no object."""
    pairs = [(MAYA, {"box": LEFT}), (MAYA, {"box": RIGHT}), ({"box": LEFT}, {"box": RIGHT}), (MAYA, ROVERS)]
    return processor(
        text=[TEXT] * 4,
        head=[head for head, _ in pairs],
        tail=[tail for _, tail in pairs],
        objects=[[{"box": [0.2, 0.2, 0.8, 0.8]}]] * 3 + [None],
        images=[picture] * 4,
        return_tensors="pt",
    )


@pytest.fixture(params=["roi", "crop"])
def object_model(make_model, request):
    return make_model(object_features=request.param)


def answers(model, **inputs):
    with torch.no_grad():
        return model(**inputs).logits


def test_which_box_and_what_lies_in_it_decide(object_model, processor, objects_batch, picture):
    logits = answers(object_model, **objects_batch)
    assert logits.shape == (4, 3) and len({tuple(row) for row in logits.tolist()}) == 4
    other = Image.new("RGB", (80, 60), "red")
    pixels = processor.image_processor(other, return_tensors="pt")["pixel_values"]
    assert not torch.allclose(answers(object_model, **{**objects_batch, "pixel_values": pixels}), logits, atol=1e-4)


def test_padding_objects_changes_nothing(object_model, objects_batch):
    logits = answers(object_model, **objects_batch)
    boxes, mask = objects_batch["object_boxes"], objects_batch["object_mask"]
    padded = {
        **objects_batch,
        "object_boxes": torch.cat([boxes, boxes[:, :1]], dim=1),
        "object_mask": torch.cat([mask, torch.zeros_like(mask[:, :1])], dim=1),
    }
    assert torch.allclose(answers(object_model, **padded), logits, atol=1e-5)


def test_the_order_of_context_objects_changes_nothing(object_model, objects_batch):
    first = {name: value[:1] for name, value in objects_batch.items()}
    extra = torch.tensor([[[0.0, 0.5, 0.5, 1.0], [0.1, 0.1, 0.3, 0.2]]])
    one = torch.cat([first["object_boxes"][:, :1], extra], dim=1)
    other = torch.cat([first["object_boxes"][:, :1], extra.flip(1)], dim=1)
    mask = torch.ones(1, 3, dtype=torch.long)
    assert torch.allclose(
        answers(object_model, **{**first, "object_boxes": one, "object_mask": mask}),
        answers(object_model, **{**first, "object_boxes": other, "object_mask": mask}),
        atol=1e-5,
    )


def test_a_batch_answers_as_its_examples_alone(object_model, processor, objects_batch, picture):
    logits = answers(object_model, **objects_batch)
    for i, (head, tail) in enumerate([(MAYA, {"box": LEFT}), (MAYA, {"box": RIGHT})]):
        alone = processor(
            text=TEXT,
            head=head,
            tail=tail,
            objects=[{"box": [0.2, 0.2, 0.8, 0.8]}],
            images=picture,
            return_tensors="pt",
        )
        assert torch.allclose(answers(object_model, **alone)[0], logits[i], atol=1e-5)


def test_each_part_of_the_object_embedding_learns(object_model, objects_batch):
    model = object_model.train()
    model(**objects_batch, labels=torch.tensor([0, 1, 2, 0])).loss.backward()
    for name, parameter in model.named_parameters():
        if name.startswith(
            ("pair_encoder.object_embedding", "pair_encoder.vision_encoder.layers", "pair_encoder.vision_projection")
        ):
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_a_crop_is_encoded_once_for_all_its_pairs(make_model, objects_batch):
    model = make_model(object_features="crop")
    seen = []
    model.pair_encoder.vision_encoder.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    answers(model, **objects_batch)
    assert seen == [1, 3], "the picture, and three distinct boxes"


def test_a_missing_picture_leaves_position_and_role(make_model, processor, objects_batch):
    model = make_model(object_features="roi")
    without = {**objects_batch, "image_index": torch.full((4,), -1)}
    absent = {name: value for name, value in objects_batch.items() if name not in ("pixel_values", "image_index")}
    assert torch.allclose(answers(model, **without), answers(model, **absent), atol=1e-5)
    text_only = make_model(object_features="roi", with_vision=False)
    logits = answers(text_only, **absent)
    assert not torch.allclose(logits[0], logits[1])


def test_a_model_without_objects_refuses_them(make_model, objects_batch):
    with pytest.raises(ValueError, match="objects were given to a model that takes none"):
        answers(make_model(), **objects_batch)


def test_saving_and_loading(object_model, objects_batch, tmp_path):
    object_model.save_pretrained(tmp_path)
    again, info = type(object_model).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert torch.equal(answers(again.eval(), **objects_batch), answers(object_model, **objects_batch))


def test_bfloat16(object_model, objects_batch):
    logits = answers(object_model, **objects_batch)
    rough = answers(object_model.to(torch.bfloat16), **objects_batch)
    assert rough.dtype == torch.float32 and torch.allclose(rough, logits, atol=0.6)


def test_many_pictures_keep_their_crops_in_bfloat16(make_model):
    """Whose picture a crop is of counts beyond 256, which bfloat16 does not."""
    encoder = make_model(object_features="crop").pair_encoder
    pixel_values = torch.rand(300, 1, 1, 1).expand(300, 3, 64, 64)
    boxes = torch.tensor([[LEFT]] * 300)
    features = []
    for dtype in (torch.float32, torch.bfloat16):
        with torch.no_grad():
            patches = encoder.encode_pictures(pixel_values)
            features.append(
                encoder._region_features(
                    patches, pixel_values, torch.arange(300), boxes.to(dtype), torch.ones(300, 1, dtype=torch.long)
                )
            )
    assert torch.allclose(*features, atol=1e-4)

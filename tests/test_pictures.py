# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
import base64
import inspect
import io
import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil, ViTImageProcessorPil

from data_scripts.converters import pictures
from data_scripts.converters.convert import convert
from data_scripts.converters.jsonl import read_jsonl
from data_scripts.converters.pictures import check_pictures, read_upright_size
from data_scripts.loading import open_rows
from evaluation_roc.pictures import save_example_page
from processing_roc import RocProcessor, processing_roc
from processing_roc.processing_roc import distinct_pictures, open_picture
from training_roc.collator import PictureTable, rescale_and_normalize, resize_pictures

RAW = Path(os.environ.get("ROC_MNRE_RAW", Path(__file__).parents[2] / "shared" / "mnre"))


def pixel(image, where=(0, 0)):
    assert image.mode == "RGB"
    return image.getpixel(where)


def saved(image, format, **kwargs):
    buffer = io.BytesIO()
    image.save(buffer, format, **kwargs)
    return buffer.getvalue()


def grey(value, dtype):
    return Image.fromarray(np.full((2, 2), value, dtype=dtype))


def clear_palette():
    image = Image.new("P", (2, 2), 1)
    image.putpalette([9, 9, 9, 200, 100, 0])
    return open_picture(saved(image, "PNG", transparency=1))


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("RGB", (2, 2), (1, 2, 3)), (1, 2, 3)),
        (Image.new("RGBA", (2, 2), (255, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (2, 2), (255, 0, 0, 255)), (255, 0, 0)),
        (Image.new("RGBA", (2, 2), (255, 0, 0, 51)), (255, 204, 204)),  # 0.2 red + 0.8 white
        (Image.new("RGBa", (2, 2), (51, 0, 0, 51)), (255, 204, 204)),  # the same, premultiplied
        (Image.new("LA", (2, 2), (0, 0)), (255, 255, 255)),
        (Image.new("LA", (2, 2), (7, 255)), (7, 7, 7)),
        (Image.new("La", (2, 2), (0, 0)), (255, 255, 255)),
        (Image.new("PA", (2, 2), (7, 0)), (255, 255, 255)),
        (clear_palette(), (255, 255, 255)),
        (Image.new("RGB", (2, 2), (200, 100, 0)).quantize(), (200, 100, 0)),
        (Image.new("L", (2, 2), 77), (77, 77, 77)),
        (Image.new("1", (2, 2), 1), (255, 255, 255)),
        (Image.new("CMYK", (2, 2), (0, 255, 255, 0)), (255, 0, 0)),
        (Image.new("YCbCr", (2, 2), (255, 128, 128)), (255, 255, 255)),
        (Image.new("HSV", (2, 2), (0, 255, 255)), (255, 0, 0)),
        (grey(257 * 100, np.uint16), (100, 100, 100)),
        (grey(65535, np.uint16), (255, 255, 255)),
        (grey(257 * 100, np.int32), (100, 100, 100)),
        (grey(0.5, np.float32), (128, 128, 128)),
    ],
    ids=lambda value: getattr(value, "mode", None),
)
def test_every_mode_becomes_rgb(image, expected):
    before = image.mode, image.tobytes()
    assert pixel(open_picture(image)) == expected
    assert (image.mode, image.tobytes()) == before


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_paths_bytes_and_pictures_are_read_alike(format, tmp_path):
    path = tmp_path / f"picture.{format.lower()}"
    path.write_bytes(saved(Image.effect_noise((12, 8), 60).convert("RGB"), format))
    expected = open_picture(Image.open(path))
    assert expected.size == (12, 8)
    for source in (path, str(path), path.read_bytes()):
        assert open_picture(source).tobytes() == expected.tobytes()


def test_sixteen_bit_png(tmp_path):
    grey(257 * 30, np.uint16).save(tmp_path / "x.png")
    assert pixel(open_picture(tmp_path / "x.png")) == (30, 30, 30)


def test_exif_rotation_is_applied():
    image = Image.new("RGB", (4, 2), "red")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    assert open_picture(saved(image, "JPEG", exif=exif)).size == (2, 4)


def test_of_an_animation_the_first_frame_is_taken():
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "lime")]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert pixel(open_picture(data)) == (255, 0, 0)
    image = Image.open(io.BytesIO(data))
    image.seek(1)
    assert pixel(open_picture(image)) == (255, 0, 0)
    assert image.tell() == 1, "the caller's picture is left where it was"


def test_broken_and_missing_files_are_named(tmp_path):
    whole = saved(Image.effect_noise((64, 64), 90), "JPEG")
    for name, data in {"cut.jpg": whole[: len(whole) // 2], "text.png": b"hello", "empty.png": b""}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=f"^example 4: cannot read picture .*{name}"):
            open_picture(tmp_path / name, "example 4: ")
    with pytest.raises(ValueError, match=r"^example 4: cannot read picture .*nothing\.png"):
        open_picture(str(tmp_path / "nothing.png"), "example 4: ")
    with pytest.raises(ValueError, match="cannot read picture 5 bytes"):
        open_picture(b"hello")


@pytest.mark.parametrize("wrong", [None, 3, ["a.jpg"]])
def test_other_types_are_refused(wrong):
    with pytest.raises(ValueError, match="^example 4: a picture must be a PIL picture, an array, a path, .* got"):
        open_picture(wrong, "example 4: ")


COLOURS = np.random.default_rng(5).integers(0, 256, (5, 7, 3), np.uint8)


@pytest.mark.parametrize(
    "array",
    [
        COLOURS,
        COLOURS.transpose(2, 0, 1),
        np.dstack([COLOURS, np.full((5, 7), 255, np.uint8)]),
        COLOURS.astype(np.uint16) * 257,
        COLOURS / 255,
        (COLOURS / 255).astype(np.float32),
        torch.from_numpy(COLOURS),
        (torch.from_numpy(COLOURS).permute(2, 0, 1) / 255).requires_grad_(),
    ],
)
def test_arrays_and_tensors_are_pictures(array):
    assert (np.asarray(open_picture(array)) == COLOURS).all()


def test_arrays_without_colours():
    grey = COLOURS[..., 0]
    for array in (grey, grey[..., None], grey[None], torch.from_numpy(grey)):
        assert (np.asarray(open_picture(array)) == grey[..., None]).all()
    assert pixel(open_picture(np.ones((5, 7), bool))) == (255, 255, 255)
    assert pixel(open_picture(torch.full((5, 7), 0.5, dtype=torch.bfloat16))) == (128, 128, 128)


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.zeros(7), "it must be .height, width."),
        (np.float32(3), "it must be .height, width."),
        (np.zeros((2, 3, 5, 7)), "it must be .height, width."),
        (np.zeros((5, 7, 2)), "it must be .height, width."),
        (np.zeros((3, 7, 3)), "not both"),
        (np.zeros((0, 7, 3)), "it has no pixels"),
        (COLOURS.astype(np.float32), "values must lie in 0–1, got 0 to 25"),
        (np.full((5, 7), np.nan), "values must lie in 0–1, got nan"),
        (COLOURS.astype(np.int64), "uint8, uint16, bool or floating point, got int64"),
        (np.full((5, 7), "red"), "got <U3"),
    ],
)
def test_arrays_that_are_no_pictures(array, problem):
    shape = ", ".join(map(str, np.shape(array)))
    with pytest.raises(ValueError, match=rf"^example 4: cannot read picture of shape \({shape},?\): .*{problem}"):
        open_picture(array, "example 4: ")


def test_base64_and_what_a_data_set_holds(tmp_path):
    content = saved(Image.fromarray(COLOURS), "PNG")
    (tmp_path / "x.png").write_bytes(content)
    encoded = base64.b64encode(content).decode()
    kept = {"bytes": content, "path": "x.png"}, {"bytes": None, "path": str(tmp_path / "x.png")}
    for form in (encoded, base64.encodebytes(content).decode(), f"data:image/png;base64,{encoded}", *kept):
        assert (np.asarray(open_picture(form)) == COLOURS).all()
    for wrong, problem in (
        ({"bytes": None, "path": None}, "a dict must have 'bytes' or 'path'"),
        ({"url": "x.png"}, "a dict must have 'bytes' or 'path'"),
        ("https://example.org/x.png", "x.png: nothing is fetched from the web here"),
        ("pictures/cat", "cannot read picture pictures/cat: there is no such file"),
        (f"data:image/png;base64,{encoded[:-1]}", "is no base64: Incorrect padding"),
        (encoded * 2 + "?", "is no base64"),
        ("A" * 400, "no format that Pillow knows begins with"),
        (tmp_path, "there is no such file"),
    ):
        with pytest.raises(ValueError, match=problem):
            open_picture(wrong)


@pytest.mark.parametrize(
    "image", [grey(70_000, np.int32), grey(-1, np.int32), grey(1.5, np.float32), grey(np.nan, np.float32)]
)
def test_grey_of_unknown_range_is_refused(image):
    with pytest.raises(ValueError, match="holds values outside 0–"):
        open_picture(image)


@pytest.mark.parametrize("size", [(0, 0), (0, 5)])
def test_a_picture_without_pixels_is_refused(size):
    with pytest.raises(ValueError, match=f"it has no pixels .{size[0]} × {size[1]}.$"):
        open_picture(Image.new("RGB", size))


# What a picture is, to all who open one


def photo(orientation=6, value=(1, 72)) -> bytes:
    """A JPEG of 8 × 6, red above green, with an orientation and a resolution whose rational number may be broken."""
    image = Image.new("RGB", (8, 6), "green")
    image.paste("red", (0, 0, 8, 3))
    tags = struct.pack("<HHIHH", 0x112, 3, 1, orientation, 0) + struct.pack("<HHII", 0x11B, 10, 1, 38)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + tags + bytes(4) + struct.pack("<ii", *value)
    plain = saved(image, "JPEG", quality=95, subsampling=0)
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:]


def png_with(kind: bytes, data: bytes, last=False) -> bytes:
    plain = saved(Image.new("RGB", (8, 6), "green"), "PNG")
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    place = len(plain) - 12 if last else 33
    return plain[:place] + chunk + plain[place:]


TEXTS = b"workflow\0\0" + zlib.compress(bytes(2_000_000))
TURNED = Image.Exif()
TURNED[0x112] = 6
PICTURES = {
    "turned": (photo(), (6, 8)),
    "turned, with a resolution of -1/0": (photo(value=(-1, 0)), (6, 8)),
    "mirrored, with a resolution of -1/0": (photo(4, (-1, 0)), (8, 6)),
    "orientation 9": (photo(9), (8, 6)),
    "EXIF that is none": (png_with(b"eXIf", b"no TIFF"), (8, 6)),
    "turned TIFF": (saved(Image.new("RGB", (8, 6)), "TIFF", exif=TURNED), (6, 8)),
    "turned WebP": (saved(Image.new("RGB", (8, 6)), "WEBP", exif=TURNED), (6, 8)),
    "2 MB of text before": (png_with(b"zTXt", TEXTS), (8, 6)),
    "2 MB of text behind": (png_with(b"zTXt", TEXTS, last=True), (8, 6)),
    "2 MB of profile": (png_with(b"iCCP", TEXTS), (8, 6)),
    "a scan": (saved(Image.new("1", (12_000, 8_000)), "PNG"), (12_000, 8_000)),
    "a bomb": (saved(Image.new("1", (18_000, 10_000)), "PNG"), None),
    "cut off": (photo()[:-30], None),
    "HTML": (b"<!DOCTYPE html><html>", None),
    "32-bit grey beyond 16 bits": (saved(grey(70_000, np.int32), "TIFF"), None),
    "floats beyond 1": (saved(grey(2.0, np.float32), "TIFF"), None),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", PICTURES)
def test_converters_take_what_the_processor_takes(name, tmp_path):
    content, size = PICTURES[name]
    path = tmp_path / "picture"
    path.write_bytes(content)
    if size is None:
        with pytest.raises(ValueError, match="^cannot read picture"):
            open_picture(path)
    else:
        assert open_picture(content).size == size
    assert read_upright_size(str(path)) == size and bool(check_pictures([str(path)], None)) == (size is None)


def test_converters_open_pictures_by_the_same_words():
    for name in ("read_picture", "without_texts", "upright"):
        assert inspect.getsource(getattr(pictures, name)) == inspect.getsource(getattr(processing_roc, name))
    assert (pictures.TURNS, pictures.GREYS) == (processing_roc.TURNS, processing_roc.GREYS)


def test_a_picture_is_turned_once_whatever_else_its_exif_holds(tmp_path):
    path = tmp_path / "turned.jpg"
    path.write_bytes(photo(value=(-1, 0)))
    for picture in (path, Image.open(path), open_picture(path), open_picture(open_picture(Image.open(path)))):
        shown = open_picture(picture)
        (left, right), others = (pixel(shown, (x, 4)) for x in (0, 5)), shown.info
        assert left[1] > left[0] + 100 and right[0] > right[1] + 100 and not others


def test_a_data_set_with_such_pictures_is_converted_read_and_drawn(processor, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    names = [name for name, (content, size) in PICTURES.items() if size and len(content) < 10_000]
    lines = []
    for i, name in enumerate(names):
        (raw / f"{i}.png").write_bytes(PICTURES[name][0])
        line = {"text": f"Maya met Noah {i}", "head": {"start": 0, "end": 4}, "tail": {"start": 9, "end": 13}}
        lines.append(json.dumps({**line, "relation": "friend", "image": f"{i}.png"}) + "\n")
    (raw / "train.jsonl").write_text("".join(lines))
    (raw / "relation_descriptions.json").write_text('{"friend": "They are friends.", "other": "They are not."}')
    convert(read_jsonl, raw, tmp_path / "data", negative_relation="other")
    rows = open_rows(str(tmp_path / "data"), split="train")
    table = PictureTable(processor, [rows])
    for i, name in enumerate(names):
        assert table.sizes[f"{i}.png"] == PICTURES[name][1]
        expected = resize_pictures([open_picture(PICTURES[name][0])], processor.image_processor)
        assert (table[f"{i}.png"] == expected[0]).all()
    save_example_page(tmp_path / "page.png", rows, [0] * len(rows), ["friend", "other"])
    assert (tmp_path / "page.png").exists()


def test_distinct_pictures():
    one, other = Image.new("RGB", (1, 1)), Image.new("RGB", (1, 1))
    kept, index = distinct_pictures([None, one, "a.jpg", other, Path("a.jpg"), one, None])
    assert kept == [one, "a.jpg", other] and kept[0] is one and kept[2] is other
    assert index == [-1, 0, 1, 2, 1, 0, -1]


@pytest.mark.parametrize(
    "image_processor",
    [
        ViTImageProcessorPil(size={"height": 24, "width": 20}),
        CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24}),
        ViTImageProcessorPil(size={"height": 8, "width": 8}, do_normalize=False),
        ViTImageProcessorPil(size={"height": 8, "width": 8}, do_rescale=False, do_normalize=False),
    ],
)
def test_resizing_then_normalizing_is_the_image_processors_call(image_processor):
    generator = np.random.default_rng(0)
    images = [
        Image.fromarray(generator.integers(0, 256, (h, w, 3), np.uint8)) for h, w in ((30, 50), (50, 30), (9, 9))
    ]
    pixels = resize_pictures(images, image_processor)
    assert pixels.dtype == np.uint8 and pixels.shape[:2] == (3, 3)
    values = rescale_and_normalize(pixels, image_processor)
    assert values.dtype == np.float32
    expected = np.stack(image_processor(images)["pixel_values"])
    np.testing.assert_allclose(values, expected, atol=1e-4 if not image_processor.do_rescale else 1e-6)


def test_pictures_of_unlike_sizes_are_refused():
    image_processor = CLIPImageProcessorPil(size={"shortest_edge": 24}, do_center_crop=False)
    with pytest.raises(ValueError, match="pictures of one size"):
        resize_pictures([Image.new("RGB", size) for size in ((30, 60), (30, 30))], image_processor)
    with pytest.raises(ValueError, match="no pictures"):
        resize_pictures([], image_processor)


def test_a_thread_of_pixels_does_not_fill_the_memory(processor):
    cropping = CLIPImageProcessorPil(size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224})
    pair = {"text": "Maya met Noah", "head": {"start": 0, "end": 4}, "tail": {"start": 9, "end": 13}}
    thread = Image.new("RGB", (1, 60_000))
    with pytest.raises(
        ValueError, match="example 0: CLIPImageProcessorPil would make 3,010,560,000 pixels .* 1 × 60000"
    ):
        RocProcessor(cropping, processor.tokenizer)(**pair, images=thread)
    assert len(processor(**pair, images=thread)["pixel_values"]) == 1  # to a fixed size: nothing to it


def test_an_image_processor_that_does_not_resize_takes_pictures_of_one_size(processor):
    plain = RocProcessor(ViTImageProcessorPil(do_resize=False), processor.tokenizer)
    pair = {"text": ["Maya met Noah"] * 2, "head": [{"start": 0, "end": 4}] * 2, "tail": [{"start": 9, "end": 13}] * 2}
    pictures = [Image.new("RGB", (30, 20)), Image.new("RGB", (20, 30))]
    message = r"ViTImageProcessorPil must give pictures of one size, got \[\(3, 20, 30\), \(3, 30, 20\)\]"
    with pytest.raises(ValueError, match=message):
        plain(**pair, images=pictures, return_tensors="pt")
    assert plain(**pair, images=pictures[:1] * 2, return_tensors="pt")["pixel_values"].shape == (1, 3, 20, 30)


@pytest.mark.skipif(not (RAW / "img_org").is_dir(), reason="the MNRE pictures are not there (ROC_MNRE_RAW)")
def test_real_pictures():
    paths = sorted((RAW / "img_org").glob("*/*.jpg"))[:8]
    image_processor = ViTImageProcessorPil(size={"height": 64, "width": 64})
    opened = [open_picture(path) for path in paths]
    assert {image.mode for image in opened} == {"RGB"}
    values = rescale_and_normalize(resize_pictures(opened, image_processor), image_processor)
    expected = np.stack(image_processor([Image.open(path) for path in paths])["pixel_values"])
    np.testing.assert_allclose(values, expected, atol=1e-6)

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers import CLIPImageProcessorPil, ViTImageProcessorPil

from processing_roc.processing_roc import distinct_pictures, open_picture
from training_roc.collator import rescale_and_normalize, resize_pictures

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


@pytest.mark.parametrize("wrong", [None, 3, np.zeros((4, 4, 3), np.uint8), ["a.jpg"]])
def test_other_types_are_refused(wrong):
    with pytest.raises(ValueError, match="^example 4: a picture must be a PIL picture, a path or bytes, got"):
        open_picture(wrong, "example 4: ")


@pytest.mark.parametrize(
    "image", [grey(70_000, np.int32), grey(-1, np.int32), grey(1.5, np.float32), grey(np.nan, np.float32)]
)
def test_grey_of_unknown_range_is_refused(image):
    with pytest.raises(ValueError, match="holds values outside 0–"):
        open_picture(image)


def test_a_decompression_bomb_is_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 90)
    with pytest.raises(ValueError, match="10 × 10 pixels are more than PIL's limit of 90"):
        open_picture(Image.new("RGB", (10, 10)))
    data = saved(Image.new("RGB", (100, 100)), "PNG")
    with pytest.raises(ValueError, match="decompression bomb"):
        open_picture(data)


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


@pytest.mark.skipif(not (RAW / "img_org").is_dir(), reason="the MNRE pictures are not there (ROC_MNRE_RAW)")
def test_real_pictures():
    paths = sorted((RAW / "img_org").glob("*/*.jpg"))[:8]
    image_processor = ViTImageProcessorPil(size={"height": 64, "width": 64})
    opened = [open_picture(path) for path in paths]
    assert {image.mode for image in opened} == {"RGB"}
    values = rescale_and_normalize(resize_pictures(opened, image_processor), image_processor)
    expected = np.stack(image_processor([Image.open(path) for path in paths])["pixel_values"])
    np.testing.assert_allclose(values, expected, atol=1e-6)

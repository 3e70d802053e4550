# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Boxes follow what an image processor does to a picture: proved with drawn pictures, for every one in use."""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from transformers import AutoImageProcessor, ViTImageProcessorPil
from transformers.models.beit.image_processing_pil_beit import BeitImageProcessorPil
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
from transformers.models.deit.image_processing_pil_deit import DeiTImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from processing_roc.spans_and_boxes_roc import follow, shown_part

IMAGE_PROCESSORS = {
    "ViT": ViTImageProcessorPil(),
    "DeiT": DeiTImageProcessorPil(),
    "CLIP": CLIPImageProcessorPil(),
    "DINOv2": BitImageProcessorPil(size={"shortest_edge": 256}),
    "BEiT": BeitImageProcessorPil(size={"height": 256, "width": 256}, do_center_crop=True),
    "SigLIP": SiglipImageProcessorPil(),
    "two edges": ViTImageProcessorPil(size={"shortest_edge": 200, "longest_edge": 300}),
    "crop with a border": CLIPImageProcessorPil(size={"shortest_edge": 150}),
    "crop alone": CLIPImageProcessorPil(do_resize=False),
}


@pytest.mark.parametrize("size", [(800, 600), (300, 500), (224, 224), (641, 333)])
@pytest.mark.parametrize("name", IMAGE_PROCESSORS)
def test_a_drawn_box_is_found_where_the_box_says(name, size):
    image_processor = IMAGE_PROCESSORS[name]
    width, height = size
    boxes = [(0.3, 0.4, 0.6, 0.7), (0.02, 0.03, 0.3, 0.2), (0.7, 0.55, 0.99, 0.98)]
    shown = shown_part(image_processor, size)
    for box in boxes:
        picture = Image.new("RGB", size)
        x0, y0, x1, y1 = (round(edge * side) for edge, side in zip(box, (width, height) * 2, strict=True))
        ImageDraw.Draw(picture).rectangle((x0, y0, x1 - 1, y1 - 1), fill="white")
        pixels = image_processor(picture, do_rescale=False, do_normalize=False)["pixel_values"][0][0]
        bright = np.argwhere(np.asarray(pixels) > 127)
        moved = follow((x0 / width, y0 / height, x1 / width, y1 / height), shown)
        if len(bright) == 0:
            assert moved is None or min(moved[2] - moved[0], moved[3] - moved[1]) < 0.01
            continue
        (top, left), (bottom, right) = bright.min(axis=0), bright.max(axis=0) + 1
        found = (left / pixels.shape[1], top / pixels.shape[0], right / pixels.shape[1], bottom / pixels.shape[0])
        # Within a pixel and a half of what is shown.
        assert moved == pytest.approx(found, abs=1.5 / min(pixels.shape))


def test_by_hand():
    # 400 x 200 becomes 448 x 224, of which the middle 224 x 224 are shown: a quarter on each side is cut off.
    assert shown_part(CLIPImageProcessorPil(), (400, 200)) == (0.25, 0.0, 0.75, 1.0)
    assert follow((0.0, 0.0, 0.5, 0.5), (0.25, 0.0, 0.75, 1.0)) == (0.0, 0.0, 0.5, 0.5)
    assert follow((0.0, 0.0, 0.2, 0.5), (0.25, 0.0, 0.75, 1.0)) is None
    assert follow((0.1, 0.2, 0.3, 0.4), shown_part(ViTImageProcessorPil(), None)) == (0.1, 0.2, 0.3, 0.4)


def test_what_cannot_be_followed_is_refused():
    with pytest.raises(ValueError, match="cannot follow ConvNextImageProcessorPil: it has its own way to resize"):
        shown_part(ConvNextImageProcessorPil(), (80, 60))
    with pytest.raises(ValueError, match="with do_pad=True"):
        shown_part(ViTImageProcessorPil(do_pad=True), (80, 60))
    with pytest.raises(ValueError, match="where the picture's size is known"):
        shown_part(CLIPImageProcessorPil(), None)
    with pytest.raises(ValueError, match="boxes cannot follow CLIPImageProcessorPil with size"):
        shown_part(CLIPImageProcessorPil(size={"max_height": 9, "max_width": 9}), (80, 60))


def test_a_saved_image_processor_is_followed_too(tmp_path):
    CLIPImageProcessorPil().save_pretrained(tmp_path)
    loaded = AutoImageProcessor.from_pretrained(tmp_path)
    assert shown_part(loaded, (400, 200)) == (0.25, 0.0, 0.75, 1.0)


@pytest.mark.parametrize("size", [(6, 3), (2, 1), (12, 6)])
def test_rows_are_not_taken_for_channels(size):
    """A picture of one or three rows has a shape that could also be that of channels first."""
    assert shown_part(CLIPImageProcessorPil(), size) == (0.25, 0.0, 0.75, 1.0)
    assert shown_part(CLIPImageProcessorPil(), size[::-1]) == (0.0, 0.25, 1.0, 0.75)

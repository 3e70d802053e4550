# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The post as a component: entities are marked by selecting words and by clicking or drawing boxes."""

from pathlib import Path
from typing import Any

import gradio as gr
from posts import MAX_ENTITIES

FOLDER = Path(__file__).parent
TYPES = ("person", "organization", "location", "miscellaneous")


def post_marker(post: dict[str, Any], picture: str, takes_boxes: bool, **kwargs: Any) -> gr.HTML:
    """A component that shows a post and its picture, and changes the post as the visitor marks entities.

    Its value is the post (see `posts`); the picture, a data URL or "", is its property `picture`, and
    `gr.HTML(value=..., picture=...)` replaces both. Every change that the visitor makes triggers the event `input`.
    What it does is in `post_marker.js`.

    Args:
        post: the post to begin with.
        picture: its picture.
        takes_boxes: whether things in a picture can be marked.
        kwargs: further arguments of `gr.HTML`.
    """
    return gr.HTML(
        post,
        picture=picture,
        takes_boxes=takes_boxes,
        types=list(TYPES),
        max_entities=MAX_ENTITIES,
        html_template='<div class="roc-post"></div>',
        js_on_load=(FOLDER / "post_marker.js").read_text(encoding="utf-8"),
        apply_default_css=False,
        **kwargs,
    )

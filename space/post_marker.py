# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The post as a component: entities are marked by selecting words and by clicking or drawing boxes."""

from pathlib import Path
from typing import Any

import gradio as gr
from posts import MAX_ENTITIES

FOLDER = Path(__file__).parent
TYPES = ("person", "organization", "location", "miscellaneous")


class PostMarker(gr.HTML):
    """Shows a post (see `posts`) and its picture, and changes the post as the visitor marks entities.

    Its value is the post; the picture, a data URL or "", is the property `picture`. Every change that the visitor
    makes triggers the event `input`. What it does is in `post_marker.js`.

    Args:
        value: the post to begin with.
        picture: its picture.
        types: suggested for an entity's type; any other words can be typed.
    """

    def __init__(self, value: dict[str, Any] | None = None, *, picture: str = "", types=TYPES, **kwargs):
        super().__init__(
            value=value,
            picture=picture,
            types=list(types),
            max_entities=MAX_ENTITIES,
            html_template='<div class="roc-post"></div>',
            js_on_load=(FOLDER / "post_marker.js").read_text(encoding="utf-8"),
            apply_default_css=False,
            **kwargs,
        )

    def api_info(self) -> dict[str, Any]:
        return {"type": "object"}

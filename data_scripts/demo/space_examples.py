# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The Space's examples, drawn as the demo set's pictures are.

`python -m data_scripts.demo.space_examples` writes them.

They are kept in `space/examples`, a few kilobytes each, because a pushed Space is one folder without this package.
"""

import json
import random
from pathlib import Path

from data_scripts.demo.pictures import PERSON, draw_picture

FOLDER = Path(__file__).parents[2] / "space" / "examples"
SIDE = 384  # pixels: sharp on a screen; the demo's image processor shrinks it to what it was trained on

KINDS = {PERSON: "person", "house": "location"}
"""What a person would call a thing, who does not know the relations; any other is miscellaneous."""

# Title, text, mentions with their types, things in the picture, head and tail: a mention or a thing.
EXAMPLES = (
    (
        "Two people",
        "Maya and Ken on the pier",
        {"Maya": "person", "Ken": "person"},
        ["heart", "tree"],
        ("Maya", "Ken"),
    ),
    (
        "A team",
        "Tom Reed , Rovers and Oslo in one picture",
        {"Tom Reed": "person", "Rovers": "organization", "Oslo": "location"},
        ["shirt", "house"],
        ("Tom Reed", "Rovers"),
    ),
    (
        "A thing in the picture",
        "so much to say about Priya , Victor Hale and Spring Prix !",
        {"Priya": "person", "Victor Hale": "person", "Spring Prix": "miscellaneous"},
        ["trophy", "cloud", PERSON, "ball"],
        ("Priya", "trophy"),
    ),
    (
        "Two things",
        "another photo of Aurora Gala , Ines and Lisbon ...",
        {"Ines": "person", "Lisbon": "location", "Aurora Gala": "miscellaneous"},
        [PERSON, "stage", "cup", "pram"],
        (PERSON, "stage"),
    ),
    (
        "Your own in place of “couple”",
        "Nadia Costa and Leo Brandt on the pier",
        {"Nadia Costa": "person", "Leo Brandt": "person"},
        ["heart", "cloud"],
        ("Nadia Costa", "Leo Brandt"),
    ),
)
RELATIONS = {
    5: {"relation": "The head is the spouse or partner of the tail.", "instead_of": "/per/per/couple"},
}
"""A relation that an example describes, and the model's own that it is tried without."""


def draw_examples(folder: Path = FOLDER) -> None:
    """Writes the pictures, `1.png` and so on, and `examples.json`: a list of what `space/post.py` calls a post, each
    with its title and the name of its picture."""
    posts = []
    for number, (title, text, mentions, things, pair) in enumerate(EXAMPLES, start=1):
        picture, boxes = draw_picture(things, random.Random(number), SIDE)
        picture.quantize(64).save(folder / f"{number}.png", optimize=True)
        entities = [
            {"kind": "text", "start": text.index(name), "end": text.index(name) + len(name), "type": kind}
            for name, kind in mentions.items()
        ]
        entities += [
            {"kind": "object", "box": [round(x, 4) for x in box], "type": KINDS.get(thing, "miscellaneous")}
            for thing, box in zip(things, boxes, strict=True)
        ]
        head, tail = ([*mentions, *things].index(name) for name in pair)
        post = {"title": title, "picture": f"{number}.png", "text": text}
        posts.append({**post, "entities": entities, "head": head, "tail": tail, **RELATIONS.get(number, {})})
    content = json.dumps(posts, ensure_ascii=False, indent=2) + "\n"
    (folder / "examples.json").write_text(content, encoding="utf-8")


if __name__ == "__main__":
    draw_examples()

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Small raw trees of MORE and UMRE, written as their authors publish them, for the tests to convert."""

import json

import numpy as np
import torch
from PIL import Image

UMRE_LABELS = [
    "none", "/per/loc/place_of_governance", "/per/misc/party", "/per/org/member_of", "/per/per/self",
    "/per/misc/nationality", "/loc/loc/self", "/per/misc/present_in", "/per/loc/place_of_residence", "/org/org/self",
    "/misc/misc/self", "/per/per/opponent", "/per/loc/place_of_birth", "/per/per/partner", "/per/org/opposed_to",
    "/loc/loc/contain", "/org/loc/locate_at", "/per/misc/president", "/misc/loc/held_on", "/per/org/leader_of",
    "/org/org/subsidiary", "/per/per/relatives", "/per/misc/awarded", "/misc/misc/part_of", "/per/misc/race",
    "/per/per/alumni", "/per/misc/religion", "/org/misc/present_in",
]  # fmt: skip
MORE_LABELS = UMRE_LABELS[20::-1]  # 21 of them, in an order of its own

# The boxes of each picture's objects: center x, center y, width, height.
BOXES = {
    "1.jpg": {"[OBJ0]": (0.25, 0.5, 0.5, 1.0), "[OBJ1]": (0.75, 0.5, 0.5, 0.5)},
    "2.jpg": {"[OBJ0]": (0.5002, 0.5, 1.0, 0.25)},  # ends at 1.0002
    "3.jpg": {f"[OBJ{i}]": (0.05 + i / 10, 0.5, 0.1, 0.2) for i in range(10)},
    "4.jpg": {"[OBJ0]": (0.5, 0.25, 0.25, 0.5)},
    "5.jpg": {"[OBJ0]": (0.5, 0.5, 0.5, 0.5), "[OBJ1]": (0.2, 0.2, 0.1, 0.1)},
}
POST = ["Ana", "Roy", "cheers", "for", "Lisbon", "!"]
PICTURES = {"train": ("1.jpg", "2.jpg", "3.jpg"), "valid": ("4.jpg",), "test": ("5.jpg",)}


def mention(start, end):
    return {"name": " ".join(POST[start:end]), "pos": [start, end]}


def post(head, tail, picture, relation, **more):
    """A line of a text file."""
    return repr({"token": POST, "h": head, "t": tail, "img_id": picture, "relation": relation, **more})


ANA, LISBON = mention(0, 2), mention(4, 5)


def seen(name, picture=None):
    """An object; with its picture, as UMRE writes it."""
    return {"name": name} | ({"pos": list(BOXES[picture][name])} if picture else {})


MORE_LINES = {
    "train": [
        post(ANA, seen("[OBJ0]"), "1.jpg", "/per/per/self"),
        post(ANA, seen("[OBJ1]"), "1.jpg", "none"),
        post(LISBON, seen("[OBJ1]"), "1.jpg", "/loc/loc/self"),
        post(LISBON, seen("[OBJ0]"), "2.jpg", "/loc/loc/contain", depth="2.npz"),
        *(post(ANA, seen(f"[OBJ{i}]"), "3.jpg", "/per/per/self" if i == 3 else "none") for i in range(10)),
    ],
    "valid": [post(ANA, seen("[OBJ0]"), "4.jpg", "/per/per/self"), post(LISBON, seen("[OBJ0]"), "4.jpg", "none")],
    "test": [
        post(ANA, seen(name), "5.jpg", label) for name, label in (("[OBJ0]", "none"), ("[OBJ1]", "/per/per/self"))
    ],
}
UMRE_LINES = {
    "train": [
        post(ANA, LISBON, "1.jpg", "/per/loc/place_of_residence"),
        post(LISBON, ANA, "1.jpg", "none"),
        post(ANA, seen("[OBJ0]", "1.jpg"), "1.jpg", "/per/per/self"),
        post(seen("[OBJ1]", "1.jpg"), LISBON, "1.jpg", "/per/loc/place_of_birth"),
        post(seen("[OBJ0]", "1.jpg"), seen("[OBJ1]", "1.jpg"), "1.jpg", "/per/per/partner"),
        post(seen("[OBJ4]", "3.jpg"), seen("[OBJ5]", "3.jpg"), "3.jpg", "/per/per/opponent"),
        post(ANA, seen("[OBJ0]", "2.jpg"), "2.jpg", "none"),
    ],
    "valid": [post(ANA, LISBON, "4.jpg", "none"), post(ANA, seen("[OBJ0]", "4.jpg"), "4.jpg", "/per/per/self")],
    "test": [
        post(ANA, LISBON, "5.jpg", "/per/loc/place_of_residence"),
        post(seen("[OBJ1]", "5.jpg"), ANA, "5.jpg", "/per/per/self"),
        post(seen("[OBJ0]", "5.jpg"), seen("[OBJ1]", "5.jpg"), "5.jpg", "none"),
    ],
}


def write_common(root, lines, labels):
    """Text files (with an empty last line), pictures and relation ids."""
    (root / "txt").mkdir(parents=True)
    for split, text in lines.items():
        (root / f"txt/{split}.txt").write_text("\n".join(text) + "\n\n", encoding="utf-8")
        (root / "img_org" / split).mkdir(parents=True)
        for number, name in enumerate(PICTURES[split]):
            Image.new("RGB", (80, 60), ("red", "green", "blue")[number]).save(root / "img_org" / split / name)
    # A picture under another split's folder.
    (root / "img_org/train/2.jpg").rename(root / "img_org/test/2.jpg")
    (root / "rel2id.json").write_text(
        json.dumps({label: i for i, label in enumerate(labels)}) + "\n", encoding="utf-8"
    )
    return root


def write_more(root, lines=MORE_LINES, with_captions=True):
    """A raw tree of MORE: dictionaries by torch.save, captions, depth maps."""
    write_common(root, lines, MORE_LABELS)
    for split, pictures in PICTURES.items():
        torch.save({name: BOXES[name] for name in pictures}, root / f"ent_{split}_dict.pth")
    if with_captions:
        captions = {
            "1.jpg": {"[OBJ0]": "a woman in a red shirt", "[OBJ1]": " "},
            "2.jpg": {"[OBJ0]": "a white bridge"},
        }
        (root / "caption_dict.json").write_text(json.dumps(captions), encoding="utf-8")
    (root / "img_dep").mkdir()
    np.savez(root / "img_dep/1.npz", depth_map=np.zeros((60, 80)))
    return root


def write_umre(root, lines=UMRE_LINES):
    """A raw tree of UMRE: dictionaries in JSON."""
    write_common(root, lines, UMRE_LABELS)
    for split, pictures in PICTURES.items():
        boxes = {name: BOXES[name] for name in pictures}
        (root / f"ent_{split}_dict.json").write_text(json.dumps(boxes), encoding="utf-8")
    return root

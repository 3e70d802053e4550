# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What a conversion found: counts that show at a glance whether the raw files are whole, and what is odd in them."""

import itertools
import re
from collections import Counter

from data_scripts.converters.entity_typing import UNKNOWN, type_word
from data_scripts.markdown import markdown_text
from data_scripts.schema import PAIR_KINDS, TRAIN, pair_kind

TYPED_LABEL = re.compile(r"/(per|org|loc|misc)/(per|org|loc|misc)/")


def text_key(row: dict) -> tuple:
    """What makes two rows the same example: the text, and head and tail as spans or as a picture's objects."""
    places = [(row[role]["kind"], row[role]["start"], row[role]["end"]) for role in ("head", "tail")]
    objects = [(row["image_id"], row[role]["name"]) for role in ("head", "tail") if row[role]["kind"] == "object"]
    return (tuple(row["tokens"]), *places, *objects)


def describe_rows(rows: list[dict], negative_relation: str | None) -> dict:
    """Counts of one split as it was read.

    `repeated_text_and_spans` are rows whose text and spans an earlier row has already, `repeated_with_their_picture`
    those whose picture it has too; `same_text_and_spans_other_relation` lists the ids of rows with the same text and
    spans but not the same relation.
    """
    spans = [
        ((row["head"]["start"], row["head"]["end"]), (row["tail"]["start"], row["tail"]["end"]))
        for row in rows
        if pair_kind(row) == "text_text"
    ]
    by_key: dict[tuple, list[dict]] = {}
    for row in rows:
        by_key.setdefault(text_key(row), []).append(row)
    named = {row["image_id"] for row in rows if row["image_id"]}
    found = {row["image_id"] for row in rows if row["image"]}
    relations = Counter(row["relation"] for row in rows)
    unlabelled = relations.pop(None, 0)
    return {
        "rows": len(rows),
        "distinct_texts": len({tuple(row["tokens"]) for row in rows}),
        "longest_text_in_tokens": max((len(row["tokens"]) for row in rows), default=0),
        "distinct_pictures": len(named),
        "pictures_found": len(found),
        "pictures_missing": len(named - found),
        "missing_pictures": sorted(named - found),
        "rows_with_picture": sum(row["image"] is not None for row in rows),
        "negative_rows": relations[negative_relation],
        "unlabelled_rows": unlabelled,
        "head_after_tail": sum(head[0] > tail[0] for head, tail in spans),
        "overlapping_spans": sum(head[0] < tail[1] and tail[0] < head[1] for head, tail in spans),
        "identical_spans": sum(head == tail for head, tail in spans),
        "repeated_text_and_spans": len(rows) - len(by_key),
        "repeated_with_their_picture": len(rows) - len({(text_key(row), row["image_id"]) for row in rows}),
        "same_text_and_spans_other_relation": [
            [row["id"] for row in same]
            for same in by_key.values()
            if len({row["relation"] for row in same} - {None}) > 1
        ],
        "relations": dict(relations.most_common()),
    }


def describe_objects(rows: list[dict]) -> dict:
    """Counts of one split that has objects: pairs by kind, and the objects of its distinct pictures."""
    kinds = Counter(map(pair_kind, rows))
    captions = {(row["image_id"], entry["name"]): entry["caption"] for row in rows for entry in row["objects"]}
    objects_of_picture = Counter(image_id for image_id, _ in captions)
    return {
        **{f"{kind}_pairs": kinds[kind] for kind in PAIR_KINDS},
        "identical_objects": sum(
            pair_kind(row) == "object_object" and row["head"]["name"] == row["tail"]["name"] for row in rows
        ),
        "pictures_with_objects": len(objects_of_picture),
        "objects": len(captions),
        "objects_a_picture": round(len(captions) / max(len(objects_of_picture), 1), 2),
        "most_objects_a_picture": max(objects_of_picture.values(), default=0),
        "objects_with_caption": sum(caption is not None for caption in captions.values()),
    }


def describe_sharing(splits: dict[str, list[dict]]) -> dict:
    """For each two splits: how many texts with their spans, and how many pictures, stand in both."""
    keys = {split: {text_key(row) for row in rows} for split, rows in splits.items()}
    pictures = {split: {row["image_id"] for row in rows if row["image_id"]} for split, rows in splits.items()}
    return {
        f"{one} and {other}": {
            "texts_with_spans": len(keys[one] & keys[other]),
            "pictures": len(pictures[one] & pictures[other]),
        }
        for one, other in itertools.combinations(splits, 2)
    }


def describe_types(splits: dict[str, list[dict]], negative_relation: str | None) -> dict:
    """How much a tagger found, and how often it is what a relation's name (`/per/org/member_of`) tells.

    The latter hints at the tagger's quality and is for information only: no type is ever taken from a relation's name.
    `reversed_types` counts the pairs of which head and tail have the types that their relation's name tells of tail
    and head.
    """
    found, reversed_types = {}, {}
    for split, rows in splits.items():
        types = [row[role]["type"] for row in rows for role in ("head", "tail") if row[role]["kind"] == "text"]
        found[split] = {"mentions": len(types), "typed": sum(word != UNKNOWN for word in types)}
    agreeing = []
    for split, rows in splits.items():
        reversed_types[split] = 0
        for row in rows:
            named = TYPED_LABEL.match(row["relation"]) if row["relation"] not in (None, negative_relation) else None
            if named is None:
                continue
            of_label = [type_word(word) for word in named.groups()]
            of_pair = [row["head"]["type"], row["tail"]["type"]]
            reversed_types[split] += of_label == of_pair[::-1] != of_pair
            for role, word in zip(("head", "tail"), of_label, strict=True):
                if split == TRAIN and row[role]["kind"] == "text" and row[role]["type"] != UNKNOWN:
                    agreeing.append(row[role]["type"] == word)
    agreement = {"compared": len(agreeing), "agreeing": sum(agreeing)}
    return {"entity_types": found, "type_agreement_in_train": agreement, "reversed_types": reversed_types}


def render_report(report: dict) -> str:
    """The report as Markdown: one table of counts a split, then what concerns several of them."""
    splits = report["splits"]
    counted = [name for name, value in next(iter(splits.values())).items() if isinstance(value, int | float)]
    lines = [f"| {report['dataset']} | {' | '.join(splits)} |", f"|---|{'---:|' * len(splits)}"]
    for name in counted:
        numbers = " | ".join(f"{split[name]:,}" for split in splits.values())
        lines.append(f"| {name.replace('_', ' ')} | {numbers} |")
    negative = markdown_text(report["negative_relation"] or "") or "there is none, so that every relation counts"
    order = markdown_text(report["relation_order"])
    lines += ["", f"- {report['relations']} relations; order of their ids: {order}; negative relation: {negative}."]
    lines += [f"- {remark}" for remark in report["remarks"]]
    for pair, shared in report["shared"].items():
        counts = f"{shared['texts_with_spans']:,} texts with spans, {shared['pictures']:,} pictures"
        lines.append(f"- Shared by {pair}: {counts}.")
    conflicts = [" = ".join(same) for split in splits.values() for same in split["same_text_and_spans_other_relation"]]
    shown = f" ({markdown_text(', '.join(conflicts[:5]))}{', …' if len(conflicts) > 5 else ''})" if conflicts else ""
    lines.append(f"- Same text and spans, different relations: {len(conflicts)}{shown}.")
    lines.append(f"- Rows without a picture: {report['missing_images']}.")
    if any(split["pictures_unreadable"] for split in splits.values()):
        lines.append(f"- Rows with an unreadable picture: {report['unreadable_images']}.")
    lines.append(f"- Entity types: {_render_types(report)}.")
    return "\n".join(lines)


def _render_types(report: dict) -> str:
    if report["entity_tagger"] == "none":
        return "none (no tagger was used)"
    parts = []
    for split, counts in report["entity_types"].items():
        typed, mentions = counts["typed"], counts["mentions"]
        share = f"{typed / mentions:.1%}" if mentions else "–"
        parts.append(f"{split} {typed:,} of {mentions:,} mentions ({share})")
    coverage = f"{report['entity_tagger']} typed {', '.join(parts)}"
    if any(report["reversed_types"].values()):
        pairs = ", ".join(f"{split} {number:,}" for split, number in report["reversed_types"].items())
        coverage += f"; pairs with the types of their relation's name in reverse: {pairs}"
    compared, agreeing = report["type_agreement_in_train"].values()
    if not compared:
        return coverage
    return (
        f"{coverage}; in train, {agreeing / compared:.1%} of the {compared:,} typed mentions with a typed relation"
        " name are of the type that it tells (for information only)"
    )

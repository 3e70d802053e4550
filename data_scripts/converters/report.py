# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What a conversion found: counts that show at a glance whether the raw files are whole, and what is odd in them."""

import itertools
import re

from data_scripts.converters.entity_typing import UNKNOWN
from data_scripts.schema import PAIR_KINDS, pair_kind

TYPED_LABEL = re.compile(r"/(per|org|loc|misc)/(per|org|loc|misc)/")
LABEL_TYPES = {"per": "person", "org": "organization", "loc": "location", "misc": "miscellaneous"}


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
        if row["head"]["kind"] == row["tail"]["kind"] == "text"
    ]
    by_key: dict[tuple, list[dict]] = {}
    for row in rows:
        by_key.setdefault(text_key(row), []).append(row)
    named = {row["image_id"] for row in rows if row["image_id"]}
    found = {row["image_id"] for row in rows if row["image"]}
    relations: dict[str, int] = {}
    labelled = [row for row in rows if row["relation"] is not None]
    for row in labelled:
        relations[row["relation"]] = relations.get(row["relation"], 0) + 1
    return {
        "rows": len(rows),
        "distinct_texts": len({tuple(row["tokens"]) for row in rows}),
        "longest_text_in_tokens": max((len(row["tokens"]) for row in rows), default=0),
        "distinct_pictures": len(named),
        "pictures_found": len(found),
        "pictures_missing": len(named - found),
        "rows_with_picture": sum(row["image"] is not None for row in rows),
        "negative_rows": relations.get(negative_relation, 0),
        "unlabelled_rows": len(rows) - len(labelled),
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
        "relations": dict(sorted(relations.items(), key=lambda item: -item[1])),
    }


def describe_objects(rows: list[dict]) -> dict:
    """Counts of one split that has objects: pairs by kind, and the objects of its distinct pictures."""
    kinds = [pair_kind(row) for row in rows]
    objects: dict[str, dict[str, str | None]] = {}
    for row in rows:
        for entry in row["objects"]:
            objects.setdefault(row["image_id"], {})[entry["name"]] = entry["caption"]
    numbers = [len(captions) for captions in objects.values()]
    return {
        **{f"{kind}_pairs": kinds.count(kind) for kind in PAIR_KINDS},
        "identical_objects": sum(
            kind == "object_object" and row["head"]["name"] == row["tail"]["name"]
            for row, kind in zip(rows, kinds, strict=True)
        ),
        "pictures_with_objects": len(numbers),
        "objects": sum(numbers),
        "objects_a_picture": round(sum(numbers) / max(len(numbers), 1), 2),
        "most_objects_a_picture": max(numbers, default=0),
        "objects_with_caption": sum(text is not None for captions in objects.values() for text in captions.values()),
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


def describe_types(rows: list[dict]) -> dict:
    """How much a tagger found: mentions in the text, and how many of them it typed."""
    types = [row[role]["type"] for row in rows for role in ("head", "tail") if row[role]["kind"] == "text"]
    return {"mentions": len(types), "typed": sum(word != UNKNOWN for word in types)}


def describe_agreement(rows: list[dict], negative_relation: str | None) -> dict:
    """How often a typed mention's type is the one that its relation's name (`/per/org/member_of`) tells.

    A hint at the tagger's quality and for information only: no type is ever taken from a relation's name.
    """
    compared, agreeing = 0, 0
    for row in rows:
        named = TYPED_LABEL.match(row["relation"]) if row["relation"] not in (None, negative_relation) else None
        for role, label_type in zip(("head", "tail"), named.groups() if named else (), strict=False):
            if row[role]["kind"] == "text" and row[role]["type"] != UNKNOWN:
                compared += 1
                agreeing += row[role]["type"] == LABEL_TYPES[label_type]
    return {"compared": compared, "agreeing": agreeing}


def render_report(report: dict) -> str:
    """The report as Markdown: one table of counts a split, then what concerns several of them."""
    splits = report["splits"]
    counted = [name for name, value in next(iter(splits.values())).items() if isinstance(value, int | float)]
    lines = [
        f"| {report['dataset']} | {' | '.join(splits)} |",
        f"|---|{'---:|' * len(splits)}",
        *(
            f"| {name.replace('_', ' ')} | {' | '.join(f'{split[name]:,}' for split in splits.values())} |"
            for name in counted
        ),
        "",
        f"- {report['relations']} relations; order of their ids: {report['relation_order']};"
        f" negative relation: {report['negative_relation'] or 'there is none, so that every relation counts'}.",
        *(f"- {remark}" for remark in report["remarks"]),
    ]
    for pair, shared in report["shared"].items():
        counts = f"{shared['texts_with_spans']:,} texts with spans, {shared['pictures']:,} pictures"
        lines.append(f"- Shared by {pair}: {counts}.")
    lines.append(f"- Same text and spans, different relations: {describe_conflicts(splits)}.")
    lines.append(f"- Rows without a picture: {report['missing_images']}.")
    lines.append(f"- Entity types: {describe_coverage(report)}.")
    return "\n".join(lines)


def describe_conflicts(splits: dict[str, dict]) -> str:
    """The rows with the same text and spans but different relations, in words."""
    conflicts = [" = ".join(same) for split in splits.values() for same in split["same_text_and_spans_other_relation"]]
    shown = f" ({', '.join(conflicts[:5])}{', …' if len(conflicts) > 5 else ''})" if conflicts else ""
    return f"{len(conflicts)}{shown}"


def describe_coverage(report: dict) -> str:
    """The tagger's coverage, in words."""
    if report["entity_tagger"] == "none":
        return "none (no tagger was used)"
    parts = [
        f"{split} {counts['typed']:,} of {counts['mentions']:,} mentions ({share(counts, 'typed', 'mentions')})"
        for split, counts in report["entity_types"].items()
    ]
    coverage = f"{report['entity_tagger']} typed {', '.join(parts)}"
    agreement = report["type_agreement_in_train"]
    if not agreement["compared"]:
        return coverage
    agreeing = share(agreement, "agreeing", "compared")
    return (
        f"{coverage}; in train, {agreeing} of the {agreement['compared']:,} typed mentions with a typed relation name"
        " are of the type that it tells (for information only)"
    )


def share(counts: dict, part: str, whole: str) -> str:
    """counts[part] of counts[whole] in per cent."""
    return f"{counts[part] / counts[whole]:.1%}" if counts[whole] else "–"

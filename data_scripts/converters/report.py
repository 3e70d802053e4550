# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What a conversion found: counts that show at a glance whether the raw files are whole, and what is odd in them."""

import itertools
import re
from collections import Counter
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_scripts.converters.entity_typing import UNKNOWN, type_word
from data_scripts.converters.rows import StoredRows
from data_scripts.markdown import markdown_text
from data_scripts.schema import PAIR_KINDS, TRAIN, pair_kind

SPAN_COUNTS = ("head_after_tail", "overlapping_spans", "identical_spans")
TYPED_LABEL = re.compile(r"/(per|org|loc|misc)/(per|org|loc|misc)/")


def text_key(row: dict) -> tuple:
    """What makes two rows the same example: the text, and head and tail as spans or as a picture's objects."""
    places = [(row[role]["kind"], row[role]["start"], row[role]["end"]) for role in ("head", "tail")]
    objects = [(row["image_id"], row[role]["name"]) for role in ("head", "tail") if row[role]["kind"] == "object"]
    return (tuple(row["tokens"]), *places, *objects)


def survey_rows(rows: StoredRows) -> pa.Table:
    """What checks and counts need of each row, in about 50 bytes.

    Returns:
        A line a row: `id`, `image`, `image_id`, `relation`; `has_object` as head or tail; numbers of tokens and
        objects; `text` and `key`, 64-bit hashes of its tokens and its `text_key`, by which this process tells them
        apart; and what its spans are to each other, null where head or tail is an object.
    """
    parts = []
    for batch in rows.batches():
        dicts = batch.to_pylist()
        starts, ends = ([batch[role].field(edge) for role in ("head", "tail")] for edge in ("start", "end"))
        columns = {
            "id": pa.array([row["id"] for row in dicts], pa.string()),  # the batch's own would keep all of it
            **{name: batch[name].dictionary_encode() for name in ("image", "image_id", "relation")},
            "has_object": pa.array([pair_kind(row) != "text_text" for row in dicts], pa.bool_()),
            "text": pa.array([hash(tuple(row["tokens"])) for row in dicts], pa.int64()),
            "key": pa.array([hash(text_key(row)) for row in dicts], pa.int64()),
            "num_tokens": batch["tokens"].value_lengths(),
            "num_objects": batch["objects"].value_lengths(),
            "head_after_tail": pc.greater(*starts),
            "overlapping_spans": pc.and_(pc.less(starts[0], ends[1]), pc.less(starts[1], ends[0])),
            "identical_spans": pc.and_(pc.equal(*starts), pc.equal(*ends)),
        }
        parts.append(pa.table(columns))
    return pa.concat_tables(parts).unify_dictionaries()


def describe_rows(survey: pa.Table, negative_relation: str | None) -> dict:
    """Counts of one split as it was read.

    `repeated_text_and_spans` are rows whose text and spans an earlier row has already, `repeated_with_their_picture`
    those whose picture it has too; `same_text_and_spans_other_relation` lists the ids of rows with the same text and
    spans but not the same relation.
    """
    rows = survey.num_rows
    with_picture = survey["image_id"].filter(pc.is_valid(survey["image"]))
    named, found = (set(of.unique().to_pylist()) - {None} for of in (survey["image_id"], with_picture))
    relations = Counter({entry["values"]: entry["counts"] for entry in survey["relation"].value_counts().to_pylist()})
    unlabelled = relations.pop(None, 0)
    keys, key = np.unique(survey["key"], return_inverse=True)
    with_its_picture, with_its_relation = (
        (key << 32) + survey[name].combine_chunks().indices.fill_null(-1).to_numpy()
        for name in ("image_id", "relation")
    )
    key_of_labels = np.unique(with_its_relation[pc.is_valid(survey["relation"])]) >> 32
    is_mixed = np.bincount(key_of_labels, minlength=len(keys))[key] > 1
    same: dict[int, list[str]] = {}
    for one, name in zip(key[is_mixed], survey["id"].filter(is_mixed).to_pylist(), strict=True):
        same.setdefault(one, []).append(name)
    return {
        "rows": rows,
        "distinct_texts": pc.count_distinct(survey["text"]).as_py(),
        "longest_text_in_tokens": pc.max(survey["num_tokens"]).as_py() or 0,
        "distinct_pictures": len(named),
        "pictures_found": len(found),
        "pictures_missing": len(named - found),
        "missing_pictures": sorted(named - found),
        "rows_with_picture": len(with_picture),
        "negative_rows": relations[negative_relation],
        "unlabelled_rows": unlabelled,
        **{name: pc.sum(survey[name]).as_py() or 0 for name in SPAN_COUNTS},
        "repeated_text_and_spans": rows - len(keys),
        "repeated_with_their_picture": rows - np.unique(with_its_picture).size,
        "same_text_and_spans_other_relation": list(same.values()),
        "relations": dict(relations.most_common()),
    }


def describe_objects(rows: Iterable[dict]) -> dict:
    """Counts of one split that has objects: pairs by kind, and the objects of its distinct pictures."""
    kinds, identical, captions = Counter(), 0, {}
    for row in rows:
        kinds[pair_kind(row)] += 1
        identical += pair_kind(row) == "object_object" and row["head"]["name"] == row["tail"]["name"]
        captions |= {(row["image_id"], entry["name"]): entry["caption"] for entry in row["objects"]}
    objects_of_picture = Counter(image_id for image_id, _ in captions)
    return {
        **{f"{kind}_pairs": kinds[kind] for kind in PAIR_KINDS},
        "identical_objects": identical,
        "pictures_with_objects": len(objects_of_picture),
        "objects": len(captions),
        "objects_a_picture": round(len(captions) / max(len(objects_of_picture), 1), 2),
        "most_objects_a_picture": max(objects_of_picture.values(), default=0),
        "objects_with_caption": sum(caption is not None for caption in captions.values()),
    }


def describe_sharing(surveys: dict[str, pa.Table]) -> dict:
    """For each two splits: how many texts with their spans, and how many pictures, stand in both."""
    pictures = {split: set(survey["image_id"].unique().to_pylist()) - {None} for split, survey in surveys.items()}
    return {
        f"{one} and {other}": {
            "texts_with_spans": np.intersect1d(surveys[one]["key"], surveys[other]["key"]).size,
            "pictures": len(pictures[one] & pictures[other]),
        }
        for one, other in itertools.combinations(surveys, 2)
    }


def describe_types(splits: dict[str, StoredRows], negative_relation: str | None) -> dict:
    """How much a tagger found, and how often it is what a relation's name (`/per/org/member_of`) tells.

    The latter hints at the tagger's quality and is for information only: no type is ever taken from a relation's name.
    `reversed_types` counts the pairs of which head and tail have the types that their relation's name tells of tail
    and head.
    """
    found, reversed_types = {}, {}
    compared, agreeing = 0, 0
    for split, rows in splits.items():
        found[split], reversed_types[split] = {"mentions": 0, "typed": 0}, 0
        for row in rows:
            mentions = [role for role in ("head", "tail") if row[role]["kind"] == "text"]
            typed = [role for role in mentions if row[role]["type"] != UNKNOWN]
            found[split]["mentions"] += len(mentions)
            found[split]["typed"] += len(typed)
            named = TYPED_LABEL.match(row["relation"]) if row["relation"] not in (None, negative_relation) else None
            if named is None:
                continue
            of_label = dict(zip(("head", "tail"), map(type_word, named.groups()), strict=True))
            of_pair = [row["head"]["type"], row["tail"]["type"]]
            reversed_types[split] += [*of_label.values()] == of_pair[::-1] != of_pair
            if split == TRAIN:
                compared += len(typed)
                agreeing += sum(row[role]["type"] == of_label[role] for role in typed)
    agreement = {"compared": compared, "agreeing": agreeing}
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
    conflicts = [same for split in splits.values() for same in split["same_text_and_spans_other_relation"]]
    first = ", ".join(map(" = ".join, conflicts[:5]))
    shown = f" ({markdown_text(first)}{', …' if len(conflicts) > 5 else ''})" if conflicts else ""
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

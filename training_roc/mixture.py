# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Several data sets as one: their relations in one set, in which each row competes among its own data set's."""

from collections.abc import Sequence
from pathlib import Path

from data_scripts.descriptions.files import reading_key
from data_scripts.loading import relation_texts


def dataset_titles(names: Sequence[str], configurations: Sequence[str | None]) -> list[str]:
    """
    What data sets are called in labels, scores and files: the last part of each name, and its configuration's name.

    Raises:
        ValueError: if a data set is named twice, or two would be called the same.
    """
    titles = {}
    for name, configuration in zip(names, configurations, strict=True):
        title = Path(name).absolute().name + (f"-{configuration}" if configuration else "")
        if title in titles:
            other = titles[title]
            twice = "is named twice" if other == name else f"and {other!r} would both be called {title!r}"
            raise ValueError(f"--dataset_name: {name!r} {twice}")
        titles[title] = name
    return list(titles)


def join_relations(data: Sequence[tuple[str, dict]], relation_text: str | None) -> tuple[dict, list[list[int]]]:
    """
    The relations of several data sets as one set.

    A single data set's keep their labels. Of several, `label` of the data set `a` becomes `a/label`; their negative
    relations are one, with the first one's label and the descriptions of all. So are relations of two data sets with
    the very same texts, but for case and blanks, under the first one's label: nothing could tell them apart, and
    nothing has to, as they never compete.

    Args:
        data: each data set's title, and the content of its descriptions file.
        relation_text: as for `relation_texts`; None for a model that reads no texts.

    Returns:
        The content of a descriptions file, in which an entry tells its data set's own `label` where it has another.
        For each data set, the places of its relations there, in the data set's order.

    Raises:
        ValueError: if the negative relation gets the label of another one.
    """
    relations, by_texts, places, negative = {}, {}, [], None
    for title, content in data:
        texts = relation_texts(content, relation_text or "labels")
        keys = {label: (title, label) for label in texts}
        if relation_text is not None:
            keys = {label: frozenset(map(reading_key, own)) for label, own in texts.items()}
        names = {}
        for label, entry in content["relations"].items():
            if label == content["negative_relation"]:
                negative = negative or label
                names[label] = negative
                relations[negative] = _both(relations.get(negative), entry)
                continue
            names[label] = by_texts.get(keys[label], label if len(data) == 1 else f"{title}/{label}")
            if names[label] == negative:
                raise ValueError(f"{title} has a relation {label!r}, and {negative!r} is the negative one of all")
            relations.setdefault(names[label], entry if names[label] == label else {**entry, "label": label})
        # Two relations of one data set stay two.
        by_texts |= {keys[label]: name for label, name in names.items() if name != negative}
        places.append(names.values())
    order = {name: place for place, name in enumerate(relations)}
    return {"relations": relations, "negative_relation": negative}, [[order[name] for name in own] for own in places]


def _both(entry: dict | None, other: dict) -> dict:
    """Two entries of a descriptions file as one."""
    if entry is None:
        return other
    known = set(map(reading_key, entry["descriptions"]))
    new = [text for text in other["descriptions"] if reading_key(text) not in known]
    return {
        "descriptions": [*entry["descriptions"], *new],
        "source": "; ".join(dict.fromkeys([entry["source"], other["source"]])),
        "reviewed": entry["reviewed"] and other["reviewed"],
    }

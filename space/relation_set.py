# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""A visitor's relations: the model's own to begin with, edited, switched on and off, added, saved and loaded.

The file is the project's relation file: `{"relations": {name: {"descriptions": [...], "source": ..., "reviewed":
...}}, "negative_relation": name or null}`. The plain form, `{name: description or [descriptions]}`, can be loaded too.
"""

import copy
import json
from typing import Any

from posts import Refusal

MAX_RELATIONS = 200
MAX_DESCRIPTIONS = 8
MAX_NAME, MAX_DESCRIPTION = 100, 300  # characters
FIELDS = {"descriptions", "source", "reviewed"}


class RelationSet:
    """Names with their descriptions, and which of them are in use. A session keeps one of its own.

    Args:
        config: the model's configuration; its relations are the set to begin with.
    """

    def __init__(self, config: Any):
        self.negative = config.negative_relation
        self.entries = {
            config.id2label[index]: {
                "descriptions": list((config.relation_descriptions or {}).get(config.id2label[index], [])),
                "source": "the model's own",
                "reviewed": False,
            }
            for index in range(len(config.id2label))
        }
        self.in_use = list(self.entries)
        self._own = copy.deepcopy(self.entries)

    def __deepcopy__(self, memo: dict) -> "RelationSet":
        made = copy.copy(self)
        made.entries, made.in_use = copy.deepcopy(self.entries, memo), list(self.in_use)
        return made

    def for_pipeline(self) -> dict[str, list[str]] | None:
        """The relations in use, as the pipeline takes them; None if they are the model's own, as they were.

        Raises:
            Refusal: there are fewer than two, or one that only the model's own set has, as examples and not in words.
        """
        if len(self.in_use) < 2:
            raise Refusal("Switch on at least two relations: with fewer there is nothing to choose from.")
        chosen = {name: self.entries[name]["descriptions"] for name in self.entries if name in self.in_use}
        if chosen == {name: entry["descriptions"] for name, entry in self._own.items()}:
            return None
        if unsaid := [name for name, texts in chosen.items() if not texts]:
            raise Refusal(
                f"“{unsaid[0]}” is known to this model by examples, which go with its own relations only: describe it "
                "or switch it off."
            )
        return chosen

    def use(self, names: list[str]) -> None:
        """Switches on these relations and all others off."""
        self.in_use = [name for name in self.entries if name in names]

    def put(self, name: str, descriptions: list[str], replaces: str | None = None) -> None:
        """Adds a relation and switches it on, in the place of the one that it replaces if one is named.

        Raises:
            Refusal: a name or description is missing or too long, or another relation has this name or description.
        """
        self._check(name := name.strip(), descriptions := [text.strip() for text in descriptions if text.strip()])
        if name in self.entries and name != replaces:
            raise Refusal(f"There is a relation “{name}” already: choose it under “Edit” to change it.")
        for other, entry in self.entries.items():
            if other != replaces and (same := set(descriptions) & set(entry["descriptions"])):
                raise Refusal(
                    f"“{other}” has this description already: “{same.pop()}”. Nothing could tell them apart."
                )
        if replaces not in self.entries and len(self.entries) >= MAX_RELATIONS:
            raise Refusal(f"This demo takes up to {MAX_RELATIONS} relations.")
        made = {"descriptions": descriptions, "source": "written in the demo", "reviewed": True}
        if self.entries.get(replaces, {}).get("descriptions") == descriptions:
            made = self.entries[replaces]
        if replaces in self.entries:
            self.entries = {name if old == replaces else old: entry for old, entry in self.entries.items()}
            self.negative = name if replaces == self.negative else self.negative
        self.entries[name] = made
        self.use([*self.in_use, name])

    def _check(self, name: str, descriptions: list[str]) -> None:
        if not name:
            raise Refusal("Give the relation a name, such as “fan of”.")
        if len(name) > MAX_NAME:
            raise Refusal(f"The name of a relation may have {MAX_NAME} characters at most.")
        if not descriptions:
            raise Refusal(f"Describe “{name}” in a sentence about “the head” and “the tail”.")
        if len(descriptions) > MAX_DESCRIPTIONS or max(map(len, descriptions)) > MAX_DESCRIPTION:
            raise Refusal(f"Up to {MAX_DESCRIPTIONS} descriptions of {MAX_DESCRIPTION} characters each, please.")
        if len(set(descriptions)) < len(descriptions):
            raise Refusal(f"“{name}” has the same description twice.")

    def remove(self, name: str) -> None:
        """Takes a relation out.

        Raises:
            Refusal: there is none of this name.
        """
        if name not in self.entries:
            raise Refusal(f"There is no relation “{name}” to delete.")
        del self.entries[name]
        self.in_use = [other for other in self.in_use if other != name]
        self.negative = None if name == self.negative else self.negative

    def save(self) -> str:
        """The relations in use, as the content of a relation file; those that nothing describes are left out."""
        in_use = {name: self.entries[name] for name in self.entries if name in self.in_use}
        relations = {name: entry for name, entry in in_use.items() if entry["descriptions"]}
        negative = self.negative if self.negative in relations else None
        return json.dumps({"relations": relations, "negative_relation": negative}, ensure_ascii=False, indent=2) + "\n"

    def load(self, content: bytes) -> None:
        """Puts a relation file's relations in place of all others; a file that is refused changes nothing.

        Raises:
            Refusal: it is no relation file, naming the relation at fault.
        """
        try:
            file = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_refuse_double_names)
        except ValueError as error:
            raise Refusal(f"This is no relation file: {error}.") from error
        if not isinstance(file, dict) or not file:
            raise Refusal("This is no relation file: it must hold an object with relations.")
        if set(file) != {"relations", "negative_relation"}:
            file = {"relations": {name: _fill_in(value) for name, value in file.items()}, "negative_relation": None}
        relations, negative = file["relations"], file["negative_relation"]
        if not isinstance(relations, dict) or len(relations) < 2:
            raise Refusal("A relation file must hold at least two relations.")
        made = copy.deepcopy(self)
        made.entries, made.in_use, made.negative = {}, [], negative
        for name, entry in relations.items():
            texts = entry.get("descriptions") if isinstance(entry, dict) else None
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise Refusal(f"“{name[:MAX_NAME]}” has no list of descriptions in this file.")
            if not FIELDS <= set(entry) or not isinstance(entry["source"], str) or not entry["source"].strip():
                raise Refusal(f"“{name[:MAX_NAME]}” lacks one of the fields {', '.join(sorted(FIELDS))} in this file.")
            if not isinstance(entry["reviewed"], bool):
                raise Refusal(f"“reviewed” of “{name[:MAX_NAME]}” must be true or false in this file.")
            made.put(name, texts)
            made.entries[name.strip()] = {**entry, "descriptions": made.entries[name.strip()]["descriptions"]}
        if negative is not None and negative not in made.entries:
            raise Refusal("The file's negative relation is not among its relations.")
        self.entries, self.in_use, self.negative = made.entries, made.in_use, negative


def _fill_in(value: Any) -> dict[str, Any]:
    texts = [value] if isinstance(value, str) else value
    return {"descriptions": texts, "source": "loaded in the demo", "reviewed": False}


def _refuse_double_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"“{name}” stands in it twice")
    return dict(pairs)


def short_name(label: str) -> str:
    """A relation's label as words: `/per/org/member_of` is "member of"."""
    return label.rstrip("/").rsplit("/", maxsplit=1)[-1].replace("_", " ").strip() or label

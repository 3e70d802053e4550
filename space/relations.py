# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""A visitor's relations: the model's own to begin with, edited, switched on and off, added, saved and loaded.

The file is the project's relation file: `{"relations": {name: {"descriptions": [...], "source": ..., "reviewed":
...}}, "negative_relation": name or null}`. The plain form, `{name: description or [descriptions]}`, can be loaded too.
"""

import base64
import copy
import json
from html import escape
from typing import Any

import gradio as gr
from post import Refusal, shows_refusals, take_upload

MAX_RELATIONS = 200
MAX_DESCRIPTIONS = 8
MAX_NAME, MAX_DESCRIPTION = 100, 300  # characters
FIELDS = {"descriptions", "source", "reviewed"}
NEW = "New relation"
OWN = "your relation"
"""What one is called that is described beside the answer."""


class RelationSet:
    """Names with their descriptions, and which of them are in use. A session keeps one of its own. What cannot be done
    raises `Refusal`.

    Args:
        config: the model's configuration; its relations are the set to begin with.
    """

    def __init__(self, config: Any):
        descriptions = config.relation_descriptions or {}
        self._own = {
            name: {"descriptions": list(descriptions.get(name, [])), "source": "the model's own", "reviewed": False}
            for _, name in sorted(config.id2label.items())
        }
        self._own_negative = config.negative_relation
        self.reset()

    def reset(self) -> None:
        """Puts the model's own relations in place of all others."""
        self.entries, self.in_use, self.negative = dict(self._own), list(self._own), self._own_negative
        self.latest = None  # the one that was described last

    def for_pipeline(self) -> dict[str, list[str]] | None:
        """The relations in use, as the pipeline takes them; None if they are the model's own, as they were. One that
        the model has as examples and not in words goes with its own relations only."""
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
        self.latest = self.latest if self.latest in self.in_use else None

    def put(self, name: str, descriptions: list[str], replaces: str | None = None) -> None:
        """Adds a relation and switches it on, in the place of the one that it replaces if one is named."""
        name, descriptions = name.strip(), [text.strip() for text in descriptions if text.strip()]
        _check_relation(name, descriptions)
        if name in self.entries and name != replaces:
            raise Refusal(f"There is a relation “{name}” already: choose it under “Edit” to change it.")
        for other, entry in self.entries.items():
            if other != replaces and (same := set(descriptions) & set(entry["descriptions"])):
                raise Refusal(
                    f"“{other}” has this description already: “{same.pop()}”. Nothing could tell them apart."
                )
        made = {"descriptions": descriptions, "source": "written in the demo", "reviewed": True}
        if replaces in self.entries:
            if self.entries[replaces]["descriptions"] == descriptions:
                made = self.entries[replaces]
            self.entries = {name if old == replaces else old: entry for old, entry in self.entries.items()}
            self.negative = name if replaces == self.negative else self.negative
        elif len(self.entries) >= MAX_RELATIONS:
            raise Refusal(f"This demo takes up to {MAX_RELATIONS} relations.")
        self.entries[name] = made
        self.use([*self.in_use, name])
        self.latest = name

    def remove(self, name: str) -> None:
        """Takes a relation out."""
        if name not in self.entries:
            raise Refusal(f"There is no relation “{name}” to delete.")
        del self.entries[name]
        self.use(self.in_use)
        self.negative = None if name == self.negative else self.negative

    def save(self) -> str:
        """The relations in use, as the content of a relation file; those that nothing describes are left out."""
        in_use = {name: entry for name, entry in self.entries.items() if name in self.in_use}
        relations = {name: entry for name, entry in in_use.items() if entry["descriptions"]}
        negative = self.negative if self.negative in relations else None
        return json.dumps({"relations": relations, "negative_relation": negative}, ensure_ascii=False, indent=2) + "\n"

    def load(self, content: bytes) -> None:
        """Puts a relation file's relations in place of all others; a file that is refused changes nothing."""
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
        made = copy.copy(self)
        made.entries, made.in_use = {}, []
        for name, entry in relations.items():
            shown = f"“{name[:MAX_NAME]}”"
            texts = entry.get("descriptions") if isinstance(entry, dict) else None
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise Refusal(f"{shown} has no list of descriptions in this file.")
            if not FIELDS <= set(entry) or not isinstance(entry["source"], str) or not entry["source"].strip():
                raise Refusal(f"{shown} lacks one of the fields {', '.join(sorted(FIELDS))} in this file.")
            if not isinstance(entry["reviewed"], bool):
                raise Refusal(f"“reviewed” of {shown} must be true or false in this file.")
            made.put(name, texts)
            made.entries[name.strip()] = {**entry, "descriptions": made.entries[name.strip()]["descriptions"]}
        if negative is not None and negative not in made.entries:
            raise Refusal("The file's negative relation is not among its relations.")
        self.entries, self.in_use, self.negative, self.latest = made.entries, made.in_use, negative, None


def _check_relation(name: str, descriptions: list[str]) -> None:
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


def download_link(content: str, filename: str, mime: str, words: str) -> str:
    """A link that holds the file itself, so that nothing of it is written on the server."""
    data = base64.b64encode(content.encode()).decode()
    return f'<a class="download" download="{filename}" href="data:{mime};charset=utf-8;base64,{data}">{words}</a>'


def _in_words(relations: RelationSet) -> list[tuple[str, str]]:
    """Each relation by its words, and its label."""
    return [(short_name(name), name) for name in relations.entries]


def _save_link(relations: RelationSet) -> str:
    return download_link(relations.save(), "relation_descriptions.json", "application/json", "Save the set")


def describe_own(relations: RelationSet, description: str) -> None:
    """Puts the relation that is described beside the answer into the set, or takes it out if nothing is said of it."""
    if description.strip():
        relations.put(OWN, [description], OWN)
    elif OWN in relations.entries:
        relations.remove(OWN)
    else:
        raise Refusal("Describe a relation in a sentence about “the head” and “the tail”.")


def build_relations_tab(
    own: RelationSet, session: gr.State, line: gr.Textbox, rank: gr.Button, picked: Any, private: dict[str, Any]
) -> list:
    """Lays out the tab in which a visitor changes the set, within the caller's `with`.

    Args:
        own: the model's own relations.
        session: a dict with the visitor's `RelationSet` as "relations".
        line, rank: where a relation is described beside the answer, and what puts it into the set.
        picked: the event that an example was chosen, which may have changed the set.
        private: arguments of each event.

    Returns:
        The events that change the set, for the caller to answer anew after each.
    """

    def changing(change):
        """An event that changes a copy of the set by `change`, says what that returns, and shows the set anew."""

        @shows_refusals
        def handle(session, *values):
            relations = copy.deepcopy(session["relations"])
            if words := change(relations, *values):
                gr.Info(escape(words), title="Done")
            return {**session, "relations": relations}, *show(relations)

        return handle

    def show(relations):
        names = _in_words(relations)
        in_use = gr.CheckboxGroup(choices=names, value=relations.in_use)
        return in_use, gr.Dropdown(choices=[NEW, *names], value=NEW), "", "", _save_link(relations)

    def put(relations, chosen, name, descriptions):
        relations.put(name, descriptions.splitlines(), None if chosen == NEW else chosen)
        return f"“{name.strip()}” is in the set."

    def delete(relations, chosen):
        relations.remove(chosen)
        return f"“{chosen}” is deleted."

    def load(relations, file):
        relations.load(take_upload(file))
        return f"{len(relations.entries)} relations are loaded."

    def start_over(relations):
        relations.reset()
        return "These are the model's own relations again."

    def edit(chosen, session):
        entry = session["relations"].entries.get(chosen)
        return ("", "") if entry is None else (chosen, "\n".join(entry["descriptions"]))

    gr.HTML(
        '<p class="roc-note">A relation is what its description says, and nothing is trained for a new one: '
        "describe it, and it is retrieved at once. Only you see your changes.</p>"
    )
    names = _in_words(own)
    chosen = gr.Dropdown([NEW, *names], value=NEW, label="Edit", elem_id="roc-chosen", filterable=False)
    name = gr.Textbox(label="Name", placeholder="fan of", max_length=MAX_NAME, elem_id="roc-name")
    descriptions = gr.Textbox(
        label="Description",
        info="What it says about “the head” and “the tail”. One description a line.",
        placeholder="The head is a person who admires the tail, a team or a band.",
        lines=2,
        elem_id="roc-descriptions",
    )
    with gr.Row(elem_classes="roc-buttons"):
        save = gr.Button("Put into the set", variant="primary", size="sm")
        away = gr.Button("Delete", size="sm")
    in_use = gr.CheckboxGroup(names, value=own.in_use, label="In use", elem_id="roc-in-use")
    with gr.Row(elem_classes="roc-buttons"):
        link = gr.HTML(_save_link(own), elem_classes="roc-downloads")
        upload = gr.UploadButton("Load a set", file_types=[".json"], size="sm", elem_id="roc-load")
        fresh = gr.Button("Start over", size="sm")

    given = {"outputs": [session, in_use, chosen, name, descriptions, link], "show_progress": "hidden", **private}
    chosen.input(edit, [chosen, session], [name, descriptions], show_progress="hidden", **private)
    picked.then(lambda session: show(session["relations"]), session, **{**given, "outputs": given["outputs"][1:]})
    return [
        in_use.input(changing(RelationSet.use), [session, in_use], **given),
        gr.on([rank.click, line.submit], changing(describe_own), [session, line], **given),
        save.click(changing(put), [session, chosen, name, descriptions], **given),
        away.click(changing(delete), [session, chosen], **given),
        upload.upload(changing(load), [session, upload], **given),
        fresh.click(changing(start_over), [session], **given),
    ]

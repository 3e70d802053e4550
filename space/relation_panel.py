# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The tab in which a visitor switches relations on and off, edits them, adds own ones, saves and loads the set."""

import copy
from pathlib import Path
from typing import Any

import gradio as gr
from answer_view import message_html
from pair_exports import download_link
from posts import Refusal
from relation_set import RelationSet

NEW = "New relation"
INNER = {"api_visibility": "private", "show_progress": "hidden"}


def build_relation_panel(extractor, session: gr.State) -> list:
    """Lays the tab out, within the caller's `with`.

    Args:
        extractor: the pipeline.
        session: a dict with the visitor's `RelationSet` as "relations".

    Returns:
        The events that change the set, for the caller to answer anew after each.
    """
    config = extractor.model.config
    if config.objective != "retrieval":
        gr.HTML('<p class="roc-note">This model classifies: it has no descriptions, and its relations are fixed.</p>')
        return []
    own = RelationSet(config)

    def show(session, words="", chosen=NEW):
        """The session and everything in the tab, after a change."""
        relations = session["relations"]
        names = list(relations.entries)
        entry = relations.entries.get(chosen)
        link = download_link(relations.save(), "relation_descriptions.json", "application/json", "Save the set")
        return (
            session,
            gr.CheckboxGroup(choices=names, value=relations.in_use),
            gr.Dropdown(choices=[NEW, *names], value=chosen),
            "" if entry is None else chosen,
            "" if entry is None else "\n".join(entry["descriptions"]),
            link,
            message_html(words, is_refusal=False) if words else "",
        )

    def changing(function):
        """An event that changes a copy of the set by `function`; what is refused changes nothing."""

        def handle(session, *values):
            relations = copy.deepcopy(session["relations"])
            try:
                words, chosen = function(relations, *values)
            except Refusal as refusal:
                return *(gr.skip() for _ in range(6)), message_html(str(refusal))
            return show({**session, "relations": relations}, words, chosen)

        return handle

    def use(relations, names):
        relations.use(names)
        return "", NEW

    def put(relations, chosen, name, descriptions):
        relations.put(name, descriptions.splitlines(), None if chosen == NEW else chosen)
        return f"“{name.strip()}” is in the set.", NEW

    def delete(relations, chosen):
        relations.remove(chosen)
        return f"“{chosen}” is deleted.", NEW

    def load(relations, file):
        path = Path(file)
        try:
            relations.load(path.read_bytes())
        finally:
            path.unlink(missing_ok=True)
            path.parent.rmdir()
        return f"{len(relations.entries)} relations are loaded.", NEW

    def reset(relations):
        relations.__dict__.update(copy.deepcopy(own).__dict__)
        return "These are the model's own relations again.", NEW

    def edit(chosen, session):
        entry = session["relations"].entries.get(chosen)
        return ("", "") if entry is None else (chosen, "\n".join(entry["descriptions"]))

    gr.HTML(
        '<p class="roc-note">A relation is what its description says, and nothing is trained for a new one: '
        "describe it, and it is retrieved at once. Only you see your changes.</p>"
    )
    names = list(own.entries)
    chosen = gr.Dropdown([NEW, *names], value=NEW, label="Edit", elem_id="roc-chosen", filterable=False)
    name = gr.Textbox(label="Name", placeholder="fan of", max_length=100, elem_id="roc-name")
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
    problem = gr.HTML(elem_id="roc-relation-problem")
    in_use = gr.CheckboxGroup(names, value=names, label="In use", elem_id="roc-in-use")
    with gr.Row(elem_classes="roc-buttons"):
        link = gr.HTML(
            download_link(own.save(), "relation_descriptions.json", "application/json", "Save the set"),
            elem_classes="roc-downloads",
        )
        upload = gr.UploadButton("Load a set", file_types=[".json"], size="sm", elem_id="roc-load")
        fresh = gr.Button("Start over", size="sm")

    outputs = [session, in_use, chosen, name, descriptions, link, problem]
    chosen.input(edit, [chosen, session], [name, descriptions], **INNER)
    given: dict[str, Any] = {"outputs": outputs, **INNER}
    return [
        in_use.input(changing(use), [session, in_use], **given),
        save.click(changing(put), [session, chosen, name, descriptions], **given),
        away.click(changing(delete), [session, chosen], **given),
        upload.upload(changing(load), [session, upload], **given),
        fresh.click(changing(reset), [session], **given),
    ]

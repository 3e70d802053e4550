# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The Space: mark two entities of a post and read how they are related. `ROC_MODEL` names the model.

Nothing that a visitor gives is kept: an uploaded file is deleted as soon as it is read, the session lives in memory
and ends with the visit, downloads are made in the page itself, and no event is logged, flagged or reported.
"""

import json
import os
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr
from answer_view import answer_html, explanation_html, headline_html, message_html
from extraction import answer_request, ask, ask_all, load_extractor
from huggingface_hub import constants
from pair_graph import pairs_html
from post_marker import post_marker
from posts import (
    MAX_BYTES,
    MAX_CHARACTERS,
    Refusal,
    check_pair,
    check_text,
    make_preview,
    names_of,
    read_picture,
    take_upload,
)
from posts import read_post as read
from relation_panel import build_relation_panel
from relation_set import RelationSet

FOLDER = Path(__file__).parent
EXAMPLES = json.loads((FOLDER / "examples" / "examples.json").read_text(encoding="utf-8"))
SESSION_SECONDS = 3600  # for how long a session that nobody uses is kept in memory
SESSIONS = 200  # at a time, each with a picture of MAX_BYTES at most
QUEUE = 32  # visitors waiting; the next one is asked to come back
MODEL = {"concurrency_id": "model", "concurrency_limit": 1}  # one question at a time
# A change made while the one before is being answered is answered after it, and not lost.
INNER = {"api_visibility": "private", "trigger_mode": "always_last"}

extractor = load_extractor()
takes_pictures = extractor.processor.image_processor is not None
takes_boxes = takes_pictures and extractor.model.config.object_features is not None


def model_link() -> str:
    """The model's name; of one on the Hub, with a link to its page."""
    name = os.environ["ROC_MODEL"]
    if Path(name).is_dir():
        return f"<strong>{escape(Path(name).absolute().name)}</strong>"
    return f'<a href="{constants.ENDPOINT}/{quote(name)}">{escape(name)}</a>'


def picture_of(session: dict[str, Any]):
    return None if session["picture"] is None else read_picture(session["picture"])


def example(number: int) -> tuple[dict[str, Any], bytes | None, str]:
    """An example's post, its picture's bytes and what the page shows of it, as far as the model takes them."""
    post = {key: EXAMPLES[number][key] for key in ("text", "entities", "head", "tail")}
    if not takes_boxes:
        kept = [entity for entity in post["entities"] if entity["kind"] == "text"]
        post = {**post, "entities": kept, "head": 0, "tail": 1}
    if not takes_pictures:
        return post, None, ""
    content = (FOLDER / "examples" / EXAMPLES[number]["picture"]).read_bytes()
    return post, content, make_preview(read_picture(content))


def examples_html() -> str:
    buttons = []
    for number, shown in enumerate(EXAMPLES):
        preview = example(number)[2]
        picture = f'<img alt="" src="{preview}">' if preview else ""
        buttons.append(f'<button type="button" data-number="{number}">{picture}<span>{shown["title"]}</span></button>')
    return f'<div class="roc-examples" role="group" aria-label="Examples">{"".join(buttons)}</div>'


def pick_example(session, event: gr.EventData):
    post, content, preview = example(event.number)
    name = EXAMPLES[event.number]["picture"]
    session = {**session, "picture": content, "picture_name": name, "preview": preview}
    return session, gr.HTML(value=post, picture=preview), post["text"], ""


def use_text(text, post, session):
    """A new text takes the old one's mentions away; boxes stay."""
    post = read(post)
    text = check_text(text)
    boxes = [entity for entity in post["entities"] if entity["kind"] == "object"]
    kept = {
        role: boxes.index(post["entities"][post[role]])
        if post[role] is not None and post["entities"][post[role]]["kind"] == "object"
        else None
        for role in ("head", "tail")
    }
    return {"text": text, "entities": boxes, **kept}


def set_picture(content: bytes | None, name: str | None, post, session):
    """A new picture, or none, takes the old one's boxes away; mentions stay."""
    preview = "" if content is None else make_preview(read_picture(content))
    post = read(post)
    places = [place for place, entity in enumerate(post["entities"]) if entity["kind"] == "text"]
    post = {
        "text": post["text"],
        "entities": [post["entities"][place] for place in places],
        **{role: places.index(post[role]) if post[role] in places else None for role in ("head", "tail")},
    }
    session = {**session, "picture": content, "picture_name": name, "preview": preview}
    return session, gr.HTML(value=post, picture=preview)


def upload_picture(file, post, session):
    try:
        return *set_picture(take_upload(file), Path(file).name, post, session), ""
    except Refusal as refusal:
        return session, gr.skip(), message_html(str(refusal))


def remove_picture(post, session):
    return *set_picture(None, None, post, session), ""


def submit_text(text, post, session):
    try:
        return use_text(text, post, session), ""
    except Refusal as refusal:
        return gr.skip(), message_html(str(refusal))


def answer(post, session):
    """Headline and bars for the pair that is marked, or a sentence that says what is missing."""
    try:
        post = read(post)
        picture = picture_of(session)
        check_pair(post, picture, takes_boxes)
        relations = ask(extractor, post, picture, session["relations"].for_pipeline())
    except Refusal as refusal:
        return message_html(str(refusal)), "", "", ""
    headline = headline_html(post, names_of(post), relations, session["relations"].negative)
    return headline, answer_html(relations), "", ""


def explain(post, session):
    """What the best relation was read from. It takes many times as long as the answer, and comes after it."""
    try:
        post = read(post)
        picture = picture_of(session)
        check_pair(post, picture, takes_boxes)
        best = ask(extractor, post, picture, session["relations"].for_pipeline(), explain=True)[0]
    except Refusal:
        return ""  # the answer has said it
    return explanation_html(post, best, session["preview"])


def find_pairs(post, session, progress=gr.Progress()):  # noqa: B008 (how gradio finds it)
    try:
        post = read(post)
        if len(post["entities"]) < 2:
            raise Refusal("Mark at least two entities first.")
        number = len(post["entities"]) * (len(post["entities"]) - 1)
        found = ask_all(extractor, post, picture_of(session), session["relations"].for_pipeline())
        pairs = list(progress.tqdm(found, total=number, desc="Pairs", unit="pairs"))
    except Refusal as refusal:
        return message_html(str(refusal))
    name = None if session["picture"] is None else session["picture_name"]
    return pairs_html(post, names_of(post), pairs, session["relations"].negative, name)


def extract(inputs: dict, parameters: dict | None = None) -> list:
    """Relations of a text and a picture, asked for and answered as by an Inference Endpoint of the model: inputs holds
    text, head and tail (or entities), image (base64), objects; parameters top_k, threshold, relations, filter_by_type,
    explain."""
    try:
        return answer_request(extractor, inputs, parameters)
    except Refusal as refusal:
        raise gr.Error(str(refusal), print_exception=False) from refusal


FIRST, FIRST_PICTURE, FIRST_PREVIEW = example(0)

with gr.Blocks(title="ROC: what connects two entities?", analytics_enabled=False, delete_cache=(60, 600)) as demo:
    first = {"picture": FIRST_PICTURE, "picture_name": EXAMPLES[0]["picture"], "preview": FIRST_PREVIEW}
    first["relations"] = RelationSet(extractor.model.config)
    session = gr.State(first, time_to_live=SESSION_SECONDS)
    things = ", or things in the picture" if takes_boxes else ""
    gr.HTML(
        '<header class="roc-head"><h1>What connects two things in a post?</h1><p>Mark a <mark class="head">head</mark>'
        f' and a <mark class="tail">tail</mark>: words of the text{things}. The model finds the relation whose '
        "description fits best. Start with an example, or bring your own post.</p>"
        f'<p class="roc-note">The answers come from {model_link()}.</p></header>'
    )
    with gr.Row(equal_height=False, elem_classes="roc-columns"):
        with gr.Column(min_width=340):
            examples = gr.HTML(
                examples_html(),
                apply_default_css=False,
                js_on_load="""element.addEventListener("click", (event) => {
                    const button = event.target.closest("button");
                    if (button) trigger("click", { number: Number(button.dataset.number) });
                });""",
            )
            marker = post_marker(FIRST, FIRST_PREVIEW, takes_boxes, elem_id="roc-marker")
            with gr.Accordion("Your own text and picture", open=False, elem_id="roc-own"):
                text = gr.Textbox(
                    FIRST["text"],
                    label="Text",
                    lines=2,
                    max_lines=6,
                    max_length=4 * MAX_CHARACTERS,
                    info=f"Up to {MAX_CHARACTERS:,} characters",
                    elem_id="roc-text",
                )
                with gr.Row(elem_classes="roc-buttons"):
                    submit = gr.Button("Use this text", variant="primary", size="sm")
                    if takes_pictures:
                        upload = gr.UploadButton(
                            "Choose a picture", file_types=["image"], size="sm", elem_id="roc-upload"
                        )
                        remove = gr.Button("No picture", size="sm")
                gr.HTML(
                    '<p class="roc-note">Nothing is kept: a picture is read and deleted at once, and all else is '
                    "forgotten when you leave.</p>"
                )
            problem = gr.HTML(elem_id="roc-problem")
        with gr.Column(min_width=340):
            headline = gr.HTML(elem_id="roc-headline")
            with gr.Tabs():
                with gr.Tab("This pair"):
                    bars = gr.HTML(elem_id="roc-bars")
                    why = gr.HTML(elem_id="roc-why", min_height=60)
                with gr.Tab("All pairs"):
                    gr.HTML('<p class="roc-note">Every marked entity as head with every other as tail.</p>')
                    find = gr.Button("Find the relations of all pairs", variant="primary", size="sm")
                    pairs = gr.HTML(elem_id="roc-pairs", min_height=60)
                with gr.Tab("Relations"):
                    relation_events = build_relation_panel(extractor, session)

    answering = {"fn": answer, "inputs": [marker, session], "outputs": [headline, bars, why, pairs], **MODEL, **INNER}
    explaining = {"fn": explain, "inputs": [marker, session], "outputs": why, **MODEL, **INNER}
    changes = [
        examples.click(pick_example, session, [session, marker, text, problem], **INNER),
        *(
            event(submit_text, [text, marker, session], [marker, problem], **INNER)
            for event in (submit.click, text.submit)
        ),
        *relation_events,
    ]
    if takes_pictures:
        given = {"outputs": [session, marker, problem], **INNER}
        changes.append(upload.upload(upload_picture, [upload, marker, session], **given))
        changes.append(remove.click(remove_picture, [marker, session], **given))
    answers = [
        demo.load(**answering),
        marker.input(**answering),
        *(change.then(**answering) for change in changes),
    ]
    for event in answers:
        event.then(**explaining)
    find.click(find_pairs, [marker, session], pairs, **MODEL, **INNER)
    gr.api(extract, api_name="extract", **MODEL)

demo.queue(max_size=QUEUE)

if __name__ == "__main__":
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    demo.launch(
        theme=gr.themes.Default(primary_hue="indigo", neutral_hue="slate", **fonts),
        css_paths=FOLDER / "style.css",
        max_file_size=MAX_BYTES,
        state_session_capacity=SESSIONS,
        run_history=False,
        enable_monitoring=False,
        footer_links=["api"],
    )

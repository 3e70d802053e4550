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
from answer import bars_html, explanation_html, headline_html, own_html, unnamed_html
from huggingface_hub import constants
from model import FINDERS, answer_request, ask, ask_all, find_entities, load_extractor
from pairs import pairs_html
from PIL import Image
from post import (
    MAX_BYTES,
    MAX_CHARACTERS,
    MAX_ENTITIES,
    Refusal,
    check_pair,
    check_text,
    keep_entities,
    make_preview,
    mark_without_name,
    pipeline_input,
    read_picture,
    read_post,
    shows_refusals,
    take_upload,
)
from relations import MAX_DESCRIPTION, RelationSet, build_relations_tab, describe_own, short_name

FOLDER = Path(__file__).parent
EXAMPLES = json.loads((FOLDER / "examples" / "examples.json").read_text(encoding="utf-8"))
TYPES = ["person", "organization", "location", "miscellaneous"]  # to choose from; others can be written
TOP_K = 5
LISTED = 12  # relations that the page's head names
PAPER = "https://arxiv.org/abs/2509.21151"
# The page shows itself when it is laid out (see post_marker.js), or after five seconds whatever happens.
HEAD = """<style>
html { overflow-y: scroll; }
.gradio-container { width: 100% !important; max-width: 1180px !important; margin: 0 auto !important; }
html:not(.roc-ready) .gradio-container { visibility: hidden; animation: roc-show 0s 5s forwards; }
@keyframes roc-show { to { visibility: visible; } }
footer .divider { display: none !important; }
</style>"""
OWN_HINT = '<p class="roc-note">It is ranked with the others at once; nothing is trained for it.</p>'
SESSION_SECONDS = 3600  # for how long a session that nobody uses is kept in memory
SESSIONS = 200  # at a time, each with a picture of MAX_BYTES at most
QUEUE = 128  # events waiting, one or two a visitor; the next one is asked to come back
MODEL = {"concurrency_id": "model", "concurrency_limit": 1}  # one question at a time
# A change made while the one before is being answered is answered after it, and not lost.
INNER = {"api_visibility": "private", "trigger_mode": "always_last"}

extractor, no_finder = load_extractor()
finds_entities = any(os.environ.get(f"ROC_{name.upper()}") for name in FINDERS)
config = extractor.model.config
takes_pictures = extractor.processor.image_processor is not None
takes_boxes = takes_pictures and config.object_features is not None


def model_link() -> str:
    """The model's name; of one on the Hub, with a link to its page."""
    name = os.environ["ROC_MODEL"]
    if Path(name).is_dir():
        return f"<strong>{escape(Path(name).absolute().name)}</strong>"
    return f'<a href="{constants.ENDPOINT}/{quote(name)}">{escape(name)}</a>'


def known_relations() -> str:
    """The model's relations in words, of many the first ones."""
    names = [short_name(label) for label in config.id2label.values() if label != config.negative_relation]
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return escape(", ".join(names[:LISTED])) + more


def example(number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """An example's post and what a session keeps of its picture, as far as the model takes them."""
    post = {key: EXAMPLES[number][key] for key in ("text", "entities", "head", "tail")}
    if not takes_boxes:
        post = {**keep_entities(post, "text"), "head": 0, "tail": 1}
    if not takes_pictures:
        return post, keep_picture(None, None)
    path = FOLDER / "examples" / EXAMPLES[number]["picture"]
    return post, {**keep_picture(path.read_bytes(), path.name), "is_example": True}


def keep_picture(content: bytes | None, name: str | None) -> dict[str, Any]:
    """What a session keeps of a picture: its file's content and name, the data URL that the page shows, and whether it
    is an example's."""
    preview = "" if content is None else make_preview(read_picture(content, extractor.processor.open_picture))
    return {"picture": content, "picture_name": name, "preview": preview, "is_example": False}


def kept_picture(session) -> Image.Image | None:
    content = session["picture"]
    return None if content is None else read_picture(content, extractor.processor.open_picture)


def examples_html() -> str:
    buttons = []
    for number, shown in enumerate(EXAMPLES):
        if "relation" in shown and config.objective != "retrieval":
            continue
        preview = example(number)[1]["preview"]
        picture = f'<img alt="" width="60" height="60" src="{preview}">' if preview else ""
        buttons.append(
            f'<button type="button" data-number="{number}" data-post="{escape(shown["text"])}">{picture}'
            f"<span>{shown['title']}</span></button>"
        )
    return f'<div class="roc-examples" role="group" aria-label="Examples">{"".join(buttons)}</div>'


def pick_example(session, event: gr.EventData):
    """The example's post; and its relation, if it has one, with the model's own but the one that it stands for."""
    post, picture = example(event.number)
    chosen, line = EXAMPLES[event.number], gr.update()
    session = {**session, **picture}
    if "relation" in chosen:
        line = chosen["relation"]
        session["relations"] = RelationSet(config)
        session["relations"].use([name for name in config.label2id if name != chosen["instead_of"]])
        describe_own(session["relations"], line)
    return session, gr.HTML(value=post, picture=picture["preview"]), post["text"], line


@shows_refusals
def use_text(text, post, session):
    """A new text takes the old one's mentions away, and an example's picture; one's own stays, with its boxes."""
    post, text = read_post(post), check_text(text)
    if not text and (session["is_example"] or session["picture"] is None):
        raise Refusal("There is no text yet: write what the post says.")
    if session["is_example"]:
        session, post = {**session, **keep_picture(None, None)}, keep_entities(post, "")
    post = {**keep_entities(post, "object"), "text": text}
    return session, gr.HTML(value=post, picture=session["preview"])


def set_picture(content: bytes | None, name: str | None, post, session):
    """A new picture, or none, takes the old one's boxes away; mentions stay."""
    picture = keep_picture(content, name)
    post = keep_entities(read_post(post), "text")
    return {**session, **picture}, gr.HTML(value=post, picture=picture["preview"])


@shows_refusals
def upload_picture(file, post, session):
    return set_picture(take_upload(file), Path(file).name, post, session)


@shows_refusals
def remove_picture(post, session):
    return set_picture(None, None, post, session)


@shows_refusals
def mark_found(post, session):
    """The entities that tagger and detector find take the place of those that were marked."""
    if no_finder:
        raise Refusal(f"This demo has nothing to find entities with: {no_finder}")
    return find_entities(extractor, read_post(post), kept_picture(session))


def ask_about(post, session, **parameters):
    """What the model answers about the pair of a post that was read and checked."""
    given = pipeline_input(post, kept_picture(session), post["head"], post["tail"])
    return ask(extractor, given, session["relations"].for_pipeline(), **parameters)


def own_place(relations, session) -> str:
    """Where the relation that the visitor described last stands; `relations` are all, best first."""
    latest, labels = session["relations"].latest, [relation["label"] for relation in relations]
    if latest not in labels:
        return OWN_HINT
    return own_html(latest, 1 + labels.index(latest), len(labels), relations[labels.index(latest)])


def answer(post, session):
    """Headline, place of the visitor's own relation and bars for the pair that is marked, or a sentence that says what
    is missing."""
    try:
        post = read_post(post)
        check_pair(post, kept_picture(session), takes_boxes)
        if (words := mark_without_name(post)) is not None:
            return unnamed_html(post, words), OWN_HINT, "", "", ""
        relations = ask_about(post, session, top_k=None)
    except Refusal as refusal:
        return f'<p class="roc-message" role="alert">{escape(str(refusal))}</p>', OWN_HINT, "", "", ""
    own, threshold = session["relations"], config.abstention_threshold
    threshold = threshold if own.for_pipeline() is None else None  # it was chosen for the model's own relations
    headline = headline_html(post, relations, own.negative, threshold)
    return headline, own_place(relations, session), bars_html(relations[:TOP_K]), "", ""


def explain(post, session):
    """What the best relation was read from. It takes many times as long as the answer, and comes after it."""
    try:
        post = read_post(post)
        check_pair(post, kept_picture(session), takes_boxes)
        if mark_without_name(post) is not None:
            return "", OWN_HINT
        relations = ask_about(post, session, top_k=None, explain=True)
    except Refusal:
        return "", OWN_HINT  # the answer has said it
    return explanation_html(post, relations[0], session["preview"]), own_place(relations, session)


@shows_refusals
def find_pairs(post, session):
    post = read_post(post)
    if len(post["entities"]) < 2:
        raise Refusal("Mark at least two entities first.")
    own = session["relations"]
    pairs = ask_all(extractor, post, kept_picture(session), own.for_pipeline())
    threshold = config.abstention_threshold if own.for_pipeline() is None else None
    return pairs_html(post, pairs, own.negative, threshold, session["picture_name"])


def extract(inputs: dict, parameters: dict | None = None) -> list:
    """Relations of a text and a picture, asked for and answered as by an Inference Endpoint of the model: inputs holds
    text, head and tail (or entities), image (base64), objects; parameters top_k, threshold, relations, filter_by_type,
    explain."""
    try:
        return answer_request(extractor, inputs, parameters)
    except Refusal as refusal:
        raise gr.Error(str(refusal), print_exception=False) from refusal


FIRST, FIRST_PICTURE = example(0)

with gr.Blocks(title="ROC: what connects two entities?", analytics_enabled=False, delete_cache=(60, 600)) as demo:
    own_relations = RelationSet(config)
    session = gr.State({**FIRST_PICTURE, "relations": own_relations}, time_to_live=SESSION_SECONDS)
    things = ", or things in the picture" if takes_boxes else ""
    gr.HTML(
        '<header class="roc-head"><h1>What connects two things in a post?</h1><p>Mark a <mark class="head">head</mark>'
        f' and a <mark class="tail">tail</mark>: words of the text{things}. The model finds the relation whose '
        "description fits best.</p>"
        f'<p class="roc-note">{model_link()} is a model of <a href="{PAPER}">ROC, Retrieval over Classification</a> '
        f"(EMNLP 2025). It knows {known_relations()}, in posts like those that it was trained on: one of the drawn "
        "demo set knows nothing of photos.</p></header>",
        js_on_load=(FOLDER / "tabs.js").read_text(encoding="utf-8"),
    )
    quiet = {**INNER, "show_progress": "hidden"}
    with gr.Row(equal_height=False, elem_classes="roc-columns"):
        with gr.Column(min_width=280):
            text = gr.Textbox(
                FIRST["text"],
                label="Your post",
                lines=2,
                max_lines=6,
                max_length=4 * MAX_CHARACTERS,
                info=f"Up to {MAX_CHARACTERS:,} characters. Nothing is kept.",
                elem_id="roc-text",
            )
            with gr.Row(elem_classes="roc-buttons"):
                submit = gr.Button("Use this text", variant="primary", size="sm")
                if takes_pictures:
                    upload = gr.UploadButton("Choose a picture", file_types=["image"], size="sm", elem_id="roc-upload")
                    remove = gr.Button("No picture", size="sm")
                if finds_entities:
                    find_marks = gr.Button("Find the entities", size="sm", elem_id="roc-find")
            examples = gr.HTML(
                examples_html(),
                apply_default_css=False,
                js_on_load="""element.addEventListener("click", (event) => {
                    const button = event.target.closest("button");
                    if (button) trigger("click", { number: Number(button.dataset.number) });
                });""",
            )
            # Its value is the post. What the visitor marks changes it, and triggers the event `input`.
            marker = gr.HTML(
                FIRST,
                picture=FIRST_PICTURE["preview"],
                takes_pictures=takes_pictures,
                takes_boxes=takes_boxes,
                types=TYPES,
                max_entities=MAX_ENTITIES,
                html_template='<div class="roc-post"></div>',
                js_on_load=(FOLDER / "post_marker.js").read_text(encoding="utf-8"),
                apply_default_css=False,
                elem_id="roc-marker",
            )
        with gr.Column(min_width=280):
            headline = gr.HTML(elem_id="roc-headline")
            describes = config.objective == "retrieval"
            with gr.Row(elem_classes="roc-buttons", visible=describes):
                line = gr.Textbox(
                    label="Describe a relation of your own",
                    placeholder="The head is a fan of the tail.",
                    max_length=MAX_DESCRIPTION,
                    min_width=240,
                    elem_id="roc-own-line",
                )
                rank = gr.Button("Rank it", variant="primary", size="sm")
            picked = examples.click(pick_example, session, [session, marker, text, line], **quiet)
            own = gr.HTML(OWN_HINT, elem_id="roc-own-place", visible=describes)
            with gr.Tabs():
                with gr.Tab("This pair"):
                    bars = gr.HTML(elem_id="roc-bars")
                    why = gr.HTML(elem_id="roc-why")
                with gr.Tab("All pairs"):
                    gr.HTML(
                        '<p class="roc-note">Every marked entity as head with every other as tail, among the '
                        "relations whose types fit them.</p>"
                    )
                    find = gr.Button("Find the relations of all pairs", variant="primary", size="sm")
                    pairs = gr.HTML(elem_id="roc-pairs", min_height=60)
                with gr.Tab("Relations"):
                    changes = [picked]
                    if describes:
                        changes += build_relations_tab(own_relations, session, line, rank, picked, INNER)
                    else:
                        gr.HTML(
                            '<p class="roc-note">This model classifies: it has no descriptions, and its relations are '
                            "fixed.</p>"
                        )

    changes.append(gr.on([submit.click, text.submit], use_text, [text, marker, session], [session, marker], **quiet))
    if finds_entities:
        changes.append(find_marks.click(mark_found, [marker, session], marker, **MODEL, **quiet))
    if takes_pictures:
        changes.append(upload.upload(upload_picture, [upload, marker, session], [session, marker], **quiet))
        changes.append(remove.click(remove_picture, [marker, session], [session, marker], **quiet))
    outputs = [headline, own, bars, why, pairs]
    answering = {"fn": answer, "inputs": [marker, session], "outputs": outputs, **MODEL, **quiet}
    first_answer = gr.on([demo.load, marker.input], **answering)
    for answered in [first_answer, *(change.then(**answering) for change in changes)]:
        answered.then(explain, [marker, session], [why, own], **MODEL, **quiet)
    find.click(find_pairs, [marker, session], pairs, **MODEL, **INNER)
    gr.api(extract, api_name="extract", **MODEL)

demo.queue(max_size=QUEUE)

if __name__ == "__main__":
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    demo.launch(
        theme=gr.themes.Default(primary_hue="indigo", neutral_hue="slate", **fonts),
        css_paths=FOLDER / "style.css",
        head=HEAD,
        max_file_size=MAX_BYTES,
        state_session_capacity=SESSIONS,
        run_history=False,
        enable_monitoring=False,
        footer_links=["api"],
    )

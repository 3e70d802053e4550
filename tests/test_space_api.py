# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The Space's endpoint for programs, and its parts that need no browser: files, limits, relation sets."""

import base64
import copy
import csv
import io
import itertools
import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from space_app import EXAMPLES, SPACE, example_input
from test_pictures import PICTURES, saved

from data_scripts.converters.jsonl import read_jsonl
from data_scripts.descriptions.files import DescriptionError, check_descriptions, load_builtin_descriptions
from modeling_roc import types_from_labels
from processing_roc.processing_roc import open_picture

gradio_client = pytest.importorskip("gradio_client", reason="gradio is not installed: pip install -e .[demo]")
rdflib = pytest.importorskip("rdflib", reason="rdflib is not installed: pip install -e .[demo]")
sys.path.append(str(SPACE))  # a Space is one flat folder
from answer import bars_html, explanation_html, headline_html, percent  # noqa: E402
from model import types_in_labels  # noqa: E402
from pairs import COLUMNS, pairs_html, to_csv, to_json_lines, to_turtle  # noqa: E402
from post import Refusal, make_preview, mark_without_name, names_of, read_picture, read_post  # noqa: E402
from relations import RelationSet, short_name  # noqa: E402

PICTURE = base64.b64encode((SPACE / "examples" / "1.png").read_bytes()).decode()


@pytest.fixture(scope="module")
def client(space_app):
    client = gradio_client.Client(space_app.url, verbose=False)
    yield client
    client.close()


def test_the_endpoint_answers_as_the_pipeline_does(client, space_extractor):
    def same(one, other):
        assert len(one) == len(other)
        for got, expected in zip(one, other, strict=True):
            assert got.keys() == expected.keys()
            if "relations" in got:
                same(got["relations"], expected["relations"])
                continue
            assert got["label"] == expected["label"] and got["description"] == expected["description"]
            assert got["score"] == pytest.approx(expected["score"], abs=1e-6)
            if (saliency := got.get("explanation")) and saliency["words"]:
                scores = [[word["score"] for word in one["words"]] for one in (saliency, expected["explanation"])]
                assert scores[0] == pytest.approx(scores[1], abs=1e-6)

    pair = example_input(0)
    own = {"friends": "The head and the tail are friends.", "none": ["Nothing.", "They have no relation."]}
    text = {"text": "Zoë 🎉 met Noah", "head": {"start": 6, "end": 9}, "tail": {"start": 10, "end": 14}}
    everyone = {key: pair[key] for key in ("text", "image", "objects")} | {"entities": EXAMPLES[0]["entities"]}
    cases = [(pair, None), (pair, {"top_k": None}), (pair, {"relations": own}), (text, {"threshold": 0.05})]
    cases += [(everyone, {"top_k": 1}), (pair, {"explain": True, "top_k": 2})]
    for inputs, parameters in cases:
        sent = {**inputs, "image": PICTURE} if "image" in inputs else inputs
        same(client.predict(sent, parameters, api_name="/extract"), space_extractor(inputs, **(parameters or {})))


def test_the_endpoint_refuses_in_sentences(client, tmp_path):
    buffer = io.BytesIO()
    Image.new("1", (6000, 5000)).save(buffer, format="PNG")
    pair = {"text": "Maya met Ken", "head": {"start": 0, "end": 4}, "tail": {"start": 9, "end": 12}}
    cases = [
        ({**pair, "tail": {"start": 0, "end": 4}}, None, "Head and tail are the same span"),
        ({**pair, "text": ""}, None, "Text"),
        ({**pair, "text": "x" * 1001}, None, "The text has 1,001 characters"),
        ({**pair, "image": str(SPACE / "examples" / "1.png")}, None, "image must be the base64"),
        ({**pair, "image": "http://127.0.0.1:1/1.png"}, None, "image must be the base64"),
        ({**pair, "image": base64.b64encode(b"GIF89a").decode()}, None, "cannot be read as a picture"),
        ({**pair, "image": base64.b64encode(buffer.getvalue()).decode()}, None, "30 megapixels"),
        ({**pair, "images": PICTURE}, None, "Unknown fields"),
        ({"text": "Maya", "entities": [{"start": 0, "end": 4}] * 13}, None, "more than 132 pairs"),
        (pair, {"top_k": 0}, "Top_k must be a positive integer"),
        (pair, {"timeout": 1}, "parameters must be an object with some of"),
        (["no"], None, "inputs must be an object"),
    ]
    for inputs, parameters, words in cases:
        with pytest.raises(gradio_client.exceptions.AppError, match=words):
            client.predict(inputs, parameters, api_name="/extract")


def test_only_this_endpoint_is_open(client):
    assert list(client.view_api(return_format="dict")["named_endpoints"]) == ["/extract"]


NAMES = st.text(min_size=1, max_size=20)


@settings(max_examples=50, deadline=None)
@given(text=st.text(min_size=4, max_size=30), label=NAMES, kind=NAMES, words=st.text(max_size=20))
def test_files_and_pages_take_any_words(text, label, kind, words):
    text, kind = "<img src=x onerror=1> & " + text, f"<i>{kind}"
    entities = [
        {"kind": "text", "start": 0, "end": 12, "type": kind},
        {"kind": "object", "box": [0.0, 0.0, 0.5, 1.0], "type": None},
    ]
    post = {"text": text, "entities": entities, "head": 0, "tail": 1}
    assert names_of(post) == [text[:12], "box 1"]
    pairs = [
        {"head": head, "tail": 1 - head, "relations": [{"label": label, "score": 0.25, "description": words}]}
        for head in (0, 1)
    ]
    (header, *rows) = csv.reader(io.StringIO(to_csv(post, pairs), newline=""))
    assert tuple(header) == COLUMNS and [row[7] for row in rows] == ["0.25"] * 2
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row)
    lines = [json.loads(line) for line in to_json_lines(post, pairs).split("\n")[:-1]]
    assert [(line["text"], line["relation"]) for line in lines] == [(text, label)] * 2
    graph = rdflib.Graph().parse(data=to_turtle(post, pairs, None), format="turtle")
    assert len(list(graph.subjects(rdflib.RDF.type, rdflib.RDF.Statement))) == 2
    assert to_turtle(post, pairs, label).count("Statement") == 0

    relation = {**pairs[0]["relations"][0]}
    relation["explanation"] = {
        "descriptions": [{"description": words, "score": 0.5}],
        "words": [{"start": 0, "end": 12, "score": 0.1}],
        "patches": {"rows": 1, "columns": 2, "box": [0.0, 0.0, 1.0, 1.0], "scores": [[-0.1, 0.2]]},
    }
    shown = headline_html(post, [relation], None) + bars_html([relation])
    shown += explanation_html(post, relation, "data:,") + pairs_html(post, pairs, None)
    assert "<img src=x" not in shown and "<i>" not in shown


def test_the_json_lines_of_all_pairs_are_data_of_ones_own(tmp_path):
    post = {"text": "Maya (and Ken) on the pier", "entities": [
        {"kind": "text", "start": 0, "end": 4, "type": "person"},
        {"kind": "text", "start": 10, "end": 13, "type": None},
        {"kind": "object", "box": [0.0, 0.0, 0.5, 1.0], "type": "dog"},
    ]}  # fmt: skip
    names, places = ["Maya", "Ken", "box 1"], list(itertools.permutations(range(3), 2))
    relations = [{"label": "peer", "score": 0.25, "description": "They are friends."}]
    pairs = [{"head": head, "tail": tail, "relations": relations} for head, tail in places]
    Image.new("RGB", (40, 30)).save(tmp_path / "pier.png")
    (tmp_path / "train.jsonl").write_text(to_json_lines(post, pairs, "pier.png"), encoding="utf-8")
    (tmp_path / "relation_descriptions.json").write_text(json.dumps({"peer": "They are friends.", "none": "Nothing."}))
    rows = read_jsonl(tmp_path, negative_relation="none").splits["train"]
    assert [(row["head"]["name"], row["tail"]["name"]) for row in rows] == [(names[i], names[j]) for i, j in places]
    assert {row["relation"] for row in rows} == {"peer"}
    assert rows[0]["tokens"][rows[0]["tail"]["start"]] == "Ken" and rows[0]["head"]["type"] == "person"
    assert rows[1]["tail"]["box"] == [0.0, 0.0, 0.5, 1.0] and rows[1]["tail"]["type"] == "dog"
    assert {row["image"] for row in rows} == {str(tmp_path / "pier.png")}
    text_only = [pair for pair in pairs if 2 not in (pair["head"], pair["tail"])]
    (tmp_path / "train.jsonl").write_text(to_json_lines(post, text_only), encoding="utf-8")
    assert [row["image"] for row in read_jsonl(tmp_path, negative_relation="none").splits["train"]] == [None, None]


@pytest.fixture
def relations(space_extractor):
    return RelationSet(space_extractor.model.config)


def test_a_relation_set_is_saved_and_loaded(relations):
    assert relations.for_pipeline() is None  # the model's own
    builtin = load_builtin_descriptions("demo")
    relations.load(json.dumps(builtin).encode())
    assert json.loads(relations.save()) == builtin
    relations.put("fan of", ["The head likes the tail.", ""])
    relations.put("admires", ["The head likes the tail."], replaces="fan of")
    relations.use([name for name in relations.entries if name != "/per/per/couple"])
    content = json.loads(relations.save())
    check_descriptions(content)
    assert list(content["relations"]) == [*(name for name in builtin["relations"] if "couple" not in name), "admires"]
    assert relations.for_pipeline()["admires"] == ["The head likes the tail."]
    relations.load('{"a": "one", "b": ["two", "three"]}'.encode("utf-8-sig"))
    assert relations.for_pipeline() == {"a": ["one"], "b": ["two", "three"]} and relations.negative is None
    relations.use(["a"])
    with pytest.raises(Refusal, match="at least two"):
        relations.for_pipeline()


def test_relations_that_the_model_knows_by_examples(space_extractor):
    config = copy.copy(space_extractor.model.config)
    config.id2label = {**config.id2label, len(config.id2label): "fan of"}
    config.relation_descriptions = {**config.relation_descriptions, "fan of": []}
    relations = RelationSet(config)
    assert relations.for_pipeline() is None
    assert "fan of" not in json.loads(relations.save())["relations"]
    relations.put("rival", ["They compete."])
    with pytest.raises(Refusal, match="“fan of” is known to this model by examples"):
        relations.for_pipeline()
    relations.use([name for name in relations.entries if name != "fan of"])
    assert "fan of" not in relations.for_pipeline()
    relation = {"label": "fan of", "score": 0.5, "description": None, "examples": 4}
    scored = [{"description": None, "examples": 4, "score": 0.25}, {"description": "They <3.", "score": 0.125}]
    nothing = {"words": [], "patches": None}
    entities = [{"kind": "text", "start": start, "end": start + 4, "type": None} for start in (0, 9)]
    post = {"text": "Maya and Noah", "head": 0, "tail": 1, "entities": entities}
    shown = headline_html(post, [relation], None) + bars_html([relation])
    assert shown.count("the 4 examples of it") == 2
    shown = explanation_html(post, {**relation, "explanation": {**nothing, "descriptions": scored}}, "")
    assert "<span>0.25</span> the 4 examples of it" in shown and "They &lt;3." in shown


def entry(*texts, **fields):
    return {"descriptions": list(texts), "source": "me", "reviewed": True, **fields}


@pytest.mark.parametrize(
    "relations_in_file",
    [
        {},
        {"a": entry("x")},
        {"a": entry("x"), "b": entry("x")},
        {"a": entry("x"), "b": entry()},
        {"a": entry("x"), "b": entry("y", source="")},
        {"a": entry("x"), "b": entry("y", reviewed="yes")},
        {"a": entry("x"), "b": entry(1)},
        {"a": entry("x"), " ": entry("y")},
        {"a": entry("x"), "b": "y"},
    ],
)
def test_a_file_that_the_project_refuses_changes_nothing(relations, relations_in_file):
    before = relations.save()
    content = {"relations": relations_in_file, "negative_relation": None}
    if len(relations_in_file) != 1:  # one relation is a file, but nothing to choose from
        with pytest.raises(DescriptionError):
            check_descriptions(content)
    for file in (content, {**content, "negative_relation": "c"}):
        with pytest.raises(Refusal):
            relations.load(json.dumps(file).encode())
    for file in (b"{", b"[]", b"\xff", b'{"a": "x", "a": "y"}', b'{"a": "x", "b": 3}'):
        with pytest.raises(Refusal):
            relations.load(file)
    assert relations.save() == before


@pytest.mark.parametrize("name", ["turned, with a resolution of -1/0", "2 MB of text behind", "16-bit grey"])
def test_the_page_shows_what_the_model_sees(name):
    grey = np.linspace(0, 65535, 8 * 6).reshape(6, 8).astype(np.uint16)
    content = {**PICTURES, "16-bit grey": (saved(Image.fromarray(grey), "PNG"), (8, 6))}[name][0]
    preview = make_preview(read_picture(content, open_picture))
    shown = open_picture(preview)
    seen = open_picture(content)
    assert shown.size == seen.size
    assert np.abs(np.asarray(shown, dtype=int) - np.asarray(seen)).mean() < 30  # colours of a JPEG are coarse


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_is_held_to_the_demos_limit_before_it_is_read():
    for name, message in (("a scan", "12,000 × 8,000 pixels, 96 megapixels"), ("a bomb", "far too large")):
        with pytest.raises(Refusal, match=message):
            read_picture(PICTURES[name][0], lambda content: pytest.fail("it was read"))


def test_what_is_not_known_is_said():
    scores = {0.0: "< 0.1%", 0.0009: "< 0.1%", 0.284: "28.4%", 0.998: "99.8%", 0.9996: "> 99.9%", 1.0: "> 99.9%"}
    assert {score: percent(score) for score in scores} == scores
    labels = ["/per/org/member_of", "/per/loc/place_of_birth", "none", "fan of", "/a/b/c"]
    assert types_in_labels(labels) == types_from_labels(labels[:4])
    text = "Maya , and Ken"
    entities = [{"kind": "text", "start": a, "end": b, "type": None} for a, b in ((0, 4), (5, 6), (7, 10), (7, 14))]
    post = {"text": text, "entities": entities, "head": 0, "tail": 1}
    named = {tail: mark_without_name({**post, "tail": tail}) for tail in (1, 2, 3)}
    assert named == {1: ",", 2: "and", 3: None}
    relations = [{"label": "/per/per/peer", "score": 0.25, "description": "Equals."}]
    assert "— peer →" in headline_html(post, relations, "none", 0.2)
    for negative, threshold in (("none", 0.3), ("/per/per/peer", None)):
        assert "no relation known" in headline_html(post, relations, negative, threshold)
        pairs = [{"head": 0, "tail": 3, "relations": relations}]
        assert "None of the 1 pairs is related." in pairs_html(post, pairs, negative, threshold)


def test_what_a_page_sends_is_checked():
    post = {
        "text": "Maya",
        "entities": [{"kind": "text", "start": 0, "end": 4, "type": None}],
        "head": 0,
        "tail": None,
    }
    assert read_post(post) == post
    wrong = [
        None,
        [],
        {},
        {**post, "head": 1},
        {**post, "entities": [{"kind": "text", "start": 0, "end": 5, "type": None}]},
    ]
    wrong += [{**post, "entities": [{"kind": "object", "box": [0, 0, 0, 1], "type": None}]}, {**post, "text": None}]
    for value in wrong:
        with pytest.raises(Refusal):
            read_post(value)
    with pytest.raises(Refusal, match="12 entities"):
        read_post({**post, "entities": post["entities"] * 13})
    with pytest.raises(Refusal, match="11 MB"):
        read_picture(bytes(11 * 2**20), open_picture)
    assert [short_name(label) for label in ("/per/org/member_of", "None", "/")] == ["member of", "None", "/"]

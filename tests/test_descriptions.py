# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Relation descriptions: what is refused, and what the descriptions that come with the project are like."""

import copy
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_trees import UMRE_LABELS

from data_scripts.demo.dataset import load_demo_descriptions
from data_scripts.descriptions.files import (
    DescriptionError,
    DescriptionWriter,
    count_unreviewed,
    load_builtin_descriptions,
    load_descriptions,
    select_relations,
    warn_of_doubts,
    write_descriptions,
)
from data_scripts.loading import load_relation_dataset

CONTENT = {
    "relations": {
        "None": {"descriptions": ["nothing relates them"], "source": "a person", "reviewed": True},
        "/per/per/peer": {"descriptions": ["colleagues", "rivals"], "source": "a person", "reviewed": False},
        "/per/org/member_of": {
            "descriptions": ["belongs to"],
            "source": "a model",
            "model": "some/model",
            "prompt_version": "prompt@0123456789ab",
            "date": "2026-11-24",
            "reviewed": False,
        },
    },
    "negative_relation": "None",
}


def changed(change):
    """CONTENT after a change in place."""
    content = copy.deepcopy(CONTENT)
    change(content)
    return content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("negative_relation"), "the file must have the fields"),
        (lambda c: c.update(version=1), "the file must have the fields"),
        (lambda c: c.update(negative_relation="none"), "'none' is not among the relations"),
        (lambda c: c.update(relations={}), "at least one relation"),
        (
            lambda c: c["relations"].update({" ": c["relations"]["None"]}),
            "a relation's name must be a non-blank string",
        ),
        (lambda c: c["relations"].update(None_=["text"]), "relation 'None_' must be an object, not list"),
        (lambda c: c["relations"]["None"].pop("source"), "relation 'None' must have the fields"),
        (lambda c: c["relations"]["None"].update(note="text"), "relation 'None' must have the fields"),
        (lambda c: c["relations"]["None"].update(model="some/model"), "relation 'None' must have the fields .*'date'"),
        (lambda c: c["relations"]["/per/org/member_of"].pop("date"), "'/per/org/member_of' must have the fields"),
        (lambda c: c["relations"]["/per/org/member_of"].update(model=" "), "'model' must be a non-blank string"),
        (lambda c: c["relations"]["/per/org/member_of"].update(date="20261124"), "'date' must be a day as YYYY-MM-DD"),
        (lambda c: c["relations"]["/per/org/member_of"].update(date=2026), "'date' must be a day as YYYY-MM-DD"),
        (lambda c: c["relations"]["None"].update(source=""), "'source' must say"),
        (lambda c: c["relations"]["None"].update(reviewed="yes"), "'reviewed' must be true or false"),
        (lambda c: c["relations"]["None"].update(descriptions="text"), "must be a list of at least one text"),
        (lambda c: c["relations"]["None"].update(descriptions=[]), "must be a list of at least one text"),
        (lambda c: c["relations"]["None"].update(descriptions=[" "]), "a description must be a non-blank string"),
        (lambda c: c["relations"]["None"].update(descriptions=["rivals"]), "stands at 'None' too: 'rivals'"),
    ],
)
def test_broken_content_is_neither_read_nor_written(tmp_path, change, message):
    path = tmp_path / "descriptions.json"
    write_descriptions(CONTENT, path)
    with pytest.raises(DescriptionError, match=message):
        write_descriptions(changed(change), path)
    assert load_descriptions(path) == CONTENT
    path.write_text(json.dumps(changed(change)))
    with pytest.raises(DescriptionError, match=f"descriptions.json: .*{message}"):
        load_descriptions(path)


def test_the_plain_form_needs_to_be_told_the_negative_relation(tmp_path):
    path = tmp_path / "plain.json"
    path.write_text('{"a": "One text.", "b": ["Two", "texts."]}')
    given = {"source": "given with the data, in plain.json", "reviewed": True}
    relations = {"a": {"descriptions": ["One text."], **given}, "b": {"descriptions": ["Two", "texts."], **given}}
    assert load_descriptions(path) == {"relations": relations, "negative_relation": None}
    assert load_descriptions(path, "b") == {"relations": relations, "negative_relation": "b"}
    with pytest.raises(DescriptionError, match="plain.json: 'negative_relation' 'c' is not among the relations"):
        load_descriptions(path, "c")
    with pytest.raises(DescriptionError, match="absent.json is missing"):
        load_descriptions(tmp_path / "absent.json")


def test_descriptions_of_ones_own_take_the_data_sets_negative_relation(tmp_path):
    path, names = tmp_path / "plain.json", list(load_demo_descriptions()["relations"])
    texts = {name: f"What {name} means." for name in names}
    path.write_text(json.dumps(texts | {"other": "Not in the data set."}))
    _, descriptions = load_relation_dataset("demo", relations_file=str(path))
    assert list(descriptions["relations"]) == names and descriptions["negative_relation"] == "none"
    assert load_relation_dataset("demo", None, None, path, "other")[1]["negative_relation"] is None
    write_descriptions(load_demo_descriptions(), tmp_path / "full.json")
    with pytest.raises(DescriptionError, match="the negative relation is 'none' here, not 'other'"):
        load_relation_dataset("demo", relations_file=tmp_path / "full.json", negative_relation="other")


def test_a_relation_that_stands_twice_in_the_file_is_refused(tmp_path):
    path = tmp_path / "double.json"
    path.write_text('{"relations": {"a": 1, "a": 2}, "negative_relation": null}')
    with pytest.raises(DescriptionError, match=r"the keys \['a'\] stand twice"):
        load_descriptions(path)


@given(st.dictionaries(st.text(min_size=1).filter(str.strip), st.text(min_size=1).filter(str.strip), min_size=1))
def test_any_names_and_texts_come_back_as_they_were_written(tmp_path_factory, texts):
    relations = {
        name: {"descriptions": [f"{index} {text}"], "source": "test", "reviewed": False}
        for index, (name, text) in enumerate(texts.items())
    }
    content = {"relations": relations, "negative_relation": None}
    path = tmp_path_factory.mktemp("descriptions") / "any.json"
    write_descriptions(content, path)
    assert load_descriptions(path) == content
    assert list(load_descriptions(path)["relations"]) == list(texts)


ADDS_LABELS = """
import sys, time
from pathlib import Path
from data_scripts.descriptions.files import DescriptionWriter
writer = DescriptionWriter(Path(sys.argv[1]), ["none"], "none")
Path(sys.argv[2] + ".ready").touch()
while not Path("go").exists():
    time.sleep(0.001)
for number in range(40):
    text = f"{sys.argv[2]} says {number}."
    writer.add({f"{sys.argv[2]} {number}": {"descriptions": [text], "source": "a test", "reviewed": False}})
"""


def test_two_processes_that_write_one_file_lose_nothing(tmp_path):
    names = ("one", "two")
    command = [sys.executable, "-c", ADDS_LABELS, "made.json"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    writers = [subprocess.Popen([*command, name], cwd=tmp_path, env=environment) for name in names]
    while not all((tmp_path / f"{name}.ready").exists() for name in names):
        assert all(writer.poll() is None for writer in writers)
        time.sleep(0.01)
    (tmp_path / "go").touch()
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    relations = load_descriptions(tmp_path / "made.json")["relations"]
    assert set(relations) == {f"{name} {number}" for name in names for number in range(40)}
    assert relations["two 7"]["descriptions"] == ["two says 7."]
    assert not list(tmp_path.glob("*.tmp"))


def test_a_relation_that_another_process_changed_is_not_written_over(tmp_path):
    path = tmp_path / "made.json"
    entry = {"descriptions": ["The head leads the tail."], "source": "a test", "reviewed": False}
    first, second = (DescriptionWriter(path, ["a", "b"], None) for _ in range(2))
    first.add({"a": entry})
    second.add({"a": entry, "b": {**entry, "descriptions": ["The tail leads the head."]}})  # the same: no conflict
    with pytest.raises(DescriptionError, match=r"made\.json: relation 'b' was changed by another process"):
        first.add({"b": {**entry, "descriptions": ["Something else."]}})
    assert load_descriptions(path)["relations"]["b"]["descriptions"] == ["The tail leads the head."]
    path.write_text(path.read_text().replace("The head leads", "By hand, the head leads"))
    with pytest.raises(DescriptionError, match="relation 'a' was changed by another process"):
        second.add({"a": {**entry, "reviewed": True}})


def test_unreviewed_relations_are_counted():
    assert count_unreviewed(CONTENT) == 2
    assert count_unreviewed(select_relations(CONTENT, ["None"])) == 0


def test_relations_are_selected_in_the_order_asked_for():
    assert list(select_relations(CONTENT, ["/per/per/peer", "None"])["relations"]) == ["/per/per/peer", "None"]
    assert select_relations(CONTENT, ["/per/per/peer"])["negative_relation"] is None
    with pytest.raises(DescriptionError, match=r"no description for the relations \['/per/per/couple'\]"):
        select_relations(CONTENT, ["None", "/per/per/couple"])


@pytest.mark.parametrize(
    ("dataset", "negative", "number"), [("mnre", "None", 23), ("fewrel", None, 81), ("redocred", "none", 97)]
)
def test_relations_have_short_descriptions_written_without_a_look_at_rows(dataset, negative, number, caplog):
    content = load_builtin_descriptions(dataset)
    assert len(content["relations"]) == number and content["negative_relation"] == negative
    for name, relation in content["relations"].items():
        assert len(relation["descriptions"]) >= 3, name
        assert re.search(
            "from the (label and its types|relation's name and common knowledge) alone", relation["source"]
        )
        if name != negative:
            tells = [text for text in relation["descriptions"] if "head" in text and "tail" in text]
            assert len(tells) >= 2, name  # which of the two is which
        for text in relation["descriptions"]:
            assert len(text.split()) <= 35, text
    warn_of_doubts(content, dataset)  # no two relations with one text to an uncased encoder
    assert not caplog.records


def test_umre_relations_have_descriptions_that_tell_head_from_tail():
    content = load_builtin_descriptions("umre")
    assert list(content["relations"]) == UMRE_LABELS and content["negative_relation"] == "none"
    for name, relation in content["relations"].items():
        assert len(relation["descriptions"]) >= 3, name
        assert relation["source"] == "written for this project, 2026-11"
        for text in relation["descriptions"]:
            assert "head" in text and "tail" in text, text
            assert len(text.split()) <= 45, text
            assert name == "none" or name not in text
    words = " ".join(text for relation in content["relations"].values() for text in relation["descriptions"])
    assert "picture" in words and "object" in words  # an entity may be something that is seen

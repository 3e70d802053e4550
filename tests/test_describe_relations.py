# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Descriptions by a language model: against transformers' own server, against a failing one, and a local model."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import datasets
import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chat_models import ChatServer, completion, running, save_model_that_says
from small_runs import write_rows

from data_scripts import describe_relations
from data_scripts.demo.dataset import load_demo
from data_scripts.descriptions.files import load_descriptions, read_labels, write_descriptions
from data_scripts.descriptions.generate import PROMPT_FILE, closest_labels, fill_prompt, read_prompt
from data_scripts.reading import DataError

ROOT = Path(__file__).parents[1]
LABELS = ["None", "/per/per/peer", "/per/org/member_of", "/per/org/leader_of"]
KEY = "sk-only-in-the-environment"
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("HF_TOKEN", "HF_HUB_OFFLINE")}


def answer(*texts):
    return ("answer", json.dumps({"descriptions": texts}))


def three(word):
    return answer(*(f"The head {word} the tail, said in way {number}." for number in range(3)))


@pytest.fixture
def describe(tmp_path, monkeypatch):
    """Runs the command in an empty folder; returns what it exits with (None: success)."""
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        pytest.skip("under HF_HUB_OFFLINE, huggingface_hub's client asks no server, not even one on this machine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("HF_TOKEN", "hf_only_for_hugging_face")
    Path("labels.txt").write_text("\n".join(LABELS) + "\n")

    def run(*arguments, labels="labels.txt"):
        command = ["describe", "--labels", labels, "--output", "out.json", "--negative_relation", "None", *arguments]
        monkeypatch.setattr("sys.argv", [*command, "--backoff", "0.01"])
        try:
            describe_relations.main()
        except SystemExit as error:
            return error.code

    return run


def against(server):
    return ["--base_url", server.base_url, "--model", "some-model"]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """`transformers serve` with a tiny model: (base URL, model)."""
    folder = tmp_path_factory.mktemp("served")
    save_model_that_says(three("belongs to")[1], folder / "model")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [Path(sys.executable).with_name("transformers"), "serve", folder / "model", "--device", "cpu"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health").close()
                break
            except urllib.error.URLError:
                assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1", str(folder / "model")
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_transformers_serve_through_a_429_a_cut_connection_and_refused_answers(served, tmp_path):
    url, model = served
    (tmp_path / "labels.txt").write_text("/per/org/member_of\n/per/per/peer\n")

    def run(server):
        return subprocess.run(
            [sys.executable, "-m", "data_scripts.describe_relations", "--labels", tmp_path / "labels.txt"]
            + ["--output", tmp_path / "new" / "out.json", "--base_url", server.base_url, "--model", model]
            + ["--backoff", "0.01", "--max_attempts", "3"],
            cwd=ROOT,
            env={**ENVIRONMENT, "OPENAI_API_KEY": KEY},
            capture_output=True,
            text=True,
        )

    with running(ChatServer([("busy", 1), ("cut",)], upstream=url)) as server:
        first = run(server)
        # The model says the same of every relation: right for the first, and refused three times for the second.
        assert first.returncode == 1, first.stderr
        assert "the server answered 429: slow down; again in 1 s" in first.stderr
        assert "no answer (RemoteProtocolError" in first.stderr
        assert "'/per/org/member_of' has this description already" in first.stderr
        assert first.stderr.strip().endswith("no usable answer for /per/per/peer; the same command tries them again")
        labels = [re.search("label: (.*)", prompt)[1] for prompt in server.prompts()]
        assert labels == ["/per/org/member_of"] * 3 + ["/per/per/peer"] * 3
        tokens = re.search(r"tokens: ([\d,]+) in prompts, 8 in answers, asked 6 times", first.stdout)
        assert int(tokens[1].replace(",", "")) > 4 * 100
        content = load_descriptions(tmp_path / "new" / "out.json")
        assert list(content["relations"]) == ["/per/org/member_of"]
        entry = content["relations"]["/per/org/member_of"]
        assert entry["model"] == model and entry["reviewed"] is False
        assert KEY not in json.dumps(content) + first.stdout + first.stderr

        (tmp_path / "labels.txt").write_text("/per/org/member_of\n/per/per/peer\n/per/per/couple\n")
        server.script = [three("works with"), three("loves")]
        second = run(server)
        assert second.returncode == 0, second.stderr
        assert [re.search("label: (.*)", p)[1] for p in server.prompts()[6:]] == ["/per/per/peer", "/per/per/couple"]
        content = load_descriptions(tmp_path / "new" / "out.json")
        assert content["relations"]["/per/org/member_of"] == entry
        assert len(content["relations"]) == 3


def test_a_failing_server_is_asked_until_it_answers_and_only_for_what_is_missing(describe, capsys, caplog):
    script = [
        ("status", 503, "overloaded"),
        ("cut",),
        ("body", b"<html>a gateway's page</html>"),
        ("body", b'{"choices": []}'),
        ("busy", 1),
        three("has nothing to do with"),
        ("answer", "Here are they: 1. ..."),
        answer("only one"),
        answer("twice", "twice", "thrice"),
        answer("a", "b", " "),
        answer("THE HEAD has  nothing to do with the tail, said in way 1.", "b", "c"),
        ("answer", f"<think>{{hm}}</think>```json\n{three('knows')[1]}\n```"),
        three("is in"),
    ]
    with running(ChatServer(script, ("status", 500, "gone"))) as server:
        assert describe(*against(server), "--max_attempts", "6") == "error: the server answered 500: gone"
        # One request for each line of the script: nothing was asked while the server wanted to be left alone.
        assert len(server.requests) == len(script) + 6
        assert "the server answered 429: slow down; again in 1 s" in caplog.text
        assert "tokens: 800 in prompts, 80 in answers, asked 19 times" in capsys.readouterr().out
        relations = load_descriptions("out.json")["relations"]
        assert list(relations) == LABELS[:3]

        # A refused answer comes back to the model with what is wrong with it.
        repaired = server.requests[8]["messages"]
        assert [message["role"] for message in repaired] == ["user", "assistant", "user"]
        assert "3 different descriptions are wanted, not 1" in repaired[2]["content"]

        server.requests.clear()
        server.then = three("leads")
        assert describe(*against(server)) is None
        assert len(server.requests) == 1 and "label: /per/org/leader_of" in server.prompts()[0]
        content = load_descriptions("out.json")
        assert list(content["relations"]) == LABELS and content["negative_relation"] == "None"
        assert {label: content["relations"][label] for label in relations} == relations
        assert describe(*against(server)) is None
        assert len(server.requests) == 1


def test_answers_that_break_parsers_are_refused_and_asked_for_again(describe, caplog):
    half_a_pair = '{"descriptions": ["a \\ud83d", "b", "c"]}'
    script = [
        ("answer", half_a_pair),
        ("answer", half_a_pair.encode().decode("unicode_escape")),
        ("answer", "[" * 50_000),
        ("answer", "1" * 5_000),
        ("body", json.dumps(completion([{"type": "text", "text": three("ignores")[1]}])).encode()),
        ("body", b"[1, 2]"),
        ("body", b'[{"error": "no list is a completion"}]'),
        ("body", b"12"),
        ("body", b'{"error": {"message": "the model is being loaded"}}'),
        ("body", json.dumps({**completion(three("ignores")[1]), "usage": {"prompt_tokens": "many"}}).encode()),
        *(three(word) for word in ("knows", "is in", "leads")),
    ]
    with running(ChatServer(script)) as server:
        assert describe(*against(server), "--max_attempts", "10") is None
        assert not server.script
    assert caplog.text.count("must be a list of strings that are not blank, and Unicode text") == 2
    assert caplog.text.count("it is not one JSON object") == 2
    assert "no chat completion (TypeError: the content is a list; it sent " in caplog.text
    assert caplog.text.count("no chat completion (ValueError: Invalid") == 3
    assert "it sent ChatCompletionOutput(choices=None" in caplog.text and "the model is being loaded" in caplog.text
    # What cannot be sent is not shown to the model again.
    assert [len(request["messages"]) for request in server.requests[:4]] == [1, 3, 1, 3]
    assert len(load_descriptions("out.json")["relations"]) == 4


def test_what_is_asked_and_what_is_kept(describe):
    with running(ChatServer([three(word) for word in ("ignores", "knows", "is in", "leads")])) as server:
        assert describe(*against(server), "--temperature", "0.5", "--max_new_tokens", "300") is None
    for request, headers, label in zip(server.requests, server.headers, LABELS, strict=True):
        assert headers["authorization"] == f"Bearer {KEY}"
        assert request["model"] == "some-model"
        assert request["temperature"] == 0.5 and request["max_tokens"] == 300 and request["seed"] == 0
        schema = next(value for value in request["response_format"].values() if isinstance(value, dict))
        assert schema["properties"]["descriptions"]["minItems"] == 3
        prompt = request["messages"][0]["content"]
        others = prompt.split("told apart:\n")[1].split("\n\n")[0].splitlines()
        assert others == [f"- {other}" for other in LABELS if other != label]
        assert ("none of the other relations holds" in prompt) == (label == "None")
    for entry in load_descriptions("out.json")["relations"].values():
        assert re.fullmatch("relation_v1@[0-9a-f]{12}", entry["prompt_version"])
        assert entry["model"] == "some-model" and entry["reviewed"] is False
    assert KEY not in Path("out.json").read_text()


def test_other_servers_never_get_the_hubs_token(describe, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with running(ChatServer([three(word) for word in ("ignores", "knows", "is in", "leads")])) as server:
        assert describe(*against(server)) is None
    assert not any("authorization" in map(str.lower, headers) for headers in server.headers)


def test_a_server_without_json_schemas_is_asked_without(describe, caplog):
    refusal = ("status", 400, '{"error": "response_format is not supported"}')
    script = [refusal, *(three(word) for word in ("ignores", "knows", "is in", "leads"))]
    with running(ChatServer(script)) as server:
        assert describe(*against(server)) is None
    assert ["response_format" in request for request in server.requests] == [True] + [False] * 4
    assert "takes no JSON schema" in caplog.text


def test_an_answer_that_was_cut_off_is_not_taken(describe, caplog):
    cut_off = ("body", json.dumps(completion(three("ignores")[1], finish_reason="length")).encode())
    with running(ChatServer(then=cut_off)) as server:
        assert "no usable answer" in describe(*against(server), "--max_attempts", "2")
    assert "cut off at --max_new_tokens" in caplog.text
    assert not Path("out.json").exists()


def test_what_cannot_be_mended_ends_the_run_at_once(describe, capsys):
    with running(ChatServer(then=("status", 401, "no such key"))) as server:
        assert "refused the request with 401: no such key" in describe(*against(server))
        assert len(server.requests) == 1
    with running(ChatServer(then=three("knows"))) as server:
        assert "labels.txt" in describe(*against(server), "--output", "labels.txt/out.json")
        for setting, message in (("--temperature", "cannot be negative"), ("--timeout", "must be above 0")):
            assert describe(*against(server), setting, "-1") == 2
            assert message in capsys.readouterr().err
        assert not server.requests
    assert "must begin with http:// or https://" in describe("--base_url", "localhost:8000", "--model", "m")
    Path("empty").mkdir()
    assert "local model 'empty'" in describe("--local_model", "empty")
    Path("tested").mkdir()
    Path("tested", "test.csv").write_text("relation\n1\n")
    assert "data set 'tested': Unknown split" in describe("--local_model", "empty", "--dataset_name", "tested")
    Path("out.json").write_text('{"relations": {}}')
    assert "out.json: the file must have the fields" in describe("--local_model", "empty")
    assert describe("--local_model", "empty", labels="absent.txt") == "error: absent.txt: No such file or directory"


def test_the_hubs_models_need_a_token(tmp_path):
    (tmp_path / "labels.txt").write_text("a\n")
    command = [sys.executable, "-m", "data_scripts.describe_relations", "--labels", tmp_path / "labels.txt"]
    result = subprocess.run(
        [*command, "--output", tmp_path / "out.json", "--model", "some/model"],
        cwd=ROOT,
        env={**ENVIRONMENT, "HF_HOME": str(tmp_path / "hf_home")},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1 and "set HF_TOKEN or run `hf auth login`" in result.stderr


def test_examples_come_from_the_training_split_alone(describe):
    Path("data", "data").mkdir(parents=True)
    for split, rows in load_demo(num_train=90, num_validation=20, num_test=20).items():
        names, rows = rows.features["relation"].names, rows.to_list()
        for row in rows:
            row["image"] = None
            row["tokens"] = [f"{split}-word", *row["tokens"]]
        write_rows(rows, names, Path("data", "data"), split)
    with running(ChatServer([three(word) for word in ("ignores", "knows", "is in", "leads")])) as server:
        assert describe(*against(server), "--dataset_name", "data", "--num_examples", "2") is None
    for prompt, label in zip(server.prompts(), LABELS, strict=True):
        examples = prompt.split("Texts in which it holds:\n")[1].split("\n\n")[0].splitlines()
        assert "validation-word" not in prompt and "test-word" not in prompt
        if label == "None":  # the demo set calls it "none"
            assert examples == ["(none are at hand)"]
        else:
            assert len(set(examples)) == 2
            assert all("train-word" in line and "head: " in line and "(person)" in line for line in examples)
    assert "training split of data" in load_descriptions("out.json")["relations"]["None"]["source"]


def test_unlabelled_rows_are_examples_of_no_relation(describe):
    rows = load_demo(num_train=40, num_validation=1, num_test=1)["train"]
    last = rows.features["relation"].names[-1]
    Path("data", "data").mkdir(parents=True)
    unlabelled = [row | {"image": None, "relation": -1} for row in rows.to_list()]
    write_rows(unlabelled, rows.features["relation"].names, Path("data", "data"), "train")
    Path("labels.txt").write_text(f"None\n{last}\n")
    with running(ChatServer([three("ignores"), three("won")])) as server:
        assert describe(*against(server), "--dataset_name", "data") is None
    assert all("(none are at hand)" in prompt for prompt in server.prompts())


def test_a_data_set_that_is_none_of_relations_is_told_of(describe):
    """Labels that its features do not name, and rows without the column that pictures are in."""
    rows = load_demo(num_train=4, num_validation=1, num_test=1)["train"].cast_column(
        "image", datasets.Image(decode=False)
    )
    for folder in ("numbers", "columns"):
        Path(folder).mkdir()
    path = Path("numbers", "train.parquet")
    rows.to_parquet(path)
    table = pq.read_table(path)
    place = table.column_names.index("relation")
    numbers = pa.array([0, 99, None, -1], table.schema.field(place).type)
    pq.write_table(table.set_column(place, table.schema.field(place), numbers), path)
    rows.remove_columns("image").to_parquet("columns/train.parquet")
    local = ("--local_model", "none")
    for folder, message in (
        ("numbers", "data set 'numbers': row 1 of train (from 0): 99 is none of 9 relations"),
        ("columns", "data set 'columns' has no Image column `image`; convert it with data_scripts first"),
    ):
        assert describe(*local, "--dataset_name", folder) == f"error: {message}"


def test_a_local_model(describe, tmp_path, capsys):
    save_model_that_says(three("belongs to")[1], tmp_path / "model")
    Path("labels.txt").write_text("None\n")
    assert describe("--local_model", "model", "--dataset_name", "demo") is None
    assert load_descriptions("out.json")["relations"]["None"]["model"] == "model"
    assert re.search(r"tokens: \d+ in prompts, 2 in answers, asked 1 times", capsys.readouterr().out)


def test_labels_are_read_from_every_kind_of_file(tmp_path):
    text, ids, described = (tmp_path / name for name in ("labels.txt", "rel2id.json", "described.json"))
    text.write_text("b\n\n a \n")
    ids.write_text('{"b": 1, "a": 0}\nwhat some published files go on with')
    entry = {"descriptions": ["text"], "source": "a person", "reviewed": True}
    write_descriptions({"relations": {"b": entry}, "negative_relation": "b"}, described)
    assert read_labels(text) == (["b", "a"], None)
    assert read_labels(ids) == (["a", "b"], None)
    assert read_labels(described) == (["b"], "b")
    for name in ("rel2id.JSON", "ids.txt"):  # what is in a file counts
        (tmp_path / name).write_text(json.dumps({"b": 1, "a": 0}, indent=2))
        assert read_labels(tmp_path / name) == (["a", "b"], None)
    (tmp_path / "twice.json").write_text('{"b": "One.",\n "a": "Two.",\n "b": "Three."}')
    with pytest.raises(
        DataError, match=r"twice\.json: .*the keys \['b'\] stand twice in one object; see lines \[1, 3\]"
    ):
        read_labels(tmp_path / "twice.json")
    described.write_text('{"b": "One text.", "a": ["Two", "texts."]}')
    assert read_labels(described) == (["b", "a"], None)
    text.write_text("a\nb\na\n")
    with pytest.raises(DataError, match=r"labels.txt, line 3: label 'a' stands in line 1 already"):
        read_labels(text)
    text.write_text("\n")
    with pytest.raises(DataError, match="no label in it"):
        read_labels(text)
    for path in (text, ids):
        path.write_bytes('{"Künstler": 0}'.encode("latin-1"))
        with pytest.raises(DataError, match=f"{path.name}.*'utf-8' codec can't decode"):
            read_labels(path)


def test_prompt_templates_are_checked_and_change_their_version(tmp_path):
    path = tmp_path / "mine.md"
    path.write_text("Describe $label in $num_descriptions ways for $$5.")
    template, version = read_prompt(path)
    assert fill_prompt(template, "a", ["b"], [], 2, negative=None) == "Describe a in 2 ways for $5."
    path.write_text("Describe $label in $num_descriptions ways.")
    assert read_prompt(path)[1] != version
    for text, message in (
        ("Describe $label.", "must have the fields"),
        ("$label $num_descriptions $colour", "'colour'"),
        ("$label $num_descriptions for 5 $", "a '\\$' begins no field"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            read_prompt(path)
    path.write_bytes("$label, $num_descriptions für".encode("latin-1"))
    with pytest.raises(DataError, match="mine.md, line 1: not UTF-8"):
        read_prompt(path)
    assert PROMPT_FILE.name == "relation_v1.md"


def test_of_many_labels_the_most_alike_are_shown():
    labels = ["/per/per/peer", "/org/loc/based_in", "/per/org/member_of", "/per/org/leader_of"]
    assert closest_labels("/per/org/member_of", labels, 2) == ["/per/per/peer", "/per/org/leader_of"]
    assert closest_labels("/per/org/member_of", labels, 9) == [
        "/per/per/peer",
        "/org/loc/based_in",
        "/per/org/leader_of",
    ]

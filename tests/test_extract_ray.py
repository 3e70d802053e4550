# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""extract.py --engine ray: on a real Ray of two nodes, whose actors and command are killed; and its parts alone."""

import contextlib
import io
import json
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from test_extract import (
    ROOT,
    broken_posts,
    command,
    errors,
    make_posts,
    refuse,
    run,
    triples,
    usage_error,
    write_lines,
)

from extraction_roc.extractor import ExtractorSettings, find_revision
from extraction_roc.on_ray import Actor, count_room
from extraction_roc.parts import read_part
from extraction_roc.posts import Columns, open_posts

ON_RAY = ("--engine", "ray")


def test_what_only_ray_knows_is_refused_without_it(checkpoint, tmp_path, monkeypatch):
    source = write_lines(tmp_path / "posts.jsonl", make_posts(3)[1:])
    where = (checkpoint, source, tmp_path / "graph")
    assert "--num_gpus is for --engine ray" in usage_error(monkeypatch, *where, "--num_gpus", "1")
    assert "--concurrency is for --engine ray" in usage_error(monkeypatch, *where, "--concurrency", "2")
    assert "--num_gpus must be at least 0, not -1" in usage_error(monkeypatch, *where, *ON_RAY, "--num_gpus", "-1")
    assert "--concurrency must be at least 1" in usage_error(monkeypatch, *where, *ON_RAY, "--concurrency", "0")
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "pip install -e .[ray]" in refuse(monkeypatch, *where, *ON_RAY)
    assert not (tmp_path / "graph").exists()


def test_csv_is_refused_before_ray_begins(checkpoint, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="Ray is not installed: pip install -e .[ray]")
    source = tmp_path / "posts.csv"
    source.write_text('text,entities\nMaya met Noah,"[{""start"": 0, ""end"": 4}, {""start"": 9, ""end"": 13}]"\n')
    told = refuse(monkeypatch, checkpoint, source, tmp_path / "graph", *ON_RAY)
    assert "posts.csv is neither" in told and "JSON lines and Parquet" in told


def test_as_many_actors_as_have_room():
    """Each needs a CPU and its GPUs on one node; of a half each, three GPUs and four CPUs hold four."""
    nodes = [{"CPU": 4.0, "GPU": 3.0}, {"CPU": 2.0}, {"memory": 1.0}]
    assert [count_room(nodes, num_gpus) for num_gpus in (0, 0.1, 0.5, 1, 2, 4)] == [6, 4, 4, 3, 1, 0]
    assert count_room([{"CPU": 16.0, "GPU": 1.0}], 0.1) == 10


def test_an_actor_makes_the_parts_of_one_process(checkpoint, pictures, tmp_path, monkeypatch):
    """After the way to its node, where its folder is another; and tells what is not there."""
    posts = [post for post in make_posts(13)]
    posts[6]["entities"][0]["end"] = 999
    source = write_lines(tmp_path / "posts.jsonl", posts)
    monkeypatch.chdir(tmp_path)
    run(monkeypatch, "model", source, tmp_path / "graph", "--image_dir", "pictures")
    settings = ExtractorSettings(
        "model", find_revision("model"), threshold=0.0, image_dir=Path("pictures"), device="cpu"
    )
    opened = open_posts(str(source), Columns())

    def actor(folder=tmp_path, **changed):
        return pickle.loads(
            pytest.importorskip("cloudpickle").dumps(
                Actor(ExtractorSettings(**vars(settings) | changed), opened, 5, folder)
            )
        )

    monkeypatch.chdir("/")
    one = actor()
    for number in (2, 1, 0):
        ((content,), (problem,)) = (one({"number": np.array([number])})[name] for name in ("content", "problem"))
        path = tmp_path / "graph" / "triples" / f"part-0000{number}.parquet"
        assert problem == "" and read_part(io.BytesIO(content)) == read_part(path)
        assert pq.read_table(io.BytesIO(content)).equals(pq.read_table(path))
    assert read_part(tmp_path / "graph" / "triples" / "part-00001.parquet")["errors"][0]["position"] == 6
    first = {"number": np.array([0])}
    assert "model is another model" in actor(revision="sha256:0")(first)["problem"][0]
    assert "no_pictures is no folder" in actor(image_dir=Path("no_pictures"))(first)["problem"][0]
    write_lines(source, posts[:4])
    assert "fewer posts" in actor()(first)["problem"][0]
    source.unlink()
    assert "posts.jsonl: No such file" in actor()(first)["problem"][0]


def test_posts_are_found_at_any_place_of_any_files(tmp_path):
    """Lines of JSON with blank and broken ones between, several files, and files in an archive."""
    lines = [json.dumps({"text": str(place)}) if place % 7 else "{" for place in range(2500)]
    for name, some in (("a", lines[:1200]), ("b", []), ("c", lines[1200:])):
        text = "".join(f"{line}\n\n" if place % 5 else f"\r\n{line}\r\n" for place, line in enumerate(some))
        (tmp_path / f"{name}.jsonl").write_text(text, newline="")
    with zipfile.ZipFile(tmp_path / "posts.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(tmp_path.glob("?.jsonl")):
            archive.write(path, path.name)
    for number in range(3):
        rows = [{"text": str(place)} for place in range(number * 900, min(number * 900 + 900, 2500))]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{number}.parquet", row_group_size=250)
    identities = set()
    for name in (f"{tmp_path}/*.jsonl", f"zip://*.jsonl::{tmp_path}/posts.zip", f"file://{tmp_path}/*.parquet"):
        posts = open_posts(name, Columns())
        assert posts.num_posts == 2500 and posts.seeks
        identities.add(posts.identity)
        whole = [*posts.read(0)]
        for place, record in enumerate(whole):
            broken = isinstance(record, ValueError)
            assert broken == (place % 7 == 0 and "jsonl" in name) and (broken or record["text"] == str(place))
        for start in (1, 999, 1000, 1001, 1199, 1200, 2199, 2200, 2499, 2500):
            assert [*map(str, posts.read(start))] == [*map(str, whole[start:])], (name, start)
    assert len(identities) == 3


def test_what_names_no_posts(tmp_path):
    (tmp_path / "a.jsonl").write_text("{}\n")
    (tmp_path / "a.csv").write_text("text\n")
    for name, told in (
        (f"{tmp_path}/*.parquet", "no file"),
        (f"{tmp_path}/a.*", "one kind"),
        ("no://a.jsonl", "no://a"),
    ):
        with pytest.raises(ValueError, match=told):
            open_posts(name, Columns())


def start_cluster(*num_cpus: int):
    """A Ray of one node for each of these numbers."""
    from ray.cluster_utils import Cluster

    nodes = [{"num_cpus": number, "object_store_memory": 80 << 20} for number in num_cpus]
    started = Cluster(initialize_head=True, head_node_args={**nodes[0], "include_dashboard": False})
    for node in nodes[1:]:
        started.add_node(**node)
    started.wait_for_nodes()
    return started


@pytest.fixture(scope="module")
def cluster():
    """A Ray of two nodes of one CPU each, which RAY_ADDRESS names."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install -e .[ray]")
    pytest.importorskip("psutil", reason="psutil finds the actors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # else whatever runs beside the tests goes first
        one = start_cluster(1, 1)
        patch.setenv("RAY_ADDRESS", one.address)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as an actor has: with others, scores differ by 1e-6
        yield one
        torch.set_num_threads(threads)
        one.shutdown()


def actors() -> list:
    """The processes of this cluster's actors that hold the model; Ray has others of its own."""
    import psutil

    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error, IndexError):
            found += [process] if process.cmdline()[0].startswith("ray::MapWorker") else []
    return found


def parts(folder: Path) -> int:
    return len(list((folder / "triples").glob("part-*")))


def assert_same(one: Path, other: Path) -> None:
    """Same files, same rows; scores may differ by what another batch rounds."""
    assert [path.name for path in sorted(one.rglob("*"))] == [path.name for path in sorted(other.rglob("*"))]
    assert errors(one) == errors(other)
    left, right = triples(one), triples(other)
    assert [{**row, "score": 0} for row in left] == [{**row, "score": 0} for row in right]
    assert [row["score"] for row in left] == pytest.approx([row["score"] for row in right], abs=1e-6)
    for name in ("run.json", "nodes.parquet"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def mixed_posts(pictures: Path, number: int) -> list:
    """Whole posts with all kinds of broken ones between."""
    mixed = [*make_posts(number)]
    for place, line in enumerate(broken_posts(pictures)):
        mixed.insert(1 + place * 2, line)
    return mixed


@pytest.mark.slow
def test_two_nodes_do_what_one_process_does(cluster, checkpoint, pictures, tmp_path, monkeypatch):
    """Broken posts too, and though an actor is killed in the middle."""
    source = write_lines(tmp_path / "posts.jsonl", mixed_posts(pictures, 200))
    more = ("--image_dir", pictures, "--formats", "neo4j")
    run(monkeypatch, checkpoint, source, tmp_path / "one", *more)
    killed = []

    def kill():
        while not killed:
            time.sleep(0.01)
            if parts(tmp_path / "two") >= 5 and (running := actors()):
                running[0].kill()
                killed.append(parts(tmp_path / "two"))

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    run(monkeypatch, checkpoint, source, tmp_path / "two", *more, *ON_RAY)
    assert killed and killed[0] < parts(tmp_path / "one")
    assert_same(tmp_path / "one", tmp_path / "two")
    # The one goes on behind the other.
    for number in (0, 3, 17):
        for folder in ("one", "two"):
            (tmp_path / folder / "triples" / f"part-{number:05d}.parquet").unlink()
    run(monkeypatch, checkpoint, source, tmp_path / "one", *more, *ON_RAY, "--concurrency", "1")
    run(monkeypatch, checkpoint, source, tmp_path / "two", *more)
    assert_same(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_what_a_node_lacks_is_told(cluster, checkpoint, tmp_path, monkeypatch):
    source = write_lines(tmp_path / "posts.jsonl", [post for post in make_posts(12) if "image" not in post])
    where = (checkpoint, source, tmp_path / "graph")
    told = refuse(monkeypatch, *where, *ON_RAY, "--concurrency", "3")
    assert "room for 2 actors of 1 CPU and 0 GPUs, not for 3" in told
    assert "room for 0 actors of 1 CPU and 1 GPUs" in refuse(monkeypatch, *where, *ON_RAY, "--num_gpus", "1")
    told = refuse(monkeypatch, *where, *ON_RAY, "--entity_tagger", "no:tagger")
    assert "on the node " in told and "entity_tagger 'no:tagger'" in told
    assert parts(tmp_path / "graph") == 0
    run(monkeypatch, *where, *ON_RAY)
    assert parts(tmp_path / "graph") == 2


@pytest.mark.slow
@pytest.mark.parametrize("number, most", [(300, 4), (1500, 20)], ids=["4 kills", "20 kills"])
def test_kills_lose_no_post_and_write_none_twice(
    cluster, checkpoint, pictures, tmp_path, monkeypatch, capsys, number, most
):
    """Of an actor and of the command in turn, at moments drawn by lot."""
    source = write_lines(tmp_path / "posts.jsonl", mixed_posts(pictures, number))
    more = ("--image_dir", pictures)
    run(monkeypatch, checkpoint, source, tmp_path / "whole", *more)
    arguments = [
        sys.executable,
        ROOT / "extract.py",
        *command(checkpoint, source, tmp_path / "killed", *more, *ON_RAY),
    ]

    def begin():
        with open(tmp_path / "log.txt", "w") as log:
            return subprocess.Popen(arguments, stderr=log)

    rng, kills, goal = random.Random(0), {"command": 0, "actor": 0}, parts(tmp_path / "whole")
    process = begin()
    while sum(kills.values()) < most:
        done, wanted = parts(tmp_path / "killed"), rng.randint(1, goal // (2 * most))
        while process.poll() is None and parts(tmp_path / "killed") < done + wanted:
            time.sleep(0.005)
        assert process.poll() is None, (tmp_path / "log.txt").read_text()[-3000:]
        time.sleep(rng.uniform(0, 0.3))
        kind = ("actor", "command")[sum(kills.values()) % 2]
        victim = process if kind == "command" else rng.choice(actors())
        victim.send_signal(signal.SIGKILL)
        kills[kind] += 1
        if kind == "command":
            process.wait()
            process = begin()
    assert process.wait() == 0, (tmp_path / "log.txt").read_text()[-3000:]
    with capsys.disabled():
        print(f"\nkills: {kills}; {goal} parts")
    assert kills == {"command": most // 2, "actor": most // 2}
    assert_same(tmp_path / "whole", tmp_path / "killed")


def read_seconds(seconds: dict) -> float:
    """The seconds of the processor in `seconds`, when it is told of each process that this one has started."""
    import psutil

    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            used = process.cpu_times()
            seconds[process] = used.user + used.system
    return sum(seconds.values())


@pytest.mark.slow
def test_two_nodes_cost_little_more_than_one(cluster, checkpoint, tmp_path, monkeypatch, capsys):
    """On the same cores, in turn, by seconds of the processor: other work on the machine disturbs these less."""
    posts = [{**post, "image": None} for post in make_posts(6000)]
    for post in posts:
        post["entities"] = [one for one in post["entities"] if "start" in one]
    source, seconds = write_lines(tmp_path / "posts.jsonl", posts), {"one": [], "two": []}
    clusters = {"one": start_cluster(2), "two": cluster}
    more = (*ON_RAY, "--concurrency", "2", "--part_size", "100")
    for turn in range(6):
        name = ("one", "two", "two", "one")[turn % 4]
        folder = tmp_path / f"{name} {turn}"
        monkeypatch.setenv("RAY_ADDRESS", clusters[name].address)
        used, at_parts = {}, []
        began = read_seconds(used)
        arguments = [sys.executable, ROOT / "extract.py", *command(checkpoint, source, folder, *more)]
        with subprocess.Popen(arguments, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None:
                now = read_seconds(used)
                if parts(folder) > 1:
                    at_parts.append(now)
                time.sleep(0.1)
        assert process.returncode == 0 and parts(folder) == 60
        seconds[name].append((at_parts[-1] - began, at_parts[-1] - at_parts[0]))
    clusters["one"].shutdown()
    one, two = (np.median(seconds[name], axis=0) for name in ("one", "two"))
    with capsys.disabled():
        print(f"\nseconds of the processor by one node and by two: {one[0]:.1f}, {two[0]:.1f}", end="; ")
        print(f"behind the second part: {one[1]:.1f}, {two[1]:.1f}")
    assert two[0] < 1.15 * one[0]


@pytest.mark.slow
def test_a_cluster_of_its_own_that_is_stopped(checkpoint, tmp_path, monkeypatch):
    """Without an address the command starts Ray on this machine, and ends with it as it says."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install -e .[ray]")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    source = write_lines(tmp_path / "posts.jsonl", [{**post, "image": None} for post in make_posts(900)])
    process = subprocess.Popen(
        [sys.executable, ROOT / "extract.py", *command(checkpoint, source, tmp_path / "graph", *ON_RAY)],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while parts(tmp_path / "graph") < 3 and process.poll() is None:
        time.sleep(0.01)
    process.terminate()
    _, told = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM, told[-3000:]
    assert "interrupted; the same command goes on" in told

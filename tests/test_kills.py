# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""SIGKILL at moments drawn by lot: a training that is gone on with ends as if nothing had been, and what is pushed is
on the Hub whole or not at all."""

import multiprocessing
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hub_server import HubServer
from small_runs import assert_same_weights, losses

from training_roc import get_last_complete_checkpoint

ROOT = Path(__file__).parents[1]
KILLS = 20


def train_in_a_process(arguments: list[str], folder: str, cache: str):
    """What a process of the fork server runs: train.py, in `folder`."""
    import datasets

    import train

    os.chdir(folder)
    output = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1), os.dup2(output, 2)
    torch.set_num_threads(1)
    datasets.config.HF_DATASETS_CACHE = cache
    sys.argv = ["train.py", *arguments]
    train.main()


@pytest.mark.slow
def test_a_training_that_is_killed_again_and_again_ends_with_the_same_weights(place, tmp_path, capsys):
    """A checkpoint in every step, so that many a kill comes amid writing one, and two of them kept."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["train"])
    settings = (
        "--max_steps 240 --save_strategy steps --save_steps 1 --save_total_limit 2 --eval_strategy no --do_eval false"
    )
    settings += " --do_predict false --load_best_model_at_end false --relation_update_steps 3 --pair_dropout 0.1"
    settings = [
        str(place / "config.yaml"),
        *settings.split(),
        "--text_model_name_or_path",
        str(place / "text_with_dropout"),
    ]

    def start(name, *more):
        arguments = [*settings, "--output_dir", name, *more]
        process = context.Process(target=train_in_a_process, args=(arguments, str(tmp_path), str(place / "cache")))
        process.start()
        return process

    whole = start("whole")
    whole.join()
    assert whole.exitcode == 0, (tmp_path / "log.txt").read_text()[-5000:]
    rng, started, steps, half_written = random.Random(0), tmp_path / "killed" / "handler.py", [0], 0

    def newest() -> int:
        return max((int(path.name[11:]) for path in (tmp_path / "killed").glob("checkpoint-*")), default=0)

    for _ in range(KILLS):
        before = started.stat().st_mtime_ns if started.exists() else None
        process = start("killed", "--resume_from_checkpoint", "true")
        while not started.exists() or started.stat().st_mtime_ns == before:  # it is written when training begins
            assert process.is_alive(), (tmp_path / "log.txt").read_text()[-5000:]
            time.sleep(0.005)
        goal = steps[-1] + rng.randrange(8)  # by steps and not by time, which a fast machine would be done in
        while newest() < goal:
            assert process.is_alive(), (tmp_path / "log.txt").read_text()[-5000:]
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
        assert process.is_alive()
        process.kill()
        process.join()
        last = get_last_complete_checkpoint(str(tmp_path / "killed"))
        steps.append(int(last.rpartition("-")[2]) if last else 0)
        half_written += newest() > steps[-1]
    assert steps == sorted(steps) and steps[-1] > 20
    last = start("killed", "--resume_from_checkpoint", "true")
    last.join()
    assert last.exitcode == 0, (tmp_path / "log.txt").read_text()[-5000:]
    assert_same_weights(tmp_path / "whole" / "model.safetensors", tmp_path / "killed" / "model.safetensors")
    assert losses(tmp_path / "whole") == losses(tmp_path / "killed")
    with capsys.disabled():
        print(f"\n{KILLS} kills of a training, after steps {steps[1:]}; {half_written} left a checkpoint half-written")


@pytest.mark.slow
def test_a_push_that_is_killed_leaves_the_old_commit_or_the_new_one(tmp_path, capsys):
    """Each round pushes other files; after the kill the Hub has all of one round, and a repeat brings the new one."""
    server, rng = HubServer(), random.Random(0)
    environment = server.environment(tmp_path / "home")
    folder = tmp_path / "run"
    folder.mkdir()

    def fill(number: int) -> dict[str, bytes]:
        content = random.Random(number).randbytes(3_000_000)
        files = {"model.safetensors": content, "processor_config.json": b"{}", "README.md": b"# Round %d\n" % number}
        files |= {f"table_{part}.png": content[part:10_000] for part in range(5)}
        for name, blob in files.items():
            (folder / name).write_bytes(blob)
        return files

    def push():
        command = [sys.executable, "-m", "training_roc.push", "--folder", folder, "--hub_model_id", "org/kills"]
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def on_the_hub(names) -> dict[str, bytes]:
        files = server.repo("model", "org/kills").files()
        return {name: files.get(name) for name in names}

    try:
        old, taken, landed = fill(0), [], 0
        assert push().wait() == 0 and on_the_hub(old) == old
        total = len(server.requests)
        for number in range(1, KILLS + 1):
            new, before, wanted = fill(number), len(server.requests), rng.randint(1, total)
            process = push()
            while len(server.requests) < before + wanted and process.poll() is None:
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.02))
            if process.poll() is None:
                process.kill()
                taken.append(len(server.requests) - before)
            process.communicate()
            time.sleep(0.2)  # what was sent may still be on its way into a commit
            found = on_the_hub(new)
            assert found in (old, new)
            landed += found == new
            repeat = push()
            output, _ = repeat.communicate()
            assert repeat.returncode == 0 and on_the_hub(new) == new, output
            old = new
    finally:
        server.stop()
    assert len(taken) >= KILLS // 2 and 0 < landed < KILLS
    with capsys.disabled():
        print(
            f"\n{len(taken)} of {KILLS} pushes killed, in requests {taken} of {total}; {landed} had made their commit"
        )

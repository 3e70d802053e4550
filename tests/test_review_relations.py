# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The review of descriptions, as a person does it: in a terminal (a pseudo-terminal here), with an editor."""

import fcntl
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from rich.console import Console

from data_scripts.descriptions.files import load_descriptions, write_descriptions
from data_scripts.descriptions.review import main, pair_up, side_by_side

ROOT = Path(__file__).parents[1]
PROMPT = "or [q]uit:"
MADE = {"source": "a model", "model": "some/model", "prompt_version": "p@1", "date": "2026-11-24", "reviewed": False}


def by_model(*texts):
    return {"descriptions": list(texts), **MADE}


def by_person(*texts, reviewed=True):
    return {"descriptions": list(texts), "source": "a person", "reviewed": reviewed}


OLD = {
    "None": by_person("Nothing ties the head to the tail."),
    "peer": by_person("The head works with the tail.", reviewed=False),
    "gone": by_person("The head was once the tail."),
    "couple": by_person("The head loves the tail."),
}
NEW = {
    "couple": by_model("The head loves the tail."),
    "peer": by_model("The head works or plays with the tail.", "Head and tail are colleagues."),
    "member": by_model("The head belongs to the tail."),
    "leader": by_model("The head leads the tail."),
    "None": by_model("The head is not tied to the tail."),
}


def _own_terminal():
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    # Tests that run in the background of a shell have inherited that Ctrl-C is ignored.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def review(tmp_path):
    """Runs the helper in a pseudo-terminal: answers each of its questions with the next of `keys`; returns (exit
    status, what stood on the screen)."""
    write_descriptions({"relations": OLD, "negative_relation": "None"}, tmp_path / "old.json")
    write_descriptions({"relations": NEW, "negative_relation": "None"}, tmp_path / "new.json")

    def run(*keys, editor="true", files=("--old", "old.json", "--new", "new.json")):
        master, slave = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "data_scripts.review_relations", *files, "--output", "out.json"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "VISUAL": editor, "TERM": "xterm", "COLUMNS": "100"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            # The terminal becomes the process's own, so that Ctrl-C in it is a signal.
            start_new_session=True,
            preexec_fn=_own_terminal,
        )
        os.close(slave)
        screen, answered, deadline, pressed = "", 0, time.monotonic() + 60, time.monotonic()
        try:
            while time.monotonic() < deadline:
                # readline may miss a Ctrl-C that comes just before it waits for input: pressed again, as by a person.
                if keys and keys[-1] == "\x03" and answered == len(keys) and time.monotonic() > pressed + 10:
                    os.write(master, b"\x03")
                    pressed = time.monotonic()
                if select.select([master], [], [], 0.2)[0]:
                    try:
                        chunk = os.read(master, 65536)
                    except OSError:  # Linux: the other side has closed
                        break
                    if not chunk:
                        break
                    screen += chunk.decode(errors="replace")
                if screen.count(PROMPT) > answered and answered < len(keys):
                    os.write(master, keys[answered].encode())
                    answered, pressed = answered + 1, time.monotonic()
            status = process.wait(timeout=60)
        finally:
            process.kill()
            os.close(master)
        assert answered == len(keys), screen
        return status, re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen)

    return run


def test_a_review_is_left_and_taken_up_again(review, tmp_path):
    editor = tmp_path / "editor.py"
    editor.write_text(
        "import pathlib, sys\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "text = path.read_text()\n"
        "assert 'member' in text and 'The head belongs to the tail.' in text\n"
        "path.write_text(text + '\\n#team posts: the tail has the head as its member.\\n')\n"
    )
    edit = f"{shlex.quote(sys.executable)} {shlex.quote(str(editor))}"
    # peer is accepted; member is edited, seen again, accepted; at leader the person leaves.
    status, screen = review("a\n", "e\n", "a\n", "q\n", editor=edit)
    assert status == 0, screen
    # couple is the same as what a person has reviewed, so nobody is asked about it.
    assert re.findall(r"\d/\d +(\w+)", screen) == ["peer", "member", "member", "leader"]
    assert "The head works with the tail." in screen and "The head works or plays with the" in screen
    assert "some/model, p@1, 2026-11-24" in screen
    assert "4 relations in out.json, 0 of them not reviewed; 2 to decide, the same command goes on" in screen
    content = load_descriptions(tmp_path / "out.json")
    assert content["relations"] == {
        "couple": OLD["couple"],
        "peer": NEW["peer"] | {"reviewed": True},
        "member": {
            **MADE,
            "descriptions": ["The head belongs to the tail.", "#team posts: the tail has the head as its member."],
            "source": "a model, edited by a person",
            "reviewed": True,
        },
        "gone": OLD["gone"],
    }
    assert content["negative_relation"] is None  # not decided yet

    # Skipped, then rejected (the old text stays): only the skipped one is left, and can be rejected to nothing.
    status, screen = review("s\n", "r\n")
    assert status == 0 and re.findall(r"\d/\d +(\w+)", screen) == ["leader", "None"]
    content = load_descriptions(tmp_path / "out.json")
    assert content["relations"]["None"] == OLD["None"] and content["negative_relation"] == "None"
    assert list(content["relations"]) == ["couple", "peer", "member", "None", "gone"]
    status, screen = review("r\n")
    assert "There are no old descriptions to keep" in screen and "1 to decide" in screen
    status, screen = review("a\n")
    assert "6 relations in out.json, 0 of them not reviewed; 0 to decide" in screen


def test_what_cannot_be_taken_is_asked_again(review, tmp_path):
    editor = tmp_path / "editor.py"
    editor.write_text("import sys; open(sys.argv[1], 'w').write('# nothing\\n')")
    edit = f"{shlex.quote(sys.executable)} {shlex.quote(str(editor))}"
    files = ("--new", "new.json")
    # An unknown key, an editor that leaves nothing, and one that fails, change nothing.
    status, screen = review("a\n", "x\n", "e\n", "q\n", editor=edit, files=files)
    assert status == 0 and "Please select one of the available options" in screen
    assert "Not taken: no description was left" in screen
    assert "Not taken: " in review("e\n", "q\n", editor="false", files=files)[1]
    assert list(load_descriptions(tmp_path / "out.json")["relations"]) == ["couple"]
    # A text that stands at another relation already.
    write_descriptions(
        {"relations": {"x": by_model("The head loves the tail.")}, "negative_relation": None}, tmp_path / "x"
    )
    status, screen = review("a\n", "q\n", files=("--new", "x"))
    assert "stands at" in screen and "1 to decide" in screen
    # For an encoder that does not see case and blanks, it is the same text.
    write_descriptions(
        {"relations": {"x": by_model("the HEAD loves  the tail.")}, "negative_relation": None}, tmp_path / "x"
    )
    assert "case and blanks aside" in review("a\n", "q\n", files=("--new", "x"))[1]


def test_the_plain_form_is_reviewed(review, tmp_path):
    (tmp_path / "plain.json").write_text('{"None": "Nothing ties them.", "peer": ["Colleagues.", "Rivals."]}')
    files = ("--new", "plain.json", "--negative_relation", "None")
    status, screen = review("a\n", "q\n", files=files)
    content = load_descriptions(tmp_path / "out.json")
    assert status == 0 and content["negative_relation"] == "None", screen
    assert content["relations"]["None"]["reviewed"] and "given with the data" in content["relations"]["None"]["source"]


def test_leaving_by_the_keyboard_keeps_what_is_decided(review, tmp_path):
    for leave in ("\x03", "\x04"):  # Ctrl-C, Ctrl-D
        status, screen = review("a\n", leave)
        assert status == 0 and "the same command goes on" in screen, screen
    relations = load_descriptions(tmp_path / "out.json")["relations"]
    assert relations["peer"]["reviewed"] and relations["member"]["reviewed"] and "leader" not in relations


def test_files_that_cannot_be_reviewed_are_refused(tmp_path, monkeypatch, capsys):
    """No one is asked, so no terminal is needed."""
    monkeypatch.chdir(tmp_path)
    write_descriptions({"relations": OLD, "negative_relation": "None"}, tmp_path / "old.json")
    Path("plain.json").write_text('{"None": "Nothing ties them.", "peer": ["Colleagues.", "Rivals."]}')
    for files, status, message in (
        (("plain.json", "--negative_relation", "none"), 1, "'none' is not among the relations"),
        (("old.json", "--negative_relation", "peer"), 1, "the negative relation is 'None' here, not 'peer'"),
        (("absent.json",), 1, "error: absent.json is missing"),
        (("out.json",), 2, "--output must be another file"),
    ):
        monkeypatch.setattr(sys, "argv", ["review", "--new", *files, "--output", "out.json"])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr().err + str(ended.value)
        assert message in said and (ended.value.code == 2) == (status == 2), said


def test_versions_of_one_text_share_a_row():
    old = ["The head leads the tail.", "The head is the boss.", "quite another text"]
    new = ["The head is the big boss.", "something new", "The head leads or rules the tail."]
    assert pair_up(old, new) == [(old[1], new[0]), ("", new[1]), (old[0], new[2]), (old[2], "")]
    console = Console(width=200, record=True, force_terminal=True, color_system="standard", file=open(os.devnull, "w"))
    console.print(side_by_side("title", by_person(*old), by_model(*new)))
    text = console.export_text(styles=True)
    assert "\x1b[32mbig\x1b[0m" in text.replace(" big", "big") and "\x1b[31mquite" in text

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What a run shows of its results: any label, any number of relations, and what a failure in it costs."""

import logging
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from PIL import Image
from small_runs import read_json, read_predictions

from data_scripts.descriptions import quality
from data_scripts.markdown import markdown_code, markdown_text
from data_scripts.writing import replacing_in
from evaluation_roc.drawing import shorten
from evaluation_roc.report import (
    decorating,
    format_table,
    per_relation_table,
    save_confusion_matrix,
)

LABELS = ["none", "a|b", "国籍", "_x_ __y__", "$x^2$", "`code` ``", "line\nbreak", "# head", "<b>&amp;</b>", "صديق",
          "😀🫠", "/slash", "C:\\path\\", "1. one", "- item", "[a](b)", "~~gone~~", "*", "$", "%s {x}"]  # fmt: skip
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(lambda text: text.strip())


def one_line(text: str) -> str:
    return " ".join("".join(" " if ord(one) < 32 or 127 <= ord(one) < 160 else one for one in text).split())


def read_markdown(content: str) -> list[tuple[str, str]]:
    """The blocks of a page as a browser would show them: the kind of each and its text."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(content)
    found = []
    for before, token in zip(tokens, tokens[1:], strict=False):
        if token.type == "inline":
            kinds = {child.type for child in token.children} - {"text", "code_inline", "softbreak"}
            assert not kinds, f"{token.content!r} has {kinds}"
            found.append((before.type, "".join(child.content for child in token.children)))
    return found


# Labels with any character


@given(st.lists(TEXTS, min_size=2, max_size=5, unique_by=one_line).filter(lambda texts: all(map(one_line, texts))))
@example(LABELS)
@settings(deadline=None)
def test_a_table_reads_as_its_labels_whatever_they_are(labels):
    numbers = list(range(len(labels)))
    cells = [text for kind, text in read_markdown(format_table(per_relation_table(numbers, numbers, labels)))]
    assert len(cells) == 5 * (len(labels) + 1)
    assert sorted(cells[5::5]) == sorted(map(one_line, labels)) and set(cells[6::5]) == {"1.000"}


def test_other_tables_take_them_too():
    row = {"relation": "a|b", "own": 0.1, "nearest": "<b>|`", "nearest_cosine": 0.2, "margin": -0.1}
    cells = [text for kind, text in read_markdown(quality.format_table([row])) if kind != "paragraph_open"]
    assert cells[5:] == ["a|b", "0.100", "<b>|`", "0.200", "-0.100"]


@given(TEXTS.filter(one_line))
@settings(deadline=None)
def test_a_text_is_a_lists_item_and_a_code_as_it_is(text):
    for line in (markdown_text(text), markdown_code(text)):
        assert read_markdown(f"- {line}\n  - {line}\n") == [("paragraph_open", one_line(text))] * 2


def test_a_picture_takes_any_label(tmp_path, caplog):
    numbers = list(range(len(LABELS)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_confusion_matrix(tmp_path / "matrix.svg", numbers, numbers, LABELS)
        save_confusion_matrix(tmp_path / "matrix.png", numbers, numbers, LABELS)
    drawn = (tmp_path / "matrix.svg").read_text(encoding="utf-8")
    assert "<!-- $x^2$ -->" in drawn and "<!-- line break -->" in drawn and "<!-- %s {x} -->" in drawn
    assert all(len(record.message.splitlines()) == 1 for record in caplog.records) and len(caplog.records) <= 2
    if caplog.records:  # no font here has Chinese: the codes tell such labels apart
        assert "no installed font has" in caplog.text and "\\u56fd\\u7c4d" in drawn


def test_long_names_keep_both_ends():
    assert shorten("/a/b/c") == "/a/b/c"
    short = shorten("begin" + "x" * 100 + "end")
    assert len(short) == 48 and short.startswith("beginxx") and short.endswith("xxend")


# Any number of relations


def test_a_matrix_of_many_relations_does_not_grow(tmp_path):
    gold, names = np.arange(1000) % 200, [f"relation_{i}" for i in range(200)]
    save_confusion_matrix(tmp_path / "matrix.png", gold, gold, names)
    with Image.open(tmp_path / "matrix.png") as picture:
        assert max(picture.size) <= 120 * (4 + 0.45 * 60)


def test_a_matrix_of_too_many_is_left_out_and_that_is_told(tmp_path, caplog):
    gold, names = np.arange(1000) % 201, [f"relation_{i}" for i in range(201)]
    save_confusion_matrix(tmp_path / "matrix.png", gold, gold, names)
    assert not list(tmp_path.iterdir()) and "matrix.png is not drawn: 201 relations are more than 200" in caplog.text


def test_a_table_of_many_relations_shows_the_most_frequent(caplog):
    names = [f"relation_{i}" for i in range(300)]
    gold = np.repeat(np.arange(300), np.arange(1, 301))  # relation_299 is the most frequent
    lines = format_table(per_relation_table(gold, gold, names), "relation_0").splitlines()
    assert lines[-1] == "100 rarer relations are not shown."
    shown = [line.split("|")[1].strip() for line in lines[2:202]]
    assert shown == [*(f"relation_{i}" for i in range(299, 100, -1)), "relation_0 (negative)"]


STEPS = """
import resource, sys, time
import numpy as np
from pathlib import Path
from types import SimpleNamespace
from evaluation_roc.calibration import calibrate, draw_calibration, measure_calibration
from evaluation_roc.relation_f1.relation_f1 import compute_relation_f1
from evaluation_roc.report import format_split, save_confusion_matrix, write_split

number, rows, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
gold = np.arange(rows) % number
logits = np.random.default_rng(0).normal(size=(rows, number)).astype(np.float32)
logits[np.arange(rows), gold] += 4
labels = [f"relation_{i}" for i in range(number)]
config = SimpleNamespace(negative_relation=labels[0], label2id={label: i for i, label in enumerate(labels)},
                         calibration_temperature=1.0, abstention_threshold=None)
output = SimpleNamespace(predictions=logits, label_ids=gold)
answers, begun = logits.argmax(axis=1), time.time()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
compute_relation_f1(answers, gold, num_labels=number, negative_label=0)
print(calibrate(output, config), measure_calibration("eval", output, config))
format_split("eval", write_split("eval", list(map(str, range(rows))), output, {}, labels, folder), {}, labels[0])
save_confusion_matrix(folder / "matrix.png", answers, gold, labels)
draw_calibration(folder / "reliability.png", output, config)
more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(f"{number} relations, {rows} rows: {time.time() - begun:.0f} s, {more >> 10} MiB beside {logits.nbytes >> 20}")
assert more << 10 < 2 * logits.nbytes + (300 << 20), more
"""


@pytest.mark.slow
@pytest.mark.parametrize(("number", "rows"), [(2000, 1000), (20_000, 1000), (2000, 100_000)])
def test_no_step_after_training_takes_more_memory_than_a_few_times_the_scores(tmp_path, number, rows):
    command = [sys.executable, "-c", STEPS, str(number), str(rows), str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    print(done.stdout)
    assert len((tmp_path / "eval_predictions.jsonl").read_text().splitlines()) == rows


# What fails


def test_a_failure_is_told_in_one_line_and_ends_nothing(caplog):
    failures = []
    for error in (MemoryError("no room"), ValueError("two\nlines"), OSError()):
        with decorating("matrix.png", failures) as file:
            assert file == "matrix.png"
            raise error
    expected = ["matrix.png (MemoryError: no room)", "matrix.png (ValueError: two lines)", "matrix.png (OSError: )"]
    assert failures == expected
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 3
    with pytest.raises(KeyboardInterrupt), decorating("matrix.png", failures):
        raise KeyboardInterrupt


def test_a_run_whose_pictures_and_card_fail_keeps_everything_else(run, tmp_path):
    for name in ("test_confusion_matrix.png", "eval_reliability.png", "README.md"):
        (tmp_path / "out" / name / "in the way").mkdir(parents=True)
    with pytest.raises(SystemExit) as ended:
        once = ("--max_steps", "1", "--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end", "no")
        run(*once, pictures=True)
    said = str(ended.value)
    assert said.startswith(
        "error: model and scores are whole in out, but not made: eval_reliability.png (IsADirectory"
    )
    assert "test_confusion_matrix.png (" in said and "README.md (" in said and "\n" not in said
    out = tmp_path / "out"
    results, config = read_json(out / "all_results.json"), read_json(out / "config.json")
    assert config["calibration_temperature"] == results["eval_calibration_temperature"] != 1
    assert (
        len(read_predictions(out)) == 18
        and results["test_micro_f1"] == read_json(out / "test_results.json")["test_micro_f1"]
    )
    assert (out / "test_reliability.png").is_file() and (out / "test_examples.png").is_file()
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == [".training"], "only the lock"


def test_files_take_their_places_together_or_not_at_all(tmp_path):
    (tmp_path / "config.json").write_text("old")
    with pytest.raises(ValueError), replacing_in(tmp_path) as folder:
        (folder / "config.json").write_text("half")
        raise ValueError
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    assert (tmp_path / "config.json").read_text() == "old"
    with replacing_in(tmp_path) as folder:
        (folder / "config.json").write_text("new")
        (folder / "weights").write_text("1")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"config.json": "new", "weights": "1"}

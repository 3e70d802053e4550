# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""
Shows old and new relation descriptions side by side, and writes what a person makes of them.

    python -m data_scripts.review_relations --old earlier.json --new generated.json --output relations.json

For every relation: accept the new descriptions, edit them (in $VISUAL or $EDITOR), or reject them, which keeps the old
ones as they are. What a person accepted is marked as reviewed. The output is written after every decision, and what
stands in it is decided: the same command goes on with the rest.
"""

import argparse
import sys
from difflib import SequenceMatcher
from pathlib import Path

import click
from rich.console import Console
from rich.prompt import Prompt
from rich.table import Table
from rich.text import Text

from data_scripts.command import in_words
from data_scripts.descriptions.files import (
    DescriptionError,
    DescriptionWriter,
    load_descriptions,
    reading_key,
    warn_of_doubts,
)

NOTE = "# "
"""What begins a line that is no description; with a blank, as a description may begin with a hashtag."""
EDITED = ", edited by a person"
MIN_SIMILARITY = 0.4
"""Share of common words from which on two descriptions are shown as two versions of one (0-1)."""


class Review:
    """
    The decisions over two sets of descriptions.

    Args:
        old: content of the earlier descriptions file; None: there is none.
        new: content of the file to review.
        output: path to write to; if the file exists, the review goes on.

    Raises:
        DescriptionError: if `output` exists and is not as it should be.
    """

    def __init__(self, old: dict | None, new: dict, output: Path):
        old = {"relations": {}, "negative_relation": None} if old is None else old
        self.old, self.new = old["relations"], new["relations"]
        self.output = DescriptionWriter(output, self.new, new["negative_relation"] or old["negative_relation"])
        # What only the old file has; and what a person has read already, which needs no second look.
        self.kept = {
            label: entry
            for label, entry in self.old.items()
            if label not in self.new
            or (entry["reviewed"] and entry["descriptions"] == self.new[label]["descriptions"])
        }

    @property
    def decided(self) -> dict[str, dict]:
        """The relations that need no decision any more."""
        return self.kept | self.output.entries

    def open_labels(self) -> list[str]:
        """The relations still to be decided, in the new file's order."""
        return [label for label in self.new if label not in self.decided]

    def decide(self, label: str, entry: dict) -> None:
        """Takes `entry` for `label`, and writes the output.

        Raises:
            DescriptionError: if that makes no valid file, a text stands at another relation too (case and blanks make
                no difference), or another process decided this relation in the meantime. Nothing is decided then.
        """
        keys = {reading_key(text) for text in entry["descriptions"]}
        for other, decided in self.decided.items():
            for text in decided["descriptions"]:
                if other != label and reading_key(text) in keys:
                    raise DescriptionError(
                        f"this description stands at {other!r} too (case and blanks aside): {text!r}"
                    )
        self.write({label: entry})

    def write(self, entries: dict[str, dict]) -> None:
        """Writes what is kept, and `entries`."""
        self.output.add({name: self.kept[name] for name in self.kept.keys() - self.output.entries.keys()} | entries)


def ask_about(review: Review, label: str, title: str, console: Console) -> bool:
    """Shows one relation until it is decided or skipped; returns whether the person wants to go on."""
    old, entry = review.old.get(label), review.new[label]
    while True:
        console.print(side_by_side(title, old, entry))
        question = r"\[a]ccept, \[e]dit, \[r]eject, \[s]kip for now or \[q]uit"
        choice = Prompt.ask(question, choices=list("aersq"), show_choices=False, console=console)
        try:
            if choice == "e":
                entry = edit(label, entry)
                continue
            if choice == "a":
                review.decide(label, entry | {"reviewed": True})
            elif choice == "r" and old is not None:
                review.decide(label, old)
            elif choice == "r":
                console.print("There are no old descriptions to keep: the relation stays open.\n")
            return choice != "q"
        except (DescriptionError, click.ClickException) as error:
            console.print(f"Not taken: {error}\n", markup=False, style="red")


def edit(label: str, entry: dict) -> dict:
    """The entry after a person edited its texts; the same one if they left the editor without saving.

    Raises:
        DescriptionError: if no text is left.
        click.ClickException: if the editor fails.
    """
    lines = [" ".join(text.split()) + "\n" for text in entry["descriptions"]]
    note = f"{NOTE}{label}: one description a line. Lines that begin with # and a blank are left out.\n"
    edited = click.edit(note + "".join(lines), extension=".txt")
    if edited is None:
        return entry
    texts = [line.strip() for line in edited.split("\n") if line.strip() and not line.startswith(NOTE)]
    if not texts:
        raise DescriptionError("no description was left")
    if texts == entry["descriptions"]:
        return entry
    return entry | {"descriptions": texts, "source": entry["source"].removesuffix(EDITED) + EDITED}


def side_by_side(title: str, old: dict | None, new: dict) -> Table:
    """A table of two columns: old and new descriptions, similar ones in one row, and where each set comes from."""
    table = Table("old", "new", title=Text(title, style="bold"), title_justify="left", show_lines=True, expand=True)
    for column in table.columns:
        column.ratio, column.overflow = 1, "fold"
    for before, after in pair_up([] if old is None else old["descriptions"], new["descriptions"]):
        table.add_row(*mark_words(before, after))
    table.add_row(Text(provenance(old), style="dim"), Text(provenance(new), style="dim"))
    return table


def pair_up(old: list[str], new: list[str]) -> list[tuple[str, str]]:
    """(old, new) of every new description with the old one most like it, then old ones without a new one; "": none."""
    candidates = [
        (SequenceMatcher(None, before.split(), after.split(), autojunk=False).ratio(), i, j)
        for i, before in enumerate(old)
        for j, after in enumerate(new)
    ]
    old_of: dict[int, int] = {}
    for similarity, i, j in sorted(candidates, key=lambda candidate: -candidate[0]):
        if similarity >= MIN_SIMILARITY and j not in old_of and i not in old_of.values():
            old_of[j] = i
    pairs = [(old[old_of[j]] if j in old_of else "", after) for j, after in enumerate(new)]
    return pairs + [(before, "") for i, before in enumerate(old) if i not in old_of.values()]


def mark_words(before: str, after: str) -> tuple[Text, Text]:
    """Both texts, words that only the first has in red, words that only the second has in green."""
    old_words, new_words = before.split(), after.split()
    old_text, new_text = Text(), Text()
    for kind, i, i_end, j, j_end in SequenceMatcher(None, old_words, new_words, autojunk=False).get_opcodes():
        same = kind == "equal"
        for text, words, color in ((old_text, old_words[i:i_end], "red"), (new_text, new_words[j:j_end], "green")):
            for word in words:
                text.append(f"{' ' if text else ''}{word}", style="" if same else color)
    return old_text, new_text


def provenance(entry: dict | None) -> str:
    """Where a relation's descriptions come from, in words."""
    if entry is None:
        return "there are none"
    made = [f"{entry['model']}, {entry['prompt_version']}, {entry['date']}"] if "model" in entry else []
    return "; ".join([entry["source"], *made, "reviewed" if entry["reviewed"] else "not reviewed"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--old", type=Path, help="earlier descriptions; default: none, only the new ones are shown")
    parser.add_argument("--new", type=Path, required=True, help="descriptions to review")
    parser.add_argument("--output", type=Path, required=True, help="file to write or go on with; neither of the two")
    parser.add_argument(
        "--negative_relation", help="label in --new that means none of the relations, if it does not tell"
    )
    options = parser.parse_args()
    if options.output.resolve() in {path.resolve() for path in (options.old, options.new) if path is not None}:
        parser.error("--output must be another file than --old and --new")
    console = Console()
    try:
        old = None if options.old is None else load_descriptions(options.old)
        new = load_descriptions(options.new, options.negative_relation)
        warn_of_doubts(new, options.new)
        review = Review(old, new, options.output)
        labels = review.open_labels()
        for number, label in enumerate(labels, start=1):
            if not ask_about(review, label, f"{number}/{len(labels)}  {label}", console):
                break
        if review.decided:
            review.write({})
    except (OSError, DescriptionError) as error:
        sys.exit(f"error: {in_words(error)}")
    except (EOFError, KeyboardInterrupt):
        pass  # leaving: every decision is written already
    left = len(review.open_labels())
    unreviewed = sum(not entry["reviewed"] for entry in review.decided.values())
    console.print(
        f"\n{len(review.decided)} relations in {options.output}, {unreviewed} of them not reviewed; "
        f"{left} to decide{', the same command goes on' if left else ''}",
        markup=False,
        highlight=False,
    )

# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Two sets of descriptions of one relation side by side, with the words marked that differ."""

from difflib import SequenceMatcher

from rich.table import Table
from rich.text import Text

MIN_SIMILARITY = 0.4
"""Share of common words from which on two descriptions are shown as two versions of one (0-1)."""


def side_by_side(title: str, old: dict | None, new: dict) -> Table:
    """
    A table of two columns: old and new descriptions, similar ones in one row, and where each set comes from.

    Args:
        title: what stands above it.
        old, new: entries of a relation descriptions file; None: there is no old one.
    """
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

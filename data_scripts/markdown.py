# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Any text in a page of Markdown: a card, a report, a table."""

import re


def markdown_text(text: str) -> str:
    """`text` in one line of Markdown, a table's cell or a list's item, in which no character has a meaning."""
    text = re.sub(r"[\\`*\[\]<>&|~$]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", _one_line(text))
    # At its beginning these would make a heading, a rule, or a list's item.
    return re.sub(r"^([-+#=]*|\d+)([-+#=.)])(?=\s|$)", r"\1\\\2", text)


def markdown_code(text: str) -> str:
    """`text` as a code span in one line of Markdown; not for a table, where `|` ends the cell in code, too."""
    text = _one_line(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " * (text[:1] == "`" or text[-1:] == "`")
    return f"{fence}{pad}{text}{pad}{fence}"


def _one_line(text: str) -> str:
    """`text` with single blanks for what is blank, breaks a line or is a control character."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", text).split())

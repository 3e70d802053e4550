# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Any text in a picture: no formulas, a font for every character, and a code where no font has it."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from data_scripts.writing import replacing

logger = logging.getLogger(__name__)
LONGEST = 48
"""Characters of a name in a picture; what is longer is cut in its middle."""


@contextmanager
def drawing(path: str | Path, texts: Iterable[str]) -> Iterator[tuple[Path, Callable[[str], str]]]:
    """Within it, matplotlib draws texts as they are: `$` begins no formula, and fonts are those that have `texts`.

    A character that no installed font has, or that cannot be seen, is drawn as its code, such as `\\u56fd`: names can
    still be told apart. Which ones is told in one line. Line breaks are blanks.

    Args:
        path: the picture to write, whole or not at all.
        texts: what will be drawn.

    Returns:
        A temporary path to write to, which takes the place of `path`; and a function that makes a text drawable.
    """
    from matplotlib import rc_context, rcParams

    families, missing = _find_fonts(set().union(*texts))
    if missing:
        logger.warning("%s: no installed font has %s; drawn as codes", path, " ".join(sorted(missing)[:20]))

    def drawable(text: str) -> str:
        text = "".join(" " if one.isspace() else one for one in text)
        return "".join(
            one if one.isprintable() and one not in missing else one.encode("unicode_escape").decode() for one in text
        )

    with rc_context({"text.parse_math": False, "font.family": [*rcParams["font.family"], *families]}):
        with replacing(path) as temporary:
            yield temporary, drawable


def shorten(name: str) -> str:
    """`name`, of which no more than its beginning and end stay where it is long."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST // 2]}…{name[1 - LONGEST // 2 :]}"


def _find_fonts(characters: set[str]) -> tuple[list[str], set[str]]:
    """Installed families that have what the default font lacks, and the characters that none has."""
    from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

    families, missing = [], {one for one in characters if one.isprintable()}
    candidates = [(None, findfont(FontProperties()))]
    # The last resort has a box for every character.
    candidates += [(one.name, one.fname) for one in fontManager.ttflist if not one.name.startswith("Last Resort")]
    for family, path in candidates:
        if not missing:
            break
        try:
            font = get_font(path)
            font.set_size(12, 72)  # fails for fonts made of pictures, which cannot be drawn
        except (OSError, RuntimeError):
            continue
        found = {one for one in missing if font.get_char_index(ord(one))}
        if found and family:
            families.append(family)
        missing -= found
    return families, missing

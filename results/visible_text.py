"""Control characters of texts that come from a store, escaped so that they are seen instead of obeyed.

They can move a terminal's cursor, reverse the order of what follows (U+202E), hide letters or break a table.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable

#: Categories of characters that control the display: control, format (direction, joiners), surrogates, private use,
#: unassigned (noncharacters), and the separators of lines and paragraphs.
_CONTROLS = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
#: Letters without a shape of their own: Hangul fillers, and the blank of Braille.
_BLANKS = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5")

#: Largest number of letters of a text on a page.
MOST_TEXT = 2000
#: Largest number of accents on one letter: hundreds of them cover the lines above.
_MOST_ACCENTS = 4

#: Most characters of a name in a sentence.
_NAME = 40
#: Most characters of a line of a message, unless it has many short words: about three lines on a terminal.
_LINE = 300
#: Most characters of a word in a longer line: the first of these with which it has at most `_MANY_WORDS` characters.
_WORDS = (120, 80, 60, 40, 20)
#: Most characters of a line that has many short words: several sentences of this program.
_MANY_WORDS = 1000


def visible(text: object, keep: str = "\n\t") -> str:
    r"""Return a text with control characters as escapes such as ``\x1b`` and ``\u202e``.

    Args:
        keep: control characters that stay as they are.
    """
    string = str(text)
    if string.isascii() and string.isprintable():
        return string
    return "".join(char if char in keep or not _is_control(char) else _escape(char) for char in string)


def one_line(text: object) -> str:
    r"""Return a text with control characters escaped, on one line: white space of any kind is one space.

    Line ends and tabs count as white space; other control characters do not, although ``str.split`` takes some for it.
    """
    return re.sub(r"\s+", " ", visible(re.sub(r"[ \t\r\n]+", " ", str(text)), keep="")).strip()


def bounded(text: object, most: int = MOST_TEXT) -> str:
    """Return a text on one line with control characters escaped, shortened to `most` characters."""
    line = one_line(str(text)[: 4 * MOST_TEXT])
    if len(line) > most:
        line = line[: most - 1].rstrip() + "…"
    return line if line.isascii() else _few_accents(line)


def names_text(names: Iterable[object], most: int = 60) -> str:
    """Return names for the end of a sentence: each on one line and at most 40 characters, the rest as a number."""
    texts = [one_line(name) for name in names]
    shown = [text if len(text) <= _NAME else f"{text[: _NAME - 3]}..." for text in texts[:most]]
    more = [f"and {len(texts) - most} more"] if len(texts) > most else []
    return ", ".join([*shown, *more]) or "none"


def short_lines(text: str) -> str:
    """Return a message whose lines are bounded, whatever names and values were put into it.

    A line of up to 300 characters stays as it is. In a longer one the middle of words of more than 120 characters
    (names, paths, values) is left out. If more than 1000 characters are left, so is that of shorter words, and at last
    the middle of the line.
    """
    return "\n".join(line if len(line) <= _LINE else _short_line(line) for line in text.split("\n"))


def _short_line(line: str) -> str:
    for most in _WORDS:
        shorter = re.sub(rf"\S{{{most + 1},}}", lambda word, most=most: _without_middle(word[0], most), line)  # type: ignore[misc]
        if len(shorter) <= _MANY_WORDS:
            break
    return shorter if len(shorter) <= _MANY_WORDS else _without_middle(shorter, _MANY_WORDS)


def _without_middle(text: str, most: int) -> str:
    """Return a text of `most` characters: two thirds of them from its start, the others from its end."""
    end = most // 3
    return f"{text[: most - end - 3]}...{text[-end:]}"


def _few_accents(text: str) -> str:
    groups = itertools.groupby(text, key=lambda char: bool(unicodedata.combining(char)))
    return "".join("".join(itertools.islice(chars, _MOST_ACCENTS) if accents else chars) for accents, chars in groups)


def _is_control(char: str) -> bool:
    return char in _BLANKS or unicodedata.category(char) in _CONTROLS


def _escape(char: str) -> str:
    code = ord(char)
    if char in "\n\t\r":
        return {"\n": r"\n", "\t": r"\t", "\r": r"\r"}[char]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

"""Texts of a store in a model card: shown as they are, and never Markdown, HTML, YAML or code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

from results.visible_text import one_line

#: Most characters of a text of a store in a card.
LONGEST = 600

#: Texts that no Markdown dialect changes, after underscores and brackets are escaped.
_PLAIN = re.compile(r"(?!www\.)[A-Za-z0-9À-ɏ]([\w ,.;%'()\[\]/+±=×²:–-](?!www\.))*", re.I)


def text(value: object, longest: int = LONGEST) -> str:
    """Return a text on one line that is shown literally: as it is if nothing in it can be markup, else as code."""
    line = shortened(value, longest)
    if not line:
        return "-"
    if _PLAIN.fullmatch(line) and "://" not in line:
        return re.sub(r"[_\[\]]", r"\\\g<0>", line)
    return code(line, longest)


def code(value: object, longest: int = LONGEST) -> str:
    """Return a text as inline code, which has no markup inside."""
    line = shortened(value, longest)
    if not line:
        return "-"
    # A fence that is longer than any run of backticks inside.
    fence = "`" * (max((len(run) for run in re.findall(r"`+", line)), default=0) + 1)
    padding = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{padding}{line}{padding}{fence}"


def shortened(value: object, longest: int = LONGEST) -> str:
    """Return a text on one line without control characters, of bounded length."""
    line = one_line(str(value)[: 4 * longest])
    return line if len(line) <= longest else f"{line[: longest - 3]}..."


def quoted(value: object) -> str:
    """Return a text as a string of YAML, TOML, JSON and Python at the same time, in double quotes and on one line."""
    return json.dumps(shortened(value), ensure_ascii=False)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table of cells that are escaped already, but for `|`, at which a table is split first."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(_in_table, cells))} |" for cells in lines)


def _in_table(cell: str) -> str:
    # A backslash right before the escaped `|` would escape the backslash instead: a space keeps them apart.
    return re.sub(r"\\(?=\|)", r"\\ ", cell).replace("|", r"\|")


def block(language: str, lines: Iterable[str]) -> str:
    """Return a fenced block of code. Texts of a store are put into its lines by :func:`quoted` only."""
    return "\n".join([f"```{language}", *lines, "```"])

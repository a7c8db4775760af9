"""Plain tables as Markdown, LaTeX, CSV and HTML: text in, text out, everything escaped."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Sequence
from typing import NamedTuple

_LATEX = {
    **{"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}"},
    **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "↑": r"$\uparrow$", "↓": r"$\downarrow$"},
    **{
        "−": "$-$",
        "²": r"$^2$",
        "ρ": r"$\rho$",
        "τ": r"$\tau$",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "·": r"$\cdot$",
        "|": r"\textbar{}",
        '"': "''",
    },
    # At the start of a row they would be taken for the end of the row above: \\[1ex] and \\*.
    **{"[": "{[}", "]": "{]}", "*": "{*}"},
}


class Table(NamedTuple):
    """A heading and rows of text; `numeric` says which columns are set to the right."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Sequence[bool] = ()
    notes: Sequence[str] = ()

    def right(self, column: int) -> bool:
        return bool(self.numeric[column]) if column < len(self.numeric) else column > 0


def latex_escaped(text: str) -> str:
    """Return `text` with everything that LaTeX would read as a command or a special character replaced."""
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split()))


def markdown_escaped(text: str) -> str:
    """Return `text` safe in a cell of a Markdown table: no column ends, no markup, no HTML, no line ends."""
    flat = " ".join(text.split())
    for letter in "\\`*_[]|":
        flat = flat.replace(letter, "\\" + letter)
    return flat.replace("<", "&lt;").replace(">", "&gt;")


def markdown(table: Table) -> str:
    """Return a GitHub-flavoured Markdown table under its title."""
    rules = ["---:" if table.right(index) else "---" for index in range(len(table.header))]
    lines = [f"### {markdown_escaped(table.title)}", ""] if table.title else []
    lines.append("| " + " | ".join(map(markdown_escaped, table.header)) + " |")
    lines.append("|" + "|".join(rules) + "|")
    lines += ["| " + " | ".join(map(markdown_escaped, row)) + " |" for row in table.rows]
    lines += [""] + [f"- {markdown_escaped(note)}" for note in table.notes] if table.notes else []
    return "\n".join(lines) + "\n"


def latex(table: Table) -> str:
    """Return a `table` environment that needs the package booktabs."""
    shape = "".join("r" if table.right(index) else "l" for index in range(len(table.header)))
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{latex_escaped(table.title)}}}"]
    lines += [rf"\begin{{tabular}}{{{shape}}}", r"\toprule"]
    lines.append(" & ".join(map(latex_escaped, table.header)) + r" \\")
    lines.append(r"\midrule")
    lines += [" & ".join(map(latex_escaped, row)) + r" \\" for row in table.rows]
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\footnotesize {latex_escaped(note)}" for note in table.notes]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def html_table(table: Table) -> str:
    """Return a heading, a <table> and its notes."""

    def cells(values: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=n' if table.right(index) else ''}>{html.escape(value)}</{tag}>"
            for index, value in enumerate(values)
        )

    rows = "".join(f"<tr>{cells(row, 'td')}</tr>\n" for row in table.rows)
    notes = "".join(f"<li>{html.escape(note)}</li>\n" for note in table.notes)
    return (
        f"<h2>{html.escape(table.title)}</h2>\n<div class=wide><table>\n<thead><tr>{cells(table.header, 'th')}</tr>"
        f"</thead>\n<tbody>\n{rows}</tbody></table></div>\n" + (f"<ul>\n{notes}</ul>\n" if notes else "")
    )


def csv_text(table: Table) -> str:
    """Return the header and rows as CSV (RFC 4180)."""
    buffer = io.StringIO()
    csv.writer(buffer).writerows([table.header, *table.rows])
    return buffer.getvalue()

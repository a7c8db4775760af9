"""Plain tables as Markdown, LaTeX, CSV and HTML: text in, text out, everything escaped."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from tabulate import tabulate

from results.csv_guard import csv_cell
from results.visible_text import one_line

_LATEX = str.maketrans(
    {
        **{letter: f"\\{letter}" for letter in "&%$#_{}"},
        **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}"},
        **{"<": r"\textless{}", ">": r"\textgreater{}", "`": r"\textasciigrave{}", '"': "''", "−": "$-$"},
        **{"±": r"$\pm$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "·": r"$\cdot$"},
        **{"²": r"$^2$", "ρ": r"$\rho$", "τ": r"$\tau$"},
        # At the start of a row these would be read as arguments of the line end above: \\[1ex] and \\*.
        **{"[": "{[}", "]": "{]}", "*": "{*}"},
    }
)


#: Number of letters that fit side by side into 16 cm at footnote size, and of lines that fit onto one page.
_LINE, _PAGE = 122, 48


class Table(NamedTuple):
    """Heading and rows of text.

    Attributes:
        numeric: true for the right-aligned columns.
        notes: lines below the table.
        headings: indices of rows whose first text is a heading of the rows below it; their other texts are empty.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Sequence[bool] = ()
    notes: Sequence[str] = ()
    headings: Collection[int] = ()

    def right(self, column: int) -> bool:
        return bool(self.numeric[column]) if column < len(self.numeric) else column > 0


def latex_escaped(text: str) -> str:
    """Return `text` with all LaTeX commands, special characters and control characters escaped."""
    escaped = one_line(text).translate(_LATEX)
    # Two hyphens would be typeset as a dash, and two commas as a quotation mark.
    return re.sub(r"-(?=-)|,(?=,)", r"\g<0>{}", escaped)


def markdown_escaped(text: str) -> str:
    """Return `text` safe in a cell of a Markdown table: no column ends, no markup, no HTML, no line ends.

    Nor is there a link, a mention of an account, mathematics, or the start of a heading or list.
    """
    flat = re.sub(r"[\\`*_\[\]|~$#]", r"\\\g<0>", one_line(text))
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # GitHub turns addresses into links, also without brackets, and names after an at sign into mentions.
    flat = re.sub(r"(?i)(https?|ftp|mailto|xmpp):", r"\1&#58;", flat)
    flat = re.sub(r"(?i)(www)\.", r"\1&#46;", flat)
    return re.sub(r"(?<!\w)@(?=\w)|(?<=\w)@(?=[\w-]+\.\w)", "&#64;", flat)


def _list_item(text: str) -> str:
    """Return an item of a Markdown list: what would begin a list or a rule inside of it is escaped."""
    return "- " + re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", markdown_escaped(text))


def markdown(table: Table) -> str:
    """Return a GitHub-flavoured Markdown table under its title."""
    lines = [f"### {markdown_escaped(table.title)}", ""] if table.title else []
    lines.append(
        tabulate(
            [[markdown_escaped(value) for value in row] for row in table.rows],
            headers=[markdown_escaped(name) for name in table.header],
            tablefmt="pipe",
            colalign=["right" if table.right(index) else "left" for index in range(len(table.header))],
            disable_numparse=True,
        )
    )
    lines += [""] + [_list_item(note) for note in table.notes] if table.notes else []
    return "\n".join(lines) + "\n"


def aligned(rows: Sequence[Sequence[str]], right: Sequence[bool]) -> list[str]:
    """Return the lines of a plain-text table: the first of `rows`, a rule, and the others.

    Args:
        rows: header and rows; spaces at the ends of a text are kept, so that it may be aligned within its column.
        right: true for the right-aligned columns.
    """
    rule, header, *lines, _ = tabulate(
        rows,
        tablefmt="simple",
        colalign=["right" if is_right else "left" for is_right in right],
        disable_numparse=True,
        preserve_whitespace=True,
    ).splitlines()
    return [line.rstrip() for line in (header, rule, *lines)]


def latex(table: Table) -> str:
    """Return a table that fits a page, for the packages booktabs and longtable.

    Columns that do not fit side by side continue below, with the first one repeated. A table longer than a page is a
    `longtable`, which breaks; others are a floating `table`.
    """
    blocks = _blocks(table)
    notes = [rf"\par {latex_escaped(note)}" for note in table.notes]
    start = [r"\footnotesize", r"\setlength{\tabcolsep}{3pt}"]
    caption = rf"\caption{{{latex_escaped(table.title)}}}"
    if len(blocks) * (len(table.rows) + 3) + 2 * len(notes) <= _PAGE:
        lines = [r"\begin{table}", r"\centering", caption, *start]
        for columns in blocks:
            head, body = _latex_rows(table, columns, "tabular")
            lines += [*head, *body, r"\par\medskip"]
        return "\n".join([*lines, *notes, r"\end{table}"]) + "\n"
    lines = [r"\begingroup", *start]
    for number, columns in enumerate(blocks):
        (begin, *head), body = _latex_rows(table, columns, "longtable")
        # A longtable ends the line of its caption itself, and repeats its head on every page.
        lines += [begin, *([caption + r" \\"] if number == 0 else []), *head, r"\endhead", *body]
    return "\n".join([*lines, *notes, r"\par", r"\endgroup"]) + "\n"


def _blocks(table: Table) -> list[list[int]]:
    """Return the columns in groups that fit side by side, each with the first one."""
    rows = [row for index, row in enumerate(table.rows) if index not in table.headings]
    widths = [max(len(row[index]) for row in (table.header, *rows)) + 2 for index in range(len(table.header))]
    blocks = [[0]]
    for index in range(1, len(widths)):
        if len(blocks[-1]) > 1 and sum(widths[column] for column in blocks[-1]) + widths[index] > _LINE:
            blocks.append([0])
        blocks[-1].append(index)
    return blocks


def _latex_rows(table: Table, columns: Sequence[int], environment: str) -> tuple[list[str], list[str]]:
    """Return (head, body) of some columns in a LaTeX environment, with their rules."""
    shape = "".join("r" if table.right(index) else "l" for index in columns)

    def row(values: Sequence[str]) -> str:
        return " & ".join(latex_escaped(values[index]) for index in columns) + r" \\"

    def heading(text: str) -> str:
        return rf"\multicolumn{{{len(columns)}}}{{l}}{{\emph{{{latex_escaped(text)}}}}} \\"

    head = [rf"\begin{{{environment}}}{{{shape}}}", r"\toprule", row(table.header), r"\midrule"]
    body = [heading(values[0]) if index in table.headings else row(values) for index, values in enumerate(table.rows)]
    return head, [*body, r"\bottomrule", rf"\end{{{environment}}}"]


def html_escaped(text: str) -> str:
    """Return `text` for an HTML document: markup and control characters escaped."""
    return html.escape(one_line(text))


def html_table(table: Table) -> str:
    """Return a heading, a <table> and its notes."""

    def cells(values: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=n' if table.right(index) else ''}>{html_escaped(value)}</{tag}>"
            for index, value in enumerate(values)
        )

    def row(index: int, values: Sequence[str]) -> str:
        if index in table.headings:
            return f"<th colspan={len(table.header)}>{html_escaped(values[0])}</th>"
        return cells(values, "td")

    rows = "".join(f"<tr>{row(index, values)}</tr>\n" for index, values in enumerate(table.rows))
    notes = "".join(f"<li>{html_escaped(note)}</li>\n" for note in table.notes)
    return (
        f"<h2>{html_escaped(table.title)}</h2>\n<div class=wide><table>\n<thead><tr>{cells(table.header, 'th')}</tr>"
        f"</thead>\n<tbody>\n{rows}</tbody></table></div>\n" + (f"<ul>\n{notes}</ul>\n" if notes else "")
    )


def csv_text(table: Table) -> str:
    """Return the header and rows as CSV (RFC 4180), guarded as in :mod:`results.csv_guard`."""
    buffer = io.StringIO()
    csv.writer(buffer).writerows([map(csv_cell, row) for row in (table.header, *table.rows)])
    return buffer.getvalue()

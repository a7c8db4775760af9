"""Hostile texts in every form of a table: the form keeps its shape, and the text is read back as it is seen."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from html.parser import HTMLParser

import pandas as pd
import pytest
from hostile_texts import hostile_texts

from results.csv_guard import csv_cell, unguarded
from results.export import csv_text as frame_csv
from results.tables import Table, csv_text, html_table, latex, latex_escaped, markdown
from results.visible_text import one_line, visible

TEXTS = hostile_texts(400)
#: Two columns of hostile texts, as header, rows and notes.
TABLE = Table(TEXTS[0], TEXTS[1:3], [[a, b] for a, b in zip(TEXTS, reversed(TEXTS), strict=True)], (), TEXTS, [3])

COMMANDS = {
    *("begin", "end", "centering", "caption", "footnotesize", "setlength", "tabcolsep", "toprule", "midrule", "par"),
    *("bottomrule", "medskip", "begingroup", "endgroup", "endhead", "multicolumn", "emph"),
    *("textbackslash", "textasciitilde", "textasciicircum", "textasciigrave", "textbar", "textless", "textgreater"),
    *("pm", "uparrow", "downarrow", "cdot", "rho", "tau"),
}


def is_shown(text: str) -> bool:
    """No character of the text controls the display."""
    return all(unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for char in text)


@pytest.mark.parametrize("rows", [len(TEXTS), 5])
def test_latex_has_known_commands_and_balanced_braces(rows: int) -> None:
    text = latex(TABLE._replace(rows=TABLE.rows[:rows], notes=TABLE.notes[:rows]))
    assert is_shown(text.replace("\n", ""))
    plain = re.sub(r"\\[&%$#_{}\\]", "", text)
    assert set(re.findall(r"\\([A-Za-z]+)", plain)) <= COMMANDS and not re.search(r"\\[^A-Za-z]", plain)
    assert plain.count("$") % 2 == 0 and "%" not in plain and "#" not in plain and "^^" not in plain
    depth = 0
    for char in plain:
        depth += {"{": 1, "}": -1}.get(char, 0)
        assert depth >= 0
    assert depth == 0
    lines = [line for line in plain.splitlines() if line.endswith(" ") and "multicolumn" not in line]
    assert all(line.count("&") == 1 for line in lines if not re.match(r"\\(caption|par)\b", line))


@pytest.mark.parametrize("text", ["``", "''", ",,", "---", "?`x", "!`x", "a\u202eb"])
def test_latex_joins_no_letters(text: str) -> None:
    assert not re.search(r"``|,,|--|[?!]`", latex_escaped(text)) and "\u202e" not in latex_escaped(text)


def cells_of(line: str) -> int:
    return len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) - 1


def test_markdown_rows_have_equal_numbers_of_cells_and_no_markup() -> None:
    text = markdown(TABLE)
    title, blank, *lines = text.splitlines()
    rows, notes = lines[: lines.index("")], lines[lines.index("") + 1 :]
    assert title.startswith("### ") and not blank and len(rows) == len(TEXTS) + 2 and len(notes) == len(TEXTS)
    assert {cells_of(row) for row in rows} == {2} and all(note.startswith("- ") for note in notes)
    assert is_shown(text.replace("\n", "")) and "<" not in text and ">" not in text
    assert not re.search(r"&(?!(amp|lt|gt|#\d+);)", text)
    assert not re.search(r"(?<!\\)(?:\\\\)*[*_`~$\[\]]", text)
    assert not re.search(r"https?:|www\.|(?<!\w)@\w", text)
    assert not any(re.match(r"- (\d*[-+=.)]|[#>])", note) for note in notes)


class Reader(HTMLParser):
    """Tags and texts of a page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self.open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert {name for name, _ in attrs} <= {"class", "colspan"}
        if tag in ("td", "th", "li", "h2"):
            self.texts.append("")
            self.open = True

    def handle_endtag(self, tag: str) -> None:
        self.open = self.open and tag not in ("td", "th", "li", "h2")

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[-1] += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)


def test_html_is_parsed_to_the_same_texts() -> None:
    reader = Reader()
    reader.feed(html_table(TABLE._replace(headings=())))
    cells = [TABLE.title, *TABLE.header, *(value for row in TABLE.rows for value in row), *TABLE.notes]
    assert reader.texts == [one_line(text) for text in cells] and all(map(is_shown, reader.texts))
    assert reader.tags == {"h2", "div", "table", "thead", "tbody", "tr", "td", "th", "ul", "li"}


def first_of_formula(cell: str) -> bool:
    """A program that skips white space, quotes and control characters would see a formula."""
    seen = unicodedata.normalize("NFKC", cell).lstrip(' \t\r\n\xa0\u3000"').replace("−", "-")
    return seen[:1] in ("=", "+", "-", "@") and not re.fullmatch(r"-|[-+][\d.]+(e\d+)?", seen.strip())


def test_csv_cells_are_no_formulas_and_are_read_back() -> None:
    rows = list(csv.reader(io.StringIO(csv_text(TABLE))))
    assert len(rows) == len(TEXTS) + 1
    for row, texts in zip(rows[1:], TABLE.rows, strict=True):
        for cell, text in zip(row, texts, strict=True):
            assert not any(map(first_of_formula, cell.split(";"))) and is_shown(cell), cell
            assert unguarded(cell) == visible(text, keep="")
    frame = pd.DataFrame({"=label": TEXTS, "value": [-0.5 * number for number in range(len(TEXTS))]})
    back = pd.read_csv(io.StringIO(frame_csv(frame)), keep_default_na=False)
    assert back.columns.tolist() == ["'=label", "value"] and back["value"].tolist() == frame["value"].tolist()
    assert back["'=label"].map(unguarded).tolist() == [visible(text, keep="") for text in TEXTS]


@pytest.mark.parametrize(
    "text",
    ["-0.5", "-", "+3", "-1.20 ± 0.30", "-1.2 [-3.0, 0.5] n=2 of 800 best", "1e-5", "-inf", "a-b", "k=3", "", "x; y"],
)
def test_numbers_and_usual_names_stay_as_they_are(text: str) -> None:
    assert csv_cell(text) == text == unguarded(text)


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1", "'=1"), (" =1", "' =1"), ("\t=1", "'\\t=1"), ("＝1", "'＝1"), ('"=1', "'\"=1"), ("-1+cmd", "'-1+cmd"),
        ("a;=1", "a;'=1"), ("'=1", "''=1"), ("\u202e=1", "'\\u202e=1"), ("-1 ± 2; @x", "-1 ± 2;' @x"),
    ],
)  # fmt: skip
def test_what_a_guarded_cell_looks_like(text: str, cell: str) -> None:
    assert csv_cell(text) == cell and unguarded(cell) == visible(text, keep="")


def test_control_characters_are_seen() -> None:
    assert visible("a\x1b[1m\u202eb\n\tc\ue000\u2028") == "a\\x1b[1m\\u202eb\n\tc\\ue000\\u2028"
    assert one_line(" a\n\n b\x1cc\xa0d ") == "a b\\x1cc d"
    assert visible("é猫🙂") == "é猫🙂"

"""Choices of the reader: stored in the address, so that they can be shared, and in the session, shared by all pages.

The address has priority. A widget is set from it at every run and writes into it when it is changed, so that links,
bookmarks and the browser's back button work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import streamlit as st

from results.app.titles import distinct, visible
from results.boards.board import Board, Row
from results.boards.trials import WARNING


class Choice(NamedTuple):
    """Row and its board."""

    board: Board
    row: Row


def select(
    label: str,
    options: Sequence[str],
    parameter: str,
    titles: Sequence[str],
    *,
    default: str | None = None,
    find: Callable[[str], str | None] | None = None,
    write: Callable[[str], str] | None = None,
    unknown: str | None = None,
    help: str | None = None,
) -> str:
    """Let the reader choose one of `options`.

    Args:
        label: label of the widget; unique on its page.
        options: at least one, all different.
        parameter: parameter of the address.
        titles: titles of the options; equal titles are made distinct here.
        default: option if neither the address nor the session names one; None: the first.
        find: text of the address -> option or None; without it the text is the option.
        write: option -> text of the address; without it the option is the text.
        unknown: warning if the address names a missing option; None: no warning.
        help: tooltip.
    """
    key = f"{label} on {st.session_state.get('page')}"
    find = find or (lambda text: text if text in options else None)
    texts = write or str
    given = st.query_params.get(parameter)
    wanted = str(given or st.session_state.get(f"chosen_{parameter}") or "")
    option = find(wanted) if wanted else None
    if option is None and given is not None and unknown:
        st.warning(unknown)
    if option is None:
        option = default if default is not None and default in options else options[0]
        wanted = texts(option)
    if st.session_state.get(key) != option:
        st.session_state[key] = option
    # Streamlit identifies options by their displayed text, hence `distinct`.
    named = dict(zip(options, distinct(titles), strict=True))
    chosen: str = st.selectbox(
        label,
        list(options),
        key=key,
        on_change=lambda: remember(parameter, texts(st.session_state[key])),
        format_func=lambda option_text: named.get(option_text, ""),
        help=help,
    )
    remember(parameter, wanted if chosen == option else texts(chosen))
    return chosen


def board_of(boards: Sequence[Board]) -> Board:
    """Let the reader choose a board by backbone and site, and by its sets if several are left; warn of a trial."""
    return warned(choose_board(boards))


def choose_board(boards: Sequence[Board], *, stacked: bool = False) -> Board:
    """Let the reader choose a board as in `board_of`, with the widgets one below the other if `stacked`."""
    titles = {board.backbone: board.backbone_title for board in boards}
    left, middle, right = [st.container() for _ in range(3)] if stacked else st.columns(3)
    with left:
        backbone = select("Backbone", list(titles), "backbone", list(titles.values()))
    boards = [board for board in boards if board.backbone == backbone]
    with middle:
        sites = list(dict.fromkeys(board.site for board in boards))
        site = select("Site", sites, "site", sites)
    boards = [board for board in boards if board.site == site]
    if len(boards) == 1:
        if not stacked:
            right.text_input("Image set", visible(boards[0].dataset or "not recorded"), disabled=True)
        return boards[0]
    # Sets may differ only in a fingerprint.
    keys = [_sets(board) for board in boards]
    with right:
        help_text = "Cells of different sets are never ranked together."
        chosen = select("Image, evaluation and probing set", keys, "set", keys, help=help_text)
    return boards[keys.index(chosen)]


def chosen_layer(boards: Sequence[Board]) -> tuple[str, str] | None:
    """Return backbone title and site of the board that the reader has chosen on a page, else of the first board."""
    chosen = [st.session_state.get(f"chosen_{parameter}") for parameter in ("backbone", "site")]
    layers = [(board.backbone_title, board.site) for board in boards if [board.backbone, board.site] == chosen]
    layers += [(board.backbone_title, board.site) for board in boards[:1]]
    return layers[0] if layers else None


def row_of(
    boards: Sequence[Board], parameter: str = "cell", label: str = "Method", *, default: Choice | None = None
) -> Choice:
    """Let the reader choose a row of any board; the address names one of its cells in `parameter`.

    Without a `default` it is the first row.
    """
    rows = [Choice(board, row) for board in boards for row in board.rows]
    by_key = {f"{choice.row.config_id} {choice.row.label} {number}": choice for number, choice in enumerate(rows)}
    keys = list(by_key)
    several = len(boards) > 1
    titles = [
        choice.row.title_with_flags + (f" · {choice.board.backbone_title} · {choice.board.site}" if several else "")
        for choice in rows
    ]
    repeated = {title for title in titles if titles.count(title) > 1}
    chosen = select(
        label,
        keys,
        parameter,
        [
            f"{title} · {_sets(choice.board)}" if title in repeated else title
            for title, choice in zip(titles, rows, strict=True)
        ],
        default=next((key for key, choice in by_key.items() if default and choice.row is default.row), None),
        find=lambda cell: next((key for key, choice in by_key.items() if cell in choice.row.cell_ids), None),
        write=lambda key: by_key[key].row.cell_ids[0],
        unknown="This store does not have the cell that the address names.",
    )
    warned(by_key[chosen].board)
    return by_key[chosen]


def remember(parameter: str, value: str) -> None:
    """Put a choice into the address and into the session."""
    st.session_state[f"chosen_{parameter}"] = value
    if st.query_params.get(parameter) != value:
        st.query_params[parameter] = value


def warned(board: Board) -> Board:
    """Return the board, and warn at the top of the page if it is a trial: its charts look like any other."""
    if WARNING in board.notes:
        st.warning(WARNING)
    return board


def _sets(board: Board) -> str:
    parts = (board.dataset, board.evaluation_fingerprint, board.probing_fingerprint)
    return " · ".join(visible(part)[:20] for part in parts if part) or "not recorded"

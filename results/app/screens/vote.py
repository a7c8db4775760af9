"""Vote: two grids side by side, and which of them shows one concept. Nothing here names methods, cells or units."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import streamlit as st
from PIL import Image

from results.app import address, data, voting
from results.app.pictures import embedded
from results.app.titles import plain, visible
from results.app.units.notes import note
from results.app.widgets import select
from results.errors import StoreError
from results.people.annotators import MAX_NAME, annotator_name
from results.people.ballot import Ballot, Question, ballot_ids, grid_file, read_ballot, readable_ballots
from results.people.standing import Standing, shuffled
from results.people.votes import SKIP, TIE, A, B

#: Bounds of a picture from anywhere: bytes of the file, and pixels along a side.
_MAX_BYTES, _MAX_PX = 16 * 2**20, 4096
#: Pixels along a side of what is sent: a grid has 1008.
_PX = 1008
#: Most ballots to choose from.
_MAX_BALLOTS = 20
#: Most questions whose pictures are looked for: a folder may have lost all of half a million.
_MOST_TRIED = 200
#: Action -> text of the button, key that presses it, and tooltip.
_BUTTONS = {
    A: ("Grid A", "A", "Grid A shows one concept more clearly"),
    B: ("Grid B", "B", "Grid B shows one concept more clearly"),
    TIE: ("Tie", "T", "Neither is clearer than the other"),
    SKIP: ("Skip", "S", "Show this pair again at the end"),
}
_TAKE_IN = "`harness judge --panel people` with the options that made this ballot takes the votes into the store."


class Pair(NamedTuple):
    """Question with its two pictures."""

    question: Question
    a: bytes
    b: bytes


def render() -> None:
    """Show the page."""
    folder = data.folder()
    try:
        if not voting.is_allowed():
            st.title("Vote")
            st.info(
                "This app is open to other machines and has no password, so it takes no votes. To let people vote, "
                "start it with `harness app --votes`, or on a local address."
            )
        elif ids := ballot_ids(folder):
            _show(folder, ids)
        else:
            st.title("Vote")
            st.info(
                "There is nothing to vote on yet. `harness judge --suite demo --panel people --judge NAME --pairs 1` "
                "draws the pairs and writes the ballot; NAME is yours."
            )
    except StoreError as error:
        st.error(plain(str(error)), icon=":material/error:")


def _show(folder: Path, ids: list[str]) -> None:
    asked = address.get("tournament")
    if len(ids) == 1 and not st.query_params.get("tournament"):
        # Another page may have chosen a tournament that has no ballot.
        asked = ids[0]
    name = _annotator()
    if name is None or asked not in ids:
        st.title("Vote")
        _start(folder, ids, asked)
        return
    ballot = read_ballot(folder, asked)
    address.put(tournament=asked, annotator=name)
    standing = voting.standing_of(ballot, name, folder)
    if failed := voting.failure():
        st.error(plain(failed), icon=":material/error:")
    pair = _first_with_pictures(folder, standing.waiting)
    if pair is not None:
        _ask(folder, ballot, name, standing, pair)
    else:
        _finished(folder, ballot, name, standing)


def _annotator() -> str | None:
    """Return the annotator of the address; None if there is none, or no name."""
    given = address.get("annotator")
    try:
        return annotator_name(given) if given else None
    except StoreError as error:
        st.warning(plain(str(error)))
        return None


def _start(folder: Path, ids: list[str], asked: str) -> None:
    """Let the reader enter a name, and choose a ballot if there are several."""
    if asked and asked not in ids and st.query_params.get("tournament"):
        st.warning("There is no ballot of the tournament that the address names.")
    chosen = asked if asked in ids else ids[0]
    if len(ids) > 1 and asked not in ids:
        ballots = readable_ballots(folder)[:_MAX_BALLOTS]
        listed = [ballot.tournament for ballot in ballots]
        titles = [f"{ballot.title}, {len(ballot.questions)} questions" for ballot in ballots]
        chosen = select("Ballot", listed, "ballot", titles)
    _instruct(read_ballot(folder, chosen))
    with st.form("annotator", border=False):
        name = st.text_input(
            "Your name", max_chars=MAX_NAME, placeholder="letters, digits, - and _", key="name of annotator", width=320
        )
        if st.form_submit_button("Start"):
            try:
                address.put(tournament=chosen, annotator=annotator_name(name))
            except StoreError as error:
                st.warning(plain(str(error)))
            else:
                st.rerun()
    note(
        "Keys: A and B for the grids, T for a tie, S to skip a pair until the end, U to undo. Your votes are kept "
        "under your name: enter the same name to go on another time."
    )


def _first_with_pictures(folder: Path, waiting: Sequence[Question]) -> Pair | None:
    """Return the first question whose grids can be shown; None if none of those that are looked at can."""
    for question in waiting[:_MOST_TRIED]:
        a, b = (_picture(folder, key) for key in (question.grid_a, question.grid_b))
        if a is not None and b is not None:
            return Pair(question, a, b)
    return None


def _ask(folder: Path, ballot: Ballot, name: str, standing: Standing, pair: Pair) -> None:
    question = pair.question
    with st.container(horizontal=True, vertical_alignment="center", key="vote_head"):
        st.title("Which grid shows one concept?", anchor=False, width="content")
        _progress(ballot, name, standing)
    with st.container(key="vote_grids"):
        for column, label, picture in zip(st.columns(2), "AB", (pair.a, pair.b), strict=True):
            with column:
                st.markdown(f"**{label}**")
                st.image(embedded(picture, "jpeg"), alt=f"Grid {label}: nine images.", width="stretch")
    # A key of its own per question: a press that was meant for the pair before does nothing on the next.
    number = shuffled(ballot, name).index(question)
    with st.container(horizontal=True, horizontal_alignment="center", key="vote_buttons"):
        for action, (label, shortcut, help_text) in _BUTTONS.items():
            st.button(
                label,
                key=f"vote {action} {number}",
                shortcut=shortcut,
                help=help_text,
                on_click=voting.cast,
                args=(ballot, name, folder, question, action),
            )
        _undo(folder, ballot, name, standing)
    voting.start_clock(question)
    with st.expander("Instruction"):
        _instruct(ballot)


def _instruct(ballot: Ballot) -> None:
    for paragraph in ballot.instruction.split("\n\n"):
        st.text(visible(" ".join(paragraph.split())))


def _progress(ballot: Ballot, name: str, standing: Standing) -> None:
    n_answered, n = len(standing.answered), len(ballot.questions)
    skipped = f", {standing.n_skipped} skipped" if standing.n_skipped else ""
    st.markdown(f"{n_answered} of {n}{skipped}", width="content")
    with st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center"):
        st.markdown(f"as **{plain(name)}**", width="content")
        st.button("Change name", key="change name", type="tertiary", on_click=_forget)


def _undo(folder: Path, ballot: Ballot, name: str, standing: Standing) -> None:
    last = standing.last
    number = -1 if last is None else shuffled(ballot, name).index(last.question)
    st.button(
        "Undo",
        key=f"undo {number}",
        shortcut="U",
        help="Take back the last vote",
        disabled=last is None,
        on_click=voting.undo,
        args=(ballot, name, folder, None if last is None else last.question),
    )


def _finished(folder: Path, ballot: Ballot, name: str, standing: Standing) -> None:
    n_left = len(standing.waiting)
    title = "All questions are answered" if ballot.questions and not n_left else "There is nothing left to ask"
    with st.container(horizontal=True, vertical_alignment="center", key="vote_head"):
        st.title(title, anchor=False, width="content")
        _progress(ballot, name, standing)
    if n_left:
        some = "1 pair has" if n_left == 1 else f"{n_left} pairs have"
        pairs = some if n_left <= _MOST_TRIED else f"At least {_MOST_TRIED} pairs have"
        st.warning(
            f"{pairs} no answer, because their pictures in grids/ beside the store are missing or cannot be read. "
            "Delete those that cannot be read, and repeat `harness judge --panel people` with the options that made "
            "this ballot: it draws them again.",
            icon=":material/broken_image:",
        )
    elif not ballot.questions:
        st.info("This ballot has no questions.")
    if standing.answered:
        st.success(f"Thank you, {plain(name)}. {_TAKE_IN}", icon=":material/check:")
    _undo(folder, ballot, name, standing)


def _forget() -> None:
    address.put(annotator="")


def _picture(folder: Path, key: str) -> bytes | None:
    """Return the picture of a grid; None if it is missing, too large, or no picture."""
    file = grid_file(folder, key)
    try:
        status = file.stat() if file.is_file() else None
    except OSError:
        return None
    if status is None or status.st_size > _MAX_BYTES:
        return None
    return _drawn(file, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=64)
def _drawn(file: Path, stamp: int, size: int) -> bytes | None:
    """Return a picture drawn again, without what else is in the file; `stamp` and `size` are those of its change."""
    buffer = io.BytesIO()
    try:
        with Image.open(file, formats=["JPEG"]) as opened:
            if max(opened.size) > _MAX_PX:
                return None
            picture = opened.convert("RGB")
            picture.thumbnail((_PX, _PX))
            picture.save(buffer, "JPEG", quality=92)
    except Exception:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more.
        return None
    return buffer.getvalue()


if __name__ == "__main__":
    render()

"""Votes cast on the page: who may vote, and what a press of a button does."""

from __future__ import annotations

import os
import time
from pathlib import Path

import streamlit as st

from results.app import data
from results.errors import StoreError
from results.people.ballot import Ballot, Question
from results.people.standing import Standing, standing
from results.people.votes import UNDO, Vote, append_votes, read_votes

#: Addresses of the server that no other machine can reach.
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_SHOWN, _FAILED = "vote shown", "vote failed"


def is_allowed() -> bool:
    """Return whether the page takes votes: the app is open to this machine alone, or was started with `--votes`.

    Everybody who reaches an app without a password could write files to this machine, and vote under any name.
    """
    return os.environ.get(data.VOTES_VARIABLE) == "1" or st.get_option("server.address") in _LOCAL


def standing_of(ballot: Ballot, annotator: str, folder: Path) -> Standing:
    """Return the standing of an annotator, from the votes on the disk.

    Raises:
        StoreError: they cannot be read.
    """
    return standing(ballot, annotator, read_votes(folder, annotator).votes)


def start_clock(question: Question) -> None:
    """Start the clock of a question that is shown now, unless it was shown before."""
    if st.session_state.get(_SHOWN, (None, 0.0))[0] != question:
        st.session_state[_SHOWN] = question, time.monotonic()


def cast(ballot: Ballot, annotator: str, folder: Path, question: Question, action: str) -> None:
    """Write what the annotator did with a question to the disk; a failure is shown by the next page.

    A press that comes late, in another tab or before the next pair is drawn, must not replace a vote that was cast.
    """
    shown, since = st.session_state.get(_SHOWN, (None, 0.0))
    seconds = time.monotonic() - since if shown == question else None
    _write(folder, annotator, ballot, question, action, seconds)


def undo(ballot: Ballot, annotator: str, folder: Path, question: Question) -> None:
    """Take back the last vote, which is on this question; a late press takes nothing else back."""
    _write(folder, annotator, ballot, question, UNDO, None)


def failure() -> str | None:
    """Return why the last vote was not saved, once."""
    text: str | None = st.session_state.pop(_FAILED, None)
    return text


def _write(
    folder: Path, annotator: str, ballot: Ballot, question: Question, action: str, seconds: float | None
) -> None:
    try:
        now = standing_of(ballot, annotator, folder)
        is_late = (now.last is None or now.last.question != question) if action == UNDO else question in now.answered
        if not is_late:
            append_votes(folder, annotator, [Vote(question, action, seconds)])
    except StoreError as error:
        st.session_state[_FAILED] = str(error)

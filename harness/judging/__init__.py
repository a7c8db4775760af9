"""Judging of units: win rates from pairs (LLM Rank), and concepts that are named and detected (:mod:`.explaining`)."""

# Imported for its side effect: registers the packaged networks with the proxy panel.
import harness.judging.encoders  # noqa: F401
from harness.judging import people
from harness.judging.after_run import check_panel, judge_run, panel_problems
from harness.judging.scoring import rescore
from harness.judging.selection import cells_in_store
from harness.judging.tournament import JudgedContest, Planned, evaluation_images, judge, plan

__all__ = [
    "JudgedContest",
    "Planned",
    "cells_in_store",
    "check_panel",
    "evaluation_images",
    "judge",
    "judge_run",
    "panel_problems",
    "people",
    "plan",
    "rescore",
]

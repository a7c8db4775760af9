"""LLM Rank: a panel of judges compares units of every pair of methods, which gives win rates."""

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

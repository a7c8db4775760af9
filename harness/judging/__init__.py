"""LLM Rank: units of every pair of methods, shown to a panel of judges, and what follows from the answers."""

# Imported for its effect: networks join the proxy panel.
import harness.judging.encoders  # noqa: F401
from harness.judging.after_run import check, foreseen, judge_run
from harness.judging.scoring import rescore
from harness.judging.selection import cells_in_store
from harness.judging.tournament import JudgedContest, Planned, evaluation_images, judge, plan

__all__ = [
    "JudgedContest",
    "Planned",
    "cells_in_store",
    "check",
    "evaluation_images",
    "foreseen",
    "judge",
    "judge_run",
    "plan",
    "rescore",
]

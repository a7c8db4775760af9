"""Verdict on stability from stored scores: versions, left-out units, and the level of random dictionaries."""

from __future__ import annotations

from typing import Any

from results.reports.properties import _stable


def stability_row(**changes: Any) -> dict[str, Any]:
    row = {"group_id": "g", "metric": "stability", "version": 2, "value": 0.9, "n": 3, "cell_ids": ["a", "b", "c"]}
    return {**row, "details": {"chance": 0.1, "identical_pairs": 0}, **changes}


def test_a_score_that_left_silent_units_out_gives_no_verdict() -> None:
    """Version 1 counts every atom if no unit was silent; otherwise its value is not that of the threshold."""
    details = {"silent": [0, 0], "zero": [0, 0], "atoms": [8, 8], "matching": "whole dictionary"}
    verdicts_of = {
        "nothing was left out": details,
        "silent": {**details, "silent": [0, 1]},
        "zero": {**details, "zero": [1, 0]},
        "surplus": {**details, "atoms": [8, 7]},
        "nothing is known": None,
    }
    verdict_of = {name: _stable([stability_row(version=1, details=one)])[0] for name, one in verdicts_of.items()}
    assert verdict_of == {"nothing was left out": "yes", **dict.fromkeys(list(verdicts_of)[1:], "unknown")}
    # Sub-units of length zero and unequal counts are treated equally by both versions.
    split = {**details, "matching": "per parent unit", "zero": [1, 0], "atoms": [8, 7]}
    assert _stable([stability_row(version=1, details=split)])[0] == "yes"


def test_the_newest_version_decides_whatever_its_cells() -> None:
    rows = [stability_row(version=1, cell_ids=list("abcd"), group_id="h"), stability_row(value=0.5)]
    assert _stable(rows)[0] == "no"


def test_a_threshold_that_random_dictionaries_reach_gives_no_verdict() -> None:
    """In few dimensions every dictionary finds partners."""
    verdict, evidence = _stable([stability_row(details={"chance": 0.9, "identical_pairs": 0})])
    assert verdict == "unknown" and "random dictionaries of this shape reach the threshold" in evidence
    assert _stable([stability_row(details={"chance": 0.9, "identical_pairs": 3})])[0] == "yes"
    assert _stable([stability_row(value=0.5, details={"chance": 0.9, "identical_pairs": 0})])[0] == "no"

"""Versions of the stability scores."""

from __future__ import annotations

import pytest

from results.store.stability_versions import counts_every_atom, without_superseded


@pytest.mark.parametrize(
    ("metric", "version", "expected"),
    [
        ("stability", 1, False),
        ("stability", 2, True),
        ("stability_writer", 2, True),
        ("token_sensitivity", 1, False),
        ("stability_alive", 1, False),
        ("stability_alive", 2, False),
    ],
)
def test_which_scores_count_every_atom(metric: str, version: int, expected: bool) -> None:
    assert counts_every_atom({"metric": metric, "version": version}) == expected


def test_only_older_versions_of_the_same_group_and_metric_are_left_out() -> None:
    rows = [
        {"group_id": group, "metric": metric, "version": version}
        for group, metric, version in [
            ("a", "stability", 1),
            ("a", "stability", 2),
            ("a", "stability_alive", 1),
            ("b", "stability", 1),
        ]
    ]
    assert without_superseded(rows) == rows[1:]
    assert without_superseded([]) == []

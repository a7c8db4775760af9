"""Columns that a proxy panel judged are named after it."""

from __future__ import annotations

import pytest

from results.boards.board import Column
from results.boards.lead_columns import column_name, heading
from results.boards.panel_kind import is_proxy


def column(metric: str, panel: str | None, key: str = "") -> Column:
    return Column(
        key=key or metric,
        metric=metric,
        version=2,
        params={},
        panel=panel,
        evaluation_fingerprint=None,
        device=None,
        unit="fraction",
        direction="higher",
    )


@pytest.mark.parametrize(
    ("panel", "is_one"),
    [("proxy:dinov2+clip", True), ("proxy", True), ("vllm:qwen", False), ("", False), (None, False)],
)
def test_a_panel_of_encoders_is_a_proxy(panel: str | None, is_one: bool) -> None:
    assert is_proxy(panel) is is_one


def test_a_win_rate_of_a_proxy_says_so_unless_a_badge_does() -> None:
    proxy = column("win_rate", "proxy:dinov2", key="win_rate[proxy:dinov2]")
    assert column_name(proxy) == "proxy win rate[proxy:dinov2]"
    assert column_name(proxy, with_variant=False) == "proxy win rate"
    assert column_name(proxy, with_panel=False, with_variant=False) == "win rate"
    assert heading(column("win_rate", "proxy:dinov2")) == "proxy win rate (%) ↑"
    assert column_name(column("win_rate", "vllm:qwen")) == "win rate" and column_name(column("r2", None)) == "R2"

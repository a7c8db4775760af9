"""Time spans in words."""

from __future__ import annotations

import pytest

from results.duration_text import duration_text


@pytest.mark.parametrize(
    ("seconds", "text", "rough"),
    [
        (None, "–", "–"),
        (float("nan"), "–", "–"),
        (float("inf"), "–", "–"),
        (-0.5, "0 s", "0 s"),
        (0.0, "0 s", "0 s"),
        (0.02, "<0.1 s", "0 s"),
        (0.2, "0.2 s", "0 s"),
        (9.94, "9.9 s", "10 s"),
        (9.96, "10.0 s", "10 s"),
        (99.4, "99.4 s", "99 s"),
        (99.6, "99.6 s", "2 min"),
        (99.96, "1 min 40 s", "2 min"),
        (142.4, "2 min 22 s", "2 min"),
        (180, "3 min", "3 min"),
        (599.6, "10 min", "10 min"),
        (5400, "90 min", "90 min"),
        (7200, "2 h", "2 h"),
        (12000, "3 h 20 min", "3 h 20 min"),
        (48 * 3600, "2 d", "2 d"),
        (52.4 * 3600, "2 d 4 h", "2 d 4 h"),
    ],
)
def test_a_time_span_is_written_as_people_say_it(seconds: float | None, text: str, rough: str) -> None:
    assert duration_text(seconds) == text
    assert duration_text(seconds, is_rough=True) == rough

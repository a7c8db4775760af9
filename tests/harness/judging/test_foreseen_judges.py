"""A panel that cannot judge is reported before the cells run, and does not stop them."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import suite_of

from harness.judging import panel_problems
from harness.progress import Silent
from harness.run import run


class Recorded(Silent):
    """Records all messages in order."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def say(self, sentence: str) -> None:
        self.messages.append(sentence)

    def cell(self, title: str, outcome: str) -> None:
        self.messages.append(f"cell {title}")


def test_problem_is_reported_first_and_the_cells_run(tmp_path: Path, photo_folder: Path) -> None:
    judging = {"panel": "proxy", "judges": [{"name": "gradientz"}]}
    suite = suite_of(photo_folder, methods=[{"name": "identity"}, {"name": "random_split"}], judging=judging)
    reporter = Recorded()
    summary = run(suite, tmp_path / "r.duckdb", device="cpu", reporter=reporter)
    assert summary.failed == 0 and summary.finished == len(summary.cell_ids)
    first = next(number for number, sentence in enumerate(reporter.messages) if sentence.startswith("cell "))
    warned = [number for number, sentence in enumerate(reporter.messages) if "no proxy encoder 'gradientz'" in sentence]
    assert warned[0] < first and reporter.messages[warned[0]].startswith("Judging will be skipped")


@pytest.mark.parametrize(
    ("judging", "reason"),
    [
        (None, None),
        ({"panel": "proxy", "judges": [{"name": "gradients"}]}, None),
        ({"panel": "proxy", "judges": [{"name": "gradients"}, {"name": "colour_texture"}]}, "odd number of judges"),
        ({"panel": "openai", "judges": [{"name": "m", "base_url": "http://localhost:1/v1"}]}, None),
        ({"panel": "openai", "judges": [{"name": "m"}]}, "The server of 'm' has no valid address"),
        ({"panel": "openai", "options": {"api_key": "x"}}, "Allowed are base_url, api_key_env"),
        ({"panel": "vllm", "options": {"temperature": 1}}, "has no option 'temperature'"),
    ],
)
def test_panel_problems(
    monkeypatch: pytest.MonkeyPatch, photo_folder: Path, judging: dict[str, object] | None, reason: str | None
) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    problems = panel_problems(suite_of(photo_folder, "identity", judging=judging), ["tiny_vit", "tiny_vit"])
    assert len(problems) == (reason is not None) and (reason is None or reason in problems[0])

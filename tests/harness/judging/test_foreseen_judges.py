"""A panel that cannot judge is said before hours are spent, and keeps no cell from being run."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import suite_of

from harness.judging import foreseen
from harness.progress import Silent
from harness.run import run


class Heard(Silent):
    """Everything that is told, in its order."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def say(self, sentence: str) -> None:
        self.told.append(sentence)

    def cell(self, title: str, outcome: str) -> None:
        self.told.append(f"cell {title}")


def test_it_is_said_first_and_the_cells_run(tmp_path: Path, photo_folder: Path) -> None:
    judging = {"panel": "proxy", "judges": [{"name": "gradientz"}]}
    suite = suite_of(photo_folder, methods=[{"name": "identity"}, {"name": "random_split"}], judging=judging)
    heard = Heard()
    summary = run(suite, tmp_path / "r.duckdb", device="cpu", reporter=heard)
    assert summary.failed == 0 and summary.finished == len(summary.cell_ids)
    first = next(number for number, sentence in enumerate(heard.told) if sentence.startswith("cell "))
    warned = [number for number, sentence in enumerate(heard.told) if "no proxy encoder 'gradientz'" in sentence]
    assert warned[0] < first and heard.told[warned[0]].startswith("Nothing will be judged at the end as things are")


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
def test_what_is_foreseen(
    monkeypatch: pytest.MonkeyPatch, photo_folder: Path, judging: dict[str, object] | None, reason: str | None
) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    found = foreseen(suite_of(photo_folder, "identity", judging=judging), ["tiny_vit", "tiny_vit"])
    assert len(found) == (reason is not None) and (reason is None or reason in found[0])

"""Journal of a run: counted cells, the time left, and a log file that never stops a run."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from harness.progress import Reporter, Terminal
from harness.run.journal import Journal
from results.app.run_progress import step_of


class Heard(Reporter):
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.left: list[float | None] = []

    def say(self, sentence: str) -> None:
        self.lines.append(sentence)

    def cell(self, title: str, outcome: str) -> None:
        self.lines.append(f"{title}: {outcome}")

    def time_left(self, seconds: float | None) -> None:
        self.left.append(seconds)


def test_cells_are_counted_with_the_time_left_and_written_to_the_log(tmp_path: Path) -> None:
    heard, file = Heard(), tmp_path / "logs" / "r.log"
    journal = Journal(heard, {"c1": "sae", "c2": "sae"}, {"sae": 60.0}, file)
    journal.start(5, 3)
    journal.say_once("photos: 249 images.")
    journal.say_once("photos: 249 images.")
    journal.ended("c1", "TopK SAE", "r2 40 %", 50.0)
    journal.ended("c2", "TopK\x1b SAE", "computed by the run x")
    journal.close()
    assert heard.lines == ["photos: 249 images.", "4/5 TopK SAE: r2 40 %", "5/5 TopK\x1b SAE: computed by the run x"]
    assert heard.left[0] == 120.0 and heard.left[-1] == 0.0
    logged = [line[20:] for line in file.read_text().splitlines()]
    assert logged.count("photos: 249 images.") == 1
    assert logged[-2].startswith("4/5 TopK SAE: r2 40 % [c1]; about ") and logged[-2].endswith(" left")
    assert "\x1b" not in logged[-1] and logged[-1].endswith("[c2]")


def test_a_log_that_cannot_be_opened_is_reported_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file in the way")
    heard = Heard()
    journal = Journal(heard, {"c": "k"}, {}, tmp_path / "logs" / "r.log")
    journal.start(1, 0)
    journal.ended("c", "PCA", "done", 1.0)
    journal.close()
    assert len(heard.lines) == 2 and heard.lines[0].startswith("No log is written: ")


def test_a_disk_that_is_full_is_reported_once(tmp_path: Path) -> None:
    heard = Heard()
    journal = Journal(heard, {}, {}, Path("/dev/full"))
    for _ in range(3):
        journal.say("sentence")
    journal.close()
    assert heard.lines == ["sentence", heard.lines[1], "sentence", "sentence"]
    assert "cannot be written any more (No space left on device)" in heard.lines[1]


def test_plain_output_has_the_time_left_on_the_line_of_the_cell(tmp_path: Path) -> None:
    output = io.StringIO()
    journal = Journal(Terminal(Console(file=output)), {"a": "k", "b": "k"}, {}, tmp_path / "r.log")
    journal.start(2, 0)
    journal.ended("a", "PCA", "r2 1 %", 600.0)
    journal.ended("b", "PCA", "r2 1 %", 600.0)
    first, second = output.getvalue().splitlines()
    assert first.startswith("  1/2 PCA: r2 1 %; about ") and first.endswith("left")
    assert second == "  2/2 PCA: r2 1 %"


def test_a_long_step_is_logged_in_growing_intervals(tmp_path: Path) -> None:
    now, file = 0.0, tmp_path / "r.log"
    journal = Journal(Heard(), {}, {}, file, clock=lambda: now)
    for second in range(200):
        now = float(second)
        journal.progress(second, 200, "probing images")
    journal.say("done")
    now += 9.0
    journal.progress(1, 200, "evaluation images")
    journal.close()
    logged = [line[20:] for line in file.read_text().splitlines()]
    assert logged == [*(f"... probing images: {second} of 200" for second in (10, 30, 70, 150)), "done"]
    assert step_of(file.read_text().splitlines()[:1]) == "probing images: 10 of 200"

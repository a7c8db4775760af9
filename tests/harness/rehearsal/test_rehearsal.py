"""A real rehearsal of a small suite: it runs, continues, is kept apart from results, and its report adds up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_runs import Stop
from typer.testing import CliRunner

from harness.cli import app
from harness.doctor.calibration.file import save
from harness.doctor.rates import DEFAULTS, MEASURED, Rate
from harness.errors import UserError
from harness.executors import create
from harness.progress import Silent
from harness.rehearsal import Rehearsal, rehearse
from harness.suites import Suite, load_suite, parse_suite
from results import open_store
from results.errors import StoreError
from results.store.merge import merge

pytestmark = pytest.mark.run


def small_suite(**changes: object) -> Suite:
    return parse_suite(
        {
            "name": "small",
            "seeds": {"tokens": [1, 2]},
            "data": {"dataset": "photos", "evaluation": 100},
            "probing": {"tokens_per_image": 8},
            "evaluation": {"metrics": ["accuracy", "l0", "r2"], "batch_size": 4},
            "targets": [{"backbone": "efficientnet_lite0", "site": "blocks.6.0.conv_pwl"}],
            "methods": [
                {"name": "identity"},
                {"name": "topk_sae", "select": True, "config": {"expansion_factor": 0.2, "k": 4, "epochs": 3}},
                {"name": "elude", "config": {"top_k": 500, "min_cluster_size": 50}},
                {"name": "elude", "label": "UMAP", "config": {"top_k": 500, "min_cluster_size": 50, "umap_dims": 2}},
            ],
            **changes,
        }
    )


class Heard(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, sentence: str) -> None:
        self.lines.append(sentence)

    def cell(self, title: str, outcome: str) -> None:
        self.lines.append(f"{title}: {outcome}")


def calibrated(folder: Path) -> Path:
    """Return the path of a store beside which the machine has a calibration."""
    rates = {name: Rate(rate.value / 100, rate.unit, MEASURED, "", 0.0) for name, rate in DEFAULTS.items()}
    save(folder / "cache", "cpu", rates)
    return folder / "results.duckdb"


def run(store: Path, reporter: Silent, **options: object) -> Rehearsal:
    with create("local", threads=1) as executor:
        return rehearse(
            small_suite(), store, executor=executor, reporter=reporter, device="cpu", budget_minutes=0.2, **options
        )  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Rehearsal, Heard, Path]:
    folder = tmp_path_factory.mktemp("rehearsal")
    heard = Heard()
    return run(calibrated(folder), heard), heard, folder


def test_every_kind_is_timed_at_both_shares(done: tuple[Rehearsal, Heard, Path]) -> None:
    result, heard, _ = done
    assert result.failed == 0 and not result.interrupted and result.report is not None
    report = result.report
    rows = {row.title.split(",")[0]: row for row in report.kinds}
    assert sum(row.cells for row in report.kinds) == 2 * 4 + 9
    for name in ("backbone only", "TopK SAE", "ELUDe"):
        assert len(rows[name].evaluation_seconds) == 2 and min(rows[name].evaluation_seconds) > 0
    assert {stage.stage for stage in report.check} >= {"tokens", "baseline", "training", "clustering", "evaluation"}
    assert report.check_ratio is not None and report.check_ratio > 0
    assert any("Share A" in line for line in heard.lines) and any("Share B" in line for line in heard.lines)
    # Scores of random weights are shown nowhere.
    assert not any("r2 " in line for line in heard.lines)


def test_what_cannot_run_is_named(done: tuple[Rehearsal, Heard, Path]) -> None:
    result, _, _ = done
    assert result.report is not None
    umap = next(row for row in result.report.kinds if row.title.startswith("UMAP"))
    assert umap.evaluation_seconds or "umap-learn" in umap.rehearsed_by


def test_the_plan_adds_up_and_is_written_with_the_trace(done: tuple[Rehearsal, Heard, Path]) -> None:
    result, _, _ = done
    report = result.report
    assert report is not None
    assert report.total.seconds == pytest.approx(sum(stage.seconds for stage in report.plan))
    assert all(stage.low <= stage.seconds <= stage.high for stage in report.plan)
    assert json.loads((result.folder / "rehearsal.json").read_text())["suite"] == "small"
    names = {event["name"] for event in json.loads((result.folder / "trace.json").read_text())["traceEvents"]}
    assert {"network", "training steps", "distances and spanning tree", "waiting for decoded images"} <= names
    assert 0 < report.device_share < 1 and sum(row.share for row in report.idle) + report.device_share == pytest.approx(
        1
    )
    assert not (result.folder / "artifacts").exists()


def test_results_are_neither_written_nor_mixed(done: tuple[Rehearsal, Heard, Path], tmp_path: Path) -> None:
    result, _, folder = done
    assert not (folder / "results.duckdb").exists() and result.folder.parent == folder / "rehearsal"
    [store] = result.folder.glob("*.duckdb")
    with pytest.raises(StoreError, match="store of a rehearsal"):
        open_store(store)
    with pytest.raises(StoreError, match="store of a rehearsal"):
        open_store(store, read_only=False)
    for verb in (["leaderboard"], ["verify"], ["export", str(tmp_path / "x.html")], ["stability"], ["judge"]):
        answer = CliRunner().invoke(app, [*verb, "--store", str(store)])
        assert answer.exit_code != 0 and not (tmp_path / "x.html").exists(), verb
    with pytest.raises(StoreError, match="store of a rehearsal"):
        merge(tmp_path / "all.duckdb", [store], titles={store: "rehearsed"})


def test_the_same_command_only_reports_again(done: tuple[Rehearsal, Heard, Path]) -> None:
    result, _, folder = done
    heard = Heard()
    again = run(folder / "results.duckdb", heard)
    assert again.folder == result.folder and result.report is not None and again.report is not None
    assert [row.evaluation_seconds for row in again.report.kinds] == [
        row.evaluation_seconds for row in result.report.kinds
    ]
    assert again.report.plan == result.report.plan
    assert not any("efficientnet" not in line and ": " in line and line.endswith(" s") for line in heard.lines)


SUITE_FILE = """
name = "small"
seeds.tokens = [1, 2]
data = { dataset = "photos", evaluation = 100 }
probing.tokens_per_image = 8
evaluation = { metrics = ["accuracy", "l0", "r2"], batch_size = 4 }
targets = [{ backbone = "efficientnet_lite0", site = "blocks.6.0.conv_pwl" }]

[[methods]]
name = "identity"

[[methods]]
name = "topk_sae"
select = true
config = { expansion_factor = 0.2, k = 4, epochs = 3 }

[[methods]]
name = "elude"
config = { top_k = 500, min_cluster_size = 50 }

[[methods]]
name = "elude"
label = "UMAP"
config = { top_k = 500, min_cluster_size = 50, umap_dims = 2 }
"""


def test_the_command_prints_tables_or_json(done: tuple[Rehearsal, Heard, Path], tmp_path: Path) -> None:
    result, _, folder = done
    file = tmp_path / "small.toml"
    file.write_text(SUITE_FILE)
    line = ["run", "--suite", str(file), "--scale", "rehearsal", "--budget", "0.2", "--device", "cpu", "--threads", "1"]
    line += ["--store", str(folder / "results.duckdb")]
    text = CliRunner().invoke(app, line)
    assert text.exit_code == 0, text.output
    # The same suite: nothing is measured again.
    assert str(result.folder) in text.output.replace("\n", "")
    for title in ("Check: share B", "Time of small in hours", "Sections in which a GPU would wait", "Kinds of cells"):
        assert title in text.output
    answer = CliRunner().invoke(app, [*line, "--json"])
    values = json.loads(answer.stdout)
    assert answer.exit_code == 0 and values["folder"] == str(result.folder) and values["failed"] == 0
    assert values["total"]["seconds"] == pytest.approx(sum(stage["seconds"] for stage in values["plan"]))


def test_an_interrupted_rehearsal_continues(tmp_path: Path) -> None:
    store = calibrated(tmp_path)
    stopped = run(store, Stop(2))
    assert stopped.interrupted and stopped.report is None
    measured = (stopped.folder / "measurements.jsonl").read_text().splitlines()
    continued = run(store, Heard())
    assert continued.report is not None and continued.failed == 0
    # What was measured before is kept: the lines of the first call are still the first ones.
    assert (stopped.folder / "measurements.jsonl").read_text().splitlines()[: len(measured)] == measured
    assert all(len(row.evaluation_seconds) == 2 for row in continued.report.kinds if not row.rehearsed_by)


def test_plans_that_cannot_be_rehearsed_are_refused(tmp_path: Path, photo_folder: Path) -> None:
    with create("local", threads=1) as executor:
        for suite, sentence in (
            (load_suite("planted"), "planted layers"),
            (small_suite(data={"dataset": f"folder:{photo_folder}", "evaluation": 5}), "unknown until they are read"),
        ):
            with pytest.raises(UserError, match=sentence):
                rehearse(suite, tmp_path / "r.duckdb", executor=executor, reporter=Silent(), device="cpu")
    assert not (tmp_path / "rehearsal").exists()

"""One fit by two workers of a real local Ray: the bits of one process, whatever dies on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from paths import SUPPORT
from plugins import clean_registries
from small_runs import suite_of

from harness import executors
from harness.executors.base import Executor
from harness.executors.ray import Ray
from harness.progress import Silent
from harness.run import RunSummary, run
from harness.suites import Suite
from methods import numerics
from methods.plugin_files import load_plugin_file
from results import open_store
from results.store.records import DEVICE_UNITS

pytestmark = [pytest.mark.run, pytest.mark.slow]


class Listening(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []
        self.lines: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)

    def progress(self, done: int, total: int, what: str) -> None:
        self.lines.append(what)


@pytest.fixture(scope="module")
def workers() -> Iterator[Ray]:
    """Two workers of one thread each; the plugin is loaded here too, and forgotten afterwards."""
    pytest.importorskip("ray", reason="needs the extra: pip install 'disentanglement-harness[ray]'")
    with numerics.threads(1), clean_registries(), executors.create("ray", workers=2, threads=1) as opened:
        load_plugin_file(SUPPORT / "cluster_plugin.py")
        assert isinstance(opened, Ray)
        yield opened


class Pair(NamedTuple):
    """ELUDe by two workers and by one process."""

    divided: Path
    whole: Path
    summary: RunSummary
    heard: Listening


def elude(photo_folder: Path) -> Suite:
    return suite_of(photo_folder, "elude", seeds={"tokens": [1]})


@pytest.fixture(scope="module")
def pair(workers: Ray, photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("pair")
    divided, whole, heard = folder / "divided" / "r.duckdb", folder / "whole" / "r.duckdb", Listening()
    summary = run(elude(photo_folder), divided, executor=workers, reporter=heard)
    run(elude(photo_folder), whole)
    return Pair(divided, whole, summary, heard)


def table(store: Path, name: str) -> pd.DataFrame:
    """A table without what depends on the moment, and the notes, which tell how the fit was computed."""
    frame = open_store(store).query(f"SELECT * FROM {name}")
    moments = ["run_id", "started_at", "seconds", "fit_seconds", "measured_at", "notes"]
    frame = frame.drop(columns=[column for column in moments if column in frame])
    if name == "scores":
        frame = frame[~frame["unit"].isin(DEVICE_UNITS)]
    keys = [column for column in ("cell_id", "metric", "unit", "params_hash") if column in frame]
    return frame.sort_values(keys).reset_index(drop=True)


def test_two_workers_give_the_bits_of_one_process(pair: Pair) -> None:
    assert (pair.summary.finished, pair.summary.failed) == (1, 0)
    [divided], [whole] = (open_store(store).cells().to_dict("records") for store in (pair.divided, pair.whole))
    assert (divided["cell_id"], divided["fit_id"]) == (whole["cell_id"], whole["fit_id"])
    files = [path.parent / divided["artifact"] for path in (pair.divided, pair.whole)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert divided["n_units"] > divided["d_out"], "without a split neuron the test shows nothing"
    # To the bit where every process has one core to itself; two cores let convolutions round another way.
    for name in ("cells", "scores", "units"):
        one, other = table(pair.divided, name), table(pair.whole, name)
        assert len(one), name
        pd.testing.assert_frame_equal(one, other, check_exact=False, rtol=1e-6, atol=1e-6)


def test_the_cell_says_that_its_fit_was_divided_and_has_its_time(pair: Pair) -> None:
    [cell] = open_store(pair.divided).cells().to_dict("records")
    assert any(note.startswith("The fit was divided into 2 parts") for note in cell["notes"])
    assert 0 < cell["fit_seconds"] <= cell["seconds"]
    assert any("ELUDe (part 1 of 2), ELUDe (part 2 of 2)" in line for line in pair.heard.lines)
    evidence = open_store(pair.divided).scores().set_index("metric").value
    assert evidence["evidence_gradients"] == 0 and evidence["fit_peak_memory"] > 0
    assert not list((pair.divided.parent / "work").glob("*"))


def mortal(photo_folder: Path, once: Path | None) -> Suite:
    config = {} if once is None else {"once": str(once)}
    return suite_of(photo_folder, seeds={"tokens": [1]}, methods=[{"name": "mortal_parts", "config": config}])


def test_a_part_whose_worker_is_killed_is_repeated(workers: Ray, photo_folder: Path, tmp_path: Path) -> None:
    heard = Listening()
    summary = run(mortal(photo_folder, tmp_path / "once"), tmp_path / "r.duckdb", executor=workers, reporter=heard)
    assert (summary.finished, summary.failed) == (1, 0)
    [said] = [sentence for sentence in heard.said if "worker process died" in sentence]
    assert "part 1 of 2" in said
    [cell] = open_store(tmp_path / "r.duckdb").cells().to_dict("records")
    # The first neuron is that of the killed process; the parts are of at least one other.
    [count] = [int(note.split(": ")[1]) for note in cell["notes"] if note.startswith("processes: ")]
    assert count >= 2 and pd.isna(cell["fit_seconds"])


def test_a_part_that_keeps_dying_fails_its_cell_and_the_next_run_takes_up_the_rest(
    workers: Ray, photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "retries", 0)
    store, once = tmp_path / "r.duckdb", tmp_path / "once"
    suite = mortal(photo_folder, once)
    summary = run(suite, store, executor=workers)
    assert (summary.finished, summary.failed) == (0, 1)
    [cell] = open_store(store).cells().to_dict("records")
    assert cell["error_message"].startswith("Given up after one attempt: its worker process died")
    left = [file.name for file in (tmp_path / "work" / cell["cell_id"]).glob("*.safetensors")]
    assert "0.safetensors" in left
    assert run(suite, store, executor=workers).finished == 1


def test_a_part_that_raises_fails_its_cell_with_its_sentence(
    workers: Executor, photo_folder: Path, tmp_path: Path
) -> None:
    suite = suite_of(photo_folder, "raising_parts", seeds={"tokens": [1]})
    assert run(suite, tmp_path / "r.duckdb", executor=workers).failed == 1
    [cell] = open_store(tmp_path / "r.duckdb").cells().to_dict("records")
    assert (cell["error_type"], cell["error_message"]) == ("RuntimeError", "no part of it")


class StopAtParts(Listening):
    """Presses Ctrl-C when both parts are running."""

    def progress(self, done: int, total: int, what: str) -> None:
        super().progress(done, total, what)
        if "part 1 of 2" in what and "part 2 of 2" in what:
            raise KeyboardInterrupt


def test_an_interrupted_run_goes_on_to_the_same_bits(
    workers: Ray, pair: Pair, photo_folder: Path, tmp_path: Path
) -> None:
    store = tmp_path / "r.duckdb"
    first = run(elude(photo_folder), store, executor=workers, reporter=StopAtParts())
    assert first.interrupted and (first.finished, first.failed) == (0, 0)
    second = run(elude(photo_folder), store, executor=workers)
    assert (second.finished, second.failed) == (1, 0)
    [one], [whole] = (open_store(path).cells().to_dict("records") for path in (store, pair.whole))
    assert (tmp_path / one["artifact"]).read_bytes() == (pair.whole.parent / whole["artifact"]).read_bytes()

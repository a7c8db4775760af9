"""Each real logger, offline: the files that it leaves hold the curves and scores of the store, value by value."""

from __future__ import annotations

import importlib.util
import json
import math
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from paths import SUPPORT
from small_runs import scores as score_rows
from small_runs import suite_of

from harness.executors.processes import Processes
from harness.progress import Silent
from harness.run import run
from harness.suites import Suite
from harness.training_logs import TRAINING_LOGS, LoggedRun, log_dir
from harness.training_logs.guard import GuardedLog
from methods.plugin_files import load_plugin_file
from methods.registry import forget
from results import open_store

pytestmark = pytest.mark.run

#: (series, step) -> value, and the scores, as read from files.
Written = tuple[dict[tuple[str, int], float], dict[str, float]]

LABEL = "../top/k\x1b[31m\n" + "long " * 60


def suite(folder: Path, seeds: tuple[int, ...] = (1,)) -> Suite:
    """Three epochs of an SAE, and a method without training."""
    trained = {"expansion_factor": 2, "k": 4, "epochs": 3, "batch_size": 64}
    return suite_of(
        folder,
        seeds={"tokens": list(seeds)},
        evaluation={"top_images": 4, "batch_size": 18, "metrics": ["l0", "r2"]},
        methods=[{"name": "topk_sae", "label": "topk", "config": trained}, {"name": "identity"}],
    )


def tensorboard_files(logs: Path) -> list[tuple[dict[str, Any], Written]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    runs = []
    for folder in sorted(logs.joinpath("tensorboard").iterdir()):
        events = EventAccumulator(str(folder)).Reload()
        points = {(tag, event.step): event.value for tag in events.Tags()["scalars"] for event in events.Scalars(tag)}
        text = events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
        config = json.loads(text.strip("`\n"))
        curves = {key: value for key, value in points.items() if key[0].startswith("training/")}
        runs.append((config, (curves, {tag: value for (tag, _), value in points.items() if tag.startswith("scores/")})))
    return runs


def wandb_records(data: bytes) -> Iterator[bytes]:
    """Yield the records of a file in LevelDB's log format: blocks of 32 KiB; 7 bytes before each part of a record."""
    position, record = 7, b""
    while position + 7 <= len(data):
        if (left := 32768 - position % 32768) < 7:
            position += left
            continue
        length, kind = int.from_bytes(data[position + 4 : position + 6], "little"), data[position + 6]
        record += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):
            yield record
            record = b""


def ended_wandb_records(file: Path) -> list[Any]:
    """Return the records of a file once it is complete: wandb's service writes the end after ``finish`` returns."""
    from wandb.proto import wandb_internal_pb2

    deadline = time.monotonic() + 30
    while True:
        records = [wandb_internal_pb2.Record.FromString(data) for data in wandb_records(file.read_bytes())]
        if any(record.WhichOneof("record_type") == "exit" for record in records):
            return records
        assert time.monotonic() < deadline, f"{file} has no end"
        time.sleep(0.1)


def wandb_files(logs: Path) -> list[tuple[dict[str, Any], Written]]:
    runs = []
    for file in sorted(logs.glob("wandb/offline-run-*/*.wandb")):
        config: dict[str, Any] = {}
        curves: dict[tuple[str, int], float] = {}
        scores: dict[str, float] = {}
        for record in ended_wandb_records(file):
            config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
            row = {key: float(json.loads(value)) for key, value in items.items()}
            curves |= {(key, int(row["step"])): value for key, value in row.items() if key.startswith("training/")}
            for item in record.summary.update:
                key = item.key or "/".join(item.nested_key)
                if key.startswith("scores/"):
                    scores[key] = json.loads(item.value_json)
        runs.append((config, (curves, scores)))
    return runs


def trackio_files(logs: Path) -> list[tuple[dict[str, Any], Written]]:
    [file] = logs.joinpath("trackio").glob("*.db")
    with sqlite3.connect(file) as database:
        rows = database.execute("SELECT run_name, step, metrics FROM metrics").fetchall()
        configs = dict(database.execute("SELECT run_name, config FROM configs").fetchall())
    runs = []
    for name, config in configs.items():
        values = {
            (tag, step): float(value)
            for run_name, step, metrics in rows
            if run_name == name
            for tag, value in json.loads(metrics).items()
        }
        curves = {key: value for key, value in values.items() if key[0].startswith("training/")}
        scores = {tag: value for (tag, _), value in values.items() if tag.startswith("scores/")}
        runs.append((json.loads(config), (curves, scores)))
    return runs


READERS: dict[str, Callable[[Path], list[tuple[dict[str, Any], Written]]]] = {
    "tensorboard": tensorboard_files,
    "wandb": wandb_files,
    "trackio": trackio_files,
}


class Listening(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR", "WANDB_PROJECT", "TRACKIO_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    # Trackio reads its folder when it is imported.
    for name in [name for name in sys.modules if name.partition(".")[0] == "trackio"]:
        monkeypatch.delitem(sys.modules, name)


@pytest.fixture(params=READERS)
def logger(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if importlib.util.find_spec(TRAINING_LOGS.get(name).package) is None:
        pytest.skip(f"needs the extra: pip install 'disentanglement-harness[log-{name}]'")
    return name


def test_files_hold_the_curves_and_scores_of_the_store(photo_folder: Path, tmp_path: Path, logger: str) -> None:
    listening = Listening()
    plain, logged = tmp_path / "plain.duckdb", tmp_path / "logged.duckdb"
    run(suite(photo_folder), plain)
    summary = run(suite(photo_folder), logged, log=logger, reporter=listening)
    assert (summary.finished, summary.failed) == (2, 0)
    assert not [sentence for sentence in listening.said if "goes on without" in sentence]
    assert any(str(tmp_path / "logs") in sentence for sentence in listening.said), "the place of the files is said"

    for cell_id in summary.cell_ids:
        pd.testing.assert_frame_equal(open_store(plain).curves(cell_id), open_store(logged).curves(cell_id))
    pd.testing.assert_frame_equal(score_rows(plain), score_rows(logged))
    assert compare(logged, READERS[logger](tmp_path / "logs")) == 12, "three epochs, four series"


def compare(store: Path, runs: list[tuple[dict[str, Any], Written]]) -> int:
    """Require that each cell has one log, equal to what the store has of it; return the number of points."""
    stored = open_store(store)
    cells = stored.cells().set_index("cell_id")
    assert sorted(config["cell_id"] for config, _ in runs) == sorted(cells.index)
    n_compared = 0
    for config, (points, scores) in runs:
        cell_id = config["cell_id"]
        curves = {(f"training/{row.series}", int(row.step)): row.value for row in stored.curves(cell_id).itertuples()}
        assert points == pytest.approx(curves, rel=1e-6)
        table = stored.scores(cell_id=cell_id).set_index("metric")["value"]
        for metric in ("l0", "r2"):
            assert scores[f"scores/{metric}"] == pytest.approx(table[metric], rel=1e-6)
        cell = cells.loc[cell_id]
        assert config["settings"] == cell["config"]
        assert (config["token_seed"], config["init_seed"]) == (cell["token_seed"], cell["init_seed"])
        assert (config["backbone"], config["site"]) == ("tiny_vit", cell["site"])
        n_compared += len(curves)
    return n_compared


@pytest.mark.slow
def test_two_workers_write_separate_runs(photo_folder: Path, tmp_path: Path, logger: str) -> None:
    """At the same time, into one folder; with trackio into one file."""
    store = tmp_path / "r.duckdb"
    module = load_plugin_file(SUPPORT / "recording_log.py")
    try:
        with Processes(2) as workers:
            summary = run(suite(photo_folder, seeds=(1, 2)), store, log=logger, executor=workers)
    finally:
        forget(module)
    assert (summary.finished, summary.failed) == (4, 0)
    assert compare(store, READERS[logger](tmp_path / "logs")) == 24


def test_no_label_or_value_breaks_a_log(tmp_path: Path, logger: str) -> None:
    """A label that is a path with control characters; NaN, infinity and a reserved name as metrics."""
    folder = log_dir(tmp_path, logger)
    run = LoggedRun(LABEL, "cell-1", {"cell_id": "x", "settings": {"label": LABEL, "none": None, "list": [1]}}, folder)
    log = GuardedLog(logger, run, harness_run=f"hostile-{logger}")
    log.open()
    for step, value in enumerate((0.5, math.nan, math.inf, -math.inf)):
        log.on_metrics(step, {"loss": value, "step": 7.0, "_hidden": 1.0, "a/b": 2.0})
    log.finish({}, {"r2": 0.25, "undefined": math.nan})
    assert log.problem == ""
    [(_, (points, scores))] = READERS[logger](tmp_path / "logs")
    assert points["training/loss", 0] == 0.5
    assert {points["training/step", step] for step in range(4)} == {7.0}
    assert math.isnan(points["training/loss", 1])
    assert (points["training/loss", 2], points["training/loss", 3]) == (math.inf, -math.inf)
    assert scores["scores/r2"] == 0.25
    assert not (tmp_path / "top").exists() and not (tmp_path.parent / "top").exists()

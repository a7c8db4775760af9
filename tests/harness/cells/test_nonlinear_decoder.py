"""A method whose decoder is not linear: a whole run of it, its boards, and what has no atoms to work on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from app_pages import PAGES, opened, require_sound, show
from deep_decoder import DeepDecoder
from plugins import clean_registries
from small_runs import suite_of
from typer.testing import CliRunner

import methods
from harness.check import CheckTarget, check
from harness.cli import app
from harness.errors import UserError
from harness.hub.dictionary_export import export_dictionary
from harness.metrics.base import METRICS
from harness.metrics.dictionary import writing_directions
from harness.run import run
from harness.run.stability import measure
from methods.base import Dictionary
from results import leaderboard, open_store
from results.boards.text import render_text
from results.store.group_scores import group_scores

pytestmark = pytest.mark.run

OF_ATOMS = {"effective_rank", "max_collinearity"}
WHY = "deep_decoder has no dictionary: its decoder is not linear, so its units have no atoms."


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    with clean_registries():
        methods.register(DeepDecoder)
        yield


@pytest.fixture(scope="module")
def store(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory, registered: None) -> Path:
    """Two initialisations of two methods, measured by every default metric except timings."""
    path = tmp_path_factory.mktemp("nonlinear") / "r.duckdb"
    metrics = [name for name in METRICS.names() if METRICS.get(name).default and not METRICS.get(name).timed]
    suite = suite_of(
        photo_folder,
        "deep_decoder",
        "random_dictionary",
        evaluation={"top_images": 6, "batch_size": 9, "metrics": metrics},
        seeds={"tokens": [1]},
        stability={"init": [42, 7]},
    )
    assert (summary := run(suite, path)).failed == 0, summary
    return path


def cells(store: Path, method: str) -> list[dict[str, Any]]:
    frame = open_store(store).cells()
    rows: list[dict[str, Any]] = frame[frame["method"] == method].to_dict("records")
    return rows


def metrics_of(store: Path, method: str) -> set[str]:
    frame = open_store(store).scores()
    return set(frame[frame["method"] == method]["metric"])


def test_metrics_of_atoms_are_left_out_with_a_reason(store: Path) -> None:
    for cell in cells(store, "deep_decoder"):
        assert cell["status"] == "finished"
        [note] = [note for note in cell["notes"] if WHY in note]
        assert all(metric in note for metric in OF_ATOMS)
    missing = metrics_of(store, "random_dictionary") - metrics_of(store, "deep_decoder")
    assert missing >= OF_ATOMS
    companions = {"effective_rank_share", "min_distinctness"}
    assert {name for name in missing - OF_ATOMS - companions if not name.startswith("nearest_cosine")} == set()


def test_the_leaderboard_has_its_row(store: Path) -> None:
    [board] = leaderboard(open_store(store))
    assert {row.method for row in board.rows} == {"deep_decoder", "random_dictionary"}
    assert "deep decoder" in render_text(board)
    result = CliRunner().invoke(app, ["leaderboard", "--store", str(store), "--json"])
    assert result.exit_code == 0 and "deep_decoder" in result.output


def test_stability_says_why_it_was_not_measured(store: Path) -> None:
    outcome = measure(open_store(store, read_only=False), anew=True)
    [problem] = outcome.problems
    assert problem.startswith("deep decoder at ") and WHY in problem
    labels = set(group_scores(open_store(store))["label"])
    assert labels and "deep decoder" not in labels
    result = CliRunner().invoke(app, ["stability", "--store", str(store)])
    assert result.exit_code == 0 and "Not measured: deep decoder at" in result.output


@pytest.mark.parametrize("page", PAGES)
def test_pages_of_the_app_show_it(page: str, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    show(open_store(store), monkeypatch)
    require_sound(opened(page))


@pytest.mark.parametrize("arguments", [["properties"], ["compare", "deep decoder", "random dictionary"]])
def test_reports_do_not_need_atoms(arguments: list[str], store: Path) -> None:
    result = CliRunner().invoke(app, [*arguments, "--store", str(store)])
    assert result.exit_code == 0 and "deep decoder" in result.output, result.output


def test_units_have_no_parent_and_the_fit_is_loaded(store: Path) -> None:
    [cell, _] = cells(store, "deep_decoder")
    method = methods.load(store.parent / cell["artifact"])
    assert method.parents is None and method.n_units == cell["n_units"] == 6
    assert sorted(method.fitted_tensors()) == ["encoder", "layers.0.weight", "layers.1.weight", "mean"]
    with pytest.raises(UserError, match="deep_decoder has no dictionary"):
        writing_directions(method)


def test_what_needs_a_linear_decoder_refuses_it(store: Path, tmp_path: Path) -> None:
    cell_id = cells(store, "deep_decoder")[0]["cell_id"]
    with pytest.raises(UserError, match="deep_decoder has no form as a linear encoder"):
        export_dictionary(open_store(store), cell_id, tmp_path / "sae.safetensors")
    assert not list(tmp_path.iterdir())


def test_check_accepts_it_and_says_so() -> None:
    for layers in (1, 2, 3):
        report = check(CheckTarget("method", "deep_decoder"), {"layers": layers})
        assert report.ok, report.findings
        by_name = {finding.check: finding for finding in report.findings}
        for name in ("dictionary", "dictionary matches decode", "same dictionary at each call"):
            assert not by_name[name].applies and "not linear" in by_name[name].why


def test_planted_recovery_is_measured_without_directions(tmp_path: Path) -> None:
    import harness.planted  # noqa: F401 - registers the planted layers
    from harness.suites import parse_suite

    suite = parse_suite(
        {
            "name": "planted",
            "data": {"dataset": "planted:two_concepts", "evaluation": 0.5},
            "seeds": {"tokens": [1]},
            "probing": {"tokens_per_image": 8},
            "evaluation": {"top_images": 6, "metrics": ["recovery"]},
            "targets": [{"backbone": "planted:two_concepts"}],
            "methods": [{"name": "deep_decoder"}],
        }
    )
    assert run(suite, tmp_path / "r.duckdb").failed == 0
    measured = metrics_of(tmp_path / "r.duckdb", "deep_decoder")
    assert {"recovery", "recovery_purity"} <= measured and "recovery_cosine" not in measured


def test_the_json_of_a_check_has_the_reason() -> None:
    result = CliRunner().invoke(app, ["check", "deep_decoder", "--kind", "method", "--json"])
    assert result.exit_code == 0
    [report] = json.loads(result.output)
    assert any("decoder is not linear" in finding["why"] for finding in report["findings"])


def test_a_dictionary_that_comes_and_goes_fails_the_check() -> None:
    class Alternating(DeepDecoder):
        spec = DeepDecoder.spec._replace(name="alternating")
        calls = 0

        def dictionary(self) -> Any:
            self.calls += 1
            return None if self.calls % 2 else Dictionary(self.encoder, None, "writer")

    methods.register(Alternating)
    findings = {finding.check: finding for finding in check(CheckTarget("method", "alternating")).findings}
    assert "gives atoms at one call and None at a later one" in findings["same dictionary at each call"].why

"""Measured properties: what is seen of a fit, and the verdicts that follow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import suite_of
from torch import Tensor
from typer.testing import CliRunner

import methods
from harness.cells.fit_evidence import GRADIENTS, LABELS
from harness.cli import app
from harness.run import run
from harness.suites import load_suite
from methods.base import Device, LinearSite, Progress, Tokens, no_progress
from methods.identity import Identity
from results import open_store
from results.reports.properties import _EVIDENCE, PROPERTIES, ClaimVerdict, MethodProperties, properties
from results.store.group_scores import GroupScoreRecord, record_group_scores

pytestmark = pytest.mark.run


class Scaled(Identity):
    """The backbone times a factor that is learned in a way that subclasses choose."""

    fitted = ("width", "factor")
    factor: Tensor

    def fit(
        self,
        tokens: Tokens,
        site: LinearSite,
        *,
        seed: int = 42,
        device: Device = "cpu",
        progress: Progress = no_progress,
    ) -> Scaled:
        self.width = torch.tensor(site.d_out)
        self.factor = torch.ones(())
        self.learn(next(tokens.batches("output", 64)), tokens)
        self.factor = self.factor.detach()
        return self

    def learn(self, a: Tensor, tokens: Tokens) -> None:
        pass

    def encode(self, x: Tensor) -> Tensor:
        return x * self.factor.to(x)

    def decode(self, codes: Tensor) -> Tensor:
        return codes / self.factor.to(codes)


class Liar(Scaled):
    """Claims to be training-free, and trains."""

    spec = Identity.spec._replace(name="liar", title="liar")

    def learn(self, a: Tensor, tokens: Tokens) -> None:
        factor = torch.nn.Parameter(self.factor)
        optimiser = torch.optim.Adam([factor], lr=0.1)
        for _ in range(5):
            optimiser.zero_grad()
            (a * factor - 2 * a).square().mean().backward()
            optimiser.step()
        self.factor = factor.detach()


class QuietLiar(Scaled):
    """Trains without an optimiser, through a name of its own for autograd."""

    spec = Identity.spec._replace(name="quiet_liar", title="quiet liar")

    def learn(self, a: Tensor, tokens: Tokens) -> None:
        factor = self.factor.requires_grad_()
        for _ in range(3):
            [slope] = torch.autograd.grad((a * factor - 2 * a).square().mean(), [factor])
            factor.data -= 0.05 * slope
        self.factor = factor.detach()


class Attributing(Scaled):
    """Looks at gradients and changes nothing by them."""

    spec = Identity.spec._replace(name="attributing", title="attributing")

    def learn(self, a: Tensor, tokens: Tokens) -> None:
        a.requires_grad_()
        a.square().sum().backward()


class Supervised(Scaled):
    """Claims to need no labels, and looks."""

    spec = Identity.spec._replace(name="peeking", title="peeking")

    def learn(self, a: Tensor, tokens: Tokens) -> None:
        assert len(tokens.label) == tokens.n


class Beside(Scaled):
    """A virtual method: its units are half of the layer's."""

    spec = Identity.spec._replace(name="beside", title="beside", virtual=True)

    def encode(self, x: Tensor) -> Tensor:
        return x.clone()


class Deaf(Scaled):
    """A decoder that hears the first unit only."""

    spec = Identity.spec._replace(name="deaf", title="deaf")

    def decode(self, codes: Tensor) -> Tensor:
        return torch.cat([codes[:, :1], codes[:, 1:] * 0], 1)


class Lossy(Scaled):
    """Loses a thousandth."""

    spec = Identity.spec._replace(name="lossy", title="lossy")

    def decode(self, codes: Tensor) -> Tensor:
        return codes * 0.99


CLASSES: tuple[Any, ...] = (Liar, QuietLiar, Attributing, Supervised, Beside, Deaf, Lossy)


@pytest.fixture(scope="module")
def registered() -> Iterator[None]:
    for cls in CLASSES:
        methods.METHODS.entries.pop(cls.spec.name, None)
        methods.register(cls)
    yield
    for cls in CLASSES:
        methods.METHODS.entries.pop(cls.spec.name)


@pytest.fixture(scope="module")
def store(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory, registered: None) -> Path:
    store_path = tmp_path_factory.mktemp("properties") / "r.duckdb"
    suite = suite_of(
        photo_folder,
        *(cls.spec.name for cls in CLASSES),
        *("identity", "random_split", "topk_sae", "elude"),
        seeds={"tokens": [1]},
        stability={"init": [42, 7, 1024]},
        evaluation={
            "top_images": 6,
            "batch_size": 6,
            "metrics": ["r2", "evidence_editable_units", "evidence_logits_gap"],
        },
    )
    summary = run(suite, store_path)
    assert summary.failed == 0
    return store_path


@pytest.fixture(scope="module")
def by_label(store: Path) -> dict[str, MethodProperties]:
    return {row.label: row for row in properties(open_store(store))}


def verdicts(row: MethodProperties) -> dict[str, str]:
    return {name: row.verdicts[name].verdict for name in PROPERTIES}


def test_elude_has_all_five(by_label: dict[str, MethodProperties]) -> None:
    assert verdicts(by_label["ELUDe"]) == dict.fromkeys(PROPERTIES, "yes")
    assert all(by_label["ELUDe"].verdicts[name].published for name in PROPERTIES)
    assert "3 of them bit-identical" in by_label["ELUDe"].verdicts["stable"].evidence


def test_a_trained_sae_is_neither_stable_training_free_nor_lossless(by_label: dict[str, MethodProperties]) -> None:
    row = by_label["TopK SAE"]
    assert verdicts(row) == {
        "stable": "no",
        "training_free": "no",
        "explicit": "yes",
        "lossless": "no",
        "unsupervised": "yes",
    }
    assert not any(verdict.contradicts_claim for verdict in row.verdicts.values())
    assert "optimiser steps" in row.verdicts["training_free"].evidence


def test_a_method_that_lies_about_training_is_caught(by_label: dict[str, MethodProperties]) -> None:
    for label in ("liar", "quiet liar"):
        verdict = by_label[label].verdicts["training_free"]
        assert (verdict.verdict, verdict.claimed, verdict.contradicts_claim) == ("no", True, True)
    assert "5 optimiser steps" in by_label["liar"].verdicts["training_free"].evidence
    assert "without an optimiser" in by_label["quiet liar"].verdicts["training_free"].evidence
    assert by_label["backbone only"].verdicts["training_free"].verdict == "yes"


def test_gradients_that_change_nothing_leave_it_open(by_label: dict[str, MethodProperties]) -> None:
    verdict = by_label["attributing"].verdicts["training_free"]
    assert verdict.verdict == "unknown" and not verdict.contradicts_claim


def test_labels_that_are_read_are_noticed(by_label: dict[str, MethodProperties]) -> None:
    verdict = by_label["peeking"].verdicts["unsupervised"]
    assert (verdict.verdict, verdict.claimed, verdict.contradicts_claim) == ("no", True, True)


def test_a_virtual_method_loses_nothing_and_cannot_be_edited(by_label: dict[str, MethodProperties]) -> None:
    row = by_label["beside"]
    assert (row.verdicts["lossless"].verdict, row.verdicts["explicit"].verdict) == ("yes", "no")
    assert "passed through" in row.verdicts["explicit"].evidence


def test_units_that_the_decoder_does_not_hear_are_not_explicit(
    by_label: dict[str, MethodProperties], store: Path
) -> None:
    assert by_label["deaf"].verdicts["explicit"].verdict == "no"
    scores = open_store(store).scores(metric="evidence_editable_units").query("method == 'deaf' and init_seed == 42")
    [row] = scores.to_dict("records")
    assert row["value"] == pytest.approx(1 / row["details"]["tested"])


def test_a_percent_is_a_loss(by_label: dict[str, MethodProperties]) -> None:
    assert by_label["lossy"].verdicts["lossless"].verdict == "no"
    assert by_label["random split"].verdicts["lossless"].verdict == "yes"


def test_without_repeated_runs_stability_is_unknown(photo_folder: Path, tmp_path: Path) -> None:
    store_path = tmp_path / "r.duckdb"
    run(suite_of(photo_folder, "identity", seeds={"tokens": [1]}, evaluation={"metrics": ["l0"]}), store_path)
    [row] = properties(open_store(store_path))
    assert verdicts(row) == {
        "stable": "unknown",
        "training_free": "yes",
        "explicit": "unknown",
        "lossless": "unknown",
        "unsupervised": "yes",
    }
    assert row.verdicts["stable"].published is None


@pytest.mark.parametrize(("value", "verdict"), [(0.8142, "no"), (0.8685, "yes"), (0.9334, "yes"), (1.0, "yes")])
def test_the_threshold_agrees_with_the_papers_ticks(store: Path, tmp_path: Path, value: float, verdict: str) -> None:
    store_path = tmp_path / "r.duckdb"
    store_path.write_bytes(store.read_bytes())
    writable = open_store(store_path, read_only=False)
    cells = writable.cells().query("method == 'topk_sae'")
    with writable.writing() as opened:
        opened.execute("DELETE FROM group_scores")
    record = GroupScoreRecord(
        **{"group_id": "g", "config_id": "c", "label": "l", "cell_ids": list(cells["cell_id"])},
        **{"metric": "stability", "version": 2, "value": value, "n": 3},
    )
    record_group_scores(writable, [record])
    [row] = [row for row in properties(writable) if row.label == "TopK SAE"]
    assert row.verdicts["stable"].verdict == verdict


def test_the_command_prints_verdict_claim_and_paper(store: Path) -> None:
    printed = CliRunner().invoke(app, ["properties", "--store", str(store)])
    assert printed.exit_code == 0, printed.output
    [line] = [line for line in printed.output.splitlines() if line.startswith("liar ")]
    assert "no (yes, -) !" in line
    content = json.loads(CliRunner().invoke(app, ["properties", "--store", str(store), "--json"]).output)
    assert {row["label"] for row in content} >= {"ELUDe", "liar"}
    assert set(content[0]["properties"]) == set(PROPERTIES)


def test_a_verdict_against_the_papers_table_is_said(store: Path, tmp_path: Path) -> None:
    """A row by the name of PURE that trains: the paper's table ticks it as training-free."""
    store_path = tmp_path / "r.duckdb"
    store_path.write_bytes(store.read_bytes())
    with open_store(store_path, read_only=False).writing() as opened:
        opened.execute("UPDATE cells SET label = 'PURE' WHERE method = 'quiet_liar'")
    [row] = [row for row in properties(open_store(store_path)) if row.label == "PURE"]
    verdict = row.verdicts["training_free"]
    assert (verdict.verdict, verdict.published, verdict.contradicts_published) == ("no", True, True)
    assert not row.verdicts["unsupervised"].contradicts_published
    printed = CliRunner().invoke(app, ["properties", "--store", str(store_path)]).output
    assert "PURE: the paper's table says training-free: yes; here no: 1 tensors" in printed
    [line] = [line for line in printed.splitlines() if line.startswith("PURE ")]
    assert "no (yes, yes) !#" in line
    content = json.loads(CliRunner().invoke(app, ["properties", "--store", str(store_path), "--json"]).output)
    [verdict_of] = [row["properties"] for row in content if row["label"] == "PURE"]
    assert (
        verdict_of["training_free"]["contradicts_published"] and not verdict_of["unsupervised"]["contradicts_published"]
    )


def test_an_open_verdict_contradicts_nothing() -> None:
    assert not ClaimVerdict("unknown", "not measured", claimed=True, published=True).contradicts_published
    assert ClaimVerdict("no", "", claimed=None, published=True).contradicts_published
    assert not ClaimVerdict("no", "", claimed=True, published=None).contradicts_published


def test_of_several_cells_the_worst_is_told_of(store: Path, tmp_path: Path) -> None:
    store_path = tmp_path / "r.duckdb"
    store_path.write_bytes(store.read_bytes())
    opened = open_store(store_path, read_only=False)
    cells = list(opened.cells().query("method == 'random_split'")["cell_id"])
    with opened.writing() as writing:
        writing.execute(
            "UPDATE scores SET value = 0.9 WHERE metric = 'evidence_editable_units' AND cell_id = ?", [cells[1]]
        )
        writing.execute(
            "UPDATE scores SET value = 0.5 WHERE metric = 'evidence_editable_units' AND cell_id = ?", [cells[2]]
        )
    [row] = [row for row in properties(opened) if row.label == "random split"]
    verdict = row.verdicts["explicit"]
    assert verdict.verdict == "no" and "50.0%" in verdict.evidence
    assert verdict.evidence.endswith("(2 of 3 cells, the worst is reported)")


def test_a_network_that_breaks_down_is_not_lossless(store: Path, tmp_path: Path) -> None:
    store_path = tmp_path / "r.duckdb"
    store_path.write_bytes(store.read_bytes())
    opened = open_store(store_path, read_only=False)
    with opened.writing() as writing:
        writing.execute(
            "UPDATE scores SET value = 'nan'::DOUBLE WHERE metric = 'evidence_logits_gap' "
            "AND cell_id = (SELECT min(cell_id) FROM cells WHERE method = 'random_split')"
        )
    [row] = [row for row in properties(opened) if row.label == "random split"]
    assert row.verdicts["lossless"].verdict == "no" and "NaN" in row.verdicts["lossless"].evidence


def test_other_tokens_are_told_of_and_decide_nothing(store: Path, tmp_path: Path) -> None:
    store_path = tmp_path / "r.duckdb"
    store_path.write_bytes(store.read_bytes())
    opened = open_store(store_path, read_only=False)
    cells = list(opened.cells().query("method == 'elude'")["cell_id"])
    record = GroupScoreRecord(
        group_id="t", config_id="c", label="l", cell_ids=cells, metric="token_sensitivity", value=0.25, n=3
    )
    record_group_scores(opened, [record])
    [row] = [row for row in properties(opened) if row.label == "ELUDe"]
    assert row.verdicts["stable"].verdict == "yes"
    assert "0.2500 over other token sets" in row.verdicts["stable"].evidence


def test_every_property_has_a_verdict_from_the_metrics_of_the_papers_suites(photo_folder: Path, tmp_path: Path) -> None:
    """Table 1 comes out of `harness run --suite paper` and `harness properties`, at one hundredth of the size."""
    [table1] = load_suite("table1").leaves
    assert table1.evaluation.metrics is not None and table1.stability is not None
    # What a lossless verdict reads in addition to its evidence is R2; two kinds of evidence are of the fit.
    read = {metric for metric, _ in _EVIDENCE.values()} - {GRADIENTS, LABELS} | {"r2"}
    assert read <= set(table1.evaluation.metrics)
    assert all(leaf.evaluation.metrics == table1.evaluation.metrics for leaf in load_suite("paper").leaves[:-1])
    suite = suite_of(
        photo_folder,
        "identity",
        seeds={"tokens": [1]},
        stability={"init": list(table1.stability.init[:2])},
        evaluation={"top_images": 6, "batch_size": 6, "metrics": list(table1.evaluation.metrics)},
    )
    assert run(suite, tmp_path / "r.duckdb").failed == 0
    [row] = properties(open_store(tmp_path / "r.duckdb"))
    assert verdicts(row) == dict.fromkeys(PROPERTIES, "yes")

"""Fits that read pixels, class names or the network: what they are given, when, and what identifies them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from plugins import clean_registries
from reading_methods import ALL, ClassGradients, MeanColour, NamedClasses
from small_runs import suite_of

import harness
import methods
from harness.cells.plan import Cell, cells_of, prepare
from harness.check import CheckTarget, check
from harness.errors import UserError
from harness.evaluation.tokens import collect_tokens
from harness.run import run
from harness.suites import Suite
from methods.base import Learner, MethodSpec
from methods.identity import Identity
from results import open_store

pytestmark = pytest.mark.run

SEEDS = {"tokens": [1]}
FEW = {"top_images": 6, "batch_size": 9, "metrics": ["r2", "l0"]}


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    with clean_registries():
        for cls in ALL:
            methods.register(cls)
        yield


def suite(folder: Path, *names: str, **changes: Any) -> Suite:
    return suite_of(folder, *names, **{"backbone": "tiny_cnn", "seeds": SEEDS, "evaluation": FEW, **changes})


def cell_of(chosen: Suite) -> Cell:
    (cell,) = cells_of(chosen, prepare(chosen, device="cpu"))
    return cell


@pytest.mark.parametrize("cls", ALL)
def test_check_offers_what_is_declared(cls: type[Learner]) -> None:
    report = check(CheckTarget("method", cls.spec.name))
    assert [finding for finding in report.findings if not finding.ok] == []


def test_real_runs_fit_on_what_is_declared(photo_folder: Path, tmp_path: Path) -> None:
    chosen = suite(photo_folder, "mean_colour", "named_classes", "class_gradients")
    assert run(chosen, tmp_path / "r.duckdb").failed == 0
    cells = open_store(tmp_path / "r.duckdb").cells().set_index("method")
    assert dict(cells["n_units"]) == {"mean_colour": 3, "named_classes": 3, "class_gradients": 5}
    fitted = {name: methods.load(tmp_path / cells.loc[name, "artifact"]) for name in cells.index}
    assert fitted["named_classes"].names == ("blue", "green", "red")  # type: ignore[attr-defined]
    # The pictures of a class have its colour, so the unit of each colour is highest on its class.
    _site, tokens = collect_tokens(
        "tiny_cnn", None, f"folder:{photo_folder}", seed=1, crops=2, tokens_per_image=8, evaluation=18,
        cache=tmp_path / "cache", progress=False,
    )  # fmt: skip
    codes = fitted["mean_colour"].encode(tokens.gather("output", np.arange(tokens.n)))
    colour = [codes[torch.from_numpy(tokens.label == label)].mean(0) for label in range(3)]
    blue, green, red = colour
    assert red[0] > max(blue[0], green[0]) and green[1] > max(blue[1], red[1]) and blue[2] > max(red[2], green[2])


@pytest.mark.parametrize(
    ("attribute", "flag"),
    [("class_names", "reads_class_names"), ("pixels", "reads_images"), ("view", "reads_images"),
     ("grid_side", "reads_images"), ("box", "reads_images"), ("n_views", "reads_images"), ("network", "needs_network")],
)  # fmt: skip
def test_what_is_not_declared_is_refused_when_it_is_accessed(
    attribute: str, flag: str, photo_folder: Path, tmp_path: Path
) -> None:
    class Undeclared(Identity):
        spec = Identity.spec._replace(name="undeclared", title="undeclared")

        def learn(self, tokens: Any, site: Any, *arguments: Any) -> None:
            super().learn(tokens, site, *arguments)
            value = getattr(site if attribute == "network" else tokens, attribute)
            if callable(value):
                value(0)

    methods.register(Undeclared)
    assert run(suite(photo_folder, "undeclared"), tmp_path / "r.duckdb").failed == 1
    message = open_store(tmp_path / "r.duckdb").cells()["error_message"][0]
    assert f"add {flag}=True to" in message
    [failure] = [one.why for one in check(CheckTarget("method", "undeclared")).findings if not one.ok]
    assert f"add {flag}=True to" in failure


def test_tokens_without_images_are_refused_before_the_fit(photo_folder: Path, tmp_path: Path) -> None:
    site, tokens = collect_tokens(
        "tiny_cnn", None, f"folder:{photo_folder}", evaluation=18, cache=tmp_path, progress=False
    )
    for cls, flag in ((MeanColour, "reads_images"), (NamedClasses, "reads_class_names"), (ClassGradients, "reads_ima")):
        with pytest.raises(UserError, match=f"{cls.spec.name} declares {flag}"):
            cls().fit(tokens, site)
    frame = harness.evaluate(
        MeanColour(), backbone="tiny_cnn", dataset=f"folder:{photo_folder}", evaluation=18, metrics=["r2"],
        store=tmp_path / "r.duckdb", progress=False,
    )  # fmt: skip
    assert list(frame["method"].unique()) == ["mean_colour"]


def test_images_without_class_names_are_refused_before_the_run(photo_folder: Path) -> None:
    chosen = suite(photo_folder, "named_classes")
    (prepared,) = prepare(chosen, device="cpu")
    nameless = dataclasses.replace(prepared, probing=dataclasses.replace(prepared.probing, classes=()))
    with pytest.raises(UserError, match=r"named classes reads class names, and the images .* have none"):
        cells_of(chosen, [nameless])


def test_class_names_are_part_of_the_identity_of_what_reads_them(photo_folder: Path) -> None:
    def ids(names: tuple[str, ...] | None, method: str) -> tuple[str, str]:
        cell = cell_of(suite(photo_folder, method))
        if names is not None:
            probing = dataclasses.replace(cell.prepared.probing, classes=names)
            cell = dataclasses.replace(cell, prepared=dataclasses.replace(cell.prepared, probing=probing))
        return cell.cell_id, cell.fit_id

    other = ("a", "b", "c")
    assert ids(None, "mean_colour") == ids(other, "mean_colour")
    assert all(one != two for one, two in zip(ids(None, "named_classes"), ids(other, "named_classes"), strict=True))


def test_images_and_network_are_part_of_every_fit(photo_folder: Path) -> None:
    cell = cell_of(suite(photo_folder, "class_gradients"))
    identity = cell.fit_identity
    assert identity["weights"] == cell.prepared.backbone.fingerprint() and "preprocessing" in identity
    assert identity["probing"]["images"] == cell.prepared.probing.fingerprint and identity["probing"]["crops"] == 2


def test_a_fit_that_needs_another_one_is_given_what_that_declares(photo_folder: Path) -> None:
    class Outer(Identity):
        spec = MethodSpec("outer", "outer", "mine", "output", "the tests")

        @classmethod
        def prerequisite(cls, config: Any) -> Any:
            return methods.base.Prerequisite(NamedClasses, NamedClasses.Config())

    methods.register(Outer)
    cell = cell_of(suite(photo_folder, "outer"))
    assert cell.offers == {"reads_class_names"} and "class_names" in cell.identity
    assert cell_of(suite(photo_folder, "mean_colour")).offers == {"reads_images"}
    assert cell_of(suite(photo_folder, "identity")).offers == frozenset()

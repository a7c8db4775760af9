"""Absorption on planted parents and children: closed forms on the truth and on an oracle that absorbs parents."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from in_memory import MemoryTokens
from torch import Tensor

import harness
import methods
from harness.activations.pooled_codes import ImageCodes, LabelledCodes
from harness.datasets.base import ImageSet
from harness.errors import UserError
from harness.metrics.absorption import Absorption, absorption_rate
from harness.metrics.base import Outcome, Score
from harness.planted.absorbing import ACTIVE, Absorbing, absorbed_pairs
from harness.planted.backbone import truth
from harness.planted.evidence import KINDS, LayerResults, gather
from harness.planted.images import load, number_of
from harness.planted.oracle import Oracle
from harness.planted.truth import PlantedLayer
from harness.planted.verdicts import reports
from harness.planted.world import World, world
from methods.base import Method
from results import open_store

#: Children of each parent, and the first concept that is a parent.
CHILDREN, FIRST_PARENT = 3, 12
SUITE = Path(harness.__file__).parent / "suites" / "_planted_hierarchical.toml"
GROUPS = {str(group): [CHILDREN * group + child for child in range(CHILDREN)] for group in range(4)}


class PlantedSite:
    """Site of a world's layer, without a network."""

    def __init__(self, of: World) -> None:
        self.module = PlantedLayer(of.weight, of.bias, truth(of))
        self.weight, self.bias = of.weight, of.bias
        self.d_out, self.d_in = of.weight.shape


@cache
def fitted(name: str, share: float | None) -> Method:
    """Return the oracle of a world, or the absorbing one."""
    of = world(name)
    q = of.inputs[:4].flatten(0, 1)
    method = Oracle() if share is None else methods.create("absorbing", share=share)
    return method.fit(MemoryTokens(q, q @ of.weight.T + of.bias), PlantedSite(of))


def labelled(images: ImageSet, codes: Tensor) -> LabelledCodes:
    """Return the codes (480, T, n_units) of the images of a split, the largest over the tokens."""
    largest = codes[[number_of(record) for record in images.records]].amax(1)
    labels = torch.from_numpy(images.labels)
    return LabelledCodes(torch.arange(len(images)), labels, largest, largest, largest, largest, len(images))


def scores_of(name: str, codes: Tensor) -> dict[str, Score]:
    """Return the scores of codes (480, T, n_units) of all images of a world."""
    split = load(name).split(evaluation=200)
    baseline: Any = SimpleNamespace(images=split.evaluation, probing=SimpleNamespace(images=split.probing))
    both = ImageCodes(labelled(split.probing, codes), labelled(split.evaluation, codes))
    outcome = Outcome(SimpleNamespace(parents=None), None, baseline, 24, image_codes=both)  # type: ignore[arg-type]
    return {score.metric: score for score in Absorption(baseline).compute(outcome)}


def encoded(name: str, share: float | None) -> Tensor:
    return fitted(name, share).encode(world(name).inputs.flatten(0, 1)).unflatten(0, (480, -1))


class TestClosedForms:
    def test_the_truth_absorbs_nothing(self) -> None:
        scores = scores_of("hierarchical", encoded("hierarchical", None))
        for name in ("absorption", "absorption_missed", "absorption_null", "absorption_excess"):
            assert scores[name].value == 0 and scores[name].n == 12
        details = scores["absorption"].details
        assert details is not None and details["parent_auroc"] == 1 and details["active"] == 1
        assert details["n_parents"] == 4

    @pytest.mark.parametrize("share", [0.0, 0.33, 1 / 3, 0.5, 0.67, 1.0])
    def test_absorption_is_the_share_of_children_that_absorb_their_parent(self, share: float) -> None:
        """With m of K children min(m, K - 1) / K: the best unit of a parent is active on one child at least."""
        scores = scores_of("hierarchical", encoded("hierarchical", share))
        absorbed = min(round(CHILDREN * share), CHILDREN - 1)
        assert scores["absorption"].value == pytest.approx(absorbed / CHILDREN, abs=1e-12)
        assert scores["absorption_missed"].value == pytest.approx(absorbed / CHILDREN, abs=1e-12)
        # Permuted labels choose one of three units that are active on one sibling each.
        assert scores["absorption_null"].value <= scores["absorption"].value
        details = scores["absorption"].details
        # The unit is above all others on the images of K - m children, and equal on those of m.
        assert details is not None and details["parent_auroc"] == pytest.approx(1 - absorbed / CHILDREN / 2, abs=0.01)

    @pytest.mark.parametrize("share", [None, 1 / 3, 2 / 3, 1.0])
    def test_the_published_rate_is_1_with_and_without_absorption(self, share: float | None) -> None:
        """Few units are active, so most of the ten largest means are equal, and the same for a class and its group."""
        scores = scores_of("hierarchical", encoded("hierarchical", share))
        absorbed = 0 if share is None else round(CHILDREN * share)
        overlaps = []
        for group in range(4):
            active_in_group = set()
            of_class = []
            for child in range(CHILDREN):
                parent = {FIRST_PARENT + group} if child >= absorbed else set()
                of_class.append({CHILDREN * group + child} | parent)
                active_in_group |= of_class[-1]
            whole = ten_largest(active_in_group)
            overlaps += [len(ten_largest(each) & whole) / len(ten_largest(each) | whole) for each in of_class]
        rate = scores["absorption_rate"]
        assert rate.value == 1 and rate.n == 12 and rate.details is not None
        assert min(overlaps) > 0.5 and rate.details["overlap"] == pytest.approx(sum(overlaps) / 12)
        assert rate.details["f1_gap"] == 0

    def test_the_values_of_the_oracle_are_those_of_the_planted_strengths(self) -> None:
        """In the mixed world, parents are active on images of other classes, so there is no closed form."""
        strengths = world("hierarchical_mixed").strengths
        for absorbed in (0, 1, 2):
            planted = strengths.clone()
            for child in range(FIRST_PARENT):
                if child % CHILDREN < absorbed:
                    planted[..., FIRST_PARENT + child // CHILDREN][strengths[..., child] > 0] = 0
            measured = scores_of("hierarchical_mixed", encoded("hierarchical_mixed", absorbed / CHILDREN))
            expected = scores_of("hierarchical_mixed", planted)
            assert measured["absorption"].value == pytest.approx(expected["absorption"].value, abs=0.03)
            assert abs(measured["absorption"].value - absorbed / CHILDREN) < 0.12


def ten_largest(active: set[int]) -> set[int]:
    """Return the ten units with the largest means of 16, of which ``active`` are above 0: ties by number."""
    return active | set([unit for unit in range(16) if unit not in active][: 10 - len(active)])


class TestMethod:
    def test_codes_of_the_truth_are_the_strengths(self) -> None:
        strengths, codes = world("hierarchical").strengths, encoded("hierarchical", None)
        assert torch.equal(codes > 0, strengths > 0), "exactly 0 where a concept is not active"
        assert float((codes - strengths).abs().max()) < 0.05

    def test_a_parent_is_silent_exactly_on_the_children_that_absorb_it(self) -> None:
        plain, absorbing = encoded("hierarchical_mixed", None), encoded("hierarchical_mixed", 0.34)
        assert torch.equal(plain[..., :FIRST_PARENT], absorbing[..., :FIRST_PARENT])
        for parent in range(FIRST_PARENT, 16):
            taken = plain[..., CHILDREN * (parent - FIRST_PARENT)] > ACTIVE
            assert bool(taken.any()) and not absorbing[..., parent][taken].any()
            assert torch.equal(absorbing[..., parent][~taken], plain[..., parent][~taken])

    def test_the_child_carries_the_direction_of_its_parent(self) -> None:
        of, method, plain = world("hierarchical"), fitted("hierarchical", 0.34), fitted("hierarchical", None)
        atoms, true = method.require_dictionary().atoms, plain.require_dictionary().atoms
        expected = true.clone()
        for group in range(4):
            expected[CHILDREN * group] += true[FIRST_PARENT + group]
        assert torch.allclose(atoms, expected)
        codes = method.encode(of.inputs[0])
        assert torch.allclose(method.decode(codes), codes @ atoms + of.bias, atol=1e-4)

    def test_absorption_needs_fewer_units_and_reconstructs_nearly_as_well(self) -> None:
        of = world("hierarchical")
        q = of.inputs.flatten(0, 1)
        a = q @ of.weight.T + of.bias
        active, errors = [], []
        for share in (None, 1 / 3, 2 / 3, 1.0):
            codes = fitted("hierarchical", share).encode(q)
            active.append(float((codes > 0).double().sum(1).mean()))
            errors.append(float((fitted("hierarchical", share).decode(codes) - a).square().mean() / a.var(0).mean()))
        # A token with a concept needs two units, or one if the child has absorbed its parent.
        assert active == pytest.approx([active[0] * (1 - absorbed / 6) for absorbed in range(4)], rel=0.01)
        assert errors == sorted(errors) and errors[0] < 0.01 and errors[-1] < 0.06

    def test_nothing_is_absorbed_with_a_share_of_0(self) -> None:
        q = world("hierarchical").inputs[0]
        assert torch.equal(fitted("hierarchical", 0.0).encode(q), fitted("hierarchical", None).encode(q))

    def test_it_is_the_same_after_saving(self, tmp_path: Path) -> None:
        method, q = fitted("hierarchical", 0.34), world("hierarchical").inputs[0]
        again = Absorbing.load(method.save(tmp_path / "absorbing.safetensors"))
        assert torch.equal(again.encode(q), method.encode(q)) and again.config == method.config
        assert torch.equal(again.require_dictionary().atoms, method.require_dictionary().atoms)

    def test_layers_without_parents_are_refused(self) -> None:
        of = world("superposition")
        q = of.inputs[0]
        tokens = MemoryTokens(q, q @ of.weight.T)
        plain: Any = SimpleNamespace(module=torch.nn.Linear(2, 2), weight=of.weight, bias=of.bias, d_in=48, d_out=24)
        for site in (PlantedSite(of), plain):
            with pytest.raises(UserError, match="use a backbone planted:hierarchical"):
                methods.create("absorbing").fit(tokens, site)

    @pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), "most"])
    def test_wrong_shares_are_refused(self, share: object) -> None:
        with pytest.raises(UserError, match="share"):
            methods.create("absorbing", share=share)


@pytest.mark.parametrize(("share", "n"), [(0, 0), (0.2, 1), (0.5, 2), (0.8, 3), (1, 4)])
def test_pairs_are_the_first_children_of_each_parent(share: float, n: int) -> None:
    """Parents of four and of one child: concepts 0 to 3 are below 5, and 4 below 6. Halves go to the even number."""
    pairs = absorbed_pairs(torch.tensor([5, 5, 5, 5, 6, -1, -1]), share)
    assert pairs.nonzero().tolist() == [[child, 5] for child in range(n)] + ([[4, 6]] if share > 0.5 else [])


def test_layers_with_parents_are_a_kind_of_their_own_and_no_method_is_made_of_the_truth() -> None:
    methods_of = {"truth": "oracle", "copies": "collapsed", "a": "absorbing", "pca": "pca", "r": "pca"}
    values = pd.DataFrame({"absorption": 0.0}, index=list(methods_of))
    for name, kind in (("hierarchical@0", "hierarchy"), ("noisy@1", "mixtures"), ("superposition@0", "superposition")):
        layer = LayerResults(f"planted:{name}", values, methods_of, "truth", "r", "copies")
        assert layer.kind == kind and kind in KINDS and layer.compared == ["pca", "r"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the shipped suite with two layers and few methods."""
    path = tmp_path_factory.mktemp("hierarchy") / "results.duckdb"
    few = ("oracle", "absorbing", "random_dictionary")
    suite = harness.load_suite(SUITE, methods=few, settings=["seeds.init=[42]"])
    harness.run_suite(suite.model_copy(update={"targets": suite.targets[:2]}), store=path)
    return path


@pytest.mark.slow
class TestRun:
    def test_stored_values_are_the_closed_forms(self, store: Path) -> None:
        stored = open_store(store).scores(metric="absorption").groupby("label")["value"].agg(list)
        expected: Mapping[str, float] = {
            "truth": 0,
            "absorbing, 1 of 3": 1 / 3,
            "absorbing, 2 of 3": 2 / 3,
            "absorbing, 3 of 3": 2 / 3,
        }
        for label, value in expected.items():
            assert stored[label] == pytest.approx([value, value])
        assert all(0.05 < value < 0.33 for value in stored["random dictionary"])

    def test_the_verdict_is_on_a_kind_of_its_own_without_the_absorbing_oracle_among_the_methods(
        self, store: Path
    ) -> None:
        opened = open_store(store)
        evidence = gather(opened, list(opened.scores()["cell_id"].unique()))
        assert [layer.kind for layer in evidence.worlds] == ["hierarchy", "hierarchy"]
        assert evidence.worlds[0].compared == ["random dictionary"]
        (report,) = reports(evidence, resamples=100)
        gaps = {verdict.metric: verdict.gap for verdict in report.verdicts}
        assert gaps["absorption"].truth.value == 0 and gaps["absorption"].wins == gaps["absorption"].n == 2
        assert gaps["absorption_rate"].wins == 0


def test_the_published_rate_sees_nothing_of_codes_that_are_planted_by_hand() -> None:
    """The same with a dictionary of many dead units: whatever is absorbed, the rate is 1."""
    labels = torch.arange(240) % 12
    codes = torch.zeros(240, 100)
    codes[torch.arange(240), labels] = 1
    for silent in (0, 1, 2, 3):
        codes[torch.arange(240), FIRST_PARENT + labels // CHILDREN] = (labels % CHILDREN >= silent).float()
        assert absorption_rate(codes, labels, GROUPS).rate == 1

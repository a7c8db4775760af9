"""ELUDe's fit in parts, as several workers compute it: the same bits as the fit as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from in_memory import MemorySite, MemoryTokens, small_layer

import methods
from methods.divisible import DivisibleFit
from methods.elude import lanes as lanes_module
from methods.elude.lanes import plan_lanes
from methods.elude.method import ELUDe, unit_bytes
from methods.elude.resume import UnitFiles
from methods.errors import UserError

pytestmark = pytest.mark.run

SETTINGS = {"top_k": 120, "min_cluster_size": 15}


@pytest.fixture(scope="module")
def layer() -> tuple[MemorySite, MemoryTokens]:
    return small_layer(d_out=12)


@pytest.fixture(scope="module")
def whole(layer: tuple[MemorySite, MemoryTokens]) -> ELUDe:
    fitted = methods.create("elude", **SETTINGS).fit(layer[1], layer[0])
    assert fitted.n_units > layer[0].d_out, "without a split neuron the tests show nothing"
    return fitted


def unfitted(folder: Path | None) -> ELUDe:
    method = methods.create("elude", **SETTINGS)
    assert isinstance(method, ELUDe)
    method.work_dir = folder
    return method


def same(a: ELUDe, b: ELUDe) -> bool:
    return all(torch.equal(getattr(a, name).nan_to_num(-1), getattr(b, name).nan_to_num(-1)) for name in a.fitted)


@pytest.mark.parametrize(
    "parts",
    [
        [range(0, 6), range(6, 12)],
        [range(7, 12), range(0, 7)],
        [range(unit, unit + 1) for unit in (3, 11, 0, 5, 1, 2, 4, 10, 9, 8, 7, 6)],
        [range(0, 8), range(4, 12)],
        [range(0, 5)],
        [range(3, 3), range(9, 12)],
    ],
    ids=["two", "another order", "one each", "overlapping", "a part was lost", "an empty part"],
)
def test_any_division_gives_the_bits_of_the_whole(
    layer: tuple[MemorySite, MemoryTokens], whole: ELUDe, tmp_path: Path, parts: list[range]
) -> None:
    site, tokens = layer
    folder = tmp_path / "work"
    for items in parts:
        reports: list[tuple[int, int]] = []
        unfitted(folder).fit_part(
            tokens, site, items, progress=lambda done, total, what, into=reports: into.append((done, total))
        )
        assert reports[-1] == (len(items), len(items))
    counts: list[int] = []
    method = unfitted(folder).fit(tokens, site, progress=lambda done, *_: counts.append(done))
    assert counts[0] == len({unit for items in parts for unit in items}), "computed neurons are not computed again"
    assert same(method, whole) and method.notes == whole.notes
    assert not folder.exists()


def test_a_part_takes_up_what_an_earlier_one_has_left(
    layer: tuple[MemorySite, MemoryTokens], whole: ELUDe, tmp_path: Path
) -> None:
    site, tokens = layer

    def stop_at_two(done: int, total: int, what: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unfitted(tmp_path).fit_part(tokens, site, range(0, 6), progress=stop_at_two)
    counts: list[int] = []
    # Another run may have another number of workers, so its ranges differ.
    unfitted(tmp_path).fit_part(tokens, site, range(0, 4), progress=lambda done, *_: counts.append(done))
    assert counts[0] >= 2 and counts[-1] == 4
    assert same(unfitted(tmp_path).fit(tokens, site), whole)


def test_parts_of_another_fit_are_not_joined(
    layer: tuple[MemorySite, MemoryTokens], whole: ELUDe, tmp_path: Path
) -> None:
    site, tokens = layer
    other = methods.create("elude", top_k=100, min_cluster_size=15)
    other.work_dir = tmp_path
    assert isinstance(other, ELUDe)
    other.fit_part(tokens, site, range(0, 12))
    assert same(unfitted(tmp_path).fit(tokens, site), whole)


def test_the_number_of_items_is_the_number_of_neurons(layer: tuple[MemorySite, MemoryTokens]) -> None:
    method = unfitted(None)
    assert isinstance(method, DivisibleFit) and method.fit_items(method.config, layer[0]) == 12


def test_a_part_checks_what_it_is_given(layer: tuple[MemorySite, MemoryTokens], tmp_path: Path) -> None:
    site, tokens = layer
    with pytest.raises(UserError, match="set work_dir"):
        unfitted(None).fit_part(tokens, site, range(0, 2))
    broken = MemoryTokens(tokens.fields["input"].clone(), tokens.fields["output"])
    broken.fields["input"][7, 0] = float("nan")
    with pytest.raises(UserError, match=r"NaN or infinity .*row 7"):
        unfitted(tmp_path).fit_part(broken, site, range(0, 2))
    assert UnitFiles(tmp_path, "any").read() == {} and not list(tmp_path.iterdir())


def test_a_machine_with_several_gpus_has_lanes_on_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neurons go to the lane that is free, so the devices of one machine need no ranges."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert [str(lane) for lane in plan_lanes("cuda", None, 1)] == ["cuda:0", "cuda:1", "cuda:2"] * 2
    assert [str(lane) for lane in plan_lanes("cuda:2", None, 1)] == ["cuda:2"] * 2


@pytest.mark.parametrize("free, lanes", [(75e9, 2), (40e9, 1), (20e9, 1), (None, 2)])
def test_two_neurons_at_a_time_on_a_gpu_if_they_fit(
    monkeypatch: pytest.MonkeyPatch, free: float | None, lanes: int
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(lanes_module, "free_memory", lambda device: None if free is None else int(free))
    neuron = unit_bytes(400_000, 3072)
    assert len(plan_lanes("cuda", None, neuron)) == lanes
    assert len(plan_lanes("cuda", 3, neuron)) == 3, "a number that was asked for is kept"

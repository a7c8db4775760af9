"""The whole method: interrupted and resumed, side by side, in pieces, and with its ablations."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from in_memory import MemorySite, MemoryTokens, small_layer
from paths import ROOT, SUPPORT
from safetensors.torch import load_file

import methods
from methods.elude import contributions, resume, split
from methods.elude import method as method_module
from methods.elude.clustering import cluster, unit_rows
from methods.elude.contributions import gather, normalise, summarise
from methods.elude.inputs import Inputs
from methods.elude.lanes import plan_lanes, side_by_side
from methods.elude.method import ELUDe
from methods.elude.objectives import best_of, contrast, ratio, share
from methods.elude.resume import UnitFiles, build_key
from methods.elude.splitting import claims
from methods.errors import UserError

pytestmark = pytest.mark.run

SETTINGS = {"top_k": 120, "min_cluster_size": 15}


def same(a: ELUDe, b: ELUDe) -> bool:
    return all(torch.equal(getattr(a, name).nan_to_num(-1), getattr(b, name).nan_to_num(-1)) for name in a.fitted)


@pytest.fixture(scope="module")
def layer() -> tuple[MemorySite, MemoryTokens]:
    return small_layer(d_out=12)


@pytest.fixture(scope="module")
def whole(layer: tuple[MemorySite, MemoryTokens]) -> ELUDe:
    site, tokens = layer
    fitted = methods.create("elude", **SETTINGS).fit(tokens, site)
    assert fitted.n_units > site.d_out, "nothing was split: the tests show nothing"
    return fitted


# ---- resuming


def test_an_interrupted_fit_goes_on(
    layer: tuple[MemorySite, MemoryTokens], whole: ELUDe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, tokens = layer
    monkeypatch.setattr(resume, "FLUSH_SECONDS", 0.0)
    seen: list[int] = []

    def stop_at_five(done: int, total: int, what: str) -> None:
        seen.append(done)
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        methods.create("elude", **SETTINGS).fit(tokens, site, progress=stop_at_five, checkpoint_dir=tmp_path / "work")
    assert len(list((tmp_path / "work").iterdir())) == 5
    (tmp_path / "work" / "left.tmp").write_bytes(b"half a file")
    seen.clear()
    method = methods.create("elude", **SETTINGS)
    method.fit(tokens, site, progress=lambda done, *_: seen.append(done), checkpoint_dir=tmp_path / "work")
    assert seen == list(range(5, 13)), "five neurons are there already"
    assert same(method, whole)
    assert not (tmp_path / "work").exists(), "removed when the fit is done"


def test_what_is_found_must_belong_to_the_build(
    layer: tuple[MemorySite, MemoryTokens], whole: ELUDe, tmp_path: Path
) -> None:
    site, tokens = layer
    folder = tmp_path / "work"
    files = UnitFiles(folder, "another build")
    files.add(0, resume.Part(torch.zeros(1, site.d_in), torch.zeros(1), 0.5, 3))
    files.flush()
    (folder / "units-000007.safetensors").write_bytes(b"torn")
    (folder / "notes.txt").write_text("mine")
    method = methods.create("elude", **SETTINGS).fit(tokens, site, checkpoint_dir=folder)
    assert same(method, whole)
    assert [file.name for file in folder.iterdir()] == ["notes.txt"], "what is not ours stays"


def test_a_fit_without_missing_neurons_copies_no_inputs(
    layer: tuple[MemorySite, MemoryTokens], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, tokens = layer
    lanes: list[int] = []
    plain = method_module.Inputs
    monkeypatch.setattr(method_module, "Inputs", lambda *a: lanes.append(len(a[1])) or plain(*a))
    for _ in range(2):
        method = methods.create("elude", **SETTINGS)
        method.work_dir = tmp_path / "work"
        method.fit_part(tokens, site, range(2))
    assert lanes[0] > 0 and lanes[1] == 0


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    files = UnitFiles(tmp_path, "key")
    files.add(3, resume.Part(torch.arange(4.0).view(2, 2), torch.ones(2), float("nan"), 1))
    files.flush()
    (file,) = tmp_path.iterdir()
    (found,) = UnitFiles(tmp_path, "key").read().values()
    assert found.weights.tolist() == [[0, 1], [2, 3]] and np.isnan(found.rho) and found.n_noise == 1
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert UnitFiles(tmp_path, "key").read() == {} and not file.exists()


def test_the_key_names_all_that_matters(layer: tuple[MemorySite, MemoryTokens]) -> None:
    site, tokens = layer
    other_tokens = MemoryTokens(tokens.fields["input"] + 1e-3, tokens.fields["output"])
    other_site = MemorySite(site.weight, site.bias + 1e-3)
    keys = [
        build_key(tokens, site, {"a": 1}),
        build_key(tokens, site, {"a": 2}),
        build_key(other_tokens, site, {"a": 1}),
        build_key(tokens, other_site, {"a": 1}),
    ]
    assert len(set(keys)) == 4 and keys[0] == build_key(tokens, site, {"a": 1})


CHILD = """
import sys, time
sys.path[:0] = [{root!r}, {tests!r}]
from in_memory import small_layer
import methods
from methods.elude import resume
resume.FLUSH_SECONDS = 0.0
site, tokens = small_layer(d_out=12)
slow = lambda done, total, what: time.sleep(0.4 if done > 3 else 0)
methods.create("elude", top_k=120, min_cluster_size=15).fit(
    tokens, site, progress=slow, checkpoint_dir={folder!r}, workers={workers}
)
"""


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_killed_fit_goes_on_to_the_same_result(
    layer: tuple[MemorySite, MemoryTokens], whole: ELUDe, tmp_path: Path, workers: int
) -> None:
    site, tokens = layer
    folder = tmp_path / "work"
    tests = SUPPORT
    code = CHILD.format(root=str(tests.parent), tests=str(tests), folder=str(folder), workers=workers)
    child = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 120
    while not folder.is_dir() or len(list(folder.glob("units-*"))) < 4:
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    left = len(list(folder.glob("units-*")))
    assert 4 <= left < 12, "it was killed in the middle"
    first: list[int] = []
    method = methods.create("elude", **SETTINGS)
    method.fit(tokens, site, progress=lambda done, *_: first.append(done), checkpoint_dir=folder)
    assert first[0] == left and same(method, whole)


# ---- two processes at the same fit


def test_one_that_finishes_first_takes_nothing_from_the_other(
    layer: tuple[MemorySite, MemoryTokens], whole: ELUDe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, tokens = layer
    folder = tmp_path / "work"
    monkeypatch.setattr(resume, "FLUSH_SECONDS", 0.0)
    finished: list[ELUDe] = []

    def another_at_five(done: int, total: int, what: str) -> None:
        if done == 5:
            finished.append(methods.create("elude", **SETTINGS).fit(tokens, site, checkpoint_dir=folder))
            assert not folder.exists()

    method = methods.create("elude", **SETTINGS).fit(tokens, site, progress=another_at_five, checkpoint_dir=folder)
    assert same(method, whole) and same(finished[0], whole)
    assert not folder.exists()


@pytest.mark.parametrize("meanwhile", ["read", "remove"])
def test_a_file_in_the_making_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: str) -> None:
    save, folder = resume.save, tmp_path / "work"

    def disturbed(*arguments: Any, **options: Any) -> bytes:
        getattr(UnitFiles(folder, "key"), meanwhile)()
        return save(*arguments, **options)

    monkeypatch.setattr(resume, "save", disturbed)
    files = UnitFiles(folder, "key")
    files.add(3, resume.Part(torch.ones(2, 2), torch.ones(2), 0.5, 1))
    files.flush()
    assert list(UnitFiles(folder, "key").read()) == ([3] if meanwhile == "read" else [])
    monkeypatch.setattr(resume, "save", save)
    files.flush()
    assert list(UnitFiles(folder, "key").read()) == [3], "held until it is written"


def test_both_at_once_end_alike(
    layer: tuple[MemorySite, MemoryTokens], whole: ELUDe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, tokens = layer
    monkeypatch.setattr(resume, "FLUSH_SECONDS", 0.0)

    def fit(number: int) -> ELUDe:
        return methods.create("elude", **SETTINGS).fit(tokens, site, checkpoint_dir=tmp_path / "work", workers=1)

    with ThreadPoolExecutor(3) as pool:
        assert all(same(method, whole) for method in pool.map(fit, range(9)))
    assert not (tmp_path / "work").exists()


# ---- side by side


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_number_of_workers_changes_nothing(
    layer: tuple[MemorySite, MemoryTokens], whole: ELUDe, workers: int
) -> None:
    site, tokens = layer
    threads = torch.get_num_threads()
    assert same(methods.create("elude", **SETTINGS).fit(tokens, site, workers=workers), whole)
    assert torch.get_num_threads() == threads


def test_lanes_follow_memory_and_devices() -> None:
    threads = torch.get_num_threads()
    assert len(plan_lanes("cpu", None, 1)) == threads
    assert len(plan_lanes("cpu", None, 1 << 40)) == 1
    assert len(plan_lanes("cpu", 5, 1 << 40)) == 5
    assert [str(lane) for lane in plan_lanes("cuda:1", 3, 1)] == ["cuda:1"] * 3
    assert plan_lanes("mps", 1, 1)[0].type == "cpu"


def test_no_workers_is_refused(layer: tuple[MemorySite, MemoryTokens]) -> None:
    with pytest.raises(UserError, match="workers = 0"):
        methods.create("elude", **SETTINGS).fit(layer[1], layer[0], workers=0)


def test_an_error_in_a_lane_reaches_the_caller_and_items_are_taken_as_needed() -> None:
    taken: list[int] = []

    def items():
        for i in range(100):
            taken.append(i)
            yield i

    def work(item: int, device: torch.device) -> int:
        if item == 3:
            raise ValueError("three")
        return item

    with pytest.raises(ValueError, match="three"):
        list(side_by_side(work, items(), [torch.device("cpu")] * 2))
    assert len(taken) <= 8


# ---- in pieces


def test_pieces_change_nothing(layer: tuple[MemorySite, MemoryTokens], monkeypatch: pytest.MonkeyPatch) -> None:
    site, tokens = layer
    rows = np.arange(5, 120, 3)
    inputs = Inputs(tokens, [torch.device("cpu")], 0)
    once = gather(inputs, rows, site.weight[0], torch.device("cpu"))
    monkeypatch.setattr(contributions, "PIECE", 4 * site.d_in * 7)
    pieces = gather(inputs, rows, site.weight[0], torch.device("cpu"))
    assert all(torch.equal(a, b) for a, b in zip(once, pieces, strict=True))
    raw = tokens.gather("input", rows) * site.weight[0]
    torch.testing.assert_close(once.directions * once.lengths[:, None], raw)
    torch.testing.assert_close(once.directions, unit_rows(raw)[0])


def test_both_ways_of_summing_agree() -> None:
    generator = torch.Generator().manual_seed(0)
    found = normalise(torch.randn(50, 19, generator=generator))
    labels = torch.randint(-1, 3, (50,), generator=generator)
    probabilities = torch.rand(50, generator=generator)
    by_row = contributions._sums_by_row(found, labels, probabilities, 3)
    torch.testing.assert_close(by_row, contributions._sums_by_product(found, labels, probabilities, 3))


def test_lengths_of_tiny_and_huge_contributions() -> None:
    rows = torch.tensor([[3e-30, 4e-30], [3e30, 4e30], [0.0, 0.0]])
    found = normalise(rows)
    torch.testing.assert_close(found.directions, torch.tensor([[0.6, 0.8], [0.6, 0.8], [0.0, 0.0]]))
    torch.testing.assert_close(found.lengths, torch.tensor([5e-30, 5e30, 0.0]))


def test_the_method_is_the_public_functions_one_after_the_other(
    layer: tuple[MemorySite, MemoryTokens], whole: ELUDe
) -> None:
    site, tokens = layer
    for unit in range(site.d_out):
        rows = np.sort(np.argsort(-tokens.fields["output"][:, unit].numpy(), kind="stable")[: SETTINGS["top_k"]])
        raw = tokens.fields["input"][torch.from_numpy(rows)] * site.weight[unit]
        found = cluster(normalise(raw).directions, min_cluster_size=SETTINGS["min_cluster_size"])
        made = split(site.weight[unit], site.bias[unit], raw, found.labels, found.probabilities)
        assert torch.equal(made.weights, whole.weights[whole.parent == unit])
        assert torch.equal(made.biases, whole.biases[whole.parent == unit])


# ---- ablations


def test_objectives_by_hand() -> None:
    matrix = torch.tensor([[3.0, 1.0], [0.0, 2.0]])
    assert float(contrast(matrix)) == pytest.approx((2 + 2) / 2)
    assert float(ratio(matrix)) == pytest.approx((3 + 2) / (1 + 0))
    assert float(share(matrix)) == pytest.approx((3 / 4 + 2 / 2) / 2)
    assert float(ratio(torch.eye(2))) == float("inf")
    assert float(ratio(-torch.eye(2))) == 0.0 and float(share(-torch.eye(2))) == 0.0
    assert float(share(torch.tensor([[1.0, -5.0], [-5.0, 1.0]]))) == 1.0


def test_the_best_is_the_first_of_equals() -> None:
    assert best_of(torch.tensor([1.0, 2.0, 2.0 + 1e-13], dtype=torch.float64)) == 1
    assert best_of(torch.tensor([1.0, float("inf"), float("inf")])) == 1
    assert best_of(torch.zeros(3)) == 0


def test_signed_scores_leave_negative_claims_out() -> None:
    representatives = torch.tensor([[0.5, -0.9, -0.1], [-0.4, 0.1, -0.2]])
    assert claims(representatives, "absolute").tolist() == representatives.abs().tolist()
    assert claims(representatives, "signed").tolist() == representatives.clamp_min(0).tolist()
    weight = torch.ones(3)
    raw = torch.tensor([[5.0, -9.0, -1.0]] * 4 + [[-4.0, 1.0, -2.0]] * 4)
    labels = torch.tensor([0] * 4 + [1] * 4)
    signed = split(weight, 0.0, raw, labels, torch.ones(8), scores="signed")
    # The second dimension holds the first cluster down: it is the second one's, and the third one is nobody's.
    assert signed.shares.tolist() == [[1.0, 0.0, 0.5], [0.0, 1.0, 0.5]]
    assert split(weight, 0.0, raw, labels, torch.ones(8)).shares[1, 1] < 1.0


@pytest.mark.parametrize(
    "option",
    [
        {"scores": "signed"},
        {"objective": "ratio"},
        {"objective": "share"},
        {"winner_rule": "gap"},
        {"cluster_selection_method": "eom"},
        {"min_samples": 5},
    ],
)
def test_every_ablation_is_lossless_and_part_of_the_configuration(
    layer: tuple[MemorySite, MemoryTokens], option: dict[str, object]
) -> None:
    site, tokens = layer
    method = methods.create("elude", **SETTINGS, **option).fit(tokens, site)
    a_hat = method.decode(method.encode(tokens.fields["input"]))
    torch.testing.assert_close(a_hat, tokens.fields["output"], rtol=1e-5, atol=1e-4)
    assert json.loads(method.config.model_dump_json())[next(iter(option))] == next(iter(option.values()))


def test_unknown_rules_are_named() -> None:
    ones, labels = torch.ones(3, 4), torch.zeros(3, dtype=torch.int64)
    with pytest.raises(UserError, match="scores = 'squared'"):
        split(ones[0], 0.0, ones, labels, torch.ones(3), scores="squared")
    with pytest.raises(UserError, match="objective = 'margin'"):
        split(ones[0], 0.0, ones, labels, torch.ones(3), objective="margin")


def test_files_hold_plain_tensors(layer: tuple[MemorySite, MemoryTokens], tmp_path: Path) -> None:
    files = UnitFiles(tmp_path, "key")
    for unit in (4, 2):
        files.add(unit, resume.Part(torch.full((2, 3), float(unit)), torch.ones(2), 0.5, 0))
    files.flush()
    (file,) = tmp_path.iterdir()
    assert file.name == "units-000002.safetensors" and load_file(file)["unit"].tolist() == [2, 4]


def test_summaries_without_members_are_finite() -> None:
    found = summarise(normalise(torch.ones(2, 3)), torch.tensor([0, 0]), torch.zeros(2), 2)
    assert torch.isfinite(found.representatives).all() and torch.isfinite(found.means).all()


def test_the_documented_example_runs() -> None:
    text = (ROOT / "docs" / "elude.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    torch.manual_seed(0)
    names: dict[str, object] = {}
    exec(compile(code, "docs/elude.md", "exec"), names)
    assert not torch.equal(names["steered"], names["before"])  # type: ignore[arg-type]

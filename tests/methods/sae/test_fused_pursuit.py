"""Kernels of matching pursuit, in Triton's interpreter on the CPU, beside PyTorch's operations."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import warnings
from typing import Any

import pytest
import torch
from in_memory import small_layer
from step_recorder import Recorder
from torch import Tensor
from torch.nn import functional

import methods
from methods.sae import fused_pursuit, matching_pursuit_steps, pursuit_operations
from methods.sae.matching_pursuit_steps import Path, Residual, gram_of, pursue
from methods.training import graphs

INF, NAN = torch.inf, torch.nan

# Triton decides when it is imported whether programs are interpreted, so these tests run in a process of their own.
interpreted = pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="run by test_in_the_interpreter")
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: the kernels ran in the interpreter")


def test_in_the_interpreter() -> None:
    """Run the tests below on the CPU."""
    pytest.importorskip("triton")
    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("this is that process")
    options = ["-p", "no:cacheprovider", "-o", "addopts=", "-k", "kernel", "-m", "not gpu"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, __file__],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert int(re.findall(r"(\d+) passed", done.stdout)[-1]) > 30


@pytest.fixture
def kernels() -> fused_pursuit.Kernels:
    return fused_pursuit.Kernels(importlib.import_module("methods.sae.pursuit_programs"))


@pytest.fixture
def untried() -> Any:
    """Forget trials before and after the test."""
    for trial in (fused_pursuit._choosing, fused_pursuit._adding):
        trial.cache_clear()
    yield
    for trial in (fused_pursuit._choosing, fused_pursuit._adding):
        trial.cache_clear()


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_pursuit, "fused_here", lambda row: True)
    for module in (matching_pursuit_steps, importlib.import_module("methods.training.entries")):
        monkeypatch.setattr(module, "sparse_here", lambda x: False)


def seeded(*numbers: int) -> torch.Generator:
    return torch.Generator().manual_seed(hash(numbers) % 2**31)


def assert_same_choice(kernels: fused_pursuit.Kernels, correlations: Tensor, gram: Tensor, k: int) -> None:
    before = correlations.clone()
    units, values = kernels.choose(correlations, gram, k)
    expected_units, expected_values = pursuit_operations.choose_by_gram(before.clone(), gram, k)
    torch.testing.assert_close(correlations, before, rtol=0, atol=0, equal_nan=True)
    assert units.dtype == torch.int64 and torch.equal(units, expected_units)
    torch.testing.assert_close(values, expected_values, equal_nan=True)


def path_of(x: Tensor, atoms: Tensor, k: int) -> Path:
    return Path(*pursuit_operations.choose_by_gram(x @ atoms.T, atoms @ atoms.T, k))


# ---- the kernels


@interpreted
@pytest.mark.parametrize(
    "n, n_units, k", [(1, 1, 1), (1, 1, 3), (5, 2, 4), (3, 7, 1), (4, 64, 6), (3, 1000, 5), (2, 1025, 3)]
)
def test_the_kernel_chooses_like_the_operations(kernels: fused_pursuit.Kernels, n: int, n_units: int, k: int) -> None:
    generator = seeded(n, n_units, k)
    atoms = functional.normalize(torch.randn(n_units, 24, generator=generator), dim=1)
    x = torch.randn(n, 24, generator=generator)
    assert_same_choice(kernels, x @ atoms.T, atoms @ atoms.T, k)


@interpreted
@pytest.mark.parametrize("seed", range(8))
def test_the_kernel_chooses_the_first_of_equals(kernels: fused_pursuit.Kernels, seed: int) -> None:
    """Small whole numbers, also negative ones: many ties, and no rounding."""
    generator = seeded(seed)
    n_units = int(torch.randint(3, 40, (), generator=generator))
    correlations = torch.randint(-3 - 4 * (seed % 2), 1 + 3 * (seed % 3), (6, n_units), generator=generator).float()
    gram = torch.randint(-1, 3, (n_units, n_units), generator=generator).float()
    assert_same_choice(kernels, correlations, gram, 5)


@interpreted
@pytest.mark.parametrize("seed", range(8))
def test_the_kernel_chooses_numbers_that_are_not_finite_like_the_operations(
    kernels: fused_pursuit.Kernels, seed: int
) -> None:
    generator = seeded(seed, 1)
    n_units = int(torch.randint(2, 20, (), generator=generator))
    special = torch.tensor([NAN, INF, -INF, 0.0, -0.0, 1.0, -2.0])
    draws = torch.multinomial(torch.tensor([1.0, 1, 2, 4, 4, 4, 4]), 8 * n_units, True, generator=generator)
    correlations = special[draws].reshape(8, n_units)
    correlations[0], correlations[1] = NAN, -INF
    gram = torch.randint(-1, 3, (n_units, n_units), generator=generator).float()
    if seed % 2:
        gram[0, -1], gram[-1, 0] = INF, NAN
    assert_same_choice(kernels, correlations, gram, 4)


@interpreted
def test_the_kernel_never_chooses_a_unit_that_is_not_there(kernels: fused_pursuit.Kernels) -> None:
    """An infinite step with a negative Gram matrix leaves no NaN in the row, but would leave one behind its end."""
    correlations, gram = torch.full((1, 5), INF), torch.full((5, 5), -1.0)
    units, values = kernels.choose(correlations, gram, 3)
    assert units.tolist() == [[0, 0, 0]] and values.tolist() == [[INF, INF, INF]]


@interpreted
@pytest.mark.parametrize("n, n_units, d, k", [(1, 1, 1, 1), (1, 3, 2, 5), (7, 20, 24, 6), (3, 9, 300, 4)])
def test_the_kernel_adds_the_gradient_of_the_steps(
    kernels: fused_pursuit.Kernels, n: int, n_units: int, d: int, k: int
) -> None:
    generator = seeded(n, n_units, d, k)
    atoms = functional.normalize(torch.randn(n_units, d, generator=generator), dim=1)
    x, slope = torch.randn(2, n, d, generator=generator)
    path = path_of(x, atoms, k)
    free = atoms.double().requires_grad_()
    residual = x.double()
    for unit in path.units.unbind(1):
        residual = residual - (residual * free[unit]).sum(1, keepdim=True) * free[unit]
    (expected,) = torch.autograd.grad(residual, free, slope.double())
    totals = torch.ones(n_units, d)
    arguments = [path.units, path.values, residual.detach().float(), slope, atoms]
    before = [part.clone() for part in arguments]
    kernels.add_gradient(totals, *arguments)
    assert all(torch.equal(part, copy) for part, copy in zip(arguments, before, strict=True))
    torch.testing.assert_close(totals.double(), 1 + expected, rtol=1e-5, atol=1e-5)


@interpreted
def test_the_kernels_do_nothing_without_rows(kernels: fused_pursuit.Kernels) -> None:
    units, values = kernels.choose(torch.empty(0, 6), torch.eye(6), 2)
    assert units.shape == values.shape == (0, 2)
    totals = torch.ones(6, 3)
    kernels.add_gradient(totals, units, values, torch.empty(0, 3), torch.empty(0, 3), torch.ones(6, 3))
    assert torch.equal(totals, torch.ones(6, 3))


@interpreted
@pytest.mark.usefixtures("untried")
@pytest.mark.parametrize("length", [1, 2, 3, 5, 300])
def test_a_trial_of_each_kernel(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert fused_pursuit._choosing(cpu, length) is not None and fused_pursuit._adding(cpu, length) is not None
    fused_pursuit._choosing.cache_clear()
    fused_pursuit._adding.cache_clear()
    right = fused_pursuit.Kernels.choose

    def last_of_equals(self: Any, correlations: Tensor, gram: Tensor, k: int) -> tuple[Tensor, Tensor]:
        # A whole Gram matrix: the trial's has the rows of the first units only, and the last ones are chosen here.
        n_units = correlations.shape[1]
        whole = torch.zeros(n_units, n_units)
        whole[:4] = gram[:n_units]
        units, values = right(self, correlations.flip(1), whole.flip((0, 1)), k)
        return correlations.shape[1] - 1 - units, values

    monkeypatch.setattr(fused_pursuit.Kernels, "choose", last_of_equals)
    monkeypatch.setattr(fused_pursuit.Kernels, "add_gradient", lambda *_: None)
    if length > 1:
        with pytest.warns(UserWarning, match=r"\(wrong results of choose\), so matching pursuit is computed with Py"):
            assert fused_pursuit._choosing(cpu, length) is None
    with pytest.warns(UserWarning, match=r"\(wrong results of add_gradient\)"):
        assert fused_pursuit._adding(cpu, length) is None


@interpreted
@pytest.mark.usefixtures("as_on_a_gpu", "untried")
def test_a_fit_with_kernels_is_that_with_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    site, tokens = small_layer(n=48)
    config = {"expansion_factor": 3, "k": 3, "epochs": 3, "batch_size": 24, "learning_rate": 1e-2}
    fused = methods.create("matching_pursuit_sae", **config).fit(tokens, site, seed=1)
    a = tokens.fields["output"]
    codes = fused.encode(a)
    monkeypatch.setattr(fused_pursuit, "fused_here", lambda row: False)
    plain = methods.create("matching_pursuit_sae", **config).fit(tokens, site, seed=1)
    for part in fused.fitted:
        torch.testing.assert_close(getattr(fused, part), getattr(plain, part), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(codes, plain.encode(a), rtol=1e-4, atol=1e-4)
    assert fused_pursuit._choosing.cache_info().currsize == fused_pursuit._adding.cache_info().currsize == 1


# ---- the operators, which compute with PyTorch's operations where Triton fails


@pytest.fixture
def without_triton(untried: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "methods.sae.pursuit_programs", None)


@pytest.mark.usefixtures("without_triton")
def test_operations_replace_kernels_that_fail() -> None:
    generator = seeded(3)
    atoms = functional.normalize(torch.randn(12, 5, generator=generator), dim=1)
    x = torch.randn(9, 5, generator=generator)
    path = path_of(x, atoms, 3)
    correlations = x @ atoms.T
    with pytest.warns(UserWarning, match=r"Triton fails on this GPU \(ModuleNotFoundError.*which are slower\.$"):
        units, values = fused_pursuit.choose(correlations, atoms @ atoms.T, 3)
    assert torch.equal(units, path.units) and torch.equal(values, path.values)
    assert torch.equal(correlations, x @ atoms.T), "an operator does not change its arguments"
    totals, expected = torch.zeros_like(atoms), torch.zeros_like(atoms)
    with pytest.warns(UserWarning, match="Triton fails"):
        fused_pursuit.add_gradient(totals, *path, x, x + 1, atoms)
    pursuit_operations.add_gradient(expected, *path, x, x + 1, atoms)
    assert torch.equal(totals, expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fused_pursuit.choose(correlations, atoms @ atoms.T, 3)


@pytest.mark.usefixtures("without_triton")
@pytest.mark.filterwarnings("ignore:Triton fails")
def test_operators_keep_the_rules_of_operators() -> None:
    """Their schemas, and shapes and types for tensors without values."""
    generator = seeded(4)
    atoms, x = torch.randn(12, 5, generator=generator), torch.randn(9, 5, generator=generator)
    torch.library.opcheck(fused_pursuit.choose, (x @ atoms.T, atoms @ atoms.T, 3))
    torch.library.opcheck(fused_pursuit.add_gradient, (torch.zeros_like(atoms), *path_of(x, atoms, 3), x, x + 1, atoms))


@pytest.mark.usefixtures("as_on_a_gpu", "without_triton")
@pytest.mark.filterwarnings("ignore:Triton fails")
@pytest.mark.parametrize("with_gram", [True, False])
def test_a_compiled_pursuit_is_one_graph(with_gram: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not with_gram:
        monkeypatch.setattr(matching_pursuit_steps, "GRAM_BYTES", 0)
    generator = seeded(5)
    atoms = functional.normalize(torch.randn(12, 5, generator=generator), dim=1)
    x = torch.randn(9, 5, generator=generator)
    torch._dynamo.reset()
    compiled = torch.compile(pursue, backend="eager", fullgraph=True)(x, atoms, 3)
    expected = path_of(x, atoms, 3)
    assert torch.equal(compiled.units, expected.units)
    torch.testing.assert_close(compiled.values, expected.values)
    torch._dynamo.reset()


@pytest.mark.usefixtures("as_on_a_gpu", "without_triton")
@pytest.mark.filterwarnings("ignore:Triton fails")
def test_a_training_with_operators_is_replayed_to_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    site, tokens = small_layer(n=64)
    monkeypatch.setattr(graphs, "WARM_UP_STEPS", 3)
    recorder = Recorder()
    monkeypatch.setattr(graphs, "backend_for", lambda device: recorder)
    fits: list[Any] = []
    # A training that is too short is computed step by step, with the learning rate in float32 all the same.
    for least_steps in (1000, 8):
        monkeypatch.setattr(graphs, "LEAST_STEPS", least_steps)
        config = {"expansion_factor": 3, "k": 3, "epochs": 5, "batch_size": 32}
        fits.append(methods.create("matching_pursuit_sae", **config).fit(tokens, site, seed=1))
    assert recorder.replays > 5 and fits[0].notes == fits[1].notes
    assert not any("replayed" in note for note in fits[1].notes)
    assert torch.equal(fits[0].atoms, fits[1].atoms)


@pytest.mark.usefixtures("as_on_a_gpu")
def test_deterministic_algorithms_add_up_in_one_order(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []
    add = pursuit_operations.add_gradient
    monkeypatch.setattr(fused_pursuit, "add_gradient", lambda *a: used.append(1) or add(*a))
    atoms = torch.eye(4).requires_grad_()
    x = torch.randn(3, 4, generator=seeded(6))
    path = path_of(x, atoms.detach(), 2)
    gradients = []
    for wanted in (False, True):
        torch.use_deterministic_algorithms(wanted)
        try:
            gradients.append(torch.autograd.grad(Residual.apply(x, atoms, path).square().sum(), atoms)[0])
        finally:
            torch.use_deterministic_algorithms(False)
    assert used == [1] and torch.equal(*gradients)


@pytest.mark.parametrize("dtype, length", [(torch.float64, 8), (torch.bfloat16, 8), (torch.float32, 1 << 15)])
def test_other_rows_are_not_for_the_kernels(dtype: torch.dtype, length: int) -> None:
    with torch.device("meta"):
        assert not fused_pursuit.fused_here(torch.empty(2, length, dtype=dtype))
    assert not fused_pursuit.fused_here(torch.empty(2, 8)), "nor are those of a CPU"


# ---- on a GPU


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("n, n_units, k", [(1, 1, 1), (300, 1000, 8), (4096, 6144, 20), (40, 16_384, 5)])
def test_kernels_on_a_gpu(kernels: fused_pursuit.Kernels, n: int, n_units: int, k: int) -> None:
    generator = seeded(n, n_units, k)
    atoms = functional.normalize(torch.randn(n_units, 768, generator=generator), dim=1).cuda()
    x = torch.randn(n, 768, generator=generator).cuda()
    assert fused_pursuit._choosing(x.device, n_units) is not None and fused_pursuit._adding(x.device, 768) is not None
    gram = gram_of(atoms)
    assert gram is not None
    units, values = kernels.choose(x @ atoms.T, gram, k)
    expected_units, expected_values = pursuit_operations.choose_by_gram(x @ atoms.T, gram, k)
    # Correlations that differ by rounding can be chosen in another order.
    assert float((units == expected_units).float().mean()) > 0.999
    torch.testing.assert_close(values.square().sum(1), expected_values.square().sum(1), rtol=1e-3, atol=1e-4)
    residual = x - functional.embedding_bag(expected_units, atoms, per_sample_weights=expected_values, mode="sum")
    totals, expected = torch.zeros_like(atoms), torch.zeros_like(atoms)
    kernels.add_gradient(totals, expected_units, expected_values, residual, residual, atoms)
    pursuit_operations.add_gradient(expected, expected_units, expected_values, residual, residual, atoms)
    assert float((totals - expected).norm()) <= 1e-5 * float(expected.norm())


@pytest.mark.gpu
@on_gpu
def test_numbers_that_are_not_finite_on_a_gpu(kernels: fused_pursuit.Kernels) -> None:
    special = torch.tensor([NAN, INF, -INF, 0.0, -0.0, 1.0, -2.0])
    draws = torch.multinomial(torch.tensor([1.0, 1, 2, 40, 40, 40, 40]), 200 * 90, True, generator=seeded(7))
    gram = torch.randint(-1, 3, (90, 90), generator=seeded(8)).float()
    assert_same_choice(kernels, special[draws].reshape(200, 90).cuda(), gram.cuda(), 4)


@pytest.mark.gpu
@on_gpu
def test_kernels_are_part_of_a_cuda_graph() -> None:
    atoms = functional.normalize(torch.randn(3000, 64, generator=seeded(9)), dim=1).cuda()
    batches = torch.randn(2, 500, 64, generator=seeded(10)).cuda()

    def step(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        free = atoms.clone().requires_grad_()
        path = pursue(x, atoms, 6)
        return *path, torch.autograd.grad(Residual.apply(x, free, path).square().sum(), free)[0]

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            expected = [step(x) for x in batches]
    torch.cuda.synchronize()
    graph_input = batches[0].clone()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):
        results = step(graph_input)
    for x, (units, values, gradient) in zip(batches, expected, strict=True):
        graph_input.copy_(x)
        graph.replay()
        assert torch.equal(results[0], units) and torch.equal(results[1], values)
        torch.testing.assert_close(results[2], gradient, rtol=1e-3, atol=1e-3)

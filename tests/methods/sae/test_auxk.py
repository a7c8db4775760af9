"""AuxK against its formula in plain PyTorch, where it is 0, and what it does to dead units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from planted import Planted, planted
from torch import Tensor

import methods
from methods.sae import auxk
from methods.sae.auxk import AuxK
from methods.sae.config import FixedL0Config
from methods.sae.library import Start, start
from methods.sae.method import LinearSAE
from methods.sae.topk import TopKAutoencoder
from methods.training.checkpoint import Checkpoint

pytestmark = pytest.mark.run

N, D, UNITS, K, AUX = 50, 16, 120, 3, 4


@pytest.fixture
def x() -> Tensor:
    return torch.randn(N, D, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=["on a CPU", "as on a GPU"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "as on a GPU":
        monkeypatch.setattr(auxk, "sparse_here", lambda x: False)


def trainee(**config: Any) -> TopKAutoencoder:
    given = FixedL0Config(dead_weight=0.0, auxk=AUX, auxk_tokens=2 * N, **config)
    module = TopKAutoencoder(start(D, D, UNITS, seed=1), given, K)
    module.project()
    return module


@pytest.mark.usefixtures("form")
def test_loss_and_gradients_are_those_of_the_formula(x: Tensor) -> None:
    """Units that do not fire in two batches are dead; e is a constant, and only dead units have gradients of it."""
    module = trainee(auxk_weight=0.5)
    dead = module.loss(x).fires == 0
    assert 20 < int(dead.sum()) < UNITS
    loss = module.loss(x)
    (loss.total - loss.error).backward()
    found = [module.weight.grad, module.bias.grad, module.directions.grad]

    weight, bias, atoms = (p.detach().clone().requires_grad_() for p in (module.weight, module.bias, module.directions))
    pre = x @ weight.T + bias
    codes = torch.relu(pre) * (pre >= torch.relu(pre).topk(K).values[:, -1:])
    e = (x - codes @ atoms).detach()
    of_dead = pre.where(dead, -torch.inf)
    kept = torch.relu(of_dead) * (of_dead >= of_dead.topk(AUX).values[:, -1:])
    wanted = 0.5 * (kept @ atoms - e).square().mean() / (e - e.mean(0)).square().mean()
    wanted.backward()
    torch.testing.assert_close((loss.total - loss.error).detach(), wanted.detach(), rtol=1e-4, atol=1e-6)
    for one, other in zip(found, (weight.grad, bias.grad, atoms.grad), strict=True):
        assert one is not None and other is not None and bool(other[dead].any()) and not bool(other[~dead].any())
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-7)


@pytest.mark.usefixtures("form")
def test_it_is_zero_if_no_unit_is_dead_or_nothing_is_left(x: Tensor) -> None:
    weight, bias, atoms = (part.requires_grad_() for part in start(D, D, UNITS, seed=1))
    for since, residual in ((0, x), (9, torch.zeros_like(x)), (9, torch.ones_like(x)), (9, x[:1])):
        term = AuxK(UNITS, AUX, 5)
        term.tokens_since_fired.fill_(since)
        loss = term.loss(x[: len(residual)], residual, weight, bias, atoms)
        assert float(loss.detach()) == 0
        loss.backward()  # type: ignore[no-untyped-call]
        for part in (weight, bias, atoms):
            assert part.grad is None or not bool(part.grad.any())


def test_more_dead_units_are_asked_for_than_there_are(x: Tensor) -> None:
    weight, bias, atoms = start(D, D, UNITS, seed=1)
    term = AuxK(UNITS, 1000, 5)
    term.tokens_since_fired[:2] = 5
    codes = torch.relu(x @ weight[:2].T + bias[:2])
    wanted = (codes @ atoms[:2] - x).square().mean() / (x - x.mean(0)).square().mean()
    torch.testing.assert_close(term.loss(x, x, weight, bias, atoms), wanted)


def test_tokens_are_counted_from_the_last_firing() -> None:
    term = AuxK(3, AUX)
    for fires in ([1, 0, 0], [0, 0, 4], [0, 0, 0]):
        term.count(torch.tensor(fires), 10)
    assert term.tokens_since_fired.tolist() == [20, 30, 10]


@pytest.fixture(scope="module")
def data() -> Planted:
    return planted(n=2048)


FIT = {"expansion_factor": 8, "k": 2, "epochs": 20, "batch_size": 512, "learning_rate": 2e-3, "dead_weight": 0.0}
FIT |= {"encoder_start": "library"}


def weak(start: Start) -> Start:
    """Return a start of which every other unit has such small codes that it is among no token's largest."""
    weight = start.weight.clone()
    weight[::2] *= 0.05
    return start._replace(weight=weight)


@pytest.mark.parametrize("name", ["topk_sae", "batchtopk_sae", "matryoshka_sae"])
def test_it_revives_units_that_stay_dead_without_it(data: Planted, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = LinearSAE.start
    monkeypatch.setattr(LinearSAE, "start", lambda self, *given: weak(drawn(self, *given)))
    x = data.tokens.fields["output"]
    dead, error = [], []
    for more in ({}, {"auxk": 16}):
        config = {**FIT, "expansion_factor": 4, "k": 3, "epochs": 40, **more}
        method = methods.create(name, **config).fit(data.tokens, data.site, seed=1)
        codes = method.encode(x)
        dead.append(float((codes[:, ::2] == 0).all(0).float().mean()))
        error.append(float((method.decode(codes) - x).square().mean()))
    assert dead[0] == 1 and dead[1] < 0.4
    assert error[1] < 0.9 * error[0]


def test_units_are_dead_after_one_epoch_by_default(data: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    count = AuxK.count
    monkeypatch.setattr(AuxK, "count", lambda self, *given: seen.append(self.dead_after) or count(self, *given))  # type: ignore[func-returns-value]
    config = {**FIT, "epochs": 1, "auxk": 4}
    methods.create("topk_sae", **config).fit(data.tokens, data.site, seed=1)
    methods.create("topk_sae", **config, auxk_tokens=7).fit(data.tokens, data.site, seed=1)
    assert seen == [2048] * 4 + [7] * 4


def test_the_counts_are_part_of_a_checkpoint(data: Planted, tmp_path: Path) -> None:
    config = {**FIT, "epochs": 3, "auxk": 4, "auxk_tokens": 1024}
    whole = methods.create("topk_sae", **config).fit(data.tokens, data.site, seed=1)

    def stop(done: int, total: int, what: str) -> None:
        if done == 7:
            raise KeyboardInterrupt

    method: Any = methods.create("topk_sae", **config)
    method.checkpoint = Checkpoint(tmp_path / "run.safetensors", every_seconds=0)
    with pytest.raises(KeyboardInterrupt):
        method.fit(data.tokens, data.site, seed=1, progress=stop)
    assert torch.equal(method.fit(data.tokens, data.site, seed=1).atoms, whole.atoms)

"""overcomplete's modules: where ours agree with them to rounding, and where the library still needs correcting.

A test of the second kind fails when the library is fixed: then the correction can go (see methods/sae/library.py).
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from methods.sae.archetypal import ArchetypalAutoencoder, ArchetypalConfig
from methods.sae.autoencoder import LinearAutoencoder
from methods.sae.batchtopk import BatchTopKAutoencoder, BatchTopKConfig
from methods.sae.config import FixedL0, FixedL0Config
from methods.sae.library import Start, build, start, start_of
from methods.sae.matching_pursuit import PursuitAutoencoder
from methods.sae.topk import TopKAutoencoder
from methods.sae.vanilla import VanillaAutoencoder, VanillaConfig

N, D, UNITS, K = 64, 16, 200, 4
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.randn(N, D, generator=torch.Generator().manual_seed(0))


def gradients_of(module: Any, x: Tensor, extra: Any = None) -> tuple[Tensor, Tensor, list[Tensor]]:
    """The library's codes, error and gradients of weight, bias and atoms."""
    module.train()
    pre, codes, x_hat = module(x)
    error = (x_hat - x).square().mean()
    (error if extra is None else error + extra(pre, codes)).backward()
    linear = module.encoder.final_block[0]
    return codes.detach(), error.detach(), [linear.weight.grad, linear.bias.grad, module.dictionary._weights.grad]


def check(trainee: LinearAutoencoder, module: Any, x: Tensor, extra: Any = None, *, sparse: bool) -> None:
    codes, error, wanted = gradients_of(module, x, extra)
    trainee.project()
    ours, _ = trainee.codes(x)
    assert (ours.entries is not None) == sparse
    dense = ours.values.detach()
    if ours.entries is not None:
        rows = torch.repeat_interleave(torch.arange(N), torch.from_numpy(ours.entries.offsets).diff())
        dense = torch.zeros(N, UNITS).index_put_((rows, ours.entries.unit_index), ours.values.detach())
    torch.testing.assert_close(dense, codes, rtol=1e-5, atol=1e-6)
    loss = trainee.loss(x)
    torch.testing.assert_close(loss.error.detach(), error, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(loss.fires.long(), (codes != 0).sum(0))
    loss.total.backward()
    found = [trainee.weight.grad, trainee.bias.grad, trainee.directions.grad]
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


# ---- where ours agree with the library's modules


def test_first_weights_are_the_librarys() -> None:
    first, module = start(D, D, UNITS, seed=5), build("TopKSAE", D, UNITS, seed=5, top_k=K)
    for one, other in zip(first, start_of(module), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("k, sparse", [(K, True), (40, False)])
def test_topk_codes_and_gradients(x: Tensor, k: int, sparse: bool) -> None:
    module = build("TopKSAE", D, UNITS, seed=1, top_k=k)
    check(TopKAutoencoder(start_of(module), FixedL0Config(dead_weight=0), k), module, x, sparse=sparse)


@pytest.mark.parametrize("k, sparse", [(K, True), (40, False)])
def test_batchtopk_codes_and_gradients(x: Tensor, k: int, sparse: bool) -> None:
    module = build("BatchTopKSAE", D, UNITS, seed=1, top_k=k * N)
    trainee = BatchTopKAutoencoder(start_of(module), BatchTopKConfig(dead_weight=0), k)
    check(trainee, module, x, sparse=sparse)
    trainee.codes(0.5 * x)  # with a threshold to start from, and a batch that falls far below it
    with torch.no_grad():
        module.encode(x)
        module.encode(0.5 * x)
    # The library saw x twice, ours thrice (codes and loss): the running mean of equal values is that value.
    torch.testing.assert_close(trainee.running_threshold, module.running_threshold)


@pytest.mark.parametrize("bias, sparse", [(-1.5, True), (0.0, False)])
@pytest.mark.parametrize("dead_weight, over", [(0.0, "token"), (0.3, "token"), (0.01, "batch")])
def test_vanilla_codes_and_gradients(
    x: Tensor, bias: float, sparse: bool, dead_weight: float, over: Literal["token", "batch"]
) -> None:
    from overcomplete.sae.losses import reanimation_regularizer

    module = build("SAE", D, UNITS, seed=1)
    with torch.no_grad():
        module.encoder.final_block[0].bias.add_(bias)

    def extra(pre: Tensor, codes: Tensor) -> Tensor:
        l1 = 0.01 * codes.abs().sum() / N
        # The library's term lacks 1 / B.
        penalty = dead_weight if over == "batch" else dead_weight / N
        return l1 + reanimation_regularizer(x, x, pre, codes, None, penalty=penalty)

    config = VanillaConfig(dead_weight=dead_weight, dead_over=over, l1_weight=0.01)
    trainee = VanillaAutoencoder(start_of(module), config)
    check(trainee, module, x, extra, sparse=sparse)


def test_archetypal_dictionary_and_gradients(x: Tensor) -> None:
    points = torch.randn(UNITS + 10, D, generator=torch.Generator().manual_seed(3))
    module = build("RATopKSAE", D, UNITS, points, seed=1, top_k=30, delta=0.5)
    linear = module.encoder.final_block[0]
    first = Start(linear.weight.detach(), linear.bias.detach(), points[:UNITS])
    trainee = ArchetypalAutoencoder(first, ArchetypalConfig(dead_weight=0, delta=0.5), 30, points)
    with torch.no_grad():
        for ours, theirs in ((trainee.mixture, module.dictionary.W), (trainee.relaxation, module.dictionary.Relax)):
            change = torch.randn(ours.shape, generator=torch.Generator().manual_seed(4))
            ours.add_(change)
            theirs.add_(change)
    trainee.project()
    _, _, x_hat = module(x)
    torch.testing.assert_close(trainee.atoms(), module.get_dictionary(), rtol=1e-5, atol=1e-6)
    (x_hat - x).square().mean().backward()
    trainee.loss(x).total.backward()
    for one, other in (
        (trainee.weight.grad, linear.weight.grad),
        (trainee.mixture.grad, module.dictionary.W.grad),
        (trainee.relaxation.grad, module.dictionary.Relax.grad),
        (trainee.multiplier.grad, module.dictionary.multiplier.grad),
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_matching_pursuit_codes_and_gradients(x: Tensor) -> None:
    module = build("MpSAE", D, UNITS, seed=1, k=6)
    _, codes, x_hat = module(x)
    error = (x_hat - x).square().mean()
    error.backward()
    trainee = PursuitAutoencoder(of_dictionary(module), FixedL0(dead_weight=0, k=6), 6)
    trainee.project()
    loss = trainee.loss(x)
    torch.testing.assert_close(loss.error, error)
    assert torch.equal(loss.fires.long(), (codes != 0).sum(0))
    loss.total.backward()
    torch.testing.assert_close(trainee.directions.grad, module.dictionary._weights.grad, rtol=1e-4, atol=1e-7)


def of_dictionary(module: Any) -> Tensor:
    weights: Tensor = module.dictionary._weights.detach()
    return weights


# ---- where the library needs correcting


def test_library_batchtopk_counts_the_batch(x: Tensor) -> None:
    module = build("BatchTopKSAE", D, UNITS, seed=1, top_k=K)
    _, codes = module.encode(x)
    assert int((codes > 0).sum()) == K


def test_library_threshold_is_not_saved(x: Tensor) -> None:
    module = build("BatchTopKSAE", D, UNITS, seed=1, top_k=K)
    module.encode(x)
    assert not any("threshold" in name for name in module.state_dict())


def test_library_l1_sums_over_the_batch(x: Tensor) -> None:
    from overcomplete.sae.losses import mse_l1

    codes = torch.ones(N, 3)
    assert float(mse_l1(x, x, codes, codes, None, penalty=1.0)) == N * 3


def test_library_reanimation_omits_the_batch_size(x: Tensor) -> None:
    from overcomplete.sae.losses import reanimation_regularizer

    pre, codes = torch.ones(N, 3), torch.zeros(N, 3)
    found = reanimation_regularizer(x, x, pre, codes, None, penalty=1.0)
    assert float(found) == pytest.approx(-N, rel=1e-3)


def test_library_jump_gradient_divides_by_the_bandwidth_twice() -> None:
    from overcomplete.sae.jump_sae import heaviside
    from overcomplete.sae.kernels import rectangle_kernel

    bandwidth = 0.01
    threshold = torch.tensor([0.5], requires_grad=True)
    heaviside(torch.tensor([[0.5]]), threshold, rectangle_kernel, bandwidth).sum().backward()
    assert threshold.grad is not None
    assert float(threshold.grad) == pytest.approx(-1 / bandwidth**2)


def test_library_archetypal_without_relaxation_is_nan() -> None:
    from overcomplete.sae.archetypal_dictionary import RelaxedArchetypalDictionary

    dictionary = RelaxedArchetypalDictionary(D, 5, torch.randn(6, D), delta=0.0)
    assert bool(dictionary.get_dictionary().isnan().any())


def test_library_archetypal_gives_zero_atoms_for_missing_points() -> None:
    from overcomplete.sae.archetypal_dictionary import RelaxedArchetypalDictionary

    atoms = RelaxedArchetypalDictionary(D, 8, torch.randn(6, D)).get_dictionary()
    assert bool((atoms[6:] == 0).all())


def test_library_archetypal_eval_returns_nothing_and_keeps_a_stale_dictionary() -> None:
    from overcomplete.sae.archetypal_dictionary import RelaxedArchetypalDictionary

    points = torch.randn(6, D)
    one, other = (RelaxedArchetypalDictionary(D, 5, points) for _ in range(2))
    with torch.no_grad():
        other.Relax.add_(0.1)
    assert one.eval() is None
    other.get_dictionary()
    one.load_state_dict(other.state_dict())
    assert not torch.allclose(one.get_dictionary(), other.get_dictionary())


def test_library_matching_pursuit_pre_codes_are_the_residual(x: Tensor) -> None:
    module = build("MpSAE", D, UNITS, seed=1, k=2)
    pre, codes, x_hat = module(x)
    assert pre.shape == x.shape != codes.shape
    torch.testing.assert_close(pre, x - x_hat)


def test_library_dropout_is_lost_after_evaluation() -> None:
    module = build("MpSAE", D, UNITS, seed=1, k=2, dropout=0.5)
    module.train(False)
    module.train(True)
    assert module.dropout is None


def test_library_dead_codes_miss_signed_codes() -> None:
    from overcomplete.metrics import dead_codes

    assert bool(dead_codes(torch.tensor([[1.0], [-1.0]])).all())


def test_library_has_no_matryoshka_and_no_transcoder() -> None:
    import overcomplete.sae

    names = " ".join(dir(overcomplete.sae)).lower()
    assert "matryoshka" not in names and "transcoder" not in names


def test_library_train_sae_prints(x: Tensor, capsys: pytest.CaptureFixture[str]) -> None:
    from overcomplete.sae import train_sae

    module = build("TopKSAE", D, UNITS, seed=1, top_k=K)
    criterion = functools.partial(lambda x, x_hat, *_: (x - x_hat).square().mean())
    train_sae(module, [(x,)], criterion, torch.optim.Adam(module.parameters()), nb_epochs=1)
    assert "Epoch" in capsys.readouterr().out


def test_library_train_sae_waits_for_the_device_every_step(x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    from overcomplete.sae import train_sae

    reads: list[int] = []
    item = Tensor.item

    def counted(self: Tensor) -> Any:
        reads.append(0)
        return item(self)

    monkeypatch.setattr(Tensor, "item", counted)
    counts = []
    for batches in (2, 12):
        module = build("TopKSAE", D, UNITS, seed=1, top_k=K)
        criterion = functools.partial(lambda x, x_hat, *_: (x - x_hat).square().mean())
        reads.clear()
        train_sae(module, [(x,)] * batches, criterion, torch.optim.Adam(module.parameters()), nb_epochs=1)
        counts.append(len(reads))
    assert counts[1] - counts[0] >= 10


def test_library_calls_what_newer_matplotlib_has_not() -> None:
    # The reason for matplotlib < 3.11 among the requirements.
    import overcomplete

    folder = Path(str(overcomplete.__file__)).parent
    assert any("plt.cm.get_cmap" in file.read_text() for file in folder.rglob("*.py"))

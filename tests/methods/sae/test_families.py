"""Properties of each family: recovery of a planted dictionary, L0, gradient, constraint."""

from __future__ import annotations

import pytest
import torch
from in_memory import MemorySite, MemoryTokens, small_layer
from planted import Planted, planted

import methods
from methods.sae.archetypal import ArchetypalConfig, ArchetypalSAE
from methods.sae.autoencoder import Codes, LinearAutoencoder
from methods.sae.batchtopk import BatchTopKAutoencoder, BatchTopKConfig, BatchTopKSAE
from methods.sae.config import FixedL0Config
from methods.sae.jumprelu import JumpReLUAutoencoder, JumpReLUConfig
from methods.sae.jumprelu_gradient import jump_relu, step
from methods.sae.library import start
from methods.sae.matching_pursuit_steps import CachedGram, gram_of, pursue
from methods.sae.matryoshka import MatryoshkaAutoencoder, MatryoshkaConfig
from methods.sae.revival import revival
from methods.sae.topk import TopKAutoencoder, TopKSAE
from methods.training.entries import SelectedCodes, entries_from

pytestmark = pytest.mark.run

TRAINED = {"expansion_factor": 8, "k": 3, "epochs": 60, "batch_size": 512, "learning_rate": 5e-3, "dead_weight": 1e-2}


@pytest.fixture(scope="module")
def data() -> Planted:
    return planted()


@pytest.mark.parametrize(
    "name",
    [
        "topk_sae",
        *(
            pytest.param(f"{name}_sae", marks=pytest.mark.slow)
            for name in ("batchtopk", "matryoshka", "matching_pursuit")
        ),
    ],
)
def test_planted_atoms_are_recovered_at_the_target_l0(data: Planted, name: str) -> None:
    method = methods.create(name, **TRAINED).fit(data.tokens, data.site, seed=1)
    assert data.recovered(method.dictionary().atoms) >= 0.9
    codes = method.encode(data.tokens.fields["output"])
    assert float((codes != 0).sum(1).float().mean()) == pytest.approx(3, rel=0.15)


def test_random_controls_recover_nothing(data: Planted) -> None:
    frozen = methods.create("frozen_decoder_sae", **{**TRAINED, "epochs": 3}).fit(data.tokens, data.site, seed=1)
    chance = methods.create("random_dictionary", expansion_factor=8, k=3).fit(data.tokens, data.site, seed=1)
    assert data.recovered(frozen.dictionary().atoms) < 0.1
    assert data.recovered(chance.dictionary().atoms) < 0.1


# ---- JumpReLU


def test_step_gradient_is_the_derivative_of_the_smoothed_step() -> None:
    bandwidth = 0.1
    pre = torch.linspace(-1, 2, 4001, dtype=torch.float64)
    threshold = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    step(pre, threshold, bandwidth).sum().backward()

    def smoothed(at: float) -> float:
        # The integral of the rectangle kernel.
        return float(((pre - at) / bandwidth + 0.5).clamp(0, 1).sum())

    numeric = (smoothed(0.5 + 1e-4) - smoothed(0.5 - 1e-4)) / 2e-4
    assert threshold.grad is not None
    assert float(threshold.grad) == pytest.approx(numeric, rel=1e-3)


@pytest.mark.parametrize("bandwidth", [0.004, 0.02, 0.1])
def test_jump_gradient_is_the_derivative_of_the_expected_loss(bandwidth: float) -> None:
    # Many pre-codes spread evenly: the true loss is smooth in the threshold, and its derivative is known numerically.
    pre = torch.linspace(-1, 2, 300_001, dtype=torch.float64)
    target = pre.relu() * 0.3

    def loss(at: torch.Tensor) -> torch.Tensor:
        return (jump_relu(pre, at, bandwidth) - target).square().mean() + 0.01 * step(pre, at, bandwidth).mean()

    threshold = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    loss(threshold).backward()
    numeric = float(loss(torch.tensor(0.55).double()) - loss(torch.tensor(0.45).double())) / 0.1
    assert threshold.grad is not None
    assert float(threshold.grad) == pytest.approx(numeric, rel=0.002 + 1.3 * bandwidth)  # its bias is of first order


def test_jump_passes_gradients_to_what_is_active() -> None:
    pre = torch.tensor([0.2, 0.8], requires_grad=True)
    jump_relu(pre, torch.tensor(0.5), 0.01).sum().backward()
    assert pre.grad is not None and pre.grad.tolist() == [0, 1]


def test_all_three_forms_of_jumprelu_agree() -> None:
    x = torch.randn(80, 16, generator=torch.Generator().manual_seed(0))
    found = {}
    for form in ("autograd", "dense", "sparse"):
        config = JumpReLUConfig(dead_weight=0.1, sparsity_weight=0.01, bandwidth=0.5, threshold_rate=1.0)
        module = JumpReLUAutoencoder(start(16, 16, 100, seed=1), torch.full((100,), 0.5).log(), config)
        if form == "dense":
            module.select = lambda pre: None  # type: ignore[method-assign]
        if form == "sparse":
            module.select = lambda pre, own=module: SelectedCodes(  # type: ignore[method-assign, misc]
                *entries_from(pre, own.thresholds().detach() - own.bandwidth / 2, limit=1.0)  # type: ignore[misc]
            )
        if form == "autograd":
            module.select = lambda pre: None  # type: ignore[method-assign]
            module.dense = lambda *given, own=module: LinearAutoencoder.dense(own, *given)  # type: ignore[method-assign, misc]
        loss = module.loss(x)
        loss.total.backward()
        found[form] = [loss.total.detach(), loss.fires.float(), *(p.grad for p in module.parameters())]
    for other in ("dense", "sparse"):
        for one, two in zip(found["autograd"], found[other], strict=True):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("weight", [0.01, 2.0])
@pytest.mark.parametrize("form", ["as chosen", "dense", "autograd"])
def test_the_penalty_is_the_weight_times_l0(form: str, weight: float) -> None:
    config = JumpReLUConfig(dead_weight=0.0, sparsity_weight=weight, bandwidth=0.05, threshold_rate=1.0)
    module = JumpReLUAutoencoder(start(16, 16, 100, seed=1), torch.full((100,), 0.5).log(), config)
    if form != "as chosen":
        module.select = lambda pre: None  # type: ignore[method-assign]
    if form == "autograd":
        module.dense = lambda *given: LinearAutoencoder.dense(module, *given)  # type: ignore[method-assign]
    found = module.loss(torch.randn(80, 16, generator=torch.Generator().manual_seed(0)))
    l0 = float(found.fires.sum()) / 80
    assert l0 > 2
    assert float((found.total - found.error).detach()) == pytest.approx(weight * l0, rel=1e-4)


def test_a_larger_sparsity_weight_gives_a_smaller_l0() -> None:
    site, tokens = small_layer()
    found = []
    for weight in (1e-4, 1.0):
        config = {"expansion_factor": 3, "epochs": 10, "batch_size": 64, "learning_rate": 3e-3}
        method = methods.create("jumprelu_sae", **config, sparsity_weight=weight).fit(tokens, site, seed=1)
        found.append(float((method.encode(tokens.fields["output"]) != 0).sum(1).float().mean()))
    assert found[1] < found[0] - 0.5


def test_target_l0_is_approached() -> None:
    data = planted(n=4096)
    config = {"expansion_factor": 4, "epochs": 40, "batch_size": 256, "learning_rate": 3e-3}
    found = []
    for target in (3.0, 12.0):
        method = methods.create("jumprelu_sae", **config, target_l0=target, sparsity_weight=0.3)
        codes = method.fit(data.tokens, data.site, seed=1).encode(data.tokens.fields["output"])
        found.append(float((codes != 0).sum(1).float().mean()))
    assert found[0] == pytest.approx(3, rel=0.5) and found[1] == pytest.approx(12, rel=0.5)


# ---- matching pursuit


@pytest.mark.parametrize("with_gram", [True, False])
def test_residuals_fall_by_the_square_of_each_step(with_gram: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not with_gram:
        monkeypatch.setattr("methods.sae.matching_pursuit_steps.GRAM_BYTES", 0)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(30, 16, generator=generator, dtype=torch.float64)
    atoms = torch.nn.functional.normalize(torch.randn(150, 16, generator=generator, dtype=torch.float64), dim=1)
    assert (gram_of(atoms) is not None) == with_gram
    path = pursue(x, atoms, 8)
    residual = x
    for unit, value in zip(path.units.T, path.values.T, strict=True):
        torch.testing.assert_close(value, (residual @ atoms.T).max(1).values)
        following = residual - value[:, None] * atoms[unit]
        torch.testing.assert_close(following.square().sum(1), residual.square().sum(1) - value**2)
        residual = following


# ---- archetypal


def test_archetypal_atoms_are_near_the_hull_of_tokens() -> None:
    site, tokens = small_layer()
    config = {"expansion_factor": 3, "k": 4, "epochs": 20, "batch_size": 64, "learning_rate": 1e-2}
    for delta in (0.0, 0.5):
        method = methods.create("archetypal_sae", **config, delta=delta)
        assert isinstance(method, ArchetypalSAE)
        method.fit(tokens, site, seed=1)
        assert bool(method.atoms.isfinite().all()) and bool((method.atoms.norm(dim=1) > 0).all())


def test_a_tenth_of_the_archetypal_units_is_active_by_default() -> None:
    config = ArchetypalConfig()
    assert [config.k_of("x", n_units) for n_units in (100, 96, 20, 3)] == [10, 10, 2, 1]
    assert ArchetypalConfig(sparsity=0.5).k_of("x", 100) == 50 and ArchetypalConfig(k=7).k_of("x", 100) == 7


def test_archetypal_needs_as_many_points_as_atoms() -> None:
    site, tokens = small_layer()
    with pytest.raises(methods.UserError, match="archetype points"):
        methods.create("archetypal_sae", expansion_factor=3, points=5).fit(tokens, site)
    with pytest.raises(methods.UserError, match="only 240 probing tokens"):
        methods.create("archetypal_sae", expansion_factor=100).fit(tokens, site)


# ---- BatchTopK and Matryoshka


@pytest.mark.parametrize("name", ["batchtopk_sae", "matryoshka_sae"])
def test_the_learned_threshold_decides_at_evaluation(name: str) -> None:
    data = planted(n=2048)
    method = methods.create(name, **{**TRAINED, "epochs": 3}).fit(data.tokens, data.site, seed=1)
    assert isinstance(method, BatchTopKSAE) and float(method.threshold) > 0
    codes = method.encode(data.tokens.fields["output"])
    assert float(codes[codes > 0].min()) >= float(method.threshold)
    assert float((codes > 0).sum(1).float().mean()) == pytest.approx(3, rel=0.15)


def test_a_last_batch_of_one_token_has_little_say_in_the_threshold() -> None:
    """Tokens of very different length: what is large for one of them says nothing about the others."""
    generator = torch.Generator().manual_seed(0)
    n, d, k = 1025, 32, 10
    a = torch.relu(torch.randn(n, 64, generator=generator) - 1.2) @ torch.randn(64, d, generator=generator)
    a = a * torch.rand(n, 1, generator=generator).mul(3).exp()
    site, tokens = MemorySite(torch.eye(d), torch.zeros(d)), MemoryTokens(a, a)
    for seed in range(3):
        config = {"expansion_factor": 8, "k": k, "epochs": 5, "batch_size": 1024, "learning_rate": 3e-3}
        method = methods.create("batchtopk_sae", **config).fit(tokens, site, seed=seed)
        assert float((method.encode(a) > 0).sum(1).float().mean()) == pytest.approx(k, rel=0.02)


def test_prefixes_must_rise_to_one() -> None:
    assert MatryoshkaConfig(prefixes=(0.25, 1.0)).prefix_sizes(10) == [2, 10]
    with pytest.raises(methods.UserError, match="rise"):
        methods.create("matryoshka_sae", prefixes=(0.5, 0.25, 1.0))


def test_the_matryoshka_error_is_the_mean_over_prefixes() -> None:
    """Codes 1 and 2 of orthogonal atoms, and prefixes of one and two units: squared errors of 5, 4 and 0 over 2."""
    trainee = MatryoshkaAutoencoder(start(2, 2, 2, seed=0), MatryoshkaConfig(dead_weight=0.0, prefixes=(0.5, 1.0)), 2)
    trainee.directions.data = torch.eye(2)
    target = torch.tensor([[1.0, 2.0]])
    nothing, both = torch.zeros(1, 2), torch.tensor([[1.0, 2.0]])
    assert float(trainee.error(Codes(nothing, None, 1), target)) == pytest.approx((5 / 2 + 5 / 2) / 2)
    assert float(trainee.error(Codes(both, None, 1), target)) == pytest.approx((4 / 2 + 0) / 2)


def test_matryoshka_prefixes_reconstruct_on_their_own() -> None:
    data = planted(n=4096)
    x = data.tokens.fields["output"]
    scores = {}
    for name in ("batchtopk_sae", "matryoshka_sae"):
        method = methods.create(name, **{**TRAINED, "epochs": 20}).fit(data.tokens, data.site, seed=1)
        codes = method.encode(x)
        codes[:, 64:] = 0
        scores[name] = 1 - float((x - method.decode(codes)).square().sum() / (x - x.mean(0)).square().sum())
    assert scores["matryoshka_sae"] > scores["batchtopk_sae"] + 0.1


# ---- the parts


def test_revival_is_the_mean_pre_code_of_dead_units() -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(shape, generator=generator) for shape in ((50, 8), (12, 8), (12,)))
    dead = torch.arange(12) % 3 == 0
    pre = x @ weight.T + bias
    wanted = pre[:, dead].sum() / (dead.sum() * 50)
    torch.testing.assert_close(revival(x.mean(0), weight, bias, dead), wanted)
    assert float(revival(x.mean(0), weight, bias, torch.zeros(12, dtype=torch.bool))) == 0


@pytest.mark.parametrize("k", [1, 5, 40])
@pytest.mark.parametrize("sparse", [True, False])
def test_topk_of_negative_pre_codes_is_zero(k: int, sparse: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In training, as a whole and at entries, and at evaluation; 40 is the number of units."""
    if not sparse:
        monkeypatch.setattr("methods.sae.topk.sparse_here", lambda x: False)
    pre = -0.1 - torch.rand(6, 40, generator=torch.Generator().manual_seed(0))
    trainee = TopKAutoencoder(start(16, 16, 40, seed=1), FixedL0Config(dead_weight=0.0), k)
    method = methods.create("topk_sae", k=k)
    assert isinstance(method, TopKSAE)
    entries = pre[:, :3].flatten()
    for codes in (
        trainee.activate(pre, None),
        trainee.activate(entries, torch.arange(3).repeat(6)),
        method.activate(pre),
    ):
        assert not codes.any()


@pytest.mark.parametrize("family", [TopKAutoencoder, BatchTopKAutoencoder])
def test_as_many_codes_as_asked_for_where_many_are_equal(family: type[TopKAutoencoder | BatchTopKAutoencoder]) -> None:
    """Products in bfloat16, as on a GPU: with eight bits other codes are equal to the smallest that is kept."""
    n, k = 256, 20
    x = torch.randn(n, 16, generator=torch.Generator().manual_seed(0))
    over_batch = family is BatchTopKAutoencoder
    trainee = family(start(16, 16, 400, seed=1), BatchTopKConfig(dead_weight=0.0), k)
    with torch.autocast("cpu", torch.bfloat16):
        codes, pre = trainee.codes(x)
    assert pre.dtype == torch.bfloat16 and codes.entries is None
    found = codes.values.detach().flatten() if over_batch else codes.values.detach()
    kept, known = (found > 0).sum(-1), pre.detach().view(found.shape)
    smallest = torch.where(found > 0, found, torch.inf).amin(-1, keepdim=True)
    assert bool(((known >= smallest).sum(-1) > kept).any()), "no codes are equal: the test shows nothing"
    assert set(kept.flatten().tolist()) == {n * k if over_batch else k}
    codes.values.sum().backward()  # type: ignore[no-untyped-call]
    assert trainee.weight.grad is not None and bool(trainee.weight.grad.any())


def test_half_precision_inputs_keep_their_dtype() -> None:
    site, tokens = small_layer()
    for name in ("topk_sae", "matching_pursuit_sae", "jumprelu_sae"):
        config = {"k": 4} if name != "jumprelu_sae" else {}
        method = methods.create(name, expansion_factor=3, epochs=1, **config).fit(tokens, site, seed=1)
        for dtype in (torch.bfloat16, torch.float64):
            codes = method.encode(tokens.fields["output"].to(dtype))
            assert codes.dtype == dtype and method.decode(codes).dtype == dtype


def test_a_transcoder_learns_biases_of_input_and_output() -> None:
    site, tokens = small_layer(n=600)
    shifted = MemoryTokens(tokens.fields["input"] + 5, tokens.fields["output"] - 9)
    config = {"expansion_factor": 8, "epochs": 150, "batch_size": 64, "learning_rate": 3e-3, "l1_weight": 1e-4}
    method = methods.create("transcoder", **config).fit(shifted, site, seed=1)
    a = shifted.fields["output"]
    error = (a - method.decode(method.encode(shifted.fields["input"]))).square().sum()
    assert float(error / (a - a.mean(0)).square().sum()) < 0.1
    assert method.spec.reads == "input" and method.dictionary().atoms.shape == (48, 6)


def test_the_gram_matrix_is_kept_until_the_fit_or_the_dtype_changes() -> None:
    fitted = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    cached = CachedGram().of(fitted, fitted)
    assert cached.matrix is not None and torch.equal(cached.matrix, fitted @ fitted.T)
    assert cached.of(fitted.clone(), fitted) is cached
    assert cached.of(fitted, fitted.clone()) is not cached
    double = cached.of(fitted.double(), fitted).matrix
    assert double is not None and double.dtype == torch.float64

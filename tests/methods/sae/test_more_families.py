"""Gated, nested and frozen autoencoders, the skip transcoder, and orthogonal pursuit: gradients, forms, recovery."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from in_memory import MemorySite, MemoryTokens
from planted import Planted, planted
from scipy.optimize import nnls

import methods
from harness.cells.input_share import InputShare
from methods.errors import UserError
from methods.sae.gated import GatedAutoencoder, GatedConfig
from methods.sae.library import start
from methods.sae.matching_pursuit_steps import gram_of
from methods.sae.multi_topk import MultiTopKAutoencoder, MultiTopKConfig
from methods.sae.omp import orthogonal_pursuit
from methods.sae.random_matryoshka import RandomMatryoshkaAutoencoder, RandomMatryoshkaConfig, prefix_sizes
from methods.sae.soft_frozen_decoder import within_cone

pytestmark = pytest.mark.run

TRAINED = {"expansion_factor": 8, "k": 3, "epochs": 60, "batch_size": 512, "learning_rate": 5e-3, "dead_weight": 1e-2}


@pytest.fixture(scope="module")
def data() -> Planted:
    return planted()


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---- recovery of a planted dictionary


@pytest.mark.parametrize(
    "name, change, l0",
    [
        ("gated_sae", {"k": None, "l1_weight": 0.15, "dead_weight": 1e-4}, None),
        ("random_matryoshka_sae", {"n_prefixes": 4}, 3),
        ("multi_topk_sae", {"factors": [1, 2]}, 3),
        ("omp_sae", {"epochs": 15}, 3),
    ],
)
def test_planted_atoms_are_recovered(data: Planted, name: str, change: dict[str, Any], l0: float | None) -> None:
    config = {key: value for key, value in {**TRAINED, **change}.items() if value is not None}
    method = methods.create(name, **config).fit(data.tokens, data.site, seed=1)
    assert data.recovered(method.dictionary().atoms) >= 0.9
    active = float((method.encode(data.tokens.fields["output"]) != 0).sum(1).float().mean())
    assert active < 8 if l0 is None else active == pytest.approx(l0, rel=0.15)


def test_the_frozen_controls_recover_nothing_and_explain_some(data: Planted) -> None:
    """Atoms within .8 of random ones, and units that are chosen by a random encoder, cannot be the planted atoms."""
    a = data.tokens.fields["output"]
    for name in ("soft_frozen_decoder_sae", "frozen_encoder_sae"):
        method = methods.create(name, **{**TRAINED, "epochs": 10}).fit(data.tokens, data.site, seed=1)
        error = (method.decode(method.encode(a)) - a).square().sum() / (a - a.mean(0)).square().sum()
        assert 0.2 < 1 - float(error) < 0.95
        assert data.recovered(method.dictionary().atoms) < 0.3, name


# ---- gated


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("pre_bias", [True, False])
def test_the_loss_of_the_gated_autoencoder_and_its_gradient(sparse: bool, pre_bias: bool) -> None:
    """Against the equations in plain operations: eq. 8 of the reference, with the mean over features as error."""
    x = drawn(40, 16)
    config = GatedConfig(l1_weight=0.01, dead_weight=0.0, pre_bias=pre_bias)
    module = GatedAutoencoder(start(16, 16, 100, seed=1), config)
    with torch.no_grad():
        module.log_gain.copy_(0.3 * drawn(100, seed=2))
        module.magnitude_bias.copy_(0.3 * drawn(100, seed=3))
        module.bias.copy_(-1.5 + 0.3 * drawn(100, seed=4))
        if module.pre_bias is not None:
            module.pre_bias.copy_(0.3 * drawn(16, seed=5))
    if not sparse:
        module.select = lambda pre: None  # type: ignore[method-assign]
    loss = module.loss(x)
    loss.total.backward()
    plain = {name: value.detach().clone().requires_grad_() for name, value in module.named_parameters()}
    centre = plain["pre_bias"] if pre_bias else torch.zeros(16)
    gate = (x - centre) @ plain["weight"].T + plain["bias"]
    magnitude = (x - centre) @ (plain["log_gain"].exp()[:, None] * plain["weight"]).T + plain["magnitude_bias"]
    codes = (gate > 0) * magnitude.relu()
    total = (codes @ plain["directions"] + centre - x).square().mean() + 0.01 * gate.relu().sum(1).mean()
    total = total + (gate.relu() @ plain["directions"].detach() + centre.detach() - x).square().mean()
    total.backward()
    assert float(loss.total.detach()) == pytest.approx(float(total.detach()), rel=1e-5)
    assert loss.fires.tolist() == (codes != 0).sum(0).tolist()
    for name, ours in module.named_parameters():
        expected = plain[name].grad
        assert expected is not None and float(expected.abs().sum()) > 0
        torch.testing.assert_close(ours.grad, expected, rtol=1e-4, atol=1e-6)


def test_a_fitted_gated_autoencoder_computes_the_codes_of_its_training(data: Planted) -> None:
    method = methods.create("gated_sae", expansion_factor=4, epochs=5, batch_size=512, l1_weight=0.02)
    kept: list[GatedAutoencoder] = []
    keep = method.keep  # type: ignore[attr-defined]
    method.keep = lambda trainee: (kept.append(trainee), keep(trainee))  # type: ignore[attr-defined]
    a = data.tokens.fields["output"]
    method.fit(data.tokens, data.site, seed=1)
    scale = float((a - a.mean(0)).square().mean().sqrt())
    with torch.no_grad():
        codes, _ = kept[0].codes((a - a.mean(0)) / scale)
        pre = (a - a.mean(0)) / scale @ kept[0].weight.T + kept[0].bias
        dense = kept[0].activate(pre, None)
    assert codes.n == len(a) and float((dense > 0).float().mean()) > 0.005
    # A gate that is open by a rounding error may be closed here.
    assert int(((method.encode(a) - dense).abs() > 1e-3 + 1e-3 * dense).sum()) <= 5
    form = method.as_trained_dictionary()
    torch.testing.assert_close(form.encode(a), method.encode(a))


# ---- nested


def test_multi_topk_is_the_weighted_mean_over_its_levels() -> None:
    x = drawn(30, 16)
    for weighting, weights in (("uniform", [1 / 3, 1 / 3, 1 / 3]), ("reverse", [3 / 6, 2 / 6, 1 / 6])):
        config = MultiTopKConfig(k=4, factors=(0.5, 1, 2), weighting=weighting, dead_weight=0.0)  # type: ignore[arg-type]
        levels = config.levels("x", 200)
        assert levels == [2, 4, 8]
        for sparse in (True, False):
            module = MultiTopKAutoencoder(start(16, 16, 200, seed=1), config, levels)
            if not sparse:
                module.select = lambda pre: None  # type: ignore[method-assign]
            loss = module.loss(x)
            loss.total.backward()
            weight, atoms = (v.detach().clone().requires_grad_() for v in (module.weight, module.directions))
            pre = (x @ weight.T + module.bias.detach()).relu()
            total = torch.zeros(())
            for share, k in zip(weights, levels, strict=True):
                kept = torch.zeros_like(pre).scatter(1, pre.topk(k, 1).indices, 1.0)
                total = total + share * (pre * kept @ atoms - x).square().mean()
            total.backward()
            assert float(loss.total) == pytest.approx(float(total), rel=1e-5)
            torch.testing.assert_close(module.weight.grad, weight.grad, rtol=1e-4, atol=1e-7)
            torch.testing.assert_close(module.directions.grad, atoms.grad, rtol=1e-4, atol=1e-7)
    assert MultiTopKConfig(k=4, factors=(0.1, 0.2, 100)).levels("x", 50) == [1, 50]
    given = MultiTopKConfig(k=4, factors=(0.1, 0.2, 1, 4), weights=(1, 2, 8, 1))
    assert given.level_weights(given.levels("x", 50), 50) == [0.25, 8 / 12, 1 / 12]
    for wrong in ({"weights": (1, 2)}, {"weights": (1,) * 5, "weighting": "reverse"}, {"weights": (1, 2, 3, 4, 0)}):
        with pytest.raises(ValueError, match="weights"):
            MultiTopKConfig(**wrong)


def test_the_prefixes_of_a_batch_follow_from_seed_and_step() -> None:
    sizes = [prefix_sizes(1000, 5, 0.5, seed=3, step=step) for step in range(2000)]
    assert sizes == [prefix_sizes(1000, 5, 0.5, seed=3, step=step) for step in range(2000)]
    assert sizes != [prefix_sizes(1000, 5, 0.5, seed=4, step=step) for step in range(2000)]
    assert all(row[-1] == 1000 and row == sorted(set(row)) and row[0] >= 1 and len(row) == 5 for row in sizes)
    assert prefix_sizes(4, 10, 0.5, seed=0, step=0) == [1, 2, 3, 4] and prefix_sizes(1, 3, 0.5, seed=0, step=0) == [1]


@pytest.mark.parametrize("exponent", [0.5, 1.0, 0.001])
def test_the_law_of_the_prefixes(exponent: float) -> None:
    single = np.array([prefix_sizes(1000, 2, exponent, seed=0, step=step)[0] for step in range(4000)])
    for length in (1, 62, 250, 750):
        assert float((single <= length).mean()) == pytest.approx((length / 999) ** exponent, abs=0.03)


def test_random_prefixes_nest() -> None:
    x = drawn(30, 16)
    config = RandomMatryoshkaConfig(k=4, n_prefixes=4, dead_weight=0.0)
    module = RandomMatryoshkaAutoencoder(start(16, 16, 100, seed=1), config, 4, seed=9)
    for step in range(3):
        module.schedule(step, 3)
        loss = module.loss(x)
        with torch.no_grad():
            codes, _ = module.codes(x)
            dense = torch.zeros(30, 100)
            assert codes.entries is not None
            rows = np.repeat(np.arange(30), np.diff(codes.entries.offsets))
            dense[rows, codes.entries.unit_index] = codes.values
        sizes = prefix_sizes(100, 4, 0.5, seed=9, step=step)
        errors = [(dense[:, :m] @ module.directions[:m].detach() - x).square().mean() for m in sizes]
        assert float(loss.total) == pytest.approx(float(torch.stack(errors).mean()), rel=1e-5)


# ---- frozen


@pytest.mark.parametrize("least", [0.0, 0.8, 1.0])
def test_rows_are_projected_to_the_nearest_of_their_cone(least: float) -> None:
    rows, axes = (torch.nn.functional.normalize(drawn(50, 4, seed=seed), dim=1) for seed in (0, 1))
    rows[0], rows[1] = -axes[0], axes[1]
    inside = within_cone(rows, axes, least)
    cosine = (inside * axes).sum(1)
    torch.testing.assert_close(inside.norm(dim=1), torch.ones(50))
    assert bool((cosine >= least - 1e-5).all())
    kept = (rows * axes).sum(1) >= least
    assert torch.equal(inside[kept], rows[kept])
    # No vector of the cone is nearer: 20,000 random ones are compared.
    others = torch.nn.functional.normalize(drawn(20_000, 4, seed=3), dim=1)
    for row, axis, nearest in list(zip(rows, axes, inside, strict=True))[2:20]:
        allowed = others[others @ axis >= least]
        if len(allowed):
            assert float((allowed @ row).max()) <= float(nearest @ row) + 1e-4


@pytest.mark.parametrize("name", ["soft_frozen_decoder_sae", "frozen_encoder_sae"])
def test_frozen_parts_stay(data: Planted, name: str) -> None:
    config = {"expansion_factor": 4, "k": 3, "epochs": 15, "batch_size": 512, "learning_rate": 2e-2}
    method = methods.create(name, **config).fit(data.tokens, data.site, seed=1)
    first = start(32, 32, 128, seed=1).atoms
    unit = torch.nn.functional.normalize(first, dim=1)
    atoms = torch.nn.functional.normalize(method.dictionary().atoms, dim=1)
    cosine = (atoms * unit).sum(1)
    if name == "soft_frozen_decoder_sae":
        assert float(cosine.min()) >= 0.8 - 1e-5 and float(cosine.mean()) < 0.99
    else:
        reader = torch.nn.functional.normalize(method.encoder_weight, dim=1)  # type: ignore[attr-defined]
        torch.testing.assert_close(reader, unit, rtol=1e-4, atol=1e-5)
        assert float(cosine.min()) < 0.9


# ---- skip transcoder


class Layer(NamedTuple):
    site: MemorySite
    tokens: MemoryTokens
    readers: torch.Tensor
    """(64, 32) directions of the concepts in the input"""
    atoms: torch.Tensor
    """(64, 32) what each concept writes"""


def nonlinear_layer(n: int = 8192) -> Layer:
    """Three of 64 concepts per token: more than the input's dimensions, so no linear map gives what they write."""
    generator = torch.Generator().manual_seed(0)
    readers, atoms = (torch.nn.functional.normalize(torch.randn(64, 32, generator=generator), dim=1) for _ in range(2))
    chosen = torch.rand(n, 64, generator=generator).topk(3, 1).indices
    codes = torch.zeros(n, 64).scatter_(1, chosen, 1 + torch.rand(n, 3, generator=generator))
    q = codes @ readers + 0.02 * torch.randn(n, 32, generator=generator)
    tokens = MemoryTokens(q + 5, codes @ atoms + 3)
    return Layer(MemorySite(torch.zeros(32, 32), torch.zeros(32)), tokens, readers, atoms)


@pytest.fixture(scope="module")
def layer() -> Layer:
    return nonlinear_layer()


def recovered(atoms: torch.Tensor, planted_atoms: torch.Tensor) -> float:
    """Share of the planted atoms that some atom meets at a cosine above .9."""
    one, other = (torch.nn.functional.normalize(rows, dim=1) for rows in (planted_atoms, atoms))
    return float(((one @ other.T).max(1).values > 0.9).float().mean())


def test_a_skip_transcoder_recovers_what_its_skip_leaves(layer: Layer) -> None:
    """Not what a concept writes: the skip maps its direction in the input too, so its atom is the difference."""
    method = methods.create("skip_transcoder", **TRAINED).fit(layer.tokens, layer.site, seed=1)
    rest = layer.atoms - layer.readers @ method.skip_weight.T  # type: ignore[attr-defined]
    atoms = method.dictionary().atoms
    assert recovered(atoms, rest) >= 0.8
    assert recovered(atoms, layer.atoms) < 0.1
    config = {**{key: value for key, value in TRAINED.items() if key != "k"}, "l1_weight": 0.05}
    plain = methods.create("transcoder", **config).fit(layer.tokens, layer.site, seed=1)
    assert recovered(plain.dictionary().atoms, layer.atoms) >= 0.9


def test_a_skip_transcoder_adds_a_linear_map_of_its_input(layer: Layer) -> None:
    site, tokens = layer.site, layer.tokens
    q, a = tokens.fields["input"], tokens.fields["output"]
    config = {"expansion_factor": 4, "k": 3, "epochs": 20, "batch_size": 512, "learning_rate": 5e-3}
    method = methods.create("skip_transcoder", **config).fit(tokens, site, seed=1)
    codes = method.encode(q)
    expected = codes @ method.atoms + method.output_bias + q @ method.skip_weight.T  # type: ignore[attr-defined]
    torch.testing.assert_close(method.reconstruct(codes, q), expected, rtol=1e-4, atol=1e-4)
    error = (expected - a).square().sum() / (a - a.mean(0)).square().sum()
    assert 1 - float(error) > 0.8
    with pytest.raises(UserError, match="needs what encode has read"):
        method.decode(codes)
    form = method.as_trained_dictionary()
    torch.testing.assert_close(form.reconstruct(form.encode(q), q), method.reconstruct(codes, q), rtol=1e-4, atol=1e-3)


def test_on_a_linear_layer_the_skip_explains_everything(layer: Layer) -> None:
    """As what the decoder explains with codes of 0 shows; one epoch on another layer does not suffice."""
    q = drawn(4000, 16)
    weight = drawn(12, 16, seed=1)
    site, tokens = MemorySite(weight, torch.zeros(12)), MemoryTokens(q, q @ weight.T)
    config = {"expansion_factor": 2, "k": 2, "epochs": 60, "batch_size": 500, "learning_rate": 1e-2}

    def note(tokens: Any, site: Any, **settings: Any) -> str:
        method = methods.create("skip_transcoder", **config | settings).fit(tokens, site, seed=1)
        q, a = (tokens.gather(field, np.arange(tokens.n)) for field in ("input", "output"))
        share = InputShare()
        share.update(a, method.decode(torch.zeros(len(q), method.n_units), q))
        with pytest.raises(UserError, match=r"skip_transcoder\.decode was given 4 rows of codes and 1 of x"):
            method.decode(torch.zeros(4, method.n_units), q[:1])
        return share.note()

    assert "of the variance of the layer's output without any unit" in note(tokens, site)
    assert not note(layer.tokens, layer.site, epochs=1)


# ---- orthogonal pursuit


@pytest.mark.parametrize("with_gram", [True, False])
def test_orthogonal_pursuit_solves_the_least_squares_problem_of_each_choice(with_gram: bool) -> None:
    """Against a loop over rows and steps with scipy's non-negative least squares."""
    atoms = torch.nn.functional.normalize(drawn(40, 12), dim=1).double()
    x = drawn(25, 12, seed=1).double()
    path = orthogonal_pursuit(x, atoms, 5, 500, gram_of(atoms) if with_gram else None)
    for row, units, values in zip(x, path.units.tolist(), path.values, strict=True):
        chosen: list[int] = []
        residual = row
        for _ in range(5):
            correlations = atoms @ residual
            correlations[chosen] = -torch.inf
            chosen.append(int(correlations.argmax()))
            solution, _ = nnls(atoms[chosen].T.numpy(), row.numpy())
            residual = row - torch.from_numpy(solution) @ atoms[chosen]
        assert units == chosen
        np.testing.assert_allclose(values.numpy(), solution, atol=1e-6)


def test_codes_of_a_token_do_not_depend_on_the_others(data: Planted) -> None:
    config = {"expansion_factor": 4, "k": 4, "epochs": 2, "batch_size": 512}
    method = methods.create("omp_sae", **config).fit(data.tokens, data.site, seed=1)
    a = data.tokens.fields["output"][:200]
    whole = method.encode(a)
    assert int((whole != 0).sum(1).max()) <= 4 and float(whole.min()) >= 0
    parts = torch.cat([method.encode(part) for part in a.split(7)])
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-4)
    assert float((method.decode(whole) - a).square().mean()) < 0.5 * float((a - a.mean(0)).square().mean())


def test_all_new_families_say_where_they_come_from() -> None:
    names = ("gated_sae", "random_matryoshka_sae", "multi_topk_sae", "omp_sae", "skip_transcoder")
    names += ("soft_frozen_decoder_sae", "frozen_encoder_sae")
    for name, other in itertools.combinations(names, 2):
        assert methods.METHODS.get(name).spec.title != methods.METHODS.get(other).spec.title
        assert len(methods.METHODS.get(name).spec.reference) > 20

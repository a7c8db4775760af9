"""Options of the families against plain PyTorch: learned pre-bias, gradients along atoms, and warm-ups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from in_memory import small_layer
from torch import Tensor, nn
from variants import REFUSED

import methods
from methods.errors import UserError
from methods.sae.autoencoder import LinearAutoencoder
from methods.sae.batchtopk import BatchTopKConfig
from methods.sae.config import FixedL0, FixedL0Config
from methods.sae.jumprelu import JumpReLUAutoencoder
from methods.sae.library import start
from methods.sae.matching_pursuit import PursuitAutoencoder
from methods.sae.matryoshka import MatryoshkaAutoencoder, MatryoshkaConfig
from methods.sae.parallel_gradient import remove_parallel_gradient
from methods.sae.topk import TopKAutoencoder
from methods.sae.vanilla import VanillaAutoencoder, VanillaConfig
from methods.sae.warm_up import progress_of
from methods.training import loop
from methods.training.checkpoint import Checkpoint

pytestmark = pytest.mark.run

N, D, UNITS, K = 40, 16, 120, 3
SMALL = {"expansion_factor": 3, "epochs": 4, "batch_size": 64, "learning_rate": 5e-3}


@pytest.fixture
def x() -> Tensor:
    return torch.randn(N, D, generator=torch.Generator().manual_seed(0))


def small(name: str, **more: Any) -> dict[str, Any]:
    return {**SMALL, **({"k": 4} if "k" in methods.METHODS.get(name).Config.model_fields else {}), **more}


def fitted(name: str, seed: int = 3, **more: Any) -> Any:
    site, tokens = small_layer()
    return methods.create(name, **small(name, **more)).fit(tokens, site, seed=seed)


# ---- pre-bias


def with_bias(trainee: LinearAutoencoder) -> LinearAutoencoder:
    trainee.project()
    assert trainee.pre_bias is not None
    with torch.no_grad():
        trainee.pre_bias.copy_(torch.linspace(-0.4, 0.5, D))
    return trainee


def biased(family: str) -> LinearAutoencoder:
    first, common = start(D, D, UNITS, seed=1), {"dead_weight": 0.0, "pre_bias": True}
    if family == "topk":
        return with_bias(TopKAutoencoder(first, FixedL0Config.model_validate(common), K))
    if family == "matryoshka":
        config = MatryoshkaConfig.model_validate({**common, "prefixes": (0.25, 1.0)})
        return with_bias(MatryoshkaAutoencoder(first, config, K))
    return with_bias(VanillaAutoencoder(first, VanillaConfig.model_validate({**common, "l1_weight": 0.0})))


@pytest.mark.parametrize("family", ["topk", "matryoshka", "vanilla"])
def test_the_pre_bias_is_subtracted_before_the_encoder_and_added_after_the_decoder(family: str, x: Tensor) -> None:
    trainee = biased(family)
    error = trainee.loss(x).total
    error.backward()
    names = ("weight", "bias", "directions", "pre_bias")
    weight, bias, atoms, b = (getattr(trainee, name).detach().clone().requires_grad_() for name in names)
    codes = torch.relu((x - b) @ weight.T + bias)
    if family == "topk":
        codes = codes * (codes >= codes.topk(K).values[:, -1:])
    if family == "matryoshka":
        codes = codes * (codes >= codes.flatten().topk(K * N).values[-1])
        wanted = sum((codes[:, :m] @ atoms[:m] + b - x).square().mean() for m in (UNITS // 4, UNITS)) / 2
    else:
        wanted = (codes @ atoms + b - x).square().mean()
    wanted.backward()
    torch.testing.assert_close(error, wanted)
    for name, expected in zip(names, (weight, bias, atoms, b), strict=True):
        torch.testing.assert_close(getattr(trainee, name).grad, expected.grad, rtol=1e-3, atol=1e-6)


WITH_PRE_BIAS = [
    name
    for name in methods.names()
    if "pre_bias" in methods.METHODS.get(name).Config.model_fields and (name, "pre_bias") not in REFUSED
]


@pytest.mark.parametrize("name", WITH_PRE_BIAS)
def test_a_pre_bias_is_folded_into_what_is_fitted_and_exported(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Codes and reconstructions are those of the trained module; an export needs nothing new."""
    _, tokens = small_layer()
    kept: list[Any] = []
    cls = methods.METHODS.get(name)
    fold = cls.fold
    monkeypatch.setattr(cls, "fold", lambda self, *given: kept.append(given) or fold(self, *given))  # type: ignore[func-returns-value]
    method = fitted(name, pre_bias=True)
    trainee, reads, _ = kept[0]
    a = tokens.fields["output"]
    rows = reads(a)
    with torch.no_grad():
        assert float(trainee.pre_bias.abs().max()) > 1e-3
        pre = (rows - trainee.pre_bias) @ trainee.weight.T + trainee.bias
        if name == "gated_sae":
            pre = trainee.gain() * pre + trainee.shift()
        codes = method.activate(pre)
        expected = (codes @ trainee.atoms() + trainee.pre_bias) * reads.scale + reads.mean
    torch.testing.assert_close(method.encode(a), codes, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(method.decode(codes), expected, rtol=1e-3, atol=1e-4)
    exported = method.as_trained_dictionary()
    torch.testing.assert_close(exported.encode(a), method.encode(a))
    torch.testing.assert_close(exported.decode(codes), method.decode(codes))


# ---- gradients along atoms


def test_what_is_left_is_the_gradient_of_normalised_atoms(x: Tensor) -> None:
    """The derivative of f(d / |d|) at |d| = 1, and no component along d."""
    drawn = torch.randn(30, D, generator=torch.Generator().manual_seed(1))
    unit = nn.functional.normalize(drawn, dim=1)

    def f(atoms: Tensor) -> Tensor:
        return ((x @ atoms.T).relu() @ atoms - x).square().mean()

    atoms, free = nn.Parameter(unit.clone()), unit.clone().requires_grad_()
    f(atoms).backward()  # type: ignore[no-untyped-call]
    assert atoms.grad is not None and float((atoms.grad * unit).sum(1).abs().max()) > 1e-3
    remove_parallel_gradient(atoms)
    f(free / free.norm(dim=1, keepdim=True)).backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(atoms.grad, free.grad, rtol=1e-4, atol=1e-6)


def test_atoms_without_a_gradient_or_a_direction_are_left_alone() -> None:
    atoms = nn.Parameter(torch.zeros(2, 3))
    remove_parallel_gradient(atoms)
    assert atoms.grad is None
    atoms.grad = torch.ones(2, 3)
    remove_parallel_gradient(atoms)
    assert torch.equal(atoms.grad, torch.ones(2, 3))


@pytest.mark.parametrize("name", ["topk_sae", "transcoder", "jumprelu_sae", "matching_pursuit_sae"])
@pytest.mark.parametrize("removed", [False, True])
def test_it_is_removed_before_gradients_are_clipped(name: str, removed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    along: list[float] = []
    clip = loop.clip_gradients

    def clipped(parameters: list[nn.Parameter], limit: float, *, read: bool) -> None:
        directions = next(
            p for p in parameters if p.shape == (18, 6) and bool(((p.norm(dim=1) - 1).abs() < 1e-4).all())
        )
        assert directions.grad is not None
        of_directions = directions.detach()
        along.append(float((directions.grad * of_directions).sum(1).abs().max() / directions.grad.norm()))
        clip(parameters, limit, read=read)

    monkeypatch.setattr(loop, "clip_gradients", clipped)
    more = {} if name == "matching_pursuit_sae" else {"encoder_start": "library"}
    fitted(name, remove_parallel_gradient=removed, **more)
    assert len(along) == 16
    assert max(along) < 1e-5 if removed else max(along) > 1e-4


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("topk_sae", {"k_start": 30}, "k_start = 30 has no effect without k_warmup"),
        ("topk_sae", {"auxk_weight": 1.0}, "auxk_weight = 1.0 has no effect without auxk"),
        ("vanilla_sae", {"auxk_tokens": 9}, "auxk_tokens = 9 has no effect without auxk"),
        ("frozen_encoder_sae", {"auxk": 4}, "auxk trains the encoder, which is fixed here"),
        ("frozen_encoder_sae", {"pre_bias": True}, "pre_bias trains the encoder, which is fixed here"),
    ],
)
def test_settings_without_effect_are_refused(name: str, config: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        methods.create(name, **config)


def test_more_dead_units_per_token_than_units_are_refused() -> None:
    site, tokens = small_layer()
    with pytest.raises(UserError, match=r"auxk = 999, but there are only \d+ units"):
        methods.create("topk_sae", auxk=999, k=2, epochs=1).fit(tokens, site, seed=0)


def test_a_note_if_the_training_is_too_short_for_a_unit_to_count_as_dead() -> None:
    site, tokens = small_layer()
    for epochs, config, noted in ((1, {}, True), (2, {}, False), (2, {"auxk_tokens": 10**6}, True)):
        method = methods.create("topk_sae", auxk=2, k=2, epochs=epochs, **config).fit(tokens, site, seed=0)
        assert any("auxk acts in the last step at most" in note for note in method.notes) == noted


# ---- warm-ups


def test_a_warm_up_rises_linearly_over_its_share_of_the_steps() -> None:
    assert [progress_of(step, 10, 0.4) for step in range(6)] == [0, 0.25, 0.5, 0.75, 1, 1]
    assert [progress_of(step, 10, 0.0) for step in range(2)] == [1, 1]
    assert [progress_of(step, 2, 1.0) for step in range(3)] == [0, 0.5, 1]


@pytest.mark.parametrize(
    "name, module",
    [("vanilla_sae", VanillaAutoencoder), ("transcoder", VanillaAutoencoder), ("jumprelu_sae", JumpReLUAutoencoder)],
)
def test_the_penalty_rises_from_zero(name: str, module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The penalty of each step over that of the full weight on the same codes: 0, 1/8, ... and 1 from step 8 on."""
    shares: list[float] = []
    penalty = module.penalty

    def noted(self: Any, codes: Any, pre: Tensor) -> Tensor:
        value: Tensor = penalty(self, codes, pre)
        scale = self.sparsity_scale.clone()
        self.sparsity_scale.fill_(1)
        full = penalty(self, codes, pre)
        self.sparsity_scale.copy_(scale)
        shares.append(float(value.detach() / full.detach()))
        return value

    monkeypatch.setattr(module, "penalty", noted)
    fitted(name, sparsity_warmup=0.5)
    assert shares == pytest.approx([step / 8 for step in range(8)] + [1.0] * 8)


@pytest.mark.parametrize("name", ["topk_sae", "batchtopk_sae", "matryoshka_sae"])
@pytest.mark.parametrize("k_start, first", [(12, 12), (None, 6)])
def test_k_falls_to_its_value(name: str, k_start: int | None, first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Active units per token in each step: from the start, or the layer's width, down to 4 over eight of 16 steps."""
    fires: list[float] = []
    loss = LinearAutoencoder.loss

    def noted(self: LinearAutoencoder, *batch: Tensor) -> Any:
        found = loss(self, *batch)
        fires.append(float(found.fires.sum()) / len(batch[0]))
        return found

    monkeypatch.setattr(LinearAutoencoder, "loss", noted)
    method = fitted(name, k_warmup=0.5, k_start=k_start)
    _, tokens = small_layer()
    wanted = [round(first + (4 - first) * step / 8) for step in range(8)] + [4] * 8
    # Units with negative pre-codes are not active, so that there may be fewer.
    assert all(found <= k + 1e-6 for found, k in zip(fires, wanted, strict=True))
    assert fires[0] > 4 and fires[0] > fires[4] > fires[8]
    assert float((method.encode(tokens.fields["output"]) != 0).sum(1).float().mean()) == pytest.approx(4, rel=0.1)


def test_wrong_starts_of_k_are_refused() -> None:
    for wrong in (3, 19):
        with pytest.raises(methods.UserError, match=f"k_start = {wrong} must be at least k = 4 and at most .* 18"):
            fitted("topk_sae", k_warmup=0.5, k_start=wrong)


@pytest.mark.parametrize(
    "name, setting",
    [
        ("transcoder", "pre_bias"),
        ("archetypal_sae", "remove_parallel_gradient"),
        ("archetypal_sae", "k_warmup"),
        ("matching_pursuit_sae", "auxk"),
        ("topk_sae", "sparsity_warmup"),
    ],
)
def test_families_without_a_meaning_for_an_option_do_not_have_it(name: str, setting: str) -> None:
    with pytest.raises(methods.UserError, match=setting):
        methods.create(name, **{setting: True})


# ---- all options

OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("topk_sae", {"k_warmup": 0.6, "pre_bias": True, "remove_parallel_gradient": True, "dead_over": "batch"}),
    ("topk_sae", {"auxk": 4, "auxk_tokens": 64}),
    ("frozen_decoder_sae", {"auxk": 4, "auxk_tokens": 64, "pre_bias": True, "remove_parallel_gradient": True}),
    ("frozen_decoder_sae", {"k_warmup": 0.6}),
    ("batchtopk_sae", {"k_warmup": 0.6, "k_start": 12, "auxk": 4, "auxk_tokens": 64}),
    ("matryoshka_sae", {"k_warmup": 1.0, "pre_bias": True}),
    ("vanilla_sae", {"sparsity_warmup": 0.7, "pre_bias": True}),
    ("transcoder", {"sparsity_warmup": 0.7, "remove_parallel_gradient": True, "auxk": 4}),
    ("jumprelu_sae", {"sparsity_warmup": 0.7, "pre_bias": True, "sparsity_weight": 0.1}),
    ("archetypal_sae", {"pre_bias": True, "auxk": 4, "auxk_tokens": 64}),
    ("matching_pursuit_sae", {"remove_parallel_gradient": True, "dead_over": "batch"}),
]


@pytest.mark.parametrize("name, options", OPTIONS)
def test_a_training_with_options_is_resumed_to_the_same_bits(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    """Stopped in the seventh of 16 steps, within the warm-ups."""
    whole = fitted(name, **options)
    site, tokens = small_layer()

    def stop(done: int, total: int, what: str) -> None:
        if done == 7:
            raise KeyboardInterrupt

    method: Any = methods.create(name, **small(name, **options))
    method.checkpoint = Checkpoint(tmp_path / "run.safetensors", every_seconds=0)
    with pytest.raises(KeyboardInterrupt):
        method.fit(tokens, site, seed=3, progress=stop)
    steps: list[int] = []
    method.fit(tokens, site, seed=3, progress=lambda done, *_: steps.append(done))
    assert steps[0] == 7
    for part in method.fitted:
        assert torch.equal(getattr(method, part), getattr(whole, part)), part
    assert (method.history, method.notes) == (whole.history, whole.notes)


NEUTRAL: list[tuple[str, dict[str, Any]]] = [
    ("topk_sae", {"auxk": 4, "auxk_weight": 0.0}),
    ("topk_sae", {"k_warmup": 0.5, "k_start": 4}),
    ("topk_sae", {"k_warmup": 0.01, "k_start": 12}),
    ("batchtopk_sae", {"k_warmup": 0.5, "k_start": 4}),
    ("vanilla_sae", {"sparsity_warmup": 0.01}),
    ("jumprelu_sae", {"sparsity_warmup": 0.01}),
    ("transcoder", {"sparsity_warmup": 0.01}),
    ("matching_pursuit_sae", {"dead_over": "token", "remove_parallel_gradient": False}),
]


@pytest.mark.parametrize("name, options", NEUTRAL)
def test_options_at_values_without_an_effect_change_no_bit(name: str, options: dict[str, Any]) -> None:
    """A weight of 0, a start of k at k, and warm-ups of less than half a step."""
    one, other = fitted(name), fitted(name, **options)
    for part in one.fitted:
        assert torch.equal(getattr(one, part), getattr(other, part)), part


def test_defaults_are_no_part_of_a_dumped_configuration() -> None:
    """So that cells from before the options keep their ids."""
    assert set(BatchTopKConfig().model_dump()) == {
        "batch_size", "clip_norm", "dead_weight", "encoder_start", "epochs", "expansion_factor", "k", "learning_rate",
        "precision", "threshold_momentum", "warmup_fraction",
    }  # fmt: skip
    dumped = FixedL0(remove_parallel_gradient=True).model_dump()
    assert dumped["remove_parallel_gradient"] is True and FixedL0(**dumped) == FixedL0(remove_parallel_gradient=True)


def test_the_gradient_of_a_pursuit_is_adjusted_too() -> None:
    x = torch.randn(N, D, generator=torch.Generator().manual_seed(0))
    module = PursuitAutoencoder(start(D, D, UNITS, seed=1).atoms, FixedL0(remove_parallel_gradient=True), K)
    module.project()
    module.loss(x).total.backward()
    module.adjust_gradients()
    assert module.directions.grad is not None and bool(module.directions.grad.any())
    assert float((module.directions.grad * module.directions).sum(1).abs().max()) < 1e-7

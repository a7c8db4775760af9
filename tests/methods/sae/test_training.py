"""The training loop: seeds, checkpoints, failure, normalisation."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from in_memory import MemoryTokens, small_layer
from no_kernels import without_kernels
from paths import ROOT, SUPPORT
from torch import Tensor

import methods
from methods.sae.autoencoder import LinearAutoencoder
from methods.sae.method import SparseMethod
from methods.training import checkpoint
from methods.training.batches import Batches
from methods.training.checkpoint import Checkpoint
from methods.training.config import TrainingConfig
from methods.training.loop import learning_rate
from methods.training.normaliser import Normaliser

pytestmark = pytest.mark.run

SMALL = {"expansion_factor": 3, "epochs": 4, "batch_size": 64}


class Interrupted(Exception):
    pass


def trained() -> list[str]:
    return [name for name in methods.names() if issubclass(methods.METHODS.get(name), SparseMethod)]


def small(name: str, **more: object) -> dict[str, object]:
    return {**SMALL, **({"k": 4} if "k" in methods.METHODS.get(name).Config.model_fields else {}), **more}


@pytest.mark.parametrize("name", trained())
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(name: str, tmp_path: Path) -> None:
    site, tokens = small_layer()
    config = small(name)

    def stop(done: int, total: int, what: str) -> None:
        if done == 7:
            raise Interrupted

    whole = methods.create(name, **config).fit(tokens, site, seed=3)
    method = methods.create(name, **config)
    assert isinstance(method, SparseMethod)
    method.checkpoint = Checkpoint(tmp_path / "run.safetensors", every_seconds=0)
    with pytest.raises(Interrupted):
        method.fit(tokens, site, seed=3, progress=stop)
    assert method.checkpoint.path.is_file()
    steps = []
    method.fit(tokens, site, seed=3, progress=lambda done, total, what: steps.append(done))
    assert steps[0] == 7, "the seventh step was taken but not saved"
    for part in method.fitted:
        assert torch.equal(getattr(method, part), getattr(whole, part)), part
    assert method.history == whole.history  # type: ignore[attr-defined]
    assert not method.checkpoint.path.exists(), "a finished run leaves no checkpoint"


#: Fits in a process of its own, and kills it in the ninth of sixteen steps.
KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from in_memory import small_layer
import methods
from methods.training import checkpoint
checkpoint.Checkpoint.due = lambda self: True
site, tokens = small_layer()
method = methods.create("matryoshka_sae", expansion_factor=3, epochs=4, batch_size=64, k=4)
method.work_dir = Path(sys.argv[2])
method.fit(tokens, site, seed=3, progress=lambda done, *_: done == 9 and os.kill(os.getpid(), 9))
"""


@pytest.mark.slow
def test_a_killed_fit_goes_on_in_another_process(tmp_path: Path) -> None:
    script = [sys.executable, "-c", KILLED, str(SUPPORT), str(tmp_path)]
    ended = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == -9, ended.stderr
    assert (tmp_path / "training.safetensors").is_file()
    site, tokens = small_layer()
    whole = methods.create("matryoshka_sae", **SMALL, k=4).fit(tokens, site, seed=3)
    method = methods.create("matryoshka_sae", **SMALL, k=4)
    method.work_dir = tmp_path
    steps: list[int] = []
    method.fit(tokens, site, seed=3, progress=lambda done, *_: steps.append(done))
    assert steps[0] == 9
    for part in method.fitted:
        torch.testing.assert_close(getattr(method, part), getattr(whole, part), rtol=0, atol=0)


def test_every_trained_family_keeps_what_a_killed_fit_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site, tokens = small_layer()
    monkeypatch.setattr(Checkpoint, "due", lambda self: True)

    def stop(done: int, total: int, what: str) -> None:
        if done == 7:
            raise Interrupted

    for name in trained():
        method = methods.create(name, **small(name))
        method.work_dir = tmp_path / name
        with pytest.raises(Interrupted):
            method.fit(tokens, site, seed=3, progress=stop)
        assert [file.name for file in method.work_dir.iterdir()] == ["training.safetensors"], name


def test_a_folder_removed_by_another_process_of_the_same_fit_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has finished the cell; this one's parameters are about to be written, or are written and have no name yet."""
    site, tokens = small_layer()
    real, calls = checkpoint.save_file, [0]

    def disturbed(tensors: dict[str, torch.Tensor], file: str, metadata: dict[str, str]) -> None:
        calls[0] += 1
        if calls[0] % 4 == 1:
            shutil.rmtree(tmp_path / "work")
        real(tensors, file, metadata)
        if calls[0] % 4 == 3:
            shutil.rmtree(tmp_path / "work")

    monkeypatch.setattr(checkpoint, "save_file", disturbed)
    monkeypatch.setattr(Checkpoint, "due", lambda self: True)
    method = methods.create("topk_sae", **SMALL, k=4)
    method.work_dir = tmp_path / "work"
    method.fit(tokens, site, seed=3)
    assert calls[0] > 6
    assert torch.equal(method.atoms, methods.create("topk_sae", **SMALL, k=4).fit(tokens, site, seed=3).atoms)


def test_a_checkpoint_of_another_run_is_not_taken(tmp_path: Path) -> None:
    site, tokens = small_layer()

    def stop(done: int, total: int, what: str) -> None:
        if done == 7:
            raise Interrupted

    method = methods.create("topk_sae", **SMALL, k=4)
    assert isinstance(method, SparseMethod)
    method.checkpoint = Checkpoint(tmp_path / "run.safetensors", every_seconds=0)
    with pytest.raises(Interrupted):
        method.fit(tokens, site, seed=3, progress=stop)
    steps: list[int] = []
    method.fit(tokens, site, seed=4, progress=lambda done, total, what: steps.append(done))
    assert steps[0] == 1
    (tmp_path / "run.safetensors").write_bytes(b"junk")
    method.fit(tokens, site, seed=4)


def test_a_loss_that_is_not_finite_stops_with_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    site, tokens = small_layer()
    monkeypatch.setattr(LinearAutoencoder, "error", lambda *_: torch.tensor(float("nan"), requires_grad=True))
    steps: list[int] = []
    with pytest.raises(methods.UserError, match=r"topk_sae: the loss is nan after 4 steps; .* epochs=4, batch_size=64"):
        methods.create("topk_sae", **SMALL, k=4).fit(tokens, site, progress=lambda done, *_: steps.append(done))
    assert steps[-1] == 4, "it is seen at the end of the first epoch at the latest"


def test_a_last_step_that_breaks_is_not_called_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    site, tokens = small_layer()

    def project(self: LinearAutoencoder) -> None:
        if getattr(self, "steps", 0) == 17:
            self.directions.data[0, 0] = float("nan")
        self.steps = getattr(self, "steps", 0) + 1  # type: ignore[assignment]

    monkeypatch.setattr(LinearAutoencoder, "project", project)
    with pytest.raises(methods.UserError, match=r"topk_sae: a parameter is not finite after 16 steps; lower learning"):
        methods.create("topk_sae", **SMALL, k=4).fit(tokens, site)


@pytest.mark.parametrize("name", trained())
@pytest.mark.parametrize("n", [2, 65, 130])
def test_few_tokens_and_last_batches_of_one_row(name: str, n: int) -> None:
    """Fewer tokens than a batch; a last batch of one row; steps fewer than the rise of the learning rate."""
    site, tokens = small_layer(n=n)
    more = {"expansion_factor": 0.34} if name == "archetypal_sae" else {}
    config = {**small(name, epochs=1, warmup_fraction=0.9), **more, **({"k": 1} if more else {})}
    method = methods.create(name, **config).fit(tokens, site, seed=1)
    x = tokens.fields[method.spec.reads]
    assert bool(method.reconstruct(method.encode(x), x).isfinite().all())


@pytest.mark.parametrize("name", trained())
def test_constant_features_and_half_precision_tokens(name: str) -> None:
    site, tokens = small_layer()
    q, a = tokens.fields["input"].clone(), tokens.fields["output"].clone()
    q[:, 3], a[:, 2] = 0.7, -1.3
    for dtype in (torch.float32, torch.float16):
        method = methods.create(name, **small(name)).fit(MemoryTokens(q.to(dtype), a.to(dtype)), site, seed=1)
        x = q if method.spec.reads == "input" else a
        a_hat = method.reconstruct(method.encode(x), x)
        assert bool(a_hat.isfinite().all())
        # Atoms start with something there, of which training takes most.
        assert float((a_hat[:, 2] + 1.3).abs().mean()) < 1.0


def test_tokens_that_teach_nothing_are_refused_in_words() -> None:
    site, tokens = small_layer()
    q, a = tokens.fields["input"], tokens.fields["output"]
    for wrong, sentence in (
        (a[:1], "only one probing token"),
        (a[:1].repeat(300, 1), "All 300 probing tokens are the same"),
        (torch.full((300, 6), 0.1), "All 300 probing tokens are the same"),
        (torch.zeros(300, 6), "All 300 probing tokens are the same"),
        (a.where(a > a.min(), float("nan")), "output contains NaN or infinity"),
        (a.where(a > a.min(), float("inf")), "output contains NaN or infinity"),
        (a[:0], "no probing tokens"),
    ):
        for name in ("topk_sae", "matching_pursuit_sae"):
            with pytest.raises(methods.UserError, match=sentence):
                methods.create(name, **small(name)).fit(MemoryTokens(q[: len(wrong)], wrong), site)


@pytest.mark.parametrize("name", trained())
def test_products_in_bfloat16_lead_to_the_same_place(name: str) -> None:
    """Defaults of a GPU: dense products in bfloat16, parameters in float32."""
    site, tokens = small_layer(n=600)
    a, found = tokens.fields["output"], []
    for precision in ("float32", "bfloat16"):
        config = small(name, epochs=30, learning_rate=3e-3, precision=precision)
        method = methods.create(name, **config).fit(tokens, site, seed=1)
        x = tokens.fields[method.spec.reads]
        error = (a - method.reconstruct(method.encode(x), x)).square().sum()
        found.append(1 - float(error / (a - a.mean(0)).square().sum()))
    assert found[1] == pytest.approx(found[0], abs=0.03)


@pytest.mark.parametrize("name", trained())
def test_dense_products_as_on_a_gpu_take_the_same_steps(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    site, tokens = small_layer()
    config = small(name, expansion_factor=20, epochs=1)
    sparse = methods.create(name, **config).fit(tokens, site, seed=1)
    without_kernels(monkeypatch)
    dense = methods.create(name, **config).fit(tokens, site, seed=1)
    for part in sparse.fitted:
        # Sums in another order may choose another unit in a near tie, which depends on the processor.
        is_close = torch.isclose(getattr(dense, part), getattr(sparse, part), rtol=1e-3, atol=1e-4)
        assert float(is_close.float().mean()) > 0.9, part


@pytest.mark.parametrize(
    "name, setting, value",
    [
        ("topk_sae", "k", -1),
        ("topk_sae", "k", 2.5),
        ("topk_sae", "k", 19),
        ("batchtopk_sae", "k", 19),
        ("matching_pursuit_sae", "k", 19),
        ("archetypal_sae", "k", 19),
        ("frozen_decoder_sae", "k", 19),
        ("topk_sae", "epochs", 0),
        ("topk_sae", "batch_size", 0),
        ("topk_sae", "learning_rate", float("nan")),
        ("topk_sae", "learning_rate", float("inf")),
        ("topk_sae", "learning_rate", 0.0),
        ("topk_sae", "expansion_factor", float("inf")),
        ("topk_sae", "expansion_factor", -1),
        ("topk_sae", "warmup_fraction", 1.0),
        ("topk_sae", "dead_weight", -1e-4),
        ("topk_sae", "precision", "float8"),
        ("topk_sae", "encoder_start", "zeros"),
        ("vanilla_sae", "l1_weight", -1.0),
        ("vanilla_sae", "l1_over", "unit"),
        ("jumprelu_sae", "target_l0", 0),
        ("jumprelu_sae", "bandwidth", 0),
        ("archetypal_sae", "sparsity", 1.5),
        ("archetypal_sae", "delta", -1),
        ("archetypal_sae", "point_source", "pixels"),
        ("matryoshka_sae", "prefixes", []),
        ("matryoshka_sae", "prefixes", [0.5, 2.0]),
        ("matryoshka_sae", "prefixes", ["half", 1.0]),
        ("batchtopk_sae", "threshold_momentum", 1.0),
    ],
)
def test_wrong_settings_are_one_sentence(name: str, setting: str, value: object) -> None:
    site, tokens = small_layer()
    with pytest.raises(methods.UserError) as caught:
        methods.create(name, **{**SMALL, setting: value}).fit(tokens, site)
    sentence = str(caught.value)
    assert sentence.startswith(f"{name}.{setting}") and sentence.endswith(".") and "\n" not in sentence


@pytest.mark.parametrize("name", ["topk_sae", "archetypal_sae"])
def test_another_seed_another_method(name: str) -> None:
    site, tokens = small_layer()
    one, other = (methods.create(name, **SMALL, k=4).fit(tokens, site, seed=seed) for seed in (1, 2))
    assert not torch.allclose(one.dictionary().atoms, other.dictionary().atoms)


def test_global_random_state_is_left_alone() -> None:
    site, tokens = small_layer()
    before = torch.random.get_rng_state()
    methods.create("jumprelu_sae", **SMALL).fit(tokens, site, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("width, rows", [(16, 65536), (1024, 65536), (3072, 21845)])
def test_wide_tokens_are_read_in_smaller_batches(width: int, rows: int) -> None:
    """Copies in float64 are made of each: 65536 inputs of a ViT-B's MLP would take five GiB."""
    asked = []

    class Wide(MemoryTokens):
        def batches(self, field: str, size: int) -> Iterator[Tensor]:
            asked.append(size)
            return super().batches(field, size)

    x = torch.rand(4, width, generator=torch.Generator().manual_seed(0))
    Normaliser(Wide(x, x), "input")
    assert asked == [rows]


def test_normalised_tokens_have_mean_zero_and_variance_one() -> None:
    _, tokens = small_layer()
    shifted = MemoryTokens(tokens.fields["input"], tokens.fields["output"] * 7 + 1000)
    normalise = Normaliser(shifted, "output", batch_size=50)
    x = normalise(shifted.fields["output"])
    torch.testing.assert_close(x.mean(0), torch.zeros(6), atol=1e-3, rtol=0)
    assert float(x.square().mean()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", methods.names())
def test_codes_follow_shift_and_scale_of_the_tokens(name: str) -> None:
    if not issubclass(methods.METHODS.get(name), SparseMethod):
        pytest.skip(f"{name} is not trained")
    site, tokens = small_layer()
    shifted = MemoryTokens(tokens.fields["input"], tokens.fields["output"] * 64 + 3)
    config = {**SMALL, **({"k": 4} if "k" in methods.METHODS.get(name).Config.model_fields else {})}
    one = methods.create(name, **config).fit(tokens, site, seed=1)
    other = methods.create(name, **config).fit(shifted, site, seed=1)
    x, y = tokens.fields[one.spec.reads], shifted.fields[one.spec.reads]
    a, b = one.reconstruct(one.encode(x), x), other.reconstruct(other.encode(y), y)
    torch.testing.assert_close(a * 64 + 3, b, rtol=1e-2, atol=1.0)


def test_every_token_once_an_epoch_whatever_fits_in_memory() -> None:
    _, tokens = small_layer()
    normalise = Normaliser(tokens, "output")
    wanted = normalise(tokens.fields["output"])
    for memory in (1 << 30, 100 * 6 * 4):
        batches = Batches(tokens, ("output",), (normalise,), 32, seed=1, block_bytes=memory)
        seen = list(batches.epoch(0))
        assert len(seen) == batches.per_epoch
        rows = torch.cat([batch[0] for batch in seen])
        assert torch.equal(rows[rows[:, 0].argsort()], wanted[wanted[:, 0].argsort()])
        assert not torch.equal(rows, torch.cat([batch[0] for batch in batches.epoch(1)]))
        rest = list(batches.epoch(0, skip=3))
        assert all(torch.equal(one[0], other[0]) for one, other in zip(rest, seen[3:], strict=True))


def test_the_learning_rate_rises_and_falls() -> None:
    config = TrainingConfig(learning_rate=1.0, warmup_fraction=0.1)
    rates = [learning_rate(step, 100, config) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == rates[10] == 1.0
    assert all(low < high for low, high in pairwise(rates[:10]))
    assert all(high > low for high, low in pairwise(rates[10:])) and rates[-1] < 1e-3
    slow = TrainingConfig(learning_rate=1.0, warmup_fraction=0.99)
    for total in (1, 2, 3):
        few = [learning_rate(step, total, slow) for step in range(total)]
        assert all(0 < rate <= 1 for rate in few) and few == sorted(few)
    at_once = TrainingConfig(learning_rate=1.0, warmup_fraction=0.0)
    assert [learning_rate(step, 2, at_once) for step in range(2)] == [1.0, 1.0]


def test_curves_tell_how_the_fit_went_and_come_back_with_the_method(tmp_path: Path) -> None:
    site, tokens = small_layer()
    method = methods.create("topk_sae", **SMALL, k=4).fit(tokens, site, seed=0)
    assert set(method.curves) == {"loss", "training_r2", "l0", "dead"}
    steps = [step for step, _ in method.curves["loss"]]
    assert len(steps) == SMALL["epochs"] and steps == sorted(set(steps))
    assert method.curves["loss"][-1][1] < method.curves["loss"][0][1]
    assert all(value == pytest.approx(4.0) for _, value in method.curves["l0"])
    method.save(tmp_path / "m.safetensors")
    assert type(method).load(tmp_path / "m.safetensors").curves == method.curves

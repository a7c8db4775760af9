"""Our training loop against overcomplete's ``train_sae``: the same data, order, epochs, seed, loss and schedule.

    python benchmarks/sae_training.py TOKENS [--epochs 5] [--family topk_sae ...] [--units-per-neuron 8]

TOKENS is the folder of a token set (``outputs/cache/tokens/<fingerprint>``). Both sides see the same normalised tokens,
held in memory, in the same order; the library's side is its own module and loop, with its progress lines discarded.
Prints seconds a step, R2 on all tokens and active units a token for both, the ratio of seconds, and its median.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import methods
from harness.activations.token_set import TokenSet
from methods.base import Reads
from methods.sae.library import build
from methods.training.batches import Batches
from methods.training.loop import learning_rate
from methods.training.normaliser import Normaliser

Criterion = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


class Layer(NamedTuple):
    d_in: int
    d_out: int


class Side(NamedTuple):
    seconds_a_step: float
    r2: float
    l0: float


class Epochs:
    """A data loader for ``train_sae``: one epoch after the other in the order our loop has."""

    def __init__(self, batches: Batches) -> None:
        self.batches, self.number = batches, -1

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        self.number += 1
        return self.batches.epoch(self.number)


class Cosine:
    """Our schedule, as ``train_sae`` wants it."""

    def __init__(self, optimiser: torch.optim.Optimizer, total: int, config: Any) -> None:
        self.optimiser, self.total, self.config, self.number = optimiser, total, config, -1
        self.step()

    def step(self) -> None:
        self.number += 1
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.number, self.total, self.config)


def dead_term(pre: Tensor, codes: Tensor, weight: float) -> Tensor:
    dead = (codes.detach() != 0).sum(0) == 0
    return -weight * (pre * dead).sum() / (dead.sum().clamp_min(1) * len(codes))


def counterpart(name: str, config: Any, layer: Layer, x: Tensor, seed: int) -> tuple[nn.Module, Criterion]:
    """The library's module and the loss that ``train_sae`` minimises for one of our families."""
    d, n_units = layer.d_out, config.n_units(layer.d_out)
    dead = config.dead_weight

    def plain(x: Tensor, x_hat: Tensor, pre: Tensor, codes: Tensor, atoms: Tensor) -> Tensor:
        return (x - x_hat).square().mean() + dead_term(pre, codes, dead)

    if name == "topk_sae":
        return build("TopKSAE", d, n_units, seed=seed, top_k=config.k), plain
    if name == "batchtopk_sae":
        return build("BatchTopKSAE", d, n_units, seed=seed, top_k=config.k * config.batch_size), plain
    if name == "matryoshka_sae":
        sizes = config.prefix_sizes(n_units)

        def nested(x: Tensor, x_hat: Tensor, pre: Tensor, codes: Tensor, atoms: Tensor) -> Tensor:
            errors = [(x - codes[:, :size] @ atoms[:size]).square().mean() for size in sizes[:-1]]
            whole = (x - x_hat).square().mean()
            return (sum(errors) + whole) / len(sizes) + dead_term(pre, codes, dead)

        return build("BatchTopKSAE", d, n_units, seed=seed, top_k=config.k * config.batch_size), nested
    if name == "archetypal_sae":
        points = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:n_units]]
        k = config.k_of(name, n_units)
        return build("RATopKSAE", d, n_units, points, seed=seed, top_k=k, delta=config.delta), plain
    if name == "matching_pursuit_sae":

        def pursuit(x: Tensor, x_hat: Tensor, residual: Tensor, codes: Tensor, atoms: Tensor) -> Tensor:
            return (x - x_hat).square().mean() + dead_term(residual @ atoms.T, codes, dead)

        return build("MpSAE", d, n_units, seed=seed, k=config.k), pursuit
    if name == "jumprelu_sae":
        from overcomplete.sae.jump_sae import heaviside

        module = build("JumpSAE", d, n_units, seed=seed)

        def jump(x: Tensor, x_hat: Tensor, pre: Tensor, codes: Tensor, atoms: Tensor) -> Tensor:
            active = heaviside(torch.relu(pre), module.thresholds.exp(), module.kernel_fn, module.bandwidth)
            penalty = config.sparsity_weight * active.sum() / len(x)
            return (x - x_hat).square().mean() + penalty + dead_term(pre, codes, dead)

        return module, jump

    def l1(x: Tensor, x_hat: Tensor, pre: Tensor, codes: Tensor, atoms: Tensor) -> Tensor:
        penalty = config.l1_weight * codes.abs().sum() / len(x)
        return (x - x_hat).square().mean() + penalty + dead_term(pre, codes, dead)

    if name == "vanilla_sae":
        return build("SAE", d, n_units, seed=seed), l1
    return LibraryTranscoder(layer.d_in, d, n_units, seed), l1


class LibraryTranscoder(nn.Module):
    """The library's encoder and dictionary between two spaces; ``train_sae`` hands over [a, q] as one row."""

    def __init__(self, d_in: int, d_out: int, n_units: int, seed: int) -> None:
        from overcomplete.sae.factory import EncoderFactory

        super().__init__()
        torch.manual_seed(seed)
        encoder = EncoderFactory.create_module("linear", d_in, n_units)
        self.inner = build("SAE", d_out, n_units, seed=seed, encoder_module=encoder)
        self.d_out = d_out

    def get_dictionary(self) -> Tensor:
        return self.inner.get_dictionary()

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q = rows[:, self.d_out :]
        pre, codes, a_hat = self.inner(q)
        # train_sae measures x_hat against its whole input: what is no target is passed through.
        return pre, codes, torch.cat([a_hat, q], 1)


class Joined:
    """Epochs of [a, q] in one row, for the transcoder."""

    def __init__(self, epochs: Epochs) -> None:
        self.epochs = epochs

    def __iter__(self) -> Iterator[tuple[Tensor]]:
        for q, a in self.epochs:
            yield (torch.cat([a, q], 1),)


def library_side(name: str, config: Any, tokens: TokenSet, seed: int) -> Side:
    from overcomplete.sae import train_sae

    layer = Layer(tokens.width("input"), tokens.width("output"))
    fields: tuple[Reads, ...] = ("input", "output") if name == "transcoder" else ("output",)
    normalisers = [Normaliser(tokens, field) for field in fields]
    batches = Batches(tokens, fields, normalisers, config.batch_size, seed=seed)
    next(batches.epoch(0))  # both sides hold their tokens in memory before the clock starts
    x = torch.cat([torch.cat(tuple(reversed(batch)), 1) for batch in batches.epoch(0)])
    module, criterion = counterpart(name, config, layer, x[:, : layer.d_out], seed)
    if name == "transcoder":
        inner = criterion

        def criterion(x: Tensor, x_hat: Tensor, *rest: Tensor) -> Tensor:
            return inner(x[:, : layer.d_out], x_hat[:, : layer.d_out], *rest)

    optimiser = torch.optim.Adam(module.parameters(), lr=config.learning_rate)
    total = batches.per_epoch * config.epochs
    epochs = Epochs(batches)
    loader: Any = Joined(epochs) if name == "transcoder" else epochs
    with contextlib.redirect_stdout(io.StringIO()):
        started = time.perf_counter()
        train_sae(
            module,
            loader,
            criterion,
            optimiser,
            Cosine(optimiser, total, config),
            nb_epochs=config.epochs,
            clip_grad=config.clip_norm,
        )
        seconds = time.perf_counter() - started
    module.train(False)
    error = active = 0.0
    with torch.no_grad():
        for rows in x.split(4096):
            _, codes, x_hat = module(rows)
            error += float((rows - x_hat)[:, : layer.d_out].square().sum())
            active += float((codes != 0).sum())
    target = x[:, : layer.d_out]
    variance = float((target - target.mean(0)).square().sum())
    return Side(seconds / total, 1 - error / variance, active / len(x))


def our_side(name: str, config: dict[str, Any], tokens: TokenSet, seed: int) -> Side:
    layer = Layer(tokens.width("input"), tokens.width("output"))
    method = methods.create(name, **config)
    started = time.perf_counter()
    stamps: list[float] = []
    method.fit(tokens, layer, seed=seed, progress=lambda done, total, what: stamps.append(time.perf_counter()))  # type: ignore[arg-type]
    seconds = time.perf_counter() - started
    error = active = variance = 0.0
    mean = Normaliser(tokens, "output").mean
    for x, a in zip(tokens.batches(method.spec.reads, 4096), tokens.batches("output", 4096), strict=True):
        codes = method.encode(x)
        error += float((a - method.decode(codes)).square().sum())
        variance += float((a - mean).square().sum())
        active += float((codes != 0).sum())
    # The whole of fit, with reading and normalising the tokens and building the module.
    return Side(seconds / len(stamps), 1 - error / variance, active / tokens.n)


FAMILIES = (
    "topk_sae",
    "batchtopk_sae",
    "matryoshka_sae",
    "archetypal_sae",
    "matching_pursuit_sae",
    "vanilla_sae",
    "jumprelu_sae",
    "transcoder",
)

#: Ours by default learns thresholds faster than weights, and ends elsewhere: here both sides have the library's rate.
LIKE_THE_LIBRARY: dict[str, dict[str, Any]] = {"jumprelu_sae": {"threshold_rate": 1}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tokens", type=Path)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--family", action="append", choices=FAMILIES)
    parser.add_argument("--units-per-neuron", type=float, default=8)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="further settings, as JSON")
    parser.add_argument("--seed", type=int, default=42)
    arguments = parser.parse_args()
    tokens = TokenSet(arguments.tokens)
    extra = {key: json.loads(value) for key, _, value in (entry.partition("=") for entry in arguments.set)}
    warm = {"expansion_factor": arguments.units_per_neuron, "epochs": 1}
    for name in ("topk_sae", "batchtopk_sae", "matching_pursuit_sae", "archetypal_sae"):
        our_side(name, warm, tokens, arguments.seed)  # compiles the kernels and imports the library
    print(f"{tokens.n} tokens, {tokens.width('output')} neurons, {arguments.epochs} epochs")
    print(f"{'':22}{'ms a step':>20}{'R2':>20}{'L0':>20}{'ratio':>8}")
    ratios = []
    for name in arguments.family or FAMILIES:
        known = methods.METHODS.get(name).Config.model_fields
        settings = {"expansion_factor": arguments.units_per_neuron, "epochs": arguments.epochs}
        settings |= LIKE_THE_LIBRARY.get(name, {})
        settings |= {key: value for key, value in extra.items() if key in known}
        ours = our_side(name, settings, tokens, arguments.seed)
        theirs = library_side(name, methods.create(name, **settings).config, tokens, arguments.seed)
        ratios.append(theirs.seconds_a_step / ours.seconds_a_step)
        print(
            f"{name:22}{ours.seconds_a_step * 1e3:9.0f} |{theirs.seconds_a_step * 1e3:9.0f}"
            f"{ours.r2:10.4f} |{theirs.r2:8.4f}{ours.l0:10.1f} |{theirs.l0:8.1f}{ratios[-1]:8.2f}",
            flush=True,
        )
    print(f"median ratio over {len(ratios)} families: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()

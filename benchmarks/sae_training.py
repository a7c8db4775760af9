"""Our training loop against overcomplete's ``train_sae``: the same data, order, epochs, seed, loss and schedule.

    python benchmarks/sae_training.py                           # synthetic tokens, two epochs
    python benchmarks/sae_training.py TOKENS --epochs 5 --batch-size 4096 [--family topk_sae ...] [--repeats 3]

TOKENS is the folder of a token set (``outputs/cache/tokens/<fingerprint>``). Both sides read the same normalised tokens
from memory, in the same order, and both keep freed memory (methods/allocator.py). The library's side is its own module
and loop, without its progress lines. Prints for both (ours | the library's) the milliseconds per step after the first,
R2 on all tokens and active units per token; the ratio of these times; and that of whole trainings, in which ours also
reads and normalises the tokens, builds the module and checks it, and the first steps, which compile, count.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

# As the command line sets it, before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from _report import report
from torch import Tensor, nn

import methods
from harness.activations.token_set import TokenSet
from harness.activations.token_writer import TokenWriter
from methods.allocator import kept_memory
from methods.base import Reads
from methods.sae.library import build
from methods.training.batches import Batches
from methods.training.loop import learning_rate
from methods.training.normaliser import Normaliser

Criterion = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


class Layer(NamedTuple):
    """Widths of a layer whose weights no method here reads."""

    d_in: int
    d_out: int

    @property
    def weight(self) -> Tensor:
        return torch.zeros(self.d_out, self.d_in)

    @property
    def bias(self) -> Tensor:
        return torch.zeros(self.d_out)


class Side(NamedTuple):
    """Result of one training."""

    seconds_per_step: float
    """of the whole fit"""
    seconds_of_a_step: float
    """of the steps after the first, without what comes before and after all steps"""
    r2: float
    l0: float


class Epochs:
    """Data loader for ``train_sae`` with the same order of tokens in each epoch as our loop."""

    def __init__(self, batches: Batches) -> None:
        self.batches, self.number = batches, -1

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        self.number += 1
        return self.batches.epoch(self.number)


class Cosine:
    """Our learning rate schedule with the interface of ``train_sae``."""

    def __init__(self, optimiser: torch.optim.Optimizer, total: int, config: Any) -> None:
        self.optimiser, self.total, self.config, self.number = optimiser, total, config, -1
        self.stamps: list[float] = []
        """times at which the steps ended; the first is that of the start"""
        self.step()

    def step(self) -> None:
        self.number += 1
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.number, self.total, self.config)
        self.stamps.append(time.perf_counter())


def synthetic_tokens(folder: Path, n: int, width: int) -> TokenSet:
    """Write n tokens: sparse sums of ``4 width`` directions, with ``2 width`` inputs and ``width`` outputs."""
    generator = torch.Generator().manual_seed(0)
    active = torch.rand(n, 4 * width, generator=generator) < 4 / width
    codes = active * torch.rand(n, 4 * width, generator=generator)
    rows = np.arange(n)
    writer = TokenWriter(folder / "synthetic")
    directions = torch.randn(4 * width, 3 * width, generator=generator)
    q, a = (codes @ directions).split([2 * width, width], dim=1)
    writer.add(rows, rows, rows, input=q, output=a)
    return writer.finish()


def dead_term(pre: Tensor, codes: Tensor, weight: float) -> Tensor:
    """Return the term of our loss that revives the units that are dead in a batch."""
    dead = (codes.detach() != 0).sum(0) == 0
    return -weight * (pre * dead).sum() / (dead.sum().clamp_min(1) * len(codes))


def counterpart(name: str, config: Any, layer: Layer, x: Tensor, seed: int) -> tuple[nn.Module, Criterion]:
    """Return the library's module for one of our families, and the loss that ``train_sae`` minimises."""
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
    """The library's encoder and dictionary between two spaces; ``train_sae`` passes [a, q] as one row."""

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
        # train_sae compares x_hat with its whole input, so q is passed through.
        return pre, codes, torch.cat([a_hat, q], 1)


class Joined:
    """Epochs of [a, q] in one row, for the transcoder."""

    def __init__(self, epochs: Epochs) -> None:
        self.epochs = epochs

    def __iter__(self) -> Iterator[tuple[Tensor]]:
        for q, a in self.epochs:
            yield (torch.cat([a, q], 1),)


def library_side(name: str, config: Any, tokens: TokenSet, seed: int, device: str = "cpu") -> Side:
    """Train one family with the library."""
    from overcomplete.sae import train_sae

    layer = Layer(tokens.width("input"), tokens.width("output"))
    fields: tuple[Reads, ...] = ("input", "output") if name == "transcoder" else ("output",)
    normalisers = [Normaliser(tokens, field) for field in fields]
    batches = Batches(tokens, fields, normalisers, config.batch_size, seed=seed)
    next(batches.epoch(0))  # reads the tokens into memory before the clock starts
    x = torch.cat([torch.cat(tuple(reversed(batch)), 1) for batch in batches.epoch(0)])
    module, criterion = counterpart(name, config, layer, x[:, : layer.d_out], seed)
    module.to(device)
    # Its modules are made for one device, where some create further tensors; `to` moves the weights only.
    parts: list[Any] = [part for part in module.modules() if hasattr(part, "device")]
    for part in parts:
        part.device = device
    if name == "transcoder":
        inner = criterion

        def criterion(x: Tensor, x_hat: Tensor, *rest: Tensor) -> Tensor:
            return inner(x[:, : layer.d_out], x_hat[:, : layer.d_out], *rest)

    optimiser = torch.optim.Adam(module.parameters(), lr=config.learning_rate)
    total = batches.per_epoch * config.epochs
    epochs = Epochs(batches)
    loader: Any = Joined(epochs) if name == "transcoder" else epochs
    schedule = Cosine(optimiser, total, config)
    # Our fit keeps freed memory, so the library's does too.
    with contextlib.redirect_stdout(io.StringIO()), kept_memory():
        started = time.perf_counter()
        train_sae(
            module,
            loader,
            criterion,
            optimiser,
            schedule,
            nb_epochs=config.epochs,
            clip_grad=config.clip_norm,
            device=device,
        )
        wait(device)
        ended = time.perf_counter()
    module.train(False)
    error = active = 0.0
    with torch.no_grad():
        for rows in x.split(4096):
            _, codes, x_hat = module(rows.to(device))
            error += float((rows - x_hat.cpu())[:, : layer.d_out].square().sum())
            active += float((codes != 0).sum())
    target = x[:, : layer.d_out]
    variance = float((target - target.mean(0)).square().sum())
    # As on our side, the first step is left out; train_sae waits for the device in each step.
    steps_alone = (schedule.stamps[-1] - schedule.stamps[1]) / (total - 1)
    return Side((ended - started) / total, steps_alone, 1 - error / variance, active / len(x))


def wait(device: str) -> None:
    """Wait until the device has finished all work."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def our_side(name: str, config: dict[str, Any], tokens: TokenSet, seed: int, device: str = "cpu") -> Side:
    """Train one family with our loop."""
    layer = Layer(tokens.width("input"), tokens.width("output"))
    method = methods.create(name, **config)
    started = time.perf_counter()
    stamps: list[float] = []
    progress = lambda done, total, what: stamps.append(time.perf_counter())  # noqa: E731
    method.fit(tokens, layer, seed=seed, device=device, progress=progress)  # type: ignore[arg-type]
    wait(device)
    seconds = time.perf_counter() - started
    error = active = variance = 0.0
    mean = Normaliser(tokens, "output").mean
    for x, a in zip(tokens.batches(method.spec.reads, 4096), tokens.batches("output", 4096), strict=True):
        codes = method.encode(x.to(device))
        error += float((a - method.decode(codes).cpu()).square().sum())
        variance += float((a - mean).square().sum())
        active += float((codes != 0).sum())
    # The time of the whole fit: also reading and normalising the tokens, and building and checking the module.
    steps_alone = (stamps[-1] - stamps[0]) / (len(stamps) - 1)
    return Side(seconds / len(stamps), steps_alone, 1 - error / variance, active / tokens.n)


def median_side(sides: Sequence[Side]) -> Side:
    """Return the medians of trainings that differ in their times only."""
    return Side(*map(statistics.median, zip(*sides, strict=True)))


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

#: By default our thresholds learn faster than the weights, with other results: here both sides use the library's rate.
#: Archetype points by k-means are computed before the training, for which the library has no counterpart.
LIKE_THE_LIBRARY: dict[str, dict[str, Any]] = {
    "jumprelu_sae": {"threshold_rate": 1},
    "archetypal_sae": {"point_source": "tokens"},
}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokens", type=Path, nargs="?", help="folder of a token set (default: synthetic tokens)")
    parser.add_argument("--epochs", type=int, default=2, help="epochs (default: 2)")
    parser.add_argument("--batch-size", type=int, default=2048, help="tokens per step (default: 2048)")
    parser.add_argument("--family", action="append", choices=FAMILIES, help="family to train (default: all)")
    parser.add_argument("--units-per-neuron", type=float, default=8, help="expansion factor (default: 8)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="further settings, as JSON")
    parser.add_argument("--repeats", type=int, default=1, help="trainings of each side, in turn; the medians count")
    parser.add_argument("--seed", type=int, default=42, help="random seed of the initialisation and the batches")
    parser.add_argument("--device", default="cpu", help="device of torch (default: cpu)")
    arguments = parser.parse_args()
    if arguments.tokens:
        compare(TokenSet(arguments.tokens), arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(synthetic_tokens(Path(folder), 8192, 128), arguments)


def compare(tokens: TokenSet, arguments: argparse.Namespace) -> None:
    """Train the families on both sides, and print and report the ratio of their times."""
    extra = {key: json.loads(value) for key, _, value in (entry.partition("=") for entry in arguments.set)}
    warm = {"expansion_factor": arguments.units_per_neuron, "epochs": 1, "batch_size": arguments.batch_size}
    families = arguments.family or FAMILIES
    for name in families:
        our_side(
            name, warm | LIKE_THE_LIBRARY.get(name, {}), tokens, arguments.seed, arguments.device
        )  # compiles the kernels and imports the library
    print(f"{tokens.n} tokens, {tokens.width('output')} neurons, {arguments.epochs} epochs")
    print(f"{'':22}{'ms per step':>20}{'R2':>20}{'L0':>20}{'ratio':>8}{'whole':>8}")
    ratios = []
    for name in families:
        fields = methods.METHODS.get(name).Config.model_fields
        settings = warm | {"epochs": arguments.epochs}
        settings |= LIKE_THE_LIBRARY.get(name, {})
        settings |= {key: value for key, value in extra.items() if key in fields}
        config = methods.create(name, **settings).config
        pairs = [
            (
                our_side(name, settings, tokens, arguments.seed, arguments.device),
                library_side(name, config, tokens, arguments.seed, arguments.device),
            )
            for _ in range(arguments.repeats)
        ]
        ours, theirs = (median_side(sides) for sides in zip(*pairs, strict=True))
        ratios.append(theirs.seconds_of_a_step / ours.seconds_of_a_step)
        whole = theirs.seconds_per_step / ours.seconds_per_step
        report(f"train_sae / ours, {name}", ratios[-1])
        print(
            f"{name:22}{ours.seconds_of_a_step * 1e3:9.0f} |{theirs.seconds_of_a_step * 1e3:9.0f}"
            f"{ours.r2:10.4f} |{theirs.r2:8.4f}{ours.l0:10.1f} |{theirs.l0:8.1f}{ratios[-1]:8.2f}{whole:8.2f}",
            flush=True,
        )
    print(f"median ratio over {len(ratios)} families: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()

"""Rates of the fits: training with tokens on the device or read ahead, the probe, and UMAP in cuML."""

from __future__ import annotations

import importlib.util
import tempfile
import time
from pathlib import Path

import torch
import training_tokens

from gpu.record import Record
from harness.activations.heads import logistic
from methods.elude.reduction import reduce_dimensions

TITLE = "Fits: training tokens on the device and read ahead, the probe's fit, UMAP in cuML"
ORDER = 7
LIMIT_S = 55

#: Images and classes of ImageNet-1k.
IMAGES, CLASSES = 1_281_167, 1000


def run(record: Record) -> None:
    """Measure the three fits, the training first."""
    training(record)
    probe(record)
    umap(record)


def training(record: Record) -> None:
    """Train a TopK SAE on float16 tokens of four blocks: resident, read ahead, and as before there were two ways."""
    n, width, units, batch = (2048, 32, 64, 128) if record.tiny else (262_144, 768, 6144, 4096)
    config = {"expansion_factor": units / width, "epochs": 2, "batch_size": batch}
    with tempfile.TemporaryDirectory() as folder:
        tokens = training_tokens.written(Path(folder), n, width)
        ways = training_tokens.compare(
            lambda way: training_tokens.trained(tokens, way, config, 4, str(record.device)), 1 if record.tiny else 3
        )
    before = ways["block by block"]
    for way, measured in ways.items():
        record.row(
            "training",
            tokens=way,
            tokens_per_second=measured.tokens_per_second,
            to_block_by_block=measured.tokens_per_second / before.tokens_per_second,
            share_of_waiting=measured.waiting,
        )
    record.note(
        f"Training: TopK SAE, {width} -> {units}, batches of {batch}, {n} tokens in float16. The share of waiting is "
        "that of the loop on the CPU; the device may still compute meanwhile."
    )


def probe(record: Record) -> None:
    """Fit a probe of random features with planted classes, and time one pass over features of ImageNet's size."""
    n, d, classes = (400, 16, 10) if record.tiny else (100_000, 768, CLASSES)
    generator = torch.Generator(record.device).manual_seed(0)
    labels = torch.arange(n, device=record.device) % classes
    centres = torch.randn(classes, d, generator=generator, device=record.device)
    features = centres[labels] / 4 + torch.randn(n, d, generator=generator, device=record.device)
    record.start_peak()
    started = time.perf_counter()
    mean, scale = logistic.moments(features)
    fit = logistic.fit_logistic(features, labels, mean, scale, device=record.device)
    record.row(
        "probe",
        what=f"fit of {n} x {d}, {classes} classes",
        seconds=time.perf_counter() - started,
        iterations=fit.iterations,
        peak_gib=record.peak_gib(),
    )
    record.check("largest gradient of the probe's mean loss", fit.gradient, 10 * logistic.TOLERANCE)
    del features, labels
    n = 1000 if record.tiny else IMAGES
    features = torch.randn(n, d, generator=generator, device=record.device)
    labels = torch.arange(n, device=record.device) % classes
    record.start_peak()
    objective = logistic.Objective(features, labels, features.new_zeros(d), features.new_ones(d), record.device)
    parameters = torch.zeros(classes * (d + 1), dtype=torch.float64).numpy()
    seconds = record.seconds(lambda: objective(parameters), repeats=1 if record.tiny else 3, warmup=1)
    record.row("probe", what=f"one pass over {n} x {d}, {classes} classes", seconds=seconds, peak_gib=record.peak_gib())


def umap(record: Record) -> None:
    """Embed the instances of one neuron of Table 7 twice with one seed."""
    if not record.on_gpu or importlib.util.find_spec("cuml") is None:
        record.note("UMAP in cuML was not measured: it needs a GPU and the extra cuml.")
        return
    n, d, dims = 60_000, 3072, 10
    generator = torch.Generator(record.device).manual_seed(0)
    centres = torch.randn(20, d, generator=generator, device=record.device).abs()
    points = centres[torch.arange(n, device=record.device) % 20]
    points = points * torch.randn(n, d, generator=generator, device=record.device)
    points = torch.nn.functional.normalize(points, dim=1)
    first = reduce_dimensions(points[:1000], dims, seed=1, backend="cuml")  # loads the library
    record.synchronize()
    embeddings = []
    for _ in range(2):
        started = time.perf_counter()
        embeddings.append(reduce_dimensions(points, dims, seed=1, backend="cuml"))
        record.synchronize()
        seconds = time.perf_counter() - started
        record.row("UMAP in cuML", points=n, dimensions=d, seconds=seconds, hours_of_768_neurons=768 * seconds / 3600)
    record.check("UMAP of one neuron that is not finite", float(not first.isfinite().all()), 0)
    apart = (embeddings[0] - embeddings[1]).abs().max() / embeddings[0].abs().max()
    record.note(f"Two embeddings with one seed differ by at most {float(apart):.1e} of the largest coordinate.")

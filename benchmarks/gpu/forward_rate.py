"""Rates of the network alone, of an evaluation pass with many units, and of the probe's fit."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch
from evaluation_pass import compare, memory

import methods
from gpu.record import Record
from harness import datasets
from harness.activations.baseline import make_baseline
from harness.activations.collect import collect
from harness.activations.heads.probe import Probe
from harness.activations.linear_site import LinearLayerSite
from harness.activations.probing_plan import ProbingPlan
from harness.backbones import load
from harness.cells.evaluate import evaluate
from harness.metrics import METRICS

TITLE = "Forward passes, evaluation pass and probe of ViT-B/14 with random weights"
ORDER = 6
LIMIT_S = 25

#: Metrics of a usual cell. `efficiency_ratio` is measured by its own section; `recovery` needs a planted layer.
LEFT_OUT = ("efficiency_ratio", "recovery")


def run(record: Record) -> None:
    """Measure the three rates on the shipped photographs."""
    name = "timm:vit_tiny_patch16_224" if record.tiny else "dinov2_vitb14"
    backbone = load(name, weights=False, device=record.device)
    size = backbone.preprocessing.size
    images = torch.randn(2 if record.tiny else 256, 3, size, size, device=record.device)
    for precision in (torch.float32, torch.bfloat16):
        with torch.inference_mode(), torch.autocast(record.device.type, precision, enabled=precision != torch.float32):
            record.start_peak()
            seconds = record.seconds(lambda: backbone.features(images), repeats=1 if record.tiny else 5, warmup=1)
        rate = len(images) / seconds
        record.row(
            "forward passes",
            precision=str(precision).removeprefix("torch."),
            images_per_second=rate,
            minutes_of_forward_passes_for_imagenet_train=1_281_167 / rate / 60,
            peak_gib=record.peak_gib(),
        )
    record.note("ImageNet's minutes are extrapolated, and leave out reading and decoding its 1 281 167 images.")
    photographs = datasets.load("photos:36" if record.tiny else "photos")
    probing, evaluation = photographs.split(evaluation=12 if record.tiny else 100)
    path = "blocks.11.mlp.fc2"
    with tempfile.TemporaryDirectory() as folder:
        cache, device = Path(folder), str(record.device)
        started = time.perf_counter()
        head = Probe(backbone, probing, probing.name, {}).make(cache)
        record.row("stages", stage=f"probe on {len(probing)} images", seconds=time.perf_counter() - started)
        site = LinearLayerSite(backbone.model, path, n_prefix_tokens=backbone.n_prefix_tokens)
        started = time.perf_counter()
        plan = ProbingPlan(crops=0, tokens_per_image=64, dtype="float32", seed=1)
        (tokens,) = collect(backbone, site, probing, [plan], cache)
        record.row("stages", stage=f"{tokens.n} probing tokens", seconds=time.perf_counter() - started)
        started = time.perf_counter()
        baseline = make_baseline(backbone, site, evaluation, head, cache, top_images=10, head_identity="report")
        stage = f"baseline of {len(evaluation)} images (three passes)"
        record.row("stages", stage=stage, seconds=time.perf_counter() - started)
        config = {"expansion_factor": 2 if record.tiny else 8, "epochs": 1}
        sae = methods.create("topk_sae", **config).fit(tokens, site, seed=1, device=device)
        used = [METRICS.get(name) for name in METRICS.names() if name not in LEFT_OUT]
        record.start_peak()
        started = time.perf_counter()
        result = evaluate(sae, baseline, used)
        seconds = time.perf_counter() - started
        stage = f"evaluation of {len(evaluation)} images with {sae.n_units} units, {len(used)} metrics"
        record.row("stages", stage=stage, seconds=seconds, peak_gib=record.peak_gib())
        for measured in sorted(result.scores, key=lambda measured: -measured.seconds)[:3]:
            record.row("slowest metrics", metric=measured.metric, seconds=measured.seconds)
        for note in result.notes:
            if "failed" in note:
                record.note(note)
        record.check("metrics that failed", sum("failed" in note for note in result.notes), 0)
    statistics_of_units(record)


def statistics_of_units(record: Record) -> None:
    """Compare the statistics of units on the device with a full sort of every batch on the CPU."""
    sizes = (4, 5, 64, 10) if record.tiny else (16, 257, 6144, 100)
    batches, device = 6 if record.tiny else 40, str(record.device)
    measured, peaks = compare(*sizes, batches, device), memory(*sizes, device)
    for name, seconds in measured.seconds.items():
        kind = "stable sort of every batch on the CPU" if name == "sort" else "selection on the device"
        times = {f"ms_{when}": 1e3 * value for when, value in seconds._asdict().items()}
        record.row("statistics of units, per batch", how=kind, **times, peak_gib=(peaks[name].bytes or 0) / 2**30)
    record.note("Statistics of units: " + " x ".join(map(str, sizes[:3])) + f" codes, the top {sizes[3]} images.")
    record.check("statistics of units that differ from those of the sort", float(not measured.same), 0)

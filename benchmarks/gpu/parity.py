"""Comparison of the device with the CPU: tests that need a GPU, every method's codes, ELUDe's splits, the metrics."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch

import methods
from gpu.record import Record
from harness.check.methods import small_settings
from harness.check.world import small_layer
from harness.metrics import ms_score, r2
from methods.base import Method

TITLE = "Parity of CPU and GPU"
ORDER = 1
LIMIT_S = 80

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
#: Largest difference of codes and reconstructions, relative to the largest value.
TOLERANCE = 1e-3
#: Largest difference of R2 of a fit on the GPU from the fit on the CPU: training amplifies rounding.
FIT_TOLERANCE = 0.05
#: Seconds for the tests marked ``gpu``; the methods are compared in the rest of the time.
TESTS_LIMIT_S = 40


def gpu_tests(record: Record) -> None:
    """Run the tests marked ``gpu``, and only the files that have any."""
    files = sorted(str(file) for file in TESTS.rglob("test_*.py") if "pytest.mark.gpu" in file.read_text())
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        command = [sys.executable, "-m", "pytest", "--gpu", "-m", "gpu", f"--junitxml={report}", "-q", *files]
        limit_s = max(TESTS_LIMIT_S, 0 if record.on_gpu else record.seconds_left - 60)
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=limit_s)
            output = (done.stdout + done.stderr).strip()
        except subprocess.TimeoutExpired as expired:
            output = f"more than {limit_s:.0f} s; {(expired.stdout or b'').decode(errors='replace').strip()}"
        if not report.exists():
            record.note(f"The tests marked `gpu` did not end: {output[-300:]}")
            record.check("tests marked gpu ended", 1, 0)
            return
        for case in ElementTree.parse(report).getroot().iter("testcase"):
            problem = next((part for part in case if part.tag in ("failure", "error", "skipped")), None)
            outcome = "passed" if problem is None else f"{problem.tag}: {problem.get('message', '')[:200]}"
            record.row("tests marked gpu", test=f"{case.get('classname')}.{case.get('name')}", outcome=outcome)
            # A test may be skipped for want of an optional package, but not of the device.
            failed = problem is not None and (problem.tag != "skipped" or "CUDA device" in outcome)
            if record.on_gpu:
                record.check(f"test {case.get('name')}", float(failed), 0)


def relative(value: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest difference, relative to the largest expected value."""
    return float((value.cpu() - expected).abs().max() / expected.abs().max().clamp_min(1e-12))


def every_method(record: Record) -> None:
    """Compare every method. One that raises is a failed check, and the others are still compared."""
    names = [name for name in methods.names() if methods.METHODS.get(name).__module__.startswith("methods.")]
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            try:
                compare_method(record, name, settings(name, Path(folder)))
            except Exception as error:
                record.row("methods", method=name, failed=f"{type(error).__name__}: {str(error)[:300]}")
                record.check(f"{name}: raised {type(error).__name__}", 1, 0)


def settings(name: str, folder: Path) -> dict[str, Any]:
    """Return settings for a fit in seconds, in float32; weights that a method needs are written to ``folder``."""
    cls = methods.METHODS.get(name)
    config = small_settings(cls)
    if "precision" in cls.Config.model_fields:
        config["precision"] = "float32"
    if name == "pretrained_sae":
        site, tokens = small_layer()
        trained = methods.create("topk_sae", **settings("topk_sae", folder)).fit(tokens, site, seed=1)
        config["weights"] = str(trained.save(folder / "topk_sae.safetensors"))
    return config


def compare_method(record: Record, name: str, config: dict[str, Any]) -> None:
    """Fit a method on the CPU, move it, and compare; then fit it on the device."""
    site, tokens = small_layer()
    method = methods.create(name, **config).fit(tokens, site, seed=1)
    x, a = tokens.fields[method.spec.reads], tokens.fields["output"]
    codes = method.encode(x)
    a_hat = method.reconstruct(codes, x)
    x_there = x.to(record.device)
    # The fit on the device comes last: a method that cannot be fitted there may still be moved.
    there: Method = method.to(record.device)
    difference = relative(there.encode(x_there), codes)
    decoded = relative(there.reconstruct(codes.to(record.device), x_there), a_hat)
    record.check(f"{name}: codes", difference, TOLERANCE)
    record.check(f"{name}: reconstruction", decoded, TOLERANCE)
    fitted = methods.create(name, **config).fit(tokens, site, seed=1, device=str(record.device))
    a_hat_there = fitted.reconstruct(fitted.encode(x_there), x_there)
    fits = (r2(a, a_hat), r2(a, a_hat_there.cpu()))
    record.row(
        "methods",
        method=name,
        codes_differ_by=difference,
        reconstruction_differs_by=decoded,
        r2_of_cpu_fit=fits[0],
        r2_of_device_fit=fits[1],
    )
    if not method.spec.virtual:
        record.check(f"{name}: R2 of the fit", abs(fits[0] - fits[1]), FIT_TOLERANCE)


def elude_splits(record: Record) -> None:
    """Compare labels of the clustering and the weights of all sub-units."""
    from elude_gpu import contributions

    from methods.elude.clustering import cluster

    x = contributions(500 if record.tiny else 4000, 96, torch.device("cpu"), seed=3)
    here, there = cluster(x, min_cluster_size=40), cluster(x.to(record.device), min_cluster_size=40)
    share = float((here.labels != there.labels.cpu()).double().mean())
    record.row("ELUDe", what="labels that differ", value=share, of=len(x))
    record.check("ELUDe: share of labels that differ", share, 0.01)
    site, tokens = small_layer()
    config = small_settings(methods.METHODS.get("elude"))
    first = methods.create("elude", **config).fit(tokens, site, seed=1)
    second = methods.create("elude", **config).fit(tokens, site, seed=1, device=str(record.device))
    same_shape = first.weights.shape == second.weights.shape
    record.row("ELUDe", what="sub-units", value=second.n_units, of=first.n_units)
    difference = relative(second.weights, first.weights) if same_shape else float("nan")
    record.check("ELUDe: weights of the sub-units", difference, 1e-5)


def metrics(record: Record) -> None:
    """Compare metrics of the same numbers on both devices."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(5000, 64, generator=generator) + 3
    a_hat = a + 0.3 * torch.randn(5000, 64, generator=generator)
    weights = torch.rand(5000, generator=generator)
    on_device = [tensor.to(record.device) for tensor in (a, a_hat, weights)]
    for name, here, there in (
        ("r2", r2(a, a_hat), r2(on_device[0], on_device[1])),
        ("ms_score", ms_score(a, weights), ms_score(on_device[0], on_device[2])),
    ):
        record.row("metrics", metric=name, cpu=here, device=there)
        record.check(f"{name}", abs(here - there), 1e-9)


def run(record: Record) -> None:
    """Run all four comparisons; the accuracy of whole runs is compared in the section of the demo."""
    metrics(record)
    elude_splits(record)
    gpu_tests(record)
    every_method(record)

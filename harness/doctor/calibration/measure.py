"""All measurements of a calibration, in order, within a given time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from harness.doctor.calibration.evaluation import measure_evaluation
from harness.doctor.calibration.fits import measure_clustering, measure_training
from harness.doctor.calibration.images import measure_images, measure_networks
from harness.doctor.calibration.machine import measure_disk, measure_products
from harness.doctor.rates import Rate
from methods import numerics
from methods.process_state import restored_generators

#: Trained methods that are measured if no suite is given: with sparse codes, with dense ones, and with several steps.
METHODS_MEASURED = ("topk_sae", "vanilla_sae", "matching_pursuit_sae")

#: Shares of the time on a CPU; the rest is for the evaluation, whose size is fixed.
_ON_CPU = {"images": 0.12, "networks": 0.25, "products": 0.04, "training": 0.33, "clustering": 0.12, "disk": 0.04}
#: On a GPU the size of the clustering is fixed as well. Its machine has more cores, whose threads take time to start.
_ON_GPU = {"images": 0.25, "networks": 0.10, "products": 0.04, "training": 0.33, "clustering": 0.0, "disk": 0.04}


def no_report(sentence: str) -> None:
    """Ignore a sentence."""


@numerics.threads()
def calibrate(
    cache: Path,
    *,
    device: str = "cpu",
    seconds: float = 60.0,
    trained: Sequence[str] = METHODS_MEASURED,
    report: Callable[[str], None] = no_report,
) -> dict[str, Rate]:
    """Measure the rates of this machine, each twice, with the code and the threads of a run.

    A slow machine takes longer than ``seconds``, because each measurement has a smallest size; a GPU takes about 30
    seconds more than three quarters of it.

    Args:
        cache: folder whose disk is measured; it must exist. Temporary files in it are removed.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        trained: names of the trained methods whose steps are measured.
        report: receives sentences on what is measured, and on what cannot be.
    """
    rates: dict[str, Rate] = {}
    shares = _ON_GPU if device.startswith("cuda") else _ON_CPU
    measurements: dict[str, Callable[[float], dict[str, Rate]]] = {
        "images": measure_images,
        "networks": lambda share: measure_networks(share, device),
        "products": lambda share: measure_products(share, device),
        "training": lambda share: measure_training(trained, share, device, report) if trained else {},
        "clustering": lambda share: measure_clustering(share, device),
        "disk": lambda share: measure_disk(share, cache),
    }
    with restored_generators():
        for name, measure in measurements.items():
            report(f"Measuring {name} ...")
            rates |= measure(shares[name] * seconds)
        report("Measuring an evaluation ...")
        rates |= measure_evaluation(device, cache)
    return rates

"""File of a calibration: ``calibration/<machine>.json`` in the folder of the cache, one per device and versions."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from harness import devices, provenance
from harness.atomic import create_partial, remove, replace_atomically
from harness.doctor.rates import MEASURED, Rate, Rates
from harness.identity import digest

#: Increased when a rate changes its meaning: older files are then ignored.
VERSION = 5
FOLDER = "calibration"

#: Packages whose version can change a rate.
PACKAGES = ("python", "torch", "torchvision", "timm", "numpy", "numba", "scipy", "hdbscan", "pillow", "threads")
#: A file of more bytes is no calibration.
_MOST_BYTES = 1 << 20


class Calibration(NamedTuple):
    """Rates of one machine."""

    rates: dict[str, Rate]
    measured_at: str
    """UTC time of the last measurement"""


class Loaded(NamedTuple):
    """Calibration of this machine, if there is one, and a sentence on files that were ignored."""

    calibration: Calibration | None
    note: str = ""


def machine(device: str) -> dict[str, Any]:
    """Return what a calibration holds for: device, number of cores, threads and versions of libraries."""
    versions = provenance.versions()
    return {
        "device": devices.device_name(device),
        "processor": devices.processor_name(),
        "cores": devices.core_count(),
        "versions": {name: versions[name] for name in PACKAGES if name in versions},
    }


def file_of(cache: Path, device: str) -> Path:
    """Return the file of the calibration of this machine."""
    return cache / FOLDER / f"{digest({'calibration': VERSION, **machine(device)})}.json"


def prepare_folder(cache: Path) -> Path:
    """Create the folder of the cache.

    Raises:
        UserError: if it cannot be written.
    """
    remove(create_partial(cache / "probe", folder=False))
    return cache


def load(cache: Path, device: str) -> Loaded:
    """Read the calibration of this machine; a damaged one, and those of other machines, are ignored with a sentence."""
    file = file_of(cache, device)
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise ValueError("it is too large")
        return Loaded(_parsed(json.loads(file.read_text(encoding="utf-8")), device))
    except (FileNotFoundError, NotADirectoryError):
        others = _files(cache / FOLDER)
        if not others:
            return Loaded(None)
        files = "1 calibration file" if len(others) == 1 else f"{len(others)} calibration files"
        return Loaded(
            None,
            f"{files} in {str(cache / FOLDER)!r} of another machine, number of threads or library version: ignored. "
            "Run harness doctor --calibrate.",
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        return Loaded(
            None, f"The calibration {str(file)!r} is damaged and ignored ({error}): run harness doctor --calibrate."
        )


def save(cache: Path, device: str, rates: Mapping[str, Rate]) -> Calibration:
    """Write rates to the calibration of this machine; rates in it that were not measured again are kept.

    Raises:
        UserError: if the folder cannot be written.
    """
    earlier = load(cache, device).calibration
    merged = {**(earlier.rates if earlier else {}), **rates}
    measured_at = datetime.now(UTC).isoformat(timespec="seconds")
    content = {
        "version": VERSION,
        "machine": machine(device),
        "measured_at": measured_at,
        "rates": {name: rate._asdict() for name, rate in merged.items()},
    }
    file = file_of(cache, device)
    partial = create_partial(file, folder=False)
    try:
        partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
        replace_atomically(partial, file)
    finally:
        remove(partial)
    return Calibration(merged, measured_at)


def rates_here(cache: Path, device: str) -> tuple[Rates, str]:
    """Return the rates of this machine, or the assumed ones, and a sentence on ignored files (or an empty text)."""
    loaded = load(cache, device)
    if loaded.calibration is None:
        return Rates(), loaded.note
    return Rates(loaded.calibration.rates, overlapping=device != "cpu"), ""


def _files(folder: Path) -> list[Path]:
    """Return the calibrations in a folder; none if it cannot be read."""
    try:
        return sorted(folder.glob("*.json"))
    except OSError:
        return []


def _parsed(content: Any, device: str) -> Calibration:
    if content["version"] != VERSION or content["machine"] != machine(device):
        raise ValueError("it is of another machine or version")
    rates = {str(name): _rate(fields) for name, fields in content["rates"].items()}
    if not rates:
        raise ValueError("it has no rates")
    return Calibration(rates, str(content["measured_at"]))


def _rate(fields: Any) -> Rate:
    value = float(fields["value"])
    spread = None if fields["spread"] is None else float(fields["spread"])
    if not (math.isfinite(value) and value > 0 and (spread is None or (math.isfinite(spread) and spread >= 0))):
        raise ValueError("a rate is not a positive number")
    return Rate(value, str(fields["unit"]), MEASURED, str(fields["size"]), spread)

"""Folder of a rehearsal: a store, a cache and measurements of its own, beside the store of real results."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from harness import provenance
from harness.atomic import create_partial, remove, replace_atomically
from harness.identity import digest
from harness.rehearsal.shares import Share
from harness.suites import Suite

FOLDER = "rehearsal"


class RehearsalFolder:
    """Files of one rehearsal, identified by suite, device, budget and version: the same command continues it.

    Args:
        beside: path of the store of real results.
    """

    def __init__(self, beside: Path, suite: Suite, device: str, budget_s: float) -> None:
        identity = {
            "suite": suite.model_dump(mode="json"),
            "device": device,
            "budget": budget_s,
            "revision": provenance.code_revision(),
        }
        parent = beside.expanduser().absolute().parent / FOLDER
        self.path = parent / f"{suite.name.replace('/', '-')[:60]}-{digest(identity)[:8]}"

    @property
    def store(self) -> Path:
        """The store; :mod:`results.rehearsals` keeps it apart from results."""
        return self.path / "rehearsal.duckdb"

    @property
    def cache(self) -> Path:
        return self.path / "cache"

    @property
    def measurements(self) -> Path:
        return self.path / "measurements.jsonl"

    @property
    def report(self) -> Path:
        return self.path / "rehearsal.json"

    @property
    def trace(self) -> Path:
        return self.path / "trace.json"

    def clear(self) -> None:
        """Remove an earlier rehearsal."""
        shutil.rmtree(self.path, ignore_errors=True)

    def remove_fits(self) -> None:
        """Remove fits, tokens and baselines, which nothing reads after the rehearsal."""
        for name in ("artifacts", "work"):
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in ("tokens", "baselines", "crops", "heads"):
            shutil.rmtree(self.cache / name, ignore_errors=True)

    def share(self, label: str) -> Share | None:
        """Return a share that was chosen before, for a continued rehearsal to have its sizes; None if there is none."""
        try:
            values = json.loads((self.path / f"share-{label}.json").read_text(encoding="utf-8"))
            return Share(**values)
        except (OSError, ValueError, TypeError):
            return None

    def keep_share(self, share: Share) -> None:
        """Write a share that was chosen."""
        self.write(self.path / f"share-{share.label}.json", share._asdict())

    def write(self, file: Path, content: Any) -> None:
        """Write JSON to a file, completely or not at all.

        Raises:
            UserError: if the folder cannot be written.
        """
        partial = create_partial(file, folder=False)
        try:
            partial.write_text(json.dumps(content, indent=1, default=str), encoding="utf-8")
            replace_atomically(partial, file)
        finally:
            remove(partial)

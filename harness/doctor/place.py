"""Where results go."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from harness.doctor.base import Check


def store_at(store: Path) -> Check:
    from results.errors import StoreError
    from results.store import open_store

    if store.is_dir():
        return Check("store", False, True, f"{store} is a folder", "Name a file in it: --store FOLDER/results.duckdb.")
    try:
        statuses = list(open_store(store).statuses().values())
    except StoreError as error:
        return Check("store", False, True, str(error), "Give another place with --store PATH.")
    return Check(
        "store",
        True,
        True,
        f"{store}: {statuses.count('finished')} finished and {statuses.count('failed')} failed cells",
    )


def disk(store: Path) -> Check:
    free = free_bytes(store.expanduser().absolute().parent) / 2**30
    return Check("disk", free > 2, True, f"{free:.1f} GiB free", "The demo's tokens and results take about 1 GiB.")


def free_bytes(place: Path) -> int:
    """Free space where a folder is, or would be made."""
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def used_bytes(folder: Path) -> int:
    """What the files in a folder hold; 0 where there is none. Another run may write and remove files meanwhile."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += (Path(path) / name).stat().st_size
    return total

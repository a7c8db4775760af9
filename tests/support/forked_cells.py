"""Compute cells in forked processes: alone, and after other cells. Run as a program; prints what differs as JSON.

Forking saves the imports. The parent computes nothing, so that each child starts its threads and libraries anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hdbscan._hdbscan_tree  # noqa: F401
import numba  # noqa: F401
import numpy as np
import sklearn.cluster
import sklearn.decomposition
import sklearn.linear_model  # noqa: F401
import timm.models.vision_transformer  # noqa: F401
import tiny_backbones  # noqa: F401 - registers them
from variants import built_in

import methods
from harness.cells.inputs import open_inputs
from harness.cells.plan import cells_of, prepare
from harness.cells.run_cell import CellContext, run_cell
from harness.check.methods import small_settings
from harness.metrics.base import METRICS
from harness.suites import Suite, parse_suite
from results.store.records import DEVICE_UNITS


def suite_of(pictures: Path) -> Suite:
    """Every method on one layer of a tiny backbone."""
    entries = [{"name": name, "config": small_settings(methods.METHODS.get(name))} for name in built_in()]
    for entry in entries:
        if entry["name"] == "elude":
            entry["config"] = {"top_k": 200, "min_cluster_size": 15}
    return parse_suite(
        {
            "name": "forked",
            "data": {"dataset": f"folder:{pictures}", "evaluation": 18},
            "seeds": {"tokens": [1]},
            "probing": {"crops": 2, "tokens_per_image": 8},
            "evaluation": {"top_images": 6, "batch_size": 5},
            "targets": [{"backbone": "tiny_vit"}],
            "methods": entries,
        }
    )


def digests(pictures: Path, cache: Path, names: Sequence[str]) -> list[str]:
    """Compute the cells of these methods one after the other, and give the hash of each one's scores and units."""
    suite = suite_of(pictures)
    prepared = prepare(suite, device="cpu")
    cells = {cell.method.spec.name: cell for cell in cells_of(suite, prepared)}
    found = []
    for name in names:
        cell = cells[name]
        inputs = open_inputs(suite, prepared[0], [cell.plan], cache)
        place = CellContext("run", "forked", "cpu", cache / str(os.getpid()))
        result = run_cell(cell, inputs, place)
        assert result.finished and result.units is not None, result.headline
        scores = [
            (score.metric, repr(score.value), repr(score.uncertainty))
            for score in result.scores
            if score.unit not in DEVICE_UNITS
        ]
        digest = hashlib.sha256(repr(sorted(scores)).encode())
        for column in sorted(result.units):
            digest.update(np.ascontiguousarray(np.stack(result.units[column].to_numpy())).tobytes())
        found.append(digest.hexdigest())
    return found


def forked(work: Callable[[], Any]) -> Any:
    """Return the result of ``work`` in a new process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            answer = work()
        except BaseException:
            answer = {"error": traceback.format_exc()}
        with open(writing, "w") as pipe:
            json.dump(answer, pipe)
        os._exit(0)
    os.close(writing)
    with open(reading) as pipe:
        answer = json.load(pipe)
    os.waitpid(child, 0)
    if isinstance(answer, dict) and "error" in answer:
        raise RuntimeError(answer["error"])
    return answer


def main(pictures: Path, cache: Path, orders: str) -> None:
    """Compare each cell with itself computed alone: in two processes of all cells, or in one process for each pair."""
    # Importing here saves each child the time; it starts no threads.
    names = built_in()
    for metric in METRICS.names():
        METRICS.get(metric)
    # One process makes the inputs; all others read them.
    forked(lambda: digests(pictures, cache, ["identity"]))
    alone = {name: forked(lambda name=name: digests(pictures, cache, [name]))[0] for name in names}
    chains = [names, names[::-1]] if orders == "both" else [[one, two] for one in names for two in names if one != two]
    differ = []
    for chain in chains:
        found = forked(lambda chain=chain: digests(pictures, cache, chain))
        differ += [(chain, name) for name, digest in zip(chain, found, strict=True) if digest != alone[name]]
    print(json.dumps({"alone": len(alone), "differ": differ}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])

"""Directions behind ``absorption``: does the unit of an absorbed class carry the direction of its parent?

    python benchmarks/absorbed_directions.py                                    # runs planted_hierarchy, three minutes
    python benchmarks/absorbed_directions.py --store outputs/results.duckdb     # its cells are in a store

The metric sees that the unit of a parent is silent where that of a class is active. On planted layers the directions of
all concepts are known: the atom of the class's unit is a sum of them (least squares), and the unit *carries* its parent
if the coefficient of the parent is at least half of that of the class. Compared are classes of which the metric says
that most images are absorbed, and the others.

Fails if the oracle that absorbs one child of three carries anything but that.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from _report import report
from torch import Tensor

import harness
from harness.activations.forward import Passes
from harness.activations.pooled_codes import LabelledCodes, PooledCodes
from harness.metrics.absorption import child_rates, parent_units
from harness.planted.truth import Truth, truth_of
from harness.steering.stored_layers import StoredLayer, stored_layers
from methods import numerics
from methods.base import Method
from results import open_store

#: Share of a class's images above which it counts as absorbed, and of its coefficient above which a parent is carried.
HALF = 0.5
#: Row with the planted answer: all that is absorbed is carried, and nothing else.
PLANTED = "absorbing, 1 of 3"


def image_codes(method: Method, passes: Passes) -> LabelledCodes:
    """Return the codes of the images of a split."""
    pooled = PooledCodes(passes.images)
    for image, q, a in passes.tokens(np.arange(len(passes.images))):
        with torch.inference_mode():
            x = (q if method.spec.reads == "input" else a).flatten(0, 1)
            pooled.update(image, method.encode(x).unflatten(0, a.shape[:2]), a)
    return pooled.labelled()


def coefficients(method: Method, truth: Truth) -> Tensor:
    """Return the (n_units, C) coefficients of the concepts' directions in each atom, by least squares."""
    atoms = method.require_dictionary().atoms.double()
    solved: Tensor = atoms @ torch.linalg.pinv(truth.writers.double())
    return solved


def classes_of(layer: StoredLayer, cell: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield one row per class of one cell: the share of absorbed images, and if its unit carries the parent."""
    truth, hierarchy = truth_of(layer.prepared.site), layer.prepared.evaluation.class_hierarchy
    assert truth is not None and truth.parent_of is not None and hierarchy is not None
    method = layer.method(cell)
    train = image_codes(method, layer.probing_passes())
    test = image_codes(method, layer.passes_over(layer.prepared.evaluation))
    parts = coefficients(method, truth)
    for parent in parent_units(train, test, torch.tensor(hierarchy.parent_of), torch.from_numpy(hierarchy.members)):
        (rates,) = child_rates(parent, train, test, [train.labels])
        for number, rate in zip(parent.children, rates, strict=True):
            of_class, of_parent = parts[rate.unit, number], parts[rate.unit, truth.parent_of[number]]
            carries = bool(of_class > 0) and bool(of_parent >= HALF * of_class)
            yield {
                "setting": cell["backbone"].partition("@")[0],
                "label": cell["label"],
                "absorbed": rate.absorbed > HALF,
                "carries": carries,
            }


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, help="store with the suite's cells; default: they are computed")
    options = parser.parse_args()
    suite = harness.load_suite("planted_hierarchy")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, numerics.threads():
        path = options.store or Path(folder) / "results.duckdb"
        if options.store is None:
            harness.run_suite(suite, path)
        for layer in stored_layers(suite, open_store(path), device="cpu"):
            # Neurons have no directions that are sums of the concepts', and the collapsed truth has one.
            for cell in layer.cells:
                if cell["method"] not in ("identity", "collapsed"):
                    rows += classes_of(layer, cell)
    table = pd.DataFrame(rows).groupby(["setting", "label", "absorbed"], sort=False)["carries"].agg(["mean", "size"])
    for (setting, label), of_row in table.groupby(level=["setting", "label"], sort=False):
        text = ", ".join(
            f"{'absorbed' if absorbed else 'others'} {100 * mean:.0f} % of {size:.0f}"
            for (_, _, absorbed), (mean, size) in of_row.iterrows()
        )
        print(f"{setting}, {label}: the unit carries its parent in {text}", flush=True)
    planted = table[table.index.get_level_values("label") == PLANTED]["mean"]
    wrong = [index for index, mean in planted.items() if mean != float(index[2])]
    report("parents carried by classes that absorb them", float(planted.mean()), note="should be 0.5")
    return int(bool(wrong) or planted.empty)


if __name__ == "__main__":
    sys.exit(main())

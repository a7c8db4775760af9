"""Coverage of the interval of the steering score where nothing is to be found: random units against random units.

    python benchmarks/steering_null.py                                         # a planted layer, about two minutes
    python benchmarks/steering_null.py --store outputs/results.duckdb --suite demo --cell a4276f2a --draws 24

The score of one draw of random units against another draw is 0 in expectation. Each class of a score has draws of its
own, so any draw of one class can be combined with any of another: ``--draws`` passes give many scores. Measured is the
share of scores whose 95 % interval (Student's t over classes) excludes 0; with a right standard error it is 5 %. Only
the gain is measured, on the images of the class: the collateral change of random units hardly varies with the draw.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from _report import report
from scipy.stats import t as student

import harness
from harness.activations.interventions import edit_of
from harness.identity import seed_of
from harness.progress import Silent
from harness.steering.effects import target_gain
from harness.steering.steered_passes import SteeredPasses
from harness.steering.steering_score import ScoreSettings, class_targets, over_log, units_of_classes
from harness.steering.stored_layers import StoredLayer, stored_layers
from harness.suites import Suite, load_suite
from methods import numerics
from results import Store, open_store

#: Scores that are drawn from the passes, and largest share outside of the interval that is accepted.
SCORES, LARGEST_SHARE = 4000, 0.08


def gains(layer: StoredLayer, settings: ScoreSettings, draws: int) -> np.ndarray:
    """Return the gain of each class (n_classes, draws) by random units, mean over log alpha, in nats."""
    targets, method = class_targets(layer, settings), layer.method(layer.cells[0])
    units = units_of_classes(layer, method, targets, settings, Silent().progress)
    labels, readable = layer.prepared.evaluation.labels, layer.baseline.index
    rows = []
    for of_class, number, mask in zip(units, targets.labels, targets.masks, strict=True):
        passes = SteeredPasses(layer, method, readable[labels[readable] == number])
        clean = passes.clean()
        curves = np.zeros((draws, len(settings.alphas)))
        for column, alpha in enumerate(settings.alphas):
            edit = edit_of(of_class, [], alpha=alpha, gamma=1.0, patches=settings.patches)
            sizes = passes.edited(edit)[1].size
            for draw in range(draws):
                control = passes.control(edit, sizes, seed_of("steering score", settings.seed, number, draw))
                kept = ~control.missing
                gain = target_gain(clean.logits[kept], control.logits[kept], mask)
                curves[draw, column] = float(gain.mean())
        rows.append([over_log(settings.alphas, curve) for curve in curves])
        print(f"class {number}: standard deviation over draws {np.std(rows[-1], ddof=1):.2f} nats", flush=True)
    return np.asarray(rows)


def share_outside(values: np.ndarray, controls: int, seed: int = 0) -> float:
    """Return the share of scores of random units whose 95 % interval excludes 0.

    Args:
        values: (n_classes, draws) gain of each draw.
        controls: number of draws averaged on each side.
        seed: random seed of the combinations.
    """
    generator, (n_classes, draws) = np.random.default_rng(seed), values.shape
    scores = np.empty((SCORES, n_classes))
    for number in range(SCORES):
        for row in range(n_classes):
            chosen = values[row, generator.choice(draws, 2 * controls, replace=False)]
            scores[number, row] = chosen[:controls].mean() - chosen[controls:].mean()
    error = scores.std(axis=1, ddof=1) / np.sqrt(n_classes)
    return float((np.abs(scores.mean(axis=1)) > student.ppf(0.975, n_classes - 1) * error).mean())


def planted(folder: Path) -> tuple[Store, Suite, str]:
    """Split the neurons of a planted layer at random; return the store, the suite and the cell."""
    loaded = load_suite(
        str(Path(harness.__file__).parent / "suites" / "_planted_two_concepts.toml"), methods=("random_split",)
    )
    suite = loaded.model_copy(update={"targets": loaded.targets[:1]})
    harness.run_suite(suite, folder / "results.duckdb")
    store = open_store(folder / "results.duckdb")
    cells = store.cells()
    return store, suite, str(cells.loc[cells["method"] == "random_split", "cell_id"].iloc[0])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, help="store with the cell; default: a planted layer")
    parser.add_argument("--suite", default="demo")
    parser.add_argument("--cell", help="cell of the store")
    parser.add_argument("--draws", type=int, default=24, help="passes with random units per class and alpha")
    options = parser.parse_args()
    if (options.store is None) != (options.cell is None):
        parser.error("give --store and --cell together")
    settings = ScoreSettings()
    if options.draws < 2 * settings.controls:
        parser.error(f"--draws {options.draws}: give at least {2 * settings.controls}, two scores' worth")
    with tempfile.TemporaryDirectory() as folder, numerics.threads():
        if options.store is None:
            store, suite, cell = planted(Path(folder))
            settings = settings._replace(kappa=4, alphas=(2.0, 5.0), patches=None)
        else:
            store, suite, cell = open_store(options.store), load_suite(options.suite), options.cell
        (layer,) = stored_layers(suite, store, device="cpu", cells=[cell])
        print(f"{layer.cells[0]['label']} at {layer.prepared.title}")
        values = gains(layer, settings, options.draws)
    shares = {controls: share_outside(values, controls) for controls in (1, settings.controls)}
    for controls, share in shares.items():
        print(f"{controls} draws per side: the interval excludes 0 in {100 * share:.1f} % of {SCORES} scores")
        report(f"scores outside of 95 %, {controls} draws", share, note="should be near .05")
    return int(max(shares.values()) > LARGEST_SHARE)


if __name__ == "__main__":
    sys.exit(main())

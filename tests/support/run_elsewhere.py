"""Everything on a device that is not there; prints JSON, what was done to the sentence that says what went wrong.

python tests/support/run_elsewhere.py FOLDER_OF_PHOTOGRAPHS PLACE_FOR_STORES
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from documents import ROOT, blocks
from elsewhere import COPIED, SENT, THERE, elsewhere
from in_memory import MemorySite
from small_runs import suite_of
from torch import Tensor, nn
from variants import built_in, variants

import methods
from harness import devices, doctor
from harness.activations.unit_statistics import UnitStatistics
from harness.check.methods import small_settings
from harness.check.world import SmallTokens, small_layer
from harness.metrics.base import METRICS, Batch
from harness.metrics.editable_units import EditableUnits
from harness.metrics.ms_score_null import PeakSimilarity
from harness.metrics.r2 import GroupedR2
from harness.metrics.token_kinds import KindSimilarity, token_kinds
from harness.planted.recovery import Moments
from harness.run import run
from harness.scaffold import scaffold
from methods.additive import AdditiveSplit
from methods.base import LinearSite, Method
from methods.disentangled import DisentangledLinear
from methods.elude import method as elude
from methods.plugin_files import load_plugin_file
from methods.sae.autoencoder import LinearAutoencoder
from methods.training import loop
from results import open_store

#: One needs a planted layer, the other a compiler and half a minute.
NOT_MEASURED = ("recovery", "efficiency_ratio")


def told(work: Callable[[], object]) -> str:
    """Empty where the work is done, else the error and where in our code it was raised."""
    try:
        work()
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "/site-packages/" not in f.filename]
        where = ", ".join(f"{Path(f.filename).name}:{f.lineno}" for f in frames[-3:])
        return f"{type(error).__name__}: {str(error)[:300]} ({where})"
    return ""


def held(x: Tensor) -> Tensor:
    assert x.device == THERE, f"a result is on {x.device}"
    return x.cpu()


def as_on_the_cpu(name: str, config: dict[str, Any], site: LinearSite, tokens: SmallTokens) -> None:
    """Fitted and used there, and fitted here and moved there, a method gives what it gives here."""
    # Autocast changes nothing there.
    full = {**config, "precision": "float32"} if "precision" in config else config
    here = methods.create(name, **full).fit(tokens, site, seed=1)
    x = tokens.fields[here.spec.reads]
    codes, a_hat = here.encode(x), here.decode(here.encode(x))
    with elsewhere(), on_a_gpu():
        there = MemorySite(site.weight.to(THERE), site.bias.to(THERE))
        fitted = methods.create(name, **config).fit(tokens, there, seed=1, device="elsewhere:0")
        for made in (fitted, here.to(THERE)):
            agrees(made, x.to(THERE), codes, a_hat)
        if isinstance(fitted, AdditiveSplit):
            in_the_model(fitted, there, x.to(THERE))


def agrees(made: Method, x: Tensor, codes: Tensor, a_hat: Tensor) -> None:
    assert all(getattr(made, part).device == THERE for part in made.fitted), "a part was left behind"
    torch.testing.assert_close(held(made.encode(x)), codes, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(held(made.decode(made.encode(x))), a_hat, rtol=1e-3, atol=1e-3)
    assert made.encode(x[:0]).shape == (0, made.n_units)
    atoms, parents, _ = made.dictionary()
    assert held(atoms).shape[0] == made.n_units and (parents is None or held(parents).shape == (made.n_units,))


def in_the_model(split: AdditiveSplit, site: LinearSite, x: Tensor) -> None:
    """The layer that knows its sub-units: edited and not, in both modes."""
    layer = nn.Linear(site.d_in, site.d_out).to(THERE)
    layer.weight, layer.bias = nn.Parameter(site.weight), nn.Parameter(site.bias)
    plain = layer(x)
    for materialised in (False, True):
        made = DisentangledLinear.from_split(layer, split, materialised=materialised)
        torch.testing.assert_close(held(made(x)), held(plain), rtol=1e-4, atol=1e-4)
        made.edit([0, 3], scale=2.0, offset=1.0)
        made.ablate(torch.tensor([1], device=THERE))
        assert not torch.equal(held(made(x)), held(plain)) and held(made.subunits(x, [2])).shape == (len(x), 1)


@contextmanager
def steps_that_stay_there() -> Iterator[list[int]]:
    """Let every training step fail that copies anything to or from there; the list gets an entry for each step.

    Not in runs: there the harness reads the parameters in the first steps.
    """
    steps: list[int] = []
    update = loop._Run._update

    def watched(run: Any, *batch: Tensor) -> Any:
        if batch[0].device != THERE:
            return update(run, *batch)
        COPIED.clear()
        SENT.clear()
        result = update(run, *batch)
        assert not COPIED and not SENT, f"a training step read {COPIED} numbers and sent {SENT}"
        steps.append(len(steps))
        return result

    with patch.object(loop._Run, "_update", watched):
        yield steps


def a_step_that(work: Callable[[Tensor], object]) -> str:
    """Train there with a loss that does some work, too, and return the error."""
    error = LinearAutoencoder.error

    def longer(autoencoder: LinearAutoencoder, codes: Any, target: Tensor) -> Tensor:
        work(target)
        return error(autoencoder, codes, target)

    site, tokens = small_layer()
    with patch.object(LinearAutoencoder, "error", longer):
        return told(lambda: as_on_the_cpu("topk_sae", small_settings(methods.METHODS.get("topk_sae")), site, tokens))


class on_a_gpu:
    """ELUDe asks a GPU how much memory is free; small blocks send it through all of its code."""

    def __enter__(self) -> None:
        self.kept = elude.plan_lanes, elude.distance_bytes
        elude.plan_lanes, elude.distance_bytes = lambda *_: [THERE], lambda _: 1 << 20

    def __exit__(self, *_: object) -> None:
        elude.plan_lanes, elude.distance_bytes = self.kept


def a_run(folder: Path, place: Path, backbone: str) -> None:
    """From the photographs to the store: tokens, head, baseline, fits, all metrics."""
    devices.best_device = lambda wanted="auto": "elsewhere:0"
    doctor.require = lambda *_, **__: None
    metrics = [name for name in METRICS.names() if name not in NOT_MEASURED]
    evaluation = {"top_images": 6, "batch_size": 5, "metrics": metrics}
    suite = suite_of(
        folder, "identity", "topk_sae", "elude", backbone=backbone, evaluation=evaluation, seeds={"tokens": [1]}
    )
    store = place / f"{backbone}.duckdb"
    with elsewhere(), on_a_gpu():
        run(suite, store, device="elsewhere:0")
    cells = open_store(store).cells()
    failures = [*cells.error_message.dropna(), *(note for notes in cells.notes for note in notes if "failed" in note)]
    assert len(cells) == 3 and not failures, failures


def all_mistakes() -> dict[str, str]:
    """Programs that must fail, so that a pass has a meaning."""
    x, index = torch.randn(4, 3), torch.tensor([0, 2])

    def moved() -> tuple[Tensor, Tensor]:
        return x.to(THERE), index.to(THERE)

    mistakes: dict[str, Callable[[], object]] = {
        "a sum": lambda: moved()[0] + x,
        "a product": lambda: moved()[0] @ x.T,
        "written here": lambda: x.clone().add_(moved()[0].sum()),
        "an index from there": lambda: x[moved()[1]],
        "an index of scatter from here": lambda: torch.zeros(4, 3, device=THERE).index_add_(0, index, moved()[0][:2]),
        "a generator from here": lambda: torch.randn(3, device=THERE, generator=torch.Generator()),
        "NumPy": lambda: moved()[0].numpy(),
        "a layer left behind": lambda: nn.Linear(3, 2)(moved()[0]),
        "a bias left behind": lambda: nn.functional.linear(moved()[0], torch.ones(2, 3, device=THERE), torch.ones(2)),
    }
    with elsewhere():
        return {name: told(mistake) for name, mistake in mistakes.items()}


def plugins(place: Path) -> list[str]:
    """Names of the methods that a reader of the documentation starts from."""
    before = set(methods.names())
    load_plugin_file(ROOT / "examples" / "plugin" / "coactive_split.py")
    load_plugin_file(scaffold("method", place / "as_scaffolded.py"))
    pages = [block for page in ("methods.md", "plugins.md") for block in blocks(ROOT / "docs" / page)]
    for number, block in enumerate(pages):
        if any(base in block.text for base in ("(Method):", "(AdditiveSplit):", "DivisibleFit):")):
            file = place / f"documented_{number}.py"
            file.write_text(block.text, encoding="utf-8")
            load_plugin_file(file)
    return sorted(set(methods.names()) - before)


def transfers() -> dict[str, str]:
    """Update what sees each batch of an evaluation with made-up batches: nothing but numbers is copied from there."""
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(3, 5, 40, generator=generator).relu() for _ in range(4)]
    expected, there, moments = UnitStatistics(40, 4), UnitStatistics(40, 4), Moments(40, 2)
    groups, peaks = GroupedR2(), PeakSimilarity()
    kinds = KindSimilarity(token_kinds(torch.arange(5) - 1))
    edits, nothing = EditableUnits(SimpleNamespace()), torch.zeros(0)  # type: ignore[arg-type]

    def batch(number: int, codes: Tensor) -> Batch:
        index = torch.arange(3 * number, 3 * number + 3)
        return Batch(index, index, codes, codes * 0.5, codes, nothing, nothing, *codes.max(1))

    steps: dict[str, Callable[[Batch], object]] = {
        "unit_statistics": lambda of: there.update(of.codes, of.image),
        "recovery": lambda of: moments.update(of.codes.flatten(0, 1), of.codes[..., :2].flatten(0, 1)),
        "r2": groups.update,
        "peak_similarity": lambda of: peaks.update(of.a, of.peak, of.peak_token),
        "kind_similarity": lambda of: kinds.update(of.a),
        "editable_units": edits.update,
    }

    def work(step: Callable[[Batch], object]) -> None:
        for number, codes in enumerate(batches):
            made = batch(number, codes.to(THERE))
            COPIED.clear()
            step(made)
            assert max(COPIED, default=0) <= 1, f"a tensor of {max(COPIED)} numbers was copied"

    with elsewhere():
        transfers = {name: told(lambda step=step: work(step)) for name, step in steps.items()}  # type: ignore[misc]
        for number, codes in enumerate(batches):
            expected.update(codes, batch(number, codes).image)
        for name in ("top_value", "top_image", "top_token", "maximum", "minimum", "fires", "active", "l0_sums"):
            transfers[name] = "" if torch.equal(getattr(there, name), getattr(expected, name)) else "differs"
    return transfers


def main(folder: Path, place: Path) -> None:
    site, tokens = small_layer()
    found: dict[str, dict[str, str]] = {"mistakes": all_mistakes(), "methods": {}, "plugins": {}, "runs": {}}
    with steps_that_stay_there() as steps:
        for name in built_in():
            for what, _, config, _ in variants(name):
                done = told(lambda name=name, config=config: as_on_the_cpu(name, config, site, tokens))  # type: ignore[misc]
                found["methods"][f"{name}: {what}"] = done
        found["steps"] = {
            "number": str(len(steps)),
            "reads": a_step_that(lambda target: float(target.sum())),
            "sends": a_step_that(lambda target: torch.ones(2).to(target.device)),
        }
    for name in plugins(place):
        found["plugins"][name] = told(lambda name=name: as_on_the_cpu(name, {}, site, tokens))  # type: ignore[misc]
    found["transfers"] = transfers()
    for backbone in ("tiny_vit", "tiny_cnn"):
        found["runs"][backbone] = told(lambda backbone=backbone: a_run(folder, place, backbone))  # type: ignore[misc]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    import tiny_backbones  # noqa: F401 - registers them

    main(Path(sys.argv[1]), Path(sys.argv[2]))

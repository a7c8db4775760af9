"""Disk space of a suite's cache: the files that a run writes there, each counted once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from harness.activations.prefix_cache import size_limit
from harness.doctor.layers import Layer
from harness.doctor.workload import SizedTarget, tokens_kept, value_bytes
from harness.identity import canonical

#: Image, position and label of a token in its index.
INDEX_BYTES = 8 + 4 + 8
#: Classes of ImageNet-1k, of which every head of a published backbone has its logits.
IMAGENET_CLASSES = 1000


class CacheFiles(NamedTuple):
    """Files that a target needs in the cache: identity -> bytes. Targets share files of the same identity."""

    token_sets: dict[str, int]
    baseline: dict[str, int]
    """outputs and logits of the evaluation images"""
    states: dict[str, int]
    """states before the layer, which a run keeps if the disk has room"""

    @property
    def required(self) -> dict[str, int]:
        """Files without which a run does not go on."""
        return {**self.token_sets, **self.baseline}


def cache_files(sized: SizedTarget) -> CacheFiles:
    """Return the files of a target; none if its layer is unknown."""
    leaf, target, layer, probing, evaluated, shared = sized
    if layer is None:
        return CacheFiles({}, {}, {})
    width = value_bytes(leaf)
    token_bytes = (layer.d_in + layer.d_out) * width + INDEX_BYTES
    token_sets = {
        canonical({**shared, "probing": leaf.probing.model_dump(), "seed": seed}): probing
        * tokens_kept(leaf, layer)
        * token_bytes
        for seed in leaf.token_seeds_of(target)
    }
    # A probe of other images than ImageNet's has few classes, whose logits are negligible.
    classes = 0 if target.head == "probe" and not leaf.data.dataset.startswith("imagenet") else IMAGENET_CLASSES
    outputs = layer.tokens * (layer.d_out * width + INDEX_BYTES)
    baseline = evaluated * (outputs + 4 * classes)
    head = canonical({**shared, "head": target.head, "settings": target.head_settings, "dtype": leaf.probing.dtype})
    return CacheFiles(token_sets, {head: baseline}, {f"states {head}": state_bytes(layer, evaluated)})


def state_bytes(layer: Layer, evaluated: int) -> int:
    """Return the bytes of the states of ``evaluated`` images if the disk has room for them; 0 if they are too large."""
    needed = 4 * evaluated * layer.state
    return needed if needed <= size_limit() else 0


def disk_bytes(targets: Iterable[SizedTarget]) -> int:
    """Return the bytes of all token sets and baselines of some targets."""
    files: dict[str, int] = {}
    for sized in targets:
        files |= cache_files(sized).required
    return sum(files.values())


def all_state_bytes(targets: Iterable[SizedTarget]) -> int:
    """Return the bytes of the states of some targets, which are kept if the disk has room."""
    files: dict[str, int] = {}
    for sized in targets:
        files |= cache_files(sized).states
    return sum(files.values())


def targets_beyond(targets: Sequence[SizedTarget], space: int) -> list[SizedTarget]:
    """Return the targets that do not fit into ``space`` bytes if those before them are kept, in the order of the suite.

    A target that does not fit is passed over, and smaller ones after it may fit.
    """
    files: dict[str, int] = {}
    beyond = []
    for sized in targets:
        both = files | cache_files(sized).required
        if sum(both.values()) <= space:
            files = both
        else:
            beyond.append(sized)
    return beyond

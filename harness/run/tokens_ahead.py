"""Token sets that one pass over the probing images makes for several layers, token seeds and parts of a suite."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from harness import backbones
from harness.activations.probing_plan import ProbingPlan
from harness.cells.inputs import AheadTokens
from harness.cells.plan import Cell, PreparedTarget, open_target, probing_identity
from harness.errors import UserError
from harness.identity import digest
from harness.suites import Suite, Target
from methods.plugin_calls import calling
from results import Store
from results.errors import StoreUnavailableError


class TokensAhead:
    """Token sets of the backbones of a run that its other targets need, and the suites that are run after it.

    A token set of a later suite is left out if the store has a finished cell of it: it is then in the cache, or most
    likely not needed again.

    Args:
        suite: suite of the run, without parts.
        upcoming: suites that are run after it, without parts. Those with other images are ignored.
        prepared: targets of the run.
        store: store of the run.
    """

    def __init__(
        self, suite: Suite, upcoming: Sequence[Suite], prepared: Sequence[PreparedTarget], store: Store
    ) -> None:
        self._later: dict[tuple[Any, ...], list[tuple[str, ProbingPlan]]] = {}
        loaded = {_network(target.target): target for target in prepared}
        later = [(leaf, target) for leaf in upcoming if leaf.data == suite.data for target in leaf.targets]
        later = [(leaf, target) for leaf, target in later if _network(target) in loaded]
        finished: set[tuple[Any, ...]] = set()
        if later:
            # A store that cannot be read now must not end the run.
            with contextlib.suppress(StoreUnavailableError):
                finished = _finished(store)
        for leaf, target in later:
            present = loaded[_network(target)]
            with contextlib.suppress(UserError), calling(backbones.BACKBONES, target.backbone):
                site = open_target(target, present.backbone)
                for seed in leaf.token_seeds_of(target):
                    plan = ProbingPlan(leaf.probing.crops, leaf.probing.tokens_per_image, leaf.probing.dtype, seed)
                    images = digest(probing_identity(present.probing, plan))
                    if (present.backbone.name, site.path, seed, images) not in finished:
                        self._later.setdefault(_network(target), []).append((site.path, plan))

    def of(self, prepared: PreparedTarget, cells: Sequence[Cell]) -> tuple[AheadTokens, ...]:
        """Return the token sets that a pass for ``prepared`` should make too; ``cells`` are those left to compute."""
        network = _network(prepared.target)
        others = [
            (cell.prepared.site.path, cell.plan)
            for cell in cells
            if cell.prepared is not prepared and _network(cell.prepared.target) == network
        ]
        plans: dict[str, dict[ProbingPlan, None]] = {}
        for path, plan in (*others, *self._later.get(network, ())):
            plans.setdefault(path, {})[plan] = None
        return tuple(AheadTokens(path, tuple(of_path)) for path, of_path in plans.items())


def _network(target: Target) -> tuple[Any, ...]:
    return target.backbone, target.checkpoint, target.weights


def _finished(store: Store) -> set[tuple[Any, ...]]:
    """Return backbone, site, token seed and probing fingerprint of the finished cells."""
    cells = store.cells()
    cells = cells[cells["status"] == "finished"]
    columns = ["backbone", "site", "token_seed", "probing_fingerprint"]
    return set(cells[columns].itertuples(index=False, name=None))

"""Parameters of a method, in addition to the network's own."""

from __future__ import annotations

from collections.abc import Iterable

from harness.backbones.base import Backbone
from harness.efficiency.cost import size_of, size_of_backbone
from harness.metrics.base import METRICS, Metric, Outcome, Score
from methods.base import Method


@METRICS.register()
class Parameters(Metric):
    """Number of parameters that encode and decode use; for a split, the weights and biases of its sub-units.

    The same score as the companion ``parameters`` of ``efficiency_ratio``.
    """

    id = "parameters"
    title = "parameters"
    unit = "M"
    direction = "lower"
    reference = "docs/efficiency.md"

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        yield parameters_score(outcome.method, self.baseline.passes.backbone)


def parameters_score(method: Method, backbone: Backbone) -> Score:
    """Return the parameters of a method in millions; those of the network and the bytes are in the details."""
    size, of_backbone = size_of(method), size_of_backbone(backbone)
    details = {
        "bytes": size.bytes,
        "backbone": of_backbone.parameters,
        "backbone_bytes": of_backbone.bytes,
        "n_units": method.n_units,
    }
    value = size.parameters / 1e6
    return Score(Parameters.id, value, 1, unit=Parameters.unit, direction="lower", details=details, params={})

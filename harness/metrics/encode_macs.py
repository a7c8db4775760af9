"""Encode MACs: multiply-accumulates of reading the codes of all units, in addition to the network's own."""

from __future__ import annotations

from collections.abc import Iterable

from harness.efficiency.cost import decode_macs, encode_macs, network_macs
from harness.metrics.base import METRICS, Metric, Outcome, Score


@METRICS.register()
class EncodeMacs(Metric):
    """Multiply-accumulates per image of encoding all tokens, in addition to those of the network.

    This is the price of the codes, for every kind of method: of a virtual method too, although it leaves the network
    unchanged, and of a split, whose unedited network costs nothing extra. What the network runs in addition, with the
    method in place and no unit edited, is ``network`` in the details: encode and decode of a dictionary, 0 for splits
    and virtual methods.
    """

    id = "encode_macs"
    title = "encode MACs"
    unit = "GMAC/image"
    direction = "lower"
    reference = "docs/efficiency.md; the formulas are in harness/efficiency/cost.py"

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        method, site, n_tokens = outcome.method, self.baseline.passes.site, self.baseline.n_tokens
        encode = encode_macs(method, site.d_in, site.d_out)
        decode = decode_macs(method, site.d_in, site.d_out)
        details = {
            "per_token": encode.value,
            "how": encode.how,
            "decode_per_token": decode.value,
            "decode_how": decode.how,
            "network": network_macs(method, encode, decode) * n_tokens / 1e9,
            "tokens_per_image": n_tokens,
            "n_units": method.n_units,
        }
        if site.layer_macs is not None:
            details["layer"] = site.layer_macs * n_tokens / 1e9
        yield self.score(encode.value * n_tokens / 1e9, 1)._replace(details=details)

"""Rows of the paper's Table 5: time per batch and peak memory of each method in ViT-B/14, beside the published ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import methods
from gpu.record import Record
from harness.activations.linear_site import LinearLayerSite
from harness.backbones import load
from harness.backbones.base import Backbone
from harness.check.world import SmallTokens
from harness.efficiency.measure import measure
from harness.efficiency.protocol import Protocol
from methods.base import Method
from results.published.tables import published_table

TITLE = "Table 5: ms per batch and memory, DINOv2 ViT-B/14 at 224 px with random weights"
ORDER = 4
LIMIT_S = 70

SITE = "blocks.11.mlp.fc2"
#: The order of measuring: methods with a published row, the cheapest to compile first. `identity` is the backbone.
PUBLISHED = {
    "identity": "backbone only",
    "topk_sae": "TopK SAE",
    "random_split": "ELUDe",
    "vanilla_sae": "vanilla SAE",
    "matryoshka_sae": "Matryoshka SAE",
    "jumprelu_sae": "JumpReLU SAE",
    "batchtopk_sae": "BatchTopK SAE",
    "transcoder": "transcoder",
    "archetypal_sae": "Archetypal SAE",
    "matching_pursuit_sae": "Matching Pursuit SAE",
}
#: Compiling a network takes up to half a minute, so only these are compiled.
COMPILED = ("topk_sae", "random_split")
IN_TINY = ("identity", "topk_sae")


def tokens_of(backbone: Backbone, n: int) -> SmallTokens:
    """Return n tokens of the layer, from random inputs: times depend on widths only."""
    layer = backbone.model.get_submodule(SITE)
    generator = torch.Generator().manual_seed(0)
    q = torch.nn.functional.gelu(torch.randn(n, layer.in_features, generator=generator))  # type: ignore[arg-type]
    a = q @ layer.weight.cpu().T + layer.bias.cpu()  # type: ignore[operator, union-attr]
    image = torch.arange(n).numpy() // 8
    return SmallTokens(q, a, image, (torch.arange(n) % 8 - 1).int().numpy(), image % 5)


def settings(name: str, tiny: bool) -> dict[str, Any]:
    """Return settings with the paper's number of units and almost no training."""
    if name == "identity":
        return {}
    if name == "random_split":
        return {"parts": 8}
    return {"expansion_factor": 2 if tiny else 8, "epochs": 1, "batch_size": 4096}


def row_of(record: Record, backbone: Backbone, method: Method, title: str, protocol: Protocol) -> None:
    """Measure one method, and write a row for each mode."""
    size = backbone.preprocessing.size
    images = torch.randn(protocol.batch_size, 3, size, size, device=record.device)
    published = published_table(5).set_index("method")
    measurement = measure(method, backbone, SITE, images, protocol)
    for mode in measurement.modes:
        times = mode.times
        record.row(
            "rows",
            method=title,
            mode=mode.mode or ("unedited" if method.spec.name == "random_split" else ""),
            compiled=mode.compiled,
            units=method.n_units,
            ms_per_batch=float(np.median(times.variant)),
            backbone_ms=float(np.median(times.reference)),
            peak_mb=None if mode.memory.bytes is None else mode.memory.bytes / 1e6,
            published_ms=float(published.loc[title, "ms_per_batch"]),
            published_mb=float(published.loc[title, "peak_mem_mb"]),
        )
    for note in measurement.notes:
        record.note(f"{title}: {note}")


def run(record: Record) -> None:
    """Fit each method on random tokens, and time it in the network."""
    name = "timm:vit_tiny_patch16_224" if record.tiny else "dinov2_vitb14"
    backbone = load(name, weights=False, device=record.device)
    # An archetypal SAE needs as many tokens as units.
    tokens = tokens_of(backbone, 1000 if record.tiny else 12_288)
    site = LinearLayerSite(backbone.model, SITE, n_prefix_tokens=backbone.n_prefix_tokens)
    batch = 2 if record.tiny else 256
    for method_name in IN_TINY if record.tiny else PUBLISHED:
        if record.seconds_left < 8:
            record.note(f"{PUBLISHED[method_name]} and the methods after it were left out for lack of time.")
            break
        config = settings(method_name, record.tiny)
        method = methods.create(method_name, **config).fit(tokens, site, seed=1, device=str(record.device))
        compiled = method_name in COMPILED and not record.tiny and record.seconds_left > 40
        protocol = Protocol(batch_size=batch, warmup=2, repeats=4 if record.tiny else 10, compiled=compiled)
        row_of(record, backbone, method, PUBLISHED[method_name], protocol)
        del method
    record.note(
        "Published: one H100, 500 batches, **compiled networks**: compare them with compiled rows only. The backbone's "
        "time is measured in turns with the method's. ELUDe's row is a random split of each neuron into eight "
        "parts, the paper's number of sub-units: the time depends on that number, not on which inputs a part has."
    )

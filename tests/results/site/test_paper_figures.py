"""Figures of the paper beside the measured ones."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from results.site.paper_figures import published_tables_of


def board(backbone: str, site: str) -> Any:
    return SimpleNamespace(backbone=backbone, site=site)


def test_only_the_same_backbone_is_shown_its_own_layer_first() -> None:
    assert published_tables_of(board("efficientnet_lite0", "conv_head")) == ()
    of_layer = published_tables_of(board("augreg_vit_base", "blocks.11.mlp.fc2"))
    assert of_layer and all(table.setting.startswith("AugReg ViT-B/16, layer 12,") for table in of_layer)
    # Without figures of the layer, those of the backbone.
    others = published_tables_of(board("augreg_vit_base", "blocks.0.attn.proj"))
    assert others and all(table.setting.startswith("AugReg ViT-B/16,") for table in others)


def test_values_have_their_spread_and_missing_ones_a_dash() -> None:
    table = published_tables_of(board("augreg_vit_base", "blocks.11.mlp.fc2"))[0]
    assert table.metrics[0] == "MS score (%)"
    rows = dict(table.rows)
    assert "ELUDe" in rows and all(len(values) == len(table.metrics) for values in rows.values())
    assert any("[" in value for value in rows["ELUDe"])

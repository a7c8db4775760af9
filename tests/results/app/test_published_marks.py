"""Published figures that stand beside measured ones: those of the board's own backbone and layer first."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from results.app.published_marks import published_settings


def settings(backbone: str, site: str, x: str, y: str) -> Any:
    board: Any = SimpleNamespace(backbone=backbone, site=site)
    columns: Any = (SimpleNamespace(metric=x), SimpleNamespace(metric=y))
    return published_settings(board, *columns)


def test_settings_of_the_same_backbone_and_layer_come_first() -> None:
    known = settings("dinov2_vitb14", "blocks.10.mlp.fc2", "r2", "ms_score")
    assert known.same_backbone and all(name.startswith("DINOv2 ViT-B/14,") for name in known.same_backbone)
    first = next(iter(known.entries))
    assert "layer 11" in first and first in known.same_backbone
    assert list(known.entries)[: len(known.same_backbone)] == sorted(
        known.same_backbone, key=lambda name: "layer 11" not in name
    )


def test_another_backbone_has_none_of_its_own_and_other_metrics_none_at_all() -> None:
    other = settings("dinov2_small_saliency", "blocks.9.mlp.fc2", "accuracy", "ms_score")
    assert other.entries and not other.same_backbone
    assert not settings("dinov2_vitb14", "blocks.11.mlp.fc2", "r2", "ms_score_token_adjusted").entries

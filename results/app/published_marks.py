"""Published figures that fit the axes of the front, those of the board's own backbone first."""

from __future__ import annotations

import re
from typing import NamedTuple

from results.boards.board import Board, Column
from results.published.points import Published, published_points
from results.published.rows import BACKBONES, PaperSetting, is_site


class PublishedSettings(NamedTuple):
    """Published figures of two metrics by setting."""

    entries: dict[str, list[Published]]
    """setting -> figures; settings of the same layer first, then those of the same backbone"""
    same_backbone: tuple[str, ...]
    """settings of the board's backbone"""


def published_settings(board: Board, x: Column, y: Column) -> PublishedSettings:
    """Return the published figures that have both metrics."""
    entries: dict[str, list[Published]] = {}
    for entry in published_points():
        if x.metric in entry.values and y.metric in entry.values:
            entries.setdefault(entry.setting, []).append(entry)
    same = [setting for setting in entries if is_published_backbone(board, setting)]
    order = sorted(entries, key=lambda setting: (setting not in same, not is_published_layer(board, setting)))
    return PublishedSettings({setting: entries[setting] for setting in order}, tuple(same))


def is_published_backbone(board: Board, setting: str) -> bool:
    """Return whether a setting of the paper is about the backbone of a board."""
    name = next((name for name in BACKBONES if setting.startswith(f"{name},")), None)
    return name is not None and board.backbone in BACKBONES[name]


def is_published_layer(board: Board, setting: str) -> bool:
    """Return whether a setting of the paper is about the layer of a board, whatever its backbone."""
    layer = re.search(r", layer (\d+)", setting)
    return is_site(board.site, PaperSetting("", int(layer[1]) if layer else None, 0))

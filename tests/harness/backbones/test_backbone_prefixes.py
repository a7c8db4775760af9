"""Prefixes of backbone specs, which plugins can add."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import backbones
from harness.backbones import PREFIXES, Prefix, register_prefix
from harness.backbones.sources.base import Request
from harness.doctor.needs import _weights
from harness.errors import UserError
from harness.listing import listing
from harness.suites.schema import Target


@pytest.fixture
def mine() -> Iterator[list[str]]:
    requested: list[str] = []

    def load(request: Request) -> object:
        requested.append(request.identifier)
        return request, request.identifier

    register_prefix("mine", Prefix(load, {"here": None, "on_hub": "dinov2_vitb14"}.get))  # type: ignore[arg-type]
    yield requested
    del PREFIXES.entries["mine"]


def test_a_plugin_adds_one(mine: list[str]) -> None:
    assert list(PREFIXES)[:3] == ["timm", "hf", "torchhub"] and {"planted", "mine"} <= set(PREFIXES)
    with pytest.raises(UserError, match="The backbone 'mine:some:thing' builds a tuple; its `build` must return"):
        backbones.load("mine:some:thing")
    assert mine == ["some:thing"]
    with pytest.raises(UserError, match=r"timm, hf, torchhub.*mine"):
        backbones.load("yours:thing")
    with pytest.raises(UserError, match="registered twice"):
        register_prefix("mine", Prefix("elsewhere:load"))
    with pytest.raises(UserError, match="registered twice"):
        register_prefix("timm", Prefix("elsewhere:load"))


def test_the_list_of_backbones_shows_them(mine: object) -> None:
    names = [row["name"] for row in listing("backbones")]
    assert names.index("efficientnet_lite0") < names.index("timm:...") < names.index("mine:...")


def test_what_is_drawn_needs_no_weights(mine: object) -> None:
    assert _weights(Target(backbone="mine:here")) is None
    assert _weights(Target(backbone="planted:two_concepts")) is None


def test_what_is_built_from_another_needs_that_ones(
    mine: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("harness.doctor.needs.reachable", lambda host: False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert _weights(Target(backbone="mine:on_hub")) == _weights(Target(backbone="dinov2_vitb14")) is not None

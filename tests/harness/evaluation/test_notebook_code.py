"""Classes and fits of a notebook: an edit is measured again, and a fit keeps its state."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from evaluations import TOPK, Evaluate, collect, values
from torch import Tensor

import methods
from harness.errors import UserError
from methods.base import Dictionary, Learner, MethodSpec

pytestmark = pytest.mark.run


class Doubled(Learner):
    """Method of a notebook."""

    spec = MethodSpec(name="doubled", title="Doubled", family="sae", reads="output", reference="none")
    fitted = ("eye",)
    factor = 2.0

    def learn(self, tokens: Any, site: Any, seed: int, device: Any, progress: Any) -> None:
        self.eye = torch.eye(site.d_out)

    def encode(self, x: Tensor) -> Tensor:
        return self.factor * x

    def decode(self, codes: Tensor) -> Tensor:
        return codes / self.factor

    def dictionary(self) -> Dictionary:
        return Dictionary(self.eye, None, "writer")

    @property
    def n_units(self) -> int:
        return len(self.eye)


@pytest.fixture
def doubled(monkeypatch: pytest.MonkeyPatch) -> type[Doubled]:
    """The class as if it were defined in a notebook."""
    monkeypatch.setattr(Doubled, "__module__", "__main__")
    methods.register(Doubled)
    monkeypatch.setattr(Doubled, "factor", 2.0)
    return Doubled


def test_an_edited_class_of_a_notebook_is_measured_again(evaluate: Evaluate, doubled: type[Doubled]) -> None:
    try:
        first = evaluate(doubled)["cell_id"][0]
        assert evaluate("doubled")["cell_id"][0] == first == evaluate(doubled())["cell_id"][0]
        doubled.factor = 4.0
        assert evaluate(doubled)["cell_id"][0] != first
    finally:
        methods.METHODS.entries.pop("doubled")
    with pytest.raises(UserError, match=r"Doubled is not registered: decorate it with @methods.register"):
        evaluate(doubled)


class Rescaled(methods.METHODS.get("topk_sae")):
    """Subclass of a built-in autoencoder, as a notebook has it."""

    spec = methods.METHODS.get("topk_sae").spec._replace(name="rescaled", title="Rescaled")
    factor = 1.0

    def encode(self, x: Tensor) -> Tensor:
        return self.factor * super().encode(x)


@pytest.fixture
def rescaled(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Rescaled]]:
    monkeypatch.setattr(Rescaled, "__module__", "__main__")
    monkeypatch.setattr(Rescaled, "factor", 1.0)
    methods.register(Rescaled)
    yield Rescaled
    methods.METHODS.entries.pop("rescaled")


def test_a_fit_of_a_notebook_class_follows_its_code(
    evaluate: Evaluate, arguments: dict[str, Any], tmp_path: Path, rescaled: type[Rescaled]
) -> None:
    site, tokens = collect(arguments, tmp_path)
    fit = methods.create("rescaled", **TOPK).fit(tokens, site)
    first = evaluate({"fit": fit})
    rescaled.factor = 0.1
    second = evaluate({"fit": fit})
    assert second["cell_id"][0] != first["cell_id"][0]
    assert values(second)["r2"] != values(first)["r2"]


class WithHiddenState(Learner):
    """Method whose fit is not all named in `fitted`."""

    spec = MethodSpec(name="hidden_state", title="Hidden", family="sae", reads="output", reference="none")
    fitted = ("eye",)

    def learn(self, tokens: Any, site: Any, seed: int, device: Any, progress: Any) -> None:
        self.eye = torch.eye(site.d_out)
        self.scale = torch.tensor(2.0)

    def encode(self, x: Tensor) -> Tensor:
        return 2 * x

    def decode(self, codes: Tensor) -> Tensor:
        return codes / getattr(self, "scale", 1.0)

    def dictionary(self) -> Dictionary:
        return Dictionary(self.eye / getattr(self, "scale", 1.0), None, "writer")

    @property
    def n_units(self) -> int:
        return len(self.eye)


def test_a_fit_is_the_same_in_a_later_call(evaluate: Evaluate, arguments: dict[str, Any], tmp_path: Path) -> None:
    site, tokens = collect(arguments, tmp_path)
    fit = WithHiddenState().fit(tokens, site)
    first, later = evaluate(fit, metrics=["r2"]), evaluate(fit, metrics=["r2", "l0"])
    assert values(first)["r2"] == values(later)["r2"] == pytest.approx(1)
    fit.scale = torch.tensor(4.0)
    assert values(evaluate(fit, metrics=["r2"]))["r2"] < 0.9


def test_a_patched_fit_is_not_the_original(evaluate: Evaluate, arguments: dict[str, Any], tmp_path: Path) -> None:
    site, tokens = collect(arguments, tmp_path)
    fit = methods.create("topk_sae", **TOPK).fit(tokens, site)
    encode = fit.encode
    fit.encode = lambda x: 0 * encode(x)  # type: ignore[method-assign]
    assert values(evaluate(fit))["l0"] == 0

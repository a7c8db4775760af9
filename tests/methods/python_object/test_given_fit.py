"""Classes of fits that were made outside of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import methods
from methods.errors import UserError
from methods.python_object.given_fit import given_fit


class Site:
    kind = "linear"
    d_in, d_out = 4, 3

    def __init__(self) -> None:
        self.weight = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
        self.bias = torch.zeros(3)


def split(seed: int = 1) -> methods.base.Method:
    return methods.create("random_split", parts=2).fit(None, Site(), seed=seed)


ROWS = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))


def test_the_fit_is_taken_as_it_is() -> None:
    method = split()
    cls = given_fit(method)
    fit = cls(method.config).fit(None, Site(), seed=99)
    assert torch.equal(fit.encode(ROWS), method.encode(ROWS))
    assert isinstance(fit, type(method)), "what holds for the class holds for the fit"
    spec = cls.spec_with(method.config)
    assert spec.fitted_elsewhere and not spec.uses_seed and spec.family == method.spec.family
    assert spec.lossless == method.spec.lossless


def test_other_content_has_another_name() -> None:
    names = [given_fit(method).spec.name for method in (split(), split(), split(seed=2))]
    assert names[0] == names[1] != names[2] and names[0].startswith("fitted_random_split.")


def test_a_callback_for_logs_is_no_content() -> None:
    logging = split()
    logging.on_metrics = lambda step, values: None
    assert given_fit(logging).spec.name == given_fit(split()).spec.name
    bare = split()
    del bare.on_metrics
    assert given_fit(bare).spec.name == given_fit(split()).spec.name


def test_it_is_saved_and_loaded(tmp_path: Path) -> None:
    method = split()
    cls = given_fit(method)
    fit = cls(method.config).fit(None, Site())
    loaded = cls.load(fit.save(tmp_path / "fit.safetensors"))
    assert torch.equal(loaded.encode(ROWS), method.encode(ROWS))


def test_a_method_that_is_not_fitted_is_refused() -> None:
    with pytest.raises(UserError, match="random_split is not fitted yet"):
        given_fit(methods.create("random_split", parts=2))


def test_a_layer_of_another_width_is_refused() -> None:
    class Wide(Site):
        d_in = 5

    method = split()
    with pytest.raises(UserError, match="reads 4 features, and this layer has 5"):
        given_fit(method)(method.config).fit(None, Wide())

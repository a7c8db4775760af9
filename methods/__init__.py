"""Disentanglement methods behind one encode/decode contract.

>>> import methods
>>> method = methods.create("topk_sae", k=20, expansion_factor=8)
>>> method.fit(tokens, site, seed=42).encode(a)            # doctest: +SKIP
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from methods.errors import UserError
from methods.numerics import set_environment
from methods.registry import Registry

if TYPE_CHECKING:
    from methods.base import Device, Method

# MKL reads its setting once, so set it before anything is computed.
set_environment()

__all__ = ["METHODS", "UserError", "create", "load", "names", "register"]


def _problem(cls: Any) -> str | None:
    from methods.base import Method, MethodSpec

    if not (isinstance(cls, type) and issubclass(cls, Method)):
        return "it is no class derived from methods.base.Method"
    spec = getattr(cls, "spec", None)
    if not isinstance(spec, MethodSpec):
        return "its `spec` is no MethodSpec"
    if not isinstance(spec.control_for, tuple):
        return f"its `spec.control_for` is {spec.control_for!r}; give a tuple of families, such as ('split',)"
    return None


METHODS: Registry[type[Method]] = Registry("method", "harness.methods", package="methods", check=_problem)


def register(cls: Any) -> Any:
    """Register a :class:`methods.base.Method` under its ``spec.name`` (class decorator)."""
    return METHODS.register()(cls)


def names() -> list[str]:
    """Return the names of all registered methods."""
    return METHODS.names()


def create(name: str, **config: Any) -> Method:
    """Return an unfitted method by its registry name.

    Raises:
        UserError: for an unknown name or setting, with the nearest existing ones.
    """
    from methods.base import make_config

    cls = METHODS.get(name)
    return cls(make_config(cls, config))


def load(path: str | Path, *, device: Device = "cpu") -> Method:
    """Return the fitted method that ``method.save(path)`` wrote.

    Raises:
        UserError: if the file is missing, is not a saved method, or names a method that is not registered.
    """
    from methods.base import read_header

    return METHODS.get(read_header(path)["method"]).load(path, device=device)

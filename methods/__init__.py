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
    from methods.base import Device, Method, MethodSpec

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
    return _wrong_field(spec)


def _wrong_field(spec: MethodSpec) -> str | None:
    """Return which field of a spec has another type than it must have, or None."""
    texts = ("name", "title", "family", "reference")
    claims = ("explicit", "training_free", "lossless", "stable", "supervised", "virtual", "uses_seed")
    flags = (*claims, "reads_class_names", "reads_images", "needs_network")
    wanted: dict[str, tuple[type, str]] = {
        **dict.fromkeys(texts, (str, "text")),
        **dict.fromkeys(flags, (bool, "bool")),
    }
    wanted["version"] = (int, "a whole number")
    for name, (kind, description) in wanted.items():
        if type(getattr(spec, name)) is not kind:
            return f"its `spec.{name}` is of the type {type(getattr(spec, name)).__name__}; it must be {description}"
    if spec.reads not in ("input", "output"):
        return f"its `spec.reads` is {spec.reads!r}; it must be 'input' or 'output'"
    if not all(isinstance(family, str) for family in spec.control_for):
        return "its `spec.control_for` contains a value that is no text; give families, such as ('split',)"
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
    from methods.plugin_calls import calling

    cls = METHODS.get(name)
    with calling(METHODS, name):
        return cls(make_config(cls, config))


def load(path: str | Path, *, device: Device = "cpu") -> Method:
    """Return the fitted method that ``method.save(path)`` wrote.

    Raises:
        UserError: if the file is missing, is not a saved method, or names a method that is not registered.
    """
    from methods.base import read_header
    from methods.plugin_calls import calling

    name = read_header(path)["method"]
    cls = METHODS.get(name)
    with calling(METHODS, name):
        return cls.load(path, device=device)

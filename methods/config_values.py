"""Configurations of methods, made from plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from methods.errors import UserError
from methods.file_settings import load_config
from methods.interface import MethodConfig
from methods.plugin_calls import calling_object
from methods.registry import did_you_mean
from methods.setting_problems import problems_of, quoted, reason

if TYPE_CHECKING:
    from methods.base import Method


def saved_config(cls: type[Method], values: dict[str, Any]) -> MethodConfig:
    """Return the configuration of a saved method, whose files may be gone."""
    try:
        return load_config(cls.Config, values)
    except ValidationError:
        return make_config(cls, values)


def make_config(cls: type[Method], values: dict[str, Any]) -> MethodConfig:
    """Return the method's configuration from plain values.

    Raises:
        UserError: for invalid keys or values; the message names each of them and what is allowed.
    """
    with calling_object("method", cls.spec.name, cls):
        return _validated(cls, values)


def _validated(cls: type[Method], values: dict[str, Any]) -> MethodConfig:
    try:
        return cls.Config(**values)
    except ValidationError as error:
        sentences = []
        for problem in problems_of(error):
            where = ".".join(map(str, problem["loc"]))
            if problem["type"] == "extra_forbidden":
                fields = list(cls.Config.model_fields)
                sentences.append(f"{cls.spec.name} has no setting {where!r}. {did_you_mean(where, fields)}")
            elif problem["type"] == "missing":
                sentences.append(f"{cls.spec.name} needs the setting {where!r}.")
            elif where:
                sentences.append(f"{cls.spec.name}.{where} = {quoted(problem.get('input'))}: {reason(problem)}.")
            else:
                sentences.append(f"{cls.spec.name}: {reason(problem)}.")
        raise UserError(" ".join(sentences)) from error

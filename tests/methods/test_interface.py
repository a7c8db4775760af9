"""Configurations of methods: settings that were added later leave the identity of earlier cells unchanged."""

from __future__ import annotations

import pytest
from pydantic import Field, ValidationError

from methods.base import MethodConfig
from methods.interface import ADDED


class Config(MethodConfig):
    k: int = 3
    warmup: float | None = Field(None, ge=0, json_schema_extra=ADDED)


class Nested(Config):
    rate: float = Field(0.5, json_schema_extra=ADDED)


def test_an_added_setting_is_dumped_only_if_it_differs_from_its_default() -> None:
    assert Config().model_dump(mode="json") == Config(warmup=None).model_dump(mode="json") == {"k": 3}
    assert Config(warmup=0.0).model_dump(mode="json") == {"k": 3, "warmup": 0.0}
    assert Nested().model_dump() == {"k": 3}
    assert Nested(warmup=1.0, rate=0.25).model_dump() == {"k": 3, "warmup": 1.0, "rate": 0.25}


@pytest.mark.parametrize("config", [Nested(), Nested(k=4, rate=0.1), Nested(warmup=2.0)])
def test_a_dumped_configuration_gives_the_same_one(config: Nested) -> None:
    assert Nested(**config.model_dump(mode="json")) == config


def test_an_added_setting_is_validated() -> None:
    with pytest.raises(ValidationError, match="warmup"):
        Config(warmup=-1.0)

"""Setting that names another method with its configuration."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from methods import METHODS
from methods.base import Prerequisite, make_config
from methods.errors import UserError
from methods.file_settings import Replace, map_model


class MethodReference(BaseModel):
    """Method and its configuration: ``{ name = "elude", config = { top_k = 1500 } }``.

    The configuration is validated by the method's own ``Config`` and stored with all of its defaults, so that two
    spellings of the same settings are equal.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="registry name of the method")
    config: dict[str, Any] = Field({}, validate_default=True, description="its settings; the others have defaults")

    @field_validator("name")
    @classmethod
    def _exists(cls, name: str) -> str:
        try:
            METHODS.get(name)
        except UserError as error:
            raise ValueError(str(error).removesuffix(".")) from error
        return name

    @field_validator("config")
    @classmethod
    def _complete(cls, config: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "name" not in info.data:
            return config  # the name is wrong, and has its own message
        try:
            return make_config(METHODS.get(info.data["name"]), config).model_dump(mode="json")
        except UserError as error:
            raise ValueError(str(error).removesuffix(".")) from error

    def prerequisite(self) -> Prerequisite:
        """Return the method with its typed configuration."""
        method = METHODS.get(self.name)
        return Prerequisite(method, make_config(method, self.config))

    def map_files(self, replace: Replace, where: str) -> MethodReference:
        """Return a copy with the paths in the method's settings replaced (:mod:`methods.file_settings`)."""
        config = self.prerequisite().config
        mapped = map_model(config, replace, f"{where}.config.")
        return self if mapped is config else self.model_copy(update={"config": mapped.model_dump(mode="json")})

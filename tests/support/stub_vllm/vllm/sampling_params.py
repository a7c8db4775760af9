"""Module of the stand-in."""

from typing import Any


def StructuredOutputsParams(**settings: Any) -> dict[str, Any]:
    return settings

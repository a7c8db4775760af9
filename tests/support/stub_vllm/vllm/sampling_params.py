"""Module of the stand-in."""

from typing import Any


def StructuredOutputsParams(**settings: Any) -> dict[str, Any]:  # noqa: N802
    return settings

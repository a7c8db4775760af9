"""Contract of an alteration: a seeded change of the pixels of a network's input."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from harness.errors import UserError
from harness.identity import seed_of
from methods.registry import Registry


def _problem(cls: Any) -> str | None:
    """Return the reason why an object cannot be registered as an alteration, or None."""
    if not (isinstance(cls, type) and issubclass(cls, Alteration)):
        return "it is not a subclass of harness.alterations.Alteration"
    missing = [name for name in ("id", "title") if not isinstance(getattr(cls, name, None), str)]
    return f"it lacks the class attributes {', '.join(missing)}" if missing else None


ALTERATIONS: Registry[type[Alteration]] = Registry(
    "alteration", "harness.alterations", package="harness.alterations", check=_problem
)


class Alteration(ABC):
    """Base class of all alterations. A plugin sets the class attributes and implements :meth:`apply`.

    Args:
        severity: from 1, hardly visible, to 5.

    Raises:
        UserError: if the severity is another number.
    """

    id: ClassVar[str]
    title: ClassVar[str]
    version: ClassVar[int] = 1
    """Increase when :meth:`apply` changes: stored states of altered images are then not read.

    Scores do not depend on it: increase the version of the metrics that use the alteration, too.
    """
    severities: ClassVar[tuple[int, ...]] = (1, 2, 3, 4, 5)

    def __init__(self, severity: int = 1) -> None:
        if type(severity) is not int or severity not in self.severities:
            choices = ", ".join(map(str, self.severities))
            raise UserError(f"The severity of {self.id!r} is {severity!r}: give one of {choices}.")
        self.severity = severity

    @abstractmethod
    def apply(self, pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Return the altered pixels (size, size, 3) uint8.

        Args:
            pixels: (size, size, 3) uint8, which must not be changed.
            generator: source of every random number. It depends on the alteration, its version and severity, and the
                image's name only.
        """

    def identity(self) -> dict[str, Any]:
        """Return what determines the altered pixels, for identities of results."""
        return {"alteration": self.id, "version": self.version, "severity": self.severity}

    def altered(self, pixels: np.ndarray, name: str) -> np.ndarray:
        """Return the altered pixels (size, size, 3) uint8 of the image ``name``.

        Raises:
            UserError: if :meth:`apply` returns something else.
        """
        generator = np.random.default_rng(seed_of("alteration", self.id, self.version, self.severity, name))
        result = self.apply(pixels, generator)
        if not isinstance(result, np.ndarray) or result.shape != pixels.shape or result.dtype != np.uint8:
            received = f"{result.dtype} {result.shape}" if isinstance(result, np.ndarray) else type(result).__name__
            raise UserError(
                f"The alteration {self.id!r} returned {received}: it must return an array of uint8 of the shape "
                f"{pixels.shape}, as it was given."
            )
        return result

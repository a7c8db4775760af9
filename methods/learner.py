"""Base of the methods whose fit takes no arguments beyond those of the interface."""

from __future__ import annotations

from abc import abstractmethod
from typing import Self

from methods.base import Device, LinearSite, Method, Progress, Tokens, no_progress


class Learner(Method):
    """Method that is fitted by :meth:`learn`."""

    def fit(
        self,
        tokens: Tokens,
        site: LinearSite,
        *,
        seed: int = 42,
        device: Device = "cpu",
        progress: Progress = no_progress,
    ) -> Self:
        self.learn(tokens, site, seed, device, progress)
        return self.to(device)

    @abstractmethod
    def learn(self, tokens: Tokens, site: LinearSite, seed: int, device: Device, progress: Progress) -> None:
        """Set the fitted tensors, on any device; all random draws are determined by ``seed``."""

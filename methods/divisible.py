"""Interface of methods whose fit consists of independent items, so that several workers can compute one fit."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from methods.base import Device, LinearSite, Method, MethodConfig, Progress, Tokens, no_progress
from methods.requirements import checked_fit


class DivisibleFit(Method):
    """Method whose fit computes items that do not depend on each other, such as the neurons of ELUDe.

    An executor with several workers calls :meth:`fit_part` for disjoint ranges of the items, in any order, in several
    processes or on several machines. Each call is on a new, unfitted method, and :attr:`work_dir` is the same folder
    for all of them. Afterwards it calls :meth:`fit` with that folder, once.

    - ``fit`` uses the items that ``work_dir`` holds and computes the others. Its result is the same, to the bit, with
      all items in the folder, some or none: items that were lost cost time only.
    - Files in ``work_dir`` are complete under their name (:func:`methods.atomic.partial_file`) and state what they
      depend on: settings, seed, layer and tokens. A part does not compute items again that it finds there, so a fit
      that was killed resumes, divided or not.
    - Names that start with a dot are left to the harness and to incomplete files.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "fit_part" in vars(cls):
            cls.fit_part = checked_fit(vars(cls)["fit_part"])  # type: ignore[method-assign]

    @classmethod
    @abstractmethod
    def fit_items(cls, config: MethodConfig, site: LinearSite) -> int:
        """Return the number of items of a fit on this layer; 1 or less: these settings give no fit that divides."""

    @abstractmethod
    def fit_part(
        self,
        tokens: Tokens,
        site: LinearSite,
        items: range,
        *,
        seed: int = 42,
        device: Device = "cpu",
        progress: Progress = no_progress,
    ) -> None:
        """Compute the items of a range, of step 1, and leave them in :attr:`work_dir` for :meth:`fit`.

        Raises:
            UserError: as :meth:`fit`, and if :attr:`work_dir` is None.
        """

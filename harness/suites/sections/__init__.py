"""Sections of a suite beyond the built-in ones: each is a pydantic model under the name of its table.

A module here (or a plugin, under the entry-point group ``harness.sections``) does ``SECTIONS.add("planted", Planted)``;
``[planted]`` is then allowed in suite files, checked like the others, and found in ``suite.extra["planted"]``.
"""

from __future__ import annotations

from pydantic import BaseModel

from methods.registry import Registry

SECTIONS: Registry[type[BaseModel]] = Registry("section", "harness.sections", package="harness.suites.sections")

__all__: list[str] = []

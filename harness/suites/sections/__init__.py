"""Registry of additional suite sections: each is a pydantic model, registered under the name of its table.

A module in this package (or a plugin in the entry-point group ``harness.sections``) calls
``SECTIONS.add("planted", Planted)``. The table ``[planted]`` is then allowed in suite files, validated like the other
sections, and available as ``suite.extra["planted"]``.
"""

from __future__ import annotations

from pydantic import BaseModel

from methods.registry import Registry

SECTIONS: Registry[type[BaseModel]] = Registry("section", "harness.sections", package="harness.suites.sections")

__all__: list[str] = []

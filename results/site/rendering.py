"""Template engine of the site: every value is bounded and escaped, and templates are files of this package only."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from results.site.texts import bounded, name

#: A page may load files of its own site, and nothing else; scripts and styles are files, never part of a page.
#: Browsers differ in whether a page on disk is its own origin, hence `file:`. A page of a web server cannot load files.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; img-src 'self' file:; style-src 'self' file:; script-src 'self' file:; "
    "base-uri 'none'; form-action 'none'"
)


@functools.lru_cache(maxsize=1)
def environment() -> jinja2.Environment:
    """Return the environment of the templates."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["name"] = name
    made.globals["policy"] = CONTENT_SECURITY_POLICY
    return made


def render(template: str, **content: Any) -> bytes:
    """Return a page as the bytes of its file."""
    lines = environment().get_template(template).render(**content).splitlines()
    return ("\n".join(line for line in map(str.rstrip, lines) if line) + "\n").encode()


def _finalized(value: Any) -> Any:
    """Return a value of a template as it is printed: None is nothing, texts are bounded, coordinates are short."""
    if value is None:
        return ""
    if isinstance(value, (Markup, bool, int)):
        return value
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return bounded(value)

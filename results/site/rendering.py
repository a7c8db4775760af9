"""Template engine of the site: every value is bounded and escaped, and templates are files of this package only."""

from __future__ import annotations

import base64
import functools
import hashlib
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from results.minus_sign import with_minus
from results.site.texts import bounded, name

#: A page may load files of its own site, and nothing else; scripts and styles are files, never part of a page.
#: Browsers differ in whether a page on disk is its own origin, hence `file:`. A page of a web server cannot load files.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; img-src 'self' file:; style-src 'self' file:; script-src 'self' file:; "
    "base-uri 'none'; form-action 'none'"
)

#: Style of the page for missing addresses, which a host shows at any depth, so that it can load no file.
_LOST_STYLE = (
    ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:15vh auto;"
    "padding:0 1.25rem;background:#fff;color:#1b1f24}a{color:#0062a3}"
    "@media (prefers-color-scheme:dark){body{background:#12161b;color:#e6eaee}a{color:#6cbcf2}}"
)
_LOST_HASH = base64.b64encode(hashlib.sha256(_LOST_STYLE.encode()).digest()).decode()


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
    made.filters["minus"] = with_minus
    made.globals["policy"] = CONTENT_SECURITY_POLICY
    made.globals["lost_style"] = Markup(_LOST_STYLE)
    made.globals["lost_policy"] = (
        f"default-src 'none'; style-src 'sha256-{_LOST_HASH}'; base-uri 'none'; form-action 'none'"
    )
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

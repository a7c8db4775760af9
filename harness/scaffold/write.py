"""Templates of plugins, written by ``harness new``."""

from __future__ import annotations

import re
from pathlib import Path

from methods.errors import UserError
from methods.registry import did_you_mean

TEMPLATES = Path(__file__).parent


def kinds() -> list[str]:
    """Return the kinds of plugins that have a template."""
    return sorted(path.name.removesuffix(".py.txt") for path in TEMPLATES.glob("*.py.txt"))


def scaffold(kind: str, path: Path) -> Path:
    """Write the template of a `kind` to `path`; the plugin is named after the file.

    Raises:
        UserError: if the kind is unknown, or the file exists, has an invalid name or cannot be written.
    """
    if kind not in kinds():
        raise UserError(f"There is no template for {kind!r}. {did_you_mean(kind, kinds())}")
    name = path.stem
    if path.suffix != ".py" or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UserError(f"{path.name!r}: must be a Python file name in lower case, such as my_{kind}.py.")
    title = "".join(part.capitalize() for part in name.split("_") if part)
    text = (TEMPLATES / f"{kind}.py.txt").read_text(encoding="utf-8")
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text.replace("@NAME@", name).replace("@CLASS@", title))
    except FileExistsError:
        raise UserError(f"{path} already exists; give another file name.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); give another path.") from error
    return path


#: Kind -> options of `harness run` that use the plugin, and what the run does.
_USES = {
    "method": (
        " --method {name}",
        "only this method on the layers of the demo; without --method: together with the demo's methods",
    ),
    "metric": ("", "all cells are measured again, from the stored fits"),
    "judge": (" --set judging.panel={name}", "this panel compares the units of the demo"),
    "protocol": (
        " --set judging.panel=openai --set judging.protocol={name}",
        "a model behind OPENAI_BASE_URL judges by this protocol; a proxy has no prompt",
    ),
    "backbone": (" --backbone {name}", "the methods of the demo on this network"),
    "dataset": (" --dataset {name}", "the networks and methods of the demo on these images"),
}


def next_steps(kind: str, name: str, path: str) -> list[str]:
    """Return two lines: the command that uses a plugin in a run, and what it runs."""
    options, effect = _USES[kind]
    return [f"Run:     harness run --suite demo --plugin {path}{options.format(name=name)}", f"         ({effect})"]

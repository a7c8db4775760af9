"""Starting points for plugins: what ``harness new`` writes."""

from __future__ import annotations

import re
from pathlib import Path

from methods.errors import UserError
from methods.registry import did_you_mean

TEMPLATES = Path(__file__).parent


def kinds() -> list[str]:
    """What there is a starting point for."""
    return sorted(path.name.removesuffix(".py.txt") for path in TEMPLATES.glob("*.py.txt"))


def scaffold(kind: str, path: Path) -> Path:
    """Write the starting point of a `kind` to `path`, named after the file.

    Raises:
        UserError: an unknown kind, a file that exists, or a name that is no Python file's.
    """
    if kind not in kinds():
        raise UserError(f"There is no starting point for a {kind!r}. {did_you_mean(kind, kinds())}")
    name = path.stem
    if path.suffix != ".py" or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UserError(f"{path.name!r}: name a Python file in small letters, such as my_{kind}.py.")
    title = "".join(part.capitalize() for part in name.split("_") if part)
    text = (TEMPLATES / f"{kind}.py.txt").read_text(encoding="utf-8")
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text.replace("@NAME@", name).replace("@CLASS@", title))
    except FileExistsError:
        raise UserError(f"{path} exists; name another file.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); name another place.") from error
    return path


#: How a thing of each kind is used in a run.
_USE = {
    "method": "--method {name}",
    "metric": "",
    "judge": "--set judging.panel={name}",
    "backbone": "--backbone {name}",
    "dataset": "--dataset {name}",
}
_MEANING = {
    "method": "it alone on the demo's layers; without --method beside the demo's other methods",
    "metric": "every cell is measured anew; fits that are stored are not made again",
    "judge": "the demo's units, compared by this panel instead of the demo's",
    "backbone": "the demo's methods on this network",
    "dataset": "the demo's networks and methods on these images",
}


def next_steps(kind: str, name: str, path: str) -> list[str]:
    """What to do with a plugin that passes its checks, in two lines."""
    use = " ".join(part for part in ("harness run --suite demo --plugin", path, _USE[kind].format(name=name)) if part)
    return [f"Run:     {use}", f"         ({_MEANING[kind]})"]

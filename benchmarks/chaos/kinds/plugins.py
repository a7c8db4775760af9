"""Plugins: mutated source text of the examples and templates, wrong results, and everything that an import can do."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from chaos.case import Bounds, Case, Done
from chaos.small_inputs import ROOT, RUN, suite_text, use_support, write_pictures

ORDER = 4
N_TEXTS = 40

FILE = "odd_plugin.py"
_CHECK = ("check", FILE)
_RUN = (*RUN, "--plugin", FILE)
_BOUNDS = Bounds(60, 1500)

_EXCEPTIONS = (
    "ValueError('wrong')", "KeyError('k')", "AssertionError()", "RuntimeError()", "RecursionError()", "MemoryError()",
    "StopIteration()", "NotImplementedError", "UnicodeDecodeError('utf-8', b'x', 0, 1, 'bad')", "OSError(28, 'full')",
    "SystemExit(0)", "SystemExit('bye')", "GeneratorExit()", "type('Own', (BaseException,), {})('own')",
    "type('Mute', (Exception,), {'__str__': lambda self: 1 / 0})()", "Exception('\\n'.join(['line'] * 500))",
    "Exception('x' * 100_000)", "Exception('\\x1b[31mred\\u202e')",
)  # fmt: skip

#: What is changed in the template of a method: function, and its new body. None of them is a method that works.
_BODIES: tuple[tuple[str, str], ...] = (
    ("encode", "return None"),
    ("encode", "return [1, 2]"),
    ("encode", "return (x - self.mean) @ self.atoms.T, 1"),
    ("encode", "return ((x - self.mean) @ self.atoms.T).numpy()"),
    ("encode", "return ((x - self.mean) @ self.atoms.T).double()"),
    ("encode", "return ((x - self.mean) @ self.atoms.T)[:, :3]"),
    ("encode", "return ((x - self.mean) @ self.atoms.T)[:-1]"),
    ("encode", "return ((x - self.mean) @ self.atoms.T) * float('nan')"),
    ("encode", "return ((x - self.mean) @ self.atoms.T) / 0"),
    ("encode", "return ((x - self.mean) @ self.atoms.T).to(torch.complex64)"),
    ("encode", "return ((x - self.mean) @ self.atoms.T).to_sparse()"),
    ("encode", "return ((x - self.mean) @ self.atoms.T).round().long()"),
    ("encode", "return (x - self.mean) @ self.atoms.T + torch.rand(1)"),
    ("encode", "return x.zero_() @ self.atoms.T"),
    ("decode", "return None"),
    ("decode", "return codes @ self.atoms[:, :-1]"),
    ("decode", "return codes.zero_() @ self.atoms + self.mean"),
    ("dictionary", "return 3"),
    ("dictionary", "return Dictionary(self.atoms.T, parents=None, side='writer')"),
    ("dictionary", "return Dictionary(self.atoms, parents=None, side='front')"),
    ("n_units", "return -1"),
    ("n_units", "return 2.5"),
    ("n_units", "return None"),
    ("fit", "return None"),
    ("fit", "return self"),
    ("fit", "raise KeyboardInterrupt"),
)

#: Source text that is put in front of the template, or instead of it.
_MODULES: dict[str, str] = {
    "empty": "",
    "only a comment": "# nothing\n",
    "registers nothing": "x = 1\n",
    "null bytes": "x = '\0'\n",
    "unclosed bracket": "x = (1,\n",
    "nested too deeply": "x = " + "(" * 5000 + ")" * 5000 + "\n",
    "long line": "x = '" + "a" * 2_000_000 + "'\n",
    "deep expression": "x = " + "+".join(["1"] * 60_000) + "\n",
    "Python 2": "print 'hello'\n",
    "tabs and spaces": "if True:\n\tx = 1\n        y = 2\n",
    "import of nothing": "import package_that_does_not_exist_at_all\n",
    "relative import": "from . import other\n",
    "import of itself": "import odd_plugin\n",
    "star import": "from os import *\n",
    **{f"raise {error[:40]}": f"raise {error}\n" for error in _EXCEPTIONS},
    "sys.exit(0)": "import sys\nsys.exit(0)\n",
    "sys.exit(3)": "import sys\nsys.exit(3)\n",
}

#: Source text in front of the template, after which the plugin may work or must be refused, but nothing else breaks.
_SIDE_EFFECTS: dict[str, str] = {
    "default dtype": "import torch\ntorch.set_default_dtype(torch.float64)\n",
    "gradients off": "import torch\ntorch.set_grad_enabled(False)\n",
    "one seed for all": "import torch\ntorch.manual_seed(0)\n",
    "deterministic": "import torch\ntorch.use_deterministic_algorithms(True)\n",
    "prints": "print('hello from a plugin')\n",
    "warns": "import warnings\nwarnings.warn('a warning of a plugin')\n",
    "another folder": "import os\nos.chdir('/')\n",
    "recursion limit": "import sys\nsys.setrecursionlimit(120)\n",
    "closed standard output": "import sys\nsys.stdout.close()\n",
    "standard output replaced": "import sys, io\nsys.stdout = io.StringIO()\n",
    "signals": "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n",
    "threads": "import torch\ntorch.set_num_threads(1)\n",
    "excepthook": "import sys\nsys.excepthook = None\n",
}


def cases(seed: int) -> Iterator[Case]:
    """Yield mutated texts, wrong results of each function, and odd modules."""
    use_support()
    from harness.scaffold.write import TEMPLATES

    sources = {
        "the example": (ROOT / "examples" / "plugin" / "coactive_split.py").read_text(),
        **{
            f"the template of a {kind}": _named((TEMPLATES / f"{kind}.py.txt").read_text())
            for kind in ("method", "metric", "judge", "dataset")
        },
    }
    method = sources["the template of a method"]
    yield _case("the template of a method", method.encode(), (_CHECK, _RUN), codes=frozenset({0}))
    for number in range(N_TEXTS):
        draw = random.Random(f"{seed} {number}")
        of, source = list(sources.items())[number % len(sources)]
        yield _case(f"mutated text of {of}", _mutated(source, draw), (_CHECK,))
    for function, body in _BODIES:
        text = _with_body(method, function, body)
        yield _case(f"{function}: {body}", text.encode(), (_CHECK, _RUN))
    functions = ("fit", "encode", "decode", "dictionary")
    for number, error in enumerate(_EXCEPTIONS):
        for function in (functions[number % 4], functions[(number + 1 + number // 4) % 4]):
            text = _with_body(method, function, f"raise {error}")
            yield _case(f"{function}: raise {error[:40]}", text.encode(), (_CHECK, _RUN))
    for name, text in _MODULES.items():
        yield _case(f"module: {name}", text.encode(), (_CHECK, _RUN), must_fail=True)
    yield _case("module: not UTF-8", b"x = '\xff\xfe'\n", (_CHECK, _RUN), must_fail=True)
    for name, text in _SIDE_EFFECTS.items():
        yield _case(f"side effect: {name}", (text + method).encode(), (_CHECK, _RUN))


def _named(template: str) -> str:
    return template.replace("@NAME@", "odd_plugin").replace("@CLASS@", "OddPlugin")


def _case(
    name: str,
    content: bytes,
    commands: tuple[tuple[str, ...], ...],
    *,
    must_fail: bool = False,
    codes: frozenset[int] = frozenset({0, 1, 2}),
) -> Case:
    return Case(
        name,
        functools.partial(_write, content),
        commands,
        mentions=("odd_plugin", "coactive_split", "odd plugin", "OddPlugin"),
        codes=codes,
        bounds=_BOUNDS,
        examine=_failures_are_explained,
        must_fail=must_fail,
        of_its_own=True,
    )


def _write(content: bytes, folder: Path) -> None:
    (folder / FILE).write_bytes(content)
    write_pictures(folder / "pictures", per_class=6)
    text = suite_text("identity", seeds="[1]").replace("evaluation = 12", "evaluation = 9")
    (folder / "suite.toml").write_text(text + '\n[[methods]]\nname = "odd_plugin"\n')


def _mutated(text: str, draw: random.Random) -> bytes:
    lines = text.split("\n")
    for _ in range(draw.choice([1, 1, 2])):
        number = draw.randrange(len(lines))
        kind = draw.randrange(6)
        if kind == 0:
            del lines[number]
        elif kind == 1:
            lines.insert(number, lines[draw.randrange(len(lines))])
        elif kind == 2:
            lines[number] = f" {lines[number]}"
        elif kind == 3 and lines[number]:
            at = draw.randrange(len(lines[number]))
            lines[number] = lines[number][:at] + lines[number][at + 1 :]
        elif kind == 4:
            at = draw.randrange(len(lines[number]) + 1)
            lines[number] = lines[number][:at] + draw.choice("()[]{}:=,.\"'#\\@é1 ") + lines[number][at:]
        else:
            lines = lines[: number + 1]
        if not lines:
            break
    return "\n".join(lines).encode()


def _with_body(text: str, function: str, body: str) -> str:
    """Return the source with another body of a method of its class."""
    lines = text.split("\n")
    start = next(number for number, line in enumerate(lines) if line.startswith(f"    def {function}("))
    stop = start + 1
    while stop < len(lines) and (not lines[stop].strip() or lines[stop].startswith("        ")):
        stop += 1
    return "\n".join([*lines[: start + 1], f"        {body}", "", *lines[stop:]])


def _failures_are_explained(folder: Path, done: Sequence[Done]) -> Iterator[str]:
    for each in done:
        if each.arguments[0] == "run" and each.code == 1 and "failed" not in each.stdout + each.stderr:
            yield "exit code 1 without a word about a failed cell"
        if each.arguments[0] == "run" and each.code == 0 and "2 cells finished" not in each.stdout:
            yield "exit code 0 without two finished cells"

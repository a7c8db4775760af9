"""Suite files: mutations of the text, and absurd numbers in a suite that is run."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator
from pathlib import Path

from chaos.case import Bounds, Case, Done
from chaos.small_inputs import RUN, suite_text, use_support, write_pictures

ORDER = 2
N_MUTANTS = 850
N_NUMBERS = 150

FILE = "mutant.toml"
_DOCTOR = ("doctor", "--suite", FILE, "--store", "out/results.duckdb")

#: Numbers that no run needs. As texts: some are not valid TOML for an integer or a float.
NUMBERS = (
    "-1", "0", "2147483648", "4294967296", "9223372036854775807", "9223372036854775808", "-9223372036854775809",
    "1000000000000000000000000000000", "1e308", "-1e308", "1e-320", "0.0", "-0.0", "nan", "inf", "-inf", "1.5",
)  # fmt: skip

#: Section and key of each number of a suite.
_SECTIONS = {
    "data": ("evaluation", "split_seed"),
    "probing": ("crops", "tokens_per_image"),
    "evaluation": ("top_images", "batch_size"),
    "sweep": ("target_l0",),
    "judging": ("pairs", "seed", "controls", "min_images"),
}


def cases(seed: int) -> Iterator[Case]:
    """Yield text mutations that `harness doctor` reads, then suites with an absurd number that `harness run` runs."""
    use_support()
    from suite_mutations import GOOD, mutated

    for number in range(N_MUTANTS):
        content = mutated(GOOD, random.Random(f"{seed} {number}"))
        arrange = functools.partial(_write, content)
        yield Case("mutated text", arrange, (_DOCTOR,), mentions=(FILE,), bounds=Bounds(20, 800))
    draw = random.Random(f"{seed} numbers")
    settings = [*_suite_settings(), *_method_settings()]
    for number in range(N_NUMBERS):
        name, text = settings[number % len(settings)](draw.choice(NUMBERS))
        yield Case(
            name,
            functools.partial(_write_run, text),
            (RUN,),
            codes=frozenset({0, 1, 2}),
            bounds=Bounds(45, 1200),
            examine=_failed_cells_are_explained,
        )


def _write(content: bytes, folder: Path) -> None:
    (folder / FILE).write_bytes(content)


def _write_run(text: str, folder: Path) -> None:
    write_pictures(folder / "pictures")
    (folder / "suite.toml").write_text(text)


def _suite_settings() -> Iterator[object]:
    for section, keys in _SECTIONS.items():
        for key in keys:
            yield functools.partial(_in_section, section, key)


def _in_section(section: str, key: str, value: str) -> tuple[str, str]:
    lines = suite_text("identity", "topk_sae").split("\n")
    header = f"[{section}]"
    lines = [line for line in lines if not line.startswith(f"{key} = ")]
    if header in lines:
        lines.insert(lines.index(header) + 1, f"{key} = {value}")
    else:
        at = lines.index("[[targets]]")
        lines[at:at] = [header, f"{key} = {value}", ""]
    return f"{section}.{key} = {value}", "\n".join(lines)


def _method_settings() -> Iterator[object]:
    """Yield a function for each number among the settings of each method."""
    import methods

    for name in methods.names():
        for key, field in methods.METHODS.get(name).Config.model_fields.items():
            kinds = str(field.annotation)
            if ("int" in kinds or "float" in kinds) and "tuple" not in kinds:
                yield functools.partial(_in_method, name, key)


def _in_method(name: str, key: str, value: str) -> tuple[str, str]:
    text = suite_text("identity", seeds="[1]")
    text += f'\n[[methods]]\nname = "{name}"\nconfig = {{ {key} = {value} }}\n'
    return f"{name}.{key} = {value}", text


def _failed_cells_are_explained(folder: Path, done: object) -> Iterator[str]:
    assert isinstance(done, list)
    run: Done = done[0]
    if run.code == 1 and "failed" not in run.stdout + run.stderr:
        yield "exit code 1 without a word about a failed cell"

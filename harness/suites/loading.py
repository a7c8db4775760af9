"""Suite files: by name or path, based on another one (``extends``) or made of others (``parts``)."""

from __future__ import annotations

import codecs
import re
import tomllib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.errors import UserError
from harness.suites.merging import MERGED, merge
from harness.suites.names import check, check_sources
from harness.suites.parsing import SuiteProblem, error_of, keys_at, parse_suite
from harness.suites.schema import Suite
from harness.suites.toml_limits import MOST_FILES, MOST_FILES_DEEP, read_limited, require_short_keys, value_problem
from harness.suites.toml_lines import TomlLine, TomlTable, line_at, read_toml
from methods.registry import did_you_mean

SUITES = Path(__file__).parents[1] / "suites"

#: Prefix of files that others extend and that are not suites themselves.
FRAGMENT = "_"


def suite_names() -> list[str]:
    """Return the names of the suites that come with the harness."""
    return sorted(file.stem for file in SUITES.glob("*.toml") if not file.stem.startswith(FRAGMENT))


def load_suite(name_or_path: str, *, methods: Collection[str] | None = None) -> Suite:
    """Load a suite by name, or from a TOML file by its path.

    Args:
        name_or_path: name of a suite of the harness, or a path that ends in ``.toml``.
        methods: names or labels of the methods whose settings are checked; the others are not imported. Default: all.

    Raises:
        UserError: the file is missing or is not valid TOML, or a key, value, method, setting, metric or backbone is
            unknown; the message names the file, the line and the nearest valid name.
    """
    return _load(_find(name_or_path, None, None), (), _Reading(partial(check, methods=methods)))


def read_suite(name_or_path: str, *, methods: Collection[str] | None = None) -> Suite:
    """Load a suite as :func:`load_suite`, without importing what it names: fewer mistakes are seen, but at once."""
    return _load(_find(name_or_path, None, None), (), _Reading(partial(check_sources, methods=methods)))


@dataclass
class _Reading:
    """Reading of one suite with all files that it names."""

    check: Callable[[Suite], list[SuiteProblem]]
    n_files: int = 0

    def read(self, file: Path, above: tuple[Path, ...]) -> TomlTable:
        """Read one more file; those of ``above`` name it."""
        self.n_files += 1
        if self.n_files > MOST_FILES or len(above) > MOST_FILES_DEEP:
            raise UserError(
                f"{above[0].name}: a suite may consist of {MOST_FILES} files, {MOST_FILES_DEEP} of them based on each "
                f"other; these are more, the last one is {file.name}."
            )
        return _read(file, above)


def _load(file: Path, above: tuple[Path, ...], reading: _Reading) -> Suite:
    values = _resolved(reading.read(file, above), file, (*above, file), reading)
    if "parts" in values:
        return _of_parts(values, file, (*above, file), reading)
    if "extra" in values:
        # A parsed suite keeps the sections of plugins under `extra`; in a file they stand beside the others.
        raise _error(values, "extra", f"There is no setting 'extra'. {did_you_mean('extra', keys_at(Suite, ()))}")
    suite = parse_suite(values, source=file.name)
    if problems := reading.check(suite):
        raise error_of(problems, values, file.name)
    return suite


def _of_parts(values: TomlTable, file: Path, above: tuple[Path, ...], reading: _Reading) -> Suite:
    names = _names(values, "parts")
    problems = [
        SuiteProblem(
            (key,), f"{key!r} cannot be combined with parts, which have their own; only name and description can."
        )
        for key in values
        if key not in ("name", "description", "parts")
    ]
    if problems:
        raise error_of(problems, values, file.name)
    files = [_find(name, file, line_at(values, ("parts", number))) for number, name in enumerate(names)]
    parts = tuple(_load(part, above, reading) for part in files)
    return parse_suite(TomlTable({**values, "parts": parts}, values.value_lines, values.line), source=file.name)


def _resolved(table: TomlTable, file: Path, above: tuple[Path, ...], reading: _Reading) -> TomlTable:
    """Return the values of a file, merged over those of the suite that it extends."""
    replaces = _names(table, "replaces") if "replaces" in table else []
    if wrong := [name for name in replaces if name not in MERGED]:
        sentence = f"replaces = {wrong!r}: only the lists targets and methods are merged otherwise."
        raise _error(table, "replaces", sentence)
    if "extends" in table:
        name = table["extends"]
        if not isinstance(name, str) or not name:
            raise _error(table, "extends", f"extends = {name!r}: give the name of one suite or the path of its file.")
        base_file = _find(name, file, line_at(table, ("extends",)))
        base = _resolved(reading.read(base_file, above), base_file, (*above, base_file), reading)
        if "parts" in base:
            raise _error(table, "extends", f"{name!r} is made of parts: extend one of them, or list it in parts.")
        table = merge(base, table)
    elif replaces:
        raise _error(table, "replaces", "replaces needs extends.")
    values = {key: value for key, value in table.items() if key not in ("extends", "replaces")}
    return TomlTable(values, table.value_lines, table.line)


def _names(values: TomlTable, key: str) -> list[str]:
    names = values[key]
    if not (isinstance(names, list) and names and all(isinstance(name, str) and name for name in names)):
        raise _error(values, key, f'{key} = {names!r}: it must be a list of names, as in {key} = ["one", "two"].')
    return list(names)


def _error(values: TomlTable, key: str, sentence: str) -> UserError:
    return error_of([SuiteProblem((key,), sentence)], values, values.line.source)


def _find(name: str, beside: Path | None, line: TomlLine | None) -> Path:
    """Return the file of a suite named on the command line, or in another file (paths are relative to that one)."""
    start = f"{line}: " if line else ""
    try:
        file = Path(name).expanduser()
        if name.endswith(".toml"):
            file = file if beside is None else beside.parent / file
            if not file.is_file():
                raise UserError(f"{start}There is no suite file {name!r}.")
            return file
        # A name refers to the folder of suites only.
        file = SUITES / f"{name}.toml"
        if file.parent == SUITES and file.is_file() and (beside is not None or not name.startswith(FRAGMENT)):
            return file
    except PermissionError as error:
        raise UserError(f"{start}The suite file {name!r} cannot be read ({error.strerror}).") from error
    except (OSError, ValueError, RuntimeError):
        pass  # not a valid file name
    raise UserError(
        f"{start}There is no suite {name!r}. {did_you_mean(name, suite_names())} "
        "To use your own file, give its path, which must end in .toml."
    )


def _read(file: Path, above: tuple[Path, ...]) -> TomlTable:
    if file.resolve() in [other.resolve() for other in above]:
        chain = " -> ".join([*(other.name for other in above), file.name])
        raise UserError(f"{above[-1].name}: the suites include each other in a circle: {chain}.")
    try:
        # Some editors write a byte order mark at the start of a file.
        content = read_limited(file).removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise UserError(f"{file.name}: the file cannot be read ({error.strerror or type(error).__name__}).") from error
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{file.name}, line {line}: the byte 0x{content[error.start]:02x} is not valid UTF-8; save it as UTF-8."
        ) from error
    require_short_keys(text, file.name)
    try:
        table = read_toml(text, file.name)
    except (ValueError, RecursionError) as error:
        raise UserError(_syntax(error, text, file.name)) from error
    if problem := value_problem(table):
        raise error_of([SuiteProblem(*problem)], table, file.name)
    return table


def _syntax(error: Exception, text: str, source: str) -> str:
    if isinstance(error, RecursionError):
        return f"{source}: not valid TOML: values are nested too deeply."
    if not isinstance(error, tomllib.TOMLDecodeError):
        return f"{source}: not valid TOML: a number in it is too long."
    message = str(error)
    match = re.search(r"^(.*?) \(at line (\d+), column \d+\)$", message, re.DOTALL)
    reason, line = (match[1], int(match[2])) if match else (message, text.count("\n") + 1)
    if not match:
        reason = re.sub(r" \(at end of document\)$", " (the file ends there)", message)
    hint = _HINTS.get(reason.split(" (")[0], "")
    return f"{source}, line {line}: not valid TOML: {reason}.{hint}"


_HINTS: dict[str, str] = {
    "Invalid value": " Put text in quotes, write true and false in lower case; instead of null, leave the key out.",
    "Cannot overwrite a value": " The key occurs twice: remove one.",
    "Illegal character '\\n'": " A closing quote is missing.",
    "Unterminated string": " A quote is missing.",
    "Unclosed array": " A square bracket is missing.",
}

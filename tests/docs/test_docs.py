"""The pages against the code: every command, flag, file, link and name in them is real."""

from __future__ import annotations

import ast
import functools
import importlib
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from documents import (
    COMMANDS,
    PLACEHOLDER,
    ROOT,
    SHELL,
    VERBS,
    Command,
    blocks,
    pages,
    parsed,
    prose,
    shell_lines,
    spans,
)

from harness.suites import Suite, parse_suite, suite_names

pytestmark = pytest.mark.run

try:  # typer brings its own copy of click
    from typer._click import exceptions
except ImportError:
    from click import exceptions  # type: ignore[no-redef]

PAGES = pages()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_is_understood(page: Path) -> None:
    wrong = []
    for command in COMMANDS:
        if command.page != page:
            continue
        try:
            options = parsed(command)
        except exceptions.UsageError as error:
            wrong.append(f"{command}: {error.format_message()}")
            continue
        wrong += [f"{command}: {problem}" for problem in unknown_names(command, options)]
    assert not wrong, "\n".join(wrong)


def test_the_parser_would_notice() -> None:
    """The check itself, on commands that are wrong."""
    for words in (["rnu"], ["run", "--suit", "demo"], ["run", "--evaluation", "many"], ["list", "methodds"], ["new"]):
        with pytest.raises(exceptions.UsageError):
            parsed(Command(ROOT / "README.md", 1, tuple(words), None, False))
    for words in (
        ["run", "--suite", "dmo"],
        ["list", "sites", "--backbone", "efficientnet"],
        ["export", "x.md", "--y", "r3"],
    ):
        command = Command(ROOT / "README.md", 1, tuple(words), None, False)
        assert unknown_names(command, parsed(command)), words


def unknown_names(command: Command, options: dict[str, Any]) -> list[str]:
    """Names of suites, methods, metrics and backbones in a command that nothing has."""
    from harness.backbones import BACKBONES
    from methods import METHODS

    known: dict[str, Any] = {
        "suite": [*suite_names(), *(file.stem for file in (ROOT / "harness" / "suites").glob("*.toml"))],
        "family": METHODS.names(),
        "metric": metric_names(),
        "sort": metric_names(),
        "x": metric_names(),
        "y": metric_names(),
        "backbone": BACKBONES.names(),
    }
    problems = []
    for key, names in known.items():
        values = options.get(key)
        for value in values if isinstance(values, list | tuple) else [values]:
            own = not isinstance(value, str) or PLACEHOLDER.search(value) or re.search(r"[:/]|\.toml$", value)
            if not own and value not in names:
                problems.append(f"there is no {key} {value!r}")
    return problems


@functools.cache
def metric_names() -> set[str]:
    """Every score that a metric gives: whatever stands in quotes in their files."""
    text = "\n".join(
        file.read_text()
        for folder in ("harness/metrics", "harness/judging", "harness")
        for file in (ROOT / folder).glob("*.py")
    )
    return set(re.findall(r"f?\"([a-z][a-z0-9_]+)[\"{]", text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    wrong = []
    for line, text in prose(page):
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            file, _, anchor = target.partition("#")
            found = (page.parent / file).resolve() if file else page
            if not found.exists():
                wrong.append(f"line {line}: there is no {target}")
            elif anchor and anchor not in anchors(found):
                wrong.append(f"line {line}: {found.name} has no section #{anchor}")
    assert not wrong, "\n".join(wrong)


def anchors(page: Path) -> set[str]:
    titles = [found[1] for _, line in prose(page) if (found := re.match(r"#+\s+(.*)$", line))]
    return {re.sub(r"[^\w\- ]", "", title.lower().replace("`", "")).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_module_and_flag_exists(page: Path) -> None:
    flags = {
        flag
        for verb in VERBS.values()
        for parameter in verb.params
        for flag in (*parameter.opts, *parameter.secondary_opts)
    }
    flags |= {"--help", *re.findall(r'parser\.addoption\(f?"(--\w+)"', (ROOT / "tests/conftest.py").read_text())}
    flags |= {"--slow", "--gpu", "--browser"}
    groups = entry_point_groups()
    wrong = []
    for line, span in spans(page):
        word = span.split(" ")[0].split(":")[0]
        if re.fullmatch(r"(harness|methods|judges|results|tests|docs|benchmarks|examples)/[\w./*-]*", word):
            if not list(ROOT.glob(word.rstrip("/"))):
                wrong.append(f"line {line}: there is no file {word}")
        elif re.fullmatch(r"(harness|methods|judges|results)(\.(?!duckdb)\w+)+(\(.*)?", span):
            name = span.split("(")[0]
            if name not in groups and not importable(name):
                wrong.append(f"line {line}: there is no {name}")
        elif re.fullmatch(r"--[a-z][\w-]*( [A-Z\d\[a-z].*)?", span) and word not in flags:
            wrong.append(f"line {line}: no verb has {word}")
    assert not wrong, "\n".join(wrong)


@functools.cache
def entry_point_groups() -> set[str]:
    """Every ``"harness.NAME"`` of the code."""
    folders = ("harness", "methods", "judges", "results", "tests", "benchmarks", "examples")
    return {
        name
        for folder in folders
        for file in (ROOT / folder).rglob("*.py")
        for name in re.findall(r'"(harness\.\w+)"', file.read_text())
    }


def importable(name: str) -> bool:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[length:]:
            fields = getattr(found, "model_fields", {})
            if attribute not in fields and not hasattr(found, attribute):
                return False
            found = getattr(found, attribute, None)
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_in_the_pages_is_real(page: Path) -> None:
    """Python blocks compile and what they import exists; TOML blocks are suites, or parts of one."""
    for block in blocks(page):
        where = f"{page.name}, line {block.line}"
        if block.language == "python":
            for node in ast.walk(ast.parse(block.text, where)):
                if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in (
                    "harness",
                    "methods",
                    "results",
                    "judges",
                ):
                    for alias in node.names:
                        assert importable(f"{node.module}.{alias.name}"), f"{where}: {node.module}.{alias.name}"
        elif block.language == "toml":
            values = tomllib.loads(block.text)
            if "project" in values or "tool" in values:
                continue  # a pyproject.toml
            written = {"targets": [{"backbone": "tiny_vit"}], "methods": [{"name": "identity"}], **values}
            values = {key: value for key, value in written.items() if key not in ("extends", "parts", "replaces")}
            assert isinstance(parse_suite({"name": "block", **values}, source=where), Suite)


def test_make_targets_and_extras_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    for page in PAGES:
        lines = [
            (line, words) for block in blocks(page) if block.language in SHELL for line, words in shell_lines(block)
        ]
        lines += [(line, span.split(" ")) for line, span in spans(page)]
        for line, words in lines:
            if words[0] == "make" and len(words) > 1:
                assert words[1] in targets, f"{page.name}, line {line}: make {words[1]}"
        for found in re.findall(r"disentanglement-harness\[([\w,]+)\]", page.read_text()):
            assert set(found.split(",")) <= extras, f"{page.name}: {found}"


def test_everything_there_is_is_in_some_page() -> None:
    from harness.metrics.base import METRICS
    from methods import METHODS

    text = "\n".join(page.read_text() for page in PAGES)
    mentioned = set(re.findall(r"[a-z][a-z0-9_]+", text))
    shipped = {entry.name for entry in METHODS if entry.source.startswith("methods")} or set(METHODS.names())
    # What a fit leaves as evidence of its properties is no metric that a reader asks for.
    metrics = {name for name in METRICS.names() if not name.startswith("evidence_")}
    missing = (shipped | metrics | set(suite_names())) - mentioned
    # The parts of Table 6 are named as such.
    assert not {name for name in missing if not name.startswith("table6_") and name not in ("tiny_method",)}


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_help_with_an_example_that_works_and_is_listed(verb: str) -> None:
    command = VERBS[verb]
    assert command.help and command.help[0].isupper()
    assert all(
        parameter.help
        for parameter in command.params
        if parameter.param_type_name == "option" and parameter.name != "help"
    )
    examples = [
        text.removeprefix("harness ")
        for text in re.split(r"^Example: |; |\. And[^:]*: ", command.epilog or "")
        if text.startswith("harness ")
    ]
    assert (command.epilog or "").startswith("Example: harness ") and examples, verb
    listed = (ROOT / "docs" / "verbs.md").read_text()
    assert f"`harness {verb}`" in listed, f"docs/verbs.md does not list {verb}"
    own = [c for c in COMMANDS if c.page.name == "verbs.md" and c.verb == verb and not c.inline]
    assert own, f"docs/verbs.md has no example of {verb}"
    for text in examples:
        example = Command(ROOT / "README.md", 1, tuple(text.split()), None, False)
        assert example.verb == verb
        assert not unknown_names(example, parsed(example)), text


def test_the_reference_names_what_exists() -> None:
    """`::: MODULE` with its `members: [A, B]`, if it has any."""
    text = (ROOT / "docs/api.md").read_text()
    entries = re.findall(r"^::: (\S+)\n(?:    options:\n      members: \[(.*)\])?", text, re.MULTILINE)
    assert len(entries) == text.count("::: ") > 5
    names = [f"{module}.{member}" for module, members in entries for member in re.split(r", *", members) if member]
    assert [name for name in [*names, *(module for module, _ in entries)] if not importable(name)] == []
    # Of a name that is only imported, mkdocstrings shows nothing.
    imported = []
    for name in names:
        module, _, member = name.rpartition(".")
        home = getattr(getattr(importlib.import_module(module), member), "__module__", module)
        imported += [name] if home != module else []
    assert imported == []

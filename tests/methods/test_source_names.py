"""Names and settings read from source code are those of the registries, which import it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import methods
from harness.datasets import DATASETS
from harness.executors import EXECUTORS
from harness.metrics import METRICS
from harness.training_logs import TRAINING_LOGS
from judges.panel import PANELS
from methods.registry import Registry
from methods.source_names import registered_names, registrations, tree_of
from methods.source_settings import setting_names, wrong_values

REGISTRIES: list[Registry[Any]] = [methods.METHODS, METRICS, DATASETS, PANELS, EXECUTORS, TRAINING_LOGS]


def is_ours(target: Any) -> bool:
    """Return True for a class or function of these packages, and for the location of one."""
    module = target if isinstance(target, str) else str(getattr(target, "__module__", ""))
    return module.split(".")[0] in ("harness", "judges", "methods")


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_names_in_the_source_are_those_registered(registry: Registry[Any]) -> None:
    registry.discover()
    # Other tests of this process register more, and planted layers three methods.
    built_in = {name for name, entry in registry.entries.items() if is_ours(entry.target)}
    assert registered_names(registry.package) == built_in - {"oracle", "collapsed", "absorbing"}


@pytest.mark.parametrize("name", sorted(registered_names("methods") or ()))
def test_settings_in_the_source_are_those_of_the_class(name: str) -> None:
    config = methods.METHODS.get(name).Config
    assert setting_names("methods", name) == list(config.model_fields)
    for key in config.model_fields:
        for value in ("no number", -1, 0, 2.5, None, True):
            try:
                config(**{key: value})
                errors = []
            except ValidationError as error:
                errors = [(one["loc"], one["msg"]) for one in error.errors() if one["loc"]]
            from_source = [(problem["loc"], problem["msg"]) for problem in wrong_values("methods", name, {key: value})]
            # The source may not show a rule, but what it shows is the rule.
            assert set(from_source) <= set(errors), key
    assert wrong_values("methods", name, {}) == []


def test_most_mistakes_are_seen_in_the_source() -> None:
    for name, key, value in (
        ("elude", "top_k", "abc"),
        ("elude", "winner_rule", "x"),
        ("topk_sae", "k", 0),
        ("topk_sae", "learning_rate", -1),
        ("random_split", "parts", 0),
        ("dnrwcv", "centred", "x"),
    ):
        assert len(wrong_values("methods", name, {key: value})) == 1, (name, key)


def test_what_the_source_does_not_say_is_not_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for number, text in enumerate(
        (
            'for size in ("a", "b"):\n    REGISTRY.add(f"x_{size}", 1)',
            "@register\nclass X:\n    spec = make_spec()",
            "REGISTRY.add(NAME, 1)",
        )
    ):
        package = tmp_path / f"unclear_{number}"
        package.mkdir()
        (package / "one.py").write_text(text)
        assert registered_names(package.name) is None
    clear = tmp_path / "clear_names"
    clear.mkdir()
    (clear / "one.py").write_text('REGISTRY.add("x", 1)\nvalues = set()\nvalues.add(3)\n')
    (clear / "two.py").write_text('@REGISTRY.register("y")\nclass Y:\n    pass\n')
    assert registered_names("clear_names") == {"x", "y"} and registrations("clear_names") is not None
    assert setting_names("clear_names", "y") is None and tree_of("clear_names.none").body == []


def test_nothing_is_imported() -> None:
    code = """
        import sys
        from methods.source_names import registered_names
        from methods.source_settings import setting_names
        assert "elude" in registered_names("methods") and "r2" in registered_names("harness.metrics")
        assert "top_k" in setting_names("methods", "elude")
        assert not {"torch", "numpy", "pandas"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, cwd=Path(__file__).parents[2])

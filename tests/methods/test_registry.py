"""Registry: looking one entry up imports only the modules that may register it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

from methods import METHODS
from methods.errors import UserError
from methods.registry import Registry, did_you_mean

pytestmark = pytest.mark.run


def imported_after(code: str) -> set[str]:
    """Modules in memory after running ``code`` in a fresh process."""
    program = f"{code}\nimport sys\nprint('modules:', *sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(result.stdout.split("modules:")[1].split())


def test_a_suite_reduced_to_one_method_imports_no_other() -> None:
    modules = imported_after("import harness; harness.load_suite('demo', methods=('topk_sae',))")
    assert "methods.sae.topk" in modules
    assert not {
        name
        for name in modules
        if name.startswith(("methods.elude", "methods.dnrwcv", "methods.sae.jumprelu_gradient"))
    }


def test_every_method_is_found_without_importing_all() -> None:
    # Other tests of this process register methods of plugins.
    names = [entry.name for entry in METHODS if entry.load().__module__.startswith("methods.")]
    code = f"from methods import METHODS\nfor name in {names}: METHODS.get(name)\nassert not METHODS._discovered"
    assert "methods.elude.method" in imported_after(code)


def package_of(folder: Path, name: str, **modules: str) -> Registry[int]:
    """A registry over a new package ``name`` with these modules, which register by its attribute ``R``."""
    package = folder / name
    package.mkdir()
    (package / "__init__.py").write_text(
        f"from methods.registry import Registry\nR = Registry('thing', 'none.things', package='{name}')\n"
    )
    for module, code in modules.items():
        (package / f"{module}.py").write_text(f"from {name} import R\n{code}\n")
    return __import__(name).R


def test_only_modules_with_the_name_are_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    things = package_of(tmp_path, "things_by_name", a="R.add('one', 1)", b="R.add('two', 2)  # not 'one'", c="1 / 0")
    assert things.get("one") == 1
    assert "things_by_name.a" in sys.modules and "things_by_name.b" not in sys.modules
    assert things.get("two") == 2


def test_a_name_that_is_computed_is_found_by_importing_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    things = package_of(tmp_path, "things_computed", a="for n in (1, 2): R.add(f'thing_{n}', n)")
    assert things.get("thing_2") == 2
    with pytest.raises(UserError, match="Did you mean thing_2 or thing_1"):
        things.get("thing_3")


@pytest.mark.slow
def test_a_plugin_cannot_take_the_name_of_a_method_that_is_not_imported_yet(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text(
        "import methods\nfrom methods.base import Method, MethodSpec\n\n@methods.register\nclass Mine(Method):\n"
        "    spec = MethodSpec(name='topk_sae', title='Mine', family='mine', reads='output', reference='none')\n"
    )
    code = (
        "from pathlib import Path\nfrom methods.errors import UserError\nfrom harness.plugins import load_plugin\n"
        f"try:\n    load_plugin(Path({str(plugin)!r}))\nexcept UserError as error:\n    print(error)"
    )
    program = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "'topk_sae' is registered twice" in program.stdout and "plugin.py" in program.stdout


def test_a_long_list_of_names_is_cut_off_or_omitted() -> None:
    assert did_you_mean("alpa", ["alpha", "beta"]) == "Did you mean alpha? There are alpha, beta."
    many = [f"method_number_{number}" for number in range(40)]
    assert did_you_mean("method_number_x", many).startswith("Did you mean method_number_")
    assert "There are" not in did_you_mean("method_number_x", many)
    cut = did_you_mean("q", many)
    assert cut.startswith("There are method_number_0, ") and len(cut) < 200
    listed = cut.count("method_number_")
    assert cut.endswith(f", and {40 - listed} more.")

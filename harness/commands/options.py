"""Options of the command line that several verbs share, one by one and as option groups (dataclasses)."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from rich.markup import escape

from harness.errors import UserError
from harness.evaluation.store_path import DEFAULT_STORE
from methods.registry import did_you_mean
from results.location import require_location

if TYPE_CHECKING:
    from harness.suites.resolve import ResolvedSuite
    from results import Store

#: Largest seed of NumPy's generators.
MOST_SEED = 2**32 - 1
#: Number of processes or cells at a time that can be asked for, on a whole cluster.
MOST_PROCESSES = 100_000


def _checked_store(store: Path) -> Path:
    """Refuse what cannot be a store before torch and DuckDB are imported."""
    require_location(store)
    return store


StoreOption = Annotated[
    Path,
    typer.Option("--store", envvar="HARNESS_STORE", help="DuckDB file of the results.", callback=_checked_store),
]
PluginOption = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="Python file of a plugin (method, metric, judge panel, ...); repeatable."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
MetricOption = Annotated[list[str] | None, typer.Option("--metric", help="Only this metric; repeatable; default: all.")]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        help="Weights of a weighted score, METRIC=WEIGHT,..., or balanced, faithful, interpretable or cheap; default: "
        "no such score."
    ),
]
DatasetOption = Annotated[
    str | None,
    typer.Option("--dataset", help="Images: photos, folder:PATH (class folders) or hf:NAME; default: the suite's."),
]
SettingOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Setting of the suite, KEY=VALUE, e.g. method.elude.top_k=60000; repeatable."),
]
ScaleOption = Annotated[
    str | None,
    typer.Option(
        "--scale",
        help="tiny: small cells on packaged weights and photographs, to test that a suite runs; rehearsal (of harness "
        "run): a share of the work at real shapes, to measure its time; default: full size.",
    ),
]

#: Arguments of `resolve_suite` whose names differ from those of the options.
_ARGUMENT_NAMES = {
    "setting": "settings",
    "method": "methods",
    "token_seed": "token_seeds",
    "dictionary": "dictionaries",
}


def require_paths(dataset: str | None, checkpoint: Path | None) -> None:
    """Check how ``--dataset`` is written, and that its folder and the file of ``--checkpoint`` exist.

    Raises:
        UserError: if one is wrong or missing.
    """
    kind, _, folder = (dataset or "").partition(":")
    if kind in ("photos", "synthetic") or (kind in ("folder", "hf") and not folder):
        from harness.datasets import load

        load(dataset or "")  # raises for a wrong number or a missing name
    if kind == "imagenet" and folder and not Path(folder).expanduser().is_dir():
        raise UserError(
            f"--dataset {dataset}: there is no folder {folder!r}. Use the folder that holds train/ and val/."
        )
    if kind == "folder" and not Path(folder).expanduser().is_dir():
        raise UserError(
            f"--dataset {dataset}: there is no folder {folder!r}. Use a folder with one sub-folder per class: "
            "--dataset folder:PATH."
        )
    if checkpoint is not None and not checkpoint.expanduser().exists():
        raise UserError(f"--checkpoint {checkpoint}: there is no file {str(checkpoint)!r}. Use existing weights.")


@dataclasses.dataclass(frozen=True)
class CellFilter:
    """Options that select cells of a store."""

    store: StoreOption = DEFAULT_STORE
    backbone: Annotated[str | None, typer.Option(help="Only cells of this backbone; default: all.")] = None
    site: Annotated[str | None, typer.Option(help="Only cells of this site; default: all.")] = None

    @property
    def filters(self) -> dict[str, str | None]:
        """Wanted value per column of the cells; None: any."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "store"}

    def open(self) -> Store:
        """Open the store for reading.

        Raises:
            StoreError: there is no such store.
            UserError: no cell has the value of a filter.
        """
        from results.store import open_store

        store = open_store(self.store)
        wanted = {name: value for name, value in self.filters.items() if value is not None}
        if wanted:
            rows = store.query(f"SELECT DISTINCT {', '.join(wanted)} FROM cells")
            for name, value in wanted.items():
                stored = sorted(map(str, rows[name].dropna().unique()))
                if value not in stored:
                    raise UserError(f"--{name} {value}: no cell in this store has it. {did_you_mean(value, stored)}")
        return store


@dataclasses.dataclass(frozen=True)
class SuiteCellFilter(CellFilter):
    """Options that select cells of a store, the suite included."""

    suite: Annotated[str | None, typer.Option(help="Only cells first run for this suite; default: all.")] = None


@dataclasses.dataclass(frozen=True)
class SuiteOptions:
    """Options that select a suite and change it."""

    suite: Annotated[str, typer.Option(help="Name of a suite, or path of a .toml file.")] = "demo"
    dataset: DatasetOption = None
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Backbone: a name of `harness list backbones`, or timm:, hf: or vlm:NAME; default: the suite's."
        ),
    ] = None
    setting: SettingOption = None

    def choose(self, **overrides: Any) -> ResolvedSuite:
        """Load the suite and apply the options.

        Args:
            overrides: further arguments of :func:`harness.suites.resolve.resolve_suite`.

        Raises:
            UserError: an unknown suite, key or value.
        """
        from harness.suites.resolve import resolve_suite

        # Before torch is imported; what else a suite needs is checked before it is run.
        require_paths(self.dataset, getattr(self, "checkpoint", None))
        options = self.arguments()
        return resolve_suite(options.pop("suite"), **options, **overrides)

    def arguments(self) -> dict[str, Any]:
        """Return the options that are given as arguments of `resolve_suite`, the name of the suite as `suite`."""
        return {
            _ARGUMENT_NAMES.get(name, name): tuple(value) if isinstance(value, list) else value
            for name, value in vars(self).items()
            if value not in (None, [])
        }


@dataclasses.dataclass(frozen=True)
class LayerOptions(SuiteOptions):
    """Options that select a suite, with the layer of a backbone."""

    checkpoint: Annotated[
        Path | None, typer.Option(help="Local weights of the backbone, .safetensors or .pth; default: the suite's.")
    ] = None
    site: Annotated[
        str | None, typer.Option(help="Module path of the layer, e.g. blocks.11.mlp.fc2; default: the suite's.")
    ] = None


@dataclasses.dataclass(frozen=True)
class ComputeOptions:
    """Options that say where results and tokens are stored, and which device computes."""

    store: StoreOption = DEFAULT_STORE
    cache: Annotated[Path | None, typer.Option(help="Folder of cached tokens; default: cache/ beside the store.")] = (
        None
    )
    device: Annotated[str, typer.Option(help="Device that computes: auto, cpu, cuda or cuda:N.")] = "auto"

    def __post_init__(self) -> None:
        from harness.devices import require_device_name

        require_device_name(self.device)


#: Name -> function of the verb and the examples below its help; filled by :func:`verb`.
VERBS: dict[str, tuple[Callable[..., None], tuple[str, ...]]] = {}


def verb(*examples: str, name: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function a verb of the command line (decorator).

    Args:
        examples: command lines that are shown below the help.
        name: name of the verb; default: that of the function.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        VERBS[name or command.__name__] = command, examples
        return command

    return decorate


def add_verb(app: typer.Typer, name: str, command: Callable[..., None], examples: Sequence[str]) -> None:
    """Add a verb to the command line.

    A parameter whose type is an option group becomes one option per field of the group. The docstring is the help;
    brackets in it are text, not markup.
    """
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for key, item in signature.parameters.items():
        if dataclasses.is_dataclass(item.annotation):
            groups[key] = item.annotation
            hints = get_type_hints(item.annotation, include_extras=True)
            members = inspect.signature(groups[key]).parameters.values()
            parameters += [member.replace(annotation=hints[member.name], kind=item.KEYWORD_ONLY) for member in members]
        else:
            parameters.append(item.replace(kind=item.KEYWORD_ONLY))

    @functools.wraps(command)
    def call(**values: Any) -> None:
        _require_finite(values)
        for key, group in groups.items():
            values[key] = group(**{field.name: values.pop(field.name) for field in dataclasses.fields(group)})
        command(**values)

    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    # typer keeps the line ends of all paragraphs but the first.
    paragraphs = (inspect.getdoc(command) or "").split("\n\n")
    text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    app.command(name, help=escape(text), epilog=escape(f"Example: {'; '.join(examples)}"))(call)


def _require_finite(values: Mapping[str, Any]) -> None:
    """Refuse NaN, which no range of an option excludes: it is neither below nor above a number."""
    for key, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"--{key.replace('_', '-')} {value}: it must be a finite number.")


def load_plugins(files: list[Path] | None) -> list[str]:
    """Import plugin files and return the names of the methods they registered.

    Raises:
        UserError: a file is missing, raises, or registers nothing.
    """
    if not files:
        return []
    from methods.plugin_files import require_plugin_file

    for file in files:
        require_plugin_file(file)
    from harness.plugins import load_plugin

    return [name for file in files for kind, name in load_plugin(file) if kind == "method"]

"""Requirements of a suite on this machine. No weights are loaded, no images are read, nothing is downloaded."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import socket
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from harness.activations.heads import HEADS
from harness.doctor.base import Check, Need
from harness.identity import canonical
from harness.suites import MethodEntry, Suite, Target
from methods.base import make_config
from methods.errors import UserError
from results.byte_sizes import size_text

if TYPE_CHECKING:
    from harness.activations.heads.base import HeadWeights
    from harness.backbones import Source
    from methods.base import Method, MethodConfig

#: Remedy for a missing cuML, if a method needs it for UMAP.
CUML_UMAP = (
    'pip install "disentanglement-harness[cuml]" on a machine with an NVIDIA GPU, or leave it out with --skip-missing. '
    "umap-learn needs no GPU and takes days on one CPU thread at the paper's size: "
    "--set method.elude.umap_backend=umap-learn"
)

#: Number of images in the grid that a judge is shown.
GRID = 9


def needs(suite: Suite) -> list[Need]:
    """Return all requirements of a suite, each once."""
    unique: dict[tuple[str, str], Need] = {}
    for leaf in suite.leaves:
        for need in (*_images(leaf), *_backbones(leaf), *_heads(leaf), *_methods(leaf), *_judges(leaf)):
            unique.setdefault((need.check.what, need.key), need)
    return list(unique.values())


def backbone_key(target: Target) -> str:
    """Return the key that identifies the weights of a target."""
    return canonical({"backbone": target.backbone, "checkpoint": target.checkpoint, "weights": target.weights})


def head_key(target: Target) -> str:
    """Return the key that identifies the head of a target."""
    return canonical({"of": backbone_key(target), "head": target.head, "settings": target.head_settings})


def method_key(entry: MethodEntry) -> str:
    """Return the key that identifies a method with its settings."""
    return canonical({"name": entry.name, "config": entry.config})


def _has(module: str) -> bool:
    """Return True if a module is installed."""
    return importlib.util.find_spec(module) is not None


def _images(suite: Suite) -> Iterator[Need]:
    other = suite.data.evaluation_set
    for spec in (suite.data.dataset, *([] if other is None else [other])):
        reason, remedy = _missing_images(spec)
        yield Need(Check(f"images {spec}", not reason, True, reason or spec, remedy), "all")


def _missing_images(spec: str) -> tuple[str, str]:
    """Return the reason and the remedy if an image set is not on this machine, else two empty texts."""
    kind, _, identifier = spec.partition(":")
    if kind == "imagenet":
        from harness.datasets.imagenet import REMEDY, VARIABLE, absent_splits

        path = identifier or os.environ.get(VARIABLE, "")
        if not path:
            return f"{VARIABLE} is not set", REMEDY
        if not Path(path).expanduser().is_dir():
            return f"there is no folder {path!r}", REMEDY
        absent = absent_splits(path)
        if absent:
            return f"the folder has no {' and no '.join(absent)}/", REMEDY
    elif kind == "folder" and not (identifier and Path(identifier).expanduser().is_dir()):
        return (
            f"there is no folder {identifier!r}",
            "Use a folder with one sub-folder per class: --dataset folder:PATH.",
        )
    elif kind == "hf" and not _has("datasets"):
        return "the package datasets is not installed", 'pip install "disentanglement-harness[hf]"'
    elif kind in ("clipart", "openmoji", "stamps", "textiles"):
        from harness import datasets

        try:
            datasets.load(spec)  # lists file names
        except UserError as error:
            return "not on this machine", str(error)
    return "", ""


def _backbones(suite: Suite) -> Iterator[Need]:
    for target in suite.targets:
        state, remedy = _weights(target) or ("here", "")
        ok = not remedy
        yield Need(Check(f"weights of {target.backbone}", ok, True, state, remedy), "backbone", backbone_key(target))


def _weights(target: Target) -> tuple[str, str] | None:
    """Return None if the weights are on this machine, else a description of their state and the remedy.

    The remedy is empty if the weights will be downloaded.
    """
    from harness import backbones
    from harness.backbones.sources.base import EXTRAS

    prefix, colon, identifier = target.backbone.partition(":")
    source = None if colon else backbones.BACKBONES.get(target.backbone)
    registered = source or (backbones.PREFIXES.get(prefix) if colon else None)
    packages = registered.requires if registered else ()
    missing = [package for module, package in packages if not _has(module)]
    files = _files(target, source, prefix if colon else "", identifier)
    if missing:
        absent = f"the package {', '.join(missing)} is not installed"
        extra = EXTRAS.get(missing[0]) if len(missing) == 1 else None
        fetch = f'pip install "disentanglement-harness[{extra}]"' if extra else f"pip install {' '.join(missing)}"
        # Missing weights are reported together with the missing package, not only after it is installed.
        return (f"{absent}, and they are {files[0]}", f"{fetch}. {files[1]}") if files and files[1] else (absent, fetch)
    return files


def _files(target: Target, source: Source | None, prefix: str, identifier: str) -> tuple[str, str] | None:
    """Check the weights as :func:`_weights` does, without the packages."""
    from harness.backbones import PREFIXES, built_from
    from harness.backbones.sources.base import resolve
    from harness.backbones.sources.huggingface_folders import is_path

    if target.checkpoint is not None:
        if not Path(target.checkpoint).expanduser().exists():
            return f"there is no file {target.checkpoint!r}", "Use the path of existing weights."
        return None
    if not target.weights:
        return None
    registered_prefix = PREFIXES.get(prefix) if prefix else None
    if registered_prefix is not None and registered_prefix.built_from is not None:
        real = built_from(target.backbone)
        return None if real is None else _weights(target.model_copy(update={"backbone": real}))
    if source is not None:
        cached = not source.hub or (source.cached is not None and source.cached())
    elif prefix in ("torchhub", "hf", "vlm") and _local_folder(prefix, identifier):
        return None
    elif prefix in ("hf", "vlm") and is_path(identifier):
        remedy = f"Use {prefix}:OWNER/NAME, or {prefix}:PATH of an existing folder."
        return f"there is no folder {identifier!r}", remedy
    elif prefix == "torchhub":
        cached = False
    elif registered_prefix is not None and registered_prefix.cached is not None:
        cached = bool(resolve(registered_prefix.cached)(identifier))
    else:
        from harness.backbones.sources.hub import in_huggingface_cache

        cached = in_huggingface_cache(f"timm/{identifier}" if prefix == "timm" else identifier)
    if cached:
        return None
    if prefix == "timm" and (unknown := _unknown_timm(identifier)):
        return unknown, "Correct the name: timm:NAME or timm:NAME.TAG."
    host = _host(target.backbone, prefix)
    if reachable(host) and not (host == huggingface_host() and offline()):
        return f"not on this machine; will be downloaded from {host}", ""
    name = target.backbone
    local = f"target.{name}.checkpoint=FILE" if name.isidentifier() else f"'target.\"{name}\".checkpoint=FILE'"
    return (
        f"not on this machine, and {host} cannot be reached",
        f"Run with network access to download them, or use local ones: --set {local}",
    )


def _unknown_timm(name: str) -> str:
    """Return the sentence for a name that timm does not have, else an empty text."""
    if not _has("timm"):
        return ""
    from harness.backbones.sources.timm import check_name

    try:
        check_name(name)
    except UserError as error:
        return str(error).removesuffix(".")
    return ""


def _local_folder(prefix: str, identifier: str) -> bool:
    """Return True if the identifier is a folder of this machine: a clone for torch.hub, a model for Hugging Face."""
    path = identifier.rpartition(":")[0] if prefix == "torchhub" else identifier
    return bool(path) and Path(path).expanduser().is_dir()


def _host(backbone: str, prefix: str) -> str:
    if prefix == "torchhub":
        return "github.com"
    return DINOV2_HOST if backbone.startswith("dinov2_vit") and not prefix else huggingface_host()


def _heads(suite: Suite) -> Iterator[Need]:
    for target in suite.targets:
        if target.head is None:
            continue
        for file in HEADS.get(target.head).needs(target.backbone, target.head_settings, weights=target.weights):
            yield Need(_head_check(file), "head", head_key(target))


def _head_check(file: HeadWeights) -> Check:
    if file.local:
        return Check(file.what, True, True, "here")
    if file.host is None:
        return Check(file.what, False, True, file.missing, file.remedy)
    if reachable(file.host) and not (file.host == huggingface_host() and offline()):
        return Check(file.what, True, True, f"{file.missing}; will be downloaded from {file.host}")
    return Check(file.what, False, True, f"{file.missing}, and {file.host} cannot be reached", file.remedy)


def _methods(suite: Suite) -> Iterator[Need]:
    from methods import METHODS
    from methods.plugin_calls import calling

    for target in suite.targets:
        for entry in suite.methods_of(target):
            name = entry.label or entry.name
            method = METHODS.get(entry.name)
            with calling(METHODS, entry.name):
                packages = _packages(method, make_config(method, entry.config))
            for package, (module, remedy) in packages.items():
                check = _installed(module, f"{package}, for {name}", True, remedy)
                yield Need(check, "method", method_key(entry))


def _packages(method: type[Method], config: MethodConfig) -> dict[str, tuple[str, str]]:
    """Return package -> (module, remedy) of what a method needs with these settings."""
    from methods import METHODS

    entry = METHODS.entries.get(method.spec.name)
    packages = {name: (name, f"pip install {name}") for name in (entry.requires if entry else ()) if not _has(name)}
    if getattr(config, "umap_dims", None) is not None:
        if getattr(config, "umap_backend", None) == "cuml":
            packages["cuml"] = ("cuml", CUML_UMAP)
        else:
            packages["umap-learn"] = ("umap", 'pip install "disentanglement-harness[umap]"')
    if getattr(config, "backend", None) == "cuml":
        remedy = 'pip install "disentanglement-harness[cuml]", or use backend = "exact", which needs no package'
        packages["cuml"] = ("cuml", remedy)
    needed = method.prerequisite(config)
    return packages if needed is None else {**packages, **_packages(*needed)}


def _installed(module: str, what: str, needed: bool, remedy: str) -> Check:
    ok = _has(module)
    return Check(what, ok, needed, "installed" if ok else "not installed", "" if ok else remedy)


def _judges(suite: Suite) -> Iterator[Need]:
    judging = suite.judging
    if judging is None:
        return
    checks = []
    if suite.evaluation.top_images < GRID:
        state = f"evaluation.top_images = {suite.evaluation.top_images}"
        remedy = f"A grid shows {GRID} images: --set evaluation.top_images={GRID}."
        checks.append(Check("top images for grids", False, False, state, remedy))
    if judging.panel == "vllm":
        remedy = 'pip install "disentanglement-harness[vllm]", best in a separate environment'
        checks += [_installed("vllm", "vllm, for the judges", False, remedy), _judges_gpu()]
    elif judging.panel == "openai":
        variable = str(judging.options.get("api_key_env", "OPENAI_API_KEY"))
        ok = bool(os.environ.get(variable))
        remedy = "" if ok else f"export {variable}=... (a local server may need none)"
        checks.append(Check(f"{variable}, for the judges", ok, False, "set" if ok else "not set", remedy))
    without = "all cells run; only LLM Rank is missing, and `harness judge` can add it later, also on another machine"
    for check in checks:
        yield Need(check, "nothing", without=without)


def _judges_gpu() -> Check:
    import torch

    if not torch.cuda.is_available():
        remedy = "Judge on a machine with a GPU, or use --panel openai."
        return Check("a GPU, for the judges", False, False, "none", remedy)
    memory = torch.cuda.get_device_properties(0).total_memory
    # The largest judge has 30 billion parameters in bfloat16.
    ok = memory >= 75 * 2**30
    remedy = "" if ok else "Use an 80 GB GPU: the weights of the largest judge alone take 61 GiB."
    return Check("a GPU, for the judges", ok, False, f"{torch.cuda.get_device_name(0)}, {size_text(memory)}", remedy)


#: Seconds to wait for a host name to be resolved.
PATIENCE = 3.0

DINOV2_HOST = "dl.fbaipublicfiles.com"


def huggingface_host() -> str:
    """Return the host of the Hugging Face hub, or of the mirror that ``HF_ENDPOINT`` sets."""
    endpoint = os.environ.get("HF_ENDPOINT", "")
    return urllib.parse.urlparse(endpoint).hostname or "huggingface.co"


def offline() -> bool:
    """Return True if the Hugging Face client is restricted to its cache (``HF_HUB_OFFLINE``)."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


@functools.lru_cache(maxsize=32)
def reachable(host: str) -> bool:
    """Return True if a host's name is resolved within :data:`PATIENCE` seconds, or if a proxy is set."""
    if urllib.request.getproxies():
        return True
    resolved: list[bool] = []

    def resolve() -> None:
        with contextlib.suppress(OSError):
            socket.getaddrinfo(host, 443)
            resolved.append(True)

    # A resolver without a connection may take minutes to fail; a daemon thread does not keep the process alive.
    thread = threading.Thread(target=resolve, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return bool(resolved)

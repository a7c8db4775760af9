"""Models of torch.hub repositories: ``torchhub:OWNER/REPOSITORY[:REF]:ENTRY``, or a local folder with a ``hubconf.py``.

This is the only source that runs code of a repository; naming the repository in the spec counts as consent. Any
checkpoint that this code loads with ``torch.load`` is restricted to plain tensors.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.backbones.base import Backbone, Preprocessing, last_fc2
from harness.backbones.sources.base import Request
from harness.backbones.sources.checkpoint import fill, first_line, read_state_dict
from harness.backbones.sources.timm import suggested_site
from methods.errors import UserError

# A hub repository does not describe its inputs; this is the transform of DINOv2 and torchvision.
PREPROCESSING = Preprocessing(
    size=224, resize=256, interpolation="bicubic", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)
_HEADS = ("fc", "head", "classifier")


def load(request: Request) -> Backbone:
    """Load the model of an entry of a hub repository, at 224 px with ImageNet normalisation.

    The backbone's name keeps only the last part of a local folder's path. Its features are the input of its last
    linear layer (``fc``, ``head`` or ``classifier``), or its output if it has none.

    Raises:
        UserError: for a spec without an entry, an unreachable repository, an unknown entry, or an unsuitable model.
    """
    repository, colon, entry = request.identifier.rpartition(":")
    if not colon or not repository or not entry:
        raise UserError(f"{request.spec!r} names no entry: write torchhub:OWNER/REPOSITORY:ENTRY.")
    local = Path(repository).expanduser()
    is_local = local.is_dir()
    pretrained = request.weights and request.checkpoint is None
    model = _build(str(local) if is_local else repository, entry, request, local=is_local, pretrained=pretrained)
    if request.checkpoint is not None:
        fill(model, read_state_dict(request.checkpoint), checkpoint=request.checkpoint.name, architecture=entry)
    model.eval()
    head = _head(model)
    _check_features(model, request.spec)
    name = name_of(request.identifier)
    origin = name.removeprefix("torchhub:").removesuffix(f":{entry}")
    return Backbone(
        name=name,
        title=entry,
        model=model.to(request.device),
        preprocessing=PREPROCESSING,
        n_prefix_tokens=1 + int(getattr(model, "num_register_tokens", 0)) if hasattr(model, "cls_token") else 0,
        default_site=last_fc2(model) or suggested_site(model),
        source=f"torch.hub, {origin}" if pretrained else "local checkpoint" if request.weights else "random weights",
        license=f"see the repository {origin}" if pretrained else "that of the checkpoint",
        pretrained=request.weights,
        pool=pooled,
        head=_classify if head else None,
        n_classes=head.out_features if head else None,
    )


def name_of(identifier: str) -> str:
    """Return the name of the backbone of ``torchhub:identifier``, with only the last part of a local folder's path."""
    repository, _, entry = identifier.rpartition(":")
    local = Path(repository).expanduser()
    return f"torchhub:{local.resolve().name if repository and local.is_dir() else repository}:{entry}"


def pooled(model: nn.Module, images: Tensor) -> Tensor:
    """Run the whole network and return the input of its last linear layer, (B, d), or its output if it has none.

    Raises:
        UserError: if that layer runs more than once, or not at all, in one pass.
    """
    head = _head(model)
    if head is None:
        return _tensor(model(images))
    seen: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        model(images)
    finally:
        handle.remove()
    if len(seen) != 1:
        raise UserError(
            f"The head of this torch.hub model ran {len(seen)} times in one pass, so it reads no one feature."
        )
    return seen[0]


def _classify(model: nn.Module, features: Tensor) -> Tensor:
    head = _head(model)
    assert head is not None
    result: Tensor = head(features)
    return result


def _head(model: nn.Module) -> nn.Linear | None:
    for name in _HEADS:
        module = getattr(model, name, None)
        if isinstance(module, nn.Sequential) and len(module):
            module = module[-1]
        if isinstance(module, nn.Linear):
            return module
    return None


def _tensor(output: Any) -> Tensor:
    if isinstance(output, dict) and "x_norm_clstoken" in output:
        output = output["x_norm_clstoken"]
    features: Tensor = output
    return features


def _build(repository: str, entry: str, request: Request, *, local: bool, pretrained: bool) -> nn.Module:
    try:
        with torch.random.fork_rng(devices=[]), _tensors_only():
            torch.manual_seed(0)
            model = torch.hub.load(
                repository,
                entry,
                source="local" if local else "github",
                pretrained=pretrained,
                trust_repo=True,
                verbose=False,
            )
    except Exception as error:  # whatever the repository's code raises, and urllib's and GitHub's errors
        if "Cannot find callable" in str(error):
            raise UserError(
                f"The repository of {request.spec!r} has no entry {entry!r}. See its hubconf.py."
            ) from error
        way = "" if local else " Without a network, give a local clone of it: torchhub:/path/to/clone:ENTRY."
        raise UserError(f"torch.hub could not load {request.spec!r} ({first_line(error)}).{way}") from error
    if not isinstance(model, nn.Module):
        raise UserError(f"The entry {entry!r} gives a {type(model).__name__}, not a model.")
    return model


@contextmanager
def _tensors_only() -> Iterator[None]:
    """Make every ``torch.load`` below refuse pickles that hold more than tensors, whatever the caller asks."""
    variable = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(variable)
    os.environ[variable] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


def _check_features(model: nn.Module, spec: str) -> None:
    try:
        with torch.no_grad():
            features = pooled(model, torch.zeros(1, 3, PREPROCESSING.size, PREPROCESSING.size))
    except (RuntimeError, ValueError, TypeError) as error:
        raise UserError(f"{spec!r} does not take 224 px images ({first_line(error)}).") from error
    if not isinstance(features, Tensor) or features.ndim != 2:
        shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise UserError(f"{spec!r} gives {shape} for one image, not a vector: it is no backbone this can use.")

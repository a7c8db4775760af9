"""Models of torch.hub repositories: ``torchhub:OWNER/REPOSITORY[:REF]:ENTRY``, or a local folder with a ``hubconf.py``.

This is the only source that runs code of a repository; naming the repository in the spec counts as consent. Any
checkpoint that this code loads with ``torch.load`` is restricted to plain tensors.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from harness.backbones.base import Backbone
from harness.backbones.final_tokens import hub_final_tokens
from harness.backbones.sources.base import Request, origin
from harness.backbones.sources.checkpoint import fill, read_state_dict
from harness.backbones.sources.timm import suggested_site
from harness.backbones.sources.torchhub_inputs import hub_input
from harness.backbones.sources.wrapper_prefixes import unwrap
from harness.backbones.token_layout import prefix_tokens
from methods.errors import UserError, first_line

_HEADS = ("fc", "head", "classifier")
# Output of DINOv2's models in which the features are the final-norm CLS token.
_CLS = "x_norm_clstoken"


def load(request: Request) -> Backbone:
    """Load the model of an entry of a hub repository, with the preprocessing of :func:`.torchhub_inputs.hub_input`.

    The backbone's name keeps only the last part of a local folder's path. Its features are the input of its last
    linear layer (``fc``, ``head`` or ``classifier``), or its output if it has none.

    Raises:
        UserError: for a spec without an entry, an unreachable repository, an unknown entry, or an unsuitable model.
    """
    repository, colon, entry = request.identifier.rpartition(":")
    if not colon or not repository or not entry:
        raise UserError(f"{request.spec!r} names no entry: write torchhub:OWNER/REPOSITORY:ENTRY.")
    model = _build(repository, entry, request)
    notes: tuple[str, ...] = ()
    if request.checkpoint is not None:
        notes = _fill(model, entry, request.checkpoint)
    model.eval()
    head = _head(model)
    preprocessing, assumptions = hub_input(model, repository, entry, request)
    _check_features(model, request.spec, preprocessing.size)
    name = name_of(request.identifier)
    short = name.removeprefix("torchhub:").removesuffix(f":{entry}")
    n_prefix_tokens = prefix_tokens(model)
    # Earlier versions counted one token for an attribute `cls_token`, and the registers of DINOv2.
    before = 1 + int(getattr(model, "num_register_tokens", 0)) if hasattr(model, "cls_token") else 0
    source, license_ = origin(request, f"torch.hub, {short}", f"see the repository {short}")
    return Backbone(
        name=name,
        title=entry,
        model=model.to(request.device),
        preprocessing=preprocessing,
        n_prefix_tokens=n_prefix_tokens,
        default_site=suggested_site(model),
        source=source,
        license=license_,
        pretrained=request.weights,
        pool=pooled,
        final_tokens=hub_final_tokens(model),
        head=_classify if head else None,
        n_classes=head.out_features if head else None,
        notes=assumptions + notes,
        reading={} if n_prefix_tokens == before else {"prefix_tokens": n_prefix_tokens},
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
        output = model(images)
        features: Tensor = output[_CLS] if isinstance(output, dict) and _CLS in output else output
        return features
    inputs: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    try:
        model(images)
    finally:
        handle.remove()
    if len(inputs) != 1:
        raise UserError(
            f"The head of this torch.hub model ran {len(inputs)} times in one pass; it must run exactly once."
        )
    return inputs[0]


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


def _build(repository: str, entry: str, request: Request) -> nn.Module:
    local = Path(repository).expanduser()
    is_local = local.is_dir()
    try:
        with torch.random.fork_rng(devices=[]), _tensors_only():
            torch.manual_seed(0)
            model = torch.hub.load(
                str(local) if is_local else repository,
                entry,
                source="local" if is_local else "github",
                pretrained=request.weights and request.checkpoint is None,
                trust_repo=True,
                verbose=False,
            )
    except Exception as error:  # whatever the repository's code raises, and urllib's and GitHub's errors
        if "Cannot find callable" in str(error):
            raise UserError(
                f"The repository of {request.spec!r} has no entry {entry!r}. See its hubconf.py."
            ) from error
        hint = "" if is_local else " Without a network, give a local clone of it: torchhub:/path/to/clone:ENTRY."
        raise UserError(f"torch.hub could not load {request.spec!r} ({first_line(error)}).{hint}") from error
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


def _fill(model: nn.Module, entry: str, checkpoint: Path) -> tuple[str, ...]:
    file = checkpoint.name
    state, notes = unwrap(read_state_dict(checkpoint), model.state_dict(), file=file, architecture=entry)
    fill(model, state, checkpoint=file, architecture=entry)
    return notes


def _check_features(model: nn.Module, spec: str, size: int) -> None:
    try:
        with torch.no_grad():
            features = pooled(model, torch.zeros(1, 3, size, size))
    except (RuntimeError, ValueError, TypeError) as error:
        raise UserError(f"{spec!r} does not take {size} px images ({first_line(error)}).") from error
    if not isinstance(features, Tensor) or features.ndim != 2:
        shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise UserError(f"{spec!r} gives {shape} for one image; a backbone must give one vector per image.")

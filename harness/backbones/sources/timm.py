"""Models of timm, with their pretrained weights, with a local checkpoint or with random weights."""

from __future__ import annotations

import difflib
import inspect
import math
import sys
from typing import Any

import torch
from torch import Tensor, nn

from harness.backbones.base import Backbone, Preprocessing, last_fc2, last_path
from harness.backbones.final_tokens import timm_final_tokens
from harness.backbones.sources.base import Request, download_error, origin, require
from harness.backbones.sources.checkpoint import fill, read_state_dict
from harness.backbones.sources.hub import offline_if_unreachable
from methods.errors import UserError, first_line


def load(request: Request) -> Backbone:
    """Load the timm model ``request.identifier`` (``NAME`` or ``NAME.TAG``).

    DINOv2 models are built at 224 px instead of 518 px, as they are commonly evaluated; a checkpoint's position
    embedding is resized by timm's own filter. A checkpoint's head may have any number of classes, or be missing.

    Raises:
        UserError: for an unknown name (the message names the nearest), a failed download, or a checkpoint that does
            not fit.
    """
    require("timm", "timm", request.spec)
    import timm

    name = request.identifier
    _check_name(name)
    config = timm.get_pretrained_cfg(name)
    options = {"img_size": 224} if is_dinov2(name) else {}
    downloads = request.weights and request.checkpoint is None
    if downloads:
        model = _download(request, options)
    else:
        model = random_model(name, **options)
        if request.checkpoint is not None:
            _fill(model, name, request)
    preprocessing = _preprocessing(model, name, request.spec)
    head = classifier(model, preprocessing.size)
    n_classes = int(model.num_classes) if head else None  # type: ignore[arg-type]
    source, license_ = origin(
        request, f"timm {timm.__version__}", (config and config.license) or f"see the card of timm/{name}"
    )
    return Backbone(
        name=request.spec,
        title=name,
        model=model.to(request.device),
        preprocessing=preprocessing,
        n_prefix_tokens=int(getattr(model, "num_prefix_tokens", 0)),
        default_site=suggested_site(model),
        source=source,
        license=license_,
        pretrained=request.weights,
        pool=pooled,
        final_tokens=timm_final_tokens(model),
        head=head,
        n_classes=n_classes,
        # timm's 1000-class heads are all ImageNet-1k's classes, in their index order.
        head_labels="imagenet-1k" if downloads and n_classes == 1000 else None,
    )


def is_dinov2(name: str) -> bool:
    """Return True if the timm model ``name`` is a DINOv2 ViT, with or without registers."""
    return name.split(".")[0].endswith(("_dinov2", "_reg4_dinov2"))


def random_model(name: str, **options: Any) -> nn.Module:
    """Create a timm model with random weights of a fixed seed. The global generator's state is restored."""
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return timm.create_model(name, pretrained=False, **options)


def pooled(model: nn.Module, images: Tensor) -> Tensor:
    """Return the input of timm's classifier, (B, d): the whole forward pass without the classifier."""
    result: Tensor = model.forward_head(model.forward_features(images), pre_logits=True)  # type: ignore[operator]
    return result


def classify(model: nn.Module, features: Tensor) -> Tensor:
    """Return the logits (B, n_classes) of timm's classifier."""
    result: Tensor = model.get_classifier()(features)  # type: ignore[operator]
    return result


def classifier(model: nn.Module, size: int) -> Any:
    """Return the head as ``(model, features) -> logits``, or None if no head reads the pooled features alone.

    A few architectures have two heads or a layer between pooling and classifier. One random image is therefore run
    through the model, and the head is accepted only if it reproduces the model's own output.
    """
    module = model.get_classifier()  # type: ignore[operator]
    if not isinstance(module, nn.Module) or isinstance(module, nn.Identity):
        return None
    model.eval()
    image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(image)
        features = pooled(model, image)
        try:
            actual = module(features)
        except RuntimeError:
            return None
    if actual.shape != expected.shape or not torch.allclose(actual, expected, rtol=1e-3, atol=1e-4):
        return None
    return classify


def suggested_site(model: nn.Module) -> str | None:
    """Return the path of the last MLP's output layer, else of the last dense 1x1 convolution, else None."""

    def accepts(path: str, module: nn.Module) -> bool:
        dense = isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1
        return dense and "downsample" not in path  # a residual shortcut is no separate representation

    return last_fc2(model) or last_path(model, accepts)


def _check_name(name: str) -> None:
    import timm

    architecture, _, tag = name.partition(".")
    architectures = timm.list_models()
    if architecture not in architectures:
        near = difflib.get_close_matches(architecture, architectures, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        raise UserError(
            f"timm has no model {architecture!r}. {hint}"
            f"timm.list_models() lists the {len(architectures)} models of timm {timm.__version__}."
        )
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        available = f"There are {', '.join(tags)}." if tags else "It has none."
        raise UserError(f"timm has no weights {tag!r} for {architecture}. {available}")


def _download(request: Request, options: dict[str, Any]) -> nn.Module:
    import timm

    config = timm.get_pretrained_cfg(request.identifier)
    if config is None or not config.has_weights:
        raise UserError(
            f"timm has no pretrained weights for {request.identifier}. Give a local file: --checkpoint FILE."
        )
    try:
        with offline_if_unreachable():
            return timm.create_model(request.identifier, pretrained=True, **options)
    except Exception as error:  # the hub clients raise errors of several libraries, without a common base
        raise download_error(request.spec, error) from error


def _fill(model: nn.Module, name: str, request: Request) -> None:
    """Load a local checkpoint through the architecture's ``checkpoint_filter_fn``, as timm does for its own weights."""
    import timm

    assert request.checkpoint is not None
    state = read_state_dict(request.checkpoint)
    module = inspect.getmodule(timm.model_entrypoint(name)) or sys.modules[type(model).__module__]
    if (clean := getattr(module, "checkpoint_filter_fn", None)) is not None:
        try:
            state = clean(state, model)
        except (KeyError, RuntimeError, AttributeError, ValueError) as error:
            raise UserError(
                f"{request.checkpoint.name!r} does not fit {name}: its tensors cannot be converted "
                f"({first_line(error)})."
            ) from error
    _adapt_head(model, state)
    fill(model, state, checkpoint=request.checkpoint.name, architecture=name)


def _adapt_head(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Reset the head of ``model`` to the checkpoint's number of classes; remove it if the checkpoint has none."""
    path = model.pretrained_cfg.get("classifier")  # type: ignore[operator,union-attr]
    if not isinstance(path, str):
        return
    weight = state.get(f"{path}.weight")
    classes = 0 if weight is None else weight.shape[0]
    if classes != model.num_classes:
        model.reset_classifier(classes)  # type: ignore[operator]


def _preprocessing(model: nn.Module, name: str, spec: str) -> Preprocessing:
    from timm.data import resolve_model_data_config

    config = resolve_model_data_config(model)
    if is_dinov2(name):
        # timm's record is for 518 px without a margin; at 224 px DINOv2 itself resizes to 256 and crops.
        config.update(input_size=(3, 224, 224), crop_pct=224 / 256)
    channels, height, width = config["input_size"]
    if channels != 3 or height != width:
        raise UserError(f"{spec!r} takes {channels} x {height} x {width} inputs: only square RGB inputs are supported.")
    if config["crop_mode"] not in ("center", "squash"):
        raise UserError(f"{spec!r} crops by {config['crop_mode']!r}: only 'center' and 'squash' are supported.")
    squash = config["crop_mode"] == "squash"
    return Preprocessing(
        size=height,
        # timm's own rounding; `round` first, because 224 / (224 / 256) must not become 255.
        resize=height if squash else max(height, math.floor(round(height / config["crop_pct"], 6))),
        interpolation=config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        fit="squash" if squash else "crop",
    )

"""Models of timm, with their pretrained weights, with a local checkpoint or with random weights."""

from __future__ import annotations

import inspect
import sys
from typing import Any

import torch
from torch import Tensor, nn

from harness.backbones.base import Backbone, last_fc2, last_path
from harness.backbones.final_tokens import timm_final_tokens
from harness.backbones.sources.base import Request, download_error, origin, require
from harness.backbones.sources.checkpoint import fill, read_state_dict
from harness.backbones.sources.hub import offline_if_unreachable
from harness.backbones.sources.timm_inputs import as_preprocessing, data_config, is_dinov2
from harness.backbones.sources.timm_record import WeightsRecord, record_of
from harness.backbones.sources.wrapper_prefixes import unwrap
from harness.backbones.token_layout import prefix_tokens
from methods.errors import UserError, first_line
from methods.registry import nearest


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
    check_name(name)
    record = record_of(request)
    # Checked before the model is made, which can take long.
    preprocessing = as_preprocessing(data_config(record.pretrained_cfg, name), request.spec)
    options = {"img_size": preprocessing.size} if is_dinov2(name) else {}
    notes = record.notes
    if request.weights and request.checkpoint is None:
        model = _download(request, options)
    else:
        model = _untrained(request, {**record.model_args, **options}, record)
        if request.checkpoint is not None:
            notes += _fill(model, name, request)
    head = classifier(model, preprocessing.size)
    n_classes = int(model.num_classes) if head else None  # type: ignore[arg-type]
    license_on_record = record.pretrained_cfg.get("license") or f"see the card of timm/{name}"
    source, license_ = origin(request, f"timm {timm.__version__}", license_on_record)
    n_prefix_tokens = prefix_tokens(model)
    # Earlier versions read the number that timm states, and 0 where it states none.
    counted = n_prefix_tokens != int(getattr(model, "num_prefix_tokens", 0))
    return Backbone(
        name=request.spec,
        title=name,
        model=model.to(request.device),
        preprocessing=preprocessing,
        n_prefix_tokens=n_prefix_tokens,
        default_site=suggested_site(model),
        source=source,
        license=license_,
        pretrained=request.weights,
        pool=pooled,
        final_tokens=timm_final_tokens(model),
        head=head,
        n_classes=n_classes,
        head_labels=record.labels if request.weights and n_classes == 1000 else None,
        notes=notes,
        reading={**({"prefix_tokens": n_prefix_tokens} if counted else {}), **activation_identity(model)},
    )


def activation_identity(model: nn.Module) -> dict[str, Any]:
    """Return the entry of the identity that tells ``*_quickgelu`` models from those with the same weights and GELU."""
    quick = any(type(module).__name__ == "QuickGELU" for module in model.modules())
    return {"activation": "quick_gelu"} if quick else {}


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
        except Exception:  # a head that pools by itself fails on pooled features in one of several ways
            return None
    if actual.shape != expected.shape or not torch.allclose(actual, expected, rtol=1e-3, atol=1e-4):
        return None
    return classify


def suggested_site(model: nn.Module) -> str | None:
    """Return the path of the last MLP's output layer, else of the last dense 1x1 convolution, else None."""
    last_layer = model.get_classifier() if hasattr(model, "get_classifier") else None  # type: ignore[operator]

    def accepts(path: str, module: nn.Module) -> bool:
        dense = isinstance(module, nn.Conv2d) and module.kernel_size == module.stride == (1, 1) and module.groups == 1
        # A residual shortcut is no separate representation, and the features end before the classifier.
        return dense and "downsample" not in path and module is not last_layer

    return last_fc2(model) or last_path(model, accepts)


def check_name(name: str) -> None:
    """Raise UserError if timm has no model, or no weights, of this name; the message gives the nearest names."""
    import timm

    architecture, _, tag = name.partition(".")
    architectures = timm.list_models()
    if architecture not in architectures:
        raise UserError(
            f"timm has no model {architecture!r}. {nearest(architecture, architectures)}"
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


def _untrained(request: Request, options: dict[str, Any], record: WeightsRecord) -> nn.Module:
    """Create the architecture that a checkpoint fills, or a model with random weights."""
    if not record.from_file:
        return random_model(request.identifier, **options)
    assert request.checkpoint is not None
    try:
        return random_model(request.identifier, pretrained_cfg=record.pretrained_cfg, **options)
    except Exception as error:  # whatever an architecture raises for arguments that it does not have
        raise UserError(
            f"{request.identifier} cannot be created with the settings in the config.json beside "
            f"{request.checkpoint.name!r} ({first_line(error)})."
        ) from error


def _fill(model: nn.Module, name: str, request: Request) -> tuple[str, ...]:
    """Load a local checkpoint through the architecture's ``checkpoint_filter_fn``, as timm does for its own weights.

    Return notes on tensors that were left out.
    """
    import timm

    assert request.checkpoint is not None
    module = inspect.getmodule(timm.model_entrypoint(name)) or sys.modules[type(model).__module__]
    clean = getattr(module, "checkpoint_filter_fn", None)
    file = request.checkpoint.name
    state, notes = unwrap(
        read_state_dict(request.checkpoint),
        model.state_dict(),
        file=file,
        architecture=name,
        convert=dict if clean is None else lambda part: clean(part, model),
        optional=_classifier_path(model),
    )
    _adapt_head(model, state)
    fill(model, state, checkpoint=file, architecture=name)
    return notes


def _classifier_path(model: nn.Module) -> str | None:
    path = model.pretrained_cfg.get("classifier")  # type: ignore[operator,union-attr]
    return path if isinstance(path, str) else None


def _adapt_head(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Reset the head of ``model`` to the checkpoint's number of classes; remove it if the checkpoint has none."""
    path = _classifier_path(model)
    if path is None:
        return
    weight = state.get(f"{path}.weight")
    classes = 0 if weight is None else weight.shape[0]
    if classes != model.num_classes:
        model.reset_classifier(classes)  # type: ignore[operator]

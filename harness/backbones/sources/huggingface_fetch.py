"""Loading through transformers from the Hugging Face hub or a folder, silently and with errors in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from harness.backbones.sources.base import Request
from harness.backbones.sources.hub import offline_if_unreachable
from harness.backbones.sources.huggingface_folders import folder_of
from methods.errors import UserError, first_line
from methods.memory import is_out_of_memory

#: What a local folder must hold, by the prefix of the spec.
_FILES = {
    "hf": "config.json, model.safetensors and preprocessor_config.json",
    "vlm": "config.json, model.safetensors, processor_config.json (or preprocessor_config.json) and tokenizer.json",
}


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers within the context: its report lists the parts that a backbone leaves out on purpose."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def fetch(load_with: Callable[[Any], Any], request: Request, *, prefix: str = "hf") -> Any:
    """Return ``load_with(transformers)``, with its errors as one sentence on the model of a request.

    Args:
        load_with: function from the package transformers to what it has loaded.
        request: names the model.
        prefix: ``"hf"`` or ``"vlm"``, the prefix of the specs in messages.

    Raises:
        UserError: if the model cannot be downloaded or read, is none that transformers knows, or memory runs out.
    """
    import transformers

    folder = request.checkpoint or folder_of(request.identifier, prefix)
    try:
        with offline_if_unreachable(local=folder is not None), quiet():
            return load_with(transformers)
    except UserError:
        raise
    except Exception as error:  # OSError, ValueError and the hub clients' own, without a common base
        if is_out_of_memory(error):
            raise UserError(
                f"There is not enough memory to load {request.spec!r}: use a smaller model, or a machine with more "
                f"memory ({first_line(error)})."
            ) from error
        if "Unrecognized configuration class" in str(error):
            raise UserError(
                f"{request.spec!r} holds a part of a model that transformers cannot load alone "
                f"({first_line(error)}): use another model, or the same weights through timm or open_clip."
            ) from error
        if folder is not None:
            raise UserError(
                f"The folder {folder.resolve().name!r} cannot be read as a transformers model: it needs "
                f"{_FILES[prefix]}. ({first_line(error)})"
            ) from error
        raise UserError(
            f"{request.spec!r} could not be downloaded; give a local folder: --checkpoint FOLDER. ({first_line(error)})"
        ) from error

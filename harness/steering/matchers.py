"""Text matchers by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from harness.errors import UserError
from harness.steering.matching import TextMatcher
from harness.steering.sentence_sources import (
    MINILM,
    hub_folder,
    missing_packages,
    packaged_minilm,
    require_transformers,
)
from harness.steering.words import WordMatcher
from results.nearest_names import alternatives
from results.visible_text import one_line

if TYPE_CHECKING:
    import torch

WORDS, SENTENCES = "words", "sentences"
_FORMS = (WORDS, SENTENCES, f"{SENTENCES}:FOLDER", "hf:OWNER/NAME")


class DefaultMatcher(NamedTuple):
    """Text matcher that is used unless the user names one."""

    name: str
    note: str
    """sentence for the user, since results of different matchers differ"""


def default_matcher() -> DefaultMatcher:
    """Return ``sentences``, the paper's, if its packages are installed, and ``words`` otherwise. Nothing is loaded."""
    missing = missing_packages()
    if not missing:
        return DefaultMatcher(SENTENCES, f"Concepts are matched to labels by sentence embeddings of {MINILM}.")
    return DefaultMatcher(
        WORDS,
        "Concepts are matched to labels by their words in common, since "
        f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed; sentence embeddings, which the "
        'paper uses, need pip install "disentanglement-harness[text]" and give other results.',
    )


def matcher_of(name: str | None = None, *, device: str | torch.device = "cpu") -> TextMatcher:
    """Return the text matcher of a name.

    Args:
        name: ``"words"``, ``"sentences"`` (the packaged MiniLM), ``"sentences:FOLDER"`` (a local SentenceTransformer),
            ``"hf:OWNER/NAME"`` (one of the Hugging Face Hub or its cache), or None for that of :func:`default_matcher`.
        device: where embeddings are computed.

    Raises:
        UserError: if there is no such matcher, a package is missing, or the model cannot be read.
    """
    if name is None:
        name = default_matcher().name
    kind, _, argument = name.partition(":")
    if name == WORDS:
        return WordMatcher()
    if name == SENTENCES:
        with packaged_minilm() as folder:
            return _of_folder(folder, MINILM, device)
    if kind == SENTENCES and argument:
        require_transformers(name)
        path = Path(argument).expanduser()
        return _of_folder(path, path.resolve().name, device)
    if kind == "hf" and argument:
        path, short = hub_folder(argument)
        require_transformers(name)
        return _of_folder(path, short, device)
    raise UserError(f"There is no text matcher {name!r}. {alternatives(name, _FORMS)}")


def _of_folder(folder: Path, name: str, device: str | torch.device) -> TextMatcher:
    # torch and transformers take seconds to import.
    from harness.steering.sentence_models import load
    from harness.steering.sentences import SentenceMatcher

    return SentenceMatcher(one_line(name), load(folder, name), device)

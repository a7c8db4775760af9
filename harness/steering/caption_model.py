"""Vision-language model that describes images by greedy decoding, with its vision tower as a backbone."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor, nn

from harness.activations.site import Site, Tap
from harness.activations.sites import open_site
from harness.backbones.base import Backbone
from harness.backbones.load_checks import check_loaded
from harness.backbones.sources.base import Request
from harness.backbones.sources.huggingface_fetch import fetch, quiet
from harness.backbones.sources.vision_language import PREFIX, backbone_of, load_whole
from harness.errors import UserError, first_line
from methods.memory import is_out_of_memory

#: Request for a caption, the same for every image and setting.
PROMPT = "Describe this image in one sentence."
#: Largest number of tokens of a caption.
MAX_NEW_TOKENS = 64


class CaptionModel:
    """Vision-language model in float32 with its processor.

    A caption is the text that the model continues a fixed request with, decoded greedily: each token is the most likely
    one (``do_sample=False, num_beams=1``). Other entries of the model's generation configuration, such as a repetition
    penalty, are in force.

    The processor may cut an image into views: the whole image first, then crops of the same size, which the vision
    tower takes as one batch. A site of the tower has the tokens of all views, (views, T, d).

    Attributes:
        backbone: the vision tower.
        prompt: request for a caption.
        max_new_tokens: largest number of tokens of a caption.
    """

    def __init__(
        self,
        model: nn.Module,
        processor: Any,
        backbone: Backbone,
        *,
        prompt: str = PROMPT,
        max_new_tokens: int = MAX_NEW_TOKENS,
    ) -> None:
        require_request(prompt, max_new_tokens)
        self.backbone = backbone
        self.prompt = prompt
        self.max_new_tokens = max_new_tokens
        self._model: Any = model
        self._processor = processor
        self._effective: set[str] = set()

    @classmethod
    def load(
        cls, name: str, *, device: str = "cpu", prompt: str = PROMPT, max_new_tokens: int = MAX_NEW_TOKENS
    ) -> Self:
        """Load a model of the Hugging Face hub or of a local folder, in float32.

        Args:
            name: ``OWNER/NAME`` or path of a folder, also with the prefix ``vlm:``.
            device: device of the whole model.

        Raises:
            UserError: if transformers is missing, the model cannot be read, is no vision-language model with a vision
                tower that takes images, is incomplete, or does not fit into the memory of the device.
        """
        require_request(prompt, max_new_tokens)
        identifier = str(name).removeprefix(f"{PREFIX}:")
        request = Request(f"{PREFIX}:{identifier}", identifier)
        whole = load_whole(request)
        processor = fetch(
            lambda auto: auto.AutoProcessor.from_pretrained(whole.repository, trust_remote_code=False),
            request,
            prefix=PREFIX,
        )
        backbone = backbone_of(whole.tower, request, whole.repository, trained_pooler=whole.trained_pooler)
        # Without these, transformers returns the tokenizer or the image processor alone.
        if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
            raise UserError(
                f"{backbone.name!r} has no processor for images and text: its folder needs processor_config.json or "
                "preprocessor_config.json, and the files of its tokenizer."
            )
        if not getattr(processor, "chat_template", None):
            raise UserError(
                f"{backbone.name!r} has no chat template, so the request for a caption cannot be put to it: its folder "
                "needs chat_template.jinja or chat_template.json."
            )
        check_loaded(backbone)
        captioner = cls(
            whole.model.eval().requires_grad_(False),
            processor,
            backbone,
            prompt=prompt,
            max_new_tokens=max_new_tokens,
        )
        with captioner._explained(device):
            whole.model.to(device)
        return captioner

    @property
    def name(self) -> str:
        """Name without paths of this machine, with the prefix ``vlm:``."""
        return self.backbone.name

    def open_site(self, path: str) -> Site:
        """Return the site at ``path`` inside the vision tower.

        Raises:
            UserError: if there is no such module in the tower, or its tokens have no positions.
        """
        return open_site(self.backbone, path)

    def caption(self, image: Image.Image) -> str:
        """Return the model's caption of an RGB image.

        Raises:
            UserError: if the model fails, for example for want of memory.
        """
        with self._running():
            inputs = self._inputs(image)
            greedy = {"do_sample": False, "num_beams": 1, "return_dict_in_generate": False}
            output = self._model.generate(**inputs, **greedy, max_new_tokens=self.max_new_tokens)
            prompt = inputs["input_ids"]
            # Models with an encoder for the text return the answer alone.
            repeated = torch.equal(output[:, : prompt.shape[1]], prompt)
            answer = output[:, prompt.shape[1] :] if repeated else output
            text: str = self._processor.tokenizer.batch_decode(answer, skip_special_tokens=True)[0]
        return text.strip()

    def features(self, image: Image.Image) -> Tensor:
        """Return the features (n, d) of all views of an RGB image, as the language model is given them.

        Raises:
            UserError: if the model does not offer them, or fails.
        """
        read = getattr(self._model, "get_image_features", None)
        if read is None:
            raise UserError(f"{self.name!r} has no get_image_features: use a model that has, such as LLaVA-OneVision.")
        with self._running():
            inputs, accepted = self._inputs(image), inspect.signature(read).parameters
            result = read(**{key: value for key, value in inputs.items() if key in accepted})
            result = getattr(result, "pooler_output", result)
            parts = [result] if isinstance(result, Tensor) else list(result)
            return torch.cat([part.flatten(0, -2) for part in parts])

    @contextmanager
    def tapped(self, site: Site, tap: Tap) -> Iterator[None]:
        """Pass a site's tokens of all views to ``tap`` in each pass of the vision tower within the context.

        Args:
            site: result of :meth:`open_site`.
            tap: function from q (views, T, d_in) and a (views, T, d_out) to what replaces a; None: nothing.

        Raises:
            UserError: if the tower is not run or is given no batch of images, or does not call the site once.
        """
        n_passes = 0
        with ExitStack() as passes:

            def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                nonlocal n_passes
                n_passes += 1
                # transformers collects the hidden states that a language model reads by hooks of its own on the blocks:
                # an edit after them would not reach it.
                passes.enter_context(site.tapped(tap, self._n_views(args, kwargs), first=True))

            def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
                passes.close()

            tower = self.backbone.model
            handles = (
                tower.register_forward_pre_hook(before, with_kwargs=True),
                tower.register_forward_hook(after),
            )
            try:
                yield
            finally:
                for handle in handles:
                    handle.remove()
        if not n_passes:
            raise UserError(f"{self.name!r} did not run its vision tower, so there was nothing to edit.")

    def require_effect(self, site: Site, image: Image.Image) -> None:
        """Check that the language model reads what a site computes: it may read the output of an earlier layer.

        Raises:
            UserError: if it does not.
        """
        if site.path in self._effective:
            return
        before = self.features(image)
        with self.tapped(site, lambda q, a: 1 - a):
            after = self.features(image)
        if torch.equal(before, after):
            layer = getattr(self._model.config, "vision_feature_layer", None)
            reads = "" if layer is None else f" (vision_feature_layer = {layer})"
            raise UserError(
                f"The layer {site.path!r} has no effect on the captions of {self.name!r}, whose language model reads "
                f"an earlier layer of the vision tower{reads}: fit a method on an earlier layer."
            )
        self._effective.add(site.path)

    def _inputs(self, image: Image.Image) -> Any:
        content = [{"type": "image"}, {"type": "text", "text": self.prompt}]
        text = self._processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        return self._processor(images=image, text=text, return_tensors="pt").to(self.backbone.device)

    def _n_views(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
        pixels = kwargs.get("pixel_values", args[0] if args else None)
        if not isinstance(pixels, Tensor) or pixels.ndim != 4:
            shape = tuple(pixels.shape) if isinstance(pixels, Tensor) else type(pixels).__name__
            raise UserError(
                f"{self.name!r} gives its vision tower {shape}, and only a batch of views (views, 3, height, width) "
                "can be edited: use a model that does, such as LLaVA-OneVision."
            )
        return len(pixels)

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Run the model within the context: without gradients and messages, its errors as one sentence."""
        with self._explained(self.backbone.device), torch.inference_mode(), quiet():
            yield

    @contextmanager
    def _explained(self, device: str | torch.device) -> Iterator[None]:
        """Raise errors of the model within the context as one sentence."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # code of the model's author
            if is_out_of_memory(error):
                raise UserError(
                    f"There is not enough memory on {device} for {self.name!r}: use a device with more memory, smaller "
                    f"images or a smaller model ({first_line(error)})."
                ) from error
            raise UserError(
                f"{self.name!r} fails on {device} ({first_line(error)}): use another model, or another version of "
                "transformers."
            ) from error


def require_request(prompt: str, max_new_tokens: int) -> None:
    """Check the options of a caption.

    Raises:
        UserError: if the request is empty, or the number of tokens is not positive.
    """
    if not isinstance(prompt, str) or not prompt.strip():
        raise UserError(f"The prompt is {prompt!r}: give the request for a caption, such as {PROMPT!r}.")
    if isinstance(max_new_tokens, bool) or not isinstance(max_new_tokens, int) or max_new_tokens < 1:
        raise UserError(f"max_new_tokens = {max_new_tokens!r}: give the largest number of tokens of a caption, from 1.")

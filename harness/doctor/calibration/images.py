"""Rates of the passes over images: decoding and cropping, and forward passes of reference networks."""

from __future__ import annotations

from functools import partial

import torch
from PIL import Image
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from harness.datasets.loading import BrokenReport, batches, crop_generator, decoding_threads
from harness.datasets.synthetic import HEIGHT, WIDTH, jpegs
from harness.doctor.calibration.synthetic import PREPROCESSING, image_set
from harness.doctor.calibration.timing import measured
from harness.doctor.rates import Rate

#: Reference networks of :data:`harness.doctor.layers.Architecture`, with random weights.
NETWORKS = {
    "vit_small": "vit_small_patch16_224",
    "vit_base": "vit_base_patch16_224",
    "convnext": "convnextv2_base",
    "cnn": "tf_efficientnet_lite0",
}

#: Images per batch of a run (``evaluation.batch_size``), at most: (on a CPU, on a GPU, where the paper's suites have
#: 256).
BATCHES = (32, 256)
#: Images of the first run of the loader per decoding thread: each thread starts and allocates.
IMAGES_PER_THREAD = 16
#: Random crops per image of a probing pass with crops.
CROPS = 3


def measure_images(seconds: float) -> dict[str, Rate]:
    """Measure the loader that a run uses: decoding with the centre crop, and further random crops of an image."""
    jpegs()

    def load(crops: int, n: int) -> float:
        transform = partial(_views, crops)
        for _ in batches(image_set(n), transform, batch_size=BATCHES[0], report=BrokenReport()):
            pass
        return float(n)

    threads = decoding_threads()
    start = max(BATCHES[0], IMAGES_PER_THREAD * threads)
    size = f"{{n}} JPEGs of {WIDTH} x {HEIGHT} px, centre crop, {threads} threads"
    decode = measured(partial(load, 0), "images/s", size, seconds=seconds / 2, start=start)
    with_crops = measured(partial(load, CROPS), "images/s", "", seconds=seconds / 2, start=start)
    # The first random crop costs what the centre crop does.
    further = max(1 / with_crops.value - 1 / decode.value, 0.02 / decode.value) / (CROPS - 1)
    described = f"{CROPS - 1} further random crops per image"
    crops = Rate(1 / further, "crops/s", decode.source, described, with_crops.spread)
    return {"decode": decode, "crops": crops}


def _views(crops: int, image: Image.Image, index: int) -> Tensor:
    if not crops:
        return PREPROCESSING.center(image)
    generators = (crop_generator(0, index, crop) for crop in range(crops))
    return torch.stack([PREPROCESSING.random_resized_crop(image, generator) for generator in generators])


def measure_networks(seconds: float, device: str) -> dict[str, Rate]:
    """Measure forward passes of the reference networks."""
    return {f"network {name}": _network(name, seconds / len(NETWORKS), device) for name in NETWORKS}


@torch.inference_mode()
def _network(architecture: str, seconds: float, device: str) -> Rate:
    import timm

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model(NETWORKS[architecture], pretrained=False).eval().to(device)
    on_gpu = device.startswith("cuda")
    batch = BATCHES[on_gpu]
    images = torch.zeros(batch, 3, 224, 224, device=device)
    with FlopCounterMode(display=False) as counter:
        model(images[:1])
    flops = float(counter.get_total_flops())

    def forward(n: int) -> float:
        for part in range(0, n, batch):
            model(images[: min(batch, n - part)])
        return n * flops

    size = f"{{n}} images, {NETWORKS[architecture]}, batches of at most {batch}"
    return measured(forward, "FLOP/s", size, seconds=seconds, start=batch if on_gpu else 8, device=device)

"""Efficiency: counted work against closed forms, the order of timing, the interval, and a tiny network end to end."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from harness import backbones
from harness.backbones.base import Backbone
from harness.cli import app
from harness.efficiency.cost import backbone_macs, extra_macs, size_of, size_of_backbone
from harness.efficiency.integration import MATERIALISED, check_reached, integrated, modes_of
from harness.efficiency.measure import compile_step, measure
from harness.efficiency.memory import peak_of
from harness.efficiency.protocol import CPU, CUDA, Protocol
from harness.efficiency.ratio import median, order_of, paired_ratio
from harness.efficiency.timing import CudaClock, MonotonicClock, clock_of, paired
from harness.errors import UserError
from harness.metrics.base import METRICS
from harness.planning import cells_of, prepare
from harness.run import run
from harness.site import Site
from harness.suite import Suite, parse_suite
from methods.base import Method, make_config
from methods.dictionaries.random_atoms import RandomDictionary
from methods.identity import Identity
from methods.random_split import RandomSplit
from methods.sae.method import LinearSAE
from methods.sae.topk import TopKSAE
from results import CellRecord, open_store
from results.efficiency_table import Way, tables
from results.paper import published_table

PATHS = {"tiny_vit": "blocks.1.mlp.fc2", "tiny_cnn": "mix"}
#: Tokens, width, depth, inputs of a patch: the tiny ViT of these tests.
T, D, DEPTH, PATCH = 17, 24, 3, 3 * 7 * 7


def images_of(n: int = 2) -> Tensor:
    return torch.randn(n, 3, 28, 28, generator=torch.Generator().manual_seed(3))


def split_of(backbone: Backbone, path: str, parts: int = 3) -> RandomSplit:
    method = RandomSplit(make_config(RandomSplit, {"parts": parts}))
    return method.fit(None, Site(backbone.model, path, n_prefix_tokens=0), seed=1)  # type: ignore[arg-type]


def topk(n_units: int, d: int, k: int = 2) -> TopKSAE:
    method = TopKSAE(make_config(TopKSAE, {"k": k}))
    method.encoder_weight, method.encoder_bias = torch.randn(n_units, d), torch.zeros(n_units)
    method.atoms, method.output_bias = torch.randn(n_units, d), torch.zeros(d)
    return method


# ---- what follows from shapes


def test_multiply_accumulates_of_a_vit_are_the_closed_form() -> None:
    """Patches, then a block's qkv, projection, two layers of 4 D, and attention's two products."""
    block = T * D * 3 * D + T * D * D + 2 * T * D * 4 * D + 2 * T * T * D
    assert backbone_macs(backbones.load("tiny_vit")) == 16 * PATCH * D + DEPTH * block


def test_multiply_accumulates_of_methods_are_the_closed_forms() -> None:
    backbone = backbones.load("tiny_cnn")
    split, sae = split_of(backbone, "mix"), topk(20, 12)
    assert [extra_macs(split, 8, 12, mode).value for mode in modes_of(split)] == [0, 36 * 8 - 8 * 12, 36 * 8]
    assert extra_macs(sae, 8, 12) == (20 * 12 + 20 * 12, "analytic")
    assert extra_macs(Identity(), 8, 12).value == 0
    assert modes_of(sae) == ("",)


def test_a_vit_small_14_at_224_px_has_6_point_12_giga_products_and_21_point_6_million_weights() -> None:
    """By hand: 257 tokens of 384; a block is 12 T d^2 + 2 T^2 d products and 12 d^2 + 15 d weights."""
    tokens, d, patch = 257, 384, 3 * 14 * 14
    products = 256 * patch * d + 12 * (12 * tokens * d * d + 2 * tokens * tokens * d)
    weights = (patch * d + d) + d + tokens * d + 12 * (12 * d * d + 15 * d) + 2 * d
    backbone = backbones.load("timm:vit_small_patch14_dinov2", weights=False)
    assert backbone_macs(backbone) == products == 6_123_561_984
    assert size_of_backbone(backbone) == (weights, 4 * weights) == (21_628_800, 86_515_200)


def test_the_papers_added_times_are_these_added_products() -> None:
    """Table 5: milliseconds beyond the backbone's, over products beyond its own, are one speed for three methods.

    Batches of 256 images of 257 tokens; the transcoder's row fits 24,576 units and not 6,144.
    """

    def linear(reads: int, units: int) -> LinearSAE:
        method = TopKSAE(make_config(TopKSAE, {}))
        method.encoder_weight, method.atoms = (torch.empty(units, width, device="meta") for width in (reads, 768))
        return method

    split = RandomSplit(make_config(RandomSplit, {}))
    split.weights = torch.empty(6144, 3072, device="meta")
    split.parent = torch.empty(6144, device="meta")
    for name in ("biases", "width"):
        setattr(split, name, torch.empty(0, device="meta"))
    printed = published_table(5).set_index("method")["ms_per_batch"]

    def speed(method: Method, row: str, mode: str = "") -> float:
        products = extra_macs(method, 3072, 768, mode).value * 256 * 257
        return products / (printed[row] - printed["backbone only"])

    found = [
        speed(linear(768, 6144), "vanilla SAE"),
        speed(linear(3072, 24576), "transcoder"),
        speed(split, "ELUDe", MATERIALISED),
    ]
    assert max(found) / min(found) < 1.15
    assert speed(linear(3072, 6144), "transcoder") < 0.3 * min(found)
    # The backbone's own 23.16 G an image run at about the same speed.
    assert 23.16e9 * 256 / printed["backbone only"] == pytest.approx(found[0], rel=0.15)


def test_what_is_counted_as_it_runs_equals_the_closed_form() -> None:
    class Unknown(RandomDictionary):
        spec = RandomDictionary.spec._replace(name="unknown")

    found: list[Method] = [RandomDictionary(), Unknown()]
    for method in found:
        method.atoms, method.output_bias = torch.randn(9, 5), torch.zeros(5)  # type: ignore[attr-defined]
        method.gain = torch.tensor(1.0)  # type: ignore[attr-defined]
    known, counted = (extra_macs(method, 7, 5) for method in found)
    assert (known.how, counted.how) == ("analytic", "counted")
    assert known.value == counted.value == 2 * 9 * 5


def test_sizes_are_those_of_the_layer() -> None:
    backbone = backbones.load("tiny_cnn")
    # d_in 8, 12 neurons, 3 sub-units each: 36 rows of weights and a bias each.
    assert size_of(split_of(backbone, "mix")) == (36 * 9, 4 * 36 * 9)
    assert size_of(topk(20, 12)) == (2 * 20 * 12 + 20 + 12, 4 * (2 * 20 * 12 + 20 + 12))
    parameters = (8 * PATCH + 8) + (12 * 8 + 12) + (5 * 12 + 5)
    assert size_of_backbone(backbone) == (parameters, 4 * parameters)


# ---- timing


def test_networks_are_timed_in_turns() -> None:
    """A clock that the steps themselves move: each lap is its own step's time, and nothing else."""
    order: list[str] = []
    now = 0.0

    def step(name: str, seconds: float) -> None:
        nonlocal now
        order.append(name)
        now += seconds * len(order)

    found = paired(lambda: step("A", 1.0), lambda: step("B", 2.0), MonotonicClock(lambda: now), warmup=1, repeats=3)
    assert "".join(order) == "AB" + "ABBAAB"
    assert found.reference.tolist() == [3000, 6000, 7000] and found.variant.tolist() == [8000, 10000, 16000]


def test_neither_network_gains_by_its_place() -> None:
    """Two equal steps on a machine where whatever runs second of two takes 8 % longer."""
    now, done = 0.0, 0

    def step() -> None:
        nonlocal now, done
        now += 1.08 if done % 2 else 1.0
        done += 1

    found = paired(step, step, MonotonicClock(lambda: now), warmup=0, repeats=30)
    ratios = found.variant / found.reference
    assert sorted(set(ratios.round(9))) == pytest.approx([1 / 1.08, 1.08])
    ratio = paired_ratio(found.reference, found.variant)
    assert ratio.value == pytest.approx(1, abs=0.004) and ratio.low is not None and ratio.high is not None
    assert ratio.low < 1 < ratio.high


def test_the_ratio_survives_a_machine_that_slows_down() -> None:
    pace = np.linspace(1, 5, 15)
    assert paired_ratio(10 * pace, 12 * pace).value == pytest.approx(1.2)
    # A few disturbed batches move neither the median nor its interval.
    disturbed = 12 * pace
    disturbed[:3] *= 50
    found = paired_ratio(10 * pace, disturbed)
    assert (found.value, found.low, found.high) == pytest.approx((1.2, 1.2, 1.2))


def test_the_interval_is_the_order_statistics_that_cover_the_median() -> None:
    # Tables of the sign test: n = 6 needs the extremes, 15 the fourth from either end, 500 the 228th.
    assert [order_of(n) for n in (5, 6, 15, 500)] == [0, 1, 4, 228]
    found = median(np.arange(15, 0, -1))
    assert (found.value, found.low, found.high, found.n) == (8, 4, 12, 15)
    assert found.standard_error == pytest.approx(8 / (2 * 1.959964), rel=1e-6)
    assert median(np.arange(5)).standard_error is None and math.isnan(median(np.empty(0)).value)
    for n in (6, 15, 500):
        outside = 2 * sum(math.comb(n, i) for i in range(order_of(n))) / 2**n
        assert outside <= 0.05 < outside + 2 * math.comb(n, order_of(n)) / 2**n


def test_the_protocol_on_a_gpu_is_the_papers() -> None:
    assert (CUDA.batch_size, CUDA.warmup, CUDA.repeats, CUDA.compiled) == (256, 100, 500, True)
    assert CPU.repeats < CUDA.repeats and not CPU.compiled


def test_the_peak_of_memory_sees_what_was_freed_again() -> None:
    def allocate() -> None:
        torch.ones(25_000_000).sum()

    found = peak_of(allocate, torch.device("cpu"))
    if found.bytes is None:
        pytest.skip(found.kind)
    assert 90e6 < found.bytes < 200e6


# ---- a GPU's clock and memory, of which only the device is made up


class Device:
    """A GPU as its host sees it: what is started waits in a queue until somebody synchronises.

    Every call is held to the signature of torch's own function of that name.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.queue: list[tuple[str, Any]] = []
        self.calls: list[str] = []
        self.here: list[torch.device] = []
        self.of = {name: getattr(torch.cuda, name) for name in ("Event", "device", "synchronize")}
        for name in ("reset_peak_memory_stats", "max_memory_allocated"):
            self.of[name] = getattr(torch.cuda, name)
            monkeypatch.setattr(torch.cuda, name, self._named(name))
        monkeypatch.setattr(torch.cuda, "synchronize", self._named("synchronize"))
        monkeypatch.setattr(torch.cuda, "Event", self._event)
        monkeypatch.setattr(torch.cuda, "device", self._device)

    def start(self, milliseconds: float) -> None:
        self.queue.append(("work", milliseconds))

    def _named(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> int:
            inspect.signature(self.of[name]).bind(*args, **kwargs)
            assert args == (torch.device("cuda", 1),), "the device that the network is on, not the current one"
            self.calls.append(name)
            if name == "synchronize":
                for kind, what in self.queue:
                    if kind == "work":
                        self.now += what
                    else:
                        what.at = self.now
                self.queue.clear()
            return 12_000_000

        return call

    def _event(self, **kwargs: Any) -> Event:
        inspect.signature(self.of["Event"].__new__).bind(self.of["Event"], **kwargs)
        assert kwargs == {"enable_timing": True}, "an event that takes no time cannot be asked for one"
        return Event(self)

    @contextmanager
    def _device(self, device: torch.device) -> Iterator[None]:
        inspect.signature(self.of["device"]).bind(device)
        self.here.append(device)
        yield
        self.here.pop()


class Event:
    """torch.cuda.Event: known once the device has got there."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.at: float | None = None

    def record(self, *args: Any, **kwargs: Any) -> None:
        inspect.signature(torch.cuda.streams.Event.record).bind(self, *args, **kwargs)
        assert self.device.here == [torch.device("cuda", 1)], "recorded on the stream of another device"
        self.device.queue.append(("event", self))

    def elapsed_time(self, *args: Any, **kwargs: Any) -> float:
        [last] = inspect.signature(torch.cuda.streams.Event.elapsed_time).bind(self, *args, **kwargs).args[1:]
        if self.at is None or last.at is None:
            raise RuntimeError("Both events must be completed before calculating elapsed time.")
        return float(last.at - self.at)


def test_a_gpus_laps_are_the_time_on_the_device_and_it_is_waited_for_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch)
    clock = clock_of(torch.device("cuda", 1))
    assert isinstance(clock, CudaClock)
    found = paired(lambda: device.start(3), lambda: device.start(4.5), clock, warmup=2, repeats=5)
    assert found.reference.tolist() == [3] * 5 and found.variant.tolist() == [4.5] * 5
    assert device.calls == ["synchronize", "synchronize"], "once after warming up, once before reading"
    assert device.now == 7 * (3 + 4.5)


def test_a_gpus_events_are_not_read_before_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch)
    clock = CudaClock(torch.device("cuda", 1))
    clock.lap(lambda: device.start(3))
    with pytest.raises(RuntimeError, match="completed"):
        clock.laps[0][0].elapsed_time(clock.laps[0][1])
    assert clock.milliseconds().tolist() == [3] and clock.milliseconds().tolist() == []


def test_a_gpus_peak_is_taken_after_a_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch)
    found = peak_of(lambda: device.calls.append("run"), torch.device("cuda", 1))
    assert device.calls == ["synchronize", "reset_peak_memory_stats", "run", "synchronize", "max_memory_allocated"]
    assert found == (12_000_000, "allocated on the device, weights included")


def test_the_compiler_is_called_without_cuda_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda *args, **kwargs: seen.update(kwargs) or args[0])
    assert compile_step(abs) is abs  # type: ignore[arg-type,comparison-overlap]
    inspect.signature(real).bind(abs, **seen)
    assert "mode" not in seen and "options" not in seen
    assert not torch._inductor.list_mode_options("default").get("triton.cudagraphs", False)
    assert not torch._inductor.config.triton.cudagraphs


@pytest.mark.parametrize("name", [pytest.param("tiny_vit", marks=pytest.mark.slow), "tiny_cnn"])
def test_what_runs_can_be_traced_by_the_compiler(name: str) -> None:
    """Dynamo and AOTAutograd are real; only the code generator is left out. Whole networks, without a break."""
    backbone, path = backbones.load(name), PATHS[name]
    layer, images = backbone.model.get_submodule(path), images_of()
    width = layer.out_channels if isinstance(layer, nn.Conv2d) else layer.out_features
    # So large a k that a processor, too, selects by torch.topk as a GPU does, and not by a kernel of ours.
    sae = topk(40, width, k=30)  # type: ignore[arg-type]
    made: list[tuple[Tensor, Tensor]] = []

    def compiler(step: Any) -> Any:
        compiled = torch.compile(step, dynamic=False, backend="aot_eager", fullgraph=True)
        made.append((compiled(images), step(images)))
        return compiled

    protocol = Protocol(batch_size=2, warmup=0, repeats=1, compiled=True, memory_passes=1)
    for method in (sae, split_of(backbone, path)):
        found = measure(method, backbone, path, images, protocol, compiler=compiler)
        assert not found.notes and {m.compiled for m in found.found} == {False, True}
    # A reference and a changed network for each of the four ways to run.
    assert len(made) == 8
    for compiled, plain in made:
        torch.testing.assert_close(compiled, plain, rtol=1e-4, atol=1e-4)


# ---- in the network


@pytest.mark.parametrize("name", PATHS)
def test_the_network_with_a_method_computes_what_the_method_says(name: str) -> None:
    backbone, path = backbones.load(name), PATHS[name]
    layer, images = backbone.model.get_submodule(path), images_of()
    before = backbone.features(images)
    method = split_of(backbone, path)
    for mode in modes_of(method):
        with integrated(backbone, path, method, mode) as changed:
            torch.testing.assert_close(changed(images), before, rtol=1e-4, atol=1e-4)
            if mode == "":
                assert torch.equal(changed(images), before)
    # Something that does change the output, against a hook on the original.
    sae = topk(40, layer.out_channels if isinstance(layer, nn.Conv2d) else layer.out_features)  # type: ignore[arg-type]
    site = Site(backbone.model, path, n_prefix_tokens=0)
    expected = site.replace(
        backbone.features, images, lambda q, a: sae.decode(sae.encode(a.flatten(0, 1))).unflatten(0, a.shape[:2])
    )
    with integrated(backbone, path, sae, "") as changed:
        torch.testing.assert_close(changed(images), expected)
    assert not torch.allclose(expected, before, rtol=1e-2)
    # The original is as it was.
    assert backbone.model.get_submodule(path) is layer and torch.equal(backbone.features(images), before)


def test_the_copy_shares_the_weights() -> None:
    backbone = backbones.load("tiny_vit")
    method, images = split_of(backbone, PATHS["tiny_vit"]), images_of()
    with integrated(backbone, PATHS["tiny_vit"], method, "") as changed, torch.no_grad():
        backbone.model.get_parameter("norm.weight").mul_(3)
        assert torch.equal(changed(images), backbone.features(images))


def test_a_layer_that_a_copy_does_not_call_is_said() -> None:
    backbone = backbones.load("tiny_cnn")
    with pytest.raises(UserError, match="0 times"):
        # The features end before the classifier.
        check_reached(backbone, "fc", images_of())


def test_a_failing_compiler_is_a_note_and_the_other_figures_stand() -> None:
    def broken(step: object) -> object:
        raise RuntimeError("no compiler here\nand a long story")

    backbone = backbones.load("tiny_vit")
    method = split_of(backbone, PATHS["tiny_vit"])
    protocol = Protocol(batch_size=2, warmup=1, repeats=2, compiled=True, memory_passes=1)
    found = measure(method, backbone, PATHS["tiny_vit"], images_of(), protocol, compiler=broken)  # type: ignore[arg-type]
    assert [(m.mode, m.compiled) for m in found.found] == [(mode, False) for mode in modes_of(method)]
    assert found.notes[0] == "torch.compile failed: RuntimeError: no compiler here" and len(found.notes) == 3
    assert all(len(m.times.reference) == len(m.times.variant) == 2 for m in found.found)


def test_compiled_networks_are_timed_beside_the_others() -> None:
    compiled: list[object] = []

    def compiler(step: object) -> object:
        compiled.append(step)
        return step

    backbone = backbones.load("tiny_cnn")
    protocol = Protocol(batch_size=2, warmup=0, repeats=2, compiled=True, memory_passes=1)
    found = measure(topk(20, 12), backbone, "mix", images_of(), protocol, compiler=compiler)  # type: ignore[arg-type]
    assert [(m.mode, m.compiled) for m in found.found] == [("", False), ("", True)]
    assert len(compiled) == 2 and not found.notes


# ---- the suite and the store


def suite_of(folder: Path, metrics: list[str] | None) -> Suite:
    return parse_suite(
        {
            "name": "costs",
            "data": {"dataset": f"folder:{folder}", "evaluation": 6},
            "probing": {"crops": 0, "tokens_per_image": 4},
            "evaluation": {"top_images": 2, **({"metrics": metrics} if metrics else {})},
            "targets": [{"backbone": "tiny_vit"}],
            "methods": [
                {"name": "identity"},
                {"name": "random_split", "config": {"parts": 2}},
                {"name": "topk_sae", "config": {"expansion_factor": 2, "k": 4, "epochs": 1}},
            ],
        }
    )


def test_it_is_measured_only_where_a_suite_asks_for_it(photo_folder: Path) -> None:
    """A board of qualities is not slowed down by timings, and its cells keep their ids."""
    suite = suite_of(photo_folder, None)
    [metrics] = {cell.metrics for cell in cells_of(suite, prepare(suite, device="cpu"))}
    found = {metric.id for metric in metrics}
    assert "efficiency_ratio" in METRICS.names() and "efficiency_ratio" not in found
    assert {"r2", "ms_score"} <= found


def test_a_whole_run_records_what_a_row_needs(photo_folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "results.duckdb"
    summary = run(suite_of(photo_folder, ["efficiency_ratio"]), store)
    assert (summary.finished, summary.failed) == (3, 0)
    opened = open_store(store)
    assert not any(len(notes) for notes in opened.cells()["notes"])
    scores = opened.scores()
    names = {method: set(found["metric"]) for method, found in scores.groupby("method")}
    every = {"efficiency_ratio", "latency_ms", "throughput", "macs", "parameters"}
    assert every <= names["identity"] and every <= names["topk_sae"]
    for mode in ("materialised", "all_units"):
        assert {f"{name}_{mode}" for name in ("efficiency_ratio", "latency_ms", "macs")} <= names["random_split"]
    value = scores.set_index(["method", "metric"])["value"]
    assert (value[:, "efficiency_ratio"] > 0).all()
    layer, tokens = 4 * D * D, T
    whole = backbone_macs(backbones.load("tiny_vit")) / 1e9
    assert value["identity", "macs"] == value["random_split", "macs"] == pytest.approx(whole)
    extra = {
        ("topk_sae", "macs"): 2 * 2 * D * D,
        ("random_split", "macs_materialised"): 2 * layer - layer,
        ("random_split", "macs_all_units"): 2 * layer,
    }
    for key, per_token in extra.items():
        assert value[key] == pytest.approx(whole + tokens * per_token / 1e9)
    assert value["random_split", "parameters"] == pytest.approx((2 * layer + 2 * D) / 1e6)
    # One row for each way to run a method, the fastest first, with the products it follows from.
    shown = CliRunner().invoke(app, ["efficiency", "--store", str(store)])
    assert shown.exit_code == 0, shown.output
    lines = [line.split("  ")[0] for line in shown.output.splitlines()]
    assert lines.index("the network alone") < min(map(lines.index, ("backbone only", "TopK SAE", "random split")))
    found = json.loads(CliRunner().invoke(app, ["efficiency", "--store", str(store), "--json"]).output)
    assert sorted((way["label"], way["way"]) for way in found) == [
        ("TopK SAE", "encode and decode"),
        ("backbone only", "encode and decode"),
        ("random split", "all sub-units read"),
        ("random split", "sub-units summed"),
        ("random split", "unedited"),
    ]
    assert [way["ratio"] for way in found] == sorted(way["ratio"] for way in found)
    assert {way["n_pairs"] for way in found} == {CPU.repeats} and not any(way["compiled"] for way in found)
    by = {(way["label"], way["way"]): way for way in found}
    assert by["random split", "unedited"]["macs"] == by["random split", "unedited"]["backbone_macs"]
    assert by["TopK SAE", "encode and decode"]["conditions"]["batch_size"] == CPU.batch_size


def test_a_store_without_timings_says_how_to_make_them(tmp_path: Path) -> None:
    open_store(tmp_path / "r.duckdb", read_only=False).record(
        CellRecord(cell_id="c", status="finished", backbone="b", site="s", method="identity")
    )
    shown = CliRunner().invoke(app, ["efficiency", "--store", str(tmp_path / "r.duckdb")])
    assert shown.exit_code == 0 and "harness run --suite efficiency" in shown.output


def test_ways_that_share_no_conditions_stand_in_tables_of_their_own() -> None:
    one = Way("b", "s", {"threads": 1}, "m", "unedited", False, 1.0, 0.9, 1.1, 31, 10, 10, 5, 6, 2.0, 2.0, 0.1, "c")
    others = [one._replace(conditions={"threads": 2}), one._replace(compiled=True), one._replace(backbone="other")]
    assert len(tables([one, *others, one._replace(label="n")])) == 4
    [table] = tables([one, one._replace(ratio=1.2, low=None, memory_mb=None, backbone_memory_mb=None)])
    assert table.rows[0][:3] == ["the network alone", "", "1"] and table.rows[0][6] == "6"
    assert table.rows[2][2:4] == ["1.200", ""] and table.rows[2][6] == ""

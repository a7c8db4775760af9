"""The layer inside the model: the original bit for bit until edited, and brute force afterwards."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from in_memory import MemorySite, small_layer
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

import methods
from methods.additive import AdditiveSplit
from methods.disentangled import DisentangledLinear, swap
from methods.errors import UserError


def linear(site: MemorySite, *, bias: bool = True) -> nn.Linear:
    layer = nn.Linear(site.d_in, site.d_out, bias=bias, dtype=site.weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(site.weight)
        if bias:
            layer.bias.copy_(site.bias)
    return layer


def conv(site: MemorySite) -> nn.Conv2d:
    layer = nn.Conv2d(site.d_in, site.d_out, 1)
    with torch.no_grad():
        layer.weight.copy_(site.weight[:, :, None, None])
        layer.bias.copy_(site.bias)
    return layer


def uneven_split(site: MemorySite) -> AdditiveSplit:
    """A split with different numbers of sub-units a neuron, so that the order of rows matters."""
    method = methods.create("random_split", parts=4).fit(small_layer(n=300, d_in=12, d_out=7)[1], site)
    weights, biases = [], []
    for neuron, count in enumerate([1, 4, 2, 3, 1, 2, 4]):
        rows, offsets = method.weights[neuron * 4 : neuron * 4 + 4], method.biases[neuron * 4 : neuron * 4 + 4]
        weights.append(torch.cat([rows[: count - 1], rows[count - 1 :].sum(0, keepdim=True)]))
        biases.append(torch.cat([offsets[: count - 1], offsets[count - 1 :].sum(0, keepdim=True)]))
    method.assemble(weights, biases)
    return method


@pytest.fixture(scope="module")
def fitted() -> tuple[MemorySite, AdditiveSplit]:
    site, _ = small_layer(n=300, d_in=12, d_out=7)
    return site, uneven_split(site)


Layer = tuple[nn.Module, DisentangledLinear, Tensor]


@pytest.fixture(params=["linear", "no bias", "conv"])
def layer(request: pytest.FixtureRequest, fitted: tuple[MemorySite, AdditiveSplit]) -> Layer:
    site, method = fitted
    generator = torch.Generator().manual_seed(1)
    if request.param == "conv":
        original: nn.Module = conv(site)
        x = torch.randn(2, site.d_in, 5, 3, generator=generator)
    else:
        original = linear(site, bias=request.param == "linear")
        if request.param == "no bias":
            method = uneven_split(MemorySite(site.weight, torch.zeros_like(site.bias)))
        x = torch.randn(2, 9, site.d_in, generator=generator)
    return original, DisentangledLinear.from_split(original, method), x


def brute_force(layer: DisentangledLinear, x: Tensor, edits: dict[int, tuple[float, float]]) -> Tensor:
    """Every sub-unit computed, changed, and summed by neuron."""
    codes = layer.subunits(x).movedim(layer.unit_axis, -1).clone()
    for unit, (scale, offset) in edits.items():
        codes[..., unit] = scale * codes[..., unit] + offset
    out = codes.new_zeros(*codes.shape[:-1], layer.d_out).index_add_(-1, layer.parent, codes)
    return out.movedim(-1, layer.unit_axis)


def test_unedited_it_is_the_original_to_the_bit(layer: Layer) -> None:
    original, replaced, x = layer
    assert torch.equal(replaced(x), original(x))
    replaced.edit([0, 3], scale=2.0)
    assert not torch.equal(replaced(x), original(x))
    replaced.reset()
    assert torch.equal(replaced(x), original(x))


def test_subunits_are_the_methods(layer: Layer, fitted: tuple[MemorySite, AdditiveSplit]) -> None:
    _, replaced, x = layer
    _, method = fitted
    rows = x.movedim(replaced.unit_axis, -1).reshape(-1, replaced.d_in)
    found = replaced.subunits(x).movedim(replaced.unit_axis, -1).reshape(-1, replaced.n_units)
    expected = method.encode(rows) - (method.biases if replaced.bias is None else 0)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    some = replaced.subunits(x, [5, 2])
    torch.testing.assert_close(some, replaced.subunits(x).index_select(replaced.unit_axis, torch.tensor([5, 2])))


def test_materialised_sums_to_the_original(layer: Layer) -> None:
    original, replaced, x = layer
    replaced.materialised = True
    torch.testing.assert_close(replaced(x), original(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("materialised", [False, True])
def test_edits_are_what_brute_force_gives(layer: Layer, materialised: bool) -> None:
    original, replaced, x = layer
    replaced.materialised = materialised
    edits = {1: (0.0, 0.0), 2: (3.0, 0.5), 9: (1.0, -2.0), 13: (-1.0, 0.0)}
    for unit, (scale, offset) in edits.items():
        replaced.edit(unit, scale=scale, offset=offset)
    assert replaced.edits == edits
    base = replaced.subunits(x)
    change = brute_force(replaced, x, edits) - brute_force(replaced, x, {})
    expected = (brute_force(replaced, x, {}) if materialised else original(x)) + change
    torch.testing.assert_close(replaced(x), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(replaced.subunits(x), base, msg="sub-units are shown as they are before an edit")
    replaced.edit(2, scale=1.0)
    replaced.ablate(torch.tensor([9]))
    assert replaced.edits[2] == (1.0, 0.0) and replaced.edits[9] == (0.0, 0.0)


@pytest.mark.parametrize(("patches", "prefix"), [(0, 0), (1, 0), (3, 2), (None, 0), (100, 1)])
def test_patch_edits_are_what_brute_force_gives(layer: Layer, patches: int | None, prefix: int) -> None:
    original, replaced, x = layer
    scales = {1: 0.0, 2: 3.0, 9: -5.0, 13: 1.5}
    for unit, scale in scales.items():
        replaced.edit_patches(unit, scale=scale, patches=patches, prefix_tokens=prefix)
    assert replaced.patch_edits == {unit: (scale, patches) for unit, scale in scales.items()}
    codes = replaced.subunits(x).movedim(replaced.unit_axis, -1).flatten(1, -2)
    expected = original(x).movedim(replaced.unit_axis, -1).flatten(1, -2).clone()
    for image in range(len(x)):
        for unit, scale in scales.items():
            order = sorted(range(prefix, codes.shape[1]), key=lambda t: -float(codes[image, t, unit]))
            for token in order if patches is None else order[:patches]:
                expected[image, token, replaced.parent[unit]] += (scale - 1) * codes[image, token, unit]
    out = replaced(x).movedim(replaced.unit_axis, -1).flatten(1, -2)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)


def test_patch_edits_are_replaced_and_reset(layer: Layer) -> None:
    original, replaced, x = layer
    replaced.edit_patches([1, 2], scale=5.0, patches=2)
    replaced.edit_patches(2, scale=1.0, patches=None, prefix_tokens=1)
    assert replaced.patch_edits == {1: (5.0, 2), 2: (1.0, None)} and "2 edited" in replaced.extra_repr()
    assert copy.deepcopy(replaced).patch_edits == replaced.patch_edits
    replaced.reset(1)
    assert replaced.patch_edits == {2: (1.0, None)}
    torch.testing.assert_close(replaced(x), original(x), rtol=0, atol=0, msg="a scale of 1 changes nothing")
    replaced.reset()
    assert not replaced.patch_edits and torch.equal(replaced(x), original(x))
    replaced.edit_patches([1], scale=5.0, patches=None)
    replaced.ablate(1)
    assert not replaced.patch_edits and replaced.edits == {1: (0.0, 0.0)}, "the later edit counts"
    replaced.edit_patches([1], scale=5.0, patches=None)
    assert not replaced.edits and replaced.patch_edits == {1: (5.0, None)}


def test_patch_edits_that_make_no_sense_are_refused(layer: Layer) -> None:
    _, replaced, x = layer
    for wrong in ({"patches": -1}, {"patches": 2.5}, {"patches": 1, "scale": float("nan")}):
        with pytest.raises(UserError, match="whole numbers that are not negative"):
            replaced.edit_patches(0, **{"scale": 2.0, **wrong})
    with pytest.raises(UserError, match="no sub-unit 999"):
        replaced.edit_patches(999, scale=2.0, patches=1)
    replaced.edit_patches(0, scale=2.0, patches=1)
    if not replaced.is_conv:
        with pytest.raises(UserError, match="positions of an image"):
            replaced(x[0, 0])


def test_ablating_all_of_a_neuron_silences_it(layer: Layer) -> None:
    _, replaced, x = layer
    neuron = 1
    replaced.ablate((replaced.parent == neuron).nonzero()[:, 0])
    out = replaced(x).movedim(replaced.unit_axis, -1)[..., neuron]
    torch.testing.assert_close(out, torch.zeros_like(out), rtol=0, atol=1e-5)


def test_gradients_reach_the_input_and_the_parameters(layer: Layer) -> None:
    original, replaced, x = layer
    x.requires_grad_()
    (expected,) = torch.autograd.grad(original(x).square().sum(), x)
    (found,) = torch.autograd.grad(replaced(x).square().sum(), x)
    assert torch.equal(found, expected)
    replaced.edit(3, scale=0.0)
    replaced(x).square().sum().backward()
    assert x.grad is not None and replaced.weight.grad is not None
    replaced.materialised = True
    (through,) = torch.autograd.grad(replaced(x).square().sum(), x)
    assert torch.isfinite(through).all()


def test_state_dict_deepcopy_and_dtype(layer: Layer, fitted: tuple[MemorySite, AdditiveSplit]) -> None:
    original, replaced, x = layer
    state = replaced.state_dict()
    assert set(original.state_dict()) <= set(state)
    assert set(state) - set(original.state_dict()) == {"parent", "sub_weight", "sub_bias"}
    missing = replaced.load_state_dict(original.state_dict(), strict=False).missing_keys
    assert set(missing) == {"parent", "sub_weight", "sub_bias"}
    replaced.edit(4, scale=5.0)
    twin = copy.deepcopy(replaced)
    assert torch.equal(twin(x), replaced(x)) and twin.edits == replaced.edits
    twin.reset()
    assert replaced.edits and not torch.equal(twin(x), replaced(x))
    double = copy.deepcopy(replaced).to(torch.float64)
    torch.testing.assert_close(double(x.double()).float(), replaced(x), rtol=1e-4, atol=1e-5)
    double.edit(5, offset=1.0)
    assert double(x.double()).dtype == torch.float64
    site = fitted[0] if replaced.bias is not None else MemorySite(fitted[0].weight, torch.zeros_like(fitted[0].bias))
    other = methods.create("random_split", parts=1).fit(small_layer(n=300, d_in=12, d_out=7)[1], site)
    with pytest.raises(RuntimeError, match="size mismatch"):
        DisentangledLinear.from_split(original, other).load_state_dict(state)


def test_loading_another_split_of_the_same_size_takes_its_layout(fitted: tuple[MemorySite, AdditiveSplit]) -> None:
    site, method = fitted
    mirrored = methods.create("random_split", parts=1)
    cuts = torch.bincount(method.parent).tolist()
    pieces = list(zip(method.weights.split(cuts), method.biases.split(cuts), strict=True))[::-1]
    mirrored.assemble([piece[0] for piece in pieces], [piece[1] for piece in pieces])
    turned = MemorySite(site.weight.flip(0), site.bias.flip(0))
    first = DisentangledLinear.from_split(linear(site), method, materialised=True)
    second = DisentangledLinear.from_split(linear(turned), mirrored, materialised=True)
    first.edit(0, scale=9.0)
    first.load_state_dict(second.state_dict())
    x = torch.randn(4, site.d_in, generator=torch.Generator().manual_seed(0))
    assert torch.equal(first(x), second(x)) and not first.edits
    assert torch.equal(first.subunits(x), second.subunits(x))


def test_saves_and_loads(layer: Layer, tmp_path: Path) -> None:
    _, replaced, x = layer
    replaced.materialised = True
    loaded = DisentangledLinear.load(replaced.save(tmp_path / "layer.safetensors"))
    assert loaded.materialised and torch.equal(loaded(x), replaced(x))
    assert torch.equal(loaded.subunits(x), replaced.subunits(x))
    (tmp_path / "junk").write_bytes(b"junk")
    with pytest.raises(UserError, match="not a saved disentangled layer"):
        DisentangledLinear.load(tmp_path / "junk")
    with pytest.raises(UserError, match="There is no"):
        DisentangledLinear.load(tmp_path / "absent")


def test_autocast_gives_the_originals_dtype_and_bits(layer: Layer) -> None:
    original, replaced, x = layer
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(replaced(x), original(x)) and replaced(x).dtype == torch.bfloat16
        replaced.edit(2, scale=0.0)
        assert replaced(x).dtype == torch.bfloat16
        replaced.materialised = True
        assert replaced(x).dtype == torch.bfloat16


@pytest.mark.slow
def test_compiles_into_one_graph(layer: Layer) -> None:
    _, replaced, x = layer
    for materialised in (False, True):
        for edited in (False, True):
            torch._dynamo.reset()
            replaced.materialised = materialised
            replaced.reset()
            if edited:
                replaced.edit([2, 5], scale=0.5)
            compiled = torch.compile(replaced, fullgraph=True)
            torch.testing.assert_close(compiled(x), replaced(x), rtol=1e-5, atol=1e-5)
    torch._dynamo.reset()


def test_traces_without_a_graph_break(layer: Layer) -> None:
    """The same as test_compiles_into_one_graph, without the minute that generating code takes."""
    _, replaced, x = layer
    for materialised in (False, True):
        for edited in (False, True):
            torch._dynamo.reset()
            replaced.materialised = materialised
            replaced.reset()
            if edited:
                replaced.edit([2, 5], scale=0.5)
            compiled = torch.compile(replaced, fullgraph=True, backend="eager")
            torch.testing.assert_close(compiled(x), replaced(x))
    torch._dynamo.reset()


class Tiny(nn.Module):
    def __init__(self, site: MemorySite) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Identity(), linear(site), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


def test_swap_replaces_and_restores(fitted: tuple[MemorySite, AdditiveSplit], tmp_path: Path) -> None:
    site, method = fitted
    model = Tiny(site).eval()
    original, x = model.block[1], torch.randn(3, site.d_in, generator=torch.Generator().manual_seed(2))
    expected = model(x)
    with swap(model, "block.1", method) as layer:
        assert model.block[1] is layer and not layer.training
        assert torch.equal(model(x), expected)
        layer.ablate(range(layer.n_units))
        assert float(model(x).detach().abs().max()) < 1e-5
        layer.reset()
        save_model(model, str(tmp_path / "model.safetensors"))
        load_model(model, str(tmp_path / "model.safetensors"))
        assert torch.equal(model(x), expected)
    assert model.block[1] is original and torch.equal(model(x), expected)
    handle = swap(model, "block.1", method)
    handle.restore()
    assert model.block[1] is original


def test_what_does_not_fit_is_refused(fitted: tuple[MemorySite, AdditiveSplit]) -> None:
    site, method = fitted
    model = Tiny(site)
    with pytest.raises(UserError, match=r"no layer 'block\.9'"):
        swap(model, "block.9", method)
    with pytest.raises(UserError, match="path is empty"):
        swap(model, "", method)
    with pytest.raises(UserError, match="A ReLU cannot"):
        swap(model, "block.2", method)
    with pytest.raises(UserError, match="must be 1x1"):
        DisentangledLinear.from_split(nn.Conv2d(12, 7, 3), method)
    for padding in ((1, 1), (2, 2), (0, 1)):
        with pytest.raises(UserError, match="without padding"):
            DisentangledLinear.from_split(nn.Conv2d(12, 7, 1, padding=padding), method)
    with pytest.raises(UserError, match="12 -> 7, and this one is 12 -> 8"):
        DisentangledLinear.from_split(nn.Linear(12, 8), method)
    with pytest.raises(UserError, match="do not sum to those"):
        DisentangledLinear.from_split(nn.Linear(12, 7), method)
    with pytest.raises(UserError, match="not fitted"):
        DisentangledLinear.from_split(linear(site), methods.create("elude"))
    layer = DisentangledLinear.from_split(linear(site), method)
    with pytest.raises(UserError, match="no sub-unit 99"):
        layer.edit(99)


@pytest.mark.gpu
def test_moves_to_a_gpu(layer: Layer) -> None:
    _, replaced, x = layer
    replaced.edit(3, scale=0.0)
    expected = replaced(x)
    torch.testing.assert_close(replaced.to("cuda")(x.cuda()).cpu(), expected, rtol=1e-4, atol=1e-4)

"""Methods of Python objects: what they return, their atoms, their devices and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from overcomplete.sae import TopKSAE
from torch import Tensor, nn

from methods.errors import UserError
from methods.python_object.calls import ObjectCalls
from methods.python_object.object_method import ObjectMethod, object_method

WIDTH, UNITS = 6, 9


class Site:
    d_in = d_out = WIDTH
    kind = "output"


class Tokens:
    n, finite = 4, True

    def width(self, field: str) -> int:
        return WIDTH


class Plain:
    """Affine decoder, ReLU encoder."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.atoms = torch.randn(UNITS, WIDTH, generator=generator)
        self.bias = torch.randn(WIDTH, generator=generator)

    def encode(self, x: Tensor) -> Any:
        return torch.relu(x @ self.atoms.T)

    def decode(self, codes: Tensor) -> Any:
        return codes @ self.atoms + self.bias


class NumPy(Plain):
    def encode(self, x: Tensor) -> np.ndarray:
        return np.maximum(x.numpy() @ self.atoms.numpy().T, 0)

    def decode(self, codes: Tensor) -> np.ndarray:
        return codes.numpy() @ self.atoms.numpy() + self.bias.numpy()


class Sparse(Plain):
    def encode(self, x: Tensor) -> Tensor:
        return super().encode(x).to_sparse()


class Normalised(Plain):
    """Token normalisation, which the decoder undoes: it reads what the encoder has read."""

    def encode(self, x: Tensor) -> Tensor:
        return super().encode((x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True))

    def decode(self, codes: Tensor, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().decode(codes) * x.std(1, keepdim=True) + x.mean(1, keepdim=True)


class OptionalArgument(Plain):
    def decode(self, codes: Tensor, scale: float = 1.0) -> Tensor:
        return scale * super().decode(codes)


def fitted(value: Any) -> ObjectMethod:
    return object_method(value, width=WIDTH)().fit(Tokens(), Site())


ROWS = torch.randn(5, WIDTH, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("cls", [Plain, NumPy, Sparse, OptionalArgument])
def test_codes_outputs_and_atoms_are_those_of_the_object(cls: type[Plain]) -> None:
    value, method = cls(), fitted(cls())
    codes = method.encode(ROWS)
    assert torch.allclose(codes, Plain.encode(value, ROWS)) and codes.layout == torch.strided
    assert torch.allclose(method.decode(codes), Plain.decode(value, codes))
    assert torch.allclose(method.dictionary().atoms, value.atoms, atol=1e-5)
    assert method.n_units == UNITS and method.input_width == WIDTH
    assert not method.decode_reads_input


def test_a_decoder_may_undo_a_normalisation_of_each_token() -> None:
    value, method = Normalised(), fitted(Normalised())
    codes = method.encode(ROWS)
    assert method.decode_reads_input
    assert torch.allclose(method.reconstruct(codes, ROWS), value.decode(codes, ROWS))
    cosines = torch.cosine_similarity(method.dictionary().atoms, value.atoms)
    assert torch.allclose(cosines, torch.ones(UNITS)), "the length of an atom is that at one token"


def test_an_autoencoder_of_overcomplete_is_taken_as_it_is() -> None:
    torch.manual_seed(0)
    module = TopKSAE(WIDTH, UNITS, top_k=3)
    module.eval()
    method = fitted(module)
    with torch.no_grad():
        assert torch.equal(method.encode(ROWS), module.encode(ROWS)[1])
        assert torch.allclose(method.dictionary().atoms, module.get_dictionary(), atol=1e-6)


def test_dtype_of_the_input_is_kept() -> None:
    method = fitted(Plain())
    assert method.encode(ROWS).dtype == torch.float32

    class Single(Plain):
        def encode(self, x: Tensor) -> Tensor:
            return super().encode(x).half()

    assert fitted(Single()).encode(ROWS).dtype == torch.float32


def test_the_name_is_a_hash_of_what_determines_the_codes() -> None:
    def name(value: Any) -> str:
        return object_method(value, width=WIDTH, title="any").spec.name

    first = name(Plain())
    assert first == object_method(Plain(), width=WIDTH, title="other").spec.name
    changed = Plain()
    changed.bias[0] += 1
    assert len({first, name(changed), name(NumPy()), name(Normalised())}) == 4


def test_behaviour_that_no_attribute_shows_is_noticed() -> None:
    calls = {"k": 1.0}

    class Hidden(Plain):
        __slots__ = ()

        def encode(self, x: Tensor) -> Tensor:
            return calls["k"] * super().encode(x)

    before = object_method(Hidden(), width=WIDTH).spec.name
    calls["k"] = 2.0
    assert object_method(Hidden(), width=WIDTH).spec.name != before


def test_what_the_owner_does_with_a_module_later_changes_nothing() -> None:
    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.eye(WIDTH))

        def encode(self, x: Tensor) -> Tensor:
            return x @ self.weight

        def decode(self, codes: Tensor) -> Tensor:
            return codes @ self.weight.T

    given = Module()
    method = fitted(given)
    given.weight.data.zero_()
    assert torch.equal(method.encode(ROWS), ROWS)
    assert not method.encode(ROWS).requires_grad


def test_a_file_holds_the_tensors_and_the_object_gives_the_codes(tmp_path: Path) -> None:
    method = fitted(Plain())
    file = method.save(tmp_path / "fit.safetensors")
    again = type(method).load(file)
    assert torch.equal(again.encode(ROWS), method.encode(ROWS)) and again.notes == method.notes
    other = object_method(NumPy(), width=WIDTH)
    with pytest.raises(UserError, match=r"contains the method 'Plain\..*', not 'NumPy\."):
        other.load(file)


def test_tensors_that_share_memory_are_saved(tmp_path: Path) -> None:
    value = Plain()
    value.transposed = value.atoms.T  # type: ignore[attr-defined]
    assert fitted(value).save(tmp_path / "fit.safetensors").is_file()


class Counts(Plain):
    calls = 0

    def encode(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().encode(x)


class Lazy(Plain):
    def encode(self, x: Tensor) -> Tensor:
        if not hasattr(self, "scale"):
            self.scale = torch.tensor(2.0)
        return self.scale * super().encode(x)


def test_state_that_calls_change_is_refused_and_state_made_once_is_not() -> None:
    with pytest.raises(UserError, match="Counts changes its attributes whenever encode or decode is called"):
        object_method(Counts(), width=WIDTH)
    value = Lazy()
    name = object_method(value, width=WIDTH).spec.name
    assert not hasattr(value, "scale"), "a copy was called"
    value.encode(ROWS)
    assert object_method(value, width=WIDTH).spec.name == name


class HoldsModule:
    """No module itself: its parts are in training mode."""

    def __init__(self) -> None:
        self.norm = nn.BatchNorm1d(WIDTH)

    def encode(self, x: Tensor) -> Tensor:
        return self.norm(x)

    def decode(self, codes: Tensor) -> Tensor:
        return codes


def test_modules_of_an_object_are_copied_and_evaluated() -> None:
    value = HoldsModule()
    method = fitted(value)
    assert value.norm.training and not bool(value.norm.running_mean.any())
    assert torch.allclose(method.encode(ROWS), ROWS / (1 + value.norm.eps) ** 0.5)


def test_tensors_are_counted_once() -> None:
    value = Plain()
    value.view = value.atoms.T  # type: ignore[attr-defined]
    value.parts = [nn.Linear(2, 3), {"more": torch.ones(5)}]  # type: ignore[attr-defined]
    counted = sum(tensor.numel() for tensor in ObjectCalls(value).tensors().values())
    assert counted == UNITS * WIDTH + WIDTH + (6 + 3) + 5


class Coder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.outer = nn.Linear(WIDTH, UNITS), nn.Linear(UNITS, WIDTH)

    def encode(self, x: Tensor) -> Tensor:
        return self.inner(x)

    def decode(self, codes: Tensor) -> Tensor:
        return self.outer(codes)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_a_module_of_another_dtype_is_given_its_dtype(dtype: torch.dtype) -> None:
    assert fitted(Coder().to(dtype)).encode(ROWS).dtype == torch.float32


def test_a_compiled_module_is_the_module() -> None:
    assert object_method(torch.compile(Coder()), width=WIDTH).spec.name == object_method(Coder(), width=WIDTH).spec.name


def test_an_object_without_tensors_is_saved(tmp_path: Path) -> None:
    class Identity:
        def encode(self, x: Tensor) -> Tensor:
            return x

        def decode(self, codes: Tensor) -> Tensor:
            return codes

    method = fitted(Identity())
    assert torch.equal(method.dictionary().atoms, torch.eye(WIDTH))
    method.save(tmp_path / "fit.safetensors")


class NoDecode:
    def encode(self, x: Tensor) -> Tensor:
        return x


class Locked(nn.Module):
    def __deepcopy__(self, memo: Any) -> Any:
        raise RuntimeError("locked")

    encode = decode = nn.Identity.forward


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (3, "an object of the type int cannot be evaluated: it has no encode()"),
        (NoDecode(), "an object of the type NoDecode cannot be evaluated: it has no decode()"),
        (Plain, "the class Plain cannot be evaluated."),
        (Locked(), "The Locked cannot be copied (RuntimeError: locked)"),
    ],
)
def test_what_is_no_such_object_is_refused(value: Any, sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        ObjectCalls(value)
    assert sentence in str(refused.value)


def broken(**attributes: Any) -> Plain:
    return type("Broken", (Plain,), attributes)()


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (
            broken(encode=lambda self, x: x.sum()),
            "Broken.encode returns the shape () for (320, 6); it must be",
        ),
        (broken(encode=lambda self, x: x[:, :0]), "Broken.encode returns the shape (320, 0)"),
        (broken(encode=lambda self, x: [1]), "Broken.encode returns a list; it must return one tensor"),
        (broken(decode=lambda self, z: z), "Broken.decode returns 9 features, and this layer's output has 6"),
        (broken(decode=lambda self, z: z.sum(0)), "Broken.decode returns the shape (9,) for (320, 9)"),
        (broken(decode=lambda self, z: z[:, :6] * torch.nan), "Broken.decode returns NaN or infinity"),
        (broken(decode=lambda self, z: torch.zeros(len(z), 6)), "Broken.decode ignores the codes"),
        (broken(decode=lambda self, z, x: x), "Broken.decode ignores the codes"),
        (broken(decode=lambda self, z, x: x + 1e-6 * z[:, :6]), "Broken.decode returns part of what encode has read"),
    ],
)
def test_what_breaks_the_contract_is_refused(value: Plain, sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        fitted(value)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    "decode",
    [
        lambda self, z: z[:, :6] ** 2,
        lambda self, z: z.abs()[:, :6],
        lambda self, z: z.clamp(max=1)[:, :6],
        lambda self, z: z.clamp(-50, 50)[:, :6],
    ],
)
def test_a_decoder_that_is_not_affine_has_no_dictionary(decode: Any) -> None:
    method = fitted(broken(decode=decode))
    assert method.dictionary() is None and method.parents is None and method.n_units == 9
    assert method.is_fitted and method.to("cpu") is method

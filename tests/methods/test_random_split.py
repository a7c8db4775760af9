"""Random split: equal parts, or the parts of another method, with the identity and claims that follow."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from in_memory import small_layer

import methods
from harness.identity import digest
from methods.base import Dictionary, MethodSpec, Prerequisite
from methods.identity import Identity
from methods.random_split import RandomSplit

ELUDE = {"top_k": 90, "min_cluster_size": 10}
COUNTS_OF: dict[str, Any] = {"name": "elude", "config": ELUDE}


def counts(method: Any) -> list[int]:
    return torch.bincount(method.parents).tolist()


def test_equal_parts_keep_their_bits_and_their_configuration() -> None:
    """Cells on other people's disks were computed with this split. A change needs a new version."""
    site, tokens = small_layer()
    split = methods.create("random_split", parts=3).fit(tokens, site, seed=7)
    assert split.config.model_dump(mode="json") == {"parts": 3}
    assert RandomSplit.spec.version == 1 and split.notes == []
    generator = torch.Generator().manual_seed(7)
    for unit in range(site.d_out):
        part = torch.argsort(torch.rand(site.d_in, generator=generator), stable=True) % 3
        rows = split.weights[3 * unit : 3 * unit + 3]  # type: ignore[attr-defined]
        assert all(torch.equal(rows[k] != 0, part == k) for k in range(3))


def test_each_neuron_has_as_many_random_parts_as_the_other_method_gives_it() -> None:
    site, tokens = small_layer()
    elude = methods.create("elude", **ELUDE).fit(tokens, site)
    assert len(set(counts(elude))) > 1, "neurons are split differently"
    control = methods.create("random_split", counts_of=COUNTS_OF).fit(tokens, site, seed=3)
    assert counts(control) == counts(elude) and control.n_units == elude.n_units
    assert torch.allclose(control.decode(control.encode(tokens.fields["input"])), tokens.fields["output"], atol=1e-5)
    # The parts of a neuron are disjoint and of equal size, +-1, and their bias follows their size.
    weights: torch.Tensor = control.weights  # type: ignore[attr-defined]
    for unit, n_parts in enumerate(counts(control)):
        sizes = (weights[control.parents == unit] != 0).sum(1)
        assert int(sizes.sum()) == site.d_in and int(sizes.max() - sizes.min()) <= 1 and len(sizes) == n_parts
    other = methods.create("random_split", counts_of=COUNTS_OF).fit(tokens, site, seed=4)
    assert counts(other) == counts(elude), "ELUDe does not use the seed"
    assert not torch.equal(other.weights, weights), "which inputs a part has does"  # type: ignore[attr-defined]
    assert control.notes == [f"As many parts per neuron as elude has, {elude.n_units} for {site.d_out} neurons."]


def test_equal_counts_give_the_split_into_that_many_parts() -> None:
    """The two modes are one method: a method with three parts everywhere gives the split into three, bit for bit."""
    site, tokens = small_layer()
    of_three = {"name": "random_split", "config": {"parts": 3}}
    plain = methods.create("random_split", parts=3).fit(tokens, site, seed=5)
    counted = methods.create("random_split", counts_of=of_three).fit(tokens, site, seed=5)
    assert torch.equal(plain.weights, counted.weights)  # type: ignore[attr-defined]
    whole = methods.create("random_split", counts_of={"name": "identity"}).fit(tokens, site, seed=5)
    assert torch.equal(whole.weights, site.weight)  # type: ignore[attr-defined]


def test_a_fit_that_is_given_is_used_and_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    site, tokens = small_layer()
    elude = methods.create("elude", **ELUDE).fit(tokens, site)
    monkeypatch.setattr(type(elude), "fit", lambda *_, **__: pytest.fail("fitted again"))
    control = methods.create("random_split", counts_of=COUNTS_OF)
    control.prerequisite_fit = elude
    assert counts(control.fit(tokens, site, seed=1)) == counts(elude)


def test_the_configuration_is_complete_and_says_one_thing() -> None:
    config = methods.create("random_split", counts_of=COUNTS_OF).config
    values = config.model_dump(mode="json")
    complete = methods.create("elude", **ELUDE).config.model_dump(mode="json")
    assert values == {"counts_of": {"name": "elude", "config": complete}}
    # Another spelling of the same settings is the same configuration; a stored one is read again.
    spelled = {"name": "elude", "config": {**ELUDE, "winner_rule": "unique"}}
    assert methods.create("random_split", counts_of=spelled).config == config
    assert digest(methods.create("random_split", **values).config.model_dump(mode="json")) == digest(values)
    method, inner = RandomSplit.prerequisite(config) or (None, None)
    assert method is methods.METHODS.get("elude") and inner == methods.create("elude", **ELUDE).config
    assert RandomSplit.prerequisite(methods.create("random_split").config) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"parts": 4, "counts_of": COUNTS_OF}, "parts = 4 and counts_of = elude both set the number of sub-units"),
        (
            {"counts_of": {"name": "eluda"}},
            r"counts_of\.name = 'eluda': there is no method 'eluda'. Did you mean elude",
        ),
        ({"counts_of": {"name": "elude", "config": {"topk": 3}}}, "elude has no setting 'topk'. Did you mean top_k"),
        ({"counts_of": {"name": "elude", "settings": {}}}, r"no setting 'counts_of\.settings'"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(methods.UserError, match=message):
        methods.create("random_split", **settings)


class Fixed(Identity):
    """Method with given parents."""

    parents_of: torch.Tensor | None = None

    def dictionary(self) -> Dictionary:
        return Dictionary(torch.zeros(1, 1), self.parents_of, "writer")


@pytest.mark.parametrize(
    ("parents", "message"),
    [
        (None, "counts_of = elude: its units have no parent neurons"),
        (torch.tensor([0, 1, 2, 3, 4, 5, 6]), "it has 7 neurons .* this layer has 6 neurons"),
        (torch.zeros(17, dtype=torch.int64), "with up to 17 parts .* for each of 16 inputs"),
    ],
)
def test_counts_that_a_layer_cannot_have_are_refused(parents: torch.Tensor | None, message: str) -> None:
    site, tokens = small_layer()
    control = methods.create("random_split", counts_of=COUNTS_OF)
    control.prerequisite_fit = fixed = Fixed()
    fixed.parents_of = parents
    with pytest.raises(methods.UserError, match=message):
        control.fit(tokens, site)


def test_neurons_without_a_unit_are_kept_whole() -> None:
    site, tokens = small_layer()
    control = methods.create("random_split", counts_of=COUNTS_OF)
    control.prerequisite_fit = fixed = Fixed()
    fixed.parents_of = torch.tensor([0, 0, 3])
    assert counts(control.fit(tokens, site)) == [2, 1, 1, 1, 1, 1]
    assert control.notes[1] == "4 neurons without a unit of elude were kept whole."


def test_more_parts_than_inputs_are_refused() -> None:
    site, tokens = small_layer()
    with pytest.raises(methods.UserError, match=r"parts = 17: a neuron with 16 inputs has at most 16"):
        methods.create("random_split", parts=17).fit(tokens, site)


SAES = [f"{kind}_sae" for kind in ("archetypal", "batchtopk", "jumprelu", "matching_pursuit", "matryoshka", "topk")]
WITHOUT_PARENTS = [*SAES, "vanilla_sae", "transcoder", "frozen_decoder_sae", "ica", "kmeans", "nmf", "pca"]


@pytest.mark.parametrize("name", [*WITHOUT_PARENTS, "random_dictionary"])
def test_methods_without_parents_are_refused_before_anything_is_fitted(name: str) -> None:
    with pytest.raises(methods.UserError, match=f"counts_of = {name}: its units have no parent .* such as elude"):
        methods.create("random_split", counts_of={"name": name})


def test_the_title_and_the_claims_follow_from_the_counted_method() -> None:
    def spec(name: str) -> MethodSpec:
        return RandomSplit.spec_with(methods.create("random_split", counts_of={"name": name}).config)

    assert RandomSplit.spec_with(methods.create("random_split").config) == RandomSplit.spec
    assert spec("elude") == RandomSplit.spec._replace(title="random split (ELUDe's counts)")
    assert spec("dpcicnn").supervised and not RandomSplit.spec.supervised


def test_controls_name_the_families_that_they_are_the_chance_level_of() -> None:
    families = {methods.METHODS.get(name).spec.family for name in methods.names()}
    for name in methods.names():
        spec = methods.METHODS.get(name).spec
        assert not spec.control_for or spec.family == "control", name
        # Plugins may add methods of the family "dictionary"; none is built in.
        assert set(spec.control_for) <= families - {"control"} | {"dictionary"}, name
    by_family: dict[str, set[str]] = {}
    for name in methods.names():
        for family in methods.METHODS.get(name).spec.control_for:
            by_family.setdefault(family, set()).add(name)
    assert by_family["split"] == by_family["virtual split"] == {"random_split"}
    assert (
        by_family["sae"]
        == by_family["transcoder"]
        == {
            "random_dictionary",
            "frozen_decoder_sae",
            "frozen_encoder_sae",
        }
    )


def test_control_for_must_be_a_tuple() -> None:
    class Wrong(Identity):
        spec = Identity.spec._replace(name="wrong", control_for="split")  # type: ignore[arg-type]

    with pytest.raises(methods.UserError, match=r"control_for` is 'split'; give a tuple of families"):
        methods.register(Wrong)
    assert "wrong" not in methods.METHODS.entries


def test_a_prerequisite_is_fitted_in_a_folder_of_its_own(tmp_path: Any) -> None:
    site, tokens = small_layer()
    seen: list[Any] = []

    class Recording(Identity):
        spec = Identity.spec._replace(name="recording")

        def learn(self, *args: Any) -> None:
            seen.append(self.work_dir)
            super().learn(*args)

    class Needing(Identity):
        spec = Identity.spec._replace(name="needing")

        @classmethod
        def prerequisite(cls, config: Any) -> Prerequisite:
            return Prerequisite(Recording, Recording.Config())

        def learn(self, tokens: Any, site: Any, seed: int, device: Any, progress: Any) -> None:
            self.fitted_prerequisite(tokens, site, seed=seed, device=device, progress=progress)
            super().learn(tokens, site, seed, device, progress)

    method = Needing()
    method.fit(tokens, site)
    method.work_dir = tmp_path
    method.fit(tokens, site)
    assert seen == [None, tmp_path / "prerequisite"]
    with pytest.raises(ValueError, match="no prerequisite"):
        Identity().fitted_prerequisite(tokens, site, seed=1, device="cpu", progress=print)

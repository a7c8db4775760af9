"""DNRwCV, PURE and DPCiCNN where the answer is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from in_memory import MemorySite, MemoryTokens, small_layer
from sklearn.metrics import adjusted_rand_score
from torch import Tensor
from torch.nn import functional

import methods
from methods.dpcicnn import FACTORS, ClassMeans, exclusive_inputs, rewire
from methods.references import TokensByImage, by_size, kmeans_labels, reference_images


def mixed_unit(n_concepts: int = 2, *, noise: float = 0.05, n_images: int = 120) -> tuple[MemorySite, MemoryTokens]:
    """Unit 0 sums ``n_concepts`` concepts of 8 inputs each, unit 1 reads the first one only, unit 2 never fires.

    Every image holds one concept, which is its label, on 3 of its 4 tokens; the last token is empty.
    The last 4 inputs are always on.
    """
    generator = torch.Generator().manual_seed(0)
    d_in = 8 * n_concepts + 4
    label = np.arange(n_images) % n_concepts
    q = noise * torch.rand(4 * n_images, d_in, generator=generator)
    q[:, 8 * n_concepts :] = 0.5  # the same on every token: nobody's own
    for image, concept in enumerate(label.tolist()):
        on = slice(8 * concept, 8 * concept + 8)
        q[4 * image : 4 * image + 3, on] += 1 + 0.2 * torch.rand(3, 8, generator=generator)
    weight = torch.zeros(3, d_in)
    weight[0, : 8 * n_concepts] = 1
    weight[0, 8 * n_concepts :] = 0.2
    weight[1, :8] = 1
    weight[2] = -1
    bias = torch.tensor([0.1, 0.0, -0.5])
    tokens = MemoryTokens(q, q @ weight.T + bias)
    tokens.image = np.arange(len(q)) // 4
    tokens.label = label[tokens.image]
    return MemorySite(weight, bias), tokens


class TestReferences:
    def test_equals_a_loop_over_images(self) -> None:
        generator = np.random.default_rng(0)
        a = torch.from_numpy(generator.integers(-3, 4, (60, 5)).astype(np.float32))
        a[:, 4] = -1
        tokens = MemoryTokens(a, a)
        tokens.image = generator.integers(0, 9, 60)
        tokens.position = np.where(generator.random(60) < 0.2, -1, tokens.position)  # some CLS tokens
        tokens.label = tokens.image % 2
        images = TokensByImage(tokens)
        present = np.unique(tokens.image)
        for memory, ranking in itertools.product((1 << 28, 1), ("maximum", "mean")):
            for found in reference_images(tokens, images, 4, ranking=ranking, memory_bytes=memory):
                column = a[:, found.unit].numpy()
                peak = [column[tokens.image == image].max() for image in present]
                value = peak
                if ranking == "mean":
                    inside = [(tokens.image == image) & (tokens.position >= 0) for image in present]
                    value = [column[rows].astype(np.float64).mean() for rows in inside]
                order = [i for i in sorted(range(len(peak)), key=lambda i: (-value[i], i)) if peak[i] > 0][:4]
                assert found.image.tolist() == order
                for number, row in zip(order, found.row.tolist(), strict=True):
                    rows = np.flatnonzero(tokens.image == present[number])
                    assert row == rows[column[rows].argmax()]
        assert images.label.tolist() == (present % 2).tolist()

    def test_k_means_copes_with_too_few_points(self) -> None:
        assert kmeans_labels(np.zeros((0, 3)), 2, 1, 0).tolist() == []
        assert kmeans_labels(np.ones((1, 3)), 2, 1, 0).tolist() == [0]
        assert len(set(kmeans_labels(np.ones((6, 9)), 3, 2, 0).tolist())) == 1
        assert [rows.tolist() for rows in by_size(np.array([1, 0, 0, -1, 1, 2]))] == [[0, 4], [1, 2], [5]]

    def test_k_means_in_the_coordinates_of_the_gram_matrix_is_k_means(self) -> None:
        generator = np.random.default_rng(1)
        wide = np.concatenate([generator.normal(size=(10, 80)) + 3 * generator.normal(size=80) for _ in range(3)])
        padded = np.concatenate([wide, np.repeat(wide, 9, axis=0)])  # more points than dimensions: no Gram matrix
        narrow, full = kmeans_labels(wide, 3, 5, 0), kmeans_labels(padded, 3, 5, 0)[:30]
        assert adjusted_rand_score(narrow, np.repeat(range(3), 10)) == adjusted_rand_score(narrow, full) == 1


class TestPURE:
    @pytest.mark.parametrize("n_concepts", [2, 3])
    def test_recovers_planted_groups_and_sums_to_the_original(self, n_concepts: int) -> None:
        site, tokens = mixed_unit(n_concepts)
        method = methods.create("pure", clusters=n_concepts, reference_samples=120).fit(tokens, site, seed=1)
        codes = method.encode(tokens.fields["input"])
        full = np.arange(tokens.n) % 4 < 3  # the tokens that hold a concept
        own = torch.nonzero(method.parents == 0)[:, 0]
        assert len(own) == n_concepts
        assigned = codes[:, own].abs().argmax(1).numpy()
        assert adjusted_rand_score(tokens.label[full], assigned[full]) >= 0.9
        a = tokens.fields["output"]
        assert float((method.decode(codes) - a).abs().max()) < 1e-5
        assert bool(((codes != 0).sum(1) <= site.d_out).all()), "one copy a neuron"

    def test_the_gate_is_the_nearest_centroid(self) -> None:
        site, tokens = small_layer()
        method = methods.create("pure", clusters=3, reference_samples=40).fit(tokens, site, seed=0)
        q = tokens.fields["input"]
        codes, parents, centroids = method.encode(q), method.parents, method.dictionary().atoms
        for unit, row in itertools.product(range(site.d_out), range(0, tokens.n, 17)):
            own = torch.nonzero(parents == unit)[:, 0]
            r = site.weight[unit] * q[row]
            nearest = own[(centroids[own] - r / r.abs().sum()).norm(dim=1).argmin()]
            expected = torch.zeros(len(own))
            expected[own == nearest] = tokens.fields["output"][row, unit]
            torch.testing.assert_close(codes[row, own], expected, rtol=1e-5, atol=1e-5)

    def test_neurons_that_never_fire_stay_whole(self) -> None:
        site, tokens = mixed_unit()
        method = methods.create("pure").fit(tokens, site)
        assert torch.bincount(method.parents).tolist() == [2, 2, 1]
        assert "(1 never fire" in method.notes[0]

    def test_fewer_references_than_circuits(self) -> None:
        site, tokens = mixed_unit(n_images=3)
        method = methods.create("pure", clusters=5).fit(tokens, site)
        assert torch.bincount(method.parents).tolist() == [3, 3, 1]
        q = torch.zeros(2, site.d_in)  # an input without any contribution has no direction
        torch.testing.assert_close(method.decode(method.encode(q)), site.bias.expand(2, -1))

    def test_little_memory_gives_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        site, tokens = small_layer()
        method = methods.create("pure").fit(tokens, site, seed=0)
        whole = method.encode(tokens.fields["input"])
        monkeypatch.setattr("methods.pure._MEMORY", 1)
        torch.testing.assert_close(method.encode(tokens.fields["input"]), whole)


class TestDNRwCV:
    def planted(self) -> tuple[MemorySite, MemoryTokens, Tensor]:
        """Neuron 0 fires on images of two directions, neuron 1 on those of the first only, neuron 2 never."""
        generator = torch.Generator().manual_seed(3)
        directions = torch.zeros(2, 12)
        directions[0, [0, 1, 4, 5]] = torch.tensor([2.0, 2.0, 1.0, 3.0])
        directions[1, [0, 7, 8]] = torch.tensor([2.0, -3.0, 2.0])
        a = 0.05 * torch.randn(160, 12, generator=generator)
        which = torch.arange(160) // 4 % 2
        a += directions[which]
        a[:, 1] -= 1
        a[:, 2] = -1
        target = torch.stack([a[which == k].mean(0) for k in range(2)])
        return MemorySite(torch.zeros(12, 3), torch.zeros(12)), MemoryTokens(torch.zeros(160, 3), a), target

    def test_recovers_planted_directions(self) -> None:
        site, tokens, target = self.planted()
        method = methods.create("dnrwcv", distance_quantile=0.99).fit(tokens, site, seed=1)
        parents, atoms = method.parents, method.dictionary().atoms
        own = atoms[parents == 0]
        cosine = functional.normalize(target, dim=1) @ own.T
        assert len(own) == 2 and bool((cosine.max(1).values > 0.995).all())
        assert int((parents == 1).sum()) == 1
        assert float((functional.normalize(target[0], dim=0) @ atoms[parents == 1].T).max()) > 0.995
        torch.testing.assert_close(atoms[parents == 2], torch.eye(12)[2:3])
        a = tokens.fields["output"]
        torch.testing.assert_close(method.encode(a), a @ atoms.T)
        torch.testing.assert_close(atoms.norm(dim=1), torch.ones(len(atoms)))

    def test_decode_gives_back_what_the_directions_span(self) -> None:
        site, tokens = small_layer(d_out=6)
        method = methods.create("dnrwcv", min_cluster_size=2).fit(tokens, site, seed=1)
        a = tokens.fields["output"]
        atoms = method.dictionary().atoms.double()
        expected = a.double() @ torch.linalg.pinv(atoms, rtol=1e-5) @ atoms
        torch.testing.assert_close(method.decode(method.encode(a)).double(), expected, rtol=1e-3, atol=1e-3)
        few = methods.create("dnrwcv", min_cluster_size=100).fit(tokens, site, seed=1)
        torch.testing.assert_close(few.decode(few.encode(a)), a)  # every neuron kept its own axis
        assert few.n_units == site.d_out and "6 of 6 neurons have no cluster" in few.notes[0]

    def test_images_are_ranked_by_their_mean_activation(self) -> None:
        """Six images along e1 have the largest maxima of neuron 0, and six along e0 the largest means."""
        along = torch.zeros(12, 4, 3)
        along[:6, :, 0] = torch.tensor([0.9, 1.0, 1.1, 1.0])[:, None].T  # mean 1, maximum 1.1
        along[6:, 0, 0], along[6:, :, 1] = 2.0, 3.0  # mean 0.5, maximum 2
        tokens = MemoryTokens(torch.zeros(48, 3), along.reshape(48, 3))
        tokens.image, tokens.position = np.repeat(range(12), 4), np.tile(range(4), 12)
        site = MemorySite(torch.zeros(3, 3), torch.zeros(3))
        expected = {
            "mean": torch.tensor([1.0, 0, 0]),
            "maximum": torch.nn.functional.normalize(torch.tensor([0.5, 3, 0]), dim=0),
        }
        for ranking, direction in expected.items():
            method = methods.create("dnrwcv", top_images=6, ranking=ranking).fit(tokens, site)
            torch.testing.assert_close(method.directions[method.parents == 0], direction[None])
        by_default = methods.create("dnrwcv", top_images=6).fit(tokens, site)
        torch.testing.assert_close(by_default.directions[by_default.parents == 0], expected["mean"][None])
        assert by_default.spec.version == 2

    def test_prefix_tokens_count_only_where_there_are_no_others(self) -> None:
        from methods.dnrwcv import image_means

        a = torch.arange(12.0).reshape(6, 2)
        tokens = MemoryTokens(a, a)
        tokens.image, tokens.position = np.array([4, 4, 4, 7, 7, 9]), np.array([-1, 0, 5, -1, -2, 3])
        found = image_means(tokens, TokensByImage(tokens), np.array([0, 1]))
        np.testing.assert_allclose(found, np.stack([a[1:3].mean(0), a[3:5].mean(0)]))

    def test_points_far_from_their_centre_and_small_clusters_are_dropped(self) -> None:
        from methods.dnrwcv import ward

        near = np.array([1.0, 0.0]) + 0.01 * np.random.default_rng(0).normal(size=(20, 2))
        points = np.concatenate([near, [[1.0, 0.5]]])
        method = methods.create("dnrwcv")
        found = method._directions(points, ward(points), np.inf, 0)
        np.testing.assert_allclose(found, [near.mean(0) / np.linalg.norm(near.mean(0))], atol=3e-3)
        lenient = methods.create("dnrwcv", outlier_factor=1e6)._directions(points, ward(points), np.inf, 0)
        np.testing.assert_allclose(lenient, [points.mean(0) / np.linalg.norm(points.mean(0))])
        apart = np.concatenate([near, near[:4] + np.array([0.0, 9.0])])  # a second cluster of four
        assert len(method._directions(apart, ward(apart), 1.0, 0)) == 1
        assert len(methods.create("dnrwcv", min_cluster_size=4)._directions(apart, ward(apart), 1.0, 0)) == 2
        identical = np.ones((6, 2)) / 3
        np.testing.assert_allclose(method._directions(identical, ward(identical), 1.0, 0), [[0.5**0.5] * 2])

    def test_centring_takes_a_common_mean_out_of_the_directions(self) -> None:
        site, tokens, target = self.planted()
        common = 50 * torch.ones(12)
        common[[1, 2]] = 0  # unit 1 has to stay silent on the second concept, unit 2 on both
        tokens.fields["output"] += common
        plain = methods.create("dnrwcv", distance_quantile=0.99).fit(tokens, site, seed=1)
        assert float((plain.directions[plain.parents == 0] @ functional.normalize(common, dim=0)).min()) > 0.99
        assert "have collapsed" in plain.notes[-1] and "unit_overlap" in plain.notes[-1]
        # Ten of the trees join the same 40 images, and so share every height up to rounding: of 409 merges the ten
        # highest are equal, and the ten below. Between the two, the cut does not depend on rounding.
        centred = methods.create("dnrwcv", distance_quantile=398.5 / 408, centred=True).fit(tokens, site, seed=1)
        assert not any("collapsed" in note for note in centred.notes)
        own = centred.directions[centred.parents == 0]
        apart = functional.normalize(target[0] - target[1], dim=0)
        assert sorted((own @ apart).round(decimals=1).tolist()) == [-1, 1]
        a = tokens.fields["output"]
        torch.testing.assert_close(centred.encode(a), (a - a.mean(0)) @ centred.directions.T, rtol=1e-4, atol=1e-4)


class TestDPCiCNN:
    @pytest.mark.parametrize("n_concepts", [2, 3])
    def test_finds_the_inputs_and_the_signs(self, n_concepts: int) -> None:
        site, tokens = mixed_unit(n_concepts)
        method = methods.create("dpcicnn", max_classes=n_concepts).fit(tokens, site)
        own = torch.nonzero(method.parents == 0)[:, 0]
        assert method.signs[own].tolist() == [*[1.0] * n_concepts, 1.0 - n_concepts]
        assert method.classes[own].tolist() == [*range(n_concepts), -1]
        used = method.weights[own] != 0
        for concept in range(n_concepts):
            expected = torch.zeros(site.d_in, dtype=torch.bool)
            expected[8 * concept : 8 * concept + 8] = True
            expected[8 * n_concepts :] = True  # what no class owns is shared
            assert torch.equal(used[concept], expected)
        assert torch.equal(used[-1], torch.arange(site.d_in) >= 8 * n_concepts)
        assert bool((method.biases[own] == site.bias[0]).all())
        codes = method.encode(tokens.fields["input"])
        assert float((method.decode(codes) - tokens.fields["output"]).abs().max()) < 1e-5
        full = np.arange(tokens.n) % 4 < 3
        assert (codes[:, own[:-1]].argmax(1).numpy() == tokens.label)[full].all()

    def test_neurons_of_one_class_and_silent_ones_stay_whole(self) -> None:
        site, tokens = mixed_unit()
        method = methods.create("dpcicnn").fit(tokens, site)
        assert torch.bincount(method.parents).tolist() == [3, 1, 1]
        assert "1 of 3 neurons were split" in method.notes[0]

    def test_labels_are_needed_and_missing_ones_left_out(self) -> None:
        site, tokens = mixed_unit()
        whole = methods.create("dpcicnn").fit(tokens, site)
        labels = tokens.label.copy()
        tokens.label = np.where(tokens.image >= 100, -1, labels)
        part = methods.create("dpcicnn").fit(tokens, site)
        assert torch.equal(part.parents, whole.parents) and torch.equal(part.weights, whole.weights)
        tokens.label = np.zeros_like(labels)
        assert methods.create("dpcicnn").fit(tokens, site).n_units == site.d_out  # one class has no pair
        tokens.label = np.full_like(labels, -1)
        with pytest.raises(methods.UserError, match="supervised and needs the class"):
            methods.create("dpcicnn").fit(tokens, site)

    def test_what_the_thresholds_mean(self) -> None:
        site, tokens = mixed_unit()
        assert methods.create("dpcicnn", tau=1.0).fit(tokens, site).n_units == site.d_out
        assert methods.create("dpcicnn", max_cosine=-1).fit(tokens, site).n_units == site.d_out
        assert methods.create("dpcicnn", min_images=61).fit(tokens, site).n_units == site.d_out

    def test_ownership_by_hand(self) -> None:
        relevance = torch.tensor([[1.0, 0.4, 0.0, -1.0, 0.5], [0.2, 0.5, 0.3, -5.0, 0.5]])
        expected = torch.tensor([[1, 0, 0, 0, 0], [0, 0, 1, 0, 0]], dtype=torch.bool)
        assert torch.equal(exclusive_inputs(relevance, 0.5), expected)
        expected[1, 1] = True
        assert torch.equal(exclusive_inputs(relevance, 0.9), expected)

    def test_the_factor_is_the_best_of_the_grid(self) -> None:
        generator = torch.Generator().manual_seed(0)
        weight = torch.randn(20, generator=generator)
        inputs, positive = torch.rand(2, 3, 20, generator=generator).double()
        means = ClassMeans(inputs, positive, torch.tensor([0.5, 0.7, 0.9]).double(), [0, 1, 2])
        made = rewire(weight, 0.3, means)

        def contrast(factor: float) -> float:
            own = exclusive_inputs(weight * means.inputs, factor)
            total = 0.0
            for c in range(3):
                member = own[c] | ~own.any(0)
                on = [
                    max(0.0, float((weight * member * means.positive[k]).sum() + 0.3 * means.active[k]))
                    for k in range(3)
                ]
                others = [
                    max(
                        0.0,
                        float((weight * (own[o] | ~own.any(0)) * means.positive[c]).sum() + 0.3 * means.active[c]),
                    )
                    for o in range(3)
                    if o != c
                ]
                total += on[c] / (sum(others) / 2 + 1e-5)
            return total

        values = [contrast(factor) for factor in FACTORS]
        assert made.factor == FACTORS[int(np.argmax(values))]
        torch.testing.assert_close(made.weights[:-1].sum(0) - 2 * made.weights[-1], weight)

    def test_relevance_is_averaged_over_all_positions(self) -> None:
        """Input 2 excites the neuron on half of the tokens of class 0, and inhibits it by as much on the others."""
        q = torch.tensor([[1.0, 0, 1, 1], [1, 0, -4, 1]] * 4 + [[0.0, 1, 0, 1], [0, 1, 0, 1]] * 4)
        weight = torch.ones(1, 4)
        tokens = MemoryTokens(q, q @ weight.T)
        tokens.image, tokens.position = np.repeat(range(8), 2), np.tile(range(2), 8)
        tokens.label = np.repeat([0, 1], 8)
        site = MemorySite(weight, torch.zeros(1))
        # Class 0 has r = (1, 0, -1.5, 1) over all positions and (0.5, 0, 0.5, 0.5) over the positive ones; class 1 has
        # (0, 1, 0, 1). So input 2 is nobody's own or that of class 0, and input 3 nobody's own or that of class 1.
        expected = {
            "all": [[1.0, 0, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1]],
            "positive": [[1.0, 0, 1, 0], [0, 1, 0, 1], [0, 0, 0, 0]],
        }
        for positions, weights in expected.items():
            method = methods.create("dpcicnn", tau=0.0, max_cosine=0.9, positions=positions).fit(tokens, site)
            assert method.weights.tolist() == weights
        by_default = methods.create("dpcicnn", tau=0.0, max_cosine=0.9).fit(tokens, site)
        assert by_default.weights.tolist() == expected["all"] and by_default.spec.version == 2

    def test_tokens_in_any_order_and_in_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        site, tokens = mixed_unit()
        whole = methods.create("dpcicnn").fit(tokens, site)
        order = np.random.default_rng(0).permutation(tokens.n)
        shuffled = MemoryTokens(tokens.fields["input"][order], tokens.fields["output"][order])
        shuffled.image, shuffled.position = tokens.image[order], tokens.position[order]
        shuffled.label = tokens.label[order]
        monkeypatch.setattr("methods.dpcicnn._ROWS", 7)
        again = methods.create("dpcicnn").fit(shuffled, site)
        assert torch.equal(whole.weights, again.weights)

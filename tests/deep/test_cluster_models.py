"""Lists of cluster models and parameters, what they default to, and fits of one or several candidates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterimg.errors import UsageError

sklearn = pytest.importorskip("sklearn")

from sklearn.cluster import DBSCAN, AgglomerativeClustering, KMeans  # noqa: E402
from sklearn.datasets import make_blobs  # noqa: E402
from sklearn.metrics import adjusted_rand_score  # noqa: E402

from clusterimg.deep import _candidate_fits  # noqa: E402
from clusterimg.deep._candidate_fits import bytes_of, clean, fit_group, groups_of, reduced, resolved  # noqa: E402
from clusterimg.deep.cluster_models import (  # noqa: E402
    MODELS,
    Candidate,
    Quantile,
    are_sizes_given,
    default_models,
    parse_models,
    spread,
)

WARD = "agglomerative:n_clusters=2,9,40,linkage=ward"
BLOBS, TRUTH = make_blobs(120, 6, centers=5, random_state=3)


def one(text: str) -> Candidate:
    (candidate,) = parse_models([text], 100)
    return candidate


def test_lists_are_multiplied() -> None:
    texts = ["agglomerative:n_clusters=5,10,linkage=ward,average", "dbscan:eps=0.3,50%,min_samples=3"]
    assert [str(candidate) for candidate in parse_models(texts, 100)] == [
        "agglomerative:n_clusters=5,linkage=ward",
        "agglomerative:n_clusters=5,linkage=average",
        "agglomerative:n_clusters=10,linkage=ward",
        "agglomerative:n_clusters=10,linkage=average",
        "dbscan:eps=0.3,min_samples=3",
        "dbscan:eps=50%,min_samples=3",
    ]


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("kmeans:n_clusters=5", {"n_clusters": 5}),
        ("KMeans: n_clusters = 5 , tol = 1e-3", {"n_clusters": 5, "tol": 0.001}),
        ("agglomerative:distance_threshold=0.5", {"distance_threshold": 0.5, "n_clusters": None}),
        ("AgglomerativeClustering:n_clusters=7,linkage=single", {"n_clusters": 7, "linkage": "single"}),
        ("kmeans:n_clusters=4,tol=0,n_init=auto", {"n_clusters": 4, "tol": 0, "n_init": "auto"}),
        ("dbscan:eps=25%", {"eps": Quantile(25.0)}),
        ("hdbscan:min_cluster_size=3,min_samples=none", {"min_cluster_size": 3, "min_samples": None}),
    ],
)
def test_values(text: str, params: dict[str, object]) -> None:
    assert dict(one(text).params) == params


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("kmean:n_clusters=5", "take one of kmeans, minibatchkmeans"),
        ("kmeans:k=5", "n_clusters"),
        ("kmeans:random_state=5", "no parameter 'random_state'"),
        ("kmeans:5", "'5' is no value"),
        ("kmeans:n_clusters=", "is no value"),
        ("kmeans:n_clusters=2,,3", "is no value"),
        ("kmeans:n_clusters=2,n_clusters=3", "given twice"),
        ("kmeans:n_clusters=0", "n_clusters"),
        ("kmeans:n_clusters=5%", "only the eps of dbscan"),
        ("dbscan:eps=0.5,min_samples=5%", "only the eps of dbscan"),
        ("dbscan:eps=0%", "above 0%"),
        ("dbscan:eps=nan%", "above 0%"),
        ("agglomerative:n_clusters=4,linkage=wrad", "linkage"),
        ("hdbscan:min_cluster_size=1", "min_cluster_size"),
        ("", "there is no cluster model ''"),
    ],
)
def test_what_there_is_not(text: str, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        parse_models([text], 100)


@pytest.mark.parametrize("texts", [[], "kmeans"])
def test_no_list_of_models(texts: list[str]) -> None:
    with pytest.raises(UsageError, match="list of texts"):
        parse_models(texts, 100)


@pytest.mark.parametrize("text", ["kmeans", "kmeans:n_init=2", "hdbscan:cluster_selection_method=leaf"])
def test_a_grid_takes_the_place_of_the_size(text: str) -> None:
    found = parse_models([text], 100)
    assert len(found) > 3
    assert {candidate.get(MODELS[candidate.model].size) for candidate in found} >= {2, 3, 5}


def test_repeated_candidates_are_tried_once() -> None:
    assert len(parse_models(["kmeans:n_clusters=5,5", "kmeans:n_clusters=5"], 100)) == 1


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 10**9), min_size=1, max_size=4, unique=True),
    st.lists(st.floats(0, 1e9), min_size=1, max_size=4, unique=True),
)
def test_candidates_are_written_as_they_are_read(sizes: list[int], tols: list[float]) -> None:
    listed = f"kmeans:n_clusters={','.join(map(str, sizes))},tol={','.join(map(str, tols))}"
    found = parse_models([listed], 100)
    assert [(c.get("n_clusters"), c.get("tol")) for c in found] == [(s, t) for s in sizes for t in tols]
    assert parse_models([str(candidate) for candidate in found], 100) == found


@given(st.floats(1e-9, 100))
def test_shares_are_written_as_they_are_read(percent: float) -> None:
    candidate = Candidate("dbscan", (("eps", Quantile(percent)),))
    assert parse_models([str(candidate)], 100) == [candidate]


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 10, 600, 2_001, 20_001, 10**6])
def test_defaults_follow_n(n: int) -> None:
    found = parse_models(None, n)
    assert {candidate.model for candidate in found} == {text.split(":")[0] for text in default_models(n)}
    sizes = [candidate.get("n_clusters") for candidate in found]
    assert max(size for size in sizes if isinstance(size, int)) <= max(2, n // 2)
    assert len(found) < (160 if n <= 2_000 else 60)


@given(st.integers(2, 10**6), st.integers(0, 10**6), st.integers(2, 40))
def test_spread(low: int, more: int, count: int) -> None:
    steps = spread(low, low + more, count)
    assert steps == sorted(set(steps))
    assert steps[0] == low
    assert steps[-1] == low + more
    assert len(steps) <= count


def test_a_tree_is_cut_as_scikit_learn_cuts_it() -> None:
    candidates = parse_models(["agglomerative:n_clusters=1,2,7,60,119,120,121,linkage=average,ward"], 120)
    groups = groups_of(candidates)
    assert [len(group) for group in groups] == [7, 7]
    for group in groups:
        for fit in fit_group(BLOBS, [candidates[index] for index in group], 0):
            k = fit.candidate.get("n_clusters")
            if k == 121:
                assert fit.labels is None
                assert fit.reason == "121 clusters of 120 points"
                continue
            model = AgglomerativeClustering(k, linkage=fit.candidate.get("linkage"))
            np.testing.assert_array_equal(fit.labels, clean(model.fit_predict(BLOBS)))


def test_a_distance_threshold_is_no_number_of_clusters() -> None:
    candidates = parse_models(["agglomerative:distance_threshold=5.0,9.0"], 120)
    assert groups_of(candidates) == [[0], [1]]
    (fit,) = fit_group(BLOBS, candidates[:1], 0)
    model = AgglomerativeClustering(None, distance_threshold=5.0)
    np.testing.assert_array_equal(fit.labels, clean(model.fit_predict(BLOBS)))


def test_above_the_bound_a_tree_follows_near_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_candidate_fits, "WHOLE_TREE", 100)
    members = parse_models(["agglomerative:n_clusters=5,6"], 120)
    fits = fit_group(BLOBS, members, 0)
    assert adjusted_rand_score(TRUTH, fits[0].labels) == 1
    assert bytes_of(members, BLOBS) != 8 * 120 * 120


@pytest.mark.parametrize("model", ["kmeans", "minibatchkmeans", "gaussianmixture"])
def test_a_seed_repeats(model: str) -> None:
    members = [parse_models([model], 120)[-1]]
    points = np.random.default_rng(0).normal(size=(120, 4))
    first, again, other = (fit_group(points, members, seed)[0].labels for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_kmeans_is_scikit_learns() -> None:
    (fit,) = fit_group(BLOBS, [one("kmeans:n_clusters=9")], 4)
    model = KMeans(9, n_init=3, random_state=4)
    np.testing.assert_array_equal(fit.labels, clean(model.fit_predict(BLOBS)))


def test_what_does_not_converge_says_so() -> None:
    points = np.random.default_rng(0).normal(size=(200, 4))
    (fit,) = fit_group(points, [one("kmeans:n_clusters=20,max_iter=1,tol=0.0")], 0)
    assert fit.reason == "did not converge"
    assert fit.labels is not None


def test_an_error_of_a_model_is_a_reason() -> None:
    params = (("n_clusters", 4), ("linkage", "ward"), ("metric", "cosine"))
    (fit,) = fit_group(BLOBS, [Candidate("agglomerative", params)], 0)
    assert fit.labels is None
    assert "Ward can only work with euclidean" in fit.reason


def test_noise_and_single_points_are_outliers() -> None:
    labels = clean(np.array([7, -1, 3, 3, 9, 7, -1, 5]))
    np.testing.assert_array_equal(labels, [0, -1, 1, 1, -1, 0, -1, -1])
    assert labels.dtype == np.int32
    assert clean(np.array([], int)).shape == (0,)


def test_a_share_is_the_distance_within_which_dbscan_finds_that_share_of_cores() -> None:
    (candidate,) = resolved(BLOBS, [one("dbscan:eps=50%,min_samples=4")], 0)
    eps = candidate.get("eps")
    assert isinstance(eps, float)
    cores = len(DBSCAN(eps=eps, min_samples=4).fit(BLOBS).core_sample_indices_)
    assert abs(cores - 60) <= 2


def test_a_share_of_copies_is_a_distance_above_zero() -> None:
    points = np.repeat(np.eye(3), 4, axis=0)
    (candidate,) = resolved(points, [one("dbscan:eps=50%,min_samples=2")], 0)
    (fit,) = fit_group(points, [candidate], 0)
    np.testing.assert_array_equal(fit.labels, np.repeat([0, 1, 2], 4))


def test_mixtures_see_few_dimensions() -> None:
    points = np.random.default_rng(0).normal(size=(100, 80))
    assert reduced(points, 0).shape == (100, _candidate_fits.MIXTURE_DIMS)
    assert reduced(points[:, :8], 0) is not None
    np.testing.assert_array_equal(reduced(points[:, :8], 0), points[:, :8])
    np.testing.assert_array_equal(reduced(points, 5), reduced(points, 5))


def test_a_graph_in_pieces_is_put_together(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(_candidate_fits, "WHOLE_TREE", 50)
    points, truth = make_blobs(40 * 20, 6, centers=40, cluster_std=0.1, random_state=1)  # a piece each
    few, some, all_pieces = fit_group(points, parse_models([WARD], len(points)), 0)
    assert [int(fit.labels.max()) + 1 for fit in (few, some) if fit.labels is not None] == [2, 9]
    assert all_pieces.labels is not None and adjusted_rand_score(truth, all_pieces.labels) == 1.0
    assert not recwarn.list


@pytest.mark.parametrize(
    ("texts", "are_given"),
    [
        (None, False),
        (["kmeans"], False),
        (["kmeans:n_clusters=3"], True),
        (["kmeans:n_clusters=3,5,init=random", "gaussianmixture:n_components=4"], True),
        (["kmeans:n_clusters=3", "hdbscan:min_cluster_size=3"], False),
        (["agglomerative:distance_threshold=0.5"], False),
    ],
)
def test_whether_numbers_of_clusters_are_given(texts: list[str] | None, are_given: bool) -> None:
    assert are_sizes_given(texts) == are_given


def test_trees_of_groups_are_cut_near_to_all_of_them() -> None:
    sizes = {c.get("n_clusters") for c in parse_models(["agglomerative"], 100, of_groups=True)}
    assert {2, 3, 97, 98, 99} <= sizes and max(sizes) == 99
    assert max(c.get("n_clusters") for c in parse_models(["agglomerative"], 100)) == 50
    for n in (1, 2, 3):
        assert all(c.get("n_clusters") == 2 for c in parse_models(["agglomerative"], n, of_groups=True))


@pytest.mark.parametrize(
    "text",
    [
        "agglomerative:n_clusters=4,linkage=ward,metric=cosine",
        "agglomerative:n_clusters=none",
        "dbscan:eps=0.5,metric=precomputed",
    ],
)
def test_values_that_do_not_go_together_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=text.split(",")[0]):
        parse_models([text], 100)


def test_values_for_many_points_are_not_refused() -> None:
    texts = ["hdbscan:min_cluster_size=500,min_samples=300", "kmeans:n_clusters=900,n_init=20"]
    texts += [
        "gaussianmixture:n_components=400,covariance_type=full,n_init=8",
        "dbscan:eps=5%,min_samples=90",
    ]
    assert len(parse_models(texts, 100_000)) == 4

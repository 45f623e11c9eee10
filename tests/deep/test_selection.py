"""The labeling that is chosen: known answers, degenerate points, scores, ties, memory, threads."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clusterimg.errors import UsageError

sklearn = pytest.importorskip("sklearn")

from sklearn import metrics  # noqa: E402
from sklearn.datasets import make_blobs, make_moons  # noqa: E402
from threadpoolctl import threadpool_info  # noqa: E402

from clusterimg.deep import _scores, selection  # noqa: E402
from clusterimg.deep._candidate_fits import Fit  # noqa: E402
from clusterimg.deep._parallel import run_jobs  # noqa: E402
from clusterimg.deep._ranking import ranked  # noqa: E402
from clusterimg.deep._scores import Scores, sample_of  # noqa: E402
from clusterimg.deep.cluster_models import Candidate, parse_models  # noqa: E402
from clusterimg.deep.selection import Selection, choose  # noqa: E402

BLOBS, TRUTH = make_blobs(120, 6, centers=6, random_state=3)
LITTLE = ["kmeans:n_clusters=2,6,20", "agglomerative:n_clusters=6,30", "hdbscan:min_cluster_size=3"]


def little(points: NDArray[np.floating], *, models: list[str] | None = None, **options: object) -> Selection:
    return choose(points, parse_models(models or LITTLE, len(points)), n_jobs=1, **options)  # type: ignore[arg-type]


def rand(truth: NDArray[np.int_], labels: NDArray[np.int32]) -> float:
    alone = labels < 0
    return float(metrics.adjusted_rand_score(truth, np.where(alone, 10**6 + np.arange(len(labels)), labels)))


@pytest.mark.parametrize("rule", selection.RULES)
@pytest.mark.parametrize(("k", "size"), [(2, 40), (7, 20), (40, 3), (60, 2)])
def test_blobs_are_found(k: int, size: int, rule: str) -> None:
    points, truth = make_blobs(k * size, 16, centers=k, random_state=1)
    found = choose(points, n_jobs=1, rule=rule)
    best = found.best
    assert best is not None
    assert (best.n_clusters, rand(truth, found.labels)) == (k, 1.0)
    assert found.labels.dtype == np.int32


@pytest.mark.parametrize("model", ["dbscan:eps=0.2,5.0", "hdbscan:min_cluster_size=10,290,min_samples=5"])
def test_moons_are_found_by_density(model: str) -> None:
    points, truth = make_moons(300, noise=0.04, random_state=0)
    found = little(points, models=[model])
    assert rand(truth, found.labels) > 0.95


def test_noise_is_left_out() -> None:
    points = np.concatenate([BLOBS, np.random.default_rng(0).uniform(-60, 60, (12, 6))])
    found = little(points, models=["hdbscan:min_cluster_size=5"])
    assert (found.labels[120:] == -1).all()
    assert found.best is not None
    assert found.best.outliers == (found.labels < 0).mean() >= 12 / 132


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_too_few_points_are_outliers(n: int) -> None:
    found = choose(BLOBS[:n])
    assert found.best is None
    assert found.labels.tolist() == [-1] * n
    assert "there are" in found.note


@pytest.mark.parametrize("n", [4, 5, 6, 9])
def test_few_points(n: int) -> None:
    found = choose(BLOBS[:n], n_jobs=1)
    assert len(found.labels) == n
    if found.best is not None:
        assert found.best.n_clusters >= 2


@pytest.mark.parametrize("rule", selection.RULES)
def test_two_pairs_of_four(rule: str) -> None:
    points = np.array([[0, 0.1], [5, 5], [0, 0], [5, 5.1]])
    assert choose(points, n_jobs=1, rule=rule).labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("n", [2, 3, 50])
def test_equal_points_are_one_cluster(n: int) -> None:
    found = choose(np.full((n, 3), 0.1))
    assert found.best is None
    assert found.labels.tolist() == [0] * n
    assert "the same" in found.note


def test_copies_of_a_few_points() -> None:
    points = np.repeat(np.eye(5), 10, axis=0)
    found = choose(points, n_jobs=1)
    assert rand(np.repeat(np.arange(5), 10), found.labels) == 1
    rows = {row.name: row for row in found.rows}
    assert rows["kmeans:n_clusters=25"].n_clusters <= 5 or rows["kmeans:n_clusters=25"].reason


def test_all_but_one_point_equal() -> None:
    points = np.zeros((30, 4))
    points[7] = 1
    found = choose(points, n_jobs=1)
    assert found.best is None
    assert set(found.labels.tolist()) == {-1}
    assert all(row.reason for row in found.rows)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_points_that_are_no_numbers(bad: float) -> None:
    points = BLOBS.copy()
    points[[5, 9], 2] = bad
    with pytest.raises(UsageError, match="2 of 120 are not, first 5"):
        choose(points)


@pytest.mark.parametrize(
    "points", [np.zeros(3), np.zeros((3, 0)), np.zeros((2, 3), int), np.zeros((2, 2, 2))]
)
def test_points_of_another_shape(points: NDArray[np.floating]) -> None:
    with pytest.raises(UsageError, match="points must be floating"):
        choose(points)


def test_options_that_there_are_not() -> None:
    with pytest.raises(UsageError, match="neighbours, mean-rank"):
        choose(BLOBS, rule="best")
    with pytest.raises(UsageError, match="n_jobs"):
        choose(BLOBS, n_jobs=-1)
    with pytest.raises(UsageError, match="memory"):
        choose(BLOBS, memory="much")


def test_candidates_that_find_nothing_never_win() -> None:
    models = ["dbscan:eps=1e-6,1e6", "kmeans:n_clusters=1,121", "agglomerative:n_clusters=120,121"]
    found = little(BLOBS, models=[*models, "kmeans:n_clusters=2"])
    assert found.best is not None
    assert found.best.name == "kmeans:n_clusters=2"
    outliers, one = "no cluster: all points are outliers", "one cluster only"
    assert {row.name: row.reason for row in found.rows[1:]} == {
        "dbscan:eps=1e-06": outliers,
        "dbscan:eps=1000000.0": one,
        "kmeans:n_clusters=1": one,
        "kmeans:n_clusters=121": "121 clusters of 120 points",
        "agglomerative:n_clusters=120": outliers,
        "agglomerative:n_clusters=121": "121 clusters of 120 points",
    }
    assert all(row.score is None and row.mean_rank is None and not row.chosen for row in found.rows[1:])


def test_no_candidate_is_valid() -> None:
    found = little(BLOBS, models=["kmeans:n_clusters=1"])
    assert found.best is None
    assert (found.labels == -1).all()
    assert found.note == "no candidate is valid: all points are outliers"


labelings = st.lists(st.integers(-1, 5), min_size=60, max_size=60).map(
    lambda labels: np.array(labels, np.int32)
)


@given(labelings)
@settings(deadline=None)
def test_scores_are_scikit_learns(labels: NDArray[np.int32]) -> None:
    points = BLOBS[:60]
    scores = sample_of(points, 0, 2**30).scores(labels)
    kept = labels >= 0
    n_clusters = len(set(labels[kept]))
    if not 2 <= n_clusters < kept.sum():
        assert scores is None
        return
    assert scores is not None
    assert scores.share == kept.mean()
    assert scores.silhouette == pytest.approx(metrics.silhouette_score(points[kept], labels[kept]), abs=1e-5)
    ch = metrics.calinski_harabasz_score(points[kept], labels[kept])
    assert scores.calinski_harabasz == pytest.approx(ch)
    db = metrics.davies_bouldin_score(points[kept], labels[kept])
    assert scores.davies_bouldin == pytest.approx(db)


def test_modularity_is_that_of_the_book() -> None:
    """Two triangles joined by an edge: 6/7 of the edges inside, half of the ends in each."""
    sample = sample_of(BLOBS[:6], 0, 2**30)
    edges = np.array([[0, 0, 1, 3, 3, 4, 2], [1, 2, 2, 4, 5, 5, 3]])
    sample = dataclasses.replace(sample, edges=edges, weights=np.ones(7))
    assert sample.modularity(np.array([0, 0, 0, 1, 1, 1], np.int32)) == pytest.approx(6 / 7 - 1 / 2)
    assert sample.modularity(np.zeros(6, np.int32)) == pytest.approx(0)
    without = 3 / 7 - (7**2 + 2**2 + 2**2 + 3**2 - 2 * 0) / 14**2
    assert sample.modularity(np.array([0, 0, 0, -1, -1, -1], np.int32)) == pytest.approx(without)


def test_edges_join_mutual_neighbours_by_their_distance() -> None:
    points = np.array([[0.0], [1.0], [3.0], [10.0], [11.0], [14.0]])
    sample = sample_of(points, 0, 2**30)  # two neighbours of six points
    assert sample.edges.T.tolist() == [[0, 1], [0, 2], [1, 2], [3, 4], [3, 5], [4, 5]]
    np.testing.assert_allclose(sample.weights, [1, 2 / 9, 2 / 4, 1, 3 / 16, 3 / 9])
    chain = sample_of(np.array([[0.0], [1.0], [2.5], [10.0]]), 0, 2**30)  # one neighbour each, 2.5's is 1
    assert chain.edges.T.tolist() == [[0, 1]]


def test_a_sample_is_the_same_for_a_seed_and_holds_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_scores, "MOST_SCORED", 100)
    points, truth = make_blobs(400, 8, centers=100, random_state=0)
    first, again, other = (sample_of(points, seed, 2**30) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.drawn, again.drawn)
    assert (first.drawn[:50] != other.drawn[:50]).any()
    assert len(first.drawn) <= 100
    assert np.bincount(truth[first.drawn]).tolist().count(1) < 10
    found = choose(points, n_jobs=1)
    assert (found.n_points, found.n_scored) == (400, len(sample_of(points, 0, 2**30).drawn))
    assert rand(truth, found.labels) > 0.9


def test_outliers_do_not_buy_a_win() -> None:
    """The best labeling less all but its clearest clusters has better scores, but a smaller share."""
    sample = sample_of(BLOBS, 0, 2**30)
    truth = TRUTH.astype(np.int32)
    values = metrics.silhouette_samples(BLOBS, truth)
    thrown = np.where(values > np.quantile(values, 0.6), truth, -1).astype(np.int32)
    whole, part = sample.scores(truth), sample.scores(thrown)
    assert whole is not None
    assert part is not None
    assert part.silhouette > whole.silhouette
    assert whole.counted() == (whole.silhouette, whole.calinski_harabasz, -whole.davies_bouldin)
    assert part.counted()[0] == part.silhouette * part.share < whole.counted()[0]
    assert part.counted()[1:] == (part.calinski_harabasz * part.share, -part.davies_bouldin / part.share)
    fits = [
        Fit(Candidate("kmeans", (("n_clusters", k),)), labels, 0.0) for k, labels in ((1, thrown), (2, truth))
    ]
    for rule in selection.RULES:
        assert ranked(fits, [part, whole], rule)[0][0].params == {"n_clusters": 2}


def test_ties_go_to_fewer_outliers_then_fewer_clusters_then_the_first() -> None:
    score = Scores(0.5, 10.0, 1.0, 0.5, 1.0)
    a = np.array([0, 0, 1, 1, 2, 2], np.int32)
    b = np.array([0, 0, 0, 1, 1, 1], np.int32)
    c = np.array([0, 0, -1, 1, 1, 1], np.int32)
    fits = [
        Fit(Candidate("kmeans", (("n_clusters", k),)), labels, 0.0) for k, labels in enumerate((c, a, b, b))
    ]
    for rule in selection.RULES:
        rows, order = ranked(fits, [score] * 4, rule)
        assert order == [2, 3, 1, 0]
        assert [row.chosen for row in rows] == [True, False, False, False]
        assert {row.mean_rank for row in rows} == {2.5}


def test_the_order_is_that_of_the_rule() -> None:
    by_score = little(BLOBS, rule="neighbours").rows
    assert [row.score for row in by_score] == sorted((row.score or 0 for row in by_score), reverse=True)
    by_rank = little(BLOBS, rule="mean-rank").rows
    assert [row.mean_rank for row in by_rank] == sorted(row.mean_rank or 0 for row in by_rank)


def timeless(found: Selection) -> dict[str, object]:
    facts = found.as_json()
    return {**facts, "candidates": [{**row, "seconds": 0} for row in facts["candidates"]]}


def test_as_json_and_as_a_table() -> None:
    found = little(BLOBS, models=["kmeans:n_clusters=2,6,121"])
    facts = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert facts["rule"] == "neighbours"
    assert facts["candidates"][0]["params"] == {"n_clusters": 6}
    assert [row["chosen"] for row in facts["candidates"]] == [True, False, False]
    heading, *lines = found.table()
    assert "silhouette" in heading
    assert lines[0].startswith("*  kmeans:n_clusters=6")
    assert lines[2].endswith("121 clusters of 120 points")
    assert len(found.table(1)) == 2


def test_threads_and_order_of_ends_play_no_part() -> None:
    candidates = parse_models(None, 120)
    one, two = (choose(BLOBS, candidates, n_jobs=n_jobs) for n_jobs in (1, 2))
    np.testing.assert_array_equal(one.labels, two.labels)
    assert timeless(one) == timeless(two)


def test_points_are_left_as_they_are() -> None:
    points = BLOBS.copy()
    points.flags.writeable = False
    assert timeless(little(points)) == timeless(little(np.asfortranarray(BLOBS)))
    assert rand(TRUTH, little(points[:, ::-1].astype(np.float32)).labels) == 1


def test_progress_counts_up() -> None:
    seen: list[tuple[int, int]] = []
    little(BLOBS, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 5) for done in range(1, 6)]


def test_a_candidate_that_needs_too_much_memory_is_left_out() -> None:
    points = np.random.default_rng(0).normal(size=(2_000, 4))
    models = ["agglomerative:n_clusters=4", "kmeans:n_clusters=4"]
    found = little(points, models=models, memory="16M")
    rows = {row.model: row for row in found.rows}
    assert rows["kmeans"].chosen
    assert rows["agglomerative"].reason.startswith("needs about 31 MB of memory, more than 16 MB")


def _watched(peak: list[int]) -> Callable[[], None]:
    lock, running = threading.Lock(), [0]

    def job() -> None:
        with lock:
            running[0] += 1
            peak[0] = max(peak[0], running[0])
        time.sleep(0.05)
        with lock:
            running[0] -= 1

    return job


@pytest.mark.parametrize(("memory", "most"), [(10, 1), (25, 2), (100, 4)])
def test_as_many_jobs_run_as_memory_allows(memory: int, most: int) -> None:
    peak = [0]
    run_jobs([_watched(peak)] * 8, [10] * 8, n_jobs=4, memory=memory)
    assert peak == [most]


def test_one_job_larger_than_memory_runs_alone() -> None:
    peak = [0]
    job = _watched(peak)
    assert run_jobs([job, job, lambda: 3], [100, 1, 1], n_jobs=3, memory=10) == [None, None, 3]
    assert peak == [1]


def test_an_error_of_a_job_is_raised_and_no_further_job_begins() -> None:
    begun: list[int] = []

    def job(index: int) -> None:
        begun.append(index)
        raise KeyError(index)

    with pytest.raises(KeyError):
        run_jobs([lambda i=i: job(i) for i in range(9)], range(9), n_jobs=1, memory=100)  # type: ignore[misc]
    assert len(begun) < 9


def test_interrupting_ends_the_wait() -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    before = threadpool_info()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_jobs([lambda: None, lambda: time.sleep(5)], [2, 1], n_jobs=1, memory=9, progress=interrupt)
    assert time.monotonic() - start < 3
    assert threadpool_info() == before

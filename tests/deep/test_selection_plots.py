"""Pictures of a selection, from points of every kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from clusterimg.errors import ResultError, UsageError

pytest.importorskip("sklearn")
matplotlib = pytest.importorskip("matplotlib")

from sklearn.datasets import make_blobs  # noqa: E402

from clusterimg.deep import selection_plots  # noqa: E402
from clusterimg.deep.cluster_models import parse_models  # noqa: E402
from clusterimg.deep.selection import Selection, choose  # noqa: E402
from clusterimg.deep.selection_plots import (  # noqa: E402
    _draw_scores,
    _figure,
    cluster_colours,
    projection,
    save_projection,
    save_scores,
)

BLOBS = make_blobs(60, 5, centers=3, random_state=0)[0]


def chosen(points: NDArray[np.floating], *models: str) -> Selection:
    return choose(
        points, parse_models(models or ["kmeans:n_clusters=2,3,5", "hdbscan"], len(points)), n_jobs=1
    )


def pixels(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path).convert("RGB"))


def colours_in(picture: NDArray[np.uint8]) -> set[tuple[int, ...]]:
    return {tuple(colour) for colour in np.unique(picture.reshape(-1, 3), axis=0).tolist()}


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 9, 12, 60])
def test_any_number_of_points_is_drawn(n: int, tmp_path: Path) -> None:
    found = chosen(BLOBS[:n])
    save_scores(found, tmp_path / "scores.png")
    save_projection(BLOBS[:n], found, tmp_path / "points.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["points.png", "scores.png"]
    assert pixels(tmp_path / "points.png").std() > 0
    assert pixels(tmp_path / "scores.png").std() > 0


@pytest.mark.parametrize("points", [np.zeros((20, 3)), BLOBS[:20, :1], np.repeat(np.eye(3), 8, axis=0)])
def test_points_of_few_dimensions_are_drawn(points: NDArray[np.floating], tmp_path: Path) -> None:
    assert np.isfinite(projection(points)).all()
    assert projection(points).shape == (len(points), 2)
    save_projection(points, chosen(points), tmp_path / "points.png")


def test_each_cluster_has_its_colour_and_outliers_are_grey(tmp_path: Path) -> None:
    points = np.concatenate([BLOBS, 40 * np.eye(5)[:3]])
    found = chosen(points, "dbscan:eps=3.0,min_samples=3")
    assert (found.labels < 0).any()
    save_projection(points, found, tmp_path / "points.png")
    seen = colours_in(pixels(tmp_path / "points.png"))
    wanted = (cluster_colours(np.bincount(found.labels[found.labels >= 0])) * 255).round().astype(int)
    assert {tuple(colour) for colour in wanted.tolist()} <= seen
    assert (0xAA, 0xB4, 0xBE) in seen


def test_many_clusters_have_many_colours() -> None:
    counts = np.arange(200, 0, -1)
    colours = cluster_colours(counts)
    assert colours.shape == (200, 3)
    assert 0 <= colours.min() <= colours.max() <= 1
    assert len(np.unique(colours.round(3), axis=0)) > 190
    shuffled = np.random.default_rng(0).permutation(200)
    np.testing.assert_array_equal(cluster_colours(counts[shuffled]), colours[shuffled])
    assert cluster_colours(np.array([], int)).shape == (0, 3)


def test_lines_and_the_chosen_candidate_are_in_each_panel() -> None:
    found = chosen(BLOBS, "kmeans:n_clusters=2,3,5", "agglomerative:n_clusters=3,4,linkage=ward,average")
    figure = _figure(12, 7)
    _draw_scores(figure, found)
    assert len(figure.axes) == 6
    for axes in figure.axes:
        lines = {line.get_label(): line for line in axes.get_lines()}
        names = {"kmeans", "agglomerative linkage ward", "agglomerative linkage average", "chosen"}
        assert set(lines) == names
        assert lines["kmeans"].get_xdata().tolist() == [2, 3, 5]
        assert lines["chosen"].get_xdata().tolist() == [3]
    best = found.best
    assert best is not None
    silhouette = figure.axes[0].get_lines()[-1].get_ydata()
    assert silhouette.tolist() == [best.silhouette]


def test_of_many_points_some_are_drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(selection_plots, "MOST_SHOWN", 20)
    seen: list[int] = []
    monkeypatch.setattr(
        selection_plots, "projection", lambda points, seed: seen.append(len(points)) or points[:, :2]
    )
    save_projection(BLOBS, chosen(BLOBS), tmp_path / "points.png")
    assert seen == [20]


def test_a_seed_repeats() -> None:
    np.testing.assert_array_equal(projection(BLOBS, 3), projection(BLOBS, 3))


def test_above_the_bound_points_are_in_principal_components(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection_plots, "MOST_TSNE", 50)
    centred = BLOBS - BLOBS.mean(axis=0)
    places = projection(BLOBS)
    values = np.linalg.svd(centred, compute_uv=False)
    np.testing.assert_allclose(np.linalg.norm(places, axis=0), values[:2])


def test_other_points_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must be the 60 of the selection, got 59"):
        save_projection(BLOBS[1:], chosen(BLOBS), tmp_path / "points.png")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="no_folder"):
        save_scores(chosen(BLOBS), tmp_path / "no_folder" / "scores.png")


def test_settings_of_the_user_are_left_alone(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    save_scores(chosen(BLOBS), tmp_path / "scores.png")
    assert dict(matplotlib.rcParams) == before

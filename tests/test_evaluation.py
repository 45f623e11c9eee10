from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clusterimg.errors import ResultError, UsageError
from clusterimg.evaluation import evaluate, pairwise_scores

LABELLINGS = st.integers(1, 40).flatmap(
    lambda n: st.tuples(*(st.lists(st.integers(-1, 5), min_size=n, max_size=n) for _ in range(2)))
)


def own_labels(labels: list[int]) -> NDArray[np.int64]:
    """Return the labels as scikit-learn must see them: it takes -1 for one cluster like any other."""
    return np.array([1000 + k if label == -1 else label for k, label in enumerate(labels)])


def write_result(result: Path, rows: str) -> Path:
    result.mkdir()
    (result / "clusters.csv").write_text("file,cluster,batch\n" + rows, encoding="utf-8")
    return result


def write_labels(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_text(text, encoding=encoding)
    return path


@pytest.mark.filterwarnings("ignore:The number of unique classes")
@settings(deadline=None)
@given(LABELLINGS)
def test_scores_equal_scikit_learn(labellings: tuple[list[int], list[int]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the oracle")
    true, pred = map(own_labels, labellings)
    scores = pairwise_scores(*map(np.array, labellings))
    (_, false_positive), (false_negative, both) = metrics.pair_confusion_matrix(true, pred) // 2
    assert scores.pairs_both == both
    assert scores.pairs_found == both + false_positive
    assert scores.pairs_true == both + false_negative
    assert scores.ari == pytest.approx(metrics.adjusted_rand_score(true, pred), abs=1e-12)


@settings(deadline=None)
@given(LABELLINGS)
def test_bcubed_equals_its_definition(labellings: tuple[list[int], list[int]]) -> None:
    true, pred = map(own_labels, labellings)
    same_group, same_cluster = true[:, None] == true, pred[:, None] == pred
    precision = np.mean((same_group & same_cluster).sum(1) / same_cluster.sum(1))
    recall = np.mean((same_group & same_cluster).sum(1) / same_group.sum(1))
    scores = pairwise_scores(*map(np.array, labellings))
    assert scores.bcubed_precision == pytest.approx(precision, abs=1e-12)
    assert scores.bcubed_recall == pytest.approx(recall, abs=1e-12)
    assert scores.bcubed_f1 == pytest.approx(2 * precision * recall / (precision + recall), abs=1e-12)


@settings(deadline=None)
@given(LABELLINGS)
def test_scores_mirror_and_ignore_names(labellings: tuple[list[int], list[int]]) -> None:
    true, pred = map(np.array, labellings)
    scores, mirrored = pairwise_scores(true, pred), pairwise_scores(pred, true)
    assert (scores.precision, scores.recall) == (mirrored.recall, mirrored.precision)
    assert (scores.f1, scores.ari) == (mirrored.f1, mirrored.ari)
    renamed = np.where(pred == -1, -1, 7 * (5 - pred))
    assert pairwise_scores(true, renamed).pairs_both == scores.pairs_both
    assert 0 <= scores.f1 <= 1


def test_known_answer() -> None:
    scores = pairwise_scores(np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, -1, -1]))
    assert (scores.pairs_true, scores.pairs_found, scores.pairs_both) == (4, 2, 1)
    assert (scores.precision, scores.recall, scores.f1) == (0.5, 0.25, pytest.approx(1 / 3))


@pytest.mark.parametrize(
    ("true", "pred", "precision", "recall", "f1"),
    [
        ([], [], 1, 1, 1),
        ([3], [-1], 1, 1, 1),
        ([0, 0], [-1, -1], 1, 0, 0),
        ([-1, -1], [0, 0], 0, 1, 0),
        ([0, 1], [-1, -1], 1, 1, 1),
    ],
)
def test_empty_denominators(
    true: list[int], pred: list[int], precision: float, recall: float, f1: float
) -> None:
    scores = pairwise_scores(np.array(true, np.int32), np.array(pred, np.int32))
    assert (scores.precision, scores.recall, scores.f1) == (precision, recall, f1)


def test_counts_of_many_images_are_exact() -> None:
    n = 3_000_000
    scores = pairwise_scores(np.zeros(n, np.int32), np.zeros(n, np.int32))
    assert scores.pairs_both == n * (n - 1) // 2 > 2**42
    assert scores.ari == scores.bcubed_f1 == 1


@pytest.mark.parametrize(
    ("true", "pred"),
    [(np.zeros(2, int), np.zeros(3, int)), (np.zeros((2, 2), int),) * 2, (np.zeros(2),) * 2],
)
def test_refuses_labels_of_wrong_shape_or_type(true: NDArray[np.int64], pred: NDArray[np.int64]) -> None:
    with pytest.raises(UsageError, match="got"):
        pairwise_scores(true, pred)


def test_evaluate_counts_missing_images_and_leaves_out_unknown_ones(tmp_path: Path) -> None:
    result = write_result(tmp_path / "result", "a.jpg,0,0\nb.jpg,0,0\nnew.jpg,0,0\nd.jpg,-1,0\n")
    labels = write_labels(
        tmp_path / "labels.csv", "group,note,file\ng,x,a.jpg\ng,y,b.jpg\ng,,gone.jpg\nh,,d.jpg\n"
    )
    got = evaluate(result, labels)
    assert (got.pairs_true, got.pairs_found, got.pairs_both) == (3, 1, 1)
    assert (got.images, got.groups, got.clusters, got.outliers) == (4, 2, 1, 2)
    assert (got.missing, got.unlabelled) == (("gone.jpg",), ("new.jpg",))
    assert (got.precision, got.recall) == (1, pytest.approx(1 / 3))


def test_evaluate_takes_a_byte_order_mark_and_escaped_names(tmp_path: Path) -> None:
    result = write_result(tmp_path / "result", '"a,\n1.jpg",0,0\n\\xff\\\\.jpg,0,0\n')
    text = 'file,group\r\n"a,\n1.jpg",g\r\n\\xff\\\\.jpg,g\r\n\r\n'
    got = evaluate(result, write_labels(tmp_path / "labels.csv", text, "utf-8-sig"))
    assert (got.pairs_both, got.missing, got.unlabelled) == (1, (), ())


def test_evaluate_compares_two_results(tmp_path: Path) -> None:
    one = write_result(tmp_path / "one", "a,0,0\nb,0,0\nc,-1,0\nd,-1,0\n")
    other = write_result(tmp_path / "other", "a,0,0\nb,0,0\nc,1,0\nd,1,0\n")
    got = evaluate(one, other)
    assert (got.pairs_true, got.pairs_found, got.pairs_both, got.groups) == (2, 1, 1, 2)
    assert evaluate(other, one).groups == 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "line 1.*header must have file, group"),
        (b"file,label\na,0\n", "line 1.*header"),
        (b"file,group\na.jpg\n", "line 2.*expected 2 cells"),
        (b"file,group\na.jpg,g\nb.jpg,\n", "line 3.*needs a file and a group"),
        (b"file,group\na.jpg,g\n,g\n", "line 3.*needs a file and a group"),
        (b"file,group\na.jpg,g\na.jpg,h\n", "line 3.*listed twice"),
        (b"file,group\n\xff\xfe,g\n", "UTF-8"),
        (b'file,group\n"a.jpg,g\n', "not a CSV table"),
    ],
)
def test_bad_labels_are_named_with_their_line(tmp_path: Path, text: bytes, problem: str) -> None:
    result = write_result(tmp_path / "result", "a.jpg,0,0\n")
    labels = tmp_path / "truth.csv"
    labels.write_bytes(text)
    with pytest.raises(ResultError, match=rf"(?s)truth\.csv.*{problem}"):
        evaluate(result, labels)


def test_missing_tables_are_named(tmp_path: Path) -> None:
    result = write_result(tmp_path / "result", "a.jpg,0,0\n")
    with pytest.raises(ResultError, match=r"none\.csv"):
        evaluate(result, tmp_path / "none.csv")
    with pytest.raises(ResultError, match=r"clusters\.csv"):
        evaluate(tmp_path, tmp_path / "none.csv")

"""Cross-checked matches of ORB descriptors against OpenCV's brute-force matcher."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from skimage import data

from clusterimg import kernels
from ratios import Row

N_DESCRIPTORS = 500
N_IMAGES = 40
N_PEER = 10  # of whose pairs the peer is asked
RULES = (("ratio", 40), ("absolute", 40))


def photos() -> list[Any]:
    """Return parts of the photos of scikit-image, each followed by an edited copy."""
    sources = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket(), data.camera()]
    sources += [data.coins(), data.brick(), data.grass(), data.gravel(), data.page()]
    greys = [g if g.ndim == 2 else cv2.cvtColor(g, cv2.COLOR_RGB2GRAY) for g in sources]
    parts = []
    for grey in greys:
        height, width = grey.shape
        for part in (grey, grey[height // 6 :, width // 6 :]):
            picture = cv2.resize(part, (480, 480), interpolation=cv2.INTER_CUBIC)
            turned = cv2.getRotationMatrix2D((240, 240), 4, 1.02)
            parts += [picture, cv2.warpAffine(picture, turned, (480, 480))]
    return parts


def descriptor_sets() -> list[Any]:
    """Return sets of 500 ORB descriptors; a set that came out short is filled up from the others."""
    orb = cv2.ORB_create(N_DESCRIPTORS)
    found = [orb.detectAndCompute(photo, None)[1] for photo in photos()]
    spare = np.random.default_rng(0).permutation(np.concatenate(found))
    sets = [np.concatenate([rows, spare[:N_DESCRIPTORS]])[:N_DESCRIPTORS] for rows in found]
    return sets[:N_IMAGES]


def good_share(matcher: Any, a: Any, b: Any) -> float:
    """Return the share of cross-checked matches at distance 40 or less."""
    distances = [match.distance for match in matcher.match(a, b)]
    return sum(distance <= 40 for distance in distances) / len(distances)


def rows() -> Iterator[Row]:
    """Yield the rows of the table of ratios."""
    cv2.setNumThreads(1)
    matcher = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True)
    sets = descriptor_sets()
    n = len(sets)
    ragged = kernels.Ragged(np.concatenate(sets), np.arange(n + 1) * N_DESCRIPTORS)
    pairs = [(i, j) for i in range(N_PEER) for j in range(i + 1, N_PEER)]

    def agree(rule: str) -> Any:
        def check(ours: Any, _theirs: Any) -> None:
            assert len(ours) == n * (n - 1) // 2
            if rule == "absolute":
                scores = {(e["i"], e["j"]): e["score"] for e in ours}
                for i, j in pairs:
                    assert scores[i, j] == good_share(matcher, sets[i], sets[j])

        return check

    for rule, most in RULES:
        yield Row(
            f"ORB {N_DESCRIPTORS} x {N_DESCRIPTORS}, {rule}",
            "BFMatcher crossCheck",
            lambda rule=rule, most=most: kernels.descriptor_edges(
                ragged, threshold=-1.0, rule=rule, max_distance=most, n_threads=1
            ),
            lambda: [matcher.match(sets[i], sets[j]) for i, j in pairs],
            n * (n - 1) / 2,
            agree(rule),
            their_pairs=len(pairs),
            prototype=50,
            goal=65,
            note="every score of the self-join, each pair once",
        )

"""Made objects: each turns in steps before a dark ground, as in a set of photographed objects."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.uint8]


def objects(n_objects: int = 8, n_views: int = 16, size: int = 32) -> tuple[Array, NDArray[np.int64]]:
    """Return pictures (n, 3, size, size) of turning objects, and which object each shows."""
    shown, groups = [], []
    for group in range(n_objects):
        rng = np.random.default_rng([77, group])
        points = rng.uniform(0.15, 0.85, (6, 2)) * 128
        colours = rng.integers(60, 256, (2, 3)).tolist()
        face = np.zeros((128, 128, 3), np.uint8)
        cv2.fillConvexPoly(face, cv2.convexHull(points.astype(np.int32)), colours[0])
        cv2.circle(face, tuple(map(int, points[0])), 14, colours[1], -1)
        for view in range(n_views):
            turn = cv2.getRotationMatrix2D((64, 64), view * 90 / n_views, 1.0)
            image = cv2.warpAffine(face, turn, (128, 128))
            small = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
            noise = rng.normal(0, 6, small.shape)
            shown.append(np.clip(small + noise, 0, 255).astype(np.uint8).transpose(2, 0, 1))
            groups.append(group)
    return np.stack(shown), np.array(groups)

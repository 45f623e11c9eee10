"""Choosing the threshold: the curve of what every threshold gives, and the ways to show it."""

from __future__ import annotations

from .asking import threshold_curve
from .curve import CurvePoint, ThresholdCurve

__all__ = ["CurvePoint", "ThresholdCurve", "threshold_curve"]

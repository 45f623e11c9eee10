"""Choosing the threshold: the curve of what every threshold gives, and the ways to show it."""

from __future__ import annotations

from .asking import threshold_curve
from .auto import Choice, choose_automatically
from .curve import CurvePoint, ThresholdCurve

__all__ = ["Choice", "CurvePoint", "ThresholdCurve", "choose_automatically", "threshold_curve"]

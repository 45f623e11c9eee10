"""The methods: each is one small file that says which feature, which kernel and which defaults."""

from __future__ import annotations

import inspect
import math
from typing import Any

from ..errors import UsageError
from ._classic import Classic, Method
from .imagehash import ImageHash
from .minhash import MinHash
from .orb import Orb
from .ssim import Ssim
from .tm import Tm

__all__ = ["ALIASES", "METHODS", "Classic", "Method", "create"]

METHODS: dict[str, type[Classic]] = {
    "ssim": Ssim,
    "minhash": MinHash,
    "imagehash": ImageHash,
    "orb": Orb,
    "tm": Tm,
}

ALIASES = {"phash": "imagehash"}


def create(name: str, **options: Any) -> Any:
    """Return the method called `name` with these options; an option that is None is left out.

    Raises `UsageError` for an unknown method, and for an option the method has not.
    """
    method = METHODS.get(ALIASES.get(name, name))
    if method is None:
        raise UsageError(f"method must be one of {', '.join([*METHODS, *ALIASES])}, got {name!r}")
    given = {option: value for option, value in options.items() if value is not None}
    known = inspect.signature(method).parameters
    for option in given:
        if option not in known:
            having = [other for other, cls in METHODS.items() if option in inspect.signature(cls).parameters]
            raise UsageError(f"{method.name} has no {option}; methods that have it: {', '.join(having)}")
    if "scale" in given and "size" not in given:
        given["size"] = None  # a scale takes the place of the default size
    created = method(**given)
    if not math.isfinite(created.threshold):
        raise UsageError(f"threshold must be a finite number, got {created.threshold}")
    return created

"""The methods: each is one small file that says which feature, which kernel and which defaults."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

from ..errors import UsageError
from ._classic import Classic, Clusters, Method, is_flat
from .imagehash import ImageHash
from .minhash import MinHash
from .orb import Orb
from .ssim import Ssim
from .tm import Tm

__all__ = ["ALIASES", "METHODS", "Classic", "Clusters", "Method", "create", "create_all", "is_flat"]

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
    method = _method(name)
    given = {option: value for option, value in options.items() if value is not None}
    for option in given:
        if not _has(method, option):
            having = [other for other, cls in METHODS.items() if _has(cls, option)]
            raise UsageError(f"{method.name} has no {option}; methods that have it: {', '.join(having)}")
    if "scale" in given and "size" not in given:
        given["size"] = None  # a scale takes the place of the default size
    created = method(**given)
    if not math.isfinite(created.threshold):
        raise UsageError(f"threshold must be a finite number, got {created.threshold}")
    return created


def create_all(names: Sequence[str], **options: Any) -> list[Any]:
    """Return the methods called so; each option goes to those that have it.

    Raises `UsageError` as `create` does; for an option only if none of the methods has it.
    """
    methods = [_method(name) for name in names]
    for option, value in options.items():
        if value is not None and methods and not any(_has(method, option) for method in methods):
            create(names[0], **{option: value})
    return [
        create(method.name, **{option: value for option, value in options.items() if _has(method, option)})
        for method in methods
    ]


def _method(name: str) -> type[Classic]:
    method = METHODS.get(ALIASES.get(name, name))
    if method is None:
        raise UsageError(f"method must be one of {', '.join([*METHODS, *ALIASES])}, got {name!r}")
    return method


def _has(method: type[Classic], option: str) -> bool:
    return option in inspect.signature(method).parameters

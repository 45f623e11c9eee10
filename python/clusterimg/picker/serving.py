"""The page of a curve on this machine, served until a threshold was chosen on it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ClusterimgError, UsageError
from ._browsers import open_quietly, why_no_browser
from .page import content_policy, page

if TYPE_CHECKING:
    from ._server import Server
    from .curve import ThresholdCurve

__all__ = ["choose_on_page", "why_no_browser"]

CLOSED_SECONDS = 1.5
"""A page that has been gone for so long was closed, not reloaded."""

POLL_SECONDS = 0.25


def choose_on_page(
    curve: ThresholdCurve,
    folder: Path,
    *,
    announce: Callable[[str], None],
    open_browser: bool = True,
    timeout: float | None = None,
) -> float:
    """Return the threshold that a person chooses on the page of a curve, served on 127.0.0.1.

    Parameters
    ----------
    folder : of the images, for thumbnails
    announce : is given lines to show: the address first, and later how to go on if the page was closed
    open_browser : open the address, where there is a browser with a display
    timeout : seconds to wait for a choice; None for as long as it takes

    Raises
    ------
    UsageError : nothing was chosen in time
    ClusterimgError : no port of 127.0.0.1 can be had
    KeyboardInterrupt : Ctrl-C; the port is free again by then
    """
    from ._server import Server

    text = page(curve, folder, choose="choose")
    try:
        server = Server(text.encode("ascii"), policy=content_policy(can_choose=True))
    except OSError as error:
        raise ClusterimgError(f"can't serve a page on 127.0.0.1: {error.strerror or error}") from error
    try:
        server.start()
        is_open = open_browser and why_no_browser() is None
        if is_open:
            open_quietly(server.first_address)
        announce(_invitation(server.address, is_open=is_open))
        return _wait(server, announce, timeout)
    finally:
        server.end()


def _invitation(address: str, *, is_open: bool) -> str:
    start = "choose the threshold in the browser:" if is_open else "choose the threshold: open in a browser"
    text = f"{start} {address} (Ctrl-C ends)"
    if os.environ.get("SSH_CONNECTION"):
        port = address.split(":")[2].partition("/")[0]
        text += f"; from another computer first: ssh -L {port}:127.0.0.1:{port} and this machine's name"
    return text


def _wait(server: Server, announce: Callable[[str], None], timeout: float | None) -> float:
    """Return the choice; whenever the last page was closed, say how to go on."""
    until = None if timeout is None else time.monotonic() + timeout
    while not server.chosen.wait(POLL_SECONDS):
        if server.pages.were_closed(CLOSED_SECONDS):
            announce(f"the page was closed: open it again at {server.address} (Ctrl-C ends)")
        if until is not None and time.monotonic() >= until:
            raise UsageError(f"no threshold was chosen within {timeout:g} seconds: give one with --threshold")
    return server.choice()

"""The server behind `choose_on_page`: one page in memory, one token, one choice. No file is ever served.

Who may choose: a page whose address has the token, under this machine's own name (a foreign site that lets
its name point here is told by the Host header), and that sends the choice itself (no other origin). The first
choice counts.
"""

from __future__ import annotations

import json
import re
import secrets
import socket
import socketserver
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ._open_pages import Pages

__all__ = ["Server"]

MAX_MESSAGE = 1000
SECONDS_PER_REQUEST = 5.0
LINGER_SECONDS = 1.0
"""Requests that have begun when the choice is made are answered, if that takes no longer."""

LOCAL = re.compile(r"(127\.0\.0\.1|localhost)(:\d{1,5})?", re.ASCII)
"""Host headers that mean this machine; any port, for who comes through a tunnel."""

HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Server(ThreadingHTTPServer):
    """Serves the page on a free port of 127.0.0.1.

    address : of the page, with the token
    first_address : leads there, once. It goes to the browser as an argument, which others on this machine can
        read: a key that is used up by then
    chosen : set when the choice is made and its page has the answer
    pages : which are open
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, page: bytes, *, policy: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.page, self.policy = page, policy
        self.home = f"/{secrets.token_urlsafe(24)}/"
        self._key: str | None = f"/{secrets.token_urlsafe(24)}"
        origin = f"http://127.0.0.1:{self.server_port}"
        self.address, self.first_address = origin + self.home, origin + self._key
        self.chosen, self.pages = threading.Event(), Pages()
        self._choice: float | None = None
        self._failure: BaseException | None = None
        self._changed = threading.Condition()
        self._connections: dict[socket.socket, bool] = {}  # whether its request has begun
        self._thread: threading.Thread | None = None

    def server_bind(self) -> None:
        """Bind without asking for the name of the machine, which may take long."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def start(self) -> None:
        """Serve in a thread."""
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Free the port, answer what has begun, close all connections."""
        if self._thread is not None:
            self.shutdown()
            self._thread.join()
        self.server_close()
        with self._changed:
            _cut(connection for connection, has_begun in self._connections.items() if not has_begun)
            self._changed.wait_for(lambda: not self._connections, LINGER_SECONDS)
            _cut(self._connections)

    def use_key(self, path: str) -> bool:
        """Return whether a path is the one-time key, which it is no longer then."""
        with self._changed:
            if self._key is None or not _equal(path, self._key):
                return False
            self._key = None
            return True

    def take(self, threshold: float) -> bool:
        """Keep the choice if it is the first; return whether it is."""
        with self._changed:
            if self._choice is not None:
                return False
            self._choice = threshold
            return True

    def choice(self) -> float:
        """Return what was chosen. An error in the server is raised here, in the thread that waits."""
        if self._failure is not None:
            raise self._failure
        assert self._choice is not None
        return self._choice

    def note_connection(self, connection: socket.socket, has_begun: bool | None) -> None:
        """Note that a connection was opened, its request has begun, or (None) that it was closed."""
        with self._changed:
            if has_begun is None:
                self._connections.pop(connection, None)
                self._changed.notify_all()
            else:
                self._connections[connection] = has_begun

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Let broken connections go; hand any other error to the thread that waits."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            self._failure = error
            self.chosen.set()


def _cut(connections: Iterable[socket.socket]) -> None:
    for connection in list(connections):
        with suppress(OSError):  # closed meanwhile
            connection.shutdown(socket.SHUT_RDWR)


def _equal(path: str, other: str) -> bool:
    return secrets.compare_digest(path.encode("utf-8", "replace"), other.encode())


class Handler(BaseHTTPRequestHandler):
    """One request. The connection is closed after it."""

    server: Server
    timeout = SECONDS_PER_REQUEST

    def setup(self) -> None:
        """Note the connection: browsers open some that they never use."""
        super().setup()
        self.server.note_connection(self.connection, has_begun=False)

    def parse_request(self) -> bool:
        """Note that the request has begun."""
        self.server.note_connection(self.connection, has_begun=True)
        return super().parse_request()

    def finish(self) -> None:
        """Note the end."""
        try:
            super().finish()
        finally:
            self.server.note_connection(self.connection, has_begun=None)

    def do_GET(self) -> None:
        """Answer with the page."""
        if not self._is_local():
            self._refuse(HTTPStatus.FORBIDDEN, "this page is for this machine only")
        elif _equal(self.path, self.server.home):
            policy = f"{self.server.policy}; frame-ancestors 'none'"
            self._answer(HTTPStatus.OK, self.server.page, "text/html; charset=utf-8", policy)
        elif self.command == "GET" and self.server.use_key(self.path):
            self._answer(HTTPStatus.SEE_OTHER, b"", location=self.server.home)
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here")

    do_HEAD = do_GET  # noqa: N815 - the name that the base class looks for

    def do_POST(self) -> None:
        """Take the choice, or a page's word that it was opened or closed."""
        if why := self._why_refused():
            self._refuse(*why)
            return
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"\d{1,9}", length, re.ASCII):
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "a message needs its length")
        elif int(length) > MAX_MESSAGE:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the message is too long")
        else:
            self._hear(_parsed(self.rfile.read(int(length))))

    def _hear(self, message: dict[str, Any]) -> None:
        threshold = _threshold(message["threshold"]) if message.keys() == {"threshold"} else None
        if threshold is not None:
            self._choose(threshold)
        elif message.keys() == {"page", "open", "count"} and _is_told(message):
            self.server.pages.note(message["page"], message["count"], message["open"] is True)
            self._answer(HTTPStatus.NO_CONTENT, b"")
        else:
            self._refuse(HTTPStatus.BAD_REQUEST, 'wanted {"threshold": a finite number below 1}')

    def _choose(self, threshold: float) -> None:
        if not self.server.take(threshold):
            before = json.dumps({"threshold": self.server.choice()}).encode()
            self._answer(HTTPStatus.CONFLICT, before, "application/json")
            return
        try:
            self._answer(HTTPStatus.OK, json.dumps({"threshold": threshold}).encode(), "application/json")
        finally:
            self.server.chosen.set()

    def _is_local(self) -> bool:
        hosts = self.headers.get_all("Host", [])
        return len(hosts) == 1 and LOCAL.fullmatch(hosts[0]) is not None

    def _why_refused(self) -> tuple[HTTPStatus, str] | None:
        """Return why a message isn't heard at all; None if it is."""
        if not self._is_local():
            return HTTPStatus.FORBIDDEN, "this page is for this machine only"
        if not _equal(self.path, f"{self.server.home}choose"):
            return HTTPStatus.NOT_FOUND, "there is nothing here"
        origin = f"http://{self.headers['Host']}"
        site = self.headers.get("Sec-Fetch-Site", "same-origin")
        if self.headers.get_all("Origin", []) != [origin] or site != "same-origin":
            return HTTPStatus.FORBIDDEN, "only the page itself may choose"
        if self.headers.get_content_type() != "application/json":
            return HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a message must be JSON"
        return None

    # --- answers ---

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        self._answer(status, text.encode(), "text/plain; charset=utf-8")

    def _answer(
        self, status: HTTPStatus, body: bytes, kind: str = "", policy: str = "", *, location: str = ""
    ) -> None:
        self.send_response(status)
        own = {"Content-Type": kind, "Location": location}
        own["Content-Security-Policy"] = policy or "default-src 'none'; frame-ancestors 'none'"
        if status is not HTTPStatus.NO_CONTENT:
            own["Content-Length"] = str(len(body))
        for name, value in (HEADERS | own).items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what the base class can't make sense of, as plainly as the rest."""
        self._refuse(HTTPStatus(code), message or HTTPStatus(code).phrase)

    def version_string(self) -> str:
        """Return the Server header: no versions."""
        return "clusterimg"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _threshold(value: object) -> float | None:
    """Return a JSON number that can be a threshold; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -sys.float_info.max <= value < 1 else None


def _is_told(message: dict[str, Any]) -> bool:
    return isinstance(message["page"], str) and type(message["count"]) is int


def _parsed(body: bytes) -> dict[str, Any]:
    """Return the object that a message is; an empty one for anything else."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}

"""The server of the page, by plain HTTP: who may look, who may choose, how it ends. No browser is needed."""

from __future__ import annotations

import http.client
import itertools
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from clusterimg.errors import UsageError
from clusterimg.picker import _browsers, _server, serving
from clusterimg.picker.serving import choose_on_page, why_no_browser
from made_curves import empty_curve

CURVE = empty_curve(300, 100)


class Asked:
    """`choose_on_page` in a thread, and what came of it."""

    def __init__(self, **options: Any) -> None:
        self.said: list[str] = []
        self.result: float | BaseException | None = None
        self._spoke = threading.Event()
        self._thread = threading.Thread(target=self._ask, args=(options,))
        self._thread.start()
        assert self._spoke.wait(10), self.result
        self.address = next(word for word in self.said[0].split() if word.startswith("http"))
        self.host, self.path = self.address.removeprefix("http://").split("/", 1)
        self.path = "/" + self.path
        self.port = int(self.host.split(":")[1])

    def _ask(self, options: dict[str, Any]) -> None:
        def announce(text: str) -> None:
            self.said.append(text)
            self._spoke.set()

        try:
            self.result = choose_on_page(
                CURVE, Path("folder"), announce=announce, open_browser=False, **options
            )
        except BaseException as error:
            self.result = error
            self._spoke.set()

    def request(
        self, method: str = "GET", path: str | None = None, body: bytes | None = None, **headers: str | None
    ) -> tuple[int, dict[str, str], bytes]:
        """Send what a page would; headers given replace its own, None leaves one out."""
        own: dict[str, str | None] = {"Host": self.host}
        if method == "POST":
            own |= {"Origin": f"http://{self.host}", "Content-Type": "application/json"}
        own |= {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.putrequest(method, self.path if path is None else path, skip_host=True)
            for name, value in own.items():
                if value is not None:
                    connection.putheader(name, value)
            if body is not None and "Content-Length" not in own:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

    def choose(self, value: object, **headers: str | None) -> int:
        body = value if isinstance(value, bytes) else json.dumps({"threshold": value}).encode()
        return self.request("POST", f"{self.path}choose", body, **headers)[0]

    def end(self) -> float | BaseException | None:
        self._thread.join(5)
        assert not self._thread.is_alive()
        assert self.is_closed()
        return self.result

    def is_closed(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:  # it waited to be accepted when the port was closed
            pass
        return False


@pytest.fixture
def asked() -> Iterator[Asked]:
    """A server; a test that has not chosen has it end by a choice of 0.5."""
    one = Asked()
    yield one
    if one.result is None:
        assert one.choose(0.5) == 200
        assert one.end() == 0.5


def until(condition: Callable[[], object]) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came")


def test_a_choice_ends_it(asked: Asked) -> None:
    assert asked.choose(0.6875) == 200
    assert asked.end() == 0.6875
    assert len(asked.said) == 1


@pytest.mark.parametrize("value", [0, -1, -0.25, 0.123456789012345, 0.9999999999999999])
def test_a_choice_comes_as_it_was_sent(value: float) -> None:
    asked = Asked()
    assert asked.choose(value) == 200
    assert asked.end() == value
    assert isinstance(asked.result, float)


def test_the_page_and_its_headers(asked: Asked) -> None:
    status, headers, body = asked.request()
    assert status == 200 and body.startswith(b"<!doctype html>")
    assert b'"choose":"choose"' in body
    assert asked.path.strip("/").encode() not in body  # what is saved or sent on doesn't give the token away
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Server"] == "clusterimg"
    status, head, empty = asked.request("HEAD")
    assert (status, empty, head["Content-Length"]) == (200, b"", str(len(body)))


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "BREW"])
@pytest.mark.parametrize("path", ["", "/", "/x", "choose"])
def test_every_answer_is_guarded(asked: Asked, method: str, path: str) -> None:
    where = path if path.startswith("/") else asked.path + path
    _, headers, _ = asked.request(method, where, b"" if method == "POST" else None)
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert not [name for name in headers if name.startswith("Access-Control")]


def test_nothing_without_the_token(asked: Asked) -> None:
    token = asked.path.strip("/")
    assert len(token) >= 32
    paths = ["/", "/favicon.ico", "/etc/passwd", "/../../etc/passwd", "/%2e%2e/", asked.path.rstrip("/")]
    paths += [asked.path[:-2] + "/", f"{asked.path}?x", f"{asked.path}x", f"/{'A' * len(token)}/"]
    for path in paths:
        status, _, body = asked.request(path=path)
        assert (status, body) == (404, b"there is nothing here"), path
    with socket.create_connection(("127.0.0.1", asked.port), 5) as connection:
        connection.sendall(f"GET /\N{CAT FACE}/ HTTP/1.1\r\nHost: {asked.host}\r\n\r\n".encode())
        assert b" 404 " in connection.recv(4096)
    body = b'{"threshold": 0.25}'
    for path in ("/choose", f"/{'A' * len(token)}/choose", asked.path, f"{asked.path}choose/"):
        assert asked.request("POST", path, body)[0] == 404
    assert asked.result is None


def test_two_servers_have_two_tokens(asked: Asked) -> None:
    other = Asked()
    assert other.path != asked.path
    assert other.request(path=asked.path)[0] == 404
    assert other.choose(0.25) == 200
    assert other.end() == 0.25


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "", None],
)
def test_another_name_of_this_machine_is_refused(asked: Asked, host: str | None) -> None:
    """A site can let its name point to 127.0.0.1 and then is the page's own origin for the browser."""
    name = None if host is None else host.format(port=asked.port)
    assert asked.request(Host=name)[0] == 403
    assert asked.choose(0.25, Host=name, Origin=f"http://{name}") == 403
    assert asked.result is None


def test_a_tunnel_may_have_another_port(asked: Asked) -> None:
    assert asked.request(Host="localhost:9999")[0] == 200
    assert asked.choose(0.25, Host="localhost:9999", Origin="http://localhost:9999") == 200
    assert asked.end() == 0.25


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": None},
        {"Origin": "http://127.0.0.1:9"},
        {"Origin": "https://{host}"},
        {"Origin": "http://localhost:{port}"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_no_other_origin_may_choose(asked: Asked, headers: dict[str, str | None]) -> None:
    sent = {name: value and value.format(host=asked.host, port=asked.port) for name, value in headers.items()}
    assert asked.choose(0.25, **sent) == 403
    assert asked.result is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"0.5",
        b"null",
        b"[0.5]",
        b"{}",
        b'{"threshold": 1}',
        b'{"threshold": 1.5}',
        b'{"threshold": NaN}',
        b'{"threshold": Infinity}',
        b'{"threshold": -Infinity}',
        b'{"threshold": -1e999}',
        b'{"threshold": -1' + b"0" * 400 + b"}",
        b'{"threshold": "0.5"}',
        b'{"threshold": true}',
        b'{"threshold": false}',
        b'{"threshold": null}',
        b'{"threshold": [0.5]}',
        b'{"threshold": 0.5, "more": 1}',
        b'{"page": 1, "open": true, "count": 1}',
        b'{"page": "a", "open": true, "count": true}',
        b'{"page": "a", "open": true}',
        b"\xff\xfe",
        b"[" * 999,
    ],
)
def test_what_is_no_threshold(asked: Asked, body: bytes) -> None:
    status, _, answer = asked.request("POST", f"{asked.path}choose", body)
    assert status == 400 and b"threshold" in answer
    assert asked.result is None


def test_odd_messages(asked: Asked) -> None:
    body = b'{"threshold": 0.25}'
    path = f"{asked.path}choose"
    assert asked.request("POST", path, body, Content_Type="text/plain")[0] == 415
    assert asked.request("POST", path, body, Content_Type=None)[0] == 415
    assert asked.request("POST", path, body, Content_Length="-1")[0] == 411
    assert asked.request("POST", path, None)[0] == 411
    assert asked.request("POST", path, b" " * 1001)[0] == 413
    assert asked.request("POST", path, None, Content_Length="9" * 30)[0] == 411
    assert asked.result is None


def test_the_first_choice_counts_and_what_has_begun_is_answered(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second client that is in the middle of its message when the first has chosen gets its answer."""
    monkeypatch.setattr(_server, "LINGER_SECONDS", 10.0)  # however busy this machine is
    body = b'{"threshold": 0.25}'
    with socket.create_connection(("127.0.0.1", asked.port), 5) as late:
        late.sendall(
            f"POST {asked.path}choose HTTP/1.1\r\nHost: {asked.host}\r\nOrigin: http://{asked.host}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body[:5]
        )
        until(
            lambda: asked.request()[0] == 200
        )  # a connection later than that one is served: it was accepted
        assert asked.choose(0.75) == 200
        until(asked.is_closed)  # to new connections
        late.sendall(body[5:])
        answer = b"".join(iter(lambda: late.recv(4096), b""))
    assert b" 409 " in answer.partition(b"\r\n")[0]
    assert answer.endswith(b'{"threshold": 0.75}')
    assert asked.end() == 0.75


def test_connections_that_say_nothing_hold_nothing_up(asked: Asked) -> None:
    """Browsers open some in advance."""
    idle = [socket.create_connection(("127.0.0.1", asked.port), 5) for _ in range(5)]
    assert asked.request()[0] == 200
    start = time.monotonic()
    assert asked.choose(0.25) == 200
    assert asked.end() == 0.25
    assert time.monotonic() - start < 0.9  # less than what is begun would be waited for
    for connection in idle:
        assert connection.recv(1) == b""
        connection.close()


def test_clients_that_break_off(asked: Asked) -> None:
    for text in (
        "",
        "GET",
        "GET / HTTP/1.1\r\nHost: x",
        f"GET {asked.path} HTTP/1.1\r\n",
        "\x00\xff\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", asked.port), 5) as connection:
            connection.sendall(text.encode())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
    assert asked.request()[0] == 200


def test_only_this_machine_is_listened_to(asked: Asked) -> None:
    with socket.socket() as other:
        other.settimeout(1)
        with pytest.raises(OSError):
            other.connect((_own_address(), asked.port))


def _own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError:
            pytest.skip("this machine has no address but its own loop")
        address = str(probe.getsockname()[0])
    if address.startswith("127."):
        pytest.skip("this machine has no address but its own loop")
    return address


def test_a_page_that_is_closed_is_told_of_once(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "CLOSED_SECONDS", 0.3)
    monkeypatch.setattr(serving, "POLL_SECONDS", 0.02)

    counts = itertools.count()

    def say(name: str, *, is_open: bool, count: int | None = None) -> None:
        count = next(counts) if count is None else count
        body = json.dumps({"page": name, "open": is_open, "count": count}).encode()
        assert asked.request("POST", f"{asked.path}choose", body)[0] == 204

    say("a", is_open=True)
    say("a", is_open=False)  # a reload: the next one opens at once
    say("b", is_open=True)
    say("c", is_open=True)
    say("c", is_open=False)
    time.sleep(0.5)  # longer than a page is waited for
    assert len(asked.said) == 1
    say("b", is_open=False)
    until(lambda: len(asked.said) == 2)
    assert asked.said[1] == f"the page was closed: open it again at {asked.address} (Ctrl-C ends)"
    time.sleep(0.5)
    assert len(asked.said) == 2
    say("d", is_open=True)
    say("d", is_open=False)
    until(lambda: len(asked.said) == 3)
    say("d", is_open=True, count=101)  # of a reload: that it was closed before comes late
    say("d", is_open=False, count=100)
    time.sleep(0.5)
    assert len(asked.said) == 3
    say("d", is_open=True, count=103)  # and once more, but that never comes
    say("d", is_open=False, count=104)
    until(lambda: len(asked.said) == 4)


def test_a_time_limit() -> None:
    asked = Asked(timeout=0.3)
    error = asked.end()
    assert isinstance(error, UsageError)
    assert str(error) == "no threshold was chosen within 0.3 seconds: give one with --threshold"


ASK = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from made_curves import empty_curve
from clusterimg.picker.serving import choose_on_page
try:
    threshold = choose_on_page(empty_curve(300), Path("x"), announce=lambda text: print(text, flush=True))
except KeyboardInterrupt:
    print("interrupted", flush=True)
    raise SystemExit(130)
print("chosen", threshold)
"""


@contextmanager
def process(tmp_path: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `choose_on_page` in a process of its own; give it and its first line."""
    without = {name: value for name, value in os.environ.items() if name not in PERSONAL}
    command = [sys.executable, "-c", ASK, str(Path(__file__).parent)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**without, **environment},
        start_new_session=True,
    ) as running:
        try:
            assert running.stdout is not None
            yield running, running.stdout.readline()
        finally:
            running.kill()


PERSONAL = ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION", "BROWSER")


def test_ctrl_c_ends_it_and_frees_the_port(tmp_path: Path) -> None:
    with process(tmp_path) as (running, line):
        address = line.split()[-3]
        port = int(address.split(":")[2].split("/")[0])
        idle = socket.create_connection(("127.0.0.1", port), 5)
        running.send_signal(signal.SIGINT)
        out, _ = running.communicate(timeout=10)
        assert (out, running.returncode) == ("interrupted\n", 130)
        idle.close()
        with socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(("127.0.0.1", port))


BROWSER = """#!{python}
import json, os, sys, urllib.request
print("noise from a browser"); print("more noise", file=sys.stderr)
try:
    os.close(os.open("/dev/tty", os.O_RDWR)); tty = True
except OSError:
    tty = False
with urllib.request.urlopen(sys.argv[1]) as answer:
    page, where = answer.read(), answer.geturl()
try:
    urllib.request.urlopen(sys.argv[1]); again = 200
except urllib.error.HTTPError as error:
    again = error.code
with open({report!r} + ".part", "w") as report:
    json.dump([sys.argv[1], where, len(page), again, tty, os.getpid()], report)
os.rename({report!r} + ".part", {report!r})
import time; time.sleep(60)  # browsers stay
"""


def test_a_browser_is_opened_without_noise_or_waiting(tmp_path: Path) -> None:
    report, program = tmp_path / "report.json", tmp_path / "browser"
    program.write_text(BROWSER.format(python=sys.executable, report=str(report)))
    program.chmod(0o755)
    with process(tmp_path, DISPLAY=":99", BROWSER=str(program)) as (running, line):
        assert line.startswith("choose the threshold in the browser: http://127.0.0.1:")
        until(report.exists)
        first, where, size, again, tty, browser = json.loads(report.read_text())
        address = line.split()[-3]
        assert where == address and size > 10_000
        assert (
            first != address and again == 404
        )  # what other users can read in the list of processes is used up
        assert not tty
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does
        assert running.communicate(timeout=10)[0] == "interrupted\n"
        os.kill(browser, signal.SIGKILL)  # it is still there


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({}, "there is no display"),
        ({"DISPLAY": ""}, "there is no display"),
        ({"DISPLAY": ":0", "BROWSER": "w3m"}, "w3m would need the terminal"),
        ({"DISPLAY": ":0", "BROWSER": "/usr/bin/lynx"}, "lynx would need the terminal"),
        ({"DISPLAY": ":0", "SSH_CONNECTION": "a 1 b 2"}, "this is a shell on another machine"),
        ({"DISPLAY": ":0", "BROWSER": sys.executable}, None),
        ({"WAYLAND_DISPLAY": "wayland-0", "BROWSER": sys.executable}, None),
    ],
)
@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="displays have no names here")
def test_when_a_browser_is_opened(environment: dict[str, str], reason: str | None) -> None:
    without = {name: value for name, value in os.environ.items() if name not in PERSONAL}
    code = "from clusterimg.picker.serving import why_no_browser; print(why_no_browser())"
    for name in ("w3m", "lynx"):  # Python looks only for names that exist: let these
        if environment.get("BROWSER", "").endswith(name):
            code = code.replace("print", "import shutil; shutil.which = lambda x, *a, **b: x; print")
    done = subprocess.run(
        [sys.executable, "-c", code], env={**without, **environment}, capture_output=True, text=True
    )
    assert (done.stdout.strip(), done.stderr) == (str(reason), "")


def test_no_browser_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "missing/python")
    _browsers.open_quietly("http://127.0.0.1:9/")
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    monkeypatch.setattr(sys, "executable", "")
    assert why_no_browser() == "there is no Python program to start one with"


def test_the_line_for_a_shell_on_another_machine(tmp_path: Path) -> None:
    with process(tmp_path, SSH_CONNECTION="a 1 b 2") as (_, line):
        port = line.split("http://127.0.0.1:")[1].split("/")[0]
        assert f"ssh -L {port}:127.0.0.1:{port}" in line
        assert math.isfinite(int(port))

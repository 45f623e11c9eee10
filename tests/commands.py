"""Commands of the command line, in a process of their own or in this one."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from clusterimg import cli

Done = subprocess.CompletedProcess[str]


def call(*arguments: object, start: tuple[str, ...] = ("-m", "clusterimg"), cwd: Path | None = None) -> Done:
    """Call in a process of its own; no error may come as a traceback."""
    command = [sys.executable, *start, *_texts(arguments)]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(command, capture_output=True, cwd=cwd, env=environment, timeout=120)
    return _done(command, done.returncode, done.stdout, done.stderr)


def call_here(*arguments: object, cwd: Path | None = None) -> Done:
    """Call in this process, which saves the start of one. Images are read in one of its own even so."""
    texts, before = _texts(arguments), Path.cwd()
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    os.chdir(cwd or before)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = cli.main(texts)
    except SystemExit as ended:  # of the parser
        code = int(ended.code or 0)
    finally:
        os.chdir(before)
    out.flush()
    err.flush()
    return _done(texts, code, out.buffer.getvalue(), err.buffer.getvalue())  # type: ignore[attr-defined]


def error_of(done: Done, code: int = 3) -> str:
    """Return the one line that tells of an error."""
    assert done.returncode == code, done
    assert done.stderr.startswith("clusterimg: error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr[len("clusterimg: error: ") : -1]


def _texts(arguments: tuple[object, ...]) -> list[str]:
    return [os.fspath(each) if isinstance(each, Path) else str(each) for each in arguments]


def _done(command: list[str], code: int, out: bytes, err: bytes) -> Done:
    texts = out.decode(), err.decode()  # always UTF-8, whatever the names
    assert "Traceback" not in texts[1], texts[1]
    return subprocess.CompletedProcess(command, code, *texts)

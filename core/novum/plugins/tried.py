"""Whether installed plugins load: tried in another process, so that one that hangs or dies harms nothing.

All are tried in one process, for their libraries load but once; where it dies or stands still, the plugin at hand is
named and a new process goes on with the next.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

from novum.errors import PluginError
from novum.plugins.installed import Listing

LIMIT = 60.0
"""Seconds that the import of one plugin may take."""
PATIENCE = 20.0
"""Seconds for one that nobody named, and that is only looked at because it may fit."""
_STARTS = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from novum.plugins.tried import serve
serve(json.loads(sys.argv[2]))
"""


def tried(wanted: Sequence[Listing], limit: float = LIMIT) -> Iterator[tuple[Listing, str]]:
    """Each plugin with "ok" or why it does not load, in order, as it is known. limit: seconds for one plugin."""
    left = list(wanted)
    while left:
        for state in _answers(left, limit):
            yield left.pop(0), state


def _answers(wanted: Sequence[Listing], limit: float) -> Iterator[str]:
    """What one process tells; where it ends before all is told, why, of the first that it did not tell of."""
    path = [each or os.getcwd() for each in sys.path]  # noqa: PTH109 - the path as Python would take it
    names = [(one.kind, one.name) for one in wanted]
    server = subprocess.Popen(
        [sys.executable, "-c", _STARTS, json.dumps(path), json.dumps(names)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert server.stdout is not None
    told, rest = 0, b""
    try:
        while told < len(wanted):
            deadline = time.monotonic() + limit
            while b"\n" not in rest:
                if not select.select([server.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                    yield f"its import had not ended after {limit:g} s; report this to its authors."
                    return
                chunk = os.read(server.stdout.fileno(), 65536)
                if not chunk:
                    yield _end(server.wait())
                    return
                rest += chunk
            line, _, rest = rest.partition(b"\n")
            told += 1
            yield str(json.loads(line))
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        server.stdout.close()


def _end(status: int) -> str:
    how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
    return f"its import ended the process {how}; report this to its authors."


def serve(names: Sequence[tuple[str, str]]) -> None:
    """In the other process: load one after another, and tell of each on what was standard output."""
    from novum.plugins import load

    answers = os.dup(1)
    sink = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):  # plugins may print
        os.dup2(sink, number)
    for kind, name in names:
        try:
            load(kind, name)
            state = "ok"
        except PluginError as error:
            state = str(error)
        os.write(answers, json.dumps(state).encode() + b"\n")
    os._exit(0)  # whatever threads a plugin left

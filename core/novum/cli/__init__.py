"""The command line. `main` is the entry point; the commands stand in the modules beside this one."""

from __future__ import annotations

import faulthandler
import os
import sys
import traceback
from contextlib import suppress


def main() -> None:
    """Run one command and exit with its code (see docs: 0 for every recorded verdict, 2 for what a person can mend)."""
    debug = "--debug" in sys.argv
    if debug:  # taken out here, so that it may stand anywhere
        sys.argv.remove("--debug")
        os.environ["NOVUM_DEBUG"] = "1"
    if sys.platform == "win32":
        sys.stderr.write("Novum runs on Linux and macOS; on Windows, use it inside WSL.\n")
        raise SystemExit(3)
    with suppress(Exception):  # where standard error is no file
        faulthandler.enable()  # a plugin that crashes the interpreter is named by where it does
    from novum.cli.app import app
    from novum.errors import NovumError

    try:
        app()
    except NovumError as error:
        if debug:
            traceback.print_exc()
        else:
            _complain(str(error))
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        _complain("interrupted; nothing is lost: the same command goes on from here.", "")
        raise SystemExit(130) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except Exception as error:
        if debug:
            traceback.print_exc()
        else:
            _complain(
                f"{type(error).__name__}: {error}\nThis is a fault of Novum's; the same command with --debug shows "
                "where. What was recorded is safe."
            )
        raise SystemExit(1) from None


def _complain(text: str, head: str = "error: ") -> None:
    sys.stderr.write(f"{head}{text}\n")

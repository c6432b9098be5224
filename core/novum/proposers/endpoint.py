"""One request to an endpoint that speaks the OpenAI chat protocol: bounded in time, in size and in where it goes.

The key is read from an environment variable when it is needed, sent to the configured host alone, and told nowhere.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from novum.config import plain, shown
from novum.errors import ConfigError, StudyError

LARGEST = 1_000_000
"""Bytes of an answer that are read."""
PAUSE = 1.0
"""Seconds before the second attempt; twice as long before each further one."""
LONGEST_PAUSE = 30.0
"""Seconds that an endpoint may ask to be left alone for (`Retry-After`)."""
LOCAL = ("localhost", "127.0.0.1", "::1")
TOLD = 200
"""Characters of what an endpoint says that an error repeats."""


class Unusable(Exception):  # noqa: N818 - no error of the study: the model is told, and asked again
    """An answer that came and cannot be used; the message says why."""


class _Later(Exception):  # noqa: N818
    """It may work in a moment. wait: seconds that the endpoint asks for; None: it says nothing."""

    def __init__(self, why: str, wait: float | None = None) -> None:
        super().__init__(why)
        self.wait = wait


class Declined(Exception):  # noqa: N818
    """The endpoint does not take such a request (400 or 422); the message is what it says."""


def address(base_url: str) -> str:
    """The address, without a slash at its end. Raises ValueError where it is none that may be used."""
    allowed = "https://HOST/v1, or http:// for this machine alone, such as http://localhost:8000/v1"
    if not base_url.isprintable() or " " in base_url:
        raise ValueError(f"give {allowed}")
    try:
        parts = urlsplit(base_url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"give {allowed}") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError("leave out name and password; a key stands in an environment variable, see api_key_env")
    if parts.query or parts.fragment or not host:
        raise ValueError(f"give {allowed}")
    if parts.scheme != "https" and not (parts.scheme == "http" and host in LOCAL):
        raise ValueError(f"give {allowed}: what is sent elsewhere has to be encrypted")
    return base_url.rstrip("/")


@dataclass(frozen=True)
class Endpoint:
    """Where chat completions come from.

    base_url: as `address` allows. key_name: the environment variable that holds the key; None: no key. timeout:
    seconds for one attempt in all, from connecting to the last byte. attempts: at most, where it may work later.
    """

    base_url: str
    key_name: str | None
    timeout: float
    attempts: int
    sleep: Callable[[float], None] = time.sleep

    def ask(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON object that it answers.

        Raises `Unusable` for an answer that is too long or no JSON object, `Declined` where it does not take such a
        request, ConfigError where address or key are wrong, StudyError where it does not answer.
        """
        key = self._key()
        for attempt in range(1, self.attempts + 1):
            try:
                return self._once(json.dumps(body).encode(), key)
            except _Later as why:
                if attempt == self.attempts:
                    raise StudyError(
                        f"the language model at {self.base_url} did not answer after {attempt} attempts: {why}. Look "
                        "whether it runs and whether your quota is used up, raise `timeout` or `attempts`, or leave "
                        "language-model out of the goal's proposers; the same command goes on from here."
                    ) from None
                pause = PAUSE * 2 ** (attempt - 1)
                self.sleep(min(max(pause, why.wait or 0.0), LONGEST_PAUSE))
        raise AssertionError("there is at least one attempt")

    def _key(self) -> str | None:
        if self.key_name is None:
            return None
        key = os.environ.get(self.key_name, "")
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            what = "is not set" if not key else "holds no key: keys are printable and have no spaces"
            raise ConfigError(
                f"proposer 'language-model': api_key_env: the environment variable {self.key_name} {what}; set it, or "
                "leave api_key_env out for a server that needs no key."
            )
        return key

    def _once(self, body: bytes, key: str | None) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(  # noqa: S310 - `address` allows http(s) alone
            f"{self.base_url}/chat/completions", body, headers, method="POST"
        )
        with _limited(self.timeout, local=urlsplit(self.base_url).hostname in LOCAL) as limited:
            try:
                with limited.opener.open(request, timeout=self.timeout) as answer:
                    text = _read(answer)
            except urllib.error.HTTPError as error:
                with error:
                    raise self._refused(error, key) from None
            except (OSError, http.client.HTTPException) as error:
                if limited.over:
                    raise _Later(f"it took longer than {self.timeout:g} s") from None
                reason = getattr(error, "reason", None) or error
                raise _Later(f"{type(error).__name__}: {_clean(str(reason), key)}") from None
            if limited.over:  # the connection was closed under a body without a stated length
                raise _Later(f"it took longer than {self.timeout:g} s")
        return _object(text)

    def _refused(self, error: urllib.error.HTTPError, key: str | None) -> Exception:
        where, code = self.base_url, error.code
        if 300 <= code < 400:
            host = urlsplit(error.headers.get("Location") or "").netloc
            return ConfigError(
                f"proposer 'language-model': base_url: {where} sends on to {shown(host)}, and no key or data are sent "
                "to where you did not say; give the address that answers itself."
            )
        try:
            said = _clean(error.read(2000).decode("utf-8", "replace"), key)
        except (OSError, http.client.HTTPException):
            said = "nothing"
        if code in (401, 403):
            return ConfigError(
                f"proposer 'language-model': {where} refuses the key ({code}); "
                + (
                    f"look at the environment variable {self.key_name}."
                    if self.key_name
                    else 'name the environment variable that holds one: api_key_env = "NAME".'
                )
            )
        if code == 404:
            return ConfigError(
                f"proposer 'language-model': {where} knows no such page or model (404, it says: {said}); look at "
                "base_url, which often ends in /v1, and at model."
            )
        if code in (400, 422):
            return Declined(said)
        if code in (408, 409, 425, 429) or code >= 500:
            return _Later(f"{code}, it says: {said}", _wait(error.headers.get("Retry-After")))
        return StudyError(f"the language model at {where} refuses the request ({code}, it says: {said}).")


def _wait(header: str | None) -> float | None:
    return float(header) if header and header.isascii() and header.isdigit() and len(header) < 9 else None


def _clean(text: str, key: str | None) -> str:
    """What an endpoint says, short, on one line and without the key."""
    return plain(text.replace(key, "…") if key else text, TOLD)


def _read(answer: Any) -> bytes:
    found = bytearray()
    while piece := answer.read1(65_536):
        found += piece
        if len(found) > LARGEST:
            raise Unusable(f"the answer is longer than {LARGEST:,} bytes")
    return bytes(found)


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise Unusable("what the endpoint sent is no JSON") from None
    if not isinstance(found, dict):
        raise Unusable("what the endpoint sent is no JSON object")
    return found


# ---------------------------------------------------------------------------------------------------- a limit in time


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: it becomes an HTTPError."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class _Limited:
    """An opener whose connections are shut down when the time is over, whatever they wait for."""

    def __init__(self, local: bool) -> None:
        self.over = False
        self._open: list[socket.socket] = []
        limited = self

        def made(kind: type[http.client.HTTPConnection]) -> Callable[..., http.client.HTTPConnection]:
            def make(*args: Any, **kwargs: Any) -> http.client.HTTPConnection:
                connection = kind(*args, **kwargs)
                connection._create_connection = limited._connected  # type: ignore[attr-defined]
                return connection

            return make

        class Plain(urllib.request.HTTPHandler):
            def http_open(self, request: Any) -> Any:
                return self.do_open(made(http.client.HTTPConnection), request)

        class Secure(urllib.request.HTTPSHandler):
            def https_open(self, request: Any) -> Any:
                return self.do_open(made(http.client.HTTPSConnection), request)

        proxies = [urllib.request.ProxyHandler({})] if local else []  # else those of the environment
        self.opener = urllib.request.build_opener(*proxies, Plain, Secure, _Stay)

    def _connected(self, *args: Any, **kwargs: Any) -> socket.socket:
        """A new connection, of which a second handle is kept: urllib and TLS let go of the first."""
        found = socket.create_connection(*args, **kwargs)
        self._open.append(found.dup())
        return found

    def stop(self) -> None:
        """Shut every connection down: whoever waits for one goes on, with an error or the end of the data."""
        self.over = True
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the connections."""
        for each in self._open:
            each.close()


@contextlib.contextmanager
def _limited(seconds: float, local: bool) -> Iterator[_Limited]:
    """A block whose connections end after this many seconds. A timeout of a socket would begin anew with each byte."""
    limited, done = _Limited(local), threading.Event()

    def watch() -> None:
        wait = seconds
        while not done.wait(wait):  # again and again: a connection may be open and its socket still to come
            limited.stop()
            wait = 0.05

    thread = threading.Thread(target=watch, name="novum-limit", daemon=True)
    thread.start()
    try:
        yield limited
    finally:
        done.set()
        thread.join()
        limited.close()

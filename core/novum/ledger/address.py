"""Where a ledger on a server is: the url that a person writes, checked, and what of it may be shown."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from novum.errors import ConfigError, StudyError, closest

SCHEMES = ("postgresql", "postgresql+psycopg")
FORM = "postgresql://user@host:5432/database?study=NAME"
STUDY = "novum"
"""The study that a url without a name means."""
ELSEWHERE = ("user", "password", "dbname", "client_encoding", "replication")
"""Options of libpq that a url has another place for, or that would break a ledger."""
SECRET = re.compile(r"((?:password|secret|_key)[^=&\s]*=)[^&\s]*", re.IGNORECASE)


@dataclass(frozen=True)
class Address:
    """A study on a PostgreSQL server.

    url: what SQLAlchemy connects to. study: the schema's name. shown: the place as messages name it.
    """

    url: URL = field(repr=False)
    study: str
    shown: str

    def redact(self, text: str) -> str:
        """The text without any password that the url or the environment holds."""
        query = [value for name, value in self.url.query.items() if "password" in name or "secret" in name]
        for secret in (self.url.password, os.environ.get("PGPASSWORD"), *query):
            if secret:
                text = text.replace(str(secret), "***")
        return text


def parse(text: str) -> Address:
    """Read a url. Raises ConfigError for a wrong one, StudyError where PostgreSQL's driver is not installed."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigError(
            f"{hidden(text)!r} is not the url of a ledger; it reads {FORM}, with special characters of its parts "
            "written as %-codes (@ is %40, / is %2F)."
        ) from None
    if url.drivername not in SCHEMES:
        raise ConfigError(
            f"the ledger's url begins with {url.drivername!r}; options are {' and '.join(SCHEMES)}, as in {FORM}. "
            "Without a url, the ledger is a file in the study's folder."
        )
    if not url.database:
        raise ConfigError(f"the ledger's url {hidden(text)!r} names no database; it reads {FORM}.")
    study = url.query.get("study", STUDY)
    if not isinstance(study, str) or not _usable(study):
        raise ConfigError(
            f"the ledger's url names the study {study!r}; a name has small letters, digits and '_', begins with a "
            "letter or '_', is at most 63 characters long and not of PostgreSQL's own ('pg_…', 'information_schema')."
        )
    rest = {name: value for name, value in url.query.items() if name != "study"}
    _check(rest)
    url = url.set(drivername="postgresql+psycopg", query=rest)
    return Address(url, study, _shown(url, study))


def remembered(text: str) -> str:
    """The url as a study's folder may keep it: without a password (PGPASSWORD or ~/.pgpass give it). Raises ConfigError
    for a wrong one.
    """
    where = parse(text)
    url = where.url
    query = {name: value for name, value in url.query.items() if not SECRET.match(f"{name}=")}
    plain = URL.create("postgresql", url.username, None, url.host, url.port, url.database)
    return plain.set(query={**query, "study": where.study}).render_as_string(hide_password=False)


def hidden(text: str) -> str:
    """A url, right or wrong, without what may be a password."""
    return SECRET.sub(r"\1***", re.sub(r"(?<=://).*@", "***@", text, flags=re.DOTALL))


def _usable(study: str) -> bool:
    own = study.startswith("pg_") or study == "information_schema"
    return re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", study) is not None and not own


def _check(options: Mapping[str, object]) -> None:
    try:
        from psycopg import pq
    except ImportError as error:
        raise StudyError(
            f"a ledger on PostgreSQL needs the driver psycopg, which cannot be imported ({error}); install it with "
            "pip install 'novum[postgres]'."
        ) from None
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()} - set(ELSEWHERE)
    for name, value in options.items():
        if name not in known:
            raise ConfigError(
                f"the ledger's url has the option {name!r}, which it cannot have; {closest(name, ['study', *known])}."
            )
        if not isinstance(value, str):
            raise ConfigError(f"the ledger's url has the option {name!r} more than once; write it once.")


def _shown(url: URL, study: str) -> str:
    host = str(url.host or url.query.get("host") or url.query.get("hostaddr") or os.environ.get("PGHOST") or "")
    port = url.port or url.query.get("port") or os.environ.get("PGPORT") or 5432
    if "/" in host:  # the folder of a socket
        return f"postgresql:///{url.database}?host={host}&port={port}&study={study}"
    return f"postgresql://{f'[{host}]' if ':' in host else host or 'localhost'}:{port}/{url.database}?study={study}"

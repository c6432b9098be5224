"""What decides a plugin's behaviour besides its options: where its code is from, and a hash of it."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import re
from pathlib import Path
from typing import Any

from novum.errors import PluginError
from novum.plugins.installed import listings
from novum.plugins.own import local_code

NOT_INSTALLED = "not installed"
"""Stands for the version of code that a person handed in."""


def provenance(kind: str, name: str) -> dict[str, Any]:
    """What decides a plugin's behaviour: {"distribution", "version", "sources", "requires"}.

    "sources" is a SHA-256 over its top-level package's Python files; "requires" maps the distributions that it
    declares to the versions that are installed.
    """
    code = local_code(kind, name)
    if code is not None:
        return {
            "distribution": Path(code.file).name if code.file else "this process",  # wherever the file lies
            "version": NOT_INSTALLED,
            "sources": code.sha256,
            "requires": {},
        }
    listing = next(one for one in listings(kind) if one.name == name)
    package = listing.value.split(":")[0].split(".")[0]
    return {
        "distribution": listing.distribution,
        "version": listing.version,
        "sources": "" if package == "novum" else package_hash(package),
        "requires": _requirements(listing.distribution),
    }


@functools.cache
def package_hash(package: str, only: tuple[str, ...] = ()) -> str:
    """SHA-256 over the Python files of a top-level package, by relative path; `only` limits it to some prefixes."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise PluginError(f"the package {package!r} is not installed.")
    digest = hashlib.sha256()
    roots = [Path(root) for root in spec.submodule_search_locations or []]
    files = {path.relative_to(root).as_posix(): path for root in roots for path in root.rglob("*.py")}
    if not roots and spec.origin is not None:
        files = {Path(spec.origin).name: Path(spec.origin)}
    for relative in sorted(files):
        if not only or relative.startswith(only):
            digest.update(f"{relative}\0".encode())
            digest.update(hashlib.sha256(files[relative].read_bytes()).digest())
    return digest.hexdigest()


def _requirements(distribution: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in importlib.metadata.requires(distribution) or []:
        name = re.split(r"[ ;<>=!~\[(]", line, maxsplit=1)[0]
        if "extra ==" not in line:
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                found[name] = "not installed"
    return dict(sorted(found.items()))

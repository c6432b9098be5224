"""A test that is silently skipped proves nothing: reasons stand on a list."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]


@pytest.mark.parametrize(("reason", "outcome"), [("I was tired", "failed"), ("NOVUM_DATA is unset", "skipped")])
def test_a_skip_whose_reason_is_not_on_the_list_fails(pytester: pytest.Pytester, reason: str, outcome: str) -> None:
    hook = (Path(__file__).parents[1] / "conftest.py").read_text()
    pytester.makeconftest(hook)
    pytester.makepyfile(f"import pytest\n\ndef test_it():\n    pytest.skip({reason!r})\n")

    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")

    result.assert_outcomes(**{outcome: 1})

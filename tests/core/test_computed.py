"""How an arm was computed, in words."""

from __future__ import annotations

from typing import Any

import pytest
from novum import computed

PLAIN = {"layout": "contiguous", "compile": "none", "mode": "separate"}


def plan(**changes: Any) -> dict[str, Any]:
    return {"device": "cpu", "precision": "fp32", "how": PLAIN} | changes


def test_a_line_says_device_precision_layout_compiling_and_mode() -> None:
    fast = {"layout": "channels-last", "compile": "reduce-overhead", "mode": "joint"}

    assert computed.line(plan()) == (
        "a CPU, float32, contiguous tensors, eager steps, each seed trained apart (separate)"
    )
    assert computed.line(plan(device="cuda", precision="bf16", how=fast)) == (
        "a CUDA GPU, bfloat16 losses over float32 weights, images channels-last, "
        "compiled losses replayed as CUDA graphs, the seeds of a block trained together (joint)"
    )


@pytest.mark.parametrize("name", ["device", "precision"])
def test_a_value_without_words_stands_for_itself(name: str) -> None:
    assert "unheard-of" in computed.line(plan(**{name: "unheard-of"}))


def test_a_plan_from_before_such_things_were_recorded_claims_nothing_about_them() -> None:
    old = plan()
    del old["how"]

    assert computed.line(old) == "a CPU, float32"


def test_arms_that_are_computed_alike_are_told_together_and_a_bar_is_none() -> None:
    other = plan(how=PLAIN | {"layout": "channels-last"})
    tasks = {"a": {"control": plan(), "treatment": other}, "b": {"control": None, "treatment": plan()}}

    alike = computed.lines({"order": ["b"], "tasks": tasks})
    apart = computed.lines({"order": ["a", "b"], "tasks": tasks})

    assert alike == [("every arm", computed.line(plan()))]
    assert apart == [("a control and b", computed.line(plan())), ("a treatment", computed.line(other))]

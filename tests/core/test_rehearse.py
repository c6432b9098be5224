"""How arms are computed follows from probes, and both sides of a pair agree where only noise parts them."""

from __future__ import annotations

from typing import Any

from novum.rehearse import _agreed

PLAIN = {"layout": "contiguous", "compile": "none", "mode": "separate"}


def plan(model: str = "timm", **how: str) -> dict[str, Any]:
    return {"arm": {"model": {"plugin": model}}, "how": {**PLAIN, **how}}


def agreed(
    control: dict[str, Any], treatment: dict[str, Any], sizes: tuple[int, int] = (5, 5), asked: Any = None
) -> Any:
    arms = {"digits/control": {"plan": control}, "digits/treatment": {"plan": treatment}}
    before = {
        name: {**each["plan"], "how": {**PLAIN, **(asked or {}).get(name[7:], {})}} for name, each in arms.items()
    }
    found = _agreed(arms, before, dict(zip(arms, sizes, strict=True)))
    return tuple(found[name]["plan"]["how"] for name in arms)


def test_sides_that_agree_are_left_as_they_are() -> None:
    joint = plan(mode="joint")

    assert agreed(joint, joint) == (joint["how"], joint["how"])


def test_sides_of_one_model_whose_probes_differ_by_noise_are_computed_plainly() -> None:
    assert agreed(plan(layout="channels-last"), plan()) == (PLAIN, PLAIN)


def test_other_networks_may_be_laid_out_in_other_ways() -> None:
    last = plan(layout="channels-last")

    assert agreed(last, plan(), sizes=(5, 9)) == (last["how"], PLAIN)
    assert agreed(last, plan(model="bag")) == (last["how"], PLAIN)


def test_layouts_that_the_claim_compares_stay_what_was_asked_for() -> None:
    last = plan(layout="channels-last")

    assert agreed(last, plan(), asked={"control": {"layout": "channels-last"}}) == (last["how"], PLAIN)


def test_a_pair_is_trained_in_one_mode_whatever_its_models_are() -> None:
    found = agreed(plan(mode="joint"), plan(model="bag", layout="channels-last"), sizes=(5, 9))

    assert [each["mode"] for each in found] == ["separate", "separate"]
    assert found[1]["layout"] == "channels-last"


def test_another_task_is_no_side_of_the_pair() -> None:
    arms = {"a/control": {"plan": plan(mode="joint")}, "a/b/control": {"plan": plan()}}
    before = {name: plan() for name in arms}

    found = _agreed(arms, before, dict.fromkeys(arms, 5))

    assert found == arms

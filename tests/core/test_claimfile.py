from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import novum
import pytest
from novum import ConfigError, DataError, NovumError
from novum.arm import Arm
from novum.claimfile import load, load_all
from novum.toml import MAX_BYTES

QUICKSTART = Path(__file__).parents[2] / "experiments" / "quickstart" / "claim.toml"
HEAD = """
claim = "cosine beats constant"
minimum_effect = 0.02
max_seeds = 4
"""
BODY = """
[treatments.cosine]
recipe.schedule = "cosine"
[tasks.digits]
task = { plugin = "images", data = "digits" }
model = { plugin = "resnet", width = 8 }
recipe = { budget = "6 epochs", learning_rate = 2e-3 }
"""


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "claim.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def arms(path: Path, task: str = "digits", treatment: str | None = None) -> tuple[Arm, Arm]:
    comparison = load(path, treatment).tasks[task]
    return comparison.control, comparison.treatment


def test_the_quick_start_is_one_claim_on_three_tasks() -> None:
    (hypothesis,) = load_all(QUICKSTART)

    assert list(hypothesis.tasks) == ["digits", "stdlib-docs", "cartpole"]
    assert hypothesis.alpha == 0.05
    for comparison in hypothesis.tasks.values():
        parent = comparison.treatment.start_from
        assert comparison.control.start_from is None
        assert parent is not None
        assert parent.model == comparison.treatment.model
        assert parent.task != comparison.treatment.task
        assert comparison.minimum_effect == 0.02


def test_a_claim_file_says_the_same_as_a_script(tmp_path: Path) -> None:
    base = novum.arm(
        novum.task("images", data="digits"), novum.model("resnet", width=8), budget="6 epochs", learning_rate=2e-3
    )
    comparison = novum.Comparison(base, base.but(schedule="cosine"))
    script = novum.Hypothesis(
        "cosine beats constant", tasks={"digits": comparison}, minimum_effect=0.02, max_seeds=4, name="cosine"
    )

    assert load(write(tmp_path, HEAD + BODY)).to_json() == script.to_json()


def test_what_stands_closer_to_an_arm_on_a_task_wins(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        HEAD
        + """
        [control]
        recipe = { clip = 1.0, warmup = 0.1 }
        [treatments.t]
        recipe = { clip = 2.0, warmup = 0.2 }
        [tasks.digits]
        task = { plugin = "images", data = "digits", shift = 1 }
        model = { plugin = "resnet" }
        recipe = { clip = 0.5, warmup = 0.5, batch_size = 8 }
        [tasks.digits.control]
        recipe = { clip = 3.0 }
        [tasks.digits.treatments.t]
        recipe = { clip = 4.0 }
        task = { shift = 2 }
        """,
    )

    control, treatment = arms(path)

    assert dict(control.recipe) == {"clip": 3.0, "warmup": 0.1, "batch_size": 8}
    assert dict(treatment.recipe) == {"clip": 4.0, "warmup": 0.2, "batch_size": 8}
    assert control.task.options == {"data": "digits", "shift": 1}
    assert treatment.task.options == {"data": "digits", "shift": 2}


def test_naming_another_plugin_drops_the_options_of_the_old_one(tmp_path: Path) -> None:
    body = BODY.replace('recipe.schedule = "cosine"', 'model = { plugin = "vit" }')

    control, treatment = arms(write(tmp_path, HEAD + body))

    assert control.model == novum.model("resnet", width=8)
    assert treatment.model == novum.model("vit")


def test_naming_the_same_plugin_again_keeps_its_options(tmp_path: Path) -> None:
    body = BODY.replace('recipe.schedule = "cosine"', 'model = { plugin = "resnet", depth = 3 }')

    assert arms(write(tmp_path, HEAD + body))[1].model == novum.model("resnet", width=8, depth=3)


def test_start_from_is_the_same_arm_with_some_parts_replaced(tmp_path: Path) -> None:
    start = '[treatments.cosine.start_from]\ntask = { data = "letters" }\nrecipe = { budget = "1 epochs" }\n'

    control, treatment = arms(write(tmp_path, HEAD + BODY + start))

    parent = treatment.start_from
    assert control.start_from is None
    assert parent is not None
    assert parent.start_from is None
    assert parent.task == novum.task("images", data="letters")
    assert parent.model == treatment.model
    assert dict(parent.recipe) == {"budget": "1 epochs", "learning_rate": 2e-3, "schedule": "cosine"}


def test_several_treatments_share_one_alpha_and_one_control(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + 'alpha = 0.06\n[treatments.linear]\nrecipe.schedule = "linear"\n' + BODY)

    found = load_all(path)

    assert [each.name for each in found] == ["linear", "cosine"]
    assert [each.alpha for each in found] == [0.03, 0.03]
    assert found[0].tasks["digits"].control == found[1].tasks["digits"].control
    assert len({each.fingerprint for each in found}) == 2
    assert load(path, "linear") == found[0]


def test_one_of_several_treatments_must_be_named(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + '[treatments.linear]\nrecipe.schedule = "linear"\n' + BODY)

    with pytest.raises(ConfigError, match=r"which treatment.*allowed: cosine, linear"):
        load(path)
    with pytest.raises(ConfigError, match="'cosin'; did you mean 'cosine'"):
        load(path, "cosin")


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("tasks.digits.recipe.learning_rate=1e-3", lambda claim: claim.tasks["digits"].control.recipe["learning_rate"]),
        ("tasks.digits.model.width = 16", lambda claim: claim.tasks["digits"].control.model.options["width"]),
        ("tasks.digits.task.data=letters", lambda claim: claim.tasks["digits"].control.task.options["data"]),
        ("treatments.cosine.recipe.clip=0.5", lambda claim: claim.tasks["digits"].treatment.recipe["clip"]),
        ("max_seeds=7", lambda claim: claim.max_seeds),
    ],
)
def test_an_override_replaces_one_value_as_toml_types_it(tmp_path: Path, override: str, read: Any) -> None:
    (claim,) = load_all(write(tmp_path, HEAD + BODY), [override])

    assert read(claim) in (1e-3, 16, "letters", 0.5, 7)
    assert claim != load(write(tmp_path, HEAD + BODY))


@pytest.mark.parametrize("override", ["max_seeds", "=3", "tasks..recipe=1", "claim.sub=1", "tasks.digits.recipe.clip"])
def test_an_override_that_is_no_key_and_value_is_refused(tmp_path: Path, override: str) -> None:
    with pytest.raises(ConfigError, match="override"):
        load_all(write(tmp_path, HEAD + BODY), [override])


@pytest.mark.parametrize("key", ["alpha", "max_seeds", "claim", "seed", "scope", "keep"])
def test_a_key_of_the_claim_inside_a_task_says_where_it_belongs(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"'{key}' \(value 0.1\) stands inside \[tasks.digits\].*move it above"):
        load(write(tmp_path, HEAD + BODY + f"{key} = 0.1\n"))


TASK = '[tasks.digits]\ntask = { plugin = "images" }\nmodel = { plugin = "resnet" }\n'
TREATMENT = '[treatments.t]\nrecipe.schedule = "cosine"\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("claim = ", "not valid TOML"),
        (b"\xff\xfe claim", "not valid TOML"),
        ("a = " + "[" * 5000, "not valid TOML"),
        ("", "option 'claim' is required"),
        ('claim = "x"\n[treatments.t]', "option 'tasks' is required"),
        ('claim = "x"\n' + TASK, "option 'treatments' is required"),
        ('claim = "x"\n[tasks]\n' + TREATMENT, r"\[tasks.NAME\] is missing"),
        ('claim = "x"\n[treatments]\n' + TASK, r"\[treatments.NAME\] is missing"),
        ('claim = "x"\nmax_seed = 3\n' + TREATMENT + TASK, "'max_seed'.*did you mean 'max_seeds'"),
        ('claim = "x"\n' + TREATMENT + TASK + "recipes = {}", "'tasks.digits.recipes'.*did you mean 'recipe'"),
        ('claim = "x"\n[treatments.t]\nmodle = {}\n' + TASK, "'treatments.t.modle'.*did you mean 'model'"),
        ('claim = "x"\n' + TREATMENT + TASK + "recipe.clipp = 1.0", "'clipp'; did you mean 'clip'"),
        ('claim = "x"\n' + TREATMENT + TASK + "[tasks.digits.treatments.tt]", "'tt' is no treatment.*did you mean 't'"),
        ('claim = "x"\n[treatments.t]\n' + TASK, "control and treatment are the same arm"),
        ('claim = " "\n' + TREATMENT + TASK, "claim: received ' '"),
        ('claim = "x"\nalpha = 0.5\n' + TREATMENT + TASK, "alpha.*0.5"),
        ('claim = "x"\nalpha = 0\n' + TREATMENT + TASK, "alpha.*0"),
        ('claim = "x"\nalpha = nan\n' + TREATMENT + TASK, "alpha.*nan"),
        ('claim = "x"\nalpha = 0.6\n[treatments.u]\nrecipe.clip = 1.0\n' + TREATMENT + TASK, "alpha.*0.6"),
        ('claim = "x"\nmax_seeds = 2\n' + TREATMENT + TASK, "max_seeds: received 2; allowed: a whole number from 3"),
        ('claim = "x"\nmax_seeds = 3.5\n' + TREATMENT + TASK, "max_seeds.*3.5"),
        ('claim = "x"\nmax_seeds = "many"\n' + TREATMENT + TASK, "max_seeds.*'many'"),
        ('claim = "x"\nseed = -1\n' + TREATMENT + TASK, "seed: received -1"),
        ('claim = "x"\nscope = "some"\n' + TREATMENT + TASK, "scope: received 'some'"),
        ('claim = "x"\nkeep = "last"\n' + TREATMENT + TASK, "keep: received 'last'; allowed: one of none, first, all"),
        ('claim = "x"\nminimum_effect = -0.1\n' + TREATMENT + TASK, "minimum_effect.*-0.1"),
        ('claim = "x"\nminimum_effect = 0.1\nminimum_effect_raw = 0.1\n' + TREATMENT + TASK, "not both"),
        ('claim = "x"\n' + TREATMENT + TASK + "minimum_effect = 1\nminimum_effect_raw = 1", "not both"),
        ('claim = "x"\n' + TREATMENT + '[tasks.digits]\nmodel = { plugin = "m" }', "tasks.digits.task: no plugin"),
        ('claim = "x"\n' + TREATMENT + '[tasks.digits]\ntask = { plugin = "t" }', "tasks.digits.model: no plugin"),
        ('claim = "x"\n' + TREATMENT + "[tasks.digits]\ntask = { plugin = 3 }", "plugin: received 3"),
        ('claim = "x"\n' + TREATMENT + TASK + "evaluator = { k = 1 }", "tasks.digits.evaluator: no plugin"),
        (
            'claim = "x"\n' + TREATMENT + TASK + "[tasks.digits.start_from]\nrecip = {}",
            "start_from.*did you mean 'recipe'",
        ),
        (
            'claim = "x"\n' + TREATMENT + TASK.replace('"images"', '"images", day = 2026-01-01'),
            "cannot be written as JSON",
        ),
        ('claim = "x"\ntasks = 3\n' + TREATMENT, "'tasks'.*received 3"),
        ('claim = "x"\n[tasks]\ndigits = 3\n' + TREATMENT, "'tasks.digits'.*received 3"),
    ],
)
def test_a_bad_claim_file_is_one_clear_error(tmp_path: Path, text: str | bytes, told: str) -> None:
    with pytest.raises(NovumError, match=told) as caught:
        load_all(write(tmp_path, text))

    assert isinstance(caught.value, ConfigError | DataError)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["missing.toml", ".", "x" * 5000])
def test_a_claim_file_that_is_not_there_is_told_by_its_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="claim file"):
        load_all(tmp_path / name)


def test_a_claim_file_of_two_megabytes_is_refused_unread(tmp_path: Path) -> None:
    path = write(tmp_path, "#" * 2 * MAX_BYTES)

    with pytest.raises(ConfigError, match="2000000 bytes; a claim file has at most 1000000"):
        load_all(path)


def test_the_hypothesis_of_a_claim_file_survives_json(tmp_path: Path) -> None:
    claim = load(write(tmp_path, HEAD + BODY))

    assert novum.Hypothesis.from_json(json.loads(json.dumps(claim.to_json()))) == claim


# --------------------------------------------------------------------------------------------------------- techniques

DOTTED = BODY.replace('recipe = { budget = "6 epochs", learning_rate = 2e-3 }', 'recipe.budget = "6 epochs"')
NOISY = f"""{DOTTED}
recipe.techniques.noise = {{ scale = 0.1, decay = 0.5 }}
recipe.techniques.flooding = true
"""


def techniques(text: str, tmp_path: Path, *overrides: str) -> list[Any]:
    """The techniques of control and treatment, as a recipe understands them."""
    comparison = load(write(tmp_path, HEAD + text), overrides=overrides).tasks["digits"]
    sides = comparison.arms.values()
    return [novum.Recipe(**arm.recipe).model_dump()["techniques"] for arm in sides]


def test_techniques_of_a_task_and_an_arm_come_together_by_name_and_by_option(tmp_path: Path) -> None:
    body = NOISY.replace('recipe.schedule = "cosine"', "recipe.techniques = { noise = { scale = 0.2 }, other = {} }")

    control, treatment = techniques(body, tmp_path)

    assert control == {"noise": {"scale": 0.1, "decay": 0.5}, "flooding": {}}
    assert treatment == {"noise": {"scale": 0.2, "decay": 0.5}, "flooding": {}, "other": {}}


def test_an_arm_leaves_a_technique_out_with_false_and_takes_it_back_with_a_table(tmp_path: Path) -> None:
    body = NOISY.replace('recipe.schedule = "cosine"', "recipe.techniques.noise.scale = 0.3")

    control, treatment = techniques("[control]\nrecipe.techniques.noise = false\n" + body, tmp_path)

    assert control == {"flooding": {}}
    assert treatment == {"noise": {"scale": 0.3, "decay": 0.5}, "flooding": {}}


def test_an_override_reaches_one_option_of_a_technique(tmp_path: Path) -> None:
    control, treatment = techniques(BODY, tmp_path, "treatments.cosine.recipe.techniques.gradient-noise.scale=0.1")

    assert control == {}
    assert treatment == {"gradient-noise": {"scale": 0.1}}


def test_the_order_of_techniques_in_a_file_makes_no_other_arm(tmp_path: Path) -> None:
    one, other = (
        load(write(tmp_path, HEAD + DOTTED + f"[tasks.digits.recipe.techniques]\n{text}"))
        for text in ("a = { x = 1 }\nb = {}\n", "b = {}\na = { x = 1 }\n")
    )

    assert one.fingerprint == other.fingerprint

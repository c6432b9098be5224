"""The quick start as a script: does a pretrained start beat a random one when experience is scarce?"""

import novum

six, others = "asyncio email importlib xml _pydecimal logging", "http unittest typing multiprocessing urllib doctest"
digits = novum.task("image-classification", data="digits", classes=list("56789"), per_class=10)
docs = novum.task("text-classification", data="stdlib-docs", classes=six.split(), per_class=10)
cart = novum.task("gym", env="CartPole-v1", physics={"length": 1.0})
resnet, bag, ppo = novum.model("timm", name="test_resnet"), novum.model("bag"), novum.model("ppo")
a = novum.arm(digits, resnet, budget="1_000 samples", batch_size=25, learning_rate=1e-3)
b = novum.arm(docs, bag, budget="1_200 samples", batch_size=20)
c = novum.arm(cart, ppo, budget="6_000 steps")
a0 = a.but(task=digits.but(classes=list("01234"), per_class=0), budget="6 epochs", batch_size=64, learning_rate=2e-3)
b0 = b.but(task=docs.but(classes=others.split(), per_class=0), budget="4 epochs", batch_size=32)
c0 = c.but(task=cart.but(physics={"length": 0.5}), budget="20_000 steps")
pairs = {"digits": (a, a0), "stdlib-docs": (b, b0), "cartpole": (c, c0)}
tasks = {name: (arm, arm.but(start_from=before)) for name, (arm, before) in pairs.items()}
idea = "A pretrained start beats a random one on at least one of three tasks when experience is scarce"
options = {"minimum_effect": 0.02, "expected_effect": 0.4, "max_seeds": 8, "scope": "at_least(1)", "seed": 2026}
claim = novum.Hypothesis(idea, tasks=tasks, name="pretrained", **options)
print(novum.Study("studies/quickstart").run(claim))

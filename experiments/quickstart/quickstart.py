"""The quick start as a script: does a pretrained start beat a random one when experience is scarce?"""

import novum


def pair(plugin, model, recipe, scarce, before):
    """Control and treatment on one task: the treatment starts from an arm trained on something else."""
    control = novum.arm(novum.task(plugin, **scarce), novum.model(*model), **recipe)
    parent = control.but(task=control.task.but(**before["task"]), **before["recipe"])
    return control, control.but(start_from=parent)


claim = novum.load("experiments/quickstart/claim.toml")
for name, each in claim.tasks.items():
    print(name, each)

"""Tables of numbers for Novum: the task `tabular`, the model `binned`, the evaluator `brier`."""

"""The one runner: device, precision, stepping, schedules, budget, curves, weights. Plugins own the mathematics."""

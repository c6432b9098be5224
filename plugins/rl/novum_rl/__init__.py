"""Reinforcement learning for Novum: the task `gym`, the model `ppo`, the evaluator `returns`."""

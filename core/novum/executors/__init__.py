"""Where jobs run: this process (`inline`) or a process of its own for each job (`local`). Imports no torch.

An executor takes jobs as names and JSON, runs `novum.runner.jobs.perform` on each and yields results as they come.
Every result first stands in a spool file, so that none is lost when the caller dies before it has stored it.
"""

from __future__ import annotations

from novum.executors.base import Executor, Failure, Job, Result, cores
from novum.executors.inline import InlineExecutor
from novum.executors.local import LocalExecutor
from novum.executors.spool import orphans

__all__ = ["Executor", "Failure", "InlineExecutor", "Job", "LocalExecutor", "Result", "cores", "orphans"]

"""Row 15: a device without room for a trial. It runs alone, then in smaller pieces, then the claim says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import novum
import pytest
from novum.lab import Listener

FAST = {"SOAK_SECONDS": "0.03"}


def test_row_15_a_trial_out_of_memory_runs_alone_and_changes_nothing(
    tmp_path: Path, start: Any, whole: Any, words: Any, tools: Any
) -> None:
    code, out, err = start(tmp_path, *words, SOAK_FAULTS='{"control/1": "device-memory"}', **FAST).end()

    assert code == 0
    assert "control, seed 1 ran out of the device's memory: it runs alone the next time." in err
    tools.check_whole(tmp_path, whole, out)
    (row,) = [row for row in novum.Study(tmp_path).rows() if row["side"] == "control" and row["seed"] == 1]
    assert (row["attempts"], row["deviations"]) == (2, "it ran alone, after the device had run out of memory")


def test_row_15_what_never_fits_makes_the_claim_invalid_and_is_no_score(tmp_path: Path, start: Any, words: Any) -> None:
    code, out, err = start(tmp_path, *words, SOAK_FAULTS='{"control/0": "device-memory!"}', **FAST).end()

    verdict = json.loads(out)
    assert (code, verdict["outcome"]) == (0, "invalid")
    (reason,) = verdict["tasks"]["Coin"]["reasons"]
    assert "it does not fit into the device's memory, even alone in the smallest pieces: CUDA out of memory" in reason
    assert [f"each batch in {pieces} pieces" in err for pieces in (2, 4, 8, 16)] == [True, True, True, False]
    (row,) = [row for row in novum.Study(tmp_path).rows() if row["side"] == "control" and row["seed"] == 0]
    assert (row["state"], row["attempts"]) == ("failed", 5)


def test_row_15_torch_s_own_error_leads_to_micro_batches_that_give_the_whole_batch_s_numbers(
    tmp_path: Path, arm: Any, toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    expected = novum.Study(tmp_path / "roomy", executor="inline", listener=Listener()).train(
        arm(model={"dropout": 0.0})
    )
    real = torch.nn.Linear.forward

    def forward(layer: Any, x: Any) -> Any:
        if torch.is_grad_enabled() and len(x) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(layer, x)

    monkeypatch.setattr(torch.nn.Linear, "forward", forward)
    study = novum.Study(tmp_path / "narrow", executor="inline", listener=Listener())

    run = study.train(arm(model={"dropout": 0.0}))

    (row,) = study.rows()
    assert row["attempts"] == 4  # together, alone, in halves of ten, in quarters
    assert "micro-batches of 1/4" in row["deviations"] and "it ran alone" in row["deviations"]
    pairs = zip(run.load().parameters(), expected.load().parameters(), strict=True)
    assert all(torch.allclose(mine, theirs, atol=1e-6) for mine, theirs in pairs)
    assert run.metrics["accuracy"] == expected.metrics["accuracy"]

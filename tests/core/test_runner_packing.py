"""A state of training as JSON and tensors, and back to the bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from novum.runner.packing import pack, unpack, written

CPU = torch.device("cpu")
DTYPES = (
    "float64",
    "float32",
    "float16",
    "bfloat16",
    "complex64",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint64",
    "uint32",
    "uint16",
    "uint8",
    "bool",
)
FLOATS = st.floats(allow_nan=False)
PLAIN = st.none() | st.booleans() | st.integers() | FLOATS | st.text() | st.binary()
STATES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)


def again(state: Any) -> Any:
    packed, tensors = pack(state)
    return unpack(json.loads(json.dumps(packed)), tensors.__getitem__, CPU)


@given(STATES)
def test_a_state_comes_back_as_it_was(state: Any) -> None:
    assert repr(again(state)) == repr(state)


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_of_every_type_and_shape_are_written_as_the_library_reads_them(tmp_path: Path, dtype: str) -> None:
    from safetensors.torch import load_file

    kind = getattr(torch, dtype)
    raw = torch.randint(0, 2, (3, 4)).to(kind)
    given = {"a": raw, "odd": torch.ones(3, dtype=torch.uint8), "none": raw[:0], "one": raw[0, 0], "turned": raw.t()}

    (tmp_path / "x").write_bytes(b"".join(written(given)))
    found = load_file(tmp_path / "x")

    assert all(torch.equal(found[name].to(torch.complex128), given[name].to(torch.complex128)) for name in given)
    assert all((found[name].dtype, found[name].shape) == (given[name].dtype, given[name].shape) for name in given)


def test_arrays_scalars_and_the_layout_of_a_tensor_come_back() -> None:
    lasting = torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)
    given = {"a": np.arange(6, dtype="uint32").reshape(2, 3), "b": np.float32(0.1), "c": lasting, "d": np.zeros(())}

    found = again(given)

    assert (found["a"].dtype, found["a"].tolist()) == (np.uint32, [[0, 1, 2], [3, 4, 5]])
    assert type(found["b"]) is np.float32 and found["b"] == np.float32(0.1)
    assert torch.equal(found["c"], lasting) and found["c"].stride() == lasting.stride()
    assert found["d"].shape == ()


@pytest.mark.parametrize("value", [{1, 2}, object(), torch.ones(2).to_sparse(), np.array(["a"]), range(3), 1j])
def test_what_could_not_come_back_is_refused_with_its_place(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^state\.deep\[1\] is"):
        pack({"deep": [0, value]})


@pytest.mark.parametrize("packed", [{"tensor": "../up", "placed": False}, {"code": "x"}, {}, {"dict": [1]}])
def test_json_that_no_state_gave_is_refused(packed: Any) -> None:
    with pytest.raises((KeyError, ValueError, TypeError, StopIteration)):
        unpack([packed], {}.__getitem__, CPU)

"""A call through an address and the kernel behind it agree: seen where each is compiled."""

from typing import NamedTuple

import numpy as np
import pytest
from numba import types
from numba.core.errors import TypingError

from fastbp.kernels.calls.entries import ENTRIES
from fastbp.kernels.machine import entry, records
from fastbp.kernels.machine.build import Kernel, kernel_object
from fastbp.kernels.machine.callers import call_batch, call_targets
from fastbp.kernels.machine.numba_api import compile_ir
from fastbp.kernels.machine.records import Weights

ADDRESS = types.int64(types.int64)


def test_a_field_that_is_left_out_is_the_default_of_its_record():
    def caller(plan):
        return call_batch(plan, plan=plan, scale=2.0, part=7)

    text, _ = compile_ir(caller, ADDRESS, set())
    zeros = "i64 0, " * 7
    assert f"(i64 %arg.plan, {zeros}double 2.000000e+00, {'i64 0, ' * 4}i64 7, " in text


@pytest.mark.parametrize(
    "wrong",
    [
        lambda plan: call_batch(plan, plan=plan, shape=3),
        lambda plan: call_batch(plan, w=plan),
        lambda plan: call_batch(plan, plan=plan, w=1.5),
        lambda plan: call_targets(plan, plan, 3),
        lambda plan: call_targets(plan, plan, 3, 0, 0, 0),
    ],
)
def test_a_wrong_call_is_refused_where_it_is_compiled(wrong):
    with pytest.raises((TypingError, TypeError), match=r"Batch|Targets"):
        compile_ir(wrong, ADDRESS, set())


def test_a_kernel_of_other_arguments_than_its_record_is_refused():
    def weights(n, c, result):
        pass

    with pytest.raises(AssertionError, match="weights"):
        kernel_object(Kernel(weights, Weights), "fastbp_test")


@pytest.mark.parametrize(
    ("record", "call"), [("Weights", "loss"), ("Targets", "loss"), ("Penalty", "objective")]
)
def test_entries_call_by_the_names_of_a_record(record, call, monkeypatch):
    fields = [*records.kinds(getattr(records, record)).items(), ("more", int)]
    monkeypatch.setattr(entry, record, NamedTuple("Longer", fields))
    with pytest.raises(TypeError, match="'more'"):
        entry.entry_object(ENTRIES[call], np.dtype("float64"), "fastbp_test")


def test_an_entry_of_other_arguments_than_its_record_is_refused():
    weights, float64 = ENTRIES["weights"], np.dtype("float64")
    with pytest.raises(TypeError, match="'part'"):
        entry.entry_object(weights._replace(arguments=weights.arguments[:1]), float64, "test")
    with pytest.raises(TypeError, match="'more'"):
        entry.entry_object(weights._replace(given={"more": 1}), float64, "test")

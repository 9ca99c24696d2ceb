"""What Python calls, made from tables: functions that check their arrays and drive a kernel.

An entry takes objects, reads the headers of its arrays (all checks together take some 20 ns), makes
the array that its result goes to, releases the GIL where the work is long, drives the kernel, and
makes its result. What does not fit is not explained here: `Refused` sends the call to
`fastbp._boundary`, which converts the data or says what is wrong.

The code is LLVM's IR, written by `entry_object` from an `Entry` of `calls.entries`; nothing of it
is written for one entry.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

from . import numpy_layout as layout
from . import places
from .emit import object_of
from .linker import EMPTY, FLOAT32, FLOAT64, NDARRAY, NONE, REFUSED
from .records import ALLOCATING, DONE, Penalty, Targets, Weights, kinds
from .target import lanes

_BIT, _BYTE, _INT32, _INT64 = (ir.IntType(n) for n in (1, 8, 32, 64))
_DOUBLE = ir.DoubleType()
_POINTER = _BYTE.as_pointer()
_REFUSED = 2  # a status beside those of kernels, `DONE` and `NO_MEMORY`
# Multiply-adds from which the GIL is released, some 20 µs; to do so takes 25 to 30 ns.
_LONG = 100_000

IN, OUT, MADE, COUNT, NUMBER = range(5)


class Argument(NamedTuple):
    """One argument of an entry: the field of the kernel's record, and what may be given for it.

    `axes` are the lengths of an array: N, H, P of the network, B and others as the first array that
    has them says, "_" for any. None may be given where it is `optional`; an output that is MADE is
    made for None, and is part of the result.
    """

    name: str
    role: int
    axes: tuple[str, ...] = ()
    optional: bool = False
    dtype: int = -1  # place in the context; −1 for the network's own


class Entry(NamedTuple):
    """One builtin function.

    Attributes
    ----------
    record : type
        Of the kernel that it drives.
    table : {"plan", "loss", "objective", "driver", "plain"}
        What its self is (`places`); plain: a driver's that knows no network.
    arguments : tuple of Argument
    results : tuple of str
        Of "loss" (mean, with the penalty of an objective), "sum" (what the kernel leaves in its
        result), "total" (Σ c), "y", and names of outputs. None where empty.
    needs : tuple of int
        Places in the plan that must be filled in.
    order : int
        The blocks that must be: READY + order; −1 for none.
    loss_order : int
        The block of the loss; −1 where it has none.
    driver : int or None
        Place of the kernel's address in the plan; None where the driver's own table has it.
    given : dict
        Fields that are the same for every call: a number, or the name of a length.
    always_long : bool
        Whether the GIL is released for every call.
    """

    record: Any
    table: str
    arguments: tuple[Argument, ...]
    results: tuple[str, ...] = ()
    needs: tuple[int, ...] = ()
    order: int = -1
    loss_order: int = -1
    driver: int | None = None
    given: dict[str, Any] = {}  # noqa: RUF012
    always_long: bool = False


def _integer(value: int) -> ir.Constant:
    return ir.Constant(_INT64, value)


class _Code:
    """The IR of one entry, written from top to bottom."""

    def __init__(self, entry: Entry, dtype: np.dtype, symbol: str) -> None:
        self.entry, self.dtype = entry, dtype
        self.real = _DOUBLE if dtype.itemsize == 8 else ir.FloatType()
        self.module = ir.Module(symbol)
        self.module.triple = llvm.get_process_triple()
        kind = ir.FunctionType(_POINTER, [_POINTER, _POINTER, _INT64])
        self.function = ir.Function(self.module, kind, symbol)
        self.b = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.refuse = self.function.append_basic_block("refuse")
        self.fail = self.function.append_basic_block("fail")
        self.lengths: dict[str, ir.Value] = {}
        self.objects: dict[str, ir.Value] = {}
        self.data: dict[str, ir.Value] = {}  # where an address is kept
        self.sizes: dict[str, ir.Value] = {}
        self.numbers: dict[str, ir.Value] = {}

    # ---- memory and branches -----------------------------------------------------------------

    def at(self, address: ir.Value, offset: int, kind: ir.Type = _INT64) -> ir.Value:
        """Load what lies `offset` bytes behind an address."""
        place = self.b.add(address, _integer(offset))
        return self.b.load(self.b.inttoptr(place, kind.as_pointer()))

    def place(self, table: ir.Value, index: int) -> ir.Value:
        """Load an entry of an int64 table."""
        return self.at(table, 8 * index)

    def variable(self, kind: ir.Type, start: ir.Value | None = None) -> ir.Value:
        with self.b.goto_entry_block():
            slot = self.b.alloca(kind)
        if start is not None:
            self.b.store(start, slot)
        return slot

    def check(self, holds: ir.Value) -> None:
        """Go on where it holds, else refuse."""
        after = self.function.append_basic_block()
        self.b.cbranch(holds, after, self.refuse)
        self.b.position_at_end(after)

    def given(self, value: ir.Value) -> ir.Value:
        """Whether an address or a flag is not 0."""
        return self.b.icmp_signed("!=", value, _integer(0))

    def call(self, name: str, result: ir.Type, *args: ir.Value, variadic: int | None = None) -> Any:
        """Call a function of Python's or C's by name."""
        fixed = args if variadic is None else args[:variadic]
        kind = ir.FunctionType(result, [a.type for a in fixed], var_arg=variadic is not None)
        function = self.module.globals.get(name) or ir.Function(self.module, kind, name)
        return self.b.call(function, args)

    def call_at(self, address: ir.Value, result: ir.Type, *args: ir.Value) -> Any:
        """Call a C function by address."""
        kind = ir.FunctionType(result, [a.type for a in args])
        return self.b.call(self.b.inttoptr(address, kind.as_pointer()), args)

    def drive_at(self, address: ir.Value, record: Any, given: dict[str, ir.Value]) -> None:
        """Call a kernel by address with its record's fields, by name; others as the record has it.

        What is given and not of the record, or of it and without a default, is a TypeError.
        """
        types = [{int: _INT64, float: _DOUBLE}[kind] for kind in kinds(record).values()]
        arguments = [
            value if isinstance(value, ir.Value) else ir.Constant(kind, value)
            for value, kind in zip(record(**given), types, strict=True)
        ]
        assert [argument.type for argument in arguments] == types, (record, given)
        if record in ALLOCATING:
            self.b.store(self.call_at(address, _INT64, *arguments), self.status)
        else:
            self.call_at(address, ir.VoidType(), *arguments)

    def size_of(self, argument: Argument) -> int:
        return self.dtype.itemsize if argument.dtype < 0 else 8

    # ---- the parts of an entry ---------------------------------------------------------------

    def tables(self) -> None:
        """The self's data, the context, the plan and its sizes, the loss table."""
        owner = self.b.ptrtoint(self.function.args[0], _INT64)
        self.record = self.at(owner, layout.DATA)
        self.context = self.place(self.record, places.CONTEXT)
        self.none = self.place(self.context, NONE)
        table = self.entry.table
        self.plan = self.loss = _integer(0)
        if table == "plan":
            self.plan = self.record
        elif table == "loss":
            self.loss, self.plan = self.record, self.place(self.record, places.LOSS_PLAN)
        elif table == "driver":
            self.plan = self.place(self.record, places.DRIVER_PLAN)
            self.loss = self.place(self.record, places.DRIVER_LOSS)
        elif table == "objective":
            self.loss = self.place(self.record, places.LOSS)
            self.plan = self.place(self.record, places.PLAN)
            self.lengths["B"] = self.place(self.record, places.N_SAMPLES)
        for name, value in self.entry.given.items():
            if isinstance(value, int):
                self.lengths[name] = _integer(value)
        if table != "plain":
            known = {"N": places.N_INPUTS, "K": places.N_OUTPUTS, "P": places.N_PARAMS}
            self.lengths |= {name: self.place(self.plan, k) for name, k in known.items()}

    def take(self) -> None:
        """The arguments: numbers converted, arrays looked at."""
        count = _integer(len(self.entry.arguments))
        self.check(self.b.icmp_signed("==", self.function.args[2], count))
        args = self.b.ptrtoint(self.function.args[1], _INT64)
        for k, argument in enumerate(self.entry.arguments):
            obj = self.at(args, 8 * k)
            self.objects[argument.name] = obj
            if argument.role in (COUNT, NUMBER):
                self.numbers[argument.name] = self.converted(obj, argument.role)
                continue
            slot = self.data[argument.name] = self.variable(_INT64, _integer(0))
            if argument.optional or argument.role == MADE:
                with self.b.if_then(self.b.icmp_signed("!=", obj, self.none)):
                    self.array(argument, obj, slot)
            else:
                self.array(argument, obj, slot)

    def converted(self, obj: ir.Value, role: int) -> ir.Value:
        name, kind = {COUNT: ("PyLong_AsLongLong", _INT64), NUMBER: ("PyFloat_AsDouble", _DOUBLE)}[
            role
        ]
        value = self.call(name, kind, self.b.inttoptr(obj, _POINTER))
        bad = ir.Constant(kind, -1)
        same = self.b.icmp_signed if role == COUNT else self.b.fcmp_ordered
        with self.b.if_then(same("==", value, bad), likely=False):
            error = self.b.ptrtoint(self.call("PyErr_Occurred", _POINTER), _INT64)
            after = self.function.append_basic_block()
            self.b.cbranch(self.given(error), self.fail, after)
            self.b.position_at_end(after)
        return value

    def array(self, argument: Argument, obj: ir.Value, slot: ir.Value) -> None:
        """Check an array's header, and leave the address of its numbers in the slot.

        Only NumPy's own class has a header that may be read further; classes and dtypes are
        compared by identity.
        """
        b = self.b
        is_array = b.icmp_signed(
            "==", self.at(obj, layout.CLASS), self.place(self.context, NDARRAY)
        )
        self.check(is_array)
        flags = layout.READABLE if argument.role == IN else layout.WRITABLE
        flags32 = ir.Constant(_INT32, flags)
        dtype = self.place(self.context, self.dtype_place(argument))
        fits = b.and_(
            b.icmp_signed("==", self.at(obj, layout.DTYPE), dtype),
            b.and_(
                b.icmp_signed(
                    "==",
                    self.at(obj, layout.N_DIMENSIONS, _INT32),
                    ir.Constant(_INT32, len(argument.axes)),
                ),
                b.icmp_signed("==", b.and_(self.at(obj, layout.FLAGS, _INT32), flags32), flags32),
            ),
        )
        self.check(fits)
        shape = self.at(obj, layout.SHAPE)
        size = _integer(1)
        for k, axis in enumerate(argument.axes):
            length = self.place(shape, k)
            size = b.mul(size, length)
            if axis == "_":
                continue
            if axis in self.lengths:
                self.check(b.icmp_signed("==", length, self.lengths[axis]))
            else:
                assert not (argument.optional or argument.role == MADE), argument
                self.lengths[axis] = length
        b.store(self.at(obj, layout.DATA), slot)
        self.sizes[argument.name] = size

    def dtype_place(self, argument: Argument) -> int:
        if argument.dtype >= 0:
            return argument.dtype
        return FLOAT64 if self.dtype == np.float64 else FLOAT32

    def need(self) -> None:
        """All that the kernel calls has been filled in."""
        entry, b = self.entry, self.b
        wanted = [self.place(self.plan, place) for place in entry.needs]
        if entry.order >= 0:
            wanted.append(self.place(self.plan, places.READY + entry.order))
        if entry.loss_order >= 0:
            wanted.append(self.place(self.loss, places.LOSS_READY + entry.loss_order))
        if entry.driver == places.BATCH:
            # Fewer samples than fill a vector have a driver of their own (`sizes.few`).
            count = self.numbers.get("part", self.lengths["B"])  # of which B may be the rest
            few = b.icmp_signed("<=", b.mul(count, _integer(2)), _integer(lanes(self.dtype) + 2))
            reverse = (self.place(self.plan, k) for k in (places.REVERSE_FEW, places.REVERSE))
            wanted.append(b.select(few, *reverse))
        for value in wanted:
            self.check(self.given(value))
        if entry.loss_order >= 0:
            self.check(b.icmp_signed(">", self.lengths["B"], _integer(0)))

    def number_of(self, argument: Argument) -> ir.Value:
        """How many numbers an array of that argument has."""
        size = _integer(1)
        for axis in argument.axes:
            if axis == "_":
                return self.sizes[argument.name]
            size = self.b.mul(size, self.lengths[axis])
        return size

    def apart(self) -> None:
        """No output shares memory with anything else."""
        b = self.b
        stretches = []
        for argument in self.entry.arguments:
            if argument.role in (IN, OUT, MADE):
                start = b.load(self.data[argument.name])
                if "_" in argument.axes:
                    continue  # the kernels' own
                n = self.number_of(argument)
                if "row" in argument.axes:  # of the last row, N
                    n = b.add(b.sub(n, self.lengths["row"]), self.lengths["N"])
                n = b.mul(n, _integer(self.size_of(argument)))
                stretches.append((argument.role != IN, start, b.add(start, n)))
        if self.entry.table == "objective":
            for place, axes in ((places.DATA, "BN"), (places.TARGETS, "BK")):
                start = self.place(self.record, place)
                n = _integer(self.dtype.itemsize)
                for axis in axes:
                    n = b.mul(n, self.lengths[axis])
                stretches.append((False, start, b.add(start, n)))
            start = self.place(self.record, places.SAMPLE_WEIGHTS)
            n = b.mul(self.lengths["B"], _integer(self.dtype.itemsize))
            stretches.append((False, start, b.add(start, n)))
        for k, (writes, start, end) in enumerate(stretches):
            for also, other, other_end in stretches[:k]:
                if writes or also:
                    absent = b.or_(
                        b.icmp_signed("==", start, _integer(0)),
                        b.icmp_signed("==", other, _integer(0)),
                    )
                    before = b.icmp_unsigned("<=", end, other)
                    behind = b.icmp_unsigned("<=", other_end, start)
                    self.check(b.or_(absent, b.or_(before, behind)))

    def make(self) -> None:
        """Arrays for the outputs that None was given for; what is returned is held once more."""
        b = self.b
        self.made: dict[str, ir.Value] = {}
        for argument in self.entry.arguments:
            if argument.role != MADE:
                continue
            slot = self.variable(_INT64, self.objects[argument.name])
            self.made[argument.name] = slot
            slot_of_data = self.data[argument.name]
            with b.if_else(b.icmp_signed("==", b.load(slot_of_data), _integer(0))) as (new, given):
                with new:
                    self.empty(argument, slot)
                with given:
                    self.call("Py_IncRef", ir.VoidType(), self.object(slot))
            b.store(self.at(b.load(slot), layout.DATA), slot_of_data)

    def empty(self, argument: Argument, slot: ir.Value) -> None:
        b = self.b
        n = len(argument.axes)
        shape = self.variable(ir.ArrayType(_INT64, n))
        for k, axis in enumerate(argument.axes):
            b.store(self.lengths[axis], b.gep(shape, [_integer(0), _integer(k)]))
        dtype = b.inttoptr(self.place(self.context, self.dtype_place(argument)), _POINTER)
        self.call("Py_IncRef", ir.VoidType(), dtype)  # which the call takes over
        zero, dimensions = ir.Constant(_INT32, 0), ir.Constant(_INT32, n)
        address = self.place(self.context, EMPTY)
        shape = b.bitcast(shape, _POINTER)
        made = self.call_at(address, _POINTER, dimensions, shape, dtype, zero)
        made = b.ptrtoint(made, _INT64)
        b.store(made, slot)
        there = self.function.append_basic_block()
        failed = self.function.append_basic_block()
        b.cbranch(self.given(made), there, failed)
        b.position_at_end(failed)
        for name, earlier in self.made.items():
            if name != argument.name:
                self.call("Py_DecRef", ir.VoidType(), self.object(earlier))
        b.branch(self.fail)
        b.position_at_end(there)

    def object(self, slot: ir.Value) -> ir.Value:
        return self.b.inttoptr(self.b.load(slot), _POINTER)

    @contextmanager
    def without_gil(self) -> Iterator[None]:
        """Release the GIL around what is long."""
        b = self.b
        state = self.variable(_POINTER, ir.Constant(_POINTER, None))
        long = ir.Constant(_BIT, 1)
        if not self.entry.always_long:
            work = b.mul(self.lengths.get("B", _integer(1)), self.lengths["P"])
            long = b.icmp_signed(">=", work, _integer(_LONG))
        with b.if_then(long):
            b.store(self.call("PyEval_SaveThread", _POINTER), state)
        yield
        with b.if_then(b.icmp_unsigned("!=", b.load(state), ir.Constant(_POINTER, None))):
            self.call("PyEval_RestoreThread", ir.VoidType(), b.load(state))

    def drive(self) -> None:
        """Weights, targets, the kernel; leaves the status, and the result in its place."""
        b, entry = self.b, self.entry
        self.status = self.variable(_INT64, _integer(DONE))
        self.result = self.variable(_DOUBLE, ir.Constant(_DOUBLE, 0.0))
        self.total = self.variable(_DOUBLE, ir.Constant(_DOUBLE, 1.0))
        self.penalty = self.variable(_DOUBLE, ir.Constant(_DOUBLE, 0.0))
        self.y = self.variable(self.real)
        self.end = self.function.append_basic_block("driven")
        if entry.table == "objective":
            b.store(self.at(self.record, 8 * places.TOTAL, _DOUBLE), self.total)
            free = self.taken()
            self.kernel(free)
            with b.if_then(free):
                busy = self.pointer_to(places.BUSY)
                b.store_atomic(_integer(0), busy, "release", 8)
            self.penalise()
        else:
            if entry.loss_order >= 0:
                self.weigh()
            elif "B" in self.lengths and entry.driver is not None:
                self.nothing_to_do()
            self.kernel(None)
        b.branch(self.end)
        b.position_at_end(self.end)

    def skip_if(self, holds: ir.Value) -> None:
        """Leave `drive` where it holds."""
        after = self.function.append_basic_block()
        self.b.cbranch(holds, self.end, after)
        self.b.position_at_end(after)

    def weigh(self) -> None:
        """Σ c_b, refused where it, a weight or a target is not what the loss allows."""
        b, B = self.b, self.lengths["B"]
        pointer = b.ptrtoint(self.result, _INT64)
        bad = self.variable(_BIT, ir.Constant(_BIT, 0))
        check = self.place(self.loss, places.LOSS_CHECK)
        with b.if_then(self.given(check)):
            t = b.load(self.data["t"])
            self.drive_at(check, Targets, {"loss": self.loss, "t": t, "n": B, "result": pointer})
            outside = b.fcmp_ordered(">", b.load(self.result), ir.Constant(_DOUBLE, 0.0))
            b.store(outside, bad)
        b.store(b.sitofp(B, _DOUBLE), self.total)
        c = b.load(self.data["c"])
        with b.if_then(self.given(c)):
            weights = self.place(self.plan, places.WEIGHTS)
            given = {"c": c, "n": B, "part": _integer(0), "result": pointer}
            self.drive_at(weights, Weights, given)
            b.store(b.load(self.result), self.total)
        total = b.load(self.total)
        info = np.finfo(self.dtype)  # of which 1 / Σ c is a number too
        fits = b.and_(
            b.fcmp_ordered(">=", total, ir.Constant(_DOUBLE, float(info.tiny))),
            b.fcmp_ordered("<=", total, ir.Constant(_DOUBLE, float(info.max))),
        )
        bad_now = b.or_(b.load(bad), b.not_(fits))
        refused = b.select(bad_now, _integer(_REFUSED), _integer(DONE))
        b.store(refused, self.status)
        self.skip_if(bad_now)

    def nothing_to_do(self) -> None:
        """Without observations, outputs that have any numbers are zero."""
        b = self.b
        empty = b.icmp_signed("==", self.lengths["B"], _integer(0))
        with b.if_then(empty, likely=False):
            for argument in self.entry.arguments:
                if argument.role in (OUT, MADE) and not {"B", "_"} & {*argument.axes}:
                    start = b.load(self.data[argument.name])
                    with b.if_then(self.given(start)):
                        size = b.mul(self.number_of(argument), _integer(self.size_of(argument)))
                        target = b.inttoptr(start, _POINTER)
                        self.call("memset", _POINTER, target, ir.Constant(_INT32, 0), size)
        self.skip_if(empty)

    def pointer_to(self, place: int) -> ir.Value:
        """Pointer to an entry of the record."""
        address = self.b.add(self.record, _integer(8 * place))
        return self.b.inttoptr(address, _INT64.as_pointer())

    def taken(self) -> ir.Value:
        """Whether the objective's workspace was free; a second thread gets one of its own."""
        busy = self.pointer_to(places.BUSY)
        old = self.b.atomic_rmw("xchg", busy, _integer(1), "acquire")
        return self.b.icmp_signed("==", old, _integer(0))

    def kernel(self, free: ir.Value | None) -> None:
        """Call the kernel with its record's fields, each by name."""
        b, entry = self.b, self.entry
        every = {
            "plan": self.plan,
            "loss": self.loss,
            "result": b.ptrtoint(self.result, _INT64),
            **self.lengths,
        }
        values = {name: value for name, value in every.items() if name in entry.record._fields}
        values |= self.numbers
        values |= {name: b.load(slot) for name, slot in self.data.items()}
        if entry.loss_order >= 0:
            values["scale"] = b.fdiv(ir.Constant(_DOUBLE, 1.0), b.load(self.total))
        if "y" in entry.results and "y" not in self.data:
            values["y"] = b.ptrtoint(self.y, _INT64)
        if free is not None:
            own = {
                "X": places.DATA,
                "B": places.N_SAMPLES,
                "panels": places.PANELS,
                "t": places.TARGETS,
                "c": places.SAMPLE_WEIGHTS,
            }
            values |= {name: self.place(self.record, place) for name, place in own.items()}
            workspace = self.place(self.record, places.WORKSPACE)
            values["ws"] = b.select(free, workspace, _integer(0))
        for name, value in entry.given.items():
            values[name] = self.lengths[value] if isinstance(value, str) else _integer(value)
        if entry.driver is None:
            address = self.place(self.record, places.DRIVER_ADDRESS)
        else:
            address = self.place(self.plan, entry.driver)
        self.drive_at(address, entry.record, values)

    def penalise(self) -> None:
        """½ Σ_j λ_j w_j², and λ_j w_j into the gradient."""
        b = self.b
        l2 = self.at(self.record, 8 * places.L2, _DOUBLE)
        some = b.fcmp_unordered("!=", l2, ir.Constant(_DOUBLE, 0.0))
        done = b.icmp_signed("==", b.load(self.status), _integer(DONE))
        with b.if_then(b.and_(some, done)):
            w = b.load(self.data["w"])
            g = b.load(self.data["g"]) if "g" in self.data else _integer(0)
            result = b.ptrtoint(self.penalty, _INT64)
            address = self.place(self.record, places.PENALTY)
            each = self.place(self.record, places.L2_EACH)
            given = {"l2": l2, "each": each, "w": w, "g": g, "n": self.lengths["P"]}
            self.drive_at(address, Penalty, given | {"result": result})

    def give(self) -> None:
        """The result, or the exception that the status asks for."""
        b = self.b
        returned = self.function.append_basic_block("returned")
        no_memory = self.function.append_basic_block("no_memory")
        refused = self.function.append_basic_block("refused")
        chosen = b.switch(b.load(self.status), no_memory)
        chosen.add_case(_integer(DONE), returned)
        chosen.add_case(_integer(_REFUSED), refused)
        for block, after in ((no_memory, self.fail), (refused, self.refuse)):
            b.position_at_end(block)
            for slot in self.made.values():
                self.call("Py_DecRef", ir.VoidType(), self.object(slot))
            if block is no_memory:
                self.call("PyErr_NoMemory", _POINTER)
            b.branch(after)
        b.position_at_end(returned)
        b.ret(self.given_back())
        b.position_at_end(self.refuse)
        exception = b.inttoptr(self.place(self.context, REFUSED), _POINTER)
        self.call("PyErr_SetNone", ir.VoidType(), exception)
        b.branch(self.fail)
        b.position_at_end(self.fail)
        b.ret(ir.Constant(_POINTER, None))

    def given_back(self) -> ir.Value:
        b = self.b
        results = [self.one_result(name) for name in self.entry.results]
        if not results:
            none = b.inttoptr(self.none, _POINTER)
            self.call("Py_IncRef", ir.VoidType(), none)
            return none
        if len(results) == 1:
            return results[0]
        pair = self.call("PyTuple_Pack", _POINTER, _integer(len(results)), *results, variadic=1)
        for result in results:
            self.call("Py_DecRef", ir.VoidType(), result)
        return pair

    def one_result(self, name: str) -> ir.Value:
        b = self.b
        if name in self.made:
            return self.object(self.made[name])
        if name == "y":
            value = b.load(self.y)
            if self.real != _DOUBLE:
                value = b.fpext(value, _DOUBLE)
        elif name == "loss":
            value = b.fdiv(b.load(self.result), b.load(self.total))
            if self.entry.table == "objective":
                value = b.fadd(value, b.load(self.penalty))
        else:
            value = b.load({"sum": self.result, "total": self.total}[name])
        return self.call("PyFloat_FromDouble", _POINTER, value)


def entry_object(entry: Entry, dtype: np.dtype, symbol: str) -> bytes:
    """Compile an entry for one number type to an object that exports `symbol`."""
    code = _Code(entry, dtype, symbol)
    code.tables()
    code.take()
    code.need()
    code.apart()
    code.make()
    with code.without_gil():
        code.drive()
    code.give()
    return object_of(str(code.module), symbol, speed=2)

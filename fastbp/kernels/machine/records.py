"""The arguments of every kernel that is reached by address: named, in order, typed.

Said here once: the signatures of the units and the code of Python's entries are derived from it. An
int is an address, a size or a choice (int64), a float a float64. An address is 0 where a thing is
not given or not wanted.
"""

from typing import Any, NamedTuple

# What a kernel gives back that allocates: nothing has been written where it is NO_MEMORY.
DONE, NO_MEMORY = range(2)


class Product(NamedTuple):
    """C (+)= A · B; strides count numbers."""

    A: int
    a_row: int
    a_step: int
    B: int
    b_row: int
    C: int
    c_row: int
    n: int
    n_rows: int
    n_columns: int
    add: int


class Pack(NamedTuple):
    """Samples into panels; their rows lie `row` numbers apart, where that is not N."""

    X: int
    n_samples: int
    N: int
    target: int
    row: int = 0


class ActivationBlock(NamedTuple):
    """v, v', v'' of n numbers in place."""

    values: int
    slopes: int
    curvatures: int
    n: int


class LossBlock(NamedTuple):
    """ℓ and its derivatives by y of n numbers, in place of y."""

    values: int
    targets: int
    slopes: int
    curvatures: int
    n: int


class Softmax(NamedTuple):
    """The softmax of K × c numbers and its loss."""

    plan: int
    loss: int
    s: int
    y: int
    ybar: int
    sbar: int
    curvature: int
    given: int
    scratch: int
    c: int
    scale: float
    what: int
    n: int
    padded: int
    result: int


class SoftmaxMoved(NamedTuple):
    """How the softmax and its loss move with s."""

    plan: int
    loss: int
    y: int
    ybar: int
    curvature: int
    scratch: int
    sdot: int
    ydot: int
    sbardot: int
    what: int
    padded: int


class Reverse(NamedTuple):
    """The first-order driver of one part; `row` as in `Pack`."""

    plan: int
    loss: int = 0
    w: int = 0
    X: int = 0
    B: int = 0
    panels: int = 0
    t: int = 0
    c: int = 0
    scale: float = 0.0
    ybar: int = 0
    y: int = 0
    g: int = 0
    xbar: int = 0
    ws: int = 0
    result: int = 0
    row: int = 0


class Batch(NamedTuple):
    """A batch, part by part; `part` is 0 for the fixed partition, `ws` for a workspace of its own.

    `row` is as in `Pack`, and ``result[0]`` (float64) receives Σ_b c_b ℓ_b.
    """

    plan: int
    loss: int = 0
    w: int = 0
    X: int = 0
    B: int = 0
    panels: int = 0
    t: int = 0
    c: int = 0
    scale: float = 0.0
    ybar: int = 0
    y: int = 0
    g: int = 0
    xbar: int = 0
    part: int = 0
    ws: int = 0
    result: int = 0
    row: int = 0


class PerSample(NamedTuple):
    """Rows ∇_w y_{b,k} and ∇_x y_{b,k}."""

    plan: int
    w: int
    X: int
    B: int
    y: int = 0
    J: int = 0
    xbar: int = 0


class InputRows(NamedTuple):
    """Rows by x of several outputs, or their change."""

    plan: int
    w: int
    D: int
    bent: int
    slopes: int
    moved: int
    top: int
    n: int
    padded: int
    own: int
    rows: int


class Tangent(NamedTuple):
    """Directional and second derivatives along (p, dX)."""

    plan: int
    loss: int = 0
    w: int = 0
    X: int = 0
    B: int = 0
    p: int = 0
    dX: int = 0
    t: int = 0
    c: int = 0
    scale: float = 0.0
    what: int = 0
    ydot: int = 0
    g: int = 0
    xbar: int = 0
    part: int = 0


class Weights(NamedTuple):
    """Σ c_b into ``result[0]``; `part` is 0 for the fixed partition."""

    c: int
    n: int
    part: int
    result: int


class Targets(NamedTuple):
    """How many targets are out of range, into ``result[0]``."""

    loss: int
    t: int
    n: int
    result: int


class Penalty(NamedTuple):
    """½ Σ_j λ_j w_j² into ``result[0]``, and λ_j w_j added to g."""

    l2: float
    each: int
    w: int
    g: int
    n: int
    result: int


class PackBatch(NamedTuple):
    """The panels of every chunk of a batch."""

    plan: int
    X: int
    B: int
    panels: int


class Matrix(NamedTuple):
    """Loss, gradient and Gauss–Newton matrix of a batch, in one go or in two (`over_chunks`)."""

    plan: int
    loss: int
    w: int
    X: int
    B: int
    t: int
    c: int
    scale: float
    curvature: int
    g: int
    G: int
    mirror: int
    part: int = 0
    kept: int = 0
    stage: int = 0
    result: int = 0


class Epoch(NamedTuple):
    """The steps of one order of observations."""

    plan: int
    loss: int
    w: int
    X: int
    t: int
    c: int
    order: int
    n: int
    batch: int
    rates: int
    settings: int
    state: int
    free: int
    each: int
    result: int


class Shuffle(NamedTuple):
    """The next random order."""

    order: int
    n: int
    state: int


class Levenberg(NamedTuple):
    """At most `n` iterations of Levenberg–Marquardt."""

    plan: int
    loss: int
    w: int
    X: int
    B: int
    t: int
    c: int
    settings: int
    kept: int
    own: int
    kinds: int
    starts: int
    g: int
    G: int
    free: int
    each: int
    low: int
    high: int
    n: int
    history: int
    result: int


class LevenbergGroups(NamedTuple):
    """The same for each of M groups: row m of what each has, observations from first[m] on."""

    plan: int
    loss: int
    run: int
    w: int
    X: int
    t: int
    c: int
    first: int
    M: int
    settings: int
    kept: int
    own: int
    kinds: int
    starts: int
    g: int
    G: int
    free: int
    each: int
    low: int
    high: int
    n: int
    history: int
    result: int


class Resolve(NamedTuple):
    """Have Python fill in what a plan lacks; 1 at `done` (float64) where that went well."""

    plan: int
    request: int
    done: int


ALLOCATING = (Batch, PerSample, Tangent, Matrix, Epoch, Levenberg, LevenbergGroups)


def kinds(record: Any) -> dict[str, type]:
    """int or float for each field of a record, in order."""
    return dict(record.__annotations__)

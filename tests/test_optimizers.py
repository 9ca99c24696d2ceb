"""Optimizers and schedules as descriptions: what they refuse, equality, pickling, rates."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from fastbp import optimizers as o

ALL = [
    o.SGD(0.1, momentum=0.5, nesterov=True),
    o.Adam(o.Cosine(0.1, warmup=0.1)),
    o.AdamW(weight_decay=0.2),
    o.LevenbergMarquardt(damping="marquardt"),
    o.LBFGS(memory=5),
    o.Minimize("bfgs", {"gtol": 1e-3}),
]
SCHEDULES = [
    o.Constant(0.1),
    o.Cosine(0.1),
    o.Cosine(0.1, 0.01, warmup=0.2),
    o.Exponential(0.1, 0.001),
    o.OneCycle(0.1),
]


@pytest.mark.parametrize("optimizer", ALL)
def test_they_are_values(optimizer: Any) -> None:
    for other in (pickle.loads(pickle.dumps(optimizer)), copy.deepcopy(optimizer)):
        assert other == optimizer
        assert hash(other) == hash(optimizer)
    with pytest.raises(AttributeError):
        optimizer.learning_rate = 1.0


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_rates_one_by_one_are_those_of_an_array(schedule: Any) -> None:
    at_once = o.rates(schedule, 3, 40, 50)
    assert at_once.dtype == np.float64
    one_by_one = [schedule(step, 50) for step in range(3, 43)]
    assert all(type(rate) is float for rate in one_by_one)
    np.testing.assert_allclose(at_once, one_by_one, rtol=1e-15)


def test_courses() -> None:
    np.testing.assert_allclose(o.Cosine(2.0)(0, 10), 2.0)
    np.testing.assert_allclose(o.Cosine(2.0, 1.0)(10, 10), 1.0)
    assert o.Cosine(2.0, warmup=0.5)(0, 10) < o.Cosine(2.0, warmup=0.5)(4, 10) < 2.0
    np.testing.assert_allclose(o.Cosine(2.0, warmup=0.5)(5, 10), 2.0)
    np.testing.assert_allclose(o.Exponential(1.0, 1e-4)(5, 10), 1e-2)
    cycle = o.rates(o.OneCycle(1.0, rise=0.3), 0, 101, 100)
    assert cycle.argmax() == 30
    np.testing.assert_allclose(cycle[[0, 30, 100]], [0.04, 1.0, 1e-4])
    assert (np.diff(cycle[:31]) > 0).all()
    assert (np.diff(cycle[30:]) < 0).all()


def test_callable_and_number() -> None:
    np.testing.assert_array_equal(o.rates(lambda k, total: k / total, 2, 3, 10), [0.2, 0.3, 0.4])
    np.testing.assert_array_equal(o.rates(0.5, 2, 3, 10), [0.5, 0.5, 0.5])
    with pytest.raises(ValueError, match="learning rate must be finite"):
        o.rates(lambda k, total: -1.0, 0, 2, 2)
    assert isinstance(o.Constant(1.0), o.Schedule)


@pytest.mark.parametrize("given", [[0.1], np.array([0.1]), "0.1", 1j, np.datetime64("2026")])
def test_rates_that_are_no_numbers_are_refused(given: Any) -> None:
    with pytest.raises(TypeError, match="a schedule must return a number for each step; got "):
        o.rates(lambda k, total: given, 0, 3, 3)


def test_a_schedule_made_of_ours_is_asked_step_by_step() -> None:
    class Steps(o.Constant):
        def __call__(self, step: Any, total: int) -> Any:
            return self.rate if step < 2 else 0.1 * self.rate

    np.testing.assert_allclose(o.rates(Steps(1.0), 0, 4, 4), [1.0, 1.0, 0.1, 0.1])


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: o.SGD(0.0), "learning_rate must be a finite number above 0; got 0"),
        (lambda: o.SGD("fast"), "learning_rate must be a number or a schedule"),
        (lambda: o.SGD(o.Cosine), "learning_rate must be a number or a schedule; got <class"),
        (lambda: o.SGD(momentum="much"), "momentum must be a finite number .* got 'much'"),
        (lambda: o.Adam(beta1=[0.5, 0.9]), r"beta1 must be a finite number .* got \[0\.5, 0\.9\]"),
        (lambda: o.Adam(beta1=np.array([0.5])), r"beta1 must be .* got array\(\[0\.5\]\)"),
        (lambda: o.SGD(momentum=1.0), "momentum .* from 0 on and below 1"),
        (lambda: o.SGD(weight_decay=-1.0), "weight_decay"),
        (lambda: o.Adam(beta1=1.0), "beta1"),
        (lambda: o.Adam(epsilon=0.0), "epsilon"),
        (lambda: o.AdamW(weight_decay=np.inf), "weight_decay"),
        (lambda: o.AdamW(beta2=-0.1), "beta2"),
        (lambda: o.LevenbergMarquardt(damping="none"), "damping must be one of"),
        (lambda: o.LevenbergMarquardt(curvature="flat"), "curvature must be one of"),
        (lambda: o.LevenbergMarquardt(start=0.0), "start"),
        (lambda: o.LevenbergMarquardt(xtol=-1.0), "xtol"),
        (lambda: o.LBFGS(memory=0), "memory"),
        (lambda: o.SGD(nesterov="no"), "nesterov must be True or False; got 'no'"),
        (lambda: o.LBFGS(memory=True), "memory must be a positive integer; got True"),
        (lambda: o.LBFGS(memory=2.5), r"memory must be a positive integer; got 2\.5"),
        (lambda: o.Minimize(None), "method must be a name; got None"),
        (lambda: o.Minimize("adam"), "SciPy's name of a method; got 'adam', which fit takes"),
        (lambda: o.Minimize("bgfs"), "did you mean 'bfgs'"),
        (lambda: o.Cosine(0.1, warmup=1.0), "warmup"),
        (lambda: o.Exponential(0.1, 0.0), "end"),
        (lambda: o.OneCycle(0.1, rise=1.0), "rise"),
        (lambda: o.Constant(np.nan), "rate"),
        (lambda: o.get_optimizer("adm", "squared", 5), "did you mean 'adam'"),
        (lambda: o.get_optimizer(3, "squared", 5), "must be a name or one of"),
    ],
)
def test_refused(make: Any, match: str) -> None:
    with pytest.raises((TypeError, ValueError), match=match):
        make()


def test_names_and_defaults() -> None:
    assert o.get_optimizer("AdamW", "squared", 5) == o.AdamW()
    assert o.get_optimizer("lm", "squared", 5) == o.LevenbergMarquardt()
    assert o.get_optimizer("L-BFGS-B", "squared", 5) == o.LBFGS()
    assert o.get_optimizer("trust-NCG", "squared", 5) == o.Minimize("trust-ncg")
    assert o.get_optimizer(None, "squared", 1000) == o.LevenbergMarquardt()
    assert o.get_optimizer(None, "squared", 1001) == o.LBFGS()
    assert o.get_optimizer(None, "huber", 10) == o.LBFGS()
    assert o.get_optimizer(o.SGD(), "huber", 10) == o.SGD()

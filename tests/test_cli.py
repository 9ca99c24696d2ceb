"""`python -m fastbp`: what it prints, and that it holds what it promises."""

import re
import subprocess
import sys

import numpy as np
import pytest

import fastbp
from fastbp import _cli


def number(text, label):
    (found,) = re.findall(rf"^{re.escape(label)} +(\S+)", text, flags=re.MULTILINE)
    return float(found)


@pytest.fixture(scope="module")
def printed():
    done = subprocess.run(
        [sys.executable, "-m", "fastbp", "train"], capture_output=True, text=True, check=True
    )
    assert not done.stderr
    return done.stdout


def test_train_prints_progress_and_converges(printed):
    pattern = r"^step +(\d+): training loss (\S+), gradient with penalty (\S+)$"
    progress = re.findall(pattern, printed, flags=re.MULTILINE)
    assert [int(step) for step, _, _ in progress] == [1, *range(100, 1001, 100)]
    losses = [float(loss) for _, loss, _ in progress]
    norms = [float(norm) for _, _, norm in progress]
    assert losses[-1] < 0.5 * losses[0]
    assert norms[-1] < 1e-2 * norms[0]


def test_train_is_about_as_good_as_linear_least_squares(printed):
    network = number(printed, "held-out R2, network:")
    linear = number(printed, "held-out R2, linear least squares:")
    assert 0.3 < linear < 0.6
    assert network > linear - 0.02


def test_train_shows_that_kernel_and_reference_agree(printed):
    for when in ("start", "end"):
        assert number(printed, f"kernel against reference gradient, {when}:") < 1e-12


def test_train_prints_both_times(printed):
    kernel = number(printed, "time of one gradient, kernel:")
    in_numpy = number(printed, "time of one gradient, reference:")
    assert 0.0 < kernel < in_numpy


def test_train_takes_options_and_is_reproducible(capsys):
    words = "train --neurons 3 --activation softplus --steps 20 --seed 5".split()
    outputs = []
    for _ in range(2):
        assert _cli.main(words) == 0
        lines = capsys.readouterr().out.splitlines()
        outputs.append([line for line in lines if "time" not in line])
    assert outputs[0] == outputs[1]
    assert "network: 11 inputs, 4 neurons, 48 parameters" in outputs[0]


def test_split_standardises_by_the_training_part_alone():
    X, t, _ = fastbp.datasets.load_diabetes()
    data = _cli._split(X, t, seed=3)
    assert len(data.t) == 331 and len(data.t_held_out) == 111
    np.testing.assert_allclose(data.X[:, :-1].mean(axis=0), 0.0, atol=1e-13)
    np.testing.assert_allclose(data.X[:, :-1].std(axis=0), 1.0, rtol=1e-13)
    assert abs(data.X_held_out[:, :-1].mean(axis=0)).max() > 0.01
    assert (data.X[:, -1] == 1.0).all() and (data.X_held_out[:, -1] == 1.0).all()
    assert sorted([*data.t, *data.t_held_out]) == sorted((t - t[_fit(3)].mean()) / t[_fit(3)].std())


def _fit(seed):
    return np.random.default_rng(seed).permutation(442)[:331]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train --neurons 0", "'0' was given, a whole number of at least 1 was expected"),
        ("train --steps 1.5", "'1.5' was given, a whole number of at least 1 was expected"),
        ("train --l2 nan", "'nan' was given, a number of at least 0 was expected"),
        ("train --learning-rate inf", "'inf' was given, a positive number was expected"),
        ("train --seed -1", "'-1' was given, a whole number of at least 0 was expected"),
        ("trian", "invalid choice"),
        ("", "required"),
    ],
)
def test_wrong_use_exits_with_2_and_says_why(words, message, capsys):
    with pytest.raises(SystemExit) as stop:
        _cli.main(words.split())
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_unknown_activation_names_the_nearest(capsys):
    assert _cli.main(["train", "--activation", "tahn"]) == 2
    printed = capsys.readouterr()
    assert "tahn" in printed.err and "tanh" in printed.err


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        _cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"fastbp {fastbp.__version__}\n"

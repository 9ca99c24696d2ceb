"""The commands of ``fastbp``: one function a command, one parser a command."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastbp

from .. import _models
from .. import _standardise as standardise
from .._files import write_atomically
from .._screen import say as note
from ..losses import NAMES as LOSSES
from . import paths as _paths
from . import problem as _problem
from . import reading as _reading
from . import report as _report
from . import self_check as _self_check
from . import stored_code as _stored_code
from . import train as _train
from .problem import Preparation

_INTERRUPTED = 130  # as shells say it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    It is 0 where all is done, 1 where a check fails or a fit diverges, 2 for a wrong use and for
    files that can't be used, and 130 after Ctrl-C (`train` first reports and saves what it has).

    Parameters
    ----------
    arguments : sequence of str, optional
        The words after the program's name; those of the process where left out.
    """
    options = _parser().parse_args(arguments)
    try:
        if sys.stdout is None:
            raise OSError("the standard output is closed")
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *where: note(f"warning: {message}")
            code = options.run(options)
        sys.stdout.flush()  # while it can be said that it failed
        return code
    except BrokenPipeError:  # who reads has enough
        _forget_output()
        return 0
    except fastbp.NonFiniteLossError as error:
        hint = "a smaller --learning-rate or a larger --l2 may help"
        note(f"error: the loss is infinite after step {error.step}; {hint}")
        return 1
    except MemoryError:
        note("error: there is not enough memory for this")
        return 2
    except (OSError, ValueError, ImportError) as error:
        note(f"error: {error}")
        try:
            sys.stdout.flush()
        except (AttributeError, OSError):
            _forget_output()
        return 2
    except KeyboardInterrupt:
        note("interrupted")
        return _INTERRUPTED


def _forget_output() -> None:
    """Keep Python from writing, when it ends, what could not be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


# ---- the words ---------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastbp",
        description="One-hidden-layer networks with fast and exact derivatives.",
    )
    parser.add_argument("--version", action="version", version=f"fastbp {fastbp.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_train(commands)
    _add_predict(commands)
    _add_info(commands)
    _add_check(commands)
    _add_precompile(commands)
    _add_cache(commands)
    return parser


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train",
        help="fit a network to a table, or to the bundled diabetes data",
        description="Fit a network to a table with a header (separated values, also compressed; "
        ".xlsx; Parquet; - is the standard input), or to the bundled diabetes data (442 patients, "
        "10 measurements). A column of text becomes one input for each of its values; a target of "
        "text, or of 0 and 1, has classes. What each column was taken for is said.",
    )
    add = train.add_argument
    at_least_1 = _checked(int, lambda n: n >= 1, "a whole number of at least 1")
    at_least_0 = _checked(int, lambda n: n >= 0, "a whole number of at least 0")
    positive = _checked(float, lambda x: 0.0 < x < np.inf, "a positive number")
    not_negative = _checked(float, lambda x: 0.0 <= x < np.inf, "a number of at least 0")
    fraction = _checked(float, lambda x: 0.0 <= x < 1.0, "a number from 0 to below 1")
    add("data", nargs="?", metavar="DATA", help="the table; the bundled data if left out")
    add(
        "--target",
        action="append",
        default=[],
        metavar="COLUMN",
        help="the column to predict (the last); again for several, of numbers or of two classes",
    )
    add("--drop", action="append", default=[], metavar="COLUMN", help="leave a column out")
    add(
        "--categorical",
        action="append",
        default=[],
        metavar="COLUMN",
        help="take the numbers of a column as names",
    )
    add("--regression", action="store_true", help="take a target of 0 and 1 as numbers")
    add(
        "--impute",
        choices=["mean"],
        help="fill missing values with the mean of the column, of text with the most frequent one, "
        "and mark them by an input more",
    )
    add(
        "--dates",
        choices=["day-first", "month-first", "year-first"],
        help="how 1/2/2024 or 1-2-24 is to be read, where a column does not show it",
    )
    _add_reading(add)
    add(
        "--test-fraction",
        type=fraction,
        default=0.25,
        metavar="F",
        help="part of the rows that is held out (%(default)s)",
    )
    add(
        "--neurons",
        type=_or_auto(at_least_1),
        default=standardise.N_NEURONS,
        metavar="H",
        help="neurons, the constant and linear ones apart; auto chooses from 1 to 32 by "
        "cross-validation (%(default)s)",
    )
    add(
        "--linear",
        action=argparse.BooleanOptionalAction,
        default=standardise.LINEAR,
        help="a neuron more for each output, for the linear part (--linear)",
    )
    add("--activation", default="tanh", metavar="NAME", help="their activation (%(default)s)")
    add("--output", metavar="NAME", help="(identity; logistic for two classes, softmax for more)")
    add("--loss", choices=LOSSES, help="(squared; cross_entropy for classes)")
    add(
        "--optimizer",
        choices=_train.OPTIMIZERS,
        help="(by the squared loss lm, which is Levenberg-Marquardt, up to 1000 parameters and but "
        "for strong penalties; else lbfgs)",
    )
    add(
        "--l2",
        type=_or_auto(not_negative),
        default=standardise.L2,
        help="penalty: l2/2 times the sum of squared weights, without the biases, is added to the "
        "mean loss; auto chooses it by cross-validation (%(default)s)",
    )
    add(
        "--epochs",
        "--steps",
        type=at_least_1,
        metavar="N",
        help=f"steps at most, each on all the data ({_train.EPOCHS})",
    )
    stochastic = ", ".join(_train.STOCHASTIC)
    add("--batch-size", type=at_least_1, metavar="B", help=f"of {stochastic} (all the data)")
    add(
        "--learning-rate",
        type=positive,
        metavar="R",
        help=f"of {stochastic} ({_train.LEARNING_RATE})",
    )
    add("--seed", type=at_least_0, default=0, help="of the split and the start (%(default)s)")
    add("--save", metavar="MODEL.npz", help="write the model, for `predict` and fastbp.load")
    add("--plot", metavar="FIT.png", help="draw predictions, residuals and losses (matplotlib)")
    add("--json", action="store_true", help="print the results as JSON, and nothing else")
    train.set_defaults(run=_run_train)


def _add_reading(add: Callable) -> None:
    """Add what says how a table is read, where it is not to be found out."""
    add("--encoding", metavar="NAME", help="of text (UTF-8, UTF-16, else Western: cp1252)")
    add("--separator", type=_separator, metavar="C", help="between the values of a row (found out)")
    add("--decimal", choices=[".", ","], help="the decimal mark (found out, or refused)")
    add("--thousands", choices=[".", ","], help="the separator of thousands (the same)")
    add(
        "--missing",
        action="append",
        default=[],
        metavar="TEXT",
        help="a further spelling of missing values (beside NA, ?, -, missing and the like)",
    )
    add("--sheet", metavar="NAME", help="of a workbook (the first)")


def _separator(text: str) -> str:
    """Return one character; a tab may be written as shells leave it."""
    text = {r"\t": "\t", "tab": "\t"}.get(text, text)
    if len(text) != 1 or text in '"\r\n':
        raise argparse.ArgumentTypeError(
            f"{text!r} was given, one character was expected, or tab, and no quote"
        )
    return text


def _how(options: argparse.Namespace) -> dict[str, Any]:
    names = ("encoding", "separator", "decimal", "thousands", "missing", "sheet")
    return {name: getattr(options, name) for name in names}


def _add_predict(commands: Any) -> None:
    predict = commands.add_parser(
        "predict",
        help="predict the rows of a table by a saved model",
        description="Predict the rows of a table by a model of `train --save`. Columns are found "
        "by their names; others are ignored.",
    )
    predict.add_argument("model", metavar="MODEL.npz")
    predict.add_argument("data", metavar="DATA", help="the table; - is the standard input")
    _add_reading(predict.add_argument)
    fraction = _checked(float, lambda x: 0.0 < x < 1.0, "a number between 0 and 1")
    predict.add_argument(
        "--interval",
        type=fraction,
        metavar="P",
        help="also between which two numbers a new value lies with probability P, as 0.9; for "
        "numbers fitted by the squared loss",
    )
    predict.add_argument("--output", metavar="FILE", help="write there (not to the screen)")
    predict.add_argument("--json", action="store_true", help="as JSON, not as a table")
    predict.set_defaults(run=_run_predict)


def _add_info(commands: Any) -> None:
    info = commands.add_parser("info", help="say what a saved model is")
    info.add_argument("model", metavar="MODEL.npz")
    info.add_argument("--json", action="store_true", help="print it as JSON")
    info.set_defaults(run=_run_info)


def _add_check(commands: Any) -> None:
    check = commands.add_parser(
        "check",
        help="check all derivatives on this machine",
        description="Check the derivatives of networks with every named activation, in float64 "
        "and float32, on this machine: against differences, against NumPy, by Taylor's formula "
        "and by the adjoint. Takes a minute where nothing is compiled yet. The exit code is 0 "
        "where all pass and 1 where one fails.",
    )
    check.add_argument("--json", action="store_true", help="print the results as JSON")
    check.set_defaults(run=_run_check)


def _add_precompile(commands: Any) -> None:
    precompile = commands.add_parser(
        "precompile",
        help="make the machine code ahead of time, for an image or a cluster",
        description="Make and store the machine code of all calls, optimizers and losses, for "
        "networks of the given activations. Later processes load it and import no Numba. With "
        "--cpu it is made for another processor of this architecture; the lines to export say how "
        "processes there find it.",
    )
    add = precompile.add_argument
    add("--activations", nargs="+", metavar="NAME", help="(all that go by name)")
    add("--dtype", nargs="+", choices=("float64", "float32"), help="(both)")
    add("--cpu", metavar="NAME", help="LLVM's name of the processor (the one here)")
    add("--to", metavar="FOLDER", help="store there (in the folder that `cache` names)")
    precompile.set_defaults(run=_run_precompile)


def _add_cache(commands: Any) -> None:
    cache = commands.add_parser(
        "cache", help="say where machine code is stored, how much, and for which builds"
    )
    cache.add_argument("--clear", action="store_true", help="remove it, of all builds")
    cache.set_defaults(run=_run_cache)


def _checked(convert: Callable, holds: Callable, expected: str) -> Callable:
    """Return a converter of words for argparse that says what was given and what was expected."""

    def check(text: str) -> float:
        try:
            number = convert(text)
            if holds(number):
                return number
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"{text!r} was given, {expected} was expected")

    return check


def _or_auto(convert: Callable) -> Callable:
    return lambda text: text if text == "auto" else convert(text)


# ---- train ---------------------------------------------------------------------------------


def _run_train(options: argparse.Namespace) -> int:
    _paths.check({"--save": options.save, "--plot": options.plot}, [options.data])
    _paths.check_ending("--save", options.save, ("npz",))
    if options.plot:
        _paths.check_ending("--plot", options.plot, _report.picture_formats())
    problem = _problem_of(options)
    for line in problem.lines:
        note(line)
    _train.check_loss(problem)
    _check_optimizer(options)
    how_to_fit = _train.Options(*(getattr(options, name) for name in _train.Options._fields))

    def plain(line: str) -> None:
        with suppress(BrokenPipeError):  # who reads has enough; the model is to be saved
            _report.plain(line)

    say, progress = (_report.silent, "auto") if options.json else (plain, False)
    started = time.perf_counter()
    chosen = _train.choose(problem, how_to_fit, "auto")
    choosing = time.perf_counter() - started
    problem = chosen.problem
    for line in _report.before(problem):
        say(line)
    fit = _train.fit(
        chosen,
        how_to_fit,
        lambda step, loss, norm: say(
            f"step {step:5}: training loss {loss:.6f}, gradient with penalty {norm:.1e}"
        ),
        progress,
        lambda: say("what was fitted is met worse than what the folds held out: another start"),
    )
    judged = _train.judge(problem, fit.w)
    results = _as_json(_results(options, how_to_fit, chosen, fit, judged))
    for doubt in results["training"]["warnings"]:
        note(f"warning: {doubt}")
    results["training"]["seconds_of_choice"] = round(choosing, 6)
    if options.save:
        metadata = {name: results[name] for name in ("training", "held_out")}
        result = _train.with_intervals(problem, fit)
        stored = problem.preparation.stored()
        fastbp.save(options.save, problem.net, fit.w, result=result, preparation=stored, **metadata)
        results["saved"] = options.save
    if options.plot:
        _report.plot(options.plot, problem, fit, judged)
        results["plot"] = options.plot
    if options.json:
        print(json.dumps(results | _train.self_test(problem, fit), allow_nan=False))
    else:
        _report.table(_report.train_rows(results))
    return _INTERRUPTED if fit.reason == "interrupted" else 0


def _problem_of(options: argparse.Namespace) -> _problem.Problem:
    """Read the table, and make a problem of it."""
    how = _how(options)
    if options.data is None:
        others = {"dates": options.dates, "impute": options.impute}
        for name in (name for name, given in (how | others).items() if given):
            raise ValueError(f"--{name} does nothing with the bundled data")
        table = _problem.bundled(options.categorical)
    else:
        table = _reading.read(options.data, drop=options.drop, text=options.categorical, **how)
    same = "drop categorical test_fraction neurons linear activation output loss regression seed"
    return _problem.prepare(
        table,
        targets=options.target,
        fill=options.impute == "mean",
        dates=options.dates,
        missing=options.missing,
        **{name: getattr(options, name) for name in same.split()},
    )


def _check_optimizer(options: argparse.Namespace) -> None:
    """Raise ValueError for what the optimizer does nothing with."""
    if (options.optimizer or "lm") in _train.STOCHASTIC:
        return
    for name in ("batch_size", "learning_rate"):
        if getattr(options, name) is not None:
            raise ValueError(
                f"--{name.replace('_', '-')} does nothing with "
                f"{options.optimizer or 'lm and lbfgs'}; it is for "
                f"--optimizer {' or '.join(_train.STOCHASTIC)}"
            )


def _results(
    options: argparse.Namespace,
    how: _train.Options,
    chosen: _train.Choice,
    fit: _train.Fit,
    judged: dict[str, Any],
) -> dict[str, Any]:
    """Return what a fit reached, as JSON has it, and as it is stored with the model."""
    problem, path = chosen.problem, chosen.by and chosen.by.path
    held_out, fitted = _train.quality(judged["held_out"]), _train.quality(judged["fitted"])
    words, worse = _train.verdict(held_out, judged["held_out"])
    doubts = [*fit.result.warnings]
    if chosen.doubt:
        doubts.append(f"cross-validation: {chosen.doubt}")
    if fit.held_out_loss is not None and not np.isfinite(fit.held_out_loss):
        doubts.append("predictions of rows held out are beyond all numbers, far from those fitted")
    if worse:
        doubts.append(f"{words}; a larger --l2 or fewer --neurons may help")
    training = {
        "optimizer": how.name(problem.net, problem.loss, chosen.l2),
        "loss": problem.loss,
        "l2": chosen.l2,
        "neurons": chosen.neurons,
        "chosen": [name for name in ("neurons", "l2") if getattr(options, name) == "auto"],
        "l2_path": path and {k: v.tolist() for k, v in path._asdict().items()},
        "parameters": problem.net.n_params,
        "seed": options.seed,
        "rows": len(problem.fit.t),
        "columns": [column["name"] for column in problem.preparation.inputs],
        "steps": len(fit.result.history["loss"]),
        "reached": fit.result.loss,
        "training_loss": fit.loss,
        "held_out_loss": fit.held_out_loss,
        "reason": fit.reason,
        "warnings": doubts,
        "seconds": round(fit.seconds, 6),
    }
    return {"training": training, "held_out": held_out, "fitted": fitted, "in_words": words}


def _as_json(x: Any) -> Any:
    """Return dicts and lists as JSON has them: what is not finite is null."""
    if isinstance(x, dict):
        return {name: _as_json(value) for name, value in x.items()}
    if isinstance(x, list):
        return [*map(_as_json, x)]
    return None if isinstance(x, float) and not np.isfinite(x) else x


# ---- predict and info ------------------------------------------------------------------------


def _run_predict(options: argparse.Namespace) -> int:
    _paths.check({"--output": options.output}, [options.model, options.data])
    _paths.check_ending("--output", options.output, ("json",) if options.json else ("csv", "txt"))
    model = fastbp.load(options.model)
    if "preparation" not in model.metadata:
        raise ValueError(
            f"{options.model}: the model does not say how a table becomes its inputs; one of "
            "`fastbp train --save` is expected"
        )
    preparation = Preparation.restored(model.metadata["preparation"])
    table = preparation.read(options.data, **_how(options))
    for line in table.notes:
        note(line)
    X = preparation.encode(table, note)
    loss = model.metadata.get("training", {}).get("loss", "")
    columns = _columns(preparation, _train.predicted(preparation, loss, model.net(model.w, X)))
    if options.interval is not None:
        if preparation.classes is None and loss not in ("", "squared"):
            raise ValueError(f"--interval needs a fit by the squared loss; this one was by {loss}")
        columns = _with_interval(columns, model, preparation, X, options.interval)
    text = io.StringIO()
    if options.json:
        text.write(json.dumps(_as_json(columns)) + "\n")
    else:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    if options.output:
        write_atomically(options.output, text.getvalue().encode())
    else:
        sys.stdout.write(text.getvalue())
        sys.stdout.flush()
    return 0


def _columns(preparation: Preparation, y: NDArray) -> dict[str, list]:
    """Return the columns of a prediction: for each target its values, or classes and how probable.

    Of two classes the second's probability is enough.
    """
    targets, classes = preparation.targets, preparation.classes
    each = preparation.of_each(y)
    if classes is None:
        return {name: values.tolist() for name, values in zip(targets, each, strict=True)}
    columns: list[tuple[str, list]] = []
    for name, names, p in zip(targets, classes, each, strict=True):
        columns.append((name, [names[k] for k in p.argmax(axis=1)]))
        shown = f"{name}=" if len(targets) > 1 else ""
        for k in [1] if len(names) == 2 else range(len(names)):
            columns.append((f"probability of {shown}{names[k]}", p[:, k].tolist()))
    return _by_name(columns)


def _by_name(columns: list[tuple[str, list]]) -> dict[str, list]:
    """Return columns by their names, none of which takes the place of another."""
    found: dict[str, list] = {}
    for name, values in columns:
        if name in found:
            raise ValueError(
                f"two columns of the prediction would be called {name!r}: fit targets and classes "
                "of other names"
            )
        found[name] = values
    return found


def _with_interval(
    columns: dict[str, list],
    model: fastbp.Model,
    preparation: Preparation,
    X: NDArray,
    probability: float,
) -> dict[str, list]:
    """Return the columns, after each target those of its interval for a new observation."""
    if preparation.classes is not None:
        raise ValueError("--interval is for targets of numbers; of classes there are probabilities")
    if not _models.has_intervals(model):
        raise ValueError(
            f"the model keeps no intervals; `train` does of at most {_train.MOST_OF_INTERVALS} "
            f"parameters (fewer --neurons), and it has {model.net.n_params}"
        )
    _, std = model.predict(X, return_std=True, noise=True)
    half = NormalDist().inv_cdf(0.5 + 0.5 * probability) * std * preparation.target_scaling.scale
    found: list[tuple[str, list]] = []
    for name, of_one in zip(preparation.targets, half.reshape(len(X), -1).T, strict=True):
        y = np.array(columns[name])
        lower, upper = (y - of_one).tolist(), (y + of_one).tolist()
        found += [(name, columns[name]), (f"{name} lower", lower), (f"{name} upper", upper)]
    return _by_name(found)


def _run_info(options: argparse.Namespace) -> int:
    header, w = _models.read(options.model)
    if options.json:
        print(json.dumps(header | {"n_params": len(w)}))
    else:
        _report.table(_report.info_rows(header, w))
    return 0


# ---- check -----------------------------------------------------------------------------------


def _run_check(options: argparse.Namespace) -> int:
    if not options.json:
        return 0 if _self_check.run(_report.plain) else 1
    networks = _self_check.results()
    passed = all(network["passed"] for network in networks)
    print(json.dumps({"passed": passed, "networks": networks}))
    return 0 if passed else 1


# ---- stored machine code ---------------------------------------------------------------------


def _run_precompile(options: argparse.Namespace) -> int:
    _stored_code.precompile(
        print,
        activations=options.activations,
        dtypes=options.dtype,
        cpu=options.cpu,
        folder=options.to,
    )
    return 0


def _run_cache(options: argparse.Namespace) -> int:
    _stored_code.cache(print, clear=options.clear)
    return 0

"""The command `fastbp`: what it prints, and that it holds what it promises."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris

import fastbp
from fastbp._cli import main as _cli
from fastbp._cli import problem as _problem
from fastbp._cli import reading as _reading
from fastbp._cli.train import Judged, quality
from fastbp._training import choose


def number(text, label):
    (found,) = re.findall(rf"^{re.escape(label)} +(\S+)", text, flags=re.MULTILINE)
    return float(found)


@pytest.fixture(scope="module")
def printed():
    done = subprocess.run(
        [sys.executable, "-m", "fastbp", "train"], capture_output=True, text=True, check=True
    )
    rows, target, *columns = done.stderr.splitlines()
    assert rows == "the bundled data: 442 rows, 11 columns"
    assert target == "'progression': the target, numbers"
    _, _, names = fastbp.datasets.load_diabetes()
    assert columns[:10] == [f"{name!r}: numbers" for name in names]
    assert all(line.startswith("warning: ") for line in columns[10:])
    return done.stdout


def test_train_needs_nothing_but_numpy_and_numba():
    program = (
        "import sys; sys.modules |= dict.fromkeys(('scipy', 'sklearn', 'pandas', 'tqdm'));"
        "from fastbp._cli.main import main; sys.exit(main(['train']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "held-out R2, network" in done.stdout


def test_classes_need_no_scipy(tmp_path):
    x = np.random.default_rng(0).standard_normal((90, 2)).round(3)
    kinds = np.where(x.sum(axis=1) > 0.0, "u", np.where(x[:, 0] > 0.0, "v", "w"))
    rows = [f"{a},{b},{kind}" for (a, b), kind in zip(x, kinds, strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,kind", *rows]))
    program = (
        "import sys; sys.modules['scipy'] = None; from fastbp._cli.main import main;"
        f"sys.exit(main(['train', {str(tmp_path / 't.csv')!r}, '--target', 'kind', '--json']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["training"]["optimizer"] == "lm"


def test_train_prints_progress_and_converges(printed):
    pattern = r"^step +(\d+): training loss (\S+), gradient with penalty (\S+)$"
    progress = re.findall(pattern, printed, flags=re.MULTILINE)
    steps = [int(step) for step, _, _ in progress]
    assert steps[:11] == [1, *range(10, 101, 10)][: len(steps)] and not any(
        step % 100 for step in steps[11:]
    )
    losses = [float(loss) for _, loss, _ in progress]
    norms = [float(norm) for _, _, norm in progress]
    assert losses[-1] < losses[0] and norms[-1] < 1e-2 * norms[0]


def test_train_is_about_as_good_as_linear_least_squares(printed):
    network = number(printed, "held-out R2, network:")
    linear = number(printed, "held-out R2, linear least squares:")
    assert 0.3 < linear < 0.6
    assert network > linear - 0.02
    assert f"a straight line: held-out R2 {network:.4f}, of a straight line {linear:.4f}" in printed


def test_train_says_what_was_used(printed):
    assert "data: 331 rows to fit, 111 held out, target 'progression'\n" in printed
    assert "columns: 10, age, sex, bmi, bp, tc, ldl, hdl, tch, ltg, glu\n" in printed
    assert "loss: squared; all that are shown are means over rows, without the penalty" in printed
    assert number(printed, "held-out RMSE, network:") < number(
        printed, "held-out RMSE, linear least squares:"
    )
    labels = ["fit", "time of the fit", "penalty", "neurons", "training loss, squared"]
    for label in [*labels, "held-out loss, squared", "in words"]:
        assert re.search(rf"^{label}: ", printed, flags=re.MULTILINE), label


def test_what_is_chosen_is_said(tmp_path):
    """A sine of one column: few neurons do, and noise asks for a penalty."""
    path, model, rng = tmp_path / "sine.csv", tmp_path / "model.npz", np.random.default_rng(0)
    x = rng.uniform(-3.0, 3.0, size=80)
    rows = [f"{a},{b}" for a, b in zip(x, np.sin(x) + 0.1 * rng.normal(size=80), strict=True)]
    path.write_text("\n".join(["x,y", *rows]) + "\n")
    words = ("train", path, "--neurons", "auto", "--epochs", "60", "--save", model)
    training = json.loads(run(*words, "--json"))["training"]
    assert training["chosen"] == ["neurons", "l2"] and training["neurons"] in (1, 2, 4, 8, 16, 32)
    tried = training["l2_path"]
    assert training["l2"] in tried["l2"] and len(tried["loss"]) == len(tried["error"])
    printed = run(*words)
    assert f"network: 2 inputs, {training['neurons'] + 2} neurons" in printed  # linear, constant
    chosen = f"penalty: l2 {training['l2']:.3g}, chosen by cross-validation"
    assert chosen in re.sub(" +", " ", printed) and chosen in re.sub(" +", " ", run("info", model))
    assert re.search(r"s, of the cross-validation \d+\.\d\d s$", printed, flags=re.MULTILINE)
    assert fastbp.load(model).net.n_neurons == training["neurons"] + 2
    results = json.loads(run(*words, "--neurons", "3", "--l2", "0.1", "--no-linear", "--json"))
    assert results["training"]["chosen"] == [] and results["training"]["l2_path"] is None
    assert results["training"]["parameters"] == 4 * 3


@pytest.mark.parametrize("seed", [4, 37])
def test_a_fit_that_gives_up_a_class_begins_again(seed, tmp_path, monkeypatch):
    """As those of the estimators do."""
    X, y = load_iris(return_X_y=True)
    rows = [",".join([*map(str, row), "abc"[k]]) for row, k in zip(X, y, strict=True)]
    path, model = tmp_path / "iris.csv", tmp_path / "iris.npz"
    path.write_text("\n".join(["p,q,r,s,kind", *rows]) + "\n")
    monkeypatch.setattr(choose, "PATH", np.array([1.0]))
    words = ("train", path, "--target", "kind", "--loss", "squared", "--neurons", "4")
    found = json.loads(run(*words, "--seed", seed, "--save", model, "--json"))
    assert found["held_out"]["network"] > 0.9  # 0.68 and 0.74 from the first start
    assert found["training"]["training_loss"] < 0.03
    result = fastbp.load(model).metadata["training"]
    assert result["training_loss"] == found["training"]["training_loss"]
    assert run(*words, "--seed", seed).count("another start") == 1


def test_train_says_that_a_straight_line_is_better(tmp_path, capsys):
    """A line with noise and far too many neurons without a penalty."""
    path, rng = tmp_path / "line.csv", np.random.default_rng(0)
    X = rng.normal(size=(60, 5))
    t = X.sum(axis=1) + rng.normal(size=60)
    rows = [",".join(map(str, row)) for row in np.column_stack([X, t])]
    path.write_text("\n".join(["a,b,c,d,e,y", *rows]) + "\n")
    assert _cli.main(["train", str(path), "--l2", "0", "--json"]) == 0
    printed = capsys.readouterr()
    results = json.loads(printed.out)
    held_out = results["held_out"]
    assert held_out["network"] < held_out["linear"] - 0.1
    assert results["in_words"].startswith("a straight line is better than the network: held-out R2")
    (warning,) = (line for line in printed.err.splitlines() if "straight line" in line)
    assert warning == f"warning: {results['training']['warnings'][-1]}"
    assert warning.startswith("warning: a straight line is better") and "--l2" in warning


@pytest.mark.parametrize("loss", fastbp.losses.NAMES)
def test_every_loss(loss, tmp_path, capsys):
    path, model = tmp_path / "t.csv", tmp_path / "model.npz"
    rng = np.random.default_rng(0)
    x = rng.uniform(-1.5, 1.5, size=(120, 2))
    y = rng.poisson(np.exp(x[:, 0] + 0.5)).astype(float)
    if loss == "cross_entropy":
        y = 1.0 / (1.0 + np.exp(-x[:, 0]))
    rows = [",".join(map(str, row)) for row in np.column_stack([x, y])]
    path.write_text("\n".join(["a,b,y", *rows]) + "\n")
    words = ("train", path, "--loss", loss, "--l2", "3e-2", "--save", model)
    results = json.loads(run(*words, "--json"))
    assert results["training"]["loss"] == loss
    assert results["held_out"]["measure"] == "R2" and results["held_out"]["network"] > 0.3
    predicted = np.array(json.loads(run("predict", model, path, "--json"))["y"])
    held_out = np.random.default_rng(0).permutation(120)[90:]
    rmse = np.sqrt(np.mean((predicted - y)[held_out] ** 2))
    assert rmse == pytest.approx(results["held_out"]["rmse"]["network"], rel=1e-9)
    capsys.readouterr()
    if loss == "poisson":  # rates, not their logarithms
        assert (predicted > 0.0).all()
        path.write_text("a,y\n1,-1\n2,0\n3,5\n4,1\n")
        assert _cli.main(["train", str(path), "--loss", loss]) == 2
        assert "takes targets from 0 to inf; they are from -1 to 5" in capsys.readouterr().err


@pytest.mark.parametrize("loss", ["poisson", "pinball"])
def test_losses_of_numbers_are_none_of_classes(loss, people, capsys):
    assert _cli.main(["train", str(people), *CLASSES, "--loss", loss]) == 2
    assert "for classes cross_entropy is expected" in capsys.readouterr().err


def test_a_loss_that_takes_the_output_for_what_it_is_not_is_refused(capsys):
    assert _cli.main("train --loss poisson --output logistic".split()) == 2
    assert "the output 'logistic' goes from 0 to 1; take output=" in capsys.readouterr().err


def test_train_takes_options_and_is_reproducible(capsys):
    words = "train --neurons 3 --activation softplus --steps 20 --seed 5".split()
    outputs = []
    for _ in range(2):
        assert _cli.main(words) == 0
        lines = capsys.readouterr().out.splitlines()
        outputs.append([line for line in lines if "time" not in line])
    assert outputs[0] == outputs[1]
    assert "network: 11 inputs, 5 neurons, 60 parameters" in outputs[0]


@pytest.fixture
def people(tmp_path):
    """Write a table with all that people have in tables, and a rule that can be learnt."""
    rng = np.random.default_rng(0)
    rows = [["", "id", "age", "city", "smoker", "height", "risk", "verdict"]]
    for k in range(120):
        age, city, smoker = rng.integers(20, 80), rng.integers(3), rng.integers(2)
        risk = 0.1 * age + 2.0 * smoker * (city == 1)
        height = "" if k == 7 else f"{rng.normal(1.7, 0.1):.2f}"
        words = [f"p{k}", str(age), ("Bern", "Oslo", "Rome")[city], ("no", "yes")[smoker]]
        rows.append([str(k), *words, height, f"{risk:.3f}", "high" if risk > 5.5 else "low"])
    path = tmp_path / "people.csv"
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, delimiter=";").writerows(rows)
    return path


def run(*words):
    """Run a command that is expected to succeed, and return what it printed."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        assert _cli.main([str(word) for word in words]) == 0
    return out.getvalue()


PENALTY = ("--l2", "0.02")  # to choose it takes a cross-validation
NUMBERS = (*PENALTY, "--drop", "id", "--drop", "verdict", "--target", "risk", "--impute", "mean")
CLASSES = (*PENALTY, "--drop", "id", "--drop", "risk", "--impute", "mean")


def test_train_on_a_table_of_numbers_and_text(people):
    printed = run("train", people, *NUMBERS, "--l2", "0.001")
    assert "data: 90 rows to fit, 30 held out, target 'risk'" in printed
    # age, three cities, smoker, height and the constant
    assert "network: 7 inputs, 18 neurons, 144 parameters" in printed
    assert number(printed, "held-out R2, network:") > 0.98
    assert 0.8 < number(printed, "held-out R2, linear least squares:") < 0.98
    assert "fit: " in printed and " lm, " in printed


@pytest.mark.parametrize("optimizer", ["lm", "lbfgs", "adam", "sgd"])
def test_every_optimizer_learns(people, optimizer):
    rates = {"sgd": ["--learning-rate", "0.1"]}.get(optimizer, [])
    words = [*NUMBERS, "--l2", "0.001", "--optimizer", optimizer, "--json", *rates]
    results = json.loads(run("train", people, *words))
    assert results["training"]["optimizer"] == optimizer
    assert results["held_out"]["network"] > 0.95


@pytest.mark.parametrize("unit", [1e-300, 1e90])
def test_the_unit_of_the_target_does_not_change_how_well_it_is_met(tmp_path, unit):
    rng = np.random.default_rng(0)
    x = rng.normal(size=80)
    y = 2.0 * x + 0.1 * rng.normal(size=80)
    held_out = []
    for k, factor in enumerate((1.0, unit)):
        file = tmp_path / f"{k}.csv"
        np.savetxt(file, np.column_stack([x, y * factor]), "%.17g", ",", header="x,y", comments="")
        words = (file, "--json", "--l2", "0.01", "--epochs", "20")
        held_out.append(json.loads(run("train", *words))["held_out"])
        for name, rmse in held_out[-1]["rmse"].items():
            assert rmse / factor == pytest.approx(held_out[0]["rmse"][name], rel=1e-6)
            assert held_out[-1][name] == pytest.approx(held_out[0][name], rel=1e-6)
            assert held_out[-1][name] > 0.95


def test_held_out_targets_that_are_all_one_have_no_r2():
    t = np.full(30, 0.3)
    assert np.mean(t) != 0.3  # but for rounding
    judged = [Judged("y", None, t, t + 0.1, t + 0.2)]
    assert quality(judged) == {
        "measure": "R2", "network": None, "linear": None,
        "rmse": {"network": pytest.approx(0.1), "linear": pytest.approx(0.2)},
    }  # fmt: skip


def test_json_is_all_that_is_printed_and_is_reproducible(people):
    results = []
    for _ in range(2):
        results.append(json.loads(run("train", people, *NUMBERS, "--json", "--epochs", "5")))
        training = results[-1]["training"]
        del results[-1]["gradient_seconds"], training["seconds"], training["seconds_of_choice"]
    assert results[0] == results[1]
    assert results[0]["training"]["rows"] == 90
    assert results[0]["held_out"]["measure"] == "R2"
    assert max(results[0]["gradient_difference"].values()) < 1e-12


def test_predict_repeats_what_was_fitted(people, tmp_path):
    model = tmp_path / "model.npz"
    results = json.loads(run("train", people, *NUMBERS, "--save", model, "--json"))
    assert results["saved"] == str(model)
    header, *values = run("predict", model, people).splitlines()
    assert header == "risk" and len(values) == 120
    given = _reading.read(people)
    t = given.columns["risk"]
    y = np.array([float(value) for value in values])
    held_out = np.random.default_rng(0).permutation(120)[90:]
    residuals = t[held_out] - y[held_out]
    r2 = 1.0 - (residuals**2).sum() / ((t[held_out] - t[held_out].mean()) ** 2).sum()
    assert r2 == pytest.approx(results["held_out"]["network"], rel=1e-9)


def test_intervals_are_kept_where_there_are_some(people, tmp_path):
    model = tmp_path / "model.npz"
    for loss in ("squared", "pinball"):
        run("train", people, *NUMBERS, "--save", model, "--epochs", "5", "--loss", loss)
        loaded = fastbp.load(model)
        x = np.eye(loaded.net.n_inputs)[[-1, -1]]  # the means of all columns, and the constant
        kept = "intervals:" in run("info", model)
        assert kept == (loss == "squared")
        if kept:
            assert "kept, for predict --interval\n" in run("info", model)
            assert (loaded.predict(x, return_std=True)[1] > 0.0).all()
        else:
            with pytest.raises(ValueError, match="has no intervals"):
                loaded.predict(x, return_std=True)


def test_predict_as_json(people, tmp_path):
    model = tmp_path / "model.npz"
    for words, columns in ((NUMBERS, 1), (CLASSES, 2)):
        run("train", people, *words, "--epochs", "5", "--save", model)
        rows = list(csv.DictReader(io.StringIO(run("predict", model, people))))
        found = json.loads(run("predict", model, people, "--json"))
        assert len(found) == columns and list(found) == list(rows[0])
        for name, values in found.items():
            assert [str(value) for value in values] == [row[name] for row in rows]


def test_predict_needs_the_columns_alone_in_any_order(people, tmp_path):
    model, few = tmp_path / "model.npz", tmp_path / "few.csv"
    run("train", people, *NUMBERS, "--save", model, "--epochs", "5")
    lines = people.read_text(encoding="utf-8-sig").splitlines()
    rows = list(csv.DictReader(lines, delimiter=";"))
    with few.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["smoker", "height", "city", "age"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    assert run("predict", model, few) == run("predict", model, people)
    out = tmp_path / "out.csv"
    assert run("predict", model, few, "--output", out) == ""
    assert out.read_text() == run("predict", model, people)


def test_two_classes(people, tmp_path):
    model = tmp_path / "model.npz"
    printed = run("train", people, *CLASSES, "--save", model)
    assert number(printed, "held-out accuracy, network:") >= 0.9
    header, *lines = run("predict", model, people).splitlines()
    assert header == "verdict,probability of low"
    truth = _reading.read(people).columns["verdict"]
    predicted = [line.split(",") for line in lines]
    assert np.mean([name == t for (name, _), t in zip(predicted, truth, strict=True)]) > 0.95
    assert all((name == "low") == (float(p) > 0.5) for name, p in predicted)
    shown = re.sub(" +", " ", run("info", model))
    assert "target: verdict (high or low)" in shown
    assert "intervals: kept, for Model.predict(X, return_std=True)\n" in shown
    assert "neurons: 16 tanh, identity, one" in shown and "output: logistic" in shown
    assert "'age': numbers\n'city': 3 categories (Bern, Oslo, Rome)\n'smoker': 2 categ" in shown


def test_several_classes(people, tmp_path):
    model, picture = tmp_path / "model.npz", tmp_path / "fit.png"
    words = ("--target", "city", "--drop", "id", "--drop", "height", "--epochs", "60")
    results = json.loads(run("train", people, *words, "--save", model, "--json"))
    assert results["training"]["loss"] == "cross_entropy"
    held_out = results["held_out"]
    names = ["Bern", "Oslo", "Rome"]
    assert held_out["measure"] == "accuracy" and held_out["classes"] == names
    header, *lines = run("predict", model, people).splitlines()
    assert header == "city,probability of Bern,probability of Oslo,probability of Rome"
    truth = np.array([names.index(name) for name in _reading.read(people).columns["city"]])
    p = np.array([[float(x) for x in line.split(",")[1:]] for line in lines])
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-14)
    assert [line.split(",")[0] for line in lines] == [names[k] for k in p.argmax(axis=1)]
    rows = np.random.default_rng(0).permutation(120)[90:]
    p, truth = p[rows], truth[rows]
    assert held_out["network"] == np.mean(p.argmax(axis=1) == truth)
    assert held_out["log_loss"]["network"] == pytest.approx(-np.log(p[range(30), truth]).mean())
    counts = [[np.sum((truth == i) & (p.argmax(axis=1) == j)) for j in range(3)] for i in range(3)]
    assert held_out["confusion"]["network"] == counts
    loaded = fastbp.load(model)
    assert loaded.net.output is fastbp.softmax
    assert loaded.metadata["preparation"]["classes"] == names
    shown = re.sub(" +", " ", run("info", model))
    assert "target: city (Bern or Oslo or Rome)" in shown and "output: 3 softmax" in shown
    printed = run("train", people, *words)
    assert number(printed, "held-out log-loss, logistic regression:") > 0.0
    predicted = [f"{n} {name}" for n, name in zip(counts[0], names, strict=True) if n]
    assert re.search(rf"predicted for Bern, network: +{', '.join(predicted)}\n", printed)
    if find_spec("matplotlib"):
        run("train", people, *words, "--plot", picture)
        assert picture.stat().st_size > 1000


def test_the_linear_model_of_classes_is_logistic_regression(people):
    linear_model = pytest.importorskip("sklearn.linear_model")
    for words, n_classes in (((*CLASSES, "--epochs", "3"), 2), (("--target", "city"), 3)):
        words = [*words, "--impute", "mean", "--neurons", "2", "--drop", "id"]
        problem = _cli._problem_of(_cli._parser().parse_args(["train", str(people), *words]))
        X, t = problem.fit.X[:, :-1], problem.fit.t
        model = linear_model.LogisticRegression(tol=1e-10, max_iter=10000)
        model.fit(X, t if n_classes == 2 else t.argmax(axis=1))
        expected = model.predict_proba(problem.held_out.X[:, :-1])
        found = _cli._train._logistic_regression(problem)(problem.held_out.X)
        np.testing.assert_allclose(found, expected[:, 1] if n_classes == 2 else expected, atol=1e-6)


def test_several_targets(people, tmp_path):
    model, picture = tmp_path / "model.npz", tmp_path / "fit.png"
    words = ("--drop", "id", "--drop", "verdict", "--impute", "mean", "--epochs", "60")
    numbers = ("--target", "risk", "--target", "age")
    plot = ("--plot", picture) if find_spec("matplotlib") else ()
    results = json.loads(
        run("train", people, *words, *numbers, "--save", model, "--json", "--l2", "1e-3", *plot)
    )
    held_out = results["held_out"]
    assert held_out["measure"] == "R2" and list(held_out["targets"]) == ["risk", "age"]
    each = [held_out["targets"][name]["network"] for name in ("risk", "age")]
    assert held_out["network"] == pytest.approx(np.mean(each))
    found = json.loads(run("predict", model, people, "--json"))
    table = _reading.read(people)
    rows = np.random.default_rng(0).permutation(120)[90:]
    for (name, values), r2 in zip(found.items(), each, strict=True):
        t = table.columns[name][rows]
        y = np.array(values)[rows]
        assert 1.0 - ((y - t) ** 2).sum() / ((t - t.mean()) ** 2).sum() == pytest.approx(r2)
    assert "target: risk\ntarget: age\n" in re.sub(" +", " ", run("info", model))
    assert "target 'risk', 'age'\n" in run("train", people, *words, *numbers)

    labels = ("--target", "smoker", "--target", "verdict", "--drop", "id", "--impute", "mean")
    results = json.loads(run("train", people, *labels, "--epochs", "60", "--save", model, "--json"))
    verdict = results["held_out"]["targets"]["verdict"]
    assert verdict["network"] > 0.8 and verdict["classes"] == ["high", "low"]
    assert np.sum(verdict["confusion"]["linear"]) == 30
    header, *lines = run("predict", model, people).splitlines()
    assert header == "smoker,probability of smoker=yes,verdict,probability of verdict=low"
    assert all((line.split(",")[0] == "yes") == (float(line.split(",")[1]) > 0.5) for line in lines)
    assert fastbp.load(model).metadata["preparation"]["classes"] == [["no", "yes"], ["high", "low"]]


def test_targets_of_0_and_1_are_classes_unless_told(tmp_path):
    path, model = tmp_path / "zeros.csv", tmp_path / "model.npz"
    x = np.random.default_rng(0).normal(size=60)
    path.write_text("a,b\n" + "".join(f"{value},{int(value > 0)}\n" for value in x))
    words = ("train", path, "--epochs", "30", "--save", model)
    results = json.loads(run(*words, "--json"))
    assert results["training"]["loss"] == "cross_entropy"
    assert results["held_out"]["classes"] == ["0", "1"] and results["held_out"]["network"] > 0.8
    assert run("predict", model, path).startswith("b,probability of 1\n")
    results = json.loads(run(*words, "--json", "--regression"))
    assert results["training"]["loss"] == "squared" and results["held_out"]["measure"] == "R2"
    assert run("predict", model, path).startswith("b\n")


def test_models_of_one_target_are_stored_as_they_were(people, tmp_path):
    model = tmp_path / "model.npz"
    for words, target, classes in (
        (NUMBERS, "risk", None),
        (CLASSES, "verdict", ["high", "low"]),
    ):
        run("train", people, *words, "--epochs", "3", "--save", model)
        stored = fastbp.load(model).metadata["preparation"]
        keys = ["target", "classes", "inputs", "scaling", "target_scaling", "reading"]
        assert list(stored) == keys
        assert stored["target"] == target and stored["classes"] == classes
        again = _problem.Preparation.restored(stored)
        assert again.stored() == stored and again.targets == [target]
        del stored["reading"]  # as in 0.1.0
        assert _problem.Preparation.restored(stored).stored() == again.stored() | {"reading": {}}


def test_predict_refuses_what_it_was_not_fitted_to(people, tmp_path, capsys):
    model, other = tmp_path / "model.npz", tmp_path / "other.csv"
    run("train", people, *NUMBERS, "--save", model, "--epochs", "5")
    for row, message in [
        ("old,no,1.7,Rome", "other.csv, row 1, column 'age': 'old' is no number"),
        ("30,no,1.7,Rome\n30,,1.7,Rome,5", "other.csv: Expected 4 fields in line 3, saw 5"),
        ("30,no,1.7", "other.csv, line 2: 3 values, but the header has 4 columns"),
    ]:
        other.write_text(f"age,smoker,height,city\n{row}\n")
        assert _cli.main(["predict", str(model), str(other)]) == 2
        assert message in capsys.readouterr().err
    other.write_text("Age,smoker,height,city\n30,no,1.7,Rome\n")
    assert _cli.main(["predict", str(model), str(other)]) == 2
    assert "no column 'age' (did you mean 'Age'?); it has 'Age', 's" in capsys.readouterr().err


def test_predict_counts_what_it_has_no_value_for(people, tmp_path, capsys):
    model, other = tmp_path / "model.npz", tmp_path / "other.csv"
    run("train", people, *NUMBERS, "--save", model, "--epochs", "5")
    rows = "30,no,1.7,Paris", "old,no,1.7,Rome", "40,,-,Rome", "40,yes,1.8,Bern"
    other.write_text("\n".join(("age,smoker,height,city", *rows)))
    capsys.readouterr()
    found = json.loads(run("predict", model, other, "--json"))["risk"]
    assert len(found) == 4
    mean = "the mean of the rows that were fitted"
    _, _, smoker, height = fastbp.load(model).metadata["preparation"]["inputs"]
    assert capsys.readouterr().err.splitlines() == [
        f"'age': 1 of 4 values are no number ('old' in row 2); {mean} stands for them",
        f"'city': 1 of 4 values are none of the 3 that were fitted ('Paris' in row 1); {mean} "
        "stands for them",
        f"'smoker': 1 of 4 are missing; {smoker['fill']!r} stands for them",
        f"'height': 1 of 4 are missing; {height['fill']:.6g} stands for them",
    ]
    other.write_text("\n".join(("age,smoker,height,city", rows[3])))
    assert json.loads(run("predict", model, other, "--json"))["risk"] == found[3:]


def test_the_columns_of_a_model_are_read_as_they_were_fitted(tmp_path, capsys):
    """Units, codes, dates, decimal marks and spellings of missing values go with the model."""
    rng = np.random.default_rng(3)
    path, model, other = tmp_path / "t.csv", tmp_path / "model.npz", tmp_path / "other.csv"
    rows = ["price;share;zip;day;x;y"]
    for k in range(90):
        price, share, code, x = rng.integers(1000, 9999), rng.integers(100), k % 3, rng.normal()
        x = "unknown" if k == 5 else f"{x:.2f}".replace(".", ",")
        y = f"{price / 1000 + share / 50 + code:.4f}".replace(".", ",")
        day = f"{1 + k % 28}.{1 + k % 12}.{2001 + k % 7}"
        rows.append(f"€ {price // 1000}.{price % 1000:03};{share} %;0123{code};{day};{x};{y}")
    path.write_text("\n".join(rows))
    words = "--missing unknown --impute mean --save".split()
    results = json.loads(run("train", path, *words, model, "--json"))
    assert results["held_out"]["network"] > 0.95
    said = capsys.readouterr().err
    for line in (
        "numbers have a decimal comma",
        "'price': numbers in €",
        "'share': numbers in %",
        "'zip': 3 categories (01230, 01231, 01232), codes with leading zeros",
        "'day': dates, 2001-01-01 to 2007-12-28 (%d.%m.%Y), as days since 2000 with sine and",
        "'x': numbers; 1 missing, filled with the mean, ",
    ):
        assert line in said
    all_of_them = json.loads(run("predict", model, path, "--json"))["y"]
    # By themselves, these prices could be read in two ways.
    few = [k for k, row in enumerate(rows[1:]) if row.split(";")[0].endswith("0")][:3]
    other.write_text("\n".join([rows[0], *(rows[1 + k] for k in few)]))
    found = json.loads(run("predict", model, other, "--json"))["y"]
    np.testing.assert_allclose(found, [all_of_them[k] for k in few], rtol=1e-12)


def test_a_table_that_shows_another_decimal_mark_than_the_fitted_one_is_read_by_its_own(
    tmp_path, capsys
):
    rng = np.random.default_rng(4)
    x, z = rng.uniform(1.0, 9.0, (2, 60))
    rows = ["x;z;y", *(f"{a:.3f};{b:.2f};{np.sin(a) + b:.4f}" for a, b in zip(x, z, strict=True))]
    points = "\n".join([*rows, "3;7;7.1411"])
    # With a unit: else nothing in the table with points depends on what they are.
    texts = {".": points.replace("\n", "\n$"), ",": points.replace(".", ",")}
    said = {".": "numbers have a decimal point", ",": "numbers have a decimal comma"}
    path, model = tmp_path / "t.csv", tmp_path / "model.npz"
    for mark, other in (".,", ",."):
        path.write_text(texts[mark])
        run("train", path, "--l2", 0.1, "--neurons", 2, "--save", model, "--json")
        expected = json.loads(run("predict", model, path, "--json"))
        path.write_text(texts[other].replace("$", ""))
        capsys.readouterr()
        assert json.loads(run("predict", model, path, "--json")) == expected
        assert capsys.readouterr().err == f"{said[other]}\n"
        # What may be both is read as the fitted ones were: 1,234 and 1.234.
        path.write_text(f"x;z\n3;4\n1{mark}234;5")
        few = json.loads(run("predict", model, path, "--json"))["y"]
        path.write_text(f"x;z\n3;4\n1{mark}2340;5")
        assert json.loads(run("predict", model, path, "--json"))["y"] == few
        # A cell by another mark is one that is no number.
        path.write_text(f"x;z\n3;4\n1{mark}5;5\n3;4{other}5")
        capsys.readouterr()
        assert json.loads(run("predict", model, path, "--json"))["y"][0] == few[0]
        assert "'z': 1 of 3 values are no number" in capsys.readouterr().err
    path.write_text("x;z\n1 km;2\n3 km;4")
    assert _cli.main(["predict", str(model), str(path)]) == 2
    assert "'1 km' is no number without a unit, as those that were" in capsys.readouterr().err


def test_rows_without_a_target_are_left_out(tmp_path, capsys):
    path = tmp_path / "t.csv"
    path.write_text("a,y\n" + "".join(f"{k},{'NA' if k in (3, 7) else 2 * k}\n" for k in range(30)))
    results = json.loads(run("train", path, "--json", "--epochs", "3"))
    assert results["training"]["rows"] == 21
    assert "2 rows without a value of 'y' are left out" in capsys.readouterr().err


def test_part_of_the_rows_is_held_out_and_classes_without_any_are_named(tmp_path, capsys):
    path = tmp_path / "classes.csv"
    first = np.random.default_rng(0).permutation(20)[:2]  # the rows to fit
    path.write_text("x,y\n" + "".join(f"{k},{'ab'[k in first]}\n" for k in range(20)))
    words = ["--neurons", "1", "--l2", "0.1", "--steps", "1", "--test-fraction"]
    assert _cli.main(["train", str(path), *words, "0.9"]) == 0
    printed = capsys.readouterr()
    assert "data: 2 rows to fit, 18 held out" in printed.out
    assert "'y': 1 of 2 classes have no row to fit (a)\n" in printed.err
    assert _cli.main(["train", str(path), *words, "0.5"]) == 0
    assert "no row to fit" not in capsys.readouterr().err


def test_a_table_from_the_standard_input(people, tmp_path):
    with people.open("rb") as given:
        done = subprocess.run(
            [sys.executable, "-m", "fastbp", "train", "-", *NUMBERS, "--epochs", "3", "--json"],
            stdin=given,
            capture_output=True,
            check=True,
        )
    results = json.loads(run("train", people, *NUMBERS, "--epochs", "3", "--json"))
    assert json.loads(done.stdout)["held_out"] == results["held_out"]
    assert b"the standard input: 120 rows, 8 columns" in done.stderr


def test_without_pandas_the_bundled_data_are_there_and_no_others(people, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert _cli.main(["train", str(people)]) == 2
    assert capsys.readouterr().err == (
        "error: a table is read by pandas: pip install 'fastbp[cli]'\n"
    )
    assert json.loads(run("train", "--epochs", "3", "--json"))["training"]["rows"] == 331
    assert _cli.main(["train", "--decimal", ","]) == 2
    assert "--decimal does nothing with the bundled data" in capsys.readouterr().err


def test_info_of_a_model_with_own_activations(tmp_path):
    path = tmp_path / "model.npz"
    cube = fastbp.activation(lambda z: z * z * z, name="cube")
    net = fastbp.Network(2, activations=["tanh", "tanh", cube], output="identity")
    fastbp.save(path, net, net.init(0), note="größer")
    assert run("info", path).splitlines() == [
        f"format:                2, written by fastbp {fastbp.__version__}",
        "inputs:                2",
        "neurons:               2 tanh, cube",
        "output:                identity",
        "parameters:            9 of float64",
        f"own activation 'cube': digest {cube.digest}",
        'note:                  "größer"',
    ]
    described = json.loads(run("info", path, "--json"))
    assert described["metadata"] == {"note": "größer"} and described["n_params"] == 9


def test_predict_with_intervals(people, tmp_path):
    model = tmp_path / "model.npz"
    for targets in (("risk",), ("risk", "age")):
        words = [word for name in targets for word in ("--target", name)]
        run("train", people, *NUMBERS[:6], *words, *NUMBERS[-2:], "--epochs", "20", "--save", model)
        found = json.loads(run("predict", model, people, "--interval", "0.9", "--json"))
        assert list(found) == [name + end for name in targets for end in ("", " lower", " upper")]
        loaded = fastbp.load(model)
        scaling = loaded.metadata["preparation"]["target_scaling"]
        preparation = _problem.Preparation.restored(loaded.metadata["preparation"])
        X = preparation.encode(preparation.read(people), print)
        _, std = loaded.predict(X, return_std=True, noise=True)
        scales = np.atleast_1d(scaling["scale"])
        for name, of_one, scale in zip(targets, std.reshape(120, -1).T, scales, strict=True):
            y, low, high = (np.array(found[name + end]) for end in ("", " lower", " upper"))
            np.testing.assert_allclose(high - y, 1.6448536269514722 * scale * of_one, rtol=1e-9)
            np.testing.assert_allclose(y - low, high - y, rtol=1e-9)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (CLASSES, "of classes there are probabilities"),
        ((*NUMBERS, "--loss", "huber"), "needs a fit by the squared loss; this one was by huber"),
        ((*NUMBERS, "--neurons", "70"), "of at most 500 parameters (fewer --neurons), and it has"),
    ],
)
def test_intervals_that_there_are_not(people, tmp_path, capsys, train, message):
    model = tmp_path / "model.npz"
    run("train", people, *train, "--epochs", "3", "--save", model)
    assert _cli.main(["predict", str(model), str(people), "--interval", "0.9"]) == 2
    assert message in capsys.readouterr().err


def test_a_prediction_has_no_two_columns_of_a_name(tmp_path, capsys):
    table, model = tmp_path / "table.csv", tmp_path / "model.npz"
    rows = np.random.default_rng(0).normal(size=(40, 3))
    table.write_text("x,y,y lower\n" + "".join(f"{x},{y},{z}\n" for x, y, z in rows))
    targets = ("--target", "y", "--target", "y lower")
    run("train", table, *targets, "--neurons", "2", "--epochs", "3", "--l2", "1", "--save", model)
    run("predict", model, table)
    assert _cli.main(["predict", str(model), str(table), "--interval", "0.9"]) == 2
    assert "two columns of the prediction would be called 'y lower'" in capsys.readouterr().err


@pytest.mark.filterwarnings("default")
def test_rates_beyond_all_numbers_cost_no_model(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    path, model, plot = (tmp_path / name for name in ("far.csv", "far.npz", "far.png"))
    far = np.random.default_rng(0).permutation(40)[-2:]  # held out: one is too large
    x = np.arange(40.0) % 7
    x[far] = -1e9, 1e9
    path.write_text("x,y\n" + "".join(f"{a},{k % 7 // 2}\n" for k, a in enumerate(x)))
    how = ["--loss", "poisson", "--neurons", "1", "--l2", "0.01", "--steps", "9"]
    words = ["train", str(path), *how, "--save", str(model)]
    assert _cli.main([*words, "--plot", str(plot), "--json"]) == 0
    printed = capsys.readouterr()
    assert "warning: predictions of rows held out are beyond all numbers" in printed.err
    found = json.loads(printed.out, parse_constant=pytest.fail)
    assert found["training"]["held_out_loss"] is found["held_out"]["network"] is None
    assert found["held_out"]["rmse"]["network"] is None and plot.stat().st_size > 0
    for again in (words, ["info", str(model)]):
        assert _cli.main(again) == 0
        shown = re.sub(" +", " ", capsys.readouterr().out)
        assert "held-out R2, network: infinite\n" in shown
        assert "held-out RMSE, network: infinite\n" in shown
    assert _cli.main(["predict", str(model), str(path), "--json"]) == 0
    y = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["y"]
    assert [y[k] for k in far].count(None) == y.count(None) == 1


@pytest.mark.filterwarnings("default")
def test_intervals_that_nothing_determines(tmp_path, capsys):
    data, model = tmp_path / "t.csv", tmp_path / "model.npz"
    data.write_text("a,y\n1,3\n2,4\n3,6\n4,1\n")
    run("train", data, "--epochs", "3", "--l2", "0.1", "--save", model)
    capsys.readouterr()
    said = "warning: there are no more observations than free parameters, and no penalty"
    for words, least in ([], "-inf"), (["--json"], None):
        assert _cli.main(["predict", str(model), str(data), "--interval", "0.9", *words]) == 0
        printed = capsys.readouterr()
        assert printed.err.startswith(said) and len(printed.err.splitlines()) == 1
        if least:
            assert printed.out.splitlines()[1].split(",")[1] == least
        else:
            assert json.loads(printed.out)["y lower"] == [least] * 4


def test_nothing_that_is_read_is_overwritten(people, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    model = tmp_path / "model.npz"
    run("train", people, *NUMBERS, "--epochs", "3", "--save", model)
    (tmp_path / "link").symlink_to(people)
    os.link(people, tmp_path / "hard")
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    data = str(people)
    for words, message in [
        (["train", data, "--save", data], "--save"),
        (["train", data, "--save", "link"], "would overwrite"),
        (["train", data, "--save", "hard"], "would overwrite"),
        (["train", data, "--plot", "./link"], "would overwrite"),
        (["train", data, "--save", "new", "--plot", "folder/../new"], "would overwrite 'new', of"),
        (["train", data, "--save", "-"], "--save '-' is no file"),
        (["train", data, "--save", "folder"], "--save 'folder' is no file"),
        (["train", data, "--save", "model.csv"], "ends in .csv; .npz is expected"),
        (["train", data, "--plot", "x.xyz"], "ends in .xyz"),
        (["predict", "model.npz", data, "--output", "people.csv"], "would overwrite"),
        (["predict", "model.npz", data, "--output", "model.npz"], "would overwrite"),
        (["predict", "model.npz", data, "--output", "new.xlsx"], "ends in .xlsx; .csv or .txt is"),
        (["predict", "model.npz", data, "--output", "new.csv", "--json"], "ends in .csv; .json is"),
        (["predict", "model.npz", data, "--output", "none/new.csv"], "there is no folder 'none'"),
    ]:
        if "--plot" in words and not find_spec("matplotlib"):
            continue
        assert _cli.main(words) == 2
        printed = capsys.readouterr()
        assert message in printed.err and not printed.out
        assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_options_that_do_nothing_are_refused(people, capsys):
    for option in ("--batch-size", "--learning-rate"):
        for optimizer in ([], ["--optimizer", "lbfgs"]):
            assert _cli.main(["train", str(people), *NUMBERS, option, "8", *optimizer]) == 2
            message = (
                f"{option} does nothing with {'lbfgs' if optimizer else 'lm and lbfgs'}; it is for"
            )
            assert message in capsys.readouterr().err
    for words, message in (
        (["--regression"], "takes a target of 0 and 1 as numbers, but 'risk' is none"),
        (["--categorical", "id"], "'id' can't be categorical and left out"),
    ):
        assert _cli.main(["train", str(people), *NUMBERS, *words]) == 2
        assert message in capsys.readouterr().err
    assert _cli.main(["train", "--dates", "day-first"]) == 2
    assert "--dates does nothing with the bundled data" in capsys.readouterr().err


def test_the_installed_command_is_the_module(capfd):
    project = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    assert 'fastbp = "fastbp.__main__:run"' in project
    from fastbp.__main__ import run as command

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["fastbp", "info", "none.npz"])
        assert command() == 2
    assert "none.npz" in capfd.readouterr().err


def test_plot(people, tmp_path):
    pytest.importorskip("matplotlib")
    for words in (NUMBERS, CLASSES, (*NUMBERS, "--test-fraction", "0")):
        path = tmp_path / "fit.png"
        printed = run("train", people, *words, "--epochs", "5", "--plot", path)
        assert str(path) in printed
        assert path.read_bytes().startswith(b"\x89PNG")
        path.unlink()
    run("train", people, *NUMBERS, "--epochs", "3", "--plot", tmp_path / "name")
    assert (tmp_path / "name").read_bytes().startswith(b"\x89PNG")


def test_without_held_out_rows(people):
    results = json.loads(
        run("train", people, *NUMBERS, "--test-fraction", "0", "--epochs", "3", "--json")
    )
    assert results["held_out"] is None and results["training"]["rows"] == 120


def test_a_reader_that_stops_is_no_error(people, tmp_path):
    model = tmp_path / "model.npz"
    run("train", people, *NUMBERS, "--save", model, "--epochs", "3")
    read, write = os.pipe()
    os.close(read)
    words = [sys.executable, "-m", "fastbp", "predict", str(model), str(people)]
    done = subprocess.run(words, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert done.returncode == 0 and b"rror" not in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
def test_streams_that_are_closed_or_full(people, tmp_path):
    """Nothing is lost without a word, and nobody sees a traceback."""
    model, later = tmp_path / "model.npz", tmp_path / "later.npz"
    run("train", people, *NUMBERS, "--save", model, "--epochs", "3", "--l2", "0.1")
    run("predict", model, people, "--output", tmp_path / "y.csv")
    predict = f"predict {model} {people}"
    for words, code, said in [
        (f"predict {model} - <&-", 2, "error: the standard input is closed\n"),
        (f"{predict} >&-", 2, "error: the standard output is closed\n"),
        (f"{predict} 2>&-", 0, ""),
        (f"{predict} > /dev/full", 2, "No space left on device\n"),
        (f"train --l2 0.1 --epochs 40 --save {later} | true; exit ${{PIPESTATUS[0]}}", 0, ""),
    ]:
        if "/dev/full" in words and not os.path.exists("/dev/full"):
            continue
        command = f"{sys.executable} -m fastbp {words}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
        assert done.returncode == code and done.stderr.endswith(said)
        assert "Traceback" not in done.stderr and "Exception" not in done.stderr
        if code == 0 and "predict" in words:
            assert done.stdout == (tmp_path / "y.csv").read_text()
    assert later.exists()  # though who read its report had gone


def test_scales_and_fills_come_from_the_rows_to_fit_alone():
    _, t, names = fastbp.datasets.load_diabetes()
    words = ["train", "--neurons", "3", "--seed", "3"]
    problem = _cli._problem_of(_cli._parser().parse_args(words))
    fit, held_out = problem.fit, problem.held_out
    assert len(fit.t) == 331 and len(held_out.t) == 111
    np.testing.assert_allclose(fit.X[:, :-1].mean(axis=0), 0.0, atol=1e-13)
    np.testing.assert_allclose(fit.X[:, :-1].std(axis=0), 1.0, rtol=1e-13)
    assert abs(held_out.X[:, :-1].mean(axis=0)).max() > 0.01
    assert (fit.X[:, -1] == 1.0).all() and (held_out.X[:, -1] == 1.0).all()
    order = np.random.default_rng(3).permutation(442)
    scaled = (t - t[order[:331]].mean()) / t[order[:331]].std()
    np.testing.assert_allclose([*fit.t, *held_out.t], scaled[order], rtol=1e-12)
    assert [column["name"] for column in problem.preparation.inputs] == list(names)
    stored = json.loads(json.dumps(problem.preparation.stored()))
    again = _problem.Preparation.restored(stored)
    np.testing.assert_array_equal(again.encode(_problem.bundled(), print)[order[:331]], fit.X)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train --neurons 0", "'0' was given, a whole number of at least 1 was expected"),
        ("train --steps 1.5", "'1.5' was given, a whole number of at least 1 was expected"),
        ("train --l2 nan", "'nan' was given, a number of at least 0 was expected"),
        ("train --learning-rate inf", "'inf' was given, a positive number was expected"),
        ("train --seed -1", "'-1' was given, a whole number of at least 0 was expected"),
        ("train --test-fraction 1", "'1' was given, a number from 0 to below 1 was expected"),
        ("train --batch-size 0", "'0' was given, a whole number of at least 1 was expected"),
        ("train --loss sqared", "invalid choice: 'sqared'"),
        ("train --optimizer newton", "invalid choice: 'newton'"),
        ("predict model.npz", "required"),
        ("train x.csv --separator ab", "'ab' was given, one character was expected, or tab"),
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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train none.csv", "none.csv"),
        ("train --target sugar", "there is no column 'sugar'; it has 'age', 'sex', 'bmi'"),
        ("train --drop sugar", "the bundled data: there is no column 'sugar'"),
        ("train --categorical sugar", "the bundled data: there is no column 'sugar'"),
        ("train --save none/model.npz", "there is no folder 'none' for 'none/model.npz'"),
        ("train --plot none/fit.png", "there is no folder 'none' for 'none/fit.png'"),
        ("predict none.npz none.csv", "none.npz"),
        ("info none.npz", "none.npz"),
        (
            "train {people}",
            "row 8, column 'height': the value is missing, as in 1 of 120 rows; --impute mean",
        ),
        (
            "train {people} --target id",
            "the target 'id' is text with 120 different values in 120 rows",
        ),
        (
            "train {people} --drop id --target risk --target city",
            "several targets are all numbers or all of two classes; 'risk', 'city' are numbers, 3",
        ),
        (
            "train {people} --target city --output logistic",
            "the output 'logistic' does not fit the target 'city'; softmax is expected",
        ),
        (
            "train {people} --target risk --output softmax",
            "the output 'softmax' does not fit the target 'risk'; one of numbers or of two",
        ),
        (
            "train {people} --target smoker --output tanh --loss squared",
            "the output 'tanh' goes from -1 to 1, and the target 'smoker' has classes; one of prob",
        ),
        (
            "train {people} --target smoker --output identity",
            "the output 'identity' goes from -inf to inf, and the target 'smoker' has classes",
        ),
        ("train {one}", "one.csv: no column is left to predict 'a' from"),
        ("train {rows}", "from; 'id': left out, it names rows: 3 different values in 3 rows, su"),
        ("train {rows} --target Y", "there is no column 'Y' (did you mean 'y'?); it has 'id'"),
        ("train {rows} --target y --drop y", "'y' can't be target and left out"),
        ("train {row} --test-fraction 0.9", "row.csv: 1 rows are too few; none is left to fit"),
        (
            "train {large}",
            "large.csv, row 1, column 'a': '1e+308' is no number of at most 1e+100",
        ),
        ("predict {row} {row}", "row.csv: this is no model of fastbp.save (no .npz file at all)"),
        ("info {row}", "row.csv: this is no model of fastbp.save"),
        ("predict {model} {row}", "the model does not say how a table becomes its inputs"),
    ],
)
def test_data_that_can_not_be_used_exit_with_2_and_say_why(
    words, message, people, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    one, row, model = tmp_path / "one.csv", tmp_path / "row.csv", tmp_path / "model.npz"
    one.write_text("a\n1\n2\n")
    row.write_text("a,b\n1,2\n")
    large, rows = tmp_path / "large.csv", tmp_path / "rows.csv"
    rows.write_text("id,y\n1,2\n2,3\n3,5\n")
    large.write_text("a,b\n1e308,2\n-1e308,3\n0,4\n")
    fastbp.save(model, fastbp.Network(1, 1), [1.0, 2.0])
    words = words.format(people=people, one=one, row=row, model=model, large=large, rows=rows)
    assert _cli.main(words.split()) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("error: ") and message in printed.err
    assert len(printed.err.splitlines()) == 1


def test_a_fit_that_goes_astray_exits_with_1(capsys):
    words = "train --optimizer sgd --learning-rate 1e9 --activation square"
    assert _cli.main(words.split()) == 1
    printed = capsys.readouterr()
    assert "error: the loss is infinite after step" in printed.err
    assert "--learning-rate" in printed.err


def test_ctrl_c_in_a_fit_reports_and_saves_what_there_is(monkeypatch, tmp_path, capsys):
    real = _cli._train.fit

    def fit(*args, **kwargs):
        return real(*args, **kwargs)._replace(reason="interrupted")

    monkeypatch.setattr(_cli._train, "fit", fit)
    model = tmp_path / "model.npz"
    assert _cli.main(["train", "--epochs", "3", "--save", str(model)]) == 130
    assert "3 steps: interrupted" in capsys.readouterr().out
    assert fastbp.load(model).metadata["training"]["reason"] == "interrupted"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (MemoryError(), 2, "error: there is not enough memory for this\n"),
    ],
)
def test_no_traceback(error, code, message, monkeypatch, capsys):
    def stop(*args, **kwargs):
        raise error

    monkeypatch.setattr(_cli._self_check, "run", stop)
    assert _cli.main(["check"]) == code
    assert capsys.readouterr().err == message


def test_check_as_json(monkeypatch, capsys):
    monkeypatch.setattr(_cli._self_check, "NAMES", ("tanh",))
    monkeypatch.setattr(_cli._self_check, "LOSSES", ("squared",))
    assert _cli.main(["check", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["passed"] is True
    assert [(n["activations"], n["dtype"]) for n in found["networks"]] == [
        (activations, dtype)
        for dtype in ("float64", "float32")
        for activations in ("tanh", "all, squared", "3 of tanh", "3 of softmax")
    ]
    checks = found["networks"][0]["checks"]
    assert {check["kind"] for check in checks} == {"activation", "kernel", "taylor", "adjoint"}
    assert all(check["passed"] for check in checks)


def test_a_missing_package_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert _cli.main(["train", "--plot", "fit.png"]) == 2
    assert "pip install 'fastbp[plot]'\n" in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        _cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"fastbp {fastbp.__version__}\n"

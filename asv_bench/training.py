"""Training against other libraries: epochs, Levenberg–Marquardt, restarts, groups, quality.

    python asv_bench/training.py                 # all, some minutes
    python asv_bench/training.py epochs lm       # some

Prints what, target, measured, ok; exits 1 where a target is missed. One core, float64, all
libraries in this process and in turns; those that are not installed are left out. Needs JAX,
PyTorch, scikit-learn, SciPy and torch-levenberg-marquardt (with pytorch-lightning).
"""

import _one_core  # noqa: F401  first: before anything that computes

# isort: split
import argparse
import functools
import importlib
import itertools
import os
import statistics
import sys
import time
import warnings

import numpy as np

import fastbp
from fastbp.optimizers import SGD

EPOCHS = [  # samples, N, H, batch; targets over JAX, PyTorch, scikit-learn
    ((442, 10, 16, 32), (2, 10, 5)),
    ((1797, 64, 48, 16), (2, 10, 5)),
    ((3000, 5, 24, 1), (5, 10, 5)),
    ((10000, 10, 64, 32), (2, 10, 5)),
    ((10000, 64, 256, 128), (2, 2, 2)),
]
RATE = 1e-3
LONGEST = 10.0  # seconds that Adam is given; inf: what stopped before it arrived
PEERS = ("jax", "torch", "sklearn")


class Report:
    def __init__(self):
        self.missed = 0

    def line(self, what, target, measured, ok):
        self.missed += not ok
        print(f"{what:<58} {target:>9} {measured:>14}  {'ok' if ok else 'MISSED'}", flush=True)

    def ratio(self, what, target, measured):
        self.line(what, f">= {target} x", f"{measured:.1f} x", measured >= target)


def available(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"({name} is not installed)")
        return None


def seconds(calls, rounds=9):
    """Return the best time of each call, in turns."""
    best = [np.inf] * len(calls)
    for call in calls:
        call()
    for _ in range(rounds):
        for k, call in enumerate(calls):
            start = time.perf_counter()
            call()
            best[k] = min(best[k], time.perf_counter() - start)
    return best


# ---- epochs --------------------------------------------------------------------------------------


@functools.cache
def drawn(n):
    """Return random orders, made once: the peers are not to pay for drawing them, as `fit` does."""
    rng = np.random.default_rng(0)
    return [rng.permutation(n) for _ in range(64)]


def orders(n, epochs, shuffle):
    """Return the orders of the observations in as many epochs."""
    return itertools.islice(itertools.cycle(drawn(n) if shuffle else [np.arange(n)]), epochs)


def by_fastbp(net, w, X, t, batch, epochs, shuffle=True):
    options = {"epochs": epochs, "batch_size": batch, "shuffle": shuffle, "progress": False}
    return fastbp.fit(net, X, t, w0=w, optimizer=SGD(RATE), **options).w


def by_jax(N, H, w, X, t, batch):
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    def loss(w, x, t):
        a, W = w[:H], w[H:].reshape(H, N)
        return 0.5 * jnp.mean((jnp.tanh(x @ W.T) @ a - t) ** 2)

    gradient = jax.grad(loss)
    n = len(t)
    whole = n // batch * batch

    @jax.jit
    def epoch(w, X, t, order):
        def step(w, rows):
            return w - RATE * gradient(w, X[rows], t[rows]), None

        w, _ = jax.lax.scan(step, w, order[:whole].reshape(-1, batch))
        return step(w, order[whole:])[0] if whole < n else w

    X, t, w = (jnp.asarray(a) for a in (X, t, w))

    def train(epochs, shuffle=True):
        moved = w
        for order in orders(n, epochs, shuffle):
            moved = epoch(moved, X, t, order)
        return np.asarray(moved)

    return train


def by_torch(N, H, w, X, t, batch):
    import torch

    torch.set_num_threads(1)
    X, t = torch.from_numpy(X), torch.from_numpy(t)[:, None]

    def train(epochs, shuffle=True):
        first, last = torch.nn.Linear(N, H, bias=False), torch.nn.Linear(H, 1, bias=False)
        model = torch.nn.Sequential(first, torch.nn.Tanh(), last).double()
        with torch.no_grad():
            last.weight.copy_(torch.from_numpy(w[:H])[None])
            first.weight.copy_(torch.from_numpy(w[H:].reshape(H, N)))
        rule = torch.optim.SGD(model.parameters(), RATE)
        for order in orders(len(X), epochs, shuffle):
            for rows in torch.from_numpy(order).split(batch):
                rule.zero_grad()
                loss = 0.5 * torch.nn.functional.mse_loss(model(X[rows]), t[rows])
                loss.backward()
                rule.step()
        return np.concatenate([p.detach().numpy().ravel() for p in (last.weight, first.weight)])

    return train


def by_sklearn(H, X, t, batch, epochs):
    """Train scikit-learn's network: the same size, with biases and orders of its own."""
    from sklearn.neural_network import MLPRegressor

    model = MLPRegressor(
        hidden_layer_sizes=H, activation="tanh", solver="sgd", alpha=0.0, batch_size=batch,
        learning_rate_init=RATE, momentum=0.0, nesterovs_momentum=False, max_iter=epochs, tol=0.0,
        n_iter_no_change=10**9, random_state=0,
    )  # fmt: skip
    return model.fit(X, t)


def epochs(report):
    """Compare SGD epochs: fit's time by epoch, of as many as take some tenths of a second."""
    have = {name: available(name) is not None for name in PEERS}
    for (n, N, H, batch), targets in EPOCHS:
        net = fastbp.Network(N, H, output="identity")
        rng = np.random.default_rng(0)
        X, t, w = rng.normal(size=(n, N)), rng.normal(size=n), net.init(0)
        calls = {"fastbp": functools.partial(by_fastbp, net, w, X, t, batch)}
        if have["jax"]:
            calls["jax"] = by_jax(N, H, w, X, t, batch)
        if have["torch"]:
            calls["torch"] = by_torch(N, H, w, X, t, batch)
        name = f"SGD epoch {(n, N, H, batch)}"
        ours = calls["fastbp"](3, shuffle=False)
        for other in ("jax", "torch"):
            if other in calls:
                off = np.abs(calls[other](3, shuffle=False) - ours).max()
                report.line(f"{name}: after 3 epochs as {other}", "1e-9", f"{off:.0e}", off < 1e-9)
        if have["sklearn"]:
            calls["sklearn"] = lambda k, a=(H, X, t, batch): by_sklearn(*a, k)
        start = time.perf_counter()
        calls["fastbp"](3)
        # So many that a fit's ends (arguments checked, the loss at the end) count for little.
        number = max(40, int(0.5 / (time.perf_counter() - start)))
        few = max(1, number // 40)
        number_of = {k: number if k in ("fastbp", "jax") else few for k in calls}
        best = seconds([lambda c=c, m=number_of[k]: c(m) for k, c in calls.items()])
        each = {k: s / number_of[k] for k, s in zip(calls, best, strict=True)}
        print(f"  {name}: " + ", ".join(f"{k} {s * 1e6:.1f} µs" for k, s in each.items()))
        for other, target in zip(PEERS, targets, strict=True):
            if other in each:
                report.ratio(f"{name} against {other}", target, each[other] / each["fastbp"])


# ---- Levenberg–Marquardt -------------------------------------------------------------------------


def teacher(N, H, B):
    """Return a network with biases, and standardised targets that one of its size made."""
    net = fastbp.Network(N + 1, activations=["tanh"] * H + ["one"], output="identity")
    rng = np.random.default_rng(1000)
    X = np.column_stack([rng.uniform(-1.0, 1.0, (B, N)), np.ones(B)])
    t = net(rng.normal(size=net.n_params), X)
    return net, X, (t - t.mean()) / t.std()


def clock(call):
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def run_fastbp(net, X, t, w0, mse, optimizer, most=5000):
    stop = fastbp.EarlyStopping(target=mse / 2.0)
    took, result = clock(
        lambda: fastbp.fit(
            net, X, t, w0=w0, optimizer=optimizer, early_stopping=stop, epochs=most, progress=False
        )
    )
    return took if result.reason == "target reached" else np.inf


def run_least_squares(net, X, t, w0, mse):
    from scipy.optimize import least_squares

    class Arrived(Exception):
        pass

    def residuals(w):
        r = net(w, X) - t
        if r @ r / len(r) <= mse:
            raise Arrived
        return r

    def go():
        try:
            least_squares(
                residuals, w0, lambda w: net.per_sample_grad(w, X), method="trf",
                xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=2000,
            )  # fmt: skip
        except Arrived:
            return True
        return False

    took, arrived = clock(go)
    return took if arrived else np.inf


def run_sklearn(H, X, t, seed, mse):
    """Time scikit-learn's L-BFGS to the same loss: to the iteration that first has it."""
    from sklearn.neural_network import MLPRegressor

    def fit(most):
        model = MLPRegressor(
            hidden_layer_sizes=H, activation="tanh", solver="lbfgs", alpha=0.0, max_iter=most,
            max_fun=10**8, tol=0.0, random_state=seed,
        )  # fmt: skip
        took, _ = clock(lambda: model.fit(X[:, :-1], t))
        return took, np.mean((model.predict(X[:, :-1]) - t) ** 2), model.n_iter_

    most = 64
    while most <= 16384:
        took, reached, done = fit(most)
        if reached <= mse:
            return took
        if done < most:
            return np.inf
        most = most * 5 // 4
    return np.inf


def torch_model(net, w0):
    import torch

    N, H = net.n_inputs - 1, net.n_neurons - 1
    a, W = net.split(w0)
    first, last = torch.nn.Linear(N, H), torch.nn.Linear(H, 1)
    model = torch.nn.Sequential(first, torch.nn.Tanh(), last).double()
    with torch.no_grad():
        first.weight.copy_(torch.from_numpy(W[:H, :N].copy()))
        first.bias.copy_(torch.from_numpy(W[:H, N].copy()))
        last.weight.copy_(torch.from_numpy(a[:H].copy())[None])
        last.bias.copy_(torch.from_numpy(a[H:].copy()))
    return model


def run_torch_lm(net, X, t, w0, mse):
    import torch
    from torch_levenberg_marquardt.training import LevenbergMarquardtModule

    X, t = torch.from_numpy(X[:, :-1].copy()), torch.from_numpy(t)[:, None]
    module = LevenbergMarquardtModule(torch_model(net, w0), solve_method="cholesky")

    def go():
        for _ in range(1000):
            _, loss, stop, _ = module.training_step(X, t)
            if float(loss) <= mse:
                return True
            if stop:
                return False
        return False

    took, arrived = clock(go)
    return took if arrived else np.inf


def run_torch_adam(net, X, t, w0, mse):
    """Time Adam in PyTorch on whole batches."""
    import torch

    model = torch_model(net, w0)
    X, t = torch.from_numpy(X[:, :-1].copy()), torch.from_numpy(t)[:, None]
    rule = torch.optim.Adam(model.parameters(), 1e-2)
    start = time.perf_counter()
    while (took := time.perf_counter() - start) < LONGEST:
        rule.zero_grad()
        loss = torch.nn.functional.mse_loss(model(X), t)
        loss.backward()
        rule.step()
        if float(loss) <= mse:
            break
    return took


def lm(report):
    """Compare the time to a training MSE on noise-free teachers, from ten starts."""
    have_torch = available("torch") is not None
    have_lm = have_torch and available("torch_levenberg_marquardt") is not None
    if have_torch:
        import torch

        torch.set_num_threads(1)
    for (N, H, B), mse, target in (((2, 10, 200), 1e-5, 30), ((5, 16, 500), 2e-5, 12)):
        net, X, t = teacher(N, H, B)
        name = f"LM {N}-{H}-1, {B} samples"
        starts = [(seed, net.init(seed)) for seed in range(10)]
        run_fastbp(net, X, t, starts[0][1], mse, "lm")
        runs = {"fastbp": [], "L-BFGS on our gradient": [], "L-BFGS of sklearn": []}
        runs["least_squares on our Jacobian"] = []
        if have_torch:
            runs["Adam of PyTorch"] = []
        if have_lm:
            runs["torch-levenberg-marquardt"] = []
        lbfgs = fastbp.LBFGS(ftol=0.0, gtol=0.0)
        for seed, w0 in starts:
            runs["fastbp"].append(min(run_fastbp(net, X, t, w0, mse, "lm") for _ in range(3)))
            runs["L-BFGS on our gradient"].append(run_fastbp(net, X, t, w0, mse, lbfgs, most=20000))
            runs["L-BFGS of sklearn"].append(run_sklearn(H, X, t, seed, mse))
            runs["least_squares on our Jacobian"].append(run_least_squares(net, X, t, w0, mse))
            if have_torch:
                runs["Adam of PyTorch"].append(run_torch_adam(net, X, t, w0, mse))
            if have_lm:
                runs["torch-levenberg-marquardt"].append(run_torch_lm(net, X, t, w0, mse))
        medians = {k: statistics.median(times) for k, times in runs.items()}
        for k, times in runs.items():
            arrived = sum(s < LONGEST for s in times)
            print(f"  {name}: {k}: median {medians[k] * 1e3:.2f} ms, {arrived} of 10 arrive")
        arrived = sum(s < LONGEST for s in runs["fastbp"])
        report.line(f"{name}: all starts arrive", "10", str(arrived), arrived == 10)
        wanted = {"L-BFGS on our gradient": target, "L-BFGS of sklearn": target}
        wanted["Adam of PyTorch"] = 100
        for k in medians:
            if k != "fastbp":
                report.ratio(
                    f"{name} against {k}", wanted.get(k, 1), medians[k] / medians["fastbp"]
                )


def outputs(report):
    """Compare the time to 1e-6 of the variance of three outputs, noise-free, from ten starts."""
    net = fastbp.Network(5, 16, n_outputs=3, output="identity")
    X = np.random.default_rng(1000).normal(size=(1000, 5))
    t = net(net.init(1000), X)
    mse = 1e-6 * t.var(axis=0).sum()
    rules = {"lm": "lm", "L-BFGS": fastbp.LBFGS(ftol=0.0, gtol=0.0)}
    medians = {}
    run_fastbp(net, X, t, net.init(0), mse, "lm")
    for name, rule in rules.items():
        times = [run_fastbp(net, X, t, net.init(seed), mse, rule, most=50000) for seed in range(10)]
        medians[name] = statistics.median(times)
        arrived = sum(np.isfinite(times))
        print(f"  5-16-3: {name}: median {medians[name] * 1e3:.2f} ms, {arrived} of 10 arrive")
    ratio = medians["L-BFGS"] / medians["lm"]
    report.ratio("LM 5-16-3, 1000 samples against L-BFGS", 10, ratio)


def small(report):
    """Time a fit of 200 × (3, 10) with 20 iterations, the start given and left out."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=(200, 2)), np.ones(200)])
    t = np.sin(2.0 * X[:, 0]) + 0.5 * X[:, 1] + 0.1 * rng.normal(size=200)
    net = fastbp.Network(3, 10, output="identity")
    given = {"epochs": 20, "optimizer": fastbp.LevenbergMarquardt(gtol=0.0, xtol=0.0, ftol=0.0)}
    w0 = net.init(0, X)
    for what, start in (("w0 given", w0), ("w0 left out", None)):
        (best,) = seconds([lambda w0=start: fastbp.fit(net, X, t, w0=w0, **given)], 2000)
        report.line(f"ms of a fit, {what}", "<= 0.5", f"{1e3 * best:.3f}", best <= 0.5e-3)


# ---- restarts ------------------------------------------------------------------------------------


def diabetes():
    X, t, _ = fastbp.datasets.load_diabetes()
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    return X, (t - t.mean()) / t.std()


def restarts(report):
    """Compare 64 restarts of the default fit, two threads, and 64 fits of scikit-learn."""
    from sklearn.neural_network import MLPRegressor

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(os.cpu_count()))  # two threads need two cores
    X, t = diabetes()
    ones = np.column_stack([X, np.ones(len(X))])
    net = fastbp.Network(11, activations=["tanh"] * 16 + ["one"], output="identity")
    fastbp.fit_many(net, ones, t, seeds=2, threads=2)
    ours, fits = clock(lambda: fastbp.fit_many(net, ones, t, seeds=64, threads=2, epochs=25))

    def sklearn_fits():
        found = []
        for seed in range(64):
            model = MLPRegressor(
                hidden_layer_sizes=16, activation="tanh", solver="lbfgs", random_state=seed
            )
            found.append(0.5 * np.mean((model.fit(X, t).predict(X) - t) ** 2))
        return found

    theirs, losses = clock(sklearn_fits)
    print(f"  64 restarts: fastbp {ours:.3f} s, sklearn {theirs:.3f} s")
    report.ratio("64 restarts, two threads, against sklearn", 10, theirs / ours)
    mean, other = fits.losses.mean(), np.mean(losses)
    report.line("64 restarts: mean training loss", f"<= {other:.4f}", f"{mean:.4f}", mean <= other)


# ---- groups --------------------------------------------------------------------------------------


def groups(report, n=10_000):
    """Compare n groups of 200 observations, each fitted by 20 steps of Levenberg–Marquardt.

    On one core in processors' time, which other programs do not lengthen; the others on a tenth
    of the groups.
    """
    rng = np.random.default_rng(0)
    net = fastbp.Network(5, 8, output="identity")
    X = rng.normal(size=(n, 200, 5))
    X[:, :, -1] = 1.0
    teachers = rng.normal(size=(n, net.n_params))
    t = np.array([net(w, x) for w, x in zip(teachers, X, strict=True)])
    t += 0.3 * rng.normal(size=t.shape)
    given = {"epochs": 20, "optimizer": fastbp.LevenbergMarquardt(gtol=0.0, xtol=0.0, ftol=0.0)}
    warnings.simplefilter("ignore", fastbp.FitWarning)
    some = n // 10

    def alone():
        return [fastbp.fit(net, x, of, **given) for x, of in zip(X, t, strict=True)]

    def ours(threads=1):
        return fastbp.fit_groups(net, X, t, threads=threads, **given)

    calls = {"the loop of fit": alone, "fit_groups": ours}
    if available("jax"):
        step, start = jax_steps(net), np.array([net.init(0)] * some)
        calls["JAX, vmap"] = lambda: step(start, X[:some], t[:some])
    if available("sklearn"):
        from joblib import Parallel, delayed
        from sklearn.neural_network import MLPRegressor

        def one(x, of):
            model = MLPRegressor(
                hidden_layer_sizes=8, activation="tanh", solver="lbfgs", max_iter=20
            )
            return model.fit(x[:, :-1], of).loss_

        def sklearn():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that 20 steps are not enough
                each = zip(X[:some], t[:some], strict=True)
                return Parallel(1)(delayed(one)(x, of) for x, of in each)

        calls["joblib, sklearn's MLP"] = sklearn
    times = {name: [] for name in calls}
    found = {name: call() for name, call in calls.items()}
    for _ in range(3):
        for name, call in calls.items():
            before = time.process_time()
            done = len(call())
            times[name].append((time.process_time() - before) / done)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, seconds in medians.items():
        print(f"  {name:<24} {1e3 * seconds:8.3f} ms a group")
    if "JAX, vmap" in found:
        theirs = np.median(found["JAX, vmap"])
        own = np.median(found["fit_groups"].losses[:some])
        print(f"  median loss {own:.5f}, of JAX {theirs:.5f}")
    own = medians["fit_groups"]
    report.line("ms a group", "<= 0.5", f"{1e3 * own:.3f}", own <= 0.5e-3)
    part = statistics.median(
        b / a for a, b in zip(times["the loop of fit"], times["fit_groups"], strict=True)
    )
    report.line("time by the loop of fit", "<= 0.85", f"{part:.2f}", part <= 0.85)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(os.cpu_count()))
    gains = [clock(ours)[0] / clock(lambda: ours(2))[0] for _ in range(3)]
    report.ratio("two threads", 1.8, statistics.median(gains))


def jax_steps(net, n=20):
    """Return n steps of Levenberg–Marquardt for all groups at once: losses of (w, X, t)."""
    import jax
    from jax import numpy as jnp

    jax.config.update("jax_enable_x64", True)
    H, N = net.n_neurons, net.n_inputs

    def residuals(w, X, t):
        return jnp.tanh(X @ w[H:].reshape(H, N).T) @ w[:H] - t

    def fitted(w, X, t):
        def step(state, _):
            w, mu, loss = state
            r, J = residuals(w, X, t), jax.jacfwd(residuals)(w, X, t)
            A, g = J.T @ J, J.T @ r
            p = jax.scipy.linalg.solve(A + mu * jnp.diag(jnp.diag(A)), -g, assume_a="pos")
            value = 0.5 * jnp.mean(residuals(w + p, X, t) ** 2)
            better = value < loss
            state = jnp.where(better, w + p, w), jnp.where(better, mu / 10, mu * 10)
            return (*state, jnp.where(better, value, loss)), None

        start = (w, 0.3, 0.5 * jnp.mean(residuals(w, X, t) ** 2))
        return jax.lax.scan(step, start, None, length=n)[0][2]

    compiled = jax.jit(jax.vmap(fitted))
    return lambda *given: np.asarray(compiled(*given))


# ---- held-out quality ----------------------------------------------------------------------------


def quality(report):
    """Compare held-out quality at defaults: scikit-learn's own networks of the same size."""
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.datasets import load_digits, make_friedman1, make_moons
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from fastbp.sklearn import NetworkClassifier, NetworkRegressor

    problems = {
        "diabetes": (diabetes(), False, 16),
        "digits": (load_digits(return_X_y=True), True, 32),
        "friedman1": (make_friedman1(600, noise=1.0, random_state=0), False, 16),
        "moons": (make_moons(600, noise=0.25, random_state=0), True, 16),
    }
    for name, ((X, y), classify, H) in problems.items():
        scores = {"fastbp": [], "sklearn": []}
        for seed in range(10):
            parts = train_test_split(X, y, random_state=seed)
            X_fit, X_held, y_fit, y_held = parts
            if classify:
                ours = NetworkClassifier(n_neurons=H, random_state=seed)
                theirs = make_pipeline(
                    StandardScaler(), MLPClassifier(hidden_layer_sizes=H, random_state=seed)
                )
            else:
                ours = NetworkRegressor(n_neurons=H, random_state=seed)
                theirs = TransformedTargetRegressor(
                    make_pipeline(
                        StandardScaler(), MLPRegressor(hidden_layer_sizes=H, random_state=seed)
                    ),
                    transformer=StandardScaler(),
                )
            scores["fastbp"].append(ours.fit(X_fit, y_fit).score(X_held, y_held))
            scores["sklearn"].append(theirs.fit(X_fit, y_fit).score(X_held, y_held))
        ours, theirs = (float(np.mean(scores[k])) for k in ("fastbp", "sklearn"))
        error = float(np.std(np.subtract(*scores.values())) / np.sqrt(10))
        what = f"held-out score on {name} (10 seeds, ± {error:.3f})"
        # No worse: not by more than the standard error of the difference.
        report.line(what, f">= {theirs:.3f}", f"{ours:.3f}", ours >= theirs - error)


def digits(report):
    """Compare 32 neurons with a softmax by the default optimizer, and scikit-learn's by L-BFGS.

    The same network on both sides: no linear part, the same activation, the same penalty.
    """
    from sklearn.datasets import load_digits
    from sklearn.metrics import log_loss
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from fastbp.sklearn import NetworkClassifier

    alpha = 1.0  # the best of 1e-3 ... 1, for all of them

    def ours(activation, seed, n):
        given = {"activation": activation, "l2": alpha / n, "linear": False}
        return NetworkClassifier(32, random_state=seed, **given)

    def theirs(activation, seed, n):
        given = {"activation": activation, "alpha": alpha, "random_state": seed}
        return make_pipeline(StandardScaler(), MLPClassifier(32, solver="lbfgs", **given))

    kinds, activations = {"fastbp": ours, "sklearn": theirs}, ("tanh", "relu")
    models = [(kind, activation) for activation in activations for kind in kinds]
    times, losses = ({model: [] for model in models} for _ in range(2))
    for seed in range(20):
        parts = train_test_split(*load_digits(return_X_y=True), random_state=seed)
        X, X_held, y, y_held = parts
        for kind, activation in models:
            model = kinds[kind](activation, seed, len(y))
            runs = [clock(functools.partial(model.fit, X, y)) for _ in range(3)]
            times[kind, activation].append(min(took for took, _ in runs))
            losses[kind, activation].append(log_loss(y_held, model.predict_proba(X_held)))
    for activation in activations:
        own, other = (np.array(losses[kind, activation]) for kind in kinds)
        of = np.divide(times["sklearn", activation], times["fastbp", activation])
        report.ratio(f"digits, {activation}, time of scikit-learn's", 3, np.median(of))
        error = (own - other).std() / np.sqrt(len(own))
        what = f"digits, {activation}, held-out log-loss (± {error:.4f})"
        limit = f"<= {other.mean():.4f}"
        report.line(what, limit, f"{own.mean():.4f}", own.mean() <= other.mean() + error)


SECTIONS = {f.__name__: f for f in (epochs, lm, outputs, small, restarts, groups, quality, digits)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sections", nargs="*", metavar="section", help=", ".join(SECTIONS))
    chosen = parser.parse_args().sections or list(SECTIONS)
    warnings.simplefilter("ignore")  # scikit-learn's of iterations that end
    report = Report()
    for name in chosen:
        SECTIONS[name](report)
    return 1 if report.missed else 0


if __name__ == "__main__":
    sys.exit(main())

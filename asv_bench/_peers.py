"""One problem in every library: the calls that ``peers.py`` checks against each other and times.

Each function below takes a `Problem` and returns its calls by name, all without arguments. All
write into arrays that are there already, where the library can. The network is all-tanh with
identity output and the loss squared: f(x) = a · tanh(W x), L = Σ_b (f(x_b) − t_b)² / (2 B).

Of several outputs over the same neurons, `loss_and_grad` alone: f(x) = A tanh(W x) with the loss
squared, or the softmax of it with cross entropy to classes.
"""

from typing import NamedTuple

import numpy as np
from benchmarks._measure import problem

import fastbp

FIRST = ("value", "vjp", "input_grad", "per_sample_grad")
SECOND = ("jvp", "hvp", "gauss_newton_product")


class Problem(NamedTuple):
    """A network with parameters and data; `ybar` is a cotangent and `p` a direction."""

    net: fastbp.Network
    w: np.ndarray
    X: np.ndarray
    t: np.ndarray
    ybar: np.ndarray
    p: np.ndarray


def make(shape, dtype):
    """Return the problem of a shape (B, N, H), always the same one."""
    net, w, X, t = problem(shape, dtype)
    rng = np.random.default_rng(7)
    ybar, p = rng.normal(size=len(t)), rng.normal(size=len(w))
    return Problem(net, w, X, t, ybar.astype(dtype), p.astype(dtype))


def calls_of_fastbp(problem):
    net, w, X, t, ybar, p = problem
    g, g_vjp, g_hvp, g_gn = (np.empty_like(w) for _ in range(4))
    y, ydot, xbar = np.empty_like(t), np.empty_like(t), np.empty_like(X)
    calls = {
        "loss_and_grad": lambda: net.loss_and_grad(w, X, t, out=g),
        "value": lambda: net.value(w, X, out=y),
        "vjp": lambda: net.vjp(w, X, ybar, out=g_vjp),
        "input_grad": lambda: net.input_grad(w, X, out=xbar),
        "per_sample_grad": _per_sample_of_fastbp(problem),
        "jvp": lambda: net.jvp(w, X, p, out=ydot),
        "hvp": lambda: net.hvp(w, X, t, p, out=g_hvp),
        "gauss_newton_product": lambda: net.gauss_newton_product(w, X, t, p, out=g_gn),
    }
    return {name: call for name, call in calls.items() if hasattr(net, name)}


def _per_sample_of_fastbp(problem):
    net, w, X = problem.net, problem.w, problem.X
    J = []

    def per_sample_grad():
        if not J:  # B × P numbers, made only where the call is timed
            J.append(np.empty((len(X), len(w)), w.dtype))
        return net.per_sample_grad(w, X, out=J[0])

    return per_sample_grad


def calls_of_numpy(problem):
    """Matrix products and in-place passes: as few of both as the formulas need."""
    net, w, X, t, ybar, _ = problem
    B, N, H = len(X), net.n_inputs, net.n_neurons
    a, W = net.split(w)
    g = np.empty_like(w)
    g_a, g_W = net.split(g)
    U, Xs = np.empty((B, H), w.dtype), np.empty_like(X)
    J = []

    def hidden():
        np.matmul(X, W.T, out=U)
        return np.tanh(U, out=U)

    def slopes():
        np.multiply(U, U, out=U)
        return np.subtract(1, U, out=U)

    def backward(sbar):
        np.matmul(sbar, U, out=g_a)
        np.multiply(X, sbar[:, np.newaxis], out=Xs)
        np.matmul(slopes().T, Xs, out=g_W)
        np.multiply(g_W, a[:, np.newaxis], out=g_W)
        return g

    def value():
        return hidden() @ a

    def loss_and_grad():
        e = value() - t
        loss = (e @ e) / (2 * B)
        e /= B
        return loss, backward(e)

    def vjp():
        hidden()
        return backward(ybar)

    def input_grad():
        hidden()
        np.multiply(slopes(), a, out=U)
        return np.matmul(U, W, out=Xs)

    def per_sample_grad():
        if not J:
            J.append(np.empty((B, len(w)), w.dtype))
        J[0][:, :H] = hidden()
        np.multiply(slopes(), a, out=U)
        rows = J[0][:, H:].reshape(B, H, N)
        np.multiply(U[:, :, np.newaxis], X[:, np.newaxis, :], out=rows)
        return J[0]

    return {
        "loss_and_grad": loss_and_grad,
        "value": value,
        "vjp": vjp,
        "input_grad": input_grad,
        "per_sample_grad": per_sample_grad,
    }


def calls_of_torch(problem):
    """Eager mode; `torch.func` where one call of `autograd.grad` does not do it."""
    import torch

    torch.set_num_threads(1)
    N, H = problem.net.n_inputs, problem.net.n_neurons
    w, X, t, ybar, p = (torch.from_numpy(array.copy()) for array in problem[1:])
    wg, Xg = w.clone().requires_grad_(), X.clone().requires_grad_()

    def f(w, X):
        return torch.tanh(X @ w[H:].view(H, N).T) @ w[:H]

    def mean_loss(w):
        return 0.5 * ((f(w, X) - t) ** 2).mean()

    def value():
        with torch.no_grad():
            return f(w, X)

    def loss_and_grad():
        loss = mean_loss(wg)
        return loss, torch.autograd.grad(loss, wg)[0]

    def jvp():
        return torch.func.jvp(lambda w: f(w, X), (w,), (p,))[1]

    def gauss_newton_product():
        return torch.autograd.grad(f(wg, X), wg, jvp() / len(X))[0]

    per_sample = torch.func.vmap(torch.func.grad(f), in_dims=(None, 0))
    grad = torch.func.grad(mean_loss)
    return {
        "loss_and_grad": loss_and_grad,
        "value": value,
        "vjp": lambda: torch.autograd.grad(f(wg, X), wg, ybar)[0],
        "input_grad": lambda: torch.autograd.grad(f(w, Xg).sum(), Xg)[0],
        "per_sample_grad": lambda: per_sample(w, X),
        "jvp": jvp,
        "hvp": lambda: torch.func.jvp(grad, (w,), (p,))[1],
        "gauss_newton_product": gauss_newton_product,
    }


def calls_of_jax(problem):
    """Everything inside one `jit`, with the arrays already JAX's own."""
    import jax

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_platforms", "cpu")
    jnp = jax.numpy
    N, H = problem.net.n_inputs, problem.net.n_neurons
    w, X, t, ybar, p = map(jnp.asarray, problem[1:])

    def f(w, x):
        return jnp.tanh(x @ w[H:].reshape(H, N).T) @ w[:H]

    def mean_loss(w, X, t):
        return 0.5 * jnp.mean((f(w, X) - t) ** 2)

    def vjp(w, X, ybar):
        return jax.vjp(lambda w: f(w, X), w)[1](ybar)[0]

    def hvp(w, X, t, p):
        return jax.jvp(lambda w: jax.grad(mean_loss)(w, X, t), (w,), (p,))[1]

    def jvp(w, X, p):
        return jax.jvp(lambda w: f(w, X), (w,), (p,))[1]

    def gauss_newton_product(w, X, p):
        return vjp(w, X, jvp(w, X, p) / len(X))

    def ready(function, *args):
        compiled = jax.jit(function)
        return lambda: jax.block_until_ready(compiled(*args))

    return {
        "loss_and_grad": ready(jax.value_and_grad(mean_loss), w, X, t),
        "value": ready(f, w, X),
        "vjp": ready(vjp, w, X, ybar),
        "input_grad": ready(jax.vmap(jax.grad(f, argnums=1), in_axes=(None, 0)), w, X),
        "per_sample_grad": ready(jax.vmap(jax.grad(f), in_axes=(None, 0)), w, X),
        "jvp": ready(jvp, w, X, p),
        "hvp": ready(hvp, w, X, t, p),
        "gauss_newton_product": ready(gauss_newton_product, w, X, p),
    }


PEERS = {"NumPy": calls_of_numpy, "PyTorch": calls_of_torch, "JAX": calls_of_jax}


class Several(NamedTuple):
    """A network of several outputs with parameters and data."""

    net: fastbp.Network
    loss: str
    w: np.ndarray
    X: np.ndarray
    t: np.ndarray
    """Targets, or of the softmax rows that are 1 at a class and 0 elsewhere."""


def make_several(shape, dtype, loss):
    """Return the problem of a shape (B, N, H, K), always the same one."""
    B, N, H, K = shape
    output = "softmax" if loss == "cross_entropy" else "identity"
    net = fastbp.Network(N, H, n_outputs=K, output=output, dtype=dtype)
    rng = np.random.default_rng(2025)
    w = net.init(0)
    X, t = rng.normal(size=(B, N)), rng.normal(size=(B, K))
    if loss == "cross_entropy":
        t = np.eye(K)[rng.integers(K, size=B)]
    return Several(net, loss, w, X.astype(dtype), t.astype(dtype))


def several_of_fastbp(problem):
    net, loss, w, X, t = problem
    g = np.empty_like(w)
    return lambda: net.loss_and_grad(w, X, t, loss=loss, out=g)


def several_of_numpy(problem):
    """One hidden layer for all outputs: four products, and passes in place."""
    net, loss, w, X, t = problem
    B = len(X)
    A, W = net.split(w)
    g = np.empty_like(w)
    g_A, g_W = net.split(g)
    U = np.empty((B, net.n_neurons), w.dtype)
    D, S = np.empty_like(U), np.empty_like(t)
    rows, classes = np.arange(B), t.argmax(axis=1)

    def squared():
        np.subtract(S, t, out=S)
        flat = S.ravel()
        mean = (flat @ flat) / (2 * B)
        np.divide(S, B, out=S)
        return mean

    def cross_entropy():
        np.subtract(S, S.max(axis=1, keepdims=True), out=S)
        at_class = S[rows, classes]
        np.exp(S, out=S)
        total = S.sum(axis=1, keepdims=True)
        mean = (np.log(total[:, 0]) - at_class).sum() / B
        np.divide(S, total, out=S)
        S[rows, classes] -= 1
        np.divide(S, B, out=S)
        return mean

    head = squared if loss == "squared" else cross_entropy

    def loss_and_grad():
        np.matmul(X, W.T, out=U)
        np.tanh(U, out=U)
        np.matmul(U, A.T, out=S)
        mean = head()
        np.matmul(S.T, U, out=g_A)
        np.matmul(S, A, out=D)
        np.multiply(U, U, out=U)
        np.subtract(1, U, out=U)
        np.multiply(D, U, out=D)
        np.matmul(D.T, X, out=g_W)
        return mean, g

    return loss_and_grad


def several_of_torch(problem):
    """Eager mode, the loss of `torch.nn.functional`."""
    import torch

    torch.set_num_threads(1)
    N, H, K = problem.net.n_inputs, problem.net.n_neurons, problem.net.n_outputs
    w, X, t = (torch.from_numpy(array.copy()) for array in problem[2:])
    classes, w = t.argmax(dim=1), w.requires_grad_()

    def loss_and_grad():
        s = torch.tanh(X @ w[K * H :].view(H, N).T) @ w[: K * H].view(K, H).T
        if problem.loss == "squared":
            mean = 0.5 * ((s - t) ** 2).sum() / len(X)
        else:
            mean = torch.nn.functional.cross_entropy(s, classes)
        return mean, torch.autograd.grad(mean, w)[0]

    return loss_and_grad


def several_of_jax(problem):
    """Everything inside one `jit`."""
    import jax

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_platforms", "cpu")
    jnp = jax.numpy
    N, H, K = problem.net.n_inputs, problem.net.n_neurons, problem.net.n_outputs
    w, X, t = map(jnp.asarray, problem[2:])

    def mean_loss(w, X, t):
        s = jnp.tanh(X @ w[K * H :].reshape(H, N).T) @ w[: K * H].reshape(K, H).T
        if problem.loss == "squared":
            return 0.5 * jnp.sum((s - t) ** 2) / len(X)
        return -jnp.sum(t * jax.nn.log_softmax(s)) / len(X)

    compiled = jax.jit(jax.value_and_grad(mean_loss))
    return lambda: jax.block_until_ready(compiled(w, X, t))


SEVERAL = {"NumPy": several_of_numpy, "PyTorch": several_of_torch, "JAX": several_of_jax}

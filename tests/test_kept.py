"""What 0.1.0 has stored loads for ever: a model, and pickles of a network, a fit, an estimator."""

import pickle
from pathlib import Path

import numpy as np
import pytest

import fastbp

KEPT = Path(__file__).parent / "data" / "0.1.0"


def unpickled(name):
    return pickle.loads((KEPT / f"{name}.pickle").read_bytes())


@pytest.fixture(scope="module")
def expected():
    with np.load(KEPT / "expected.npz") as arrays:
        return dict(arrays)


def test_a_network(expected):
    net = unpickled("network")
    assert [v.name for v in net.activations] == ["tanh", "gelu", "own", "one"]
    np.testing.assert_allclose(net(expected["w"], expected["X"]), expected["y"], rtol=1e-12)
    assert net.activations[0] == fastbp.activations.tanh
    assert hash(net.activations[0]) == hash(fastbp.activations.tanh)
    assert net == pickle.loads(pickle.dumps(net))


def test_a_model(expected):
    net, w, _ = fastbp.load(KEPT / "model.npz")
    np.testing.assert_array_equal(w, expected["wn"])
    np.testing.assert_allclose(net(w, expected["X"]), expected["yn"], rtol=1e-12)


def test_a_fit(expected):
    result = unpickled("fit")
    assert type(result) is fastbp.FitResult
    y, std = result.predict(expected["X"], return_std=True)
    np.testing.assert_allclose(y, expected["y"], rtol=1e-12)
    np.testing.assert_allclose(std, expected["std"], rtol=1e-9)
    assert result.report().rmse > 0.0


def test_an_estimator(expected):
    estimator = unpickled("estimator")
    predicted = estimator.predict(expected["X"][:, :2])
    np.testing.assert_allclose(predicted, expected["pred"], rtol=1e-10)
    X = expected["X"][:, :2]
    std = estimator.predict(X, return_std=True)[1]
    again = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(again.predict(X, return_std=True)[1], std)
    assert estimator.partial_fit(X, predicted).n_iter_ == 1
    assert estimator.set_params(warm_start=True).fit(X, predicted).score(X, predicted) > 0.99


def test_a_loss():
    loss = unpickled("loss")
    assert loss == fastbp.losses.huber(0.5)
    assert loss(3.0, 1.0) == 0.875


def test_indexes_of_compiled_functions_of_users():
    """Numba unpickles them before it sees that they are of another build."""
    from fastbp._in_numba import NetworkType
    from fastbp.kernels._network_type import NetworkType as old

    assert old is NetworkType
    kind = fastbp.Network(1, 1)._numba_type_
    assert pickle.loads(pickle.dumps(kind)) is kind

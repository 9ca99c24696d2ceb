"""Models on disk: to the last bit what was saved, or refused."""

import copy
import io
import json
import math
import os
import pickle
import stat
import zipfile

import numpy as np
import pytest

import fastbp
from fastbp import _files, _models


def bent(z):
    return (math.sqrt(z * z + 1.0) - 1.0) / 2.0 + z


def cube(z):
    return z * z * z


BENT, CUBE = fastbp.activation(bent), fastbp.activation(cube)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.npz"


@pytest.fixture
def saved(path):
    net = fastbp.Network(2, activations=["tanh", BENT, "one"], output="identity")
    fastbp.save(path, net, net.init(seed=0), note="a")
    return path


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "output", ["identity", "logistic", ["identity", "tanh", "identity"], ["exp"] * 2, "softmax"]
)
def test_comes_back_to_the_last_bit(path, dtype, output):
    net = fastbp.Network(
        5,
        activations=["tanh", "gelu", "tanh", "one"],
        output=output,
        dtype=dtype,
        **({"n_outputs": 3} if output == "softmax" else {}),
    )
    w = net.init(seed=1)
    w[:3] = [-0.0, np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max]
    fastbp.save(path, net, w)
    model = fastbp.load(path)
    assert model.net == net and model.metadata == {}
    assert model.w.dtype == net.dtype and model.w.tobytes() == w.tobytes()
    model.w[0] = 1.0  # it is the caller's


def test_metadata_come_back(path):
    net = fastbp.Network(1, 1)
    metadata = {
        "columns": ["größe", "a\nb", ""],
        "nested": {"x": [1, 2.5, None, True, {"y": []}]},
        "big": 2**80,
        "exact": 0.1 + 0.2,
        "net": "a name that is also one of save's own",
        "path": "as well",
    }
    fastbp.save(path, net, [1.0, 2.0], **metadata)
    assert fastbp.load(path).metadata == metadata


def test_tuples_come_back_as_lists_and_numpy_floats_as_floats(path):
    fastbp.save(path, fastbp.Network(1, 1), [1, 2], pair=(1, (2, 3)), loss=np.float64(0.1))
    assert fastbp.load(path).metadata == {"pair": [1, [2, 3]], "loss": 0.1}


@pytest.mark.parametrize(
    ("metadata", "error", "message"),
    [
        ({"mean": np.ones(2)}, TypeError, r"mean is of type ndarray \(.tolist\(\) makes it one\)"),
        ({"a": {"b": [0, np.int64(1)]}}, TypeError, r"a\['b'\]\[1\] is of type int64"),
        ({"a": {1: 2}}, TypeError, "its keys text; got 1 in a"),
        ({"a": {1, 2}}, TypeError, "a is of type set"),
        ({"a": b"x"}, TypeError, "a is of type bytes"),
        ({"loss": math.nan}, ValueError, "has no nan; got it as loss"),
        ({"loss": [math.inf]}, ValueError, r"has no inf; got it as loss\[0\]"),
    ],
)
def test_metadata_that_are_not_json_are_refused(saved, metadata, error, message):
    before = saved.read_bytes()
    with pytest.raises(error, match=message):
        fastbp.save(saved, fastbp.Network(1, 1), [1.0, 2.0], **metadata)
    assert saved.read_bytes() == before


@pytest.mark.parametrize("w", [np.ones(3), np.ones((1, 2)), ["a", "b"], np.ones(2, complex)])
def test_parameters_that_do_not_fit_are_refused(path, w):
    with pytest.raises((TypeError, ValueError), match=r"^w must"):
        fastbp.save(path, fastbp.Network(1, 1), w)
    with pytest.raises(TypeError, match="net must be a Network; got 'tanh'"):
        fastbp.save(path, "tanh", w)
    assert not path.exists()


def test_numpy_opens_it_without_pickle(saved):
    with np.load(saved, allow_pickle=False) as arrays:
        assert set(arrays.files) == {"header", "w"}
        header = json.loads(arrays["header"].item())
        assert arrays["w"].shape == (9,) and arrays["w"].dtype == "<f8"
    assert header["format"] == "fastbp model" and header["version"] == 2
    assert header["fastbp"] == fastbp.__version__
    assert header["functions"] == [
        {"name": "tanh"},
        {"name": "bent", "digest": BENT.digest},
        {"name": "one"},
        {"name": "identity"},
    ]
    assert header["activations"] == [0, 1, 2] and header["outputs"] == [3]
    assert b"sqrt" not in saved.read_bytes()  # no code of the user's function


def test_the_same_model_gives_the_same_bytes(saved, tmp_path):
    net, w, metadata = fastbp.load(saved, activations=BENT)
    fastbp.save(tmp_path / "again", net, w, **metadata)
    assert (tmp_path / "again").read_bytes() == saved.read_bytes()


# ---- intervals ----------------------------------------------------------------------------


def fitted(dtype="float64", B=40, **options):
    rng = np.random.default_rng(1)
    X = np.column_stack([rng.normal(size=B), np.zeros(B), np.ones(B)]).astype(dtype)
    t = (np.sin(X[:, 0]) + 0.1 * rng.normal(size=B)).astype(dtype)
    net = fastbp.Network(3, 3, output="identity", dtype=dtype)
    return X, fastbp.fit(net, X, t, seed=0, epochs=60, progress=False, **options)


def stored(path, result, **metadata):
    fastbp.save(path, result.net, result.w, result=result, **metadata)
    return fastbp.load(path)


@pytest.mark.filterwarnings("ignore::fastbp.FitWarning")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "options",
    [{}, {"l2": 1e-3}, {"B": 10}, {"loss": "huber"}, {"absolute_sigma": True}],
    ids=str,
)
def test_intervals_come_back_to_the_last_bit(path, dtype, options):
    X, result = fitted(dtype, **options)
    model = stored(path, result, note="a")
    net, w, metadata = model
    assert net == result.net and (w == result.w).all() and metadata == {"note": "a"}
    X = np.vstack([X, [[0.5, 1.0, 1.0]]]).astype(dtype)  # x_2 was never seen
    for noise in (False, True):
        if noise and "loss" in options:
            with pytest.raises(ValueError, match="noise=True needs the squared loss"):
                model.predict(X, return_std=True, noise=True)
            continue
        for rows in (X, X[3]):
            want = result.predict(rows, return_std=True, noise=noise)
            for got in (model, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
                again = got.predict(rows, return_std=True, noise=noise)
                assert all(type(a) is type(b) for a, b in zip(again, want, strict=True))
                np.testing.assert_array_equal(again, want)
            np.testing.assert_array_equal(model.predict(rows), want[0])
    assert np.isinf(want[1]) == ("B" in options)


@pytest.mark.parametrize("kind", ["result", "model", "ensemble"])
def test_noise_without_a_deviation_is_refused(path, kind):
    X, result = fitted("float64")
    many = fastbp.fit_many(result.net, X, X[:, 0], seeds=2, epochs=2, l2=0.1, threads=1)
    of = {"result": result, "model": stored(path, result), "ensemble": many}[kind]
    with pytest.raises(ValueError, match="noise=True is a part of the standard deviation"):
        of.predict(X, noise=True)
    for switches in ({"return_std": "no"}, {"return_std": True, "noise": "no"}):
        with pytest.raises(TypeError, match="must be True or False; got 'no'"):
            of.predict(X, **switches)


@pytest.mark.filterwarnings("ignore::fastbp.FitWarning")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("output", ["identity", ["identity", "tanh"], "softmax"])
@pytest.mark.parametrize("B", [40, 7])
def test_intervals_of_several_outputs_come_back_to_the_last_bit(path, dtype, output, B):
    rng = np.random.default_rng(1)
    X = np.column_stack([rng.normal(size=B), np.zeros(B), np.ones(B)]).astype(dtype)
    net = fastbp.Network(3, 3, output=output, n_outputs=2, dtype=dtype)
    t, loss = np.tanh(rng.normal(size=(B, 2))).astype(dtype), "squared"
    if output == "softmax":
        t, loss = rng.integers(0, 2, B), "cross_entropy"
    result = fastbp.fit(net, X, t, loss=loss, seed=0, epochs=20)
    model = stored(path, result)
    assert model.net == net
    for noise in (False,) if output == "softmax" else (False, True):
        for rows in (X, X[3]):
            want = result.predict(rows, return_std=True, noise=noise)
            for got in (model, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
                again = got.predict(rows, return_std=True, noise=noise)
                assert again[1].dtype == dtype and again[1].shape == again[0].shape
                np.testing.assert_array_equal(again, want)
    assert np.isinf(want[1]).all() == (B == 7)
    fastbp.save(path.with_name("again"), net, model.w, result=model)
    assert path.with_name("again").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        (0.5, ""),
        ("infinite", "not of finite numbers"),
        ([0.5], "the noise of 1 outputs, not of 2"),
        ([0.5, 0.5, 0.5], "the noise of 3 outputs, not of 2"),
        ([0.5, None], "not of finite numbers"),
        ([0.5, [0.5]], "not of finite numbers"),
        ([0.5, -0.5], "not of finite numbers"),
        ({"a": 0.5, "b": 0.5}, "not of finite numbers"),
        ([], "the noise of 0 outputs, not of 2"),
    ],
    ids=str,
)
def test_forged_noise_of_several_outputs_is_refused(path, noise, message):
    rng = np.random.default_rng(1)
    X = np.column_stack([rng.normal(size=40), np.ones(40)])
    net = fastbp.Network(2, 2, output="identity", n_outputs=2)
    result = fastbp.fit(net, X, X + 0.1 * rng.normal(size=(40, 2)), seed=0, epochs=20)
    fastbp.save(path, net, result.w, result=result)
    with np.load(path) as file:
        arrays = dict(file)
    header = json.loads(arrays.pop("header").item())
    header["intervals"]["noise"] = noise
    path.write_bytes(_models._sealed({"header": np.array(json.dumps(header)), **arrays}))
    with pytest.raises(ValueError, match=rf"this is no model that can be read.*{message}"):
        fastbp.load(path)


def test_warnings_come_back_too(path):
    with pytest.warns(fastbp.FitWarning, match="12 free parameters and 10 observations"):
        X, result = fitted(B=10)
    model = stored(path, result)
    with pytest.warns(fastbp.FitWarning, match="no more observations than free parameters"):
        model.predict(X, return_std=True)
    X, result = fitted()
    with pytest.warns(fastbp.FitWarning, match="1 of 1 predictions depend on what neither"):
        assert stored(path, result).predict([0.0, 1.0, 1.0], return_std=True)[1] == np.inf
    t = np.random.default_rng(0).normal(size=8)  # noise alone, which is fitted
    result = fastbp.fit(result.net, X[:8], t, seed=0, epochs=500, l2=1e-9)
    with pytest.warns(fastbp.FitWarning, match="of an observation to estimate the noise by"):
        stored(path, result).predict(X, return_std=True)


def test_a_model_with_intervals_saved_again_gives_the_same_bytes(path, tmp_path):
    _, result = fitted()
    model = stored(path, result)
    fastbp.save(tmp_path / "again", model.net, model.w, result=model)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()
    P, free = result.net.n_params, result.net.n_params
    assert path.stat().st_size < 2 * 8 * P * (free + 1) + 4000  # x_2 is not determined
    assert stored(path, fitted()[1]).w.size == P


def test_a_model_without_intervals_predicts_and_says_what_it_lacks(saved):
    model = fastbp.load(saved, activations=BENT)
    x = np.ones((2, 2))
    np.testing.assert_array_equal(model.predict(x), model.net(model.w, x))
    with pytest.raises(ValueError, match=r"has no intervals; fastbp\.save\(.*result="):
        model.predict(x, return_std=True)
    with pytest.raises(ValueError, match="has no intervals"):
        fastbp.save(saved, model.net, model.w, result=model)
    # Other parameters have other intervals.
    _, result = fitted()
    other = stored(saved, result)._replace(w=result.w + 1.0)
    with pytest.raises(ValueError, match="has no intervals"):
        other.predict([1.0, 1.0, 1.0], return_std=True)


def test_results_of_something_else_are_refused(path):
    X, result = fitted()
    net = result.net
    cases = [
        (net, result.w + 1.0, result, ValueError, "got one of other parameters w"),
        (fastbp.Network(5, 2), np.ones(12), result, ValueError, r"got one of Network\(3, 3"),
        (net, result.w, "covariance", TypeError, "what fastbp.fit or load returned; got 'cov"),
    ]
    t = X[:, 0].copy()
    flat = fastbp.fit(net, X, t, loss="pinball", optimizer="lbfgs", epochs=3)
    cases.append((net, flat.w, flat, ValueError, "loss with curvature"))
    for net, w, result, error, message in cases:
        with pytest.raises(error, match=message):
            fastbp.save(path, net, w, result=result)
    assert not path.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"factor": None}, "not whole"),
        ({"scale": None, "factor": None, "undetermined": None}, "not whole"),
        ({"intervals": None}, ""),
        ({"intervals": 3}, ""),
        ({"intervals": {"nothing": False, "noise": None}}, "'left'"),
        ({"factor": np.ones((11, 3))}, "not those of its parameters"),
        ({"factor": np.ones(12)}, "not those of its parameters"),
        ({"factor": np.ones((12, 13))}, "not those of its parameters"),
        ({"undetermined": np.ones((12, 13))}, "not those of its parameters"),
        ({"scale": np.ones((12, 1))}, "not those of its parameters"),
        ({"factor": np.full((12, 2), np.nan)}, "not of finite numbers"),
        ({"undetermined": np.full((12, 2), np.inf)}, "not of finite numbers"),
        ({"scale": np.ones(12, np.float32)}, "not of finite numbers"),
        ({"scale": np.array(["1"] * 12)}, ""),
        ({"noise": -1.0}, "not of finite numbers"),
        ({"noise": "big"}, "not of finite numbers"),
        ({"noise": True}, "not of finite numbers"),
        ({"noise": math.nan}, "not of finite numbers"),
        ({"left": None}, "not of finite numbers"),
        ({"nothing": 0}, "do not say whether"),
        ({"on_bounds": -1}, "do not say how many"),
        ({"on_bounds": 1.0}, "do not say how many"),
    ],
)
def test_forged_intervals_are_refused(path, change, message):
    fastbp.save(path, (result := fitted()[1]).net, result.w, result=result)
    with np.load(path) as file:
        arrays = dict(file)
    header = json.loads(arrays.pop("header").item())
    for name, value in change.items():
        if name == "intervals":
            header["intervals"] = value
        elif name in header["intervals"]:
            header["intervals"][name] = value
        elif value is None:
            del arrays[name]
        else:
            arrays[name] = value
    path.write_bytes(_models._sealed({"header": np.array(json.dumps(header)), **arrays}))
    with pytest.raises(ValueError, match=rf"this is no model that can be read.*{message}"):
        fastbp.load(path)


# ---- damage ------------------------------------------------------------------------------


def test_every_truncation_is_refused(saved):
    data = saved.read_bytes()
    for length in range(len(data)):
        saved.write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"model\.npz: this is no model of fastbp\.save"):
            fastbp.load(saved, activations=BENT)


def test_every_changed_byte_is_refused(saved):
    data = saved.read_bytes()
    for k in range(len(data)):
        changed = bytearray(data)
        changed[k] ^= 1 << (k % 8)
        saved.write_bytes(changed)
        with pytest.raises(ValueError, match=r"model\.npz: this is no model of fastbp\.save"):
            fastbp.load(saved, activations=BENT)


def test_other_files_are_refused(saved, tmp_path):
    data = saved.read_bytes()
    saved.write_bytes(data + b"\0")
    with pytest.raises(ValueError, match="altered"):
        fastbp.load(saved)
    np.savez(saved, w=np.ones(2))
    with pytest.raises(ValueError, match="no model of"):
        fastbp.load(saved)
    saved.write_text("name,age\n")
    with pytest.raises(ValueError, match=r"no \.npz file at all"):
        fastbp.load(saved)
    with pytest.raises(FileNotFoundError):
        fastbp.load(tmp_path / "none.npz")


def forge(path, header, w, name="header"):
    """Write a file whose hash is right, whatever its content."""
    path.write_bytes(_models._sealed({name: np.asarray(header), "w": np.asarray(w)}))


class Trap:
    def __reduce__(self):
        return (os.abort, ())


def test_a_pickle_inside_is_not_run(saved):
    for header, w in [(np.array([Trap()], object), np.ones(9)), ("{}", np.array([Trap()], object))]:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, array in (("header", np.asarray(header)), ("w", w)):
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, array, allow_pickle=True)
            archive.comment = b"0" * 64
        body = buffer.getvalue()[:-64]
        saved.write_bytes(body + _models.hashlib.sha256(body).hexdigest().encode())
        with pytest.raises(ValueError, match="no model that can be read: Object arrays cannot be"):
            fastbp.load(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "does not say 'fastbp model'"),
        ({"version": 3, "fastbp": "9.1"}, r"version 3 of the format, written by fastbp 9\.1"),
        ({"activations": []}, "does not describe a network"),
        ({"activations": [0, 1, 4]}, "names activations that are not in its list"),
        ({"activations": [0, 1, True]}, "names activations that are not in its list"),
        ({"outputs": [-1]}, "names activations that are not in its list"),
        ({"outputs": [None]}, "names activations that are not in its list"),
        ({"outputs": [0, 1]}, "its parameters are of shape"),
        ({"outputs": 0}, "no model that can be read"),
        ({"outputs": []}, r"its network has the outputs \[\]"),
        ({"outputs": {}}, r"its network has the outputs \{\}"),
        ({"outputs": ["softmax"]}, r"its network has the outputs \['softmax'\]"),
        ({"outputs": ["softmax", "softmax"]}, "its parameters are of shape"),
        ({"outputs": ["softmax", 0]}, "names activations that are not in its list"),
        ({"outputs": "softmax"}, "names activations that are not in its list"),
        ({"version": 1, "output": "softmax"}, r"its network has the outputs \['softmax'\]"),
        ({"version": 1, "output": [0, 1]}, "names activations that are not in its list"),
        ({"version": 1}, "no model that can be read: 'output'"),
        ({"functions": [{"name": 1}] * 4}, "not one of names and digests"),
        ({"functions": [{"name": "tanh", "digest": 1}] * 4}, "not one of names and digests"),
        ({"functions": ["tanh"] * 4}, "no model that can be read"),
        ({"functions": 7}, "no model that can be read"),
        ({"functions": [{"name": "tahn"}] * 4}, "no activation 'tahn': did you mean 'tanh'"),
        ({"n_inputs": 3}, r"shape \(9,\) and dtype float64; its network has shape \(12,\)"),
        ({"n_inputs": 2.0}, "does not describe a network"),
        ({"dtype": "float32"}, "its network has shape .* and dtype float32"),
        ({"dtype": "object"}, "its network has shape .* and dtype object"),
        ({"metadata": [1]}, "does not describe a network"),
    ],
)
def test_content_that_does_not_hold_together_is_refused(saved, change, message):
    header, w = _models.read(saved)
    forge(saved, json.dumps(header | change), w)
    with pytest.raises(ValueError, match=message):
        fastbp.load(saved, activations=BENT)


def test_format_1_which_names_one_output_is_read(saved):
    expected = fastbp.load(saved, activations=BENT)
    header, w = _models.read(saved)
    first = header | {"version": 1, "output": header["outputs"][0]}
    del first["outputs"]
    forge(saved, json.dumps(first), w)
    model = fastbp.load(saved, activations=BENT)
    assert model.net == expected.net and (model.w == w).all()
    assert _models.read(saved)[0] == header | {"version": 1}


def test_arrays_of_the_wrong_kind_are_refused(saved):
    header, w = _models.read(saved)
    text = json.dumps(header)
    cases = [(text, w[:-1]), (text, w[None]), (text, w.astype(complex)), (text, w.astype(int))]
    cases += [([text], w), (w, w), ("{", w), ("[]", w), ("[" * 100_000, w), ("{}", w)]
    for forged in cases:
        forge(saved, *forged)
        with pytest.raises(ValueError, match="this is no model that can be read"):
            fastbp.load(saved, activations=BENT)
    forge(saved, text, w, name="head")
    with pytest.raises(ValueError, match="this is no model that can be read"):
        fastbp.load(saved)


def test_big_endian_parameters_are_read(saved):
    header, w = _models.read(saved)
    forge(saved, json.dumps(header), w.astype(">f8"))
    again = fastbp.load(saved, activations=BENT).w
    assert again.dtype == np.float64 and (again == w).all()


# ---- the user's own activations ------------------------------------------------------------


def test_own_activations_are_given_again(saved):
    X = np.random.default_rng(0).standard_normal((4, 2))
    again = fastbp.activation(bent, name="renamed")
    for given in (BENT, [BENT], (CUBE, BENT), {BENT}, iter([again])):
        net, w, _ = fastbp.load(saved, activations=given)
        assert net.activations[1] == BENT
        assert (net(w, X) == fastbp.load(saved, activations=BENT).net(w, X)).all()


def test_a_missing_one_is_named(saved):
    digest = BENT.digest[:12]
    with pytest.raises(
        ValueError, match=rf"needs your own activation 'bent' .*{digest}.*were none"
    ):
        fastbp.load(saved)
    with pytest.raises(ValueError, match=r"needs your own activation 'bent'.*were \['cube'\]"):
        fastbp.load(saved, activations=[CUBE])


def test_one_that_differs_is_named(saved):
    other = fastbp.activation(lambda z: bent(z) + 1e-9 * z, name="bent")
    with pytest.raises(
        ValueError,
        match=rf"'bent' that was given differs .*{other.digest[:12]}.*{BENT.digest[:12]}",
    ):
        fastbp.load(saved, activations=[other])


def test_what_is_no_activation_is_refused(saved):
    with pytest.raises(TypeError, match=r"activations must be of fastbp\.activation; got 'bent'"):
        fastbp.load(saved, activations=["bent"])
    with pytest.raises(TypeError, match=r"of fastbp\.activation; got <ufunc 'tanh'>"):
        fastbp.load(saved, activations=np.tanh)


def test_an_own_function_under_a_known_name_is_own(path):
    net = fastbp.Network(1, 1, activations=fastbp.activation(cube, name="tanh"))
    fastbp.save(path, net, [1.0, 2.0])
    with pytest.raises(ValueError, match="needs your own activation 'tanh'"):
        fastbp.load(path)
    assert fastbp.load(path, activations=CUBE).net == net


# ---- writing -----------------------------------------------------------------------------


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(saved, monkeypatch, failing):
    before = saved.read_bytes()

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(_files.os, failing, fail)
    with pytest.raises(OSError, match="no space left"):
        fastbp.save(saved, fastbp.Network(1, 1), [1.0, 2.0])
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


def test_writing_replaces_and_leaves_nothing_else(saved):
    fastbp.save(str(saved), fastbp.Network(1, 1), [1.0, 2.0])
    assert fastbp.load(str(saved)).w.tolist() == [1.0, 2.0]
    assert os.listdir(saved.parent) == [saved.name]


def test_the_name_is_taken_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fastbp.save("model", fastbp.Network(1, 1), [1.0, 2.0])
    assert os.listdir() == ["model"]


def test_folders_are_refused(tmp_path):
    with pytest.raises(IsADirectoryError, match="the name of a file is expected"):
        fastbp.save(tmp_path, fastbp.Network(1, 1), [1.0, 2.0])
    with pytest.raises(FileNotFoundError):
        fastbp.save(tmp_path / "none" / "model.npz", fastbp.Network(1, 1), [1.0, 2.0])


@pytest.mark.skipif(os.name != "posix", reason="permissions and links are POSIX's")
def test_permissions_are_the_usual_and_links_are_followed(tmp_path):
    (tmp_path / "folder").mkdir()
    link, target = tmp_path / "link.npz", tmp_path / "folder" / "target.npz"
    link.symlink_to(target)
    old = os.umask(0o027)
    try:
        fastbp.save(link, fastbp.Network(1, 1), [1.0, 2.0])
    finally:
        os.umask(old)
    assert link.is_symlink() and stat.S_IMODE(target.stat().st_mode) == 0o640
    assert fastbp.load(link).w.tolist() == [1.0, 2.0]

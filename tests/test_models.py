"""Models on disk: to the last bit what was saved, or refused."""

import io
import json
import math
import os
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
@pytest.mark.parametrize("output", ["identity", "logistic"])
def test_comes_back_to_the_last_bit(path, dtype, output):
    net = fastbp.Network(5, activations=["tanh", "gelu", "tanh", "one"], output=output, dtype=dtype)
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
        ({"outputs": [0, 1]}, "its network has 2 outputs; one is expected"),
        ({"outputs": 0}, "no model that can be read"),
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

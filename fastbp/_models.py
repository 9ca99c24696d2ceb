"""Networks with their parameters on disk: :func:`save` and :func:`load`.

A model is one ``.npz`` that any NumPy opens without pickle. It has two arrays, or five:

``header``
    One text, JSON: what the file is, the format's version, the network (activations by name, and
    the user's own by name and digest), the caller's metadata.
``w``
    The parameters, (P,), little-endian float64 or float32.
``factor``, ``undetermined``, ``scale``
    With ``intervals`` in the header: the covariance of the parameters, as `fastbp.fit` left it,
    (P, rank), (P, n) and (P,), little-endian float64. For F free parameters that is at most
    8 P (F + 1) bytes (8 MB for 1000), twice that where the data do not determine them.

The archive's comment, which is the end of the file, is the SHA-256 of all the bytes before it.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import zipfile
import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

import fastbp

from . import _boundary as boundary
from ._files import write_atomically
from ._training import uncertainty
from ._training.result import FitResult, spread_of
from .activations import NAMES, Activation, get_activation, softmax
from .network import Network, describe

FORMAT, VERSION = "fastbp model", 2
_INTERVALS = ("factor", "undetermined", "scale")
_INFINITE = "infinite"  # in the header: JSON has no such number
_HEX = 64  # digits of a SHA-256
# What NumPy, zipfile and json raise for content that is not what save writes.
_UNREADABLE = (
    ValueError, LookupError, TypeError, EOFError, OSError, RuntimeError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip


class _Fields(NamedTuple):
    net: Network
    w: NDArray
    metadata: dict[str, Any]


class Model(_Fields):
    """What :func:`load` returns: the named tuple ``(net, w, metadata)``, which can predict.

    Attributes
    ----------
    net : Network
        The network.
    w : ndarray, shape (P,)
        Its parameters, to the last bit as they were saved.
    metadata : dict
        What was saved beside them.

    Examples
    --------
    >>> import fastbp
    >>> net = fastbp.Network(2, 1)
    >>> fastbp.Model(net, net.init(seed=0), {"note": "fresh"}).metadata
    {'note': 'fresh'}
    """

    _intervals: uncertainty.Spread | None = None
    _mark: int | None = None  # of the parameters that these are of

    @property
    def _spread(self) -> uncertainty.Spread:
        if self._intervals is None:
            raise ValueError(
                "this model has no intervals; fastbp.save(path, net, w, result=…) keeps those of "
                "a fit"
            )
        uncertainty.check_parameters(self.w, self._mark)
        return self._intervals

    def predict(
        self, X: ArrayLike, *, return_std: bool = False, noise: bool = False, threads: int | str = 1
    ) -> Any:
        """Evaluate the function, and on request its standard deviation.

        Parameters
        ----------
        X, return_std, noise, threads
            As `FitResult.predict` has them.

        Returns
        -------
        y : ndarray, shape (B,), or float; where K > 1, (B, K) or (K,)
        std : ndarray, of the shape of y, or float
            Only with `return_std`. Both to the last bit those of the `FitResult` that was saved.

        Raises
        ------
        TypeError, ValueError
            Where X does not fit; `return_std` of a model that was saved without a result; `noise`
            without it, or of one whose loss defines none.

        Warns
        -----
        FitWarning
            As `FitResult.predict`.

        Examples
        --------
        >>> import fastbp
        >>> fastbp.Model(fastbp.Network(1, 1, activations="exp"), [0.0, 1.0], {}).predict([2.0])
        0.0
        """
        return uncertainty.predicted(
            self.net, self.w, X, lambda: self._spread, return_std=return_std, noise=noise,
            threads=threads,
        )  # fmt: skip


def has_intervals(model: Model) -> bool:
    """Return whether a model keeps those of a fit."""
    return model._intervals is not None


def save(
    path: str | os.PathLike[str],
    net: Network,
    w: ArrayLike,
    /,
    *,
    result: FitResult | Model | None = None,
    **metadata: Any,
) -> None:
    """Write a network and its parameters to one ``.npz`` file, whole or not at all.

    Parameters
    ----------
    path : path
        The file, named as it is given: no suffix is added. One that is there is replaced.
    net : Network
        The network. Named activations are stored by name; of the user's own, the name and the
        digest: the file holds no code.
    w : array_like, shape (P,)
        Its parameters.
    result : FitResult or Model, optional
        The fit that they are of: what its intervals need is kept, so that `Model.predict` has them
        too. That is at most 8 P (F + 1) bytes for F free parameters, 8 MB for 1000 (twice that
        where the data do not determine them). Or the model that they were loaded with.
    **metadata
        Anything that JSON can hold, to be returned by :func:`load`: None, booleans, integers,
        finite floats, text, and lists and dicts of them. Tuples come back as lists.

    Raises
    ------
    TypeError, ValueError
        Where w does not fit the network, metadata is not JSON, or `result` is of another network,
        of other parameters or of a loss without curvature; nothing has been written then.
    OSError
        Where the file can't be written; an older file is still there, as it was.

    Examples
    --------
    >>> import fastbp, os, tempfile
    >>> net = fastbp.Network(3, 4, output="identity")
    >>> w = net.init(seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.npz")
    ...     fastbp.save(path, net, w, columns=["age", "bmi", "bp"])
    ...     model = fastbp.load(path)
    >>> model.net == net, bool((model.w == w).all()), model.metadata
    (True, True, {'columns': ['age', 'bmi', 'bp']})
    """
    if not isinstance(net, Network):
        raise TypeError(f"net must be a Network; got {net!r}")
    w = boundary.parameters(w, net.n_params, net.dtype, check_finite=False)
    for name, value in metadata.items():
        _require_json(name, value)
    given = None if result is None else _spread_of(result, net, w)
    n_inputs, activations, output, dtype, n_outputs = describe(net)
    joined = output is softmax
    outputs = () if joined else output if isinstance(output, tuple) else (output,)
    functions = list(dict.fromkeys([*activations, *outputs]))
    header = {
        "format": FORMAT,
        "version": VERSION,
        "fastbp": fastbp.__version__,
        "n_inputs": n_inputs,
        "dtype": dtype,
        "functions": [_described(function) for function in functions],
        "activations": [functions.index(activation) for activation in activations],
        "outputs": [softmax.name] * n_outputs if joined else [*map(functions.index, outputs)],
        "metadata": metadata,
    }
    arrays = {"w": w.astype(w.dtype.newbyteorder("<"))}
    if given is not None:
        header["intervals"], more = _stored(given)
        arrays |= more
    text = np.array(json.dumps(header, allow_nan=False))
    write_atomically(path, _sealed({"header": text, **arrays}))


def load(
    path: str | os.PathLike[str], *, activations: Activation | Iterable[Activation] = ()
) -> Model:
    """Read what :func:`save` wrote; a file that is not exactly that is refused.

    Nothing in the file is executed. The user's own activations have to be given: they are matched
    by their digests, so that a function that has changed is not taken for the one of the model.

    Parameters
    ----------
    path : path
        The file.
    activations : Activation or iterable of Activation
        The user's own activations that the network has; others may be among them.

    Returns
    -------
    Model
        The named tuple ``(net, w, metadata)``.

    Raises
    ------
    ValueError
        Where the file is no model, is cut short or altered, or is of a later format; where an
        activation that the network needs is not given, or differs from the one that was saved.
    OSError
        Where the file can't be read.

    Examples
    --------
    >>> import fastbp, os, tempfile
    >>> cube = fastbp.activation(lambda z: z * z * z, name="cube")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.npz")
    ...     fastbp.save(path, fastbp.Network(1, 1, activations=cube, output="identity"), [2.0, 1.0])
    ...     net, w, metadata = fastbp.load(path, activations=cube)
    >>> net(w, [3.0])
    54.0
    """
    given = tuple(activations) if isinstance(activations, Iterable) else (activations,)
    for activation in given:
        if not isinstance(activation, Activation):
            raise TypeError(f"activations must be of fastbp.activation; got {activation!r}")
    header, w, intervals = _read(path)
    shown = os.fspath(path)
    functions = [_found(shown, saved, given) for saved in header["functions"]]
    outputs = header["outputs"]
    joined = outputs[0] == softmax.name
    net = Network(
        header["n_inputs"],
        activations=[functions[k] for k in header["activations"]],
        output=softmax if joined else [functions[k] for k in outputs],
        n_outputs=len(outputs),
        dtype=header["dtype"],
    )
    model = Model(net, w, header["metadata"])
    model._intervals, model._mark = intervals, uncertainty.mark_of(w)
    return model


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], NDArray]:
    """Return the header and w of a model file, both checked; its activations are not looked up.

    The header is as format 2 has it, whose `outputs` is a list; format 1 has one `output`.
    """
    header, w, _ = _read(path)
    return header, w


def _read(
    path: str | os.PathLike[str],
) -> tuple[dict[str, Any], NDArray, uncertainty.Spread | None]:
    shown = os.fspath(path)
    with open(path, "rb") as file:
        data = file.read()
    if not data.startswith(b"PK\x03\x04"):
        raise ValueError(f"{shown}: this is no model of fastbp.save (no .npz file at all)")
    body, seal = data[:-_HEX], data[-_HEX:]
    if hashlib.sha256(body).hexdigest().encode() != seal:
        raise ValueError(
            f"{shown}: this is no model of fastbp.save, or it was cut short or altered since "
            "(the hash at its end is not that of its content)"
        )
    # The hash guards against accidents, not against malice: the content is not trusted either.
    try:
        header, arrays = _content(data)
        w = arrays.pop("w")
        _check(header, w)
        intervals = _restored(header.get("intervals"), arrays, len(w), len(header["outputs"]))
    except _UNREADABLE as error:
        raise ValueError(f"{shown}: this is no model that can be read: {error}") from None
    return header, w.astype(header["dtype"]), intervals


def _content(data: bytes) -> tuple[dict[str, Any], dict[str, NDArray]]:
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        text = file["header"]
        arrays = {name: file[name] for name in ("w", *_INTERVALS) if name in file}
    if text.dtype.kind != "U" or text.ndim:
        raise ValueError(f"its header is an array of {text.dtype}, one text is expected")
    return json.loads(text.item()), arrays


def _check(header: Any, w: NDArray) -> None:
    """Raise ValueError unless the header is one that :func:`save` writes, and w fits it.

    One of format 1 becomes one of format 2.
    """
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError(f"its header does not say {FORMAT!r}")
    if header["version"] == 1:
        header["outputs"] = [header.pop("output")]
    elif header["version"] != VERSION:
        raise ValueError(
            f"it has version {header['version']!r} of the format, written by fastbp "
            f"{header.get('fastbp')}; fastbp {fastbp.__version__} reads versions 1 to {VERSION}"
        )
    functions, each, outputs = header["functions"], header["activations"], header["outputs"]
    joined = outputs == [softmax.name] * len(outputs)
    indices = each if joined else [*each, *outputs]
    if not all(type(k) is int and 0 <= k < len(functions) for k in indices):
        raise ValueError("its network names activations that are not in its list")
    for saved in functions:
        if type(saved["name"]) is not str or type(saved.get("digest", "")) is not str:
            raise ValueError("its list of activations is not one of names and digests")
    N = header["n_inputs"]
    if type(N) is not int or N < 1 or not each or type(header["metadata"]) is not dict:
        raise ValueError("its header does not describe a network")
    if type(outputs) is not list or len(outputs) < (2 if joined else 1):
        raise ValueError(f"its network has the outputs {outputs!r}")
    shape, dtype = (len(each) * (N + len(outputs)),), header["dtype"]
    if (
        w.shape != shape
        or dtype not in ("float64", "float32")
        or w.dtype.newbyteorder("=") != dtype
    ):
        raise ValueError(
            f"its parameters are of shape {w.shape} and dtype {w.dtype}; its network has "
            f"shape {shape} and dtype {dtype}"
        )


def _spread_of(result: Any, net: Network, w: NDArray) -> uncertainty.Spread:
    """Return what the intervals of a fit need, or say refuse where they are of others."""
    if not isinstance(result, Model | FitResult):
        raise TypeError(f"result must be what fastbp.fit or load returned; got {result!r}")
    if result.net != net or not np.array_equal(result.w, w):
        raise ValueError(
            "result must be the fit of this net with these parameters; got one of "
            + (f"{result.net!r}" if result.net != net else "other parameters w")
        )
    given = result._spread if isinstance(result, Model) else spread_of(result)
    if not np.isfinite(given.factor).all():
        raise ValueError("result must have intervals of finite numbers; its covariance has none")
    return given


def _stored(given: uncertainty.Spread) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """Return what the header says of intervals, and their arrays."""
    P = len(given.factor)
    arrays = {
        "factor": given.factor,
        "undetermined": np.zeros((P, 0)) if given.undetermined is None else given.undetermined,
        "scale": np.zeros(P) if given.scale is None else given.scale,
    }
    noise = given.noise
    said = {
        "nothing": given.nothing,
        "noise": [*map(_said, noise.tolist())] if isinstance(noise, np.ndarray) else _said(noise),
        "left": _said(given.left),
        "on_bounds": given.on_bounds,
    }
    return said, {name: array.astype("<f8") for name, array in arrays.items()}


def _said(value: float | None) -> float | str | None:
    return _INFINITE if value == math.inf else value


def _restored(said: Any, arrays: dict[str, NDArray], P: int, K: int) -> uncertainty.Spread | None:
    """Return the intervals of a file, checked, if it has any."""
    if said is None and not arrays:
        return None
    if set(arrays) != set(_INTERVALS):
        raise ValueError("its intervals are not whole")
    factor, undetermined, scale = (arrays[name] for name in _INTERVALS)
    if any(array.ndim != 2 or len(array) != P for array in (factor, undetermined)):
        raise ValueError("its intervals are not those of its parameters")
    if scale.shape != (P,) or factor.shape[1] > P or undetermined.shape[1] > P:
        raise ValueError("its intervals are not those of its parameters")
    for array in arrays.values():
        if array.dtype.newbyteorder("=") != np.float64 or not np.isfinite(array).all():
            raise ValueError("its intervals are not of finite numbers")
    noises = [] if said["noise"] is None else said["noise"] if K > 1 else [said["noise"]]
    known = [math.inf if value == _INFINITE else value for value in (*noises, said["left"])]
    if not all(type(value) is float and value >= 0.0 for value in known):
        raise ValueError("its intervals are not of finite numbers")
    *noises, left = known
    if said["noise"] is not None and len(noises) != K:
        raise ValueError(f"its intervals have the noise of {len(noises)} outputs, not of {K}")
    if type(said["nothing"]) is not bool:
        raise ValueError("its intervals do not say whether anything is known")
    on_bounds = said.get("on_bounds", 0)  # older files do not say it
    if type(on_bounds) is not int or not 0 <= on_bounds <= P:
        raise ValueError("its intervals do not say how many parameters lie on their bounds")
    factor, undetermined, scale = (
        np.ascontiguousarray(array, np.float64) for array in (factor, undetermined, scale)
    )
    noise = None if said["noise"] is None else np.array(noises) if K > 1 else noises[0]
    return uncertainty.Spread(
        factor, noise, undetermined, scale, said["nothing"], left, on_bounds=on_bounds
    )


def _described(function: Activation) -> dict[str, str]:
    if function.name in NAMES and function == get_activation(function.name):
        return {"name": function.name}
    return {"name": function.name, "digest": function.digest}


def _found(shown: str, saved: dict[str, str], given: tuple[Activation, ...]) -> Activation:
    """Return the activation that the file means, out of the named and the given ones."""
    name, digest = saved["name"], saved.get("digest")
    if digest is None:
        try:
            return get_activation(name)
        except ValueError as error:
            raise ValueError(f"{shown}: {error}") from None
    for activation in given:
        if activation.digest == digest:
            return activation
    same_name = [activation for activation in given if activation.name == name]
    if same_name:
        raise ValueError(
            f"{shown}: the activation {name!r} that was given differs from the one the model was "
            f"saved with: its digest is {same_name[0].digest[:12]}…, {digest[:12]}… is expected"
        )
    raise ValueError(
        f"{shown}: the model needs your own activation {name!r} (digest {digest[:12]}…); give it "
        f"as fastbp.load(path, activations=[…]); given were "
        f"{[activation.name for activation in given] or 'none'}"
    )


def _require_json(place: str, value: Any) -> None:
    """Raise TypeError or ValueError unless `value` survives JSON; `place` names it."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"metadata must be JSON, which has no {value}; got it as {place}")
    if value is None or isinstance(value, str | int | float):
        return
    if isinstance(value, list | tuple):
        for k, item in enumerate(value):
            _require_json(f"{place}[{k}]", item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"metadata must be JSON, its keys text; got {key!r} in {place}")
            _require_json(f"{place}[{key!r}]", item)
    else:
        hint = " (.tolist() makes it one)" if isinstance(value, np.ndarray | np.generic) else ""
        raise TypeError(
            "metadata must be JSON: None, booleans, numbers, text, lists and dicts; "
            f"{place} is of type {type(value).__name__}{hint}"
        )


def _sealed(arrays: dict[str, NDArray]) -> bytes:
    """Return an .npz of the arrays whose comment is the hash of everything before it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            # A fixed date: the same model gives the same bytes.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
        archive.comment = b"0" * _HEX  # its length is part of what is hashed
    body = buffer.getvalue()[:-_HEX]
    return body + hashlib.sha256(body).hexdigest().encode()

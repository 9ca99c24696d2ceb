"""What a fit works with: a client, and what its optimizer will ask for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from distributed import Client, get_client

from .._training.jobs import thread_given_free
from ..optimizers import WITH_POSITIVE_HESSIAN, LevenbergMarquardt, Minimize, Optimizer


def client_of(given: Client | None) -> Client:
    """Return the client to work with: what is given, else the one there is."""
    if given is None:
        try:
            given = get_client()
        except ValueError as error:
            raise ValueError(
                "fastbp.dask needs the client of a cluster: client=distributed.Client(…)"
            ) from error
    if not isinstance(given, Client):
        raise TypeError(f"client must be a distributed.Client; got {type(given).__name__}")
    if given.asynchronous:
        raise TypeError("client must not be asynchronous: a fit waits for its steps")
    return given


@contextmanager
def session(given: Client | None) -> Iterator[Client]:
    """Work with a client; a task gives its thread free meanwhile, in which rows are made."""
    client = client_of(given)
    with thread_given_free():
        yield client


def asks_for_matrices(chosen: Optimizer) -> bool:
    """Whether an optimizer asks for Gauss–Newton matrices."""
    if isinstance(chosen, Minimize):
        return chosen.method in WITH_POSITIVE_HESSIAN
    return isinstance(chosen, LevenbergMarquardt)

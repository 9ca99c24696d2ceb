"""What is used of distributed that its documentation does not promise, each with its reason.

`tests/test_dask.py` names what a release has taken away; `pyproject.toml` has the range that is
known to work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from distributed import Client, Worker
from distributed.protocol import to_serialize
from distributed.protocol.pickle import dumps, loads

_SMALL = 1 << 16  # bytes of an array that are copied into a message


def add_handler(worker: Worker, name: str, handler: Callable[..., Any]) -> None:
    """Have a worker answer a message of ours: a task for each step takes 12 to 50 ms, this 1 to 4.

    A step needs no lineage, no transfer and no scheduling: it is asked again where it is lost.
    """
    worker.handlers[name] = handler


def remove_handler(worker: Worker, name: str) -> None:
    """Take it back."""
    worker.handlers.pop(name, None)


async def ask(node: Client | Worker, address: str, name: str, **message: Any) -> Any:
    """Send a worker a message, straight from the client or another worker; return its answer.

    `rpc` keeps connections open; what the handler raises is raised here, and OSError where there
    is no such worker.
    """
    answer = await getattr(node.rpc(address), name)(**message)
    if answer is None:  # what `distributed` answers in place of a handler that is not there
        raise ConnectionError(f"worker {address} has no plugin yet")
    return answer


def parcel(value: Any) -> list[Any]:
    """Return what a message carries of a value, to be `opened`.

    `to_serialize` copies nothing, but takes 0.3 ms for an array or two, ten times as long as this.
    """
    arrays: list[Any] = []
    head = dumps(value, buffer_callback=lambda array: arrays.append(array.raw()))
    return [head, *(a.tobytes() if a.nbytes < _SMALL else to_serialize(a) for a in arrays)]


def opened(parcel: Sequence[Any]) -> Any:
    """Return the value; its arrays are not to be written to."""
    head, *arrays = parcel
    return loads(head, buffers=arrays)


async def workers(client: Client) -> dict[str, int]:
    """Return the workers that there are, and the threads of each.

    Not `client.scheduler_info`, which is refreshed every two seconds, and is large.
    """
    return dict(await client.scheduler.ncores())


async def holders(client: Client, keys: list[str]) -> dict[str, list[str]]:
    """Return who holds each key. `client.who_has` gives no answer inside the client's own loop."""
    return {key: list(who) for key, who in (await client.scheduler.who_has(keys=keys)).items()}


async def lift_restrictions(client: Client, keys: Iterable[str]) -> None:
    """Let tasks run on any worker.

    One that is restricted to a worker that has died waits for ever, allowed to go elsewhere or
    not, where no worker at all was up at that moment.
    """
    await client.scheduler.set_restrictions(worker={key: [] for key in keys})

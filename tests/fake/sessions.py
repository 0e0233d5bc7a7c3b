# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Which tests run on which fake GPU: sessions of pytest, as data.

The fake GPU reads its environment variables once, so each session has its own. Slow and similar
tests (shapes, few queues for all streams, random raw calls, clients) are divided into four slices;
a commit runs one, and the next three commits run the others (tests/support/slices.py).
"""

import dataclasses
from pathlib import Path

import slices

TESTS = Path(__file__).resolve().parents[1]
LAUNCHERS = ("processes", "threads", "lists")
MATRIX = "group/test_collectives.py"
SHARED = {"FAKE_CUDA_SHARED": "1"}  # so no call is fused
RAW = {"FAKE_CUDA_TP": "1"}  # streams of GPUs in the place of host streams


def queues(count):
    """So many queues for all streams of a GPU: what waits in one holds up what comes behind it."""
    return {"FAKE_CUDA_QUEUES": str(count)}


def types(launchers=LAUNCHERS, worlds=(1, 2, 3, 4, 5)):
    return [f"{MATRIX}::test_types[{name}-{world}]" for world in worlds for name in launchers]


def shapes():
    own = [f"{MATRIX}::test_shapes[{name}-{world}]" for world in range(1, 6) for name in LAUNCHERS]
    return own + [f"{MATRIX}::test_shapes_with_default_slots[{name}]" for name in LAUNCHERS]


def quarter(items, turn=0):
    """Returns a slice's share; `turn`: sessions that have the same items begin at another one."""
    items = list(items)
    return slices.part(items[turn:] + items[:turn])


def random_raw_calls(turn):
    return quarter([f"tp/test_tp_random.py::test_random_calls[{i}]" for i in range(100)], turn)


@dataclasses.dataclass(frozen=True)
class Session:
    """One run of pytest; `least`: how many tests pass at least, or it has not run what it should.

    Tests that are named one by one are counted here, and only the others in `others`.
    """

    name: str
    words: list[str]
    others: int
    environment: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def least(self):
        return self.others + sum("::" in word for word in self.words)


DEFAULT = [f"fake/test_{name}.py" for name in ("queued", "call_streams", "loads", "fused")]
DEFAULT += ["fake/test_replays.py", "fake/test_message_streams.py", "messages"]
CLIENTS = {"ddp": 30, "fsdp": 33, "dtensor": 24, "zero": 8}
NOT_SPARSE = ["-k", "not sparse_embedding"]  # whose tensors are the CPU's alone
LIKE_ALL = ["fake/test_tp_orders.py"]  # and the raw API's own tests, but for those of no stream
LIKE_ALL += [
    f"tp/{path.name}"
    for path in sorted((TESTS / "tp").glob("test_*.py"))
    if path.stem not in ("test_tp_schedule", "test_tp_random")
]
# A message that is waited for holds up what is queued later in the only queue.
ONE_QUEUE = ["fake/test_message_streams.py", "-k", "not stay_in_order"]


def sessions():
    """Returns them, the longest first."""
    clients = quarter(CLIENTS)
    default = [*DEFAULT, *(f"clients/test_client_{name}.py" for name in clients), *NOT_SPARSE]
    default_least = 215 + sum(CLIENTS[name] for name in clients)
    pairs = types(worlds=(2, 3))
    fused = types(launchers=("processes",))
    product = types() + shapes()
    hosts = [*pairs, "fake/test_queued.py"]
    no_waits = {"FAKE_CUDA_NO_WAITS": "1"}  # the host waits, in the same calls and failures
    many = ["fake/test_fused.py", "-k", "many"]
    return [
        Session("default", [*default, *pairs, *quarter(shapes())], default_least),
        Session("controls", ["fake/test_controls.py"], 10),
        Session("no_waits", [*hosts, "messages/test_messages.py"], 58, no_waits),
        Session("raw", [*LIKE_ALL, *random_raw_calls(0)], 320, RAW),
        Session(
            "1_queue",
            [*LIKE_ALL, *random_raw_calls(1), *quarter(fused), *ONE_QUEUE],
            337,
            RAW | queues(1),
        ),
        Session("1_queue_shared", quarter(product, 1), 0, SHARED | queues(1)),
        Session("3_queues_shared", quarter(product, 2), 0, SHARED | queues(3)),
        Session("shared", hosts, 39, SHARED),
        Session("3_queues", [*random_raw_calls(2), *quarter(fused, 1)], 0, RAW | queues(3)),
        Session("callers", many, 4, {"FAKE_CUDA_CALLERS": "3"}),
    ]

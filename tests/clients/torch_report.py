# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""The report of `torch_suite`: counts, and tests that only torch's own backends pass."""

from collections import Counter

KNOWN = {
    "test_ddp_logging_data_cpu": "DDP's log names every backend from outside of torch 'custom'",
    "test_monitored_barrier_gloo": "dist.monitored_barrier asks for gloo by its name",
    "test_monitored_barrier_gloo_subgroup": "the same",
    "test_monitored_barrier_gloo_rank_0_timeout": "a time-out of 0 is the group's, for us",
}
"""Tests that gloo passes and "pinned" does not, and why."""
STATES = ("passed", "failed", "skipped", "not run")
OF_TORCH = ("gloo", "nccl")
MOST_LINES = 80
"""That are shown of what one test wrote."""


def count(world, backend, by_name):
    """Prints how many tests passed, and why others did not run; returns 1 where none ran."""
    states = Counter(outcome["state"] for outcome in by_name.values())
    parts = ", ".join(f"{states[state]} {state}" for state in STATES if states[state])
    print(f"== {world} ranks, {backend}: {parts or 'nothing'} of {len(by_name)}")
    skipped = (one["reason"] for one in by_name.values() if one["state"] == "skipped")
    for reason, times in Counter(skipped).most_common():
        print(f"       {times} skipped: {reason}")
    for name, outcome in sorted(by_name.items()):
        if "signal" in outcome["reason"]:
            print(f"       {name}: {outcome['reason']}")
    return int(not by_name)


def differing(ours, theirs):
    """Returns the tests that they pass and we do not."""
    passed = [name for name, outcome in theirs.items() if outcome["state"] == "passed"]
    return sorted(name for name in passed if ours.get(name, {}).get("state") != "passed")


def compare(world, outcomes, whole):
    """Prints what torch's own backends pass and others do not; returns how much is not KNOWN."""
    unexpected = 0
    for backend in [name for name in outcomes if name not in OF_TORCH]:
        ours, unlike = outcomes[backend], set()
        for other in [name for name in outcomes if name in OF_TORCH]:
            unlike |= set(differing(ours, outcomes[other]))
            for name in differing(ours, outcomes[other]):
                unexpected += name not in KNOWN
                tell(f"== {world} ranks: {other} passes", backend, name, ours.get(name))
        stale = set(KNOWN) & set(ours) - unlike if whole else set()
        for name in sorted(name for name in stale if ours[name]["state"] == "passed"):
            print(f"== {world} ranks: {name} is listed as known, and does not differ")
            unexpected += 1
    return unexpected


def tell(begin, backend, name, outcome):
    """Prints how a test differs, and where that is not known what it wrote."""
    outcome = outcome or {"state": "not run", "reason": "", "log": ""}
    why = KNOWN.get(name, "NOT EXPECTED")
    print(f"{begin}, {backend} {outcome['state']}: {name} ({why})")
    if name not in KNOWN:
        show(outcome)


def show(outcome):
    """Prints the end of what a test wrote."""
    lines = [outcome["reason"], *outcome["log"].splitlines()]
    print("\n".join(f"  | {line}" for line in lines[-MOST_LINES:] if line))

# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Gloo's results for torch's own tests on CPU, one file per minor release of torch.

For each world size, a file lists the tests that gloo passes, the tests that it fails, and the
skipped tests by reason. `torch_suite.py --record` writes it.
"""

import json
from importlib import metadata
from pathlib import Path

FOLDER = Path(__file__).with_name("gloo_verdicts")


def release():
    """Returns the installed torch as (2.13, 2.13.0+cpu)."""
    version = metadata.version("torch")
    return ".".join(version.split(".")[:2]), version


def path():
    return FOLDER / f"{release()[0]}.json"


def load(world):
    """Returns gloo's outcomes by name; none where they are not kept."""
    kept = json.loads(path().read_text())["worlds"].get(str(world), {}) if path().exists() else {}
    by_verdict = {(state, ""): kept.get(state, []) for state in ("passed", "failed")}
    by_verdict |= {("skipped", why): names for why, names in kept.get("skipped", {}).items()}
    return {
        name: {"state": state, "reason": reason, "log": ""}
        for (state, reason), names in by_verdict.items()
        for name in names
    }


def passed_on_cpu():
    """Returns the tests that gloo passes without GPUs, in whichever release."""
    kept = [json.loads(file.read_text())["worlds"] for file in FOLDER.glob("*.json")]
    return {name for worlds in kept for one in worlds.values() for name in one["passed"]}


def is_of_this_release():
    """Whether the verdicts are kept of just the installed torch: it has no other tests then."""
    return path().exists() and json.loads(path().read_text())["torch"] == release()[1]


def save(world, outcomes):
    """Writes a world's verdicts, and keeps those of the others."""
    kept = json.loads(path().read_text()) if path().exists() else {"worlds": {}}
    skipped = {}
    for name, outcome in sorted(outcomes.items()):
        if outcome["state"] == "skipped":
            skipped.setdefault(outcome["reason"], []).append(name)
    by_state = {
        state: sorted(name for name, outcome in outcomes.items() if outcome["state"] == state)
        for state in ("passed", "failed")
    }
    kept["torch"] = release()[1]
    kept["worlds"][str(world)] = by_state | {"skipped": dict(sorted(skipped.items()))}
    FOLDER.mkdir(exist_ok=True)
    path().write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")

# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Four commits run all soak tests between them, and a run says how to have the same again."""

import itertools
import subprocess

import pytest
import slices

ALL = "all"
ROTATE = {"test_many_random_calls": 1000, "test_no_order_is_wrong_in_many_orders": 4}
"""Test functions that rotate, and how many of their cases there are at the least."""
STAY = [
    "test_survivors_raise_within_a_second",
    "test_every_wait_and_arrive_is_needed_by_four_ranks",
    "test_ten_thousand_programs",
    "test_a_hundred_kills",
    "test_types",
    "test_shapes",
]
"""That every commit runs, some of them for a quarter as long."""


@pytest.fixture
def cases():
    """Returns a function that returns a test's cases among what was collected, slow ones too."""

    def named(name):
        found = [item for item in slices.COLLECTED if getattr(item, "originalname", "") == name]
        return found or pytest.skip(f"{name} was not collected: name its file, too")

    return named


def by_slice(monkeypatch, items):
    """Returns what of the tests runs in each of four consecutive slices."""
    return slice_by_slice(monkeypatch, lambda: {one for one in items if slices.runs(one, [])})


def test_four_commits_run_them_all(monkeypatch):
    whole = set(slices.COLLECTED)
    parts = by_slice(monkeypatch, whole)
    assert set.union(*parts) == whole
    always = {item for item in whole if slices.of(item) is None}
    assert all(a & b == always for a, b in itertools.combinations(parts, 2))
    monkeypatch.setenv("PINNEDPG_SOAK", ALL)
    assert all(slices.runs(item, []) for item in whole)


@pytest.mark.parametrize("name", ROTATE)
def test_a_commit_runs_some_cases(monkeypatch, cases, name):
    whole = cases(name)
    assert len(whole) >= ROTATE[name]
    for some in by_slice(monkeypatch, whole):
        assert 0 < len(some) < len(whole)


@pytest.mark.parametrize("name", STAY)
def test_what_every_commit_runs(cases, name):
    assert [item.nodeid for item in cases(name) if slices.of(item) is not None] == []


def test_only_slow_tests_rotate():
    rotating = [item for item in slices.COLLECTED if slices.of(item) is not None]
    assert [item.nodeid for item in rotating if not item.get_closest_marker("slow")] == []


def test_what_is_named_runs(monkeypatch, cases):
    """In every slice."""
    some = cases("test_many_random_calls")[:8]
    assert len(set(map(slices.of, some))) == slices.SLICES
    for number in range(slices.SLICES):
        monkeypatch.setenv("PINNEDPG_SOAK", str(number))
        assert all(slices.runs(item, [item.nodeid]) for item in some)
        assert not all(slices.runs(item, [item.nodeid.partition("::")[0]]) for item in some)


def slice_by_slice(monkeypatch, call):
    """Returns what a call gives in each of four consecutive slices."""
    given = []
    for number in range(slices.SLICES):
        monkeypatch.setenv("PINNEDPG_SOAK", str(number))
        given.append(call())
    return given


@pytest.mark.parametrize("count", [1, 3, 4, 10])
def test_parts(monkeypatch, count):
    parts = slice_by_slice(monkeypatch, lambda: slices.part(range(count)))
    assert sorted(itertools.chain(*parts)) == list(range(count))
    monkeypatch.setenv("PINNEDPG_SOAK", ALL)
    assert slices.part(range(count)) == list(range(count))


def test_one_slice_in_four_is_chosen(monkeypatch):
    for number in range(slices.SLICES):
        assert slice_by_slice(monkeypatch, lambda n=number: slices.chosen(n)).count(True) == 1
    monkeypatch.setenv("PINNEDPG_SOAK", ALL)
    assert slices.chosen(0) and slices.chosen(3)


def test_four_amounts_are_the_whole(monkeypatch):
    assert sum(slice_by_slice(monkeypatch, lambda: slices.amount(100))) == 100
    assert sum(slice_by_slice(monkeypatch, lambda: slices.amount(10))) >= 10
    monkeypatch.setenv("PINNEDPG_SOAK", ALL)
    assert slices.amount(100) == 100


def test_seeds_can_be_had_again(monkeypatch):
    monkeypatch.setenv("PINNEDPG_SOAK", "2")
    monkeypatch.setenv("PINNEDPG_SEED", "41")
    assert slices.seeds(8, first=100) == range(141, 143)
    assert slices.told().endswith("PINNEDPG_SOAK=2 PINNEDPG_SEED=41")


@pytest.mark.parametrize("name", ["PINNEDPG_SOAK", "PINNEDPG_SEED"])
def test_wrong_settings(monkeypatch, name):
    monkeypatch.setenv(name, "some")
    with pytest.raises(ValueError, match=f"{name} must be .*; got 'some'"):
        slices.told()


def git(folder, *words):
    names = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *names, *words], check=True, capture_output=True)


def test_commits_take_the_slices_in_turn(monkeypatch, tmp_path):
    """And each has a seed of its own; what is no checkout has the first slice."""
    support = tmp_path / "tests" / "support"
    support.mkdir(parents=True)
    monkeypatch.delenv("PINNEDPG_SOAK", raising=False)
    monkeypatch.delenv("PINNEDPG_SEED", raising=False)
    monkeypatch.setattr(slices, "__file__", str(support / "slices.py"))
    slices._commit.cache_clear()
    assert (slices.number(), slices.seed()) == (0, 0)
    git(tmp_path, "init")
    found = []
    for message in "abcde":
        git(tmp_path, "commit", "--allow-empty", "-m", message)
        slices._commit.cache_clear()
        found.append((slices.number(), slices.seed()))
    slices._commit.cache_clear()
    assert [number for number, _ in found] == [1, 2, 3, 0, 1]
    assert len({seed for _, seed in found}) == 5

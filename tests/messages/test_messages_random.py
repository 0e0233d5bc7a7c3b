# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Random programs of sends and receives against an oracle: the k-th send of a source and tag goes
to the k-th receive that names them; a receive from any source takes each source's in order."""

import random

import pytest
import ranks
import slices
import torch
import torch.distributed as dist

SIZES = [0, 1, 7, 100, 2040, 2048, 2056, 20_000, 70_000]  # in int32: whole, parts, many parts
ANY_TAG = 100
"""From this tag on, messages are taken by receives from any source; each tag has one size."""
MIXED_TAG = 50
"""From this tag on a rank gets messages of one source, by receives that name it and by others."""


def is_any(tag):
    return tag % 1000 >= ANY_TAG


def names_source(number, tag):
    """Whether the receive of that message names who sends it."""
    return not is_any(tag) and (tag % 1000 < MIXED_TAG or number % 2 == 0)


class Program:
    """What every rank does, from one seed: messages, and the order of each rank's posts."""

    def __init__(self, seed, world_size):
        chance = random.Random(seed)
        # A rank may be a program ahead: that must not go to a receive from any source.
        self.first_tag = 1000 * seed
        self.messages = [self._message(chance, world_size) for _ in range(chance.randint(1, 24))]

    def _message(self, chance, world_size):
        source, to = chance.randrange(world_size), chance.randrange(world_size)
        if chance.random() < 0.25:
            kind = chance.randrange(2)
            return source, to, self.first_tag + ANY_TAG + kind, SIZES[kind + 1]
        if chance.random() < 0.25:
            return (to + 1) % world_size, to, self.first_tag + MIXED_TAG, chance.choice(SIZES)
        return source, to, self.first_tag + chance.randrange(3), chance.choice(SIZES)

    def posts(self, rank):
        """Returns the rank's own posts in a random order that keeps that of each source and tag."""
        sends = [(number, "send") for number, m in enumerate(self.messages) if m[0] == rank]
        receives = [(number, "recv") for number, m in enumerate(self.messages) if m[1] == rank]
        chance = random.Random(f"{self.messages}{rank}")
        lanes = {}
        for number, kind in sends + receives:
            source, to, tag, _ = self.messages[number]
            lane = (kind, to if kind == "send" else -1 if is_any(tag) else source, tag)
            lanes.setdefault(lane, []).append((number, kind))
        order = [lane for lane, posts in lanes.items() for _ in posts]
        chance.shuffle(order)
        return [lanes[lane].pop(0) for lane in order]


def content(number, size):
    return torch.arange(size, dtype=torch.int32) + 1000 * number


def play(program):
    """Does the rank's part; returns what is wrong."""
    rank, works, taken = dist.get_rank(), [], []
    for number, kind in program.posts(rank):
        source, to, tag, size = program.messages[number]
        if kind == "send":
            works.append((dist.isend(content(number, size), to, tag=tag), None))
            continue
        tensor = torch.full((size,), -1, dtype=torch.int32)
        work = dist.irecv(tensor, source if names_source(number, tag) else None, tag=tag)
        works.append((work, tensor))
        taken.append((work, tensor, number, tag))
    random.Random(rank).shuffle(works)
    for work, _ in works:
        work.wait()
    return [text for text in complaints(program, rank, taken)]


def complaints(program, rank, taken):
    coming = {}  # by source and tag, in order
    for number, (source, to, tag, _) in enumerate(program.messages):
        if to == rank:
            coming.setdefault((source, tag), []).append(number)
    for work, tensor, number, tag in taken:
        source = work._source_rank() if is_any(tag) else program.messages[number][0]
        if not coming.get((source, tag)):
            yield f"rank {rank}: source {source} has sent no further message of tag {tag}"
            continue
        wanted = coming[source, tag].pop(0)
        if not is_any(tag) and wanted != number:
            yield f"rank {rank}: the oracle is wrong: {wanted} is not {number}"
        if not torch.equal(tensor, content(wanted, len(tensor))):
            yield f"rank {rank}: message {wanted} must come from {source}; got {tensor[:3]}"


def play_all(seeds):
    wrong = []
    for seed in seeds:
        wrong += play(Program(seed, dist.get_world_size()))
        if seed % 50 == 0:
            dist.barrier()
    return wrong


def check(launcher, world_size, seeds, timeout_s=60.0):
    for wrong in ranks.run(play_all, world_size, seeds, launcher=launcher, timeout_s=timeout_s):
        assert not wrong, wrong[:5]


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("launcher", ["processes", "threads"])
def test_programs(launcher, world_size):
    check(launcher, world_size, range(100))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("world_size", [2, 3, 4, 5])
@pytest.mark.parametrize("launcher", ["processes", "threads"])
def test_ten_thousand_programs(launcher, world_size):
    """A quarter of them: that many for each launcher in all, and in four commits."""
    check(launcher, world_size, slices.seeds(2500, first=1000), timeout_s=500.0)


FAULTS = {  # tag; sources of rank 1's messages, as it knows them; what 0 sends, 1 takes; complaint
    "nothing": (0, [0, 0], [0, 1], [0, 1], None),
    "order": (0, [0, 0], [1, 0], [0, 1], "message 0 must come from 0"),
    "order-any": (ANY_TAG, [0, 0], [1, 0], [0, 1], "message 0 must come from 0"),
    "value": (0, [0, 0], [0, 0], [0, 1], "message 1 must come from 0"),
    "source": (ANY_TAG, [0, 1], [0, 1], [0, 1], "source 0 has sent no further message"),
    "receives": (0, [0, 0], [0, 1], [1, 0], "the oracle is wrong"),
}


class Faulty(Program):
    """The negative control: what is sent or taken is not what the messages say."""

    def __init__(self, fault):
        tag, sources, self.sent, self.taken, _ = FAULTS[fault]
        self.messages = [(source, 1, tag, 7) for source in sources]

    def posts(self, rank):
        if rank == 0:
            return [(number, "send") for number in self.sent]
        return [(number, "recv") for number in self.taken]


def play_faulty(fault):
    return play(Faulty(fault))


@pytest.mark.parametrize("fault", FAULTS)
def test_the_oracle_sees(fault):
    wrong, complaint = ranks.run(play_faulty, 2, fault)[1], FAULTS[fault][-1]
    assert complaint in "".join(wrong) if complaint else not wrong, wrong

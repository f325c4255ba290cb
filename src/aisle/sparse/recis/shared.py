"""Messages between processes of one machine through memory that they share.

An exchange through sockets costs each process several changes between its own thread and the sockets', a third of a millisecond
between two and two between four on two processors, whatever its size.  Here a rank writes into a box of its own, which the
others have mapped, and then raises the box's number; who waits looks at the numbers.

A box has two halves, and message k stands in half k % 2.  A rank sends k + 1 when it has all of k, so whoever has all of k knows
that all others have read k - 1, whose half k + 1 goes into.

Numbers are raised after what they announce is written, and x86 shows stores in the order in which they were made; other
processors may not, and processes there go on with sockets.
"""

from __future__ import annotations

import mmap
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter, sleep
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist

from aisle.core.errors import AisleError
from aisle.core.lists import Array
from aisle.sparse.recis.exchange import Arrived, Collectives, Exchange
from aisle.sparse.recis.memory import NO_RESERVE

HALF = 1 << 34
"""Bytes of address space; memory is taken when it is written to."""
HEAD = 1 << 13
"""Bytes at the front of a half: where what each rank gets begins and ends."""
LOOKS, NAP_S, CHECK_S, LONGEST_S = 200, 5e-5, 1.0, 1800.0
"""Looks at a number before naps begin; how long those are; between two looks whether the others live; when hope ends."""


class Address(NamedTuple):
    """Where a rank's box is: on which start of which machine, in which process, under which number there, and what stands in it
    (0: there is none)."""

    machine: int
    process: int
    file: int
    token: int


def exchange_of(group: Any) -> Exchange:
    """Through shared memory where all ranks can, else through ``torch.distributed``.  Every rank calls this."""
    box = Box.own() if 16 * dist.get_world_size(group) <= HEAD else None
    addresses = [Address(*a) for a in _of_all(box.address if box else NOWHERE, group)]
    boxes = [Box.of(a) if box and a.token and a.machine == box.address.machine else None for a in addresses]
    can = _of_all([all(b is not None for b in boxes)], group)
    if box is not None:
        os.close(box.address.file)  # the mappings stay
    if box is None or [0] in can:
        return Collectives(group)
    return Shared(box, [b for b in boxes if b is not None], dist.get_rank(group))


def _of_all(own: Sequence[int], group: Any) -> list[list[int]]:
    """Every rank's numbers."""
    out = [torch.zeros(len(own), dtype=torch.int64) for _ in range(dist.get_world_size(group))]
    dist.all_gather(out, torch.tensor(own, dtype=torch.int64), group=group)
    return [numbers.tolist() for numbers in out]


NOWHERE = Address(0, 0, 0, 0)


class Box:
    """Memory of one rank that all may read: a page of numbers, then two halves.

    number   int64[1]  messages sent so far
    """

    def __init__(self, file: int, address: Address, protection: int) -> None:
        self.address = address
        flags = mmap.MAP_SHARED | NO_RESERVE
        self._memory = mmap.mmap(file, mmap.PAGESIZE + 2 * HALF, flags=flags, prot=protection)
        page = np.frombuffer(self._memory, np.int64, mmap.PAGESIZE // 8)
        self.number, self._token = page[:1], page[8:9]
        self.half = [np.frombuffer(self._memory, np.uint8, HALF, mmap.PAGESIZE + n * HALF) for n in range(2)]
        self.ends = [half[:HEAD].view(np.int64) for half in self.half]

    @classmethod
    def own(cls) -> Box | None:
        """A new one, which goes with its process; None where there is no such memory."""
        if sys.platform != "linux" or platform.machine() != "x86_64":
            return None
        try:
            file = os.memfd_create("aisle-messages")
            os.ftruncate(file, mmap.PAGESIZE + 2 * HALF)
            machine = int(Path("/proc/sys/kernel/random/boot_id").read_text().replace("-", "")[:15], 16)
            address = Address(machine, os.getpid(), file, 1 + int.from_bytes(os.urandom(7), "little"))
            box = cls(file, address, mmap.PROT_READ | mmap.PROT_WRITE)
        except (OSError, ValueError):
            return None
        box._token[0] = address.token
        return box

    @classmethod
    def of(cls, address: Address) -> Box | None:
        """Another rank's; None where it cannot be opened or is somebody else's, as from within another container."""
        try:
            file = os.open(f"/proc/{address.process}/fd/{address.file}", os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            box = cls(file, address, mmap.PROT_READ)
        except (OSError, ValueError):
            return None
        finally:
            os.close(file)
        return box if box._token[0] == address.token else None


class Shared:
    """The exchange through the boxes of all ranks."""

    def __init__(self, own: Box, boxes: Sequence[Box], rank: int) -> None:
        self._own, self._boxes, self._rank, self._sent = own, list(boxes), rank, 0
        self._coming: _Coming | None = None

    def swap(self, parts: Sequence[Sequence[Array]]) -> list[Array]:
        self._post(parts)
        return self._got(self._sent, np.int64)

    def send(self, parts: Sequence[Sequence[Array]], lengths: Sequence[int]) -> Arrived:
        self._post(parts)
        self._coming = _Coming(self, self._sent)
        return self._coming

    def _post(self, parts: Sequence[Sequence[Array]]) -> None:
        if self._coming is not None:
            self._coming.keep()
            self._coming = None
        half = (self._sent + 1) % 2
        at, data = HEAD, self._own.half[half]
        for r, own in enumerate(parts):
            self._own.ends[half][2 * r] = at
            for array in own:
                end = at + array.nbytes
                if end > HALF:
                    raise AisleError(
                        f"a message of more than {HALF >> 30} GB to the other processes; take smaller batches"
                    )
                data[at:end].view(array.dtype)[:] = array
                at = end
            self._own.ends[half][2 * r + 1] = at
            at = -(-at // 64) * 64
        self._sent += 1
        self._own.number[0] = self._sent

    def _got(self, number: int, kind: type) -> list[Array]:
        """What each rank sent here in message ``number``; views of its box."""
        out, half = [], number % 2
        for r, box in enumerate(self._boxes):
            _wait(box, r, number)
            first, end = box.ends[half][2 * self._rank : 2 * self._rank + 2]
            out.append(box.half[half][first:end].view(kind))
        return out


class _Coming:
    """What is on its way here by message ``number``, to be read where it stands until the next message is sent, then copied."""

    def __init__(self, shared: Shared, number: int) -> None:
        self._shared, self._number = shared, number
        self._kept: list[Array] | None = None

    def keep(self) -> None:
        self._kept = [array.copy() for array in self()]

    def __call__(self) -> list[Array]:
        return self._shared._got(self._number, np.float32) if self._kept is None else self._kept


def _wait(box: Box, rank: int, number: int) -> None:
    """Until a box has this number.  Raises AisleError when its process has ended or is silent for half an hour."""
    for _ in range(LOOKS):
        if box.number[0] >= number:
            return
        os.sched_yield()
    start = checked = perf_counter()
    while box.number[0] < number:
        sleep(NAP_S)
        now = perf_counter()
        if now - checked > CHECK_S:
            checked = now
            if not Path(f"/proc/{box.address.process}").exists() or now - start > LONGEST_S:
                raise AisleError(
                    f"process {box.address.process} (rank {rank}) has ended or does not answer; start all processes again"
                )

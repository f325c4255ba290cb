"""Freed memory stays with the process."""

from __future__ import annotations

import platform

import pytest
import torch

from aisle.training.memory import keep_freed

resource = pytest.importorskip("resource")  # not on Windows


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc has the setting")
def test_a_block_is_taken_again_without_new_pages():
    keep_freed()
    num, pages = 6_000_000, 6_000_000 * 4 // 4096

    def faults():
        torch.ones(num)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    for _ in range(10):  # aligned blocks leave gaps that the first ones do not fit into
        start = faults()
    for _ in range(5):
        end = faults()
    assert end - start < pages, "less than one of the five blocks came page by page"

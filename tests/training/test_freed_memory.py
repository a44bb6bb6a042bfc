"""Memory that is freed: kept for the next tensor while training, given back afterwards."""

import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="settings of glibc")

PAGES = """
import resource
from pathlib import Path
import torch
from madrnet_timm.training.freed_memory import freed_memory_kept

def faults(times=10):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(2**24)  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def megabytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6

faults()
outside, before = faults(), megabytes()
with freed_memory_kept():
    faults()
    inside, kept = faults(), megabytes()
print(outside, inside, kept - before, megabytes() - before)
"""


def test_pages_are_asked_for_once(fresh_python):
    run = fresh_python("-c", PAGES)
    assert run.returncode == 0, run.stderr
    outside, inside, kept, after = map(float, run.stdout.split())
    assert outside >= 10 * 32  # at least the huge pages of 2 MiB
    assert inside <= outside / 50
    assert kept >= 60
    assert after < 30

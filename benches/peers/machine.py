"""Processes of this machine: what they have used of its CPU and memory."""

import os
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def _stat(pid):
    """Parent, and CPU seconds with those of children that are gone; None when the process is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return int(fields[1]), sum(map(int, fields[11:15])) / TICK


def tree(root):
    """A process and all that it has started."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (stat := _stat(entry)):
            children.setdefault(stat[0], []).append(int(entry))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


def cpu_seconds(*pids):
    """User and system CPU of these processes so far."""
    return sum((_stat(pid) or (0, 0.0))[1] for pid in pids)


def idle_seconds():
    """Seconds that the cores of this machine have been idle so far, summed."""
    with open("/proc/stat") as file:
        return int(file.readline().split()[4]) / TICK


def peak_rss_mb(pids):
    """The largest memory that each of these processes has had, summed."""
    kib = 0
    for pid in pids:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        kib += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return kib / 1024


def wait_until_idle(*pids, limit=60):
    """Waits until these processes together use less than 0.12 of a core for 2 s; says whether they do."""
    deadline = time.time() + limit
    while time.time() < deadline:
        before = cpu_seconds(*pids)
        time.sleep(2)
        if cpu_seconds(*pids) - before < 0.24:
            return True
    return False

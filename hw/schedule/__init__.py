"""A gate on schedules: whether an HLS scheduler could give every pipelined loop of emitted C++ its initiation interval at a
clock.

The C++ is compiled to LLVM IR (``compiler.py``), each loop becomes the dataflow of one iteration (``graph.py``) with the delays
of a device family (``delays.toml``), and is scheduled (``recurrences.py``, ``stages.py``). What no schedule can hold is a
finding (``checks.py``): a recurrence longer than the period, more accesses than a memory has ports, a distance that a pragma
claims and the stages do not keep. It is not the vendor's scheduler: its depths are predictions, and a loop that passes may
still miss its clock.
"""

from __future__ import annotations

from edgeflow.hw.schedule.report import Finding, LoopSchedule, Schedule

__all__ = ["Finding", "LoopSchedule", "Schedule"]

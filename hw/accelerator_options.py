"""What a user may choose of an accelerator: its sizes, the share of the board that it takes, its clock.

Nothing heavy is imported here: the command line checks what it is given before it loads anything.
"""

from __future__ import annotations

from edgeflow.hw.errors import InputError

SLOWEST_MHZ, FASTEST_MHZ = 0.01, 10_000
SHARE = 0.8  # of every resource of the device, unless told otherwise
SIZES = {
    "pi": (4, 8, 16, 32, 64),
    "po": tuple(range(4, 65, 4)),
    "epilogue": (2, 4, 8, 16, 32),
    "vector": (1, 2, 4, 8, 16, 32),
    "weight_ports": (1, 2, 4),
}


def checked_size(name: str, size: int) -> int:
    """One of the sizes; InputError if no accelerator has it."""
    if size not in SIZES[name]:
        raise InputError(f"no accelerator has {name} = {size}: choose from {', '.join(map(str, SIZES[name]))}")
    return size


def checked_share(share: float) -> float:
    """The share of the board's resources; InputError if there is none such."""
    if not 0 < share <= 1:
        raise InputError(f"share {share:g} of the board's resources is not possible: give more than 0 and at most 1, such as 0.8")
    return share


def checked_clock(asked: float, usual: str) -> float:
    """The clock in MHz; InputError if there is none such."""
    if not 0 < asked < float("inf"):
        raise InputError(f"clock {asked:g} MHz is not possible: give a positive number of MHz, such as {usual}")
    if not SLOWEST_MHZ <= asked <= FASTEST_MHZ:
        raise InputError(f"clock {asked:g} MHz is not possible: give {SLOWEST_MHZ:g} to {FASTEST_MHZ:,} MHz, such as {usual}")
    return asked

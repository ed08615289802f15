"""What can be wrong with the options of a compilation, found out before anything heavy is loaded: in tenths of a second.

Whatever passes is checked once more, together with everything else, where options are put together (sw/flow/options.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeflow.hw.accelerator_options import SIZES, checked_clock, checked_share, checked_size
from edgeflow.sw.files.presence import missing_data, missing_model, missing_run

DATA = {"calib": "calibration data", "test": "test data"}


def check(asked: Mapping[str, Any]) -> None:
    """An EdgeFlowError for a board, a file or a number among the options given on the command line that cannot be right."""
    fixed = [name for name in ("clock", "share", *SIZES) if name in asked]
    if "overlay" in asked and fixed:
        return  # how options go together is said where all of them are known
    if "share" in asked:
        checked_share(asked["share"])
    if "clock" in asked:
        checked_clock(asked["clock"], "200")
    for name in SIZES:
        if name in asked:
            checked_size(name, asked[name])
    if "config" in asked and not asked["config"].exists():
        raise missing_run(asked["config"])
    if "model" in asked and not asked["model"].exists():
        raise missing_model(asked["model"])
    for name, what in DATA.items():
        if name in asked and not asked[name].exists():
            raise missing_data(asked[name], what)
    if "board" in asked:
        from edgeflow.hw.boards import load_board

        load_board(asked["board"])

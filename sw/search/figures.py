"""New figures of matplotlib, which keeps its list of fonts in EdgeFlow's cache instead of the user's home."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from typing import TYPE_CHECKING

from edgeflow.hw import cache

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_VARIABLE = "MPLCONFIGDIR"


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that many inches, to be saved to a file."""
    if not os.environ.get(_VARIABLE):
        kept = cache.folder("fonts")
        folder = tempfile.mkdtemp(prefix="edgeflow-fonts-") if kept is None else str(kept)
        if kept is None:
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ[_VARIABLE] = folder
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure

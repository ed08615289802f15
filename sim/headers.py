"""Where the C simulation finds ``ap_int.h``: the fast native header or the vendor's exact one.

The emitted C++ says ``#include "ap_int.h"``; the include path decides which header that is.  Both lists have the streams and
processes of the simulation (``hls_stream.h``) and end with ``hw/include``, so that ``#include "edgeflow/NAME.hpp"`` works with
either.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import edgeflow.hw
from edgeflow.hw.errors import ToolchainError

_AP_TYPES = ("templates", "vivado", "ap_types")


def hw_include() -> Path:
    """Return the folder that holds ``edgeflow/*.hpp``."""
    return Path(edgeflow.hw.__file__).resolve().parent / "include"


def native_include() -> list[Path]:
    """Return the include folders of the fast simulation: ``ap_int`` on native integers."""
    include = hw_include()
    return [include / "edgeflow" / "native", include / "edgeflow" / "simulation", include]


def exact_include() -> list[Path]:
    """Return the include folders of the exact simulation: the vendor's ``ap_int``, as the hls4ml wheel carries it.

    hls4ml itself is not imported.

    Raises:
        ToolchainError: hls4ml is not installed, or its wheel has no ``ap_int.h`` where it is expected.
    """
    spec = find_spec("hls4ml")
    if spec is None or not spec.submodule_search_locations:
        raise ToolchainError(
            "the exact ap_int headers are not installed: run pip install 'edgeflow[exact]', or simulate without --exact"
        )
    folder = Path(spec.submodule_search_locations[0]).joinpath(*_AP_TYPES)
    if not (folder / "ap_int.h").is_file():
        raise ToolchainError(
            f"{folder} has no ap_int.h: this release of hls4ml keeps it elsewhere; "
            "run pip install 'hls4ml==1.3.0', or simulate without --exact"
        )
    include = hw_include()
    return [include / "edgeflow" / "simulation", folder, include]

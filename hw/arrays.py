"""Names of the array types that all of EdgeFlow speaks of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
IntArray = NDArray[np.int64]
Real = NDArray[np.float64]
Arrays = Mapping[str, Array]  # by the name of a tensor, samples on the first axis

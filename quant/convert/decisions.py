"""What became of the techniques of quantization in one network (see quant/techniques/selection.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Sites = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Decision:
    """What became of one technique: left out at the float tensors ``left_out``, of ``sites`` where it acts. ``with_db`` and
    ``without_db``: signal-to-noise ratio of the outputs with every technique, and without this one anywhere."""

    technique: str
    with_db: float
    without_db: float
    sites: int
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Selection:
    """How techniques were chosen: by ``trials`` of the ``allowed`` that the work sufficed for, each compared with the float model
    on ``samples`` calibration samples that it was not fitted to.

    Ratios in dB over all outputs: with every technique, with none, as chosen. ``note`` says what could not be looked at.
    """

    samples: int
    trials: int
    allowed: int
    all_db: float
    none_db: float
    chosen_db: float
    decisions: tuple[Decision, ...]
    note: str = ""

    @property
    def without(self) -> Sites:
        """Where each technique is left out, as QuantizationConfig has it."""
        return {decision.technique: decision.left_out for decision in self.decisions if decision.left_out}


def joined(first: Sites, second: Sites) -> dict[str, tuple[str, ...]]:
    """Sites of both by technique, each once."""
    names = dict.fromkeys((*first, *second))
    return {name: tuple(dict.fromkeys((*first.get(name, ()), *second.get(name, ())))) for name in names}

"""Techniques that make a quantized network better: compensated rounding, selection, HAWQ, training."""

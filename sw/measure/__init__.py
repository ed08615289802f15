"""How far the integer network is from the original model: which samples measure it, and against what."""

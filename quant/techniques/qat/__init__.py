"""Quantization-aware training with Brevitas, from a canonical float model and back to one."""

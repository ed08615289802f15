"""Which numbers represent a model: calibration and quantization."""

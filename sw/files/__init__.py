"""Files: arrays by tensor name, and the build folder."""

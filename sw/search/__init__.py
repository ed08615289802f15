"""What is chosen for a model and a board: the accelerator, and the bits of every layer."""

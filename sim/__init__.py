"""What a program computes and how long it takes: NumPy executor, C simulation, cycles, comparison."""

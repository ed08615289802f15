"""From the integer graph to a program: storage, memory planning, lowering, weight image, code generation."""

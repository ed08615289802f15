"""What the accelerator is built from: the integer graph, operators, HLS C++ headers, boards, architecture and cost."""

"""EdgeFlow: from a trained model to an FPGA accelerator program, proved bit-exact."""

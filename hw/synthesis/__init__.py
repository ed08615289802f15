"""Blocks of the accelerator as Verilog, synthesized by yosys to hold the formulas of resources, and simulated against NumPy.

Nothing of a build comes from here: an accelerator is built from the HLS C++. The blocks have the same structure, stage by stage.
"""

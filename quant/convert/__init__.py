"""From the float graph to the integer graph: calibration, the plan of formats, conversion."""

"""The command line: reads options, calls the public API, draws results for a terminal."""

"""HAWQ: how sensitive every layer is to low precision, and which bits it gets under a budget of size, BOPS or predicted latency."""

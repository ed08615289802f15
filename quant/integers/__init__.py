"""Integers: weights rounded to them, and the integer graph under construction."""

"""Measurements of speed: what a machine can do, and what maildrain makes of it."""

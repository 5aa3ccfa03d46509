"""Drivers: the two clocks. The simulator, where time jumps, and the real-time driver, where it passes."""

"""The transport layer: from program to program, over a network layer that promises nothing."""

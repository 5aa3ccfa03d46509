"""The physical layer: bits, wires, and what every network device offers to the layer above."""

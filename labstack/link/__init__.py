"""The link layer: frames between machines on the same cable."""

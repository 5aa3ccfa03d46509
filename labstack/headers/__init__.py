"""Headers: bytes ↔ fields, one header a file, no state. Any layer may read any header.

Each header is a slotted dataclass with `parse(data)`, which reads one from the front of a buffer, and
`pack()`, which gives the bytes back; what does not fit the header does not exist. `FIELDS` describes it bit
by bit: the diagrams in the book are drawn from that.
"""

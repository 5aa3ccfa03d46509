"""Seeing the network: what crossed the wires, in pictures, tables, captures and reasons.

`observe` stands beside the house: it listens to events and reads headers, and nothing below imports it.
Only drawing charts and tables takes other people's packages (`pip install labstack[notebooks]`).
"""

from labstack.observe.encapsulation import Dissection
from labstack.observe.header_diagram import HeaderDiagram, header_diagram
from labstack.observe.ladder import Ladder
from labstack.observe.models import models
from labstack.observe.packet import Packet
from labstack.observe.trace import Trace

__all__ = ["Dissection", "HeaderDiagram", "Ladder", "Packet", "Trace", "header_diagram", "models"]

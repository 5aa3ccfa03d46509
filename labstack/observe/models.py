"""The layers of a real frame, set beside the models that name them.

OSI: ISO/IEC 7498-1. TCP/IP: RFC 1122 §1.1.3. Five layers: as most textbooks count.
"""

from __future__ import annotations

from labstack.observe.layers import layers
from labstack.observe.look import Grid

_MODELS = {
    "Ethernet": ("2 data link", "link", "2 link"),
    "ARP": ("2 data link", "link", "2 link"),
    "IPv4": ("3 network", "internet", "3 network"),
    "ICMP": ("3 network", "internet", "3 network"),
    "UDP": ("4 transport", "transport", "4 transport"),
    "TCP": ("4 transport", "transport", "4 transport"),
}
_APPLICATION = ("5–7 session, presentation, application", "application", "5 application")


def models(frame: bytes) -> Grid:
    """A table with a row for each part of the frame: which layer it is in OSI, in TCP/IP and in the
    five-layer model."""
    rows = []
    row = _APPLICATION
    for layer in layers(frame):
        if layer.name == "padding":
            continue
        # What ICMP carries is its own; what a transport carries belongs to the application.
        if layer.header is not None:
            row = _MODELS[layer.name]
        elif row != _MODELS["ICMP"]:
            row = _APPLICATION
        rows.append((layer.name, f"{layer.start}–{layer.end - 1}", *row))
    rows.append(("the bits themselves", "", "1 physical", "(below the model)", "1 physical"))
    return Grid(("part", "bytes", "OSI", "TCP/IP", "five layers"), rows)

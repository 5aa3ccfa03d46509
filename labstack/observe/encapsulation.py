"""Encapsulation: one frame from the outside in. Which bytes are which header, and what each of its fields
says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from labstack.observe import look
from labstack.observe.fields import FieldValue, fields, options
from labstack.observe.layers import Layer, layers

LAYER_HEIGHT = 40.0


@dataclass(slots=True, frozen=True)
class Dissected:
    """One layer of a frame: its bytes `start` to `end` (the first behind it), and its fields."""

    name: str
    start: int
    end: int
    fields: tuple[FieldValue, ...]
    options: str = ""


class Dissection(look.Picture):
    """A frame (without check sequence) taken apart. `layers` holds the same as data."""

    def __init__(self, frame: bytes) -> None:
        self.frame = frame
        self.layers = [_dissect(layer) for layer in layers(frame)]

    @property
    def text(self) -> str:
        """Every layer with its bytes, and every field with its value and meaning."""
        parts = []
        for layer in self.layers:
            size = layer.end - layer.start
            lines = [
                f"{layer.name}: bytes {layer.start} to {layer.end - 1} ({size} byte{'s' if size > 1 else ''})"
            ]
            if layer.fields:
                rows = [(f"  {field.name}", field.value, field.meaning) for field in layer.fields]
                lines.append(look.align(rows))
            elif layer.name == "data":
                lines.append(hexdump(self.frame[layer.start : layer.end], limit=4))
            if layer.options:
                lines.append(f"  options  {layer.options}")
            parts.append("\n".join(lines))
        return "\n".join(parts)

    def _numbers(self) -> tuple[list[str], list[tuple[Any, ...]]]:
        rows = [(layer.name, f.name, f.value, f.meaning) for layer in self.layers for f in layer.fields]
        return ["layer", "field", "value", "meaning"], rows

    @property
    def svg(self) -> str:
        """Boxes in boxes: each header before what it carries."""
        drawing = look.Drawing("encapsulation: " + ", ".join(layer.name for layer in self.layers))
        headers = [layer for layer in self.layers if layer.fields]
        width, left, right = 860.0, 16.0, 844.0
        padding = next((layer for layer in self.layers if layer.name == "padding"), None)
        data = next((layer for layer in self.layers if layer.name == "data"), None)
        drawing.words(left, 28, f"one frame, {len(self.frame)} bytes", 15, bold=True)
        y = 44.0
        start = left
        step = 118.0
        for layer in headers:
            colour = look.LAYERS.get(layer.name, look.BAND)
            stop = right - (74 if padding and layer is not headers[0] else 0)
            drawing.box(start, y, stop - start, LAYER_HEIGHT, look.PAPER, look.INK)
            drawing.box(start, y, step, LAYER_HEIGHT, colour, look.INK)
            drawing.words(start + step / 2, y + 17, layer.name, 12, look.INK, "middle", bold=True)
            drawing.words(start + step / 2, y + 31, _range(layer), 9, look.GREY, "middle")
            end = padding.start if padding and layer is not headers[0] else len(self.frame)
            text = f"carries {end - layer.end} bytes" if end > layer.end else "carries nothing"
            if layer is headers[-1] and data:
                text += " of data"
            middle = start + (step + min(stop, right - 74 if padding else stop) - start) / 2
            drawing.words(middle, y + 17, _says(layer), 10.5, look.INK, "middle", look.MONO)
            drawing.words(middle, y + 31, text, 9, look.GREY, "middle")
            if padding and layer is headers[0]:
                drawing.line(right - 74, y, right - 74, y + LAYER_HEIGHT, look.INK)
                drawing.words(right - 37, y + 17, "padding", 10, look.INK, "middle")
                drawing.words(
                    right - 37, y + 31, f"{padding.end - padding.start} bytes", 9, look.GREY, "middle"
                )
            start += step
            y += LAYER_HEIGHT + 8
        return drawing.svg(width, y + 8)


def _says(layer: Dissected) -> str:
    """What the header says, at its shortest."""
    value = {field.name: field.value for field in layer.fields}
    match layer.name:
        case "Ethernet":
            return f"{value['src']} → {value['dst']}, type {value['ethertype']}"
        case "IPv4":
            return f"{value['src']} → {value['dst']}, TTL {value['ttl']}, protocol {value['protocol']}"
        case "TCP":
            return (
                f"port {value['src_port']} → {value['dst_port']}, {value['flags']}, window {value['window']}"
            )
        case "UDP":
            return f"port {value['src_port']} → {value['dst_port']}, length {value['length']}"
        case "ICMP":
            return f"type {value['type']}, code {value['code']}"
        case "ARP":
            return f"{value['operation']}: {value['sender_ip']} to {value['target_ip']}"
    return ""


def _range(layer: Dissected) -> str:
    return f"bytes {layer.start}–{layer.end - 1}"


def _dissect(layer: Layer) -> Dissected:
    if layer.header is None:
        return Dissected(layer.name, layer.start, layer.end, ())
    return Dissected(layer.name, layer.start, layer.end, tuple(fields(layer.header)), options(layer.header))


def hexdump(data: bytes, limit: int = 0) -> str:
    """Sixteen bytes a line: their place, in hexadecimal, and as letters where they are such. `limit` lines,
    0: all."""
    lines = []
    for at in range(0, len(data), 16):
        if limit and at == 16 * limit:
            lines.append(f"  … {len(data) - at} more bytes")
            break
        row = data[at : at + 16]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"  {at:04x}  {row.hex(' '):<47}  {letters}")
    return "\n".join(lines)

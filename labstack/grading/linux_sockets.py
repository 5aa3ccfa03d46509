"""Sockets of the kernel's for stories: reads calls from standard input, a JSON line each, and answers them.

[number of the socket, name of the call, arguments]   →   {"result": …} or {"errno": …}
"""

import json
import socket
import struct
import sys
from typing import Any

RESET = struct.pack("ii", 1, 0)


def from_json(value: Any) -> Any:
    if isinstance(value, dict):
        return bytes.fromhex(value["bytes"])
    return tuple(value) if isinstance(value, list) else value


def main() -> None:
    sockets: list[socket.socket] = []

    def keep(new: socket.socket) -> int:
        new.setblocking(False)
        sockets.append(new)
        return len(sockets) - 1

    for line in sys.stdin:
        number, name, args = json.loads(line)
        try:
            if name == "socket":
                result: Any = keep(socket.socket())
            elif name == "accept":
                result = keep(sockets[number].accept()[0])
            else:
                result = getattr(sockets[number], name)(*map(from_json, args))
        except OSError as error:
            print(json.dumps({"errno": error.errno}), flush=True)
            continue
        told = {"bytes": result.hex()} if isinstance(result, bytes) else result
        print(json.dumps({"result": told}), flush=True)


if __name__ == "__main__":
    main()

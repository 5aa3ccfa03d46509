"""Four of chapter 02's seven ways to talk; the reader builds the other three. A function of each program.

Their source is sent to processes of their own (see `walls.py`), as the reader's is: so they are written as
in a notebook, without types, and use only what `apart.py` gives them.
"""

import os
import signal
import socket

from apart import MessageQueue


def fifo_hear(tell):
    os.mkfifo("talk.fifo")
    tell("talk.fifo")
    with open("talk.fifo", "rb") as fifo:
        return fifo.read()


def queue_hear(tell):
    queue = MessageQueue(f"/talk-{os.getpid()}", create=True)
    tell(queue.name.decode())
    message = queue.get()
    queue.remove()
    return message


def queue_say(name, message):
    MessageQueue(name).put(message)


def signal_hear(tell):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    tell(os.getpid())
    number = signal.sigwait({signal.SIGUSR1})
    return signal.Signals(number).name.encode()


def signal_say(name, message):
    os.kill(int(name), signal.SIGUSR1)


def unix_hear(tell):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("talk.socket")
        listener.listen()
        tell("talk.socket")
        return listener.accept()[0].recv(100)


def unix_say(name, message):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(name)
        s.sendall(message)

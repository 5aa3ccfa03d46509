"""What a conformance case is: a function of a world (see `worlds`), whose result is compared between
worlds."""

import functools

CASES = {}


def case(function):
    """A function of the world, by its own name."""
    CASES[function.__name__.replace("_", " ")] = function
    return function


def each(**named):
    """A case for each of the named values, which the function gets as its second argument."""

    def add(function):
        for name, value in named.items():
            label = f"{function.__name__}: {name}".replace("_", " ")
            CASES[label] = functools.partial(_with, function, value)
        return function

    return add


def _with(function, value, world):
    return function(world, value)


def select_now(w, s, events):
    """What a selector says at once; closed sockets cannot be registered."""
    with w.selector(s) as selector:
        try:
            selector.register(s, events)
        except ValueError:
            return "ValueError"
        return [got for _, got in selector.select(0)]

"""Sockets: the calls by which programs use the stack, as BSD made them and POSIX kept them."""

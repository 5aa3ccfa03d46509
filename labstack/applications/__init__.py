"""Applications: programs that stand on sockets. They know nothing of what lies beneath the calls of BSD."""

"""TCP: a reliable stream of bytes between two programs, over a network that loses, repeats and reorders (RFC
9293).

One role a file. `connection` is the state machine, and owns the timers; `receiver` puts the stream together
again, `sender` cuts it into segments, `rtt` knows how long an answer takes, `recovery` what is lost, and
`congestion` how much may be under way. `listener` keeps the connections that are not open yet, and `layer`
finds the right one for a segment.
"""

"""The rules that TCP obeys, in plain words, with the clause that each comes from.

Every segment leaves for one of these reasons, and every one that is thrown away falls under one: they are
what `trace.why(n)` prints. (In the other layers the rules stand beside the code; TCP's are many, and shared
by its roles.)
"""

from __future__ import annotations

from labstack.core.events import Rule

# Why a segment is sent
ACTIVE_OPEN = Rule("tcp.active_open", "the program connects: ask the peer for a connection", "RFC 9293 §3.5")
PASSIVE_OPEN = Rule("tcp.passive_open", "a listening port is asked for a connection: agree", "RFC 9293 §3.5")
SYN_COOKIE = Rule("tcp.syn_cookie",
    "half-open connections fill the backlog: agree, and keep nothing; the number is the memory",
    "RFC 4987 §3.6")  # fmt: skip
SIMULTANEOUS_OPEN = Rule("tcp.simultaneous_open", "both ends connect at the same time: agree",
    "RFC 9293 §3.5, figure 7")  # fmt: skip
HANDSHAKE_DONE = Rule("tcp.handshake_done", "the peer agreed: acknowledge its number too", "RFC 9293 §3.5")
DATA = Rule("tcp.data", "there are bytes to send, and both windows have room for them", "RFC 9293 §3.8")
CLOSE = Rule("tcp.close", "the program has nothing more to send: say so behind the last byte",
    "RFC 9293 §3.6")  # fmt: skip
ABORT = Rule("tcp.abort", "the program gives the connection up: tell the peer", "RFC 9293 §3.10.5")
ACKNOWLEDGE = Rule("tcp.acknowledge", "say what has arrived, and how much more may come", "RFC 9293 §3.8")
OUT_OF_ORDER = Rule("tcp.out_of_order", "not what is waited for: tell the sender at once", "RFC 5681 §4.2")
OLD_OR_EARLY = Rule("tcp.old_or_early", "outside the window: say what is waited for", "RFC 9293 §3.10.7.4")
FIN_RECEIVED = Rule("tcp.fin_received", "the peer has no more to send: acknowledge that", "RFC 9293 §3.6")
FIN_AGAIN = Rule("tcp.fin_again", "the peer's FIN comes again: our last ACK was lost", "RFC 9293 §3.6")
SYN_AGAIN = Rule("tcp.syn_again", "the SYN comes again: our answer was lost", "RFC 9293 §3.8.1")
WINDOW_UPDATE = Rule("tcp.window_update", "the program has read: tell the peer that there is room",
    "RFC 9293 §3.8.6")  # fmt: skip
PROBE = Rule("tcp.probe", "the peer's window is shut: ask with a byte if it still is", "RFC 9293 §3.8.6.1")
KEEPALIVE_PROBE = Rule("tcp.keepalive_probe", "what a peer has to answer, if it lives", "RFC 9293 §3.8.4")
FAST_RETRANSMIT = Rule("tcp.fast_retransmit",
    "three duplicate ACKs: what they wait for is lost, send it again", "RFC 5681 §3.2")  # fmt: skip
PARTIAL_ACK = Rule("tcp.partial_ack",
    "the repair is acknowledged, but not all behind it: the next gap is known", "RFC 6582 §3.2")  # fmt: skip
SENT_LATER_ARRIVED = Rule("tcp.sent_later_arrived", "a later one has arrived: this is lost", "RFC 8985 §6.2")
TAIL_LOSS_PROBE = Rule("tcp.tail_loss_probe", "no answer: make the peer say what it has", "RFC 8985 §7.3")
RETRANSMIT = Rule("tcp.retransmitted", "it is taken for lost: send it again", "RFC 6298 §5.4")
CHALLENGE_RST = Rule("tcp.challenge_rst", "a reset that is not quite in place: ask the peer", "RFC 5961 §3.2")
CHALLENGE_SYN = Rule("tcp.challenge_syn", "a SYN in an open connection: ask the peer", "RFC 5961 §4.2")
OLD_TIMESTAMP = Rule("tcp.old_timestamp", "it left before one that has arrived already", "RFC 7323 §5.3")
RESET_NO_CONNECTION = Rule("tcp.reset", "there is no such connection: tell the sender", "RFC 9293 §3.10.7.1")
RESET_BAD_ACK = Rule("tcp.reset_bad_ack", "it acknowledges what was never sent: reset it", "RFC 9293 §3.5.2")

SLOW_DOWN = Rule(
    "tcp.slow_down", "the peer got a packet that a full router marked: send less, as after a loss",
    "RFC 3168 §6.1.2")  # fmt: skip
CONGESTION_MARK = Rule(
    "tcp.congestion_mark", "a router marked it, for its queue is long: tell the sender until it has heard",
    "RFC 3168 §6.1.3")  # fmt: skip

URGENT = Rule("tcp.urgent", "there is urgent data, and no room for it: say so", "RFC 9293 §3.8.5")

# Timers
BATCH = Rule("tcp.batch", "the ACKs that came together are taken in: what they allow goes out in long pieces")
SECOND_SEGMENT = Rule(
    "tcp.second_segment", "two full segments have arrived: their ACK is due", "RFC 5681 §4.2")  # fmt: skip
DELAYED_ACK = Rule("tcp.delayed_ack", "the ACK has waited long enough for company", "RFC 9293 §3.8.6.3")
HANDSHAKE_TIMEOUT = Rule("tcp.handshake_timeout", "the SYN was not answered in time", "RFC 9293 §3.8.3")
RETRANSMISSION_TIMEOUT = Rule("tcp.retransmission_timeout",
    "no acknowledgement came in time: take all that is under way for lost", "RFC 6298 §5")  # fmt: skip
REORDERING_TIMEOUT = Rule("tcp.reordering_timeout", "no more overtaken, but lost", "RFC 8985 §6.2")
PROBE_TIMEOUT = Rule("tcp.probe_timeout", "what was sent last is not acknowledged", "RFC 8985 §7.2")
PERSIST_TIMEOUT = Rule("tcp.persist_timeout", "nothing is under way, the window is shut", "RFC 9293 §3.8.6.1")
KEEPALIVE = Rule("tcp.keepalive", "nothing has come for long: does the peer still live?", "RFC 9293 §3.8.4")
PACING = Rule("tcp.pacing", "what was sent has had its time at the rate: more may follow", "RFC 9002 §7.7")
TIME_WAIT_OVER = Rule("tcp.time_wait_over", "no segment of this connection can be alive any more",
    "RFC 9293 §3.6.1")  # fmt: skip

# Why a segment is dropped
NO_LISTENER = Rule("tcp.no_listener", "no program on this host has that port", "RFC 9293 §3.10.7.1")
NO_SYN = Rule("tcp.no_syn", "it does not belong to a connection, and does not open one", "RFC 9293 §3.10.7.2")
BACKLOG_FULL = Rule("tcp.backlog_full", "the program does not accept as fast as others connect")
BAD_COOKIE = Rule("tcp.bad_cookie", "it brings back a cookie that was never given out", "RFC 4987 §3.6")
TABLE_FULL = Rule("tcp.table_full", "this host has as many connections as it keeps")
NOT_UNICAST = Rule("tcp.not_unicast", "a connection is between two hosts, not groups",
    "RFC 9293 §3.9.2.3, MUST-57")  # fmt: skip
OUT_OF_WINDOW = Rule("tcp.out_of_window", "no byte of it is one that is waited for", "RFC 9293 §3.10.7.4")
NO_ACK = Rule("tcp.no_ack", "a segment of an open connection has to acknowledge", "RFC 9293 §3.10.7.4")
NO_TIMESTAMP = Rule("tcp.no_timestamp", "both ends agreed on timestamps, and it has none", "RFC 7323 §3.2")
BAD_ACK = Rule("tcp.bad_ack", "it acknowledges what was never sent", "RFC 9293 §3.10.7.4")
BAD_RESET = Rule("tcp.bad_reset", "a reset without the one right number", "RFC 9293 §3.10.7.3, RFC 5961 §3")
BAD_SYN = Rule("tcp.bad_syn", "a SYN in the window of an open connection", "RFC 5961 §4")
BEYOND_WINDOW = Rule("tcp.beyond_window", "bytes behind the right edge are cut off", "RFC 9293 §3.10.7.4")
TOO_MANY_HOLES = Rule("tcp.too_many_holes", "the stream has more gaps than this host keeps pieces between")
UNKNOWN_QUOTE = Rule("tcp.unknown_quote", "an ICMP error about a segment that was not sent", "RFC 5927 §4.1")
SOFT_ERROR = Rule("tcp.soft_error", "an ICMP error on an open connection: it may pass", "RFC 9293 §3.9.2.2")
AFTER_FIN = Rule("tcp.after_fin", "bytes behind the peer's FIN", "RFC 9293 §3.10.7.4")
NO_WAY = Rule("tcp.no_way", "the network layer has no way to the peer now")

# What observers follow
SPURIOUS = Rule("tcp.spurious", "what was sent again was not lost: the window is as before", "RFC 5682 §3.1")
URGENT_HEARD = Rule("tcp.urgent_heard", "the peer has urgent data: tell the program", "RFC 9293 §3.8.5")
PROBE_REPAIRED = Rule("tcp.probe_repaired", "the probe itself has repaired a loss", "RFC 8985 §7.4")
STATE = Rule("tcp.state", "the connection changes its state", "RFC 9293 §3.3.2")
WINDOW = Rule("tcp.window", "the windows, and what is under way", "RFC 5681 §2")
PHASE = Rule("tcp.phase", "congestion control enters another phase", "RFC 5681 §3")

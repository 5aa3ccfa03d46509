"""Merging is the opposite of segmentation: what goes up as one, cut again, is what came."""

from hypothesis import given, settings, strategies as st

from labstack.core.addresses import MAC, IPv4Address
from labstack.headers.ethernet import ETHERTYPE_IPV4, Ethernet
from labstack.headers.ipv4 import PROTO_TCP, IPv4, pseudo_sum
from labstack.headers.segmentation import segment
from labstack.headers.tcp import ACK, FIN, PSH, SYN, TCP, Options
from labstack.link.merging import merged, newest

MAC_A, MAC_B = MAC.parse("02:00:00:00:00:01"), MAC.parse("02:00:00:00:00:02")
A, B = IPv4Address.parse("10.0.0.1"), IPv4Address.parse("10.0.0.2")


def frame(seq: int, payload: bytes, number: int = 0, flags: int = ACK, **fields: object) -> bytes:
    """A segment from A to B, as it stands on the wire."""
    of_ip = {key: fields.pop(key) for key in ("ttl", "more_fragments", "ecn", "src") if key in fields}
    values = {"src_port": 80, "dst_port": 4000, "ack": 7, "window": 1000} | fields
    tcp = TCP(seq=seq & 0xFFFFFFFF, flags=flags, **values)  # type: ignore[arg-type]
    length = 20 + len(tcp.options) + len(payload)
    ip = IPv4(
        **{"src": A, "dst": B, "protocol": PROTO_TCP, "total_length": 20 + length,
           "identification": number & 0xFFFF, "dont_fragment": True} | of_ip
    )  # type: ignore[arg-type] # fmt: skip
    front = tcp.pack(pseudo_sum(ip.src, ip.dst, PROTO_TCP, length), payload)
    return Ethernet(MAC_B, MAC_A, ETHERTYPE_IPV4).pack() + ip.pack() + front + payload


def merge(frames: list[bytes]) -> list[tuple[bytes, int]]:
    return [(bytes(one), size) for one, size in merged(map(memoryview, frames))]


def cut(one: bytes, size: int) -> list[bytes]:
    """What a device makes of what was merged, on its way out."""
    if not size:
        return [one]
    front = 34 + (one[46] >> 4) * 4
    return [header + bytes(piece) for header, piece in segment(one[:front], one[front:], size)]


def stream(sizes: list[int], seq: int = 0, number: int = 0, **fields: object) -> list[bytes]:
    frames = []
    for size in sizes:
        frames.append(frame(seq, bytes((seq + k) & 0xFF for k in range(size)), number, **fields))
        seq, number = seq + size, number + 1
    return frames


def test_a_row_goes_up_as_one() -> None:
    frames = stream([1000] * 5 + [300], seq=0xFFFFF000)
    [(one, size)] = merge(frames)
    assert size == 1000 and len(one) == 54 + 5300
    assert IPv4.parse(one, 14).total_length == 5340
    assert cut(one, size) == frames


def test_a_datagram_is_no_longer_than_it_can_be() -> None:
    frames = stream([1460] * 60)
    found = merge(frames)
    assert [len(one) - 14 for one, _ in found] == [40 + 44 * 1460, 40 + 16 * 1460]
    assert [piece for one, size in found for piece in cut(one, size)] == frames


def test_what_must_not_be_merged_goes_up_as_it_came() -> None:
    one = stream([100] * 2)
    for other in (
        frame(200, bytes(100), 2, flags=ACK | FIN),
        frame(200, bytes(100), 2, flags=SYN),
        frame(200, bytes(100), 2, ack=8),
        frame(200, bytes(100), 2, window=1001),
        frame(200, bytes(100), 2, urgent=1),
        frame(200, bytes(100), 2, src_port=81),
        frame(200, bytes(100), 2, src=B),
        frame(200, bytes(100), 2, ttl=3),
        frame(200, bytes(100), 2, ecn=3),
        frame(200, bytes(100), 2, more_fragments=True),
        frame(200, bytes(100), 2, options=Options(timestamps=(1, 2)).pack()),
        frame(201, bytes(100), 2),  # a gap
        frame(100, bytes(100), 2),  # again
        frame(200, bytes(101), 2),  # longer than those before
        frame(200, b"", 2),
        frame(200, bytes(100), 2) + bytes(6),  # padded
        frame(200, bytes(100), 2)[:60],
        frame(200, bytes(100), 2)[:30],
        Ethernet(MAC_B, MAC_A, 0x88B5).pack() + bytes(100),
    ):
        found = merge([*one, other, *one])
        assert [size for _, size in found] == [100, 0, 100], other
        assert [piece for got, size in found for piece in cut(got, size)] == [*one, other, *one]


def test_with_options_as_well_if_they_are_the_same() -> None:
    frames = stream([500] * 4, options=Options(timestamps=(1, 2)).pack())
    later = stream([500] * 4, seq=2000, number=4, options=Options(timestamps=(2, 2)).pack())
    found = merge(frames + later)
    assert [len(one) for one, _ in found] == [66 + 2000] * 2
    assert [piece for one, size in found for piece in cut(one, size)] == frames + later


def test_a_push_is_the_end_of_a_row() -> None:
    frames = [*stream([100] * 2), frame(200, bytes(100), 2, flags=ACK | PSH), *stream([100] * 2, 300, 3)]
    found = merge(frames)
    assert [len(one) - 54 for one, _ in found] == [300, 200]
    assert [piece for one, size in found for piece in cut(one, size)] == frames


def test_one_wrong_bit_and_all_go_up_as_they_came() -> None:
    frames = stream([100] * 4)
    for at in range(14, 154, 7):
        wrong = bytearray(frames[2])
        wrong[at] ^= 0x10
        came = [*frames[:2], bytes(wrong), frames[3]]
        found = merge(came)
        assert [piece for one, size in found for piece in cut(one, size)] == came
        assert (bytes(wrong), 0) in found, "the stack shall find what is wrong with it"


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from((1, 2, 100, 100, 100, 1460)),
            st.sampled_from((0, 0, 0, 0, 1, -1)),
            st.sampled_from((ACK, ACK, ACK, ACK | PSH, FIN | ACK, 0)),
            st.sampled_from((80, 80, 80, 81)),
            st.integers(-200, 200),
        ),
        max_size=30,
    )
)
def test_cut_again_it_is_what_came(steps: list[tuple[int, int, int, int, int]]) -> None:
    """Two streams, with gaps and repetitions, flags, and now and then a wrong byte."""
    frames, seq, number = [], {80: 0xFFFFFF00, 81: 5}, {80: 0xFFFE, 81: 0}
    for size, jump, flags, port, wrong in steps:
        seq[port] += jump
        made = bytearray(
            frame(seq[port], bytes(range(size % 251)) or b"x", number[port], flags, src_port=port)
        )
        if 0 < wrong < len(made):
            made[wrong] ^= 1
        frames.append(bytes(made))
        seq[port] += len(made) - 54
        number[port] += 1
    assert [piece for one, size in merge(frames) for piece in cut(one, size)] == frames


def thin(frames: list[bytes], size: int = 0) -> list[bytes]:
    return [bytes(one) for one, _ in newest((frame, size) for frame in frames)]


def test_of_acknowledgements_in_a_row_the_last_tells_it_all() -> None:
    row = [frame(5, b"", n, ack=ack) for n, ack in enumerate((0xFFFFFF00, 0xFFFFFFFF, 1000, 3000))]
    assert thin(row) == row[-1:]
    data = frame(5, b"x")
    assert thin([*row[:2], data, *row[2:]]) == [row[1], data, row[3]]


def test_what_an_acknowledgement_says_besides_goes_up() -> None:
    first, later = frame(5, b"", ack=1000), frame(5, b"", ack=2000)
    sack = frame(5, b"", ack=3000, options=Options(sack=((4000, 5000),)).pack())
    for row in (
        [first, first, first],  # duplicates are counted
        [later, first],  # overtaken: nothing new, and TCP is to know
        [first, frame(6, b"", ack=2000)],
        [first, frame(5, b"", ack=2000, flags=ACK | FIN)],
        [first, frame(5, b"", ack=2000, src_port=81)],
        [first, frame(5, b"", ack=2000, ecn=3)],
        [first, sack, frame(5, b"", ack=4000)],
    ):
        assert thin(row) == row


def test_an_acknowledgement_that_is_not_whole_takes_no_other_with_it() -> None:
    first, later = frame(5, b"", ack=1000), frame(5, b"", ack=2000)
    broken = later[:45] + bytes([later[45] ^ 1]) + later[46:]
    assert thin([first, broken]) == [first, broken]
    assert thin([first, broken], size=1) == [broken], "where the device vouches for it, nobody computes it"

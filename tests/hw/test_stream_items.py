"""The bits of what streams carry, read from C++."""

from __future__ import annotations

import pytest

from edgeflow.hw.stream_items import Field, ItemLayouts, Member

SOURCE = """
static const int LINE_BYTES = 4;
typedef ap_uint<20> LineAddress;  // a line
typedef ap_int<WIDTH> Element;
static const int WIDTH = 9;

struct Line {
    ap_uint<8> byte[LINE_BYTES];
};

struct Request {
    LineAddress line;
    // A comment of its own.
    ap_uint<1> last;  // and one beside
    Line value;
};

template <class C>
struct Row {
    static const int HALF = C::PO / 2;
    static const int SIZE = HALF > 3 ? HALF : 3;
    Element sum[2][SIZE];
    ap_uint<4> tags[Row<C>::HALF];
};

struct Odd {
    unsigned *pointer;
};
"""


def layouts(outputs: int = 4) -> ItemLayouts:
    return ItemLayouts([SOURCE], {"PO": outputs})


def test_members_follow_one_another_from_the_lowest_bit() -> None:
    fields = layouts().fields("Request")
    assert fields[:3] == [Field(".line", 0, 20, False), Field(".last", 20, 1, False), Field(".value.byte[0]", 21, 8, False)]
    assert fields[-1] == Field(".value.byte[3]", 45, 8, False)
    assert layouts().bits("Request") == 53


def test_sizes_follow_the_configuration() -> None:
    assert layouts(4).bits("Row<C>") == 9 * 2 * 3 + 4 * 2
    assert layouts(16).bits("Row<C>") == 9 * 2 * 8 + 4 * 8
    assert layouts().fields("Row<C>")[3] == Field(".sum[1][0]", 27, 9, True)
    assert layouts().members("Row<C>") == [Member("sum", "Element", (2, 3)), Member("tags", "ap_uint<4>", (2,))]


def test_scalars_are_items_too() -> None:
    assert layouts().bits("LineAddress") == 20
    assert layouts().fields("Element") == [Field("", 0, 9, True)]
    assert layouts().structs(["LineAddress", "Request"]) == ["Line", "Request"]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("Odd", r"struct Odd: 'unsigned \*pointer;' is no member of a stream's item"),
        ("Missing", "the struct Missing of a stream's item is not known"),
        ("ap_uint<NOTHING>", "the constant NOTHING of a stream's item is not known"),
        ("ap_uint<WIDTH % 2>", "is no constant of a stream's item"),
    ],
)
def test_what_is_not_understood_is_refused(item: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layouts().bits(item)

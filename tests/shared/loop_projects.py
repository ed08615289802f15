"""HLS projects of one pipelined loop, for the gate on schedules."""

from __future__ import annotations

from pathlib import Path

HEAD = """#include "ap_int.h"
#include "hls_stream.h"

extern "C" void edgeflow_top(unsigned short count, const ap_uint<32>* source, ap_uint<32>* target) {
"""
SCRIPT = "set_part {xczu9eg-ffvb1156-2-e}\ncreate_clock -period 3.333 -name default\n"


def write_project(folder: Path, body: str) -> Path:
    """Write ``body``, the top function's, as a project for a ZCU102 at 300 MHz, and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "edgeflow_top.cpp").write_text(HEAD + body + "}\n")
    (folder / "run_hls.tcl").write_text(SCRIPT)
    return folder


def line_of(body: str, text: str) -> int:
    """The line in the project's file on which ``text`` stands, from 1."""
    return (HEAD + body)[: (HEAD + body).index(text)].count("\n") + 1


SOUND = """    ap_uint<32> total = 0;
sum_words:
    for (unsigned short n = 0; n < count; ++n) {
#pragma HLS PIPELINE II=1
        const ap_uint<32> word = source[n];
        total += word * ap_uint<16>(3);
    }
    target[0] = total;
"""

LONG_RECURRENCE = """    ap_uint<32> value = 1;
powers:
    for (unsigned short n = 0; n < count; ++n) {
#pragma HLS PIPELINE II=1
        value = value * ap_uint<32>(source[n]) + 7;
    }
    target[0] = value;
"""

TWO_WRITES = """    ap_uint<32> row[64];
#pragma HLS BIND_STORAGE variable=row type=ram_s2p impl=lutram
fill_row:
    for (unsigned short n = 0; n < count; ++n) {
#pragma HLS PIPELINE II=1
        const ap_uint<32> word = source[n];
        row[n & 63] = word;
        if ((word & 1) != 0) {
            row[word & 63] = 0;
        }
    }
    target[0] = row[count & 63];
"""

ONE_WRITE = TWO_WRITES.replace("row[n & 63] = word;", "").replace("row[word & 63] = 0;", "row[word & 63] = word;")

SHORT_DISTANCE = """    ap_int<18> ring[64];
#pragma HLS BIND_STORAGE variable=ring type=ram_s2p impl=lutram
#pragma HLS DEPENDENCE variable=ring type=inter direction=raw distance=4 dependent=true
filter_ring:
    for (unsigned short n = 0; n < count; ++n) {
#pragma HLS PIPELINE II=1
        const ap_int<18> before = ring[(n - 4) & 63];
        const ap_int<18> factor = ap_int<18>(source[n]);
        const ap_int<36> scaled = before * factor;
        ring[n & 63] = ap_int<18>(scaled >> 17);
    }
    target[0] = ring[count & 63];
"""

LONG_DISTANCE = SHORT_DISTANCE.replace("distance=4", "distance=16").replace("(n - 4)", "(n - 16)")

INDEPENDENT = SHORT_DISTANCE.replace("type=inter direction=raw distance=4 dependent=true", "inter false")

HISTOGRAM = """    ap_uint<16> bins[256];
#pragma HLS BIND_STORAGE variable=bins type=ram_2p impl=bram
count_bins:
    for (unsigned short n = 0; n < count; ++n) {
#pragma HLS PIPELINE II=1
        const ap_uint<8> bin = ap_uint<8>(source[n]);
        bins[bin] = bins[bin] + 1;
    }
    target[0] = bins[0];
"""

LATE_READ = """    hls::stream<ap_uint<32> > words;
#pragma HLS STREAM variable=words depth=16
    ap_uint<32> total = 0;
take_words:
    for (unsigned short n = 0; n < count; ++n) {
#pragma HLS PIPELINE II=1
        if (source[n] != 0) {
            total = words.read();
        }
    }
    target[0] = total;
"""

TWO_READS = LATE_READ.replace("total = words.read();", "total = words.read() + words.read();")

LANES = """    ap_int<16> lane[8];
#pragma HLS ARRAY_PARTITION variable=lane complete
    for (int i = 0; i < 8; ++i) {
#pragma HLS UNROLL
        lane[i] = 0;
    }
add_lanes:
    for (unsigned short n = 0; n < count; ++n) {
#pragma HLS PIPELINE II=1
        const ap_uint<32> word = source[n];
        ap_int<20> sum = 0;
        for (int i = 0; i < 8; ++i) {
#pragma HLS UNROLL
            sum += lane[i];
            lane[i] = ap_int<16>(word >> i);
        }
        target[n] = ap_uint<32>(sum);
    }
"""

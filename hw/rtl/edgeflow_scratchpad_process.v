// The scratchpad core behind the streams of its clients (hw/process_network.py): requests are numbers of lines, writes the items
// WriteRequest of hw/include/edgeflow/network/ports.hpp, first member lowest, `done` and `complete_rows` what writes report once they are in
// memory. Vectors hold the clients' parts from number 0 on.
//
// Lines from NARROW_LINES on ignore which halves of its bytes a write names. `complete_rows` of two writers in one cycle come in the order
// of their numbers.
module edgeflow_scratchpad_process #(
    parameter READERS = 7,
    parameter WRITERS = 4,
    parameter BANKS = 4,
    parameter LINES = 8192,
    parameter NARROW_LINES = 4096,
    parameter HALF_LINES = 4096,
    parameter QUEUE = 8,
    parameter NOTICES = 4,
    parameter LINE_BITS = 20,
    parameter WRITE_BITS = LINE_BITS + 7 + 7 + 2 + 2 + 512
) (
    input wire clk,
    input wire reset,

    input wire [READERS-1:0] requests_valid,
    output wire [READERS-1:0] requests_ready,
    input wire [READERS*LINE_BITS-1:0] requests_data,

    output wire [READERS-1:0] lines_valid,
    input wire [READERS-1:0] lines_ready,
    output wire [READERS*512-1:0] lines_data,

    input wire [WRITERS-1:0] writes_valid,
    output wire [WRITERS-1:0] writes_ready,
    input wire [WRITERS*WRITE_BITS-1:0] writes_data,

    output wire [WRITERS-1:0] done_valid,
    input wire [WRITERS-1:0] done_ready,
    output wire [WRITERS-1:0] done_data,

    output wire complete_rows_valid,
    input wire complete_rows_ready,
    output wire complete_rows_data
);
    localparam ADDRESS_BITS = $clog2(BANKS) + $clog2(LINES / BANKS);
    localparam PLACE_BITS = 7;
    localparam FIRST = LINE_BITS;
    localparam COUNT = FIRST + PLACE_BITS;
    localparam HALVES = COUNT + PLACE_BITS;
    localparam NOTICE = HALVES + 2;
    localparam VALUE = NOTICE + 2;
    localparam [LINE_BITS-1:0] WIDE = NARROW_LINES[LINE_BITS-1:0];
    localparam [1:0] DONE = 2'd1;
    localparam [1:0] ROW = 2'd2;

    wire [READERS*ADDRESS_BITS-1:0] read_line;
    wire [WRITERS*ADDRESS_BITS-1:0] write_line;
    wire [WRITERS*PLACE_BITS-1:0] write_first;
    wire [WRITERS*PLACE_BITS-1:0] write_count;
    wire [WRITERS*2-1:0] write_halves;
    wire [WRITERS*2-1:0] write_notice;
    wire [WRITERS*512-1:0] write_data;
    wire [WRITERS-1:0] notice_valid;
    wire [WRITERS-1:0] notice_ready;
    wire [WRITERS*2-1:0] notice;
    wire [WRITERS-1:0] rows;
    wire [READERS*LINE_BITS-1:0] unused_requests = requests_data;
    wire unused = &{1'b0, unused_requests};

    genvar r, w;
    generate
        for (r = 0; r < READERS; r = r + 1) begin : g_reader
            assign read_line[ADDRESS_BITS*r+:ADDRESS_BITS] = requests_data[LINE_BITS*r+:ADDRESS_BITS];
        end
        for (w = 0; w < WRITERS; w = w + 1) begin : g_writer
            wire [WRITE_BITS-1:0] item = writes_data[WRITE_BITS*w+:WRITE_BITS];
            wire wide = item[LINE_BITS-1:0] >= WIDE;
            assign write_line[ADDRESS_BITS*w+:ADDRESS_BITS] = item[ADDRESS_BITS-1:0];
            assign write_first[PLACE_BITS*w+:PLACE_BITS] = item[FIRST+:PLACE_BITS];
            assign write_count[PLACE_BITS*w+:PLACE_BITS] = item[COUNT+:PLACE_BITS];
            assign write_halves[2*w+:2] = item[HALVES+:2] | {2{wide}};
            assign write_notice[2*w+:2] = item[NOTICE+:2];
            assign write_data[512*w+:512] = item[VALUE+:512];

            wire done = notice[2*w+:2] == DONE;
            assign rows[w] = notice_valid[w] & notice[2*w+:2] == ROW;
            assign done_valid[w] = notice_valid[w] & done;
            // Of rows that are complete at once the first writer's is told first.
            if (w == 0) begin : g_first
                assign notice_ready[w] = done ? done_ready[w] : complete_rows_ready;
            end else begin : g_other
                assign notice_ready[w] = done ? done_ready[w] : complete_rows_ready & ~|rows[w-1:0];
            end
        end
    endgenerate
    assign done_data = {WRITERS{1'b1}};
    assign complete_rows_valid = |rows;
    assign complete_rows_data = 1'b1;

    edgeflow_scratchpad #(
        .READERS(READERS),
        .WRITERS(WRITERS),
        .BANKS(BANKS),
        .LINES(LINES),
        .LINE_BYTES(64),
        .HALF_LINES(HALF_LINES),
        .QUEUE(QUEUE),
        .NOTICES(NOTICES)
    ) core (
        .clk(clk),
        .reset(reset),
        .read_valid(requests_valid),
        .read_ready(requests_ready),
        .read_line(read_line),
        .data_valid(lines_valid),
        .data_ready(lines_ready),
        .data(lines_data),
        .write_valid(writes_valid),
        .write_ready(writes_ready),
        .write_line(write_line),
        .write_first(write_first),
        .write_count(write_count),
        .write_halves(write_halves),
        .write_notice(write_notice),
        .write_data(write_data),
        .notice_valid(notice_valid),
        .notice_ready(notice_ready),
        .notice(notice)
    );
endmodule

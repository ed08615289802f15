// The scratchpad's process with the core's ports, so that the core's checks hold it: writes become items, and what is reported notices
// again. Writer 0 reports commands and rows; the others report commands alone, whatever number their notices have here.
module scratchpad_process_ports #(
    parameter READERS = 7,
    parameter WRITERS = 4,
    parameter BANKS = 4,
    parameter LINES = 40,
    parameter LINE_BYTES = 64,
    parameter HALF_LINES = 0,
    parameter QUEUE = 8,
    parameter NOTICES = 4,
    parameter NARROW_LINES = LINES,
    parameter ADDRESS_BITS = $clog2(BANKS) + $clog2(LINES / BANKS)
) (
    input wire clk,
    input wire reset,
    input wire [READERS-1:0] read_valid,
    output wire [READERS-1:0] read_ready,
    input wire [READERS*ADDRESS_BITS-1:0] read_line,
    output wire [READERS-1:0] data_valid,
    input wire [READERS-1:0] data_ready,
    output wire [READERS*512-1:0] data,
    input wire [WRITERS-1:0] write_valid,
    output wire [WRITERS-1:0] write_ready,
    input wire [WRITERS*ADDRESS_BITS-1:0] write_line,
    input wire [WRITERS*7-1:0] write_first,
    input wire [WRITERS*7-1:0] write_count,
    input wire [WRITERS*2-1:0] write_halves,
    input wire [WRITERS*2-1:0] write_notice,
    input wire [WRITERS*512-1:0] write_data,
    output wire [WRITERS-1:0] notice_valid,
    input wire [WRITERS-1:0] notice_ready,
    output wire [WRITERS*2-1:0] notice
);
    localparam LINE_BITS = 20;
    localparam WRITE_BITS = LINE_BITS + 7 + 7 + 2 + 2 + 512;
    wire [READERS*LINE_BITS-1:0] requests;
    wire [WRITERS*WRITE_BITS-1:0] writes;
    wire [WRITERS-1:0] done_valid;
    wire [WRITERS-1:0] unused_done;
    wire rows_valid;
    wire unused_rows;
    genvar r, w;
    generate
        for (r = 0; r < READERS; r = r + 1) begin : g_reader
            assign requests[LINE_BITS*r+:LINE_BITS] = {{LINE_BITS - ADDRESS_BITS{1'b0}}, read_line[ADDRESS_BITS*r+:ADDRESS_BITS]};
        end
        for (w = 0; w < WRITERS; w = w + 1) begin : g_writer
            wire [1:0] said = write_notice[2*w+:2];
            wire [1:0] reported = w == 0 ? said : {1'b0, said != 2'b00};
            assign writes[WRITE_BITS*w+:WRITE_BITS] = {
                write_data[512*w+:512],
                reported,
                write_halves[2*w+:2],
                write_count[7*w+:7],
                write_first[7*w+:7],
                {LINE_BITS - ADDRESS_BITS{1'b0}},
                write_line[ADDRESS_BITS*w+:ADDRESS_BITS]
            };
            if (w == 0) begin : g_rows
                assign notice_valid[w] = done_valid[w] | rows_valid;
                assign notice[2*w+:2] = done_valid[w] ? 2'd1 : 2'd2;
            end else begin : g_commands
                wire unused_valid;
                wire unused_ready;
                edgeflow_stream #(
                    .BITS(2),
                    .DEPTH(16)
                ) numbers (
                    .clk(clk),
                    .reset(reset),
                    .in_valid(write_valid[w] & write_ready[w] & said != 2'b00),
                    .in_ready(unused_ready),
                    .in_data(said),
                    .out_valid(unused_valid),
                    .out_ready(notice_valid[w] & notice_ready[w]),
                    .out_data(notice[2*w+:2])
                );
                assign notice_valid[w] = done_valid[w];
            end
        end
    endgenerate
    edgeflow_scratchpad_process #(
        .READERS(READERS),
        .WRITERS(WRITERS),
        .BANKS(BANKS),
        .LINES(LINES),
        .NARROW_LINES(NARROW_LINES),
        .HALF_LINES(HALF_LINES),
        .QUEUE(QUEUE),
        .NOTICES(NOTICES)
    ) process (
        .clk(clk),
        .reset(reset),
        .requests_valid(read_valid),
        .requests_ready(read_ready),
        .requests_data(requests),
        .lines_valid(data_valid),
        .lines_ready(data_ready),
        .lines_data(data),
        .writes_valid(write_valid),
        .writes_ready(write_ready),
        .writes_data(writes),
        .done_valid(done_valid),
        .done_ready(notice_ready),
        .done_data(unused_done),
        .complete_rows_valid(rows_valid),
        .complete_rows_ready(notice_ready[0]),
        .complete_rows_data(unused_rows)
    );
endmodule

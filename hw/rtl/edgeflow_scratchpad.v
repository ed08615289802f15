// The scratchpad: LINES lines of LINE_BYTES bytes in BANKS banks, read and written by many clients at once (docs/accelerator.md).
//
//   read    a line that a reader wants.
//   data    the lines that it asked for, in order.
//   write   bytes [first, first + count) of a line; of the first HALF_LINES lines of each byte the low half (halves 1), the high half (2)
//           or both (3). count 0 writes nothing. A notice other than 0 is reported.
//   notice  what a writer's writes report, in order.
//
// Each port transfers where valid and ready meet; vectors hold the clients' parts from number 0 on. Lines lie in banks by their lowest
// bits. A bank takes one read and one write a cycle, that of the client with the lowest number. A read sees the writes that were taken in
// cycles before its own, and none that came with it or later; a notice comes in a cycle after its write's, so reads of its cycle see the
// write and those of its writer before it. A read is taken only with room reserved for its line, a write with a notice only with room for
// the notice: a client that does not take what it is owed stops itself and no other. Before the first write contents are undefined.
//
// BANKS is a power of two from 2 on, LINES and HALF_LINES are multiples of it, lines of both kinds none or two a bank or more, QUEUE (lines
// that a reader is owed at most) and NOTICES (likewise of a writer) are powers of two from 2 on. hw/scratchpad_core.py knows the cycles.
module edgeflow_scratchpad #(
    parameter READERS = 7,
    parameter WRITERS = 4,
    parameter BANKS = 4,
    parameter LINES = 2048,
    parameter LINE_BYTES = 64,
    parameter HALF_LINES = 0,
    parameter QUEUE = 8,
    parameter NOTICES = 4,
    parameter ADDRESS_BITS = $clog2(BANKS) + $clog2(LINES / BANKS),
    parameter PLACE_BITS = $clog2(LINE_BYTES) + 1
) (
    input wire clk,
    input wire reset,

    input wire [READERS-1:0] read_valid,
    output wire [READERS-1:0] read_ready,
    input wire [READERS*ADDRESS_BITS-1:0] read_line,

    output wire [READERS-1:0] data_valid,
    input wire [READERS-1:0] data_ready,
    output wire [READERS*8*LINE_BYTES-1:0] data,

    input wire [WRITERS-1:0] write_valid,
    output wire [WRITERS-1:0] write_ready,
    input wire [WRITERS*ADDRESS_BITS-1:0] write_line,
    input wire [WRITERS*PLACE_BITS-1:0] write_first,
    input wire [WRITERS*PLACE_BITS-1:0] write_count,
    input wire [WRITERS*2-1:0] write_halves,
    input wire [WRITERS*2-1:0] write_notice,
    input wire [WRITERS*8*LINE_BYTES-1:0] write_data,

    output wire [WRITERS-1:0] notice_valid,
    input wire [WRITERS-1:0] notice_ready,
    output wire [WRITERS*2-1:0] notice
);
    localparam BANK_BITS = $clog2(BANKS);
    localparam ROW_BITS = ADDRESS_BITS - BANK_BITS;
    localparam BITS = 8 * LINE_BYTES;
    localparam WRITE_BITS = BITS + 2 * PLACE_BITS + 3 + ROW_BITS;

    // What each bank is asked for and by whom: [bank][client].
    wire [BANKS*READERS-1:0] read_wants;
    wire [BANKS*READERS-1:0] read_blocked;
    wire [BANKS*WRITERS-1:0] write_wants;
    wire [BANKS*WRITERS-1:0] write_blocked;
    wire [READERS*ROW_BITS-1:0] read_rows;
    wire [WRITERS*WRITE_BITS-1:0] writes;
    wire [BANKS*BITS-1:0] lines;

    genvar b, r, w;
    generate
        for (b = 0; b < BANKS; b = b + 1) begin : g_bank
            edgeflow_scratchpad_bank #(
                .READERS(READERS),
                .WRITERS(WRITERS),
                .ROWS(LINES / BANKS),
                .LINE_BYTES(LINE_BYTES),
                .HALF_ROWS(HALF_LINES / BANKS)
            ) bank (
                .clk(clk),
                .reset(reset),
                .read_wants(read_wants[READERS*b+:READERS]),
                .read_rows(read_rows),
                .read_blocked(read_blocked[READERS*b+:READERS]),
                .line(lines[BITS*b+:BITS]),
                .write_wants(write_wants[WRITERS*b+:WRITERS]),
                .writes(writes),
                .write_blocked(write_blocked[WRITERS*b+:WRITERS])
            );
        end

        for (r = 0; r < READERS; r = r + 1) begin : g_reader
            wire room;
            wire [BANK_BITS-1:0] bank = read_line[ADDRESS_BITS*r+:BANK_BITS];
            wire [BANKS-1:0] blocked;
            for (b = 0; b < BANKS; b = b + 1) begin : g_wants
                localparam [BANK_BITS-1:0] BANK = b;
                assign read_wants[READERS*b+r] = read_valid[r] & room & bank == BANK;
                assign blocked[b] = read_blocked[READERS*b+r] & bank == BANK;
            end
            assign read_rows[ROW_BITS*r+:ROW_BITS] = read_line[ADDRESS_BITS*r+BANK_BITS+:ROW_BITS];
            assign read_ready[r] = room & ~|blocked;
            edgeflow_scratchpad_reader #(
                .BANKS(BANKS),
                .BITS(BITS),
                .QUEUE(QUEUE)
            ) reader (
                .clk(clk),
                .reset(reset),
                .room(room),
                .granted(read_valid[r] & read_ready[r]),
                .bank(bank),
                .lines(lines),
                .valid(data_valid[r]),
                .ready(data_ready[r]),
                .data(data[BITS*r+:BITS])
            );
        end

        for (w = 0; w < WRITERS; w = w + 1) begin : g_writer
            wire [BANK_BITS-1:0] bank = write_line[ADDRESS_BITS*w+:BANK_BITS];
            wire [PLACE_BITS-1:0] first = write_first[PLACE_BITS*w+:PLACE_BITS];
            wire [PLACE_BITS-1:0] count = write_count[PLACE_BITS*w+:PLACE_BITS];
            wire changes = count != {PLACE_BITS{1'b0}};
            wire reports = write_notice[2*w+:2] != 2'b00;
            wire room;
            wire may = ~reports | room;
            wire [BANKS-1:0] blocked;
            for (b = 0; b < BANKS; b = b + 1) begin : g_wants
                localparam [BANK_BITS-1:0] BANK = b;
                assign write_wants[WRITERS*b+w] = write_valid[w] & may & changes & bank == BANK;
                assign blocked[b] = write_blocked[WRITERS*b+w] & bank == BANK;
            end
            assign writes[WRITE_BITS*w+:WRITE_BITS] = {
                write_halves[2*w+:2],
                first,
                {1'b0, first} + {1'b0, count},
                write_line[ADDRESS_BITS*w+BANK_BITS+:ROW_BITS],
                write_data[BITS*w+:BITS]
            };
            assign write_ready[w] = may & ~(changes & |blocked);
            wire reported = write_valid[w] & write_ready[w] & reports;
            edgeflow_queue #(
                .BITS(2),
                .WORDS(NOTICES)
            ) queue (
                .clk(clk),
                .reset(reset),
                .room(room),
                .reserve(reported),
                .push(reported),
                .in(write_notice[2*w+:2]),
                .valid(notice_valid[w]),
                .ready(notice_ready[w]),
                .out(notice[2*w+:2])
            );
        end
    endgenerate
endmodule

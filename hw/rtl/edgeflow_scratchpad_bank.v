// A bank of the scratchpad: ROWS lines in block memory, one read and one write a cycle, each for the first client that wants it.
//
// A client wants what it may have: it has room for the answer. Cycle 0 chooses; in cycle 1 the registered row is read and the registered
// write takes place, so a read sees the writes of cycles before its own; in cycle 3 `line` has the row.
module edgeflow_scratchpad_bank #(
    parameter READERS = 7,
    parameter WRITERS = 4,
    parameter ROWS = 512,
    parameter ROW_BITS = $clog2(ROWS),
    parameter LINE_BYTES = 64,
    parameter PLACE_BITS = $clog2(LINE_BYTES) + 1,
    parameter LANE_BITS = 8
) (
    input wire clk,
    input wire reset,

    input wire [READERS-1:0] read_wants,
    input wire [READERS*ROW_BITS-1:0] read_rows,
    output wire [READERS-1:0] read_blocked,
    output reg [8*LINE_BYTES-1:0] line,

    input wire [WRITERS-1:0] write_wants,
    input wire [WRITERS*(8*LINE_BYTES+2*PLACE_BITS+3+ROW_BITS)-1:0] writes,  // each: halves, first byte and the one behind the last, row, data
    output wire [WRITERS-1:0] write_blocked
);
    localparam WRITE_BITS = 8 * LINE_BYTES + 2 * PLACE_BITS + 3 + ROW_BITS;
    localparam READER_BITS = READERS > 1 ? $clog2(READERS) : 1;
    localparam WRITER_BITS = WRITERS > 1 ? $clog2(WRITERS) : 1;
    localparam BYTE_LANES = 8 / LANE_BITS;
    localparam LANES = LINE_BYTES * BYTE_LANES;

    wire [READER_BITS-1:0] reader;
    wire [ROW_BITS-1:0] chosen_row;
    edgeflow_priority #(
        .CLIENTS(READERS)
    ) read_priority (
        .wants(read_wants),
        .blocked(read_blocked),
        .index(reader)
    );
    edgeflow_choice #(
        .BITS(ROW_BITS),
        .INPUTS(READERS)
    ) read_choice (
        .in(read_rows),
        .select(reader),
        .out(chosen_row)
    );
    wire [WRITER_BITS-1:0] writer;
    wire [WRITE_BITS-1:0] chosen_write;
    edgeflow_priority #(
        .CLIENTS(WRITERS)
    ) write_priority (
        .wants(write_wants),
        .blocked(write_blocked),
        .index(writer)
    );
    edgeflow_choice #(
        .BITS(WRITE_BITS),
        .INPUTS(WRITERS)
    ) write_choice (
        .in(writes),
        .select(writer),
        .out(chosen_write)
    );

    reg read;
    reg [ROW_BITS-1:0] read_row;
    reg write;
    reg [1:0] halves;
    reg [PLACE_BITS-1:0] first;
    reg [PLACE_BITS:0] last;
    reg [ROW_BITS-1:0] write_row;
    reg [8*LINE_BYTES-1:0] write_data;
    always @(posedge clk) begin
        read <= |read_wants;
        read_row <= chosen_row;
        write <= |write_wants & ~reset;
        {halves, first, last, write_row, write_data} <= chosen_write;
    end

    wire [LANES-1:0] enables;
    genvar b;
    generate
        for (b = 0; b < LINE_BYTES; b = b + 1) begin : g_byte
            localparam [PLACE_BITS:0] PLACE = b;
            wire inside = write & PLACE >= {1'b0, first} & PLACE < last;
            if (LANE_BITS == 4) begin : g_halves
                assign enables[2*b+:2] = {2{inside}} & halves;
            end else begin : g_whole
                assign enables[b] = inside;
            end
        end
        if (LANE_BITS != 4) begin : g_unused
            wire unused_halves = &{1'b0, halves};
        end
    endgenerate

    wire [8*LINE_BYTES-1:0] words;
    edgeflow_block_memory #(
        .LANES(LANES),
        .LANE_BITS(LANE_BITS),
        .WORDS(ROWS)
    ) memory (
        .clk(clk),
        .write(enables),
        .write_address(write_row),
        .write_data(write_data),
        .read(read),
        .read_address(read_row),
        .read_data(words)
    );
    always @(posedge clk) line <= words;
endmodule

// A bank of the scratchpad: ROWS lines in block memory, one read and one write a cycle, each for the first client that wants it. Of the
// first HALF_ROWS lines, half bytes can be written by themselves; they take a memory of their own, since block memories enable bytes.
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
    parameter HALF_ROWS = 0
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

    wire [8*LINE_BYTES-1:0] words;
    wire [LINE_BYTES-1:0] inside;
    genvar b;
    generate
        for (b = 0; b < LINE_BYTES; b = b + 1) begin : g_byte
            localparam [PLACE_BITS:0] PLACE = b;
            assign inside[b] = write & PLACE >= {1'b0, first} & PLACE < last;
        end

        if (HALF_ROWS == 0) begin : g_bytes
            edgeflow_block_memory #(
                .LANES(LINE_BYTES),
                .LANE_BITS(8),
                .WORDS(ROWS)
            ) memory (
                .clk(clk),
                .write(inside),
                .write_address(write_row),
                .write_data(write_data),
                .read(read),
                .read_address(read_row),
                .read_data(words)
            );
            wire unused_halves = &{1'b0, halves};
        end else begin : g_halves
            localparam ADDRESS_BITS = $clog2(HALF_ROWS);
            wire [2*LINE_BYTES-1:0] enables;
            wire [8*LINE_BYTES-1:0] half_words;
            wire write_half;
            wire read_half;
            for (b = 0; b < LINE_BYTES; b = b + 1) begin : g_enables
                assign enables[2*b+:2] = {2{inside[b] & write_half}} & halves;
            end
            edgeflow_block_memory #(
                .LANES(2 * LINE_BYTES),
                .LANE_BITS(4),
                .WORDS(HALF_ROWS)
            ) memory (
                .clk(clk),
                .write(enables),
                .write_address(write_row[ADDRESS_BITS-1:0]),
                .write_data(write_data),
                .read(read & read_half),
                .read_address(read_row[ADDRESS_BITS-1:0]),
                .read_data(half_words)
            );
            if (HALF_ROWS == ROWS) begin : g_all
                assign write_half = 1'b1;
                assign read_half = 1'b1;
                assign words = half_words;
            end else begin : g_both
                localparam REST_BITS = $clog2(ROWS - HALF_ROWS);
                localparam [ROW_BITS-1:0] REST = HALF_ROWS[ROW_BITS-1:0];
                wire [ROW_BITS-1:0] rest_write = write_row - REST;
                wire [ROW_BITS-1:0] rest_read = read_row - REST;
                wire [8*LINE_BYTES-1:0] rest_words;
                reg from_half;
                assign write_half = write_row < REST;
                assign read_half = read_row < REST;
                assign words = from_half ? half_words : rest_words;
                always @(posedge clk) if (read) from_half <= read_half;
                edgeflow_block_memory #(
                    .LANES(LINE_BYTES),
                    .LANE_BITS(8),
                    .WORDS(ROWS - HALF_ROWS)
                ) rest (
                    .clk(clk),
                    .write(inside & ~{LINE_BYTES{write_half}}),
                    .write_address(rest_write[REST_BITS-1:0]),
                    .write_data(write_data),
                    .read(read & ~read_half),
                    .read_address(rest_read[REST_BITS-1:0]),
                    .read_data(rest_words)
                );
                wire unused_rest = &{1'b0, rest_write, rest_read};
            end
            wire unused_rows = &{1'b0, write_row, read_row};
        end
    endgenerate
    always @(posedge clk) line <= words;
endmodule

// The array: PI inputs times PO outputs a cycle with weights that stay in place, as a core of its own (docs/accelerator.md).
//
//   load   words of the weight stream, LOAD_BYTES each, in the packing of hw/include/edgeflow/array.hpp: bytes (load_packing 0), halves (1)
//          or quarters (2, with QUARTERS). load_position counts runs of LOAD_BYTES / 2 slices; a word of halves or quarters starts at a
//          multiple of 2 or 4. load_quad: for steps of the 4-bit mode. load_unsigned: bytes are unsigned (operands must then be signed).
//   step   PI inputs of a row (of two rows where step_quad is set): bytes; half bytes, the upper where step_odd is set (step_nibbles); or
//          both halves, of two rows. step_first starts new sums; step_last ends the row.
//   sums   of every row, 32 bits each: [row of two][output].
//
// Each port transfers where valid and ready meet; loads are always taken. A step sees the words that were taken in cycles before its own,
// and none that came with it or later. The array never stops: a row begins only with room reserved in the queues for its sums.
//
// PI is a power of two from 4 on, PO even, LOAD_BYTES a power of two from 4 on whose half divides PI * PO / 2, ROWS (the rows that the
// queues hold) a power of two. hw/array_core.py knows the latency in cycles and what the core takes of a device.
module edgeflow_array_core #(
    parameter FAMILY = "ultrascale",
    parameter PI = 16,
    parameter PO = 16,
    parameter SLOTS = 32,
    parameter QUAD = 1,
    parameter QUARTERS = 1,
    parameter LOAD_BYTES = 16,
    parameter ROWS = 32,
    parameter SLOT_BITS = $clog2(SLOTS),
    parameter POSITION_BITS = PI * PO > LOAD_BYTES ? $clog2(PI * PO / LOAD_BYTES) : 1
) (
    input wire clk,
    input wire reset,

    input wire load_valid,
    output wire load_ready,
    input wire [8*LOAD_BYTES-1:0] load_data,
    input wire [SLOT_BITS-1:0] load_slot,
    input wire [POSITION_BITS-1:0] load_position,
    input wire [1:0] load_packing,
    input wire load_quad,
    input wire load_unsigned,

    input wire step_valid,
    output wire step_ready,
    input wire [8*PI-1:0] step_data,
    input wire [SLOT_BITS-1:0] step_slot,
    input wire step_first,
    input wire step_last,
    input wire step_signed,
    input wire step_quad,
    input wire step_nibbles,
    input wire step_odd,

    output wire sums_valid,
    input wire sums_ready,
    output wire [32*PO*(QUAD+1)-1:0] sums
);
    localparam PACKED = FAMILY == "7series" ? 0 : 1;
    localparam COLUMNS = PO / 2;
    localparam GROUPS = PI / 4;  // inputs of a class
    localparam HALF = LOAD_BYTES / 2;  // slices whose weights a word of bytes holds
    localparam BANK = HALF < GROUPS ? HALF : GROUPS;
    localparam BANKS = PI / BANK;
    localparam OPERAND_BITS = QUAD != 0 ? 14 : 9;
    localparam CREDIT_BITS = $clog2(ROWS) + 1;
    // Decoded weights travel in lanes. A word fills WORD_LANES slices. Where a column has more, its classes need lanes of their own, for
    // each comes a cycle later than the one before.
    localparam WORD_LANES = (QUARTERS != 0 ? 4 : 2) * HALF;
    localparam CLASS_LANES = WORD_LANES < GROUPS ? WORD_LANES : GROUPS;
    localparam LANES = WORD_LANES < PI ? 4 * CLASS_LANES : WORD_LANES;

    // Room in the queues: a row takes it with its first step, and gives it back when its sums are taken.
    reg in_row;
    reg [CREDIT_BITS-1:0] credits;
    reg [CREDIT_BITS-1:0] finished;
    wire [COLUMNS-1:0] stored;
    assign sums_valid = finished != {CREDIT_BITS{1'b0}};
    assign step_ready = in_row | credits != {CREDIT_BITS{1'b0}};
    assign load_ready = 1'b1;
    wire accepted = step_valid & step_ready;
    wire begun = accepted & ~in_row;
    wire taken = sums_valid & sums_ready;
    localparam [CREDIT_BITS-1:0] ALL_CREDITS = ROWS[CREDIT_BITS-1:0];
    always @(posedge clk) begin
        if (reset) begin
            in_row <= 1'b0;
            credits <= ALL_CREDITS;
            finished <= {CREDIT_BITS{1'b0}};
        end else begin
            if (accepted) in_row <= ~step_last;
            credits <= credits + {{CREDIT_BITS - 1{1'b0}}, taken} - {{CREDIT_BITS - 1{1'b0}}, begun};
            finished <= finished + {{CREDIT_BITS - 1{1'b0}}, stored[COLUMNS-1]} - {{CREDIT_BITS - 1{1'b0}}, taken};
        end
    end
    wire unused_stored = &{1'b0, stored};

    // Steps and words of weights are registered. What belongs to class c of the inputs waits c cycles more.
    localparam ENTRY_BITS = SLOT_BITS + 4 + 2 * PI;  // slot, signed, quad, nibbles, odd, the bytes of a class
    localparam WORD_BITS = SLOT_BITS + 4 + 8 * LOAD_BYTES;  // slot, packing, quad, unsigned, data
    reg entry_valid;
    reg entry_first;
    reg entry_last;
    reg word_valid;
    reg [POSITION_BITS-1:0] word_position;
    always @(posedge clk) begin
        entry_valid <= accepted & ~reset;
        entry_first <= step_first;
        entry_last <= step_last;
        word_valid <= load_valid & ~reset;
        word_position <= load_position;
    end
    wire [4*ENTRY_BITS-1:0] entries;
    wire [WORD_BITS*5-1:0] class_words;
    assign class_words[WORD_BITS-1:0] = {load_slot, load_packing, load_quad, load_unsigned, load_data};
    genvar c;
    generate
        for (c = 0; c < 4; c = c + 1) begin : g_entry
            edgeflow_delay #(
                .BITS(ENTRY_BITS),
                .STAGES(1 + c)
            ) entry_skew (
                .clk(clk),
                .reset(reset),
                .in({step_slot, step_signed, step_quad, step_nibbles, step_odd, step_data[2*PI*c+:2*PI]}),
                .out(entries[ENTRY_BITS*c+:ENTRY_BITS])
            );
            edgeflow_delay #(
                .BITS(WORD_BITS)
            ) word_skew (
                .clk(clk),
                .reset(reset),
                .in(class_words[WORD_BITS*c+:WORD_BITS]),
                .out(class_words[WORD_BITS*(c+1)+:WORD_BITS])
            );
        end
    endgenerate

    // What passes from column to column, each of which registers it: at index 0 what enters the first one.
    wire [PI*OPERAND_BITS*(COLUMNS+1)-1:0] operands;
    wire [4*SLOT_BITS*(COLUMNS+1)-1:0] read_slots;
    wire [4*SLOT_BITS*(COLUMNS+1)-1:0] write_slots;
    wire [18*LANES*(COLUMNS+1)-1:0] lanes;
    wire [4*(COLUMNS+1)-1:0] steps;  // valid, first, last, quad
    wire [(POSITION_BITS+3)*(COLUMNS+1)-1:0] words;  // valid, packing, position
    assign words[POSITION_BITS+2:0] = {word_valid, class_words[WORD_BITS+8*LOAD_BYTES+2+:2], word_position};
    edgeflow_delay #(
        .BITS(3)
    ) step_entry (
        .clk(clk),
        .reset(reset),
        .in({entry_first, entry_last, entries[2*PI+2]}),
        .out(steps[2:0])
    );
    edgeflow_delay #(
        .CLEARED(1)
    ) valid_entry (
        .clk(clk),
        .reset(reset),
        .in(entry_valid),
        .out(steps[3])
    );
    genvar i, n, p, b;
    generate
        for (i = 0; i < PI; i = i + 1) begin : g_operand
            localparam ENTRY = ENTRY_BITS * (i / GROUPS);
            wire [OPERAND_BITS-1:0] operand;
            edgeflow_operand #(
                .QUAD(QUAD),
                .BITS(OPERAND_BITS)
            ) former (
                .data(entries[ENTRY+8*(i%GROUPS)+:8]),
                .odd(entries[ENTRY+2*PI]),
                .nibbles(entries[ENTRY+2*PI+1]),
                .quad(entries[ENTRY+2*PI+2]),
                .is_signed(entries[ENTRY+2*PI+3]),
                .operand(operand)
            );
            edgeflow_delay #(
                .BITS(OPERAND_BITS)
            ) entry (
                .clk(clk),
                .reset(reset),
                .in(operand),
                .out(operands[OPERAND_BITS*i+:OPERAND_BITS])
            );
        end
        for (c = 0; c < 4; c = c + 1) begin : g_slots
            edgeflow_delay #(
                .BITS(2 * SLOT_BITS)
            ) entry (
                .clk(clk),
                .reset(reset),
                .in({class_words[WORD_BITS*(c+1)+8*LOAD_BYTES+4+:SLOT_BITS], entries[ENTRY_BITS*c+2*PI+4+:SLOT_BITS]}),
                .out({write_slots[SLOT_BITS*c+:SLOT_BITS], read_slots[SLOT_BITS*c+:SLOT_BITS]})
            );
        end
        for (n = 0; n < LANES; n = n + 1) begin : g_lane
            localparam CLASS = WORD_LANES < PI ? n / CLASS_LANES : n % PI / GROUPS;
            localparam LANE = WORD_LANES < PI ? (CLASS * GROUPS + n % CLASS_LANES) % WORD_LANES : n;
            localparam WORD = WORD_BITS * (CLASS + 1);
            wire [17:0] pair;
            edgeflow_load_decoder #(
                .LANE(LANE),
                .LOAD_BYTES(LOAD_BYTES),
                .QUAD(QUAD),
                .QUARTERS(QUARTERS),
                .PACKED(PACKED)
            ) decoder (
                .data(class_words[WORD+:8*LOAD_BYTES]),
                .is_unsigned(class_words[WORD+8*LOAD_BYTES]),
                .quad(class_words[WORD+8*LOAD_BYTES+1]),
                .packing(class_words[WORD+8*LOAD_BYTES+2+:2]),
                .pair(pair)
            );
            edgeflow_delay #(
                .BITS(18)
            ) entry (
                .clk(clk),
                .reset(reset),
                .in(pair),
                .out(lanes[18*n+:18])
            );
        end

        for (p = 0; p < COLUMNS; p = p + 1) begin : g_column
            // Which banks the word writes: a word of halves or quarters covers 2 or 4 positions.
            wire [POSITION_BITS+2:0] word = words[(POSITION_BITS+3)*p+:POSITION_BITS+3];
            wire [BANKS-1:0] write;
            for (b = 0; b < BANKS; b = b + 1) begin : g_bank
                localparam integer POSITION = (p * PI + b * BANK) / HALF;
                wire [POSITION_BITS+1:0] differs = {2'b0, word[POSITION_BITS-1:0]} ^ POSITION[POSITION_BITS+1:0];
                assign write[b] = word[POSITION_BITS+2] & ~|differs[POSITION_BITS+1:2]
                    & (~differs[1] | (word[POSITION_BITS+1] && QUARTERS != 0))
                    & (~differs[0] | (word[POSITION_BITS+1] && QUARTERS != 0) | word[POSITION_BITS]);
            end
            wire [PI*18-1:0] write_weights;
            for (i = 0; i < PI; i = i + 1) begin : g_weight
                localparam LANE = WORD_LANES < PI ? i / GROUPS * CLASS_LANES + i % CLASS_LANES : (p * PI + i) % WORD_LANES;
                assign write_weights[18*i+:18] = lanes[18*LANES*p+18*LANE+:18];
            end

            wire [64*(QUAD+1)-1:0] column_sums;
            edgeflow_array_column #(
                .FAMILY(FAMILY),
                .PI(PI),
                .SLOTS(SLOTS),
                .SLOT_BITS(SLOT_BITS),
                .QUAD(QUAD),
                .OPERAND_BITS(OPERAND_BITS),
                .BANKS(BANKS),
                .LANES(LANES),
                .WORD_BITS(POSITION_BITS + 3),
                .ROWS(ROWS)
            ) column (
                .clk(clk),
                .reset(reset),
                .operands(operands[PI*OPERAND_BITS*p+:PI*OPERAND_BITS]),
                .operands_next(operands[PI*OPERAND_BITS*(p+1)+:PI*OPERAND_BITS]),
                .read_slots(read_slots[4*SLOT_BITS*p+:4*SLOT_BITS]),
                .read_slots_next(read_slots[4*SLOT_BITS*(p+1)+:4*SLOT_BITS]),
                .step(steps[4*p+:4]),
                .step_next(steps[4*(p+1)+:4]),
                .word(word),
                .word_next(words[(POSITION_BITS+3)*(p+1)+:POSITION_BITS+3]),
                .write(write),
                .write_slots(write_slots[4*SLOT_BITS*p+:4*SLOT_BITS]),
                .write_slots_next(write_slots[4*SLOT_BITS*(p+1)+:4*SLOT_BITS]),
                .write_weights(write_weights),
                .lanes(lanes[18*LANES*p+:18*LANES]),
                .lanes_next(lanes[18*LANES*(p+1)+:18*LANES]),
                .stored(stored[p]),
                .taken(taken),
                .sums(column_sums)
            );
            assign sums[64*p+:64] = column_sums[63:0];
            if (QUAD != 0) begin : g_second_row
                assign sums[32*PO+64*p+:64] = column_sums[127:64];
            end

        end
    endgenerate
    wire unused_ends = &{1'b0, operands, read_slots, write_slots, lanes, steps, words, entries};
endmodule

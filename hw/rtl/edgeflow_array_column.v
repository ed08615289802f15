// Two outputs of the array: their stationary weights beside PI slices (7series: 2 PI), the sums of a step, accumulators and the queue of
// finished rows.
//
// Input i is in class i / (PI / 4), which is its place in the cascade: everything about class c arrives c cycles after class 0. Banks are
// runs of inputs of one class whose weights one position of the weight stream holds. All inputs come from registers.
module edgeflow_array_column #(
    parameter FAMILY = "ultrascale",
    parameter PI = 16,
    parameter SLOTS = 32,
    parameter SLOT_BITS = 5,
    parameter QUAD = 1,
    parameter OPERAND_BITS = 14,
    parameter BANKS = 4,
    parameter LANES = 32,
    parameter WORD_BITS = 8,
    parameter ROWS = 32
) (
    input wire clk,
    input wire reset,
    input wire [PI*OPERAND_BITS-1:0] operands,
    output wire [PI*OPERAND_BITS-1:0] operands_next,
    input wire [4*SLOT_BITS-1:0] read_slots,
    output wire [4*SLOT_BITS-1:0] read_slots_next,
    // Of the step whose class 0 is there: valid, first, last, quad.
    input wire [3:0] step,
    output wire [3:0] step_next,
    // Class 0 of a word of weights comes a cycle after `word` (valid, packing, position), which says what of it to `write`.
    input wire [WORD_BITS-1:0] word,
    output wire [WORD_BITS-1:0] word_next,
    input wire [BANKS-1:0] write,
    input wire [4*SLOT_BITS-1:0] write_slots,
    output wire [4*SLOT_BITS-1:0] write_slots_next,
    input wire [PI*18-1:0] write_weights,  // those of the lanes that are this column's
    input wire [18*LANES-1:0] lanes,
    output wire [18*LANES-1:0] lanes_next,
    // The queue: `stored` a row more; `taken` one less.
    output wire stored,
    input wire taken,
    output wire [64*(QUAD+1)-1:0] sums
);
    localparam GROUPS = PI / 4;
    localparam LEVELS = $clog2(GROUPS);
    localparam BANK = PI / BANKS;
    localparam PACKED = FAMILY == "7series" ? 0 : 1;
    localparam HIGH_BITS = QUAD != 0 && PACKED != 0 && LEVELS > 3 ? 15 + LEVELS : 18;
    localparam SUM_STAGES = 7 + LEVELS + 3 * QUAD;  // from class 0 of a step to its sums
    localparam ROW_BITS = $clog2(ROWS);

    wire step_valid = step[3];
    wire step_first = step[2];
    wire step_last = step[1];
    wire step_quad = QUAD != 0 && step[0];

    // On to the next column.
    edgeflow_delay #(
        .BITS(PI * OPERAND_BITS + 8 * SLOT_BITS + 3 + WORD_BITS + 18 * LANES)
    ) hop (
        .clk(clk),
        .reset(reset),
        .in({operands, read_slots, write_slots, step[2:0], word, lanes}),
        .out({operands_next, read_slots_next, write_slots_next, step_next[2:0], word_next, lanes_next})
    );
    edgeflow_delay #(
        .CLEARED(1)
    ) valid_hop (
        .clk(clk),
        .reset(reset),
        .in(step_valid),
        .out(step_next[3])
    );

    // Stationary weights.
    wire [PI*18-1:0] weights;
    genvar b, g, i, s;
    generate
        for (b = 0; b < BANKS; b = b + 1) begin : g_bank
            localparam CLASS = b * BANK / GROUPS;
            wire write_now;
            edgeflow_delay #(
                .STAGES(1 + CLASS)
            ) write_delay (
                .clk(clk),
                .reset(reset),
                .in(write[b]),
                .out(write_now)
            );
            edgeflow_lut_memory #(
                .BITS(18 * BANK),
                .WORDS(SLOTS),
                .ADDRESS_BITS(SLOT_BITS)
            ) memory (
                .clk(clk),
                .write(write_now),
                .write_address(write_slots[CLASS*SLOT_BITS+:SLOT_BITS]),
                .write_data(write_weights[18*BANK*b+:18*BANK]),
                .read_address(read_slots[CLASS*SLOT_BITS+:SLOT_BITS]),
                .read_data(weights[18*BANK*b+:18*BANK])
            );
        end
    endgenerate

    // Modes and the step's place in its row travel beside the sums.
    wire bias_quad;
    wire gate_quad;
    reg select_quad;
    wire sum_first;
    wire sum_valid;
    wire sum_last;
    edgeflow_delay #(
        .STAGES(2)
    ) bias_delay (
        .clk(clk),
        .reset(reset),
        .in(step_quad),
        .out(bias_quad)
    );
    edgeflow_delay #(
        .STAGES(6 + LEVELS)
    ) gate_delay (
        .clk(clk),
        .reset(reset),
        .in(bias_quad),
        .out(gate_quad)
    );
    always @(posedge clk) select_quad <= gate_quad;
    edgeflow_delay #(
        .STAGES(SUM_STAGES)
    ) first_delay (
        .clk(clk),
        .reset(reset),
        .in(step_first),
        .out(sum_first)
    );
    edgeflow_delay #(
        .BITS(2),
        .STAGES(SUM_STAGES),
        .CLEARED(1)
    ) valid_delay (
        .clk(clk),
        .reset(reset),
        .in({step_valid, step_valid & step_last}),
        .out({sum_valid, sum_last})
    );

    // Products.
    wire [GROUPS*18-1:0] low;
    wire [GROUPS*HIGH_BITS-1:0] high;
    wire [GROUPS*11-1:0] odd_low;
    wire [GROUPS*11-1:0] odd_high;
    wire [PI*18-1:0] values;
    generate
        for (i = 0; i < PI; i = i + 1) begin : g_operand
            edgeflow_operand_expand #(
                .QUAD(QUAD),
                .BITS(OPERAND_BITS)
            ) expand (
                .operand(operands[OPERAND_BITS*i+:OPERAND_BITS]),
                .value(values[18*i+:18])
            );
        end
        for (g = 0; g < GROUPS; g = g + 1) begin : g_cascade
            wire [71:0] cascade_weights;
            wire [71:0] cascade_operands;
            for (s = 0; s < 4; s = s + 1) begin : g_class
                assign cascade_weights[18*s+:18] = weights[18*(s*GROUPS+g)+:18];
                assign cascade_operands[18*s+:18] = values[18*(s*GROUPS+g)+:18];
            end
            edgeflow_cascade #(
                .FAMILY(FAMILY),
                .QUAD(QUAD),
                .HIGH_BITS(HIGH_BITS)
            ) cascade (
                .clk(clk),
                .weights(cascade_weights),
                .operands(cascade_operands),
                .quad(bias_quad),
                .low(low[18*g+:18]),
                .high(high[HIGH_BITS*g+:HIGH_BITS]),
                .odd_low(odd_low[11*g+:11]),
                .odd_high(odd_high[11*g+:11])
            );
        end
    endgenerate

    wire [127:0] step_sums;
    edgeflow_field_sums #(
        .FAMILY(FAMILY),
        .QUAD(QUAD),
        .GROUPS(GROUPS),
        .HIGH_BITS(HIGH_BITS)
    ) field_sums (
        .clk(clk),
        .low(low),
        .high(high),
        .odd_low(odd_low),
        .odd_high(odd_high),
        .quad_gate(gate_quad),
        .quad_select(select_quad),
        .first0(step_sums[31:0]),
        .second0(step_sums[63:32]),
        .first1(step_sums[95:64]),
        .second1(step_sums[127:96])
    );

    // Accumulators: modulo 2^32.
    reg [64*(QUAD+1)-1:0] accumulators;
    reg row_done;
    genvar a;
    generate
        for (a = 0; a < 2 * (QUAD + 1); a = a + 1) begin : g_accumulator
            always @(posedge clk) begin
                if (sum_valid) begin
                    accumulators[32*a+:32] <= step_sums[32*a+:32] + (sum_first ? 32'b0 : accumulators[32*a+:32]);
                end
            end
        end
    endgenerate
    always @(posedge clk) row_done <= sum_last & ~reset;
    assign stored = row_done;
    wire unused = &{1'b0, step_sums};

    // The queue. Whoever accepts steps has reserved the word.
    reg [ROW_BITS-1:0] write_row;
    reg [ROW_BITS-1:0] read_row;
    always @(posedge clk) begin
        if (reset) begin
            write_row <= {ROW_BITS{1'b0}};
            read_row <= {ROW_BITS{1'b0}};
        end else begin
            write_row <= write_row + {{ROW_BITS - 1{1'b0}}, row_done};
            read_row <= read_row + {{ROW_BITS - 1{1'b0}}, taken};
        end
    end
    edgeflow_lut_memory #(
        .BITS(64 * (QUAD + 1)),
        .WORDS(ROWS),
        .ADDRESS_BITS(ROW_BITS)
    ) queue (
        .clk(clk),
        .write(row_done),
        .write_address(write_row),
        .write_data(accumulators),
        .read_address(read_row),
        .read_data(sums)
    );
endmodule

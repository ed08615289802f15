// The sums of a step, for two outputs and (in the 4-bit mode) two rows, from the words of GROUPS cascades: adder trees over whole words,
// and then what tells the fields of the sum apart. Latency: log2(GROUPS), and three cycles more with QUAD.
//
// In the 4-bit mode `low` carries field 0 and, 11 bits up, the lower bits of field 1; the sum of the latter is known from the tree over
// `odd_low`, so one difference at the root separates them, instead of a choice of fields before every tree. `high` (ultrascale) carries
// the upper 4 bits of field 1, field 2 and the lower bits of field 3. With S_k the sums of fields and T those of words:
//   T_low >> 11 = (S_0 >> 11) + lower(S_1)      E = (T_low >> 11) - S_1 = (S_0 >> 11) - 128 J,  J the sum of the upper 4 bits
//   T_high - J = 16 S_2 + 2^15 lower(S_3)       (T_high - J >> 15) - S_3 = S_2 >> 11, modulo GROUPS
// Fields are biased by half their range (edgeflow_cascade.v), GROUPS of them by half the range of their sum: its top bit is inverted.
module edgeflow_field_sums #(
    parameter FAMILY = "ultrascale",
    parameter QUAD = 1,
    parameter GROUPS = 4,
    parameter HIGH_BITS = 18
) (
    input wire clk,
    input wire [GROUPS*18-1:0] low,
    input wire [GROUPS*HIGH_BITS-1:0] high,
    input wire [GROUPS*11-1:0] odd_low,
    input wire [GROUPS*11-1:0] odd_high,
    input wire quad_gate,  // the mode of the step whose differences are formed, log2(GROUPS) + 1 cycles behind its words
    input wire quad_select,  // the same a cycle later
    output wire [31:0] first0,  // of the first row: the lower output
    output wire [31:0] second0,  // and the upper one
    output wire [31:0] first1,  // of the second row; 0 outside of the 4-bit mode
    output wire [31:0] second1
);
    localparam PACKED = FAMILY == "7series" ? 0 : 1;
    localparam LEVELS = $clog2(GROUPS);
    localparam CARRY = LEVELS < 1 ? 1 : LEVELS;  // bits by which sums of fields exceed fields
    localparam WORD = 18 + LEVELS;
    localparam HIGH = HIGH_BITS + LEVELS;
    localparam FIELD = 11 + LEVELS;

    wire [WORD-1:0] low_sum;
    wire [HIGH-1:0] high_sum;
    edgeflow_adder_tree #(
        .INPUTS(GROUPS),
        .BITS(18)
    ) low_tree (
        .clk(clk),
        .in(low),
        .out(low_sum)
    );
    edgeflow_adder_tree #(
        .INPUTS(GROUPS),
        .BITS(HIGH_BITS)
    ) high_tree (
        .clk(clk),
        .in(high),
        .out(high_sum)
    );

    generate
        if (QUAD == 0) begin : g_pair
            assign first0 = {{32 - WORD + 1{~low_sum[WORD-1]}}, low_sum[WORD-2:0]};
            assign second0 = {{32 - WORD + 1{~high_sum[WORD-1]}}, high_sum[WORD-2:0]};
            assign first1 = 32'b0;
            assign second1 = 32'b0;
            wire unused = &{1'b0, odd_low, odd_high, quad_gate, quad_select, high_sum};
        end else begin : g_quad
            wire [FIELD-1:0] odd_low_sum;
            wire [FIELD-1:0] odd_high_sum;
            edgeflow_adder_tree #(
                .INPUTS(GROUPS),
                .BITS(11)
            ) odd_low_tree (
                .clk(clk),
                .in(odd_low),
                .out(odd_low_sum)
            );
            edgeflow_adder_tree #(
                .INPUTS(GROUPS),
                .BITS(11)
            ) odd_high_tree (
                .clk(clk),
                .in(odd_high),
                .out(odd_high_sum)
            );

            // The differences: E of the lower word, and of the upper one where it stands alone.
            reg [FIELD:0] low_rest;
            reg [WORD-1:0] low_word;
            reg [HIGH-1:0] high_word;
            reg [FIELD-1:0] odd_low_word;
            reg [FIELD-1:0] odd_high_word;
            always @(posedge clk) begin
                low_rest <= {5'b0, low_sum[WORD-1:11]} - {1'b0, odd_low_sum};
                low_word <= low_sum;
                high_word <= high_sum;
                odd_low_word <= odd_low_sum;
                odd_high_word <= odd_high_sum;
            end

            reg [HIGH-1:0] high_next;
            reg [CARRY-1:0] low_carry;
            reg [WORD-1:0] low_next;
            reg [FIELD-1:0] odd_low_next;
            reg [FIELD-1:0] odd_high_next;
            wire [HIGH-1:0] upper_rest;
            if (PACKED != 0) begin : g_borrow
                assign upper_rest = {{HIGH - FIELD + 7{low_rest[FIELD]}}, low_rest[FIELD-1:7]} & {HIGH{quad_gate}};
            end else begin : g_alone
                assign upper_rest = {HIGH{1'b0}};
                wire unused_gate = &{1'b0, quad_gate};
            end
            wire unused_rest = &{1'b0, low_rest};
            always @(posedge clk) begin
                high_next <= high_word + upper_rest;
                low_carry <= low_rest[CARRY-1:0];
                low_next <= low_word;
                odd_low_next <= odd_low_word;
                odd_high_next <= odd_high_word;
            end

            // Field 2, at its place in the upper word.
            wire [CARRY+10:0] third;
            localparam PLACE = PACKED != 0 ? 4 : 0;
            wire [CARRY-1:0] third_carry = high_next[PLACE+11+:CARRY] - odd_high_next[CARRY-1:0];
            assign third = {third_carry, high_next[PLACE+:11]};
            wire [CARRY+10:0] zeroth = {low_carry, low_next[10:0]};

            reg [WORD-1:0] first_row0;
            reg [WORD-1:0] second_row0;
            reg [FIELD-1:0] first_row1;
            reg [FIELD-1:0] second_row1;
            always @(posedge clk) begin
                first_row0 <= quad_select ? {{8{~zeroth[FIELD-1]}}, zeroth[FIELD-2:0]} : {~low_next[WORD-1], low_next[WORD-2:0]};
                second_row0 <= quad_select ? {{8{~third[FIELD-1]}}, third[FIELD-2:0]} : {~high_next[WORD-1], high_next[WORD-2:0]};
                first_row1 <= quad_select ? {~odd_low_next[FIELD-1], odd_low_next[FIELD-2:0]} : {FIELD{1'b0}};
                second_row1 <= quad_select ? {~odd_high_next[FIELD-1], odd_high_next[FIELD-2:0]} : {FIELD{1'b0}};
            end
            assign first0 = {{32 - WORD{first_row0[WORD-1]}}, first_row0};
            assign second0 = {{32 - WORD{second_row0[WORD-1]}}, second_row0};
            assign first1 = {{32 - FIELD{first_row1[FIELD-1]}}, first_row1};
            assign second1 = {{32 - FIELD{second_row1[FIELD-1]}}, second_row1};
            wire unused = &{1'b0, high_next, zeroth, third};
        end
    endgenerate
endmodule

// One of INPUTS words of BITS: number `select`, which must be below INPUTS.
module edgeflow_choice #(
    parameter BITS = 8,
    parameter INPUTS = 4,
    parameter SELECT_BITS = INPUTS > 1 ? $clog2(INPUTS) : 1
) (
    input wire [INPUTS*BITS-1:0] in,
    input wire [SELECT_BITS-1:0] select,
    output wire [BITS-1:0] out
);
    generate
        if (INPUTS == 1) begin : g_one
            wire unused = &{1'b0, select};
            assign out = in;
        end else if (INPUTS == 2) begin : g_two
            assign out = select[0] ? in[2*BITS-1:BITS] : in[BITS-1:0];
        end else begin : g_more
            localparam LOWER = 1 << SELECT_BITS - 1;
            localparam UPPER = INPUTS - LOWER;
            localparam UPPER_BITS = UPPER > 1 ? $clog2(UPPER) : 1;
            wire [BITS-1:0] lower;
            wire [BITS-1:0] upper;
            edgeflow_choice #(
                .BITS(BITS),
                .INPUTS(LOWER)
            ) lower_choice (
                .in(in[LOWER*BITS-1:0]),
                .select(select[SELECT_BITS-2:0]),
                .out(lower)
            );
            edgeflow_choice #(
                .BITS(BITS),
                .INPUTS(UPPER)
            ) upper_choice (
                .in(in[INPUTS*BITS-1:LOWER*BITS]),
                .select(select[UPPER_BITS-1:0]),
                .out(upper)
            );
            assign out = select[SELECT_BITS-1] ? upper : lower;
        end
    endgenerate
endmodule

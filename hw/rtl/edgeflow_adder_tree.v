// The sum of INPUTS (a power of two) unsigned numbers of BITS, log2(INPUTS) cycles later: a binary tree with a register a level.
module edgeflow_adder_tree #(
    parameter INPUTS = 4,
    parameter BITS = 18
) (
    input wire clk,
    input wire [INPUTS*BITS-1:0] in,
    output wire [BITS+$clog2(INPUTS)-1:0] out
);
    generate
        if (INPUTS == 1) begin : g_leaf
            wire unused = &{1'b0, clk};
            assign out = in;
        end else begin : g_sum
            localparam HALF_BITS = BITS + $clog2(INPUTS) - 1;
            wire [HALF_BITS-1:0] lower;
            wire [HALF_BITS-1:0] upper;
            edgeflow_adder_tree #(
                .INPUTS(INPUTS / 2),
                .BITS(BITS)
            ) lower_tree (
                .clk(clk),
                .in(in[INPUTS/2*BITS-1:0]),
                .out(lower)
            );
            edgeflow_adder_tree #(
                .INPUTS(INPUTS / 2),
                .BITS(BITS)
            ) upper_tree (
                .clk(clk),
                .in(in[INPUTS*BITS-1:INPUTS/2*BITS]),
                .out(upper)
            );
            reg [HALF_BITS:0] sum;
            always @(posedge clk) sum <= {1'b0, lower} + {1'b0, upper};
            assign out = sum;
        end
    endgenerate
endmodule

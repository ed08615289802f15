// Two outputs of the array and PI inputs: PI / 4 cascades of four slices, whose sums are corrected, added in trees and accumulated
// (array.hpp: array_products). Weights and operands of slice k of a cascade arrive k cycles late, as their memories are read; sums are in
// the accumulators after 6 + log2(PI / 4) + 1 cycles. With QUAD each slice also makes four products of 4-bit weights and inputs.
module array_column #(parameter PI = 16, parameter QUAD = 0) (
    input clk, input [PI*`PACKED_BITS-1:0] weight, input [PI*`OPERAND_BITS-1:0] operand, input quad, input first,
    input signed [`ACCUMULATOR_BITS-1:0] bias0, input signed [`ACCUMULATOR_BITS-1:0] bias1,
    output reg signed [`ACCUMULATOR_BITS-1:0] low0, output reg signed [`ACCUMULATOR_BITS-1:0] high0,
    output reg signed [`ACCUMULATOR_BITS-1:0] low1, output reg signed [`ACCUMULATOR_BITS-1:0] high1);
    localparam G = PI / 4, S = `CASCADE_SUM_BITS, Q = `QUAD_SUM_BITS, L = $clog2(G);
    wire [G*S-1:0] lows, highs;
    wire [G*Q-1:0] rows1_low, rows1_high;
    genvar g, k;
    generate
        for (g = 0; g < G; g = g + 1) begin : cascade
            for (k = 0; k < 4; k = k + 1) begin : slice
                wire signed [47:0] p, pcout;
                wire signed [26:0] w = weight[(4*g+k)*`PACKED_BITS +: `PACKED_BITS];
                wire signed [17:0] x = operand[(4*g+k)*`OPERAND_BITS +: `OPERAND_BITS];
                if (k == 0) dsp_slice #(0, 1) s (clk, w, x, 48'sd0, p, pcout);
                else dsp_slice #(1, 1) s (clk, w, x, slice[k-1].pcout, p, pcout);
            end
            wire [47:0] p = slice[3].p;
            wire [S-1:0] high = p[2*S-1:S] + p[S-1];
            if (QUAD) begin : fields
                // A field's sum minus the sign of the one below; a carry out leaves 0, so it and the sign exclude one another.
                wire [Q:0] f1 = p[Q +: Q] + p[Q-1];
                wire [Q:0] f2 = p[2*Q +: Q] + (f1[Q] | f1[Q-1]);
                wire [Q-1:0] f3 = p[3*Q +: Q] + (f2[Q] | f2[Q-1]);
                assign lows[g*S +: S] = {quad ? {(S-Q){p[Q-1]}} : p[S-1:Q], p[Q-1:0]};
                assign highs[g*S +: S] = quad ? {{(S-Q){f2[Q-1]}}, f2[Q-1:0]} : high;
                assign rows1_low[g*Q +: Q] = f1[Q-1:0];
                assign rows1_high[g*Q +: Q] = f3;
            end else begin : pair
                assign lows[g*S +: S] = p[S-1:0];
                assign highs[g*S +: S] = high;
            end
        end
    endgenerate
    wire signed [S+L-1:0] low_sum, high_sum;
    adder_tree #(G, S) t0 (clk, lows, low_sum);
    adder_tree #(G, S) t1 (clk, highs, high_sum);
    always @(posedge clk) begin
        low0 <= (first ? bias0 : low0) + low_sum;
        high0 <= (first ? bias1 : high0) + high_sum;
    end
    generate
        if (QUAD) begin : second
            wire signed [Q+L-1:0] low_row, high_row;
            adder_tree #(G, Q) t2 (clk, rows1_low, low_row);
            adder_tree #(G, Q) t3 (clk, rows1_high, high_row);
            always @(posedge clk) begin
                low1 <= (first ? bias0 : low1) + low_row;
                high1 <= (first ? bias1 : high1) + high_row;
            end
        end else begin : none
            always @(posedge clk) begin low1 <= 0; high1 <= 0; end
        end
    endgenerate
endmodule

// Four slices whose products are added from PCOUT to PCIN, for two outputs; each slice's weights and operand arrive one cycle after those
// of the slice before. The sums come seven cycles after the first slice's operand.
//
// The first slice adds half of every field's range, so that all fields are non-negative and none borrows from the next: for fields of 18
// bits, or, where `quad` (two cycles behind the first slice's operand) is set, of 11. Sums of biased fields need no correction.
//   ultrascale  one cascade: `low` are bits 17..0, `high` those from 18 on, and in the 4-bit mode `odd_low` and `odd_high` fields 1 and 3.
//   7series     a cascade for each output: `low` and `high` are their lower 18 bits, `odd_low` and `odd_high` their fields 1.
module edgeflow_cascade #(
    parameter FAMILY = "ultrascale",
    parameter QUAD = 1,
    parameter HIGH_BITS = 18
) (
    input wire clk,
    input wire [71:0] weights,
    input wire [71:0] operands,
    input wire quad,
    output wire [17:0] low,
    output wire [HIGH_BITS-1:0] high,
    output wire [10:0] odd_low,
    output wire [10:0] odd_high
);
    localparam PACKED = FAMILY == "7series" ? 0 : 1;
    localparam CHAINS = PACKED != 0 ? 1 : 2;
    localparam [47:0] PAIR_BIAS = PACKED != 0 ? 48'h0_0008_0002_0000 : 48'h0_0000_0002_0000;
    localparam [47:0] QUAD_BIAS = PACKED != 0 ? 48'h0_0801_0020_0400 : 48'h0_0000_0020_0400;
    wire [47:0] bias = QUAD != 0 && quad ? QUAD_BIAS : PAIR_BIAS;
    wire [48*CHAINS-1:0] sums;

    genvar k, s;
    generate
        for (k = 0; k < CHAINS; k = k + 1) begin : g_chain
            wire [48*5-1:0] link;
            assign link[47:0] = 48'b0;
            for (s = 0; s < 4; s = s + 1) begin : g_slice
                wire [47:0] p;
                edgeflow_dsp_slice #(
                    .FAMILY(FAMILY),
                    .FIRST(s == 0 ? 1 : 0)
                ) slice (
                    .clk(clk),
                    .first(weights[18*s+9*k+:9]),
                    .second(weights[18*s+9+:9]),
                    .operand(operands[18*s+:18]),
                    .c(s == 0 ? bias : 48'hFFFF_FFFF_FFFF),
                    .pcin(link[48*s+:48]),
                    .p(p),
                    .pcout(link[48*(s+1)+:48])
                );
                if (s == 3) begin : g_last
                    assign sums[48*k+:48] = p;
                end else begin : g_inner
                    wire unused = &{1'b0, p};
                end
            end
            wire unused = &{1'b0, link[48*4+:48]};
        end
        assign low = sums[17:0];
        assign odd_low = sums[21:11];
        if (PACKED != 0) begin : g_packed
            assign high = sums[18+:HIGH_BITS];
            assign odd_high = sums[43:33];
        end else begin : g_single
            assign high = sums[48+:HIGH_BITS];
            assign odd_high = sums[48+11+:11];
        end
    endgenerate
    wire unused = &{1'b0, sums, quad};
endmodule

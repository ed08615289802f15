// BITS that arrive STAGES cycles later; none where STAGES is 0. CLEARED: reset clears what is on its way (else it becomes shift
// registers in LUTs).
module edgeflow_delay #(
    parameter BITS = 1,
    parameter STAGES = 1,
    parameter CLEARED = 0
) (
    input wire clk,
    input wire reset,
    input wire [BITS-1:0] in,
    output wire [BITS-1:0] out
);
    generate
        if (STAGES == 0) begin : g_wire
            wire unused = &{1'b0, clk, reset};
            assign out = in;
        end else begin : g_stages
            reg [BITS*STAGES-1:0] stages;
            wire [BITS*(STAGES+1)-1:0] next = {stages, in};
            assign out = stages[BITS*STAGES-1-:BITS];
            wire unused = &{1'b0, next[BITS*(STAGES+1)-1-:BITS]};
            if (CLEARED != 0) begin : g_cleared
                always @(posedge clk) stages <= reset ? {BITS * STAGES{1'b0}} : next[BITS*STAGES-1:0];
            end else begin : g_free
                wire unused_reset = &{1'b0, reset};
                always @(posedge clk) stages <= next[BITS*STAGES-1:0];
            end
        end
    endgenerate
endmodule

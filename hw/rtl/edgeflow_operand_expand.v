// The 18 bits of an operand as it travels: edgeflow_operand.
module edgeflow_operand_expand #(
    parameter QUAD = 1,
    parameter BITS = 14
) (
    input wire [BITS-1:0] operand,
    output wire [17:0] value
);
    generate
        if (QUAD != 0) begin : g_quad
            assign value = {{2{operand[13]}}, operand[13:9], {2{operand[8]}}, operand[8:0]};
        end else begin : g_plain
            assign value = {{9{operand[8]}}, operand};
        end
    endgenerate
endmodule

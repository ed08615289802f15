// The operand that a slice multiplies by, formed from a byte of the row that streams by: the byte, one of its halves, or both halves as
// those of two rows, (x1 << 11) + x0. Of its 18 bits only BITS differ from their neighbours and travel: edgeflow_operand_expand.
module edgeflow_operand #(
    parameter QUAD = 1,
    parameter BITS = 14
) (
    input wire [7:0] data,
    input wire is_signed,
    input wire quad,
    input wire nibbles,
    input wire odd,
    output wire [BITS-1:0] operand
);
    wire [3:0] nibble = odd ? data[7:4] : data[3:0];
    wire sign = is_signed & (nibbles ? nibble[3] : data[7]);
    wire [8:0] value = nibbles ? {{5{sign}}, nibble} : {sign, data};
    generate
        if (QUAD != 0) begin : g_quad
            wire low_sign = is_signed & data[3];
            wire high_sign = is_signed & data[7];
            wire [4:0] upper = {high_sign, data[7:4]} - {4'b0, low_sign};  // the lower half's borrow
            assign operand = quad ? {upper, {5{low_sign}}, data[3:0]} : {{5{value[8]}}, value};
        end else begin : g_plain
            wire unused = &{1'b0, quad};
            assign operand = value;
        end
    endgenerate
endmodule

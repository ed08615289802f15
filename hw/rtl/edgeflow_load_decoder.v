// The two weights of one slice, from a word of the weight stream: two bytes, the halves of one, or two of the quarters of one. LANE counts
// the slices whose weights a word can hold. The upper weight of a packed pair stands 22 bits up in the 4-bit mode, 4 more than otherwise.
module edgeflow_load_decoder #(
    parameter LANE = 0,
    parameter LOAD_BYTES = 16,
    parameter QUAD = 1,
    parameter QUARTERS = 1,
    parameter PACKED = 1
) (
    input wire [8*LOAD_BYTES-1:0] data,
    input wire [1:0] packing,
    input wire quad,
    input wire is_unsigned,
    output wire [17:0] pair
);
    localparam BYTE = LANE % (LOAD_BYTES / 2) * 16;
    localparam NIBBLE = LANE % LOAD_BYTES * 8;
    localparam QUARTER = LANE / 2 % LOAD_BYTES * 8 + LANE % 2 * 4;
    wire [8:0] byte0 = {~is_unsigned & data[BYTE+7], data[BYTE+:8]};
    wire [8:0] byte1 = {~is_unsigned & data[BYTE+15], data[BYTE+8+:8]};
    wire [8:0] nibble0 = {{5{data[NIBBLE+3]}}, data[NIBBLE+:4]};
    wire [8:0] nibble1 = {{5{data[NIBBLE+7]}}, data[NIBBLE+4+:4]};
    wire [8:0] quarter0 = {{7{data[QUARTER+1]}}, data[QUARTER+:2]};
    wire [8:0] quarter1 = {{7{data[QUARTER+3]}}, data[QUARTER+2+:2]};
    wire quarters = QUARTERS != 0 && packing[1];
    wire [8:0] first = quarters ? quarter0 : packing[0] ? nibble0 : byte0;
    wire [8:0] second = quarters ? quarter1 : packing[0] ? nibble1 : byte1;
    wire raised = QUAD != 0 && PACKED != 0 && quad;
    assign pair = {raised ? {second[4:0], 4'b0} : second, first};
    wire unused = &{1'b0, data, packing, quad};
endmodule

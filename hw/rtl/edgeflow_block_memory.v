// A block memory with one write and one read port: WORDS words of LANES lanes, each with a write enable. A word that is read in the cycle
// of its write has its old value.
module edgeflow_block_memory #(
    parameter LANES = 64,
    parameter LANE_BITS = 8,
    parameter WORDS = 512,
    parameter ADDRESS_BITS = $clog2(WORDS)
) (
    input wire clk,
    input wire [LANES-1:0] write,
    input wire [ADDRESS_BITS-1:0] write_address,
    input wire [LANES*LANE_BITS-1:0] write_data,
    input wire read,
    input wire [ADDRESS_BITS-1:0] read_address,
    output reg [LANES*LANE_BITS-1:0] read_data
);
    (* ram_style = "block" *) reg [LANES*LANE_BITS-1:0] words[0:WORDS-1];
    integer i;
    always @(posedge clk) begin
        for (i = 0; i < LANES; i = i + 1) begin
            if (write[i]) words[write_address][LANE_BITS*i+:LANE_BITS] <= write_data[LANE_BITS*i+:LANE_BITS];
        end
        if (read) read_data <= words[read_address];
    end
endmodule

// A memory in LUTs with one write and one read port. A word is read in the cycle of its address; a write is seen from the next cycle on.
module edgeflow_lut_memory #(
    parameter BITS = 18,
    parameter WORDS = 32,
    parameter ADDRESS_BITS = 5
) (
    input wire clk,
    input wire write,
    input wire [ADDRESS_BITS-1:0] write_address,
    input wire [BITS-1:0] write_data,
    input wire [ADDRESS_BITS-1:0] read_address,
    output wire [BITS-1:0] read_data
);
    (* ram_style = "distributed" *) reg [BITS-1:0] words[0:WORDS-1];
    always @(posedge clk) if (write) words[write_address] <= write_data;
    assign read_data = words[read_address];
endmodule

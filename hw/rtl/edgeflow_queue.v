// WORDS (a power of two from 2 on) words of BITS that wait for their reader, in LUTs. `reserve` takes room for a word that comes then or
// later with `push`; `room` says that some is left. A word that is pushed can be taken from the next cycle on, and its room a cycle after
// it was taken.
module edgeflow_queue #(
    parameter BITS = 8,
    parameter WORDS = 8
) (
    input wire clk,
    input wire reset,
    output wire room,
    input wire reserve,
    input wire push,
    input wire [BITS-1:0] in,
    output wire valid,
    input wire ready,
    output wire [BITS-1:0] out
);
    localparam ADDRESS_BITS = $clog2(WORDS);
    localparam COUNT_BITS = ADDRESS_BITS + 1;
    localparam [COUNT_BITS-1:0] NONE = {COUNT_BITS{1'b0}};
    localparam [COUNT_BITS-1:0] ALL = WORDS[COUNT_BITS-1:0];
    reg [COUNT_BITS-1:0] free;
    reg [COUNT_BITS-1:0] stored;
    reg [ADDRESS_BITS-1:0] first;
    reg [ADDRESS_BITS-1:0] next;
    assign room = free != NONE;
    assign valid = stored != NONE;
    wire taken = valid & ready;
    always @(posedge clk) begin
        if (reset) begin
            free <= ALL;
            stored <= NONE;
            first <= {ADDRESS_BITS{1'b0}};
            next <= {ADDRESS_BITS{1'b0}};
        end else begin
            free <= free + {{COUNT_BITS - 1{1'b0}}, taken} - {{COUNT_BITS - 1{1'b0}}, reserve};
            stored <= stored + {{COUNT_BITS - 1{1'b0}}, push} - {{COUNT_BITS - 1{1'b0}}, taken};
            first <= first + {{ADDRESS_BITS - 1{1'b0}}, taken};
            next <= next + {{ADDRESS_BITS - 1{1'b0}}, push};
        end
    end
    edgeflow_lut_memory #(
        .BITS(BITS),
        .WORDS(WORDS),
        .ADDRESS_BITS(ADDRESS_BITS)
    ) memory (
        .clk(clk),
        .write(push),
        .write_address(next),
        .write_data(in),
        .read_address(first),
        .read_data(out)
    );
endmodule

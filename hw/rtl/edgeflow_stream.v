// A stream between two processes: words of BITS in their order, at least DEPTH of them (from 2 on) while their reader waits. A transfer
// happens where valid and ready meet; what is offered stays until then. in_ready and out_valid come from registers alone. A word can be
// taken from the cycle after it came on; where it lies in block memory, from the third cycle on. One a cycle comes and goes.
//
// Few bits lie in LUT memories, more than LUT_BITS of more than 64 words in block memory.
module edgeflow_stream #(
    parameter BITS = 8,
    parameter DEPTH = 2,
    parameter LUT_BITS = 4096
) (
    input wire clk,
    input wire reset,
    input wire in_valid,
    output wire in_ready,
    input wire [BITS-1:0] in_data,
    output wire out_valid,
    input wire out_ready,
    output wire [BITS-1:0] out_data
);
    localparam ADDRESS_BITS = DEPTH > 2 ? $clog2(DEPTH) : 1;
    localparam WORDS = 1 << ADDRESS_BITS;
    generate
        if (DEPTH <= 64 || BITS * DEPTH <= LUT_BITS) begin : g_luts
            edgeflow_queue #(
                .BITS(BITS),
                .WORDS(WORDS)
            ) queue (
                .clk(clk),
                .reset(reset),
                .room(in_ready),
                .reserve(in_valid & in_ready),
                .push(in_valid & in_ready),
                .in(in_data),
                .valid(out_valid),
                .ready(out_ready),
                .out(out_data)
            );
        end else begin : g_block
            // Words are read as soon as the queue behind the memory has room for them.
            localparam COUNT_BITS = ADDRESS_BITS + 1;
            localparam [COUNT_BITS-1:0] NONE = {COUNT_BITS{1'b0}};
            localparam [COUNT_BITS-1:0] ALL = WORDS[COUNT_BITS-1:0];
            reg [COUNT_BITS-1:0] free;
            reg [COUNT_BITS-1:0] stored;
            reg [ADDRESS_BITS-1:0] first;
            reg [ADDRESS_BITS-1:0] next;
            reg arrives;
            wire room;
            wire [BITS-1:0] word;
            wire written = in_valid & in_ready;
            wire fetched = stored != NONE & room;
            assign in_ready = free != NONE;
            always @(posedge clk) begin
                if (reset) begin
                    free <= ALL;
                    stored <= NONE;
                    first <= {ADDRESS_BITS{1'b0}};
                    next <= {ADDRESS_BITS{1'b0}};
                    arrives <= 1'b0;
                end else begin
                    free <= free + {{COUNT_BITS - 1{1'b0}}, fetched} - {{COUNT_BITS - 1{1'b0}}, written};
                    stored <= stored + {{COUNT_BITS - 1{1'b0}}, written} - {{COUNT_BITS - 1{1'b0}}, fetched};
                    first <= first + {{ADDRESS_BITS - 1{1'b0}}, fetched};
                    next <= next + {{ADDRESS_BITS - 1{1'b0}}, written};
                    arrives <= fetched;
                end
            end
            edgeflow_block_memory #(
                .LANES(1),
                .LANE_BITS(BITS),
                .WORDS(WORDS)
            ) memory (
                .clk(clk),
                .write(written),
                .write_address(next),
                .write_data(in_data),
                .read(fetched),
                .read_address(first),
                .read_data(word)
            );
            edgeflow_queue #(
                .BITS(BITS),
                .WORDS(4)
            ) queue (
                .clk(clk),
                .reset(reset),
                .room(room),
                .reserve(fetched),
                .push(arrives),
                .in(word),
                .valid(out_valid),
                .ready(out_ready),
                .out(out_data)
            );
        end
    endgenerate
endmodule

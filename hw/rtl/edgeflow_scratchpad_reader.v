// The answers of one reader of the scratchpad. A line comes from its bank three cycles after it was granted and joins the queue.
module edgeflow_scratchpad_reader #(
    parameter BANKS = 4,
    parameter BITS = 512,
    parameter QUEUE = 8,
    parameter BANK_BITS = $clog2(BANKS)
) (
    input wire clk,
    input wire reset,
    output wire room,
    input wire granted,
    input wire [BANK_BITS-1:0] bank,
    input wire [BANKS*BITS-1:0] lines,  // of each bank
    output wire valid,
    input wire ready,
    output wire [BITS-1:0] data
);
    wire arrives;
    wire [BANK_BITS-1:0] arrives_from;
    wire [BITS-1:0] line;
    edgeflow_delay #(
        .STAGES(3),
        .CLEARED(1)
    ) valid_delay (
        .clk(clk),
        .reset(reset),
        .in(granted),
        .out(arrives)
    );
    edgeflow_delay #(
        .BITS(BANK_BITS),
        .STAGES(3),
        .CLEARED(1)
    ) bank_delay (
        .clk(clk),
        .reset(reset),
        .in(bank),
        .out(arrives_from)
    );
    edgeflow_choice #(
        .BITS(BITS),
        .INPUTS(BANKS)
    ) choice (
        .in(lines),
        .select(arrives_from),
        .out(line)
    );
    edgeflow_queue #(
        .BITS(BITS),
        .WORDS(QUEUE)
    ) queue (
        .clk(clk),
        .reset(reset),
        .room(room),
        .reserve(granted),
        .push(arrives),
        .in(line),
        .valid(valid),
        .ready(ready),
        .out(data)
    );
endmodule

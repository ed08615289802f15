// Commands of the array's process, decoded as they come: two wait, so that one follows another without a cycle between.
module edgeflow_array_commands #(
    parameter SLOT_BITS = 5
) (
    input wire clk,
    input wire reset,
    input wire commands_tvalid,
    output wire commands_tready,
    input wire [71:0] commands_tdata,
    // One is taken where `next` is set and one is there.
    input wire next,
    output wire begins,
    output wire has_steps,
    output wire has_loads,
    output wire values,
    output wire scores,
    output wire notice,
    output wire [15:0] rows,
    output wire [15:0] steps,
    output wire [SLOT_BITS-1:0] slot,
    output wire [19:0] loads
);
    wire [15:0] row_field = commands_tdata[19:4];
    wire [15:0] step_field = commands_tdata[35:20];
    wire [19:0] load_field = commands_tdata[71:52];
    wire steps_asked = row_field != 16'd0 & step_field != 16'd0;
    wire loads_asked = load_field != 20'd0;
    wire taken = commands_tvalid & commands_tready;
    wire waits;
    edgeflow_queue #(
        .BITS(SLOT_BITS + 57),
        .WORDS(2)
    ) queue (
        .clk(clk),
        .reset(reset),
        .room(commands_tready),
        .reserve(taken),
        .push(taken),
        .in({load_field, commands_tdata[36+:SLOT_BITS], step_field, row_field, commands_tdata[3:1], loads_asked, steps_asked}),
        .valid(waits),
        .ready(next),
        .out({loads, slot, steps, rows, notice, scores, values, has_loads, has_steps})
    );
    assign begins = waits & next;
    wire unused = &{1'b0, commands_tdata};
endmodule

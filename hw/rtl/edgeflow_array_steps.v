// The steps of a command of the array's process: where in its row each is, and whose weights it takes.
module edgeflow_array_steps #(
    parameter SLOT_BITS = 5
) (
    input wire clk,
    input wire reset,
    input wire begins,
    input wire begins_steps,
    input wire begins_values,
    input wire [15:0] begins_rows,
    input wire [15:0] begins_row_steps,
    input wire [SLOT_BITS-1:0] begins_slot,
    input wire taken,
    output reg stepping,
    output wire complete,  // none is left behind this cycle
    output reg from_values,
    output reg first,
    output reg last,
    output reg [SLOT_BITS-1:0] slot
);
    reg last_row;
    reg single;  // a row has one step
    reg [15:0] rows_left;
    reg [15:0] steps_left;
    reg [15:0] row_steps;
    reg [SLOT_BITS-1:0] first_slot;
    wire turns = taken & last;
    assign complete = ~stepping | (turns & last_row);
    always @(posedge clk) begin
        if (reset) stepping <= 1'b0;
        else stepping <= begins ? begins_steps : ~complete;
        if (begins) begin
            from_values <= begins_values;
            single <= begins_row_steps == 16'd1;
            row_steps <= begins_row_steps;
            first_slot <= begins_slot;
        end
        if (begins | turns) begin
            rows_left <= begins ? begins_rows : rows_left - 16'd1;
            last_row <= begins ? begins_rows == 16'd1 : rows_left == 16'd2;
        end
        if (begins | taken) begin
            first <= begins | last;
            last <= begins ? begins_row_steps == 16'd1 : last ? single : steps_left == 16'd2;
            steps_left <= begins ? begins_row_steps : last ? row_steps : steps_left - 16'd1;
            slot <= begins ? begins_slot : last ? first_slot : slot + {{SLOT_BITS - 1{1'b0}}, 1'b1};
        end
    end
endmodule

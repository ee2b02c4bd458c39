// The ECPIX-5 with its design: crystal and serial line. Its memory is inside of the controller's model, whose clock is
// that of the crystal, here as fast as the real controller's.

`timescale 1ns / 1ps

module bench(input rx, output tx, output ready);
  reg clk = 0;
  wire led;
  always #10 clk = ~clk;
  assign ready = ~led;
  top top(.clk100_0__io(clk), .uart_0__rx__io(rx), .uart_0__tx__io(tx), .led_0__io(led));
endmodule

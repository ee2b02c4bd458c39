"""Whole boards in Verilator: what is around the FPGA, and a program that has a serial port."""

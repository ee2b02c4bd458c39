# From the files of this folder to bitnet.bit, bitnet.bit.bin, bitnet.xsa and report.json:
#     vivado -mode batch -source build.tcl
# All numbers come from parameters.tcl. The only pins are those of the processing system, so there are no constraints
# beside its clock.

set here [file dirname [file normalize [info script]]]
source [file join $here parameters.tcl]

proc give_up {sentence} {
    # The word by which `bitnet-fpga build` finds it among all that Vivado says.
    puts stderr "ERROR: $sentence"
    error $sentence
}

proc pins {names} {
    set found {}
    foreach name $names { lappend found [get_bd_pins $name] }
    return $found
}

# ---- project

create_project bitnet [file join $here vivado] -part $part -force
set board_part [lindex [get_board_parts -quiet -latest_file_version $board_parts] 0]
if {$board_part eq ""} {
    give_up "Vivado has no board files for $board_parts: install them with xhub::install, or from its board store"
}
set_property board_part $board_part [current_project]
add_files -norecurse [list [file join $here accelerator.v] [file join $here bitnet.v]]
update_compile_order -fileset sources_1

# ---- block design: processing system, reset, the accelerator, and a bridge from AXI4 to its registers

create_bd_design system
set ps [create_bd_cell -type ip -vlnv xilinx.com:ip:zynq_ultra_ps_e ps]
apply_bd_automation -rule xilinx.com:bd_rule:zynq_ultra_ps_e -config {apply_board_preset 1} $ps
set_property -dict [list \
    CONFIG.PSU__USE__M_AXI_GP0 1 \
    CONFIG.PSU__USE__M_AXI_GP1 0 \
    CONFIG.PSU__USE__M_AXI_GP2 0 \
    CONFIG.PSU__MAXIGP0__DATA_WIDTH 128 \
    CONFIG.PSU__FPGA_PL0_ENABLE 1 \
    CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ $clock_mhz \
    CONFIG.PSU__USE__FABRIC__RST 1 \
    CONFIG.PSU__USE__IRQ0 1 \
    CONFIG.PSU__NUM_FABRIC_RESETS 1 \
] $ps
# S_AXI_HP0_FPD is S_AXI_GP2 in the names of its parameters, and so on.
for {set n 0} {$n < $ports} {incr n} {
    set gp [expr {$n + 2}]
    set_property -dict [list CONFIG.PSU__USE__S_AXI_GP$gp 1 CONFIG.PSU__SAXIGP${gp}__DATA_WIDTH $port_bits] $ps
}

set core [create_bd_cell -type module -reference bitnet core]
set reset [create_bd_cell -type ip -vlnv xilinx.com:ip:proc_sys_reset reset]
set bridge [create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect bridge]
set_property -dict [list CONFIG.NUM_SI 1 CONFIG.NUM_MI 1] $bridge

set clocked {core/aclk reset/slowest_sync_clk bridge/aclk ps/maxihpm0_fpd_aclk}
for {set n 0} {$n < $ports} {incr n} { lappend clocked ps/saxihp${n}_fpd_aclk }
connect_bd_net [get_bd_pins ps/pl_clk0] {*}[pins $clocked]
connect_bd_net [get_bd_pins ps/pl_resetn0] [get_bd_pins reset/ext_reset_in]
connect_bd_net [get_bd_pins reset/interconnect_aresetn] [get_bd_pins bridge/aresetn]
connect_bd_net [get_bd_pins reset/peripheral_aresetn] [get_bd_pins core/aresetn]
connect_bd_net [get_bd_pins core/irq] [get_bd_pins ps/pl_ps_irq0]

connect_bd_intf_net [get_bd_intf_pins ps/M_AXI_HPM0_FPD] [get_bd_intf_pins bridge/S00_AXI]
connect_bd_intf_net [get_bd_intf_pins bridge/M00_AXI] [get_bd_intf_pins core/s_axi_ctrl]
for {set n 0} {$n < $ports} {incr n} {
    connect_bd_intf_net [get_bd_intf_pins core/m_axi_$n] [get_bd_intf_pins ps/S_AXI_HP${n}_FPD]
}

# ---- addresses: registers for the processor, all of DDR and nothing else for the accelerator

assign_bd_address -offset $ctrl_address -range $ctrl_bytes -target_address_space [get_bd_addr_spaces ps/Data] \
    [get_bd_addr_segs -of_objects [get_bd_intf_pins core/s_axi_ctrl]] -force
for {set n 0} {$n < $ports} {incr n} {
    set space [get_bd_addr_spaces core/m_axi_$n]
    set gp [expr {$n + 2}]
    foreach part_of_ddr {DDR_LOW DDR_HIGH} {
        assign_bd_address -target_address_space $space [get_bd_addr_segs ps/SAXIGP$gp/HP${n}_$part_of_ddr] -force
    }
    foreach other {LPS_OCM QSPI} {
        exclude_bd_addr_seg -target_address_space $space [get_bd_addr_segs -quiet ps/SAXIGP$gp/HP${n}_$other]
    }
}
validate_bd_design
save_bd_design
add_files -norecurse [make_wrapper -files [get_files system.bd] -top]
set_property top system_wrapper [current_fileset]

# ---- bitstream

launch_runs impl_1 -to_step write_bitstream -jobs $jobs
wait_on_run impl_1
set run [get_runs impl_1]
if {[get_property PROGRESS $run] ne "100%"} { give_up "the implementation failed: see vivado/bitnet.runs" }
open_run impl_1
report_timing_summary -file [file join $here timing.txt]
report_utilization -hierarchical -file [file join $here utilisation_by_unit.txt]
set utilisation [report_utilization -return_string]

# ---- report.json

proc used {table row} {
    # Used and available of a row of Vivado's table; the columns between them differ from version to version.
    if {![regexp -line "^\\|\\s*[string map {( \\\\( ) \\\\)} $row]\\*?\\s*\\|(.*)\\|\\s*$" $table whole cells]} {
        give_up "report_utilization has no row $row"
    }
    set cells [split $cells |]
    return [list [string trim [lindex $cells 0]] [string trim [lindex $cells end-1]]]
}

set rows {}
foreach {name row} {lut {CLB LUTs} ff {CLB Registers} block_ram {Block RAM Tile} ultra_ram URAM dsp DSPs} {
    lassign [used $utilisation $row] count available
    lappend rows "    \"$name\": {\"used\": $count, \"available\": $available}"
}
set wns [get_property STATS.WNS $run]
set file [open [file join $here report.json] w]
puts $file "{"
puts $file "  \"board\": \"$board\","
puts $file "  \"preset\": \"$preset\","
puts $file "  \"build_id\": \"$build_id\","
puts $file "  \"vivado\": \"[version -short]\","
puts $file "  \"clock_mhz\": $clock_mhz,"
puts $file "  \"worst_setup_slack_ns\": $wns,"
puts $file "  \"worst_hold_slack_ns\": [get_property STATS.WHS $run],"
puts $file "  \"resources\": {\n[join $rows ",\n"]\n  }"
puts $file "}"
close $file
if {$wns < 0} {
    give_up "the bitstream misses $clock_mhz MHz by [expr {-$wns}] ns: lower clock_hz in boards/kv260.py and build again"
}

file copy -force [file join [get_property DIRECTORY $run] system_wrapper.bit] [file join $here bitnet.bit]
write_hw_platform -fixed -include_bit -force [file join $here bitnet.xsa]
cd $here
exec bootgen -arch zynqmp -image bitnet.bif -process_bitstream bin -w

# Stands for Vivado: commands of build.tcl are recorded, a line each with tabs between the words. What build.tcl must not
# use is not defined, and ends it.
#     RECORD=file RUN=folder WNS=ns BOARD_PART=name tclsh vivado.tcl build.tcl

set record [open $env(RECORD) w]
proc note {args} {
    global record
    puts $record [join $args \t]
    flush $record
}
foreach command {
    create_project set_property add_files update_compile_order create_bd_design apply_bd_automation connect_bd_net
    connect_bd_intf_net assign_bd_address exclude_bd_addr_seg validate_bd_design save_bd_design launch_runs wait_on_run
    open_run report_timing_summary write_hw_platform exec
} {
    proc $command args "note $command {*}\$args"
}
# These return what they were asked for.
foreach command {
    get_bd_pins get_bd_intf_pins get_bd_addr_spaces get_bd_addr_segs get_files get_runs make_wrapper create_bd_cell
} {
    proc $command args "note $command {*}\$args; return \[lindex \$args end\]"
}
proc current_project {} { return project }
proc current_fileset {} { return fileset }
proc get_board_parts args { return $::env(BOARD_PART) }
proc version args { return 2022.1 }
proc get_property {name of} {
    switch $name {
        PROGRESS { return 100% }
        STATS.WNS { return $::env(WNS) }
        STATS.WHS { return 0.012 }
        DIRECTORY { return $::env(RUN) }
    }
    error "no property $name"
}
proc report_utilization args {
    note report_utilization {*}$args
    return {
+----------------------------+--------+-------+------------+-----------+-------+
|          Site Type         |  Used  | Fixed | Prohibited | Available | Util% |
+----------------------------+--------+-------+------------+-----------+-------+
| CLB LUTs*                  |  60123 |     0 |          0 |    117120 | 51.33 |
|   LUT as Logic             |  50000 |     0 |          0 |    117120 | 42.69 |
| CLB Registers              |  70456 |     0 |          0 |    234240 | 30.08 |
| Block RAM Tile             |  101.5 |     0 |          0 |       144 | 70.49 |
| URAM                       |     16 |     0 |          0 |        64 | 25.00 |
| DSPs                       |    123 |     0 |          0 |      1248 |  9.86 |
+----------------------------+--------+-------+------------+-----------+-------+
}
}
source [lindex $argv 0]

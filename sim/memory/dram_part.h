// The numbers of a DRAM, of its controller and of the ports before it. sim/memory/part.py reads them from a file in
// parts/ and passes them as one text, `name=value,name=value`; every field has to be there.
//
// Unless it says otherwise a time is in clocks of the DRAM.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

namespace dram {

#define DRAM_PART_FIELDS(FIELD)                                                                                   \
    FIELD(dram_khz)     /* clock of the DRAM */                                                                   \
    FIELD(port_khz)     /* clock of the AXI ports */                                                              \
    FIELD(ratio)        /* clocks of the DRAM in one of the controller */                                         \
    FIELD(access_bytes) /* of one column command */                                                               \
    FIELD(data)         /* clocks of the data of one column command */                                            \
    FIELD(groups) FIELD(banks) /* bank groups, banks in each */                                                   \
    FIELD(group_bit) FIELD(bank_bit) FIELD(row_bit) /* lowest bit of each in an address */                        \
    FIELD(cl) FIELD(cwl) FIELD(rcd) FIELD(rp) FIELD(ras) FIELD(rc) FIELD(ccd_s) FIELD(ccd_l)                      \
    FIELD(rrd_s) FIELD(rrd_l) FIELD(faw) FIELD(wr) FIELD(wtr_s) FIELD(wtr_l) FIELD(rtp)                           \
    FIELD(turnaround)   /* clocks without data between a read and the write that follows it */                    \
    FIELD(refi) FIELD(rfc)                                                                                        \
    FIELD(read_queue) FIELD(write_queue) /* column commands from the gate until the data has passed it */         \
    FIELD(starve)       /* after this time the oldest command goes before those to open rows */                   \
    FIELD(run)          /* column commands in one direction before it may turn to the other */                    \
    FIELD(idle_gap)     /* time without reads after which writes are served */                                    \
    FIELD(bank_change)  /* time from the last command waiting for a bank to one for another; 0: no such rule */   \
    FIELD(own_channel)  /* 1: every gate has a DRAM of its own, 0: all share one */                               \
    FIELD(gate_0) FIELD(gate_1) FIELD(gate_2) FIELD(gate_3) /* gate of the controller behind a port */            \
    FIELD(ports)                                                                                                  \
    FIELD(gate_bytes)   /* that a gate returns in a clock of the controller */                                    \
    FIELD(split_beats)  /* a port splits bursts into pieces of as many beats */                                   \
    FIELD(commands)     /* bursts that a port queues for each direction */                                        \
    FIELD(issued)       /* pieces of reads that a port has under way */                                           \
    FIELD(fifo_bytes)   /* of reads promised or not yet taken by the master; of writes not yet sent */            \
    FIELD(request) FIELD(path) FIELD(response) /* from a port to the gate; the DRAM to the gate; the gate to a port */

struct Part {
#define FIELD(name) int64_t name = -1;
    DRAM_PART_FIELDS(FIELD)
#undef FIELD

    // Why the text is not a part, or nothing.
    std::string parse(const std::string &text) {
        for (size_t at = 0; at < text.size();) {
            size_t end = std::min(text.find(',', at), text.size()), equals = text.find('=', at);
            if (equals >= end) return "the part has an entry without a value";
            std::string name = text.substr(at, equals - at);
            int64_t *field = find(name);
            if (!field) return "the part has an unknown field " + name;
            *field = std::strtoll(text.c_str() + equals + 1, nullptr, 10);
            at = end + 1;
        }
#define FIELD(name) \
    if (name < 0) return "the part has no field " #name;
        DRAM_PART_FIELDS(FIELD)
#undef FIELD
        if (groups * banks > 64) return "the part has more than 64 banks";
        if (!dram_khz || !port_khz || !ratio || !access_bytes || !gate_bytes) return "the part has a field that is 0";
        return "";
    }

    int64_t gate(int port) const {
        const int64_t gates[] = {gate_0, gate_1, gate_2, gate_3};
        return gates[port];
    }

  private:
    int64_t *find(const std::string &wanted) {
#define FIELD(name) \
    if (wanted == #name) return &name;
        DRAM_PART_FIELDS(FIELD)
#undef FIELD
        return nullptr;
    }
};

// What goes to the pins of a DRAM. `bank` counts within the group, -1 is all banks.
enum class Kind { kActivate, kPrecharge, kRead, kWrite, kRefresh };

struct Command {
    Kind kind;
    uint64_t clock;
    int group, bank;
    int64_t row;  // of a column command: the row that is meant
};

}  // namespace dram

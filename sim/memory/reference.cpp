// Reads a DRAM through its ports as fast as the ports take bursts, and knows nothing of the accelerator. This file is
// the library behind reference.py. A text that a function returns says what is wrong; it is empty if nothing is.

#include <string>
#include <vector>

#include "dram.h"

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace {

constexpr uint64_t kPage = 4096;

std::string said;

// splitmix64
uint64_t hash(uint64_t z) {
    z += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

// One master: a burst and a beat per clock at most.
struct Master {
    uint64_t base = 0, bursts = 0, beats = 0, skipped = 0;
    std::deque<dram::Handle> waiting;
    uint64_t taken = 0;  // address in the first of them
};

}  // namespace

struct Pattern {
    int64_t ports, word_bytes, burst_bytes;
    int64_t span;    // 0: sequential; else bursts lie at random within as many bytes
    int64_t kept;    // sequential: so many of 1024 bursts are moved, chosen at random, the same on all ports
    int64_t writes;  // 1: writes, 0: reads
    int64_t warm_up, clocks;
    int64_t bases[4];
};

namespace {

// Whether the burst that comes next in order is moved.
bool chosen(const Pattern &pattern, const Master &master) {
    return static_cast<int64_t>(hash(master.bursts + master.skipped) % 1024) < pattern.kept;
}

}  // namespace

// Bytes that each port moves in `clocks` clocks, after a warm-up.
EXPORTED const char *reference_run(const char *text, const Pattern *pattern, int64_t *moved) {
    dram::Part part;
    said = part.parse(text);
    if (said.empty() && pattern->ports > part.ports) said = "the part has fewer ports";
    if (!said.empty()) return said.c_str();
    dram::Dram memory(part);
    bool writes = pattern->writes != 0;
    auto word = static_cast<uint64_t>(pattern->word_bytes), size = static_cast<uint64_t>(pattern->burst_bytes);
    std::vector<Master> masters(static_cast<size_t>(pattern->ports));
    for (size_t port = 0; port < masters.size(); port++)
        masters[port].base = static_cast<uint64_t>(pattern->bases[port]);
    for (int64_t clock = 0; clock < pattern->warm_up + pattern->clocks; clock++) {
        for (int port = 0; port < pattern->ports; port++) {
            Master &master = masters[static_cast<size_t>(port)];
            if (clock == pattern->warm_up) master.beats = 0;
            if (!master.waiting.empty()) {
                dram::Transfer &first = *master.waiting.front();
                master.taken = std::max(master.taken, first.first);
                if (writes ? first.reached == first.end : master.taken + word <= first.reached) {
                    master.taken = writes ? first.end : master.taken + word;
                    if (!writes) memory.take(port, first, master.taken);
                    master.beats += writes ? (first.end - first.first) / word : 1;
                    if (master.taken == first.end) master.waiting.pop_front(), master.taken = 0;
                }
            }
            // A write comes when its data has, a word per clock.
            bool due = !writes || static_cast<uint64_t>(clock) * word >= master.bursts * size;
            if (due && memory.takes(port, writes) && (!writes || memory.takes_data(port))) {
                while (!chosen(*pattern, master)) master.skipped++;
                uint64_t place = (master.bursts + master.skipped) * size;
                if (pattern->span) place = hash(master.bursts * 4 + static_cast<uint64_t>(port)) %
                                           (static_cast<uint64_t>(pattern->span) / size) * size;
                uint64_t address = master.base + place;
                uint64_t end = std::min(address + size, (address / kPage + 1) * kPage);
                master.waiting.push_back(memory.add(port, writes, address, end, static_cast<int>(word)));
                master.bursts++;
            }
        }
        if (const char *broken = memory.advance(static_cast<uint64_t>(clock) + 1)) {
            said = std::string("the controller broke a rule of its part: ") + broken;
            return said.c_str();
        }
    }
    for (size_t port = 0; port < masters.size(); port++)
        moved[port] = static_cast<int64_t>(masters[port].beats * word);
    return "";
}

// The rule that the last of a sequence of commands breaks; the ones before must be legal. Each is five numbers: kind,
// clock, group, bank, row.
EXPORTED const char *reference_check(const char *text, const int64_t *commands, int64_t count) {
    dram::Part part;
    said = part.parse(text);
    if (!said.empty()) return said.c_str();
    dram::Checker checker(part);
    for (int64_t n = 0; n < count; n++) {
        const int64_t *c = commands + 5 * n;
        const char *broken = checker.check({static_cast<dram::Kind>(c[0]), static_cast<uint64_t>(c[1]),
                                            static_cast<int>(c[2]), static_cast<int>(c[3]), c[4]});
        if (!broken) continue;
        said = n == count - 1 ? broken : "command " + std::to_string(n) + ": " + broken;
        return said.c_str();
    }
    return "";
}

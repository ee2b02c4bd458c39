// The functions of a library that runs one component (sim/verilated.py), around what Verilator writes for it. In the
// place of the two lines with an @ stand its files, and a line for each of its pins.

@INCLUDE@

#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <string>

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace {

struct Ended {};

std::string said;

struct Unit {
    VerilatedContext context;
    Vtop top{&context};
#if VM_TRACE
    VerilatedVcdC trace;
#endif

    explicit Unit(const char* waves) {
#if VM_TRACE
        context.traceEverOn(true);
        top.trace(&trace, 99);
        trace.open(waves);
#endif
    }
    void settle() {
        top.eval();
#if VM_TRACE
        trace.dump(context.time());
#endif
        context.timeInc(1);
    }
};

template <class Work> int guarded(const Work& work) {
    try {
        work();
    } catch (const Ended&) {
        return 1;
    }
    return 0;
}

}  // namespace

int unit_printf(const char* format, ...) {
    char line[4096];
    va_list values;
    va_start(values, format);
    const int length = std::vsnprintf(line, sizeof line, format, values);
    va_end(values);
    said += line;
    return length;
}

void vl_stop(const char*, int, const char*) { throw Ended{}; }

void vl_fatal(const char* file, int line, const char*, const char* message) {
    unit_printf("%%Fatal: %s:%d: %s\n", file, line, message);
    throw Ended{};
}

EXPORTED Unit* unit_new(const char* waves) {
    said.clear();
    return new Unit{waves};
}

EXPORTED void unit_delete(Unit* unit) { delete unit; }

EXPORTED void* unit_pin(Unit* unit, const char* name) {
@PINS@
    return nullptr;
}

EXPORTED const char* unit_said() { return said.c_str(); }

EXPORTED int unit_settle(Unit* unit) {
    return guarded([unit] { unit->settle(); });
}

EXPORTED int unit_clock(Unit* unit) {
    return guarded([unit] {
        unit->top.clk = 1;
        unit->settle();
        unit->top.clk = 0;
        unit->settle();
    });
}

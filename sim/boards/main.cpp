// A simulated board as a program: its serial line is the master of a pseudo terminal, its clock a file that others map.
//
//   simulator TERMINAL CLOCK BIT_PS
//
// TERMINAL and CLOCK are open descriptors, BIT_PS is the length of a bit. The first eight bytes of CLOCK hold the
// simulated time in ps. The program ends when nobody has the other end of the terminal open any more, which is so when
// its parent has died; when the model gives up (exit code 1, and a line that says why); and when it has worked for
// SILENCE_S without a byte on the line (2).

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <deque>

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "Vtop.h"
#include "verilated.h"

namespace {

constexpr double SILENCE_S = 300;      // of processor time, which does not pass while the program is stopped
constexpr uint64_t QUIET_PS = 10'000'000;  // nobody asks a board before it is on: PLL and resets take less than this
constexpr size_t LONGEST_QUEUE = 1 << 14;  // the host has half of it under way at most

double worked_s() {
    return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

// The other end of the terminal.
class Terminal {
public:
    explicit Terminal(int descriptor) : m_descriptor(descriptor) {
        fcntl(descriptor, F_SETFL, O_NONBLOCK);
    }

    std::deque<uint8_t> to_board, to_host;

    // Moves bytes; false when nobody is there any more. Simulated time stands still while the host does not read.
    bool exchange() {
        uint8_t buffer[1024];
        if (to_board.size() < LONGEST_QUEUE) {
            const ssize_t count = read(m_descriptor, buffer, sizeof buffer);
            if (count < 0 && errno != EAGAIN && errno != EINTR) return false;
            for (ssize_t n = 0; n < count; ++n) to_board.push_back(buffer[n]);
            if (count > 0) m_heard_s = worked_s();
        }
        while (!to_host.empty()) {
            const uint8_t byte = to_host.front();
            if (write(m_descriptor, &byte, 1) == 1) {
                to_host.pop_front();
                m_heard_s = worked_s();
            } else if (errno != EAGAIN && errno != EINTR) {
                return false;
            } else if (to_host.size() < LONGEST_QUEUE) {
                break;
            } else {
                pollfd ready{m_descriptor, POLLOUT, 0};
                poll(&ready, 1, 1000);
                if (ready.revents & POLLHUP) return false;
            }
        }
        return true;
    }

    bool silent() const { return worked_s() - m_heard_s > SILENCE_S; }

private:
    const int m_descriptor;
    double m_heard_s = 0;
};

// Bytes as bits: one start bit, eight data bits with the lowest first, one stop bit.
class Line {
public:
    Line(Terminal& terminal, uint64_t bit_ps) : m_terminal(terminal), m_bit_ps(bit_ps) {}

    // The level of rx from now on.
    bool drive(uint64_t now) {
        if (now >= m_drive_at) {
            m_sending >>= 1;
            if (m_sending == 0 && !m_terminal.to_board.empty()) {
                m_sending = 1 << 9 | m_terminal.to_board.front() << 1;
                m_terminal.to_board.pop_front();
            }
            m_drive_at += m_bit_ps;
        }
        return m_sending == 0 || (m_sending & 1);
    }

    // Looks at tx in the middle of every bit.
    void listen(uint64_t now, bool level) {
        if (m_bits < 0) {
            if (level) return;
            m_bits = 0;
            m_received = 0;
            m_listen_at = now + m_bit_ps * 3 / 2;
        } else if (now >= m_listen_at) {
            m_listen_at += m_bit_ps;
            if (m_bits < 8) {
                m_received |= level << m_bits++;
            } else {
                if (level) m_terminal.to_host.push_back(m_received);
                m_bits = -1;
            }
        }
    }

private:
    Terminal& m_terminal;
    const uint64_t m_bit_ps;
    uint64_t m_drive_at = QUIET_PS, m_listen_at = 0;
    unsigned m_sending = 0;  // what is left of a byte with its start and stop bit
    int m_bits = -1;         // data bits that came; -1: the line is idle
    uint8_t m_received = 0;
};

}  // namespace

int main(int argc, char** argv) {
    signal(SIGINT, SIG_IGN);  // the host decides what an interrupt ends
    if (argc != 4) return 64;
    Terminal terminal(std::atoi(argv[1]));
    void* const shared = mmap(nullptr, sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED, std::atoi(argv[2]), 0);
    if (shared == MAP_FAILED) return 64;
    volatile uint64_t& published = *static_cast<volatile uint64_t*>(shared);
    const uint64_t bit_ps = std::strtoull(argv[3], nullptr, 10);
    Line line(terminal, bit_ps);

    VerilatedContext context;
    context.commandArgs(argc, argv);
    Vtop bench(&context);
    uint64_t exchange_at = 0;
    while (!context.gotFinish()) {
        const uint64_t now = context.time();
        bench.rx = line.drive(now);
        bench.eval();
        line.listen(now, bench.tx);
        if (now >= exchange_at) {
            exchange_at = now + bit_ps * 4;
            published = now;
            if (!terminal.exchange()) return 0;
            if (terminal.silent()) {
                std::printf("no byte came or went for %g s of processor time\n", SILENCE_S);
                return 2;
            }
        }
        context.time(bench.nextTimeSlot());
    }
    return 1;
}

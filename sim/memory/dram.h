// A DRAM behind AXI ports: when each beat of a read arrives, and when a write is done. It holds no data.
//
//   port -> queue -> pieces -> gate -> accesses -> queue of the channel -> DRAM
//   port <- FIFO <------------ gate <------------------------------------- DRAM
//
// A port queues bursts and splits them into pieces. It asks for a piece once its FIFO has room for all of it. A gate is
// an entry of the controller, which one port or several share in turn; it splits pieces into accesses, of one column
// command each. In each clock of the controller a channel takes one access, of the gates in turn, and a gate returns
// some bytes. Data comes back to each port in the order of its requests, whatever the order on the pins.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "dram_channel.h"

namespace dram {

// A burst. The data before the address `reached` has arrived at the port, or is written.
struct Transfer {
    uint64_t first, end;
    uint64_t piece;                  // bytes; pieces end at multiples of it
    uint64_t asked, reached, taken;  // addresses: the port has asked for it, has it, the master has it
};

using Handle = std::shared_ptr<Transfer>;

class Dram {
  public:
    explicit Dram(const Part &part) : part_(part), ports_(static_cast<size_t>(part.ports)) {
        for (size_t port = 0; port < ports_.size(); port++) {
            auto gate = static_cast<size_t>(part.gate(static_cast<int>(port)));
            if (gates_.size() <= gate) gates_.resize(gate + 1);
            gates_[gate].ports.push_back(port);
        }
        for (size_t n = 0; n < (part.own_channel ? gates_.size() : 1); n++) channels_.emplace_back(part);
        next_.assign(channels_.size(), 0);
    }

    int ports() const { return static_cast<int>(ports_.size()); }

    // Whether a port takes another burst of reads or writes.
    bool takes(int port, bool write) const {
        return ports_[static_cast<size_t>(port)].queue[write].size() < static_cast<size_t>(part_.commands);
    }

    // Whether a port takes more write data. A burst that it has begun does not count.
    bool takes_data(int port) const {
        return ports_[static_cast<size_t>(port)].to_write < static_cast<uint64_t>(part_.fifo_bytes);
    }

    // A burst of whole words of the port. A write comes when all of its data is at the port.
    Handle add(int port, bool write, uint64_t first, uint64_t end, int word_bytes) {
        auto piece = static_cast<uint64_t>(
            std::min(std::max(part_.split_beats * word_bytes, part_.access_bytes), part_.fifo_bytes));
        auto transfer = std::make_shared<Transfer>(Transfer{first, end, piece, first, first, first});
        Port &at = ports_[static_cast<size_t>(port)];
        at.queue[write].push_back(transfer);
        if (write) at.to_write += end - first;
        return transfer;
    }

    // The master has taken the data of a read before an address: there is room in the FIFO.
    void take(int port, Transfer &transfer, uint64_t address) {
        address = std::min(address, transfer.asked);
        if (address <= transfer.taken) return;
        ports_[static_cast<size_t>(port)].held -= address - transfer.taken;
        transfer.taken = address;
    }

    // The master will not take the rest of a read.
    void drop(int port, const Handle &transfer) {
        auto &queue = ports_[static_cast<size_t>(port)].queue[0];
        queue.erase(std::remove(queue.begin(), queue.end(), transfer), queue.end());
        take(port, *transfer, transfer->asked);
    }

    // Forgets all bursts of a port.
    void reset(int port) {
        Port &old = ports_[static_cast<size_t>(port)];
        for (Channel &channel : channels_) channel.forget(port);
        for (bool write : {false, true})
            for (size_t n = 0; n < old.flying[write].size(); n++)
                channel_of(static_cast<size_t>(part_.gate(port))).release(write);
        for (Gate &gate : gates_)
            for (bool write : {false, true})
                if (gate.owner[write] == static_cast<size_t>(port)) gate.pieces[write] = {};
        old = {};
    }

    // Up to the clock `now` of the ports; any port may be the first to call it. The rule that a command to the DRAM has
    // broken, or nullptr.
    const char *advance(uint64_t now) {
        for (; clock_ < now; clock_++) {
            for (credit_ += part_.dram_khz; credit_ >= part_.port_khz * part_.ratio;
                 credit_ -= part_.port_khz * part_.ratio) {
                if (const char *broken = step()) return broken;
                time_ += static_cast<uint64_t>(part_.ratio);
            }
        }
        return nullptr;
    }

  private:
    struct Flying {
        Access access;
        Handle transfer;
        uint64_t bytes, end;  // that it brings, and the address behind them
        bool last;            // of its piece
    };

    struct Arrival {
        uint64_t at;
        Handle transfer;
        uint64_t end;
    };

    struct Piece {
        uint64_t at = 0;  // clock in which it is at the gate
        Handle transfer;
        uint64_t next = 0, end = 0;  // addresses
    };

    // Of two, the first is for reads, the second for writes.
    struct Port {
        std::deque<Handle> queue[2];      // not yet asked for to their end
        std::deque<Piece> pieces[2];      // on their way to the gate
        std::deque<Flying> flying[2];     // in the order of the requests
        std::deque<Arrival> arrivals[2];  // on their way to the port
        uint64_t held = 0;                // bytes of the FIFO that are full or promised
        uint64_t to_write = 0;            // bytes of complete bursts that are still in the port
        int64_t issued = 0;               // pieces of reads
    };

    struct Gate {
        std::vector<size_t> ports;
        Piece pieces[2];                   // of which it makes accesses
        size_t owner[2] = {};              // their ports
        size_t turns[2] = {}, answer = 0;  // which of the ports comes next
        uint64_t free = 0;                 // clock from which on it returns the next data
    };

    const char *step() {
        for (size_t n = 0; n < gates_.size(); n++) respond(n);
        for (Port &port : ports_)
            for (bool write : {false, true}) {
                issue(port, write);
                arrive(port, write);
            }
        for (size_t n = 0; n < channels_.size(); n++) {
            accept(n);
            if (const char *broken = channels_[n].step(time_)) return broken;
        }
        return nullptr;
    }

    // The next piece of the oldest burst.
    void issue(Port &port, bool write) {
        if (port.queue[write].empty()) return;
        const Handle &transfer = port.queue[write].front();
        uint64_t end = std::min(transfer->end, (transfer->asked / transfer->piece + 1) * transfer->piece);
        if (!write) {
            uint64_t held = port.held + end - transfer->asked;
            if (port.issued == part_.issued || held > static_cast<uint64_t>(part_.fifo_bytes)) return;
            port.issued++;
            port.held = held;
        }
        port.pieces[write].push_back({time_ + static_cast<uint64_t>(part_.request), transfer, transfer->asked, end});
        transfer->asked = end;
        if (end == transfer->end) port.queue[write].pop_front();
    }

    void arrive(Port &port, bool write) {
        auto &arrivals = port.arrivals[write];
        for (; !arrivals.empty() && arrivals.front().at <= time_; arrivals.pop_front())
            arrivals.front().transfer->reached = arrivals.front().end;
    }

    Channel &channel_of(size_t gate) { return channels_[part_.own_channel ? gate : 0]; }

    // Returns data of reads in the order of the requests, and reports writes that are done.
    void respond(size_t gate_number) {
        Gate &gate = gates_[gate_number];
        Channel &channel = channel_of(gate_number);
        auto response = static_cast<uint64_t>(part_.response);
        for (size_t number : gate.ports) {
            Port &port = ports_[number];
            while (!port.flying[1].empty() && port.flying[1].front().access.done <= time_) {
                Flying &front = port.flying[1].front();
                port.arrivals[1].push_back({time_ + response, front.transfer, front.end});
                port.flying[1].pop_front();
                channel.release(true);
            }
        }
        auto path = static_cast<uint64_t>(part_.path);
        if (gate.free > time_ || time_ < path) return;
        uint64_t sent = time_ - path;
        for (size_t n = 0; n < gate.ports.size(); n++) {
            size_t turn = (gate.answer + n) % gate.ports.size();
            Port &port = ports_[gate.ports[turn]];
            if (port.flying[0].empty() || port.flying[0].front().access.done > sent) continue;
            Flying &front = port.flying[0].front();
            auto words = (static_cast<int64_t>(front.bytes) + part_.gate_bytes - 1) / part_.gate_bytes;
            gate.free = time_ + static_cast<uint64_t>(words * part_.ratio);
            gate.answer = turn + 1;
            port.arrivals[0].push_back({gate.free + response, front.transfer, front.end});
            port.issued -= front.last;
            port.flying[0].pop_front();
            channel.release(false);
            return;
        }
    }

    // One access into the queue of a channel.
    void accept(size_t channel) {
        for (size_t n = 0; n < 2 * gates_.size(); n++) {
            size_t turn = (next_[channel] + n) % (2 * gates_.size()), number = turn / 2;
            bool write = turn % 2;
            Gate &gate = gates_[number];
            if (&channel_of(number) != &channels_[channel]) continue;
            if (gate.pieces[write].next == gate.pieces[write].end && !choose(gate, write)) continue;
            Access access = first_access(gate, write);
            if (!channels_[channel].room(access)) continue;
            next_[channel] = turn + 1;
            send(channels_[channel], gate, access);
            return;
        }
    }

    // The next piece of a gate; false if there is none.
    bool choose(Gate &gate, bool write) {
        for (size_t n = 0; n < gate.ports.size(); n++) {
            size_t turn = (gate.turns[write] + n) % gate.ports.size();
            auto &pieces = ports_[gate.ports[turn]].pieces[write];
            if (pieces.empty() || pieces.front().at > time_) continue;
            gate.owner[write] = gate.ports[turn];
            gate.turns[write] = turn + 1;
            gate.pieces[write] = pieces.front();
            pieces.pop_front();
            return true;
        }
        return false;
    }

    Access first_access(const Gate &gate, bool write) const {
        uint64_t address = gate.pieces[write].next;
        return {static_cast<int>(gate.owner[write]), write,
                static_cast<int>(address >> part_.group_bit & static_cast<uint64_t>(part_.groups - 1)),
                static_cast<int>(address >> part_.bank_bit & static_cast<uint64_t>(part_.banks - 1)),
                static_cast<int64_t>(address >> part_.row_bit), time_};
    }

    void send(Channel &channel, Gate &gate, const Access &access) {
        Piece &piece = gate.pieces[access.write];
        Port &port = ports_[gate.owner[access.write]];
        auto &flying = port.flying[access.write];
        uint64_t begin = piece.next, size = static_cast<uint64_t>(part_.access_bytes);
        piece.next = std::min(piece.end, (begin / size + 1) * size);
        flying.push_back({access, piece.transfer, piece.next - begin, piece.next, piece.next == piece.end});
        if (access.write) port.to_write -= piece.next - begin;
        channel.add(&flying.back().access);
    }

    const Part part_;
    std::vector<Port> ports_;
    std::vector<Gate> gates_;
    std::vector<Channel> channels_;
    std::vector<size_t> next_;       // of each channel: whose access comes next
    uint64_t clock_ = 0, time_ = 0;  // of the ports, of the DRAM
    int64_t credit_ = 0;             // time of the DRAM that is not simulated yet, in 1 / (dram_khz * port_khz)
};

}  // namespace dram

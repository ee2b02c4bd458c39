// A DRAM and its controller's scheduler: which command goes to the pins in which clock.
//
// Reads and writes have a queue each; one of them is served at a time. Within it commands to open rows go first, the
// oldest of them before the others, until the oldest command of a bank has waited for `starve` clocks. A row stays open
// until a command needs another one of its bank. In each clock of the controller there is a column command, in the
// first of its DRAM clocks, and a row command, in the second; if it has only one, there is one of the two.
// When a refresh is due, the scheduler stops, closes all rows and refreshes all banks at once.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "dram_checker.h"

namespace dram {

constexpr uint64_t kNever = ~0ull;

// One column command.
struct Access {
    int port;
    bool write;
    int group, bank;
    int64_t row;
    uint64_t arrived;        // in the queue
    uint64_t done = kNever;  // clock in which its data is complete
};

class Channel {
  public:
    explicit Channel(const Part &part)
        : part_(part), checker_(part), banks_(static_cast<size_t>(part.groups * part.banks)),
          activate_(static_cast<size_t>(part.groups), 0), refresh_due_(static_cast<uint64_t>(part.refi)) {
        for (auto &next : column_) next.assign(static_cast<size_t>(part.groups), 0);
    }

    bool room(const Access &access) const {
        if (used_[access.write] >= (access.write ? part_.write_queue : part_.read_queue)) return false;
        if (!part_.bank_change || index(access) == bank_) return true;
        return queues_[0].empty() && queues_[1].empty()
               && access.arrived >= last_column_ + static_cast<uint64_t>(part_.bank_change);
    }

    void add(Access *access) {
        queues_[access->write].push_back(access);
        used_[access->write]++;
        bank_ = index(*access);
    }

    // An access that was added has left the controller: its entry is free.
    void release(bool write) { used_[write]--; }

    // Commands of a port that were not sent yet; their entries are to be released.
    void forget(int port) {
        for (auto &queue : queues_)
            queue.erase(std::remove_if(queue.begin(), queue.end(), [port](Access *a) { return a->port == port; }),
                        queue.end());
    }

    // One clock of the controller that begins at the clock `now` of the DRAM. The rule that it broke, or nullptr.
    const char *step(uint64_t now) {
        if (now < busy_until_) return nullptr;
        if (now >= refresh_due_) return refresh(now);
        turn(now);
        std::vector<Access *> &queue = queues_[writing_];
        if (queue.empty()) return nullptr;
        uint64_t hits = 0;  // banks with commands to their open row
        size_t column = queue.size();
        for (size_t n = 0; n < queue.size(); n++) {
            const Access &access = *queue[n];
            const Bank &bank = banks_[index(access)];
            if (bank.row != access.row) continue;
            hits |= 1ull << index(access);
            if (column == queue.size() && bank.column <= now && column_[writing_][group(access)] <= now) column = n;
        }
        if (column < queue.size()) {
            Access *access = queue[column];
            queue.erase(queue.begin() + static_cast<std::ptrdiff_t>(column));
            if (const char *broken = transfer(*access, now)) return broken;
            if (part_.ratio == 1) return nullptr;
        }
        return prepare(queue, hits, part_.ratio == 1 ? now : now + 1);
    }

  private:
    struct Bank {
        int64_t row = -1;                            // that is open
        uint64_t activate = 0, precharge = 0, column = 0;  // clocks from which on each may be
    };

    size_t index(const Access &access) const { return static_cast<size_t>(access.group * part_.banks + access.bank); }
    static size_t group(const Access &access) { return static_cast<size_t>(access.group); }
    static void not_before(uint64_t &clock, uint64_t now, int64_t clocks) {
        clock = std::max(clock, now + static_cast<uint64_t>(clocks));
    }

    // Chooses between reads and writes. Reads go first, unless the writes have waited or fill their queue.
    void turn(uint64_t now) {
        const auto &mine = queues_[writing_], &other = queues_[!writing_];
        if (other.empty()) return;
        bool change;
        if (mine.empty())
            change = writing_ || now >= last_column_ + static_cast<uint64_t>(part_.idle_gap);
        else if (served_ < part_.run)
            change = false;
        else
            change = writing_ || starved(*other.front(), now) || used_[1] >= part_.write_queue;
        if (!change) return;
        writing_ = !writing_;
        served_ = 0;
    }

    bool starved(const Access &access, uint64_t now) const {
        return now - access.arrived > static_cast<uint64_t>(part_.starve);
    }

    const char *transfer(Access &access, uint64_t now) {
        Bank &bank = banks_[index(access)];
        access.done = now + static_cast<uint64_t>((writing_ ? part_.cwl : part_.cl) + part_.data);
        if (writing_)
            not_before(bank.precharge, access.done, part_.wr);
        else
            not_before(bank.precharge, now, part_.rtp);
        for (size_t n = 0; n < column_[0].size(); n++) {
            bool same = n == group(access);
            not_before(column_[writing_][n], now, same ? part_.ccd_l : part_.ccd_s);
            if (writing_)
                not_before(column_[0][n], access.done, same ? part_.wtr_l : part_.wtr_s);
            else
                not_before(column_[1][n], access.done, part_.turnaround - part_.cwl);
        }
        served_++;
        last_column_ = now;
        return checker_.check({writing_ ? Kind::kWrite : Kind::kRead, now, access.group, access.bank, access.row});
    }

    // A row command for the oldest command of the queue that needs one.
    const char *prepare(const std::vector<Access *> &queue, uint64_t hits, uint64_t now) {
        uint64_t seen = 0;
        for (const Access *access : queue) {
            uint64_t bit = 1ull << index(*access);
            if (seen & bit) continue;
            seen |= bit;
            Bank &bank = banks_[index(*access)];
            if (bank.row == access->row) continue;
            if (bank.row >= 0) {
                if (bank.precharge > now || ((hits & bit) && !starved(*access, now))) continue;
                close(bank, now);
                return checker_.check({Kind::kPrecharge, now, access->group, access->bank, -1});
            }
            if (bank.activate > now || activate_[group(*access)] > now || window_[oldest_] > now) continue;
            open(bank, *access, now);
            return checker_.check({Kind::kActivate, now, access->group, access->bank, access->row});
        }
        return nullptr;
    }

    void open(Bank &bank, const Access &access, uint64_t now) {
        bank.row = access.row;
        not_before(bank.column, now, part_.rcd);
        not_before(bank.precharge, now, part_.ras);
        not_before(bank.activate, now, part_.rc);
        for (size_t n = 0; n < activate_.size(); n++)
            not_before(activate_[n], now, n == group(access) ? part_.rrd_l : part_.rrd_s);
        window_[oldest_] = now + static_cast<uint64_t>(part_.faw);
        oldest_ = (oldest_ + 1) % window_.size();
    }

    void close(Bank &bank, uint64_t now) {
        bank.row = -1;
        not_before(bank.activate, now, part_.rp);
        not_before(closed_, now, part_.rp);
    }

    const char *refresh(uint64_t now) {
        bool any = false;
        for (const Bank &bank : banks_) {
            if (bank.row < 0) continue;
            if (bank.precharge > now) return nullptr;
            any = true;
        }
        if (any) {
            for (Bank &bank : banks_)
                if (bank.row >= 0) close(bank, now);
            return checker_.check({Kind::kPrecharge, now, 0, -1, -1});
        }
        if (closed_ > now) return nullptr;
        refresh_due_ += static_cast<uint64_t>(part_.refi);
        busy_until_ = now + static_cast<uint64_t>(part_.rfc);
        return checker_.check({Kind::kRefresh, now, 0, -1, -1});
    }

    const Part part_;
    Checker checker_;
    std::vector<Bank> banks_;
    std::array<std::vector<Access *>, 2> queues_;    // reads, writes; oldest first
    std::array<int64_t, 2> used_{};                  // entries of the queues: also of commands whose data is under way
    std::array<std::vector<uint64_t>, 2> column_;    // clock from which on a group may read, write
    std::vector<uint64_t> activate_;                 // clock from which on a group may activate
    std::array<uint64_t, 4> window_{};               // clocks at which each of the last four activations leaves tFAW
    size_t oldest_ = 0;
    size_t bank_ = 0;  // of the command that was added last
    bool writing_ = false;
    int64_t served_ = 0;  // column commands since the last turn
    uint64_t last_column_ = 0, busy_until_ = 0, refresh_due_;
    uint64_t closed_ = 0;  // clock from which on tRP is over in every bank
};

}  // namespace dram

// Checks the commands that a controller gives a DRAM against the rules of the part. It knows nothing of the controller:
// it keeps the commands as they came, and measures the time between them.
#pragma once

#include <algorithm>
#include <deque>
#include <vector>

#include "dram_part.h"

namespace dram {

class Checker {
  public:
    explicit Checker(const Part &part)
        : part_(part), banks_(static_cast<size_t>(part.groups * part.banks)), last_refresh_(0) {}

    // The rule that a command breaks, or nullptr. Commands come in the order of their clocks.
    const char *check(const Command &command) {
        if (any_ && command.clock <= last_.clock) return "two commands in one clock";
        const char *broken = rule(command);
        if (!broken) record(command);
        return broken;
    }

  private:
    static constexpr int kPostponed = 9;  // refresh intervals between two refreshes at most

    struct Bank {
        int64_t row = -1;  // that is open
        uint64_t activated = 0, precharged = 0, read = 0, written = 0;
        bool was_activated = false, was_precharged = false, was_read = false, was_written = false;  // ever
    };

    static bool early(bool happened, uint64_t since, uint64_t now, int64_t clocks) {
        return happened && now - since < static_cast<uint64_t>(clocks);
    }

    const char *rule(const Command &command) const {
        uint64_t now = command.clock;
        if (early(refreshed_, last_refresh_, now, part_.rfc)) return "tRFC";
        if (now - last_refresh_ > static_cast<uint64_t>(kPostponed * part_.refi)) return "tREFI: refresh is overdue";
        switch (command.kind) {
            case Kind::kActivate: return activate(command);
            case Kind::kPrecharge: return precharge(command);
            case Kind::kRead:
            case Kind::kWrite: return column(command);
            case Kind::kRefresh: return refresh(now);
        }
        return "unknown command";
    }

    const char *activate(const Command &command) const {
        const Bank &bank = banks_[index(command)];
        uint64_t now = command.clock;
        if (bank.row >= 0) return "the bank has an open row";
        if (early(bank.was_precharged, bank.precharged, now, part_.rp)) return "tRP";
        if (early(bank.was_activated, bank.activated, now, part_.rc)) return "tRC";
        for (int group = 0; group < part_.groups; group++)
            for (int n = 0; n < part_.banks; n++) {
                const Bank &other = banks_[static_cast<size_t>(group * part_.banks + n)];
                bool same = group == command.group;
                if (early(other.was_activated, other.activated, now, same ? part_.rrd_l : part_.rrd_s))
                    return same ? "tRRD_L" : "tRRD_S";
            }
        if (activations_.size() == 4 && now - activations_.front() < static_cast<uint64_t>(part_.faw)) return "tFAW";
        return nullptr;
    }

    const char *precharge(const Command &command) const {
        for (size_t n = 0; n < banks_.size(); n++) {
            const Bank &bank = banks_[n];
            if (bank.row < 0 || (command.bank >= 0 && n != index(command))) continue;
            if (early(true, bank.activated, command.clock, part_.ras)) return "tRAS";
            if (early(bank.was_read, bank.read, command.clock, part_.rtp)) return "tRTP";
            if (early(bank.was_written, bank.written, command.clock, part_.cwl + part_.data + part_.wr)) return "tWR";
        }
        return nullptr;
    }

    const char *column(const Command &command) const {
        const Bank &bank = banks_[index(command)];
        uint64_t now = command.clock;
        bool write = command.kind == Kind::kWrite;
        if (bank.row < 0) return "the bank has no open row";
        if (bank.row != command.row) return "another row is open";
        if (early(true, bank.activated, now, part_.rcd)) return "tRCD";
        uint64_t starts = now + static_cast<uint64_t>(write ? part_.cwl : part_.cl);
        for (const Command &other : columns_) {
            bool wrote = other.kind == Kind::kWrite, same = other.group == command.group;
            uint64_t since = now - other.clock;
            uint64_t ends = other.clock + static_cast<uint64_t>((wrote ? part_.cwl : part_.cl) + part_.data);
            if (since < static_cast<uint64_t>(same ? part_.ccd_l : part_.ccd_s)) return same ? "tCCD_L" : "tCCD_S";
            if (wrote && !write && now < ends + static_cast<uint64_t>(same ? part_.wtr_l : part_.wtr_s))
                return same ? "tWTR_L" : "tWTR_S";
            if (!wrote && write && starts < ends + static_cast<uint64_t>(part_.turnaround))
                return "turnaround of the data bus";
            if (starts < ends) return "data of two commands at once";
        }
        return nullptr;
    }

    const char *refresh(uint64_t now) const {
        for (const Bank &bank : banks_) {
            if (bank.row >= 0) return "refresh with an open row";
            if (early(bank.was_precharged, bank.precharged, now, part_.rp)) return "tRP";
        }
        return nullptr;
    }

    size_t index(const Command &command) const {
        return static_cast<size_t>(command.group * part_.banks + command.bank);
    }

    void record(const Command &command) {
        any_ = true;
        last_ = command;
        if (command.kind == Kind::kRefresh) {
            refreshed_ = true;
            last_refresh_ = command.clock;
        } else if (command.kind == Kind::kPrecharge) {
            for (size_t n = 0; n < banks_.size(); n++) {
                Bank &bank = banks_[n];
                if (bank.row < 0 || (command.bank >= 0 && n != index(command))) continue;
                bank = Bank{-1, bank.activated, command.clock, 0, 0, bank.was_activated, true, false, false};
            }
        } else if (command.kind == Kind::kActivate) {
            Bank &bank = banks_[index(command)];
            bank.row = command.row;
            bank.activated = command.clock;
            bank.was_activated = true;
            activations_.push_back(command.clock);
            if (activations_.size() > 4) activations_.pop_front();
        } else {
            Bank &bank = banks_[index(command)];
            (command.kind == Kind::kWrite ? bank.written : bank.read) = command.clock;
            (command.kind == Kind::kWrite ? bank.was_written : bank.was_read) = true;
            columns_.push_back(command);
            while (command.clock - columns_.front().clock > window()) columns_.pop_front();
        }
    }

    // The longest time between two column commands that a rule speaks of.
    uint64_t window() const {
        return static_cast<uint64_t>(std::max(part_.cl, part_.cwl) + part_.data
                                     + std::max(part_.wtr_l, part_.turnaround) + part_.ccd_l);
    }

    const Part part_;
    std::vector<Bank> banks_;
    std::deque<Command> columns_;       // those within `window`
    std::deque<uint64_t> activations_;  // the last four
    Command last_{};
    bool any_ = false, refreshed_ = false;
    uint64_t last_refresh_;
};

}  // namespace dram

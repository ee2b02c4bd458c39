// Contents, order and timing of the simulated memory; the pins are in axi_memory.sv.
//
// All ports of a simulation share the contents. A port is deterministic: what it does depends on the seed, its index
// and what the master did, never on the host.
//
// A port can be told to go wrong, at any moment and without a clock passing: see `Fault`.
//
// How long it takes is either a fixed latency, or that of a DRAM and its controller (dram.h), which all ports share.
//
// Without a seed a read is looked up when its beat leaves, and a write takes effect with its response, the last moment
// that AXI allows. With a seed, bit 0 makes reads be looked up when the address is taken, and bit 1 makes writes
// take effect with their last beat: seeds 1 to 4 try all four, so that a master that does not wait is found out.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "dram.h"
#include "svdpi.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "bus lanes are copied as they lie in memory");

namespace {

constexpr int kOkay = 0, kSlaveError = 2, kDecodeError = 3;
constexpr int kIncrement = 1;
constexpr uint64_t kPage = 4096;
constexpr size_t kBufferedBeats = 64;  // write data that is taken before its address

// The bytes, from address `base` on: a private copy of a file, then zeros. Pages exist once they are touched.
struct Contents {
    uint8_t *bytes = nullptr;
    uint64_t size = 0, base = 0;

    bool open(const char *path, uint64_t wanted, uint64_t first) {
        if (bytes) return true;  // another port was earlier
        if (wanted == 0 || wanted % kPage != 0) return refuse("+memory_bytes must be a multiple of 4096");
        if (first % kPage != 0) return refuse("+memory_base must be a multiple of 4096");
        void *area = mmap(nullptr, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (area == MAP_FAILED) return refuse(strerror(errno));
        if (*path) {
            int file = ::open(path, O_RDONLY);
            struct stat status;
            if (file < 0 || fstat(file, &status) != 0) return refuse(strerror(errno), path);
            uint64_t length = static_cast<uint64_t>(status.st_size);
            if (length > wanted) return refuse("larger than the memory", path);
            if (length && mmap(area, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED, file, 0)
                              == MAP_FAILED)
                return refuse(strerror(errno), path);
            close(file);
        }
        bytes = static_cast<uint8_t *>(area);
        size = wanted;
        base = first;
        return true;
    }

    bool holds(uint64_t address, uint64_t count) const {
        return address >= base && address - base < size && count <= size - (address - base);
    }

    uint8_t *at(uint64_t address) { return bytes + (address - base); }

    static bool refuse(const char *why, const char *path = "") {
        fprintf(stderr, "axi_memory: %s%s%s\n", path, *path ? ": " : "", why);
        return false;
    }
};

// splitmix64
struct Random {
    uint64_t state;

    uint64_t next() {
        uint64_t z = (state += 0x9e3779b97f4a7c15ull);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        return z ^ (z >> 31);
    }

    uint64_t below(uint64_t limit) { return next() % limit; }
};

// Pauses of 1 to 16 clocks, about a third of the time.
struct Stall {
    uint64_t left = 0;

    bool paused(Random &random) {
        if (left) return --left, true;
        if (random.below(16) == 0) left = 1 + random.below(16);
        return left != 0;
    }
};

// What a port does wrong. Python writes it, through the address that the pin `fault` of axi_memory.sv gives; the layout
// is also in faults.py. A burst of the channel that reaches into [first, end) is spoiled when it is accepted, once `skip`
// such bursts have passed, until `count` were. kNoAnswer and kDeaf last until `kind` is something else.
enum FaultKind : uint32_t {
    kNone = 0,
    kSlaveResponse = 1,   // answers SLVERR, a write has no effect
    kDecodeResponse = 2,  // answers DECERR, a write has no effect
    kEarlyLast = 3,       // RLAST with the first beat, which ends the burst; spoils bursts of two beats or more
    kLateLast = 4,        // one beat more than asked for, RLAST with that
    kNoAnswer = 5,        // the burst is not answered
    kDeaf = 6,            // as the burst before, and neither addresses nor data are taken from then on
    kWrongId = 7,         // answers with the lowest bit of the id inverted
    kTwice = 8,           // answers the burst a second time
};

struct Fault {
    uint32_t kind;
    uint32_t writes;  // 0: AR and R, 1: AW, W and B
    uint64_t first, end, skip, count;
    uint64_t spoiled;  // bursts, counted here
};
static_assert(sizeof(Fault) == 48, "as in faults.py");

struct Burst {
    int id;
    uint64_t address;
    int beats, size;
    FaultKind fault = kNone;
    uint64_t due = 0;           // clock from which on it may be answered
    dram::Handle transfer = {};  // where the memory is a DRAM
    int done = 0;               // beats that have passed
    std::vector<uint8_t> data;  // of all beats: write data, or reads that were looked up early
    std::vector<uint64_t> strobes;

    uint64_t beat_address(int beat) const { return beat ? ((address >> size) + beat) << size : address; }
};

struct WriteBeat {
    uint8_t data[64];
    uint64_t strobe;
    bool last;
};

Contents contents;
std::unique_ptr<dram::Dram> chips;  // none: a fixed latency

class Port {
  public:
    Port(int index, int beat_bytes, int latency, uint64_t seed, int outstanding)
        : index_(index), beat_bytes_(beat_bytes), latency_(std::max(latency, 1)), outstanding_(outstanding),
          random_{seed * 0x100000001b3ull + static_cast<uint64_t>(index)}, hostile_(seed != 0), early_reads_(seed & 1),
          early_writes_(seed & 2) {}

    void reset() {
        if (chips) chips->reset(index_);
        reads_.clear();
        writes_.clear();
        beats_.clear();
    }

    Fault *fault() { return &fault_; }

    int read_burst(Burst burst, int kind) {
        if (const char *why = refuse(burst, kind)) return complain("AR", burst, why);
        spoil(burst, false);
        begin(burst, false);
        if (early_reads_) {
            burst.data.resize(static_cast<size_t>(burst.beats * beat_bytes_));
            for (int beat = 0; beat < burst.beats; beat++) look_up(burst, beat, &burst.data[offset(beat)]);
        }
        reads_.push_back(std::move(burst));
        return 0;
    }

    int write_burst(Burst burst, int kind) {
        if (const char *why = refuse(burst, kind)) return complain("AW", burst, why);
        spoil(burst, true);
        writes_.push_back(std::move(burst));
        return distribute();
    }

    int write_beat(const svBitVecVal *data, uint64_t strobe, bool last) {
        WriteBeat beat;
        memcpy(beat.data, data, static_cast<size_t>(beat_bytes_));
        beat.strobe = strobe;
        beat.last = last;
        beats_.push_back(beat);
        return distribute();
    }

    // One clock: what to drive in the next one. The fields are those of `step_t` in axi_memory.sv; negative if the
    // model of the DRAM has broken a rule of the DRAM.
    int64_t clock(bool r_waits, bool b_waits) {
        if (const char *broken = chips ? chips->advance(now_) : nullptr) {
            fprintf(stderr, "axi_memory: clock %llu: a command to the DRAM breaks the rule: %s\n",
                    static_cast<unsigned long long>(now_), broken);
            return -1;
        }
        int64_t step = 0;
        bool hears_reads = !deaf(false), hears_writes = !deaf(true);
        bool takes_reads = chips ? chips->takes(index_, false) : reads_.size() < outstanding_;
        bool takes_data = beats_.size() < kBufferedBeats && (!chips || chips->takes_data(index_));
        if (hears_reads && takes_reads && !(hostile_ && ar_stall_.paused(random_))) step |= 1u << 0;
        if (hears_writes && writes_.size() < outstanding_ && !(hostile_ && aw_stall_.paused(random_))) step |= 1u << 1;
        if (hears_writes && takes_data && !(hostile_ && w_stall_.paused(random_))) step |= 1u << 2;
        if (!r_waits && !reads_.empty() && !(hostile_ && r_stall_.paused(random_))) step |= answer_read();
        if (!b_waits && !writes_.empty() && !(hostile_ && b_stall_.paused(random_))) step |= answer_write();
        now_++;
        return step;
    }

    void read_beat(svBitVecVal *data) const { memcpy(data, word_, static_cast<size_t>(beat_bytes_)); }

  private:
    size_t offset(int beat) const { return static_cast<size_t>(beat * beat_bytes_); }

    uint64_t container(uint64_t address) const { return address & ~static_cast<uint64_t>(beat_bytes_ - 1); }

    const char *refuse(const Burst &burst, int kind) const {
        if (kind != kIncrement) return "is not INCR";
        if (1 << burst.size > beat_bytes_) return "has beats wider than the bus";
        uint64_t last = burst.beat_address(burst.beats - 1);
        if (burst.address / kPage != last / kPage) return "crosses 4 KB";
        return nullptr;
    }

    int complain(const char *channel, const Burst &burst, const char *why) const {
        fprintf(stderr, "axi_memory: port %d, clock %llu: %s at 0x%llx, %d beats, %s\n", index_,
                static_cast<unsigned long long>(now_), channel, static_cast<unsigned long long>(burst.address),
                burst.beats, why);
        return 1;
    }

    void spoil(Burst &burst, bool write) {
        uint64_t end = burst.beat_address(burst.beats - 1) + (1ull << burst.size);
        if (fault_.kind == kNone || (fault_.writes != 0) != write) return;
        if (burst.address >= fault_.end || end <= fault_.first) return;
        if (fault_.kind == kEarlyLast && burst.beats == 1) return;
        if (fault_.skip) {
            fault_.skip--;
        } else if (fault_.spoiled < fault_.count) {
            burst.fault = static_cast<FaultKind>(fault_.kind);
            fault_.spoiled++;
        }
    }

    bool deaf(bool write) const {
        return fault_.kind == kDeaf && (fault_.writes != 0) == write && fault_.spoiled != 0;
    }

    // Whether a burst is still kept waiting.
    bool silenced(const Burst &burst) const {
        return (burst.fault == kNoAnswer || burst.fault == kDeaf) && fault_.kind == burst.fault;
    }

    static int id_of(const Burst &burst) { return burst.fault == kWrongId ? burst.id ^ 1 : burst.id; }

    // A burst that nothing but time keeps from its answer.
    void begin(Burst &burst, bool write) {
        burst.due = now_ + delay() - 1;
        if (!chips) return;
        uint64_t last = container(burst.beat_address(burst.beats - 1));
        burst.transfer = chips->add(index_, write, container(burst.address), last + static_cast<uint64_t>(beat_bytes_),
                                    beat_bytes_);
    }

    uint64_t delay() {
        if (chips) return 1;
        if (!hostile_) return latency_;
        uint64_t clocks = 1 + random_.below(2 * latency_);
        return random_.below(32) ? clocks : 4 * clocks;
    }

    void look_up(const Burst &burst, int beat, uint8_t *to) const {
        uint64_t address = container(burst.beat_address(beat));
        if (contents.holds(address, static_cast<uint64_t>(beat_bytes_)))
            memcpy(to, contents.at(address), static_cast<size_t>(beat_bytes_));
        else
            memset(to, 0, static_cast<size_t>(beat_bytes_));
    }

    int response(const Burst &burst, int beat) const {
        if (burst.fault == kSlaveResponse) return kSlaveError;
        if (burst.fault == kDecodeResponse) return kDecodeError;
        uint64_t address = container(burst.beat_address(beat));
        return contents.holds(address, static_cast<uint64_t>(beat_bytes_)) ? kOkay : kDecodeError;
    }

    // Write data belongs to the addresses in their order.
    int distribute() {
        for (Burst &burst : writes_) {
            while (burst.done < burst.beats && !beats_.empty()) {
                const WriteBeat &beat = beats_.front();
                if (beat.last != (burst.done == burst.beats - 1)) return complain("WLAST", burst, "at the wrong beat");
                uint64_t address = burst.beat_address(burst.done);
                uint64_t end = ((address >> burst.size) + 1) << burst.size;
                uint64_t lanes = mask(end - container(address)) & ~mask(address - container(address));
                if (beat.strobe & ~lanes) return complain("WSTRB", burst, "beside the lanes of the beat");
                burst.data.insert(burst.data.end(), beat.data, beat.data + beat_bytes_);
                burst.strobes.push_back(beat.strobe);
                beats_.pop_front();
                if (++burst.done == burst.beats) {
                    begin(burst, true);
                    if (early_writes_) store(burst);
                }
            }
            if (beats_.empty()) break;
        }
        return 0;
    }

    static uint64_t mask(uint64_t bits) { return bits >= 64 ? ~0ull : (1ull << bits) - 1; }

    void store(const Burst &burst) {
        for (int beat = 0; beat < burst.beats; beat++) {
            if (response(burst, beat) != kOkay) continue;
            uint8_t *to = contents.at(container(burst.beat_address(beat)));
            const uint8_t *from = &burst.data[offset(beat)];
            uint64_t strobe = burst.strobes[static_cast<size_t>(beat)];
            for (int lane = 0; lane < beat_bytes_; lane++)
                if (strobe >> lane & 1) to[lane] = from[lane];
        }
    }

    // The burst that is answered next, or none. Bursts of one id keep their order.
    template <typename Ready> int choose(const std::deque<Burst> &bursts, Ready ready) {
        if (!hostile_) return ready(bursts.front()) ? 0 : -1;
        int chosen = -1;
        uint64_t candidates = 0;
        for (size_t n = 0; n < bursts.size(); n++) {
            bool first = std::none_of(bursts.begin(), bursts.begin() + static_cast<std::ptrdiff_t>(n),
                                      [&](const Burst &other) { return other.id == bursts[n].id; });
            if (first && ready(bursts[n]) && random_.below(++candidates) == 0) chosen = static_cast<int>(n);
        }
        return chosen;
    }

    // The address behind a beat, or the last one if there are no more.
    uint64_t behind(const Burst &burst, int beat) const {
        return container(burst.beat_address(std::min(beat, burst.beats - 1))) + static_cast<uint64_t>(beat_bytes_);
    }

    int64_t answer_read() {
        int chosen = choose(reads_, [this](const Burst &burst) {
            bool arrived = !burst.transfer || burst.transfer->reached >= behind(burst, burst.done);
            return burst.due <= now_ && arrived && !silenced(burst);
        });
        if (chosen < 0) return 0;
        Burst &burst = reads_[static_cast<size_t>(chosen)];
        int beat = std::min(burst.done, burst.beats - 1);  // a beat too many repeats the last one
        if (early_reads_)
            memcpy(word_, &burst.data[offset(beat)], static_cast<size_t>(beat_bytes_));
        else
            look_up(burst, beat, word_);
        int64_t step = 1 << 3 | static_cast<int64_t>(response(burst, beat)) << 6
                       | static_cast<int64_t>(id_of(burst)) << 10;
        if (burst.transfer) chips->take(index_, *burst.transfer, behind(burst, beat));
        int beats = burst.fault == kEarlyLast ? 1 : burst.beats + (burst.fault == kLateLast);
        if (++burst.done == beats) {
            step |= 1u << 5;
            if (!again(burst)) {
                if (burst.transfer) chips->drop(index_, burst.transfer);
                reads_.erase(reads_.begin() + chosen);
            }
        }
        return step;
    }

    int64_t answer_write() {
        int chosen = choose(writes_, [this](const Burst &b) {
            bool written = !b.transfer || b.transfer->reached == b.transfer->end;
            return b.done == b.beats && b.due <= now_ && written && !silenced(b);
        });
        if (chosen < 0) return 0;
        Burst &burst = writes_[static_cast<size_t>(chosen)];
        int worst = kOkay;
        for (int beat = 0; beat < burst.beats; beat++) worst = std::max(worst, response(burst, beat));
        if (!early_writes_) store(burst);
        int64_t step = 1 << 4 | static_cast<int64_t>(worst) << 8 | static_cast<int64_t>(id_of(burst)) << 26;
        if (!again(burst)) writes_.erase(writes_.begin() + chosen);
        return step;
    }

    // Whether an answered burst is answered once more.
    static bool again(Burst &burst) {
        if (burst.fault != kTwice) return false;
        burst.fault = kNone;
        if (!burst.strobes.size()) burst.done = 0;  // a read: all beats
        return true;
    }

    const int index_, beat_bytes_;
    const uint64_t latency_;
    const size_t outstanding_;
    Random random_;
    const bool hostile_, early_reads_, early_writes_;
    uint64_t now_ = 0;
    std::deque<Burst> reads_, writes_;
    std::deque<WriteBeat> beats_;  // without an address yet
    Stall ar_stall_, aw_stall_, w_stall_, r_stall_, b_stall_;
    uint8_t word_[64];
    Fault fault_{};
};

std::vector<std::unique_ptr<Port>> ports;

// The DRAM, by the first port.
bool install(const char *text, int port_index) {
    if (!*text) return true;
    if (!chips) {
        dram::Part part;
        std::string wrong = part.parse(text);
        if (!wrong.empty()) return Contents::refuse(wrong.c_str());
        chips = std::make_unique<dram::Dram>(part);
    }
    return port_index < chips->ports() || Contents::refuse("the part has fewer ports");
}

}  // namespace

extern "C" {

int axi_memory_open(const char *file, const char *part, int64_t bytes, int64_t base, int latency, int64_t seed,
                    int port_index, int beat_bytes, int outstanding) {
    if (!install(part, port_index)) return -1;
    if (!contents.open(file, static_cast<uint64_t>(bytes), static_cast<uint64_t>(base))) return -1;
    ports.push_back(std::make_unique<Port>(port_index, beat_bytes, latency, static_cast<uint64_t>(seed), outstanding));
    return static_cast<int>(ports.size()) - 1;
}

int64_t axi_memory_contents() { return reinterpret_cast<int64_t>(contents.bytes); }

int64_t axi_memory_fault(int handle) { return reinterpret_cast<int64_t>(ports[static_cast<size_t>(handle)]->fault()); }

void axi_memory_reset(int handle) { ports[static_cast<size_t>(handle)]->reset(); }

int axi_memory_read_burst(int handle, int id, int64_t address, int beats, int size, int burst) {
    return ports[static_cast<size_t>(handle)]->read_burst({id, static_cast<uint64_t>(address), beats, size}, burst);
}

int axi_memory_write_burst(int handle, int id, int64_t address, int beats, int size, int burst) {
    return ports[static_cast<size_t>(handle)]->write_burst({id, static_cast<uint64_t>(address), beats, size}, burst);
}

int axi_memory_write_beat(int handle, const svBitVecVal *data, int64_t strobe, svBit last) {
    return ports[static_cast<size_t>(handle)]->write_beat(data, static_cast<uint64_t>(strobe), last);
}

int64_t axi_memory_clock(int handle, svBit r_waits, svBit b_waits) {
    return ports[static_cast<size_t>(handle)]->clock(r_waits, b_waits);
}

void axi_memory_read_beat(int handle, svBitVecVal *data) { ports[static_cast<size_t>(handle)]->read_beat(data); }

}  // extern "C"

/// A model checker for the lock-free code: the real code, instantiated with the primitives of sync.hpp, runs on fibers,
/// and every schedule of its steps is tried, up to bounds.
///
///  1. Each access to an atomic, each lock and each fence is a point at which another thread may go on. All choices
///     (whose turn it is, which store is seen) are made by depth-first search: an execution repeats a prefix of choices
///     and takes the first option from there on. Schedules are bounded by the number of preemptions, as in CHESS
///     (Musuvathi and Qadeer, "Iterative Context Bounding for Systematic Testing of Multithreaded Programs", 2007).
///  2. Memory is x86-TSO (Sewell and others, 2010): a store waits in its thread's FIFO buffer, which the thread itself
///     reads first; read-modify-writes, seq_cst stores, locks and unlocks empty it, and `heavy_fence` empties those of
///     all, one after the other. When a buffered store reaches memory is decided when another thread accesses what it
///     writes: any other moment comes to the same. Each look past a buffered store counts against `delays`.
///  3. Happens-before is kept by vector clocks, from C++'s memory orders, so that what only x86 orders counts as a race
///     on data (`data_read`, `data_write`).
///  4. Who spins sleeps until something that it looked at since its last pause has changed, or may.
///  5. An access to what no other thread touches in a way that matters is no point of choice. Who touches what is
///  learnt
///     while exploring, and exploring starts anew when more was learnt.
///
/// A data race, a failed check, a deadlock, a livelock, and an access to a dead location fail the execution; it is then
/// repeated with a log. One thread; one `Checker` at a time.
#pragma once

#include <cxxabi.h>
#include <ucontext.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace weir_test::model {

inline constexpr std::size_t max_threads = 3;
/// Who sets up and checks: comes before all threads, and after them.
inline constexpr std::size_t main_thread = max_threads;

using Clock = std::array<std::uint32_t, max_threads + 1>;

inline void join(Clock& into, const Clock& other) noexcept {
  for (std::size_t i = 0; i < into.size(); ++i) into[i] = std::max(into[i], other[i]);
}

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// What an atomic is in the model's memory.
struct Location {
  std::uint64_t value = 0;
  std::uint32_t version = 0;
  std::size_t id = 0;
  const char* kind = "";
  bool dead = false;
  /// Of the release that a load of it synchronises with.
  Clock released{};
};

/// One execution's worth: made anew, by the main thread, for each.
struct Scenario {
  Scenario() = default;
  Scenario(const Scenario&) = delete;
  Scenario& operator=(const Scenario&) = delete;
  virtual ~Scenario() = default;
  /// After the threads' ends.
  virtual void check() {}
  std::vector<std::function<void()>> threads;
};

struct Bounds {
  std::uint32_t preemptions = 2;
  std::uint32_t delays = 2;
  std::uint64_t executions = 3'000'000;
  std::uint32_t steps = 5'000;
};

struct Report {
  std::uint64_t executions = 0;
  /// Everything within the bounds was tried.
  bool complete = false;
  /// Empty: nothing was found.
  std::string failure;
  std::string choices;
  std::string log;
  [[nodiscard]] bool found() const { return !failure.empty(); }
  [[nodiscard]] std::string text() const {
    if (!found()) return std::to_string(executions) + (complete ? " executions, all" : " executions, not all");
    return failure + "\nin execution " + std::to_string(executions) + ", repeated by WEIR_CHOICES=\"" + choices +
           "\"\n" + log;
  }
};

class Checker {
 public:
  enum class Access : bool { read, write };
  using Make = std::function<std::unique_ptr<Scenario>()>;

  static Checker* current() noexcept { return instance_; }

  explicit Checker(const Bounds& bounds) : bounds_(bounds) { instance_ = this; }
  Checker(const Checker&) = delete;
  Checker& operator=(const Checker&) = delete;
  ~Checker() { instance_ = nullptr; }

  /// Every execution within the bounds, or one that fails.
  Report explore(const Make& make) {
    Report report;
    for (bool more = true; more; more = next()) {
      if (report.executions == bounds_.executions) return report;
      ++report.executions;
      std::string failure = run(make);
      if (!failure.empty()) {
        report.choices = choices();
        log_again(make, report);
        report.failure = std::move(failure);
        return report;
      }
      if (learnt_) {
        touched_ = seen_;
        path_.clear();
        learnt_ = false;
        restarted_ = true;
      }
    }
    report.complete = true;
    return report;
  }
  /// The one execution that `Report::choices` stands for, with its log.
  Report repeat(const Make& make, const std::string& choices) {
    std::istringstream in(choices);
    for (std::string word; in >> word;) {
      if (word == ":") break;
      const auto bits = static_cast<unsigned>(std::stoul(word));
      touched_.push_back({static_cast<std::uint8_t>(bits >> 4U), static_cast<std::uint8_t>(bits & 15U)});
    }
    seen_ = touched_;
    for (std::size_t taken = 0; in >> taken;) path_.push_back({taken, taken + 1});
    Report report;
    report.executions = 1;
    report.choices = choices;
    log_ = &report.log;
    report.failure = run(make);
    log_ = nullptr;
    return report;
  }

  // What the primitives call.

  void born(Location& location, const char* kind, std::uint64_t value) {
    location.kind = kind;
    location.value = value;
    location.id = next_id_++;
    location.released = clock_[now_];
    if (seen_.size() <= location.id) seen_.resize(location.id + 1);
    if (touched_.size() <= location.id) touched_.resize(location.id + 1);
  }
  void died(Location& location) {
    // For who looks there all the same.
    *static_cast<volatile bool*>(&location.dead) = true;
    for (const auto& buffer : buffers_) {
      for (const Entry& entry : buffer) {
        if (entry.location == &location) fail("a store is still on its way to a location that died");
      }
    }
  }

  std::uint64_t load(Location& location, bool acquire) {
    must_live(location);
    if (now_ == main_thread) return location.value;
    point(&location, Access::read);
    for (auto entry = buffers_[now_].rbegin(); entry != buffers_[now_].rend(); ++entry) {
      if (entry->location == &location) return note("load", location, entry->value);
    }
    settle(location);
    remember(location);
    if (acquire) join(clock_[now_], location.released);
    return note("load", location, location.value);
  }
  void store(Location& location, std::uint64_t value, bool release, bool sequential) {
    must_live(location);
    point(&location, Access::write);
    const Entry entry{&location, value, release ? clock_[now_] : Clock{}};
    if (release) ++clock_[now_][now_];
    note(sequential ? "store seq_cst" : "store", location, value);
    if (now_ == main_thread) return commit(entry);
    if (sequential) {
      drain_own();
      settle(location);
      commit(entry);
    } else {
      buffers_[now_].push_back(entry);
      ++in_flight_;
    }
  }
  /// `change` gives the new value.
  template <class Change>
  std::uint64_t modify(Location& location, bool acquire, bool release, Change&& change) {
    must_live(location);
    point(&location, Access::write);
    drain_own();
    settle(location);
    const std::uint64_t before = location.value;
    if (acquire) join(clock_[now_], location.released);
    // It goes on with the release sequence.
    Entry entry{&location, change(before), location.released};
    if (release) join(entry.released, clock_[now_]);
    commit(entry);
    if (release) ++clock_[now_][now_];
    remember(location);
    note("modify", location, entry.value);
    return before;
  }

  void lock(Location& mutex) {
    point(&mutex, Access::write);
    if (mutex.value != 0) block(State::locked_out, mutex);
    drain_own();
    mutex.value = 1;
    join(clock_[now_], mutex.released);
    note("lock", mutex, now_);
  }
  void unlock(Location& mutex) {
    drain_own();
    mutex.value = 0;
    mutex.released = clock_[now_];
    ++clock_[now_][now_];
    note("unlock", mutex, now_);
  }

  void signal(Location& event) {
    point(&event, Access::write);
    drain_own();
    ++event.value;
    join(event.released, clock_[now_]);
    ++clock_[now_][now_];
    note("signal", event, event.value);
  }
  void wait(Location& event) {
    point(&event, Access::write);
    drain_own();
    if (event.value == 0) {
      if (now_ == main_thread) fail("the main thread waits");
      block(State::waiting, event);
    }
    join(clock_[now_], event.released);
    note("woken by", event, event.value);
  }

  void full_fence() {
    point(nullptr, Access::write);
    drain_own();
  }
  /// Each of the others passes a fence at a moment of its own.
  void heavy_fence() {
    for (std::size_t i = 0; i < count_ && now_ != main_thread; ++i) {
      if (i != now_) point(nullptr, Access::write);
      if (log_) *log_ += who() + "heavy fence on t" + std::to_string(i) + "\n";
      drain(i);
    }
  }
  void pause() {
    if (now_ == main_thread) fail("the main thread spins");
    if (++steps_ > bounds_.steps) fail("livelock");
    Thread& me = threads_[now_];
    if (me.looked_at.empty()) return;
    if (!may_see_news(now_)) {
      me.state = State::spinning;
      schedule();
      me.state = State::ready;
    }
    me.looked_at.clear();
  }

  void data_read(const void* address) {
    if (now_ == main_thread) return;
    Data& data = data_at(address);
    if (data.write > clock_[now_][data.writer]) fail("a data race: read without an order after the write");
    data.reads[now_] = clock_[now_][now_];
  }
  void data_write(const void* address, const char* what = "two writes") {
    if (now_ == main_thread) return;
    Data& data = data_at(address);
    if (data.write > clock_[now_][data.writer]) fail(std::string("a data race: ") + what + " without an order");
    for (std::size_t i = 0; i < data.reads.size(); ++i) {
      if (data.reads[i] > clock_[now_][i]) fail("a data race: write without an order after a read");
    }
    data.writer = now_;
    data.write = clock_[now_][now_];
    data.reads = {};
  }

  /// Ends the execution.
  void require(bool condition, const char* what) {
    if (!condition) fail(what);
  }
  [[noreturn]] void fail(const std::string& what) {
    if (now_ == main_thread) throw Failure(what);
    failure_ = who() + what;
    to_main();
    std::terminate();
  }

 private:
  enum class State { ready, locked_out, waiting, spinning, done };
  struct Look {
    Location* location;
    std::uint32_t version;
  };
  struct Thread {
    State state = State::ready;
    Location* on = nullptr;
    std::vector<Look> looked_at;
  };
  struct Entry {
    Location* location;
    std::uint64_t value;
    Clock released;
  };
  struct Data {
    const void* address = nullptr;
    std::size_t writer = main_thread;
    std::uint32_t write = 0;
    Clock reads{};
  };
  struct Choice {
    std::size_t taken;
    std::size_t options;
  };
  /// Which threads read and wrote a location.
  struct Touched {
    std::uint8_t read = 0;
    std::uint8_t written = 0;
  };
  struct Fiber {
    static constexpr std::size_t stack_size = 128 * 1024;
    ucontext_t context{};
    std::unique_ptr<char[]> stack{new char[stack_size]};
    bool fresh = true;
  };

  void must_live(const Location& location) {
    if (*static_cast<const volatile bool*>(&location.dead)) fail("an access to a location that died");
  }

  [[nodiscard]] std::string who() const { return "t" + std::to_string(now_) + ": "; }
  std::uint64_t note(const char* what, const Location& location, std::uint64_t value) {
    if (log_ && now_ != main_thread) [[unlikely]] {
      *log_ +=
          who() + what + " " + location.kind + "#" + std::to_string(location.id) + " " + std::to_string(value) + "\n";
    }
    return value;
  }

  std::size_t choose(std::size_t options) {
    if (options <= 1) return 0;
    if (depth_ == path_.size()) path_.push_back({0, options});
    return path_[depth_++].taken;
  }
  /// The next path; false: that was the last.
  bool next() {
    if (std::exchange(restarted_, false)) return true;
    while (!path_.empty() && path_.back().taken + 1 >= path_.back().options) path_.pop_back();
    if (path_.empty()) return false;
    ++path_.back().taken;
    return true;
  }

  std::string run(const Make& make) {
    depth_ = 0;
    steps_ = 0;
    next_id_ = 0;
    preemptions_ = bounds_.preemptions;
    delays_ = bounds_.delays;
    now_ = main_thread;
    failure_.clear();
    data_.clear();
    for (auto& buffer : buffers_) buffer.clear();
    in_flight_ = 0;
    clock_ = {};
    clock_[main_thread][main_thread] = 1;
    std::unique_ptr<Scenario> scenario;
    try {
      scenario = make();
      count_ = scenario->threads.size();
      for (std::size_t i = 0; i < count_; ++i) {
        threads_[i].state = State::ready;
        threads_[i].looked_at.clear();
        clock_[i] = clock_[main_thread];
        clock_[i][i] = 1;
      }
      ++clock_[main_thread][main_thread];
      scenario_ = scenario.get();
      now_ = choose(count_);
      enter(now_, main_);
      now_ = main_thread;
      if (!failure_.empty()) {
        // Its threads stand where they were, and refer to it.
        abandoned().push_back(std::move(scenario));
        for (Fiber& fiber : fibers_) fiber = Fiber();
        return failure_;
      }
      for (std::size_t i = 0; i < count_; ++i) {
        drain(i);
        join(clock_[main_thread], clock_[i]);
      }
      scenario->check();
      scenario.reset();
    } catch (const Failure& failure) {
      abandoned().push_back(std::move(scenario));
      return failure.what();
    }
    return {};
  }
  /// What had been learnt, and what was chosen.
  [[nodiscard]] std::string choices() const {
    std::string text;
    for (const Touched& touched : touched_) text += std::to_string(touched.read * 16 + touched.written) + " ";
    text += ":";
    for (std::size_t i = 0; i < depth_; ++i) text += " " + std::to_string(path_[i].taken);
    return text;
  }
  void log_again(const Make& make, Report& report) {
    path_.resize(std::min(depth_, path_.size()));
    log_ = &report.log;
    run(make);
    log_ = nullptr;
  }
  static std::vector<std::unique_ptr<Scenario>>& abandoned() {
    static std::vector<std::unique_ptr<Scenario>>& all = *new std::vector<std::unique_ptr<Scenario>>;
    return all;
  }

  // Fibers.

  /// What the C++ runtime knows of exceptions that are under way, by thread: each fiber has its own.
  struct Exceptions {
    void* caught = nullptr;
    unsigned uncaught = 0;

    static Exceptions& now() noexcept { return *reinterpret_cast<Exceptions*>(abi::__cxa_get_globals()); }
  };
  static void swap(ucontext_t& from, ucontext_t& to) {
    const Exceptions mine = Exceptions::now();
    swapcontext(&from, &to);
    Exceptions::now() = mine;
  }
  static void body() {
    Exceptions::now() = {};
    Checker* const self = instance_;
    for (;;) {
      const std::size_t me = self->now_;
      self->scenario_->threads[me]();
      self->threads_[me].state = State::done;
      self->schedule();
    }
  }
  void enter(std::size_t next, ucontext_t& from) {
    Fiber& fiber = fibers_[next];
    if (std::exchange(fiber.fresh, false)) {
      getcontext(&fiber.context);
      fiber.context.uc_stack.ss_sp = fiber.stack.get();
      fiber.context.uc_stack.ss_size = Fiber::stack_size;
      fiber.context.uc_link = nullptr;
      makecontext(&fiber.context, &body, 0);
    }
    swap(from, fiber.context);
  }
  void to_main() { swap(fibers_[now_].context, main_); }

  // Scheduling.

  [[nodiscard]] bool may_see_news(std::size_t thread) const {
    for (const Look& look : threads_[thread].looked_at) {
      if (look.location->version != look.version) return true;
      for (std::size_t i = 0; i < count_ && in_flight_ > 0; ++i) {
        if (i == thread) continue;
        for (const Entry& entry : buffers_[i]) {
          if (entry.location == look.location) return true;
        }
      }
    }
    return false;
  }
  [[nodiscard]] bool enabled(std::size_t thread) const {
    const Thread& t = threads_[thread];
    switch (t.state) {
      case State::ready:
        return true;
      case State::locked_out:
        return t.on->value == 0;
      case State::waiting:
        return t.on->value != 0;
      case State::spinning:
        return may_see_news(thread);
      case State::done:
        return false;
    }
    return false;
  }
  void point(const Location* location, Access access) {
    if (now_ == main_thread) return;
    if (++steps_ > bounds_.steps) fail("livelock");
    if (location) {
      const auto me = static_cast<std::uint8_t>(1U << now_);
      Touched& seen = seen_[location->id];
      std::uint8_t& mine = access == Access::read ? seen.read : seen.written;
      if (!(mine & me)) {
        mine |= me;
        learnt_ = true;
      }
      const Touched& touched = touched_[location->id];
      const unsigned others = access == Access::read ? touched.written : (touched.read | touched.written);
      if (!(others & ~static_cast<unsigned>(me))) return;
    }
    schedule();
  }
  void block(State state, Location& on) {
    Thread& me = threads_[now_];
    me.state = state;
    me.on = &on;
    schedule();
    me.state = State::ready;
  }
  /// Who goes on: this thread if it can, or, at the price of a preemption, another.
  void schedule() {
    std::array<std::size_t, max_threads> options{};
    std::size_t n = 0;
    const bool can_go_on = threads_[now_].state == State::ready;
    if (can_go_on) options[n++] = now_;
    if (!can_go_on || preemptions_ > 0) {
      for (std::size_t i = 0; i < count_; ++i) {
        if (!(can_go_on && i == now_) && enabled(i)) options[n++] = i;
      }
    }
    if (n == 0) {
      // It may be one that gives up some time; one that does not is a livelock.
      for (std::size_t i = 0; i < count_; ++i) {
        if (threads_[i].state == State::spinning) options[n++] = i;
      }
    }
    if (n == 0) {
      for (std::size_t i = 0; i < count_; ++i) {
        if (threads_[i].state != State::done) fail(deadlock());
      }
      return to_main();
    }
    const std::size_t next = options[choose(n)];
    if (next == now_) return;
    if (can_go_on) --preemptions_;
    ucontext_t& from = fibers_[now_].context;
    now_ = next;
    enter(next, from);
  }
  [[nodiscard]] std::string deadlock() const {
    std::string text = "deadlock:";
    for (std::size_t i = 0; i < count_; ++i) {
      const Thread& t = threads_[i];
      if (t.state == State::done) continue;
      text += " t" + std::to_string(i);
      text += std::string(" waits for ") + t.on->kind + "#" + std::to_string(t.on->id);
    }
    return text;
  }

  // Memory.

  void commit(const Entry& entry) {
    Location& location = *entry.location;
    if (location.value != entry.value) ++location.version;
    location.value = entry.value;
    location.released = entry.released;
  }
  void pop(std::size_t thread) {
    commit(buffers_[thread].front());
    buffers_[thread].pop_front();
    --in_flight_;
  }
  void drain(std::size_t thread) {
    while (!buffers_[thread].empty()) pop(thread);
  }
  void drain_own() {
    if (now_ == main_thread) return;
    while (!buffers_[now_].empty()) {
      settle(*buffers_[now_].front().location);
      pop(now_);
    }
  }
  [[nodiscard]] bool has_entry(std::size_t thread, const Location& location) const {
    return std::any_of(buffers_[thread].begin(), buffers_[thread].end(),
                       [&location](const Entry& entry) { return entry.location == &location; });
  }
  /// Before an access: which of the others' buffered stores to it have come?
  void settle(Location& location) {
    if (now_ == main_thread || in_flight_ == 0) return;
    for (;;) {
      std::array<std::size_t, max_threads> options{};
      std::size_t n = 0;
      for (std::size_t i = 0; i < count_; ++i) {
        if (i != now_ && has_entry(i, location)) options[n++] = i;
      }
      if (n == 0) return;
      const std::size_t taken = choose(n + (delays_ > 0 ? 1 : 0));
      if (taken == n) {
        --delays_;
        if (log_) *log_ += who() + "looks past a store to " + location.kind + "#" + std::to_string(location.id) + "\n";
        return;
      }
      bool came = false;
      while (!came) {
        came = buffers_[options[taken]].front().location == &location;
        pop(options[taken]);
      }
    }
  }
  void remember(Location& location) {
    if (now_ == main_thread) return;
    auto& looks = threads_[now_].looked_at;
    for (Look& look : looks) {
      if (look.location == &location) {
        look.version = location.version;
        return;
      }
    }
    looks.push_back({&location, location.version});
  }
  [[nodiscard]] Data& data_at(const void* address) {
    for (Data& data : data_) {
      if (data.address == address) return data;
    }
    data_.emplace_back().address = address;
    return data_.back();
  }

  static inline Checker* instance_ = nullptr;

  const Bounds bounds_;
  std::vector<Choice> path_;
  std::size_t depth_ = 0;
  std::uint32_t steps_ = 0;
  std::uint32_t preemptions_ = 0;
  std::uint32_t delays_ = 0;
  std::size_t next_id_ = 0;
  std::vector<Touched> seen_;
  std::vector<Touched> touched_;
  bool learnt_ = false;
  bool restarted_ = false;

  Scenario* scenario_ = nullptr;
  std::size_t count_ = 0;
  std::size_t now_ = main_thread;
  std::array<Thread, max_threads> threads_;
  std::array<Clock, max_threads + 1> clock_{};
  std::size_t in_flight_ = 0;
  /// The main thread's is always empty.
  std::array<std::deque<Entry>, max_threads + 1> buffers_;
  /// A few: what the main thread accesses is not kept.
  std::vector<Data> data_;
  std::string failure_;
  std::string* log_ = nullptr;
  ucontext_t main_{};
  std::array<Fiber, max_threads> fibers_;
};

}  // namespace weir_test::model

/// A deterministic execution context: one thread, a virtual clock, and an order of things that a seed decides.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <weir/asio.hpp>
#include <weir/core/blocking.hpp>
#include <weir/core/error.hpp>
#include <weir/core/root_registry.hpp>
#include <weir/core/spawn.hpp>
#include <weir/core/task.hpp>
#include <weir/core/time_service.hpp>
#include <weir/sim/detail/ready_queue.hpp>
#include <weir/sim/strategy.hpp>

namespace weir::sim {

/// An invariant did not hold: what `ensure` throws, and what an exception of an `on_step` hook is wrapped in.
class InvariantBroken : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Throws `InvariantBroken(what)` unless `holds`: for invariants that are checked too often for a test framework's
/// macros.
inline void ensure(bool holds, const char* what) {
  if (!holds) [[unlikely]] {
    throw InvariantBroken(what);
  }
}

/// An execution context for tests. Everything that is ready is in one list, and the seed decides what runs next; each
/// resumption of a coroutine and each operation that is done at once is such a choice. The clock of the library
/// (`TimeService`) is virtual: it stands still while anything is ready, and then jumps to the earliest deadline.
///
///     weir::sim::Simulator sim(seed);
///     sim.spawn(producer(tx), "producer");
///     sim.spawn(consumer(rx), "consumer");
///     sim.run();  // throws when a root did, or when all wait for ever
///
/// Everything happens on the thread that made it. A post from another thread is not run: it makes `run` throw. Asio's
/// own I/O objects and timers are not simulated; they would post from a thread of their own. Objects that the
/// coroutines refer to must outlive them: declare them before the simulator, or let `keep` own them.
class Simulator : public asio::execution_context {
 public:
  class executor_type;
  using TimePoint = TimeService::TimePoint;
  using Duration = TimeService::Duration;

  explicit Simulator(std::uint64_t seed = 0)
      : Simulator(std::make_unique<RandomStrategy>(seed), "seed " + std::to_string(seed)) {}
  /// The same with another strategy; `name` is what reports call it.
  Simulator(std::unique_ptr<Strategy> strategy, std::string name)
      : queue_(asio::use_service<detail::ReadyQueue>(*this)),
        registry_(asio::use_service<RootRegistry>(*this)),
        time_(asio::use_service<TimeService>(*this)),
        strategy_(std::move(strategy)),
        name_(std::move(name)) {
    registry_.set_budget(1);
    asio::use_service<BlockingService>(*this).set_inline(true);
    time_.set_backend(std::make_unique<VirtualClock>(*this));
  }
  Simulator(const Simulator&) = delete;
  Simulator& operator=(const Simulator&) = delete;
  /// Destroys unfinished roots where they wait, then what `keep` owns (the newest first), and drops pending handlers
  /// uncalled.
  ~Simulator() {
    shut_down();
    while (!kept_.empty()) kept_.pop_back();
    shut_down();
    destroy();
  }

  [[nodiscard]] executor_type get_executor() noexcept;

  /// Starts `awaitable` (or a function that returns one) as a root; what it throws, `run` throws. `name` is used in
  /// reports, and must live as long.
  template <class A>
  void spawn(A&& awaitable, const char* name = nullptr);

  /// Runs until nothing is left, or `stop` was called. Throws what a root of `spawn` or a handler threw, what a hook
  /// threw (wrapped in `InvariantBroken` if it is a `std::exception`), and `Error(Errc::stalled)` when something is
  /// unfinished that nothing can wake: the message says which roots wait, and for what. May be called again.
  void run();
  /// One step: one handler, or one jump of the clock. False: nothing is left.
  bool step();
  /// From inside: `run` returns after this step.
  void stop() noexcept { stopped_ = true; }
  /// Whether `stop` was called.
  [[nodiscard]] bool stopped() const noexcept { return stopped_; }

  /// Ends the context as its destructor would: unfinished roots are destroyed where they wait, and pending handlers are
  /// dropped. For tests that look at what that did; nothing runs any more.
  void shut_down() {
    shutdown();
    deadline_ = TimePoint::max();
    closed_ = true;
  }

  /// Owns an object until every root has been destroyed.
  template <class T, class... Args>
  T& keep(Args&&... args) {
    auto object = std::make_shared<T>(static_cast<Args&&>(args)...);
    T& reference = *object;
    kept_.push_back(std::move(object));
    return reference;
  }

  /// Calls `check` after each step: for invariants. It may throw, and may not post.
  void on_step(std::function<void()> check) { checks_.push_back(std::move(check)); }

  /// What a test does to the scenario at one of its steps: cancel something, destroy an owner, `stop()`. Nothing
  /// happens unless `act_at` was called, which `explore_each_step` does.
  void on_action(std::function<void()> action) { action_ = std::move(action); }
  /// Before step number `step`, from 0; or when nothing is left, if that comes first.
  void act_at(std::uint64_t step) noexcept { act_at_ = step; }
  /// Whether the action was taken.
  [[nodiscard]] bool acted() const noexcept { return acted_; }

  /// How many steps have been made.
  [[nodiscard]] std::uint64_t steps() const noexcept { return steps_; }
  /// `run` fails when it gets there: a scenario that never ends is found. A million unless set.
  void limit_steps(std::uint64_t limit) noexcept { limit_ = limit; }
  /// How many handlers are ready.
  [[nodiscard]] std::size_t ready() const noexcept { return queue_.ready().size(); }
  [[nodiscard]] TimePoint now() const noexcept { return now_; }
  /// Since the start of the simulation.
  [[nodiscard]] Duration elapsed() const noexcept { return now_ - TimePoint(); }
  /// What was said to the constructor: "seed 17".
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  /// Who is unfinished, and what it waits for: one line for each root.
  [[nodiscard]] std::string waiting() const;

 private:
  struct VirtualClock final : TimeService::Backend {
    explicit VirtualClock(Simulator& s) noexcept : sim(s) {}
    [[nodiscard]] TimePoint now() const noexcept override { return sim.now_; }
    void wake_at(TimePoint when) override { sim.deadline_ = when; }
    Simulator& sim;
  };

  /// Awaited first by a root that has a name.
  struct Naming {
    const char* name;
    void attach(Promise& promise) const noexcept { promise.home().set_name(name); }
    [[nodiscard]] bool await_ready() const noexcept { return true; }
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    void await_resume() const noexcept {}
  };
  template <class A>
  static Task<> named(A awaitable, const char* name) {
    Naming naming{name};
    co_await naming;
    if constexpr (Awaitable<A>) {
      co_await std::move(awaitable);
    } else {
      auto&& returned = awaitable();
      co_await std::move(returned);
    }
  }

  bool act();
  bool jump();
  void run_one();
  void check();
  void refuse_foreign() const;
  [[nodiscard]] std::string where() const { return name_ + ", step " + std::to_string(steps_); }

  detail::ReadyQueue& queue_;
  RootRegistry& registry_;
  TimeService& time_;
  std::unique_ptr<Strategy> strategy_;
  std::string name_;
  TimePoint now_{};
  TimePoint deadline_ = TimePoint::max();
  std::uint64_t steps_ = 0;
  std::uint64_t limit_ = 1'000'000;
  std::uint64_t act_at_ = static_cast<std::uint64_t>(-1);
  bool acted_ = false;
  bool stopped_ = false;
  bool closed_ = false;
  std::exception_ptr error_;
  std::function<void()> action_;
  std::vector<std::function<void()>> checks_;
  std::vector<std::shared_ptr<void>> kept_;
};

/// The executor of a `Simulator`. It never runs a function inline; posting from the simulator's own thread makes it
/// ready, from another one it makes the run fail. Posting allocates one block, with the function's associated
/// allocator. A copy that tracks outstanding work makes the simulator stall rather than end.
class Simulator::executor_type {
 public:
  explicit executor_type(Simulator& sim, bool tracked = false) noexcept
      : sim_(&sim), queue_(&sim.queue_), tracked_(tracked) {
    start_work();
  }
  executor_type(const executor_type& other) noexcept
      : sim_(other.sim_), queue_(other.queue_), tracked_(other.tracked_) {
    start_work();
  }
  executor_type& operator=(const executor_type& other) noexcept {
    executor_type copy(other);
    std::swap(sim_, copy.sim_);
    std::swap(queue_, copy.queue_);
    std::swap(tracked_, copy.tracked_);
    return *this;
  }
  ~executor_type() {
    if (tracked_) queue_->work_finished();
  }

  [[nodiscard]] friend bool operator==(const executor_type& a, const executor_type& b) noexcept {
    return a.sim_ == b.sim_ && a.tracked_ == b.tracked_;
  }

  [[nodiscard]] Simulator& query(asio::execution::context_t) const noexcept { return *sim_; }
  [[nodiscard]] static constexpr asio::execution::blocking_t query(asio::execution::blocking_t) noexcept {
    return asio::execution::blocking_t::never_t();
  }
  [[nodiscard]] executor_type require(asio::execution::blocking_t::never_t) const noexcept { return *this; }
  [[nodiscard]] static constexpr asio::execution::relationship_t query(asio::execution::relationship_t) noexcept {
    return asio::execution::relationship_t::fork_t();
  }
  [[nodiscard]] executor_type require(asio::execution::relationship_t::fork_t) const noexcept { return *this; }
  [[nodiscard]] asio::execution::outstanding_work_t query(asio::execution::outstanding_work_t) const noexcept {
    if (tracked_) return asio::execution::outstanding_work_t::tracked_t();
    return asio::execution::outstanding_work_t::untracked_t();
  }
  [[nodiscard]] executor_type require(asio::execution::outstanding_work_t::tracked_t) const noexcept {
    return executor_type(*sim_, true);
  }
  [[nodiscard]] executor_type require(asio::execution::outstanding_work_t::untracked_t) const noexcept {
    return executor_type(*sim_, false);
  }

  template <class F>
  void execute(F&& f) const {
    queue_->post(static_cast<F&&>(f));
  }
  /// The same for a turn of a root, which strategies may want to know. For `spawn`.
  template <class F>
  void execute_turn(const Home& home, F&& f) const {
    queue_->post(static_cast<F&&>(f), home.id());
  }

  /// Blocking the simulator's thread would wait for itself.
  [[nodiscard]] bool running_in_this_thread() const noexcept { return queue_->on_owner_thread(); }

 private:
  void start_work() const noexcept {
    if (tracked_) queue_->work_started();
  }

  Simulator* sim_;
  detail::ReadyQueue* queue_;
  bool tracked_;
};

inline Simulator::executor_type Simulator::get_executor() noexcept { return executor_type(*this); }

template <class A>
void Simulator::spawn(A&& awaitable, const char* name) {
  auto done = [this](std::exception_ptr error, auto&&...) {
    if (error && !error_) error_ = std::move(error);
  };
  if (name) {
    weir::spawn(*this, named<std::decay_t<A>>(static_cast<A&&>(awaitable), name), std::move(done));
  } else {
    weir::spawn(*this, static_cast<A&&>(awaitable), std::move(done));
  }
}

inline bool Simulator::act() {
  if (acted_ || !action_ || act_at_ == static_cast<std::uint64_t>(-1)) return false;
  acted_ = true;
  action_();
  return true;
}

inline bool Simulator::jump() {
  if (deadline_ == TimePoint::max()) return false;
  if (deadline_ > now_) now_ = deadline_;
  time_.expire();
  return true;
}

inline void Simulator::run_one() {
  const auto ready = queue_.ready();
  const std::size_t index = ready.size() == 1 ? 0 : strategy_->choose(ready);
  strategy_->runs(ready[index]);
  detail::Handler& handler = queue_.take(index);
  handler.complete(handler, true);
}

inline void Simulator::check() {
  if (checks_.empty()) return;
  try {
    for (const auto& check : checks_) check();
  } catch (const std::exception& error) {
    std::throw_with_nested(InvariantBroken(where() + ": " + error.what()));
  }
}

inline void Simulator::refuse_foreign() const {
  if (!queue_.foreign()) return;
  throw Error(Errc::invalid_argument, where() + ": thread " + queue_.foreign_thread() +
                                          " posted to the simulator, which runs on one thread only");
}

inline bool Simulator::step() {
  if (closed_) return false;
  refuse_foreign();
  if (steps_ >= act_at_ && act() && stopped_) return false;
  if (!queue_.empty()) {
    ++steps_;
    run_one();
  } else if (jump()) {
    ++steps_;
  } else if (act()) {
    return !stopped_;
  } else {
    return false;
  }
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  check();
  return true;
}

inline void Simulator::run() {
  stopped_ = false;
  while (!stopped_ && step()) {
    if (steps_ >= limit_) throw Error(Errc::timed_out, where() + ": no end in sight; running:\n" + waiting());
  }
  refuse_foreign();
  if (stopped_ || closed_) return;
  const std::string left = waiting();
  if (!left.empty()) throw Error(Errc::stalled, where() + ":\n" + left);
}

inline std::string Simulator::waiting() const {
  std::string report;
  registry_.for_each([&report](Home& home) {
    std::string line = "  root " + std::to_string(home.id());
    if (home.name()) line += std::string(" '") + home.name() + "'";
    bool waits = false;
    home.scope().for_each_wait([&](const Cancellable& wait) {
      line += waits ? "; " : " waits in: ";
      wait.describe(line);
      waits = true;
    });
    if (!waits) line += " waits for something that cannot be cancelled";
    report = line + "\n" + report;
  });
  if (report.empty() && queue_.work() != 0) {
    report = "  " + std::to_string(queue_.work()) + " piece(s) of outstanding work that are not roots\n";
  }
  return report;
}

}  // namespace weir::sim

namespace weir {

/// So that what runs along with its waker is explored too: with turns of one step it is a choice like any other.
template <>
inline constexpr bool is_plain_executor<sim::Simulator::executor_type> = true;

}  // namespace weir

#include <weir/channel/channel.hpp>

#include <asio/executor_work_guard.hpp>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include <weir/core/cancellation.hpp>
#include <weir/core/spawn.hpp>
#include <weir/core/with_cancellation.hpp>

#include "channel/linearizability.hpp"
#include "channel/support.hpp"
#include "support/catch.hpp"

// Four threads, each with a home of its own, do up to twelve operations each on one channel; what they saw is judged by
// the sequential channel. WEIR_HISTORIES says how many histories, WEIR_HISTORY_SEED repeats the programs of one (not
// what the threads make of them).

namespace {

using namespace channel_test;

constexpr std::size_t thread_count = 4;
constexpr int max_steps = 12;

struct Step {
  Op op = Op::send;
  /// Of a cancel: whose wait. Of a copy: who gets it, by way of its mailbox.
  std::size_t target = 0;
  int target_step = 0;
  /// Before the operation.
  std::uint32_t pause = 0;
  /// Some other step cancels this one.
  bool cancellable = false;
};

/// How the threads share the channel.
enum class Shape {
  several,     ///< each thread has handles of its own, for one end or both
  single,      ///< one sender's and one receiver's thread; the others cancel
  spsc,        ///< the same with the channel for two
  travelling,  ///< begins with one handle at an end; copies go to other threads, and end, while it is used
};

enum class Ending { observer_sender, observer_receiver, cancel };

struct Program {
  Shape shape = Shape::several;
  Ending ending = Ending::cancel;
  std::size_t capacity = 1;
  /// Operations are ordered by a clock that all threads share. Without it only by their threads: the clock is a fence
  /// at each operation, which hides what a missing fence would do.
  bool clock = true;
  /// Handles stay until all threads are done, so that what is left can be received.
  bool keep_handles = false;
  bool has_sender[thread_count] = {};
  bool has_receiver[thread_count] = {};
  std::vector<Step> steps[thread_count];
};

std::size_t pick(std::mt19937& random, std::size_t n) { return random() % n; }

bool waits(Op op) { return op == Op::send || op == Op::receive || op == Op::reserve; }

Program make_program(std::uint32_t seed) {
  std::mt19937 random(seed);
  Program program;
  static constexpr std::size_t capacities[] = {1, 1, 2, 3, 8, 1024};
  program.capacity = capacities[pick(random, 6)];
  program.shape = static_cast<Shape>(pick(random, 4));
  program.clock = pick(random, 4) != 0;
  program.keep_handles = pick(random, 2) == 0;
  const bool one_each = program.shape == Shape::single || program.shape == Shape::spsc;
  program.ending = one_each ? Ending::cancel : static_cast<Ending>(pick(random, 3));
  if (program.shape == Shape::travelling) program.ending = Ending::cancel;

  if (program.shape == Shape::several) {
    const bool mixed = pick(random, 2) == 0;
    for (std::size_t t = 0; t < thread_count; ++t) {
      program.has_sender[t] = mixed ? pick(random, 3) != 0 : t % 2 == 0;
      program.has_receiver[t] = mixed ? !program.has_sender[t] || pick(random, 2) == 0 : t % 2 == 1;
    }
  } else {
    program.has_sender[0] = true;
    program.has_receiver[1] = true;
  }

  const std::size_t tries = 1 + pick(random, 4);
  const bool copies = pick(random, 2) == 0 && program.shape != Shape::spsc;
  const bool closes = pick(random, 3) == 0;
  const bool cancels = pick(random, 2) == 0;
  static constexpr std::uint32_t paces[] = {1, 30, 1000};
  const std::uint32_t pace = paces[pick(random, 3)];
  for (std::size_t t = 0; t < thread_count; ++t) {
    const bool sends = program.has_sender[t] || program.shape == Shape::travelling;
    const bool receives = program.has_receiver[t] || program.shape == Shape::travelling;
    const int count = 4 + static_cast<int>(pick(random, max_steps - 3));
    for (int i = 0; i < count; ++i) {
      Step step;
      step.pause = static_cast<std::uint32_t>(pick(random, pace));
      const bool send = sends && (!receives || pick(random, 2) == 0);
      const std::size_t kind = pick(random, 24);
      if (cancels && kind < 3) {
        step.op = Op::cancel;
        step.target = pick(random, thread_count);
        step.target_step = std::max(0, i - 1 + static_cast<int>(pick(random, 3)));
      } else if (!sends && !receives) {
        step.op = Op::cancel;
        step.target = pick(random, 2);
        step.target_step = i;
      } else if (kind == 3 && closes && i > 2) {
        step.op = Op::close;
      } else if (kind == 4) {
        step.op = Op::closed;
      } else if (kind < 9 && (copies || program.shape == Shape::travelling)) {
        const bool copy = kind < 7;
        step.op = send ? (copy ? Op::copy_sender : Op::drop_sender) : (copy ? Op::copy_receiver : Op::drop_receiver);
        step.target = program.shape == Shape::travelling ? pick(random, thread_count) : t;
      } else if (send) {
        const std::size_t how = pick(random, 4 + tries);
        step.op = how < 3 ? Op::send : how == 3 ? Op::reserve : Op::try_send;
      } else {
        step.op = pick(random, 3 + tries) < 3 ? Op::receive : Op::try_receive;
      }
      program.steps[t].push_back(step);
    }
  }
  for (const auto& steps : program.steps) {
    for (const Step& step : steps) {
      if (step.op != Op::cancel) continue;
      auto& theirs = program.steps[step.target];
      if (static_cast<std::size_t>(step.target_step) < theirs.size()) {
        theirs[static_cast<std::size_t>(step.target_step)].cancellable = true;
      }
    }
  }
  return program;
}

/// What a thread gets from others while it runs.
template <class Tx, class Rx>
struct Mailbox {
  std::mutex mutex;
  std::vector<Tx> senders;
  std::vector<Rx> receivers;
};

template <class Tx, class Rx>
struct Party {
  std::vector<Tx> senders;
  std::vector<Rx> receivers;
  Mailbox<Tx, Rx> mailbox;
  std::vector<Event> events;
  std::vector<weir::CancellationSource> sources;
  weir::CancellationSource end;
  std::atomic<std::uint32_t> progress{0};
};

template <class Tx, class Rx>
class Round {
 public:
  Round(const Program& program, std::uint32_t seed, asio::io_context (&contexts)[thread_count])
      : program_(program), seed_(seed), contexts_(contexts) {
    for (std::size_t t = 0; t < thread_count; ++t) {
      for (const Step& step : program.steps[t]) {
        if (step.cancellable) {
          parties_[t].sources.emplace_back();
        } else {
          parties_[t].sources.push_back(none_);
        }
      }
    }
  }

  template <class Kind>
  void make_channel() {
    auto [tx, rx] = Kind::template make<int>(contexts_[0], {.capacity = program_.capacity});
    history_.capacity = program_.capacity;
    history_.senders = history_.receivers = 0;
    if constexpr (std::is_copy_constructible_v<Tx>) {
      for (std::size_t t = 0; t < thread_count; ++t) {
        if (program_.has_sender[t]) give(tx, t);
        if (program_.has_receiver[t]) give(rx, t);
      }
      if (program_.ending == Ending::observer_sender) observer_sender_.push_back(tx), ++history_.senders;
      if (program_.ending == Ending::observer_receiver) observer_receiver_.push_back(rx), ++history_.receivers;
      // A copy may leave no more than one, which is what has to be told from several.
      if (history_.senders == 0) give(tx, 0);
      if (history_.receivers == 0) give(rx, 0);
    } else {
      history_.senders = history_.receivers = 1;
      parties_[0].senders.push_back(std::move(tx));
      parties_[1].receivers.push_back(std::move(rx));
    }
  }

  /// On the thread `who`.
  void run(std::size_t who) {
    auto& context = contexts_[who];
    context.restart();
    auto work = asio::make_work_guard(context);
    work_[who] = &work;
    weir::spawn(context, weir::with_cancellation(parties_[who].end.token(), perform(who)),
                [this](std::exception_ptr error) {
                  if (error) std::rethrow_exception(error);
                  done_.fetch_add(1);
                });
    arrived_.fetch_add(1);
    while (arrived_.load(std::memory_order_relaxed) < thread_count) std::this_thread::yield();
    context.run();
  }

  /// On the thread that made it: waits until all are done, and ends the waits that nothing else would.
  void finish() {
    const Watch watch;
    std::uint32_t seen = 0;
    for (int quiet = 0; done_.load() < thread_count;) {
      std::this_thread::yield();
      const std::uint32_t now = progress();
      quiet = now == seen ? quiet + 1 : 0;
      seen = now;
      if (quiet >= 10 && !ended_ && arrived_.load() == thread_count) {
        // What was posted before a probe runs before it. Twice, for those that a probe overtook while they ran.
        probe(watch);
        probe(watch);
        if (progress() == seen && done_.load() < thread_count) end_waits();
      }
      if (watch.too_long()) hang();
    }
    for (std::size_t t = 0; t < thread_count; ++t) asio::post(contexts_[t], [this, t] { work_[t]->reset(); });
    drain();
    collect();
  }

  [[nodiscard]] const History& history() const { return history_; }

 private:
  void give(const Tx& tx, std::size_t who) { parties_[who].senders.push_back(tx), ++history_.senders; }
  void give(const Rx& rx, std::size_t who) { parties_[who].receivers.push_back(rx), ++history_.receivers; }

  std::uint64_t now() {
    if (!program_.clock) return 0;
    return clock_.fetch_add(1);
  }
  /// Without a clock everything overlaps with what the other threads do.
  std::uint64_t returned() { return program_.clock ? now() : without_clock; }

  Event& begin(std::size_t who, int step, Op op, int value = 0) {
    Event& event = parties_[who].events.emplace_back();
    event.op = op;
    event.step = step;
    event.value = value;
    event.called = now();
    return event;
  }
  void end(std::size_t who, Event& event, Answer answer) {
    event.returned = returned();
    event.answer = answer;
    parties_[who].progress.store(parties_[who].progress.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }

  static Answer answer_of(const weir::Error& error) {
    if (error.code() == Errc::cancelled) return Answer::cancelled;
    if (error.code() == Errc::channel_closed) return Answer::closed;
    throw error;
  }

  static Task<Answer> send(const Tx& tx, int value) {
    try {
      co_await tx.send(std::move(value));
    } catch (const weir::Error& error) {
      co_return answer_of(error);
    }
    co_return Answer::done;
  }
  static Task<Answer> receive(const Rx& rx, int& value) {
    std::optional<int> got;
    try {
      got = co_await rx.receive();
    } catch (const weir::Error& error) {
      co_return answer_of(error);
    }
    if (!got) co_return Answer::closed;
    value = *got;
    co_return Answer::value;
  }
  using HeldPermit = weir::await_result_t<decltype(std::declval<Tx&>().reserve())>;
  static Task<Answer> reserve(const Tx& tx, std::optional<HeldPermit>& permit) {
    try {
      permit.emplace(co_await tx.reserve());
    } catch (const weir::Error& error) {
      co_return answer_of(error);
    }
    co_return Answer::done;
  }

  Task<> perform(std::size_t who) {
    const auto& steps = program_.steps[who];
    Party<Tx, Rx>& me = parties_[who];
    std::vector<std::pair<HeldPermit, int>> permits;
    for (int i = 0; i < static_cast<int>(steps.size()); ++i) {
      const Step& step = steps[static_cast<std::size_t>(i)];
      for (std::uint32_t n = step.pause; n != 0; --n) std::atomic_signal_fence(std::memory_order_seq_cst);
      if (step.pause % 8 == 1) std::this_thread::yield();
      take_mail(me);
      const int value = static_cast<int>(who) * max_steps + i;
      if (waits(step.op)) {
        const bool sends = step.op != Op::receive;
        if (sends ? me.senders.empty() : me.receivers.empty()) continue;
        // A permit is used or given back some steps later, always by who got it.
        use_permit(who, i, permits);
        Event& event = begin(who, i, step.op, value);
        std::optional<HeldPermit> permit;
        Task<Answer> wait = step.op == Op::send      ? send(me.senders.back(), value)
                            : step.op == Op::receive ? receive(me.receivers.back(), event.value)
                                                     : reserve(me.senders.back(), permit);
        Answer answer;
        if (step.cancellable) {
          answer = co_await weir::with_cancellation(me.sources[static_cast<std::size_t>(i)].token(), std::move(wait));
        } else {
          answer = co_await std::move(wait);
        }
        end(who, event, answer);
        if (permit) permits.emplace_back(std::move(*permit), i);
      } else {
        at_once(who, i, step, value);
      }
    }
    while (!permits.empty()) use_permit(who, max_steps, permits);
    if (!program_.keep_handles) drop_all(who);
  }

  void use_permit(std::size_t who, int step, std::vector<std::pair<HeldPermit, int>>& permits) {
    if (permits.empty()) return;
    auto& [permit, got] = permits.back();
    const int value = static_cast<int>(who) * max_steps + got;
    const bool uses = got % 3 != 0;
    Event& event = begin(who, step, uses ? Op::permit_send : Op::permit_release, value);
    auto answer = Answer::done;
    if (uses) {
      try {
        permit.send(value);
      } catch (const weir::Error& error) {
        answer = answer_of(error);
      }
    } else {
      permit.release();
    }
    end(who, event, answer);
    if (answer == Answer::closed) {
      // It is still held: its end is an operation too.
      Event& release = begin(who, step, Op::permit_release);
      permit.release();
      end(who, release, Answer::done);
    }
    permits.pop_back();
  }

  void at_once(std::size_t who, int i, const Step& step, int value) {
    Party<Tx, Rx>& me = parties_[who];
    switch (step.op) {
      case Op::try_send: {
        if (me.senders.empty()) return;
        Event& event = begin(who, i, step.op, value);
        const auto result = me.senders.back().try_send(value);
        end(who, event, result ? Answer::done : result.closed() ? Answer::closed : Answer::full);
        return;
      }
      case Op::try_receive: {
        if (me.receivers.empty()) return;
        Event& event = begin(who, i, step.op);
        const auto got = me.receivers.back().try_receive();
        if (got) event.value = *got;
        end(who, event, got ? Answer::value : Answer::nothing);
        return;
      }
      case Op::close:
      case Op::closed: {
        const bool by_sender = !me.senders.empty();
        if (!by_sender && me.receivers.empty()) return;
        Event& event = begin(who, i, step.op);
        bool closed = true;
        if (step.op == Op::close) {
          by_sender ? me.senders.back().close() : me.receivers.back().close();
        } else {
          closed = by_sender ? me.senders.back().closed() : me.receivers.back().closed();
        }
        end(who, event, step.op == Op::close ? Answer::done : closed ? Answer::closed : Answer::nothing);
        return;
      }
      case Op::copy_sender:
        return copy(who, i, step, me.senders, parties_[step.target].mailbox.senders);
      case Op::copy_receiver:
        return copy(who, i, step, me.receivers, parties_[step.target].mailbox.receivers);
      case Op::drop_sender:
        return drop(who, i, step.op, me.senders);
      case Op::drop_receiver:
        return drop(who, i, step.op, me.receivers);
      case Op::cancel: {
        Event& event = begin(who, i, step.op, static_cast<int>(step.target) * 100 + step.target_step);
        auto& sources = parties_[step.target].sources;
        const auto at = static_cast<std::size_t>(step.target_step);
        // The sources of a round are made before it, and are only read.
        if (at < sources.size()) weir::CancellationSource(sources[at]).cancel();
        end(who, event, Answer::done);
        return;
      }
      default:
        return;
    }
  }

  template <class Handle>
  void copy(std::size_t who, int i, const Step& step, std::vector<Handle>& mine, std::vector<Handle>& theirs) {
    if constexpr (std::is_copy_constructible_v<Handle>) {
      if (mine.empty()) return;
      Event& event = begin(who, i, step.op);
      Handle made = mine.back();
      end(who, event, Answer::done);
      if (step.target == who) {
        mine.push_back(std::move(made));
      } else {
        const std::lock_guard lock(parties_[step.target].mailbox.mutex);
        theirs.push_back(std::move(made));
      }
    }
  }

  template <class Handle>
  void drop(std::size_t who, int i, Op op, std::vector<Handle>& mine) {
    if (mine.empty()) return;
    Event& event = begin(who, i, op);
    mine.back().reset();
    end(who, event, Answer::done);
    mine.pop_back();
  }

  static void take_mail(Party<Tx, Rx>& me) {
    const std::lock_guard lock(me.mailbox.mutex);
    for (Tx& tx : me.mailbox.senders) me.senders.push_back(std::move(tx));
    for (Rx& rx : me.mailbox.receivers) me.receivers.push_back(std::move(rx));
    me.mailbox.senders.clear();
    me.mailbox.receivers.clear();
  }

  void drop_all(std::size_t who) {
    Party<Tx, Rx>& me = parties_[who];
    take_mail(me);
    while (!me.senders.empty()) drop(who, max_steps, Op::drop_sender, me.senders);
    while (!me.receivers.empty()) drop(who, max_steps, Op::drop_receiver, me.receivers);
  }

  /// A test that hangs must say so.
  class Watch {
   public:
    [[nodiscard]] bool too_long() const { return Clock::now() - start_ > std::chrono::seconds(60); }

   private:
    using Clock = std::chrono::steady_clock;
    Clock::time_point start_ = Clock::now();
  };

  [[nodiscard]] std::uint32_t progress() const {
    std::uint32_t sum = 0;
    for (const auto& party : parties_) sum += party.progress.load(std::memory_order_relaxed);
    return sum;
  }

  /// Until each thread has come back to its context, and has run what was posted there.
  void probe(const Watch& watch) {
    std::atomic<std::size_t> passed{0};
    for (auto& context : contexts_) asio::post(context, [&passed] { passed.fetch_add(1); });
    while (passed.load() < thread_count) {
      std::this_thread::yield();
      if (watch.too_long()) hang();
    }
  }

  void end_waits() {
    ended_ = true;
    for (std::size_t t = 0; t < thread_count; ++t) {
      const std::size_t ends = parties_[t].progress.load();
      still_at_[t] = ends;
      if (ends < parties_[t].events.size()) history_.waiting.emplace_back(t, ends);
    }
    Event event;
    event.op = Op::still;
    event.called = now();
    event.returned = returned();
    mine_.push_back(event);
    event.called = now();
    if (!observer_sender_.empty() || !observer_receiver_.empty()) {
      event.op = Op::close;
      observer_sender_.empty() ? observer_receiver_.back().close() : observer_sender_.back().close();
      event.returned = returned();
      mine_.push_back(event);
      return;
    }
    for (std::size_t t = 0; t < thread_count; ++t) {
      event.op = Op::cancel;
      event.value = static_cast<int>(t) * 100 + whole_thread;
      event.called = now();
      parties_[t].end.cancel();
      event.returned = returned();
      mine_.push_back(event);
    }
  }

  /// Everybody is done: what is left in the channel is what was sent and not received, if a receiver is left to look.
  void drain() {
    std::vector<Rx>* left = observer_receiver_.empty() ? nullptr : &observer_receiver_;
    for (auto& party : parties_) {
      take_mail(party);
      if (!party.receivers.empty()) left = &party.receivers;
    }
    if (!left) return;
    for (bool more = true; more;) {
      Event event;
      event.op = Op::try_receive;
      event.called = without_clock + 1;
      event.returned = without_clock + 2;
      const auto got = left->back().try_receive();
      event.answer = got ? Answer::value : Answer::nothing;
      event.value = got.value_or(0);
      mine_.push_back(event);
      more = got.has_value();
    }
  }

  void collect() {
    if (ended_ && !program_.clock) {
      // Without a clock: what was before the stillness, and what after.
      for (std::size_t t = 0; t < thread_count; ++t) {
        auto& events = parties_[t].events;
        for (std::size_t i = 0; i < events.size(); ++i) {
          if (i < still_at_[t]) events[i].returned = 10;
          if (i > still_at_[t]) events[i].called = 13;
        }
      }
      mine_[0].called = 11;
      mine_[0].returned = 12;
    }
    for (auto& party : parties_) history_.threads.push_back(std::move(party.events));
    history_.threads.push_back(std::move(mine_));
  }

  [[noreturn]] void hang() {
    // What the threads have written is read while they wait: for the report only.
    collect();
    std::fprintf(stderr, "a history does not end; WEIR_HISTORY_SEED=%u\n%s", seed_, to_text(history_).c_str());
    std::abort();
  }

  static constexpr std::uint64_t without_clock = 1u << 30;

  const Program& program_;
  std::uint32_t seed_;
  asio::io_context (&contexts_)[thread_count];
  weir::CancellationSource none_;
  Party<Tx, Rx> parties_[thread_count];
  std::vector<Tx> observer_sender_;
  std::vector<Rx> observer_receiver_;
  std::vector<Event> mine_;
  bool ended_ = false;
  std::size_t still_at_[thread_count] = {};
  asio::executor_work_guard<asio::io_context::executor_type>* work_[thread_count] = {};
  History history_;
  std::atomic<std::uint64_t> clock_{1};
  std::atomic<std::size_t> arrived_{0};
  std::atomic<std::size_t> done_{0};
};

using SharedRound = Round<SenderOf<int, Shared>, ReceiverOf<int, Shared>>;
using SpscRound = Round<SenderOf<int, Spsc>, ReceiverOf<int, Spsc>>;

/// Four threads that take one round after the other, because making threads would cost more than the rounds.
class Crew {
 public:
  Crew() {
    for (std::size_t t = 0; t < thread_count; ++t) threads_.emplace_back([this, t] { work(t); });
  }
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;
  ~Crew() {
    shared_ = nullptr;
    spsc_ = nullptr;
    next();
    for (auto& thread : threads_) thread.join();
  }

  History play(const Program& program, std::uint32_t seed) {
    if (program.shape == Shape::spsc) return play<SpscRound, Spsc>(program, seed, spsc_);
    return play<SharedRound, Shared>(program, seed, shared_);
  }

 private:
  template <class R, class Kind>
  History play(const Program& program, std::uint32_t seed, R*& current) {
    R round(program, seed, contexts_);
    round.template make_channel<Kind>();
    current = &round;
    next();
    round.finish();
    History history = round.history();
    while (left_.load() != thread_count) std::this_thread::yield();
    current = nullptr;
    return history;
  }

  void next() {
    left_ = 0;
    number_.fetch_add(1);
    number_.notify_all();
  }

  void work(std::size_t who) {
    for (std::uint32_t round = 0;;) {
      number_.wait(round);
      ++round;
      if (shared_) {
        shared_->run(who);
      } else if (spsc_) {
        spsc_->run(who);
      } else {
        return;
      }
      left_.fetch_add(1);
    }
  }

  SharedRound* shared_ = nullptr;
  SpscRound* spsc_ = nullptr;
  std::atomic<std::uint32_t> number_{0};
  std::atomic<std::size_t> left_{0};
  asio::io_context contexts_[thread_count];
  std::vector<std::thread> threads_;
};

std::uint32_t histories() {
  if (const char* const said = std::getenv("WEIR_HISTORIES")) return static_cast<std::uint32_t>(std::stoul(said));
#ifdef WEIR_SANITIZED
  return 2500;
#else
  return 10000;
#endif
}

TEST_CASE("channel threads: what four threads saw could have happened in some order", "[linearizability][threads]") {
  Crew crew;
  std::uint32_t first = 1;
  std::uint32_t last = histories();
  if (const char* const said = std::getenv("WEIR_HISTORY_SEED")) {
    // The threads do something else each time.
    first = last = static_cast<std::uint32_t>(std::stoul(said));
  }
  std::uint32_t undecided = 0;
  std::uint64_t operations = 0;
  std::uint64_t overlapping = 0;
  std::uint64_t waited = 0;
  std::uint64_t cancelled = 0;
  std::uint64_t refused = 0;
  for (std::uint32_t seed = first; seed <= last; ++seed) {
    const History history = crew.play(make_program(seed), seed);
    for (const auto& thread : history.threads) {
      operations += thread.size();
      for (const Event& event : thread) {
        cancelled += event.answer == Answer::cancelled ? 1 : 0;
        refused += event.answer == Answer::closed ? 1 : 0;
        overlapping += event.returned < (1u << 30) && event.returned - event.called > 1 ? 1 : 0;
        waited += event.returned < (1u << 30) && event.returned - event.called > 8 ? 1 : 0;
      }
    }
    const Verdict verdict = check_linearizable(history);
    if (verdict.undecided) {
      ++undecided;
    } else if (!verdict.linearizable) {
      FAIL(verdict.fault << "; WEIR_HISTORY_SEED=" << seed << "\n" << to_text(history));
    }
  }
  CHECK(undecided == 0);
  // Without these the histories would say little.
  if (first != last && last >= 1000) {
    CHECK(overlapping > operations / 100);
    CHECK(cancelled > last / 20);
    CHECK(refused > last / 20);
  }
  if (std::getenv("WEIR_HISTORIES")) {
    WARN(last << " histories, " << operations << " operations: " << overlapping << " overlapped, " << waited
              << " waited, " << cancelled << " were cancelled, " << refused << " met a closed channel");
  }
}

}  // namespace

// Each shape of channel, and a stream, for a given time, in rounds with random closes, cancels and copies of handles.
// Nothing may be lost, doubled or out of order, and every round must end.
//
//     soak SECONDS [SHAPE]...
#include <weir/channel/channel.hpp>

#include <asio/executor_work_guard.hpp>
#include <asio/thread_pool.hpp>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <weir/core/cancellation.hpp>
#include <weir/core/spawn.hpp>
#include <weir/core/timer.hpp>
#include <weir/core/with_cancellation.hpp>
#include <weir/stream/emits.hpp>
#include <weir/stream/strategy/parallel.hpp>

namespace {

using weir::Errc;
using weir::Task;
using Clock = std::chrono::steady_clock;
using Value = std::unique_ptr<int>;
using Random = std::minstd_rand;

std::atomic<std::uint64_t> progress{0};

/// What is said before the program is ended.
void (*explain)(void*) = nullptr;
void* explained = nullptr;

[[noreturn]] void fail(const char* shape, std::uint32_t seed, const char* what) {
  std::fprintf(stderr, "soak %s, round %u: %s\n", shape, seed, what);
  if (explain) explain(explained);
  std::abort();
}

/// Waits until `done` reaches `all`. A round in which nothing moves for so long is stuck.
void await_all(const char* shape, std::uint32_t seed, const std::atomic<int>& done, int all) {
  constexpr auto patience = std::chrono::seconds(40);
  std::uint64_t seen = progress.load();
  auto since = Clock::now();
  for (std::uint32_t turn = 0; done.load() != all; ++turn) {
    std::this_thread::yield();
    if (turn % 1024 != 1023) continue;
    const std::uint64_t now = progress.load();
    if (now != seen) {
      seen = now;
      since = Clock::now();
    } else if (Clock::now() - since > patience) {
      fail(shape, seed, "nothing moves any more");
    }
  }
}

/// A root that others can cancel.
struct Party {
  weir::CancellationSource source;
  std::uint64_t told = 0;
  int last[4] = {-1, -1, -1, -1};
};

struct Shared {
  template <class E>
  static auto make(E&& executor, std::size_t capacity) {
    return weir::make_channel<Value>(executor, {.capacity = capacity});
  }
};
struct Local {
  template <class E>
  static auto make(E&& executor, std::size_t capacity) {
    return weir::make_local_channel<Value>(executor, {.capacity = capacity});
  }
};
struct Spsc {
  template <class E>
  static auto make(E&& executor, std::size_t capacity) {
    return weir::make_spsc_channel<Value>(executor, {.capacity = capacity});
  }
};

/// One channel with its parties. The handles are the round's; a party uses its own alone, until it ends.
template <class Kind>
class Round {
 public:
  Round(const char* shape, std::uint32_t seed, int senders, int receivers)
      : shape_(shape), seed_(seed), random_(seed), senders_(senders), receivers_(receivers) {}

  /// `first` and `second` run the parties in turn, which may be the same.
  template <class Context>
  void run(Context& first, Context& second) {
    static constexpr std::size_t capacities[] = {1, 1, 2, 8, 1024, 1024};
    auto [tx, rx] = Kind::make(first, capacities[random_() % 6]);
    const int parties = senders_ + receivers_ + 1;
    parties_ = std::vector<Party>(static_cast<std::size_t>(parties));
    count_ = static_cast<int>(random_() % 3000);
    times_ = std::vector<std::atomic<int>>(static_cast<std::size_t>(senders_ * count_));
    constexpr bool copyable = std::is_copy_constructible_v<Tx>;
    if constexpr (copyable) {
      for (int i = 0; i < senders_; ++i) tx_.push_back(tx);
      for (int i = 0; i < receivers_; ++i) rx_.push_back(rx);
      chaos_rx_.push_back(rx);
      observer_ = std::move(rx);
      tx.reset();
    } else {
      tx_.push_back(std::move(tx));
      rx_.push_back(std::move(rx));
    }
    open_receivers_ = receivers_;
    explain = [](void* self) { static_cast<Round*>(self)->describe(); };
    explained = this;

    for (int i = 0; i < senders_; ++i) start(i % 2 == 0 ? first : second, send(i), i);
    for (int i = 0; i < receivers_; ++i) start(i % 2 == 0 ? second : first, receive(i), senders_ + i);
    start(first, disturb(), senders_ + receivers_);
    // And from a thread that runs none of them.
    const auto cancels = random_() % 3;
    for (std::uint32_t i = 0; i < cancels; ++i) {
      for (auto n = random_() % 20000; n != 0; --n) std::atomic_signal_fence(std::memory_order_seq_cst);
      parties_[random_() % parties_.size()].source.cancel();
    }
    await_all(shape_, seed_, done_, parties);
    check();
    explain = nullptr;
  }

 private:
  using Ends = decltype(Kind::make(std::declval<asio::io_context&>(), 1));
  using Tx = typename Ends::first_type;
  using Rx = typename Ends::second_type;

  template <class Context>
  void start(Context& context, Task<> task, int who) {
    weir::spawn(context,
                weir::with_cancellation(parties_[static_cast<std::size_t>(who)].source.token(), std::move(task)),
                [this](std::exception_ptr error) {
                  try {
                    if (error) std::rethrow_exception(error);
                  } catch (const std::exception& e) {
                    fail(shape_, seed_, e.what());
                  }
                  done_.fetch_add(1);
                });
  }

  static bool expected(const weir::Error& error) {
    return error.code() == Errc::cancelled || error.code() == Errc::channel_closed;
  }

  Task<> send(int who) {
    Party& me = parties_[static_cast<std::size_t>(who)];
    Tx& tx = tx_[static_cast<std::size_t>(who)];
    Random random(seed_ * 31 + static_cast<std::uint32_t>(who));
    try {
      for (int i = 0; i < count_;) {
        if constexpr (std::is_copy_constructible_v<Tx>) {
          // The old one goes when the new one is there, or before it.
          if (random() % 64 == 0) {
            Tx copy = tx;
            if (random() % 2 == 0) tx = std::move(copy);
          }
        }
        i += co_await send_some(tx, who * count_ + i, count_ - i, random, me);
        progress.fetch_add(1, std::memory_order_relaxed);
      }
    } catch (const weir::Error& error) {
      if (!expected(error)) throw;
    }
    tx.reset();
  }

  /// Gives the number of values that went.
  Task<int> send_some(Tx& tx, int first, int most, Random& random, Party& me) {
    const auto how = random() % 8;
    if (how == 0) {
      std::vector<Value> values;
      const int count = std::min(most, 1 + static_cast<int>(random() % 40));
      for (int i = 0; i < count; ++i) values.push_back(std::make_unique<int>(first + i));
      try {
        co_await tx.send_all(std::move(values));
      } catch (const weir::PartialSend& error) {
        me.told += error.sent();
        throw;
      }
      me.told += static_cast<std::uint64_t>(count);
      co_return count;
    }
    auto value = std::make_unique<int>(first);
    if (how == 1) {
      auto permit = co_await tx.reserve();
      if (random() % 4 == 0) co_await weir::yield();
      if (random() % 8 == 0) co_return 0;
      permit.send(std::move(value));
    } else if (how < 5) {
      const auto result = tx.try_send(std::move(value));
      if (result.closed()) throw weir::Error(Errc::channel_closed);
      if (!result) {
        co_await tx.send(std::move(value));
      }
    } else {
      co_await tx.send(std::move(value));
    }
    ++me.told;
    co_return 1;
  }

  void got(const Value& value, Party& me) {
    const int number = *value;
    if (times_[static_cast<std::size_t>(number)].fetch_add(1, std::memory_order_relaxed) != 0) {
      fail(shape_, seed_, "a value was received twice");
    }
    int& last = me.last[number / count_];
    if (number <= last) fail(shape_, seed_, "the values of a sender came out of their order");
    last = number;
    ++me.told;
  }

  Task<> receive(int who) {
    Party& me = parties_[static_cast<std::size_t>(senders_ + who)];
    Rx& rx = rx_[static_cast<std::size_t>(who)];
    Random random(seed_ * 37 + static_cast<std::uint32_t>(who));
    std::vector<Value> out;
    try {
      for (bool more = true; more;) {
        if constexpr (std::is_copy_constructible_v<Rx>) {
          if (random() % 64 == 0) {
            Rx copy = rx;
            if (random() % 2 == 0) rx = std::move(copy);
          }
        }
        const auto how = random() % 4;
        if (how == 0) {
          const std::size_t count = co_await rx.receive_some(out, 1 + random() % 50);
          for (const auto& value : out) got(value, me);
          out.clear();
          more = count != 0;
        } else if (how == 1) {
          if (const auto value = rx.try_receive()) got(*value, me);
        } else {
          const auto value = co_await rx.receive();
          if (value) got(*value, me);
          more = value.has_value();
        }
        progress.fetch_add(1, std::memory_order_relaxed);
      }
    } catch (const weir::Error& error) {
      if (!expected(error)) throw;
    }
    // What came with a cancel is received all the same.
    for (const auto& value : out) got(value, me);
    if (open_receivers_.fetch_sub(1) == 1) rx.close();
    if constexpr (std::is_copy_constructible_v<Rx>) rx.reset();
  }

  Task<> disturb() {
    Random random(seed_ * 41);
    try {
      for (auto n = random() % 200; n != 0; --n) co_await weir::yield();
      if (random() % 4 == 0) parties_[random() % parties_.size()].source.cancel();
      if (random() % 4 == 0 && !chaos_rx_.empty()) chaos_rx_.back().close();
      if (random() % 8 == 0 && !chaos_rx_.empty()) discarded_ += chaos_rx_.back().discard();
    } catch (const weir::Error& error) {
      if (!expected(error)) throw;
    }
    chaos_rx_.clear();
  }

  void check() {
    Rx& rx = observer_ ? observer_ : rx_[0];
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
    for (int i = 0; i < senders_; ++i) sent += parties_[static_cast<std::size_t>(i)].told;
    for (int i = 0; i < receivers_; ++i) received += parties_[static_cast<std::size_t>(senders_ + i)].told;
    const auto stats = rx.stats();
    std::uint64_t left = 0;
    while (rx.try_receive()) ++left;
    if (stats.admitted != sent) fail(shape_, seed_, "what was admitted is not what the senders were told");
    if (stats.received != received) fail(shape_, seed_, "what was received is not what the receivers got");
    if (stats.dropped != discarded_) fail(shape_, seed_, "what was dropped is not what was discarded");
    if (stats.buffered != left) fail(shape_, seed_, "what was left is not what is buffered");
    if (sent != received + left + discarded_) fail(shape_, seed_, "values were lost");
    if (stats.reserved != 0) fail(shape_, seed_, "a permit was not given back");
    if (stats.waiting_senders != 0 || stats.waiting_receivers != 0) fail(shape_, seed_, "a party that ended waits");
  }

  void describe() {
    const auto of = [](const auto& handle) {
      if (!handle) return;
      const auto stats = handle.stats();
      std::fprintf(stderr,
                   "  admitted %llu, received %llu, dropped %llu, buffered %zu of %zu, reserved %zu, waiting: %zu "
                   "senders, %zu receivers, %s\n",
                   static_cast<unsigned long long>(stats.admitted), static_cast<unsigned long long>(stats.received),
                   static_cast<unsigned long long>(stats.dropped), stats.buffered, stats.capacity, stats.reserved,
                   stats.waiting_senders, stats.waiting_receivers, handle.closed() ? "closed" : "open");
      if constexpr (requires { std::string(handle.describe()); }) {
        std::fprintf(stderr, "%s\n", std::string(handle.describe()).c_str());
      }
    };
    std::fprintf(stderr, "  %d of %d parties have ended\n", done_.load(), senders_ + receivers_ + 1);
    if (observer_) return of(observer_);
    for (const auto& handle : rx_) of(handle);
  }

  const char* shape_;
  std::uint32_t seed_;
  Random random_;
  int senders_;
  int receivers_;
  int count_ = 0;
  std::vector<Party> parties_;
  std::vector<Tx> tx_;
  std::vector<Rx> rx_;
  std::vector<Rx> chaos_rx_;
  Rx observer_;
  std::vector<std::atomic<int>> times_;
  std::atomic<int> open_receivers_{0};
  std::uint64_t discarded_ = 0;
  std::atomic<int> done_{0};
};

void stream_round(asio::thread_pool& pool, std::uint32_t seed) {
  Random random(seed);
  const int count = static_cast<int>(random() % 5000);
  std::atomic<int> done{0};
  std::atomic<std::uint64_t> processed{0};
  auto stream = weir::emits<int>(pool)
                    .capacity(random() % 2 == 0 ? 8 : 1024)
                    .sender([count](weir::Emitter<int>& out) -> Task<> {
                      for (int i = 0; i < count; ++i) co_await out.emit(i);
                    })
                    .receiver(weir::parallel(4),
                              [&processed](const auto& event) -> Task<int> {
                                const int value = event.data();
                                if (value % 64 == 0) co_await weir::yield();
                                processed.fetch_add(1, std::memory_order_relaxed);
                                progress.fetch_add(1, std::memory_order_relaxed);
                                co_return value;
                              })
                    .start();
  using Final = decltype(stream)::final_event_type;
  Final final;
  stream.await_final_event([&](Final event) {
    final = std::move(event);
    done.fetch_add(1);
  });
  if (random() % 2 == 0) {
    for (auto n = random() % 200000; n != 0; --n) std::atomic_signal_fence(std::memory_order_seq_cst);
    static constexpr weir::CancellationLevel levels[] = {
        weir::CancellationLevel::graceful, weir::CancellationLevel::forceful, weir::CancellationLevel::immediate};
    stream.cancel(levels[random() % 3]);
  }
  await_all("stream", seed, done, 1);
  const auto stats = final.stats();
  if (!stats.balanced() || stats.buffered != 0 || stats.in_progress != 0)
    fail("stream", seed, "the counts don't add up");
  if (stats.processed != final.collected().size()) fail("stream", seed, "a result is missing");
  if (stats.processed + stats.failed > processed.load()) fail("stream", seed, "more was processed than was run");
  if (final && stats.processed != static_cast<std::uint64_t>(count)) fail("stream", seed, "it completed too early");
}

/// Rounds until the time is up, at least one.
template <class PlayRound>
void soak(const char* shape, double seconds, PlayRound play) {
  const auto start = Clock::now();
  const auto end = start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  const std::uint64_t before = progress.load();
  std::uint32_t round = 0;
  do {
    play(++round);
  } while (Clock::now() < end);
  std::printf("%-16s %8u rounds, %12llu steps, nothing lost\n", shape, round,
              static_cast<unsigned long long>(progress.load() - before));
  std::fflush(stdout);
}

void soak_pool(const char* shape, double seconds, int senders, int receivers) {
  asio::thread_pool pool(2);
  soak(shape, seconds, [&](std::uint32_t seed) { Round<Shared>(shape, seed, senders, receivers).run(pool, pool); });
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 1;
  const auto chosen = [&](const std::string& shape) {
    bool any = false;
    for (int i = 2; i < argc; ++i) {
      if (shape == argv[i]) return true;
      any = true;
    }
    return !any;
  };
  if (chosen("one-to-one")) soak_pool("one-to-one", seconds, 1, 1);
  if (chosen("four-to-one")) soak_pool("four-to-one", seconds, 4, 1);
  if (chosen("four-to-four")) soak_pool("four-to-four", seconds, 4, 4);
  if (chosen("spsc")) {
    asio::thread_pool first(1);
    asio::thread_pool second(1);
    soak("spsc", seconds, [&](std::uint32_t seed) { Round<Spsc>("spsc", seed, 1, 1).run(first, second); });
  }
  if (chosen("local")) {
    // One thread for the channel; this one makes it before, watches, and looks at what is left after.
    asio::io_context context(1);
    auto work = asio::make_work_guard(context);
    std::thread thread([&context] { context.run(); });
    soak("local", seconds, [&](std::uint32_t seed) { Round<Local>("local", seed, 2, 2).run(context, context); });
    work.reset();
    thread.join();
  }
  if (chosen("stream")) {
    asio::thread_pool pool(2);
    soak("stream", seconds, [&](std::uint32_t seed) { stream_round(pool, seed); });
  }
}

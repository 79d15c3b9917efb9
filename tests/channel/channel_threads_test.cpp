#include <weir/channel/channel.hpp>

#include <asio/thread_pool.hpp>
#include <atomic>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include <weir/core/spawn.hpp>

#include "channel/support.hpp"
#include "support/catch.hpp"
#include "support/stress.hpp"

namespace {

using namespace channel_test;
using Value = std::unique_ptr<int>;

/// What all parties did, together.
struct Totals {
  std::atomic<int> sent{0};
  std::atomic<int> received{0};
  std::atomic<int> disorder{0};
  std::atomic<int> ended{0};
  /// By value: how often it was received.
  std::unique_ptr<std::atomic<int>[]> times;
};

/// Some time, which does not depend on how busy the machine is.
void spin(std::uint32_t rounds) {
  for (; rounds != 0; --rounds) std::atomic_signal_fence(std::memory_order_seq_cst);
}

int values_each() { return weir_test::stress(1) * 30000; }

template <class Tx>
Task<> sends(Tx tx, int who, Totals& totals) {
  const int count = values_each();
  for (int i = 0; i < count; ++i) {
    auto value = std::make_unique<int>(who * count + i);
    switch ((i + who) % 5) {
      case 0:
        co_await tx.send(std::move(value));
        break;
      case 1: {
        auto permit = co_await tx.reserve();
        permit.send(std::move(value));
        break;
      }
      case 2: {
        // One that is given back, and a value that takes the room if there is more.
        auto unused = co_await tx.reserve();
        const bool at_once = static_cast<bool>(tx.try_send(std::move(value)));
        unused.release();
        if (!at_once) co_await tx.send(std::move(value));
        break;
      }
      case 3: {
        std::vector<Value> run;
        run.push_back(std::move(value));
        while (run.size() < 7 && i + 1 < count) run.push_back(std::make_unique<int>(who * count + ++i));
        totals.sent += static_cast<int>(run.size()) - 1;
        co_await tx.send_all(std::move(run));
        break;
      }
      default:
        co_await tx.send_emplace(std::move(value));
    }
    ++totals.sent;
  }
}

void got(Totals& totals, std::vector<int>& last, int value) {
  ++totals.times[static_cast<std::size_t>(value)];
  ++totals.received;
  auto& before = last[static_cast<std::size_t>(value / values_each())];
  if (value <= before) ++totals.disorder;
  before = value;
}

template <class Rx>
Task<> receives(Rx rx, int who, Totals& totals) {
  std::vector<int> last(4, -1);
  std::vector<Value> out;
  out.reserve(8);
  for (int i = who;; ++i) {
    if (i % 3 == 0) {
      if (co_await rx.receive_some(out, 5) == 0) break;
      for (const auto& value : out) got(totals, last, *value);
      out.clear();
    } else if (i % 3 == 1) {
      if (const auto value = rx.try_receive()) got(totals, last, **value);
    } else {
      const auto value = co_await rx.receive();
      if (!value) break;
      got(totals, last, **value);
    }
  }
}

void check_parties(int senders, int receivers, unsigned threads, std::size_t capacity) {
  Totals totals;
  const int all = senders * values_each();
  totals.times = std::make_unique<std::atomic<int>[]>(static_cast<std::size_t>(all));
  weir::ChannelStats stats;
  {
    asio::thread_pool pool(threads);
    auto [tx, rx] = weir::make_channel<Value>(pool, {.capacity = capacity});
    const auto observer = rx;
    auto done = [&totals](std::exception_ptr error) {
      if (!error) ++totals.ended;
    };
    for (int i = 0; i < senders; ++i) weir::spawn(pool, sends(tx, i, totals), done);
    for (int i = 0; i < receivers; ++i) weir::spawn(pool, receives(rx, i, totals), done);
    tx.reset();
    rx.reset();
    pool.join();
    stats = observer.stats();
  }
  CHECK(totals.ended == senders + receivers);
  CHECK(totals.sent == all);
  CHECK(totals.received == all);
  CHECK(totals.disorder == 0);
  int wrong = 0;
  for (int i = 0; i < all; ++i) wrong += totals.times[static_cast<std::size_t>(i)] != 1 ? 1 : 0;
  CHECK(wrong == 0);
  CHECK(stats.admitted == static_cast<std::uint64_t>(all));
  CHECK(stats.buffered == 0);
  CHECK(stats.reserved == 0);
  CHECK(adds_up(stats));
}

TEST_CASE("channel threads: one sender and one receiver on two threads", "[threads]") {
  check_parties(1, 1, 2, 1);
  check_parties(1, 1, 2, 64);
}

TEST_CASE("channel threads: four senders and four receivers on four threads", "[threads]") {
  check_parties(4, 4, 4, 1);
  check_parties(4, 4, 4, 3);
  check_parties(4, 4, 4, 256);
}

TEST_CASE("channel threads: an spsc channel between two contexts", "[threads]") {
  Totals totals;
  totals.times = std::make_unique<std::atomic<int>[]>(static_cast<std::size_t>(values_each()));
  asio::thread_pool one(1);
  asio::thread_pool two(1);
  auto [tx, rx] = weir::make_spsc_channel<Value>(one, {.capacity = 8});
  weir::spawn(one, sends(std::move(tx), 0, totals));
  weir::spawn(two, receives(std::move(rx), 0, totals));
  one.join();
  two.join();
  CHECK(totals.received == values_each());
  CHECK(totals.disorder == 0);
}

/// A root that other threads cancel.
struct Cancelled {
  asio::cancellation_signal signal;
  std::atomic<bool> ended{false};
};

TEST_CASE("channel threads: cancels, closes and handle copies from elsewhere lose no value", "[threads]") {
  std::mt19937 random(7);
  const int rounds = weir_test::stress(1) * 1000;
  std::uint64_t wrong = 0;
  for (int round = 0; round < rounds; ++round) {
    std::atomic<int> told_sent{0};
    std::atomic<int> told_received{0};
    weir::ChannelStats stats;
    {
      asio::thread_pool pool(3);
      auto [tx, rx] = weir::make_channel<Value>(pool, {.capacity = 2});
      const auto observer = rx;
      std::vector<std::unique_ptr<Cancelled>> roots;
      const auto start = [&](auto task) {
        auto& root = *roots.emplace_back(std::make_unique<Cancelled>());
        weir::spawn(
            pool, std::move(task),
            asio::bind_cancellation_slot(root.signal.slot(), [&root](std::exception_ptr) { root.ended = true; }));
      };
      const auto sender = [](weir::ChannelSender<Value> mine, std::atomic<int>& sent) -> Task<> {
        for (int i = 0; i < 50; ++i) {
          const auto copy = mine;
          auto value = std::make_unique<int>(i);
          if (i % 3 == 0) {
            auto permit = co_await copy.reserve();
            permit.send(std::move(value));
          } else {
            co_await copy.send(std::move(value));
          }
          ++sent;
        }
      };
      const auto receiver = [](weir::ChannelReceiver<Value> mine, std::atomic<int>& received) -> Task<> {
        for (;;) {
          const auto copy = mine;
          const auto value = co_await copy.receive();
          if (!value) co_return;
          if (*value) ++received;
        }
      };
      for (int i = 0; i < 3; ++i) start(sender(tx, told_sent));
      for (int i = 0; i < 3; ++i) start(receiver(rx, told_received));
      tx.reset();
      rx.reset();
      // The signal of a root is emitted by this thread alone; what it does reaches the root on its home.
      for (int i = 0; i < 3; ++i) {
        spin(static_cast<std::uint32_t>(random() % 2000));
        const auto who = random() % 6;
        if (who < 5) roots[who]->signal.emit(asio::cancellation_type::all);
      }
      if (random() % 2 == 0) observer.close();
      // The observer is a receiver that does not receive: senders must not wait for it.
      while (!roots[0]->ended || !roots[1]->ended || !roots[2]->ended) {
        if (roots[3]->ended && roots[4]->ended && roots[5]->ended) observer.close();
        std::this_thread::yield();
      }
      observer.close();
      pool.join();
      stats = observer.stats();
    }
    const bool right = adds_up(stats) && stats.dropped == 0 && stats.reserved == 0 &&
                       stats.admitted == static_cast<std::uint64_t>(told_sent.load()) &&
                       stats.received == static_cast<std::uint64_t>(told_received.load());
    if (!right) ++wrong;
  }
  CHECK(wrong == 0);
}

TEST_CASE("channel threads: a context that goes while another uses its channel", "[threads]") {
  const int rounds = weir_test::stress(1) * 1000;
  std::uint64_t wrong = 0;
  for (int round = 0; round < rounds; ++round) {
    asio::thread_pool steady(1);
    auto [tx, rx] = weir::make_channel<Value>(steady, {.capacity = 1});
    const auto observer = rx;
    std::atomic<bool> stop{false};
    weir::spawn(steady, [&, mine = tx]() -> Task<> {
      while (!stop) {
        auto value = std::make_unique<int>(1);
        if (!mine.try_send(std::move(value))) (void)observer.try_receive();
        co_await mine.send_emplace(std::make_unique<int>(2));
        (void)observer.try_receive();
        (void)observer.try_receive();
      }
    });
    {
      asio::thread_pool brief(1);
      for (int i = 0; i < 4; ++i) {
        weir::spawn(brief, [mine = rx]() -> Task<> {
          while (co_await mine.receive()) {
          }
        });
        // As above, with a handler that goes on until its context is gone.
        struct Loop {
          void operator()(std::error_code error, std::optional<Value>) {
            if (!error && !*over) from->async_receive(Loop(*this));
          }
          const weir::ChannelReceiver<Value>* from;
          std::atomic<bool>* over;
          asio::thread_pool::executor_type executor;
          using executor_type = asio::thread_pool::executor_type;
          [[nodiscard]] executor_type get_executor() const noexcept { return executor; }
        };
        observer.async_receive(Loop{&observer, &stop, brief.get_executor()});
      }
      spin(static_cast<std::uint32_t>(round % 100) * 2000);
      brief.stop();
    }
    stop = true;
    observer.close();
    steady.join();
    observer.discard();
    const auto stats = observer.stats();
    if (!adds_up(stats) || stats.waiting_receivers != 0 || stats.waiting_senders != 0) ++wrong;
  }
  CHECK(wrong == 0);
}

TEST_CASE("channel threads: threads without coroutines send, receive and close", "[threads]") {
  const int rounds = weir_test::stress(1) * 50;
  std::uint64_t wrong = 0;
  for (int round = 0; round < rounds; ++round) {
    asio::io_context context;
    auto [tx, rx] = weir::make_channel<int>(context, {.capacity = 4, .overflow = Overflow::drop_oldest});
    std::atomic<std::uint64_t> sent{0};
    std::atomic<std::uint64_t> received{0};
    std::atomic<int> torn{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) {
      threads.emplace_back([&, mine = tx] {
        for (int n = 0; n < 500; ++n) {
          const auto copy = mine;
          if (copy.try_send(n)) ++sent;
        }
      });
      threads.emplace_back([&, mine = rx] {
        for (;;) {
          const bool ended = mine.closed();
          // A snapshot is consistent, whatever goes on.
          const auto snapshot = mine.stats();
          if (!adds_up(snapshot)) ++torn;
          if (mine.try_receive()) {
            ++received;
          } else if (ended) {
            break;
          }
        }
      });
    }
    threads[0].join();
    threads[2].join();
    tx.close();
    threads[1].join();
    threads[3].join();
    const auto stats = rx.stats();
    if (stats.admitted != sent || stats.received != received || stats.buffered != 0 || !adds_up(stats) || torn != 0)
      ++wrong;
  }
  CHECK(wrong == 0);
}

}  // namespace

#include <weir/channel/broadcast.hpp>

#include <asio/thread_pool.hpp>
#include <atomic>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <weir/core/spawn.hpp>

#include "channel/support.hpp"
#include "support/catch.hpp"
#include "support/stress.hpp"

namespace {

using namespace channel_test;
using weir::SlowReceiver;

/// What all receivers saw. A value is a long text, so that a copy takes its time and reads what a move would take away.
struct Totals {
  std::atomic<int> ended{0};
  std::atomic<int> wrong{0};
  std::atomic<std::uint64_t> sent{0};
  std::atomic<std::uint64_t> received{0};
  std::atomic<std::uint64_t> missed{0};
};

[[nodiscard]] bool adds_up(const weir::BroadcastStats& stats) {
  return stats.due == stats.received + stats.skipped + stats.dropped + stats.pending &&
         stats.buffered <= stats.capacity;
}

int values_each() { return weir_test::stress(1) * 5000; }

std::string text_of(int who, int i) { return std::to_string(who) + ":" + std::to_string(i) + std::string(64, 'x'); }

Task<> sends(weir::BroadcastSender<std::string> tx, int who, Totals& totals) {
  for (int i = 0; i < values_each(); ++i) {
    std::string value = text_of(who, i);
    switch ((i + who) % 3) {
      case 0:
        co_await tx.send(std::move(value));
        break;
      case 1: {
        const std::string& copied = value;
        co_await tx.send(copied);
        break;
      }
      default:
        if (!tx.try_send(std::move(value))) co_await tx.send(std::move(value));
    }
    ++totals.sent;
  }
}

/// The numbers of each sender, which may only rise, and by one where nothing may be missing.
class Order {
 public:
  explicit Order(bool gaps) noexcept : gaps_(gaps) {}
  [[nodiscard]] bool follows(const std::string& text) {
    const auto colon = text.find(':');
    if (colon == std::string::npos || text.size() < 64 || text.back() != 'x') return false;
    const int who = std::stoi(text.substr(0, colon));
    const int i = std::stoi(text.substr(colon + 1));
    const auto [at, is_new] = last_.try_emplace(who, -1);
    const bool fine = gaps_ ? i > at->second : i == at->second + 1;
    at->second = i;
    return fine && text == text_of(who, i);
  }

 private:
  bool gaps_;
  std::map<int, int> last_;
};

Task<> receives(weir::BroadcastReceiver<std::string> rx, int who, bool gaps, Totals& totals) {
  Order order(gaps);
  std::uint64_t skipped = 0;
  std::uint64_t received = 0;
  std::vector<std::string> out;
  out.reserve(8);
  const auto got = [&](const std::string& text) {
    ++received;
    if (!order.follows(text)) ++totals.wrong;
  };
  for (int i = who;; ++i) {
    try {
      if (i % 3 == 0) {
        if (co_await rx.receive_some(out, 5) == 0) break;
        for (const auto& text : out) got(text);
        out.clear();
      } else if (i % 3 == 1) {
        if (const auto text = rx.try_receive(skipped)) got(*text);
      } else {
        const auto text = co_await rx.receive(skipped);
        if (!text) break;
        got(*text);
      }
    } catch (const weir::Lagged& lagged) {
      skipped += lagged.skipped();
    } catch (const weir::Error& error) {
      if (error.code() != Errc::disconnected) throw;
      break;
    }
  }
  const auto stats = rx.stats();
  if (stats.received != received || stats.skipped != skipped) ++totals.wrong;
  if (stats.sent != stats.received + stats.skipped + stats.dropped || stats.pending != 0) ++totals.wrong;
  totals.received += received;
  totals.missed += skipped + stats.dropped;
}

void check_parties(SlowReceiver slow, std::size_t capacity, int senders, int receivers, unsigned threads) {
  CAPTURE(static_cast<int>(slow), capacity, senders, receivers, threads);
  Totals totals;
  asio::thread_pool pool(threads);
  auto tx = weir::make_broadcast<std::string>(pool, {.capacity = capacity, .slow = slow});
  for (int i = 0; i < receivers; ++i) {
    weir::spawn(pool, receives(tx.subscribe(), i, slow == SlowReceiver::skip, totals), [&](std::exception_ptr error) {
      if (!error) ++totals.ended;
    });
  }
  std::atomic<int> sending{senders};
  for (int i = 0; i < senders; ++i) {
    weir::spawn(pool, sends(tx, i, totals), [&](std::exception_ptr error) {
      if (!error) ++totals.ended;
      if (--sending == 0) tx.close();
    });
  }
  // A snapshot is consistent, whatever goes on.
  int torn = 0;
  while (sending != 0) {
    if (!adds_up(tx.stats())) ++torn;
    std::this_thread::yield();
  }
  pool.join();
  const auto stats = tx.stats();
  CHECK(torn == 0);
  CHECK(totals.ended == senders + receivers);
  CHECK(totals.wrong == 0);
  CHECK(totals.sent == static_cast<std::uint64_t>(senders) * static_cast<std::uint64_t>(values_each()));
  CHECK(stats.sent == totals.sent);
  CHECK(adds_up(stats));
  CHECK(stats.received == totals.received);
  CHECK(stats.skipped + stats.dropped == totals.missed);
  CHECK(stats.buffered == 0);
  const std::uint64_t all = totals.sent * static_cast<std::uint64_t>(receivers);
  if (slow == SlowReceiver::wait) CHECK(totals.received == all);
  if (slow == SlowReceiver::skip) CHECK(totals.received + totals.missed == all);
}

TEST_CASE("broadcast threads: every receiver gets every value when senders wait", "[threads]") {
  check_parties(SlowReceiver::wait, 1, 1, 2, 2);
  check_parties(SlowReceiver::wait, 3, 3, 3, 2);
  check_parties(SlowReceiver::wait, 64, 2, 4, 4);
}

TEST_CASE("broadcast threads: every value is received or skipped when slow receivers skip", "[threads]") {
  check_parties(SlowReceiver::skip, 1, 2, 3, 3);
  check_parties(SlowReceiver::skip, 4, 3, 3, 2);
  check_parties(SlowReceiver::skip, 64, 2, 4, 4);
}

TEST_CASE("broadcast threads: who is not slow gets every value when slow receivers are disconnected", "[threads]") {
  check_parties(SlowReceiver::disconnect, 1, 2, 3, 3);
  check_parties(SlowReceiver::disconnect, 16, 2, 3, 2);
}

/// A root that other threads cancel.
struct Cancelled {
  asio::cancellation_signal signal;
  std::atomic<bool> ended{false};
};

TEST_CASE("broadcast threads: receivers that come, go and are cancelled lose nothing and hold up nobody", "[threads]") {
  const auto slow = GENERATE(SlowReceiver::wait, SlowReceiver::skip, SlowReceiver::disconnect);
  std::mt19937 random(7);
  const int rounds = weir_test::stress(1) * 300;
  std::uint64_t wrong = 0;
  for (int round = 0; round < rounds; ++round) {
    std::atomic<std::uint64_t> told_sent{0};
    std::atomic<std::uint64_t> told_received{0};
    weir::BroadcastStats stats;
    {
      asio::thread_pool pool(3);
      const auto tx = weir::make_broadcast<std::string>(pool, {.capacity = 2, .slow = slow});
      std::vector<std::unique_ptr<Cancelled>> roots;
      const auto start = [&](auto task) {
        auto& root = *roots.emplace_back(std::make_unique<Cancelled>());
        weir::spawn(
            pool, std::move(task),
            asio::bind_cancellation_slot(root.signal.slot(), [&root](std::exception_ptr) { root.ended = true; }));
      };
      const auto sender = [](weir::BroadcastSender<std::string> mine, std::atomic<std::uint64_t>& sent) -> Task<> {
        for (int i = 0; i < 100; ++i) {
          std::string value = text_of(0, i);
          co_await mine.send(std::move(value));
          ++sent;
        }
      };
      const auto receiver = [](weir::BroadcastSender<std::string> from,
                               std::atomic<std::uint64_t>& received) -> Task<> {
        for (int i = 0; !from.closed(); ++i) {
          auto mine = from.subscribe();
          std::uint64_t skipped = 0;
          try {
            for (int n = 0; n < i % 5; ++n) {
              const auto text = co_await mine.receive(skipped);
              if (text && text->back() == 'x') ++received;
            }
          } catch (const weir::Error& error) {
            if (error.code() == Errc::cancelled) throw;
          }
        }
      };
      for (int i = 0; i < 2; ++i) start(sender(tx, told_sent));
      for (int i = 0; i < 3; ++i) start(receiver(tx, told_received));
      // The signal of a root is emitted by this thread alone; what it does reaches the root on its home.
      for (int i = 0; i < 2; ++i) {
        for (auto n = random() % 20000; n != 0; --n) std::atomic_signal_fence(std::memory_order_seq_cst);
        roots[random() % roots.size()]->signal.emit(asio::cancellation_type::all);
      }
      while (!roots[0]->ended || !roots[1]->ended) std::this_thread::yield();
      tx.close();
      pool.join();
      stats = tx.stats();
    }
    const bool right = adds_up(stats) && stats.sent == told_sent && stats.received == told_received &&
                       stats.pending == 0 && stats.buffered == 0 && stats.subscribers == 0;
    if (!right) ++wrong;
  }
  CHECK(wrong == 0);
}

TEST_CASE("broadcast threads: a context that goes takes its receivers along, and the senders go on", "[threads]") {
  const int rounds = weir_test::stress(1) * 300;
  std::uint64_t wrong = 0;
  for (int round = 0; round < rounds; ++round) {
    asio::thread_pool steady(1);
    const auto tx = weir::make_broadcast<std::string>(steady, {.capacity = 1});
    std::atomic<bool> stop{false};
    std::atomic<bool> ended{false};
    {
      asio::thread_pool brief(1);
      for (int i = 0; i < 3; ++i) {
        weir::spawn(brief, [mine = tx.subscribe()]() -> Task<> {
          while (co_await mine.receive()) {
          }
        });
      }
      weir::spawn(
          steady,
          [&, mine = tx]() -> Task<> {
            while (!stop) co_await mine.send_emplace(text_of(0, 0));
          },
          [&ended](std::exception_ptr error) { ended = !error; });
      for (int n = (round % 100) * 2000; n != 0; --n) std::atomic_signal_fence(std::memory_order_seq_cst);
      brief.stop();
    }
    stop = true;
    steady.join();
    const auto stats = tx.stats();
    if (!adds_up(stats) || !ended || stats.subscribers != 0 || stats.buffered != 0) ++wrong;
  }
  CHECK(wrong == 0);
}

}  // namespace

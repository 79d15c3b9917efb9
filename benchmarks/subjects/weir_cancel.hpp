#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <weir/asio.hpp>
#include <weir/bus/priority_event_bus.hpp>
#include <weir/core/sync_wait.hpp>
#include <weir/core/task.hpp>
#include <weir/core/timer.hpp>

#include "harness.hpp"
#include "latencies.hpp"
#include "pool_subject.hpp"

namespace weir_bench {

/// Somebody on a thread of his own cancels what runs on a pool of two.
class Canceller {
 public:
  explicit Canceller(std::uint64_t times) : times_(times), took_(times), posts_(times) {
    looping_ = bus_.subscribe("loop", [this](weir::EventContext& event) { loop(event); });
    waiting_ = bus_.subscribe("wait", [this](weir::EventContext&) { return wait(); });
  }
  Canceller(const Canceller&) = delete;
  Canceller& operator=(const Canceller&) = delete;
  ~Canceller() {
    bus_.abort();
    pool_.join();
  }

  /// Cancels so many events, and between two of them sends a post there and back.
  [[nodiscard]] Sample run(const char* topic) {
    for (std::uint64_t i = 0; i < times_; ++i) {
      post_and_back();
      cancel_one(topic);
    }
    Sample sample;
    took_.add_figures(sample.figures);
    posts_.add_figures(sample.figures, "post_");
    const double post = sample.figures["post_p50_ns"];
    for (const char* name : {"p50", "p99", "p999", "post_p999"}) {
      sample.figures[std::string(name) + "_posts"] = sample.figures[std::string(name) + "_ns"] / post;
    }
    return sample;
  }

 private:
  /// Counted by whoever ends a step on the pool.
  class Step {
   public:
    void done() noexcept {
      count_.fetch_add(1, std::memory_order_release);
      count_.notify_one();
    }
    void wait() noexcept {
      ++waited_for_;
      for (auto now = count_.load(std::memory_order_acquire); now != waited_for_;
           now = count_.load(std::memory_order_acquire)) {
        count_.wait(now, std::memory_order_acquire);
      }
    }

   private:
    std::atomic<std::uint32_t> count_{0};
    std::uint32_t waited_for_ = 0;
  };

  void post_and_back() {
    const Clock::time_point start = Clock::now();
    asio::post(pool_, [this] { posted_.done(); });
    posted_.wait();
    posts_.add(Clock::now() - start);
  }
  void cancel_one(const char* topic) {
    auto publishing = bus_.publish_cancellable(topic, 0);
    const weir::EventTicket ticket = weir::sync_wait(std::move(publishing));
    started_.wait();
    const Clock::time_point start = Clock::now();
    const weir::CancelResult result = bus_.cancel(ticket);
    ended_.wait();
    took_.add(seen_ - start);
    if (result != weir::CancelAnswer::signalled) throw std::runtime_error("there was nothing to cancel");
    weir::sync_wait(ticket.outcome());
  }

  void loop(weir::EventContext& event) {
    const weir::CancellationToken token = event.token();
    started_.done();
    while (!token.cancelled()) {
    }
    seen_ = Clock::now();
    ended_.done();
  }
  weir::Task<> wait() {
    struct End {
      explicit End(Canceller& c) noexcept : canceller(c) {}
      End(const End&) = delete;
      End& operator=(const End&) = delete;
      ~End() {
        canceller.seen_ = Clock::now();
        canceller.ended_.done();
      }
      Canceller& canceller;
    } const end(*this);
    started_.done();
    co_await weir::sleep_for(std::chrono::hours(1));
  }

  const std::uint64_t times_;
  Latencies took_;
  Latencies posts_;
  Step posted_;
  Step started_;
  Step ended_;
  Clock::time_point seen_{};
  asio::thread_pool pool_{pool_threads};
  weir::PriorityEventBus bus_{pool_, {.workers = 1}};
  weir::Subscription looping_;
  weir::Subscription waiting_;
};

}  // namespace weir_bench

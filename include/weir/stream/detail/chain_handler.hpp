/// A chain of error policies behind one type, so that a stream's type does not depend on it.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>

#include <weir/asio.hpp>
#include <weir/channel/channel.hpp>
#include <weir/core/circuit_breaker.hpp>
#include <weir/core/task.hpp>
#include <weir/core/this_task.hpp>
#include <weir/core/timer.hpp>
#include <weir/core/with_cancellation.hpp>
#include <weir/stream/dead_letter.hpp>
#include <weir/stream/detail/attempt.hpp>
#include <weir/stream/detail/error_handler.hpp>
#include <weir/stream/error_policy.hpp>
#include <weir/stream/event.hpp>

namespace weir::detail {

/// Does what the links decide. What waits here is given up when the stream begins to discard.
template <class T>
class RecoveringHandler : public ErrorHandler<T> {
 public:
  Task<> recover(TryingWorker<T>& worker, std::span<ReceiverEvent<T>> events, Attempt& attempt,
                 bool again) const override {
    StreamCore& stream = worker.stream();
    Home& home = co_await this_task::home();
    std::uint32_t attempts = 1;
    std::size_t link = 0;
    for (;;) {
      attempt.policy_ = ErrorPolicy::continue_;
      if (cancelled_with(stream, attempt.error_)) co_return;
      ErrorStep<T> step;
      try {
        step = this->decide(link, FailedEvent<T>(events, attempt.error_, attempts), home);
      } catch (...) {
        attempt.error_ = std::current_exception();
        step.decision = ErrorPolicy::stop;
      }
      if (step.letters) {
        auto burying = bury(stream, events, *step.letters, attempt.error_, attempts);
        const std::size_t sent = co_await std::move(burying);
        attempt.dead_lettered_ += sent;
        events = events.subspan(sent);
        // Refused because the stream is being stopped: that is no failure of it.
        if (events.empty() || stream.discarding()) co_return;
        continue;
      }
      if (step.decision.kind() != ErrorDecision::Kind::again) {
        if (step.decision.kind() == ErrorDecision::Kind::end) attempt.policy_ = ErrorPolicy::stop;
        co_return;
      }
      if (!again) continue;
      if (stream.discarding()) co_return;
      auto waiting = waited_for(stream, into_task(sleep_for(step.decision.delay())));
      const bool waited = co_await std::move(waiting);
      if (!waited) co_return;
      ++attempts;
      link = 0;
      auto last_error = std::exchange(attempt.error_, nullptr);
      worker.forget(attempt);
      for (ReceiverEvent<T>& event : events) event.set_started(stream.clock().now());
      auto calling = this->guard() ? try_guarded(worker, events, attempt) : worker.try_receiver(events, attempt);
      co_await std::move(calling);
      if (attempt.discarded_) {
        // The retry was given up.
        attempt.discarded_ = false;
        attempt.error_ = std::move(last_error);
        co_return;
      }
      if (!attempt.error_) co_return;
    }
  }

  Task<> try_guarded(TryingWorker<T>& worker, std::span<ReceiverEvent<T>> events, Attempt& attempt) const override {
    const StreamGuard& guard = *this->guard();
    auto call = guard.breaker.try_enter();
    if (!call && guard.fail_fast) {
      attempt.error_ = std::make_exception_ptr(Error(Errc::circuit_open));
      co_return;
    }
    if (!call) {
      auto entering = enter(guard.breaker, call);
      auto waiting = waited_for(worker.stream(), std::move(entering));
      const bool entered = co_await std::move(waiting);
      if (!entered) {
        attempt.discarded_ = true;
        co_return;
      }
    }
    auto calling = worker.try_receiver(events, attempt);
    co_await std::move(calling);
    tell(*call, attempt);
  }

 private:
  /// How many were sent, in order.
  Task<std::size_t> bury(StreamCore& stream, std::span<ReceiverEvent<T>> events,
                         const ChannelSender<DeadLetter<T>>& letters, std::exception_ptr error,
                         std::uint32_t attempts) const {
    std::size_t sent = 0;
    const ChannelSender<DeadLetter<T>> tx = this->copy(letters);
    for (ReceiverEvent<T>& event : events) {
      DeadLetter<T> letter(std::move(event), error, attempts);
      bool refused = false;
      try {
        if (!tx.try_send(std::move(letter))) {
          if (stream.discarding()) {
            refused = true;
          } else {
            auto sending = tx.send(std::move(letter));
            co_await with_cancellation(stream.discard_token(), std::move(sending));
          }
        }
      } catch (...) {
        refused = true;
      }
      if (refused) {
        std::destroy_at(&event);
        std::construct_at(&event, std::move(letter.event()));
        break;
      }
      ++sent;
    }
    co_return sent;
  }
};

template <class T, class... Links>
class ChainHandler final : public RecoveringHandler<T> {
 public:
  ChainHandler(std::tuple<Links...> links, asio::execution_context& context) : links_(std::move(links)) {
    static_assert((std::same_as<Links, BreakerLink> + ... + 0) <= 1, "on_error: a stream has one circuit breaker");
    const auto bind = [&](const auto& link) {
      if constexpr (std::same_as<decltype(link), const BreakerLink&>) {
        this->set_guard({link.breaker ? *link.breaker : CircuitBreaker(context, link.options), link.fail_fast});
      }
    };
    std::apply([&](const auto&... each) { (bind(each), ...); }, links_);
  }

  void succeeded() const noexcept override {
    const auto tell = [](const auto& link) {
      if constexpr (requires { link.succeeded(); }) link.succeeded();
    };
    std::apply([&](const auto&... each) { (tell(each), ...); }, links_);
  }
  [[nodiscard]] ErrorPolicy last() const noexcept override {
    using Link = std::tuple_element_t<sizeof...(Links) - 1, std::tuple<Links...>>;
    if constexpr (std::same_as<Link, PolicyLink>) {
      return std::get<sizeof...(Links) - 1>(links_).policy;
    } else {
      return stop;
    }
  }
  [[nodiscard]] std::string describe() const override {
    std::string text;
    const auto add = [&text](const std::string& link) { text += (text.empty() ? "" : ", ") + link; };
    std::apply([&](const auto&... each) { (add(each.describe()), ...); }, links_);
    return text;
  }

 private:
  [[nodiscard]] ErrorStep<T> decide_by_links(std::size_t& link, const FailedEvent<T>& failed,
                                             Home& home) const override {
    ErrorStep<T> step;
    std::size_t number = 0;
    const auto ask = [&](const auto& each) {
      if (number++ < link) return false;
      step = each.decide(failed, home);
      link = number;
      return step.letters || step.decision.kind() != ErrorDecision::Kind::next;
    };
    const bool decided = std::apply([&](const auto&... each) { return (ask(each) || ...); }, links_);
    if (!decided) step.decision = stop;
    return step;
  }

  std::tuple<Links...> links_;
};

}  // namespace weir::detail

/// A chain of error policies behind one type, so that a stream's type does not depend on it.
#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include <weir/asio.hpp>
#include <weir/core/circuit_breaker.hpp>
#include <weir/stream/error_policy.hpp>

namespace weir::detail {

/// The circuit breaker of a stream.
struct StreamGuard {
  CircuitBreaker breaker;
  bool fail_fast;
};

/// One a stream, shared by its workers.
template <class T>
class ErrorHandler {
 public:
  ErrorHandler() = default;
  ErrorHandler(const ErrorHandler&) = delete;
  ErrorHandler& operator=(const ErrorHandler&) = delete;
  virtual ~ErrorHandler() = default;

  /// What is to be done about a failure. Asks the links from `link` on, and moves it behind the one that decided.
  [[nodiscard]] ErrorStep<T> decide(std::size_t& link, const FailedEvent<T>& failed, Home& home) const {
    if (link == 0 && failed.attempts() == 1) failed_.fetch_add(failed.events().size(), std::memory_order_relaxed);
    return decide_by_links(link, failed, home);
  }
  /// How many events failed since it was asked last, whether they are tried again or not. Any worker: each of these
  /// events is told to one.
  [[nodiscard]] std::uint64_t take_failures() const noexcept {
    return failed_.load(std::memory_order_relaxed) == 0 ? 0 : failed_.exchange(0, std::memory_order_relaxed);
  }
  /// The receiver returned.
  virtual void succeeded() const noexcept = 0;
  /// What becomes of what can't be tried again or put aside, such as an item that the collection refuses.
  [[nodiscard]] virtual ErrorPolicy last() const noexcept = 0;
  /// "retry, dead letters, continue".
  [[nodiscard]] virtual std::string describe() const = 0;

  /// Null: the receiver is called whatever it did before.
  [[nodiscard]] const StreamGuard* guard() const noexcept { return guard_ ? &*guard_ : nullptr; }

  /// A handle of one's own, as a handle is for one party.
  [[nodiscard]] ChannelSender<DeadLetter<T>> copy(const ChannelSender<DeadLetter<T>>& letters) const {
    const std::lock_guard lock(mutex_);
    return letters;
  }

 protected:
  [[nodiscard]] virtual ErrorStep<T> decide_by_links(std::size_t& link, const FailedEvent<T>& failed,
                                                     Home& home) const = 0;
  void set_guard(StreamGuard guard) { guard_.emplace(std::move(guard)); }

 private:
  mutable std::mutex mutex_;
  std::optional<StreamGuard> guard_;
  mutable std::atomic<std::uint64_t> failed_{0};
};

template <class T, class... Links>
class ChainHandler final : public ErrorHandler<T> {
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

// Lets each allocation of a scenario fail, one after the other. For a test program of its own, whose alloc_failure.cpp
// replaces `operator new`, and in which Asio neither keeps memory for the next time nor goes around `operator new`: see
// area.cmake.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include <weir/asio.hpp>

namespace weir_test {

/// Until it is destroyed, allocations of this thread don't fail, and are not counted among those that could.
class Reliable {
 public:
  Reliable() noexcept;
  Reliable(const Reliable&) = delete;
  Reliable& operator=(const Reliable&) = delete;
  ~Reliable();
};

/// Throws what stops a run: a promise that was broken. Allocates reliably.
void require(bool holds, const char* what);

/// An executor whose posts never fail: what a post that throws means is the executor's affair, and most of the library
/// says that it ends the program.
template <class Inner>
class ReliableExecutor {
 public:
  explicit ReliableExecutor(Inner inner) noexcept : inner_(std::move(inner)) {}

  [[nodiscard]] friend bool operator==(const ReliableExecutor& a, const ReliableExecutor& b) noexcept {
    return a.inner_ == b.inner_;
  }
  template <class Property>
    requires asio::can_query<const Inner&, Property>::value
  [[nodiscard]] decltype(auto) query(const Property& property) const {
    return asio::query(inner_, property);
  }
  template <class Property>
    requires asio::can_require<const Inner&, Property>::value
  [[nodiscard]] auto require(const Property& property) const {
    return ReliableExecutor<std::decay_t<decltype(asio::require(inner_, property))>>(asio::require(inner_, property));
  }
  template <class F>
  void execute(F&& f) const {
    const Reliable reliable;
    asio::execution::execute(inner_, static_cast<F&&>(f));
  }
  [[nodiscard]] bool running_in_this_thread() const noexcept { return inner_.running_in_this_thread(); }

 private:
  Inner inner_;
};

/// What a scenario runs on: one thread, no allocation of its own.
class Stage {
 public:
  using Executor = ReliableExecutor<asio::io_context::executor_type>;

  Stage();
  [[nodiscard]] Executor executor() noexcept { return Executor(context_.get_executor()); }
  /// Runs what is ready.
  void poll();
  /// Whether something is unfinished.
  [[nodiscard]] bool unfinished() { return !context_.stopped(); }

 private:
  asio::io_context context_;
};

/// How the runs of a scenario ended.
struct Failures {
  std::uint64_t allocations = 0;  ///< which failed once each, and from then on
  std::uint64_t ended_program = 0;
  std::string trouble;  ///< empty, or what went wrong, for each run in which something did
};

/// Runs the scenario without a failure, and then, each in a process of its own, with its n-th allocation failing, for
/// each n, once alone and once with all that follow. In each it may throw `std::bad_alloc` or end as it likes; what it
/// `require`s must hold, everything must be freed, and it must end. The stage is destroyed with memory still short.
[[nodiscard]] Failures fail_each(const std::function<void(Stage&)>& scenario);

}  // namespace weir_test

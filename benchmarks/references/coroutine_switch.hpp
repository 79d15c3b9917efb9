#pragma once

#include <coroutine>
#include <cstdint>
#include <exception>

#include "harness.hpp"

namespace weir_bench {

/// A coroutine that does nothing but suspend: what every hand-over between coroutines pays at least once.
class Switcher {
 public:
  struct promise_type {
    Switcher get_return_object() { return Switcher(std::coroutine_handle<promise_type>::from_promise(*this)); }
    std::suspend_always initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::terminate(); }
  };

  explicit Switcher(std::coroutine_handle<promise_type> handle) noexcept : handle_(handle) {}
  Switcher(const Switcher&) = delete;
  Switcher& operator=(const Switcher&) = delete;
  ~Switcher() { handle_.destroy(); }

  void resume() { handle_.resume(); }

 private:
  std::coroutine_handle<promise_type> handle_;
};

/// Not inlined: a compiler that sees what it does leaves out the switches, as Clang would.
[[gnu::noinline]] inline Switcher count_turns(std::uint64_t& turns) {
  for (;;) {
    ++turns;
    co_await std::suspend_always{};
  }
}

/// An event is one switch: two coroutines are resumed in turn, and no value passes.
[[nodiscard]] inline Sample run_coroutine_switch(std::uint64_t events) {
  std::uint64_t turns = 0;
  Switcher first = count_turns(turns);
  Switcher second = count_turns(turns);
  const Measurement measurement;
  for (std::uint64_t i = 0; i < events; i += 2) {
    first.resume();
    second.resume();
  }
  const Sample sample = measurement.finish(events);
  expect_delivered(events, turns);
  return sample;
}

}  // namespace weir_bench

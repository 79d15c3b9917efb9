/// What repeats a run, and how it is said when the run fails and when it crashes.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <weir/sim/simulator.hpp>

#if __has_include(<unistd.h>) && __has_include(<signal.h>)
#  include <signal.h>
#  include <unistd.h>
#  define WEIR_SIM_SIGNALS 1
#else
#  define WEIR_SIM_SIGNALS 0
#endif

// A sanitizer that finds an error ends the process without a signal.
#if defined(__has_feature)
#  if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#    define WEIR_SIM_SANITIZED 1
#  endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#  define WEIR_SIM_SANITIZED 1
#endif
#if defined(WEIR_SIM_SANITIZED) && __has_include(<sanitizer/common_interface_defs.h>)
#  include <sanitizer/common_interface_defs.h>
#  define WEIR_SIM_DEATH_CALLBACK 1
#else
#  define WEIR_SIM_DEATH_CALLBACK 0
#endif

namespace weir::sim::detail {

inline constexpr std::uint64_t never = static_cast<std::uint64_t>(-1);

/// The variables of the environment that repeat a run. `put` writes them, by a sink that may be async-signal-safe.
struct Repeat {
  std::uint64_t seed = 0;
  std::uint64_t step = never;
  bool name_strategy = false;
  unsigned pct_depth = 0;
  std::uint64_t pct_length = 0;
  /// Instead of all the others.
  const std::vector<PrescribedStrategy::Choice>* choices = nullptr;

  template <class Sink>
  void put(Sink& sink) const {
    if (choices) {
      sink.text("WEIR_CHOICES=");
      bool first = true;
      for (const auto& choice : *choices) {
        if (!std::exchange(first, false)) sink.text(",");
        sink.number(choice.index);
      }
      return;
    }
    sink.text("WEIR_SEED=");
    sink.number(seed);
    if (step != never) {
      sink.text(" WEIR_STEP=");
      sink.number(step);
    }
    if (!name_strategy) return;
    sink.text(" WEIR_STRATEGY=");
    put_strategy(sink);
  }
  template <class Sink>
  void put_strategy(Sink& sink) const {
    if (pct_depth == 0) {
      sink.text("random");
      return;
    }
    sink.text("pct:");
    sink.number(pct_depth);
    sink.text(":");
    sink.number(pct_length);
  }
};

struct StringSink {
  void text(std::string_view t) { string += t; }
  void number(std::uint64_t n) { string += std::to_string(n); }
  std::string string;
};

#if WEIR_SIM_SIGNALS

/// Writes to standard error with nothing but `write`.
class ErrorSink {
 public:
  ~ErrorSink() { flush(); }
  void text(std::string_view t) noexcept {
    for (const char c : t) {
      if (size_ == buffer_.size()) flush();
      buffer_[size_++] = c;
    }
  }
  void number(std::uint64_t n) noexcept {
    std::array<char, 20> digits;
    std::size_t first = digits.size();
    do {
      digits[--first] = static_cast<char>('0' + n % 10);
      n /= 10;
    } while (n != 0);
    text({digits.data() + first, digits.size() - first});
  }

 private:
  void flush() noexcept {
    std::size_t done = 0;
    while (done < size_) {
      const auto written = ::write(STDERR_FILENO, buffer_.data() + done, size_ - done);
      if (written <= 0) break;
      done += static_cast<std::size_t>(written);
    }
    size_ = 0;
  }

  std::array<char, 512> buffer_;
  std::size_t size_ = 0;
};

/// While it lives, a crash (of the first exploration of the process that is under way) says what repeats it, and is
/// then handled as it would have been.
class CrashReport {
 public:
  CrashReport() noexcept {
    CrashReport* none = nullptr;
    if (!current().compare_exchange_strong(none, this)) return;
    struct sigaction action{};
    action.sa_handler = nullptr;
    action.sa_sigaction = &on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    for (std::size_t i = 0; i < signals.size(); ++i) ::sigaction(signals[i], &action, &before_[i]);
#  if WEIR_SIM_DEATH_CALLBACK
    __sanitizer_set_death_callback(&report);
#  endif
  }
  CrashReport(const CrashReport&) = delete;
  CrashReport& operator=(const CrashReport&) = delete;
  ~CrashReport() {
    if (current().load() != this) return;
#  if WEIR_SIM_DEATH_CALLBACK
    __sanitizer_set_death_callback(nullptr);
#  endif
    restore();
    current().store(nullptr);
  }

  /// The run that is under way. Both must live until `ended`.
  void running(const Simulator& sim, const Repeat& repeat) noexcept {
    repeat_ = &repeat;
    sim_ = &sim;
    std::atomic_signal_fence(std::memory_order_release);
  }
  void ended() noexcept { sim_ = nullptr; }

 private:
  static constexpr std::array signals{SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

  static std::atomic<CrashReport*>& current() noexcept {
    static std::atomic<CrashReport*> report{nullptr};
    return report;
  }

  void restore() noexcept {
    for (std::size_t i = 0; i < signals.size(); ++i) ::sigaction(signals[i], &before_[i], nullptr);
  }

  static void report() noexcept {
    const CrashReport* const self = current().load();
    if (!self || !self->sim_) return;
    ErrorSink sink;
    sink.text("weir: crashed with ");
    sink.text(self->sim_->name());
    sink.text(", step ");
    sink.number(self->sim_->steps());
    sink.text("; repeat it with ");
    self->repeat_->put(sink);
    sink.text("\n");
  }

  static void on_signal(int number, siginfo_t* info, void*) noexcept {
    report();
    CrashReport* const self = current().load();
    if (self) {
      self->restore();
      self->sim_ = nullptr;
    }
    // An instruction that faulted does so again, where the handler from before sees it; what was raised is raised.
    if (!self || number == SIGABRT || !info || info->si_code <= 0) ::raise(number);
  }

  std::array<struct sigaction, signals.size()> before_{};
  const Simulator* volatile sim_ = nullptr;
  const Repeat* volatile repeat_ = nullptr;
};

#else

class CrashReport {
 public:
  void running(const Simulator&, const Repeat&) noexcept {}
  void ended() noexcept {}
};

#endif

}  // namespace weir::sim::detail

#undef WEIR_SIM_SIGNALS
#undef WEIR_SIM_SANITIZED
#undef WEIR_SIM_DEATH_CALLBACK

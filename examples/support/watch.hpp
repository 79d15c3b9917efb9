/// What a program does while its stream runs: it shows how far it is, and listens for Ctrl-C.
#pragma once

#include <csignal>
#include <functional>
#include <optional>
#include <string_view>

#include <weir/asio.hpp>
#include <weir/core/spawn.hpp>
#include <weir/core/task.hpp>
#include <weir/core/timer.hpp>
#include <weir/core/use_task.hpp>
#include <weir/core/when_any.hpp>
#include <weir/stream/emitting_task.hpp>

#include <asio/signal_set.hpp>

#include "support/progress.hpp"

namespace example {

/// Watches one stream at a time, on the thread that calls `until_final`. From its construction on, the first SIGINT or
/// SIGTERM cancels the stream gracefully, and a second one forcefully; one that comes between two streams cancels the
/// next. Streams run on executors of their own, and must not be waited for by another thread meanwhile.
class Watch {
 public:
  explicit Watch(std::string_view unit) : bar_(unit), signals_(loop_, SIGINT, SIGTERM) { weir::spawn(loop_, listen()); }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  /// Waits for the end of `stream`. `fraction(progress)` says how much of the whole that is, if that is known.
  template <class Stream, class Fraction>
  [[nodiscard]] typename Stream::final_event_type until_final(const Stream& stream, Fraction fraction) {
    typename Stream::final_event_type final;
    stop_ = [&stream](weir::CancellationLevel level) { stream.cancel(level); };
    if (signal_ != 0) stop_(weir::CancellationLevel::graceful);
    weir::spawn(loop_, follow(stream, std::move(fraction), final));
    loop_.restart();
    loop_.run();
    bar_.clear();
    stop_ = nullptr;
    return final;
  }

  /// The signal that came, or 0.
  [[nodiscard]] int signal() const noexcept { return signal_; }

 private:
  weir::Task<> listen() {
    for (;;) {
      const int signal = co_await signals_.async_wait(weir::use_task);
      const bool first = signal_ == 0;
      signal_ = signal;
      if (stop_) stop_(first ? weir::CancellationLevel::graceful : weir::CancellationLevel::forceful);
    }
  }

  template <class Stream, class Fraction>
  weir::Task<> follow(const Stream& stream, Fraction fraction, typename Stream::final_event_type& final) {
    if (bar_.visible()) {
      auto either = weir::when_any(draw(stream, fraction), stream.join());
      co_await std::move(either);
    }
    final = co_await stream.final_event();
    loop_.stop();
  }

  template <class Stream, class Fraction>
  weir::Task<> draw(const Stream& stream, Fraction& fraction) {
    for (;;) {
      const weir::StreamProgress progress = stream.progress();
      bar_.show({progress.settled, progress.backlog, fraction(progress)});
      co_await weir::sleep_for(ProgressBar::interval);
    }
  }

  ProgressBar bar_;
  asio::io_context loop_{1};
  asio::signal_set signals_;
  std::function<void(weir::CancellationLevel)> stop_;
  int signal_ = 0;
};

}  // namespace example

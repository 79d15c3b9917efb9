/// A server on loopback that degrades on purpose: for clients to practise on.
#pragma once

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <asio/ip/tcp.hpp>
#include <asio/read_until.hpp>
#include <asio/write.hpp>

#include <weir/weir.hpp>

namespace example {

/// What the server does for a while.
struct ServerPhase {
  std::string name;
  /// It lasts for at least so many requests, and for so long.
  std::uint64_t requests = 0;
  std::chrono::milliseconds time{0};
  /// So many at once don't slow each other down. Twice as many take four times as long: more get less done.
  std::size_t capacity = 0;
  /// Every request fails: the odd ones are told so, for the others the connection is cut.
  bool failing = false;
};

/// What it was asked in a phase.
struct ServerPhaseStats {
  std::uint64_t requests = 0;
  std::size_t most_at_once = 0;
  std::chrono::duration<double> seconds{0};
};

/// Answers "GET n" with "OK n" after some 4 ms, or longer, or not at all, as its phases say; the last one lasts. Serves
/// and is asked for its statistics on one home, and on a context that one thread runs.
class DegradingServer {
  using tcp = asio::ip::tcp;
  using Time = weir::TimeService::TimePoint;

 public:
  DegradingServer(asio::io_context& context, std::vector<ServerPhase> phases, std::uint64_t seed)
      : acceptor_(context, tcp::endpoint(asio::ip::address_v4::loopback(), 0)),
        phases_(std::move(phases)),
        stats_(phases_.size()),
        dice_(seed) {}

  [[nodiscard]] tcp::endpoint endpoint() const { return acceptor_.local_endpoint(); }
  [[nodiscard]] const std::vector<ServerPhase>& phases() const noexcept { return phases_; }
  /// For each phase.
  [[nodiscard]] const std::vector<ServerPhaseStats>& stats() const noexcept { return stats_; }

  /// Until it is cancelled.
  weir::Task<> serve() {
    auto serving = weir::with_scope([this](weir::Scope& scope) -> weir::Task<> {
      for (;;) {
        tcp::socket socket = co_await acceptor_.async_accept(weir::use_task);
        scope.spawn(serve(std::move(socket)));
      }
    });
    co_await std::move(serving);
  }

 private:
  weir::Task<> serve(tcp::socket socket) {
    std::string buffer;
    for (;;) {
      const auto [error, size] =
          co_await asio::async_read_until(socket, asio::dynamic_buffer(buffer, 100), '\n', weir::use_task.as_tuple());
      if (error) co_return;
      const auto number = parse(std::string_view(buffer).substr(0, size));
      buffer.erase(0, size);
      const ServerPhase& phase = begin(co_await weir::this_task::now());
      std::string reply = "ERROR\n";
      if (phase.failing) {
        if (!number || *number % 2 == 0) co_return;
        reply = "BUSY\n";
      } else if (number) {
        ++at_once_;
        ServerPhaseStats& stats = stats_[phase_];
        stats.most_at_once = std::max(stats.most_at_once, at_once_);
        co_await weir::sleep_for(service_time(phase));
        --at_once_;
        reply = fmt::format("OK {}\n", *number);
      }
      const auto [write_error, written] =
          co_await asio::async_write(socket, asio::buffer(reply), weir::use_task.as_tuple());
      if (write_error) co_return;
    }
  }

  [[nodiscard]] static std::optional<std::uint64_t> parse(std::string_view line) {
    constexpr std::string_view get = "GET ";
    if (!line.starts_with(get)) return std::nullopt;
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(line.data() + get.size(), line.data() + line.size(), number);
    if (error != std::errc() || *end != '\n') return std::nullopt;
    return number;
  }

  /// The phase that a request meets.
  const ServerPhase& begin(Time now) {
    if (!phase_began_) phase_began_ = now;
    const ServerPhase& current = phases_[phase_];
    const bool over = stats_[phase_].requests >= current.requests && now - *phase_began_ >= current.time;
    if (over && phase_ + 1 < phases_.size()) {
      ++phase_;
      phase_began_ = now;
    }
    ++stats_[phase_].requests;
    stats_[phase_].seconds = now - *phase_began_;
    return phases_[phase_];
  }

  [[nodiscard]] std::chrono::microseconds service_time(const ServerPhase& phase) {
    const double load = static_cast<double>(at_once_) / static_cast<double>(phase.capacity);
    const double slower = std::max(1.0, load * load);
    return std::chrono::microseconds(std::llround(std::uniform_real_distribution(3'500.0, 4'500.0)(dice_) * slower));
  }

  tcp::acceptor acceptor_;
  std::vector<ServerPhase> phases_;
  std::vector<ServerPhaseStats> stats_;
  std::mt19937_64 dice_;
  std::size_t phase_ = 0;
  std::optional<Time> phase_began_;
  std::size_t at_once_ = 0;
};

}  // namespace example

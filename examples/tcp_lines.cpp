// A TCP server of lines that feeds a stream: every connection is a stream of its own, whose lines are numbers to be
// added up, and which is held back by TCP while its receiver is busy. Runs with clients of its own and says what came:
//
//   tcp_lines [--clients N] [--lines N] [--port P]
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/write.hpp>

#include <weir/weir.hpp>

namespace {

using asio::ip::tcp;

struct Settings {
  std::size_t clients = 3;
  std::uint64_t lines = 10'000;
  std::uint16_t port = 0;
};

struct Total {
  std::uint64_t lines = 0;
  std::int64_t sum = 0;
  std::uint64_t refused = 0;
};

/// One connection, from its first line to its last.
weir::Task<Total> serve(tcp::socket socket) {
  const auto executor = socket.get_executor();
  Total total;
  auto numbers = weir::emits<std::string>(executor)
                     .named("numbers")
                     .sender(weir::from_stream(std::move(socket)).max_record(100))
                     .receiver([&total](const auto& event) {
                       const std::string& line = event.data();
                       std::int64_t number = 0;
                       const char* const end = line.data() + line.size();
                       const auto parsed = std::from_chars(line.data(), end, number);
                       if (parsed.ec == std::errc() && parsed.ptr == end) {
                         ++total.lines;
                         total.sum += number;
                       } else {
                         ++total.refused;
                       }
                     })
                     .start();
  const auto final = co_await numbers.final_event();
  if (!final) fmt::print(stderr, "a connection ended early: {}\n", final.error());
  co_return total;
}

weir::Task<> send_numbers(tcp::endpoint where, std::uint64_t count) {
  tcp::socket socket(co_await weir::this_task::executor());
  co_await socket.async_connect(where, weir::use_task);
  std::string text;
  for (std::uint64_t i = 1; i <= count; ++i) {
    text += fmt::format("{}\r\n", i);
    if (text.size() < 16 * 1024 && i != count) continue;
    co_await asio::async_write(socket, asio::buffer(text), weir::use_task);
    text.clear();
  }
  const std::string_view last = "not a number";
  co_await asio::async_write(socket, asio::buffer(last), weir::use_task);
}

/// Accepts as many connections as there are clients, and serves them side by side.
weir::Task<Total> run(asio::io_context& context, const Settings& settings) {
  tcp::acceptor acceptor(context, tcp::endpoint(asio::ip::address_v4::loopback(), settings.port));
  for (std::size_t i = 0; i < settings.clients; ++i) {
    weir::spawn(context, send_numbers(acceptor.local_endpoint(), settings.lines));
  }
  Total all;
  auto serving = weir::with_scope([&](weir::Scope& scope) -> weir::Task<> {
    for (std::size_t i = 0; i < settings.clients; ++i) {
      tcp::socket socket = co_await acceptor.async_accept(weir::use_task);
      scope.spawn([&all, connection = serve(std::move(socket))]() mutable -> weir::Task<> {
        const Total total = co_await std::move(connection);
        all.lines += total.lines;
        all.sum += total.sum;
        all.refused += total.refused;
      });
    }
  });
  co_await std::move(serving);
  co_return all;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  CLI::App app("A TCP server of lines that feeds streams");
  app.add_option("--clients", settings.clients, "how many connect")->capture_default_str();
  app.add_option("--lines", settings.lines, "how many numbers each sends")->capture_default_str();
  app.add_option("--port", settings.port, "where to listen on loopback; 0: any")->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  asio::io_context context;
  Total total;
  std::exception_ptr error;
  weir::spawn(context, run(context, settings), [&](std::exception_ptr e, const Total& t) {
    error = std::move(e);
    total = t;
  });
  context.run();
  try {
    if (error) std::rethrow_exception(error);
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}\n", e.what());
    return 1;
  }
  fmt::print("{} lines, sum {}, {} refused\n", total.lines, total.sum, total.refused);
}

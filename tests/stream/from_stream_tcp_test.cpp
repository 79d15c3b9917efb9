#include <weir/stream/source/from_stream.hpp>

#include "support/allocation_counter.hpp"
#include "support/asio_net.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <weir/channel/channel.hpp>
#include <weir/core/detail/frame_memory.hpp>
#include <weir/core/sync_wait.hpp>
#include <weir/stream/emits.hpp>
#include <weir/stream/strategy/parallel.hpp>

namespace {

using asio::ip::tcp;
using Lines = std::vector<std::string>;

constexpr std::size_t line_size = 64;

/// A line that begins with its number.
struct Numbered {
  explicit Numbered(std::string_view text) : size(text.size()) {
    std::from_chars(text.data(), text.data() + text.size(), number);
  }
  std::uint64_t number = 0;
  std::size_t size;
};

std::string numbered(std::uint64_t first, std::uint64_t count) {
  std::string text;
  for (std::uint64_t i = first; i < first + count; ++i) {
    const std::string number = std::to_string(i);
    text += number + std::string(line_size - 1 - number.size(), '.') + '\n';
  }
  return text;
}

std::uint64_t bytes_to_send() {
  const char* const said = std::getenv("WEIR_TCP_BYTES");
  return said ? std::stoull(said) : std::uint64_t{64} << 20;
}

struct Pair {
  tcp::socket server;
  tcp::socket client;
};
Pair connected(asio::io_context& server, asio::io_context& client, int buffers = 0) {
  tcp::acceptor acceptor(server, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
  if (buffers != 0) acceptor.set_option(tcp::socket::receive_buffer_size(buffers));
  Pair pair{tcp::socket(server), tcp::socket(client)};
  pair.client.open(tcp::v4());
  if (buffers != 0) pair.client.set_option(tcp::socket::send_buffer_size(buffers));
  pair.client.connect(acceptor.local_endpoint());
  acceptor.accept(pair.server);
  return pair;
}

/// Waits until the other end has closed.
bool at_end(tcp::socket& socket) {
  char byte = 0;
  std::error_code error;
  socket.read_some(asio::buffer(&byte, 1), error);
  return error == asio::error::eof || error == asio::error::connection_reset;
}

}  // namespace

TEST_CASE("from_stream: TCP holds the sender back, nothing is lost, and nothing is allocated for a line") {
  const std::uint64_t lines = bytes_to_send() / line_size;
  constexpr std::uint64_t lines_per_permit = 16 * 1024;
  asio::io_context context;
  Pair pair = connected(context, context, 64 * 1024);
  pair.client.non_blocking(true);
  auto [permits, permitted] = weir::make_channel<int>(context, {.capacity = 1});

  std::uint64_t processed = 0;
  bool in_order = true;
  std::optional<weir_test::AllocationCounter> counter;
  std::uint64_t allocated = 0;
  // Slow: after so many lines it waits until it is told to go on.
  auto stream = weir::emits<Numbered>(context)
                    .capacity(256)
                    .sender(weir::from_stream(std::move(pair.server)))
                    .receiver([&, rx = std::move(permitted)](const auto& event) -> weir::Task<> {
                      const Numbered& line = event.data();
                      in_order = in_order && line.number == processed && line.size == line_size - 1;
                      if (++processed % lines_per_permit == 0) co_await rx.receive();
                      if (processed == lines / 4) counter.emplace();
                      if (processed == lines - lines / 4) allocated = counter->count();
                    })
                    .start();

  std::string text;
  std::uint64_t made = 0;
  std::uint64_t written = 0;
  std::uint64_t most_under_way = 0;
  std::uint64_t held_back = 0;
  text.reserve(1024 * line_size);
  std::string_view rest;
  while (!stream.is_complete()) {
    bool moved = false;
    for (;;) {
      if (rest.empty()) {
        if (made == lines) break;
        const std::uint64_t count = std::min<std::uint64_t>(1024, lines - made);
        // In place: only the stream may allocate.
        text.resize(count * line_size);
        for (std::uint64_t i = 0; i < count; ++i) {
          char* const line = text.data() + i * line_size;
          std::fill_n(line, line_size - 1, '.');
          std::to_chars(line, line + line_size, made + i);
          line[line_size - 1] = '\n';
        }
        made += count;
        rest = text;
      }
      std::error_code error;
      const std::size_t size = pair.client.write_some(asio::buffer(rest), error);
      if (error == asio::error::would_block) break;
      if (error) FAIL(error.message());
      written += size;
      rest.remove_prefix(size);
      moved = true;
    }
    if (rest.empty() && made == lines && pair.client.is_open()) pair.client.close();
    most_under_way = std::max(most_under_way, written - processed * line_size);
    context.restart();
    moved = context.poll() != 0 || moved;
    if (moved) continue;
    if (!rest.empty()) ++held_back;
    static_cast<void>(permits.try_send(1));
  }
  const auto final = weir::sync_wait(stream.final_event());
  CHECK(final.outcome() == weir::Outcome::completed);
  CHECK(in_order);
  CHECK(processed == lines);
  CHECK(final.stats().emitted == lines);
  CHECK(final.stats().balanced());
  // The kernel doubles the sizes of its buffers; then there are a block, a run, the channel, and what it takes ahead.
  const std::uint64_t bound =
      2 * 2 * 64 * 1024 + decltype(weir::from_stream(pair.client))::block_size + 512 * line_size;
  INFO("at most " << most_under_way << " bytes under way, held back " << held_back << " times");
  CHECK(most_under_way <= 2 * bound);
  CHECK(held_back >= lines / lines_per_permit / 2);
  if (weir::detail::frames_are_recycled) CHECK(allocated == 0);
  if (std::getenv("WEIR_TCP_BYTES")) {
    WARN(written << " bytes; at most " << most_under_way << " under way; held back " << held_back << " times; "
                 << allocated << " allocations in the middle half of " << lines << " lines");
  }
}

TEST_CASE("from_stream: a connection that is cut ends the stream as failed after what was received") {
  asio::io_context context;
  Pair pair = connected(context, context);
  const std::string text = numbered(0, 500) + "half a li";
  asio::write(pair.client, asio::buffer(text));
  // Closing with this is a reset.
  pair.client.set_option(asio::socket_base::linger(true, 0));
  pair.client.close();
  auto stream = weir::emits<Numbered>(context)
                    .sender(weir::from_stream(std::move(pair.server)))
                    .receiver([](const auto& event) { return event.data().number; })
                    .start();
  context.run();
  const auto final = weir::sync_wait(stream.final_event());
  CHECK(final.outcome() == weir::Outcome::failed);
  CHECK(final.stats().balanced());
  REQUIRE(final.collected().size() == 500);
  for (std::uint64_t i = 0; i < 500; ++i) CHECK(final.collected()[i] == i);
  std::error_code code;
  try {
    final.error().rethrow();
  } catch (const std::system_error& error) {
    code = error.code();
  }
  CHECK(code == asio::error::connection_reset);
}

TEST_CASE("from_stream: cancelled while it waits for a read, it closes the socket that it was given") {
  asio::io_context context;
  Pair pair = connected(context, context);
  asio::write(pair.client, asio::buffer(numbered(0, 3)));
  auto stream = weir::emits<Numbered>(context)
                    .sender(weir::from_stream(std::move(pair.server)))
                    .receiver([](const auto& event) { return event.data().number; })
                    .start();
  while (stream.stats().processed != 3) context.run_one();
  context.poll();
  CHECK_FALSE(stream.is_complete());
  CHECK(stream.cancel());
  context.restart();
  context.run();
  const auto final = weir::sync_wait(stream.final_event());
  CHECK(final.outcome() == weir::Outcome::cancelled);
  CHECK(final.collected().size() == 3);
  CHECK(at_end(pair.client));
}

TEST_CASE("from_stream: the end of its context while it reads closes the socket") {
  asio::io_context elsewhere;
  std::optional<asio::io_context> context(std::in_place);
  Pair pair = connected(*context, elsewhere);
  asio::write(pair.client, asio::buffer(numbered(0, 3)));
  auto stream = weir::emits<Numbered>(*context)
                    .sender(weir::from_stream(std::move(pair.server)))
                    .receiver([](const auto& event) { return event.data().number; })
                    .start();
  while (stream.stats().processed != 3) context->run_one();
  context->poll();
  // A socket that was moved from still refers to its context.
  {
    const tcp::socket gone(std::move(pair.server));
  }
  pair.server = tcp::socket(elsewhere);
  context.reset();
  CHECK(at_end(pair.client));
  CHECK(stream.is_complete());
}

TEST_CASE("from_stream: several connections on a pool, cut, cancelled or read to the end") {
  for (int round = 0; round < 10; ++round) {
    asio::thread_pool pool(2);
    tcp::acceptor acceptor(pool, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
    std::vector<weir::EmittingTask<Numbered, void, weir::Nothing>> streams;
    std::vector<std::thread> clients;
    for (int i = 0; i < 4; ++i) {
      clients.emplace_back([endpoint = acceptor.local_endpoint()] {
        asio::io_context context;
        tcp::socket socket(context);
        socket.connect(endpoint);
        const std::string text = numbered(0, 2000);
        std::error_code error;
        asio::write(socket, asio::buffer(text), error);
      });
      tcp::socket socket(pool);
      acceptor.accept(socket);
      streams.push_back(weir::emits<Numbered>(pool)
                            .capacity(64)
                            .sender(weir::from_stream(std::move(socket)))
                            .receiver(weir::parallel(2), [](const auto&) {})
                            .start());
    }
    streams[1].cancel();
    for (std::size_t i = 0; i < streams.size(); ++i) {
      const auto final = weir::sync_wait(streams[i].final_event());
      CHECK(final.stats().balanced());
      if (i == 1) continue;
      CHECK(final.outcome() == weir::Outcome::completed);
      CHECK(final.stats().processed == 2000);
    }
    for (std::thread& client : clients) client.join();
  }
}

#include <weir/core/cancellation_interop.hpp>

#include "support/catch.hpp"

#include <memory>
#include <stop_token>
#include <thread>

TEST_CASE("cancellation interop: a slot's emission cancels a source, which it keeps alive until it is cleared") {
  asio::cancellation_signal signal;
  auto source = std::make_unique<weir::CancellationSource>();
  const weir::CancellationToken token = source->token();
  weir::cancel_on_emission(signal.slot(), *source);
  source.reset();
  CHECK_FALSE(token.cancelled());
  signal.emit(asio::cancellation_type::partial);
  CHECK(token.reason() == weir::Errc::cancelled);
  signal.slot().clear();
  weir::cancel_on_emission(asio::cancellation_slot(), weir::CancellationSource());
}

TEST_CASE("cancellation interop: a token emits a signal on the executor named, and cancels an Asio operation") {
  asio::io_context context;
  weir::CancellationSource source;
  asio::cancellation_signal signal;
  asio::steady_timer timer(context, std::chrono::hours(1));
  std::error_code ended;
  timer.async_wait(asio::bind_cancellation_slot(signal.slot(), [&](const std::error_code& error) { ended = error; }));
  const auto registration = weir::emit_on_cancel(source.token(), context, signal);
  context.poll();
  source.cancel();
  CHECK_FALSE(ended);
  context.run();
  CHECK(weir::is_cancellation(ended));
}

TEST_CASE("cancellation interop: an emission that is taken back does not happen") {
  asio::io_context context;
  weir::CancellationSource source;
  asio::cancellation_signal signal;
  bool emitted = false;
  signal.slot().assign([&](asio::cancellation_type) { emitted = true; });
  {
    const auto registration = weir::emit_on_cancel(source.token(), context, signal);
    source.cancel();
  }
  context.run();
  CHECK_FALSE(emitted);
}

TEST_CASE("cancellation interop: a stop request cancels a source, also one that came before") {
  for (const bool before : {false, true}) {
    std::stop_source stop;
    const weir::CancellationSource source;
    if (before) stop.request_stop();
    const weir::CancelOnStop link(stop.get_token(), source);
    CHECK(source.cancelled() == before);
    stop.request_stop();
    CHECK(source.cancelled());
  }
}

TEST_CASE("cancellation interop: a link to a stop token that is gone cancels nothing") {
  std::stop_source stop;
  const weir::CancellationSource source;
  {
    const weir::CancelOnStop link(stop.get_token(), source);
  }
  stop.request_stop();
  CHECK_FALSE(source.cancelled());
}

TEST_CASE("cancellation interop: a token requests a stop on the executor named") {
  asio::io_context context;
  weir::CancellationSource source;
  std::stop_source stop;
  const auto registration = weir::stop_on_cancel(source.token(), context, stop);
  source.cancel();
  CHECK_FALSE(stop.stop_requested());
  context.run();
  CHECK(stop.stop_requested());
}

TEST_CASE("cancellation interop: stop requests from another thread against links that come and go") {
  for (int i = 0; i < 2000; ++i) {
    std::stop_source stop;
    const weir::CancellationSource source;
    std::thread other([&] { stop.request_stop(); });
    {
      const weir::CancelOnStop link(stop.get_token(), source);
    }
    other.join();
    const weir::CancelOnStop late(stop.get_token(), source);
    if (!source.cancelled()) FAIL("a stop that was requested before cancels at once");
  }
  SUCCEED();
}

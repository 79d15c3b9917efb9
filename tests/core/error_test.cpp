#include <weir/core/error.hpp>

#include "support/catch.hpp"

#include <set>
#include <string>

#include <weir/asio.hpp>

namespace {

constexpr weir::Errc all[] = {
    weir::Errc::cancelled,        weir::Errc::timed_out,      weir::Errc::channel_closed, weir::Errc::channel_full,
    weir::Errc::invalid_argument, weir::Errc::empty_handle,   weir::Errc::task_consumed,  weir::Errc::would_deadlock,
    weir::Errc::stalled,          weir::Errc::lagged,         weir::Errc::disconnected,   weir::Errc::collection_full,
    weir::Errc::circuit_open,     weir::Errc::bus_closed,     weir::Errc::queue_full,     weir::Errc::wrong_payload,
    weir::Errc::quota_exceeded,   weir::Errc::handler_failed, weir::Errc::no_handler,     weir::Errc::no_reply};

}  // namespace

TEST_CASE("error: each value has a message of its own") {
  std::set<std::string> messages;
  for (const weir::Errc e : all) {
    const std::error_code code = e;
    CHECK(code.category() == weir::error_category());
    CHECK(code.message() != "unknown error");
    CHECK(messages.insert(code.message()).second);
  }
  CHECK(weir::error_category().message(12345) == "unknown error");
  CHECK(std::string(weir::error_category().name()) == "weir");
}

TEST_CASE("error: each value equals the standard's condition") {
  using weir::make_error_code;
  CHECK(make_error_code(weir::Errc::cancelled) == std::errc::operation_canceled);
  CHECK(make_error_code(weir::Errc::timed_out) == std::errc::timed_out);
  CHECK(make_error_code(weir::Errc::channel_closed) == std::errc::broken_pipe);
  CHECK(make_error_code(weir::Errc::channel_full) == std::errc::no_buffer_space);
  CHECK(make_error_code(weir::Errc::invalid_argument) == std::errc::invalid_argument);
  CHECK(make_error_code(weir::Errc::empty_handle) == std::errc::bad_file_descriptor);
  CHECK(make_error_code(weir::Errc::task_consumed) == std::errc::invalid_argument);
  CHECK(make_error_code(weir::Errc::would_deadlock) == std::errc::resource_deadlock_would_occur);
  CHECK(make_error_code(weir::Errc::stalled) == std::errc::resource_deadlock_would_occur);
  CHECK(make_error_code(weir::Errc::lagged) == std::errc::no_message);
  CHECK(make_error_code(weir::Errc::disconnected) == std::errc::connection_aborted);
  CHECK(make_error_code(weir::Errc::collection_full) == std::errc::no_buffer_space);
  CHECK(make_error_code(weir::Errc::circuit_open) == std::errc::resource_unavailable_try_again);
  CHECK(make_error_code(weir::Errc::bus_closed) == std::errc::broken_pipe);
  CHECK(make_error_code(weir::Errc::queue_full) == std::errc::no_buffer_space);
  CHECK(make_error_code(weir::Errc::wrong_payload) == std::errc::invalid_argument);
  CHECK(make_error_code(weir::Errc::quota_exceeded) == std::errc::no_buffer_space);
  CHECK(make_error_code(weir::Errc::handler_failed) == std::errc::io_error);
  CHECK(make_error_code(weir::Errc::no_handler) == std::errc::host_unreachable);
  CHECK(make_error_code(weir::Errc::no_reply) == std::errc::no_message);
  CHECK(make_error_code(weir::Errc::cancelled) != std::errc::timed_out);
  CHECK(weir::error_category().default_error_condition(12345).category() == weir::error_category());
}

TEST_CASE("error: is_cancellation knows the library's and Asio's, and no other") {
  CHECK(weir::is_cancellation(weir::Errc::cancelled));
  CHECK(weir::is_cancellation(asio::error::make_error_code(asio::error::operation_aborted)));
  CHECK_FALSE(weir::is_cancellation(weir::Errc::timed_out));
  CHECK_FALSE(weir::is_cancellation({}));
}

TEST_CASE("error: what() says the given text and the category's") {
  const weir::Error plain(weir::Errc::channel_full);
  CHECK(std::string(plain.what()) == "the channel is full");
  const weir::Error told(weir::Errc::invalid_argument, "capacity must be at least 1");
  CHECK(std::string(told.what()).find("capacity must be at least 1") == 0);
  CHECK(told.code() == weir::Errc::invalid_argument);
}

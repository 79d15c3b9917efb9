/// The records that an Asio stream receives, as the sender of a stream.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

#include <weir/asio.hpp>
#include <weir/core/task.hpp>
#include <weir/core/use_task.hpp>
#include <weir/stream/detail/emit_records.hpp>
#include <weir/stream/emitter.hpp>

namespace weir {

/// What becomes of a last record that has no delimiter, when the stream has ended cleanly.
enum class Unfinished : std::uint8_t {
  emit,  ///< it is a record
  drop,  ///< it is forgotten
  fail,  ///< the stream ends `failed`, with `asio::error::eof`: its other end was cut off inside a record
};

/// What Asio calls an AsyncReadStream: a socket, `asio::posix::stream_descriptor`, `asio::ssl::stream` and the like.
template <class S>
concept AsyncReadStream = requires(S& stream, asio::mutable_buffer buffer) {
  { stream.async_read_some(buffer, use_task.as_tuple()) } -> Awaitable;
};

/// Made by `from_stream`. `Stream` is a reference for one that is the user's.
template <class Stream>
class FromStream {
 public:
  static constexpr std::size_t block_size = std::size_t{64} * 1024;
  static constexpr std::size_t default_max_record = std::size_t{1024} * 1024;

  FromStream(Stream&& stream, detail::Delimiter delimiter)
      : stream_(static_cast<Stream&&>(stream)), delimiter_(std::move(delimiter)) {}

  /// The stream ends `failed`, with `std::errc::message_size`, at a record of more bytes: 1 MiB unless said.
  [[nodiscard]] FromStream max_record(std::size_t bytes) && {
    longest_ = bytes;
    return std::move(*this);
  }
  /// See `Unfinished`; `Unfinished::emit` unless said.
  [[nodiscard]] FromStream unfinished(Unfinished policy) && {
    unfinished_ = policy;
    return std::move(*this);
  }

  /// For pictures of the stream.
  [[nodiscard]] std::string describe() const {
    return delimiter_.takes_return ? "lines from a stream" : "records from a stream";
  }

  template <detail::TextEvent T>
  Task<> operator()(Emitter<T>& out) {
    detail::RecordEmitter<T> records(out, delimiter_, longest_);
    auto emitting = detail::emit_stream(stream_, records, block_size);
    const asio::error_code error = co_await std::move(emitting);
    if (error != asio::error::eof) throw std::system_error(error, "can't read from the stream");
    if (!records.has_unfinished() || unfinished_ == Unfinished::drop) co_return;
    if (unfinished_ == Unfinished::fail) throw std::system_error(error, "the stream ended inside a record");
    auto last = records.emit_unfinished();
    co_await std::move(last);
  }

 private:
  Stream stream_;
  detail::Delimiter delimiter_;
  std::size_t longest_ = default_max_record;
  Unfinished unfinished_ = Unfinished::emit;
};

/// A sender that emits the lines that `stream` receives, without their ends: `\n` or `\r\n`. Give the stream away
/// (`std::move(socket)`), and it is closed when the sender ends; or give an lvalue, which must live until then. `T` is
/// whatever can be constructed from a `std::string_view` and does not refer to it.
///
/// It is read asynchronously, by the sender alone and only when the receivers have taken what was read before: when
/// they are slow, so is the other end. A clean end completes the stream; what a last line without an end is, says
/// `unfinished`. Any other error ends it `failed`, with that error, after the whole lines that were received have been
/// processed; the rest of a line is dropped. So does a line of more than `max_record` bytes. Cancelling the stream
/// cancels the read.
///
/// Allocates a block of 64 KiB, and what a line that spans reads needs; nothing for a line.
template <class Stream>
  requires AsyncReadStream<std::remove_reference_t<Stream>>
[[nodiscard]] FromStream<Stream> from_stream(Stream&& stream) {
  return FromStream<Stream>(static_cast<Stream&&>(stream), detail::Delimiter::line());
}

/// The same for records that end with `delimiter`, and nothing else: a character, or a string that is not empty (else
/// `Error(Errc::invalid_argument)`).
template <class Stream>
  requires AsyncReadStream<std::remove_reference_t<Stream>>
[[nodiscard]] FromStream<Stream> from_stream(Stream&& stream, char delimiter) {
  return FromStream<Stream>(static_cast<Stream&&>(stream), detail::Delimiter::of(delimiter));
}
template <class Stream>
  requires AsyncReadStream<std::remove_reference_t<Stream>>
[[nodiscard]] FromStream<Stream> from_stream(Stream&& stream, std::string delimiter) {
  return FromStream<Stream>(static_cast<Stream&&>(stream), detail::Delimiter::of(std::move(delimiter)));
}

}  // namespace weir

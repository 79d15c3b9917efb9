/// The records of a file, as the sender of a stream.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <weir/asio.hpp>
#include <weir/core/blocking.hpp>
#include <weir/core/task.hpp>
#include <weir/core/this_task.hpp>
#include <weir/core/use_task.hpp>
#include <weir/stream/detail/emit_records.hpp>
#include <weir/stream/detail/file_blocks.hpp>
#include <weir/stream/emitter.hpp>

namespace weir {

/// Made by `lines_of` and `records_of`.
class FileRecords {
 public:
  static constexpr std::size_t block_size = std::size_t{256} * 1024;

  FileRecords(std::filesystem::path path, detail::Delimiter delimiter)
      : path_(std::move(path)), delimiter_(std::move(delimiter)) {}

  /// The stream ends `failed`, with `std::errc::message_size`, at a record of more bytes. No bound unless said.
  [[nodiscard]] FileRecords max_record(std::size_t bytes) && {
    longest_ = bytes;
    return std::move(*this);
  }

  /// For pictures of the stream.
  [[nodiscard]] std::string describe() const {
    return fmt::format("{} of {}", delimiter_.takes_return ? "lines" : "records", path_.string());
  }

  template <detail::TextEvent T>
  Task<> operator()(Emitter<T>& out) const {
    Home& home = co_await this_task::home();
    const bool in_place = asio::use_service<BlockingService>(home.context()).runs_inline();
    detail::RecordEmitter<T> records(out, delimiter_, longest_);
    std::vector<char> block(block_size);
    BlockingCalls<detail::FileBlocks> reads(home, detail::FileBlocks(path_, block_size, in_place));
    reads.start();
    std::size_t size = co_await reads.result();
    if (reads.function().must_wait()) {
      asio::posix::stream_descriptor pipe(home.base_executor(), reads.function().release());
      auto waiting = emit_pipe(pipe, records);
      co_await std::move(waiting);
    }
    while (size != 0) {
      reads.function().swap(block);
      // The next block is read while this one is taken apart.
      reads.start();
      auto emitting = records.emit(std::string_view(block.data(), size));
      co_await std::move(emitting);
      size = co_await reads.result();
    }
    auto last = records.emit_unfinished();
    co_await std::move(last);
  }

 private:
  template <class T>
  Task<> emit_pipe(asio::posix::stream_descriptor& pipe, detail::RecordEmitter<T>& records) const {
    // A read of a pipe that nobody has opened for writing yet would take that for its end.
    co_await pipe.async_wait(asio::posix::descriptor_base::wait_read, use_task);
    auto emitting = detail::emit_stream(pipe, records, block_size);
    const asio::error_code error = co_await std::move(emitting);
    if (error != asio::error::eof) throw std::system_error(error, "can't read " + path_.string());
  }

  std::filesystem::path path_;
  detail::Delimiter delimiter_;
  std::size_t longest_ = detail::unlimited_record;
};

/// A sender that emits the records of a file, without the `delimiter` that ends each: a character, or a string that is
/// not empty (else `Error(Errc::invalid_argument)`). A last record without one is a record. `T` is whatever can be
/// constructed from a `std::string_view` and does not refer to it.
///
/// The file is opened when the stream starts. If it can't be opened or read, the stream ends `failed`, with a
/// `std::system_error` that names the path; what was read before is processed. It is read in big blocks on a thread of
/// the context's `BlockingService`, one block ahead, so that the stream's own threads never wait for the disk, and the
/// disk waits when the receivers are slow. A pipe and a terminal are waited for by Asio's reactor instead. In the
/// simulator all is read in place. Allocates two blocks, and what a record that spans blocks needs; nothing for a
/// record.
[[nodiscard]] inline FileRecords records_of(std::filesystem::path path, char delimiter) {
  return FileRecords(std::move(path), detail::Delimiter::of(delimiter));
}
[[nodiscard]] inline FileRecords records_of(std::filesystem::path path, std::string delimiter) {
  return FileRecords(std::move(path), detail::Delimiter::of(std::move(delimiter)));
}

}  // namespace weir

#pragma once

#include <concepts>
#include <cstddef>
#include <exception>
#include <string_view>
#include <utility>
#include <vector>

#include <weir/asio.hpp>
#include <weir/core/task.hpp>
#include <weir/core/use_task.hpp>
#include <weir/stream/detail/record_splitter.hpp>
#include <weir/stream/emitter.hpp>

namespace weir::detail {

/// What can be emitted for a piece of text: it must own what it needs of it.
template <class T>
concept TextEvent = std::constructible_from<T, std::string_view> && !std::same_as<T, std::string_view>;

/// Takes blocks apart and emits their records, a run of them at a time.
template <TextEvent T>
class RecordEmitter {
 public:
  RecordEmitter(Emitter<T>& out, const Delimiter& delimiter, std::size_t longest)
      : out_(out), splitter_(delimiter, longest) {
    run_.reserve(run_length);
  }

  /// Emits the records that end in `block`, which must live until this has returned. What comes before an error has
  /// been emitted when it is thrown.
  Task<> emit(std::string_view block) {
    splitter_.feed(block);
    std::exception_ptr error;
    for (bool more = true; more;) {
      try {
        std::string_view record;
        while (run_.size() < run_length && (more = splitter_.next(record))) run_.emplace_back(std::in_place, record);
      } catch (...) {
        error = std::current_exception();
        more = false;
      }
      if (run_.empty()) continue;
      auto emitting = out_.emit_run(run_);
      co_await std::move(emitting);
    }
    if (error) std::rethrow_exception(error);
  }

  /// At the end: emits a last record without a delimiter.
  Task<> emit_unfinished() {
    if (splitter_.has_unfinished()) co_await out_.emit_emplace(splitter_.unfinished());
  }
  [[nodiscard]] bool has_unfinished() const noexcept { return splitter_.has_unfinished(); }

 private:
  static constexpr std::size_t run_length = 64;

  Emitter<T>& out_;
  RecordSplitter splitter_;
  std::vector<SenderEvent<T>> run_;
};

/// Emits the records of an asynchronous stream until a read fails, and gives its error: `asio::error::eof` at the end.
template <class Stream, class T>
Task<asio::error_code> emit_stream(Stream& stream, RecordEmitter<T>& records, std::size_t block_size) {
  std::vector<char> block(block_size);
  for (;;) {
    const auto [error, size] = co_await stream.async_read_some(asio::buffer(block), use_task.as_tuple());
    if (size != 0) {
      auto emitting = records.emit(std::string_view(block.data(), size));
      co_await std::move(emitting);
    }
    if (error) co_return error;
  }
}

}  // namespace weir::detail

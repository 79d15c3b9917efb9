/// The final event: how a stream ended, and with what.
#pragma once

#include <fmt/format.h>

#include <concepts>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <weir/core/error.hpp>
#include <weir/stream/collector.hpp>
#include <weir/stream/event.hpp>
#include <weir/stream/stats.hpp>

namespace weir {

/// How a stream ended.
enum class Outcome : std::uint8_t {
  completed,  ///< the sender ended by itself, and every event was settled
  cancelled,  ///< somebody cancelled it, or its execution context ended first
  failed,     ///< the sender threw, or a receiver did under `on_error(stop)`
  timed_out,  ///< its time was up
};

[[nodiscard]] constexpr std::string_view to_string(Outcome outcome) noexcept {
  switch (outcome) {
    case Outcome::completed:
      return "completed";
    case Outcome::cancelled:
      return "cancelled";
    case Outcome::failed:
      return "failed";
    case Outcome::timed_out:
      return "timed_out";
  }
  return "unknown";
}

/// Why a stream did not complete, as text and as what was thrown. `fmt` prints the text.
class StreamError {
 public:
  StreamError() = default;
  StreamError(std::string text, std::exception_ptr exception)
      : text_(std::move(text)), exception_(std::move(exception)) {}

  [[nodiscard]] const std::string& text() const noexcept { return text_; }
  /// What was thrown; null where nobody threw (a cancelled stream).
  [[nodiscard]] const std::exception_ptr& exception() const noexcept { return exception_; }
  void rethrow() const {
    if (exception_) std::rethrow_exception(exception_);
    throw Error(Errc::cancelled, text_);
  }
  /// True when there is an error.
  [[nodiscard]] explicit operator bool() const noexcept { return exception_ != nullptr || !text_.empty(); }

 private:
  std::string text_;
  std::exception_ptr exception_;
};

/// A view of a collection that owns its share of it.
template <class Collection>
class SharedCollection {
 public:
  explicit SharedCollection(std::shared_ptr<const Collection> collection) noexcept
      : collection_(std::move(collection)) {}
  [[nodiscard]] auto begin() const { return collection_->begin(); }
  [[nodiscard]] auto end() const { return collection_->end(); }
  [[nodiscard]] auto size() const { return collection_->size(); }
  [[nodiscard]] const Collection& operator*() const noexcept { return *collection_; }
  [[nodiscard]] const Collection* operator->() const noexcept { return collection_.get(); }

 private:
  std::shared_ptr<const Collection> collection_;
};

/// The end of a stream. True if it completed. Copies are cheap and share everything; reading is safe from any thread.
/// A default-constructed one is empty: asking it anything but `valid()` throws `Error(Errc::empty_handle)`.
template <class T, class C = void, class Collection = typename detail::default_collection<C>::type>
class FinalEvent {
 public:
  struct Content {
    EventHeader header;
    std::string name;
    Outcome outcome = Outcome::completed;
    Collection collection;
    std::vector<EventError> errors;
    StreamStats stats;
    StreamError error;
  };

  FinalEvent() = default;
  explicit FinalEvent(std::shared_ptr<Content> content) noexcept : content_(std::move(content)) {}

  [[nodiscard]] bool valid() const noexcept { return content_ != nullptr; }
  [[nodiscard]] explicit operator bool() const { return outcome() == Outcome::completed; }
  [[nodiscard]] Outcome outcome() const { return get().outcome; }

  /// `final`, `error` or `cancelled`.
  [[nodiscard]] EventType type() const { return get().header.type(); }
  [[nodiscard]] std::uint64_t task_id() const { return get().header.task_id(); }
  /// The name of the stream.
  [[nodiscard]] const std::string& name() const { return get().name; }
  /// When the stream was started.
  [[nodiscard]] EventTime started() const { return get().header.started(); }
  /// When the last of it had ended.
  [[nodiscard]] EventTime completed() const { return get().header.completed(); }

  /// What was collected, whatever the outcome. Of a temporary it is given by value, so that
  /// `for (auto& x : sync_wait(stream.final_event()).collected())` is safe; what can't be copied comes as a
  /// `SharedCollection`, which has the same elements.
  [[nodiscard]] const Collection& collected() const& { return get().collection; }
  [[nodiscard]] auto collected() && {
    if constexpr (std::copy_constructible<Collection> && copyable_items) {
      return Collection(get().collection);
    } else {
      return SharedCollection<Collection>(std::shared_ptr<const Collection>(content_, &get().collection));
    }
  }
  /// Moves the collection out, for one reader who knows that there is no other: who asks afterwards finds it moved
  /// from.
  [[nodiscard]] Collection take() { return std::move(get().collection); }

  /// The errors of single events, in the order in which they came up; the first `Collector::max_errors` of them.
  [[nodiscard]] const std::vector<EventError>& errors() const& { return get().errors; }
  [[nodiscard]] std::vector<EventError> errors() && { return get().errors; }
  [[nodiscard]] StreamStats stats() const { return get().stats; }

  /// Why it did not complete: what the sender threw, or the first receiver, or that it was cancelled or out of time.
  /// Of a stream that completed: the first error of an event that `on_error(continue_)` let pass, or nothing.
  [[nodiscard]] const StreamError& error() const& { return get().error; }
  [[nodiscard]] StreamError error() && { return get().error; }

 private:
  // A vector says that it can be copied whatever its items are.
  static constexpr bool copyable_items = [] {
    if constexpr (requires { typename Collection::value_type; }) {
      return std::copy_constructible<typename Collection::value_type>;
    } else {
      return true;
    }
  }();

  [[nodiscard]] Content& get() const {
    if (!content_) throw Error(Errc::empty_handle, "this final event is empty");
    return *content_;
  }

  std::shared_ptr<Content> content_;
};

}  // namespace weir

template <>
struct fmt::formatter<weir::Outcome> : fmt::formatter<fmt::string_view> {
  template <class Context>
  auto format(weir::Outcome outcome, Context& context) const {
    const std::string_view text = weir::to_string(outcome);
    return fmt::formatter<fmt::string_view>::format({text.data(), text.size()}, context);
  }
};

template <>
struct fmt::formatter<weir::StreamError> : fmt::formatter<fmt::string_view> {
  template <class Context>
  auto format(const weir::StreamError& error, Context& context) const {
    return fmt::formatter<fmt::string_view>::format({error.text().data(), error.text().size()}, context);
  }
};

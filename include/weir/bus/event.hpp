/// `Event`: what a bus delivers.
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <typeinfo>
#include <utility>

#include <weir/bus/detail/event_owner.hpp>
#include <weir/bus/event_payload.hpp>
#include <weir/bus/topic.hpp>
#include <weir/core/cancellation.hpp>
#include <weir/core/timer.hpp>

namespace weir {

/// The number of an event in its bus, from 1, in the order of admission.
using EventId = std::uint64_t;

/// How urgent an event is: the first is the most urgent.
enum class EventPriority : std::uint8_t { critical, high, normal, low };

[[nodiscard]] constexpr std::string_view name_of(EventPriority priority) noexcept {
  constexpr std::string_view names[] = {"critical", "high", "normal", "low"};
  return names[static_cast<std::size_t>(priority)];
}

/// Who published an event.
enum class EventOrigin : std::uint8_t { system, plugin, user, external };

[[nodiscard]] constexpr std::string_view name_of(EventOrigin origin) noexcept {
  constexpr std::string_view names[] = {"system", "plugin", "user", "external"};
  return names[static_cast<std::size_t>(origin)];
}

namespace detail {

/// The text of a topic, in one block: owned by a bus that has interned it, or by one event.
struct TopicText {
  [[nodiscard]] static TopicText* make(std::string_view text) {
    auto* const made = ::new (::operator new(sizeof(TopicText) + text.size())) TopicText;
    made->size = text.size();
    std::memcpy(made + 1, text.data(), text.size());
    return made;
  }
  static void destroy(const TopicText* text) noexcept { ::operator delete(const_cast<TopicText*>(text)); }
  [[nodiscard]] std::string_view view() const noexcept { return {reinterpret_cast<const char*>(this + 1), size}; }

  std::size_t size = 0;
};

/// Where the reply to a request goes: the requester's, so that nothing of who replies is left in it. Written by what
/// runs the event, one at a time, until it is answered; read by the requester after it is told.
struct ReplySlot {
  ReplySlot() = default;
  ReplySlot(const ReplySlot&) = delete;
  ReplySlot& operator=(const ReplySlot&) = delete;
  virtual ~ReplySlot() = default;

  /// Moves from the value if it is what was asked for, and else remembers what it is.
  virtual void accept(const std::type_info& type, void* value) = 0;

  bool called = false;
  bool answered = false;
  /// What the first handler that failed threw.
  std::exception_ptr failure;
};

/// An event's stand-in as the last of its topic, which goes with it unless the bus takes it out.
using LastValueRef = std::unique_ptr<RecordBase, void (*)(RecordBase*)>;

/// What most events do not have.
struct EventExtras {
  /// Another for the same event, but for its owner and for the one that waits for a reply.
  [[nodiscard]] std::unique_ptr<EventExtras> copy() const {
    auto made = std::make_unique<EventExtras>();
    made->metadata = metadata;
    made->source_name = source_name;
    made->key = key;
    made->time_to_live = time_to_live;
    made->run_timeout = run_timeout;
    made->token = token;
    return made;
  }

  /// The first, and so the last to go.
  OwnedEvent owned;
  std::map<std::string, std::string, std::less<>> metadata;
  std::string source_name;
  std::string key;
  std::optional<std::chrono::steady_clock::duration> time_to_live;
  std::optional<std::chrono::steady_clock::duration> run_timeout;
  CancellationToken token;
  std::shared_ptr<ReplySlot> reply;
  LastValueRef last_value{nullptr, nullptr};
};

}  // namespace detail

/// Something that happened, addressed to a topic. Built in one statement, with setters, and published in the next:
///
///     weir::Event event("disk.full", DiskFull("/var", 0.97));
///     event.priority(weir::EventPriority::high).time_to_live(5s);
///     co_await bus.publish(std::move(event));
///
/// Move-only, as its payload may be. Constructing one allocates its topic's text; the first of the rarer properties
/// (source name, metadata, key, times, token) allocates a block for all of them. `Error(Errc::invalid_argument)` for
/// what is no topic or a time that is not positive. As thread-safe as an `int`.
class Event {
 public:
  using Duration = std::chrono::steady_clock::duration;
  using TimePoint = std::chrono::steady_clock::time_point;

  explicit Event(std::string_view type) {
    detail::check_topic(type);
    topic_ = detail::TopicText::make(type);
    owns_topic_ = true;
  }
  template <class P>
  Event(std::string_view type, P&& payload, EventPriority priority = EventPriority::normal) : Event(type) {
    payload_ = EventPayload(static_cast<P&&>(payload));
    priority_ = priority;
  }
  template <class P>
  Event(const Topic<P>& topic, P payload, EventPriority priority = EventPriority::normal)
      : Event(topic.name(), std::move(payload), priority) {}
  /// Builds the payload in place.
  template <class P, class... Args>
  Event(std::string_view type, std::in_place_type_t<P> in_place, Args&&... args) : Event(type) {
    payload_ = EventPayload(in_place, static_cast<Args&&>(args)...);
  }
  Event(Event&& other) noexcept
      : payload_(std::move(other.payload_)),
        id_(other.id_),
        timestamp_(other.timestamp_),
        extras_(std::move(other.extras_)),
        topic_(std::exchange(other.topic_, nullptr)),
        priority_(other.priority_),
        origin_(other.origin_),
        owns_topic_(std::exchange(other.owns_topic_, false)) {}
  Event& operator=(Event&& other) noexcept {
    if (this == &other) return *this;
    drop_topic();
    payload_ = std::move(other.payload_);
    id_ = other.id_;
    timestamp_ = other.timestamp_;
    extras_ = std::move(other.extras_);
    topic_ = std::exchange(other.topic_, nullptr);
    priority_ = other.priority_;
    origin_ = other.origin_;
    owns_topic_ = std::exchange(other.owns_topic_, false);
    return *this;
  }
  ~Event() {
    drop_topic();
    // Before its owner hears that it has gone.
    payload_.reset();
  }

  Event& priority(EventPriority priority) noexcept {
    priority_ = priority;
    return *this;
  }
  Event& source(EventOrigin origin, std::string_view name = {}) {
    origin_ = origin;
    if (!name.empty() || extras_) extras().source_name = name;
    return *this;
  }
  Event& metadata(std::string_view name, std::string_view value) {
    extras().metadata.insert_or_assign(std::string(name), std::string(value));
    return *this;
  }
  /// Events of one key never run at the same time, and start in order.
  Event& key(std::string_view key) {
    extras().key = key;
    return *this;
  }
  /// How long after its admission it may start: later it has expired, and no handler sees it.
  template <class Rep, class Period>
  Event& time_to_live(std::chrono::duration<Rep, Period> duration) {
    extras().time_to_live = positive(detail::clock_duration(duration), "time to live");
    return *this;
  }
  /// How long its handlers may take together, before they are cancelled.
  template <class Rep, class Period>
  Event& run_timeout(std::chrono::duration<Rep, Period> duration) {
    extras().run_timeout = positive(detail::clock_duration(duration), "run timeout");
    return *this;
  }
  /// When this token is cancelled the event does not start any more, and its handlers are cancelled if it runs.
  Event& token(CancellationToken token) {
    extras().token = std::move(token);
    return *this;
  }

  /// 0 before it is admitted.
  [[nodiscard]] EventId id() const noexcept { return id_; }
  [[nodiscard]] std::string_view type() const noexcept { return topic_ ? topic_->view() : std::string_view(); }
  [[nodiscard]] const EventPayload& payload() const noexcept { return payload_; }
  [[nodiscard]] EventPayload& payload() noexcept { return payload_; }
  [[nodiscard]] EventPriority priority() const noexcept { return priority_; }
  /// When it was admitted, by the clock of the bus's execution context, to the tick of the system.
  [[nodiscard]] TimePoint timestamp() const noexcept { return timestamp_; }
  [[nodiscard]] EventOrigin origin() const noexcept { return origin_; }
  /// The name given with the source: a plugin's. Empty for none.
  [[nodiscard]] std::string_view source_name() const noexcept {
    return extras_ ? std::string_view(extras_->source_name) : std::string_view();
  }
  [[nodiscard]] std::string_view key() const noexcept {
    return extras_ ? std::string_view(extras_->key) : std::string_view();
  }
  /// Empty for a name that was not given.
  [[nodiscard]] std::string_view metadata(std::string_view name) const noexcept {
    if (!extras_) return {};
    const auto found = extras_->metadata.find(name);
    return found == extras_->metadata.end() ? std::string_view() : std::string_view(found->second);
  }
  [[nodiscard]] const std::map<std::string, std::string, std::less<>>& metadata() const noexcept {
    static const std::map<std::string, std::string, std::less<>> none;
    return extras_ ? extras_->metadata : none;
  }
  [[nodiscard]] std::optional<Duration> time_to_live() const noexcept {
    return extras_ ? extras_->time_to_live : std::nullopt;
  }
  [[nodiscard]] std::optional<Duration> run_timeout() const noexcept {
    return extras_ ? extras_->run_timeout : std::nullopt;
  }
  [[nodiscard]] CancellationToken token() const noexcept { return extras_ ? extras_->token : CancellationToken(); }

  /// For buses: an event whose topic follows when it is admitted.
  Event(EventPayload&& payload, EventPriority priority) noexcept : payload_(std::move(payload)), priority_(priority) {}
  /// For buses: gives it its place, and the bus's own text of its topic.
  void admit(EventId id, TimePoint when, const detail::TopicText& interned) noexcept {
    drop_topic();
    id_ = id;
    timestamp_ = when;
    topic_ = &interned;
  }
  /// For buses: whether it has none of the rarer properties, such as a key or a token.
  [[nodiscard]] bool is_plain() const noexcept { return !extras_; }
  /// For buses: makes it independent of theirs. Allocates.
  void detach() {
    if (owns_topic_ || !topic_) return;
    topic_ = detail::TopicText::make(topic_->view());
    owns_topic_ = true;
  }
  /// For buses: whose it is besides. Allocates what the rarer properties need.
  void own(detail::EventOwner& owner) { extras().owned.owner = &owner; }
  [[nodiscard]] detail::OwnedEvent* owned() noexcept {
    return extras_ && extras_->owned.owner ? &extras_->owned : nullptr;
  }
  /// For buses: it is a request.
  void reply_to(std::shared_ptr<detail::ReplySlot> slot) { extras().reply = std::move(slot); }
  [[nodiscard]] detail::ReplySlot* reply_slot() const noexcept { return extras_ ? extras_->reply.get() : nullptr; }
  /// For buses: another that shares its payload, for `admit` to give it the same place. Allocates.
  [[nodiscard]] Event share() {
    Event other(EventPayload(), priority_);
    if (extras_) other.extras_ = extras_->copy();
    other.payload_ = payload_.share();
    other.origin_ = origin_;
    return other;
  }
  /// For buses: what stands for it as the last of its topic. Allocates what the rarer properties need.
  [[nodiscard]] detail::LastValueRef& last_value() { return extras().last_value; }
  void drop_last_value() noexcept {
    if (extras_) extras_->last_value.reset();
  }
  /// For buses: it has no owner any more, who is returned.
  [[nodiscard]] detail::EventOwner* disown() noexcept {
    return extras_ ? std::exchange(extras_->owned.owner, nullptr) : nullptr;
  }

 private:
  [[nodiscard]] detail::EventExtras& extras() {
    if (!extras_) extras_ = std::make_unique<detail::EventExtras>();
    return *extras_;
  }
  void drop_topic() noexcept {
    if (owns_topic_) detail::TopicText::destroy(topic_);
    owns_topic_ = false;
    topic_ = nullptr;
  }
  [[nodiscard]] static Duration positive(Duration duration, const char* what) {
    if (duration > Duration::zero()) return duration;
    throw Error(Errc::invalid_argument, std::string("an event's ") + what + " has to be positive");
  }

  EventPayload payload_;
  EventId id_ = 0;
  TimePoint timestamp_{};
  std::unique_ptr<detail::EventExtras> extras_;
  const detail::TopicText* topic_ = nullptr;
  EventPriority priority_ = EventPriority::normal;
  EventOrigin origin_ = EventOrigin::user;
  bool owns_topic_ = false;
};

}  // namespace weir

/// Topics: what events are published to, and the patterns that subscriptions choose them by.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

#include <weir/core/error.hpp>

namespace weir {
namespace detail {

/// Null: it is a topic. Otherwise what is wrong with it.
[[nodiscard]] constexpr const char* flaw_of_topic(std::string_view topic) noexcept {
  if (topic.empty()) return "it is empty";
  bool level_is_empty = true;
  for (const char c : topic) {
    if (c == '.') {
      if (level_is_empty) return "it has an empty level";
      level_is_empty = true;
      continue;
    }
    if (c == '*' || c == '>') return "wildcards are for subscriptions";
    if (static_cast<unsigned char>(c) <= ' ') return "it has a space or a control character in it";
    level_is_empty = false;
  }
  return level_is_empty ? "it has an empty level" : nullptr;
}

/// The same for a pattern.
[[nodiscard]] constexpr const char* flaw_of_pattern(std::string_view pattern) noexcept {
  if (pattern.empty()) return "it is empty";
  for (;;) {
    const auto end = pattern.find('.');
    const auto level = pattern.substr(0, end);
    const bool last = end == std::string_view::npos;
    if (level == ">") {
      if (!last) return "'>' stands for the rest, and so comes last";
    } else if (level != "*") {
      if (const char* const flaw = flaw_of_topic(level)) {
        return level.empty() ? "it has an empty level"
               : level.find_first_of("*>") != std::string_view::npos
                   ? "a wildcard stands for a whole level, between dots"
                   : flaw;
      }
    }
    if (last) return nullptr;
    pattern.remove_prefix(end + 1);
  }
}

[[noreturn]] inline void refuse_topic(const char* what, std::string_view text, const char* flaw) {
  throw Error(Errc::invalid_argument,
              "the " + std::string(what) + " \"" + std::string(text) + "\": " + flaw + "; it is like \"disk.full\"");
}

inline void check_topic(std::string_view topic) {
  if (const char* const flaw = flaw_of_topic(topic)) refuse_topic("topic", topic, flaw);
}
inline void check_pattern(std::string_view pattern) {
  if (const char* const flaw = flaw_of_pattern(pattern)) refuse_topic("pattern", pattern, flaw);
}

}  // namespace detail

/// Whether a pattern chooses a topic. Level by level, between dots: `*` is any one level, `>` (at the end) any one or
/// more, everything else is itself. Both are taken to be well formed. O(length), allocates nothing.
[[nodiscard]] constexpr bool topic_matches(std::string_view pattern, std::string_view topic) noexcept {
  for (;;) {
    const auto pattern_end = pattern.find('.');
    const auto topic_end = topic.find('.');
    const auto level = pattern.substr(0, pattern_end);
    if (level == ">") return true;
    if (level != "*" && level != topic.substr(0, topic_end)) return false;
    if (pattern_end == std::string_view::npos || topic_end == std::string_view::npos) {
      return pattern_end == topic_end;
    }
    pattern.remove_prefix(pattern_end + 1);
    topic.remove_prefix(topic_end + 1);
  }
}

/// A topic together with the type of what is published to it, so that publishing and subscribing are checked by the
/// compiler:
///
///     constexpr weir::Topic<DiskFull> disk_full{"disk.full"};
///
/// It keeps a view of the name: a literal, or what outlives it. A name that is no topic (empty, an empty level, a
/// wildcard, a space) throws `Error(Errc::invalid_argument)`, and does not compile in a constant.
template <class P>
class Topic {
 public:
  using Payload = P;

  constexpr explicit Topic(std::string_view name) : name_(name) {
    if (const char* const flaw = detail::flaw_of_topic(name)) detail::refuse_topic("topic", name, flaw);
  }
  [[nodiscard]] constexpr std::string_view name() const noexcept { return name_; }

 private:
  std::string_view name_;
};

}  // namespace weir

/// What a program prints at its end, and what it gives back to the shell.
#pragma once

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <string>
#include <string_view>
#include <system_error>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <weir/stream/final_event.hpp>

#include "support/options.hpp"

namespace example {

/// Writes to standard output. Throws `std::system_error` if that is not possible, as on a full disk.
inline void print(const std::string& text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
  if (!written) throw std::system_error(errno, std::generic_category(), "standard output");
}

/// As one line. What is no UTF-8 becomes the replacement character, as JSON has no other bytes.
[[nodiscard]] inline std::string dump(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

template <class Final>
[[nodiscard]] double seconds_of(const Final& final) {
  return std::chrono::duration<double>(final.completed() - final.started()).count();
}

/// Adds to a report how it was made.
template <class Final>
void add_run(nlohmann::ordered_json& json, const Strategy& strategy, const Final& final) {
  json["strategy"] = to_string(strategy);
  json["seconds"] = seconds_of(final);
  json["outcome"] = std::string(to_string(final.outcome()));
}

/// The exit code of a program whose stream has ended so, after `signal` if that is not 0. Says why it is not success.
template <class Final>
[[nodiscard]] int exit_code(std::string_view program, const Final& final, int signal) {
  switch (final.outcome()) {
    case weir::Outcome::completed:
      return exit_done;
    case weir::Outcome::cancelled:
      complain(program, "interrupted: the figures are those of what was read so far");
      return exit_signal + signal;
    default:
      complain(program, final.error().text());
      return exit_failed;
  }
}

}  // namespace example

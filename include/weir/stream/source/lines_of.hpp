/// The lines of a file, as the sender of a stream.
#pragma once

#include <filesystem>
#include <utility>

#include <weir/stream/source/records_of.hpp>

namespace weir {

/// A sender that emits the lines of a file (or a pipe), without their ends: `\n` or `\r\n`. A last line without an end
/// is a line; lines may be of any length unless `max_record` says otherwise. All else is as `records_of` says.
[[nodiscard]] inline FileRecords lines_of(std::filesystem::path path) {
  return FileRecords(std::move(path), detail::Delimiter::line());
}

}  // namespace weir

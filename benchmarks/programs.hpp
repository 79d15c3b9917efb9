#pragma once

#include <string>
#include <string_view>

#include "harness.hpp"

namespace weir_bench {

/// Subjects that are programs beside this one, in `programs/`. They are started once and asked for a sample in each
/// round, so that they run in turns with the others. A program that could not be built is absent, with the reason.
///
/// `workload` is what it is asked for: "W3", or "W5.local" where a workload has several jobs.
[[nodiscard]] Subject go_subject(const std::string& workload, std::string_view payload, std::string variant = {});
[[nodiscard]] Subject tokio_subject(const std::string& workload, std::string_view payload, std::string variant = {});

/// The same for samples that need a process with no past.
[[nodiscard]] Subject fresh_go_subject(const std::string& workload, std::string_view payload);
[[nodiscard]] Subject fresh_tokio_subject(const std::string& workload, std::string_view payload);

}  // namespace weir_bench

#include "collections.hpp"
#include "references/asio_stream.hpp"
#include "references/ideal_workers.hpp"
#if WEIR_BENCH_HAS_TBB
#  include "references/tbb_stream.hpp"
#endif
#include "subjects/weir_stream.hpp"
#include "work.hpp"
#include "workloads.hpp"

namespace weir_bench {
namespace {

using StreamRun = Sample (*)(std::uint64_t events, std::uint64_t iterations);

Subject stream_subject(std::string name, std::string variant, StreamRun run, std::uint64_t iterations) {
  return {.name = std::move(name), .variant = std::move(variant), .run = [=](std::uint64_t events) {
            return run(events, iterations);
          }};
}

template <class T, class Into>
void add_tbb_subjects(std::vector<Subject>& subjects, std::uint64_t iterations) {
#if WEIR_BENCH_HAS_TBB
  subjects.push_back(stream_subject("tbb_pipeline", {}, &run_tbb_pipeline<T, Into>, iterations));
  subjects.back().allocations_counted = false;
  subjects.push_back(stream_subject("tbb_pipeline_batched", {}, &run_tbb_pipeline_batched<T, Into>, iterations));
  subjects.back().allocations_counted = false;
#else
  static_cast<void>(iterations);
  subjects.push_back(Subject::absent("tbb_pipeline", {}, "built without oneTBB"));
  subjects.push_back(Subject::absent("tbb_pipeline_batched", {}, "built without oneTBB"));
#endif
}

template <class T, class Into>
Group w6_group(std::int64_t work_ns) {
  const std::uint64_t iterations = iterations_for_ns(static_cast<double>(work_ns));
  Group group;
  group.id = "W6";
  group.title = "a stream: source, four receivers on two threads, " + std::to_string(work_ns) + " ns of work, into a " +
                Into::name;
  group.payload = payload_name<T>;
  group.fields = {{"work_ns", work_ns}, {"collection", std::string(Into::name)}};
  // A vector of more results than this measures the system's page faults.
  group.max_events = std::uint64_t{1} << 20;
  group.references = {"ideal", "tbb_pipeline_batched", "asio_channel"};

  std::vector<Subject>& subjects = group.subjects;
  // Without work there is nothing to split, and no ideal to be compared with.
  if (work_ns > 0) subjects.push_back(stream_subject("ideal", {}, &run_ideal_workers<T>, iterations));
  add_tbb_subjects<T, Into>(subjects, iterations);
  subjects.push_back(stream_subject("asio_channel", {}, &run_asio_stream<AsioUse::plain, T, Into>, iterations));
  subjects.push_back(
      stream_subject("asio_channel_try_first", {}, &run_asio_stream<AsioUse::try_first, T, Into>, iterations));
  subjects.push_back(stream_subject("weir", "serial", &run_weir_stream<T, Into, SerialReceivers>, iterations));
  subjects.push_back(stream_subject("weir", "parallel", &run_weir_stream<T, Into, ParallelReceivers>, iterations));
  subjects.push_back(
      stream_subject("weir", "parallel_of_range", &run_weir_stream<T, Into, ParallelReceiversOfRange>, iterations));
  subjects.push_back(stream_subject("weir", "batched", &run_weir_stream<T, Into, BatchedReceivers>, iterations));
  subjects.push_back(stream_subject("weir", "adaptive", &run_weir_stream<T, Into, AdaptiveReceivers>, iterations));
  return group;
}

}  // namespace

std::vector<Group> w6_groups() {
  std::vector<Group> groups;
  for (const std::int64_t work_ns : {0, 200, 2000}) {
    groups.push_back(w6_group<U64, IntoVector>(work_ns));
    groups.push_back(w6_group<U64, IntoMap>(work_ns));
    groups.push_back(w6_group<P64, IntoVector>(work_ns));
    groups.push_back(w6_group<P64, IntoMap>(work_ns));
  }
  return groups;
}

}  // namespace weir_bench
